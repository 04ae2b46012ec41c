//! The ziplist, which listpacks have replaced: files and payloads of Redis before 7 carry it. It is only
//! read here.
//!
//! ```text
//!   ┌───────────┬──────────┬──────────┬─────────┬─────┬─────────┬──────┐
//!   │ total u32 │ tail u32 │ count u16│ entry 0 │ ... │ entry n │ 0xFF │    all little endian
//!   └───────────┴──────────┴──────────┴─────────┴─────┴─────────┴──────┘
//!   entry = length of the entry before (one byte; FE and u32 from 254 on), head, string bytes
//!
//!   00llllll         string of 0..=63 bytes       C0  16-bit integer   D0  32-bit   E0  64-bit
//!   01llllll +1      string, 14-bit length        F0  24-bit           FE  8-bit
//!   10...... +4      string, 32-bit length        F1..FD  the integers 0..=12
//!                    (lengths big endian)
//! ```
//!
//! Ways to be broken, all refused: a total, a tail or a count that is not what is there, a length before
//! that is not that of the entry before, a head that stands for nothing, an entry past the end, an end
//! byte that comes too soon.

use super::Broken;
use crate::ds::listpack::Element;

const HEADER: usize = 10;
const END: u8 = 0xff;
const COUNT_UNKNOWN: usize = 0xffff;

/// Shows the values in their order; `accept` may refuse one.
pub fn read(bytes: &[u8], mut accept: impl FnMut(Element<'_>) -> bool) -> Result<(), Broken> {
    let total = little(bytes.get(..4)).ok_or("the header is cut off")?;
    let tail = little(bytes.get(4..8)).ok_or("the header is cut off")?;
    let count = little(bytes.get(8..HEADER)).ok_or("the header is cut off")?;
    let Some((&END, body)) = bytes.split_last() else { return Err("the end byte is missing") };
    if total != bytes.len() {
        return Err("the length is not the number of bytes");
    }
    let mut rest = body.get(HEADER..).ok_or("the header is cut off")?;
    let (mut seen, mut before) = (0usize, 0usize);
    let mut last = None;
    while !rest.is_empty() {
        let at = body.len().saturating_sub(rest.len());
        let (stated, head) = length_before(rest).ok_or("an entry reaches past the end")?;
        let (value, next) = value(head)?;
        if stated != before {
            return Err("an entry's length differs behind it");
        }
        if !accept(value) {
            return Err("an entry is not acceptable");
        }
        before = rest.len().saturating_sub(next.len());
        last = Some(at);
        seen = seen.saturating_add(1);
        rest = next;
    }
    // An empty one has its tail anywhere inside.
    if tail > body.len() || last.is_some_and(|at| at != tail) {
        return Err("the tail is not where the header says");
    }
    if count != COUNT_UNKNOWN && count != seen {
        return Err("the count is not the number of entries");
    }
    Ok(())
}

fn little(bytes: Option<&[u8]>) -> Option<usize> {
    Some(bytes?.iter().rev().fold(0, |n, byte| n << 8 | usize::from(*byte)))
}

fn big(bytes: &[u8]) -> usize {
    bytes.iter().fold(0, |n, byte| n << 8 | usize::from(*byte))
}

/// The length of the entry before, and what follows it.
fn length_before(entry: &[u8]) -> Option<(usize, &[u8])> {
    match entry.split_first()? {
        (&END, _) => None,
        (0xfe, rest) => {
            let (number, rest) = rest.split_at_checked(4)?;
            Some((little(Some(number))?, rest))
        }
        (&n, rest) => Some((usize::from(n), rest)),
    }
}

/// The value at the begin, and what follows it.
fn value(entry: &[u8]) -> Result<(Element<'_>, &[u8]), Broken> {
    const CUT: Broken = "an entry reaches past the end";
    let (&head, rest) = entry.split_first().ok_or(CUT)?;
    let text = |skip: usize, len: usize| {
        let (text, rest) = rest.get(skip..).and_then(|r| r.split_at_checked(len)).ok_or(CUT)?;
        Ok((Element::Str(text), rest))
    };
    let low = usize::from(head & 0x3f);
    match head {
        0..0x40 => text(0, low),
        0x40..0x80 => text(1, low << 8 | big(rest.get(..1).ok_or(CUT)?)),
        // Only the two high bits count here.
        0x80..0xc0 => text(4, big(rest.get(..4).ok_or(CUT)?)),
        0xf1..=0xfd => Ok((Element::Int(i64::from(head) - 0xf1), rest)),
        _ => {
            let width = match head {
                0xfe => 1,
                0xc0 => 2,
                0xf0 => 3,
                0xd0 => 4,
                0xe0 => 8,
                _ => return Err("an entry has no known form"),
            };
            let (number, rest) = rest.split_at_checked(width).ok_or(CUT)?;
            let wide = number.iter().rev().fold(0u64, |n, byte| n << 8 | u64::from(*byte));
            let spare = 64u32.saturating_sub(u32::try_from(width).unwrap_or(8).saturating_mul(8));
            Ok((Element::Int((wide << spare).cast_signed() >> spare), rest))
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::ds::prop::Source;

    /// A ziplist as Redis 6 would make it.
    pub fn make(values: &[Element<'_>]) -> Vec<u8> {
        let mut out = vec![0; HEADER];
        let (mut before, mut tail) = (0usize, HEADER);
        for v in values {
            tail = out.len();
            match before {
                0..254 => out.push(before as u8),
                _ => {
                    out.push(0xfe);
                    out.extend((before as u32).to_le_bytes());
                }
            }
            match v {
                Element::Int(n @ 0..=12) => out.push(0xf1 + *n as u8),
                Element::Int(n) => {
                    let fits = |bits: u32| (n << (64 - bits)) >> (64 - bits) == *n;
                    let forms = [(8, 0xfe), (16, 0xc0), (24, 0xf0), (32, 0xd0), (64, 0xe0)];
                    let (bits, head) = forms.into_iter().find(|f| fits(f.0)).expect("64 bits fit");
                    out.push(head);
                    out.extend(&n.to_le_bytes()[..bits as usize / 8]);
                }
                Element::Str(s) => {
                    match s.len() {
                        n @ 0..64 => out.push(n as u8),
                        n @ 64..16_384 => out.extend([0x40 | (n >> 8) as u8, n as u8]),
                        n => {
                            out.push(0x80);
                            out.extend((n as u32).to_be_bytes());
                        }
                    }
                    out.extend_from_slice(s);
                }
            }
            before = out.len() - tail;
        }
        out.push(END);
        let total = out.len() as u32;
        out[..4].copy_from_slice(&total.to_le_bytes());
        out[4..8].copy_from_slice(&(tail as u32).to_le_bytes());
        out[8..10].copy_from_slice(&(values.len() as u16).to_le_bytes());
        out
    }

    fn values(bytes: &[u8]) -> Result<Vec<Vec<u8>>, Broken> {
        let mut all = Vec::new();
        read(bytes, |v| {
            all.push(v.to_vec());
            true
        })?;
        Ok(all)
    }

    #[test]
    fn every_form_is_read() {
        let long = vec![b'x'; 20_000];
        let all = [
            Element::Int(0),
            Element::Int(12),
            Element::Int(13),
            Element::Int(-128),
            Element::Int(-129),
            Element::Int(1 << 20),
            Element::Int(-1 << 30),
            Element::Int(i64::MIN),
            Element::Str(b""),
            Element::Str(&long[..63]),
            Element::Str(&long[..300]),
            Element::Str(&long),
            Element::Str(b"end"),
        ];
        let want: Vec<Vec<u8>> = all.iter().map(Element::to_vec).collect();
        assert_eq!(values(&make(&all)), Ok(want));
        assert_eq!(values(&make(&[])), Ok(vec![]));
    }

    #[test]
    fn what_is_broken_is_refused() {
        let good = make(&[Element::Str(b"a"), Element::Str(b"b"), Element::Int(300)]);
        assert!(values(&good).is_ok());
        // [0 1 a] [3 1 b] [3 C0 44 1]: all but letters and integer decides something. A letter can be an
        // integer of a byte, and the integer a string of two.
        for at in (0..good.len()).filter(|at| ![12, 15, 18, 19].contains(at)) {
            for byte in (0..=255u8)
                .filter(|b| *b != good[at] && ![(11, 254), (14, 254), (17, 2)].contains(&(at, *b)))
            {
                let mut bad = good.clone();
                bad[at] = byte;
                assert!(values(&bad).is_err(), "byte {at} is {byte}");
            }
        }
        for n in 0..good.len() {
            assert!(values(&good[..n]).is_err(), "{n} bytes");
        }
        let mut uncounted = good.clone();
        uncounted[8..10].copy_from_slice(&[0xff, 0xff]);
        assert!(values(&uncounted).is_ok(), "a count that says nothing");
        assert!(read(&good, |v| v != Element::Int(300)).is_err());
    }

    #[test]
    fn nonsense_never_panics() {
        for seed in 0..2_000 {
            let rng = &mut Source::seeded(seed);
            let mut bytes: Vec<u8> = (0..rng.below(60)).map(|_| rng.below(256) as u8).collect();
            if bytes.len() > HEADER {
                let total = bytes.len() as u32;
                bytes[..4].copy_from_slice(&total.to_le_bytes());
                *bytes.last_mut().expect("long enough") = END;
            }
            let _ = values(&bytes);
        }
    }
}
