//! Heap blocks whose size follows from their content.
//!
//! A listpack or an intset states its own length in its first bytes, so neither a length nor a capacity
//! needs a word beside the pointer: the block behind it is always exactly one allocator size class, the
//! smallest that holds the content. Two things follow. Growing inside the class is free of calls, with
//! no more memory taken than an exact request would take, since the allocator rounds up to the class
//! anyway; and the layout to free follows from the content's length.
//!
//! ```text
//!   1..=64      steps of 8          8 16 24 32 40 48 56 64
//!   65..        4 steps a doubling  80 96 112 128 | 160 192 224 256 | 320 ...
//! ```
//!
//! Up to 32 KiB these are the allocator's own classes (`sys::alloc`). Beyond, it rounds to pages; here
//! the steps go on a quarter at a time, each a whole number of pages, so that what keeps growing is not
//! copied once a page.

use crate::sys::defrag::Mover;
use std::alloc::{Layout, alloc, dealloc, handle_alloc_error, realloc};
use std::ptr::NonNull;

/// From this size on the allocator can often grow a block where it lies, so `resize` is worth asking.
pub const LARGE: usize = 16 * 1024;

/// What every block is aligned to: the smallest class, so no class is rounded up for alignment's sake.
const ALIGN: usize = 8;

/// The size class that a request of `n` bytes (`n >= 1`) falls into.
#[inline]
pub const fn size_class(n: usize) -> usize {
    debug_assert!(n >= 1 && n <= isize::MAX as usize / 2);
    if n <= 64 {
        (n + 7) & !7
    } else {
        // Four steps between one power of two and the next: a step is a quarter of the lower one.
        let step = 1usize << (usize::BITS - 3 - (n - 1).leading_zeros());
        (n + step - 1) & !(step - 1)
    }
}

fn layout(class: usize) -> Layout {
    Layout::from_size_align(class, ALIGN).expect("a class is far below isize::MAX")
}

/// A fresh block of one class, uninitialised.
pub fn acquire(class: usize) -> NonNull<u8> {
    debug_assert!(class > 0 && class == size_class(class));
    let layout = layout(class);
    // SAFETY: the layout has a size above zero.
    let block = unsafe { alloc(layout) };
    NonNull::new(block).unwrap_or_else(|| handle_alloc_error(layout))
}

/// Gives a block back.
///
/// # Safety
/// `block` came from `acquire(class)` or `resize(.., class)` and is not used afterwards.
pub unsafe fn release(block: NonNull<u8>, class: usize) {
    debug_assert!(class > 0 && class == size_class(class));
    // SAFETY: by the contract this is the layout it was allocated with.
    unsafe { dealloc(block.as_ptr(), layout(class)) }
}

/// Moves a block to another class, keeping the bytes that fit both.
///
/// # Safety
/// `block` came from `acquire(old)` or `resize(.., old)`; only the returned pointer is used afterwards.
pub unsafe fn resize(block: NonNull<u8>, old: usize, new: usize) -> NonNull<u8> {
    debug_assert!(old == size_class(old) && new == size_class(new));
    // SAFETY: by the contract `old` is its layout; `new` is a class, so above zero and below isize::MAX.
    let moved = unsafe { realloc(block.as_ptr(), layout(old), new) };
    NonNull::new(moved).unwrap_or_else(|| handle_alloc_error(layout(new)))
}

/// Moves a block when its slab is sparse; None when it stays.
///
/// # Safety
/// `block` came from `acquire(class)` or `resize(.., class)`; only what comes back, if anything, is used
/// afterwards.
pub unsafe fn relocate(block: NonNull<u8>, class: usize, mover: &mut Mover) -> Option<NonNull<u8>> {
    debug_assert!(class == size_class(class));
    // SAFETY: by the contract this is its layout.
    unsafe { mover.try_relocate(block, layout(class)) }
}

/// Bytes on the heap reached through one word: an 8-byte length, then the bytes.
pub struct Thin(NonNull<u8>);

const THIN_HEADER: usize = 8;

// SAFETY: it owns its block alone and has no interior mutability.
unsafe impl Send for Thin {}
// SAFETY: shared access only reads.
unsafe impl Sync for Thin {}

impl Thin {
    /// A block for the pieces, one after the other.
    pub fn concat(pieces: &[&[u8]]) -> Self {
        let len = pieces.iter().map(|p| p.len()).sum::<usize>();
        let block = acquire(size_class(len + THIN_HEADER));
        // SAFETY: the block holds the header and `len` bytes, and is new, so it overlaps no piece.
        unsafe {
            block.cast::<u64>().write(len as u64);
            let mut to = block.add(THIN_HEADER).as_ptr();
            for piece in pieces {
                to.copy_from_nonoverlapping(piece.as_ptr(), piece.len());
                to = to.add(piece.len());
            }
        }
        Thin(block)
    }

    pub fn len(&self) -> usize {
        // SAFETY: the block starts with its length, aligned to 8.
        (unsafe { self.0.cast::<u64>().read() }) as usize
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// What the block costs in the allocator.
    pub fn alloc_size(&self) -> usize {
        size_class(self.len() + THIN_HEADER)
    }

    pub fn defrag(&mut self, mover: &mut Mover) {
        // SAFETY: acquired with this class; the old address is overwritten.
        if let Some(new) = unsafe { relocate(self.0, self.alloc_size(), mover) } {
            self.0 = new;
        }
    }
}

impl std::ops::Deref for Thin {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        // SAFETY: `len` bytes after the header were written by `concat` and never change.
        unsafe { std::slice::from_raw_parts(self.0.add(THIN_HEADER).as_ptr(), self.len()) }
    }
}

impl Drop for Thin {
    fn drop(&mut self) {
        // SAFETY: acquired in `concat` with this class; the only owner is dropped here.
        unsafe { release(self.0, self.alloc_size()) }
    }
}

impl Clone for Thin {
    fn clone(&self) -> Self {
        Thin::concat(&[self])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::alloc;

    #[test]
    fn classes_climb_in_quarter_steps() {
        let ladder: Vec<usize> = (1..=330).map(size_class).collect();
        let mut steps = ladder.clone();
        steps.dedup();
        let want = [8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384];
        assert_eq!(steps, want);
        assert!(ladder.iter().zip(1..).all(|(class, n)| *class >= n && size_class(*class) == *class));
        assert_eq!(size_class(4097), 5120);
        assert_eq!(size_class(14337), 16384);
        assert_eq!(size_class(16385), 20480);
        assert_eq!(size_class((1 << 30) + 1), (1 << 30) + (1 << 28));
    }

    #[test]
    fn no_class_wastes_what_the_allocator_gives() {
        for n in (1..40_000).chain((40_000..3_000_000).step_by(997)) {
            let class = size_class(n);
            assert_eq!(alloc::size_class(class), class, "for {n}");
            assert!(n > 32 * 1024 || alloc::size_class(n) == class, "for {n}");
            assert!(n <= class && class <= n + n / 4 + 8, "for {n}");
        }
    }

    #[test]
    fn thin_bytes_keep_their_pieces() {
        let empty = Thin::concat(&[]);
        assert!(empty.is_empty() && empty.alloc_size() == 8);
        let joined = Thin::concat(&[b"ab", b"", b"cde"]);
        assert_eq!(&*joined, b"abcde");
        assert_eq!(&*joined.clone(), b"abcde");
        assert_eq!(joined.alloc_size(), 16);
        assert_eq!(size_of::<Option<Thin>>(), 8);
    }
}
