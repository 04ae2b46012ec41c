//! The machine of one node, packet by packet: what is believed, what is refused, what is said.

mod commands;
mod conf;
mod rules;

use super::*;
use crate::config::choices::EndpointType;
use crate::proto::bus::{self, Body, Entries, Ext, Exts, Gossip, Header, Kind, Msg, SlotBytes};
use crate::proto::error::CmdError;
use slots::SLOTS;

const NONE: &SlotWords = &[0; 256];

pub(super) fn settings() -> Settings {
    Settings {
        node_timeout: 1000,
        ping_interval: 0,
        migration_barrier: 1,
        validity_factor: 10,
        repl_ping_period: 10,
        require_full_coverage: true,
        allow_replica_migration: true,
        replica_no_failover: false,
        module_no_failover: false,
        no_redirection: false,
        announce_ip: None,
        announce_port: 0,
        announce_tls_port: 0,
        announce_bus_port: 0,
        cluster_port: 0,
        announce_hostname: None,
        announce_nodename: None,
        port: 7000,
        tls_port: 0,
        tls_cluster: false,
        tls_replication: false,
        endpoint: EndpointType::Ip,
        max_bulk: 1 << 20,
        exit_on_failed_save: false,
    }
}

fn name(c: char) -> Name {
    [c as u8; 40]
}

fn ip(text: &str) -> IpAddr {
    text.parse().expect("an address")
}

fn slot_bytes(from: u16, to: u16) -> SlotBytes {
    let mut set = SlotSet::default();
    (from..=to).for_each(|slot| _ = set.insert(slot));
    set.to_bytes()
}

/// What another node says of itself.
#[derive(Clone)]
struct Peer {
    name: Name,
    current: u64,
    epoch: u64,
    offset: u64,
    master: Option<Name>,
    slots: SlotBytes,
    ip: Option<IpAddr>,
    port: u16,
    flags: Flags,
    mflags: u8,
    /// In from it, and out to it.
    inbound: Option<LinkId>,
    link: Option<LinkId>,
}

impl Peer {
    fn new(c: char) -> Peer {
        Peer {
            name: name(c),
            current: 0,
            epoch: 0,
            offset: 1,
            master: None,
            slots: [0; 2048],
            ip: Some(ip("10.0.0.9")),
            port: 7000 + u16::from(c as u8),
            flags: Flags::MASTER,
            mflags: bus::EXT_DATA,
            inbound: None,
            link: None,
        }
    }

    fn owner(c: char, epoch: u64, from: u16, to: u16) -> Peer {
        Peer { epoch, current: epoch, slots: slot_bytes(from, to), ..Peer::new(c) }
    }

    fn says(&self, body: &Body<'_>) -> Arc<[u8]> {
        let header = Header {
            port: self.port,
            current_epoch: self.current,
            config_epoch: self.epoch,
            offset: self.offset,
            sender: &self.name,
            slots: &self.slots,
            master: self.master.as_ref(),
            ip: self.ip,
            other_port: 0,
            bus_port: self.port + 10_000,
            flags: self.flags.with(Flags::MYSELF),
            failed: false,
            mflags: self.mflags,
        };
        bus::encode(&header, body)
    }

    fn of(&self, flags: Flags) -> Gossip<'_> {
        let (name, ip, port) = (&self.name, self.ip, self.port);
        let (ping_sent, pong_received, bus_port) = (0, 0, port + 10_000);
        Gossip { name, ping_sent, pong_received, ip, port, bus_port, other_port: 0, flags }
    }
}

/// A node under test.
struct Bench {
    node: Cluster,
    now: Now,
    offset: u64,
    age: Option<u64>,
    loading: bool,
    hollow: bool,
    filled: Box<SlotWords>,
    out: Vec<Action>,
}

impl Bench {
    fn new() -> Bench {
        Bench::with(settings())
    }

    fn with(settings: Settings) -> Bench {
        let now = Now { mono: 1_000_000, wall: 1_700_000_000_000 };
        let node = Cluster::new(settings, Rng::seeded(1), now);
        let mut bench = Bench {
            node,
            now,
            offset: 100,
            age: Some(0),
            loading: false,
            hollow: false,
            filled: Box::new(*NONE),
            out: Vec::new(),
        };
        bench.settle();
        bench
    }

    fn run<R>(&mut self, f: impl FnOnce(&mut Cluster, &Env<'_>, &mut Vec<Action>) -> R) -> R {
        let env = Env {
            now: self.now,
            offset: self.offset,
            loading: self.loading,
            data_age: self.age,
            hollow: self.hollow,
            filled: &self.filled,
        };
        f(&mut self.node, &env, &mut self.out)
    }

    fn on(&mut self, event: Event<'_>) {
        self.run(|node, env, out| node.on(event, env, out));
    }

    /// The rest of a pass, with a disk that works.
    fn settle(&mut self) {
        for _ in 0..4 {
            self.on(Event::Settle);
            let saves: Vec<u64> = self.out.iter().filter_map(generation).collect();
            self.out.retain(|a| generation(a).is_none());
            saves.into_iter().for_each(|generation| {
                self.on(Event::Saved { generation, result: Ok(()) });
            });
        }
    }

    fn pass(&mut self, ms: u64) {
        for _ in 0..ms / 100 {
            self.now.mono += 100;
            self.now.wall += 100;
            self.on(Event::Tick);
            self.settle();
        }
    }

    /// A packet over a link from that node.
    fn hears(&mut self, peer: &mut Peer, body: &Body<'_>) {
        if peer.inbound.is_none_or(|l| self.node.links.get(l).is_none()) {
            let from = ip("10.0.0.8");
            peer.inbound = self.run(|node, env, _| node.accept(from, Some(ip("10.0.0.1")), env));
        }
        let link = peer.inbound.expect("it is accepted");
        let bytes = peer.says(body);
        assert_eq!(self.node.frame_limit(link, &bytes), Ok(Some(bytes.len())));
        self.on(Event::Frame { link, bytes: &bytes });
    }

    fn pinged(&mut self, peer: &mut Peer) {
        self.hears(peer, &Body::Ping(Entries::default(), Exts::default()));
    }

    fn gossip(&mut self, peer: &mut Peer, told: &[Gossip<'_>]) {
        let mut bytes = Vec::new();
        told.iter().for_each(|g| bus::put_entry(&mut bytes, g));
        self.hears(peer, &Body::Ping(Entries(&bytes), Exts::default()));
    }

    fn told(&mut self, peer: &mut Peer, exts: &[Ext<'_>]) {
        let mut bytes = Vec::new();
        exts.iter().for_each(|e| bus::put_ext(&mut bytes, e));
        let exts = Exts { bytes: &bytes, count: exts.len() as u16 };
        self.hears(peer, &Body::Ping(Entries::default(), exts));
    }

    /// Makes this node know another one, by a MEET and the handshake that follows.
    fn meets(&mut self, peer: &mut Peer) {
        self.hears(peer, &Body::Meet(Entries::default(), Exts::default()));
        self.on(Event::Tick);
        let dials = self.dials();
        let (link, _) = *dials.last().expect("the handshake goes back");
        self.on(Event::Dialed { link, local: None });
        peer.link = Some(link);
        self.pong(peer);
        assert!(self.node.nodes.find(&peer.name).is_some(), "the handshake has ended");
        self.settle();
        self.out.clear();
    }

    fn pong(&mut self, peer: &Peer) {
        let bytes = peer.says(&Body::Pong(Entries::default(), Exts::default()));
        self.on(Event::Frame { link: peer.link.expect("it is connected"), bytes: &bytes });
    }

    fn dials(&self) -> Vec<(LinkId, u16)> {
        let dial = |a: &Action| match a {
            Action::Dial { link, port, .. } => Some((*link, *port)),
            _ => None,
        };
        self.out.iter().filter_map(dial).collect()
    }

    fn sent(&self) -> Vec<(LinkId, Kind)> {
        let send = |a: &Action| match a {
            Action::Send { link, block } => Some((*link, decode(block).body.kind())),
            _ => None,
        };
        self.out.iter().filter_map(send).collect()
    }

    fn kinds(&self) -> Vec<Kind> {
        self.sent().into_iter().map(|(_, kind)| kind).collect()
    }

    fn logged(&self, part: &str) -> bool {
        self.out.iter().any(|a| matches!(a, Action::Log(_, text) if text.contains(part)))
    }

    fn get(&self, peer: &Peer) -> &Node {
        let id = self.node.nodes.find(&peer.name).expect("it is known");
        self.node.nodes.get(id).expect("it is there")
    }

    fn add_slots(&mut self, from: u16, to: u16) {
        let (from, to) = (from.to_string(), to.to_string());
        let args = [from.as_bytes(), to.as_bytes()];
        self.run(|node, env, out| node.add_slots(&args, true, env, out)).expect("they are free");
        self.settle();
    }

    fn replicate(&mut self, peer: &Peer) {
        self.run(|node, env, out| node.replicate(&peer.name, env, out)).expect("it may");
        self.settle();
    }
}

fn generation(action: &Action) -> Option<u64> {
    if let Action::Save { generation, .. } = action { Some(*generation) } else { None }
}

fn decode(block: &[u8]) -> Msg<'_> {
    bus::decode(block).expect("what is sent can be read")
}

fn text_of<T>(result: Result<T, CmdError>) -> String {
    result.err().map(|e| e.as_str().to_string()).unwrap_or_default()
}

// ---- failure -------------------------------------------------------------------------------------

/// Three masters of all slots, this one with the first third.
fn three() -> (Bench, Peer, Peer) {
    let mut b = Bench::new();
    b.add_slots(0, 5000);
    b.node.nodes.myself_mut().config_epoch = 1;
    let (mut x, mut y) = (Peer::owner('x', 2, 5001, 10_000), Peer::owner('y', 3, 10_001, SLOTS - 1));
    b.meets(&mut x);
    b.meets(&mut y);
    b.pinged(&mut x);
    b.pinged(&mut y);
    for _ in 0..30 {
        b.pass(100);
        b.pong(&x);
        b.pong(&y);
    }
    assert!(b.node.is_ok() && b.node.serves(5000) && !b.node.serves(5001));
    b.out.clear();
    (b, x, y)
}

#[test]
fn two_of_three_masters_make_a_failure_and_the_node_takes_it_back() {
    let (mut b, mut x, mut y) = three();
    for _ in 0..17 {
        b.pass(100);
        b.pong(&x);
    }
    assert!(b.get(&y).flags.has(Flags::PFAIL) && b.node.is_ok());
    assert!(b.logged("*** NODE yyyy"));
    b.gossip(&mut x, &[y.of(Flags::MASTER.with(Flags::PFAIL))]);
    b.settle();
    assert!(b.logged(" reported node yyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyy () as not reachable."));
    assert!(b.logged(
        "Marking node yyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyy () as failing (quorum reached)."
    ));
    assert!(b.logged("Cluster state changed: fail"));
    assert!(b.kinds().contains(&Kind::Fail) && !b.node.serves(0));
    assert!(b.out.iter().any(|a| matches!(a, Action::Lost(_))));
    assert_eq!(b.run(|n, env, _| n.count_failure_reports(&name('y'), env)).expect("known"), 1);
    b.out.clear();
    b.pong(&y);
    assert!(b.get(&y).is_failed(), "it may be replaced yet");
    for _ in 0..21 {
        b.pass(100);
        b.pong(&x);
    }
    // The silent link was closed meanwhile, and opened again.
    y.link = b.get(&y).link;
    b.pong(&y);
    b.settle();
    assert!(b.logged(": is reachable again and nobody is serving its slots after some time."));
    assert!(b.node.is_ok());
    b.gossip(&mut x, &[y.of(Flags::MASTER)]);
    assert!(b.logged("reported node yyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyy () is back online."));
}

#[test]
fn the_only_master_decides_alone_and_fail_is_obeyed() {
    let mut b = Bench::new();
    b.add_slots(0, SLOTS - 1);
    let mut r =
        Peer { flags: Flags::REPLICA, master: Some(b.node.nodes.myself().name), ..Peer::new('r') };
    b.meets(&mut r);
    b.pinged(&mut r);
    b.pass(1700);
    assert!(b.get(&r).is_failed());
    let (mut b, mut x, y) = three();
    b.hears(&mut x, &Body::Fail(&y.name));
    assert!(b.get(&y).is_failed());
    assert!(b.logged("FAIL message received from xxxx"));
    let me = b.node.nodes.myself().name;
    b.hears(&mut x, &Body::Fail(&me));
    assert!(!b.node.nodes.myself().is_failed());
    let mut stranger = Peer::new('s');
    b.hears(&mut stranger, &Body::Fail(&x.name));
    assert!(b.logged("Ignoring FAIL message from unknown node ssss"));
    assert!(!b.get(&x).is_failed());
}

#[test]
fn the_delay_of_a_ping_outlives_its_link() {
    let (mut b, x, _) = three();
    for _ in 0..8 {
        b.pass(100);
    }
    let sent = b.get(&x).ping_sent.expect("it was pinged");
    let link = b.get(&x).link.expect("over this");
    b.on(Event::Closed { link });
    assert_eq!(b.get(&x).ping_sent, Some(sent));
    b.out.clear();
    b.pass(100);
    let (link, port) = b.dials()[0];
    assert_eq!(port, x.port + 10_000);
    b.on(Event::Dialed { link, local: None });
    assert_eq!(b.kinds(), [Kind::Ping]);
    assert_eq!(b.get(&x).ping_sent, Some(sent), "no new count");
}

// ---- elections -----------------------------------------------------------------------------------

#[test]
fn a_vote_is_on_disk_before_it_is_sent_and_is_one_an_epoch() {
    let (mut b, x, mut y) = three();
    let replica =
        Peer { flags: Flags::REPLICA, master: Some(x.name), ..Peer::owner('r', 2, 5001, 10_000) };
    let mut r = replica.clone();
    b.meets(&mut r);
    b.pinged(&mut r);
    r.current = 9;
    b.hears(&mut r, &Body::AuthRequest);
    assert!(b.logged("Failover auth denied to rrrr") && b.logged("its master is up"));
    b.hears(&mut y, &Body::Fail(&x.name));
    b.settle();
    b.out.clear();
    r.current = 10;
    b.hears(&mut r, &Body::AuthRequest);
    assert!(b.logged("Failover auth granted to rrrr") && b.logged("for epoch 10"));
    b.on(Event::Settle);
    let save = b.out.iter().find_map(|a| match a {
        Action::Save { text, fsync, generation } => Some((text.clone(), *fsync, *generation)),
        _ => None,
    });
    let (text, fsync, generation) = save.expect("it is saved");
    assert!(fsync && text.ends_with("vars currentEpoch 10 lastVoteEpoch 10\n"));
    assert!(!b.kinds().contains(&Kind::AuthAck));
    b.on(Event::Saved { generation, result: Ok(()) });
    assert_eq!(b.kinds().last(), Some(&Kind::AuthAck));
    b.out.clear();
    b.hears(&mut r, &Body::AuthRequest);
    assert!(b.logged("already voted for epoch 10"));
    r.current = 8;
    b.hears(&mut r, &Body::AuthRequest);
    assert!(b.logged("reqEpoch (8) < curEpoch(10)"));
    y.epoch = 11;
    y.current = 11;
    y.slots = slot_bytes(9000, SLOTS - 1);
    b.pinged(&mut y);
    (r.current, r.slots) = (12, replica.slots);
    b.hears(&mut r, &Body::AuthRequest);
    assert!(b.logged("slot 9000 epoch (11) > reqEpoch (2)"));
}

/// This node as a replica of `m`, of two masters with slots and one more replica.
fn replica() -> (Bench, Peer, Peer, Peer) {
    let mut b = Bench::new();
    let (mut m, mut v) = (Peer::owner('m', 1, 0, 8000), Peer::owner('v', 2, 8001, SLOTS - 1));
    b.meets(&mut m);
    b.meets(&mut v);
    b.replicate(&m);
    let mut s = Peer { flags: Flags::REPLICA, master: Some(m.name), ..Peer::owner('s', 1, 0, 8000) };
    b.meets(&mut s);
    [&mut m, &mut v, &mut s].into_iter().for_each(|p| b.pinged(p));
    b.settle();
    assert!(b.node.is_ok() && b.node.serves_reads(0) && !b.node.serves(0));
    assert!(b.node.my_master() == b.node.nodes.find(&m.name));
    b.out.clear();
    (b, m, v, s)
}

#[test]
fn an_election_waits_by_rank_asks_and_wins() {
    let (mut b, m, mut v, mut s) = replica();
    s.offset = 500;
    b.pinged(&mut s);
    b.hears(&mut v, &Body::Fail(&m.name));
    b.settle();
    assert!(b.logged("(rank #1, offset 100)."));
    assert!(b.logged("Start of election delayed for 1"));
    let sibling = b.get(&s).link.expect("connected");
    assert!(b.sent().contains(&(sibling, Kind::Pong)), "the siblings hear the offset");
    for _ in 0..21 {
        b.pass(100);
        b.pong(&v);
        b.pong(&s);
    }
    assert!(b.logged("Starting a failover election for epoch 3."));
    assert_eq!(b.kinds().iter().filter(|k| **k == Kind::AuthRequest).count(), 3);
    b.out.clear();
    // A vote of before does not count, nor one of a replica, nor two of one master.
    v.current = 2;
    b.hears(&mut v, &Body::AuthAck);
    s.current = 3;
    b.hears(&mut s, &Body::AuthAck);
    b.settle();
    assert!(b.node.nodes.myself().is_replica());
    v.current = 3;
    b.hears(&mut v, &Body::AuthAck);
    b.hears(&mut v, &Body::AuthAck);
    b.settle();
    assert!(b.node.nodes.myself().is_replica(), "two are needed");
    b.node.state.size = 1;
    b.pass(100);
    assert!(b.logged("Failover election won: I'm the new master."));
    assert!(b.logged("configEpoch set to 3 after successful failover"));
    assert!(b.out.iter().any(|a| matches!(a, Action::BecomeMaster)));
    assert_eq!(b.node.nodes.myself().slots.ranges(), [(0, 8000)]);
    assert!(b.kinds().contains(&Kind::Pong), "all are told");
}

#[test]
fn a_replica_without_its_masters_data_does_not_stand() {
    for manual in [false, true] {
        let (mut b, m, mut v, s) = replica();
        b.on(Event::Directives(Box::new(Settings { validity_factor: 0, ..settings() })));
        b.age = None;
        b.hears(&mut v, &Body::Fail(&m.name));
        if manual {
            b.run(|n, env, out| n.failover(FailoverKind::Force, env, out)).expect("it is a replica");
        }
        let wait = |b: &mut Bench| {
            for _ in 0..20 {
                b.pass(100);
                b.pong(&v);
                b.pong(&s);
            }
        };
        // The snapshot is being loaded; that has failed; the next one is.
        for (loading, hollow) in [(true, false), (false, true), (true, true)] {
            (b.loading, b.hollow) = (loading, hollow);
            wait(&mut b);
            assert!(!b.kinds().contains(&Kind::AuthRequest), "{manual} {loading} {hollow}");
        }
        (b.loading, b.hollow) = (false, false);
        wait(&mut b);
        assert!(b.kinds().contains(&Kind::AuthRequest), "it goes on by itself");
    }
}

#[test]
fn an_election_is_not_won_while_the_data_are_replaced() {
    let (mut b, m, mut v, s) = replica();
    b.hears(&mut v, &Body::Fail(&m.name));
    for _ in 0..15 {
        b.pass(100);
        b.pong(&v);
        b.pong(&s);
    }
    assert!(b.kinds().contains(&Kind::AuthRequest));
    b.loading = true;
    v.current = b.node.current_epoch;
    b.hears(&mut v, &Body::AuthAck);
    // One vote is enough.
    b.node.state.size = 1;
    b.pass(100);
    assert!(b.node.nodes.myself().is_replica());
    (b.loading, b.node.state.size) = (false, 1);
    b.pass(100);
    assert!(!b.node.nodes.myself().is_replica());
}

#[test]
fn old_data_and_lost_elections_are_told_in_time() {
    let (mut b, m, mut v, s) = replica();
    b.age = Some(60_000);
    b.hears(&mut v, &Body::Fail(&m.name));
    let wait = |b: &mut Bench, ms: u64| {
        for _ in 0..ms / 100 {
            b.pass(100);
            b.pong(&v);
            b.pong(&s);
        }
    };
    wait(&mut b, 5000);
    assert!(!b.logged("Currently unable"), "silent at first");
    wait(&mut b, 12_000);
    let count = |b: &Bench, part: &str| {
        b.out.iter().filter(|a| matches!(a, Action::Log(_, t) if t.contains(part))).count()
    };
    let data = "Currently unable to failover: Disconnected from master for longer than allowed.";
    assert_eq!(count(&b, data), 2, "and again each 10 seconds");
    b.age = Some(0);
    wait(&mut b, 1500);
    assert!(b.logged("Starting a failover election"));
    wait(&mut b, 8000);
    assert!(b.logged("Waiting for votes, but majority still not reached."));
    assert!(b.logged("Needed quorum: 2. Number of votes received so far: 0"));
    assert!(b.logged("Failover attempt expired."));
}

#[test]
fn a_manual_failover_waits_for_the_offset_and_asks_at_once() {
    let (mut b, mut m, _, _) = replica();
    let ask = |b: &mut Bench, kind| b.run(|n, env, out| n.failover(kind, env, out));
    ask(&mut b, FailoverKind::Default).expect("its master is there");
    assert_eq!(b.sent(), [(m.link.expect("connected"), Kind::MfStart)]);
    (m.mflags, m.offset) = (bus::EXT_DATA | bus::PAUSED, 150);
    b.pinged(&mut m);
    assert!(b.logged("Received replication offset for paused master manual failover: 150"));
    assert!(b.node.has_work(b.now));
    b.settle();
    assert!(!b.logged("can start"));
    b.offset = 150;
    b.settle();
    assert!(b.logged("All master replication stream processed, manual failover can start."));
    assert!(b.logged("Start of election delayed for 0 milliseconds (rank #0, offset 150)."));
    let request = b.out.iter().rev().find_map(|a| match a {
        Action::Send { block, .. } => Some(block.clone()),
        _ => None,
    });
    let request = request.expect("votes are asked for");
    let msg = decode(&request);
    assert_eq!(msg.body, Body::AuthRequest);
    assert_eq!(msg.header.mflags & bus::FORCE_ACK, bus::FORCE_ACK);
    b.pass(5200);
    assert!(b.logged("Manual failover timed out."));
}

#[test]
fn a_master_holds_its_writes_for_a_replica_and_goes_on() {
    let (mut b, x, _) = three();
    let me = b.node.nodes.myself().name;
    let mut r = Peer { flags: Flags::REPLICA, master: Some(me), ..Peer::owner('r', 1, 0, 5000) };
    b.meets(&mut r);
    b.pinged(&mut r);
    let mut other = Peer { flags: Flags::REPLICA, master: Some(x.name), ..Peer::new('o') };
    b.meets(&mut other);
    b.pinged(&mut other);
    b.hears(&mut other, &Body::MfStart);
    assert!(!b.node.is_handing_over(), "it is another's replica");
    b.hears(&mut r, &Body::MfStart);
    assert!(b.logged("Manual failover requested by replica rrrr") && b.node.is_handing_over());
    let until = b.now.mono + 10_000;
    assert!(b.out.iter().any(|a| matches!(a, Action::PauseWrites { until: u } if *u == until)));
    let paused = |b: &Bench| {
        b.out.iter().any(|a| match a {
            Action::Send { block, .. } => decode(block).header.mflags & bus::PAUSED != 0,
            _ => false,
        })
    };
    assert!(!paused(&b), "a script may be writing yet");
    b.on(Event::Paused);
    assert!(paused(&b));
    b.pass(5100);
    assert!(b.logged("Manual failover timed out."));
    assert!(b.out.iter().any(|a| matches!(a, Action::ResumeWrites)));
}

// ---- slots ---------------------------------------------------------------------------------------

#[test]
fn claims_move_slots_and_what_they_leave_behind() {
    let (mut b, mut x, mut y) = three();
    // Not by the same epoch.
    b.node.nodes.myself_mut().config_epoch = 3;
    let own = y.slots;
    y = Peer { epoch: 3, slots: slot_bytes(4000, 5000), ..y };
    b.pinged(&mut y);
    assert_eq!(b.node.owner(4500), Some(b.node.me()));
    y.slots = own;
    b.pinged(&mut y);
    b.node.nodes.myself_mut().config_epoch = 1;
    b.settle();
    b.out.clear();
    b.filled[0] = 0b110;
    x.epoch = 9;
    x.current = 9;
    x.slots = slot_bytes(2, 3000);
    b.pinged(&mut x);
    b.settle();
    assert_eq!(b.node.nodes.myself().slots.ranges(), [(0, 1), (3001, 5000)]);
    let dropped =
        b.out.iter().find_map(|a| if let Action::DropSlots(s) = a { Some(s[0]) } else { None });
    assert_eq!(dropped, Some(0b100), "slot 1 is still here, the others are empty");
    let left = b.out.iter().find_map(|a| if let Action::Unsubscribe(s) = a { Some(s[0]) } else { None });
    assert_eq!(left, Some(!3));
    assert_eq!(b.node.owner(6000), b.node.nodes.find(&x.name), "kept though it is claimed no more");
    // A slot that is imported moves by command only.
    let args = (b"6000", x.name);
    b.run(|n, env, out| n.set_slot(args.0, b"importing", Some(&args.1), env, out)).expect("it may");
    let mut z = Peer::owner('z', 20, 6000, 6001);
    b.meets(&mut z);
    b.pinged(&mut z);
    let owners = (b.node.owner(6000), b.node.owner(6001));
    assert_eq!(owners, (b.node.nodes.find(&x.name), b.node.nodes.find(&z.name)));
    // All of it gone: this node follows the one that has it.
    b.out.clear();
    x.epoch = 30;
    x.current = 30;
    x.slots = slot_bytes(0, 5999);
    b.pinged(&mut x);
    assert!(b.logged("Configuration change detected. Reconfiguring myself as a replica of xxxx"));
    let follow = b.out.iter().any(|a| matches!(a, Action::Follow { port, .. } if *port == x.port));
    assert!(follow && b.node.my_master() == b.node.nodes.find(&x.name));
    assert_eq!(b.node.my_shard(), text(&b.get(&x).shard));
}

#[test]
fn stale_claims_are_answered_with_update_and_updates_are_taken() {
    let (mut b, mut x, mut y) = three();
    let mut lost = Peer::owner('l', 1, 10_001, 10_100);
    lost.current = 3;
    b.meets(&mut lost);
    lost.epoch = 2;
    b.out.clear();
    b.pinged(&mut lost);
    let update = b.out.iter().find_map(|a| match a {
        Action::Send { block, .. } if decode(block).body.kind() == Kind::Update => Some(block.clone()),
        _ => None,
    });
    let update = update.expect("it is told");
    let Body::Update { config_epoch: 3, node, .. } = decode(&update).body else { panic!("of y") };
    assert_eq!(node, &y.name);
    assert!(b.logged("has old slots configuration, sending an UPDATE message about yyyy"));
    // Slots that their owner no longer claims are no part of it.
    y.slots = slot_bytes(10_050, SLOTS - 1);
    b.pinged(&mut y);
    lost.slots = slot_bytes(10_040, 10_060);
    b.out.clear();
    b.pinged(&mut lost);
    assert_eq!(b.node.owner(10_040), b.node.nodes.find(&lost.name), "free to be taken");
    let update = b.out.iter().find_map(|a| match a {
        Action::Send { block, .. } if decode(block).body.kind() == Kind::Update => Some(block.clone()),
        _ => None,
    });
    let update = update.expect("it is told");
    let Body::Update { slots, .. } = decode(&update).body else { panic!("of y") };
    assert_eq!(SlotSet::of_bytes(slots).ranges(), [(10_050, SLOTS - 1)]);
    let slots = slot_bytes(5001, 6000);
    b.hears(&mut x, &Body::Update { config_epoch: 8, node: &y.name, slots: &slots });
    assert_eq!(b.node.owner(5500), b.node.nodes.find(&y.name));
    assert_eq!(b.get(&y).config_epoch, 8);
    let me = b.node.nodes.myself().name;
    b.hears(&mut y, &Body::Update { config_epoch: 99, node: &me, slots: &slots });
    assert!(b.logged("Discarding UPDATE message about myself."));
}

#[test]
fn equal_epochs_are_settled_by_the_smaller_name() {
    let (mut b, _, _) = three();
    let own = b.node.nodes.myself().name;
    let mut same = Peer { epoch: 1, current: 3, ..Peer::new('z') };
    assert!(same.name > own);
    b.meets(&mut same);
    b.pinged(&mut same);
    assert_eq!((b.node.nodes.myself().config_epoch, b.node.current_epoch), (4, 4));
    assert!(b.logged("WARNING: configEpoch collision with node zzzz"));
    let mut smaller = Peer { name: name('0'), epoch: 4, current: 4, ..Peer::new('0') };
    b.meets(&mut smaller);
    b.pinged(&mut smaller);
    assert_eq!(b.node.nodes.myself().config_epoch, 4, "the other one moves");
}

// ---- addresses, names, handshakes ------------------------------------------------------------------

#[test]
fn a_node_that_moves_is_followed() {
    let (mut b, mut m, _, _) = replica();
    m.ip = Some(ip("10.9.9.9"));
    m.port = 6000;
    b.pinged(&mut m);
    assert!(b.logged("Address updated for node mmmm") && b.logged("now 10.9.9.9:6000"));
    let moved = |a: &Action| matches!(a, Action::Follow { ip: i, port: 6000 } if *i == ip("10.9.9.9"));
    assert!(b.out.iter().any(moved));
    assert!(b.out.iter().any(|a| matches!(a, Action::Close { link } if Some(*link) == m.link)));
    // Without an announced one it is where the packet came from.
    m.ip = None;
    b.pinged(&mut m);
    assert_eq!(b.get(&m).ip, Some(ip("10.0.0.8")));
    assert_eq!(b.node.nodes.myself().ip, Some(ip("10.0.0.1")), "its own it has from MEET");
}

#[test]
fn another_node_at_a_known_address_is_not_talked_to() {
    let (mut b, x, _) = three();
    let other = Peer { link: x.link, ..Peer::new('q') };
    b.pong(&other);
    let node = b.get(&x);
    assert!(node.flags.has(Flags::NOADDR) && node.ip.is_none() && node.link.is_none());
    assert!(b.node.nodes.find(&other.name).is_none());
}

#[test]
fn a_handshake_ends_by_itself() {
    let mut b = Bench::new();
    b.run(|n, env, _| n.meet(b"127.0.0.1", b"9000", None, env)).expect("an address");
    b.run(|n, env, _| n.meet(b"127.0.0.1", b"9000", None, env)).expect("it is under way");
    assert_eq!(b.node.nodes.len(), 2);
    b.pass(100);
    let (link, port) = b.dials()[0];
    assert_eq!(port, 19_000);
    b.on(Event::Dialed { link, local: None });
    assert_eq!(b.kinds(), [Kind::Meet]);
    b.pass(1100);
    assert_eq!(b.node.nodes.len(), 1);
}

#[test]
fn extensions_go_to_those_that_read_them_and_say_it_all() {
    let mut set = settings();
    set.announce_hostname = Some("me.example".into());
    let mut b = Bench::with(set);
    let mut a = Peer::new('a');
    b.meets(&mut a);
    let exts_of = |b: &mut Bench, a: &mut Peer| {
        b.out.clear();
        b.pinged(a);
        let Some(Action::Send { block, .. }) = b.out.last() else { panic!("a PONG") };
        let Body::Pong(_, exts) = decode(block).body else { panic!("a PONG") };
        exts.iter().count()
    };
    assert_eq!(exts_of(&mut b, &mut a), 2, "hostname and shard");
    a.mflags = 0;
    b.pinged(&mut a);
    assert_eq!(exts_of(&mut b, &mut a), 0, "one of before 7.0");
    a.mflags = bus::EXT_DATA;
    b.told(&mut a, &[Ext::Hostname("a.host"), Ext::Nodename(b"node-a"), Ext::Shard(&name('9'))]);
    let node = b.get(&a);
    assert_eq!((&node.hostname[..], &node.nodename[..], node.shard), ("a.host", "node-a", name('9')));
    assert_eq!(node.shown(), format!("{} (node-a)", "a".repeat(40)));
    b.told(&mut a, &[Ext::Shard(&name('9'))]);
    assert_eq!(&b.get(&a).hostname[..], "", "it has none any more");
}

#[test]
fn published_messages_go_to_all_or_to_the_shard() {
    let (mut b, m, mut v, s) = replica();
    let (channel, message) = (&b"c"[..], &b"m"[..]);
    b.on(Event::Publish { shard: false, channel, message });
    assert_eq!(b.kinds(), [Kind::Publish; 3]);
    b.out.clear();
    b.on(Event::Publish { shard: true, channel, message });
    let links: Vec<LinkId> = b.sent().into_iter().map(|(link, _)| link).collect();
    let mut shard = [m.link.expect("connected"), s.link.expect("connected")];
    shard.sort();
    assert_eq!(links.len(), 2);
    assert!(links.iter().all(|l| shard.contains(l)));
    b.hears(&mut v, &Body::Publish { shard: true, channel, message });
    let told = |a: &Action| matches!(a, Action::Publish { shard: true, channel, .. } if channel == b"c");
    assert!(b.out.iter().any(told));
    b.out.clear();
    let send = |b: &mut Bench, to: Option<&Name>| {
        b.run(|c, env, out| c.send_module(to, (7, 1, b"load"), env, out))
    };
    assert!(send(&mut b, None) && send(&mut b, Some(&v.name)) && !send(&mut b, Some(&name('0'))));
    assert_eq!(b.kinds(), [Kind::Module; 4]);
    b.hears(&mut v, &Body::Module { module: 7, kind: 1, payload: b"load" });
    let told = |a: &Action| matches!(a, Action::Module { module: 7, payload, .. } if payload == b"load");
    assert!(b.out.iter().any(told));
    b.out.clear();
    let mut stranger = Peer::new('?');
    stranger.name = name('q');
    b.hears(&mut stranger, &Body::Publish { shard: false, channel, message });
    assert!(b.out.is_empty(), "not of strangers");
}

#[test]
fn a_drop_filter_a_limit_and_a_kill() {
    let (mut b, mut x, y) = three();
    b.on(Event::DropFilter(Some(Kind::Ping as u16)));
    b.pinged(&mut x);
    assert!(b.logged("Dropping packet that matches debug drop filter") && b.kinds().is_empty());
    b.on(Event::DropFilter(None));
    b.on(Event::OverLimit { link: y.link.expect("connected"), used: 999 });
    let text = "Freeing cluster link(to node yyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyy, used memory: 999) due \
                to exceeding send buffer memory limit.";
    assert!(b.logged(text));
    assert!(b.node.info_text().ends_with("total_cluster_links_buffer_limit_exceeded:1\r\n"));
    b.out.clear();
    b.on(Event::KillLinks { node: x.name, to: true, from: true });
    assert_eq!(b.out.len(), 2);
    assert!(b.get(&x).link.is_none() && b.get(&x).inbound.is_none());
}

#[test]
fn any_bytes_may_come_as_a_frame() {
    let mut rng = Rng::seeded(5);
    for round in 0..300 {
        let (mut b, x, y) = three();
        b.out.clear();
        for _ in 0..60 {
            let peer = [&x, &y][rng.index(2)];
            let slots = slot_bytes(rng.below(16_000) as u16, 16_100);
            let mut entries = Vec::new();
            bus::put_entry(&mut entries, &x.of(Flags(rng.next_u32() as u16)));
            let body = match rng.index(6) {
                0 => Body::Fail(&y.name),
                1 => Body::Update { config_epoch: rng.below(9), node: &x.name, slots: &slots },
                2 => Body::AuthRequest,
                3 => Body::MfStart,
                _ => Body::Pong(Entries(&entries), Exts::default()),
            };
            let mut bytes = peer.says(&body).to_vec();
            for _ in 0..rng.index(4) {
                let at = [rng.index(bytes.len()), rng.index(80), 2128 + rng.index(128)][rng.index(3)];
                bytes[at] = rng.next_u32() as u8;
            }
            let link = [peer.link, peer.inbound][rng.index(2)].expect("connected");
            b.on(Event::Frame { link, bytes: &bytes });
            b.pass(100 * rng.below(3));
        }
        assert!(b.node.nodes.len() < 100, "round {round}");
    }
}
