//! EVAL: scripts that call commands.
//!
//! ```text
//! EVAL ─► lend(server) ─► LuaJIT ─► redis.call ─► with_lent ─► call() ─► value on the stack
//!                            └► every 100,000 instructions: too slow? a nested pass serves others
//! ```
//!
//! The interpreter runs with its compiler off (hooks must fire) and without its `ffi` library. Bytecode
//! is refused. Inside a script the clock stands still; in a nested pass it moves, and is put back.

pub mod ffi;
pub mod run;

use crate::clients::ClientId;
use std::collections::HashMap;

pub type Sha = [u8; 40];

pub struct Script {
    pub body: Box<[u8]>,
}

/// The script that runs now.
pub struct Running {
    /// Who asked.
    pub caller: ClientId,
    pub started_ns: u64,
    /// It runs longer than `busy-reply-threshold`.
    pub timed_out: bool,
    pub killed: bool,
    /// It has changed the dataset: it can only be ended by SHUTDOWN NOSAVE.
    pub wrote: bool,
}

#[derive(Default)]
pub struct Scripting {
    pub vm: Option<ffi::Vm>,
    pub scripts: HashMap<Sha, Script>,
    /// The pseudo-client that runs the commands of scripts.
    pub client: Option<ClientId>,
    pub running: Option<Running>,
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
