//! The runs: how a cluster is made, what goes wrong in it, and what must come of that.

use super::super::FailoverKind;
use super::super::slots::SLOTS;
use super::*;

/// A shard's slots, by number of the shard.
fn shard_slots(shard: usize, shards: usize) -> (u16, u16) {
    let each = usize::from(SLOTS) / shards;
    let end = if shard + 1 == shards { usize::from(SLOTS) } else { (shard + 1) * each };
    ((shard * each) as u16, end as u16 - 1)
}

impl World {
    /// Masters first, then replicas in turn, all met and agreed.
    fn cluster(seed: u64, masters: usize, replicas: usize, timeout: u64) -> World {
        let mut w = World::new(seed, masters * (1 + replicas), timeout);
        let all = w.machines.len();
        for m in 0..all {
            w.boot(m);
            w.run(7);
        }
        for m in 1..all {
            let (ip, to) = (w.machines[0].ip.to_string(), m);
            let met = w.with(to, |c, env, _| c.meet(ip.as_bytes(), b"7000", None, env));
            met.expect("it runs").expect("an address");
        }
        for m in 0..masters {
            let (start, end) = shard_slots(m, masters);
            let (start, end) = (start.to_string(), end.to_string());
            let args = [start.as_bytes(), end.as_bytes()];
            let added = w.with(m, |c, env, out| c.add_slots(&args, true, env, out));
            added.expect("it runs").expect("they are free");
        }
        for m in masters..all {
            let master = w.name(m % masters);
            let mut joined = false;
            for _ in 0..200 {
                let done = w.with(m, |c, env, out| c.replicate(master.as_bytes(), env, out));
                joined = done.expect("it runs").is_ok();
                if joined {
                    break;
                }
                w.run(100);
            }
            assert!(joined, "{m} hears of its master");
        }
        w.agree_within(20_000 + 4 * timeout, "a new cluster");
        // What was given by hand is on disk by now, too.
        for machine in &mut w.machines {
            machine.durable = machine.disk.clone();
        }
        w.checks_disk = true;
        w
    }

    fn name(&self, m: usize) -> String {
        self.machines[m].cluster.as_ref().expect("it runs").my_name().to_string()
    }

    fn is_master(&self, m: usize) -> bool {
        self.machines[m].cluster.as_ref().is_some_and(Cluster::is_master)
    }

    fn sees_as_replica(&self, m: usize, name: &str) -> bool {
        let cluster = self.machines[m].cluster.as_ref().expect("it runs");
        let name = name.as_bytes().try_into().expect("a name");
        let id = cluster.nodes.find(&name).expect("it is known");
        cluster.nodes.get(id).is_some_and(|n| n.is_replica())
    }

    fn any(&mut self) -> usize {
        self.rng.index(self.machines.len())
    }

    /// Runs on while clients write and two owners of one slot are looked for.
    fn live(&mut self, time: u64, doubles: &mut Doubles) {
        let end = self.now + time;
        while self.now < end {
            self.run(50);
            let slot = self.rng.below(u64::from(SLOTS)) as u16;
            self.write(slot);
            doubles.look(self);
        }
    }

    fn fault(&mut self) {
        let (a, b) = (self.any(), self.any());
        match self.rng.index(12) {
            0 => self.kill(a, false),
            1 => self.kill(a, true),
            2 | 3 if self.machines[a].cluster.is_none() => self.boot(a),
            4 => self.machines[a].stopped_until = self.now + self.rng.below(3 * self.timeout),
            5 => {
                self.set_cut(a, b, a != b);
                if !self.one_way {
                    self.set_cut(b, a, a != b);
                }
            }
            6 => self.partition(),
            7 => self.heal(),
            8 => self.machines[a].disk_works ^= true,
            9 => self.break_some(),
            10 if self.machines[a].cluster.is_some() => {
                let kinds = [FailoverKind::Default, FailoverKind::Force];
                let kind = kinds[self.rng.index(2)];
                // Refused where it makes no sense.
                let _ = self.with(a, |c, env, out| c.failover(kind, env, out));
            }
            _ => self.machines[a].skew = self.rng.below(1_000_000),
        }
    }

    fn partition(&mut self) {
        let sides: Vec<bool> = self.machines.iter().map(|_| false).collect();
        let sides: Vec<bool> = sides.into_iter().map(|_| self.rng.index(3) == 0).collect();
        for a in 0..sides.len() {
            for b in 0..sides.len() {
                self.set_cut(a, b, sides[a] != sides[b]);
            }
        }
    }

    fn break_some(&mut self) {
        for conn in 0..self.conns.len() {
            if self.conns[conn].open && self.rng.index(3) == 0 {
                self.break_conn(conn);
            }
        }
    }

    fn calm(&mut self) {
        self.heal();
        for m in 0..self.machines.len() {
            self.machines[m].stopped_until = 0;
            self.machines[m].disk_works = true;
            if self.machines[m].cluster.is_none() {
                self.boot(m);
            }
        }
    }
}

/// Since when slots are served by two nodes.
#[derive(Default)]
struct Doubles {
    since: BTreeMap<u16, u64>,
    longest: u64,
}

impl Doubles {
    fn look(&mut self, w: &World) {
        for slot in (0..SLOTS).step_by(509) {
            if w.serving(slot) > 1 {
                let since = *self.since.entry(slot).or_insert(w.now);
                self.longest = self.longest.max(w.now - since);
            } else {
                self.since.remove(&slot);
            }
        }
    }
}

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().and_then(|text| text.parse().ok())
}

fn seeds(runs: u64) -> impl Iterator<Item = u64> {
    let first = number("FIRST_SEED").unwrap_or(1);
    (first..first + number("SEEDS").unwrap_or(runs)).inspect(|seed| println!("seed {seed}"))
}

#[test]
fn after_any_faults_and_a_calm_all_nodes_agree() {
    for seed in seeds(60) {
        let mut rng = Rng::seeded(seed ^ 0x5eed);
        let (masters, replicas) = (3 + rng.index(3), rng.index(3));
        let timeout = [1000, 2000, 5000][rng.index(3)];
        let mut w = World::cluster(seed, masters, replicas, timeout);
        w.one_way = rng.index(3) == 0;
        let mut doubles = Doubles::default();
        for _ in 0..5 + rng.index(25) {
            w.fault();
            let pause = rng.below(2 * timeout);
            w.live(pause, &mut doubles);
        }
        w.calm();
        w.run(2 * timeout);
        w.agree_within(10_000 + 6 * timeout, "after the calm");
        // A master that hears all and is heard by none serves on.
        let most = timeout * 3 / 2 + 1000;
        let longest = doubles.longest;
        assert!(w.one_way || longest <= most, "two masters served a slot for {longest} ms");
    }
}

#[test]
fn a_master_that_dies_is_replaced_in_time() {
    for seed in seeds(40) {
        let timeout = [1000, 3000][(seed % 2) as usize];
        let mut w = World::cluster(seed, 5, 1 + (seed % 3) as usize, timeout);
        w.machines.iter_mut().for_each(|m| m.slowest_sync = 10);
        w.longest_delay = 20;
        let dead = 1 + w.rng.index(2);
        (0..dead).for_each(|m| w.kill(m, false));
        let slots: Vec<u16> = (0..dead).map(|m| shard_slots(m, 5).0).collect();
        let start = w.now;
        let limit = 2 * timeout + 3000 + 500 * (dead as u64 - 1) + 1000 * (seed % 3);
        while !slots.iter().all(|s| w.serving(*s) == 1) {
            w.run(50);
            assert!(w.now - start <= limit, "{} ms without a master", w.now - start);
        }
        w.calm();
        w.agree_within(10_000 + 4 * timeout, "the old masters are back");
        assert!((0..dead).all(|m| !w.is_master(m)), "they follow the new ones");
    }
}

#[test]
fn a_master_that_is_cut_off_stops_serving() {
    for seed in seeds(30) {
        let timeout = 2000;
        let mut w = World::cluster(seed, 3, 1, timeout);
        w.longest_delay = 20;
        for other in 1..w.machines.len() {
            w.set_cut(0, other, true);
            w.set_cut(other, 0, true);
        }
        w.run(timeout * 3 / 2 + 2 * TICK + 50);
        let serves = w.machines[0].cluster.as_ref().expect("it runs").serves(0);
        assert!(!serves, "it sees no majority");
        w.run(2 * timeout);
        assert_eq!(w.serving(0), 1, "its replica does");
        w.heal();
        w.agree_within(10_000 + 4 * timeout, "it is back");
        assert!(!w.is_master(0));
    }
}

#[test]
fn a_manual_failover_loses_no_write() {
    for seed in seeds(40) {
        let mut w = World::cluster(seed, 3, 2, 3000);
        let replica = 3;
        w.run(3000);
        let (mut asked, mut done) = (false, false);
        // Slower than the writes come.
        w.copied_at_most = 1;
        w.longest_delay = 150;
        let old = w.name(0);
        let mut knows = vec![false; w.machines.len()];
        for _ in 0..400 {
            w.run(10);
            w.write((w.now % 5000) as u16);
            if w.written == 50 && !std::mem::replace(&mut asked, true) {
                let begun = w.with(replica, |c, env, out| c.failover(FailoverKind::Default, env, out));
                begun.expect("it runs").expect("its master is there");
            }
            done |= w.is_master(replica);
            for (m, knows) in knows.iter_mut().enumerate() {
                // What the other link brings late does not turn it back.
                let is_replica = w.sees_as_replica(m, &old);
                assert!(is_replica || !*knows, "{m} takes the old master for one again");
                *knows = is_replica;
            }
        }
        assert!(done, "it takes over within seconds");
        w.agree_within(30_000, "after the failover");
        w.run(1000);
        let log = w.machines[replica].log.clone();
        let lost: Vec<_> = w.acked.iter().filter(|(_, n)| !log.contains(n)).collect();
        assert!(lost.is_empty(), "{lost:?} of {} are lost", w.acked.len());
        assert!(!w.is_master(0), "the old master follows");
    }
}

#[test]
fn a_forced_failover_and_a_takeover_need_no_master() {
    for seed in seeds(30) {
        let mut w = World::cluster(seed, 3, 1, 2000);
        let takeover = seed % 2 == 0;
        // Links that were opened twice by handshakes have closed by then: a vote sent over one is lost.
        w.run(3000);
        w.kill(0, false);
        if takeover {
            // No majority is left to vote.
            w.kill(1, false);
            w.kill(2, false);
        }
        let kind = if takeover { FailoverKind::Takeover } else { FailoverKind::Force };
        let done = w.with(3, |c, env, out| c.failover(kind, env, out));
        done.expect("it runs").expect("it is a replica");
        w.run(2000);
        assert!(w.is_master(3));
        if takeover {
            for m in [4, 5] {
                let done = w.with(m, |c, env, out| c.failover(kind, env, out));
                done.expect("it runs").expect("it is a replica");
            }
            w.run(8000);
            assert_eq!(w.serving(0) + w.serving(SLOTS - 1), 2);
        }
        w.calm();
        w.agree_within(40_000, "the dead are back");
        assert!(!w.is_master(0) && w.is_master(3));
    }
}

#[test]
fn a_slot_that_was_moved_stays_there() {
    for seed in seeds(40) {
        let mut w = World::cluster(seed, 3, 1, 2000);
        w.longest_delay = 400;
        let slot = b"100";
        let (from, to) = (w.name(0), w.name(1));
        let set = |w: &mut World, m: usize, action: &str, node: &str| {
            let node = Some(node.as_bytes());
            let done = w.with(m, |c, env, out| c.set_slot(slot, action.as_bytes(), node, env, out));
            done.expect("it runs").expect("it may");
        };
        set(&mut w, 1, "importing", &from);
        set(&mut w, 0, "migrating", &to);
        w.run(300);
        set(&mut w, 1, "node", &to);
        let pause = w.rng.below(300);
        w.run(pause);
        if w.rng.index(3) == 0 {
            w.break_some();
        }
        set(&mut w, 0, "node", &to);
        if w.rng.index(2) == 0 {
            w.kill(0, false);
            w.run(4000);
        }
        w.calm();
        w.agree_within(30_000, "after the move");
        let cluster = w.machines[2].cluster.as_ref().expect("it runs");
        let owner = cluster.owner(100).and_then(|id| cluster.nodes.get(id)).expect("it has an owner");
        assert_eq!(super::super::text(&owner.name), to);
    }
}

#[test]
fn a_replica_goes_to_the_master_that_has_lost_its_own() {
    for seed in seeds(20) {
        let timeout = 1000;
        let mut w = World::cluster(seed, 3, 2, timeout);
        // Both replicas of the first master, which stays.
        w.kill(3, false);
        w.kill(6, false);
        w.run(5000 + 10 * timeout);
        let cluster = w.machines[0].cluster.as_ref().expect("it runs");
        let good = cluster.nodes.good_replicas(cluster.me());
        assert!(good >= 1, "one has come");
        w.calm();
        w.agree_within(20_000 + 4 * timeout, "after the migration");
    }
}

#[test]
fn a_full_disk_takes_the_vote_and_not_the_service() {
    for seed in seeds(20) {
        let mut w = World::cluster(seed, 3, 1, 1000);
        w.machines[1].disk_works = false;
        w.machines[2].disk_works = false;
        // So that both find out.
        for m in [1, 2] {
            let asked = w.with(m, |c, env, out| c.bump_epoch(env, out));
            asked.expect("it runs").expect("nothing has failed yet");
        }
        w.run(3000);
        let (_, end) = shard_slots(1, 3);
        assert_eq!(w.serving(end), 1, "it goes on serving");
        w.kill(0, false);
        w.run(8000);
        assert!(!w.is_master(3), "two of three do not vote");
        let refused = w.with(1, |c, env, out| c.bump_epoch(env, out)).expect("it runs");
        assert!(refused.is_err());
        w.machines[1].disk_works = true;
        w.machines[2].disk_works = true;
        w.run(8000);
        assert!(w.is_master(3), "now they do");
        w.calm();
        w.agree_within(20_000, "after all");
    }
}

#[test]
fn a_big_cluster_meets_and_survives() {
    let (masters, timeout) = (number("MASTERS").unwrap_or(20) as usize, 3000);
    let mut w = World::cluster(7, masters, 1, timeout);
    w.longest_delay = 20;
    (0..masters / 2 - 1).for_each(|m| w.kill(m, false));
    let start = w.now;
    let slots: Vec<u16> = (0..masters).map(|m| shard_slots(m, masters).0).collect();
    while !slots.iter().all(|s| w.serving(*s) == 1) {
        w.run(100);
        assert!(w.now - start < 40_000 + 500 * masters as u64, "half of the masters are replaced");
    }
    println!("{} masters at once: {} ms", masters / 2 - 1, w.now - start);
    w.calm();
    w.agree_within(30_000, "after the calm");
}
