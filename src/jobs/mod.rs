//! Jobs of persistence, as state: the child at work, what has been saved, the log, a load under way.
//! `server/` (`jobs`, `child`, `aof`, `rewrite`, `loading`) does what follows from it.

pub mod aof;
pub mod child;
pub mod loading;

use crate::replication::Position;
use crate::sys::clock::unix_ms;
use child::Child;

/// What has been saved, and what is being saved.
pub struct Jobs {
    pub child: Option<Child>,
    /// BGSAVE SCHEDULE waits for another child to end.
    pub scheduled: bool,
    pub last_save: i64,
    /// When a child was last asked to save, in Unix seconds.
    pub last_try: i64,
    /// `ks.dirty` at the last good save.
    pub dirty_saved: u64,
    pub last_ok: bool,
    pub last_seconds: i64,
    pub saves: u64,
    /// How long the last fork took.
    pub fork_us: u64,
    /// Bytes that the last child had to copy.
    pub last_cow: u64,
    /// Keys of the snapshot that was loaded last, and those that had expired.
    pub keys_loaded: u64,
    pub keys_expired: u64,
    /// Where the dataset of the snapshot that was loaded last stood in the stream, if it says so.
    pub loaded_at: Option<Position>,
}

impl Default for Jobs {
    fn default() -> Self {
        Jobs {
            child: None,
            scheduled: false,
            last_save: unix_ms() / 1000,
            last_try: 0,
            dirty_saved: 0,
            last_ok: true,
            last_seconds: -1,
            saves: 0,
            fork_us: 0,
            last_cow: 0,
            keys_loaded: 0,
            keys_expired: 0,
            loaded_at: None,
        }
    }
}
