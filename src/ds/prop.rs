//! Choices for property tests: from a seed, or from the bytes a fuzzer made up. One runner per structure
//! takes a [`Source`], so the unit test, the sanitizer run and a fuzz target drive the same code.

/// Where a runner's choices come from.
pub struct Source<'a> {
    state: u64,
    bytes: Option<&'a [u8]>,
}

impl<'a> Source<'a> {
    /// An endless stream, the same for the same seed (splitmix64).
    pub fn seeded(seed: u64) -> Source<'static> {
        Source { state: seed, bytes: None }
    }

    /// Choices spelled by bytes; when they run out, [`Source::is_empty`] says so.
    pub fn bytes(bytes: &'a [u8]) -> Source<'a> {
        Source { state: 0, bytes: Some(bytes) }
    }

    pub fn is_empty(&self) -> bool {
        self.bytes.is_some_and(<[u8]>::is_empty)
    }

    pub fn next(&mut self) -> u64 {
        if let Some(bytes) = &mut self.bytes {
            let (head, tail) = bytes.split_at(bytes.len().min(2));
            *bytes = tail;
            return head.iter().fold(0, |n, &b| n << 8 | u64::from(b));
        }
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.state ^ (self.state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `n`.
    pub fn below(&mut self, n: usize) -> usize {
        assert!(n > 0);
        (self.next() % n as u64) as usize
    }

    /// True once in `n` times.
    pub fn one_in(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }

    pub fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.below(from.len())]
    }
}
