//! Which node owns a slot: claims in headers and in UPDATE, and what follows from them for this node.
//!
//! A claim takes a slot that is free, that its owner no longer claims, or whose owner has a smaller epoch.
//! A slot that is imported here moves by command only.

use super::nodes::{Node, NodeId, text};
use super::slots::{SLOTS, SlotSet};
use super::{Action, Cluster, Cx};
use crate::proto::bus::{Body, Header, Kind, Name, SlotBytes};
use crate::sys::log::Level;

impl Cluster {
    // ---- binding ---------------------------------------------------------------------------------

    pub(super) fn bind(&mut self, slot: u16, owner: NodeId) {
        debug_assert_eq!(self.slots.owner(slot), None);
        let (first, some) = match self.nodes.get_mut(owner) {
            Some(node) => (node.slots.count() == 0, node.slots.insert(slot)),
            None => return,
        };
        debug_assert!(some);
        if first && self.nodes.iter().any(|(_, n)| n.is_master() && !n.replicas.is_empty()) {
            // A new master of a cluster with replicas may have some of them.
            if let Some(node) = self.nodes.get_mut(owner) {
                node.flags.set(crate::proto::bus::Flags::MIGRATE_TO, true);
            }
        }
        self.slots.bind(slot, Some(owner));
        self.due.masks = true;
        self.due.state = true;
    }

    pub(super) fn unbind(&mut self, slot: u16) {
        let Some(owner) = self.slots.owner(slot) else { return };
        let (me, mine) = (self.nodes.me(), self.nodes.myself().master);
        if let Some(node) = self.nodes.get_mut(owner) {
            node.slots.remove(slot);
        }
        self.slots.bind(slot, None);
        if owner == me || Some(owner) == mine {
            self.left.insert(slot);
        }
        self.due.masks = true;
        self.due.state = true;
    }

    pub(super) fn unbind_all(&mut self, owner: NodeId, _: &mut Cx<'_>) {
        let slots = self.nodes.get(owner).map(|n| n.slots.clone()).unwrap_or_default();
        slots.iter().for_each(|slot| self.unbind(slot));
    }

    /// Shard channels of slots that have left this shard.
    pub(super) fn tell_left(&mut self, cx: &mut Cx<'_>) {
        if self.left.count() > 0 {
            let left = std::mem::take(&mut self.left);
            cx.out.push(Action::Unsubscribe(Box::new(*left.words())));
        }
    }

    /// Is it free to be taken, or its owner's only because no other node has claimed it?
    fn is_unclaimed(&self, slot: u16) -> bool {
        self.slots.owner(slot).is_none() || self.slots.unclaimed.has(slot)
    }

    fn epoch_of_owner(&self, slot: u16) -> u64 {
        self.slots.owner(slot).and_then(|id| self.nodes.get(id)).map_or(0, |n| n.config_epoch)
    }

    // ---- claims ----------------------------------------------------------------------------------

    /// The slots of a header: taken if it is a master's, and answered with UPDATE where they are outdated.
    pub(super) fn take_claims(&mut self, id: NodeId, header: &Header<'_>, stale: bool, cx: &mut Cx<'_>) {
        let Some(node) = self.nodes.get(id) else { return };
        let speaks_for = header.master.map_or(Some(id), |name| self.nodes.find(name));
        if speaks_for.and_then(|n| self.nodes.get(n)).is_none_or(|n| n.slots.is(header.slots)) {
            return;
        }
        let claimed = SlotSet::of_bytes(header.slots);
        let master = node.is_master() && header.master.is_none();
        if master && !stale {
            self.take_slots(id, header.config_epoch, &claimed, cx);
        }
        let newer = claimed.iter().find(|slot| {
            self.slots.owner(*slot) != Some(id)
                && !self.is_unclaimed(*slot)
                && self.epoch_of_owner(*slot) > header.config_epoch
        });
        let Some(owner) = newer.and_then(|slot| self.slots.owner(slot)) else { return };
        let names = (self.nodes.get(id), self.nodes.get(owner));
        let (Some(sender), Some(owner_node)) = names else { return };
        let about = format!(
            "Node {} has old slots configuration, sending an UPDATE message about {}",
            text(&sender.name),
            text(&owner_node.name)
        );
        cx.log(Level::Verbose, about);
        self.send_update(id, owner, cx);
    }

    fn send_update(&mut self, to: NodeId, about: NodeId, cx: &mut Cx<'_>) {
        // What is not on disk yet is told to no other node.
        if about == self.nodes.me() && self.saves.barrier.is_some() {
            return;
        }
        let Some(node) = self.nodes.get(about) else { return };
        // What it no longer claims may be another's by now.
        let slots = node.slots.without(&self.slots.unclaimed).to_bytes();
        let (config_epoch, name) = (node.config_epoch, node.name);
        let body = Body::Update { config_epoch, node: &name, slots: &slots };
        let block = self.block(&body, cx);
        self.send_to(to, Kind::Update, block, cx);
    }

    /// UPDATE: a node has these slots by an epoch that may be news here.
    pub(super) fn update(&mut self, name: &Name, config_epoch: u64, slots: &SlotBytes, cx: &mut Cx<'_>) {
        let Some(id) = self.nodes.find(name) else { return };
        if self.nodes.get(id).is_none_or(|n| n.config_epoch >= config_epoch || n.is_handshake()) {
            return;
        }
        if id == self.nodes.me() {
            return cx.log(Level::Notice, "Discarding UPDATE message about myself.");
        }
        self.becomes_master(id);
        if let Some(node) = self.nodes.get_mut(id) {
            node.config_epoch = config_epoch;
        }
        self.saves.due_with_fsync();
        self.take_slots(id, config_epoch, &SlotSet::of_bytes(slots), cx);
    }

    pub(super) fn take_slots(
        &mut self,
        id: NodeId,
        config_epoch: u64,
        claimed: &SlotSet,
        cx: &mut Cx<'_>,
    ) {
        let me = self.nodes.me();
        let mine = if self.nodes.myself().is_master() { Some(me) } else { self.nodes.myself().master };
        let (mut of_mine, mut dirty) = (0u16, SlotSet::default());
        for slot in 0..SLOTS {
            let owner = self.slots.owner(slot);
            match (claimed.has(slot), owner == Some(id)) {
                (true, true) => _ = self.slots.unclaimed.remove(slot),
                // Kept until another node claims it: clients are sent there once too often, no worse.
                (false, true) => _ = self.slots.unclaimed.insert(slot),
                (true, false) if !self.slots.importing.contains_key(&slot) => {
                    if !self.is_unclaimed(slot) && self.epoch_of_owner(slot) >= config_epoch {
                        continue;
                    }
                    if owner == Some(me) && super::slots::has(cx.env.filled, slot) {
                        dirty.insert(slot);
                    }
                    of_mine += u16::from(owner.is_some() && owner == mine);
                    self.unbind(slot);
                    self.bind(slot, id);
                    self.saves.due_with_fsync();
                }
                _ => {}
            }
        }
        if !self.settings.no_redirection {
            self.after_loss(id, claimed.count(), of_mine, dirty, cx);
        }
    }

    /// This node, or its master, has lost `of_mine` slots to a node that claims `all`.
    fn after_loss(&mut self, winner: NodeId, all: u16, of_mine: u16, dirty: SlotSet, cx: &mut Cx<'_>) {
        let me = self.nodes.myself();
        let mine = if me.is_master() { Some(me) } else { me.master.and_then(|m| self.nodes.get(m)) };
        let nothing_left = mine.is_some_and(|n| n.slots.count() == 0);
        let follows = self.settings.allow_replica_migration || all == of_mine;
        if of_mine > 0 && nothing_left && follows && winner != self.nodes.me() {
            let shown = self.nodes.get(winner).map(Node::shown).unwrap_or_default();
            let text =
                format!("Configuration change detected. Reconfiguring myself as a replica of {shown}");
            cx.log(Level::Notice, text);
            return self.set_my_master(winner, cx);
        }
        if dirty.count() > 0 {
            cx.out.push(Action::DropSlots(Box::new(*dirty.words())));
        }
    }
}
