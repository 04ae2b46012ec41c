//! The append only file: what the ops' sink has gathered leaves to it once per pass, before replies do,
//! and it is read back at the start.
//!
//! ```text
//! unit ─► ops.aof.buf ─ before_sleep ─► write(2) ─► fsync (always: here; everysec: once a second; no: never)
//!                                                      └► then the replies of the pass leave
//! ```
//!
//! `appendonlydir/appendonly.aof.manifest` names one increment, which this server appends to. A base
//! written by a rewrite is named there too once rewrites exist; a manifest with one is refused until
//! then, and nothing is touched.

use super::{Server, dispatch, policy};
use crate::clients::{Client, flag};
use crate::config::AppendFsync;
use crate::persist::manifest::{File, Kind, Manifest};
use crate::proto::args::Args;
use crate::proto::parse::{Limits, Parsed, State};
use crate::proto::reply::Reply;
use crate::replication::ops::Sink;
use crate::sys::clock::mono_ns;
use crate::sys::fsx;
use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

pub struct Aof {
    file: std::fs::File,
    synced_ns: u64,
    /// Bytes written since the last fsync.
    unsynced: bool,
}

fn folder(srv: &Server) -> PathBuf {
    Path::new(std::ffi::OsStr::from_bytes(&srv.config.appenddirname)).to_path_buf()
}

fn base_name(srv: &Server) -> String {
    String::from_utf8_lossy(&srv.config.appendfilename).into_owned()
}

/// Reads what is there and opens the increment to append to. An error text stops the start: nothing is
/// lost by it.
pub fn open(srv: &mut Server) -> Result<(), String> {
    let (dir, name) = (folder(srv), base_name(srv));
    std::fs::create_dir_all(&dir).map_err(|e| format!("Can't open or create append-only dir: {e}"))?;
    let manifest_path = dir.join(format!("{name}.manifest"));
    let manifest = match std::fs::read(&manifest_path) {
        Ok(text) => {
            Manifest::parse(&text).map_err(|e| format!("Invalid AOF manifest file format: {e}"))?
        }
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
            let first = File { name: format!("{name}.1.incr.aof"), seq: 1, kind: Kind::Increment };
            let m = Manifest { files: vec![first] };
            let temp = dir.join(format!("temp-{name}.manifest"));
            let text = m.text();
            fsx::replace(&temp, &manifest_path, 0o644, |f| f.write_all(text.as_bytes()))
                .map_err(|f| format!("Failed to write the AOF manifest: {}", f.error))?;
            m
        }
        Err(e) => return Err(format!("Can't read the AOF manifest: {e}")),
    };
    if manifest.files.iter().any(|f| f.kind == Kind::Base) {
        return Err("The AOF has a base file, which this version cannot load".into());
    }
    for f in manifest.live() {
        load(srv, &dir.join(&f.name))?;
    }
    let last = manifest.live().last().expect("a manifest names a file").name.clone();
    let file = std::fs::File::options().create(true).append(true).open(dir.join(&last));
    let file = file.map_err(|e| format!("Can't open the append-only file {last}: {e}"))?;
    srv.aof = Some(Aof { file, synced_ns: mono_ns(), unsynced: false });
    srv.ops.aof = Some(Sink::default());
    policy::refresh(srv);
    Ok(())
}

/// Runs the commands of one file through a client without a stream.
fn load(srv: &mut Server, path: &Path) -> Result<(), String> {
    let bytes = match std::fs::read(path) {
        Ok(b) => b,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        Err(e) => return Err(format!("Can't read {}: {e}", path.display())),
    };
    let mut c = Client::new(srv.clock.unix_ms);
    c.set(flag::AUTHENTICATED | flag::MASTER);
    let id = srv.clients.add(c);
    let expiry = std::mem::replace(&mut srv.ks.policy.expiry, crate::keyspace::Expiry::Ignore);
    let (mut state, mut spans, mut at, mut whole) = (State::default(), Vec::new(), 0, 0);
    let limits = Limits { max_bulk: i64::MAX, authenticated: true };
    let mut out = Reply::new(false);
    let result = loop {
        spans.clear();
        let len = match state.next(&bytes[at..], &limits, &mut spans) {
            Parsed::Multibulk { len } => len,
            Parsed::Partial => break Ok(()),
            _ => break Err(format!("Bad file format reading the append only file at byte {at}")),
        };
        let argv: Vec<&[u8]> = spans.iter().map(|s| &bytes[at + s.off..at + s.off + s.len]).collect();
        dispatch::process(srv, id, srv.table.find(argv[0]), Args::new(&argv), &mut out);
        if let Some(reply) = out.take_bytes().strip_prefix(b"-") {
            break Err(format!(
                "Command at byte {at} failed: {}",
                String::from_utf8_lossy(reply).trim_end()
            ));
        }
        at += len;
        if !srv.clients[id].has(flag::MULTI) {
            whole = at;
        }
    };
    srv.ks.policy.expiry = expiry;
    srv.clients.remove(id);
    srv.ks.dirty = 0;
    result?;
    if whole < bytes.len() {
        return cut(srv, path, whole, bytes.len());
    }
    Ok(())
}

/// The last write was cut short by a crash: what is whole stays, if `aof-load-truncated` allows.
fn cut(srv: &Server, path: &Path, whole: usize, len: usize) -> Result<(), String> {
    if !srv.config.aof_load_truncated {
        return Err("Unexpected end of file reading the append only file".into());
    }
    crate::warning!("!!! Warning: short read while loading the AOF file {} !!!", path.display());
    crate::warning!("AOF {} loaded anyway because aof-load-truncated is enabled", path.display());
    let file = std::fs::File::options().write(true).open(path);
    let cut = file.and_then(|f| f.set_len(whole as u64).and_then(|()| f.sync_all()));
    cut.map_err(|e| format!("Error truncating the AOF file from {len} to {whole} bytes: {e}"))
}

/// At the end: all of it, and onto the disk.
pub fn flush_and_sync(srv: &mut Server) {
    flush(srv);
    let Some(aof) = &mut srv.aof else { return };
    if let Err(e) = aof.file.sync_data() {
        crate::warning!("Fail to fsync the AOF file: {}.", crate::sys::errno::text(&e));
    }
}

/// Writes what the units of this pass left. A failure ends the process under `always`, where a reply is
/// a promise; otherwise it is tried again in the next pass.
pub fn flush(srv: &mut Server) {
    let (Some(aof), Some(sink)) = (&mut srv.aof, &mut srv.ops.aof) else { return };
    let always = srv.config.appendfsync == AppendFsync::Always;
    if !sink.buf.is_empty() {
        match aof.file.write(&sink.buf) {
            Ok(n) => {
                sink.buf.drain(..n);
                aof.unsynced = true;
            }
            Err(e) => crate::warning!("Error writing to the AOF file: {e}"),
        }
        if always && !sink.buf.is_empty() {
            crate::warning!(
                "Can't recover from AOF write error when the AOF fsync policy is 'always'. Exiting..."
            );
            std::process::exit(1);
        }
    }
    let due = match srv.config.appendfsync {
        AppendFsync::Always => true,
        AppendFsync::EverySec => mono_ns() - aof.synced_ns >= 1_000_000_000,
        AppendFsync::No => false,
    };
    if aof.unsynced && due {
        if let Err(e) = aof.file.sync_data() {
            crate::warning!("Fail to fsync the AOF file: {e}");
            if always {
                std::process::exit(1);
            }
        }
        aof.unsynced = false;
        aof.synced_ns = mono_ns();
    }
}
