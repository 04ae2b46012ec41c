//! LZF: the compression of long strings in RDB files, and of inner quicklist nodes.
//!
//! A stream is a sequence of instructions, each telling by its first byte what it is:
//!
//! ```text
//!   000LLLLL  then L+1 bytes         copy these bytes                 1..=32
//!   LLLooooo  oooooooo               copy L+2 bytes from o+1 back     3..=8, so L in 1..=6
//!   111ooooo  LLLLLLLL  oooooooo     copy L+9 bytes from o+1 back     9..=264
//! ```
//!
//! The distance back is at most 8,192 and may be shorter than the length: then the copy repeats itself.
//! There is no header and no end mark; the container knows both sizes.
//!
//! **Reading** trusts nothing: an instruction that is cut off, reaches back before the start, or writes
//! past the expected size makes the stream bad. The expected size is believed only as far as the
//! stream could possibly expand.
//!
//! **Writing** gives the same bytes as upstream, so DUMP payloads and files compare equal. That needs
//! the same decisions at each position, and those depend on one table: 2^16 entries, by a hash of the
//! next three bytes, each with the last position that had it. Candidates are checked, so a collision
//! only loses a match. After a match only its last two positions are entered. Clearing so big a table
//! costs more than most inputs take to compress, so it is not cleared (`Recent`).
//!
//! Literals are not copied one by one: they wait from `pending` on until a match or the end, and are
//! then written in runs of 32.

use crate::sys::alloc::uncounted;
use std::cell::Cell;

/// Longest run of literals, longest match, and how far back a match may lie.
const MAX_RUN: usize = 32;
const MAX_MATCH: usize = 264;
const MAX_DISTANCE: usize = 8192;
/// Three bytes of a stream can give this many times as much.
const MAX_EXPANSION: usize = MAX_MATCH / 3;

/// What is longer stays as it is: its positions would not fit into the table.
const MAX_INPUT: usize = 1 << 31;

/// The last position for each hash. Position 0 is never offered as a match and so stands for "none".
trait Positions {
    /// Enter `at` (above 0) for `hash`; returns what was there before.
    fn swap(&mut self, hash: u16, at: usize) -> usize;
}

/// One cell for each hash. It is never cleared: what an earlier input left is below `base`, and inputs
/// of one thread lie end to end in the numbers from there on.
struct Recent {
    cells: Box<[u32; 1 << 16]>,
    base: u32,
}

impl Recent {
    fn new() -> Recent {
        let mut cells = None;
        // It belongs to the code, not to the data.
        uncounted(|| cells = Some(vec![0; 1 << 16].into_boxed_slice()));
        let cells = cells.and_then(|c| c.try_into().ok());
        Recent { cells: cells.expect("as many cells as there are hashes"), base: 0 }
    }

    /// Compresses one input of at most `MAX_INPUT` bytes.
    fn run(&mut self, input: &[u8], out: &mut Writer<'_>, limit: usize) -> bool {
        let len = input.len() as u32;
        if u32::MAX - self.base < len {
            self.cells.fill(0);
            self.base = 0;
        }
        let fits = run(input, out, limit, self);
        self.base += len;
        fits
    }
}

impl Positions for Recent {
    #[inline]
    fn swap(&mut self, hash: u16, at: usize) -> usize {
        let new = self.base.wrapping_add(at as u32);
        std::mem::replace(&mut self.cells[usize::from(hash)], new).saturating_sub(self.base) as usize
    }
}

thread_local! {
    static RECENT: Cell<Option<Recent>> = const { Cell::new(None) };
}

/// Append `input` to `out` in compressed form, taking up `limit` bytes at most. If that is not enough
/// (the last bytes of the limit may stay unused), `out` is left as it was and the answer is false.
pub fn compress(input: &[u8], out: &mut Vec<u8>, limit: usize) -> bool {
    if input.is_empty() || input.len() > MAX_INPUT || limit == 0 {
        return false;
    }
    let start = out.len();
    let worst = input.len() + input.len().div_ceil(MAX_RUN);
    out.resize(start + worst.min(limit) + SLACK, 0);
    let mut writer = Writer { out: &mut out[start..], len: 0 };
    let mut table = RECENT.take().unwrap_or_else(Recent::new);
    let fits = table.run(input, &mut writer, limit);
    RECENT.set(Some(table));
    let end = if fits { start + writer.len } else { start };
    out.truncate(end);
    fits
}

/// Room behind the last byte, so that a run of literals may be copied in one piece of full length.
const SLACK: usize = MAX_RUN + 1;

struct Writer<'a> {
    out: &'a mut [u8],
    len: usize,
}

impl Writer<'_> {
    /// Write all of `input[from..to]` as literals.
    fn literals(&mut self, input: &[u8], mut from: usize, to: usize) {
        while from < to {
            let count = (to - from).min(MAX_RUN);
            let target = &mut self.out[self.len..];
            target[0] = (count - 1) as u8;
            match (target.get_mut(1..=MAX_RUN), input[from..].first_chunk::<MAX_RUN>()) {
                // Copying more than is wanted is quicker than copying just so much.
                (Some(target), Some(source)) => target.copy_from_slice(source),
                _ => target[1..=count].copy_from_slice(&input[from..from + count]),
            }
            self.len += 1 + count;
            from += count;
        }
    }

    fn reference(&mut self, distance: usize, len: usize) {
        debug_assert!((3..=MAX_MATCH).contains(&len) && (1..=MAX_DISTANCE).contains(&distance));
        let [high, low] = ((distance - 1) as u16).to_be_bytes();
        let target = &mut self.out[self.len..self.len + 3];
        if len < 9 {
            target[0] = ((len - 2) as u8) << 5 | high;
            target[1] = low;
            self.len += 2;
        } else {
            target.copy_from_slice(&[7 << 5 | high, (len - 9) as u8, low]);
            self.len += 3;
        }
    }
}

/// Three bytes as one number; what stands above its lower 24 bits does not matter.
#[inline]
fn hash(triple: u32) -> u16 {
    (triple >> 8).wrapping_sub(triple.wrapping_mul(5)) as u16
}

fn run(input: &[u8], out: &mut Writer<'_>, limit: usize, table: &mut impl Positions) -> bool {
    // Where the last three bytes begin, and with them the last match. Position 0 can only be a literal.
    let end = input.len().saturating_sub(2);
    let (mut at, mut pending) = (end.min(1), 0);
    let lead = |at: usize| u32::from(input[at]) << 8 | u32::from(input[at + 1]);
    let mut here = if end > 0 { lead(at) } else { 0 };
    while at < end {
        here = here << 8 | u32::from(input[at + 2]);
        let before = table.swap(hash(here), at);
        let distance = at - before;
        // Since `before` is smaller than `at` there are four bytes to be had.
        let there = input.get(before..before + 4).and_then(|t| t.first_chunk::<4>());
        let equal = there.is_some_and(|t| (u32::from_be_bytes(*t) ^ (here << 8)) >> 8 == 0);
        // One branch for all three: each alone would be a coin toss.
        if !((before != 0) & (distance <= MAX_DISTANCE) & equal) {
            at += 1;
            continue;
        }
        let literals = at - pending;
        let used = out.len + literals + literals.div_ceil(MAX_RUN);
        if used + 4 >= limit {
            return false;
        }
        out.literals(input, pending, at);
        let len = match_len(input, before, at);
        out.reference(distance, len);
        at += len;
        pending = at;
        if at < end {
            let last = lead(at - 2) << 8 | u32::from(input[at]);
            here = last << 8 | u32::from(input[at + 1]);
            table.swap(hash(last), at - 2);
            table.swap(hash(here), at - 1);
        }
    }
    // The one or two bytes that never begin a match are not in the count yet: three bytes are asked for.
    let literals = at - pending;
    let used = out.len + literals + literals / MAX_RUN + 1;
    if used + 3 > limit {
        return false;
    }
    out.literals(input, pending, input.len());
    true
}

/// How far the bytes at `at` repeat those at `before`, which they do for three bytes at least. The caps
/// are upstream's: near the end of the input a match stops two bytes early, except where exactly 19
/// bytes are left.
fn match_len(input: &[u8], before: usize, at: usize) -> usize {
    let room = (input.len() - at - 2).min(MAX_MATCH);
    let cap = if room > 16 { room.max(19) } else { room.max(3) };
    let (old, new) = (&input[before..], &input[at..at + cap]);
    let mut len = 3;
    while let (Some(a), Some(b)) = (old[len..].first_chunk::<8>(), new[len..].first_chunk::<8>()) {
        let difference = u64::from_le_bytes(*a) ^ u64::from_le_bytes(*b);
        if difference != 0 {
            return len + (difference.trailing_zeros() / 8) as usize;
        }
        len += 8;
    }
    let equal = |(a, b): &(&u8, &u8)| a == b;
    len + old[len..].iter().zip(&new[len..]).take_while(equal).count()
}

/// A piece of literals is this long at most.
const LONGEST_LITERAL: usize = 32;
/// Repeated pieces up to here are copied as if they were this long.
const SHORT_MATCH: usize = 16;

/// The original of `size` bytes, or `None` if the stream is broken or gives another size.
pub fn decompress(stream: &[u8], size: usize) -> Option<Vec<u8>> {
    if size > stream.len().saturating_mul(MAX_EXPANSION) {
        return None;
    }
    let mut out = vec![0u8; size];
    (decompress_into(stream, &mut out)? == size).then_some(out)
}

/// Decompress to the start of `out`; returns how many bytes that gave, `None` if the stream is broken or
/// has more than fits.
pub fn decompress_into(stream: &[u8], out: &mut [u8]) -> Option<usize> {
    let (mut rest, mut at) = (stream, 0usize);
    while let Some((&control, after)) = rest.split_first() {
        let upper = usize::from(control >> 5);
        if upper == 0 {
            let len = usize::from(control) + 1;
            if let (Some(from), Some(to)) = (after.first_chunk(), wide::<LONGEST_LITERAL>(out, at)) {
                *to = *from;
                (rest, at) = (after.get(len..)?, at + len);
                continue;
            }
            let (literals, after) = after.split_at_checked(len)?;
            out.get_mut(at..)?.get_mut(..len)?.copy_from_slice(literals);
            (rest, at) = (after, at + len);
            continue;
        }
        let (extra, after) = match upper {
            7 => after.split_first().map(|(&extra, after)| (usize::from(extra), after))?,
            _ => (0, after),
        };
        let (&low, after) = after.split_first()?;
        let distance = (usize::from(control & 0x1f) << 8 | usize::from(low)) + 1;
        let len = upper + extra + 2;
        copy_back(out, at, distance, len)?;
        (rest, at) = (after, at + len);
    }
    Some(at)
}

/// The next `N` bytes of the output, where it has so many. Copies of a fixed length are a few moves, while
/// most pieces are so short that a call costs more than they do; what is written too much is written again.
#[inline]
fn wide<const N: usize>(out: &mut [u8], at: usize) -> Option<&mut [u8; N]> {
    out.get_mut(at..)?.first_chunk_mut()
}

/// Fill `out[at..at + len]` with what lies `distance` before it, repeated as needed.
#[inline]
fn copy_back(out: &mut [u8], at: usize, distance: usize, len: usize) -> Option<()> {
    let from = at.checked_sub(distance)?;
    if len <= SHORT_MATCH
        && len <= distance
        && let Some(&piece) = out.get(from..)?.first_chunk::<SHORT_MATCH>()
        && let Some(to) = wide::<SHORT_MATCH>(out, at)
    {
        *to = piece;
        return Some(());
    }
    let window = out.get_mut(from..)?.get_mut(..distance + len)?;
    if distance >= len {
        window.copy_within(..len, distance);
        return Some(());
    }
    // The copy overlaps itself: what has been filled is doubled until there is enough.
    let mut filled = distance;
    while filled < window.len() {
        let step = filled.min(window.len() - filled);
        window.copy_within(..step, filled);
        filled += step;
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::algo::rng::Rng;
    use std::collections::HashMap;

    fn packed(input: &[u8]) -> Option<Vec<u8>> {
        let mut out = Vec::new();
        compress(input, &mut out, input.len() * 2 + 16).then_some(out)
    }

    /// The format said plainly, byte by byte.
    fn naive_decompress(stream: &[u8]) -> Option<Vec<u8>> {
        let mut out: Vec<u8> = Vec::new();
        let mut bytes = stream.iter().copied();
        while let Some(control) = bytes.next() {
            if control < 32 {
                for _ in 0..=control {
                    out.push(bytes.next()?);
                }
                continue;
            }
            let mut len = usize::from(control / 32) + 2;
            if len == 9 {
                len += usize::from(bytes.next()?);
            }
            let distance = usize::from(control % 32) * 256 + usize::from(bytes.next()?) + 1;
            for _ in 0..len {
                out.push(*out.get(out.len().checked_sub(distance)?)?);
            }
        }
        Some(out)
    }

    /// Text of few different words, so that there is something to find.
    fn draw(rng: &mut Rng, max: usize) -> Vec<u8> {
        let len = rng.index(max);
        let letters = 1 + rng.below(60);
        let mut text = Vec::new();
        while text.len() < len {
            match rng.below(3) {
                0 if !text.is_empty() => {
                    let from = rng.index(text.len());
                    let to = (from + rng.index(300)).min(text.len());
                    text.extend_from_within(from..to);
                }
                1 => text.resize(text.len() + rng.index(40), b'a' + rng.below(4) as u8),
                _ => text.extend((0..rng.index(20)).map(|_| rng.below(letters) as u8)),
            }
        }
        text.truncate(len);
        text
    }

    /// Streams that upstream's compressor writes.
    #[test]
    fn known_streams() {
        let table: &[(&[u8], &[u8])] = &[
            (b"a", b"\x00a"),
            (b"ab", b"\x01ab"),
            (b"abc", b"\x02abc"),
            (b"aaaa", b"\x03aaaa"),
            (b"aaaaaaaaaaaaaaaaaaaaaaaa", b"\x01aa\xe0\x0b\x00\x01aa"),
            (b"abcabcabcabcabcabcabc", b"\x03abca\xe0\x06\x02\x01bc"),
            (b"hello hello hello hello, redis redis", b"\x06hello h\xe0\x07\x05\x06, redis@\x05\x01is"),
            (b"0123456789012345678901234567890123456789", b"\x0a01234567890\xe0\x12\x09\x0189"),
            (b"xyxyxyxyxyxyxyxyxyxyxyxyxyxyxyxyxyxyxyxyxyxyxyxyxyz", b"\x02xyx\xe0%\x01\x01yz"),
        ];
        for (input, want) in table {
            assert_eq!(packed(input).as_deref(), Some(*want), "{}", input.escape_ascii());
            assert_eq!(decompress(want, input.len()).as_deref(), Some(*input));
        }
        assert_eq!(packed(b""), None);
    }

    #[test]
    fn what_is_compressed_comes_back() {
        let mut rng = Rng::seeded(1);
        for max in [10, 100, 300, 2_100, 9_000, 70_000] {
            for _ in 0..if max > 5_000 { 25 } else { 400 } {
                let input = draw(&mut rng, max);
                let Some(stream) = packed(&input) else {
                    assert!(input.is_empty());
                    continue;
                };
                assert!(naive_decompress(&stream).as_ref() == Some(&input));
                assert!(decompress(&stream, input.len()).as_ref() == Some(&input));
                assert_eq!(decompress(&stream, input.len() + 1), None);
                assert_eq!(decompress(&stream, input.len() - 1), None);
            }
        }
    }

    /// The last position of each hash, and nothing else.
    impl Positions for HashMap<u16, usize> {
        fn swap(&mut self, hash: u16, at: usize) -> usize {
            self.insert(hash, at).unwrap_or(0)
        }
    }

    #[test]
    fn what_earlier_inputs_left_changes_nothing() {
        let mut rng = Rng::seeded(2);
        let mut table = Recent::new();
        for round in 0..500 {
            let input = draw(&mut rng, 2_000);
            let with = |table: &mut dyn FnMut(&mut Writer<'_>) -> bool| {
                let mut out = vec![0; input.len() * 2 + SLACK];
                let mut writer = Writer { out: &mut out, len: 0 };
                assert!(table(&mut writer));
                let len = writer.len;
                out.truncate(len);
                out
            };
            if round == 250 {
                // Close to the last number there is.
                table.base = u32::MAX - 100_000;
            }
            let used = with(&mut |w| table.run(&input, w, usize::MAX));
            assert!(used == with(&mut |w| run(&input, w, usize::MAX, &mut HashMap::new())));
        }
        assert!(table.base < 1_000_000, "it never began anew");
    }

    #[test]
    fn the_limit_holds_and_failure_leaves_no_trace() {
        let mut rng = Rng::seeded(3);
        let (mut fitting, mut failing) = (0, 0);
        for _ in 0..3_000 {
            let input = draw(&mut rng, 200);
            let limit = rng.index(input.len() + 8);
            let mut out = b"before".to_vec();
            if compress(&input, &mut out, limit) {
                fitting += 1;
                assert!(out.len() - 6 <= limit);
                assert!(decompress(&out[6..], input.len()).as_ref() == Some(&input));
            } else {
                failing += 1;
                assert_eq!(out, b"before");
            }
        }
        assert!(fitting > 500 && failing > 500, "{fitting} {failing}");
    }

    #[test]
    fn repetition_compresses_well() {
        assert!(packed(&[b'x'; 10_000]).expect("fits").len() < 150);
        let lines: Vec<u8> = (0..500).flat_map(|n| format!("user:{n}:name=\n").into_bytes()).collect();
        assert!(packed(&lines).expect("fits").len() < lines.len() / 2);
    }

    #[test]
    fn broken_streams() {
        for stream in [
            &b"\x00"[..],     // a literal is missing
            b"\x02ab",        // one of three is
            b"\x20",          // no distance
            b"\x20\x00",      // nothing to copy from
            b"\x00a\x20\x01", // one byte too far back
            b"\x00a\xe0",     // no length
            b"\x00a\xe0\x00", // no distance behind it
        ] {
            let mut out = [0; 300];
            assert_eq!(decompress_into(stream, &mut out), None, "{}", stream.escape_ascii());
        }
        // Sizes no stream of that length could give are not even allocated.
        assert_eq!(decompress(b"\x00a\xe0\xff\x00", usize::MAX), None);
        assert_eq!(decompress(b"", 0), Some(vec![]));
    }

    #[test]
    fn any_stream_is_read_or_refused() {
        let mut rng = Rng::seeded(4);
        let (mut good, mut bad) = (0, 0);
        for _ in 0..30_000 {
            let input = draw(&mut rng, 100);
            let mut stream = packed(&input).unwrap_or_default();
            for _ in 0..rng.index(3) {
                if !stream.is_empty() {
                    let at = rng.index(stream.len());
                    stream[at] = rng.next_u64() as u8;
                }
            }
            stream.truncate(rng.index(stream.len() + 20));
            let mut out = [0u8; 2_000];
            let got = decompress_into(&stream, &mut out);
            let want = naive_decompress(&stream).filter(|w| w.len() <= out.len());
            match (got, want) {
                (Some(len), Some(want)) => {
                    good += 1;
                    assert!(out[..len] == want);
                }
                (got, want) => {
                    bad += 1;
                    assert_eq!(got, None);
                    assert_eq!(want, None);
                }
            }
        }
        assert!(good > 3_000 && bad > 3_000, "{good} {bad}");
    }
}
