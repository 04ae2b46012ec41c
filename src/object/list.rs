//! Lists: one listpack while small, a quicklist when big.
//!
//! ```text
//!               before adding: would it go past the limit?
//!   Packed ──────────────────────────────────────────────────► Quick
//!          ◄──────────────────────────────────────────────────
//!               after removing: one packed node, at half of the limit or less
//! ```
//!
//! The limit is `list-max-listpack-size`, which also bounds the nodes of a quicklist. A change of a
//! list calls `grow_for` before and `shrink` after, at the moments when Redis does, because OBJECT
//! ENCODING shows them: for LSET and LINSERT even if nothing comes of it.
//!
//! Indices are as commands have them, negative ones from the tail.

use super::digest::Digest;
use super::value::ValueKind;
use crate::ds::entry::{enc, ty};
use crate::ds::listpack::{Element, Listpack, Needle, Pos, Sink};
use crate::ds::moving::{self, DefragCursor};
use crate::ds::quicklist::{self, PACKED_THRESHOLD, Quicklist};
use crate::sys::defrag::Mover;

pub use crate::ds::quicklist::ListEnd;

#[derive(Clone)]
pub enum List {
    Packed(Listpack),
    Quick(Box<Quicklist>),
}

/// `list-max-listpack-size`, `list-compress-depth`, and DEBUG QUICKLIST-PACKED-THRESHOLD.
#[derive(Clone, Copy, Debug)]
pub struct ListLimits {
    pub fill: i32,
    pub depth: i32,
    /// Elements of this length and more get a node of their own in a quicklist.
    pub packed_threshold: u32,
}

impl Default for ListLimits {
    fn default() -> Self {
        ListLimits { fill: -2, depth: 0, packed_threshold: PACKED_THRESHOLD }
    }
}

impl ValueKind for List {
    const TYPE: u8 = ty::LIST;
    fn into_parts(self) -> (u8, u64) {
        match self {
            List::Packed(l) => (enc::LISTPACK, l.into_raw().as_ptr() as u64),
            List::Quick(q) => (enc::QUICKLIST, Box::into_raw(q) as u64),
        }
    }
    fn is_empty(&self) -> bool {
        match self {
            List::Packed(l) => l.is_empty(),
            List::Quick(q) => q.is_empty(),
        }
    }
    fn effort(&self) -> usize {
        match self {
            List::Packed(_) => 1,
            List::Quick(q) => q.node_count(),
        }
    }
    fn heap_bytes(&self) -> usize {
        match self {
            List::Packed(l) => l.alloc_size(),
            List::Quick(q) => q.alloc_size(),
        }
    }
    /// All elements, in their order.
    fn digest(&self, d: &mut Digest) {
        self.for_each(|e| e.with_text(|text| d.mix(text)));
    }
    fn defrag(&mut self, at: &mut DefragCursor, mover: &mut Mover) -> bool {
        match self {
            List::Packed(l) => {
                l.defrag(mover);
                true
            }
            List::Quick(q) => {
                if at.begins() {
                    moving::boxed(q, mover);
                }
                at.at = q.defrag(at.at, mover);
                at.at == 0
            }
        }
    }
}

impl Default for List {
    fn default() -> Self {
        List::Packed(Listpack::new())
    }
}

/// Encodings.
impl List {
    /// Makes ready for `count` more elements of `bytes` together.
    #[inline]
    pub fn grow_for(&mut self, count: usize, bytes: usize, limits: &ListLimits) {
        match self {
            List::Packed(l) => {
                let more = l.bytes().len().saturating_add(bytes);
                // Counting is left out where the fill does not ask for it: a long listpack does not
                // know its length.
                let len = if limits.fill < 0 { 0 } else { l.len() + count };
                if quicklist::exceeds_limit(limits.fill, more, len) {
                    self.to_quicklist(limits);
                }
            }
            List::Quick(q) => q.set_packed_threshold(limits.packed_threshold),
        }
    }

    #[cold]
    fn to_quicklist(&mut self, limits: &ListLimits) {
        let List::Packed(l) = self else { return };
        let mut q = Quicklist::from_listpack(std::mem::take(l), limits.fill, limits.depth);
        q.set_packed_threshold(limits.packed_threshold);
        *self = List::Quick(Box::new(q));
    }

    /// After elements went: becomes a listpack again when it is down to half of what one may hold.
    #[inline]
    pub fn shrink(&mut self, limits: &ListLimits) {
        if let List::Quick(q) = self
            && q.node_count() == 1
        {
            let (bytes, count) = quicklist::node_limit(limits.fill);
            self.to_listpack(bytes / 2, count / 2);
        }
    }

    /// Takes the best encoding for what it holds, after it was built as a whole.
    pub fn settle(&mut self, limits: &ListLimits) {
        match self {
            List::Packed(_) => self.grow_for(0, 0, limits),
            List::Quick(_) => {
                let (bytes, count) = quicklist::node_limit(limits.fill);
                self.to_listpack(bytes, count);
            }
        }
    }

    fn to_listpack(&mut self, most_bytes: usize, most: usize) {
        let List::Quick(q) = self else { return };
        if q.as_listpack().is_none_or(|l| l.bytes().len() > most_bytes || q.len() > most) {
            return;
        }
        let q = std::mem::replace(&mut **q, Quicklist::new(0, 0));
        let Ok(l) = q.into_listpack() else { unreachable!("it is one packed node") };
        *self = List::Packed(l);
    }
}

/// Elements.
impl List {
    pub fn len(&self) -> usize {
        match self {
            List::Packed(l) => l.len(),
            List::Quick(q) => q.len(),
        }
    }

    /// Adds an element at an end. `grow_for` came before.
    #[inline]
    pub fn push(&mut self, end: ListEnd, value: &[u8]) {
        match (self, end) {
            (List::Packed(l), ListEnd::Head) => l.push_front(value),
            (List::Packed(l), ListEnd::Tail) => l.push_back(value),
            (List::Quick(q), ListEnd::Head) => q.push_front(value),
            (List::Quick(q), ListEnd::Tail) => q.push_back(value),
        }
    }

    /// Shows the element at an end to `f` and removes it.
    #[inline]
    pub fn pop<R>(&mut self, end: ListEnd, f: impl FnOnce(Element<'_>) -> R) -> Option<R> {
        match (self, end) {
            (List::Packed(l), ListEnd::Head) => l.pop_front(f),
            (List::Packed(l), ListEnd::Tail) => l.pop_back(f),
            (List::Quick(q), ListEnd::Head) => q.pop_front(f),
            (List::Quick(q), ListEnd::Tail) => q.pop_back(f),
        }
    }

    pub fn get<R>(&self, index: i64, f: impl FnOnce(Element<'_>) -> R) -> Option<R> {
        match self {
            List::Packed(l) => l.seek(index).map(|at| f(l.get(at))),
            List::Quick(q) => q.get(index, f),
        }
    }

    /// Shows `n` elements from index `from` on, towards the tail, or towards the head when `reverse`.
    #[inline]
    pub fn for_range(&self, from: usize, n: usize, reverse: bool, sink: &mut impl Sink) {
        let index = i64::try_from(from).expect("lists are shorter than that");
        match self {
            List::Packed(l) => match l.seek(index) {
                None => {}
                Some(at) if reverse => l.iter_to(at).rev().take(n).for_each(|e| sink.one(e)),
                Some(at) => _ = sink.run(&mut l.iter_from(at), n),
            },
            List::Quick(q) => {
                if let Some(elements) =
                    q.iter_at(index, if reverse { ListEnd::Tail } else { ListEnd::Head })
                {
                    elements.show(n, sink);
                }
            }
        }
    }

    /// Shows elements with their distance from `from` until `f` says that it is enough.
    pub fn walk(&self, from: ListEnd, mut f: impl FnMut(usize, Element<'_>) -> bool) {
        let mut n = 0;
        let mut step = |e: Element<'_>| {
            n += 1;
            f(n - 1, e)
        };
        match (self, from) {
            (List::Packed(l), ListEnd::Head) => _ = l.iter().all(&mut step),
            (List::Packed(l), ListEnd::Tail) => _ = l.iter().rev().all(&mut step),
            (List::Quick(q), _) => {
                let mut elements = q.iter(from);
                while elements.next().is_some_and(&mut step) {}
            }
        }
    }

    pub fn for_each(&self, mut f: impl FnMut(Element<'_>)) {
        self.walk(ListEnd::Head, |_, e| {
            f(e);
            true
        });
    }

    /// Puts a value in the place of an element; false when there is none at that index.
    pub fn replace(&mut self, index: i64, value: &[u8]) -> bool {
        match self {
            List::Packed(l) => match l.seek(index) {
                Some(at) => {
                    l.replace(at, value);
                    true
                }
                None => false,
            },
            List::Quick(q) => q.replace(index, value),
        }
    }

    /// Inserts beside the first element that is `pivot`; false when there is none.
    pub fn insert(&mut self, pivot: &[u8], value: &[u8], after: bool) -> bool {
        match self {
            List::Packed(l) => {
                let Some(at) = l.first().and_then(|first| l.find(first, pivot, 0)) else { return false };
                _ = if after { l.insert_after(at, value) } else { l.insert_before(at, value) };
                true
            }
            List::Quick(q) => {
                let needle = Needle::new(pivot);
                let Some(mut cursor) = q.cursor_at(0, ListEnd::Head) else { return false };
                while let Some(e) = cursor.next() {
                    if needle.is(e) {
                        if after {
                            cursor.insert_after(value);
                        } else {
                            cursor.insert_before(value);
                        }
                        return true;
                    }
                }
                false
            }
        }
    }

    /// Removes up to `most` elements that are `text`, the first ones seen from `from`. Tells how many
    /// went.
    pub fn remove(&mut self, text: &[u8], most: usize, from: ListEnd) -> usize {
        match self {
            List::Packed(l) => {
                let places = matches(l, text, most, from);
                match places[..] {
                    [] => {}
                    [at] => _ = l.delete(at),
                    _ => l.delete_all(&places),
                }
                places.len()
            }
            List::Quick(q) => {
                let needle = Needle::new(text);
                let start = if from == ListEnd::Head { 0 } else { -1 };
                let Some(mut cursor) = q.cursor_at(start, from) else { return 0 };
                let mut removed = 0;
                while removed < most
                    && let Some(e) = cursor.next()
                {
                    if needle.is(e) {
                        cursor.delete();
                        removed += 1;
                    }
                }
                removed
            }
        }
    }

    /// Removes up to `count` elements from an index on.
    pub fn delete_range(&mut self, start: i64, count: usize) {
        match self {
            List::Packed(l) => l.delete_range(start, count),
            List::Quick(q) => _ = q.delete_range(start, count),
        }
    }
}

/// The places of the first `most` entries that are `text`, seen from `from`, in ascending order.
fn matches(l: &Listpack, text: &[u8], most: usize, from: ListEnd) -> Vec<Pos> {
    let needle = Needle::new(text);
    let mut places = Vec::new();
    let mut next = l.first();
    while (from == ListEnd::Tail || places.len() < most)
        && let Some(at) = next.and_then(|n| l.find_needle(n, &needle, 0))
    {
        places.push(at);
        next = l.next(at);
    }
    if places.len() > most {
        places.drain(..places.len() - most);
    }
    places
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ds::prop::Source;

    fn texts(l: &List) -> Vec<Vec<u8>> {
        let mut all = Vec::new();
        l.for_each(|e| all.push(e.to_vec()));
        all
    }

    fn is_quick(l: &List) -> bool {
        matches!(l, List::Quick(_))
    }

    fn pushed(limits: &ListLimits, values: &[&[u8]]) -> List {
        let mut l = List::default();
        for v in values {
            l.grow_for(1, v.len(), limits);
            l.push(ListEnd::Tail, v);
        }
        l
    }

    #[test]
    fn it_grows_past_the_limit_and_shrinks_when_one_small_node_is_left() {
        let limits = ListLimits { fill: 4, ..ListLimits::default() };
        let mut l = pushed(&limits, &[b"a", b"b", b"c", b"d"]);
        assert!(!is_quick(&l));
        l.grow_for(1, 1, &limits);
        assert!(is_quick(&l), "the fifth element is one too many");
        l.push(ListEnd::Tail, b"e");
        for (left, quick) in [(4, true), (3, true), (2, true), (1, false)] {
            l.pop(ListEnd::Head, |_| ());
            l.shrink(&limits);
            assert_eq!((l.len(), is_quick(&l)), (left, quick));
        }
    }

    #[test]
    fn bytes_are_reckoned_before_they_are_there() {
        let limits = ListLimits { fill: -1, ..ListLimits::default() };
        let mut l = List::default();
        // A listpack without entries takes 7 bytes.
        l.grow_for(1, 4096 - 7, &limits);
        assert!(!is_quick(&l));
        l.grow_for(1, 4096 - 6, &limits);
        assert!(is_quick(&l), "4 KiB is the most");
        assert_eq!(l.len(), 0);
        l.push(ListEnd::Tail, b"small");
        l.shrink(&limits);
        assert!(!is_quick(&l));
    }

    #[test]
    fn settled_lists_use_the_whole_limit() {
        let limits = ListLimits { fill: 4, ..ListLimits::default() };
        let mut l = pushed(&limits, &[b"a", b"b", b"c", b"d", b"e"]);
        l.pop(ListEnd::Tail, |_| ());
        l.shrink(&limits);
        // The fifth has a node of its own: both nodes stay while there are two.
        assert!(!is_quick(&l) || l.len() == 4);
        l.settle(&limits);
        assert!(!is_quick(&l), "four fit");
        l.settle(&ListLimits { fill: 3, ..limits });
        assert!(is_quick(&l));
    }

    #[test]
    fn both_encodings_do_what_a_vector_does() {
        for seed in 0..60 {
            let rng = &mut Source::seeded(seed);
            let fill = [1, 3, 8, -2][rng.below(4)];
            let depth = rng.below(3) as i32;
            let limits = ListLimits { fill, depth, packed_threshold: [1 << 30, 12][rng.below(2)] };
            let (mut l, mut twin) = (List::default(), Vec::<Vec<u8>>::new());
            for _ in 0..200 {
                step(rng, &limits, &mut l, &mut twin);
                assert_eq!(texts(&l), twin);
                assert_eq!(l.len(), twin.len(), "seed {seed}");
            }
        }
    }

    fn some_text(rng: &mut Source<'_>) -> Vec<u8> {
        match rng.below(3) {
            0 => rng.below(5).to_string().into_bytes(),
            1 => vec![b'a' + rng.below(3) as u8; rng.below(4)],
            _ => vec![b'x'; rng.below(40)],
        }
    }

    fn step(rng: &mut Source<'_>, limits: &ListLimits, l: &mut List, twin: &mut Vec<Vec<u8>>) {
        let text = some_text(rng);
        let from = if rng.below(2) == 0 { ListEnd::Head } else { ListEnd::Tail };
        match rng.below(8) {
            0..3 => {
                l.grow_for(1, text.len(), limits);
                l.push(from, &text);
                let at = if from == ListEnd::Head { 0 } else { twin.len() };
                twin.insert(at, text);
            }
            3 => {
                let want = match from {
                    _ if twin.is_empty() => None,
                    ListEnd::Head => Some(twin.remove(0)),
                    ListEnd::Tail => twin.pop(),
                };
                assert_eq!(l.pop(from, |e| e.to_vec()), want);
            }
            4 => {
                let (pivot, after) = (some_text(rng), rng.below(2) == 1);
                l.grow_for(1, text.len(), limits);
                let at = twin.iter().position(|t| *t == pivot);
                assert_eq!(l.insert(&pivot, &text, after), at.is_some());
                if let Some(at) = at {
                    twin.insert(at + usize::from(after), text);
                }
            }
            5 => {
                let most = rng.below(4) + 1;
                let mut at: Vec<usize> = (0..twin.len()).filter(|i| twin[*i] == text).collect();
                if from == ListEnd::Tail {
                    at.reverse();
                }
                at.truncate(most);
                assert_eq!(l.remove(&text, most, from), at.len());
                at.sort_unstable();
                at.iter().rev().for_each(|i| _ = twin.remove(*i));
            }
            6 => {
                let (start, n) = (rng.below(twin.len() + 1), rng.below(4));
                l.delete_range(start as i64, n);
                twin.drain(start..twin.len().min(start + n));
            }
            _ => {
                let at = rng.below(twin.len() + 2);
                l.grow_for(1, text.len(), limits);
                assert_eq!(l.replace(at as i64, &text), at < twin.len());
                if at < twin.len() {
                    twin[at] = text;
                }
            }
        }
        l.shrink(limits);
        let (from, n, reverse) = (rng.below(twin.len() + 1), rng.below(6), rng.below(2) == 1);
        let mut got = Vec::new();
        l.for_range(from, n, reverse, &mut |e: Element<'_>| got.push(e.to_vec()));
        let want: Vec<Vec<u8>> = if reverse && from < twin.len() {
            twin[..=from].iter().rev().take(n).cloned().collect()
        } else {
            twin.iter().skip(from).take(n).cloned().collect()
        };
        assert_eq!(got, want);
    }
}
