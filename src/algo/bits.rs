//! Bit strings: counting, searching, combining. BITCOUNT, BITPOS, BITOP, and HyperLogLog merges.
//!
//! Bits are numbered from the left, as SETBIT has them: bit 0 is the highest of the first byte.
//!
//! ```text
//!   byte      0          1
//!   bit       0......7   8.....15
//!   0x80 0x01 1          |      1       count_ones 2, find_bit(1) 0, find_bit(0) 1
//! ```
//!
//! Whole bytes are handled in words and blocks that the compiler turns into vector instructions; there
//! is no unsafe code and no run-time detection here. `count_ones` is the Harley-Seal scheme: full
//! adders on whole vectors turn sixteen of them into one vector of the weight 16 and a few left over,
//! so the costly part, counting the bits within a word, runs once for sixteen vectors. (A plain loop of
//! `u64::count_ones` was tried: two to three times slower without the POPCNT instruction, which builds
//! for any x86-64 may not use.)
//!
//! Ranges are given in bits, both ends included, as the commands have them after they have resolved
//! negative and byte offsets; a range may not begin after it ends or leave the string.

/// Four words that the compiler keeps in vector registers.
type Lanes = [u64; 4];
/// One step of `count_ones`: sixteen times `Lanes`.
const BLOCK: usize = 16 * size_of::<Lanes>();

/// How many bits of `bytes` are set.
pub fn count_ones(bytes: &[u8]) -> u64 {
    let (blocks, rest) = bytes.as_chunks::<BLOCK>();
    let (words, tail) = rest.as_chunks::<8>();
    let in_words: u32 = words.iter().map(|w| u64::from_ne_bytes(*w).count_ones()).sum();
    let in_tail: u32 = tail.iter().map(|b| b.count_ones()).sum();
    let in_blocks = if blocks.is_empty() { 0 } else { count_blocks(blocks) };
    in_blocks + u64::from(in_words + in_tail)
}

fn count_blocks(blocks: &[[u8; BLOCK]]) -> u64 {
    let (mut sums, mut sixteens) = (Sums::default(), 0);
    for block in blocks {
        let (vectors, _) = block.as_chunks::<32>();
        let eight = |from: usize, sums: &mut Sums| {
            let (a, b) = (sums.add_four(vectors, from), sums.add_four(vectors, from + 4));
            add(&mut sums.fours, a, b)
        };
        let (a, b) = (eight(0, &mut sums), eight(8, &mut sums));
        sixteens += count_lanes(add(&mut sums.eights, a, b));
    }
    16 * sixteens
        + 8 * count_lanes(sums.eights)
        + 4 * count_lanes(sums.fours)
        + 2 * count_lanes(sums.twos)
        + count_lanes(sums.ones)
}

/// What has been added so far and did not carry into the next weight.
#[derive(Default)]
struct Sums {
    ones: Lanes,
    twos: Lanes,
    fours: Lanes,
    eights: Lanes,
}

impl Sums {
    /// Adds four vectors; what carries out of `twos` has the weight 4.
    #[inline]
    fn add_four(&mut self, vectors: &[[u8; 32]], from: usize) -> Lanes {
        let a = add(&mut self.ones, lanes(&vectors[from]), lanes(&vectors[from + 1]));
        let b = add(&mut self.ones, lanes(&vectors[from + 2]), lanes(&vectors[from + 3]));
        add(&mut self.twos, a, b)
    }
}

#[inline]
fn lanes(vector: &[u8; 32]) -> Lanes {
    let (words, _) = vector.as_chunks::<8>();
    std::array::from_fn(|i| u64::from_ne_bytes(words[i]))
}

/// A full adder on each bit position: `sum` becomes sum + a + b without the carries, which are returned.
#[inline]
fn add(sum: &mut Lanes, a: Lanes, b: Lanes) -> Lanes {
    std::array::from_fn(|i| {
        let half = a[i] ^ b[i];
        let carry = (a[i] & b[i]) | (half & sum[i]);
        sum[i] ^= half;
        carry
    })
}

#[inline]
fn count_lanes(lanes: Lanes) -> u64 {
    lanes.iter().map(|word| u64::from(word.count_ones())).sum()
}

/// The bytes that a range of bits touches, with the masks of the bits wanted in the first and the last.
/// (With a single byte both masks apply to it.)
fn touched(bytes: &[u8], first: u64, last: u64) -> Option<(&[u8], u8, u8)> {
    debug_assert!(first <= last && last / 8 < bytes.len() as u64, "the range lies in the string");
    let within = bytes.get(usize::try_from(first / 8).ok()?..=usize::try_from(last / 8).ok()?)?;
    Some((within, 0xff >> (first % 8), 0xff << (7 - last % 8)))
}

/// How many bits are set from bit `first` to bit `last`, both included.
pub fn count_ones_in(bytes: &[u8], first: u64, last: u64) -> u64 {
    let Some((within, head_mask, tail_mask)) = touched(bytes, first, last) else { return 0 };
    let (&[head], rest) = within.split_at(1) else { return 0 };
    let Some((&tail, middle)) = rest.split_last() else {
        return u64::from((head & head_mask & tail_mask).count_ones());
    };
    let edges = (head & head_mask).count_ones() + (tail & tail_mask).count_ones();
    u64::from(edges) + count_ones(middle)
}

/// The first bit of `bytes` that equals `bit`.
pub fn find_bit(bytes: &[u8], bit: bool) -> Option<u64> {
    let skip = if bit { 0 } else { 0xff };
    let word_skip = u64::from_ne_bytes([skip; 8]);
    let differs = |word: &[u8; 8]| u64::from_ne_bytes(*word) ^ word_skip;
    let uniform = |block: &&[u8; 64]| {
        let (words, _) = block.as_chunks::<8>();
        words.iter().fold(0, |diff, word| diff | differs(word)) == 0
    };
    let (blocks, _) = bytes.as_chunks::<64>();
    let mut at = 64 * blocks.iter().take_while(uniform).count();
    let (words, _) = bytes[at..].as_chunks::<8>();
    at += 8 * words.iter().take_while(|word| differs(word) == 0).count();
    at += bytes[at..].iter().position(|&b| b != skip)?;
    Some(at as u64 * 8 + u64::from((bytes[at] ^ skip).leading_zeros()))
}

/// The first bit from `first` to `last`, both included, that equals `bit`, numbered from the start of
/// the string.
pub fn find_bit_in(bytes: &[u8], bit: bool, first: u64, last: u64) -> Option<u64> {
    let (within, head_mask, tail_mask) = touched(bytes, first, last)?;
    let base = first / 8 * 8;
    let (&head, rest) = within.split_first()?;
    // Bits outside of the range count as ones after this, wanted bits as ones too.
    let wanted = |byte: u8| if bit { byte } else { !byte };
    let masked = wanted(head) & head_mask & if rest.is_empty() { tail_mask } else { 0xff };
    if masked != 0 {
        return Some(base + u64::from(masked.leading_zeros()));
    }
    let (&tail, middle) = rest.split_last()?;
    if let Some(at) = find_bit(middle, bit) {
        return Some(base + 8 + at);
    }
    let masked = wanted(tail) & tail_mask;
    (masked != 0).then(|| last / 8 * 8 + u64::from(masked.leading_zeros()))
}

/// How BITOP combines several strings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BitOp {
    And,
    Or,
    Xor,
}

/// Combine strings of any lengths; shorter ones count as filled up with zeros. The result is as long as
/// the longest.
pub fn combine(op: BitOp, sources: &[&[u8]]) -> Vec<u8> {
    // A piece of the result stays in the first-level cache while all sources are applied to it.
    const PIECE: usize = 16 * 1024;
    let len = sources.iter().map(|s| s.len()).max().unwrap_or(0);
    let mut out = Vec::with_capacity(len);
    let Some((&start, others)) = sources.split_first() else { return out };
    while out.len() < len {
        let from = out.len();
        let to = len.min(from + PIECE);
        out.extend_from_slice(piece(start, from, to));
        out.resize(to, 0);
        for &source in others {
            let (target, operand) = (&mut out[from..], piece(source, from, to));
            match op {
                BitOp::Or => apply(target, operand, |a, b| a | b, |a, b| a | b),
                BitOp::Xor => apply(target, operand, |a, b| a ^ b, |a, b| a ^ b),
                BitOp::And => {
                    apply(target, operand, |a, b| a & b, |a, b| a & b);
                    target[operand.len()..].fill(0);
                }
            }
        }
    }
    out
}

/// What of `source` lies in `from..to`.
fn piece(source: &[u8], from: usize, to: usize) -> &[u8] {
    &source[from.min(source.len())..to.min(source.len())]
}

/// `target` combined with `operand`, which must not be longer.
#[inline]
fn apply(
    target: &mut [u8],
    operand: &[u8],
    on_words: impl Fn(u64, u64) -> u64,
    on_bytes: impl Fn(u8, u8) -> u8,
) {
    debug_assert!(operand.len() <= target.len(), "pieces of the result have its length");
    let (target, _) = target.split_at_mut(operand.len());
    let (target_words, target_tail) = target.as_chunks_mut::<8>();
    let (operand_words, operand_tail) = operand.as_chunks::<8>();
    for (a, b) in target_words.iter_mut().zip(operand_words) {
        *a = on_words(u64::from_ne_bytes(*a), u64::from_ne_bytes(*b)).to_ne_bytes();
    }
    for (a, b) in target_tail.iter_mut().zip(operand_tail) {
        *a = on_bytes(*a, *b);
    }
}

/// Every bit of `source` the other way round.
pub fn invert(source: &[u8]) -> Vec<u8> {
    source.iter().map(|byte| !byte).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::algo::rng::Rng;

    fn bit_at(bytes: &[u8], bit: u64) -> bool {
        bytes[(bit / 8) as usize] >> (7 - bit % 8) & 1 == 1
    }

    /// Strings with long runs, so that searches go far.
    fn draw(rng: &mut Rng, max: usize) -> Vec<u8> {
        let mut bytes = vec![if rng.below(2) == 0 { 0 } else { 0xff }; rng.index(max)];
        for _ in 0..rng.below(4) {
            if !bytes.is_empty() {
                let at = rng.index(bytes.len());
                bytes[at] = rng.next_u64() as u8;
            }
        }
        if rng.below(3) == 0 {
            rng.fill(&mut bytes);
        }
        bytes
    }

    #[test]
    fn counting_agrees_with_the_naive_twin() {
        let mut rng = Rng::seeded(1);
        for len in (0..200).chain([511, 512, 513, 1024, 5000]) {
            let mut bytes = vec![0; len];
            rng.fill(&mut bytes);
            assert_eq!(
                count_ones(&bytes),
                (0..len as u64 * 8).filter(|&b| bit_at(&bytes, b)).count() as u64
            );
        }
        assert_eq!(count_ones(&[0xff; 10_000]), 80_000);
        for _ in 0..3_000 {
            let bytes = draw(&mut rng, 700);
            let bits = bytes.len() as u64 * 8;
            if bits == 0 {
                continue;
            }
            let first = rng.below(bits);
            let last = first + rng.below(bits - first);
            let want = (first..=last).filter(|&b| bit_at(&bytes, b)).count() as u64;
            assert_eq!(count_ones_in(&bytes, first, last), want, "{first}..={last}");
        }
    }

    #[test]
    fn searching_agrees_with_the_naive_twin() {
        let mut rng = Rng::seeded(2);
        for _ in 0..5_000 {
            let bytes = draw(&mut rng, 300);
            let bits = bytes.len() as u64 * 8;
            let bit = rng.below(2) == 0;
            assert_eq!(find_bit(&bytes, bit), (0..bits).find(|&b| bit_at(&bytes, b) == bit));
            if bits > 0 {
                let first = rng.below(bits);
                let last = first + rng.below(bits - first);
                let want = (first..=last).find(|&b| bit_at(&bytes, b) == bit);
                assert_eq!(find_bit_in(&bytes, bit, first, last), want, "{first}..={last}");
            }
        }
        assert_eq!(find_bit(b"", true), None);
        assert_eq!(find_bit(&[0xff, 0xf0], false), Some(12));
    }

    #[test]
    fn combining_agrees_with_the_naive_twin() {
        let mut rng = Rng::seeded(3);
        for round in 0..600 {
            let max = if round % 50 == 0 { 40_000 } else { 100 };
            let strings: Vec<Vec<u8>> = (0..rng.index(5)).map(|_| draw(&mut rng, max)).collect();
            let sources: Vec<&[u8]> = strings.iter().map(Vec::as_slice).collect();
            let len = sources.iter().map(|s| s.len()).max().unwrap_or(0);
            for op in [BitOp::And, BitOp::Or, BitOp::Xor] {
                let want: Vec<u8> = (0..len)
                    .map(|n| {
                        let bytes = sources.iter().map(|s| s.get(n).copied().unwrap_or(0));
                        bytes
                            .reduce(|a, b| match op {
                                BitOp::And => a & b,
                                BitOp::Or => a | b,
                                BitOp::Xor => a ^ b,
                            })
                            .expect("a longest string exists")
                    })
                    .collect();
                assert!(combine(op, &sources) == want, "{op:?}");
            }
        }
    }

    #[test]
    fn inverting() {
        assert_eq!(invert(b"\x00\xff\x0f"), b"\xff\x00\xf0");
        assert_eq!(invert(b""), b"");
    }
}
