//! Hashes: a listpack of fields and values side by side while small, a table of pairs when big.
//!
//! A hash becomes a table when it has more fields, or a longer field or value, than the limits allow;
//! it never goes back.

use super::digest::Digest;
use super::tables::{self, Full};
use super::value::ValueKind;
use crate::algo::rng::Rng;
use crate::ds::entry::{enc, ty};
use crate::ds::listpack::{Element, Listpack, Sink, safe_to_add};
use crate::ds::moving::{self, DefragCursor};
use crate::ds::pairs::Pairs;
use crate::sys::defrag::Mover;

/// Draws with repetition from a listpack, in one walk through it (HRANDFIELD_RANDOM_SAMPLE_LIMIT).
const PICKED_AT_ONCE: u64 = 1000;

#[derive(Clone)]
pub enum Hash {
    Packed(Listpack),
    Table(Box<Pairs>),
}

/// `hash-max-listpack-entries` and `hash-max-listpack-value`.
#[derive(Clone, Copy, Debug)]
pub struct HashLimits {
    pub entries: usize,
    pub value: usize,
}

impl Default for HashLimits {
    fn default() -> Self {
        HashLimits { entries: 512, value: 64 }
    }
}

/// One step through a table, of a hash or a set.
pub(super) fn defrag_table(t: &mut Box<Pairs>, at: &mut DefragCursor, mover: &mut Mover) -> bool {
    if at.begins() {
        moving::boxed(t, mover);
    }
    at.at = t.defrag(at.at, mover);
    at.at == 0
}

impl ValueKind for Hash {
    const TYPE: u8 = ty::HASH;
    fn into_parts(self) -> (u8, u64) {
        match self {
            Hash::Packed(l) => (enc::LISTPACK, l.into_raw().as_ptr() as u64),
            Hash::Table(t) => (enc::HT, Box::into_raw(t) as u64),
        }
    }
    fn is_empty(&self) -> bool {
        self.len() == 0
    }
    fn effort(&self) -> usize {
        match self {
            Hash::Packed(_) => 1,
            Hash::Table(t) => t.len(),
        }
    }
    fn heap_bytes(&self) -> usize {
        match self {
            Hash::Packed(l) => l.alloc_size(),
            Hash::Table(t) => t.footprint(),
        }
    }
    fn digest(&self, d: &mut Digest) {
        self.for_each(|field, value| {
            let mut pair = Digest::default();
            field.with_text(|f| pair.mix(f));
            value.with_text(|v| pair.mix(v));
            d.xor(&pair.0);
        });
    }
    fn is_rehashing(&self) -> bool {
        matches!(self, Hash::Table(t) if t.is_rehashing())
    }
    fn rehash(&mut self, steps: usize) {
        if let Hash::Table(t) = self {
            t.rehash(steps);
        }
    }
    fn table_figures(&self, full: Full) -> Option<String> {
        match self {
            Hash::Packed(_) => None,
            Hash::Table(t) => Some(tables::figures(&t.figures(full.0))),
        }
    }
    fn defrag(&mut self, at: &mut DefragCursor, mover: &mut Mover) -> bool {
        match self {
            Hash::Packed(l) => {
                l.defrag(mover);
                true
            }
            Hash::Table(t) => defrag_table(t, at, mover),
        }
    }
}

impl Default for Hash {
    fn default() -> Self {
        Hash::Packed(Listpack::new())
    }
}

impl Hash {
    pub fn len(&self) -> usize {
        match self {
            Hash::Packed(l) => l.len() / 2,
            Hash::Table(t) => t.len(),
        }
    }

    /// A value in whatever form it has here.
    pub fn get(&self, field: &[u8]) -> Option<Element<'_>> {
        match self {
            Hash::Packed(l) => {
                let at = l.find(l.first()?, field, 1)?;
                l.next(at).map(|v| l.get(v))
            }
            Hash::Table(t) => t.get(field).map(Element::Str),
        }
    }

    pub fn contains(&self, field: &[u8]) -> bool {
        match self {
            Hash::Packed(l) => l.first().is_some_and(|f| l.find(f, field, 1).is_some()),
            Hash::Table(t) => t.contains(field),
        }
    }

    /// Becomes a table when these fields and values are too many, too long, or together too much to
    /// stay packed (before they are stored).
    pub fn prepare(&mut self, words: &[&[u8]], limits: &HashLimits) {
        let Hash::Packed(l) = self else { return };
        let new_fields = words.len() / 2;
        if new_fields > limits.entries {
            return self.to_table(new_fields);
        }
        let bytes = words.iter().map(|w| w.len()).sum();
        if words.iter().any(|w| w.len() > limits.value) || !safe_to_add(Some(l), bytes) {
            self.to_table(0);
        }
    }

    /// Stores a field; true when it is new.
    pub fn set(&mut self, field: &[u8], value: &[u8], limits: &HashLimits) -> bool {
        if matches!(self, Hash::Packed(_)) && field.len().max(value.len()) > limits.value {
            self.to_table(0);
        }
        let is_new = match self {
            Hash::Table(t) => return t.set(field, value),
            Hash::Packed(l) => match l.first().and_then(|f| l.find(f, field, 1)) {
                Some(f) => {
                    let v = l.next(f).expect("each field has a value");
                    l.replace(v, value);
                    false
                }
                None => {
                    l.push_back(field);
                    l.push_back(value);
                    true
                }
            },
        };
        if is_new && self.len() > limits.entries {
            self.to_table(0);
        }
        is_new
    }

    pub fn remove(&mut self, field: &[u8]) -> bool {
        match self {
            Hash::Table(t) => t.remove(field),
            Hash::Packed(l) => {
                let Some(at) = l.first().and_then(|f| l.find(f, field, 1)) else { return false };
                l.delete_range_at(at, 2);
                true
            }
        }
    }

    /// Makes it a table that need not grow before it has `len` fields.
    pub fn to_table(&mut self, len: usize) {
        let Hash::Packed(l) = self else { return };
        let mut t = Box::new(Pairs::new());
        t.reserve(len.max(l.len() / 2));
        for (f, v) in l.pairs() {
            f.with_text(|f| v.with_text(|v| t.set(f, v)));
        }
        *self = Hash::Table(t);
    }

    pub fn for_each(&self, mut f: impl FnMut(Element<'_>, Element<'_>)) {
        match self {
            Hash::Packed(l) => l.pairs().for_each(|(k, v)| f(k, v)),
            Hash::Table(t) => t.iter().for_each(|(k, v)| f(Element::Str(k), Element::Str(v))),
        }
    }

    /// Hands out every field, followed by its value.
    pub fn show(&self, sink: &mut impl Sink) {
        match self {
            Hash::Packed(l) => _ = sink.run(&mut l.iter(), l.len()),
            Hash::Table(t) => t.iter().for_each(|(k, v)| {
                sink.one(Element::Str(k));
                sink.one(Element::Str(v));
            }),
        }
    }

    /// Any field with its value, each as likely as every other. None of an empty hash.
    pub fn random(&self, rng: &mut Rng) -> Option<(Element<'_>, Element<'_>)> {
        match self {
            Hash::Packed(l) => {
                let at = l.pick_one(2, |n| rng.index(n))?;
                Some((l.get(at), l.get(l.next(at)?)))
            }
            Hash::Table(t) => {
                t.random(|| rng.next_u64()).map(|(f, v)| (Element::Str(f), Element::Str(v)))
            }
        }
    }

    /// `n` fields, every one drawn anew, for as long as `f` wants more.
    pub fn pick(&self, n: u64, rng: &mut Rng, mut f: impl FnMut(Element<'_>, Element<'_>) -> bool) {
        let Hash::Packed(l) = self else {
            for _ in 0..n {
                let Some((field, value)) = self.random(rng) else { return };
                if !f(field, value) {
                    return;
                }
            }
            return;
        };
        let mut left = n;
        while left > 0 {
            let now = left.min(PICKED_AT_ONCE);
            left -= now;
            for at in l.pick(now as usize, 2, |n| rng.index(n)) {
                let value = l.next(at).expect("each field has a value");
                if !f(l.get(at), l.get(value)) {
                    return;
                }
            }
        }
    }

    /// `n` different fields, or all there are.
    pub fn sample(&self, n: usize, rng: &mut Rng, mut f: impl FnMut(Element<'_>, Element<'_>)) {
        match self {
            Hash::Packed(l) => {
                for at in l.sample(n, 2, |n| rng.index(n)) {
                    let value = l.next(at).expect("each field has a value");
                    f(l.get(at), l.get(value));
                }
            }
            Hash::Table(t) => t.sample(n, rng, |k, v| {
                f(Element::Str(k), Element::Str(v));
                true
            }),
        }
    }
}
