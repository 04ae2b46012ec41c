//! Counters: of the server as a whole, of each command, of each kind of error.

use crate::algo::hdr::Histogram;
use std::collections::HashMap;

/// INFO's Stats section and what CONFIG RESETSTAT clears.
#[derive(Debug, Default, Clone)]
pub struct Stats {
    pub commands: u64,
    pub connections: u64,
    pub rejected_connections: u64,
    pub traffic: Traffic,
    /// To replicas; not in `traffic`.
    pub net_repl_input: u64,
    pub net_repl_output: u64,
    pub sync_full: u64,
    pub sync_partial_ok: u64,
    pub sync_partial_err: u64,
    pub evicted_clients: u64,
    pub total_error_replies: u64,
    /// As many as there were when `new_errors` was last asked.
    pub errors_seen: u64,
    pub unexpected_errors: u64,
    pub dump_sanitizations: u64,
    pub query_limit_disconnections: u64,
    pub output_limit_disconnections: u64,
    /// Refused logins, commands, keys and channels.
    pub acl_denied: [u64; 4],
    pub reply_buffer_shrinks: u64,
    pub reply_buffer_expands: u64,
    pub peak_memory: usize,
    pub total_forks: u64,
    pub expired_stale_perc: f64,
    pub expired_time_cap: u64,
    pub expire_cycle_cpu_us: u64,
    /// Passes of the loop, and microseconds spent in them and in commands.
    pub eventloop_cycles: u64,
    pub eventloop_us: u64,
    pub eventloop_aof_us: u64,
    pub eventloop_cron_us: u64,
    /// The longest pass.
    pub eventloop_max_us: u64,
    pub commands_per_cycle_max: u64,
    /// Waits for events that began by polling, how many of them an event ended, and the time they took.
    pub busy_polls: u64,
    pub busy_poll_hits: u64,
    pub busy_poll_ticks: u64,
    /// Spent in commands, by the clock's counter.
    pub command_ticks: u64,
    pub instant_ops: Rate,
    pub instant_in: Rate,
    pub instant_out: Rate,
    pub instant_repl_in: Rate,
    pub instant_repl_out: Rate,
    pub instant_cycles: Rate,
    pub instant_cycle_us: Rate,
    /// By error code, without the dash.
    pub errors: HashMap<Box<str>, u64>,
}

/// Bytes and calls between clients and the thread that reads and writes.
#[derive(Debug, Default, Clone, Copy)]
pub struct Traffic {
    pub input: u64,
    pub output: u64,
    pub reads: u64,
    pub writes: u64,
}

/// A rate per second, averaged over sixteen samples of 100 ms (STATS_METRIC_SAMPLES).
#[derive(Debug, Default, Clone)]
pub struct Rate {
    last_ms: u64,
    last_count: u64,
    samples: [u64; 16],
    at: usize,
}

impl Rate {
    /// Takes a sample: `count` of events (or amount) and the time base so far.
    pub fn sample(&mut self, now_ms: u64, count: u64) {
        if self.last_ms > 0 {
            let dt = now_ms.saturating_sub(self.last_ms).max(1);
            self.samples[self.at] = count.saturating_sub(self.last_count) * 1000 / dt;
            self.at = (self.at + 1) % self.samples.len();
        }
        (self.last_ms, self.last_count) = (now_ms, count);
    }

    /// Takes a sample of an average: amount per event since the last one.
    pub fn sample_average(&mut self, amount: u64, events: u64) {
        let (da, de) = (amount.saturating_sub(self.last_ms), events.saturating_sub(self.last_count));
        self.samples[self.at] = da.checked_div(de).unwrap_or(0);
        self.at = (self.at + 1) % self.samples.len();
        (self.last_ms, self.last_count) = (amount, events);
    }

    pub fn get(&self) -> u64 {
        self.samples.iter().sum::<u64>() / self.samples.len() as u64
    }
}

/// What INFO commandstats shows of one command.
#[derive(Debug, Default, Clone)]
pub struct CmdStats {
    pub calls: u64,
    pub ticks: u64,
    pub rejected: u64,
    pub failed: u64,
    /// While `latency-tracking` is on.
    pub latency: Option<Box<Histogram>>,
}

impl Stats {
    /// Have errors been counted since the last call of this function? It is called before and after each
    /// command, so that an error of a nested command does not count for the outer one as well.
    pub fn new_errors(&mut self) -> bool {
        std::mem::replace(&mut self.errors_seen, self.total_error_replies) != self.total_error_replies
    }

    /// Counts an error reply by its code; after too many kinds only the total goes on.
    pub fn count_error(&mut self, text: &str) {
        const KINDS: usize = 128;
        const CODE: usize = 31;
        self.total_error_replies += 1;
        // A code that is longer, or that nothing follows, is none.
        let code = text.bytes().take(CODE).position(|b| b == b' ').and_then(|n| text.get(..n));
        let code = code.unwrap_or("ERR");
        if let Some(n) = self.errors.get_mut(code) {
            *n += 1;
        } else if self.errors.len() < KINDS {
            self.errors.insert(code.into(), 1);
        }
    }
}
