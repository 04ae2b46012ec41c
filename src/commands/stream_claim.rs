//! XCLAIM and XAUTOCLAIM: what is pending with one consumer becomes another's.
//!
//! An entry that is pending but has been deleted is not claimed: it is no longer pending. Every change
//! leaves as an XCLAIM of its own that states the consumer, the time and the count, so a replay does not
//! depend on its own clock or on the consumer that had the entry.

use super::stream::{interval_start, reply_entry, strict_id};
use super::stream_read::{GroupOps, acting_consumer, no_group};
use crate::algo::num::parse_i64;
use crate::cmd::docs;
use crate::cmd::row::flag::*;
use crate::cmd::row::{Flow, KeySpec, cat, key};
use crate::keyspace::{Found, class};
use crate::object::stream::entries::Log;
use crate::object::stream::group::{ConsumerIndex, Group};
use crate::object::stream::id::Id;
use crate::object::stream::{Parts, Stream};
use crate::proto::error::CmdError;
use crate::proto::reply::Reply;
use crate::server::ctx::{Command, Ctx, Propagation, ROW};
use crate::sys::alloc;

pub static ROWS: &[Command] = &[
    Command {
        name: "xautoclaim",
        arity: -6,
        flags: WRITE | FAST,
        acl: cat::STREAM,
        keys: &[KeySpec::one(key::RW | key::DELETE, 1)],
        run: xautoclaim,
        docs: &docs::XAUTOCLAIM,
        ..ROW
    },
    Command {
        name: "xclaim",
        arity: -6,
        flags: WRITE | FAST,
        acl: cat::STREAM,
        keys: &[KeySpec::one(key::RW | key::UPDATE, 1)],
        run: xclaim,
        docs: &docs::XCLAIM,
        ..ROW
    },
];

/// The key at argument 1, for as long as it has the group at argument 2.
fn group_of<'a>(ctx: &mut Ctx<'a>, found: Option<Found<'a>>) -> Result<Found<'a>, CmdError> {
    if let Some(f) = found
        && ctx.srv.ks.value::<Stream>(&f)?.groups.get(ctx.args[2]).is_some()
    {
        return Ok(f);
    }
    Err(no_group(ctx.out, ctx.args[1], ctx.args[2], b""))
}

/// How long an entry must have been pending, with the error that names the command.
fn min_idle(arg: &[u8], why: &'static &'static str) -> Result<i64, CmdError> {
    Ok(parse_i64(arg).ok_or(CmdError::Msg(why))?.max(0))
}

// ---- XCLAIM -------------------------------------------------------------------------------------

#[derive(Debug)]
struct Claim<'a> {
    min_idle: i64,
    ids: &'a [&'a [u8]],
    /// Unix time of the delivery that is claimed to have been; never in the future.
    delivered_at: i64,
    /// How many deliveries there were; None to go on counting.
    deliveries: Option<u64>,
    force: bool,
    just_id: bool,
    last_id: Id,
}

impl<'a> Claim<'a> {
    /// The arguments from the least idle time on.
    fn read(args: &'a [&'a [u8]], now: i64) -> Result<Claim<'a>, CmdError> {
        let number = |arg: &[u8], why| parse_i64(arg).ok_or(CmdError::Msg(why));
        let min_idle = min_idle(args[0], &"ERR Invalid min-idle-time argument for XCLAIM")?;
        let ids = args[1..].iter().take_while(|a| Id::parse(a, 0).is_some()).count();
        let (ids, mut rest) = args[1..].split_at(ids);
        let mut c = Claim {
            min_idle,
            ids,
            delivered_at: now,
            deliveries: None,
            force: false,
            just_id: false,
            last_id: Id::MIN,
        };
        let mut time = -1;
        while let Some((word, more)) = rest.split_first() {
            let is = |name: &[u8]| word.eq_ignore_ascii_case(name);
            rest = match more {
                _ if is(b"force") => {
                    c.force = true;
                    more
                }
                _ if is(b"justid") => {
                    c.just_id = true;
                    more
                }
                [n, more @ ..] if is(b"idle") => {
                    time = now.wrapping_sub(number(n, &"ERR Invalid IDLE option argument for XCLAIM")?);
                    more
                }
                [n, more @ ..] if is(b"time") => {
                    time = number(n, &"ERR Invalid TIME option argument for XCLAIM")?;
                    more
                }
                [n, more @ ..] if is(b"retrycount") => {
                    let n = number(n, &"ERR Invalid RETRYCOUNT option argument for XCLAIM")?;
                    c.deliveries = u64::try_from(n).ok();
                    more
                }
                [id, more @ ..] if is(b"lastid") => {
                    c.last_id = strict_id(id)?;
                    more
                }
                _ => return Err(unrecognized(word)),
            };
        }
        if (0..=now).contains(&time) {
            c.delivered_at = time;
        }
        Ok(c)
    }
}

fn unrecognized(word: &[u8]) -> CmdError {
    let word = String::from_utf8_lossy(super::help::c_text(word));
    CmdError::text(format!("ERR Unrecognized XCLAIM option '{word}'"))
}

fn xclaim(ctx: &mut Ctx<'_>) -> Result<Flow, CmdError> {
    let found = ctx.read(1);
    let found = group_of(ctx, found)?;
    let now = ctx.now_ms();
    let claim = Claim::read(ctx.args.from(4), now)?;
    let (db, key, name, consumer) = (ctx.db, ctx.args[1], ctx.args[2], ctx.args[3]);
    let (ks, out) = (&mut ctx.srv.ks, &mut *ctx.out);
    let mut ops = GroupOps::new(ks, db, key, name);
    let mut e = ks.edit(found);
    let Parts { log, groups } = &mut **e.value::<Stream>()?;
    let mut group = groups.get_mut(name).expect("it was just looked up");
    let mut moved_on = claim.last_id > group.last_id;
    if moved_on {
        group.last_id = claim.last_id;
    }
    let (owner, is_new) = acting_consumer(&mut group, consumer, now);
    let (mut n, mut changes) = (0, 0);
    let mark = out.defer();
    for text in claim.ids {
        let id = strict_id(text)?;
        match claim_one(log, &mut group, (id, text), owner, (&claim, now), &mut ops) {
            Claimed::No => continue,
            Claimed::Gone => {}
            Claimed::Yes => {
                reply_claimed(out, log, id, claim.just_id);
                n += 1;
            }
        }
        // The last ID of the group has left along with it.
        moved_on = false;
        changes += 1;
    }
    if moved_on {
        ops.progress(&group);
        changes += 1;
    }
    out.set_array(mark, n);
    drop(group);
    // Changes, but none that watchers hear of.
    e.unchanged();
    ks.dirty += changes;
    if is_new {
        ks.dirty += 1;
        ks.event(db, key, class::STREAM, "xgroup-createconsumer");
    }
    ops.send(ks);
    ctx.prop = Propagation::Never;
    Ok(Flow::Done)
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Claimed {
    Yes,
    No,
    /// It was pending, but there is no such entry any more.
    Gone,
}

fn claim_one(
    log: &Log,
    group: &mut Group,
    (id, text): (Id, &[u8]),
    owner: ConsumerIndex,
    (claim, now): (&Claim<'_>, i64),
    ops: &mut GroupOps<'_>,
) -> Claimed {
    let pending = group.pending(id).cloned();
    if !log.contains(id) {
        return match pending {
            Some(p) => {
                ops.claim(group, text, &p);
                group.release(id);
                Claimed::Gone
            }
            None => Claimed::No,
        };
    }
    let before = match &pending {
        Some(p) if claim.min_idle > 0 && now.wrapping_sub(p.delivered_at) < claim.min_idle => {
            return Claimed::No;
        }
        Some(p) => p.deliveries,
        // By force it becomes pending now, for the first time.
        None if claim.force => 1,
        None => return Claimed::No,
    };
    let counted = before.wrapping_add(u64::from(!claim.just_id));
    group.assign(id, owner, claim.delivered_at, claim.deliveries.unwrap_or(counted));
    group.consumer_mut(owner).active_at = now;
    ops.claim(group, text, group.pending(id).expect("it has just been assigned"));
    Claimed::Yes
}

fn reply_claimed(out: &mut Reply, log: &Log, id: Id, just_id: bool) {
    if just_id {
        return out.bulk(&id.text());
    }
    reply_entry(out, &log.range(id, id).next().expect("only entries that exist are claimed"));
}

// ---- XAUTOCLAIM ---------------------------------------------------------------------------------

/// Pending entries looked at for each one that may be claimed.
const ATTEMPTS: i64 = 10;
const DEFAULT_COUNT: i64 = 100;
/// So many IDs are taken for granted to fit into memory.
const MODEST_COUNT: i64 = 1 << 20;

struct AutoClaim {
    min_idle: i64,
    from: Id,
    count: i64,
    just_id: bool,
}

impl AutoClaim {
    fn read(args: &[&[u8]]) -> Result<AutoClaim, CmdError> {
        const COUNT: CmdError = CmdError::Msg(&"ERR COUNT must be > 0");
        let min_idle = min_idle(args[4], &"ERR Invalid min-idle-time argument for XAUTOCLAIM")?;
        let from = interval_start(args[5])?;
        let mut a = AutoClaim { min_idle, from, count: DEFAULT_COUNT, just_id: false };
        let mut rest = &args[6..];
        while let Some((word, more)) = rest.split_first() {
            rest = match more {
                [n, more @ ..] if word.eq_ignore_ascii_case(b"count") => {
                    let max = i64::MAX / (size_of::<Id>() as i64).max(ATTEMPTS);
                    a.count = parse_i64(n).filter(|n| (1..=max).contains(n)).ok_or(COUNT)?;
                    more
                }
                _ if word.eq_ignore_ascii_case(b"justid") => {
                    a.just_id = true;
                    more
                }
                _ => return Err(CmdError::Syntax),
            };
        }
        Ok(a)
    }

    /// Would the IDs that this may reply find room?
    fn fits(&self) -> bool {
        let n = usize::try_from(self.count).unwrap_or(usize::MAX);
        self.count <= MODEST_COUNT || alloc::fallible(|| Vec::<Id>::new().try_reserve_exact(n)).is_ok()
    }
}

/// What XAUTOCLAIM did.
#[derive(Default)]
struct Swept {
    claimed: Vec<Id>,
    gone: Vec<Id>,
    /// Where the next call goes on; 0-0 at the end.
    next: Id,
}

impl AutoClaim {
    fn sweep(
        &self,
        log: &Log,
        group: &mut Group,
        (owner, now): (ConsumerIndex, i64),
        ops: &mut GroupOps<'_>,
    ) -> Swept {
        let mut swept = Swept::default();
        let (mut attempts, mut left) = (self.count * ATTEMPTS, self.count);
        let mut from = Some(self.from);
        let next = |group: &Group, from: Option<Id>| {
            from.and_then(|from| group.next_pending(from)).map(|(id, p)| (id, p.clone()))
        };
        while attempts > 0
            && left > 0
            && let Some((id, p)) = next(group, from)
        {
            attempts -= 1;
            from = id.after();
            if !log.contains(id) {
                ops.claim(group, &id.text(), &p);
                group.release(id);
                swept.gone.push(id);
                left -= 1;
                continue;
            }
            if self.min_idle > 0 && now.wrapping_sub(p.delivered_at) < self.min_idle {
                continue;
            }
            let deliveries = p.deliveries.wrapping_add(u64::from(!self.just_id));
            group.assign(id, owner, now, deliveries);
            group.consumer_mut(owner).active_at = now;
            ops.claim(group, &id.text(), group.pending(id).expect("it has just been assigned"));
            swept.claimed.push(id);
            left -= 1;
        }
        swept.next = next(group, from).map_or(Id::MIN, |(id, _)| id);
        swept
    }
}

fn xautoclaim(ctx: &mut Ctx<'_>) -> Result<Flow, CmdError> {
    const MEMORY: CmdError =
        CmdError::Msg(&"ERR Insufficient memory, failed allocating transient memory, COUNT too high.");
    let found = ctx.read(1);
    let auto = AutoClaim::read(&ctx.args)?;
    let found = group_of(ctx, found)?;
    if !auto.fits() {
        return Err(MEMORY);
    }
    let (db, key, name, consumer) = (ctx.db, ctx.args[1], ctx.args[2], ctx.args[3]);
    let now = ctx.now_ms();
    let (ks, out) = (&mut ctx.srv.ks, &mut *ctx.out);
    let mut ops = GroupOps::new(ks, db, key, name);
    let mut e = ks.edit(found);
    let Parts { log, groups } = &mut **e.value::<Stream>()?;
    let mut group = groups.get_mut(name).expect("it was just looked up");
    let (owner, is_new) = acting_consumer(&mut group, consumer, now);
    let swept = auto.sweep(log, &mut group, (owner, now), &mut ops);
    out.array(3);
    out.bulk(&swept.next.text());
    out.array(swept.claimed.len());
    swept.claimed.iter().for_each(|id| reply_claimed(out, log, *id, auto.just_id));
    out.array(swept.gone.len());
    swept.gone.iter().for_each(|id| out.bulk(&id.text()));
    drop(group);
    // Changes, but none that watchers hear of.
    e.unchanged();
    ks.dirty += (swept.claimed.len() + swept.gone.len()) as u64;
    if is_new {
        ks.dirty += 1;
        ks.event(db, key, class::STREAM, "xgroup-createconsumer");
    }
    ops.send(ks);
    ctx.prop = Propagation::Never;
    Ok(Flow::Done)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_follow_the_first_word_that_is_no_id() {
        let read = |line: &str| {
            let args: Vec<&[u8]> = line.split(' ').map(str::as_bytes).collect();
            Claim::read(&args, 1000)
                .map(|c| (c.ids.len(), c.delivered_at, c.deliveries, c.force, c.just_id))
                .map_err(|e| e.as_str().to_string())
        };
        assert_eq!(read("0 1-1 2 3-3"), Ok((3, 1000, None, false, false)));
        assert_eq!(read("0 1 IDLE 400 force"), Ok((1, 600, None, true, false)));
        assert_eq!(read("0 1 time 1001 justid retrycount 7"), Ok((1, 1000, Some(7), false, true)));
        assert_eq!(read("-5 1 time -3 retrycount -7"), Ok((1, 1000, None, false, false)));
        assert_eq!(read("0 1 idle 1001"), Ok((1, 1000, None, false, false)));
        for (line, why) in [
            ("x 1", "min-idle-time"),
            ("0 1 justid 2", "Unrecognized XCLAIM option '2'"),
            ("0 1 idle", "Unrecognized XCLAIM option 'idle'"),
            ("0 1 idle x", "IDLE"),
            ("0 1 time x", "TIME"),
            ("0 1 retrycount x", "RETRYCOUNT"),
            ("0 1 lastid x", "Invalid stream ID"),
        ] {
            assert!(read(line).is_err_and(|e| e.contains(why)), "{line}");
        }
    }
}
