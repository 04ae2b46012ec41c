//! What happens `hz` times a second.

use super::{
    Server, ServerStates, aof, child, defrag, expire_cycle, jobs, limits, link, master, pause, rewrite,
    shutdown, targets, tls, tracking,
};
use crate::clients::{ClientId, flag};
use crate::proto::reply::CHUNK;
use crate::sys::clock::{mono_ns, ticks};
use crate::sys::crash;

/// Clients looked at each time, however few there are (CLIENTS_CRON_MIN_ITERATIONS).
const CLIENTS_AT_LEAST: usize = 5;
/// A query buffer with less room to spare stays as it is.
const QUERY_WASTE: usize = 4 * 1024;
/// A larger query buffer follows its peak (PROTO_RESIZE_THRESHOLD).
const QUERY_RESIZE: usize = 32 * 1024;
/// After more silence than this a client needs no query buffer.
const IDLE_SECONDS: i64 = 2;
/// Smallest first reply buffer (PROTO_REPLY_MIN_BYTES), and the steps in which it grows.
const REPLY_LEAST: u32 = 1024;
const REPLY_STEP: u32 = 256;

/// When the cron runs, and what it goes through bit by bit.
#[derive(Debug, Default)]
pub struct Cron {
    pub hz: u64,
    pub loops: u64,
    /// Monotonic milliseconds of the next tick.
    pub next_ms: u64,
    /// The slot of clients that was looked at last in this round.
    pub client: usize,
    /// Largest buffers of any client in each of the last eight seconds.
    pub recent_input: [usize; 8],
    pub recent_output: [usize; 8],
}

pub fn run(srv: &mut Server) {
    srv.cron.loops += 1;
    let begun = ticks();
    if srv.config.watchdog_period > 0 {
        crash::rearm_watchdog(u32::try_from(srv.config.watchdog_period).unwrap_or(u32::MAX));
    }
    let hz = frequency(srv);
    srv.cron.next_ms = srv.clock.mono_ms + 1000 / hz;
    if srv.cron.loops.is_multiple_of(hz) {
        srv.clock.calibrate();
    }
    if srv.switches.pause_cron {
        return;
    }
    let now = srv.clock.mono_ms;
    if srv.cron.loops.is_multiple_of((hz / 10).max(1)) {
        let s = &mut srv.stats;
        s.instant_ops.sample(now, s.commands);
        s.instant_in.sample(now, s.traffic.input + s.net_repl_input);
        s.instant_out.sample(now, s.traffic.output + s.net_repl_output);
        s.instant_repl_in.sample(now, s.net_repl_input);
        s.instant_repl_out.sample(now, s.net_repl_output);
        s.instant_cycles.sample(now, s.eventloop_cycles);
        s.instant_cycle_us.sample_average(s.eventloop_us, s.eventloop_cycles);
    }
    // A pass inside a command leaves the data alone: cron itself runs at depth 1.
    if srv.execution.owns_data() {
        expire_cycle::slow(srv);
        expire_cycle::run_own(srv);
        databases(srv);
        defrag::tick(srv);
    }
    tls::cron(srv);
    if srv.execution.owns_data() {
        persistence(srv);
        if srv.cron.loops.is_multiple_of(hz) {
            link::tick(srv);
            master::cron(srv);
            targets::cron(srv);
            tls::each_second(srv);
        } else if srv.repl.failover.is_in_progress() && srv.cron.loops.is_multiple_of((hz / 10).max(1)) {
            // Clients wait for the new master.
            link::tick(srv);
        }
    }
    tracking::limit(srv);
    pause::update(srv);
    clients(srv);
    shutdown::cron(srv);
    srv.stats.eventloop_cron_us += srv.clock.ns(ticks().saturating_sub(begun)) / 1000;
}

/// Children that ended, saves and rewrites that are due, writes to be tried again.
fn persistence(srv: &mut Server) {
    child::reap(srv);
    aof::cron(srv);
    if srv.states.has(ServerStates::LOADING) {
        // A part of a dataset is not saved.
        return;
    }
    rewrite::scheduled(srv);
    jobs::save_points(srv);
    rewrite::grown(srv);
    jobs::scheduled(srv);
}

/// Clients that one tick should look at, at most.
const CLIENTS_PER_TICK: u64 = 200;

/// `dynamic-hz`: more clients, more ticks.
fn frequency(srv: &mut Server) -> u64 {
    let mut hz = srv.config.hz.clamp(1, 500);
    if srv.config.dynamic_hz {
        while srv.clients.connected() as u64 / hz > CLIENTS_PER_TICK && hz < 500 {
            hz = (hz * 2).min(500);
        }
    }
    srv.cron.hz = hz;
    hz
}

/// Resizes sparse tables and spends a millisecond on rehashing.
fn databases(srv: &mut Server) {
    srv.ks.shrink_sparse();
    if !srv.config.activerehashing {
        return;
    }
    let until = mono_ns() + 1_000_000;
    srv.ks.rehash_until(|| mono_ns() > until);
}

/// Looks at each client once a second, at a share of them each time.
fn clients(srv: &mut Server) {
    // The next second's peaks begin at nothing.
    let next = (srv.clock.unix_secs() as usize + 1) % srv.cron.recent_input.len();
    (srv.cron.recent_input[next], srv.cron.recent_output[next]) = (0, 0);
    let n = srv.clients.connected();
    let share = (n / srv.cron.hz.max(1) as usize).max(CLIENTS_AT_LEAST.min(n));
    let slots = srv.clients.slots();
    let (mut seen, mut looked) = (0, 0);
    while seen < share && looked < slots {
        looked += 1;
        srv.cron.client = (srv.cron.client + 1) % slots;
        let Some(id) = srv.clients.at(srv.cron.client) else { continue };
        if srv.clients.live(id).is_some_and(|c| c.conn.stream.is_some()) {
            seen += 1;
            client(srv, id);
        }
    }
    if srv.cron.loops.is_multiple_of(srv.cron.hz.max(1)) {
        srv.clients.pool.trim();
    }
}

fn client(srv: &mut Server, id: ClientId) {
    if limits::idle_for_too_long(srv, id) {
        return;
    }
    if !srv.clients[id].has(flag::EXECUTING) {
        fit_query_buffer(srv, id);
        fit_reply_buffer(srv, id);
    }
    limits::account(srv, id);
    let c = &srv.clients[id];
    let (input, output) = (c.conn.input.buf.capacity(), c.conn.out.list().1);
    let slot = srv.clock.unix_secs() as usize % srv.cron.recent_input.len();
    srv.cron.recent_input[slot] = srv.cron.recent_input[slot].max(input);
    srv.cron.recent_output[slot] = srv.cron.recent_output[slot].max(output);
    limits::check_output(srv, id, true);
}

/// A silent client gives its query buffer back; one that needs far less than it has gets a smaller one.
fn fit_query_buffer(srv: &mut Server, id: ClientId) {
    let now = srv.clock.unix_secs();
    let idle = now - i64::from(srv.clients[id].conn.last_seen);
    let i = &mut srv.clients[id].conn.input;
    let (room, peak) = (i.buf.capacity(), i.query_peak as usize);
    if room - i.buf.len() > QUERY_WASTE && idle > IDLE_SECONDS {
        if i.buf.is_empty() {
            let b = std::mem::take(&mut i.buf);
            srv.clients.pool.give_query(b);
        } else {
            i.buf.shrink_to_fit();
        }
    } else if room > QUERY_RESIZE && room / 2 > peak {
        // Not below what is being read into it.
        let wanted = i.state.pending_bulk().map_or(0, |b| i.state.at() + b + 2);
        i.buf.shrink_to(peak.max(wanted));
    }
    let i = &mut srv.clients[id].conn.input;
    let wanted = i.state.pending_bulk().map_or(0, |b| i.state.at() + b + 2);
    i.query_peak = u32::try_from(i.buf.len().max(wanted)).unwrap_or(u32::MAX);
}

/// The first reply buffer doubles when it was full, and shrinks to what was needed when that was less
/// than half.
fn fit_reply_buffer(srv: &mut Server, id: ClientId) {
    if !srv.switches.reply_resizing {
        return;
    }
    let (now, reset) = (srv.clock.unix_ms, srv.switches.reply_peak_reset_ms);
    let c = &mut srv.clients[id];
    let (class, peak) = (c.reply_class, c.reply_peak);
    if class / 2 >= REPLY_LEAST && peak < class / 2 {
        c.reply_class = REPLY_LEAST.max(peak + 1).next_multiple_of(REPLY_STEP);
        srv.stats.reply_buffer_shrinks += 1;
    } else if class * 2 < CHUNK as u32 * 2 && peak == class {
        c.reply_class = (class * 2).min(CHUNK as u32);
        srv.stats.reply_buffer_expands += 1;
    }
    if reset >= 0 && now - c.reply_peak_ms >= reset {
        c.reply_peak = c.conn.out.first_len() as u32;
        c.reply_peak_ms = now;
    }
}
