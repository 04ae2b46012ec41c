//! What cannot be saved must not be changed: writes are refused while the disk is in trouble.
//!
//! ```text
//! the last BGSAVE failed, and there are save points (stop-writes-on-bgsave-error) ─┐
//! the last write or sync of the AOF failed ────────────────────────────────────────┴─► DISK_ERROR
//! ```
//!
//! The bit of `ServerStates` is set once per pass; the judge (`admit`) finds it set and asks
//! `disk_error` again.

use super::{Server, ServerStates, aof};
use crate::proto::error::CmdError;
use crate::sys::errno;
use std::io;

/// Why nothing may be written.
pub enum DiskError {
    /// The last snapshot failed.
    Snapshot,
    /// Writes or syncs of the log fail, with this error of the system.
    Log(i32),
}

impl DiskError {
    /// As a command that writes is refused.
    pub fn refusal(&self) -> CmdError {
        match self {
            DiskError::Snapshot => CmdError::Msg(
                &"MISCONF Redis is configured to save RDB snapshots, but it's currently unable to persist \
                  to disk. Commands that may modify the data set are disabled, because this instance is \
                  configured to report errors during writes if RDB snapshotting fails \
                  (stop-writes-on-bgsave-error option). Please check the Redis logs for details about the \
                  RDB error.",
            ),
            DiskError::Log(number) => {
                CmdError::text(format!("MISCONF Errors writing to the AOF file: {}", text_of(*number)))
            }
        }
    }

    /// As a script is refused that says it writes.
    pub fn refusal_of_script(&self) -> CmdError {
        let (what, cause) = match self {
            DiskError::Snapshot => ("save RDB snapshots", String::new()),
            DiskError::Log(number) => {
                ("persist data to AOF", format!(" AOF error: {}", text_of(*number)))
            }
        };
        CmdError::text(format!(
            "MISCONF Redis is configured to {what}, but it's currently unable to persist to disk. Writable \
             scripts are blocked. Use 'no-writes' flag for read only scripts.{cause}"
        ))
    }
}

fn text_of(number: i32) -> String {
    errno::text(&io::Error::from_raw_os_error(number)).to_string()
}

/// The failure of the disk for which writes are refused.
pub fn disk_error(srv: &Server) -> Option<DiskError> {
    let c = &srv.config;
    if c.stop_writes_on_bgsave_error && !c.save.is_empty() && !srv.jobs.last_ok {
        return Some(DiskError::Snapshot);
    }
    aof::disk_error(srv).map(DiskError::Log)
}

/// Once per pass.
#[inline]
pub fn refresh(srv: &mut Server) {
    let doubt = !srv.jobs.last_ok || aof::disk_error(srv).is_some();
    srv.states.put(ServerStates::DISK_ERROR, doubt);
}
