//! The link of a replica to its master, as a machine without I/O: what happened goes in, what is to be done
//! comes out. `server/link` does it; the simulation (`sim`) does it on a fake.
//!
//! ```text
//! Off ◄─ Release ── any          Order ─► Connecting, from any state
//!
//! Connect ─ Tick ─► Connecting ─► Ping ─► Answers ─► Psync ─┬─ +CONTINUE ────────────────► Online
//!    ▲                  │           │        │         │    └─ +FULLRESYNC ─► Size ─► Transfer
//!    │                  │           │        │         │                       │         │ whole
//!    └──── failed, or silent for longer than repl-timeout ─────────────────────┴─── Loading ─► Online
//!    └──── the link's client has gone: its position is kept, and connected again at once ───────┘
//! ```
//!
//! By two connections (`dual`): Psync ─ +DUALCHANNELSYNC ─► Channel ─ $ENDOFF ─► Size ─► .. ─► Online.
//!
//! A lost client connects again at once, and so does a failed transfer, which rests when that fails again
//! and again (`backoff`). A failed handshake waits for the next tick, which comes once a second.
//!
//! - The position is where the stream goes on: the history and the bytes of it that were applied. It is kept
//!   while the link is down and given up when a full sync begins to load, on promotion, and when the master
//!   has spoken nonsense. The data of this server always stand for exactly that position.
//! - `wants` says how much of what has come the machine takes: single lines while it talks, the length of the
//!   snapshot while that comes. What stands behind belongs to the stream, which is read by a client.
//! - The snapshot goes to a file, or to the loader as it arrives (`Terms::parser`, asked when it begins). The
//!   loader is ahead of the machine then: it may fail before all has come.
//! - A snapshot of unknown length ends with a mark of 40 bytes. The mark is compared with the end of what has
//!   come and never searched for; its bytes are held back from the file, so that nothing has to be cut off.
//! - Of a snapshot that came by SYNC, or behind an answer without a position, nothing can be continued: the
//!   link then acknowledges nothing and keeps no position.

use super::backoff::Backoff;
use super::{Position, is_id};
use crate::algo::num::parse_i64;
use crate::sys::log::Level::{self, Notice, Warning};
use dual::{Channel, Dual};
use std::borrow::Cow;
use std::collections::VecDeque;

/// Length of the mark behind a snapshot of unknown length.
pub const MARK: usize = 40;
/// The answer to PSYNC of a master that sends the snapshot by a second connection.
const DUAL: &[u8] = b"+DUALCHANNELSYNC";
/// A sized snapshot is asked for in pieces of this length, so that other clients have their turn.
const PIECE: u64 = 1 << 20;

/// Where the master is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    pub host: String,
    pub port: u16,
}

/// What the configuration says of the link.
#[derive(Clone, Copy, Debug, Default)]
pub struct Terms<'a> {
    pub user: Option<&'a [u8]>,
    pub password: Option<&'a [u8]>,
    /// Where this server can be reached, as the master shall show it.
    pub port: u64,
    pub ip: Option<&'a [u8]>,
    /// Seconds of silence (`repl-timeout`).
    pub timeout: u64,
    /// The snapshot is loaded as it arrives.
    pub parser: bool,
    /// The other one is a replica that is asked to take the place of this server.
    pub failover: bool,
    /// The snapshot may come by a second connection.
    pub dual: bool,
}

/// What has happened.
#[derive(Debug)]
pub enum Event<'a> {
    /// REPLICAOF: the server follows this master from now on. `at`: the position of its data.
    Order {
        target: Target,
        at: Option<Position>,
    },
    /// REPLICAOF NO ONE.
    Release,
    /// A second has passed.
    Tick,
    /// The connection was begun, or could not be.
    Begun,
    Refused(&'a str),
    Connected,
    /// One line, without its end, where `wants` is `Line`.
    Line(&'a [u8]),
    /// Bytes of the snapshot, no more than `wants` has said.
    Bulk(&'a [u8]),
    /// The connection has ended or failed.
    Closed(&'a str),
    /// A line of the main channel, and its end.
    Main(&'a [u8]),
    MainClosed(&'a str),
    /// The file of the snapshot could not be opened, written or put in its place; the log says why.
    FileFailed,
    /// The snapshot is the dataset; this database was selected in the stream.
    Loaded {
        db: Option<usize>,
    },
    /// It could not be loaded; `cut`: only because the connection has ended in the middle of it.
    LoadFailed {
        cut: bool,
    },
    /// The client that reads the stream has gone; None when its position is worth nothing.
    Lost(Option<Position>),
}

/// What is to be done, in order.
#[derive(Debug, PartialEq, Eq)]
pub enum Action<'a> {
    Say(Level, String),
    Connect(Target),
    Send(Vec<u8>),
    /// Closes the connection of a handshake or transfer.
    Close,
    /// The connection becomes the main channel: it is kept, beside the next one that is made.
    Park,
    SendMain(Vec<u8>),
    CloseMain,
    /// The history of this server is that of the master, up to here. The stream is still to come.
    Rebase(Position),
    OpenFile,
    Append(Cow<'a, [u8]>),
    DropFile,
    /// The snapshot is whole, in its file: it takes the place of the dataset.
    Load,
    /// A snapshot of this history and length begins to arrive, for the loader.
    Parse {
        replid: Option<String>,
        total: u64,
    },
    /// Nothing more of it comes; `whole`: because that was all.
    EndOfSnapshot {
        whole: bool,
    },
    /// The master continues under another id: so does this server, and its replicas are told so.
    Inherit(String),
    /// A client reads the stream from here on. `full`: behind a snapshot, whose position becomes that of this
    /// server; None is a history without a name.
    Attach {
        full: bool,
        position: Option<Position>,
        /// The master waits to hear that the snapshot has arrived.
        ack: bool,
    },
    /// Closes the client that reads the stream: the master is silent.
    Detach,
    /// The other one has answered whether it takes over. When it does not, this is the last action.
    TakenOver(bool),
    /// Tells the master how far the stream is applied.
    Ack,
    /// A sign of life.
    Newline,
}

/// What the machine takes of the bytes that have come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wants {
    Nothing,
    Line,
    /// At most so many bytes.
    Bulk(usize),
    /// Of the main channel: whatever comes, to be kept.
    Stream,
}

/// An answer of the handshake.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Answer {
    Auth,
    Option(&'static str),
}

/// Where the stream goes on behind a snapshot; None when the master did not say.
type Origin = Option<(String, u64)>;

#[derive(Debug)]
enum End {
    /// So many bytes are still to come.
    Length(u64),
    Mark([u8; MARK]),
}

#[derive(Debug)]
struct Transfer {
    origin: Origin,
    /// It goes to the loader, not to a file.
    parser: bool,
    end: End,
    /// The last bytes before a mark, which may be the mark.
    tail: Vec<u8>,
    total: u64,
    read: u64,
}

#[derive(Debug)]
enum State {
    Off,
    Connect,
    Connecting,
    Ping,
    Answers(VecDeque<Answer>),
    Psync,
    Size {
        origin: Origin,
        parser: bool,
    },
    Transfer(Transfer),
    Loading {
        origin: Origin,
        parser: bool,
        ack: bool,
        total: u64,
        read: u64,
    },
    /// The second connection of a sync by two.
    Channel(Channel),
    /// The dataset is there, and the main channel still has to get its answer.
    Waiting(Position),
    Online {
        /// The master has no use for acknowledgements.
        silent: bool,
    },
}

#[derive(Debug)]
pub struct Link {
    target: Option<Target>,
    state: State,
    /// Where the data of this server stand, while no client reads the stream.
    cached: Option<Position>,
    /// When the master was heard of last, in Unix seconds.
    last_io: i64,
    /// When the stream was heard of last, or the data stood for themselves, in Unix seconds.
    fresh_at: Option<i64>,
    /// Since when there is no link; 0 before there was one.
    down_since: i64,
    /// When a full sync may be tried again.
    backoff: Backoff,
    /// The main channel of a sync by two connections.
    dual: Option<Dual>,
    /// The second connection has failed: the next sync goes without.
    plain_next: bool,
}

impl Default for Link {
    fn default() -> Self {
        Link {
            target: None,
            state: State::Off,
            cached: None,
            last_io: 0,
            fresh_at: None,
            down_since: 0,
            backoff: Backoff::default(),
            dual: None,
            plain_next: false,
        }
    }
}

/// A transfer: its length as it was announced (0 for a mark, -1 before), and the bytes that have come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    pub total: i64,
    pub read: i64,
    pub last_io: i64,
}

type Out<'o, 'a> = &'o mut Vec<Action<'a>>;

fn say(out: Out<'_, '_>, level: Level, text: impl Into<String>) {
    out.push(Action::Say(level, text.into()));
}

fn shown(bytes: &[u8]) -> Cow<'_, str> {
    String::from_utf8_lossy(bytes)
}

fn command(words: &[&[u8]]) -> Vec<u8> {
    let mut bytes = Vec::new();
    crate::persist::aof::push_command(&mut bytes, words);
    bytes
}

// ---- what others ask ---------------------------------------------------------------------------

impl Link {
    pub fn target(&self) -> Option<&Target> {
        self.target.as_ref()
    }

    /// Is this server a replica?
    pub fn is_on(&self) -> bool {
        self.target.is_some()
    }

    /// Does a client read the stream?
    pub fn is_online(&self) -> bool {
        matches!(self.state, State::Online { .. })
    }

    /// Is the dataset being replaced?
    pub fn loads(&self) -> bool {
        matches!(self.state, State::Loading { .. })
    }

    /// Has the master no use for acknowledgements?
    pub fn is_silent(&self) -> bool {
        matches!(self.state, State::Online { silent: true })
    }

    /// The position that is kept while the link is down.
    pub fn cached(&self) -> Option<&Position> {
        self.cached.as_ref()
    }

    pub fn down_since(&self) -> i64 {
        self.down_since
    }

    /// Seconds since the stream was heard of; None when it never was.
    pub fn silence(&self, now: i64) -> Option<u64> {
        self.fresh_at.map(|at| now.saturating_sub(at).max(0).unsigned_abs())
    }

    /// As ROLE names the state.
    pub fn state_name(&self) -> &'static str {
        match self.state {
            State::Off => "none",
            State::Connect => "connect",
            State::Connecting => "connecting",
            State::Ping | State::Answers(_) | State::Psync | State::Channel(_) => "handshake",
            State::Size { .. } | State::Transfer(_) | State::Loading { .. } | State::Waiting(_) => {
                "sync"
            }
            State::Online { .. } => "connected",
        }
    }

    /// Is it still to be seen whether the connection can be made?
    pub fn is_connecting(&self) -> bool {
        matches!(self.state, State::Connecting | State::Channel(Channel::Connecting))
    }

    /// The transfer under way, loading included.
    pub fn progress(&self) -> Option<Progress> {
        let (total, read) = match &self.state {
            State::Size { .. } => (-1, 0),
            State::Transfer(Transfer { total, read, .. }) | State::Loading { total, read, .. } => {
                (total.cast_signed(), read.cast_signed())
            }
            _ => return None,
        };
        Some(Progress { total, read, last_io: self.last_io })
    }

    pub fn wants(&self) -> Wants {
        match &self.state {
            State::Ping | State::Answers(_) | State::Psync | State::Size { .. } => Wants::Line,
            State::Channel(Channel::Answers(_) | Channel::End) => Wants::Line,
            State::Transfer(Transfer { end: End::Length(left), .. }) => {
                Wants::Bulk(usize::try_from(*left.min(&PIECE)).unwrap_or(0))
            }
            State::Transfer(Transfer { end: End::Mark(_), .. }) => Wants::Bulk(PIECE as usize),
            _ => Wants::Nothing,
        }
    }

    /// The position of a dataset that was read from the disk.
    pub fn remember(&mut self, at: Position) {
        debug_assert!(!self.is_online(), "a client knows better");
        self.cached = Some(at);
    }

    /// The server is told at its start to follow this master; the first tick connects.
    pub fn follow(&mut self, target: Target) {
        debug_assert!(matches!(self.state, State::Off));
        (self.target, self.state) = (Some(target), State::Connect);
    }
}

// ---- the machine -------------------------------------------------------------------------------

impl Link {
    /// Takes in what has happened at `now`, in Unix seconds.
    pub fn on<'a>(&mut self, event: Event<'a>, terms: &Terms, now: i64, out: Out<'_, 'a>) {
        match event {
            Event::Order { target, at } => self.order(target, at, now, out),
            Event::Release => self.release(out),
            Event::Tick => self.tick(terms, now, out),
            Event::Begun => {
                self.last_io = now;
                if self.dual.is_none() {
                    say(out, Notice, "MASTER <-> REPLICA sync started");
                }
            }
            Event::Refused(why) => {
                say(out, Warning, format!("Unable to connect to MASTER: {why}"));
                match self.dual {
                    Some(_) => self.fail_dual(out),
                    None => self.state = State::Connect,
                }
            }
            Event::Connected => self.connected(terms, now, out),
            Event::Line(line) => {
                self.last_io = now;
                self.line(line, terms, now, out);
            }
            Event::Bulk(bytes) => {
                self.last_io = now;
                self.bulk(bytes, now, out);
            }
            Event::Closed(why) => self.closed(why, now, out),
            Event::Main(line) => {
                self.last_io = now;
                self.main_line(line, now, out);
            }
            Event::MainClosed(why) => self.main_closed(why, now, out),
            Event::FileFailed => {
                let syncs = matches!(
                    self.state,
                    State::Size { .. } | State::Transfer(_) | State::Loading { .. }
                );
                self.give_up(out);
                if syncs {
                    self.again("the snapshot could not be stored", false, now, out);
                }
            }
            Event::Loaded { db } => self.loaded(db, now, out),
            Event::LoadFailed { cut } => self.load_failed(cut, now, out),
            Event::Lost(position) => {
                self.lost(position, now, out);
                self.reconnect("", now, out);
            }
        }
    }

    fn order(&mut self, target: Target, at: Option<Position>, now: i64, out: Out<'_, '_>) {
        match self.state {
            State::Off => {
                self.discard(out);
                (self.cached, self.fresh_at) = (at, Some(now));
                say(
                    out,
                    Notice,
                    "Before turning into a replica, using my own master parameters to synthesize a cached \
                     master: I may be able to synchronize with the new master with just a partial transfer.",
                );
            }
            State::Online { .. } => {
                self.lost(at, now, out);
                out.push(Action::Detach);
            }
            _ => self.give_up(out),
        }
        say(out, Notice, format!("Connecting to MASTER {}:{}", target.host, target.port));
        (self.target, self.plain_next) = (Some(target), false);
        self.backoff.reset();
        self.connect(now, out);
    }

    fn release(&mut self, out: Out<'_, '_>) {
        match self.state {
            State::Online { .. } => {
                say(out, Notice, "Connection with master lost.");
                out.push(Action::Detach);
            }
            _ => self.give_up(out),
        }
        self.discard(out);
        self.backoff.reset();
        (self.target, self.state, self.down_since) = (None, State::Off, 0);
    }

    fn discard(&mut self, out: Out<'_, '_>) {
        if self.cached.take().is_some() {
            say(out, Notice, "Discarding previously cached master state.");
        }
    }

    fn tick(&mut self, terms: &Terms, now: i64, out: Out<'_, '_>) {
        let late = u64::try_from(now - self.last_io).is_ok_and(|s| s > terms.timeout);
        match self.state {
            State::Connecting
            | State::Ping
            | State::Answers(_)
            | State::Psync
            | State::Channel(_)
            | State::Waiting(_)
                if late =>
            {
                say(out, Warning, "Timeout connecting to the MASTER...");
                self.give_up(out);
                self.reconnect(" after failure", now, out);
            }
            State::Size { .. } | State::Transfer(_) if late => {
                say(
                    out,
                    Warning,
                    "Timeout receiving bulk data from MASTER... If the problem persists try to set the \
                     'repl-timeout' parameter in redis.conf to a larger value.",
                );
                let progress = self.has_read();
                self.give_up(out);
                self.again("the master was silent", progress, now, out);
            }
            State::Online { silent } => {
                if late {
                    say(out, Warning, "MASTER timeout: no data nor PING received...");
                    out.push(Action::Detach);
                } else if !silent {
                    out.push(Action::Ack);
                }
            }
            State::Loading { .. } | State::Transfer(Transfer { parser: true, .. }) => {
                out.push(Action::Newline);
            }
            State::Connect if self.backoff.is_over(now) => {
                if let Some(Target { host, port }) = &self.target {
                    say(out, Notice, format!("Connecting to MASTER {host}:{port}"));
                }
                self.connect(now, out);
            }
            _ => {}
        }
    }

    fn connect(&mut self, now: i64, out: Out<'_, '_>) {
        let Some(target) = self.target.clone() else { return };
        (self.state, self.last_io) = (State::Connecting, now);
        out.push(Action::Connect(target));
    }

    /// Ends what was begun with the master, without a new try.
    fn give_up(&mut self, out: Out<'_, '_>) {
        match &self.state {
            State::Off | State::Connect => return,
            State::Online { .. } => debug_assert!(false, "a client has the connection"),
            State::Size { .. } | State::Transfer(_) | State::Loading { .. } => {
                out.push(Action::Close);
                out.push(Action::DropFile);
            }
            State::Waiting(position) => {
                self.cached = Some(position.clone());
                out.push(Action::Close);
            }
            State::Connecting | State::Ping | State::Answers(_) | State::Psync | State::Channel(_) => {
                out.push(Action::Close)
            }
        }
        if self.dual.take().is_some() {
            out.push(Action::CloseMain);
        }
        self.state = State::Connect;
    }

    /// Tries a full sync again that has failed: at once, or later when that does not help. `progress`: bytes
    /// of it have come, and nothing but the connection was bad.
    fn again(&mut self, why: &str, progress: bool, now: i64, out: Out<'_, '_>) {
        let rest = self.backoff.failed(progress, now);
        let Some(Target { host, port }) = self.target.as_ref().filter(|_| rest > 0) else {
            return self.reconnect(" after failure", now, out);
        };
        let failures = self.backoff.failures();
        say(
            out,
            Warning,
            format!(
                "Synchronization with MASTER {host}:{port} has failed {failures} times in a row, the last \
                 time because {why}: the next try is made in {rest} seconds"
            ),
        );
    }

    /// Have bytes of a snapshot come?
    fn has_read(&self) -> bool {
        self.progress().is_some_and(|p| p.read > 0)
    }

    fn reconnect(&mut self, after: &str, now: i64, out: Out<'_, '_>) {
        if let Some(Target { host, port }) = &self.target {
            say(out, Notice, format!("Reconnecting to MASTER {host}:{port}{after}"));
            self.connect(now, out);
        }
    }

    fn load_failed(&mut self, cut: bool, now: i64, out: Out<'_, '_>) {
        let from = match &self.state {
            State::Loading { parser: false, .. } => "disk",
            _ => "socket",
        };
        say(
            out,
            Warning,
            format!(
                "Failed trying to load the MASTER synchronization DB from {from}, check server logs."
            ),
        );
        let progress = cut && self.has_read();
        self.give_up(out);
        let why = if cut { "the connection was lost" } else { "the snapshot could not be loaded" };
        self.again(why, progress, now, out);
    }

    fn lost(&mut self, position: Option<Position>, now: i64, out: Out<'_, '_>) {
        debug_assert!(self.is_online() && self.cached.is_none());
        say(out, Notice, "Connection with master lost.");
        if position.is_some() {
            say(out, Notice, "Caching the disconnected master state.");
        }
        (self.cached, self.state, self.down_since) = (position, State::Connect, now);
    }

    fn closed(&mut self, why: &str, now: i64, out: Out<'_, '_>) {
        match self.state {
            State::Connecting => {
                say(out, Warning, format!("Error condition on socket for SYNC: {why}"));
                self.give_up(out);
            }
            State::Ping | State::Answers(_) => {
                say(out, Warning, format!("Failed to read response from the server: {why}"));
                say(out, Warning, "Master did not respond to command during SYNC handshake");
                self.give_up(out);
            }
            State::Psync => {
                say(out, Warning, "Master did not reply to PSYNC, will try later");
                self.give_up(out);
            }
            State::Size { .. } => {
                say(out, Warning, format!("I/O error reading bulk count from MASTER: {why}"));
                self.give_up(out);
                self.again("the connection was lost before the snapshot began", false, now, out);
            }
            // The loader says what it has, and fails for it.
            State::Transfer(Transfer { parser: true, .. }) => {
                out.push(Action::EndOfSnapshot { whole: false });
            }
            State::Transfer(_) => {
                say(out, Warning, format!("I/O error trying to sync with MASTER: {why}"));
                let progress = self.has_read();
                self.give_up(out);
                self.again("the connection was lost", progress, now, out);
            }
            State::Channel(_) => self.channel_closed(why, out),
            // Nothing is read while a snapshot is loaded; what has ended meanwhile is found afterwards.
            State::Off
            | State::Connect
            | State::Loading { .. }
            | State::Waiting(_)
            | State::Online { .. } => {}
        }
    }
}

// ---- the handshake -----------------------------------------------------------------------------

impl Link {
    fn connected(&mut self, terms: &Terms, now: i64, out: Out<'_, '_>) {
        if matches!(self.state, State::Channel(Channel::Connecting)) {
            self.last_io = now;
            return self.channel_connected(terms, out);
        }
        if !matches!(self.state, State::Connecting) {
            return;
        }
        say(out, Notice, "Non blocking connect for SYNC fired the event.");
        out.push(Action::Send(command(&[b"PING"])));
        (self.state, self.last_io) = (State::Ping, now);
    }

    fn line(&mut self, line: &[u8], terms: &Terms, now: i64, out: Out<'_, '_>) {
        match &mut self.state {
            State::Ping => self.ping_answered(line, terms, out),
            State::Answers(answers) => {
                let answer = answers.pop_front();
                let last = answers.is_empty();
                self.answered(answer, last, line, terms, out);
            }
            State::Psync => self.psync_answered(line, terms, now, out),
            State::Channel(_) => self.channel_line(line, terms, out),
            State::Size { .. } => self.size(line, now, out),
            _ => debug_assert!(false, "no line was wanted"),
        }
    }

    fn ping_answered(&mut self, line: &[u8], terms: &Terms, out: Out<'_, '_>) {
        let goes_on: [&[u8]; 4] = [b"+", b"-NOAUTH", b"-NOPERM", b"-ERR operation not permitted"];
        if !goes_on.iter().any(|begin| line.starts_with(begin)) {
            say(out, Warning, format!("Error reply to PING from master: '{}'", shown(line)));
            return self.give_up(out);
        }
        say(out, Notice, "Master replied to PING, replication can continue...");
        let (mut answers, mut bytes) = (VecDeque::new(), Vec::new());
        log_in(terms, &mut answers, &mut bytes);
        let port = terms.port.to_string();
        answers.push_back(Answer::Option("listening-port"));
        bytes.extend(command(&[b"REPLCONF", b"listening-port", port.as_bytes()]));
        if let Some(ip) = terms.ip {
            answers.push_back(Answer::Option("ip-address"));
            bytes.extend(command(&[b"REPLCONF", b"ip-address", ip]));
        }
        answers.push_back(Answer::Option("capa"));
        let words: [&[u8]; 7] =
            [b"REPLCONF", b"capa", b"eof", b"capa", b"psync2", b"capa", b"dual-channel"];
        let dual = terms.dual && !std::mem::take(&mut self.plain_next);
        bytes.extend(command(&words[..if dual { 7 } else { 5 }]));
        out.push(Action::Send(bytes));
        self.state = State::Answers(answers);
    }

    fn answered(
        &mut self,
        answer: Option<Answer>,
        last: bool,
        line: &[u8],
        terms: &Terms,
        out: Out<'_, '_>,
    ) {
        if line.starts_with(b"-") {
            let text = shown(line);
            match answer {
                Some(Answer::Auth) => {
                    say(out, Warning, format!("Unable to AUTH to MASTER: {text}"));
                    return self.give_up(out);
                }
                Some(Answer::Option(name)) => say(
                    out,
                    Notice,
                    format!("(Non critical) Master does not understand REPLCONF {name}: {text}"),
                ),
                None => {}
            }
        }
        if last {
            self.psync(terms, out);
        }
    }

    fn psync(&mut self, terms: &Terms, out: Out<'_, '_>) {
        let (id, next) = match &self.cached {
            Some(at) => {
                let next = at.offset.saturating_add(1).to_string();
                let text = format!("Trying a partial resynchronization (request {}:{next}).", at.replid);
                say(out, Notice, text);
                (at.replid.as_str(), next)
            }
            None => {
                say(out, Notice, "Partial resynchronization not possible (no cached master)");
                ("?", "-1".to_string())
            }
        };
        let words: [&[u8]; 4] = [b"PSYNC", id.as_bytes(), next.as_bytes(), b"FAILOVER"];
        out.push(Action::Send(command(&words[..3 + usize::from(terms.failover)])));
        self.state = State::Psync;
    }

    fn psync_answered(&mut self, line: &[u8], terms: &Terms, now: i64, out: Out<'_, '_>) {
        if line.is_empty() {
            // Alive, and still thinking.
            return;
        }
        let agrees = [&b"+FULLRESYNC"[..], b"+CONTINUE", DUAL];
        if terms.failover && agrees.iter().any(|w| line.starts_with(w)) {
            out.push(Action::TakenOver(true));
        }
        if let Some(rest) = line.strip_prefix(b"+FULLRESYNC") {
            let origin = origin(rest);
            match &origin {
                Some((id, at)) => say(out, Notice, format!("Full resync from master: {id}:{at}")),
                None => say(out, Warning, "Master replied with wrong +FULLRESYNC syntax."),
            }
            self.receive(origin, terms, out);
        } else if let Some(rest) = line.strip_prefix(b"+CONTINUE") {
            self.go_on(rest, now, out);
        } else if terms.dual && line == DUAL {
            self.begin_dual(now, out);
        } else if line.starts_with(b"-NOMASTERLINK") || line.starts_with(b"-LOADING") {
            let text = shown(line);
            say(
                out,
                Notice,
                format!("Master is currently unable to PSYNC but should be in the future: {text}"),
            );
            if terms.failover {
                return out.push(Action::TakenOver(false));
            }
            self.give_up(out);
        } else {
            let text = shown(line);
            match line.starts_with(b"-ERR") {
                true => say(
                    out,
                    Notice,
                    format!("Master does not support PSYNC or is in error state (reply: {text})"),
                ),
                false => say(out, Warning, format!("Unexpected reply to PSYNC from master: {text}")),
            }
            if terms.failover {
                return out.push(Action::TakenOver(false));
            }
            say(out, Notice, "Retrying with SYNC...");
            out.push(Action::Send(b"SYNC\r\n".to_vec()));
            self.receive(None, terms, out);
        }
    }

    fn go_on(&mut self, rest: &[u8], now: i64, out: Out<'_, '_>) {
        let Some(mut position) = self.cached.take() else {
            say(out, Warning, "Master continues a stream that was not asked for.");
            return self.give_up(out);
        };
        say(out, Notice, "Successful partial resynchronization with master.");
        let id = rest.strip_prefix(b" ").unwrap_or_default();
        if is_id(id) && id != position.replid.as_bytes() {
            let id = shown(id).into_owned();
            say(out, Notice, format!("Master replication ID changed to {id}"));
            position.replid.clone_from(&id);
            out.push(Action::Inherit(id));
        }
        (self.state, self.down_since) = (State::Online { silent: false }, 0);
        self.heard(now);
        self.backoff.reset();
        out.push(Action::Attach { full: false, position: Some(position), ack: false });
        say(out, Notice, "MASTER <-> REPLICA sync: Master accepted a Partial Resynchronization.");
    }
}

/// AUTH, if there is a password.
fn log_in(terms: &Terms, answers: &mut VecDeque<Answer>, bytes: &mut Vec<u8>) {
    let Some(password) = terms.password else { return };
    answers.push_back(Answer::Auth);
    match terms.user {
        Some(user) => bytes.extend(command(&[b"AUTH", user, password])),
        None => bytes.extend(command(&[b"AUTH", password])),
    }
}

/// The id and the position of `+FULLRESYNC`.
fn origin(rest: &[u8]) -> Origin {
    let mut words = rest.strip_prefix(b" ")?.split(|b| *b == b' ');
    let (id, at) = (words.next()?, words.next()?);
    let at = u64::try_from(parse_i64(at)?).ok()?;
    is_id(id).then(|| (shown(id).into_owned(), at))
}

// ---- the snapshot ------------------------------------------------------------------------------

impl Link {
    fn receive(&mut self, origin: Origin, terms: &Terms, out: Out<'_, '_>) {
        self.state = State::Size { origin, parser: terms.parser };
        if !terms.parser {
            out.push(Action::OpenFile);
        }
    }

    fn size(&mut self, line: &[u8], now: i64, out: Out<'_, '_>) {
        let State::Size { origin, parser } = &mut self.state else { return };
        let Some(digits) = line.strip_prefix(b"$") else {
            if line.is_empty() {
                // A sign of life.
                return;
            }
            let text = shown(line);
            match line.starts_with(b"-") {
                true => say(out, Warning, format!("MASTER aborted replication with an error: {text}")),
                false => say(
                    out,
                    Warning,
                    format!(
                        "Bad protocol from MASTER, the first byte is not '$' (we received '{text}'), are \
                         you sure the host and port are right?"
                    ),
                ),
            }
            self.give_up(out);
            return self.again("the master has announced no snapshot", false, now, out);
        };
        let (origin, parser) = (origin.take(), *parser);
        let to = if parser { "to parser" } else { "to disk" };
        let mark = digits.strip_prefix(b"EOF:").and_then(|m| <[u8; MARK]>::try_from(m).ok());
        let (end, total) = match (mark, parse_i64(digits).map(u64::try_from)) {
            (Some(mark), _) => {
                say(
                    out,
                    Notice,
                    format!("MASTER <-> REPLICA sync: receiving streamed RDB from master with EOF {to}"),
                );
                (End::Mark(mark), 0)
            }
            (None, Some(Ok(len))) => {
                say(
                    out,
                    Notice,
                    format!("MASTER <-> REPLICA sync: receiving {len} bytes from master {to}"),
                );
                (End::Length(len), len)
            }
            _ => {
                let text = shown(line);
                say(out, Warning, format!("Bad length of the snapshot from MASTER: '{text}'"));
                self.give_up(out);
                return self.again("the master has announced no snapshot", false, now, out);
            }
        };
        if parser {
            let replid = origin.as_ref().map(|(id, _)| id.clone());
            out.push(Action::Parse { replid, total });
        }
        self.state = State::Transfer(Transfer { origin, parser, end, tail: Vec::new(), total, read: 0 });
        if total == 0 && mark.is_none() {
            self.whole(false, out);
        }
    }

    fn bulk<'a>(&mut self, bytes: &'a [u8], now: i64, out: Out<'_, 'a>) {
        let State::Transfer(t) = &mut self.state else { return };
        t.read = t.read.saturating_add(bytes.len() as u64);
        match &mut t.end {
            End::Length(left) => {
                debug_assert!(bytes.len() as u64 <= *left, "`wants` said how much");
                *left = left.saturating_sub(bytes.len() as u64);
                let done = *left == 0;
                out.push(Action::Append(Cow::Borrowed(bytes)));
                if done {
                    self.whole(false, out);
                }
            }
            End::Mark(mark) => {
                let mark = *mark;
                hold_back(&mut t.tail, bytes, out);
                if t.tail == mark {
                    self.whole(true, out);
                }
            }
        }
        self.last_io = now;
    }

    fn whole(&mut self, ack: bool, out: Out<'_, '_>) {
        let State::Transfer(t) = &mut self.state else { return };
        let (parser, total, read) = (t.parser, t.total, t.read);
        self.state = State::Loading { origin: t.origin.take(), parser, ack, total, read };
        out.push(if parser { Action::EndOfSnapshot { whole: true } } else { Action::Load });
    }

    /// The dataset is about to be replaced: no position stands for it.
    pub fn begins_to_load(&mut self, out: Out<'_, '_>) {
        self.discard(out);
    }

    fn loaded(&mut self, db: Option<usize>, now: i64, out: Out<'_, '_>) {
        let State::Loading { origin, ack, .. } = &mut self.state else { return };
        debug_assert!(self.cached.is_none());
        if self.dual.is_some() {
            return self.dual_loaded(db, now, out);
        }
        let (origin, ack) = (origin.take(), *ack);
        let silent = origin.is_none();
        let position = origin.map(|(replid, offset)| Position { replid, offset, db });
        debug_assert!(self.cached.is_none());
        (self.state, self.down_since) = (State::Online { silent }, 0);
        self.heard(now);
        self.backoff.reset();
        out.push(Action::Attach { full: true, position, ack: ack && !silent });
        say(out, Notice, "MASTER <-> REPLICA sync: Finished with success");
    }

    /// The stream was heard of.
    pub fn heard(&mut self, at: i64) {
        self.last_io = self.last_io.max(at);
        self.fresh_at = self.fresh_at.max(Some(at));
    }
}

/// Hands on all but the last `MARK` bytes of what has come.
fn hold_back<'a>(tail: &mut Vec<u8>, bytes: &'a [u8], out: Out<'_, 'a>) {
    let over = (tail.len() + bytes.len()).saturating_sub(MARK);
    let of_tail = over.min(tail.len());
    if of_tail > 0 {
        out.push(Action::Append(Cow::Owned(tail.drain(..of_tail).collect())));
    }
    let (now, later) = bytes.split_at(over - of_tail);
    if !now.is_empty() {
        out.push(Action::Append(Cow::Borrowed(now)));
    }
    tail.extend_from_slice(later);
}

mod dual;
#[cfg(test)]
mod tests;
