//! Which arguments of a command are keys, and what it does with them: for COMMAND GETKEYS, ACL, cluster
//! slots and tracking.
//!
//! ```text
//! row.keys (specs) ──► specs_into ── complete ────────────────────────────────────────► positions and flags
//!                          └── a spec is unknown, incomplete, or its flags depend ──► row.getkeys ──►
//! ```
//!
//! A spec tells where to begin (an argument's place, or behind a keyword) and how to go on (a range, or
//! a count of keys). Rows whose specs do not tell all carry a finder of their own, from the second half
//! of this file. Arguments come from outside: every place is checked, and a command that makes no sense
//! has no keys; its handler will say what is wrong with it.
//!
//! What COMMAND GETKEYS says is known to clients and stays as it is, also where a call can be worded so
//! that its handler uses another key: `XREADGROUP NOACK GROUP g streams STREAMS k >` reads `k`, and the
//! spec finds `STREAMS`; `GEORADIUS ... STORE a STORE b` writes to `b`, and the spec finds `a`;
//! `SORT k STORE limit STORE b` writes to `b`, and the finder takes `limit` for an option.
//! `find_for_permission` and `find_for_slots` add what the handler uses, from `row.used_keys`.

use super::row::{Begin, Find, KeySpec, Row, key};
use crate::algo::num::{loose32, parse_i64};

/// Places of keys among the arguments (the name is 0), each with its `key` flags.
pub type Keys = Vec<(usize, u32)>;

/// What a search by specs takes in.
#[derive(Clone, Copy, Default, Debug)]
pub struct Search {
    /// Specs of what only looks like a key: the channels of sharded pub/sub.
    pub not_keys: bool,
    /// What can be found, although a spec is unknown or incomplete.
    pub partial: bool,
}

/// Could a call of this command name keys at all?
pub fn may_have<H>(cmd: &Row<H>) -> bool {
    cmd.getkeys.is_some() || cmd.keys.iter().any(|s| s.flags & key::NOT_KEY == 0)
}

/// The keys of a call.
pub fn find<H>(cmd: &Row<H>, args: &[&[u8]], how: Search) -> Keys {
    let mut keys = Keys::new();
    find_into(cmd, args, how, &mut keys);
    keys
}

/// The keys of a call, for which its caller needs permission. `keys` is emptied before.
pub fn find_for_permission<H>(cmd: &Row<H>, args: &[&[u8]], keys: &mut Keys) {
    find_used(cmd, args, Search::default(), keys);
}

/// What decides on the node of a cluster that a call is for: its keys, and shard channels. `keys` is emptied
/// before.
pub fn find_for_slots<H>(cmd: &Row<H>, args: &[&[u8]], keys: &mut Keys) {
    find_used(cmd, args, Search { not_keys: true, ..Search::default() }, keys);
}

fn find_used<H>(cmd: &Row<H>, args: &[&[u8]], how: Search, keys: &mut Keys) {
    keys.clear();
    find_into(cmd, args, how, keys);
    if let Some(used) = cmd.used_keys {
        let mut more = Keys::new();
        if used(args, &mut more).is_some() {
            more.retain(|(at, _)| keys.iter().all(|(known, _)| known != at));
            keys.append(&mut more);
        }
    }
}

fn find_into<H>(cmd: &Row<H>, args: &[&[u8]], how: Search, keys: &mut Keys) {
    let named = cmd.keys.iter().any(|s| s.flags & key::NOT_KEY == 0 || how.not_keys);
    let depends = cmd.keys.iter().any(|s| s.flags & key::VARIABLE_FLAGS != 0);
    if named && !depends && specs_into(cmd, args, how, keys).is_some() {
        return;
    }
    keys.clear();
    if cmd.getkeys.is_some_and(|find| find(args, keys).is_none()) {
        keys.clear();
    }
}

/// What the specs alone tell; None where one does not apply or does not tell all.
fn specs_into<H>(cmd: &Row<H>, args: &[&[u8]], how: Search, keys: &mut Keys) -> Option<()> {
    for spec in cmd.keys {
        if spec.flags & key::NOT_KEY != 0 && !how.not_keys {
            continue;
        }
        let complete = match begin(spec, args) {
            Start::At(first) => {
                follow(spec, args, first, keys).is_some() && spec.flags & key::INCOMPLETE == 0
            }
            Start::Absent => true,
            Start::Unknown => false,
        };
        if !complete && !how.partial {
            return None;
        }
    }
    Some(())
}

enum Start {
    At(usize),
    /// The keyword does not occur.
    Absent,
    Unknown,
}

fn begin(spec: &KeySpec, args: &[&[u8]]) -> Start {
    match spec.begin {
        Begin::Unknown => Start::Unknown,
        Begin::Index(at) => Start::At(at.max(0) as usize),
        Begin::Keyword(word, from) => {
            let is_word = |i: &usize| args[*i].eq_ignore_ascii_case(word.as_bytes());
            let n = args.len();
            let found = if from > 0 {
                // Nothing would follow the last one.
                (from as usize..n.saturating_sub(1)).find(is_word)
            } else {
                // The argument right behind the name is never looked at from the end.
                let last = n.saturating_sub(from.unsigned_abs() as usize);
                (2..=last.min(n.saturating_sub(1))).rev().find(is_word)
            };
            found.map_or(Start::Absent, |i| Start::At(i + 1))
        }
    }
}

/// Adds the keys that follow from `first`; None when they would lie outside the arguments.
fn follow(spec: &KeySpec, args: &[&[u8]], first: usize, keys: &mut Keys) -> Option<()> {
    let n = i64::try_from(args.len()).ok()?;
    let mut first = i64::try_from(first).ok()?;
    let (last, step) = match spec.find {
        Find::Unknown => return None,
        Find::Range { last, step, limit } => {
            let last = match (last, limit) {
                (last, _) if last >= 0 => first + i64::from(last),
                (last, 0) => n + i64::from(last),
                (last, limit) => first + (n - first) / i64::from(limit) + i64::from(last),
            };
            (last, step)
        }
        Find::KeyNum { num, first: to_first, step } => {
            let at = usize::try_from(first + i64::from(num)).ok()?;
            let count = parse_i64(args.get(at)?).filter(|c| (0..=n).contains(c))?;
            first += i64::from(to_first);
            (first + count - 1, step)
        }
    };
    if last >= n || last < first || first >= n {
        return None;
    }
    let step = usize::try_from(step).ok().filter(|s| *s > 0)?;
    let (first, last) = (usize::try_from(first).ok()?, usize::try_from(last).ok()?);
    keys.extend((first..=last).step_by(step).map(|i| (i, spec.flags)));
    Some(())
}

// ── finders of rows ──────────────────────────────────────────────────────────────────────────────────

/// `count` keys from argument `first` on; none for a count that is out of place. Reached where the spec
/// does not apply, so the count is read loosely: `1.5` is one key, of which nothing is known.
fn counted(args: &[&[u8]], count_at: usize, first: usize, keys: &mut Keys) -> Option<()> {
    let count = usize::try_from(loose32(args.get(count_at)?)).ok()?;
    if count < 1 || count > args.len().saturating_sub(first) {
        return None;
    }
    keys.extend((first..first + count).map(|i| (i, 0)));
    Some(())
}

/// `COMMAND numkeys key...`: SINTERCARD, LMPOP, ZMPOP, ZUNION, ZINTER, ZDIFF, ZINTERCARD.
pub fn numkeys_first(args: &[&[u8]], keys: &mut Keys) -> Option<()> {
    counted(args, 1, 2, keys)
}

/// `COMMAND x numkeys key...`: EVAL and its like, FCALL, BLMPOP, BZMPOP.
pub fn numkeys_second(args: &[&[u8]], keys: &mut Keys) -> Option<()> {
    counted(args, 2, 3, keys)
}

/// `COMMAND destination numkeys key...`: ZUNIONSTORE, ZINTERSTORE, ZDIFFSTORE. The destination comes
/// last.
pub fn store_numkeys(args: &[&[u8]], keys: &mut Keys) -> Option<()> {
    counted(args, 2, 3, keys)?;
    keys.push((1, 0));
    Some(())
}

/// What SORT reads, and what it writes to.
const SORTED: u32 = key::RO | key::ACCESS;
const STORED: u32 = key::OW | key::UPDATE;

/// SORT: the key, and where STORE leads.
pub fn sort(args: &[&[u8]], keys: &mut Keys) -> Option<()> {
    sort_by(args, 1, keys)
}

/// SORT, as its handler reads the options: what follows STORE is no option.
pub fn sort_used(args: &[&[u8]], keys: &mut Keys) -> Option<()> {
    sort_by(args, 2, keys)
}

fn sort_by(args: &[&[u8]], words_of_store: usize, keys: &mut Keys) -> Option<()> {
    keys.push((1, SORTED));
    let mut i = 2;
    while i < args.len() {
        let is = |word: &[u8]| args[i].eq_ignore_ascii_case(word);
        let stores = is(b"store") && i + 1 < args.len();
        if stores {
            // The last one counts.
            keys.truncate(1);
            keys.push((i + 1, STORED));
        }
        i += match () {
            () if stores => words_of_store,
            () if is(b"limit") => 3,
            () if is(b"get") || is(b"by") => 2,
            () => 1,
        };
    }
    Some(())
}

/// SORT_RO.
pub fn sort_ro(_: &[&[u8]], keys: &mut Keys) -> Option<()> {
    keys.push((1, SORTED));
    Some(())
}

/// SET: with GET it reads as well.
pub fn set(args: &[&[u8]], keys: &mut Keys) -> Option<()> {
    let reads = args.iter().skip(3).any(|a| a.eq_ignore_ascii_case(b"get"));
    let flags = if reads { key::RW | key::ACCESS | key::UPDATE } else { key::OW | key::UPDATE };
    keys.push((1, flags));
    Some(())
}

/// BITFIELD: it only reads when each of its operations does, and makes sense.
pub fn bitfield(args: &[&[u8]], keys: &mut Keys) -> Option<()> {
    let mut rest = args.get(2..).unwrap_or(&[]);
    let mut reads = true;
    while let [word, after @ ..] = rest {
        let is = |w: &[u8]| word.eq_ignore_ascii_case(w);
        rest = match after {
            [_, _, after @ ..] if is(b"get") => after,
            [_, after @ ..] if is(b"overflow") => after,
            _ => {
                reads = false;
                break;
            }
        };
    }
    let flags = if reads { key::RO } else { key::RW | key::UPDATE };
    keys.push((1, flags | key::ACCESS));
    Some(())
}

/// GEORADIUS and GEORADIUSBYMEMBER: the key, and where the last STORE or STOREDIST leads.
pub fn georadius(args: &[&[u8]], keys: &mut Keys) -> Option<()> {
    georadius_with(args, [0, 0], keys)
}

/// The same keys, with what becomes of them.
pub fn georadius_used(args: &[&[u8]], keys: &mut Keys) -> Option<()> {
    georadius_with(args, [key::RO | key::ACCESS, STORED], keys)
}

fn georadius_with(args: &[&[u8]], [read, written]: [u32; 2], keys: &mut Keys) -> Option<()> {
    keys.push((1, read));
    let mut i = 5;
    while i + 1 < args.len() {
        if args[i].eq_ignore_ascii_case(b"store") || args[i].eq_ignore_ascii_case(b"storedist") {
            keys.truncate(1);
            keys.push((i + 1, written));
            i += 1;
        }
        i += 1;
    }
    Some(())
}

/// XREAD and XREADGROUP: the first half of what follows STREAMS, which a group may be named as well.
pub fn xread(args: &[&[u8]], keys: &mut Keys) -> Option<()> {
    xread_with(args, 0, keys)
}

/// The same keys, with what becomes of them.
pub fn xread_used(args: &[&[u8]], keys: &mut Keys) -> Option<()> {
    xread_with(args, key::RO | key::ACCESS, keys)
}

fn xread_with(args: &[&[u8]], flags: u32, keys: &mut Keys) -> Option<()> {
    let mut i = 1;
    loop {
        let word = args.get(i)?.to_ascii_lowercase();
        i += match &word[..] {
            b"streams" => break,
            b"noack" => 1,
            b"block" | b"count" => 2,
            b"group" => 3,
            _ => return None,
        };
    }
    let at = i + 1;
    let rest = args.len() - at;
    if rest == 0 || !rest.is_multiple_of(2) {
        return None;
    }
    keys.extend((at..at + rest / 2).map(|i| (i, flags)));
    Some(())
}

/// MIGRATE: the fourth argument, or when that is empty what follows KEYS.
pub fn migrate(args: &[&[u8]], keys: &mut Keys) -> Option<()> {
    let flags = key::RW | key::ACCESS | key::DELETE;
    let mut i = 6;
    while i < args.len() {
        let is = |word: &[u8]| args[i].eq_ignore_ascii_case(word);
        if is(b"keys") {
            if args[3].is_empty() {
                keys.extend((i + 1..args.len()).map(|i| (i, flags)));
            }
            return Some(());
        }
        i += match () {
            () if is(b"auth") => 2,
            () if is(b"auth2") => 3,
            () => 1,
        };
    }
    if args.len() > 3 {
        keys.push((3, flags));
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cmd::row::KeyFinder;

    const ROW: Row<()> = Row::blank(());

    fn words(line: &str) -> Vec<&[u8]> {
        line.split(' ').map(str::as_bytes).collect()
    }

    fn places(cmd: &Row<()>, line: &str) -> Vec<usize> {
        find(cmd, &words(line), Search::default()).iter().map(|k| k.0).collect()
    }

    #[test]
    fn ranges_count_from_either_end() {
        let all = Row { keys: const { &[KeySpec::range(key::RO, 1, -1, 1)] }, ..ROW };
        assert_eq!(places(&all, "del a b c"), [1, 2, 3]);
        let pairs = Row { keys: const { &[KeySpec::range(key::OW, 1, -1, 2)] }, ..ROW };
        assert_eq!(places(&pairs, "mset a 1 b 2"), [1, 3]);
        let but_last = Row { keys: const { &[KeySpec::range(key::RW, 1, -2, 1)] }, ..ROW };
        assert_eq!(places(&but_last, "blpop a b 0"), [1, 2]);
        assert!(places(&all, "del").is_empty(), "no key at all is the handler's problem");
    }

    #[test]
    fn counts_out_of_place_name_no_keys() {
        let cmd = Row { keys: const { &[KeySpec::keynum(key::RO, 1)] }, ..ROW };
        assert_eq!(places(&cmd, "sintercard 2 a b limit 1"), [2, 3]);
        for bad in
            ["sintercard 3 a b", "sintercard 0 a", "sintercard -1 a", "sintercard x a", "sintercard"]
        {
            assert!(places(&cmd, bad).is_empty(), "{bad}");
        }
        let huge = format!("sintercard {} a", i64::MAX);
        assert!(places(&cmd, &huge).is_empty());
    }

    #[test]
    fn keywords_are_found_from_both_ends() {
        let cmd =
            Row { keys: const { &[KeySpec::keyword(key::RO, "STREAMS", 1, -1, 1).limit(2)] }, ..ROW };
        assert_eq!(places(&cmd, "xread count 2 streams a b 0 0"), [4, 5]);
        assert!(places(&cmd, "xread count 2").is_empty());
        let store = Row {
            keys: const { &[KeySpec::one(key::RO, 1), KeySpec::keyword(key::OW, "STORE", 2, 0, 1)] },
            ..ROW
        };
        assert_eq!(find(&store, &words("x a store"), Search::default()), [(1, key::RO)]);
        let back = Row { keys: const { &[KeySpec::keyword(key::RW, "KEYS", -2, -1, 1)] }, ..ROW };
        assert_eq!(places(&back, "migrate h p x 0 10 keys a b"), [7, 8]);
    }

    #[test]
    fn an_incomplete_spec_asks_the_finder() {
        const SPECS: &[KeySpec] = &[KeySpec::one(key::RO, 1), KeySpec::unknown(key::OW)];
        let specs = SPECS;
        let cmd = Row { keys: specs, getkeys: Some(sort), ..ROW };
        let args = words("sort a by nosort store b");
        let found = find(&cmd, &args, Search::default());
        assert_eq!(found, [(1, key::RO | key::ACCESS), (5, key::OW | key::UPDATE)]);
        let partial = find(&cmd, &args, Search { partial: true, ..Search::default() });
        assert_eq!(partial, [(1, key::RO)]);
    }

    #[test]
    fn finders_follow_their_words() {
        let all = |f: KeyFinder, line: &str| {
            let mut keys = Keys::new();
            f(&words(line), &mut keys).map(|()| keys).unwrap_or_default()
        };
        let at = |f, line: &str| all(f, line).iter().map(|k| k.0).collect::<Vec<_>>();
        assert_eq!(at(sort, "sort k get store limit store x store d"), [1, 8]);
        assert_eq!(at(georadius, "georadius k 1 2 3 km store a storedist b"), [1, 9]);
        assert_eq!(at(georadius, "georadius k 1 2 3 m store store store x"), [1, 9]);
        assert_eq!(at(georadius, "georadius k 1 2 3 m store"), [1]);
        assert_eq!(at(xread, "xreadgroup group g c streams a b > >"), [5, 6]);
        assert!(at(xread, "xread streams a b 0").is_empty());
        assert_eq!(at(migrate, "migrate h p k 0 10 copy"), [3]);
        assert_eq!(at(migrate, "migrate h p  0 10 auth keys keys a b"), [9, 10]);
        assert!(at(migrate, "migrate h p k 0 10 keys a").is_empty());
        assert_eq!(at(store_numkeys, "zunionstore d 2 a b"), [3, 4, 1]);
        assert_eq!(at(numkeys_second, "eval s 1 a b"), [3]);
        assert_eq!(at(numkeys_first, "lmpop 1.5 a left"), [2]);
        let flags = |line: &str| all(set, line)[0].1;
        assert_ne!(flags("set k v get"), flags("set k get"));
        let bits = |line: &str| all(bitfield, line)[0].1 & key::UPDATE != 0;
        assert!(bits("bitfield k get u8 0 overflow sat set u8 0 1") && bits("bitfield k get u8 0 set"));
        assert!(!bits("bitfield k get u8 0 overflow sat"));
    }

    #[test]
    fn permission_is_asked_for_every_key_that_the_handler_uses() {
        const STREAMS: &[KeySpec] =
            &[KeySpec::keyword(key::RO | key::ACCESS, "STREAMS", 4, -1, 1).limit(2)];
        const RADIUS: &[KeySpec] =
            &[KeySpec::one(key::RO | key::ACCESS, 1), KeySpec::keyword(STORED, "STORE", 6, 0, 1)];
        const UNKNOWN: &[KeySpec] = &[KeySpec::one(SORTED, 1), KeySpec::unknown(STORED)];
        let xread = Row { keys: STREAMS, getkeys: Some(xread), used_keys: Some(xread_used), ..ROW };
        let geo = Row { keys: RADIUS, getkeys: Some(georadius), used_keys: Some(georadius_used), ..ROW };
        let sort = Row { keys: UNKNOWN, getkeys: Some(sort), used_keys: Some(sort_used), ..ROW };
        let asked = |cmd: &Row<()>, line: &str| {
            let mut keys = Keys::new();
            find_for_permission(cmd, &words(line), &mut keys);
            keys
        };
        let read = key::RO | key::ACCESS;
        let hidden = asked(&xread, "xreadgroup noack group g streams STREAMS secret >");
        assert_eq!(hidden, [(5, read), (6, read)]);
        assert_eq!(asked(&xread, "xreadgroup group g c streams a >"), [(5, read)]);
        let hidden = asked(&geo, "georadius k 1 2 3 km store mine store secret");
        assert_eq!(hidden, [(1, read), (7, STORED), (9, STORED)]);
        let hidden = asked(&sort, "sort k store limit store secret");
        assert_eq!(hidden, [(1, read), (3, STORED), (5, STORED)]);
    }
}
