//! Connections whose handshake is not done: which of them may go on, and how long each is waited for.
//!
//! ```text
//! begin ─► waits for its peer ── signalled ─► ready ─ take_next ► one step of the handshake ─┬─► waits again
//!              └─ no room, 10 s over: the connection is closed                            └─► ended
//! ```
//!
//! A step may cost some hundred microseconds of private-key work, so steps are not made when an event comes
//! but in the owner's time: it takes them by `take_next` until its share of the pass is used up. Among a few
//! the oldest goes first. Among many the newest does: clients give up after a while, and what is served in
//! the order of its coming is then always too late.
//!
//! The number is bounded, and so is the time of each. When there is no room, a connection that has been
//! silent for a second makes room for a new one: silent connections must not keep others out. If none is,
//! no more are accepted until there is room; new ones wait in the kernel's queue meanwhile.

use super::id::ClientId;
use std::collections::VecDeque;

/// Handshakes under way at most.
const MOST: usize = 1000;
/// With more of them ready than this the newest goes first.
const MANY: usize = 64;
/// A handshake may take so many milliseconds.
const DEADLINE: u64 = 10_000;
/// A peer that has said nothing for so many milliseconds is silent.
const SILENT: u64 = 1000;

/// Is there room for another handshake?
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Room {
    Free,
    /// If this one is closed.
    InPlaceOf(ClientId),
    None,
}

#[derive(Debug)]
struct Handshake {
    id: ClientId,
    begun_ms: u64,
    heard_ms: u64,
    ready: bool,
}

#[derive(Debug, Default)]
pub struct Handshakes {
    /// By their begin.
    all: VecDeque<Handshake>,
    ready: usize,
}

impl Handshakes {
    pub fn len(&self) -> usize {
        self.all.len()
    }

    pub fn room(&self, now_ms: u64) -> Room {
        if self.all.len() < MOST {
            return Room::Free;
        }
        let silent = |h: &&Handshake| !h.ready && now_ms.saturating_sub(h.heard_ms) >= SILENT;
        self.all.iter().find(silent).map_or(Room::None, |h| Room::InPlaceOf(h.id))
    }

    pub fn begin(&mut self, id: ClientId, now_ms: u64) {
        debug_assert!(self.place(id).is_none());
        self.all.push_back(Handshake { id, begun_ms: now_ms, heard_ms: now_ms, ready: false });
    }

    fn place(&self, id: ClientId) -> Option<usize> {
        self.all.iter().position(|h| h.id == id)
    }

    /// The peer has said something, or takes more.
    pub fn signalled(&mut self, id: ClientId, now_ms: u64) {
        if let Some(i) = self.place(id) {
            let h = &mut self.all[i];
            h.heard_ms = now_ms;
            self.ready += usize::from(!h.ready);
            h.ready = true;
        }
    }

    pub fn has_ready(&self) -> bool {
        self.ready > 0
    }

    /// The one that goes on.
    pub fn take_next(&mut self) -> Option<ClientId> {
        let mut ready = self.all.iter_mut().filter(|h| h.ready);
        let h = if self.ready > MANY { ready.next_back() } else { ready.next() }?;
        h.ready = false;
        self.ready -= 1;
        Some(h.id)
    }

    /// It is done, has failed, or is closed.
    pub fn ended(&mut self, id: ClientId) {
        if let Some(h) = self.place(id).and_then(|i| self.all.remove(i)) {
            self.ready -= usize::from(h.ready);
        }
    }

    /// Takes out those that have taken too long.
    pub fn expired(&mut self, now_ms: u64) -> Vec<ClientId> {
        let late = |h: &Handshake| now_ms.saturating_sub(h.begun_ms) >= DEADLINE;
        let n = self.all.iter().take_while(|h| late(h)).count();
        let gone: Vec<Handshake> = self.all.drain(..n).collect();
        self.ready -= gone.iter().filter(|h| h.ready).count();
        gone.into_iter().map(|h| h.id).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::algo::rng::Rng;

    fn id(index: u32) -> ClientId {
        ClientId { index, generation: 1 }
    }

    #[test]
    fn the_oldest_of_few_and_the_newest_of_many() {
        let mut h = Handshakes::default();
        for i in 0..200 {
            h.begin(id(i), 0);
        }
        for i in [5, 3, 9, 3] {
            h.signalled(id(i), 1);
        }
        assert_eq!([h.take_next(), h.take_next()], [Some(id(3)), Some(id(5))]);
        for i in 0..100 {
            h.signalled(id(i), 2);
        }
        assert_eq!([h.take_next(), h.take_next()], [Some(id(99)), Some(id(98))]);
        while h.ready > MANY {
            assert!(h.take_next().is_some());
        }
        assert_eq!(h.take_next(), Some(id(0)), "the storm is over");
    }

    #[test]
    fn the_silent_make_room_and_the_busy_do_not() {
        let mut h = Handshakes::default();
        for i in 0..MOST as u32 {
            assert_eq!(h.room(0), Room::Free);
            h.begin(id(i), 0);
        }
        assert_eq!(h.room(SILENT - 1), Room::None);
        h.signalled(id(0), 1);
        assert_eq!(h.room(SILENT), Room::InPlaceOf(id(1)), "the oldest has spoken");
        assert_eq!(h.take_next(), Some(id(0)));
        assert_eq!(h.room(SILENT + 1), Room::InPlaceOf(id(0)), "it was not heard of since");
        h.ended(id(7));
        assert_eq!(h.room(SILENT), Room::Free);
    }

    #[test]
    fn each_has_its_deadline() {
        let mut h = Handshakes::default();
        h.begin(id(1), 5);
        h.begin(id(2), 6);
        h.signalled(id(1), 9000);
        assert!(h.expired(DEADLINE + 4).is_empty());
        assert_eq!(h.expired(DEADLINE + 5), [id(1)]);
        assert!(!h.has_ready() && h.len() == 1);
        assert_eq!(h.expired(DEADLINE + 500), [id(2)]);
    }

    #[test]
    fn the_count_of_the_ready_is_exact() {
        for seed in 0..50 {
            let (mut rng, mut h) = (Rng::seeded(seed), Handshakes::default());
            let mut next_id = 0;
            for now in 0..3000 {
                let any = id(u32::try_from(rng.index(next_id + 1)).expect("small"));
                match rng.index(6) {
                    0 | 1 => {
                        next_id += 1;
                        h.begin(id(u32::try_from(next_id).expect("small")), now * 7);
                    }
                    2 => h.signalled(any, now * 7),
                    3 => h.ended(any),
                    4 => drop(h.take_next()),
                    _ => drop(h.expired(now * 7)),
                }
                assert_eq!(h.ready, h.all.iter().filter(|h| h.ready).count());
            }
        }
    }
}
