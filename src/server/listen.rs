//! Where the server listens: TCP on every address of `bind`, and a unix socket.
//!
//! ```text
//! token of a listener:  0 .. n  the TCP listeners, in the order of `bind`      UNIX  the unix socket
//! ```
//!
//! An address that begins with `-` may be missing from this machine. One that cannot be listened on for
//! any other reason closes those before it again, so that a port is served on all addresses or on none.

use super::Server;
use super::info::server_port;
use crate::config::valid::title_variables;
use crate::net::listener::{Listener, Refused};
use crate::net::listeners::UNIX;
use crate::notice;
use crate::sys::{errno, proctitle};
use crate::warning;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// Listens on the configured port and addresses, and on nothing else: earlier TCP listeners are closed
/// first.
pub fn tcp(srv: &mut Server) -> Result<(), ()> {
    close_tcp(srv);
    let port = srv.config.port as u16;
    if port == 0 {
        return Ok(());
    }
    for (given, l) in open(srv, port, 0)? {
        srv.net.bound.push(given);
        srv.net.tcp.push(l);
    }
    Ok(())
}

/// Listeners for a port on the addresses of `bind`, with the address of each; their tokens count from
/// `token`.
pub fn open(srv: &Server, port: u16, token: usize) -> Result<Vec<(String, Listener)>, ()> {
    let mut all: Vec<(String, Listener)> = Vec::new();
    for given in &srv.config.bind {
        let given = String::from_utf8_lossy(given).into_owned();
        let (addr, optional) = given.strip_prefix('-').map_or((&*given, false), |a| (a, true));
        match one(srv, addr, port, token + all.len()) {
            Ok(l) => all.push((given, l)),
            Err(e) => {
                warning!("Warning: Could not create server TCP listening socket {addr}:{port}: {e}");
                let code = e.code();
                if !(optional && code == libc::EADDRNOTAVAIL) && !no_such_protocol(code) {
                    all.iter_mut().for_each(|(_, l)| l.deregister(srv.reactor.registry()));
                    return Err(());
                }
            }
        }
    }
    Ok(all)
}

fn one(srv: &Server, addr: &str, port: u16, token: usize) -> Result<Listener, Refused> {
    let (backlog, mark) = (srv.config.tcp_backlog as i32, srv.config.socket_mark_id as u32);
    let mut l = Listener::tcp(addr, port, backlog, mark)?;
    l.register(srv.reactor.registry(), mio::Token(token)).map_err(|e| Refused::at("epoll", e))?;
    Ok(l)
}

/// This kernel cannot do IPv6, or has it switched off.
fn no_such_protocol(code: i32) -> bool {
    use libc::{EAFNOSUPPORT, ENOPROTOOPT, EPFNOSUPPORT, EPROTONOSUPPORT, ESOCKTNOSUPPORT};
    [ENOPROTOOPT, EPROTONOSUPPORT, ESOCKTNOSUPPORT, EPFNOSUPPORT, EAFNOSUPPORT].contains(&code)
}

fn close_tcp(srv: &mut Server) {
    for mut l in srv.net.tcp.drain(..) {
        l.deregister(srv.reactor.registry());
    }
    srv.net.bound.clear();
}

/// Listens on the unix socket, if one is configured.
fn unix(srv: &mut Server) -> Result<(), Refused> {
    let Some(path) = srv.config.unixsocket.clone() else { return Ok(()) };
    let path = Path::new(std::ffi::OsStr::from_bytes(&path));
    let mut l = Listener::unix(path, srv.config.unixsocketperm as u32, srv.config.tcp_backlog as i32)?;
    l.register(srv.reactor.registry(), mio::Token(UNIX)).map_err(|e| Refused::at("epoll", e))?;
    srv.net.unix = Some(l);
    Ok(())
}

/// At the start: everywhere, or an error that has been logged.
pub fn all(srv: &mut Server) -> Result<(), ()> {
    if tcp(srv).is_err() {
        warning!("Failed listening on port {} (tcp), aborting.", srv.config.port);
        return Err(());
    }
    if let Err(e) = unix(srv) {
        warning!("Failed opening Unix socket: {e}");
        return Err(());
    }
    if srv.net.count() == 0 {
        warning!("Configured to not listen anywhere, exiting.");
        return Err(());
    }
    Ok(())
}

pub fn log_ready(srv: &Server) {
    if srv.config.port != 0 {
        notice!("Ready to accept connections tcp");
    }
    if srv.net.unix.is_some() {
        notice!("Ready to accept connections unix");
    }
}

/// At the end. Closed sockets let a successor start at once.
pub fn close(srv: &mut Server) {
    close_tcp(srv);
    let Some(mut l) = srv.net.unix.take() else { return };
    l.deregister(srv.reactor.registry());
    let path = srv.config.unixsocket.clone().unwrap_or_default();
    notice!("Removing the unix socket file.");
    if let Err(e) = std::fs::remove_file(std::ffi::OsStr::from_bytes(&path)) {
        warning!("Error removing the unix socket file: {}", errno::text(&e));
    }
}

/// In a child: a successor of its parent may listen while the child still works. The sockets are only
/// closed, since what is registered is registered for the parent as well.
pub fn leave(srv: &mut Server) {
    srv.net.tcp.clear();
    srv.net.unix = None;
}

/// Shows the process title; false when its template cannot be expanded.
pub fn show_title(srv: &Server) -> bool {
    show_title_as(srv, srv.process.argv.first().map_or(b"", |a| a))
}

/// The same for a child, which does something else.
pub fn show_title_as(srv: &Server, title: &[u8]) -> bool {
    if !srv.config.set_proc_title {
        return true;
    }
    let config_file = srv.process.config_file.as_deref();
    let vars = proctitle::Vars { title, config_file, ..title_variables(&srv.config) };
    debug_assert!(server_port(srv) <= u16::MAX as u64);
    let title = proctitle::expand(&srv.config.proc_title_template, &vars);
    title.inspect(|t| proctitle::set(t)).is_some()
}
