//! CLUSTER FAILOVER: a replica takes the place of a master that works, without losing a write.
//!
//! ```text
//!  replica                                  master
//!    │ ── MFSTART ────────────────────────► │ holds writes
//!    │ ◄── PING, PAUSED, offset ─────────── │ once they rest
//!    │ waits until it has all of the stream │
//!    │ ── AUTH_REQUEST, FORCE_ACK ──► all   │
//! ```
//!
//! Both give up after a while; then the master serves writes again.

use super::nodes::{Node, NodeId};
use super::{Action, Cluster, Cx};
use crate::proto::bus::{Body, Kind};
use crate::sys::log::Level;

const TIMEOUT: u64 = 5000;
/// Writes are held for so many times the above at most.
const PAUSE: u64 = 2;

#[derive(Debug, Default)]
pub(super) struct Manual {
    until: Option<u64>,
    /// On the replica: the election may begin.
    start: bool,
    /// On the replica: where its master's stream ended.
    master_offset: Option<u64>,
    /// On the master.
    requester: Option<NodeId>,
    /// On the master: writes rest, and the offset stands.
    paused: bool,
}

impl Manual {
    pub fn is_on(&self) -> bool {
        self.until.is_some()
    }

    pub fn can_start(&self) -> bool {
        self.is_on() && self.start
    }

    pub fn is_paused(&self) -> bool {
        self.is_on() && self.paused
    }

    pub fn is_requested_by(&self, id: NodeId) -> bool {
        self.is_on() && self.requester == Some(id)
    }

    pub fn waits_for_offset(&self) -> bool {
        self.is_on() && !self.start && self.master_offset.is_some()
    }
}

impl Cluster {
    /// Does this master hold its writes for a replica that takes over? The PINGs of replication rest then,
    /// and keys neither expire nor are evicted.
    pub(crate) fn is_handing_over(&self) -> bool {
        self.manual.is_on() && self.manual.requester.is_some()
    }

    // ---- on the replica --------------------------------------------------------------------------

    pub(super) fn begin_manual(&mut self, cx: &mut Cx<'_>) {
        self.end_manual(cx);
        self.election.forget();
        self.manual.until = Some(cx.now() + TIMEOUT);
    }

    /// Without a word with the master.
    pub(super) fn start_manual(&mut self) {
        self.manual.start = true;
        self.due.failover = true;
    }

    pub(super) fn ask_master(&mut self, cx: &mut Cx<'_>) {
        let Some(master) = self.nodes.myself().master else { return };
        let block = self.block(&Body::MfStart, cx);
        self.send_to(master, Kind::MfStart, block, cx);
    }

    pub(super) fn master_paused_at(&mut self, offset: u64, cx: &mut Cx<'_>) {
        if self.manual.is_on() && self.manual.master_offset.is_none() {
            self.manual.master_offset = Some(offset);
            let text =
                format!("Received replication offset for paused master manual failover: {offset}");
            cx.log(Level::Notice, text);
        }
    }

    pub(super) fn look_at_offset(&mut self, cx: &mut Cx<'_>) {
        if !self.manual.waits_for_offset() || !self.nodes.myself().is_replica() {
            return;
        }
        if self.manual.master_offset.is_some_and(|all| cx.env.offset >= all) {
            let text = "All master replication stream processed, manual failover can start.";
            cx.log(Level::Notice, text);
            self.start_manual();
        }
    }

    // ---- on the master ---------------------------------------------------------------------------

    pub(super) fn manual_requested(&mut self, id: NodeId, cx: &mut Cx<'_>) {
        let me = self.nodes.me();
        let Some(replica) = self.nodes.get(id).filter(|n| n.master == Some(me)) else { return };
        let shown = replica.shown();
        self.end_manual(cx);
        let now = cx.now();
        self.manual.until = Some(now + TIMEOUT);
        self.manual.requester = Some(id);
        cx.log(Level::Notice, format!("Manual failover requested by replica {shown}."));
        cx.out.push(Action::PauseWrites { until: now + TIMEOUT * PAUSE });
    }

    /// Writes rest from here on.
    pub(super) fn writes_rest(&mut self, cx: &mut Cx<'_>) {
        let Some(id) = self.manual.requester.filter(|_| self.manual.is_on()) else { return };
        self.manual.paused = true;
        if let Some(link) = self.nodes.get(id).and_then(|n| n.link) {
            self.send_gossip(link, Kind::Ping, cx);
        }
    }

    // ---- both ------------------------------------------------------------------------------------

    pub(super) fn tick_manual(&mut self, cx: &mut Cx<'_>) {
        if self.manual.until.is_some_and(|at| at < cx.now()) {
            cx.log(Level::Warning, "Manual failover timed out.");
            self.end_manual(cx);
        }
        self.look_at_offset(cx);
    }

    pub(super) fn end_manual(&mut self, cx: &mut Cx<'_>) {
        if self.manual.requester.is_some() {
            cx.out.push(Action::ResumeWrites);
        }
        self.manual = Manual::default();
    }

    pub(super) fn manual_lost(&mut self, id: NodeId, cx: &mut Cx<'_>) {
        if self.manual.requester == Some(id) {
            self.end_manual(cx);
        }
    }

    // ---- replica migration -----------------------------------------------------------------------

    /// A replica that is one too many goes to a master that has lost its own.
    pub(super) fn migrate_if_orphaned(&mut self, cx: &mut Cx<'_>) {
        let now = cx.now();
        let counts: Vec<(NodeId, usize)> = self
            .nodes
            .iter()
            .filter(|(_, n)| n.is_master() && !n.is_failed())
            .map(|(id, _)| (id, self.nodes.good_replicas(id)))
            .collect();
        let mut orphans = Vec::new();
        for (id, good) in &counts {
            let Some(node) = self.nodes.get_mut(*id) else { continue };
            let had_some = node.flags.has(crate::proto::bus::Flags::MIGRATE_TO);
            if *good > 0 || node.slots.count() == 0 || !had_some {
                node.orphaned_at = None;
                continue;
            }
            if now.saturating_sub(*node.orphaned_at.get_or_insert(now)) > ORPHANED {
                orphans.push(*id);
            }
        }
        let most = counts.iter().map(|(_, good)| *good).max().unwrap_or(0);
        let mine = counts.iter().find(|(id, _)| self.nodes.myself().master == Some(*id));
        let spare = mine
            .is_some_and(|(_, good)| *good == most && *good as u64 > self.settings.migration_barrier);
        let allowed = self.settings.allow_replica_migration && !self.settings.module_no_failover;
        if !spare || most < 2 || !self.state.is_ok || !allowed {
            return;
        }
        // One of all candidates goes.
        let givers = counts.iter().filter(|(_, good)| *good == most);
        let replicas = givers.filter_map(|(id, _)| self.nodes.get(*id)).flat_map(|n| &n.replicas);
        let good = replicas.filter_map(|r| self.nodes.get(*r)).filter(|n: &&Node| !n.is_doubtful());
        let first = good.map(|n| n.name).min();
        if first != Some(self.nodes.myself().name) {
            return;
        }
        let Some(target) = orphans.into_iter().next() else { return };
        let Some(node) = self.nodes.get(target) else { return };
        cx.log(Level::Notice, format!("Migrating to orphaned master {}", super::text(&node.name)));
        self.set_my_master(target, cx);
    }
}

/// So long a master has to be without a replica that works.
const ORPHANED: u64 = 5000;
