//! Whether the cluster serves, as far as this node sees it, and which slots this node serves by that.

use super::slots::{self, SLOTS, SlotWords};
use super::{Action, Cluster, Cx};
use crate::sys::log::Level;

/// A master serves nothing so soon after the start: the others may have given its slots away.
const WRITABLE_DELAY: u64 = 2000;
/// Bounds of the wait after a minority.
const REJOIN_DELAY: (u64, u64) = (500, 5000);

#[derive(Debug)]
pub(super) struct State {
    pub is_ok: bool,
    /// Masters with slots; what a majority is counted of.
    pub size: usize,
    first_look: Option<u64>,
    in_minority: Option<u64>,
}

impl Default for State {
    fn default() -> Self {
        State { is_ok: false, size: 1, first_look: None, in_minority: None }
    }
}

/// What this node serves, as bits.
#[derive(Debug)]
pub(super) struct Masks {
    /// Its own slots, those that migrate away left out.
    serve: SlotWords,
    /// Its master's.
    reads: SlotWords,
    /// Where a client may wait for a key: its own, its master's, those that are imported.
    waits: SlotWords,
}

impl Default for Masks {
    fn default() -> Self {
        Masks { serve: [0; 256], reads: [0; 256], waits: [0; 256] }
    }
}

impl Cluster {
    /// This slot is served here, to anything, without a look at its keys.
    #[inline]
    pub(crate) fn serves(&self, slot: u16) -> bool {
        slots::has(&self.masks.serve, slot)
    }

    /// This slot is the master's of this replica: reads of a READONLY client are served.
    #[inline]
    pub(crate) fn serves_reads(&self, slot: u16) -> bool {
        slots::has(&self.masks.reads, slot)
    }

    pub(super) fn quorum(&self) -> usize {
        self.state.size / 2 + 1
    }

    pub(super) fn update_state(&mut self, cx: &mut Cx<'_>) {
        let (now, master) = (cx.now(), self.nodes.myself().is_master());
        let first = *self.state.first_look.get_or_insert(now);
        let voters = || self.nodes.iter().map(|(_, n)| n).filter(|n| n.is_voter());
        self.state.size = voters().count();
        let reached = voters().filter(|n| !n.is_doubtful()).count();
        if master && !self.state.is_ok && now.saturating_sub(first) < WRITABLE_DELAY {
            return;
        }
        let alive = self.nodes.iter().filter(|(_, n)| !n.is_failed());
        let served: u16 = alive.map(|(_, n)| n.slots.count()).sum();
        let mut ok = !self.settings.require_full_coverage || served == SLOTS;
        if reached < self.quorum() {
            ok = false;
            self.state.in_minority = Some(now);
        }
        if ok == self.state.is_ok {
            return;
        }
        let (least, most) = REJOIN_DELAY;
        let wait = self.settings.node_timeout.clamp(least, most);
        let since = self.state.in_minority.map_or(u64::MAX, |at| now.saturating_sub(at));
        if ok && master && since < wait {
            return;
        }
        let (level, name) = if ok { (Level::Notice, "ok") } else { (Level::Warning, "fail") };
        cx.log(level, format!("Cluster state changed: {name}"));
        self.state.is_ok = ok;
        self.due.masks = true;
    }

    /// Brings the bits up to date, and tells what is lost.
    pub(super) fn update_masks(&mut self, cx: &mut Cx<'_>) {
        if !std::mem::take(&mut self.due.masks) {
            return;
        }
        let me = self.nodes.myself();
        let mut next = Masks::default();
        if self.state.is_ok {
            next.serve = *me.slots.words();
            next.waits = next.serve;
            for slot in self.slots.migrating.keys() {
                next.serve[usize::from(slot >> 6)] &= !(1 << (slot & 63));
            }
            if let Some(master) = me.master.and_then(|m| self.nodes.get(m)) {
                next.reads = *master.slots.words();
            }
            for (wait, read) in next.waits.iter_mut().zip(&next.reads) {
                *wait |= read;
            }
            for slot in self.slots.importing.keys() {
                next.waits[usize::from(slot >> 6)] |= 1 << (slot & 63);
            }
        }
        let mut lost = Box::new([0; 256]);
        for (n, word) in lost.iter_mut().enumerate() {
            *word = self.masks.waits[n] & !next.waits[n];
        }
        self.masks = next;
        if lost.iter().any(|w| *w != 0) {
            cx.out.push(Action::Lost(lost));
        }
    }
}
