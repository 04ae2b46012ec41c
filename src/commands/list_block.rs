//! Lists, several keys at once: what pops from the first list there is, what moves an element from one
//! list to another, and the forms of both that wait.
//!
//! A command that waited is run again as it came, so each handler here is written as if it ran for the
//! first time; replicas and the AOF get what it did (LPOP, LMOVE ...), never that it waited.

use super::list::{pop_event, pop_many, pop_one, push_event, push_to};
use super::numbers::integer;
use super::timeout;
use crate::blocked::Wait;
use crate::cmd::docs;
use crate::cmd::keys;
use crate::cmd::row::flag::*;
use crate::cmd::row::{Flow, KeySpec, cat, key};
use crate::ds::entry::ty;
use crate::ds::listpack::Element;
use crate::keyspace::{Found, class};
use crate::object::list::{List, ListEnd};
use crate::proto::error::CmdError;
use crate::server::ctx::{Command, Ctx, ROW};

pub static ROWS: &[Command] = &[
    Command {
        name: "blmove",
        arity: 6,
        flags: WRITE | DENYOOM | BLOCKING,
        acl: cat::LIST,
        keys: &[
            KeySpec::one(key::RW | key::ACCESS | key::DELETE, 1),
            KeySpec::one(key::RW | key::INSERT, 2),
        ],
        run: blmove,
        docs: &docs::BLMOVE,
        ..ROW
    },
    Command {
        name: "blmpop",
        arity: -5,
        flags: WRITE | BLOCKING,
        acl: cat::LIST,
        keys: &[KeySpec::keynum(key::RW | key::ACCESS | key::DELETE, 2)],
        run: blmpop,
        getkeys: Some(keys::numkeys_second),
        docs: &docs::BLMPOP,
        ..ROW
    },
    Command {
        name: "blpop",
        arity: -3,
        flags: WRITE | BLOCKING,
        acl: cat::LIST,
        keys: &[KeySpec::range(key::RW | key::ACCESS | key::DELETE, 1, -2, 1)],
        run: blpop,
        docs: &docs::BLPOP,
        ..ROW
    },
    Command {
        name: "brpop",
        arity: -3,
        flags: WRITE | BLOCKING,
        acl: cat::LIST,
        keys: &[KeySpec::range(key::RW | key::ACCESS | key::DELETE, 1, -2, 1)],
        run: brpop,
        docs: &docs::BRPOP,
        ..ROW
    },
    Command {
        name: "brpoplpush",
        arity: 4,
        flags: WRITE | DENYOOM | BLOCKING,
        acl: cat::LIST,
        keys: &[
            KeySpec::one(key::RW | key::ACCESS | key::DELETE, 1),
            KeySpec::one(key::RW | key::INSERT, 2),
        ],
        run: brpoplpush,
        docs: &docs::BRPOPLPUSH,
        ..ROW
    },
    Command {
        name: "lmove",
        arity: 5,
        flags: WRITE | DENYOOM,
        acl: cat::LIST,
        keys: &[
            KeySpec::one(key::RW | key::ACCESS | key::DELETE, 1),
            KeySpec::one(key::RW | key::INSERT, 2),
        ],
        run: lmove,
        docs: &docs::LMOVE,
        ..ROW
    },
    Command {
        name: "lmpop",
        arity: -4,
        flags: WRITE,
        acl: cat::LIST,
        keys: &[KeySpec::keynum(key::RW | key::ACCESS | key::DELETE, 1)],
        run: lmpop,
        getkeys: Some(keys::numkeys_first),
        docs: &docs::LMPOP,
        ..ROW
    },
    Command {
        name: "rpoplpush",
        arity: 3,
        flags: WRITE | DENYOOM,
        acl: cat::LIST,
        keys: &[
            KeySpec::one(key::RW | key::ACCESS | key::DELETE, 1),
            KeySpec::one(key::RW | key::INSERT, 2),
        ],
        run: rpoplpush,
        docs: &docs::RPOPLPUSH,
        ..ROW
    },
];

const WAIT: Wait = Wait::Key { ty: ty::LIST, any_change: false };

fn side(arg: &[u8]) -> Result<ListEnd, CmdError> {
    if arg.eq_ignore_ascii_case(b"left") {
        Ok(ListEnd::Head)
    } else if arg.eq_ignore_ascii_case(b"right") {
        Ok(ListEnd::Tail)
    } else {
        Err(CmdError::Syntax)
    }
}

/// The first of these keys that holds a list. Another type before it is an error.
fn first_list<'a>(ctx: &mut Ctx<'a>, keys: &[&'a [u8]]) -> Result<Option<Found<'a>>, CmdError> {
    for k in keys {
        let key = crate::proto::args::Key::new(k);
        if let Some(found) = ctx.srv.ks.write(ctx.db, key) {
            ctx.srv.ks.value::<List>(&found)?;
            return Ok(Some(found));
        }
    }
    Ok(None)
}

// ---- popping ------------------------------------------------------------------------------------

/// BLPOP and BRPOP: the key and one element.
fn blocking_pop(ctx: &mut Ctx<'_>, end: ListEnd) -> Result<Flow, CmdError> {
    let (limit, keys) = ctx.args.from(1).split_last().expect("the arity says so");
    let deadline = timeout::seconds(limit, ctx.now_ms())?;
    let Some(found) = first_list(ctx, keys)? else {
        if ctx.may_block() {
            return Ok(ctx.block(WAIT, keys, deadline));
        }
        ctx.out.null_array();
        return Ok(Flow::Done);
    };
    let key = found.key.bytes;
    let (ks, out) = (&mut ctx.srv.ks, &mut *ctx.out);
    out.array(2);
    out.bulk(key);
    pop_one(ks, found, end, |e| out.element(e))?;
    if ks.policy.ops {
        ctx.instead(&[pop_name(end), key]);
    }
    Ok(Flow::Done)
}

fn pop_name(end: ListEnd) -> &'static [u8] {
    if end == ListEnd::Head { b"LPOP" } else { b"RPOP" }
}

fn blpop(ctx: &mut Ctx<'_>) -> Result<Flow, CmdError> {
    blocking_pop(ctx, ListEnd::Head)
}

fn brpop(ctx: &mut Ctx<'_>) -> Result<Flow, CmdError> {
    blocking_pop(ctx, ListEnd::Tail)
}

/// What LMPOP and BLMPOP say from the number of keys on.
struct Multi<'a> {
    keys: &'a [&'a [u8]],
    end: ListEnd,
    count: usize,
}

fn multi<'a>(args: &'a [&'a [u8]]) -> Result<Multi<'a>, CmdError> {
    let at_least_one = |arg: &[u8], why| -> Result<usize, CmdError> {
        let n = integer(arg).ok().filter(|n| *n > 0).ok_or(CmdError::Msg(why))?;
        Ok(usize::try_from(n).unwrap_or(usize::MAX))
    };
    let (numkeys, rest) = args.split_first().expect("the arity says so");
    let numkeys = at_least_one(numkeys, &"ERR numkeys should be greater than 0")?;
    let (keys, rest) = rest.split_at_checked(numkeys).ok_or(CmdError::Syntax)?;
    let (end, options) = rest.split_first().ok_or(CmdError::Syntax)?;
    let end = side(end)?;
    let count = match options {
        [] => 1,
        [word, n, more @ ..] if word.eq_ignore_ascii_case(b"count") => {
            let n = at_least_one(n, &"ERR count should be greater than 0")?;
            if !more.is_empty() {
                return Err(CmdError::Syntax);
            }
            n
        }
        _ => return Err(CmdError::Syntax),
    };
    Ok(Multi { keys, end, count })
}

/// Replies the key and what was popped.
fn pop_from(ctx: &mut Ctx<'_>, found: Found<'_>, m: &Multi<'_>) -> Result<Flow, CmdError> {
    let key = found.key.bytes;
    ctx.out.array(2);
    ctx.out.bulk(key);
    let n = pop_many(&mut ctx.srv.ks, ctx.out, found, m.end, m.count)?;
    if ctx.srv.ks.policy.ops {
        ctx.instead(&[pop_name(m.end), key, itoa::Buffer::new().format(n).as_bytes()]);
    }
    Ok(Flow::Done)
}

fn lmpop(ctx: &mut Ctx<'_>) -> Result<Flow, CmdError> {
    let m = multi(ctx.args.from(1))?;
    match first_list(ctx, m.keys)? {
        Some(found) => pop_from(ctx, found, &m),
        None => {
            ctx.out.null_array();
            Ok(Flow::Done)
        }
    }
}

fn blmpop(ctx: &mut Ctx<'_>) -> Result<Flow, CmdError> {
    let m = multi(ctx.args.from(2))?;
    let deadline = timeout::seconds(ctx.args[1], ctx.now_ms())?;
    match first_list(ctx, m.keys)? {
        Some(found) => pop_from(ctx, found, &m),
        None if ctx.may_block() => Ok(ctx.block(WAIT, m.keys, deadline)),
        None => {
            ctx.out.null_array();
            Ok(Flow::Done)
        }
    }
}

// ---- moving -------------------------------------------------------------------------------------

/// Moves an element from the list at argument 1 to the one at argument 2 and replies it. False when
/// there is no list to take from.
fn move_one(ctx: &mut Ctx<'_>, from: ListEnd, to: ListEnd) -> Result<bool, CmdError> {
    let Some(source) = ctx.write(1) else { return Ok(false) };
    let list = ctx.srv.ks.value::<List>(&source)?;
    if ctx.args[1] == ctx.args[2] {
        rotate(ctx, source, from, to)?;
        return Ok(true);
    }
    let index = if from == ListEnd::Head { 0 } else { -1 };
    let is_quick = matches!(*list, List::Quick(_));
    let copy = |e: Element<'_>| (e.to_vec(), reckoned(e, is_quick));
    let (value, bytes) = list.get(index, copy).expect("no list in the keyspace is empty");
    let found = ctx.write(2);
    let (db, dest) = (ctx.db, ctx.key(2));
    let ks = &mut ctx.srv.ks;
    if let Some(f) = &found {
        ks.value::<List>(f)?;
    }
    // The destination comes first, in events too.
    push_to(ks, (db, dest), found, to, (&[&value], bytes), 0)?;
    ctx.out.bulk(&value);
    pop_one(ks, source, from, |_| ())?;
    Ok(true)
}

/// What a moved element is reckoned to add. Integers out of a quicklist count nothing: Redis moves them
/// as integers.
fn reckoned(e: Element<'_>, from_quicklist: bool) -> usize {
    match e {
        Element::Int(_) if from_quicklist => 0,
        e => e.with_text(<[u8]>::len),
    }
}

/// From one end of a list to an end of the same.
fn rotate(ctx: &mut Ctx<'_>, found: Found<'_>, from: ListEnd, to: ListEnd) -> Result<(), CmdError> {
    let limits = ctx.srv.ks.policy.limits.list;
    let ks = &mut ctx.srv.ks;
    let mut e = ks.edit(found);
    let l: &mut List = e.value()?;
    let is_quick = matches!(l, List::Quick(_));
    let copy = |e: Element<'_>| (e.to_vec(), reckoned(e, is_quick));
    let (value, bytes) = l.pop(from, copy).expect("no list in the keyspace is empty");
    l.grow_for(1, bytes, &limits);
    l.push(to, &value);
    l.shrink(&limits);
    let t = e.done(1);
    ks.event(t.db, t.key.bytes, class::LIST, push_event(to));
    ks.announce(&t, class::LIST, pop_event(from));
    ctx.out.bulk(&value);
    Ok(())
}

fn lmove(ctx: &mut Ctx<'_>) -> Result<Flow, CmdError> {
    let (from, to) = (side(ctx.args[3])?, side(ctx.args[4])?);
    if !move_one(ctx, from, to)? {
        ctx.out.null();
    }
    Ok(Flow::Done)
}

fn rpoplpush(ctx: &mut Ctx<'_>) -> Result<Flow, CmdError> {
    if !move_one(ctx, ListEnd::Tail, ListEnd::Head)? {
        ctx.out.null();
    }
    Ok(Flow::Done)
}

/// Moves now, or waits for the source. `op` is what replicas and the AOF get instead.
fn blocking_move(
    ctx: &mut Ctx<'_>,
    from: ListEnd,
    to: ListEnd,
    deadline: i64,
    op: &[&[u8]],
) -> Result<Flow, CmdError> {
    if move_one(ctx, from, to)? {
        if ctx.srv.ks.policy.ops {
            ctx.instead(op);
        }
    } else if ctx.may_block() {
        let source = ctx.args[1];
        return Ok(ctx.block(WAIT, &[source], deadline));
    } else {
        ctx.out.null();
    }
    Ok(Flow::Done)
}

fn blmove(ctx: &mut Ctx<'_>) -> Result<Flow, CmdError> {
    let a = ctx.args.slice();
    let (from, to) = (side(a[3])?, side(a[4])?);
    let deadline = timeout::seconds(a[5], ctx.now_ms())?;
    blocking_move(ctx, from, to, deadline, &[b"LMOVE", a[1], a[2], a[3], a[4]])
}

fn brpoplpush(ctx: &mut Ctx<'_>) -> Result<Flow, CmdError> {
    let a = ctx.args.slice();
    let deadline = timeout::seconds(a[3], ctx.now_ms())?;
    blocking_move(ctx, ListEnd::Tail, ListEnd::Head, deadline, &[b"RPOPLPUSH", a[1], a[2]])
}
