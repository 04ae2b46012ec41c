//! Connections of the bus, and what goes out over them.
//!
//! Each pair of nodes has two: packets and their answers go over the one that this node has opened, answers
//! to the other's packets over the one that it has accepted. One that was accepted is a stranger until its
//! first packet names a known node.

use super::nodes::{Node, NodeId};
use super::{Action, Cluster, Cx, Env, Now};
use crate::proto::bus::SlotBytes;
use crate::proto::bus::{
    self, Bad, Body, EXT_DATA, Entries, Exts, FORCE_ACK, Flags, Header, Kind, Name, PAUSED,
};
use crate::sys::log::Level;
use std::net::IpAddr;
use std::sync::Arc;

/// A connection of the bus.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct LinkId {
    pub index: u32,
    pub generation: u32,
}

#[derive(Debug)]
pub(super) struct Link {
    pub node: Option<NodeId>,
    pub inbound: bool,
    /// Not being dialed any more.
    pub open: bool,
    /// The other end of one that was accepted.
    pub peer: Option<IpAddr>,
    /// The own end.
    pub local: Option<IpAddr>,
    pub created: Now,
}

#[derive(Debug, Default)]
pub(super) struct Links {
    places: Vec<(u32, Option<Link>)>,
    free: Vec<u32>,
}

impl Links {
    fn add(&mut self, link: Link) -> LinkId {
        let index = self.free.pop().unwrap_or_else(|| {
            self.places.push((1, None));
            (self.places.len() - 1) as u32
        });
        let place = &mut self.places[index as usize];
        place.1 = Some(link);
        LinkId { index, generation: place.0 }
    }

    pub fn get(&self, id: LinkId) -> Option<&Link> {
        self.places.get(id.index as usize).filter(|p| p.0 == id.generation)?.1.as_ref()
    }

    pub fn get_mut(&mut self, id: LinkId) -> Option<&mut Link> {
        self.places.get_mut(id.index as usize).filter(|p| p.0 == id.generation)?.1.as_mut()
    }

    fn remove(&mut self, id: LinkId) -> Option<Link> {
        let place = self.places.get_mut(id.index as usize).filter(|p| p.0 == id.generation)?;
        let link = place.1.take()?;
        place.0 = place.0.wrapping_add(1);
        self.free.push(id.index);
        Some(link)
    }

    pub fn iter(&self) -> impl Iterator<Item = (LinkId, &Link)> {
        self.places.iter().enumerate().filter_map(|(index, (generation, link))| {
            let id = LinkId { index: index as u32, generation: *generation };
            link.as_ref().map(|link| (id, link))
        })
    }

    pub fn len(&self) -> usize {
        self.places.len() - self.free.len()
    }

    fn strangers(&self) -> usize {
        self.iter().filter(|(_, l)| l.inbound && l.node.is_none()).count()
    }
}

/// What headers say of this node; kept aside while a claim is not on disk.
#[derive(Clone, Debug)]
pub(super) struct Published {
    pub current_epoch: u64,
    config_epoch: u64,
    flags: Flags,
    master: Option<Name>,
    slots: SlotBytes,
    failed: bool,
}

/// Packets of nodes that ask for this many links at once are refused beyond it.
const STRANGERS: usize = 64;

impl Cluster {
    // ---- connections -----------------------------------------------------------------------------

    /// A connection has come in. None: it is to be closed at once.
    pub(crate) fn accept(
        &mut self,
        peer: IpAddr,
        local: Option<IpAddr>,
        env: &Env<'_>,
    ) -> Option<LinkId> {
        let loads = env.loading && self.nodes.myself().is_master();
        if loads || self.links.strangers() >= STRANGERS + 2 * self.nodes.len() {
            return None;
        }
        let (peer, created) = (Some(peer.to_canonical()), env.now);
        let local = local.map(|ip| ip.to_canonical());
        Some(self.links.add(Link { node: None, inbound: true, open: true, peer, local, created }))
    }

    pub(super) fn dial(&mut self, id: NodeId, cx: &mut Cx<'_>) {
        let Some(node) = self.nodes.get(id) else { return };
        let (Some(ip), port) = (node.ip, node.bus_port) else { return };
        let text = format!("Connecting with Node {} at {ip}:{port}", super::text(&node.name));
        cx.log(Level::Debug, text);
        let created = cx.env.now;
        let link =
            Link { node: Some(id), inbound: false, open: false, peer: None, local: None, created };
        let link = self.links.add(link);
        self.nodes.get_mut(id).expect("it is there").link = Some(link);
        cx.out.push(Action::Dial { link, ip, port });
    }

    /// The connection that this node has opened is there: PING, or MEET the first time.
    pub(super) fn dialed(&mut self, link: LinkId, local: Option<IpAddr>, cx: &mut Cx<'_>) {
        let Some(open) = self.links.get_mut(link) else { return };
        open.open = true;
        open.local = local.map(|ip| ip.to_canonical());
        let Some(node) = open.node.and_then(|id| self.nodes.get_mut(id)) else { return };
        let before = node.ping_sent;
        let meets = node.flags.has(Flags::MEET);
        node.flags.set(Flags::MEET, false);
        let id = self.links.get(link).and_then(|l| l.node);
        self.send_gossip(link, if meets { Kind::Meet } else { Kind::Ping }, cx);
        // The delay of a PING that was lost with its link goes on counting.
        if let (Some(before), Some(node)) = (before, id.and_then(|id| self.nodes.get_mut(id))) {
            node.ping_sent = Some(before);
        }
        if let Some(id) = id {
            self.catch_up_votes(id, cx);
        }
    }

    /// The connection has gone by itself.
    pub(super) fn closed(&mut self, id: LinkId, now: u64) {
        let Some(link) = self.links.remove(id) else { return };
        let Some(node) = link.node.and_then(|n| self.nodes.get_mut(n)) else { return };
        if node.link == Some(id) {
            node.link = None;
            // One that could not be reached was never pinged: the delay counts from here.
            node.ping_sent.get_or_insert(now);
        }
        if node.inbound == Some(id) {
            node.inbound = None;
        }
    }

    pub(super) fn close(&mut self, id: LinkId, cx: &mut Cx<'_>) {
        let Some(link) = self.links.remove(id) else { return };
        if let Some(node) = link.node.and_then(|n| self.nodes.get_mut(n)) {
            if node.link == Some(id) {
                node.link = None;
            }
            if node.inbound == Some(id) {
                node.inbound = None;
            }
        }
        cx.out.push(Action::Close { link: id });
    }

    /// The first packet of a known node has come over a link that was accepted; an older one gives way.
    pub(super) fn bind_link(&mut self, id: LinkId, node: NodeId, cx: &mut Cx<'_>) {
        let Some(link) = self.links.get(id).filter(|l| l.inbound && l.node != Some(node)) else {
            return;
        };
        if let Some(other) = link.node.and_then(|n| self.nodes.get_mut(n)) {
            other.inbound = None;
        }
        if let Some(old) = self.nodes.get(node).and_then(|n| n.inbound) {
            self.close(old, cx);
        }
        if let Some(link) = self.links.get_mut(id) {
            link.node = Some(node);
        }
        if let Some(node) = self.nodes.get_mut(node) {
            node.inbound = Some(id);
        }
    }

    /// Strangers that have not named themselves in time.
    pub(super) fn drop_strangers(&mut self, cx: &mut Cx<'_>) {
        let (now, limit) = (cx.now(), self.handshake_timeout());
        let late =
            |l: &Link| l.inbound && l.node.is_none() && now.saturating_sub(l.created.mono) > limit;
        let late: Vec<LinkId> = self.links.iter().filter(|(_, l)| late(l)).map(|(id, _)| id).collect();
        late.into_iter().for_each(|id| self.close(id, cx));
    }

    pub(super) fn over_limit(&mut self, id: LinkId, used: u64, cx: &mut Cx<'_>) {
        let Some(link) = self.links.get(id) else { return };
        let way = if link.inbound { "from" } else { "to" };
        let name = link.node.and_then(|n| self.nodes.get(n)).map_or("", |n| super::text(&n.name));
        let text = format!(
            "Freeing cluster link({way} node {name}, used memory: {used}) due to exceeding send buffer \
             memory limit."
        );
        cx.log(Level::Warning, text);
        self.stats.over_limit += 1;
        self.close(id, cx);
    }

    /// The length of the packet that begins with `start`, as `bus::frame`.
    pub(crate) fn frame_limit(&self, link: LinkId, start: &[u8]) -> Result<Option<usize>, Bad> {
        let bound = self.links.get(link).and_then(|l| l.node).and_then(|n| self.nodes.get(n));
        let named = || bus::sender_of(start).and_then(|name| self.nodes.get(self.nodes.find(name)?));
        let known = bound.or_else(named).is_some_and(|n| !n.is_handshake());
        let peer = if known {
            bus::Peer::Node { max_bulk: self.settings.max_bulk }
        } else {
            bus::Peer::Stranger { nodes: self.nodes.len() }
        };
        // What a stranger may not say may become allowed when its name is there.
        match bus::frame(start, peer) {
            Err(Bad::TooLong(_)) if !known && start.len() < 80 => Ok(None),
            result => result,
        }
    }

    // ---- packets ---------------------------------------------------------------------------------

    pub(super) fn published(&self) -> Published {
        let me = self.nodes.myself();
        let master = me.master.and_then(|m| self.nodes.get(m));
        let speaks_for = master.unwrap_or(me);
        Published {
            current_epoch: self.current_epoch,
            config_epoch: speaks_for.config_epoch,
            flags: me.flags,
            master: master.map(|m| m.name),
            slots: speaks_for.slots.to_bytes(),
            failed: !self.state.is_ok,
        }
    }

    /// A packet with the header of now, or of before a claim that is not on disk.
    pub(super) fn block(&self, body: &Body<'_>, cx: &Cx<'_>) -> Arc<[u8]> {
        match &self.saves.barrier {
            Some(barrier) => self.block_of(&barrier.before, body, cx),
            None => self.block_of(&self.published(), body, cx),
        }
    }

    pub(super) fn block_of(&self, say: &Published, body: &Body<'_>, cx: &Cx<'_>) -> Arc<[u8]> {
        let me = self.nodes.myself();
        let (port, other_port) = me.ports(self.settings.tls_cluster);
        let mut mflags = EXT_DATA;
        if self.manual.is_paused() && say.flags.has(Flags::MASTER) {
            mflags |= PAUSED;
        }
        if matches!(body, Body::AuthRequest) && self.manual.is_on() {
            mflags |= FORCE_ACK;
        }
        let header = Header {
            port,
            current_epoch: say.current_epoch,
            config_epoch: say.config_epoch,
            offset: cx.env.offset,
            sender: &me.name,
            slots: &say.slots,
            master: say.master.as_ref(),
            ip: self.announced_ip,
            other_port,
            bus_port: me.bus_port,
            flags: say.flags,
            failed: say.failed,
            mflags,
        };
        bus::encode(&header, body)
    }

    pub(super) fn send(&mut self, link: LinkId, kind: Kind, block: Arc<[u8]>, cx: &mut Cx<'_>) {
        self.stats.sent[kind.index()] += 1;
        cx.out.push(Action::Send { link, block });
    }

    pub(super) fn send_to(&mut self, node: NodeId, kind: Kind, block: Arc<[u8]>, cx: &mut Cx<'_>) {
        if let Some(link) = self.nodes.get(node).and_then(|n| n.link) {
            self.send(link, kind, block, cx);
        }
    }

    /// To all that have been met and are connected.
    pub(super) fn broadcast(&mut self, body: &Body<'_>, cx: &mut Cx<'_>) {
        let block = self.block(body, cx);
        self.broadcast_block(body.kind(), &block, |_| true, cx);
    }

    pub(super) fn broadcast_block(
        &mut self,
        kind: Kind,
        block: &Arc<[u8]>,
        wanted: impl Fn(&Node) -> bool,
        cx: &mut Cx<'_>,
    ) {
        let own = Flags::MYSELF.with(Flags::HANDSHAKE);
        let fits = |n: &Node| !n.flags.has(own) && wanted(n);
        let links: Vec<LinkId> =
            self.nodes.iter().filter(|(_, n)| fits(n)).filter_map(|(_, n)| n.link).collect();
        for link in links {
            self.send(link, kind, block.clone(), cx);
        }
    }

    /// PING, PONG or MEET over this link, with gossip. What is sent to a node by PING waits for its PONG.
    pub(super) fn send_gossip(&mut self, link: LinkId, kind: Kind, cx: &mut Cx<'_>) {
        let Some(to) = self.links.get(link) else { return };
        let (inbound, peer) = (to.inbound, to.node);
        let reads = peer.and_then(|n| self.nodes.get(n)).and_then(|n| n.extensions);
        let with_exts = kind != Kind::Meet && reads.unwrap_or(true);
        let entries = self.gossip_entries(peer, cx);
        let exts = if with_exts { self.extensions(cx.now()) } else { (Vec::new(), 0) };
        let (entries, exts) = (Entries(&entries), Exts { bytes: &exts.0, count: exts.1 });
        let body = match kind {
            Kind::Meet => Body::Meet(entries, exts),
            Kind::Pong => Body::Pong(entries, exts),
            _ => Body::Ping(entries, exts),
        };
        let block = self.block(&body, cx);
        if kind == Kind::Ping
            && !inbound
            && let Some(node) = peer.and_then(|n| self.nodes.get_mut(n))
        {
            node.ping_sent = Some(cx.now());
        }
        self.send(link, kind, block, cx);
    }

    /// The state of this node to all, unasked.
    pub(super) fn pong_all(&mut self, cx: &mut Cx<'_>) {
        let own = Flags::MYSELF.with(Flags::HANDSHAKE);
        let links = self.nodes.iter().filter(|(_, n)| !n.flags.has(own)).filter_map(|(_, n)| n.link);
        for link in links.collect::<Vec<_>>() {
            self.send_gossip(link, Kind::Pong, cx);
        }
    }

    /// The same to the other replicas of this one's master.
    pub(super) fn pong_siblings(&mut self, cx: &mut Cx<'_>) {
        let Some(master) = self.nodes.master_of(self.nodes.me()) else { return };
        let siblings = master.replicas.iter().filter_map(|r| self.nodes.get(*r));
        let links: Vec<LinkId> =
            siblings.filter(|n| !n.flags.has(Flags::MYSELF)).filter_map(|n| n.link).collect();
        for link in links {
            self.send_gossip(link, Kind::Pong, cx);
        }
    }

    /// A published message: to all nodes, or to those of this shard.
    pub(super) fn publish(&mut self, shard: bool, channel: &[u8], message: &[u8], cx: &mut Cx<'_>) {
        let body = Body::Publish { shard, channel, message };
        let block = self.block(&body, cx);
        let own = self.nodes.myself().shard;
        self.broadcast_block(body.kind(), &block, |n| !shard || n.shard == own, cx);
    }

    /// A message of a module here, to one node or to all. False when that node cannot be reached.
    #[allow(dead_code, reason = "no module speaks yet")]
    pub(crate) fn send_module(
        &mut self,
        to: Option<&Name>,
        (module, kind, payload): (u64, u8, &[u8]),
        env: &Env<'_>,
        out: &mut Vec<Action>,
    ) -> bool {
        let mut cx = Cx { env, out };
        let body = Body::Module { module, kind, payload };
        let Some(name) = to else {
            self.broadcast(&body, &mut cx);
            return true;
        };
        let Some(link) = self.nodes.find(name).and_then(|n| self.nodes.get(n)?.link) else {
            return false;
        };
        let block = self.block(&body, &cx);
        self.send(link, Kind::Module, block, &mut cx);
        true
    }

    pub(super) fn kill_links(&mut self, name: &Name, (to, from): (bool, bool), cx: &mut Cx<'_>) {
        let Some(node) = self.nodes.find(name).and_then(|n| self.nodes.get(n)) else { return };
        let links = [node.link.filter(|_| to), node.inbound.filter(|_| from)];
        links.into_iter().flatten().for_each(|link| self.close(link, cx));
    }
}
