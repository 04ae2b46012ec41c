//! Which user a client is, and whether it has to say so first.

use super::Server;
use crate::clients::{Client, ClientId, flag};

/// Must the client authenticate before anything else?
#[inline]
pub fn required(srv: &Server, c: &Client) -> bool {
    passwords(srv) && !c.has(flag::AUTHENTICATED)
}

/// Does the default user need a password?
#[inline]
pub fn passwords(srv: &Server) -> bool {
    srv.config.requirepass.is_some()
}

/// A fresh connection is the default user; it is authenticated when that one needs no password.
pub fn default_user(srv: &mut Server, id: ClientId) {
    let open = !passwords(srv);
    let c = &mut srv.clients[id];
    c.clear(flag::AUTHENTICATED);
    if open {
        c.set(flag::AUTHENTICATED);
    }
}
