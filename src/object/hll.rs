//! HyperLogLogs as they lie in strings. Clients read, write and move the bytes, so all of this is format.
//!
//! ```text
//!  0      4    5     8                16
//! [HYLL][enc][0 0 0][cached count, LE][registers ...]      enc 0: dense, 12,288 bytes packed; enc 1: sparse
//!                    top bit: no longer valid
//!
//! sparse, opcodes that cover all registers from the first to the last:
//!   00xxxxxx           ZERO    x + 1 registers of 0
//!   01xxxxxx xxxxxxxx  XZERO   x + 1 registers of 0
//!   1vvvvvxx           VAL     x + 1 registers of v + 1
//! ```
//!
//! A change of a register splits the opcode that covers it in up to three, in place, and then unites what
//! can be united among the next opcodes around it. Which ones are tried is part of the format: the same
//! elements have to give the same bytes as upstream. A sketch becomes dense when a register needs more
//! than 32, or when it would outgrow `hll-sparse-max-bytes`; it never goes back.
//!
//! The bytes come from outside: opcodes may cover too few registers or too many, and the last one may lack
//! its second byte. `check` looks at the header only; everything else that reads opcodes finds out by
//! itself and says `Corrupt`.

use crate::algo::hyperloglog::{
    self as algo, Histogram, Loose, PACKED_LEN, REGISTERS, estimate, histogram, place,
};
use crate::ds::sds::Sds;

const MAGIC: &[u8; 4] = b"HYLL";
const ENCODING_AT: usize = 4;
const CACHE_AT: usize = 8;
const HEADER: usize = 16;
const DENSE_LEN: usize = HEADER + PACKED_LEN;

const DENSE: u8 = 0;
const SPARSE: u8 = 1;

const ZERO_MAX: usize = 64;
const VALUE_MAX: u8 = 32;
const VALUE_RUN_MAX: usize = 4;
/// How many opcodes are looked at for what can be united.
const UNITE_WINDOW: usize = 5;
/// A sparse sketch grows by its own length, at most by this.
const GREED: usize = 300;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encoding {
    Dense,
    Sparse,
}

/// The opcodes do not cover the registers exactly.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Corrupt;

/// Is this a sketch, as far as its header tells?
pub fn check(bytes: &[u8]) -> Option<Encoding> {
    if bytes.len() < HEADER || !bytes.starts_with(MAGIC) {
        return None;
    }
    match bytes[ENCODING_AT] {
        DENSE if bytes.len() == DENSE_LEN => Some(Encoding::Dense),
        SPARSE => Some(Encoding::Sparse),
        _ => None,
    }
}

fn header(encoding: u8) -> [u8; HEADER] {
    let mut h = [0; HEADER];
    h[..4].copy_from_slice(MAGIC);
    h[ENCODING_AT] = encoding;
    h
}

/// A sketch that has seen nothing.
pub fn empty() -> Sds {
    let mut s = Sds::with_capacity(HEADER + 2);
    s.extend(&header(SPARSE));
    let (bytes, n) = Op::Zeros { run: REGISTERS }.encode();
    s.extend(&bytes[..n]);
    s
}

fn is_dense(s: &[u8]) -> bool {
    s.get(ENCODING_AT) == Some(&DENSE)
}

fn packed(s: &[u8]) -> &[u8; PACKED_LEN] {
    s[HEADER..].try_into().expect("the length of a dense one was checked")
}

fn packed_mut(s: &mut [u8]) -> &mut [u8; PACKED_LEN] {
    (&mut s[HEADER..]).try_into().expect("the length of a dense one was checked")
}

// ---- the cached count ---------------------------------------------------------------------------

pub fn cached(s: &[u8]) -> Option<u64> {
    let bytes = s.get(CACHE_AT..HEADER)?.try_into().expect("eight bytes");
    let n = u64::from_le_bytes(bytes);
    (n >> 63 == 0).then_some(n)
}

pub fn set_cached(s: &mut [u8], n: u64) {
    s[CACHE_AT..HEADER].copy_from_slice(&n.to_le_bytes());
}

pub fn invalidate(s: &mut [u8]) {
    s[HEADER - 1] |= 0x80;
}

// ---- opcodes ------------------------------------------------------------------------------------

/// Registers in a row that hold the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Op {
    Zeros { run: usize },
    Value { value: u8, run: usize },
}

impl Op {
    pub fn run(self) -> usize {
        match self {
            Op::Zeros { run } | Op::Value { run, .. } => run,
        }
    }

    /// The opcode at the front, and its size, which reaches beyond the end when its second byte is
    /// missing; that one counts as 0.
    fn decode(bytes: &[u8]) -> Option<(Op, usize)> {
        let (&first, rest) = bytes.split_first()?;
        let low = usize::from(first & 0x3f);
        Some(match first >> 6 {
            0 => (Op::Zeros { run: low + 1 }, 1),
            1 => (Op::Zeros { run: (low << 8 | usize::from(*rest.first().unwrap_or(&0))) + 1 }, 2),
            _ => (Op::Value { value: (first >> 2 & 31) + 1, run: usize::from(first & 3) + 1 }, 1),
        })
    }

    /// The shortest opcode, and its size.
    fn encode(self) -> ([u8; 2], usize) {
        match self {
            Op::Zeros { run } if run <= ZERO_MAX => ([(run - 1) as u8, 0], 1),
            Op::Zeros { run } => {
                debug_assert!(run <= REGISTERS);
                ([0x40 | ((run - 1) >> 8) as u8, (run - 1) as u8], 2)
            }
            Op::Value { value, run } => {
                debug_assert!((1..=VALUE_MAX).contains(&value) && (1..=VALUE_RUN_MAX).contains(&run));
                ([0x80 | (value - 1) << 2 | (run - 1) as u8, 0], 1)
            }
        }
    }
}

/// The opcodes of a sparse sketch, each with its size.
fn sized_ops(s: &[u8]) -> impl Iterator<Item = (Op, usize)> {
    let mut rest = s.get(HEADER..).unwrap_or(&[]);
    std::iter::from_fn(move || {
        let (op, size) = Op::decode(rest)?;
        rest = rest.get(size..).unwrap_or(&[]);
        Some((op, size))
    })
}

/// The opcodes of a sparse sketch, with whether it is written in the long form.
pub fn ops(s: &[u8]) -> impl Iterator<Item = (Op, bool)> {
    sized_ops(s).map(|(op, size)| (op, size == 2))
}

/// Shows the runs of registers that are not 0, if the opcodes cover all registers exactly; values that
/// stand behind the last register are left alone, as upstream leaves them.
fn sparse_values(s: &[u8], mut show: impl FnMut(usize, usize, u8)) -> Result<(), Corrupt> {
    let mut at = 0usize;
    for (op, _) in sized_ops(s) {
        if let Op::Value { value, run } = op {
            if at + run > REGISTERS {
                break;
            }
            show(at, run, value);
        }
        at += op.run();
    }
    if at == REGISTERS { Ok(()) } else { Err(Corrupt) }
}

// ---- reading ------------------------------------------------------------------------------------

/// The registers, one byte each.
pub fn registers(s: &[u8]) -> Result<Loose, Corrupt> {
    if is_dense(s) {
        return Ok(algo::unpack(packed(s)));
    }
    let mut loose = [0; REGISTERS];
    sparse_values(s, |at, run, value| loose[at..at + run].fill(value))?;
    Ok(loose)
}

/// Raises the registers of `max` to those of a sketch.
pub fn merge_into(max: &mut Loose, s: &[u8]) -> Result<(), Corrupt> {
    if is_dense(s) {
        let other = algo::unpack(packed(s));
        max.iter_mut().zip(&other).for_each(|(m, o)| *m = (*m).max(*o));
        return Ok(());
    }
    sparse_values(s, |at, run, value| {
        max[at..at + run].iter_mut().for_each(|m| *m = (*m).max(value));
    })
}

/// The estimated count, from the registers alone.
pub fn count(s: &[u8]) -> Result<u64, Corrupt> {
    if is_dense(s) {
        return Ok(estimate(&histogram(&algo::unpack(packed(s)))));
    }
    let (mut h, mut covered): (Histogram, usize) = ([0; 64], 0);
    for (op, _) in sized_ops(s) {
        covered += op.run();
        if covered > REGISTERS {
            return Err(Corrupt);
        }
        let value = if let Op::Value { value, .. } = op { value } else { 0 };
        h[usize::from(value)] += op.run() as u32;
    }
    if covered == REGISTERS { Ok(estimate(&h)) } else { Err(Corrupt) }
}

// ---- writing ------------------------------------------------------------------------------------

/// Adds an element; true when a register rose.
pub fn add(s: &mut Sds, element: &[u8], max_bytes: usize) -> Result<bool, Corrupt> {
    let (register, run) = place(element);
    if is_dense(s) {
        return Ok(algo::raise(packed_mut(s), register, run));
    }
    raise(s, &mut Resume::default(), register, run, max_bytes)
}

/// Makes a sketch dense; true when it was not.
pub fn to_dense(s: &mut Sds) -> Result<bool, Corrupt> {
    if is_dense(s) {
        return Ok(false);
    }
    let loose = registers(s)?;
    let mut dense = Sds::with_capacity(DENSE_LEN);
    dense.extend(&s[..HEADER]);
    dense.resize(DENSE_LEN);
    dense[ENCODING_AT] = DENSE;
    algo::pack(&loose, packed_mut(&mut dense));
    *s = dense;
    Ok(true)
}

/// Raises the registers of a sketch to `max`, which is nowhere lower than they are.
pub fn raise_all(s: &mut Sds, max: &Loose, max_bytes: usize) -> Result<(), Corrupt> {
    let mut from = Resume::default();
    for (register, run) in max.iter().enumerate().filter(|(_, run)| **run > 0) {
        if is_dense(s) {
            break;
        }
        raise(s, &mut from, register, *run, max_bytes)?;
    }
    if is_dense(s) {
        algo::pack(max, packed_mut(s));
    }
    Ok(())
}

/// An opcode of a sparse sketch: its place behind the header, and the first register that it covers.
/// Registers beyond it are found from here; it is never changed on their behalf.
#[derive(Clone, Copy, Default, Debug)]
struct Resume {
    at: usize,
    first: usize,
}

/// Raises a register of a sparse sketch, which may become dense by that. `from` moves along, for
/// registers that come in order.
fn raise(
    s: &mut Sds,
    from: &mut Resume,
    register: usize,
    run: u8,
    max_bytes: usize,
) -> Result<bool, Corrupt> {
    if run > VALUE_MAX {
        return promote(s, register, run);
    }
    let mut here = *from;
    let mut before = None;
    let (op, size) = loop {
        let (op, size) = Op::decode(s.get(HEADER + here.at..).unwrap_or(&[])).ok_or(Corrupt)?;
        if register < here.first + op.run() {
            break (op, size);
        }
        // The one before the last may be united with what changes, the one before that may not.
        *from = before.unwrap_or(*from);
        before = Some(here);
        here = Resume { at: here.at + size, first: here.first + op.run() };
    };
    if matches!(op, Op::Value { value, .. } if value >= run) {
        return Ok(false);
    }
    let place = HEADER + here.at;
    if place + size > s.len() {
        return Err(Corrupt);
    }
    let (parts, n) = split(op, register - here.first, run);
    if n > size && s.len() + n - size > max_bytes {
        return promote(s, register, run);
    }
    replace(s, place, size, &parts[..n], max_bytes);
    unite(s, HEADER + before.map_or(0, |b| b.at));
    invalidate(s);
    Ok(true)
}

/// An opcode with the register at `offset` of its run raised: up to three opcodes, at most five bytes.
fn split(op: Op, offset: usize, run: u8) -> ([u8; 5], usize) {
    let part = |run| match op {
        Op::Zeros { .. } => Op::Zeros { run },
        Op::Value { value, .. } => Op::Value { value, run },
    };
    let after = op.run() - 1 - offset;
    let parts = [
        (offset > 0).then(|| part(offset)),
        Some(Op::Value { value: run, run: 1 }),
        (after > 0).then(|| part(after)),
    ];
    let (mut bytes, mut n) = ([0; 5], 0);
    for (code, size) in parts.into_iter().flatten().map(Op::encode) {
        bytes[n..n + size].copy_from_slice(&code[..size]);
        n += size;
    }
    (bytes, n)
}

/// Puts bytes in place of `old` others.
fn replace(s: &mut Sds, at: usize, old: usize, new: &[u8], max_bytes: usize) {
    let len = s.len();
    if new.len() > old {
        let longer = len + new.len() - old;
        if s.capacity() < longer {
            s.reserve_exact((len + 3 + GREED.min(len + 3)).min(max_bytes.max(longer)) - len);
        }
        s.resize(longer);
    }
    s.copy_within(at + old..len, at + new.len());
    s[at..at + new.len()].copy_from_slice(new);
    s.resize(len + new.len() - old);
}

/// Unites neighbours of the same value, in a window that begins at `at`.
fn unite(s: &mut Sds, mut at: usize) {
    for _ in 0..UNITE_WINDOW {
        let Some((op, size)) = Op::decode(&s[at..]) else { return };
        let next = s.get(at + 1..).and_then(Op::decode);
        if let (Op::Value { value, run }, Some((Op::Value { value: v, run: r }, _))) = (op, next)
            && value == v
            && run + r <= VALUE_RUN_MAX
        {
            // The united one may be united again: the window moves, the place does not.
            let (code, _) = Op::Value { value, run: run + r }.encode();
            s[at] = code[0];
            let len = s.len();
            s.copy_within(at + 2..len, at + 1);
            s.resize(len - 1);
        } else {
            at = (at + size).min(s.len());
        }
    }
}

fn promote(s: &mut Sds, register: usize, run: u8) -> Result<bool, Corrupt> {
    to_dense(s)?;
    Ok(algo::raise(packed_mut(s), register, run))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::algo::rng::Rng;

    const NO_LIMIT: usize = usize::MAX;

    /// A sparse sketch of these bytes.
    fn sparse(ops: &[u8]) -> Sds {
        Sds::from_slice(&[&header(SPARSE)[..], ops].concat())
    }

    fn set(s: &mut Sds, register: usize, run: u8) -> bool {
        raise(s, &mut Resume::default(), register, run, NO_LIMIT).expect("a good sketch")
    }

    #[test]
    fn it_agrees_with_its_naive_twin() {
        let mut rng = Rng::seeded(9);
        for round in 0..40 {
            let max_bytes = [18, 60, 3000, NO_LIMIT][round % 4];
            let (mut s, mut twin) = (empty(), [0u8; REGISTERS]);
            // Registers close together give runs, far ones give gaps.
            let spread = [40, 400, REGISTERS][round % 3];
            for _ in 0..300 {
                let register = rng.index(spread);
                let run = 1 + rng.below(if round % 5 == 0 { 51 } else { 3 }) as u8;
                let higher = run > twin[register];
                if is_dense(&s) {
                    assert_eq!(algo::raise(packed_mut(&mut s), register, run), higher);
                } else {
                    let risen = raise(&mut s, &mut Resume::default(), register, run, max_bytes);
                    assert_eq!(risen, Ok(higher));
                }
                twin[register] = run.max(twin[register]);
                assert!(registers(&s) == Ok(twin));
                assert!(is_dense(&s) || s.len() <= max_bytes);
            }
            assert_eq!(count(&s), Ok(estimate(&histogram(&twin))));
            let mut max = [0; REGISTERS];
            assert_eq!(merge_into(&mut max, &s), Ok(()));
            assert!(max == twin);
            assert!(to_dense(&mut s).is_ok());
            assert!(registers(&s) == Ok(twin));
        }
    }

    /// Raising many registers in order gives the bytes that raising one after another gives.
    #[test]
    fn going_on_from_the_last_register_changes_no_byte() {
        let mut rng = Rng::seeded(10);
        for round in 0..60 {
            let max_bytes = [40, 3000, NO_LIMIT][round % 3];
            let (mut max, mut old) = ([0; REGISTERS], empty());
            let spread = [30, 300, REGISTERS][round / 3 % 3];
            for _ in 0..rng.below(60) {
                set(&mut old, rng.index(spread), 1 + rng.below(3) as u8);
            }
            merge_into(&mut max, &old).expect("a good sketch");
            for _ in 0..rng.below(200) {
                let register = rng.index(spread);
                max[register] = max[register].max(1 + rng.below(3) as u8);
            }
            let (mut fast, mut slow) = (Sds::from_slice(&old), old);
            raise_all(&mut fast, &max, max_bytes).expect("a good sketch");
            for (register, run) in max.iter().enumerate().filter(|(_, r)| **r > 0) {
                if is_dense(&slow) {
                    algo::raise(packed_mut(&mut slow), register, *run);
                } else {
                    raise(&mut slow, &mut Resume::default(), register, *run, max_bytes)
                        .expect("a good sketch");
                }
            }
            assert!(fast[..] == slow[..], "round {round}");
        }
    }

    #[test]
    fn opcodes_split_and_unite() {
        let mut s = empty();
        assert_eq!(&s[HEADER..], [0x7f, 0xff]);
        let shown = |s: &Sds| ops(s).map(|(op, _)| op).collect::<Vec<_>>();
        let (zeros, value) = (|run| Op::Zeros { run }, |value, run| Op::Value { value, run });
        assert!(set(&mut s, 100, 3));
        assert_eq!(shown(&s), [zeros(100), value(3, 1), zeros(REGISTERS - 101)]);
        assert!(set(&mut s, 101, 3) && set(&mut s, 102, 3) && set(&mut s, 103, 3));
        assert!(set(&mut s, 104, 3));
        assert_eq!(shown(&s), [zeros(100), value(3, 4), value(3, 1), zeros(REGISTERS - 105)]);
        assert!(set(&mut s, 101, 9) && !set(&mut s, 101, 9));
        assert_eq!(shown(&s)[1..4], [value(3, 1), value(9, 1), value(3, 3)]);
        // The last register, and the first.
        assert!(set(&mut s, REGISTERS - 1, 32) && set(&mut s, 0, 1));
        assert_eq!(shown(&s)[..2], [value(1, 1), zeros(99)]);
        assert!(s[HEADER - 1] & 0x80 != 0, "no count is cached");
        assert!(set(&mut s, 5, 33) && is_dense(&s));
    }

    #[test]
    fn broken_sketches_are_told() {
        // Too few registers, too many, and a value that reaches over the end.
        for ops in [&[][..], &[0x00], &[0x7f, 0xfe], &[0x7f, 0xff, 0x00], &[0x7f, 0xfe, 0x81]] {
            let mut s = sparse(ops);
            assert_eq!(count(&s), Err(Corrupt), "{ops:?}");
            assert_eq!(registers(&s), Err(Corrupt));
            assert_eq!(merge_into(&mut [0; REGISTERS], &s), Err(Corrupt));
            assert_eq!(to_dense(&mut s), Err(Corrupt));
        }
        assert_eq!(add(&mut sparse(&[0x00]), b"a", NO_LIMIT), Err(Corrupt));
        // Long opcodes without their second byte.
        assert_eq!(add(&mut sparse(&[0x7f]), b"a", NO_LIMIT), Err(Corrupt));
        let mut headers = vec![header(DENSE).to_vec(), header(2).to_vec(), b"HYLL".to_vec()];
        headers.push([&header(DENSE)[..], &[0; PACKED_LEN + 1]].concat());
        assert!(headers.iter().all(|h| check(h).is_none()));
    }

    #[test]
    fn any_bytes_are_endured() {
        let mut rng = Rng::seeded(11);
        for _ in 0..3000 {
            let n = rng.index(60);
            let mut ops = vec![0; n];
            rng.fill(&mut ops);
            if rng.below(2) == 0 {
                // Near the full number of registers, where the ends are.
                let covered: usize = sized_ops(&sparse(&ops)).map(|(op, _)| op.run()).sum();
                if let Some(rest) = REGISTERS.checked_sub(covered).filter(|r| *r > 0) {
                    ops.extend(&Op::Zeros { run: rest }.encode().0);
                }
            }
            let mut s = sparse(&ops);
            let whole = count(&s).is_ok();
            assert!(registers(&s).is_ok() || !whole);
            let risen = add(&mut s, &rng.next_u64().to_le_bytes(), [18, 40, NO_LIMIT][rng.index(3)]);
            assert!(!whole || risen.is_ok() || n > 0);
            if whole && risen.is_ok() {
                assert!(count(&s).is_ok(), "{ops:?}");
            }
            let _ = raise_all(&mut s, &[1; REGISTERS], 3000);
        }
    }
}
