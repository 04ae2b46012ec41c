//! Expiry: EXPIRE and its kin, TTL and its kin, PERSIST.
//!
//! Whatever way a time is given, it is kept as Unix milliseconds and leaves to the AOF and the replicas
//! as PEXPIREAT, so that the key expires at the same moment everywhere. A time in the past deletes the key at
//! once, and that is what leaves.

use super::help::c_text;
use super::numbers::integer;
use crate::cmd::docs;
use crate::cmd::row::flag::*;
use crate::cmd::row::{Flow, KeySpec, cat, key};
use crate::keyspace::{class, mode};
use crate::proto::error::CmdError;
use crate::server::ctx::{Command, Ctx, ROW};

pub static ROWS: &[Command] = &[
    Command {
        name: "expire",
        arity: -3,
        flags: WRITE | FAST,
        acl: cat::KEYSPACE,
        keys: &[KeySpec::one(key::RW | key::UPDATE, 1)],
        run: expire,
        docs: &docs::EXPIRE,
        ..ROW
    },
    Command {
        name: "expireat",
        arity: -3,
        flags: WRITE | FAST,
        acl: cat::KEYSPACE,
        keys: &[KeySpec::one(key::RW | key::UPDATE, 1)],
        run: expireat,
        docs: &docs::EXPIREAT,
        ..ROW
    },
    Command {
        name: "expiretime",
        arity: 2,
        flags: READONLY | FAST,
        acl: cat::KEYSPACE,
        keys: &[KeySpec::one(key::RO | key::ACCESS, 1)],
        run: expiretime,
        docs: &docs::EXPIRETIME,
        ..ROW
    },
    Command {
        name: "persist",
        arity: 2,
        flags: WRITE | FAST,
        acl: cat::KEYSPACE,
        keys: &[KeySpec::one(key::RW | key::UPDATE, 1)],
        run: persist,
        docs: &docs::PERSIST,
        ..ROW
    },
    Command {
        name: "pexpire",
        arity: -3,
        flags: WRITE | FAST,
        acl: cat::KEYSPACE,
        keys: &[KeySpec::one(key::RW | key::UPDATE, 1)],
        run: pexpire,
        docs: &docs::PEXPIRE,
        ..ROW
    },
    Command {
        name: "pexpireat",
        arity: -3,
        flags: WRITE | FAST,
        acl: cat::KEYSPACE,
        keys: &[KeySpec::one(key::RW | key::UPDATE, 1)],
        run: pexpireat,
        docs: &docs::PEXPIREAT,
        ..ROW
    },
    Command {
        name: "pexpiretime",
        arity: 2,
        flags: READONLY | FAST,
        acl: cat::KEYSPACE,
        keys: &[KeySpec::one(key::RO | key::ACCESS, 1)],
        run: pexpiretime,
        docs: &docs::PEXPIRETIME,
        ..ROW
    },
    Command {
        name: "pttl",
        arity: 2,
        flags: READONLY | FAST,
        acl: cat::KEYSPACE,
        keys: &[KeySpec::one(key::RO | key::ACCESS, 1)],
        run: pttl,
        docs: &docs::PTTL,
        ..ROW
    },
    Command {
        name: "ttl",
        arity: 2,
        flags: READONLY | FAST,
        acl: cat::KEYSPACE,
        keys: &[KeySpec::one(key::RO | key::ACCESS, 1)],
        run: ttl,
        docs: &docs::TTL,
        ..ROW
    },
];

/// NX, XX, GT, LT.
#[derive(Clone, Copy, Default, Debug, PartialEq, Eq)]
struct Only {
    nx: bool,
    xx: bool,
    gt: bool,
    lt: bool,
}

impl Only {
    fn parse(ctx: &mut Ctx<'_>) -> Result<Only, CmdError> {
        let mut only = Only::default();
        for option in ctx.args.from(3) {
            let words = [
                (&b"nx"[..], &mut only.nx),
                (b"xx", &mut only.xx),
                (b"gt", &mut only.gt),
                (b"lt", &mut only.lt),
            ];
            let Some((_, on)) = words.into_iter().find(|(w, _)| option.eq_ignore_ascii_case(w)) else {
                let text = [b"ERR Unsupported option ", c_text(option)].concat();
                ctx.out.error_bytes(&text);
                return Err(CmdError::Replied);
            };
            *on = true;
        }
        if only.nx && (only.xx || only.gt || only.lt) {
            let why = "ERR NX and XX, GT or LT options at the same time are not compatible";
            return Err(CmdError::text(why));
        }
        if only.gt && only.lt {
            return Err(CmdError::text("ERR GT and LT options at the same time are not compatible"));
        }
        Ok(only)
    }

    /// May the expiry of a key be changed from `old` (None: it has none) to `new`?
    fn allows(self, old: Option<i64>, new: i64) -> bool {
        match old {
            // No expiry is an infinite one: nothing is greater.
            None => !self.xx && !self.gt,
            Some(old) => !self.nx && (!self.gt || new > old) && (!self.lt || new < old),
        }
    }
}

const SECONDS: i64 = 1000;
const MILLISECONDS: i64 = 1;

fn expire(ctx: &mut Ctx<'_>) -> Result<Flow, CmdError> {
    let now = ctx.now_ms();
    set_expiry(ctx, now, SECONDS)
}

fn expireat(ctx: &mut Ctx<'_>) -> Result<Flow, CmdError> {
    set_expiry(ctx, 0, SECONDS)
}

fn pexpire(ctx: &mut Ctx<'_>) -> Result<Flow, CmdError> {
    let now = ctx.now_ms();
    set_expiry(ctx, now, MILLISECONDS)
}

fn pexpireat(ctx: &mut Ctx<'_>) -> Result<Flow, CmdError> {
    set_expiry(ctx, 0, MILLISECONDS)
}

fn set_expiry(ctx: &mut Ctx<'_>, base: i64, unit: i64) -> Result<Flow, CmdError> {
    let only = Only::parse(ctx)?;
    let n = integer(ctx.args[2])?;
    let Some(when) = n.checked_mul(unit).and_then(|ms| ms.checked_add(base)) else {
        return Err(CmdError::text(format!("ERR invalid expire time in '{}' command", ctx.name())));
    };
    let key = ctx.key(1);
    let Some(found) = ctx.write(1).filter(|f| only.allows(ctx.srv.ks.at(f).when(), when)) else {
        ctx.out.int(0);
        return Ok(Flow::Done);
    };
    if when <= ctx.now_ms() && ctx.srv.ks.policy.expiry.past_deletes() {
        let lazy = ctx.srv.ks.policy.lazy_expire;
        let t = ctx.srv.ks.remove(found, lazy);
        ctx.instead(&[if lazy { b"UNLINK" } else { b"DEL" }, key.bytes]);
        ctx.announce(&t, class::GENERIC, "del");
    } else {
        let ks = &mut ctx.srv.ks;
        ks.set_ttl(found, Some(when));
        ks.signal_modified(ctx.db, key.bytes);
        ks.event(ctx.db, key.bytes, class::GENERIC, "expire");
        if ks.policy.ops && (base != 0 || unit != MILLISECONDS) {
            let mut room = itoa::Buffer::new();
            let mut words = vec![&b"PEXPIREAT"[..], key.bytes, room.format(when).as_bytes()];
            words.extend_from_slice(ctx.args.from(3));
            ctx.instead(&words);
        }
    }
    ctx.srv.ks.dirty += 1;
    ctx.out.int(1);
    Ok(Flow::Done)
}

fn ttl(ctx: &mut Ctx<'_>) -> Result<Flow, CmdError> {
    time_left(ctx, SECONDS, false)
}

fn pttl(ctx: &mut Ctx<'_>) -> Result<Flow, CmdError> {
    time_left(ctx, MILLISECONDS, false)
}

fn expiretime(ctx: &mut Ctx<'_>) -> Result<Flow, CmdError> {
    time_left(ctx, SECONDS, true)
}

fn pexpiretime(ctx: &mut Ctx<'_>) -> Result<Flow, CmdError> {
    time_left(ctx, MILLISECONDS, true)
}

fn time_left(ctx: &mut Ctx<'_>, unit: i64, absolute: bool) -> Result<Flow, CmdError> {
    let key = ctx.key(1);
    let n = match ctx.srv.ks.admit(ctx.db, key, mode::NOTOUCH).map(|f| ctx.srv.ks.at(&f).when()) {
        None => -2,
        Some(None) => -1,
        Some(Some(when)) => {
            let ms = if absolute { when } else { when.wrapping_sub(ctx.now_ms()) }.max(0);
            // Rounded to the nearest second.
            if unit == SECONDS { ms / SECONDS + i64::from(ms % SECONDS >= SECONDS / 2) } else { ms }
        }
    };
    ctx.out.int(n);
    Ok(Flow::Done)
}

fn persist(ctx: &mut Ctx<'_>) -> Result<Flow, CmdError> {
    let Some(found) = ctx.write(1).filter(|f| ctx.srv.ks.at(f).when().is_some()) else {
        ctx.out.int(0);
        return Ok(Flow::Done);
    };
    let ks = &mut ctx.srv.ks;
    ks.set_ttl(found, None);
    ks.signal_modified(ctx.db, found.key.bytes);
    ks.event(ctx.db, found.key.bytes, class::GENERIC, "persist");
    ks.dirty += 1;
    ctx.out.int(1);
    Ok(Flow::Done)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn conditions_compare_with_the_expiry_there_is() {
        let none = Only::default();
        let (nx, xx) = (Only { nx: true, ..none }, Only { xx: true, ..none });
        let (gt, lt) = (Only { gt: true, ..none }, Only { lt: true, ..none });
        let xxgt = Only { xx: true, gt: true, ..none };
        for (only, on_none, lower, same, higher) in [
            (none, true, true, true, true),
            (nx, true, false, false, false),
            (xx, false, true, true, true),
            (gt, false, false, false, true),
            (lt, true, true, false, false),
            (xxgt, false, false, false, true),
        ] {
            let got = [None, Some(7), Some(5), Some(3)].map(|old| only.allows(old, 5));
            assert_eq!(got, [on_none, lower, same, higher], "{only:?}");
        }
    }
}
