//! redis-check-rdb and redis-check-aof: are these files sound, and can the end of a log be repaired?
//!
//! ```text
//! redis-check-rdb FILE                                     0: sound   1: not
//! redis-check-aof [--fix | --truncate-to-timestamp T] FILE|MANIFEST
//!    manifest ─► base, increments in order      old file ─► [snapshot] commands
//! ```
//!
//! Both print to the writer they are given; nothing is changed but by the two options, and then only
//! the last file of a log.

pub mod aof;
pub mod rdb;

use std::io::Write;

/// Prints a line. Output that cannot be written does not stop the check.
fn line(out: &mut dyn Write, text: std::fmt::Arguments<'_>) {
    let _ = writeln!(out, "{text}");
}

macro_rules! say {
    ($out:expr, $($text:tt)*) => {
        $crate::persist::check::line(&mut *$out, format_args!($($text)*))
    };
}
use say;
