//! What happens `hz` times a second.

use super::{Server, expire_cycle, shutdown, slow};
use crate::clients::flag;
use crate::sys::clock::{mono_ns, ticks};
use crate::sys::crash;

pub fn run(srv: &mut Server) {
    srv.run.cron_loops += 1;
    let begun = ticks();
    if srv.config.watchdog_period > 0 {
        crash::rearm_watchdog(u32::try_from(srv.config.watchdog_period).unwrap_or(u32::MAX));
    }
    let hz = frequency(srv);
    srv.run.next_cron_ms = srv.clock.mono_ms + 1000 / hz;
    if srv.run.cron_loops.is_multiple_of(hz) {
        srv.clock.calibrate();
    }
    if srv.switches.pause_cron {
        return;
    }
    let now = srv.clock.mono_ms;
    if srv.run.cron_loops.is_multiple_of((hz / 10).max(1)) {
        let s = &mut srv.stats;
        s.instant_ops.sample(now, s.commands);
        s.instant_in.sample(now, s.net_input);
        s.instant_out.sample(now, s.net_output);
        s.instant_cycles.sample(now, s.eventloop_cycles);
        s.instant_cycle_us.sample_average(s.eventloop_us, s.eventloop_cycles);
    }
    // A pass inside a command leaves the data alone: cron itself runs at depth 1.
    if srv.run.pass_depth <= 1 && srv.run.nesting == 0 {
        let before = srv.stats.expire_cycle_cpu_us;
        expire_cycle::run(srv, expire_cycle::Kind::Slow);
        let spent = srv.stats.expire_cycle_cpu_us.saturating_sub(before);
        slow::sample(srv, "expire-cycle", spent / 1000);
        databases(srv);
    }
    super::jobs::reap(srv);
    clients(srv);
    track_buffers(srv);
    shutdown::by_signal(srv);
    srv.stats.eventloop_cron_us += srv.clock.ns(ticks().saturating_sub(begun)) / 1000;
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
    srv.run.hz = hz;
    hz
}

/// Remembers the largest buffers of the last seconds.
fn track_buffers(srv: &mut Server) {
    let second = srv.clock.unix_secs().rem_euclid(8) as usize;
    let next = (second + 1) % 8;
    (srv.run.recent_input[next], srv.run.recent_output[next]) = (0, 0);
    for (_, c) in srv.clients.iter() {
        let (input, output) = (&mut srv.run.recent_input[second], &mut srv.run.recent_output[second]);
        *input = (*input).max(c.query_memory().0);
        *output = (*output).max(c.out.list().1);
    }
}

/// Resizes sparse tables and spends a millisecond on rehashing.
fn databases(srv: &mut Server) {
    for db in &mut srv.ks.dbs {
        db.measured(|d| d.shrink_if_sparse());
    }
    if !srv.config.activerehashing {
        return;
    }
    let until = mono_ns() + 1_000_000;
    for db in &mut srv.ks.dbs {
        while db.dict.is_rehashing() {
            db.measured(|d| d.rehash(32));
            if mono_ns() > until {
                return;
            }
        }
    }
}

/// Gives back the buffers of clients that have been silent for two seconds.
fn clients(srv: &mut Server) {
    let now = srv.clock.unix_secs() as u32;
    for id in srv.clients.ids() {
        let c = &mut srv.clients[id];
        let silent = now.saturating_sub(c.last_seen) >= 2 && c.input.unread() == 0;
        if silent && c.input.buf.capacity() > 0 && !c.has(flag::EXECUTING) {
            let b = std::mem::take(&mut c.input.buf);
            srv.clients.pool.give_query(b);
        }
    }
    srv.clients.pool.trim();
}
