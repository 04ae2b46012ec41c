//! Writing a snapshot. Small collections are saved as the bytes they are.

mod stream;

use super::{NODE_PACKED, NODE_PLAIN, VERSION, kind, op};
use crate::algo::{crc64, lzf, num::parse_i64};
use crate::ds::entry::{EntryRef, ty};
use crate::ds::quicklist::NodeBytes;
use crate::keyspace::Keyspace;
use crate::object::stream::Stream;
use crate::object::{hash::Hash, list::List, set::Set, value::StrRef, value::View, zset::Zset};
use std::io::{self, Write};

/// Strings longer than this are worth a try to compress.
const COMPRESS_FROM: usize = 20;

/// Which figure of a key's use a snapshot carries: the one that the eviction policy goes by.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum UsageSaved {
    Nothing,
    /// For how long they have not been used.
    Idle,
    /// How often they were used.
    Freq,
}

pub struct SaveOptions {
    pub compress: bool,
    pub checksum: bool,
    pub usage: UsageSaved,
    /// Fields of the head, beside the version and the time.
    pub aux: Vec<(&'static str, String)>,
}

/// A writer that keeps the checksum of what went through.
struct Out<'w> {
    to: &'w mut dyn Write,
    crc: u64,
    options: &'w SaveOptions,
    /// Keys are written between type and value.
    keyed: bool,
}

/// Writes the code of all libraries and all databases; `saved` is called for every key, and stops the work
/// by an error.
pub fn save(
    ks: &Keyspace,
    functions: &[&[u8]],
    options: &SaveOptions,
    to: &mut dyn Write,
    mut saved: impl FnMut(EntryRef<'_>) -> io::Result<()>,
) -> io::Result<()> {
    let mut out = Out { to, crc: 0, options, keyed: true };
    out.raw(format!("REDIS{VERSION:04}").as_bytes())?;
    for (name, value) in &options.aux {
        out.raw(&[op::AUX])?;
        out.string(name.as_bytes())?;
        out.string(value.as_bytes())?;
    }
    out.functions(functions)?;
    for (n, db) in ks.iter().filter(|(_, db)| !db.is_empty()) {
        out.raw(&[op::SELECT_DB])?;
        out.length(n as u64)?;
        out.raw(&[op::RESIZE_DB])?;
        out.length(db.len() as u64)?;
        out.length(db.volatile() as u64)?;
        for e in db.iter() {
            if let Some(when) = e.when() {
                out.raw(&[op::EXPIRE_MS])?;
                out.raw(&when.to_le_bytes())?;
            }
            match options.usage {
                UsageSaved::Nothing => {}
                UsageSaved::Idle => {
                    out.raw(&[op::IDLE])?;
                    out.length(ks.idle_ms(e) / 1000)?;
                }
                UsageSaved::Freq => out.raw(&[op::FREQ, ks.lfu_counter(e) as u8])?,
            }
            out.value(e)?;
            saved(e)?;
        }
    }
    out.raw(&[op::EOF])?;
    let crc = if options.checksum { out.crc } else { 0 };
    out.to.write_all(&crc.to_le_bytes())
}

/// Counts what it is given.
#[derive(Default)]
struct Count(u64);

impl Write for Count {
    fn write(&mut self, b: &[u8]) -> io::Result<usize> {
        self.0 += b.len() as u64;
        Ok(b.len())
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Bytes of a value in a snapshot, without its type, key and time.
pub fn value_len(e: EntryRef<'_>, compress: bool) -> io::Result<u64> {
    let options = SaveOptions { compress, checksum: false, usage: UsageSaved::Nothing, aux: Vec::new() };
    let mut count = Count::default();
    Out { to: &mut count, crc: 0, options: &options, keyed: false }.value(e)?;
    // All but the byte of the type.
    Ok(count.0 - 1)
}

/// What DUMP replies: type and value as in a snapshot, the version, and the checksum of it all.
pub fn payload(e: EntryRef<'_>, compress: bool) -> io::Result<Vec<u8>> {
    let options = SaveOptions { compress, checksum: false, usage: UsageSaved::Nothing, aux: Vec::new() };
    let mut bytes = Vec::new();
    Out { to: &mut bytes, crc: 0, options: &options, keyed: false }.value(e)?;
    seal(&mut bytes);
    Ok(bytes)
}

/// What FUNCTION DUMP replies: the code of all libraries as in a snapshot, with the same end.
pub fn functions_payload(functions: &[&[u8]], compress: bool) -> io::Result<Vec<u8>> {
    let options = SaveOptions { compress, checksum: false, usage: UsageSaved::Nothing, aux: Vec::new() };
    let mut bytes = Vec::new();
    Out { to: &mut bytes, crc: 0, options: &options, keyed: false }.functions(functions)?;
    seal(&mut bytes);
    Ok(bytes)
}

/// Version and checksum at the end of a payload.
fn seal(bytes: &mut Vec<u8>) {
    bytes.extend_from_slice(&(VERSION as u16).to_le_bytes());
    let crc = crc64::update(0, bytes);
    bytes.extend_from_slice(&crc.to_le_bytes());
}

impl Out<'_> {
    fn raw(&mut self, b: &[u8]) -> io::Result<()> {
        if self.options.checksum {
            self.crc = crc64::update(self.crc, b);
        }
        self.to.write_all(b)
    }

    fn length(&mut self, n: u64) -> io::Result<()> {
        match n {
            0..0x40 => self.raw(&[n as u8]),
            0x40..0x4000 => self.raw(&[0x40 | (n >> 8) as u8, n as u8]),
            0x4000..=0xffff_ffff => {
                self.raw(&[0x80])?;
                self.raw(&(n as u32).to_be_bytes())
            }
            _ => {
                self.raw(&[0x81])?;
                self.raw(&n.to_be_bytes())
            }
        }
    }

    /// A number as a string, in as few bytes as it fits.
    fn integer(&mut self, n: i64) -> io::Result<()> {
        if let Ok(n) = i8::try_from(n) {
            self.raw(&[0xc0, n as u8])
        } else if let Ok(n) = i16::try_from(n) {
            self.raw(&[0xc1])?;
            self.raw(&n.to_le_bytes())
        } else if let Ok(n) = i32::try_from(n) {
            self.raw(&[0xc2])?;
            self.raw(&n.to_le_bytes())
        } else {
            let mut text = itoa::Buffer::new();
            self.plain(text.format(n).as_bytes())
        }
    }

    fn plain(&mut self, b: &[u8]) -> io::Result<()> {
        self.length(b.len() as u64)?;
        self.raw(b)
    }

    fn string(&mut self, b: &[u8]) -> io::Result<()> {
        if b.len() <= 11
            && let Some(n) = parse_i64(b)
        {
            return self.integer(n);
        }
        if self.options.compress && b.len() > COMPRESS_FROM {
            let mut packed = Vec::new();
            if lzf::compress(b, &mut packed, b.len() - 4) {
                return self.lzf(&packed, b.len());
            }
        }
        self.plain(b)
    }

    fn lzf(&mut self, packed: &[u8], len: usize) -> io::Result<()> {
        self.raw(&[0xc3])?;
        self.length(packed.len() as u64)?;
        self.length(len as u64)?;
        self.raw(packed)
    }

    fn functions(&mut self, codes: &[&[u8]]) -> io::Result<()> {
        for code in codes {
            self.raw(&[op::FUNCTION2])?;
            self.string(code)?;
        }
        Ok(())
    }

    fn double(&mut self, d: f64) -> io::Result<()> {
        self.raw(&d.to_le_bytes())
    }

    fn head(&mut self, kind: u8, e: EntryRef<'_>) -> io::Result<()> {
        self.raw(&[kind])?;
        if self.keyed { self.string(e.key()) } else { Ok(()) }
    }

    /// Type, key and value.
    fn value(&mut self, e: EntryRef<'_>) -> io::Result<()> {
        const MADE: &str = "the entry has this type";
        match e.ty() {
            ty::STRING => {
                self.head(kind::STRING, e)?;
                match StrRef::of(e).expect(MADE) {
                    StrRef::Int(n) => self.integer(n),
                    StrRef::Bytes(b) => self.string(b),
                }
            }
            ty::LIST => self.list(e, &View::<List>::of(e).expect(MADE)),
            ty::SET => self.set(e, &View::<Set>::of(e).expect(MADE)),
            ty::ZSET => self.zset(e, &View::<Zset>::of(e).expect(MADE)),
            ty::HASH => self.hash(e, &View::<Hash>::of(e).expect(MADE)),
            ty::STREAM => self.stream(e, &View::<Stream>::of(e).expect(MADE)),
            t => Err(io::Error::other(format!("type {t} has no form in the file"))),
        }
    }

    fn list(&mut self, e: EntryRef<'_>, l: &List) -> io::Result<()> {
        self.head(kind::LIST_QUICKLIST_2, e)?;
        match l {
            List::Packed(lp) => {
                self.length(1)?;
                self.length(NODE_PACKED)?;
                self.string(lp.bytes())
            }
            List::Quick(q) => {
                self.length(q.node_count() as u64)?;
                for node in q.nodes() {
                    self.length(if node.plain { NODE_PLAIN } else { NODE_PACKED })?;
                    match node.bytes {
                        NodeBytes::Raw(b) => self.string(b)?,
                        NodeBytes::Lzf(b) => self.lzf(b, node.size)?,
                    }
                }
                Ok(())
            }
        }
    }

    fn set(&mut self, e: EntryRef<'_>, s: &Set) -> io::Result<()> {
        match s {
            Set::Ints(i) => {
                self.head(kind::SET_INTSET, e)?;
                self.string(i.bytes())
            }
            Set::Packed(lp) => {
                self.head(kind::SET_LISTPACK, e)?;
                self.string(lp.bytes())
            }
            Set::Table(t) => {
                self.head(kind::SET, e)?;
                self.length(t.len() as u64)?;
                t.keys().try_for_each(|m| self.string(m))
            }
        }
    }

    fn zset(&mut self, e: EntryRef<'_>, z: &Zset) -> io::Result<()> {
        match z {
            Zset::Packed(lp) => {
                self.head(kind::ZSET_LISTPACK, e)?;
                self.string(lp.bytes())
            }
            Zset::Skip(z) => {
                self.head(kind::ZSET_2, e)?;
                self.length(z.len() as u64)?;
                // From the end, so that the loader always inserts at the front.
                for n in z.order().iter(0..z.len()).rev() {
                    self.string(n.member())?;
                    self.double(n.score())?;
                }
                Ok(())
            }
        }
    }

    fn hash(&mut self, e: EntryRef<'_>, h: &Hash) -> io::Result<()> {
        match h {
            Hash::Packed(lp) => {
                self.head(kind::HASH_LISTPACK, e)?;
                self.string(lp.bytes())
            }
            Hash::Table(t) => {
                self.head(kind::HASH, e)?;
                self.length(t.len() as u64)?;
                for (f, v) in t.iter() {
                    self.string(f)?;
                    self.string(v)?;
                }
                Ok(())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ds::dict::Dict;
    use crate::ds::entry::{Content, enc};

    #[test]
    fn a_value_is_as_long_as_it_is_written() {
        let long = "x".repeat(70);
        for (value, ttl, plain, packed) in [
            ("a", None, 2, 2),
            ("12", None, 2, 2),
            ("-129", Some(5), 3, 3),
            ("40000", None, 5, 5),
            ("3000000000", None, 11, 11),
            ("007", None, 4, 4),
            (&long, Some(1), 72, 13),
        ] {
            let mut dict = Dict::new();
            let place = dict.insert(0, b"key", Content::Inline(enc::RAW, value.as_bytes()), ttl, 0);
            let e = dict.at(place).expect("just put there");
            let len = |compress| value_len(e, compress).expect("counting does not fail");
            assert_eq!((len(false), len(true)), (plain, packed), "{value}");
        }
        let mut dict = Dict::new();
        let place = dict.insert(0, b"k", Content::Int(i64::MIN), None, 0);
        let e = dict.at(place).expect("just put there");
        assert_eq!(value_len(e, true).expect("counting does not fail"), 21);
    }
}
