//! `redis-server`, and by the name it is called by also `redis-sentinel`, `redis-check-rdb`,
//! `redis-check-aof`.

use std::os::unix::ffi::OsStringExt;

fn main() {
    let args = std::env::args_os().map(|a| a.into_vec()).collect();
    std::process::exit(oxidis::server::boot::main(args, oxidis::commands::families()));
}
