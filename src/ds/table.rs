//! The hash table of the house: keyspace, expiry index, hashes, sets and sorted sets all use this one.
//!
//! ```text
//! array:  power-of-two number of buckets, each one cache line
//!
//!          0    1..10        10        16        22               58        64
//! bucket  [ctl][9 tags    ][ptr 0 6B][ptr 1 6B][ptr 2 6B] ...   [ptr 8 6B]
//!           |    |                                                 |
//!           |    one byte of the hash, 0 = empty slot              when chained: the child bucket
//!           bit 0: chained
//! ```
//!
//! A lookup touches one line for the bucket (the tags are compared 16 bytes at a time), then the
//! element whose tag matched, which holds the key. Elements are 48-bit pointers (`Elem`) that the table
//! does not own.
//!
//! * Size is counted as upstream's dict does: the logical size is a power of two from 4 up, and `size /
//!   8` is the number of buckets, so growth and shrinking fall at the same element counts. At 2^20
//!   elements a bucket holds eight on average; about a quarter of the buckets have a child.
//! * The index of a bucket begins at bit 14 of the hash: the bits below belong to the owner of the keys
//!   (`hash::key_hash` keeps the slot of a cluster there), and a rehash never needs them.
//! * The head is 32 bytes, since a database of a cluster has 16,384 of them: what is needed while an array
//!   is exchanged for another lies in a box.
//! * Rehashing is incremental: while it lasts elements move chain by chain from `main` into the box's
//!   array; lookups look into both, inserts go to the new one. One step moves one chain and visits at most
//!   two empty ones: about as much of the table as upstream's ten empty slots.
//! * Arrays of 256 KiB and more are mapped, and given back in slices while the rehash walks over them.
//! * `scan` keeps upstream's promise: an element that stays in the table for the whole scan is returned
//!   at least once, across growth and shrinking. The cursor counts with its bits reversed over the
//!   bucket index, so that a bucket of the smaller array and all the buckets it splits into are
//!   neighbours in the order of the scan.
//! * A chain has no holes before its end: removal fills the hole with the last element of the chain and
//!   frees a child that became empty. Chains are emitted whole by `scan`, so moving inside a chain is
//!   invisible to it. Long ones come ordered by the slots of the logical size.
//!
//! Tried and dropped: open addressing over groups (a growing table cannot be scanned with a stateless
//! cursor), storing more hash bits (the ninth slot is worth more), seven slots of 8 bytes (12.3 bytes
//! an element).

mod figures;
mod iter;
mod sample;

pub use figures::{ArrayFigures, Figures};
pub(super) use sample::below;

use super::hash::{FREE_BITS, hash};
use crate::sys::map;
use iter::{Ahead, Iter};
use std::alloc::{Layout, alloc_zeroed, dealloc};
use std::marker::PhantomData;
use std::ptr::{self, NonNull};
use std::sync::atomic::{AtomicU8, Ordering};

/// What a table holds: the address of an element, whose key can be read while it lives.
///
/// # Safety
/// The address has 48 bits, `from_ptr` gives back what `to_ptr` was asked of, and the key of a live element
/// is always the same.
pub(super) unsafe trait Elem: Copy + PartialEq {
    fn to_ptr(self) -> NonNull<u8>;
    /// # Safety
    /// `p` came from `to_ptr` of a live element.
    unsafe fn from_ptr(p: NonNull<u8>) -> Self;
    /// # Safety
    /// The element lives for `'a`.
    unsafe fn key<'a>(self) -> &'a [u8];
}

/// When tables may change their size. While a child process shares the pages, growth waits for a load
/// of five.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Resize {
    Allow,
    Avoid,
    Forbid,
}

/// Empty buckets that one step of a rehash passes at most.
const EMPTY_VISITS: usize = 2;

/// Chains of more buckets than this are scanned in the order of their slots. Only what collides makes them.
const LONG_CHAIN: usize = 2;

/// One for all tables of the process, small ones included: read only when a table is full.
static RESIZE: AtomicU8 = AtomicU8::new(0);

pub fn set_resize(policy: Resize) {
    RESIZE.store(policy as u8, Ordering::Relaxed);
}

fn resize_policy() -> Resize {
    match RESIZE.load(Ordering::Relaxed) {
        0 => Resize::Allow,
        1 => Resize::Avoid,
        _ => Resize::Forbid,
    }
}

/// Load at which a table grows even while a child runs (upstream's dict_force_resize_ratio).
const FORCE_RATIO: usize = 5;
/// Load in thousandths up to which a table may be kept from growing (HASHTABLE_MAX_LOAD_FACTOR).
const HELD_PER_MILLE: usize = 1618;
/// Fill in percent below which a table is worth shrinking (HASHTABLE_MIN_FILL).
pub const MIN_FILL: usize = 10;
const MIN_SIZE: usize = 4;
const SLOTS: usize = 9;
const LAST: usize = SLOTS - 1;
const CHAINED: u8 = 1;
const LINE: usize = 64;
/// Old arrays are given back to the kernel in slices of this size.
const SLICE: usize = 256 * 1024;

#[repr(C, align(8))]
struct Bucket([u8; LINE]);

const _: () = assert!(size_of::<Bucket>() == LINE);
const _: () = assert!(1 + SLOTS + SLOTS * 6 == LINE);

#[inline]
fn tag_of(hash: u64) -> u8 {
    ((hash >> 56) as u8).max(1)
}

impl Bucket {
    #[inline]
    fn chained(&self) -> bool {
        self.0[0] & CHAINED != 0
    }

    /// Bit i is set where tag i equals `tag`.
    #[inline]
    fn matches(&self, tag: u8) -> u32 {
        #[cfg(target_arch = "x86_64")]
        {
            use std::arch::x86_64::*;
            // SAFETY: SSE2 is part of x86-64; the bucket has more than 16 bytes.
            let m = unsafe {
                let line = _mm_loadu_si128(self.0.as_ptr().cast());
                _mm_movemask_epi8(_mm_cmpeq_epi8(line, _mm_set1_epi8(tag as i8)))
            };
            (m as u32 >> 1) & 0x1ff
        }
        #[cfg(not(target_arch = "x86_64"))]
        {
            (0..SLOTS).fold(0, |m, i| m | ((self.0[1 + i] == tag) as u32) << i)
        }
    }

    /// Slots that may hold elements: all nine, or eight when the last leads to a child.
    #[inline]
    fn usable(&self) -> u32 {
        if self.chained() { 0xff } else { 0x1ff }
    }

    #[inline]
    fn empties(&self) -> u32 {
        self.matches(0) & self.usable()
    }

    #[inline]
    fn taken(&self) -> u32 {
        !self.matches(0) & self.usable()
    }

    #[inline]
    fn raw(&self, i: usize) -> u64 {
        debug_assert!(i < SLOTS);
        // SAFETY: bytes 8+6i .. 16+6i end at 64 for the last slot; the upper six are the pointer.
        let word = unsafe { ptr::read_unaligned(self.0.as_ptr().add(8 + 6 * i).cast::<u64>()) };
        u64::from_le(word) >> 16
    }

    #[inline]
    fn set_raw(&mut self, i: usize, p: u64) {
        debug_assert!(i < SLOTS && p >> 48 == 0);
        let b = p.to_le_bytes();
        self.0[10 + 6 * i..16 + 6 * i].copy_from_slice(&b[..6]);
    }

    #[inline]
    fn get<E: Elem>(&self, i: usize) -> E {
        debug_assert!(self.0[1 + i] != 0);
        let p = NonNull::new(self.raw(i) as *mut u8).expect("a taken slot holds a pointer");
        // SAFETY: a taken slot holds what `put` was given; elements outlive their place in the table.
        unsafe { E::from_ptr(p) }
    }

    #[inline]
    fn put<E: Elem>(&mut self, i: usize, tag: u8, e: E) {
        self.0[1 + i] = tag;
        self.set_raw(i, e.to_ptr().as_ptr() as u64);
    }

    #[inline]
    fn child(&self) -> Option<NonNull<Bucket>> {
        if self.chained() { NonNull::new(self.raw(LAST) as *mut Bucket) } else { None }
    }

    /// Moves the last element into a fresh child and links it.
    fn grow_chain(&mut self) -> NonNull<Bucket> {
        debug_assert!(!self.chained() && self.empties() == 0);
        let child = new_bucket();
        // SAFETY: just allocated, ours alone.
        let c = unsafe { &mut *child.as_ptr() };
        c.0[1] = self.0[1 + LAST];
        c.set_raw(0, self.raw(LAST));
        self.0[1 + LAST] = 0;
        self.0[0] |= CHAINED;
        self.set_raw(LAST, child.as_ptr() as u64);
        child
    }

    fn unlink_child(&mut self) {
        let child = self.child().expect("only called on a chained bucket");
        self.0[0] &= !CHAINED;
        self.0[1 + LAST] = 0;
        self.set_raw(LAST, 0);
        // SAFETY: the child was made by `new_bucket` and nothing leads to it any more.
        unsafe { free_bucket(child) };
    }
}

const BUCKET_LAYOUT: Layout = Layout::new::<Bucket>();

fn new_bucket() -> NonNull<Bucket> {
    // SAFETY: the layout has a size. A block of class 64 lies on a line of its own in jemalloc's slabs.
    let p = unsafe { alloc_zeroed(BUCKET_LAYOUT) };
    NonNull::new(p.cast()).unwrap_or_else(|| std::alloc::handle_alloc_error(BUCKET_LAYOUT))
}

/// # Safety
/// `b` came from `new_bucket` and is unreachable.
unsafe fn free_bucket(b: NonNull<Bucket>) {
    // SAFETY: by contract.
    unsafe { dealloc(b.as_ptr().cast(), BUCKET_LAYOUT) }
}

/// One array of buckets.
struct Array {
    /// The address of the buckets; from `BITS` on log2 of the logical size, 0 for no array at all; and
    /// `HELD`.
    place: u64,
    used: usize,
    /// No chain holds more elements than this; it falls only when the last chain is gone.
    depth: u32,
    /// Buckets behind another one; a chain that a rehash has moved is still counted.
    children: u32,
}

const _: () = assert!(size_of::<Array>() == 24);

/// Where in `Array::place` the size stands, above the 48 bits of an address.
const BITS: u32 = 48;
/// In the `place` of a table's main array: its growth waits for a higher load, since the memory for it is
/// not there.
const HELD: u64 = 1 << 63;
/// The largest logical size: its index fills the hash up to the tag.
const MAX_BITS: u8 = 56 - FREE_BITS as u8 + 3;

impl Array {
    const NONE: Array = Array { place: 0, used: 0, depth: 0, children: 0 };

    fn new(bits: u8) -> Array {
        assert!((2..=MAX_BITS).contains(&bits), "a table of 2^{bits} slots");
        let count = (1usize << bits).div_ceil(8);
        let bytes = count * LINE;
        let buckets: NonNull<Bucket> = if bytes >= map::MAP_FROM {
            map::map(bytes).cast()
        } else {
            let layout = Self::layout(count);
            // SAFETY: the layout has a size.
            NonNull::new(unsafe { alloc_zeroed(layout) }.cast())
                .unwrap_or_else(|| std::alloc::handle_alloc_error(layout))
        };
        let address = buckets.as_ptr() as u64;
        assert_eq!(address >> BITS, 0, "user space ends below 2^48");
        let place = address | u64::from(bits) << BITS;
        Array { place, used: 0, depth: SLOTS as u32, children: 0 }
    }

    #[inline]
    fn bits(&self) -> u32 {
        (self.place >> BITS) as u32 & 0x7f
    }

    #[inline]
    fn buckets(&self) -> NonNull<Bucket> {
        debug_assert!(self.exists());
        let address = self.place & ((1 << BITS) - 1);
        // SAFETY: an array that exists has an address, and the callers have seen that it does.
        unsafe { NonNull::new_unchecked(address as *mut Bucket) }
    }

    fn layout(count: usize) -> Layout {
        // Up to a page the class alone gives the alignment; one bucket must not pay for more.
        let align = if count == 1 { 8 } else { LINE };
        Layout::from_size_align(count * LINE, align).expect("bounded by `new`")
    }

    #[inline]
    fn exists(&self) -> bool {
        self.bits() != 0
    }

    #[inline]
    fn size(&self) -> usize {
        if self.exists() { 1 << self.bits() } else { 0 }
    }

    #[inline]
    fn count(&self) -> usize {
        if self.exists() { (1usize << self.bits()).div_ceil(8) } else { 0 }
    }

    #[inline]
    fn mask(&self) -> usize {
        debug_assert!(self.exists());
        (1usize << self.bits().saturating_sub(3)) - 1
    }

    #[inline]
    fn at(&self, i: usize) -> NonNull<Bucket> {
        debug_assert!(i < self.count());
        // SAFETY: the index is masked or checked by the callers.
        unsafe { self.buckets().add(i) }
    }

    #[inline]
    fn bucket_of(&self, hash: u64) -> NonNull<Bucket> {
        self.at((hash >> FREE_BITS) as usize & self.mask())
    }

    /// The slot of the logical size; the buckets are its lower bits.
    fn slot_of(&self, hash: u64) -> usize {
        (hash >> FREE_BITS) as usize & (self.size() - 1)
    }

    /// The chain that begins at bucket `i`.
    #[inline]
    fn chain(&self, i: usize) -> Chain<'_> {
        Chain { next: Some(self.at(i)), _array: PhantomData }
    }

    /// Where the element for which `is` holds stands.
    #[inline]
    fn find<E: Elem>(&self, hash: u64, is: impl Fn(E) -> bool) -> Option<(NonNull<Bucket>, usize)> {
        let tag = tag_of(hash);
        let mut at = self.bucket_of(hash);
        loop {
            // SAFETY: buckets of a live array and their children are valid; `&self` excludes writers.
            let b = unsafe { at.as_ref() };
            let mut m = b.matches(tag) & b.usable();
            while m != 0 {
                let i = m.trailing_zeros() as usize;
                if is(b.get(i)) {
                    return Some((at, i));
                }
                m &= m - 1;
            }
            at = b.child()?;
        }
    }

    fn insert<E: Elem>(&mut self, hash: u64, e: E) {
        let mut at = self.bucket_of(hash);
        let mut depth = SLOTS;
        loop {
            // SAFETY: `&mut self`; no other reference into the array lives.
            let b = unsafe { at.as_mut() };
            let free = b.empties();
            if free != 0 {
                b.put(free.trailing_zeros() as usize, tag_of(hash), e);
                break;
            }
            at = match b.child() {
                Some(c) => c,
                None => {
                    self.children = self.children.saturating_add(1);
                    b.grow_chain()
                }
            };
            depth += LAST;
        }
        self.depth = self.depth.max(depth as u32);
        self.used += 1;
    }

    /// Empties slot `i` of the bucket `at`, a member of the chain of bucket `head`.
    fn vacate(&mut self, head: NonNull<Bucket>, at: NonNull<Bucket>, i: usize) {
        let (mut parent, mut last) = (None, head);
        // SAFETY: `&mut self`; the walk only follows live children.
        while let Some(c) = unsafe { last.as_ref() }.child() {
            parent = Some(last);
            last = c;
        }
        // SAFETY: one bucket at a time is borrowed below.
        unsafe {
            let taken = last.as_ref().taken();
            debug_assert!(taken != 0, "an empty child is unlinked at once");
            let j = 31 - taken.leading_zeros() as usize;
            if (last, j) != (at, i) {
                let (tag, p) = (last.as_ref().0[1 + j], last.as_ref().raw(j));
                let hole = &mut *at.as_ptr();
                hole.0[1 + i] = tag;
                hole.set_raw(i, p);
            }
            (&mut *last.as_ptr()).0[1 + j] = 0;
            if let (Some(mut parent), 0) = (parent, taken & !(1 << j)) {
                parent.as_mut().unlink_child();
                self.children -= 1;
                if self.children == 0 {
                    self.depth = SLOTS as u32;
                }
            }
        }
        self.used -= 1;
    }

    fn free(&mut self) {
        if !self.exists() {
            return;
        }
        let count = self.count();
        for i in 0..count {
            self.free_children(i);
        }
        self.free_array();
    }

    fn free_children(&mut self, i: usize) {
        let mut at = self.at(i);
        // SAFETY: `&mut self`.
        let mut child = unsafe { at.as_mut() }.child();
        while let Some(c) = child {
            // SAFETY: the child is read before it is freed.
            unsafe {
                child = c.as_ref().child();
                free_bucket(c);
            }
        }
    }

    fn free_array(&mut self) {
        let bytes = self.count() * LINE;
        // SAFETY: made by `new` with the same size; the children are gone.
        unsafe {
            if bytes >= map::MAP_FROM {
                map::unmap(self.buckets().cast(), bytes);
            } else {
                dealloc(self.buckets().as_ptr().cast(), Self::layout(self.count()));
            }
        }
        *self = Array { place: self.place & HELD, ..Array::NONE };
    }

    /// While a rehash walks up the array: gives the slice that ends before bucket `i` back.
    fn discard_before(&mut self, i: usize) {
        let bytes = self.count() * LINE;
        if bytes >= map::MAP_FROM && (i * LINE).is_multiple_of(SLICE) && i > 0 {
            // SAFETY: inside the mapping; every chain before `i` has moved.
            unsafe { map::discard(self.buckets().cast::<u8>().add(i * LINE - SLICE), SLICE) };
        }
    }
}

struct Chain<'a> {
    next: Option<NonNull<Bucket>>,
    _array: PhantomData<&'a Array>,
}

impl<'a> Iterator for Chain<'a> {
    type Item = &'a Bucket;
    #[inline]
    fn next(&mut self) -> Option<&'a Bucket> {
        // SAFETY: the chain belongs to an array borrowed for 'a.
        let b = unsafe { self.next?.as_ref() };
        self.next = b.child();
        Some(b)
    }
}

#[inline]
fn slots(mut mask: u32) -> impl Iterator<Item = usize> {
    std::iter::from_fn(move || {
        if mask == 0 {
            return None;
        }
        let i = mask.trailing_zeros() as usize;
        mask &= mask - 1;
        Some(i)
    })
}

#[cfg(target_arch = "x86_64")]
#[inline(always)]
pub(super) fn prefetch<T>(p: *const T) {
    // SAFETY: a hint; no address faults.
    unsafe { std::arch::x86_64::_mm_prefetch::<{ std::arch::x86_64::_MM_HINT_T0 }>(p.cast()) };
}
#[cfg(not(target_arch = "x86_64"))]
#[inline(always)]
pub(super) fn prefetch<T>(_: *const T) {}

pub(super) struct Table<E> {
    main: Array,
    rehash: Option<Box<Rehash>>,
    _elems: PhantomData<E>,
}

const _: () = assert!(size_of::<Table<NonNull<u8>>>() == 32);

/// The exchange of the main array for another.
struct Rehash {
    to: Array,
    /// Next bucket of the main array to move.
    at: usize,
}

impl<E: Elem> Default for Table<E> {
    fn default() -> Self {
        Self::new()
    }
}

impl<E: Elem> Table<E> {
    pub const fn new() -> Self {
        Table { main: Array::NONE, rehash: None, _elems: PhantomData }
    }

    #[inline]
    pub fn len(&self) -> usize {
        self.main.used + self.to().map_or(0, |to| to.used)
    }

    #[inline]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The array that a rehash fills.
    #[inline]
    fn to(&self) -> Option<&Array> {
        self.rehash.as_ref().map(|r| &r.to)
    }

    /// Logical slots of both arrays, as upstream counts them.
    pub fn slots(&self) -> usize {
        self.main.size() + self.to().map_or(0, Array::size)
    }

    #[inline]
    pub fn is_rehashing(&self) -> bool {
        self.rehash.is_some()
    }

    /// Bytes of the arrays and an estimate of the chained buckets.
    pub fn overhead(&self) -> usize {
        (self.main.count() + self.to().map_or(0, Array::count)) * LINE
    }

    #[inline]
    fn arrays(&self) -> impl Iterator<Item = &Array> {
        Some(&self.main).filter(|a| a.exists()).into_iter().chain(self.to())
    }

    /// First touch of a lookup to come: the bucket's line.
    #[inline]
    pub fn prefetch_bucket(&self, hash: u64) {
        for a in self.arrays() {
            prefetch(a.bucket_of(hash).as_ptr());
        }
    }

    /// Second touch, when the bucket has arrived: the elements whose tag matches.
    #[inline]
    pub fn prefetch_elem(&self, hash: u64) {
        let tag = tag_of(hash);
        for a in self.arrays() {
            // SAFETY: `&self`; a live array.
            let b = unsafe { a.bucket_of(hash).as_ref() };
            for i in slots(b.matches(tag) & b.usable()) {
                prefetch(b.raw(i) as *const u8);
            }
        }
    }

    #[inline]
    pub fn find(&self, hash: u64, key: &[u8]) -> Option<E> {
        if self.main.exists()
            // SAFETY: what is in the table lives (`insert`).
            && let Some((b, i)) = self.main.find(hash, |e: E| unsafe { e.key() } == key)
        {
            // SAFETY: just found in a live array.
            return Some(unsafe { b.as_ref() }.get(i));
        }
        // SAFETY: as above.
        let (b, i) = self.to()?.find(hash, |e: E| unsafe { e.key() } == key)?;
        // SAFETY: as above.
        Some(unsafe { b.as_ref() }.get(i))
    }

    #[inline]
    pub fn contains(&self, hash: u64, key: &[u8]) -> bool {
        self.find(hash, key).is_some()
    }

    /// Adds an element whose key is not in the table.
    ///
    /// # Safety
    /// The element lives until it is taken out, or the table is cleared or dropped. (`iter` and
    /// `iter_ahead` may still hand out what has been freed since, and look at none.)
    #[inline]
    pub unsafe fn insert(&mut self, hash: u64, e: E) {
        // SAFETY: by contract.
        debug_assert!(self.find(hash, unsafe { e.key() }).is_none(), "the key is already in the table");
        self.expand_if_needed();
        if self.is_rehashing() {
            self.rehash(1);
        }
        match &mut self.rehash {
            Some(r) => r.to.insert(hash, e),
            None => self.main.insert(hash, e),
        }
    }

    /// Puts `with`, an element of the same key, in the place of `e`.
    ///
    /// # Safety
    /// As for `insert`.
    pub unsafe fn replace(&mut self, hash: u64, e: E, with: E) -> bool {
        let Some((_, mut b, i)) = self.position(hash, e) else { return false };
        // SAFETY: `&mut self`.
        unsafe { b.as_mut() }.put(i, tag_of(hash), with);
        true
    }

    /// Takes out exactly the element `e`.
    pub fn remove(&mut self, hash: u64, e: E) -> bool {
        let Some((in_new, b, i)) = self.position(hash, e) else { return false };
        let array = match &mut self.rehash {
            Some(r) if in_new => &mut r.to,
            _ => &mut self.main,
        };
        array.vacate(array.bucket_of(hash), b, i);
        true
    }

    /// Takes out the element with this key.
    pub fn remove_key(&mut self, hash: u64, key: &[u8]) -> Option<E> {
        let e = self.find(hash, key)?;
        let removed = self.remove(hash, e);
        debug_assert!(removed);
        Some(e)
    }

    fn position(&self, hash: u64, e: E) -> Option<(bool, NonNull<Bucket>, usize)> {
        let at = |a: &Array| a.find(hash, |x: E| x == e);
        if self.main.exists()
            && let Some((b, i)) = at(&self.main)
        {
            return Some((false, b, i));
        }
        at(self.to()?).map(|(b, i)| (true, b, i))
    }

    #[inline]
    fn expand_if_needed(&mut self) {
        if self.main.used < self.main.size() || self.is_rehashing() {
            return;
        }
        self.expand();
    }

    #[cold]
    fn expand(&mut self) {
        if !self.main.exists() {
            self.set_main(Array::new(2));
            return;
        }
        let policy = resize_policy();
        if self.main.place & HELD != 0 && self.main.used * 1000 <= self.main.size() * HELD_PER_MILLE {
            return;
        }
        let forced = self.main.used / self.main.size() >= FORCE_RATIO && policy != Resize::Forbid;
        if policy == Resize::Allow || forced {
            self.resize_to(self.main.used + 1);
        }
    }

    /// Bytes of the array that the next insert would allocate to grow into; 0 when it would not grow.
    #[inline]
    pub fn growth(&self) -> usize {
        if self.main.used < self.main.size() || self.is_rehashing() || !self.main.exists() {
            return 0;
        }
        (1usize << Self::bits_for(self.main.used + 1)) / 8 * LINE
    }

    /// Lets growth wait, up to a load of 1.618, or no longer.
    pub fn hold_growth(&mut self, hold: bool) {
        self.main.place = self.main.place & !HELD | if hold { HELD } else { 0 };
    }

    fn bits_for(n: usize) -> u8 {
        n.max(MIN_SIZE).next_power_of_two().trailing_zeros() as u8
    }

    fn resize_to(&mut self, n: usize) {
        debug_assert!(!self.is_rehashing());
        let bits = Self::bits_for(n);
        if u32::from(bits) == self.main.bits() {
            return;
        }
        if self.main.used == 0 {
            self.main.free();
            self.set_main(Array::new(bits));
            return;
        }
        self.rehash = Some(Box::new(Rehash { to: Array::new(bits), at: 0 }));
    }

    /// Another main array, of which it is said as before whether it may grow.
    fn set_main(&mut self, array: Array) {
        debug_assert!(!self.main.exists(), "the array before it has been freed");
        self.main = Array { place: array.place | self.main.place & HELD, ..array };
    }

    /// Makes room for `n` elements at once (loading, DEBUG POPULATE).
    pub fn reserve(&mut self, n: usize) {
        if !self.is_rehashing() && n > self.main.size() {
            self.resize_to(n);
        }
    }

    /// Is it so empty that a smaller array would do?
    pub fn wants_shrink(&self) -> bool {
        let size = self.slots();
        size > MIN_SIZE && self.len() * 100 / size < MIN_FILL
    }

    /// Begins to shrink to the smallest size that holds all; refused while resizing is held back.
    pub fn shrink(&mut self) -> bool {
        if resize_policy() != Resize::Allow || self.is_rehashing() || !self.main.exists() {
            return false;
        }
        let before = self.main.bits();
        self.resize_to(self.main.used);
        self.is_rehashing() || self.main.bits() != before
    }

    /// Moves up to `n` chains. True while more are left.
    pub fn rehash(&mut self, n: usize) -> bool {
        let Some(mut r) = self.rehash.take() else { return false };
        let policy = resize_policy();
        let (from, to) = (self.main.size(), r.to.size());
        let ratio = from.max(to) / from.min(to).max(1);
        let held = policy == Resize::Forbid || (policy == Resize::Avoid && ratio < FORCE_RATIO);
        if held || self.move_chains(&mut r, n) {
            self.rehash = Some(r);
            return true;
        }
        // Only empty heads are left, and children never outlive their elements.
        self.main.free_array();
        self.set_main(r.to);
        false
    }

    /// True while the main array holds elements.
    fn move_chains(&mut self, r: &mut Rehash, n: usize) -> bool {
        let mut empty_visits = n.saturating_mul(EMPTY_VISITS);
        for _ in 0..n {
            if self.main.used == 0 {
                break;
            }
            // SAFETY: `main.used > 0`: a chain with elements is still ahead.
            while unsafe { self.main.at(r.at).as_ref() }.taken() == 0 {
                self.pass_bucket(r);
                empty_visits -= 1;
                if empty_visits == 0 {
                    return true;
                }
            }
            self.move_chain(r);
        }
        self.main.used > 0
    }

    fn pass_bucket(&mut self, r: &mut Rehash) {
        r.at += 1;
        self.main.discard_before(r.at);
    }

    fn move_chain(&mut self, r: &mut Rehash) {
        let head = self.main.at(r.at);
        for b in self.main.chain(r.at) {
            slots(b.taken()).for_each(|i| prefetch(b.raw(i) as *const u8));
        }
        let mut next = Some(head);
        let mut moved = 0;
        while let Some(at) = next {
            // SAFETY: `&mut self`; the chain of `main` is only read, inserts touch the other array.
            let b = unsafe { at.as_ref() };
            for i in slots(b.taken()) {
                let e: E = b.get(i);
                // SAFETY: what is in the table lives (`insert`).
                r.to.insert(hash(unsafe { e.key() }), e);
                moved += 1;
            }
            next = b.child();
        }
        self.main.free_children(r.at);
        // SAFETY: `&mut self`.
        unsafe { (*head.as_ptr()).0.fill(0) };
        self.main.used -= moved;
        self.pass_bucket(r);
    }

    /// One step of the scan: calls `f` with every element of one bucket position and returns the next
    /// cursor, 0 at the end. `f` must not change the table.
    pub fn scan(&self, cursor: u64, mut f: impl FnMut(E)) -> u64 {
        if self.is_empty() {
            return 0;
        }
        let mut emit = |a: &Array, i: usize| {
            if a.chain(i).nth(LONG_CHAIN).is_some() {
                return by_slots(a, i).into_iter().for_each(&mut f);
            }
            for b in a.chain(i) {
                slots(b.taken()).for_each(|i| f(b.get(i)));
            }
        };
        let mut v = cursor;
        let Some(to) = self.to() else {
            let m = self.main.mask() as u64;
            emit(&self.main, (v & m) as usize);
            return next_cursor(v, m);
        };
        let (small, big) =
            if self.main.count() <= to.count() { (&self.main, to) } else { (to, &self.main) };
        let (ms, mb) = (small.mask() as u64, big.mask() as u64);
        emit(small, (v & ms) as usize);
        loop {
            emit(big, (v & mb) as usize);
            v = next_cursor(v, mb);
            if v & (ms ^ mb) == 0 {
                return v;
            }
        }
    }

    pub fn iter(&self) -> Iter<'_, E> {
        Iter::of(self)
    }

    /// The same order, each element's memory fetched some steps before it is given.
    pub fn iter_ahead(&self) -> Ahead<'_, E> {
        Ahead::of(self.iter())
    }

    fn rehashed(&self) -> usize {
        self.rehash.as_ref().map_or(0, |r| r.at)
    }

    /// Calls `f` with up to `n` elements from a random place on: quick, clustered, good enough for
    /// sampling. The place is one inside of a chain: a sample that always began with the first element of
    /// one would seldom come to the last, which then would never be evicted.
    pub fn some(&self, n: usize, random: u64, mut f: impl FnMut(E)) {
        let total = self.main.count() + self.to().map_or(0, Array::count);
        let n = n.min(self.len());
        let start = random as u32 as usize % total.max(1);
        let bucket = |at: usize| match (at.checked_sub(self.main.count()), self.to()) {
            (Some(at), Some(to)) => (to, at),
            _ => (&self.main, at),
        };
        let mut before = 0;
        if n > 0 {
            let (a, i) = bucket(start);
            before = (random >> 32) as usize % chain_len(a, i).max(1);
        }
        let mut given = 0;
        // Once around; what stands before the place comes last.
        for (turn, at) in (start..total).chain(0..start + 1).enumerate() {
            if given >= n {
                return;
            }
            let (a, i) = bucket(at);
            let skipped = if turn == 0 { before } else { 0 };
            let all = a.chain(i).flat_map(|b| slots(b.taken()).map(|j| b.get(j)));
            for e in all.skip(skipped).take(n - given) {
                f(e);
                given += 1;
            }
        }
    }

    /// Forgets every element (the owner has freed them) and gives the arrays back.
    pub fn clear(&mut self) {
        self.main.free();
        if let Some(mut r) = self.rehash.take() {
            r.to.free();
        }
    }
}

/// The elements of a chain, slot by slot of the logical size, in the order in which a scan over such slots
/// would come to them. A caller that deletes what a scan gave it so empties whole slots, as upstream.
fn by_slots<E: Elem>(a: &Array, i: usize) -> Vec<E> {
    // SAFETY: what is in the table lives (`insert`).
    let slot = |e: &E| a.slot_of(hash(unsafe { e.key() })) / a.count();
    let mut all: Vec<E> = Vec::new();
    for b in a.chain(i) {
        all.extend(slots(b.taken()).map(|i| -> E { b.get(i) }));
    }
    all.sort_by_key(|e| slot(e).reverse_bits());
    all
}

fn chain_len(a: &Array, i: usize) -> usize {
    a.chain(i).map(|b| b.taken().count_ones() as usize).sum()
}

#[inline]
fn next_cursor(v: u64, mask: u64) -> u64 {
    (v | !mask).reverse_bits().wrapping_add(1).reverse_bits()
}

impl<E> Drop for Table<E> {
    fn drop(&mut self) {
        self.main.free();
        if let Some(mut r) = self.rehash.take() {
            r.to.free();
        }
    }
}

#[cfg(test)]
mod tests;
