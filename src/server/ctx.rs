//! What a handler gets: the server, the caller by id, the arguments, and the reply, which is lent
//! beside the server so that a value borrowed from the keyspace is written straight into it.

use super::Server;
use crate::clients::{ClientId, flag};
use crate::commands::table::CmdId;
use crate::keyspace::{Found, Touched};
use crate::proto::args::{Args, Key};
use crate::proto::reply::Reply;

pub struct Ctx<'a> {
    pub srv: &'a mut Server,
    /// Who runs the command: for a script or a module its pseudo-client.
    pub client: ClientId,
    /// The client whose request this is part of: for a command of a script the client that runs the script.
    pub origin: ClientId,
    pub db: usize,
    pub cmd: CmdId,
    pub args: Args<'a>,
    pub out: &'a mut Reply,
    pub prop: Propagation,
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

    /// Whatever this client says is to be done: the master has checked it.
    pub fn obeys(&self) -> bool {
        self.srv.clients[self.client].has(flag::MASTER)
    }

    /// The full name of the command, as errors show it.
    pub fn name(&self) -> &str {
        &self.srv.table.get(self.cmd).name
    }
}
