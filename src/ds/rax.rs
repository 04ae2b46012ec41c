//! A radix tree from byte strings to values, ordered: the index of a stream's blocks by ID, of pending
//! entries, of consumers and groups by name.
//!
//! ```text
//!   keys foo = 1, foobar = 2, footer = 3
//!
//!   anchor -> run "foo" -> branch "bt", value 1
//!                            b -> run "ar" -> 2
//!                            t -> run "er" -> 3
//! ```
//!
//! A vertex with one child, where no key ends, is spelled into a run; where the tree forks stands a
//! branch (`node.rs` has the layouts). A key with nothing below it has no node: its value sits in the
//! link that leads to it, where upstream has a node of 16 bytes and another line of cache to fetch.
//!
//! # Invariants (checked by `check` in the tests)
//!
//! - A branch has two children at least, ascending by char. A run has a char at least, and one child.
//! - Below a run comes a branch, a leaf, or a run where a key ends. So the shape follows from the set of
//!   keys, whatever was done to reach it. (Only runs of 2^28 chars break this: they go on below.)
//! - `node_count` is what upstream counts for the same tree where no key is a prefix of another, and
//!   XINFO STREAM shows: one for the root, each key, each fork and each child of a fork.
//!
//! # Iteration and change
//!
//! [`Iter`] borrows the tree. A caller that changes the tree while walking it keeps the [`Key`] instead and
//! seeks again, which costs a descent and no allocation for keys of up to 32 bytes:
//!
//! ```
//! use oxidis::ds::rax::{Rax, Seek};
//! let mut tree: Rax<usize> = [(&b"a"[..], 1), (b"b", 2), (b"c", 3)].into_iter().collect();
//! let mut at = tree.seek_key_mut(Seek::Gt(b"a"));
//! while let Some((key, value)) = at {
//!     *value += 1;
//!     if *value == 3 {
//!         tree.remove(&key);
//!     }
//!     at = tree.seek_key_mut(Seek::Gt(&key));
//! }
//! assert_eq!((tree.find(b"b"), tree.find(b"c")), (None, Some(&4)));
//! ```
//!
//! # Memory
//!
//! An entry of a dense stretch of IDs that differ in their milliseconds costs 9 bytes of its branch and
//! 24 of its run over the sequence number, 34 in all; upstream takes 50. A consumer's `Rax<()>` keeps no
//! values at all.
//!
//! # How to extend
//!
//! A change of shape builds new nodes, stores the topmost in the slot where the old one hung, frees what
//! it replaced and lets `fuse` join runs, lowest first, for a slot dies with the node that holds it.

mod iter;
mod node;
mod small;
#[cfg(test)]
mod tests;

pub use iter::{Iter, Key, Seek};

use crate::sys::defrag::Mover;
use iter::Walk;
use node::{Anchor, Link, MAX_RUN, Node, Slot, Tally, Word, value_of, word_of};
use std::fmt;
use std::marker::PhantomData;
use std::mem;

/// The tree. `T` is a word at most: a box, a number, or nothing.
pub struct Rax<T> {
    anchor: Anchor,
    len: usize,
    tally: Tally,
    owns: PhantomData<T>,
}

const _: () = assert!(size_of::<Rax<usize>>() == 40);

// SAFETY: the tree owns its nodes and values; nothing in it is shared.
unsafe impl<T: Send> Send for Rax<T> {}
// SAFETY: a shared borrow of the tree gives shared borrows of values, and changes nothing.
unsafe impl<T: Sync> Sync for Rax<T> {}

/// Where a key's way through the tree ends.
struct Stop<T> {
    slot: Slot<T>,
    /// Bytes of the key that lead to the slot.
    taken: usize,
    /// Further bytes that agree with the run in the slot, fewer than it has.
    inside: usize,
}

/// A fork or a key's node on the way to a leaf: what remains when the leaf goes.
struct Keep<T> {
    /// Where the node hangs.
    slot: Slot<T>,
    /// Where the node hangs that holds that slot.
    above: Option<Slot<T>>,
    /// The child that the leaf is under.
    child: usize,
}

impl<T> Default for Rax<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T> Rax<T> {
    pub const fn new() -> Rax<T> {
        let tally = Tally { nodes: 0, bytes: 0 };
        Rax { anchor: Anchor::new(), len: 0, tally, owns: PhantomData }
    }

    pub fn len(&self) -> usize {
        self.len
    }

    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Nodes in upstream's unit: a key without descendants counts, and so does an empty root.
    pub fn node_count(&self) -> usize {
        self.tally.nodes.max(1)
    }

    /// Bytes of this structure and its nodes; what boxed values hold besides is not known here.
    pub fn mem_size(&self) -> usize {
        size_of::<Self>() + self.tally.bytes
    }

    fn anchor(&self) -> Node<T> {
        Node::anchor(&raw const self.anchor)
    }

    fn anchor_mut(&mut self) -> Node<T> {
        Node::anchor((&raw mut self.anchor).cast_const())
    }

    pub fn find(&self, key: &[u8]) -> Option<&T> {
        let value = value_at(walk(self.anchor(), key), key)?;
        // SAFETY: a live value of this tree, borrowed with it.
        Some(unsafe { &*value })
    }

    pub fn find_mut(&mut self, key: &[u8]) -> Option<&mut T> {
        let value = value_at(walk(self.anchor_mut(), key), key)?;
        // SAFETY: a live value of this tree, borrowed with it.
        Some(unsafe { &mut *value })
    }

    pub fn contains(&self, key: &[u8]) -> bool {
        self.find(key).is_some()
    }

    /// Shows the values of all keys that `key` begins with, itself included, shortest first.
    pub fn each_beginning_of(&mut self, key: &[u8], mut f: impl FnMut(&mut T)) {
        let (mut slot, mut taken) = (self.anchor_mut().slot(0), 0);
        loop {
            let ends_here = match slot.link() {
                Link::Empty => return,
                Link::Leaf(_) => Some(slot.value_ptr()),
                Link::Node(node) => node.is_key().then(|| node.value_ptr()),
            };
            if let Some(value) = ends_here {
                // SAFETY: a live value of this tree, borrowed with it, and the next one is another.
                f(unsafe { &mut *value });
            }
            let Link::Node(node) = slot.link() else { return };
            let Some(child) = child_under(node, &key[taken..]) else { return };
            taken += node.edge(child).len();
            slot = node.slot(child);
        }
    }

    /// Sets a key's value and gives the one it had.
    pub fn insert(&mut self, key: &[u8], value: T) -> Option<T> {
        match self.try_insert(key, value) {
            Ok(()) => None,
            Err(value) => {
                let old = self.find_mut(key).expect("it is in the way");
                Some(mem::replace(old, value))
            }
        }
    }

    /// Adds a key that is not there yet, or gives the value back.
    pub fn try_insert(&mut self, key: &[u8], value: T) -> Result<(), T> {
        let stop = walk(self.anchor_mut(), key);
        let Stop { slot, taken, inside } = stop;
        let rest = &key[taken..];
        let tally = &mut self.tally;
        match slot.link() {
            Link::Empty => slot.set(tail(rest, None, value, tally)),
            Link::Leaf(_) if rest.is_empty() => return Err(value),
            Link::Leaf(old) => {
                tally.nodes -= 1;
                slot.set(tail(rest, Some(old), value, tally));
            }
            Link::Node(node) if inside < rest.len() => {
                let top = if node.is_run() {
                    fork_run(node, inside, rest, value, tally)
                } else {
                    let link = tail(&rest[1..], None, value, tally);
                    // SAFETY: the only lasting copy of the handle is in the slot, overwritten below.
                    unsafe { node.with_child(rest[0], link, tally) }
                };
                slot.set(Link::Node(top));
            }
            Link::Node(node) if inside > 0 => {
                let below = Node::run(
                    &node.chars()[inside..],
                    &[],
                    node.slot(0).link(),
                    Some(word_of(value)),
                    tally,
                );
                let top =
                    Node::run(&node.chars()[..inside], &[], Link::Node(below), node.value(), tally);
                slot.set(Link::Node(top));
                // SAFETY: its words moved to the new nodes, and the slot forgot it.
                unsafe { node.free(tally) };
            }
            Link::Node(node) if node.is_key() => return Err(value),
            Link::Node(node) => {
                // SAFETY: the only lasting copy of the handle is in the slot, overwritten here.
                slot.set(Link::Node(unsafe { node.with_value(Some(word_of(value)), tally) }));
            }
        }
        self.len += 1;
        Ok(())
    }

    /// Takes a key out.
    pub fn remove(&mut self, key: &[u8]) -> Option<T> {
        let (mut slot, mut rest) = (self.anchor_mut().slot(0), key);
        let (mut above, mut keep) = (None, None);
        let word = loop {
            match slot.link() {
                Link::Empty => return None,
                Link::Leaf(word) if rest.is_empty() => {
                    self.drop_leaf(keep);
                    break word;
                }
                Link::Leaf(_) => return None,
                Link::Node(node) if rest.is_empty() => {
                    let word = node.value()?;
                    self.drop_value(node, slot, above);
                    break word;
                }
                Link::Node(node) => {
                    let child = child_under(node, rest)?;
                    if node.is_key() || !node.is_run() {
                        keep = Some(Keep { slot, above, child });
                    }
                    rest = &rest[node.edge(child).len()..];
                    above = Some(slot);
                    slot = node.slot(child);
                }
            }
        };
        self.len -= 1;
        // SAFETY: the word was a value of this tree, and no node has it any more.
        Some(unsafe { value_of(word) })
    }

    /// The node in `slot` is no key's any more.
    fn drop_value(&mut self, node: Node<T>, slot: Slot<T>, above: Option<Slot<T>>) {
        // SAFETY: the only lasting copy of the handle is in the slot, overwritten here.
        slot.set(Link::Node(unsafe { node.with_value(None, &mut self.tally) }));
        if let Some(above) = above {
            self.fuse(above);
        }
    }

    /// Removes the leaf below `keep`, and the runs that lead to nothing else.
    fn drop_leaf(&mut self, keep: Option<Keep<T>>) {
        let Some(Keep { slot, above, child }) = keep else {
            let root = self.anchor_mut().slot(0);
            self.drop_chain(root.link());
            root.set(Link::Empty);
            return;
        };
        let Link::Node(node) = slot.link() else { unreachable!("a fork is a node") };
        self.drop_chain(node.slot(child).link());
        let tally = &mut self.tally;
        if node.is_run() {
            slot.set(Link::Leaf(node.value().expect("a run is kept for its key")));
            tally.nodes += 1;
            // SAFETY: its value moved to the slot, which forgot it; its child is gone.
            unsafe { node.free(tally) };
        } else if node.size() > 2 {
            // SAFETY: the only lasting copy of the handle is in the slot, overwritten here.
            slot.set(Link::Node(unsafe { node.without_child(child, tally) }));
        } else {
            let other = 1 - child;
            let run = Node::run(node.edge(other), &[], node.slot(other).link(), node.value(), tally);
            slot.set(Link::Node(run));
            // SAFETY: its words moved to the run, and the slot forgot it.
            unsafe { node.free(tally) };
            self.fuse(slot);
            if let Some(above) = above {
                self.fuse(above);
            }
        }
    }

    /// Frees runs down to a leaf; the leaf's value is the caller's.
    fn drop_chain(&mut self, mut link: Link<T>) {
        while let Link::Node(node) = link {
            debug_assert!(node.is_run() && !node.is_key());
            link = node.slot(0).link();
            // SAFETY: the caller overwrites the slot that the chain hangs from.
            unsafe { node.free(&mut self.tally) };
        }
        self.tally.nodes -= 1;
    }

    /// Joins the run in `slot` with a run below it, if no key ends between them.
    fn fuse(&mut self, slot: Slot<T>) {
        let Link::Node(upper) = slot.link() else { return };
        if !upper.is_run() {
            return;
        }
        let Link::Node(lower) = upper.slot(0).link() else { return };
        if !lower.is_run() || lower.is_key() || upper.size() + lower.size() > MAX_RUN {
            return;
        }
        let link = lower.slot(0).link();
        let run = Node::run(upper.chars(), lower.chars(), link, upper.value(), &mut self.tally);
        slot.set(Link::Node(run));
        // SAFETY: their words moved to the new run, and the slot forgot them.
        unsafe {
            upper.free(&mut self.tally);
            lower.free(&mut self.tally);
        }
    }

    /// A walk that stands before the first key; [`Iter::seek`] moves it.
    pub fn iter(&self) -> Iter<'_, T> {
        Iter::new(self)
    }

    /// One look without a walk: the key that `seek` names, and its value.
    pub fn seek_key(&self, seek: Seek<'_>) -> Option<(Key, &T)> {
        let mut walk = Walk::new(self.anchor());
        walk.seek(seek);
        let value = walk.value_ptr()?;
        // SAFETY: a live value of this tree, borrowed with it.
        Some((walk.into_key(), unsafe { &*value }))
    }

    /// The same, to change the value, or then the tree: what is returned holds the key by value.
    pub fn seek_key_mut(&mut self, seek: Seek<'_>) -> Option<(Key, &mut T)> {
        let mut walk = Walk::new(self.anchor_mut());
        walk.seek(seek);
        let value = walk.value_ptr()?;
        // SAFETY: a live value of this tree, borrowed with it.
        Some((walk.into_key(), unsafe { &mut *value }))
    }

    /// Moves nodes out of sparse slabs on the way to `n` keys from `from` on, and shows each of these values
    /// to `f`. The key to go on with; None at the end.
    pub fn defrag(
        &mut self,
        from: &[u8],
        n: usize,
        mover: &mut Mover,
        mut f: impl FnMut(&mut T, &mut Mover),
    ) -> Option<Key> {
        let mut walk = Walk::new(self.anchor_mut());
        if !walk.seek(Seek::Ge(from)) {
            return None;
        }
        // SAFETY: `&mut self`, and the walk is the only one.
        unsafe { walk.move_path(mover) };
        for _ in 0..n {
            let value = walk.value_ptr()?;
            // SAFETY: a live value of this tree, borrowed with it; the walk stands still meanwhile.
            f(unsafe { &mut *value }, mover);
            // SAFETY: as above.
            if !unsafe { walk.up_moving(mover) } {
                return None;
            }
        }
        Some(walk.into_key())
    }

    pub fn first(&self) -> Option<(Key, &T)> {
        self.seek_key(Seek::First)
    }

    pub fn last(&self) -> Option<(Key, &T)> {
        self.seek_key(Seek::Last)
    }
}

impl<T> Drop for Rax<T> {
    fn drop(&mut self) {
        let mut waiting = vec![self.anchor_mut().slot(0).link()];
        while let Some(link) = waiting.pop() {
            match link {
                Link::Empty => {}
                // SAFETY: each value is reached once, and nothing is read after it.
                Link::Leaf(word) => drop(unsafe { value_of::<T>(word) }),
                Link::Node(node) => {
                    waiting.extend((0..node.children()).map(|at| node.slot(at).link()));
                    let word = node.value();
                    // SAFETY: each node is reached once; its words are copied out.
                    unsafe { node.free(&mut self.tally) };
                    // SAFETY: as for a leaf.
                    drop(word.map(|word| unsafe { value_of::<T>(word) }));
                }
            }
        }
    }
}

impl<'k, T> FromIterator<(&'k [u8], T)> for Rax<T> {
    fn from_iter<I: IntoIterator<Item = (&'k [u8], T)>>(pairs: I) -> Self {
        let mut tree = Rax::new();
        for (key, value) in pairs {
            tree.insert(key, value);
        }
        tree
    }
}

impl<T: fmt::Debug> fmt::Debug for Rax<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut map = f.debug_map();
        let mut iter = self.iter();
        while let Some((key, value)) = iter.next() {
            map.entry(&format_args!("\"{}\"", key.escape_ascii()), value);
        }
        map.finish()
    }
}

/// Follows a key from the anchor as far as the tree agrees with it.
#[inline]
fn walk<T>(anchor: Node<T>, key: &[u8]) -> Stop<T> {
    let (mut slot, mut taken) = (anchor.slot(0), 0);
    loop {
        let Link::Node(node) = slot.link() else { return Stop { slot, taken, inside: 0 } };
        let rest = &key[taken..];
        match child_under(node, rest) {
            Some(child) => {
                taken += node.edge(child).len();
                slot = node.slot(child);
            }
            None => {
                let inside = if node.is_run() { common_prefix(node.chars(), rest) } else { 0 };
                return Stop { slot, taken, inside };
            }
        }
    }
}

/// The child whose whole edge the key goes along.
#[inline]
fn child_under<T>(node: Node<T>, rest: &[u8]) -> Option<usize> {
    if node.is_run() {
        return rest.starts_with(node.chars()).then_some(0);
    }
    memchr::memchr(*rest.first()?, node.chars())
}

/// The value of a key whose way ended here, if the key did, too.
#[inline]
fn value_at<T>(stop: Stop<T>, key: &[u8]) -> Option<*mut T> {
    if stop.taken != key.len() {
        return None;
    }
    match stop.slot.link() {
        Link::Empty => None,
        Link::Leaf(_) => Some(stop.slot.value_ptr()),
        Link::Node(node) => node.is_key().then(|| node.value_ptr()),
    }
}

/// What hangs from a slot when `rest` goes on alone: runs, and the value in the last link. `head` is the
/// value of a key that ends at the slot itself, and then there is a rest.
fn tail<T>(rest: &[u8], head: Option<Word>, value: T, tally: &mut Tally) -> Link<T> {
    debug_assert!(head.is_none() || !rest.is_empty());
    tally.nodes += 1;
    let mut link = Link::Leaf(word_of(value));
    let mut left = rest.len();
    for run in rest.rchunks(MAX_RUN) {
        left -= run.len();
        link = Link::Node(Node::run(run, &[], link, if left == 0 { head } else { None }, tally));
    }
    link
}

/// Splits a run after `inside` chars, where a key that goes on with `rest` leaves it. Ends `node`.
fn fork_run<T>(node: Node<T>, inside: usize, rest: &[u8], value: T, tally: &mut Tally) -> Node<T> {
    let chars = node.chars();
    let old = match &chars[inside + 1..] {
        [] => node.slot(0).link(),
        below => Link::Node(Node::run(below, &[], node.slot(0).link(), None, tally)),
    };
    let new = tail(&rest[inside + 1..], None, value, tally);
    // The value of the key that ends where the run starts stays at the top.
    let (at_fork, at_prefix) = if inside == 0 { (node.value(), None) } else { (None, node.value()) };
    let mut split = Node::fork((chars[inside], old), (rest[inside], new), at_fork, tally);
    if inside > 0 {
        split = Node::run(&chars[..inside], &[], Link::Node(split), at_prefix, tally);
    }
    // SAFETY: its words moved to the new nodes, and the caller overwrites the slot it hung from.
    unsafe { node.free(tally) };
    split
}

/// How many bytes two strings agree on.
#[inline]
fn common_prefix(a: &[u8], b: &[u8]) -> usize {
    a.iter().zip(b).take_while(|(a, b)| a == b).count()
}
