//! Slots: sets of them, and what this node knows of each.

use super::nodes::NodeId;
use crate::proto::bus::SlotBytes;
use std::collections::BTreeMap;

pub(crate) use crate::algo::crc16::SLOTS;

/// One bit for each slot.
pub(crate) type SlotWords = [u64; 256];

pub(crate) fn has(words: &SlotWords, slot: u16) -> bool {
    words.get(usize::from(slot >> 6)).is_some_and(|w| w >> (slot & 63) & 1 == 1)
}

/// The slots of these bits, in order.
pub(crate) fn each(words: &SlotWords) -> impl Iterator<Item = u16> {
    words.iter().enumerate().flat_map(|(n, word)| {
        let mut word = *word;
        std::iter::from_fn(move || {
            let bit = (word != 0).then(|| word.trailing_zeros())?;
            word &= word - 1;
            Some((n * 64) as u16 + bit as u16)
        })
    })
}

/// A set of slots, which takes no room while it is empty.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct SlotSet {
    words: Option<Box<SlotWords>>,
    count: u16,
}

impl SlotSet {
    pub fn count(&self) -> u16 {
        self.count
    }

    pub fn words(&self) -> &SlotWords {
        const NONE: &SlotWords = &[0; 256];
        self.words.as_deref().unwrap_or(NONE)
    }

    pub fn has(&self, slot: u16) -> bool {
        has(self.words(), slot)
    }

    /// Was it not in there?
    pub fn insert(&mut self, slot: u16) -> bool {
        debug_assert!(slot < SLOTS);
        let words = self.words.get_or_insert_with(|| Box::new([0; 256]));
        let (word, bit) = (&mut words[usize::from(slot >> 6)], 1 << (slot & 63));
        let new = *word & bit == 0;
        *word |= bit;
        self.count += u16::from(new);
        new
    }

    /// Was it in there?
    pub fn remove(&mut self, slot: u16) -> bool {
        let Some(words) = &mut self.words else { return false };
        let (word, bit) = (&mut words[usize::from(slot >> 6)], 1 << (slot & 63));
        let old = *word & bit != 0;
        *word &= !bit;
        self.count -= u16::from(old);
        if self.count == 0 {
            self.words = None;
        }
        old
    }

    pub fn without(&self, others: &SlotSet) -> SlotSet {
        self.iter().filter(|slot| !others.has(*slot)).collect()
    }

    pub fn iter(&self) -> impl Iterator<Item = u16> {
        each(self.words())
    }

    pub fn is(&self, bytes: &SlotBytes) -> bool {
        let (chunks, _) = bytes.as_chunks::<8>();
        self.words().iter().zip(chunks).all(|(word, chunk)| word.to_le_bytes() == *chunk)
    }

    pub fn of_bytes(bytes: &SlotBytes) -> SlotSet {
        let mut words = Box::new([0; 256]);
        let (chunks, _) = bytes.as_chunks::<8>();
        for (word, chunk) in words.iter_mut().zip(chunks) {
            *word = u64::from_le_bytes(*chunk);
        }
        let count = words.iter().map(|w| w.count_ones() as u16).sum();
        SlotSet { words: (count > 0).then_some(words), count }
    }

    pub fn to_bytes(&self) -> SlotBytes {
        let mut bytes = [0; 2048];
        let (chunks, _) = bytes.as_chunks_mut::<8>();
        for (chunk, word) in chunks.iter_mut().zip(self.words()) {
            *chunk = word.to_le_bytes();
        }
        bytes
    }

    /// Runs of slots that follow each other, both ends included.
    pub fn ranges(&self) -> Vec<(u16, u16)> {
        let (words, mut ranges, mut slot) = (self.words(), Vec::new(), 0);
        while slot < SLOTS {
            let rest = words[usize::from(slot >> 6)] >> (slot & 63);
            if rest == 0 {
                slot = (slot | 63) + 1;
                continue;
            }
            let start = slot + rest.trailing_zeros() as u16;
            slot = start;
            while slot < SLOTS {
                let ones = (words[usize::from(slot >> 6)] >> (slot & 63)).trailing_ones() as u16;
                slot += ones;
                if ones == 0 || slot & 63 != 0 {
                    break;
                }
            }
            ranges.push((start, slot - 1));
        }
        ranges
    }
}

impl FromIterator<u16> for SlotSet {
    fn from_iter<I: IntoIterator<Item = u16>>(slots: I) -> SlotSet {
        let mut set = SlotSet::default();
        slots.into_iter().for_each(|slot| _ = set.insert(slot));
        set
    }
}

#[derive(Debug)]
pub(crate) struct Slots {
    owner: Box<[Option<NodeId>]>,
    pub migrating: BTreeMap<u16, NodeId>,
    pub importing: BTreeMap<u16, NodeId>,
    /// Bound to a node that no longer claims them.
    pub unclaimed: SlotSet,
}

impl Slots {
    pub fn new() -> Slots {
        Slots {
            owner: vec![None; usize::from(SLOTS)].into(),
            migrating: BTreeMap::new(),
            importing: BTreeMap::new(),
            unclaimed: SlotSet::default(),
        }
    }

    pub fn owner(&self, slot: u16) -> Option<NodeId> {
        self.owner.get(usize::from(slot)).copied().flatten()
    }

    pub fn owners(&self) -> &[Option<NodeId>] {
        &self.owner
    }

    /// The sets of the nodes are the caller's.
    pub(super) fn bind(&mut self, slot: u16, owner: Option<NodeId>) {
        self.owner[usize::from(slot)] = owner;
        self.unclaimed.remove(slot);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::algo::rng::Rng;
    use std::collections::BTreeSet;

    #[test]
    fn a_set_is_as_its_twin() {
        let (mut set, mut twin, mut rng) = (SlotSet::default(), BTreeSet::new(), Rng::seeded(2));
        for round in 0..20_000 {
            let slot = (rng.index(100) * [1, 17, 165][round / 4000 % 3]) as u16;
            if rng.index(2) == 0 {
                assert_eq!(set.insert(slot), twin.insert(slot));
            } else {
                assert_eq!(set.remove(slot), twin.remove(&slot));
            }
            assert_eq!((usize::from(set.count()), set.has(slot)), (twin.len(), twin.contains(&slot)));
            if round % 1000 == 0 {
                assert!(set.iter().eq(twin.iter().copied()));
                assert_eq!(SlotSet::of_bytes(&set.to_bytes()), set);
                let runs = set.ranges().into_iter().flat_map(|(start, end)| start..=end);
                assert!(runs.eq(twin.iter().copied()));
                assert!(set.is(&set.to_bytes()) && (set.count() == 0 || !set.is(&[0; 2048])));
            }
        }
        twin.iter().for_each(|slot| assert!(set.remove(*slot)));
        assert_eq!(set, SlotSet::default());
    }

    #[test]
    fn bits_lie_as_on_the_wire_and_runs_are_joined() {
        let mut set = SlotSet::default();
        for slot in [0, 1, 2, 9, 16382, 16383] {
            assert!(set.insert(slot));
        }
        let bytes = set.to_bytes();
        assert_eq!((bytes[0], bytes[1], bytes[2047]), (7, 2, 0xc0));
        assert_eq!(set.ranges(), [(0, 2), (9, 9), (16382, 16383)]);
    }
}
