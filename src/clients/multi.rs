//! What a client has queued between MULTI and EXEC.

/// A command that waits for EXEC.
#[derive(Debug)]
pub struct Queued {
    pub cmd: u16,
    pub args: Vec<Box<[u8]>>,
}

/// What a client between MULTI and EXEC holds.
#[derive(Debug, Default)]
pub struct Multi {
    pub queue: Vec<Queued>,
    /// Command flags of all that is queued: in at least one, and missing in at least one.
    pub flags: u64,
    pub missing_flags: u64,
    /// Bytes of the queued arguments, with their overhead.
    pub bytes: usize,
    /// Bytes of the arguments, and of a pointer to each, as `multi-mem` counts.
    pub arg_bytes: usize,
    /// EXEC is running it.
    pub runs: bool,
}

impl Multi {
    pub fn push(&mut self, cmd: u16, flags: u64, args: Vec<Box<[u8]>>) {
        self.flags |= flags;
        self.missing_flags |= !flags;
        let lengths: usize = args.iter().map(|a| a.len()).sum();
        self.arg_bytes += lengths + args.len() * size_of::<usize>();
        self.bytes += lengths + args.len() * size_of::<Box<[u8]>>() + size_of::<Queued>();
        self.queue.push(Queued { cmd, args });
    }
}
