//! A cluster by seed: some machines in one process, each with the real `Cluster`, on a network that delays,
//! cuts and partitions, disks that are slow or full, processes that stop and die, clocks that differ.
//!
//! ```text
//! seed ─► nodes meet, slots, replicas ─► faults for a while ─► calm: healed, restarted ─► all agree
//! ```
//!
//! Beside the bus runs a toy of replication: a master appends numbers, a replica copies them, and an offset
//! is a length. Looked at while it runs:
//!
//! - one vote for each epoch and voter, restarts included; no two winners of one epoch;
//! - what is on disk never goes back, and a vote, a request and an epoch are on disk before they are sent;
//! - two masters serve one slot for no longer than a cut-off one needs to notice;
//! - after the calm all nodes tell the same of owners, roles, shards and epochs.
//!
//! `SEEDS`, `FIRST_SEED` and `MASTERS` (of the big cluster) ask for more. A failing seed is printed.

mod runs;

use super::{Action, Cluster, Env, Event, LinkId, Now, Settings};
use crate::algo::rng::Rng;
use crate::proto::bus::{self, Body};
use crate::sys::log::Level;
use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, HashMap};
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

const TICK: u64 = 100;
const REPLICATE: u64 = 20;
const START: u64 = 1_000_000;

#[derive(Debug)]
enum What {
    Tick,
    Replicate,
    /// The dialed end hears of the connection, then the dialing one.
    Reached(usize),
    Open(usize),
    Packet {
        conn: usize,
        from: usize,
        block: Arc<[u8]>,
    },
    Gone {
        conn: usize,
        end: usize,
    },
    Saved {
        generation: u64,
        text: String,
        fsync: bool,
        works: bool,
    },
    Paused,
}

/// For one run of one machine's process; what is meant for an earlier one is void.
#[derive(Debug)]
struct Due {
    boot: u32,
    what: What,
}

struct Conn {
    ends: [usize; 2],
    links: [Option<LinkId>; 2],
    open: bool,
    ready: bool,
    /// When the last packet of each direction arrives: they do not overtake each other.
    last: [u64; 2],
    /// What was sent before it was open.
    early: Vec<Arc<[u8]>>,
    /// What waits for the end of a cut, by direction.
    stuck: [Vec<Arc<[u8]>>; 2],
}

struct Machine {
    cluster: Option<Cluster>,
    boot: u32,
    ip: IpAddr,
    conns: HashMap<LinkId, usize>,
    stopped_until: u64,
    /// Wall time is so far ahead.
    skew: u64,
    disk: String,
    durable: String,
    disk_works: bool,
    slowest_sync: u64,
    settings: Settings,
    // The toy of replication.
    log: Vec<u64>,
    filled: Box<[u64; 256]>,
    follows: Option<usize>,
    heard_at: u64,
    held_until: u64,
    /// Votes of this machine, and its epochs on disk, over all runs.
    greatest: (u64, u64, u64),
}

struct World {
    rng: Rng,
    now: u64,
    serial: u64,
    due: BinaryHeap<(Reverse<u64>, Reverse<u64>, usize)>,
    pending: HashMap<u64, Due>,
    machines: Vec<Machine>,
    conns: Vec<Conn>,
    /// From, to.
    cut: Vec<Vec<bool>>,
    /// Of two nodes one may hear the other and not be heard.
    one_way: bool,
    longest_delay: u64,
    timeout: u64,
    votes: BTreeMap<(String, u64), String>,
    winners: BTreeMap<u64, usize>,
    logs: Vec<(u64, usize, String)>,
    /// Acknowledged writes: slot, number.
    acked: Vec<(u16, u64)>,
    written: u64,
    copied_at_most: usize,
    checks_disk: bool,
}

/// `currentEpoch`, `lastVoteEpoch` and the own epoch of a file.
fn epochs_of(file: &str) -> (u64, u64, u64) {
    let number = |word: Option<&str>| word.and_then(|w| w.parse().ok()).unwrap_or(0);
    let mut all = (0, 0, 0);
    for line in file.lines() {
        let words: Vec<&str> = line.split(' ').collect();
        if words[0] == "vars" {
            (all.0, all.1) = (number(words.get(2).copied()), number(words.get(4).copied()));
        } else if words[2].starts_with("myself,master") {
            all.2 = number(words.get(6).copied());
        }
    }
    all
}

impl World {
    fn new(seed: u64, machines: usize, timeout: u64) -> World {
        let mut rng = Rng::seeded(seed);
        let all = (0..machines).map(|n| Machine {
            cluster: None,
            boot: 0,
            ip: IpAddr::V4(Ipv4Addr::new(10, 0, (n / 250) as u8, (n % 250) as u8 + 1)),
            conns: HashMap::new(),
            stopped_until: 0,
            skew: rng.below(5000),
            disk: String::new(),
            durable: String::new(),
            disk_works: true,
            slowest_sync: 1 + rng.below(60),
            settings: Settings { node_timeout: timeout, ..super::tests::settings() },
            log: Vec::new(),
            filled: Box::new([0; 256]),
            follows: None,
            heard_at: START,
            held_until: 0,
            greatest: (0, 0, 0),
        });
        let machines: Vec<Machine> = all.collect();
        let longest_delay = [2, 20, 150][rng.index(3)];
        World {
            now: START,
            serial: 0,
            due: BinaryHeap::new(),
            pending: HashMap::new(),
            cut: vec![vec![false; machines.len()]; machines.len()],
            machines,
            conns: Vec::new(),
            one_way: false,
            longest_delay,
            timeout,
            votes: BTreeMap::new(),
            winners: BTreeMap::new(),
            logs: Vec::new(),
            acked: Vec::new(),
            written: 0,
            copied_at_most: 20,
            checks_disk: false,
            rng,
        }
    }

    // ---- time ------------------------------------------------------------------------------------

    fn at(&mut self, time: u64, machine: usize, what: What) {
        self.serial += 1;
        let boot = self.machines[machine].boot;
        self.pending.insert(self.serial, Due { boot, what });
        self.due.push((Reverse(time), Reverse(self.serial), machine));
    }

    fn after(&mut self, delay: u64, machine: usize, what: What) {
        self.at(self.now + delay, machine, what);
    }

    fn delay(&mut self) -> u64 {
        1 + self.rng.below(self.longest_delay)
    }

    /// Lets this much time pass.
    fn run(&mut self, time: u64) {
        let end = self.now + time;
        while let Some((Reverse(at), Reverse(serial), machine)) = self.due.peek().copied() {
            if at > end {
                break;
            }
            self.due.pop();
            self.now = self.now.max(at);
            let until = self.machines[machine].stopped_until;
            if until > self.now {
                // A stopped process finds it all when it goes on.
                self.due.push((Reverse(until), Reverse(serial), machine));
                continue;
            }
            let due = self.pending.remove(&serial).expect("it is due once");
            if due.boot == self.machines[machine].boot {
                self.happens(machine, due.what);
            } else if let What::Reached(conn) = due.what {
                self.break_conn(conn);
            }
        }
        self.now = end;
    }

    fn happens(&mut self, m: usize, what: What) {
        match what {
            What::Tick => {
                self.after(TICK, m, What::Tick);
                self.event(m, Event::Tick);
            }
            What::Replicate => {
                self.after(REPLICATE, m, What::Replicate);
                self.replicate(m);
            }
            What::Reached(conn) => self.reached(m, conn),
            What::Open(conn) => {
                let link = self.conns[conn].links[0].filter(|_| self.conns[conn].open);
                if let Some(link) = link {
                    let local = Some(self.machines[m].ip);
                    self.conns[conn].ready = true;
                    let early = std::mem::take(&mut self.conns[conn].early);
                    early.into_iter().for_each(|block| self.transmit(conn, 0, block));
                    self.event(m, Event::Dialed { link, local });
                }
            }
            What::Packet { conn, from, block } => self.arrives(m, conn, from, block),
            What::Gone { conn, end } => {
                if let Some(link) = self.conns[conn].links[end].take() {
                    self.machines[m].conns.remove(&link);
                    self.event(m, Event::Closed { link });
                }
            }
            What::Saved { generation, text, fsync, works } => {
                let result = if works { Ok(()) } else { Err("No space left on device".into()) };
                if works {
                    self.on_disk(m, text, fsync);
                }
                self.event(m, Event::Saved { generation, result });
            }
            What::Paused => self.event(m, Event::Paused),
        }
    }

    fn on_disk(&mut self, m: usize, text: String, fsync: bool) {
        let (current, vote, own) = epochs_of(&text);
        let machine = &mut self.machines[m];
        let (c, v, o) = machine.greatest;
        assert!(current >= c && vote >= v && (own == 0 || own >= o), "epochs on disk go back: {text}");
        machine.greatest = (current, vote, o.max(own));
        if fsync {
            machine.durable = text.clone();
        }
        machine.disk = text;
    }

    // ---- machines --------------------------------------------------------------------------------

    fn now_of(&self, m: usize) -> Now {
        Now { mono: self.now, wall: self.now + 1_700_000_000_000 + self.machines[m].skew }
    }

    /// Hands an event to a machine, then lets its loop go round.
    fn event(&mut self, m: usize, event: Event<'_>) {
        self.with(m, |cluster, env, out| cluster.on(event, env, out));
    }

    fn with<R>(
        &mut self,
        m: usize,
        f: impl FnOnce(&mut Cluster, &Env<'_>, &mut Vec<Action>) -> R,
    ) -> Option<R> {
        let now = self.now_of(m);
        let machine = &mut self.machines[m];
        let mut cluster = machine.cluster.take()?;
        let replica = machine.follows.is_some();
        let age = self.now - machine.heard_at;
        let env = Env {
            now,
            offset: machine.log.len() as u64 + 1,
            loading: false,
            data_age: replica.then_some(age),
            hollow: false,
            filled: &machine.filled,
        };
        let mut out = Vec::new();
        let result = f(&mut cluster, &env, &mut out);
        while cluster.has_work(now) {
            let before = out.len();
            cluster.on(Event::Settle, &env, &mut out);
            if out.len() == before {
                break;
            }
        }
        machine.cluster = Some(cluster);
        for action in out {
            self.perform(m, action);
        }
        Some(result)
    }

    fn boot(&mut self, m: usize) {
        let now = self.now_of(m);
        let seed = self.rng.next_u64();
        let machine = &mut self.machines[m];
        machine.boot += 1;
        machine.conns.clear();
        machine.held_until = 0;
        let (settings, rng) = (machine.settings.clone(), Rng::seeded(seed));
        let cluster = match machine.disk.is_empty() {
            true => Cluster::new(settings, rng, now),
            false => {
                let text = machine.disk.clone();
                Cluster::read(settings, rng, &text, now).expect("what was written is read").0
            }
        };
        machine.follows = None;
        machine.cluster = Some(cluster);
        self.event(m, Event::Loaded);
        let offset = self.rng.below(TICK);
        self.after(offset, m, What::Tick);
        self.after(offset, m, What::Replicate);
    }

    /// The process dies; with the power what was not synced is lost.
    fn kill(&mut self, m: usize, power: bool) {
        let machine = &mut self.machines[m];
        if machine.cluster.take().is_none() {
            return;
        }
        machine.boot += 1;
        machine.stopped_until = 0;
        if power {
            machine.disk = machine.durable.clone();
            machine.greatest = epochs_of(&machine.disk);
        }
        let mut conns: Vec<usize> = machine.conns.drain().map(|(_, c)| c).collect();
        conns.sort_unstable();
        conns.into_iter().for_each(|c| self.break_conn(c));
    }

    fn find(&self, ip: IpAddr) -> usize {
        self.machines.iter().position(|m| m.ip == ip).expect("addresses are of machines")
    }

    fn perform(&mut self, m: usize, action: Action) {
        match action {
            Action::Log(Level::Debug, _) => {}
            Action::Log(_, text) => {
                if let Some(rest) = text.strip_prefix("configEpoch set to ")
                    && let Some(epoch) = rest.strip_suffix(" after successful failover")
                {
                    let epoch = epoch.parse().expect("a number");
                    let other = self.winners.insert(epoch, m);
                    assert!(other.is_none(), "two winners of {epoch}: {m} and {other:?}");
                }
                self.logs.push((self.now, m, text));
            }
            Action::Dial { link, ip, .. } => self.dial(m, link, ip),
            Action::Close { link } => {
                if let Some(conn) = self.machines[m].conns.remove(&link) {
                    let end = self.end(conn, m, link);
                    self.conns[conn].links[end] = None;
                    self.break_conn(conn);
                }
            }
            Action::Send { link, block } => self.send(m, link, block),
            Action::Save { text, fsync, generation } => {
                let works = self.machines[m].disk_works;
                let most = self.machines[m].slowest_sync;
                let delay = if fsync { 1 + self.rng.below(most) } else { 0 };
                self.after(delay, m, What::Saved { generation, text, fsync, works });
            }
            Action::Follow { ip, .. } => {
                let to = self.find(ip);
                self.machines[m].follows = Some(to);
                self.machines[m].heard_at = self.now;
            }
            Action::BecomeMaster => self.machines[m].follows = None,
            Action::FlushAll => {
                self.machines[m].log.clear();
                *self.machines[m].filled = [0; 256];
            }
            Action::PauseWrites { until } => {
                self.machines[m].held_until = until;
                let delay = self.rng.below(30);
                self.after(delay, m, What::Paused);
            }
            Action::ResumeWrites => self.machines[m].held_until = 0,
            Action::DropSlots(slots) => {
                for (have, gone) in self.machines[m].filled.iter_mut().zip(slots.iter()) {
                    *have &= !gone;
                }
            }
            Action::Unsubscribe(_) | Action::Lost(_) => {}
            Action::Publish { .. } | Action::Module { .. } | Action::Fatal(_) => {}
        }
    }

    // ---- the network -----------------------------------------------------------------------------

    fn end(&self, conn: usize, m: usize, link: LinkId) -> usize {
        let c = &self.conns[conn];
        usize::from(!(c.ends[0] == m && c.links[0] == Some(link)))
    }

    fn dial(&mut self, m: usize, link: LinkId, ip: IpAddr) {
        let to = self.find(ip);
        self.conns.push(Conn {
            ends: [m, to],
            links: [Some(link), None],
            open: true,
            ready: false,
            last: [0; 2],
            early: Vec::new(),
            stuck: [Vec::new(), Vec::new()],
        });
        let conn = self.conns.len() - 1;
        self.machines[m].conns.insert(link, conn);
        let delay = self.delay();
        if self.machines[to].cluster.is_none() {
            self.after(delay, m, What::Gone { conn, end: 0 });
        } else if !self.cut[m][to] && !self.cut[to][m] {
            self.after(delay, to, What::Reached(conn));
        }
        // Else it hangs.
    }

    fn reached(&mut self, m: usize, conn: usize) {
        let from = self.conns[conn].ends[0];
        if !self.conns[conn].open {
            return;
        }
        let (peer, local) = (self.machines[from].ip, Some(self.machines[m].ip));
        let link = self.with(m, |cluster, env, _| cluster.accept(peer, local, env)).flatten();
        let Some(link) = link else { return self.break_conn(conn) };
        self.conns[conn].links[1] = Some(link);
        self.machines[m].conns.insert(link, conn);
        let delay = self.delay();
        self.after(delay, from, What::Open(conn));
    }

    fn send(&mut self, m: usize, link: LinkId, block: Arc<[u8]>) {
        self.look_at_claims(m, &block);
        let Some(conn) = self.machines[m].conns.get(&link).copied() else { return };
        let end = self.end(conn, m, link);
        if end == 0 && !self.conns[conn].ready {
            return self.conns[conn].early.push(block);
        }
        self.transmit(conn, end, block);
    }

    fn transmit(&mut self, conn: usize, end: usize, block: Arc<[u8]>) {
        let (m, to) = (self.conns[conn].ends[end], self.conns[conn].ends[1 - end]);
        if self.cut[m][to] {
            return self.conns[conn].stuck[end].push(block);
        }
        let delay = self.delay();
        let at = (self.now + delay).max(self.conns[conn].last[end]);
        self.conns[conn].last[end] = at;
        self.at(at, to, What::Packet { conn, from: end, block });
    }

    fn arrives(&mut self, m: usize, conn: usize, from: usize, block: Arc<[u8]>) {
        let c = &mut self.conns[conn];
        let sender = c.ends[from];
        if self.cut[sender][m] || !c.stuck[from].is_empty() {
            return c.stuck[from].push(block);
        }
        let Some(link) = c.links[1 - from] else { return };
        let whole = self.machines[m].cluster.as_ref().map(|c| c.frame_limit(link, &block));
        match whole {
            Some(Ok(Some(length))) => {
                assert_eq!(length, block.len());
                self.event(m, Event::Frame { link, bytes: &block });
            }
            Some(_) => panic!("a node does not take what another has sent: {whole:?}"),
            None => {}
        }
    }

    fn break_conn(&mut self, conn: usize) {
        if !std::mem::replace(&mut self.conns[conn].open, false) {
            return;
        }
        for end in 0..2 {
            let (m, other) = (self.conns[conn].ends[end], self.conns[conn].ends[1 - end]);
            self.conns[conn].stuck[end].clear();
            // Across a cut neither end hears of it.
            if self.conns[conn].links[end].is_some() && !self.cut[other][m] {
                let delay = self.delay();
                let at = (self.now + delay).max(self.conns[conn].last[1 - end]);
                self.at(at, m, What::Gone { conn, end });
            }
        }
    }

    fn set_cut(&mut self, from: usize, to: usize, cut: bool) {
        if std::mem::replace(&mut self.cut[from][to], cut) == cut || cut {
            return;
        }
        for conn in 0..self.conns.len() {
            let c = &self.conns[conn];
            let Some(end) = (0..2).find(|e| c.ends[*e] == from && c.ends[1 - *e] == to) else {
                continue;
            };
            if !c.open || self.rng.index(2) == 0 {
                // Retransmitted to an end that does not know it any more.
                self.conns[conn].open = true;
                self.break_conn(conn);
                continue;
            }
            for block in std::mem::take(&mut self.conns[conn].stuck[end]) {
                let delay = self.delay();
                let at = (self.now + delay).max(self.conns[conn].last[end]);
                self.conns[conn].last[end] = at;
                self.at(at, to, What::Packet { conn, from: end, block });
            }
        }
    }

    fn heal(&mut self) {
        for a in 0..self.machines.len() {
            for b in 0..self.machines.len() {
                self.set_cut(a, b, false);
            }
        }
    }

    // ---- the toy of replication ------------------------------------------------------------------

    fn replicate(&mut self, m: usize) {
        let Some(from) = self.machines[m].follows else { return };
        let up = self.machines[from].cluster.is_some() && self.machines[from].stopped_until <= self.now;
        if from == m || !up || self.cut[m][from] || self.cut[from][m] {
            return;
        }
        let (log, filled) = (self.machines[from].log.clone(), self.machines[from].filled.clone());
        let machine = &mut self.machines[m];
        machine.heard_at = self.now;
        // Some at a time; another history is copied whole.
        let same = log.starts_with(&machine.log);
        let most = machine.log.len() + 1 + self.rng.index(self.copied_at_most);
        machine.log = if same { log[..log.len().min(most)].to_vec() } else { log };
        machine.filled = filled;
        let now = self.now_of(m);
        let waits = self.machines[m].cluster.as_ref().is_some_and(|c| c.has_work(now));
        if waits {
            self.event(m, Event::Settle);
        }
    }

    /// A client writes to any node that serves the slot. Was it acknowledged?
    fn write(&mut self, slot: u16) -> bool {
        let able = |m: &Machine| {
            let runs = m.stopped_until <= self.now && m.held_until <= self.now;
            runs && m.cluster.as_ref().is_some_and(|c| c.serves(slot))
        };
        let Some(m) = self.machines.iter().position(able) else { return false };
        self.written += 1;
        let number = self.written;
        let machine = &mut self.machines[m];
        machine.log.push(number);
        machine.filled[usize::from(slot >> 6)] |= 1 << (slot & 63);
        self.acked.push((slot, number));
        true
    }

    // ---- what must hold --------------------------------------------------------------------------

    fn look_at_claims(&mut self, m: usize, block: &[u8]) {
        let msg = bus::decode(block).expect("what is sent can be read");
        let durable = epochs_of(&self.machines[m].durable);
        let epoch = msg.header.current_epoch;
        match msg.body {
            Body::AuthAck => assert!(durable.1 >= epoch, "a vote of {epoch} that is not on disk"),
            Body::AuthRequest => {
                assert!(durable.0 >= epoch, "a request of {epoch} that is not on disk");
            }
            _ => {}
        }
        if self.checks_disk && msg.header.master.is_none() && msg.header.config_epoch > 0 {
            let told = msg.header.config_epoch;
            assert!(durable.2 >= told, "{m} tells of epoch {told}, on disk is {durable:?}");
        }
        if matches!(msg.body, Body::AuthAck) {
            let name = super::text(msg.header.sender).to_string();
            // Its receiver is not in there; one ACK for each epoch is all that may be.
            let other = self.votes.insert((name.clone(), epoch), self.now.to_string());
            assert!(other.is_none(), "{name} has voted twice in {epoch}: {other:?}, {}", self.now);
        }
    }

    /// How many nodes serve this slot.
    fn serving(&self, slot: u16) -> usize {
        let runs = |m: &&Machine| m.stopped_until <= self.now;
        let serves = |m: &Machine| m.cluster.as_ref().is_some_and(|c| c.serves(slot));
        self.machines.iter().filter(runs).filter(|m| serves(m)).count()
    }

    /// What a node knows, without what differs between nodes.
    fn view(&self, m: usize) -> Option<Vec<String>> {
        let cluster = self.machines[m].cluster.as_ref()?;
        let mut lines: Vec<String> = Vec::new();
        for (_, node) in cluster.nodes.iter() {
            let master = node.master.and_then(|id| cluster.nodes.get(id)).map(|n| n.name);
            assert!(master.is_none() || node.replicas.is_empty(), "one level deep");
            let epoch = if master.is_none() { node.config_epoch } else { 0 };
            let flags = node.flags.only(bus::Flags(1 | 2 | 4 | 8 | 32 | 64));
            lines.push(format!(
                "{} {:?} {} {} {epoch} {:?}",
                super::text(&node.name),
                flags,
                super::text(&node.shard),
                master.map_or("-".into(), |n| super::text(&n).to_string()),
                node.slots.ranges()
            ));
        }
        lines.sort();
        lines.push(format!("{} {}", cluster.is_ok(), cluster.current_epoch));
        Some(lines)
    }

    /// Why the nodes do not agree, if they do not.
    fn differs(&self) -> Option<String> {
        let views: Vec<_> = (0..self.machines.len()).filter_map(|m| self.view(m)).collect();
        let first = views.first()?;
        for (m, view) in views.iter().enumerate() {
            if view != first {
                return Some(format!("0: {first:#?}\n{m}: {view:#?}"));
            }
        }
        if !first.last()?.starts_with("true") {
            return Some(format!("the state is fail: {first:#?}"));
        }
        let cluster = self.machines.iter().find_map(|m| m.cluster.as_ref())?;
        let mut epochs: Vec<u64> = Vec::new();
        for (_, node) in cluster.nodes.iter().filter(|(_, n)| n.is_master()) {
            if epochs.contains(&node.config_epoch) {
                return Some(format!("two masters have epoch {}", node.config_epoch));
            }
            epochs.push(node.config_epoch);
        }
        None
    }

    fn agree_within(&mut self, time: u64, why: &str) {
        let end = self.now + time;
        while self.now < end {
            self.run(200);
            if self.differs().is_none() {
                return;
            }
        }
        panic!("{why}: no agreement:\n{}", self.differs().unwrap_or_default());
    }
}

impl Drop for World {
    fn drop(&mut self) {
        if std::thread::panicking() {
            for (at, m, line) in self.logs.iter().skip(self.logs.len().saturating_sub(400)) {
                eprintln!("{at} {m}: {line}");
            }
        }
    }
}
