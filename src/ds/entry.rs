//! One key of the dataset in one allocation: header, expiry, key and, when it is short, the value
//! itself.
//!
//! ```text
//!  0         8        (16)       (24)
//! [header   ][ttl ms ][long len ][key ............][value]
//!  |          |        |                            |
//!  |          |        keys above 255 bytes         inline bytes (up to INLINE_MAX), or an unaligned
//!  |          only with the TTL flag                word: an integer, or the pointer of an object
//!  |
//!  bits 0..4 type | 4..8 encoding | 8..32 LRU or LFU | 32..36 flags | 36..44 key len | 44..60 value len
//! ```
//!
//! What the shapes cost, asserted below: a 16-byte key with 3 bytes or an integer 32, with 32 bytes 56,
//! with 100 bytes 128; a 32-byte key with 64 bytes and a TTL 112.
//!
//! An `Entry` is a handle, copied freely; it is live from `new` to `free`, and both are called by
//! `ds::dict` only, which takes an entry out of every table before it frees it. Handles are never kept
//! across a change of the keyspace: `keyspace::Found` checks that in debug builds.
//!
//! OBJECT ENCODING's names are kept apart from the layout: `EMBSTR` is a string of up to 44 bytes as it
//! was set, `RAW` any other, wherever the bytes are.

use super::sds::Sds;
use super::table::Elem;
use crate::sys::alloc::size_class;
use std::alloc::{Layout, alloc, dealloc, handle_alloc_error};
use std::ptr::NonNull;
use std::slice;

/// Types, numbered as upstream's OBJ_*.
pub mod ty {
    pub const STRING: u8 = 0;
    pub const LIST: u8 = 1;
    pub const SET: u8 = 2;
    pub const ZSET: u8 = 3;
    pub const HASH: u8 = 4;
    pub const MODULE: u8 = 5;
    pub const STREAM: u8 = 6;
}

/// Encodings, numbered as upstream's OBJ_ENCODING_*.
pub mod enc {
    pub const RAW: u8 = 0;
    pub const INT: u8 = 1;
    pub const HT: u8 = 2;
    pub const INTSET: u8 = 6;
    pub const SKIPLIST: u8 = 7;
    pub const EMBSTR: u8 = 8;
    pub const QUICKLIST: u8 = 9;
    pub const STREAM: u8 = 10;
    pub const LISTPACK: u8 = 11;
}

const TTL: u64 = 1;
const LONG: u64 = 2;
/// The value is a word: an integer or a pointer.
const WORD: u64 = 4;
const FLAGS: u32 = 32;
const KEY_LEN: u32 = 36;
const VAL_LEN: u32 = 44;
const LRU: u32 = 8;
pub const LRU_MASK: u64 = 0xff_ffff;

/// Longer strings live outside of their entry.
pub const INLINE_MAX: usize = 512;
const SHORT_KEY: usize = 255;

const fn shape(key: usize, ttl: bool, value: usize) -> usize {
    size_class(8 + if ttl { 8 } else { 0 } + if key > SHORT_KEY { 8 } else { 0 } + key + value)
}
const _: () = assert!(shape(16, false, 3) == 32 && shape(16, false, 8) == 32);
const _: () = assert!(shape(16, false, 32) == 56 && shape(16, false, 100) == 128);
const _: () = assert!(shape(32, true, 64) == 112);

/// What an entry is made from, and what it holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Payload<'a> {
    Inline(&'a [u8]),
    Word(u64),
}

impl Payload<'_> {
    fn size(&self) -> usize {
        match self {
            Payload::Inline(b) => b.len(),
            Payload::Word(_) => 8,
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Entry(NonNull<u64>);

// SAFETY: a handle; the keyspace (and with it every entry) is sent as a whole.
unsafe impl Send for Entry {}

impl Elem for Entry {
    #[inline]
    fn to_ptr(self) -> NonNull<u8> {
        self.0.cast()
    }
    #[inline]
    unsafe fn from_ptr(p: NonNull<u8>) -> Self {
        Entry(p.cast())
    }
    #[inline]
    fn key(&self) -> &[u8] {
        Entry::key(self)
    }
}

impl Entry {
    /// A new entry. The value must fit: inline bytes up to `INLINE_MAX`, and none beside a long key.
    pub fn new(key: &[u8], ty: u8, enc: u8, value: Payload, ttl: Option<i64>) -> Entry {
        let long = key.len() > SHORT_KEY;
        assert!(Self::fits(key.len(), value.size()) || matches!(value, Payload::Word(_)));
        let head = 8 + if ttl.is_some() { 8 } else { 0 } + if long { 8 } else { 0 };
        let layout = Self::layout_of(head + key.len() + value.size());
        // SAFETY: the layout has a size; every write below is inside of it.
        unsafe {
            let p = alloc(layout);
            let Some(at) = NonNull::new(p) else { handle_alloc_error(layout) };
            let mut flags = 0;
            let mut q = p.add(8);
            if let Some(when) = ttl {
                flags |= TTL;
                q.cast::<i64>().write(when);
                q = q.add(8);
            }
            if long {
                flags |= LONG;
                q.cast::<u64>().write(key.len() as u64);
                q = q.add(8);
            }
            q.copy_from_nonoverlapping(key.as_ptr(), key.len());
            q = q.add(key.len());
            let inline = match value {
                Payload::Inline(b) => {
                    q.copy_from_nonoverlapping(b.as_ptr(), b.len());
                    b.len() as u64
                }
                Payload::Word(w) => {
                    flags |= WORD;
                    q.cast::<u64>().write_unaligned(w);
                    0
                }
            };
            let short = if long { 0 } else { key.len() as u64 };
            let header =
                ty as u64 | (enc as u64) << 4 | flags << FLAGS | short << KEY_LEN | inline << VAL_LEN;
            at.cast::<u64>().write(header);
            Entry(at.cast())
        }
    }

    /// May a string of `value` bytes live inside an entry with such a key?
    #[inline]
    pub fn fits(key: usize, value: usize) -> bool {
        key <= SHORT_KEY && value <= INLINE_MAX
    }

    #[inline]
    fn layout_of(size: usize) -> Layout {
        // The whole size class is asked for: `overwrite` uses what a shorter value left.
        Layout::from_size_align(size_class(size), 8).expect("keys and inline values are bounded")
    }

    #[inline]
    fn header(self) -> u64 {
        // SAFETY: a live handle (see the essay).
        unsafe { self.0.read() }
    }

    #[inline]
    fn set_header(self, h: u64) {
        // SAFETY: a live handle; the reactor thread alone touches entries.
        unsafe { self.0.write(h) }
    }

    #[inline]
    fn flag(self, f: u64) -> bool {
        self.header() & (f << FLAGS) != 0
    }

    #[inline]
    pub fn ty(self) -> u8 {
        (self.header() & 15) as u8
    }

    #[inline]
    pub fn enc(self) -> u8 {
        (self.header() >> 4 & 15) as u8
    }

    /// 24 bits of LRU clock, or LFU minutes and counter.
    #[inline]
    pub fn lru(self) -> u32 {
        (self.header() >> LRU & LRU_MASK) as u32
    }

    /// Written only when it differs, so that reading does not dirty the line.
    #[inline]
    pub fn set_lru(self, lru: u32) {
        if self.lru() != lru {
            self.set_header(self.header() & !(LRU_MASK << LRU) | (lru as u64 & LRU_MASK) << LRU);
        }
    }

    #[inline]
    fn head_len(self) -> usize {
        let h = self.header();
        8 + 8 * (((h >> FLAGS) & TTL) + ((h >> (FLAGS + 1)) & 1)) as usize
    }

    #[inline]
    fn key_len(self) -> usize {
        let h = self.header();
        if h & (LONG << FLAGS) == 0 {
            return (h >> KEY_LEN & 0xff) as usize;
        }
        // SAFETY: the LONG flag says that the word before the key holds its length.
        unsafe { self.0.cast::<u8>().add(self.head_len() - 8).cast::<u64>().read() as usize }
    }

    #[inline]
    fn val_len(self) -> usize {
        if self.flag(WORD) { 8 } else { (self.header() >> VAL_LEN & 0xffff) as usize }
    }

    #[inline]
    pub fn key(&self) -> &[u8] {
        // SAFETY: a live handle; the key lies behind the head.
        unsafe {
            slice::from_raw_parts(self.0.as_ptr().cast::<u8>().add(self.head_len()), self.key_len())
        }
    }

    #[inline]
    fn value_ptr(self) -> *mut u8 {
        // SAFETY: inside the block.
        unsafe { self.0.as_ptr().cast::<u8>().add(self.head_len() + self.key_len()) }
    }

    /// Unix time in milliseconds when the key expires.
    #[inline]
    pub fn when(self) -> Option<i64> {
        // SAFETY: the TTL flag says that the second word is the time.
        if self.flag(TTL) { Some(unsafe { self.0.add(1).cast::<i64>().read() }) } else { None }
    }

    /// Changes the time of an entry that has one.
    pub fn set_when(self, when: i64) {
        assert!(self.flag(TTL), "only an entry with the word has a place for it");
        // SAFETY: as in `when`.
        unsafe { self.0.add(1).cast::<i64>().write(when) }
    }

    /// Is the value a string whose bytes are inside?
    #[inline]
    pub fn is_inline(self) -> bool {
        !self.flag(WORD)
    }

    #[inline]
    pub fn inline_bytes(&self) -> &[u8] {
        debug_assert!(self.is_inline());
        // SAFETY: a live handle; the length is the header's.
        unsafe { slice::from_raw_parts(self.value_ptr(), self.val_len()) }
    }

    #[inline]
    pub fn word(self) -> u64 {
        debug_assert!(!self.is_inline());
        // SAFETY: the WORD flag says that eight bytes are there.
        unsafe { self.value_ptr().cast::<u64>().read_unaligned() }
    }

    /// The bytes of a string outside of its entry.
    #[inline]
    pub fn sds_bytes(&self) -> &[u8] {
        debug_assert!(!self.is_inline() && self.ty() == ty::STRING && self.enc() != enc::INT);
        // SAFETY: the word of a string that is neither inline nor an integer is its Sds, which lives
        // with the entry.
        unsafe { Sds::borrow(self.word()) }
    }

    /// Length, capacity and footprint of a string outside of its entry.
    pub fn sds_room(&self) -> (usize, usize, usize) {
        debug_assert!(!self.is_inline() && self.ty() == ty::STRING && self.enc() != enc::INT);
        // SAFETY: as in `sds_bytes`; the handle is not dropped, so the string stays the entry's.
        let s = std::mem::ManuallyDrop::new(unsafe { Sds::from_word(self.word()) });
        (s.len(), s.capacity(), s.footprint())
    }

    /// Bytes by which an inline value can grow in place.
    pub fn spare(self) -> usize {
        self.footprint() - self.size()
    }

    pub fn payload(&self) -> Payload<'_> {
        if self.is_inline() { Payload::Inline(self.inline_bytes()) } else { Payload::Word(self.word()) }
    }

    /// Stores another word with its encoding; the old one now belongs to the caller.
    #[inline]
    pub fn set_word(self, enc: u8, word: u64) {
        debug_assert!(!self.is_inline());
        // SAFETY: as in `word`.
        unsafe { self.value_ptr().cast::<u64>().write_unaligned(word) };
        self.set_header(self.header() & !(15 << 4) | (enc as u64) << 4);
    }

    /// Overwrites a value in place when the new one has the same kind of place and needs the same size
    /// class.
    #[inline]
    pub fn overwrite(self, enc: u8, value: Payload) -> bool {
        debug_assert_eq!(self.ty(), ty::STRING);
        let base = self.head_len() + self.key_len();
        match value {
            Payload::Inline(b) => {
                if !self.is_inline() || b.len() > INLINE_MAX {
                    return false;
                }
                if b.len() != self.val_len()
                    && size_class(base + b.len()) != size_class(base + self.val_len())
                {
                    return false;
                }
                // SAFETY: the block has the size class of the new length; an argument never lies in an
                // entry.
                unsafe { self.value_ptr().copy_from_nonoverlapping(b.as_ptr(), b.len()) };
                let keep = !(0xffffu64 << VAL_LEN) & !(15 << 4);
                self.set_header(self.header() & keep | (b.len() as u64) << VAL_LEN | (enc as u64) << 4);
                true
            }
            // A pointer would have to be freed first: only integers are exchanged here.
            Payload::Word(w) => {
                let ours = !self.is_inline() && self.enc() == enc::INT && enc == enc::INT;
                if ours {
                    self.set_word(enc, w);
                }
                ours
            }
        }
    }

    fn size(self) -> usize {
        self.head_len() + self.key_len() + self.val_len()
    }

    /// Bytes of the allocation.
    pub fn footprint(self) -> usize {
        size_class(self.size())
    }

    /// Frees the block, not what a word may point to.
    ///
    /// # Safety
    /// No table and no handle leads here any more, and the payload has been taken over.
    pub unsafe fn free(self) {
        let layout = Self::layout_of(self.size());
        // SAFETY: made by `new`; `overwrite` stays inside one size class, which is what the allocator
        // looks at.
        unsafe { dealloc(self.0.as_ptr().cast(), layout) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_shape_gives_back_what_it_was_made_from() {
        for klen in [0usize, 1, 16, 255, 256, 3000] {
            for ttl in [None, Some(0i64), Some(i64::MAX), Some(-5)] {
                for vlen in [0usize, 1, 44, 45, 512] {
                    let (key, val) = (vec![b'k'; klen], vec![b'v'; vlen]);
                    let inline = Entry::fits(klen, vlen);
                    let value = if inline { Payload::Inline(&val) } else { Payload::Word(77) };
                    let e = Entry::new(&key, ty::STRING, enc::RAW, value, ttl);
                    assert_eq!((e.key(), e.when(), e.payload()), (&key[..], ttl, value));
                    assert_eq!((e.ty(), e.enc(), e.lru()), (ty::STRING, enc::RAW, 0));
                    e.set_lru(0xabcdef);
                    assert_eq!((e.lru(), e.key(), e.when()), (0xabcdef, &key[..], ttl));
                    // SAFETY: nobody else has it.
                    unsafe { e.free() };
                }
            }
        }
    }

    #[test]
    fn overwriting_stays_in_the_size_class() {
        let e = Entry::new(b"0123456789abcdef", ty::STRING, enc::EMBSTR, Payload::Inline(b"abc"), None);
        assert!(e.overwrite(enc::EMBSTR, Payload::Inline(b"12345678")), "32 bytes hold 8 as well as 3");
        assert_eq!(e.inline_bytes(), b"12345678");
        assert!(!e.overwrite(enc::EMBSTR, Payload::Inline(b"123456789")));
        assert!(!e.overwrite(enc::INT, Payload::Word(5)));
        assert_eq!((e.inline_bytes(), e.key()), (&b"12345678"[..], &b"0123456789abcdef"[..]));
        // SAFETY: nobody else has it.
        unsafe { e.free() };
        let e = Entry::new(b"k", ty::STRING, enc::INT, Payload::Word(5), Some(9));
        assert!(e.overwrite(enc::INT, Payload::Word(u64::MAX)));
        assert_eq!((e.word(), e.when()), (u64::MAX, Some(9)));
        // SAFETY: nobody else has it.
        unsafe { e.free() };
    }
}
