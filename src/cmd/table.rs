//! Joins the families' rows, which the start hands in, into the table that dispatch, COMMAND and ACL read.
//!
//! ```text
//! rows (static) ──► Table: entries by CmdId (commands, then their subcommands), and an index by name
//! ```
//!
//! The rows are data of the program; the index is made at the start, since `rename-command` takes part.
//! A name of up to 16 bytes is found by one comparison of two words after a multiplicative hash; longer
//! ones in a map.

use super::row::{Begin, Find, KeySpec, Row, cat, flag, key};
use std::collections::HashMap;

/// Index into `Table::entries`.
pub type CmdId = u16;

/// Stands for an argument that nothing may show.
const REDACTED: &[u8] = b"(redacted)";

/// A command as it is served here.
pub struct CommandRow<H: 'static> {
    pub cmd: &'static Row<H>,
    /// `get`, `config|get`; under the name that `rename-command` gave.
    pub name: Box<str>,
    pub flags: u64,
    pub acl: u32,
    pub parent: Option<CmdId>,
    /// False when `rename-command` took it away.
    pub served: bool,
    /// Subcommands by lower-case name.
    pub subs: Vec<(Box<str>, CmdId)>,
    /// Argument whose hash is worth having early: the first key's place, 0 for none.
    pub key_at: u16,
    /// The place and the `key` flags of the one key that each call has, where its place never changes and
    /// nothing else could be a key.
    pub only_key: Option<(u16, u32)>,
    /// As in the row.
    pub member_at: u8,
    pub slot_rule: SlotRule,
}

/// How the slots of a call's keys are found in a cluster.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SlotRule {
    /// There are no keys.
    None,
    /// The one key stands here.
    First(u16),
    /// Keys and nothing else stand here; `last` counts from `first`, or below zero from the end.
    Many { first: u16, last: i32, step: u16 },
    /// They have to be looked for.
    Find,
    /// They are those of what is queued.
    Exec,
}

impl<H> CommandRow<H> {
    /// Only subcommands of it can be called (COMMAND alone is both).
    #[inline]
    pub fn has_subs(&self) -> bool {
        !self.subs.is_empty()
    }

    /// The arguments of a call as they may be shown.
    pub fn shown<'a>(&self, args: &[&'a [u8]]) -> Vec<&'a [u8]> {
        let mut shown = args.to_vec();
        let secrets = self.cmd.secrets.map_or_else(Vec::new, |find| find(args));
        secrets.into_iter().for_each(|i| shown[i] = REDACTED);
        shown
    }

    /// Does the number of arguments (with the name) fit?
    #[inline]
    pub fn accepts(&self, n: usize) -> bool {
        let arity = self.cmd.arity;
        if arity >= 0 { n == arity as usize } else { n >= arity.unsigned_abs() as usize }
    }
}

/// Why words mean no command.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Unknown {
    Command,
    Subcommand,
}

pub struct Table<H: 'static> {
    pub entries: Vec<CommandRow<H>>,
    /// Packed names, open addressing; an empty place has id u16::MAX.
    packed: Vec<([u64; 2], CmdId)>,
    long: HashMap<Box<[u8]>, CmdId>,
    /// Full names as the rows have them, whatever `rename-command` says.
    originals: HashMap<Box<[u8]>, CmdId>,
}

const PLACES: usize = 2048;

/// Lower-case name in two words, zero-padded; None when it is longer. The last byte is the length of
/// shorter names: one that ends with zeros is another name than that without them.
#[inline]
fn pack(name: &[u8]) -> Option<[u64; 2]> {
    let n = name.len();
    if n > 15 && (n > 16 || name[15] < 16) {
        return None;
    }
    // Overlapping loads instead of a copy: what was just stored would have to be waited for.
    let eight = |at: usize| name[at..].first_chunk().map_or(0, |b| u64::from_le_bytes(*b));
    let four = |at: usize| name[at..].first_chunk().map_or(0, |b| u64::from(u32::from_le_bytes(*b)));
    let one = |at: usize| u64::from(name[at]) << (8 * at);
    let words = match n {
        0 => [0, 0],
        1..4 => [one(0) | one(n / 2) | one(n - 1), 0],
        4..8 => [four(0) | four(n - 4) << (8 * (n - 4)), 0],
        _ => [eight(0), if n > 8 { eight(n - 8) >> (8 * (16 - n)) } else { 0 }],
    };
    let fold = |w: u64| {
        // Bytes 'A'..='Z' get bit 5; others stay. Works on eight bytes at once.
        let heptets = w & 0x7f7f_7f7f_7f7f_7f7f;
        let over_z = heptets.wrapping_add(0x2525_2525_2525_2525);
        let from_a = heptets.wrapping_add(0x3f3f_3f3f_3f3f_3f3f);
        let upper = from_a & !over_z & !w & 0x8080_8080_8080_8080;
        w | upper >> 2
    };
    let length = (n as u64 & 15) << 56;
    Some([fold(words[0]), fold(words[1]) | length])
}

#[inline]
fn place(p: [u64; 2]) -> usize {
    let h = (p[0] ^ p[1].rotate_left(23)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    (h >> 53) as usize
}

const _: () = assert!(PLACES == 1 << 11);

/// Categories that follow from the flags, as upstream's table adds them.
fn implicit_categories<H>(c: &Row<H>) -> u32 {
    let mut acl = c.acl;
    if c.flags & flag::WRITE != 0 {
        acl |= cat::WRITE;
    }
    if c.flags & flag::READONLY != 0 && acl & cat::SCRIPTING == 0 {
        acl |= cat::READ;
    }
    if c.flags & flag::ADMIN != 0 {
        acl |= cat::ADMIN | cat::DANGEROUS;
    }
    if c.flags & flag::PUBSUB != 0 {
        acl |= cat::PUBSUB;
    }
    if c.flags & flag::FAST != 0 {
        acl |= cat::FAST;
    }
    if c.flags & flag::BLOCKING != 0 {
        acl |= cat::BLOCKING;
    }
    if acl & cat::FAST == 0 {
        acl |= cat::SLOW;
    }
    acl
}

/// See `CommandRow::only_key`.
fn only_key<H>(c: &Row<H>) -> Option<(u16, u32)> {
    const NOT_SURE: u32 = key::NOT_KEY | key::INCOMPLETE | key::VARIABLE_FLAGS;
    match c.keys {
        [
            KeySpec {
                begin: Begin::Index(at), find: Find::Range { last: 0, limit: 0, .. }, flags, ..
            },
        ] if flags & NOT_SURE == 0 && c.used_keys.is_none() => Some((u16::try_from(*at).ok()?, *flags)),
        _ => None,
    }
}

fn slot_rule<H>(c: &Row<H>) -> SlotRule {
    const NOT_SURE: u32 = key::NOT_KEY | key::INCOMPLETE | key::VARIABLE_FLAGS;
    if c.flags & flag::EXEC != 0 {
        return SlotRule::Exec;
    }
    if c.keys.is_empty() && c.getkeys.is_none() {
        return SlotRule::None;
    }
    if let Some((at, _)) = only_key(c) {
        return SlotRule::First(at);
    }
    let plain = c.used_keys.is_none() && c.getkeys.is_none();
    match c.keys {
        [
            KeySpec {
                begin: Begin::Index(at), find: Find::Range { last, step, limit: 0 }, flags, ..
            },
        ] if flags & NOT_SURE == 0 && plain => match (u16::try_from(*at), u16::try_from(*step)) {
            (Ok(first), Ok(step)) if step > 0 => SlotRule::Many { first, last: *last, step },
            _ => SlotRule::Find,
        },
        _ => SlotRule::Find,
    }
}

/// First key, last key and step of the oldest form of COMMAND INFO, and whether keys may stand
/// elsewhere.
pub fn legacy_range<H>(c: &Row<H>) -> ((i64, i64, i64), bool) {
    let ranges: Vec<_> = c
        .keys
        .iter()
        .map(|k| match (k.begin, k.find) {
            (Begin::Index(at), Find::Range { last, step, .. }) => {
                Some((at as i64, last as i64, step as i64, k.flags))
            }
            _ => None,
        })
        .collect();
    match ranges.as_slice() {
        [] => return ((0, 0, 0), false),
        [Some((at, last, step, flags))] => {
            let last = if *last >= 0 { at + last } else { *last };
            return ((*at, last, *step), flags & key::INCOMPLETE != 0);
        }
        _ => {}
    }
    let (mut first, mut last, mut before, mut movable) = (i64::MAX, 0i64, 0i64, false);
    for r in &ranges {
        let Some((at, l, step, flags)) = *r else {
            movable = true;
            continue;
        };
        if step != 1 || (before != 0 && before != at - 1) {
            movable = true;
            continue;
        }
        movable |= flags & key::INCOMPLETE != 0;
        first = first.min(at);
        let absolute = if l >= 0 { at + l } else { l };
        // Compared as unsigned: -1 is the furthest of all.
        last = if (absolute as u64) > (last as u64) { absolute } else { last };
        before = absolute;
    }
    if first == i64::MAX { ((0, 0, 0), true) } else { ((first, last, 1), movable) }
}

impl<H> Table<H> {
    /// The table of all `families`. `renames` maps names to new ones; an empty new name takes the command
    /// away.
    pub fn new(
        families: &[&'static [Row<H>]],
        renames: &[(Vec<u8>, Vec<u8>)],
    ) -> Result<Table<H>, String> {
        let mut t = Table {
            entries: Vec::new(),
            packed: vec![([0; 2], CmdId::MAX); PLACES],
            long: HashMap::new(),
            originals: HashMap::new(),
        };
        for cmd in families.iter().flat_map(|f| f.iter()) {
            let id = t.add(cmd, None);
            for sub in cmd.subs {
                let s = t.add(sub, Some(id));
                t.entries[id as usize].subs.push((sub.name.into(), s));
            }
        }
        let mut names: HashMap<Box<[u8]>, CmdId> = HashMap::new();
        for (i, e) in t.entries.iter().enumerate().filter(|(_, e)| e.parent.is_none()) {
            names.insert(e.name.as_bytes().into(), i as CmdId);
        }
        for (from, to) in renames {
            let from = from.to_ascii_lowercase();
            let Some(id) = names.remove(from.as_slice()) else {
                return Err("No such command in rename-command".into());
            };
            if to.is_empty() {
                t.entries[id as usize].served = false;
                continue;
            }
            let to = to.to_ascii_lowercase();
            if names.insert(to.clone().into(), id).is_some() {
                return Err("Target command name already exists".into());
            }
        }
        for (name, id) in names {
            t.index(&name, id);
        }
        Ok(t)
    }

    fn add(&mut self, cmd: &'static Row<H>, parent: Option<CmdId>) -> CmdId {
        let name = match parent {
            Some(p) => format!("{}|{}", self.entries[p as usize].name, cmd.name),
            None => cmd.name.to_string(),
        };
        let ((first, ..), movable) = legacy_range(cmd);
        let flags = cmd.flags | if movable { flag::MOVABLE_KEYS } else { 0 };
        let id = CmdId::try_from(self.entries.len()).expect("some hundreds of commands");
        self.originals.insert(name.as_bytes().into(), id);
        self.entries.push(CommandRow {
            cmd,
            name: name.into(),
            flags,
            acl: implicit_categories(cmd),
            parent,
            served: true,
            subs: Vec::new(),
            key_at: u16::try_from(first).unwrap_or(0),
            only_key: only_key(cmd),
            member_at: cmd.member_at,
            slot_rule: slot_rule(cmd),
        });
        id
    }

    fn index(&mut self, name: &[u8], id: CmdId) {
        match pack(name) {
            Some(p) => {
                let mut i = place(p);
                while self.packed[i].1 != CmdId::MAX {
                    i = (i + 1) % PLACES;
                }
                self.packed[i] = (p, id);
            }
            None => {
                self.long.insert(name.into(), id);
            }
        }
    }

    /// The command of this name, in any case of letters; containers, not subcommands.
    #[inline]
    pub fn find(&self, name: &[u8]) -> Option<CmdId> {
        let Some(p) = pack(name) else {
            return self.long.get(name.to_ascii_lowercase().as_slice()).copied();
        };
        let mut i = place(p);
        loop {
            let (q, id) = self.packed[i];
            if id == CmdId::MAX {
                return None;
            }
            if q == p {
                return Some(id);
            }
            i = (i + 1) % PLACES;
        }
    }

    /// Where a member of the key's value stands, that is looked up in it; 0 for nowhere.
    #[inline]
    pub fn member_at(&self, id: CmdId) -> u8 {
        self.entries.get(usize::from(id)).map_or(0, |e| e.member_at)
    }

    /// The subcommand `name` of a container.
    pub fn find_sub(&self, id: CmdId, name: &[u8]) -> Option<CmdId> {
        let subs = &self.entries[id as usize].subs;
        subs.iter().find(|(n, _)| n.as_bytes().eq_ignore_ascii_case(name)).map(|(_, id)| *id)
    }

    /// The command that the words of a request mean.
    #[inline]
    pub fn resolve(&self, words: &[&[u8]]) -> Result<CmdId, Unknown> {
        let cmd = words.first().and_then(|name| self.find(name)).ok_or(Unknown::Command)?;
        self.resolve_sub(cmd, words)
    }

    /// The same, when the command is known already.
    #[inline]
    pub fn resolve_sub(&self, cmd: CmdId, words: &[&[u8]]) -> Result<CmdId, Unknown> {
        match words.get(1) {
            Some(sub) if self.get(cmd).has_subs() => self.find_sub(cmd, sub).ok_or(Unknown::Subcommand),
            _ => Ok(cmd),
        }
    }

    /// By full name, `config|get`.
    pub fn find_full(&self, name: &[u8]) -> Option<CmdId> {
        match name.iter().position(|b| *b == b'|') {
            None => self.find(name),
            Some(i) => self.find_sub(self.find(&name[..i])?, &name[i + 1..]),
        }
    }

    /// By the full name that the row has, in any case of letters: rules about commands keep their meaning
    /// when `rename-command` gives a command another name or takes it away.
    pub fn find_original(&self, name: &[u8]) -> Option<CmdId> {
        self.originals.get(name.to_ascii_lowercase().as_slice()).copied()
    }

    /// The commands that can be called, without subcommands.
    pub fn served(&self) -> impl Iterator<Item = CmdId> + '_ {
        let whole = |e: &CommandRow<H>| e.parent.is_none() && e.served;
        self.entries.iter().enumerate().filter(move |(_, e)| whole(e)).map(|(i, _)| i as CmdId)
    }

    #[inline]
    pub fn get(&self, id: CmdId) -> &CommandRow<H> {
        &self.entries[id as usize]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_zeros_behind_it_is_another_name() {
        for name in
            ["", "a", "no", "get", "incr", "expire", "getrange", "sunsubscribe", "fifteen-letters"]
        {
            let packed = pack(name.as_bytes()).expect("short");
            assert_eq!(pack(name.to_ascii_uppercase().as_bytes()), Some(packed), "{name}");
            let mut longer = name.as_bytes().to_vec();
            while longer.len() < 17 {
                longer.push(0);
                assert_ne!(pack(&longer), Some(packed), "{name} with {} bytes", longer.len());
                for last in 1..32 {
                    *longer.last_mut().expect("just pushed") = last;
                    assert_ne!(pack(&longer), Some(packed), "{name} with {} bytes", longer.len());
                }
                *longer.last_mut().expect("just pushed") = 0;
            }
        }
        assert!(pack(b"zremrangebyscore").is_some_and(|p| Some(p) == pack(b"ZRemRangeByScore")));
    }
}
