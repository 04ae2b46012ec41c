//! A growable byte string behind one pointer, for values that do not fit into their entry.
//!
//! ```text
//!  0        8        16
//! [len u64 ][cap u64 ][bytes ...          ]
//! ```
//!
//! Appending doubles the room up to a megabyte and then adds a megabyte at a time, as upstream's
//! strings grow.

use crate::sys::alloc::size_class;
use crate::sys::defrag::Mover;
use std::alloc::{Layout, alloc, dealloc, handle_alloc_error, realloc};
use std::ops::Range;
use std::ptr::NonNull;
use std::slice;

pub struct Sds(NonNull<u64>);

// SAFETY: the block belongs to this handle alone.
unsafe impl Send for Sds {}
// SAFETY: shared access only reads.
unsafe impl Sync for Sds {}

/// Bytes of a block before those of the string: its length and its room.
pub const HEAD: usize = 16;
/// Growth is by doubling up to here (SDS_MAX_PREALLOC).
const MAX_PREALLOC: usize = 1 << 20;

impl Sds {
    fn layout(cap: usize) -> Layout {
        Layout::from_size_align(HEAD + cap, 8).expect("strings are bounded far below the address space")
    }

    /// Room for `cap` bytes, rounded up to what the allocator hands out anyway.
    pub fn with_capacity(cap: usize) -> Self {
        let cap = size_class(HEAD + cap) - HEAD;
        let layout = Self::layout(cap);
        // SAFETY: the layout has a size.
        let p = NonNull::new(unsafe { alloc(layout) }.cast::<u64>())
            .unwrap_or_else(|| handle_alloc_error(layout));
        // SAFETY: the header is inside the block.
        unsafe {
            p.write(0);
            p.add(1).write(cap as u64);
        }
        Sds(p)
    }

    pub fn from_slice(b: &[u8]) -> Self {
        let mut s = Self::with_capacity(b.len());
        s.extend(b);
        s
    }

    /// The string of `bytes` of a buffer, whose block it takes over. Before them there is room for the
    /// header.
    pub fn from_buffer(mut buf: Vec<u8>, bytes: Range<usize>) -> Self {
        assert!(bytes.start >= HEAD && bytes.end <= buf.len() && buf.capacity() >= 2 * HEAD);
        buf.copy_within(bytes.clone(), HEAD);
        let mut buf = std::mem::ManuallyDrop::new(buf);
        let p = NonNull::new(buf.as_mut_ptr().cast::<u64>()).expect("a buffer with room");
        assert!(p.is_aligned(), "blocks of this size lie on whole words");
        // SAFETY: the block is `capacity` bytes, of which the header and these bytes are the first. Its
        // layout differs from `layout(cap)` in the alignment only, and every allocator below takes
        // alignments of up to a word for the same.
        unsafe {
            p.write(bytes.len() as u64);
            p.add(1).write((buf.capacity() - HEAD) as u64);
        }
        Sds(p)
    }

    #[inline]
    pub fn len(&self) -> usize {
        // SAFETY: a live handle.
        unsafe { self.0.read() as usize }
    }

    #[inline]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    #[inline]
    pub fn capacity(&self) -> usize {
        // SAFETY: a live handle.
        unsafe { self.0.add(1).read() as usize }
    }

    /// Bytes of the block.
    pub fn footprint(&self) -> usize {
        HEAD + self.capacity()
    }

    #[inline]
    fn data(&self) -> *mut u8 {
        // SAFETY: the bytes follow the header.
        unsafe { self.0.as_ptr().cast::<u8>().add(HEAD) }
    }

    /// # Safety
    /// The first `len` bytes are initialized and `len <= capacity()`.
    unsafe fn set_len(&mut self, len: usize) {
        debug_assert!(len <= self.capacity());
        // SAFETY: a live handle.
        unsafe { self.0.write(len as u64) };
    }

    fn set_capacity(&mut self, cap: usize) {
        debug_assert!(cap >= self.len());
        let cap = size_class(HEAD + cap) - HEAD;
        if cap == self.capacity() {
            return;
        }
        let (old, new) = (Self::layout(self.capacity()), Self::layout(cap));
        // SAFETY: the block was made with `old`.
        let p = unsafe { realloc(self.0.as_ptr().cast(), old, new.size()) };
        self.0 = NonNull::new(p.cast()).unwrap_or_else(|| handle_alloc_error(new));
        // SAFETY: the header is inside the block.
        unsafe { self.0.add(1).write(cap as u64) };
    }

    /// Makes room for `more` bytes beyond the length, with reserve for the appends to come.
    pub fn reserve(&mut self, more: usize) {
        let need = self.len() + more;
        if need > self.capacity() {
            self.set_capacity(need + need.min(MAX_PREALLOC));
        }
    }

    /// Makes room for `more` bytes beyond the length, and for no others.
    pub fn reserve_exact(&mut self, more: usize) {
        let need = self.len() + more;
        if need > self.capacity() {
            self.set_capacity(need);
        }
    }

    pub fn extend(&mut self, b: &[u8]) {
        self.reserve(b.len());
        let len = self.len();
        // SAFETY: room was just made; `b` cannot overlap a block we own mutably.
        unsafe {
            self.data().add(len).copy_from_nonoverlapping(b.as_ptr(), b.len());
            self.set_len(len + b.len());
        }
    }

    /// Grows with zeros, or cuts.
    pub fn resize(&mut self, len: usize) {
        let old = self.len();
        if len > old {
            self.reserve(len - old);
            // SAFETY: room was just made.
            unsafe { self.data().add(old).write_bytes(0, len - old) };
        }
        // SAFETY: initialized above.
        unsafe { self.set_len(len) };
    }

    pub fn shrink_to_fit(&mut self) {
        self.set_capacity(self.len());
    }

    pub fn defrag(&mut self, mover: &mut Mover) {
        // SAFETY: the block was made with this layout; the old address is overwritten.
        unsafe {
            if let Some(new) = mover.try_relocate(self.0.cast(), Self::layout(self.capacity())) {
                self.0 = new.cast();
            }
        }
    }

    /// The reserve behind the bytes, to be read into; `advance` makes what was filled part of the
    /// string.
    pub fn spare(&mut self) -> &mut [std::mem::MaybeUninit<u8>] {
        let (len, cap) = (self.len(), self.capacity());
        // SAFETY: inside the block, exclusively borrowed.
        unsafe { slice::from_raw_parts_mut(self.data().add(len).cast(), cap - len) }
    }

    /// # Safety
    /// The first `n` bytes of `spare()` have been initialized.
    pub unsafe fn advance(&mut self, n: usize) {
        // SAFETY: by contract.
        unsafe { self.set_len(self.len() + n) };
    }

    /// The bytes behind a stored word.
    ///
    /// # Safety
    /// `word` came from `into_word`, and the string neither changes nor goes away for as long as 'a.
    pub unsafe fn borrow<'a>(word: u64) -> &'a [u8] {
        let p = word as *const u64;
        // SAFETY: the length stands at the front, the bytes behind the header.
        unsafe { slice::from_raw_parts(p.cast::<u8>().add(HEAD), p.read() as usize) }
    }

    pub fn into_word(self) -> u64 {
        let p = self.0.as_ptr() as u64;
        std::mem::forget(self);
        p
    }

    /// # Safety
    /// `word` came from `into_word` and is given back once.
    pub unsafe fn from_word(word: u64) -> Self {
        Sds(NonNull::new(word as *mut u64).expect("a stored pointer"))
    }
}

impl std::ops::Deref for Sds {
    type Target = [u8];
    #[inline]
    fn deref(&self) -> &[u8] {
        // SAFETY: the first `len` bytes are initialized.
        unsafe { slice::from_raw_parts(self.data(), self.len()) }
    }
}

impl std::ops::DerefMut for Sds {
    fn deref_mut(&mut self) -> &mut [u8] {
        // SAFETY: as above, exclusively borrowed.
        unsafe { slice::from_raw_parts_mut(self.data(), self.len()) }
    }
}

impl Drop for Sds {
    fn drop(&mut self) {
        // SAFETY: made with this layout, dropped once.
        unsafe { dealloc(self.0.as_ptr().cast(), Self::layout(self.capacity())) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_agrees_with_a_vec() {
        let (mut s, mut twin) = (Sds::with_capacity(0), Vec::new());
        let mut n = 7u32;
        for _ in 0..2000 {
            n = n.wrapping_mul(1664525).wrapping_add(1013904223);
            let k = (n >> 20) as usize % 90;
            match n >> 30 {
                0 | 1 => {
                    s.extend(&vec![k as u8; k]);
                    twin.extend(vec![k as u8; k]);
                }
                2 => {
                    s.resize(k * 10);
                    twin.resize(k * 10, 0);
                }
                _ => s.shrink_to_fit(),
            }
            assert_eq!(&s[..], &twin[..]);
            assert!(s.capacity() >= s.len());
        }
        let w = s.into_word();
        // SAFETY: just taken.
        let s = unsafe { Sds::from_word(w) };
        assert_eq!(&s[..], &twin[..]);
    }
}
