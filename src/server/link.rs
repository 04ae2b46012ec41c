//! The link to the master, performed: its connection, the file of a full sync, and what follows from the
//! machine in `replication::link`.
//!
//! ```text
//! event of the connection ─► ready ─┐            ┌─► connection: connect, send, close
//! cron, once a second ─────► tick ──┼─► machine ─┼─► file: open, append, drop
//! each pass ───────────────► drive ─┘            ├─► load: the snapshot becomes the dataset (`sync_load`)
//!                                                └─► attach: a client reads the stream (`link_client`)
//! ```
//!
//! The connection belongs to this file until the stream begins; the client then gets it with whatever was
//! read beyond the last answer. Inside a command nothing of this is done: what has arrived waits for the
//! next pass (`pending`), because a full sync replaces the data under the command.
//!
//! The file lies beside the snapshot of this server and is brought to the disk while it arrives. It takes
//! the name of that snapshot before the old data go, so that a full disk costs nothing. What waits for the
//! disk or for the addresses of a name is done by other threads: `placing`, `naming`.

use super::main_channel::MainChannel;
use super::rewrite::ring;
use super::sync_load::SyncLoad;
use super::{Server, failover, info, link_client, main_channel, role, sync_load, tls};
use crate::bio::{self, Handed};
use crate::clients::ClientId;
use crate::net::connect::{self, Connecting};
use crate::net::reactor::{EXTRA, LINK, RDB_CHANNEL, Ready};
use crate::net::stream::{Read, Stream, Written};
use crate::proto::reply_in::{self, ReplyLine};
use crate::replication::held::Held;
use crate::replication::link::{Action, Event, Target, Terms, Wants};
use crate::sys::log::Level;
use crate::sys::{errno, fsx};
use crate::warning;
use std::fs::File;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

/// Bytes read at once while the master answers; of a snapshot.
const LINES: usize = 4 * 1024;
const PIECE: usize = 256 * 1024;
/// Bytes of a snapshot that one pass takes.
const SHARE: usize = 1024 * 1024;

/// What the link holds of the outer world.
#[derive(Default)]
pub struct MasterLink {
    stream: Option<Stream>,
    /// Read from the stream and not taken by the machine yet.
    input: Vec<u8>,
    /// The stream may have more, which no event announces.
    pending: bool,
    file: Option<Incoming>,
    /// Files opened so far: a thread may still have one when the next is opened.
    files: u64,
    /// The file is whole, and a thread puts it in its place.
    placing: Option<Handed<Result<File, (String, io::Error)>>>,
    /// A thread looks for the addresses of this master; and whether that is waited for.
    naming: Option<(Target, Handed<io::Result<Vec<SocketAddr>>>)>,
    awaits_name: bool,
    /// The first connection of a sync by two; `stream` is the second one then.
    pub(super) main: MainChannel,
    pub(super) load: Option<SyncLoad>,
    /// The client that reads the stream of commands, and what it has run of an open transaction.
    pub(super) client: Option<ClientId>,
    pub(super) unfinished: Vec<u8>,
    /// When the last of them was closed, in Unix seconds; 0 for never.
    pub(super) cut_at: i64,
    /// The data were flushed for a full sync, and none has succeeded since.
    pub(super) hollow: bool,
    /// The stream broke the protocol: its position is worth nothing.
    pub(super) broken: bool,
    /// The log has to be switched on again; so many tries have failed.
    pub(super) aof_tries: Option<u32>,
    /// When it was last logged that the disk fails while the stream goes on, in Unix seconds.
    pub(super) disk_warning: i64,
}

/// A snapshot on its way to the disk.
struct Incoming {
    file: File,
    path: PathBuf,
    strides: fsx::Strides,
}

impl MasterLink {
    pub fn client(&self) -> Option<ClientId> {
        self.client
    }

    fn is_placed(&self) -> bool {
        self.placing.as_ref().is_some_and(Handed::is_done)
    }

    fn is_named(&self) -> bool {
        self.awaits_name && self.naming.as_ref().is_some_and(|(_, addresses)| addresses.is_done())
    }

    /// What of the stream waits for the snapshot before it.
    pub fn held(&self) -> &Held {
        self.main.held()
    }

    /// Is there work that no event announces?
    pub fn has_work(&self) -> bool {
        self.is_placed()
            || self.is_named()
            || self.pending
            || self.main.has_work()
            || self.load.as_ref().is_some_and(SyncLoad::has_work)
    }
}

// ---- events ------------------------------------------------------------------------------------

/// The machine takes in what has happened, and what it answers is done.
pub fn event(srv: &mut Server, event: Event<'_>) {
    let c = &srv.config;
    let port = match (c.replica_announce_port, c.tls_replication) {
        (0, true) if c.tls_port != 0 => c.tls_port,
        (0, _) => info::server_port(srv),
        (port, _) => port,
    };
    let terms = Terms {
        user: c.masteruser.as_deref(),
        password: c.masterauth.as_deref(),
        port,
        ip: c.replica_announce_ip.as_deref().filter(|ip| !ip.is_empty()),
        timeout: c.repl_timeout,
        parser: sync_load::reads_socket(srv),
        failover: srv.repl.failover.is_in_progress(),
        dual: c.dual_channel_replication_enabled,
    };
    let mut actions = Vec::new();
    srv.repl.link.on(event, &terms, srv.clock.unix_secs(), &mut actions);
    for action in actions {
        perform(srv, action);
    }
    role::refresh(srv);
}

fn perform(srv: &mut Server, action: Action<'_>) {
    match action {
        Action::Say(level, text) => say(level, &text),
        Action::Connect(target) => connect_to(srv, &target),
        Action::Send(bytes) => send(srv, &bytes),
        Action::Close => close(srv),
        Action::Park => {
            let link = &mut srv.master_link;
            link.pending = false;
            let (stream, input) = (link.stream.take(), std::mem::take(&mut link.input));
            main_channel::park(srv, stream, input);
        }
        Action::SendMain(bytes) => main_channel::send(srv, &bytes),
        Action::CloseMain => main_channel::close(srv),
        Action::Rebase(at) => srv.repl.rebase(at.replid, at.offset),
        Action::OpenFile => open_file(srv),
        Action::Append(bytes) => append(srv, &bytes),
        Action::DropFile => {
            drop_file(srv);
            sync_load::abort(srv);
        }
        Action::Load => load(srv),
        Action::Parse { replid, total } => sync_load::begin_to_read(srv, replid.as_deref(), total),
        Action::EndOfSnapshot { whole } => sync_load::end_of_snapshot(srv, whole),
        Action::Inherit(id) => {
            srv.repl.shift_id(id);
            role::disconnect_replicas(srv);
        }
        Action::Attach { full, position, ack } => link_client::attach(srv, full, position, ack),
        Action::Detach => link_client::detach(srv),
        Action::TakenOver(accepted) => failover::answered(srv, accepted),
        Action::Ack => link_client::acknowledge(srv),
        Action::Newline if srv.master_link.main.is_open() => main_channel::newline(srv),
        // The master may have closed its end meanwhile, which is found when the stream is read.
        Action::Newline => drop(srv.master_link.stream.as_mut().map(|s| s.write(b"\n"))),
    }
}

pub(super) fn say(level: Level, text: &str) {
    crate::log_at!(level, "{text}");
}

/// Once a second.
pub fn tick(srv: &mut Server) {
    // Bytes that have come are a sign of life, also while they are no whole command or a pause holds it up.
    if let Some(c) = srv.master_link.client.and_then(|id| srv.clients.get(id)) {
        srv.repl.link.heard(i64::from(c.conn.last_seen));
    }
    if srv.repl.link.is_on() {
        event(srv, Event::Tick);
    }
    role::retry_aof(srv);
}

// ---- the connection ----------------------------------------------------------------------------

fn connect_to(srv: &mut Server, to: &Target) {
    close(srv);
    if let Some(address) = connect::address(&to.host, to.port) {
        return connect_at(srv, &[address]);
    }
    let link = &mut srv.master_link;
    // A thread that still looks for them is waited for. What it has found for an earlier try may be old.
    if link.naming.as_ref().is_none_or(|(target, addresses)| target != to || addresses.is_done()) {
        let (host, port, waker) = (to.host.clone(), to.port, srv.reactor.waker());
        let found = bio::aside("resolver", move || connect::resolve(&host, port), move || ring(&waker));
        match found {
            Ok(addresses) => link.naming = Some((to.clone(), addresses)),
            Err(e) => return event(srv, Event::Refused(&errno::text(&e))),
        }
    }
    srv.master_link.awaits_name = true;
}

/// The addresses of the master have been found, or none.
fn named(srv: &mut Server) {
    srv.master_link.awaits_name = false;
    let Some((_, addresses)) = srv.master_link.naming.take() else { return };
    match addresses.outcome() {
        Ok(all) => connect_at(srv, &all),
        Err(e) => event(srv, Event::Refused(&errno::text(&e))),
    }
}

fn connect_at(srv: &mut Server, all: &[SocketAddr]) {
    let from = srv.config.bind_source_addr.as_ref().map(|a| String::from_utf8_lossy(a).into_owned());
    let token = if srv.master_link.main.is_open() { RDB_CHANNEL } else { LINK };
    let host = srv.repl.link.target().filter(|_| srv.config.tls_replication).map(|t| t.host.clone());
    let begun = connect::start(all, from.as_deref()).and_then(|stream| {
        let mut stream = match &host {
            Some(host) => tls::secure(srv, stream, host)?,
            None => stream,
        };
        stream.register(srv.reactor.registry(), mio::Token(EXTRA + token))?;
        Ok(stream)
    });
    match begun {
        Ok(stream) => {
            srv.master_link.stream = Some(stream);
            event(srv, Event::Begun);
        }
        Err(e) => event(srv, Event::Refused(&errno::text(&e))),
    }
}

/// The handshake is a few short lines, for which a fresh socket has room.
fn send(srv: &mut Server, bytes: &[u8]) {
    let Some(stream) = &mut srv.master_link.stream else { return };
    let why = match stream.write(bytes) {
        Ok(Written::Taken(n)) if n == bytes.len() => return,
        Ok(_) => "no room".into(),
        Err(e) => errno::text(&e),
    };
    warning!("Sending command to master in replication handshake: {why}");
    event(srv, Event::Closed(&why));
}

fn close(srv: &mut Server) {
    let link = &mut srv.master_link;
    link.input = Vec::new();
    (link.pending, link.awaits_name) = (false, false);
    if let Some(stream) = link.stream.take() {
        end(srv, stream);
    }
}

/// Ends a connection to the master.
pub(super) fn end(srv: &Server, mut stream: Stream) {
    stream.farewell();
    stream.deregister(srv.reactor.registry());
    // A child has copies of all descriptors: a mere close would leave the master waiting.
    if srv.jobs.child.is_some() {
        stream.shutdown();
    }
}

/// The connection and what was read beyond the last answer; they belong to the client now.
pub(super) fn take_connection(srv: &mut Server) -> Option<(Stream, Vec<u8>)> {
    if srv.master_link.main.is_open() {
        // The second connection has brought the snapshot.
        close(srv);
        let mut stream = main_channel::take(srv)?;
        stream.deregister(srv.reactor.registry());
        return Some((stream, Vec::new()));
    }
    let link = &mut srv.master_link;
    link.pending = false;
    let mut stream = link.stream.take()?;
    stream.deregister(srv.reactor.registry());
    Some((stream, std::mem::take(&mut link.input)))
}

/// The connection has signalled.
pub fn ready(srv: &mut Server, e: &Ready) {
    match srv.master_link.main.is_open() {
        true => main_channel::ready(srv, e),
        false => channel_ready(srv, e),
    }
}

/// The connection that the machine talks to has signalled.
pub fn channel_ready(srv: &mut Server, e: &Ready) {
    let link = &mut srv.master_link;
    if let Some(stream) = &mut link.stream {
        stream.signalled(e);
        link.pending = true;
    }
}

/// Once per pass, outside of commands: reads what has come, and goes on with a load.
pub fn drive(srv: &mut Server) {
    if srv.master_link.main.has_work() {
        main_channel::drive(srv);
    }
    let loads = |srv: &Server| srv.master_link.load.as_ref().is_some_and(SyncLoad::has_work);
    if srv.master_link.is_named() {
        named(srv);
    } else if srv.master_link.is_placed() {
        placed(srv);
    } else if srv.master_link.pending && !loads(srv) {
        // What has come is loaded before more is read: memory holds one share of it at a time.
        read(srv);
    }
    // At once: of a load that takes no time no client gets to know.
    if loads(srv) {
        sync_load::step(srv);
    }
}

fn read(srv: &mut Server) {
    if srv.repl.link.is_connecting() {
        let Some(stream) = &mut srv.master_link.stream else {
            srv.master_link.pending = false;
            return;
        };
        match connect::state(stream) {
            Connecting::Pending => {
                srv.master_link.pending = false;
                return;
            }
            Connecting::Open => event(srv, Event::Connected),
            Connecting::Failed(e) => return event(srv, Event::Closed(&errno::text(&e))),
        }
    }
    let mut share = SHARE;
    loop {
        match take(srv) {
            Taken::Some => {}
            // A load, or a client, has the word: the rest is read when it is done.
            Taken::Needs(0) => {
                srv.master_link.pending = false;
                return;
            }
            Taken::Needs(_) if share == 0 => return,
            Taken::Needs(most) => match receive(srv, most) {
                Some(0) | None => return,
                Some(n) => share = share.saturating_sub(n),
            },
        }
    }
}

/// Reads once; None when the connection has ended.
fn receive(srv: &mut Server, most: usize) -> Option<usize> {
    let link = &mut srv.master_link;
    let stream = link.stream.as_mut()?;
    let why = match stream.read_into(&mut link.input, most) {
        Ok(Read::Drained(n) | Read::More(n)) => {
            link.pending = n > 0;
            srv.stats.net_repl_input += n as u64;
            return Some(n);
        }
        Ok(Read::End) => "connection lost".to_string(),
        Err(e) => errno::text(&e),
    };
    link.pending = false;
    event(srv, Event::Closed(&why));
    None
}

enum Taken {
    Some,
    /// So many bytes may be read for the next step; 0 for none.
    Needs(usize),
}

/// Gives the machine what it wants of the input.
fn take(srv: &mut Server) -> Taken {
    match srv.repl.link.wants() {
        Wants::Nothing | Wants::Stream => Taken::Needs(0),
        Wants::Line => take_line(srv),
        Wants::Bulk(most) => take_bulk(srv, most),
    }
}

/// What stands behind goes back before the machine is told: it may hand the connection to a client, or open
/// another one.
fn take_bulk(srv: &mut Server, most: usize) -> Taken {
    let mut input = std::mem::take(&mut srv.master_link.input);
    if input.is_empty() {
        srv.master_link.input = input;
        return Taken::Needs(most.min(PIECE));
    }
    srv.master_link.input = input.split_off(input.len().min(most));
    event(srv, Event::Bulk(&input));
    if srv.master_link.input.capacity() == 0 && srv.master_link.stream.is_some() {
        // Only its room.
        input.clear();
        srv.master_link.input = input;
    }
    Taken::Some
}

fn take_line(srv: &mut Server) -> Taken {
    match cut_line(&mut srv.master_link.input) {
        Cut::Partial => Taken::Needs(LINES),
        Cut::TooLong => {
            event(srv, Event::Closed("a line without end"));
            Taken::Needs(0)
        }
        Cut::Line(line) => {
            event(srv, Event::Line(&line));
            Taken::Some
        }
    }
}

/// What stands at the front of an input.
pub(super) enum Cut {
    Partial,
    TooLong,
    Line(Vec<u8>),
}

/// Takes the first line off, if all of it is there.
pub(super) fn cut_line(input: &mut Vec<u8>) -> Cut {
    match reply_in::line(input) {
        ReplyLine::Partial => Cut::Partial,
        ReplyLine::TooLong => Cut::TooLong,
        ReplyLine::Whole(line, n) => {
            let line = line.to_vec();
            input.drain(..n);
            Cut::Line(line)
        }
    }
}

// ---- the file ----------------------------------------------------------------------------------

fn open_file(srv: &mut Server) {
    drop_file(srv);
    srv.master_link.files += 1;
    let (secs, pid, n) = (srv.clock.unix_secs(), std::process::id(), srv.master_link.files);
    let path = PathBuf::from(format!("temp-{secs}.{pid}.{n}.rdb"));
    let opened = File::options().read(true).write(true).create(true).truncate(true).open(&path);
    match opened {
        Ok(file) => {
            srv.master_link.file = Some(Incoming { file, path, strides: fsx::Strides::default() });
        }
        Err(e) => {
            let why = errno::text(&e);
            warning!("Opening the temp file needed for MASTER <-> REPLICA synchronization: {why}");
            event(srv, Event::FileFailed);
        }
    }
}

fn append(srv: &mut Server, bytes: &[u8]) {
    if srv.master_link.load.is_some() {
        return sync_load::feed(srv, bytes);
    }
    let Some(to) = &mut srv.master_link.file else { return };
    if let Err(e) = to.strides.write_all(&to.file, bytes) {
        let why = errno::text(&e);
        warning!(
            "Write error or short write writing to the DB dump file needed for MASTER <-> REPLICA \
             synchronization: {why}"
        );
        event(srv, Event::FileFailed);
    }
}

fn drop_file(srv: &mut Server) {
    // What is put in its place already stays there, as after a crash: it is a whole snapshot.
    srv.master_link.placing = None;
    if let Some(Incoming { path, .. }) = srv.master_link.file.take()
        && let Err(e) = srv.bio.unlink(&path)
        && e.kind() != io::ErrorKind::NotFound
    {
        warning!("Can't remove the file {}: {}", path.display(), errno::text(&e));
    }
}

/// The snapshot is on the disk in full: it takes its place there, and then that of the dataset.
fn load(srv: &mut Server) {
    if !srv.repl.link.loads() {
        // Its last bytes could not be written.
        return;
    }
    let Some(Incoming { file, path, .. }) = srv.master_link.file.take() else {
        return event(srv, Event::FileFailed);
    };
    sync_load::kill_save(srv);
    let (to, waker) = (super::jobs::file_of(srv), srv.reactor.waker());
    let work = move || put_in_place(file, &path, &to);
    srv.master_link.placing = Some(srv.bio.hand_over_file(work, move || ring(&waker)));
}

/// On the thread: the file is brought to the disk and gets its name. A failure says what was tried.
fn put_in_place(file: File, path: &Path, to: &Path) -> Result<File, (String, io::Error)> {
    let shown = to.display();
    let placed = file
        .sync_all()
        .map_err(|e| ("sync the temp DB to disk".to_string(), e))
        .and_then(|()| {
            std::fs::rename(path, to).map_err(|e| (format!("rename the temp DB into {shown}"), e))
        })
        .and_then(|()| fsx::sync_folder_of(to).map_err(|e| (format!("sync DB directory {shown}"), e)));
    if placed.is_err() {
        // Gone already, when only the folder could not be synced.
        let _ = std::fs::remove_file(path);
    }
    placed.map(|()| file)
}

/// The thread is done.
fn placed(srv: &mut Server) {
    let Some(done) = srv.master_link.placing.take() else { return };
    debug_assert!(srv.repl.link.loads());
    match done.outcome() {
        // By its handle: the name may stand for a snapshot of this server by now.
        Ok(file) => sync_load::begin(srv, file),
        Err((what, e)) => {
            let why = errno::text(&e);
            warning!("Failed trying to {what} in MASTER <-> REPLICA synchronization: {why}");
            event(srv, Event::FileFailed);
        }
    }
}
