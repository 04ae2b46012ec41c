//! A walk through the whole dataset that moves blocks out of sparse slabs, in short steps.
//!
//! ```text
//! for each database:   keys  ─► entry ─► value, if small     index of TTLs
//!                        └► later: names of big values, part by part, before the walk goes on
//! ```
//!
//! Between two steps anything may change. A key that comes meanwhile may be left out, and so may what a
//! table that grows has put elsewhere: the next walk finds it.

use super::Keyspace;
use crate::ds::dict::Index;
use crate::ds::hash::key_hash;
use crate::ds::moving::DefragCursor;
use crate::object::value::Value;
use crate::sys::defrag::Mover;
use std::collections::VecDeque;

/// Where a walk stands.
#[derive(Default)]
pub struct DatasetWalk {
    db: usize,
    expires: bool,
    cursor: u64,
    /// Keys of the database whose values are big. The first of them is under way.
    later: VecDeque<Box<[u8]>>,
    inside: DefragCursor,
    /// Keys of which something was moved, and others.
    pub key_hits: u64,
    pub key_misses: u64,
}

impl Keyspace {
    /// One step; true when the walk is over. Values of more than `max_fields` items are done part by part.
    pub fn defrag(&mut self, walk: &mut DatasetWalk, mover: &mut Mover, max_fields: usize) -> bool {
        if walk.db >= self.dbs.len() {
            return true;
        }
        if !walk.later.is_empty() {
            self.defrag_big(walk, mover);
            return false;
        }
        let DatasetWalk { later, key_hits, key_misses, .. } = walk;
        let value = |mover: &mut Mover, key: &[u8], r| {
            let mut value = Value::from_remains(r);
            if value.effort() > max_fields {
                later.push_back(key.into());
            } else {
                let mut at = DefragCursor::default();
                while !value.defrag(&mut at, mover) {}
            }
            value.into_remains()
        };
        let seen = |moved| if moved { *key_hits += 1 } else { *key_misses += 1 };
        let which = if walk.expires { Index::Expires } else { Index::Keys };
        walk.cursor = self.dbs[walk.db].defrag(which, walk.cursor, mover, value, seen);
        if walk.cursor == 0 {
            walk.db += usize::from(walk.expires);
            walk.expires = !walk.expires;
        }
        false
    }

    /// One part of the first big value.
    fn defrag_big(&mut self, walk: &mut DatasetWalk, mover: &mut Mover) {
        let Some(key) = walk.later.front() else { return };
        let h = key_hash(key);
        let table = self.dbs[walk.db].dict_mut();
        let entry = table.locate(h, key).and_then(|place| table.at_mut(place));
        let mut done = true;
        if let Some(mut entry) = entry
            && let Some(r) = entry.take()
        {
            let mut value = Value::from_remains(r);
            done = value.defrag(&mut walk.inside, mover);
            let given = entry.give(value.into_remains());
            assert!(given.is_ok(), "its place has been left empty");
        }
        if done {
            walk.later.pop_front();
            walk.inside = DefragCursor::default();
        }
    }
}
