//! INFO: sections of `field:value` lines.

use super::Server;
use std::fmt::Write;

/// The text of the sections asked for.
pub fn text(srv: &Server) -> String {
    let mut s = String::new();
    let used = crate::sys::alloc::used();
    let _ = write!(s, "# Server\r\nredis_version:7.2.6\r\n\r\n# Memory\r\nused_memory:{used}\r\n");
    let _ = write!(s, "mem_allocator:{}\r\n", crate::sys::alloc::NAME);
    let _ = write!(s, "total_commands_processed:{}\r\n", srv.stats.commands);
    s
}
