//! One client: a connection, and a session.
//!
//! ```text
//! Client ─┬─ conn: Conn    socket, input, parse state, replies    Send; needs an `IoCtx` and no server
//!         └─ the rest      the session: what commands know and    stays where commands run
//!                          change, and how others find the client
//! ```
//!
//! The two are parted by the field `conn` and not by a struct `Session`: no function takes a session
//! without its client, and `client.session.db` would say no more than `client.db` does. To read and write
//! elsewhere, a thread is given the `Conn`, whole, and the client keeps in its place the way to it; no
//! field of the session is touched there, and that is what decides where a new field belongs.
//!
//! A pseudo-client is a client whose connection has no stream: it has a database, a user, a protocol
//! version and flags of its own, and its replies are taken from `conn.out` by the code that called.
//!
//! What few clients have is boxed, so that an idle connection stays under 700 bytes with everything.

use super::conn::Conn;
use super::id::UserId;
use super::multi::Multi;
use crate::proto::reply::Reply;
use std::cell::OnceCell;

/// Bits of `Client::flags`.
pub mod flag {
    /// Leaves between passes; in no registry any more.
    pub const DYING: u64 = 1 << 0;
    /// In the middle of a command; its buffers are lent out.
    pub const EXECUTING: u64 = 1 << 1;
    pub const TO_WRITE: u64 = 1 << 2;
    pub const TO_READ: u64 = 1 << 3;
    /// Close when the reply has been written.
    pub const CLOSE_AFTER_REPLY: u64 = 1 << 4;
    /// Without a stream: scripts, the AOF loader, the link to a master.
    pub const PSEUDO: u64 = 1 << 5;
    pub const MONITOR: u64 = 1 << 6;
    pub const MULTI: u64 = 1 << 7;
    /// A watched key changed.
    pub const DIRTY_CAS: u64 = 1 << 8;
    /// A command was refused while queueing.
    pub const DIRTY_EXEC: u64 = 1 << 9;
    pub const BLOCKED: u64 = 1 << 10;
    pub const REPLY_OFF: u64 = 1 << 11;
    /// The next command is not answered ...
    pub const SKIP_NEXT: u64 = 1 << 12;
    /// ... and this one is it.
    pub const SKIP: u64 = 1 << 13;
    /// Subscribed to something.
    pub const PUBSUB: u64 = 1 << 14;
    pub const NO_EVICT: u64 = 1 << 15;
    pub const NO_TOUCH: u64 = 1 << 16;
    pub const SCRIPT: u64 = 1 << 17;
    pub const DENY_BLOCKING: u64 = 1 << 18;
    pub const REPLICA: u64 = 1 << 19;
    /// The link to the master.
    pub const MASTER: u64 = 1 << 20;
    /// What it asks has been judged before, and is done: the log, and the link to the master.
    pub const OBEYED: u64 = 1 << 27;
    /// Has to log in before anything else, while users need passwords.
    pub const UNAUTHENTICATED: u64 = 1 << 22;
    /// Its user may not do everything: what it asks is judged.
    pub const LIMITED: u64 = 1 << 45;
    pub const UNIX: u64 = 1 << 25;
    /// Waits for the end of CLIENT PAUSE.
    pub const PAUSED: u64 = 1 << 26;
    /// A parked request runs again: MONITOR has shown it, and the slow log gets it when it is over.
    pub const REPROCESSING: u64 = 1 << 29;
    /// Never hits the output limits, never evicted.
    pub const PROTECTED: u64 = 1 << 31;
    /// Its input was read in this pass and waits to be run.
    pub const ARRIVED: u64 = 1 << 33;
    /// Tries again what a pause has held up: no news to MONITOR.
    pub const WAS_PAUSED: u64 = 1 << 34;
    /// Its scripts are debugged ...
    pub const SCRIPT_DEBUG: u64 = 1 << 35;
    /// ... in the server itself, which waits meanwhile.
    pub const SCRIPT_DEBUG_SYNC: u64 = 1 << 36;
    /// Keys that it reads are remembered, and it is told when they change ...
    pub const TRACKING: u64 = 1 << 37;
    /// ... or it is told of all keys with its prefixes,
    pub const BROADCAST: u64 = 1 << 38;
    /// or of keys that it reads after CLIENT CACHING YES,
    pub const OPT_IN: u64 = 1 << 39;
    /// or of those that it does not read after CLIENT CACHING NO,
    pub const OPT_OUT: u64 = 1 << 40;
    /// but of none that it has changed itself.
    pub const NO_LOOP: u64 = 1 << 41;
    pub const TRACKING_MODES: u64 = BROADCAST | OPT_IN | OPT_OUT | NO_LOOP;
    /// CLIENT CACHING was called: until the end of the next request.
    pub const CACHING: u64 = 1 << 42;
    /// The client that gets its invalidations is gone.
    pub const BROKEN_REDIRECT: u64 = 1 << 43;
    /// ASKING was called: the next request ...
    pub const ASKING_NEXT: u64 = 1 << 46;
    /// ... is this one.
    pub const ASKING: u64 = 1 << 47;
    /// READONLY was called: it reads from a replica of the cluster.
    pub const READS_REPLICA: u64 = 1 << 48;
    /// Its other requests are left for the next pass: this one has taken long enough.
    pub const YIELDS: u64 = 1 << 44;
    /// Every command of such a client takes the long way through the refusals.
    pub const SPECIAL: u64 = DYING
        | CLOSE_AFTER_REPLY
        | MULTI
        | BLOCKED
        | REPLY_OFF
        | SKIP_NEXT
        | SKIP
        | PUBSUB
        | SCRIPT
        | DENY_BLOCKING
        | REPLICA
        | MASTER
        | OBEYED
        | PAUSED
        | NO_TOUCH
        | PSEUDO
        | UNAUTHENTICATED
        | LIMITED
        | MONITOR;
}

/// How a client is treated where limits differ; `as usize` is its place in the figures by kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClientKind {
    /// MONITOR is one of these.
    Normal,
    Replica,
    Pubsub,
    Master,
}

impl ClientKind {
    pub const COUNT: usize = 4;

    /// As CLIENT LIST and CLIENT KILL name it.
    pub fn named(name: &[u8]) -> Option<ClientKind> {
        let all: [(&[u8], ClientKind); 5] = [
            (b"normal", ClientKind::Normal),
            (b"slave", ClientKind::Replica),
            (b"replica", ClientKind::Replica),
            (b"pubsub", ClientKind::Pubsub),
            (b"master", ClientKind::Master),
        ];
        all.iter().find(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, k)| *k)
    }
}

/// The session, with the connection in it.
#[derive(Debug)]
pub struct Client {
    pub id: u64,
    pub flags: u64,
    pub db: u32,
    pub user: UserId,
    pub resp: u8,
    /// Index of the last command's row; u16::MAX for none.
    pub last_cmd: u16,
    /// Reply bytes pending went over the soft limit at this second; 0 for not.
    pub soft_since: u32,
    pub created_ms: i64,
    /// Size class of the first reply buffer: what `rbs` shows.
    pub reply_class: u32,
    pub reply_peak: u32,
    pub reply_peak_ms: i64,
    /// Where the stream ended behind the last write of this client.
    pub woff: u64,
    pub conn: Conn,
    /// Pushed by others while this client executes; follows its reply.
    pub pushes: Option<Box<Reply>>,
    pub extra: Option<Box<Extra>>,
    /// Asked of the system once, when they are first shown.
    pub ends: OnceCell<Box<Ends>>,
    pub multi: Option<Box<Multi>>,
    /// What `Usage` holds of this client.
    pub counted: Counted,
}

const _: () = assert!(size_of::<Client>() <= 384);

/// The share of one client in the figures of memory by kind, and its place among those that may be
/// evicted.
#[derive(Debug, Default, Clone, Copy)]
pub struct Counted {
    pub bytes: usize,
    pub kind: u8,
    /// Power of two, plus one; 0 while the client is not to be evicted.
    pub bucket: u8,
}

/// The two ends of a connection, as CLIENT LIST shows them.
#[derive(Debug)]
pub struct Ends {
    pub peer: Box<str>,
    pub local: Box<str>,
}

/// What few clients have.
#[derive(Debug, Default)]
pub struct Extra {
    pub name: Option<Box<[u8]>>,
    pub lib_name: Option<Box<[u8]>>,
    pub lib_ver: Option<Box<[u8]>>,
}

impl Client {
    /// Without a stream yet.
    pub fn new(now_ms: i64) -> Box<Client> {
        Box::new(Client {
            id: 0,
            flags: flag::PSEUDO,
            db: 0,
            user: UserId::DEFAULT,
            resp: 2,
            last_cmd: u16::MAX,
            soft_since: 0,
            created_ms: now_ms,
            reply_class: crate::proto::reply::CHUNK as u32,
            reply_peak: 0,
            reply_peak_ms: now_ms,
            woff: 0,
            conn: Conn::new((now_ms / 1000) as u32),
            pushes: None,
            extra: None,
            ends: OnceCell::new(),
            multi: None,
            counted: Counted::default(),
        })
    }

    #[inline]
    pub fn has(&self, f: u64) -> bool {
        self.flags & f != 0
    }
    #[inline]
    pub fn set(&mut self, f: u64) {
        self.flags |= f;
    }
    #[inline]
    pub fn clear(&mut self, f: u64) {
        self.flags &= !f;
    }
    pub fn put(&mut self, f: u64, on: bool) {
        if on { self.set(f) } else { self.clear(f) }
    }

    /// Bytes this client holds, buffers included.
    pub fn memory(&self) -> usize {
        let (query, _) = self.query_memory();
        size_of::<Client>() + query + self.reply_memory() + self.multi.as_ref().map_or(0, |m| m.bytes)
    }

    /// Bytes of the query buffer, also while it is lent out; and how many of them hold input.
    pub fn query_memory(&self) -> (usize, usize) {
        let (len, room) = (self.conn.input.buf.len(), self.conn.input.buf.capacity());
        if self.has(flag::EXECUTING) {
            (room.max(self.conn.input.lent.1), self.conn.input.lent.0)
        } else {
            (room, len)
        }
    }

    /// Bytes of replies that wait.
    pub fn reply_memory(&self) -> usize {
        self.conn.out.buf.capacity() + self.conn.out.list().1
    }

    pub fn out_is_resp3(&self) -> bool {
        self.resp == 3
    }

    pub fn kind(&self) -> ClientKind {
        match self.flags & (flag::MASTER | flag::REPLICA | flag::PUBSUB | flag::MONITOR) {
            f if f & flag::MASTER != 0 => ClientKind::Master,
            f if f & flag::REPLICA != 0 && f & flag::MONITOR == 0 => ClientKind::Replica,
            f if f & flag::PUBSUB != 0 => ClientKind::Pubsub,
            _ => ClientKind::Normal,
        }
    }

    pub fn extra(&mut self) -> &mut Extra {
        self.extra.get_or_insert_default()
    }

    pub fn name(&self) -> &[u8] {
        self.extra.as_ref().and_then(|e| e.name.as_deref()).unwrap_or(b"")
    }
}
