//! DUMP and RESTORE: a value as it stands in a snapshot, with version and checksum behind it.
//!
//! ```text
//! entry ── DUMP ──► type value │ version u16 │ crc64 ── RESTORE ──► entry
//! ```
//!
//! RESTORE reads before it writes: a payload that is not good leaves the key as it was. A TTL leaves for
//! replicas and the AOF as a point in time.

use super::numbers::integer;
use crate::cmd::docs;
use crate::cmd::row::flag::*;
use crate::cmd::row::{Flow, KeySpec, cat, key};
use crate::config::SanitizeDump;
use crate::keyspace::class;
use crate::keyspace::store::{New, Ttl};
use crate::persist::rdb::load::{Checks, Loaded, Refusal, Usage, restore as read_payload};
use crate::persist::rdb::save::payload;
use crate::proto::error::CmdError;
use crate::server::ctx::{Command, Ctx, ROW};

pub static ROWS: &[Command] = &[
    Command {
        name: "dump",
        arity: 2,
        flags: READONLY,
        acl: cat::KEYSPACE,
        keys: &[KeySpec::one(key::RO | key::ACCESS, 1)],
        run: dump,
        docs: &docs::DUMP,
        ..ROW
    },
    Command {
        name: "restore",
        arity: -4,
        flags: WRITE | DENYOOM,
        acl: cat::KEYSPACE | cat::DANGEROUS,
        keys: &[KeySpec::one(key::OW | key::UPDATE, 1)],
        run: restore,
        docs: &docs::RESTORE,
        ..ROW
    },
    Command {
        name: "restore-asking",
        arity: -4,
        flags: WRITE | DENYOOM | ASKING,
        acl: cat::KEYSPACE | cat::DANGEROUS,
        keys: &[KeySpec::one(key::OW | key::UPDATE, 1)],
        run: restore,
        docs: &docs::RESTORE_ASKING,
        ..ROW
    },
];

fn dump(ctx: &mut Ctx<'_>) -> Result<Flow, CmdError> {
    match ctx.read(1) {
        None => ctx.out.null(),
        Some(found) => {
            let compress = ctx.srv.config.rdbcompression;
            let bytes = payload(ctx.srv.ks.at(&found), compress)
                .map_err(|e| CmdError::text(format!("ERR {e}")))?;
            ctx.out.bulk(&bytes);
        }
    }
    Ok(Flow::Done)
}

#[derive(Default)]
struct Options {
    replace: bool,
    absolute: bool,
    usage: Usage,
}

impl Options {
    fn parse(ctx: &Ctx<'_>) -> Result<Options, CmdError> {
        const IDLE: CmdError = CmdError::Msg(&"ERR Invalid IDLETIME value, must be >= 0");
        const FREQ: CmdError = CmdError::Msg(&"ERR Invalid FREQ value, must be >= 0 and <= 255");
        let mut o = Options::default();
        let mut words = ctx.args.from(4).iter();
        while let Some(word) = words.next() {
            let is = |name: &[u8]| word.eq_ignore_ascii_case(name);
            let more = !words.as_slice().is_empty();
            if is(b"replace") {
                o.replace = true;
            } else if is(b"absttl") {
                o.absolute = true;
            } else if is(b"idletime") && more && o.usage.freq.is_none() {
                let n = integer(words.next().expect("there is more"))?;
                o.usage.idle_seconds = Some(u64::try_from(n).map_err(|_| IDLE)?);
            } else if is(b"freq") && more && o.usage.idle_seconds.is_none() {
                let n = integer(words.next().expect("there is more"))?;
                o.usage.freq = Some(u8::try_from(n).map_err(|_| FREQ)?);
            } else {
                return Err(CmdError::Syntax);
            }
        }
        Ok(o)
    }
}

/// How closely a client's payload is looked at.
fn checks(ctx: &Ctx<'_>) -> Checks {
    let deep = match ctx.srv.config.sanitize_dump_payload {
        SanitizeDump::Yes => true,
        SanitizeDump::No => false,
        SanitizeDump::Clients => !ctx.obeys(),
    };
    Checks { checksum: !ctx.srv.switches.skip_checksums, deep }
}

/// The value of argument 3.
fn value_of<'a>(ctx: &mut Ctx<'a>) -> Result<Loaded<'a>, CmdError> {
    let (checks, limits) = (checks(ctx), ctx.srv.ks.policy.limits);
    let sanitized = &mut ctx.srv.stats.dump_sanitizations;
    read_payload(ctx.args.slice()[3], limits, checks, sanitized).map_err(|refusal| match refusal {
        Refusal::Footer => CmdError::Msg(&"ERR DUMP payload version or checksum are wrong"),
        Refusal::Format(at, why) => {
            crate::verbose!("Internal error in RDB reading offset {at} -> {why}");
            CmdError::Msg(&"ERR Bad data format")
        }
    })
}

fn restore(ctx: &mut Ctx<'_>) -> Result<Flow, CmdError> {
    let o = Options::parse(ctx)?;
    if !o.replace && ctx.write(1).is_some() {
        return Err(CmdError::Msg(&"BUSYKEY Target key name already exists."));
    }
    let ttl = integer(ctx.args[2])?;
    if ttl < 0 {
        return Err(CmdError::Msg(&"ERR Invalid TTL value, must be >= 0"));
    }
    let value = value_of(ctx)?;
    let now = ctx.now_ms();
    let when = match ttl {
        0 => None,
        ttl if o.absolute => Some(ttl),
        // A sum beyond 64 bits wraps to a time that has passed, as it does upstream.
        ttl => Some(now.wrapping_add(ttl)),
    };
    let (db, key) = (ctx.db, ctx.key(1));
    let ks = &mut ctx.srv.ks;
    let lazy = ks.policy.lazy_server_del;
    // Not by a lookup: a key whose time is over is replaced like any other.
    let old = if o.replace { ks.find_as_is(db, key) } else { None };
    if let Some(old) = old {
        ks.remove_silently(old, lazy);
    }
    if let Some(when) = when
        && when <= now
        && ks.policy.expiry.past_deletes()
    {
        return gone_already(ctx, old.is_some(), lazy);
    }
    let ttl = when.map_or(Ttl::Clear, Ttl::At);
    let t = match value {
        Loaded::Bytes(b) => ks.set(db, key, New::Bytes(&b), ttl, None),
        Loaded::Value(v) => ks.set(db, key, New::Value(v), ttl, None),
    };
    ks.set_usage(db, key, o.usage.freq, o.usage.idle_seconds);
    ks.announce(&t, class::GENERIC, "restore");
    if let Some(when) = when.filter(|_| !o.absolute) {
        let mut digits = itoa::Buffer::new();
        let mut words = ctx.args.to_vec();
        words[2] = digits.format(when).as_bytes();
        words.push(b"ABSTTL");
        ctx.instead(&words);
    }
    ctx.out.ok();
    Ok(Flow::Done)
}

/// The restored value has expired before it was stored: only the deletion of the old one is announced.
fn gone_already(ctx: &mut Ctx<'_>, deleted: bool, lazy: bool) -> Result<Flow, CmdError> {
    if deleted {
        let (db, key) = (ctx.db, ctx.key(1));
        let ks = &mut ctx.srv.ks;
        ks.signal_modified(db, key.bytes);
        ks.event(db, key.bytes, class::GENERIC, "del");
        ks.dirty += 1;
        ctx.instead(&[if lazy { b"UNLINK" } else { b"DEL" }, key.bytes]);
    }
    ctx.out.ok();
    Ok(Flow::Done)
}
