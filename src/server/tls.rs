//! TLS, performed: contexts from the configuration, handshakes of clients, certificates that run out.
//!
//! ```text
//! accept ─► client with HANDSHAKING ── steps, a share of each pass ─► greeted ─► its first request
//!               └─ failed, too late, no room: one line in the log, closed
//!
//! CONFIG SET, the start ──► a new pair of contexts ─┬─ installed: new connections use it
//! tls-auto-reload-interval ─► the same on the disk   └─ failed: the old one stays
//!                             thread, by what the files look like
//! ```
//!
//! A pair that the thread has built is installed only if no other was in the meantime (`generation`): it may
//! have read settings that have changed since.

use super::{Server, client_info, kill, pass};
use crate::bio::Handed;
use crate::clients::handshakes::{Handshakes, Room};
use crate::clients::{ClientId, flag};
use crate::config::kinds::Reason;
use crate::config::{Config, TlsAuthClients};
use crate::net::stream::Stream;
use crate::net::tls::{self, CertFacts, CertRole, ClientAuth, Contexts, Identity, Settings};
use crate::sys::clock::mono_ns;
use crate::{notice, warning};
use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// Nanoseconds of a pass that handshakes may take; the last step may exceed them.
const SHARE_NS: u64 = 500_000;
/// Before a certificate runs out it is warned of, so many days before.
const WARN_DAYS: [i64; 3] = [30, 7, 1];
const DAY: i64 = 86_400;

const NOT_UPDATED: &str = "Unable to update TLS configuration. Check server logs.";

#[derive(Default)]
pub struct TlsState {
    contexts: Option<Contexts>,
    /// Counts the pairs that were installed.
    generation: u64,
    pub handshakes: Handshakes,
    /// Clients that were refused without a word that they could read, since the last line about them.
    refused: u64,
    reload: Reload,
    /// For each certificate in use, the days of `WARN_DAYS` that it was last warned with.
    warned: Vec<Option<i64>>,
}

impl TlsState {
    pub fn contexts(&self) -> Option<&Contexts> {
        self.contexts.as_ref()
    }
}

/// What each file of the settings looked like: device, number, size, time of change.
type FilesSeen = Vec<Option<(u64, u64, u64, i64, i64)>>;

/// Reading files again by themselves.
#[derive(Default)]
struct Reload {
    /// In Unix seconds.
    looked_at: i64,
    /// As the pair in use was built.
    seen: FilesSeen,
    under_way: Option<(u64, Handed<Option<Rebuilt>>)>,
}

struct Rebuilt {
    seen: FilesSeen,
    built: Result<Contexts, String>,
}

fn files_seen(settings: &Settings) -> FilesSeen {
    let look = |path: &[u8]| {
        let m = std::fs::metadata(Path::new(OsStr::from_bytes(path))).ok()?;
        Some((m.dev(), m.ino(), m.size(), m.mtime(), m.mtime_nsec()))
    };
    settings.files().map(look).collect()
}

// ---- contexts ----------------------------------------------------------------------------------

fn settings(c: &Config) -> Settings {
    let client = Identity {
        cert_file: c.tls_client_cert_file.clone(),
        key_file: c.tls_client_key_file.clone(),
        key_file_pass: c.tls_client_key_file_pass.clone(),
    };
    let caching = c.tls_session_caching;
    Settings {
        server: Identity {
            cert_file: c.tls_cert_file.clone(),
            key_file: c.tls_key_file.clone(),
            key_file_pass: c.tls_key_file_pass.clone(),
        },
        client,
        dh_params_file: c.tls_dh_params_file.clone(),
        ca_cert_file: c.tls_ca_cert_file.clone(),
        ca_cert_dir: c.tls_ca_cert_dir.clone(),
        verifies: c.tls_auth_clients != TlsAuthClients::No || c.tls_cluster || c.tls_replication,
        protocols: c.tls_protocols.clone(),
        ciphers: c.tls_ciphers.clone(),
        ciphersuites: c.tls_ciphersuites.clone(),
        prefer_server_ciphers: c.tls_prefer_server_ciphers,
        sessions: caching.then_some((c.tls_session_cache_size, c.tls_session_cache_timeout)),
    }
}

/// Does the configuration ask for sessions of any kind?
fn in_use(c: &Config) -> bool {
    c.tls_port != 0 || c.tls_replication || c.tls_cluster
}

/// At the start; an error has been logged.
pub fn at_start(srv: &mut Server) -> Result<(), ()> {
    if !in_use(&srv.config) {
        return Ok(());
    }
    if !tls::AVAILABLE {
        warning!("Failed finding TLS support.");
        return Err(());
    }
    configure(srv).map_err(|_| warning!("Failed to configure TLS. Check logs for more info."))
}

/// Builds a new pair. When that fails the old one stays, and the reason is logged.
fn configure(srv: &mut Server) -> Result<(), Reason> {
    let settings = settings(&srv.config);
    // Looked at before they are read: a change in between is found at the next look.
    let seen = files_seen(&settings);
    match Contexts::build(&settings, srv.clock.unix_secs()) {
        Ok(contexts) => {
            install(srv, contexts, seen);
            Ok(())
        }
        Err(why) => {
            warning!("{why}");
            Err(NOT_UPDATED.into())
        }
    }
}

fn install(srv: &mut Server, contexts: Contexts, seen: FilesSeen) {
    srv.tls.warned = vec![None; contexts.certificates().len()];
    srv.tls.contexts = Some(contexts);
    srv.tls.generation += 1;
    srv.tls.reload.seen = seen;
    warn_of_ends(srv);
}

/// A directive about TLS has changed.
pub fn changed(srv: &mut Server) -> Result<(), Reason> {
    if in_use(&srv.config) { configure(srv) } else { Ok(()) }
}

/// A port for TLS needs contexts, which may have been built for another use.
pub fn prepare(srv: &mut Server) -> Result<(), Reason> {
    let needed = srv.config.tls_port != 0 && srv.tls.contexts.is_none();
    if needed { configure(srv) } else { Ok(()) }
}

/// The session of a connection that was opened to `host`.
pub fn secure(srv: &Server, stream: Stream, host: &str) -> io::Result<Stream> {
    match &srv.tls.contexts {
        Some(contexts) => stream.secured(contexts, host),
        None => Err(io::Error::other("TLS is not configured")),
    }
}

/// The session of a connection that another node has opened to the bus: it shows its certificate, whatever
/// is asked of clients.
pub fn secure_bus(srv: &Server, stream: Stream) -> io::Result<Stream> {
    match &srv.tls.contexts {
        Some(contexts) => stream.accepted(contexts, ClientAuth::Required),
        None => Err(io::Error::other("TLS is not configured")),
    }
}

// ---- clients -----------------------------------------------------------------------------------

/// A client has connected to the port for TLS: it is admitted, and its handshake begins.
pub fn welcome(srv: &mut Server, stream: Stream) {
    if pass::is_full(srv) {
        // Nothing that is said now could be read.
        srv.stats.rejected_connections += 1;
        srv.tls.refused += 1;
        return;
    }
    let asks = match srv.config.tls_auth_clients {
        TlsAuthClients::No => ClientAuth::No,
        TlsAuthClients::Optional => ClientAuth::Optional,
        TlsAuthClients::Yes => ClientAuth::Required,
    };
    let Some(contexts) = &srv.tls.contexts else { return };
    let stream = match stream.accepted(contexts, asks) {
        Ok(stream) => stream,
        Err(e) => return warning!("Error accepting a client connection: {e}"),
    };
    if let Some(id) = pass::admit(srv, stream) {
        srv.clients[id].set(flag::HANDSHAKING);
        srv.tls.handshakes.begin(id, srv.clock.mono_ms);
    }
}

/// May another connection be accepted on the port for TLS?
pub fn has_room(srv: &mut Server) -> bool {
    match srv.tls.handshakes.room(srv.clock.mono_ms) {
        Room::Free => true,
        Room::InPlaceOf(id) => {
            failed(srv, id, "too many handshakes are under way");
            true
        }
        Room::None => false,
    }
}

/// Once per pass, when there is work: the next steps of handshakes.
pub fn drive(srv: &mut Server) {
    let begun = mono_ns();
    while let Some(id) = srv.tls.handshakes.take_next() {
        step(srv, id);
        if mono_ns().saturating_sub(begun) >= SHARE_NS {
            return;
        }
    }
}

fn step(srv: &mut Server, id: ClientId) {
    let stream = srv.clients.get_mut(id).and_then(|c| c.conn.stream.as_mut());
    match stream.map_or_else(|| Err("closed".into()), Stream::handshake) {
        Ok(false) => {}
        Ok(true) => opened(srv, id),
        Err(why) => failed(srv, id, &why),
    }
}

/// The client can speak.
fn opened(srv: &mut Server, id: ClientId) {
    srv.tls.handshakes.ended(id);
    let now = srv.clock.unix_secs();
    let c = &mut srv.clients[id];
    c.clear(flag::HANDSHAKING);
    c.conn.last_seen = u32::try_from(now).unwrap_or(u32::MAX);
    if let Some(why) = srv.clients[id].conn.stream.as_ref().and_then(|s| pass::denial(srv, s)) {
        srv.stats.rejected_connections += 1;
        srv.tls.refused += 1;
        // The connection is closed either way, so a failed write changes nothing.
        let _ = srv.clients[id].conn.stream.as_mut().map(|s| s.write(why.as_bytes()));
        return kill::kill(srv, id);
    }
    pass::greet(srv, id);
    // Its first request may have come with the end of the handshake.
    srv.clients.wants_read(id);
}

fn failed(srv: &mut Server, id: ClientId, why: &str) {
    srv.tls.handshakes.ended(id);
    let Some(c) = srv.clients.live(id) else { return };
    let ends = client_info::addresses(srv, c);
    warning!("Error accepting a client connection: {why} (addr={} laddr={})", ends.peer, ends.local);
    kill::kill(srv, id);
}

// ---- by the clock ------------------------------------------------------------------------------

/// Several times a second.
pub fn cron(srv: &mut Server) {
    for id in srv.tls.handshakes.expired(srv.clock.mono_ms) {
        failed(srv, id, "the handshake takes too long");
    }
}

/// Once a second.
pub fn each_second(srv: &mut Server) {
    let refused = std::mem::take(&mut srv.tls.refused);
    if refused > 0 {
        let what = "by maxclients or protected mode";
        warning!("{refused} connections to the port for TLS were refused {what}");
    }
    if srv.tls.contexts.is_some() {
        warn_of_ends(srv);
        reload(srv);
    }
}

/// How a certificate is called in the log.
fn called(cert: &CertFacts) -> &'static str {
    match cert.role {
        CertRole::Server => "Server",
        CertRole::Client => "Client",
        CertRole::Ca => "CA",
    }
}

/// One line for each certificate when it comes near its end: at load, and then with each of `WARN_DAYS`.
fn warn_of_ends(srv: &mut Server) {
    let now = srv.clock.unix_secs();
    let Some(contexts) = &srv.tls.contexts else { return };
    for (cert, warned) in contexts.certificates().iter().zip(&mut srv.tls.warned) {
        let left = cert.expires - now;
        let due =
            if left <= 0 { Some(0) } else { WARN_DAYS.into_iter().rev().find(|d| left <= d * DAY) };
        if due == *warned || due.is_none() {
            continue;
        }
        *warned = due;
        let (name, serial) = (called(cert), &cert.serial);
        match left {
            ..=0 => warning!("{name} TLS certificate has expired (serial {serial})."),
            _ => warning!(
                "{name} TLS certificate expires in {} days and {} hours (serial {serial}).",
                left / DAY,
                left % DAY / 3600
            ),
        }
    }
}

/// `tls-auto-reload-interval`: files that have changed are read again.
fn reload(srv: &mut Server) {
    if let Some((generation, handed)) = srv.tls.reload.under_way.take_if(|(_, h)| h.is_done()) {
        rebuilt(srv, generation, handed.outcome());
    }
    let (now, interval) = (srv.clock.unix_secs(), srv.config.tls_auto_reload_interval);
    let r = &mut srv.tls.reload;
    let since = u64::try_from(now - r.looked_at).unwrap_or(u64::MAX);
    if interval == 0 || r.under_way.is_some() || since < interval {
        return;
    }
    r.looked_at = now;
    let (settings, before) = (settings(&srv.config), r.seen.clone());
    let work = move || {
        let seen = files_seen(&settings);
        (seen != before).then(|| Rebuilt { seen, built: Contexts::build(&settings, now) })
    };
    r.under_way = Some((srv.tls.generation, srv.bio.hand_over(work, || ())));
}

fn rebuilt(srv: &mut Server, generation: u64, rebuilt: Option<Rebuilt>) {
    // Of settings that have changed since.
    let Some(Rebuilt { seen, built }) = rebuilt.filter(|_| generation == srv.tls.generation) else {
        return;
    };
    match built {
        Ok(contexts) => {
            install(srv, contexts, seen);
            notice!("TLS certificates and keys have changed, and are read again");
        }
        // The files that were seen are not remembered: a pair that was half written is tried again.
        Err(why) => {
            warning!("{why}");
            warning!(
                "TLS certificates and keys have changed, and can't be used; the former stay in use"
            );
        }
    }
}
