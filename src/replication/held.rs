//! The stream of the master, kept by a replica while the snapshot that it stands behind is still on its way.
//!
//! Blocks of one size: what is kept may be hundreds of megabytes, and one buffer of that length would be
//! copied each time it grows. A block goes as soon as it has been handed on.

use std::collections::VecDeque;

/// Bytes of a block: what a client is given at once.
pub const BLOCK: usize = 64 * 1024;

#[derive(Debug, Default)]
pub struct Held {
    blocks: VecDeque<Vec<u8>>,
    len: usize,
    peak: usize,
}

impl Held {
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Bytes that wait.
    pub fn len(&self) -> usize {
        self.len
    }

    /// The most that have ever waited in the sync under way, or in the last one.
    pub fn peak(&self) -> usize {
        self.peak
    }

    /// Is no more to be taken? `limit` 0 is none.
    pub fn is_full(&self, limit: u64) -> bool {
        limit > 0 && self.len as u64 > limit
    }

    /// Appends what `read` puts to the end of a block, which has room for as many bytes as it is told.
    pub fn fill<R>(&mut self, read: impl FnOnce(&mut Vec<u8>, usize) -> R) -> R {
        if self.blocks.back().is_none_or(|b| b.len() >= BLOCK) {
            self.blocks.push_back(Vec::with_capacity(BLOCK));
        }
        let block = self.blocks.back_mut().expect("just made");
        let before = block.len();
        let room = BLOCK - before;
        let result = read(block, room);
        self.len += block.len() - before;
        self.peak = self.peak.max(self.len);
        result
    }

    pub fn push(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            bytes = self.fill(|block, room| {
                let (now, later) = bytes.split_at(bytes.len().min(room));
                block.extend_from_slice(now);
                later
            });
        }
    }

    /// The first block, which is handed on.
    pub fn pop(&mut self) -> Option<Vec<u8>> {
        let block = self.blocks.pop_front()?;
        self.len -= block.len();
        Some(block)
    }

    /// Drops what waits; the peak stays to be seen.
    pub fn clear(&mut self) {
        (self.blocks, self.len) = (VecDeque::new(), 0);
    }

    /// Another sync begins.
    pub fn start(&mut self) {
        *self = Held::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_kept_comes_out_in_order() {
        let mut rng = crate::algo::rng::Rng::seeded(4);
        let (mut held, mut twin, mut out) = (Held::default(), Vec::new(), Vec::new());
        for _ in 0..300 {
            let most = if rng.below(9) == 0 { 200_000 } else { 3000 };
            let n = rng.below(most);
            let bytes: Vec<u8> = (0..n).map(|_| rng.below(256) as u8).collect();
            held.push(&bytes);
            twin.extend_from_slice(&bytes);
            if rng.below(3) == 0
                && let Some(block) = held.pop()
            {
                assert!(block.len() <= BLOCK);
                out.extend(block);
            }
            assert_eq!(held.len(), twin.len() - out.len());
        }
        assert!(held.peak() >= held.len() && held.is_full(1) && !held.is_full(0));
        assert!(!held.is_full(held.len() as u64));
        while let Some(block) = held.pop() {
            out.extend(block);
        }
        assert!(out == twin && held.is_empty());
        held.push(b"x");
        held.clear();
        assert!(held.is_empty() && held.pop().is_none() && held.peak() > 0);
        held.start();
        assert_eq!(held.peak(), 0);
    }
}
