//! The last part of a full sync: the snapshot of the master takes the place of the dataset.
//!
//! ```text
//! begin: log stopped ─ replicas cut ─ backlog gone ─ old data flushed
//! step:  a share of the snapshot per pass; clients get -LOADING, the master a sign of life each second
//! end:   Loaded ─► the client of the stream ─► log restarted          Failed ─► nothing is left, tried again
//! ```
//!
//! It is a job of the loop like others and no loop of its own: what ends the server, asks for INFO or cuts
//! the connection meanwhile is an ordinary event. From `begin` on the data stand for no position at all, so a
//! replica of this server may not keep what it has, and a snapshot of this server must not be written.

use super::jobs::{LoadFor, SnapshotLoad, Unread};
use super::{Server, aof, child, jobs, link, link_client, loading, role, settle};
use crate::jobs::aof::AofState;
use crate::jobs::child::ChildKind;
use crate::persist::rdb::source::Window;
use crate::replication::link::Event;
use crate::sys::clock::mono_ns;
use crate::sys::errno;
use crate::{notice, warning};
use std::fs::File;

/// A pass loads for so long at most.
const SHARE_NS: u64 = 2_000_000;
/// Items between two looks at the clock.
const LOOK_EVERY: u32 = 16;

/// The load under way.
pub struct SyncLoad(SnapshotLoad<Window<File>>);

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

/// The file is in its place: the old data go, and the load begins.
pub fn begin(srv: &mut Server) {
    if srv.aof.state != AofState::Off {
        aof::stop(srv);
    }
    let mut said = Vec::new();
    srv.repl.link.begins_to_load(&mut said);
    for action in said {
        if let crate::replication::link::Action::Say(level, text) = action {
            link::say(level, &text);
        }
    }
    role::disconnect_replicas(srv);
    srv.repl.close_backlog();
    notice!("MASTER <-> REPLICA sync: Flushing old data");
    flush(srv);
    notice!("MASTER <-> REPLICA sync: Loading DB in memory");
    let opened = File::open(jobs::file_of(srv)).and_then(|f| f.metadata().map(|m| (f, m.len())));
    let (file, total) = match opened {
        Ok(opened) => opened,
        Err(e) => {
            warning!("Can't open the RDB file received from the master: {}", errno::text(&e));
            return link::event(srv, Event::LoadFailed);
        }
    };
    loading::start(srv, total);
    let source = Window::new(file, total, jobs::sums(srv));
    match SnapshotLoad::begin(srv, source, LoadFor::Sync) {
        Ok(load) => srv.master_link.load = Some(SyncLoad(load)),
        Err(why) => failed(srv, why),
    }
}

fn flush(srv: &mut Server) {
    settle::before_flush(srv, None);
    srv.ks.flush(None, srv.config.replica_lazy_flush);
    settle::sweep(srv);
}

/// Loads for a while.
pub fn step(srv: &mut Server) {
    let Some(SyncLoad(mut load)) = srv.master_link.load.take() else { return };
    let begun = mono_ns();
    let mut items = 0u32;
    loop {
        match load.next(srv) {
            Ok(true) => {}
            Ok(false) => return loaded(srv, load),
            Err(why) => return failed(srv, why),
        }
        items = items.wrapping_add(1);
        let due = loading::count(srv, load.at());
        if due || items.is_multiple_of(LOOK_EVERY) && mono_ns().saturating_sub(begun) >= SHARE_NS {
            break;
        }
    }
    srv.master_link.load = Some(SyncLoad(load));
}

fn loaded(srv: &mut Server, load: SnapshotLoad<Window<File>>) {
    load.end(srv);
    loading::stop(srv);
    srv.jobs.dirty_saved = srv.ks.dirty;
    remove_file(srv);
    let db = srv.jobs.loaded_at.as_ref().and_then(|p| p.db);
    link::event(srv, Event::Loaded { db });
    link_client::online(srv);
    if srv.config.appendonly {
        role::start_aof(srv);
    }
}

/// The reason is in the log. A part of a dataset is none.
fn failed(srv: &mut Server, _why: Unread) {
    flush(srv);
    loading::stop(srv);
    link::event(srv, Event::LoadFailed);
    remove_file(srv);
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
