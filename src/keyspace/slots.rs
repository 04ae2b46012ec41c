//! What a cluster asks of the keyspace: the keys of one slot. Clusters have one database.

use super::{Effect, Junk, Keyspace, class};
use crate::ds::entry::EntryRef;

/// The database that a cluster has.
pub const DB: usize = 0;

impl Keyspace {
    /// How many keys a slot holds.
    pub fn slot_len(&self, slot: usize) -> usize {
        self.dbs[DB].dict().slot_len(slot)
    }

    /// The entries of a slot.
    pub fn slot_iter(&self, slot: usize) -> impl Iterator<Item = EntryRef<'_>> {
        self.dbs[DB].dict().slot_iter(slot)
    }

    /// Deletes the keys of a slot that belongs to another node now: each leaves an op, an event and news for
    /// WATCH and tracking as if a client had deleted it. Returns how many there were.
    pub fn drop_slot(&mut self, slot: usize) -> usize {
        if self.slot_len(slot) == 0 {
            return 0;
        }
        let lazy = self.policy.lazy_server_del;
        let gone = self.dbs[DB].detach(slot);
        for e in gone.iter() {
            self.signal_modified(DB, e.key());
            self.event(DB, e.key(), class::GENERIC, "del");
            self.propagate_deletion(DB, e.key(), lazy);
            if self.awaits(e.key(), e.ty()) {
                self.fx.push(Effect::Ready { db: DB, key: e.key().into(), ty: e.ty(), gone: true });
            }
            self.dirty += 1;
        }
        let keys = gone.len();
        self.junk.push((Junk::Dict(Box::new(gone)), lazy));
        keys
    }
}
