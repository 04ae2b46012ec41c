//! Walking a quicklist: `Iter` reads, `Cursor` changes what it passes.
//!
//! Both go from either end, from an element of their choice. `Iter` lends its elements, because those of
//! a compressed node live in a buffer of its own until it goes on. `Cursor` opens a compressed node in
//! place and closes it when it leaves.
//!
//! A cursor stands on the element that `next` gave last. It already knows the one that follows, so that
//! `delete` may take away the ground; after an insertion or a replacement nodes may have been split and
//! merged, so these consume the cursor.

use crate::ds::listpack::{self, Element, Lp, Pos, Sink};

use super::nodes::{At, Node, Nodes, decompressed};
use super::{ListEnd, Quicklist};

/// What of the current node is still to come.
enum Ahead<'a> {
    Packed(listpack::Iter<'a>),
    Plain(Option<&'a [u8]>),
    /// A compressed node's listpack, and the entry to give next.
    Opened(Vec<u8>, Option<Pos>),
    /// A compressed plain node, and whether it was given.
    OpenedPlain(Vec<u8>, bool),
}

/// Lends the elements in order.
pub struct Iter<'a> {
    nodes: &'a Nodes,
    /// The node that `ahead` is of; none before the first step through an empty list, or behind the
    /// last.
    at: Option<At>,
    ahead: Ahead<'a>,
    from: ListEnd,
}

impl<'a> Iter<'a> {
    /// Starts in the node at `at` with its `offset`th element, or its first as seen from where it comes.
    fn new(nodes: &'a Nodes, at: Option<At>, offset: Option<usize>, from: ListEnd) -> Self {
        let ahead = at.map_or(Ahead::Plain(None), |at| enter(nodes.node(at), offset, from));
        Iter { nodes, at, ahead, from }
    }

    /// The next element, on loan until the one after it.
    #[expect(clippy::should_implement_trait, reason = "an Iterator cannot lend")]
    #[inline]
    pub fn next(&mut self) -> Option<Element<'_>> {
        if let Ahead::Packed(entries) = &mut self.ahead {
            let value = if self.from == ListEnd::Head { entries.next() } else { entries.next_back() };
            if value.is_some() {
                return value;
            }
        }
        self.next_elsewhere()
    }

    /// Shows the next `n` elements, as far as there are so many.
    #[inline]
    pub fn show(mut self, mut n: usize, sink: &mut impl Sink) {
        while n > 0 {
            if let (Ahead::Packed(entries), ListEnd::Head) = (&mut self.ahead, self.from) {
                // Most of it, in a loop of its own.
                let mut entries = entries.clone();
                n = sink.run(&mut entries, n);
                self.ahead = Ahead::Packed(entries);
                if n == 0 {
                    return;
                }
            }
            let Some(e) = self.next() else { return };
            sink.one(e);
            n -= 1;
        }
    }

    /// The next element where the current listpack has none.
    fn next_elsewhere(&mut self) -> Option<Element<'_>> {
        while self.ahead.is_empty() {
            self.at = step(self.nodes, self.at?, self.from);
            self.ahead = enter(self.nodes.node(self.at?), None, self.from);
        }
        match &mut self.ahead {
            Ahead::Packed(entries) if self.from == ListEnd::Head => entries.next(),
            Ahead::Packed(entries) => entries.next_back(),
            Ahead::Plain(data) => data.take().map(Element::Str),
            Ahead::Opened(bytes, pos) => {
                let lp = Lp::trusted(bytes);
                let here = pos.take()?;
                *pos = step_in(lp, here, self.from);
                Some(lp.get(here))
            }
            Ahead::OpenedPlain(bytes, given) => {
                *given = true;
                Some(Element::Str(bytes))
            }
        }
    }
}

impl Ahead<'_> {
    #[inline]
    fn is_empty(&self) -> bool {
        match self {
            Ahead::Packed(entries) => entries.is_done(),
            Ahead::Plain(data) => data.is_none(),
            Ahead::Opened(_, pos) => pos.is_none(),
            Ahead::OpenedPlain(_, given) => *given,
        }
    }
}

fn enter(node: &Node, offset: Option<usize>, from: ListEnd) -> Ahead<'_> {
    match node {
        Node::Packed { lp, .. } => Ahead::Packed(match (place_in(lp, offset, from), from) {
            (Some(pos), ListEnd::Head) => lp.iter_from(pos),
            (Some(pos), ListEnd::Tail) => lp.iter_to(pos),
            (None, _) => unreachable!("no node is empty, and the offset is inside"),
        }),
        Node::Plain { data, .. } => Ahead::Plain(Some(data)),
        Node::Lzf { plain: true, data, .. } => Ahead::OpenedPlain(decompressed(data), false),
        Node::Lzf { data, .. } => {
            let bytes = decompressed(data);
            let pos = place_in(Lp::trusted(&bytes), offset, from);
            Ahead::Opened(bytes, pos)
        }
    }
}

/// The entry to start with.
fn place_in(lp: &Lp, offset: Option<usize>, from: ListEnd) -> Option<Pos> {
    match (offset, from) {
        (Some(offset), _) => lp.seek(i64::try_from(offset).ok()?),
        (None, ListEnd::Head) => lp.first(),
        (None, ListEnd::Tail) => lp.last(),
    }
}

#[inline]
fn step_in(lp: &Lp, pos: Pos, from: ListEnd) -> Option<Pos> {
    match from {
        ListEnd::Head => lp.next(pos),
        ListEnd::Tail => lp.prev(pos),
    }
}

fn step(nodes: &Nodes, at: At, from: ListEnd) -> Option<At> {
    match from {
        ListEnd::Head => nodes.next(at),
        ListEnd::Tail => nodes.prev(at),
    }
}

impl Quicklist {
    /// All elements.
    pub fn iter(&self, from: ListEnd) -> Iter<'_> {
        let at = match from {
            ListEnd::Head => self.nodes.first(),
            ListEnd::Tail => self.nodes.last(),
        };
        Iter::new(&self.nodes, at, None, from)
    }

    /// The elements from an index on (negative: from the end), towards the end that is not `from`.
    pub fn iter_at(&self, index: i64, from: ListEnd) -> Option<Iter<'_>> {
        let (at, offset) = self.nodes.seek(self.resolve(index)?);
        Some(Iter::new(&self.nodes, Some(at), Some(offset), from))
    }

    /// A cursor before the element of an index, going towards the end that is not `from`.
    pub fn cursor_at(&mut self, index: i64, from: ListEnd) -> Option<Cursor<'_>> {
        let (at, offset) = self.nodes.seek(self.resolve(index)?);
        Some(Cursor {
            list: self,
            from,
            place: Place::Outside(at, Some(offset)),
            here: None,
            changed: false,
        })
    }
}

/// Where an element lies in its node: at a position, or it is the whole node.
type Spot = Option<Pos>;

enum Place {
    /// Before a node, to be entered at an offset.
    Outside(At, Option<usize>),
    /// In an open node, with what comes next in it.
    Inside(At, Option<Spot>),
    Behind,
}

pub struct Cursor<'a> {
    list: &'a mut Quicklist,
    from: ListEnd,
    place: Place,
    /// The element it stands on.
    here: Option<Spot>,
    /// The node it is in was changed.
    changed: bool,
}

impl Cursor<'_> {
    /// Goes to the next element.
    #[expect(clippy::should_implement_trait, reason = "an Iterator cannot lend")]
    pub fn next(&mut self) -> Option<Element<'_>> {
        let (at, spot) = loop {
            match self.place {
                Place::Inside(at, Some(spot)) => break (at, spot),
                Place::Inside(at, None) => {
                    self.leave();
                    self.place = match step(&self.list.nodes, at, self.from) {
                        Some(next) => Place::Outside(next, None),
                        None => Place::Behind,
                    };
                }
                Place::Outside(at, offset) => self.enter(at, offset),
                Place::Behind => {
                    self.here = None;
                    return None;
                }
            }
        };
        self.here = Some(spot);
        let after = spot.and_then(|pos| step_in(self.list.nodes.node(at).lp(), pos, self.from));
        self.place = Place::Inside(at, after.map(Some));
        Some(match (self.list.nodes.node(at), spot) {
            (Node::Packed { lp, .. }, Some(pos)) => lp.get(pos),
            (Node::Plain { data, .. }, _) => Element::Str(data),
            _ => unreachable!("the node was opened"),
        })
    }

    fn enter(&mut self, at: At, offset: Option<usize>) {
        self.list.nodes.edit(at, |node| node.decompress(true));
        let spot = match self.list.nodes.node(at) {
            Node::Packed { lp, .. } => Some(place_in(lp, offset, self.from).expect("no node is empty")),
            _ => None,
        };
        self.place = Place::Inside(at, Some(spot));
    }

    /// Closes the node it is in, if there is one.
    fn leave(&mut self) {
        let Place::Inside(at, _) = self.place else { return };
        let k = self.list.nodes.number(at);
        if std::mem::take(&mut self.changed) {
            self.list.settle(k);
        } else {
            self.list.close(k);
        }
    }

    /// Removes the element it stands on; it then stands on none.
    pub fn delete(&mut self) {
        let spot = self.here.take().expect("it stands on an element");
        let Place::Inside(at, next) = self.place else { unreachable!("it stands on an element") };
        let k = self.list.nodes.number(at);
        let (after, gone) = self.list.delete_in(at, spot);
        if gone {
            self.changed = false;
            let next = if self.from == ListEnd::Head { Some(k) } else { k.checked_sub(1) };
            self.place = match next.filter(|k| *k < self.list.nodes.len()) {
                Some(k) => Place::Outside(self.list.nodes.at(k), None),
                None => Place::Behind,
            };
        } else {
            self.changed = true;
            let next = if self.from == ListEnd::Head { after.map(Some) } else { next };
            self.place = Place::Inside(at, next);
        }
    }

    /// Inserts before the element it stands on, seen from the head.
    pub fn insert_before(self, value: &[u8]) {
        self.finish(|list, at, spot| list.insert_beside(at, spot, value, false));
    }

    /// Inserts behind the element it stands on, seen from the head.
    pub fn insert_after(self, value: &[u8]) {
        self.finish(|list, at, spot| list.insert_beside(at, spot, value, true));
    }

    /// Puts a value in the place of the element it stands on.
    pub fn replace(self, value: &[u8]) {
        self.finish(|list, at, spot| list.replace_in(at, spot, value));
    }

    fn finish(mut self, f: impl FnOnce(&mut Quicklist, At, Spot)) {
        let spot = self.here.expect("it stands on an element");
        let Place::Inside(at, _) = self.place else { unreachable!("it stands on an element") };
        // The change closes the nodes it opened, so nothing is left to do on drop.
        self.place = Place::Behind;
        f(self.list, at, spot);
    }
}

impl Drop for Cursor<'_> {
    fn drop(&mut self) {
        self.leave();
    }
}
