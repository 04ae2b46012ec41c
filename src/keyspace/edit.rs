//! The guard: the only road to a value that changes in place.
//!
//! Touching the value takes it out of its entry, which shows no value meanwhile; `done` and `unchanged` put
//! it back. `done` records the change whole: dirty count, WATCH and tracking, removal when the value has
//! become empty. `unchanged` ends it without a trace. A guard that was touched and is dropped without
//! either panics in debug builds and records a plain change in release builds. One that is forgotten leaks
//! the value, and the key answers WRONGTYPE to everything but its deletion.

use super::{Found, Keyspace, Touched, WrongType};
use crate::ds::entry::{Content, enc};
use crate::ds::sds::Sds;
use crate::object::value::{StrRef, Value, Variant};
use crate::proto::args::Key;

pub struct Edit<'k, 'a> {
    ks: &'k mut Keyspace,
    at: Found<'a>,
    /// The value, taken out of its entry while it changes.
    value: Option<Value>,
    /// Bytes of the heap that the value held when it was taken out. The value is measured, not what the
    /// thread allocates meanwhile: that may be a reply.
    before: usize,
}

impl Keyspace {
    /// Gives a string that was stored empty its bytes. The command that stored it has announced the change
    /// already. The key may be gone, when it was set to expire in the past.
    pub fn fill(&mut self, db: usize, key: Key, bytes: Sds) {
        let Some(found) = self.find_as_is(db, key) else { return };
        let mut edit = self.edit(found);
        let s = edit.raw().expect("the key was set to a string");
        debug_assert!(s.is_empty(), "stored without its bytes");
        *s = bytes;
        edit.unchanged();
    }

    pub fn edit<'k, 'a>(&'k mut self, f: Found<'a>) -> Edit<'k, 'a> {
        let at = self.again(f);
        Edit { ks: self, at, value: None, before: 0 }
    }

    /// Moves a rehash inside a value some steps on, which changes how it lies and nothing else.
    #[inline]
    pub fn rehash_value<T: Variant>(&mut self, f: Found<'_>, steps: usize) -> Result<(), WrongType> {
        if self.value::<T>(&f)?.is_rehashing() {
            let mut edit = self.edit(f);
            edit.value::<T>()?.rehash(steps);
            edit.unchanged();
        }
        Ok(())
    }
}

impl<'a> Edit<'_, 'a> {
    /// Takes the value out of its entry; None when it lies inside.
    fn take(&mut self) -> Option<Value> {
        let value = Value::from_remains(self.ks.entry_mut(&self.at).take()?);
        self.before = value.heap_bytes();
        Some(value)
    }

    /// The string as growable raw bytes. Whatever its encoding was, it is `raw` from now on.
    pub fn raw(&mut self) -> Result<&mut Sds, WrongType> {
        if self.value.is_none() {
            let e = self.ks.at(&self.at);
            let s = match StrRef::of(e).ok_or(WrongType)? {
                StrRef::Bytes(_) if !e.is_inline() => match self.take() {
                    Some(Value::Str(_, s)) => s,
                    _ => unreachable!("a string outside of its entry"),
                },
                s => {
                    let mut room = itoa::Buffer::new();
                    Sds::from_slice(s.bytes(&mut room))
                }
            };
            self.value = Some(Value::Str(enc::RAW, s));
        }
        match &mut self.value {
            Some(Value::Str(_, s)) => Ok(s),
            _ => Err(WrongType),
        }
    }

    /// The value as `T`, to be changed in place.
    pub fn value<T: Variant>(&mut self) -> Result<&mut T, WrongType> {
        if self.value.is_none() {
            if self.ks.at(&self.at).ty() != T::TYPE {
                return Err(WrongType);
            }
            self.value = self.take();
        }
        self.value.as_mut().and_then(T::of_mut).ok_or(WrongType)
    }

    fn put_back(&mut self) {
        let Some(v) = self.value.take() else { return };
        let after = v.heap_bytes();
        let r = v.into_remains();
        if let Err(r) = self.ks.entry_mut(&self.at).give(r) {
            // The old value lay inside the entry: a word takes its place.
            let (hash, place) = (self.at.key.hash, self.at.place);
            let when = self.ks.at(&self.at).when();
            let db = &mut self.ks.dbs[self.at.db];
            let (place, old) = db.measured(|d| d.exchange(hash, place, Content::Word(r), when));
            self.at.place = place;
            drop(old.map(Value::from_remains));
        }
        self.ks.dbs[self.at.db].bytes += after.cast_signed() - self.before.cast_signed();
    }

    /// Records the change: `dirty` as upstream counts it.
    pub fn done(mut self, dirty: u64) -> Touched<'a> {
        let gone = self.value.as_ref().expect("something was touched").is_empty();
        self.put_back();
        let (db, key) = (self.at.db, self.at.key);
        self.ks.dirty += dirty;
        if gone {
            self.ks.remove_entry(self.at, false);
        }
        self.ks.signal_modified(db, key.bytes);
        Touched { db, key, gone }
    }

    pub fn unchanged(mut self) {
        self.put_back();
    }
}

impl Drop for Edit<'_, '_> {
    fn drop(&mut self) {
        if self.value.is_some() {
            debug_assert!(
                std::thread::panicking(),
                "a change was not recorded: call done() or unchanged()"
            );
            self.put_back();
            self.ks.dirty += 1;
            self.ks.signal_modified(self.at.db, self.at.key.bytes);
        }
    }
}
