//! Blocking: parking a client's request, and running it again when a key it waits for is ready.
//!
//! ```text
//! handler ─► ctx.block ─► Flow::Block ─► parked with its arguments
//! unit leaves a ready key ─► serve: each waiting client, first come first, dispatched once more
//! timeout or CLIENT UNBLOCK ─► the reply of nothing, or UNBLOCKED
//! ```

use super::{Server, acks, batch, call, dispatch, pause, policy, slow};
use crate::blocked::{Block, Wait};
use crate::clients::{ClientId, flag};
use crate::cmd::row::Flow;
use crate::proto::args::{Args, Key};
use crate::proto::reply::Reply;
use crate::server::ctx::Ctx;

impl Ctx<'_> {
    /// May this caller wait? Not inside EXEC, a script or a module's call.
    pub fn may_block(&self) -> bool {
        !self.srv.clients[self.client].has(flag::DENY_BLOCKING | flag::PSEUDO | flag::SCRIPT)
    }

    /// Parks the caller until one of `keys` is ready or `deadline` (Unix ms, 0: never) has come.
    pub fn block(&mut self, wait: Wait, keys: &[&[u8]], deadline: i64) -> Flow {
        self.block_as(wait, keys, deadline, None)
    }

    /// The same; a retry runs `others` instead of the arguments that the client sent, when given.
    pub fn block_as(
        &mut self,
        wait: Wait,
        keys: &[&[u8]],
        deadline: i64,
        others: Option<Vec<Box<[u8]>>>,
    ) -> Flow {
        debug_assert!(self.may_block());
        let came = self.args.to_owned();
        let (args, original) = match others {
            Some(others) => (others, Some(came)),
            None => (came, None),
        };
        let b = Block {
            wait,
            db: self.db,
            keys: keys.iter().map(|k| Box::from(*k)).collect(),
            deadline,
            cmd: self.cmd,
            args,
            original,
            spent: 0,
        };
        enlist(self.srv, self.client, b);
        self.srv.clients[self.client].set(flag::BLOCKED);
        policy::refresh(self.srv);
        Flow::Block
    }
}

/// The client waits, and the keyspace knows for which keys.
fn enlist(srv: &mut Server, id: ClientId, b: Block) {
    b.keys.iter().for_each(|key| srv.ks.awaited.add(key));
    srv.blocked.add(id, b);
}

/// The client waits for nothing any more; what it waited for.
pub fn delist(srv: &mut Server, id: ClientId) -> Option<Block> {
    let b = srv.blocked.remove(id)?;
    b.keys.iter().for_each(|key| srv.ks.awaited.remove(key));
    Some(b)
}

/// Serves ready keys, and those that this makes ready.
pub fn serve(srv: &mut Server) {
    while let Some((db, key)) = srv.blocked.next_ready() {
        // `last` ends the loop: a client that blocks again on this key is behind it, and is not retried
        // for the same signal.
        let (mut after, last) = (0, srv.blocked.last_seq());
        while let Some((seq, id)) = srv.blocked.next_in_line(db, &key, after, last) {
            after = seq;
            let entry = srv.ks.peek(db, Key::new(&key)).filter(|e| !srv.ks.is_expired(*e));
            if entry.is_none() && !srv.blocked.wakes_without(db, &key) {
                break;
            }
            let ty = entry.map(|e| e.ty());
            if srv.blocked.get(id).is_some_and(|b| b.wait.wakes(ty)) {
                retry(srv, id);
            }
        }
    }
}

/// Runs a parked request again. When that blocks once more, the deadline and the words that the client
/// sent stay those of the first time.
pub fn retry(srv: &mut Server, id: ClientId) {
    let Some(b) = unpark(srv, id) else { return };
    let argv: Vec<&[u8]> = b.args.iter().map(|a| &a[..]).collect();
    let c = &mut srv.clients[id];
    c.set(flag::EXECUTING | flag::REPROCESSING);
    let mut out = std::mem::take(&mut c.conn.out);
    let outer = srv.execution.set_current(Some(id));
    let (flow, spent) = dispatch::run_again(srv, id, b.cmd, Args::new(&argv), b.spent, &mut out);
    srv.execution.set_current(outer);
    let c = &mut srv.clients[id];
    c.clear(flag::REPROCESSING);
    match flow {
        Flow::Block => srv.blocked.carry_over(id, b),
        Flow::Postponed => {
            // The server rests: the request waits on no key any more, only for the end of the pause.
            c.set(flag::BLOCKED);
            enlist(srv, id, Block { keys: Vec::new(), ..b });
            pause::postpone(srv, id);
        }
        Flow::Done | Flow::Close => log_slow(srv, id, &b, spent),
    }
    finish(srv, id, out, !matches!(flow, Flow::Block | Flow::Postponed));
}

/// The slow log shows a request that had to wait as it came, with the time of all its attempts.
fn log_slow(srv: &mut Server, id: ClientId, b: &Block, spent: u64) {
    if spent > srv.slowlog.threshold_ticks {
        let came = b.original.as_ref().unwrap_or(&b.args);
        let came: Vec<&[u8]> = came.iter().map(|a| &a[..]).collect();
        slow::log(srv, id, b.cmd, &came, spent);
    }
}

fn unpark(srv: &mut Server, id: ClientId) -> Option<Block> {
    let b = delist(srv, id)?;
    srv.clients.get_mut(id)?.clear(flag::BLOCKED);
    Some(b)
}

/// Gives the reply back; when the request is over, what the client sent meanwhile is run in this pass.
fn finish(srv: &mut Server, id: ClientId, mut out: Reply, over: bool) {
    let c = &mut srv.clients[id];
    if over && c.has(dispatch::AFTER_REQUEST) {
        dispatch::after_request(srv, id, &mut out);
    }
    batch::take_pushes(srv, id, &mut out);
    let c = &mut srv.clients[id];
    c.clear(flag::EXECUTING);
    c.conn.out = out;
    if !srv.clients[id].conn.out.is_empty() {
        srv.clients.wants_write(id);
    }
    if over {
        srv.clients.wants_read(id);
        policy::refresh(srv);
    }
}

/// Ends the wait of all clients whose timeout has passed.
pub fn expire(srv: &mut Server) {
    for id in srv.blocked.timed_out(srv.clock.unix_ms) {
        release(srv, id, None);
    }
}

/// Ends a wait without the key: with the error, with the reply of nothing, or with what WAIT has reached.
pub fn release(srv: &mut Server, id: ClientId, error: Option<&str>) -> bool {
    let Some(b) = unpark(srv, id) else { return false };
    // The duration of the call is that of its attempts, without the time it waited.
    call::count_call(srv, b.cmd, b.spent);
    srv.cmdstats[usize::from(b.cmd)].failed += u64::from(error.is_some());
    log_slow(srv, id, &b, b.spent);
    let mut out = std::mem::take(&mut srv.clients[id].conn.out);
    match (error, b.wait) {
        (Some(e), _) => out.error(e),
        (None, Wait::Replicas(w)) => acks::answer(&mut out, &w, acks::count(srv, &w)),
        (None, _) => out.null_array(),
    }
    for e in out.take_errors() {
        srv.stats.count_error(&e);
    }
    finish(srv, id, out, true);
    true
}

/// Runs what clients sent while they were blocked; before that, what a pause held up when a key was ready.
pub fn resume(srv: &mut Server, id: ClientId) {
    let held_up = |b: &Block| b.keys.is_empty() && matches!(b.wait, Wait::Key { .. } | Wait::Rewrite);
    if srv.blocked.get(id).is_some_and(held_up) && !srv.clients[id].has(flag::PAUSED) {
        retry(srv, id);
    }
    if srv.clients.get(id).is_some_and(|c| c.conn.input.unread() > 0) {
        batch::process_input(srv, id, None);
    }
    if let Some(c) = srv.clients.get_mut(id) {
        c.clear(flag::WAS_PAUSED);
    }
}
