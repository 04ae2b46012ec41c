//! All that the server listens on, and the pipe by which signals wake the reactor.

use super::listener::Listener;

/// Index of the unix socket among the listeners' tokens, and of the first that speaks TLS.
pub const UNIX: usize = 1 << 16;
pub const TLS: usize = 1 << 17;

/// Sockets that listen on one port.
#[derive(Default)]
pub struct PortListeners {
    pub all: Vec<Listener>,
    /// Their addresses, as `bind` spells them.
    pub bound: Vec<String>,
}

#[derive(Default)]
pub struct Net {
    pub tcp: PortListeners,
    pub tls: PortListeners,
    pub unix: Option<Listener>,
    /// Monotonic milliseconds when connections that could not be accepted are tried again; 0 for none.
    pub accept_again_ms: u64,
    /// When a peer was last warned of for speaking HTTP, in Unix seconds.
    pub http_warning: i64,
    /// Signal handlers write into the one, the reactor wakes by the other.
    pub signals: Option<(mio::unix::pipe::Sender, mio::unix::pipe::Receiver)>,
}

impl Net {
    pub fn listener(&self, n: usize) -> Option<&Listener> {
        match n {
            UNIX => self.unix.as_ref(),
            TLS.. => self.tls.all.get(n - TLS),
            _ => self.tcp.all.get(n),
        }
    }

    /// What `listener` takes.
    pub fn tokens(&self) -> Vec<usize> {
        let tls = TLS..TLS + self.tls.all.len();
        (0..self.tcp.all.len()).chain(self.unix.is_some().then_some(UNIX)).chain(tls).collect()
    }

    pub fn count(&self) -> usize {
        self.tcp.all.len() + self.unix.is_some() as usize + self.tls.all.len()
    }
}
