//! Snapshots: written by SAVE, by BGSAVE and at save points, and read at the start.
//!
//! ```text
//! BGSAVE ──────────────┐                         ┌─ ok: changes since the fork count from now on
//! save point (cron) ───┼─► fork ─► child ─► done ┤
//! BGSAVE SCHEDULE ─────┘   (one child at a time) └─ failed: writes are refused, tried again after 5 s
//! ```

use super::child;
use super::{Server, ServerStates, function, link_client, loading, master, rewrite, role, transfer};
use crate::algo::num::{loose, parse_i64};
use crate::config::special::SavePoint;
use crate::config::{REDIS_VERSION, SanitizeDump};
use crate::ds::entry::EntryRef;
use crate::jobs::child::{Child, ChildKind, Exit};
use crate::keyspace::Keyspace;
use crate::keyspace::store::{New, Ttl};
use crate::persist::aof::push_command;
use crate::persist::check;
use crate::persist::rdb::VERSION;
use crate::persist::rdb::error::Error;
use crate::persist::rdb::load::{Checks, Loaded, Loader, RdbItem};
use crate::persist::rdb::save::{SaveOptions, UsageSaved, save};
use crate::persist::rdb::source::{Source, Window};
use crate::proto::args::Key;
use crate::replication::ops::to;
use crate::replication::{Position, is_id};
use crate::sys::clock::{mono_ns, unix_ms};
use crate::sys::{errno, fsx, process};
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// After a failure so many seconds pass before the next try (CONFIG_BGSAVE_RETRY_DELAY).
const RETRY_DELAY: i64 = 5;

pub fn file_of(srv: &Server) -> PathBuf {
    Path::new(std::ffi::OsStr::from_bytes(&srv.config.dbfilename)).to_path_buf()
}

/// `base`: the file will be the base of an AOF.
pub fn options(srv: &Server, base: bool) -> SaveOptions {
    let mut aux = vec![
        ("redis-ver", REDIS_VERSION.to_string()),
        ("redis-bits", usize::BITS.to_string()),
        ("ctime", srv.clock.unix_secs().to_string()),
        ("used-mem", crate::sys::alloc::used().to_string()),
    ];
    if let Some(at) = link_client::position(srv).filter(|_| !base) {
        aux.push(("repl-stream-db", at.db.unwrap_or(0).to_string()));
        aux.push(("repl-id", at.replid));
        aux.push(("repl-offset", at.offset.to_string()));
    }
    aux.push(("aof-base", u8::from(base).to_string()));
    let usage = match srv.config.maxmemory_policy {
        policy if policy.is_lru() => UsageSaved::Idle,
        policy if policy.is_lfu() => UsageSaved::Freq,
        _ => UsageSaved::Nothing,
    };
    SaveOptions { compress: srv.config.rdbcompression, checksum: srv.config.rdbchecksum, usage, aux }
}

/// A whole snapshot without keys, with or without libraries, for a replica that wants no more.
pub fn snapshot_without_keys(srv: &Server, functions: bool) -> Vec<u8> {
    let functions = if functions { function::codes(srv) } else { Vec::new() };
    let mut bytes = Vec::new();
    let none = Keyspace::new(0);
    save(&none, &functions, &options(srv, false), &mut bytes, |_| Ok(())).expect("memory takes it all");
    bytes
}

/// The snapshot while it is written, and the file it will be.
fn temp_of(pid: u32) -> PathBuf {
    PathBuf::from(format!("temp-{pid}.rdb"))
}

/// Writes the snapshot in this process; `each` is called for every key.
fn write_file(srv: &Server, mut each: impl FnMut()) -> io::Result<()> {
    let written = fsx::replace(&temp_of(std::process::id()), &file_of(srv), 0o644, |file| {
        let steady = fsx::Steady::new(file, srv.config.rdb_save_incremental_fsync);
        let mut buffered = BufWriter::with_capacity(256 << 10, steady);
        let saved = |_: EntryRef<'_>| {
            each();
            Ok(())
        };
        save(&srv.ks, &function::codes(srv), &options(srv, false), &mut buffered, saved)?;
        buffered.flush()
    });
    written.map_err(|f| {
        let (temp, path) = (temp_of(std::process::id()), file_of(srv));
        let (temp, path, why) = (temp.display(), path.display(), errno::text(&f.error));
        let dir = std::env::current_dir().unwrap_or_default();
        let dir = dir.display();
        match f.step {
            fsx::ReplaceStep::Create => crate::warning!(
                "Failed opening the temp RDB file {temp} (in server root dir {dir}) for saving: {why}"
            ),
            fsx::ReplaceStep::Rename => crate::warning!(
                "Error moving temp DB file {temp} on the final destination {path} (in server root dir \
                 {dir}): {why}"
            ),
            fsx::ReplaceStep::Write => {
                crate::warning!("Write error while saving DB to the disk(rdbSaveRio): {why}");
            }
            fsx::ReplaceStep::Sync => {
                crate::warning!("Write error while saving DB to the disk(fsync): {why}")
            }
            fsx::ReplaceStep::SyncFolder => {
                crate::warning!("Failed to fsync directory while saving DB: {why}");
            }
        }
        f.error
    })
}

/// SAVE.
pub fn save_now(srv: &mut Server) -> io::Result<()> {
    let done = write_file(srv, || ());
    if done.is_ok() {
        crate::notice!("DB saved on disk");
        saved(srv, srv.ks.dirty);
        srv.jobs.last_ok = true;
    }
    done
}

/// Loads the snapshot, at the start or again. A file that cannot be read whole is an error, and stays as it
/// is. False when there is none.
pub fn load_file(srv: &mut Server, why: LoadFor) -> Result<bool, Unread> {
    let opened = File::open(file_of(srv)).and_then(|f| f.metadata().map(|m| (f, m.len())));
    let (file, total) = match opened {
        Ok(opened) => opened,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(false),
        Err(e) => {
            let (path, why) = (file_of(srv), errno::text(&e));
            let path = path.display();
            crate::warning!("Fatal error: can't open the RDB file {path} for reading: {why}");
            return Err(Unread::Foreign);
        }
    };
    loading::start(srv, total);
    let source = Window::new(file, total, sums(srv));
    let read = load_from(srv, source, why);
    loading::stop(srv);
    read.map(|_| true)
}

/// Are the checksums of snapshots looked at?
pub fn sums(srv: &Server) -> bool {
    srv.config.rdbchecksum && !srv.switches.skip_checksums
}

/// Puts a snapshot into the dataset; gives back the source, which stands behind it.
pub fn load_from<S: Source>(srv: &mut Server, source: S, why: LoadFor) -> Result<S, Unread> {
    let mut load = SnapshotLoad::begin(srv, source, why)?;
    while load.next(srv)? == LoadStep::Item {
        loading::progress(srv, load.at());
    }
    Ok(load.end(srv))
}

/// Why a snapshot was not read; the reason is in the log already.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Unread {
    /// It could not be opened, or is of no form that this server knows.
    Foreign,
    /// It is sound, but not for this server as it is configured.
    Unfit,
    /// It ends too early, its checksum is wrong, or something else follows than a value.
    Cut,
    /// A value is not sound.
    Corrupt,
}

/// Tells what is wrong at a place.
fn broken(why: &Error, at: u64) -> Unread {
    let (mut text, mut kind) = (why.to_string(), Unread::Cut);
    match why {
        Error::Short | Error::NeedMore | Error::Io(_) => {
            crate::warning!("Short read or OOM loading DB. Unrecoverable error, aborting now.");
        }
        Error::Checksum { .. } => {
            crate::warning!("{why}. Aborting now.");
            text = "RDB CRC error".into();
        }
        Error::Unfit(_) | Error::ModuleAux(_) => {
            crate::warning!("{why}");
            return Unread::Unfit;
        }
        Error::Signature | Error::Version(_) => {
            crate::warning!("{why}");
            return Unread::Foreign;
        }
        Error::Type(_) => {}
        Error::Corrupt(_) | Error::PreRelease(_) => kind = Unread::Corrupt,
    }
    crate::warning!("Internal error in RDB reading offset {at} -> {text}");
    kind
}

/// Loads the snapshot at the start; false ends the start. A file that cannot be read is checked as
/// redis-check-rdb does, and the findings go to standard output.
pub fn load_at_start(srv: &mut Server) -> bool {
    let begun = mono_ns();
    if !srv.repl.link.is_on() {
        // Keys that have expired meanwhile leave it, for replicas that go on from the snapshot.
        srv.repl.open_backlog();
        role::refresh(srv);
    }
    let why = match load_file(srv, LoadFor::Start) {
        Ok(found) => {
            let seconds = (mono_ns() - begun) as f64 / 1e9;
            if found {
                crate::notice!("DB loaded from disk: {seconds:.3} seconds");
            }
            role::restore(srv);
            return true;
        }
        Err(why) => why,
    };
    match why {
        Unread::Foreign => {
            crate::warning!("Fatal error loading the DB, check server logs. Exiting.");
        }
        Unread::Unfit => {}
        Unread::Cut | Unread::Corrupt => {
            let path = file_of(srv);
            match check::rdb::open(&path) {
                Ok(source) => {
                    check::rdb::check(&path.display().to_string(), source, &mut io::stdout());
                }
                Err(e) => crate::warning!("Can't read the RDB file again: {}", errno::text(&e)),
            }
        }
    }
    if why == Unread::Corrupt {
        crate::warning!("Terminating server after rdb file reading failure.");
    }
    false
}

/// At most so many empty keys are logged by name.
const EMPTY_TOLD: u64 = 10;

/// What a snapshot is loaded for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum LoadFor {
    /// The start of the server. A master drops what has expired, and lets its replicas know.
    Start,
    /// DEBUG RELOAD; `merge` lets the snapshot replace keys.
    Again { merge: bool },
    /// The base of a log, whose commands may depend on keys that have expired since.
    Base,
    /// A full sync: what has expired is for the master to delete.
    Sync,
}

/// A snapshot on its way into the dataset, item by item. Nothing of the server is borrowed between two items.
pub struct SnapshotLoad<S> {
    loader: Loader<S>,
    load: Load,
}

impl<S: Source> SnapshotLoad<S> {
    pub fn begin(srv: &mut Server, source: S, why: LoadFor) -> Result<Self, Unread> {
        super::policy::refresh(srv);
        let deep = srv.config.sanitize_dump_payload == SanitizeDump::Yes;
        let checks = Checks { checksum: sums(srv), deep };
        let loader = Loader::new(source, srv.ks.policy.limits, checks).map_err(|why| broken(&why, 0))?;
        let master = !srv.states.has(ServerStates::REPLICA);
        let load = Load {
            merge: why == LoadFor::Again { merge: true },
            drops_expired: master && matches!(why, LoadFor::Start | LoadFor::Again { .. }),
            feeds: master && why == LoadFor::Start,
            ..Load::default()
        };
        srv.jobs.loaded_at = None;
        Ok(SnapshotLoad { loader, load })
    }

    /// Takes in one more item.
    pub fn next(&mut self, srv: &mut Server) -> Result<LoadStep, Unread> {
        let taken = match self.loader.next_item() {
            Ok(Some(item)) => self.load.item(srv, item).map(|()| LoadStep::Item),
            Ok(None) => Ok(LoadStep::Done),
            Err(Error::NeedMore) => Ok(LoadStep::NeedsMore),
            Err(why) => Err(why),
        };
        taken.map_err(|why| {
            srv.stats.dump_sanitizations += self.loader.sanitized();
            broken(&why, self.loader.at())
        })
    }

    pub fn at(&self) -> u64 {
        self.loader.at()
    }

    /// Was it written by a server of this version?
    pub fn is_of_this_version(&self) -> bool {
        self.load.of_this_version && self.loader.version() == VERSION
    }

    /// To feed what arrives.
    pub fn source(&mut self) -> &mut S {
        self.loader.source()
    }

    /// All of it is there.
    pub fn end(self, srv: &mut Server) -> S {
        srv.stats.dump_sanitizations += self.loader.sanitized();
        if self.loader.unsummed {
            crate::notice!("RDB file was saved with checksum disabled: no check performed.");
        }
        let skipped = match self.load.empty {
            0 => String::new(),
            n => format!(", empty keys skipped: {n}"),
        };
        crate::notice!(
            "Done loading RDB, keys loaded: {}, keys expired: {}{skipped}.",
            srv.jobs.keys_loaded,
            srv.jobs.keys_expired
        );
        srv.jobs.loaded_at = self.load.past();
        self.loader.into_source()
    }
}

/// What became of a try to take in one more item.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum LoadStep {
    Item,
    /// Not all of the next one is at hand.
    NeedsMore,
    Done,
}

/// Behind a snapshot stands what belongs to nothing.
pub fn more_than_a_snapshot() -> Unread {
    crate::warning!("Replication stream EOF marker is broken");
    Unread::Cut
}

/// How a snapshot is taken in, and what of it is known so far.
#[derive(Default)]
struct Load {
    merge: bool,
    drops_expired: bool,
    /// Keys that are dropped leave the stream to replicas, too.
    feeds: bool,
    db: usize,
    empty: u64,
    /// Where the dataset stood in the stream: database, id and offset.
    stream_db: Option<u64>,
    replid: Option<String>,
    offset: Option<u64>,
    of_this_version: bool,
}

impl Load {
    /// The position of the dataset, if the snapshot says all of it.
    fn past(&self) -> Option<Position> {
        let (replid, offset) = (self.replid.clone()?, self.offset?);
        // A database that is not there is none that can be selected.
        let db = usize::try_from(self.stream_db?).unwrap_or(usize::MAX);
        Some(Position { replid, offset, db: Some(db) })
    }

    fn item(&mut self, srv: &mut Server, item: RdbItem<'_>) -> Result<(), Error> {
        match item {
            RdbItem::SelectDb(n) if n < srv.ks.databases() => self.db = n,
            RdbItem::SelectDb(_) => {
                return Err(Error::Unfit(format!(
                    "FATAL: Data file was created with a Redis server configured to handle more than {} \
                     databases. Exiting",
                    srv.ks.databases()
                )));
            }
            RdbItem::Resize(..) => {}
            RdbItem::Aux { name, value } => self.aux(srv, &name, &String::from_utf8_lossy(&value)),
            RdbItem::Function(code) => {
                if let Err(why) = function::load(srv, &code, self.merge, None) {
                    crate::warning!("Failed loading library, {}", String::from_utf8_lossy(&why));
                    return Err(Error::Short);
                }
            }
            RdbItem::Empty { name } => {
                if self.empty < EMPTY_TOLD {
                    let name = String::from_utf8_lossy(name);
                    crate::notice!("rdbLoadObject skipping empty key: {name}");
                }
                self.empty += 1;
            }
            RdbItem::Key { name, when: Some(w), .. } if w < srv.ks.now_ms && self.drops_expired => {
                srv.jobs.keys_expired += 1;
                if self.feeds {
                    feed_deletion(srv, self.db, name);
                }
            }
            RdbItem::Key { name, when, usage, value } => {
                let (db, key) = (self.db, Key::new(name));
                let found = srv.ks.find_as_is(db, key);
                if found.is_some() && !self.merge {
                    let name = String::from_utf8_lossy(name);
                    return Err(format!("RDB has duplicated key '{name}' in DB {db}").into());
                }
                let ttl = when.map_or(Ttl::Clear, Ttl::At);
                let _ = match value {
                    Loaded::Bytes(b) => srv.ks.put(db, key, New::Bytes(&b), ttl, found),
                    Loaded::Value(v) => srv.ks.put(db, key, New::Value(v), ttl, found),
                };
                srv.ks.set_usage(db, key, usage.freq, usage.idle_seconds);
                srv.jobs.keys_loaded += 1;
            }
        }
        Ok(())
    }

    /// A field about the file: some are shown, some say where the dataset stood in the stream.
    fn aux(&mut self, srv: &mut Server, name: &[u8], value: &str) {
        let number = parse_i64(value.as_bytes()).map(u64::try_from);
        match (name, number) {
            (b"repl-stream-db", Some(Ok(n))) => self.stream_db = Some(n),
            (b"repl-offset", Some(Ok(n))) => self.offset = Some(n),
            (b"redis-ver", _) => {
                self.of_this_version = value == REDIS_VERSION;
                aux(srv, name, value);
            }
            (b"repl-id", _) if is_id(value.as_bytes()) => self.replid = Some(value.into()),
            _ => aux(srv, name, value),
        }
    }
}

/// A key that had expired when the server started: replicas that go on from the snapshot have it still.
fn feed_deletion(srv: &mut Server, db: usize, key: &[u8]) {
    let name: &[u8] = if srv.config.lazyfree_lazy_expire { b"UNLINK" } else { b"DEL" };
    let mut op = Vec::new();
    push_command(&mut op, &[name, key]);
    srv.ops.leave(db, to::REPLICAS, &op, None, srv.repl.backlog.as_mut());
}

/// A field about the file: some are shown.
fn aux(srv: &mut Server, name: &[u8], value: &str) {
    let number = loose(value.as_bytes());
    match name {
        [b'%', ..] => crate::notice!("RDB '{}': {value}", String::from_utf8_lossy(name)),
        b"redis-ver" => crate::notice!("Loading RDB produced by version {value}"),
        b"ctime" => crate::notice!("RDB age {} seconds", (unix_ms() / 1000 - number).max(0)),
        b"used-mem" => {
            srv.loading.used_then = u64::try_from(number).unwrap_or(0);
            crate::notice!("RDB memory usage when created {:.2} Mb", number as f64 / (1024.0 * 1024.0));
        }
        b"aof-base" if number != 0 => crate::notice!("RDB is base AOF"),
        _ => {}
    }
}

fn saved(srv: &mut Server, dirty: u64) {
    srv.jobs.dirty_saved = dirty;
    srv.jobs.last_save = unix_ms() / 1000;
    srv.jobs.saves += 1;
}

/// BGSAVE: forks, and returns at once.
pub fn save_in_background(srv: &mut Server) -> io::Result<()> {
    assert!(srv.jobs.child.is_none(), "the caller looks first");
    srv.jobs.last_try = unix_ms() / 1000;
    srv.jobs.scheduled = false;
    match child::fork(srv, ChildKind::Snapshot) {
        Ok(Some(mut report)) => {
            let written = write_file(srv, || report.key());
            if written.is_ok() {
                crate::notice!("DB saved on disk");
                report.done();
            }
            process::exit_child(i32::from(written.is_err()));
        }
        Ok(None) => Ok(()),
        Err(e) => {
            srv.jobs.last_ok = false;
            crate::warning!("Can't save in background: fork: {}", errno::text(&e));
            Err(e)
        }
    }
}

/// Ends a child that is saving, and deletes its temp file: the caller writes the whole file itself, or
/// needs none.
pub fn kill_child(srv: &mut Server) {
    if let Some(pid) = child::kill(srv, ChildKind::Snapshot) {
        // Gone already, when the child got as far as renaming it.
        let _ = std::fs::remove_file(temp_of(pid));
        if srv.transfer.is_some() {
            return transfer::done(srv, Exit::Signal(libc::SIGUSR1));
        }
        master::saved(srv, false);
    }
}

/// The child has ended.
pub fn done(srv: &mut Server, child: &Child, end: Exit) {
    srv.jobs.last_seconds = (unix_ms() - child.started_ms) / 1000;
    if srv.transfer.is_some() {
        return transfer::done(srv, end);
    }
    match end {
        Exit::Good => {
            crate::notice!("Background saving terminated with success");
            saved(srv, child.dirty);
            srv.jobs.last_ok = true;
        }
        Exit::Bad => {
            crate::warning!("Background saving error");
            srv.jobs.last_ok = false;
        }
        Exit::Signal(n) => {
            crate::warning!("Background saving terminated by signal {n}");
            // What it has written so far is of no use.
            let _ = std::fs::remove_file(temp_of(child.pid.unsigned_abs()));
            // SIGUSR1 comes from `kill_child`: the save was stopped and has not failed.
            if n != libc::SIGUSR1 {
                srv.jobs.last_ok = false;
            }
        }
    }
    master::saved(srv, end == Exit::Good);
}

/// May the next try be made? After a failure not at once.
fn may_try(srv: &Server) -> bool {
    srv.jobs.last_ok || srv.clock.unix_secs() - srv.jobs.last_try > RETRY_DELAY
}

/// No child is there, and none is about to begin.
fn free(srv: &Server) -> bool {
    srv.jobs.child.is_none() && !rewrite::is_opening(srv)
}

/// From the cron: has a save point been reached?
pub fn save_points(srv: &mut Server) {
    if !free(srv) || srv.config.save.is_empty() || !may_try(srv) {
        return;
    }
    let changes = srv.ks.dirty.saturating_sub(srv.jobs.dirty_saved);
    let age = srv.clock.unix_secs() - srv.jobs.last_save;
    let reached =
        |p: &&SavePoint| u64::try_from(p.changes).is_ok_and(|n| changes >= n) && age > p.seconds;
    let Some(p) = srv.config.save.iter().find(reached) else { return };
    crate::notice!("{} changes in {} seconds. Saving...", p.changes, p.seconds);
    // A failure has been logged, and is tried again.
    let _ = save_in_background(srv);
}

/// From the cron: a save that was scheduled begins when no other child is there.
pub fn scheduled(srv: &mut Server) {
    if srv.jobs.scheduled && free(srv) && may_try(srv) && save_in_background(srv).is_err() {
        srv.jobs.scheduled = true;
    }
}
