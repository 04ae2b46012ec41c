//! Reading the dataset from disk while clients wait.
//!
//! ```text
//! start ─► item ─► progress ─► item ─► ...     every so many bytes the loop turns once: INFO, CONFIG ..
//!                                        └─► stop
//! ```
//!
//! A client that asks for data meanwhile gets `-LOADING`. The pass that serves it is nested: it expires
//! nothing and leaves the half-read dataset alone.

use super::{Gate, Server, pass, policy};
use crate::clients::ClientId;
use crate::sys::{alloc, clock, signals};
use std::time::Duration;

/// What INFO persistence tells of a load under way.
#[derive(Debug, Default)]
pub struct Loading {
    pub started: i64,
    pub total: u64,
    pub loaded: u64,
    /// What the dataset took when the file was written, by its own word.
    pub used_then: u64,
    /// The client that runs the commands of a log.
    pub reader: Option<ClientId>,
    keys: u64,
}

impl Loading {
    pub fn percent(&self) -> f64 {
        self.loaded as f64 * 100.0 / self.total.max(1) as f64
    }

    /// Seconds to go, if the rest comes as fast.
    pub fn eta(&self, now: i64) -> u64 {
        let elapsed = u64::try_from(now - self.started).unwrap_or(0);
        let rest = self.total.saturating_sub(self.loaded);
        elapsed.saturating_mul(rest).checked_div(self.loaded).unwrap_or(1)
    }
}

pub fn start(srv: &mut Server, total: u64) {
    let started = clock::unix_ms() / 1000;
    srv.loading = Loading { started, total, ..Loading::default() };
    srv.gate.put(Gate::LOADING, true);
    signals::set_loading(true);
    policy::refresh(srv);
}

/// One more item has been read, up to byte `at`.
pub fn progress(srv: &mut Server, at: u64) {
    srv.loading.keys += 1;
    delay(srv.config.key_load_delay, srv.loading.keys);
    let step = srv.config.loading_process_events_interval_bytes;
    if step == 0 || at / step == srv.loading.loaded / step {
        return;
    }
    srv.loading.loaded = at;
    srv.stats.peak_memory = srv.stats.peak_memory.max(alloc::used());
    let (now, ticks) = (srv.ks.now_ms, srv.run.ticks);
    srv.run.pass_depth += 1;
    srv.run.nesting += 1;
    pass::turn(srv, Some(Duration::ZERO));
    srv.run.nesting -= 1;
    srv.run.pass_depth -= 1;
    (srv.ks.now_ms, srv.run.ticks) = (now, ticks);
}

pub fn stop(srv: &mut Server) {
    srv.gate.put(Gate::LOADING, false);
    signals::set_loading(false);
    policy::refresh(srv);
}

/// `key-load-delay` and `rdb-key-save-delay`: so many microseconds for each key, or, below zero, one
/// for every so many keys.
pub fn delay(us: i64, keys: u64) {
    let us = match u64::try_from(us) {
        Ok(us) => us,
        Err(_) => u64::from(keys.is_multiple_of(us.unsigned_abs())),
    };
    if us > 0 {
        std::thread::sleep(Duration::from_micros(us));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_takes_its_share_of_the_time() {
        let l = Loading { started: 100, total: 1000, loaded: 250, ..Loading::default() };
        assert_eq!((l.percent(), l.eta(110)), (25.0, 30));
        assert_eq!(Loading { loaded: 0, ..l }.eta(110), 1);
    }
}
