//! Sentinel: watches masters with their replicas, agrees with other sentinels when one is down, and makes a
//! replica the new master. Decides only: nothing here opens a connection, writes a file or reads a clock.
//!
//! ```text
//!   tick ──────────────┐             ┌─► Dial, Send, Close    connections, by a number of our own
//!   replies, messages ─┤             ├─► Resolve              a name of a host
//!   opened, closed ────┼─► Sentinel ─┼─► Save                 the configuration, which holds the state, too
//!   a name's address ──┤             ├─► Log, Publish         events
//!   a script's end ────┤             ├─► Spawn, Kill          scripts of the operator
//!   commands ──────────┘             └─► a reply, as data
//! ```
//!
//! One failover, from the first silence to the new address:
//!
//! ```text
//! s_down   no valid answer for down-after ms              this sentinel's own view
//! o_down   quorum sentinels say so                        the others are asked once a second
//! wait_start           epoch + 1; a vote of each sentinel an epoch; majority and quorum make the leader
//! select_slave         the best replica, or the end
//! send_slaveof_noone   as soon as its connection stands
//! wait_promotion       its INFO says master: the config epoch becomes that of the election
//! reconf_slaves        the others follow, parallel-syncs at a time
//! update_config        the replica takes the master's place in the table; the old master becomes a replica
//! ```
//!
//! The others learn of it from hellos, which carry the address and its config epoch: a greater epoch wins.
//!
//! Invariants, which `sim` looks at by seed: a sentinel votes once an epoch and master, also over restarts;
//! so an epoch has one leader, and a config epoch one address. A vote is on the disk before it is told to
//! another sentinel, the own one, and the epoch of a failover, before it counts; a disk that fails takes the
//! vote away, not the service.
//!
//! Times are milliseconds of a monotonic clock: a step of the wall clock times nothing out. A tick that comes
//! late (the process was stopped, the machine had no time) makes everything look silent: then nothing is
//! decided for a while, which is called tilt.
//!
//! * `instance` what is known of a master, a replica, another sentinel; addresses, connections
//! * `names`    hosts by name: known addresses, and what is to be resolved
//! * `monitor`  connects, pings, asks for INFO; what is down
//! * `info`     what INFO says, and what follows
//! * `hello`    the messages by which sentinels find each other and the newest configuration
//! * `vote`     asking others, voting, counting
//! * `failover` the states above
//! * `scripts`  the queue of scripts
//! * `conf`     lines of the configuration, read and written
//! * `ask`      the subcommands of SENTINEL; `set` those that change; `view` their tables

mod ask;
mod conf;
mod failover;
mod hello;
mod info;
mod instance;
mod monitor;
mod names;
mod scripts;
mod set;
#[cfg(test)]
mod sim;
#[cfg(test)]
mod tests;
mod text;
mod view;
mod vote;

use crate::algo::rng::Rng;
use crate::proto::reply_in::Value;
use crate::sys::log::Level;
pub(crate) use ask::Ask;
#[cfg(test)]
pub(crate) use conf::Phase;
pub(crate) use conf::{ConfLine, phase};
use instance::{Group, Id, Instance, Link, Ms};
use names::Names;
use scripts::Scripts;
use std::collections::BTreeMap;
use text::cat;

/// The channel of hellos.
pub(crate) const HELLO: &[u8] = b"__sentinel__:hello";
/// Characters of an id.
const ID_LEN: usize = 40;

/// A connection that this machine asked for.
pub(crate) type ConnId = u64;

/// What the caller knows at each call.
#[derive(Clone, Debug)]
pub(crate) struct Env {
    /// Milliseconds of a clock that never steps; and of the day, for texts.
    pub now: Ms,
    pub wall: Ms,
    /// Where this sentinel listens, for others.
    pub port: u16,
    /// The password of the default user, which older configurations use between sentinels, too.
    pub password: Option<Vec<u8>>,
    pub loglevel: Level,
    /// May the file be executed?
    pub executable: fn(&[u8]) -> bool,
}

/// What has happened.
#[derive(Debug)]
pub(crate) enum Event<'a> {
    Tick,
    /// The connection stands; our address on it.
    Opened(ConnId, String),
    /// It could not even be begun.
    NotBegun(ConnId, &'a str),
    Closed(ConnId),
    /// A reply, or a message of a subscription.
    Received(ConnId, &'a Value),
    /// A hello by PUBLISH.
    Hello(&'a [u8]),
    Resolved(&'a [u8], Option<String>),
    /// How the save went that was asked for.
    Saved(bool),
    Spawned(u64, i32),
    /// No process could be made; or it is there, and the file is none that runs.
    NotSpawned(u64, NotSpawned),
    /// A child has ended: its exit code, or the signal.
    Ended(i32, Ended),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NotSpawned {
    NoProcess,
    NotExecutable,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ended {
    Code(i32),
    Signal(i32),
}

/// What is to be done, in this order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    /// To an address, never a name.
    Dial(ConnId, String, u16),
    /// Kept until the connection stands.
    Send(ConnId, Vec<u8>),
    Close(ConnId),
    Resolve(Vec<u8>),
    /// Answered with `Event::Saved` before anything behind it is done.
    Save,
    Log(Level, Vec<u8>),
    Publish(&'static str, Vec<u8>),
    Spawn(u64, Vec<Vec<u8>>),
    Kill(i32),
    SetLogLevel(Level),
    /// A failure that was asked for.
    Exit(i32),
}

/// What a command answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Reply {
    Ok,
    Status(Vec<u8>),
    /// With its code.
    Error(Vec<u8>),
    Int(i64),
    Bulk(Vec<u8>),
    Null,
    NullArray,
    Array(Vec<Reply>),
    /// Keys and values in turn.
    Map(Vec<Reply>),
    /// The first when all is on the disk, once the actions are done; else the second. See `settled`.
    IfSaved(Box<(Reply, Reply)>),
}

impl Reply {
    fn text(text: &str) -> Reply {
        Reply::Bulk(text.as_bytes().to_vec())
    }

    fn error(text: &str) -> Reply {
        Reply::Error(cat!["ERR ", text])
    }
}

/// Milliseconds of all kinds, which SENTINEL DEBUG can change.
#[derive(Clone, Debug)]
pub(crate) struct Periods {
    info: Ms,
    ping: Ms,
    ask: Ms,
    publish: Ms,
    default_down_after: Ms,
    default_failover_timeout: Ms,
    tilt_trigger: Ms,
    tilt: Ms,
    reconf_timeout: Ms,
    min_reconnect: Ms,
    election: Ms,
    script_runtime: Ms,
    script_retry: Ms,
}

impl Default for Periods {
    fn default() -> Self {
        Periods {
            info: 10_000,
            ping: 1_000,
            ask: 1_000,
            publish: 2_000,
            default_down_after: 30_000,
            default_failover_timeout: 180_000,
            tilt_trigger: 2_000,
            tilt: 30_000,
            reconf_timeout: 10_000,
            min_reconnect: 15_000,
            election: 10_000,
            script_runtime: 60_000,
            script_retry: 30_000,
        }
    }
}

/// Settings of this sentinel, beside the masters.
#[derive(Clone, Debug)]
struct Settings {
    announce_ip: Option<Vec<u8>>,
    /// 0 for the port where it listens.
    announce_port: u16,
    deny_scripts_reconfig: bool,
    resolve_hostnames: bool,
    announce_hostnames: bool,
    user: Option<Vec<u8>>,
    pass: Option<Vec<u8>>,
}

impl Default for Settings {
    fn default() -> Self {
        Settings {
            announce_ip: None,
            announce_port: 0,
            deny_scripts_reconfig: true,
            resolve_hostnames: false,
            announce_hostnames: false,
            user: None,
            pass: None,
        }
    }
}

/// Failures that SENTINEL SIMULATE-FAILURE asks for.
mod simulate {
    pub(super) const CRASH_AFTER_ELECTION: u8 = 1;
    pub(super) const CRASH_AFTER_PROMOTION: u8 = 2;
}

/// All but the masters: what a function needs beside the group it works on.
#[derive(Debug)]
struct Core {
    myid: Vec<u8>,
    epoch: u64,
    settings: Settings,
    periods: Periods,
    simulate: u8,
    /// In tilt, since then.
    tilt: Option<Ms>,
    last_tick: Option<Ms>,
    links: BTreeMap<Id, Link>,
    names: Names,
    scripts: Scripts,
    rng: Rng,
    next_id: Id,
    next_conn: ConnId,
    /// Something is not on the disk that should be; when it was last tried.
    unsaved: bool,
    save_tried: Option<Ms>,
    env: Env,
    out: Vec<Action>,
}

/// A sentinel.
#[derive(Debug)]
pub(crate) struct Sentinel {
    groups: Vec<Group>,
    core: Core,
}

impl Core {
    fn now(&self) -> Ms {
        self.env.now
    }

    fn log(&mut self, level: Level, text: Vec<u8>) {
        self.out.push(Action::Log(level, text));
    }

    /// An event: log, channel, and the notification script of the group it is about.
    fn announce(&mut self, level: Level, kind: &'static str, group: Option<&Group>, message: Vec<u8>) {
        self.log(level, cat![kind, " ", message]);
        if level != Level::Debug {
            self.out.push(Action::Publish(kind, message.clone()));
        }
        let script = group.and_then(|g| g.notification_script.clone());
        if let Some(path) = script.filter(|_| level == Level::Warning) {
            self.scripts.schedule(vec![path, kind.into(), message]);
        }
    }

    /// An event about an instance, whose name and address come first.
    fn event(&mut self, level: Level, kind: &'static str, group: &Group, id: Id, rest: &[u8]) {
        let message = cat![self.label(group, id), rest];
        self.announce(level, kind, Some(group), message);
    }

    /// `<kind> <name> <ip> <port>[ @ <master> <ip> <port>]`
    fn label(&self, group: &Group, id: Id) -> Vec<u8> {
        let at = |i: &Instance| cat![i.name, " ", self.shown(&i.addr), " ", i.addr.port];
        match group.get(id) {
            Some(i) if i.id != group.master.id => {
                cat![i.kind.name(), " ", at(i), " @ ", at(&group.master)]
            }
            _ => cat!["master ", at(&group.master)],
        }
    }

    /// Everything in the file is to be as it is now.
    fn save(&mut self) {
        self.unsaved = true;
        self.save_tried = Some(self.env.now);
        self.out.push(Action::Save);
    }

    fn new_id(&mut self) -> Id {
        self.next_id += 1;
        self.next_id
    }
}

impl Sentinel {
    /// A sentinel without a master. Its id comes from the configuration, or from `start`.
    pub(crate) fn new(rng: Rng, env: Env) -> Sentinel {
        Sentinel {
            groups: Vec::new(),
            core: Core {
                myid: Vec::new(),
                epoch: 0,
                settings: Settings::default(),
                periods: Periods::default(),
                simulate: 0,
                tilt: None,
                last_tick: None,
                links: BTreeMap::new(),
                names: Names::default(),
                scripts: Scripts::default(),
                rng,
                next_id: 0,
                next_conn: 0,
                unsaved: false,
                save_tried: None,
                env,
                out: Vec::new(),
            },
        }
    }

    /// The configuration has been read: takes `id` where it named none, and says what is watched.
    pub(crate) fn start(&mut self, id: &[u8], env: Env, out: &mut Vec<Action>) {
        self.core.env = env;
        if self.core.myid.is_empty() {
            self.core.myid = id.to_vec();
            self.core.save();
        }
        let text = cat!["Sentinel ID is ", self.core.myid];
        self.core.log(Level::Notice, text);
        for g in &self.groups {
            let rest = cat![" quorum ", g.quorum];
            self.core.event(Level::Warning, "+monitor", g, g.master.id, &rest);
        }
        out.append(&mut self.core.out);
    }

    /// Takes in what has happened.
    pub(crate) fn on(&mut self, event: Event<'_>, env: Env, out: &mut Vec<Action>) {
        self.core.env = env;
        match event {
            Event::Tick => self.tick(),
            Event::Opened(conn, ip) => self.opened(conn, ip),
            Event::NotBegun(conn, why) => self.not_begun(conn, why),
            Event::Closed(conn) => self.closed(conn),
            Event::Received(conn, value) => self.received(conn, value),
            Event::Hello(message) => self.hello(message),
            Event::Resolved(host, ip) => self.resolved(host, ip),
            Event::Saved(done) => self.core.unsaved = !done,
            Event::Spawned(job, pid) => self.core.spawned(job, pid),
            Event::NotSpawned(job, why) => self.core.not_spawned(job, why),
            Event::Ended(pid, how) => self.core.script_ended(pid, how),
        }
        out.append(&mut self.core.out);
    }

    /// Milliseconds to the next tick. They vary, so that sentinels that were started together do not ask for
    /// votes together.
    pub(crate) fn next_tick(&mut self) -> u64 {
        1000 / (10 + self.core.rng.below(10))
    }

    /// The answer to a command once the actions of it are done.
    pub(crate) fn settled(&self, reply: Reply) -> Reply {
        match reply {
            Reply::IfSaved(both) if self.core.unsaved => both.1,
            Reply::IfSaved(both) => both.0,
            other => other,
        }
    }

    fn tick(&mut self) {
        self.core.check_tilt();
        for at in 0..self.groups.len() {
            let Some(ids) = self.groups.get(at).map(Group::ids) else { continue };
            for id in ids {
                self.handle(at, id);
            }
            if self.groups.get(at).is_some_and(|g| g.failover.state == failover::State::UpdateConfig) {
                self.switch_to_promoted(at);
            }
        }
        self.core.run_scripts();
        let late = |tried: Option<Ms>| tried.is_none_or(|t| self.core.now() - t >= 1000);
        if self.core.unsaved && late(self.core.save_tried) {
            self.core.save();
        }
    }

    fn handle(&mut self, at: usize, id: Id) {
        let Some(g) = self.groups.get_mut(at) else { return };
        let c = &mut self.core;
        monitor::reconnect(g, id, c);
        monitor::periodic(g, id, c);
        // In tilt everything is looked at, and nothing follows from it.
        if !c.leaves_tilt() {
            return;
        }
        monitor::check_s_down(g, id, c);
        if id == g.master.id {
            monitor::check_o_down(g, c);
            if failover::start_if_needed(g, c) {
                vote::ask_others(g, c, true);
            }
            failover::advance(g, c);
            vote::ask_others(g, c, false);
        }
    }

    fn group_at(&self, name: &[u8]) -> Option<usize> {
        self.groups.iter().position(|g| g.master.name == name)
    }
}

impl Core {
    fn check_tilt(&mut self) {
        let now = self.now();
        let passed = self.last_tick.map_or(0, |t| now - t);
        self.last_tick = Some(now);
        if passed < 0 || passed > self.periods.tilt_trigger {
            self.tilt = Some(now);
            self.announce(Level::Warning, "+tilt", None, b"#tilt mode entered".to_vec());
        }
    }

    /// Is there no tilt, or is it over by now?
    fn leaves_tilt(&mut self) -> bool {
        match self.tilt {
            None => true,
            Some(since) if self.now() - since < self.periods.tilt => false,
            Some(_) => {
                self.tilt = None;
                self.announce(Level::Warning, "-tilt", None, b"#tilt mode exited".to_vec());
                true
            }
        }
    }
}
