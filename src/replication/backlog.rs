//! The stream that replicas are sent, as far back as a replica may ask for it.
//!
//! ```text
//! start                                   end
//!   [block 16K][block 16K][ block 300K ][bl..   ]
//!                  ▲ the slowest replica
//!   └─ gone as soon as the rest is as long as the backlog shall be, and no replica waits for it
//! ```
//!
//! Small commands share a block; a long one has its own of exact size, or several: a block is at most a
//! sixteenth of the backlog, or a huge command could not leave in pieces. Blocks never move and never grow,
//! so that appending costs what is appended. A block goes whole or not at all: the history is kept a
//! little longer than asked for, never shorter.

use std::collections::VecDeque;
use std::io::IoSlice;

/// A block for commands that are short (PROTO_REPLY_CHUNK_BYTES).
const BLOCK: usize = 16 * 1024;
/// The longest block while the size is not known yet (a sixteenth of the default size).
const LONGEST: usize = 64 * 1024;
/// Places for blocks that are kept when there are few.
const KEEP: usize = 16;
/// Blocks that go at once; the next command takes the next ones along.
const TRIM: usize = 64;

struct Block {
    /// Position of its first byte.
    start: u64,
    bytes: Vec<u8>,
}

impl Block {
    fn end(&self) -> u64 {
        self.start + self.bytes.len() as u64
    }
}

pub struct Backlog {
    blocks: VecDeque<Block>,
    start: u64,
    end: u64,
    footprint: usize,
    /// Bytes of the longest block that is made.
    longest: usize,
}

impl Backlog {
    /// Empty; its first byte will stand at this position.
    pub fn new(at: u64) -> Backlog {
        Backlog { blocks: VecDeque::new(), start: at, end: at, footprint: 0, longest: LONGEST }
    }

    /// Position of the first byte that is kept.
    pub fn start(&self) -> u64 {
        self.start
    }

    /// Position behind the last byte.
    pub fn end(&self) -> u64 {
        self.end
    }

    /// Bytes that are kept.
    pub fn len(&self) -> u64 {
        self.end - self.start
    }

    /// Bytes of memory.
    pub fn footprint(&self) -> usize {
        self.footprint + self.blocks.capacity() * size_of::<Block>()
    }

    pub fn push(&mut self, mut bytes: &[u8]) {
        if let Some(last) = self.blocks.back_mut() {
            let room = last.bytes.capacity() - last.bytes.len();
            let (now, rest) = bytes.split_at(room.min(bytes.len()));
            last.bytes.extend_from_slice(now);
            self.end += now.len() as u64;
            bytes = rest;
        }
        while !bytes.is_empty() {
            let (now, rest) = bytes.split_at(bytes.len().min(self.longest));
            let mut block = Vec::with_capacity(now.len().max(BLOCK));
            block.extend_from_slice(now);
            self.footprint += block.capacity();
            self.blocks.push_back(Block { start: self.end, bytes: block });
            self.end += now.len() as u64;
            bytes = rest;
        }
    }

    /// Drops old blocks, and takes note of the size: at least `size` bytes of history stay, and all from
    /// `wanted` on.
    pub fn trim(&mut self, size: u64, wanted: u64) {
        self.longest = usize::try_from(size / 16).unwrap_or(usize::MAX).max(BLOCK);
        for _ in 0..TRIM {
            let Some(first) = self.blocks.front() else { break };
            let next = first.end();
            if next > wanted || self.end - next < size {
                break;
            }
            self.footprint -= first.bytes.capacity();
            self.start = next;
            self.blocks.pop_front();
        }
        if self.blocks.capacity() > KEEP.max(4 * self.blocks.len()) {
            self.blocks.shrink_to(KEEP);
        }
    }

    /// What stands behind position `at`, in at most `n` slices.
    pub fn slices(&self, at: u64, n: usize) -> Vec<IoSlice<'_>> {
        assert!(self.start <= at && at <= self.end, "a position that is kept");
        let first = self.blocks.partition_point(|b| b.end() <= at);
        let behind = self.blocks.range(first..).take(n);
        let skip = |b: &Block| usize::try_from(at.saturating_sub(b.start)).unwrap_or(usize::MAX);
        behind.map(|b| IoSlice::new(b.bytes.get(skip(b)..).unwrap_or(&[]))).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::algo::rng::Rng;

    fn text(b: &Backlog, at: u64) -> Vec<u8> {
        b.slices(at, usize::MAX).iter().flat_map(|s| s.to_vec()).collect()
    }

    #[test]
    fn every_position_that_is_kept_reads_as_a_plain_copy_of_the_stream() {
        let mut rng = Rng::seeded(7);
        for _ in 0..20 {
            let begin = rng.below(1000);
            let (mut b, mut twin) = (Backlog::new(begin), Vec::new());
            let (size, mut reader) = (rng.below(60_000), begin);
            for _ in 0..200 {
                let n = if rng.below(10) == 0 { rng.below(40_000) } else { rng.below(300) };
                let bytes: Vec<u8> = (0..n).map(|_| rng.below(256) as u8).collect();
                b.push(&bytes);
                twin.extend_from_slice(&bytes);
                reader += rng.below(b.end() - reader + 1);
                b.trim(size, reader);
                assert_eq!(b.end(), begin + twin.len() as u64);
                assert!(b.start() <= reader, "the reader finds its place");
                assert!(b.len() >= size.min(twin.len() as u64), "the history is kept");
                let at = b.start() + rng.below(b.len() + 1);
                assert_eq!(text(&b, at), &twin[(at - begin) as usize..]);
            }
            b.trim(0, b.end());
            b.trim(0, b.end());
            assert!(b.len() == 0 && b.footprint == 0, "nothing is left behind");
        }
    }

    #[test]
    fn a_huge_command_leaves_in_pieces() {
        let mut b = Backlog::new(0);
        b.push(&vec![7; 10 * LONGEST + 1]);
        assert_eq!(b.blocks.len(), 11);
        b.trim(1 << 20, 5 * LONGEST as u64);
        assert_eq!(b.start(), 0, "a sixteenth of it is no reason to forget");
        b.trim(0, 5 * LONGEST as u64 + 1);
        assert_eq!(b.start(), 5 * LONGEST as u64);
        b.push(&[1; 3 * BLOCK]);
        assert_eq!(text(&b, b.start()).len(), 5 * LONGEST + 1 + 3 * BLOCK);
        assert!(b.blocks.iter().rev().take(3).all(|block| block.bytes.len() <= BLOCK));
    }

    #[test]
    fn short_commands_share_blocks_and_slices_are_bounded() {
        let mut b = Backlog::new(0);
        (0..BLOCK).for_each(|_| b.push(b"xyz"));
        assert_eq!(b.blocks.len(), 3);
        assert_eq!(b.slices(0, 2).len(), 2);
        assert_eq!(b.slices(b.end(), 2).len(), 0);
        assert_eq!(b.slices(b.end() - 1, 2).len(), 1);
    }
}
