//! Transactions: what a client has queued, and who watches which key.
//!
//! A watch remembers whether its key had expired already when it was set: such a key may vanish without
//! spoiling the transaction, since nothing changed that the client could have seen.

use crate::clients::ClientId;
use std::collections::HashMap;

/// A command that waits for EXEC.
#[derive(Debug)]
pub struct Queued {
    pub cmd: u16,
    pub args: Vec<Box<[u8]>>,
}

/// What a client between MULTI and EXEC holds.
#[derive(Debug, Default)]
pub struct Multi {
    pub queue: Vec<Queued>,
    /// Command flags of all that is queued: in at least one, and missing in at least one.
    pub flags: u64,
    pub missing_flags: u64,
    /// Bytes of the queued arguments, with their overhead.
    pub bytes: usize,
    /// Bytes of the arguments, and of a pointer to each, as `multi-mem` counts.
    pub arg_bytes: usize,
    /// EXEC is running it.
    pub runs: bool,
}

impl Multi {
    pub fn push(&mut self, cmd: u16, flags: u64, args: Vec<Box<[u8]>>) {
        self.flags |= flags;
        self.missing_flags |= !flags;
        let lengths: usize = args.iter().map(|a| a.len()).sum();
        self.arg_bytes += lengths + args.len() * size_of::<usize>();
        self.bytes += lengths + args.len() * size_of::<Box<[u8]>>() + size_of::<Queued>();
        self.queue.push(Queued { cmd, args });
    }
}

#[derive(Debug, Clone, Copy)]
struct Watcher {
    client: ClientId,
    /// The key had expired when the watch was set.
    expired: bool,
}

/// Watched keys, by database.
#[derive(Debug, Default)]
pub struct Watches {
    keys: HashMap<(usize, Box<[u8]>), Vec<Watcher>>,
    by_client: HashMap<ClientId, Vec<(usize, Box<[u8]>)>>,
}

impl Watches {
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// Clients that watch anything, and watched keys.
    pub fn counts(&self) -> (usize, usize) {
        (self.by_client.len(), self.keys.len())
    }

    /// Keys that one client watches.
    pub fn of(&self, id: ClientId) -> &[(usize, Box<[u8]>)] {
        self.by_client.get(&id).map_or(&[], |v| v)
    }

    pub fn add(&mut self, id: ClientId, db: usize, key: &[u8], expired: bool) {
        let mine = self.by_client.entry(id).or_default();
        if mine.iter().any(|(d, k)| *d == db && **k == *key) {
            return;
        }
        mine.push((db, key.into()));
        self.keys.entry((db, key.into())).or_default().push(Watcher { client: id, expired });
    }

    pub fn remove_all(&mut self, id: ClientId) {
        for at in self.by_client.remove(&id).unwrap_or_default() {
            if let Some(list) = self.keys.get_mut(&at) {
                list.retain(|w| w.client != id);
                if list.is_empty() {
                    self.keys.remove(&at);
                }
            }
        }
    }

    /// Was the client's watch on the key set when it had expired?
    pub fn was_expired(&self, id: ClientId, at: &(usize, Box<[u8]>)) -> bool {
        self.keys.get(at).is_some_and(|l| l.iter().any(|w| w.client == id && w.expired))
    }

    /// A key changed; `exists` afterwards. Calls `spoil` for every client whose transaction cannot run
    /// any more.
    pub fn touch(&mut self, db: usize, key: &[u8], exists: bool, mut spoil: impl FnMut(ClientId)) {
        let Some(list) = self.keys.get_mut(&(db, Box::from(key))) else { return };
        for w in list {
            if w.expired && !exists {
                // It had expired and is deleted now: no change that the client could see.
                w.expired = false;
            } else {
                spoil(w.client);
            }
        }
    }

    /// A database is about to be emptied, or replaced by another one. `before` and `after` say what
    /// each holds under a key: None, or whether it has expired.
    pub fn touch_db(
        &mut self,
        db: usize,
        before: impl Fn(&[u8]) -> Option<bool>,
        after: impl Fn(&[u8]) -> Option<bool>,
        mut spoil: impl FnMut(ClientId),
    ) {
        for ((_, key), list) in self.keys.iter_mut().filter(|((d, _), _)| *d == db) {
            let (was, will) = (before(key), after(key));
            if was.is_none() && will.is_none() {
                continue;
            }
            for w in list {
                match (w.expired, was.is_some(), will) {
                    (true, _, None) => w.expired = false,
                    (true, _, Some(true)) => {}
                    (false, false, Some(true)) => w.expired = true,
                    _ => spoil(w.client),
                }
            }
        }
    }
}
