//! What INFO says of a master or a replica, and what follows.
//!
//! ```text
//! lines ─► facts ─► noted in the instance ─► unless in tilt:
//!   promoted replica says master ─► the promotion is done; its config epoch is that of the election
//!   replica says master ──────────► made a replica again, after some hellos that might say otherwise
//!   replica of another master ────► pointed to ours, after a while
//!   replica under reconfiguration ► sent ─► in progress (it names the new master) ─► done (its link is up)
//! ```

use super::failover::{self, State};
use super::hello::hurry_hellos;
use super::instance::{Group, Id, Kind, Ms, flag};
use super::text::cat;
use super::{Action, Core, Sentinel, simulate};
use crate::algo::num::{loose, loose32};
use crate::proto::reply_in::Value;
use crate::sys::log::Level;

/// The lines of an INFO that matter here.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct InfoFacts {
    pub(super) runid: Option<Vec<u8>>,
    /// Of a master: host and port of its replicas.
    pub(super) replicas: Vec<(Vec<u8>, i32)>,
    pub(super) role: Option<Kind>,
    /// Seconds.
    pub(super) link_down_for: Option<i64>,
    pub(super) master_host: Option<Vec<u8>>,
    pub(super) master_port: Option<i32>,
    pub(super) link_up: Option<bool>,
    pub(super) priority: Option<i32>,
    pub(super) offset: Option<u64>,
    pub(super) announced: Option<bool>,
}

/// A replica's line: `slave0:ip=h,port=p,...`, and of old `slave0:h,p,state`.
fn replica_line(line: &[u8]) -> Option<(Vec<u8>, i32)> {
    let rest = line.strip_prefix(b"slave")?;
    if !rest.first()?.is_ascii_digit() {
        return None;
    }
    let colon = rest.iter().position(|b| *b == b':')?;
    let fields: Vec<&[u8]> = rest.get(colon + 1..)?.split(|b| *b == b',').collect();
    let named = |name: &[u8]| fields.iter().find_map(|f| f.strip_prefix(name));
    let (host, port) = match (named(b"ip="), named(b"port=")) {
        (Some(host), Some(port)) => (host, port),
        (None, _) if fields.len() >= 3 => (*fields.first()?, *fields.get(1)?),
        _ => return None,
    };
    Some((host.to_vec(), loose32(port)))
}

pub(super) fn read(info: &[u8], of_master: bool) -> InfoFacts {
    let mut facts = InfoFacts::default();
    for line in info.split(|b| *b == b'\n').map(|l| l.strip_suffix(b"\r").unwrap_or(l)) {
        let Some(colon) = line.iter().position(|b| *b == b':') else { continue };
        let (name, value) =
            (line.get(..colon).unwrap_or_default(), line.get(colon + 1..).unwrap_or_default());
        match name {
            b"run_id" if value.len() >= 40 => facts.runid = value.get(..40).map(<[u8]>::to_vec),
            b"master_link_down_since_seconds" => facts.link_down_for = Some(loose(value)),
            b"role" if value.starts_with(b"master") => facts.role = Some(Kind::Master),
            b"role" if value.starts_with(b"slave") => facts.role = Some(Kind::Replica),
            _ if of_master && line.starts_with(b"slave") => facts.replicas.extend(replica_line(line)),
            _ => {}
        }
        if facts.role != Some(Kind::Replica) {
            continue;
        }
        match name {
            b"master_host" => facts.master_host = Some(value.to_vec()),
            b"master_port" => facts.master_port = Some(loose32(value)),
            b"master_link_status" => facts.link_up = Some(value.eq_ignore_ascii_case(b"up")),
            b"slave_priority" => facts.priority = Some(loose32(value)),
            b"slave_repl_offset" => facts.offset = crate::algo::num::decimal(value),
            b"replica_announced" => facts.announced = Some(loose32(value) != 0),
            _ => {}
        }
    }
    facts
}

impl Sentinel {
    pub(super) fn info(&mut self, at: usize, id: Id, value: &Value) {
        let Value::Bulk(text) = value else { return };
        let Some(g) = self.groups.get_mut(at) else { return };
        let c = &mut self.core;
        let facts = read(text, id == g.master.id);
        note_runid(g, id, c, &facts);
        note_replicas(g, c, &facts);
        note(g, id, c, text, &facts);
        note_role(g, id, c, facts.role);
        if c.tilt.is_some() {
            return;
        }
        match (g.get(id).map(|i| i.kind), facts.role) {
            (Some(Kind::Replica), Some(Kind::Master)) => turned_master(g, id, c),
            (Some(Kind::Replica), Some(Kind::Replica)) => {
                fix_master(g, id, c);
                advance_reconf(g, id, c);
            }
            _ => {}
        }
    }
}

fn note_runid(g: &mut Group, id: Id, c: &mut Core, facts: &InfoFacts) {
    let (Some(runid), Some(i)) = (&facts.runid, g.get(id)) else { return };
    let restarted = i.runid.as_ref().is_some_and(|old| old != runid);
    if restarted {
        c.event(Level::Notice, "+reboot", g, id, b"");
        if id == g.master.id && g.reboot_down_after != 0 {
            g.master.set(flag::REBOOT);
            g.reboot_since = c.now();
        }
    }
    if let Some(i) = g.get_mut(id) {
        i.runid = Some(runid.clone());
    }
}

fn note_replicas(g: &mut Group, c: &mut Core, facts: &InfoFacts) {
    for (host, port) in &facts.replicas {
        let Ok(port) = u16::try_from(*port) else { continue };
        let Some(addr) = c.address_or_name(host, port) else { continue };
        if let Some(new) = c.add_replica(g, addr) {
            c.event(Level::Notice, "+slave", g, new, b"");
            c.save();
        }
    }
}

fn note(g: &mut Group, id: Id, c: &Core, text: &[u8], facts: &InfoFacts) {
    let now = c.now();
    let Some(i) = g.get_mut(id) else { return };
    i.info = Some(text.to_vec());
    i.info_at = Some(now);
    i.link_down_for = facts.link_down_for.map_or(0, |s| s.saturating_mul(1000));
    if let Some(host) = &facts.master_host
        && i.master_host.as_ref().is_none_or(|old| !old.eq_ignore_ascii_case(host))
    {
        i.master_host = Some(host.clone());
        i.conf_since = now;
    }
    if let Some(port) = facts.master_port
        && port != i.master_port
    {
        i.master_port = port;
        i.conf_since = now;
    }
    i.link_up = facts.link_up.unwrap_or(i.link_up);
    i.priority = facts.priority.unwrap_or(i.priority);
    i.offset = facts.offset.unwrap_or(i.offset);
    i.announced = facts.announced.unwrap_or(i.announced);
}

fn note_role(g: &mut Group, id: Id, c: &mut Core, role: Option<Kind>) {
    let now = c.now();
    let Some(i) = g.get_mut(id).filter(|i| i.role != role) else { return };
    i.role = role;
    i.role_since = now;
    if role == Some(Kind::Replica) {
        i.conf_since = now;
    }
    let kind = if role == Some(i.kind) { "+role-change" } else { "-role-change" };
    let name = if role == Some(Kind::Master) { "master" } else { "slave" };
    c.event(Level::Verbose, kind, g, id, &cat![" new reported role is ", name]);
}

/// A master as it should be, by word that is not old.
fn looks_sane(g: &Group, c: &Core) -> bool {
    let fresh = g.master.info_at.is_some_and(|at| c.now() - at < c.periods.info * 2);
    g.master.role == Some(Kind::Master) && !g.master.has(flag::S_DOWN | flag::O_DOWN) && fresh
}

/// A replica says that it is a master.
fn turned_master(g: &mut Group, id: Id, c: &mut Core) {
    let Some(i) = g.get(id) else { return };
    let promoted = i.has(flag::PROMOTED);
    if promoted && g.master.has(flag::FAILOVER) && g.failover.state == State::WaitPromotion {
        return promotion_done(g, id, c);
    }
    let wait = c.periods.publish * 4;
    let (now, since) = (c.now(), i.role_since);
    if promoted || !looks_sane(g, c) || !i.no_down_for(wait, now) || now - since <= wait {
        return;
    }
    let to = g.master.addr.clone();
    if failover::send_replica_of(g, id, c, Some(&to)) {
        c.event(Level::Notice, "+convert-to-slave", g, id, b"");
    }
}

/// From here on the new address is what this sentinel tells, with the epoch that it won: the others adopt it.
fn promotion_done(g: &mut Group, id: Id, c: &mut Core) {
    g.config_epoch = g.failover.epoch;
    g.failover.enter(State::ReconfSlaves, c.now());
    c.save();
    c.event(Level::Warning, "+promoted-slave", g, id, b"");
    if c.simulate & simulate::CRASH_AFTER_PROMOTION != 0 {
        c.crash();
    }
    c.event(Level::Warning, "+failover-state-reconf-slaves", g, g.master.id, b"");
    let Some(to) = g.get(id).map(|i| i.addr.clone()) else { return };
    let from = g.master.addr.clone();
    c.call_reconfig_script(g, "leader", &from, &to);
    hurry_hellos(g, c.periods.publish);
}

/// A replica that follows another server than the master.
fn fix_master(g: &mut Group, id: Id, c: &mut Core) {
    let to = g.master.addr.clone();
    let wait: Ms = g.failover_timeout;
    let now = c.now();
    let Some(i) = g.get(id) else { return };
    let (host, port) = (i.master_host.clone().unwrap_or_default(), i.master_port);
    let fits = port == i32::from(to.port) && c.means(&to, &host) != Some(false);
    let Some(i) = g.get(id).filter(|_| !fits) else { return };
    if !looks_sane(g, c) || !i.no_down_for(wait, now) || now - i.conf_since <= wait {
        return;
    }
    if failover::send_replica_of(g, id, c, Some(&to)) {
        c.event(Level::Notice, "+fix-slave-config", g, id, b"");
    }
}

/// How far a replica has come that was pointed to the promoted one.
fn advance_reconf(g: &mut Group, id: Id, c: &mut Core) {
    let Some(to) = g.promoted().map(|p| p.addr.clone()) else { return };
    let Some(i) = g.get(id) else { return };
    if i.has(flag::RECONF_SENT)
        && i.master_port == i32::from(to.port)
        && let Some(host) = i.master_host.clone()
        && c.means(&to, &host) == Some(true)
    {
        if let Some(i) = g.get_mut(id) {
            i.clear(flag::RECONF_SENT);
            i.set(flag::RECONF_INPROG);
        }
        c.event(Level::Notice, "+slave-reconf-inprog", g, id, b"");
    }
    let Some(i) = g.get_mut(id) else { return };
    if i.has(flag::RECONF_INPROG) && i.link_up {
        i.clear(flag::RECONF_INPROG);
        i.set(flag::RECONF_DONE);
        c.event(Level::Notice, "+slave-reconf-done", g, id, b"");
    }
}

impl Core {
    /// The end of this process, as SENTINEL SIMULATE-FAILURE asks for it.
    pub(super) fn crash(&mut self) {
        let text = "Sentinel CRASH because of SENTINEL simulate-failure";
        self.log(Level::Warning, text.into());
        self.out.push(Action::Exit(99));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn info_is_read_line_by_line() {
        let id = "0123456789012345678901234567890123456789";
        let text = format!(
            "# Server\r\nrun_id:{id}\r\n\r\n# Replication\r\nrole:slave\r\nmaster_host:h\r\n\
             master_port:7\r\nmaster_link_status:UP\r\nmaster_link_down_since_seconds:3\r\n\
             slave_repl_offset:18446744073709551615\r\nslave_priority:0\r\nreplica_announced:0\r\n\
             slave0:ip=a,port=1,state=online\r\n"
        );
        let facts = read(text.as_bytes(), false);
        let expected = InfoFacts {
            runid: Some(id.as_bytes().to_vec()),
            role: Some(Kind::Replica),
            link_down_for: Some(3),
            master_host: Some(b"h".to_vec()),
            master_port: Some(7),
            link_up: Some(true),
            priority: Some(0),
            offset: Some(u64::MAX),
            announced: Some(false),
            ..InfoFacts::default()
        };
        assert_eq!(facts, expected);
    }

    #[test]
    fn a_master_lists_its_replicas() {
        let text = b"role:master\r\nslave0:ip=::1,port=1,state=online,offset=2\r\nslave1:h,2,online\r\n\
            slavex:h,3,online\r\nslave2:h\r\nslave3:ip=a\r\nslave_priority:5\r\nmaster_host:x\r\n";
        let facts = read(text, true);
        assert_eq!(facts.replicas, [(b"::1".to_vec(), 1), (b"h".to_vec(), 2)]);
        assert_eq!((facts.priority, facts.master_host), (None, None), "lines of a replica");
        for text in [&b""[..], b":", b"slave", b"slave0", b"slave0:", b"slave9:ip=", b"run_id:1\n\r\n"] {
            assert_eq!(read(text, true), InfoFacts::default());
        }
    }
}
