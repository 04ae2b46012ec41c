//! Strings: SET and GET with all their forms, several keys at once, and pieces of strings.
//!
//! How a string is kept follows from the command that made it, and OBJECT ENCODING shows it:
//!
//! ```text
//!   SET SETNX SETEX PSETEX GETSET MSET MSETNX     int when it is one, else embstr or raw by length
//!   APPEND to nothing                             the same
//!   INCR DECR INCRBY DECRBY                       int
//!   INCRBYFLOAT                                   embstr or raw, even when the text is an integer
//!   APPEND SETRANGE SETBIT BITFIELD BITOP         raw
//! ```
//!
//! What leaves to the AOF and the replicas has one meaning whenever it is read: relative times become
//! PXAT, and what depends on the old value becomes the new one.
//!
//! ```text
//!   SET .. EX|PX|EXAT, SETEX, PSETEX   SET key value PXAT ms        GETSET   SET key value
//!   SET .. GET                         without the GET              GETDEL   DEL key
//!   GETEX                              PEXPIREAT, PERSIST, DEL or UNLINK, or nothing
//! ```

use super::numbers::integer;
use crate::cmd::docs;
use crate::cmd::keys;
use crate::cmd::row::flag::*;
use crate::cmd::row::{Flow, KeySpec, cat, key};
use crate::ds::entry::enc;
use crate::ds::sds::Sds;
use crate::keyspace::store::{New, Ttl};
use crate::keyspace::{GROUP, Touched, class};
use crate::object::value::{StrRef, Value};
use crate::proto::args::Key;
use crate::proto::error::CmdError;
use crate::server::ctx::{Command, Ctx, ROW};

pub static ROWS: &[Command] = &[
    Command {
        name: "append",
        arity: 3,
        flags: WRITE | DENYOOM | FAST,
        acl: cat::STRING,
        keys: &[KeySpec::one(key::RW | key::INSERT, 1)],
        run: append,
        docs: &docs::APPEND,
        ..ROW
    },
    Command {
        name: "get",
        arity: 2,
        flags: READONLY | FAST,
        acl: cat::STRING,
        keys: &[KeySpec::one(key::RO | key::ACCESS, 1)],
        run: get,
        docs: &docs::GET,
        ..ROW
    },
    Command {
        name: "getdel",
        arity: 2,
        flags: WRITE | FAST,
        acl: cat::STRING,
        keys: &[KeySpec::one(key::RW | key::ACCESS | key::DELETE, 1)],
        run: getdel,
        docs: &docs::GETDEL,
        ..ROW
    },
    Command {
        name: "getex",
        arity: -2,
        flags: WRITE | FAST,
        acl: cat::STRING,
        keys: &[KeySpec::one(key::RW | key::ACCESS | key::UPDATE, 1)
            .note("RW and UPDATE, since the expiry of the key may be changed")],
        run: getex,
        docs: &docs::GETEX,
        ..ROW
    },
    Command {
        name: "getrange",
        arity: 4,
        flags: READONLY,
        acl: cat::STRING,
        keys: &[KeySpec::one(key::RO | key::ACCESS, 1)],
        run: getrange,
        docs: &docs::GETRANGE,
        ..ROW
    },
    Command {
        name: "getset",
        arity: 3,
        flags: WRITE | DENYOOM | FAST,
        acl: cat::STRING,
        keys: &[KeySpec::one(key::RW | key::ACCESS | key::UPDATE, 1)],
        run: getset,
        docs: &docs::GETSET,
        ..ROW
    },
    Command {
        name: "mget",
        arity: -2,
        flags: READONLY | FAST,
        acl: cat::STRING,
        keys: &[KeySpec::range(key::RO | key::ACCESS, 1, -1, 1)],
        run: mget,
        docs: &docs::MGET,
        ..ROW
    },
    Command {
        name: "mset",
        arity: -3,
        flags: WRITE | DENYOOM,
        acl: cat::STRING,
        keys: &[KeySpec::range(key::OW | key::UPDATE, 1, -1, 2)],
        run: mset,
        docs: &docs::MSET,
        ..ROW
    },
    Command {
        name: "msetnx",
        arity: -3,
        flags: WRITE | DENYOOM,
        acl: cat::STRING,
        keys: &[KeySpec::range(key::OW | key::INSERT, 1, -1, 2)],
        run: msetnx,
        docs: &docs::MSETNX,
        ..ROW
    },
    Command {
        name: "psetex",
        arity: 4,
        flags: WRITE | DENYOOM,
        acl: cat::STRING,
        keys: &[KeySpec::one(key::OW | key::UPDATE, 1)],
        run: psetex,
        docs: &docs::PSETEX,
        ..ROW
    },
    Command {
        name: "set",
        arity: -3,
        flags: WRITE | DENYOOM,
        acl: cat::STRING,
        keys: &[KeySpec::one(key::RW | key::ACCESS | key::UPDATE | key::VARIABLE_FLAGS, 1)
            .note("RW and ACCESS, since `GET` returns the old value")],
        run: set,
        getkeys: Some(keys::set),
        docs: &docs::SET,
        ..ROW
    },
    Command {
        name: "setex",
        arity: 4,
        flags: WRITE | DENYOOM,
        acl: cat::STRING,
        keys: &[KeySpec::one(key::OW | key::UPDATE, 1)],
        run: setex,
        docs: &docs::SETEX,
        ..ROW
    },
    Command {
        name: "setnx",
        arity: 3,
        flags: WRITE | DENYOOM | FAST,
        acl: cat::STRING,
        keys: &[KeySpec::one(key::OW | key::INSERT, 1)],
        run: setnx,
        docs: &docs::SETNX,
        ..ROW
    },
    Command {
        name: "setrange",
        arity: 4,
        flags: WRITE | DENYOOM,
        acl: cat::STRING,
        keys: &[KeySpec::one(key::RW | key::UPDATE, 1)],
        run: setrange,
        docs: &docs::SETRANGE,
        ..ROW
    },
    Command {
        name: "strlen",
        arity: 2,
        flags: READONLY | FAST,
        acl: cat::STRING,
        keys: &[KeySpec::one(key::RO, 1)],
        run: strlen,
        docs: &docs::STRLEN,
        ..ROW
    },
    Command {
        name: "substr",
        arity: 4,
        flags: READONLY,
        acl: cat::STRING,
        keys: &[KeySpec::one(key::RO | key::ACCESS, 1)],
        run: substr,
        docs: &docs::SUBSTR,
        ..ROW
    },
];

fn get(ctx: &mut Ctx<'_>) -> Result<Flow, CmdError> {
    reply_value(ctx)?;
    Ok(Flow::Done)
}

/// Replies the string at the first key, or null.
#[inline]
fn reply_value(ctx: &mut Ctx<'_>) -> Result<(), CmdError> {
    match ctx.read(1) {
        None => ctx.out.null(),
        Some(f) => match ctx.srv.ks.string(&f)? {
            StrRef::Bytes(b) => ctx.out.bulk(b),
            StrRef::Int(n) => ctx.out.bulk_int(n),
        },
    }
    Ok(())
}

// ---- SET and its forms -----------------------------------------------------------------------------

/// How an expiry is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum When {
    Ex,
    Px,
    ExAt,
    PxAt,
}

impl When {
    const WORDS: [(&'static [u8], When); 4] =
        [(b"ex", When::Ex), (b"px", When::Px), (b"exat", When::ExAt), (b"pxat", When::PxAt)];

    fn of(word: &[u8]) -> Option<When> {
        Self::WORDS.iter().find(|(w, _)| word.eq_ignore_ascii_case(w)).map(|(_, when)| *when)
    }

    /// Unix milliseconds.
    fn resolve(self, arg: &[u8], ctx: &Ctx<'_>) -> Result<i64, CmdError> {
        let unit = if matches!(self, When::Ex | When::ExAt) { 1000 } else { 1 };
        let base = if matches!(self, When::Ex | When::Px) { ctx.now_ms() } else { 0 };
        let n = integer(arg)?;
        let at = n.checked_mul(unit).and_then(|ms| ms.checked_add(base));
        at.filter(|_| n > 0).ok_or_else(|| {
            CmdError::text(format!("ERR invalid expire time in '{}' command", ctx.name()))
        })
    }
}

/// The options of SET, and of GETEX those that it shares.
#[derive(Clone, Copy, Default, Debug)]
struct Options<'a> {
    nx: bool,
    xx: bool,
    get: bool,
    keep_ttl: bool,
    persist: bool,
    expire: Option<(When, &'a [u8])>,
}

impl<'a> Options<'a> {
    /// A word may be said twice, and then the last one counts; what contradicts is a syntax error.
    fn parse(words: &[&'a [u8]], of_set: bool) -> Result<Options<'a>, CmdError> {
        let mut o = Options::default();
        let mut rest = words.iter();
        while let Some(word) = rest.next() {
            let is = |w: &[u8]| word.eq_ignore_ascii_case(w);
            if of_set && is(b"nx") && !o.xx {
                o.nx = true;
            } else if of_set && is(b"xx") && !o.nx {
                o.xx = true;
            } else if of_set && is(b"get") {
                o.get = true;
            } else if of_set && is(b"keepttl") && o.expire.is_none() {
                o.keep_ttl = true;
            } else if !of_set && is(b"persist") && o.expire.is_none() {
                o.persist = true;
            } else {
                let when = When::of(word).ok_or(CmdError::Syntax)?;
                let agrees = o.expire.is_none_or(|(other, _)| other == when);
                if o.keep_ttl || o.persist || !agrees {
                    return Err(CmdError::Syntax);
                }
                o.expire = Some((when, rest.next().ok_or(CmdError::Syntax)?));
            }
        }
        Ok(o)
    }
}

/// What to store for an argument: its bytes, or an empty string that becomes it when the command is over.
#[inline]
fn new_string<'v>(ctx: &mut Ctx<'_>, key: Key, value: &'v [u8]) -> New<'v> {
    if ctx.srv.adoption.take(ctx.db, key.bytes, value) {
        return New::Value(Value::Str(enc::RAW, Sds::with_capacity(0)));
    }
    New::Bytes(value)
}

fn set(ctx: &mut Ctx<'_>) -> Result<Flow, CmdError> {
    if ctx.args.len() == 3 {
        let (key, value) = (ctx.key(1), ctx.args[2]);
        let found = ctx.srv.ks.write(ctx.db, key);
        let new = new_string(ctx, key, value);
        let t = ctx.srv.ks.set(ctx.db, key, new, Ttl::Clear, found);
        ctx.announce(&t, class::STRING, "set");
        ctx.out.ok();
        return Ok(Flow::Done);
    }
    let options = Options::parse(ctx.args.from(3), true)?;
    let stored = store(ctx, ctx.args[2], options)?;
    match stored {
        // The old value has been replied.
        _ if options.get => {}
        true => ctx.out.ok(),
        false => ctx.out.null(),
    }
    Ok(Flow::Done)
}

fn setnx(ctx: &mut Ctx<'_>) -> Result<Flow, CmdError> {
    let options = Options { nx: true, ..Options::default() };
    let stored = store(ctx, ctx.args[2], options)?;
    ctx.out.int(stored.into());
    Ok(Flow::Done)
}

fn setex(ctx: &mut Ctx<'_>) -> Result<Flow, CmdError> {
    set_with_expiry(ctx, When::Ex)
}

fn psetex(ctx: &mut Ctx<'_>) -> Result<Flow, CmdError> {
    set_with_expiry(ctx, When::Px)
}

fn set_with_expiry(ctx: &mut Ctx<'_>, when: When) -> Result<Flow, CmdError> {
    let options = Options { expire: Some((when, ctx.args[2])), ..Options::default() };
    store(ctx, ctx.args[3], options)?;
    ctx.out.ok();
    Ok(Flow::Done)
}

/// Stores `value` under the first key unless a condition forbids it; false when it does.
fn store<'a>(ctx: &mut Ctx<'a>, value: &'a [u8], o: Options<'a>) -> Result<bool, CmdError> {
    let at = match o.expire {
        Some((when, arg)) => Some(when.resolve(arg, ctx)?),
        None => None,
    };
    if o.get {
        reply_value(ctx)?;
    }
    let key = ctx.key(1);
    let found = ctx.srv.ks.write(ctx.db, key);
    if (o.nx && found.is_some()) || (o.xx && found.is_none()) {
        return Ok(false);
    }
    let ttl = match at {
        Some(at) => Ttl::At(at),
        None if o.keep_ttl => Ttl::Keep,
        None => Ttl::Clear,
    };
    let new = new_string(ctx, key, value);
    let t = ctx.srv.ks.set(ctx.db, key, new, ttl, found);
    ctx.announce(&t, class::STRING, "set");
    if at.is_some() {
        ctx.announce(&t, class::GENERIC, "expire");
    }
    if ctx.srv.ks.policy.ops {
        rewrite_set(ctx, value, &o, at);
    }
    Ok(true)
}

/// What leaves for a SET: the expiry as a point in time, nothing that only asks.
fn rewrite_set(ctx: &mut Ctx<'_>, value: &[u8], o: &Options<'_>, at: Option<i64>) {
    match (at, o.expire) {
        (Some(_), Some((When::PxAt, _))) => {}
        (Some(at), _) => {
            let mut room = itoa::Buffer::new();
            let at = room.format(at).as_bytes();
            ctx.instead(&[b"SET", ctx.args[1], value, b"PXAT", at]);
        }
        (None, _) if o.get => {
            let (kept, options) = ctx.args.slice().split_at(3);
            let options = options.iter().filter(|w| !w.eq_ignore_ascii_case(b"get"));
            let words: Vec<&[u8]> = kept.iter().chain(options).copied().collect();
            ctx.instead(&words);
        }
        (None, _) => {}
    }
}

fn getset(ctx: &mut Ctx<'_>) -> Result<Flow, CmdError> {
    reply_value(ctx)?;
    let (key, value) = (ctx.key(1), ctx.args[2]);
    let found = ctx.srv.ks.write(ctx.db, key);
    let new = new_string(ctx, key, value);
    let t = ctx.srv.ks.set(ctx.db, key, new, Ttl::Clear, found);
    ctx.announce(&t, class::STRING, "set");
    if ctx.srv.ks.policy.ops {
        ctx.instead(&[b"SET", key.bytes, value]);
    }
    Ok(Flow::Done)
}

fn getdel(ctx: &mut Ctx<'_>) -> Result<Flow, CmdError> {
    let Some(f) = ctx.read(1) else {
        ctx.out.null();
        return Ok(Flow::Done);
    };
    let mut room = itoa::Buffer::new();
    ctx.out.bulk(ctx.srv.ks.string(&f)?.bytes(&mut room));
    let t = ctx.srv.ks.remove(f, false);
    ctx.announce(&t, class::GENERIC, "del");
    ctx.srv.ks.dirty += 1;
    ctx.instead(&[b"DEL", f.key.bytes]);
    Ok(Flow::Done)
}

fn getex(ctx: &mut Ctx<'_>) -> Result<Flow, CmdError> {
    let options = Options::parse(ctx.args.from(2), false)?;
    let Some(f) = ctx.read(1) else {
        ctx.out.null();
        return Ok(Flow::Done);
    };
    let mut room = itoa::Buffer::new();
    let value = ctx.srv.ks.string(&f)?;
    let at = match options.expire {
        Some((when, arg)) => Some((when, when.resolve(arg, ctx)?)),
        None => None,
    };
    ctx.out.bulk(value.bytes(&mut room));
    let t = Touched { db: f.db, key: f.key, gone: false };
    let ks = &mut ctx.srv.ks;
    match at {
        Some((When::ExAt | When::PxAt, at)) if at <= ks.now_ms && ks.policy.expiry.past_deletes() => {
            let lazy = ks.policy.lazy_expire;
            let t = ks.remove(f, lazy);
            ctx.announce(&t, class::GENERIC, "del");
            ctx.instead(&[if lazy { b"UNLINK" } else { b"DEL" }, f.key.bytes]);
        }
        Some((_, at)) => {
            ks.set_ttl(f, Some(at));
            ks.signal_modified(f.db, f.key.bytes);
            ctx.announce(&t, class::GENERIC, "expire");
            let mut room = itoa::Buffer::new();
            ctx.instead(&[b"PEXPIREAT", f.key.bytes, room.format(at).as_bytes()]);
        }
        None if options.persist && ks.at(&f).when().is_some() => {
            ks.set_ttl(f, None);
            ks.signal_modified(f.db, f.key.bytes);
            ctx.announce(&t, class::GENERIC, "persist");
            ctx.instead(&[b"PERSIST", f.key.bytes]);
        }
        None => return Ok(Flow::Done),
    }
    ctx.srv.ks.dirty += 1;
    Ok(Flow::Done)
}

// ---- several keys ----------------------------------------------------------------------------------

/// The keys at every `step`th word of `group`, on their way into the cache.
#[inline]
fn fetch_ahead<'a>(
    ctx: &Ctx<'a>,
    group: &[&'a [u8]],
    step: usize,
) -> impl Iterator<Item = Key<'a>> + use<'a> {
    let n = group.len() / step;
    let keys: [Key; GROUP] = std::array::from_fn(|i| match group.get(step * i) {
        Some(name) => Key::new(name),
        None => Key { bytes: b"", hash: 0 },
    });
    ctx.srv.ks.fetch_ahead(ctx.db, &keys[..n]);
    keys.into_iter().take(n)
}

fn mget(ctx: &mut Ctx<'_>) -> Result<Flow, CmdError> {
    let names = ctx.args.from(1);
    ctx.out.array(names.len());
    for group in names.chunks(GROUP) {
        for key in fetch_ahead(ctx, group, 1) {
            let found = ctx.srv.ks.read(ctx.db, key);
            match found.as_ref().and_then(|f| StrRef::of(ctx.srv.ks.at(f))) {
                Some(StrRef::Bytes(b)) => ctx.out.bulk(b),
                Some(StrRef::Int(n)) => ctx.out.bulk_int(n),
                None => ctx.out.null(),
            }
        }
    }
    Ok(Flow::Done)
}

fn mset(ctx: &mut Ctx<'_>) -> Result<Flow, CmdError> {
    let pairs = pairs(ctx)?;
    set_pairs(ctx, pairs);
    ctx.out.ok();
    Ok(Flow::Done)
}

fn msetnx(ctx: &mut Ctx<'_>) -> Result<Flow, CmdError> {
    let pairs = pairs(ctx)?;
    for group in pairs.chunks(2 * GROUP) {
        for key in fetch_ahead(ctx, group, 2) {
            if ctx.srv.ks.write(ctx.db, key).is_some() {
                ctx.out.int(0);
                return Ok(Flow::Done);
            }
        }
    }
    set_pairs(ctx, pairs);
    ctx.out.int(1);
    Ok(Flow::Done)
}

fn pairs<'a>(ctx: &Ctx<'a>) -> Result<&'a [&'a [u8]], CmdError> {
    let pairs = ctx.args.from(1);
    if pairs.len().is_multiple_of(2) { Ok(pairs) } else { Err(CmdError::arity(ctx.name())) }
}

fn set_pairs<'a>(ctx: &mut Ctx<'a>, pairs: &'a [&'a [u8]]) {
    for group in pairs.chunks(2 * GROUP) {
        let keys = fetch_ahead(ctx, group, 2);
        for (key, pair) in keys.zip(group.chunks(2)) {
            let found = ctx.srv.ks.write(ctx.db, key);
            let t = ctx.srv.ks.set(ctx.db, key, New::Bytes(pair[1]), Ttl::Clear, found);
            ctx.announce(&t, class::STRING, "set");
        }
    }
}

// ---- pieces ----------------------------------------------------------------------------------------

fn strlen(ctx: &mut Ctx<'_>) -> Result<Flow, CmdError> {
    let len = match ctx.read(1) {
        None => 0,
        Some(f) => ctx.srv.ks.string(&f)?.len(),
    };
    ctx.out.int(len as i64);
    Ok(Flow::Done)
}

fn substr(ctx: &mut Ctx<'_>) -> Result<Flow, CmdError> {
    getrange(ctx)
}

fn getrange(ctx: &mut Ctx<'_>) -> Result<Flow, CmdError> {
    let (start, end) = (integer(ctx.args[2])?, integer(ctx.args[3])?);
    let Some(f) = ctx.read(1) else {
        ctx.out.bulk(b"");
        return Ok(Flow::Done);
    };
    let mut room = itoa::Buffer::new();
    let all = ctx.srv.ks.string(&f)?.bytes(&mut room);
    ctx.out.bulk(slice(all, start, end));
    Ok(Flow::Done)
}

/// From `start` to `end`, both included, negative ones counted from the end.
fn slice(all: &[u8], start: i64, end: i64) -> &[u8] {
    if start < 0 && end < 0 && start > end {
        return b"";
    }
    let len = all.len() as i64;
    let from_end = |i: i64| if i < 0 { i + len } else { i }.max(0);
    let (start, end) = (from_end(start), from_end(end).min(len - 1));
    if start > end { b"" } else { &all[start as usize..=end as usize] }
}

/// Refuses to let a string grow beyond what a client could send. A master decides for itself.
fn check_length(ctx: &Ctx<'_>, size: i64, more: i64) -> Result<(), CmdError> {
    let limit = i64::try_from(ctx.srv.config.proto_max_bulk_len).unwrap_or(i64::MAX);
    if size.checked_add(more).is_some_and(|total| total <= limit) || ctx.obeys() {
        return Ok(());
    }
    Err(CmdError::Msg(&"ERR string exceeds maximum allowed size (proto-max-bulk-len)"))
}

fn setrange(ctx: &mut Ctx<'_>) -> Result<Flow, CmdError> {
    let (offset, value) = (integer(ctx.args[2])?, ctx.args[3]);
    if offset < 0 {
        return Err(CmdError::Msg(&"ERR offset is out of range"));
    }
    let key = ctx.key(1);
    let found = ctx.srv.ks.write(ctx.db, key);
    let old_len = match &found {
        None => 0,
        Some(f) => ctx.srv.ks.string(f)?.len(),
    };
    if value.is_empty() {
        ctx.out.int(old_len as i64);
        return Ok(Flow::Done);
    }
    check_length(ctx, offset, value.len() as i64)?;
    let from = offset as usize;
    let to = from + value.len();
    let t = match found {
        None => {
            let mut s = Sds::with_capacity(to);
            s.resize(from);
            s.extend(value);
            let new = New::Value(Value::Str(enc::RAW, s));
            ctx.srv.ks.set(ctx.db, key, new, Ttl::Clear, None)
        }
        Some(f) => {
            let mut edit = ctx.srv.ks.edit(f);
            let s = edit.raw()?;
            s.resize(to.max(old_len));
            s[from..to].copy_from_slice(value);
            edit.done(1)
        }
    };
    ctx.announce(&t, class::STRING, "setrange");
    ctx.out.int(to.max(old_len) as i64);
    Ok(Flow::Done)
}

fn append(ctx: &mut Ctx<'_>) -> Result<Flow, CmdError> {
    let (key, value) = (ctx.key(1), ctx.args[2]);
    let (t, len) = match ctx.srv.ks.write(ctx.db, key) {
        None => {
            let new = new_string(ctx, key, value);
            (ctx.srv.ks.set(ctx.db, key, new, Ttl::Clear, None), value.len())
        }
        Some(f) => {
            let old_len = ctx.srv.ks.string(&f)?.len();
            check_length(ctx, old_len as i64, value.len() as i64)?;
            let mut edit = ctx.srv.ks.edit(f);
            edit.raw()?.extend(value);
            (edit.done(1), old_len + value.len())
        }
    };
    ctx.announce(&t, class::STRING, "append");
    ctx.out.int(len as i64);
    Ok(Flow::Done)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(line: &str) -> Vec<&[u8]> {
        line.split(' ').map(str::as_bytes).collect()
    }

    #[test]
    fn slices_are_clipped_to_the_string() {
        for (start, end, want) in [
            (0, 3, "This"),
            (0, -1, "This is"),
            (-2, -1, "is"),
            (-1, -2, ""),
            (5, 5000, "is"),
            (-5000, 2, "Thi"),
            (7, 9, ""),
            (3, 2, ""),
            (i64::MIN, i64::MAX, "This is"),
            (i64::MAX, i64::MIN, ""),
        ] {
            assert_eq!(slice(b"This is", start, end), want.as_bytes(), "{start} {end}");
            assert_eq!(slice(b"", start, end), b"");
        }
    }

    #[test]
    fn options_may_repeat_but_not_contradict() {
        let of_set = |line: &'static str| Options::parse(&words(line), true);
        let o = of_set("nx GET ex 1 Ex 2 get").expect("all of it goes together");
        assert!(o.nx && o.get && !o.xx && !o.keep_ttl);
        assert_eq!(o.expire, Some((When::Ex, &b"2"[..])));
        assert!(of_set("keepttl XX xx keepttl").is_ok());
        let contradictions = ["nx xx", "ex 1 px 1", "pxat 1 exat 1", "keepttl ex 1", "px 1 keepttl"];
        for bad in contradictions.into_iter().chain(["ex", "persist", "x"]) {
            assert!(of_set(bad).is_err(), "{bad}");
        }
        let of_getex = |line: &'static str| Options::parse(&words(line), false);
        assert!(of_getex("persist PERSIST").is_ok() && of_getex("pxat 5").is_ok());
        for bad in ["nx", "get", "keepttl", "persist ex 1", "exat 1 persist", "px"] {
            assert!(of_getex(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn keys_are_read_only_when_asked_for() {
        let flags = |line: &str| {
            let mut found = Vec::new();
            keys::set(&words(line), &mut found).expect("always one key");
            found[0].1
        };
        assert_eq!(flags("set k get"), key::OW | key::UPDATE);
        assert_eq!(flags("set k v nx Get"), key::RW | key::ACCESS | key::UPDATE);
    }
}
