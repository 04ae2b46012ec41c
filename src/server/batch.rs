//! From the query buffer to the handlers: every complete request up to a bound is parsed before the
//! first one runs, so that buckets and entries of the batch are on their way into the cache while
//! earlier commands execute.
//!
//! ```text
//! buffer ─ parse ─► requests (spans, command, hash) ─► fetch buckets ─► fetch entries ─► run one by one
//!          `prepare`, when it was read                 `warm`, a read later              a read later still
//! ```
//!
//! The steps of several clients overlap (`pass` reads two others between the first and the last), so that
//! even single requests do not wait for memory. Members of big sets, hashes and sorted sets are fetched
//! last, when the entries are there.
//!
//! A batch holds spans and hashes, no decisions: each command goes through all refusals when its turn
//! comes. Others run between parsing and running; whatever they do to this client is seen then:
//!
//! ```text
//! killed, evicted, over its limit of replies    nothing runs; the slot's generation tells a new client
//! paused, blocked, closing                      nothing runs; the bytes stay and are parsed again
//! limits of requests changed                    parsed again, with the new ones
//! read again, or its buffer moved               not before its arrival has run (`ARRIVED`)
//! ```
//!
//! The batch is one request before authentication, and it stops when the client blocks, is
//! paused, dies or changes kind; what was parsed ahead is then parsed again later.

use super::ctx::Table;
use super::{Server, adopt, auth, client_info, dispatch, kill, limits, link_client};
use crate::clients::{Client, ClientId, flag};
use crate::cmd::row::Flow;
use crate::cmd::table::CmdId;
use crate::ds::dict::EntryPlace;
use crate::ds::hash::{hash, key_hash};
use crate::object::value::{Fetch, prefetch_member};
use crate::proto::args::{Args, recycle};
use crate::proto::parse::{ParseLimits, ParseState, Parsed, Span};
use crate::proto::reply::Reply;

/// Requests parsed ahead.
const BATCH: usize = 64;
/// Places for arguments that are kept from batch to batch.
const KEEP: usize = 4096;

struct Request {
    /// From the beginning of the buffer.
    start: usize,
    end: usize,
    first: u32,
    count: u32,
    cmd: CmdId,
    key_at: u16,
    hash: u64,
    /// Of an inline request, which owns its words.
    words: Option<Vec<Vec<u8>>>,
}

/// A batch, and room for the next one.
#[derive(Default)]
pub struct Scratch {
    spans: Vec<Span>,
    requests: Vec<Request>,
    argv: Vec<&'static [u8]>,
    /// Hash of the key, where its entry is, hash of the member.
    members: Vec<(EntryPlace, u64)>,
    /// Where in the buffer the first incomplete request begins.
    end: usize,
    ahead: Ahead,
    /// What the requests were measured with.
    limits: ParseLimits,
}

#[derive(Default)]
enum Ahead {
    /// The buffer has no further complete request.
    #[default]
    Drained,
    /// The batch is full.
    More,
    Broken(String),
}

impl Scratch {
    /// Parses from `pos` on.
    fn parse(
        &mut self,
        buf: &[u8],
        pos: usize,
        state: &mut ParseState,
        limits: &ParseLimits,
        table: &Table,
    ) {
        self.limits = *limits;
        (self.end, self.ahead) = self.requests_of(buf, pos, state, limits, table);
    }

    fn requests_of(
        &mut self,
        buf: &[u8],
        mut pos: usize,
        state: &mut ParseState,
        limits: &ParseLimits,
        table: &Table,
    ) -> (usize, Ahead) {
        self.spans.clear();
        self.requests.clear();
        let bound = if limits.authenticated { BATCH } else { 1 };
        while self.requests.len() < bound {
            let first = self.spans.len();
            let rest = &buf[pos..];
            let (len, words) = match state.next(rest, limits, &mut self.spans) {
                Parsed::Multibulk { len } => (len, None),
                Parsed::Inline { len, words } if !words.is_empty() => (len, Some(words)),
                Parsed::Inline { len, .. } | Parsed::Empty { len } => {
                    pos += len;
                    continue;
                }
                Parsed::Partial => return (pos, Ahead::Drained),
                Parsed::Broken(why) => return (pos, Ahead::Broken(why)),
            };
            let mut r = Request {
                start: pos,
                end: pos + len,
                first: first as u32,
                count: (self.spans.len() - first) as u32,
                cmd: CmdId::MAX,
                key_at: 0,
                hash: 0,
                words,
            };
            if r.words.is_none() {
                r.resolve(rest, &self.spans[first..], table);
            }
            self.requests.push(r);
            pos += len;
        }
        (pos, Ahead::More)
    }

    /// A request with very many arguments does not leave its room behind.
    #[inline]
    fn trim(&mut self) {
        if self.spans.capacity() > KEEP {
            self.spans = Vec::new();
        }
        if self.argv.capacity() > KEEP {
            self.argv = Vec::new();
        }
    }

    fn hashes(&self) -> impl Iterator<Item = u64> {
        self.requests.iter().filter(|r| r.key_at > 0).map(|r| r.hash)
    }

    /// First touch of what the batch is going to need.
    fn fetch_buckets(&self, srv: &Server, db: usize) {
        let db = srv.ks.db(db);
        if !db.is_empty() {
            let dict = db.dict();
            if dict.is_slotted() {
                self.hashes().for_each(|h| dict.prefetch_head(h));
            }
            self.hashes().for_each(|h| dict.prefetch_bucket(h));
        }
    }

    /// Second touch, when the buckets have arrived.
    fn fetch_entries(&self, srv: &Server, db: usize) {
        let db = srv.ks.db(db);
        if !db.is_empty() {
            self.hashes().for_each(|h| db.dict().prefetch_entry(h));
        }
    }

    /// Third touch: members within big values. A batch of one would only wait for itself.
    fn fetch_members(&mut self, srv: &Server, buf: &[u8], db: usize) {
        let Some(first) = self.requests.first() else { return };
        if self.requests.len() < 2 || srv.table.member_at(first.cmd) == 0 {
            return;
        }
        let dict = srv.ks.db(db).dict();
        let mut last: Option<(u64, Option<EntryPlace>)> = None;
        for r in self.requests.iter().filter(|r| r.key_at > 0) {
            let at = usize::from(srv.table.member_at(r.cmd));
            let spans = &self.spans[r.first as usize..(r.first + r.count) as usize];
            let arg = |i: usize| spans.get(i).map(|s| &buf[r.start + s.off..r.start + s.off + s.len]);
            let (Some(key), Some(member)) = (arg(r.key_at.into()), arg(at)) else { continue };
            let place = match last {
                Some((h, place)) if h == r.hash => place,
                _ => dict.locate(r.hash, key),
            };
            last = Some((r.hash, place));
            let Some(place) = place.filter(|_| at > 0) else { continue };
            let h = hash(member);
            if dict.at(place).is_some_and(|e| prefetch_member(e, h, Fetch::Bucket)) {
                self.members.push((place, h));
            }
        }
        for (place, h) in self.members.drain(..) {
            if let Some(e) = dict.at(place) {
                prefetch_member(e, h, Fetch::Elem);
            }
        }
    }
}

impl Request {
    #[inline]
    fn resolve(&mut self, bytes: &[u8], spans: &[Span], table: &Table) {
        let arg = |i: usize| &bytes[spans[i].off..spans[i].off + spans[i].len];
        let Some(id) = table.find(arg(0)) else { return };
        self.cmd = id;
        let at = table.get(id).key_at;
        if at > 0 && (at as usize) < spans.len() {
            (self.key_at, self.hash) = (at, key_hash(arg(at as usize)));
        }
    }
}

/// What keeps a client's input from being run now.
const RESTS: u64 =
    flag::DYING | flag::EXECUTING | flag::BLOCKED | flag::CLOSE_AFTER_REPLY | flag::PAUSED;

/// Inside of a command the stream of the master waits: it changes the data that the command works with.
#[inline]
fn stream_rests(srv: &Server, c: &Client) -> bool {
    srv.execution.in_nested_pass() && c.has(flag::MASTER)
}

/// Parses what the client has sent, to be run in a moment; None when there is nothing to run.
pub fn prepare(srv: &mut Server, id: ClientId) -> Option<Scratch> {
    let c = srv.clients.get(id)?;
    debug_assert!(!c.has(flag::ARRIVED), "what was parsed ahead runs before it is parsed again");
    if c.has(RESTS) || c.conn.input.unread() == 0 || stream_rests(srv, c) {
        return None;
    }
    let (limits, db) = (limits(srv, id), c.db as usize);
    let mut scratch = srv.scratches.pop().unwrap_or_default();
    let i = &mut srv.clients[id].conn.input;
    scratch.parse(&i.buf, i.pos, &mut i.state, &limits, &srv.table);
    scratch.fetch_buckets(srv, db);
    Some(scratch)
}

/// A read later: the entries of what was prepared.
pub fn warm(srv: &Server, id: ClientId, scratch: &Scratch) {
    if let Some(c) = srv.clients.get(id) {
        scratch.fetch_entries(srv, c.db as usize);
    }
}

/// Runs what the client has sent, as far as it is complete. False when the client is gone or must wait.
pub fn process_input(srv: &mut Server, id: ClientId, prepared: Option<Scratch>) -> bool {
    // A client over the limit of its output runs nothing more: it is about to be closed.
    let rests = |c: &Client| c.has(RESTS) || c.conn.out.over || stream_rests(srv, c);
    if srv.clients.get(id).is_none_or(rests) {
        if srv.clients.get(id).is_some_and(|c| stream_rests(srv, c)) {
            srv.clients.wants_read(id);
        }
        if let Some(c) = srv.clients.get_mut(id).filter(|_| prepared.is_some()) {
            // What was parsed is parsed again when its time comes.
            c.conn.input.state.reset();
        }
        srv.scratches.extend(prepared);
        return false;
    }
    let ready = match prepared {
        Some(s) if s.limits == limits(srv, id) => s,
        stale => {
            if let Some(s) = stale {
                // An earlier client has changed the limits.
                srv.clients[id].conn.input.state.reset();
                srv.scratches.push(s);
            }
            match prepare(srv, id) {
                Some(s) => s,
                None => return true,
            }
        }
    };
    let c = &mut srv.clients[id];
    let mut buf = std::mem::take(&mut c.conn.input.buf);
    let mut state = std::mem::take(&mut c.conn.input.state);
    c.conn.input.lent = (buf.len(), buf.capacity());
    let mut out = std::mem::take(&mut c.conn.out);
    c.set(flag::EXECUTING);
    let mut pos = c.conn.input.pos;
    let (class, kind) = (c.reply_class as usize, c.kind());
    out.set_limit(srv.clients.output_limits[kind as usize]);
    if out.buf.capacity() == 0 && out.is_empty() {
        out.buf = srv.clients.pool.reply(class);
    }
    let mut scratch = ready;
    let outer = srv.execution.set_current(Some(id));
    let more = run_batches(srv, id, &buf, &mut pos, &mut state, &mut out, &mut scratch);
    srv.execution.set_current(outer);
    if let Some(taken) = srv.adoption.end() {
        adopt::finish(srv, taken, std::mem::take(&mut buf));
        pos = 0;
    }
    scratch.trim();
    srv.scratches.push(scratch);
    give_back(srv, id, buf, pos, state, out);
    more
}

/// Runs the batch that is parsed, and then what follows it.
fn run_batches(
    srv: &mut Server,
    id: ClientId,
    buf: &[u8],
    pos: &mut usize,
    state: &mut ParseState,
    out: &mut Reply,
    scratch: &mut Scratch,
) -> bool {
    loop {
        let db = srv.clients[id].db as usize;
        scratch.fetch_members(srv, buf, db);
        if !run_batch(srv, id, buf, pos, out, scratch) {
            state.reset();
            return false;
        }
        if srv.clients[id].has(flag::MASTER) {
            // Lines of nothing between and behind requests are bytes of the stream.
            link_client::done(srv, id, &buf[*pos..scratch.end]);
        }
        *pos = scratch.end;
        match std::mem::take(&mut scratch.ahead) {
            Ahead::More => {}
            Ahead::Drained => return true,
            Ahead::Broken(why) => {
                protocol_error(srv, id, &why, out);
                return false;
            }
        }
        scratch.parse(buf, *pos, state, &limits(srv, id), &srv.table);
        let db = srv.clients[id].db as usize;
        scratch.fetch_buckets(srv, db);
        scratch.fetch_entries(srv, db);
    }
}

/// Runs the requests of a batch one by one; false when the rest must wait or never come.
#[inline]
fn run_batch(
    srv: &mut Server,
    id: ClientId,
    buf: &[u8],
    pos: &mut usize,
    out: &mut Reply,
    scratch: &mut Scratch,
) -> bool {
    let mut argv: Vec<&[u8]> = recycle(std::mem::take(&mut scratch.argv));
    let mut all = true;
    for r in &scratch.requests {
        argv.clear();
        let mut cmd = Some(r.cmd);
        let mut raw: &[u8] = &[];
        match &r.words {
            Some(_) if srv.clients[id].has(flag::MASTER) => {
                link_client::inline(srv, id);
                all = false;
                break;
            }
            Some(words) => {
                argv.extend(words.iter().map(|w| &w[..]));
                cmd = srv.table.find(argv[0]);
            }
            None => {
                let spans = &scratch.spans[r.first as usize..(r.first + r.count) as usize];
                argv.extend(spans.iter().map(|s| &buf[r.start + s.off..r.start + s.off + s.len]));
                raw = &buf[r.start..r.end];
            }
        }
        let args = Args::with_hash(&argv, r.key_at as usize, r.hash).of_request(raw);
        if r.end - r.start >= adopt::LEAST {
            srv.adoption.offer(buf, r.end, srv.clients[id].conn.input.lent.1);
        }
        let flow = dispatch::process(srv, id, cmd.filter(|c| *c != CmdId::MAX), args, out);
        let before = *pos;
        if flow != Flow::Postponed {
            *pos = r.end;
        }
        if after_command(srv, id, flow, out, &buf[before..*pos]) {
            all = false;
            break;
        }
    }
    scratch.argv = recycle(argv);
    all
}

fn limits(srv: &Server, id: ClientId) -> ParseLimits {
    let c = &srv.clients[id];
    // What the master has taken is taken here, however long it is.
    let max_bulk = if c.has(flag::MASTER) { i64::MAX } else { srv.config.proto_max_bulk_len as i64 };
    ParseLimits { max_bulk, authenticated: !auth::required(srv, c) }
}

/// Appends what was pushed to the client since its buffers were lent out, or since the last call.
#[inline]
pub(super) fn take_pushes(srv: &mut Server, id: ClientId, out: &mut Reply) {
    if let Some(p) = srv.clients.get_mut(id).and_then(|c| c.pushes.take()) {
        out.append_pushes(*p);
    }
}

/// Appends messages pushed to the client while its command ran; `done` are the bytes of it. True when the
/// client's input must wait.
#[inline]
fn after_command(srv: &mut Server, id: ClientId, flow: Flow, out: &mut Reply, done: &[u8]) -> bool {
    take_pushes(srv, id, out);
    if srv.clients[id].has(flag::MASTER) {
        link_client::done(srv, id, done);
    }
    let c = &mut srv.clients[id];
    if out.over || flow == Flow::Close {
        c.set(flag::CLOSE_AFTER_REPLY);
    }
    let stops = flag::DYING | flag::CLOSE_AFTER_REPLY | flag::BLOCKED | flag::PAUSED | flag::YIELDS;
    c.has(stops) && stop(srv, id)
}

/// The client's other requests wait: for an event, or for the next pass.
#[cold]
fn stop(srv: &mut Server, id: ClientId) -> bool {
    let c = &mut srv.clients[id];
    if c.has(flag::YIELDS) {
        c.clear(flag::YIELDS);
        srv.clients.wants_read(id);
    }
    true
}

fn protocol_error(srv: &mut Server, id: ClientId, why: &str, out: &mut Reply) {
    if srv.clients[id].has(flag::MASTER) {
        return link_client::broken(srv, id, why);
    }
    out.error(&format!("ERR Protocol error: {why}"));
    for e in out.take_errors() {
        srv.stats.count_error(&e);
    }
    crate::verbose!("Protocol error ({why}) from client: {}.", client_info::line(srv, id, &[]));
    srv.clients[id].set(flag::CLOSE_AFTER_REPLY);
}

fn give_back(srv: &mut Server, id: ClientId, buf: Vec<u8>, pos: usize, state: ParseState, out: Reply) {
    let Some(c) = srv.clients.get_mut(id) else {
        srv.clients.pool.give_query(buf);
        return;
    };
    c.clear(flag::EXECUTING);
    c.conn.input.buf = buf;
    c.conn.input.pos = pos;
    c.conn.input.state = state;
    c.conn.input.compact();
    c.conn.input.make_room();
    let first = if out.spilled() { c.reply_class } else { out.pending() as u32 };
    c.reply_peak = c.reply_peak.max(first.min(c.reply_class));
    let (doubtful, pending) = (out.over || out.spilled(), !out.is_empty());
    c.conn.out = out;
    if doubtful && limits::check_output(srv, id, false) {
        return;
    }
    limits::account_if_limited(srv, id);
    let c = &mut srv.clients[id];
    if pending {
        srv.clients.wants_write(id);
    } else {
        let close = c.has(flag::CLOSE_AFTER_REPLY);
        let b = std::mem::take(&mut c.conn.out.buf);
        srv.clients.pool.give_reply(b);
        if close {
            kill::kill(srv, id);
        }
    }
}
