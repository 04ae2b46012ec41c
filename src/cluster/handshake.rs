//! How nodes come and go: MEET, the handshake that follows, forgetting, and the list of the forgotten.

use super::links::LinkId;
use super::nodes::{Node, NodeId, random_name, text};
use super::{Cluster, Cx};
use crate::proto::bus::{Flags, Header, Name};
use crate::sys::log::Level;
use std::net::IpAddr;

/// A node that was forgotten is not taken from gossip for so long.
pub(super) const BLACKLIST_MS: u64 = 60_000;
/// Names that are kept on the list at most: gossip adds to it.
const BLACKLIST_MAX: usize = 4096;

impl Cluster {
    pub(super) fn handshake_timeout(&self) -> u64 {
        self.settings.node_timeout.max(1000)
    }

    /// Adds a node of a random name to shake hands with, unless that is under way.
    pub(super) fn start_handshake(
        &mut self,
        ip: IpAddr,
        ports: (u16, u16),
        bus_port: u16,
        flags: Flags,
        now: u64,
    ) {
        let tls = self.settings.tls_cluster;
        let same = |n: &Node| {
            n.is_handshake() && n.ip == Some(ip) && n.ports(tls).0 == ports.0 && n.bus_port == bus_port
        };
        if self.nodes.iter().any(|(_, n)| same(n)) {
            return;
        }
        let mut node = Node::new(random_name(&mut self.rng), flags.with(Flags::HANDSHAKE), now);
        node.ip = Some(ip);
        node.set_ports(ports, tls);
        node.bus_port = bus_port;
        // No room for it: it may be met again.
        self.nodes.add(node);
    }

    /// A MEET of a node that is not known: the handshake goes back to it.
    pub(super) fn met(&mut self, link: LinkId, header: &Header<'_>, cx: &mut Cx<'_>) {
        let Some(ip) = self.address_of(link, header).filter(|_| header.bus_port != 0) else { return };
        let ports = (header.port, header.other_port);
        self.start_handshake(ip, ports, header.bus_port, Flags::default(), cx.now());
        self.saves.due = true;
    }

    /// Ends the handshake of the link, if there is one. False: the node of the link is gone.
    pub(super) fn handshake(
        &mut self,
        link: LinkId,
        sender: Option<NodeId>,
        header: &Header<'_>,
        cx: &mut Cx<'_>,
    ) -> bool {
        let Some(id) = self.links.get(link).filter(|l| !l.inbound).and_then(|l| l.node) else {
            return true;
        };
        if !self.nodes.get(id).is_some_and(Node::is_handshake) {
            return true;
        }
        if let Some(sender) = sender {
            let shown = self.nodes.get(sender).map(Node::shown).unwrap_or_default();
            let text =
                format!("Handshake: we already know node {shown}, updating the address if needed.");
            cx.log(Level::Verbose, text);
            // The handshake has reached it there, whatever its header says of the address.
            let seen = self.nodes.get(id).map(|n| n.ip);
            let header = Header { ip: header.ip.or(seen.flatten()), ..*header };
            self.update_address(sender, link, &header, cx);
            self.remove_node(id, cx);
            return false;
        }
        if !self.nodes.rename(id, *header.sender) {
            // Another handshake has that name.
            self.remove_node(id, cx);
            return false;
        }
        cx.log(Level::Debug, format!("Handshake with node {} completed.", text(header.sender)));
        if let Some(node) = self.nodes.get_mut(id) {
            let role = if header.master.is_some() { Flags::REPLICA } else { Flags::MASTER };
            node.flags.set(Flags::HANDSHAKE, false);
            node.flags.set(role, true);
        }
        self.saves.due = true;
        true
    }

    /// Takes a node out, with its slots and links.
    pub(super) fn remove_node(&mut self, id: NodeId, cx: &mut Cx<'_>) {
        if id == self.nodes.me() {
            return;
        }
        self.unbind_all(id, cx);
        self.slots.migrating.retain(|_, n| *n != id);
        self.slots.importing.retain(|_, n| *n != id);
        let Some(node) = self.nodes.get(id) else { return };
        for link in [node.link, node.inbound].into_iter().flatten() {
            self.close(link, cx);
        }
        self.nodes.remove(id);
        self.manual_lost(id, cx);
        self.due.masks = true;
    }

    // ---- forgotten nodes -------------------------------------------------------------------------

    pub(super) fn blacklist(&mut self, name: Name, ttl: u64, now: u64) {
        self.blacklist.retain(|_, until| *until > now);
        if self.blacklist.len() < BLACKLIST_MAX {
            self.blacklist.insert(name, now + ttl.min(BLACKLIST_MS));
        }
    }

    pub(super) fn is_blacklisted(&self, name: &Name, now: u64) -> bool {
        self.blacklist.get(name).is_some_and(|until| *until > now)
    }

    /// Another node tells that this one was forgotten. Not this node, its master, or the teller.
    pub(super) fn told_to_forget(&mut self, name: &Name, seconds: u64, teller: NodeId, cx: &mut Cx<'_>) {
        let Some(id) = self.nodes.find(name) else { return };
        let kept = [Some(self.nodes.me()), self.nodes.myself().master, Some(teller)];
        if kept.contains(&Some(id)) {
            return;
        }
        self.blacklist(*name, seconds.saturating_mul(1000), cx.now());
        self.remove_node(id, cx);
        self.saves.due = true;
        self.due.state = true;
    }
}
