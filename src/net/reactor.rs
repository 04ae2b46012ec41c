//! The reactor: mio's poll, and what a token means.
//!
//! ```text
//! token  63          32 31           0
//!        [generation   ][index        ]      generation 0: a listener or one of the fixed sources below
//! ```
//!
//! Events are edge-triggered: after one the socket is read until it is drained, or the client stands on a
//! list of those that are not (`Clients::to_read`).

use super::busy_poll::{self, BusyPoll};
use crate::sys::clock::{Clock, ticks};
use crate::sys::cpu;
use mio::{Events, Poll, Registry, Token, Waker};
use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::time::Duration;

/// Among the tokens of generation 0 listeners count from 0, and other sources than clients and listeners
/// (child pipes, timers of subsystems) from here.
pub const EXTRA: usize = 1 << 20;
/// The first of them: signals were caught.
pub const SIGNALS: usize = 0;
/// Another thread is done with something.
const WAKER: usize = 1;
/// The connection to the master, until a client reads the stream.
pub const LINK: usize = 2;
/// The pipe of a full sync without a file.
pub const TRANSFER: usize = 3;
/// Listeners of the cluster bus, from here on.
pub const BUS: usize = 16;
/// Its connections, by their index.
pub const NODES: usize = 1 << 16;

#[derive(Debug, Clone, Copy)]
pub struct Ready {
    pub token: usize,
    pub readable: bool,
    pub writable: bool,
    /// Hang-up or error: read on until the end.
    pub closed: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    Listener(usize),
    Extra(usize),
    Client { index: u32, generation: u32 },
}

pub fn source(token: usize) -> Source {
    let (generation, index) = ((token >> 32) as u32, token & 0xffff_ffff);
    match (generation, index) {
        (0, i) if i >= EXTRA => Source::Extra(i - EXTRA),
        (0, i) => Source::Listener(i),
        (generation, i) => Source::Client { index: i as u32, generation },
    }
}

pub struct Reactor {
    poll: Poll,
    waker: Arc<Waker>,
    /// Room for what one wait brings.
    events: Events,
    /// Events that the kernel reported and no pass has dealt with yet, in order.
    queue: VecDeque<Ready>,
    busy_poll: BusyPoll,
    /// The source of the last batch of events, if it was one event; and whether the batch before was, too.
    single: Option<Token>,
    lone: bool,
    /// Events have come since the last wait that was allowed to block: the loop has work.
    worked: bool,
    processors: Processors,
}

/// How many processors the process may use (by its mask and its control group), and when this was asked.
#[derive(Default)]
struct Processors {
    count: usize,
    asked: Option<u64>,
}

impl Processors {
    /// The answer changes rarely and costs the reading of some files.
    const GOOD_FOR_NS: u64 = 10_000_000_000;

    fn spare(&mut self, clock: &Clock) -> bool {
        let now = ticks();
        if self.asked.is_none_or(|t| clock.ns(now.saturating_sub(t)) > Self::GOOD_FOR_NS) {
            (self.count, self.asked) = (cpu::usable(), Some(now));
        }
        self.count >= 2
    }
}

/// What polling before a sleep came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Polled {
    pub hit: bool,
    pub ticks: u64,
}

impl Reactor {
    pub fn new() -> io::Result<Self> {
        let poll = Poll::new()?;
        let waker = Arc::new(Waker::new(poll.registry(), Token(EXTRA + WAKER))?);
        Ok(Reactor {
            poll,
            waker,
            events: Events::with_capacity(1024),
            queue: VecDeque::new(),
            busy_poll: BusyPoll::default(),
            single: None,
            lone: false,
            worked: false,
            processors: Processors::default(),
        })
    }

    pub fn registry(&self) -> &Registry {
        self.poll.registry()
    }

    /// Wakes a pass from another thread.
    pub fn waker(&self) -> Arc<Waker> {
        self.waker.clone()
    }

    /// Waits for events and queues them. After a pass with work it first polls for up to `bound`
    /// nanoseconds, where that has paid lately (`BusyPoll`).
    pub fn wait(&mut self, timeout: Duration, bound: u64, clock: &Clock) -> Option<Polled> {
        if timeout.is_zero() {
            self.worked |= self.take_events(timeout);
            return None;
        }
        let polled = self.poll_busily(bound, clock);
        if polled.is_none_or(|p| !p.hit) {
            let begun = ticks();
            self.worked = self.take_events(timeout);
            if self.worked && polled.is_none() {
                let slept = clock.ns(ticks().saturating_sub(begun));
                self.busy_poll.slept(slept, busy_poll::longest(bound, self.lone));
            }
        }
        polled
    }

    fn poll_busily(&mut self, bound: u64, clock: &Clock) -> Option<Polled> {
        let processors = &mut self.processors;
        if bound == 0 || !self.worked || !self.busy_poll.begins(|| processors.spare(clock)) {
            return None;
        }
        let patience = self.busy_poll.patience(busy_poll::longest(bound, self.lone));
        let (begun, most) = (ticks(), clock.ticks_in(patience));
        loop {
            let hit = self.take_events(Duration::ZERO);
            let ticks = ticks().saturating_sub(begun);
            if hit || ticks >= most {
                self.busy_poll.polled(hit.then(|| clock.ns(ticks)));
                return Some(Polled { hit, ticks });
            }
            std::hint::spin_loop();
        }
    }

    /// True when there were any.
    fn take_events(&mut self, timeout: Duration) -> bool {
        match self.poll.poll(&mut self.events, Some(timeout)) {
            Ok(()) => self.queue.extend(self.events.iter().map(|e| Ready {
                token: e.token().0,
                readable: e.is_readable(),
                writable: e.is_writable(),
                closed: e.is_read_closed() || e.is_error(),
            })),
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => panic!("epoll_wait: {e}"),
        }
        let mut tokens = self.events.iter().map(|e| e.token());
        let Some(first) = tokens.next() else { return false };
        let single = tokens.next().is_none().then_some(first);
        (self.lone, self.single) = (single.is_some() && single == self.single, single);
        true
    }

    /// The next event that no pass has dealt with.
    #[inline]
    pub fn next_event(&mut self) -> Option<Ready> {
        self.queue.pop_front()
    }
}
