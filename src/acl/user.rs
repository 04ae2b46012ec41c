//! One user: how it logs in, and its selectors.

use super::password::{self, Hash};
use super::rules::{RuleError, Rules};
use super::selector::{Call, Denied, Selector};
use crate::algo::quote::push_repr;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct User {
    pub name: Box<[u8]>,
    on: bool,
    nopass: bool,
    /// Payloads of RESTORE need no check in depth.
    skips_sanitizing: bool,
    passwords: Vec<Hash>,
    /// The rules outside of brackets.
    root: Selector,
    /// The rules inside of each pair of brackets.
    others: Vec<Selector>,
}

impl User {
    /// A user that may do nothing yet.
    pub fn new(name: &[u8], all_channels: bool) -> User {
        User {
            name: name.into(),
            on: false,
            nopass: false,
            skips_sanitizing: false,
            passwords: Vec::new(),
            root: Selector::new(all_channels),
            others: Vec::new(),
        }
    }

    /// A user that may do everything, without a password.
    pub fn unlimited(name: &[u8]) -> User {
        User { on: true, nopass: true, root: Selector::unlimited(), ..User::new(name, true) }
    }

    pub fn is_on(&self) -> bool {
        self.on
    }

    pub fn needs_no_password(&self) -> bool {
        self.nopass
    }

    pub fn passwords(&self) -> &[Hash] {
        &self.passwords
    }

    pub fn root(&self) -> &Selector {
        &self.root
    }

    /// The selectors in brackets.
    pub fn others(&self) -> &[Selector] {
        &self.others
    }

    fn selectors(&self) -> impl Iterator<Item = &Selector> {
        std::iter::once(&self.root).chain(&self.others)
    }

    /// Is there nothing that the user must be asked for?
    pub fn is_unlimited(&self) -> bool {
        self.selectors().any(Selector::is_unlimited)
    }

    /// May a client log in as this user with this password?
    pub fn accepts(&self, password: &[u8]) -> bool {
        self.on && (self.nopass || password::is_one_of(password, &self.passwords))
    }

    // ── rules ────────────────────────────────────────────────────────────────────────────────────────

    pub fn apply<H>(&mut self, rule: &[u8], how: &Rules<'_, H>) -> Result<(), RuleError> {
        match &rule.to_ascii_lowercase()[..] {
            b"" => {}
            b"on" => self.on = true,
            b"off" => self.on = false,
            b"skip-sanitize-payload" => self.skips_sanitizing = true,
            b"sanitize-payload" => self.skips_sanitizing = false,
            b"nopass" => self.set_nopass(true),
            b"resetpass" => self.set_nopass(false),
            b"clearselectors" => self.others.clear(),
            b"reset" => {
                *self =
                    User { name: std::mem::take(&mut self.name), ..User::new(b"", how.all_channels) };
            }
            _ => match rule {
                [b'>', secret @ ..] => self.add_password(password::hash(secret)),
                [b'#', hash @ ..] => {
                    self.add_password(password::parse(hash).ok_or(RuleError::BadHash)?);
                }
                [b'<', secret @ ..] => self.remove_password(password::hash(secret))?,
                [b'!', hash @ ..] => {
                    self.remove_password(password::parse(hash).ok_or(RuleError::BadHash)?)?;
                }
                [b'(', .., b')'] => self.others.push(Selector::parse(rule, how)?),
                _ => self.root.apply(rule, how)?,
            },
        }
        Ok(())
    }

    /// The one password of `requirepass`, or none.
    pub fn set_only_password(&mut self, password: Option<&[u8]>) {
        self.set_nopass(password.is_none());
        self.passwords.extend(password.map(password::hash));
    }

    fn set_nopass(&mut self, nopass: bool) {
        self.nopass = nopass;
        self.passwords.clear();
    }

    fn add_password(&mut self, hash: Hash) {
        if !self.passwords.contains(&hash) {
            self.passwords.push(hash);
        }
        self.nopass = false;
    }

    fn remove_password(&mut self, hash: Hash) -> Result<(), RuleError> {
        let at = self.passwords.iter().position(|p| *p == hash).ok_or(RuleError::NoSuchPassword)?;
        self.passwords.remove(at);
        Ok(())
    }

    // ── texts ────────────────────────────────────────────────────────────────────────────────────────

    /// The words that are no passwords and no permissions.
    pub fn flags(&self) -> Vec<&'static str> {
        let mut words = vec![if self.on { "on" } else { "off" }];
        if self.nopass {
            words.push("nopass");
        }
        words.push(if self.skips_sanitizing { "skip-sanitize-payload" } else { "sanitize-payload" });
        words
    }

    /// The rules that make this user of a new one.
    pub fn describe(&self) -> Vec<u8> {
        self.words().collect::<Vec<_>>().join(&b' ')
    }

    /// Each rule, a selector in brackets as one.
    fn words(&self) -> impl Iterator<Item = Vec<u8>> {
        let flags = self.flags().into_iter().map(|f| f.as_bytes().to_vec());
        let passwords = self.passwords.iter().map(|p| [b"#", &p[..]].concat());
        let root = self.root.describe(false);
        let root: Vec<Vec<u8>> = root.split(|b| *b == b' ').map(<[u8]>::to_vec).collect();
        let others = self.others.iter().map(|s| [b"(", &s.describe(true)[..], b")"].concat());
        flags.chain(passwords).chain(root).chain(others)
    }

    /// `user name rules`, as a file of users has it.
    pub fn line(&self) -> Vec<u8> {
        [b"user ", &*self.name, b" ", &self.describe()].concat()
    }

    /// The same as the configuration has it, where quotes have a meaning in every word.
    pub fn config_line(&self) -> Vec<u8> {
        let words = std::iter::once(self.name.to_vec()).chain(self.words());
        words.fold(b"user".to_vec(), |mut line, word| {
            line.push(b' ');
            if word.iter().any(|b| matches!(b, b'"' | b'\'')) {
                push_repr(&mut line, &word);
            } else {
                line.extend_from_slice(&word);
            }
            line
        })
    }

    // ── questions ────────────────────────────────────────────────────────────────────────────────────

    /// May the user make this call? One selector has to allow all of it.
    pub fn check<H>(&self, call: &mut Call<'_, H>) -> Result<(), Denied> {
        let Err(mut worst) = self.root.check(call) else { return Ok(()) };
        for selector in &self.others {
            match selector.check(call) {
                Ok(()) => return Ok(()),
                Err(denied) => worst = worst.max(denied),
            }
        }
        Err(worst)
    }

    /// The same, by a selector that also allows such a use of every key: for keys that no argument names.
    pub fn check_with_all_keys<H>(&self, call: &mut Call<'_, H>, flags: u32) -> bool {
        self.selectors().any(|s| s.allows_all_keys(flags) && s.check(call).is_ok())
    }

    pub fn allows_channel(&self, name: &[u8], literal: bool) -> bool {
        self.selectors().any(|s| s.allows_channel(name, literal))
    }

    /// Could a subscriber of the user `before` listen to something that this one may not?
    pub fn narrows_channels(&self, before: &User) -> bool {
        let mut all = self.selectors();
        if all.any(Selector::has_all_channels) {
            return false;
        }
        let kept = |channel: &[u8]| self.selectors().any(|s| s.channels().any(|c| c == channel));
        before.selectors().any(|s| s.has_all_channels() || !s.channels().all(kept))
    }
}
