//! Sessions of the script debugger: where they run, and on which socket.
//!
//! ```text
//! SCRIPT DEBUG YES   EVAL ─► fork ─┬─ child: the socket blocks ─► script ─► <endsession>, reply ─► _exit
//!                                  └─ parent: closes its copy of the socket, and serves on
//! SCRIPT DEBUG SYNC  EVAL ─► the socket blocks ─► script ─► <endsession>, reply ─► the connection closes
//! ```
//!
//! A TLS session goes along to where the script runs, whole: in the child the parent has given it up.
//!
//! A session reads and writes its socket by itself: the loop does not turn, and of a sync session every
//! other client feels it. What a script changes in a process of its own is lost with it: nothing of that
//! child writes a file or a socket but that of its client.

use super::ctx::Ctx;
use super::{Server, apply, kill, listen};
use crate::clients::flag;
use crate::cmd::row::Flow;
use crate::net::patient::Patient;
use crate::proto::error::CmdError;
use crate::scripting::debugger::{Console, Debugger};
use crate::sys::clock::mono_ns;
use crate::sys::process::{self, Fork, pid_t};
use crate::sys::{errno, signals};
use crate::{notice, warning};
use socket2::Socket;
use std::time::Duration;

/// A client that takes nothing for so long is gone.
const PATIENCE: Duration = Duration::from_secs(5);
/// A script stops after so many milliseconds where `busy-reply-threshold` names none.
const LIMIT_MS: u64 = 5000;

/// Runs EVAL under the debugger.
pub fn session(
    ctx: &mut Ctx<'_>,
    eval: impl FnOnce(&mut Ctx<'_>) -> Result<Flow, CmdError>,
) -> Result<Flow, CmdError> {
    let id = ctx.client;
    let c = &ctx.srv.clients[id];
    let forked = !c.has(flag::SCRIPT_DEBUG_SYNC);
    let Some(stream) = &c.conn.stream else { return eval(ctx) };
    let socket = if stream.is_tls() { Ok(None) } else { stream.duplicate().map(Some) };
    let socket = socket.map_err(|e| CmdError::text(format!("ERR {}", errno::text(&e))))?;
    if forked && !child(ctx)? {
        return Ok(Flow::Done);
    }
    if !forked {
        notice!("Redis synchronous debugging eval session started");
    }
    let again = socket.as_ref().map(|s| s.try_clone());
    let Some(console) = console(ctx, socket) else { return Ok(Flow::Close) };
    let limit_ms = match ctx.srv.config.busy_reply_threshold {
        0 => LIMIT_MS,
        ms => ms,
    };
    let limit_ns = limit_ms.saturating_mul(1_000_000);
    let debugger = Debugger::new(console, ctx.args[1], limit_ns, mono_ns());
    ctx.srv.scripting.debugger = Some(Box::new(debugger));
    let result = eval(ctx);
    let mut debugger = ctx.srv.scripting.debugger.take().expect("what runs a script gives it back");
    if let Err(e) = result
        && !matches!(e, CmdError::Replied)
    {
        ctx.out.error(e.as_str());
    }
    if forked {
        debugger.end(&ctx.out.take_bytes());
        notice!("Lua debugging session child exiting");
        process::exit_child(0);
    }
    debugger.end(b"");
    notice!("Redis synchronous debugging eval session ended");
    let restore = |s: Socket| s.set_nonblocking(true).and_then(|()| s.set_write_timeout(None));
    if let Some(Err(e)) = again.map(|again| again.and_then(restore)) {
        warning!("Can't restore the socket of a debugging session: {}", errno::text(&e));
        kill::kill(ctx.srv, id);
    }
    let session = debugger.into_console().into_stream();
    // The end of the connection is the end of the session for the client.
    if let Some(c) = ctx.srv.clients.get_mut(id) {
        c.conn.stream = session.or_else(|| c.conn.stream.take());
        c.clear(flag::SCRIPT_DEBUG | flag::SCRIPT_DEBUG_SYNC);
        c.set(flag::CLOSE_AFTER_REPLY);
    }
    Ok(Flow::Close)
}

/// What the debugger reads and writes: a copy of the socket, or the TLS session itself.
fn console(ctx: &mut Ctx<'_>, socket: Option<Socket>) -> Option<Box<dyn Console>> {
    let Some(socket) = socket else {
        let stream = ctx.srv.clients[ctx.client].conn.stream.take()?;
        return Some(Box::new(Patient::new(stream, PATIENCE)));
    };
    let blocks = socket.set_nonblocking(false).and_then(|()| socket.set_write_timeout(Some(PATIENCE)));
    if let Err(e) = blocks {
        warning!("Can't prepare the socket of a debugging session: {}", errno::text(&e));
    }
    Some(Box::new(socket))
}

/// Forks. True in the child; the parent is done with the client.
fn child(ctx: &mut Ctx<'_>) -> Result<bool, CmdError> {
    let (srv, id) = (&mut *ctx.srv, ctx.client);
    match process::fork() {
        Ok(Fork::Child) => {
            signals::ignore_shutdown();
            listen::leave(srv);
            apply::oom_score_of_child(srv);
            notice!("Redis forked for debugging eval");
            Ok(true)
        }
        Ok(Fork::Parent(pid)) => {
            srv.stats.total_forks += 1;
            srv.scripting.debugged.push(pid);
            // Only closed: the connection goes on in the child.
            if let Some(mut stream) = srv.clients[id].conn.stream.take() {
                stream.deregister(srv.reactor.registry());
            }
            kill::kill(srv, id);
            Ok(false)
        }
        Err(e) => {
            srv.clients[id].clear(flag::SCRIPT_DEBUG | flag::SCRIPT_DEBUG_SYNC);
            let why = errno::text(&e);
            Err(CmdError::text(format!("ERR Fork() failed: can't run EVAL in debugging mode: {why}")))
        }
    }
}

/// A child has ended; true when it was that of a session.
pub fn ended(srv: &mut Server, pid: pid_t) -> bool {
    let place = srv.scripting.debugged.iter().position(|p| *p == pid);
    place.map(|i| srv.scripting.debugged.swap_remove(i)).is_some()
}

/// At the end of the server.
pub fn kill_sessions(srv: &mut Server) {
    for pid in std::mem::take(&mut srv.scripting.debugged) {
        notice!("Killing debugging session {pid}");
        // It fails when the session has just ended by itself.
        let _ = process::kill(pid, libc::SIGKILL);
    }
}
