//! Which user a client is, whether it has to log in first, and what its user lets it do. Every question
//! about users is asked here; the users themselves are in `acl`.
//!
//! ```text
//! connection ─► the default user ── AUTH, HELLO ──► another one        RESET: the default user again
//!                    │                                   │
//!                    └── flag::LIMITED unless the user may do everything: only then is a call judged
//! ```
//!
//! The flag is a copy of what the user says, so whatever changes a user or a client's user brings it up to
//! date (`put`, `become_user`). A client of a user that is deleted is closed, and is the default user that
//! has not logged in until then.

use super::{Server, client_info, kill};
use crate::acl::denials::{DeniedIn, DeniedWhat, Refusal};
use crate::acl::selector::{Call, Denied};
use crate::acl::user::User;
use crate::clients::{Client, ClientId, UserId, flag};
use crate::cmd::keys::Keys;
use crate::cmd::table::CmdId;
use crate::pubsub::SubscriptionKind;

/// Must the client authenticate before anything else?
#[inline]
pub fn required(srv: &Server, c: &Client) -> bool {
    c.has(flag::UNAUTHENTICATED) && !is_open(srv.acl.default_user())
}

/// Does the default user need a password?
pub fn passwords(srv: &Server) -> bool {
    !srv.acl.default_user().needs_no_password()
}

/// May a connection be this user without having logged in?
fn is_open(user: &User) -> bool {
    user.needs_no_password() && user.is_on()
}

/// A fresh connection is the default user; it is logged in when that user needs no password.
pub fn default_user(srv: &mut Server, id: ClientId) {
    let open = is_open(srv.acl.default_user());
    become_user(srv, id, UserId::DEFAULT, open);
}

fn become_user(srv: &mut Server, id: ClientId, user: UserId, logged_in: bool) {
    let limited = !srv.acl.get(user).is_unlimited();
    let c = &mut srv.clients[id];
    c.user = user;
    c.put(flag::UNAUTHENTICATED, !logged_in);
    c.put(flag::LIMITED, limited);
}

/// The user of this name.
pub fn named(srv: &Server, name: &[u8]) -> Option<UserId> {
    srv.acl.named(name)
}

/// The user of a client; None for one that is judged by nothing, the log or the link to a master.
pub fn user<'a>(srv: &'a Server, c: &Client) -> Option<&'a User> {
    (!c.has(flag::OBEYED)).then(|| srv.acl.get(c.user))
}

/// Logs a client in by a command of this name; false for an unknown user or a wrong password.
pub fn log_in(srv: &mut Server, id: ClientId, by: &[u8], name: &[u8], password: &[u8]) -> bool {
    match srv.acl.named(name).filter(|user| srv.acl.get(*user).accepts(password)) {
        Some(user) => {
            become_user(srv, id, user, true);
            true
        }
        None => {
            let place = place_of(&srv.clients[id]);
            record(srv, id, &[], DeniedWhat::Auth, place, by.to_vec(), name.to_vec());
            false
        }
    }
}

/// `requirepass` has changed.
pub fn set_requirepass(srv: &mut Server) {
    srv.acl.default_user_mut().set_only_password(srv.config.requirepass.as_deref());
}

// ---- permissions ------------------------------------------------------------------------------------

fn place_of(c: &Client) -> DeniedIn {
    if c.has(flag::MULTI) { DeniedIn::Transaction } else { DeniedIn::TopLevel }
}

/// What the user of a client does not let it do with this call, if anything; it is counted and logged.
/// `place`: where the call comes from, when the client does not tell.
#[inline]
pub fn denied(
    srv: &mut Server,
    id: ClientId,
    cmd: CmdId,
    args: &[&[u8]],
    place: Option<DeniedIn>,
) -> Option<Denied> {
    let c = &srv.clients[id];
    if c.flags & (flag::LIMITED | flag::OBEYED) != flag::LIMITED {
        return None;
    }
    let denied = srv.acl.check(c.user, &srv.table, cmd, args).err()?;
    let place = place.unwrap_or(place_of(c));
    refused(srv, id, cmd, args, denied, place);
    Some(denied)
}

#[cold]
fn refused(srv: &mut Server, id: ClientId, cmd: CmdId, args: &[&[u8]], denied: Denied, place: DeniedIn) {
    let (what, object) = match denied {
        Denied::Command => (DeniedWhat::Command, srv.table.get(cmd).name.as_bytes()),
        Denied::Key(at) => (DeniedWhat::Key, args[at]),
        Denied::Channel(at) => (DeniedWhat::Channel, args[at]),
    };
    let (object, user) = (object.to_vec(), srv.acl.get(srv.clients[id].user).name.to_vec());
    record(srv, id, args, what, place, object, user);
}

fn record(
    srv: &mut Server,
    id: ClientId,
    args: &[&[u8]],
    what: DeniedWhat,
    place: DeniedIn,
    object: Vec<u8>,
    user: Vec<u8>,
) {
    srv.stats.acl_denied[what as usize] += 1;
    let client = client_info::line(srv, srv.execution.current().unwrap_or(id), args);
    let max = usize::try_from(srv.config.acllog_max_len).unwrap_or(usize::MAX);
    let refusal = Refusal { what, place, object, user };
    srv.acl.denials.push(max, srv.clock.unix_ms, refusal, client);
}

/// The refusal in words. `named`: also which key or channel.
pub fn text(user: &User, denied: Denied, command: &str, named: Option<&[&[u8]]>) -> Vec<u8> {
    let (kind, at) = match denied {
        Denied::Command => {
            let middle = b" has no permissions to run the '";
            return [b"User ", &*user.name, middle, command.as_bytes(), b"' command"].concat();
        }
        Denied::Key(at) => ("key", at),
        Denied::Channel(at) => ("channel", at),
    };
    match named {
        None => format!("No permissions to access a {kind}").into_bytes(),
        Some(args) => {
            let middle = b" has no permissions to access the '";
            [b"User ", &*user.name, middle, args[at], b"' ", kind.as_bytes()].concat()
        }
    }
}

/// The user that a call of this client has to be judged by; None for one that may do everything.
fn judge(srv: &Server, id: ClientId) -> Option<&User> {
    let c = &srv.clients[id];
    (c.flags & (flag::LIMITED | flag::OBEYED) == flag::LIMITED).then(|| srv.acl.get(c.user))
}

/// May the user of a client make this call? Only asked: nothing is logged.
pub fn may_call(srv: &Server, id: ClientId, cmd: CmdId, args: &[&[u8]]) -> bool {
    let mut room = Keys::new();
    let call = &mut Call::new(&srv.table, cmd, args, &mut room);
    judge(srv, id).is_none_or(|user| user.check(call).is_ok())
}

/// May the user of a client make this call and also use any key so? For keys that no argument names.
pub fn may_use_all_keys(srv: &Server, id: ClientId, cmd: CmdId, args: &[&[u8]], flags: u32) -> bool {
    let mut room = Keys::new();
    let call = &mut Call::new(&srv.table, cmd, args, &mut room);
    judge(srv, id).is_none_or(|user| user.check_with_all_keys(call, flags))
}

// ---- users that change ------------------------------------------------------------------------------

/// Puts a changed or new user in its place. Subscribers that lose a channel are closed.
pub fn put(srv: &mut Server, user: User) {
    if let Some(id) = srv.acl.named(&user.name)
        && user.narrows_channels(srv.acl.get(id))
    {
        close_subscribers(srv, id, &user);
    }
    let id = srv.acl.put(user);
    refresh(srv, id);
}

/// Brings the flag of a user's clients up to date.
fn refresh(srv: &mut Server, user: UserId) {
    let limited = !srv.acl.get(user).is_unlimited();
    for id in clients_of(srv, user) {
        srv.clients[id].put(flag::LIMITED, limited);
    }
}

fn clients_of(srv: &Server, user: UserId) -> Vec<ClientId> {
    srv.clients.iter().filter(|(_, c)| c.user == user).map(|(id, _)| id).collect()
}

/// Closes the clients of a user that listen to what it may not hear as `after`.
fn close_subscribers(srv: &mut Server, user: UserId, after: &User) {
    for id in clients_of(srv, user) {
        let kinds = [
            (SubscriptionKind::Pattern, true),
            (SubscriptionKind::Channel, false),
            (SubscriptionKind::Shard, false),
        ];
        let loses = srv.clients[id].kind() == crate::clients::ClientKind::Pubsub
            && kinds.iter().any(|(kind, literal)| {
                srv.pubsub.of(*kind, id).iter().any(|name| !after.allows_channel(name, *literal))
            });
        if loses {
            close(srv, id);
        }
    }
}

/// The client that runs the command gets its reply first.
fn close(srv: &mut Server, id: ClientId) {
    if srv.execution.current() == Some(id) {
        srv.clients[id].set(flag::CLOSE_AFTER_REPLY);
    } else {
        kill::kill(srv, id);
    }
}

/// Deletes a user, and closes its clients.
pub fn delete(srv: &mut Server, user: UserId) {
    disconnect(srv, user);
    srv.acl.remove(user);
}

fn disconnect(srv: &mut Server, user: UserId) {
    for id in clients_of(srv, user) {
        become_user(srv, id, UserId::DEFAULT, false);
        if srv.clients[id].conn.stream.is_some() {
            close(srv, id);
        }
    }
}

/// Puts the users of a file in the place of all that there are.
pub fn replace_all(srv: &mut Server, users: Vec<User>) {
    let gone = srv.acl.replace_all(users);
    refresh(srv, UserId::DEFAULT);
    gone.iter().for_each(|user| disconnect(srv, *user));
    srv.acl.forget(&gone);
}
