//! Which user a client is, and whether it has to log in first. Every question about users is asked here.

use super::Server;
use crate::clients::{Client, ClientId, UserId, flag};

/// Must the client authenticate before anything else?
#[inline]
pub fn required(srv: &Server, c: &Client) -> bool {
    c.has(flag::UNAUTHENTICATED) && passwords(srv)
}

/// Does the default user need a password?
#[inline]
pub fn passwords(srv: &Server) -> bool {
    srv.config.requirepass.is_some()
}

/// A fresh connection is the default user; it is logged in when the default user needs no password.
pub fn default_user(srv: &mut Server, id: ClientId) {
    let locked = passwords(srv);
    let c = &mut srv.clients[id];
    c.user = UserId::DEFAULT;
    if locked {
        c.set(flag::UNAUTHENTICATED);
    } else {
        c.clear(flag::UNAUTHENTICATED);
    }
}

/// The user of this name.
pub fn named(name: &[u8]) -> Option<UserId> {
    (name == b"default").then_some(UserId::DEFAULT)
}

/// As CLIENT LIST shows it.
pub fn name(_: UserId) -> &'static str {
    "default"
}

/// Logs a client in; false for an unknown user or a wrong password.
pub fn log_in(srv: &mut Server, id: ClientId, name: &[u8], password: &[u8]) -> bool {
    let right = srv.config.requirepass.as_ref().is_none_or(|p| same(p, password));
    let Some(user) = named(name).filter(|_| right) else { return false };
    let c = &mut srv.clients[id];
    c.user = user;
    c.clear(flag::UNAUTHENTICATED);
    true
}

/// Equality that takes as long whatever the bytes are.
fn same(secret: &[u8], guess: &[u8]) -> bool {
    let mut differ = secret.len() ^ guess.len();
    for (i, g) in guess.iter().enumerate() {
        let s = secret.get(i % secret.len().max(1)).copied().unwrap_or(0);
        differ |= usize::from(s ^ g);
    }
    differ == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passwords_are_equal_only_to_themselves() {
        for (a, b) in [("", "a"), ("a", ""), ("abc", "abd"), ("abc", "abcabc"), ("abcabc", "abc")] {
            assert!(!same(a.as_bytes(), b.as_bytes()), "{a} {b}");
        }
        assert!(same(b"abc", b"abc") && same(b"", b"") && same(b"a\0b", b"a\0b"));
        assert!(!same(b"a\0b", b"a\0c"));
    }
}
