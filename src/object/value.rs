//! A value of the dataset, as it is owned between entry and handler, and the one place that turns the word of an
//! entry into a typed value and back.
//!
//! ```text
//! entry: type, encoding, word  ── from_word ──►  Value  ── into_word ──►  type, encoding, word
//! ```
//!
//! A new type adds a variant, its (type, encoding) pairs in both directions, and its `effort` to free.

use crate::ds::entry::{Entry, enc, ty};
use crate::ds::sds::Sds;

/// Strings up to here are called embstr as long as nobody has changed them (OBJ_ENCODING_EMBSTR_SIZE_LIMIT).
pub const EMBSTR_MAX: usize = 44;
/// Values that take more steps than this to free go to the lazy-free thread (LAZYFREE_THRESHOLD).
pub const LAZY_EFFORT: usize = 64;
/// A single block of this size is worth a thread too: unmapping it takes its time.
const BIG_BLOCK: usize = 1 << 20;
/// Elements looked at when the size of a value is estimated (OBJ_COMPUTE_SIZE_DEF_SAMPLES).
pub const SAMPLES: usize = 5;

#[derive(Debug)]
pub enum Value {
    Int(i64),
    /// A string outside of its entry: its encoding's name (raw or embstr) and its bytes.
    Str(u8, Sds),
}

/// A string as it lies in the dataset.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StrRef<'a> {
    Int(i64),
    Bytes(&'a [u8]),
}

impl<'a> StrRef<'a> {
    /// The string of an entry, None when it holds another type.
    #[inline]
    pub fn of(e: &'a Entry) -> Option<StrRef<'a>> {
        if e.ty() != ty::STRING {
            return None;
        }
        if e.is_inline() {
            return Some(StrRef::Bytes(e.inline_bytes()));
        }
        if e.enc() == enc::INT {
            return Some(StrRef::Int(e.word() as i64));
        }
        Some(StrRef::Bytes(e.sds_bytes()))
    }

    pub fn len(&self) -> usize {
        match self {
            StrRef::Int(n) => itoa::Buffer::new().format(*n).len(),
            StrRef::Bytes(b) => b.len(),
        }
    }

    pub fn is_empty(&self) -> bool {
        matches!(self, StrRef::Bytes(b) if b.is_empty())
    }

    /// The bytes; an integer is formatted into `room`.
    pub fn bytes<'b>(&self, room: &'b mut itoa::Buffer) -> &'b [u8]
    where
        'a: 'b,
    {
        match self {
            StrRef::Int(n) => room.format(*n).as_bytes(),
            StrRef::Bytes(b) => b,
        }
    }
}

impl Value {
    pub fn ty(&self) -> u8 {
        match self {
            Value::Int(_) | Value::Str(..) => ty::STRING,
        }
    }

    pub fn into_word(self) -> (u8, u8, u64) {
        match self {
            Value::Int(n) => (ty::STRING, enc::INT, n as u64),
            Value::Str(e, s) => (ty::STRING, e, s.into_word()),
        }
    }

    /// # Safety
    /// The three came from `into_word`, and the word is taken over: nobody else frees it.
    pub unsafe fn from_word(t: u8, e: u8, word: u64) -> Value {
        match (t, e) {
            (ty::STRING, enc::INT) => Value::Int(word as i64),
            // SAFETY: by contract.
            (ty::STRING, _) => Value::Str(e, unsafe { Sds::from_word(word) }),
            _ => unreachable!("type {t} with encoding {e}"),
        }
    }

    /// What a table handed back when an entry went away.
    pub fn from_remains(r: crate::ds::dict::Remains) -> Option<Value> {
        // SAFETY: the dict hands each word out once, with the type it was stored with.
        r.map(|(t, e, w)| unsafe { Value::from_word(t, e, w) })
    }

    /// A copy of an entry's value that shares nothing with it; strings keep their encoding.
    pub fn duplicate(e: &Entry) -> Value {
        match StrRef::of(e) {
            Some(StrRef::Int(n)) => Value::Int(n),
            Some(StrRef::Bytes(b)) => Value::Str(e.enc(), Sds::from_slice(b)),
            None => unreachable!("type {} cannot be copied", e.ty()),
        }
    }

    /// Steps it takes to free the value, as lazyfreeGetFreeEffort counts.
    pub fn effort(&self) -> usize {
        match self {
            Value::Int(_) | Value::Str(..) => 1,
        }
    }

    /// Would freeing it take so long that a thread should do it?
    #[inline]
    pub fn worth_a_thread(&self) -> bool {
        match self {
            Value::Int(_) => false,
            Value::Str(_, s) => s.capacity() >= BIG_BLOCK,
        }
    }

    /// Bytes outside of the entry: exact for single blocks, else `samples` elements times their number.
    pub fn heap_bytes(&self, _samples: usize) -> usize {
        match self {
            Value::Int(_) => 0,
            Value::Str(_, s) => s.footprint(),
        }
    }
}

impl std::fmt::Debug for Sds {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Sds({})", self.len())
    }
}

/// OBJECT ENCODING's name.
pub fn encoding_name(t: u8, e: u8) -> &'static str {
    match e {
        enc::RAW => "raw",
        enc::INT => "int",
        enc::HT => "hashtable",
        enc::INTSET => "intset",
        enc::SKIPLIST => "skiplist",
        enc::EMBSTR => "embstr",
        enc::QUICKLIST => "quicklist",
        enc::STREAM => "stream",
        enc::LISTPACK => "listpack",
        _ => {
            debug_assert!(false, "type {t} has no encoding {e}");
            "unknown"
        }
    }
}

/// TYPE's name.
pub fn type_name(t: u8) -> &'static str {
    match t {
        ty::STRING => "string",
        ty::LIST => "list",
        ty::SET => "set",
        ty::ZSET => "zset",
        ty::HASH => "hash",
        ty::STREAM => "stream",
        _ => "unknown",
    }
}
