//! The listpack: a list of short values in one run of bytes, read from either end. Every small
//! collection is one, byte for byte in the form that RDB files and DUMP carry, so saving one is a copy.
//!
//! ```text
//!   ┌────────────┬──────────┬─────────┬─────────┬─────┬─────────┬──────┐
//!   │ total  u32 │ count u16│ entry 0 │ entry 1 │ ... │ entry n │ 0xFF │     total counts all of it
//!   └────────────┴──────────┴─────────┴─────────┴─────┴─────────┴──────┘
//! ```
//!
//! Entries are the matter of `codec`. The count stops at 65,535, which means "scan to know"; it stays
//! there when entries leave, as it does upstream.
//!
//! Two types, like `str` and `String`: `Lp` is borrowed bytes and holds everything that reads,
//! `Listpack` owns a block and holds everything that writes. `Pos` is the offset of an entry: it
//! survives a move of the block, and any change behind it, but not a change before it.
//!
//! # One word, and where the slack lies
//!
//! `Listpack` is a single word. The block behind it is exactly the size class of `total` (see
//! `ds::block`), so no capacity is stored, growing within the class needs no call, and the memory is what
//! an exact request would cost. The class usually leaves slack. It may lie at both ends:
//!
//! ```text
//!   block                    start
//!   │ ... gap (0..=65,535) ...│ header │ entries │ FF │ ... the rest of the slack ... │
//!                             word = start | gap << 48
//! ```
//!
//! The gap travels in the top 16 bits of the word, which are no part of an address. It is what makes a
//! list cheap at its head: a push writes its entry and a new header in front of the old one, a pop moves
//! the header back, and the kilobytes behind stay in place. Where the format alone is known, each of them
//! moves the whole list. A change in the middle moves the shorter side. When the slack is on the wrong
//! side, three quarters of it go to the other, so that pushing at both ends alternately stays cheap too.
//!
//! Dropped on the way: slack stated by a marker behind the end byte (a cache miss more on free), and
//! keeping one class too many when shrinking (the memory of what was deleted is worth more than a rare
//! move).
//!
//! # Invariants
//!
//! - `total` is the length, at least 7, and the last byte is 0xFF; the block is `size_class(total)`
//!   long.
//! - Entries have the shortest form there is for their value (`from_bytes` rewrites others), so a search
//!   compares bytes.
//! - Nothing reads outside `total`, whatever the bytes say: a stale `Pos` gives nonsense or a panic,
//!   never a stray access. That is why the functions are safe.
//! - `total` stays below 4 GiB or the writer panics. Callers that take values from clients ask
//!   `safe_to_add` first, which draws the line at 1 GiB.

mod codec;
mod find;
mod framed;
mod iter;
mod join;
mod random;
#[cfg(test)]
mod tests;

use std::fmt;
use std::marker::PhantomData;
use std::num::NonZeroU32;
use std::ops::Deref;
use std::ptr::{self, NonNull};

use super::block::{self, size_class};
use crate::sys::defrag::Mover;
use codec::{COUNT_UNKNOWN, END, Encoded, HEADER};

pub(super) use codec::copy_short;
pub use codec::{Corrupt, Element, Needle, validate, validate_shallow};
pub use framed::SHORT_STRING;
pub use iter::{Iter, Sink};

/// The bytes of a listpack without entries.
const EMPTY_LEN: usize = HEADER + 1;

/// Where the word keeps the gap, and what of it is address.
const GAP_SHIFT: u32 = 48;
const GAP_MAX: usize = 0xFFFF;
const ADDRESS: usize = (1 << GAP_SHIFT) - 1;

const _: () = assert!(size_of::<Listpack>() == 8 && size_of::<Option<Listpack>>() == 8);
const _: () = assert!(size_of::<Option<Pos>>() == 4);

/// More than this no listpack shall hold, so that its length never comes near the end of its header
/// field.
const SAFE_SIZE: usize = 1 << 30;

/// Whether `add` bytes more still make a listpack of reasonable size.
pub fn safe_to_add(lp: Option<&Lp>, add: usize) -> bool {
    lp.map_or(0, |lp| lp.bytes().len()).saturating_add(add) <= SAFE_SIZE
}

/// The place of an entry, as an offset from the start.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Pos(NonZeroU32);

impl Pos {
    #[inline]
    fn new(offset: usize) -> Self {
        let offset = u32::try_from(offset).ok().and_then(NonZeroU32::new);
        Pos(offset.expect("an entry lies behind the header and below 4 GiB"))
    }

    #[inline]
    fn offset(self) -> usize {
        self.0.get() as usize
    }
}

#[cold]
#[inline(never)]
fn broken() -> ! {
    panic!("listpack entry is broken, or the position does not belong to this listpack");
}

/// The borrowed bytes of a listpack: all that can be asked of one.
#[repr(transparent)]
pub struct Lp([u8]);

impl Lp {
    /// The bytes of a listpack that was taken apart in this band, as a listpack again.
    #[inline]
    pub(super) fn trusted(bytes: &[u8]) -> &Lp {
        debug_assert!(bytes.len() >= EMPTY_LEN && bytes.last() == Some(&END));
        // SAFETY: `Lp` is a transparent wrapper of the slice.
        unsafe { &*(ptr::from_ref(bytes) as *const Lp) }
    }

    #[inline]
    pub fn bytes(&self) -> &[u8] {
        &self.0
    }

    #[inline]
    fn start(&self) -> *const u8 {
        self.0.as_ptr()
    }

    /// The end byte.
    #[inline]
    fn end(&self) -> *const u8 {
        // SAFETY: there are at least `EMPTY_LEN` bytes.
        unsafe { self.start().add(self.0.len() - 1) }
    }

    /// The first entry, or the end byte.
    #[inline]
    fn front(&self) -> *const u8 {
        // SAFETY: there are at least `EMPTY_LEN` bytes.
        unsafe { self.start().add(HEADER) }
    }

    #[inline]
    fn pos_of(&self, p: *const u8) -> Pos {
        debug_assert!(p >= self.front() && p <= self.end());
        // SAFETY: `p` was derived from this slice by every caller.
        Pos::new(unsafe { p.offset_from_unsigned(self.start()) })
    }

    /// The address of an entry; a position outside panics.
    #[inline]
    fn at(&self, pos: Pos) -> *const u8 {
        if pos.offset() < HEADER || pos.offset() >= self.0.len() - 1 {
            broken();
        }
        // SAFETY: the offset is inside the slice, before the end byte.
        unsafe { self.start().add(pos.offset()) }
    }

    /// The size of the entry at `p`.
    ///
    /// # Safety
    /// `p` lies in this slice, before the end byte.
    #[inline(always)]
    unsafe fn size_at(&self, p: *const u8) -> usize {
        // SAFETY: from `p` to the end byte all is this slice.
        let size = unsafe { codec::entry_size(p, self.end()) };
        if size == 0 {
            broken();
        }
        size
    }

    /// The count as the header has it, unless it says "unknown".
    #[inline]
    fn known_count(&self) -> Option<usize> {
        let count = u16::from_le_bytes([self.0[4], self.0[5]]);
        (count != COUNT_UNKNOWN).then_some(usize::from(count))
    }

    /// The number of entries; from 65,535 on this walks through them.
    #[inline]
    pub fn len(&self) -> usize {
        self.known_count().unwrap_or_else(|| self.iter().count())
    }

    #[inline]
    pub fn is_empty(&self) -> bool {
        self.0.len() == EMPTY_LEN
    }

    #[inline]
    pub fn first(&self) -> Option<Pos> {
        (!self.is_empty()).then(|| Pos::new(HEADER))
    }

    #[inline]
    pub fn last(&self) -> Option<Pos> {
        self.before(self.end())
    }

    #[inline]
    pub fn next(&self, pos: Pos) -> Option<Pos> {
        let p = self.at(pos);
        // SAFETY: `at` gives an address in the slice before the end byte, and the entry ends inside.
        let next = unsafe { p.add(self.size_at(p)) };
        (next != self.end()).then(|| self.pos_of(next))
    }

    #[inline]
    pub fn prev(&self, pos: Pos) -> Option<Pos> {
        self.before(self.at(pos))
    }

    #[inline]
    fn before(&self, p: *const u8) -> Option<Pos> {
        if p == self.front() {
            return None;
        }
        // SAFETY: front < p <= end, all inside the slice, with the header before the front.
        let prev = unsafe { codec::entry_before(p, self.front()) };
        Some(self.pos_of(prev.unwrap_or_else(|| broken())))
    }

    #[inline]
    pub fn get(&self, pos: Pos) -> Element<'_> {
        let p = self.at(pos);
        // SAFETY: `at` gives an address in the slice before the end byte; the slice lives as long as
        // self.
        match unsafe { codec::decode(p, self.end()) } {
            Some((value, _)) => value,
            None => broken(),
        }
    }

    /// The entry of an index, negative ones counting from the end; walks from the nearer end.
    pub fn seek(&self, index: i64) -> Option<Pos> {
        let count = self.known_count().map(|n| n as i64);
        let (steps, back) = match (count, index) {
            (Some(n), i) if i >= n || i < -n => return None,
            (Some(n), i) if i >= 0 && i > n / 2 => (n - 1 - i, true),
            (Some(n), i) if i < 0 && -i > n / 2 => (n + i, false),
            (_, i) if i >= 0 => (i, false),
            (_, i) => (-1 - i, true),
        };
        let (front, end) = (self.front(), self.end());
        let mut p = if back { end } else { front };
        // Backwards the first step leads from the end byte to the last entry.
        for _ in 0..steps + i64::from(back) {
            if p == if back { front } else { end } {
                return None;
            }
            // SAFETY: p is inside the slice and not yet at the end that the step leads to.
            p = unsafe {
                if back {
                    codec::entry_before(p, front).unwrap_or_else(|| broken())
                } else {
                    p.add(self.size_at(p))
                }
            };
        }
        (p != end).then(|| self.pos_of(p))
    }

    #[inline]
    pub fn iter(&self) -> Iter<'_> {
        Iter { front: self.front(), back: self.end(), lp: PhantomData }
    }

    /// Where a walk through this listpack stands: the place of the entry it would give next.
    #[inline]
    pub fn place(&self, walk: &Iter<'_>) -> Option<Pos> {
        assert!(
            walk.front >= self.front() && walk.front <= self.end(),
            "a walk through another listpack"
        );
        (walk.front != self.end()).then(|| self.pos_of(walk.front))
    }

    /// The entries from `pos` on.
    #[inline]
    pub fn iter_from(&self, pos: Pos) -> Iter<'_> {
        Iter { front: self.at(pos), ..self.iter() }
    }

    /// The entries up to and with `pos`; `.rev()` walks from there to the front.
    #[inline]
    pub fn iter_to(&self, pos: Pos) -> Iter<'_> {
        let p = self.at(pos);
        // SAFETY: `at` gives an address in the slice before the end byte, and the entry ends inside.
        Iter { back: unsafe { p.add(self.size_at(p)) }, ..self.iter() }
    }

    /// The entries two by two: field and value, member and score.
    #[inline]
    pub fn pairs(&self) -> impl Iterator<Item = (Element<'_>, Element<'_>)> {
        let mut entries = self.iter();
        std::iter::from_fn(move || Some((entries.next()?, entries.next()?)))
    }
}

/// A listpack that owns its block.
pub struct Listpack {
    /// `start | gap << 48`.
    word: NonNull<u8>,
}

// SAFETY: it owns its block alone and has no interior mutability.
unsafe impl Send for Listpack {}
// SAFETY: shared access only reads.
unsafe impl Sync for Listpack {}

impl Deref for Listpack {
    type Target = Lp;

    #[inline]
    fn deref(&self) -> &Lp {
        // SAFETY: `total` bytes from the start on are initialised and stay while self is borrowed.
        Lp::trusted(unsafe { std::slice::from_raw_parts(self.start(), self.total()) })
    }
}

/// What a change does to the bytes: at offset `at`, `removed` bytes make room for `added`.
#[derive(Clone, Copy)]
struct Change {
    at: usize,
    removed: usize,
    added: usize,
}

impl Listpack {
    pub fn new() -> Self {
        let block = block::acquire(size_class(EMPTY_LEN));
        // SAFETY: the block holds at least `EMPTY_LEN` bytes.
        unsafe {
            write_header(block.as_ptr(), EMPTY_LEN, 0);
            block.add(HEADER).write(END);
        }
        Self::over(block, 0)
    }

    /// A listpack of bytes from outside, checked entry by entry. Entries that have a longer form than
    /// they need are brought into the short one.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, Corrupt> {
        Self::from_bytes_if(bytes, |_| true)
    }

    /// The same, where each value must be acceptable too.
    pub fn from_bytes_if(
        bytes: &[u8],
        mut accept: impl FnMut(Element<'_>) -> bool,
    ) -> Result<Self, Corrupt> {
        let mut shortest = true;
        codec::validate_entries(bytes, |value, entry| {
            shortest = shortest && codec::is_shortest(value, entry);
            accept(value)
        })?;
        let lp = Lp::trusted(bytes);
        Ok(if shortest { Self::copy(lp) } else { Self::of(lp.iter()) })
    }

    /// A listpack of the given values.
    pub fn of<'a>(values: impl Iterator<Item = Element<'a>> + Clone) -> Self {
        let mut lp = Self::new();
        lp.extend(values);
        lp
    }

    fn copy(lp: &Lp) -> Self {
        let bytes = lp.bytes();
        let block = block::acquire(size_class(bytes.len()));
        // SAFETY: the new block holds at least that many bytes.
        unsafe { block.as_ptr().copy_from_nonoverlapping(bytes.as_ptr(), bytes.len()) };
        Self::over(block, 0)
    }

    /// Takes over a block with a listpack `gap` bytes behind its start.
    fn over(block: NonNull<u8>, gap: usize) -> Self {
        Listpack { word: Self::word_over(block, gap) }
    }

    fn word_over(block: NonNull<u8>, gap: usize) -> NonNull<u8> {
        assert!(gap <= GAP_MAX && block.addr().get() <= ADDRESS - GAP_MAX);
        let word = block.as_ptr().wrapping_add(gap).map_addr(|start| start | gap << GAP_SHIFT);
        NonNull::new(word).expect("no block starts at zero")
    }

    /// The word that owns the block, for structures that store one. Not an address.
    pub fn into_raw(self) -> NonNull<u8> {
        let word = self.word;
        std::mem::forget(self);
        word
    }

    /// # Safety
    /// `word` came from `into_raw`, and only this call makes a listpack of it.
    pub unsafe fn from_raw(word: NonNull<u8>) -> Self {
        Listpack { word }
    }

    #[inline(always)]
    fn start(&self) -> *mut u8 {
        self.word.as_ptr().map_addr(|word| word & ADDRESS)
    }

    #[inline(always)]
    fn gap(&self) -> usize {
        self.word.addr().get() >> GAP_SHIFT
    }

    #[inline(always)]
    fn total(&self) -> usize {
        // SAFETY: the header is initialised.
        (unsafe { self.start().cast::<u32>().read_unaligned() }) as usize
    }

    fn block(&self) -> NonNull<u8> {
        // SAFETY: the gap lies before the start, in the same block, which is not at zero.
        unsafe { NonNull::new_unchecked(self.start().sub(self.gap())) }
    }

    /// What the block costs in the allocator.
    #[inline]
    pub fn alloc_size(&self) -> usize {
        size_class(self.total())
    }

    pub fn defrag(&mut self, mover: &mut Mover) {
        // SAFETY: the block has this class; the old address is overwritten.
        if let Some(new) = unsafe { block::relocate(self.block(), self.alloc_size(), mover) } {
            self.word = Self::word_over(new, self.gap());
        }
    }

    /// Moves the start within the block: the gap becomes `gap`. The caller writes a header there.
    ///
    /// # Safety
    /// `gap <= GAP_MAX`, and the listpack as it will be fits behind it.
    #[inline(always)]
    unsafe fn set_gap(&mut self, gap: usize) {
        debug_assert!(gap <= GAP_MAX);
        let start = self.start().wrapping_sub(self.gap()).wrapping_add(gap);
        // SAFETY: an address inside the block is not zero.
        self.word = unsafe { NonNull::new_unchecked(start.map_addr(|s| s | gap << GAP_SHIFT)) };
    }

    /// The count after `added` came and `removed` went; an unknown count stays so.
    #[inline(always)]
    fn count_after(&self, removed: usize, added: usize) -> u16 {
        match self.known_count() {
            Some(n) => count_field(n.saturating_sub(removed).saturating_add(added)),
            None => COUNT_UNKNOWN,
        }
    }

    #[inline]
    fn push_back_code(&mut self, code: Encoded<'_>) {
        let (total, size) = (self.total(), code.size());
        if size_class(total) - total - self.gap() < size {
            return self.insert_codes(total - 1, 0, 0, [code].iter());
        }
        let count = self.count_after(0, 1);
        // SAFETY: behind the end byte there are `size` bytes of slack. `code` borrows from elsewhere,
        // since self is borrowed mutably.
        unsafe {
            let behind = code.write(self.start().add(total - 1));
            behind.write(END);
            write_header(self.start(), total + size, count);
        }
    }

    #[inline]
    fn push_front_code(&mut self, code: Encoded<'_>) {
        let (total, size, gap) = (self.total(), code.size(), self.gap());
        if gap < size {
            return self.insert_codes(HEADER, 0, 0, [code].iter());
        }
        let count = self.count_after(0, 1);
        // SAFETY: the gap holds `size` bytes, so the header moves into it and the entry takes the place
        // between the new header and the first entry. `code` borrows from elsewhere.
        unsafe {
            self.set_gap(gap - size);
            write_header(self.start(), total + size, count);
            code.write(self.start().add(HEADER));
        }
    }

    #[inline]
    pub fn push_back<'v>(&mut self, value: impl Into<Element<'v>>) {
        self.push_back_code(Encoded::of(value.into()));
    }

    #[inline]
    pub fn push_front<'v>(&mut self, value: impl Into<Element<'v>>) {
        self.push_front_code(Encoded::of(value.into()));
    }

    /// Appends a few values with one change of the block.
    #[inline]
    pub fn push_back_all<const N: usize>(&mut self, values: [Element<'_>; N]) {
        let codes = values.map(Encoded::of);
        let (total, size) = (self.total(), codes.iter().map(Encoded::size).sum::<usize>());
        if size_class(total) - total - self.gap() < size {
            return self.insert_codes(total - 1, 0, 0, codes.iter());
        }
        let count = self.count_after(0, N);
        // SAFETY: behind the end byte there are `size` bytes of slack, which the codes fill. They borrow
        // from elsewhere, since self is borrowed mutably.
        unsafe {
            let mut to = self.start().add(total - 1);
            for code in &codes {
                to = code.write(to);
            }
            to.write(END);
            write_header(self.start(), total + size, count);
        }
    }

    /// Appends many values with one change of the block.
    pub fn extend<'a>(&mut self, values: impl Iterator<Item = Element<'a>> + Clone) {
        self.insert_codes(self.total() - 1, 0, 0, values.map(Encoded::of));
    }

    /// Inserts before the entry at `pos`; gives the place of the new entry.
    pub fn insert_before<'v>(&mut self, pos: Pos, value: impl Into<Element<'v>>) -> Pos {
        self.splice(Some(pos), 0, &[value.into()])
    }

    /// Inserts behind the entry at `pos`; gives the place of the new entry.
    pub fn insert_after<'v>(&mut self, pos: Pos, value: impl Into<Element<'v>>) -> Pos {
        let next = self.next(pos);
        self.splice(next, 0, &[value.into()])
    }

    /// Puts a value in the place of the entry at `pos`, which stays its place.
    pub fn replace<'v>(&mut self, pos: Pos, value: impl Into<Element<'v>>) -> Pos {
        self.splice(Some(pos), 1, &[value.into()])
    }

    /// Puts an integer in the place of the entry at `pos`: a mere write where that takes the same room.
    #[inline]
    pub fn set_int(&mut self, pos: Pos, value: i64) {
        let code = Encoded::of(Element::Int(value));
        // SAFETY: `at` gives an address in the slice before the end byte.
        let size = unsafe { self.size_at(self.at(pos)) };
        if size == code.size() {
            // SAFETY: the entry at `pos` lies inside, and has just this size.
            unsafe { code.write(self.start().add(pos.offset())) };
        } else {
            self.replace(pos, value);
        }
    }

    /// At `at` (None: the end), takes `remove` entries away and puts values in their place, with one
    /// change of the block. Gives the place of the first new value, or of what followed the removed.
    pub fn splice(&mut self, at: Option<Pos>, remove: usize, values: &[Element<'_>]) -> Pos {
        let from = at.map_or(self.total() - 1, Pos::offset);
        let (taken, bytes) = match at {
            Some(pos) => self.extent(pos, remove),
            None => (0, 0),
        };
        self.insert_codes(from, bytes, taken, values.iter().map(|v| Encoded::of(*v)));
        Pos::new(from)
    }

    /// How many of the next `n` entries there are, and their bytes.
    fn extent(&self, pos: Pos, n: usize) -> (usize, usize) {
        let (start, end) = (self.at(pos), self.end());
        let (mut p, mut found) = (start, 0);
        while found < n && p != end {
            // SAFETY: start <= p < end, and an entry ends at most at the end byte.
            p = unsafe { p.add(self.size_at(p)) };
            found += 1;
        }
        // SAFETY: both lie in this listpack.
        (found, unsafe { p.offset_from_unsigned(start) })
    }

    /// Puts entries at offset `at` in the place of `removed` bytes, which are `gone` entries.
    fn insert_codes<'a, C>(&mut self, at: usize, removed: usize, gone: usize, codes: C)
    where
        C: Iterator + Clone,
        C::Item: std::borrow::Borrow<Encoded<'a>>,
    {
        use std::borrow::Borrow;
        let (mut added, mut come) = (0, 0);
        for code in codes.clone() {
            added += code.borrow().size();
            come += 1;
        }
        let count = self.count_after(gone, come);
        let mut to = self.make_room(Change { at, removed, added }, count);
        // SAFETY: `make_room` gives `added` writable bytes, but a clone of an iterator need not repeat
        // itself: so what is written is counted again.
        unsafe {
            let room_end = to.add(added);
            for code in codes {
                let code = code.borrow();
                assert!(
                    code.size() <= room_end.offset_from_unsigned(to),
                    "the values changed between passes"
                );
                to = code.write(to);
            }
            assert!(to == room_end, "the values changed between passes");
        }
    }

    /// Applies a change of size, writes the header, and gives the place of the room.
    fn make_room(&mut self, change: Change, count: u16) -> *mut u8 {
        let total = self.total();
        let Change { at, removed, added } = change;
        assert!(at >= HEADER && at.checked_add(removed).is_some_and(|e| e < total));
        let new_total = total - removed + added;
        assert!(u32::try_from(new_total).is_ok(), "a listpack stays below 4 GiB");
        let (class, new_class) = (size_class(total), size_class(new_total));
        if class == new_class {
            // SAFETY: the listpack fits the block before and after.
            unsafe { self.shift(change, class) };
        } else if self.gap() == 0 && class.max(new_class) >= block::LARGE {
            self.resize_in_place(change, class, new_class);
        } else {
            self.move_house(change, new_class);
        }
        // SAFETY: the header lies at the start; `at` is inside.
        unsafe {
            write_header(self.start(), new_total, count);
            self.start().add(at)
        }
    }

    /// Opens or closes the room inside the block, by moving the shorter side if the slack allows it.
    ///
    /// # Safety
    /// The listpack, as it is and as it will be, fits the `class` bytes of its block.
    unsafe fn shift(&mut self, change: Change, class: usize) {
        let (start, gap, total) = (self.start(), self.gap(), self.total());
        let Change { at, removed, added } = change;
        let tail = total - at - removed;
        let slack = class - total + removed - added;
        // Moving the head alone takes the difference from the gap, and moving the tail alone keeps it.
        let head_only = (gap + removed).checked_sub(added).filter(|g| *g <= GAP_MAX);
        let new_gap = match head_only {
            Some(moved) if at < tail => moved,
            _ if at >= tail && gap <= slack => gap,
            // The shorter side lacks room, so the longer one has to move. Most of the slack then goes
            // where it was missing, lest the next change moves as much again.
            _ if at < tail => slack - slack / 4,
            _ => slack / 4,
        };
        let new_gap = new_gap.min(GAP_MAX);
        // SAFETY: both sides lie in the block before and after. Where both move, the one that moves away
        // from the other goes first, so neither overwrites the other.
        unsafe {
            let base = start.sub(gap);
            let head_to = base.add(new_gap);
            let tail_from = start.add(at + removed);
            let tail_to = head_to.add(at + added);
            if new_gap <= gap {
                move_bytes(start, head_to, at);
                move_bytes(tail_from, tail_to, tail);
            } else {
                move_bytes(tail_from, tail_to, tail);
                move_bytes(start, head_to, at);
            }
            self.set_gap(new_gap);
        }
    }

    /// For big blocks without a gap: the allocator may grow or shrink them where they lie.
    fn resize_in_place(&mut self, change: Change, class: usize, new_class: usize) {
        debug_assert!(self.gap() == 0);
        let Change { at, removed, added } = change;
        let total = self.total();
        // SAFETY: the block has `class` bytes; where it grows, it grows before the tail moves out, and
        // where it shrinks, after the tail has moved in.
        unsafe {
            let mut block = self.block();
            if new_class > class {
                block = block::resize(block, class, new_class);
            }
            let base = block.as_ptr();
            move_bytes(base.add(at + removed), base.add(at + added), total - at - removed);
            if new_class < class {
                block = block::resize(block, class, new_class);
            }
            self.word = block;
        }
    }

    /// Copies both sides to a block of another class, each to its final place.
    fn move_house(&mut self, change: Change, new_class: usize) {
        let Change { at, removed, added } = change;
        let (old, total, class) = (self.start(), self.total(), self.alloc_size());
        let block = block::acquire(new_class);
        let slack = new_class - (total - removed + added);
        // A push at the head is often followed by another one, so the slack goes there.
        let at_head = at == HEADER && added > removed && total > EMPTY_LEN;
        let gap = if at_head { slack.min(GAP_MAX) } else { 0 };
        // SAFETY: the new block holds gap and listpack; the old one is given back with its class, and
        // the word is overwritten without dropping.
        unsafe {
            let start = block.as_ptr().add(gap);
            start.copy_from_nonoverlapping(old, at);
            let tail = old.add(at + removed);
            start.add(at + added).copy_from_nonoverlapping(tail, total - at - removed);
            block::release(self.block(), class);
            std::mem::forget(std::mem::replace(self, Self::over(block, gap)));
        }
    }

    /// Removes the entry at `pos`; gives the place of the one that followed.
    pub fn delete(&mut self, pos: Pos) -> Option<Pos> {
        self.delete_range_at(pos, 1)
    }

    /// Removes up to `n` entries from `pos` on; gives the place of the one that followed.
    pub fn delete_range_at(&mut self, pos: Pos, n: usize) -> Option<Pos> {
        let (gone, bytes) = self.extent(pos, n);
        let count = self.count_after(gone, 0);
        self.make_room(Change { at: pos.offset(), removed: bytes, added: 0 }, count);
        (pos.offset() != self.total() - 1).then_some(pos)
    }

    /// Removes up to `n` entries from an index on (negative: from the end).
    pub fn delete_range(&mut self, index: i64, n: usize) {
        let Some(pos) = self.seek(index) else { return };
        let Some(len) = self.known_count() else {
            self.delete_range_at(pos, n);
            return;
        };
        let before = if index < 0 { len - index.unsigned_abs() as usize } else { index as usize };
        if n < len - before {
            self.delete_range_at(pos, n);
        } else {
            // All the rest goes: no need to walk through it.
            let removed = self.total() - 1 - pos.offset();
            let count = self.count_after(len - before, 0);
            self.make_room(Change { at: pos.offset(), removed, added: 0 }, count);
        }
    }

    /// Removes the entries at the given places, which are in ascending order.
    pub fn delete_all(&mut self, places: &[Pos]) {
        let Some((&first, others)) = places.split_first() else { return };
        let mut to = first.offset();
        let mut keep_from = to + self.extent(first, 1).1;
        for &pos in others {
            assert!(pos.offset() >= keep_from, "places are in ascending order, each once");
            let kept = pos.offset() - keep_from;
            // Before anything moves: a place that is not one of this listpack ends here. The entry is not
            // yet overwritten, as `to <= keep_from`.
            let size = self.extent(pos, 1).1;
            // SAFETY: both runs lie behind the header and before the entry at `pos`, which `extent` has
            // found inside of this listpack.
            unsafe { move_bytes(self.start().add(keep_from), self.start().add(to), kept) };
            to += kept;
            keep_from = pos.offset() + size;
        }
        let count = self.count_after(places.len(), 0);
        self.make_room(Change { at: to, removed: keep_from - to, added: 0 }, count);
    }

    /// Removes the first entry, if there is one, after showing it to `f`.
    #[inline]
    pub fn pop_front<R>(&mut self, f: impl FnOnce(Element<'_>) -> R) -> Option<R> {
        if self.is_empty() {
            return None;
        }
        // SAFETY: there is an entry between the header and the end byte.
        let Some((value, size)) = (unsafe { codec::decode(self.front(), self.end()) }) else { broken() };
        let result = f(value);
        let (total, gap) = (self.total(), self.gap());
        let count = self.count_after(1, 0);
        if size_class(total - size) == size_class(total) && gap + size <= GAP_MAX {
            // SAFETY: the header moves over the removed entry, and the block keeps its class.
            unsafe {
                self.set_gap(gap + size);
                write_header(self.start(), total - size, count);
            }
        } else {
            self.make_room(Change { at: HEADER, removed: size, added: 0 }, count);
        }
        Some(result)
    }

    /// Removes the last entry, if there is one, after showing it to `f`.
    #[inline]
    pub fn pop_back<R>(&mut self, f: impl FnOnce(Element<'_>) -> R) -> Option<R> {
        let pos = self.last()?;
        let result = f(self.get(pos));
        let total = self.total();
        let size = total - 1 - pos.offset();
        let count = self.count_after(1, 0);
        if size_class(total - size) == size_class(total) {
            // SAFETY: the removed entry becomes the end byte, and the block keeps its class.
            unsafe {
                self.start().add(pos.offset()).write(END);
                write_header(self.start(), total - size, count);
            }
        } else {
            self.make_room(Change { at: pos.offset(), removed: size, added: 0 }, count);
        }
        Some(result)
    }
}

/// A number of entries as the header states it.
fn count_field(n: usize) -> u16 {
    u16::try_from(n).unwrap_or(COUNT_UNKNOWN)
}

/// # Safety
/// `HEADER` bytes at `to` may be written.
#[inline(always)]
unsafe fn write_header(to: *mut u8, total: usize, count: u16) {
    debug_assert!(total >= EMPTY_LEN && u32::try_from(total).is_ok());
    // SAFETY: as the contract.
    unsafe {
        to.cast::<u32>().write_unaligned(total as u32);
        to.add(4).cast::<u16>().write_unaligned(count);
    }
}

/// # Safety
/// As for `ptr::copy`.
#[inline]
unsafe fn move_bytes(from: *const u8, to: *mut u8, n: usize) {
    // SAFETY: as the contract. Headers and end bytes are worth sparing the call.
    unsafe {
        if ptr::eq(from, to) {
            return;
        }
        match n {
            1 => to.write(from.read()),
            HEADER => to.cast::<[u8; HEADER]>().write(from.cast::<[u8; HEADER]>().read()),
            _ => ptr::copy(from, to, n),
        }
    }
}

impl Drop for Listpack {
    fn drop(&mut self) {
        // SAFETY: the block has the class of `total`; its only owner is dropped here.
        unsafe { block::release(self.block(), self.alloc_size()) }
    }
}

impl Clone for Listpack {
    fn clone(&self) -> Self {
        Self::copy(self)
    }
}

impl From<&Lp> for Listpack {
    fn from(lp: &Lp) -> Self {
        Self::copy(lp)
    }
}

impl Default for Listpack {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Lp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

impl fmt::Debug for Listpack {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}
