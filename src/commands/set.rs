//! Sets: members in and out, random members, the algebra of `object::set_ops`, SSCAN.
//!
//! Commands over several keys look all of them up first, in their order, and borrow after that: a
//! lookup may expire its key. The STORE forms build the result before they touch the destination, which
//! may be a source.

use super::hash::{chance, random_count};
use super::numbers::positive;
use super::scan;
use crate::algo::num::parse_i64;
use crate::cmd::docs;
use crate::cmd::keys;
use crate::cmd::row::flag::*;
use crate::cmd::row::{Flow, KeySpec, cat, key};
use crate::keyspace::store::{New, Ttl};
use crate::keyspace::{Effect, Found, Keyspace, WrongType, class};
use crate::object::set::Set;
use crate::object::set_ops::{self, Difference};
use crate::object::value::{Variant, View};
use crate::proto::error::CmdError;
use crate::server::ctx::{Command, Ctx, Propagation, ROW};

pub static ROWS: &[Command] = &[
    Command {
        name: "sadd",
        arity: -3,
        flags: WRITE | DENYOOM | FAST,
        acl: cat::SET,
        keys: &[KeySpec::one(key::RW | key::INSERT, 1)],
        member_at: 2,
        run: sadd,
        docs: &docs::SADD,
        ..ROW
    },
    Command {
        name: "scard",
        arity: 2,
        flags: READONLY | FAST,
        acl: cat::SET,
        keys: &[KeySpec::one(key::RO, 1)],
        run: scard,
        docs: &docs::SCARD,
        ..ROW
    },
    Command {
        name: "sdiff",
        arity: -2,
        flags: READONLY,
        acl: cat::SET,
        keys: &[KeySpec::range(key::RO | key::ACCESS, 1, -1, 1)],
        run: sdiff,
        docs: &docs::SDIFF,
        ..ROW
    },
    Command {
        name: "sdiffstore",
        arity: -3,
        flags: WRITE | DENYOOM,
        acl: cat::SET,
        keys: &[KeySpec::one(key::OW | key::UPDATE, 1), KeySpec::range(key::RO | key::ACCESS, 2, -1, 1)],
        run: sdiffstore,
        docs: &docs::SDIFFSTORE,
        ..ROW
    },
    Command {
        name: "sinter",
        arity: -2,
        flags: READONLY,
        acl: cat::SET,
        keys: &[KeySpec::range(key::RO | key::ACCESS, 1, -1, 1)],
        run: sinter,
        docs: &docs::SINTER,
        ..ROW
    },
    Command {
        name: "sintercard",
        arity: -3,
        flags: READONLY,
        acl: cat::SET,
        keys: &[KeySpec::keynum(key::RO | key::ACCESS, 1)],
        run: sintercard,
        getkeys: Some(keys::numkeys_first),
        docs: &docs::SINTERCARD,
        ..ROW
    },
    Command {
        name: "sinterstore",
        arity: -3,
        flags: WRITE | DENYOOM,
        acl: cat::SET,
        keys: &[KeySpec::one(key::RW | key::UPDATE, 1), KeySpec::range(key::RO | key::ACCESS, 2, -1, 1)],
        run: sinterstore,
        docs: &docs::SINTERSTORE,
        ..ROW
    },
    Command {
        name: "sismember",
        arity: 3,
        flags: READONLY | FAST,
        acl: cat::SET,
        keys: &[KeySpec::one(key::RO, 1)],
        member_at: 2,
        run: sismember,
        docs: &docs::SISMEMBER,
        ..ROW
    },
    Command {
        name: "smembers",
        arity: 2,
        flags: READONLY,
        acl: cat::SET,
        keys: &[KeySpec::one(key::RO | key::ACCESS, 1)],
        run: smembers,
        docs: &docs::SMEMBERS,
        ..ROW
    },
    Command {
        name: "smismember",
        arity: -3,
        flags: READONLY | FAST,
        acl: cat::SET,
        keys: &[KeySpec::one(key::RO | key::ACCESS, 1)],
        member_at: 2,
        run: smismember,
        docs: &docs::SMISMEMBER,
        ..ROW
    },
    Command {
        name: "smove",
        arity: 4,
        flags: WRITE | FAST,
        acl: cat::SET,
        keys: &[
            KeySpec::one(key::RW | key::ACCESS | key::DELETE, 1),
            KeySpec::one(key::RW | key::INSERT, 2),
        ],
        run: smove,
        docs: &docs::SMOVE,
        ..ROW
    },
    Command {
        name: "spop",
        arity: -2,
        flags: WRITE | FAST,
        acl: cat::SET,
        keys: &[KeySpec::one(key::RW | key::ACCESS | key::DELETE, 1)],
        run: spop,
        docs: &docs::SPOP,
        ..ROW
    },
    Command {
        name: "srandmember",
        arity: -2,
        flags: READONLY,
        acl: cat::SET,
        keys: &[KeySpec::one(key::RO | key::ACCESS, 1)],
        run: srandmember,
        docs: &docs::SRANDMEMBER,
        ..ROW
    },
    Command {
        name: "srem",
        arity: -3,
        flags: WRITE | FAST,
        acl: cat::SET,
        keys: &[KeySpec::one(key::RW | key::DELETE, 1)],
        member_at: 2,
        run: srem,
        docs: &docs::SREM,
        ..ROW
    },
    Command {
        name: "sscan",
        arity: -3,
        flags: READONLY,
        acl: cat::SET,
        keys: &[KeySpec::one(key::RO | key::ACCESS, 1)],
        run: sscan,
        docs: &docs::SSCAN,
        ..ROW
    },
    Command {
        name: "sunion",
        arity: -2,
        flags: READONLY,
        acl: cat::SET,
        keys: &[KeySpec::range(key::RO | key::ACCESS, 1, -1, 1)],
        run: sunion,
        docs: &docs::SUNION,
        ..ROW
    },
    Command {
        name: "sunionstore",
        arity: -3,
        flags: WRITE | DENYOOM,
        acl: cat::SET,
        keys: &[KeySpec::one(key::OW | key::UPDATE, 1), KeySpec::range(key::RO | key::ACCESS, 2, -1, 1)],
        run: sunionstore,
        docs: &docs::SUNIONSTORE,
        ..ROW
    },
];

/// Members that one SREM carries when SPOP is propagated.
const SREM_BATCH: usize = 1024;

// ---- members in and out ----------------------------------------------------------------------------

fn sadd(ctx: &mut Ctx<'_>) -> Result<Flow, CmdError> {
    let members = ctx.args.from(2);
    let found = ctx.write(1);
    let ks = &mut ctx.srv.ks;
    let limits = ks.policy.limits.set;
    let mut added = 0;
    let mut add_to = |s: &mut Set| {
        for m in members {
            added += u64::from(s.add(m, &limits));
        }
        added
    };
    let t = match found {
        None => {
            let mut s = Set::for_member(members[0], members.len(), &limits);
            let added = add_to(&mut s);
            let key = ctx.args.key(1);
            let t = ks.put(ctx.db, key, New::Value(s.wrap()), Ttl::Clear, None);
            ks.dirty += added;
            ks.signal_modified(ctx.db, key.bytes);
            Some(t)
        }
        Some(f) => {
            let mut edit = ks.edit(f);
            let s = edit.value::<Set>()?;
            s.prepare(members.len(), &limits);
            match add_to(s) {
                0 => {
                    edit.unchanged();
                    None
                }
                n => Some(edit.done(n)),
            }
        }
    };
    if let Some(t) = t {
        ctx.announce(&t, class::SET, "sadd");
    }
    ctx.out.int(added as i64);
    Ok(Flow::Done)
}

fn srem(ctx: &mut Ctx<'_>) -> Result<Flow, CmdError> {
    let Some(f) = ctx.write(1) else {
        ctx.out.int(0);
        return Ok(Flow::Done);
    };
    let mut edit = ctx.srv.ks.edit(f);
    let s = edit.value::<Set>()?;
    let mut removed = 0;
    for m in ctx.args.from(2) {
        removed += u64::from(s.remove(m));
        if s.len() == 0 {
            break;
        }
    }
    if removed == 0 {
        edit.unchanged();
    } else {
        let t = edit.done(removed);
        ctx.announce(&t, class::SET, "srem");
    }
    ctx.out.int(removed as i64);
    Ok(Flow::Done)
}

fn smove(ctx: &mut Ctx<'_>) -> Result<Flow, CmdError> {
    let (from, to) = (ctx.write(1), ctx.write(2));
    let (member, to_key, limits) = (ctx.args[3], ctx.key(2), ctx.srv.ks.policy.limits.set);
    let ks = &mut ctx.srv.ks;
    let Some(from) = from else {
        ctx.out.int(0);
        return Ok(Flow::Done);
    };
    let held = ks.value::<Set>(&from)?.contains(member);
    if let Some(to) = &to {
        ks.value::<Set>(to)?;
    }
    if !held || to.is_some_and(|to| to.is(&from)) {
        ctx.out.int(i64::from(held));
        return Ok(Flow::Done);
    }
    let mut edit = ks.edit(from);
    edit.value::<Set>()?.remove(member);
    let t = edit.done(1);
    ctx.announce(&t, class::SET, "srem");
    let ks = &mut ctx.srv.ks;
    let t = match to {
        None => {
            let mut s = Set::for_member(member, 1, &limits);
            s.add(member, &limits);
            let t = ks.put(ctx.db, to_key, New::Value(s.wrap()), Ttl::Clear, None);
            ks.dirty += 1;
            ks.signal_modified(ctx.db, to_key.bytes);
            Some(t)
        }
        Some(to) => {
            let mut edit = ks.edit(to);
            if edit.value::<Set>()?.add(member, &limits) {
                Some(edit.done(1))
            } else {
                edit.unchanged();
                None
            }
        }
    };
    if let Some(t) = t {
        ctx.announce(&t, class::SET, "sadd");
    }
    ctx.out.int(1);
    Ok(Flow::Done)
}

// ---- reading ---------------------------------------------------------------------------------------

/// Sampling moves a rehash on further than a look at one member does (GETFAIR_NUM_ENTRIES).
const SAMPLING_STEPS: usize = 15;

/// Looks the key up for reading; a table under rehash goes one step on.
fn read<'a>(ctx: &mut Ctx<'a>) -> Result<Option<Found<'a>>, CmdError> {
    read_moving(ctx, 1)
}

fn read_moving<'a>(ctx: &mut Ctx<'a>, steps: usize) -> Result<Option<Found<'a>>, CmdError> {
    let Some(f) = ctx.read(1) else { return Ok(None) };
    ctx.srv.ks.rehash_value::<Set>(f, steps)?;
    Ok(Some(f))
}

fn sismember(ctx: &mut Ctx<'_>) -> Result<Flow, CmdError> {
    let held = match read(ctx)? {
        None => false,
        Some(f) => ctx.srv.ks.value::<Set>(&f)?.contains(ctx.args[2]),
    };
    ctx.out.int(i64::from(held));
    Ok(Flow::Done)
}

fn smismember(ctx: &mut Ctx<'_>) -> Result<Flow, CmdError> {
    let found = read(ctx)?;
    let s = match &found {
        None => None,
        Some(f) => Some(ctx.srv.ks.value::<Set>(f)?),
    };
    let members = ctx.args.from(2);
    ctx.out.array(members.len());
    for m in members {
        ctx.out.int(i64::from(s.as_ref().is_some_and(|s| s.contains(m))));
    }
    Ok(Flow::Done)
}

fn scard(ctx: &mut Ctx<'_>) -> Result<Flow, CmdError> {
    let len = match ctx.read(1) {
        None => 0,
        Some(f) => ctx.srv.ks.value::<Set>(&f)?.len(),
    };
    ctx.out.int(len as i64);
    Ok(Flow::Done)
}

fn smembers(ctx: &mut Ctx<'_>) -> Result<Flow, CmdError> {
    let Some(f) = read(ctx)? else {
        ctx.out.set(0);
        return Ok(Flow::Done);
    };
    let s = ctx.srv.ks.value::<Set>(&f)?;
    ctx.out.set(s.len());
    s.show(ctx.out);
    Ok(Flow::Done)
}

fn sscan(ctx: &mut Ctx<'_>) -> Result<Flow, CmdError> {
    let cursor = scan::cursor(ctx.args[2])?;
    let Some(f) = ctx.read(1) else {
        scan::empty(ctx.out);
        return Ok(Flow::Done);
    };
    let s = ctx.srv.ks.value::<Set>(&f)?;
    let options = scan::ScanOptions::parse(ctx.args.from(3), false)?;
    if let Set::Table(t) = &*s {
        scan::table(ctx.out, cursor, &options, t, false);
        return Ok(Flow::Done);
    }
    ctx.out.array(2);
    ctx.out.bulk(b"0");
    let (mark, mut n) = (ctx.out.defer(), 0);
    s.for_each(|m| {
        if m.with_text(|m| options.matches(m)) {
            ctx.out.element(m);
            n += 1;
        }
    });
    ctx.out.set_array(mark, n);
    Ok(Flow::Done)
}

// ---- by chance -------------------------------------------------------------------------------------

fn srandmember(ctx: &mut Ctx<'_>) -> Result<Flow, CmdError> {
    let count = match ctx.args.from(2) {
        [] => None,
        [count] => Some(random_count(count)?),
        _ => return Err(CmdError::Syntax),
    };
    let found = read_moving(ctx, SAMPLING_STEPS)?;
    let Some(f) = found.filter(|_| count != Some(0)) else {
        match count {
            None => ctx.out.null(),
            Some(_) => ctx.out.array(0),
        }
        return Ok(Flow::Done);
    };
    let mut rng = chance(ctx);
    let s = ctx.srv.ks.value::<Set>(&f)?;
    let out = &mut *ctx.out;
    match count {
        None => out.element(s.random(&mut rng).expect("an empty set does not stay")),
        Some(n) if n < 0 || n == 1 => {
            out.array(n.unsigned_abs() as usize);
            s.pick(n.unsigned_abs(), &mut rng, |m| {
                out.element(m);
                !out.over
            });
        }
        Some(n) => {
            let n = usize::try_from(n).unwrap_or(usize::MAX).min(s.len());
            out.array(n);
            s.sample(n, &mut rng, |m| out.element(m));
        }
    }
    Ok(Flow::Done)
}

fn spop(ctx: &mut Ctx<'_>) -> Result<Flow, CmdError> {
    match ctx.args.from(2) {
        [] => {}
        [count] => return spop_count(ctx, positive(count)? as usize),
        _ => return Err(CmdError::Syntax),
    }
    let Some(f) = ctx.write(1) else {
        ctx.out.null();
        return Ok(Flow::Done);
    };
    let mut rng = chance(ctx);
    let ops = ctx.srv.ks.policy.ops;
    let mut edit = ctx.srv.ks.edit(f);
    let mut popped = None;
    edit.value::<Set>()?.pop(&mut rng, |m| {
        ctx.out.element(m);
        popped = ops.then(|| m.to_vec());
    });
    let t = edit.done(1);
    ctx.announce(&t, class::SET, "spop");
    if let Some(m) = popped {
        ctx.instead(&[b"SREM", f.key.bytes, &m]);
    }
    Ok(Flow::Done)
}

fn spop_count(ctx: &mut Ctx<'_>, count: usize) -> Result<Flow, CmdError> {
    let found = ctx.write(1);
    let Some(f) = found else {
        ctx.out.set(0);
        return Ok(Flow::Done);
    };
    let len = ctx.srv.ks.value::<Set>(&f)?.len();
    if count == 0 {
        ctx.out.set(0);
        return Ok(Flow::Done);
    }
    // The event is queued before what follows from it.
    ctx.srv.ks.event(f.db, f.key.bytes, class::SET, "spop");
    if count >= len {
        return spop_all(ctx, f, len);
    }
    let mut rng = chance(ctx);
    let (ops, limits) = (ctx.srv.ks.policy.ops, ctx.srv.ks.policy.limits.set);
    let mut gone: Vec<Box<[u8]>> = Vec::new();
    let mut edit = ctx.srv.ks.edit(f);
    ctx.out.set(count);
    edit.value::<Set>()?.pop_many(count, &mut rng, &limits, |m| {
        ctx.out.element(m);
        if ops {
            gone.push(m.to_vec().into());
        }
    });
    let t = edit.done(count as u64);
    debug_assert!(!t.gone, "fewer went than there were");
    ctx.prop = Propagation::Never;
    let mut gone = gone.into_iter().peekable();
    while gone.peek().is_some() {
        let head = [Box::from(&b"SREM"[..]), Box::from(f.key.bytes)];
        let args = head.into_iter().chain(gone.by_ref().take(SREM_BATCH)).collect();
        ctx.srv.ks.fx.push(Effect::Op { db: f.db, args });
    }
    Ok(Flow::Done)
}

/// The whole set is taken, and the key with it.
fn spop_all(ctx: &mut Ctx<'_>, f: Found<'_>, len: usize) -> Result<Flow, CmdError> {
    // The union of this one set is the reply: a lookup of its own.
    ctx.srv.ks.stats.hits += 1;
    let s = ctx.srv.ks.value::<Set>(&f)?;
    ctx.out.set(len);
    s.show(ctx.out);
    let lazy = ctx.srv.ks.policy.lazy_server_del;
    let t = ctx.srv.ks.remove(f, lazy);
    ctx.srv.ks.dirty += len as u64;
    ctx.announce(&t, class::GENERIC, "del");
    if ctx.srv.ks.policy.ops {
        ctx.instead(&[if lazy { b"UNLINK" } else { b"DEL" }, f.key.bytes]);
    }
    Ok(Flow::Done)
}

// ---- algebra ---------------------------------------------------------------------------------------

/// The sets of several keys, looked up in their order; None where there is no key.
struct Sources<'a> {
    found: Vec<Option<Found<'a>>>,
}

impl<'a> Sources<'a> {
    fn admit(ctx: &mut Ctx<'a>, from: usize, to: usize) -> Result<Self, CmdError> {
        let mut found = Vec::with_capacity(to - from);
        for i in from..to {
            let f = ctx.read(i);
            if let Some(f) = &f {
                ctx.srv.ks.value::<Set>(f)?;
            }
            found.push(f);
        }
        Ok(Sources { found })
    }

    fn any_missing(&self) -> bool {
        self.found.iter().any(Option::is_none)
    }

    /// Is the first key's set named again?
    fn first_again(&self) -> bool {
        let Some((Some(first), others)) = self.found.split_first() else { return false };
        others.iter().flatten().any(|f| f.is(first))
    }

    fn views<'k>(&self, ks: &'k Keyspace) -> Result<Vec<Option<View<'k, Set>>>, WrongType> {
        self.found.iter().map(|f| f.as_ref().map(|f| ks.value::<Set>(f)).transpose()).collect()
    }
}

/// The sets that are there, in their order.
fn present<'v>(views: &'v [Option<View<'_, Set>>]) -> Vec<&'v Set> {
    views.iter().flatten().map(|v| &**v).collect()
}

/// The sets that are there, smallest first.
fn by_size<'v>(views: &'v [Option<View<'_, Set>>]) -> Vec<&'v Set> {
    let mut sets = present(views);
    sets.sort_by_key(|s| s.len());
    sets
}

fn sinter(ctx: &mut Ctx<'_>) -> Result<Flow, CmdError> {
    let sources = Sources::admit(ctx, 1, ctx.args.len())?;
    if sources.any_missing() {
        ctx.out.set(0);
        return Ok(Flow::Done);
    }
    let views = sources.views(&ctx.srv.ks)?;
    let (mark, mut n) = (ctx.out.defer(), 0);
    set_ops::intersect(&by_size(&views), |m| {
        ctx.out.element(m);
        n += 1;
        true
    });
    ctx.out.set_set(mark, n);
    Ok(Flow::Done)
}

fn sintercard(ctx: &mut Ctx<'_>) -> Result<Flow, CmdError> {
    let keys = parse_i64(ctx.args[1])
        .filter(|n| *n > 0)
        .ok_or(CmdError::Msg(&"ERR numkeys should be greater than 0"))?;
    let end = usize::try_from(keys).ok().and_then(|n| n.checked_add(2)).filter(|n| *n <= ctx.args.len());
    let Some(end) = end else {
        return Err(CmdError::Msg(&"ERR Number of keys can't be greater than number of args"));
    };
    let mut limit = 0;
    for option in ctx.args.from(end).chunks(2) {
        limit = match option {
            [word, n] if word.eq_ignore_ascii_case(b"limit") => {
                parse_i64(n).filter(|n| *n >= 0).ok_or(CmdError::Msg(&"ERR LIMIT can't be negative"))?
            }
            _ => return Err(CmdError::Syntax),
        };
    }
    let sources = Sources::admit(ctx, 2, end)?;
    let mut n = 0;
    if !sources.any_missing() {
        let views = sources.views(&ctx.srv.ks)?;
        set_ops::intersect(&by_size(&views), |_| {
            n += 1;
            n != limit
        });
    }
    ctx.out.int(n);
    Ok(Flow::Done)
}

fn sinterstore(ctx: &mut Ctx<'_>) -> Result<Flow, CmdError> {
    let sources = Sources::admit(ctx, 2, ctx.args.len())?;
    let mut result = None;
    if !sources.any_missing() {
        let views = sources.views(&ctx.srv.ks)?;
        let limits = ctx.srv.ks.policy.limits.set;
        result = Some(set_ops::intersection(&by_size(&views), &limits));
    }
    put_result(ctx, result, "sinterstore");
    Ok(Flow::Done)
}

fn sunion(ctx: &mut Ctx<'_>) -> Result<Flow, CmdError> {
    let sources = Sources::admit(ctx, 1, ctx.args.len())?;
    let views = sources.views(&ctx.srv.ks)?;
    let (mark, mut n) = (ctx.out.defer(), 0);
    set_ops::unite(&present(&views), &ctx.srv.ks.policy.limits.set, |m| {
        ctx.out.element(m);
        n += 1;
    });
    ctx.out.set_set(mark, n);
    Ok(Flow::Done)
}

fn sunionstore(ctx: &mut Ctx<'_>) -> Result<Flow, CmdError> {
    let sources = Sources::admit(ctx, 2, ctx.args.len())?;
    let views = sources.views(&ctx.srv.ks)?;
    let result = set_ops::union(&present(&views), &ctx.srv.ks.policy.limits.set);
    drop(views);
    put_result(ctx, Some(result), "sunionstore");
    Ok(Flow::Done)
}

/// How the difference of these keys is best taken.
fn difference<'v>(sources: &Sources<'_>, views: &'v [Option<View<'_, Set>>]) -> Difference<'v> {
    let Some((first, others)) = views.split_first() else { return Difference::Empty };
    Difference::plan(first.as_deref(), present(others), sources.first_again())
}

fn sdiff(ctx: &mut Ctx<'_>) -> Result<Flow, CmdError> {
    let sources = Sources::admit(ctx, 1, ctx.args.len())?;
    let views = sources.views(&ctx.srv.ks)?;
    let (mark, mut n) = (ctx.out.defer(), 0);
    difference(&sources, &views).for_each(&ctx.srv.ks.policy.limits.set, |m| {
        ctx.out.element(m);
        n += 1;
    });
    ctx.out.set_set(mark, n);
    Ok(Flow::Done)
}

fn sdiffstore(ctx: &mut Ctx<'_>) -> Result<Flow, CmdError> {
    let sources = Sources::admit(ctx, 2, ctx.args.len())?;
    let views = sources.views(&ctx.srv.ks)?;
    let result = difference(&sources, &views).to_set(&ctx.srv.ks.policy.limits.set);
    drop(views);
    put_result(ctx, Some(result), "sdiffstore");
    Ok(Flow::Done)
}

/// Puts a result under the key at argument 1; an empty one takes the key away, whatever it holds.
fn put_result(ctx: &mut Ctx<'_>, result: Option<Set>, event: &'static str) {
    let key = ctx.key(1);
    let len = result.as_ref().map_or(0, Set::len);
    ctx.out.int(len as i64);
    let result = result.filter(|_| len > 0).map(|s| (New::Value(s.wrap()), 1));
    ctx.srv.ks.replace(ctx.db, key, result, class::SET, event);
}
