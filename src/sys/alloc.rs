//! The global allocator, and the one source of `used_memory`.
//!
//! Every block is counted by its size class (what the allocator really hands out), so `used_memory` is
//! exact at every moment and costs an add. The count lives in one padded slot per thread: a slot has a
//! single writer, which loads and stores it without a locked instruction; readers sum all slots. A
//! block that one thread allocates and another frees makes one slot grow and the other go below zero:
//! only the sum has a meaning. Threads that never registered share one slot and pay for an atomic add.
//!
//! What goes to the lazy-free thread leaves `used_memory` at the moment it is handed over, by an
//! estimate; the thread frees it `uncounted`, into a slot outside of the sum, and then corrects the
//! estimate.
//!
//! jemalloc is built with a quantum of 8 bytes (`.cargo/config.toml`), so its classes are
//!
//! ```text
//! 8 16 24 32 40 48 56 64 | 80 96 112 128 | 160 192 224 256 | 320 ... four steps to each doubling up to
//! 32 KiB, whole pages above
//! ```
//!
//! and a plain `malloc` aligns to 8 bytes only: anything above goes through `mallocx`.
//!
//! An allocation that fails ends the server with its size in the log, except inside [`fallible`].

use std::alloc::{GlobalAlloc, Layout};
use std::cell::Cell;
use std::sync::atomic::{AtomicIsize, Ordering};

pub struct Alloc;

#[repr(align(128))]
struct Slot(AtomicIsize);

/// Slot 0 is the main thread's, the last one is shared by threads that never registered.
const SLOTS: usize = 16;
const SHARED: usize = SLOTS - 1;
const MAIN: usize = 0;
/// No slot: the thread frees what has been taken off before.
const TRASH: usize = SLOTS;
static USED: [Slot; SLOTS] = [const { Slot(AtomicIsize::new(0)) }; SLOTS];

/// Slots of the worker threads; the main thread has the first.
pub mod slot {
    pub const LAZYFREE: usize = 1;
    pub const DISK: usize = 2;
    pub const FILES: usize = 3;
    /// From here on: one for each test that counts.
    #[cfg(test)]
    pub const TESTS: usize = 9;
}

thread_local! {
    static MINE: Cell<usize> = const { Cell::new(SHARED) };
    static TRASHED: Cell<isize> = const { Cell::new(0) };
    static FALLIBLE: Cell<bool> = const { Cell::new(false) };
}

/// Gives the calling thread the slot `n` (0 for the main thread). No other thread may have it.
pub fn register_thread(n: usize) {
    assert!(n < SHARED, "more worker threads than allocator slots");
    MINE.with(|m| m.set(n));
}

/// Adds `bytes` that were mapped beside the allocator (big table arrays), or takes them away.
#[inline]
pub fn account(bytes: isize) {
    MINE.with(|m| {
        let n = m.get();
        if n == TRASH {
            return TRASHED.with(|t| t.set(t.get().wrapping_add(bytes)));
        }
        let slot = &USED[n].0;
        if n == SHARED {
            slot.fetch_add(bytes, Ordering::Relaxed);
        } else {
            slot.store(slot.load(Ordering::Relaxed).wrapping_add(bytes), Ordering::Relaxed);
        }
    });
}

/// Bytes in use over all threads, by size class.
pub fn used() -> usize {
    USED.iter().map(|s| s.0.load(Ordering::Relaxed)).sum::<isize>().max(0) as usize
}

/// Bytes in use by all threads but the main one, whose share moves with every command.
pub fn used_by_others() -> isize {
    USED[MAIN + 1..].iter().map(|s| s.0.load(Ordering::Relaxed)).sum()
}

/// Bytes in use, when the other threads use `others`.
#[inline]
pub fn used_with(others: isize) -> usize {
    (USED[MAIN].0.load(Ordering::Relaxed) + others).max(0) as usize
}

/// What the calling thread's slot says: differences of it measure what a piece of code allocated.
#[inline]
pub fn mine() -> isize {
    MINE.with(|m| match m.get() {
        TRASH => TRASHED.with(Cell::get),
        n => USED[n].0.load(Ordering::Relaxed),
    })
}

/// Runs `free` without touching `used_memory`, and tells how many bytes it gave back.
pub fn uncounted(free: impl FnOnce()) -> isize {
    let mine = MINE.with(|m| m.replace(TRASH));
    assert_ne!(mine, TRASH, "one thing is freed at a time");
    let before = TRASHED.with(Cell::get);
    free();
    MINE.with(|m| m.set(mine));
    before.wrapping_sub(TRASHED.with(Cell::get))
}

/// Runs `reserve`, which knows what to do without memory: `Vec::try_reserve` and its kind.
pub fn fallible<T>(reserve: impl FnOnce() -> T) -> T {
    let before = FALLIBLE.with(|f| f.replace(true));
    let done = reserve();
    FALLIBLE.with(|f| f.set(before));
    done
}

/// There is no memory for a block of `size` bytes; `counted` of them have been booked.
#[cold]
fn refused(size: usize, counted: isize) -> *mut u8 {
    if !FALLIBLE.with(Cell::get) {
        super::crash::out_of_memory(size);
    }
    account(counted.wrapping_neg());
    std::ptr::null_mut()
}

/// Above 32 KiB jemalloc 5.3.1 rounds to whole pages (USIZE_GROW_SLOW_THRESHOLD).
const GROW_SLOW_FROM: usize = 32 * 1024;

/// The size class that serves a request of `size` bytes.
#[inline]
pub const fn size_class(size: usize) -> usize {
    if size <= 64 {
        return if size == 0 { 8 } else { (size + 7) & !7 };
    }
    if size > GROW_SLOW_FROM {
        return (size + 4095) & !4095;
    }
    let lg = usize::BITS - (size - 1).leading_zeros() - 1;
    let step = 1usize << (lg - 2);
    (size + step - 1) & !(step - 1)
}

const _: () = assert!(size_class(1) == 8 && size_class(65) == 80 && size_class(129) == 160);
const _: () = assert!(size_class(128) == 128 && size_class(16 * 1024 + 1) == 20 * 1024);

#[cfg(feature = "jemalloc")]
pub(super) use raw::flags;

#[cfg(feature = "jemalloc")]
mod raw {
    use std::alloc::Layout;
    use std::os::raw::c_int;
    use tikv_jemalloc_sys as je;

    const MIN_ALIGN: usize = 8;

    /// What jemalloc is told of a layout beside its size.
    #[inline]
    pub fn flags(layout: Layout) -> c_int {
        if layout.align() <= MIN_ALIGN { 0 } else { layout.align().trailing_zeros() as c_int }
    }

    /// # Safety
    /// As `GlobalAlloc::alloc`.
    #[inline]
    pub unsafe fn alloc(layout: Layout, zeroed: bool) -> *mut u8 {
        let f = flags(layout);
        // SAFETY: the size is not zero by the contract of GlobalAlloc.
        unsafe {
            if zeroed {
                if f == 0 {
                    je::calloc(1, layout.size()) as *mut u8
                } else {
                    je::mallocx(layout.size(), f | je::MALLOCX_ZERO) as *mut u8
                }
            } else if f == 0 {
                je::malloc(layout.size()) as *mut u8
            } else {
                je::mallocx(layout.size(), f) as *mut u8
            }
        }
    }

    /// # Safety
    /// As `GlobalAlloc::dealloc`.
    #[inline]
    pub unsafe fn dealloc(p: *mut u8, layout: Layout) {
        // SAFETY: the block came from `alloc` with a layout of the same size class.
        unsafe { je::sdallocx(p.cast(), layout.size(), flags(layout)) }
    }

    /// # Safety
    /// As `GlobalAlloc::realloc`.
    #[inline]
    pub unsafe fn realloc(p: *mut u8, layout: Layout, new: usize) -> *mut u8 {
        let f = flags(layout);
        // SAFETY: as above; the new size is not zero by contract.
        unsafe {
            if f == 0 {
                je::realloc(p.cast(), new) as *mut u8
            } else {
                je::rallocx(p.cast(), new, f) as *mut u8
            }
        }
    }
}

#[cfg(not(feature = "jemalloc"))]
mod raw {
    use std::alloc::{GlobalAlloc, Layout, System};

    /// # Safety
    /// As `GlobalAlloc::alloc`.
    pub unsafe fn alloc(layout: Layout, zeroed: bool) -> *mut u8 {
        // SAFETY: handed through.
        unsafe { if zeroed { System.alloc_zeroed(layout) } else { System.alloc(layout) } }
    }
    /// # Safety
    /// As `GlobalAlloc::dealloc`.
    pub unsafe fn dealloc(p: *mut u8, layout: Layout) {
        // SAFETY: handed through.
        unsafe { System.dealloc(p, layout) }
    }
    /// # Safety
    /// As `GlobalAlloc::realloc`.
    pub unsafe fn realloc(p: *mut u8, layout: Layout, new: usize) -> *mut u8 {
        // SAFETY: handed through.
        unsafe { System.realloc(p, layout, new) }
    }
}

// SAFETY: the blocks come from one allocator; counting touches nothing else.
unsafe impl GlobalAlloc for Alloc {
    #[inline]
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let class = size_class(layout.size()) as isize;
        account(class);
        // SAFETY: handed through.
        let p = unsafe { raw::alloc(layout, false) };
        if p.is_null() { refused(layout.size(), class) } else { p }
    }
    #[inline]
    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        let class = size_class(layout.size()) as isize;
        account(class);
        // SAFETY: handed through.
        let p = unsafe { raw::alloc(layout, true) };
        if p.is_null() { refused(layout.size(), class) } else { p }
    }
    #[inline]
    unsafe fn dealloc(&self, p: *mut u8, layout: Layout) {
        account(-(size_class(layout.size()) as isize));
        // SAFETY: handed through.
        unsafe { raw::dealloc(p, layout) }
    }
    #[inline]
    unsafe fn realloc(&self, p: *mut u8, layout: Layout, new: usize) -> *mut u8 {
        let growth = (size_class(new) as isize).wrapping_sub(size_class(layout.size()) as isize);
        account(growth);
        // SAFETY: handed through.
        let moved = unsafe { raw::realloc(p, layout, new) };
        if moved.is_null() { refused(new, growth) } else { moved }
    }
}

/// jemalloc's own figures, in bytes; zeros without it.
#[derive(Default, Clone, Copy, Debug)]
pub struct Stats {
    pub allocated: usize,
    pub active: usize,
    pub resident: usize,
}

#[cfg(feature = "jemalloc")]
mod control {
    use super::Stats;
    use std::ffi::CString;
    use std::os::raw::{c_char, c_void};
    use std::ptr;
    use tikv_jemalloc_sys as je;

    pub const NAME: &str = "jemalloc-5.3.1";

    /// Reads a number by its mallctl name; `None` where jemalloc does not know it.
    pub fn get(name: &str) -> Option<u64> {
        let name = CString::new(name).ok()?;
        let (mut value, mut size) = (0u64, 8usize);
        // SAFETY: the name ends in NUL, `value` has room for the widest number there is.
        let r = unsafe {
            je::mallctl(name.as_ptr(), (&raw mut value).cast(), &mut size, ptr::null_mut(), 0)
        };
        (r == 0).then_some(match size {
            1 => value & 0xff,
            4 => value & 0xffff_ffff,
            _ => value,
        })
    }

    /// Writes a number by its mallctl name.
    pub fn set(name: &str, value: u64) -> bool {
        let Ok(name) = CString::new(name) else { return false };
        let mut v = value;
        [8usize, 4, 1].iter().any(|&size| {
            // SAFETY: `v` is at least `size` bytes.
            unsafe {
                je::mallctl(name.as_ptr(), ptr::null_mut(), ptr::null_mut(), (&raw mut v).cast(), size)
                    == 0
            }
        })
    }

    /// Tries a setting by its mallctl name in the widths that numbers have: reads it, writes `new` when
    /// there is one, and gives the old value, None for what can only be written. The error is an errno.
    pub fn tune(name: &[u8], new: Option<i64>) -> Result<Option<i64>, i32> {
        let name = CString::new(name).map_err(|_| libc::ENOENT)?;
        let mut value = new.unwrap_or(0);
        for size in [8usize, 4, 2, 1] {
            let (mut old, mut old_size) = (0i64, size);
            let to = if new.is_some() { (&raw mut value).cast() } else { ptr::null_mut() };
            let len = if new.is_some() { size } else { 0 };
            // SAFETY: the name ends in NUL; both numbers have room for the widest there is.
            let r = unsafe { je::mallctl(name.as_ptr(), (&raw mut old).cast(), &mut old_size, to, len) };
            if r == 0 {
                return Ok(Some(old));
            }
            if r == libc::EPERM && new.is_some() {
                // SAFETY: as above, writing alone.
                let r = unsafe { je::mallctl(name.as_ptr(), ptr::null_mut(), ptr::null_mut(), to, len) };
                if r == 0 {
                    return Ok(None);
                }
                if r != libc::EINVAL {
                    return Err(r);
                }
            } else if r != libc::EINVAL {
                return Err(r);
            }
        }
        Err(libc::EINVAL)
    }

    /// As `tune`, for settings that are texts. `new` is `VOID` for a command without a value.
    pub fn tune_text(name: &[u8], new: Option<&[u8]>) -> Result<Option<Vec<u8>>, i32> {
        let name = CString::new(name).map_err(|_| libc::ENOENT)?;
        let (mut old, mut size): (*const c_char, usize) = (ptr::null(), size_of::<*const c_char>());
        // SAFETY: room for a pointer, of the size that is said.
        let read =
            unsafe { je::mallctl(name.as_ptr(), (&raw mut old).cast(), &mut size, ptr::null_mut(), 0) };
        if read != 0 && !(read == libc::EPERM && new.is_some()) {
            return Err(read);
        }
        // SAFETY: jemalloc's texts end in NUL and are constants of the program.
        let old = (read == 0 && !old.is_null())
            .then(|| unsafe { std::ffi::CStr::from_ptr(old) }.to_bytes().to_vec());
        let Some(new) = new else { return Ok(old) };
        let text = CString::new(new).map_err(|_| libc::EINVAL)?;
        let mut text = text.as_ptr();
        let (to, len) = if new == b"VOID" {
            (ptr::null_mut(), 0)
        } else {
            ((&raw mut text).cast::<c_void>(), size_of::<*const c_char>())
        };
        // SAFETY: a pointer to a text that lives to the end of the call; jemalloc copies what it keeps.
        let wrote = unsafe { je::mallctl(name.as_ptr(), ptr::null_mut(), ptr::null_mut(), to, len) };
        match old {
            Some(old) => Ok(Some(old)),
            None if wrote != 0 => Err(wrote),
            None => Ok(None),
        }
    }

    fn call(name: &str) -> bool {
        let Ok(name) = CString::new(name) else { return false };
        // SAFETY: a command without arguments.
        unsafe { je::mallctl(name.as_ptr(), ptr::null_mut(), ptr::null_mut(), ptr::null_mut(), 0) == 0 }
    }

    pub fn stats() -> Stats {
        set("epoch", 1);
        let get = |n: &str| get(n).unwrap_or(0) as usize;
        Stats {
            allocated: get("stats.allocated"),
            active: get("stats.active"),
            resident: get("stats.resident"),
        }
    }

    pub fn purge() -> bool {
        call("arena.4096.purge")
    }

    /// Gives the regions that the thread's cache holds back to their slabs.
    pub fn flush_thread_cache() {
        call("thread.tcache.flush");
    }

    /// Lets jemalloc purge in a thread of its own, as `jemalloc-bg-thread` asks.
    pub fn background_thread(on: bool) -> bool {
        set("background_thread", on as u64)
    }

    unsafe extern "C" fn collect(to: *mut c_void, text: *const c_char) {
        // SAFETY: `malloc_stats` hands its vector through; the text ends in NUL.
        unsafe {
            let to = &mut *to.cast::<Vec<u8>>();
            to.extend_from_slice(std::ffi::CStr::from_ptr(text).to_bytes());
        }
    }

    /// The allocator's own report.
    pub fn malloc_stats() -> Vec<u8> {
        let mut out = Vec::new();
        // SAFETY: `collect` gets exactly the vector that is named here, for the time of the call.
        unsafe { je::malloc_stats_print(Some(collect), (&raw mut out).cast(), ptr::null()) };
        out
    }
}

#[cfg(not(feature = "jemalloc"))]
mod control {
    use super::Stats;
    pub const NAME: &str = "libc";
    pub fn tune(_: &[u8], _: Option<i64>) -> Result<Option<i64>, i32> {
        Err(libc::ENOENT)
    }
    pub fn tune_text(_: &[u8], _: Option<&[u8]>) -> Result<Option<Vec<u8>>, i32> {
        Err(libc::ENOENT)
    }
    pub fn stats() -> Stats {
        Stats::default()
    }
    pub fn purge() -> bool {
        false
    }
    pub fn flush_thread_cache() {}
    pub fn background_thread(_: bool) -> bool {
        false
    }
    pub fn malloc_stats() -> Vec<u8> {
        b"Stats not supported for the current allocator".to_vec()
    }
}

pub use control::{
    NAME, background_thread, flush_thread_cache, malloc_stats, purge, stats, tune, tune_text,
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classes_have_four_steps_a_doubling() {
        for (size, class) in
            [(0, 8), (8, 8), (9, 16), (57, 64), (64, 64), (80, 80), (81, 96), (113, 128)]
        {
            assert_eq!(size_class(size), class);
        }
        for (size, class) in
            [(257, 320), (1000, 1024), (1025, 1280), (5 << 20, 5 << 20), (40_961, 45_056)]
        {
            assert_eq!(size_class(size), class);
        }
    }

    #[test]
    fn what_is_freed_uncounted_is_told_but_not_taken_off() {
        // A slot of its own, that no other test counts in.
        let t = std::thread::spawn(|| {
            register_thread(slot::TESTS);
            let block = vec![1u8; 100_000];
            let before = mine();
            let freed = uncounted(|| drop(block));
            assert_eq!((mine(), freed), (before, size_class(100_000) as isize));
        });
        t.join().expect("the assertions hold");
    }

    #[cfg(feature = "jemalloc")]
    #[test]
    fn settings_are_tuned_in_their_own_width() {
        let old = tune(b"arena.0.dirty_decay_ms", None).expect("a number").expect("readable");
        assert_eq!(tune(b"arena.0.dirty_decay_ms", Some(old)), Ok(Some(old)));
        assert_eq!(tune(b"no.such.setting", None), Err(libc::ENOENT));
        assert!(tune_text(b"version", None).expect("a text").expect("readable").starts_with(b"5."));
    }

    #[cfg(feature = "jemalloc")]
    #[test]
    fn the_formula_is_what_jemalloc_hands_out() {
        for size in (1..4096).chain((4096..2_000_000).step_by(517)) {
            // SAFETY: nallocx has no effect.
            let real = unsafe { tikv_jemalloc_sys::nallocx(size, 0) };
            assert_eq!(size_class(size), real, "request of {size}");
        }
    }
}
