//! The intset: a sorted run of integers of one width, byte for byte in the form that RDB files carry.
//!
//! ```text
//!   ┌───────────┬────────────┬───────┬───────┬─────┐
//!   │ width u32 │ length u32 │ int 0 │ int 1 │ ... │     width 2, 4 or 8 bytes; all little endian
//!   └───────────┴────────────┴───────┴───────┴─────┘     ascending, each value once
//! ```
//!
//! The width is that of the widest value ever added. A value that needs more widens all of them, and
//! lies by that alone before or behind all others; removing the wide ones narrows nothing, as upstream
//! has it.
//!
//! `Intset` is one word: the block is the size class of the length that the header implies
//! (`ds::block`), so adding within the class moves only what lies behind. The block is aligned to 8 and
//! the header has 8 bytes, so the contents are plain slices of integers and the search is that of the
//! standard library.

use std::fmt;
use std::ptr::{self, NonNull};

use super::block::{self, size_class};
use super::listpack::Corrupt;
use crate::sys::defrag::Mover;

const HEADER: usize = 8;

const _: () = assert!(cfg!(target_endian = "little"), "contents are used as they lie in memory");
const _: () = assert!(size_of::<Option<Intset>>() == 8);

pub struct Intset {
    block: NonNull<u8>,
}

// SAFETY: it owns its block alone and has no interior mutability.
unsafe impl Send for Intset {}
// SAFETY: shared access only reads.
unsafe impl Sync for Intset {}

/// The contents at their width.
#[derive(Clone, Copy)]
enum Ints<'a> {
    W2(&'a [i16]),
    W4(&'a [i32]),
    W8(&'a [i64]),
}

/// The bytes that a value needs.
fn width_of(value: i64) -> usize {
    if i16::try_from(value).is_ok() {
        2
    } else if i32::try_from(value).is_ok() {
        4
    } else {
        8
    }
}

impl Ints<'_> {
    /// Where `value` is, or else would have to be.
    fn search(self, value: i64) -> Result<usize, usize> {
        match self {
            Ints::W2(ints) => search(ints, value),
            Ints::W4(ints) => search(ints, value),
            Ints::W8(ints) => search(ints, value),
        }
    }

    #[inline]
    fn get(self, at: usize) -> Option<i64> {
        match self {
            Ints::W2(ints) => ints.get(at).map(|v| i64::from(*v)),
            Ints::W4(ints) => ints.get(at).map(|v| i64::from(*v)),
            Ints::W8(ints) => ints.get(at).copied(),
        }
    }
}

fn search<T: Copy + Ord + TryFrom<i64> + Into<i64>>(ints: &[T], value: i64) -> Result<usize, usize> {
    let Ok(narrow) = T::try_from(value) else {
        return Err(if value < 0 { 0 } else { ints.len() });
    };
    // Sets are often built and merged in order, so the end is asked first.
    match ints.last() {
        Some(last) if narrow > *last => Err(ints.len()),
        _ => ints.binary_search(&narrow),
    }
}

impl Intset {
    pub fn new() -> Self {
        let block = block::acquire(size_class(HEADER));
        let mut set = Intset { block };
        set.set_header(2, 0);
        set
    }

    /// An intset of bytes from outside, checked value by value.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, Corrupt> {
        validate(bytes)?;
        Ok(Self::copy(bytes))
    }

    fn copy(bytes: &[u8]) -> Self {
        let block = block::acquire(size_class(bytes.len()));
        // SAFETY: the new block holds at least that many bytes.
        unsafe { block.as_ptr().copy_from_nonoverlapping(bytes.as_ptr(), bytes.len()) };
        Intset { block }
    }

    /// The word that owns the block, for structures that store one.
    pub fn into_raw(self) -> NonNull<u8> {
        let block = self.block;
        std::mem::forget(self);
        block
    }

    /// # Safety
    /// `word` came from `into_raw`, and only this call makes an intset of it.
    pub unsafe fn from_raw(word: NonNull<u8>) -> Self {
        Intset { block: word }
    }

    #[inline]
    fn header(&self) -> [u32; 2] {
        // SAFETY: the header is initialised and aligned.
        unsafe { self.block.cast::<[u32; 2]>().read() }
    }

    fn set_header(&mut self, width: usize, len: usize) {
        let len = u32::try_from(len).expect("an intset has fewer than 2^32 values");
        // SAFETY: the block holds at least the header, aligned.
        unsafe { self.block.cast::<[u32; 2]>().write([width as u32, len]) };
    }

    #[inline]
    fn width(&self) -> usize {
        self.header()[0] as usize
    }

    #[inline]
    pub fn len(&self) -> usize {
        self.header()[1] as usize
    }

    #[inline]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn byte_len(&self) -> usize {
        HEADER + self.len() * self.width()
    }

    pub fn bytes(&self) -> &[u8] {
        // SAFETY: header and contents are initialised.
        unsafe { std::slice::from_raw_parts(self.block.as_ptr(), self.byte_len()) }
    }

    /// What the block costs in the allocator.
    pub fn alloc_size(&self) -> usize {
        size_class(self.byte_len())
    }

    pub fn defrag(&mut self, mover: &mut Mover) {
        // SAFETY: the block has this class; the old address is overwritten.
        if let Some(new) = unsafe { block::relocate(self.block, self.alloc_size(), mover) } {
            self.block = new;
        }
    }

    #[inline]
    fn contents(&self) -> NonNull<u8> {
        // SAFETY: the block is at least as long as the header.
        unsafe { self.block.add(HEADER) }
    }

    #[inline]
    fn ints(&self) -> Ints<'_> {
        /// # Safety
        /// `len` initialised values of type T lie at `at`, for as long as the result lives.
        unsafe fn slice<'a, T>(at: NonNull<u8>, len: usize) -> &'a [T] {
            // SAFETY: as the contract; blocks are aligned to 8, and so is what follows the header.
            unsafe { std::slice::from_raw_parts(at.cast().as_ptr(), len) }
        }
        let [width, len] = self.header();
        let (at, len) = (self.contents(), len as usize);
        // SAFETY: the contents are `len` initialised integers of that width, borrowed with self.
        unsafe {
            match width {
                2 => Ints::W2(slice(at, len)),
                4 => Ints::W4(slice(at, len)),
                _ => Ints::W8(slice(at, len)),
            }
        }
    }

    #[inline]
    pub fn contains(&self, value: i64) -> bool {
        self.ints().search(value).is_ok()
    }

    /// The value of an index in ascending order.
    #[inline]
    pub fn get(&self, index: usize) -> Option<i64> {
        self.ints().get(index)
    }

    pub fn min(&self) -> Option<i64> {
        self.get(0)
    }

    pub fn max(&self) -> Option<i64> {
        self.get(self.len().checked_sub(1)?)
    }

    /// A value chosen by `below(n)`, which gives a number from `0..n`.
    pub fn random(&self, below: impl FnOnce(usize) -> usize) -> Option<i64> {
        if self.is_empty() { None } else { self.get(below(self.len())) }
    }

    pub fn iter(&self) -> impl DoubleEndedIterator<Item = i64> + ExactSizeIterator + Clone + '_ {
        let ints = self.ints();
        (0..self.len()).map(move |i| ints.get(i).expect("i is below the length"))
    }

    /// Adds a value; false if it was there.
    pub fn add(&mut self, value: i64) -> bool {
        let width = width_of(value);
        if width > self.width() {
            self.widen_and_add(width, value);
            return true;
        }
        let Err(at) = self.ints().search(value) else { return false };
        let (width, len) = (self.width(), self.len());
        self.resize(HEADER + len * width, HEADER + (len + 1) * width);
        // SAFETY: the block now holds one value more, and `at <= len`.
        unsafe {
            let place = self.contents().add(at * width).as_ptr();
            ptr::copy(place, place.add(width), (len - at) * width);
            write_int(place, width, value);
        }
        self.set_header(width, len + 1);
        true
    }

    /// Removes a value; false if it was not there.
    pub fn remove(&mut self, value: i64) -> bool {
        let Ok(at) = self.ints().search(value) else { return false };
        let (width, len) = (self.width(), self.len());
        // SAFETY: `at < len`, so the value and those behind it lie in the block.
        unsafe {
            let place = self.contents().add(at * width).as_ptr();
            ptr::copy(place.add(width), place, (len - at - 1) * width);
        }
        self.set_header(width, len - 1);
        self.resize(HEADER + len * width, HEADER + (len - 1) * width);
        true
    }

    /// Takes the block from one content length to another, keeping the bytes that fit both.
    fn resize(&mut self, from: usize, to: usize) {
        let (old, new) = (size_class(from), size_class(to));
        if old != new {
            // SAFETY: the block has the class of its content length, `from`.
            self.block = unsafe { block::resize(self.block, old, new) };
        }
    }

    fn widen_and_add(&mut self, width: usize, value: i64) {
        let (old, len) = (self.width(), self.len());
        debug_assert!(width > old && width_of(value) == width);
        let values: Vec<i64> = self.iter().collect();
        self.resize(HEADER + len * old, HEADER + (len + 1) * width);
        // All the others fit the old width, so the new one lies outside their range.
        let shift = usize::from(value < 0);
        let contents = self.contents().as_ptr();
        // SAFETY: the block now holds `len + 1` values of the new width; every index is at most `len`.
        unsafe {
            for (i, old_value) in values.into_iter().enumerate() {
                write_int(contents.add((i + shift) * width), width, old_value);
            }
            let at = if value < 0 { 0 } else { len };
            write_int(contents.add(at * width), width, value);
        }
        self.set_header(width, len + 1);
    }
}

/// # Safety
/// `width` bytes at `place` may be written, and `value` fits them.
unsafe fn write_int(place: *mut u8, width: usize, value: i64) {
    debug_assert!(width_of(value) <= width);
    // SAFETY: as the contract. The low bytes come first.
    unsafe { place.copy_from_nonoverlapping(value.to_le_bytes().as_ptr(), width) }
}

/// Checks the frame of bytes from outside: a known width and the stated number of values, at least one.
/// Gives the width and the contents.
fn frame(bytes: &[u8]) -> Result<(usize, &[u8]), Corrupt> {
    let wrong = |at, why| Err(Corrupt { at, why });
    let Some((width, rest)) = bytes.split_first_chunk::<4>() else {
        return wrong(bytes.len(), "intset header is cut off");
    };
    let Some((len, contents)) = rest.split_first_chunk::<4>() else {
        return wrong(bytes.len(), "intset header is cut off");
    };
    let (width, len) = (u32::from_le_bytes(*width), u32::from_le_bytes(*len));
    if !matches!(width, 2 | 4 | 8) {
        return wrong(0, "intset width is none of 2, 4 and 8");
    }
    if u64::from(width).checked_mul(u64::from(len)) != u64::try_from(contents.len()).ok() {
        return wrong(4, "intset length is not the number of values");
    }
    if len == 0 {
        return wrong(4, "intset is empty");
    }
    Ok((usize::try_from(width).unwrap_or(8), contents))
}

/// Checks the frame of bytes from outside, but not the order of the values.
pub fn validate_shallow(bytes: &[u8]) -> Result<(), Corrupt> {
    frame(bytes).map(|_| ())
}

/// Checks bytes from outside: the frame, and that the values ascend.
pub fn validate(bytes: &[u8]) -> Result<(), Corrupt> {
    let (width, contents) = frame(bytes)?;
    let mut last = None;
    for (value, at) in contents.chunks_exact(width).zip((HEADER..).step_by(width)) {
        let wide = value.iter().rev().fold(0u64, |n, byte| n << 8 | u64::from(*byte));
        let shift = 64u32.saturating_sub(u32::try_from(width).unwrap_or(8).saturating_mul(8));
        let value = (wide << shift).cast_signed() >> shift;
        if last.is_some_and(|last| last >= value) {
            return Err(Corrupt { at, why: "intset values do not ascend" });
        }
        last = Some(value);
    }
    Ok(())
}

impl Drop for Intset {
    fn drop(&mut self) {
        // SAFETY: the block has the class of the content's length; its only owner is dropped here.
        unsafe { block::release(self.block, self.alloc_size()) }
    }
}

impl Clone for Intset {
    fn clone(&self) -> Self {
        Self::copy(self.bytes())
    }
}

impl Default for Intset {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Intset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.iter()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ds::prop::Source;
    use std::collections::BTreeSet;

    fn unhex(hex: &str) -> Vec<u8> {
        let digit = |i| u8::from_str_radix(&hex[i..i + 2], 16).expect("a pair of hex digits");
        (0..hex.len()).step_by(2).map(digit).collect()
    }

    fn of(values: &[i64]) -> Intset {
        let mut set = Intset::new();
        values.iter().for_each(|v| assert!(set.add(*v)));
        set
    }

    /// What `DUMP` of such sets carries.
    #[test]
    fn sets_have_the_known_bytes() {
        let known: [(&[i64], &str); 7] = [
            (&[1], "02000000010000000100"),
            (&[3, 1, 2], "0200000003000000010002000300"),
            (&[-5, 7, 32767], "0200000003000000fbff0700ff7f"),
            (&[32768, 1, -3], "0400000003000000fdffffff0100000000800000"),
            (&[1, -32769], "0400000002000000ff7fffff01000000"),
            (&[2147483648, 5, -1], "0800000003000000ffffffffffffffff05000000000000000000008000000000"),
            (&[-2147483649, 0, 9], "0800000003000000ffffff7fffffffff00000000000000000900000000000000"),
        ];
        for (values, hex) in known {
            assert_eq!(of(values).bytes(), unhex(hex));
            assert_eq!(validate(&unhex(hex)), Ok(()));
        }
        let mut narrowed = of(&[1, 2, 70000]);
        assert!(narrowed.remove(70000));
        assert_eq!(narrowed.bytes(), unhex("04000000020000000100000002000000"));
    }

    fn value_of_chance(s: &mut Source<'_>, bits: usize) -> i64 {
        let edges =
            [0, -1, 32767, 32768, -32768, -32769, 2147483647, 2147483648, -2147483648, -2147483649];
        match s.below(8) {
            0 if bits == 64 => s.pick(&[i64::MIN, i64::MAX]),
            1 if bits > 32 => s.pick(&edges),
            2 if bits > 16 => s.pick(&edges[..8]),
            _ => {
                let bits = 1 + s.below(bits);
                (s.next() << (64 - bits)).cast_signed() >> (64 - bits)
            }
        }
    }

    fn check(set: &Intset, twin: &BTreeSet<i64>, width: usize) {
        let values = twin.iter().flat_map(|v| v.to_le_bytes().into_iter().take(width));
        let header = [(width as u32).to_le_bytes(), (twin.len() as u32).to_le_bytes()].concat();
        assert_eq!(set.bytes(), header.into_iter().chain(values).collect::<Vec<u8>>());
        assert_eq!(validate(set.bytes()).is_ok(), !twin.is_empty());
        assert_eq!((set.min(), set.max()), (twin.first().copied(), twin.last().copied()));
        assert!(set.iter().eq(twin.iter().copied()));
        assert!(set.iter().rev().eq(twin.iter().rev().copied()));
    }

    #[test]
    fn it_does_what_the_twin_does() {
        for seed in 0..60 {
            let s = &mut Source::seeded(seed);
            let (mut set, mut twin, mut width) = (Intset::new(), BTreeSet::new(), 2);
            let bits = s.pick(&[4, 8, 16, 20, 32, 40, 64]);
            for step in 0..300 {
                let value = value_of_chance(s, bits);
                assert_eq!(set.contains(value), twin.contains(&value));
                if s.one_in(3) {
                    assert_eq!(set.remove(value), twin.remove(&value));
                } else {
                    assert_eq!(set.add(value), twin.insert(value));
                    width = width.max(width_of(value));
                }
                check(&set, &twin, width);
                if !twin.is_empty() && step % 10 == 0 {
                    let chosen = set.random(|n| s.below(n)).expect("not empty");
                    assert!(twin.contains(&chosen));
                    let copy = Intset::from_bytes(set.bytes()).expect("its own bytes are good");
                    // SAFETY: the word is used once.
                    let copy = unsafe { Intset::from_raw(copy.clone().into_raw()) };
                    assert_eq!(copy.bytes(), set.bytes());
                }
            }
            assert_eq!(set.get(set.len()), None);
        }
    }

    #[test]
    fn broken_bytes_are_refused() {
        let why = |hex: &str| validate(&unhex(hex)).expect_err("broken").why;
        assert_eq!(why(""), "intset header is cut off");
        assert_eq!(why("02000000010000"), "intset header is cut off");
        assert_eq!(why("03000000010000000100"), "intset width is none of 2, 4 and 8");
        assert_eq!(why("0200000002000000ffff"), "intset length is not the number of values");
        assert_eq!(why("0200000000000000"), "intset is empty");
        assert_eq!(why("0800000000000020"), "intset length is not the number of values");
        assert_eq!(why("020000000200000001000100"), "intset values do not ascend");
        assert_eq!(why("0200000002000000ff7fff80"), "intset values do not ascend");
        assert_eq!(validate_shallow(&unhex("020000000200000001000100")), Ok(()));
        assert!(Intset::from_bytes(&unhex("020000000200000001000000")).is_err());
    }
}
