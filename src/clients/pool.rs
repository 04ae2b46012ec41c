//! Buffers that clients share: one to read into while they speak, one for replies until they are
//! written.

use crate::proto::reply::CHUNK;

/// A query buffer as a client gets it (PROTO_IOBUF_LEN).
pub const QUERY: usize = 16 * 1024;
/// Buffers kept for the next client; the rest goes back to the allocator.
const KEEP: usize = 64;

#[derive(Default)]
pub struct Pool {
    query: Vec<Vec<u8>>,
    reply: Vec<Vec<u8>>,
    /// First buffers handed out and not come back: only so many are worth keeping. What a long reply
    /// allocated for itself is not put in stock.
    lent: usize,
}

impl Pool {
    pub fn query(&mut self) -> Vec<u8> {
        self.query.pop().unwrap_or_else(|| Vec::with_capacity(QUERY))
    }

    /// A first buffer for replies; only the largest class is kept in stock, small ones cost next to
    /// nothing.
    #[inline]
    pub fn reply(&mut self, class: usize) -> Vec<u8> {
        if class < CHUNK {
            return Vec::with_capacity(class);
        }
        self.lent += 1;
        self.reply.pop().unwrap_or_else(|| Vec::with_capacity(CHUNK))
    }

    /// Takes a buffer back when it has the usual size.
    pub fn give_query(&mut self, mut b: Vec<u8>) {
        if b.capacity() == QUERY && self.query.len() < KEEP {
            b.clear();
            self.query.push(b);
        }
    }

    pub fn give_reply(&mut self, mut b: Vec<u8>) {
        if b.capacity() == CHUNK && self.reply.len() < KEEP && self.lent > 0 {
            self.lent -= 1;
            b.clear();
            self.reply.push(b);
        }
    }

    /// Frees half of the buffers in stock; called time and again, it empties an idle pool.
    pub fn trim(&mut self) {
        for stock in [&mut self.query, &mut self.reply] {
            let keep = stock.len() / 2;
            stock.truncate(keep);
        }
    }
}
