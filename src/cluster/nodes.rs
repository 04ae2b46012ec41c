//! The nodes this one knows, itself among them: a slab and an index by name.
//!
//! A replica stands in the list of its master, and a master has no master: `set_master` is the only way to
//! make one a replica of another, and it keeps the lists one level deep.

use super::links::LinkId;
use super::slots::SlotSet;
use crate::algo::rng::Rng;
use crate::proto::bus::{Flags, Name};
use std::collections::HashMap;
use std::net::IpAddr;
use std::num::NonZeroU16;

/// A node, as an index that cannot dangle.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct NodeId {
    index: u16,
    generation: NonZeroU16,
}

const _: () = assert!(size_of::<Option<NodeId>>() == 4);

/// All times are of the monotonic clock, None for never.
#[derive(Clone, Debug)]
pub(crate) struct Node {
    pub name: Name,
    pub shard: Name,
    pub flags: Flags,
    pub ip: Option<IpAddr>,
    /// For clients, plain and TLS; 0 for none.
    pub port: u16,
    pub tls_port: u16,
    pub bus_port: u16,
    /// Empty for none, as the next.
    pub hostname: String,
    pub nodename: String,
    pub master: Option<NodeId>,
    pub replicas: Vec<NodeId>,
    /// Of a master; a replica has its master's.
    pub config_epoch: u64,
    pub slots: SlotSet,
    /// The PING that is not answered yet; it outlives the link it went over.
    pub ping_sent: Option<u64>,
    pub pong_received: Option<u64>,
    pub data_received: Option<u64>,
    pub failed_at: Option<u64>,
    pub orphaned_at: Option<u64>,
    /// The greatest epoch that its headers have told, of itself or of its master.
    pub told_epoch: u64,
    /// Since when its headers tell of less than is known of it.
    pub stale_since: Option<u64>,
    pub created: u64,
    pub offset: u64,
    /// Out to it, and in from it.
    pub link: Option<LinkId>,
    pub inbound: Option<LinkId>,
    /// Masters that do not reach it, with the time at which they said so.
    pub reports: Vec<(NodeId, u64)>,
    /// Does it read extensions? None while that is not known.
    pub extensions: Option<bool>,
}

impl Node {
    pub fn new(name: Name, flags: Flags, now: u64) -> Node {
        Node {
            name,
            // A node is a shard of its own until it says otherwise.
            shard: name,
            flags,
            ip: None,
            port: 0,
            tls_port: 0,
            bus_port: 0,
            hostname: String::new(),
            nodename: String::new(),
            master: None,
            replicas: Vec::new(),
            config_epoch: 0,
            slots: SlotSet::default(),
            ping_sent: None,
            pong_received: None,
            data_received: None,
            failed_at: None,
            orphaned_at: None,
            told_epoch: 0,
            stale_since: None,
            created: now,
            offset: 0,
            link: None,
            inbound: None,
            reports: Vec::new(),
            extensions: None,
        }
    }

    pub fn is_master(&self) -> bool {
        self.flags.has(Flags::MASTER)
    }

    pub fn is_replica(&self) -> bool {
        self.flags.has(Flags::REPLICA)
    }

    pub fn is_handshake(&self) -> bool {
        self.flags.has(Flags::HANDSHAKE)
    }

    pub fn is_failed(&self) -> bool {
        self.flags.has(Flags::FAIL)
    }

    /// Is it unreachable, from here at least?
    pub fn is_doubtful(&self) -> bool {
        self.flags.has(Flags::FAIL.with(Flags::PFAIL))
    }

    /// Does its vote count?
    pub fn is_voter(&self) -> bool {
        self.is_master() && self.slots.count() > 0
    }

    /// `id (nodename)`, as logs name it.
    pub fn shown(&self) -> String {
        format!("{} ({})", text(&self.name), self.nodename)
    }

    /// The port of the bus's kind and the other one, from the two that clients know.
    pub fn ports(&self, tls: bool) -> (u16, u16) {
        if tls { (self.tls_port, self.port) } else { (self.port, self.tls_port) }
    }

    pub fn set_ports(&mut self, (first, other): (u16, u16), tls: bool) {
        (self.port, self.tls_port) = if tls { (other, first) } else { (first, other) };
    }
}

/// Ids are ASCII.
pub(crate) fn text(name: &Name) -> &str {
    std::str::from_utf8(name).unwrap_or("?")
}

/// A new id for a node or a shard.
pub(crate) fn random_name(rng: &mut Rng) -> Name {
    let mut name = [0; 40];
    for byte in &mut name {
        *byte = b"0123456789abcdef"[rng.index(16)];
    }
    name
}

#[derive(Debug)]
struct Place {
    generation: NonZeroU16,
    node: Option<Node>,
}

#[derive(Debug)]
pub(crate) struct Nodes {
    places: Vec<Place>,
    free: Vec<u16>,
    by_name: HashMap<Name, NodeId>,
    me: NodeId,
}

impl Nodes {
    pub fn new(me: Node) -> Nodes {
        let id = NodeId { index: 0, generation: NonZeroU16::MIN };
        let by_name = HashMap::from([(me.name, id)]);
        let places = vec![Place { generation: NonZeroU16::MIN, node: Some(me) }];
        Nodes { places, free: Vec::new(), by_name, me: id }
    }

    pub fn me(&self) -> NodeId {
        self.me
    }

    /// None when the name is known, or when there are as many nodes as can be.
    pub fn add(&mut self, node: Node) -> Option<NodeId> {
        if self.by_name.contains_key(&node.name) {
            return None;
        }
        let name = node.name;
        let index = match self.free.pop() {
            Some(index) => index,
            None => {
                let index = u16::try_from(self.places.len()).ok()?;
                self.places.push(Place { generation: NonZeroU16::MIN, node: None });
                index
            }
        };
        let place = &mut self.places[usize::from(index)];
        debug_assert!(place.node.is_none());
        place.node = Some(node);
        let id = NodeId { index, generation: place.generation };
        self.by_name.insert(name, id);
        Some(id)
    }

    /// Takes a node out, of its master's list and of its replicas too. Its slots are the caller's.
    pub fn remove(&mut self, id: NodeId) -> Option<Node> {
        debug_assert_ne!(id, self.me);
        self.get(id)?;
        self.set_master(id, None);
        let place = self.places.get_mut(usize::from(id.index))?;
        let node = place.node.take()?;
        place.generation = place.generation.checked_add(1).unwrap_or(NonZeroU16::MIN);
        self.free.push(id.index);
        self.by_name.remove(&node.name);
        for replica in &node.replicas {
            if let Some(replica) = self.get_mut(*replica) {
                replica.master = None;
            }
        }
        for other in self.iter_mut() {
            other.reports.retain(|(reporter, _)| *reporter != id);
        }
        Some(node)
    }

    /// Gives a node the name that it has turned out to have. False when another one has it.
    pub fn rename(&mut self, id: NodeId, name: Name) -> bool {
        if self.by_name.contains_key(&name) {
            return false;
        }
        let Some(node) = self.get_mut(id) else { return false };
        let old = std::mem::replace(&mut node.name, name);
        if node.shard == old {
            node.shard = name;
        }
        self.by_name.remove(&old);
        self.by_name.insert(name, id);
        true
    }

    pub fn find(&self, name: &Name) -> Option<NodeId> {
        self.by_name.get(name).copied()
    }

    pub fn get(&self, id: NodeId) -> Option<&Node> {
        let place = self.places.get(usize::from(id.index)).filter(|p| p.generation == id.generation)?;
        place.node.as_ref()
    }

    pub fn get_mut(&mut self, id: NodeId) -> Option<&mut Node> {
        let place =
            self.places.get_mut(usize::from(id.index)).filter(|p| p.generation == id.generation)?;
        place.node.as_mut()
    }

    pub fn myself(&self) -> &Node {
        self.get(self.me).expect("this node is never removed")
    }

    pub fn myself_mut(&mut self) -> &mut Node {
        let me = self.me;
        self.get_mut(me).expect("this node is never removed")
    }

    pub fn master_of(&self, id: NodeId) -> Option<&Node> {
        self.get(self.get(id)?.master?)
    }

    /// Those of handshakes and this one counted.
    pub fn len(&self) -> usize {
        self.by_name.len()
    }

    pub fn iter(&self) -> impl Iterator<Item = (NodeId, &Node)> {
        self.places.iter().enumerate().filter_map(|(index, place)| {
            let id = NodeId { index: index as u16, generation: place.generation };
            place.node.as_ref().map(|node| (id, node))
        })
    }

    pub fn iter_mut(&mut self) -> impl Iterator<Item = &mut Node> {
        self.places.iter_mut().filter_map(|place| place.node.as_mut())
    }

    pub fn ids(&self) -> Vec<NodeId> {
        self.iter().map(|(id, _)| id).collect()
    }

    /// Any of them: of all places, so that the cost does not depend on the gaps much.
    pub fn random(&self, rng: &mut Rng) -> Option<NodeId> {
        (0..16).find_map(|_| {
            let index = rng.index(self.places.len());
            let place = self.places.get(index)?;
            let id = NodeId { index: index as u16, generation: place.generation };
            place.node.is_some().then_some(id)
        })
    }

    /// Makes one node the replica of another, or of none. A master that is a replica itself gives its own
    /// master instead; what would be a circle is none.
    pub fn set_master(&mut self, id: NodeId, master: Option<NodeId>) {
        let top = master.and_then(|m| Some(self.get(m)?.master.unwrap_or(m))).filter(|m| *m != id);
        let Some(node) = self.get_mut(id) else { return };
        if node.master == top {
            return;
        }
        let old = std::mem::replace(&mut node.master, top);
        // Its own replicas stand below the same master from now on.
        let below = if top.is_some() { std::mem::take(&mut node.replicas) } else { Vec::new() };
        if let Some(old) = old.and_then(|m| self.get_mut(m)) {
            old.replicas.retain(|r| *r != id);
            // Replicas move to masters that have or had some.
            if old.replicas.is_empty() {
                old.flags.set(Flags::MIGRATE_TO, false);
            }
        }
        if let Some(top) = top {
            for replica in below.iter().copied().filter(|r| *r != top) {
                if let Some(replica) = self.get_mut(replica) {
                    replica.master = Some(top);
                }
            }
            let master = self.get_mut(top).expect("it was found above");
            master.flags.set(Flags::MIGRATE_TO, true);
            master.replicas.push(id);
            master.replicas.extend(below.into_iter().filter(|r| *r != top));
        }
    }

    /// Replicas of a master that can be reached.
    pub fn good_replicas(&self, id: NodeId) -> usize {
        let Some(node) = self.get(id) else { return 0 };
        let good = |r: &&NodeId| self.get(**r).is_some_and(|n| !n.is_doubtful());
        node.replicas.iter().filter(good).count()
    }

    pub fn max_epoch(&self) -> u64 {
        self.iter().map(|(_, n)| n.config_epoch).max().unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(n: u8) -> Name {
        [b'a' + n; 40]
    }

    fn nodes() -> (Nodes, Vec<NodeId>) {
        let mut nodes = Nodes::new(Node::new(name(0), Flags::MYSELF.with(Flags::MASTER), 0));
        let mut ids = vec![nodes.me()];
        ids.extend((1..6).filter_map(|n| nodes.add(Node::new(name(n), Flags::MASTER, 0))));
        (nodes, ids)
    }

    #[test]
    fn an_id_of_a_node_that_is_gone_leads_nowhere() {
        let (mut nodes, ids) = nodes();
        assert!(nodes.add(Node::new(name(3), Flags::MASTER, 0)).is_none(), "the name is taken");
        nodes.set_master(ids[2], Some(ids[3]));
        nodes.get_mut(ids[1]).expect("there").reports.push((ids[3], 1));
        assert_eq!(nodes.remove(ids[3]).expect("there").name, name(3));
        assert!(nodes.get(ids[3]).is_none() && nodes.find(&name(3)).is_none());
        assert_eq!(nodes.get(ids[2]).expect("there").master, None);
        assert!(nodes.get(ids[1]).expect("there").reports.is_empty());
        let again = nodes.add(Node::new(name(9), Flags::MASTER, 0)).expect("room");
        assert_eq!((again.index, again == ids[3]), (ids[3].index, false));
        assert!(nodes.rename(again, name(10)) && !nodes.rename(again, name(1)));
        assert_eq!(nodes.find(&name(10)), Some(again));
    }

    #[test]
    fn replicas_stand_one_level_deep_whatever_is_said() {
        let (mut nodes, ids) = nodes();
        let mut rng = Rng::seeded(1);
        for _ in 0..10_000 {
            let (a, b) = (ids[rng.index(6)], ids[rng.index(6)]);
            nodes.set_master(a, (rng.index(5) > 0).then_some(b));
            for (id, node) in nodes.iter() {
                for replica in &node.replicas {
                    assert_eq!(nodes.get(*replica).expect("there").master, Some(id));
                }
                assert!(node.master.is_none() || node.replicas.is_empty());
                let Some(master) = node.master else { continue };
                let listed = &nodes.get(master).expect("there").replicas;
                assert_eq!(listed.iter().filter(|r| **r == id).count(), 1);
            }
        }
    }
}
