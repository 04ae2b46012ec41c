//! Expiry: what happens to a key whose time has come, met by a lookup or found by the cycle.

use super::{Effect, Expiry, Keyspace, class, mode};
use crate::ds::entry::Entry;
use crate::proto::args::Key;

impl Keyspace {
    /// Deals with an expired entry that a lookup met. True when the lookup must not see it.
    #[cold]
    pub(super) fn expired_hides(&mut self, db: usize, key: Key, e: Entry, how: u8) -> bool {
        match self.policy.expiry {
            Expiry::Ignore => false,
            Expiry::Report | Expiry::Paused => true,
            Expiry::DeleteOnWrite | Expiry::Delete => {
                let may = self.policy.expiry == Expiry::Delete || how & mode::WRITE != 0;
                if may && how & mode::NOEXPIRE == 0 {
                    self.expire(db, key, e);
                }
                true
            }
        }
    }

    /// Is the key's time over? Deletes it where that is the rule. For what looks at keys without a
    /// lookup: DEL, SCAN, RANDOMKEY.
    pub fn expire_if_needed(&mut self, db: usize, key: Key, e: Entry) -> bool {
        e.when().is_some_and(|when| self.now_ms > when) && self.expired_hides(db, key, e, mode::READ)
    }

    /// Deletes an expired key: event, then op, as upstream orders them.
    pub fn expire(&mut self, db: usize, key: Key, e: Entry) {
        let lazy = self.policy.lazy_expire;
        self.remove_entry(db, key, e, lazy);
        self.stats.expired += 1;
        self.event(db, key.bytes, class::EXPIRED, "expired");
        self.signal_modified(db, key.bytes);
        self.propagate_deletion(db, key.bytes, lazy);
    }

    /// DEL or UNLINK of a key that went by itself.
    pub fn propagate_deletion(&mut self, db: usize, key: &[u8], lazy: bool) {
        if self.policy.ops {
            let name: &[u8] = if lazy { b"UNLINK" } else { b"DEL" };
            self.fx.push(Effect::Op { db, args: vec![name.into(), key.into()] });
        }
    }
}
