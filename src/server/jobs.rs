//! Background children: one at a time, forked inside the handler, reaped by cron.
//!
//! ```text
//! BGSAVE ─ fork ─► child: writes the file, _exit      parent: tables and LRU bits rest until reaped
//! ```
//!
//! The child touches no reactor, no `log`, no lock and no counter of the parent.

use super::{Server, loading};
use crate::commands::numbers::loose;
use crate::config::SanitizeDump;
use crate::ds::table::{Resize, set_resize};
use crate::keyspace::store::{New, Ttl};
use crate::persist::rdb::load::{Checks, Item, Loaded, Loader};
use crate::persist::rdb::save::{Options, save};
use crate::proto::args::Key;
use crate::sys::clock::{mono_ns, unix_ms};
use crate::sys::process::{self, Ended, Fork};
use crate::sys::{fsx, log};
use std::io::{self, BufWriter, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

pub struct Child {
    pub pid: i32,
    pub started_ms: i64,
    /// Changes since the last save when it began.
    dirty: u64,
}

/// What has been saved, and what is being saved.
pub struct Jobs {
    pub child: Option<Child>,
    pub last_save: i64,
    /// `ks.dirty` at the last good save.
    pub dirty_saved: u64,
    pub last_ok: bool,
    pub last_seconds: i64,
    pub saves: u64,
    pub fork_us: u64,
    /// Bytes that the last child had to copy.
    pub last_cow: u64,
    /// Keys of the snapshot that was loaded last, and those that had expired.
    pub keys_loaded: u64,
    pub keys_expired: u64,
}

impl Default for Jobs {
    fn default() -> Self {
        Jobs {
            child: None,
            last_save: unix_ms() / 1000,
            dirty_saved: 0,
            last_ok: true,
            last_seconds: -1,
            saves: 0,
            fork_us: 0,
            last_cow: 0,
            keys_loaded: 0,
            keys_expired: 0,
        }
    }
}

fn file_of(srv: &Server) -> PathBuf {
    Path::new(std::ffi::OsStr::from_bytes(&srv.config.dbfilename)).to_path_buf()
}

fn options(srv: &Server) -> Options {
    let aux = vec![
        ("redis-ver", "7.2.6".to_string()),
        ("redis-bits", usize::BITS.to_string()),
        ("ctime", srv.clock.unix_secs().to_string()),
        ("used-mem", crate::sys::alloc::used().to_string()),
        ("aof-base", "0".to_string()),
    ];
    Options { compress: srv.config.rdbcompression, checksum: srv.config.rdbchecksum, aux }
}

/// Writes the snapshot, here and now.
fn write_file(srv: &Server) -> io::Result<()> {
    let path = file_of(srv);
    let temp = PathBuf::from(format!("temp-{}.rdb", std::process::id()));
    let written = fsx::replace(&temp, &path, 0o644, |file| {
        let mut buffered = BufWriter::with_capacity(1 << 20, file);
        save(&srv.ks.dbs, &options(srv), &mut buffered, |_| Ok(()))?;
        buffered.flush()
    });
    written.map_err(|f| f.error)
}

/// SAVE.
pub fn save_now(srv: &mut Server) -> io::Result<()> {
    let done = write_file(srv);
    match &done {
        Ok(()) => {
            crate::notice!("DB saved on disk");
            saved(srv, srv.ks.dirty);
        }
        Err(e) => crate::warning!("Error saving the database: {e}"),
    }
    srv.jobs.last_ok = done.is_ok();
    done
}

/// Loads the snapshot, at the start or again; `merge` lets it replace keys. A file that cannot be read
/// whole is an error, and stays as it is.
pub fn load_file(srv: &mut Server, merge: bool) -> Result<(), String> {
    let bytes = match std::fs::read(file_of(srv)) {
        Ok(b) => b,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(e) => return Err(crate::sys::errno::text(&e)),
    };
    let begun = mono_ns();
    loading::start(srv, bytes.len() as u64);
    let read = load_bytes(srv, &bytes, merge);
    loading::stop(srv);
    read?;
    let seconds = (mono_ns() - begun) as f64 / 1e9;
    crate::notice!("DB loaded from disk: {seconds:.3} seconds");
    Ok(())
}

fn load_bytes(srv: &mut Server, bytes: &[u8], merge: bool) -> Result<(), String> {
    super::policy::refresh(srv);
    // What is loaded is no news, until the policy is refreshed.
    (srv.ks.policy.notify, srv.ks.policy.modified, srv.ks.policy.ready) = (0, false, 0);
    let checks = Checks {
        checksum: srv.config.rdbchecksum && !srv.switches.skip_checksums,
        deep: srv.config.sanitize_dump_payload == SanitizeDump::Yes,
    };
    let mut loader = Loader::new(bytes, srv.ks.policy.limits, checks)?;
    let mut load = Load { merge, db: 0, loaded: 0, expired: 0, empty: 0 };
    let done = load.all(srv, &mut loader);
    srv.stats.dump_sanitizations += loader.sanitized;
    (srv.jobs.keys_loaded, srv.jobs.keys_expired) = (load.loaded, load.expired);
    if let Err(why) = done {
        crate::warning!("Internal error in RDB reading offset {} -> {why}", loader.at());
        crate::warning!("Terminating server after rdb file reading failure.");
        return Err(why);
    }
    let skipped = match load.empty {
        0 => String::new(),
        n => format!(", empty keys skipped: {n}"),
    };
    crate::notice!(
        "Done loading RDB, keys loaded: {}, keys expired: {}{skipped}.",
        load.loaded,
        load.expired
    );
    Ok(())
}

/// Empty keys that the log tells of.
const EMPTY_TOLD: u64 = 10;

/// A snapshot on its way into the dataset.
struct Load {
    merge: bool,
    db: usize,
    loaded: u64,
    expired: u64,
    empty: u64,
}

impl Load {
    fn all(&mut self, srv: &mut Server, loader: &mut Loader<'_>) -> Result<(), String> {
        while let Some(item) = loader.next_item()? {
            loading::progress(srv, loader.at() as u64);
            self.item(srv, item)?;
        }
        Ok(())
    }

    fn item(&mut self, srv: &mut Server, item: Item<'_>) -> Result<(), String> {
        match item {
            Item::SelectDb(n) if n < srv.ks.dbs.len() => self.db = n,
            Item::SelectDb(_) => {
                return Err(format!(
                    "FATAL: Data file was created with a Redis server configured to handle more than {} \
                     databases. Exiting",
                    srv.ks.dbs.len()
                ));
            }
            Item::Resize(..) => {}
            Item::Aux { name, value } => aux(&name, &String::from_utf8_lossy(&value)),
            Item::Function(_) => {
                return Err("Failed loading library, functions are not supported by this version".into());
            }
            Item::Empty { name } => {
                if self.empty < EMPTY_TOLD {
                    let name = String::from_utf8_lossy(&name);
                    crate::notice!("rdbLoadObject skipping empty key: {name}");
                }
                self.empty += 1;
            }
            Item::Key { when: Some(w), .. } if w < srv.ks.now_ms => self.expired += 1,
            Item::Key { name, when, usage, value } => {
                let (db, key) = (self.db, Key::new(&name));
                let found = srv.ks.peek(db, key).map(|e| srv.ks.token(db, key, e));
                if found.is_some() && !self.merge {
                    let name = String::from_utf8_lossy(&name);
                    return Err(format!("RDB has duplicated key '{name}' in DB {db}"));
                }
                let ttl = when.map_or(Ttl::Clear, Ttl::At);
                let _ = match value {
                    Loaded::Bytes(b) => srv.ks.put(db, key, New::Bytes(&b), ttl, found),
                    Loaded::Value(v) => srv.ks.put(db, key, New::Value(v), ttl, found),
                };
                srv.ks.set_usage(db, key, usage.freq, usage.idle_seconds);
                self.loaded += 1;
            }
        }
        Ok(())
    }
}

/// A field about the file: some are shown.
fn aux(name: &[u8], value: &str) {
    let number = loose(value.as_bytes());
    match name {
        [b'%', ..] => crate::notice!("RDB '{}': {value}", String::from_utf8_lossy(name)),
        b"redis-ver" => crate::notice!("Loading RDB produced by version {value}"),
        b"ctime" => crate::notice!("RDB age {} seconds", (unix_ms() / 1000 - number).max(0)),
        b"used-mem" => {
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
    let begun = mono_ns();
    match process::fork()? {
        Fork::Child => {
            let code = match write_file(srv) {
                Ok(()) => {
                    log::direct(log::Level::Notice, format_args!("DB saved on disk"));
                    0
                }
                Err(e) => {
                    log::direct(log::Level::Warning, format_args!("Error saving the database: {e}"));
                    1
                }
            };
            process::exit_child(code);
        }
        Fork::Parent(pid) => {
            srv.jobs.fork_us = (mono_ns() - begun) / 1000;
            srv.stats.total_forks += 1;
            crate::notice!("Background saving started by pid {pid}");
            srv.jobs.child = Some(Child { pid, started_ms: unix_ms(), dirty: srv.ks.dirty });
            set_resize(Resize::Avoid);
            srv.ks.policy.freeze_lru = true;
            Ok(())
        }
    }
}

/// Ends a child that is saving, and takes its temp file away: whoever calls writes the whole file
/// himself.
pub fn kill_child(srv: &mut Server) {
    let Some(child) = srv.jobs.child.take() else { return };
    crate::warning!("There is a child saving an .rdb. Killing it!");
    // One that has just ended needs no signal; it is waited for in either case.
    let _ = process::kill(child.pid, libc::SIGUSR1);
    process::wait(child.pid);
    // Gone already, when the child got as far as renaming it.
    let _ = std::fs::remove_file(format!("temp-{}.rdb", child.pid));
    set_resize(Resize::Allow);
    srv.ks.policy.freeze_lru = false;
}

/// Is the child done? Called by cron.
pub fn reap(srv: &mut Server) {
    let Some(child) = &srv.jobs.child else { return };
    let Some(end) = process::reap_pid(child.pid) else { return };
    let child = srv.jobs.child.take().expect("looked at above");
    set_resize(Resize::Allow);
    srv.ks.policy.freeze_lru = false;
    srv.jobs.last_seconds = (unix_ms() - child.started_ms) / 1000;
    srv.jobs.last_ok = matches!(end, Ended::Exited(0));
    if srv.jobs.last_ok {
        crate::notice!("Background saving terminated with success");
        saved(srv, child.dirty);
    } else {
        crate::warning!("Background saving error");
    }
}
