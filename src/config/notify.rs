//! `notify-keyspace-events`: letters on the outside, bits within.
//!
//! `A` stands for the classes of [`ALL`]. Key misses (`m`) and new keys (`n`) are no part of it, and
//! `n` is printed only beside single letters, so a set that holds all of `A` prints without it, as
//! upstream does.

use crate::keyspace::class::{
    ALL, EVICTED, EXPIRED, GENERIC, HASH, KEY_MISS, KEYEVENT, KEYSPACE, LIST, MODULE, NEW, SET, STREAM,
    STRING, ZSET,
};

/// The classes that `A` may stand for, in print order, and `n` behind them.
const CLASSES: &[(u8, u32)] = &[
    (b'g', GENERIC),
    (b'$', STRING),
    (b'l', LIST),
    (b's', SET),
    (b'h', HASH),
    (b'z', ZSET),
    (b'x', EXPIRED),
    (b'e', EVICTED),
    (b't', STREAM),
    (b'd', MODULE),
    (b'n', NEW),
];
/// What is printed behind the classes in any case.
const TAIL: &[(u8, u32)] = &[(b'K', KEYSPACE), (b'E', KEYEVENT), (b'm', KEY_MISS)];

/// The bits of a string of letters; `None` when one of them means nothing.
pub fn parse(letters: &[u8]) -> Option<u32> {
    let mut bits = 0;
    for &letter in letters {
        let known = CLASSES.iter().chain(TAIL).find(|(name, _)| *name == letter);
        bits |= match known {
            Some((_, bit)) => *bit,
            None if letter == b'A' => ALL,
            None => return None,
        };
    }
    Some(bits)
}

/// The letters of a set of bits.
pub fn letters(bits: u32) -> Vec<u8> {
    let shown = |list: &[(u8, u32)]| {
        list.iter().filter(|(_, bit)| bits & bit != 0).map(|(name, _)| *name).collect::<Vec<u8>>()
    };
    let mut out = if bits & ALL == ALL { vec![b'A'] } else { shown(CLASSES) };
    out.extend(shown(TAIL));
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn letters_and_bits() {
        for (given, printed) in [
            ("", ""),
            ("KEA", "AKE"),
            ("AnKEm", "AKEm"),
            ("g$lshzxetdn", "A"),
            ("g$lshzxet", "g$lshzxet"),
            ("Kn", "nK"),
            ("mEx", "xEm"),
        ] {
            let bits = parse(given.as_bytes()).expect("known letters");
            assert_eq!(letters(bits), printed.as_bytes(), "{given}");
        }
        assert_eq!(parse(b"KQ"), None);
        assert_eq!(parse(b"K\0"), None);
        assert_eq!(parse(b"A"), Some(ALL));
    }
}
