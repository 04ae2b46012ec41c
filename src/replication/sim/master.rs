//! The master's half of a node: its replicas, what they are sent, and how they take its place.

use super::super::absent::HOLDS;
use super::super::failover::{Reason, Step, Wish};
use super::super::link::{MARK, Target};
use super::super::replicas::{Bulk, Next, Source, Stage};
use super::super::{Position, random_id};
use super::{DBS, Group, Peer, Sim, encoded, snapshot};
use crate::clients::ClientId;
use crate::proto::parse::{ParseLimits, ParseState, Parsed};

impl Sim {
    /// The replicas go, as at a change of the history.
    pub fn disconnect_replicas(&mut self, n: usize) {
        for peer in std::mem::take(&mut self.nodes[n].peers) {
            if peer.psync {
                self.lost_replica(n, peer.id);
                self.wires[peer.wire].open = false;
            } else {
                self.nodes[n].peers.push(peer);
            }
        }
    }

    /// A replica's connection has ended.
    pub fn lost_replica(&mut self, n: usize, id: ClientId) {
        let replicas = &mut self.nodes[n].repl.replicas;
        replicas.leave(id);
        if let Some(r) = replicas.take_left(id).filter(|r| r.facts.rdb_channel) {
            if r.is_online() {
                replicas.holds.gone(r.number, self.now);
            } else {
                replicas.holds.release(r.number);
            }
        }
        self.advance(n);
    }

    pub fn trim(&mut self, n: usize) {
        let (size, now) = (self.backlog_size, self.now);
        let r = &mut self.nodes[n].repl;
        let end = r.offset();
        r.replicas.holds.over(end, self.most_held);
        let wanted = r.replicas.wanted(end);
        let absent = r.replicas.absent.wanted(end, size.saturating_mul(HOLDS), now, 20);
        if let Some(b) = &mut r.backlog {
            b.trim(size, wanted.min(absent.unwrap_or(end)));
        }
    }

    pub fn serve(&mut self, w: usize, most: usize) {
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
        let &Peer { id, wire: w, .. } = &self.nodes[n].peers[i];
        let text: &[u8] = match words[0].as_str() {
            "PING" if self.nodes[n].loading => b"-LOADING x\r\n",
            "PING" => b"+PONG\r\n",
            "REPLCONF" if words[1] == "ACK" => return self.acknowledged(n, i, &words[2]),
            "REPLCONF" => match self.told(n, i, &words[1..]) {
                true => b"+OK\r\n",
                false => b"-ERR Unrecognized RDB client id\r\n",
            },
            "SYNC" => match self.sync(n, w) {
                Some(refusal) => refusal,
                None => return,
            },
            "PSYNC" => match self.psync(n, w, words) {
                Some(refusal) => refusal,
                None => return,
            },
            other => panic!("{other}"),
        };
        assert!(self.nodes[n].repl.replicas.get(id).is_none(), "a replica only acknowledges");
        self.wires[w].down.extend_from_slice(text);
    }

    fn acknowledged(&mut self, n: usize, i: usize, offset: &str) {
        let (now, &Peer { id, wire: w, .. }) = (self.now, &self.nodes[n].peers[i]);
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

    /// The snapshot alone, by a second connection; the refusal, or None.
    fn sync(&mut self, n: usize, w: usize) -> Option<&'static [u8]> {
        let node = &self.nodes[n];
        let link = &node.repl.link;
        if node.loading || node.repl.failover.is_on() || link.is_on() && !link.is_online() {
            return Some(b"-NOMASTERLINK x\r\n");
        }
        let i = node.peers.iter().position(|p| p.wire == w).expect("it asks");
        self.full_sync(n, i);
        None
    }

    /// The refusal, or None.
    fn psync(&mut self, n: usize, w: usize, words: &[String]) -> Option<&'static [u8]> {
        let (replid, offset) = (&words[1], words[2].parse().expect("a number"));
        let node = &self.nodes[n];
        if node.loading {
            return Some(b"-LOADING x\r\n");
        }
        if words.len() > 3 {
            if !node.repl.link.is_on() || *replid != node.repl.replid {
                return Some(b"-ERR no\r\n");
            }
            self.become_master(n);
        }
        let node = &mut self.nodes[n];
        let link = &node.repl.link;
        if node.repl.failover.is_on() || link.is_on() && !link.is_online() {
            return Some(b"-NOMASTERLINK x\r\n");
        }
        let i = node.peers.iter().position(|p| p.wire == w).expect("it asks");
        let id = node.peers[i].id;
        if let Ok(at) = node.repl.can_continue(replid.as_bytes(), offset) {
            node.peers[i].psync = true;
            let line = format!("+CONTINUE {}\r\n", node.repl.replid);
            let all = &mut node.repl.replicas;
            let main_of = all.facts(id).and_then(|f| f.main_of);
            let loads = main_of.is_some_and(|number| all.holds.release(number));
            let r = all.attach(id, false, if loads { Stage::Load } else { Stage::Online });
            r.go_on(at, self.now);
            r.head.extend_from_slice(line.as_bytes());
            all.named(id, self.wires[w].replica.to_string());
            return None;
        }
        if node.repl.replicas.facts(id).is_some_and(|f| f.dual) {
            return Some(b"+DUALCHANNELSYNC\r\n");
        }
        self.full_sync(n, i);
        None
    }

    fn full_sync(&mut self, n: usize, i: usize) {
        let eof = self.rng.below(2) == 0;
        let node = &mut self.nodes[n];
        let &mut Peer { id, wire, ref mut psync, .. } = &mut node.peers[i];
        *psync = true;
        let facts = node.repl.replicas.facts_mut(id);
        (facts.eof, facts.psync2) = (eof || facts.rdb_channel, true);
        let eof = facts.eof;
        if node.repl.backlog.is_none() {
            node.repl.change_id();
            node.repl.open_backlog();
            node.selected = None;
        }
        node.full_syncs += 1;
        node.repl.replicas.attach(id, false, Stage::WaitStart).number = u64::from(id.index);
        node.repl.replicas.named(id, self.wires[wire].replica.to_string());
        if !eof {
            self.share_child(n, id);
        }
    }

    // ---- snapshots -----------------------------------------------------------------------------

    /// The dataset of a node, and where it stands.
    fn snapshot_of(&mut self, n: usize) -> (Vec<u8>, Position) {
        let node = &mut self.nodes[n];
        let db = match &node.reader {
            Some(r) => r.db.min(DBS - 1),
            None => node.selected.take().unwrap_or(0),
        };
        let at = Position { replid: node.repl.replid.clone(), offset: node.repl.offset(), db: Some(db) };
        (snapshot(&node.data, &at), at)
    }

    /// A replica that gets its snapshot by way of a file: from the child that is there, or from a new one.
    fn share_child(&mut self, n: usize, id: ClientId) {
        let node = &mut self.nodes[n];
        let replid = node.repl.replid.clone();
        let Some((_, at)) = &node.child else { return self.begin_child(n) };
        if node.repl.replicas.join(id, &replid) {
            return;
        }
        let kept = node.repl.backlog.as_ref().is_some_and(|b| b.start() <= at.offset);
        if kept && at.replid == replid {
            node.repl.replicas.get_mut(id).expect("just attached").begin(at.offset, &replid, self.now);
        }
    }

    /// A child begins to save, for all that wait for a file; or for none, as at a save point.
    pub fn begin_child(&mut self, n: usize) {
        let node = &self.nodes[n];
        if node.loading || node.child.is_some() || node.repl.backlog.is_none() {
            return;
        }
        let (bytes, at) = self.snapshot_of(n);
        let now = self.now;
        let node = &mut self.nodes[n];
        for r in node.repl.replicas.iter_mut().filter(|r| r.stage == Stage::WaitStart && !r.facts.eof) {
            r.begin(at.offset, &at.replid, now);
        }
        node.child = Some((bytes, at));
    }

    /// The child has saved, or has failed.
    pub fn end_child(&mut self, n: usize) {
        let Some((bytes, _)) = self.nodes[n].child.take() else { return };
        let failed = !self.quiet && self.rng.below(6) == 0;
        for id in self.nodes[n].repl.replicas.at_stage(Stage::WaitEnd) {
            if failed {
                let w = self.nodes[n].peers.iter().find(|p| p.id == id).expect("attached").wire;
                self.cut(w);
            } else if let Some(r) = self.nodes[n].repl.replicas.get_mut(id) {
                r.transfer(Source::Memory(bytes.clone()), bytes.len() as u64);
            }
        }
        let waits = |s: &Sim| {
            s.nodes[n].repl.replicas.iter().any(|r| r.stage == Stage::WaitStart && !r.facts.eof)
        };
        if waits(self) {
            self.begin_child(n);
        }
    }

    /// A transfer begins, for all that wait for one: they get the same pieces.
    pub fn begin_group(&mut self, n: usize) {
        let node = &self.nodes[n];
        let waits = node.repl.replicas.iter().any(|r| r.stage == Stage::WaitStart && r.facts.eof);
        if !waits || node.loading || node.group.is_some() {
            return;
        }
        let mark = random_id();
        assert_eq!(mark.len(), MARK);
        let (bytes, at) = self.snapshot_of(n);
        let now = self.now;
        let node = &mut self.nodes[n];
        let mut numbers = Vec::new();
        for r in node.repl.replicas.iter_mut().filter(|r| r.stage == Stage::WaitStart && r.facts.eof) {
            r.db = at.db.unwrap_or(0);
            r.begin(at.offset, &at.replid, now);
            r.stage = Stage::Transfer;
            numbers.extend(r.facts.rdb_channel.then_some(r.number));
        }
        numbers.into_iter().for_each(|number| node.repl.replicas.holds.add(number, at.offset));
        let bytes = [format!("$EOF:{mark}\r\n").as_bytes(), &bytes, mark.as_bytes()].concat();
        node.group = Some(Group { bytes, piece: 0..0 });
        self.advance(n);
    }

    /// The next piece, when each replica of the transfer has taken this one.
    fn advance(&mut self, n: usize) {
        let now = self.now;
        let node = &mut self.nodes[n];
        let end = node.repl.offset();
        let Some(group) = &mut node.group else { return };
        let mut all: Vec<_> =
            node.repl.replicas.iter_mut().filter(|r| r.stage == Stage::Transfer).collect();
        if all.iter().any(|r| r.next(end) != Next::Nothing) {
            return;
        }
        let at = group.piece.end;
        let len = (1 + self.rng.below(300) as usize).min(group.bytes.len() - at);
        if all.is_empty() || len == 0 {
            all.iter_mut().for_each(|r| (r.stage, r.ack_at) = (Stage::WaitAck, now));
            node.group = None;
            return;
        }
        group.piece = at..at + len;
        all.iter_mut().for_each(|r| r.offer(len));
    }

    /// Sends a replica what is its turn.
    pub fn write(&mut self, n: usize, i: usize, most: usize) {
        let &Peer { id, wire: w, .. } = &self.nodes[n].peers[i];
        let node = &mut self.nodes[n];
        let end = node.repl.offset();
        let Some(b) = &node.repl.backlog else { return };
        let Some(r) = node.repl.replicas.get(id) else { return };
        let next = r.next(end);
        let bytes: Vec<u8> = match next {
            Next::Nothing => return,
            Next::Head => r.head.iter().copied().take(most).collect(),
            Next::Bulk(at) => match &r.bulk {
                Some(Bulk { source: Source::Memory(m), .. }) => {
                    m[at as usize..].iter().copied().take(most).collect()
                }
                _ => return,
            },
            Next::Piece(at) => {
                let group = node.group.as_ref().expect("it is sent a piece");
                group.bytes[group.piece.clone()][at..].iter().copied().take(most).collect()
            }
            Next::Stream(at) => b.slices(at, 4).iter().flat_map(|s| s.to_vec()).take(most).collect(),
        };
        let now = self.now;
        let r = self.nodes[n].repl.replicas.get_mut(id).expect("just seen");
        r.sent(next, bytes.len(), now);
        self.wires[w].down.extend_from_slice(&bytes);
        self.advance(n);
        self.trim(n);
    }

    /// A master writes: one write, or a transaction of several.
    pub fn work(&mut self, n: usize) {
        let node = &self.nodes[n];
        if node.repl.link.is_on() || node.loading || node.repl.failover.is_on() {
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

    pub fn originate(&mut self, n: usize, words: &[&str]) {
        let node = &mut self.nodes[n];
        if !node.repl.link.is_on()
            && let Some(b) = &mut node.repl.backlog
        {
            b.push(&encoded(words));
            self.look(n);
        }
    }

    // ---- what clients ask for ------------------------------------------------------------------

    /// The nodes that have acknowledged all of the stream of this one, by open connections.
    pub fn followers(&self, n: usize) -> Vec<usize> {
        let end = self.nodes[n].repl.offset().cast_signed();
        let all = self.nodes[n].peers.iter().filter(|p| self.wires[p.wire].open);
        all.filter(|p| {
            let r = self.nodes[n].repl.replicas.get(p.id);
            r.is_some_and(|r| r.is_online() && r.acked >= end)
        })
        .map(|p| self.wires[p.wire].replica)
        .collect()
    }

    /// WAIT: the replicas that it counts have the writes.
    pub fn wait(&mut self, n: usize) {
        if self.nodes[n].repl.link.is_on() || self.nodes[n].loading || self.nodes[n].repl.offset() == 0 {
            return;
        }
        for r in self.followers(n) {
            let (master, replica) = (&self.nodes[n], &self.nodes[r]);
            assert_eq!(master.data, replica.data, "node {r} has acknowledged what node {n} has");
        }
    }

    /// FAILOVER, to any replica or to one; with or without a time.
    pub fn fail_over(&mut self, n: usize) {
        let node = &self.nodes[n];
        if node.repl.link.is_on() || node.loading || node.repl.failover.is_on() {
            return;
        }
        let online = |p: &&Peer| node.repl.replicas.get(p.id).is_some_and(|r| r.is_online());
        let all: Vec<usize> =
            node.peers.iter().filter(online).map(|p| self.wires[p.wire].replica).collect();
        if all.is_empty() {
            return;
        }
        let any = all[self.rng.below(all.len() as u64) as usize];
        let target = (self.rng.below(2) == 0).then(|| self.target(any));
        let until_ms = (self.rng.below(2) == 0).then_some((self.now + 3) * 1000);
        let force = target.is_some() && until_ms.is_some() && self.rng.below(2) == 0;
        self.nodes[n].repl.failover.begin(Wish { target, until_ms, force });
    }

    /// FAILOVER ABORT.
    pub fn abort_failover(&mut self, n: usize) {
        let in_progress = self.nodes[n].repl.failover.is_in_progress();
        self.nodes[n].repl.failover = super::Failover::None;
        if in_progress {
            self.become_master(n);
        }
    }

    /// As once per pass: can a handover go on?
    pub fn look_at_failovers(&mut self) {
        for n in 0..self.nodes.len() {
            if !self.nodes[n].repl.failover.is_on() {
                continue;
            }
            let all: Vec<Target> = self.followers(n).into_iter().map(|r| self.target(r)).collect();
            let step = self.nodes[n]
                .repl
                .failover
                .look(self.now * 1000, |wanted| all.into_iter().find(|t| wanted.is_none_or(|w| w == t)));
            match step {
                Step::Wait => {}
                Step::Abort(_) => self.abort_failover(n),
                Step::Follow(target, reason) => {
                    self.nodes[n].forced = reason == Reason::TimeOver;
                    self.obey(n, usize::from(target.port));
                }
            }
        }
    }

    /// The replica takes over, or does not.
    pub fn failover_answered(&mut self, n: usize, accepted: bool) {
        if !self.nodes[n].repl.failover.is_in_progress() {
            return;
        }
        if !accepted {
            return self.abort_failover(n);
        }
        self.nodes[n].repl.failover = super::Failover::None;
        let to = self.nodes[n].repl.link.target().map(|t| usize::from(t.port));
        let (old, new) = (&self.nodes[n], &self.nodes[to.expect("it follows the new master")]);
        for (old, new) in old.data.iter().zip(&new.data) {
            assert!(
                old.iter().eq(new.iter().take(old.len())) || self.nodes[n].forced,
                "writes are lost"
            );
        }
    }
}
