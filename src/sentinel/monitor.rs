//! Connections, PING, INFO and hello to every instance, and the two kinds of down.
//!
//! ```text
//! PING ──► +PONG, -LOADING, -MASTERDOWN   alive
//!          -BUSY                          answers, yet not alive; one SCRIPT KILL once it is down
//!          anything else, nothing         `ping_waits` stays at the oldest PING without an answer
//! ```

use super::hello::{self, send_hello};
use super::instance::{Awaits, CommandConn, Group, Id, Instance, Kind, MessageConn, Ms, flag};
use super::names::LookUp;
use super::text::cat;
use super::{Action, ConnId, Core, HELLO, Sentinel};
use crate::persist::aof::push_command;
use crate::proto::reply_in::Value;
use crate::sys::log::Level;

/// Commands without a reply, per user of a link, from which on nothing is asked any more.
const MOST_PENDING: usize = 100;

// ---- connections ---------------------------------------------------------------------------------

/// Dials what is missing, at most once a ping period.
pub(super) fn reconnect(g: &mut Group, id: Id, c: &mut Core) {
    let (now, period) = (c.now(), c.periods.ping);
    let Some((link, kind)) = g.get(id).filter(|i| i.addr.port != 0).map(|i| (i.link, i.kind)) else {
        return;
    };
    let Some(l) = c.links.get_mut(&link).filter(|l| l.disconnected) else { return };
    if l.last_dial.is_some_and(|at| now - at < period) {
        return;
    }
    l.last_dial = Some(now);
    let (commands, messages) = (l.commands.is_none(), l.messages.is_none() && kind != Kind::Sentinel);
    if commands {
        renew_address(g, id, c);
        if let Some(conn) = dial(g, id, c) {
            let Some(l) = c.links.get_mut(&link) else { return };
            l.commands =
                Some(CommandConn { id: conn, since: now, local: None, pending: Default::default() });
            log_in(g, id, c, conn, "cmd");
            send_ping(g, id, c);
        }
    }
    if messages && let Some(conn) = dial(g, id, c) {
        let Some(l) = c.links.get_mut(&link) else { return };
        l.messages = Some(MessageConn { id: conn, since: now, last_message: now, pending: 0 });
        let sent = log_in(g, id, c, conn, "pubsub");
        if let Some(m) = c.links.get_mut(&link).and_then(|l| l.messages.as_mut()) {
            m.pending = sent;
        }
        c.out.push(Action::Send(conn, encode(&[g.command("SUBSCRIBE"), HELLO])));
    }
    if let Some(l) = c.links.get_mut(&link) {
        l.disconnected = l.commands.is_none() || (kind != Kind::Sentinel && l.messages.is_none());
    }
}

/// A server may have come up under another address of the same name.
fn renew_address(g: &mut Group, id: Id, c: &mut Core) {
    let Some(i) = g.get_mut(id).filter(|_| c.settings.resolve_hostnames) else { return };
    if let LookUp::Ip(ip) = c.look_up(&i.addr.host) {
        i.addr.ip = ip;
    }
}

fn dial(g: &Group, id: Id, c: &mut Core) -> Option<ConnId> {
    let addr = &g.get(id)?.addr;
    if addr.ip.is_empty() {
        return None;
    }
    c.next_conn += 1;
    c.out.push(Action::Dial(c.next_conn, addr.ip.clone(), addr.port));
    Some(c.next_conn)
}

/// AUTH, where there is a password, and the name of the connection; the number of commands.
fn log_in(g: &Group, id: Id, c: &mut Core, conn: ConnId, what: &str) -> usize {
    let Some(i) = g.get(id) else { return 0 };
    let (user, pass) = match (i.kind, &c.settings.pass) {
        (Kind::Sentinel, Some(pass)) => (c.settings.user.clone(), Some(pass.clone())),
        (Kind::Sentinel, None) => (None, c.env.password.clone()),
        _ => (g.user.clone(), g.pass.clone()),
    };
    let mut bytes = Vec::new();
    let mut commands = 1;
    if let Some(pass) = pass {
        let mut words = vec![g.command("AUTH")];
        words.extend(user.as_deref());
        words.push(&pass);
        bytes = encode(&words);
        commands += 1;
    }
    let name = cat!["sentinel-", c.myid.get(..8).unwrap_or(&c.myid), "-", what];
    bytes.extend(encode(&[g.command("CLIENT"), b"SETNAME", &name]));
    c.out.push(Action::Send(conn, bytes));
    let link = c.link_mut(i).and_then(|l| l.commands.as_mut()).filter(|l| l.id == conn);
    if let Some(l) = link {
        l.pending.extend(std::iter::repeat_n((id, Awaits::Nothing), commands));
    }
    commands
}

pub(super) fn encode(words: &[&[u8]]) -> Vec<u8> {
    let mut bytes = Vec::new();
    push_command(&mut bytes, words);
    bytes
}

impl Core {
    /// Sends a command; false without a connection to send it on.
    pub(super) fn ask(&mut self, i: &Instance, awaits: Awaits, words: &[&[u8]]) -> bool {
        let Some(link) = self.links.get_mut(&i.link).and_then(|l| l.commands.as_mut()) else {
            return false;
        };
        link.pending.push_back((i.id, awaits));
        let conn = link.id;
        self.out.push(Action::Send(conn, encode(words)));
        true
    }
}

/// The server of a connection that has an event.
enum Whose {
    Commands(Id),
    Messages(Id),
}

impl Sentinel {
    fn whose(&self, conn: ConnId) -> Option<Whose> {
        self.core.links.iter().find_map(|(id, l)| {
            let commands = l.commands.as_ref().is_some_and(|c| c.id == conn);
            let messages = l.messages.as_ref().is_some_and(|m| m.id == conn);
            match (commands, messages) {
                (true, _) => Some(Whose::Commands(*id)),
                (_, true) => Some(Whose::Messages(*id)),
                _ => None,
            }
        })
    }

    pub(super) fn opened(&mut self, conn: ConnId, ip: String) {
        let links = self.core.links.values_mut();
        if let Some(c) = links.filter_map(|l| l.commands.as_mut()).find(|c| c.id == conn) {
            c.local = Some(ip);
        }
    }

    pub(super) fn not_begun(&mut self, conn: ConnId, why: &str) {
        let (link, kind) = match self.whose(conn) {
            Some(Whose::Commands(link)) => (link, "-cmd-link-reconnection"),
            Some(Whose::Messages(link)) => (link, "-pubsub-link-reconnection"),
            None => return,
        };
        for g in &self.groups {
            let user = g.ids().into_iter().find(|id| g.get(*id).is_some_and(|i| i.link == link));
            if let Some(id) = user {
                self.core.event(Level::Debug, kind, g, id, &cat![" #", why]);
                break;
            }
        }
        self.closed(conn);
    }

    /// The other side is gone: the connection is dialled again by a tick.
    pub(super) fn closed(&mut self, conn: ConnId) {
        let link = match self.whose(conn) {
            Some(Whose::Commands(link) | Whose::Messages(link)) => link,
            None => return,
        };
        let Some(l) = self.core.links.get_mut(&link) else { return };
        l.disconnected = true;
        if l.commands.as_ref().is_some_and(|c| c.id == conn) {
            l.commands = None;
        } else {
            l.messages = None;
        }
    }

    pub(super) fn received(&mut self, conn: ConnId, value: &Value) {
        match self.whose(conn) {
            Some(Whose::Commands(link)) => self.answered(link, value),
            Some(Whose::Messages(link)) => self.message(link, value),
            None => {}
        }
    }

    fn answered(&mut self, link: Id, value: &Value) {
        let Some(l) = self.core.links.get_mut(&link) else { return };
        let Some((owner, awaits)) = l.commands.as_mut().and_then(|c| c.pending.pop_front()) else {
            return;
        };
        let Some(at) = self.owner_of(owner) else { return };
        match awaits {
            Awaits::Nothing => {}
            Awaits::Ping => self.pong(at, owner, value),
            Awaits::Info => self.info(at, owner, value),
            Awaits::Publish => self.published(at, owner, value),
            Awaits::MasterDown => self.voted(at, owner, value),
        }
    }

    fn message(&mut self, link: Id, value: &Value) {
        let now = self.core.now();
        let Some(m) = self.core.links.get_mut(&link).and_then(|l| l.messages.as_mut()) else { return };
        if m.pending > 0 {
            m.pending -= 1;
            return;
        }
        m.last_message = now;
        if matches!(value, Value::Error(_)) {
            // The subscription was refused: without it the connection is of no use, and shown as missing.
            return self.core.close_messages(link);
        }
        if let Value::Array(parts) = value
            && let [Value::Bulk(kind), Value::Bulk(_), Value::Bulk(message)] = &parts[..]
            && kind == b"message"
            && !hello::is_from(message, &self.core.myid)
        {
            self.hello(message);
        }
    }

    fn pong(&mut self, at: usize, id: Id, value: &Value) {
        let now = self.core.now();
        let Some(g) = self.groups.get_mut(at) else { return };
        let Some(i) = g.get_mut(id) else { return };
        let Some(l) = self.core.links.get_mut(&i.link) else { return };
        l.last_pong = now;
        let (Value::Status(text) | Value::Error(text)) = value else { return };
        let alive = [&b"PONG"[..], b"LOADING", b"MASTERDOWN"].iter().any(|ok| text.starts_with(ok));
        if alive {
            l.last_ok = now;
            l.ping_waits = None;
            if text.starts_with(b"PONG") {
                i.clear(flag::REBOOT);
            }
        } else if text.starts_with(b"BUSY") && i.has(flag::S_DOWN) && !i.has(flag::SCRIPT_KILLED) {
            i.set(flag::SCRIPT_KILLED);
            let Some(i) = g.get(id) else { return };
            self.core.ask(i, Awaits::Nothing, &[g.command("SCRIPT"), b"KILL"]);
        }
    }
}

// ---- what is asked regularly ---------------------------------------------------------------------

pub(super) fn send_ping(g: &Group, id: Id, c: &mut Core) {
    let Some(i) = g.get(id) else { return };
    if c.ask(i, Awaits::Ping, &[g.command("PING")]) {
        let now = c.now();
        let Some(l) = c.link_mut(i) else { return };
        l.last_ping = Some(now);
        l.ping_waits.get_or_insert(now);
    }
}

/// INFO, PING and hello, each at its time.
pub(super) fn periodic(g: &mut Group, id: Id, c: &mut Core) {
    let now = c.now();
    let Some(i) = g.get(id) else { return };
    let Some(l) = c.link(i).filter(|l| !l.disconnected) else { return };
    if l.pending() >= MOST_PENDING * l.users {
        return;
    }
    let ping_period = i.down_after.min(c.periods.ping);
    let ping_due =
        now - l.last_pong > ping_period && l.last_ping.is_none_or(|at| now - at > ping_period / 2);
    let hello_due = now - i.last_hello_sent > c.periods.publish;
    if i.kind != Kind::Sentinel && (i.info_due || is_stale(g, i, c)) {
        c.ask(i, Awaits::Info, &[g.command("INFO")]);
        if let Some(i) = g.get_mut(id) {
            i.info_due = false;
        }
    }
    if ping_due {
        send_ping(g, id, c);
    }
    if hello_due {
        send_hello(g, id, c);
    }
}

/// Replicas are looked at closely while their master, or their link to it, is in trouble.
fn is_stale(g: &Group, i: &Instance, c: &Core) -> bool {
    let trouble = g.master.has(flag::O_DOWN | flag::FAILOVER) || i.link_down_for != 0;
    let period = if i.kind == Kind::Replica && trouble { 1000 } else { c.periods.info };
    i.info_at.is_none_or(|at| c.now() - at > period)
}

// ---- down ----------------------------------------------------------------------------------------

/// Closes connections that seem to stand and carry nothing.
fn close_silent(i: &Instance, c: &mut Core) {
    let (now, least, publish) = (c.now(), c.periods.min_reconnect, c.periods.publish);
    let half = i.down_after / 2;
    let Some(l) = c.link(i) else { return };
    let waits = l.ping_waits.is_some_and(|at| now - at > half) && now - l.last_pong > half;
    let commands = l.commands.as_ref().is_some_and(|x| waits && now - x.since > least);
    let silent = |m: &MessageConn| now - m.since > least && now - m.last_message > publish * 3;
    let messages = l.messages.as_ref().is_some_and(silent);
    if commands {
        c.close_commands(i.link);
    }
    if messages {
        c.close_messages(i.link);
    }
}

pub(super) fn check_s_down(g: &mut Group, id: Id, c: &mut Core) {
    let now = c.now();
    let Some(i) = g.get(id) else { return };
    let Some(l) = c.link(i) else { return };
    let silent = match l.ping_waits {
        Some(at) => now - at,
        None if l.disconnected => now - l.last_ok,
        None => 0,
    };
    close_silent(i, c);
    let Some(i) = g.get(id) else { return };
    // A master that says it is a replica is none, once it has had the time to say otherwise twice.
    let demoted = i.kind == Kind::Master
        && i.role == Some(Kind::Replica)
        && now - i.role_since > i.down_after + 2 * c.periods.info;
    let reboots = i.has(flag::REBOOT) && now - g.reboot_since > g.reboot_down_after;
    let down = silent > i.down_after || demoted || reboots;
    if down == i.has(flag::S_DOWN) {
        return;
    }
    c.event(Level::Warning, if down { "+sdown" } else { "-sdown" }, g, id, b"");
    let Some(i) = g.get_mut(id) else { return };
    match down {
        true => {
            i.set(flag::S_DOWN);
            i.s_down_since = Some(now);
        }
        false => i.clear(flag::S_DOWN | flag::SCRIPT_KILLED),
    }
}

/// Do enough sentinels say so? The answers may be some seconds old.
pub(super) fn check_o_down(g: &mut Group, c: &mut Core) {
    let others = g.sentinels.iter().filter(|s| s.has(flag::MASTER_DOWN)).count();
    let votes = others + 1;
    let down = g.master.has(flag::S_DOWN) && votes >= g.quorum as usize;
    if down == g.master.has(flag::O_DOWN) {
        return;
    }
    let id = g.master.id;
    if down {
        c.event(Level::Warning, "+odown", g, id, &cat![" #quorum ", votes, "/", g.quorum]);
        g.master.set(flag::O_DOWN);
        g.master.o_down_since = Some(c.now());
    } else {
        c.event(Level::Warning, "-odown", g, id, b"");
        g.master.clear(flag::O_DOWN);
    }
}

/// Ages are shown as numbers; 0 for never.
pub(super) fn age(at: Option<Ms>, now: Ms) -> i64 {
    at.map_or(0, |at| now - at)
}
