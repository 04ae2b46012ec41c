//! The node of a cluster, performed: its connections, its file, and what follows from the machine in
//! `cluster`.
//!
//! ```text
//! listeners ─ accept ──┐            ┌─► dial, close, send ─► frames (`net::frames`)
//! frames ──── packets ─┤            ├─► save ─► a thread ─► Saved
//! timer ───── Tick ────┼─► machine ─┼─► role::follow, role::promote, pause, FLUSHALL
//! pass ────── Settle ──┤            ├─► drop_slot, unsubscribe, unblock
//! commands ── ask ─────┘            └─► publish, log
//! ```
//!
//! - The timer runs each 100 ms whatever `hz` says. Inside of a command (a busy script, a load) packets are
//!   read and answered, but nothing ticks, and what would change data or role waits for the outer pass
//!   (`deferred`).
//! - `before_sleep` has the machine do the work that it has put off (`settle`), and writes what waits.
//! - With `tls-cluster` a connection has its handshake before anything is sent or read (`Opening`). One that
//!   does not end is a stranger, or a link without an answer, and goes as these do.
//! - While an action is performed the machine may be told more (a dial that is refused at once): it is
//!   back in its place by then.

use super::{Server, ServerStates, pause, policy, redirect, role, tls};
use crate::algo::crc16::key_slot;
use crate::algo::rng::Rng;
use crate::bio::{self, Handed};
use crate::clients::flag;
use crate::clients::pause::{Purpose, action};
use crate::cluster::{Action, Cluster, Corrupt, Env, Event, LinkId, Now, Settings};
use crate::ds::hash::SLOTS;
use crate::keyspace::slots::DB;
use crate::net::connect::{self, Connecting};
use crate::net::frames::{Frames, Opening};
use crate::net::listener::Listener;
use crate::net::reactor::{BUS, EXTRA, NODES, Ready};
use crate::net::stream::Stream;
use crate::pubsub::{self, SubscriptionKind};
use crate::replication::link::Target;
use crate::server::nodes_conf::{self, NodesConf};
use crate::sys::errno;
use crate::{notice, warning};
use std::collections::{BTreeMap, VecDeque};
use std::fs::File;
use std::io::ErrorKind;
use std::net::{IpAddr, SocketAddr};

/// Milliseconds between two ticks.
const TICK: u64 = 100;
/// Connections accepted per event (MAX_CLUSTER_ACCEPTS_PER_CALL).
const ACCEPTS: usize = 1000;
/// Reads of one connection per pass.
const READS: usize = 16;
/// Milliseconds to which the distance of wall time from monotonic time is rounded.
const STEP: u64 = 64;

/// A save under way, by its generation.
type Saving = (u64, Handed<Result<File, String>>);

pub struct Bus {
    pub cluster: Cluster,
    conf: NodesConf,
    listeners: Vec<Listener>,
    /// Where they listen.
    port: u16,
    /// By index; the generation says which of those that had the index it is.
    links: BTreeMap<u32, (LinkId, Frames)>,
    /// With something to write, or to read that no event announces; some may be gone.
    to_write: Vec<LinkId>,
    to_read: VecDeque<LinkId>,
    saving: Option<Saving>,
    next_tick_ms: u64,
    /// Room for actions.
    actions: Vec<Action>,
    /// What a nested pass must not do.
    deferred: VecDeque<Action>,
    /// That is being done.
    catching_up: bool,
    /// Writes rest since the machine has asked for it, and it has not been told.
    pausing: bool,
}

impl Bus {
    pub fn new(cluster: Cluster, conf: NodesConf) -> Bus {
        Bus {
            cluster,
            conf,
            listeners: Vec::new(),
            port: 0,
            links: BTreeMap::new(),
            to_write: Vec::new(),
            to_read: VecDeque::new(),
            saving: None,
            next_tick_ms: 0,
            actions: Vec::new(),
            deferred: VecDeque::new(),
            catching_up: false,
            pausing: false,
        }
    }

    fn frames(&mut self, link: LinkId) -> Option<&mut Frames> {
        self.links.get_mut(&link.index).filter(|(id, _)| *id == link).map(|(_, f)| f)
    }

    /// Bytes that wait on a connection, and the room for them.
    pub fn waiting(&self, link: LinkId) -> (usize, usize) {
        let found = self.links.get(&link.index).filter(|(id, _)| *id == link);
        found.map_or((0, 0), |(_, f)| (f.waiting(), f.allocated()))
    }

    /// Bytes of all connections.
    pub fn footprint(&self) -> usize {
        self.links.values().map(|(_, f)| f.footprint()).sum()
    }

    /// Is there work that no event announces?
    pub fn has_work(&self) -> bool {
        !self.to_read.is_empty() || !self.to_write.is_empty()
    }

    /// Monotonic milliseconds.
    pub fn next_tick_ms(&self) -> u64 {
        self.next_tick_ms
    }
}

impl Server {
    /// The cluster that this server is a node of.
    #[inline]
    pub fn cluster(&self) -> Option<&Cluster> {
        self.bus.as_ref().map(|bus| &bus.cluster)
    }
}

// ---- the machine -----------------------------------------------------------------------------------

static NO_SLOTS: [u64; 256] = [0; 256];

/// Wall time keeps a rounded distance from the monotonic one: of two clocks that are rounded apart a moment
/// that has passed would be shown as another one from call to call.
fn now(srv: &Server) -> Now {
    let (mono, wall) = (srv.clock.mono_ms, srv.clock.unix_ms.unsigned_abs());
    let ahead = wall.saturating_sub(mono).saturating_add(STEP / 2) / STEP * STEP;
    Now { mono, wall: mono.saturating_add(ahead) }
}

pub fn env(srv: &Server) -> Env<'_> {
    let link = &srv.repl.link;
    let secs = |since: i64| u64::try_from(srv.clock.unix_secs() - since).unwrap_or(0) * 1000;
    let heard = srv.master_link.client().and_then(|id| srv.clients.get(id));
    let offset = match (link.is_on(), link.is_online()) {
        (false, _) | (true, true) => srv.repl.offset(),
        (true, false) => link.cached().map_or(0, |p| p.offset),
    };
    let data_age = match heard.filter(|_| link.is_online()) {
        Some(c) => Some(secs(i64::from(c.conn.last_seen))),
        None => Some(link.down_since()).filter(|at| *at > 0).map(|at| {
            // The link hears later than the master was cut off, if the command that did it goes on.
            secs(Some(srv.master_link.cut_at).filter(|cut| *cut > 0).map_or(at, |cut| cut.min(at)))
        }),
    };
    Env {
        now: now(srv),
        offset,
        loading: srv.states.has(ServerStates::LOADING),
        data_age,
        hollow: srv.master_link.hollow,
        filled: srv.ks.db(DB).slots_taken().unwrap_or(&NO_SLOTS),
    }
}

/// Asks the machine something, and does what follows from it.
pub fn ask<R>(srv: &mut Server, f: impl FnOnce(&mut Cluster, &Env, &mut Vec<Action>) -> R) -> Option<R> {
    catch_up(srv);
    let mut bus = srv.bus.take()?;
    let mut actions = std::mem::take(&mut bus.actions);
    let answer = f(&mut bus.cluster, &env(srv), &mut actions);
    srv.bus = Some(bus);
    for action in actions.drain(..) {
        perform(srv, action);
    }
    if let Some(bus) = &mut srv.bus {
        bus.actions = actions;
    }
    Some(answer)
}

/// Tells the machine what has happened.
pub fn event(srv: &mut Server, event: Event<'_>) {
    ask(srv, |cluster, env, out| cluster.on(event, env, out));
}

fn perform(srv: &mut Server, action: Action) {
    let nested = srv.execution.in_nested_pass();
    if let Some(bus) = srv.bus.as_mut().filter(|_| changes_data(&action)) {
        // Not before one that the machine has asked for earlier.
        if nested || !bus.deferred.is_empty() {
            return bus.deferred.push_back(action);
        }
    }
    act(srv, action);
}

/// What a nested pass had to leave, unless something is under way that relies on the data: a script, or EXEC.
fn catch_up(srv: &mut Server) {
    let e = &srv.execution;
    let whole = e.between_units() || e.in_outermost_command();
    let Some(bus) = srv.bus.as_mut().filter(|bus| !bus.deferred.is_empty()) else { return };
    if e.in_nested_pass() || !whole || std::mem::replace(&mut bus.catching_up, true) {
        return;
    }
    while let Some(action) = srv.bus.as_mut().and_then(|bus| bus.deferred.pop_front()) {
        act(srv, action);
    }
    if let Some(bus) = &mut srv.bus {
        bus.catching_up = false;
    }
}

fn act(srv: &mut Server, action: Action) {
    match action {
        Action::Log(level, text) => crate::log_at!(level, "{text}"),
        Action::Dial { link, ip, port } => dial(srv, link, ip, port),
        Action::Close { link } => close(srv, link),
        Action::Send { link, block } => {
            let Some(bus) = &mut srv.bus else { return };
            if let Some(frames) = bus.frames(link) {
                frames.push(block);
                bus.to_write.push(link);
            }
        }
        Action::Save { text, fsync, generation } => save(srv, text, fsync, generation),
        Action::Follow { ip, port } => role::follow(srv, Target { host: ip.to_string(), port }),
        Action::BecomeMaster => {
            role::promote(srv);
        }
        Action::FlushAll => {
            super::settle::before_flush(srv, None, false);
            srv.ks.flush(None, false);
            super::function::flush(srv);
            super::settle::sweep(srv);
        }
        Action::PauseWrites { until } => {
            let rest = until.saturating_sub(srv.clock.mono_ms);
            let until = srv.clock.unix_ms.saturating_add_unsigned(rest);
            pause::pause(srv, Purpose::Failover, until, action::WRITE_SET);
            if let Some(bus) = &mut srv.bus {
                bus.pausing = true;
            }
        }
        Action::ResumeWrites => pause::unpause(srv, Purpose::Failover),
        Action::DropSlots(slots) => drop_slots(srv, &slots),
        Action::Unsubscribe(slots) => unsubscribe(srv, &slots),
        Action::Lost(slots) => redirect::unblock(srv, &slots),
        Action::Publish { shard, channel, message } => {
            let kind = if shard { SubscriptionKind::Shard } else { SubscriptionKind::Channel };
            pubsub::publish(&mut srv.pubsub, &mut srv.clients, kind, &channel, &message);
        }
        Action::Fatal(text) => {
            warning!("{text}");
            std::process::exit(1);
        }
        // No module listens.
        Action::Module { .. } => {}
    }
}

fn changes_data(action: &Action) -> bool {
    matches!(
        action,
        Action::Follow { .. }
            | Action::BecomeMaster
            | Action::FlushAll
            | Action::PauseWrites { .. }
            | Action::ResumeWrites
            | Action::DropSlots(_)
            | Action::Lost(_)
    )
}

/// The keys of slots leave, as if a client had deleted them.
fn drop_slots(srv: &mut Server, slots: &[u64; 256]) {
    // Inside of a command they are a part of it.
    let alone = srv.execution.between_units();
    for slot in (0..SLOTS).filter(|slot| slots[slot / 64] >> (slot % 64) & 1 != 0) {
        if alone {
            srv.execution.enter_command();
            srv.ks.drop_slot(slot);
            srv.execution.leave_command();
            super::settle::lone_unit_end(srv);
        } else {
            srv.ks.drop_slot(slot);
        }
    }
}

/// Clients leave the shard channels of slots, and are told so.
fn unsubscribe(srv: &mut Server, slots: &[u64; 256]) {
    const SHARD: SubscriptionKind = SubscriptionKind::Shard;
    let leaves = |name: &[u8]| {
        let slot = key_slot(name);
        slots[usize::from(slot) / 64] >> (slot % 64) & 1 != 0
    };
    for name in srv.pubsub.active(SHARD, None).iter().filter(|n| leaves(n)) {
        for id in srv.pubsub.listeners(SHARD, name) {
            srv.pubsub.unsubscribe(SHARD, id, name);
            let left = srv.pubsub.count(SHARD, id);
            srv.clients.push(id, |out| {
                out.push(3);
                out.bulk(SHARD.words().1.as_bytes());
                out.bulk(name);
                out.int(left as i64);
            });
            let others = [SubscriptionKind::Channel, SubscriptionKind::Pattern];
            let others: usize = others.iter().map(|k| srv.pubsub.count(*k, id)).sum();
            if left + others == 0
                && let Some(c) = srv.clients.get_mut(id)
            {
                c.clear(flag::PUBSUB);
            }
        }
    }
    policy::refresh(srv);
}

// ---- the timer, and once a pass ----------------------------------------------------------------------

/// Once a pass: what has not been read, and outside of commands the timer, and what could not be done inside
/// of one.
pub fn turn(srv: &mut Server) {
    let unread = srv.bus.as_ref().map_or(0, |bus| bus.to_read.len());
    for _ in 0..unread {
        let Some(link) = srv.bus.as_mut().and_then(|bus| bus.to_read.pop_front()) else { break };
        read(srv, link);
    }
    if !srv.execution.owns_data() {
        return;
    }
    catch_up(srv);
    let now = srv.clock.mono_ms;
    let Some(bus) = &mut srv.bus else { return };
    if now >= bus.next_tick_ms {
        bus.next_tick_ms = now + TICK;
        over_limit(srv);
        event(srv, Event::Tick);
    }
}

/// Connections on which more waits than they may hold.
fn over_limit(srv: &mut Server) {
    let limit = srv.config.cluster_link_sendbuf_limit;
    let Some(bus) = srv.bus.as_ref().filter(|_| limit > 0) else { return };
    let over: Vec<(LinkId, u64)> = bus
        .links
        .values()
        .map(|(link, f)| (*link, f.waiting() as u64))
        .filter(|(_, used)| *used > limit)
        .collect();
    for (link, used) in over {
        event(srv, Event::OverLimit { link, used });
    }
}

/// Before the loop sleeps, outside of commands: work that the machine has put off, and the end of a save.
pub fn settle(srv: &mut Server) {
    saved(srv);
    let now = now(srv);
    if srv.bus.as_ref().is_some_and(|bus| bus.cluster.has_work(now)) {
        event(srv, Event::Settle);
    }
    if srv.ops.is_empty()
        && let Some(bus) = &mut srv.bus
        && std::mem::take(&mut bus.pausing)
    {
        event(srv, Event::Paused);
    }
}

/// Before the loop sleeps: what waits is written.
pub fn flush(srv: &mut Server) {
    let Some(bus) = &mut srv.bus else { return };
    for link in std::mem::take(&mut bus.to_write) {
        write(srv, link);
    }
}

// ---- connections -------------------------------------------------------------------------------------

fn dial(srv: &mut Server, link: LinkId, ip: IpAddr, port: u16) {
    let from = srv.config.bind_source_addr.as_ref().map(|a| String::from_utf8_lossy(a).into_owned());
    let begun = connect::start(&[SocketAddr::new(ip, port)], from.as_deref()).and_then(|stream| {
        if srv.config.tls_cluster { tls::secure(srv, stream, &ip.to_string()) } else { Ok(stream) }
    });
    match begun {
        Ok(stream) => attach(srv, link, stream, Some(Opening::Dialed)),
        Err(e) => {
            crate::debug!("Unable to connect to Cluster Node [{ip}]:{port} -> {}", errno::text(&e));
            event(srv, Event::Closed { link });
        }
    }
}

fn attach(srv: &mut Server, link: LinkId, mut stream: Stream, opening: Option<Opening>) {
    stream.set_nodelay(true);
    let token = mio::Token(EXTRA + NODES + link.index as usize);
    if let Err(e) = stream.register(srv.reactor.registry(), token) {
        warning!("Can't listen to a connection of the cluster bus: {}", errno::text(&e));
        return event(srv, Event::Closed { link });
    }
    let Some(bus) = &mut srv.bus else { return };
    let before = bus.links.insert(link.index, (link, Frames::new(stream, opening)));
    debug_assert!(before.is_none(), "the machine gives an index out once at a time");
}

fn close(srv: &mut Server, link: LinkId) {
    let Some(bus) = &mut srv.bus else { return };
    if bus.frames(link).is_none() {
        return;
    }
    if let Some((_, mut frames)) = bus.links.remove(&link.index) {
        frames.stream.farewell();
        frames.stream.deregister(srv.reactor.registry());
        // A child has copies of all descriptors: a mere close would leave the peer waiting.
        if srv.jobs.child.is_some() {
            frames.stream.shutdown();
        }
    }
}

fn lost(srv: &mut Server, link: LinkId) {
    close(srv, link);
    event(srv, Event::Closed { link });
}

/// A source of the bus has signalled.
pub fn ready(srv: &mut Server, n: usize, e: &Ready) {
    if n < NODES {
        return accept(srv, n - BUS);
    }
    let Some(bus) = &mut srv.bus else { return };
    let Some((link, frames)) = u32::try_from(n - NODES).ok().and_then(|i| bus.links.get_mut(&i)) else {
        return;
    };
    let link = *link;
    let allowed = frames.stream.signalled(e);
    if !opened(srv, link) {
        return;
    }
    if allowed.write
        && let Some(bus) = &mut srv.bus
        && let Some(frames) = bus.frames(link)
    {
        frames.has_room_again();
        bus.to_write.push(link);
    }
    read(srv, link);
}

/// Goes on with the opening of a connection; true when it can be used.
fn opened(srv: &mut Server, link: LinkId) -> bool {
    let Some(frames) = srv.bus.as_mut().and_then(|bus| bus.frames(link)) else { return false };
    let Some(opening) = frames.opening else { return true };
    match (connect::state(&mut frames.stream), opening) {
        (Connecting::Pending, _) => return false,
        (Connecting::Open, Opening::Accepted) => frames.opening = None,
        (Connecting::Open, Opening::Dialed) => {
            frames.opening = None;
            let (local, _) = frames.stream.ends();
            event(srv, Event::Dialed { link, local });
        }
        (Connecting::Failed(e), opening) => {
            let why = errno::text(&e);
            match opening {
                Opening::Accepted => crate::verbose!("Error accepting cluster node connection: {why}"),
                Opening::Dialed => crate::debug!("Connection of the cluster bus failed: {why}"),
            }
            lost(srv, link);
            return false;
        }
    }
    true
}

fn accept(srv: &mut Server, n: usize) {
    for _ in 0..ACCEPTS {
        let Some(listener) = srv.bus.as_ref().and_then(|bus| bus.listeners.get(n)) else { return };
        match listener.accept() {
            Ok(stream) => welcome(srv, stream),
            Err(e) if e.kind() == ErrorKind::WouldBlock => return,
            Err(e) if e.kind() == ErrorKind::Interrupted => {}
            Err(e) => {
                crate::verbose!("Error accepting cluster node: {}", errno::text(&e));
                return;
            }
        }
    }
}

fn welcome(srv: &mut Server, stream: Stream) {
    // What a master loads it may not own any more: it listens to no claim before it knows.
    if srv.states.has(ServerStates::LOADING) && !srv.repl.link.is_on() {
        return;
    }
    let (local, Some(peer)) = stream.ends() else { return };
    let link = ask(srv, |cluster, env, _| cluster.accept(peer, local, env)).flatten();
    let Some(link) = link else { return };
    let (stream, opening) = match srv.config.tls_cluster {
        true => (tls::secure_bus(srv, stream), Some(Opening::Accepted)),
        false => (Ok(stream), None),
    };
    match stream {
        Ok(stream) => attach(srv, link, stream, opening),
        Err(e) => {
            let why = errno::text(&e);
            crate::verbose!("Error creating an accepting connection for cluster node: {why}");
            return event(srv, Event::Closed { link });
        }
    }
    // It may have spoken before it was listened to.
    if opened(srv, link) {
        read(srv, link);
    }
}

/// Reads what has come, and hands whole packets to the machine.
fn read(srv: &mut Server, link: LinkId) {
    for _ in 0..READS {
        let Some(frames) = srv.bus.as_mut().and_then(|bus| bus.frames(link)) else { return };
        if frames.opening.is_some() {
            return;
        }
        let before = frames.input().len();
        let open = match frames.read() {
            Ok(open) => open,
            Err(e) => {
                crate::debug!("I/O error reading from node link: {}", errno::text(&e));
                return lost(srv, link);
            }
        };
        let (more, came) = (frames.unread, frames.input().len() > before);
        let whole = packets(srv, link);
        let Some(frames) = srv.bus.as_mut().and_then(|bus| bus.frames(link)) else { return };
        if came && whole == 0 && !frames.input().is_empty() {
            event(srv, Event::Heard { link });
        }
        if !open {
            return lost(srv, link);
        }
        if !more {
            return;
        }
    }
    if let Some(bus) = &mut srv.bus {
        bus.to_read.push_back(link);
    }
}

/// Returns how many there were.
fn packets(srv: &mut Server, link: LinkId) -> usize {
    for n in 0.. {
        let Some(bus) = &mut srv.bus else { return n };
        let Some((_, frames)) = bus.links.get(&link.index).filter(|(id, _)| *id == link) else {
            return n;
        };
        let len = match bus.cluster.frame_limit(link, frames.input()) {
            Ok(Some(len)) if len <= frames.input().len() => len,
            Ok(_) => return n,
            Err(_) => {
                warning!("Bad message length or signature received on the Cluster bus.");
                lost(srv, link);
                return n;
            }
        };
        let Some(frames) = bus.frames(link) else { return n };
        let packet = frames.take(len);
        event(srv, Event::Frame { link, bytes: &packet });
    }
    0
}

fn write(srv: &mut Server, link: LinkId) {
    let Some(frames) = srv.bus.as_mut().and_then(|bus| bus.frames(link)) else { return };
    if let Err(e) = frames.flush() {
        crate::debug!("I/O error writing to node link: {}", errno::text(&e));
        lost(srv, link);
    }
}

// ---- the file ----------------------------------------------------------------------------------------

fn save(srv: &mut Server, text: String, fsync: bool, generation: u64) {
    let Some(bus) = &mut srv.bus else { return };
    debug_assert!(bus.saving.is_none(), "one save at a time");
    let path = bus.conf.path().to_path_buf();
    let temp = nodes_conf::temp_name(&path, srv.clock.unix_ms);
    let waker = srv.reactor.waker();
    // A vote waits for it, and must not wait for the log or for a big file, too.
    let handed = bio::aside(
        "bio_nodes",
        move || nodes_conf::save(&path, &temp, text.as_bytes(), fsync),
        // A loop that does not hear of it looks at its next tick.
        move || drop(waker.wake()),
    );
    match handed {
        Ok(handed) => bus.saving = Some((generation, handed)),
        Err(e) => event(srv, Event::Saved { generation, result: Err(errno::text(&e)) }),
    }
}

fn saved(srv: &mut Server) {
    let Some(bus) = &mut srv.bus else { return };
    if let Some(saving) = bus.saving.take_if(|(_, handed)| handed.is_done()) {
        // The machine logs a failure.
        drop(end_save(srv, saving));
    }
}

fn end_save(srv: &mut Server, (generation, handed): Saving) -> Result<(), String> {
    let Some(bus) = &mut srv.bus else { return Ok(()) };
    let result = handed.outcome().map(|file| bus.conf.adopt(file));
    event(srv, Event::Saved { generation, result: result.clone() });
    result
}

/// Writes the file now, and waits: for a command that has changed something, at the first start, and at the
/// end.
pub fn save_now(srv: &mut Server) -> Result<(), String> {
    let Some(bus) = &mut srv.bus else { return Ok(()) };
    if let Some(before) = bus.saving.take() {
        // It does not have the change; when it fails so does the next, most likely.
        drop(end_save(srv, before));
    }
    ask(srv, |cluster, env, out| cluster.save_at_once(env, out));
    let saving = srv.bus.as_mut().and_then(|bus| bus.saving.take());
    end_save(srv, saving.ok_or("it could not be begun")?)
}

// ---- the start, and the end ---------------------------------------------------------------------------

/// The directives as the machine wants them.
fn settings(srv: &Server) -> Settings {
    let c = &srv.config;
    let text = |t: &Option<Vec<u8>>| {
        t.as_ref().filter(|t| !t.is_empty()).map(|t| String::from_utf8_lossy(t).into_owned())
    };
    // The rows bound them all.
    let port = |n: u64| u16::try_from(n).unwrap_or(0);
    Settings {
        node_timeout: c.cluster_node_timeout,
        ping_interval: c.cluster_ping_interval,
        migration_barrier: c.cluster_migration_barrier,
        validity_factor: c.cluster_replica_validity_factor,
        repl_ping_period: c.repl_ping_replica_period,
        require_full_coverage: c.cluster_require_full_coverage,
        allow_replica_migration: c.cluster_allow_replica_migration,
        replica_no_failover: c.cluster_replica_no_failover,
        module_no_failover: false,
        no_redirection: false,
        announce_ip: text(&c.cluster_announce_ip),
        announce_port: port(c.cluster_announce_port),
        announce_tls_port: port(c.cluster_announce_tls_port),
        announce_bus_port: port(c.cluster_announce_bus_port),
        cluster_port: port(c.cluster_port),
        announce_hostname: text(&c.cluster_announce_hostname),
        announce_nodename: text(&c.cluster_announce_human_nodename),
        port: port(c.port),
        tls_port: port(c.tls_port),
        tls_cluster: c.tls_cluster,
        tls_replication: c.tls_replication,
        endpoint: c.cluster_preferred_endpoint_type,
        max_bulk: c.proto_max_bulk_len,
        exit_on_failed_save: false,
    }
}

/// A directive has changed.
pub fn directives(srv: &mut Server) {
    if srv.bus.is_some() {
        let settings = Box::new(settings(srv));
        event(srv, Event::Directives(settings));
    }
}

/// At the start: the file is read, or a new node begins. A failure has been logged.
pub fn open(srv: &mut Server) -> Result<(), ()> {
    if !srv.config.cluster_enabled {
        return Ok(());
    }
    srv.states.put(ServerStates::CLUSTER, true);
    let name = srv.config.cluster_config_file.clone();
    let mut conf = NodesConf::open(&name)?;
    let shown = conf.path().display().to_string();
    let text = conf.read().map_err(|e| {
        warning!("Loading the cluster node config from {shown}: {}", errno::text(&e));
    })?;
    let (now, settings, rng) = (now(srv), settings(srv), Rng::from_os());
    let mut cluster = if text.is_empty() {
        let cluster = Cluster::new(settings, rng, now);
        notice!("No cluster configuration found, I'm {}", cluster.my_name());
        cluster
    } else {
        match Cluster::read(settings, rng, &String::from_utf8_lossy(&text), now) {
            Ok((cluster, log)) => {
                log.iter().for_each(|(level, text)| crate::log_at!(*level, "{text}"));
                cluster
            }
            Err(Corrupt(line)) => {
                warning!("Unrecoverable error: corrupted cluster config file \"{line}\".");
                return Err(());
            }
        }
    };
    let follows = cluster.begin_to_follow();
    srv.bus = Some(Box::new(Bus::new(cluster, conf)));
    if let Some((ip, port)) = follows {
        role::begin_as_replica(srv, Target { host: ip.to_string(), port });
    }
    save_now(srv).map_err(|e| warning!("Fatal: can't update cluster config file {shown}: {e}"))?;
    directives(srv);
    Ok(())
}

/// The port of the bus, as it is announced.
fn wanted_port(srv: &Server) -> u64 {
    let c = &srv.config;
    match (c.cluster_port, c.tls_cluster) {
        (0, true) => c.tls_port + 10_000,
        (0, false) => c.port + 10_000,
        (port, _) => port,
    }
}

/// A directive about TLS has changed, and perhaps with it the port that nodes are told of.
pub fn listen_again(srv: &mut Server) -> Result<(), ()> {
    let Some(bus) = &srv.bus else { return Ok(()) };
    if wanted_port(srv) != u64::from(bus.port) {
        listen(srv)?;
    }
    directives(srv);
    Ok(())
}

/// Listens on the bus port, and on no other one.
pub fn listen(srv: &mut Server) -> Result<(), ()> {
    if srv.bus.is_none() {
        return Ok(());
    }
    let Ok(port) = u16::try_from(wanted_port(srv)) else {
        warning!(
            "Redis port number too high. Cluster communication port is 10,000 port numbers higher than \
             your Redis port. Your Redis port number must be 55535 or less."
        );
        return Err(());
    };
    let Ok(listeners) = super::listen::listeners(srv, port, EXTRA + BUS) else {
        warning!("Failed listening on port {port} (cluster), aborting.");
        return Err(());
    };
    if listeners.is_empty() {
        warning!("No bind address is configured, but it is required for the Cluster bus.");
        return Err(());
    }
    if let Some(bus) = &mut srv.bus {
        bus.listeners.iter_mut().for_each(|l| l.deregister(srv.reactor.registry()));
        bus.listeners = listeners.into_iter().map(|(_, l)| l).collect();
        bus.port = port;
    }
    Ok(())
}

/// The data are loaded: the machine looks which slots hold keys.
pub fn loaded(srv: &mut Server) -> bool {
    if srv.bus.is_none() {
        return true;
    }
    if srv.ks.iter().any(|(n, db)| n != DB && !db.is_empty()) {
        warning!("You can't have keys in a DB different than DB 0 when in Cluster mode. Exiting.");
        return false;
    }
    event(srv, Event::Loaded);
    true
}

/// At the end: the file is written, and free.
pub fn close_all(srv: &mut Server) {
    if let Err(e) = save_now(srv) {
        warning!("Can't save the cluster node config: {e}");
    }
    srv.bus = None;
}

/// In a child: the lock and the sockets are the parent's.
pub fn leave(srv: &mut Server) {
    srv.bus = None;
}
