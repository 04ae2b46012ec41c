//! Which key goes when memory is short, and how it goes.
//!
//! ```text
//! a few keys of each database ─► rank ─► pool: the 16 most dispensable seen so far ─► victim
//!                                          a ▁▂▃▄▅▆▇█ z   ascending; the last one goes first
//! ```
//!
//! Looking at every key would find the best victim and take for ever; looking at a handful finds a poor
//! one. The pool remembers the best of many handfuls, so that with five samples per round the choice
//! comes close to that of a true LRU. It holds names, not entries: a key may be gone, or have lost its
//! TTL, when its turn comes, and then the next one is taken.
//!
//! An evicted key is an execution unit of its own: removal, WATCH and tracking, the event, and DEL or
//! UNLINK for replicas and the AOF.

use super::{Keyspace, class};
use crate::ds::dict::Index;
use crate::ds::entry::EntryRef;
use crate::proto::args::Key;

/// Places of the pool (EVPOOL_SIZE).
const POOL: usize = 16;

/// By what keys are ranked.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Rank {
    Idle,
    Rarity,
    Ttl,
    Random,
}

/// `maxmemory-policy` and `maxmemory-samples`.
#[derive(Clone, Copy, Debug)]
pub struct Rule {
    pub rank: Rank,
    /// Only keys with a TTL may go.
    pub volatile: bool,
    pub samples: usize,
}

struct Candidate {
    /// The higher, the sooner it goes.
    score: u64,
    db: usize,
    name: Vec<u8>,
}

/// What is remembered from one victim to the next.
#[derive(Default)]
pub struct Pool {
    /// Ascending by score.
    best: Vec<Candidate>,
    /// Random victims come from each database in turn.
    next_db: usize,
}

impl Pool {
    /// Keeps a key if it is better than one of those that are here.
    fn offer(&mut self, score: u64, db: usize, name: &[u8]) {
        let mut at = self.best.partition_point(|c| c.score < score);
        let mut name_room = Vec::new();
        if self.best.len() == POOL {
            if at == 0 {
                return;
            }
            // The least of them makes room, and leaves its buffer.
            name_room = self.best.remove(0).name;
            name_room.clear();
            at -= 1;
        }
        name_room.extend_from_slice(name);
        self.best.insert(at, Candidate { score, db, name: name_room });
        debug_assert!(self.best.is_sorted_by_key(|c| c.score) && self.best.len() <= POOL);
    }
}

impl Keyspace {
    /// The next key to go, its database and name; None when no key may.
    pub fn victim(&mut self, pool: &mut Pool, rule: Rule) -> Option<(usize, Vec<u8>)> {
        debug_assert!(rule.samples > 0, "without samples no victim is found");
        if rule.rank == Rank::Random {
            return self.random_victim(pool, rule.volatile);
        }
        loop {
            let mut candidates = 0;
            for db in 0..self.dbs.len() {
                candidates += self.sample(db, pool, rule);
            }
            if candidates == 0 {
                return None;
            }
            while let Some(c) = pool.best.pop() {
                let found = self.peek(c.db, Key::new(&c.name));
                if found.is_some_and(|e| !rule.volatile || e.when().is_some()) {
                    return Some((c.db, c.name));
                }
            }
        }
    }

    /// Offers a few keys of a database to the pool. Returns how many there are to choose from.
    fn sample(&mut self, db: usize, pool: &mut Pool, rule: Rule) -> usize {
        let start = self.rng.next_u64();
        let index = if rule.volatile { Index::Expires } else { Index::Keys };
        let dict = self.dbs[db].dict();
        dict.some(index, rule.samples, start, |e| pool.offer(self.score(e, rule.rank), db, e.key()));
        if rule.volatile { self.dbs[db].volatile() } else { self.dbs[db].len() }
    }

    fn score(&self, e: EntryRef<'_>, rank: Rank) -> u64 {
        match rank {
            Rank::Idle => self.idle_ms(e),
            Rank::Rarity => u64::from(255 - self.lfu_counter(e)),
            // The sooner it ends by itself the better.
            Rank::Ttl => u64::MAX - e.when().unwrap_or(i64::MAX).max(0) as u64,
            Rank::Random => 0,
        }
    }

    fn random_victim(&mut self, pool: &mut Pool, volatile: bool) -> Option<(usize, Vec<u8>)> {
        let index = if volatile { Index::Expires } else { Index::Keys };
        for _ in 0..self.dbs.len() {
            pool.next_db = (pool.next_db + 1) % self.dbs.len();
            let rng = &mut self.rng;
            let dict = self.dbs[pool.next_db].dict();
            let place = dict.random(index, || rng.next_u64());
            if let Some(e) = place.and_then(|p| dict.at(p)) {
                return Some((pool.next_db, e.key().to_vec()));
            }
        }
        None
    }

    /// Evicts a key that is there. Returns the bytes that went with it, those included which a thread will
    /// free.
    pub fn evict(&mut self, db: usize, name: &[u8], lazy: bool) -> isize {
        let Some(found) = self.find_as_is(db, Key::new(name)) else { return 0 };
        let before = self.dbs[db].bytes;
        self.remove_entry(found, lazy);
        let freed = before - self.dbs[db].bytes;
        self.stats.evicted += 1;
        self.signal_gone_by_itself(db, name);
        self.event(db, name, class::EVICTED, "evicted");
        self.propagate_deletion(db, name, lazy);
        freed
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keyspace::store::{New, Ttl};
    use crate::keyspace::tests::counted;
    use crate::keyspace::{Effect, mode};

    const IDLE: Rule = Rule { rank: Rank::Idle, volatile: false, samples: 5 };

    fn add(ks: &mut Keyspace, db: usize, name: &str, ttl: Ttl) {
        let key = Key::new(name.as_bytes());
        let found = ks.admit(db, key, mode::WRITE);
        let _ = ks.set(db, key, New::Bytes(b"value"), ttl, found);
    }

    fn keyspace() -> Keyspace {
        let mut ks = Keyspace::new(4);
        ks.now_ms = 1_000_000_000;
        ks
    }

    /// Evicts everything that may go; names in the order they went.
    fn drain(ks: &mut Keyspace, rule: Rule) -> Vec<String> {
        let (mut pool, mut gone) = (Pool::default(), Vec::new());
        while let Some((db, name)) = ks.victim(&mut pool, rule) {
            ks.evict(db, &name, false);
            gone.push(String::from_utf8(name).expect("names of this test"));
        }
        gone
    }

    #[test]
    fn the_pool_keeps_the_best_sixteen_in_order() {
        let mut pool = Pool::default();
        let mut twin: Vec<u64> = Vec::new();
        let mut x = 7u64;
        for _ in 0..1000 {
            x = x.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let score = x >> 40;
            pool.offer(score, 0, &score.to_le_bytes());
            twin.push(score);
            twin.sort_unstable();
            twin.drain(..twin.len().saturating_sub(POOL));
            assert!(pool.best.iter().map(|c| c.score).eq(twin.iter().copied()));
            assert!(pool.best.iter().all(|c| c.name == c.score.to_le_bytes()));
        }
    }

    #[test]
    fn with_enough_samples_the_idlest_goes_first() {
        let mut ks = keyspace();
        for i in 0..12 {
            ks.now_ms += 5000;
            add(&mut ks, i % 3, &format!("k{i:02}"), Ttl::Clear);
        }
        let all = Rule { samples: 100, ..IDLE };
        let gone = drain(&mut ks, all);
        assert_eq!(gone, (0..12).map(|i| format!("k{i:02}")).collect::<Vec<_>>());
        assert_eq!((ks.keys(), ks.stats.evicted), (0, 12));
    }

    #[test]
    fn volatile_rules_spare_keys_without_a_ttl() {
        for rank in [Rank::Idle, Rank::Rarity, Rank::Ttl, Rank::Random] {
            let mut ks = keyspace();
            ks.policy.lfu = rank == Rank::Rarity;
            for i in 0..50 {
                add(&mut ks, i % 4, &format!("stays{i}"), Ttl::Clear);
                add(&mut ks, i % 4, &format!("goes{i}"), Ttl::At(2_000_000_000 + i as i64));
            }
            let gone = drain(&mut ks, Rule { rank, volatile: true, samples: 5 });
            assert_eq!((gone.len(), ks.keys()), (50, 50), "{rank:?}");
            assert!(gone.iter().all(|n| n.starts_with("goes")));
        }
    }

    #[test]
    fn the_ttl_rule_takes_what_ends_first() {
        let mut ks = keyspace();
        for i in [5, 1, 4, 2, 3] {
            add(&mut ks, 0, &format!("{i}"), Ttl::At(2_000_000_000 + i));
        }
        let gone = drain(&mut ks, Rule { rank: Rank::Ttl, volatile: true, samples: 10 });
        assert_eq!(gone, ["1", "2", "3", "4", "5"]);
    }

    #[test]
    fn a_candidate_that_lost_its_ttl_is_passed_over() {
        let mut ks = keyspace();
        let rule = Rule { rank: Rank::Ttl, volatile: true, samples: 10 };
        let mut pool = Pool::default();
        add(&mut ks, 0, "first", Ttl::At(2_000_000_001));
        add(&mut ks, 0, "second", Ttl::At(2_000_000_002));
        ks.sample(0, &mut pool, rule);
        let found = ks.admit(0, Key::new(b"first"), mode::WRITE).expect("it is there");
        ks.set_ttl(found, None);
        let (_, name) = ks.victim(&mut pool, rule).expect("the second may go");
        assert_eq!(name, b"second");
    }

    #[test]
    fn an_evicted_key_leaves_its_news_in_order_and_its_bytes() {
        // The bytes are those of this test alone.
        counted(5, || {
            let mut ks = keyspace();
            ks.policy.notify = class::EVICTED | class::KEYEVENT;
            ks.policy.ops = true;
            ks.policy.modified = true;
            ks.watched.add(b"key");
            add(&mut ks, 2, "key", Ttl::Clear);
            while ks.fx.pop().is_some() {}
            let held = ks.dbs[2].bytes;
            let (db, name) = ks.victim(&mut Pool::default(), IDLE).expect("one key");
            let freed = ks.evict(db, &name, true);
            assert!(freed > 0 && freed <= held);
            let mut news = Vec::new();
            while let Some(effect) = ks.fx.pop() {
                news.push(match effect {
                    Effect::Modified { .. } => "modified".to_string(),
                    Effect::Event { name, .. } => name.to_string(),
                    Effect::Op { args, .. } => String::from_utf8_lossy(&args.join(&b' ')).into_owned(),
                    Effect::Ready { .. } => "ready".to_string(),
                });
            }
            assert_eq!(news, ["modified", "evicted", "UNLINK key"]);
        });
    }
}
