//! The tables of one index of a database: a single one, or one for each slot of a cluster.
//!
//! ```text
//!  One    [head 32]
//!
//!  Slots  [head 32][head 32][head 32] ...  16,384 of them in one block
//!            taken    a bit for each table that is not empty
//!            groups   elements in each 128 tables in a row
//! ```
//!
//! The slot stands in the low bits of an element's hash (`hash::key_hash`). So a slot is counted, listed
//! and taken away without a look at any other; what concerns all elements goes from slot to slot by the
//! bits of `taken`. An element by its rank, as a fair sample wants it, takes at most 128 + 128 steps: a
//! tree over the counts would be quicker there and slower with every insert.
//!
//! Most tables of a cluster are small. One that changes its array moves at once while that has less than
//! 64 buckets, so that only big ones are rehashed step by step and stand on a list for the cron.
//!
//! A scan's cursor is that of the slot's table, and the slot below it.

use super::hash::{FREE_BITS, SLOTS, slot_of};
use super::table::{ArrayFigures, Elem, Figures, Table, below, prefetch};

/// Tables whose elements are counted together.
const GROUP: usize = 128;
/// Logical slots up to which an array is exchanged at once: 64 buckets.
const AT_ONCE: usize = 512;
/// Slots whose tables are looked at for shrinking at a time.
const SHRINK_AT_A_TIME: usize = 16;

pub(super) enum Tables<E> {
    One(Table<E>),
    Slots(Slots<E>),
}

pub(super) struct Slots<E> {
    tables: Box<[Table<E>; SLOTS]>,
    counts: Box<Counts>,
}

/// What is known of all tables together.
struct Counts {
    all: usize,
    groups: [u32; SLOTS / GROUP],
    taken: [u64; SLOTS / 64],
    /// Slots whose tables are rehashed step by step. A table may have finished meanwhile.
    rehashing: Vec<u16>,
    /// Where the next look for tables to shrink begins.
    shrink_at: usize,
}

impl<E> Default for Tables<E>
where
    E: Elem,
{
    fn default() -> Self {
        Tables::One(Table::new())
    }
}

impl<E: Elem> Tables<E> {
    /// A table for each slot, if that is not so already. There are no elements yet.
    #[inline]
    pub fn split(&mut self) {
        if let Tables::One(t) = self {
            debug_assert!(t.is_empty(), "its elements would have to move");
            *self = Tables::Slots(Slots::new());
        }
    }

    #[inline]
    pub fn of(&self, hash: u64) -> &Table<E> {
        match self {
            Tables::One(t) => t,
            Tables::Slots(s) => &s.tables[slot_of(hash)],
        }
    }

    #[inline]
    pub fn of_mut(&mut self, hash: u64) -> &mut Table<E> {
        match self {
            Tables::One(t) => t,
            Tables::Slots(s) => &mut s.tables[slot_of(hash)],
        }
    }

    #[inline]
    pub fn len(&self) -> usize {
        match self {
            Tables::One(t) => t.len(),
            Tables::Slots(s) => s.counts.all,
        }
    }

    #[inline]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Touches the head of a table, where there are so many that it may be far away.
    #[inline]
    pub fn prefetch_head(&self, hash: u64) {
        if let Tables::Slots(s) = self {
            prefetch(&raw const s.tables[slot_of(hash)]);
        }
    }

    /// Logical slots of all arrays.
    pub fn size(&self) -> usize {
        match self {
            Tables::One(t) => t.slots(),
            Tables::Slots(s) => s.taken().map(|(_, t)| t.slots()).sum(),
        }
    }

    /// Bytes of heads and arrays.
    pub fn overhead(&self) -> usize {
        match self {
            Tables::One(t) => t.overhead(),
            Tables::Slots(s) => {
                let arrays: usize = s.tables.iter().map(Table::overhead).sum();
                arrays + size_of::<[Table<E>; SLOTS]>() + size_of::<Counts>()
            }
        }
    }

    /// Is there an array, or more?
    pub fn has_room(&self) -> bool {
        match self {
            Tables::One(t) => t.slots() > 0,
            Tables::Slots(_) => true,
        }
    }

    /// Does one in a hundred places hold an element at most? Tables of slots do not lie about empty: a walk
    /// passes over them.
    pub fn is_sparse(&self) -> bool {
        match self {
            Tables::One(t) => t.slots() > 4 && t.len() * 100 / t.slots() < 1,
            Tables::Slots(_) => false,
        }
    }

    /// # Safety
    /// As for `Table::insert`.
    #[inline]
    pub unsafe fn insert(&mut self, hash: u64, e: E) {
        match self {
            // SAFETY: by contract.
            Tables::One(t) => unsafe { t.insert(hash, e) },
            Tables::Slots(s) => {
                let slot = slot_of(hash);
                let t = &mut s.tables[slot];
                let before = t.is_rehashing();
                // SAFETY: by contract.
                unsafe { t.insert(hash, e) };
                if t.is_rehashing() != before {
                    s.resized(slot);
                }
                s.counts.add(slot);
            }
        }
    }

    /// Takes out exactly the element `e`.
    pub fn remove(&mut self, hash: u64, e: E) -> bool {
        match self {
            Tables::One(t) => t.remove(hash, e),
            Tables::Slots(s) => {
                let slot = slot_of(hash);
                let t = &mut s.tables[slot];
                let removed = t.remove(hash, e);
                if removed {
                    s.counts.subtract(slot, 1, t.is_empty());
                }
                removed
            }
        }
    }

    /// Any element, each as likely as every other.
    pub fn random(&self, mut random: impl FnMut() -> u64) -> Option<E> {
        match self {
            Tables::One(t) => t.random(random),
            Tables::Slots(s) if s.counts.all > 0 => {
                let slot = s.at_rank(below(random(), s.counts.all));
                s.tables[slot].random(random)
            }
            Tables::Slots(_) => None,
        }
    }

    /// As `Table::some`: a slot by its rank, and those that follow until there are enough.
    pub fn some(&self, n: usize, random: u64, mut f: impl FnMut(E)) {
        let s = match self {
            Tables::One(t) => return t.some(n, random, f),
            Tables::Slots(s) if s.counts.all > 0 => s,
            Tables::Slots(_) => return,
        };
        let first = s.at_rank(below(random, s.counts.all));
        let (mut slot, mut given) = (first, 0);
        while given < n {
            s.tables[slot].some(n - given, random.rotate_left(29), |e| {
                given += 1;
                f(e);
            });
            let next = s.counts.taken_from(slot + 1).or_else(|| s.counts.taken_from(0));
            slot = next.unwrap_or(first);
            if slot == first {
                return;
            }
        }
    }

    /// One step of a scan, as `Table::scan`.
    pub fn scan(&self, cursor: u64, f: impl FnMut(E)) -> u64 {
        let s = match self {
            Tables::One(t) => return t.scan(cursor, f),
            Tables::Slots(s) => s,
        };
        let asked = slot_of(cursor);
        let Some(slot) = s.counts.taken_from(asked) else { return 0 };
        let at = if slot == asked { cursor >> FREE_BITS } else { 0 };
        match s.tables[slot].scan(at, f) {
            0 => s.counts.taken_from(slot + 1).map_or(0, |next| next as u64),
            at => at << FREE_BITS | slot as u64,
        }
    }

    /// One step of a scan that stays in a slot.
    pub fn scan_slot(&self, slot: usize, cursor: u64, f: impl FnMut(E)) -> u64 {
        let s = match self {
            Tables::One(t) => return t.scan(cursor, f),
            Tables::Slots(s) => s,
        };
        match s.tables[slot].scan(cursor >> FREE_BITS, f) {
            0 => 0,
            at => at << FREE_BITS | slot as u64,
        }
    }

    /// All elements, the memory of each fetched some steps before it is given.
    pub fn iter_ahead(&self) -> impl Iterator<Item = E> {
        let (one, slots) = match self {
            Tables::One(t) => (Some(t), None),
            Tables::Slots(s) => (None, Some(s.taken().map(|(_, t)| t))),
        };
        one.into_iter().chain(slots.into_iter().flatten()).flat_map(Table::iter_ahead)
    }

    /// Elements of a slot; none where slots have no tables of their own.
    pub fn of_slot(&self, slot: usize) -> Option<&Table<E>> {
        match self {
            Tables::One(_) => None,
            Tables::Slots(s) => Some(&s.tables[slot]),
        }
    }

    /// Takes the table of a slot out.
    pub fn take_slot(&mut self, slot: usize) -> Table<E> {
        match self {
            Tables::One(_) => Table::new(),
            Tables::Slots(s) => {
                let t = std::mem::take(&mut s.tables[slot]);
                if !t.is_empty() {
                    s.counts.subtract(slot, t.len(), true);
                }
                t
            }
        }
    }

    /// Slots that hold elements, a bit each; None where slots have no tables of their own.
    pub fn taken(&self) -> Option<&[u64; SLOTS / 64]> {
        match self {
            Tables::One(_) => None,
            Tables::Slots(s) => Some(&s.counts.taken),
        }
    }

    // ---- the size of the tables

    #[inline]
    pub fn step(&mut self, hash: u64) {
        let t = self.of_mut(hash);
        if t.is_rehashing() {
            t.rehash(1);
        }
    }

    #[inline]
    pub fn is_rehashing(&self) -> bool {
        match self {
            Tables::One(t) => t.is_rehashing(),
            Tables::Slots(s) => !s.counts.rehashing.is_empty(),
        }
    }

    /// Moves up to `n` chains; true while more are left.
    pub fn rehash(&mut self, n: usize) -> bool {
        let s = match self {
            Tables::One(t) => return t.rehash(n),
            Tables::Slots(s) => s,
        };
        if let Some(slot) = s.counts.rehashing.last()
            && !s.tables[usize::from(*slot)].rehash(n)
        {
            s.counts.rehashing.pop();
        }
        !s.counts.rehashing.is_empty()
    }

    /// Shrinks what has become nearly empty: of the tables of slots a few at a time.
    pub fn shrink_if_sparse(&mut self) {
        let s = match self {
            Tables::One(t) => {
                if t.wants_shrink() {
                    t.shrink();
                }
                return;
            }
            Tables::Slots(s) => s,
        };
        let from = s.counts.shrink_at;
        for slot in from..from + SHRINK_AT_A_TIME {
            let t = &mut s.tables[slot];
            if t.is_empty() {
                t.clear();
            } else if t.wants_shrink() && t.shrink() && t.is_rehashing() {
                s.resized(slot);
            }
        }
        s.counts.shrink_at = (from + SHRINK_AT_A_TIME) % SLOTS;
    }

    /// Makes room for `n` elements; tables of slots grow by themselves, since how many of them share the
    /// elements is not known.
    pub fn reserve(&mut self, n: usize) {
        if let Tables::One(t) = self {
            t.reserve(n);
        }
    }

    pub fn figures(&self, full: bool) -> Figures {
        match self {
            Tables::One(t) => t.figures(full),
            Tables::Slots(s) => {
                let none = || ArrayFigures { size: 0, used: 0, chains: Vec::new() };
                let mut sum = Figures { main: none(), target: None };
                for f in s.taken().map(|(_, t)| t.figures(full)) {
                    sum.main.add(&f.main);
                    if let Some(target) = f.target {
                        sum.target.get_or_insert_with(none).add(&target);
                    }
                }
                sum
            }
        }
    }

    /// Forgets every element (the owner has freed them) and gives the arrays back.
    pub fn clear(&mut self) {
        *self = Tables::default();
    }
}

const _: () = assert!(SLOTS.is_multiple_of(SHRINK_AT_A_TIME) && SLOTS.is_multiple_of(GROUP));

impl<E: Elem> Slots<E> {
    #[cold]
    fn new() -> Slots<E> {
        let tables: Box<[Table<E>]> = (0..SLOTS).map(|_| Table::new()).collect();
        let Ok(tables) = tables.try_into() else { unreachable!("so many have been made") };
        let counts = Counts {
            all: 0,
            groups: [0; SLOTS / GROUP],
            taken: [0; SLOTS / 64],
            rehashing: Vec::new(),
            shrink_at: 0,
        };
        Slots { tables, counts: Box::new(counts) }
    }

    /// The slots that hold elements.
    fn taken(&self) -> impl Iterator<Item = (usize, &Table<E>)> {
        let mut from = 0;
        std::iter::from_fn(move || {
            let slot = self.counts.taken_from(from)?;
            from = slot + 1;
            Some((slot, &self.tables[slot]))
        })
    }

    /// The slot of the element with this rank.
    fn at_rank(&self, mut rank: usize) -> usize {
        debug_assert!(rank < self.counts.all);
        let mut passes = |n: usize| {
            let behind = rank >= n;
            rank -= if behind { n } else { 0 };
            !behind
        };
        let group = self.counts.groups.iter().position(|n| passes(*n as usize));
        let from = group.expect("the groups hold all elements") * GROUP;
        let within = self.tables[from..from + GROUP].iter().position(|t| passes(t.len()));
        from + within.expect("the tables of a group hold its elements")
    }

    /// A table has begun or ended to exchange its array.
    #[cold]
    fn resized(&mut self, slot: usize) {
        let t = &mut self.tables[slot];
        if t.is_rehashing() && (t.slots() > AT_ONCE || t.rehash(usize::MAX)) {
            self.counts.rehashing.push(slot as u16);
        }
    }
}

impl Counts {
    #[inline]
    fn add(&mut self, slot: usize) {
        self.all += 1;
        self.groups[slot / GROUP] += 1;
        self.taken[slot / 64] |= 1 << (slot % 64);
    }

    #[inline]
    fn subtract(&mut self, slot: usize, n: usize, empty: bool) {
        self.all -= n;
        self.groups[slot / GROUP] -= n as u32;
        if empty {
            self.taken[slot / 64] &= !(1 << (slot % 64));
        }
    }

    /// The first slot from this one on that holds elements.
    fn taken_from(&self, slot: usize) -> Option<usize> {
        let first = slot / 64;
        let word = self.taken.get(first)? & (u64::MAX << (slot % 64));
        if word != 0 {
            return Some(first * 64 + word.trailing_zeros() as usize);
        }
        let rest = self.taken[first + 1..].iter().position(|w| *w != 0)? + first + 1;
        Some(rest * 64 + self.taken[rest].trailing_zeros() as usize)
    }
}
