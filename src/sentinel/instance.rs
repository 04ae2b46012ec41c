//! What is known of each server: a group is a master with its replicas and the other sentinels that watch it.
//!
//! ```text
//! Group ─┬─ master: Instance ─┐
//!        ├─ replicas          ├──► Link ─┬─ commands     one a server, and one a sentinel, however
//!        └─ sentinels ────────┘          └─ messages     many masters it watches as we do
//! ```
//!
//! Instances and links have numbers that are never given twice, so a late reply finds nothing rather than
//! another one. Lists keep the order in which their members were met, which is that of the file, too.

use super::failover::Failover;
use super::text::cat;
use super::{ConnId, Core};
use std::collections::VecDeque;

/// Milliseconds of the monotonic clock, or between two moments of it.
pub(super) type Ms = i64;

/// The longest time that can be set: sums of some of them are still numbers.
pub(super) const LONGEST: Ms = Ms::MAX / 16;

/// Of an instance, or of a link; from 1.
pub(super) type Id = u64;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Master,
    Replica,
    Sentinel,
}

impl Kind {
    pub(super) fn name(self) -> &'static str {
        match self {
            Kind::Master => "master",
            Kind::Replica => "slave",
            Kind::Sentinel => "sentinel",
        }
    }
}

/// States of an instance; bits.
pub(super) mod flag {
    pub(in crate::sentinel) const S_DOWN: u16 = 1;
    pub(in crate::sentinel) const O_DOWN: u16 = 1 << 1;
    /// A sentinel that thinks its master is down.
    pub(in crate::sentinel) const MASTER_DOWN: u16 = 1 << 2;
    pub(in crate::sentinel) const FAILOVER: u16 = 1 << 3;
    pub(in crate::sentinel) const PROMOTED: u16 = 1 << 4;
    pub(in crate::sentinel) const RECONF_SENT: u16 = 1 << 5;
    pub(in crate::sentinel) const RECONF_INPROG: u16 = 1 << 6;
    pub(in crate::sentinel) const RECONF_DONE: u16 = 1 << 7;
    /// The failover was asked for by a command.
    pub(in crate::sentinel) const FORCED: u16 = 1 << 8;
    pub(in crate::sentinel) const SCRIPT_KILLED: u16 = 1 << 9;
    /// The master runs under another id than before and has not answered PONG since.
    pub(in crate::sentinel) const REBOOT: u16 = 1 << 10;
}

/// Where a server is: what it was called, and the address that this means, if that is known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Addr {
    pub(super) host: Vec<u8>,
    /// Empty while the name has no known address.
    pub(super) ip: String,
    pub(super) port: u16,
}

impl Addr {
    /// The same by address, or by name.
    pub(super) fn is(&self, other: &Addr) -> bool {
        let same_ip = !self.ip.is_empty() && self.ip == other.ip;
        self.port == other.port && (same_ip || self.host.eq_ignore_ascii_case(&other.host))
    }
}

impl Core {
    /// The host as others are told it.
    pub(super) fn shown<'a>(&self, addr: &'a Addr) -> &'a [u8] {
        match self.settings.announce_hostnames || addr.ip.is_empty() {
            true => &addr.host,
            false => addr.ip.as_bytes(),
        }
    }

    /// `host:port`, the name of a replica; an IPv6 address stands in brackets.
    pub(super) fn shown_with_port(&self, addr: &Addr) -> Vec<u8> {
        let host = self.shown(addr);
        match host.contains(&b':') {
            true => cat!["[", host, "]:", addr.port],
            false => cat![host, ":", addr.port],
        }
    }
}

/// Replicas of a master, and sentinels, that are remembered: what is said of them comes from outside.
pub(super) const MOST_MEMBERS: usize = 4096;

/// A master, a replica, or another sentinel in the eyes of one master.
#[derive(Debug)]
pub(super) struct Instance {
    pub(super) id: Id,
    pub(super) kind: Kind,
    pub(super) name: Vec<u8>,
    pub(super) addr: Addr,
    /// The run id; of a sentinel, its own id.
    pub(super) runid: Option<Vec<u8>>,
    pub(super) flags: u16,
    /// Which of `Core::links`.
    pub(super) link: Id,
    pub(super) down_after: Ms,
    pub(super) s_down_since: Option<Ms>,
    pub(super) o_down_since: Option<Ms>,
    pub(super) last_hello_sent: Ms,
    pub(super) info: Option<Vec<u8>>,
    pub(super) info_at: Option<Ms>,
    /// INFO is to be asked for before its time.
    pub(super) info_due: bool,
    /// The role of the last INFO, and since when it has been that.
    pub(super) role: Option<Kind>,
    pub(super) role_since: Ms,

    /// Of a replica, by its INFO: how long its link to the master has been down, ms.
    pub(super) link_down_for: Ms,
    pub(super) link_up: bool,
    pub(super) priority: i32,
    pub(super) announced: bool,
    pub(super) master_host: Option<Vec<u8>>,
    pub(super) master_port: i32,
    pub(super) offset: u64,
    /// When its master last changed.
    pub(super) conf_since: Ms,
    pub(super) reconf_sent: Ms,

    /// Of a sentinel: when it last said hello, and when it last answered whether the master is down.
    pub(super) last_hello: Ms,
    pub(super) last_down_reply: Ms,
    /// Of a sentinel, its last vote; of a master, that of this sentinel.
    pub(super) leader: Option<Vec<u8>>,
    pub(super) leader_epoch: u64,
}

impl Instance {
    pub(super) fn has(&self, flags: u16) -> bool {
        self.flags & flags != 0
    }

    pub(super) fn set(&mut self, flags: u16) {
        self.flags |= flags;
    }

    pub(super) fn clear(&mut self, flags: u16) {
        self.flags &= !flags;
    }

    /// Was there no word of its being down for so long?
    pub(super) fn no_down_for(&self, ms: Ms, now: Ms) -> bool {
        self.s_down_since.max(self.o_down_since).is_none_or(|since| now - since > ms)
    }
}

/// A master and what belongs to it.
#[derive(Debug)]
pub(super) struct Group {
    pub(super) master: Instance,
    pub(super) replicas: Vec<Instance>,
    pub(super) sentinels: Vec<Instance>,
    pub(super) quorum: u32,
    pub(super) parallel_syncs: i64,
    pub(super) config_epoch: u64,
    pub(super) failover_timeout: Ms,
    /// How long a master may be silent after it has started anew; 0 for as long as any other time.
    pub(super) reboot_down_after: Ms,
    pub(super) reboot_since: Ms,
    pub(super) pass: Option<Vec<u8>>,
    pub(super) user: Option<Vec<u8>>,
    /// Commands that have another name on these servers.
    pub(super) renames: Vec<(Vec<u8>, Vec<u8>)>,
    pub(super) notification_script: Option<Vec<u8>>,
    pub(super) client_reconfig_script: Option<Vec<u8>>,
    pub(super) failover: Failover,
}

impl Group {
    fn members(&self) -> impl Iterator<Item = &Instance> {
        std::iter::once(&self.master).chain(&self.replicas).chain(&self.sentinels)
    }

    fn members_mut(&mut self) -> impl Iterator<Item = &mut Instance> {
        std::iter::once(&mut self.master).chain(&mut self.replicas).chain(&mut self.sentinels)
    }

    pub(super) fn ids(&self) -> Vec<Id> {
        self.members().map(|i| i.id).collect()
    }

    pub(super) fn get(&self, id: Id) -> Option<&Instance> {
        self.members().find(|i| i.id == id)
    }

    pub(super) fn get_mut(&mut self, id: Id) -> Option<&mut Instance> {
        self.members_mut().find(|i| i.id == id)
    }

    pub(super) fn replica_ids(&self) -> Vec<Id> {
        self.replicas.iter().map(|i| i.id).collect()
    }

    pub(super) fn sentinel_ids(&self) -> Vec<Id> {
        self.sentinels.iter().map(|i| i.id).collect()
    }

    pub(super) fn promoted(&self) -> Option<&Instance> {
        self.failover.promoted.and_then(|id| self.get(id))
    }

    /// Where the master is; the promoted replica as soon as it works as one.
    pub(super) fn current_addr(&self) -> &Addr {
        let done = self.master.has(flag::FAILOVER) && self.failover.state.has_promoted();
        self.promoted().filter(|_| done).map_or(&self.master.addr, |i| &i.addr)
    }

    pub(super) fn set_down_after(&mut self, ms: Ms) {
        self.members_mut().for_each(|i| i.down_after = ms);
    }

    /// The name that a command has on these servers.
    pub(super) fn command<'a>(&'a self, name: &'a str) -> &'a [u8] {
        let renamed = self.renames.iter().find(|(old, _)| old.eq_ignore_ascii_case(name.as_bytes()));
        renamed.map_or(name.as_bytes(), |(_, new)| new)
    }
}

/// What a reply is the answer to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Awaits {
    Nothing,
    Ping,
    Info,
    Publish,
    MasterDown,
}

/// A connection for commands. Replies come in the order of `pending`, each for an instance.
#[derive(Debug)]
pub(super) struct CommandConn {
    pub(super) id: ConnId,
    pub(super) since: Ms,
    /// Our address on it, once it stands.
    pub(super) local: Option<String>,
    pub(super) pending: VecDeque<(Id, Awaits)>,
}

/// A connection that listens to hellos.
#[derive(Debug)]
pub(super) struct MessageConn {
    pub(super) id: ConnId,
    pub(super) since: Ms,
    pub(super) last_message: Ms,
    /// Replies to come before the subscription's.
    pub(super) pending: usize,
}

/// The connections to a server, and when it last showed life.
#[derive(Debug)]
pub(super) struct Link {
    /// Instances that use it.
    pub(super) users: usize,
    /// One of the connections that it should have is missing.
    pub(super) disconnected: bool,
    pub(super) commands: Option<CommandConn>,
    pub(super) messages: Option<MessageConn>,
    /// The oldest PING that has not been answered, and the last one.
    pub(super) ping_waits: Option<Ms>,
    pub(super) last_ping: Option<Ms>,
    /// The last answer to PING that counts as life, and the last one of any kind.
    pub(super) last_ok: Ms,
    pub(super) last_pong: Ms,
    pub(super) last_dial: Option<Ms>,
}

impl Link {
    /// A connection that has never been tried counts as silent from now on.
    fn new(now: Ms) -> Link {
        Link {
            users: 1,
            disconnected: true,
            commands: None,
            messages: None,
            ping_waits: Some(now),
            last_ping: None,
            last_ok: now,
            last_pong: now,
            last_dial: None,
        }
    }

    pub(super) fn pending(&self) -> usize {
        let commands = self.commands.as_ref().map_or(0, |c| c.pending.len());
        commands + self.messages.as_ref().map_or(0, |m| m.pending)
    }
}

impl Core {
    /// An instance that is not connected yet.
    pub(super) fn new_instance(
        &mut self,
        kind: Kind,
        name: Vec<u8>,
        addr: Addr,
        down_after: Ms,
    ) -> Instance {
        let (now, link) = (self.now(), self.new_id());
        self.links.insert(link, Link::new(now));
        Instance {
            id: self.new_id(),
            kind,
            name,
            addr,
            runid: None,
            flags: 0,
            link,
            down_after,
            s_down_since: None,
            o_down_since: None,
            last_hello_sent: now,
            info: None,
            info_at: None,
            info_due: false,
            role: (kind != Kind::Sentinel).then_some(kind),
            role_since: now,
            link_down_for: 0,
            link_up: false,
            priority: 100,
            announced: true,
            master_host: None,
            master_port: 0,
            offset: 0,
            conf_since: now,
            reconf_sent: now,
            last_hello: now,
            last_down_reply: now,
            leader: None,
            leader_epoch: 0,
        }
    }

    pub(super) fn new_group(&mut self, name: Vec<u8>, addr: Addr, quorum: u32) -> Group {
        Group {
            master: self.new_instance(Kind::Master, name, addr, self.periods.default_down_after),
            replicas: Vec::new(),
            sentinels: Vec::new(),
            quorum,
            parallel_syncs: 1,
            config_epoch: 0,
            failover_timeout: self.periods.default_failover_timeout,
            reboot_down_after: 0,
            reboot_since: 0,
            pass: None,
            user: None,
            renames: Vec::new(),
            notification_script: None,
            client_reconfig_script: None,
            failover: Failover::default(),
        }
    }

    /// Adds a replica, unless one of that name is there; its number.
    pub(super) fn add_replica(&mut self, group: &mut Group, addr: Addr) -> Option<Id> {
        let name = self.shown_with_port(&addr);
        if group.replicas.len() >= MOST_MEMBERS || group.replicas.iter().any(|r| r.name == name) {
            return None;
        }
        let replica = self.new_instance(Kind::Replica, name, addr, group.master.down_after);
        let id = replica.id;
        group.replicas.push(replica);
        Some(id)
    }

    pub(super) fn link(&self, instance: &Instance) -> Option<&Link> {
        self.links.get(&instance.link)
    }

    pub(super) fn link_mut(&mut self, instance: &Instance) -> Option<&mut Link> {
        self.links.get_mut(&instance.link)
    }

    /// Does its link lack a connection?
    pub(super) fn is_cut(&self, instance: &Instance) -> bool {
        self.link(instance).is_none_or(|l| l.disconnected)
    }

    /// The instance goes: its link, too, unless others use it.
    pub(super) fn release(&mut self, instance: &Instance) {
        let Some(link) = self.links.get_mut(&instance.link) else { return };
        link.users = link.users.saturating_sub(1);
        if link.users == 0 {
            self.close_link(instance.link);
            self.links.remove(&instance.link);
        } else if let Some(c) = &mut link.commands {
            for (owner, awaits) in c.pending.iter_mut().filter(|(owner, _)| *owner == instance.id) {
                (*owner, *awaits) = (0, Awaits::Nothing);
            }
        }
    }

    pub(super) fn close_commands(&mut self, link: Id) {
        let Some(link) = self.links.get_mut(&link) else { return };
        if let Some(c) = link.commands.take() {
            link.disconnected = true;
            self.out.push(super::Action::Close(c.id));
        }
    }

    pub(super) fn close_messages(&mut self, link: Id) {
        let Some(link) = self.links.get_mut(&link) else { return };
        if let Some(m) = link.messages.take() {
            link.disconnected = true;
            self.out.push(super::Action::Close(m.id));
        }
    }

    pub(super) fn close_link(&mut self, link: Id) {
        self.close_commands(link);
        self.close_messages(link);
    }
}

impl super::Sentinel {
    /// The group and the number of an instance, by its number.
    pub(super) fn owner_of(&self, id: Id) -> Option<usize> {
        self.groups.iter().position(|g| g.get(id).is_some())
    }

    /// A sentinel that is known from another master too: one link serves both.
    pub(super) fn share_link(&mut self, at: usize, id: Id) {
        let Some(me) = self.groups.get(at).and_then(|g| g.get(id)) else { return };
        let Some(runid) = me.runid.clone() else { return };
        let own = me.link;
        if self.core.links.get(&own).is_some_and(|l| l.users > 1) {
            return;
        }
        let others = self.groups.iter().enumerate().filter(|(n, _)| *n != at);
        let same = others.flat_map(|(_, g)| &g.sentinels).find(|s| s.runid.as_ref() == Some(&runid));
        let Some(link) = same.map(|s| s.link) else { return };
        self.core.close_link(own);
        self.core.links.remove(&own);
        if let Some(l) = self.core.links.get_mut(&link) {
            l.users += 1;
        }
        if let Some(me) = self.groups.get_mut(at).and_then(|g| g.get_mut(id)) {
            me.link = link;
        }
    }

    /// Removes the sentinels of that id from a group; were there any?
    pub(super) fn remove_sentinel(&mut self, at: usize, runid: &[u8]) -> bool {
        let Some(g) = self.groups.get_mut(at) else { return false };
        let (gone, kept) = std::mem::take(&mut g.sentinels)
            .into_iter()
            .partition(|s| s.runid.as_deref() == Some(runid));
        g.sentinels = kept;
        let gone: Vec<Instance> = gone;
        gone.iter().for_each(|s| self.core.release(s));
        !gone.is_empty()
    }
}
