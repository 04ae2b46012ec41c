//! Users, and what each may do: which commands, on which keys, over which channels. Pure: it takes words
//! and the table of commands, and knows no client, socket or file.
//!
//! ```text
//! Acl ─► User ─┬─ on | off, nopass, SHA-256 of passwords
//!              └─ selectors: the root, and one for each (...)
//!                    ├─ CommandSet      a bit for each command and subcommand
//!                    ├─ first arguments that an otherwise denied command may have
//!                    ├─ key patterns    ~both  %R~read  %W~write
//!                    ├─ channel patterns
//!                    └─ command rules   in their order, as they are shown and saved
//! ```
//!
//! - A call is allowed when one selector alone allows all of it: the command, every key and every channel.
//! - A user that may do everything (`User::is_unlimited`) is asked nothing: the server keeps that answer as
//!   a bit of its clients.
//! - Rules are applied to a copy of the user, which takes its place when all of them were right: a user
//!   never has half of a change.
//! - What is shown (LIST, GETUSER, the file) is a text of rules that make the same user when they are
//!   applied to a new one. Names, patterns and arguments therefore hold no blank and no control character.
//!
//! To add a rule: a word in `User::apply` or `Selector::apply`, and its place in `describe`.

pub mod commands;
pub mod denials;
pub mod file;
pub mod password;
pub mod rules;
pub mod selector;
pub mod user;

use crate::clients::UserId;
use crate::cmd::keys::Keys;
use crate::cmd::table::{CmdId, Table};
use rules::{RuleError, Rules};
use selector::{Call, Denied};
use std::collections::BTreeMap;
use user::User;

/// The name of the user of a fresh connection.
pub const DEFAULT: &[u8] = b"default";

/// The users by place and by name. The default user has the first place and never leaves it.
#[derive(Debug)]
pub struct Acl {
    users: Vec<Option<User>>,
    places: BTreeMap<Box<[u8]>, UserId>,
    pub denials: denials::Denials,
    /// Room for the keys of a call that is judged.
    room: Keys,
}

impl Default for Acl {
    fn default() -> Acl {
        let places = BTreeMap::from([(DEFAULT.into(), UserId::DEFAULT)]);
        let users = vec![Some(User::unlimited(DEFAULT))];
        Acl { users, places, denials: Default::default(), room: Keys::new() }
    }
}

impl Acl {
    pub fn named(&self, name: &[u8]) -> Option<UserId> {
        self.places.get(name).copied()
    }

    #[inline]
    pub fn get(&self, id: UserId) -> &User {
        let user = self.users.get(id.0 as usize).and_then(Option::as_ref);
        user.expect("a user that is deleted has no client any more")
    }

    pub fn default_user(&self) -> &User {
        self.get(UserId::DEFAULT)
    }

    pub fn default_user_mut(&mut self) -> &mut User {
        self.users[0].as_mut().expect("it never leaves its place")
    }

    /// May a user make this call?
    pub fn check<H>(
        &mut self,
        id: UserId,
        table: &Table<H>,
        cmd: CmdId,
        args: &[&[u8]],
    ) -> Result<(), Denied> {
        let mut room = std::mem::take(&mut self.room);
        let answer = self.get(id).check(&mut Call::new(table, cmd, args, &mut room));
        self.room = room;
        answer
    }

    /// By name.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &User> {
        self.places.values().map(|id| self.get(*id))
    }

    /// The user of this name after `rules`, which stays as it is; a new one when there is none.
    pub fn staged<H>(
        &self,
        name: &[u8],
        rules: &[Vec<u8>],
        how: &Rules<'_, H>,
    ) -> Result<User, (Vec<u8>, RuleError)> {
        let mut user = match self.named(name) {
            Some(id) => self.get(id).clone(),
            None => User::new(name, how.all_channels),
        };
        for rule in rules {
            user.apply(rule, how).map_err(|why| (rule.clone(), why))?;
        }
        Ok(user)
    }

    /// Puts a user in the place of the one with its name, or in a new place.
    pub fn put(&mut self, user: User) -> UserId {
        if let Some(id) = self.named(&user.name) {
            self.users[id.0 as usize] = Some(user);
            return id;
        }
        let free = self.users.iter().position(Option::is_none);
        let place = free.unwrap_or_else(|| {
            self.users.push(None);
            self.users.len() - 1
        });
        let id = UserId(u32::try_from(place).expect("far fewer users than that"));
        self.places.insert(user.name.clone(), id);
        self.users[place] = Some(user);
        id
    }

    /// Forgets a user. Its place may be another one's from now on: no client may keep it.
    pub fn remove(&mut self, id: UserId) -> Option<User> {
        debug_assert!(id != UserId::DEFAULT, "fresh connections need it");
        let user = self.users.get_mut(id.0 as usize)?.take()?;
        self.places.remove(&user.name);
        Some(user)
    }

    /// The users of a file in the place of all that there are; those that were there, but the default one.
    pub fn replace_all(&mut self, users: Vec<User>) -> Vec<UserId> {
        let gone: Vec<UserId> =
            self.places.values().copied().filter(|id| *id != UserId::DEFAULT).collect();
        if !users.iter().any(|u| *u.name == *DEFAULT) {
            self.put(User::unlimited(DEFAULT));
        }
        // A place of before is free for others only when its clients are gone.
        for id in &gone {
            let user = self.get(*id);
            self.places.remove(&user.name.clone());
        }
        for user in users {
            self.put(user);
        }
        gone
    }

    /// Frees the places that `replace_all` has left.
    pub fn forget(&mut self, gone: &[UserId]) {
        for id in gone {
            self.users[id.0 as usize] = None;
        }
    }

    /// The text of a file with all users.
    pub fn text(&self) -> Vec<u8> {
        self.iter().flat_map(|user| [user.line(), b"\n".to_vec()]).flatten().collect()
    }
}

#[cfg(test)]
mod tests;
