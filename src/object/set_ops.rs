//! Set algebra: intersection, union and difference of any number of sets.
//!
//! ```text
//! from ──► groups of 16: [member, text, hash] ──► fetch buckets, elements ──► in all? in none? ──► f
//! ```
//!
//! Everything is one walk through a set that asks others about its members (`filter`). A member is
//! hashed once for all tables; the first of them is fetched for a whole group before it is asked.
//! Sorted integers need no asking: they are merged.
//!
//! Results that are to be stored are built as upstream builds them, because their encoding shows how:
//! in which order members came, and whether a difference has been taken by looking up or by removing.

use super::set::{Set, SetLimits};
use crate::algo::num::parse_i64;
use crate::ds::hash::hash;
use crate::ds::intset::Intset;
use crate::ds::listpack::{Element, Listpack};

/// Members that are hashed and fetched together.
const GROUP: usize = 16;

/// Which members of a set are wanted.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Rule {
    InAll,
    InNone,
}

/// A member with all that a table wants to know of it.
struct Probe<'a, 'r> {
    member: Element<'a>,
    text: &'r [u8],
    hash: u64,
}

impl<'a: 'r, 'r> Probe<'a, 'r> {
    fn new(member: Element<'a>, room: &'r mut itoa::Buffer) -> Self {
        let text = match member {
            Element::Str(s) => s,
            Element::Int(n) => room.format(n).as_bytes(),
        };
        Probe { member, text, hash: hash(text) }
    }
}

/// Members of `from` that all or none of the others hold, for as long as `f` wants more.
fn filter(from: &Set, others: &[&Set], rule: Rule, mut f: impl FnMut(Element<'_>) -> bool) {
    if others.is_empty() {
        from.all(f);
        return;
    }
    match from {
        Set::Ints(s) => grouped(s.iter().map(Element::Int), others, rule, &mut f),
        Set::Packed(l) => grouped(l.iter(), others, rule, &mut f),
        Set::Table(t) => grouped(t.keys().map(Element::Str), others, rule, &mut f),
    }
}

fn grouped<'a>(
    mut members: impl Iterator<Item = Element<'a>>,
    others: &[&Set],
    rule: Rule,
    f: &mut impl FnMut(Element<'_>) -> bool,
) {
    if !others.iter().any(|s| matches!(s, Set::Table(_))) {
        // None of the sets is hashed, so no hash is computed.
        members.all(|m| {
            let wanted = match rule {
                Rule::InAll => others.iter().all(|s| s.contains_element(m)),
                Rule::InNone => !others.iter().any(|s| s.contains_element(m)),
            };
            !wanted || f(m)
        });
        return;
    }
    let first_table = others.iter().find_map(|s| if let Set::Table(t) = s { Some(t) } else { None });
    loop {
        let mut rooms = std::array::from_fn::<_, GROUP, _>(|_| itoa::Buffer::new());
        let mut rooms = rooms.iter_mut();
        let group: [Option<Probe>; GROUP] = std::array::from_fn(|_| {
            let room = rooms.next().expect("as many rooms as places");
            members.next().map(|m| Probe::new(m, room))
        });
        if let Some(t) = first_table {
            group.iter().flatten().for_each(|p| t.prefetch_bucket(p.hash));
            group.iter().flatten().for_each(|p| t.prefetch_elem(p.hash));
        }
        for p in &group {
            let Some(p) = p else { return };
            let mut held = others.iter().map(|s| s.contains_hashed(p.member, p.text, p.hash));
            let wanted = match rule {
                Rule::InAll => held.all(|h| h),
                Rule::InNone => !held.any(|h| h),
            };
            if wanted && !f(p.member) {
                return;
            }
        }
    }
}

/// Members that all sets hold, for as long as `f` wants more. The sets come smallest first.
pub fn intersect(sets: &[&Set], f: impl FnMut(Element<'_>) -> bool) {
    debug_assert!(sets.is_sorted_by_key(|s| s.len()));
    let Some((first, others)) = sets.split_first() else { return };
    match first {
        Set::Ints(s) if others.iter().all(|o| matches!(o, Set::Ints(_))) => merge(s, others, f),
        _ => filter(first, others, Rule::InAll, f),
    }
}

/// The intersection of intsets: each is walked through once, in leaps where it is much longer.
fn merge(first: &Intset, others: &[&Set], mut f: impl FnMut(Element<'_>) -> bool) {
    let mut others: Vec<(&Intset, usize)> =
        others.iter().filter_map(|o| if let Set::Ints(s) = o { Some((s, 0)) } else { None }).collect();
    for n in first.iter() {
        let held = others.iter_mut().all(|(s, at)| {
            *at = seek(s, *at, n);
            s.get(*at) == Some(n)
        });
        if held && !f(Element::Int(n)) {
            return;
        }
    }
}

/// The first index from `at` on whose value is `n` or more.
fn seek(s: &Intset, at: usize, n: i64) -> usize {
    let below = |i: usize| s.get(i).is_some_and(|v| v < n);
    let mut leap = 1;
    let mut from = at;
    while below(from + leap - 1) {
        from += leap;
        leap *= 2;
    }
    // The answer is in `from ..= from + leap - 1`.
    let mut to = from + leap - 1;
    while from < to {
        let mid = from + (to - from) / 2;
        if below(mid) { from = mid + 1 } else { to = mid }
    }
    from
}

/// The intersection as a set. The sets come smallest first.
pub fn intersection(sets: &[&Set], limits: &SetLimits) -> Set {
    let ints_first = matches!(sets.first(), Some(Set::Ints(_)));
    let table_first = matches!(sets.first(), Some(Set::Table(_)));
    let mut result = if ints_first { Set::Ints(Intset::new()) } else { Set::Packed(Listpack::new()) };
    let mut only_ints = true;
    intersect(sets, |m| {
        if only_ints && let Element::Str(s) = m {
            // A listpack gives integers as such; a table does not know what its members are.
            only_ints = table_first && parse_i64(s).is_some();
        }
        result.add_element(m, limits);
        true
    });
    if only_ints && result.len() > 0 {
        result.back_to_ints(limits);
    }
    result
}

/// A union of up to so many sets is not built: each member is looked up in the sets before its own.
const ASKED: usize = 4;

/// Members that any set holds, each once.
pub fn unite(sets: &[&Set], limits: &SetLimits, mut f: impl FnMut(Element<'_>)) {
    if sets.len() > ASKED {
        return union(sets, limits).for_each(f);
    }
    // The bigger sets first: their members are looked up in fewer others.
    let mut sets = sets.to_vec();
    sets.sort_by_key(|s| std::cmp::Reverse(s.len()));
    for (i, s) in sets.iter().enumerate() {
        filter(s, &sets[..i], Rule::InNone, |m| {
            f(m);
            true
        });
    }
}

/// The union as a set.
pub fn union(sets: &[&Set], limits: &SetLimits) -> Set {
    let mut result = Set::Ints(Intset::new());
    for s in sets {
        s.for_each(|m| {
            result.add_element(m, limits);
        });
    }
    result
}

/// The first set less all others, which come in the order of their keys. None stands for a key that is
/// not there.
pub enum Difference<'a> {
    Empty,
    /// Look its members up in the others.
    Lookup(&'a Set, Vec<&'a Set>),
    /// Copy it, and remove the others' members.
    Remove(&'a Set, Vec<&'a Set>),
}

impl<'a> Difference<'a> {
    /// `same` says that the first set is among the others too.
    pub fn plan(first: Option<&'a Set>, others: Vec<&'a Set>, same: bool) -> Self {
        let Some(first) = first.filter(|_| !same) else { return Difference::Empty };
        let all = first.len() + others.iter().map(|s| s.len()).sum::<usize>();
        // Looking up costs less than removing, so it may do twice the work.
        if first.len() * (1 + others.len()) / 2 > all {
            return Difference::Remove(first, others);
        }
        let mut others = others;
        others.sort_by_key(|s| std::cmp::Reverse(s.len()));
        Difference::Lookup(first, others)
    }

    pub fn for_each(&self, limits: &SetLimits, mut f: impl FnMut(Element<'_>)) {
        match self {
            // A payload that was not looked at in depth may hold a member twice; it is shown once.
            Difference::Lookup(first @ Set::Packed(_), others) if others.is_empty() => {
                union(&[first], limits).for_each(f);
            }
            Difference::Lookup(first, others) => filter(first, others, Rule::InNone, |m| {
                f(m);
                true
            }),
            _ => self.to_set(limits).for_each(f),
        }
    }

    pub fn to_set(&self, limits: &SetLimits) -> Set {
        let mut result = Set::Ints(Intset::new());
        match self {
            Difference::Empty => {}
            Difference::Lookup(..) => self.for_each(limits, |m| {
                result.add_element(m, limits);
            }),
            Difference::Remove(first, others) => {
                first.for_each(|m| {
                    result.add_element(m, limits);
                });
                for s in others {
                    s.all(|m| {
                        result.remove_element(m);
                        result.len() > 0
                    });
                }
            }
        }
        result
    }
}
