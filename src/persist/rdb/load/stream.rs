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
//! is pending twice in a group, with two consumers, with one but not in the group, or with nobody.

use super::{Loader, Result};
use crate::ds::listpack::Listpack;
use crate::object::stream::Stream;
use crate::object::stream::group::{Group, UNKNOWN};
use crate::object::stream::id::Id;
use crate::object::stream::node;
use crate::persist::rdb::kind;
use std::collections::BTreeMap;

/// What is pending in a group until its consumers say with whom: when and how often it was delivered.
type Unowned = BTreeMap<Id, (i64, u64)>;

impl Loader<'_> {
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
        let bytes = self.text()?;
        self.sanitized += u64::from(self.checks.deep);
        let lp = Listpack::from_bytes(&bytes).map_err(|_| BROKEN)?;
        if node::is_sound(&lp) { Ok(lp) } else { Err(BROKEN.into()) }
    }

    fn id(&mut self) -> Result<Id> {
        Ok(Id::new(self.length()?, self.length()?))
    }

    /// An ID as the bytes of its key.
    fn raw_id(&mut self) -> Result<Id> {
        let key = self.array::<16>()?;
        Id::from_key(&key).ok_or("a short read".into())
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
        let name = self.text()?;
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
