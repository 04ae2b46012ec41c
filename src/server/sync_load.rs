//! The last part of a full sync: the snapshot of the master takes the place of the dataset.
//!
//! ```text
//! by way of a file   all of it is there ─► log stopped ─ replicas cut ─ old data flushed ─ loaded ─► end
//! as it arrives      on-empty-db: the same, with nothing to lose
//!                    swapdb: loaded beside the old data ─► replicas cut ─ exchanged ─ old data gone ─► end
//! end                Loaded ─► the client of the stream ─► log restarted
//! failed             what was loaded is dropped, and the sync is tried again
//! ```
//!
//! It is a job of the loop like others and no loop of its own: what ends the server, asks for INFO or cuts
//! the connection meanwhile is an ordinary event. From the flush on the data stand for no position at all,
//! so a replica of this server may not keep what it has, and a snapshot of this server must not be written.
//!
//! With swapdb the new databases are held beside the old ones, and take their place for the time of a step:
//! whatever loads a key need not know of it. The old ones are served in the meantime if they are of the same
//! history (async loading); data of another one are not shown.

use super::jobs::{LoadFor, LoadStep, SnapshotLoad, Unread};
use super::{
    Server, ServerStates, aof, child, function, jobs, link, link_client, loading, policy, role, settle,
};
use crate::config::DisklessLoad;
use crate::jobs::aof::AofState;
use crate::jobs::child::ChildKind;
use crate::keyspace::{Db, Junk};
use crate::persist::rdb::source::{Fed, Window};
use crate::replication::link::{Action, Event};
use crate::scripting::library::Libraries;
use crate::sys::clock::mono_ns;
use crate::sys::errno;
use crate::{notice, warning};
use std::fs::{File, Metadata};
use std::io::Seek;

/// A pass loads for so long at most.
const SHARE_NS: u64 = 2_000_000;
/// Items between two looks at the clock.
const LOOK_EVERY: u32 = 16;
/// What is needed to begin: the head of a snapshot.
const HEAD: usize = 9;

/// The load under way.
pub enum SyncLoad {
    File(FileLoad),
    Socket(SocketLoad),
}

/// A load of a file that has arrived; which one it is, since it may become the base of the log.
pub struct FileLoad {
    load: SnapshotLoad<Window<File>>,
    file: Metadata,
}

/// A load of what arrives.
pub struct SocketLoad {
    /// None until the head is there, and when all of it has been loaded.
    load: Option<SnapshotLoad<Fed>>,
    head: Vec<u8>,
    /// The new databases, beside those that are served.
    side: Option<Side>,
    /// What has come does not make another item.
    hungry: bool,
    over: Over,
    loaded: bool,
}

/// Does more of the snapshot come?
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Over {
    No,
    /// The connection has ended in the middle of it.
    Cut,
    Whole,
}

impl SyncLoad {
    /// Can it go on with what is there?
    pub fn has_work(&self) -> bool {
        match self {
            SyncLoad::File(_) => true,
            SyncLoad::Socket(s) => !s.hungry,
        }
    }
}

/// A snapshot of this server that is being written would take the place of the master's.
pub fn kill_save(srv: &mut Server) {
    if let Some(c) = srv.jobs.child.as_ref().filter(|_| child::runs(srv, ChildKind::Snapshot)) {
        notice!(
            "Replica is about to load the RDB file received from the master, but there is a pending RDB \
             child running. Killing process {} and removing its temp file to avoid any race",
            c.pid
        );
        jobs::kill_child(srv);
    }
}

/// May a snapshot be loaded as it arrives?
pub fn reads_socket(srv: &Server) -> bool {
    match srv.config.repl_diskless_load {
        DisklessLoad::Disabled => false,
        DisklessLoad::OnEmptyDb => srv.ks.keys() == 0,
        DisklessLoad::SwapDb => true,
    }
}

// ---- by way of a file --------------------------------------------------------------------------

/// The file is in its place: the old data go, and the load begins.
pub fn begin(srv: &mut Server, file: File) {
    // It may have begun while the file was brought to the disk.
    kill_save(srv);
    stop_log(srv);
    leave_history(srv);
    notice!("MASTER <-> REPLICA sync: Flushing old data");
    flush(srv);
    notice!("MASTER <-> REPLICA sync: Loading DB in memory");
    let rewound = (&file).rewind().and_then(|()| file.metadata());
    let known = match rewound {
        Ok(known) => known,
        Err(e) => {
            warning!("Can't read the RDB file received from the master: {}", errno::text(&e));
            return link::event(srv, Event::LoadFailed { cut: false });
        }
    };
    loading::start(srv, known.len());
    let source = Window::new(file, known.len(), jobs::sums(srv));
    match SnapshotLoad::begin(srv, source, LoadFor::Sync) {
        Ok(load) => srv.master_link.load = Some(SyncLoad::File(FileLoad { load, file: known })),
        Err(_) => failed(srv, false, None),
    }
}

fn stop_log(srv: &mut Server) {
    if srv.aof.state != AofState::Off {
        aof::stop(srv);
    }
}

/// The data of this server are about to be those of the master: nothing goes on from where they were.
fn leave_history(srv: &mut Server) {
    let mut said = Vec::new();
    srv.repl.link.begins_to_load(&mut said);
    for action in said {
        if let Action::Say(level, text) = action {
            link::say(level, &text);
        }
    }
    role::disconnect_replicas(srv);
    srv.repl.close_backlog();
}

fn flush(srv: &mut Server) {
    srv.master_link.hollow = true;
    let lazy = srv.config.replica_lazy_flush;
    settle::before_flush(srv, None, lazy);
    srv.ks.flush(None, lazy);
    function::flush(srv);
    settle::sweep(srv);
}

/// A dataset beside the one that is served: its databases, and its functions.
struct Side {
    dbs: Vec<Db>,
    libraries: Libraries,
}

impl Side {
    fn new(srv: &Server) -> Side {
        let dbs = srv.ks.iter().map(|(_, db)| db.empty_twin()).collect();
        Side { dbs, libraries: Libraries::default() }
    }

    /// Changes places with the one that is served.
    fn exchange(&mut self, srv: &mut Server) {
        srv.ks.exchange_all(&mut self.dbs);
        std::mem::swap(&mut srv.scripting.libraries, &mut self.libraries);
    }
}

/// `rdb-del-sync-files`: a replica without persistence leaves nothing on the disk.
fn remove_file(srv: &mut Server) {
    let persists = !srv.config.save.is_empty() || srv.config.appendonly;
    if !srv.config.rdb_del_sync_files || persists {
        return;
    }
    notice!("Removing the RDB file obtained from the master. This replica has persistence disabled");
    let path = jobs::file_of(srv);
    if let Err(e) = srv.bio.unlink(&path) {
        warning!("Can't remove the file {}: {}", path.display(), errno::text(&e));
    }
}

// ---- as it arrives -----------------------------------------------------------------------------

/// The snapshot begins to arrive. `replid`: the history that it is of; `total`: its length, if that is known.
pub fn begin_to_read(srv: &mut Server, replid: Option<&str>, total: u64) {
    stop_log(srv);
    jobs::kill_child(srv);
    let side = srv.config.repl_diskless_load == DisklessLoad::SwapDb;
    let same = replid == Some(srv.repl.replid.as_str());
    if !side {
        leave_history(srv);
        notice!("MASTER <-> REPLICA sync: Flushing old data");
        flush(srv);
    }
    notice!("MASTER <-> REPLICA sync: Loading DB in memory");
    loading::start_beside(srv, total, side && same);
    let side = side.then(|| Side::new(srv));
    srv.master_link.load = Some(SyncLoad::Socket(SocketLoad {
        load: None,
        head: Vec::new(),
        side,
        hungry: true,
        over: Over::No,
        loaded: false,
    }));
}

/// More of it has come.
pub fn feed(srv: &mut Server, bytes: &[u8]) {
    let Some(SyncLoad::Socket(s)) = &mut srv.master_link.load else { return };
    match &mut s.load {
        Some(load) => load.source().feed(bytes),
        None => s.head.extend_from_slice(bytes),
    }
    s.hungry = false;
}

/// Nothing more comes; `whole`: not for want of a connection.
pub fn end_of_snapshot(srv: &mut Server, whole: bool) {
    let Some(SyncLoad::Socket(s)) = &mut srv.master_link.load else { return };
    s.over = if whole { Over::Whole } else { Over::Cut };
    s.hungry = false;
    if let Some(load) = &mut s.load {
        load.source().end();
    }
}

/// The link has given up: what was loaded goes.
pub fn abort(srv: &mut Server) {
    let side = match srv.master_link.load.take() {
        None => return,
        Some(SyncLoad::File(_)) => None,
        Some(SyncLoad::Socket(s)) => s.side,
    };
    drop_loaded(srv, side);
    loading::stop(srv);
}

fn drop_loaded(srv: &mut Server, side: Option<Side>) {
    match side {
        Some(side) => {
            discard(srv, side);
            notice!("MASTER <-> REPLICA sync: Discarding temporary DB in background");
        }
        // What there is of a dataset is none.
        None => flush(srv),
    }
}

fn discard(srv: &mut Server, old: Side) {
    for db in old.dbs.into_iter().filter(Db::has_room) {
        srv.ks.junk.push((Junk::Dict(Box::new(db)), true));
    }
    function::discard(srv, old.libraries);
    settle::sweep(srv);
}

/// Loads what has come, with the new databases in the place of the old ones meanwhile.
fn step_of_socket(srv: &mut Server, mut s: SocketLoad) {
    if let Some(side) = &mut s.side {
        side.exchange(srv);
    }
    let beside = srv.states.has(ServerStates::ASYNC_LOADING);
    if beside {
        srv.states.put(ServerStates::LOADING, true);
        policy::refresh(srv);
    }
    let step = s.step(srv);
    if let Some(side) = &mut s.side {
        side.exchange(srv);
    }
    if beside {
        srv.states.put(ServerStates::LOADING, false);
        policy::refresh(srv);
    }
    match step {
        Ok(()) if s.loaded && s.over == Over::Whole => take_place(srv, s.side),
        Ok(()) if s.loaded && s.over == Over::Cut => {
            warning!("Replication stream EOF marker is broken");
            failed(srv, true, s.side);
        }
        Ok(()) => srv.master_link.load = Some(SyncLoad::Socket(s)),
        Err(_) => failed(srv, s.over == Over::Cut, s.side),
    }
}

impl SocketLoad {
    fn step(&mut self, srv: &mut Server) -> Result<(), Unread> {
        if self.load.is_none() && !self.loaded {
            if self.head.len() < HEAD && self.over == Over::No {
                self.hungry = true;
                return Ok(());
            }
            let mut source = Fed::default();
            source.feed(&std::mem::take(&mut self.head));
            if self.over != Over::No {
                source.end();
            }
            self.load = Some(SnapshotLoad::begin(srv, source, LoadFor::Sync)?);
        }
        let Some(load) = &mut self.load else {
            // Behind the end of the snapshot nothing but the mark may come.
            self.hungry = true;
            return if self.head.is_empty() { Ok(()) } else { Err(jobs::more_than_a_snapshot()) };
        };
        match a_share(srv, load)? {
            LoadStep::Item => {}
            LoadStep::NeedsMore => self.hungry = true,
            LoadStep::Done => {
                let load = self.load.take().expect("looked at above");
                self.head = load.end(srv).into_rest();
                (self.loaded, self.hungry) = (true, self.head.is_empty() && self.over == Over::No);
            }
        }
        Ok(())
    }
}

/// The new databases are whole: they take the place of the old ones.
fn take_place(srv: &mut Server, side: Option<Side>) {
    if let Some(mut side) = side {
        leave_history(srv);
        notice!("MASTER <-> REPLICA sync: Swapping active DB with loaded DB");
        settle::before_flush(srv, None, true);
        side.exchange(srv);
        srv.ks.own_ttls.clear();
        settle::after_exchange(srv);
        discard(srv, side);
        notice!("MASTER <-> REPLICA sync: Discarding old DB in background");
    }
    srv.ks.dirty += 1;
    end(srv, None);
}

// ---- both --------------------------------------------------------------------------------------

/// Loads for a while.
pub fn step(srv: &mut Server) {
    match srv.master_link.load.take() {
        Some(SyncLoad::File(mut f)) => match a_share(srv, &mut f.load) {
            Ok(LoadStep::Item) => srv.master_link.load = Some(SyncLoad::File(f)),
            Ok(LoadStep::Done) => {
                let may_be_base = f.load.is_of_this_version();
                f.load.end(srv);
                srv.jobs.dirty_saved = srv.ks.dirty;
                remove_file(srv);
                end(srv, Some(&f.file).filter(|_| may_be_base));
            }
            // A file has all that it will ever have.
            Ok(LoadStep::NeedsMore) | Err(_) => failed(srv, false, None),
        },
        Some(SyncLoad::Socket(s)) => step_of_socket(srv, s),
        None => {}
    }
}

/// Items until the time is up, or the loop is to turn.
fn a_share<S: crate::persist::rdb::source::Source>(
    srv: &mut Server,
    load: &mut SnapshotLoad<S>,
) -> Result<LoadStep, Unread> {
    let begun = mono_ns();
    let mut items = 0u32;
    loop {
        match load.next(srv)? {
            LoadStep::Item => {}
            other => return Ok(other),
        }
        items = items.wrapping_add(1);
        let due = loading::count(srv, load.at());
        if due || items.is_multiple_of(LOOK_EVERY) && mono_ns().saturating_sub(begun) >= SHARE_NS {
            return Ok(LoadStep::Item);
        }
    }
}

/// The dataset is that of the master. `base`: the file that it is in, which the log may begin with.
fn end(srv: &mut Server, base: Option<&Metadata>) {
    srv.master_link.hollow = false;
    loading::stop(srv);
    let db = srv.jobs.loaded_at.as_ref().and_then(|p| p.db);
    link::event(srv, Event::Loaded { db });
    if srv.config.appendonly {
        role::start_aof(srv, base);
    }
    link_client::online(srv);
}

/// The reason is in the log. `cut`: the connection has ended before all of it was there.
fn failed(srv: &mut Server, cut: bool, side: Option<Side>) {
    drop_loaded(srv, side);
    loading::stop(srv);
    link::event(srv, Event::LoadFailed { cut });
    remove_file(srv);
}
