//! Ordered walks: a stack of nodes, the key spelled so far, and a spot in the topmost node.
//!
//! ```text
//!   stack   (anchor, 0) (node, child) (node, child) (node, ..)
//!   key     the edges of all children named on the stack
//!   spot    Own: at the key that ends where the top node starts
//!           Leaf(i): at the leaf that is child i of the top node; its edge is in the key, too
//!           Gap(i): between the children i - 1 and i, where nothing is; a seek that missed stops here
//! ```
//!
//! Every seek goes down to its spot and then, unless it hit, one step up or down the order; a step first
//! turns its spot into the gap beside it. So there is one way forth, `gap_up`, and one way back.

use super::node::{Link, Node, Slot};
use super::small::Small;
use super::{Rax, common_prefix};
use crate::sys::defrag::Mover;
use std::fmt;
use std::marker::PhantomData;
use std::ops::Deref;

/// Where a walk begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Seek<'k> {
    /// `^`
    First,
    /// `$`
    Last,
    /// `=`
    Eq(&'k [u8]),
    /// `>=`
    Ge(&'k [u8]),
    /// `>`
    Gt(&'k [u8]),
    /// `<=`
    Le(&'k [u8]),
    /// `<`
    Lt(&'k [u8]),
}

/// A key by value, without an allocation up to 32 bytes.
#[derive(Clone)]
pub struct Key(Small<u8, 32>);

impl Deref for Key {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.0
    }
}

impl AsRef<[u8]> for Key {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{}\"", self.0.escape_ascii())
    }
}

struct Frame<T> {
    node: Node<T>,
    /// The child the walk is under; of the top frame, see `spot`.
    child: usize,
}

impl<T> Clone for Frame<T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for Frame<T> {}

#[derive(Clone, Copy, PartialEq)]
enum Spot {
    Own,
    Leaf(usize),
    Gap(usize),
    /// Past either end: nothing more comes in any direction.
    End,
}

/// A walk without a borrow; its users know that the tree stands still.
pub(super) struct Walk<T> {
    stack: Small<Frame<T>, 24>,
    key: Small<u8, 32>,
    spot: Spot,
}

impl<T> Walk<T> {
    pub fn new(anchor: Node<T>) -> Walk<T> {
        let bottom = Frame { node: anchor, child: 0 };
        let mut stack = Small::new();
        stack.push(bottom);
        Walk { stack, key: Small::new(), spot: Spot::Gap(0) }
    }

    pub fn into_key(self) -> Key {
        Key(self.key)
    }

    fn top(&self) -> Node<T> {
        self.stack.last().expect("the anchor is always there").node
    }

    /// The value at the spot.
    pub fn value_ptr(&self) -> Option<*mut T> {
        match self.spot {
            Spot::Own => Some(self.top().value_ptr()),
            Spot::Leaf(at) => Some(self.top().slot(at).value_ptr()),
            Spot::Gap(_) | Spot::End => None,
        }
    }

    /// Goes where `seek` says; false if there is no such key.
    pub fn seek(&mut self, seek: Seek<'_>) -> bool {
        self.stack.truncate(1);
        self.key.truncate(0);
        match seek {
            Seek::First => {
                self.spot = Spot::Gap(0);
                self.up()
            }
            Seek::Last => {
                self.spot = Spot::Gap(self.top().children());
                self.down()
            }
            Seek::Eq(key) => {
                if !self.approach(key) {
                    self.spot = Spot::End;
                }
                self.spot != Spot::End
            }
            Seek::Ge(key) => self.approach(key) || self.up(),
            Seek::Gt(key) => {
                self.approach(key);
                self.up()
            }
            Seek::Le(key) => self.approach(key) || self.down(),
            Seek::Lt(key) => {
                self.approach(key);
                self.down()
            }
        }
    }

    /// Goes to the key, true, or to the gap where it would be.
    fn approach(&mut self, mut rest: &[u8]) -> bool {
        loop {
            let node = self.top();
            // The anchor starts nowhere: no key ends at it, and the empty key is below it.
            let anchor = self.stack.len() == 1;
            if rest.is_empty() && !anchor {
                self.spot = if node.is_key() { Spot::Own } else { Spot::Gap(0) };
                return node.is_key();
            }
            let child = match child_for(node, rest) {
                Ok(child) => child,
                Err(gap) => {
                    self.spot = Spot::Gap(gap);
                    return false;
                }
            };
            let edge = node.edge(child);
            rest = &rest[edge.len()..];
            match node.slot(child).link() {
                Link::Empty => unreachable!("a child that was found is not empty"),
                Link::Node(below) => self.enter(child, below),
                Link::Leaf(_) if rest.is_empty() => {
                    self.key.extend(edge);
                    self.spot = Spot::Leaf(child);
                    return true;
                }
                Link::Leaf(_) => {
                    self.spot = Spot::Gap(child + 1);
                    return false;
                }
            }
        }
    }

    /// Puts the node below a child of the top one on the stack.
    fn enter(&mut self, child: usize, below: Node<T>) {
        let top = self.stack.last_mut().expect("the anchor is always there");
        top.child = child;
        let edge = top.node.edge(child);
        self.key.extend(edge);
        self.stack.push(Frame { node: below, child: 0 });
    }

    /// Takes the top node from the stack; which child of the new top it was, if it was not the anchor.
    fn leave(&mut self) -> Option<usize> {
        if self.stack.len() == 1 {
            self.spot = Spot::End;
            return None;
        }
        self.stack.pop();
        let top = self.stack.last().copied().expect("more than one frame");
        self.cut_edge(top.child);
        Some(top.child)
    }

    fn cut_edge(&mut self, child: usize) {
        let len = self.key.len() - self.top().edge(child).len();
        self.key.truncate(len);
    }

    /// To the next key; false at the end.
    pub fn up(&mut self) -> bool {
        self.gap_behind().is_some_and(|gap| self.gap_up(gap))
    }

    /// The gap behind the spot, in the topmost node.
    fn gap_behind(&mut self) -> Option<usize> {
        match self.spot {
            Spot::End => None,
            Spot::Own => Some(0),
            Spot::Gap(gap) => Some(gap),
            Spot::Leaf(at) => {
                self.cut_edge(at);
                Some(at + 1)
            }
        }
    }

    /// The same as `up`, through nodes that `mover` moves when their slabs are sparse.
    ///
    /// # Safety
    /// Nothing else looks at the tree, and no handle to its nodes is used again.
    pub unsafe fn up_moving(&mut self, mover: &mut Mover) -> bool {
        // SAFETY: by contract.
        let moves = |slot, node| unsafe { move_node(slot, node, mover) };
        self.gap_behind().is_some_and(|gap| self.gap_up_through(gap, moves))
    }

    /// Moves the nodes that the walk has come through.
    ///
    /// # Safety
    /// As for `up_moving`.
    pub unsafe fn move_path(&mut self, mover: &mut Mover) {
        for i in 1..self.stack.len() {
            let above = self.stack[i - 1];
            let slot = above.node.slot(above.child);
            // SAFETY: by contract.
            self.stack[i].node = unsafe { move_node(slot, self.stack[i].node, mover) };
        }
    }

    fn gap_up(&mut self, gap: usize) -> bool {
        self.gap_up_through(gap, |_, node| node)
    }

    /// `enters` sees each node on the way with the slot that leads to it, and says which one is there now.
    fn gap_up_through(
        &mut self,
        mut gap: usize,
        mut enters: impl FnMut(Slot<T>, Node<T>) -> Node<T>,
    ) -> bool {
        loop {
            let node = self.top();
            if gap == node.children() {
                match self.leave() {
                    Some(child) => gap = child + 1,
                    None => return false,
                }
                continue;
            }
            match node.slot(gap).link() {
                Link::Empty => unreachable!("an empty anchor has no children"),
                Link::Leaf(_) => {
                    self.key.extend(node.edge(gap));
                    self.spot = Spot::Leaf(gap);
                    return true;
                }
                Link::Node(below) => {
                    let below = enters(node.slot(gap), below);
                    self.enter(gap, below);
                    if below.is_key() {
                        self.spot = Spot::Own;
                        return true;
                    }
                    gap = 0;
                }
            }
        }
    }

    /// To the key before; false at the end.
    pub fn down(&mut self) -> bool {
        let gap = match self.spot {
            Spot::End => return false,
            Spot::Own => match self.leave() {
                Some(child) => child,
                None => return false,
            },
            Spot::Gap(gap) => gap,
            Spot::Leaf(at) => {
                self.cut_edge(at);
                at
            }
        };
        self.gap_down(gap)
    }

    fn gap_down(&mut self, mut gap: usize) -> bool {
        loop {
            let node = self.top();
            let Some(child) = gap.checked_sub(1) else {
                if node.is_key() {
                    self.spot = Spot::Own;
                    return true;
                }
                match self.leave() {
                    Some(child) => gap = child,
                    None => return false,
                }
                continue;
            };
            match node.slot(child).link() {
                Link::Empty => unreachable!("an empty anchor has no children"),
                Link::Leaf(_) => {
                    self.key.extend(node.edge(child));
                    self.spot = Spot::Leaf(child);
                    return true;
                }
                Link::Node(below) => {
                    self.enter(child, below);
                    gap = below.children();
                }
            }
        }
    }
}

/// # Safety
/// The slot leads to the node; when another comes back, the old handle is not used again.
unsafe fn move_node<T>(slot: Slot<T>, node: Node<T>, mover: &mut Mover) -> Node<T> {
    // SAFETY: by contract; only the anchor has no slot.
    let Some(new) = (unsafe { node.relocated(mover) }) else { return node };
    slot.set(Link::Node(new));
    new
}

/// The child under which a key goes on, or the gap between children where it would.
fn child_for<T>(node: Node<T>, rest: &[u8]) -> Result<usize, usize> {
    let chars = node.chars();
    if node.is_run() {
        if node.children() == 0 {
            return Err(0);
        }
        let common = common_prefix(chars, rest);
        if common == chars.len() {
            return Ok(0);
        }
        return Err(usize::from(rest.get(common).is_some_and(|&c| c > chars[common])));
    }
    let gap = chars.partition_point(|&c| c < rest[0]);
    if chars.get(gap) == Some(&rest[0]) { Ok(gap) } else { Err(gap) }
}

/// A walk over a tree that stands still. `seek` it somewhere; then the first `next` or `prev` gives the
/// element it went to, and each one after that the element beside.
pub struct Iter<'a, T> {
    walk: Walk<T>,
    /// The element at the spot has not been given out yet.
    fresh: bool,
    tree: PhantomData<&'a Rax<T>>,
}

impl<'a, T> Iter<'a, T> {
    pub(super) fn new(tree: &'a Rax<T>) -> Iter<'a, T> {
        Iter { walk: Walk::new(tree.anchor()), fresh: false, tree: PhantomData }
    }

    /// Goes somewhere else; false if there is no such key, and then nothing comes in any direction.
    pub fn seek(&mut self, seek: Seek<'_>) -> bool {
        self.fresh = self.walk.seek(seek);
        self.fresh
    }

    /// Not an `Iterator`: the key is lent from the walk's own buffer.
    #[expect(clippy::should_implement_trait, reason = "it lends, which `Iterator` cannot")]
    pub fn next(&mut self) -> Option<(&[u8], &'a T)> {
        if !std::mem::take(&mut self.fresh) {
            self.walk.up();
        }
        self.current()
    }

    pub fn prev(&mut self) -> Option<(&[u8], &'a T)> {
        if !std::mem::take(&mut self.fresh) {
            self.walk.down();
        }
        self.current()
    }

    /// The element that was given out last, or that a seek went to.
    pub fn current(&self) -> Option<(&[u8], &'a T)> {
        let value = self.walk.value_ptr()?;
        // SAFETY: the walk stands at a value of a tree that is borrowed for 'a.
        Some((&self.walk.key, unsafe { &*value }))
    }
}
