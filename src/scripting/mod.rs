//! EVAL: scripts that call commands.
//!
//! ```text
//! EVAL ─► prepare ─► lend(server) ─► Lua 5.1 ─► redis.call ─► with_lent ─► call() ─► value on the stack
//!                                      └► every 100,000 instructions: too slow? a nested pass serves others
//!
//! ffi        the raw layer                       sandbox   what scripts find, and may not change
//! header     `#!lua flags=..`                    bit, cjson, cmsgpack, packing (struct), random: libraries
//! server/script, script_api                      a script from the server's side; the table `redis`
//! ```
//!
//! Lua is that of 5.1.5, compiled by build.rs. Compiled code is refused. Inside a script the clock
//! stands still; in a nested pass it moves, and is put back.
//!
//! A library is a table of natives (`fn(&mut Stack) -> Result<i32, Raise>`) and constants.

mod bit;
mod cjson;
mod cmsgpack;
pub mod ffi;
pub mod header;
mod packing;
mod random;
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

/// The script that runs now.
pub struct Running {
    pub name: Sha,
    /// The client that asked for it.
    pub caller: ClientId,
    pub started_ns: u64,
    /// It runs longer than `busy-reply-threshold`.
    pub timed_out: bool,
    pub killed: bool,
    /// It has changed the dataset: it can only be ended by SHUTDOWN NOSAVE.
    pub wrote: bool,
    pub read_only: bool,
    /// It may use memory when that is short.
    pub allow_oom: bool,
    /// The protocol version of the replies that it sees.
    pub resp: u8,
    /// Where its changes go (`redis.set_repl`).
    pub repl: u8,
}

#[derive(Default)]
pub struct Scripting {
    /// Not here while a script runs.
    pub vm: Option<ffi::Vm>,
    /// Bytes that the interpreter holds.
    pub vm_bytes: Arc<AtomicUsize>,
    pub scripts: HashMap<Sha, Script>,
    /// Where `math.random` of the next interpreter begins: its numbers go on over SCRIPT FLUSH, as upstream.
    pub random: random::Rand48,
    /// The pseudo-client that runs the commands of scripts.
    pub client: Option<ClientId>,
    pub running: Option<Running>,
}

/// A cached script beside its text: its name, its place, what Lua's registry says of it.
const CACHED: usize = 64;

impl Scripting {
    /// The client whose request `id` acts for: the caller of the script, for the client of scripts.
    pub fn origin(&self, id: ClientId) -> ClientId {
        self.running.as_ref().filter(|_| self.client == Some(id)).map_or(id, |r| r.caller)
    }

    /// Bytes that the interpreter holds.
    pub fn vm_memory(&self) -> usize {
        self.vm_bytes.load(Ordering::Relaxed)
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
