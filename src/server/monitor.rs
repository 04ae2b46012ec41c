//! MONITOR: every command, as it was executed, to those who watch.
//!
//! `+1700000000.123456 [db address] "word" "word" ...`; for scripts the address is `lua`, for unix
//! sockets `unix:path`. Administrative commands are not shown, and passwords never.

use super::Server;
use super::client_info::addresses;
use crate::algo::quote::push_repr;
use crate::clients::{ClientId, flag};
use crate::commands::row::flag as cf;
use crate::commands::table::CmdId;
use crate::proto::args::Args;
use std::io::Write;
use std::sync::Arc;

/// Stands for an argument that nobody shall see.
const REDACTED: &[u8] = b"(redacted)";

/// Shows a command that has just run, unless it is one of those that are not shown.
#[cold]
pub fn observe(srv: &mut Server, id: ClientId, cmd: CmdId, args: Args) {
    let hidden = srv.table.get(cmd).flags & (cf::SKIP_MONITOR | cf::ADMIN) != 0;
    let in_exec = srv.run.in_exec;
    let Some(c) = srv.clients.get_mut(id) else { return };
    let again = c.has(flag::REPROCESSING) || (c.has(flag::WAS_PAUSED) && !in_exec);
    if !in_exec {
        c.clear(flag::WAS_PAUSED);
    }
    if !hidden && !again {
        feed(srv, id, args);
    }
}

/// Shows a command of `id`.
pub fn feed(srv: &mut Server, id: ClientId, args: Args) {
    if srv.monitors.is_empty() || srv.gate.has(super::Gate::LOADING) {
        return;
    }
    let Some(c) = srv.clients.get(id) else { return };
    let now = crate::sys::clock::unix_us();
    let mut line = Vec::with_capacity(64);
    let _ = write!(line, "+{}.{:06} [{} ", now / 1_000_000, now % 1_000_000, c.db);
    if c.has(flag::SCRIPT) {
        line.extend_from_slice(b"lua");
    } else if c.has(flag::UNIX) {
        line.extend_from_slice(b"unix:");
        line.extend_from_slice(srv.config.unixsocket.as_deref().unwrap_or(b""));
    } else {
        line.extend_from_slice(addresses(srv, c).peer.as_bytes());
    }
    line.push(b']');
    let secret = secrets(&args);
    for (i, a) in args.iter().enumerate() {
        line.push(b' ');
        push_repr(&mut line, if secret.contains(&i) { REDACTED } else { a });
    }
    line.extend_from_slice(b"\r\n");
    let line: Arc<[u8]> = line.into();
    for i in 0..srv.monitors.len() {
        let to = srv.monitors[i];
        // The lines are replies to MONITOR: who has switched replies off sees none.
        if srv.clients[to].has(flag::REPLY_OFF | flag::SKIP) {
            continue;
        }
        srv.clients.push(to, |out| out.shared(&line));
        super::limits::account_if_limited(srv, to);
    }
}

/// Places of arguments that nobody shall see: passwords. The slow log asks, too.
pub fn secrets(args: &[&[u8]]) -> Vec<usize> {
    let is = |i: usize, word: &str| args.get(i).is_some_and(|a| a.eq_ignore_ascii_case(word.as_bytes()));
    let n = args.len();
    if is(0, "auth") && n <= 3 {
        (1..n).collect()
    } else if is(0, "hello") {
        hello(args)
    } else if is(0, "acl") && is(1, "setuser") {
        (2..n).collect()
    } else if is(0, "migrate") {
        migrate(args)
    } else if is(0, "config") && is(1, "set") {
        let secret = |i: &usize| i + 1 < n && crate::config::getset::is_sensitive(args[*i]);
        (2..n).step_by(2).filter(secret).map(|i| i + 1).collect()
    } else {
        Vec::new()
    }
}

/// Up to the first option that HELLO does not know; nothing when the version is refused.
fn hello(args: &[&[u8]]) -> Vec<usize> {
    let mut found = Vec::new();
    let version = args.get(1).and_then(|v| crate::algo::num::parse_i64(v));
    let mut i = if version.is_some_and(|v| (2..=3).contains(&v)) { 2 } else { args.len() };
    while i < args.len() {
        let more = args.len() - 1 - i;
        if args[i].eq_ignore_ascii_case(b"auth") && more >= 2 {
            found.extend([i + 1, i + 2]);
            i += 3;
        } else if args[i].eq_ignore_ascii_case(b"setname") && more >= 1 {
            i += 2;
        } else {
            break;
        }
    }
    found
}

/// Options stand behind host, port, key, database and timeout.
fn migrate(args: &[&[u8]]) -> Vec<usize> {
    let mut found = Vec::new();
    let mut i = 6;
    while i < args.len() {
        let more = args.len() - 1 - i;
        match &args[i].to_ascii_lowercase()[..] {
            b"copy" | b"replace" => i += 1,
            b"auth" if more >= 1 => {
                found.push(i + 1);
                i += 2;
            }
            b"auth2" if more >= 2 => {
                found.extend([i + 1, i + 2]);
                i += 3;
            }
            _ => break,
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passwords_are_found_where_they_stand() {
        let of = |line: &str| secrets(&line.split(' ').map(str::as_bytes).collect::<Vec<_>>());
        assert_eq!(of("auth pw"), [1]);
        assert_eq!(of("AUTH user pw"), [1, 2]);
        assert!(of("auth a b c").is_empty());
        assert_eq!(of("hello 3 SETNAME auth AUTH user pw"), [5, 6]);
        assert!(of("hello 3 auth user").is_empty());
        assert!(of("hello 4 auth user pw").is_empty());
        assert_eq!(of("migrate h 1 k 0 9 auth pw"), [7]);
        assert_eq!(of("migrate h 1 k 0 9 copy auth2 u pw keys auth"), [8, 9]);
        assert_eq!(of("config set port 1 requirepass pw"), [5]);
        assert!(of("set auth pw").is_empty());
    }
}
