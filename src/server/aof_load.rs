//! Reading the log back: at the start, and for DEBUG LOADAOF.
//!
//! ```text
//! manifest ─► base (RDB, or commands) ─► increment ─► increment ...      each command runs through a client
//!                                                     └ last: may be cut short, if aof-load-truncated
//! ```
//!
//! A log of one file, as servers before 7 wrote it, is moved into the folder and becomes the base; it
//! may begin with a snapshot that commands follow. A file that the manifest names and that is not there
//! ends the start, as does one that is broken in its middle: going on would lose data silently.

use super::admit::{Caller, Verdict, admit};
use super::aof::{self, LogPlace, shown};
use super::call::{CallSource, call};
use super::transaction::queue;
use super::{Server, jobs, kill, loading};
use crate::clients::{Client, ClientId, flag};
use crate::cmd::row::flag as cf;
use crate::config::PropagationError;
use crate::persist::aof::manifest::Manifest;
use crate::persist::aof::read::{AofBroken, Reader};
use crate::persist::rdb::source::{Source, Window};
use crate::proto::args::Args;
use crate::proto::reply::Reply;
use crate::sys::clock::mono_ns;
use crate::sys::{errno, process};
use crate::{notice, warning};
use std::fs::File;
use std::io::{BufRead, BufReader, ErrorKind};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// What became of a file, or of all.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum AofLoadOutcome {
    Loaded,
    /// The end was cut off.
    Truncated,
    Empty,
    Missing,
    Failed,
}

/// The manifest as it is on the disk; None (and lines in the log) when it cannot be understood.
pub fn read_manifest(srv: &Server) -> Option<Manifest> {
    let name = format!("{}.manifest", shown(&srv.config.appendfilename));
    let path = aof::folder(srv).join(&name);
    let text = match std::fs::read(&path) {
        Ok(text) => text,
        // NotADirectory: a file has the folder's name. `make_folder` reports that error.
        Err(e) if matches!(e.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {
            return Some(Manifest::default());
        }
        Err(e) => {
            let (path, why) = (path.display(), errno::text(&e));
            warning!("Fatal error: can't open the AOF manifest file {path} for reading: {why}");
            return None;
        }
    };
    let broken = match Manifest::parse(&text) {
        Ok(m) => return Some(m),
        Err(b) => b,
    };
    warning!("\n*** FATAL AOF MANIFEST FILE ERROR ***\n");
    if let Some((n, line)) = &broken.line {
        warning!("Reading the manifest file, at line {n}\n");
        warning!(">>> '{}'\n", shown(line));
    }
    warning!("{}\n", broken.why);
    None
}

/// Reads everything that the manifest names.
pub fn load(srv: &mut Server) -> AofLoadOutcome {
    if !upgrade(srv) {
        return AofLoadOutcome::Failed;
    }
    if srv.aof.manifest.is_empty() {
        return AofLoadOutcome::Missing;
    }
    let names: Vec<Vec<u8>> = srv.aof.manifest.live().map(|p| p.name.clone()).collect();
    let Some(sizes) = sizes(srv, &names) else { return AofLoadOutcome::Failed };
    let total: u64 = sizes.iter().sum();
    if total == 0 {
        return AofLoadOutcome::Empty;
    }
    loading::start(srv, total);
    let outcome = load_files(srv, &names, &sizes);
    loading::stop(srv);
    if outcome != AofLoadOutcome::Failed {
        srv.aof.size = total;
        srv.aof.base_size = if srv.aof.manifest.base.is_some() { sizes[0] } else { 0 };
    }
    outcome
}

/// How long the files are; None when one is not there.
fn sizes(srv: &Server, names: &[Vec<u8>]) -> Option<Vec<u64>> {
    let size = |name: &Vec<u8>| match std::fs::metadata(aof::path_of(srv, name)) {
        Ok(m) => Some(m.len()),
        Err(e) => {
            warning!("Unable to obtain the AOF file {} length. stat: {}", shown(name), errno::text(&e));
            None
        }
    };
    names.iter().map(size).collect()
}

/// Reads the files one behind the other. Only the last one may end in the midst of a command. It is the last
/// also when empty increments follow: a rewrite names a new increment before commands go there, so a server
/// that is killed in between leaves half a command in the one before.
fn load_files(srv: &mut Server, names: &[Vec<u8>], sizes: &[u64]) -> AofLoadOutcome {
    let has_base = srv.aof.manifest.base.is_some();
    let mut before = 0;
    let mut outcome = AofLoadOutcome::Loaded;
    for (i, (name, size)) in names.iter().zip(sizes).enumerate() {
        let base = has_base && i == 0;
        let empty_behind = !base && sizes.iter().skip(i + 1).all(|size| *size == 0);
        let last = i + 1 == names.len() || empty_behind;
        let begun = mono_ns();
        outcome = load_one(srv, name, before);
        before += size;
        if outcome == AofLoadOutcome::Loaded || outcome == AofLoadOutcome::Truncated && last {
            let seconds = (mono_ns() - begun) as f64 / 1e9;
            let kind = if base { "base" } else { "incr" };
            notice!("DB loaded from {kind} file {}: {seconds:.3} seconds", shown(name));
        }
        if outcome == AofLoadOutcome::Truncated && !last {
            warning!("Fatal error: the truncated file is not the last file");
            outcome = AofLoadOutcome::Failed;
        }
        if outcome == AofLoadOutcome::Empty && !base {
            outcome = AofLoadOutcome::Loaded;
        }
        if outcome == AofLoadOutcome::Failed {
            break;
        }
    }
    outcome
}

/// A log of one file that lies where servers before 7 put it becomes the base. False when that failed.
fn upgrade(srv: &mut Server) -> bool {
    let log = srv.config.appendfilename.clone();
    let old = Path::new(std::ffi::OsStr::from_bytes(&log)).to_path_buf();
    let new = aof::path_of(srv, &log);
    // A log that may be there must not be passed over: the server would begin without its data.
    let (is_old_there, is_new_there) = match old.try_exists().and_then(|o| Ok((o, new.try_exists()?))) {
        Ok(there) => there,
        Err(e) => {
            warning!("Can't look for an old-style AOF file {}: {}", shown(&log), errno::text(&e));
            return false;
        }
    };
    let m = &srv.aof.manifest;
    let begun =
        m.increments.is_empty() && m.base.as_ref().is_some_and(|b| b.name == log) && !is_new_there;
    if !is_old_there || !(m.is_empty() || begun) {
        return true;
    }
    let mut m = m.clone();
    m.adopt(&log);
    if !aof::make_folder(srv) || !aof::persist(&LogPlace::of(srv), &mut m) {
        return false;
    }
    srv.aof.manifest = m;
    let (file, dir) = (shown(&log), aof::folder(srv));
    let dir = dir.display();
    if let Err(e) = std::fs::rename(&old, &new) {
        let why = errno::text(&e);
        warning!("Error trying to move the old AOF file {file} into dir {dir}: {why}");
        return false;
    }
    notice!("Successfully migrated an old-style AOF file ({file}) into the AOF directory ({dir}).");
    true
}

/// One file; `before` bytes of other files were read already.
fn load_one(srv: &mut Server, name: &[u8], before: u64) -> AofLoadOutcome {
    let file = match File::open(aof::path_of(srv, name)) {
        Ok(f) => f,
        Err(e) => {
            let why = errno::text(&e);
            warning!("Fatal error: can't open the append log file {} for reading: {why}", shown(name));
            return AofLoadOutcome::Failed;
        }
    };
    let unread = |e: &std::io::Error| {
        let (file, why) = (shown(name), errno::text(e));
        warning!("Unrecoverable error reading the append only file {file}: {why}");
        AofLoadOutcome::Failed
    };
    let total = match file.metadata() {
        Ok(m) if m.len() == 0 => return AofLoadOutcome::Empty,
        Ok(m) => m.len(),
        Err(e) => return unread(&e),
    };
    let mut input = BufReader::with_capacity(1 << 16, file);
    match input.fill_buf() {
        Ok(head) if head.starts_with(b"REDIS") => {}
        Ok(_) => return load_commands(srv, name, input, 0, before),
        Err(e) => return unread(&e),
    }
    let old = name == srv.config.appendfilename;
    if old {
        notice!("Reading RDB preamble from AOF file...");
    } else {
        notice!("Reading RDB base file on AOF loading...");
    }
    let source = Window::new(input, total, jobs::sums(srv));
    let source = match jobs::load_from(srv, source, jobs::LoadFor::Base) {
        Ok(source) => source,
        Err(_) => {
            let what = if old { "preamble of the AOF" } else { "base" };
            warning!("Error reading the RDB {what} file {}, AOF loading aborted", shown(name));
            return AofLoadOutcome::Failed;
        }
    };
    if old {
        notice!("Reading the remaining AOF tail...");
    }
    let end = source.at();
    load_commands(srv, name, source.into_rest(), end, before)
}

/// The commands of a file, through a client of its own; the first `at` bytes of it are done with.
fn load_commands(
    srv: &mut Server,
    name: &[u8],
    from: impl BufRead,
    at: u64,
    before: u64,
) -> AofLoadOutcome {
    let mut c = Client::new(srv.clock.unix_ms);
    c.set(flag::OBEYED | flag::DENY_BLOCKING);
    let id = srv.clients.add(c);
    let outer = srv.execution.set_current(Some(id));
    srv.loading.reader = Some(id);
    let mut run = Run { id, out: Reply::new(false), whole: at, before_multi: at };
    let end = run.all(srv, name, Reader::new(from, at), before);
    srv.loading.reader = None;
    srv.execution.set_current(outer);
    let open = srv.clients[id].has(flag::MULTI);
    // Out of every registry: a log may hold anything.
    kill::kill(srv, id);
    match end {
        LogEnd::Sound if open => {
            let file = shown(name);
            warning!("Revert incomplete MULTI/EXEC transaction in AOF file {file}");
            cut(srv, name, run.before_multi)
        }
        LogEnd::Sound => AofLoadOutcome::Loaded,
        LogEnd::Short => cut(srv, name, if open { run.before_multi } else { run.whole }),
        LogEnd::Failed => AofLoadOutcome::Failed,
    }
}

enum LogEnd {
    Sound,
    Short,
    Failed,
}

struct Run {
    id: ClientId,
    out: Reply,
    /// What stands before is sound; the same at the beginning of the transaction that is open.
    whole: u64,
    before_multi: u64,
}

impl Run {
    fn all(
        &mut self,
        srv: &mut Server,
        name: &[u8],
        mut r: Reader<impl BufRead>,
        before: u64,
    ) -> LogEnd {
        let mut words = Vec::new();
        loop {
            match r.next(&mut words) {
                Ok(true) => {}
                Ok(false) => return LogEnd::Sound,
                Err(AofBroken::Short) => return LogEnd::Short,
                Err(AofBroken::Format) => {
                    warning!(
                        "Bad file format reading the append only file {}: make a backup of your AOF \
                         file, then use ./redis-check-aof --fix <filename.manifest>",
                        shown(name)
                    );
                    return LogEnd::Failed;
                }
                Err(AofBroken::Io(e)) => {
                    let (file, why) = (shown(name), errno::text(&e));
                    warning!("Unrecoverable error reading the append only file {file}: {why}");
                    return LogEnd::Failed;
                }
            }
            let argv: Vec<&[u8]> = words.iter().map(|w| &w[..]).collect();
            if !self.command(srv, name, Args::new(&argv)) {
                return LogEnd::Failed;
            }
            self.whole = r.position();
            loading::progress(srv, before.saturating_add(self.whole));
        }
    }

    /// Runs one; false when it is none that this server knows.
    fn command(&mut self, srv: &mut Server, name: &[u8], args: Args) -> bool {
        let Some(&word) = args.first() else { return false };
        let found = srv.table.resolve(&args).ok().filter(|cmd| srv.table.get(*cmd).accepts(args.len()));
        let Some(cmd) = found else {
            let (word, file) = (shown(word), shown(name));
            warning!("Unknown command '{word}' reading the append only file {file}");
            return false;
        };
        let e = srv.table.get(cmd);
        let open = srv.clients[self.id].has(flag::MULTI);
        // A MULTI inside a transaction is queued like any command; the outer one is the one that is open.
        if e.flags & cf::MULTI != 0 && !open {
            self.before_multi = self.whole;
        }
        srv.clients[self.id].last_cmd = cmd;
        if let Verdict::Queue = admit(srv, Caller::Log(self.id), cmd, args) {
            queue(srv, self.id, cmd, args, &mut self.out);
        } else {
            // What the log repeats is not a command of a client.
            let counted = srv.stats.commands;
            call(srv, self.id, cmd, args, &mut self.out, CallSource::Nested);
            srv.stats.commands = counted;
        }
        self.out.take_bytes();
        true
    }
}

/// A command that went well once fails now: the log and this server disagree about something. Within
/// EXEC it is that which the log says has failed.
#[cold]
pub fn complain(srv: &mut Server, id: ClientId, why: &str) {
    srv.stats.unexpected_errors += 1;
    let cmd = srv.clients[id].last_cmd;
    warning!(
        "== CRITICAL == This server is sending an error to its AOF-loading-client: '{}' after processing \
         the command '{}'",
        as_logged(why.trim_ascii_end().as_bytes()),
        srv.table.get(cmd).name
    );
    if srv.config.propagation_error_behavior == PropagationError::Panic {
        process::exit_child(1);
    }
}

/// An error in the words of the log: those that every command shares with their code, others without
/// the general one.
pub(super) fn as_logged(why: &[u8]) -> String {
    const SHARED: [&[u8]; 4] = [
        b"syntax error",
        b"no such key",
        b"index out of range",
        b"source and destination objects are the same",
    ];
    match why.strip_prefix(b"ERR ") {
        Some(text) if !SHARED.contains(&text) => shown(text).into_owned(),
        _ => format!("-{}", shown(why)),
    }
}

/// The last write was cut short: what is whole stays, if `aof-load-truncated` allows.
fn cut(srv: &mut Server, name: &[u8], whole: u64) -> AofLoadOutcome {
    let file = shown(name);
    if srv.config.aof_load_truncated {
        warning!("!!! Warning: short read while loading the AOF file {file}!!!");
        warning!("!!! Truncating the AOF {file} at offset {whole} !!!");
        let open = File::options().write(true).open(aof::path_of(srv, name));
        match open.and_then(|f| f.set_len(whole).and_then(|()| f.sync_all())) {
            Ok(()) => {
                warning!("AOF {file} loaded anyway because aof-load-truncated is enabled");
                return AofLoadOutcome::Truncated;
            }
            Err(e) => warning!("Error truncating the AOF file {file}: {}", errno::text(&e)),
        }
    }
    warning!(
        "Unexpected end of file reading the append only file {file}. You can: 1) Make a backup of your \
         AOF file, then use ./redis-check-aof --fix <filename.manifest>. 2) Alternatively you can set \
         the 'aof-load-truncated' configuration option to yes and restart the server."
    );
    AofLoadOutcome::Failed
}

/// At the start, when the log is what the dataset comes from. False ends the process.
pub fn at_start(srv: &mut Server) -> bool {
    let begun = mono_ns();
    let outcome = load(srv);
    // None of it was asked for by a client.
    srv.cmdstats.iter_mut().for_each(|s| *s = Default::default());
    srv.jobs.dirty_saved = srv.ks.dirty;
    match outcome {
        AofLoadOutcome::Failed => return false,
        AofLoadOutcome::Missing => {}
        _ => {
            let seconds = (mono_ns() - begun) as f64 / 1e9;
            notice!("DB loaded from append only file: {seconds:.3} seconds");
        }
    }
    true
}

/// DEBUG LOADAOF, behind the flush: reads again what the log says.
pub fn again(srv: &mut Server) -> bool {
    let dirty = srv.ks.dirty;
    let Some(m) = read_manifest(srv) else { std::process::exit(1) };
    srv.aof.manifest = m;
    aof::delete_history(srv);
    let outcome = load(srv);
    srv.ks.dirty = dirty;
    srv.jobs.dirty_saved = dirty;
    matches!(outcome, AofLoadOutcome::Loaded | AofLoadOutcome::Empty)
}
