//! Epochs that this node gives itself without a vote: by command, by a slot that was imported, and where two
//! masters have the same one.

use super::nodes::NodeId;
use super::saves::Held;
use super::{Cluster, Cx};
use crate::proto::bus::Header;
use crate::sys::log::Level;

impl Cluster {
    /// Takes a new epoch, unless this node has the greatest of all. None: it has.
    pub(super) fn bump_without_consensus(&mut self, cx: &mut Cx<'_>) -> Option<u64> {
        let greatest = self.nodes.max_epoch().max(self.current_epoch);
        let own = self.nodes.myself().config_epoch;
        if own != 0 && own == greatest {
            return None;
        }
        self.begin_claim();
        self.current_epoch = self.current_epoch.saturating_add(1);
        let epoch = self.current_epoch;
        self.nodes.myself_mut().config_epoch = epoch;
        cx.log(Level::Notice, format!("New configEpoch set to {epoch}"));
        Some(epoch)
    }

    /// Two masters of one epoch: the one with the smaller id takes a new one.
    pub(super) fn settle_collision(&mut self, id: NodeId, header: &Header<'_>, cx: &mut Cx<'_>) {
        let (me, Some(other)) = (self.nodes.myself(), self.nodes.get(id)) else { return };
        let both = me.is_master() && other.is_master() && header.master.is_none();
        let same = header.config_epoch == me.config_epoch && other.config_epoch == me.config_epoch;
        if !both || !same || other.name <= me.name || self.saves.is_failing() {
            return;
        }
        let shown = other.shown();
        self.begin_claim();
        self.current_epoch = self.current_epoch.saturating_add(1);
        let epoch = self.current_epoch;
        self.nodes.myself_mut().config_epoch = epoch;
        let text =
            format!("WARNING: configEpoch collision with node {shown}. configEpoch set to {epoch}");
        cx.log(Level::Verbose, text);
    }

    /// Tells all nodes once what was claimed is on disk.
    pub(super) fn tell_all_when_saved(&mut self, cx: &mut Cx<'_>) {
        if self.saves.barrier.is_some() {
            self.hold(Held::PongAll);
        } else {
            self.pong_all(cx);
        }
    }
}
