//! What cannot be saved must not be changed: writes are refused while the disk is in trouble.
//!
//! ```text
//! the last BGSAVE failed, and there are save points (stop-writes-on-bgsave-error) ─┐
//! the last write or sync of the AOF failed ────────────────────────────────────────┴─► Gate::DISK_ERROR
//! ```
//!
//! The gate is set once per pass; whoever finds it set looks again.

use super::{Gate, Server, aof};
use crate::proto::error::CmdError;
use crate::sys::errno;
use std::io;

/// Why nothing may be written.
pub fn trouble(srv: &Server) -> Option<CmdError> {
    let c = &srv.config;
    if c.stop_writes_on_bgsave_error && !c.save.is_empty() && !srv.jobs.last_ok {
        return Some(CmdError::Msg(
            &"MISCONF Redis is configured to save RDB snapshots, but it's currently unable to persist to \
              disk. Commands that may modify the data set are disabled, because this instance is \
              configured to report errors during writes if RDB snapshotting fails \
              (stop-writes-on-bgsave-error option). Please check the Redis logs for details about the \
              RDB error.",
        ));
    }
    let number = aof::trouble(srv)?;
    let why = errno::text(&io::Error::from_raw_os_error(number));
    Some(CmdError::text(format!("MISCONF Errors writing to the AOF file: {why}")))
}

/// Once per pass.
#[inline]
pub fn refresh(srv: &mut Server) {
    let doubt = !srv.jobs.last_ok || aof::trouble(srv).is_some();
    srv.gate.put(Gate::DISK_ERROR, doubt);
}
