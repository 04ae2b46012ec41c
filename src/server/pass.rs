//! One turn of the loop. Re-entrant through one door (`nested`): a busy script or a load lets the loop turn
//! inside a command; the turn goes on with the events that the outer pass has not got to, and skips the
//! clients that execute. What it may do is a matter of `Execution`.
//!
//! ```text
//! before_sleep: write, reap ─► wait ─► accept, read and run, mark for writing ─► cron
//! ```
//!
//! Between reading and running stand the next clients' reads: what was read is parsed and its memory
//! fetched (`batch::prepare`, `warm`), and when its turn comes it has arrived.
//!
//! ```text
//! read C: buckets ─► read D: C's entries ─► read E: C runs
//! ```

use super::{
    Server, auth, batch, before_sleep, blocking, bus, child, client_info, cron, defrag, evict,
    expire_cycle, kill, link, main_channel, rewrite, sentinel, tls, transfer,
};
use crate::clients::conn::IoCtx;
use crate::clients::{Client, ClientId, flag};
use crate::net::listeners::TLS;
use crate::net::reactor::{self, Ready, Source, source};
use crate::net::stream::{Read, Stream};
use crate::sys::clock::{mono_ns, ticks};
use crate::sys::signals;
use std::io::ErrorKind;
use std::time::Duration;

/// Connections accepted per event, so that a flood of new clients does not starve the connected ones.
const ACCEPTS: usize = 1000;
/// When descriptors have run out, connections are accepted again after this time.
const ACCEPT_RETRY_MS: u64 = 100;
/// Reads of one client per pass; the rest waits on the list.
const READS: usize = 4;
/// Clients that are read before the first of them runs.
const LOOK_AHEAD: usize = 2;

/// The pass under way, for its figures.
#[derive(Debug, Default)]
pub struct LoopCycle {
    /// The counter's reading when the loop woke, and the commands counted until then.
    ticks: u64,
    commands: u64,
}

/// Why a command lets the loop turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Interrupt {
    Script,
    Load,
}

/// Serves until the process ends.
pub fn serve(srv: &mut Server) {
    loop {
        turn(srv, None);
    }
}

/// The only way to let the loop turn inside a command: one pass that does not wait, with a clock of its
/// own. What is interrupted goes on at the instant it began; only `unix_us` follows the wall, or a script
/// that waits for TIME would never end.
pub fn nested(srv: &mut Server, why: Interrupt) {
    let (clock, now) = (srv.clock.clone(), srv.ks.now_ms);
    let settled = srv.ks.fx.is_empty();
    debug_assert!(settled || why == Interrupt::Load, "effects are settled before the loop turns");
    let outer = srv.execution.enter_nested();
    turn(srv, Some(Duration::ZERO));
    srv.execution.leave_nested(outer);
    debug_assert!(!settled || srv.ks.fx.is_empty(), "a nested pass changes nothing");
    let wall = srv.clock.unix_us;
    (srv.clock, srv.ks.now_ms) = (clock, now);
    srv.clock.unix_us = wall;
}

/// How long the loop may wait for events: at most `patience`, and not at all while there is work.
fn until_due(srv: &Server, patience: Duration) -> Duration {
    let until_cron = srv.cron.next_ms.saturating_sub(mono_ns() / 1_000_000);
    let mut timeout = Duration::from_millis(until_cron).min(patience);
    if let Some(at) = srv.blocked.next_timeout() {
        timeout = timeout.min(Duration::from_millis((at - crate::sys::clock::unix_ms()).max(0) as u64));
    }
    if let Some(ms) = sentinel::due_in(srv) {
        timeout = timeout.min(Duration::from_millis(ms));
    }
    if srv.net.accept_again_ms > 0 {
        let wait = srv.net.accept_again_ms.saturating_sub(mono_ns() / 1_000_000);
        timeout = timeout.min(Duration::from_millis(wait));
    }
    let sliced = srv.expire_cycle.is_under_way() || srv.defrag.is_under_way();
    let busy = srv.execution.between_passes() && (srv.eviction.running || sliced);
    let transfers = srv.transfer.as_ref().is_some_and(transfer::Transfer::has_work);
    let mut syncs = srv.master_link.has_work() || transfers || srv.tls.handshakes.has_ready();
    if let Some(bus) = &srv.bus {
        let wait = bus.next_tick_ms().saturating_sub(mono_ns() / 1_000_000);
        timeout = timeout.min(Duration::from_millis(wait));
        syncs |= bus.has_work();
    }
    match srv.clients.to_read.is_empty() && srv.clients.to_write.is_empty() && !busy && !syncs {
        true => timeout,
        false => Duration::ZERO,
    }
}

/// One pass; `patience` bounds the wait for events (None: until the next timer).
pub fn turn(srv: &mut Server, patience: Option<Duration>) {
    before_sleep::run(srv);
    cycle_ends(srv);
    let timeout = until_due(srv, patience.unwrap_or(Duration::MAX));
    let bound = srv.config.busy_poll_us * 1000;
    if let Some(polled) = srv.reactor.wait(timeout, bound, &srv.clock) {
        srv.stats.busy_polls += 1;
        srv.stats.busy_poll_hits += u64::from(polled.hit);
        srv.stats.busy_poll_ticks += polled.ticks;
    }
    srv.execution.ticks = srv.clock.sync();
    if srv.execution.between_passes() {
        (srv.cycle.ticks, srv.cycle.commands) = (srv.execution.ticks, srv.stats.commands);
        srv.eviction.new_pass();
    }
    srv.ks.now_ms = srv.clock.unix_ms;
    srv.execution.enter_pass();
    // One queue for all depths: edges come once, so a nested pass takes over what the outer one has not
    // got to.
    while let Some(e) = srv.reactor.next_event() {
        handle(srv, e);
    }
    while run_arrival(srv) {}
    for _ in 0..srv.clients.to_read.len() {
        let Some(id) = srv.clients.to_read.pop_front() else { break };
        if let Some(c) = srv.clients.get_mut(id) {
            c.clear(flag::TO_READ);
            // What has been parsed ahead is run by `readable` first.
            if !c.has(flag::ARRIVED) {
                blocking::resume(srv, id);
            }
            readable(srv, id);
        }
    }
    // Nothing that has arrived waits while the loop sleeps.
    while run_arrival(srv) {}
    serve_links(srv);
    if srv.net.accept_again_ms > 0 && srv.clock.mono_ms >= srv.net.accept_again_ms {
        srv.net.accept_again_ms = 0;
        srv.net.tokens().into_iter().for_each(|n| accept(srv, n));
    }
    if !srv.blocked.is_empty() {
        blocking::expire(srv);
    }
    if srv.eviction.running && !srv.execution.in_nested_pass() {
        evict::resume(srv);
    }
    if srv.expire_cycle.is_under_way() && srv.execution.owns_data() {
        expire_cycle::go_on(srv);
    }
    if srv.defrag.is_under_way() && srv.execution.owns_data() {
        defrag::go_on(srv);
    }
    if (srv.aof.rewrite.handover.is_some() || srv.aof.rewrite.awaited) && srv.execution.owns_data() {
        rewrite::proceed(srv);
    }
    if srv.clock.mono_ms >= srv.cron.next_ms {
        cron::run(srv);
    }
    srv.execution.leave_pass();
}

/// What is under way with other servers, and on connections that are not open yet.
fn serve_links(srv: &mut Server) {
    if srv.tls.handshakes.has_ready() {
        tls::drive(srv);
    }
    if srv.master_link.has_work() && srv.execution.owns_data() {
        link::drive(srv);
    }
    if srv.transfer.as_ref().is_some_and(transfer::Transfer::has_work) {
        transfer::drive(srv);
    }
    if srv.bus.is_some() {
        bus::turn(srv);
    }
    if srv.sentinel.is_some() {
        sentinel::drive(srv);
    }
}

/// Books the pass that began when the loop woke, replies and all.
fn cycle_ends(srv: &mut Server) {
    if !srv.execution.between_passes() || srv.cycle.ticks == 0 {
        return;
    }
    let us = srv.clock.ns(ticks().saturating_sub(srv.cycle.ticks)) / 1000;
    let commands = srv.stats.commands.saturating_sub(srv.cycle.commands);
    let s = &mut srv.stats;
    s.eventloop_cycles += 1;
    s.eventloop_us += us;
    s.eventloop_max_us = s.eventloop_max_us.max(us);
    s.commands_per_cycle_max = s.commands_per_cycle_max.max(commands);
}

fn handle(srv: &mut Server, e: Ready) {
    match source(e.token) {
        Source::Extra(reactor::SIGNALS) => signalled(srv),
        Source::Extra(reactor::LINK) => link::ready(srv, &e),
        Source::Extra(reactor::RDB_CHANNEL) => link::channel_ready(srv, &e),
        Source::Extra(reactor::TRANSFER) => transfer::ready(srv),
        Source::Extra(n) if n >= reactor::SENTINEL => sentinel::ready(srv, n - reactor::SENTINEL, &e),
        Source::Extra(n) if n >= reactor::BUS => bus::ready(srv, n, &e),
        Source::Extra(_) => {}
        Source::Listener(n) => accept(srv, n),
        Source::Client { index, generation } => {
            let id = ClientId { index, generation };
            let Some(c) = srv.clients.get_mut(id) else { return };
            let Some(stream) = &mut c.conn.stream else { return };
            let allowed = stream.signalled(&e);
            // The event comes once, and the read that finds the end may be later: the flag keeps it.
            c.conn.hung_up |= e.closed;
            if c.has(flag::HANDSHAKING) {
                if allowed.read {
                    srv.tls.handshakes.signalled(id, srv.clock.mono_ms);
                }
                return;
            }
            if allowed.write && c.conn.write_blocked {
                c.conn.write_blocked = false;
                srv.clients.wants_write(id);
            }
            if allowed.read {
                readable(srv, id);
            }
        }
    }
}

/// A handler has written: a child has ended, or a shutdown is asked for, which the cron does at the end of
/// this pass.
fn signalled(srv: &mut Server) {
    let mut bytes = [0; 64];
    if let Some((_, from_handlers)) = &mut srv.net.signals {
        // Reads until the pipe is empty; it is from the start when another pass has drained it.
        while std::io::Read::read(from_handlers, &mut bytes).is_ok_and(|n| n > 0) {}
    }
    if signals::shutdown_asked().is_some() {
        srv.cron.next_ms = 0;
    }
    // Not inside of a command: the end of a save or a rewrite changes what the command works with.
    if srv.execution.owns_data() {
        child::reap(srv);
    }
}

fn accept(srv: &mut Server, n: usize) {
    let secure = n >= TLS;
    for _ in 0..ACCEPTS {
        if secure && !tls::has_room(srv) {
            srv.net.accept_again_ms = srv.clock.mono_ms + 1;
            return;
        }
        let Some(l) = srv.net.listener(n) else { return };
        match l.accept() {
            Ok(stream) if secure => tls::welcome(srv, stream),
            Ok(stream) => welcome(srv, stream),
            Err(e) if e.kind() == ErrorKind::WouldBlock => return,
            Err(e) if e.kind() == ErrorKind::Interrupted => {}
            Err(e) => {
                // Without descriptors nothing signals again: what waits is tried again by the clock.
                crate::warning!("Accepting client connection: {}", crate::sys::errno::text(&e));
                srv.net.accept_again_ms = srv.clock.mono_ms + ACCEPT_RETRY_MS;
                return;
            }
        }
    }
    srv.net.accept_again_ms = srv.clock.mono_ms.max(1);
}

/// A connection has been accepted. Between the two halves a kind of stream with a handshake has it (`tls`):
/// the client then holds a slot and a place in the reactor, and nothing else.
fn welcome(srv: &mut Server, mut stream: Stream) {
    if let Some(why) = refusal(srv, &stream) {
        srv.stats.rejected_connections += 1;
        // The connection is closed either way, so a failed write changes nothing.
        let _ = stream.write(why.as_bytes());
        return;
    }
    if let Some(id) = admit(srv, stream) {
        greet(srv, id);
    }
}

/// The error line for a connection that is not accepted; None for one that is.
fn refusal(srv: &Server, stream: &Stream) -> Option<&'static str> {
    if is_full(srv) {
        return Some(match srv.bus {
            Some(_) => "-ERR max number of clients + cluster connections reached\r\n",
            None => "-ERR max number of clients reached\r\n",
        });
    }
    denial(srv, stream)
}

/// Are there as many clients as `maxclients` allows?
pub fn is_full(srv: &Server) -> bool {
    let nodes = srv.cluster().map_or(0, |c| c.link_count());
    (srv.clients.connected() + nodes) as u64 >= srv.config.maxclients
}

/// Protected mode: the error line for a client that it does not let in.
pub fn denial(srv: &Server, stream: &Stream) -> Option<&'static str> {
    let open = !srv.config.protected_mode || auth::passwords(srv) || stream.is_local();
    if open { None } else { Some(DENIED) }
}

/// Gives the connection a slot and its events.
pub fn admit(srv: &mut Server, mut stream: Stream) -> Option<ClientId> {
    stream.tune(srv.config.tcp_keepalive);
    let id = srv.clients.add(Client::new(srv.clock.unix_ms));
    if stream.register(srv.reactor.registry(), mio::Token(id.token())).is_err() {
        srv.clients.remove(id);
        return None;
    }
    srv.clients.attach(id, stream);
    Some(id)
}

/// The connection can speak: it is counted, and its session begins.
pub fn greet(srv: &mut Server, id: ClientId) {
    srv.stats.connections += 1;
    auth::default_user(srv, id);
}

/// Protected mode: no password, and the peer is not on this machine.
const DENIED: &str = "-DENIED Redis is running in protected mode because protected mode is enabled and \
    no password is set for the default user. In this mode connections are only accepted from the \
    loopback interface. If you want to connect from external computers to Redis you may adopt one of the \
    following solutions: 1) Just disable protected mode sending the command 'CONFIG SET protected-mode \
    no' from the loopback interface by connecting to Redis from the same host the server is running, \
    however MAKE SURE Redis is not publicly accessible from internet if you do so. Use CONFIG REWRITE to \
    make this change permanent. 2) Alternatively you can just disable the protected mode by editing the \
    Redis configuration file, and setting the protected mode option to 'no', and then restarting the \
    server. 3) If you started the server manually just for testing, restart it with the \
    '--protected-mode no' option. 4) Set up an authentication password for the default user. NOTE: You \
    only need to do one of the above things in order for the server to start accepting connections from \
    the outside.\r\n";

/// A client whose input waits to be run.
pub struct Arrival {
    id: ClientId,
    got: Got,
    prepared: Option<batch::Scratch>,
}

/// Reads what the client sent; it runs when the memory it needs has arrived, or the pass has nothing
/// else to read.
fn readable(srv: &mut Server, id: ClientId) {
    let Some(c) = srv.clients.get(id) else { return };
    if c.has(flag::ARRIVED) {
        // In a nested pass the client's last input may not have run yet: it runs before the next read.
        while run_arrival(srv) {}
    }
    let Some(c) = srv.clients.get(id) else { return };
    if c.has(flag::DYING | flag::CLOSE_AFTER_REPLY) {
        return;
    }
    if c.has(flag::EXECUTING) || c.has(flag::MASTER) && srv.execution.in_nested_pass() {
        return srv.clients.wants_read(id);
    }
    let got = read_once(srv, id);
    if matches!(got, Got::End) {
        return kill::kill(srv, id);
    }
    let prepared = batch::prepare(srv, id);
    if let Some(Arrival { id, prepared: Some(s), .. }) = srv.arrivals.back() {
        batch::warm(srv, *id, s);
    }
    srv.clients[id].set(flag::ARRIVED);
    srv.arrivals.push_back(Arrival { id, got, prepared });
    if srv.arrivals.len() > LOOK_AHEAD {
        run_arrival(srv);
    }
}

/// Runs the oldest arrival; false when there is none.
fn run_arrival(srv: &mut Server) -> bool {
    let Some(Arrival { id, mut got, mut prepared }) = srv.arrivals.pop_front() else {
        return false;
    };
    if srv.arrivals.is_empty()
        && let Some(s) = &prepared
    {
        batch::warm(srv, id, s);
    }
    if let Some(c) = srv.clients.get_mut(id) {
        c.clear(flag::ARRIVED);
    }
    for reads in 1.. {
        let goes_on = batch::process_input(srv, id, prepared.take());
        match got {
            Got::Nothing => return true,
            Got::Some if srv.clients.get(id).is_none_or(|c| !c.conn.hung_up) => return true,
            Got::More if !goes_on => break,
            _ => {}
        }
        if reads == READS || srv.clients.get(id).is_none_or(|c| c.has(flag::EXECUTING)) {
            break;
        }
        got = read_once(srv, id);
        if matches!(got, Got::End) {
            kill::kill(srv, id);
            return true;
        }
    }
    srv.clients.wants_read(id);
    true
}

enum Got {
    /// There may be more.
    More,
    /// Something, and the socket is drained.
    Some,
    Nothing,
    /// The peer is gone, or the buffer went past its limit.
    End,
}

fn read_once(srv: &mut Server, id: ClientId) -> Got {
    if !srv.master_link.held().is_empty() && srv.master_link.client() == Some(id) {
        return if main_channel::feed(srv, id) { Got::More } else { Got::Nothing };
    }
    let now = srv.clock.unix_secs() as u32;
    let Some((conn, pool)) = srv.clients.conn_and_pool(id) else { return Got::End };
    let got = match conn.receive(&mut IoCtx { pool, traffic: &mut srv.stats.traffic, now }) {
        Ok(Read::Drained(0)) => return Got::Nothing,
        Ok(Read::Drained(_)) => Got::Some,
        Ok(Read::More(_)) => Got::More,
        Ok(Read::End) => return ended(srv, id),
        Err(e) => {
            crate::verbose!("Reading from client: {}", crate::sys::errno::text(&e));
            return Got::End;
        }
    };
    let unparsed = conn.input.unparsed() as u64;
    if unparsed > srv.config.client_query_buffer_limit && !srv.clients[id].has(flag::MASTER) {
        query_limit_reached(srv, id);
        return Got::End;
    }
    got
}

#[cold]
fn ended(srv: &mut Server, id: ClientId) -> Got {
    let c = &srv.clients[id];
    // What came right before the end is answered before the end is acted upon.
    if c.has(flag::TO_WRITE) && !c.conn.write_blocked {
        srv.clients.wants_read(id);
        return Got::Nothing;
    }
    crate::verbose!("Client closed connection {}", client_info::line(srv, id, &[]));
    Got::End
}

#[cold]
fn query_limit_reached(srv: &mut Server, id: ClientId) {
    srv.stats.query_limit_disconnections += 1;
    let c = &srv.clients[id];
    let begin = &c.conn.input.buf[c.conn.input.buf.len() - c.conn.input.unparsed()..];
    let begin = crate::algo::quote::repr(&begin[..begin.len().min(64)]);
    let line = client_info::line(srv, id, &[]);
    crate::warning!(
        "Closing client that reached max query buffer length: {line} (qbuf initial bytes: {begin})"
    );
}
