//! The master's side: attaches replicas, feeds the stream, writes to sockets, forgets replicas that leave.
//!
//! ```text
//! SYNC ─► full_resync ─► start_save ─► (child) ─► saved ─► file opened ┐
//! unit ─► backlog ─► feed: marks those that are online ─────────────────┴─► before_sleep ─► write
//! once a second: PING, line ends for replicas that wait, silent ones go, the backlog ages
//! kill ─► leave ─► left: the place in the stream is free, a snapshot that no replica waits for is stopped
//! ```
//!
//! The head of a replica's output and the stream never pass through the client's reply: whatever stands
//! there was answered to a replica that has no business to ask, and closes it.

use super::child;
use super::{
    Server, ServerStates, client_info, jobs, kill, limits, link_client, rewrite, role, transfer,
};
use crate::clients::pause::action;
use crate::clients::{Client, ClientId, ClientKind, flag};
use crate::jobs::aof::AofState;
use crate::jobs::child::ChildKind;
use crate::net::stream::{Stream, Written};
use crate::replication::forecast::{self, BufferLimit};
use crate::replication::replicas::{Next, ReplconfFacts, Replica, Source, Stage};
use crate::replication::{Position, absent};
use crate::sys::errno;
use crate::{notice, warning};
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

/// A replica is written so much per pass while others wait.
const MAX_WRITE: usize = 1024 * 1024;
/// Bytes of a snapshot read at once.
const PIECE: usize = 64 * 1024;
/// Inside of a long pipeline replicas are written each time the stream has grown by as much.
const PUSHED: u64 = 64 * 1024;
/// Over so many seconds the rate of the stream is measured.
const RATE_SECONDS: i64 = 60;
/// Replicas that are so far behind are measured each time the stream has grown by as much; others once a
/// second, like every client.
const MEASURED: u64 = 16 * 1024;

// ---- attaching ---------------------------------------------------------------------------------

/// The replicas whose address is known, with it, as INFO and ROLE show them.
pub fn known(srv: &Server) -> impl Iterator<Item = (&Replica, String)> {
    let all = srv.repl.replicas.iter();
    all.filter_map(|r| Some((r, ip(srv.clients.get(r.id)?, &r.facts)?)))
}

/// The address of a replica: what it says, or where it comes from.
fn ip(c: &Client, r: &ReplconfFacts) -> Option<String> {
    match &r.ip {
        Some(ip) => Some(String::from_utf8_lossy(ip).into_owned()),
        None => c.conn.stream.as_ref().and_then(Stream::peer_ip),
    }
}

/// As the log calls a replica.
pub fn name(srv: &Server, id: ClientId) -> String {
    let unknown = ReplconfFacts::default();
    name_of(srv, id, srv.repl.replicas.facts(id).unwrap_or(&unknown))
}

fn name_of(srv: &Server, id: ClientId, facts: &ReplconfFacts) -> String {
    let Some(c) = srv.clients.get(id) else { return String::new() };
    match ip(c, facts) {
        None => format!("client id #{}", c.id),
        Some(ip) if facts.port == 0 => format!("{ip}:<unknown-replica-port>"),
        Some(ip) if ip.contains(':') => format!("[{ip}]:{}", facts.port),
        Some(ip) => format!("{ip}:{}", facts.port),
    }
}

/// The client is a replica from now on.
fn attach(srv: &mut Server, id: ClientId, silent: bool, stage: Stage) {
    let c = &mut srv.clients[id];
    c.set(flag::REPLICA);
    if srv.config.repl_disable_tcp_nodelay
        && let Some(s) = &c.conn.stream
    {
        s.set_nodelay(false);
    }
    let number = c.id;
    let name = name(srv, id);
    srv.repl.replicas.attach(id, silent, stage).number = number;
    srv.repl.replicas.named(id, name);
    limits::account(srv, id);
    if srv.repl.backlog.is_none() {
        // A new history: what was written while no stream was kept is missing in the old one.
        srv.repl.change_id();
        srv.repl.open_backlog();
        role::refresh(srv);
        let r = &srv.repl;
        notice!(
            "Replication backlog created, my new replication IDs are '{}' and '{}'",
            r.replid,
            r.replid2
        );
    }
}

/// The replica gets a snapshot and what follows it. `silent`: it came by SYNC.
pub fn full_resync(srv: &mut Server, id: ClientId, silent: bool) {
    srv.stats.sync_full += 1;
    attach(srv, id, silent, Stage::WaitStart);
    if srv.repl.replicas.facts(id).is_some_and(|a| a.filtered) {
        without_keys(srv, id);
    } else if srv.transfer.is_some() {
        notice!("Current BGSAVE has socket target. Waiting for next BGSAVE for SYNC");
    } else if child::runs(srv, ChildKind::Snapshot) {
        let replid = srv.repl.replid.clone();
        let joined = srv.repl.replicas.join(id, &replid);
        if joined {
            select_again(srv);
        }
        if joined || join_child(srv, id) {
            srv.clients.wants_write(id);
            notice!("Waiting for end of BGSAVE for SYNC");
        } else {
            notice!("Can't attach the replica to the current BGSAVE. Waiting for next BGSAVE for SYNC");
        }
    } else if srv.config.repl_diskless_sync
        && srv.config.repl_diskless_sync_delay > 0
        && srv.repl.replicas.facts(id).is_some_and(|f| f.eof)
    {
        // Others may come meanwhile, and share the child.
        notice!("Delay next BGSAVE for diskless SYNC");
    } else if srv.jobs.child.is_some() || rewrite::is_opening(srv) {
        notice!(
            "No BGSAVE in progress, but another BG operation is active. BGSAVE for replication delayed"
        );
    } else {
        start_save(srv);
    }
}

/// Lets a replica have the snapshot that a child writes for other reasons, when all that was propagated since
/// its fork is still kept. The snapshot tells which database was selected in the stream then, which a replica
/// of this age understands.
fn join_child(srv: &mut Server, id: ClientId) -> bool {
    let Some(child) = &srv.jobs.child else { return false };
    let Some(Position { replid, offset, .. }) = child.stands.clone() else { return false };
    let begun = child.started_ms / 1000;
    let kept = srv.repl.backlog.as_ref().is_some_and(|b| b.start() <= offset);
    let same = replid == srv.repl.replid && kept;
    let Some(r) = srv.repl.replicas.get_mut(id).filter(|_| same) else { return false };
    if r.silent || !r.facts.psync2 || r.facts.rdb_only {
        return false;
    }
    r.begin(offset, &replid, begun);
    true
}

/// The replica gets a snapshot without keys, which needs no child.
fn without_keys(srv: &mut Server, id: ClientId) {
    debug_assert!(srv.ops.is_empty(), "what the snapshot stands for must not stand behind it");
    let functions = srv.repl.replicas.facts(id).is_some_and(|a| a.functions);
    let snapshot = jobs::snapshot_without_keys(srv, functions);
    notice!("Replica {} wants no keys: its snapshot goes without a BGSAVE", name(srv, id));
    begin(srv, &[id], Stage::WaitEnd);
    let len = snapshot.len() as u64;
    let r = srv.repl.replicas.get_mut(id).expect("just attached");
    r.transfer(Source::Memory(snapshot), len);
    select_again(srv);
}

/// The snapshot of these replicas is being written: behind it the stream goes on where it ends now.
pub fn begin(srv: &mut Server, ids: &[ClientId], stage: Stage) {
    let (at, replid, now) = (srv.repl.offset(), srv.repl.replid.clone(), srv.clock.unix_secs());
    let db = link_client::position(srv).and_then(|p| p.db).unwrap_or(0);
    for id in ids {
        let Some(r) = srv.repl.replicas.get_mut(*id) else { continue };
        r.db = db;
        r.begin(at, &replid, now);
        r.stage = stage;
        let number = r.number;
        if r.facts.rdb_channel {
            srv.repl.replicas.holds.add(number, at);
            let name = name(srv, *id);
            notice!("Sending to replica {name} RDB end offset {at} and client-id {number}");
        }
        srv.clients.wants_write(*id);
    }
}

/// The replica goes on at position `at`.
pub fn go_on(srv: &mut Server, id: ClientId, at: u64, asked: i64) {
    srv.stats.sync_partial_ok += 1;
    // What it is sent it keeps until it has the snapshot, which goes by another connection.
    let main_of = srv.repl.replicas.facts(id).and_then(|f| f.main_of);
    let loads = main_of.is_some_and(|rdb| srv.repl.replicas.holds.release(rdb));
    attach(srv, id, false, if loads { Stage::Load } else { Stage::Online });
    let end = srv.repl.offset();
    let now = srv.clock.unix_secs();
    let replid = srv.repl.replid.clone();
    let r = srv.repl.replicas.get_mut(id).expect("just attached");
    r.go_on(at, now);
    let line = if r.facts.psync2 { format!("+CONTINUE {replid}\r\n") } else { "+CONTINUE\r\n".into() };
    r.head.extend_from_slice(line.as_bytes());
    srv.clients.wants_write(id);
    notice!(
        "Partial resynchronization request from {} accepted. Sending {} bytes of backlog starting from \
         offset {asked}.",
        name(srv, id),
        end - at
    );
    refresh_good(srv);
}

/// The next op is preceded by SELECT: a fresh replica does not know what was selected before.
fn select_again(srv: &mut Server) {
    if let Some(selected) = &mut srv.ops.replicas {
        selected.forget();
    }
}

/// Begins a snapshot for all replicas that wait for one.
fn start_save(srv: &mut Server) {
    debug_assert!(srv.ops.is_empty(), "what is in the snapshot must not stand in the stream behind it");
    let waiting = srv.repl.replicas.at_stage(Stage::WaitStart);
    let eof = srv.repl.replicas.iter().all(|r| r.stage != Stage::WaitStart || r.facts.eof);
    let direct = srv.config.repl_diskless_sync && eof;
    let target = if direct { "replicas sockets" } else { "disk" };
    warn_of_limit(srv);
    notice!("Starting BGSAVE for SYNC with target: {target}");
    let begun = if direct { transfer::begin(srv, &waiting) } else { jobs::save_in_background(srv) };
    if begun.is_err() {
        warning!("BGSAVE for replication failed");
        for id in waiting {
            srv.repl.replicas.forget(id);
            srv.clients[id].clear(flag::REPLICA);
            srv.clients.push(id, |out| out.error("ERR BGSAVE failed, replication can't continue"));
            srv.clients[id].set(flag::CLOSE_AFTER_REPLY);
        }
        return;
    }
    select_again(srv);
    if direct {
        return;
    }
    if let Some(child) = &mut srv.jobs.child {
        child.for_replicas = true;
    }
    srv.repl.file_for_replicas = srv.config.rdb_del_sync_files;
    begin(srv, &waiting, Stage::WaitEnd);
}

/// A full sync that takes as long as the last one may be cut by the output limit, and begin again without
/// end: the log says so, with the number to set.
fn warn_of_limit(srv: &Server) {
    let fed = srv.repl.replicas.iter().any(|r| r.stage == Stage::WaitStart && !r.facts.rdb_only);
    let Some(seconds) = srv.repl.replicas.last_sync.filter(|_| fed) else { return };
    let c = &srv.config.client_output_buffer_limit[ClientKind::Replica as usize];
    let hard = srv.clients.output_limits[ClientKind::Replica as usize] as u64;
    let limit = BufferLimit { hard, soft: c.soft, soft_seconds: c.soft_seconds };
    let rate = srv.repl.marks.rate(srv.repl.offset(), srv.clock.unix_secs(), RATE_SECONDS);
    if let Some(bytes) = forecast::excess(rate, seconds, limit) {
        warning!(
            "The full sync that begins may be cut by the output limit of replicas: at {rate} bytes a second, \
             and when it takes {seconds} seconds as the last one, {bytes} bytes gather meanwhile. Consider \
             'client-output-buffer-limit replica {} 0 0' or more.",
            bytes.saturating_mul(2)
        );
    }
}

/// No child is there any more: replicas that had to wait for that have their snapshot begun.
pub fn start_pending(srv: &mut Server) {
    if srv.jobs.child.is_none() && !rewrite::is_opening(srv) && is_due(srv) {
        start_save(srv);
    }
}

/// Have replicas waited long enough for others to share their child, or are there enough of them?
fn is_due(srv: &Server) -> bool {
    let waiting = srv.repl.replicas.at_stage(Stage::WaitStart);
    let c = &srv.config;
    if waiting.is_empty() || !c.repl_diskless_sync {
        return !waiting.is_empty();
    }
    let enough = c.repl_diskless_sync_max_replicas;
    let now = srv.clock.unix_secs();
    let waits = |id: &ClientId| srv.clients.get(*id).map_or(0, |c| now - i64::from(c.conn.last_seen));
    let longest = waiting.iter().map(waits).max().unwrap_or(0);
    enough > 0 && waiting.len() as u64 >= enough
        || u64::try_from(longest).is_ok_and(|s| s >= c.repl_diskless_sync_delay)
}

/// A replica has its snapshot from the child, to the end.
pub fn streamed(srv: &mut Server, id: ClientId) {
    let (now, name) = (srv.clock.unix_secs(), name(srv, id));
    notice!(
        "Streamed RDB transfer with replica {name} succeeded (socket). Waiting for REPLCONF ACK from \
         replica to enable streaming"
    );
    let Some(r) = srv.repl.replicas.get_mut(id) else { return };
    (r.stage, r.ack_at) = (Stage::WaitAck, now);
    online(srv, id);
}

/// A snapshot has been written (`good`) or has failed: replicas that waited for it are sent it, or closed.
pub fn saved(srv: &mut Server, good: bool) {
    for id in srv.repl.replicas.at_stage(Stage::WaitEnd) {
        if !good {
            warning!("SYNC failed. BGSAVE child returned an error");
            kill::kill(srv, id);
            continue;
        }
        let opened = File::open(jobs::file_of(srv)).and_then(|f| Ok((f.metadata()?.len(), f)));
        match opened {
            Ok((len, file)) => {
                if let Some(r) = srv.repl.replicas.get_mut(id) {
                    r.transfer(Source::File(file), len);
                }
                srv.clients.wants_write(id);
            }
            Err(e) => {
                warning!("SYNC failed. Can't open/stat DB after BGSAVE: {}", errno::text(&e));
                kill::kill(srv, id);
            }
        }
    }
}

// ---- the stream --------------------------------------------------------------------------------

/// The stream has grown: online replicas are marked for writing before the loop sleeps. Every `MEASURED`
/// bytes the lag of replicas is checked against their limits, and the backlog is trimmed.
pub fn feed(srv: &mut Server) {
    srv.repl.grown = false;
    let unkept = srv.ops.take_unkept();
    let Some(end) = srv.repl.backlog.as_ref().map(crate::replication::backlog::Backlog::end) else {
        if !srv.repl.link.is_on() {
            srv.repl.pass_by(unkept);
        }
        return;
    };
    for r in srv.repl.replicas.iter().filter(|r| r.is_streamed()) {
        // A replica whose socket is full is marked by the event that says it has room again.
        if srv.clients.get(r.id).is_some_and(|c| !c.has(flag::TO_WRITE) && !c.conn.write_blocked) {
            srv.clients.wants_write(r.id);
        }
    }
    if end.saturating_sub(srv.repl.pushed_at) >= PUSHED {
        srv.repl.pushed_at = end;
        push(srv);
    }
    if end.saturating_sub(srv.repl.measured_at) >= MEASURED {
        srv.repl.measured_at = end;
        measure(srv, end);
    }
}

/// One write to each replica that is online: the loop may not sleep for long, and a replica that reads fast
/// enough must not hit a limit before its first chance.
#[cold]
fn push(srv: &mut Server) {
    for id in srv.repl.replicas.streamed() {
        let Some(c) = srv.clients.get(id).filter(|c| !c.has(flag::DYING) && !c.conn.write_blocked)
        else {
            continue;
        };
        if c.conn.out.is_empty() && !c.conn.out.over {
            let outcome = step(srv, id);
            ended(srv, id, outcome);
        }
    }
}

/// What follows from a write.
fn ended(srv: &mut Server, id: ClientId, outcome: Result<usize, WriteOutcome>) {
    match outcome {
        Ok(n) => srv.stats.net_repl_output += n as u64,
        Err(WriteOutcome::More | WriteOutcome::Rests) => {}
        Err(WriteOutcome::Full) => {
            srv.clients[id].conn.write_blocked = true;
            crate::server::before_sleep::blocked(srv, id);
        }
        Err(WriteOutcome::Failed(why)) => {
            warning!("{why}");
            kill::kill(srv, id);
        }
    }
}

#[cold]
fn measure(srv: &mut Server, end: u64) {
    let all = srv.repl.replicas.iter().map(|r| r.id);
    let behind: Vec<ClientId> = all.filter(|id| srv.repl.owed(*id) as u64 >= MEASURED).collect();
    for id in behind {
        limits::check_output(srv, id, false);
    }
    let hard = srv.clients.output_limits[ClientKind::Replica as usize] as u64;
    for number in srv.repl.replicas.holds.over(end, hard) {
        warning!("The stream that is kept for RDB client {number} is over the limit of replicas");
    }
    trim(srv);
}

/// Drops what of the stream is older than it is to be kept.
pub fn trim(srv: &mut Server) {
    let end = srv.repl.offset();
    let mut wanted = srv.repl.replicas.wanted(end);
    if !srv.repl.replicas.absent.is_empty() {
        let (most, now) = (held_for_absent(srv), srv.clock.unix_secs());
        let absent = srv.repl.replicas.absent.wanted(end, most, now, srv.config.repl_timeout);
        wanted = wanted.min(absent.unwrap_or(end));
    }
    if let Some(b) = &mut srv.repl.backlog {
        b.trim(srv.config.repl_backlog_size, wanted);
    }
}

/// Bytes that are kept for replicas that are expected back: some times the size of the backlog, no more
/// than a connected replica may hold, and no more than the size where memory is short.
fn held_for_absent(srv: &Server) -> u64 {
    let size = srv.config.repl_backlog_size;
    let max = srv.config.maxmemory;
    if max > 0 && crate::sys::alloc::used() as u64 > max {
        return size;
    }
    let most = size.saturating_mul(absent::HOLDS);
    match srv.clients.output_limits[ClientKind::Replica as usize] as u64 {
        0 => most,
        hard => most.min(hard),
    }
}

// ---- writing -----------------------------------------------------------------------------------

enum WriteOutcome {
    /// Nothing more at the moment.
    Rests,
    /// There is more; the next client has its turn first.
    More,
    /// The socket takes no more.
    Full,
    Failed(String),
}

/// Sends a replica what is its turn, as much as the socket takes.
pub fn write(srv: &mut Server, id: ClientId) {
    let Some(c) = srv.clients.get(id) else { return };
    if c.has(flag::DYING) {
        return;
    }
    if !c.conn.out.is_empty() || c.conn.out.over {
        return answered(srv, id);
    }
    let mut written = 0;
    let outcome = loop {
        match step(srv, id) {
            Ok(0) => break WriteOutcome::Rests,
            Ok(n) => written += n,
            Err(o) => break o,
        }
        if written >= MAX_WRITE {
            break WriteOutcome::More;
        }
        if srv.repl.replicas.get(id).is_none() {
            break WriteOutcome::Rests;
        }
    };
    srv.stats.net_repl_output += written as u64;
    srv.stats.traffic.writes += 1;
    if srv.transfer.is_some() {
        wrote_piece(srv, id, matches!(outcome, WriteOutcome::Full));
    }
    if matches!(outcome, WriteOutcome::More) {
        srv.clients.wants_write(id);
    }
    ended(srv, id, Err(outcome));
}

/// A replica of a transfer has taken what it could: all of its piece, or it is waited for.
#[cold]
fn wrote_piece(srv: &mut Server, id: ClientId, full: bool) {
    let now = srv.clock.unix_secs();
    let Some(r) = srv.repl.replicas.get_mut(id).filter(|r| r.stage == Stage::Transfer) else { return };
    match full {
        true => r.stalled_since = r.stalled_since.or(Some(now)),
        false => transfer::ready(srv),
    }
}

/// One write of what comes next; how many bytes it took, 0 for nothing to send.
fn step(srv: &mut Server, id: ClientId) -> Result<usize, WriteOutcome> {
    let now = srv.clock.unix_secs();
    let end = srv.repl.offset();
    let (Some(c), Some(r)) = (srv.clients.get_mut(id), srv.repl.replicas.get_mut(id)) else {
        return Ok(0);
    };
    let Some(stream) = &mut c.conn.stream else { return Ok(0) };
    let what = r.next(end);
    let done = match what {
        Next::Nothing => return Ok(0),
        Next::Head => stream.write(&r.head),
        Next::Stream(at) => match &srv.repl.backlog {
            Some(b) => stream.write_vectored(&b.slices(at, Stream::PIECES)),
            None => return Ok(0),
        },
        Next::Piece(at) => match &srv.transfer {
            Some(t) => stream.write(t.piece(at)),
            None => return Ok(0),
        },
        Next::Bulk(at) => {
            let piece = piece(r, at).map_err(|why| {
                WriteOutcome::Failed(format!("Read error sending DB to replica: {why}"))
            })?;
            stream.write(&piece)
        }
    };
    match done {
        Ok(Written::Taken(n)) => {
            if r.sent(what, n, now) {
                online(srv, id);
            }
            Ok(n)
        }
        Ok(Written::Full) => Err(WriteOutcome::Full),
        Err(e) => {
            let what = match what {
                Next::Head => "RDB preamble",
                Next::Bulk(_) | Next::Piece(_) => "DB",
                _ => "stream",
            };
            Err(WriteOutcome::Failed(format!(
                "Write error sending {what} to replica: {}",
                errno::text(&e)
            )))
        }
    }
}

/// Bytes of the snapshot from `at` on.
fn piece(r: &Replica, at: u64) -> Result<Vec<u8>, String> {
    let Some(b) = &r.bulk else { return Err("no file".into()) };
    let n = usize::try_from(b.len - at).unwrap_or(PIECE).min(PIECE);
    let mut piece = vec![0; n];
    let read = match &b.source {
        Source::File(file) => file.read_at(&mut piece, at),
        Source::Memory(bytes) => {
            let rest = usize::try_from(at).ok().and_then(|at| bytes.get(at..)).unwrap_or_default();
            io::Read::read(&mut &*rest, &mut piece)
        }
    };
    match read {
        Ok(0) => Err("premature EOF".into()),
        Ok(n) => {
            piece.truncate(n);
            Ok(piece)
        }
        Err(e) => Err(errno::text(&e)),
    }
}

/// The snapshot is across.
pub fn online(srv: &mut Server, id: ClientId) {
    let name = name(srv, id);
    if srv.repl.replicas.get(id).is_some_and(|r| r.facts.rdb_only) {
        notice!("RDB transfer completed, rdb only replica ({name}) should be disconnected asap");
        return kill::kill(srv, id);
    }
    refresh_good(srv);
    notice!("Synchronization with replica {name} succeeded");
}

/// Closes a replica to which a reply was written: the replica would read it as part of the stream.
fn answered(srv: &mut Server, id: ClientId) {
    let cmd = match srv.clients[id].last_cmd {
        u16::MAX => "<unknown>",
        n => &srv.table.get(n).name,
    };
    let line = client_info::line(srv, id, &[]);
    warning!("Replica generated a reply to command '{cmd}', disconnecting it: {line}");
    kill::kill(srv, id);
}

// ---- leaving -----------------------------------------------------------------------------------

/// A replica has been killed.
pub fn left(srv: &mut Server, r: &Replica) {
    if let Some(begun) = r.begun_at {
        srv.repl.replicas.took(begun, srv.clock.unix_secs());
    }
    let name = name_of(srv, r.id, &r.facts);
    if r.facts.rdb_channel {
        notice!("Replica {name} rdb channel disconnected.");
        // Behind the whole snapshot its other connection still has to ask for the stream.
        let now = srv.clock.unix_secs();
        if r.is_online() {
            srv.repl.replicas.holds.gone(r.number, now);
        } else {
            srv.repl.replicas.holds.release(r.number);
        }
    } else {
        notice!("Connection with replica {name} lost.");
    }
    if srv.repl.replicas.is_empty() {
        srv.repl.alone_since = srv.clock.unix_secs();
    }
    if r.stage == Stage::Transfer {
        transfer::ready(srv);
    }
    let waited = r.stage == Stage::WaitEnd;
    let ours = srv.jobs.child.as_ref().is_some_and(|c| c.for_replicas);
    let needless = ours && waited && srv.repl.replicas.at_stage(Stage::WaitEnd).is_empty();
    if needless && srv.config.save.is_empty() {
        // No other replica waits for the file, and no save point asked for it.
        jobs::kill_child(srv);
    }
    refresh_good(srv);
    trim(srv);
}

// ---- once a second -----------------------------------------------------------------------------

pub fn cron(srv: &mut Server) {
    let beat = srv.repl.beats;
    srv.repl.beats += 1;
    if let Some(b) = &srv.repl.backlog {
        srv.repl.marks.note(srv.clock.unix_secs(), b.end());
    }
    for (number, seconds) in srv.repl.replicas.holds.expire(srv.clock.unix_secs()) {
        notice!(
            "Replica main channel failed to establish PSYNC within the grace period ({seconds} seconds). \
             Freeing RDB client {number}."
        );
        trim(srv);
    }
    if srv.repl.replicas.is_empty() && srv.repl.replicas.holds.is_empty() {
        remove_file(srv);
        trim(srv);
        return age(srv);
    }
    // A PING would move the end that the replica has to reach in time.
    let hands_over = srv.cluster().is_some_and(|c| c.is_handing_over());
    let still = (srv.repl.failover.is_timed() || hands_over) && srv.pause.has(action::REPLICA);
    if beat.is_multiple_of(srv.config.repl_ping_replica_period.max(1)) && !still {
        originate(srv, b"*1\r\n$4\r\nPING\r\n");
    }
    for r in srv.repl.replicas.iter_mut() {
        if r.keep_alive() {
            srv.clients.wants_write(r.id);
        }
    }
    let (now, most) = (srv.clock.unix_secs(), srv.config.repl_timeout);
    // A replica that loads sends line ends and acknowledges nothing.
    let spoke = |r: &Replica| srv.clients.get(r.id).map_or(0, |c| i64::from(c.conn.last_seen));
    let late = |r: &Replica| u64::try_from(now - r.ack_at.max(spoke(r))).is_ok_and(|s| s > most);
    let gone = |r: &&Replica| r.is_online() && !r.silent && late(r);
    for id in srv.repl.replicas.iter().filter(gone).map(|r| r.id).collect::<Vec<_>>() {
        warning!("Disconnecting timedout replica (streaming sync): {}", name(srv, id));
        kill::kill(srv, id);
    }
    // One that takes nothing holds up the child, and all that share it.
    let stalled = |r: &&Replica| {
        let since = r.stalled_since.filter(|_| r.stage == Stage::Transfer);
        since.is_some_and(|s| u64::try_from(now - s).is_ok_and(|s| s > most))
    };
    for id in srv.repl.replicas.iter().filter(stalled).map(|r| r.id).collect::<Vec<_>>() {
        warning!("Disconnecting timedout replica (full sync): {}", name(srv, id));
        kill::kill(srv, id);
    }
    start_pending(srv);
    trim(srv);
    refresh_good(srv);
    remove_file(srv);
}

/// `rdb-del-sync-files`: a server without persistence leaves no snapshot on the disk.
fn remove_file(srv: &mut Server) {
    if !srv.config.rdb_del_sync_files {
        srv.repl.file_for_replicas = false;
        return;
    }
    let persists = !srv.config.save.is_empty() || srv.aof.state != AofState::Off;
    let needed = srv.repl.replicas.iter().any(|r| r.stage != Stage::Online);
    if !srv.repl.file_for_replicas || persists || needed {
        return;
    }
    srv.repl.file_for_replicas = false;
    let path = jobs::file_of(srv);
    if path.exists() {
        notice!("Removing the RDB file used to feed replicas in a persistence-less instance");
        // Deleting a file that has gone meanwhile is no error.
        let _ = srv.bio.unlink(&path);
    }
}

/// Without replicas the backlog is kept for some time.
fn age(srv: &mut Server) {
    let ttl = srv.config.repl_backlog_ttl;
    let idle = srv.clock.unix_secs() - srv.repl.alone_since;
    let kept = srv.repl.backlog.is_none() || srv.repl.link.is_on();
    if kept || ttl == 0 || !u64::try_from(idle).is_ok_and(|i| i > ttl) {
        return;
    }
    srv.repl.change_id();
    srv.repl.close_backlog();
    role::refresh(srv);
    notice!("Replication backlog freed after {ttl} seconds without connected replicas.");
}

/// The number of replicas that follow closely; None when the configuration asks for no minimum.
pub fn good(srv: &Server) -> Option<u64> {
    let lag = srv.config.min_replicas_max_lag;
    let wanted = srv.config.min_replicas_to_write > 0 && lag > 0 && !srv.repl.link.is_on();
    wanted.then(|| srv.repl.replicas.good(srv.clock.unix_secs(), lag))
}

/// Writes are refused while fewer replicas than `min-replicas-to-write` follow closely enough.
pub fn refresh_good(srv: &mut Server) {
    let few = good(srv).is_some_and(|n| n < srv.config.min_replicas_to_write);
    srv.states.put(ServerStates::MIN_REPLICAS, few);
}

/// Replicas that have not acknowledged all of the stream. A connection for a snapshot alone acknowledges
/// nothing: what it has to say the main channel says.
pub fn lagging(srv: &Server) -> impl Iterator<Item = &Replica> {
    let end = i64::try_from(srv.repl.offset()).unwrap_or(i64::MAX);
    srv.repl.replicas.iter().filter(move |r| r.acked != end && !r.facts.rdb_channel)
}

/// Asks every replica how far it is, rather than wait for it to tell.
pub fn ask_for_acks(srv: &mut Server) {
    originate(srv, b"*3\r\n$8\r\nREPLCONF\r\n$6\r\nGETACK\r\n$1\r\n*\r\n");
}

/// Appends a command that no client has sent. A replica adds nothing to the stream of its master.
pub fn originate(srv: &mut Server, command: &[u8]) {
    if srv.repl.link.is_on() {
        return;
    }
    if let Some(b) = &mut srv.repl.backlog {
        b.push(command);
    }
    feed(srv);
}

/// At the end: a line for each replica that will miss something.
pub fn tell_lagging(srv: &mut Server) {
    let (end, now) = (srv.repl.offset(), srv.clock.unix_secs());
    let all = srv.repl.replicas.iter().filter(|r| !r.facts.rdb_channel).count();
    let late: Vec<_> = lagging(srv).map(|r| (r.id, r.stage, r.acked, r.ack_at)).collect();
    for &(id, stage, acked, ack_at) in &late {
        let behind = i64::try_from(end).unwrap_or(i64::MAX).saturating_sub(acked);
        let lag = if matches!(stage, Stage::Online | Stage::WaitAck) { now - ack_at } else { 0 };
        let (name, state) = (name(srv, id), stage.name());
        notice!(
            "Lagging replica {name} reported offset {behind} behind master, lag={lag}, state={state}."
        );
    }
    if all > 0 {
        let fine = all - late.len();
        notice!("{fine} of {all} replicas are in sync when shutting down.");
    }
}

/// At the end of the process: what can be sent without waiting is sent.
pub fn farewell(srv: &mut Server) {
    for id in srv.repl.replicas.streamed() {
        write(srv, id);
    }
}
