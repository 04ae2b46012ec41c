//! What follows from a command: the outbox is drained in order, ops leave, watchers and subscribers are
//! served.
//!
//! ```text
//! drain: Event ─► subscribers    Op ─► the unit's ops    Modified ─► WATCH, tracking    Ready ─► the blocked
//! unit_end: ops leave ─► pushes ─► junk to its thread ─► clock ─► ready keys are served
//! ```

use super::ctx::Propagation;
use super::{Server, ServerStates, blocking, kill, master, monitor, slow, tracking};
use crate::clients::{ClientId, flag};
use crate::cmd::row::flag as cf;
use crate::cmd::table::CmdId;
use crate::keyspace::{Effect, class};
use crate::proto::args::{Args, Key};
use crate::pubsub::{self, SubscriptionKind};
use crate::replication::ops::to;

/// Drains the outbox; what an effect causes is drained before the next one.
#[cold]
pub fn drain(srv: &mut Server) {
    let mut queue = srv.ks.fx.take();
    while let Some(effect) = queue.pop() {
        match effect {
            Effect::Event { db, class, name, key } => event(srv, db, class, name, &key),
            Effect::Op { db, args } => {
                let args: Vec<&[u8]> = args.iter().map(|a| &a[..]).collect();
                srv.ops.push(db, to::ALL, &args);
            }
            Effect::Modified { db, key, by_itself } => modified(srv, db, &key, by_itself),
            Effect::Ready { db, key, ty, gone } => {
                let exists = !gone && srv.ks.peek(db, Key::new(&key)).is_some_and(|e| e.ty() == ty);
                srv.blocked.signal(db, &key, exists);
            }
        }
        if !srv.ks.fx.is_empty() {
            drain(srv);
        }
    }
}

fn event(srv: &mut Server, db: usize, class: u32, name: &str, key: &[u8]) {
    let flags = srv.ks.policy.notify;
    debug_assert!(flags & class != 0, "the event was not asked for");
    let mut channel = std::mem::take(&mut srv.event_channel);
    if flags & class::KEYSPACE != 0 {
        begin_channel(&mut channel, b"__keyspace@", db);
        channel.extend_from_slice(key);
        pubsub::publish(
            &mut srv.pubsub,
            &mut srv.clients,
            SubscriptionKind::Channel,
            &channel,
            name.as_bytes(),
        );
    }
    if flags & class::KEYEVENT != 0 {
        begin_channel(&mut channel, b"__keyevent@", db);
        channel.extend_from_slice(name.as_bytes());
        pubsub::publish(&mut srv.pubsub, &mut srv.clients, SubscriptionKind::Channel, &channel, key);
    }
    channel.clear();
    channel.shrink_to(KEEP_CHANNEL);
    srv.event_channel = channel;
}

/// Room for names of channels that stays.
const KEEP_CHANNEL: usize = 1024;

fn begin_channel(channel: &mut Vec<u8>, begin: &[u8], db: usize) {
    channel.clear();
    channel.extend_from_slice(begin);
    channel.extend_from_slice(itoa::Buffer::new().format(db).as_bytes());
    channel.extend_from_slice(b"__:");
}

fn modified(srv: &mut Server, db: usize, key: &[u8], by_itself: bool) {
    let exists = srv.ks.peek(db, Key::new(key)).is_some();
    let clients = &mut srv.clients;
    srv.watches.touch(db, key, exists, |id| {
        if let Some(c) = clients.get_mut(id) {
            c.set(flag::DIRTY_CAS);
        }
    });
    if srv.tracking.listens() {
        tracking::invalidate(srv, key, by_itself);
    }
}

/// The client watches a key from now on; `expired`: it had expired before.
pub fn watch(srv: &mut Server, id: ClientId, db: usize, key: &[u8], expired: bool) {
    if srv.watches.add(id, db, key, expired) {
        srv.ks.watched.add(key);
    }
}

/// The client watches nothing any more.
pub fn unwatch(srv: &mut Server, id: ClientId) {
    let ks = &mut srv.ks;
    srv.watches.remove_all(id, |key| ks.watched.remove(key));
}

/// A database (or all) is about to be emptied: watchers, blocked clients and those that track are signalled
/// while the keys are still there. `lazy`: upstream would leave the freeing to a thread.
pub fn before_flush(srv: &mut Server, db: Option<usize>, lazy: bool) {
    for d in db.map_or(0..srv.ks.databases(), |d| d..d + 1) {
        replaced(srv, d, None);
    }
    if srv.tracking.listens() {
        tracking::flushed(srv, lazy);
    }
}

/// All databases have been replaced: clients may be blocked on keys that are there now.
pub fn after_exchange(srv: &mut Server) {
    for db in 0..srv.ks.databases() {
        for key in srv.blocked.keys_of(db) {
            if srv.ks.peek(db, Key::new(&key)).is_some() {
                srv.blocked.signal(db, &key, true);
            }
        }
    }
}

/// Two databases are about to change places.
pub fn before_swap(srv: &mut Server, a: usize, b: usize) {
    replaced(srv, a, Some(b));
    replaced(srv, b, Some(a));
}

/// Signals watched and blocked keys of `db`, whose content is about to be replaced by that of `by` (None:
/// by nothing).
fn replaced(srv: &mut Server, db: usize, by: Option<usize>) {
    let (ks, clients) = (&srv.ks, &mut srv.clients);
    let holds = |d: usize, k: &[u8]| ks.peek(d, Key::new(k)).map(|e| ks.is_expired(e));
    srv.watches.touch_db(
        db,
        |k| holds(db, k),
        |k| by.and_then(|b| holds(b, k)),
        |id| {
            if let Some(c) = clients.get_mut(id) {
                c.set(flag::DIRTY_CAS);
            }
        },
    );
    for key in srv.blocked.keys_of(db) {
        let before = srv.ks.peek(db, Key::new(&key)).is_some();
        let after = by.is_some_and(|b| srv.ks.peek(b, Key::new(&key)).is_some());
        if before || after {
            srv.blocked.signal(db, &key, after);
        }
    }
}

/// The command's own op.
#[cold]
pub fn own_op(srv: &mut Server, cmd: CmdId, db: usize, args: Args, prop: Propagation) {
    let may = srv.table.get(cmd).flags & (cf::WRITE | cf::MAY_REPLICATE) != 0;
    debug_assert!(may || matches!(prop, Propagation::Never), "a reader changed something");
    let all = to::ALL & !srv.ops.denied;
    let mask = match prop {
        Propagation::Never => 0,
        Propagation::AsIs | Propagation::Instead => all,
        Propagation::Force(mask) => mask & all,
    };
    if mask == 0 {
        return;
    }
    let instead = matches!(prop, Propagation::Instead);
    // In the outermost command its own op is the last one of the unit, so it can leave at once.
    let alone = srv.execution.in_outermost_command() && srv.ops.is_empty();
    let encoded = if alone && !instead { args.canonical() } else { None };
    match (instead, encoded) {
        (true, _) if alone => {
            let (now, backlog) = (stamp(srv), srv.repl.backlog.as_mut());
            srv.ops.leave_instead(db, mask, now, backlog);
            srv.repl.grown = true;
        }
        (true, _) => srv.ops.push_instead(db, mask),
        (false, Some(bytes)) => {
            let (now, backlog) = (stamp(srv), srv.repl.backlog.as_mut());
            srv.ops.leave(db, mask, bytes, now, backlog);
            srv.repl.grown = true;
        }
        (false, None) => srv.ops.push(db, mask, &args),
    }
}

/// The time for `#TS:` lines of the AOF; None without them.
fn stamp(srv: &Server) -> Option<i64> {
    srv.config.aof_timestamp_enabled.then(|| srv.clock.unix_secs())
}

/// Slow log, monitors, and clients that cache keys.
#[cold]
pub fn observed(srv: &mut Server, id: ClientId, cmd: CmdId, args: Args, ticks: u64, waits: bool) {
    if ticks > srv.slowlog.threshold_ticks {
        slow::took_long(srv, id, cmd, args, ticks, waits);
    }
    if srv.states.has(ServerStates::MONITORS) {
        monitor::observe(srv, id, cmd, args);
    }
    if srv.states.has(ServerStates::TRACKING) {
        tracking::after_call(srv, cmd, args);
    }
}

/// The end of a top-level execution unit: what waited for it leaves, the clock moves.
#[inline]
pub fn unit_end(srv: &mut Server, id: ClientId, cmd: CmdId, now: u64) {
    if !srv.ops.is_empty() {
        srv.ops.bare = srv.table.get(cmd).flags & cf::TOUCHES_ARBITRARY_KEYS != 0;
        ops_leave(srv);
    }
    if srv.repl.grown {
        master::feed(srv);
        srv.clients[id].woff = srv.repl.offset();
    }
    if !srv.ks.junk.is_empty() {
        sweep(srv);
    }
    if !srv.clients.leaving.is_empty() {
        kill::leave_all(srv);
    }
    srv.clock.advance(now);
    srv.ks.now_ms = srv.clock.unix_ms;
}

fn ops_leave(srv: &mut Server) {
    let (now, backlog) = (stamp(srv), srv.repl.backlog.as_mut());
    srv.ops.flush(now, backlog);
    srv.repl.grown = true;
}

/// The end of a unit that no command began: a key that expired or was evicted by itself. Its op goes
/// bare.
pub fn lone_unit_end(srv: &mut Server) {
    debug_assert!(srv.execution.between_units(), "a unit of its own is not part of another");
    if !srv.ks.fx.is_empty() {
        drain(srv);
    }
    if !srv.ops.is_empty() {
        srv.ops.bare = true;
        ops_leave(srv);
        master::feed(srv);
    }
    if !srv.ks.junk.is_empty() {
        sweep(srv);
    }
}

/// Hands values that were taken out of the keyspace to the thread that frees them.
#[cold]
pub fn sweep(srv: &mut Server) {
    for (junk, lazy) in srv.ks.junk.drain(..) {
        srv.lazyfree.free(junk, lazy);
    }
}

/// After a unit: clients that are blocked on keys which the unit made ready are served.
#[inline]
pub fn serve_ready(srv: &mut Server) {
    if srv.blocked.has_ready() && srv.execution.owns_data() {
        blocking::serve(srv);
    }
}
