//! Consumer groups: making and ending them (XGROUP), what is pending (XPENDING), and that it is done
//! (XACK).
//!
//! What changes in a group counts as a change, but the key's watchers hear nothing of it: only a key
//! that is made (MKSTREAM) or that goes is news to them.

use super::help;
use super::numbers::integer;
use super::stream::{interval_end, interval_start, strict_id};
use super::stream_read::no_group;
use crate::cmd::docs;
use crate::cmd::row::flag::*;
use crate::cmd::row::{Flow, KeySpec, cat, key};
use crate::ds::entry::ty;
use crate::keyspace::store::{New, Ttl};
use crate::keyspace::{Found, class};
use crate::object::stream::Stream;
use crate::object::stream::group::{self, Group, Pending};
use crate::object::stream::id::Id;
use crate::object::value::Variant;
use crate::proto::error::CmdError;
use crate::proto::reply::Reply;
use crate::server::ctx::{Command, Ctx, ROW, container};

pub static ROWS: &[Command] = &[
    Command {
        name: "xack",
        arity: -4,
        flags: WRITE | FAST,
        acl: cat::STREAM,
        keys: &[KeySpec::one(key::RW | key::UPDATE, 1)],
        run: xack,
        docs: &docs::XACK,
        ..ROW
    },
    Command {
        name: "xgroup",
        arity: -2,
        run: container,
        docs: &docs::XGROUP,
        subs: &[
            Command {
                name: "create",
                arity: -5,
                flags: WRITE | DENYOOM,
                acl: cat::STREAM,
                keys: &[KeySpec::one(key::RW | key::INSERT, 2)],
                run: xgroup_create,
                docs: &docs::XGROUP_CREATE,
                ..ROW
            },
            Command {
                name: "createconsumer",
                arity: 5,
                flags: WRITE | DENYOOM,
                acl: cat::STREAM,
                keys: &[KeySpec::one(key::RW | key::INSERT, 2)],
                run: xgroup_createconsumer,
                docs: &docs::XGROUP_CREATECONSUMER,
                ..ROW
            },
            Command {
                name: "delconsumer",
                arity: 5,
                flags: WRITE,
                acl: cat::STREAM,
                keys: &[KeySpec::one(key::RW | key::DELETE, 2)],
                run: xgroup_delconsumer,
                docs: &docs::XGROUP_DELCONSUMER,
                ..ROW
            },
            Command {
                name: "destroy",
                arity: 4,
                flags: WRITE,
                acl: cat::STREAM,
                keys: &[KeySpec::one(key::RW | key::DELETE, 2)],
                run: xgroup_destroy,
                docs: &docs::XGROUP_DESTROY,
                ..ROW
            },
            Command {
                name: "help",
                arity: 2,
                flags: LOADING | STALE,
                acl: cat::STREAM,
                run: xgroup_help,
                docs: &docs::XGROUP_HELP,
                ..ROW
            },
            Command {
                name: "setid",
                arity: -5,
                flags: WRITE,
                acl: cat::STREAM,
                keys: &[KeySpec::one(key::RW | key::UPDATE, 2)],
                run: xgroup_setid,
                docs: &docs::XGROUP_SETID,
                ..ROW
            },
        ],
        ..ROW
    },
    Command {
        name: "xpending",
        arity: -3,
        flags: READONLY,
        acl: cat::STREAM,
        keys: &[KeySpec::one(key::RO | key::ACCESS, 1)],
        run: xpending,
        docs: &docs::XPENDING,
        ..ROW
    },
];

// ---- XGROUP -------------------------------------------------------------------------------------

const NO_KEY: CmdError = CmdError::Msg(
    &"ERR The XGROUP subcommand requires the key to exist. Note that for CREATE you may want to use the \
      MKSTREAM option to create an empty stream automatically.",
);

/// The options of CREATE and SETID.
struct Options {
    make_stream: bool,
    entries_read: i64,
}

fn options(ctx: &mut Ctx<'_>, create: bool) -> Result<Options, CmdError> {
    const READ: CmdError = CmdError::Msg(&"ERR value for ENTRIESREAD must be positive or -1");
    let mut o = Options { make_stream: false, entries_read: group::UNKNOWN };
    let mut rest = ctx.args.from(5);
    while let Some((word, more)) = rest.split_first() {
        rest = match more {
            _ if create && word.eq_ignore_ascii_case(b"mkstream") => {
                o.make_stream = true;
                more
            }
            [n, more @ ..] if word.eq_ignore_ascii_case(b"entriesread") => {
                o.entries_read = integer(n)?;
                if o.entries_read < group::UNKNOWN {
                    return Err(READ);
                }
                more
            }
            _ => return Err(help::unknown_subcommand(ctx)),
        };
    }
    Ok(o)
}

/// The stream that the subcommand works on.
fn stream<'a>(ctx: &mut Ctx<'a>) -> Result<Option<Found<'a>>, CmdError> {
    let found = ctx.write(2);
    if let Some(f) = &found {
        ctx.srv.ks.value::<Stream>(f)?;
    }
    Ok(found)
}

/// The same, where it and its group must be there.
fn group_of<'a>(ctx: &mut Ctx<'a>) -> Result<Found<'a>, CmdError> {
    let found = stream(ctx)?.ok_or(NO_KEY)?;
    if ctx.srv.ks.value::<Stream>(&found)?.groups.get(ctx.args[3]).is_none() {
        return Err(no_such_group(ctx, ctx.args[3], ctx.args[2]));
    }
    Ok(found)
}

pub fn no_such_group(ctx: &mut Ctx<'_>, group: &[u8], key: &[u8]) -> CmdError {
    let (group, key) = (help::c_text(group), help::c_text(key));
    ctx.out.error_bytes(
        &[b"NOGROUP No such consumer group '", group, b"' for key name '", key, b"'"].concat(),
    );
    CmdError::Replied
}

/// Counts and announces what became of a group.
fn changed(ctx: &mut Ctx<'_>, event: &'static str) {
    let (db, key) = (ctx.db, ctx.args[2]);
    ctx.srv.ks.dirty += 1;
    ctx.srv.ks.event(db, key, class::STREAM, event);
}

/// Changes a group that is there, as `group_of` found.
fn edit_group<R>(
    ctx: &mut Ctx<'_>,
    found: Found<'_>,
    f: impl FnOnce(&mut Group) -> R,
) -> Result<R, CmdError> {
    let name = ctx.args[3];
    let mut e = ctx.srv.ks.edit(found);
    let result = f(&mut e.value::<Stream>()?.groups.get_mut(name).expect("it was just looked up"));
    e.unchanged();
    Ok(result)
}

fn xgroup_create(ctx: &mut Ctx<'_>) -> Result<Flow, CmdError> {
    const BUSY: CmdError = CmdError::Msg(&"BUSYGROUP Consumer Group name already exists");
    let o = options(ctx, true)?;
    let found = stream(ctx)?;
    if found.is_none() && !o.make_stream {
        return Err(NO_KEY);
    }
    if ctx.args.len() > 8 {
        return Err(help::unknown_subcommand(ctx));
    }
    let id = match (ctx.args[4], &found) {
        (b"$", Some(f)) => ctx.srv.ks.value::<Stream>(f)?.log.last_id,
        (b"$", None) => Id::MIN,
        (id, _) => strict_id(id)?,
    };
    let (db, key, name) = (ctx.db, ctx.key(2), ctx.args[3]);
    let group = Group::new(id, o.entries_read);
    match found {
        Some(found) => {
            let mut e = ctx.srv.ks.edit(found);
            let added = e.value::<Stream>()?.groups.add(name, group);
            e.unchanged();
            if !added {
                return Err(BUSY);
            }
        }
        None => {
            let mut s = Stream::default();
            s.groups.add(name, group);
            let ks = &mut ctx.srv.ks;
            let _ = ks.put(db, key, New::Value(s.wrap()), Ttl::Clear, None);
            ks.signal_modified(db, key.bytes);
        }
    }
    ctx.out.ok();
    changed(ctx, "xgroup-create");
    Ok(Flow::Done)
}

fn xgroup_setid(ctx: &mut Ctx<'_>) -> Result<Flow, CmdError> {
    let o = options(ctx, false)?;
    let found = group_of(ctx)?;
    if !matches!(ctx.args.len(), 5 | 7) {
        return Err(help::unknown_subcommand(ctx));
    }
    let id = match ctx.args[4] {
        b"$" => ctx.srv.ks.value::<Stream>(&found)?.log.last_id,
        id => Id::parse_edge(id, 0).ok_or(super::stream::BAD_ID)?,
    };
    edit_group(ctx, found, |g| (g.last_id, g.entries_read) = (id, o.entries_read))?;
    ctx.out.ok();
    changed(ctx, "xgroup-setid");
    Ok(Flow::Done)
}

fn xgroup_destroy(ctx: &mut Ctx<'_>) -> Result<Flow, CmdError> {
    let found = stream(ctx)?.ok_or(NO_KEY)?;
    let (db, key, name) = (ctx.db, ctx.args[2], ctx.args[3]);
    let mut e = ctx.srv.ks.edit(found);
    let gone = e.value::<Stream>()?.groups.remove(name);
    e.unchanged();
    ctx.out.int(i64::from(gone));
    if gone {
        changed(ctx, "xgroup-destroy");
        // Clients that block as members of the group get an error.
        ctx.srv.ks.signal_ready(db, key, ty::STREAM);
    }
    Ok(Flow::Done)
}

fn xgroup_createconsumer(ctx: &mut Ctx<'_>) -> Result<Flow, CmdError> {
    let found = group_of(ctx)?;
    let (name, now) = (ctx.args[4], ctx.now_ms());
    let added = edit_group(ctx, found, |g| g.add_consumer(name, now).is_some())?;
    ctx.out.int(i64::from(added));
    if added {
        changed(ctx, "xgroup-createconsumer");
    }
    Ok(Flow::Done)
}

fn xgroup_delconsumer(ctx: &mut Ctx<'_>) -> Result<Flow, CmdError> {
    let found = group_of(ctx)?;
    let name = ctx.args[4];
    let was_pending = edit_group(ctx, found, |g| g.remove_consumer(name))?;
    ctx.out.int(was_pending.unwrap_or(0) as i64);
    if was_pending.is_some() {
        changed(ctx, "xgroup-delconsumer");
    }
    Ok(Flow::Done)
}

fn xgroup_help(ctx: &mut Ctx<'_>) -> Result<Flow, CmdError> {
    help::reply(
        ctx,
        &[
            "CREATE <key> <groupname> <id|$> [option]",
            "    Make a group that reads what comes after an ID. Options:",
            "    * MKSTREAM",
            "      Make the stream too, where there is none.",
            "    * ENTRIESREAD entries_read",
            "      State how many entries the group has read (for replication).",
            "CREATECONSUMER <key> <groupname> <consumer>",
            "    Make a consumer of a group.",
            "DELCONSUMER <key> <groupname> <consumer>",
            "    End a consumer, and with it all that is pending there.",
            "DESTROY <key> <groupname>",
            "    End a group.",
            "SETID <key> <groupname> <id|$> [ENTRIESREAD entries_read]",
            "    Set the ID after which a group reads on.",
        ],
    )
}

// ---- XACK ---------------------------------------------------------------------------------------

fn xack(ctx: &mut Ctx<'_>) -> Result<Flow, CmdError> {
    let name = ctx.args[2];
    let found = match ctx.read(1) {
        Some(f) if ctx.srv.ks.value::<Stream>(&f)?.groups.get(name).is_some() => f,
        _ => {
            ctx.out.int(0);
            return Ok(Flow::Done);
        }
    };
    // All of them are read before any is acknowledged.
    let ids = ctx.args.from(3);
    ids.iter().try_for_each(|id| strict_id(id).map(|_| ()))?;
    let ks = &mut ctx.srv.ks;
    let mut e = ks.edit(found);
    let mut group = e.value::<Stream>()?.groups.get_mut(name).expect("it was just looked up");
    let acknowledged = ids.iter().filter(|id| strict_id(id).is_ok_and(|id| group.release(id))).count();
    drop(group);
    e.unchanged();
    ks.dirty += acknowledged as u64;
    ctx.out.int(acknowledged as i64);
    Ok(Flow::Done)
}

// ---- XPENDING -----------------------------------------------------------------------------------

/// What part of the pending entries is to be shown.
struct Part<'a> {
    from: Id,
    to: Id,
    count: usize,
    min_idle: i64,
    consumer: Option<&'a [u8]>,
}

fn part<'a>(args: &'a [&'a [u8]]) -> Result<Option<Part<'a>>, CmdError> {
    let n = args.len();
    if n == 3 {
        return Ok(None);
    }
    if !(6..=9).contains(&n) {
        return Err(CmdError::Syntax);
    }
    let (mut at, mut min_idle) = (3, 0);
    if args[3].eq_ignore_ascii_case(b"idle") {
        min_idle = integer(args[4])?;
        if n < 8 {
            return Err(CmdError::Syntax);
        }
        at += 2;
    }
    let count = usize::try_from(integer(args[at + 2])?).unwrap_or(0);
    let (from, to) = (interval_start(args[at])?, interval_end(args[at + 1])?);
    Ok(Some(Part { from, to, count, min_idle, consumer: args.get(at + 3).copied() }))
}

fn xpending(ctx: &mut Ctx<'_>) -> Result<Flow, CmdError> {
    let part = part(ctx.args.slice())?;
    let (found, now) = (ctx.read(1), ctx.now_ms());
    let stream = match &found {
        Some(f) => Some(ctx.srv.ks.value::<Stream>(f)?),
        None => None,
    };
    let Some(group) = stream.as_ref().and_then(|s| s.groups.get(ctx.args[2])) else {
        return Err(no_group(ctx.out, ctx.args[1], ctx.args[2], b""));
    };
    match part {
        None => summary(ctx.out, group),
        Some(part) => list(ctx.out, group, &part, now),
    }
    Ok(Flow::Done)
}

/// How much is pending, from which ID to which, and with which consumers.
fn summary(out: &mut Reply, group: &Group) {
    out.array(4);
    out.int(group.pending_len() as i64);
    let Some((first, last)) = group.pending_edges() else {
        out.null();
        out.null();
        out.null_array();
        return;
    };
    out.bulk(&first.text());
    out.bulk(&last.text());
    let mark = out.defer();
    let mut n = 0;
    group.for_each_consumer(|c| {
        if c.pending_len() > 0 {
            out.array(2);
            out.bulk(&c.name);
            out.bulk_int(c.pending_len() as i64);
            n += 1;
        }
    });
    out.set_array(mark, n);
}

fn list(out: &mut Reply, group: &Group, part: &Part<'_>, now: i64) {
    let mark = out.defer();
    let (mut n, min_idle) = (0, part.min_idle);
    let mut show = |id: Id, p: &Pending| {
        if id > part.to || n == part.count {
            return false;
        }
        let idle = now.wrapping_sub(p.delivered_at);
        if min_idle == 0 || idle >= min_idle {
            out.array(4);
            out.bulk(&id.text());
            out.bulk(&group.consumer(p.owner).name);
            out.int(idle.max(0));
            out.int(p.deliveries.cast_signed());
            n += 1;
        }
        true
    };
    match part.consumer {
        None => group.for_each_pending(part.from, show),
        Some(name) => {
            let consumer = group.find_consumer(name).map(|at| group.consumer(at));
            let next = |from: Option<Id>| from.and_then(|from| consumer?.next_pending(from));
            let mut at = next(Some(part.from));
            while let Some(id) = at {
                let p = group.pending(id).expect("its consumer has it");
                at = if show(id, p) { next(id.after()) } else { None };
            }
        }
    }
    out.set_array(mark, n);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_of_what_is_pending() {
        let read = |line: &str| {
            let args: Vec<&[u8]> = line.split(' ').map(str::as_bytes).collect();
            let text = |e: CmdError| e.as_str().to_string();
            part(&args)
                .map_err(text)
                .map(|p| p.map(|p| (p.from, p.count, p.min_idle, p.consumer.map(|c| c.to_vec()))))
        };
        let after = |ms| Id::new(ms, 1);
        assert_eq!(read("xpending k g"), Ok(None));
        assert_eq!(read("xpending k g (5 + 7"), Ok(Some((after(5), 7, 0, None))));
        let with_idle = read("xpending k g idle 9 (5 + -7 bob");
        assert_eq!(with_idle, Ok(Some((after(5), 0, 9, Some(b"bob".to_vec())))));
        // What follows the consumer is not looked at.
        let long = read("xpending k g - + 7 bob x y");
        assert_eq!(long, Ok(Some((Id::MIN, 7, 0, Some(b"bob".to_vec())))));
        for (line, why) in [
            ("xpending k g -", "syntax"),
            ("xpending k g - + 7 bob x y z", "syntax"),
            ("xpending k g idle 9 - +", "syntax"),
            ("xpending k g idle x - +", "not an integer"),
            ("xpending k g x + y", "not an integer"),
            ("xpending k g x + 1", "Invalid stream ID"),
            ("xpending k g (18446744073709551615-18446744073709551615 + 1", "invalid start"),
            ("xpending k g - (0-0 1", "invalid end"),
        ] {
            assert!(read(line).is_err_and(|e| e.contains(why)), "{line}");
        }
    }
}
