//! The quicklist: a long list as a row of listpacks, none longer than the list's fill allows.
//!
//! ```text
//!   Quicklist ── Nodes ── node: Packed   a listpack of many elements
//!                         node: Plain    one element too big for a listpack
//!                         node: Lzf      either of them, compressed
//! ```
//!
//! How the nodes hang together is the matter of `nodes`; here are the rules by which elements come to
//! lie in nodes. They are exactly those of the format's inventor, because DEBUG OBJECT shows the number
//! of nodes and their sizes, and RDB files and DUMP carry them node by node.
//!
//! # Fill
//!
//! A fill of 0 or more limits the elements of a node (0 counts as 1), and its bytes to 8 KiB. A negative
//! one limits its bytes: -1 to -5 are 4, 8, 16, 32 and 64 KiB. A new element is reckoned with its length
//! and 8 bytes, whatever its entry will take. Where it goes:
//!
//! - pushed at an end: into the end node if it fits, else into a new one;
//! - inserted beside an element whose node has room: there;
//! - at the edge of a full node: into the neighbour on that side if that has room, else into a new node;
//! - in the middle of a full node: that is split, the new element goes to the end of the new part, and
//!   then four pairs of neighbours are merged if they fit (`merge_around`);
//! - too big to be packed (1 GiB, or what DEBUG sets): into a plain node of its own, splitting a node if
//!   it must lie inside.
//!
//! # Compression
//!
//! With depth d > 0 the d nodes at either end are open and all between are compressed where that saves
//! more than 8 bytes. A node opened for a change carries `recompress` and is closed after that. Readers
//! only borrow the list, so they decompress to a buffer of their own instead.
//!
//! # Invariants
//!
//! - No node is empty. Head and tail are never compressed.
//! - Every listpack was built or checked here, so it is sound.

mod cursor;
mod nodes;
#[cfg(test)]
mod tests;

use super::listpack::{Element, Listpack, Lp, Pos};
use crate::sys::defrag::Mover;
use nodes::{At, Node, Nodes};

pub use cursor::{Cursor, Iter};

/// From this length on an element is never packed, unless DEBUG says otherwise.
pub const PACKED_THRESHOLD: u32 = 1 << 30;
/// The highest threshold that can be set: an entry's length must stay well below 4 GiB.
pub const PACKED_THRESHOLD_MAX: u32 = u32::MAX - (1 << 20) + 1;

/// The most bytes of a node whose elements are counted.
const SAFE_SIZE: usize = 8192;
/// What an element is reckoned to take beside its own bytes.
const ENTRY_OVERHEAD: usize = 8;
/// Smaller nodes are not worth compressing.
const MIN_COMPRESS: usize = 48;
/// Nor is saving no more than this.
const MIN_SAVING: usize = 8;

const _: () = assert!(size_of::<Quicklist>() == 96);

/// The most bytes and the most elements of a node, or of a list that is a single listpack; `usize::MAX`
/// where the fill does not limit that.
pub fn node_limit(fill: i32) -> (usize, usize) {
    match usize::try_from(fill) {
        Ok(count) => (usize::MAX, count.max(1)),
        Err(_) => (2048 << fill.unsigned_abs().min(5), usize::MAX),
    }
}

/// Whether so many bytes and elements are too much for a node.
#[inline]
pub fn exceeds_limit(fill: i32, bytes: usize, count: usize) -> bool {
    if fill < 0 {
        return bytes > 2048 << fill.unsigned_abs().min(5);
    }
    bytes > SAFE_SIZE || count > (fill as usize).max(1)
}

/// The end that walking starts from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ListEnd {
    Head,
    Tail,
}

pub struct Quicklist {
    nodes: Nodes,
    plain_from: u32,
    fill: i16,
    depth: u16,
}

impl Quicklist {
    /// An empty list. Fill and depth are brought into their ranges.
    pub fn new(fill: i32, depth: i32) -> Self {
        let fill = fill.clamp(-5, i32::from(i16::MAX));
        let depth = depth.clamp(0, i32::from(u16::MAX));
        Quicklist {
            nodes: Nodes::default(),
            plain_from: PACKED_THRESHOLD,
            fill: fill as i16,
            depth: depth as u16,
        }
    }

    /// A list that goes on from a single listpack.
    pub fn from_listpack(lp: Listpack, fill: i32, depth: i32) -> Self {
        let mut list = Self::new(fill, depth);
        list.append_listpack(lp);
        list
    }

    /// The listpack of a list that is one packed node; otherwise the list as it was.
    pub fn into_listpack(mut self) -> Result<Listpack, Self> {
        match self.as_listpack() {
            None => Err(self),
            Some(_) => match self.nodes.remove(0) {
                Node::Packed { lp, .. } => Ok(lp),
                _ => unreachable!("it was looked at"),
            },
        }
    }

    /// The listpack of a list that is one packed node.
    pub fn as_listpack(&self) -> Option<&Lp> {
        match self.nodes.first().map(|at| self.nodes.node(at)) {
            Some(Node::Packed { lp, .. }) if self.nodes.len() == 1 => Some(lp),
            _ => None,
        }
    }

    /// Elements of this length and more get a plain node from now on. DEBUG QUICKLIST-PACKED-THRESHOLD
    /// means all lists, so the owner sets it before it writes.
    #[inline]
    pub fn set_packed_threshold(&mut self, bytes: u32) {
        debug_assert!(bytes <= PACKED_THRESHOLD_MAX);
        self.plain_from = bytes;
    }

    #[inline]
    pub fn len(&self) -> usize {
        self.nodes.count()
    }

    #[inline]
    pub fn is_empty(&self) -> bool {
        self.nodes.count() == 0
    }

    pub fn node_count(&self) -> usize {
        self.nodes.len()
    }

    pub fn fill(&self) -> i32 {
        i32::from(self.fill)
    }

    pub fn compress_depth(&self) -> usize {
        usize::from(self.depth)
    }

    /// The bytes of all nodes as if none was compressed.
    pub fn uncompressed_size(&self) -> usize {
        self.nodes.iter().map(Node::size).sum()
    }

    /// What the list costs in the allocator.
    pub fn alloc_size(&self) -> usize {
        size_of::<Quicklist>() + self.nodes.len() * size_of::<Node>() + self.nodes.alloc_size()
    }

    /// One step of a walk that moves blocks out of sparse slabs; the next cursor, 0 at the end.
    pub fn defrag(&mut self, cursor: u64, mover: &mut Mover) -> u64 {
        let goes_on = self.nodes.defrag(cursor as usize, mover);
        if goes_on { cursor + 1 } else { 0 }
    }

    /// The nodes as RDB writes them.
    pub fn nodes(&self) -> impl Iterator<Item = NodeView<'_>> {
        self.nodes.iter().map(|node| {
            let bytes = match node {
                Node::Packed { lp, .. } => NodeBytes::Raw(lp.bytes()),
                Node::Plain { data, .. } => NodeBytes::Raw(data),
                Node::Lzf { data, .. } => NodeBytes::Lzf(nodes::split_lzf(data).1),
            };
            NodeView { plain: node.is_plain(), count: node.count(), size: node.size(), bytes }
        })
    }

    #[inline]
    fn is_large(&self, bytes: usize) -> bool {
        bytes >= self.plain_from as usize
    }

    #[inline]
    fn allows(&self, bytes: usize, count: usize, add: usize) -> bool {
        let bytes = bytes.saturating_add(add).saturating_add(ENTRY_OVERHEAD);
        !self.is_large(add) && !exceeds_limit(self.fill(), bytes, count + 1)
    }

    /// Whether a node takes an element of `add` bytes.
    fn node_allows(&self, at: At, add: usize) -> bool {
        let node = self.nodes.node(at);
        !node.is_plain() && self.allows(node.size(), node.count(), add)
    }

    /// A node for one element.
    fn node_of(&self, value: &[u8]) -> Node {
        if self.is_large(value.len()) {
            Node::plain(value)
        } else {
            Node::packed(Listpack::of([Element::Str(value)].into_iter()))
        }
    }

    #[inline]
    pub fn push_front(&mut self, value: &[u8]) {
        let (plain_from, fill) = (self.plain_from as usize, self.fill());
        if let Some((lp, count, sum)) = self.nodes.head_packed() {
            let bytes = lp.bytes().len().saturating_add(value.len()).saturating_add(ENTRY_OVERHEAD);
            if value.len() < plain_from && !exceeds_limit(fill, bytes, *count as usize + 1) {
                lp.push_front(value);
                *count += 1;
                *sum += 1;
                return;
            }
        }
        self.insert_node(0, self.node_of(value), 1);
    }

    #[inline]
    pub fn push_back(&mut self, value: &[u8]) {
        let (plain_from, fill) = (self.plain_from as usize, self.fill());
        if let Some((lp, count, sum)) = self.nodes.tail_packed() {
            let bytes = lp.bytes().len().saturating_add(value.len()).saturating_add(ENTRY_OVERHEAD);
            if value.len() < plain_from && !exceeds_limit(fill, bytes, *count as usize + 1) {
                lp.push_back(value);
                *count += 1;
                *sum += 1;
                return;
            }
        }
        self.append_node(self.node_of(value));
    }

    /// Appends a node that is a listpack as it was saved; one without entries is left out.
    pub fn append_listpack(&mut self, lp: Listpack) {
        if !lp.is_empty() {
            self.append_node(Node::packed(lp));
        }
    }

    /// Appends a node that is one element as it was saved.
    pub fn append_plain(&mut self, data: &[u8]) {
        self.append_node(Node::plain(data));
    }

    /// Shows the first element to `f` and removes it.
    #[inline]
    pub fn pop_front<R>(&mut self, f: impl FnOnce(Element<'_>) -> R) -> Option<R> {
        if let Some((lp, count, sum)) = self.nodes.head_packed()
            && *count > 1
        {
            *count -= 1;
            *sum -= 1;
            return lp.pop_front(f);
        }
        self.pop_node(0, f)
    }

    /// Shows the last element to `f` and removes it.
    #[inline]
    pub fn pop_back<R>(&mut self, f: impl FnOnce(Element<'_>) -> R) -> Option<R> {
        if let Some((lp, count, sum)) = self.nodes.tail_packed()
            && *count > 1
        {
            *count -= 1;
            *sum -= 1;
            return lp.pop_back(f);
        }
        self.pop_node(self.nodes.len().checked_sub(1)?, f)
    }

    /// The same for an end node with a single element, which goes with it.
    fn pop_node<R>(&mut self, k: usize, f: impl FnOnce(Element<'_>) -> R) -> Option<R> {
        if self.is_empty() {
            return None;
        }
        let node = self.nodes.remove(k);
        debug_assert!(node.count() == 1);
        let result = match &node {
            Node::Packed { lp, .. } => f(lp.iter().next().expect("no node is empty")),
            Node::Plain { data, .. } => f(Element::Str(data)),
            Node::Lzf { .. } => unreachable!("the ends are never compressed"),
        };
        self.settle_ends();
        Some(result)
    }

    /// An index as it is meant, negative ones from the end.
    fn resolve(&self, index: i64) -> Option<usize> {
        let len = i64::try_from(self.len()).ok()?;
        let index = if index < 0 { index.checked_add(len)? } else { index };
        usize::try_from(index).ok().filter(|i| *i < self.len())
    }

    /// Shows the element of an index to `f`.
    pub fn get<R>(&self, index: i64, f: impl FnOnce(Element<'_>) -> R) -> Option<R> {
        self.iter_at(index, ListEnd::Head)?.next().map(f)
    }

    /// Puts a value in the place of the element of an index; false if there is none.
    pub fn replace(&mut self, index: i64, value: &[u8]) -> bool {
        let Some(mut cursor) = self.cursor_at(index, ListEnd::Tail) else { return false };
        cursor.next().expect("a cursor starts before an element");
        cursor.replace(value);
        true
    }

    /// Removes up to `count` elements from an index on; tells how many went.
    pub fn delete_range(&mut self, start: i64, count: usize) -> usize {
        let Some(start) = self.resolve(start) else { return 0 };
        let extent = count.min(self.len() - start);
        let (at, mut offset) = self.nodes.seek(start);
        let (mut k, mut left) = (self.nodes.number(at), extent);
        while left > 0 {
            let (nodes, elements) = if offset == 0 { self.whole_nodes(k, left) } else { (0, 0) };
            if nodes > 0 {
                self.nodes.remove_span(k, nodes);
                self.settle_ends();
                left -= elements;
                continue;
            }
            let here = left.min(self.nodes.node(self.nodes.at(k)).count() - offset);
            self.change(k, |lp| {
                lp.delete_range(i64::try_from(offset).expect("fewer entries than 2^32"), here);
            });
            (k, left, offset) = (k + 1, left - here, 0);
        }
        extent
    }

    /// How many nodes from number `k` on hold no more than `left` elements together, and how many they
    /// hold.
    fn whole_nodes(&self, k: usize, left: usize) -> (usize, usize) {
        let (mut nodes, mut elements) = (0, 0);
        let mut at = Some(self.nodes.at(k));
        while let Some(here) = at {
            let count = self.nodes.node(here).count();
            if elements + count > left {
                break;
            }
            (nodes, elements) = (nodes + 1, elements + count);
            at = self.nodes.next(here);
        }
        (nodes, elements)
    }

    /// Inserts beside the element at `pos` of an open node; a plain node's element has no position.
    fn insert_beside(&mut self, at: At, pos: Option<Pos>, value: &[u8], after: bool) {
        let k = self.nodes.number(at);
        let new = if after { k + 1 } else { k };
        let inside = pos.filter(|pos| {
            let lp = self.nodes.node(at).lp();
            if after { lp.next(*pos).is_some() } else { lp.prev(*pos).is_some() }
        });
        let put = |lp: &mut Listpack| if after { lp.push_front(value) } else { lp.push_back(value) };
        let large = self.is_large(value.len());
        if let Some(pos) = pos.filter(|_| self.node_allows(at, value.len())) {
            self.change(k, |lp| {
                _ = if after { lp.insert_after(pos, value) } else { lp.insert_before(pos, value) };
            });
        } else if let Some(pos) = inside {
            let mut part = self.split(at, pos, after);
            if large {
                self.nodes.insert(new, Node::plain(value));
                self.nodes.insert(if after { new + 1 } else { new }, part);
                self.settle_near(k + 1);
            } else {
                part.change(put);
                self.nodes.insert(new, part);
                let k = self.merge_around(if after { k } else { k + 1 });
                self.settle_near(k);
            }
        } else {
            let beside = if after { k.checked_add(1) } else { k.checked_sub(1) };
            let beside = beside.filter(|b| *b < self.nodes.len());
            match beside.filter(|b| !large && self.node_allows(self.nodes.at(*b), value.len())) {
                Some(beside) => {
                    self.change(beside, put);
                    self.close(k);
                }
                None => self.insert_node(new, self.node_of(value), if after { k } else { k + 1 }),
            }
        }
    }

    /// Replaces the element at `pos` of an open node; a plain node's element has no position.
    fn replace_in(&mut self, at: At, pos: Option<Pos>, value: &[u8]) {
        let k = self.nodes.number(at);
        let large = self.is_large(value.len());
        let Some(pos) = pos else {
            if large {
                self.nodes.edit(at, |node| *node = Node::plain(value));
                return self.settle(k);
            }
            self.insert_beside(at, None, value, true);
            self.nodes.remove(k);
            return self.settle_ends();
        };
        let lp = self.nodes.node(at).lp();
        let most = lp.bytes().len().saturating_add(value.len()).saturating_add(2 * ENTRY_OVERHEAD);
        if !large && u32::try_from(most).is_ok() {
            self.change(k, |lp| _ = lp.replace(pos, value));
            return self.settle(k);
        }
        // The node is cut behind the element, which is then its last, and goes.
        let part = lp.next(pos).is_some().then(|| self.split(at, pos, true));
        self.nodes.insert(k + 1, self.node_of(value));
        if let Some(part) = part {
            self.nodes.insert(k + 2, part);
        }
        let mut new = k + 1;
        if self.nodes.node(self.nodes.at(k)).count() == 1 {
            self.nodes.remove(k);
            new = k;
        } else {
            self.edit(k, |lp| _ = lp.pop_back(|_| ()));
            new = self.merge_around(new);
        }
        self.settle_near(new);
    }

    /// Removes the element at `pos` of an open node. Gives the place of the one that followed in the
    /// node, and whether the node went with its last element.
    fn delete_in(&mut self, at: At, pos: Option<Pos>) -> (Option<Pos>, bool) {
        if let Some(pos) = pos.filter(|_| self.nodes.node(at).count() > 1) {
            let next = self.nodes.edit(at, |node| node.change(|lp| lp.delete(pos)));
            return (next, false);
        }
        self.nodes.remove(self.nodes.number(at));
        self.settle_ends();
        (None, true)
    }

    /// Cuts an open node in two behind (`after`) or before the element at `pos`. The node keeps the part
    /// with the element; the other part is returned.
    fn split(&mut self, at: At, pos: Pos, after: bool) -> Node {
        let index = self.nodes.node(at).lp().iter_to(pos).count() - usize::from(!after);
        let part = self.nodes.edit(at, |node| {
            node.change(|lp| {
                let tail = lp.split_off(index);
                if after { tail } else { std::mem::replace(lp, tail) }
            })
        });
        Node::packed(part)
    }

    /// Merges neighbours around a node as far as they fit: the two before it, the two behind it, the one
    /// before with it, and it with the one behind. Gives the number of the node that holds it now.
    fn merge_around(&mut self, mut k: usize) -> usize {
        if k >= 2 && self.merge_if_fits(k - 2) {
            k -= 1;
        }
        self.merge_if_fits(k + 1);
        if k >= 1 && self.merge_if_fits(k - 1) {
            k -= 1;
        }
        self.merge_if_fits(k);
        k
    }

    /// Merges nodes `k` and `k + 1`, if there are such, both are packed and the fill allows it.
    fn merge_if_fits(&mut self, k: usize) -> bool {
        if k + 1 >= self.nodes.len() {
            return false;
        }
        let (a, b) = (self.nodes.node(self.nodes.at(k)), self.nodes.node(self.nodes.at(k + 1)));
        // One header and one end byte are spared.
        let bytes = (a.size() + b.size()).saturating_sub(7);
        if a.is_plain() || b.is_plain() || exceeds_limit(self.fill(), bytes, a.count() + b.count()) {
            return false;
        }
        self.decompress(k, false);
        self.decompress(k + 1, false);
        let Node::Packed { lp: second, .. } = self.nodes.remove(k + 1) else {
            unreachable!("it was opened, and is not plain")
        };
        self.edit(k, |lp| *lp = Listpack::merge(std::mem::take(lp), second));
        true
    }

    /// Inserts a node as number `k`. Brings it and number `beside`, which it pushed aside, into shape.
    fn insert_node(&mut self, k: usize, node: Node, beside: usize) {
        self.nodes.insert(k, node);
        self.settle(k);
        self.compress_inside(beside);
    }

    fn append_node(&mut self, node: Node) {
        let k = self.nodes.len();
        self.insert_node(k, node, k.saturating_sub(1));
    }

    /// Changes an open packed node.
    fn edit(&mut self, k: usize, f: impl FnOnce(&mut Listpack)) {
        self.nodes.edit(self.nodes.at(k), |node| node.change(f));
    }

    /// Opens a packed node for a change and closes it again, if its place demands that.
    fn change(&mut self, k: usize, f: impl FnOnce(&mut Listpack)) {
        self.decompress(k, true);
        self.edit(k, f);
        self.compress_inside(k);
    }

    /// Opens a node; `recompress` says that it is for a moment.
    fn decompress(&mut self, k: usize, recompress: bool) {
        if self.depth != 0 {
            self.nodes.edit(self.nodes.at(k), |node| node.decompress(recompress));
        }
    }

    /// Closes a node that was opened for a moment.
    fn close(&mut self, k: usize) {
        if self.depth != 0 && self.nodes.node(self.nodes.at(k)).is_to_recompress() {
            self.compress_inside(k);
        }
    }

    /// Compresses a node unless it is among those at the ends that stay open.
    fn compress_inside(&mut self, k: usize) {
        let (depth, len) = (usize::from(self.depth), self.nodes.len());
        let inside = depth != 0 && k >= depth && k + depth < len;
        if inside {
            self.nodes.edit(self.nodes.at(k), Node::compress);
        }
    }

    /// Opens the nodes at the ends that have to be open, and compresses the first ones that need not.
    fn settle_ends(&mut self) {
        let (depth, len) = (usize::from(self.depth), self.nodes.len());
        if depth == 0 || len == 0 {
            return;
        }
        for k in 0..depth.min(len) {
            self.decompress(k, false);
            self.decompress(len - 1 - k, false);
        }
        if len > 2 * depth {
            self.compress_inside(depth);
            self.compress_inside(len - 1 - depth);
        }
    }

    /// Brings a node that is new or was changed into the form its place demands, and the ends too.
    fn settle(&mut self, k: usize) {
        if self.depth != 0 {
            self.settle_ends();
            self.compress_inside(k);
        }
    }

    /// The same after nodes were split and merged: for a node, the two on either side of it, and the two
    /// at either end that new nodes may have pushed inside.
    fn settle_near(&mut self, k: usize) {
        if self.depth == 0 {
            return;
        }
        self.settle_ends();
        let (depth, len) = (usize::from(self.depth), self.nodes.len());
        let near = k.saturating_sub(2)..len.min(k + 3);
        let last = len.saturating_sub(depth);
        for k in near.chain(depth..len.min(depth + 2)).chain(last.saturating_sub(2)..last) {
            self.compress_inside(k);
        }
    }
}

/// A node as it is saved.
pub struct NodeView<'a> {
    /// One element instead of a listpack.
    pub plain: bool,
    pub count: usize,
    /// The bytes it has when it is not compressed.
    pub size: usize,
    pub bytes: NodeBytes<'a>,
}

pub enum NodeBytes<'a> {
    Raw(&'a [u8]),
    Lzf(&'a [u8]),
}

impl std::fmt::Debug for NodeView<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let kind = if self.plain { "plain" } else { "packed" };
        write!(f, "{kind} of {} in {} bytes", self.count, self.size)?;
        match self.bytes {
            NodeBytes::Raw(_) => Ok(()),
            NodeBytes::Lzf(bytes) => write!(f, ", compressed to {}", bytes.len()),
        }
    }
}

impl Clone for Quicklist {
    fn clone(&self) -> Self {
        let mut nodes = Nodes::default();
        for (k, node) in self.nodes.iter().enumerate() {
            nodes.insert(k, node.clone());
        }
        Quicklist { nodes, ..*self }
    }
}

impl std::fmt::Debug for Quicklist {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut out = f.debug_list();
        let mut elements = self.iter(ListEnd::Head);
        while let Some(element) = elements.next() {
            out.entry(&element);
        }
        out.finish()
    }
}
