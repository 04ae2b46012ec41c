//! CRC-64/Jones: the checksum at the end of every RDB file and DUMP payload.
//!
//! Polynomial 0xad93d23594c935a9, initial value 0, input and output reflected, nothing inverted;
//! "123456789" gives 0xe9c6d914c4b8d9ca. Checksums chain: `update(update(0, a), b)` is that of `a` then
//! `b`, so writers keep a running one.
//!
//! Sixteen tables of 256 entries, made at compile time, give sixteen bytes per round: table `n` holds
//! the checksum of a byte with `n` zero bytes behind it. Since only the first half of a round depends
//! on the round before, the lookups of the second half overlap with it.

/// The polynomial with its bits in reverse, as a reflected checksum shifts to the right.
const POLYNOMIAL: u64 = 0xad93_d235_94c9_35a9u64.reverse_bits();

static TABLES: [[u64; 256]; 16] = make_tables();

const fn make_tables() -> [[u64; 256]; 16] {
    let mut tables = [[0u64; 256]; 16];
    let mut byte = 0;
    while byte < 256 {
        let mut crc = byte as u64;
        let mut bit = 0;
        while bit < 8 {
            crc = (crc >> 1) ^ (POLYNOMIAL * (crc & 1));
            bit += 1;
        }
        tables[0][byte] = crc;
        byte += 1;
    }
    let mut n = 1;
    while n < 16 {
        let mut byte = 0;
        while byte < 256 {
            let before = tables[n - 1][byte];
            tables[n][byte] = (before >> 8) ^ tables[0][(before & 0xff) as usize];
            byte += 1;
        }
        n += 1;
    }
    tables
}

/// The checksum of a word that ends `behind` bytes before the end of the round.
#[inline]
fn word_at(word: u64, behind: usize) -> u64 {
    let bytes = word.to_le_bytes();
    (0..8).fold(0, |crc, n| crc ^ TABLES[behind + 7 - n][usize::from(bytes[n])])
}

/// The checksum of what `crc` covers followed by `bytes`; start with 0.
pub fn update(crc: u64, bytes: &[u8]) -> u64 {
    let (rounds, rest) = bytes.as_chunks::<16>();
    let (words, tail) = rest.as_chunks::<8>();
    let crc = rounds.iter().fold(crc, |crc, round| {
        let wide = u128::from_le_bytes(*round);
        word_at((wide >> 64) as u64, 0) ^ word_at(crc ^ wide as u64, 8)
    });
    let crc = words.iter().fold(crc, |crc, word| word_at(crc ^ u64::from_le_bytes(*word), 0));
    tail.iter().fold(crc, |crc, &byte| (crc >> 8) ^ TABLES[0][usize::from(crc.to_le_bytes()[0] ^ byte)])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::algo::rng::Rng;

    fn naive(bytes: &[u8]) -> u64 {
        let mut crc = 0u64;
        for &byte in bytes {
            for bit in 0..8 {
                let carry = (crc ^ u64::from(byte >> bit)) & 1;
                crc = (crc >> 1) ^ if carry == 1 { POLYNOMIAL } else { 0 };
            }
        }
        crc
    }

    #[test]
    fn check_values() {
        assert_eq!(update(0, b"123456789"), 0xe9c6_d914_c4b8_d9ca);
        assert_eq!(update(0, b""), 0);
        assert_eq!(update(0, b"The quick brown fox jumps over the lazy dog"), 0xbf7e_e596_c3aa_372b);
    }

    #[test]
    fn agrees_with_the_naive_twin_and_chains() {
        let mut rng = Rng::seeded(1);
        for len in 0..400 {
            let mut bytes = vec![0; len];
            rng.fill(&mut bytes);
            let want = naive(&bytes);
            assert_eq!(update(0, &bytes), want);
            let (head, tail) = bytes.split_at(rng.index(len + 1));
            assert_eq!(update(update(0, head), tail), want);
        }
    }
}
