//! The guard: the only road to a value that changes in place.
//!
//! Touching the value arms it. `done` records the change whole: dirty count, WATCH and tracking,
//! removal when the value has become empty. `unchanged` ends it without a trace. An armed guard that is
//! dropped without either panics in debug builds and records a plain change in release builds, so
//! nobody forgets silently.

use super::{Found, Keyspace, Touched};
use crate::ds::entry::{enc, ty};
use crate::ds::sds::Sds;
use crate::object::value::{StrRef, Value, Variant};
use crate::proto::args::Key;
use crate::proto::error::CmdError;

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
    /// Gives a string that was stored empty its bytes; that the key has changed has been told. It may be
    /// gone again, when it was set to expire in the past.
    pub fn fill(&mut self, db: usize, key: Key, bytes: Sds) {
        let Some(entry) = self.peek(db, key) else { return };
        let found = self.token(db, key, entry);
        let mut edit = self.edit(found);
        let s = edit.raw().expect("the key was set to a string");
        debug_assert!(s.is_empty(), "stored without its bytes");
        *s = bytes;
        edit.unchanged();
    }

    pub fn edit<'k, 'a>(&'k mut self, f: Found<'a>) -> Edit<'k, 'a> {
        debug_assert_eq!(f.edits, self.edits, "admit again after a change");
        Edit { ks: self, at: f, value: None, before: 0 }
    }
}

impl<'a> Edit<'_, 'a> {
    /// The string as growable raw bytes. Whatever its encoding was, it is `raw` from now on.
    pub fn raw(&mut self) -> Result<&mut Sds, CmdError> {
        if self.value.is_none() {
            let s = match StrRef::of(&self.at.entry).ok_or(CmdError::WrongType)? {
                StrRef::Bytes(_) if !self.at.entry.is_inline() => {
                    let e = &self.at.entry;
                    match Value::from_remains(Some((e.ty(), e.enc(), e.word()))) {
                        Some(Value::Str(_, s)) => {
                            self.before = s.footprint();
                            s
                        }
                        _ => unreachable!("a string outside of its entry"),
                    }
                }
                s => {
                    let mut room = itoa::Buffer::new();
                    Sds::from_slice(s.bytes(&mut room))
                }
            };
            self.value = Some(Value::Str(enc::RAW, s));
        }
        match &mut self.value {
            Some(Value::Str(_, s)) => Ok(s),
            _ => Err(CmdError::WrongType),
        }
    }

    /// The value as `T`, to be changed in place.
    pub fn value<T: Variant>(&mut self) -> Result<&mut T, CmdError> {
        let e = self.at.entry;
        if e.ty() != T::TYPE {
            return Err(CmdError::WrongType);
        }
        let before = &mut self.before;
        let v = self.value.get_or_insert_with(|| {
            let v = Value::from_remains(Some((e.ty(), e.enc(), e.word()))).expect("the value is a word");
            *before = v.heap_bytes();
            v
        });
        Ok(T::of_mut(v).expect("the entry said so"))
    }

    fn put_back(&mut self) {
        let Some(v) = self.value.take() else { return };
        let after = v.heap_bytes();
        let (t, e, w) = v.into_word();
        let (db, entry, hash) = (self.at.db, self.at.entry, self.at.key.hash);
        if entry.is_inline() || (t == ty::STRING && entry.enc() == enc::INT) {
            // The old value lay inside the entry: a word takes its place.
            let payload = crate::ds::entry::Payload::Word(w);
            self.ks.dbs[db].measured(|d| d.exchange(hash, entry, t, e, payload, entry.when()));
        } else {
            entry.set_word(e, w);
        }
        self.ks.edits = self.ks.edits.wrapping_add(1);
        self.ks.dbs[db].bytes += after as isize - self.before as isize;
    }

    /// Records the change: `dirty` as upstream counts it.
    pub fn done(mut self, dirty: u64) -> Touched<'a> {
        let gone = self.value.as_ref().expect("something was touched").is_empty();
        self.put_back();
        let (db, key) = (self.at.db, self.at.key);
        self.ks.dirty += dirty;
        if gone {
            let e = self.ks.peek(db, key).expect("it was just changed");
            self.ks.remove_entry(db, key, e, false);
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
