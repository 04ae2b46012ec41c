//! The sentinel mode, performed: what the machine in `crate::sentinel` asks for, and what it is told.
//!
//! ```text
//! timer ──────────────────► tick ─┐             ┌─► Dial, Send, Close: connections by slots, one token each
//! a connection's event ───► ready ┼─► machine ──┼─► Save: the configuration file as a whole, at once
//! a resolver thread ──► answers ──┤             ├─► Publish, Log
//! SIGCHLD ────────────────► ended ┤             ├─► Spawn, Kill: a script, which inherits no descriptor
//! SENTINEL, PUBLISH ──────► ask ──┘             └─► Resolve: a thread for each name
//! ```
//!
//! The rest is the same server with an empty keyspace and the commands of this mode (`Mode` of the table).
//! Actions are done in order, and what a save came to is known before anything behind it is done: a vote is
//! on the disk before its answer leaves.

use super::{Server, apply, tls};
use crate::cmd::row::Flow;
use crate::config::Config;
use crate::config::load::{Line, LoadError};
use crate::config::rewrite::Rewriter;
use crate::net::connect::{self, Connecting};
use crate::net::reactor::{EXTRA, Ready, SENTINEL};
use crate::net::stream::{Read, Stream, Written};
use crate::proto::error::CmdError;
use crate::proto::reply_in::{self, ReplyValue};
use crate::pubsub::{SubscriptionKind, publish};
use crate::sentinel::{
    Action, Ask, ConfLine, ConnId, Ended, Env, Event, NotSpawned, Reply, Sentinel, phase,
};
use crate::sys::clock::{mono_ns, unix_ms};
use crate::sys::process::{self, pid_t};
use crate::sys::{errno, fsx, log};
use crate::{notice, warning};
use std::ffi::OsStr;
use std::io::ErrorKind;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

pub const PORT: u64 = 26379;
/// Bytes read at once from a server that is watched.
const PIECE: usize = 16 * 1024;
/// Reads of one connection per pass.
const READS: usize = 16;
/// Bytes that wait for the rest of a reply at most; of what is asked for only INFO is larger than a line.
const MOST_INPUT: usize = 2 * 1024 * 1024;
/// A name that a command states is waited for so long: less than what would count as tilt.
const PATIENCE: Duration = Duration::from_millis(1000);

type Answer = (Vec<u8>, Option<String>);

/// A connection to a server that is watched.
struct Outgoing {
    id: ConnId,
    stream: Stream,
    open: bool,
    input: Vec<u8>,
    /// What the socket had no room for, or waits for the connection to stand.
    output: Vec<u8>,
}

/// The machine, and what it holds of the outer world.
pub struct SentinelMode {
    machine: Sentinel,
    slots: Vec<Option<Outgoing>>,
    next_tick_ms: u64,
    /// Connections that may have more, which no event announces.
    unread: Vec<ConnId>,
    answers: (Sender<Answer>, Receiver<Answer>),
}

// ---- start ---------------------------------------------------------------------------------------

fn executable(path: &[u8]) -> bool {
    fsx::may_execute(Path::new(OsStr::from_bytes(path)))
}

fn env_of(config: &Config) -> Env {
    let port = match config.tls_replication && config.tls_port != 0 {
        true => config.tls_port,
        false => config.port,
    };
    Env {
        now: (mono_ns() / 1_000_000).cast_signed(),
        wall: unix_ms(),
        port: u16::try_from(port).unwrap_or(0),
        password: config.requirepass.as_deref().map(<[u8]>::to_vec),
        loglevel: config.loglevel,
        executable,
    }
}

/// The machine of a configuration, with the lines about sentinels read in the order in which they depend on
/// each other.
pub fn of_config(config: &Config, lines: &[Line]) -> Result<Box<SentinelMode>, LoadError> {
    let env = env_of(config);
    let mut machine = Sentinel::new(crate::algo::rng::Rng::from_os(), env.clone());
    let option = |line: &&Line| phase(line.args.first().map_or(b"", |word| word));
    let mut sorted: Vec<&Line> = lines.iter().collect();
    sorted.sort_by_key(option);
    for line in sorted {
        let words: Vec<&[u8]> = line.args.iter().map(|word| &word[..]).collect();
        if let Some(host) = Sentinel::host_of(&words).filter(|host| machine.is_unknown(host)) {
            machine.learn(host, connect::address_of(host), env.now);
        }
        machine.read_line(&words).map_err(|why| LoadError::at(&line.place, why))?;
    }
    let (slots, unread) = (Vec::new(), Vec::new());
    Ok(Box::new(SentinelMode { machine, slots, next_tick_ms: 0, unread, answers: channel() }))
}

/// A sentinel keeps its state in its file: without one that it may write there is none. False ends the start.
pub fn may_write(file: Option<&[u8]>) -> bool {
    let Some(file) = file else {
        warning!("Sentinel needs config file on disk to save state. Exiting...");
        return false;
    };
    match fsx::check_writable(Path::new(OsStr::from_bytes(file))) {
        Ok(()) => true,
        Err(e) => {
            let name = String::from_utf8_lossy(file);
            warning!("Sentinel config file {name} is not writable: {}. Exiting...", errno::text(&e));
            false
        }
    }
}

/// The server listens: the watch begins.
pub fn start(srv: &mut Server) {
    let env = env_of(&srv.config);
    let Some(mode) = &mut srv.sentinel else { return };
    let mut out = Vec::new();
    mode.machine.start(crate::replication::random_id().as_bytes(), env, &mut out);
    perform(srv, out);
}

// ---- what happens --------------------------------------------------------------------------------

fn event(srv: &mut Server, event: Event<'_>) {
    let env = env_of(&srv.config);
    let Some(mode) = &mut srv.sentinel else { return };
    let mut out = Vec::new();
    mode.machine.on(event, env, &mut out);
    perform(srv, out);
}

/// Milliseconds until there is something to do.
pub fn due_in(srv: &Server) -> Option<u64> {
    let mode = srv.sentinel.as_ref()?;
    if !mode.unread.is_empty() {
        return Some(0);
    }
    Some(mode.next_tick_ms.saturating_sub(mono_ns() / 1_000_000))
}

/// Once per pass.
pub fn drive(srv: &mut Server) {
    while let Some((host, ip)) = srv.sentinel.as_ref().and_then(|mode| mode.answers.1.try_recv().ok()) {
        event(srv, Event::Resolved(&host, ip));
    }
    let unread = srv.sentinel.as_mut().map(|mode| std::mem::take(&mut mode.unread));
    unread.unwrap_or_default().into_iter().for_each(|id| receive(srv, id));
    if srv.sentinel.as_ref().is_some_and(|mode| mode.next_tick_ms <= mono_ns() / 1_000_000) {
        event(srv, Event::Tick);
        if let Some(mode) = &mut srv.sentinel {
            mode.next_tick_ms = mono_ns() / 1_000_000 + mode.machine.next_tick();
        }
    }
}

/// A child has ended.
pub fn ended(srv: &mut Server, pid: pid_t, end: process::Ended) {
    let end = match end {
        process::Ended::Exited(code) => Ended::Code(code),
        process::Ended::Signaled(signal) => Ended::Signal(signal),
    };
    event(srv, Event::Ended(pid, end));
}

/// PUBLISH: only hellos of other sentinels are taken.
pub fn hello(srv: &mut Server, message: &[u8]) {
    event(srv, Event::Hello(message));
}

/// A subcommand of SENTINEL.
pub fn ask(srv: &mut Server, ask: Ask, args: &[&[u8]]) -> Reply {
    if let (Ask::Monitor, Some(host)) = (ask, args.get(1)) {
        look_up_now(srv, host);
    }
    let env = env_of(&srv.config);
    let Some(mode) = &mut srv.sentinel else { return Reply::Null };
    let mut out = Vec::new();
    let reply = mode.machine.ask(ask, args, env, &mut out);
    perform(srv, out);
    match &srv.sentinel {
        Some(mode) => mode.machine.settled(reply),
        None => reply,
    }
}

/// A command states a name: it is waited for, and not for long.
fn look_up_now(srv: &mut Server, host: &[u8]) {
    let now = env_of(&srv.config).now;
    let Some(mode) = &mut srv.sentinel else { return };
    if !mode.machine.is_unknown(host) {
        return;
    }
    let (sender, answer) = channel();
    resolve(host.to_vec(), sender, None);
    if let Ok((host, ip)) = answer.recv_timeout(PATIENCE) {
        mode.machine.learn(&host, ip, now);
    }
}

/// Looks a name up in a thread of its own. A thread that cannot be had is a name without an address.
fn resolve(host: Vec<u8>, to: Sender<Answer>, waker: Option<std::sync::Arc<mio::Waker>>) {
    let (spare, name) = (to.clone(), host.clone());
    let begun = std::thread::Builder::new().name("resolver".into()).spawn(move || {
        let ip = connect::address_of(&host);
        // At the end of the process there is nothing that listens.
        let _ = to.send((host, ip));
        if let Some(waker) = waker {
            let _ = waker.wake();
        }
    });
    if let Err(e) = begun {
        warning!("Can't start a thread for a name: {}", errno::text(&e));
        let _ = spare.send((name, None));
    }
}

// ---- what is done --------------------------------------------------------------------------------

fn perform(srv: &mut Server, actions: Vec<Action>) {
    for action in actions {
        match action {
            Action::Dial(id, ip, port) => dial(srv, id, &ip, port),
            Action::Send(id, bytes) => send(srv, id, &bytes),
            Action::Close(id) => close(srv, id),
            Action::Resolve(host) => {
                let waker = srv.reactor.waker();
                if let Some(mode) = &srv.sentinel {
                    resolve(host, mode.answers.0.clone(), Some(waker));
                }
            }
            Action::Save => save(srv),
            Action::Log(level, text) => {
                crate::log_at!(level, "{}", String::from_utf8_lossy(&text));
            }
            Action::Publish(channel, message) => {
                let kind = SubscriptionKind::Channel;
                publish(&mut srv.pubsub, &mut srv.clients, kind, channel.as_bytes(), &message);
            }
            Action::Spawn(job, argv) => spawn(srv, job, &argv),
            Action::Kill(pid) => {
                if let Err(e) = process::kill(pid, libc::SIGKILL) {
                    notice!("Can't kill the script {pid}: {}", errno::text(&e));
                }
            }
            Action::SetLogLevel(level) => {
                srv.config.loglevel = level;
                log::set_level(level);
            }
            Action::Exit(code) => std::process::exit(code),
        }
    }
}

fn save(srv: &mut Server) {
    let path = srv.process.config_file.clone().unwrap_or_default();
    let saved = apply::rewrite_file(srv, Path::new(OsStr::from_bytes(&path)), false);
    match &saved {
        Ok(()) => notice!("Sentinel new configuration saved on disk"),
        Err(e) => {
            let why = errno::text(e);
            warning!("WARNING: Sentinel was not able to save the new configuration on disk!!!: {why}");
        }
    }
    event(srv, Event::Saved(saved.is_ok()));
}

/// The lines of the file that are the machine's.
pub fn config_lines(srv: &Server, out: &mut Rewriter) {
    let Some(mode) = &srv.sentinel else { return };
    let mut lines = mode.machine.lines().into_iter();
    while let Some(line) = lines.next() {
        match line {
            ConfLine::Line(option, text) => out.line(option, text, true),
            ConfLine::IfThere(option, text) => out.line(option, text, false),
            ConfLine::Instead(option, text) => {
                if out.replaces(option, &text) {
                    lines.next();
                }
            }
            ConfLine::Done(option) => out.processed(option),
        }
    }
}

fn spawn(srv: &mut Server, job: u64, argv: &[Vec<u8>]) {
    let Some((path, args)) = argv.split_first() else { return };
    let args = args.iter().map(|a| OsStr::from_bytes(a));
    let begun = Command::new(OsStr::from_bytes(path)).args(args).stdin(Stdio::inherit()).spawn();
    match begun.map(|child| pid_t::try_from(child.id())) {
        Ok(Ok(pid)) => event(srv, Event::Spawned(job, pid)),
        Ok(Err(_)) => {}
        Err(e) => {
            let why = match e.kind() {
                ErrorKind::WouldBlock | ErrorKind::OutOfMemory => NotSpawned::NoProcess,
                _ => NotSpawned::NotExecutable,
            };
            event(srv, Event::NotSpawned(job, why));
        }
    }
}

// ---- connections ---------------------------------------------------------------------------------

impl SentinelMode {
    fn slot_of(&self, id: ConnId) -> Option<usize> {
        self.slots.iter().position(|s| s.as_ref().is_some_and(|o| o.id == id))
    }

    fn outgoing(&mut self, id: ConnId) -> Option<&mut Outgoing> {
        self.slots.iter_mut().flatten().find(|o| o.id == id)
    }
}

fn dial(srv: &mut Server, id: ConnId, ip: &str, port: u16) {
    let from = srv.config.bind_source_addr.as_ref().map(|a| String::from_utf8_lossy(a).into_owned());
    let Some(mode) = &srv.sentinel else { return };
    let slot = mode.slots.iter().position(Option::is_none).unwrap_or(mode.slots.len());
    let to: Vec<_> = connect::address(ip, port).into_iter().collect();
    let begun = connect::start(&to, from.as_deref()).and_then(|stream| {
        let mut stream = match srv.config.tls_replication {
            true => tls::secure(srv, stream, ip)?,
            false => stream,
        };
        stream.register(srv.reactor.registry(), mio::Token(EXTRA + SENTINEL + slot))?;
        Ok(stream)
    });
    match begun {
        Ok(stream) => {
            let Some(mode) = &mut srv.sentinel else { return };
            if slot == mode.slots.len() {
                mode.slots.push(None);
            }
            let (input, output) = (Vec::new(), Vec::new());
            mode.slots[slot] = Some(Outgoing { id, stream, open: false, input, output });
        }
        Err(e) => event(srv, Event::NotBegun(id, &errno::text(&e))),
    }
}

fn send(srv: &mut Server, id: ConnId, bytes: &[u8]) {
    let Some(o) = srv.sentinel.as_mut().and_then(|mode| mode.outgoing(id)) else { return };
    o.output.extend_from_slice(bytes);
    if o.open {
        flush(srv, id);
    }
}

fn flush(srv: &mut Server, id: ConnId) {
    let Some(o) = srv.sentinel.as_mut().and_then(|mode| mode.outgoing(id)) else { return };
    while !o.output.is_empty() {
        match o.stream.write(&o.output) {
            Ok(Written::Taken(n)) => drop(o.output.drain(..n)),
            Ok(Written::Full) => return,
            Err(_) => return lost(srv, id),
        }
    }
}

fn close(srv: &mut Server, id: ConnId) {
    let Some(mode) = &mut srv.sentinel else { return };
    if let Some(mut o) = mode.slot_of(id).and_then(|slot| mode.slots[slot].take()) {
        o.stream.farewell();
        o.stream.deregister(srv.reactor.registry());
    }
}

/// The other side has ended the connection, or it has failed.
fn lost(srv: &mut Server, id: ConnId) {
    close(srv, id);
    event(srv, Event::Closed(id));
}

/// The connection of a slot has signalled.
pub fn ready(srv: &mut Server, slot: usize, e: &Ready) {
    let Some(mode) = &mut srv.sentinel else { return };
    let Some(Some(o)) = mode.slots.get_mut(slot) else { return };
    let id = o.id;
    o.stream.signalled(e);
    if !o.open {
        match connect::state(&mut o.stream) {
            Connecting::Pending => return,
            Connecting::Failed(_) => return lost(srv, id),
            Connecting::Open => {}
        }
        o.open = true;
        o.stream.tune(0);
        if let Some(ip) = o.stream.local_ip() {
            event(srv, Event::Opened(id, ip));
        }
    }
    flush(srv, id);
    receive(srv, id);
}

/// Reads up to the end of what is there: the end of the connection behind it may have no event of its own.
fn receive(srv: &mut Server, id: ConnId) {
    for _ in 0..READS {
        let Some(o) = srv.sentinel.as_mut().and_then(|mode| mode.outgoing(id)) else { return };
        let got = o.stream.read_into(&mut o.input, PIECE);
        if !take_values(srv, id) {
            return lost(srv, id);
        }
        match got {
            Ok(Read::Drained(0)) => return,
            Ok(Read::More(_) | Read::Drained(_)) => {}
            Ok(Read::End) | Err(_) => return lost(srv, id),
        }
    }
    if let Some(mode) = &mut srv.sentinel {
        mode.unread.push(id);
    }
}

/// Hands the machine what is whole of the input; false for what is no reply.
fn take_values(srv: &mut Server, id: ConnId) -> bool {
    loop {
        // The connection may be closed by what its last reply led to.
        let Some(o) = srv.sentinel.as_mut().and_then(|mode| mode.outgoing(id)) else { return true };
        if o.input.is_empty() {
            return true;
        }
        match reply_in::value(&o.input) {
            // What is not whole is parsed again with all that comes, so it must not be much.
            ReplyValue::Partial => return o.input.len() <= MOST_INPUT,
            ReplyValue::Broken => return false,
            ReplyValue::Whole(value, used) => {
                o.input.drain(..used);
                event(srv, Event::Received(id, &value));
            }
        }
    }
}

// ---- replies -------------------------------------------------------------------------------------

/// Writes what the machine answered.
pub fn write(out: &mut crate::proto::reply::Reply, reply: &Reply) -> Result<Flow, CmdError> {
    if let Reply::Error(text) = reply {
        out.error_bytes(text);
        return Err(CmdError::Replied);
    }
    element(out, reply);
    Ok(Flow::Done)
}

fn element(out: &mut crate::proto::reply::Reply, reply: &Reply) {
    match reply {
        Reply::Ok => out.ok(),
        Reply::Status(text) => out.status(&String::from_utf8_lossy(text)),
        Reply::Error(text) => out.error_bytes(text),
        Reply::Int(n) => out.int(*n),
        Reply::Bulk(text) => out.bulk(text),
        Reply::Null => out.null(),
        Reply::NullArray => out.null_array(),
        Reply::Array(all) => {
            out.array(all.len());
            all.iter().for_each(|r| element(out, r));
        }
        Reply::Map(all) => {
            out.map(all.len() / 2);
            all.iter().for_each(|r| element(out, r));
        }
        Reply::IfSaved(both) => element(out, &both.0),
    }
}

/// ROLE.
pub fn role(srv: &Server) -> Option<Reply> {
    srv.sentinel.as_ref().map(|mode| mode.machine.role())
}

/// INFO sentinel, without its head.
pub fn info_text(srv: &Server) -> String {
    let section = srv.sentinel.as_ref().map(|mode| mode.machine.info_section());
    String::from_utf8_lossy(&section.unwrap_or_default()).into_owned()
}
