//! When a command counts as slow: the threshold in ticks, which `call` compares with.

use super::Server;

/// `slowlog-log-slower-than` and `latency-monitor-threshold`: whichever is lower makes `call` look twice.
pub fn refresh(srv: &mut Server) {
    let us = srv.config.slowlog_log_slower_than;
    srv.run.slow_ticks = match u64::try_from(us) {
        Err(_) => u64::MAX,
        Ok(us) => srv.clock.ticks_in(us.saturating_mul(1000)).saturating_sub(1),
    };
}
