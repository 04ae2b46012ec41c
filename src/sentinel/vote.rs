//! The leader of a failover: each sentinel votes once an epoch for the first that asks, a candidate for
//! itself.
//!
//! ```text
//! ask_others ─► SENTINEL IS-MASTER-DOWN-BY-ADDR ip port epoch id|*    every second while the master seems
//!               ─► is it down; the last vote, and its epoch           down; at once when a failover begins
//! vote       ─► only in an epoch that is not over and has no vote of ours yet
//! leader     ─► more than half of all sentinels ever met, and at least quorum
//! ```
//!
//! Votes count for the epoch of the failover alone. A candidate goes on asking with that epoch also when
//! others have moved on: it cannot win another epoch's votes by accident, nor use them for its own.

use super::instance::{Awaits, Group, Id, Instance, flag};
use super::text::cat;
use super::{Core, Sentinel};
use crate::proto::reply_in::Value;
use crate::sys::log::Level;
use std::collections::BTreeMap;

/// A failover begins up to so many ms late, so that sentinels do not begin together again and again.
pub(super) const MOST_DESYNC: u64 = 1000;

/// All sentinels that were ever met, and this one: those that are dead count too, or two halves of a group
/// could each have a leader.
pub(super) fn voters(g: &Group) -> usize {
    g.sentinels.len() + 1
}

/// Asks all other sentinels about a master that seems down. `at_once` does not wait for the period.
pub(super) fn ask_others(g: &mut Group, c: &mut Core, at_once: bool) {
    let (now, period) = (c.now(), c.periods.ask);
    for id in g.sentinel_ids() {
        let Some(s) = g.get_mut(id) else { continue };
        let since = now - s.last_down_reply;
        if since > period * 5 {
            s.clear(flag::MASTER_DOWN);
            s.leader = None;
        }
        if !g.master.has(flag::S_DOWN) || (!at_once && since < period) {
            continue;
        }
        let Some(s) = g.get(id).filter(|s| !c.is_cut(s)) else { continue };
        let asks_for_vote = g.failover.state.is_on();
        let (epoch, me) = match asks_for_vote {
            true => (g.failover.epoch, c.myid.clone()),
            false => (c.epoch, b"*".to_vec()),
        };
        let (port, epoch) = (cat![g.master.addr.port], cat![epoch]);
        let host = c.shown(&g.master.addr).to_vec();
        let words = [g.command("SENTINEL"), b"is-master-down-by-addr", &host, &port, &epoch, &me];
        c.ask(s, Awaits::MasterDown, &words);
    }
}

impl Sentinel {
    /// A sentinel has answered.
    pub(super) fn voted(&mut self, at: usize, id: Id, value: &Value) {
        let Value::Array(parts) = value else { return };
        let [Value::Int(down), Value::Bulk(leader), Value::Int(epoch)] = &parts[..] else { return };
        let now = self.core.now();
        let Some(s) = self.groups.get_mut(at).and_then(|g| g.get_mut(id)) else { return };
        s.last_down_reply = now;
        match down {
            1 => s.set(flag::MASTER_DOWN),
            _ => s.clear(flag::MASTER_DOWN),
        }
        let Ok(epoch) = u64::try_from(*epoch) else { return };
        if leader == b"*" {
            return;
        }
        if s.leader_epoch != epoch {
            let text = cat![s.name, " voted for ", leader, " ", epoch];
            self.core.log(Level::Notice, text);
        }
        s.leader = Some(leader.clone());
        s.leader_epoch = epoch;
    }
}

impl Core {
    /// Votes for a sentinel, unless the epoch is over or has a vote; the vote of the last epoch that has one.
    pub(super) fn vote(
        &mut self,
        g: &mut Group,
        epoch: u64,
        candidate: &[u8],
    ) -> Option<(Vec<u8>, u64)> {
        if epoch > self.epoch {
            self.raise_epoch(Some(g), epoch);
        }
        if g.master.leader_epoch < epoch && self.epoch <= epoch {
            g.master.leader = Some(candidate.to_vec());
            g.master.leader_epoch = epoch;
            self.save();
            let message = cat![candidate, " ", epoch];
            self.announce(Level::Warning, "+vote-for-leader", Some(g), message);
            if !candidate.eq_ignore_ascii_case(&self.myid) {
                // The other one has its turn first.
                let late = self.rng.below(MOST_DESYNC).cast_signed();
                g.failover.started = Some(self.now() + late);
            }
        }
        g.master.leader.clone().map(|leader| (leader, g.master.leader_epoch))
    }

    /// An election was not won: the votes, and the sentinels that gave none, for the log.
    pub(super) fn tell_votes(&mut self, g: &Group) {
        let epoch = g.failover.epoch;
        let voted = |s: &&Instance| s.leader.is_some() && s.leader_epoch == epoch;
        let votes = g.sentinels.iter().filter(voted).filter(|s| s.leader.as_deref() == Some(&self.myid));
        let own = g.master.leader_epoch == epoch && g.master.leader.as_deref() == Some(&self.myid);
        let n = votes.count() + usize::from(own);
        let needed = (voters(g) / 2 + 1).max(g.quorum as usize);
        let mut text = cat!["Votes in epoch ", epoch, ": ", n, " of ", needed, " that are needed"];
        for s in g.sentinels.iter().filter(|s| !voted(s)) {
            let state = if s.has(flag::S_DOWN) { " (down)" } else { "" };
            text.extend(cat![", none from ", s.name, state]);
        }
        self.log(Level::Notice, text);
    }

    /// The leader of the failover that this sentinel has begun, by the votes that are known. This sentinel
    /// votes as well, for the one with most votes, and counts its vote when it is on the disk.
    pub(super) fn leader(&mut self, g: &mut Group) -> Option<Vec<u8>> {
        let epoch = g.failover.epoch;
        let mut votes: BTreeMap<Vec<u8>, usize> = BTreeMap::new();
        for s in g.sentinels.iter().filter(|s| s.leader_epoch == epoch) {
            if let Some(leader) = &s.leader {
                *votes.entry(leader.clone()).or_default() += 1;
            }
        }
        let most = |votes: &BTreeMap<Vec<u8>, usize>| {
            votes.iter().max_by_key(|(_, n)| **n).map(|(leader, n)| (leader.clone(), *n))
        };
        let favourite = most(&votes).map_or_else(|| self.myid.clone(), |(leader, _)| leader);
        if let Some((leader, voted)) = self.vote(g, epoch, &favourite)
            && voted == epoch
            && !self.unsaved
        {
            *votes.entry(leader).or_default() += 1;
        }
        let majority = voters(g) / 2 + 1;
        let (leader, n) = most(&votes)?;
        (n >= majority && n >= g.quorum as usize).then_some(leader)
    }
}
