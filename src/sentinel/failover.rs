//! The failover of a master, as this sentinel runs it; see the states in `super`.

use super::instance::{Addr, Awaits, Group, Id, Instance, Kind, Ms, flag};
use super::text::cat;
use super::vote::MOST_DESYNC;
use super::{Core, Sentinel, simulate};
use crate::sys::log::Level;
use std::cmp::Reverse;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum State {
    #[default]
    None,
    WaitStart,
    SelectSlave,
    SendSlaveOfNoOne,
    WaitPromotion,
    ReconfSlaves,
    UpdateConfig,
}

impl State {
    pub(super) fn is_on(self) -> bool {
        self != State::None
    }

    /// Does the promoted replica work as a master?
    pub(super) fn has_promoted(self) -> bool {
        self >= State::ReconfSlaves
    }

    pub(super) fn name(self) -> &'static str {
        match self {
            State::None => "none",
            State::WaitStart => "wait_start",
            State::SelectSlave => "select_slave",
            State::SendSlaveOfNoOne => "send_slaveof_noone",
            State::WaitPromotion => "wait_promotion",
            State::ReconfSlaves => "reconf_slaves",
            State::UpdateConfig => "update_config",
        }
    }
}

#[derive(Debug, Default)]
pub(super) struct Failover {
    pub(super) state: State,
    /// The epoch in which it was begun.
    pub(super) epoch: u64,
    changed: Ms,
    /// When the last one began, here or, by our vote, elsewhere.
    pub(super) started: Option<Ms>,
    /// The beginning after which it was said when the next one may be.
    delay_told: Option<Ms>,
    pub(super) promoted: Option<Id>,
}

impl Failover {
    pub(super) fn enter(&mut self, state: State, now: Ms) {
        self.state = state;
        self.changed = now;
    }
}

// ---- begin and end -------------------------------------------------------------------------------

/// Begins a failover when it is time for one.
pub(super) fn start_if_needed(g: &mut Group, c: &mut Core) -> bool {
    if !g.master.has(flag::O_DOWN) || g.master.has(flag::FAILOVER) {
        return false;
    }
    let pause = g.failover_timeout.saturating_mul(2);
    if let Some(started) = g.failover.started.filter(|at| c.now() - at < pause) {
        if g.failover.delay_told != Some(started) {
            g.failover.delay_told = Some(started);
            let wall = c.env.wall + (started + pause - c.now());
            let text = cat![
                "Next failover delay: I will not start a failover before ",
                crate::sys::log::ctime(wall / 1000)
            ];
            c.log(Level::Notice, text);
        }
        return false;
    }
    start(g, c);
    true
}

pub(super) fn start(g: &mut Group, c: &mut Core) {
    let id = g.master.id;
    c.epoch = c.epoch.saturating_add(1);
    g.failover.epoch = c.epoch;
    g.failover.enter(State::WaitStart, c.now());
    g.master.set(flag::FAILOVER);
    c.announce(Level::Warning, "+new-epoch", Some(g), cat![c.epoch]);
    c.event(Level::Warning, "+try-failover", g, id, b"");
    g.failover.started = Some(c.now() + c.rng.below(MOST_DESYNC).cast_signed());
}

/// Ends a failover whose replica does not work as a master yet.
fn abort(g: &mut Group, c: &mut Core, why: &'static str) {
    debug_assert!(!g.failover.state.has_promoted(), "what is promoted stays so");
    c.event(Level::Warning, why, g, g.master.id, b"");
    g.master.clear(flag::FAILOVER | flag::FORCED);
    g.failover.enter(State::None, c.now());
    if let Some(i) = g.failover.promoted.take().and_then(|id| g.get_mut(id)) {
        i.clear(flag::PROMOTED);
    }
}

/// One step of the failover that is on.
pub(super) fn advance(g: &mut Group, c: &mut Core) {
    if !g.master.has(flag::FAILOVER) {
        return;
    }
    match g.failover.state {
        State::WaitStart => wait_start(g, c),
        State::SelectSlave => select(g, c),
        State::SendSlaveOfNoOne => promote(g, c),
        State::WaitPromotion if is_over(g, c) => abort(g, c, "-failover-abort-slave-timeout"),
        State::ReconfSlaves => reconfigure(g, c),
        State::None | State::WaitPromotion | State::UpdateConfig => {}
    }
}

/// Has the state lasted for the failover's time?
fn is_over(g: &Group, c: &Core) -> bool {
    c.now() - g.failover.changed > g.failover_timeout
}

// ---- up to the promotion -------------------------------------------------------------------------

fn wait_start(g: &mut Group, c: &mut Core) {
    let leads = c.leader(g).is_some_and(|leader| leader.eq_ignore_ascii_case(&c.myid));
    // An epoch that a restart would forget could be used twice.
    if c.unsaved || (!leads && !g.master.has(flag::FORCED)) {
        let most = c.periods.election.min(g.failover_timeout);
        if g.failover.started.is_some_and(|at| c.now() - at > most) {
            c.tell_votes(g);
            abort(g, c, "-failover-abort-not-elected");
        }
        return;
    }
    let id = g.master.id;
    c.event(Level::Warning, "+elected-leader", g, id, b"");
    if c.simulate & simulate::CRASH_AFTER_ELECTION != 0 {
        c.crash();
    }
    g.failover.enter(State::SelectSlave, c.now());
    c.event(Level::Warning, "+failover-state-select-slave", g, id, b"");
}

/// Why a replica is not one to promote.
fn unfit(g: &Group, r: &Instance, c: &Core) -> Option<&'static str> {
    let now = c.now();
    let down = g.master.has(flag::S_DOWN);
    let down_for = g.master.s_down_since.filter(|_| down).map_or(0, |since| now - since);
    let most_link_down = g.master.down_after.saturating_mul(10).saturating_add(down_for);
    // While the master is down replicas are asked for INFO each second.
    let most_info_age = if down { c.periods.ping * 5 } else { c.periods.info * 3 };
    if r.has(flag::S_DOWN | flag::O_DOWN) {
        return Some("it is down");
    }
    let Some(link) = c.link(r).filter(|l| !l.disconnected) else {
        return Some("there is no connection to it");
    };
    if now - link.last_ok > c.periods.ping * 5 {
        return Some("it has not answered PING lately");
    }
    if r.priority == 0 {
        return Some("its priority is 0");
    }
    if r.info_at.is_none_or(|at| now - at > most_info_age) {
        return Some("its last INFO is too old");
    }
    (r.link_down_for > most_link_down).then_some("it has been without its master for too long")
}

/// The best replica to promote: fit ones by priority, then the most data, then the smallest run id.
pub(super) fn best_replica(g: &Group, c: &Core) -> Option<Id> {
    let fit = g.replicas.iter().filter(|r| unfit(g, r, c).is_none());
    let order = |id: &Option<Vec<u8>>| (id.is_none(), id.as_ref().map(|id| id.to_ascii_lowercase()));
    fit.min_by_key(|r| (r.priority, Reverse(r.offset), order(&r.runid))).map(|r| r.id)
}

fn select(g: &mut Group, c: &mut Core) {
    let Some(id) = best_replica(g, c) else {
        for r in &g.replicas {
            if let Some(why) = unfit(g, r, c) {
                let text = cat!["Replica ", r.name, " can't be promoted: ", why];
                c.log(Level::Notice, text);
            }
        }
        return abort(g, c, "-failover-abort-no-good-slave");
    };
    c.event(Level::Warning, "+selected-slave", g, id, b"");
    if let Some(i) = g.get_mut(id) {
        i.set(flag::PROMOTED);
    }
    g.failover.promoted = Some(id);
    g.failover.enter(State::SendSlaveOfNoOne, c.now());
    c.event(Level::Notice, "+failover-state-send-slaveof-noone", g, id, b"");
}

fn promote(g: &mut Group, c: &mut Core) {
    let Some(id) = g.failover.promoted else {
        return abort(g, c, "-failover-abort-no-good-slave");
    };
    let cut = g.get(id).is_none_or(|i| c.is_cut(i));
    if cut && is_over(g, c) {
        abort(g, c, "-failover-abort-slave-timeout");
    }
    if cut || !send_replica_of(g, id, c, None) {
        return;
    }
    c.event(Level::Notice, "+failover-state-wait-promotion", g, id, b"");
    g.failover.enter(State::WaitPromotion, c.now());
}

/// Makes a server a replica, or a master without `to`; it keeps that over a restart, and its clients come
/// again and ask where the master is. Whether it has worked is seen in the next INFO.
pub(super) fn send_replica_of(g: &Group, id: Id, c: &mut Core, to: Option<&Addr>) -> bool {
    let Some(i) = g.get(id) else { return false };
    let (host, port) = match to {
        Some(addr) => (c.shown(addr).to_vec(), cat![addr.port]),
        None => (b"NO".to_vec(), b"ONE".to_vec()),
    };
    let commands: [&[&[u8]]; 6] = [
        &[g.command("MULTI")],
        &[g.command("SLAVEOF"), &host, &port],
        &[g.command("CONFIG"), b"REWRITE"],
        &[g.command("CLIENT"), b"KILL", b"TYPE", b"normal"],
        &[g.command("CLIENT"), b"KILL", b"TYPE", b"pubsub"],
        &[g.command("EXEC")],
    ];
    commands.iter().all(|words| c.ask(i, Awaits::Nothing, words))
}

// ---- after the promotion -------------------------------------------------------------------------

fn reconfigure(g: &mut Group, c: &mut Core) {
    let busy = flag::RECONF_SENT | flag::RECONF_INPROG;
    let Some(to) = g.promoted().map(|p| p.addr.clone()) else { return };
    pass_over_slow(g, c);
    let under_way = g.replicas.iter().filter(|r| r.has(busy)).count();
    let mut under_way = i64::try_from(under_way).unwrap_or(i64::MAX);
    for id in g.replica_ids() {
        if under_way >= g.parallel_syncs {
            break;
        }
        let skip = busy | flag::PROMOTED | flag::RECONF_DONE;
        let Some(r) = g.get(id).filter(|r| !r.has(skip) && !c.is_cut(r)) else { continue };
        debug_assert_eq!(r.kind, Kind::Replica);
        if send_replica_of(g, id, c, Some(&to)) {
            under_way += 1;
            if let Some(r) = g.get_mut(id) {
                r.set(flag::RECONF_SENT);
                r.reconf_sent = c.now();
            }
            c.event(Level::Notice, "+slave-reconf-sent", g, id, b"");
        }
    }
    detect_end(g, c, &to);
}

/// A replica that does not follow: whatever it does, the others have their turn, and its configuration is
/// looked after later.
fn pass_over_slow(g: &mut Group, c: &mut Core) {
    let late = c.now() - c.periods.reconf_timeout;
    for id in g.replica_ids() {
        let Some(r) = g.get_mut(id).filter(|r| r.has(flag::RECONF_SENT) && r.reconf_sent < late) else {
            continue;
        };
        r.clear(flag::RECONF_SENT);
        r.set(flag::RECONF_DONE);
        c.event(Level::Notice, "-slave-reconf-sent-timeout", g, id, b"");
    }
}

fn detect_end(g: &mut Group, c: &mut Core, to: &Addr) {
    if g.promoted().is_none_or(|p| p.has(flag::S_DOWN)) {
        return;
    }
    let done = flag::PROMOTED | flag::RECONF_DONE;
    let left = g.replicas.iter().any(|r| !r.has(done | flag::S_DOWN));
    let timeout = is_over(g, c);
    let id = g.master.id;
    if timeout {
        c.event(Level::Warning, "+failover-end-for-timeout", g, id, b"");
    }
    if left && !timeout {
        return;
    }
    c.event(Level::Warning, "+failover-end", g, id, b"");
    g.failover.enter(State::UpdateConfig, c.now());
    if !timeout {
        return;
    }
    for id in g.replica_ids() {
        let Some(r) = g.get(id).filter(|r| !r.has(done | flag::RECONF_SENT)) else { continue };
        if !c.is_cut(r) && send_replica_of(g, id, c, Some(to)) {
            c.event(Level::Notice, "+slave-reconf-sent-be", g, id, b"");
            if let Some(r) = g.get_mut(id) {
                r.set(flag::RECONF_SENT);
            }
        }
    }
}

impl Sentinel {
    /// The promoted replica takes the master's place in the table.
    pub(super) fn switch_to_promoted(&mut self, at: usize) {
        let Some(g) = self.groups.get_mut(at) else { return };
        let c = &mut self.core;
        let new = g.promoted().map_or(&g.master.addr, |p| &p.addr).clone();
        let old = &g.master.addr;
        let message =
            cat![g.master.name, " ", c.shown(old), " ", old.port, " ", c.shown(&new), " ", new.port];
        c.announce(Level::Warning, "+switch-master", Some(g), message);
        c.change_master(g, new);
    }
}

impl Core {
    /// The master is at another address: all replicas are to be met anew, and the old master is one of them.
    pub(super) fn change_master(&mut self, g: &mut Group, new: Addr) {
        let mut replicas: Vec<Addr> =
            g.replicas.iter().map(|r| r.addr.clone()).filter(|addr| !addr.is(&new)).collect();
        if !g.master.addr.is(&new) {
            replicas.push(g.master.addr.clone());
        }
        self.reset(g, false);
        g.master.addr = new;
        g.master.s_down_since = None;
        g.master.o_down_since = None;
        for addr in replicas {
            if let Some(id) = self.add_replica(g, addr) {
                self.event(Level::Notice, "+slave", g, id, b"");
            }
        }
        self.save();
    }

    /// Forgets what was learned of a group: replicas, states, and with `sentinels` those, too.
    pub(super) fn reset(&mut self, g: &mut Group, sentinels: bool) {
        for r in std::mem::take(&mut g.replicas) {
            self.release(&r);
        }
        if sentinels {
            for s in std::mem::take(&mut g.sentinels) {
                self.release(&s);
            }
        }
        let now = self.now();
        self.close_link(g.master.link);
        if let Some(l) = self.link_mut(&g.master) {
            l.ping_waits = Some(now);
            l.last_ping = None;
            l.last_ok = now;
            l.last_pong = now;
        }
        let epoch = g.failover.epoch;
        g.failover = Failover { epoch, ..Failover::default() };
        let m = &mut g.master;
        m.flags = 0;
        m.leader = None;
        m.runid = None;
        m.master_host = None;
        m.role = Some(Kind::Master);
        m.role_since = now;
    }

    /// The script that tells clients of a new address.
    pub(super) fn call_reconfig_script(&mut self, g: &Group, part: &str, from: &Addr, to: &Addr) {
        let Some(path) = g.client_reconfig_script.clone() else { return };
        let host = |a: &Addr| self.shown(a).to_vec();
        let job = vec![
            path,
            g.master.name.clone(),
            part.into(),
            b"start".to_vec(),
            host(from),
            cat![from.port],
            host(to),
            cat![to.port],
        ];
        self.scripts.schedule(job);
    }
}
