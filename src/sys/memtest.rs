//! Tests of the machine's memory: the long one of `--test-memory`, and the short one of a crash report,
//! which tests all of this process's memory in place.
//!
//! A round writes a pattern and reads it back, several times:
//!
//! ```text
//!   addressing    every word holds its own address: finds crossed address lines
//!   random        both halves of the area hold the same random words, then are compared
//!   solid         the same with all zeros and all ones in turn
//!   checkerboard  the same with 01.. and 10..
//! ```
//!
//! Fills step from page to page, so that caches help as little as possible. All accesses are volatile.
//!
//! **In place** (`own_memory`): each writable anonymous mapping is saved piece by piece to a spare
//! mapping, tested and restored. That is only sound while nothing else runs or writes: the caller has
//! stopped the other threads, and all signals are blocked. Left out are the memory this code stands on
//! (the mapping its stack is in, the spare one) and the one that holds the thread's control block,
//! where the kernel itself writes at any time (restartable sequences): testing it would fail, or end
//! the process. Between saving and restoring nothing may be called that could touch static data, so: no
//! logging there.

use std::io::Write as _;
use std::ops::Range;

use super::log::LogFd;

const PAGE: usize = 4096;
const WORD: usize = size_of::<u64>();
const STEP: usize = PAGE / WORD;
/// How much is saved, tested and restored at a time.
const PIECE: usize = 1 << 20;
const COMPARISONS: usize = 4;
/// The address list of the in-place test lives on the stack.
const MAX_REGIONS: usize = 1024;

/// Words of memory to be tested: an even number of pages. Plain pointers, since what is tested may
/// belong to any part of the program.
#[derive(Clone, Copy)]
struct Area {
    start: *mut u64,
    words: usize,
}

impl Area {
    /// # Safety
    /// `bytes` bytes from `start` on are mapped, writable, and used by nothing else as long as the
    /// area is.
    unsafe fn new(start: *mut u64, bytes: usize) -> Area {
        debug_assert!(bytes > 0 && bytes.is_multiple_of(2 * PAGE));
        debug_assert!((start as usize).is_multiple_of(WORD));
        Area { start, words: bytes / WORD }
    }

    fn at(self, i: usize) -> *mut u64 {
        debug_assert!(i < self.words);
        self.start.wrapping_add(i)
    }

    fn write(self, i: usize, v: u64) {
        // SAFETY: `i` is within the area (all callers iterate below `words`), which `new` vouches for.
        unsafe { self.at(i).write_volatile(v) }
    }

    fn read(self, i: usize) -> u64 {
        // SAFETY: as for `write`.
        unsafe { self.at(i).read_volatile() }
    }

    fn fill_addresses(self) {
        for i in 0..self.words {
            self.write(i, self.at(i) as u64);
        }
    }

    /// The first word that does not hold its address.
    fn check_addresses(self) -> Option<usize> {
        (0..self.words).find(|&i| self.read(i) != self.at(i) as u64)
    }

    /// Writes what `next` yields for the column within the page, to both halves, a page apart each time.
    fn fill_halves(self, mut next: impl FnMut(usize) -> u64) {
        let half = self.words / 2;
        for column in 0..STEP {
            for i in (column..half).step_by(STEP) {
                let v = next(column);
                self.write(i, v);
                self.write(half + i, v);
            }
        }
    }

    /// The first word that differs between the halves.
    fn compare_halves(self) -> Option<usize> {
        let half = self.words / 2;
        (0..half).find(|&i| self.read(i) != self.read(half + i))
    }
}

#[derive(Clone, Copy)]
enum Pattern {
    Random,
    Alternate(u64, u64),
}

const PATTERNS: [(&str, Pattern); 3] = [
    ("Random fill", Pattern::Random),
    ("Solid fill", Pattern::Alternate(0, u64::MAX)),
    ("Checkerboard fill", Pattern::Alternate(0xaaaa_aaaa_aaaa_aaaa, 0x5555_5555_5555_5555)),
];

impl Pattern {
    fn fill(self, area: Area) {
        match self {
            Pattern::Random => {
                // xorshift64*: local state only.
                let mut s = 0x9e37_79b9_7f4a_7c15u64;
                area.fill_halves(|_| {
                    s ^= s >> 12;
                    s ^= s << 25;
                    s ^= s >> 27;
                    s.wrapping_mul(0x2545_f491_4f6c_dd1d)
                });
            }
            Pattern::Alternate(even, odd) => area.fill_halves(|c| if c % 2 == 0 { even } else { odd }),
        }
    }
}

// ---- --test-memory ----------------------------------------------------------------------------------

/// Tests fresh memory and tells on stdout. The answer is the exit code.
pub fn interactive(megabytes: usize, passes: u32) -> i32 {
    let Some(bytes) = megabytes.checked_mul(1 << 20).filter(|&b| b > 0) else {
        eprintln!("Unable to allocate {megabytes} megabytes: not a size");
        return 1;
    };
    let Some(start) = map(bytes) else {
        let e = super::errno::text(&std::io::Error::last_os_error());
        eprintln!("Unable to allocate {megabytes} megabytes: {e}");
        return 1;
    };
    // SAFETY: a fresh mapping of that size, ours alone.
    let area = unsafe { Area::new(start, bytes) };
    let ok = (1..=passes).all(|pass| narrated_pass(area, pass));
    // SAFETY: the mapping made above, not used any more.
    unsafe { libc::munmap(start.cast(), bytes) };
    if !ok {
        return 1;
    }
    println!("\nYour memory passed this test.");
    println!("For what doubt remains there are tools that do without an operating system:");
    println!("memtest86: http://www.memtest86.com/");
    0
}

fn narrated_pass(area: Area, pass: u32) -> bool {
    let step = |what: &str| {
        println!("{what} [{pass}]");
        // When stdout is gone there is nowhere to report it; the test goes on.
        let _ = std::io::stdout().flush();
    };
    step("Addressing test");
    area.fill_addresses();
    if let Some(i) = area.check_addresses() {
        println!("\n*** MEMORY ADDRESSING ERROR: {:p} contains {}", area.at(i), area.read(i));
        return false;
    }
    for (name, pattern) in PATTERNS {
        step(name);
        pattern.fill(area);
        for _ in 0..COMPARISONS {
            step("Compare");
            if let Some(i) = area.compare_halves() {
                let (a, b) = (i, area.words / 2 + i);
                let (x, y) = (area.read(a), area.read(b));
                println!(
                    "\n*** MEMORY ERROR DETECTED: {:p} != {:p} ({x} vs {y})",
                    area.at(a),
                    area.at(b)
                );
                return false;
            }
        }
    }
    true
}

/// Fresh zeroed memory from the kernel.
fn map(bytes: usize) -> Option<*mut u64> {
    let prot = libc::PROT_READ | libc::PROT_WRITE;
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
    // SAFETY: a new anonymous mapping touches nothing that exists.
    let p = unsafe { libc::mmap(std::ptr::null_mut(), bytes, prot, flags, -1, 0) };
    (p != libc::MAP_FAILED).then_some(p.cast())
}

// ---- in place ---------------------------------------------------------------------------------------

/// Tests all of this process's memory in place and tells on `out`. The answer is the number of errors.
///
/// # Safety
/// All other threads are stopped for good, and all signals are blocked: see the essay.
pub unsafe fn own_memory(out: &LogFd) -> usize {
    // Guarded by a page on each side, so that the kernel does not merge it with what is to be tested.
    let Some(spare) = map(PIECE + 2 * PAGE) else { return 0 };
    let spare = spare.wrapping_add(STEP);
    for guard in [spare.wrapping_sub(STEP), spare.wrapping_add(PIECE / WORD)] {
        // SAFETY: both pages are within the mapping made above.
        unsafe { libc::mprotect(guard.cast(), PAGE, libc::PROT_NONE) };
    }
    let on_stack = 0u8;
    // SAFETY: errno's address is asked for, not errno; it lies in the thread's control block.
    let control = unsafe { libc::__errno_location() } as usize;
    let leave = [spare as usize, std::ptr::from_ref(&on_stack) as usize, control];
    let mut regions = [const { 0..0usize }; MAX_REGIONS];
    let mut count = 0;
    each_mapping(|line| {
        if let Some(r) = testable(line).filter(|r| !leave.iter().any(|a| r.contains(a)))
            && let Some(slot) = regions.get_mut(count)
        {
            say(
                out,
                format_args!("*** Preparing to test memory region {:x} ({} bytes)\n", r.start, r.len()),
            );
            *slot = r;
            count += 1;
        }
    });
    let mut errors = 0;
    for r in &regions[..count] {
        out.put(b".");
        // SAFETY: the region is mapped writable, holds neither our stack nor the spare piece, and by our
        // caller's promise nothing else runs.
        errors += unsafe { preserving(r.clone(), spare) };
        out.put(if errors > 0 { b"E" } else { b"O" });
    }
    out.put(b"\n");
    errors
}

/// Tests a region piece by piece, each saved to `spare` and restored after.
///
/// # Safety
/// As for [`own_memory`]; `spare` is PIECE bytes that nothing else uses.
unsafe fn preserving(region: Range<usize>, spare: *mut u64) -> usize {
    let mut errors = 0;
    let mut at = region.start;
    // A region of an odd number of pages ends with two that overlap the piece before.
    while region.end - at >= PAGE && region.len() >= 2 * PAGE {
        if region.end - at == PAGE {
            at -= PAGE;
        }
        let bytes = (region.end - at).min(PIECE) / (2 * PAGE) * (2 * PAGE);
        let here = at as *mut u64;
        // SAFETY: within the region; the spare piece is at least as long and apart.
        errors += unsafe {
            std::ptr::copy_nonoverlapping(here, spare, bytes / WORD);
            let n = quiet_pass(Area::new(here, bytes));
            std::ptr::copy_nonoverlapping(spare, here, bytes / WORD);
            n
        };
        at += bytes;
    }
    errors
}

fn quiet_pass(area: Area) -> usize {
    area.fill_addresses();
    let mut errors = usize::from(area.check_addresses().is_some());
    for (_, pattern) in PATTERNS {
        pattern.fill(area);
        errors += (0..COMPARISONS).filter(|_| area.compare_halves().is_some()).count();
    }
    errors
}

/// The addresses of a line of /proc/self/maps ("start-end perms offset dev inode path") that is private
/// writable memory, and no stack and nothing of the kernel's.
fn testable(line: &str) -> Option<Range<usize>> {
    let (start, rest) = line.split_once('-')?;
    let (end, rest) = rest.split_once(' ')?;
    let mut fields = rest.split_ascii_whitespace();
    let (perms, _offset, dev, _inode) = (fields.next()?, fields.next()?, fields.next()?, fields.next()?);
    let name = fields.next().unwrap_or("");
    if !perms.starts_with("rw")
        || dev != "00:00"
        || ["stack", "vdso", "vsyscall"].iter().any(|n| name.contains(n))
    {
        return None;
    }
    let r = usize::from_str_radix(start, 16).ok()?..usize::from_str_radix(end, 16).ok()?;
    (r.start < r.end).then_some(r)
}

/// Calls `f` with each line of /proc/self/maps, without allocating.
fn each_mapping(mut f: impl FnMut(&str)) {
    // SAFETY: the path is a NUL-terminated literal.
    let fd = unsafe { libc::open(c"/proc/self/maps".as_ptr(), libc::O_RDONLY | libc::O_CLOEXEC) };
    let mut buf = [0u8; 8192];
    let mut len = 0;
    loop {
        let free = &mut buf[len..];
        // SAFETY: the pointer and length are those of a live slice.
        let n = unsafe { libc::read(fd, free.as_mut_ptr().cast(), free.len()) };
        let Some(n) = usize::try_from(n).ok().filter(|&n| n > 0) else { break };
        len += n;
        let mut from = 0;
        while let Some(nl) = buf[from..len].iter().position(|&b| b == b'\n') {
            f(std::str::from_utf8(&buf[from..from + nl]).unwrap_or(""));
            from += nl + 1;
        }
        buf.copy_within(from..len, 0);
        len -= from;
    }
    // SAFETY: opened above, or -1, which close refuses.
    unsafe { libc::close(fd) };
}

fn say(out: &LogFd, text: std::fmt::Arguments<'_>) {
    let mut buf = [0u8; 128];
    let mut rest = &mut buf[..];
    let whole = rest.len();
    // What does not fit is left out.
    let _ = rest.write_fmt(text);
    let used = whole - rest.len();
    out.put(&buf[..used]);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::log;
    use crate::sys::testing::{play, role};

    const SELF: &str = "sys::memtest::tests::";

    fn buffer(pages: usize) -> (Vec<u64>, Area) {
        let mut v = vec![3u64; pages * STEP];
        // SAFETY: the vector outlives the area in every test, which reaches it through the area only.
        let area = unsafe { Area::new(v.as_mut_ptr(), pages * PAGE) };
        (v, area)
    }

    #[test]
    fn sound_memory_passes_and_each_flipped_bit_is_found() {
        let (_keep, area) = buffer(6);
        assert_eq!(quiet_pass(area), 0);
        for broken in [0, 1, STEP + 5, area.words / 2 - 1, area.words / 2, area.words - 1] {
            area.fill_addresses();
            assert_eq!(area.check_addresses(), None);
            area.write(broken, area.read(broken) ^ 1 << 40);
            assert_eq!(area.check_addresses(), Some(broken));
            for (_, pattern) in PATTERNS {
                pattern.fill(area);
                assert_eq!(area.compare_halves(), None);
                area.write(broken, area.read(broken) ^ 1 << 3);
                assert_eq!(area.compare_halves(), Some(broken % (area.words / 2)));
            }
        }
    }

    #[test]
    fn patterns_cover_every_word() {
        let (keep, area) = buffer(4);
        for (_, pattern) in PATTERNS {
            area.fill_addresses();
            pattern.fill(area);
            let untouched = (0..keep.len()).filter(|&i| area.read(i) == area.at(i) as u64).count();
            assert_eq!(untouched, 0);
        }
        Pattern::Alternate(1, 2).fill(area);
        assert_eq!([area.read(0), area.read(1), area.read(STEP), area.read(STEP + 1)], [1, 2, 1, 2]);
    }

    #[test]
    fn testing_in_place_restores_what_was_there() {
        for pages in [1usize, 2, 3, 7, 300] {
            let mut v: Vec<u64> =
                (0..(pages * STEP) as u64).map(|n| n.wrapping_mul(0x9e37_79b9)).collect();
            let before = v.clone();
            let mut spare = vec![0u64; PIECE / WORD];
            let start = v.as_mut_ptr() as usize;
            // SAFETY: the vector is ours alone, word-aligned and of that many pages.
            let errors = unsafe { preserving(start..start + pages * PAGE, spare.as_mut_ptr()) };
            assert_eq!(errors, 0);
            assert!(v == before, "{pages}");
        }
    }

    #[test]
    fn only_private_anonymous_writable_mappings_are_tested() {
        let yes = "7f0000000000-7f0000002000 rw-p 00000000 00:00 0 ";
        assert_eq!(testable(yes), Some(0x7f00_0000_0000..0x7f00_0000_2000));
        assert_eq!(testable("1000-3000 rw-p 00000000 00:00 0   [heap]"), Some(0x1000..0x3000));
        for no in [
            "1000-3000 r--p 00000000 00:00 0 ",
            "1000-3000 rw-p 00000000 fe:01 77  /usr/bin/x",
            "1000-3000 rw-p 00000000 00:00 0   [stack]",
            "1000-3000 rw-p 00000000 00:00 0   [vdso]",
            "3000-1000 rw-p 00000000 00:00 0 ",
            "nonsense",
            "",
        ] {
            assert_eq!(testable(no), None, "{no}");
        }
        let mut lines = 0;
        each_mapping(|l| lines += usize::from(l.contains('-')));
        assert!(lines > 10);
    }

    #[test]
    fn the_process_survives_the_test_of_its_own_memory() {
        if role().is_some() {
            let data: Vec<u64> = (0..1 << 20).collect();
            // In a forked child there is but one thread.
            let pid = match crate::sys::process::fork().expect("forked") {
                crate::sys::process::Fork::Child => {
                    let out = log::descriptor().expect("stdout");
                    // SAFETY: one thread, and nothing sends this child a signal.
                    let errors = unsafe { own_memory(&out) };
                    let sound = data.iter().enumerate().all(|(i, &v)| i as u64 == v);
                    crate::sys::process::exit_child(if errors == 0 && sound { 5 } else { 6 });
                }
                crate::sys::process::Fork::Parent(pid) => pid,
            };
            let ended = crate::sys::process::wait(pid);
            assert_eq!(ended, Some(crate::sys::process::Ended::Exited(5)));
            return;
        }
        let out = play(&format!("{SELF}the_process_survives_the_test_of_its_own_memory"), "child");
        let text = String::from_utf8_lossy(&out.stdout);
        assert!(out.status.success(), "{text}");
        assert!(text.contains("*** Preparing to test memory region "), "{text}");
        assert!(text.contains("\n.O") && !text.contains(".E"), "{text}");
    }

    #[test]
    fn the_interactive_test_speaks_and_ends() {
        if role().is_some() {
            assert_eq!(interactive(0, 1), 1);
            assert_eq!(interactive(usize::MAX, 1), 1);
            assert_eq!(interactive(1, 2), 0);
            return;
        }
        let out = play(&format!("{SELF}the_interactive_test_speaks_and_ends"), "child");
        let text = String::from_utf8_lossy(&out.stdout);
        assert!(out.status.success(), "{text}");
        for want in ["Addressing test [1]", "Checkerboard fill [2]", "Your memory passed this test."] {
            assert!(text.contains(want), "{text}");
        }
    }
}
