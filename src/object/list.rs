//! Lists: one listpack while small, a quicklist when big. Upstream's rule: a listpack grows into a quicklist past
//! `list-max-listpack-size`, and a quicklist of one packed node shrinks back at half of it.

use super::digest::Digest;
use super::value::Kind;
use crate::ds::entry::{enc, ty};
use crate::ds::listpack::Listpack;
use crate::ds::quicklist::{End, PACKED_THRESHOLD, Quicklist};

#[derive(Clone)]
pub enum List {
    Packed(Listpack),
    Quick(Box<Quicklist>),
}

/// `list-max-listpack-size`, `list-compress-depth`, and DEBUG QUICKLIST-PACKED-THRESHOLD.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    pub fill: i32,
    pub depth: i32,
    /// Elements of this length and more get a node of their own in a quicklist.
    pub packed_threshold: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Limits { fill: -2, depth: 0, packed_threshold: PACKED_THRESHOLD }
    }
}

impl Kind for List {
    const TYPE: u8 = ty::LIST;
    fn into_parts(self) -> (u8, u64) {
        match self {
            List::Packed(l) => (enc::LISTPACK, l.into_raw().as_ptr() as u64),
            List::Quick(q) => (enc::QUICKLIST, Box::into_raw(q) as u64),
        }
    }
    fn is_empty(&self) -> bool {
        self.len() == 0
    }
    fn effort(&self) -> usize {
        match self {
            List::Packed(_) => 1,
            List::Quick(q) => q.node_count(),
        }
    }
    fn heap_bytes(&self, samples: usize) -> usize {
        match self {
            List::Packed(l) => l.alloc_size(),
            List::Quick(q) => q.alloc_size(samples),
        }
    }
    fn digest(&self, d: &mut Digest) {
        match self {
            List::Packed(l) => l.iter().for_each(|e| e.with_text(|e| d.mix(e))),
            List::Quick(q) => {
                let mut all = q.iter(End::Head);
                while let Some(e) = all.next() {
                    e.with_text(|e| d.mix(e));
                }
            }
        }
    }
}

impl Default for List {
    fn default() -> Self {
        List::Packed(Listpack::new())
    }
}

impl List {
    pub fn len(&self) -> usize {
        match self {
            List::Packed(l) => l.len(),
            List::Quick(q) => q.len(),
        }
    }
}
