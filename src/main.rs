//! `redis-server`, and by the name it is called by also `redis-check-rdb` and `redis-check-aof`; each is
//! known by its `valkey-` name, too.

use std::os::unix::ffi::OsStringExt;

fn main() {
    let args = std::env::args_os().map(|a| a.into_vec()).collect();
    std::process::exit(oxidis::run(args));
}
