//! The replica's half of a node: the link's machine, performed on wires and memory.

use super::super::Position;
use super::super::link::{Action, Event, Terms, Wants};
use super::{DBS, Data, Peer, Reader, Sim, TERMS, Wire, encoded, restored};
use crate::clients::ClientId;
use crate::proto::parse::{ParseLimits, ParseState, Parsed};
use crate::proto::reply_in::{self, ReplyLine};

impl Sim {
    pub fn event(&mut self, n: usize, event: Event<'_>) {
        let mut out = Vec::new();
        let repl = &mut self.nodes[n].repl;
        let terms = Terms { failover: repl.failover.is_in_progress(), dual: self.dual[n], ..TERMS };
        repl.link.on(event, &terms, self.now, &mut out);
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
                self.nodes[n].floor = at.offset;
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
                (node.child, node.group) = (None, None);
                self.disconnect_replicas(n);
                self.nodes[n].repl.close_backlog();
            }
            Action::TakenOver(accepted) => self.failover_answered(n, accepted),
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
        let peer = Peer { wire, input: vec![], id, psync: false };
        self.nodes[to].peers.push(peer);
        self.event(n, Event::Connected);
    }

    fn attach(&mut self, n: usize, full: bool, position: Option<Position>, ack: bool) {
        let node = &mut self.nodes[n];
        let p = position.expect("every master here has positions");
        if full {
            node.repl.rebase(p.replid.clone(), p.offset);
            node.floor = p.offset;
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

    pub fn detach(&mut self, n: usize) {
        let Some(reader) = self.nodes[n].reader.take() else { return };
        self.wires[reader.wire].open = false;
        if self.nodes[n].repl.link.is_online() {
            let position = self.position(n, reader.db);
            self.event(n, Event::Lost(Some(position)));
        }
    }

    pub fn position(&self, n: usize, db: usize) -> Position {
        let r = &self.nodes[n].repl;
        Position { replid: r.replid.clone(), offset: r.offset(), db: (db < DBS).then_some(db) }
    }

    pub fn acknowledge(&mut self, n: usize) {
        let node = &self.nodes[n];
        if let Some(r) = &node.reader {
            let ack = encoded(&["REPLCONF", "ACK", &node.repl.offset().to_string()]);
            self.wires[r.wire].up.extend_from_slice(&ack);
        }
    }

    /// What came from the master: up to `most` bytes of it.
    pub fn receive(&mut self, w: usize, most: usize) {
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

    /// The load ends, well or badly.
    pub fn loaded(&mut self, n: usize) {
        let (data, position) = restored(&std::mem::take(&mut self.nodes[n].file));
        self.nodes[n].loading = false;
        if !self.quiet && self.rng.below(8) == 0 {
            return self.event(n, Event::LoadFailed { cut: false });
        }
        self.nodes[n].data = data;
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
