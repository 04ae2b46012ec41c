//! What happens `hz` times a second.

use super::{Server, expire_cycle};
use crate::clients::flag;
use crate::sys::clock::mono_ns;

pub fn run(srv: &mut Server) {
    srv.run.cron_loops += 1;
    let hz = srv.run.hz.clamp(1, 500);
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
        expire_cycle::run(srv, expire_cycle::Kind::Slow);
        databases(srv);
    }
    super::jobs::reap(srv);
    clients(srv);
    if crate::sys::signals::shutdown_asked().is_some() {
        srv.run.stop = true;
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
