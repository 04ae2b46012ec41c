//! Hashes: a listpack of fields and values side by side while small, a table of pairs when big.
//!
//! A hash becomes a table when it has more fields, or a longer field or value, than the limits allow; it never
//! goes back.

use super::digest::Digest;
use super::tables::{self, Full};
use super::value::Kind;
use crate::ds::entry::{enc, ty};
use crate::ds::listpack::{Element, Listpack};
use crate::ds::pairs::Pairs;

#[derive(Clone)]
pub enum Hash {
    Packed(Listpack),
    Table(Box<Pairs>),
}

/// `hash-max-listpack-entries` and `hash-max-listpack-value`.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    pub entries: usize,
    pub value: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Limits { entries: 512, value: 64 }
    }
}

impl Kind for Hash {
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
    fn heap_bytes(&self, samples: usize) -> usize {
        match self {
            Hash::Packed(l) => l.alloc_size(),
            Hash::Table(t) => t.footprint_sampled(samples),
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
    fn table_figures(&self, full: Full) -> Option<String> {
        match self {
            Hash::Packed(_) => None,
            Hash::Table(t) => Some(tables::figures(t.table(), full)),
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

    /// Becomes a table when one of these words is too long to stay packed (before they are stored).
    pub fn prepare(&mut self, words: &[&[u8]], limits: &Limits) {
        let Hash::Packed(l) = self else { return };
        let new_fields = words.len() / 2;
        let too_long = words.iter().any(|w| w.len() > limits.value);
        let bytes: usize = words.iter().map(|w| w.len()).sum();
        if new_fields > limits.entries || too_long || !crate::ds::listpack::safe_to_add(Some(l), bytes) {
            self.to_table(new_fields);
        }
    }

    /// Stores a field; true when it is new.
    pub fn set(&mut self, field: &[u8], value: &[u8], limits: &Limits) -> bool {
        let is_new = match self {
            Hash::Table(t) => return t.set(field, value),
            Hash::Packed(l) => {
                let found = l.first().and_then(|f| l.find(f, field, 1));
                match found.and_then(|f| l.next(f)) {
                    Some(v) => {
                        l.replace(v, value);
                        false
                    }
                    None => {
                        l.push_back(field);
                        l.push_back(value);
                        true
                    }
                }
            }
        };
        if self.len() > limits.entries {
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

    /// Makes it a table with room for `more` fields.
    pub fn to_table(&mut self, more: usize) {
        let Hash::Packed(l) = self else { return };
        let mut t = Box::new(Pairs::new());
        t.reserve(l.len() / 2 + more);
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
}
