//! The composition root: one field per subsystem, no logic.

pub mod admit;
pub mod adopt;
pub mod aof;
pub mod aof_load;
pub mod apply;
pub mod auth;
pub mod batch;
pub mod before_sleep;
pub mod blocking;
pub mod boot;
pub mod call;
pub mod child;
pub mod client_info;
pub mod crash_report;
pub mod cron;
pub mod ctx;
pub mod disk;
pub mod dispatch;
pub mod evict;
pub mod expire_cycle;
pub mod info;
pub mod jobs;
pub mod kill;
pub mod lend;
pub mod limits;
pub mod listen;
pub mod loading;
pub mod master;
pub mod monitor;
pub mod pass;
pub mod pause;
pub mod policy;
pub mod rewrite;
pub mod script;
pub mod script_api;
pub mod settle;
pub mod shutdown;
pub mod slow;
pub mod switches;
pub mod transaction;

use crate::bio::Bio;
use crate::blocked::Blocked;
use crate::clients::pause::Pause;
use crate::clients::{ClientId, Clients};
use crate::config::Config;
use crate::jobs::Jobs;
use crate::jobs::aof::Aof;
use crate::jobs::loading::Loading;
use crate::keyspace::Keyspace;
use crate::lazyfree::LazyFree;
use crate::multi::Watches;
use crate::net::listeners::Net;
use crate::net::reactor::Reactor;
use crate::pubsub::Pubsub;
use crate::replication::Replication;
use crate::replication::ops::Ops;
use crate::scripting::Scripting;
use crate::stats::{CmdStats, Stats};
use crate::sys::clock::Clock;
use ctx::Table;
use std::cell::Cell;

pub struct Server {
    pub ks: Keyspace,
    pub clients: Clients,
    pub config: Config,
    pub table: Table,
    /// Parallel to the table's entries.
    pub cmdstats: Vec<CmdStats>,
    pub stats: Stats,
    pub clock: Clock,
    pub reactor: Reactor,
    pub net: Net,
    pub run: Run,
    pub gate: Gate,
    /// Room for batches that nobody uses at the moment.
    pub scratches: Vec<batch::Scratch>,
    /// Clients whose input has been read and not run yet, in order.
    pub arrivals: std::collections::VecDeque<pass::Arrival>,
    pub monitors: std::collections::BTreeSet<ClientId>,
    pub slowlog: crate::slowlog::Slowlog,
    pub latency: crate::latency::Monitor,
    pub watches: Watches,
    pub pubsub: Pubsub,
    /// Room for the channel of a keyspace event.
    pub event_channel: Vec<u8>,
    pub blocked: Blocked,
    pub ops: Ops,
    pub repl: Replication,
    pub scripting: Scripting,
    pub jobs: Jobs,
    pub aof: Aof,
    pub bio: Bio,
    pub lazyfree: LazyFree,
    pub switches: switches::Switches,
    pub expire_cycle: expire_cycle::Cycle,
    pub eviction: evict::Eviction,
    pub pause: Pause,
    pub loading: Loading,
}

/// What the process is doing.
#[derive(Default)]
pub struct Run {
    pub run_id: String,
    pub started_ms: i64,
    pub argv: Vec<Vec<u8>>,
    pub config_file: Option<Vec<u8>>,
    /// The program, as an absolute path.
    pub executable: Vec<u8>,
    pub supervised: crate::sys::supervise::Mode,
    /// Bytes in use when the server was ready.
    pub startup_memory: usize,
    /// What the allocator last told of its pages, and when (milliseconds of the monotonic clock).
    pub pages: Cell<Option<(u64, info::memory::Pages)>>,
    /// Of the shutdown under way, bits of `config::shutdown`.
    pub shutdown_flags: u32,
    /// Score before ours.
    pub oom: crate::sys::oom::OomScore,
    /// A shutdown waits until then for replicas.
    pub shutdown_at_ms: Option<i64>,
    /// Largest buffers of any client in each of the last eight seconds.
    pub recent_input: [usize; 8],
    pub recent_output: [usize; 8],
    /// Depth of commands that run commands; 0 between execution units.
    pub nesting: u32,
    pub adoption: adopt::Adoption,
    /// Who is being served, for crash reports and for kills that hit the caller.
    pub current: Option<ClientId>,
    /// The counter's reading at the end of the last command: where the next one begins.
    pub ticks: u64,
    /// Commands slower than this many ticks go to the slow log; MAX for never.
    pub slow_ticks: u64,
    pub stop: bool,
    /// The counter's reading when the loop woke, and the commands counted until then.
    pub cycle_ticks: u64,
    pub cycle_commands: u64,
    pub hz: u64,
    pub cron_loops: u64,
    pub next_cron_ms: u64,
    /// Depth of passes: above 1 while a script or a load lets the loop turn.
    pub pass_depth: u32,
    pub in_exec: bool,
    /// Clients the cron looked at already in this round.
    pub cron_client: usize,
    /// When somebody was last warned of for speaking HTTP, in Unix seconds.
    pub http_warning: i64,
}

/// Reasons why commands may have to be looked at twice. While none holds, and the client is not
/// special, a command goes straight from the parser to its handler.
#[derive(Default, Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gate(pub u32);

impl Gate {
    pub const MAXMEMORY: u32 = 1 << 0;
    pub const PAUSED: u32 = 1 << 1;
    pub const LOADING: u32 = 1 << 2;
    pub const BUSY: u32 = 1 << 3;
    pub const REPLICA: u32 = 1 << 4;
    pub const CLIENT_EVICTION: u32 = 1 << 6;
    pub const DISK_ERROR: u32 = 1 << 7;
    pub const MIN_REPLICAS: u32 = 1 << 8;
    pub const MONITORS: u32 = 1 << 9;

    #[inline]
    pub fn open(self) -> bool {
        self.0 == 0
    }
    pub fn has(self, bit: u32) -> bool {
        self.0 & bit != 0
    }
    pub fn put(&mut self, bit: u32, on: bool) {
        self.0 = if on { self.0 | bit } else { self.0 & !bit };
    }
}
