//! The nodes of a quicklist in order, reachable from both ends, by number, and by the index of an
//! element.
//!
//! ```text
//!   Nodes     head            mid                                           tail
//!             node            chunk, chunk, ...                             node
//!                             = up to 128 nodes in a ring, and how many
//!                               elements they hold
//! ```
//!
//! Head and tail lie in the structure itself, so that pushing and popping touch the list, the listpack
//! and nothing between. What is between them moves only when an end is full or empty. A node is 16 bytes
//! where a doubly linked one is 32, has no neighbours to follow through memory, and the sums per chunk
//! find the node of an index without looking at every node before it.
//!
//! Measured with 10 million short elements, an index of chance, against linked nodes: 1.1 us and 7 us at
//! the usual fill, most of ours spent inside the listpack; 11 us and 32 ms with one element a node,
//! which also takes 400 MB and 640 MB. A tree of sums would take less than 11 us there, but would add
//! steps to every other operation, and lists of that shape are rare.
//!
//! A single node is the head; a second one is the tail. So `tail` implies `head`, and `mid` implies
//! `tail`. `At` names a place and is invalid after any insertion or removal of a node; numbers (`usize`,
//! from the head) are for code that inserts and removes.

use std::collections::VecDeque;

use crate::algo::lzf;
use crate::ds::block::Thin;
use crate::ds::listpack::{Listpack, Lp};
use crate::ds::moving;
use crate::sys::defrag::Mover;

use super::{MIN_COMPRESS, MIN_SAVING};

/// The uncompressed length before the LZF bytes.
const LZF_HEADER: usize = 4;

/// A chunk splits when it would exceed this.
const CHUNK: usize = 128;

/// What the bytes of a node are.
#[derive(Clone)]
pub enum Node {
    Packed {
        /// It was compressed, was opened for use, and is to be compressed again after that.
        recompress: bool,
        count: u32,
        lp: Listpack,
    },
    /// One element too big for a listpack.
    Plain { recompress: bool, data: Thin },
    /// Either of the two, compressed: the length it had (u32), then LZF.
    Lzf { plain: bool, count: u32, data: Thin },
}

const _: () = assert!(size_of::<Node>() == 16 && size_of::<Option<Node>>() == 16);
const _: () = assert!(size_of::<Nodes>() == 88);

impl Node {
    pub fn packed(lp: Listpack) -> Self {
        Node::Packed { recompress: false, count: entries(&lp), lp }
    }

    pub fn plain(data: &[u8]) -> Self {
        Node::Plain { recompress: false, data: Thin::concat(&[data]) }
    }

    #[inline]
    pub fn count(&self) -> usize {
        match self {
            Node::Packed { count, .. } | Node::Lzf { count, .. } => *count as usize,
            Node::Plain { .. } => 1,
        }
    }

    pub fn is_plain(&self) -> bool {
        matches!(self, Node::Plain { .. } | Node::Lzf { plain: true, .. })
    }

    /// The bytes it has when it is not compressed.
    #[inline]
    pub fn size(&self) -> usize {
        match self {
            Node::Packed { lp, .. } => lp.bytes().len(),
            Node::Plain { data, .. } => data.len(),
            Node::Lzf { data, .. } => split_lzf(data).0,
        }
    }

    pub fn alloc_size(&self) -> usize {
        match self {
            Node::Packed { lp, .. } => lp.alloc_size(),
            Node::Plain { data, .. } | Node::Lzf { data, .. } => data.alloc_size(),
        }
    }

    fn defrag(&mut self, mover: &mut Mover) {
        match self {
            Node::Packed { lp, .. } => lp.defrag(mover),
            Node::Plain { data, .. } | Node::Lzf { data, .. } => data.defrag(mover),
        }
    }

    /// The listpack of a node that is known to be packed and open.
    pub fn lp(&self) -> &Lp {
        match self {
            Node::Packed { lp, .. } => lp,
            _ => unreachable!("the node was opened, and is not plain"),
        }
    }
}

impl Node {
    /// Changes the listpack of a node that is known to be packed and open.
    pub fn change<R>(&mut self, f: impl FnOnce(&mut Listpack) -> R) -> R {
        let Node::Packed { lp, count, .. } = self else {
            unreachable!("the node was opened, and is not plain")
        };
        let result = f(lp);
        *count = entries(lp);
        result
    }

    pub fn is_to_recompress(&self) -> bool {
        matches!(self, Node::Packed { recompress: true, .. } | Node::Plain { recompress: true, .. })
    }

    /// Compresses the node if that saves enough; it need not be compressed again in either case.
    pub fn compress(&mut self) {
        let (plain, bytes) = match self {
            Node::Packed { recompress, lp, .. } => {
                *recompress = false;
                (false, lp.bytes())
            }
            Node::Plain { recompress, data } => {
                *recompress = false;
                (true, &**data)
            }
            Node::Lzf { .. } => return,
        };
        let Ok(len) = u32::try_from(bytes.len()) else { return };
        if bytes.len() < MIN_COMPRESS {
            return;
        }
        let mut data = Vec::with_capacity(LZF_HEADER + bytes.len());
        data.extend(len.to_le_bytes());
        if !lzf::compress(bytes, &mut data, bytes.len())
            || data.len() - LZF_HEADER + MIN_SAVING >= bytes.len()
        {
            return;
        }
        let data = Thin::concat(&[&data]);
        let count = u32::try_from(self.count()).expect("it was a u32");
        *self = Node::Lzf { plain, count, data };
    }

    /// Opens the node; `for_a_moment` says that it is to be compressed again. One that is open stays so.
    pub fn decompress(&mut self, for_a_moment: bool) {
        let Node::Lzf { plain, count, data } = self else { return };
        let bytes = decompressed(data);
        *self = if *plain {
            Node::Plain { recompress: for_a_moment, data: Thin::concat(&[&bytes]) }
        } else {
            Node::Packed {
                recompress: for_a_moment,
                count: *count,
                lp: Listpack::from(Lp::trusted(&bytes)),
            }
        };
    }
}

fn entries(lp: &Lp) -> u32 {
    u32::try_from(lp.len()).expect("an entry takes two bytes, and a listpack is below 4 GiB")
}

/// The bytes of a compressed node.
pub fn decompressed(data: &Thin) -> Vec<u8> {
    let (len, lzf) = split_lzf(data);
    lzf::decompress(lzf, len).expect("what was compressed here can be decompressed")
}

/// The uncompressed length and the LZF bytes of a compressed node.
pub fn split_lzf(data: &Thin) -> (usize, &[u8]) {
    let (len, lzf) =
        data.split_first_chunk::<LZF_HEADER>().expect("every compressed node starts with its length");
    (u32::from_le_bytes(*len) as usize, lzf)
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum At {
    Head,
    Mid { chunk: u32, slot: u32 },
    Tail,
}

#[derive(Default)]
struct Chunk {
    nodes: VecDeque<Node>,
    /// The elements in these nodes.
    count: usize,
}

impl Chunk {
    fn of(nodes: VecDeque<Node>) -> Self {
        let count = nodes.iter().map(Node::count).sum();
        Chunk { nodes, count }
    }

    fn insert(&mut self, slot: usize, node: Node) {
        debug_assert!(self.nodes.len() < CHUNK && slot <= self.nodes.len());
        if self.nodes.len() == self.nodes.capacity() {
            // By doubling from one on: the ring's own first step is to four, too much for short lists.
            self.nodes.reserve_exact(self.nodes.len().max(1));
        }
        self.count += node.count();
        self.nodes.insert(slot, node);
    }
}

#[derive(Default)]
pub struct Nodes {
    head: Option<Node>,
    tail: Option<Node>,
    mid: VecDeque<Chunk>,
    len: u32,
    count: usize,
    /// What the blocks of the nodes in `mid` cost in the allocator.
    mid_bytes: usize,
}

impl Nodes {
    /// The number of nodes.
    #[inline]
    pub fn len(&self) -> usize {
        self.len as usize
    }

    /// The number of elements in all nodes.
    #[inline]
    pub fn count(&self) -> usize {
        self.count
    }

    /// What the blocks of all nodes cost in the allocator.
    pub fn alloc_size(&self) -> usize {
        let end = |node: &Option<Node>| node.as_ref().map_or(0, Node::alloc_size);
        end(&self.head) + end(&self.tail) + self.mid_bytes
    }

    /// Moves the blocks of a chunk, and with the first those of the ends; false at the end.
    pub fn defrag(&mut self, chunk: usize, mover: &mut Mover) -> bool {
        if chunk == 0 {
            self.head.iter_mut().chain(&mut self.tail).for_each(|n| n.defrag(mover));
            moving::ring(&mut self.mid, mover);
        }
        if let Some(c) = self.mid.get_mut(chunk) {
            moving::ring(&mut c.nodes, mover);
            c.nodes.iter_mut().for_each(|n| n.defrag(mover));
        }
        chunk + 1 < self.mid.len()
    }

    pub fn first(&self) -> Option<At> {
        (self.len > 0).then_some(At::Head)
    }

    pub fn last(&self) -> Option<At> {
        self.len().checked_sub(1).map(|k| self.at(k))
    }

    #[inline]
    pub fn node(&self, at: At) -> &Node {
        match at {
            At::Head => self.head.as_ref().expect("a place is that of a node"),
            At::Tail => self.tail.as_ref().expect("a place is that of a node"),
            At::Mid { chunk, slot } => &self.mid[chunk as usize].nodes[slot as usize],
        }
    }

    /// Changes a node; all sums follow.
    pub fn edit<R>(&mut self, at: At, f: impl FnOnce(&mut Node) -> R) -> R {
        let (mut free, mut no_bytes) = (0, 0);
        let (node, sum, bytes) = match at {
            At::Head => {
                (self.head.as_mut().expect("a place is that of a node"), &mut free, &mut no_bytes)
            }
            At::Tail => {
                (self.tail.as_mut().expect("a place is that of a node"), &mut free, &mut no_bytes)
            }
            At::Mid { chunk, slot } => {
                let chunk = &mut self.mid[chunk as usize];
                (&mut chunk.nodes[slot as usize], &mut chunk.count, &mut self.mid_bytes)
            }
        };
        let (before, bytes_before) = (node.count(), node.alloc_size());
        let result = f(node);
        let change = node.count().wrapping_sub(before);
        *sum = sum.wrapping_add(change);
        *bytes = bytes.wrapping_add(node.alloc_size()).wrapping_sub(bytes_before);
        self.count = self.count.wrapping_add(change);
        result
    }

    /// The head as an open listpack, and the sum that a change of its count must reach.
    #[inline]
    pub fn head_packed(&mut self) -> Option<(&mut Listpack, &mut u32, &mut usize)> {
        match &mut self.head {
            Some(Node::Packed { lp, count, .. }) => Some((lp, count, &mut self.count)),
            _ => None,
        }
    }

    /// The same for the last node.
    #[inline]
    pub fn tail_packed(&mut self) -> Option<(&mut Listpack, &mut u32, &mut usize)> {
        let last = if self.tail.is_some() { &mut self.tail } else { &mut self.head };
        match last {
            Some(Node::Packed { lp, count, .. }) => Some((lp, count, &mut self.count)),
            _ => None,
        }
    }

    pub fn next(&self, at: At) -> Option<At> {
        let (chunk, slot) = match at {
            At::Tail => return None,
            At::Head => (0, 0),
            At::Mid { chunk, slot } if self.mid[chunk as usize].nodes.len() > slot as usize + 1 => {
                (chunk, slot + 1)
            }
            At::Mid { chunk, .. } => (chunk + 1, 0),
        };
        if (chunk as usize) < self.mid.len() {
            Some(At::Mid { chunk, slot })
        } else {
            self.tail.is_some().then_some(At::Tail)
        }
    }

    pub fn prev(&self, at: At) -> Option<At> {
        let chunk = match at {
            At::Head => return None,
            At::Tail => self.mid.len().checked_sub(1),
            At::Mid { chunk, slot } if slot > 0 => return Some(At::Mid { chunk, slot: slot - 1 }),
            At::Mid { chunk, .. } => (chunk as usize).checked_sub(1),
        };
        Some(match chunk {
            None => At::Head,
            Some(chunk) => mid_at(chunk, self.mid[chunk].nodes.len() - 1),
        })
    }

    /// The place of a number below `len`.
    pub fn at(&self, k: usize) -> At {
        assert!(k < self.len());
        if k == 0 {
            At::Head
        } else if k == self.len() - 1 {
            At::Tail
        } else {
            let (chunk, slot) = self.locate(k - 1);
            mid_at(chunk, slot)
        }
    }

    pub fn number(&self, at: At) -> usize {
        match at {
            At::Head => 0,
            At::Tail => self.len() - 1,
            At::Mid { chunk, slot } => {
                let (chunk, slot) = (chunk as usize, slot as usize);
                let nodes = |chunks: std::ops::Range<usize>| -> usize {
                    self.mid.range(chunks).map(|c| c.nodes.len()).sum()
                };
                if chunk < self.mid.len() / 2 {
                    1 + nodes(0..chunk) + slot
                } else {
                    self.len() - 1 - nodes(chunk..self.mid.len()) + slot
                }
            }
        }
    }

    /// Chunk and slot of the `j`th node between head and tail; the place behind the last is allowed.
    fn locate(&self, j: usize) -> (usize, usize) {
        let len = self.len().saturating_sub(2);
        debug_assert!(j <= len);
        if j < len / 2 {
            let mut slot = j;
            for (chunk, c) in self.mid.iter().enumerate() {
                if slot < c.nodes.len() {
                    return (chunk, slot);
                }
                slot -= c.nodes.len();
            }
        } else {
            let mut behind = len - j;
            for (chunk, c) in self.mid.iter().enumerate().rev() {
                if behind <= c.nodes.len() {
                    return (chunk, c.nodes.len() - behind);
                }
                behind -= c.nodes.len();
            }
        }
        unreachable!("the chunks hold all nodes but head and tail")
    }

    /// The node that holds the element of an index below `count`, and the element's index in it.
    pub fn seek(&self, index: usize) -> (At, usize) {
        assert!(index < self.count);
        let head = self.head.as_ref().map_or(0, Node::count);
        if index < head {
            return (At::Head, index);
        }
        let tail = self.tail.as_ref().map_or(0, Node::count);
        if index >= self.count - tail {
            return (At::Tail, index - (self.count - tail));
        }
        if index < self.count / 2 {
            self.seek_forward(index - head)
        } else {
            self.seek_backward(self.count - tail - index)
        }
    }

    /// The element with `ahead` others between the head and it.
    fn seek_forward(&self, mut ahead: usize) -> (At, usize) {
        for (chunk, c) in self.mid.iter().enumerate() {
            if ahead < c.count {
                for (slot, node) in c.nodes.iter().enumerate() {
                    if ahead < node.count() {
                        return (mid_at(chunk, slot), ahead);
                    }
                    ahead -= node.count();
                }
            }
            ahead -= c.count;
        }
        unreachable!("the sums are those of the nodes")
    }

    /// The element `behind` places before the tail's first.
    fn seek_backward(&self, mut behind: usize) -> (At, usize) {
        for (chunk, c) in self.mid.iter().enumerate().rev() {
            if behind <= c.count {
                for (slot, node) in c.nodes.iter().enumerate().rev() {
                    if behind <= node.count() {
                        return (mid_at(chunk, slot), node.count() - behind);
                    }
                    behind -= node.count();
                }
            }
            behind -= c.count;
        }
        unreachable!("the sums are those of the nodes")
    }

    pub fn iter(&self) -> impl Iterator<Item = &Node> {
        let mid = self.mid.iter().flat_map(|c| c.nodes.iter());
        self.head.iter().chain(mid).chain(self.tail.iter())
    }

    /// Makes `node` the one with number `k`.
    pub fn insert(&mut self, k: usize, node: Node) {
        assert!(k <= self.len());
        self.count += node.count();
        if self.len == 0 {
            self.head = Some(node);
        } else if k == 0 {
            match self.head.replace(node) {
                old if self.tail.is_none() => self.tail = old,
                old => self.insert_mid(0, old.expect("a list with a tail has a head")),
            }
        } else if k == self.len() {
            if let Some(old) = self.tail.replace(node) {
                self.insert_mid(k - 2, old);
            }
        } else {
            self.insert_mid(k - 1, node);
        }
        self.len = self.len.checked_add(1).expect("fewer than 2^32 nodes");
    }

    /// `len` still counts without the node.
    fn insert_mid(&mut self, j: usize, node: Node) {
        if self.mid.is_empty() {
            self.mid.reserve_exact(1);
            self.mid.push_back(Chunk::default());
        }
        let (mut chunk, mut slot) = if j == 0 { (0, 0) } else { self.locate(j) };
        let full = self.mid[chunk].nodes.len();
        if full >= CHUNK {
            // At the ends a chunk is left full, as it is by steady pushing; elsewhere it is halved.
            if chunk == 0 && slot == 0 {
                self.mid.push_front(Chunk::default());
            } else if chunk + 1 == self.mid.len() && slot == full {
                self.mid.push_back(Chunk::default());
                (chunk, slot) = (chunk + 1, 0);
            } else {
                let upper = Chunk::of(self.mid[chunk].nodes.split_off(CHUNK / 2));
                self.mid[chunk].count -= upper.count;
                self.mid.insert(chunk + 1, upper);
                if slot > CHUNK / 2 {
                    (chunk, slot) = (chunk + 1, slot - CHUNK / 2);
                }
            }
        }
        self.mid_bytes += node.alloc_size();
        self.mid[chunk].insert(slot, node);
    }

    /// Takes the node with number `k` out.
    pub fn remove(&mut self, k: usize) -> Node {
        assert!(k < self.len());
        let mid = self.len() - usize::from(self.tail.is_some()) - 1;
        let node = if k == 0 {
            let next = if mid > 0 { Some(self.remove_mid(0)) } else { self.tail.take() };
            std::mem::replace(&mut self.head, next)
        } else if k == self.len() - 1 {
            let prev = if mid > 0 { Some(self.remove_mid(mid - 1)) } else { None };
            std::mem::replace(&mut self.tail, prev)
        } else {
            Some(self.remove_mid(k - 1))
        };
        let node = node.expect("the number is that of a node");
        self.len -= 1;
        self.count -= node.count();
        node
    }

    /// `len` still counts with the node.
    fn remove_mid(&mut self, j: usize) -> Node {
        let (chunk, slot) = self.locate(j);
        let c = &mut self.mid[chunk];
        let node = c.nodes.remove(slot).expect("located there");
        c.count -= node.count();
        self.mid_bytes -= node.alloc_size();
        self.tidy(chunk);
        node
    }

    /// After nodes left a chunk: none is empty, and none is small beside a small one.
    fn tidy(&mut self, chunk: usize) {
        let nodes = |i: usize| self.mid.get(i).map_or(CHUNK, |c| c.nodes.len());
        if nodes(chunk) == 0 {
            self.mid.remove(chunk);
        } else if nodes(chunk) + nodes(chunk + 1) <= CHUNK / 2 {
            let mut next = self.mid.remove(chunk + 1).expect("it has nodes");
            self.mid[chunk].nodes.append(&mut next.nodes);
            self.mid[chunk].count += next.count;
        }
    }

    /// Drops `n` nodes from number `k` on.
    pub fn remove_span(&mut self, k: usize, n: usize) {
        let end = k.checked_add(n).filter(|end| *end <= self.len()).expect("the span lies in the list");
        if k == 0 || end == self.len() {
            // Taking from the ends costs nothing to find.
            for _ in 0..n {
                drop(self.remove(if k == 0 { 0 } else { self.len() - 1 }));
            }
            return;
        }
        let mut left = n;
        while left > 0 {
            let (chunk, slot) = self.locate(k - 1);
            let c = &mut self.mid[chunk];
            let here = left.min(c.nodes.len() - slot);
            let (mut gone, mut bytes) = (0, 0);
            for node in c.nodes.drain(slot..slot + here) {
                (gone, bytes) = (gone + node.count(), bytes + node.alloc_size());
            }
            c.count -= gone;
            self.mid_bytes -= bytes;
            self.count -= gone;
            self.len -= u32::try_from(here).expect("at most a chunk");
            left -= here;
            self.tidy(chunk);
        }
    }
}

fn mid_at(chunk: usize, slot: usize) -> At {
    let small = |n: usize| u32::try_from(n).expect("fewer than 2^32 nodes");
    At::Mid { chunk: small(chunk), slot: small(slot) }
}

#[cfg(test)]
mod tests {
    use super::super::Quicklist;
    use super::*;
    use crate::ds::listpack::Element;
    use crate::ds::prop::Source;

    fn node(count: usize) -> Node {
        Node::packed(Listpack::of((0..count).map(|_| Element::Int(1))))
    }

    /// Every sum and every way to a node, against a vector of counts.
    fn check(nodes: &Nodes, twin: &[usize], s: &mut Source<'_>) {
        assert!(nodes.iter().map(Node::count).eq(twin.iter().copied()));
        assert_eq!((nodes.len(), nodes.count()), (twin.len(), twin.iter().sum()));
        assert_eq!(nodes.alloc_size(), nodes.iter().map(Node::alloc_size).sum::<usize>());
        assert!(nodes.mid.iter().all(|c| {
            (1..=CHUNK).contains(&c.nodes.len())
                && c.count == c.nodes.iter().map(Node::count).sum::<usize>()
        }));
        let mut at = nodes.first();
        for k in 0..twin.len() {
            let here = at.expect("as many places as nodes");
            assert_eq!((nodes.at(k), nodes.number(here)), (here, k));
            at = nodes.next(here);
            if let Some(next) = at {
                assert_eq!(nodes.prev(next), Some(here));
            }
        }
        assert_eq!(at, None);
        assert_eq!(nodes.last(), twin.len().checked_sub(1).map(|k| nodes.at(k)));
        for _ in 0..4.min(nodes.count()) {
            let index = s.below(nodes.count());
            let (mut k, mut rest) = (0, index);
            while rest >= twin[k] {
                rest -= twin[k];
                k += 1;
            }
            assert_eq!(nodes.seek(index), (nodes.at(k), rest));
        }
    }

    #[test]
    fn it_does_what_a_vector_does() {
        for seed in 0..24 {
            let s = &mut Source::seeded(seed);
            let (mut nodes, mut twin) = (Nodes::default(), Vec::new());
            let grow = 2 + s.below(12);
            for _ in 0..700 {
                let count = 1 + s.below(3);
                match s.below(grow) {
                    0 if !twin.is_empty() => {
                        let k = s.below(twin.len());
                        let k = s.pick(&[0, k, k, twin.len() - 1]);
                        assert_eq!(nodes.remove(k).count(), twin.remove(k));
                    }
                    1 if !twin.is_empty() && s.one_in(6) => {
                        let k = s.below(twin.len());
                        let n = 1 + s.below((twin.len() - k).min(300));
                        nodes.remove_span(k, n);
                        twin.drain(k..k + n);
                    }
                    1 if !twin.is_empty() => {
                        let k = s.below(twin.len());
                        let size = count + 40 * s.below(2);
                        nodes.edit(nodes.at(k), |n| *n = node(size));
                        let count = size;
                        twin[k] = count;
                    }
                    _ => {
                        let k = s.below(twin.len() + 1);
                        let k = s.pick(&[0, k, twin.len(), twin.len()]);
                        nodes.insert(k, node(count));
                        twin.insert(k, count);
                    }
                }
                if s.one_in(5) {
                    let mut chunk = 0;
                    while nodes.defrag(chunk, &mut Mover::always()) {
                        chunk += 1;
                    }
                    check(&nodes, &twin, s);
                }
            }
            check(&nodes, &twin, s);
        }
    }

    #[test]
    fn lists_take_no_more_than_linked_ones() {
        for n in 1..300 {
            let mut nodes = Nodes::default();
            (0..n).for_each(|k| nodes.insert(k, node(1)));
            let chunks: usize = nodes.mid.iter().map(|c| c.nodes.capacity() * size_of::<Node>()).sum();
            let bytes = size_of::<Quicklist>() + nodes.mid.capacity() * size_of::<Chunk>() + chunks;
            // A linked list takes 40 bytes, and 32 for each node; only the shortest may cost a little
            // more.
            let spare = if n < 4 { 24 } else { 0 };
            assert!(bytes <= 40 + 32 * n + spare, "{n} nodes take {bytes} bytes");
        }
    }
}
