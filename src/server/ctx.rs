//! What a handler gets: the server, the caller by id, the arguments, and the reply, which is lent
//! beside the server so that a value borrowed from the keyspace is written straight into it.

use super::Server;
use crate::clients::{ClientId, flag};
use crate::cmd::row::{Flow, Row};
use crate::cmd::table::{self, CmdId};
use crate::keyspace::{Found, Touched, WrongType};
use crate::proto::args::{Args, Key};
use crate::proto::error::CmdError;
use crate::proto::reply::Reply;

pub struct Ctx<'a> {
    pub srv: &'a mut Server,
    /// The client that the command runs as: for a script or a module its pseudo-client.
    pub client: ClientId,
    /// The client whose request this is in the end: for a script its caller.
    pub origin: ClientId,
    pub db: usize,
    pub cmd: CmdId,
    pub args: Args<'a>,
    pub out: &'a mut Reply,
    pub prop: Propagation,
}

/// Runs one command.
pub type Handler = fn(&mut Ctx<'_>) -> Result<Flow, CmdError>;
pub type Command = Row<Handler>;
pub type CommandRow = table::CommandRow<Handler>;
pub type Table = table::Table<Handler>;

/// What a row leaves out.
pub const ROW: Command = Row::blank(container);

/// The handler of a row that only holds subcommands: dispatch has refused the call before.
pub fn container(_: &mut Ctx<'_>) -> Result<Flow, CmdError> {
    Err(CmdError::Msg(&"ERR unknown subcommand"))
}

/// How a command reaches the AOF and the replicas, when it changed something.
#[derive(Debug)]
pub enum Propagation {
    AsIs,
    /// As the words that `Ctx::instead` was given.
    Instead,
    Never,
    /// Even without a change.
    Force(u8),
}

impl<'a> Ctx<'a> {
    /// Argument `i` as a key.
    #[inline]
    pub fn key(&self, i: usize) -> Key<'a> {
        self.args.key(i)
    }

    /// Looks the key at argument `i` up for reading.
    #[inline]
    pub fn read(&mut self, i: usize) -> Option<Found<'a>> {
        let key = self.args.key(i);
        self.srv.ks.read(self.db, key)
    }

    /// Looks the key at argument `i` up for writing.
    #[inline]
    pub fn write(&mut self, i: usize) -> Option<Found<'a>> {
        let key = self.args.key(i);
        self.srv.ks.write(self.db, key)
    }

    #[inline]
    pub fn announce(&mut self, t: &Touched, class: u32, name: &'static str) {
        self.srv.ks.announce(t, class, name);
    }

    /// Propagates these words instead of the command as it came.
    pub fn instead(&mut self, words: &[&[u8]]) {
        if self.srv.ks.policy.ops {
            self.srv.ops.set_instead(words);
        }
        self.prop = Propagation::Instead;
    }

    pub fn now_ms(&self) -> i64 {
        self.srv.ks.now_ms
    }

    /// Is whatever this client asks to be done? A master has judged it before.
    pub fn obeys(&self) -> bool {
        self.srv.clients[self.client].has(flag::OBEYED)
    }

    /// The full name of the command, as errors show it.
    pub fn name(&self) -> &str {
        &self.srv.table.get(self.cmd).name
    }
}

impl From<WrongType> for CmdError {
    fn from(_: WrongType) -> Self {
        CmdError::WrongType
    }
}
