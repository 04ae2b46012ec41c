//! The role of this server: a master, or the replica of one.
//!
//! ```text
//! master ── REPLICAOF host port ─► replica     its own position is kept: the new master may let it go on
//! replica ─ REPLICAOF NO ONE ────► master      a new id; the one before is good up to here
//! ```
//!
//! What depends on the role is pushed to where it is looked at (`refresh`): the states that refuse commands,
//! how expired keys are met, whether effects of this server enter the stream, the letter in the log. Replicas
//! of this server stay attached when it becomes a replica itself: they are cut when the history that they
//! follow ends, by a full sync or under a new id, and then learn of it when they ask again.

use super::{Server, ServerStates, aof, apply, blocking, kill, link, link_client, master, policy};
use crate::blocked::Wait;
use crate::clients::{ClientId, flag};
use crate::config::MasterAddr;
use crate::jobs::aof::AofState;
use crate::replication::link::{Event, Target};
use crate::replication::ops::Selected;
use crate::replication::{Position, random_id};
use crate::sys::log;
use crate::{notice, warning};
use std::fs::Metadata;

/// The log is tried to be switched on again so many times, once a second.
const AOF_TRIES: u32 = 10;

const UNBLOCKED: &str = "UNBLOCKED force unblock from blocking operation, instance state changed \
                         (master -> replica?)";

/// What depends on the role and on the state of the link.
pub fn refresh(srv: &mut Server) {
    let (on, online) = (srv.repl.link.is_on(), srv.repl.link.is_online());
    srv.states.put(ServerStates::REPLICA, on);
    srv.states
        .put(ServerStates::STALE, on && (!online && !srv.config.replica_serve_stale_data || lags(srv)));
    // The stream of a master begins with SELECT; a replica hands on that of its master.
    let feeds = !on && srv.repl.backlog.is_some();
    if feeds != srv.ops.replicas.is_some() {
        srv.ops.replicas = feeds.then(Selected::default);
    }
    policy::refresh(srv);
}

/// Was nothing heard of the stream of the master for longer than `replica-max-lag`?
pub fn lags(srv: &Server) -> bool {
    let most = srv.config.replica_max_lag;
    let silence = srv.repl.link.silence(srv.clock.unix_secs());
    srv.repl.link.is_on() && most > 0 && silence.is_none_or(|seconds| seconds > most)
}

/// A command of the stream begins, or has ended.
pub fn applying(srv: &mut Server, on: bool) {
    srv.repl.applying = on;
    policy::refresh_expiry(srv);
}

/// The server becomes, or stays, a replica: of this master.
pub fn follow(srv: &mut Server, target: Target) {
    let was_master = !srv.repl.link.is_on();
    let at = match srv.repl.link.is_online() {
        true => link_client::position(srv),
        false => was_master.then(|| own_position(srv)),
    };
    srv.config.replicaof = Some(MasterAddr { host: target.host.clone().into(), port: target.port });
    unblock_all(srv);
    link::event(srv, Event::Order { target, at });
    if was_master {
        if srv.repl.backlog.is_none() {
            srv.repl.open_backlog();
        }
        changed(srv);
    }
}

/// Where the data of a master stand in its own history.
fn own_position(srv: &Server) -> Position {
    Position { replid: srv.repl.replid.clone(), offset: srv.repl.offset(), db: None }
}

/// The server becomes a master; false when it is one.
pub fn promote(srv: &mut Server) -> bool {
    if !srv.repl.link.is_on() {
        return false;
    }
    srv.config.replicaof = None;
    link::event(srv, Event::Release);
    // Whatever they are, they are its own from here on.
    srv.master_link.hollow = false;
    srv.repl.shift_id(random_id());
    let r = &srv.repl;
    notice!(
        "Setting secondary replication ID to {}, valid up to offset: {}. New replication ID is {}",
        r.replid2,
        r.second_offset,
        r.replid
    );
    disconnect_replicas(srv);
    srv.repl.alone_since = srv.clock.unix_secs();
    if let Some(selected) = &mut srv.ops.replicas {
        selected.forget();
    }
    changed(srv);
    if srv.config.appendonly && srv.aof.state == AofState::Off {
        start_aof(srv, None);
    }
    true
}

/// What follows from a new role.
fn changed(srv: &mut Server) {
    let on = srv.repl.link.is_on();
    log::set_role(if on { log::Role::Replica } else { log::Role::Master });
    srv.ks.own_ttls.clear();
    refresh(srv);
    master::refresh_good(srv);
    apply::oom_score(srv);
}

/// The configuration asks for a master: the server begins as its replica. The first tick connects.
pub fn at_start(srv: &mut Server) {
    let Some(MasterAddr { host, port }) = srv.config.replicaof.clone() else { return };
    let host = String::from_utf8_lossy(&host).into_owned();
    begin_as_replica(srv, Target { host, port });
}

/// At the start, before the data are loaded: what they are worth depends on it.
pub fn begin_as_replica(srv: &mut Server, target: Target) {
    let Target { host, port } = &target;
    srv.config.replicaof = Some(MasterAddr { host: host.clone().into(), port: *port });
    srv.repl.link.follow(target);
    log::set_role(log::Role::Replica);
    refresh(srv);
}

/// The dataset was read from a snapshot, and may have a past.
pub fn restore(srv: &mut Server) {
    let on = srv.repl.link.is_on();
    match srv.jobs.loaded_at.take() {
        Some(past) => {
            srv.repl.restore(past, on);
            master::trim(srv);
            srv.repl.alone_since = srv.clock.unix_secs();
            if on {
                notice!(
                    "Before turning into a replica, using my own master parameters to synthesize a cached \
                     master: I may be able to synchronize with the new master with just a partial transfer."
                );
            }
        }
        // What the load has caused stands in no history.
        None if srv.repl.backlog.is_some() => srv.repl.close_backlog(),
        None => {}
    }
    refresh(srv);
}

/// All replicas go: the history that they follow has ended, or has another name.
pub fn disconnect_replicas(srv: &mut Server) {
    let all: Vec<ClientId> = srv.repl.replicas.iter().map(|r| r.id).collect();
    for id in all {
        kill::kill(srv, id);
    }
}

/// What clients wait for will not happen here any more. Those that only wait for the end of a pause, or for a
/// rewrite to begin, try again by themselves.
fn unblock_all(srv: &mut Server) {
    let rewriting = srv.blocked.waiting(Wait::Rewrite);
    for id in srv.clients.ids() {
        let waits = srv.clients.live(id).is_some_and(|c| c.has(flag::BLOCKED) && !c.has(flag::PAUSED));
        if waits && !rewriting.contains(&id) && blocking::release(srv, id, Some(UNBLOCKED)) {
            srv.clients[id].set(flag::CLOSE_AFTER_REPLY);
        }
    }
}

/// The append only file was switched off for a full sync and begins anew, with the dataset that has come;
/// with its file, if that can be the base.
pub fn start_aof(srv: &mut Server, base: Option<&Metadata>) {
    if srv.aof.state != AofState::Off {
        return;
    }
    let begun = base.is_some_and(|file| aof::start_with(srv, file)) || aof::start(srv);
    srv.master_link.aof_tries = if begun {
        None
    } else {
        warning!(
            "Failed enabling the AOF after successful master synchronization! Trying it again in one second."
        );
        Some(1)
    };
}

/// Once a second: another try. An old log would bring the old dataset back, so the last one ends the process.
pub fn retry_aof(srv: &mut Server) {
    let Some(tries) = srv.master_link.aof_tries.take() else { return };
    if srv.aof.state != AofState::Off || !srv.config.appendonly {
        return;
    }
    if tries >= AOF_TRIES {
        warning!(
            "FATAL: this replica instance finished the synchronization with its master, but the AOF can't \
             be turned on. Exiting now."
        );
        std::process::exit(1);
    }
    start_aof(srv, None);
    if let Some(failed) = &mut srv.master_link.aof_tries {
        *failed = tries + 1;
    }
}
