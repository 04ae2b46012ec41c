//! The composition root: one field per subsystem, no logic.

pub mod acks;
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
pub mod bus;
pub mod call;
pub mod child;
pub mod client_info;
pub mod crash_report;
pub mod cron;
pub mod ctx;
pub mod disk;
pub mod dispatch;
pub mod evict;
pub mod execution;
pub mod expire_cycle;
pub mod failover;
pub mod function;
pub mod info;
pub mod jobs;
pub mod kill;
pub mod lend;
pub mod limits;
pub mod link;
pub mod link_client;
pub mod listen;
pub mod loading;
pub mod master;
pub mod monitor;
pub mod nodes_conf;
pub mod pace;
pub mod pass;
pub mod pause;
pub mod policy;
pub mod process;
pub mod redirect;
pub mod rewrite;
pub mod role;
pub mod script;
pub mod script_api;
pub mod script_debug;
pub mod settle;
pub mod shutdown;
pub mod slow;
pub mod switches;
pub mod sync_load;
pub mod targets;
pub mod tracking;
pub mod transaction;
pub mod transfer;
pub mod users;

use crate::acl::Acl;
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
use crate::tracking::Tracking;
use ctx::Table;

pub struct Server {
    pub ks: Keyspace,
    pub clients: Clients,
    pub config: Config,
    pub acl: Acl,
    pub table: Table,
    /// Parallel to the table's entries.
    pub cmdstats: Vec<CmdStats>,
    pub stats: Stats,
    pub clock: Clock,
    pub reactor: Reactor,
    pub net: Net,
    pub process: process::Process,
    pub adoption: adopt::Adoption,
    pub execution: execution::Execution,
    pub cycle: pass::LoopCycle,
    pub cron: cron::Cron,
    pub shutdown: shutdown::Shutdown,
    /// The allocator's last figures of its pages, and when they were read (milliseconds, monotonic clock).
    pub pages: Option<(u64, info::memory::Pages)>,
    pub states: ServerStates,
    /// Room for batches, not in use at the moment.
    pub scratches: Vec<batch::Scratch>,
    /// Clients whose input has been read and not run yet, in order.
    pub arrivals: std::collections::VecDeque<pass::Arrival>,
    pub monitors: std::collections::BTreeSet<ClientId>,
    pub slowlog: crate::slowlog::Slowlog,
    pub latency: crate::latency::Monitor,
    pub watches: Watches,
    pub pubsub: Pubsub,
    pub tracking: Tracking,
    /// Room for the channel of a keyspace event.
    pub event_channel: Vec<u8>,
    pub blocked: Blocked,
    pub ops: Ops,
    pub repl: Replication,
    pub master_link: link::MasterLink,
    /// A full sync without a file.
    pub transfer: Option<transfer::Transfer>,
    /// The node of a cluster that this server is.
    pub bus: Option<Box<bus::Bus>>,
    /// Kept connections of MIGRATE.
    pub targets: targets::Targets,
    pub scripting: Scripting,
    pub jobs: Jobs,
    pub aof: Aof,
    pub bio: Bio,
    pub lazyfree: LazyFree,
    pub switches: switches::Switches,
    pub expire_cycle: expire_cycle::ExpireCycle,
    pub eviction: evict::Eviction,
    pub pause: Pause,
    pub loading: Loading,
}

/// The states of the server in which a command may be refused, must wait or is shown to monitors, one bit
/// each. While no bit is set, and the client is not special, a command goes straight from the parser to
/// its handler.
#[derive(Default, Clone, Copy, Debug, PartialEq, Eq)]
pub struct ServerStates(pub u32);

impl ServerStates {
    pub const MAXMEMORY: u32 = 1 << 0;
    pub const PAUSED: u32 = 1 << 1;
    pub const LOADING: u32 = 1 << 2;
    pub const BUSY: u32 = 1 << 3;
    pub const REPLICA: u32 = 1 << 4;
    /// A replica without its master does not serve what may be stale.
    pub const STALE: u32 = 1 << 5;
    pub const CLIENT_EVICTION: u32 = 1 << 6;
    /// A dataset is loaded beside the one that is served.
    pub const ASYNC_LOADING: u32 = 1 << 10;
    pub const DISK_ERROR: u32 = 1 << 7;
    pub const MIN_REPLICAS: u32 = 1 << 8;
    pub const MONITORS: u32 = 1 << 9;
    /// Clients cache keys: reads are remembered, and the table may be too large.
    pub const TRACKING: u32 = 1 << 11;
    /// The server is a node of a cluster: each key is asked for its slot.
    pub const CLUSTER: u32 = 1 << 12;

    pub fn has(self, bit: u32) -> bool {
        self.0 & bit != 0
    }
    pub fn put(&mut self, bit: u32, on: bool) {
        self.0 = if on { self.0 | bit } else { self.0 & !bit };
    }
}
