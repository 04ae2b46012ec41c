//! Streams: a log of entries, and groups of consumers that read it together.
//!
//! ```text
//!   Stream ── log ──────► blocks of entries by ID          entries.rs, node.rs, range.rs
//!         └── groups ───► name ──► Group ──► consumers     group.rs
//! ```
//!
//! The two halves are fields, so that a group changes while the log is read. What takes both (how far
//! behind a group is) stands here.
//!
//! A stream without entries is a value like any other: it stays until its key is deleted.

pub mod entries;
pub mod group;
pub mod id;
pub mod node;
pub mod range;
#[cfg(test)]
mod tests;

use super::digest::Digest;
use super::value::ValueKind;
use crate::ds::entry::{enc, ty};
use crate::ds::moving::{self, DefragCursor};
use crate::ds::rax::{Rax, Seek};
use crate::sys::defrag::Mover;
use entries::Log;
use group::Group;
use id::Id;
use std::ops::{Deref, DerefMut};

/// Keys of a tree that one step of a walk goes through.
const DEFRAG_STEP: usize = 16;
/// The first part of a walk; what follows is one group after the other.
const LOG: u32 = 0;

#[derive(Clone, Default)]
pub struct Stream(pub(super) Box<Parts>);

#[derive(Clone, Default)]
pub struct Parts {
    pub log: Log,
    pub groups: Groups,
}

impl Deref for Stream {
    type Target = Parts;
    #[inline]
    fn deref(&self) -> &Parts {
        &self.0
    }
}

impl DerefMut for Stream {
    #[inline]
    fn deref_mut(&mut self) -> &mut Parts {
        &mut self.0
    }
}

/// Groups by name.
#[derive(Default)]
pub struct Groups {
    tree: Rax<Box<Group>>,
    /// Bytes of all groups, without the tree.
    bytes: usize,
}

/// A group that may be changed; its size is taken anew when that is over.
pub struct GroupMut<'a> {
    group: &'a mut Group,
    all: &'a mut usize,
}

impl<'a> GroupMut<'a> {
    fn new(group: &'a mut Group, all: &'a mut usize) -> Self {
        *all -= group.heap_bytes();
        GroupMut { group, all }
    }
}

impl Drop for GroupMut<'_> {
    fn drop(&mut self) {
        *self.all += self.group.heap_bytes();
    }
}

impl Deref for GroupMut<'_> {
    type Target = Group;
    fn deref(&self) -> &Group {
        self.group
    }
}

impl DerefMut for GroupMut<'_> {
    fn deref_mut(&mut self) -> &mut Group {
        self.group
    }
}

impl Groups {
    pub fn len(&self) -> usize {
        self.tree.len()
    }

    pub fn is_empty(&self) -> bool {
        self.tree.is_empty()
    }

    pub fn get(&self, name: &[u8]) -> Option<&Group> {
        self.tree.find(name).map(|g| &**g)
    }

    pub fn get_mut(&mut self, name: &[u8]) -> Option<GroupMut<'_>> {
        let group = self.tree.find_mut(name)?;
        Some(GroupMut::new(group, &mut self.bytes))
    }

    /// False when the name is taken.
    pub fn add(&mut self, name: &[u8], group: Group) -> bool {
        let bytes = group.heap_bytes();
        let added = self.tree.try_insert(name, Box::new(group)).is_ok();
        self.bytes += if added { bytes } else { 0 };
        added
    }

    pub fn remove(&mut self, name: &[u8]) -> bool {
        let Some(group) = self.tree.remove(name) else { return false };
        self.bytes -= group.heap_bytes();
        true
    }

    /// One step of a walk that moves blocks out of sparse slabs: of the group from `at.name` on. True at the
    /// end.
    fn defrag(&mut self, at: &mut DefragCursor, mover: &mut Mover) -> bool {
        let name = std::mem::take(&mut at.name);
        // Whether the group is done; it stays None without one.
        let mut done = None;
        let next = self.tree.defrag(&name, 1, mover, |group, mover| {
            if at.stage == LOG + 1 && at.key.is_empty() {
                moving::boxed(group, mover);
            }
            done = Some(group.defrag(at, mover));
        });
        match (done, next) {
            (None, _) | (Some(true), None) => true,
            (Some(false), _) => {
                at.name = name;
                false
            }
            (Some(true), Some(next)) => {
                at.name = next.to_vec();
                at.stage = LOG;
                at.next_stage();
                false
            }
        }
    }

    /// Bytes of the heap behind this structure.
    fn heap_bytes(&self) -> usize {
        let tree = self.tree.mem_size() - size_of::<Rax<Box<Group>>>();
        tree + self.len() * size_of::<Group>() + self.bytes
    }

    /// By the order of their names, as long as `f` has no error.
    pub fn try_each<E>(&self, mut f: impl FnMut(&[u8], &Group) -> Result<(), E>) -> Result<(), E> {
        let mut walk = self.tree.iter();
        while let Some((name, group)) = walk.next() {
            f(name, group)?;
        }
        Ok(())
    }

    pub fn for_each(&self, mut f: impl FnMut(&[u8], &Group)) {
        let mut walk = self.tree.iter();
        while let Some((name, group)) = walk.next() {
            f(name, group);
        }
    }
}

impl Clone for Groups {
    fn clone(&self) -> Self {
        let mut copy = Groups::default();
        self.for_each(|name, group| {
            copy.add(name, group.clone());
        });
        copy
    }
}

impl Log {
    /// How many entries a group has not read yet; None when deletions make that impossible to tell.
    pub fn lag(&self, group: &Group) -> Option<i64> {
        let added = self.entries_added.cast_signed();
        if self.entries_added == 0 {
            return Some(0);
        }
        if group.entries_read != group::UNKNOWN && !self.has_gaps_from(group.last_id) {
            return Some(added.wrapping_sub(group.entries_read));
        }
        self.added_until(group.last_id).map(|read| added.wrapping_sub(read.cast_signed()))
    }

    /// A group has been given the entry of this ID, the next one for it.
    pub fn advance(&self, group: &mut Group, id: Id) {
        if group.entries_read != group::UNKNOWN && !self.has_gaps_from(id) {
            group.entries_read = group.entries_read.wrapping_add(1);
        } else if self.entries_added > 0 {
            group.entries_read = self.added_until(id).map_or(group::UNKNOWN, u64::cast_signed);
        }
        group.last_id = id;
    }
}

impl ValueKind for Stream {
    const TYPE: u8 = ty::STREAM;

    fn into_parts(self) -> (u8, u64) {
        (enc::STREAM, Box::into_raw(self.0) as u64)
    }

    fn is_empty(&self) -> bool {
        false
    }

    fn effort(&self) -> usize {
        let first = self.groups.tree.seek_key(Seek::First);
        let pending = first.map_or(0, |(_, g)| g.pending_len());
        self.log.tree_figures().1 + self.groups.len() * (1 + pending)
    }

    fn heap_bytes(&self) -> usize {
        size_of::<Parts>() + self.log.heap_bytes() + self.groups.heap_bytes()
    }

    fn defrag(&mut self, at: &mut DefragCursor, mover: &mut Mover) -> bool {
        if at.begins() {
            moving::boxed(&mut self.0, mover);
        }
        if at.stage == LOG {
            if self.log.defrag(&mut at.key, mover) {
                at.next_stage();
            }
            return false;
        }
        self.groups.defrag(at, mover)
    }

    fn digest(&self, d: &mut Digest) {
        for entry in self.log.range(Id::MIN, Id::MAX) {
            d.mix(format!("{}.{}", entry.id.ms, entry.id.seq).as_bytes());
            for (field, value) in entry.pairs() {
                field.with_text(|f| d.mix(f));
                value.with_text(|v| d.mix(v));
            }
        }
    }
}
