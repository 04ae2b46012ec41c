//! Passwords: kept as SHA-256 in hexadecimal digits, as they are shown and saved, and compared in a time
//! that tells nothing.

use sha2::{Digest, Sha256};

/// The digest of a password, in lower-case hexadecimal digits.
pub type Hash = [u8; 64];

pub fn hash(password: &[u8]) -> Hash {
    let mut text = [0; 64];
    for (pair, byte) in text.chunks_exact_mut(2).zip(Sha256::digest(password)) {
        for (digit, half) in pair.iter_mut().zip([byte >> 4, byte & 15]) {
            *digit = b"0123456789abcdef"[usize::from(half)];
        }
    }
    text
}

/// A digest as it was written down.
pub fn parse(text: &[u8]) -> Option<Hash> {
    let hash = Hash::try_from(text).ok()?;
    hash.iter().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')).then_some(hash)
}

/// Takes as long whatever the digests are.
fn same(a: &Hash, b: &Hash) -> bool {
    let differ = a.iter().zip(b).fold(0, |differ, (a, b)| differ | (a ^ b));
    std::hint::black_box(differ) == 0
}

/// Is the password one of these? All are compared, whichever it is.
pub fn is_one_of(password: &[u8], hashes: &[Hash]) -> bool {
    let given = hash(password);
    hashes.iter().fold(false, |found, known| found | same(&given, known))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digests_are_those_of_sha_256() {
        let abc = b"ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(&hash(b"abc"), abc);
        assert_eq!(parse(abc), Some(*abc));
        assert_eq!(parse(&abc.to_ascii_uppercase()), None);
        assert!(parse(&abc[1..]).is_none() && parse(b"").is_none());
    }

    #[test]
    fn a_password_is_found_among_others() {
        let known = [hash(b"one"), hash(b""), hash(b"a\0b")];
        assert!(is_one_of(b"one", &known) && is_one_of(b"", &known) && is_one_of(b"a\0b", &known));
        assert!(!is_one_of(b"two", &known) && !is_one_of(b"a\0c", &known) && !is_one_of(b"x", &[]));
    }
}
