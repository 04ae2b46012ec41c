//! What comes in: a packet, its sender, and what its header says of the sender's role, epoch and address.
//! Claims of slots go on to `claims`, gossip and extensions to `gossip`.
//!
//! The two links of a pair are in no order to each other, so a header may be older than another that has
//! been read. One whose epoch is below what is known of its sender changes no role and takes no slot
//! (`is_stale`); a sender that goes on like that for longer than the timeout means it.

use super::links::LinkId;
use super::nodes::{Node, NodeId, text};
use super::slots::SlotSet;
use super::{Action, Cluster, Cx};
use crate::proto::bus::{self, Body, EXT_DATA, Flags, Header, Kind, Msg, PAUSED};
use crate::sys::log::Level;
use std::net::IpAddr;

/// No more epochs than these may pass at once: one forged packet must not use them up.
const EPOCH_JUMP: u64 = 1 << 40;

impl Cluster {
    pub(super) fn frame(&mut self, link: LinkId, bytes: &[u8], cx: &mut Cx<'_>) {
        if self.links.get(link).is_none() {
            return;
        }
        let msg = match bus::decode(bytes) {
            Ok(msg) => msg,
            Err(bad) => {
                cx.log(Level::Warning, bad.to_string());
                if bad.ends_link() {
                    self.close(link, cx);
                }
                return;
            }
        };
        let kind = msg.body.kind();
        self.stats.received[kind.index()] += 1;
        if self.drop_filter == Some(kind as u16) {
            return cx.log(Level::Warning, "Dropping packet that matches debug drop filter");
        }
        let known_epoch = self.current_epoch;
        let far = |epoch: u64| epoch > known_epoch.saturating_add(EPOCH_JUMP);
        let updated = if let Body::Update { config_epoch, .. } = msg.body { config_epoch } else { 0 };
        if [msg.header.current_epoch, msg.header.config_epoch, updated].into_iter().any(far) {
            let text = format!(
                "Received a {} packet from {} with an epoch far beyond all known ones, ignored",
                kind.name(),
                text(msg.header.sender)
            );
            return cx.log(Level::Warning, text);
        }
        if msg.header.sender == &self.nodes.myself().name {
            return self.from_myself(link, cx);
        }
        if !self.is_from_whom_it_should(link, &msg, cx) {
            return;
        }
        let sender = self.sender(link, &msg.header, cx);
        if let Some(sender) = sender {
            self.heard_of(sender, &msg.header, cx);
        }
        self.take(link, sender, &msg, cx);
    }

    /// A handshake with an address that turned out to be the own one ends.
    fn from_myself(&mut self, link: LinkId, cx: &mut Cx<'_>) {
        let node = self.links.get(link).and_then(|l| l.node);
        if let Some(id) = node.filter(|id| self.nodes.get(*id).is_some_and(Node::is_handshake)) {
            self.remove_node(id, cx);
        }
    }

    /// Over a link that was opened to a known node another one may answer: the address is another's now.
    fn is_from_whom_it_should(&mut self, link: LinkId, msg: &Msg<'_>, cx: &mut Cx<'_>) -> bool {
        let Some(id) = self.links.get(link).filter(|l| !l.inbound).and_then(|l| l.node) else {
            return true;
        };
        let Some(node) = self.nodes.get_mut(id).filter(|n| !n.is_handshake()) else { return true };
        if node.name == *msg.header.sender {
            return true;
        }
        let text = format!(
            "PONG contains mismatching sender ID. About node {} added {} ms ago, having flags {}",
            text(&node.name),
            cx.now().saturating_sub(node.created),
            node.flags.0
        );
        node.flags.set(Flags::NOADDR, true);
        (node.ip, node.port, node.tls_port, node.bus_port) = (None, 0, 0, 0);
        cx.log(Level::Debug, text);
        self.close(link, cx);
        self.saves.due = true;
        false
    }

    /// The known node that the packet is of; its link becomes that node's.
    fn sender(&mut self, link: LinkId, header: &Header<'_>, cx: &mut Cx<'_>) -> Option<NodeId> {
        let id = self.nodes.find(header.sender)?;
        if self.nodes.get(id).is_some_and(Node::is_handshake) {
            return None;
        }
        self.bind_link(link, id, cx);
        Some(id)
    }

    /// What every packet of a known node tells.
    fn heard_of(&mut self, id: NodeId, header: &Header<'_>, cx: &mut Cx<'_>) {
        let now = cx.now();
        if header.current_epoch > self.current_epoch {
            self.current_epoch = header.current_epoch;
            self.saves.due = true;
        }
        let Some(node) = self.nodes.get_mut(id) else { return };
        node.data_received = Some(now);
        node.offset = header.offset;
        // A replica speaks of its master's epoch.
        if header.master.is_none() && header.config_epoch > node.config_epoch {
            node.config_epoch = header.config_epoch;
            self.saves.due_with_fsync();
        }
        if self.nodes.myself().master == Some(id) && header.mflags & PAUSED != 0 {
            self.master_paused_at(header.offset, cx);
        }
    }

    fn take(&mut self, link: LinkId, sender: Option<NodeId>, msg: &Msg<'_>, cx: &mut Cx<'_>) {
        let header = &msg.header;
        match (msg.body, sender) {
            (Body::Ping(..) | Body::Pong(..) | Body::Meet(..), _) => {
                self.take_gossip(link, sender, msg, cx);
            }
            (Body::Fail(name), Some(sender)) => self.told_of_failure(sender, name, cx),
            (Body::Fail(name), None) => {
                let text = format!(
                    "Ignoring FAIL message from unknown node {} about {}",
                    text(header.sender),
                    text(name)
                );
                cx.log(Level::Notice, text);
            }
            (_, None) => {}
            (Body::Publish { shard, channel, message }, Some(_)) => {
                let (channel, message) = (channel.to_vec(), message.to_vec());
                cx.out.push(Action::Publish { shard, channel, message });
            }
            (Body::AuthRequest, Some(sender)) => self.vote(sender, header, cx),
            (Body::AuthAck, Some(sender)) => self.voted_for_me(sender, header),
            (Body::Update { config_epoch, node, slots }, Some(_)) => {
                self.update(node, config_epoch, slots, cx);
            }
            (Body::MfStart, Some(sender)) => self.manual_requested(sender, cx),
            (Body::Module { module, kind, payload }, Some(_)) => {
                let (sender, payload) = (*header.sender, payload.to_vec());
                cx.out.push(Action::Module { sender, module, kind, payload });
            }
        }
    }

    // ---- PING, PONG, MEET ------------------------------------------------------------------------

    fn take_gossip(&mut self, link: LinkId, sender: Option<NodeId>, msg: &Msg<'_>, cx: &mut Cx<'_>) {
        let (kind, header) = (msg.body.kind(), &msg.header);
        let (Body::Ping(entries, exts) | Body::Pong(entries, exts) | Body::Meet(entries, exts)) =
            msg.body
        else {
            return;
        };
        if kind != Kind::Pong {
            self.learn_own_ip(link, kind, cx);
            if sender.is_none() && kind == Kind::Meet {
                self.met(link, header, cx);
            }
            self.send_gossip(link, Kind::Pong, cx);
        }
        if !self.handshake(link, sender, header, cx) {
            return;
        }
        if kind == Kind::Pong {
            self.answered(link, cx);
        }
        // A handshake that has ended just now: its link leads to a node of this name.
        let Some(id) = sender.or_else(|| self.sender(link, header, cx)) else { return };
        if kind == Kind::Ping && sender.is_some() {
            self.update_address(id, link, header, cx);
        }
        if let Some(node) = self.nodes.get_mut(id) {
            let refuses = header.flags.has(Flags::NOFAILOVER);
            node.flags.set(Flags::NOFAILOVER, refuses);
            // Packets without gossip have the flag from some versions only.
            node.extensions = Some(header.mflags & EXT_DATA != 0);
        }
        let stale = self.is_stale(id, header, cx.now());
        if !stale {
            self.take_role(id, header, cx);
        }
        self.take_claims(id, header, stale, cx);
        self.settle_collision(id, header, cx);
        self.gossip(id, entries, cx);
        self.take_extensions(id, exts, cx);
    }

    /// A PING says where this node is seen; MEET is believed more.
    fn learn_own_ip(&mut self, link: LinkId, kind: Kind, cx: &mut Cx<'_>) {
        let known = self.nodes.myself().ip;
        if self.announced_ip.is_some() || (kind != Kind::Meet && known.is_some()) {
            return;
        }
        let Some(ip) = self.links.get(link).and_then(|l| l.local) else { return };
        if known != Some(ip) {
            self.nodes.myself_mut().ip = Some(ip);
            cx.log(Level::Notice, format!("IP address for this node updated to {ip}"));
            self.saves.due = true;
        }
    }

    /// The node has answered the PING of this link.
    fn answered(&mut self, link: LinkId, cx: &mut Cx<'_>) {
        let Some(id) = self.links.get(link).filter(|l| !l.inbound).and_then(|l| l.node) else { return };
        let Some(node) = self.nodes.get_mut(id) else { return };
        node.pong_received = Some(cx.now());
        node.ping_sent = None;
        if node.flags.has(Flags::PFAIL) {
            node.flags.set(Flags::PFAIL, false);
            self.saves.due = true;
            self.due.state = true;
        } else if node.is_failed() {
            self.clear_failure(id, cx);
        }
    }

    /// Where a packet over this link comes from.
    pub(super) fn address_of(&self, link: LinkId, header: &Header<'_>) -> Option<IpAddr> {
        header.ip.or_else(|| self.links.get(link)?.peer)
    }

    /// Another address than the known one: the link out is opened again, to there. Was it another?
    pub(super) fn update_address(
        &mut self,
        id: NodeId,
        link: LinkId,
        header: &Header<'_>,
        cx: &mut Cx<'_>,
    ) -> bool {
        let tls = self.settings.tls_cluster;
        let Some(ip) = self.address_of(link, header) else { return false };
        let Some(node) = self.nodes.get_mut(id).filter(|n| n.link != Some(link)) else { return false };
        let ports = (header.port, header.other_port);
        if (node.ip, node.ports(tls), node.bus_port) == (Some(ip), ports, header.bus_port) {
            return false;
        }
        node.ip = Some(ip);
        node.set_ports(ports, tls);
        node.bus_port = header.bus_port;
        node.flags.set(Flags::NOADDR, false);
        let text = format!("Address updated for node {}, now {ip}:{}", node.shown(), header.port);
        cx.log(Level::Notice, text);
        if let Some(out) = node.link {
            self.close(out, cx);
        }
        if self.nodes.myself().master == Some(id) {
            self.follow(cx);
        }
        self.saves.due = true;
        self.due.state = true;
        true
    }

    // ---- roles -----------------------------------------------------------------------------------

    fn is_stale(&mut self, id: NodeId, header: &Header<'_>, now: u64) -> bool {
        let timeout = self.settings.node_timeout;
        let Some(node) = self.nodes.get(id) else { return true };
        let speaks_for = self.nodes.master_of(id).unwrap_or(node);
        let older = header.config_epoch < speaks_for.config_epoch.max(node.told_epoch);
        let stale = older
            && match (node.is_master(), header.master) {
                (true, None) => true,
                (true, Some(_)) => node.slots.count() > 0,
                (false, None) => header.slots.iter().any(|b| *b != 0),
                (false, Some(_)) => false,
            };
        let begins = !node.is_master() && header.master.is_none();
        let Some(node) = self.nodes.get_mut(id) else { return true };
        if !stale {
            node.stale_since = None;
            // A replica that was reset is a master of its own epoch.
            let known = if begins { 0 } else { node.told_epoch };
            node.told_epoch = header.config_epoch.max(known);
            return false;
        }
        now.saturating_sub(*node.stale_since.get_or_insert(now)) <= timeout
    }

    /// A master that has lost its place tells of its heir: the slots go over at once, and are served by no
    /// node only if nothing is known of the heir.
    fn take_heir(&mut self, id: NodeId, header: &Header<'_>, cx: &mut Cx<'_>) {
        let heir = header.master.and_then(|name| self.nodes.find(name));
        let Some(heir) = heir.filter(|h| *h != self.nodes.me() && *h != id) else { return };
        let (Some(old), Some(new)) = (self.nodes.get(id), self.nodes.get(heir)) else { return };
        let epoch = header.config_epoch;
        if new.is_handshake() || epoch <= old.config_epoch || epoch < new.config_epoch {
            return;
        }
        // Of what it says of its heir only what was its own is its to tell.
        let told = SlotSet::of_bytes(header.slots);
        let given: SlotSet = old.slots.iter().filter(|slot| told.has(*slot)).collect();
        self.becomes_master(heir);
        if let Some(new) = self.nodes.get_mut(heir) {
            new.config_epoch = epoch;
        }
        self.saves.due_with_fsync();
        let known = self.nodes.get(heir).map(|n| n.slots.clone()).unwrap_or_default();
        let claimed =
            known.iter().chain(given.iter()).filter(|s| !self.slots.unclaimed.has(*s)).collect();
        self.take_slots(heir, epoch, &claimed, cx);
    }

    fn take_role(&mut self, id: NodeId, header: &Header<'_>, cx: &mut Cx<'_>) {
        let Some(name) = header.master else { return self.becomes_master(id) };
        if self.nodes.get(id).is_some_and(Node::is_master) {
            self.take_heir(id, header, cx);
            self.unbind_all(id, cx);
            let Some(node) = self.nodes.get_mut(id) else { return };
            node.flags.set(Flags::MASTER.with(Flags::MIGRATE_TO), false);
            node.flags.set(Flags::REPLICA, true);
            self.saves.due = true;
            self.due.state = true;
        } else if let Some(node) = self.nodes.get_mut(id).filter(|n| !n.is_replica()) {
            node.flags.set(Flags::REPLICA, true);
        }
        let Some(master) = self.nodes.find(name).filter(|m| *m != id) else { return };
        let known = self.nodes.get(id).and_then(|n| n.master);
        if known == Some(master) {
            return;
        }
        let mine = self.nodes.myself().master;
        self.nodes.set_master(id, Some(master));
        let top = self.nodes.get(id).and_then(|n| n.master);
        if top != known {
            if let Some(shard) = top.and_then(|m| self.nodes.get(m)).map(|m| m.shard) {
                self.set_shard(id, shard);
            }
            self.saves.due = true;
        }
        self.follow_grandmaster(mine, cx);
    }

    /// The master of this node has become a replica itself, and this one stands below the same master now.
    fn follow_grandmaster(&mut self, before: Option<NodeId>, cx: &mut Cx<'_>) {
        let Some(master) = self.nodes.myself().master.filter(|m| Some(*m) != before) else { return };
        let Some(shown) = self.nodes.get(master).map(Node::shown) else { return };
        let text =
            format!("I'm a sub-replica! Reconfiguring myself as a replica of grandmaster {shown}");
        cx.log(Level::Notice, text);
        self.master_changed(cx);
    }

    pub(super) fn becomes_master(&mut self, id: NodeId) {
        let me = self.nodes.me();
        let Some(node) = self.nodes.get_mut(id).filter(|n| !n.is_master()) else { return };
        let followed = node.master.is_some();
        node.flags.set(Flags::REPLICA, false);
        node.flags.set(Flags::MASTER, true);
        self.nodes.set_master(id, None);
        if followed
            && id != me
            && let Some(node) = self.nodes.get_mut(id)
        {
            node.flags.set(Flags::MIGRATE_TO, true);
        }
        self.saves.due = true;
        self.due.state = true;
    }

    // ---- this node's master ----------------------------------------------------------------------

    /// Makes this node a replica of another one. It owns no slot any more.
    pub(super) fn set_my_master(&mut self, master: NodeId, cx: &mut Cx<'_>) {
        let me = self.nodes.me();
        debug_assert!(master != me && self.nodes.myself().slots.count() == 0);
        if self.nodes.myself().is_master() {
            let node = self.nodes.myself_mut();
            node.flags.set(Flags::MASTER.with(Flags::MIGRATE_TO), false);
            node.flags.set(Flags::REPLICA, true);
            self.slots.migrating.clear();
            self.slots.importing.clear();
        }
        // The channels of the shard that this node leaves, if it was a replica of another one.
        let before = self.nodes.master_of(me).map(|m| m.slots.clone()).unwrap_or_default();
        before.iter().for_each(|slot| _ = self.left.insert(slot));
        self.nodes.set_master(me, Some(master));
        self.master_changed(cx);
    }

    fn master_changed(&mut self, cx: &mut Cx<'_>) {
        let me = self.nodes.me();
        if let Some(shard) = self.nodes.master_of(me).map(|m| m.shard) {
            self.set_shard(me, shard);
        }
        self.follow(cx);
        self.end_manual(cx);
        self.election.forget();
        self.saves.due_with_fsync();
        self.due.state = true;
        self.due.masks = true;
    }

    /// Points replication to where the master is. Without an address the tick tries again.
    pub(super) fn follow(&mut self, cx: &mut Cx<'_>) {
        if let Some((ip, port)) = self.begin_to_follow() {
            cx.out.push(Action::Follow { ip, port });
        }
    }

    /// Where this node's master is, if it has one and that is known: replication is pointed there. Asked at
    /// the start, before the data are loaded.
    pub(crate) fn begin_to_follow(&mut self) -> Option<(IpAddr, u16)> {
        let (master, tls) = (self.nodes.master_of(self.nodes.me()), self.settings.tls_replication);
        let port = |n: &Node| if tls { n.tls_port } else { n.port };
        let address = master.and_then(|n| Some((n.ip?, port(n))));
        self.following = address.is_some();
        address
    }

    pub(super) fn set_shard(&mut self, id: NodeId, shard: bus::Name) {
        let me = self.nodes.me();
        let Some(node) = self.nodes.get_mut(id) else { return };
        if node.shard != shard {
            node.shard = shard;
            self.saves.due = true;
        }
        if self.nodes.myself().master == Some(id) && self.nodes.myself().shard != shard {
            self.nodes.get_mut(me).expect("this node is never removed").shard = shard;
            self.saves.due_with_fsync();
        }
    }
}
