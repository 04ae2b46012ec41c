//! Reading a snapshot: a pull parser over bytes that nobody has to trust.
//!
//! Ways to be broken, each an error that says where: a wrong magic or a newer version, a length or a
//! string past the end, an encoding or a type that is unknown here (those of Redis before 7 are), a
//! collection that is not sound or is empty, a checksum that differs. Nothing is allocated from a size
//! before the bytes behind it are there.

mod stream;

use super::{NODE_PACKED, NODE_PLAIN, VERSION, kind, op};
use crate::algo::{crc64, lzf};
use crate::ds::intset::Intset;
use crate::ds::listpack::Listpack;
use crate::ds::quicklist::Quicklist;
use crate::object::value::{Value, Variant};
use crate::object::zset::{Rules, Zset};
use crate::object::{Limits, hash::Hash, list::List, set::Set};

pub enum Loaded {
    Bytes(Vec<u8>),
    Value(Value),
}

pub enum Item {
    SelectDb(usize),
    /// Keys and keys with a TTL that are going to come.
    Resize(u64, u64),
    Key {
        name: Vec<u8>,
        when: Option<i64>,
        value: Loaded,
    },
}

pub struct Loader<'a> {
    bytes: &'a [u8],
    at: usize,
    limits: Limits,
    checksum: bool,
}

type Result<T> = std::result::Result<T, String>;

/// A string that grows by more than this is no LZF.
const LZF_RATIO: usize = 300;

impl<'a> Loader<'a> {
    pub fn new(bytes: &'a [u8], limits: Limits, checksum: bool) -> Result<Self> {
        let head = bytes.get(..9).ok_or("the file is too short")?;
        let digits = head.strip_prefix(b"REDIS").ok_or("wrong signature trying to load DB from file")?;
        let version: u32 = std::str::from_utf8(digits).ok().and_then(|d| d.parse().ok()).unwrap_or(0);
        if !(1..=VERSION).contains(&version) {
            return Err(format!("can't handle RDB format version {version}"));
        }
        Ok(Loader { bytes, at: 9, limits, checksum })
    }

    fn take(&mut self, n: usize) -> Result<&'a [u8]> {
        let end = self.at.checked_add(n).ok_or("a length past the end")?;
        let b = self
            .bytes
            .get(self.at..end)
            .ok_or(format!("the file ends inside a value at byte {}", self.at))?;
        self.at = end;
        Ok(b)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N]> {
        let b = self.take(N)?;
        b.try_into().map_err(|_| "a short read".to_string())
    }

    fn byte(&mut self) -> Result<u8> {
        Ok(self.array::<1>()?[0])
    }

    /// A length, or the number of a string's encoding.
    fn length_or_encoding(&mut self) -> Result<std::result::Result<u64, u8>> {
        let b = self.byte()?;
        Ok(match b >> 6 {
            0 => Ok(u64::from(b & 0x3f)),
            1 => Ok(u64::from(b & 0x3f) << 8 | u64::from(self.byte()?)),
            2 if b == 0x80 => Ok(u64::from(u32::from_be_bytes(self.array()?))),
            2 if b == 0x81 => Ok(u64::from_be_bytes(self.array()?)),
            2 => return Err(format!("unknown length encoding {b:#x} at byte {}", self.at)),
            _ => Err(b & 0x3f),
        })
    }

    fn length(&mut self) -> Result<u64> {
        self.length_or_encoding()?
            .map_err(|e| format!("encoding {e} where a length stands, at byte {}", self.at))
    }

    fn string(&mut self) -> Result<Vec<u8>> {
        let text = |n: i64| n.to_string().into_bytes();
        match self.length_or_encoding()? {
            Ok(n) => Ok(self.take(usize::try_from(n).map_err(|_| "a length past the end")?)?.to_vec()),
            Err(0) => Ok(text(i64::from(i8::from_le_bytes(self.array()?)))),
            Err(1) => Ok(text(i64::from(i16::from_le_bytes(self.array()?)))),
            Err(2) => Ok(text(i64::from(i32::from_le_bytes(self.array()?)))),
            Err(3) => {
                let (packed, size) = (self.length()?, self.length()?);
                let packed = self.take(usize::try_from(packed).map_err(|_| "a length past the end")?)?;
                let size = usize::try_from(size).unwrap_or(usize::MAX);
                if size > packed.len().saturating_mul(LZF_RATIO) {
                    return Err(format!("a compressed string of impossible size at byte {}", self.at));
                }
                lzf::decompress(packed, size).ok_or(format!("broken compression at byte {}", self.at))
            }
            Err(e) => Err(format!("unknown string encoding {e} at byte {}", self.at)),
        }
    }

    /// The next item; None at a sound end.
    pub fn next_item(&mut self) -> Result<Option<Item>> {
        let mut when = None;
        loop {
            match self.byte()? {
                op::AUX => {
                    self.string()?;
                    self.string()?;
                }
                op::RESIZE_DB => return Ok(Some(Item::Resize(self.length()?, self.length()?))),
                op::SELECT_DB => {
                    let n = usize::try_from(self.length()?).map_err(|_| "a database past all bounds")?;
                    return Ok(Some(Item::SelectDb(n)));
                }
                op::EXPIRE_MS => when = Some(i64::from_le_bytes(self.array()?)),
                op::EXPIRE => {
                    when = Some(i64::from(i32::from_le_bytes(self.array()?)).saturating_mul(1000))
                }
                op::IDLE => {
                    self.length()?;
                }
                op::FREQ => {
                    self.byte()?;
                }
                op::EOF => return self.end().map(|()| None),
                t => {
                    let name = self.string()?;
                    let value = self.value(t)?;
                    return Ok(Some(Item::Key { name, when, value }));
                }
            }
        }
    }

    fn end(&mut self) -> Result<()> {
        let at = self.at;
        let stored = u64::from_le_bytes(self.array()?);
        let seen = self.bytes.get(..at).map_or(0, |b| crc64::update(0, b));
        if self.checksum && stored != 0 && stored != seen {
            return Err("wrong RDB checksum".into());
        }
        Ok(())
    }

    fn value(&mut self, t: u8) -> Result<Loaded> {
        let value = match t {
            kind::STRING => return self.string().map(Loaded::Bytes),
            kind::LIST_QUICKLIST_2 => self.list()?.wrap(),
            kind::SET => self.set()?.wrap(),
            kind::SET_INTSET => {
                let b = self.string()?;
                Set::Ints(Intset::from_bytes(&b).map_err(|e| format!("{e:?} at byte {}", self.at))?)
                    .wrap()
            }
            kind::SET_LISTPACK => Set::Packed(self.listpack()?).wrap(),
            kind::HASH => self.hash()?.wrap(),
            kind::HASH_LISTPACK => Hash::Packed(self.pairs()?).wrap(),
            kind::ZSET_2 => self.zset()?.wrap(),
            kind::ZSET_LISTPACK => Zset::Packed(self.pairs()?).wrap(),
            kind::STREAM_LISTPACKS | kind::STREAM_LISTPACKS_2 | kind::STREAM_LISTPACKS_3 => {
                self.stream(t)?.wrap()
            }
            t => {
                return Err(format!(
                    "value type {t} at byte {} cannot be loaded by this version",
                    self.at
                ));
            }
        };
        if value.is_empty() {
            return Err(format!("an empty collection at byte {}", self.at));
        }
        Ok(Loaded::Value(value))
    }

    fn listpack(&mut self) -> Result<Listpack> {
        let b = self.string()?;
        Listpack::from_bytes(&b).map_err(|e| format!("{e:?} at byte {}", self.at))
    }

    fn pairs(&mut self) -> Result<Listpack> {
        let l = self.listpack()?;
        if l.len().is_multiple_of(2) { Ok(l) } else { Err(format!("half a pair at byte {}", self.at)) }
    }

    fn list(&mut self) -> Result<List> {
        let mut q = Quicklist::new(self.limits.list.fill, self.limits.list.depth);
        for _ in 0..self.length()? {
            match self.length()? {
                NODE_PLAIN => q.append_plain(&self.string()?),
                NODE_PACKED => q.append_listpack(self.listpack()?),
                c => return Err(format!("unknown list container {c} at byte {}", self.at)),
            }
        }
        let mut l = List::Quick(Box::new(q));
        l.settle(&self.limits.list);
        Ok(l)
    }

    fn set(&mut self) -> Result<Set> {
        let n = self.length()?;
        let first = self.string()?;
        let hint = usize::try_from(n).unwrap_or(usize::MAX).min(self.bytes.len());
        let mut s = Set::for_member(&first, hint, &self.limits.set);
        s.add(&first, &self.limits.set);
        for _ in 1..n {
            let m = self.string()?;
            s.add(&m, &self.limits.set);
        }
        Ok(s)
    }

    fn hash(&mut self) -> Result<Hash> {
        let mut h = Hash::default();
        for _ in 0..self.length()? {
            let (f, v) = (self.string()?, self.string()?);
            h.prepare(&[&f, &v], &self.limits.hash);
            h.set(&f, &v, &self.limits.hash);
        }
        Ok(h)
    }

    fn zset(&mut self) -> Result<Zset> {
        let mut z = Zset::default();
        for _ in 0..self.length()? {
            let member = self.string()?;
            let score = f64::from_le_bytes(self.array()?);
            if score.is_nan() {
                return Err(format!("a score that is no number at byte {}", self.at));
            }
            z.add(&member, score, Rules::default(), &self.limits.zset);
        }
        Ok(z)
    }
}
