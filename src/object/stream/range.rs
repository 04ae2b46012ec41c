//! A walk over the entries between two IDs, in either direction.
//!
//! It starts in the last block without asking the tree, when the range begins there; else with one
//! descent. What it passes over on the way to the first entry is one block at most.

use super::entries::Log;
use super::id::Id;
use super::node::{Master, StreamEntry, StreamNode};
use crate::ds::listpack::{Iter, Listpack, Pos};
use crate::ds::rax::{self, Seek};

pub struct Range<'a> {
    log: &'a Log,
    /// Stands at the current block, once it has been moved at all.
    tree: Option<rax::Iter<'a, Option<Listpack>>>,
    current: Option<Open<'a>>,
    /// The ID of the block that was entered last.
    block: Id,
    started: bool,
    from: Id,
    to: Id,
    back: bool,
    deleted_too: bool,
    /// Past the range.
    done: bool,
}

/// A block that is being walked through.
struct Open<'a> {
    node: StreamNode<'a>,
    master: Master<'a>,
    /// Where it goes on: forth, and back.
    forth: Iter<'a>,
    back: Option<Pos>,
}

impl<'a> Range<'a> {
    pub(super) fn new(log: &'a Log, from: Id, to: Id, back: bool) -> Self {
        Range {
            log,
            tree: None,
            current: None,
            block: Id::MIN,
            started: false,
            from,
            to,
            back,
            deleted_too: false,
            done: false,
        }
    }

    /// Gives deleted entries too.
    pub fn with_deleted(mut self) -> Self {
        self.deleted_too = true;
        self
    }

    /// The block of the entry that was given last.
    pub(super) fn block(&self) -> Id {
        self.block
    }

    fn open(&mut self, node: StreamNode<'a>) {
        self.block = node.id;
        let master = node.master();
        let forth = master.entries.clone();
        let back = if self.back { node.last() } else { None };
        self.current = Some(Open { node, master, forth, back });
    }

    /// Enters the next block; false when there is none.
    fn advance(&mut self) -> bool {
        let found = if self.started { self.beside() } else { self.first_block() };
        self.started = true;
        match found {
            Some(node) => {
                self.open(node);
                true
            }
            None => false,
        }
    }

    fn first_block(&mut self) -> Option<StreamNode<'a>> {
        let (last, lp) = self.log.tail.as_ref()?;
        let start = if self.back { self.to } else { self.from };
        if start >= *last {
            return Some(StreamNode { id: *last, lp });
        }
        let mut tree = self.log.blocks.iter();
        // Before the first block: forth there is still all of it. Back there is nothing, unless IDs are
        // out of order.
        let found = tree.seek(Seek::Le(&start.key()))
            || match self.back {
                false => tree.seek(Seek::First),
                true => self.to >= self.log.first_id && tree.seek(Seek::Last),
            };
        let node = if found { tree.next() } else { None };
        let node = node.and_then(|(key, lp)| self.node(key, lp));
        self.tree = Some(tree);
        node
    }

    fn beside(&mut self) -> Option<StreamNode<'a>> {
        let (last, _) = self.log.tail.as_ref()?;
        if !self.back && self.block == *last {
            return None;
        }
        let mut tree = match self.tree.take() {
            Some(tree) => tree,
            None => {
                let mut tree = self.log.blocks.iter();
                tree.seek(Seek::Last);
                tree.next();
                tree
            }
        };
        let node = if self.back { tree.prev() } else { tree.next() };
        let node = node.and_then(|(key, lp)| self.node(key, lp));
        self.tree = Some(tree);
        node
    }

    fn node(&self, key: &[u8], lp: &'a Option<Listpack>) -> Option<StreamNode<'a>> {
        let id = Id::from_key(key)?;
        let lp = lp.as_ref().or(self.log.tail.as_ref().map(|(_, lp)| lp))?;
        Some(StreamNode { id, lp })
    }
}

impl<'a> Iterator for Range<'a> {
    type Item = StreamEntry<'a>;

    fn next(&mut self) -> Option<StreamEntry<'a>> {
        while !self.done {
            let Some(open) = &mut self.current else {
                self.done = !self.advance();
                continue;
            };
            let entry = if self.back {
                open.back.and_then(|at| open.node.entry_back(&open.master, at)).map(|(entry, at)| {
                    open.back = at;
                    entry
                })
            } else {
                open.node.entry(&open.master, &mut open.forth)
            };
            let Some(entry) = entry else {
                self.current = None;
                continue;
            };
            let early = if self.back { entry.id > self.to } else { entry.id < self.from };
            if early || (entry.is_deleted() && !self.deleted_too) {
                continue;
            }
            let late = if self.back { entry.id < self.from } else { entry.id > self.to };
            if late {
                self.done = true;
                return None;
            }
            return Some(entry);
        }
        None
    }
}
