//! A value of the dataset, as it is owned between entry and handler, and the one place that turns the
//! word of an entry into a typed value and back.
//!
//! ```text
//! entry ── Remains ── from_remains ──►  Value  ── into_remains ──►  Remains ──► entry
//! ```
//!
//! A new type adds a variant, its (type, encoding) pairs in both directions, and its `effort` to free.

use super::digest::Digest;
use super::hash::Hash;
use super::list::List;
use super::set::Set;
use super::stream::{Parts, Stream};
use super::tables::Full;
use super::zset::Zset;
use crate::ds::entry::{EntryRef, Remains, enc, ty};
use crate::ds::intset::Intset;
use crate::ds::listpack::Listpack;
use crate::ds::moving::DefragCursor;
use crate::ds::pairs::Pairs;
use crate::ds::quicklist::Quicklist;
use crate::ds::sds::Sds;
use crate::ds::zindex::Zindex;
use crate::sys::defrag::Mover;
use std::marker::PhantomData;
use std::mem::ManuallyDrop;
use std::ops::Deref;
use std::ptr::NonNull;

/// Strings up to here are called embstr until a command changes them in place
/// (OBJ_ENCODING_EMBSTR_SIZE_LIMIT).
pub const EMBSTR_MAX: usize = 44;
/// Values that take more steps than this to free go to the lazy-free thread (LAZYFREE_THRESHOLD).
pub const LAZY_EFFORT: usize = 64;
/// A single block of this size is worth a thread too: unmapping it takes its time.
const BIG_BLOCK: usize = 1 << 20;

pub enum Value {
    Int(i64),
    /// A string outside of its entry: its encoding's name (raw or embstr) and its bytes.
    Str(u8, Sds),
    List(List),
    Set(Set),
    Zset(Zset),
    Hash(Hash),
    Stream(Stream),
}

/// Which part of a lookup to come is fetched.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Fetch {
    Bucket,
    Elem,
}

/// Fetches what the lookup of a member with this hash is going to need; false when the value is small
/// and near.
pub fn prefetch_member(e: EntryRef<'_>, hash: u64, what: Fetch) -> bool {
    fn table(t: &Pairs, hash: u64, what: Fetch) {
        match what {
            Fetch::Bucket => t.prefetch_bucket(hash),
            Fetch::Elem => t.prefetch_elem(hash),
        }
    }
    if e.ty() == ty::STRING {
        return false;
    }
    match &*Value::lent(e) {
        Value::Set(Set::Table(t)) => table(t, hash, what),
        Value::Hash(Hash::Table(t)) => table(t, hash, what),
        Value::Zset(Zset::Skip(t)) => match what {
            Fetch::Bucket => t.prefetch_bucket(hash),
            Fetch::Elem => t.prefetch_elem(hash),
        },
        _ => return false,
    }
    true
}

/// Calls a method of whichever type it is; strings have their own answer.
macro_rules! each {
    ($value:expr, $strings:expr, $x:ident => $other:expr) => {
        match $value {
            Value::Int(_) | Value::Str(..) => $strings,
            Value::List($x) => $other,
            Value::Set($x) => $other,
            Value::Zset($x) => $other,
            Value::Hash($x) => $other,
            Value::Stream($x) => $other,
        }
    };
}

/// A type other than strings, as handlers see it.
pub trait ValueKind: Sized + Clone {
    const TYPE: u8;
    /// The encoding and the word that an entry stores. The word owns the value.
    fn into_parts(self) -> (u8, u64);
    /// Empty values do not stay in the keyspace.
    fn is_empty(&self) -> bool;
    /// Steps it takes to free the value.
    fn effort(&self) -> usize;
    /// Bytes outside of the entry, told at once by what the structures count; the bytes of a database are
    /// the sum of these, so the same value always gives the same number.
    fn heap_bytes(&self) -> usize;
    /// Adds its content to a fingerprint.
    fn digest(&self, d: &mut Digest);
    /// Is it a hash table that is being moved into another array?
    fn is_rehashing(&self) -> bool {
        false
    }
    /// Moves a rehash under way so many steps on.
    fn rehash(&mut self, _steps: usize) {}
    /// Figures of its hash table, where it is one.
    fn table_figures(&self, _: Full) -> Option<String> {
        None
    }
    /// Moves blocks out of sparse slabs, those of a small part that `at` names; true at the end of all.
    fn defrag(&mut self, at: &mut DefragCursor, mover: &mut Mover) -> bool;
}

/// What connects a type with its variant of `Value`.
pub trait Variant: ValueKind {
    fn wrap(self) -> Value;
    fn of(v: &Value) -> Option<&Self>;
    fn of_mut(v: &mut Value) -> Option<&mut Self>;
}

macro_rules! variants {
    ($($name:ident),*) => {$(
        impl Variant for $name {
            fn wrap(self) -> Value {
                Value::$name(self)
            }
            fn of(v: &Value) -> Option<&Self> {
                if let Value::$name(x) = v { Some(x) } else { None }
            }
            fn of_mut(v: &mut Value) -> Option<&mut Self> {
                if let Value::$name(x) = v { Some(x) } else { None }
            }
        }
    )*};
}
variants!(List, Set, Zset, Hash, Stream);

/// A value that stays in its entry while it is read.
pub struct View<'a, T> {
    value: ManuallyDrop<Value>,
    _entry: PhantomData<(EntryRef<'a>, T)>,
}

impl<'a, T: Variant> View<'a, T> {
    /// The value of an entry, None when it holds another type.
    pub fn of(e: EntryRef<'a>) -> Option<Self> {
        if e.ty() != T::TYPE {
            return None;
        }
        // SAFETY: the parts are what the entry stores; the copy is never dropped, and only read while
        // the entry is borrowed.
        let value = ManuallyDrop::new(unsafe { Value::from_word(e.ty(), e.enc(), e.word()) });
        Some(View { value, _entry: PhantomData })
    }
}

impl<T: Variant> Deref for View<'_, T> {
    type Target = T;
    fn deref(&self) -> &T {
        T::of(&self.value).expect("made from an entry of this type")
    }
}

/// A value of any type but string that stays in its entry while it is read.
pub struct Lent<'a> {
    value: ManuallyDrop<Value>,
    _entry: PhantomData<EntryRef<'a>>,
}

impl Deref for Lent<'_> {
    type Target = Value;
    fn deref(&self) -> &Value {
        &self.value
    }
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
    pub fn of(e: EntryRef<'a>) -> Option<StrRef<'a>> {
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
        fn of<T: ValueKind>(_: &T) -> u8 {
            T::TYPE
        }
        each!(self, ty::STRING, x => of(x))
    }

    /// Empty values do not stay in the keyspace; strings may be empty.
    pub fn is_empty(&self) -> bool {
        each!(self, false, x => x.is_empty())
    }

    /// The value in the form in which an entry holds it.
    #[inline]
    pub fn into_remains(self) -> Remains {
        let (t, e, word) = match self {
            Value::Int(n) => (ty::STRING, enc::INT, n.cast_unsigned()),
            Value::Str(e, s) => (ty::STRING, e, s.into_word()),
            Value::List(x) => parts(x),
            Value::Set(x) => parts(x),
            Value::Zset(x) => parts(x),
            Value::Hash(x) => parts(x),
            Value::Stream(x) => parts(x),
        };
        // SAFETY: what `from_word` reads as the value again, which the word owns now.
        unsafe { Remains::new(t, e, word) }
    }

    /// The value that an entry held.
    #[inline]
    pub fn from_remains(r: Remains) -> Value {
        let (t, e, word) = r.into_parts();
        // SAFETY: they are made by `into_remains`, and given away here.
        unsafe { Value::from_word(t, e, word) }
    }

    /// # Safety
    /// The three are the parts of a `Remains`, and the word is taken over, or only lent and never dropped.
    unsafe fn from_word(t: u8, e: u8, word: u64) -> Value {
        // SAFETY: by contract the word is what this type and encoding stored, and it is taken over.
        unsafe {
            match (t, e) {
                (ty::STRING, enc::INT) => Value::Int(word as i64),
                (ty::STRING, _) => Value::Str(e, Sds::from_word(word)),
                (ty::LIST, enc::LISTPACK) => Value::List(List::Packed(listpack(word))),
                (ty::LIST, enc::QUICKLIST) => Value::List(List::Quick(boxed::<Quicklist>(word))),
                (ty::ZSET, enc::LISTPACK) => Value::Zset(Zset::Packed(listpack(word))),
                (ty::ZSET, enc::SKIPLIST) => Value::Zset(Zset::Skip(boxed::<Zindex>(word))),
                (ty::HASH, enc::LISTPACK) => Value::Hash(Hash::Packed(listpack(word))),
                (ty::HASH, enc::HT) => Value::Hash(Hash::Table(boxed::<Pairs>(word))),
                (ty::SET, enc::INTSET) => Value::Set(Set::Ints(Intset::from_raw(pointer(word)))),
                (ty::SET, enc::LISTPACK) => Value::Set(Set::Packed(listpack(word))),
                (ty::SET, enc::HT) => Value::Set(Set::Table(boxed::<Pairs>(word))),
                (ty::STREAM, enc::STREAM) => Value::Stream(Stream(boxed::<Parts>(word))),
                _ => unreachable!("type {t} with encoding {e}"),
            }
        }
    }

    /// A copy of an entry's value that shares nothing with it; strings keep their encoding.
    pub fn duplicate(e: EntryRef<'_>) -> Value {
        match StrRef::of(e) {
            Some(StrRef::Int(n)) => Value::Int(n),
            Some(StrRef::Bytes(b)) => Value::Str(e.enc(), Sds::from_slice(b)),
            None => each!(&*Value::lent(e), unreachable!("no string"), x => x.clone().wrap()),
        }
    }

    /// The value of an entry that holds no string, for the time of the loan.
    pub fn lent(e: EntryRef<'_>) -> Lent<'_> {
        assert_ne!(e.ty(), ty::STRING, "strings are read by `StrRef`");
        // SAFETY: as in `View::of`.
        let value = ManuallyDrop::new(unsafe { Value::from_word(e.ty(), e.enc(), e.word()) });
        Lent { value, _entry: PhantomData }
    }

    /// Steps it takes to free the value, as lazyfreeGetFreeEffort counts.
    pub fn effort(&self) -> usize {
        each!(self, 1, x => x.effort())
    }

    /// Would freeing it take so long that a thread should do it?
    #[inline]
    pub fn worth_a_thread(&self) -> bool {
        match self {
            Value::Int(_) => false,
            Value::Str(_, s) => s.capacity() >= BIG_BLOCK,
            other => other.effort() > LAZY_EFFORT,
        }
    }

    /// Bytes outside of the entry.
    #[inline]
    pub fn heap_bytes(&self) -> usize {
        match self {
            Value::Str(_, s) => s.footprint(),
            other => each!(other, 0, x => x.heap_bytes()),
        }
    }

    /// Bytes that a value which is not inside of its entry holds.
    pub fn held_by(e: EntryRef<'_>) -> usize {
        match StrRef::of(e) {
            Some(StrRef::Int(_)) => 0,
            Some(StrRef::Bytes(_)) => e.sds_room().2,
            None => Value::lent(e).heap_bytes(),
        }
    }

    /// Adds the content of a value that is no string to a fingerprint.
    pub fn digest(&self, d: &mut Digest) {
        each!(self, unreachable!("strings are mixed by their bytes"), x => x.digest(d))
    }

    /// Moves blocks out of sparse slabs, those of the part that `at` names; true at the end.
    pub fn defrag(&mut self, at: &mut DefragCursor, mover: &mut Mover) -> bool {
        if let Value::Str(_, s) = self {
            s.defrag(mover);
        }
        each!(self, true, x => x.defrag(at, mover))
    }

    /// Figures of the hash table that the value is.
    pub fn table_figures(&self, full: Full) -> Option<String> {
        each!(self, None, x => x.table_figures(full))
    }
}

fn parts<T: ValueKind>(x: T) -> (u8, u8, u64) {
    let (e, w) = x.into_parts();
    (T::TYPE, e, w)
}

fn pointer(word: u64) -> NonNull<u8> {
    NonNull::new(word as *mut u8).expect("an entry stores no null pointer")
}

/// # Safety
/// `word` came from `Listpack::into_raw` and is taken over.
unsafe fn listpack(word: u64) -> Listpack {
    // SAFETY: by contract.
    unsafe { Listpack::from_raw(pointer(word)) }
}

/// # Safety
/// `word` came from `Box::<T>::into_raw` and is taken over.
unsafe fn boxed<T>(word: u64) -> Box<T> {
    // SAFETY: by contract.
    unsafe { Box::from_raw(pointer(word).as_ptr().cast()) }
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
