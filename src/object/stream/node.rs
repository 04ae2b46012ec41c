//! One block of entries: a listpack whose head, the master entry, names the fields that most of its
//! entries have, so that these need not repeat them.
//!
//! ```text
//!   master   live | deleted | fields | field ... | 0
//!   entry    flags | ms | seq | value ... | pieces              SAME_FIELDS: as the master has them
//!            flags | ms | seq | fields | field value ... | pieces
//! ```
//!
//! `ms` and `seq` are what the entry's ID has more than the block's, which is its key in the tree, modulo
//! 2^64 each. `pieces` counts the pieces of the entry before it, so that a walk from the end finds where
//! the entry begins; the 0 of the master is where such a walk ends. An entry that is deleted stays, with
//! a flag, until the whole block goes.
//!
//! All functions here rely on a sound block: those that commands make are, and those from outside have
//! passed `is_sound`. They panic on others.

use super::id::Id;
use crate::ds::listpack::{Element, Iter, Listpack, Lp, Pos};

/// STREAM_ITEM_FLAG_DELETED
const DELETED: i64 = 1;
/// STREAM_ITEM_FLAG_SAMEFIELDS
const SAME_FIELDS: i64 = 2;
/// Pieces of every entry besides fields and values: flags, ms, seq.
const FIXED: usize = 3;

/// A block under its key.
#[derive(Clone, Copy)]
pub struct StreamNode<'a> {
    pub id: Id,
    pub lp: &'a Lp,
}

/// What the master entry says.
#[derive(Clone)]
pub struct Master<'a> {
    pub live: u64,
    pub deleted: u64,
    /// The names of its fields, and how many these are.
    names: Iter<'a>,
    fields: usize,
    /// Stands at the first entry.
    pub entries: Iter<'a>,
}

/// An entry as it lies in its block.
#[derive(Clone)]
pub struct StreamEntry<'a> {
    pub id: Id,
    /// Where its flags are.
    pub at: Pos,
    flags: i64,
    /// Pairs of field and value.
    pub len: usize,
    /// Stands at the first name: in the master entry, or not at all.
    names: Option<Iter<'a>>,
    /// Stands behind ID and number of fields.
    rest: Iter<'a>,
}

#[cold]
#[inline(never)]
fn broken() -> ! {
    panic!("a stream's block is broken");
}

#[inline]
fn int(e: Option<Element<'_>>) -> i64 {
    match e {
        Some(Element::Int(n)) => n,
        _ => broken(),
    }
}

#[inline]
fn count(e: Option<Element<'_>>) -> usize {
    usize::try_from(int(e)).unwrap_or_else(|_| broken())
}

impl<'a> StreamNode<'a> {
    #[inline]
    pub fn master(&self) -> Master<'a> {
        let mut walk = self.lp.iter();
        let (live, deleted) = (int(walk.next()), int(walk.next()));
        let fields = count(walk.next());
        let names = walk.clone();
        walk.pass(fields + 1);
        let unsigned = |n: i64| u64::try_from(n).unwrap_or_else(|_| broken());
        Master { live: unsigned(live), deleted: unsigned(deleted), names, fields, entries: walk }
    }

    /// The entry whose flags `walk` stands at; the walk goes on behind it.
    #[inline]
    pub fn entry(&self, master: &Master<'a>, walk: &mut Iter<'a>) -> Option<StreamEntry<'a>> {
        let at = self.lp.place(walk)?;
        let entry = self.read(master, at, walk);
        let pieces = if entry.names.is_some() { entry.len } else { 2 * entry.len };
        walk.clone_from(&entry.rest);
        walk.pass(pieces + 1);
        Some(entry)
    }

    fn read(&self, master: &Master<'a>, at: Pos, walk: &Iter<'a>) -> StreamEntry<'a> {
        let mut rest = walk.clone();
        let flags = int(rest.next());
        let (ms, seq) = (int(rest.next()), int(rest.next()));
        let id = Id::new(self.id.ms.wrapping_add(ms as u64), self.id.seq.wrapping_add(seq as u64));
        let same = flags & SAME_FIELDS != 0;
        let len = if same { master.fields } else { count(rest.next()) };
        StreamEntry { id, at, flags, len, names: same.then(|| master.names.clone()), rest }
    }

    /// Where the last entry's number of pieces stands; None when there is no entry.
    pub fn last(&self) -> Option<Pos> {
        self.lp.last()
    }

    /// The entry whose number of pieces stands at `at`, and where the one before has its own.
    pub fn entry_back(&self, master: &Master<'a>, at: Pos) -> Option<(StreamEntry<'a>, Option<Pos>)> {
        let pieces = count(Some(self.lp.get(at)));
        if pieces == 0 {
            return None;
        }
        let step = |pos, _| self.lp.prev(pos).unwrap_or_else(|| broken());
        let flags = (0..pieces).fold(at, step);
        let entry = self.read(master, flags, &self.lp.iter_from(flags));
        Some((entry, self.lp.prev(flags)))
    }

    /// The ID of its last entry, deleted or not.
    pub fn last_id(&self) -> Option<Id> {
        let entry = self.entry_back(&self.master(), self.last()?);
        entry.map(|(e, _)| e.id)
    }
}

impl<'a> StreamEntry<'a> {
    #[inline]
    pub fn is_deleted(&self) -> bool {
        self.flags & DELETED != 0
    }

    /// Fields and values in their order.
    #[inline]
    pub fn pairs(&self) -> impl Iterator<Item = (Element<'a>, Element<'a>)> + use<'a> {
        let (mut names, mut rest) = (self.names.clone(), self.rest.clone());
        (0..self.len).map(move |_| {
            let field = match &mut names {
                Some(names) => names.next(),
                None => rest.next(),
            };
            match (field, rest.next()) {
                (Some(field), Some(value)) => (field, value),
                _ => broken(),
            }
        })
    }
}

/// A new block for an entry with these fields and values, without the entry itself.
pub fn new_block(pairs: &[[&[u8]; 2]]) -> Listpack {
    let mut lp = Listpack::new();
    lp.push_back_all([0, 0, pairs.len() as i64].map(Element::Int));
    pairs.iter().for_each(|[field, _]| lp.push_back(*field));
    lp.push_back(0);
    lp
}

/// What an append needs to know of the block, read along with whether there is room.
#[derive(Clone, Copy, Debug)]
pub struct Fit {
    live: i64,
    /// The fields are those of the master entry.
    same: bool,
}

impl Fit {
    /// For the first entry of a block.
    pub const FIRST: Fit = Fit { live: 0, same: true };

    /// None when the block is to have no more than `entries` (0: any number) and has them.
    #[inline]
    pub fn of(lp: &Lp, pairs: &[[&[u8]; 2]], entries: usize) -> Option<Fit> {
        let mut walk = lp.iter();
        let (live, deleted) = (int(walk.next()), int(walk.next()));
        if entries > 0 && live.saturating_add(deleted) >= i64::try_from(entries).unwrap_or(i64::MAX) {
            return None;
        }
        let same = count(walk.next()) == pairs.len()
            && pairs.iter().all(|[field, _]| walk.next().is_some_and(|e| e.is_text(field)));
        Some(Fit { live, same })
    }
}

/// Live and deleted entries of a block.
#[inline]
pub fn counts(lp: &Lp) -> (u64, u64) {
    let mut walk = lp.iter();
    let mut next = || u64::try_from(int(walk.next())).unwrap_or_else(|_| broken());
    (next(), next())
}

/// Appends an entry. `base` is the block's ID.
pub fn append(lp: &mut Listpack, base: Id, id: Id, pairs: &[[&[u8]; 2]], fit: Fit) {
    let first = lp.first().unwrap_or_else(|| broken());
    lp.set_int(first, fit.live + 1);
    let ms = Element::Int(id.ms.wrapping_sub(base.ms) as i64);
    let seq = Element::Int(id.seq.wrapping_sub(base.seq) as i64);
    let (len, flags) = (pairs.len(), if fit.same { SAME_FIELDS } else { 0 });
    let pieces = FIXED + if fit.same { len } else { 1 + 2 * len };
    let (flags, pieces) = (Element::Int(flags), Element::Int(pieces as i64));
    if let ([[_, value]], true) = (pairs, fit.same) {
        return lp.push_back_all([flags, ms, seq, Element::Str(value), pieces]);
    }
    lp.push_back_all([flags, ms, seq]);
    if fit.same {
        pairs.iter().for_each(|[_, value]| lp.push_back(*value));
    } else {
        lp.push_back(len as i64);
        pairs.iter().for_each(|pair| lp.push_back_all(pair.map(Element::Str)));
    }
    lp.push_back_all([pieces]);
}

/// Marks the entry at `at` as deleted. Its place, and that of every other, stays; the counts are the
/// matter of `count_deleted`.
pub fn mark_deleted(lp: &mut Listpack, at: Pos) {
    let flags = int(Some(lp.get(at)));
    debug_assert!(flags & DELETED == 0, "an entry is deleted once");
    lp.set_int(at, flags | DELETED);
}

/// `n` entries that lived have been marked. Moves what comes behind the counts, if they change in size.
pub fn count_deleted(lp: &mut Listpack, n: u64) {
    let (live, deleted) = counts(lp);
    let first = lp.first().unwrap_or_else(|| broken());
    lp.set_int(first, live.saturating_sub(n) as i64);
    let second = lp.next(first).unwrap_or_else(|| broken());
    lp.set_int(second, deleted.saturating_add(n) as i64);
}

/// Is this a block, by the drawing above, to its last piece? The pieces have been read as a listpack
/// already; nothing else is relied on.
pub fn is_sound(lp: &Lp) -> bool {
    survey(lp).is_some()
}

fn survey(lp: &Lp) -> Option<()> {
    let mut walk = lp.iter();
    let plain = |e: Option<Element<'_>>| match e? {
        Element::Int(n) => Some(n),
        Element::Str(_) => None,
    };
    let size = |e: Option<Element<'_>>| usize::try_from(plain(e)?).ok();
    let (live, deleted, fields) = (size(walk.next())?, size(walk.next())?, size(walk.next())?);
    skip(&mut walk, fields)?;
    if plain(walk.next())? != 0 {
        return None;
    }
    let mut entries = 0usize;
    while !walk.is_done() {
        let flags = plain(walk.next())?;
        plain(walk.next())?;
        plain(walk.next())?;
        let pieces = if flags & SAME_FIELDS != 0 {
            skip(&mut walk, fields)?;
            fields.checked_add(FIXED)?
        } else {
            let own = size(walk.next())?.checked_mul(2)?;
            skip(&mut walk, own)?;
            own.checked_add(FIXED + 1)?
        };
        if size(walk.next())? != pieces {
            return None;
        }
        entries += 1;
    }
    (entries > 0 && live.checked_add(deleted)? == entries).then_some(())
}

/// Goes over `n` pieces, which must be there. A number that no block can hold costs no time.
fn skip(walk: &mut Iter<'_>, n: usize) -> Option<()> {
    for _ in 0..n {
        walk.next()?;
    }
    Some(())
}
