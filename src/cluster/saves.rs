//! Saving, and the barrier: what this node claims is on disk before another node hears of it.
//!
//! ```text
//!   claim ─► begin_claim: headers go on saying what was ─► due, with fsync ─► Save ─► Saved ─► release
//!                 │                                                             └─ failed: again in 1 s
//!                 └ hold: the packets that carry the claim wait
//! ```
//!
//! One save is under way at a time; what changes meanwhile goes into the next. A claim that begins during a
//! save waits for the one after it, which its text is in.

use super::links::Published;
use super::nodes::NodeId;
use super::{Action, Cluster, Cx, Env};
use crate::sys::log::Level;

const RETRY_MS: u64 = 1000;
const WARN_MS: u64 = 10_000;

/// A packet that waits for the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Held {
    Vote { to: NodeId, epoch: u64 },
    AskForVotes { epoch: u64 },
    PongAll,
}

#[derive(Debug)]
pub(super) struct Barrier {
    /// What headers say until then.
    pub before: Published,
    /// The save that has it all; None until it is under way.
    generation: Option<u64>,
    held: Vec<Held>,
}

#[derive(Debug, Default)]
pub(super) struct Saves {
    pub due: bool,
    fsync: bool,
    generation: u64,
    under_way: bool,
    pub barrier: Option<Barrier>,
    /// Since when saves fail, and what they do then.
    failing: Option<Failing>,
}

#[derive(Clone, Copy, Debug)]
struct Failing {
    retry_at: u64,
    warned_at: u64,
}

impl Saves {
    pub fn due_with_fsync(&mut self) {
        self.due = true;
        self.fsync = true;
    }

    /// Has the last save failed? Then nothing new is claimed.
    pub fn is_failing(&self) -> bool {
        self.failing.is_some()
    }

    pub fn can_begin(&self, now: u64) -> bool {
        self.due && !self.under_way && self.failing.is_none_or(|f| f.retry_at <= now)
    }
}

impl Cluster {
    /// To be called before the claim changes anything here.
    pub(super) fn begin_claim(&mut self) {
        if self.saves.barrier.is_none() {
            let before = self.published();
            self.saves.barrier = Some(Barrier { before, generation: None, held: Vec::new() });
        }
        if let Some(barrier) = &mut self.saves.barrier {
            // What is being written does not have this one.
            barrier.generation = None;
        }
        self.saves.due_with_fsync();
    }

    pub(super) fn hold(&mut self, packet: Held) {
        let barrier = self.saves.barrier.as_mut().expect("a claim was begun");
        if !barrier.held.contains(&packet) {
            barrier.held.push(packet);
        }
    }

    pub(super) fn begin_save(&mut self, cx: &mut Cx<'_>) {
        if !self.saves.can_begin(cx.now()) {
            return;
        }
        let text = self.conf_text(cx.env.now);
        let saves = &mut self.saves;
        saves.generation += 1;
        saves.due = false;
        saves.under_way = true;
        if let Some(barrier) = &mut saves.barrier {
            barrier.generation = Some(saves.generation);
        }
        let (fsync, generation) = (std::mem::take(&mut saves.fsync), saves.generation);
        cx.out.push(Action::Save { text, fsync, generation });
    }

    /// Whatever is known now goes to the disk, though a save has failed a moment ago. None is under way.
    pub(crate) fn save_at_once(&mut self, env: &Env<'_>, out: &mut Vec<Action>) {
        debug_assert!(!self.saves.under_way);
        self.saves.due_with_fsync();
        if let Some(failing) = &mut self.saves.failing {
            failing.retry_at = 0;
        }
        self.begin_save(&mut Cx { env, out });
    }

    pub(super) fn saved(&mut self, generation: u64, result: Result<(), String>, cx: &mut Cx<'_>) {
        if generation != self.saves.generation || !self.saves.under_way {
            return;
        }
        self.saves.under_way = false;
        if let Err(why) = result {
            return self.save_failed(&why, cx);
        }
        if self.saves.failing.take().is_some() {
            cx.log(Level::Notice, "The cluster config file can be saved again.");
        }
        let done = |b: &mut Barrier| b.generation.is_some_and(|g| g <= generation);
        if let Some(barrier) = self.saves.barrier.take_if(done) {
            barrier.held.into_iter().for_each(|packet| self.release(packet, cx));
        }
    }

    fn save_failed(&mut self, why: &str, cx: &mut Cx<'_>) {
        if self.settings.exit_on_failed_save {
            return cx.out.push(Action::Fatal("Fatal: can't update cluster config file.".into()));
        }
        let now = cx.now();
        let warned_at = self.saves.failing.map(|f| f.warned_at);
        let warns = warned_at.is_none_or(|at| now.saturating_sub(at) >= WARN_MS);
        if warns {
            let text = format!(
                "Can't update the cluster config file: {why}. This node goes on serving, and neither votes \
                 nor claims an epoch until that works again."
            );
            cx.log(Level::Warning, text);
        }
        let warned_at = warned_at.filter(|_| !warns).unwrap_or(now);
        self.saves.failing = Some(Failing { retry_at: now + RETRY_MS, warned_at });
        self.saves.due_with_fsync();
        if let Some(barrier) = &mut self.saves.barrier {
            barrier.generation = None;
            // Candidates do not wait that long.
            barrier.held.retain(|p| !matches!(p, Held::Vote { .. }));
        }
    }

    /// A save that has failed is tried again.
    pub(super) fn tick_saves(&mut self, cx: &mut Cx<'_>) {
        if self.saves.failing.is_some() {
            self.begin_save(cx);
        }
    }

    fn release(&mut self, packet: Held, cx: &mut Cx<'_>) {
        match packet {
            Held::Vote { to, epoch } => self.send_vote(to, epoch, cx),
            Held::AskForVotes { epoch } => self.ask_for_votes(epoch, cx),
            Held::PongAll => self.pong_all(cx),
        }
    }
}
