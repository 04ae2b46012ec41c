//! What makes clients wait (CLIENT PAUSE, a shutdown, a failover): which purpose asked, until when, and
//! what rests.
//!
//! ```text
//! purposes: [command][shutdown][failover]   each: what rests, until when      actions = all of them together
//! ```

use super::id::ClientId;

/// What rests.
pub mod action {
    pub const WRITE: u32 = 1 << 0;
    /// Every command; more than WRITE alone.
    pub const ALL: u32 = 1 << 1;
    pub const EXPIRE: u32 = 1 << 2;
    pub const EVICT: u32 = 1 << 3;
    /// What replicas are sent.
    pub const REPLICA: u32 = 1 << 4;
    pub const CLIENTS: u32 = WRITE | ALL;
    pub const WRITE_SET: u32 = WRITE | EXPIRE | EVICT | REPLICA;
    pub const ALL_SET: u32 = ALL | EXPIRE | EVICT | REPLICA;
}

/// What asked for the pause.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    Command,
    Shutdown,
    Failover,
}

#[derive(Debug, Default, Clone, Copy)]
struct Wish {
    actions: u32,
    until_ms: i64,
}

#[derive(Debug, Default)]
pub struct Pause {
    wishes: [Wish; 3],
    actions: u32,
    /// In the order they came; some of them may be closed by now.
    postponed: Vec<ClientId>,
    closed: usize,
}

impl Pause {
    /// Does any of this rest?
    #[inline]
    pub fn has(&self, actions: u32) -> bool {
        self.actions & actions != 0
    }

    /// All that rests.
    pub fn actions(&self) -> u32 {
        self.actions
    }

    /// A longer pause that this purpose has asked for before stays as long. `update` makes it count.
    pub fn ask(&mut self, purpose: Purpose, until_ms: i64, actions: u32) {
        let w = &mut self.wishes[purpose as usize];
        w.actions = actions;
        w.until_ms = w.until_ms.max(until_ms);
    }

    /// The purpose asks for nothing any more.
    pub fn withdraw(&mut self, purpose: Purpose) {
        self.wishes[purpose as usize] = Wish::default();
    }

    /// Drops the wishes that are over, and adds up what the others ask for.
    pub fn update(&mut self, now_ms: i64) {
        self.actions = 0;
        for w in &mut self.wishes {
            if w.until_ms > now_ms {
                self.actions |= w.actions;
            } else {
                *w = Wish::default();
            }
        }
    }

    /// What the command CLIENT PAUSE asked for, and until when.
    pub fn by_command(&self) -> (u32, i64) {
        let w = self.wishes[Purpose::Command as usize];
        (w.actions, w.until_ms)
    }

    /// The client's command waits.
    pub fn postpone(&mut self, id: ClientId) {
        self.postponed.push(id);
    }

    /// Clients whose command waits, in the order they came, and some that have been closed.
    pub fn postponed(&self) -> &[ClientId] {
        &self.postponed
    }

    /// Empties the list and returns it.
    pub fn take_postponed(&mut self) -> Vec<ClientId> {
        self.closed = 0;
        std::mem::take(&mut self.postponed)
    }

    /// A postponed client has been closed. The list is cleaned up when half of it is closed clients.
    pub fn forget(&mut self, live: impl Fn(ClientId) -> bool) {
        self.closed += 1;
        if self.closed * 2 > self.postponed.len() {
            self.postponed.retain(|p| live(*p));
            self.closed = 0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shorter_wish_does_not_end_a_longer_one_of_its_purpose() {
        let mut p = Pause::default();
        p.ask(Purpose::Command, 100, action::ALL_SET);
        p.ask(Purpose::Command, 50, action::WRITE_SET);
        p.ask(Purpose::Shutdown, 70, action::ALL);
        p.update(60);
        assert_eq!(p.actions(), action::WRITE_SET | action::ALL);
        assert_eq!(p.by_command(), (action::WRITE_SET, 100));
        p.update(70);
        assert!(p.has(action::WRITE) && !p.has(action::ALL));
        p.withdraw(Purpose::Command);
        p.update(70);
        assert_eq!(p.actions(), 0);
    }
}
