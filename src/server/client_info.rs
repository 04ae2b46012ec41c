//! What CLIENT LIST says of a client, and what a client costs.
//!
//! A request that is being read is one stretch of the query buffer here. The line shows it under
//! upstream's names: arguments that are complete are `argv-mem`, what follows them is `qbuf`. While a
//! command runs, its buffers are lent out; `Input::lent` remembers how long and how large the query
//! buffer is.

use super::{Server, auth};
use crate::clients::client::Ends;
use crate::clients::{Client, ClientId, flag};
use crate::net::stream::Stream;
use crate::proto::parse::{ParseLimits, ParseState, Parsed};
use crate::pubsub::SubscriptionKind;
use crate::tracking::Subscription;
use std::fmt::Write;

/// Memory figures of one client.
#[derive(Debug, Default, Clone, Copy)]
pub struct Figures {
    pub qbuf: usize,
    pub qbuf_free: usize,
    /// Bytes of the arguments it holds or waits with.
    pub argv: usize,
    /// Pieces of the reply behind the first buffer, and what they hold.
    pub oll: usize,
    pub omem: usize,
    /// Everything.
    pub total: usize,
}

/// Measures a client. `argv` are the arguments of the command it runs right now.
pub fn figures(srv: &Server, id: ClientId, c: &Client, argv: &[&[u8]]) -> Figures {
    let argv_len = argv.iter().map(|a| a.len()).sum();
    let mut f = Figures { argv: argv_len, ..Figures::default() };
    let room;
    if c.has(flag::EXECUTING) {
        (f.qbuf, room) = c.conn.input.lent;
        f.qbuf_free = room - f.qbuf;
    } else {
        room = c.conn.input.buf.capacity();
        f.qbuf_free = room - c.conn.input.buf.len();
        let (left, args) = unread(c);
        f.qbuf = left;
        f.argv += args;
    }
    let parked = srv.blocked.get(id).map_or(0, |b| b.args.iter().map(|a| a.len()).sum());
    f.argv += parked;
    (f.oll, f.omem) = unsent(srv, id, c);
    let first = if c.has(flag::EXECUTING) { c.reply_class as usize } else { c.conn.out.buf.capacity() };
    f.total = size_of::<Client>()
        + room
        + size_of_val(argv)
        + c.conn.input.state.footprint()
        + first.max(c.conn.out.first_len())
        + f.omem
        + c.pushes.as_ref().map_or(0, |p| p.pending())
        + parked
        + c.multi.as_ref().map_or(0, |m| m.bytes)
        + subscriptions(srv, id, c)
        + srv.tracking.of(id).map_or(0, Subscription::footprint)
        + srv.watches.of(id).len() * WATCH;
    f
}

/// Pieces of the reply behind the first buffer, and what they hold; for a replica also what of the stream
/// it has not been sent.
pub fn unsent(srv: &Server, id: ClientId, c: &Client) -> (usize, usize) {
    let (pieces, bytes) = c.conn.out.list();
    let owed = if c.has(flag::REPLICA) { srv.repl.owed(id) } else { 0 };
    (pieces, bytes + owed)
}

/// What no argument has been made of, and the bytes of arguments that wait: those of an unfinished
/// request, or of the one that a pause holds up.
fn unread(c: &Client) -> (usize, usize) {
    if !c.has(flag::PAUSED) || c.has(flag::BLOCKED) {
        let args = if c.conn.input.state.is_partial() { c.conn.input.state.arg_bytes } else { 0 };
        return (c.conn.input.unparsed(), args);
    }
    let mut rest = c.conn.input.buf.get(c.conn.input.pos..).unwrap_or(&[]);
    let limits = ParseLimits { max_bulk: i64::MAX, authenticated: true };
    let mut spans = Vec::new();
    loop {
        let (len, args) = match ParseState::default().next(rest, &limits, &mut spans) {
            Parsed::Multibulk { len } => (len, Some(spans.iter().map(|s| s.len).sum())),
            Parsed::Inline { len, words } if words.is_empty() => (len, None),
            Parsed::Inline { len, words } => (len, Some(words.iter().map(|w| w.len()).sum())),
            // Requests of nothing, which stand before it.
            Parsed::Empty { len } => (len, None),
            Parsed::Partial | Parsed::Broken(_) => return (rest.len(), 0),
        };
        rest = rest.get(len..).unwrap_or(&[]);
        if let Some(args) = args {
            return (rest.len(), args);
        }
    }
}

/// A watched key: the client's note of it, the key's own, and the watcher.
const WATCH: usize = 3 * size_of::<(usize, Box<[u8]>)>();
/// A subscription: the client's reference to the name, and the name's to the client.
const SUBSCRIPTION: usize = size_of::<std::sync::Arc<[u8]>>() + size_of::<ClientId>();

fn subscriptions(srv: &Server, id: ClientId, c: &Client) -> usize {
    if !c.has(flag::PUBSUB) {
        return 0;
    }
    let n: usize = [SubscriptionKind::Channel, SubscriptionKind::Pattern, SubscriptionKind::Shard]
        .iter()
        .map(|k| srv.pubsub.count(*k, id))
        .sum();
    n * SUBSCRIPTION
}

/// Letters of `flags=`.
fn letters(c: &Client) -> String {
    let marks = [
        (flag::MONITOR, 'O'),
        (flag::REPLICA, 'S'),
        (flag::MASTER, 'M'),
        (flag::PUBSUB, 'P'),
        (flag::MULTI, 'x'),
        (flag::BLOCKED | flag::PAUSED, 'b'),
        (flag::TRACKING, 't'),
        (flag::BROKEN_REDIRECT, 'R'),
        (flag::BROADCAST, 'B'),
        (flag::DIRTY_CAS, 'd'),
        (flag::CLOSE_AFTER_REPLY, 'c'),
        (flag::DYING, 'A'),
        (flag::UNIX, 'U'),
        (flag::READS_REPLICA, 'r'),
        (flag::NO_EVICT, 'e'),
        (flag::NO_TOUCH, 'T'),
    ];
    let set: String = marks.iter().filter(|(f, _)| c.has(*f)).map(|(_, l)| *l).collect();
    if set.is_empty() { "N".into() } else { set }
}

/// The two ends of a client's connection, as text. They cost a system call each, and MONITOR shows one
/// for every command: they are kept.
pub fn addresses<'a>(srv: &Server, c: &'a Client) -> &'a Ends {
    c.ends.get_or_init(|| {
        let path = srv.config.unixsocket.as_deref().map(String::from_utf8_lossy).unwrap_or_default();
        let end = |f: fn(&Stream, &str) -> String| {
            c.conn.stream.as_ref().map_or_else(|| "?:0".into(), |s| f(s, &path).into_boxed_str())
        };
        Box::new(Ends { peer: end(Stream::peer), local: end(Stream::local) })
    })
}

/// A name, as far as a C string goes.
fn text(b: &Option<Box<[u8]>>) -> String {
    let shown = b.as_deref().and_then(|b| b.split(|c| *c == 0).next());
    shown.map(String::from_utf8_lossy).unwrap_or_default().into_owned()
}

/// One line of CLIENT LIST, without its end. `argv` as for `figures`.
pub fn line(srv: &Server, id: ClientId, argv: &[&[u8]]) -> String {
    let Some(c) = srv.clients.get(id) else { return String::new() };
    let Ends { peer, local } = addresses(srv, c);
    let f = figures(srv, id, c, argv);
    let now = srv.clock.unix_secs();
    let none = Default::default();
    let extra = c.extra.as_deref().unwrap_or(&none);
    let mut s = String::with_capacity(400);
    let fd = c.conn.stream.as_ref().map_or(-1, |s| s.fd());
    let age = now - c.created_ms / 1000;
    let idle = now - i64::from(c.conn.last_seen);
    let _ = write!(
        s,
        "id={} addr={peer} laddr={local} fd={fd} name={} age={age} idle={idle} flags={} db={}",
        c.id,
        text(&extra.name),
        letters(c),
        c.db
    );
    let count = |k| srv.pubsub.count(k, id);
    let _ = write!(
        s,
        " sub={} psub={} ssub={}",
        count(SubscriptionKind::Channel),
        count(SubscriptionKind::Pattern),
        count(SubscriptionKind::Shard)
    );
    let queued = c.multi.as_ref().filter(|_| c.has(flag::MULTI));
    let _ = write!(
        s,
        " multi={} qbuf={} qbuf-free={} argv-mem={} multi-mem={} rbs={} rbp={} obl={} oll={} omem={} \
         tot-mem={}",
        queued.map_or(-1, |m| m.queue.len() as i64),
        f.qbuf,
        f.qbuf_free,
        f.argv,
        queued.map_or(0, |m| m.arg_bytes),
        c.reply_class,
        c.reply_peak,
        c.conn.out.first_len(),
        f.oll,
        f.omem,
        f.total
    );
    let events = match (&c.conn.stream, c.conn.write_blocked) {
        (None, _) => "",
        (Some(_), false) => "r",
        (Some(_), true) => "rw",
    };
    let cmd = match c.last_cmd {
        u16::MAX => "NULL",
        n => &srv.table.get(n).name,
    };
    // Without a user nothing is refused.
    let user = auth::user(srv, c).map_or("(superuser)".into(), |u| String::from_utf8_lossy(&u.name));
    let _ = write!(
        s,
        " events={events} cmd={cmd} user={} redir={} resp={} lib-name={} lib-ver={}",
        user,
        redirect(srv, id),
        c.resp,
        text(&extra.lib_name),
        text(&extra.lib_ver)
    );
    s
}

/// The number of the client that gets the invalidations of this one: 0 for itself, -1 when it tracks
/// nothing.
pub fn redirect(srv: &Server, id: ClientId) -> i64 {
    srv.tracking.of(id).map_or(-1, |s| s.redirect.cast_signed())
}

/// Clients with a connection, oldest first.
pub fn listed(srv: &Server) -> Vec<ClientId> {
    let shown = srv.clients.iter().filter(|(_, c)| c.conn.stream.is_some() && !c.has(flag::DYING));
    let mut all: Vec<(u64, ClientId)> = shown.map(|(id, c)| (c.id, id)).collect();
    all.sort_unstable_by_key(|(n, _)| *n);
    all.into_iter().map(|(_, id)| id).collect()
}
