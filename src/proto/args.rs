//! A request's arguments: slices of the query buffer (or of a script's, a transaction's, a file's
//! memory), which the caller keeps alive for the time of the call. The hash of the first key travels
//! along, computed once when the request was parsed ahead.

use crate::ds::hash::{FREE_BITS, key_hash};
use std::ops::{Deref, Index};

/// A key with its hash under the process's seed, the slot of a cluster included.
#[derive(Clone, Copy, Debug)]
pub struct Key<'a> {
    pub bytes: &'a [u8],
    pub hash: u64,
}

impl<'a> Key<'a> {
    #[inline]
    pub fn new(bytes: &'a [u8]) -> Self {
        Key { bytes, hash: key_hash(bytes) }
    }
}

#[derive(Clone, Copy, Debug)]
pub struct Args<'a> {
    v: &'a [&'a [u8]],
    /// The request that the arguments were cut out of; empty when they were not.
    raw: &'a [u8],
    /// Index of the argument whose hash is known; 0 (the name) for none.
    hashed: usize,
    hash: u64,
}

const _: () = assert!(size_of::<&[u8]>() == 16);

impl<'a> Args<'a> {
    pub fn new(v: &'a [&'a [u8]]) -> Self {
        Args { v, raw: &[], hashed: 0, hash: 0 }
    }

    /// With the hash of argument `at`, computed before.
    #[inline]
    pub fn with_hash(v: &'a [&'a [u8]], at: usize, hash: u64) -> Self {
        let of_key = |at: usize| key_hash(v[at]) >> FREE_BITS;
        debug_assert!(at == 0 || at >= v.len() || hash >> FREE_BITS == of_key(at));
        Args { v, raw: &[], hashed: at, hash }
    }

    /// With the bytes of the multibulk request that the arguments were parsed from.
    #[inline]
    pub fn of_request(mut self, raw: &'a [u8]) -> Self {
        self.raw = raw;
        self
    }

    /// The request as it came, when encoding the arguments would give just those bytes. The parser takes
    /// only numbers in their shortest form, but does not look at what stands where line ends belong.
    pub fn canonical(&self) -> Option<&'a [u8]> {
        let ends = |at: usize| self.raw.get(at..at + 2) == Some(b"\r\n");
        let mut at = head_len(self.v.len());
        if !ends(at) {
            return None;
        }
        for a in self.v {
            at += 2 + head_len(a.len());
            if !ends(at) || !ends(at + 2 + a.len()) {
                return None;
            }
            at += 2 + a.len();
        }
        (at + 2 == self.raw.len()).then_some(self.raw)
    }

    /// Argument `i` as a key.
    #[inline]
    pub fn key(&self, i: usize) -> Key<'a> {
        if i == self.hashed && i != 0 {
            Key { bytes: self.v[i], hash: self.hash }
        } else {
            Key::new(self.v[i])
        }
    }

    #[inline]
    pub fn slice(&self) -> &'a [&'a [u8]] {
        self.v
    }

    /// Everything from argument `i` on; empty past the end.
    pub fn from(&self, i: usize) -> &'a [&'a [u8]] {
        self.v.get(i..).unwrap_or(&[])
    }

    /// Copies that outlive the call.
    pub fn to_owned(&self) -> Vec<Box<[u8]>> {
        self.v.iter().map(|a| Box::from(*a)).collect()
    }
}

impl<'a> Deref for Args<'a> {
    type Target = [&'a [u8]];
    #[inline]
    fn deref(&self) -> &[&'a [u8]] {
        self.v
    }
}

impl<'a> Index<usize> for Args<'a> {
    type Output = &'a [u8];
    #[inline]
    fn index(&self, i: usize) -> &&'a [u8] {
        &self.v[i]
    }
}

/// Bytes of `*n` or `$n`.
#[inline]
fn head_len(n: usize) -> usize {
    match n {
        0..10 => 2,
        10..100 => 3,
        _ => 2 + n.ilog10() as usize,
    }
}

/// Gives the room of an emptied argument vector on to the next batch, whose slices live elsewhere.
pub fn recycle<'b>(mut v: Vec<&[u8]>) -> Vec<&'b [u8]> {
    v.clear();
    // An empty iterator collected in place: the allocation is kept, nothing is copied.
    v.into_iter().map(|_| -> &'b [u8] { unreachable!("the vector was just cleared") }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn recycling_keeps_the_room() {
        let mut v: Vec<&[u8]> = Vec::with_capacity(100);
        v.push(b"x");
        let v: Vec<&'static [u8]> = recycle(v);
        assert!(v.is_empty() && v.capacity() >= 100);
    }

    #[test]
    fn a_request_is_canonical_when_encoding_it_gives_its_bytes() {
        let long = [b'x'; 12_345];
        let many = [&b"m"[..]; 101];
        for v in [&[&b"get"[..], b"", b"k"][..], &[b"SET", b"0123456789", &long], &[b"\r\n"], &many] {
            let mut raw = format!("*{}\r\n", v.len()).into_bytes();
            for a in v {
                raw.extend_from_slice(format!("${}\r\n", a.len()).as_bytes());
                raw.extend_from_slice(&[a, &b"\r\n"[..]].concat());
            }
            assert_eq!(Args::new(v).of_request(&raw).canonical(), Some(&raw[..]));
            assert_eq!(Args::new(v).canonical(), None);
            let lines: Vec<usize> =
                (0..raw.len() - 1).filter(|i| raw[*i..].starts_with(b"\r\n")).collect();
            for at in [lines[0], lines[1], raw.len() - 2] {
                let mut odd = raw.clone();
                odd[at + 1] = b'x';
                assert_eq!(Args::new(v).of_request(&odd).canonical(), None, "line end at {at}");
            }
            assert_eq!(Args::new(v).of_request(&raw[..raw.len() - 1]).canonical(), None);
            raw.push(b'x');
            assert_eq!(Args::new(v).of_request(&raw).canonical(), None);
        }
    }

    #[test]
    fn a_known_hash_is_used_for_its_argument_only() {
        let v: Vec<&[u8]> = vec![b"get", b"k", b"l"];
        let args = Args::with_hash(&v, 1, key_hash(b"k"));
        let hashes = [args.key(1).hash, args.key(2).hash].map(|h| h >> FREE_BITS);
        assert_eq!(hashes, [key_hash(b"k"), key_hash(b"l")].map(|h| h >> FREE_BITS));
    }
}
