//! What nodes tell of each other: which entries go out, and what is believed of those that come in.

use super::nodes::{Node, NodeId};
use super::{Cluster, Cx};
use crate::proto::bus::{Entries, Ext, Exts, Flags, Gossip, put_entry, put_ext};
use crate::sys::log::Level;

/// A pong of the future is taken for one of a clock that is a little ahead, up to here.
const AHEAD_MS: u64 = 500;

impl Cluster {
    // ---- out -------------------------------------------------------------------------------------

    /// Some nodes drawn at random, and all that this one does not reach.
    pub(super) fn gossip_entries(&mut self, to: Option<NodeId>, cx: &Cx<'_>) -> Vec<u8> {
        let fresh = self.nodes.len().saturating_sub(2);
        let wanted = (self.nodes.len() / 10).max(3).min(fresh);
        let mut chosen: Vec<NodeId> = Vec::with_capacity(wanted + 4);
        let hidden = Flags::HANDSHAKE.with(Flags::NOADDR).with(Flags::MYSELF);
        for _ in 0..wanted * 3 {
            if chosen.len() >= wanted {
                break;
            }
            let Some(id) = self.nodes.random(&mut self.rng) else { continue };
            let Some(node) = self.nodes.get(id) else { continue };
            let useless = node.link.is_none() && node.slots.count() == 0;
            if node.flags.has(hidden.with(Flags::PFAIL)) || useless || Some(id) == to {
                continue;
            }
            if !chosen.contains(&id) {
                chosen.push(id);
            }
        }
        let doubtful = |n: &Node| n.flags.has(Flags::PFAIL) && !n.flags.has(hidden);
        chosen.extend(self.nodes.iter().filter(|(_, n)| doubtful(n)).map(|(id, _)| id));
        chosen.truncate(usize::from(u16::MAX));
        let mut bytes = Vec::with_capacity(chosen.len() * crate::proto::bus::ENTRY);
        for node in chosen.into_iter().filter_map(|id| self.nodes.get(id)) {
            let (port, other_port) = node.ports(self.settings.tls_cluster);
            let seconds = |at: Option<u64>| at.map_or(0, |at| (cx.wall(at) / 1000) as u32);
            let gossip = Gossip {
                name: &node.name,
                ping_sent: seconds(node.ping_sent),
                pong_received: seconds(node.pong_received),
                ip: node.ip,
                port,
                bus_port: node.bus_port,
                other_port,
                flags: node.flags,
            };
            put_entry(&mut bytes, &gossip);
        }
        bytes
    }

    /// What this node says of itself and of the forgotten.
    pub(super) fn extensions(&self, now: u64) -> (Vec<u8>, u16) {
        let me = self.nodes.myself();
        let (mut bytes, mut count) = (Vec::new(), 0);
        let mut put = |ext: Ext<'_>| {
            put_ext(&mut bytes, &ext);
            count += 1;
        };
        if !me.hostname.is_empty() {
            put(Ext::Hostname(&me.hostname));
        }
        if !me.nodename.is_empty() {
            put(Ext::Nodename(me.nodename.as_bytes()));
        }
        for (node, until) in self.blacklist.iter().filter(|(_, until)| **until > now) {
            put(Ext::Forgotten { node, seconds: (until - now).div_ceil(1000) });
        }
        put(Ext::Shard(&me.shard));
        (bytes, count)
    }

    // ---- in --------------------------------------------------------------------------------------

    /// `met`: the entries of a MEET, which are trusted without a known sender.
    pub(super) fn gossip(&mut self, sender: NodeId, entries: Entries<'_>, cx: &mut Cx<'_>) {
        for entry in entries.iter() {
            match self.nodes.find(entry.name) {
                Some(id) => self.gossip_of_known(id, sender, &entry, cx),
                None => self.gossip_of_unknown(&entry, cx.now()),
            }
        }
    }

    fn gossip_of_known(&mut self, id: NodeId, sender: NodeId, entry: &Gossip<'_>, cx: &mut Cx<'_>) {
        let now = cx.now();
        let doubtful = entry.flags.has(Flags::FAIL.with(Flags::PFAIL));
        let votes = self.nodes.get(sender).is_some_and(Node::is_master);
        if votes && id != self.nodes.me() && id != sender {
            self.report(id, sender, doubtful, cx);
        }
        let reports = self.count_reports(id, now);
        let tls = self.settings.tls_cluster;
        let Some(node) = self.nodes.get_mut(id) else { return };
        let pong = u64::from(entry.pong_received) * 1000;
        if !doubtful
            && pong > 0
            && node.ping_sent.is_none()
            && reports == 0
            && let Some(at) = cx.mono(pong, AHEAD_MS)
        {
            node.pong_received = node.pong_received.max(Some(at));
        }
        let there = (entry.ip, (entry.port, entry.other_port), entry.bus_port);
        let reached = !doubtful && !entry.flags.has(Flags::NOADDR) && entry.bus_port != 0;
        let moved = there != (node.ip, node.ports(tls), node.bus_port);
        if node.is_doubtful() && reached && entry.ip.is_some() && moved {
            node.ip = entry.ip;
            node.set_ports((entry.port, entry.other_port), tls);
            node.bus_port = entry.bus_port;
            node.flags.set(Flags::NOADDR, false);
            if let Some(link) = node.link {
                self.close(link, cx);
            }
            if self.nodes.myself().master == Some(id) {
                self.follow(cx);
            }
            self.saves.due = true;
        }
    }

    fn gossip_of_unknown(&mut self, entry: &Gossip<'_>, now: u64) {
        let placed = entry.ip.is_some() && entry.bus_port != 0 && !entry.flags.has(Flags::NOADDR);
        if !placed || self.is_blacklisted(entry.name, now) {
            return;
        }
        let role = Flags::MASTER.with(Flags::REPLICA).with(Flags::NOFAILOVER);
        let mut node = Node::new(*entry.name, entry.flags.only(role), now);
        node.ip = entry.ip;
        node.set_ports((entry.port, entry.other_port), self.settings.tls_cluster);
        node.bus_port = entry.bus_port;
        self.nodes.add(node);
        self.saves.due = true;
    }

    /// What is missing is what the node does not have any more.
    pub(super) fn take_extensions(&mut self, id: NodeId, exts: Exts<'_>, cx: &mut Cx<'_>) {
        let (mut hostname, mut nodename, mut shard) = ("", &b""[..], None);
        for ext in exts.iter() {
            match ext {
                Ext::Hostname(text) => hostname = text,
                Ext::Nodename(text) => nodename = text,
                Ext::Shard(name) => shard = Some(*name),
                Ext::Forgotten { node, seconds } => self.told_to_forget(node, seconds, id, cx),
            }
        }
        let above = self.nodes.master_of(id).map(|m| m.shard);
        let Some(node) = self.nodes.get_mut(id) else { return };
        if node.hostname != hostname {
            node.hostname = hostname.into();
            self.saves.due = true;
        }
        if node.nodename.as_bytes() != nodename {
            node.nodename = String::from_utf8_lossy(nodename).into_owned();
        }
        if let Some(shard) = shard.or(above) {
            self.set_shard(id, shard);
        }
    }

    // ---- reports of failure ----------------------------------------------------------------------

    fn report(&mut self, id: NodeId, sender: NodeId, doubtful: bool, cx: &mut Cx<'_>) {
        let now = cx.now();
        let teller = self.nodes.get(sender).map(Node::shown).unwrap_or_default();
        let Some(node) = self.nodes.get_mut(id) else { return };
        let known = node.reports.iter_mut().find(|(reporter, _)| *reporter == sender);
        if doubtful {
            match known {
                Some((_, at)) => *at = now,
                None => {
                    node.reports.push((sender, now));
                    let text = format!("Node {teller} reported node {} as not reachable.", node.shown());
                    cx.log(Level::Verbose, text);
                }
            }
            self.mark_failed_if_agreed(id, cx);
        } else if known.is_some() {
            node.reports.retain(|(reporter, _)| *reporter != sender);
            let text = format!("Node {teller} reported node {} is back online.", node.shown());
            cx.log(Level::Verbose, text);
        }
    }

    /// Reports that are not too old; the others go.
    pub(super) fn count_reports(&mut self, id: NodeId, now: u64) -> usize {
        let valid = 2 * self.settings.node_timeout;
        let Some(node) = self.nodes.get_mut(id) else { return 0 };
        node.reports.retain(|(_, at)| now.saturating_sub(*at) <= valid);
        node.reports.len()
    }
}
