//! The append only file: what units leave is written once per pass, before replies leave, and synced as
//! `appendfsync` says.
//!
//! ```text
//! unit ─► ops.aof.buf ─ before_sleep ─► write(2) ─┬─ always:   fdatasync here, then the replies leave
//!                                                 ├─ everysec: once a second, on the disk thread
//!                                                 └─ no:       when the kernel likes
//! Off ── start ─► WaitRewrite ── rewrite done ─► On ── stop ─► Off
//! ```
//!
//! * `everysec`: a write to a file that is being synced may block as long as the sync takes. So it is
//!   postponed, for two seconds at most; then it is written all the same, and the log says so.
//! * A write that fails under `always` ends the process: a reply that says "done" is a promise. Under
//!   the others what was not written stays in the buffer and writes are refused (MISCONF) until it is.
//! * In WaitRewrite there is no log yet that could be loaded: commands are gathered in a temporary
//!   increment while a child writes the base, and both get their names when that is done.
//!
//! The manifest is changed on a copy, which takes the place of the old one when it is on the disk; so it
//! never names a file that is not there.

use super::child;
use super::{Server, policy, rewrite, slow};
use crate::bio::SyncedOffset;
use crate::config::AppendFsync;
use crate::jobs::aof::{AofState, Handover};
use crate::jobs::child::ChildKind;
use crate::persist::aof::manifest::Manifest;
use crate::replication::ops::Log;
use crate::sys::clock::mono_ns;
use crate::sys::{errno, fsx};
use crate::{notice, warning};
use std::ffi::OsStr;
use std::fs::{File, Metadata};
use std::io::{self, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Seconds between two lines about failing writes (AOF_WRITE_LOG_ERROR_RATE).
const ERROR_RATE: i64 = 30;
/// A write waits so many seconds for a sync.
const POSTPONE: i64 = 2;
/// A larger buffer goes back to the allocator when it has been written.
const KEEP_BUFFER: usize = 64 * 1024;

pub fn folder(srv: &Server) -> PathBuf {
    Path::new(OsStr::from_bytes(&srv.config.appenddirname)).to_path_buf()
}

/// A file of the log, by its name.
pub fn path_of(srv: &Server, name: &[u8]) -> PathBuf {
    folder(srv).join(OsStr::from_bytes(name))
}

/// Where commands are gathered until there is a base.
pub fn temp_increment(srv: &Server) -> Vec<u8> {
    [b"temp-", &srv.config.appendfilename[..], b".incr"].concat()
}

pub fn shown(name: &[u8]) -> std::borrow::Cow<'_, str> {
    String::from_utf8_lossy(name)
}

/// The error number of the last write or sync of the log that failed, while writes are in doubt.
/// None while the log is off.
pub fn disk_error(srv: &Server) -> Option<i32> {
    if srv.aof.state == AofState::Off { None } else { srv.aof.write_error.or(srv.bio.failed()) }
}

/// Makes the folder, if it is not there.
pub fn make_folder(srv: &Server) -> bool {
    let dir = folder(srv);
    let made = match std::fs::create_dir(&dir) {
        Err(e) if e.kind() == io::ErrorKind::AlreadyExists && dir.is_dir() => Ok(()),
        made => made,
    };
    if let Err(e) = &made {
        warning!("Can't open or create append-only dir {}: {}", dir.display(), errno::text(e));
    }
    made.is_ok()
}

/// Where the files of the log are, for a thread that does not know the server.
#[derive(Clone)]
pub struct LogPlace {
    pub dir: PathBuf,
    log: String,
}

impl LogPlace {
    pub fn of(srv: &Server) -> LogPlace {
        LogPlace { dir: folder(srv), log: shown(&srv.config.appendfilename).into_owned() }
    }

    pub fn path_of(&self, name: &[u8]) -> PathBuf {
        self.dir.join(OsStr::from_bytes(name))
    }
}

/// Writes a manifest to the disk, when it has changed; false (and a line in the log) when that failed.
pub fn persist(place: &LogPlace, m: &mut Manifest) -> bool {
    if !m.changed {
        return true;
    }
    let LogPlace { dir, log } = place;
    let (name, temp) = (format!("{log}.manifest"), format!("temp-{log}.manifest"));
    let text = m.text();
    let done = fsx::replace(&dir.join(&temp), &dir.join(&name), 0o644, |f| f.write_all(&text));
    if let Err(f) = done {
        let why = errno::text(&f.error);
        match f.step {
            fsx::ReplaceStep::Create => warning!("Can't open the AOF manifest file {temp}: {why}"),
            fsx::ReplaceStep::Write => {
                warning!("Error trying to write the temporary AOF manifest file {temp}: {why}");
            }
            fsx::ReplaceStep::Sync => warning!("Fail to fsync the temp AOF file {temp}: {why}."),
            fsx::ReplaceStep::Rename => warning!(
                "Error trying to rename the temporary AOF manifest file {temp} into {name}: {why}"
            ),
            fsx::ReplaceStep::SyncFolder => {
                warning!("Fail to fsync AOF directory {}: {why}.", dir.join(&name).display());
            }
        }
        return false;
    }
    m.changed = false;
    true
}

/// May the manifest on the disk name this file? A failure to make a manifest durable leaves that open. One
/// that cannot be read may name anything: a file that it does name must not go.
pub fn may_be_named_on_disk(place: &LogPlace, name: &[u8]) -> bool {
    names(std::fs::read(place.dir.join(format!("{}.manifest", place.log))), name)
}

fn names(manifest: io::Result<Vec<u8>>, name: &[u8]) -> bool {
    match manifest.map(|text| Manifest::parse(&text)) {
        Ok(Ok(m)) => m.live().any(|p| p.name == name),
        Ok(Err(_)) => true,
        Err(e) => e.kind() != io::ErrorKind::NotFound,
    }
}

/// Opens a file of the log to append to it, with its length; `fresh` empties it.
fn open_file(srv: &Server, name: &[u8], fresh: bool) -> Option<(Arc<File>, u64)> {
    let file = File::options().create(true).append(true).mode(0o644).open(path_of(srv, name));
    let file = file.and_then(|f| if fresh { f.set_len(0).map(|()| f) } else { Ok(f) });
    let name = shown(name);
    // Its length decides where a write that was cut short is taken back to.
    let sized = file.and_then(|f| f.metadata().map(|m| (Arc::new(f), m.len())));
    match sized {
        Ok(sized) => Some(sized),
        Err(e) => {
            warning!("Can't open the append-only file {name}: {}", errno::text(&e));
            None
        }
    }
}

/// After the dataset has been read, at the start: the increment is opened, the history goes.
pub fn open_at_start(srv: &mut Server) -> bool {
    if srv.aof.state == AofState::Off {
        return true;
    }
    let log = srv.config.appendfilename.clone();
    if !make_folder(srv) {
        return false;
    }
    let mut m = srv.aof.manifest.clone();
    if m.is_empty() {
        let name = m.add_base(&log, srv.config.aof_use_rdb_preamble);
        let path = path_of(srv, &name);
        if !rewrite::write_base(srv, &path, || ()) {
            return false;
        }
        notice!("Creating AOF base file {} on server start", shown(&name));
    }
    let new = m.increments.is_empty();
    let name = m.last_increment(&log);
    let Some(file) = open_file(srv, &name, false) else { return false };
    if !persist(&LogPlace::of(srv), &mut m) {
        return false;
    }
    srv.aof.manifest = m;
    adopt(srv, file);
    let verb = if new { "Creating" } else { "Opening" };
    notice!("{verb} AOF incr file {} on server start", shown(&name));
    feed(srv, true);
    srv.aof.fsynced = Some(0);
    true
}

/// What is appended goes to this file from now on.
fn adopt(srv: &mut Server, (file, size): (Arc<File>, u64)) {
    (srv.aof.increment_size, srv.aof.synced_size) = (size, size);
    srv.aof.file = Some(file);
}

/// Do units leave anything for the log?
pub fn feed(srv: &mut Server, on: bool) {
    match (&mut srv.ops.aof, on) {
        (Some(log), true) => log.selected.forget(),
        (log, true) => *log = Some(Log::default()),
        (log, false) => *log = None,
    }
    policy::refresh(srv);
}

/// Before the first base of a log is written: commands are gathered in an increment of their own, which no
/// manifest names yet.
pub fn gather(srv: &mut Server) -> bool {
    debug_assert_eq!(srv.aof.state, AofState::WaitRewrite);
    let name = temp_increment(srv);
    if !may_switch(srv) {
        return false;
    }
    let Some((file, _)) = open_file(srv, &name, true) else { return false };
    switch_to(srv, file, &name);
    // The base will hold what was before; until it is there nothing is safe.
    (srv.aof.fsynced, srv.aof.syncs) = (Some(0), SyncedOffset::new(srv.repl.offset()));
    true
}

/// Before a rewrite: the manifest learns of a new increment, on the disk thread. Until that is done what is
/// appended goes to the old one, so no moment has commands in a file that no manifest names.
pub fn open_increment(srv: &mut Server) -> bool {
    debug_assert_eq!(srv.aof.state, AofState::On);
    if !may_switch(srv) {
        return false;
    }
    let mut m = srv.aof.manifest.clone();
    let name = m.add_increment(&srv.config.appendfilename);
    let Some((file, _)) = open_file(srv, &name, true) else { return false };
    let (place, waker) = (LogPlace::of(srv), srv.reactor.waker());
    let work = move || persist(&place, &mut m).then_some(m);
    let done = srv.bio.hand_over(work, move || rewrite::ring(&waker));
    srv.aof.rewrite.handover = Some(Handover::Opening { file, name, done });
    true
}

/// Is all written that belongs to the file so far? Half a command cannot go on in another one.
pub fn may_switch(srv: &Server) -> bool {
    let whole = srv.ops.aof.as_ref().is_none_or(|s| s.buf.is_empty());
    if !whole {
        warning!("The AOF cannot be rewritten before earlier writes have reached it.");
    }
    whole
}

/// What is appended goes to this fresh file from now on.
pub fn switch_to(srv: &mut Server, file: Arc<File>, name: &[u8]) {
    notice!("Creating AOF incr file {} on background rewrite", shown(name));
    if let Some(old) = srv.aof.file.take() {
        srv.bio.sync_and_close(old, (srv.aof.syncs.clone(), srv.repl.offset()));
        srv.aof.last_sync = srv.clock.unix_secs();
    }
    adopt(srv, (file, 0));
    // Each file is read by a client that has selected nothing.
    if let Some(log) = &mut srv.ops.aof {
        log.selected.forget();
    }
}

/// Bytes of the increment that is written.
pub fn increment_size(srv: &Server) -> u64 {
    srv.aof.increment_size
}

/// History files go, unless `aof-disable-auto-gc`.
pub fn delete_history(srv: &mut Server) {
    if !srv.config.aof_disable_auto_gc {
        let (place, mut m) = (LogPlace::of(srv), std::mem::take(&mut srv.aof.manifest));
        drop_history(&place, &mut m, |path| srv.bio.unlink(path));
        srv.aof.manifest = m;
    }
}

/// Takes the history out of a manifest, and its files from the disk by `remove`.
pub fn drop_history(place: &LogPlace, m: &mut Manifest, remove: impl Fn(&Path) -> io::Result<()>) {
    if m.history.is_empty() {
        return;
    }
    for part in std::mem::take(&mut m.history) {
        notice!("Removing the history file {} in the background", shown(&part.name));
        unlink(place, &part.name, &remove);
    }
    m.changed = true;
    // When the manifest cannot be written now, the old one still lists the deleted files as history. A
    // start does not read history, so that is harmless.
    persist(place, m);
}

/// Takes a file of the log from the disk; one that is not there need not go.
pub fn unlink(place: &LogPlace, name: &[u8], remove: impl Fn(&Path) -> io::Result<()>) {
    let path = place.path_of(name);
    if let Err(e) = remove(&path)
        && e.kind() != io::ErrorKind::NotFound
    {
        warning!("Can't remove the file {}: {}", path.display(), errno::text(&e));
    }
}

/// CONFIG SET appendonly yes: a rewrite writes the first base. False when that could not be begun.
pub fn start(srv: &mut Server) -> bool {
    debug_assert_eq!(srv.aof.state, AofState::Off);
    // A base that is being installed was written without a log: it must not become this one's.
    rewrite::finish_handover(srv);
    srv.aof.state = AofState::WaitRewrite;
    if child::runs(srv, ChildKind::Snapshot) {
        srv.aof.rewrite.scheduled = true;
        notice!(
            "AOF was enabled but there is already another background operation. An AOF background was \
             scheduled to start when possible."
        );
    } else if srv.execution.in_exec() {
        srv.aof.rewrite.scheduled = true;
        notice!(
            "AOF was enabled during a transaction. An AOF background was scheduled to start when possible."
        );
    } else {
        if child::runs(srv, ChildKind::Rewrite) {
            // It began before anything was gathered: its base would miss what came since.
            notice!(
                "AOF was enabled but there is already an AOF rewriting in background. Stopping \
                 background AOF and starting a rewrite now."
            );
            rewrite::stop(srv);
        }
        if !rewrite::begin(srv) {
            srv.aof.state = AofState::Off;
            warning!(
                "Redis needs to enable the AOF but can't trigger a background AOF rewrite operation. \
                 Check the above logs for more info about the error."
            );
            return false;
        }
    }
    reopened(srv);
    true
}

/// As `start`, with the snapshot that was loaded a moment ago as the base. False when that cannot be.
pub fn start_with(srv: &mut Server, loaded: &Metadata) -> bool {
    debug_assert_eq!(srv.aof.state, AofState::Off);
    rewrite::stop(srv);
    srv.aof.state = AofState::WaitRewrite;
    if !rewrite::begin_with(srv, loaded) {
        srv.aof.state = AofState::Off;
        return false;
    }
    reopened(srv);
    true
}

fn reopened(srv: &mut Server) {
    srv.aof.last_sync = srv.clock.unix_secs();
    if srv.bio.failed().is_some() {
        warning!("AOF reopen, just ignore the AOF fsync error in bio job");
        srv.bio.forget_failure();
    }
    if srv.aof.write_error.take().is_some() {
        warning!("AOF reopen, just ignore the last error.");
    }
}

/// CONFIG SET appendonly no.
pub fn stop(srv: &mut Server) {
    debug_assert_ne!(srv.aof.state, AofState::Off);
    rewrite::stop(srv);
    let gathers = srv.aof.state == AofState::WaitRewrite;
    flush(srv, true);
    if let Some(file) = srv.aof.file.take()
        && let Err(e) = file.sync_data()
    {
        warning!("Fail to fsync the AOF file: {}", errno::text(&e));
    }
    srv.aof.state = AofState::Off;
    srv.aof.rewrite.scheduled = false;
    (srv.aof.increment_size, srv.aof.synced_size) = (0, 0);
    (srv.aof.fsynced, srv.aof.syncs) = (None, SyncedOffset::default());
    feed(srv, false);
    if gathers {
        drop_gathered(srv);
    }
}

/// What was gathered belongs to a base that there will not be.
pub fn drop_gathered(srv: &Server) {
    let temp = temp_increment(srv);
    notice!("Removing the temp incr aof file {} in the background", shown(&temp));
    unlink(&LogPlace::of(srv), &temp, |path| srv.bio.unlink(path));
}

/// At the end: all of it, and onto the disk.
pub fn flush_and_sync(srv: &mut Server) {
    flush(srv, true);
    if let Some(file) = &srv.aof.file
        && let Err(e) = file.sync_data()
    {
        warning!("Fail to fsync the AOF file: {}.", errno::text(&e));
    }
}

/// Ends the process: with `appendfsync always` a write that a client was told is done could be lost.
fn exit_for(always_failed: &str) -> ! {
    warning!("{always_failed} Exiting...");
    std::process::exit(1)
}

/// Once per pass, before replies leave. `force` does not wait for a sync that is under way.
#[inline]
pub fn flush(srv: &mut Server, force: bool) {
    if srv.aof.file.is_some() {
        flush_open(srv, force);
        learn_synced(srv);
    }
}

/// What syncs have reached counts when the log can be loaded.
pub fn learn_synced(srv: &mut Server) {
    if srv.aof.state == AofState::On && srv.aof.fsynced.is_some() {
        srv.aof.fsynced = Some(srv.aof.syncs.get());
    }
}

fn flush_open(srv: &mut Server, force: bool) {
    let empty = srv.ops.aof.as_ref().is_none_or(|s| s.buf.is_empty());
    let everysec = srv.config.appendfsync == AppendFsync::EverySec;
    if empty {
        if srv.aof.synced_size != srv.aof.increment_size {
            sync(srv, everysec && srv.bio.syncing() > 0);
        }
        return;
    }
    let syncing = everysec && srv.bio.syncing() > 0;
    if syncing && !force && postpone(srv) {
        return;
    }
    if srv.switches.aof_flush_sleep_us > 0 {
        let us = srv.switches.aof_flush_sleep_us.unsigned_abs();
        std::thread::sleep(std::time::Duration::from_micros(us));
    }
    let begun = mono_ns();
    let written = write_all(srv);
    let spent = mono_ns() - begun;
    srv.stats.eventloop_aof_us += spent / 1000;
    let when = match (syncing, srv.jobs.child.is_some()) {
        (true, _) => "aof-write-pending-fsync",
        (_, true) => "aof-write-active-child",
        _ => "aof-write-alone",
    };
    slow::sample(srv, when, spent / 1_000_000);
    slow::sample(srv, "aof-write", spent / 1_000_000);
    srv.aof.postponed_since = None;
    if !written {
        return;
    }
    if srv.aof.write_error.take().is_some() {
        notice!("AOF write error looks solved, Redis can write again.");
    }
    sync(srv, syncing);
}

/// A sync is under way: true when the write waits for it.
fn postpone(srv: &mut Server) -> bool {
    let now = srv.clock.unix_secs();
    let since = *srv.aof.postponed_since.get_or_insert(now);
    if now - since < POSTPONE {
        return true;
    }
    srv.aof.delayed += 1;
    notice!(
        "Asynchronous AOF fsync is taking too long (disk is busy?). Writing the AOF buffer without \
         waiting for fsync to complete, this may slow down Redis."
    );
    false
}

/// Writes the buffer. False when not all of it went; the rest then stays.
fn write_all(srv: &mut Server) -> bool {
    let (Some(file), Some(sink)) = (&srv.aof.file, &mut srv.ops.aof) else { return true };
    let (mut done, len) = (0, sink.buf.len());
    let mut error = None;
    while done < len {
        match (&**file).write(&sink.buf[done..]) {
            Ok(0) => break,
            Ok(n) => done += n,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => {
                error = Some(e);
                break;
            }
        }
    }
    if done == len {
        if sink.buf.capacity() > KEEP_BUFFER {
            sink.buf = Vec::new();
        } else {
            sink.buf.clear();
        }
        srv.aof.size += len as u64;
        srv.aof.increment_size += len as u64;
        return true;
    }
    write_failed(srv, done, len, error);
    false
}

#[cold]
fn write_failed(srv: &mut Server, mut done: usize, len: usize, error: Option<io::Error>) {
    let now = srv.clock.unix_secs();
    let tell = now - srv.aof.error_logged > ERROR_RATE;
    if tell {
        srv.aof.error_logged = now;
    }
    let mut number = libc::ENOSPC;
    if done == 0 {
        let e = error.unwrap_or_else(|| io::Error::from_raw_os_error(libc::ENOSPC));
        number = e.raw_os_error().unwrap_or(libc::EIO);
        if tell {
            warning!("Error writing to the AOF file: {}", errno::text(&e));
        }
    } else {
        if tell {
            warning!("Short write while writing to the AOF file: (nwritten={done}, expected={len})");
        }
        let file = srv.aof.file.as_ref().expect("it was written to");
        match file.set_len(srv.aof.increment_size) {
            Ok(()) => done = 0,
            Err(e) if tell => warning!(
                "Could not remove short write from the append-only file.  Redis may refuse to load the \
                 AOF the next time it starts.  ftruncate: {}",
                errno::text(&e)
            ),
            Err(_) => {}
        }
    }
    if srv.config.appendfsync == AppendFsync::Always {
        exit_for("Can't recover from AOF write error when the AOF fsync policy is 'always'.");
    }
    srv.aof.write_error = Some(number);
    // What could not be taken back is part of the file.
    if let Some(sink) = &mut srv.ops.aof {
        sink.buf.drain(..done);
    }
    srv.aof.size += done as u64;
    srv.aof.increment_size += done as u64;
}

/// Puts on the disk what was written, if it is time.
fn sync(srv: &mut Server, syncing: bool) {
    if srv.config.no_appendfsync_on_rewrite && srv.jobs.child.is_some() {
        return;
    }
    let Some(file) = &srv.aof.file else { return };
    let now = srv.clock.unix_secs();
    match srv.config.appendfsync {
        AppendFsync::No => {}
        AppendFsync::Always => {
            let begun = mono_ns();
            if let Err(e) = file.sync_data() {
                exit_for(&format!(
                    "Can't persist AOF for fsync error when the AOF fsync policy is 'always': {}.",
                    errno::text(&e)
                ));
            }
            let spent = mono_ns() - begun;
            srv.stats.eventloop_aof_us += spent / 1000;
            srv.aof.synced_size = srv.aof.increment_size;
            srv.aof.last_sync = now;
            srv.aof.syncs.reached(srv.repl.offset());
            slow::sample(srv, "aof-fsync-always", spent / 1_000_000);
        }
        AppendFsync::EverySec if now > srv.aof.last_sync => {
            if !syncing {
                srv.bio.sync(file, (srv.aof.syncs.clone(), srv.repl.offset()));
                srv.aof.synced_size = srv.aof.increment_size;
                srv.aof.last_sync = now;
            }
        }
        AppendFsync::EverySec => {}
    }
}

/// From the cron: writes that waited or failed are tried again.
pub fn cron(srv: &mut Server) {
    let second = srv.cron.loops.is_multiple_of(srv.cron.hz.max(1));
    if srv.aof.postponed_since.is_some() || srv.aof.write_error.is_some() && second {
        flush(srv, false);
    }
}

/// `appendfsync` was changed: under `always` no earlier sync is left behind.
pub fn policy_changed(srv: &mut Server) {
    if srv.config.appendfsync == AppendFsync::Always {
        srv.bio.drain();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_manifest_that_cannot_be_read_may_name_any_file() {
        let text = b"file a.1.base.rdb seq 1 type b\nfile a.0.base.rdb seq 1 type h\n".to_vec();
        assert!(names(Ok(text.clone()), b"a.1.base.rdb"));
        assert!(!names(Ok(text.clone()), b"a.2.base.rdb"));
        assert!(!names(Ok(text), b"a.0.base.rdb"), "history is read by no start");
        for number in [libc::EIO, libc::EMFILE, libc::EACCES, libc::ENOMEM] {
            assert!(names(Err(io::Error::from_raw_os_error(number)), b"a.2.base.rdb"));
        }
        assert!(names(Ok(b"file a".to_vec()), b"a.2.base.rdb"), "half a manifest");
        assert!(names(Ok(Vec::new()), b"a.2.base.rdb"), "an empty one");
        assert!(!names(Err(io::Error::from_raw_os_error(libc::ENOENT)), b"a.2.base.rdb"));
    }
}
