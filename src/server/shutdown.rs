//! The end: SHUTDOWN and signals.
//!
//! ```text
//! SHUTDOWN, SIGTERM, SIGINT ─► begin ── no replica lags ──────► finish ─► exit(0)
//!                                │                               └─ cannot be: logged, the server goes on
//!                                └─ replicas lag: until `until_ms`, or SHUTDOWN ABORT
//! ```
//!
//! While replicas are waited for, writes rest, so that the replicas can reach the end of the stream.

use super::pause;
use super::{Server, ServerStates, aof, blocking, child, jobs, listen, master, rewrite, script_debug};
use crate::blocked::Wait;
use crate::clients::pause::{Purpose, action};
use crate::config::{Supervised, shutdown as flag};
use crate::jobs::aof::AofState;
use crate::jobs::child::ChildKind;
use crate::sys::{process, signals, supervise};
use crate::{notice, warning};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// A shutdown under way.
#[derive(Debug, Default)]
pub struct Shutdown {
    /// Bits of `config::shutdown`.
    pub flags: u32,
    /// It waits until then for replicas.
    pub until_ms: Option<i64>,
}

/// Starts to shut down. True when the process may exit now.
pub fn begin(srv: &mut Server, mut flags: u32) -> bool {
    if srv.shutdown.until_ms.is_some() {
        return false;
    }
    if srv.states.has(ServerStates::LOADING) {
        // A half loaded dataset must not replace the whole one on disk.
        flags = flags & !flag::SAVE | flag::NOSAVE;
    }
    srv.shutdown.flags = flags;
    notice!("User requested shutdown...");
    if srv.process.supervised == Supervised::Systemd {
        supervise::notify("STOPPING=1\n");
    }
    let seconds = i64::try_from(srv.config.shutdown_timeout).unwrap_or(i64::MAX);
    if flags & flag::NOW == 0 && seconds > 0 && master::lagging(srv).next().is_some() {
        srv.shutdown.until_ms = Some(srv.clock.unix_ms.saturating_add(seconds.saturating_mul(1000)));
        if !srv.pause.has(action::REPLICA) {
            master::ask_for_acks(srv);
        }
        pause::pause(srv, Purpose::Shutdown, i64::MAX, action::WRITE_SET);
        notice!("Waiting for replicas before shutting down.");
        return false;
    }
    finish_or_cancel(srv)
}

fn finish_or_cancel(srv: &mut Server) -> bool {
    let done = finish(srv);
    if !done {
        cancel(srv);
    }
    done
}

/// The server goes on.
fn cancel(srv: &mut Server) {
    srv.shutdown.until_ms = None;
    signals::clear_shutdown();
    for id in srv.blocked.waiting(Wait::Shutdown) {
        blocking::release(srv, id, Some("ERR Errors trying to SHUTDOWN. Check logs."));
    }
    pause::unpause(srv, Purpose::Shutdown);
}

/// Leaves everything in order; false when that failed.
fn finish(srv: &mut Server) -> bool {
    master::tell_lagging(srv);
    let flags = srv.shutdown.flags;
    script_debug::kill_sessions(srv);
    if child::runs(srv, ChildKind::Snapshot) {
        warning!("There is a child saving an .rdb. Killing it!");
        jobs::kill_child(srv);
    }
    if !leave_log(srv, flags & flag::FORCE != 0) {
        return false;
    }
    let by_points = !srv.config.save.is_empty() && flags & flag::NOSAVE == 0;
    if (by_points || flags & flag::SAVE != 0) && !save(srv) {
        if flags & flag::FORCE == 0 {
            warning!("Error trying to save the DB, can't exit.");
            if srv.process.supervised == Supervised::Systemd {
                supervise::notify("STATUS=Error trying to save the DB, can't exit.\n");
            }
            warning!("Errors trying to shut down the server. Check the logs for more information.");
            return false;
        }
        warning!("Error trying to save the DB. Exit anyway.");
    }
    remove_pidfile(srv);
    master::farewell(srv);
    listen::close(srv);
    super::bus::close_all(srv);
    warning!("Redis is now ready to exit, bye bye...");
    true
}

/// Ends a rewrite, and leaves the log whole on the disk. False when its first file is not written yet:
/// the end would lose the dataset.
fn leave_log(srv: &mut Server, force: bool) -> bool {
    rewrite::finish_handover(srv);
    if child::runs(srv, ChildKind::Rewrite) {
        if srv.aof.state == AofState::WaitRewrite {
            if !force {
                warning!("Writing initial AOF, can't exit.");
                if srv.process.supervised == Supervised::Systemd {
                    supervise::notify("STATUS=Writing initial AOF, can't exit.\n");
                }
                warning!("Errors trying to shut down the server. Check the logs for more information.");
                return false;
            }
            warning!("Writing initial AOF. Exit anyway.");
        }
        warning!("There is a child rewriting the AOF. Killing it!");
        rewrite::stop(srv);
    }
    if srv.aof.state != AofState::Off {
        notice!("Calling fsync() on the AOF file.");
        aof::flush_and_sync(srv);
    }
    true
}

fn save(srv: &mut Server) -> bool {
    notice!("Saving the final RDB snapshot before exiting.");
    if srv.process.supervised == Supervised::Systemd {
        supervise::notify("STATUS=Saving the final RDB snapshot\n");
    }
    jobs::save_now(srv).is_ok()
}

/// Calls a shutdown off. False when none is under way.
pub fn abort(srv: &mut Server) -> bool {
    if srv.shutdown.until_ms.is_none() && signals::shutdown_asked().is_none() {
        return false;
    }
    cancel(srv);
    notice!("Shutdown manually aborted.");
    true
}

/// From the cron: has a signal asked, and has the wait for replicas ended?
pub fn cron(srv: &mut Server) {
    if let Some(until) = srv.shutdown.until_ms {
        // A busy script may go on writing: after it.
        let over = srv.clock.unix_ms >= until || master::lagging(srv).next().is_none();
        if over && srv.execution.between_units() && finish_or_cancel(srv) {
            std::process::exit(0);
        }
        return;
    }
    let Some(signal) = signals::shutdown_asked() else { return };
    // What a busy script has done by halves must not be saved: after it.
    if !srv.execution.between_units() && !srv.states.has(ServerStates::LOADING) {
        return;
    }
    let flags = match signal {
        libc::SIGINT => srv.config.shutdown_on_sigint,
        libc::SIGTERM => srv.config.shutdown_on_sigterm,
        _ => 0,
    };
    if begin(srv, flags) {
        std::process::exit(0);
    }
}

/// The pid file's path, when one was written.
pub fn pidfile(srv: &Server) -> Option<Vec<u8>> {
    match &srv.config.pidfile {
        Some(path) => Some(path.clone()),
        None => srv.config.daemonize.then(|| b"/var/run/redis.pid".to_vec()),
    }
}

fn remove_pidfile(srv: &Server) {
    let Some(path) = pidfile(srv) else { return };
    notice!("Removing the pid file.");
    // The file may be missing already; then nothing has to be removed.
    let _ = process::remove_pidfile(Path::new(std::ffi::OsStr::from_bytes(&path)));
}
