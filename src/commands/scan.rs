//! Walking through the keys: SCAN, KEYS and RANDOMKEY; the cursor and the options are shared with the
//! scans of single values.
//!
//! A scan first collects what the table gives, then deletes what has expired of it, then replies:
//! nothing changes while the table is walked. A step of the table gives the elements of a whole bucket
//! (eight places of the logical size), so COUNT is a lower bound, as everywhere. Where each slot of a cluster
//! has a table of its own, a pattern that begins with a whole hash tag is looked for in its slot alone.

use super::help::c_text;
use super::numbers::integer;
use crate::algo::crc16::{hash_tag, key_slot};
use crate::algo::glob::glob_match;
use crate::algo::num::is_space;
use crate::cmd::docs;
use crate::cmd::row::flag::*;
use crate::cmd::row::{Flow, cat};
use crate::ds::dict::Index;
use crate::ds::entry::{EntryRef, ty};
use crate::ds::pairs::Pairs;
use crate::keyspace::mode;
use crate::object::value::type_name;
use crate::proto::args::Key;
use crate::proto::error::CmdError;
use crate::proto::reply::Reply;
use crate::server::ctx::{Command, Ctx, ROW};

pub static ROWS: &[Command] = &[
    Command {
        name: "keys",
        arity: 2,
        flags: READONLY,
        acl: cat::KEYSPACE | cat::DANGEROUS,
        run: keys,
        docs: &docs::KEYS,
        ..ROW
    },
    Command {
        name: "randomkey",
        arity: 1,
        flags: READONLY | TOUCHES_ARBITRARY_KEYS,
        acl: cat::KEYSPACE,
        run: randomkey,
        docs: &docs::RANDOMKEY,
        ..ROW
    },
    Command {
        name: "scan",
        arity: -2,
        flags: READONLY | TOUCHES_ARBITRARY_KEYS,
        acl: cat::KEYSPACE,
        run: scan,
        docs: &docs::SCAN,
        ..ROW
    },
];

/// The cursor of a scan, read as strtoul reads it: a sign and leading zeros are fine, and nothing at
/// all is 0.
pub fn cursor(arg: &[u8]) -> Result<u64, CmdError> {
    const INVALID: CmdError = CmdError::Msg(&"ERR invalid cursor");
    let text = c_text(arg);
    let (negative, digits) = match text {
        [] => return Ok(0),
        [b, ..] if is_space(*b) => return Err(INVALID),
        [b'-', rest @ ..] => (true, rest),
        [b'+', rest @ ..] => (false, rest),
        _ => (false, text),
    };
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return Err(INVALID);
    }
    let n = digits
        .iter()
        .try_fold(0u64, |n, b| n.checked_mul(10)?.checked_add(u64::from(b - b'0')))
        .ok_or(INVALID)?;
    Ok(if negative { n.wrapping_neg() } else { n })
}

/// COUNT, MATCH and TYPE.
#[derive(Debug, Clone, Copy)]
pub struct ScanOptions<'a> {
    pub count: u64,
    /// None where everything matches.
    pub pattern: Option<&'a [u8]>,
    /// The type to filter by; a name that is no type matches nothing.
    pub ty: Option<Option<u8>>,
}

impl<'a> ScanOptions<'a> {
    /// `args` begins behind the cursor; TYPE is known to SCAN alone.
    pub fn parse(args: &[&'a [u8]], with_type: bool) -> Result<ScanOptions<'a>, CmdError> {
        let mut o = ScanOptions { count: 10, pattern: None, ty: None };
        let mut args = args.iter();
        while let Some(option) = args.next() {
            let is = |word: &[u8]| option.eq_ignore_ascii_case(word);
            if !is(b"count") && !is(b"match") && !(is(b"type") && with_type) {
                return Err(CmdError::Syntax);
            }
            let value = *args.next().ok_or(CmdError::Syntax)?;
            if is(b"count") {
                o.count = integer(value)?.try_into().ok().filter(|n| *n > 0).ok_or(CmdError::Syntax)?;
            } else if is(b"match") {
                o.pattern = if value == b"*" { None } else { Some(value) };
            } else {
                o.ty = Some(type_number(value));
            }
        }
        Ok(o)
    }

    pub fn matches(&self, name: &[u8]) -> bool {
        self.pattern.is_none_or(|p| glob_match(p, name, false))
    }
}

/// The answer of HSCAN, SSCAN and ZSCAN where there is no key.
pub fn empty(out: &mut Reply) {
    out.array(2);
    out.bulk(b"0");
    out.array(0);
}

/// Scans the table of a hash or, without `values`, of a set.
pub fn table(out: &mut Reply, mut at: u64, options: &ScanOptions<'_>, t: &Pairs, values: bool) {
    let mut found: Vec<(&[u8], &[u8])> = Vec::new();
    let (mut sampled, mut steps) = (0, options.count.saturating_mul(10));
    loop {
        at = t.scan(at, |k, v| {
            sampled += 1;
            if options.matches(k) {
                found.push((k, v));
            }
        });
        if at == 0 || steps == 0 || sampled >= options.count {
            break;
        }
        steps -= 1;
    }
    out.array(2);
    out.bulk(itoa::Buffer::new().format(at).as_bytes());
    out.array(found.len() * if values { 2 } else { 1 });
    for (k, v) in found {
        out.bulk(k);
        if values {
            out.bulk(v);
        }
    }
}

fn type_number(name: &[u8]) -> Option<u8> {
    let name = c_text(name);
    [ty::STRING, ty::LIST, ty::SET, ty::ZSET, ty::HASH, ty::STREAM]
        .into_iter()
        .find(|t| name.eq_ignore_ascii_case(type_name(*t).as_bytes()))
}

fn scan(ctx: &mut Ctx<'_>) -> Result<Flow, CmdError> {
    let mut at = cursor(ctx.args[1])?;
    let options = ScanOptions::parse(ctx.args.from(2), true)?;
    // Names one behind the other, each with its end and whether type or expiry must be checked: that waits
    // for the end of the walk, since it may delete the key.
    let (mut names, mut ends) = (Vec::new(), Vec::new());
    let (mut sampled, mut steps) = (0, options.count.saturating_mul(10));
    let db = ctx.srv.ks.db(ctx.db);
    let slot = options.pattern.filter(|_| db.dict().is_slotted()).and_then(slot_of_pattern);
    loop {
        let take = |e: EntryRef<'_>| {
            sampled += 1;
            if options.matches(e.key()) {
                names.extend_from_slice(e.key());
                ends.push((names.len(), options.ty.is_some() || e.when().is_some()));
            }
        };
        at = match slot {
            Some(slot) => db.scan_slot(slot.into(), at, take),
            None => db.scan(Index::Keys, at, take),
        };
        if at == 0 || steps == 0 || sampled >= options.count {
            break;
        }
        steps -= 1;
    }
    ctx.out.array(2);
    ctx.out.bulk(itoa::Buffer::new().format(at).as_bytes());
    let (mark, mut n, mut begin) = (ctx.out.defer(), 0, 0);
    for (end, doubtful) in ends {
        let name = &names[begin..end];
        begin = end;
        if !doubtful || still_wanted(ctx, name, &options) {
            ctx.out.bulk(name);
            n += 1;
        }
    }
    ctx.out.set_array(mark, n);
    Ok(Flow::Done)
}

/// The slot of whatever matches a pattern, if its text tells.
fn slot_of_pattern(pattern: &[u8]) -> Option<u16> {
    let special = pattern.iter().position(|b| b"*?[\\".contains(b));
    let Some(literal) = special.and_then(|at| pattern.get(..at)) else { return Some(key_slot(pattern)) };
    // A tag that is not whole here is not shorter than all that is literal.
    (hash_tag(literal).len() < literal.len()).then(|| key_slot(literal))
}

/// Deletes the key when its time is over, and looks at its type when one was asked for.
fn still_wanted(ctx: &mut Ctx<'_>, name: &[u8], options: &ScanOptions<'_>) -> bool {
    let (ks, key) = (&mut ctx.srv.ks, Key::new(name));
    match options.ty {
        None => !ks.expire_if_needed(ctx.db, key),
        Some(wanted) => ks
            .admit(ctx.db, key, mode::NOTOUCH | mode::NONOTIFY)
            .is_some_and(|f| Some(ks.at(&f).ty()) == wanted),
    }
}

fn keys(ctx: &mut Ctx<'_>) -> Result<Flow, CmdError> {
    let pattern = ctx.args[1];
    let all = pattern == b"*";
    let mark = ctx.out.defer();
    let mut n = 0;
    let ks = &ctx.srv.ks;
    for e in ks.db(ctx.db).iter() {
        if (all || glob_match(pattern, e.key(), false)) && !ks.is_expired(e) {
            ctx.out.bulk(e.key());
            n += 1;
        }
        if ctx.out.over {
            break;
        }
    }
    ctx.out.set_array(mark, n);
    Ok(Flow::Done)
}

fn randomkey(ctx: &mut Ctx<'_>) -> Result<Flow, CmdError> {
    match ctx.srv.ks.random_key(ctx.db) {
        Some(name) => ctx.out.bulk(&name),
        None => ctx.out.null(),
    }
    Ok(Flow::Done)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cursors_are_read_as_loosely_as_upstream_reads_them() {
        for (text, n) in [
            ("0", 0),
            ("", 0),
            ("007", 7),
            ("+5", 5),
            ("-1", u64::MAX),
            ("18446744073709551615", u64::MAX),
            ("5\0junk", 5),
        ] {
            assert_eq!(cursor(text.as_bytes()).ok(), Some(n), "{text:?}");
        }
        for text in [" 1", "1 ", "x", "-", "1x", "18446744073709551616", "\t"] {
            assert!(cursor(text.as_bytes()).is_err(), "{text:?}");
        }
    }

    #[test]
    fn a_pattern_has_a_slot_when_all_that_match_it_share_one() {
        for (pattern, same) in [
            ("{a}*", "{a}"),
            ("x{tag}y?", "tag"),
            ("whole", "whole"),
            ("{a}{b*}", "a"),
            ("{}{a}", "{}{a}"),
        ] {
            assert_eq!(
                slot_of_pattern(pattern.as_bytes()),
                Some(key_slot(same.as_bytes())),
                "{pattern}"
            );
        }
        for pattern in ["*", "a*", "{a*}", "{a", "{}*", "{}{a}*", "[{a}]", "{a[b]}"] {
            let alone = !pattern.contains(['*', '[']);
            assert_eq!(slot_of_pattern(pattern.as_bytes()).is_some(), alone, "{pattern}");
        }
    }

    #[test]
    fn options_come_in_any_order_and_the_last_one_counts() {
        let parse = |words: &[&'static str], with_type| {
            let args: Vec<&[u8]> = words.iter().map(|w| w.as_bytes()).collect();
            ScanOptions::parse(&args, with_type).map(|o| (o.count, o.pattern.map(<[u8]>::to_vec), o.ty))
        };
        let ok = parse(&["MATCH", "a*", "count", "3", "TYPE", "Hash", "match", "*"], true);
        assert_eq!(ok.ok(), Some((3, None, Some(Some(ty::HASH)))));
        assert_eq!(parse(&["type", "none"], true).ok(), Some((10, None, Some(None))));
        for bad in [&["count", "0"][..], &["count"], &["count", "x"], &["nosuch", "1"], &["type", "x"]] {
            assert!(parse(bad, false).is_err(), "{bad:?}");
        }
    }
}
