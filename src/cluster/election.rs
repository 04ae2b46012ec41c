//! Elections: a replica whose master has failed asks for votes, and masters with slots give one an epoch.
//!
//! ```text
//!  FAIL ─► delay by rank ─► epoch + 1 on disk ─► AUTH_REQUEST to all ─► majority of AUTH_ACK ─► master
//!              ▲                                       └ no majority in time: expired ┐
//!              └─────────────────────────────── a little later ──────────────────────┘
//! ```

use super::nodes::{Node, NodeId};
use super::saves::Held;
use super::slots::SlotSet;
use super::{Action, Cluster, Cx};
use crate::proto::bus::{Body, FORCE_ACK, Flags, Header, Kind};
use crate::sys::log::Level;
use std::sync::Arc;

/// So that FAIL reaches all voters before the first request does.
const DELAY: u64 = 500;
const RANDOM_DELAY: u64 = 200;
/// For each sibling with newer data.
const RANK_DELAY: u64 = 1000;
/// For siblings with the same data that come first: or they would split the votes.
const TIE_DELAY: u64 = 300;
/// For each other master that has failed and comes first: elections do not split the votes of one epoch.
const FAILED_DELAY: u64 = 500;
const RELOG: u64 = 10_000;
const QUIET: u64 = 5000;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Obstacle {
    DataAge,
    WaitingDelay,
    Expired,
    WaitingVotes,
}

#[derive(Debug, Default)]
pub(super) struct Election {
    /// When the votes are asked for; None: no election was begun.
    at: Option<u64>,
    sent: bool,
    epoch: u64,
    rank: u64,
    /// Other masters whose elections come first.
    failed_before: u64,
    votes: Vec<NodeId>,
    /// A vote of this node that waits for the link to its candidate.
    owed: Option<(NodeId, u64)>,
    obstacle: Option<Obstacle>,
    told_at: Option<u64>,
}

impl Election {
    /// The next one begins at once.
    pub fn forget(&mut self) {
        self.at = None;
        self.sent = false;
        self.votes.clear();
    }
}

impl Cluster {
    // ---- the candidate ---------------------------------------------------------------------------

    pub(super) fn run_election(&mut self, cx: &mut Cx<'_>) {
        self.due.failover = false;
        let manual = self.manual.can_start();
        // The slots of the master with none of its data, or a part of them. Each tick asks again.
        let has_data = !cx.env.loading && !cx.env.hollow;
        if !has_data || !self.may_run(manual) {
            self.election.obstacle = None;
            return;
        }
        let (now, timeout) = (cx.now(), self.settings.node_timeout);
        let factor = self.settings.validity_factor;
        let limit = timeout
            .saturating_mul(factor)
            .saturating_add(self.settings.repl_ping_period.saturating_mul(1000));
        let age = cx.env.data_age.unwrap_or(u64::MAX);
        let age = if age > timeout { age - timeout } else { age };
        if !manual && factor > 0 && age > limit {
            return self.cannot(Obstacle::DataAge, cx);
        }
        let valid = (2 * timeout).max(2000);
        let waited = |at: u64| now.checked_sub(at);
        // By then upstream's voters would vote for another replica of this master.
        let over = |at| waited(at).is_some_and(|age| age > valid + DELAY);
        let Some(at) = self.election.at.filter(|at| !over(*at)) else {
            return self.schedule(cx);
        };
        let at = self.update_rank(at, cx);
        match waited(at) {
            None => self.cannot(Obstacle::WaitingDelay, cx),
            Some(age) if age > valid => self.cannot(Obstacle::Expired, cx),
            Some(_) if !self.election.sent => self.candidate(cx),
            Some(_) if self.election.votes.len() >= self.quorum() => self.won(cx),
            Some(_) => self.cannot(Obstacle::WaitingVotes, cx),
        }
    }

    fn may_run(&self, manual: bool) -> bool {
        let Some(master) = self.nodes.master_of(self.nodes.me()) else { return false };
        let wanted = manual || (master.is_failed() && !self.settings.replica_no_failover);
        self.nodes.myself().is_replica()
            && wanted
            && master.slots.count() > 0
            && !self.settings.module_no_failover
    }

    fn schedule(&mut self, cx: &mut Cx<'_>) {
        let now = cx.now();
        let rank = if self.manual.is_on() { 0 } else { self.rank(cx.env.offset) };
        let delay = match self.manual.is_on() {
            true => 0,
            false => {
                let random = self.rng.below(RANDOM_DELAY);
                self.election.failed_before = self.failed_before_mine();
                let others = RANK_DELAY * rank + FAILED_DELAY * self.election.failed_before;
                DELAY + random + others + TIE_DELAY * self.ties(cx.env.offset)
            }
        };
        self.election.at = Some(now + delay);
        self.election.sent = false;
        self.election.votes.clear();
        self.election.rank = rank;
        self.due.failover = delay == 0;
        let text = format!(
            "Start of election delayed for {delay} milliseconds (rank #{rank}, offset {}).",
            cx.env.offset
        );
        cx.log(Level::Notice, text);
        // The siblings learn the offset, and may find themselves behind.
        self.pong_siblings(cx);
    }

    /// Siblings that compete and have newer data.
    fn rank(&self, offset: u64) -> u64 {
        let Some(master) = self.nodes.master_of(self.nodes.me()) else { return 0 };
        let apart = Flags::MYSELF.with(Flags::NOFAILOVER).with(Flags::FAIL);
        let siblings = master.replicas.iter().filter_map(|r| self.nodes.get(*r));
        siblings.filter(|n| !n.flags.has(apart) && n.offset > offset).count() as u64
    }

    fn ties(&self, offset: u64) -> u64 {
        let me = self.nodes.myself();
        let Some(master) = me.master.and_then(|m| self.nodes.get(m)) else { return 0 };
        let apart = Flags::MYSELF.with(Flags::NOFAILOVER).with(Flags::FAIL);
        let siblings = master.replicas.iter().filter_map(|r| self.nodes.get(*r));
        let before = |n: &&Node| !n.flags.has(apart) && n.offset == offset && n.name < me.name;
        siblings.filter(before).count() as u64
    }

    fn failed_before_mine(&self) -> u64 {
        let Some(master) = self.nodes.master_of(self.nodes.me()) else { return 0 };
        let (at, near) = (master.failed_at.unwrap_or(0), self.settings.node_timeout);
        // Those that fail together with it, not those that have no replica for long.
        let long_ago = |n: &Node| n.failed_at.is_some_and(|other| at.abs_diff(other) > near);
        let fails = |n: &Node| n.flags.has(Flags::PFAIL) || n.is_failed() && !long_ago(n);
        let before = |n: &Node| n.is_voter() && fails(n) && n.name < master.name;
        self.nodes.iter().filter(|(_, n)| before(n)).count() as u64
    }

    /// The siblings may have told of newer data since the delay was reckoned.
    fn update_rank(&mut self, at: u64, cx: &mut Cx<'_>) -> u64 {
        if self.election.sent || self.manual.is_on() {
            return at;
        }
        // Others may have been found failing, too.
        let failed = self.failed_before_mine().max(self.election.failed_before);
        let at = at + FAILED_DELAY * (failed - self.election.failed_before);
        self.election.failed_before = failed;
        self.election.at = Some(at);
        let rank = self.rank(cx.env.offset);
        if rank <= self.election.rank {
            return at;
        }
        let added = (rank - self.election.rank) * RANK_DELAY;
        self.election.rank = rank;
        self.election.at = Some(at + added);
        let text = format!("Replica rank updated to #{rank}, added {added} milliseconds of delay.");
        cx.log(Level::Notice, text);
        at + added
    }

    fn candidate(&mut self, cx: &mut Cx<'_>) {
        if self.saves.is_failing() {
            return;
        }
        self.begin_claim();
        self.current_epoch = self.current_epoch.saturating_add(1);
        let epoch = self.current_epoch;
        self.election.epoch = epoch;
        self.election.sent = true;
        cx.log(Level::Notice, format!("Starting a failover election for epoch {epoch}."));
        self.hold(Held::AskForVotes { epoch });
        self.due.state = true;
    }

    /// The epoch is on disk.
    pub(super) fn ask_for_votes(&mut self, epoch: u64, cx: &mut Cx<'_>) {
        if self.election.sent && self.election.epoch == epoch && self.nodes.myself().is_replica() {
            let block = self.request(epoch, cx);
            self.broadcast_block(Kind::AuthRequest, &block, |_| true, cx);
        }
    }

    /// A link has opened: its node has missed the request, or this node's vote.
    pub(super) fn catch_up_votes(&mut self, id: NodeId, cx: &mut Cx<'_>) {
        if let Some((_, epoch)) = self.election.owed.take_if(|(to, _)| *to == id) {
            self.send_vote(id, epoch, cx);
        }
        let Some(node) = self.nodes.get(id) else { return };
        let missed = node.is_voter() && !self.election.votes.contains(&id);
        let on_disk = self.saves.barrier.is_none();
        if self.election.sent && on_disk && missed && self.nodes.myself().is_replica() {
            let block = self.request(self.election.epoch, cx);
            self.send_to(id, Kind::AuthRequest, block, cx);
        }
    }

    fn request(&self, epoch: u64, cx: &Cx<'_>) -> Arc<[u8]> {
        // A later epoch that was seen meanwhile would win the vote for nothing.
        let mut say = self.published();
        say.current_epoch = epoch;
        self.block_of(&say, &Body::AuthRequest, cx)
    }

    pub(super) fn voted_for_me(&mut self, id: NodeId, header: &Header<'_>) {
        let votes = self.nodes.get(id).is_some_and(Node::is_voter);
        let counts = self.election.sent && header.current_epoch == self.election.epoch;
        if votes && counts && !self.election.votes.contains(&id) {
            self.election.votes.push(id);
            self.due.failover = true;
        }
    }

    fn won(&mut self, cx: &mut Cx<'_>) {
        cx.log(Level::Notice, "Failover election won: I'm the new master.");
        let epoch = self.election.epoch;
        self.begin_claim();
        if self.nodes.myself().config_epoch < epoch {
            self.nodes.myself_mut().config_epoch = epoch;
            let text = format!("configEpoch set to {epoch} after successful failover");
            cx.log(Level::Notice, text);
        }
        self.replace_master(cx);
    }

    /// Becomes the master and takes all slots of the old one. A claim was begun, and the epoch is new.
    pub(super) fn replace_master(&mut self, cx: &mut Cx<'_>) {
        let me = self.nodes.me();
        let Some(old) = self.nodes.myself().master else { return };
        debug_assert!(self.saves.barrier.is_some() && self.nodes.myself().is_replica());
        self.becomes_master(me);
        self.following = false;
        cx.out.push(Action::BecomeMaster);
        let slots: SlotSet = self.nodes.get(old).map(|n| n.slots.clone()).unwrap_or_default();
        for slot in slots.iter() {
            self.unbind(slot);
            // Clients of its channels subscribe again, as they do after any change of the owner.
            self.left.insert(slot);
            self.bind(slot, me);
        }
        self.election.forget();
        self.due.state = true;
        self.saves.due_with_fsync();
        self.tell_all_when_saved(cx);
        self.end_manual(cx);
    }

    fn cannot(&mut self, obstacle: Obstacle, cx: &mut Cx<'_>) {
        let now = cx.now();
        let since = |at: u64| now.saturating_sub(at);
        if self.election.obstacle == Some(obstacle)
            && self.election.told_at.is_some_and(|at| since(at) < RELOG)
        {
            return;
        }
        self.election.obstacle = Some(obstacle);
        let quiet = self.settings.node_timeout + QUIET;
        let failed = self.nodes.master_of(self.nodes.me()).filter(|m| m.is_failed());
        if failed.and_then(|m| m.failed_at).is_some_and(|at| since(at) < quiet) {
            return;
        }
        self.election.told_at = Some(now);
        let why = match obstacle {
            Obstacle::DataAge => {
                "Disconnected from master for longer than allowed. Please check the \
                 'cluster-replica-validity-factor' configuration option."
            }
            Obstacle::WaitingDelay => "Waiting the delay before I can start a new failover.",
            Obstacle::Expired => "Failover attempt expired.",
            Obstacle::WaitingVotes => "Waiting for votes, but majority still not reached.",
        };
        cx.log(Level::Notice, format!("Currently unable to failover: {why}"));
        if matches!(obstacle, Obstacle::Expired | Obstacle::WaitingVotes) {
            let (needed, votes) = (self.quorum(), self.election.votes.len());
            let text = format!("Needed quorum: {needed}. Number of votes received so far: {votes}");
            cx.log(Level::Notice, text);
        }
    }

    // ---- the voter -------------------------------------------------------------------------------

    pub(super) fn vote(&mut self, id: NodeId, header: &Header<'_>, cx: &mut Cx<'_>) {
        if !self.nodes.myself().is_voter() {
            return;
        }
        let Some(candidate) = self.nodes.get(id) else { return };
        let shown = candidate.shown();
        if let Some(why) = self.against(candidate, header) {
            return cx.log(Level::Warning, format!("Failover auth denied to {shown}: {why}"));
        }
        self.begin_claim();
        let epoch = self.current_epoch;
        self.last_vote_epoch = epoch;
        self.hold(Held::Vote { to: id, epoch });
        cx.log(Level::Notice, format!("Failover auth granted to {shown} for epoch {epoch}"));
    }

    /// The vote is on disk.
    pub(super) fn send_vote(&mut self, to: NodeId, epoch: u64, cx: &mut Cx<'_>) {
        if self.nodes.get(to).is_some_and(|n| n.link.is_none()) {
            self.election.owed = Some((to, epoch));
            return;
        }
        // The epoch of the vote, whatever has come since.
        let mut say = self.published();
        say.current_epoch = epoch;
        let block = self.block_of(&say, &Body::AuthAck, cx);
        self.send_to(to, Kind::AuthAck, block, cx);
    }

    /// Why this node does not vote for that one.
    fn against(&self, candidate: &Node, header: &Header<'_>) -> Option<String> {
        let (asked, current) = (header.current_epoch, self.current_epoch);
        if asked < current {
            return Some(format!("reqEpoch ({asked}) < curEpoch({current})"));
        }
        if self.last_vote_epoch >= current {
            return Some(format!("already voted for epoch {}", self.last_vote_epoch));
        }
        if candidate.is_master() {
            return Some("it is a master node".into());
        }
        let Some(master) = candidate.master.and_then(|m| self.nodes.get(m)) else {
            return Some("I don't know its master".into());
        };
        if !master.is_failed() && header.mflags & FORCE_ACK == 0 {
            return Some("its master is up".into());
        }
        let newer = SlotSet::of_bytes(header.slots).iter().find_map(|slot| {
            let owner = self.slots.owner(slot).filter(|_| !self.slots.unclaimed.has(slot));
            let epoch = self.nodes.get(owner?)?.config_epoch;
            (epoch > header.config_epoch).then_some((slot, epoch))
        });
        if let Some((slot, epoch)) = newer {
            return Some(format!("slot {slot} epoch ({epoch}) > reqEpoch ({})", header.config_epoch));
        }
        self.saves.is_failing().then(|| "the cluster config file cannot be saved".into())
    }
}
