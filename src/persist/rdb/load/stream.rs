//! Streams, in the three forms that there have been.
//!
//! ```text
//! blocks n, ( key 16 bytes as a string, listpack )*
//! length | last ID | first ID, greatest deleted ID, entries added                   since form 2
//! groups n, ( name | last ID | entries read (form 2)
//!             pending n,   ( ID 16 bytes, time 8 bytes, deliveries )*
//!             consumers n, ( name | seen 8 bytes | active 8 bytes (form 3) | pending n, ( ID )* )* )*
//! an ID is two lengths, but where it says 16 bytes
//! ```
//!
//! What form 1 does not say is reckoned: as if nothing had ever been deleted.
//!
//! Ways to be broken: a key that is no ID or comes twice, a block that is not one to its last piece,
//! entries counted where there is no block; a group or consumer of a name that is taken; an entry that
//! is pending twice in a group, with two consumers, with one but not in the group, or with none.

use super::{Decoder, Error, Result, Source};
use crate::ds::listpack::Listpack;
use crate::object::stream::Stream;
use crate::object::stream::group::{Group, UNKNOWN};
use crate::object::stream::id::Id;
use crate::object::stream::node;
use crate::persist::rdb::kind;
use std::collections::BTreeMap;

/// Entries pending in a group whose consumer has not been read yet: when and how often each was delivered.
type Unowned = BTreeMap<Id, (i64, u64)>;

impl<S: Source> Decoder<S> {
    pub(super) fn stream(&mut self, t: u8) -> Result<Stream> {
        let mut s = Stream::default();
        for _ in 0..self.length()? {
            let key = self.text()?;
            let id = Id::from_key(&key).ok_or("Stream node key entry is not the size of a stream ID")?;
            let block = self.block()?;
            if !s.log.add_block(id, block) {
                return Err("Listpack re-added with existing key".into());
            }
        }
        s.log.length = self.length()?;
        s.log.last_id = self.id()?;
        if t == kind::STREAM_LISTPACKS {
            s.log.entries_added = s.log.length;
            s.log.settle_first_id();
        } else {
            s.log.first_id = self.id()?;
            s.log.max_deleted = self.id()?;
            s.log.entries_added = self.length()?;
        }
        if s.log.length > 0 && s.log.block_count() == 0 {
            return Err("Stream length inconsistent with rax entries".into());
        }
        for _ in 0..self.length()? {
            let (name, group) = self.group(t, &s)?;
            if !s.groups.add(&name, group) {
                return Err("Duplicated consumer group name".into());
            }
        }
        Ok(s)
    }

    fn block(&mut self) -> Result<Listpack> {
        const BROKEN: &str = "Stream listpack integrity check failed.";
        self.sanitized += u64::from(self.checks.deep);
        let bytes = self.text()?;
        let lp = Listpack::from_bytes(&bytes).map_err(|_| BROKEN)?;
        if node::is_sound(&lp) { Ok(lp) } else { Err(BROKEN.into()) }
    }

    fn id(&mut self) -> Result<Id> {
        Ok(Id::new(self.length()?, self.length()?))
    }

    /// An ID as the bytes of its key.
    fn raw_id(&mut self) -> Result<Id> {
        let key = self.array::<16>()?;
        Id::from_key(&key).ok_or(Error::Short)
    }

    fn time(&mut self) -> Result<i64> {
        Ok(i64::from_le_bytes(self.array()?))
    }

    fn group(&mut self, t: u8, s: &Stream) -> Result<(Vec<u8>, Group)> {
        let name = self.text()?.into_owned();
        let last_id = self.id()?;
        let entries_read = if t == kind::STREAM_LISTPACKS {
            s.log.added_until(last_id).map_or(UNKNOWN, u64::cast_signed)
        } else {
            self.length()?.cast_signed()
        };
        let mut group = Group::new(last_id, entries_read);
        let mut unowned = Unowned::new();
        for _ in 0..self.length()? {
            let id = self.raw_id()?;
            let record = (self.time()?, self.length()?);
            if unowned.insert(id, record).is_some() {
                return Err("Duplicated global PEL entry loading stream consumer group".into());
            }
        }
        for _ in 0..self.length()? {
            self.consumer(t, &mut group, &mut unowned)?;
        }
        if unowned.is_empty() {
            Ok((name, group))
        } else {
            Err("Stream CG PEL entry without consumer".into())
        }
    }

    fn consumer(&mut self, t: u8, group: &mut Group, unowned: &mut Unowned) -> Result<()> {
        let name = self.text()?.into_owned();
        let seen_at = self.time()?;
        let who = group.add_consumer(&name, seen_at).ok_or("Duplicate stream consumer detected.")?;
        group.consumer_mut(who).active_at =
            if t == kind::STREAM_LISTPACKS_3 { self.time()? } else { seen_at };
        for _ in 0..self.length()? {
            let id = self.raw_id()?;
            let Some((delivered_at, deliveries)) = unowned.remove(&id) else {
                let twice = group.pending(id).is_some();
                return Err(match twice {
                    true => "Duplicated consumer PEL entry loading a stream consumer group",
                    false => "Consumer entry not found in group global PEL",
                }
                .into());
            };
            group.assign(id, who, delivered_at, deliveries);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Checks, Loaded, Memory, Refusal, restore};
    use super::*;
    use crate::object::ValueLimits;
    use crate::object::digest::Digest;
    use crate::object::stream::entries;
    use crate::object::value::{Value, ValueKind};

    /// The forms, spelled out: every length in nine bytes, no compression.
    struct Spell(Vec<u8>);

    impl Spell {
        fn length(&mut self, n: u64) -> &mut Self {
            self.0.push(0x81);
            self.0.extend(n.to_be_bytes());
            self
        }
        fn raw(&mut self, b: &[u8]) -> &mut Self {
            self.0.extend(b);
            self
        }
        fn text(&mut self, b: &[u8]) -> &mut Self {
            self.length(b.len() as u64).raw(b)
        }
        fn id(&mut self, id: Id) -> &mut Self {
            self.length(id.ms).length(id.seq)
        }
        fn payload(&self) -> Vec<u8> {
            [&self.0[..], &[0, 0], &[0xff; 8]].concat()
        }
    }

    fn spell(s: &Stream, t: u8) -> Spell {
        let (mut out, log) = (Spell(vec![t]), &s.log);
        out.length(log.block_count() as u64);
        let all: Result<()> = log.try_each_block(|id, lp| {
            out.text(&id.key()).text(lp.bytes());
            Ok(())
        });
        all.expect("nothing fails");
        out.length(log.length).id(log.last_id);
        if t > kind::STREAM_LISTPACKS {
            out.id(log.first_id).id(log.max_deleted).length(log.entries_added);
        }
        out.length(s.groups.len() as u64);
        s.groups.for_each(|name, g| {
            out.text(name).id(g.last_id);
            if t > kind::STREAM_LISTPACKS {
                out.length(g.entries_read.cast_unsigned());
            }
            out.length(g.pending_len() as u64);
            g.for_each_pending(Id::MIN, |id, p| {
                out.raw(&id.key()).raw(&p.delivered_at.to_le_bytes()).length(p.deliveries);
                true
            });
            out.length(g.consumer_count() as u64);
            g.for_each_consumer(|c| {
                out.text(&c.name).raw(&c.seen_at.to_le_bytes());
                if t == kind::STREAM_LISTPACKS_3 {
                    out.raw(&c.active_at.to_le_bytes());
                }
                out.length(c.pending_len() as u64);
                c.for_each_pending(|id| {
                    out.raw(&id.key());
                    true
                });
            });
        });
        out
    }

    fn load(payload: &[u8]) -> std::result::Result<Stream, String> {
        let checks = Checks { checksum: false, deep: true };
        match restore(payload, ValueLimits::default(), checks, &mut 0) {
            Ok(Loaded::Value(Value::Stream(s))) => Ok(s),
            Ok(_) => Err("no stream".into()),
            Err(Refusal::Format(_, why)) => Err(why),
            Err(Refusal::Footer) => Err("footer".into()),
        }
    }

    fn digest(s: &Stream) -> Digest {
        let mut d = Digest::default();
        s.digest(&mut d);
        d
    }

    /// Six entries in three blocks, of which the third was deleted; a group that is behind it.
    fn sample() -> Stream {
        let mut s = Stream::default();
        for ms in 1..=6 {
            let limits = entries::StreamLimits { bytes: 0, entries: 2 };
            s.log.append(Id::new(ms, 1), &[[b"f", b"v"]], limits).expect("it fits");
        }
        s.log.delete(&[Id::new(3, 1)]);
        let mut g = Group::new(Id::new(2, 1), 2);
        let (a, b) = (g.add_consumer(b"alice", 70), g.add_consumer(b"bob", 71));
        g.consumer_mut(a.expect("new")).active_at = 65;
        g.assign(Id::new(1, 1), a.expect("new"), 60, 3);
        g.assign(Id::new(2, 1), b.expect("new"), 61, 1);
        s.groups.add(b"g", g);
        s
    }

    #[test]
    fn every_form_is_read() {
        let s = sample();
        for t in [kind::STREAM_LISTPACKS, kind::STREAM_LISTPACKS_2, kind::STREAM_LISTPACKS_3] {
            let back = load(&spell(&s, t).payload()).expect("sound");
            assert_eq!(digest(&back), digest(&s));
            let (log, g) = (&back.log, back.groups.get(b"g").expect("it was saved"));
            assert_eq!((log.length, log.last_id, log.first_id), (5, Id::new(6, 1), Id::new(1, 1)));
            // Forms before 2 do not tell of deletions.
            let known = t > kind::STREAM_LISTPACKS;
            let want = if known { (Id::new(3, 1), 6, 2) } else { (Id::MIN, 5, UNKNOWN) };
            assert_eq!((log.max_deleted, log.entries_added, g.entries_read), want);
            let alice = g.consumer(g.find_consumer(b"alice").expect("saved"));
            let active_at = if t == kind::STREAM_LISTPACKS_3 { 65 } else { 70 };
            assert_eq!((alice.seen_at, alice.active_at, alice.pending_len()), (70, active_at, 1));
            let p = g.pending(Id::new(1, 1)).expect("saved");
            assert_eq!((p.delivered_at, p.deliveries), (60, 3));
        }
    }

    #[test]
    fn ends_inside_are_errors() {
        let whole = spell(&sample(), kind::STREAM_LISTPACKS_3).0;
        let read = |n: usize| {
            let checks = Checks { checksum: false, deep: true };
            let (source, limits) = (Memory::new(&whole[1..n]), ValueLimits::default());
            let mut d = Decoder { source, limits, checks, sanitized: 0 };
            d.stream(kind::STREAM_LISTPACKS_3).map(|_| d.source.left())
        };
        assert!(matches!(read(whole.len()), Ok(0)));
        assert!((1..whole.len()).all(|n| read(n).is_err()));
    }

    fn blocks(n: u64) -> Spell {
        let mut out = Spell(vec![kind::STREAM_LISTPACKS_3]);
        out.length(n);
        out
    }

    /// What stands between blocks and groups.
    fn figures(out: &mut Spell, length: u64) {
        out.length(length).id(Id::new(1, 0)).id(Id::new(1, 0)).id(Id::MIN).length(1);
    }

    fn key(ms: u64) -> [u8; 16] {
        Id::new(ms, 0).key()
    }

    fn why(out: &Spell) -> String {
        load(&out.payload()).err().unwrap_or_default()
    }

    #[test]
    fn broken_blocks_have_their_errors() {
        let mut log = entries::Log::default();
        let limits = entries::StreamLimits { bytes: 0, entries: 0 };
        log.append(Id::new(1, 0), &[[b"f", b"v"]], limits).expect("it fits");
        let mut block = Vec::new();
        let all: Result<()> = log.try_each_block(|_, lp| {
            block = lp.bytes().to_vec();
            Ok(())
        });
        all.expect("nothing fails");
        let mut out = blocks(1);
        out.text(b"short").text(&block);
        assert!(why(&out).contains("not the size of a stream ID"));
        let mut out = blocks(2);
        out.text(&key(1)).text(&block).text(&key(1)).text(&block);
        assert!(why(&out).contains("existing key"));
        let mut out = blocks(1);
        out.text(&key(1)).text(Listpack::new().bytes());
        assert!(why(&out).contains("integrity"));
        let mut out = blocks(0);
        figures(&mut out, 1);
        assert!(why(&out).contains("length inconsistent"));
    }

    /// A group of no consumers yet, with what is pending.
    fn group(out: &mut Spell, pending: &[u64]) {
        out.text(b"g").id(Id::MIN).length(0).length(pending.len() as u64);
        pending.iter().for_each(|ms| {
            out.raw(&key(*ms)).raw(&[0; 8]).length(1);
        });
    }

    fn consumer(out: &mut Spell, name: &[u8], pending: &[u64]) {
        out.text(name).raw(&[0; 16]).length(pending.len() as u64);
        pending.iter().for_each(|ms| {
            out.raw(&key(*ms));
        });
    }

    fn with_groups(n: u64) -> Spell {
        let mut out = blocks(0);
        figures(&mut out, 0);
        out.length(n);
        out
    }

    #[test]
    fn broken_groups_have_their_errors() {
        let mut out = with_groups(2);
        for _ in 0..2 {
            group(&mut out, &[]);
            out.length(0);
        }
        assert!(why(&out).contains("Duplicated consumer group"));
        let mut out = with_groups(1);
        group(&mut out, &[5, 5]);
        assert!(why(&out).contains("Duplicated global PEL"));
        for (pending, first, second, text) in [
            (&[5][..], &[][..], &[][..], "without consumer"),
            (&[5], &[6], &[], "not found in group"),
            (&[5], &[5], &[5], "Duplicated consumer PEL"),
            (&[5], &[5], &[], "Duplicate stream consumer"),
        ] {
            let mut out = with_groups(1);
            group(&mut out, pending);
            let same = text.starts_with("Duplicate stream");
            out.length(2);
            consumer(&mut out, b"alice", first);
            consumer(&mut out, if same { b"alice" } else { b"bob" }, second);
            assert!(why(&out).contains(text), "{text}: {}", why(&out));
        }
    }
}
