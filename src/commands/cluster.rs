//! READONLY and READWRITE: whether a replica of a cluster serves reads to this client.

use crate::cmd::docs;
use crate::cmd::row::flag::*;
use crate::cmd::row::{Flow, cat};
use crate::proto::error::CmdError;
use crate::server::ctx::{Command, Ctx, ROW};

const SWITCH: Command =
    Command { arity: 1, flags: LOADING | STALE | FAST, acl: cat::CONNECTION, run: no_cluster, ..ROW };

pub static ROWS: &[Command] = &[
    Command { name: "readonly", docs: &docs::READONLY, ..SWITCH },
    Command { name: "readwrite", docs: &docs::READWRITE, ..SWITCH },
];

/// A server of no cluster redirects nothing.
fn no_cluster(_: &mut Ctx<'_>) -> Result<Flow, CmdError> {
    Err(CmdError::Msg(&"ERR This instance has cluster support disabled"))
}
