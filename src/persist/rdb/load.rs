//! Reading snapshots and the payloads of DUMP: a pull parser over the untrusted bytes of a source.
//!
//! ```text
//! file, socket ─► Loader::next_item ─► Item          payload ─► restore ─► Loaded
//!                        └───── Decoder::value(type) ──────────────┘
//! packed forms: listpack, intset   checked, and kept as they are (or made a table, past the limits)
//!               ziplist, zipmap    read by their own modules into listpacks
//! ```
//!
//! Ways to be broken, each an error that says where: a wrong magic or a newer version, a length or a
//! string past the end, an encoding or a type that is unknown, a collection that is not sound, a member
//! or field that comes twice, a checksum that differs. A collection that is empty is told apart: servers
//! with a bug wrote such, and a file that has one is good otherwise. Nothing is allocated from a size
//! before the bytes behind it are there. A read that fails is an error of its own.
//!
//! An item borrows from the loader until the next one is asked for, and nothing of the server: between two
//! items the loop may turn. A source that has not all of an item at hand makes that `Error::NeedMore`; the
//! same call gives the item when there is more.
//!
//! Packed forms are always checked entry by entry, because reading them later trusts them. What
//! `sanitize-dump-payload` adds (`Checks::deep`) is that members of listpacks must differ.
//!
//! A new type: a constant in `kind`, an arm in `value`.

mod functions;
mod stream;
#[cfg(test)]
mod tests;

pub use functions::{FunctionsRefusal, functions_of};

use super::error::Error;
use super::source::{Memory, Source};
use super::{NODE_PACKED, NODE_PLAIN, VERSION, kind, op, ziplist, zipmap};
use crate::algo::num::{decimal, parse_f64, parse_f64_bound};
use crate::algo::{crc64, lzf};
use crate::ds::entry::enc;
use crate::ds::intset::Intset;
use crate::ds::listpack::{Element, Listpack, safe_to_add};
use crate::ds::pairs::Pairs;
use crate::ds::quicklist::Quicklist;
use crate::ds::sds::{self, Sds};
use crate::object::value::{Value, Variant};
use crate::object::zset::{Rules, ZaddOutcome, Zset};
use crate::object::{ValueLimits, hash::Hash, list::List, set::Set};
use std::borrow::Cow;

pub enum Loaded<'a> {
    Bytes(Cow<'a, [u8]>),
    Value(Value),
}

/// How lately or how often a key was used, where that is told.
#[derive(Clone, Copy, Default, Debug, PartialEq, Eq)]
pub struct Usage {
    pub idle_seconds: Option<u64>,
    pub freq: Option<u8>,
}

/// What is borrowed lasts until the next item is asked for.
pub enum RdbItem<'a> {
    SelectDb(usize),
    /// Keys and keys with a TTL that are going to come.
    Resize(u64, u64),
    /// A field about the file.
    Aux {
        name: Vec<u8>,
        value: Vec<u8>,
    },
    /// The code of a library of functions.
    Function(Vec<u8>),
    Key {
        name: &'a [u8],
        when: Option<i64>,
        usage: Usage,
        value: Loaded<'a>,
    },
    /// A key whose value holds nothing, and is not to be.
    Empty {
        name: &'a [u8],
    },
}

/// What is looked at beyond what is necessary.
#[derive(Clone, Copy, Debug)]
pub struct Checks {
    pub checksum: bool,
    /// Members and fields of listpacks must differ.
    pub deep: bool,
}

/// What is being read: a failure is told with it.
#[derive(Clone)]
pub struct LoadPosition {
    /// In the words of redis-check-rdb.
    pub doing: &'static str,
    /// The key whose value it is.
    pub key: Option<Vec<u8>>,
    /// The type of the value. Before the first key it is that of strings, as it always was.
    pub kind: Option<u8>,
}

impl LoadPosition {
    pub fn start() -> Self {
        LoadPosition { doing: "start", key: None, kind: Some(kind::STRING) }
    }
}

pub struct Loader<S> {
    decoder: Decoder<S>,
    /// The name of the key whose value is read.
    name: Vec<u8>,
    place: LoadPosition,
    version: u32,
    /// The item that was begun last was not at hand in full.
    again: bool,
    /// At the end: the checksum was left out when the file was written.
    pub unsummed: bool,
}

/// Reads the pieces that items are made of.
struct Decoder<S> {
    source: S,
    limits: ValueLimits,
    checks: Checks,
    /// Packed values that were checked in depth.
    sanitized: u64,
}

type Result<T> = std::result::Result<T, Error>;

/// A string that grows by more than this is no LZF.
const LZF_RATIO: usize = 300;
/// Version and checksum at the end of a payload.
const FOOTER: usize = 10;
/// Files have had a checksum since this version.
const CHECKSUM_SINCE: u32 = 5;

/// Why a payload is not restored.
#[derive(Debug, PartialEq, Eq)]
pub enum Refusal {
    /// It is of a later version, or its checksum is wrong.
    Footer,
    /// With the place.
    Format(u64, String),
}

/// The value of a payload of DUMP. `sanitized` counts packed values that were checked in depth.
pub fn restore<'a>(
    payload: &'a [u8],
    limits: ValueLimits,
    checks: Checks,
    sanitized: &mut u64,
) -> std::result::Result<Loaded<'a>, Refusal> {
    if !is_sound(payload, checks.checksum) {
        return Err(Refusal::Footer);
    }
    let mut d = Decoder { source: Memory::new(payload), limits, checks, sanitized: 0 };
    let value = d.restored();
    *sanitized += d.sanitized;
    value.map_err(|why| Refusal::Format(d.source.at(), why.to_string()))
}

/// Are the version and the checksum at the end of a payload good?
fn is_sound(payload: &[u8], checksum: bool) -> bool {
    let footer = payload.len().checked_sub(FOOTER).and_then(|at| payload.split_at_checked(at));
    let Some((_, [v0, v1, crc @ ..])) = footer else { return false };
    let summed = payload.get(..payload.len().saturating_sub(crc.len())).unwrap_or(payload);
    let sound = !checksum || crc64::update(0, summed).to_le_bytes() == *crc;
    u32::from(u16::from_le_bytes([*v0, *v1])) <= VERSION && sound
}

impl<'a> Decoder<Memory<'a>> {
    /// The value of a payload. Its bytes outlive the decoder: a string need not be copied.
    fn restored(&mut self) -> Result<Loaded<'a>> {
        match self.byte()? {
            kind::STRING => match self.length_or_encoding()? {
                Ok(n) => self.source.take_for_long(size_of(n)?).map(|b| Loaded::Bytes(b.into())),
                Err(encoding) => self.encoded(encoding).map(|b| Loaded::Bytes(b.into())),
            },
            t => match self.collection(t)? {
                Some(value) => Ok(Loaded::Value(value)),
                None => Err("an empty value".into()),
            },
        }
    }
}

/// A length as a size in memory.
fn size_of(length: u64) -> Result<usize> {
    usize::try_from(length).map_err(|_| Error::Short)
}

impl<S: Source> Loader<S> {
    /// Reads the head, which must be at hand in full: nine bytes.
    pub fn new(mut source: S, limits: ValueLimits, checks: Checks) -> Result<Self> {
        let head = source.take(9)?;
        let digits = head.strip_prefix(b"REDIS").ok_or(Error::Signature)?;
        let version = decimal(digits).unwrap_or(0);
        if !(1..=VERSION).contains(&version) {
            return Err(Error::Version(version));
        }
        Ok(Loader {
            decoder: Decoder { source, limits, checks, sanitized: 0 },
            name: Vec::new(),
            place: LoadPosition::start(),
            version,
            again: false,
            unsummed: false,
        })
    }

    /// The version of the format that it is written in.
    pub fn version(&self) -> u32 {
        self.version
    }

    /// How far it has read.
    pub fn at(&self) -> u64 {
        self.decoder.source.at()
    }

    /// What was being read last.
    pub fn place(&self) -> &LoadPosition {
        &self.place
    }

    /// Packed values that were checked in depth.
    pub fn sanitized(&self) -> u64 {
        self.decoder.sanitized
    }

    /// To feed what comes in pieces.
    pub fn source(&mut self) -> &mut S {
        &mut self.decoder.source
    }

    /// What follows the snapshot.
    pub fn into_source(self) -> S {
        self.decoder.source
    }

    /// The next item; None at a sound end. After `NeedMore` it is the same one that is read.
    pub fn next_item(&mut self) -> Result<Option<RdbItem<'_>>> {
        if std::mem::replace(&mut self.again, true) {
            self.decoder.source.rewind();
        }
        self.decoder.source.mark()?;
        let mut when = None;
        let mut usage = Usage::default();
        let d = &mut self.decoder;
        loop {
            self.place.doing = "read-type";
            let t = d.byte()?;
            self.place.doing = doing(t);
            let item = match t {
                op::AUX => RdbItem::Aux { name: d.text()?.into_owned(), value: d.text()?.into_owned() },
                op::RESIZE_DB => RdbItem::Resize(d.length()?, d.length()?),
                op::SELECT_DB => RdbItem::SelectDb(usize::try_from(d.length()?).unwrap_or(usize::MAX)),
                op::EXPIRE_MS => {
                    when = Some(i64::from_le_bytes(d.array()?));
                    continue;
                }
                op::EXPIRE => {
                    when = Some(i64::from(i32::from_le_bytes(d.array()?)).saturating_mul(1000));
                    continue;
                }
                op::IDLE => {
                    usage.idle_seconds = Some(d.length()?);
                    continue;
                }
                op::FREQ => {
                    usage.freq = Some(d.byte()?);
                    continue;
                }
                op::FUNCTION2 => RdbItem::Function(d.text()?.into_owned()),
                op::FUNCTION_PRE_GA => return Err(Error::PreRelease(self.version)),
                op::MODULE_AUX => return Err(Error::ModuleAux(module_name(d.length()?))),
                op::EOF => {
                    self.end()?;
                    self.again = false;
                    return Ok(None);
                }
                t if kind::NAMES.get(usize::from(t)).is_none_or(|n| n.is_empty()) => {
                    return Err(Error::Type(t));
                }
                t => return self.key(t, when, usage).map(Some),
            };
            self.again = false;
            return Ok(Some(item));
        }
    }

    fn key(&mut self, t: u8, when: Option<i64>, usage: Usage) -> Result<RdbItem<'_>> {
        (self.place.kind, self.place.key) = (Some(t), None);
        self.decoder.text_into(&mut self.name)?;
        self.place.doing = "read-object-value";
        match self.decoder.value(t) {
            Ok(value) => {
                self.place.kind = None;
                self.again = false;
                let name = self.name.as_slice();
                Ok(match value {
                    Some(value) => RdbItem::Key { name, when, usage, value },
                    None => RdbItem::Empty { name },
                })
            }
            Err(why) => {
                self.place.key = Some(self.name.clone());
                Err(why)
            }
        }
    }

    fn end(&mut self) -> Result<()> {
        if self.version < CHECKSUM_SINCE {
            return Ok(());
        }
        let d = &mut self.decoder;
        let expected = if d.checks.checksum { d.source.sum() } else { 0 };
        let got = u64::from_le_bytes(d.array()?);
        self.unsummed = got == 0 && d.checks.checksum;
        if d.checks.checksum && got != 0 && got != expected {
            return Err(Error::Checksum { expected, got });
        }
        Ok(())
    }
}

/// Bytes, lengths and texts.
impl<S: Source> Decoder<S> {
    #[inline]
    fn take(&mut self, n: usize) -> Result<&[u8]> {
        self.source.take(n)
    }

    #[inline]
    fn array<const N: usize>(&mut self) -> Result<[u8; N]> {
        self.take(N)?.try_into().map_err(|_| Error::Short)
    }

    #[inline]
    fn byte(&mut self) -> Result<u8> {
        let [b] = self.array()?;
        Ok(b)
    }

    /// So many elements may be prepared for: each takes so many bytes at least.
    fn room(&self, n: u64, bytes_each: u64) -> usize {
        let most = self.source.left().checked_div(bytes_each).unwrap_or(0);
        usize::try_from(n.min(most)).unwrap_or(usize::MAX)
    }

    /// A length, or the number of a string's encoding.
    fn length_or_encoding(&mut self) -> Result<std::result::Result<u64, u8>> {
        let b = self.byte()?;
        Ok(match b >> 6 {
            0 => Ok(u64::from(b & 0x3f)),
            1 => Ok(u64::from(b & 0x3f) << 8 | u64::from(self.byte()?)),
            2 if b == 0x80 => Ok(u64::from(u32::from_be_bytes(self.array()?))),
            2 if b == 0x81 => Ok(u64::from_be_bytes(self.array()?)),
            2 => return Err("Unknown length encoding 2 in rdbLoadLen()".into()),
            _ => Err(b & 0x3f),
        })
    }

    /// A plain length; the number of an encoding in its place is taken for one, as it always was.
    fn length(&mut self) -> Result<u64> {
        Ok(self.length_or_encoding()?.unwrap_or_else(u64::from))
    }

    fn text(&mut self) -> Result<Cow<'_, [u8]>> {
        match self.length_or_encoding()? {
            Ok(n) => Ok(Cow::Borrowed(self.take(size_of(n)?)?)),
            Err(encoding) => self.encoded(encoding).map(Cow::Owned),
        }
    }

    /// A text that outlives what is read behind it.
    fn text_into(&mut self, out: &mut Vec<u8>) -> Result<()> {
        out.clear();
        match self.length_or_encoding()? {
            Ok(n) => out.extend_from_slice(self.take(size_of(n)?)?),
            Err(encoding) => *out = self.encoded(encoding)?,
        }
        Ok(())
    }

    /// A text in the form of a number or compressed.
    fn encoded(&mut self, encoding: u8) -> Result<Vec<u8>> {
        let number = |n: i64| Ok(itoa::Buffer::new().format(n).as_bytes().to_vec());
        match encoding {
            0 => number(i64::from(i8::from_le_bytes(self.array()?))),
            1 => number(i64::from(i16::from_le_bytes(self.array()?))),
            2 => number(i64::from(i32::from_le_bytes(self.array()?))),
            3 => self.compressed(),
            e => Err(format!("Unknown RDB string encoding type {e}").into()),
        }
    }

    fn compressed(&mut self) -> Result<Vec<u8>> {
        let (packed, size) = (self.length()?, self.length()?);
        let packed = self.take(size_of(packed)?)?;
        let size = usize::try_from(size).unwrap_or(usize::MAX);
        if size > packed.len().saturating_mul(LZF_RATIO) {
            return Err(Error::Short);
        }
        lzf::decompress(packed, size).ok_or("Invalid LZF compressed string".into())
    }
}

/// Values.
impl<S: Source> Decoder<S> {
    /// A value of a type; None when it holds nothing.
    fn value(&mut self, t: u8) -> Result<Option<Loaded<'_>>> {
        match t {
            kind::STRING => self.string().map(Some),
            t => Ok(self.collection(t)?.map(Loaded::Value)),
        }
    }

    /// A long one is read into the block that it stays in.
    fn string(&mut self) -> Result<Loaded<'_>> {
        let n = match self.length_or_encoding()? {
            Ok(n) => size_of(n)?,
            Err(encoding) => return self.encoded(encoding).map(|b| Loaded::Bytes(Cow::Owned(b))),
        };
        if let Some(block) = self.source.take_block(n, sds::HEAD)? {
            let bytes = sds::HEAD..block.len();
            return Ok(Loaded::Value(Value::Str(enc::RAW, Sds::from_buffer(block, bytes))));
        }
        self.take(n).map(|b| Loaded::Bytes(Cow::Borrowed(b)))
    }

    fn collection(&mut self, t: u8) -> Result<Option<Value>> {
        let value = match t {
            kind::LIST => self.texts()?.wrap(),
            kind::LIST_ZIPLIST => self.ziplist_list()?.wrap(),
            kind::LIST_QUICKLIST => self.quicklist(false)?.wrap(),
            kind::LIST_QUICKLIST_2 => self.quicklist(true)?.wrap(),
            kind::SET => self.set()?.wrap(),
            kind::SET_INTSET => self.intset()?.wrap(),
            kind::SET_LISTPACK => {
                let l = self.packed(Shape::Set, false)?;
                self.packed_set(l)?.wrap()
            }
            kind::HASH => self.hash()?.wrap(),
            kind::HASH_ZIPMAP => self.zipmap()?.wrap(),
            kind::HASH_ZIPLIST | kind::HASH_LISTPACK => {
                let l = self.packed(Shape::Hash, t == kind::HASH_ZIPLIST)?;
                self.packed_hash(l)?.wrap()
            }
            kind::ZSET | kind::ZSET_2 => self.zset(t)?.wrap(),
            kind::ZSET_ZIPLIST | kind::ZSET_LISTPACK => {
                let l = self.packed(Shape::Zset, t == kind::ZSET_ZIPLIST)?;
                self.packed_zset(l)?.wrap()
            }
            kind::STREAM_LISTPACKS | kind::STREAM_LISTPACKS_2 | kind::STREAM_LISTPACKS_3 => {
                self.stream(t)?.wrap()
            }
            kind::MODULE_PRE_GA => return Err("Pre-release module format not supported".into()),
            kind::MODULE_2 => {
                let name = module_name(self.length()?);
                return Err(format!(
                    "The RDB file contains module data I can't load: no matching module type '{name}'"
                )
                .into());
            }
            t => return Err(Error::Type(t)),
        };
        Ok((!value.is_empty()).then_some(value))
    }
}

/// Listpacks and what came before them.
impl<S: Source> Decoder<S> {
    fn packed(&mut self, shape: Shape, is_ziplist: bool) -> Result<Listpack> {
        let deep = self.checks.deep;
        self.sanitized += u64::from(deep && !is_ziplist);
        let bytes = self.text()?;
        if is_ziplist { ziplist_as_listpack(&bytes, shape) } else { listpack(&bytes, shape, deep) }
    }

    fn packed_hash(&self, l: Listpack) -> Result<Hash> {
        let mut h = Hash::Packed(l);
        let n = h.len();
        if n > self.limits.hash.entries {
            h.to_table(0);
        }
        if h.len() == n { Ok(h) } else { Err("Hash listpack with dup elements".into()) }
    }

    fn packed_zset(&self, l: Listpack) -> Result<Zset> {
        let mut z = Zset::Packed(l);
        let n = z.len();
        if n > self.limits.zset.entries {
            z.to_skip(0);
        }
        if z.len() == n { Ok(z) } else { Err("Zset listpack with dup elements".into()) }
    }

    fn packed_set(&self, l: Listpack) -> Result<Set> {
        let mut s = Set::Packed(l);
        let n = s.len();
        if n > self.limits.set.entries {
            s.to_table(n);
        }
        if s.len() == n { Ok(s) } else { Err("Set listpack with dup elements".into()) }
    }

    fn intset(&mut self) -> Result<Set> {
        self.sanitized += u64::from(self.checks.deep);
        let bytes = self.text()?;
        let ints = Intset::from_bytes(&bytes)
            .map_err(|c| format!("Intset integrity check failed. ({} at byte {})", c.why, c.at))?;
        let mut s = Set::Ints(ints);
        if s.len() > self.limits.set.ints {
            s.to_table(s.len());
        }
        Ok(s)
    }

    fn zipmap(&mut self) -> Result<Hash> {
        let limits = self.limits.hash;
        let bytes = self.text()?;
        let (mut l, mut longest) = (Listpack::new(), 0);
        let mut checker = Checker::new(Shape::Hash, true);
        let done = zipmap::read(&bytes, |f, v| {
            let is_new = checker.accepts(f.into()) && checker.accepts(v.into());
            if !is_new || !safe_to_add(Some(&l), f.len().saturating_add(v.len())) {
                return false;
            }
            longest = longest.max(f.len()).max(v.len());
            l.push_back(f);
            l.push_back(v);
            true
        });
        done.map_err(|why| format!("Zipmap integrity check failed. ({why})"))?;
        let mut h = Hash::Packed(l);
        if h.len() > limits.entries || longest > limits.value {
            h.to_table(0);
        }
        Ok(h)
    }
}

/// Values element by element, and lists node by node.
impl<S: Source> Decoder<S> {
    fn new_list(&self) -> Quicklist {
        let limits = &self.limits.list;
        let mut q = Quicklist::new(limits.fill, limits.depth);
        q.set_packed_threshold(limits.packed_threshold);
        q
    }

    fn settled(&self, q: Quicklist) -> List {
        let mut l = List::Quick(Box::new(q));
        l.settle(&self.limits.list);
        l
    }

    fn texts(&mut self) -> Result<List> {
        let mut q = self.new_list();
        for _ in 0..self.length()? {
            q.push_back(&self.text()?);
        }
        Ok(self.settled(q))
    }

    /// Keeps being a quicklist, however small it is.
    fn ziplist_list(&mut self) -> Result<List> {
        let mut q = self.new_list();
        let bytes = self.text()?;
        let read = ziplist::read(&bytes, |v| {
            v.with_text(|text| q.push_back(text));
            true
        });
        read.map_err(|why| format!("List ziplist integrity check failed. ({why})"))?;
        Ok(List::Quick(Box::new(q)))
    }

    /// Nodes: listpacks and plain ones, or (before 7.0) ziplists.
    fn quicklist(&mut self, is_new: bool) -> Result<List> {
        let mut q = self.new_list();
        for _ in 0..self.length()? {
            let container = if is_new { self.length()? } else { NODE_PACKED };
            if !matches!(container, NODE_PLAIN | NODE_PACKED) {
                return Err("Quicklist integrity check failed.".into());
            }
            let deep = self.checks.deep;
            self.sanitized += u64::from(deep && is_new && container == NODE_PACKED);
            let bytes = self.text()?;
            match container {
                _ if bytes.is_empty() => return Err("a node of a list without bytes".into()),
                NODE_PLAIN => q.append_plain(&bytes),
                _ if is_new => q.append_listpack(listpack(&bytes, Shape::List, deep)?),
                _ => q.append_listpack(ziplist_as_listpack(&bytes, Shape::List)?),
            }
        }
        Ok(self.settled(q))
    }

    fn set(&mut self) -> Result<Set> {
        let limits = self.limits.set;
        let n = self.length()?;
        let mut s = Set::Ints(Intset::new());
        // All but a few hundred members take two bytes at least.
        let room = self.room(n, 2);
        if usize::try_from(n).map_or(true, |n| n > limits.max_ints()) {
            s.to_table(room);
        }
        let mut longest = 0;
        for _ in 0..n {
            let member = self.text()?;
            longest = longest.max(member.len());
            if !s.add_loaded(&member, room, longest, &limits) {
                return Err("Duplicate set members detected".into());
            }
        }
        Ok(s)
    }

    fn hash(&mut self) -> Result<Hash> {
        let limits = self.limits.hash;
        let n = self.length()?;
        let mut h = Hash::default();
        if usize::try_from(n).map_or(true, |n| n > limits.entries) {
            h.to_table(self.room(n, 2));
        }
        let mut f = Vec::new();
        for _ in 0..n {
            self.text_into(&mut f)?;
            let v = self.text()?;
            h.prepare(&[f.as_slice(), &v], &limits);
            if !h.set(&f, &v, &limits) {
                return Err("Duplicate hash fields detected".into());
            }
        }
        Ok(h)
    }

    fn zset(&mut self, t: u8) -> Result<Zset> {
        let limits = self.limits.zset;
        let n = self.length()?;
        // What was a listpack for a while would have lost the sign of -0.
        let mut z = Zset::default();
        z.to_skip(self.room(n, 2));
        let mut member = Vec::new();
        for _ in 0..n {
            self.text_into(&mut member)?;
            let score = match t {
                kind::ZSET => self.score_text()?,
                _ => f64::from_le_bytes(self.array()?),
            };
            if score.is_nan() {
                return Err("Zset with NAN score detected".into());
            }
            if !matches!(z.add(&member, score, Rules::default(), &limits), ZaddOutcome::Added(_)) {
                return Err("Duplicate zset fields detected".into());
            }
        }
        Ok(z.compact(&limits))
    }

    /// A score as a text behind its length; three lengths stand for what is no digits.
    fn score_text(&mut self) -> Result<f64> {
        match self.byte()? {
            255 => Ok(f64::NEG_INFINITY),
            254 => Ok(f64::INFINITY),
            253 => Ok(f64::NAN),
            n => {
                let text = self.take(usize::from(n))?;
                // As far as it is a number.
                let number =
                    (1..=text.len()).rev().find_map(|n| text.get(..n).and_then(parse_f64_bound));
                number.filter(|_| text.first() != Some(&0)).ok_or("a score that is no number".into())
            }
        }
    }
}

fn listpack(bytes: &[u8], shape: Shape, deep: bool) -> Result<Listpack> {
    let mut checker = Checker::new(shape, deep);
    let l = Listpack::from_bytes_if(bytes, |v| checker.accepts(v))
        .map_err(|c| format!("{} ({} at byte {})", shape.broken("listpack"), c.why, c.at))?;
    if checker.is_whole() { Ok(l) } else { Err(shape.broken("listpack").into()) }
}

/// What comes behind a byte that says what comes.
fn doing(t: u8) -> &'static str {
    match t {
        op::AUX => "read-aux",
        op::RESIZE_DB | op::SELECT_DB => "read-len",
        op::EXPIRE_MS | op::EXPIRE => "read-expire",
        op::FUNCTION2 => "read-functions",
        op::MODULE_AUX => "read-module-aux",
        op::EOF => "check-sum",
        t if kind::NAMES.get(usize::from(t)).is_some_and(|n| !n.is_empty()) => "read-key",
        _ => "read-type",
    }
}

/// What the entries of a listpack are.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Shape {
    List,
    Set,
    Hash,
    Zset,
}

impl Shape {
    /// The log's words for one that is not sound.
    fn broken(self, form: &str) -> String {
        match self {
            Shape::List if form == "ziplist" => "Ziplist integrity check failed.".into(),
            Shape::List => "Listpack integrity check failed.".into(),
            Shape::Set => format!("Set {form} integrity check failed."),
            Shape::Hash => format!("Hash {form} integrity check failed."),
            Shape::Zset => format!("Zset {form} integrity check failed."),
        }
    }

    fn is_pairs(self) -> bool {
        matches!(self, Shape::Hash | Shape::Zset)
    }
}

/// Looks at entries one by one.
struct Checker {
    shape: Shape,
    /// Names seen, where they must differ.
    names: Option<Pairs>,
    n: u64,
}

impl Checker {
    fn new(shape: Shape, differ: bool) -> Checker {
        let names = (differ && shape != Shape::List).then(Pairs::new);
        Checker { shape, names, n: 0 }
    }

    fn accepts(&mut self, v: Element<'_>) -> bool {
        let is_name = !self.shape.is_pairs() || self.n.is_multiple_of(2);
        self.n += 1;
        if is_name {
            return self.names.as_mut().is_none_or(|names| v.with_text(|text| names.add(text)));
        }
        match (self.shape, v) {
            // The code of sorted sets relies on scores being numbers.
            (Shape::Zset, Element::Str(text)) => parse_f64(text).is_some(),
            _ => true,
        }
    }

    fn is_whole(&self) -> bool {
        !self.shape.is_pairs() || self.n.is_multiple_of(2)
    }
}

fn ziplist_as_listpack(bytes: &[u8], shape: Shape) -> Result<Listpack> {
    let broken = |why| Error::from(format!("{} ({why})", shape.broken("ziplist")));
    if !safe_to_add(None, bytes.len()) {
        return Err(broken("too long"));
    }
    let mut l = Listpack::new();
    let mut checker = Checker::new(shape, true);
    let read = ziplist::read(bytes, |v| {
        let good = checker.accepts(v);
        if good {
            l.push_back(v);
        }
        good
    });
    read.map_err(broken)?;
    if checker.is_whole() { Ok(l) } else { Err(broken("half a pair")) }
}

/// Nine letters of six bits each; the low ten bits are a version.
fn module_name(id: u64) -> String {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let letter =
        |i: u32| LETTERS.get((id >> (10 + 6 * i) & 63) as usize).map_or('?', |b| char::from(*b));
    (0..9).rev().map(letter).collect()
}
