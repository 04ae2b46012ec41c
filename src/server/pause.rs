//! CLIENT PAUSE, and whatever else makes clients wait: who asked, until when, and what rests.
//!
//! ```text
//! purposes: [command][shutdown][failover]   each: what rests, until when      actions = all of them together
//! ```
//!
//! A client whose command must wait keeps it unread in its query buffer (`Flow::Postponed`) and stands
//! in `postponed`; when less rests than before, all of them try again in the order they came. A request
//! that had been blocked on keys has left the buffer: it stays parked with its arguments.

use super::{Gate, Server, policy};
use crate::blocked::Blocked;
use crate::clients::{ClientId, Clients, flag};

/// What rests.
pub mod action {
    pub const WRITE: u32 = 1 << 0;
    /// Every command; more than WRITE alone.
    pub const ALL: u32 = 1 << 1;
    pub const EXPIRE: u32 = 1 << 2;
    pub const EVICT: u32 = 1 << 3;
    /// What replicas are sent.
    pub const REPLICA: u32 = 1 << 4;
    pub const CLIENTS: u32 = WRITE | ALL;
    pub const WRITE_SET: u32 = WRITE | EXPIRE | EVICT | REPLICA;
    pub const ALL_SET: u32 = ALL | EXPIRE | EVICT | REPLICA;
}

/// Who asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    Command,
    Shutdown,
    Failover,
}

#[derive(Debug, Default, Clone, Copy)]
struct Wish {
    actions: u32,
    until_ms: i64,
}

#[derive(Debug, Default)]
pub struct Pause {
    wishes: [Wish; 3],
    actions: u32,
    /// In the order they came; some of them may be closed by now.
    postponed: Vec<ClientId>,
    closed: usize,
}

impl Pause {
    /// Does any of this rest?
    #[inline]
    pub fn has(&self, actions: u32) -> bool {
        self.actions & actions != 0
    }

    /// Clients whose command waits, but for those that are `blocked` as well; INFO counts both.
    pub fn postponed(&self, clients: &Clients, blocked: &Blocked) -> usize {
        let waits = |id: &&ClientId| clients.live(**id).is_some() && blocked.get(**id).is_none();
        self.postponed.iter().filter(waits).count()
    }

    /// What the command CLIENT PAUSE asked for, and until when.
    pub fn by_command(&self) -> (u32, i64) {
        let w = self.wishes[Purpose::Command as usize];
        (w.actions, w.until_ms)
    }

    /// The client has been marked dying. Its place goes when half of the places are of closed clients.
    pub fn forget(&mut self, clients: &Clients, id: ClientId) {
        if clients.get(id).is_none_or(|c| !c.has(flag::PAUSED)) {
            return;
        }
        self.closed += 1;
        if self.closed * 2 > self.postponed.len() {
            self.postponed.retain(|p| clients.live(*p).is_some());
            self.closed = 0;
        }
    }
}

/// Lets `actions` rest until `until_ms`; a longer pause that this purpose has asked for before stays as
/// long.
pub fn pause(srv: &mut Server, purpose: Purpose, until_ms: i64, actions: u32) {
    let w = &mut srv.pause.wishes[purpose as usize];
    w.actions = actions;
    w.until_ms = w.until_ms.max(until_ms);
    update(srv);
}

pub fn unpause(srv: &mut Server, purpose: Purpose) {
    srv.pause.wishes[purpose as usize] = Wish::default();
    update(srv);
}

/// Ends what is over. Called by the cron, too.
pub fn update(srv: &mut Server) {
    // Whoever waits runs between commands, not inside one that lets the loop turn.
    if srv.run.pass_depth > 1 {
        return;
    }
    let (now, before) = (srv.clock.unix_ms, srv.pause.actions);
    let mut actions = 0;
    for w in &mut srv.pause.wishes {
        if w.until_ms > now {
            actions |= w.actions;
        } else {
            *w = Wish::default();
        }
    }
    srv.pause.actions = actions;
    srv.gate.put(Gate::PAUSED, actions & action::CLIENTS != 0);
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
    srv.pause.postponed.push(id);
}

/// All who wait try again, and may have to wait again; not now, since what they do is no part of the
/// command that ends the pause.
fn resume(srv: &mut Server) {
    srv.pause.closed = 0;
    for id in std::mem::take(&mut srv.pause.postponed) {
        let Some(c) = srv.clients.get_mut(id).filter(|c| !c.has(flag::DYING)) else { continue };
        c.clear(flag::PAUSED);
        c.set(flag::WAS_PAUSED);
        srv.clients.wants_read(id);
    }
}
