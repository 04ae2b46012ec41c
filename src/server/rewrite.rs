//! Rewriting the log: a child writes the dataset as a new base, while commands go to a new increment.
//!
//! ```text
//! begin: new increment ─► manifest ─► switch to it, fork ─► child: temp-rewriteaof-bg-PID.aof
//! done:  rename to the new base ─► manifest: new base, the increments before become history ─► history goes
//!        └ on the disk thread ────────────────────────────────────────────────────────────────────────────┘
//! ```
//!
//! What has to wait for the disk is done by the disk thread (`Handover`): a manifest that is synced and
//! renamed takes as long as the disk likes, and clients are not to wait for it. A rewrite is under way from
//! `begin` until its base is installed.
//!
//! A crash at any moment leaves a manifest whose files together are the whole log: before `done` the old
//! base with all increments, after it the new base with the last one.
//!
//! After a full sync by way of a file, that file is the base: `begin_with` goes straight to `install`.
//!
//! After three failures in a row the next try waits, a minute at first and twice as long each time, up
//! to an hour.

use super::aof::{self, LogPlace, shown};
use super::child;
use super::{Server, blocking, function, jobs};
use crate::bio::Remover;
use crate::blocked::Wait;
use crate::jobs::aof::{AofState, Handover};
use crate::jobs::child::{Child, ChildKind, Exit};
use crate::persist::aof::encode;
use crate::persist::aof::manifest::Manifest;
use crate::persist::rdb::save::save;
use crate::sys::clock::unix_ms;
use crate::sys::{errno, fsx, process};
use crate::{notice, warning};
use std::fs::{File, Metadata};
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// What the child writes; it is renamed twice, by the child and by the parent.
fn temp_of(pid: u32) -> PathBuf {
    PathBuf::from(format!("temp-rewriteaof-bg-{pid}.aof"))
}

fn inner_temp_of(pid: u32) -> PathBuf {
    PathBuf::from(format!("temp-rewriteaof-{pid}.aof"))
}

/// Writes the dataset as a base, here and now; false (and a line in the log) when that failed.
pub fn write_base(srv: &Server, path: &Path, mut each: impl FnMut()) -> bool {
    let temp = inner_temp_of(std::process::id());
    let written = write_temp(srv, &temp, &mut each);
    if let Err(e) = written {
        warning!("Write error writing append only file on disk: {}", errno::text(&e));
        let _ = std::fs::remove_file(&temp); // the first failure is the one to tell
        return false;
    }
    if let Err(f) = fsx::install(&temp, path) {
        let why = errno::text(&f.error);
        warning!("Error moving temp append only file on the final destination: {why}");
        return false;
    }
    true
}

fn write_temp(srv: &Server, temp: &Path, each: &mut dyn FnMut()) -> io::Result<()> {
    let file = File::create(temp).inspect_err(|e| {
        let why = errno::text(e);
        warning!("Opening the temp file for AOF rewrite in rewriteAppendOnlyFile(): {why}");
    })?;
    let steady = fsx::Steady::new(&file, srv.config.aof_rewrite_incremental_fsync);
    let mut out = BufWriter::with_capacity(256 << 10, steady);
    let functions = function::codes(srv);
    if srv.config.aof_use_rdb_preamble {
        save(&srv.ks, &functions, &jobs::options(srv, true), &mut out, |_| {
            each();
            Ok(())
        })?;
    } else {
        let now = srv.config.aof_timestamp_enabled.then(|| unix_ms() / 1000);
        encode::rewrite(&srv.ks, &functions, now, &mut out, each)?;
    }
    out.flush()?;
    drop(out);
    file.sync_all()
}

/// Does a rewrite go on, in a child or on the disk thread?
pub fn is_under_way(srv: &Server) -> bool {
    srv.aof.rewrite.handover.is_some() || child::runs(srv, ChildKind::Rewrite)
}

/// Is a rewrite about to have a child?
pub fn is_opening(srv: &Server) -> bool {
    matches!(srv.aof.rewrite.handover, Some(Handover::Opening { .. }))
}

/// Begins a rewrite; false when it cannot be.
pub fn begin(srv: &mut Server) -> bool {
    if srv.jobs.child.is_some() || srv.aof.rewrite.handover.is_some() {
        return false;
    }
    if !aof::make_folder(srv) {
        srv.aof.rewrite.last_ok = false;
        return false;
    }
    aof::flush(srv, true);
    let begun = match srv.aof.state {
        AofState::On => aof::open_increment(srv),
        AofState::WaitRewrite => {
            let gathers = aof::gather(srv);
            srv.bio.drain();
            gathers && fork(srv)
        }
        AofState::Off => fork(srv),
    };
    srv.aof.rewrite.last_ok &= begun;
    srv.aof.rewrite.scheduled &= !begun;
    begun
}

/// The snapshot that was loaded a moment ago becomes the base, by another name of its file: no child has to
/// write the dataset again. `loaded` says which file that is. False when it cannot be; nothing has changed
/// then.
pub fn begin_with(srv: &mut Server, loaded: &Metadata) -> bool {
    debug_assert_eq!(srv.aof.state, AofState::WaitRewrite);
    let busy = srv.jobs.child.is_some() || srv.aof.rewrite.handover.is_some();
    if busy || !srv.config.aof_use_rdb_preamble || !aof::make_folder(srv) {
        return false;
    }
    let (pid, from) = (std::process::id(), jobs::file_of(srv));
    remove_temps(pid);
    let temp = temp_of(pid);
    let linked = std::fs::hard_link(&from, &temp).and_then(|()| std::fs::metadata(&temp));
    // By now the name may stand for another file.
    let same = linked.map(|m| (m.dev(), m.ino()) == (loaded.dev(), loaded.ino()));
    if !matches!(same, Ok(true)) || !aof::gather(srv) {
        let why = same.map_or_else(|e| errno::text(&e), |_| "it is not the file that was loaded".into());
        notice!("{} does not become the base of the AOF: {why}", from.display());
        remove_temps(pid);
        return false;
    }
    notice!("{} becomes the base of the AOF, without a rewrite", from.display());
    srv.bio.drain();
    aof::feed(srv, true);
    install(srv, pid);
    true
}

/// The child begins to write.
fn fork(srv: &mut Server) -> bool {
    srv.aof.rewrite.count += 1;
    match child::fork(srv, ChildKind::Rewrite) {
        Ok(Some(mut report)) => {
            let path = temp_of(std::process::id());
            let written = write_base(srv, &path, || report.key());
            if written {
                let path = path.display();
                notice!("Successfully created the temporary AOF base file {path}");
                report.done();
            }
            process::exit_child(i32::from(!written));
        }
        Ok(None) => {
            if srv.aof.state != AofState::Off {
                aof::feed(srv, true);
            }
            true
        }
        Err(e) => {
            srv.aof.rewrite.last_ok = false;
            let why = errno::text(&e);
            warning!("Can't rewrite append only file in background: fork: {why}");
            false
        }
    }
}

/// From the disk thread: something has been done.
pub fn ring(waker: &mio::Waker) {
    // The cron looks, too.
    if let Err(e) = waker.wake() {
        warning!("The loop could not be woken: {}", errno::text(&e));
    }
}

/// Between two commands: the next step of the rewrite, when the disk thread is done with the last one.
pub fn proceed(srv: &mut Server) {
    if srv.aof.rewrite.handover.as_ref().is_some_and(Handover::is_done) {
        next_step(srv, true);
    }
    if srv.aof.rewrite.awaited && !is_opening(srv) {
        srv.aof.rewrite.awaited = false;
        for id in srv.blocked.waiting(Wait::Rewrite) {
            blocking::retry(srv, id);
        }
    }
}

/// Waits for the disk thread. No child begins: the caller is about to change the log itself.
pub fn finish_handover(srv: &mut Server) {
    if srv.aof.rewrite.handover.is_some() {
        next_step(srv, false);
    }
}

fn next_step(srv: &mut Server, may_fork: bool) {
    match srv.aof.rewrite.handover.take() {
        Some(Handover::Opening { file, name, done }) => match done.outcome() {
            Some(m) => {
                srv.aof.manifest = m;
                increment_is_named(srv, file, &name, may_fork);
            }
            None => srv.aof.rewrite.last_ok = false,
        },
        Some(Handover::Installing { pid, done }) => installed(srv, pid, done.outcome()),
        None => {}
    }
}

/// The manifest on the disk names the new increment. One that stays empty harms nothing.
fn increment_is_named(srv: &mut Server, file: Arc<File>, name: &[u8], may_fork: bool) {
    aof::flush(srv, true);
    if !aof::may_switch(srv) {
        srv.aof.rewrite.last_ok = false;
        return;
    }
    aof::switch_to(srv, file, name);
    // A snapshot may have begun meanwhile.
    if may_fork && srv.jobs.child.is_none() {
        fork(srv);
    } else {
        srv.aof.rewrite.scheduled = true;
    }
}

/// Ends a rewrite: its child, and what the disk thread has to do before.
pub fn stop(srv: &mut Server) {
    finish_handover(srv);
    let Some(c) = srv.jobs.child.as_ref().filter(|c| c.kind == ChildKind::Rewrite) else { return };
    notice!("Killing running AOF rewrite child: {}", c.pid);
    if let Some(pid) = child::kill(srv, ChildKind::Rewrite) {
        remove_temps(pid);
    }
}

/// Where the child got to decides which of them are there.
fn remove_temps(pid: u32) {
    for temp in [temp_of(pid), inner_temp_of(pid)] {
        let _ = std::fs::remove_file(temp);
    }
}

/// The child has ended.
pub fn done(srv: &mut Server, child: &Child, end: Exit) {
    let pid = child.pid.unsigned_abs();
    srv.aof.rewrite.last_seconds = (unix_ms() - child.started_ms) / 1000;
    match end {
        Exit::Good => {
            notice!("Background AOF rewrite terminated with success");
            install(srv, pid);
            return;
        }
        Exit::Bad => {
            srv.aof.rewrite.failed();
            warning!("Background AOF rewrite terminated with error");
        }
        Exit::Signal(n) => {
            // SIGUSR1 comes from `stop`: the rewrite was stopped and has not failed.
            if n != libc::SIGUSR1 {
                srv.aof.rewrite.failed();
            }
            warning!("Background AOF rewrite terminated by signal {n}");
        }
    }
    over(srv, pid);
}

/// The rewrite is over, well or badly.
fn over(srv: &mut Server, pid: u32) {
    remove_temps(pid);
    if srv.aof.state == AofState::WaitRewrite {
        aof::feed(srv, false);
        aof::drop_gathered(srv);
        srv.aof.rewrite.scheduled = true;
    }
}

/// The new base and its increment are to take the place of what was before.
fn install(srv: &mut Server, pid: u32) {
    let log = srv.config.appendfilename.clone();
    let mut m = srv.aof.manifest.clone();
    let base = m.add_base(&log, srv.config.aof_use_rdb_preamble);
    let gathered = (srv.aof.state == AofState::WaitRewrite)
        .then(|| (aof::temp_increment(srv), m.add_increment(&log)));
    m.retire_increments(srv.aof.state != AofState::Off);
    let (place, waker) = (LogPlace::of(srv), srv.reactor.waker());
    let keeps_history = srv.config.aof_disable_auto_gc;
    // Syncs of the log do not wait until the blocks of a big file are free.
    let files = srv.bio.remover();
    let work = move || {
        put_in_place(&place, pid, &base, gathered, &mut m, &files).then(|| {
            if !keeps_history {
                aof::drop_history(&place, &mut m, |path| files.unlink(path));
            }
            m
        })
    };
    let done = srv.bio.hand_over(work, move || ring(&waker));
    srv.aof.rewrite.handover = Some(Handover::Installing { pid, done });
}

/// On the disk thread: the files get their names, the manifest learns of them.
fn put_in_place(
    place: &LogPlace,
    pid: u32,
    base: &[u8],
    gathered: Option<(Vec<u8>, Vec<u8>)>,
    m: &mut Manifest,
    files: &Remover,
) -> bool {
    let base_path = place.path_of(base);
    if !rename(&temp_of(pid), &base_path, "base", base) {
        return false;
    }
    if let Err(e) = fsx::sync_folder_of(&base_path) {
        warning!("Fail to fsync AOF directory {}: {}.", base_path.display(), errno::text(&e));
        aof::unlink(place, base, |path| files.unlink(path));
        return false;
    }
    let mut made = vec![base.to_vec()];
    if let Some((temp, name)) = gathered {
        if !rename(&place.path_of(&temp), &place.path_of(&name), "incr", &name) {
            aof::unlink(place, base, |path| files.unlink(path));
            return false;
        }
        made.push(name);
    }
    if !aof::persist(place, m) {
        if !aof::may_be_named_on_disk(place, base) {
            made.iter().for_each(|name| aof::unlink(place, name, |path| files.unlink(path)));
        }
        return false;
    }
    true
}

/// The disk thread has put the new base in its place, or could not.
fn installed(srv: &mut Server, pid: u32, manifest: Option<Manifest>) {
    let Some(m) = manifest else {
        srv.aof.manifest.pass_over_names();
        srv.aof.rewrite.failed();
        return over(srv, pid);
    };
    srv.aof.manifest = m;
    if srv.aof.state != AofState::Off {
        // Only when to rewrite the next time depends on it.
        let base = srv.aof.manifest.base.as_ref().map(|part| aof::path_of(srv, &part.name));
        let base_size = base.map_or(0, |path| std::fs::metadata(path).map_or(0, |m| m.len()));
        srv.aof.size = base_size + aof::increment_size(srv);
        srv.aof.base_size = srv.aof.size;
    }
    srv.aof.rewrite.last_ok = true;
    srv.aof.rewrite.failures = 0;
    notice!("Background AOF rewrite finished successfully");
    if srv.aof.state == AofState::WaitRewrite {
        srv.aof.state = AofState::On;
        aof::learn_synced(srv);
    }
    over(srv, pid);
}

fn rename(from: &Path, to: &Path, what: &str, name: &[u8]) -> bool {
    if let Err(e) = std::fs::rename(from, to) {
        warning!(
            "Error trying to rename the temporary AOF {what} file {} into {}: {}",
            from.display(),
            to.display(),
            errno::text(&e)
        );
        return false;
    }
    let from = from.file_name().unwrap_or_default().to_string_lossy();
    notice!("Successfully renamed the temporary AOF {what} file {from} into {}", shown(name));
    true
}

/// From the cron: a rewrite that was scheduled begins when no other child is there.
pub fn scheduled(srv: &mut Server) {
    let now = srv.clock.unix_secs();
    let free = srv.jobs.child.is_none() && srv.aof.rewrite.handover.is_none();
    if srv.aof.rewrite.scheduled && free && !srv.aof.rewrite.limited(now) {
        begin(srv);
    }
}

/// From the cron: has the log grown so much that it should be rewritten?
pub fn grown(srv: &mut Server) {
    let percent = srv.config.auto_aof_rewrite_percentage;
    let large = srv.aof.size > srv.config.auto_aof_rewrite_min_size;
    let free = srv.jobs.child.is_none() && srv.aof.rewrite.handover.is_none();
    if !free || srv.aof.state != AofState::On || percent == 0 || !large {
        return;
    }
    let base = srv.aof.base_size.max(1);
    let growth = (u128::from(srv.aof.size) * 100 / u128::from(base)).saturating_sub(100);
    let now = srv.clock.unix_secs();
    if !srv.aof.rewrite.limited(now) && growth >= u128::from(percent) {
        notice!("Starting automatic rewriting of AOF on {growth}% growth");
        begin(srv);
    }
}
