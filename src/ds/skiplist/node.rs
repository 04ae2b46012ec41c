//! The element of a sorted set: score and member in one allocation, which `relocated` alone moves.
//!
//! ```text
//!   short member     0        8    9
//!                    | score  |len | member ...          len < 255
//!   long member      0        8    9          17
//!                    | score  |255 | length 8 | member ...
//! ```
//!
//! A member of 16 bytes makes 25, which the allocator rounds to 32. Three types speak about a node:
//! [`NodePtr`] is the bare address, what pages and the hash table store; [`NodeRef`] is that address
//! borrowed from a living list, so reading it is safe; [`Node`] is a node taken out of its list, freed
//! when it drops.

use crate::ds::table::prefetch;
use crate::sys::alloc::size_class;
use crate::sys::defrag::Mover;
use std::alloc::{Layout, alloc, dealloc, handle_alloc_error};
use std::cmp::Ordering;
use std::fmt;
use std::marker::PhantomData;
use std::ptr::{self, NonNull};

const LEN_AT: usize = 8;
const SHORT_AT: usize = 9;
const LONG_AT: usize = 17;
/// The length byte that says "eight more bytes of length follow".
const LONG: u8 = u8::MAX;

const _: () = assert!(LEN_AT == size_of::<f64>());
const _: () = assert!(LONG_AT == SHORT_AT + size_of::<u64>());
const _: () = assert!(size_of::<Option<NodePtr>>() == 8);

/// The address of a node: stable from insertion to removal, but for `relocated`, below 2^48, a multiple of 8.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
#[repr(transparent)]
pub struct NodePtr(NonNull<u8>);

// SAFETY: an address carries no thread with it; code that reads through it answers for the borrow.
unsafe impl Send for NodePtr {}
// SAFETY: as above.
unsafe impl Sync for NodePtr {}

impl fmt::Debug for NodePtr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "NodePtr({:p})", self.0)
    }
}

impl NodePtr {
    /// A new node that no list knows yet.
    pub(super) fn alloc(score: f64, member: &[u8]) -> NodePtr {
        debug_assert!(!score.is_nan(), "NaN has no place in the order");
        let layout = layout_for(member.len());
        // SAFETY: the layout is never empty. Everything written lies inside it: `layout_for` counts the
        // score, the length in its short or long form, and the member.
        let raw = unsafe {
            let raw = alloc(layout);
            if raw.is_null() {
                handle_alloc_error(layout);
            }
            raw.cast::<f64>().write(score);
            let at = match u8::try_from(member.len()) {
                Ok(short) if short != LONG => {
                    raw.add(LEN_AT).write(short);
                    SHORT_AT
                }
                _ => {
                    raw.add(LEN_AT).write(LONG);
                    raw.add(SHORT_AT).cast::<u64>().write_unaligned(member.len() as u64);
                    LONG_AT
                }
            };
            ptr::copy_nonoverlapping(member.as_ptr(), raw.add(at), member.len());
            NonNull::new_unchecked(raw)
        };
        assert!(raw.as_ptr().addr() >> 48 == 0, "user space ends at 2^47");
        NodePtr(raw)
    }

    /// Gives the memory back.
    ///
    /// # Safety
    /// The node is alive, in no list, and neither this address nor a reference to it is used again.
    pub(super) unsafe fn free(self) {
        // SAFETY: alive, as the caller promises, so its length can be read and names its layout.
        unsafe {
            let layout = layout_for(self.as_ref().member().len());
            if cfg!(debug_assertions) {
                // A stale address then trips the assertion in `NodeRef::score` for as long as it can.
                self.set_score(f64::NAN);
            }
            dealloc(self.0.as_ptr(), layout);
        }
    }

    /// Moves the node when its slab is sparse.
    ///
    /// # Safety
    /// The node is alive and no reference to it exists; when something comes back, it alone is used
    /// afterwards.
    pub(super) unsafe fn relocated(self, mover: &mut Mover) -> Option<NodePtr> {
        // SAFETY: alive, so its length names its layout.
        let new = unsafe { mover.try_relocate(self.0, layout_for(self.as_ref().member().len()))? };
        assert!(new.as_ptr().addr() >> 48 == 0, "user space ends at 2^47");
        Some(NodePtr(new))
    }

    /// Borrows the node.
    ///
    /// # Safety
    /// The node is in a list (or a [`Node`]) that stays alive and keeps it for all of `'a`, and its
    /// score is not changed meanwhile.
    #[inline]
    pub unsafe fn as_ref<'a>(self) -> NodeRef<'a> {
        NodeRef { ptr: self, life: PhantomData }
    }

    /// Overwrites the score, and nothing else: the place in the list is the caller's business.
    ///
    /// # Safety
    /// The node is alive and no reference to it exists.
    #[inline]
    pub(super) unsafe fn set_score(self, score: f64) {
        // SAFETY: the score is the first eight bytes of a node, aligned by its layout.
        unsafe { self.0.as_ptr().cast::<f64>().write(score) }
    }

    /// The address as a number, for structures that pack it into 48 bits.
    #[inline]
    pub fn addr(self) -> usize {
        self.0.as_ptr().expose_provenance()
    }

    /// The inverse of [`NodePtr::addr`].
    ///
    /// # Safety
    /// `addr` came from `addr()` of a node.
    #[inline]
    pub unsafe fn from_addr(addr: usize) -> NodePtr {
        debug_assert!(addr != 0 && addr.is_multiple_of(8) && addr >> 48 == 0);
        // SAFETY: an address that `addr()` gave is not null.
        NodePtr(unsafe { NonNull::new_unchecked(ptr::with_exposed_provenance_mut(addr)) })
    }

    /// Asks the processor to fetch the first line of the node.
    #[inline]
    pub fn prefetch(self) {
        prefetch(self.0.as_ptr());
    }
}

/// A node borrowed from the list it lives in.
#[derive(Clone, Copy)]
pub struct NodeRef<'a> {
    ptr: NodePtr,
    life: PhantomData<&'a u8>,
}

impl<'a> NodeRef<'a> {
    /// The score, with the sign of zero it was stored with.
    #[inline]
    pub fn score(self) -> f64 {
        // SAFETY: the borrow keeps the node alive; its first eight bytes are the score.
        let score = unsafe { self.ptr.0.as_ptr().cast::<f64>().read() };
        debug_assert!(!score.is_nan(), "a node read after it was freed");
        score
    }

    /// The member's bytes.
    #[inline]
    pub fn member(self) -> &'a [u8] {
        let raw = self.ptr.0.as_ptr();
        // SAFETY: the borrow keeps the node alive for 'a; `alloc` wrote the length in one of two forms
        // and that many bytes behind it, which never change.
        unsafe {
            let short = raw.add(LEN_AT).read();
            let (at, len) = if short == LONG {
                (LONG_AT, raw.add(SHORT_AT).cast::<u64>().read_unaligned() as usize)
            } else {
                (SHORT_AT, usize::from(short))
            };
            std::slice::from_raw_parts(raw.add(at), len)
        }
    }

    /// The bare address, to store in the table or hand to a method that changes the list.
    #[inline]
    pub fn ptr(self) -> NodePtr {
        self.ptr
    }

    /// What the allocator gave for it.
    pub fn alloc_size(self) -> usize {
        alloc_size(self.member().len())
    }
}

impl fmt::Debug for NodeRef<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "({}, {})", self.score(), self.member().escape_ascii())
    }
}

/// A node that left its list: read it, make the table forget it, then drop it.
#[derive(Debug)]
pub struct Node(NodePtr);

impl Node {
    /// Takes ownership.
    ///
    /// # Safety
    /// The node is alive, in no list, and no other `Node` owns it.
    pub(super) unsafe fn from_ptr(ptr: NodePtr) -> Node {
        Node(ptr)
    }

    /// The score it had.
    pub fn score(&self) -> f64 {
        // SAFETY: owned, hence alive.
        unsafe { self.0.as_ref() }.score()
    }

    /// The member's bytes.
    pub fn member(&self) -> &[u8] {
        // SAFETY: owned, hence alive as long as the borrow of `self`.
        unsafe { self.0.as_ref() }.member()
    }

    /// The address under which the table knows it.
    pub fn ptr(&self) -> NodePtr {
        self.0
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        // SAFETY: owned, in no list, and gone after this.
        unsafe { self.0.free() }
    }
}

/// The order of a sorted set: by score, then by member as memcmp, the shorter first on a common prefix.
/// The two zeros are equal.
#[inline]
pub fn order(a: (f64, &[u8]), b: (f64, &[u8])) -> Ordering {
    a.0.partial_cmp(&b.0).expect("NaN never enters").then_with(|| a.1.cmp(b.1))
}

/// A node's size in memory.
pub(super) fn alloc_size(member_len: usize) -> usize {
    size_class(layout_for(member_len).size())
}

fn layout_for(member_len: usize) -> Layout {
    let head = if member_len < usize::from(LONG) { SHORT_AT } else { LONG_AT };
    let size = head.checked_add(member_len).expect("a slice is shorter than the address space");
    Layout::from_size_align(size, 8).expect("a slice and 17 bytes fit isize")
}
