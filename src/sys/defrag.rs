//! Moves blocks out of sparse slabs, so that the allocator can give whole slabs back.
//!
//! ```text
//! slab   ██░█░░░░░░█░░░   few of its regions are taken: what is left moves ─┐   then the slab is free
//! slab   ███████░███░██   <─────────────────────────────────────────────────┘
//! ```
//!
//! jemalloc serves small classes from slabs, an equal number of regions each. It hands out a region of the
//! current slab of the class, and when that is full it goes on with the oldest slab that is not. So a block
//! that is allocated anew lands among the fullest and oldest, and freeing its old place leaves a sparse slab
//! sparser still. Both bypass the thread's cache: from there the region that has just been freed would be
//! handed out again.
//!
//! Which slab is sparse, jemalloc tells through its public interface: `experimental.utilization.query` how
//! many regions of a block's slab are free, and where the next block would land; `stats.arenas.i.bins.j`
//! how many slabs of the class are not full, and how many regions are taken in all. The latter are as old
//! as the last `refresh`.
//!
//! A move is a copy of bytes: whatever points to the block is the caller's to mend. `used_memory` stays as
//! it is.

use std::alloc::Layout;
use std::ptr::NonNull;
use std::sync::OnceLock;

/// Judges and moves blocks, and counts both.
pub struct Mover {
    judge: Judge,
    /// Blocks that were moved, and that were looked at and stayed.
    pub hits: u64,
    pub misses: u64,
}

enum Judge {
    #[cfg(feature = "jemalloc")]
    Slabs(Box<slabs::Slabs>),
    /// Every block moves: for tests of what mends the pointers.
    #[cfg(test)]
    Always,
}

/// What is known of the slabs of a class.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct SlabFigures {
    /// Slabs with room, the current one not among them.
    open: u64,
    /// Regions that are taken in them.
    taken: u64,
}

impl SlabFigures {
    /// Of `regions` taken in all `slabs`, `open` of which have room; a slab holds `each`.
    #[cfg_attr(not(feature = "jemalloc"), allow(dead_code, reason = "jemalloc's figures"))]
    fn new(slabs: u64, open: u64, regions: u64, each: u64) -> SlabFigures {
        let full = slabs.saturating_sub(open);
        SlabFigures { open, taken: regions.saturating_sub(full.saturating_mul(each)) }
    }

    /// Is a slab with `free` of its `each` regions free one to be emptied? It is, when it holds less than
    /// the average of the slabs with room. An eighth more is allowed: else nothing would move where all
    /// slabs hold the same.
    #[cfg_attr(not(feature = "jemalloc"), allow(dead_code, reason = "jemalloc's figures"))]
    fn empties(&self, free: u64, each: u64) -> bool {
        let taken = each.saturating_sub(free);
        free > 0 && self.open > 1 && taken * self.open <= self.taken + self.taken / 8
    }
}

/// Can the allocator tell which slabs are sparse?
pub fn is_possible() -> bool {
    static POSSIBLE: OnceLock<bool> = OnceLock::new();
    *POSSIBLE.get_or_init(|| Mover::new().is_some())
}

impl Mover {
    /// None where the allocator cannot tell which slabs are sparse.
    pub fn new() -> Option<Mover> {
        #[cfg(feature = "jemalloc")]
        return slabs::Slabs::new().map(|s| Mover {
            judge: Judge::Slabs(Box::new(s)),
            hits: 0,
            misses: 0,
        });
        #[cfg(not(feature = "jemalloc"))]
        None
    }

    /// One that moves every block.
    #[cfg(test)]
    pub fn always() -> Mover {
        Mover { judge: Judge::Always, hits: 0, misses: 0 }
    }

    /// Asks the allocator anew how full its slabs are.
    pub fn refresh(&mut self) {
        match self.judge {
            #[cfg(feature = "jemalloc")]
            Judge::Slabs(ref mut slabs) => slabs.refresh(),
            #[cfg(test)]
            Judge::Always => {}
        }
    }

    /// Is a block better moved, that begins at `at` or around it and has this layout? One that is not counts
    /// as looked at.
    pub fn wants(&mut self, at: NonNull<u8>, layout: Layout) -> bool {
        let wanted = self.judges(at, layout);
        self.misses += u64::from(!wanted);
        wanted
    }

    fn judges(&self, at: NonNull<u8>, layout: Layout) -> bool {
        let _ = (at, layout);
        match self.judge {
            #[cfg(feature = "jemalloc")]
            Judge::Slabs(ref slabs) => slabs.wants(at, layout),
            #[cfg(test)]
            Judge::Always => true,
        }
    }

    /// Moves a block. What comes back has the same bytes and layout.
    ///
    /// # Safety
    /// The block came from the global allocator with this layout, and is not used any more afterwards.
    pub unsafe fn relocate(&mut self, block: NonNull<u8>, layout: Layout) -> NonNull<u8> {
        self.hits += 1;
        let new = raw::acquire(layout);
        // SAFETY: both blocks have the size of the layout, and are different ones.
        unsafe {
            new.copy_from_nonoverlapping(block, layout.size());
            raw::release(block, layout);
        }
        new
    }

    /// Moves a block when its slab is sparse; None when it stays.
    ///
    /// # Safety
    /// As for `relocate`, when something comes back.
    pub unsafe fn try_relocate(&mut self, block: NonNull<u8>, layout: Layout) -> Option<NonNull<u8>> {
        // SAFETY: by contract.
        self.wants(block, layout).then(|| unsafe { self.relocate(block, layout) })
    }
}

#[cfg(feature = "jemalloc")]
mod raw {
    use crate::sys::alloc;
    use std::alloc::{Layout, handle_alloc_error};
    use std::ptr::NonNull;
    use tikv_jemalloc_sys as je;

    /// A block that does not come from the thread's cache.
    pub fn acquire(layout: Layout) -> NonNull<u8> {
        let flags = alloc::flags(layout) | je::MALLOCX_TCACHE_NONE;
        // SAFETY: no layout that is moved is empty.
        let p = unsafe { je::mallocx(layout.size(), flags) };
        NonNull::new(p.cast()).unwrap_or_else(|| handle_alloc_error(layout))
    }

    /// # Safety
    /// The block came from the global allocator or `acquire` with this layout, and is not used any more.
    pub unsafe fn release(block: NonNull<u8>, layout: Layout) {
        let flags = alloc::flags(layout) | je::MALLOCX_TCACHE_NONE;
        // SAFETY: by contract.
        unsafe { je::sdallocx(block.as_ptr().cast(), layout.size(), flags) }
    }
}

#[cfg(not(feature = "jemalloc"))]
mod raw {
    use std::alloc::{GlobalAlloc, Layout, System, handle_alloc_error};
    use std::ptr::NonNull;

    pub fn acquire(layout: Layout) -> NonNull<u8> {
        // SAFETY: no layout that is moved is empty.
        NonNull::new(unsafe { System.alloc(layout) }).unwrap_or_else(|| handle_alloc_error(layout))
    }

    /// # Safety
    /// The block came from the global allocator or `acquire` with this layout, and is not used any more.
    pub unsafe fn release(block: NonNull<u8>, layout: Layout) {
        // SAFETY: by contract; without jemalloc the global allocator hands through.
        unsafe { System.dealloc(block.as_ptr(), layout) }
    }
}

#[cfg(feature = "jemalloc")]
mod slabs {
    use super::SlabFigures;
    use crate::sys::alloc;
    use std::alloc::Layout;
    use std::ffi::{CStr, c_void};
    use std::ptr::{self, NonNull};
    use tikv_jemalloc_sys as je;

    /// A name of jemalloc's settings, looked up once.
    #[derive(Clone, Copy)]
    struct Mib {
        path: [usize; 6],
        len: usize,
    }

    impl Mib {
        fn of(name: &CStr) -> Option<Mib> {
            let mut mib = Mib { path: [0; 6], len: 6 };
            // SAFETY: the name ends in NUL, and `len` says how much room the path has.
            let r = unsafe { je::mallctlnametomib(name.as_ptr(), mib.path.as_mut_ptr(), &mut mib.len) };
            (r == 0).then_some(mib)
        }

        /// The same name with another number in it.
        fn with(mut self, at: usize, number: usize) -> Mib {
            self.path[at] = number;
            self
        }

        /// The value of type T, whose size jemalloc checks.
        fn get<T: Copy + Default>(&self) -> Option<T> {
            let (mut value, mut size) = (T::default(), size_of::<T>());
            // SAFETY: room for a T, of the size that is said.
            let r = unsafe {
                let to = (&raw mut value).cast();
                je::mallctlbymib(self.path.as_ptr(), self.len, to, &mut size, ptr::null_mut(), 0)
            };
            (r == 0).then_some(value)
        }
    }

    /// What `experimental.utilization.query` says of a block (inspect_extent_util_stats_verbose_t).
    #[repr(C)]
    #[derive(Clone, Copy)]
    struct Utilization {
        /// The slab of which the next block of this class comes.
        current: *const u8,
        free: usize,
        regions: usize,
        /// Bytes of the block's slab.
        size: usize,
        class_free: usize,
        class_regions: usize,
    }

    /// A class.
    struct Bin {
        size: usize,
        each: u64,
        figures: SlabFigures,
    }

    /// The classes of the arena of the thread that made it.
    pub struct Slabs {
        query: Mib,
        epoch: Mib,
        arena: usize,
        /// Slabs, slabs with room, regions taken: of an arena and a class to be filled in.
        counts: [Mib; 3],
        bins: Vec<Bin>,
    }

    /// Where arena and class stand in `stats.arenas.i.bins.j.name`.
    const ARENA: usize = 2;
    const CLASS: usize = 4;

    impl Slabs {
        pub fn new() -> Option<Slabs> {
            let classes: u32 = Mib::of(c"arenas.nbins")?.get()?;
            let (size, each) = (Mib::of(c"arenas.bin.0.size")?, Mib::of(c"arenas.bin.0.nregs")?);
            let bin = |j| {
                let (size, each) = (size.with(2, j).get::<usize>()?, each.with(2, j).get::<u32>()?);
                Some(Bin { size, each: u64::from(each), figures: SlabFigures::default() })
            };
            let count = |name| {
                let mib = Mib::of(name)?;
                mib.get::<usize>()?;
                Some(mib)
            };
            let mut slabs = Slabs {
                query: Mib::of(c"experimental.utilization.query")?,
                epoch: Mib::of(c"epoch")?,
                arena: Mib::of(c"thread.arena")?.get::<u32>()? as usize,
                counts: [
                    count(c"stats.arenas.0.bins.0.curslabs")?,
                    count(c"stats.arenas.0.bins.0.nonfull_slabs")?,
                    count(c"stats.arenas.0.bins.0.curregs")?,
                ],
                bins: (0..classes as usize).map(bin).collect::<Option<_>>()?,
            };
            debug_assert!(slabs.bins.is_sorted_by_key(|b| b.size));
            slabs.refresh();
            let mut probe = Box::new(0u64);
            slabs.ask(NonNull::from(&mut *probe).cast()).is_some().then_some(slabs)
        }

        pub fn refresh(&mut self) {
            let mut one = 1u64;
            // SAFETY: a number of eight bytes, as the setting has it.
            unsafe {
                let Mib { path, len } = self.epoch;
                let new = (&raw mut one).cast();
                je::mallctlbymib(path.as_ptr(), len, ptr::null_mut(), ptr::null_mut(), new, 8);
            }
            let (arena, counts) = (self.arena, self.counts);
            for (j, bin) in self.bins.iter_mut().enumerate() {
                // What cannot be read is none: then nothing moves.
                let get = |n: usize| {
                    let mib: Mib = counts[n].with(ARENA, arena).with(CLASS, j);
                    mib.get::<usize>().unwrap_or(0) as u64
                };
                bin.figures = SlabFigures::new(get(0), get(1), get(2), bin.each);
            }
        }

        /// How full the slab is that `at` lies in.
        fn ask(&self, at: NonNull<u8>) -> Option<Utilization> {
            let mut question = at.as_ptr().cast::<c_void>();
            let mut answer = Utilization {
                current: ptr::null(),
                free: 0,
                regions: 0,
                size: 0,
                class_free: 0,
                class_regions: 0,
            };
            let mut size = size_of::<Utilization>();
            // SAFETY: an address that is only looked up; the answer has the shape that is expected.
            let r = unsafe {
                let Mib { path, len } = &self.query;
                let (to, of) = ((&raw mut answer).cast(), (&raw mut question).cast());
                je::mallctlbymib(path.as_ptr(), *len, to, &mut size, of, size_of::<*mut c_void>())
            };
            (r == 0).then_some(answer)
        }

        pub fn wants(&self, at: NonNull<u8>, layout: Layout) -> bool {
            let class = alloc::size_class(layout.size());
            let bin = self.bins.partition_point(|b| b.size < class);
            // A class that is not in slabs has pages of its own.
            let Some(Bin { each, figures, .. }) = self.bins.get(bin) else { return false };
            let Some(slab) = self.ask(at) else { return false };
            let here = at.as_ptr().addr().wrapping_sub(slab.current.addr()) < slab.size;
            slab.regions > 1 && !here && figures.empties(slab.free as u64, *each)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slab_is_emptied_when_it_holds_less_than_the_others_with_room() {
        // Ten slabs of 32, six of them full; the other four hold 64.
        let f = SlabFigures::new(10, 4, 6 * 32 + 64, 32);
        assert_eq!(f, SlabFigures { open: 4, taken: 64 });
        assert!(f.empties(32 - 8, 32) && f.empties(32 - 16, 32), "half of the average, the average");
        assert!(f.empties(32 - 18, 32) && !f.empties(32 - 19, 32), "an eighth more");
        assert!(!f.empties(0, 32), "a full one has no room to win");
        assert!(!SlabFigures::new(7, 1, 6 * 32 + 3, 32).empties(29, 32), "there is no other slab");
        assert_eq!(SlabFigures::new(3, 1, 10, 32).taken, 0, "the current slab is not a full one");
    }

    /// Pages that the blocks lie on.
    #[cfg(feature = "jemalloc")]
    fn pages(blocks: &[NonNull<u8>]) -> usize {
        let pages = blocks.iter().map(|b| b.as_ptr().addr() >> 12);
        pages.collect::<std::collections::BTreeSet<_>>().len()
    }

    #[cfg(feature = "jemalloc")]
    #[test]
    fn blocks_land_together_and_keep_their_bytes() {
        const BLOCKS: u32 = 40_000;
        for (size, align) in [(24, 1), (120, 8), (640, 8), (1024, 64)] {
            let layout = Layout::from_size_align(size, align).expect("a layout");
            let number = |b: NonNull<u8>| b.cast::<u32>();
            let mut blocks: Vec<NonNull<u8>> = (0..BLOCKS)
                .map(|i| {
                    // SAFETY: the layout has a size, and room for a number.
                    unsafe {
                        let b = NonNull::new(std::alloc::alloc(layout)).expect("memory");
                        number(b).write_unaligned(i);
                        b
                    }
                })
                .collect();
            let mut n = 0;
            // One of four stays, so that every slab is sparse.
            blocks.retain(|b| {
                n += 1;
                let stays = n % 4 == 1;
                if !stays {
                    // SAFETY: allocated above, and forgotten.
                    unsafe { std::alloc::dealloc(b.as_ptr(), layout) };
                }
                stays
            });
            let before = pages(&blocks);
            let mut mover = Mover::new().expect("jemalloc tells");
            for _ in 0..3 {
                mover.refresh();
                for b in &mut blocks {
                    // SAFETY: allocated with this layout; the old address is overwritten.
                    if let Some(new) = unsafe { mover.try_relocate(*b, layout) } {
                        *b = new;
                    }
                }
            }
            let after = pages(&blocks);
            assert!(after * 2 < before, "{size}: {before} pages, then {after}; {} moved", mover.hits);
            for (i, b) in blocks.iter().enumerate() {
                // SAFETY: the blocks are ours, and forgotten.
                unsafe {
                    assert_eq!(number(*b).read_unaligned(), 4 * i as u32);
                    assert!(b.as_ptr().addr().is_multiple_of(align));
                    std::alloc::dealloc(b.as_ptr(), layout);
                }
            }
        }
    }
}
