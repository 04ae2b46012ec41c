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
use super::{Server, ServerStates, client_info, jobs, kill, limits, rewrite, role, transfer};
use crate::clients::pause::action;
use crate::clients::{Client, ClientId, flag};
use crate::jobs::aof::AofState;
use crate::jobs::child::ChildKind;
use crate::net::stream::{Stream, Written};
use crate::replication::replicas::{Next, ReplconfFacts, Replica, Source, Stage};
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
    srv.repl.replicas.attach(id, silent, stage);
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
        if srv.repl.replicas.join(id, &replid) {
            select_again(srv);
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

/// The replica gets a snapshot without keys, which needs no child.
fn without_keys(srv: &mut Server, id: ClientId) {
    debug_assert!(srv.ops.is_empty(), "what the snapshot stands for must not stand behind it");
    let functions = srv.repl.replicas.facts(id).is_some_and(|a| a.functions);
    let snapshot = jobs::snapshot_without_keys(srv, functions);
    let (at, replid) = (srv.repl.offset(), srv.repl.replid.clone());
    let name = name(srv, id);
    notice!("Replica {name} wants no keys: its snapshot goes without a BGSAVE");
    let r = srv.repl.replicas.get_mut(id).expect("just attached");
    r.begin(at, &replid);
    let len = snapshot.len() as u64;
    r.transfer(Source::Memory(snapshot), len);
    select_again(srv);
    srv.clients.wants_write(id);
}

/// The replica goes on at position `at`.
pub fn go_on(srv: &mut Server, id: ClientId, at: u64, asked: i64) {
    srv.stats.sync_partial_ok += 1;
    attach(srv, id, false, Stage::Online);
    let end = srv.repl.offset();
    let now = srv.clock.unix_secs();
    let replid = srv.repl.replid.clone();
    let r = srv.repl.replicas.get_mut(id).expect("just attached");
    (r.at, r.ack_at) = (at, now);
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
    srv.repl.file_for_replicas = srv.config.rdb_del_sync_files;
    let (at, replid) = (srv.repl.offset(), srv.repl.replid.clone());
    for id in waiting {
        if let Some(r) = srv.repl.replicas.get_mut(id) {
            r.begin(at, &replid);
        }
        srv.clients.wants_write(id);
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
    for r in srv.repl.replicas.iter().filter(|r| r.stage == Stage::Online) {
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
    for id in srv.repl.replicas.at_stage(Stage::Online) {
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
    let behind = |r: &&Replica| r.is_fed() && end - r.at >= MEASURED;
    let behind: Vec<ClientId> = srv.repl.replicas.iter().filter(behind).map(|r| r.id).collect();
    for id in behind {
        limits::check_output(srv, id, false);
    }
    trim(srv);
}

/// Drops what of the stream is older than it is to be kept.
pub fn trim(srv: &mut Server) {
    let wanted = srv.repl.replicas.wanted(srv.repl.offset());
    if let Some(b) = &mut srv.repl.backlog {
        b.trim(srv.config.repl_backlog_size, wanted);
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
fn online(srv: &mut Server, id: ClientId) {
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
    notice!("Connection with replica {} lost.", name_of(srv, r.id, &r.facts));
    if srv.repl.replicas.is_empty() {
        srv.repl.alone_since = srv.clock.unix_secs();
    }
    if r.stage == Stage::Transfer {
        transfer::ready(srv);
    }
    let waited = r.stage == Stage::WaitEnd;
    let needless = waited && srv.repl.replicas.at_stage(Stage::WaitEnd).is_empty();
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
    if srv.repl.replicas.is_empty() {
        remove_file(srv);
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

/// Replicas that have not acknowledged all of the stream.
pub fn lagging(srv: &Server) -> impl Iterator<Item = &Replica> {
    let end = i64::try_from(srv.repl.offset()).unwrap_or(i64::MAX);
    srv.repl.replicas.iter().filter(move |r| r.acked != end)
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
    let all = srv.repl.replicas.len();
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
    for id in srv.repl.replicas.at_stage(Stage::Online) {
        write(srv, id);
    }
}
