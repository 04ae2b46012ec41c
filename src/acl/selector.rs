//! One selector: commands, keys and channels that may be used together.

use super::commands::CommandSet;
use super::rules::{RuleError, Rules, has_blanks};
use crate::algo::glob::{glob_match, is_pattern};
use crate::algo::quote::{push_repr, split_args};
use crate::cmd::keys::{self, Keys};
use crate::cmd::row::{cat, flag as cf, key};
use crate::cmd::table::{CmdId, CommandRow, Table};
use std::collections::BTreeMap;

/// What a key pattern lets do.
const READ: u8 = 1;
const WRITE: u8 = 2;

#[derive(Clone, Debug, PartialEq, Eq)]
struct KeyPattern {
    allows: u8,
    pattern: Box<[u8]>,
    /// Only its last byte is special, a star: keys that begin so fit.
    is_prefix: bool,
}

impl KeyPattern {
    fn new(allows: u8, pattern: &[u8]) -> KeyPattern {
        let is_prefix = pattern.strip_suffix(b"*").is_some_and(|before| !is_pattern(before));
        KeyPattern { allows, pattern: pattern.into(), is_prefix }
    }

    #[inline]
    fn fits(&self, name: &[u8]) -> bool {
        match self.pattern.split_last() {
            // No pattern but the empty one fits the empty name.
            Some((_, before)) if self.is_prefix => !name.is_empty() && name.starts_with(before),
            _ => glob_match(&self.pattern, name, false),
        }
    }
}

/// `+get`, `-@admin`: what is left of the rules about commands, so that the same ones can be shown.
#[derive(Clone, Debug, PartialEq, Eq)]
struct CommandRule {
    allow: bool,
    /// In lower case: `get`, `config|get`, `@admin`.
    what: Box<[u8]>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Selector {
    all_keys: bool,
    all_channels: bool,
    /// Every command, also what is added later; the set need not be asked.
    all_commands: bool,
    commands: CommandSet,
    /// First arguments with which a command that is not in the set may be called all the same.
    first_args: BTreeMap<CmdId, Vec<Box<[u8]>>>,
    keys: Vec<KeyPattern>,
    channels: Vec<Box<[u8]>>,
    rules: Vec<CommandRule>,
}

/// What of a call is not allowed; a key or a channel by the place of the argument. Of several, the greatest
/// is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Denied {
    Command,
    Key(usize),
    Channel(usize),
}

/// One call, and room for its keys, which are looked for when the first selector asks.
pub struct Call<'a, H: 'static> {
    pub cmd: CmdId,
    pub row: &'a CommandRow<H>,
    pub args: &'a [&'a [u8]],
    keys: &'a mut Keys,
    found: bool,
}

impl<'a, H> Call<'a, H> {
    pub fn new(table: &'a Table<H>, cmd: CmdId, args: &'a [&'a [u8]], room: &'a mut Keys) -> Self {
        Call { cmd, row: table.get(cmd), args, keys: room, found: false }
    }

    fn keys(&mut self) -> &Keys {
        if !self.found {
            keys::find_for_permission(self.row.cmd, self.args, self.keys);
            self.found = true;
        }
        self.keys
    }
}

/// The category of this name, without its `@`.
pub fn category(name: &[u8]) -> Option<u32> {
    cat::NAMES.iter().find(|(_, n)| name.eq_ignore_ascii_case(n.as_bytes())).map(|(bit, _)| *bit)
}

impl Selector {
    pub fn new(all_channels: bool) -> Selector {
        Selector {
            all_keys: false,
            all_channels,
            all_commands: false,
            commands: CommandSet::NONE,
            first_args: BTreeMap::new(),
            keys: Vec::new(),
            channels: Vec::new(),
            rules: Vec::new(),
        }
    }

    pub fn unlimited() -> Selector {
        Selector {
            all_keys: true,
            all_channels: true,
            all_commands: true,
            commands: CommandSet::ALL,
            ..Selector::new(true)
        }
    }

    pub fn is_unlimited(&self) -> bool {
        self.all_keys && self.all_channels && self.all_commands
    }

    /// The selector of a rule `(...)`.
    pub fn parse<H>(rule: &[u8], how: &Rules<'_, H>) -> Result<Selector, RuleError> {
        let inside = rule.strip_prefix(b"(").and_then(|r| r.strip_suffix(b")"));
        let words = split_args(inside.ok_or(RuleError::Syntax)?).ok_or(RuleError::Syntax)?;
        let mut selector = Selector::new(how.all_channels);
        for word in words {
            selector.apply(&word, how)?;
        }
        Ok(selector)
    }

    // ── rules ────────────────────────────────────────────────────────────────────────────────────────

    pub fn apply<H>(&mut self, rule: &[u8], how: &Rules<'_, H>) -> Result<(), RuleError> {
        match &rule.to_ascii_lowercase()[..] {
            b"allkeys" | b"~*" => self.set_all_keys(true),
            b"resetkeys" => self.set_all_keys(false),
            b"allchannels" | b"&*" => self.set_all_channels(true),
            b"resetchannels" => self.set_all_channels(false),
            b"allcommands" | b"+@all" => self.set_all_commands(true),
            b"nocommands" | b"-@all" => self.set_all_commands(false),
            _ => {
                return match rule {
                    [b'~', pattern @ ..] => self.add_keys(READ | WRITE, pattern),
                    [b'%', rest @ ..] => self.add_keys_with(rest),
                    [b'&', pattern @ ..] => self.add_channels(pattern),
                    [sign @ (b'+' | b'-'), b'@', name @ ..] => {
                        self.put_category(name, *sign == b'+', how.table)
                    }
                    [b'+', name @ ..] => self.allow(name, how.table),
                    [b'-', name @ ..] => self.deny(name, how.table),
                    _ => Err(RuleError::Syntax),
                };
            }
        }
        Ok(())
    }

    fn set_all_keys(&mut self, all: bool) {
        self.all_keys = all;
        self.keys.clear();
    }

    pub fn set_all_channels(&mut self, all: bool) {
        self.all_channels = all;
        self.channels.clear();
    }

    fn set_all_commands(&mut self, all: bool) {
        self.all_commands = all;
        self.commands = if all { CommandSet::ALL } else { CommandSet::NONE };
        self.rules.clear();
        self.first_args.clear();
    }

    /// `R~pattern`, `W~pattern` and `RW~pattern`, behind a `%`. The pattern may be left out with its `~`,
    /// and is then empty.
    fn add_keys_with(&mut self, rest: &[u8]) -> Result<(), RuleError> {
        if self.all_keys {
            return Err(RuleError::KeysAfterAll);
        }
        let (mut allows, mut at) = (0, 0);
        while let Some(letter) = rest.get(at) {
            at += 1;
            allows |= match letter {
                b'r' | b'R' if allows & READ == 0 => READ,
                b'w' | b'W' if allows & WRITE == 0 => WRITE,
                b'~' if allows != 0 => break,
                _ => return Err(RuleError::Syntax),
            };
        }
        if allows == 0 {
            return Err(RuleError::Syntax);
        }
        self.add_keys(allows, &rest[at..])
    }

    fn add_keys(&mut self, allows: u8, pattern: &[u8]) -> Result<(), RuleError> {
        if self.all_keys {
            return Err(RuleError::KeysAfterAll);
        }
        if has_blanks(pattern) {
            return Err(RuleError::Syntax);
        }
        match self.keys.iter_mut().find(|k| *k.pattern == *pattern) {
            Some(known) => known.allows |= allows,
            None => self.keys.push(KeyPattern::new(allows, pattern)),
        }
        Ok(())
    }

    fn add_channels(&mut self, pattern: &[u8]) -> Result<(), RuleError> {
        if self.all_channels {
            return Err(RuleError::ChannelsAfterAll);
        }
        if has_blanks(pattern) {
            return Err(RuleError::Syntax);
        }
        if !self.channels.iter().any(|c| **c == *pattern) {
            self.channels.push(pattern.into());
        }
        Ok(())
    }

    fn put_category<H>(&mut self, name: &[u8], on: bool, table: &Table<H>) -> Result<(), RuleError> {
        let bit = category(name).ok_or(RuleError::Unknown)?;
        self.note(&[b"@", name].concat(), on);
        for (id, e) in table.entries.iter().enumerate().filter(|(_, e)| e.acl & bit != 0) {
            self.put(CmdId::try_from(id).expect("places of the table"), e, on);
        }
        Ok(())
    }

    /// `+command`, `+command|subcommand`, `+command|argument`.
    fn allow<H>(&mut self, name: &[u8], table: &Table<H>) -> Result<(), RuleError> {
        let Some(bar) = name.iter().rposition(|b| *b == b'|') else {
            let id = table.find_original(name).ok_or(RuleError::Unknown)?;
            self.put(id, table.get(id), true);
            self.note(name, true);
            return Ok(());
        };
        let (command, argument) = (&name[..bar], &name[bar + 1..]);
        let id = table.find_original(command).ok_or(RuleError::Unknown)?;
        let row = table.get(id);
        if row.parent.is_some() {
            return Err(RuleError::ArgumentOfSubcommand);
        }
        // A quote could not be read again from within the brackets of a selector.
        let quotes = argument.iter().any(|b| matches!(b, b'"' | b'\''));
        if argument.is_empty() || quotes || has_blanks(argument) {
            return Err(RuleError::Syntax);
        }
        if row.has_subs() {
            let sub = table.find_original(name).ok_or(RuleError::Unknown)?;
            self.put(sub, table.get(sub), true);
        } else {
            crate::warning!(
                "Deprecation warning: Allowing a first arg of an otherwise blocked command is a misuse of \
                 ACL and may get disabled in the future (offender: +{})",
                String::from_utf8_lossy(name)
            );
            let known = self.first_args.entry(id).or_default();
            if !known.iter().any(|a| a.eq_ignore_ascii_case(argument)) {
                known.push(argument.into());
            }
        }
        self.note(name, true);
        Ok(())
    }

    fn deny<H>(&mut self, name: &[u8], table: &Table<H>) -> Result<(), RuleError> {
        let id = table.find_original(name).ok_or(RuleError::Unknown)?;
        self.put(id, table.get(id), false);
        self.note(name, false);
        Ok(())
    }

    /// A command with its subcommands.
    fn put<H>(&mut self, id: CmdId, row: &CommandRow<H>, on: bool) {
        self.first_args.remove(&id);
        self.all_commands &= on;
        let subs = row.subs.iter().map(|(_, sub)| *sub);
        std::iter::once(id).chain(subs).for_each(|id| self.commands.put(id, on));
    }

    /// Keeps a rule about commands. The rules before it that it makes void go: the same one, and those about
    /// parts of the same command.
    fn note(&mut self, what: &[u8], allow: bool) {
        let what = what.to_ascii_lowercase();
        self.rules.retain(|old| {
            let rest = old.what.strip_prefix(&what[..]);
            rest.is_none_or(|rest| !rest.is_empty() && rest[0] != b'|')
        });
        self.rules.push(CommandRule { allow, what: what.into() });
    }

    // ── texts ────────────────────────────────────────────────────────────────────────────────────────

    /// `+@all -get`
    pub fn command_text(&self) -> Vec<u8> {
        let first: &[u8] = if self.commands.has_later() { b"+@all" } else { b"-@all" };
        self.rules.iter().fold(first.to_vec(), |mut text, rule| {
            text.extend_from_slice(if rule.allow { b" +" } else { b" -" });
            text.extend_from_slice(&rule.what);
            text
        })
    }

    /// `~a:* %R~b:*`
    pub fn key_text(&self) -> Vec<u8> {
        if self.all_keys { b"~*".to_vec() } else { self.key_words().join(&b' ') }
    }

    /// `&a &b:*`
    pub fn channel_text(&self) -> Vec<u8> {
        if self.all_channels { b"&*".to_vec() } else { self.channel_words().join(&b' ') }
    }

    fn key_words(&self) -> Vec<Vec<u8>> {
        let word = |k: &KeyPattern| {
            let sign: &[u8] = match k.allows {
                READ => b"%R~",
                WRITE => b"%W~",
                _ => b"~",
            };
            [sign, &k.pattern].concat()
        };
        self.keys.iter().map(word).collect()
    }

    fn channel_words(&self) -> Vec<Vec<u8>> {
        self.channels.iter().map(|c| [b"&", &c[..]].concat()).collect()
    }

    /// All of it, as rules. `within`: for the inside of a `(...)`, where quotes have a meaning, and where a
    /// word that ends with the bracket would end it.
    pub fn describe(&self, within: bool) -> Vec<u8> {
        let mut words = if self.all_keys { vec![b"~*".to_vec()] } else { self.key_words() };
        if self.all_channels {
            words.push(b"&*".to_vec());
        } else {
            words.push(b"resetchannels".to_vec());
            words.extend(self.channel_words());
        }
        if within {
            words.iter_mut().for_each(quote);
        }
        words.push(self.command_text());
        words.join(&b' ')
    }

    // ── questions ────────────────────────────────────────────────────────────────────────────────────

    #[inline]
    pub fn check<H>(&self, call: &mut Call<'_, H>) -> Result<(), Denied> {
        let flags = call.row.flags;
        if !self.all_commands && !self.commands.has(call.cmd) && flags & cf::NO_AUTH == 0 {
            self.check_first_arg(call)?;
        }
        if self.all_keys {
            // Any key will do.
        } else if let Some((at, flags)) = call.row.only_key {
            if call.args.get(usize::from(at)).is_some_and(|key| !self.allows_key(key, flags)) {
                return Err(Denied::Key(at.into()));
            }
        } else if keys::may_have(call.row.cmd) {
            let args = call.args;
            let denied = |(at, flags): &&(usize, u32)| {
                args.get(*at).is_some_and(|key| !self.allows_key(key, *flags))
            };
            let denied = call.keys().iter().find(denied);
            if let Some((at, _)) = denied {
                return Err(Denied::Key(*at));
            }
        }
        let uses = flags & (cf::TO_CHANNEL | cf::FROM_CHANNELS | cf::FROM_PATTERNS);
        if !self.all_channels && uses != 0 {
            let n = call.args.len();
            let end = if uses & cf::TO_CHANNEL != 0 { n.min(2) } else { n };
            let literal = uses & cf::FROM_PATTERNS != 0;
            let denied = (1..end).find(|at| !self.allows_channel(call.args[*at], literal));
            return denied.map_or(Ok(()), |at| Err(Denied::Channel(at)));
        }
        Ok(())
    }

    #[cold]
    fn check_first_arg<H>(&self, call: &Call<'_, H>) -> Result<(), Denied> {
        let allowed = self.first_args.get(&call.cmd).zip(call.args.get(1));
        let named = allowed.is_some_and(|(all, arg)| all.iter().any(|a| a.eq_ignore_ascii_case(arg)));
        if named { Ok(()) } else { Err(Denied::Command) }
    }

    /// May a key be used as `flags` of `cmd::row::key` say?
    #[inline]
    fn allows_key(&self, name: &[u8], flags: u32) -> bool {
        let needs = needs(flags);
        self.keys.iter().any(|k| k.allows & needs == needs && k.fits(name))
    }

    /// May every key be used so?
    pub fn allows_all_keys(&self, flags: u32) -> bool {
        let needs = needs(flags);
        self.all_keys || self.keys.iter().any(|k| k.allows & needs == needs && *k.pattern == *b"*")
    }

    /// A pattern that a client subscribes to is allowed when it is one of these patterns, to the letter.
    pub fn allows_channel(&self, name: &[u8], literal: bool) -> bool {
        let fits = |c: &[u8]| if literal { c == name } else { glob_match(c, name, false) };
        self.all_channels || self.channels.iter().any(|c| fits(c))
    }

    pub fn has_all_channels(&self) -> bool {
        self.all_channels
    }

    /// The channel patterns, when not every channel is allowed.
    pub fn channels(&self) -> impl Iterator<Item = &[u8]> {
        self.channels.iter().map(|c| &**c)
    }
}

/// What a pattern must allow for such a use of a key.
#[inline]
fn needs(flags: u32) -> u8 {
    let reads = flags & key::ACCESS != 0;
    let writes = flags & (key::INSERT | key::DELETE | key::UPDATE) != 0;
    (u8::from(reads) * READ) | (u8::from(writes) * WRITE)
}

/// Writes a word so that it is one again when it is read within brackets.
fn quote(word: &mut Vec<u8>) {
    if word.iter().any(|b| matches!(b, b'"' | b'\'')) || word.ends_with(b")") {
        let plain = std::mem::take(word);
        push_repr(word, &plain);
    }
}
