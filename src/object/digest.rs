//! The fingerprint of values, as DEBUG DIGEST and DEBUG DIGEST-VALUE show it: SHA-1 sums that are mixed
//! where order matters and combined by exclusive or where it does not. Two servers with the same data
//! show the same one.
//!
//! ```text
//! value:  mix(type, big endian) then by type, then xor("!!expire!!") when the key has a TTL
//! key:    mix(name), value
//! db:     mix(number) into the sum of all, then xor of each key's
//! ```
//!
//! Each type adds its content by `ValueKind::digest`: lists mix each element, sets xor them, hashes and
//! sorted sets xor a digest of each pair, streams mix ids, fields and values.

use super::value::{StrRef, Value};
use crate::ds::entry::{EntryRef, ty};
use sha1::{Digest as _, Sha1};

#[derive(Clone, Copy, Default, Debug, PartialEq, Eq)]
pub struct Digest(pub [u8; 20]);

fn sha1(data: &[u8]) -> [u8; 20] {
    Sha1::digest(data).into()
}

impl Digest {
    /// Adds something whose place among others does not matter.
    pub fn xor(&mut self, data: &[u8]) {
        self.0.iter_mut().zip(sha1(data)).for_each(|(mine, theirs)| *mine ^= theirs);
    }

    /// Adds something that comes after all that was added before.
    pub fn mix(&mut self, data: &[u8]) {
        self.xor(data);
        self.0 = sha1(&self.0);
    }

    pub fn hex(&self) -> String {
        self.0.iter().map(|b| format!("{b:02x}")).collect()
    }

    /// Adds the value of an entry.
    pub fn value(&mut self, e: EntryRef<'_>) {
        self.mix(&u32::from(e.ty()).to_be_bytes());
        match e.ty() {
            ty::STRING => {
                let mut room = itoa::Buffer::new();
                self.mix(StrRef::of(e).expect("a string").bytes(&mut room));
            }
            _ => Value::lent(e).digest(self),
        }
        if e.when().is_some() {
            self.xor(b"!!expire!!");
        }
    }

    /// Adds a key with its value.
    pub fn entry(&mut self, e: EntryRef<'_>) {
        let mut d = Digest::default();
        d.mix(e.key());
        d.value(e);
        self.xor(&d.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn order_matters_where_it_should() {
        let of = |f: fn(&mut Digest, &[u8]), parts: [&[u8]; 2]| {
            let mut d = Digest::default();
            parts.iter().for_each(|p| f(&mut d, p));
            d
        };
        assert_eq!(of(Digest::xor, [b"a", b"b"]), of(Digest::xor, [b"b", b"a"]));
        assert_ne!(of(Digest::mix, [b"a", b"b"]), of(Digest::mix, [b"b", b"a"]));
        assert_ne!(of(Digest::mix, [b"foo", b"bar"]), of(Digest::mix, [b"fo", b"obar"]));
        assert_eq!(Digest::default().hex(), "0".repeat(40));
    }
}
