//! A node of a cluster, without I/O: what happened goes in, what is to be done comes out. `server/bus`
//! does it; the simulation (`sim`) does it on a fake network.
//!
//! ```text
//!   links ── Accepted, Dialed, Frame, Closed ──┐            ┌── Dial, Close, Send ──► links
//!   loop ─── Tick (100 ms), Settle (a pass) ───┤            ├── Save ──► nodes.conf ── Saved ──┐
//!   config ─ Directives ───────────────────────┼─► Cluster ─┼── Follow, BecomeMaster, Pause    │
//!   clients ─ methods of `commands.rs` ────────┤     ▲      ├── DropSlot, Lost, Publish, Log   │
//!   views ◄── `view.rs`, `redirect` queries ───┘     └──────┴────────────────────────────────┘
//! ```
//!
//! - **Nodes** live in a slab, and everything else names them by index and generation (`NodeId`): a node
//!   that was forgotten is an id that leads nowhere.
//! - **Work that can wait** (the state of the cluster, elections, saving) is marked as due and done by
//!   `Settle`, once a pass and before the loop sleeps, however many packets or commands asked for it.
//! - **Claims** (a vote, a new epoch, slots taken over) leave this node only when they are on disk. While a
//!   save of a claim is under way the headers of other packets speak of the state before it, and the packets
//!   that carry the claim wait for `Saved`. A save that fails is tried again each second; until one has
//!   worked this node neither votes nor claims.
//! - **Time**: all intervals are of the monotonic clock; wall time is printed and gossiped, nothing else.
//! - **Randomness** is a part of the state (`rng`), so that a seed repeats a run.

use crate::sys::log::Level;
use std::net::IpAddr;
use std::sync::Arc;

// ---- what goes in --------------------------------------------------------------------------------

/// The moment, in milliseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Now {
    pub mono: u64,
    pub wall: u64,
}

/// What the machine sees of the rest of the server at the time of an event.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Env<'a> {
    pub now: Now,
    /// Of the replication stream: as a master what was written to it, as a replica what was applied.
    pub offset: u64,
    pub loading: bool,
    /// As a replica: is the link to the master up?
    pub link_up: bool,
    /// As a replica: milliseconds since anything came from the master, or since the link is down. None: the
    /// data come from no master at all.
    pub data_age: Option<u64>,
    /// The slots that hold keys.
    pub filled: &'a [u64; 256],
}

#[derive(Debug)]
pub(crate) enum Event<'a> {
    /// Each 100 ms.
    Tick,
    /// Before the loop sleeps, in each pass in which `Cluster::has_work`.
    Settle,
    /// A connection that the machine asked for is open; the address of its own end.
    Dialed { link: LinkId, local: Option<IpAddr> },
    /// A connection has ended, or could not be made; it is no longer there.
    Closed { link: LinkId },
    /// One whole packet as `proto::bus::frame` cut it off.
    Frame { link: LinkId, bytes: &'a [u8] },
    /// Bytes have come that make no whole packet yet: a sign of life.
    Heard { link: LinkId },
    /// What waits on a link is longer than `cluster-link-sendbuf-limit` allows.
    OverLimit { link: LinkId, used: u64 },
    /// CONFIG SET, or the start.
    Directives(Box<Settings>),
    /// The data are loaded (once, after the start); the machine looks which slots hold keys.
    Loaded,
    /// A save has ended, well or not.
    Saved { generation: u64, result: Result<(), String> },
    /// Writes rest as `PauseWrites` has asked, and the replication offset stands.
    Paused,
    /// PUBLISH or SPUBLISH on this node.
    Publish { shard: bool, channel: &'a [u8], message: &'a [u8] },
    /// DEBUG CLUSTERLINK KILL.
    KillLinks { node: [u8; 40], to: bool, from: bool },
    /// DEBUG DROP-CLUSTER-PACKET-FILTER; None is off.
    DropFilter(Option<u16>),
}

/// The directives, as far as the machine knows them. `Event::Directives` replaces all of them.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    pub node_timeout: u64,
    /// 0: half of the timeout.
    pub ping_interval: u64,
    pub migration_barrier: u64,
    pub validity_factor: u64,
    /// Seconds (`repl-ping-replica-period`).
    pub repl_ping_period: u64,
    pub require_full_coverage: bool,
    pub allow_reads_when_down: bool,
    pub allow_replica_migration: bool,
    pub replica_no_failover: bool,
    /// A module has forbidden failovers.
    pub module_no_failover: bool,
    pub announce_ip: Option<String>,
    /// 0: what is listened on, in all four.
    pub announce_port: u16,
    pub announce_tls_port: u16,
    pub announce_bus_port: u16,
    pub cluster_port: u16,
    pub announce_hostname: Option<String>,
    pub announce_nodename: Option<String>,
    pub port: u16,
    pub tls_port: u16,
    pub tls_cluster: bool,
    pub tls_replication: bool,
    pub endpoint: EndpointType,
    pub max_bulk: u64,
}

// ---- what comes out ------------------------------------------------------------------------------

/// To be done in this order.
#[derive(Debug)]
pub(crate) enum Action {
    Log(Level, String),
    /// Opens a connection; `Dialed` or `Closed` is the answer.
    Dial { link: LinkId, ip: IpAddr, port: u16 },
    /// Closes a connection; the machine has forgotten it, no `Closed` follows.
    Close { link: LinkId },
    /// Queues one block, which may be shared by many links.
    Send { link: LinkId, block: Arc<[u8]> },
    /// Replaces nodes.conf. `Saved` is the answer. One save at a time is under way.
    Save { text: String, fsync: bool, generation: u64 },
    /// This server becomes a replica of that one, or its master has moved there.
    Follow { ip: IpAddr, port: u16 },
    /// This server is a master from now on.
    BecomeMaster,
    /// Deletes all keys: a replica has become an empty master by RESET.
    FlushAll,
    /// Holds writes, expiry and eviction until then (monotonic) at the longest; `Paused` is the answer.
    PauseWrites { until: u64 },
    ResumeWrites,
    /// Deletes the keys of a slot that belongs to another node now.
    DropSlot(u16),
    /// Clients leave the shard channels of this slot.
    Unsubscribe(u16),
    /// Slots are served no longer, or by another node: clients blocked on keys of them are looked at again.
    Lost(Box<[u64; 256]>),
    /// A message of another node for the clients here.
    Publish { shard: bool, channel: Vec<u8>, message: Vec<u8> },
    /// A message for a module.
    Module { sender: [u8; 40], module: u64, kind: u8, payload: Vec<u8> },
}

// ---- names ---------------------------------------------------------------------------------------

/// A node, as an index that cannot dangle.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct NodeId {
    index: u16,
    generation: u16,
}

/// A connection of the bus. The machine gives them out, in `Action::Dial` and by `Cluster::accept`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct LinkId {
    pub index: u32,
    pub generation: u32,
}

// THE INTERFACE AS IT WILL BE (this block goes when the files are there).
//
// impl Cluster {
//   // start
//   fn new(settings: Settings, seed: u64) -> Cluster                       // no file: a new id. `first_log()`
//   fn read(settings: Settings, seed: u64, text: &[u8], now: Now) -> Result<Cluster, Corrupt{line}>
//                                                                      // conf.rs; Ok also for an empty text = new
//   fn conf_text(&self) -> String                                      // SAVECONFIG, first start and exit, in place
//   // events
//   fn on(&mut self, event: Event<'_>, env: &Env<'_>, out: &mut Vec<Action>)
//   fn accept(&mut self, peer: IpAddr, local: Option<IpAddr>, env) -> Option<LinkId>   // None: refuse the connection
//   fn has_work(&self) -> bool                                         // Settle is due this pass
//   fn frame_limit(&self, link: LinkId, start: &[u8]) -> Result<Option<usize>, Bad>
//        // length of the packet that begins with these bytes; None: not known yet; Err: close (log is made by
//        // `bad_frame(link, out)`). Ceilings by type and by whether the link is bound.
//   // hot path: bit tests, kept up to date by the machine
//   #[inline] fn serves(&self, slot: u16) -> bool                      // mine, not migrating, state ok
//   #[inline] fn serves_reads(&self, slot: u16) -> bool                // of my master, state ok (READONLY clients)
//   // redirect (cold)
//   fn is_ok(&self) -> bool;  fn me(&self) -> NodeId;  fn is_me(&self, NodeId) -> bool;  fn is_master(&self) -> bool
//   fn my_master(&self) -> Option<NodeId>
//   fn owner(&self, slot) -> Option<NodeId>; fn migrating(&self, slot) -> Option<NodeId>; fn importing(&self, slot) -> Option<NodeId>
//   fn is_paused_for_failover(&self) -> bool                            // the PINGs of replication rest meanwhile
//   fn address(&self, NodeId, tls: bool) -> (&str host-for-redirect, u16 port)   // "" unknown-endpoint, "?" missing hostname
//   // commands: validations inside, exact texts in the error; actions behind them in `out`
//   fn meet(&mut self, ip: &[u8], port: i64?, bus: Option<..>) ...     // arguments as bytes, see commands.rs
//   fn add_slots / del_slots(&mut self, slots: &[u16], env, out) -> Result<(), CmdError>   // parsed by `slot_list` / `slot_ranges`
//   fn flush_slots(env, out); fn set_slot(slot, SetSlot<'_>, env, out); fn bump_epoch(env, out) -> Result<Bumped, CmdError>
//   fn set_config_epoch(i64, ..); fn replicate(&[u8], ..); fn failover(FailoverKind, ..); fn forget(&[u8], ..); fn reset(hard, ..)
//   fn count_failure_reports(&[u8], now) -> Result<usize, CmdError>
//   fn my_name() -> &str; fn my_shard() -> &str
//   // views (view.rs): `tls` is whether the asking client's connection is TLS
//   fn nodes_text(&self, tls: bool) -> String                          // CLUSTER NODES, verbatim string
//   fn replicas_lines(&self, id: &[u8], tls) -> Result<Vec<String>, CmdError>
//   fn slots_view(&self, tls) -> Vec<SlotRun<'_>>        // { start, end, nodes: Vec<SlotNode{ endpoint: Endpoint, port, id, metadata: Vec<(&str,&str)> }> }
//   fn shards_view(&self, env) -> Vec<ShardView<'_>>     // { slots: Vec<(u16,u16)>, nodes: Vec<ShardNode{id, port, tls_port, ip, endpoint, hostname, role, offset, health}> }
//   fn links_view(&self) -> Vec<LinkView>                // { link: LinkId, to: bool, node: id, create_time }; only links bound to a node
//   fn info_text(&self) -> String                        // CLUSTER INFO
//   fn link_count(&self) -> usize                        // cluster_connections
// }
