//! Streams: blocks as they are, figures, groups with what is pending. The drawing is in `load::stream`.

use super::Out;
use crate::ds::entry::EntryRef;
use crate::object::stream::Stream;
use crate::object::stream::group::Group;
use crate::object::stream::id::Id;
use crate::persist::rdb::kind;
use std::io;

impl Out<'_> {
    pub(super) fn stream(&mut self, e: EntryRef<'_>, s: &Stream) -> io::Result<()> {
        self.head(kind::STREAM_LISTPACKS_3, e)?;
        let log = &s.log;
        self.length(log.block_count() as u64)?;
        log.try_each_block(|id, lp| {
            self.string(&id.key())?;
            self.string(lp.bytes())
        })?;
        self.length(log.length)?;
        for id in [log.last_id, log.first_id, log.max_deleted] {
            self.id(id)?;
        }
        self.length(log.entries_added)?;
        self.length(s.groups.len() as u64)?;
        s.groups.try_each(|name, group| self.group(name, group))
    }

    fn id(&mut self, id: Id) -> io::Result<()> {
        self.length(id.ms)?;
        self.length(id.seq)
    }

    fn group(&mut self, name: &[u8], group: &Group) -> io::Result<()> {
        self.string(name)?;
        self.id(group.last_id)?;
        self.length(group.entries_read.cast_unsigned())?;
        self.length(group.pending_len() as u64)?;
        let mut result = Ok(());
        group.for_each_pending(Id::MIN, |id, p| {
            result = self
                .raw(&id.key())
                .and_then(|()| self.raw(&p.delivered_at.to_le_bytes()))
                .and_then(|()| self.length(p.deliveries));
            result.is_ok()
        });
        result?;
        self.length(group.consumer_count() as u64)?;
        let mut result = Ok(());
        group.for_each_consumer(|c| {
            if result.is_err() {
                return;
            }
            result = self
                .string(&c.name)
                .and_then(|()| self.raw(&c.seen_at.to_le_bytes()))
                .and_then(|()| self.raw(&c.active_at.to_le_bytes()))
                .and_then(|()| self.length(c.pending_len() as u64));
            c.for_each_pending(|id| {
                if result.is_ok() {
                    result = self.raw(&id.key());
                }
                result.is_ok()
            });
        });
        result
    }
}
