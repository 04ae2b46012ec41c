//! What DEBUG switches on and off, for tests of this server and of others.

/// Where the peaks of reply buffers are forgotten by default, in milliseconds
/// (REPLY_BUFFER_DEFAULT_PEAK_RESET_TIME).
pub const REPLY_PEAK_RESET_MS: i64 = 5000;

#[derive(Debug, Clone)]
pub struct Switches {
    /// The expire cycle runs.
    pub active_expire: bool,
    pub pause_cron: bool,
    /// Checksums of RDB files and RESTORE's payloads are not looked at.
    pub skip_checksums: bool,
    /// Scripts may call what is denied to them.
    pub allow_denied_in_scripts: bool,
    /// How long the AOF waits before it is flushed.
    pub aof_flush_sleep_us: i64,
    /// After so many milliseconds the peak of a reply buffer is forgotten; below zero never.
    pub reply_peak_reset_ms: i64,
    pub reply_resizing: bool,
    /// Elements of this length and more get a node of their own in a quicklist.
    pub packed_threshold: u32,
}

impl Default for Switches {
    fn default() -> Self {
        Switches {
            active_expire: true,
            pause_cron: false,
            skip_checksums: false,
            allow_denied_in_scripts: false,
            aof_flush_sleep_us: 0,
            reply_peak_reset_ms: REPLY_PEAK_RESET_MS,
            reply_resizing: true,
            packed_threshold: crate::ds::quicklist::PACKED_THRESHOLD,
        }
    }
}
