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
//! - **The performer** asks `accept` before it reads from a connection, `frame_limit` how many bytes make the
//!   next packet (an error is logged as a warning and closes the link, with `Closed`), and `has_work` in each
//!   pass. It keeps the queue of each link, also while that is being dialed. A new node (`new`) writes its
//!   file in place from `conf_text`, and logs that there was none; `read` says what to log by itself.
//! - **Redirection** reads two bits, `serves` and `serves_reads`; only a miss asks for owners and open slots.
//! - **Time**: all intervals are of the monotonic clock; wall time is printed and gossiped, nothing else.
//! - **Randomness** is a part of the state (`rng`), so that a seed repeats a run.

mod claims;
mod commands;
mod conf;
mod election;
mod epochs;
mod failure;
mod gossip;
mod handshake;
mod links;
mod manual;
mod nodes;
mod packet;
mod saves;
#[cfg(test)]
mod sim;
mod slots;
mod state;
#[cfg(test)]
mod tests;
mod view;

pub(crate) use commands::{Bumped, FailoverKind};
pub(crate) use conf::Corrupt;
pub(crate) use links::LinkId;
pub(crate) use nodes::NodeId;
pub(crate) use view::{Endpoint, ShardNode, SlotNode};

use crate::algo::rng::Rng;
use crate::config::choices::EndpointType;
use crate::proto::bus::{Flags, Name};
use crate::sys::log::Level;
use nodes::{Node, Nodes, random_name, text};
pub(crate) use slots::SlotWords;
use slots::{SlotSet, Slots};
use std::collections::HashMap;
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
    /// As a replica: milliseconds since anything came from the master, or since the link is down. None: the
    /// data come from no master at all.
    pub data_age: Option<u64>,
    /// As a replica: the data were flushed for a full sync, and none has succeeded since.
    pub hollow: bool,
    /// The slots that hold keys.
    pub filled: &'a SlotWords,
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
    /// DEBUG CLUSTERLINK KILL, of a node that `Cluster::knows`.
    KillLinks { node: Name, to: bool, from: bool },
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
    pub allow_replica_migration: bool,
    pub replica_no_failover: bool,
    /// Modules have forbidden failovers, and redirections.
    pub module_no_failover: bool,
    pub no_redirection: bool,
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
    /// What a save that fails leads to: `Fatal`, or no votes and claims until one works.
    pub exit_on_failed_save: bool,
}

impl Settings {
    /// Times that can be reckoned with: the rows allow all that fits.
    fn bounded(mut self) -> Settings {
        const YEARS: u64 = 1 << 40;
        self.node_timeout = self.node_timeout.min(YEARS);
        self.ping_interval = self.ping_interval.min(YEARS);
        self
    }
}

// ---- what comes out ------------------------------------------------------------------------------

/// To be done in this order.
#[derive(Debug)]
pub(crate) enum Action {
    Log(Level, String),
    /// Opens a connection; `Dialed` or `Closed` is the answer.
    Dial {
        link: LinkId,
        ip: IpAddr,
        port: u16,
    },
    /// Closes a connection; the machine has forgotten it, no `Closed` follows.
    Close {
        link: LinkId,
    },
    /// Queues one block, which may be shared by many links.
    Send {
        link: LinkId,
        block: Arc<[u8]>,
    },
    /// Replaces nodes.conf. `Saved` is the answer. One save at a time is under way.
    Save {
        text: String,
        fsync: bool,
        generation: u64,
    },
    /// This server becomes a replica of that one, or its master has moved there.
    Follow {
        ip: IpAddr,
        port: u16,
    },
    /// This server is a master from now on.
    BecomeMaster,
    /// Deletes all keys: a replica has become an empty master by RESET.
    FlushAll,
    /// Holds writes, expiry and eviction until then (monotonic) at the longest; `Paused` is the answer.
    PauseWrites {
        until: u64,
    },
    ResumeWrites,
    /// Deletes the keys of slots that belong to another node now.
    DropSlots(Box<SlotWords>),
    /// Clients leave the shard channels of these slots.
    Unsubscribe(Box<SlotWords>),
    /// Slots are served no longer, or by another node: clients blocked on keys of them are looked at again.
    Lost(Box<SlotWords>),
    /// A message of another node for the clients here.
    Publish {
        shard: bool,
        channel: Vec<u8>,
        message: Vec<u8>,
    },
    /// Logs this as a warning and ends the process.
    Fatal(String),
    /// A message for a module.
    #[allow(dead_code, reason = "no module listens yet")]
    Module {
        sender: Name,
        module: u64,
        kind: u8,
        payload: Vec<u8>,
    },
}

// ---- the state -----------------------------------------------------------------------------------

/// What `Settle` has to look at.
#[derive(Debug, Default)]
struct Due {
    failover: bool,
    state: bool,
    masks: bool,
}

#[derive(Debug, Default)]
struct Statistics {
    /// Packets by kind.
    sent: [u64; 11],
    received: [u64; 11],
    over_limit: u64,
}

#[derive(Debug)]
pub(crate) struct Cluster {
    settings: Settings,
    /// What `cluster-announce-ip` says, if that is an address.
    announced_ip: Option<IpAddr>,
    rng: Rng,
    nodes: Nodes,
    slots: Slots,
    links: links::Links,
    current_epoch: u64,
    last_vote_epoch: u64,
    state: state::State,
    masks: state::Masks,
    election: election::Election,
    manual: manual::Manual,
    saves: saves::Saves,
    due: Due,
    stats: Statistics,
    /// Names that gossip does not bring back before then.
    blacklist: HashMap<Name, u64>,
    iteration: u64,
    drop_filter: Option<u16>,
    /// Replication was pointed to this node's master.
    following: bool,
    /// A suspicion is new.
    told_of: bool,
    /// Slots that have left this shard since that was told.
    left: SlotSet,
}

/// What one event or command is handled with.
struct Cx<'a> {
    env: &'a Env<'a>,
    out: &'a mut Vec<Action>,
}

impl Cx<'_> {
    fn now(&self) -> u64 {
        self.env.now.mono
    }

    fn log(&mut self, level: Level, text: impl Into<String>) {
        self.out.push(Action::Log(level, text.into()));
    }

    fn wall(&self, at: u64) -> u64 {
        self.env.now.wall_of(at)
    }

    /// The monotonic time of a wall time that is at most `ahead` in the future.
    fn mono(&self, wall: u64, ahead: u64) -> Option<u64> {
        let now = self.env.now;
        if wall > now.wall.saturating_add(ahead) {
            return None;
        }
        now.mono.checked_sub(now.wall.saturating_sub(wall))
    }
}

impl Now {
    fn wall_of(self, at: u64) -> u64 {
        self.wall.saturating_sub(self.mono.saturating_sub(at))
    }
}

impl Cluster {
    /// A node of no cluster yet, with a new id.
    pub(crate) fn new(settings: Settings, mut rng: Rng, now: Now) -> Cluster {
        let mut me = Node::new(random_name(&mut rng), Flags::MYSELF.with(Flags::MASTER), now.mono);
        me.shard = random_name(&mut rng);
        let mut cluster = Cluster::of(settings, rng, me);
        cluster.saves.due_with_fsync();
        cluster
    }

    fn of(settings: Settings, rng: Rng, me: Node) -> Cluster {
        let mut cluster = Cluster {
            settings: settings.bounded(),
            announced_ip: None,
            rng,
            nodes: Nodes::new(me),
            slots: Slots::new(),
            links: links::Links::default(),
            current_epoch: 0,
            last_vote_epoch: 0,
            state: state::State::default(),
            masks: state::Masks::default(),
            election: election::Election::default(),
            manual: manual::Manual::default(),
            saves: saves::Saves::default(),
            due: Due { state: true, ..Due::default() },
            stats: Statistics::default(),
            blacklist: HashMap::new(),
            iteration: 0,
            drop_filter: None,
            following: false,
            told_of: false,
            left: SlotSet::default(),
        };
        cluster.announce();
        cluster
    }

    /// Takes an event; appends what is to be done, in order.
    pub(crate) fn on(&mut self, event: Event<'_>, env: &Env<'_>, out: &mut Vec<Action>) {
        let cx = &mut Cx { env, out };
        match event {
            Event::Tick => self.tick(cx),
            Event::Settle => self.settle(cx),
            Event::Dialed { link, local } => self.dialed(link, local, cx),
            Event::Closed { link } => self.closed(link, cx.now()),
            Event::Frame { link, bytes } => self.frame(link, bytes, cx),
            Event::Heard { link } => self.heard(link, cx.now()),
            Event::OverLimit { link, used } => self.over_limit(link, used, cx),
            Event::Directives(settings) => self.set_directives(*settings, cx),
            Event::Loaded => self.look_at_data(cx),
            Event::Saved { generation, result } => self.saved(generation, result, cx),
            Event::Paused => self.writes_rest(cx),
            Event::Publish { shard, channel, message } => self.publish(shard, channel, message, cx),
            Event::KillLinks { node, to, from } => self.kill_links(&node, (to, from), cx),
            Event::DropFilter(kind) => self.drop_filter = kind,
        }
        self.finish(cx);
    }

    /// What must be seen at once.
    fn finish(&mut self, cx: &mut Cx<'_>) {
        self.update_masks(cx);
        self.tell_left(cx);
    }

    /// Is there anything for `Settle`?
    pub(crate) fn has_work(&self, now: Now) -> bool {
        let due = &self.due;
        let offset = self.manual.waits_for_offset();
        due.failover || due.state || due.masks || offset || self.saves.can_begin(now.mono)
    }

    fn settle(&mut self, cx: &mut Cx<'_>) {
        self.look_at_offset(cx);
        // A manual one goes on to the request at once.
        for _ in 0..2 {
            if self.due.failover {
                self.run_election(cx);
            }
        }
        if std::mem::take(&mut self.due.state) && !(cx.env.loading && self.is_master()) {
            self.update_state(cx);
        }
        self.tell_suspicions(cx);
        self.begin_save(cx);
    }

    fn heard(&mut self, link: LinkId, now: u64) {
        let node = self.links.get(link).and_then(|l| l.node).and_then(|n| self.nodes.get_mut(n));
        if let Some(node) = node {
            node.data_received = Some(now);
        }
    }

    // ---- directives ------------------------------------------------------------------------------

    fn set_directives(&mut self, settings: Settings, cx: &mut Cx<'_>) {
        self.settings = settings.bounded();
        self.announce();
        if let Some(text) = self.settings.announce_ip.as_ref().filter(|_| self.announced_ip.is_none()) {
            let text = format!("cluster-announce-ip {text} is not an address, and not announced");
            cx.log(Level::Warning, text);
        }
        self.due.state = true;
        self.saves.due = true;
    }

    /// Brings this node's own entry in line with the directives.
    fn announce(&mut self) {
        let s = &self.settings;
        let before = self.announced_ip;
        self.announced_ip = s.announce_ip.as_ref().and_then(|ip| ip.parse().ok());
        let or = |set: u16, own: u16| if set == 0 { own } else { set };
        let client = if s.tls_cluster { s.tls_port } else { s.port };
        let bus = or(s.announce_bus_port, or(s.cluster_port, client.saturating_add(BUS_PORT)));
        let ports = (or(s.announce_port, s.port), or(s.announce_tls_port, s.tls_port));
        let hostname = s.announce_hostname.clone().unwrap_or_default();
        let nodename = s.announce_nodename.clone().unwrap_or_default();
        let no_failover = s.replica_no_failover;
        let announced = self.announced_ip;
        let me = self.nodes.myself_mut();
        (me.port, me.tls_port) = ports;
        (me.bus_port, me.hostname, me.nodename) = (bus, hostname, nodename);
        me.flags.set(Flags::NOFAILOVER, no_failover);
        if announced.is_some() || before.is_some() {
            // Without the directive it is learned again.
            me.ip = announced;
        }
    }

    // ---- the data --------------------------------------------------------------------------------

    /// Keys in slots that the nodes file gives to no node, or to another one.
    fn look_at_data(&mut self, cx: &mut Cx<'_>) {
        self.due.state = true;
        if self.nodes.myself().is_replica() || self.settings.no_redirection {
            return;
        }
        let me = self.nodes.me();
        let mut changed = false;
        for slot in slots::each(cx.env.filled) {
            let owner = self.slots.owner(slot);
            if owner == Some(me) || self.slots.importing.contains_key(&slot) {
                continue;
            }
            changed = true;
            match owner {
                None => {
                    let text =
                        format!("I have keys for unassigned slot {slot}. Taking responsibility for it.");
                    cx.log(Level::Notice, text);
                    self.bind(slot, me);
                }
                Some(owner) => {
                    let text = format!(
                        "I have keys for slot {slot}, but the slot is assigned to another node. Setting it \
                         to importing state."
                    );
                    cx.log(Level::Notice, text);
                    self.slots.importing.insert(slot, owner);
                }
            }
        }
        if changed {
            self.saves.due_with_fsync();
        }
    }

    // ---- what redirection asks -------------------------------------------------------------------

    pub(crate) fn is_ok(&self) -> bool {
        self.state.is_ok
    }

    pub(crate) fn me(&self) -> NodeId {
        self.nodes.me()
    }

    pub(crate) fn is_master(&self) -> bool {
        self.nodes.myself().is_master()
    }

    pub(crate) fn my_master(&self) -> Option<NodeId> {
        self.nodes.myself().master
    }

    pub(crate) fn owner(&self, slot: u16) -> Option<NodeId> {
        self.slots.owner(slot)
    }

    pub(crate) fn migrating(&self, slot: u16) -> Option<NodeId> {
        self.slots.migrating.get(&slot).copied()
    }

    pub(crate) fn importing(&self, slot: u16) -> Option<NodeId> {
        self.slots.importing.get(&slot).copied()
    }

    pub(crate) fn my_name(&self) -> &str {
        text(&self.nodes.myself().name)
    }

    pub(crate) fn my_shard(&self) -> &str {
        text(&self.nodes.myself().shard)
    }

    /// Is this the id of a node, of a handshake's too?
    pub(crate) fn knows(&self, id: &[u8]) -> bool {
        id.try_into().is_ok_and(|name: Name| self.nodes.find(&name).is_some())
    }

    pub(crate) fn link_count(&self) -> usize {
        self.links.len()
    }
}

/// From the port of clients to that of the bus.
const BUS_PORT: u16 = 10_000;
