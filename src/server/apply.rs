//! What has to be done after a directive has changed (`config::Apply`), by the owner of the server.

use super::{Gate, Server};
use crate::config::Apply;
use crate::config::kinds::Reason;
use crate::stats::{CmdStats, Stats};

/// Performs one; an error rolls the whole CONFIG SET back.
pub fn perform(srv: &mut Server, what: Apply) -> Result<(), Reason> {
    match what {
        Apply::LogLevel => crate::sys::log::set_level(srv.config.loglevel),
        Apply::Hz => srv.run.hz = srv.config.hz,
        Apply::Slowlog => slow_threshold(srv),
        Apply::MaxMemory => srv.gate.put(Gate::MAXMEMORY, srv.config.maxmemory > 0),
        Apply::JemallocBgThread => {
            crate::sys::alloc::background_thread(srv.config.jemalloc_bg_thread);
        }
        _ => {}
    }
    Ok(())
}

/// `slowlog-log-slower-than`, in ticks.
pub fn slow_threshold(srv: &mut Server) {
    let us = srv.config.slowlog_log_slower_than;
    srv.run.slow_ticks = match u64::try_from(us) {
        Err(_) => u64::MAX,
        Ok(us) => srv.clock.ticks_in(us.saturating_mul(1000)).saturating_sub(1),
    };
}

/// CONFIG RESETSTAT.
pub fn reset_stats(srv: &mut Server) {
    let peak = crate::sys::alloc::used();
    srv.stats = Stats { peak_memory: peak, ..Stats::default() };
    srv.cmdstats.iter_mut().for_each(|s| *s = CmdStats::default());
    srv.ks.stats = Default::default();
    srv.lazyfree.reset_stats();
}
