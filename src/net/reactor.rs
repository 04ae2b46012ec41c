//! The reactor: mio's poll, and what a token means.
//!
//! ```text
//! token  63          32 31           0
//!        [generation   ][index        ]      generation 0: a listener or one of the fixed sources below
//! ```
//!
//! Events are edge-triggered: whoever gets one reads until the socket is drained, or remembers that it
//! did not.

use mio::{Events, Poll, Registry, Token, Waker};
use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::time::Duration;

/// Index of the waker among the tokens of generation 0; listeners count from 0.
const WAKER: usize = u32::MAX as usize;
/// Other sources than clients and listeners (child pipes, timers of subsystems) count from here.
pub const EXTRA: usize = 1 << 20;
/// The first of them: signals were caught.
pub const SIGNALS: usize = 0;

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
    Waker,
    Listener(usize),
    Extra(usize),
    Client { index: u32, generation: u32 },
}

pub fn source(token: usize) -> Source {
    let (generation, index) = ((token >> 32) as u32, token & 0xffff_ffff);
    match (generation, index) {
        (0, WAKER) => Source::Waker,
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
    /// What the kernel told and nobody has dealt with yet, in order.
    queue: VecDeque<Ready>,
}

impl Reactor {
    pub fn new() -> io::Result<Self> {
        let poll = Poll::new()?;
        let waker = Arc::new(Waker::new(poll.registry(), Token(WAKER))?);
        Ok(Reactor { poll, waker, events: Events::with_capacity(1024), queue: VecDeque::new() })
    }

    pub fn registry(&self) -> &Registry {
        self.poll.registry()
    }

    /// Wakes a pass from another thread.
    pub fn waker(&self) -> Arc<Waker> {
        self.waker.clone()
    }

    /// Waits for events and queues them.
    pub fn wait(&mut self, timeout: Option<Duration>) {
        match self.poll.poll(&mut self.events, timeout) {
            Ok(()) => self.queue.extend(self.events.iter().map(|e| Ready {
                token: e.token().0,
                readable: e.is_readable(),
                writable: e.is_writable(),
                closed: e.is_read_closed() || e.is_error(),
            })),
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => panic!("epoll_wait: {e}"),
        }
    }

    /// The next event that nobody has dealt with.
    #[inline]
    pub fn next_event(&mut self) -> Option<Ready> {
        self.queue.pop_front()
    }
}
