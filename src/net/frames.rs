//! A connection of the cluster bus: bytes come in until they make a packet, blocks wait to go out.
//!
//! ```text
//! socket ─► input ─► packets        block, block, block ─► socket
//!                                   each may stand in the queues of many connections
//! ```
//!
//! How long a packet is only the bus knows: it looks at what has come, and says how much more is worth
//! waiting for. A queue counts every block in full, though the memory is shared, since that is what the
//! limit of a connection is about.

use super::stream::{Read, Stream, Written};
use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::sync::Arc;

/// Bytes that one read asks for, so that a packet's length announced makes no buffer by itself.
const PIECE: usize = 64 * 1024;
/// Room that an empty buffer keeps.
const KEEP: usize = 16 * 1024;
/// What a block costs beside its bytes.
const BLOCK: usize = size_of::<Arc<[u8]>>() + 2 * size_of::<usize>();

/// Which end a connection has that is not open yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Opening {
    /// It connects, and then has its handshake, if there is one.
    Dialed,
    /// The handshake is under way.
    Accepted,
}

pub struct Frames {
    pub stream: Stream,
    /// None: the connection can be used.
    pub opening: Option<Opening>,
    /// There may be more to read, which no event announces.
    pub unread: bool,
    input: Vec<u8>,
    queue: VecDeque<Arc<[u8]>>,
    /// Bytes of the first block that have left.
    left: usize,
    queued: usize,
    /// The socket is full: an event tells when it has room.
    full: bool,
}

impl Frames {
    pub fn new(stream: Stream, opening: Option<Opening>) -> Frames {
        Frames {
            stream,
            opening,
            unread: false,
            input: Vec::new(),
            queue: VecDeque::new(),
            left: 0,
            queued: 0,
            full: false,
        }
    }

    /// What has come and was not taken.
    pub fn input(&self) -> &[u8] {
        &self.input
    }

    /// Takes the first bytes out.
    pub fn take(&mut self, n: usize) -> Vec<u8> {
        let rest = self.input.split_off(n);
        std::mem::replace(&mut self.input, rest)
    }

    /// Reads once. False at the end of the stream.
    pub fn read(&mut self) -> io::Result<bool> {
        let done = self.stream.read_into(&mut self.input, PIECE)?;
        self.unread = matches!(done, Read::More(_));
        if self.input.is_empty() && self.input.capacity() > KEEP {
            self.input = Vec::new();
        }
        Ok(done != Read::End)
    }

    pub fn push(&mut self, block: Arc<[u8]>) {
        self.queued += block.len();
        self.queue.push_back(block);
    }

    /// Bytes that wait to go out, with what a queue costs.
    pub fn waiting(&self) -> usize {
        self.queued + self.queue.len() * BLOCK
    }

    /// The same with the room of the queue.
    pub fn allocated(&self) -> usize {
        self.queued + self.queue.capacity().max(self.queue.len()) * BLOCK
    }

    /// All that the connection holds.
    pub fn footprint(&self) -> usize {
        size_of::<Frames>() + self.input.capacity() + self.allocated()
    }

    pub fn has_room_again(&mut self) {
        self.full = false;
    }

    pub fn wants_to_write(&self) -> bool {
        self.opening.is_none() && !self.full && !self.queue.is_empty()
    }

    /// Writes as much as the socket takes; how many bytes that were.
    pub fn flush(&mut self) -> io::Result<usize> {
        let mut all = 0;
        while self.wants_to_write() {
            let mut pieces = [IoSlice::new(&[]); Stream::PIECES];
            let mut n = 0;
            for (piece, block) in pieces.iter_mut().zip(&self.queue) {
                let from = if n == 0 { self.left } else { 0 };
                *piece = IoSlice::new(block.get(from..).unwrap_or_default());
                n += 1;
            }
            match self.stream.write_vectored(&pieces[..n])? {
                Written::Full => self.full = true,
                Written::Taken(taken) => {
                    all += taken;
                    self.gone(taken);
                }
            }
        }
        if self.queue.is_empty() && self.queue.capacity() > Stream::PIECES {
            self.queue = VecDeque::new();
        }
        Ok(all)
    }

    fn gone(&mut self, mut taken: usize) {
        while let Some(first) = self.queue.front() {
            let rest = first.len() - self.left;
            if taken < rest {
                self.left += taken;
                return;
            }
            taken -= rest;
            self.queued -= first.len();
            self.left = 0;
            self.queue.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read as _, Write as _};

    #[test]
    fn blocks_leave_in_order_and_packets_are_cut_where_the_caller_says() {
        let (ours, mut theirs) = std::os::unix::net::UnixStream::pair().expect("two sockets");
        ours.set_nonblocking(true).expect("a socket");
        let mut f = Frames::new(Stream::Unix(mio::net::UnixStream::from_std(ours)), None);
        let big: Arc<[u8]> = vec![b'b'; 300_000].into();
        for i in 0..5u8 {
            f.push(Arc::from([i; 3].as_slice()));
            f.push(big.clone());
        }
        assert!(f.waiting() > 1_500_000 && f.allocated() >= f.waiting());
        let mut got = Vec::new();
        let mut sent = 0;
        while sent < 5 * 300_003 {
            let n = f.flush().expect("open");
            sent += n;
            let mut piece = vec![0; n];
            theirs.read_exact(&mut piece).expect("it has been sent");
            got.extend_from_slice(&piece);
            f.has_room_again();
        }
        assert_eq!((got.len(), f.waiting()), (5 * 300_003, 0));
        for (i, part) in got.chunks(300_003).enumerate() {
            assert!(part[..3] == [i as u8; 3] && part[3..].iter().all(|b| *b == b'b'));
        }
        theirs.write_all(b"onetwo").expect("room");
        assert!(f.read().expect("open"));
        assert_eq!(f.input(), b"onetwo");
        assert_eq!(f.take(3), b"one");
        assert_eq!(f.input(), b"two");
        drop(theirs);
        assert!(!f.read().expect("closed in order"));
    }
}
