//! The nodes of the radix tree: one allocation each, laid out by hand.
//!
//! ```text
//!   run      | head 4 | chars n |                pad to 8 | link 8     | value 8, if a key ends here
//!   branch   | head 4 | chars n | leaf bits n/8 | pad to 8 | link 8 x n | value 8, if a key ends here
//!
//!   head     bit 0 KEY: a key ends where the node starts    bit 1 RUN    bit 2 LEAF (of a run)
//!            bit 3 EMPTY (of the anchor)                    bits 4..32 chars
//! ```
//!
//! A run is a chain of vertices with one child each, spelled by its chars. A branch has two children or
//! more, its chars ascending. A link is the address of a child or, where the leaf bit is set, the value
//! of a key that ends there and has nothing below: what upstream keeps in a node of its own.
//!
//! The value type is erased to a word. A type without size takes no word behind the links.
//!
//! [`Node`] is a handle, valid until [`Node::free`] or a method that takes the node over; those are
//! `unsafe`. Given that their callers use no ended handle again, the other methods rely on live nodes.

use crate::sys::alloc::size_class;
use crate::sys::defrag::Mover;
use std::alloc::{Layout, alloc, dealloc, handle_alloc_error, realloc};
use std::marker::PhantomData;
use std::mem::MaybeUninit;
use std::ptr::{self, NonNull};

const KEY: u32 = 1;
const RUN: u32 = 1 << 1;
const LEAF: u32 = 1 << 2;
const EMPTY: u32 = 1 << 3;
const SIZE_SHIFT: u32 = 4;

/// The longest run; a longer one goes on in the node below. Small in tests, which want to see that.
pub(super) const MAX_RUN: usize = if cfg!(test) { 300 } else { (1 << (32 - SIZE_SHIFT)) - 1 };

/// A child's address or a value; bytes whose meaning the leaf bit tells, provenance and all.
pub(super) type Word = MaybeUninit<u64>;

pub(super) const fn word_of<T>(value: T) -> Word {
    const { assert!(size_of::<T>() <= 8 && align_of::<T>() <= 8, "a value is a word at most") };
    let mut word = Word::uninit();
    // SAFETY: a word is large and aligned enough, as just asserted.
    unsafe { word.as_mut_ptr().cast::<T>().write(value) };
    word
}

/// # Safety
/// The word was made by `word_of::<T>` and is not read again.
pub(super) unsafe fn value_of<T>(word: Word) -> T {
    // SAFETY: the caller's promise.
    unsafe { word.as_ptr().cast::<T>().read() }
}

/// What a tree holds in nodes, leaves in links counted as the nodes they stand for.
#[derive(Default)]
pub(super) struct Tally {
    pub nodes: usize,
    pub bytes: usize,
}

pub(super) struct Node<T>(NonNull<u32>, PhantomData<T>);

impl<T> Clone for Node<T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for Node<T> {}

/// What hangs from a link.
pub(super) enum Link<T> {
    /// Nothing: only in the anchor of an empty tree.
    Empty,
    Leaf(Word),
    Node(Node<T>),
}

impl<T> Clone for Link<T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for Link<T> {}

/// A place for a link: which node, which child.
pub(super) struct Slot<T> {
    pub holder: Node<T>,
    pub at: usize,
}

impl<T> Clone for Slot<T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for Slot<T> {}

/// The link to the root, in the shape of a run without chars, so that it is a slot like any other.
#[repr(C)]
pub(super) struct Anchor {
    head: u32,
    link: Word,
}

const _: () =
    assert!(size_of::<Anchor>() == 16 && std::mem::offset_of!(Anchor, link) == links_at(true, 0));
const _: () = assert!(links_at(true, 16) == 24 && links_at(true, 4) == 8 && links_at(false, 3) == 8);

impl Anchor {
    pub const fn new() -> Anchor {
        Anchor { head: RUN | EMPTY, link: Word::uninit() }
    }
}

/// Where the links begin.
const fn links_at(run: bool, size: usize) -> usize {
    let bits = if run { 0 } else { size.div_ceil(8) };
    (size_of::<u32>() + size + bits).next_multiple_of(8)
}

impl<T> Node<T> {
    const VALUE: usize = if size_of::<T>() == 0 { 0 } else { 8 };

    /// The anchor, seen as a node. It lives where the tree lives: use this before the tree moves.
    pub fn anchor(anchor: *const Anchor) -> Node<T> {
        // SAFETY: a reference became the pointer, so it is not null.
        Node(unsafe { NonNull::new_unchecked(anchor.cast_mut().cast()) }, PhantomData)
    }

    fn bytes(run: bool, size: usize, key: bool) -> usize {
        links_at(run, size) + 8 * if run { 1 } else { size } + if key { Self::VALUE } else { 0 }
    }

    /// A node with a head, and everything behind it still to be written.
    fn alloc(run: bool, size: usize, key: bool, tally: &mut Tally) -> Node<T> {
        debug_assert!(if run { 0 < size && size <= MAX_RUN } else { 1 < size && size <= 256 });
        let bytes = Self::bytes(run, size, key);
        let layout =
            Layout::from_size_align(bytes, 8).expect("a node is far from half the address space");
        // SAFETY: never empty.
        let raw = unsafe { alloc(layout) };
        let Some(raw) = NonNull::new(raw.cast::<u32>()) else { handle_alloc_error(layout) };
        let head = (size as u32) << SIZE_SHIFT | if run { RUN } else { 0 } | if key { KEY } else { 0 };
        // SAFETY: freshly allocated and aligned.
        unsafe { raw.write(head) };
        tally.nodes += 1;
        tally.bytes += size_class(bytes);
        Node(raw, PhantomData)
    }

    /// Gives the memory back; words are not dropped.
    ///
    /// # Safety
    /// Not the anchor, and no copy of this handle is used again.
    pub unsafe fn free(self, tally: &mut Tally) {
        let bytes = Self::bytes(self.is_run(), self.size(), self.is_key());
        tally.nodes -= 1;
        tally.bytes -= size_class(bytes);
        let layout = Layout::from_size_align(bytes, 8).expect("it was allocated with this");
        // SAFETY: alive until here, allocated by `alloc` with this very layout.
        unsafe { dealloc(self.0.as_ptr().cast(), layout) }
    }

    /// Moves the node when its slab is sparse; words and all.
    ///
    /// # Safety
    /// Not the anchor; when something comes back, no copy of this handle is used again.
    pub unsafe fn relocated(self, mover: &mut Mover) -> Option<Node<T>> {
        let bytes = Self::bytes(self.is_run(), self.size(), self.is_key());
        let layout = Layout::from_size_align(bytes, 8).expect("it was allocated with this");
        // SAFETY: allocated by `alloc` or `resized` with this very layout.
        let new = unsafe { mover.try_relocate(self.0.cast(), layout)? };
        Some(Node(new.cast(), PhantomData))
    }

    #[cfg(test)]
    pub fn mem_size(self) -> usize {
        size_class(Self::bytes(self.is_run(), self.size(), self.is_key()))
    }

    #[inline]
    fn head(self) -> u32 {
        // SAFETY: a live node starts with its head.
        unsafe { self.0.read() }
    }

    fn set_head_bit(self, bit: u32, on: bool) {
        let head = if on { self.head() | bit } else { self.head() & !bit };
        // SAFETY: as in `head`; no reference to the head exists, since `head` returns a copy.
        unsafe { self.0.write(head) }
    }

    #[inline]
    fn at(self, offset: usize) -> *mut u8 {
        // SAFETY: callers pass offsets inside the node.
        unsafe { self.0.as_ptr().cast::<u8>().add(offset) }
    }

    #[inline]
    pub fn is_run(self) -> bool {
        self.head() & RUN != 0
    }

    /// Whether a key ends where this node starts.
    #[inline]
    pub fn is_key(self) -> bool {
        self.head() & KEY != 0
    }

    #[inline]
    pub fn size(self) -> usize {
        (self.head() >> SIZE_SHIFT) as usize
    }

    /// Links: one of a run, but for an empty tree's anchor, and one per char of a branch.
    #[inline]
    pub fn children(self) -> usize {
        if self.is_run() { usize::from(self.head() & EMPTY == 0) } else { self.size() }
    }

    #[inline]
    pub fn chars<'a>(self) -> &'a [u8] {
        // SAFETY: `size` chars follow the head; callers are done with them before they change the node.
        unsafe { std::slice::from_raw_parts(self.at(size_of::<u32>()), self.size()) }
    }

    /// The chars that lead to a child.
    #[inline]
    pub fn edge<'a>(self, child: usize) -> &'a [u8] {
        if self.is_run() { self.chars() } else { &self.chars()[child..=child] }
    }

    #[inline]
    pub fn slot(self, at: usize) -> Slot<T> {
        debug_assert!(at < if self.is_run() { 1 } else { self.size() });
        Slot { holder: self, at }
    }

    #[inline]
    fn links(self) -> *mut Word {
        self.at(links_at(self.is_run(), self.size())).cast()
    }

    /// Where the value of the key that ends here lives.
    #[inline]
    pub fn value_ptr(self) -> *mut T {
        debug_assert!(self.is_key());
        if Self::VALUE == 0 {
            return NonNull::dangling().as_ptr();
        }
        // SAFETY: a key node has a word behind its links.
        unsafe { self.links().add(if self.is_run() { 1 } else { self.size() }) }.cast()
    }

    /// The value's word, if a key ends here. It is a copy: a caller that keeps it must free the node, or
    /// take the word from it, since a value has one owner.
    pub fn value(self) -> Option<Word> {
        self.is_key().then(|| {
            let mut word = Word::uninit();
            // SAFETY: both places hold a `T` at least, and a `T` without size copies nothing.
            unsafe { ptr::copy_nonoverlapping(self.value_ptr(), word.as_mut_ptr().cast::<T>(), 1) };
            word
        })
    }

    fn put_value(self, value: Option<Word>) {
        debug_assert_eq!(self.is_key(), value.is_some());
        if let Some(word) = value {
            // SAFETY: as in `value`.
            unsafe { ptr::copy_nonoverlapping(word.as_ptr().cast::<T>(), self.value_ptr(), 1) };
        }
    }

    /// A run that spells `a` and then `b`.
    pub fn run(a: &[u8], b: &[u8], link: Link<T>, value: Option<Word>, tally: &mut Tally) -> Node<T> {
        let node = Self::alloc(true, a.len() + b.len(), value.is_some(), tally);
        // SAFETY: `alloc` made room for both.
        unsafe {
            let chars = node.at(size_of::<u32>());
            ptr::copy_nonoverlapping(a.as_ptr(), chars, a.len());
            ptr::copy_nonoverlapping(b.as_ptr(), chars.add(a.len()), b.len());
        }
        node.slot(0).set(link);
        node.put_value(value);
        node
    }

    /// A branch of two.
    pub fn fork(a: (u8, Link<T>), b: (u8, Link<T>), value: Option<Word>, tally: &mut Tally) -> Node<T> {
        debug_assert_ne!(a.0, b.0);
        let node = Self::alloc(false, 2, value.is_some(), tally);
        node.put_leaf_bits(LeafBits::default());
        let (a, b) = if a.0 < b.0 { (a, b) } else { (b, a) };
        for (at, (char, link)) in [a, b].into_iter().enumerate() {
            node.put_child(at, char, link);
        }
        node.put_value(value);
        node
    }

    fn put_child(self, at: usize, char: u8, link: Link<T>) {
        assert!(at < self.size());
        // SAFETY: the char exists.
        unsafe { self.at(size_of::<u32>() + at).write(char) };
        self.slot(at).set(link);
    }

    /// The same branch with a child more, at its place in the order.
    ///
    /// # Safety
    /// Ends this handle.
    pub unsafe fn with_child(self, char: u8, link: Link<T>, tally: &mut Tally) -> Node<T> {
        let at = self.chars().partition_point(|&c| c < char);
        debug_assert!(!self.is_run() && self.chars().get(at) != Some(&char));
        let (size, key) = (self.size(), self.is_key());
        let leaves = self.leaf_bits().opened(at);
        // SAFETY: the caller uses the new handle from here on.
        let node = unsafe {
            self.resized(Self::bytes(false, size, key), Self::bytes(false, size + 1, key), tally)
        };
        // From the back, as everything moves towards it.
        let (from, to) = (node.links_of(size), node.links_of(size + 1));
        // SAFETY: both layouts lie inside the node, which has the size of the larger.
        unsafe {
            ptr::copy(from.add(at), to.add(at + 1), size - at + usize::from(key && Self::VALUE != 0));
            ptr::copy(from, to, at);
            let chars = node.at(size_of::<u32>());
            ptr::copy(chars.add(at), chars.add(at + 1), size - at);
        }
        node.set_size(size + 1);
        node.put_leaf_bits(leaves);
        node.put_child(at, char, link);
        node
    }

    /// The same branch without one of its children, of which it has more than two.
    ///
    /// # Safety
    /// Ends this handle. What hung from the link is the caller's.
    pub unsafe fn without_child(self, at: usize, tally: &mut Tally) -> Node<T> {
        debug_assert!(!self.is_run() && at < self.size() && self.size() > 2);
        let (size, key) = (self.size(), self.is_key());
        let leaves = self.leaf_bits().closed(at);
        let (from, to) = (self.links_of(size), self.links_of(size - 1));
        // From the front, as everything moves towards it.
        // SAFETY: both layouts lie inside the node, which has the size of the larger.
        unsafe {
            let chars = self.at(size_of::<u32>());
            ptr::copy(chars.add(at + 1), chars.add(at), size - at - 1);
            ptr::copy(from, to, at);
            ptr::copy(
                from.add(at + 1),
                to.add(at),
                size - at - 1 + usize::from(key && Self::VALUE != 0),
            );
        }
        self.set_size(size - 1);
        self.put_leaf_bits(leaves);
        // SAFETY: the caller uses the new handle from here on.
        unsafe { self.resized(Self::bytes(false, size, key), Self::bytes(false, size - 1, key), tally) }
    }

    /// The same bytes, as many as fit, in an allocation of another size: often the same one, since the
    /// allocator's classes are wide where nodes are.
    ///
    /// # Safety
    /// Ends this handle. `old` is the size it was allocated with.
    unsafe fn resized(self, old: usize, new: usize, tally: &mut Tally) -> Node<T> {
        let layout = |bytes| Layout::from_size_align(bytes, 8).expect("far from half the address space");
        // SAFETY: allocated with the old size; the new one is not zero, for it holds a head.
        let raw = unsafe { realloc(self.0.as_ptr().cast(), layout(old), new) };
        let Some(raw) = NonNull::new(raw.cast::<u32>()) else { handle_alloc_error(layout(new)) };
        tally.bytes = tally.bytes + size_class(new) - size_class(old);
        Node(raw, PhantomData)
    }

    fn set_size(self, size: usize) {
        debug_assert!(size <= 256);
        let head = self.head() & !(u32::MAX << SIZE_SHIFT) | (size as u32) << SIZE_SHIFT;
        // SAFETY: as in `head`; no reference to the head exists, since `head` returns a copy.
        unsafe { self.0.write(head) }
    }

    /// Where the links of a branch of `size` begin.
    fn links_of(self, size: usize) -> *mut Word {
        self.at(links_at(false, size)).cast()
    }

    fn leaf_bits(self) -> LeafBits {
        let size = self.size();
        let mut bytes = [0; 32];
        // SAFETY: a branch has its leaf bits behind its chars, 32 bytes at most.
        unsafe {
            let bits = self.at(size_of::<u32>() + size);
            ptr::copy_nonoverlapping(bits, bytes.as_mut_ptr(), size.div_ceil(8));
        }
        LeafBits::from_bytes(bytes)
    }

    fn put_leaf_bits(self, leaves: LeafBits) {
        let size = self.size();
        let bytes = leaves.to_bytes();
        // SAFETY: as in `leaf_bits`.
        unsafe {
            let bits = self.at(size_of::<u32>() + size);
            ptr::copy_nonoverlapping(bytes.as_ptr(), bits, size.div_ceil(8));
        }
    }

    /// The same node, with this value or without one.
    ///
    /// # Safety
    /// Ends this handle. A value it had is the caller's.
    pub unsafe fn with_value(self, value: Option<Word>, tally: &mut Tally) -> Node<T> {
        let (run, size) = (self.is_run(), self.size());
        let node = Self::alloc(run, size, value.is_some(), tally);
        let bytes = Self::bytes(run, size, false) - size_of::<u32>();
        // SAFETY: nodes of one kind and size are the same up to the value, but for KEY in the head.
        unsafe {
            ptr::copy_nonoverlapping(self.at(size_of::<u32>()), node.at(size_of::<u32>()), bytes);
        }
        node.set_head_bit(LEAF, self.head() & LEAF != 0);
        node.put_value(value);
        // SAFETY: the caller uses the new handle from here on.
        unsafe { self.free(tally) };
        node
    }
}

impl<T> Slot<T> {
    #[inline]
    fn word(self) -> *mut Word {
        // SAFETY: slots are made for children that exist, or the anchor's one.
        unsafe { self.holder.links().add(self.at) }
    }

    /// The byte and the mask of a branch's leaf bit.
    #[inline]
    fn leaf_bit(self) -> (*mut u8, u8) {
        let at = size_of::<u32>() + self.holder.size() + self.at / 8;
        (self.holder.at(at), 1 << (self.at % 8))
    }

    #[inline]
    pub fn link(self) -> Link<T> {
        let head = self.holder.head();
        let leaf = if head & RUN != 0 {
            if head & EMPTY != 0 {
                return Link::Empty;
            }
            head & LEAF != 0
        } else {
            let (byte, mask) = self.leaf_bit();
            // SAFETY: a branch has a leaf bit for each child.
            unsafe { byte.read() & mask != 0 }
        };
        // SAFETY: the link was set; where it is no leaf its word is the address of a live node.
        unsafe {
            let word = self.word().read();
            if leaf { Link::Leaf(word) } else { Link::Node(Node(word_to_node(word), PhantomData)) }
        }
    }

    /// Overwrites the link. What hung from it is the caller's.
    pub fn set(self, link: Link<T>) {
        let (leaf, word) = match link {
            Link::Empty => (false, Word::uninit()),
            Link::Leaf(word) => (true, word),
            Link::Node(node) => (false, word_of(node.0)),
        };
        if self.holder.is_run() {
            self.holder.set_head_bit(LEAF, leaf);
            self.holder.set_head_bit(EMPTY, matches!(link, Link::Empty));
        } else {
            let (byte, mask) = self.leaf_bit();
            // SAFETY: a branch has a leaf bit for each child.
            unsafe { byte.write(if leaf { byte.read() | mask } else { byte.read() & !mask }) };
        }
        // SAFETY: the slot exists.
        unsafe { self.word().write(word) };
    }

    /// Where the value of a leaf lives.
    #[inline]
    pub fn value_ptr(self) -> *mut T {
        debug_assert!(matches!(self.link(), Link::Leaf(_)));
        self.word().cast()
    }
}

/// # Safety
/// The word was made of a node's address.
unsafe fn word_to_node(word: Word) -> NonNull<u32> {
    // SAFETY: the caller's promise.
    unsafe { value_of(word) }
}

/// The leaf bits of the widest branch, child 0 lowest.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct LeafBits {
    low: u128,
    high: u128,
}

impl LeafBits {
    fn from_bytes(bytes: [u8; 32]) -> LeafBits {
        let half = |at: usize| {
            let half: [u8; 16] = bytes[at..at + 16].try_into().expect("sixteen of 32");
            u128::from_le_bytes(half)
        };
        LeafBits { low: half(0), high: half(16) }
    }

    fn to_bytes(self) -> [u8; 32] {
        let mut bytes = [0; 32];
        bytes[..16].copy_from_slice(&self.low.to_le_bytes());
        bytes[16..].copy_from_slice(&self.high.to_le_bytes());
        bytes
    }

    /// With a zero put in at `at`.
    fn opened(self, at: usize) -> LeafBits {
        let LeafBits { low, high } = self;
        if at < 128 {
            let below = (1 << at) - 1;
            LeafBits { low: low & below | (low & !below) << 1, high: high << 1 | low >> 127 }
        } else {
            let below = (1 << (at - 128)) - 1;
            LeafBits { low, high: high & below | (high & !below) << 1 }
        }
    }

    /// With the bit at `at` taken out.
    fn closed(self, at: usize) -> LeafBits {
        let LeafBits { low, high } = self;
        if at < 128 {
            let below = (1 << at) - 1;
            LeafBits { low: low & below | low >> 1 & !below | high << 127, high: high >> 1 }
        } else {
            let below = (1 << (at - 128)) - 1;
            LeafBits { low, high: high & below | high >> 1 & !below }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ds::prop::Source;

    #[test]
    fn leaf_bits_open_and_close_like_a_list() {
        let mut source = Source::seeded(5);
        let mut bits = LeafBits::default();
        let mut twin: Vec<bool> = Vec::new();
        for _ in 0..4000 {
            if twin.len() < 256 && source.below(5) < 3 {
                let at = source.below(twin.len() + 1);
                bits = bits.opened(at);
                twin.insert(at, false);
            } else if !twin.is_empty() {
                let at = source.below(twin.len());
                bits = bits.closed(at);
                twin.remove(at);
            }
            if !twin.is_empty() {
                let at = source.below(twin.len());
                let mut bytes = bits.to_bytes();
                bytes[at / 8] ^= 1 << (at % 8);
                bits = LeafBits::from_bytes(bytes);
                twin[at] ^= true;
            }
            let mut want = [0; 32];
            twin.iter().enumerate().for_each(|(at, &on)| want[at / 8] |= u8::from(on) << (at % 8));
            assert_eq!(bits.to_bytes(), want);
        }
    }
}
