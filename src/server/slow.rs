//! Commands that took long: the threshold in ticks which `call` compares with, and what follows when
//! one is above.
//!
//! ```text
//! call ── spent > slow_ticks ──► took_long ─┬─► slow log       from slowlog-log-slower-than on, in us
//!                                           └─► latency event  from latency-monitor-threshold on, in ms
//! ```
//!
//! `slow_ticks` is the lower of the two, so that a command pays one comparison for both.

use super::{Server, client_info};
use crate::clients::{ClientId, flag};
use crate::cmd::row::flag as cf;
use crate::cmd::table::CmdId;
use crate::proto::args::Args;

/// After `slowlog-log-slower-than`, `slowlog-max-len` or `latency-monitor-threshold` has changed.
pub fn refresh(srv: &mut Server) {
    let slowlog = u64::try_from(srv.config.slowlog_log_slower_than).ok();
    let latency = Some(srv.config.latency_monitor_threshold).filter(|ms| *ms > 0);
    let micros = [slowlog, latency.map(|ms| ms.saturating_mul(1000))];
    let least = micros.into_iter().flatten().min();
    // A tick less than the threshold, since what takes exactly that long counts.
    srv.slowlog.threshold_ticks =
        least.map_or(u64::MAX, |us| srv.clock.ticks_in(us.saturating_mul(1000)).saturating_sub(1));
}

/// A command, EXEC's and a script's too, has spent `ticks`. One that `waits` (is blocked) is logged when
/// its wait ends, by `blocking`, which has the words that the client sent.
pub fn took_long(srv: &mut Server, id: ClientId, cmd: CmdId, args: Args, ticks: u64, waits: bool) {
    let us = srv.clock.ns(ticks) / 1000;
    let flags = srv.table.get(cmd).flags;
    let event = if flags & cf::FAST != 0 { "fast-command" } else { "command" };
    sample(srv, event, us / 1000);
    let waited = srv.clients.get(id).is_some_and(|c| c.has(flag::REPROCESSING));
    if !waits && !waited {
        log(srv, id, cmd, &args, ticks);
    }
}

/// An entry of the slow log for a command that took `ticks`, when that is long enough.
#[cold]
pub fn log(srv: &mut Server, id: ClientId, cmd: CmdId, args: &[&[u8]], ticks: u64) {
    let us = srv.clock.ns(ticks) / 1000;
    let slow = u64::try_from(srv.config.slowlog_log_slower_than).is_ok_and(|limit| us >= limit);
    let hidden = srv.table.get(cmd).flags & cf::SKIP_SLOWLOG != 0;
    if !slow || hidden || srv.config.slowlog_max_len == 0 {
        return;
    }
    let Some(c) = srv.clients.get(id) else { return };
    let peer = client_info::addresses(srv, c).peer.to_string();
    let shown = srv.table.get(cmd).shown(args);
    let max = usize::try_from(srv.config.slowlog_max_len).unwrap_or(usize::MAX);
    srv.slowlog.push(max, srv.clock.unix_secs(), us, &shown, peer, c.name());
}

/// Tells the latency monitor of an event that took `ms`.
pub fn sample(srv: &mut Server, event: &'static str, ms: u64) {
    let threshold = srv.config.latency_monitor_threshold;
    srv.latency.add(event, ms, threshold, crate::sys::clock::unix_ms() / 1000);
}
