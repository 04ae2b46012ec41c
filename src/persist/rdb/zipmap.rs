//! The zipmap: small hashes of Redis before 2.6. It is only read here.
//!
//! ```text
//!   count u8 │ ( length field │ length free value free-bytes )* │ 0xFF
//!   length = one byte below FE, or FE and u32 little endian      free = how many bytes follow the value
//! ```
//!
//! Ways to be broken, all refused: no pair at all, a count (below FE) that is not the number of pairs, a
//! length past the end, no end byte.

use super::Broken;

const LONG: u8 = 0xfe;
const END: u8 = 0xff;

/// Shows fields and values in their order; `accept` may refuse a pair.
pub fn read(bytes: &[u8], mut accept: impl FnMut(&[u8], &[u8]) -> bool) -> Result<(), Broken> {
    const CUT: Broken = "a pair reaches past the end";
    let (&count, rest) = bytes.split_first().ok_or("there are no bytes")?;
    let Some((&END, body)) = rest.split_last() else { return Err("the end byte is missing") };
    let mut rest = body;
    let mut seen = 0usize;
    // An end byte that comes sooner ends it, too.
    while rest.first().is_some_and(|b| *b != END) {
        let (field, after) = text(rest, 0).ok_or(CUT)?;
        let (value, after) = text(after, 1).ok_or(CUT)?;
        if !accept(field, value) {
            return Err("a pair is not acceptable");
        }
        seen = seen.saturating_add(1);
        rest = after;
    }
    if seen == 0 || (count < LONG && usize::from(count) != seen) {
        return Err("the count is not the number of pairs");
    }
    Ok(())
}

/// A length, `spare` bytes of which the first counts free bytes behind the text, and the text.
fn text(bytes: &[u8], spare: usize) -> Option<(&[u8], &[u8])> {
    let (&first, rest) = bytes.split_first()?;
    let (len, rest) = if first < LONG {
        (usize::from(first), rest)
    } else {
        let (number, rest) = rest.split_at_checked(4)?;
        (number.iter().rev().fold(0, |n, byte| n << 8 | usize::from(*byte)), rest)
    };
    let (spare, rest) = rest.split_at_checked(spare)?;
    let free = spare.first().map_or(0, |n| usize::from(*n));
    let (text, rest) = rest.split_at_checked(len)?;
    Some((text, rest.get(free..)?))
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    type Pairs = Vec<(Vec<u8>, Vec<u8>)>;

    fn pairs(bytes: &[u8]) -> Result<Pairs, Broken> {
        let mut all = Vec::new();
        read(bytes, |f, v| {
            all.push((f.to_vec(), v.to_vec()));
            true
        })?;
        Ok(all)
    }

    /// A zipmap as Redis 2.4 would make it, with `free` bytes behind each value.
    pub fn make(pairs: &[(&[u8], &[u8])], free: u8) -> Vec<u8> {
        let mut out = vec![pairs.len().min(usize::from(LONG)) as u8];
        let length = |out: &mut Vec<u8>, n: usize| match n {
            0..254 => out.push(n as u8),
            _ => {
                out.push(LONG);
                out.extend((n as u32).to_le_bytes());
            }
        };
        for (f, v) in pairs {
            length(&mut out, f.len());
            out.extend_from_slice(f);
            length(&mut out, v.len());
            out.push(free);
            out.extend_from_slice(v);
            out.resize(out.len() + usize::from(free), b'?');
        }
        out.push(END);
        out
    }

    #[test]
    fn pairs_are_read_and_free_bytes_are_not() {
        let long = vec![b'y'; 300];
        let all: [(&[u8], &[u8]); 3] = [(b"f", b"v"), (b"", &long), (&long, b"")];
        let want: Pairs = all.iter().map(|(f, v)| (f.to_vec(), v.to_vec())).collect();
        for free in [0, 3] {
            assert_eq!(pairs(&make(&all, free)), Ok(want.clone()));
        }
    }

    #[test]
    fn what_is_broken_is_refused() {
        let good = make(&[(b"f", b"v"), (b"g", b"w")], 1);
        for n in 0..good.len() {
            assert!(pairs(&good[..n]).is_err(), "{n} bytes");
        }
        for (at, byte) in [(0, 1), (0, 3), (1, 200), (3, 200), (1, 0xff), (4, 9)] {
            let mut bad = good.clone();
            bad[at] = byte;
            assert!(pairs(&bad).is_err(), "byte {at} is {byte}");
        }
        assert!(pairs(b"\0\xff").is_err(), "an empty one");
        assert!(read(&good, |f, _| f != b"g").is_err());
        let mut uncounted = good;
        uncounted[0] = LONG;
        assert_eq!(pairs(&uncounted).map(|p| p.len()), Ok(2));
    }
}
