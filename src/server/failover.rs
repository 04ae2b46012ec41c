//! FAILOVER, performed: writes rest until the replica has all of the stream, then the roles change.
//!
//! ```text
//! begin ─► pause ─ before_sleep: look ─► role::follow ─ PSYNC ... FAILOVER ─► taken_over ─► unpause
//!                                                                  └ refused ─► abort ─► role::promote
//! ```

use super::{Server, master, pause, role};
use crate::clients::pause::{Purpose, action};
use crate::notice;
use crate::replication::failover::{Failover, Reason, Step, Wish};
use crate::replication::link::Target;

/// FAILOVER has been asked for, and may begin.
pub fn begin(srv: &mut Server, wish: Wish) {
    match &wish.target {
        Some(Target { host, port }) => notice!("FAILOVER requested to {host}:{port}."),
        None => notice!("FAILOVER requested to any replica."),
    }
    srv.repl.failover.begin(wish);
    pause::pause(srv, Purpose::Failover, i64::MAX, action::WRITE_SET);
}

/// Once a pass: has the replica caught up, is the time over?
pub fn look(srv: &mut Server) {
    let end = srv.repl.offset().cast_signed();
    let mut failover = std::mem::take(&mut srv.repl.failover);
    let step = failover.look(srv.clock.unix_ms, |wanted| {
        master::known(srv)
            .filter(|(r, _)| r.acked == end)
            .map(|(r, ip)| target_of(ip, r.facts.port))
            .find(|t| wanted.is_none_or(|w| w.host.eq_ignore_ascii_case(&t.host) && w.port == t.port))
    });
    srv.repl.failover = failover;
    match step {
        Step::Wait => {}
        Step::Abort(why) => abort(srv, why),
        Step::Follow(target, reason) => {
            let Target { host, port } = &target;
            match reason {
                Reason::Synced => notice!("Failover target {host}:{port} is synced, failing over."),
                Reason::TimeOver => {
                    notice!("FAILOVER to {host}:{port} time out exceeded, failing over.");
                }
            }
            role::follow(srv, target);
        }
    }
}

/// A replica as the link would reach it; a replica that did not say its port has none.
fn target_of(host: String, port: i64) -> Target {
    Target { host, port: u16::try_from(port).unwrap_or(0) }
}

/// The replica has answered whether it takes over.
pub fn answered(srv: &mut Server, accepted: bool) {
    if !srv.repl.failover.is_in_progress() {
        return;
    }
    match accepted {
        true => over(srv),
        false => abort(srv, "Failover target rejected psync request"),
    }
}

/// This server stays the master, or is it again.
pub fn abort(srv: &mut Server, why: &str) {
    match srv.repl.failover.target() {
        Some(Target { host, port }) => notice!("FAILOVER to {host}:{port} aborted: {why}"),
        None => notice!("FAILOVER to any replica aborted: {why}"),
    }
    if srv.repl.failover.is_in_progress() {
        role::promote(srv);
    }
    over(srv);
}

fn over(srv: &mut Server) {
    srv.repl.failover = Failover::None;
    pause::unpause(srv, Purpose::Failover);
}
