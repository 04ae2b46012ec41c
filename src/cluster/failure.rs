//! The tick: links are opened, nodes are pinged, and those that do not answer are suspected, until enough
//! masters agree that one has failed.
//!
//! ```text
//!          no answer, no data for node-timeout          reports of masters and the own view: a majority
//!   fine ─────────────────────────────────────► PFAIL ──────────────────────────────────────────► FAIL
//!     ▲                                           │                                                │
//!     └────────────────── answered ───────────────┘      answered, and it may come back            │
//!     └────────────────────────────────────────────────────────────────────────────────────────────┘
//! ```

use super::nodes::{Node, NodeId};
use super::{Cluster, Cx};
use crate::proto::bus::{Body, Flags, Kind, Name};
use crate::sys::log::Level;

/// Of how many nodes the one with the oldest pong is pinged, once a second.
const SAMPLE: usize = 5;

impl Cluster {
    pub(super) fn tick(&mut self, cx: &mut Cx<'_>) {
        self.iteration += 1;
        self.drop_strangers(cx);
        for id in self.nodes.ids() {
            self.reconnect(id, cx);
        }
        if self.iteration.is_multiple_of(10) {
            self.ping_oldest(cx);
        }
        for id in self.nodes.ids() {
            self.watch(id, cx);
        }
        if self.nodes.myself().is_replica() && !self.following {
            self.follow(cx);
        }
        self.tick_manual(cx);
        self.due.failover = true;
        if self.nodes.myself().is_replica() {
            self.migrate_if_orphaned(cx);
        }
        if !self.state.is_ok {
            self.due.state = true;
        }
        self.tick_saves(cx);
    }

    fn reconnect(&mut self, id: NodeId, cx: &mut Cx<'_>) {
        let Some(node) = self.nodes.get(id) else { return };
        if node.flags.has(Flags::MYSELF.with(Flags::NOADDR)) {
            return;
        }
        let age = cx.now().saturating_sub(node.created);
        if node.is_handshake() && age > self.handshake_timeout() {
            return self.remove_node(id, cx);
        }
        if node.link.is_none() {
            self.dial(id, cx);
        }
    }

    fn ping_oldest(&mut self, cx: &mut Cx<'_>) {
        let mut oldest: Option<(u64, NodeId)> = None;
        for _ in 0..SAMPLE {
            let Some(id) = self.nodes.random(&mut self.rng) else { continue };
            let Some(node) = self.nodes.get(id) else { continue };
            let own = Flags::MYSELF.with(Flags::HANDSHAKE);
            if node.link.is_none() || node.ping_sent.is_some() || node.flags.has(own) {
                continue;
            }
            let pong = node.pong_received.unwrap_or(0);
            if oldest.is_none_or(|(at, _)| pong < at) {
                oldest = Some((pong, id));
            }
        }
        if let Some(link) = oldest.and_then(|(_, id)| self.nodes.get(id)?.link) {
            self.send_gossip(link, Kind::Ping, cx);
        }
    }

    /// Looks after one node: its link, its PING, its silence.
    fn watch(&mut self, id: NodeId, cx: &mut Cx<'_>) {
        let (now, timeout) = (cx.now(), self.settings.node_timeout);
        let apart = Flags::MYSELF.with(Flags::NOADDR).with(Flags::HANDSHAKE);
        let Some(node) = self.nodes.get(id).filter(|n| !n.flags.has(apart)) else { return };
        let since = |at: Option<u64>| at.map_or(u64::MAX, |at| now.saturating_sub(at));
        let ping_delay = node.ping_sent.map_or(0, |at| now.saturating_sub(at));
        let data_delay = since(node.data_received);
        let mut link = node.link;
        let silent = data_delay > timeout / 2;
        let open = link.and_then(|l| self.links.get(l)).is_some_and(|l| l.open);
        // The node may be heard over its own link while this one leads nowhere.
        let dead = !open || ping_delay > 2 * timeout;
        let hangs = ping_delay > timeout / 2 && (silent || dead);
        let age = link.and_then(|l| self.links.get(l)).map_or(0, |l| now.saturating_sub(l.created.mono));
        if let Some(silent) = link.filter(|_| hangs && age > timeout) {
            // A node that has never answered may be one that does not read extensions.
            let node = self.nodes.get_mut(id).expect("it was found above");
            node.extensions.get_or_insert(false);
            self.close(silent, cx);
            link = None;
        }
        let Some(node) = self.nodes.get(id) else { return };
        let interval = match self.settings.ping_interval {
            0 => timeout / 2,
            set => set,
        };
        let due = node.ping_sent.is_none() && since(node.pong_received) > interval;
        // A replica that takes over waits for the offset.
        let waits = self.manual.is_requested_by(id) && self.nodes.myself().is_master();
        if let Some(link) = link.filter(|_| due || waits) {
            return self.send_gossip(link, Kind::Ping, cx);
        }
        if node.ping_sent.is_some() && ping_delay.min(data_delay) > timeout && !node.is_doubtful() {
            self.suspect(id, cx);
        }
    }

    fn suspect(&mut self, id: NodeId, cx: &mut Cx<'_>) {
        let Some(node) = self.nodes.get_mut(id) else { return };
        node.flags.set(Flags::PFAIL, true);
        let text = format!("*** NODE {} possibly failing", super::text(&node.name));
        cx.log(Level::Debug, text);
        self.due.state = true;
        self.saves.due = true;
        self.told_of = true;
        if self.nodes.myself().is_master() && self.state.size == 1 {
            self.mark_failed_if_agreed(id, cx);
        }
    }

    /// A new suspicion is told to all at once, not with the next PING: that is half a timeout sooner.
    pub(super) fn tell_suspicions(&mut self, cx: &mut Cx<'_>) {
        if std::mem::take(&mut self.told_of) && self.nodes.myself().is_voter() {
            let masters = self.nodes.iter().filter(|(_, n)| n.is_voter() && !n.is_doubtful());
            let masters = masters.filter(|(_, n)| !n.flags.has(Flags::MYSELF));
            let links: Vec<_> = masters.filter_map(|(_, n)| n.link).collect();
            for link in links {
                self.send_gossip(link, Kind::Pong, cx);
            }
        }
    }

    /// Is there a majority of masters that do not reach it?
    pub(super) fn mark_failed_if_agreed(&mut self, id: NodeId, cx: &mut Cx<'_>) {
        let now = cx.now();
        let doubted = self.nodes.get(id).is_some_and(|n| n.flags.has(Flags::PFAIL) && !n.is_failed());
        if !doubted {
            return;
        }
        let own_view = usize::from(self.nodes.myself().is_master());
        if self.count_reports(id, now) + own_view < self.quorum() {
            return;
        }
        let Some(node) = self.nodes.get_mut(id) else { return };
        cx.log(Level::Notice, format!("Marking node {} as failing (quorum reached).", node.shown()));
        let name = node.name;
        self.fail(id, now);
        self.broadcast(&Body::Fail(&name), cx);
    }

    fn fail(&mut self, id: NodeId, now: u64) {
        let Some(node) = self.nodes.get_mut(id) else { return };
        node.flags.set(Flags::PFAIL, false);
        node.flags.set(Flags::FAIL, true);
        node.failed_at = Some(now);
        self.saves.due = true;
        self.due.state = true;
        self.due.failover = true;
    }

    pub(super) fn told_of_failure(&mut self, sender: NodeId, name: &Name, cx: &mut Cx<'_>) {
        let known = Flags::FAIL.with(Flags::MYSELF);
        let Some(id) = self.nodes.find(name) else { return };
        let Some(node) = self.nodes.get(id).filter(|n| !n.flags.has(known)) else { return };
        let teller = self.nodes.get(sender).map(Node::shown).unwrap_or_default();
        let text = format!("FAIL message received from {teller} about {}", node.shown());
        cx.log(Level::Notice, text);
        self.fail(id, cx.now());
    }

    /// A node that has failed has answered.
    pub(super) fn clear_failure(&mut self, id: NodeId, cx: &mut Cx<'_>) {
        let (now, undo) = (cx.now(), 2 * self.settings.node_timeout);
        let Some(node) = self.nodes.get_mut(id) else { return };
        debug_assert!(node.is_failed());
        let why = if node.is_replica() {
            "replica is reachable again."
        } else if node.slots.count() == 0 {
            "master without slots is reachable again."
        } else if node.failed_at.is_none_or(|at| now.saturating_sub(at) > undo) {
            " is reachable again and nobody is serving its slots after some time."
        } else {
            return;
        };
        node.flags.set(Flags::FAIL, false);
        let text = format!("Clear FAIL state for node {}:{why}", node.shown());
        cx.log(Level::Notice, text);
        self.saves.due = true;
        self.due.state = true;
    }
}
