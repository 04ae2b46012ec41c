//! Reading the dataset from disk while clients wait.
//!
//! ```text
//! start ─► item ─► progress ─► item ─► ...     every so many bytes the loop turns once: INFO, CONFIG ..
//!                                        └─► stop
//! ```
//!
//! A client that asks for data meanwhile gets `-LOADING`. The pass that serves it is nested: it expires
//! nothing and leaves the half-read dataset alone.

use super::{Server, ServerStates, defrag, pass, policy};
use crate::jobs::loading::{Loading, delay};
use crate::sys::{alloc, clock, signals};

/// After so many items blocks may be moved.
const DEFRAG_KEYS: u64 = 1024;

pub fn start(srv: &mut Server, total: u64) {
    start_beside(srv, total, false);
}

/// `beside`: the new dataset is read beside the old one, which is served meanwhile.
pub fn start_beside(srv: &mut Server, total: u64, beside: bool) {
    let started = clock::unix_ms() / 1000;
    srv.loading = Loading { started, total, ..Loading::default() };
    (srv.jobs.keys_loaded, srv.jobs.keys_expired) = (0, 0);
    srv.states.put(if beside { ServerStates::ASYNC_LOADING } else { ServerStates::LOADING }, true);
    signals::set_loading(!beside);
    policy::refresh(srv);
}

/// One more item has been read, up to byte `at`. Inside of the start or of a command the loop turns here.
pub fn progress(srv: &mut Server, at: u64) {
    if count(srv, at) {
        pass::nested(srv, pass::Interrupt::Load);
    }
    // The load holds nothing of the dataset between two items.
    if srv.config.activedefrag && srv.loading.keys.is_multiple_of(DEFRAG_KEYS) {
        defrag::during_load(srv);
    }
}

/// One more item has been read, up to byte `at`: true when the loop is to turn.
pub fn count(srv: &mut Server, at: u64) -> bool {
    srv.loading.keys += 1;
    delay(srv.config.key_load_delay, srv.loading.keys);
    let step = srv.config.loading_process_events_interval_bytes;
    if step == 0 || at / step == srv.loading.loaded / step {
        return false;
    }
    srv.loading.loaded = at;
    srv.stats.peak_memory = srv.stats.peak_memory.max(alloc::used());
    true
}

pub fn stop(srv: &mut Server) {
    srv.states.put(ServerStates::LOADING, false);
    srv.states.put(ServerStates::ASYNC_LOADING, false);
    signals::set_loading(false);
    policy::refresh(srv);
}
