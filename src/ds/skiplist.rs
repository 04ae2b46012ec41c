//! The order of a big sorted set: by score, then by member, with ranks. In its role it is the skiplist
//! of OBJECT ENCODING; in its build it is a B+-tree that counts.
//!
//! ```text
//!   Inner            | score first child count | score first child count | ...      up to 63 children
//!                                    |                        |
//!   Leaf           | score addr | score addr | ...     | score addr | ...            up to 72 nodes
//!                            |            |
//!   node               | score len member |            and the hash table points here, too
//! ```
//!
//! Nodes (`node.rs`) are one allocation each and do not move (but by `defrag`, which tells the table): an
//! update of a score moves an address from one leaf to another. Pages (`page.rs`) repeat the scores, so
//! that a search touches a few neighbouring lines in each of three or four pages and reads a member only
//! where scores are equal.
//!
//! # Ranks are the currency
//!
//! Each inner page knows how many nodes lie under each child. So every question about a range is
//! answered by two descents that give a range of ranks ([`Skiplist::score_ranks`],
//! [`Skiplist::lex_ranks`]): its length is the count, [`Skiplist::iter`] walks it in both directions,
//! [`Skiplist::delete_ranks`] removes it. Where scores differ, a lex range means as little as it does in
//! Redis, but is still a range.
//!
//! # Invariants (checked by `check` in the tests)
//!
//! - Nodes stand in strict order: no member twice with one score. Nothing is ever NaN; `-0.0` equals
//!   `0.0` and keeps its sign.
//! - A leaf's score is its node's score, bit for bit.
//! - An inner row holds the very first node under its child, its score, and the exact count.
//! - No page is empty but a root leaf, and a root that is an inner page has two children or more.
//! - A page is merged when it falls under a quarter and a neighbour has room; so two neighbours are
//!   never both nearly empty, and `MAX_DEPTH` cannot be reached.
//!
//! # Memory
//!
//! A 16-byte member costs 32 for its node, 14 for its leaf row, one or two for the room at the end of
//! the leaf (pages come in a ladder of sizes) and less than one for the inner rows: 48 to 49 bytes, 59
//! with its share of the hash table.
//!
//! # What was tried
//!
//! One million 16-byte members, nanoseconds a call, against a skiplist with the member inside the node,
//! as it is and with each score repeated beside the pointer that leads to it:
//!
//! ```text
//!                     insert   rank_of   new score   walk   bytes      insert, equal / rising scores
//!   this                 210       760        1100     20      49                 820 / 90
//!   skiplist            2130      2670        5600    200      64                1600 / 180
//!   with scores         2010      2940        6700    180      74                1860 / 250
//! ```
//!
//! Leaves of 45 or 109 rows came out the same within the noise. Fetching all lines of a leaf as soon as
//! its address is known is worth a tenth, fetching nodes ahead of a walk a third of the walk.
//!
//! # How to extend
//!
//! A new question about a range needs a count of the nodes before its ends: give `rank_where` the two
//! predicates. A new way to remove ends in `cut`, which mends the pages.

mod moving;
mod node;
mod page;
#[cfg(test)]
mod tests;

pub use node::{Node, NodePtr, NodeRef, order};

use page::{Child, Inner, Leaf, Page, RawPage, Shape, Smallest};
use std::iter::FusedIterator;
use std::ops::Range;

/// More levels than a 64-bit address space can fill: on average a page has 24 children or more.
const MAX_DEPTH: usize = 16;

/// Which scores a range takes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ScoreRange {
    pub min: f64,
    pub max: f64,
    /// The minimum itself is outside.
    pub min_open: bool,
    /// The maximum itself is outside.
    pub max_open: bool,
}

impl ScoreRange {
    /// Whether a single score lies inside.
    pub fn contains(&self, score: f64) -> bool {
        let above = if self.min_open { score > self.min } else { score >= self.min };
        let below = if self.max_open { score < self.max } else { score <= self.max };
        above && below
    }
}

/// One end of a range of members.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LexBound<'a> {
    /// `-`: before every member.
    Min,
    /// `+`: after every member.
    Max,
    /// `[member`.
    Closed(&'a [u8]),
    /// `(member`.
    Open(&'a [u8]),
}

impl LexBound<'_> {
    /// Whether a member lies inside a range that starts here.
    pub fn starts_at_or_before(&self, member: &[u8]) -> bool {
        match *self {
            LexBound::Min => true,
            LexBound::Max => false,
            LexBound::Closed(b) => member >= b,
            LexBound::Open(b) => member > b,
        }
    }

    /// Whether a member lies inside a range that ends here.
    pub fn ends_at_or_after(&self, member: &[u8]) -> bool {
        match *self {
            LexBound::Min => false,
            LexBound::Max => true,
            LexBound::Closed(b) => member <= b,
            LexBound::Open(b) => member < b,
        }
    }
}

/// The ordered half of a big sorted set. It owns its nodes; the hash table only points at them.
pub struct Skiplist {
    root: RawPage,
    /// Levels of inner pages above the leaves.
    depth: usize,
    len: usize,
    page_bytes: usize,
    node_bytes: usize,
}

const _: () = {
    const fn sent_to_another_thread<T: Send>() {}
    sent_to_another_thread::<Skiplist>();
};

/// One turn of a descent: which child was taken.
#[derive(Clone, Copy)]
struct Step {
    inner: Inner,
    row: usize,
}

/// A place in the tree: the turns from the root, the leaf, and a row of it (or one past its last).
struct Path {
    steps: [Option<Step>; MAX_DEPTH],
    leaf: Leaf,
    row: usize,
}

impl Path {
    fn step(&self, level: usize) -> Step {
        self.steps[level].expect("a descent fills every level above the leaves")
    }

    /// The leaf has a new smallest node: every row above that led to it by its first child says so.
    fn set_first(&self, depth: usize, score: f64, first: NodePtr) {
        for level in (0..depth).rev() {
            let Step { inner, row } = self.step(level);
            inner.set_first(row, score, first);
            if row != 0 {
                break;
            }
        }
    }

    /// The smallest node behind this leaf, and its score.
    fn next_leaf_first(&self, depth: usize) -> Option<(f64, NodePtr)> {
        let mut up = (0..depth).rev().map(|level| self.step(level));
        let Step { inner, row } = up.find(|step| step.row + 1 < step.inner.len())?;
        Some((inner.scores()[row + 1], inner.first(row + 1)))
    }
}

/// Which end of the whole order a new node falls on. Pages split there without moving what is full, so
/// that scores that only rise (or only fall) leave full pages behind.
#[derive(Clone, Copy, PartialEq)]
enum Edge {
    Front,
    Inside,
    Back,
}

impl Default for Skiplist {
    fn default() -> Self {
        Self::new()
    }
}

impl Skiplist {
    pub fn new() -> Skiplist {
        let root = Leaf::alloc(1);
        Skiplist { root: root.raw(), depth: 0, len: 0, page_bytes: root.mem_size(), node_bytes: 0 }
    }

    pub fn len(&self) -> usize {
        self.len
    }

    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Bytes of this structure, its pages and its nodes.
    pub fn mem_size(&self) -> usize {
        size_of::<Self>() + self.page_bytes + self.node_bytes
    }

    /// Adds a member that is not in the set yet, and gives its address for the table.
    pub fn insert(&mut self, score: f64, member: &[u8]) -> NodePtr {
        assert!(!score.is_nan(), "NaN has no place in the order");
        let node = NodePtr::alloc(score, member);
        self.node_bytes += node::alloc_size(member.len());
        self.link(node, score, member);
        node
    }

    /// Takes a node out. The table can look it up until what is returned here drops.
    ///
    /// # Safety
    /// `node` is in this list.
    pub unsafe fn remove(&mut self, node: NodePtr) -> Node {
        // SAFETY: it is in this list, so it lives, and it is not freed before the end of this function.
        let member = unsafe { node.as_ref() }.member();
        let path = self.find(node);
        self.cut(path, 1);
        self.node_bytes -= node::alloc_size(member.len());
        // SAFETY: `cut` took it out of the list, which owned it.
        unsafe { Node::from_ptr(node) }
    }

    /// Gives a member a new score; its address stays the same.
    ///
    /// # Safety
    /// `node` is in this list, and no `NodeRef` to it exists.
    pub unsafe fn update_score(&mut self, node: NodePtr, score: f64) {
        assert!(!score.is_nan(), "NaN has no place in the order");
        let path = self.find(node);
        // SAFETY: it is in this list, which keeps it alive; its member never changes.
        let member = unsafe { node.as_ref() }.member();
        if self.stays(&path, score, member) {
            path.leaf.set(path.row, score, node);
            if path.row == 0 {
                path.set_first(self.depth, score, node);
            }
            // SAFETY: alive, and unobserved as the caller promises.
            unsafe { node.set_score(score) };
        } else {
            self.cut(path, 1);
            // SAFETY: as above.
            unsafe { node.set_score(score) };
            self.link(node, score, member);
        }
    }

    /// Whether the node at `path` keeps its place with a new score.
    fn stays(&self, path: &Path, score: f64, member: &[u8]) -> bool {
        let (leaf, row) = (path.leaf, path.row);
        let old = leaf.scores()[row];
        if score > old {
            let next = if row + 1 < leaf.len() {
                Some((leaf.scores()[row + 1], leaf.node(row + 1)))
            } else {
                path.next_leaf_first(self.depth)
            };
            // SAFETY: an address in the tree is that of a node the list keeps alive.
            next.is_none_or(|(s, n)| score < s || score == s && member < unsafe { n.as_ref() }.member())
        } else if score < old {
            if row == 0 {
                // What stands before is in another leaf; only the very first node is known to be free.
                return (0..self.depth).all(|level| path.step(level).row == 0);
            }
            let (s, n) = (leaf.scores()[row - 1], leaf.node(row - 1));
            // SAFETY: as above.
            score > s || score == s && member > unsafe { n.as_ref() }.member()
        } else {
            true
        }
    }

    /// How many nodes stand before this one, which is in this list.
    pub fn rank_of(&self, node: NodeRef<'_>) -> usize {
        let path = self.find(node.ptr());
        let before = |level| {
            let Step { inner, row } = path.step(level);
            inner.counts()[..row].iter().sum::<usize>()
        };
        (0..self.depth).map(before).sum::<usize>() + path.row
    }

    pub fn get_by_rank(&self, rank: usize) -> Option<NodeRef<'_>> {
        (rank < self.len).then(|| {
            let path = self.seek(rank);
            self.borrow(path.leaf.node(path.row))
        })
    }

    pub fn first(&self) -> Option<NodeRef<'_>> {
        self.get_by_rank(0)
    }

    pub fn last(&self) -> Option<NodeRef<'_>> {
        self.get_by_rank(self.len.checked_sub(1)?)
    }

    /// The node behind this one, which is in this list.
    pub fn next(&self, node: NodeRef<'_>) -> Option<NodeRef<'_>> {
        self.get_by_rank(self.rank_of(node) + 1)
    }

    /// The node before this one, which is in this list.
    pub fn prev(&self, node: NodeRef<'_>) -> Option<NodeRef<'_>> {
        self.get_by_rank(self.rank_of(node).checked_sub(1)?)
    }

    /// Takes out the node with the lowest score.
    pub fn pop_first(&mut self) -> Option<Node> {
        let node = self.first()?.ptr();
        // SAFETY: just found in this list.
        Some(unsafe { self.remove(node) })
    }

    /// Takes out the node with the highest score.
    pub fn pop_last(&mut self) -> Option<Node> {
        let node = self.last()?.ptr();
        // SAFETY: just found in this list.
        Some(unsafe { self.remove(node) })
    }

    /// The ranks of the nodes with a score in the range; empty, but still in bounds, where there are
    /// none.
    pub fn score_ranks(&self, range: &ScoreRange) -> Range<usize> {
        let start = self.rank_of_score(range.min, range.min_open);
        let end = self.rank_of_score(range.max, !range.max_open);
        start..end.max(start)
    }

    /// Nodes with a lower score, or a lower or equal one.
    fn rank_of_score(&self, score: f64, or_equal: bool) -> usize {
        let count = |scores: &[f64]| {
            if or_equal { count(scores, |s| s <= score) } else { count(scores, |s| s < score) }
        };
        self.rank_where(|inner| count(inner.scores()), |leaf| count(leaf.scores()))
    }

    /// The ranks of the members between two bounds, given that all scores are equal.
    pub fn lex_ranks(&self, min: LexBound<'_>, max: LexBound<'_>) -> Range<usize> {
        let start = self.rank_of_members(|member| !min.starts_at_or_before(member));
        let end = self.rank_of_members(|member| max.ends_at_or_after(member));
        start..end.max(start)
    }

    /// How many members a predicate takes that holds up to some point of the order.
    fn rank_of_members(&self, takes: impl Fn(&[u8]) -> bool) -> usize {
        let takes = |node: NodePtr| takes(self.borrow(node).member());
        self.rank_where(
            |inner| bisect(0..inner.len(), |row| takes(inner.first(row))),
            |leaf| bisect(0..leaf.len(), |row| takes(leaf.node(row))),
        )
    }

    /// How many nodes stand before a point: the closures count the rows of a page before it.
    fn rank_where(&self, inner: impl Fn(Inner) -> usize, leaf: impl Fn(Leaf) -> usize) -> usize {
        let mut rank = 0;
        let path = self.descend(|page| {
            let row = inner(page).saturating_sub(1);
            rank += page.counts()[..row].iter().sum::<usize>();
            row
        });
        rank + leaf(path.leaf)
    }

    /// Walks a range of ranks, from either end.
    pub fn iter(&self, ranks: Range<usize>) -> Iter<'_> {
        assert!(ranks.end <= self.len, "ranks {ranks:?} of {}", self.len);
        Iter { list: self, ranks, front: None, back: None }
    }

    /// Removes a range of ranks. `forget` sees each node, in order, while all of them are still whole.
    pub fn delete_ranks(&mut self, ranks: Range<usize>, mut forget: impl FnMut(NodeRef<'_>)) -> usize {
        assert!(ranks.end <= self.len, "ranks {ranks:?} of {}", self.len);
        let total = ranks.len();
        let mut left = total;
        while left > 0 {
            let path = self.seek(ranks.start);
            let n = left.min(path.leaf.len() - path.row);
            let nodes: [Option<NodePtr>; Leaf::MAX] =
                std::array::from_fn(|i| (i < n).then(|| path.leaf.node(path.row + i)));
            let nodes = || nodes[..n].iter().flatten().copied();
            nodes().for_each(NodePtr::prefetch);
            nodes().for_each(|node| forget(self.borrow(node)));
            self.cut(path, n);
            for node in nodes() {
                self.node_bytes -= self.borrow(node).alloc_size();
                // SAFETY: out of the list, which owned it; `forget` could not keep the reference.
                unsafe { node.free() };
            }
            left -= n;
        }
        total
    }

    /// A node of this list, borrowed with it.
    #[inline]
    fn borrow(&self, node: NodePtr) -> NodeRef<'_> {
        // SAFETY: callers pass addresses out of the tree, whose nodes live until a `&mut self` method
        // removes them; scores change only through `&mut self`, too.
        unsafe { node.as_ref() }
    }

    // --- descents ---

    /// From the root to a leaf, by the rows that `choose` picks.
    #[inline]
    fn descend(&self, mut choose: impl FnMut(Inner) -> usize) -> Path {
        let mut steps = [None; MAX_DEPTH];
        let mut page = self.root;
        for step in &mut steps[..self.depth] {
            // SAFETY: above `depth` pages are inner ones.
            let inner = unsafe { page.inner() };
            let row = choose(inner);
            *step = Some(Step { inner, row });
            page = inner.child(row);
        }
        page.prefetch(16);
        // SAFETY: at `depth` pages are leaves.
        Path { steps, leaf: unsafe { page.leaf() }, row: 0 }
    }

    /// Where a node with this score and member stands, or would stand.
    fn locate(&self, score: f64, member: &[u8]) -> Path {
        let mut path = self.descend(|inner| {
            let scores = inner.scores();
            let ties = ties(scores, score);
            let before = |row| self.borrow(inner.first(row)).member() <= member;
            bisect(ties, before).saturating_sub(1)
        });
        let leaf = path.leaf;
        path.row =
            bisect(ties(leaf.scores(), score), |row| self.borrow(leaf.node(row)).member() < member);
        path
    }

    /// Where a node of this list stands.
    fn find(&self, node: NodePtr) -> Path {
        let (score, member) = (self.borrow(node).score(), self.borrow(node).member());
        let path = self.locate(score, member);
        assert!(
            path.row < path.leaf.len() && path.leaf.node(path.row) == node,
            "a node of another list"
        );
        path
    }

    /// The place of a rank below `len`.
    fn seek(&self, rank: usize) -> Path {
        debug_assert!(rank < self.len);
        let mut left = rank;
        let mut path = self.descend(|inner| {
            let counts = inner.counts();
            let mut row = 0;
            while left >= counts[row] {
                left -= counts[row];
                row += 1;
            }
            row
        });
        debug_assert!(left < path.leaf.len());
        path.row = left;
        path
    }

    // --- growth ---

    /// Puts a node that no page knows into its place.
    fn link(&mut self, node: NodePtr, score: f64, member: &[u8]) {
        let mut path = self.locate(score, member);
        let (leaf, row) = (path.leaf, path.row);
        debug_assert!(
            row == leaf.len()
                || self.borrow(leaf.node(row)).member() != member
                || leaf.scores()[row] != score,
            "the member is in the list already"
        );
        for level in 0..self.depth {
            let Step { inner, row } = path.step(level);
            inner.set_count(row, inner.counts()[row] + 1);
        }
        self.len += 1;
        if row == 0 {
            path.set_first(self.depth, score, node);
        }
        if leaf.is_full() {
            self.split_leaf(&mut path, score, node);
        } else {
            if leaf.len() == leaf.cap() {
                path.leaf = self.resize(&path, self.depth, leaf, leaf.len() + 1);
            }
            path.leaf.open(row);
            path.leaf.set(row, score, node);
        }
    }

    fn edge(&self, path: &Path) -> Edge {
        let all = |at: fn(Step) -> bool| (0..self.depth).all(|level| at(path.step(level)));
        if path.row == path.leaf.len() && all(|s| s.row + 1 == s.inner.len()) {
            Edge::Back
        } else if path.row == 0 && all(|s| s.row == 0) {
            Edge::Front
        } else {
            Edge::Inside
        }
    }

    /// Splits a full leaf and puts the node at `path` into its half.
    fn split_leaf(&mut self, path: &mut Path, score: f64, node: NodePtr) {
        let edge = self.edge(path);
        let at = match edge {
            Edge::Front => 0,
            Edge::Inside => Leaf::MAX / 2,
            Edge::Back => Leaf::MAX,
        };
        let row = path.row;
        let right = path.leaf.split_off(at);
        self.page_bytes += right.mem_size();
        let left =
            if at == Leaf::MAX { path.leaf } else { self.resize(path, self.depth, path.leaf, at + 1) };
        let (page, row) = if row <= at && at < Leaf::MAX { (left, row) } else { (right, row - at) };
        page.open(row);
        page.set(row, score, node);
        let (score, first) = right.smallest();
        self.add_child(path, Child { score, first, page: right.raw(), count: right.len() }, edge);
    }

    /// Enters a page that split off to the right of the one at `path`, and splits upwards as needed.
    fn add_child(&mut self, path: &mut Path, mut new: Child, edge: Edge) {
        for level in (0..self.depth).rev() {
            let Step { mut inner, row } = path.step(level);
            inner.set_count(row, inner.counts()[row] - new.count);
            let at = row + 1;
            if !inner.is_full() {
                if inner.len() == inner.cap() {
                    inner = self.resize(path, level, inner, inner.len() + 1);
                }
                inner.open(at);
                inner.set(at, new);
                return;
            }
            let cut = match edge {
                Edge::Front => 1,
                Edge::Inside => Inner::MAX / 2,
                Edge::Back => Inner::MAX,
            };
            let right = inner.split_off(cut);
            self.page_bytes += right.mem_size();
            let left = if cut == Inner::MAX { inner } else { self.resize(path, level, inner, cut + 1) };
            let (page, at) = if at <= cut && cut < Inner::MAX { (left, at) } else { (right, at - cut) };
            page.open(at);
            page.set(at, new);
            let (score, first) = right.smallest();
            new = Child { score, first, page: right.raw(), count: right.total() };
        }
        self.raise_root(new);
    }

    /// The root split: a new one above both halves.
    fn raise_root(&mut self, right: Child) {
        let (score, first) = if self.depth == 0 {
            // SAFETY: without inner levels the root is a leaf.
            unsafe { self.root.leaf() }.smallest()
        } else {
            // SAFETY: with inner levels it is an inner page.
            unsafe { self.root.inner() }.smallest()
        };
        let root = Inner::alloc(2);
        self.page_bytes += root.mem_size();
        root.open(0);
        root.set(0, Child { score, first, page: self.root, count: self.len - right.count });
        root.open(1);
        root.set(1, right);
        self.root = root.raw();
        self.depth += 1;
        assert!(self.depth <= MAX_DEPTH, "a tree no address space can hold");
    }

    /// Moves the page at `level` of `path` into one that fits `rows`, and tells the page above.
    fn resize<S: Shape>(&mut self, path: &Path, level: usize, page: Page<S>, rows: usize) -> Page<S> {
        self.page_bytes -= page.mem_size();
        // SAFETY: the only lasting copy of the handle is the row above, rewritten here.
        let page = unsafe { page.resized(rows) };
        self.page_bytes += page.mem_size();
        self.put_page(path, level, page);
        page
    }

    /// The page at `level` of `path` is this one from now on.
    fn put_page<S: Shape>(&mut self, path: &Path, level: usize, page: Page<S>) {
        match level.checked_sub(1) {
            None => self.root = page.raw(),
            Some(above) => {
                let Step { inner, row } = path.step(above);
                inner.set_child(row, page.raw());
            }
        }
    }

    // --- removal ---

    /// Takes `n` rows out of the leaf at `path` and mends what is above it.
    fn cut(&mut self, path: Path, n: usize) {
        for level in 0..self.depth {
            let Step { inner, row } = path.step(level);
            inner.set_count(row, inner.counts()[row] - n);
        }
        self.len -= n;
        path.leaf.close(path.row, n);
        if self.depth == 0 {
            self.trim(&path, 0, path.leaf);
            return;
        }
        self.mend(&path, self.depth, path.leaf);
        for level in (1..self.depth).rev() {
            self.mend(&path, level, path.step(level).inner);
        }
        self.lower_root();
    }

    /// Frees, merges or trims a page that lost rows, and brings its row in the page above up to date.
    fn mend<S: Shape>(&mut self, path: &Path, level: usize, page: Page<S>)
    where
        Page<S>: Smallest,
    {
        let Step { inner: above, row } = path.step(level - 1);
        if page.len() == 0 {
            debug_assert!(above.counts()[row] == 0);
            above.close(row, 1);
            self.page_bytes -= page.mem_size();
            // SAFETY: the row above, its only lasting copy, is gone.
            unsafe { page.free() };
            return;
        }
        if page.len() < Page::<S>::MAX / 4 {
            if row + 1 < above.len() && self.merge::<S>(above, row) {
                return;
            }
            if row > 0 && self.merge::<S>(above, row - 1) {
                return;
            }
        }
        let page = self.trim(path, level, page);
        let (score, first) = page.smallest();
        above.set_first(row, score, first);
    }

    /// Joins the child at `row` with the one after it, if that leaves a quarter of a page free.
    fn merge<S: Shape>(&mut self, above: Inner, row: usize) -> bool
    where
        Page<S>: Smallest,
    {
        // SAFETY: siblings are pages of one kind.
        let (mut left, right) =
            unsafe { (above.child(row).page::<S>(), above.child(row + 1).page::<S>()) };
        let rows = left.len() + right.len();
        if rows > Page::<S>::MAX * 3 / 4 {
            return false;
        }
        self.page_bytes -= left.mem_size() + right.mem_size();
        // SAFETY: the rows above, the only lasting copies of both handles, are rewritten below.
        unsafe {
            if left.cap() < rows {
                left = left.resized(rows);
            }
            left.absorb(right);
        }
        self.page_bytes += left.mem_size();
        let (score, first) = left.smallest();
        let count = above.counts()[row] + above.counts()[row + 1];
        above.set(row, Child { score, first, page: left.raw(), count });
        above.close(row + 1, 1);
        true
    }

    /// Gives back room that a page no longer needs, but for a quarter of what it holds.
    fn trim<S: Shape>(&mut self, path: &Path, level: usize, page: Page<S>) -> Page<S> {
        let rows = (page.len() + page.len() / 4 + 2).min(Page::<S>::MAX);
        if Page::<S>::fit(rows) < page.cap() { self.resize(path, level, page, rows) } else { page }
    }

    /// Drops root pages that have one child left, or none.
    fn lower_root(&mut self) {
        while self.depth > 0 {
            // SAFETY: above `depth` pages are inner ones.
            let root = unsafe { self.root.inner() };
            let below = match root.len() {
                0 => {
                    debug_assert!(self.len == 0);
                    let leaf = Leaf::alloc(1);
                    self.page_bytes += leaf.mem_size();
                    self.depth = 0;
                    leaf.raw()
                }
                1 => {
                    self.depth -= 1;
                    root.child(0)
                }
                _ => return,
            };
            self.page_bytes -= root.mem_size();
            self.root = below;
            // SAFETY: `self.root` was its only lasting copy.
            unsafe { root.free() };
        }
    }
}

impl Drop for Skiplist {
    fn drop(&mut self) {
        let mut waiting = vec![(self.root, 0)];
        while let Some((page, level)) = waiting.pop() {
            // SAFETY: pages are inner ones above `depth` and leaves at it; each page and each node is
            // reached once and nothing is read after it was freed.
            unsafe {
                if level < self.depth {
                    let inner = page.inner();
                    waiting.extend((0..inner.len()).map(|row| (inner.child(row), level + 1)));
                    inner.free();
                } else {
                    let leaf = page.leaf();
                    (0..leaf.len()).for_each(|row| leaf.node(row).prefetch());
                    (0..leaf.len()).for_each(|row| leaf.node(row).free());
                    leaf.free();
                }
            }
        }
    }
}

/// How many scores satisfy a predicate that holds up to some point. Counting them all has no branch to
/// miss, goes several at a time and asks for all lines of the page at once.
#[inline]
fn count(scores: &[f64], takes: impl Fn(f64) -> bool) -> usize {
    scores.iter().map(|&s| usize::from(takes(s))).sum()
}

/// The rows whose score equals `score`: where members decide.
#[inline]
fn ties(scores: &[f64], score: f64) -> Range<usize> {
    let start = count(scores, |s| s < score);
    if scores.get(start).is_none_or(|&s| s != score) {
        return start..start;
    }
    start..start + scores[start..].partition_point(|&s| s == score)
}

/// The first row of the range that the predicate refuses, or its end.
#[inline]
fn bisect(rows: Range<usize>, takes: impl Fn(usize) -> bool) -> usize {
    let (mut low, mut high) = (rows.start, rows.end);
    while low < high {
        let mid = low + (high - low) / 2;
        if takes(mid) {
            low = mid + 1;
        } else {
            high = mid;
        }
    }
    low
}

/// Nodes of a range of ranks, in order; see [`Skiplist::iter`].
#[derive(Clone)]
pub struct Iter<'a> {
    list: &'a Skiplist,
    ranks: Range<usize>,
    /// Where `ranks.start` stands, unless it is in a leaf not yet looked for.
    front: Option<(Leaf, usize)>,
    /// Where `ranks.end - 1` stands, likewise.
    back: Option<(Leaf, usize)>,
}

/// How far ahead a walk asks for the nodes it will yield.
const AHEAD: usize = 16;

impl<'a> Iterator for Iter<'a> {
    type Item = NodeRef<'a>;

    #[inline]
    fn next(&mut self) -> Option<NodeRef<'a>> {
        if self.ranks.is_empty() {
            return None;
        }
        let (leaf, row) = self.front.unwrap_or_else(|| {
            let path = self.list.seek(self.ranks.start);
            (path.row..path.leaf.len().min(path.row + AHEAD)).for_each(|r| path.leaf.node(r).prefetch());
            (path.leaf, path.row)
        });
        if row + AHEAD < leaf.len() {
            leaf.node(row + AHEAD).prefetch();
        }
        self.ranks.start += 1;
        self.front = (row + 1 < leaf.len()).then_some((leaf, row + 1));
        Some(self.list.borrow(leaf.node(row)))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.ranks.len(), Some(self.ranks.len()))
    }
}

impl DoubleEndedIterator for Iter<'_> {
    #[inline]
    fn next_back(&mut self) -> Option<Self::Item> {
        if self.ranks.is_empty() {
            return None;
        }
        let (leaf, row) = self.back.unwrap_or_else(|| {
            let path = self.list.seek(self.ranks.end - 1);
            (path.row.saturating_sub(AHEAD)..=path.row).for_each(|r| path.leaf.node(r).prefetch());
            (path.leaf, path.row)
        });
        if let Some(ahead) = row.checked_sub(AHEAD) {
            leaf.node(ahead).prefetch();
        }
        self.ranks.end -= 1;
        self.back = row.checked_sub(1).map(|row| (leaf, row));
        Some(self.list.borrow(leaf.node(row)))
    }
}

impl ExactSizeIterator for Iter<'_> {}
impl FusedIterator for Iter<'_> {}
