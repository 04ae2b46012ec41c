//! Rewriting the log: a child writes the dataset as a new base, while commands go to a new increment.
//!
//! ```text
//! begin: flush ─► new increment (in the manifest) ─► fork ─► child: temp-rewriteaof-bg-PID.aof
//! done:  rename to the new base ─► manifest: new base, the increments before become history ─► history goes
//! ```
//!
//! A crash at any moment leaves a manifest whose files together are the whole log: before `done` the old
//! base with all increments, after it the new base with the last one.
//!
//! After three failures in a row the next try waits, a minute at first and twice as long each time, up
//! to an hour.

use super::aof::{self, shown};
use super::child;
use super::{Server, jobs};
use crate::jobs::aof::AofState;
use crate::jobs::child::{Child, ChildKind, Exit};
use crate::persist::aof::encode;
use crate::persist::rdb::save::save;
use crate::sys::clock::unix_ms;
use crate::sys::{errno, fsx, process};
use crate::{notice, warning};
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

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
    if srv.config.aof_use_rdb_preamble {
        save(&srv.ks, &jobs::options(srv, true), &mut out, |_| {
            each();
            Ok(())
        })?;
    } else {
        let now = srv.config.aof_timestamp_enabled.then(|| unix_ms() / 1000);
        encode::rewrite(&srv.ks, now, &mut out, each)?;
    }
    out.flush()?;
    drop(out);
    file.sync_all()
}

/// Begins a rewrite; false when it cannot be.
pub fn begin(srv: &mut Server) -> bool {
    if srv.jobs.child.is_some() {
        return false;
    }
    if !aof::make_folder(srv) {
        srv.aof.rewrite.last_ok = false;
        return false;
    }
    aof::flush(srv, true);
    if !aof::switch_increment(srv) {
        srv.aof.rewrite.last_ok = false;
        return false;
    }
    if srv.aof.state == AofState::WaitRewrite {
        srv.bio.drain();
    }
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
            srv.aof.rewrite.scheduled = false;
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

/// Ends a child that rewrites.
pub fn kill_child(srv: &mut Server) {
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
    match end {
        Exit::Good => {
            notice!("Background AOF rewrite terminated with success");
            if install(srv, pid) {
                srv.aof.rewrite.last_ok = true;
                srv.aof.rewrite.failures = 0;
                notice!("Background AOF rewrite finished successfully");
                if srv.aof.state == AofState::WaitRewrite {
                    srv.aof.state = AofState::On;
                }
            } else {
                srv.aof.rewrite.failed();
            }
        }
        Exit::Bad => {
            srv.aof.rewrite.failed();
            warning!("Background AOF rewrite terminated with error");
        }
        Exit::Signal(n) => {
            // SIGUSR1 comes from `kill_child`: the rewrite was stopped and has not failed.
            if n != libc::SIGUSR1 {
                srv.aof.rewrite.failed();
            }
            warning!("Background AOF rewrite terminated by signal {n}");
        }
    }
    remove_temps(pid);
    if srv.aof.state == AofState::WaitRewrite {
        // What was gathered belongs to a base that does not exist.
        aof::feed(srv, false);
        let temp = aof::temp_increment(srv);
        notice!("Removing the temp incr aof file {} in the background", shown(&temp));
        aof::unlink(srv, &temp);
        srv.aof.rewrite.scheduled = true;
    }
    srv.aof.rewrite.last_seconds = (unix_ms() - child.started_ms) / 1000;
}

/// The new base and its increment take the place of what was before.
fn install(srv: &mut Server, pid: u32) -> bool {
    let log = srv.config.appendfilename.clone();
    let mut m = srv.aof.manifest.clone();
    let base = m.add_base(&log, srv.config.aof_use_rdb_preamble);
    let base_path = aof::path_of(srv, &base);
    if !rename(&temp_of(pid), &base_path, "base", &base) {
        return false;
    }
    if let Err(e) = fsx::sync_folder_of(&base_path) {
        warning!("Fail to fsync AOF directory {}: {}.", base_path.display(), errno::text(&e));
        aof::unlink(srv, &base);
        return false;
    }
    let mut made = vec![base.clone()];
    if srv.aof.state == AofState::WaitRewrite {
        let temp = aof::path_of(srv, &aof::temp_increment(srv));
        let name = m.add_increment(&log);
        if !rename(&temp, &aof::path_of(srv, &name), "incr", &name) {
            aof::unlink(srv, &base);
            return false;
        }
        made.push(name);
    }
    m.retire_increments(srv.aof.state != AofState::Off);
    if !aof::persist(srv, &mut m) {
        if !aof::may_be_named_on_disk(srv, &base) {
            made.iter().for_each(|name| aof::unlink(srv, name));
        }
        return false;
    }
    srv.aof.manifest = m;
    if srv.aof.state != AofState::Off {
        // Only when to rewrite the next time depends on it.
        let base_size = std::fs::metadata(&base_path).map_or(0, |m| m.len());
        srv.aof.size = base_size + aof::increment_size(srv);
        srv.aof.base_size = srv.aof.size;
    }
    aof::delete_history(srv);
    true
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
    if srv.aof.rewrite.scheduled && srv.jobs.child.is_none() && !srv.aof.rewrite.limited(now) {
        begin(srv);
    }
}

/// From the cron: has the log grown so much that it should be rewritten?
pub fn grown(srv: &mut Server) {
    let percent = srv.config.auto_aof_rewrite_percentage;
    let large = srv.aof.size > srv.config.auto_aof_rewrite_min_size;
    if srv.jobs.child.is_some() || srv.aof.state != AofState::On || percent == 0 || !large {
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
