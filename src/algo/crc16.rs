//! CRC-16/XMODEM, and with it the hash slot of a key in a cluster.
//!
//! Polynomial 0x1021, initial value 0, nothing reflected, nothing inverted; "123456789" gives 0x31C3. A
//! slot is the checksum's lower 14 bits, so there are 16,384.
//!
//! Only the hash tag of a key is hashed, if it has one: what stands between the first `{` and the first
//! `}` after it, unless that is nothing. So clients can put related keys into one slot:
//!
//! ```text
//!   user:1000            all of it          {user1000}.following     user1000
//!   foo{}{bar}           all of it          foo{{bar}}zap            {bar
//!   foo{bar              all of it          foo{bar}{zap}            bar
//! ```
//!
//! Eight tables of 256 entries give eight bytes per round: table `n` holds the checksum of a byte with
//! `n` zero bytes behind it. They are made at compile time.

/// How many hash slots a cluster has.
pub const SLOTS: u16 = 16384;

const POLYNOMIAL: u16 = 0x1021;

static TABLES: [[u16; 256]; 8] = make_tables();

const fn make_tables() -> [[u16; 256]; 8] {
    let mut tables = [[0u16; 256]; 8];
    let mut byte = 0;
    while byte < 256 {
        let mut crc = (byte as u16) << 8;
        let mut bit = 0;
        while bit < 8 {
            let carry = crc >> 15;
            crc = (crc << 1) ^ (POLYNOMIAL * carry);
            bit += 1;
        }
        tables[0][byte] = crc;
        byte += 1;
    }
    let mut n = 1;
    while n < 8 {
        let mut byte = 0;
        while byte < 256 {
            let before = tables[n - 1][byte];
            tables[n][byte] = (before << 8) ^ tables[0][(before >> 8) as usize];
            byte += 1;
        }
        n += 1;
    }
    tables
}

/// The CRC-16/XMODEM checksum of `bytes`.
pub fn crc16(bytes: &[u8]) -> u16 {
    let (chunks, tail) = bytes.as_chunks::<8>();
    let mut crc = 0u16;
    for chunk in chunks {
        // Byte by byte: `map` over an array is left as a loop of calls where it is not inlined.
        let of = |n: usize, byte: u8| TABLES[n][usize::from(byte)];
        let [high, low] = crc.to_be_bytes();
        crc = of(7, chunk[0] ^ high)
            ^ of(6, chunk[1] ^ low)
            ^ of(5, chunk[2])
            ^ of(4, chunk[3])
            ^ of(3, chunk[4])
            ^ of(2, chunk[5])
            ^ of(1, chunk[6])
            ^ of(0, chunk[7]);
    }
    tail.iter().fold(crc, |crc, &byte| {
        let [high, low] = crc.to_be_bytes();
        TABLES[0][usize::from(high ^ byte)] ^ (u16::from(low) << 8)
    })
}

/// The part of `key` that decides on its slot.
pub fn hash_tag(key: &[u8]) -> &[u8] {
    let tag = memchr::memchr(b'{', key).and_then(|open| {
        let rest = key.get(open + 1..)?;
        rest.get(..memchr::memchr(b'}', rest)?)
    });
    tag.filter(|tag| !tag.is_empty()).unwrap_or(key)
}

/// The hash slot of a key (or of a shard channel), in `0..SLOTS`.
#[inline]
pub fn key_slot(key: &[u8]) -> u16 {
    crc16(hash_tag(key)) % SLOTS
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::algo::rng::Rng;

    fn naive(bytes: &[u8]) -> u16 {
        let mut crc = 0u16;
        for &byte in bytes {
            for bit in (0..8).rev() {
                let carry = (crc >> 15) ^ u16::from(byte >> bit & 1);
                crc = (crc << 1) ^ if carry == 1 { POLYNOMIAL } else { 0 };
            }
        }
        crc
    }

    #[test]
    fn the_check_value() {
        assert_eq!(crc16(b"123456789"), 0x31c3);
        assert_eq!(crc16(b""), 0);
    }

    #[test]
    fn agrees_with_the_naive_twin() {
        let mut rng = Rng::seeded(1);
        for len in 0..300 {
            let mut bytes = vec![0; len];
            rng.fill(&mut bytes);
            assert_eq!(crc16(&bytes), naive(&bytes));
        }
    }

    #[test]
    fn tags() {
        for (key, tag) in [
            ("user:1000", "user:1000"),
            ("{user1000}.following", "user1000"),
            ("foo{}{bar}", "foo{}{bar}"),
            ("foo{{bar}}zap", "{bar"),
            ("foo{bar}{zap}", "bar"),
            ("foo{bar", "foo{bar"),
            ("foo}bar{", "foo}bar{"),
            ("}{a}", "a"),
            ("{", "{"),
            ("", ""),
        ] {
            assert_eq!(hash_tag(key.as_bytes()), tag.as_bytes(), "{key}");
        }
    }

    /// As CLUSTER KEYSLOT answers.
    #[test]
    fn known_slots() {
        for (key, slot) in [("foo", 12182), ("bar", 5061), ("hello", 866), ("", 0), ("{foo}x", 12182)] {
            assert_eq!(key_slot(key.as_bytes()), slot, "{key}");
        }
    }
}
