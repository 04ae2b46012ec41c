//! Lists: pushing and popping, reading and changing. What takes from several keys, moves between two,
//! or blocks is in `list_block`.
//!
//! Encodings are `object::list`'s matter; here is when it is asked, and what a command counts,
//! announces and replies.

use super::numbers::{integer, positive};
use crate::cmd::docs;
use crate::cmd::row::flag::*;
use crate::cmd::row::{Flow, KeySpec, cat, key};
use crate::ds::listpack::{Element, Needle};
use crate::keyspace::store::{New, Ttl};
use crate::keyspace::{Found, Keyspace, Touched, class};
use crate::object::list::{List, ListEnd};
use crate::object::value::Variant;
use crate::proto::args::Key;
use crate::proto::error::CmdError;
use crate::proto::reply::Reply;
use crate::server::ctx::{Command, Ctx, ROW};

pub static ROWS: &[Command] = &[
    Command {
        name: "lindex",
        arity: 3,
        flags: READONLY,
        acl: cat::LIST,
        keys: &[KeySpec::one(key::RO | key::ACCESS, 1)],
        run: lindex,
        docs: &docs::LINDEX,
        ..ROW
    },
    Command {
        name: "linsert",
        arity: 5,
        flags: WRITE | DENYOOM,
        acl: cat::LIST,
        keys: &[KeySpec::one(key::RW | key::INSERT, 1)],
        run: linsert,
        docs: &docs::LINSERT,
        ..ROW
    },
    Command {
        name: "llen",
        arity: 2,
        flags: READONLY | FAST,
        acl: cat::LIST,
        keys: &[KeySpec::one(key::RO, 1)],
        run: llen,
        docs: &docs::LLEN,
        ..ROW
    },
    Command {
        name: "lpop",
        arity: -2,
        flags: WRITE | FAST,
        acl: cat::LIST,
        keys: &[KeySpec::one(key::RW | key::ACCESS | key::DELETE, 1)],
        run: lpop,
        docs: &docs::LPOP,
        ..ROW
    },
    Command {
        name: "lpos",
        arity: -3,
        flags: READONLY,
        acl: cat::LIST,
        keys: &[KeySpec::one(key::RO | key::ACCESS, 1)],
        run: lpos,
        docs: &docs::LPOS,
        ..ROW
    },
    Command {
        name: "lpush",
        arity: -3,
        flags: WRITE | DENYOOM | FAST,
        acl: cat::LIST,
        keys: &[KeySpec::one(key::RW | key::INSERT, 1)],
        run: lpush,
        docs: &docs::LPUSH,
        ..ROW
    },
    Command {
        name: "lpushx",
        arity: -3,
        flags: WRITE | DENYOOM | FAST,
        acl: cat::LIST,
        keys: &[KeySpec::one(key::RW | key::INSERT, 1)],
        run: lpushx,
        docs: &docs::LPUSHX,
        ..ROW
    },
    Command {
        name: "lrange",
        arity: 4,
        flags: READONLY,
        acl: cat::LIST,
        keys: &[KeySpec::one(key::RO | key::ACCESS, 1)],
        run: lrange,
        docs: &docs::LRANGE,
        ..ROW
    },
    Command {
        name: "lrem",
        arity: 4,
        flags: WRITE,
        acl: cat::LIST,
        keys: &[KeySpec::one(key::RW | key::DELETE, 1)],
        run: lrem,
        docs: &docs::LREM,
        ..ROW
    },
    Command {
        name: "lset",
        arity: 4,
        flags: WRITE | DENYOOM,
        acl: cat::LIST,
        keys: &[KeySpec::one(key::RW | key::UPDATE, 1)],
        run: lset,
        docs: &docs::LSET,
        ..ROW
    },
    Command {
        name: "ltrim",
        arity: 4,
        flags: WRITE,
        acl: cat::LIST,
        keys: &[KeySpec::one(key::RW | key::DELETE, 1)],
        run: ltrim,
        docs: &docs::LTRIM,
        ..ROW
    },
    Command {
        name: "rpop",
        arity: -2,
        flags: WRITE | FAST,
        acl: cat::LIST,
        keys: &[KeySpec::one(key::RW | key::ACCESS | key::DELETE, 1)],
        run: rpop,
        docs: &docs::RPOP,
        ..ROW
    },
    Command {
        name: "rpush",
        arity: -3,
        flags: WRITE | DENYOOM | FAST,
        acl: cat::LIST,
        keys: &[KeySpec::one(key::RW | key::INSERT, 1)],
        run: rpush,
        docs: &docs::RPUSH,
        ..ROW
    },
    Command {
        name: "rpushx",
        arity: -3,
        flags: WRITE | DENYOOM | FAST,
        acl: cat::LIST,
        keys: &[KeySpec::one(key::RW | key::INSERT, 1)],
        run: rpushx,
        docs: &docs::RPUSHX,
        ..ROW
    },
];

pub fn push_event(end: ListEnd) -> &'static str {
    if end == ListEnd::Head { "lpush" } else { "rpush" }
}

pub fn pop_event(end: ListEnd) -> &'static str {
    if end == ListEnd::Head { "lpop" } else { "rpop" }
}

// ---- adding -------------------------------------------------------------------------------------

/// Pushes values to a list, which is made when there is none, and announces it. `bytes` is what the
/// values are reckoned to take. Returns the new length.
pub fn push_to<'a>(
    ks: &mut Keyspace,
    (db, key): (usize, Key<'a>),
    found: Option<Found<'a>>,
    end: ListEnd,
    (values, bytes): (&[&[u8]], usize),
    dirty: u64,
) -> Result<usize, CmdError> {
    let limits = ks.policy.limits.list;
    let add = |l: &mut List| {
        l.grow_for(values.len(), bytes, &limits);
        values.iter().for_each(|v| l.push(end, v));
        l.len()
    };
    let (t, len): (Touched<'a>, usize) = match found {
        Some(f) => {
            let mut e = ks.edit(f);
            let len = add(e.value()?);
            (e.done(dirty), len)
        }
        None => {
            let mut l = List::default();
            let len = add(&mut l);
            let t = ks.put(db, key, New::Value(l.wrap()), Ttl::Clear, None);
            ks.dirty += dirty;
            ks.signal_modified(db, key.bytes);
            (t, len)
        }
    };
    ks.announce(&t, class::LIST, push_event(end));
    Ok(len)
}

fn push(ctx: &mut Ctx<'_>, end: ListEnd, only_if_there: bool) -> Result<Flow, CmdError> {
    let (key, values) = (ctx.key(1), ctx.args.from(2));
    let found = ctx.srv.ks.write(ctx.db, key);
    if found.is_none() && only_if_there {
        ctx.out.int(0);
        return Ok(Flow::Done);
    }
    let bytes = values.iter().map(|v| v.len()).sum();
    let dirty = values.len() as u64;
    let len = push_to(&mut ctx.srv.ks, (ctx.db, key), found, end, (values, bytes), dirty)?;
    ctx.out.int(len as i64);
    Ok(Flow::Done)
}

fn lpush(ctx: &mut Ctx<'_>) -> Result<Flow, CmdError> {
    push(ctx, ListEnd::Head, false)
}

fn rpush(ctx: &mut Ctx<'_>) -> Result<Flow, CmdError> {
    push(ctx, ListEnd::Tail, false)
}

fn lpushx(ctx: &mut Ctx<'_>) -> Result<Flow, CmdError> {
    push(ctx, ListEnd::Head, true)
}

fn rpushx(ctx: &mut Ctx<'_>) -> Result<Flow, CmdError> {
    push(ctx, ListEnd::Tail, true)
}

fn linsert(ctx: &mut Ctx<'_>) -> Result<Flow, CmdError> {
    let after = ctx.args[2].eq_ignore_ascii_case(b"after");
    if !after && !ctx.args[2].eq_ignore_ascii_case(b"before") {
        return Err(CmdError::Syntax);
    }
    let Some(found) = ctx.write(1) else {
        ctx.out.int(0);
        return Ok(Flow::Done);
    };
    let (pivot, value) = (ctx.args[3], ctx.args[4]);
    let limits = ctx.srv.ks.policy.limits.list;
    let mut e = ctx.srv.ks.edit(found);
    let l: &mut List = e.value()?;
    // The encoding changes even if the pivot is not found, as it does upstream.
    l.grow_for(1, value.len(), &limits);
    if !l.insert(pivot, value, after) {
        e.unchanged();
        ctx.out.int(-1);
        return Ok(Flow::Done);
    }
    let len = l.len();
    let t = e.done(1);
    ctx.announce(&t, class::LIST, "linsert");
    ctx.out.int(len as i64);
    Ok(Flow::Done)
}

fn lset(ctx: &mut Ctx<'_>) -> Result<Flow, CmdError> {
    let found = ctx.write(1).ok_or(CmdError::NoSuchKey)?;
    ctx.srv.ks.value::<List>(&found)?;
    // Redis takes the low 32 bits.
    let index = i64::from(integer(ctx.args[2])? as i32);
    let value = ctx.args[3];
    let limits = ctx.srv.ks.policy.limits.list;
    let mut e = ctx.srv.ks.edit(found);
    let l: &mut List = e.value()?;
    l.grow_for(1, value.len(), &limits);
    if !l.replace(index, value) {
        e.unchanged();
        return Err(CmdError::OutOfRange);
    }
    l.shrink(&limits);
    let t = e.done(1);
    ctx.announce(&t, class::LIST, "lset");
    ctx.out.ok();
    Ok(Flow::Done)
}

// ---- taking away --------------------------------------------------------------------------------

/// Pops one element, showing it to `show`, and announces it.
#[inline]
pub fn pop_one<R>(
    ks: &mut Keyspace,
    found: Found<'_>,
    end: ListEnd,
    show: impl FnOnce(Element<'_>) -> R,
) -> Result<R, CmdError> {
    let limits = ks.policy.limits.list;
    let mut e = ks.edit(found);
    let l: &mut List = e.value()?;
    let shown = l.pop(end, show).expect("no list in the keyspace is empty");
    l.shrink(&limits);
    let t = e.done(1);
    ks.announce(&t, class::LIST, pop_event(end));
    Ok(shown)
}

/// Pops up to `count` elements, announces and replies them as an array. Returns how many went.
pub fn pop_many(
    ks: &mut Keyspace,
    out: &mut Reply,
    found: Found<'_>,
    end: ListEnd,
    count: usize,
) -> Result<usize, CmdError> {
    let limits = ks.policy.limits.list;
    let mut e = ks.edit(found);
    let l: &mut List = e.value()?;
    let len = l.len();
    let n = count.min(len);
    let reverse = end == ListEnd::Tail;
    out.array(n);
    l.for_range(if reverse { len - 1 } else { 0 }, n, reverse, out);
    l.delete_range(if reverse { (len - n) as i64 } else { 0 }, n);
    l.shrink(&limits);
    let t = e.done(n as u64);
    ks.announce(&t, class::LIST, pop_event(end));
    Ok(n)
}

fn pop(ctx: &mut Ctx<'_>, end: ListEnd) -> Result<Flow, CmdError> {
    let count = match ctx.args.from(2) {
        [] => None,
        [count] => Some(positive(count)? as usize),
        _ => return Err(CmdError::arity(ctx.name())),
    };
    let Some(found) = ctx.write(1) else {
        match count {
            None => ctx.out.null(),
            Some(_) => ctx.out.null_array(),
        }
        return Ok(Flow::Done);
    };
    let (ks, out) = (&mut ctx.srv.ks, &mut *ctx.out);
    match count {
        None => pop_one(ks, found, end, |e| out.element(e))?,
        Some(0) => {
            ks.value::<List>(&found)?;
            out.array(0);
        }
        Some(count) => {
            pop_many(ks, out, found, end, count)?;
        }
    }
    Ok(Flow::Done)
}

fn lpop(ctx: &mut Ctx<'_>) -> Result<Flow, CmdError> {
    pop(ctx, ListEnd::Head)
}

fn rpop(ctx: &mut Ctx<'_>) -> Result<Flow, CmdError> {
    pop(ctx, ListEnd::Tail)
}

/// The range that two indices, both included, make of `len` elements; empty for none.
fn resolve(start: i64, end: i64, len: usize) -> std::ops::Range<usize> {
    let n = len as i64;
    let from_end = |i: i64| if i < 0 { i.saturating_add(n) } else { i };
    let (start, end) = (from_end(start).max(0), from_end(end));
    if start > end || start >= n {
        return 0..0;
    }
    // Both lie in 0..len.
    start as usize..end.min(n - 1) as usize + 1
}

fn ltrim(ctx: &mut Ctx<'_>) -> Result<Flow, CmdError> {
    let (start, end) = (integer(ctx.args[2])?, integer(ctx.args[3])?);
    let Some(found) = ctx.write(1) else {
        ctx.out.ok();
        return Ok(Flow::Done);
    };
    let limits = ctx.srv.ks.policy.limits.list;
    let mut e = ctx.srv.ks.edit(found);
    let l: &mut List = e.value()?;
    let len = l.len();
    let kept = resolve(start, end, len);
    let before = if kept.is_empty() { len } else { kept.start };
    let behind = len - before - kept.len();
    if before > 0 {
        l.delete_range(0, before);
    }
    if behind > 0 {
        l.delete_range(kept.len() as i64, behind);
    }
    l.shrink(&limits);
    let t = e.done((before + behind) as u64);
    ctx.announce(&t, class::LIST, "ltrim");
    ctx.out.ok();
    Ok(Flow::Done)
}

fn lrem(ctx: &mut Ctx<'_>) -> Result<Flow, CmdError> {
    let count = integer(ctx.args[2])?;
    let Some(found) = ctx.write(1) else {
        ctx.out.int(0);
        return Ok(Flow::Done);
    };
    let from = if count < 0 { ListEnd::Tail } else { ListEnd::Head };
    let most = match count.unsigned_abs() {
        0 => usize::MAX,
        n => usize::try_from(n).unwrap_or(usize::MAX),
    };
    let text = ctx.args[3];
    let limits = ctx.srv.ks.policy.limits.list;
    let mut e = ctx.srv.ks.edit(found);
    let l: &mut List = e.value()?;
    let removed = l.remove(text, most, from);
    if removed == 0 {
        e.unchanged();
    } else {
        l.shrink(&limits);
        let t = e.done(removed as u64);
        ctx.announce(&t, class::LIST, "lrem");
    }
    ctx.out.int(removed as i64);
    Ok(Flow::Done)
}

// ---- reading ------------------------------------------------------------------------------------

fn llen(ctx: &mut Ctx<'_>) -> Result<Flow, CmdError> {
    let len = match ctx.read(1) {
        None => 0,
        Some(f) => ctx.srv.ks.value::<List>(&f)?.len(),
    };
    ctx.out.int(len as i64);
    Ok(Flow::Done)
}

fn lindex(ctx: &mut Ctx<'_>) -> Result<Flow, CmdError> {
    let Some(f) = ctx.read(1) else {
        ctx.out.null();
        return Ok(Flow::Done);
    };
    let l = ctx.srv.ks.value::<List>(&f)?;
    let index = integer(ctx.args[2])?;
    if l.get(index, |e| ctx.out.element(e)).is_none() {
        ctx.out.null();
    }
    Ok(Flow::Done)
}

fn lrange(ctx: &mut Ctx<'_>) -> Result<Flow, CmdError> {
    let (start, end) = (integer(ctx.args[2])?, integer(ctx.args[3])?);
    let Some(f) = ctx.read(1) else {
        ctx.out.array(0);
        return Ok(Flow::Done);
    };
    let l = ctx.srv.ks.value::<List>(&f)?;
    let range = resolve(start, end, l.len());
    ctx.out.array(range.len());
    l.for_range(range.start, range.len(), false, ctx.out);
    Ok(Flow::Done)
}

/// The options of LPOS.
struct Search {
    from: ListEnd,
    /// The number of the first match that is reported.
    rank: u64,
    /// How many matches to report, 0 for all; None for one, and no array around it.
    count: Option<u64>,
    /// How many elements to look at, 0 for all.
    maxlen: u64,
}

fn lpos_options(args: &[&[u8]]) -> Result<Search, CmdError> {
    let not_negative = |arg: &[u8], why| {
        let n = integer(arg).map_err(|_| CmdError::Msg(why))?;
        u64::try_from(n).map_err(|_| CmdError::Msg(why))
    };
    let mut s = Search { from: ListEnd::Head, rank: 1, count: None, maxlen: 0 };
    let mut options = args.iter();
    while let Some(option) = options.next() {
        let value = options.next().ok_or(CmdError::Syntax)?;
        if option.eq_ignore_ascii_case(b"rank") {
            let rank = integer(value)?;
            if rank == i64::MIN {
                return Err(CmdError::text(format!(
                    "ERR value is out of range, value must between {} and {}",
                    -i64::MAX,
                    i64::MAX
                )));
            }
            if rank == 0 {
                return Err(CmdError::Msg(
                    &"ERR RANK can't be zero: use 1 to start from the first match, 2 from the second \
                      ... or use negative to start from the end of the list",
                ));
            }
            s.from = if rank < 0 { ListEnd::Tail } else { ListEnd::Head };
            s.rank = rank.unsigned_abs();
        } else if option.eq_ignore_ascii_case(b"count") {
            s.count = Some(not_negative(value, &"ERR COUNT can't be negative")?);
        } else if option.eq_ignore_ascii_case(b"maxlen") {
            s.maxlen = not_negative(value, &"ERR MAXLEN can't be negative")?;
        } else {
            return Err(CmdError::Syntax);
        }
    }
    Ok(s)
}

fn lpos(ctx: &mut Ctx<'_>) -> Result<Flow, CmdError> {
    let s = lpos_options(ctx.args.from(3))?;
    let Some(f) = ctx.read(1) else {
        match s.count {
            None => ctx.out.null(),
            Some(_) => ctx.out.array(0),
        }
        return Ok(Flow::Done);
    };
    let l = ctx.srv.ks.value::<List>(&f)?;
    let needle = Needle::new(ctx.args[2]);
    let (len, last_wanted) = (l.len(), s.count.unwrap_or(1));
    let array = s.count.map(|_| ctx.out.defer());
    let (mut matches, mut told) = (0, 0);
    l.walk(s.from, |n, e| {
        if s.maxlen != 0 && n as u64 >= s.maxlen {
            return false;
        }
        if !needle.is(e) {
            return true;
        }
        matches += 1;
        if matches < s.rank {
            return true;
        }
        told += 1;
        ctx.out.int(if s.from == ListEnd::Head { n } else { len - 1 - n } as i64);
        told != last_wanted
    });
    match array {
        Some(array) => ctx.out.set_array(array, told as usize),
        None if told == 0 => ctx.out.null(),
        None => {}
    }
    Ok(Flow::Done)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_cut_to_the_list() {
        for (start, end, range) in [
            (0, -1, 0..5),
            (1, 2, 1..3),
            (-2, 100, 3..5),
            (i64::MIN, 0, 0..1),
            (0, i64::MIN, 0..0),
            (5, 9, 0..0),
            (3, 2, 0..0),
            (i64::MIN, i64::MAX, 0..5),
        ] {
            assert_eq!(resolve(start, end, 5), range, "{start} {end}");
        }
        assert_eq!(resolve(0, -1, 0), 0..0);
    }
}
