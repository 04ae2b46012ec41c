//! Entry IDs: milliseconds and a sequence number, compared in this order.
//!
//! ```text
//!   text   1526919030474-55   1526919030474   -   +          ms-*, * where an entry is added
//!   key    ms, 8 bytes big endian | seq, 8 bytes big endian     so that trees keep the order of IDs
//! ```
//!
//! A text ends at its first NUL and has at most 127 bytes. Each part is read as loosely as upstream
//! reads it (`parse_u64`).

use crate::algo::num::parse_u64;
use std::ops::Deref;

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default)]
pub struct Id {
    pub ms: u64,
    pub seq: u64,
}

/// What XADD is asked for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Wish {
    /// `*`
    Auto,
    /// `ms-*`
    Within(u64),
    /// All of it. A time alone means sequence number 0.
    Exact(Id),
}

/// Longer texts are no IDs.
const TEXT_MAX: usize = 127;

impl Id {
    pub const MIN: Id = Id { ms: 0, seq: 0 };
    pub const MAX: Id = Id { ms: u64::MAX, seq: u64::MAX };

    pub const fn new(ms: u64, seq: u64) -> Id {
        Id { ms, seq }
    }

    pub fn is_zero(self) -> bool {
        self == Id::MIN
    }

    /// The next one; None after the last.
    pub fn after(self) -> Option<Id> {
        match self.seq.checked_add(1) {
            Some(seq) => Some(Id { seq, ..self }),
            None => Some(Id::new(self.ms.checked_add(1)?, 0)),
        }
    }

    /// The one before; None before the first.
    pub fn before(self) -> Option<Id> {
        match self.seq.checked_sub(1) {
            Some(seq) => Some(Id { seq, ..self }),
            None => Some(Id::new(self.ms.checked_sub(1)?, u64::MAX)),
        }
    }

    #[inline]
    pub fn key(self) -> [u8; 16] {
        (u128::from(self.ms) << 64 | u128::from(self.seq)).to_be_bytes()
    }

    /// The ID that a key of 16 bytes spells.
    #[inline]
    pub fn from_key(key: &[u8]) -> Option<Id> {
        let (ms, seq) = key.split_first_chunk::<8>()?;
        Some(Id::new(u64::from_be_bytes(*ms), u64::from_be_bytes(seq.try_into().ok()?)))
    }

    /// An ID in full, or a time alone, which gets the sequence number `missing`.
    pub fn parse(text: &[u8], missing: u64) -> Option<Id> {
        let (ms, seq) = parts(text)?;
        Some(Id::new(parse_u64(ms)?, seq.map_or(Some(missing), parse_u64)?))
    }

    /// The same, where `-` and `+` stand for the first and the last of all.
    pub fn parse_edge(text: &[u8], missing: u64) -> Option<Id> {
        match text.split(|b| *b == 0).next() {
            Some(b"-") => Some(Id::MIN),
            Some(b"+") => Some(Id::MAX),
            _ => Id::parse(text, missing),
        }
    }

    pub fn text(self) -> IdText {
        let mut t = IdText { bytes: [0; IdText::ROOM], len: 0 };
        let mut room = itoa::Buffer::new();
        t.push(room.format(self.ms).as_bytes());
        t.push(b"-");
        t.push(room.format(self.seq).as_bytes());
        t
    }
}

impl Wish {
    pub fn parse(text: &[u8]) -> Option<Wish> {
        match parts(text)? {
            (ms, Some(b"*")) => Some(Wish::Within(parse_u64(ms)?)),
            _ => Id::parse(text, 0).map(Wish::Exact),
        }
    }
}

/// What stands before the first dash, and behind it.
fn parts(text: &[u8]) -> Option<(&[u8], Option<&[u8]>)> {
    if text.len() > TEXT_MAX {
        return None;
    }
    let text = text.split(|b| *b == 0).next()?;
    match memchr::memchr(b'-', text) {
        Some(at) => Some((text.get(..at)?, Some(text.get(at + 1..)?))),
        None => Some((text, None)),
    }
}

/// An ID as it is shown.
#[derive(Clone, Copy)]
pub struct IdText {
    bytes: [u8; IdText::ROOM],
    len: usize,
}

impl IdText {
    /// Twice the digits of a u64, and a dash.
    const ROOM: usize = 41;

    #[inline]
    fn push(&mut self, piece: &[u8]) {
        self.bytes[self.len..self.len + piece.len()].copy_from_slice(piece);
        self.len += piece.len();
    }
}

impl Deref for IdText {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        &self.bytes[..self.len]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_read_as_loosely_as_they_always_were() {
        let last = u64::MAX;
        for (text, want) in [
            ("5-6", Some((5, 6))),
            ("5", Some((5, 9))),
            ("007- 8", Some((7, 8))),
            ("+5-+6", Some((5, 6))),
            ("1--01", Some((1, last))),
            ("1--1", None),
            ("18446744073709551615-18446744073709551615", Some((last, last))),
            ("18446744073709551616", None),
            ("5-6\0x", Some((5, 6))),
            ("-", None),
            ("+", None),
            ("", None),
            ("-5", None),
            ("5-", None),
            ("5-*", None),
            ("x-1", None),
        ] {
            let want = want.map(|(ms, seq)| Id::new(ms, seq));
            assert_eq!(Id::parse(text.as_bytes(), 9), want, "{text:?}");
        }
        let long = |zeros: usize| Id::parse(&[vec![b'0'; zeros], b"7".to_vec()].concat(), 0);
        assert_eq!((long(126), long(127)), (Some(Id::new(7, 0)), None));
        assert_eq!(Id::parse_edge(b"-", 0), Some(Id::MIN));
        assert_eq!(Id::parse_edge(b"+\0x", 0), Some(Id::MAX));
        assert_eq!(Wish::parse(b"5-*"), Some(Wish::Within(5)));
        assert_eq!(Wish::parse(b"5"), Some(Wish::Exact(Id::new(5, 0))));
        assert_eq!((Wish::parse(b"*"), Wish::parse(b"-*")), (None, None));
    }

    #[test]
    fn neighbours_keys_and_texts_agree() {
        let ids = [
            Id::MIN,
            Id::new(0, u64::MAX),
            Id::new(1, 0),
            Id::new(1_526_919_030_474, 55),
            Id::new(u64::MAX, 0),
            Id::MAX,
        ];
        for id in ids {
            assert_eq!(Id::from_key(&id.key()), Some(id));
            assert_eq!(Id::parse(&id.text(), 0), Some(id));
            assert_eq!(id.after().and_then(Id::before), id.after().map(|_| id));
        }
        assert!(ids.is_sorted() && ids.is_sorted_by_key(|id| id.key()));
        assert_eq!((Id::MIN.before(), Id::MAX.after()), (None, None));
        assert_eq!(Id::new(0, u64::MAX).after(), Some(Id::new(1, 0)));
        assert_eq!((Id::from_key(b"short"), Id::from_key(&[0; 17])), (None, None));
    }
}
