//! How much memory clients take, by kind, and the order in which `maxmemory-clients` evicts them.
//!
//! ```text
//! bucket n: clients of 2^n bytes and more      eviction: highest bucket first, inside it by slot
//! ```
//!
//! A client that moves inside its bucket costs an addition; only one that doubles or halves is moved.
//! Buckets begin at 32 KiB and end at 8 GiB (CLIENT_MEM_USAGE_BUCKET_MIN_LOG, MAX_LOG). Clients that
//! may not be evicted count by kind, but stand in no bucket.

use super::client::Counted;
use super::{ClientId, ClientKind};
use std::collections::BTreeSet;

const MIN_LOG: u32 = 15;
const MAX_LOG: u32 = 33;

#[derive(Debug, Default)]
pub struct Usage {
    by_kind: [usize; ClientKind::COUNT],
    buckets: BTreeSet<(u8, ClientId)>,
}

fn bucket(bytes: usize) -> u8 {
    let log = usize::BITS - bytes.leading_zeros();
    (log.clamp(MIN_LOG, MAX_LOG) + 1) as u8
}

impl Usage {
    /// The client takes `bytes` now; returns what to remember of it.
    pub fn update(
        &mut self,
        id: ClientId,
        old: &Counted,
        bytes: usize,
        kind: ClientKind,
        evictable: bool,
    ) -> Counted {
        self.by_kind[old.kind as usize] -= old.bytes;
        self.by_kind[kind as usize] += bytes;
        let b = if evictable { bucket(bytes) } else { 0 };
        if b != old.bucket {
            self.move_to(id, old.bucket, b);
        }
        Counted { bytes, kind: kind as u8, bucket: b }
    }

    #[cold]
    fn move_to(&mut self, id: ClientId, from: u8, to: u8) {
        if from > 0 {
            let was = self.buckets.remove(&(from, id));
            debug_assert!(was, "a client stands in the bucket it remembers");
        }
        if to > 0 {
            self.buckets.insert((to, id));
        }
    }

    /// The client is gone.
    pub fn forget(&mut self, id: ClientId, old: &Counted) {
        self.by_kind[old.kind as usize] -= old.bytes;
        self.move_to(id, old.bucket, 0);
    }

    pub fn of(&self, kind: ClientKind) -> usize {
        self.by_kind[kind as usize]
    }

    /// What counts against `maxmemory-clients`.
    pub fn evictable_kinds(&self) -> usize {
        self.of(ClientKind::Normal) + self.of(ClientKind::Pubsub)
    }

    /// The client that is evicted next.
    pub fn largest(&self) -> Option<ClientId> {
        let &(top, _) = self.buckets.last()?;
        let first = ClientId { index: 0, generation: 0 };
        self.buckets.range((top, first)..).next().map(|(_, id)| *id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(index: u32) -> ClientId {
        ClientId { index, generation: 1 }
    }

    #[test]
    fn the_largest_goes_first_and_sums_follow_every_change() {
        let mut u = Usage::default();
        let sizes = [1_000, 70_000, 5_000_000, 300_000, 4_500_000, 0];
        let mut marks: Vec<Counted> = sizes
            .iter()
            .enumerate()
            .map(|(i, n)| u.update(id(i as u32), &Counted::default(), *n, ClientKind::Normal, true))
            .collect();
        assert_eq!(u.evictable_kinds(), sizes.iter().sum::<usize>());
        assert_eq!(u.largest(), Some(id(2)));
        marks[2] = u.update(id(2), &marks[2], 100, ClientKind::Replica, false);
        assert_eq!((u.largest(), u.of(ClientKind::Replica)), (Some(id(4)), 100));
        for (i, m) in marks.iter().enumerate() {
            u.forget(id(i as u32), m);
        }
        assert_eq!((u.largest(), u.evictable_kinds(), u.of(ClientKind::Replica)), (None, 0, 0));
    }
}
