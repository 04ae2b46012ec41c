//! Who waits for what: clients blocked on keys, in the order they came, and their timeouts.
//!
//! ```text
//! (db, key) ──► waiting clients, first come first          timeouts: (ms, client), sorted
//! ready: keys that somebody waits for and a unit touched, each once, served at the end of the unit
//! ```
//!
//! A blocked client keeps its request. When a key becomes ready the request is run again, through all refusals, with
//! the timeout it had; if it blocks once more, nothing was lost but the look.

use crate::clients::ClientId;
use std::collections::{BTreeSet, HashMap, HashSet, VecDeque};

/// What a client waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wait {
    /// A key of this type; `any_change` also wakes on deletion and change of type (XREADGROUP).
    Key { ty: u8, any_change: bool },
    /// WAIT and WAITAOF.
    Replicas,
    /// Somebody else's work (a module).
    Module,
}

#[derive(Debug)]
pub struct Block {
    pub wait: Wait,
    pub db: usize,
    pub keys: Vec<Box<[u8]>>,
    /// Unix milliseconds; 0 for ever.
    pub deadline: i64,
    pub cmd: u16,
    pub args: Vec<Box<[u8]>>,
}

#[derive(Debug, Default)]
pub struct Blocked {
    clients: HashMap<ClientId, Block>,
    keys: HashMap<(usize, Box<[u8]>), VecDeque<ClientId>>,
    timeouts: BTreeSet<(i64, ClientId)>,
    ready: VecDeque<(usize, Box<[u8]>)>,
    in_ready: HashSet<(usize, Box<[u8]>)>,
}

impl Blocked {
    pub fn is_empty(&self) -> bool {
        self.clients.is_empty()
    }

    pub fn len(&self) -> usize {
        self.clients.len()
    }

    /// Those who do not wait for ever.
    pub fn with_timeout(&self) -> usize {
        self.timeouts.len()
    }

    /// Keys that anybody waits for, and those of them that wake on deletion.
    pub fn key_counts(&self) -> (usize, usize) {
        let any = |k: &VecDeque<ClientId>| {
            let mut waits = k.iter().filter_map(|c| self.clients.get(c)).map(|b| b.wait);
            waits.any(|w| matches!(w, Wait::Key { any_change: true, .. }))
        };
        (self.keys.len(), self.keys.values().filter(|k| any(k)).count())
    }

    pub fn get(&self, id: ClientId) -> Option<&Block> {
        self.clients.get(&id)
    }

    pub fn add(&mut self, id: ClientId, b: Block) {
        debug_assert!(!self.clients.contains_key(&id), "blocked twice");
        for key in &b.keys {
            let list = self.keys.entry((b.db, key.clone())).or_default();
            if !list.contains(&id) {
                list.push_back(id);
            }
        }
        if b.deadline > 0 {
            self.timeouts.insert((b.deadline, id));
        }
        self.clients.insert(id, b);
    }

    pub fn remove(&mut self, id: ClientId) -> Option<Block> {
        let b = self.clients.remove(&id)?;
        for key in &b.keys {
            let at = (b.db, key.clone());
            if let Some(list) = self.keys.get_mut(&at) {
                list.retain(|c| *c != id);
                if list.is_empty() {
                    self.keys.remove(&at);
                }
            }
        }
        self.timeouts.remove(&(b.deadline, id));
        Some(b)
    }

    /// A key of type `ty` changed in a way that could serve somebody: remembers it when it does.
    pub fn signal(&mut self, db: usize, key: &[u8], ty: u8, exists: bool) {
        let at = (db, Box::from(key));
        let Some(list) = self.keys.get(&at) else { return };
        let wakes = list.iter().filter_map(|c| self.clients.get(c)).any(|b| match b.wait {
            Wait::Key { ty: t, any_change } => (t == ty && exists) || any_change,
            _ => false,
        });
        if wakes && self.in_ready.insert(at.clone()) {
            self.ready.push_back(at);
        }
    }

    /// Keys that somebody waits for, in one database.
    pub fn keys_of(&self, db: usize) -> Vec<Box<[u8]>> {
        self.keys.keys().filter(|(d, _)| *d == db).map(|(_, k)| k.clone()).collect()
    }

    pub fn has_ready(&self) -> bool {
        !self.ready.is_empty()
    }

    /// The next ready key, with those who wait for it now.
    pub fn next_ready(&mut self) -> Option<(usize, Box<[u8]>, Vec<ClientId>)> {
        let at = self.ready.pop_front()?;
        self.in_ready.remove(&at);
        let waiting = self.keys.get(&at).map_or(Vec::new(), |l| l.iter().copied().collect());
        Some((at.0, at.1, waiting))
    }

    /// Those whose time is over.
    pub fn timed_out(&mut self, now_ms: i64) -> Vec<ClientId> {
        let due = self.timeouts.iter().take_while(|(at, _)| *at <= now_ms);
        due.map(|(_, id)| *id).collect()
    }

    pub fn next_timeout(&self) -> Option<i64> {
        self.timeouts.first().map(|(at, _)| *at)
    }
}
