//! The outbox: what the dataset did to the world, in the order it happened. `server::settle` drains it.

use crate::ds::hash::hash;
use std::collections::{HashMap, VecDeque};

#[derive(Debug)]
pub enum Effect {
    /// A keyspace event; module callbacks run here.
    Event { db: usize, class: u32, name: &'static str, key: Box<[u8]> },
    /// Something to propagate beside the command itself.
    Op { db: usize, args: Vec<Box<[u8]>> },
    /// For WATCH and client tracking. Drained before the unit ends, so the client that caused it is still the
    /// one whose request runs.
    Modified {
        db: usize,
        key: Box<[u8]>,
        /// The key has expired or was evicted: no client has written.
        by_itself: bool,
    },
    /// Clients may be blocked on this key; `gone`: its value of this type has been taken away.
    Ready { db: usize, key: Box<[u8]>, ty: u8, gone: bool },
}

#[derive(Debug, Default)]
pub struct Effects {
    queue: VecDeque<Effect>,
}

impl Effects {
    pub fn push(&mut self, e: Effect) {
        self.queue.push_back(e);
    }
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }
    pub fn pop(&mut self) -> Option<Effect> {
        self.queue.pop_front()
    }
    /// All of it; what is caused while it is drained comes into a queue of its own.
    pub fn take(&mut self) -> Effects {
        std::mem::take(self)
    }
}

/// Keys whose changes are news, to WATCH and tracking or to blocked clients, in whatever database: by hash,
/// so that the writer of any other key neither allocates nor looks further. Two keys of one hash only cost a
/// needless effect.
#[derive(Debug, Default)]
pub struct Watched {
    hashes: HashMap<u64, u32>,
}

impl Watched {
    pub fn add(&mut self, key: &[u8]) {
        *self.hashes.entry(hash(key)).or_default() += 1;
    }

    pub fn remove(&mut self, key: &[u8]) {
        let hash = hash(key);
        let Some(n) = self.hashes.get_mut(&hash) else { return };
        *n -= 1;
        if *n == 0 {
            self.hashes.remove(&hash);
        }
    }

    pub fn may_hold(&self, key: &[u8]) -> bool {
        self.hashes.contains_key(&hash(key))
    }
}
