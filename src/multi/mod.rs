//! Watched keys: which client watches which key. What a transaction has queued stands in its client.
//!
//! A watch remembers whether its key had expired already when it was set: such a key may vanish without
//! spoiling the transaction, since nothing changed that the client could have seen.

use crate::clients::id::ClientId;
use std::collections::HashMap;

#[derive(Debug, Clone, Copy)]
struct Watcher {
    client: ClientId,
    /// The key had expired when the watch was set.
    expired: bool,
}

/// Watched keys, and for each client those that it watches.
#[derive(Debug, Default)]
pub struct Watches {
    /// By database. A key that nothing watches is looked up without a copy of it.
    dbs: Vec<HashMap<Box<[u8]>, Vec<Watcher>>>,
    by_client: HashMap<ClientId, Vec<(usize, Box<[u8]>)>>,
}

impl Watches {
    pub fn is_empty(&self) -> bool {
        self.by_client.is_empty()
    }

    /// Clients that watch anything, and watched keys.
    #[cfg(test)]
    pub fn counts(&self) -> (usize, usize) {
        (self.by_client.len(), self.dbs.iter().map(HashMap::len).sum())
    }

    /// Keys that one client watches.
    pub fn of(&self, id: ClientId) -> &[(usize, Box<[u8]>)] {
        self.by_client.get(&id).map_or(&[], |v| v)
    }

    /// True when the key was not watched before.
    pub fn add(&mut self, id: ClientId, db: usize, key: &[u8], expired: bool) -> bool {
        let mine = self.by_client.entry(id).or_default();
        if mine.iter().any(|(d, k)| *d == db && **k == *key) {
            return false;
        }
        mine.push((db, key.into()));
        if self.dbs.len() <= db {
            self.dbs.resize_with(db + 1, HashMap::new);
        }
        let list = self.dbs[db].entry(key.into()).or_default();
        list.push(Watcher { client: id, expired });
        list.len() == 1
    }

    /// Ends all watches of a client; calls `free` with each key that no client watches any more.
    pub fn remove_all(&mut self, id: ClientId, mut free: impl FnMut(&[u8])) {
        for (db, key) in self.by_client.remove(&id).unwrap_or_default() {
            let Some(list) = self.dbs[db].get_mut(&key) else { continue };
            list.retain(|w| w.client != id);
            if list.is_empty() {
                self.dbs[db].remove(&key);
                free(&key);
            }
        }
    }

    fn list(&self, db: usize, key: &[u8]) -> Option<&Vec<Watcher>> {
        self.dbs.get(db)?.get(key)
    }

    /// Was the client's watch on the key set when it had expired?
    pub fn was_expired(&self, id: ClientId, db: usize, key: &[u8]) -> bool {
        self.list(db, key).is_some_and(|l| l.iter().any(|w| w.client == id && w.expired))
    }

    /// A key changed; `exists` afterwards. Calls `spoil` for every client whose transaction cannot run
    /// any more.
    pub fn touch(&mut self, db: usize, key: &[u8], exists: bool, mut spoil: impl FnMut(ClientId)) {
        let Some(list) = self.dbs.get_mut(db).and_then(|keys| keys.get_mut(key)) else { return };
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
        for (key, list) in self.dbs.get_mut(db).into_iter().flatten() {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn watches_are_found_by_borrowed_keys_and_leave_nothing_behind() {
        let id = |index| ClientId { index, generation: 1 };
        let mut w = Watches::default();
        assert!(w.add(id(1), 3, b"k", false) && !w.add(id(1), 3, b"k", false));
        assert!(!w.add(id(2), 3, b"k", true) && w.add(id(2), 0, b"k", false));
        assert_eq!(w.counts(), (2, 2));
        let touched = |w: &mut Watches, db, key: &[u8], exists| {
            let mut all = Vec::new();
            w.touch(db, key, exists, |id| all.push(id.index));
            all
        };
        assert_eq!(touched(&mut w, 3, b"k", false), [1], "the second had expired before it was watched");
        assert_eq!(touched(&mut w, 3, b"k", true), [1, 2]);
        assert_eq!((touched(&mut w, 9, b"k", true), touched(&mut w, 3, b"l", true)), (vec![], vec![]));
        let mut free = Vec::new();
        w.remove_all(id(1), |k| free.push(k.to_vec()));
        assert!(free.is_empty());
        w.remove_all(id(2), |k| free.push(k.to_vec()));
        assert_eq!((free.len(), w.is_empty(), w.counts()), (2, true, (0, 0)));
    }
}
