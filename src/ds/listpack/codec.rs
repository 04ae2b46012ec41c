//! One listpack entry: how it is written, measured, read and checked.
//!
//! ```text
//!   entry = head, string bytes (if a string), backlen
//!
//!   head            value
//!   0xxxxxxx        0..=127
//!   10llllll        string of 0..=63 bytes
//!   110xxxxx +1     13-bit signed integer      the high bits come first, here and in the next
//!   1110llll +1     string of up to 4,095 bytes
//!   11110000 +4     string, u32 length         little endian, as all that follow
//!   11110001 +2     16-bit integer
//!   11110010 +3     24-bit integer
//!   11110011 +4     32-bit integer
//!   11110100 +8     64-bit integer
//!   11111111        not an entry: the end      F5..FE are never written
//! ```
//!
//! The backlen is the length of head and string, written so that it can be read from the right: 7 bits a
//! byte, the lowest last, the top bit set on every byte but the first. How many bytes it has follows
//! from the length (`backlen_size`), with steps behind 127, 16,382, 2,097,150 and 268,435,454.
//!
//! A string that is the shortest decimal form of an i64 is stored as that integer, in the narrowest
//! form, and every other string in the narrowest string form. So equal values have equal bytes, and
//! searching compares bytes (`Needle`).
//!
//! **Safety rests on bounds, not on good bytes.** Every reader here takes the place of the end byte and
//! refuses an entry that would cross it. A listpack of nonsense can give nonsense or a panic, but reads
//! nothing outside its block. `validate` is what tells good bytes from bad, and uses checked access
//! only.

use std::fmt;

use crate::algo::num::parse_i64;

/// Total bytes (u32) and number of entries (u16).
pub const HEADER: usize = 6;
/// The byte after the last entry.
pub const END: u8 = 0xFF;
/// The count that says "too many to say; scan".
pub const COUNT_UNKNOWN: u16 = u16::MAX;

const STR6: u8 = 0x80;
const INT13: u8 = 0xC0;
const STR12: u8 = 0xE0;
const STR32: u8 = 0xF0;
const INT16: u8 = 0xF1;
const INT24: u8 = 0xF2;
const INT32: u8 = 0xF3;
const INT64: u8 = 0xF4;

const _: () = assert!(cfg!(target_endian = "little"), "words are compared as they lie in memory");

/// A value of a listpack: what reading gives, and what writing takes. A string handed in that reads as
/// an integer is stored, and given back, as that integer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Element<'a> {
    Int(i64),
    Str(&'a [u8]),
}

impl Element<'_> {
    /// Calls `f` with the value as text.
    #[inline]
    pub fn with_text<R>(&self, f: impl FnOnce(&[u8]) -> R) -> R {
        match self {
            Element::Int(v) => f(itoa::Buffer::new().format(*v).as_bytes()),
            Element::Str(s) => f(s),
        }
    }

    pub fn to_vec(&self) -> Vec<u8> {
        self.with_text(<[u8]>::to_vec)
    }

    /// Whether the value's text is `text`. To compare many values with one text, make a `Needle`.
    #[inline]
    pub fn is_text(&self, text: &[u8]) -> bool {
        match self {
            Element::Int(v) => parse_i64(text) == Some(*v),
            Element::Str(s) => *s == text,
        }
    }
}

impl<'a> From<&'a [u8]> for Element<'a> {
    #[inline]
    fn from(s: &'a [u8]) -> Self {
        Element::Str(s)
    }
}

impl<'a, const N: usize> From<&'a [u8; N]> for Element<'a> {
    #[inline]
    fn from(s: &'a [u8; N]) -> Self {
        Element::Str(s)
    }
}

impl<'a> From<&'a Vec<u8>> for Element<'a> {
    #[inline]
    fn from(s: &'a Vec<u8>) -> Self {
        Element::Str(s)
    }
}

impl From<i64> for Element<'_> {
    #[inline]
    fn from(v: i64) -> Self {
        Element::Int(v)
    }
}

/// Up to 7 bytes as the low bytes of a word.
#[inline]
fn load_short(s: &[u8]) -> u64 {
    let n = s.len();
    debug_assert!(n < 8);
    let four = |at: usize| {
        let bytes = s[at..at + 4].try_into().expect("four bytes were taken");
        u64::from(u32::from_le_bytes(bytes))
    };
    if n >= 4 {
        four(0) | four(n - 4) << (8 * (n - 4))
    } else if n > 0 {
        let byte = |at: usize| u64::from(s[at]) << (8 * at);
        byte(0) | byte(n / 2) | byte(n - 1)
    } else {
        0
    }
}

/// How many bytes the backlen of an entry with `len` bytes of head and string takes.
#[inline]
pub const fn backlen_size(len: usize) -> usize {
    // One less than the 7-bit groups would carry at each step but the first: that is the format.
    match len {
        0..=127 => 1,
        128..=16_382 => 2,
        16_383..=2_097_150 => 3,
        2_097_151..=268_435_454 => 4,
        _ => 5,
    }
}

/// An entry about to be written.
#[derive(Clone, Copy)]
pub struct Encoded<'a> {
    head: [u8; 16],
    head_len: usize,
    data: &'a [u8],
}

impl<'a> Encoded<'a> {
    #[inline]
    pub fn of(value: Element<'a>) -> Self {
        match value {
            Element::Int(v) => Self::int(v),
            Element::Str(s) => match parse_i64(s) {
                Some(v) => Self::int(v),
                None => Self::string(s),
            },
        }
    }

    #[inline]
    fn string(data: &'a [u8]) -> Self {
        let mut head = [0; 16];
        let len = data.len();
        let [b0, b1, ..] = len.to_le_bytes();
        let head_len = if len < 64 {
            head[0] = STR6 | b0;
            1
        } else if len < 4096 {
            head[0] = STR12 | b1;
            head[1] = b0;
            2
        } else {
            let len = u32::try_from(len).expect("callers keep a listpack below 4 GiB");
            head[0] = STR32;
            head[1..5].copy_from_slice(&len.to_le_bytes());
            5
        };
        Encoded { head, head_len, data }
    }

    #[inline]
    fn int(v: i64) -> Self {
        let bytes = v.to_le_bytes();
        let mut head = [0; 16];
        let head_len = match v {
            0..=127 => {
                head[0] = bytes[0];
                1
            }
            -4096..=4095 => {
                head[0] = INT13 | (bytes[1] & 0x1F);
                head[1] = bytes[0];
                2
            }
            _ => {
                head[1..9].copy_from_slice(&bytes);
                let (tag, len) = match v {
                    -0x8000..=0x7FFF => (INT16, 3),
                    -0x80_0000..=0x7F_FFFF => (INT24, 4),
                    -0x8000_0000..=0x7FFF_FFFF => (INT32, 5),
                    _ => (INT64, 9),
                };
                head[0] = tag;
                len
            }
        };
        Encoded { head, head_len, data: &[] }
    }

    /// Head and string, without backlen.
    #[inline]
    fn len(&self) -> usize {
        self.head_len + self.data.len()
    }

    /// The room the entry takes.
    #[inline]
    pub fn size(&self) -> usize {
        self.len() + backlen_size(self.len())
    }

    /// Whether `entry`, which holds the same value, has the same bytes.
    pub fn is(&self, entry: &[u8]) -> bool {
        // Most are short, and two calls to compare a byte or two would cost more than all the rest.
        if let [first, .., last] = entry
            && self.head_len == 1
            && self.len() < 128
        {
            return entry.len() == self.len() + 1
                && *first == self.head[0]
                && usize::from(*last) == self.len();
        }
        let mut backlen = [0; 5];
        // SAFETY: no backlen has more than five bytes.
        unsafe { write_backlen(backlen.as_mut_ptr(), self.len()) };
        let same = |a: &[u8], b: &[u8]| a.iter().zip(b).all(|(a, b)| a == b);
        entry.len() == self.size()
            && same(entry, &self.head[..self.head_len])
            && same(&entry[self.len()..], &backlen)
    }

    /// Writes the entry and gives the place behind it.
    ///
    /// # Safety
    /// `size()` bytes at `to` may be written, and `data` does not lie in them.
    #[inline]
    pub unsafe fn write(&self, to: *mut u8) -> *mut u8 {
        debug_assert!(!to.is_null());
        let len = self.len();
        // SAFETY: head, data and backlen together are `size()` bytes; head and backlen are local.
        unsafe {
            copy_short(self.head.as_ptr(), to, self.head_len);
            copy_short(self.data.as_ptr(), to.add(self.head_len), self.data.len());
            write_backlen(to.add(len), len)
        }
    }
}

/// Whether an entry that was found valid has the bytes that its value is written with.
#[inline]
pub fn is_shortest(value: Element<'_>, entry: &[u8]) -> bool {
    let Element::Str(s) = value else { return Encoded::of(value).is(entry) };
    let number = s.first().is_some_and(|c| c.is_ascii_digit() || *c == b'-') && parse_i64(s).is_some();
    if s.len() < 64 {
        // One byte before the string and one behind it.
        return !number
            && entry.len() == s.len() + 2
            && entry.last().is_some_and(|b| usize::from(*b) == s.len() + 1);
    }
    Encoded::of(value).is(entry)
}

/// # Safety
/// `backlen_size(len)` bytes at `to` may be written.
#[inline]
unsafe fn write_backlen(to: *mut u8, len: usize) -> *mut u8 {
    let size = backlen_size(len);
    if size == 1 {
        // SAFETY: one byte may be written.
        unsafe {
            to.write(len as u8);
            return to.add(1);
        }
    }
    for i in 0..size {
        let group = (len >> (7 * (size - 1 - i))) as u8 & 0x7F;
        // SAFETY: i is below `backlen_size(len)`.
        unsafe { to.add(i).write(if i == 0 { group } else { group | 0x80 }) };
    }
    // SAFETY: at most one past what may be written.
    unsafe { to.add(size) }
}

/// A copy that spares the call for the sizes that entries mostly have.
///
/// # Safety
/// As for `copy_nonoverlapping`.
#[inline]
pub unsafe fn copy_short(from: *const u8, to: *mut u8, n: usize) {
    /// # Safety
    /// `n >= size_of::<W>()`, and as for `copy_nonoverlapping` with at most twice that.
    #[inline]
    unsafe fn ends<W: Copy>(from: *const u8, to: *mut u8, n: usize) {
        let last = n - size_of::<W>();
        // SAFETY: both words lie inside the n bytes; both are read before either is written.
        unsafe {
            let (a, b) =
                (from.cast::<W>().read_unaligned(), from.add(last).cast::<W>().read_unaligned());
            to.cast::<W>().write_unaligned(a);
            to.add(last).cast::<W>().write_unaligned(b);
        }
    }
    // SAFETY: each arm copies exactly the n bytes of the contract.
    unsafe {
        match n {
            0 => {}
            1 => to.write(from.read()),
            2..=3 => ends::<u16>(from, to, n),
            4..=7 => ends::<u32>(from, to, n),
            8..=16 => ends::<u64>(from, to, n),
            17..=32 => ends::<u128>(from, to, n),
            _ => to.copy_from_nonoverlapping(from, n),
        }
    }
}

/// The size of the entry at `p`, or 0 if it is broken or reaches past `end`.
///
/// # Safety
/// `p..=end` lies in one readable block, `p < end`.
#[inline(always)]
pub unsafe fn entry_size(p: *const u8, end: *const u8) -> usize {
    // SAFETY: p < end may be read.
    let b = unsafe { *p };
    // SAFETY: as the contract.
    let left = unsafe { end.offset_from_unsigned(p) };
    let size = if b < STR6 {
        2
    } else if b < INT13 {
        usize::from(b & 0x3F) + 2
    } else {
        // SAFETY: as the contract; `left` bytes may be read.
        unsafe { long_entry_size(p, left) }
    };
    if size <= left { size } else { 0 }
}

/// # Safety
/// `left >= 1` bytes at `p` may be read.
#[inline]
unsafe fn long_entry_size(p: *const u8, left: usize) -> usize {
    // SAFETY: the first byte may be read; the arms below read no byte at or past `left`.
    unsafe {
        match *p {
            INT13..STR12 => 3,
            STR12..STR32 if left >= 2 => {
                let len = 2 + string12_len(p);
                len + backlen_size(len)
            }
            STR32 if left >= 5 => {
                let len = 5 + string32_len(p);
                len + backlen_size(len)
            }
            INT16 => 4,
            INT24 => 5,
            INT32 => 6,
            INT64 => 10,
            _ => 0,
        }
    }
}

/// # Safety
/// Two bytes at `p` may be read.
#[inline(always)]
unsafe fn string12_len(p: *const u8) -> usize {
    // SAFETY: as the contract.
    unsafe { usize::from(*p & 0x0F) << 8 | usize::from(*p.add(1)) }
}

/// # Safety
/// Five bytes at `p` may be read.
#[inline(always)]
unsafe fn string32_len(p: *const u8) -> usize {
    // SAFETY: as the contract.
    (unsafe { p.add(1).cast::<u32>().read_unaligned() }) as usize
}

/// The value at `p` and the size of its entry, or None if it is broken or reaches past `end`.
///
/// # Safety
/// `p..=end` lies in one block that is readable for `'a`, `p < end`.
#[inline(always)]
pub unsafe fn decode<'a>(p: *const u8, end: *const u8) -> Option<(Element<'a>, usize)> {
    // SAFETY: as the contract.
    let size = unsafe { entry_size(p, end) };
    if size == 0 {
        return None;
    }
    // SAFETY: the whole entry, `size` bytes, lies before `end`.
    Some((unsafe { value(p) }, size))
}

/// # Safety
/// `entry_size` gave the entry at `p` a size, so all of it may be read for `'a`.
#[inline(always)]
unsafe fn value<'a>(p: *const u8) -> Element<'a> {
    // SAFETY: every read below stays in the entry, whose first byte says how long it is.
    unsafe {
        let b = *p;
        let string =
            |head: usize, len: usize| Element::Str(std::slice::from_raw_parts(p.add(head), len));
        if b < STR6 {
            return Element::Int(i64::from(b));
        } else if b < INT13 {
            return string(1, usize::from(b & 0x3F));
        }
        // The integer's bytes go to the top of a word; shifting them down again extends the sign.
        let signed = |word: u64, bits: u32| Element::Int((word << (64 - bits)) as i64 >> (64 - bits));
        let tail = p.add(1);
        match b {
            INT13..STR12 => signed(u64::from(b) << 8 | u64::from(*tail), 13),
            STR12..STR32 => string(2, string12_len(p)),
            STR32 => string(5, string32_len(p)),
            INT16 => signed(u64::from(tail.cast::<u16>().read_unaligned()), 16),
            // The entry starts with the tag byte: read it along and shift it out.
            INT24 => signed(u64::from(p.cast::<u32>().read_unaligned()) >> 8, 24),
            INT32 => signed(u64::from(tail.cast::<u32>().read_unaligned()), 32),
            _ => signed(tail.cast::<u64>().read_unaligned(), 64),
        }
    }
}

/// The length that the backlen ending just before `p` states.
///
/// # Safety
/// The five bytes before `p` may be read (a listpack has six before its first entry).
#[inline(always)]
unsafe fn backlen_before(p: *const u8) -> Option<usize> {
    // SAFETY: one byte before p.
    let last = unsafe { *p.sub(1) };
    if last < 0x80 {
        return Some(usize::from(last));
    }
    let mut len = usize::from(last & 0x7F);
    for i in 1..5 {
        // SAFETY: at most five bytes before p.
        let byte = unsafe { *p.sub(1 + i) };
        len |= usize::from(byte & 0x7F) << (7 * i);
        if byte < 0x80 {
            return Some(len);
        }
    }
    None
}

/// The start of the entry that ends at `p`, or None if the backlen is broken or leads before `first`.
///
/// # Safety
/// `first..p` lies in one readable block, with `HEADER` readable bytes before `first`, and `first < p`.
#[inline(always)]
pub unsafe fn entry_before(p: *const u8, first: *const u8) -> Option<*const u8> {
    // SAFETY: as the contract.
    let len = unsafe { backlen_before(p) }?;
    let size = len + backlen_size(len);
    // SAFETY: as the contract.
    if size > unsafe { p.offset_from_unsigned(first) } {
        return None;
    }
    // SAFETY: `size` does not lead before `first`.
    Some(unsafe { p.sub(size) })
}

/// A value to look for, in the form it would be stored in.
pub struct Needle<'a> {
    /// The first bytes of the entry (all of it but the backlen, if they are fewer) under their mask.
    word: u64,
    mask: u64,
    /// What of the string follows the first eight bytes of the entry.
    rest: &'a [u8],
    value: Element<'a>,
    /// The last byte of a 64-bit integer, which is the one byte that fits neither word nor `rest`.
    ninth: Option<u8>,
}

impl<'a> Needle<'a> {
    pub fn new(text: &'a [u8]) -> Self {
        let value = parse_i64(text).map_or(Element::Str(text), Element::Int);
        let code = Encoded::of(value);
        let in_word = code.len().min(8);
        let from_data = in_word - code.head_len.min(8);
        let (front, rest) = code.data.split_at(from_data);
        let mut first = code.head;
        first[code.head_len..code.head_len + from_data].copy_from_slice(front);
        let word = u64::from_le_bytes(first[..8].try_into().expect("the head has sixteen bytes"));
        let mask = if in_word == 8 { u64::MAX } else { (1 << (8 * in_word)) - 1 };
        let ninth = (code.head_len == 9).then(|| code.head[8]);
        Needle { word: word & mask, mask, rest, value, ninth }
    }

    /// What is looked for, in the form in which reading gives it.
    pub fn value(&self) -> Element<'a> {
        self.value
    }

    /// Whether a value that was read is this one. What lies outside a listpack is text even if it reads
    /// as an integer.
    #[inline]
    pub fn is(&self, value: Element<'_>) -> bool {
        match (self.value, value) {
            (Element::Int(v), Element::Str(text)) => parse_i64(text) == Some(v),
            (own, other) => own == other,
        }
    }

    /// Whether the entry at `p`, whose first bytes are `word`, is this value.
    ///
    /// # Safety
    /// `p..=end` lies in one readable block.
    #[inline(always)]
    pub unsafe fn is_at(&self, word: u64, p: *const u8, end: *const u8) -> bool {
        if (word ^ self.word) & self.mask != 0 {
            return false;
        }
        if self.rest.is_empty() && self.ninth.is_none() {
            return true;
        }
        // SAFETY: as the contract.
        unsafe { self.tail_is_at(p, end) }
    }

    /// # Safety
    /// `p..=end` lies in one readable block.
    unsafe fn tail_is_at(&self, p: *const u8, end: *const u8) -> bool {
        // SAFETY: as the contract, so the bytes from p to end may be read.
        let entry = unsafe { std::slice::from_raw_parts(p, end.offset_from_unsigned(p)) };
        match (self.ninth, entry.get(8..)) {
            (Some(byte), Some(tail)) => tail.first() == Some(&byte),
            (None, Some(tail)) => tail.starts_with(self.rest),
            (_, None) => false,
        }
    }
}

/// The first bytes of what is left before `end`, where fewer than eight are.
///
/// # Safety
/// `p..=end` lies in one readable block, with fewer than seven bytes before `end`.
pub unsafe fn last_word(p: *const u8, end: *const u8) -> u64 {
    // SAFETY: as the contract.
    load_short(unsafe { std::slice::from_raw_parts(p, end.offset_from_unsigned(p) + 1) })
}

/// Why bytes are no listpack, and where.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Corrupt {
    pub at: usize,
    pub why: &'static str,
}

impl fmt::Display for Corrupt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} at byte {}", self.why, self.at)
    }
}

impl std::error::Error for Corrupt {}

/// Little-endian bytes at the start of `bytes` as a number.
fn number(bytes: &[u8], width: usize) -> Option<u64> {
    let bytes = bytes.get(..width)?;
    Some(bytes.iter().rev().fold(0, |n, byte| n << 8 | u64::from(*byte)))
}

/// Head and string of the entry at the start of `bytes`, in bytes, as its first bytes state it.
fn stated_len(bytes: &[u8]) -> Option<u64> {
    let first = *bytes.first()?;
    let second = bytes.get(1).copied();
    Some(match first {
        0..STR6 => 1,
        STR6..INT13 => 1 + u64::from(first & 0x3F),
        INT13..STR12 => 2,
        STR12..STR32 => 2 + (u64::from(first & 0x0F) << 8 | u64::from(second?)),
        STR32 => 5 + number(bytes.get(1..)?, 4)?,
        INT16 => 3,
        INT24 => 4,
        INT32 => 5,
        INT64 => 9,
        _ => return None,
    })
}

/// Checks the frame of bytes from outside: length and end byte. Gives what lies between, and the count.
fn frame(bytes: &[u8]) -> Result<(&[u8], u64), Corrupt> {
    let wrong = |at, why| Err(Corrupt { at, why });
    let Some((total, count)) = number(bytes, 4).zip(bytes.get(4..).and_then(|b| number(b, 2))) else {
        return wrong(bytes.len(), "listpack header is cut off");
    };
    if usize::try_from(total) != Ok(bytes.len()) {
        return wrong(0, "listpack length is not the number of bytes");
    }
    match bytes.get(HEADER..).and_then(|b| b.split_last()) {
        Some((&END, entries)) => Ok((entries, count)),
        _ => wrong(bytes.len(), "listpack end byte is missing"),
    }
}

/// Checks the frame of bytes from outside, but not what is in it.
pub fn validate_shallow(bytes: &[u8]) -> Result<(), Corrupt> {
    frame(bytes).map(|_| ())
}

/// Checks bytes from outside: the frame, every entry forwards and backwards, and the count. `accept` is
/// shown each value and may refuse it.
pub fn validate(bytes: &[u8], mut accept: impl FnMut(Element<'_>) -> bool) -> Result<(), Corrupt> {
    validate_entries(bytes, |value, _| accept(value))
}

/// The same, where `accept` sees the bytes of the entry too.
pub fn validate_entries(
    bytes: &[u8],
    mut accept: impl FnMut(Element<'_>, &[u8]) -> bool,
) -> Result<(), Corrupt> {
    let wrong = |at, why| Err(Corrupt { at, why });
    let (mut rest, count) = frame(bytes)?;
    let mut at = HEADER;
    let mut seen = 0u64;
    while !rest.is_empty() {
        let Some(len) = stated_len(rest).and_then(|len| usize::try_from(len).ok()) else {
            return wrong(at, "listpack entry has no known form");
        };
        let size = len.saturating_add(backlen_size(len));
        let Some((entry, next)) = rest.split_at_checked(size) else {
            return wrong(at, "listpack entry reaches past the end");
        };
        let after = at.saturating_add(size);
        // A backlen may carry superfluous zero groups that reach into the string: what counts is that
        // reading it backwards gives this entry's length.
        let plain = len < 128 && entry.last().is_some_and(|b| usize::from(*b) == len);
        if !plain && read_backlen(bytes.get(..after).unwrap_or(entry)) != Some(len) {
            return wrong(at, "listpack entry's lengths differ");
        }
        let range = entry.as_ptr_range();
        // SAFETY: the range is readable, and `decode` reads nothing from its end on.
        let Some((value, _)) = (unsafe { decode(range.start, range.end) }) else {
            return wrong(at, "listpack entry cannot be read");
        };
        if !accept(value, entry) {
            return wrong(at, "listpack entry is not acceptable");
        }
        seen = seen.saturating_add(1);
        at = after;
        rest = next;
    }
    if count != u64::from(COUNT_UNKNOWN) && count != seen {
        return wrong(4, "listpack count is not the number of entries");
    }
    Ok(())
}

/// The length that the backlen at the end of `bytes` states.
fn read_backlen(bytes: &[u8]) -> Option<usize> {
    let mut len = 0usize;
    for (byte, shift) in bytes.iter().rev().zip([0, 7, 14, 21, 28]) {
        len |= usize::from(byte & 0x7F) << shift;
        if byte & 0x80 == 0 {
            return Some(len);
        }
    }
    None
}
