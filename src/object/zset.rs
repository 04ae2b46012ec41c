//! Sorted sets: a listpack of members and scores in order while small, order and table when big.

use super::digest::Digest;
use super::tables::{self, Full};
use super::value::Kind;
use crate::algo::num::{F64Text, parse_f64};
use crate::ds::entry::{enc, ty};
use crate::ds::listpack::{Element, Listpack};
use crate::ds::zindex::Zindex;

pub enum Zset {
    Packed(Listpack),
    Skip(Box<Zindex>),
}

/// `zset-max-listpack-entries` and `zset-max-listpack-value`.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    pub entries: usize,
    pub value: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Limits { entries: 128, value: 64 }
    }
}

impl Kind for Zset {
    const TYPE: u8 = ty::ZSET;
    fn into_parts(self) -> (u8, u64) {
        match self {
            Zset::Packed(l) => (enc::LISTPACK, l.into_raw().as_ptr() as u64),
            Zset::Skip(z) => (enc::SKIPLIST, Box::into_raw(z) as u64),
        }
    }
    fn is_empty(&self) -> bool {
        self.len() == 0
    }
    fn effort(&self) -> usize {
        match self {
            Zset::Packed(_) => 1,
            Zset::Skip(z) => z.len(),
        }
    }
    fn heap_bytes(&self, _samples: usize) -> usize {
        match self {
            Zset::Packed(l) => l.alloc_size(),
            Zset::Skip(z) => z.footprint(),
        }
    }
    fn digest(&self, d: &mut Digest) {
        let mut add = |member: &[u8], score: f64| {
            let mut pair = Digest::default();
            pair.mix(member);
            pair.mix(&F64Text::plain(score));
            d.xor(&pair.0);
        };
        match self {
            Zset::Packed(l) => {
                l.pairs().for_each(|(m, s)| m.with_text(|m| add(m, packed_score(s))));
            }
            Zset::Skip(z) => z.order().iter(0..z.len()).for_each(|n| add(n.member(), n.score())),
        }
    }
    fn table_figures(&self, full: Full) -> Option<String> {
        match self {
            Zset::Packed(_) => None,
            Zset::Skip(z) => Some(tables::figures(z.table(), full)),
        }
    }
}

/// A score as a listpack holds it.
fn packed_score(e: Element<'_>) -> f64 {
    match e {
        Element::Int(n) => n as f64,
        Element::Str(text) => parse_f64(text).expect("scores are stored as numbers"),
    }
}

impl Clone for Zset {
    fn clone(&self) -> Self {
        match self {
            Zset::Packed(l) => Zset::Packed(l.clone()),
            Zset::Skip(z) => {
                let mut copy = Box::new(Zindex::new());
                copy.reserve(z.len());
                z.order().iter(0..z.len()).for_each(|n| {
                    copy.set(n.member(), n.score());
                });
                Zset::Skip(copy)
            }
        }
    }
}

impl Default for Zset {
    fn default() -> Self {
        Zset::Packed(Listpack::new())
    }
}

impl Zset {
    pub fn len(&self) -> usize {
        match self {
            Zset::Packed(l) => l.len() / 2,
            Zset::Skip(z) => z.len(),
        }
    }
}
