//! Keys to which clients of a writable replica have given a TTL. The master knows nothing of them, so nothing
//! would ever delete them: the replica does it itself.
//!
//! ```text
//! key ─► databases, a bit each (0 to 63)        line: the keys in the order in which they are looked at
//! ```

use std::collections::{HashMap, VecDeque};

/// A database with a higher number is not kept track of.
const DATABASES: usize = 64;

#[derive(Default)]
pub struct OwnTtls {
    keys: HashMap<Box<[u8]>, u64>,
    line: VecDeque<Box<[u8]>>,
}

impl OwnTtls {
    pub fn len(&self) -> usize {
        self.keys.len()
    }

    #[cold]
    pub(super) fn add(&mut self, db: usize, key: &[u8]) {
        if db >= DATABASES {
            return;
        }
        match self.keys.get_mut(key) {
            Some(dbs) => *dbs |= 1 << db,
            None => {
                self.keys.insert(key.into(), 1 << db);
                self.line.push_back(key.into());
            }
        }
    }

    /// Looks at the next key: `goes` says of each of its databases whether it has nothing to wait for there.
    /// True when it is to be looked at again later.
    pub fn next(&mut self, mut goes: impl FnMut(usize, &[u8]) -> bool) -> bool {
        let Some(key) = self.line.pop_front() else { return false };
        let Some(dbs) = self.keys.get_mut(&key) else { return false };
        for db in (0..DATABASES).filter(|db| *dbs >> db & 1 != 0).collect::<Vec<_>>() {
            if goes(db, &key) {
                *dbs &= !(1 << db);
            }
        }
        if *dbs == 0 {
            self.keys.remove(&key);
            return false;
        }
        self.line.push_back(key);
        true
    }

    pub fn clear(&mut self) {
        *self = OwnTtls::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_looked_at_in_turn_until_they_have_gone_everywhere() {
        let mut own = OwnTtls::default();
        own.add(0, b"a");
        own.add(5, b"a");
        own.add(1, b"b");
        own.add(64, b"c");
        assert_eq!(own.len(), 2);
        assert!(own.next(|db, key| (db, key) == (5, &b"a"[..])));
        assert!(!own.next(|db, key| (db, key) == (1, &b"b"[..])));
        assert!(!own.next(|db, key| (db, key) == (0, &b"a"[..])));
        assert_eq!(own.len(), 0);
        assert!(!own.next(|_, _| true));
    }
}
