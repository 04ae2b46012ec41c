//! CLIENT PAUSE, and what else makes clients wait (`clients::pause` holds what was asked for).
//!
//! A client whose command must wait keeps it unread in its query buffer (`Flow::Postponed`) and stands
//! in `postponed`; when fewer actions are paused than before, all of them try again in their order. A request
//! that had been blocked on keys has left the buffer: it stays parked with its arguments.

use super::{Server, ServerStates, policy};
use crate::clients::pause::{Purpose, action};
use crate::clients::{ClientId, flag};

/// Pauses `actions` until `until_ms`, or until the later time that this purpose has asked for before.
pub fn pause(srv: &mut Server, purpose: Purpose, until_ms: i64, actions: u32) {
    srv.pause.ask(purpose, until_ms, actions);
    update(srv);
}

pub fn unpause(srv: &mut Server, purpose: Purpose) {
    srv.pause.withdraw(purpose);
    update(srv);
}

/// Ends pauses whose time is over. Called by the cron, too.
pub fn update(srv: &mut Server) {
    // Not in a nested pass: postponed commands must not run inside the command that let the loop turn.
    if srv.execution.in_nested_pass() {
        return;
    }
    let before = srv.pause.actions();
    srv.pause.update(srv.clock.unix_ms);
    let actions = srv.pause.actions();
    srv.states.put(ServerStates::PAUSED, actions & action::CLIENTS != 0);
    if actions != before {
        policy::refresh(srv);
    }
    if actions & action::CLIENTS < before & action::CLIENTS {
        resume(srv);
    }
}

/// The client's command waits.
pub fn postpone(srv: &mut Server, id: ClientId) {
    let c = &mut srv.clients[id];
    debug_assert!(!c.has(flag::PAUSED), "postponed twice");
    c.set(flag::PAUSED);
    srv.pause.postpone(id);
}

/// Clients whose command waits, but for those that are blocked as well; INFO counts both.
pub fn waiting(srv: &Server) -> usize {
    let waits = |id: &&ClientId| srv.clients.live(**id).is_some() && srv.blocked.get(**id).is_none();
    srv.pause.postponed().iter().filter(waits).count()
}

/// All clients that wait try again, and may have to wait again; not now, since what they do is no part
/// of the command that ends the pause.
fn resume(srv: &mut Server) {
    for id in srv.pause.take_postponed() {
        let Some(c) = srv.clients.get_mut(id).filter(|c| !c.has(flag::DYING)) else { continue };
        c.clear(flag::PAUSED);
        c.set(flag::WAS_PAUSED);
        srv.clients.wants_read(id);
    }
}
