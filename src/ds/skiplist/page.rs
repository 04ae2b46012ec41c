//! The pages of the tree: rows in columns, one allocation, sized to fit.
//!
//! ```text
//!   Leaf    | len cap | score f64 x cap | addr low u32 x cap | addr high u16 x cap |     14 bytes a row
//!   Inner   | len cap | score f64 x cap | first u64 x cap | child u64 x cap | count u64 x cap |   32
//! ```
//!
//! A row of a leaf is one node: its score (so that a search reads no node unless scores tie) and its
//! address in 48 bits. A row of an inner page is one child: the smallest node under it (score and
//! address), the child itself and how many nodes lie under it.
//!
//! A page grows and shrinks along a ladder of capacities, each the most that a size class of the
//! allocator holds, so a page that a split left half full is a page of half the size.
//!
//! `Page` is a handle: an address that is valid until [`Page::free`], [`Page::resized`] or
//! [`Page::absorb`] ends it. Those are `unsafe`; given that their callers use no ended handle again,
//! every other method may rely on a live page, and checks its row numbers itself.

use super::node::NodePtr;
use crate::ds::table::prefetch;
use crate::sys::alloc::size_class;
use crate::sys::defrag::Mover;
use std::alloc::{Layout, alloc, dealloc, handle_alloc_error};
use std::marker::PhantomData;
use std::ptr::{self, NonNull};

/// The columns of a page, widest first, so that each column is aligned wherever the one before ends.
pub(super) trait Shape {
    const WIDTHS: &'static [usize];
    const LADDER: &'static [u16];
}

#[derive(Clone, Copy)]
pub(super) enum LeafShape {}

#[derive(Clone, Copy)]
pub(super) enum InnerShape {}

impl Shape for LeafShape {
    const WIDTHS: &'static [usize] = &[8, 4, 2];
    const LADDER: &'static [u16] = &[4, 8, 13, 17, 22, 26, 31, 36, 45, 54, 63, 72];
}

impl Shape for InnerShape {
    const WIDTHS: &'static [usize] = &[8, 8, 8, 8];
    const LADDER: &'static [u16] = &[3, 7, 15, 23, 31, 39, 47, 55, 63];
}

pub(super) type Leaf = Page<LeafShape>;
pub(super) type Inner = Page<InnerShape>;

#[repr(C, align(8))]
struct Head {
    len: u16,
    cap: u16,
}

const HEAD: usize = size_of::<Head>();
const _: () = assert!(HEAD == 8);
// The largest pages fill their size classes.
const _: () = assert!(Leaf::bytes(Leaf::MAX) == 1016 && Leaf::bytes(36) == 512 && Leaf::bytes(4) == 64);
const _: () = assert!(Inner::bytes(Inner::MAX) == 2024);

pub(super) struct Page<S>(NonNull<Head>, PhantomData<S>);

impl<S> Clone for Page<S> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<S> Copy for Page<S> {}

impl<S> PartialEq for Page<S> {
    fn eq(&self, other: &Self) -> bool {
        self.0 == other.0
    }
}

impl<S: Shape> Page<S> {
    const ROW: usize = {
        let (mut i, mut sum) = (0, 0);
        while i < S::WIDTHS.len() {
            sum += S::WIDTHS[i];
            i += 1;
        }
        sum
    };

    /// Rows in the largest page.
    pub const MAX: usize = S::LADDER[S::LADDER.len() - 1] as usize;

    const fn bytes(cap: usize) -> usize {
        HEAD + cap * Self::ROW
    }

    /// The smallest step of the ladder that holds `rows`.
    pub fn fit(rows: usize) -> usize {
        debug_assert!(rows <= Self::MAX);
        let step = S::LADDER.iter().copied().map(usize::from).find(|&cap| cap >= rows);
        step.expect("no page holds more than MAX rows")
    }

    /// An empty page with room for `rows`.
    pub fn alloc(rows: usize) -> Self {
        let cap = Self::fit(rows);
        let layout = Self::layout(cap);
        // SAFETY: the layout holds the head and `cap` rows, and is never empty.
        let head = unsafe { alloc(layout) }.cast::<Head>();
        let Some(head) = NonNull::new(head) else { handle_alloc_error(layout) };
        // SAFETY: freshly allocated, aligned to 8 by the layout.
        unsafe { head.write(Head { len: 0, cap: cap as u16 }) };
        Page(head, PhantomData)
    }

    /// Gives the memory back; the rows are plain data.
    ///
    /// # Safety
    /// No copy of this handle is used again.
    pub unsafe fn free(self) {
        // SAFETY: alive until here, allocated with this layout.
        unsafe { dealloc(self.0.as_ptr().cast(), Self::layout(self.cap())) }
    }

    /// Moves the page when its slab is sparse.
    ///
    /// # Safety
    /// When something comes back, no copy of this handle is used again.
    pub unsafe fn relocated(self, mover: &mut Mover) -> Option<Self> {
        // SAFETY: allocated with this layout.
        let new = unsafe { mover.try_relocate(self.0.cast(), Self::layout(self.cap()))? };
        Some(Page(new.cast(), PhantomData))
    }

    fn layout(cap: usize) -> Layout {
        Layout::from_size_align(Self::bytes(cap), align_of::<Head>()).expect("a page is 2 kB at most")
    }

    #[inline]
    pub fn len(self) -> usize {
        // SAFETY: a live page.
        usize::from(unsafe { self.0.as_ref() }.len)
    }

    #[inline]
    pub fn cap(self) -> usize {
        // SAFETY: a live page.
        usize::from(unsafe { self.0.as_ref() }.cap)
    }

    pub fn mem_size(self) -> usize {
        size_class(Self::bytes(self.cap()))
    }

    pub fn is_full(self) -> bool {
        self.len() == Self::MAX
    }

    fn set_len(self, len: usize) {
        debug_assert!(len <= self.cap());
        // SAFETY: a live page; no reference to its head is ever kept.
        unsafe { (*self.0.as_ptr()).len = len as u16 }
    }

    /// The start of a column.
    #[inline]
    fn column(self, c: usize) -> *mut u8 {
        let before: usize = S::WIDTHS[..c].iter().sum();
        // SAFETY: columns lie behind the head inside the allocation.
        unsafe { self.0.as_ptr().cast::<u8>().add(HEAD + before * self.cap()) }
    }

    /// Moves rows `from..from + n` of `src` to rows `to..` of this page, which may be the same page.
    fn copy_rows(self, to: usize, src: Self, from: usize, n: usize) {
        assert!(to + n <= self.cap() && from + n <= src.cap());
        for (c, width) in S::WIDTHS.iter().enumerate() {
            // SAFETY: both row ranges lie inside their columns, as just asserted; `copy` allows overlap.
            unsafe {
                let from = src.column(c).add(from * width);
                ptr::copy(from, self.column(c).add(to * width), n * width);
            }
        }
    }

    /// Makes room for one row at `at`, which the caller fills next. The page is not full to its `cap`.
    pub fn open(self, at: usize) {
        let len = self.len();
        assert!(at <= len && len < self.cap());
        self.copy_rows(at + 1, self, at, len - at);
        self.set_len(len + 1);
    }

    /// Takes out `n` rows at `at`.
    pub fn close(self, at: usize, n: usize) {
        let len = self.len();
        assert!(at + n <= len);
        self.copy_rows(at, self, at + n, len - at - n);
        self.set_len(len - n);
    }

    /// The same rows in a page of the step that fits `rows`.
    ///
    /// # Safety
    /// Ends this handle: only the returned one is used from here on.
    pub unsafe fn resized(self, rows: usize) -> Self {
        let len = self.len();
        assert!(rows >= len);
        let new = Self::alloc(rows);
        new.copy_rows(0, self, 0, len);
        new.set_len(len);
        // SAFETY: the caller uses the new handle from here on.
        unsafe { self.free() };
        new
    }

    /// Moves the rows from `at` on into a new page with room for one more.
    pub fn split_off(self, at: usize) -> Self {
        let n = self.len() - at;
        let right = Self::alloc((n + 1).min(Self::MAX));
        right.copy_rows(0, self, at, n);
        right.set_len(n);
        self.set_len(at);
        right
    }

    /// Appends all rows of `right`, which ends. This page has the capacity for them.
    ///
    /// # Safety
    /// No copy of `right` is used again.
    pub unsafe fn absorb(self, right: Self) {
        let (len, n) = (self.len(), right.len());
        self.copy_rows(len, right, 0, n);
        self.set_len(len + n);
        // SAFETY: its rows live here now, and the caller forgets it.
        unsafe { right.free() }
    }

    #[inline]
    pub fn scores<'a>(self) -> &'a [f64] {
        // SAFETY: the first column of a live page is `len` scores. The slices are used up before the
        // page changes: only this module and its parent see them.
        unsafe { std::slice::from_raw_parts(self.column(0).cast::<f64>(), self.len()) }
    }

    /// The bare address, for the child column.
    #[inline]
    pub fn raw(self) -> RawPage {
        RawPage(self.0.as_ptr().expose_provenance())
    }

    #[inline]
    fn cell(self, c: usize, row: usize) -> *mut u8 {
        assert!(row < self.len());
        // SAFETY: the row exists, so the cell lies inside its column.
        unsafe { self.column(c).add(row * S::WIDTHS[c]) }
    }

    #[inline]
    fn set_score(self, row: usize, score: f64) {
        // SAFETY: a cell of column 0, eight aligned bytes of a live page.
        unsafe { self.cell(0, row).cast::<f64>().write(score) }
    }
}

/// A page whose kind follows from its depth in the tree.
#[derive(Clone, Copy, PartialEq)]
pub(super) struct RawPage(usize);

impl RawPage {
    /// # Safety
    /// It is the address of a live leaf.
    #[inline]
    pub unsafe fn leaf(self) -> Leaf {
        // SAFETY: an address that `raw` gave, never null.
        unsafe { self.page() }
    }

    /// # Safety
    /// It is the address of a live inner page.
    #[inline]
    pub unsafe fn inner(self) -> Inner {
        // SAFETY: an address that `raw` gave, never null.
        unsafe { self.page() }
    }

    /// # Safety
    /// It is the address of a live page of this kind.
    #[inline]
    pub unsafe fn page<S>(self) -> Page<S> {
        debug_assert!(self.0 != 0);
        // SAFETY: the caller vouches for an address that came from `Page::raw`.
        Page(unsafe { NonNull::new_unchecked(ptr::with_exposed_provenance_mut(self.0)) }, PhantomData)
    }

    /// Asks for the first `lines` cache lines of the page.
    #[inline]
    pub fn prefetch(self, lines: usize) {
        let at = ptr::with_exposed_provenance::<u8>(self.0);
        for line in 0..lines {
            prefetch(at.wrapping_add(line * 64));
        }
    }
}

impl Leaf {
    #[inline]
    pub fn node(self, row: usize) -> NodePtr {
        // SAFETY: cells of columns 1 and 2, aligned, written by `set` when the row was opened; the two
        // halves are those of a node's address.
        unsafe {
            let low = self.cell(1, row).cast::<u32>().read();
            let high = self.cell(2, row).cast::<u16>().read();
            NodePtr::from_addr(usize::from(high) << 32 | low as usize)
        }
    }

    pub fn set(self, row: usize, score: f64, node: NodePtr) {
        let addr = node.addr();
        debug_assert!(addr >> 48 == 0);
        self.set_score(row, score);
        // SAFETY: cells of columns 1 and 2 of a live page, aligned.
        unsafe {
            self.cell(1, row).cast::<u32>().write(addr as u32);
            self.cell(2, row).cast::<u16>().write((addr >> 32) as u16);
        }
    }
}

/// What an inner page knows of one child.
#[derive(Clone, Copy)]
pub(super) struct Child {
    /// The smallest node under the child, and its score.
    pub score: f64,
    pub first: NodePtr,
    pub page: RawPage,
    /// Nodes under the child.
    pub count: usize,
}

impl Inner {
    #[inline]
    pub fn child(self, row: usize) -> RawPage {
        // SAFETY: a cell of column 2, aligned, written by `set`.
        RawPage(unsafe { self.cell(2, row).cast::<usize>().read() })
    }

    #[inline]
    pub fn first(self, row: usize) -> NodePtr {
        // SAFETY: a cell of column 1, aligned, holding a node's address.
        unsafe { NodePtr::from_addr(self.cell(1, row).cast::<usize>().read()) }
    }

    #[inline]
    pub fn counts<'a>(self) -> &'a [usize] {
        // SAFETY: column 3 of a live page is `len` counts; see `scores` for how long they are looked at.
        unsafe { std::slice::from_raw_parts(self.column(3).cast::<usize>(), self.len()) }
    }

    pub fn set(self, row: usize, child: Child) {
        self.set_first(row, child.score, child.first);
        self.set_child(row, child.page);
        self.set_count(row, child.count);
    }

    pub fn set_first(self, row: usize, score: f64, first: NodePtr) {
        self.set_score(row, score);
        // SAFETY: a cell of column 1 of a live page, aligned.
        unsafe { self.cell(1, row).cast::<usize>().write(first.addr()) }
    }

    pub fn set_child(self, row: usize, page: RawPage) {
        // SAFETY: a cell of column 2 of a live page, aligned.
        unsafe { self.cell(2, row).cast::<usize>().write(page.0) }
    }

    pub fn set_count(self, row: usize, count: usize) {
        // SAFETY: a cell of column 3 of a live page, aligned.
        unsafe { self.cell(3, row).cast::<usize>().write(count) }
    }

    /// Nodes under the whole page.
    pub fn total(self) -> usize {
        self.counts().iter().sum()
    }
}

/// What leaf and inner page have in common for the tree: a smallest node.
pub(super) trait Smallest {
    fn smallest(self) -> (f64, NodePtr);
}

impl Smallest for Leaf {
    fn smallest(self) -> (f64, NodePtr) {
        (self.scores()[0], self.node(0))
    }
}

impl Smallest for Inner {
    fn smallest(self) -> (f64, NodePtr) {
        (self.scores()[0], self.first(0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_step_of_a_ladder_fills_a_size_class() {
        fn check<S: Shape>() {
            for &cap in S::LADDER {
                let bytes = Page::<S>::bytes(usize::from(cap));
                assert!(bytes + Page::<S>::ROW > size_class(bytes), "{cap} rows leave room for another");
            }
        }
        check::<LeafShape>();
        check::<InnerShape>();
    }

    #[test]
    fn rows_keep_their_columns_through_every_move() {
        let nodes: Vec<NodePtr> = (0..72).map(|i| NodePtr::alloc(f64::from(i), &[i as u8])).collect();
        let mut page = Leaf::alloc(1);
        for (i, &node) in nodes.iter().enumerate() {
            if page.len() == page.cap() {
                // SAFETY: the handle is replaced.
                page = unsafe { page.resized(i + 1) };
            }
            page.open(0);
            page.set(0, -(i as f64), node);
        }
        assert!(page.is_full());
        let right = page.split_off(30);
        page.close(10, 15);
        assert_eq!((page.len(), right.len()), (15, 42));
        // SAFETY: the handle is replaced.
        page = unsafe { page.resized(57) };
        // SAFETY: `right` is not used again.
        unsafe { page.absorb(right) };
        let want: Vec<usize> =
            (0..72).rev().enumerate().filter(|(i, _)| !(10..25).contains(i)).map(|p| p.1).collect();
        assert_eq!(page.len(), want.len());
        for (row, &i) in want.iter().enumerate() {
            assert_eq!(page.scores()[row], -(i as f64));
            assert_eq!(page.node(row), nodes[i]);
        }
        // SAFETY: nothing is used after this.
        unsafe {
            page.free();
            nodes.into_iter().for_each(|node| node.free());
        }
    }
}
