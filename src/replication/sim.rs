//! Replication by seed: some nodes in one process, each with the real machines (the link, the replicas, the
//! backlog, the ids) over a small dataset of numbered writes, on a network that delays, cuts and loses.
//!
//! ```text
//! seed ─► actions: write, transaction, deliver some bytes, cut, tick, restart, REPLICAOF, NO ONE, overrun
//!      ─► quiet: one tree, all bytes arrive ─► all nodes are equal, and a cut costs no full sync any more
//! ```
//!
//! Looked at after every step: nodes at the same place of the same history hold the same data, and what a
//! replica acknowledges it has. Every write has a number of its own and is appended, so a write that is lost
//! or applied twice differs.
//!
//! Some nodes have full syncs by two connections; what is held meanwhile has a bound or none.
//!
//! `SEEDS` and `FIRST_SEED` ask for more. A failing seed is printed.

use super::held::Held;
use super::link::{Action, Event, MARK, Target, Terms, Wants};
use super::replicas::{Bulk, Next, Source, Stage};
use super::{Position, Replication, random_id};
use crate::algo::rng::Rng;
use crate::clients::ClientId;
use crate::persist::aof::push_command;
use crate::proto::parse::{ParseLimits, ParseState, Parsed};
use crate::proto::reply_in::{self, ReplyLine};
use std::collections::{BTreeMap, HashMap};

const DBS: usize = 3;
const STEPS: u64 = 250;
const TERMS: Terms<'_> = Terms {
    user: None,
    password: None,
    port: 1,
    ip: None,
    timeout: 20,
    parser: false,
    failover: false,
    dual: false,
};

type Data = [Vec<u64>; DBS];

fn digest(data: &Data) -> u64 {
    let mut d = 0xcbf2_9ce4_8422_2325u64;
    for (db, list) in data.iter().enumerate() {
        for n in list.iter().chain([&(db as u64 + 1_000_000)]) {
            d = (d ^ n).wrapping_mul(0x0100_0000_01b3);
        }
    }
    d
}

/// A connection from a replica to its master: what is on its way.
struct Wire {
    replica: usize,
    master: usize,
    up: Vec<u8>,
    down: Vec<u8>,
    open: bool,
}

/// What a master knows of a connection.
struct Peer {
    wire: usize,
    input: Vec<u8>,
    id: ClientId,
    psync: bool,
    /// Nothing of the stream goes before the first acknowledgement.
    waits_for_ack: bool,
}

/// The reader of the stream on a replica.
#[derive(Default)]
struct Reader {
    wire: usize,
    input: Vec<u8>,
    db: usize,
    queue: Option<Vec<Vec<Vec<u8>>>>,
    unfinished: Vec<u8>,
}

#[derive(Default)]
struct Node {
    repl: Replication,
    data: Data,
    selected: Option<usize>,
    wire: Option<usize>,
    input: Vec<u8>,
    /// The main channel of a sync by two connections, and what it has brought.
    main: Option<usize>,
    main_input: Vec<u8>,
    held: Held,
    file: Vec<u8>,
    reader: Option<Reader>,
    peers: Vec<Peer>,
    disk: Option<(Data, Option<Position>)>,
    loading: bool,
    full_syncs: usize,
    /// Those that came by two connections, as a replica: the stream was there first, or the snapshot.
    by_two: [usize; 2],
}

struct Sim {
    rng: Rng,
    /// Which nodes have full syncs by two connections.
    dual: Vec<bool>,
    /// Bytes of the stream that a master holds for a main channel, and a replica before its snapshot.
    most_held: u64,
    now: i64,
    nodes: Vec<Node>,
    wires: Vec<Wire>,
    serial: u64,
    backlog_size: u64,
    next_id: u32,
    /// The data at each place of each history.
    seen: HashMap<(String, u64), u64>,
}

fn snapshot(data: &Data, at: &Position) -> Vec<u8> {
    let mut text = format!("{} {} {}", at.replid, at.offset, at.db.unwrap_or(0));
    for list in data {
        text.push('\n');
        text.push_str(&list.iter().map(u64::to_string).collect::<Vec<_>>().join(" "));
    }
    text.into_bytes()
}

fn restored(bytes: &[u8]) -> (Data, Position) {
    let text = String::from_utf8(bytes.to_vec()).expect("a snapshot is text");
    let mut lines = text.split('\n');
    let head: Vec<&str> = lines.next().expect("a head").split(' ').collect();
    let position = Position {
        replid: head[0].into(),
        offset: head[1].parse().expect("a number"),
        db: Some(head[2].parse().expect("a number")),
    };
    let mut data = Data::default();
    for (list, line) in data.iter_mut().zip(lines) {
        *list =
            line.split(' ').filter(|w| !w.is_empty()).map(|w| w.parse().expect("a number")).collect();
    }
    (data, position)
}

fn encoded(words: &[&str]) -> Vec<u8> {
    let mut bytes = Vec::new();
    push_command(&mut bytes, &words.iter().map(|w| w.as_bytes()).collect::<Vec<_>>());
    bytes
}

impl Sim {
    fn new(seed: u64) -> Sim {
        let mut rng = Rng::seeded(seed);
        let n = 1 + rng.below(5) as usize;
        let backlog_size = [100, 2_000, 1_000_000][rng.below(3) as usize];
        let dual = (0..n).map(|_| rng.below(3) > 0).collect();
        let most_held = [0, 300, 5_000][rng.below(3) as usize];
        Sim {
            rng,
            dual,
            most_held,
            now: 1000,
            nodes: (0..n).map(|_| Node::default()).collect(),
            wires: Vec::new(),
            serial: 0,
            backlog_size,
            next_id: 0,
            seen: HashMap::new(),
        }
    }

    fn any(&mut self) -> usize {
        self.rng.below(self.nodes.len() as u64) as usize
    }

    // ---- the replica's half ------------------------------------------------------------------------

    fn event(&mut self, n: usize, event: Event<'_>) {
        let mut out = Vec::new();
        let terms = Terms { dual: self.dual[n], ..TERMS };
        self.nodes[n].repl.link.on(event, &terms, self.now, &mut out);
        for action in out {
            self.perform(n, action);
        }
    }

    fn perform(&mut self, n: usize, action: Action<'_>) {
        match action {
            Action::Say(..) | Action::Newline => {}
            Action::Connect(target) => self.connect(n, usize::from(target.port)),
            Action::Send(bytes) => {
                if let Some(w) = self.nodes[n].wire {
                    self.wires[w].up.extend_from_slice(&bytes);
                }
            }
            Action::Close => self.close(n),
            Action::Park => {
                let node = &mut self.nodes[n];
                assert!(node.main.is_none(), "one main channel");
                node.main = node.wire.take();
                node.main_input = std::mem::take(&mut node.input);
                node.held.start();
            }
            Action::SendMain(bytes) => {
                if let Some(w) = self.nodes[n].main {
                    self.wires[w].up.extend_from_slice(&bytes);
                }
            }
            Action::CloseMain => {
                if let Some(w) = self.nodes[n].main.take() {
                    self.wires[w].open = false;
                }
                self.nodes[n].main_input.clear();
                self.nodes[n].held.clear();
            }
            Action::Rebase(at) => {
                self.nodes[n].repl.rebase(at.replid, at.offset);
                self.look(n);
            }
            Action::OpenFile => self.nodes[n].file.clear(),
            // What was loaded of it goes as well.
            Action::DropFile => {
                self.nodes[n].file.clear();
                self.nodes[n].loading = false;
            }
            Action::Append(bytes) => self.nodes[n].file.extend_from_slice(&bytes),
            Action::Load => {
                let node = &mut self.nodes[n];
                node.repl.link.begins_to_load(&mut Vec::new());
                node.data = Data::default();
                node.loading = true;
                self.disconnect_replicas(n);
                self.nodes[n].repl.close_backlog();
            }
            Action::TakenOver(_) => unreachable!("no failover"),
            Action::Parse { .. } | Action::EndOfSnapshot { .. } => unreachable!("files only"),
            Action::Inherit(id) => {
                self.nodes[n].repl.shift_id(id);
                self.disconnect_replicas(n);
            }
            Action::Attach { full, position, ack } => self.attach(n, full, position, ack),
            Action::Detach => self.detach(n),
            Action::Ack => self.acknowledge(n),
        }
    }

    fn close(&mut self, n: usize) {
        if let Some(w) = self.nodes[n].wire.take() {
            self.wires[w].open = false;
        }
        self.nodes[n].input.clear();
    }

    fn connect(&mut self, n: usize, to: usize) {
        self.wires.push(Wire { replica: n, master: to, up: vec![], down: vec![], open: true });
        let wire = self.wires.len() - 1;
        self.nodes[n].wire = Some(wire);
        self.event(n, Event::Begun);
        if self.rng.below(10) == 0 {
            self.wires[wire].open = false;
            return self.event(n, Event::Closed("refused"));
        }
        self.next_id += 1;
        let id = ClientId { index: self.next_id, generation: 1 };
        let peer = Peer { wire, input: vec![], id, psync: false, waits_for_ack: false };
        self.nodes[to].peers.push(peer);
        self.event(n, Event::Connected);
    }

    fn attach(&mut self, n: usize, full: bool, position: Option<Position>, ack: bool) {
        let node = &mut self.nodes[n];
        let p = position.expect("every master here has positions");
        if full {
            node.repl.rebase(p.replid.clone(), p.offset);
        } else {
            assert_eq!(
                (&node.repl.replid, node.repl.offset()),
                (&p.replid, p.offset),
                "it goes on there"
            );
            if node.repl.backlog.is_none() {
                node.repl.open_backlog();
            }
        }
        let (wire, input) = match node.main.take() {
            Some(main) => {
                node.by_two[usize::from(!full)] += 1;
                let mut held = Vec::new();
                while let Some(block) = node.held.pop() {
                    held.extend(block);
                }
                held.append(&mut node.main_input);
                self.close(n);
                (main, held)
            }
            None => {
                (node.wire.take().expect("the connection is there"), std::mem::take(&mut node.input))
            }
        };
        let node = &mut self.nodes[n];
        node.reader = Some(Reader { wire, input, db: p.db.unwrap_or(usize::MAX), ..Reader::default() });
        if ack {
            self.acknowledge(n);
        }
        self.apply(n);
    }

    fn detach(&mut self, n: usize) {
        let Some(reader) = self.nodes[n].reader.take() else { return };
        self.wires[reader.wire].open = false;
        if self.nodes[n].repl.link.is_online() {
            let position = self.position(n, reader.db);
            self.event(n, Event::Lost(Some(position)));
        }
    }

    fn position(&self, n: usize, db: usize) -> Position {
        let r = &self.nodes[n].repl;
        Position { replid: r.replid.clone(), offset: r.offset(), db: (db < DBS).then_some(db) }
    }

    fn acknowledge(&mut self, n: usize) {
        let node = &self.nodes[n];
        if let Some(r) = &node.reader {
            let ack = encoded(&["REPLCONF", "ACK", &node.repl.offset().to_string()]);
            self.wires[r.wire].up.extend_from_slice(&ack);
        }
    }

    /// What came from the master: up to `most` bytes of it.
    fn receive(&mut self, w: usize, most: usize) {
        let n = self.wires[w].replica;
        let take = self.wires[w].down.len().min(most);
        if let Some(r) = self.nodes[n].reader.as_mut().filter(|r| r.wire == w) {
            r.input.extend(self.wires[w].down.drain(..take));
            self.nodes[n].repl.link.heard(self.now);
            return self.apply(n);
        }
        if self.nodes[n].main == Some(w) {
            return self.receive_main(n, w, take);
        }
        if self.nodes[n].wire != Some(w) || self.nodes[n].loading {
            return;
        }
        let bytes: Vec<u8> = self.wires[w].down.drain(..take).collect();
        self.nodes[n].input.extend(bytes);
        while self.nodes[n].wire == Some(w) {
            let mut input = std::mem::take(&mut self.nodes[n].input);
            let done = match self.nodes[n].repl.link.wants() {
                Wants::Nothing | Wants::Stream => None,
                Wants::Line => match reply_in::line(&input) {
                    ReplyLine::Whole(line, used) => {
                        let line = line.to_vec();
                        self.nodes[n].input = input.split_off(used);
                        self.event(n, Event::Line(&line));
                        continue;
                    }
                    _ => None,
                },
                Wants::Bulk(most) if !input.is_empty() => Some(most.min(input.len())),
                Wants::Bulk(_) => None,
            };
            match done {
                None => {
                    self.nodes[n].input = input;
                    return;
                }
                Some(used) => {
                    let rest = input.split_off(used);
                    self.nodes[n].input = rest;
                    self.event(n, Event::Bulk(&input));
                }
            }
        }
    }

    /// The same by the main channel.
    fn receive_main(&mut self, n: usize, w: usize, take: usize) {
        if self.nodes[n].repl.link.wants_main() == Wants::Stream
            && self.nodes[n].held.is_full(self.most_held)
        {
            return;
        }
        let bytes: Vec<u8> = self.wires[w].down.drain(..take).collect();
        self.nodes[n].main_input.extend(bytes);
        while self.nodes[n].main == Some(w) {
            let node = &mut self.nodes[n];
            match node.repl.link.wants_main() {
                Wants::Line => {
                    let mut input = std::mem::take(&mut node.main_input);
                    let ReplyLine::Whole(line, used) = reply_in::line(&input) else {
                        node.main_input = input;
                        return;
                    };
                    let line = line.to_vec();
                    node.main_input = input.split_off(used);
                    self.event(n, Event::Main(&line));
                }
                Wants::Stream => {
                    node.held.push(&std::mem::take(&mut node.main_input));
                    return;
                }
                _ => return,
            }
        }
    }

    fn loaded(&mut self, n: usize) {
        let (data, position) = restored(&std::mem::take(&mut self.nodes[n].file));
        self.nodes[n].data = data;
        self.nodes[n].loading = false;
        self.event(n, Event::Loaded { db: position.db });
        let w = self.nodes[n].reader.as_ref().map(|r| r.wire);
        if let Some(w) = w.filter(|w| !self.wires[*w].open) {
            self.cut(w);
        }
    }

    /// Runs what is complete of the stream.
    fn apply(&mut self, n: usize) {
        loop {
            let node = &mut self.nodes[n];
            let Some(r) = &mut node.reader else { return };
            let (mut spans, mut state) = (Vec::new(), ParseState::default());
            let limits = ParseLimits { max_bulk: i64::MAX, authenticated: true };
            let Parsed::Multibulk { len } = state.next(&r.input, &limits, &mut spans) else { break };
            let raw: Vec<u8> = r.input.drain(..len).collect();
            let words: Vec<Vec<u8>> = spans.iter().map(|s| raw[s.off..s.off + s.len].to_vec()).collect();
            let mut asked = false;
            match (&words[0][..], &mut r.queue) {
                (b"MULTI", queue) => *queue = Some(Vec::new()),
                (b"EXEC", queue) => {
                    for words in queue.take().expect("MULTI came before") {
                        run(&mut node.data, &mut r.db, &words);
                    }
                }
                (_, Some(queue)) => queue.push(words),
                (b"REPLCONF", _) => asked = true,
                (_, None) => run(&mut node.data, &mut r.db, &words),
            }
            if asked {
                self.acknowledge(n);
            }
            let node = &mut self.nodes[n];
            let r = node.reader.as_mut().expect("still there");
            if r.queue.is_some() {
                r.unfinished.extend_from_slice(&raw);
            } else {
                let b = node.repl.backlog.as_mut().expect("a replica keeps its stream");
                b.push(&std::mem::take(&mut r.unfinished));
                b.push(&raw);
                self.look(n);
            }
        }
        self.trim(n);
    }

    // ---- the master's half -------------------------------------------------------------------------

    fn disconnect_replicas(&mut self, n: usize) {
        for peer in std::mem::take(&mut self.nodes[n].peers) {
            if peer.psync {
                let all = &mut self.nodes[n].repl.replicas;
                all.forget(peer.id);
                all.holds.release(u64::from(peer.id.index));
                self.wires[peer.wire].open = false;
            } else {
                self.nodes[n].peers.push(peer);
            }
        }
    }

    fn trim(&mut self, n: usize) {
        let size = self.backlog_size;
        let r = &mut self.nodes[n].repl;
        r.replicas.holds.over(r.offset(), self.most_held);
        let wanted = r.replicas.wanted(r.offset());
        if let Some(b) = &mut r.backlog {
            b.trim(size, wanted);
        }
    }

    fn serve(&mut self, w: usize, most: usize) {
        let n = self.wires[w].master;
        let Some(i) = self.nodes[n].peers.iter().position(|p| p.wire == w) else {
            self.wires[w].up.clear();
            return;
        };
        let take = self.wires[w].up.len().min(most);
        let bytes: Vec<u8> = self.wires[w].up.drain(..take).collect();
        self.nodes[n].peers[i].input.extend(bytes);
        while let Some(i) = self.nodes[n].peers.iter().position(|p| p.wire == w) {
            let p = &mut self.nodes[n].peers[i];
            let (mut spans, mut state) = (Vec::new(), ParseState::default());
            let limits = ParseLimits { max_bulk: i64::MAX, authenticated: true };
            let Parsed::Multibulk { len } = state.next(&p.input, &limits, &mut spans) else { return };
            let raw: Vec<u8> = p.input.drain(..len).collect();
            let words: Vec<String> = spans
                .iter()
                .map(|s| String::from_utf8_lossy(&raw[s.off..s.off + s.len]).into_owned())
                .collect();
            self.answer(n, i, &words);
        }
    }

    fn answer(&mut self, n: usize, i: usize, words: &[String]) {
        let (id, w) = (self.nodes[n].peers[i].id, self.nodes[n].peers[i].wire);
        let text: &[u8] = match words[0].as_str() {
            "PING" if self.nodes[n].loading => b"-LOADING x\r\n",
            "PING" => b"+PONG\r\n",
            "REPLCONF" if words[1] == "ACK" => return self.acknowledged(n, i, &words[2]),
            "REPLCONF" => match self.told(n, i, &words[1..]) {
                true => b"+OK\r\n",
                false => b"-ERR Unrecognized RDB client id\r\n",
            },
            "SYNC" => {
                let link = &self.nodes[n].repl.link;
                if self.nodes[n].loading || link.is_on() && !link.is_online() {
                    b"-NOMASTERLINK x\r\n"
                } else {
                    return self.full_sync(n, i);
                }
            }
            "PSYNC" => {
                let link = &self.nodes[n].repl.link;
                if self.nodes[n].loading || link.is_on() && !link.is_online() {
                    b"-NOMASTERLINK x\r\n"
                } else {
                    return self.psync(n, i, &words[1], words[2].parse().expect("a number"));
                }
            }
            other => panic!("{other}"),
        };
        assert!(self.nodes[n].repl.replicas.get(id).is_none(), "a replica only acknowledges");
        self.wires[w].down.extend_from_slice(text);
    }

    fn acknowledged(&mut self, n: usize, i: usize, offset: &str) {
        let (now, p) = (self.now, &mut self.nodes[n].peers[i]);
        p.waits_for_ack = false;
        let (id, w) = (p.id, p.wire);
        let offset: i64 = offset.parse().expect("a number");
        self.nodes[n].repl.replicas.acknowledge(id, offset, None, now);
        let replica = &self.nodes[self.wires[w].replica].repl;
        if replica.replid == self.nodes[n].repl.replid && self.wires[w].open {
            assert!(replica.offset().cast_signed() >= offset, "what was acknowledged is there");
        }
    }

    /// False for a client that is not known.
    fn told(&mut self, n: usize, i: usize, words: &[String]) -> bool {
        let (id, two) = (self.nodes[n].peers[i].id, self.dual[n]);
        let all = &mut self.nodes[n].repl.replicas;
        for pair in words.chunks_exact(2) {
            let facts = all.facts_mut(id);
            match (pair[0].as_str(), pair[1].as_str()) {
                ("capa", "dual-channel") => facts.dual = two,
                ("rdb-channel", _) => (facts.rdb_channel, facts.rdb_only) = (true, true),
                ("set-rdb-client-id", number) => {
                    let number = number.parse().expect("a number");
                    facts.main_of = Some(number);
                    return all.holds.has(number);
                }
                _ => {}
            }
        }
        true
    }

    fn psync(&mut self, n: usize, i: usize, replid: &str, offset: i64) {
        let now = self.now;
        let node = &mut self.nodes[n];
        let (id, w) = (node.peers[i].id, node.peers[i].wire);
        if let Some(at) = node.repl.can_continue(replid.as_bytes(), offset) {
            node.peers[i].psync = true;
            let line = format!("+CONTINUE {}\r\n", node.repl.replid);
            let all = &mut node.repl.replicas;
            let main_of = all.facts(id).and_then(|f| f.main_of);
            let loads = main_of.is_some_and(|n| all.holds.release(n));
            let r = all.attach(id, false, if loads { Stage::Load } else { Stage::Online });
            (r.at, r.ack_at) = (at, now);
            r.head.extend_from_slice(line.as_bytes());
            return;
        }
        if node.repl.replicas.facts(id).is_some_and(|f| f.dual) {
            return self.wires[w].down.extend_from_slice(b"+DUALCHANNELSYNC\r\n");
        }
        self.full_sync(n, i);
    }

    fn full_sync(&mut self, n: usize, i: usize) {
        let eof = self.rng.below(2) == 0;
        let node = &mut self.nodes[n];
        node.peers[i].psync = true;
        let id = node.peers[i].id;
        if node.repl.backlog.is_none() {
            node.repl.change_id();
            node.repl.open_backlog();
            node.selected = None;
        }
        node.full_syncs += 1;
        let db = match &node.reader {
            Some(r) => r.db.min(DBS - 1),
            None => node.selected.take().unwrap_or(0),
        };
        let at = Position { replid: node.repl.replid.clone(), offset: node.repl.offset(), db: Some(db) };
        let mut bytes = snapshot(&node.data, &at);
        let r = node.repl.replicas.attach(id, false, Stage::WaitStart);
        (r.number, r.db) = (u64::from(id.index), db);
        r.begin(at.offset, &at.replid);
        let rdb_channel = r.facts.rdb_channel;
        if eof {
            let mark = random_id();
            assert_eq!(mark.len(), MARK);
            r.stage = Stage::SendBulk;
            r.head.extend_from_slice(format!("$EOF:{mark}\r\n").as_bytes());
            bytes.extend_from_slice(mark.as_bytes());
            let len = bytes.len() as u64;
            r.bulk = Some(Bulk { source: Source::Memory(bytes), len, sent: 0 });
            node.peers[i].waits_for_ack = true;
        } else {
            let len = bytes.len() as u64;
            r.transfer(Source::Memory(bytes), len);
        }
        if rdb_channel {
            node.repl.replicas.holds.add(u64::from(id.index), at.offset);
        }
    }

    /// Sends a replica what is its turn.
    fn write(&mut self, n: usize, i: usize, most: usize) {
        let (id, w) = (self.nodes[n].peers[i].id, self.nodes[n].peers[i].wire);
        let waits = self.nodes[n].peers[i].waits_for_ack;
        let end = self.nodes[n].repl.offset();
        let Some(b) = &self.nodes[n].repl.backlog else { return };
        let Some(r) = self.nodes[n].repl.replicas.get(id) else { return };
        let next = r.next(end);
        let bytes: Vec<u8> = match next {
            Next::Nothing | Next::Piece(_) => return,
            Next::Stream(_) if waits => return,
            Next::Head => r.head.iter().copied().take(most).collect(),
            Next::Bulk(at) => match &r.bulk {
                Some(Bulk { source: Source::Memory(m), .. }) => {
                    m[at as usize..].iter().copied().take(most).collect()
                }
                _ => return,
            },
            Next::Stream(at) => b.slices(at, 4).iter().flat_map(|s| s.to_vec()).take(most).collect(),
        };
        let now = self.now;
        let r = self.nodes[n].repl.replicas.get_mut(id).expect("just seen");
        if r.sent(next, bytes.len(), now) && r.facts.rdb_channel {
            let all = &mut self.nodes[n].repl.replicas;
            all.forget(id);
            all.holds.gone(u64::from(id.index), now);
        }
        self.wires[w].down.extend_from_slice(&bytes);
        self.trim(n);
    }

    /// A master writes: one write, or a transaction of several.
    fn work(&mut self, n: usize) {
        if self.nodes[n].repl.link.is_on() || self.nodes[n].loading {
            return;
        }
        let writes = if self.rng.below(3) == 0 { 1 + self.rng.below(5) } else { 1 };
        let mut stream = Vec::new();
        if writes > 1 {
            stream.extend(encoded(&["MULTI"]));
        }
        for _ in 0..writes {
            self.serial += 1;
            let db = self.rng.below(DBS as u64) as usize;
            let node = &mut self.nodes[n];
            if node.selected != Some(db) {
                node.selected = Some(db);
                stream.extend(encoded(&["SELECT", &db.to_string()]));
            }
            stream.extend(encoded(&["PUSH", &self.serial.to_string()]));
            node.data[db].push(self.serial);
        }
        if writes > 1 {
            stream.extend(encoded(&["EXEC"]));
        }
        let node = &mut self.nodes[n];
        match &mut node.repl.backlog {
            Some(b) => b.push(&stream),
            None => {
                node.selected = None;
                return;
            }
        }
        self.trim(n);
        self.look(n);
    }

    fn originate(&mut self, n: usize, words: &[&str]) {
        let node = &mut self.nodes[n];
        if !node.repl.link.is_on()
            && let Some(b) = &mut node.repl.backlog
        {
            b.push(&encoded(words));
            self.look(n);
        }
    }

    // ---- what happens ------------------------------------------------------------------------------

    fn cut(&mut self, w: usize) {
        self.wires[w].open = false;
        let (replica, master) = (self.wires[w].replica, self.wires[w].master);
        if let Some(i) = self.nodes[master].peers.iter().position(|p| p.wire == w) {
            let peer = self.nodes[master].peers.remove(i);
            let all = &mut self.nodes[master].repl.replicas;
            if all.forget(peer.id).is_some_and(|r| r.facts.rdb_channel) {
                all.holds.release(u64::from(peer.id.index));
            }
        }
        if self.nodes[replica].wire == Some(w) {
            if !self.nodes[replica].loading {
                self.event(replica, Event::Closed("cut"));
            }
        } else if self.nodes[replica].main == Some(w) {
            self.event(replica, Event::MainClosed("cut"));
        } else if self.nodes[replica].reader.as_ref().is_some_and(|r| r.wire == w) {
            self.detach(replica);
        }
    }

    fn follow(&mut self, n: usize, to: usize) {
        let was_master = !self.nodes[n].repl.link.is_on();
        let same = self.nodes[n].repl.link.target().is_some_and(|t| usize::from(t.port) == to);
        if to == n || same || self.nodes[n].loading {
            return;
        }
        let at = match &self.nodes[n].reader {
            Some(r) => Some(self.position(n, r.db)),
            None => was_master.then(|| self.position(n, usize::MAX)),
        };
        if was_master && self.nodes[n].repl.backlog.is_none() {
            self.nodes[n].repl.open_backlog();
        }
        let target = Target { host: "h".into(), port: to as u16 };
        self.event(n, Event::Order { target, at });
    }

    fn promote(&mut self, n: usize) {
        if !self.nodes[n].repl.link.is_on() || self.nodes[n].loading {
            return;
        }
        self.event(n, Event::Release);
        self.nodes[n].repl.shift_id(random_id());
        self.nodes[n].selected = None;
        self.disconnect_replicas(n);
    }

    fn save(&mut self, n: usize) {
        let node = &self.nodes[n];
        if node.loading {
            return;
        }
        let known = match (&node.reader, node.repl.link.cached()) {
            (Some(r), _) => Some(r.db.min(DBS - 1)),
            (None, Some(p)) => Some(p.db.unwrap_or(0)),
            (None, None) if node.repl.link.is_on() => None,
            (None, None) => node.repl.backlog.as_ref().map(|_| node.selected.unwrap_or(0)),
        };
        let position = known.map(|db| self.position(n, db));
        self.nodes[n].disk = Some((self.nodes[n].data.clone(), position));
    }

    fn restart(&mut self, n: usize) {
        let target = self.nodes[n].repl.link.target().cloned();
        let wires: Vec<usize> = (0..self.wires.len())
            .filter(|w| self.wires[*w].open)
            .filter(|w| self.wires[*w].replica == n || self.wires[*w].master == n)
            .collect();
        let disk = self.nodes[n].disk.take();
        let old = std::mem::take(&mut self.nodes[n]);
        (self.nodes[n].full_syncs, self.nodes[n].by_two) = (old.full_syncs, old.by_two);
        if let Some(target) = target {
            self.nodes[n].repl.link.follow(target);
        }
        if let Some((data, position)) = disk {
            self.nodes[n].data = data;
            if let Some(p) = position {
                let replica = self.nodes[n].repl.link.is_on();
                self.nodes[n].repl.restore(p, replica);
            }
        }
        for w in wires {
            self.cut(w);
        }
    }

    /// Bytes move on one connection, in both directions and through both machines.
    fn deliver(&mut self, w: usize, most: usize) {
        if !self.wires[w].open {
            return;
        }
        let m = self.wires[w].master;
        if let Some(i) = self.nodes[m].peers.iter().position(|p| p.wire == w) {
            self.write(m, i, most);
        }
        self.serve(w, most);
        self.receive(w, most);
    }

    fn tick(&mut self) {
        self.now += 1;
        for n in 0..self.nodes.len() {
            self.nodes[n].repl.replicas.holds.expire(self.now);
            self.event(n, Event::Tick);
            if self.rng.below(3) == 0 {
                self.originate(n, &["PING"]);
            }
        }
    }

    /// One place of one history has one content.
    fn look(&mut self, n: usize) {
        let node = &self.nodes[n];
        let inside = node.reader.as_ref().is_some_and(|r| r.queue.is_some());
        if node.loading || inside || node.repl.backlog.is_none() {
            return;
        }
        let place = (node.repl.replid.clone(), node.repl.offset());
        let d = digest(&node.data);
        let first = *self.seen.entry(place.clone()).or_insert(d);
        assert_eq!(first, d, "node {n} differs at {place:?}");
    }

    fn step(&mut self) {
        let n = self.any();
        let wires = self.wires.len() as u64;
        match self.rng.below(100) {
            0..20 => self.work(n),
            20..75 if wires > 0 => {
                // The latest connections are those that live.
                let back = self.rng.below(wires.min(8));
                let most = 1 + self.rng.below(400) as usize;
                self.deliver((wires - 1 - back) as usize, most);
            }
            75..82 => self.tick(),
            82..86 if self.nodes[n].loading => self.loaded(n),
            86..89 if wires > 0 => {
                let back = self.rng.below(wires.min(8));
                let w = (wires - 1 - back) as usize;
                if self.wires[w].open {
                    self.cut(w);
                }
            }
            89..91 => {
                let to = self.any();
                self.follow(n, to);
            }
            91 => self.promote(n),
            92 => self.save(n),
            93 => self.restart(n),
            94 => (0..30).for_each(|_| self.work(n)),
            95 => self.originate(n, &["REPLCONF", "GETACK", "*"]),
            _ => {}
        }
        let n = self.any();
        self.look(n);
    }

    /// All that is on its way arrives.
    fn settle(&mut self) {
        for _ in 0..60 {
            for n in 0..self.nodes.len() {
                if self.nodes[n].loading {
                    self.loaded(n);
                }
            }
            for w in self.wires.len().saturating_sub(40)..self.wires.len() {
                if self.wires[w].open {
                    (0..4).for_each(|_| self.deliver(w, 100_000));
                }
            }
            self.tick();
        }
    }

    fn equal(&self) -> bool {
        let first = &self.nodes[0];
        self.nodes.iter().all(|n| {
            n.data == first.data
                && n.repl.offset() == first.repl.offset()
                && n.repl.replid == first.repl.replid
        })
    }

    fn ends_well(&mut self) {
        (self.backlog_size, self.most_held) = (1 << 20, 0);
        let all = self.nodes.len();
        // Loads end, since REPLICAOF is refused meanwhile.
        self.settle();
        self.promote(0);
        for n in 1..all {
            let to = self.rng.below(n as u64) as usize;
            self.follow(n, to);
        }
        let tree = |s: &Sim| (1..all).all(|n| s.nodes[n].repl.link.is_online()) && s.equal();
        let rounds = (0..20).find(|_| {
            self.settle();
            tree(self)
        });
        assert!(rounds.is_some(), "quiet nodes become equal: {:?}", self.states());
        let full: usize = self.nodes.iter().map(|n| n.full_syncs).sum();
        for w in 0..self.wires.len() {
            if self.wires[w].open {
                self.cut(w);
                self.work(0);
            }
        }
        let rounds = (0..20).find(|_| {
            self.settle();
            tree(self)
        });
        assert!(rounds.is_some(), "and again after a cut: {:?}", self.states());
        let again: usize = self.nodes.iter().map(|n| n.full_syncs).sum();
        assert_eq!(full, again, "a cut costs no full sync while the backlog has it all");
    }

    fn states(&self) -> BTreeMap<usize, String> {
        let state = |n: &Node| {
            let r = &n.repl;
            let id = &r.replid[..4];
            format!("{:?} {} {id}:{}", r.link.target(), r.link.state_name(), r.offset())
        };
        self.nodes.iter().map(state).enumerate().collect()
    }
}

fn run(data: &mut Data, db: &mut usize, words: &[Vec<u8>]) {
    let number = |w: &[u8]| String::from_utf8_lossy(w).parse::<u64>().expect("a number");
    match &words[0][..] {
        b"SELECT" => *db = number(&words[1]) as usize,
        b"PUSH" => data[*db].push(number(&words[1])),
        b"PING" | b"REPLCONF" => {}
        other => panic!("{}", String::from_utf8_lossy(other)),
    }
}

/// How many syncs came by two connections.
fn play(seed: u64) -> [usize; 2] {
    let mut sim = Sim::new(seed);
    for n in 1..sim.nodes.len() {
        let to = sim.rng.below(n as u64) as usize;
        sim.follow(n, to);
    }
    for _ in 0..STEPS {
        sim.step();
    }
    sim.ends_well();
    [0, 1].map(|i| sim.nodes.iter().map(|n| n.by_two[i]).sum())
}

#[test]
fn nodes_agree_whatever_happens_to_them() {
    let asked = |name: &str, default: u64| {
        std::env::var(name).map_or(default, |text| text.parse().expect("a number"))
    };
    let (first, count) = (asked("FIRST_SEED", 0), asked("SEEDS", 300));
    let mut by_two = [0; 2];
    for seed in first..first + count {
        match std::panic::catch_unwind(|| play(seed)) {
            Ok(syncs) => (0..2).for_each(|i| by_two[i] += syncs[i]),
            Err(why) => {
                eprintln!("seed {seed} failed");
                std::panic::resume_unwind(why);
            }
        }
    }
    assert!(count < 100 || by_two.iter().all(|n| *n > 0), "syncs by two connections: {by_two:?}");
    println!("syncs by two connections: {by_two:?}");
}
