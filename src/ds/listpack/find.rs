//! Looking for a value. Equal values have equal entries, so this is a search for bytes, with one trap:
//! the bytes of an entry may also turn up inside a longer string, or across two entries.
//!
//! Walking from entry to entry never falls into it, but cannot go faster than one load after another,
//! some two nanoseconds an entry. So from some size on the order is turned round: a vector scan finds
//! where the entry's bytes occur at all, which settles a miss, and only a walk to that place, from the
//! nearer end and without comparing anything, proves that an entry starts there and is one of those to
//! look at.
//!
//! The scan compares two bytes of the entry. Values of one listpack are mostly made alike, with the same
//! beginning, or filled up at the end; so a value that stands there already is asked where it differs, and
//! the two bytes are taken from there.
//!
//! Each scan goes on where the one before stopped, and the walk forwards too, so bytes made to deceive
//! cost no more than one scan and one and a half walks.

use super::codec::{self, Encoded, HEADER};
use super::{Lp, Needle, Pos, broken};

#[cfg(target_arch = "aarch64")]
use memchr::arch::aarch64::neon::packedpair::Finder;
#[cfg(target_arch = "x86_64")]
use memchr::arch::x86_64::sse2::packedpair::Finder;

/// Below this many bytes the walk is done before the scan is set up.
const SCAN_FROM: usize = 128;

/// Entries longer than this are rare, and their length in the first bytes tells them apart well enough.
const LONGEST_CODE: usize = 72;

/// So many values are looked at for one of the same length.
const ASKED: usize = 4;

/// Finds the bytes of one entry by comparing two of them at sixteen places at once.
struct Scan<'a> {
    code: &'a [u8],
    #[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
    pair: Finder,
}

impl<'a> Scan<'a> {
    #[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
    fn new(code: &'a [u8], places: [usize; 2]) -> Option<Self> {
        use memchr::arch::all::packedpair::Pair;
        let [first, last] = places.map(|at| u8::try_from(at).expect("codes are short"));
        let pair = Pair::with_indices(code, first, last)?;
        Some(Scan { code, pair: Finder::with_pair(code, pair)? })
    }

    #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
    fn new(_code: &'a [u8], _places: [usize; 2]) -> Option<Self> {
        None
    }

    /// The first place in `hay` from `from` on.
    #[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
    fn next(&self, hay: &[u8], from: usize) -> Option<usize> {
        let rest = hay.get(from..)?;
        let at = if rest.len() >= self.pair.min_haystack_len() {
            self.pair.find(rest, self.code)
        } else {
            rest.windows(self.code.len()).position(|w| w == self.code)
        };
        at.map(|at| from + at)
    }

    #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
    fn next(&self, hay: &[u8], from: usize) -> Option<usize> {
        let rest = hay.get(from..)?;
        rest.windows(self.code.len()).position(|w| w == self.code).map(|at| from + at)
    }
}

impl Lp {
    /// The first entry from `from` on that holds `text`, looking at one entry, then leaving out `skip`.
    pub fn find(&self, from: Pos, text: &[u8], skip: usize) -> Option<Pos> {
        self.find_needle(from, &Needle::new(text), skip)
    }

    /// The same, where one text is looked for more than once.
    pub fn find_needle(&self, from: Pos, needle: &Needle<'_>, skip: usize) -> Option<Pos> {
        let code = Encoded::of(needle.value());
        if self.bytes().len() - from.offset() < SCAN_FROM || code.size() > LONGEST_CODE {
            return self.find_walking(from, needle, skip);
        }
        let mut buffer = [0; LONGEST_CODE];
        // SAFETY: the buffer holds `code.size()` bytes.
        unsafe { code.write(buffer.as_mut_ptr()) };
        let code = &buffer[..code.size()];
        match Scan::new(code, self.telling(from, code, skip)) {
            Some(scan) => self.find_scanning(from, &scan, skip),
            None => self.find_walking(from, needle, skip),
        }
    }

    /// Two places of `code` whose bytes tell it from others.
    fn telling(&self, from: Pos, code: &[u8], skip: usize) -> [usize; 2] {
        let (mut at, bytes) = (from.offset(), self.bytes());
        let end = bytes.len() - 1;
        // SAFETY: `at` refuses a place that is not before the end byte.
        let size_at = |at: usize| unsafe { self.size_at(self.at(Pos::new(at))) };
        'asked: for _ in 0..ASKED {
            let size = size_at(at);
            if size == code.len() {
                let other = &bytes[at..at + size];
                let mut differ = (1..size).rev().filter(|i| other[*i] != code[*i]);
                let Some(last) = differ.next() else { break };
                return [differ.next().unwrap_or(last - 1), last];
            }
            for _ in 0..=skip {
                at += size_at(at);
                if at == end {
                    break 'asked;
                }
            }
        }
        // Names that are alike differ in their last bytes, which stand before the backlen.
        let last = (code.len() - 2).max(1);
        [last - 1, last]
    }

    fn find_walking(&self, from: Pos, needle: &Needle<'_>, skip: usize) -> Option<Pos> {
        let end = self.end();
        let mut p = self.at(from);
        loop {
            // SAFETY: p is inside the slice, before the end byte: so from `from`, and from the check
            // below.
            let word = unsafe {
                if end.offset_from_unsigned(p) >= 7 {
                    p.cast::<u64>().read_unaligned()
                } else {
                    codec::last_word(p, end)
                }
            };
            // SAFETY: as above.
            if unsafe { needle.is_at(word, p, end) } {
                return Some(self.pos_of(p));
            }
            for _ in 0..=skip {
                // SAFETY: as above; an entry's end is at most the end byte.
                p = unsafe { p.add(self.size_at(p)) };
                if p == end {
                    return None;
                }
            }
        }
    }

    fn find_scanning(&self, from: Pos, scan: &Scan<'_>, skip: usize) -> Option<Pos> {
        let (start, end) = (self.at(from), self.end());
        let hay = &self.bytes()[from.offset()..self.bytes().len() - 1];
        let found = |at: usize| Some(Pos::new(from.offset() + at));
        let mut at = scan.next(hay, 0)?;
        if at > hay.len() / 2
            && from.offset() == HEADER
            && let Some(count) = self.known_count()
        {
            let (mut p, mut index) = (end, count);
            // SAFETY: start + at lies in the slice.
            let target = unsafe { start.add(at) };
            while p > target {
                // SAFETY: front < p <= end.
                p = unsafe { codec::entry_before(p, start) }.unwrap_or_else(|| broken());
                index = index.checked_sub(1).unwrap_or_else(|| broken());
            }
            if p == target && index.is_multiple_of(skip + 1) {
                return found(at);
            }
            at = scan.next(hay, at + 1)?;
        }
        let (mut p, mut index) = (start, 0usize);
        loop {
            // SAFETY: start + at lies in the slice.
            let target = unsafe { start.add(at) };
            while p < target {
                // SAFETY: p < target <= end; an entry's end is at most the end byte.
                p = unsafe { p.add(self.size_at(p)) };
                index += 1;
            }
            if p == target && index.is_multiple_of(skip + 1) {
                return found(at);
            }
            at = scan.next(hay, at + 1)?;
        }
    }
}
