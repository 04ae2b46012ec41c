//! All that the server listens on, and the pipe by which signals wake the reactor.

use super::listener::Listener;

/// Index of the unix socket among the listeners' tokens.
pub const UNIX: usize = 1 << 16;

#[derive(Default)]
pub struct Net {
    pub tcp: Vec<Listener>,
    pub unix: Option<Listener>,
    /// The addresses that TCP listens on, as `bind` spells them.
    pub bound: Vec<String>,
    /// Monotonic milliseconds when connections that could not be accepted are tried again; 0 for none.
    pub accept_again_ms: u64,
    /// When a peer was last warned of for speaking HTTP, in Unix seconds.
    pub http_warning: i64,
    /// Signal handlers write into the one, the reactor wakes by the other.
    pub signals: Option<(mio::unix::pipe::Sender, mio::unix::pipe::Receiver)>,
}

impl Net {
    pub fn listener(&self, n: usize) -> Option<&Listener> {
        if n == UNIX { self.unix.as_ref() } else { self.tcp.get(n) }
    }

    /// What `listener` takes.
    pub fn tokens(&self) -> Vec<usize> {
        (0..self.tcp.len()).chain(self.unix.is_some().then_some(UNIX)).collect()
    }

    pub fn count(&self) -> usize {
        self.tcp.len() + self.unix.is_some() as usize
    }
}
