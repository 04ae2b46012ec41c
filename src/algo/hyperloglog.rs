//! HyperLogLog: how many different elements were seen, told from 16,384 registers of six bits.
//!
//! ```text
//!   hash of an element, 64 bits:  [ 50 bits: run of zeros from the low end, plus one ][ 14 bits: register ]
//!   a register keeps the greatest run; two sketches are united by taking the greater of each register
//!
//!   packed: four registers in three bytes, the first in the low bits      |33333322|22221111|11000000|
//!   loose:  one byte each, for merging and counting
//! ```
//!
//! The estimate is Otmar Ertl's ("New cardinality estimation algorithms for HyperLogLog sketches", 2017),
//! which needs only how often each value occurs among the registers. Hash, seed and formula are those of
//! Redis: sketches travel between servers, and counts are compared.

/// Bits of the hash that choose the register (P).
const INDEX_BITS: u32 = 14;
/// Bits that are looked at for the run (Q).
const RUN_BITS: u32 = 64 - INDEX_BITS;
pub const REGISTERS: usize = 1 << INDEX_BITS;
/// Bits of a packed register.
const BITS: usize = 6;
pub const PACKED_LEN: usize = REGISTERS * BITS / 8;
const MAX: u8 = (1 << BITS) - 1;

/// Registers, one byte each.
pub type Loose = [u8; REGISTERS];

const SEED: u64 = 0xadc8_3b19;

/// MurmurHash2, the variant for 64-bit machines (MurmurHash64A).
pub fn murmur64(data: &[u8], seed: u64) -> u64 {
    const M: u64 = 0xc6a4_a793_5bd1_e995;
    const R: u32 = 47;
    let mut h = seed ^ (data.len() as u64).wrapping_mul(M);
    let (words, tail) = data.as_chunks::<8>();
    for w in words {
        let k = u64::from_le_bytes(*w).wrapping_mul(M);
        h = (h ^ (k ^ k >> R).wrapping_mul(M)).wrapping_mul(M);
    }
    if !tail.is_empty() {
        let rest = tail.iter().rev().fold(0, |k, b| k << 8 | u64::from(*b));
        h = (h ^ rest).wrapping_mul(M);
    }
    h = (h ^ h >> R).wrapping_mul(M);
    h ^ h >> R
}

/// The register of an element, and the run that its hash has (1 to 51).
#[inline]
pub fn place(element: &[u8]) -> (usize, u8) {
    let hash = murmur64(element, SEED);
    // A run that fills all bits is one longer than they are.
    let run = (hash >> INDEX_BITS | 1 << RUN_BITS).trailing_zeros() + 1;
    ((hash & (REGISTERS as u64 - 1)) as usize, run as u8)
}

// ---- packed registers ---------------------------------------------------------------------------

/// The three bytes that hold a register, and how far up it lies in them.
fn spot(register: usize) -> (usize, u32) {
    debug_assert!(register < REGISTERS);
    (register / 4 * 3, (register % 4 * BITS) as u32)
}

fn get_three(packed: &[u8; PACKED_LEN], at: usize) -> u32 {
    u32::from_le_bytes([packed[at], packed[at + 1], packed[at + 2], 0])
}

pub fn get(packed: &[u8; PACKED_LEN], register: usize) -> u8 {
    let (at, shift) = spot(register);
    (get_three(packed, at) >> shift) as u8 & MAX
}

/// Raises a register; false when it is so high already.
pub fn raise(packed: &mut [u8; PACKED_LEN], register: usize, run: u8) -> bool {
    debug_assert!(run <= MAX);
    let (at, shift) = spot(register);
    let three = get_three(packed, at);
    if run <= (three >> shift) as u8 & MAX {
        return false;
    }
    let three = three & !(u32::from(MAX) << shift) | u32::from(run) << shift;
    packed[at..at + 3].copy_from_slice(&three.to_le_bytes()[..3]);
    true
}

/// Eight registers at a time: 48 bits move apart to 8 bytes in three steps of halves.
pub fn unpack(packed: &[u8; PACKED_LEN]) -> Loose {
    let mut loose = [0; REGISTERS];
    let (groups, _) = packed.as_chunks::<BITS>();
    let (words, _) = loose.as_chunks_mut::<8>();
    for (g, w) in groups.iter().zip(words) {
        let x = u64::from_le_bytes([g[0], g[1], g[2], g[3], g[4], g[5], 0, 0]);
        let x = x & 0x00ff_ffff | (x & 0xffff_ff00_0000) << 8;
        let x = x & 0x0000_0fff_0000_0fff | (x & 0x00ff_f000_00ff_f000) << 4;
        let x = x & 0x003f_003f_003f_003f | (x & 0x0fc0_0fc0_0fc0_0fc0) << 2;
        *w = x.to_le_bytes();
    }
    loose
}

pub fn pack(loose: &Loose, packed: &mut [u8; PACKED_LEN]) {
    let (words, _) = loose.as_chunks::<8>();
    let (groups, _) = packed.as_chunks_mut::<BITS>();
    for (w, g) in words.iter().zip(groups) {
        debug_assert!(w.iter().all(|r| *r <= MAX));
        let x = u64::from_le_bytes(*w);
        let x = x & 0x003f_003f_003f_003f | (x & 0x3f00_3f00_3f00_3f00) >> 2;
        let x = x & 0x0000_0fff_0000_0fff | (x & 0x0fff_0000_0fff_0000) >> 4;
        let x = x & 0x00ff_ffff | (x & 0x00ff_ffff_0000_0000) >> 8;
        g.copy_from_slice(&x.to_le_bytes()[..BITS]);
    }
}

// ---- counting -----------------------------------------------------------------------------------

/// How many registers hold each value.
pub type Histogram = [u32; MAX as usize + 1];

/// Neighbours often hold the same value: four tables, so that one increment need not wait for another.
pub fn histogram(loose: &Loose) -> Histogram {
    let mut four = [[0u32; MAX as usize + 1]; 4];
    let (groups, _) = loose.as_chunks::<4>();
    for g in groups {
        for (table, r) in four.iter_mut().zip(g) {
            table[usize::from(r & MAX)] += 1;
        }
    }
    std::array::from_fn(|value| four.iter().map(|t| t[value]).sum())
}

/// The estimated number of different elements.
pub fn estimate(h: &Histogram) -> u64 {
    /// 1 / (2 ln 2)
    const ALPHA: f64 = 0.7213475204444817;
    let m = REGISTERS as f64;
    let mut z = m * tau((m - f64::from(h[RUN_BITS as usize + 1])) / m);
    for value in (1..=RUN_BITS as usize).rev() {
        z = (z + f64::from(h[value])) * 0.5;
    }
    z += m * sigma(f64::from(h[0]) / m);
    let n = (ALPHA * m * m / z).round();
    // Registers that no hash can have made may give anything: then it is what x86-64 has for numbers
    // out of range.
    const TOP: f64 = (1u64 << 63) as f64;
    if n < TOP { n as u64 } else { 1 << 63 }
}

/// The share of empty registers, as a sum that converges quickly.
fn sigma(mut x: f64) -> f64 {
    if x == 1.0 {
        return f64::INFINITY;
    }
    let (mut y, mut z) = (1.0, x);
    loop {
        x *= x;
        let before = z;
        z += x * y;
        y += y;
        if z == before {
            return z;
        }
    }
}

/// The same for the registers that are full.
fn tau(mut x: f64) -> f64 {
    if x == 0.0 || x == 1.0 {
        return 0.0;
    }
    let (mut y, mut z) = (1.0, 1.0 - x);
    loop {
        x = x.sqrt();
        let before = z;
        y *= 0.5;
        z -= (1.0 - x) * (1.0 - x) * y;
        if z == before {
            return z / 3.0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::algo::rng::Rng;

    #[test]
    fn hashes_are_those_that_sketches_were_made_with() {
        assert_eq!(murmur64(b"", 1), 0xc6a4_a793_5bd0_64dc);
        assert_eq!(murmur64(b"hello, world", 0), 0x9659_ad06_99a8_465f);
        for (text, register, run) in
            [("", 5938, 2), ("a", 12711, 2), ("foo", 7348, 5), ("12345678", 10579, 3)]
        {
            assert_eq!(place(text.as_bytes()), (register, run), "{text}");
        }
    }

    #[test]
    fn packed_registers_agree_with_loose_ones() {
        let mut rng = Rng::seeded(1);
        let mut packed = [0; PACKED_LEN];
        let mut loose = [0; REGISTERS];
        for _ in 0..60_000 {
            let (i, run) = (rng.index(REGISTERS), rng.below(64) as u8);
            assert_eq!(raise(&mut packed, i, run), run > loose[i]);
            loose[i] = run.max(loose[i]);
        }
        assert!((0..REGISTERS).all(|i| get(&packed, i) == loose[i]));
        assert!(unpack(&packed) == loose);
        let mut again = [0xff; PACKED_LEN];
        pack(&loose, &mut again);
        assert!(again == packed);
        let h = histogram(&loose);
        for (value, n) in h.iter().enumerate() {
            assert_eq!(*n as usize, loose.iter().filter(|r| usize::from(**r) == value).count());
        }
    }

    #[test]
    fn estimates_are_close() {
        assert_eq!(estimate(&histogram(&[0; REGISTERS])), 0);
        let mut loose = [0; REGISTERS];
        let mut next = 10;
        for n in 1..=300_000u64 {
            let (i, run) = place(&n.to_le_bytes());
            loose[i] = run.max(loose[i]);
            if n == next {
                let counted = estimate(&histogram(&loose));
                assert!(counted.abs_diff(n) <= 1 + n / 50, "{n}: {counted}");
                next = next * 3 / 2;
            }
        }
    }

    #[test]
    fn impossible_registers_are_counted_somehow() {
        for value in 0..=MAX {
            let n = estimate(&histogram(&[value; REGISTERS]));
            assert!(n == 0 || n > 10_000, "{value}: {n}");
        }
        assert_eq!(estimate(&histogram(&[MAX; REGISTERS])), 1 << 63);
    }
}
