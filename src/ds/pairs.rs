//! A hash table of byte strings with values: big hashes (field and value) and big sets (members without
//! values).
//!
//! ```text
//! table ──► block  short form   [flags 1][key len 1][value len 1][key][value]   each up to 255 bytes
//!                  long form    [flags 1][key len 4][value len 4][key][value]
//! ```
//!
//! One allocation an element, key and value together: 16 bytes of each cost 40 and the table's 10.4; a
//! set's member of 16 bytes costs 24. Bit 7 of the flags is kept free for a TTL word before the key.

use super::hash::hash;
use super::table::{Elem, Figures, Table};
use crate::algo::rng::Rng;
use crate::sys::alloc::size_class;
use crate::sys::defrag::Mover;
use std::alloc::{Layout, alloc, dealloc, handle_alloc_error};
use std::collections::HashSet;
use std::ptr::NonNull;
use std::slice;

/// A sample of more than one in so many is drawn from a list of all elements
/// (SRANDMEMBER_SUB_STRATEGY_MUL).
const SAMPLE_ALL: usize = 3;
const LONG: u8 = 1;
const SHORT_HEAD: usize = 3;
const LONG_HEAD: usize = 9;

/// A handle to one element; live from `new` to `free`, both called by `Pairs` only.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Pair(NonNull<u8>);

// SAFETY: a handle; the table it belongs to is sent as a whole.
unsafe impl Send for Pair {}

// SAFETY: `to_ptr` gives the address of the block, which user space keeps below 2^48, and `from_ptr` takes
// it back; the key of a live block never changes.
unsafe impl Elem for Pair {
    #[inline]
    fn to_ptr(self) -> NonNull<u8> {
        self.0
    }
    #[inline]
    unsafe fn from_ptr(p: NonNull<u8>) -> Self {
        Pair(p)
    }
    #[inline]
    unsafe fn key<'a>(self) -> &'a [u8] {
        let (at, len, _) = self.shape();
        // SAFETY: the block lives by contract, and the key stands behind the head.
        unsafe { slice::from_raw_parts(self.0.as_ptr().add(at), len) }
    }
}

impl Pair {
    fn layout(size: usize) -> Layout {
        // The whole size class is asked for: `overwrite` uses what a shorter value left.
        Layout::from_size_align(size_class(size), 1).expect("lengths are 32 bits each")
    }

    fn new(key: &[u8], value: &[u8]) -> Pair {
        let long = key.len() > 255 || value.len() > 255;
        let head = if long { LONG_HEAD } else { SHORT_HEAD };
        let layout = Self::layout(head + key.len() + value.len());
        // SAFETY: the layout has a size; all writes are inside of it.
        unsafe {
            let p = alloc(layout);
            let Some(at) = NonNull::new(p) else { handle_alloc_error(layout) };
            if long {
                p.write(LONG);
                let (k, v) = (u32::try_from(key.len()), u32::try_from(value.len()));
                p.add(1).cast::<u32>().write_unaligned(k.expect("strings are below 4 GiB"));
                p.add(5).cast::<u32>().write_unaligned(v.expect("strings are below 4 GiB"));
            } else {
                p.write(0);
                p.add(1).write(key.len() as u8);
                p.add(2).write(value.len() as u8);
            }
            p.add(head).copy_from_nonoverlapping(key.as_ptr(), key.len());
            p.add(head + key.len()).copy_from_nonoverlapping(value.as_ptr(), value.len());
            Pair(at)
        }
    }

    /// Where the key begins, its length, the value's length.
    #[inline]
    fn shape(&self) -> (usize, usize, usize) {
        let p = self.0.as_ptr();
        // SAFETY: a live handle; the flags say which head it has.
        unsafe {
            if p.read() & LONG == 0 {
                (SHORT_HEAD, p.add(1).read() as usize, p.add(2).read() as usize)
            } else {
                let (k, v) =
                    (p.add(1).cast::<u32>().read_unaligned(), p.add(5).cast::<u32>().read_unaligned());
                (LONG_HEAD, k as usize, v as usize)
            }
        }
    }

    /// Writes a value of the same length form over the old one, if the block has the right size class.
    fn overwrite(self, value: &[u8]) -> bool {
        let (at, key, old) = self.shape();
        if at != SHORT_HEAD
            || value.len() > 255
            || size_class(at + key + old) != size_class(at + key + value.len())
        {
            return false;
        }
        // SAFETY: the class has room for the new length; an argument never lies in a block.
        unsafe {
            self.0.as_ptr().add(2).write(value.len() as u8);
            self.0.as_ptr().add(at + key).copy_from_nonoverlapping(value.as_ptr(), value.len());
        }
        true
    }

    fn footprint(self) -> usize {
        let (at, key, value) = self.shape();
        size_class(at + key + value)
    }

    /// Moves the block when its slab is sparse.
    ///
    /// # Safety
    /// When something comes back, it alone is used afterwards.
    unsafe fn relocated(self, mover: &mut Mover) -> Option<Pair> {
        let (at, key, value) = self.shape();
        // SAFETY: made by `new` with this layout, as in `free`.
        unsafe { mover.try_relocate(self.0, Self::layout(at + key + value)).map(Pair) }
    }

    /// # Safety
    /// No table leads here any more.
    unsafe fn free(self) {
        let (at, key, value) = self.shape();
        // SAFETY: made by `new`; `overwrite` stays inside one size class.
        unsafe { dealloc(self.0.as_ptr(), Self::layout(at + key + value)) }
    }
}

#[derive(Default)]
pub struct Pairs {
    table: Table<Pair>,
    /// Bytes of all blocks.
    blocks: usize,
}

impl Pairs {
    pub fn new() -> Self {
        Self::default()
    }
    #[inline]
    pub fn len(&self) -> usize {
        self.table.len()
    }
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.table.is_empty()
    }

    pub fn reserve(&mut self, n: usize) {
        self.table.reserve(n);
    }

    #[inline]
    pub fn get(&self, key: &[u8]) -> Option<&[u8]> {
        self.table.find(hash(key), key).map(|p| self.parts(p).1)
    }

    #[inline]
    pub fn contains(&self, key: &[u8]) -> bool {
        self.contains_hashed(hash(key), key)
    }

    /// With the key's hash computed before (set operations compute it once for all sets).
    #[inline]
    pub fn contains_hashed(&self, h: u64, key: &[u8]) -> bool {
        self.table.contains(h, key)
    }

    pub fn prefetch_bucket(&self, h: u64) {
        self.table.prefetch_bucket(h);
    }
    pub fn prefetch_elem(&self, h: u64) {
        self.table.prefetch_elem(h);
    }

    /// Adds or overwrites; true when the key is new.
    pub fn set(&mut self, key: &[u8], value: &[u8]) -> bool {
        let h = hash(key);
        self.step();
        let Some(old) = self.table.find(h, key) else {
            self.insert(h, Pair::new(key, value));
            return true;
        };
        if !old.overwrite(value) {
            let new = Pair::new(key, value);
            self.blocks += new.footprint();
            // SAFETY: as in `insert`.
            let done = unsafe { self.table.replace(h, old, new) };
            debug_assert!(done);
            self.free(old);
        }
        false
    }

    /// Adds a key without a value; true when it is new.
    #[inline]
    pub fn add(&mut self, key: &[u8]) -> bool {
        let h = hash(key);
        self.step();
        if self.table.contains(h, key) {
            return false;
        }
        self.insert(h, Pair::new(key, b""));
        true
    }

    #[inline]
    fn insert(&mut self, h: u64, p: Pair) {
        self.blocks += p.footprint();
        // SAFETY: a block is freed by `free` and `drop` only, when it has left the table.
        unsafe { self.table.insert(h, p) };
    }

    /// Frees a block that the table has just forgotten.
    #[inline]
    fn free(&mut self, p: Pair) {
        self.blocks -= p.footprint();
        // SAFETY: callers have taken it out of the table, which gave it out.
        unsafe { p.free() };
    }

    #[inline]
    pub fn remove(&mut self, key: &[u8]) -> bool {
        self.step();
        let Some(p) = self.table.remove_key(hash(key), key) else { return false };
        self.free(p);
        self.shrink_if_sparse();
        true
    }

    fn shrink_if_sparse(&mut self) {
        if self.table.wants_shrink() {
            self.table.shrink();
        }
    }

    #[inline]
    fn step(&mut self) {
        if self.table.is_rehashing() {
            self.table.rehash(1);
        }
    }

    /// Moves up to `n` chains of a rehash under way; true while more are left.
    pub fn rehash(&mut self, n: usize) -> bool {
        self.table.rehash(n)
    }

    /// Key and value of an element of this table.
    #[inline]
    fn parts(&self, p: Pair) -> (&[u8], &[u8]) {
        let (at, k, v) = p.shape();
        // SAFETY: the block lives as long as `&self`, which excludes writers.
        unsafe {
            let base = p.0.as_ptr().add(at);
            (slice::from_raw_parts(base, k), slice::from_raw_parts(base.add(k), v))
        }
    }

    /// Everything, each block on its way into the cache a few elements before it is read.
    pub fn iter(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        self.table.iter_ahead().map(|p| self.parts(p))
    }

    pub fn keys(&self) -> impl Iterator<Item = &[u8]> {
        self.iter().map(|(k, _)| k)
    }

    /// One step of a scan, as `Table::scan`.
    pub fn scan<'a>(&'a self, cursor: u64, mut f: impl FnMut(&'a [u8], &'a [u8])) -> u64 {
        self.table.scan(cursor, |p| {
            let (k, v) = self.parts(p);
            f(k, v);
        })
    }

    /// Any element, each as likely as every other.
    pub fn random(&self, random: impl FnMut() -> u64) -> Option<(&[u8], &[u8])> {
        self.table.random(random).map(|p| self.parts(p))
    }

    /// `n` different elements, or all there are, any choice as likely as every other. Ends early when
    /// `f` says so.
    pub fn sample<'a>(&'a self, n: usize, rng: &mut Rng, mut f: impl FnMut(&'a [u8], &'a [u8]) -> bool) {
        let len = self.len();
        if n >= len {
            self.iter().all(|(k, v)| f(k, v));
            return;
        }
        if n.saturating_mul(SAMPLE_ALL) > len {
            // So many are wanted that chance would meet the same ones again and again.
            let mut all: Vec<Pair> = self.table.iter().collect();
            for i in 0..n {
                let pick = i + rng.index(len - i);
                all.swap(i, pick);
                let (k, v) = self.parts(all[i]);
                if !f(k, v) {
                    return;
                }
            }
            return;
        }
        let mut seen = HashSet::with_capacity(n);
        while seen.len() < n {
            let p = self.table.random(|| rng.next_u64()).expect("more are there than are wanted");
            if seen.insert(p.0) {
                let (k, v) = self.parts(p);
                if !f(k, v) {
                    return;
                }
            }
        }
    }

    /// Takes any element out, each as likely as every other, after `f` has seen its key.
    pub fn pop_random<R>(&mut self, rng: &mut Rng, f: impl FnOnce(&[u8]) -> R) -> Option<R> {
        self.step();
        let p = self.table.random(|| rng.next_u64())?;
        let key = self.parts(p).0;
        let (seen, h) = (f(key), hash(key));
        let removed = self.table.remove(h, p);
        debug_assert!(removed, "it was found in this table");
        self.free(p);
        self.shrink_if_sparse();
        Some(seen)
    }

    /// One step of a walk that moves blocks out of sparse slabs; the next cursor, 0 at the end.
    pub fn defrag(&mut self, cursor: u64, mover: &mut Mover) -> u64 {
        // SAFETY: the table alone leads to its blocks, and has the new place from now on.
        let move_pair = |mover: &mut Mover, p: Pair| unsafe { p.relocated(mover) };
        // SAFETY: what comes back is the block in another place.
        unsafe { self.table.defrag(cursor, mover, move_pair) }
    }

    /// Bytes of the structure, of all blocks and of the table.
    pub fn footprint(&self) -> usize {
        size_of::<Pairs>() + self.blocks + self.table.overhead()
    }

    pub fn is_rehashing(&self) -> bool {
        self.table.is_rehashing()
    }

    pub fn figures(&self, full: bool) -> Figures {
        self.table.figures(full)
    }
}

impl Clone for Pairs {
    fn clone(&self) -> Self {
        let mut copy = Pairs::new();
        copy.reserve(self.len());
        for (k, v) in self.iter() {
            copy.set(k, v);
        }
        copy
    }
}

impl Drop for Pairs {
    fn drop(&mut self) {
        for p in self.table.iter_ahead() {
            // SAFETY: the iterator hands each block out once and looks at none; the table goes next.
            unsafe { p.free() };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashMap;

    #[test]
    fn it_agrees_with_its_naive_twin() {
        let (mut t, mut twin) = (Pairs::new(), HashMap::new());
        let (mut n, mut cursor, mut mover) = (1u64, 0, Mover::always());
        for i in 0..30_000 {
            if i % 7 == 0 {
                cursor = t.defrag(cursor, &mut mover);
            }
            n = n.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            let key = format!("field:{}", (n >> 40) % 900).into_bytes();
            let value = vec![b'v'; [0, 3, 16, 255, 256, 1000][(n >> 33) as usize % 6]];
            match (n >> 60) % 4 {
                0 | 1 => assert_eq!(t.set(&key, &value), twin.insert(key, value).is_none()),
                2 => assert_eq!(t.remove(&key), twin.remove(&key).is_some()),
                _ => assert_eq!(t.get(&key), twin.get(&key).map(|v| &v[..])),
            }
        }
        assert_eq!(t.len(), twin.len());
        assert_eq!(t.blocks, t.table.iter().map(|p| p.footprint()).sum::<usize>());
        let all: HashMap<Vec<u8>, Vec<u8>> = t.iter().map(|(k, v)| (k.to_vec(), v.to_vec())).collect();
        assert_eq!(all, twin);
    }

    #[test]
    fn a_block_costs_what_the_drawing_says() {
        assert_eq!(size_class(SHORT_HEAD + 16 + 16), 40);
        assert_eq!(size_class(SHORT_HEAD + 16), 24);
    }
}
