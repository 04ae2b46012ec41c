//! A big argument becomes the value itself, instead of being copied into it.
//!
//! ```text
//!   query buffer   *3 $3 SET $1 k $100000000 | bytes ...       one block of exactly this size
//!   value          len, cap | bytes ...                        the same block
//! ```
//!
//! A handler has its arguments as slices of the query buffer, and so have the append only file, replicas
//! and the slow log behind it. So the handler stores an empty string and takes the offer; when the command
//! is over and nothing borrows the buffer any more, the buffer becomes that string. Nothing reads the value
//! in between: what a command causes (events, marks for WATCH, ops) carries names and arguments only.
//!
//! The buffer is offered when it ends with the request, and nearly all of it must be the one argument; a few
//! options may stand behind it.
//! Inside EXEC and scripts the arguments are copies, which are no part of the buffer.

use super::Server;
use crate::ds::sds::Sds;
use crate::proto::args::Key;
use std::ops::Range;

/// Below this a copy costs less than the pages of a fresh buffer.
pub const LEAST: usize = 1 << 20;

#[derive(Default)]
pub struct Adoption {
    /// Where the offered buffer lies, and its room.
    offer: Option<(Range<usize>, usize)>,
    taken: Option<Taken>,
}

/// The key whose value is still empty, and the bytes of the buffer that become its value.
pub struct Taken {
    db: usize,
    key: Box<[u8]>,
    bytes: Range<usize>,
}

impl Adoption {
    /// The request that ends at `end` is about to run.
    #[cold]
    pub fn offer(&mut self, buf: &[u8], end: usize, room: usize) {
        let at = buf.as_ptr() as usize;
        self.offer = (end == buf.len()).then_some((at..at + end, room));
    }

    /// Whether `value` will be moved into the key; the caller stores an empty string for it.
    #[inline]
    pub fn take(&mut self, db: usize, key: &[u8], value: &[u8]) -> bool {
        value.len() >= LEAST && self.take_big(db, key, value)
    }

    fn take_big(&mut self, db: usize, key: &[u8], value: &[u8]) -> bool {
        let Some((buf, room)) = self.offer.take() else { return false };
        let at = value.as_ptr() as usize;
        let inside = at >= buf.start && at + value.len() <= buf.end;
        if !inside || room - value.len() > value.len() / 8 {
            return false;
        }
        let from = at - buf.start;
        self.taken = Some(Taken { db, key: key.into(), bytes: from..from + value.len() });
        true
    }

    /// The command is over.
    #[inline]
    pub fn end(&mut self) -> Option<Taken> {
        self.offer = None;
        self.taken.take()
    }
}

/// Makes the buffer the value.
pub fn finish(srv: &mut Server, taken: Taken, buf: Vec<u8>) {
    debug_assert!(taken.bytes.end <= buf.len());
    srv.ks.fill(taken.db, Key::new(&taken.key), Sds::from_buffer(buf, taken.bytes));
}
