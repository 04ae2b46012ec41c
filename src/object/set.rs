//! Sets: an intset while all members are integers, a listpack while small, a table when big.
//!
//! ```text
//! intset ──► listpack ──► table      a member that is no integer, too many, too long; never back
//! ```

use super::digest::Digest;
use super::tables::{self, Full};
use super::value::Kind;
use crate::algo::num::parse_i64;
use crate::ds::entry::{enc, ty};
use crate::ds::intset::Intset;
use crate::ds::listpack::{Element, Listpack};
use crate::ds::pairs::Pairs;

#[derive(Clone)]
pub enum Set {
    Ints(Intset),
    Packed(Listpack),
    Table(Box<Pairs>),
}

/// `set-max-intset-entries`, `set-max-listpack-entries`, `set-max-listpack-value`.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    pub ints: usize,
    pub entries: usize,
    pub value: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Limits { ints: 512, entries: 128, value: 64 }
    }
}

impl Limits {
    /// Longest intset there may be: 2^30 whatever the directive says.
    pub fn max_ints(&self) -> usize {
        self.ints.min(1 << 30)
    }
}

impl Kind for Set {
    const TYPE: u8 = ty::SET;
    fn into_parts(self) -> (u8, u64) {
        match self {
            Set::Ints(s) => (enc::INTSET, s.into_raw().as_ptr() as u64),
            Set::Packed(l) => (enc::LISTPACK, l.into_raw().as_ptr() as u64),
            Set::Table(t) => (enc::HT, Box::into_raw(t) as u64),
        }
    }
    fn is_empty(&self) -> bool {
        self.len() == 0
    }
    fn effort(&self) -> usize {
        match self {
            Set::Table(t) => t.len(),
            _ => 1,
        }
    }
    fn heap_bytes(&self, samples: usize) -> usize {
        match self {
            Set::Ints(s) => s.alloc_size(),
            Set::Packed(l) => l.alloc_size(),
            Set::Table(t) => t.footprint_sampled(samples),
        }
    }
    fn digest(&self, d: &mut Digest) {
        self.for_each(|m| m.with_text(|m| d.xor(m)));
    }
    fn table_figures(&self, full: Full) -> Option<String> {
        match self {
            Set::Ints(_) | Set::Packed(_) => None,
            Set::Table(t) => Some(tables::figures(t.table(), full)),
        }
    }
}

impl Set {
    /// The set that fits a first member, with `hint` more to come.
    pub fn for_member(member: &[u8], hint: usize, limits: &Limits) -> Set {
        if parse_i64(member).is_some() && hint <= limits.max_ints() {
            return Set::Ints(Intset::new());
        }
        if hint <= limits.entries {
            return Set::Packed(Listpack::new());
        }
        let mut t = Box::new(Pairs::new());
        t.reserve(hint);
        Set::Table(t)
    }

    pub fn len(&self) -> usize {
        match self {
            Set::Ints(s) => s.len(),
            Set::Packed(l) => l.len(),
            Set::Table(t) => t.len(),
        }
    }

    pub fn contains(&self, member: &[u8]) -> bool {
        match self {
            Set::Ints(s) => parse_i64(member).is_some_and(|n| s.contains(n)),
            Set::Packed(l) => l.first().is_some_and(|f| l.find(f, member, 0).is_some()),
            Set::Table(t) => t.contains(member),
        }
    }

    /// Adds a member; true when it is new.
    pub fn add(&mut self, member: &[u8], limits: &Limits) -> bool {
        match self {
            Set::Table(t) => t.add(member),
            Set::Packed(l) => {
                if l.first().is_some_and(|f| l.find(f, member, 0).is_some()) {
                    return false;
                }
                let fits = l.len() < limits.entries
                    && member.len() <= limits.value
                    && crate::ds::listpack::safe_to_add(Some(l), member.len());
                if fits {
                    l.push_back(member);
                    return true;
                }
                self.to_table(1);
                self.add(member, limits)
            }
            Set::Ints(s) => match parse_i64(member) {
                Some(n) => {
                    let is_new = s.add(n);
                    if is_new && s.len() > limits.max_ints() {
                        self.leave_ints(0, limits);
                    }
                    is_new
                }
                None => {
                    self.leave_ints(member.len(), limits);
                    self.add(member, limits)
                }
            },
        }
    }

    /// An intset becomes a listpack when it is small enough, with a member of `longest` bytes to come; else a table.
    fn leave_ints(&mut self, longest: usize, limits: &Limits) {
        let Set::Ints(s) = self else { return };
        let (len, ends) = (s.len(), [s.min(), s.max()]);
        let digits =
            ends.iter().flatten().map(|n| itoa::Buffer::new().format(*n).len()).max().unwrap_or(0);
        if len < limits.entries && longest.max(digits) <= limits.value && longest > 0 {
            let mut l = Listpack::new();
            s.iter().for_each(|n| l.push_back(Element::Int(n)));
            *self = Set::Packed(l);
        } else {
            self.to_table(1);
        }
    }

    pub fn remove(&mut self, member: &[u8]) -> bool {
        match self {
            Set::Table(t) => t.remove(member),
            Set::Packed(l) => {
                let Some(at) = l.first().and_then(|f| l.find(f, member, 0)) else { return false };
                l.delete(at);
                true
            }
            Set::Ints(s) => parse_i64(member).is_some_and(|n| s.remove(n)),
        }
    }

    /// Makes it a table with room for `more` members.
    pub fn to_table(&mut self, more: usize) {
        if matches!(self, Set::Table(_)) {
            return;
        }
        let mut t = Box::new(Pairs::new());
        t.reserve(self.len() + more);
        self.for_each(|m| {
            m.with_text(|m| t.add(m));
        });
        *self = Set::Table(t);
    }

    pub fn for_each(&self, mut f: impl FnMut(Element<'_>)) {
        match self {
            Set::Ints(s) => s.iter().for_each(|n| f(Element::Int(n))),
            Set::Packed(l) => l.iter().for_each(f),
            Set::Table(t) => t.keys().for_each(|k| f(Element::Str(k))),
        }
    }
}
