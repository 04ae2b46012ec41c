//! Expiry: what happens to a key whose time has come, met by a lookup or found by the cycle.

use super::{Effect, Expiry, Found, Keyspace, class, mode};
use crate::ds::dict::Index;
use crate::ds::entry::EntryRef;
use crate::proto::args::Key;

impl Keyspace {
    /// Deals with an expired entry that a lookup met. True when the lookup must not see it.
    #[cold]
    pub(super) fn expired_hides(&mut self, f: Found<'_>, how: u8) -> bool {
        match self.policy.expiry {
            Expiry::Ignore => false,
            Expiry::Report | Expiry::Paused => true,
            Expiry::DeleteOnWrite | Expiry::Delete => {
                let may = self.policy.expiry == Expiry::Delete || how & mode::WRITE != 0;
                if may && how & mode::NOEXPIRE == 0 {
                    self.expire(f);
                }
                true
            }
        }
    }

    /// Is the key's time over? Deletes it where that is the rule. For what looks at keys without a
    /// lookup: DEL, SCAN, RANDOMKEY.
    pub fn expire_if_needed(&mut self, db: usize, key: Key) -> bool {
        let Some(f) = self.find_as_is(db, key) else { return false };
        self.at(&f).when().is_some_and(|when| self.now_ms > when) && self.expired_hides(f, mode::READ)
    }

    /// Deletes a key whose time is over, whatever the policy; false when that is not so.
    pub fn expire_now(&mut self, db: usize, key: Key) -> bool {
        let Some(f) = self.find_as_is(db, key) else { return false };
        let over = self.at(&f).when().is_some_and(|when| self.now_ms > when);
        if over {
            self.expire(f);
        }
        over
    }

    /// Deletes an expired key: event, then op, as upstream orders them.
    pub(super) fn expire(&mut self, f: Found<'_>) {
        let lazy = self.policy.lazy_expire;
        self.remove_entry(f, lazy);
        self.stats.expired += 1;
        self.event(f.db, f.key.bytes, class::EXPIRED, "expired");
        self.signal_gone_by_itself(f.db, f.key.bytes);
        self.propagate_deletion(f.db, f.key.bytes, lazy);
    }

    /// DEL or UNLINK of a key that went by itself.
    pub(super) fn propagate_deletion(&mut self, db: usize, key: &[u8], lazy: bool) {
        if self.policy.ops {
            let name: &[u8] = if lazy { b"UNLINK" } else { b"DEL" };
            self.fx.push(Effect::Op { db, args: vec![name.into(), key.into()] });
        }
    }

    /// Shows the expire cycle some keys with a TTL, and moves on for the next time.
    pub fn sample_volatile(&mut self, db: usize, f: impl FnMut(EntryRef<'_>)) {
        let d = &mut self.dbs[db];
        d.expire_cursor = d.scan(Index::Expires, d.expire_cursor, f);
    }

    /// Takes in the average TTL of a sample, which weighs two percent; None when no key has one.
    pub fn average_ttl(&mut self, db: usize, sample: Option<i64>) {
        let d = &mut self.dbs[db];
        let Some(now) = sample else {
            d.avg_ttl = 0;
            return;
        };
        if d.avg_ttl == 0 {
            d.avg_ttl = now;
        }
        d.avg_ttl = d.avg_ttl / 50 * 49 + now / 50;
    }
}
