//! `notify-keyspace-events`: letters on the outside, bits within.
//!
//! `A` stands for the classes of [`ALL`]. Key misses (`m`) and new keys (`n`) are no part of it, and `n` is
//! printed only beside single letters, so a set that holds all of `A` prints without it, as upstream does.

pub const KEYSPACE: u32 = 1 << 0;
pub const KEYEVENT: u32 = 1 << 1;
pub const GENERIC: u32 = 1 << 2;
pub const STRING: u32 = 1 << 3;
pub const LIST: u32 = 1 << 4;
pub const SET: u32 = 1 << 5;
pub const HASH: u32 = 1 << 6;
pub const ZSET: u32 = 1 << 7;
pub const EXPIRED: u32 = 1 << 8;
pub const EVICTED: u32 = 1 << 9;
pub const STREAM: u32 = 1 << 10;
pub const KEY_MISS: u32 = 1 << 11;
pub const MODULE: u32 = 1 << 13;
pub const NEW: u32 = 1 << 14;
pub const ALL: u32 = GENERIC | STRING | LIST | SET | HASH | ZSET | EXPIRED | EVICTED | STREAM | MODULE;

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
