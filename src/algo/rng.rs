//! Randomness, of three kinds that must not be mixed up.
//!
//! ```text
//!   Rng              xoshiro256**, seeded, a plain struct    sampling, eviction, skiplist levels, tests
//!   Lrand48          the 48-bit LCG of drand48(3)             math.random() inside scripts, exactly
//!   random_bytes     the kernel's pool                        run ids, generated passwords, hash seeds
//! ```
//!
//! `Rng` is fast and fair but predictable from enough of its output: use it where a client
//! can gain nothing by guessing. It holds its state by value and is passed down as `&mut`, so a test
//! that seeds it replays exactly. `below` is free of modulo bias (Lemire's multiply-and-reject),
//! because RANDOMKEY, SPOP and the eviction pools are tested for fairness.
//!
//! `Lrand48` exists because scripts can see its numbers: `math.randomseed(n)` followed by
//! `math.random()` gives the same sequence on every server that scripts were ever tested on. Its facts:
//!
//! ```text
//!   x'   = (x * 0x5DEECE66D + 0xB) mod 2^48        one step
//!   out  = x' >> 17                                31 bits
//!   seed = n << 16 | 0x330E                        n taken as 32 bits
//!   x0   = 0x1234_ABCD_330E                        before any seeding
//! ```
//!
//! `random_bytes` reads the kernel's device rather than calling into libc, which keeps this band free of
//! unsafe code. Where the device cannot be read (a bare chroot), the standard library's per-process hash
//! keys, which the kernel filled, are stretched through its keyed hash: still unpredictable to clients.

use std::collections::hash_map::RandomState;
use std::fs::File;
use std::hash::{BuildHasher, Hasher};
use std::io::Read;

/// A small, fast, seedable generator: xoshiro256**. Not for secrets.
#[derive(Clone, Debug)]
pub struct Rng {
    s: [u64; 4],
}

impl Rng {
    /// The same seed always gives the same sequence.
    pub const fn seeded(seed: u64) -> Rng {
        // SplitMix64 spreads the seed, so that neighbouring seeds start far apart and the all-zero
        // state, from which xoshiro never leaves, cannot come up.
        let mut s = [0u64; 4];
        let mut x = seed;
        let mut i = 0;
        while i < 4 {
            x = x.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mut z = x;
            z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            s[i] = z ^ (z >> 31);
            i += 1;
        }
        Rng { s }
    }

    /// Seeded from the kernel: a different sequence in every process.
    pub fn from_os() -> Rng {
        let mut seed = [0u8; 8];
        random_bytes(&mut seed);
        Rng::seeded(u64::from_le_bytes(seed))
    }

    #[inline]
    pub fn next_u64(&mut self) -> u64 {
        let [s0, s1, s2, s3] = self.s;
        let out = s1.wrapping_mul(5).rotate_left(7).wrapping_mul(9);
        let (s2, s3) = (s2 ^ s0, s3 ^ s1);
        self.s = [s0 ^ s3, s1 ^ s2, s2 ^ (s1 << 17), s3.rotate_left(45)];
        out
    }

    #[inline]
    pub fn next_u32(&mut self) -> u32 {
        // The high bits are the better ones.
        (self.next_u64() >> 32) as u32
    }

    /// A fair number in `0..n`; 0 when `n` is 0.
    #[inline]
    pub fn below(&mut self, n: u64) -> u64 {
        let mut wide = u128::from(self.next_u64()) * u128::from(n);
        if (wide as u64) < n {
            // Of the 2^64 inputs a few cover some outputs once too often: throw exactly those away.
            let surplus = n.wrapping_neg() % n;
            while (wide as u64) < surplus {
                wide = u128::from(self.next_u64()) * u128::from(n);
            }
        }
        (wide >> 64) as u64
    }

    /// `below` for lengths and indexes.
    #[inline]
    pub fn index(&mut self, len: usize) -> usize {
        self.below(len as u64) as usize
    }

    /// A number in `[0, 1)`, all 53 bits of it.
    #[inline]
    pub fn next_f64(&mut self) -> f64 {
        (self.next_u64() >> 11) as f64 * (1.0 / (1u64 << 53) as f64)
    }

    pub fn fill(&mut self, out: &mut [u8]) {
        for chunk in out.chunks_mut(8) {
            let word = self.next_u64().to_le_bytes();
            chunk.copy_from_slice(&word[..chunk.len()]);
        }
    }

    /// Every order equally likely.
    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        for last in (1..items.len()).rev() {
            let pick = self.index(last + 1);
            items.swap(last, pick);
        }
    }
}

/// The generator behind `math.random` in scripts; see the top of the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lrand48 {
    x: u64,
}

impl Lrand48 {
    /// The largest number `step` returns; `next_f64` divides by it.
    pub const MAX: i32 = i32::MAX;
    const MULTIPLIER: u64 = 0x5_DEEC_E66D;
    const INCREMENT: u64 = 0xB;
    const MASK: u64 = (1 << 48) - 1;

    pub const fn new() -> Lrand48 {
        Lrand48 { x: 0x1234_ABCD_330E }
    }

    pub const fn seed(&mut self, seed: i32) {
        self.x = ((seed as u32 as u64) << 16) | 0x330E;
    }

    /// A number in `0..2^31`.
    pub const fn step(&mut self) -> i32 {
        self.x = self.x.wrapping_mul(Self::MULTIPLIER).wrapping_add(Self::INCREMENT) & Self::MASK;
        (self.x >> 17) as i32
    }

    /// What `math.random()` without arguments returns: a number in `[0, 1)`. The remainder maps the one
    /// output that equals MAX to 0.
    pub fn next_f64(&mut self) -> f64 {
        f64::from(self.step() % Self::MAX) / f64::from(Self::MAX)
    }
}

impl Default for Lrand48 {
    fn default() -> Self {
        Self::new()
    }
}

/// Unpredictable bytes from the kernel. For identifiers and seeds, not for a hot path.
pub fn random_bytes(out: &mut [u8]) {
    let from_device = File::open("/dev/urandom").and_then(|mut pool| pool.read_exact(out));
    if from_device.is_err() {
        stretch_process_keys(out);
    }
}

fn stretch_process_keys(out: &mut [u8]) {
    let keys = RandomState::new();
    for (n, chunk) in out.chunks_mut(8).enumerate() {
        let mut hasher = keys.build_hasher();
        hasher.write_usize(n);
        let word = hasher.finish().to_le_bytes();
        chunk.copy_from_slice(&word[..chunk.len()]);
    }
}

/// Random lowercase hexadecimal digits: `random_hex::<40>()` is a run id.
pub fn random_hex<const N: usize>() -> [u8; N] {
    let mut text = [0u8; N];
    fill_random_hex(&mut text);
    text
}

/// `random_hex` for lengths known only at run time (ACL GENPASS).
pub fn fill_random_hex(out: &mut [u8]) {
    random_bytes(out);
    for byte in out {
        *byte = b"0123456789abcdef"[usize::from(*byte & 15)];
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn xoshiro_follows_its_reference_sequence() {
        // From the state 1, 2, 3, 4, as published with the generator.
        let mut rng = Rng { s: [1, 2, 3, 4] };
        let want = [11520, 0, 1509978240, 1215971899390074240, 1216172134540287360];
        assert_eq!(want.map(|_| rng.next_u64()), want);
    }

    #[test]
    fn equal_seeds_give_equal_sequences_and_others_do_not() {
        let draw = |seed| {
            let mut rng = Rng::seeded(seed);
            (0..16).map(|_| rng.next_u64()).collect::<Vec<_>>()
        };
        assert_eq!(draw(7), draw(7));
        assert_ne!(draw(7), draw(8));
        assert_ne!(draw(0), vec![0; 16]);
    }

    #[test]
    fn below_stays_below_and_is_fair() {
        let mut rng = Rng::seeded(1);
        assert_eq!(rng.below(0), 0);
        assert_eq!(rng.below(1), 0);
        assert!((0..1000).all(|_| rng.below(u64::MAX) < u64::MAX));
        // Three quarters of 2^64: a plain multiply without rejection would favour every third output.
        let n = 3u64 << 62;
        let mut thirds = [0u32; 3];
        for _ in 0..30_000 {
            thirds[(rng.below(n) % 3) as usize] += 1;
        }
        assert!(thirds.iter().all(|&c| (9_500..10_500).contains(&c)), "{thirds:?}");
        let mut seen = [0u32; 10];
        for _ in 0..100_000 {
            seen[rng.index(10)] += 1;
        }
        assert!(seen.iter().all(|&c| (9_500..10_500).contains(&c)), "{seen:?}");
    }

    #[test]
    fn unit_interval_and_fill_and_shuffle() {
        let mut rng = Rng::seeded(3);
        let mean = (0..10_000).map(|_| rng.next_f64()).inspect(|x| assert!((0.0..1.0).contains(x)));
        let mean = mean.sum::<f64>() / 10_000.0;
        assert!((0.48..0.52).contains(&mean), "{mean}");
        for len in 0..20 {
            let mut bytes = vec![0u8; len];
            rng.fill(&mut bytes);
            assert!(len < 8 || bytes.iter().any(|&b| b != 0));
        }
        let mut firsts = [0u32; 4];
        for _ in 0..8_000 {
            let mut items = [0, 1, 2, 3];
            rng.shuffle(&mut items);
            firsts[items[0]] += 1;
            items.sort_unstable();
            assert_eq!(items, [0, 1, 2, 3]);
        }
        assert!(firsts.iter().all(|&c| (1_800..2_200).contains(&c)), "{firsts:?}");
    }

    #[test]
    fn lrand48_matches_the_c_library_and_its_own_definition() {
        let mut rng = Lrand48::new();
        let x = 0x1234_ABCD_330Eu128;
        let next = (x * 0x5DEECE66D + 11) % (1 << 48);
        assert_eq!(rng.step() as u128, next >> 17);
        // srand48(0), srand48(1) and srand48(-1), three numbers of lrand48 each.
        let mut draw = |seed| {
            rng.seed(seed);
            [rng.step(), rng.step(), rng.step()]
        };
        assert_eq!(draw(0), [366850414, 1610402240, 206956554]);
        assert_eq!(draw(1), [89400484, 976015093, 1792756325]);
        assert_eq!(draw(-1), [644300343, 97305740, 768640432]);
        rng.seed(5);
        assert!((0..1000).all(|_| (0.0..1.0).contains(&rng.next_f64())));
    }

    #[test]
    fn kernel_bytes_and_hex_digits() {
        let (a, b) = (random_hex::<40>(), random_hex::<40>());
        assert_ne!(a, b);
        assert!(a.iter().all(|c| c.is_ascii_digit() || (b'a'..=b'f').contains(c)));
        let mut fallback = [[0u8; 20]; 2];
        fallback.iter_mut().for_each(|out| stretch_process_keys(out));
        assert_ne!(fallback[0], fallback[1]);
        assert_ne!(fallback[0][..8], fallback[0][8..16]);
    }
}
