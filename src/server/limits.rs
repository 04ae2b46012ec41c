//! Limits of clients: how much they may leave unread, how much they may take altogether, how long they
//! may be silent.
//!
//! ```text
//! hard output limit   inside the command: `Reply` drops all and is `over`; the client goes after its turn
//! soft output limit   looked at when a reply is kept waiting, and once a second
//! maxmemory-clients   before each command and before the loop sleeps: the largest go, until the rest fits
//! timeout             once a second
//! ```

use super::{Server, ServerStates, auth, client_info, kill};
use crate::clients::client::Client;
use crate::clients::{ClientId, ClientKind, flag};
use crate::config::special::OutputLimit;

/// The least that `maxmemory-clients` can be, so that a client can still send commands.
const LEAST_EVICTION_LIMIT: usize = 128 * 1024;

/// Bytes behind the first buffer of replies that a client may leave unread before it has logged in, whatever
/// the limits of its class say: refusals alone could fill the memory.
const BEFORE_LOGIN: usize = 1024;

fn output_limit(srv: &Server, kind: ClientKind) -> OutputLimit {
    let class = match kind {
        ClientKind::Master => ClientKind::Normal,
        k => k,
    };
    srv.config.client_output_buffer_limit[class as usize]
}

/// The configuration has changed: `clients` gets its copy of the limits.
pub fn refresh(srv: &mut Server) {
    for kind in [ClientKind::Normal, ClientKind::Replica, ClientKind::Pubsub, ClientKind::Master] {
        let mut hard = usize::try_from(output_limit(srv, kind).hard).unwrap_or(usize::MAX);
        if kind == ClientKind::Replica && hard > 0 {
            // Less than the backlog makes no sense, since a replica is served from it.
            hard = hard.max(usize::try_from(srv.config.repl_backlog_size).unwrap_or(usize::MAX));
        }
        srv.clients.output_limits[kind as usize] = hard;
    }
    eviction_changed(srv);
}

/// Do so many bytes that wait go over the soft limit for too long, or over the hard one?
fn over_limit(srv: &mut Server, id: ClientId, held: usize) -> bool {
    let now = srv.clock.unix_secs() as u32;
    let c = &srv.clients[id];
    if c.conn.out.over {
        return true;
    }
    if held > BEFORE_LOGIN && auth::required(srv, c) {
        return true;
    }
    let kind = c.kind();
    let limit = output_limit(srv, kind);
    let hard = srv.clients.output_limits[kind as usize];
    if hard > 0 && held >= hard {
        return true;
    }
    let soft = limit.soft > 0 && held as u64 >= limit.soft;
    let c = &mut srv.clients[id];
    match (soft, c.soft_since) {
        (false, _) => c.soft_since = 0,
        (true, 0) => c.soft_since = now,
        (true, since) => return u64::from(now.saturating_sub(since)) > limit.soft_seconds,
    }
    false
}

/// Closes a client that leaves too much unread; true when it goes.
pub fn check_output(srv: &mut Server, id: ClientId, from_cron: bool) -> bool {
    let Some(c) = srv.clients.get(id) else { return false };
    let held = client_info::unsent(srv, id, c).1;
    let nothing = held == 0 && !c.conn.out.over && c.soft_since == 0;
    let exempt = c.conn.stream.is_none() || c.has(flag::DYING | flag::PROTECTED);
    if nothing || exempt || !over_limit(srv, id, held) {
        return false;
    }
    let line = client_info::line(srv, id, &[]);
    let how = if from_cron { "closed" } else { "scheduled to be closed ASAP" };
    crate::warning!("Client {line} {how} for overcoming of output buffer limits.");
    srv.stats.output_limit_disconnections += 1;
    kill::kill(srv, id);
    true
}

/// Bytes that all clients together may take; None without a limit.
pub fn eviction_limit(srv: &Server) -> Option<usize> {
    let c = &srv.config;
    let limit = match c.maxmemory_clients {
        0 => return None,
        n if n > 0 => n as u64,
        _ if c.maxmemory == 0 => u64::MAX,
        percent => (c.maxmemory as f64 * -(percent as f64) / 100.0) as u64,
    };
    Some(usize::try_from(limit).unwrap_or(usize::MAX).max(LEAST_EVICTION_LIMIT))
}

/// The directive was changed: every client finds its place among those that may go, or leaves it.
pub fn eviction_changed(srv: &mut Server) {
    srv.states.put(ServerStates::CLIENT_EVICTION, srv.config.maxmemory_clients != 0);
    for id in srv.clients.ids() {
        account(srv, id);
    }
}

fn evictable(srv: &Server, c: &Client) -> bool {
    srv.config.maxmemory_clients != 0
        && c.conn.stream.is_some()
        && !c.has(flag::NO_EVICT)
        && matches!(c.kind(), ClientKind::Normal | ClientKind::Pubsub)
}

/// Brings the figures up to date with what the client takes now.
pub fn account(srv: &mut Server, id: ClientId) {
    let Some(c) = srv.clients.live(id) else { return };
    let (kind, evictable) = (c.kind(), evictable(srv, c));
    let bytes = client_info::figures(srv, id, c, &[]).total;
    let old = c.counted;
    let new = srv.clients.usage.update(id, &old, bytes, kind, evictable);
    srv.clients[id].counted = new;
}

/// `account`, where the figures decide about anything.
#[inline]
pub fn account_if_limited(srv: &mut Server, id: ClientId) {
    if srv.states.has(ServerStates::CLIENT_EVICTION) {
        account(srv, id);
    }
}

/// Closes the largest clients until the rest fits. May hit the caller.
pub fn evict(srv: &mut Server) {
    let Some(limit) = eviction_limit(srv) else { return };
    while srv.clients.usage.evictable_kinds() >= limit {
        let Some(id) = srv.clients.usage.largest() else {
            crate::warning!("Over client maxmemory after evicting all evictable clients");
            return;
        };
        crate::notice!("Evicting client: {}", client_info::line(srv, id, &[]));
        srv.stats.evicted_clients += 1;
        kill::kill(srv, id);
    }
}

/// Once a second for each client. True when it goes.
pub fn idle_for_too_long(srv: &mut Server, id: ClientId) -> bool {
    let most = srv.config.timeout;
    let Some(c) = srv.clients.get(id) else { return false };
    let exempt = flag::REPLICA
        | flag::MONITOR
        | flag::MASTER
        | flag::PSEUDO
        | flag::BLOCKED
        | flag::PAUSED
        | flag::PUBSUB;
    let idle = srv.clock.unix_secs() - i64::from(c.conn.last_seen);
    if most == 0 || c.has(exempt) || u64::try_from(idle).is_ok_and(|i| i <= most) {
        return false;
    }
    crate::verbose!("Closing idle client");
    kill::kill(srv, id);
    true
}
