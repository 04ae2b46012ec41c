//! EVAL, and functions of libraries: scripts that call commands.
//!
//! ```text
//! EVAL  ─► prepare ─┐
//! FCALL ─► find ────┴► lend(server) ─► Lua 5.1 ─► redis.call ─► with_lent ─► call() ─► value on the stack
//!                                      └► every 100,000 instructions: too slow? the loop turns once
//! FUNCTION LOAD ─► header ─► the code runs once ─► register_function ─► library
//!
//! ffi        the raw layer                       sandbox   what scripts find, and may not change
//! header     `#!lua flags=..`, `#!lua name=..`   bit, cjson, cmsgpack, packing (struct), random: libraries
//! library    the libraries, by name              register  redis.register_function
//! debugger   a session about a script            server/script_debug  its socket and its process
//! server/script, script_api                      a script from the server's side; the table `redis`
//! server/function                                libraries from the server's side
//! ```
//!
//! Lua is that of 5.1.5, compiled by build.rs. Compiled code is refused. Inside a script the clock
//! stands still; in a nested pass it moves, and is put back. EVAL and functions have an interpreter each:
//! neither sees a value of the other.
//!
//! A library of the language is a table of natives (`fn(&mut Stack) -> Result<i32, Raise>`) and constants.

mod bit;
mod cjson;
mod cmsgpack;
pub mod debugger;
pub mod ffi;
pub mod header;
pub mod library;
mod packing;
mod random;
pub mod register;
pub mod sandbox;

use crate::clients::ClientId;
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

pub type Sha = [u8; 40];

pub struct Script {
    pub body: Box<[u8]>,
    pub flags: header::Flags,
    pub compiled: ffi::Compiled,
}

/// What runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Job {
    /// A script of EVAL, by the digest of its body.
    Script(Sha),
    Function(Arc<library::Function>),
}

impl Job {
    pub fn name(&self) -> &[u8] {
        match self {
            Job::Script(sha) => sha,
            Job::Function(f) => &f.name,
        }
    }

    pub fn is_function(&self) -> bool {
        matches!(self, Job::Function(_))
    }
}

/// The script that runs now.
pub struct Running {
    pub job: Job,
    /// The client that asked for it.
    pub caller: ClientId,
    pub started_ns: u64,
    /// It runs longer than `busy-reply-threshold`: the words of the request.
    pub timed_out: Option<Vec<Vec<u8>>>,
    pub killed: bool,
    /// It has changed the dataset: it can only be ended by SHUTDOWN NOSAVE.
    pub wrote: bool,
    pub read_only: bool,
    /// It may use memory when that is short.
    pub allow_oom: bool,
    /// In a cluster: the slot of its keys, once there are any, and whether it may use others beside.
    pub slot: Option<u16>,
    pub crosses_slots: bool,
    /// The protocol version of the replies that it sees.
    pub resp: u8,
    /// Where its changes go (`redis.set_repl`).
    pub repl: u8,
}

/// The state of a dialect, made when it is needed first.
#[derive(Default)]
pub struct Interpreter {
    /// Not here while a script of it runs.
    pub vm: Option<ffi::Vm>,
    /// Bytes that it holds.
    bytes: Arc<AtomicUsize>,
}

impl Interpreter {
    pub fn vm(&mut self, dialect: ffi::Dialect, calls: ffi::Calls) -> &mut ffi::Vm {
        self.vm.get_or_insert_with(|| ffi::Vm::new(dialect, calls, Arc::clone(&self.bytes)))
    }

    pub fn memory(&self) -> usize {
        self.bytes.load(Ordering::Relaxed)
    }
}

#[derive(Default)]
pub struct Scripting {
    pub eval: Interpreter,
    pub functions: Interpreter,
    pub scripts: HashMap<Sha, Script>,
    pub libraries: library::Libraries,
    /// The numbers of `math.random` go on from one script to the next, whatever interpreter runs it.
    pub random: random::Rand48,
    /// The pseudo-client that runs the commands of scripts.
    pub client: Option<ClientId>,
    pub running: Option<Running>,
    /// A session whose script has not begun, or has ended.
    pub debugger: Option<Box<debugger::Debugger>>,
    /// Processes in which sessions run.
    pub debugged: Vec<libc::pid_t>,
}

/// A cached script beside its text: its name, its place, what Lua's registry says of it.
const CACHED: usize = 64;

impl Scripting {
    /// The client whose request `id` acts for: the caller of the script, for the client of scripts.
    pub fn origin(&self, id: ClientId) -> ClientId {
        self.running.as_ref().filter(|_| self.client == Some(id)).map_or(id, |r| r.caller)
    }

    pub fn interpreter(&mut self, job: &Job) -> &mut Interpreter {
        if job.is_function() { &mut self.functions } else { &mut self.eval }
    }

    /// Bytes of the cached scripts: names, texts and the table.
    pub fn cache_memory(&self) -> usize {
        let texts: usize = self.scripts.values().map(|s| s.body.len() + CACHED).sum();
        texts + self.scripts.capacity() * size_of::<(Sha, Script)>()
    }
}

/// SHA1 in hexadecimal: the name of a script.
pub fn name_of(body: &[u8]) -> Sha {
    use sha1::{Digest, Sha1};
    let mut out = [0u8; 40];
    for (i, b) in Sha1::digest(body).iter().enumerate() {
        const HEX: &[u8; 16] = b"0123456789abcdef";
        out[2 * i] = HEX[(b >> 4) as usize];
        out[2 * i + 1] = HEX[(b & 15) as usize];
    }
    out
}
