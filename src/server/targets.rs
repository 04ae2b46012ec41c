//! Connections that MIGRATE keeps for the next time, each with the database that is selected there.
//!
//! A connection is taken out while it is used. One that has failed is not put back.

use super::Server;
use crate::net::dialogue::Dialogue;
use std::collections::HashMap;
use std::io;
use std::time::Duration;

/// So many connections are kept (MIGRATE_SOCKET_CACHE_ITEMS),
const KEPT: usize = 64;
/// for so many seconds after their last use (MIGRATE_SOCKET_CACHE_TTL).
const IDLE: i64 = 10;

pub struct Target {
    pub dialogue: Dialogue,
    /// None when that is not known.
    pub db: Option<i64>,
    used_at: i64,
}

#[derive(Default)]
pub struct Targets(HashMap<(Vec<u8>, Vec<u8>), Target>);

impl Targets {
    pub fn len(&self) -> usize {
        self.0.len()
    }
}

/// The kept connection to a server, or a new one.
pub fn take(srv: &mut Server, host: &[u8], port: &[u8], within: Duration) -> io::Result<Target> {
    let used_at = srv.clock.unix_secs();
    if let Some(kept) = srv.targets.0.remove(&(host.to_vec(), port.to_vec())) {
        return Ok(Target { used_at, ..kept });
    }
    let number = crate::algo::num::parse_i64(port).and_then(|n| u16::try_from(n).ok()).unwrap_or(0);
    let contexts = match srv.config.tls_cluster {
        false => None,
        true => Some(srv.tls.contexts().ok_or(io::ErrorKind::NotConnected)?),
    };
    let dialogue = Dialogue::connect(&String::from_utf8_lossy(host), number, within, contexts)?;
    Ok(Target { dialogue, db: None, used_at })
}

/// Keeps a connection for the next time; any other one makes room for it.
pub fn put_back(srv: &mut Server, host: &[u8], port: &[u8], target: Target) {
    let all = &mut srv.targets.0;
    if all.len() >= KEPT
        && let Some(any) = all.keys().next().cloned()
    {
        all.remove(&any);
    }
    all.insert((host.to_vec(), port.to_vec()), target);
}

/// Once a second: connections that were not used for some time are closed.
pub fn cron(srv: &mut Server) {
    let now = srv.clock.unix_secs();
    srv.targets.0.retain(|_, t| now - t.used_at <= IDLE);
}
