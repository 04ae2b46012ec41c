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
//! Four types for four rights, as in `skiplist/node.rs`:
//!
//! * `Entry` is the bare address, private to `ds`: the tables hold it, and nothing can be done with it but
//!   to compare it, unless `unsafe` vouches that it lives.
//! * `EntryRef` reads. It borrows the dict that the entry is in, so nothing changes or goes meanwhile.
//! * `EntryMut` changes in place, and borrows that dict alone.
//! * `Remains` is a value that has left its entry, or waits for one: it owns what its word leads to.
//!
//! A value that is taken out to be changed leaves the type `LENT` behind, so an entry never shows a word
//! that another owner has, even when the value is never given back.
//!
//! OBJECT ENCODING's names are kept apart from the layout: `EMBSTR` is a string of up to 44 bytes as it
//! was set, `RAW` any other, wherever the bytes are.

use super::sds::Sds;
use super::table::Elem;
use crate::sys::alloc::size_class;
use crate::sys::defrag::Mover;
use std::alloc::{Layout, alloc, dealloc, handle_alloc_error};
use std::marker::PhantomData;
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
    /// The value has been taken out to be changed: no type that anything reads.
    pub(in crate::ds) const LENT: u8 = 7;
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

/// A value outside of its entry: its type, its encoding, and the word that leads to it or is the integer.
/// It owns what the word leads to; the owner turns it into a value again (`object::value`).
#[derive(Debug, PartialEq, Eq)]
#[must_use = "what the word leads to is leaked"]
pub struct Remains {
    ty: u8,
    enc: u8,
    word: u64,
}

impl Remains {
    /// # Safety
    /// The word is an integer, or owns a value whose type and encoding read it as that; it is given away.
    #[inline]
    pub unsafe fn new(ty: u8, enc: u8, word: u64) -> Remains {
        Remains { ty, enc, word }
    }

    /// Type, encoding and word; the value is the caller's.
    #[inline]
    pub fn into_parts(self) -> (u8, u8, u64) {
        (self.ty, self.enc, self.word)
    }
}

/// What an entry is made from.
#[derive(Debug)]
pub enum Content<'a> {
    /// A string under the name of an encoding; short enough to lie inside (`fits`).
    Inline(u8, &'a [u8]),
    Int(i64),
    Word(Remains),
}

/// The same in the form it is written down.
#[derive(Clone, Copy)]
enum Payload<'a> {
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

/// May a string of `value` bytes live inside an entry with such a key?
#[inline]
pub fn fits(key: usize, value: usize) -> bool {
    key <= SHORT_KEY && value <= INLINE_MAX
}

/// The address of an entry: live from `new` to `free`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Entry(NonNull<u64>);

// SAFETY: an address; the dict (and with it every entry) is sent as a whole.
unsafe impl Send for Entry {}

// SAFETY: `to_ptr` gives the address of the block, which user space keeps below 2^48, and `from_ptr` takes
// it back; the key of a live entry never changes.
unsafe impl Elem for Entry {
    #[inline]
    fn to_ptr(self) -> NonNull<u8> {
        self.0.cast()
    }
    #[inline]
    unsafe fn from_ptr(p: NonNull<u8>) -> Self {
        Entry(p.cast())
    }
    #[inline]
    unsafe fn key<'a>(self) -> &'a [u8] {
        // SAFETY: by contract.
        unsafe { self.borrow() }.key()
    }
}

impl Entry {
    pub(super) fn new(key: &[u8], value: Content, ttl: Option<i64>) -> Entry {
        let (ty, enc, payload) = match value {
            Content::Inline(enc, b) => (ty::STRING, enc, Payload::Inline(b)),
            Content::Int(n) => (ty::STRING, enc::INT, Payload::Word(n.cast_unsigned())),
            Content::Word(r) => (r.ty, r.enc, Payload::Word(r.word)),
        };
        Entry::build(key, ty, enc, payload, ttl)
    }

    /// The value must fit: inline bytes up to `INLINE_MAX`, and none beside a long key.
    fn build(key: &[u8], ty: u8, enc: u8, value: Payload, ttl: Option<i64>) -> Entry {
        let long = key.len() > SHORT_KEY;
        assert!(fits(key.len(), value.size()) || matches!(value, Payload::Word(_)));
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

    /// Another entry of the same key, LRU bits and value, with this TTL. The word of the value moves.
    ///
    /// # Safety
    /// The entry lives, and its value is read from the new one only.
    pub(super) unsafe fn with_ttl(self, ttl: Option<i64>) -> Entry {
        // SAFETY: by contract.
        let e = unsafe { self.borrow() };
        let payload =
            if e.is_inline() { Payload::Inline(e.inline_bytes()) } else { Payload::Word(e.word()) };
        let new = Entry::build(e.key(), e.ty(), e.enc(), payload, ttl);
        // SAFETY: just made.
        unsafe { new.borrow_mut() }.set_lru(e.lru());
        new
    }

    #[inline]
    fn layout_of(size: usize) -> Layout {
        // The whole size class is asked for: `overwrite` uses what a shorter value left.
        Layout::from_size_align(size_class(size), 8).expect("keys and inline values are bounded")
    }

    /// # Safety
    /// The entry lives and is not changed for `'k`.
    #[inline]
    pub(super) unsafe fn borrow<'k>(self) -> EntryRef<'k> {
        EntryRef(self.0, PhantomData)
    }

    /// # Safety
    /// The entry lives and no other borrow of it does for `'k`.
    #[inline]
    pub(super) unsafe fn borrow_mut<'k>(self) -> EntryMut<'k> {
        EntryMut(self.0, PhantomData)
    }

    /// The value of an entry that goes: nothing for bytes inside, which go with it, and for a value that
    /// is lent.
    ///
    /// # Safety
    /// The entry lives, and its value is not read any more.
    pub(super) unsafe fn remains(self) -> Option<Remains> {
        // SAFETY: by contract.
        let e = unsafe { self.borrow() };
        if e.is_inline() || e.ty() == ty::LENT {
            return None;
        }
        Some(Remains { ty: e.ty(), enc: e.enc(), word: e.word() })
    }

    /// Moves the block when its slab is sparse: the same entry, and the value of the old one.
    ///
    /// # Safety
    /// The entry lives and no borrow of it does; when something comes back, it alone is used afterwards.
    pub(super) unsafe fn relocated(self, mover: &mut Mover) -> Option<Entry> {
        // SAFETY: by contract; made by `build` with this layout, as in `free`.
        unsafe {
            let layout = Self::layout_of(self.borrow().size());
            mover.try_relocate(self.0.cast(), layout).map(|new| Entry(new.cast()))
        }
    }

    /// Frees the block, not what a word may point to.
    ///
    /// # Safety
    /// The entry lives, no table and no borrow leads to it any more, and its value has been taken over.
    pub(super) unsafe fn free(self) {
        // SAFETY: by contract.
        let layout = Self::layout_of(unsafe { self.borrow() }.size());
        // SAFETY: made by `build`; `overwrite` stays inside one size class, which is what the allocator
        // looks at.
        unsafe { dealloc(self.0.as_ptr().cast(), layout) }
    }
}

/// An entry that is read.
#[derive(Clone, Copy)]
pub struct EntryRef<'k>(NonNull<u64>, PhantomData<&'k u64>);

impl<'k> EntryRef<'k> {
    /// Where the entry lies, to be shown and compared.
    pub fn address(self) -> usize {
        self.0.as_ptr().addr()
    }

    #[inline]
    fn header(self) -> u64 {
        // SAFETY: live while it is borrowed.
        unsafe { self.0.read() }
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
    pub fn key(self) -> &'k [u8] {
        // SAFETY: live while it is borrowed; the key lies behind the head.
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

    /// Is the value a string whose bytes are inside?
    #[inline]
    pub fn is_inline(self) -> bool {
        !self.flag(WORD)
    }

    #[inline]
    pub fn inline_bytes(self) -> &'k [u8] {
        assert!(self.is_inline(), "the bytes lie elsewhere");
        // SAFETY: live while it is borrowed; the length is the header's.
        unsafe { slice::from_raw_parts(self.value_ptr(), self.val_len()) }
    }

    #[inline]
    pub fn word(self) -> u64 {
        assert!(!self.is_inline(), "the bytes lie inside");
        // SAFETY: the WORD flag says that eight bytes are there.
        unsafe { self.value_ptr().cast::<u64>().read_unaligned() }
    }

    #[inline]
    fn is_sds(self) -> bool {
        !self.is_inline() && self.ty() == ty::STRING && self.enc() != enc::INT
    }

    /// The bytes of a string outside of its entry.
    #[inline]
    pub fn sds_bytes(self) -> &'k [u8] {
        assert!(self.is_sds(), "the string lies inside, or is an integer");
        // SAFETY: the word of a string that is neither inline nor an integer is its Sds, which lives
        // with the entry.
        unsafe { Sds::borrow(self.word()) }
    }

    /// Length, capacity and footprint of a string outside of its entry.
    pub fn sds_room(self) -> (usize, usize, usize) {
        assert!(self.is_sds(), "the string lies inside, or is an integer");
        // SAFETY: as in `sds_bytes`; what is made here is not dropped, so the string stays the entry's.
        let s = std::mem::ManuallyDrop::new(unsafe { Sds::from_word(self.word()) });
        (s.len(), s.capacity(), s.footprint())
    }

    /// Bytes by which an inline value can grow in place.
    pub fn spare(self) -> usize {
        self.footprint() - self.size()
    }

    fn size(self) -> usize {
        self.head_len() + self.key_len() + self.val_len()
    }

    /// Bytes of the allocation.
    pub fn footprint(self) -> usize {
        size_class(self.size())
    }
}

/// An entry that is changed where it lies.
pub struct EntryMut<'k>(NonNull<u64>, PhantomData<&'k mut u64>);

impl EntryMut<'_> {
    #[inline]
    pub fn as_ref(&self) -> EntryRef<'_> {
        EntryRef(self.0, PhantomData)
    }

    #[inline]
    fn set_header(&mut self, h: u64) {
        // SAFETY: live while it is borrowed, and by nothing else.
        unsafe { self.0.write(h) }
    }

    /// Written only when it differs, so that reading does not dirty the line.
    #[inline]
    pub fn set_lru(&mut self, lru: u32) {
        if self.as_ref().lru() != lru {
            self.set_header(
                self.as_ref().header() & !(LRU_MASK << LRU) | (lru as u64 & LRU_MASK) << LRU,
            );
        }
    }

    /// Changes the time of an entry that has one.
    pub fn set_when(&mut self, when: i64) {
        assert!(self.as_ref().flag(TTL), "only an entry with the word has a place for it");
        // SAFETY: the TTL flag says that the second word is the time.
        unsafe { self.0.add(1).cast::<i64>().write(when) }
    }

    /// Writes another word down.
    #[inline]
    fn set_word(&mut self, ty: u8, enc: u8, word: u64) {
        debug_assert!(!self.as_ref().is_inline());
        // SAFETY: the WORD flag says that eight bytes are there.
        unsafe { self.as_ref().value_ptr().cast::<u64>().write_unaligned(word) };
        self.set_header(self.as_ref().header() & !0xff | u64::from(ty) | u64::from(enc) << 4);
    }

    /// Takes the value out; None for bytes inside, and for a value that is out already.
    #[inline]
    pub fn take(&mut self) -> Option<Remains> {
        // SAFETY: what is left behind says that the value is somewhere else.
        let r = unsafe { Entry(self.0).remains() };
        if r.is_some() {
            self.set_header(self.as_ref().header() & !15 | u64::from(ty::LENT));
        }
        r
    }

    /// Puts a value into the place of one that `take` took out; given back where there is no such place.
    #[inline]
    pub fn give(&mut self, r: Remains) -> Result<(), Remains> {
        if self.as_ref().ty() != ty::LENT {
            return Err(r);
        }
        self.set_word(r.ty, r.enc, r.word);
        Ok(())
    }

    /// Overwrites a string in place when the new one has the same kind of place and needs the same size
    /// class.
    #[inline]
    pub fn overwrite(&mut self, value: &Content) -> bool {
        let e = self.as_ref();
        if e.ty() != ty::STRING {
            return false;
        }
        match value {
            Content::Inline(enc, b) => {
                let base = e.head_len() + e.key_len();
                if !e.is_inline() || b.len() > INLINE_MAX {
                    return false;
                }
                if b.len() != e.val_len() && size_class(base + b.len()) != size_class(base + e.val_len())
                {
                    return false;
                }
                // SAFETY: the block has the size class of the new length; the bytes are borrowed from
                // elsewhere, as the entry is borrowed alone.
                unsafe { e.value_ptr().copy_from_nonoverlapping(b.as_ptr(), b.len()) };
                let keep = !(0xffffu64 << VAL_LEN) & !(15 << 4);
                let header = e.header() & keep | (b.len() as u64) << VAL_LEN | u64::from(*enc) << 4;
                self.set_header(header);
                true
            }
            // A pointer would have to be freed first: only integers are exchanged here.
            Content::Int(n) => {
                let ours = !e.is_inline() && e.enc() == enc::INT;
                if ours {
                    self.set_word(ty::STRING, enc::INT, n.cast_unsigned());
                }
                ours
            }
            Content::Word(_) => false,
        }
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
                    let inline = fits(klen, vlen);
                    let value = if inline { Content::Inline(enc::RAW, &val) } else { Content::Int(77) };
                    let raw = Entry::new(&key, value, ttl);
                    // SAFETY: it lives until the end of this block.
                    let (e, mut m) = unsafe { (raw.borrow(), raw.borrow_mut()) };
                    assert_eq!((e.key(), e.when(), e.is_inline()), (&key[..], ttl, inline));
                    assert_eq!((e.ty(), e.lru()), (ty::STRING, 0));
                    if inline {
                        assert_eq!((e.enc(), e.inline_bytes()), (enc::RAW, &val[..]));
                    } else {
                        assert_eq!((e.enc(), e.word()), (enc::INT, 77));
                    }
                    m.set_lru(0xabcdef);
                    assert_eq!((e.lru(), e.key(), e.when()), (0xabcdef, &key[..], ttl));
                    // SAFETY: no other handle is used any more.
                    unsafe { raw.free() };
                }
            }
        }
    }

    #[test]
    fn overwriting_stays_in_the_size_class() {
        let raw = Entry::new(b"0123456789abcdef", Content::Inline(enc::EMBSTR, b"abc"), None);
        // SAFETY: it lives until it is freed below, and nothing else borrows it.
        let mut e = unsafe { raw.borrow_mut() };
        let embstr = |b| Content::Inline(enc::EMBSTR, b);
        assert!(e.overwrite(&embstr(b"12345678")), "32 bytes hold 8 as well as 3");
        assert_eq!(e.as_ref().inline_bytes(), b"12345678");
        assert!(!e.overwrite(&embstr(b"123456789")));
        assert!(!e.overwrite(&Content::Int(5)));
        assert_eq!(
            (e.as_ref().inline_bytes(), e.as_ref().key()),
            (&b"12345678"[..], &b"0123456789abcdef"[..])
        );
        // SAFETY: no other handle is used any more.
        unsafe { raw.free() };
        let raw = Entry::new(b"k", Content::Int(5), Some(9));
        // SAFETY: as above.
        let mut e = unsafe { raw.borrow_mut() };
        assert!(e.overwrite(&Content::Int(-1)));
        assert_eq!((e.as_ref().word(), e.as_ref().when()), (u64::MAX, Some(9)));
        // SAFETY: no other handle is used any more.
        unsafe { raw.free() };
    }

    #[test]
    fn a_value_that_was_taken_out_is_not_shown() {
        let raw = Entry::new(b"k", Content::Int(5), None);
        // SAFETY: it lives until it is freed below, and nothing else borrows it.
        let mut e = unsafe { raw.borrow_mut() };
        let out = e.take().expect("an integer is a word");
        assert_eq!(e.as_ref().ty(), ty::LENT);
        assert!(e.take().is_none() && !e.overwrite(&Content::Int(6)));
        assert!(e.give(out).is_ok());
        assert_eq!((e.as_ref().ty(), e.as_ref().word()), (ty::STRING, 5));
        // SAFETY: an integer owns nothing.
        let stranger = unsafe { Remains::new(ty::STRING, enc::INT, 7) };
        assert!(e.give(stranger).is_err(), "there is a value already");
        // SAFETY: no other handle is used any more.
        unsafe { raw.free() };
    }
}
