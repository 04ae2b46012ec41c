//! HyperLogLogs: strings of a form of their own (`object::hll` knows it), counted, merged and inspected.
//!
//! Being strings, they are checked by their header before anything else, and whatever these commands touch
//! is a `raw` string from then on. PFCOUNT of one key writes: it puts the count that it had to compute into
//! the value, which is a change like any other to replicas and watchers. Opcodes that prove corrupt on the
//! way end the command where it stands.

use super::help::c_text;
use crate::algo::hyperloglog::{self as algo, REGISTERS};
use crate::algo::rng::Rng;
use crate::cmd::docs;
use crate::cmd::row::flag::*;
use crate::cmd::row::{Flow, KeySpec, cat, key};
use crate::ds::entry::enc;
use crate::ds::sds::Sds;
use crate::keyspace::{
    Found, Keyspace, class,
    store::{New, Ttl},
};
use crate::object::hll::{self, Corrupt, Encoding, Op};
use crate::object::value::{StrRef, Value};
use crate::proto::error::CmdError;
use crate::server::ctx::{Command, Ctx, ROW};

pub static ROWS: &[Command] = &[
    Command {
        name: "pfadd",
        arity: -2,
        flags: WRITE | DENYOOM | FAST,
        acl: cat::HYPERLOGLOG,
        keys: &[KeySpec::one(key::RW | key::INSERT, 1)],
        run: pfadd,
        docs: &docs::PFADD,
        ..ROW
    },
    Command {
        name: "pfcount",
        arity: -2,
        flags: READONLY | MAY_REPLICATE,
        acl: cat::HYPERLOGLOG,
        keys: &[KeySpec::range(key::RW | key::ACCESS, 1, -1, 1)
            .note("RW, since the cached count in the value may be refreshed and replicated")],
        run: pfcount,
        docs: &docs::PFCOUNT,
        ..ROW
    },
    Command {
        name: "pfdebug",
        arity: 3,
        flags: WRITE | DENYOOM | ADMIN,
        acl: cat::HYPERLOGLOG,
        keys: &[KeySpec::one(key::RW | key::ACCESS, 2)],
        run: pfdebug,
        docs: &docs::PFDEBUG,
        ..ROW
    },
    Command {
        name: "pfmerge",
        arity: -2,
        flags: WRITE | DENYOOM,
        acl: cat::HYPERLOGLOG,
        keys: &[
            KeySpec::one(key::RW | key::ACCESS | key::INSERT, 1),
            KeySpec::range(key::RO | key::ACCESS, 2, -1, 1),
        ],
        run: pfmerge,
        docs: &docs::PFMERGE,
        ..ROW
    },
    Command {
        name: "pfselftest",
        arity: 1,
        flags: ADMIN,
        acl: cat::HYPERLOGLOG,
        run: pfselftest,
        docs: &docs::PFSELFTEST,
        ..ROW
    },
];

fn corrupt(_: Corrupt) -> CmdError {
    CmdError::Msg(&"INVALIDOBJ Corrupted HLL object detected")
}

/// The bytes of a sketch.
fn sketch<'k>(ks: &'k Keyspace, f: &'k Found<'_>) -> Result<(Encoding, &'k [u8]), CmdError> {
    const OTHER: CmdError = CmdError::Msg(&"WRONGTYPE Key is not a valid HyperLogLog string value.");
    let StrRef::Bytes(bytes) = ks.string(f)? else { return Err(OTHER) };
    hll::check(bytes).map(|e| (e, bytes)).ok_or(OTHER)
}

fn pfadd(ctx: &mut Ctx<'_>) -> Result<Flow, CmdError> {
    let found = ctx.write(1);
    let (key, elements) = (ctx.key(1), ctx.args.from(2));
    let ks = &mut ctx.srv.ks;
    let max_bytes = ks.policy.limits.hll_sparse_max_bytes;
    let add_all = |s: &mut Sds| {
        let mut risen = 0;
        for element in elements {
            risen += u64::from(hll::add(s, element, max_bytes).map_err(corrupt)?);
        }
        Ok::<u64, CmdError>(risen)
    };
    let Some(f) = found else {
        let mut s = hll::empty();
        let risen = add_all(&mut s)?;
        hll::invalidate(&mut s);
        let t = ks.put(ctx.db, key, New::Value(Value::Str(enc::RAW, s)), Ttl::Clear, None);
        ks.signal_modified(ctx.db, key.bytes);
        ks.announce(&t, class::STRING, "pfadd");
        // Making the key counts too.
        ks.dirty += 1 + risen;
        ctx.out.int(1);
        return Ok(Flow::Done);
    };
    sketch(ks, &f)?;
    let mut edit = ks.edit(f);
    let s = edit.raw()?;
    match add_all(s) {
        Ok(risen) if risen > 0 => {
            hll::invalidate(s);
            let t = edit.done(risen);
            ks.announce(&t, class::STRING, "pfadd");
            ctx.out.int(1);
        }
        result => {
            edit.unchanged();
            result?;
            ctx.out.int(0);
        }
    }
    Ok(Flow::Done)
}

fn pfcount(ctx: &mut Ctx<'_>) -> Result<Flow, CmdError> {
    if ctx.args.len() > 2 {
        let (max, _) = union(ctx)?;
        ctx.out.int(algo::estimate(&algo::histogram(&max)) as i64);
        return Ok(Flow::Done);
    }
    let Some(f) = ctx.read(1) else {
        ctx.out.int(0);
        return Ok(Flow::Done);
    };
    let ks = &mut ctx.srv.ks;
    let (_, bytes) = sketch(ks, &f)?;
    let (cached, raw) = (hll::cached(bytes), ks.at(&f).enc() == enc::RAW);
    let counted = match cached {
        Some(n) => Ok(n),
        None => hll::count(bytes),
    };
    if cached.is_none() || !raw {
        let mut edit = ks.edit(f);
        let s = edit.raw()?;
        match counted {
            Ok(n) if cached.is_none() => {
                hll::set_cached(s, n);
                let _ = edit.done(1);
            }
            _ => edit.unchanged(),
        }
    }
    ctx.out.int(counted.map_err(corrupt)? as i64);
    Ok(Flow::Done)
}

/// The greatest of each register over all keys, and whether one of them is dense. Missing keys are empty
/// sketches.
fn union(ctx: &mut Ctx<'_>) -> Result<(algo::Loose, bool), CmdError> {
    let (mut max, mut dense) = ([0; REGISTERS], false);
    for i in 1..ctx.args.len() {
        let Some(f) = ctx.read(i) else { continue };
        let (encoding, bytes) = sketch(&ctx.srv.ks, &f)?;
        hll::merge_into(&mut max, bytes).map_err(corrupt)?;
        dense |= encoding == Encoding::Dense;
    }
    Ok((max, dense))
}

fn pfmerge(ctx: &mut Ctx<'_>) -> Result<Flow, CmdError> {
    let (max, dense) = union(ctx)?;
    let found = ctx.write(1);
    let key = ctx.key(1);
    let ks = &mut ctx.srv.ks;
    let max_bytes = ks.policy.limits.hll_sparse_max_bytes;
    let merge = |s: &mut Sds| {
        if dense {
            hll::to_dense(s).map_err(corrupt)?;
        }
        hll::raise_all(s, &max, max_bytes).map_err(corrupt)?;
        hll::invalidate(s);
        Ok::<(), CmdError>(())
    };
    let t = match found {
        None => {
            let mut s = hll::empty();
            merge(&mut s)?;
            ks.set(ctx.db, key, New::Value(Value::Str(enc::RAW, s)), Ttl::Clear, None)
        }
        Some(f) => {
            let mut edit = ks.edit(f);
            if let Err(e) = merge(edit.raw()?) {
                edit.unchanged();
                return Err(e);
            }
            edit.done(1)
        }
    };
    ks.announce(&t, class::STRING, "pfadd");
    ctx.out.ok();
    Ok(Flow::Done)
}

// ---- PFDEBUG ------------------------------------------------------------------------------------

fn pfdebug(ctx: &mut Ctx<'_>) -> Result<Flow, CmdError> {
    const MISSING: CmdError = CmdError::Msg(&"ERR The specified key does not exist");
    const NOT_SPARSE: CmdError = CmdError::Msg(&"ERR HLL encoding is not sparse");
    let f = ctx.write(2).ok_or(MISSING)?;
    let ks = &mut ctx.srv.ks;
    let (encoding, _) = sketch(ks, &f)?;
    let word = ctx.args[1];
    let is = |w: &[u8]| word.eq_ignore_ascii_case(w);
    let mut edit = ks.edit(f);
    let s = edit.raw()?;
    // These change the encoding without telling watchers.
    let result = match () {
        () if is(b"getreg") => hll::to_dense(s).and_then(|changed| {
            let loose = hll::registers(s)?;
            ctx.out.array(REGISTERS);
            loose.iter().for_each(|r| ctx.out.int(i64::from(*r)));
            Ok(changed)
        }),
        () if is(b"todense") => hll::to_dense(s).inspect(|changed| ctx.out.int(i64::from(*changed))),
        () if is(b"decode") && encoding == Encoding::Sparse => {
            ctx.out.bulk(decoded(s).as_bytes());
            Ok(false)
        }
        () if is(b"decode") => {
            edit.unchanged();
            return Err(NOT_SPARSE);
        }
        () if is(b"encoding") => {
            ctx.out.status(if encoding == Encoding::Dense { "dense" } else { "sparse" });
            Ok(false)
        }
        () => {
            edit.unchanged();
            let text = [b"ERR Unknown PFDEBUG subcommand '", c_text(word), b"'"].concat();
            ctx.out.error_bytes(&text);
            return Err(CmdError::Replied);
        }
    };
    edit.unchanged();
    ks.dirty += u64::from(result.map_err(corrupt)?);
    Ok(Flow::Done)
}

fn decoded(s: &[u8]) -> String {
    let words: Vec<String> = hll::ops(s)
        .map(|(op, long)| match op {
            Op::Zeros { run } => format!("{}:{run}", if long { 'Z' } else { 'z' }),
            Op::Value { value, run } => format!("v:{value},{run}"),
        })
        .collect();
    words.join(" ")
}

// ---- PFSELFTEST ---------------------------------------------------------------------------------

fn pfselftest(ctx: &mut Ctx<'_>) -> Result<Flow, CmdError> {
    let max_bytes = ctx.srv.ks.policy.limits.hll_sparse_max_bytes;
    let mut rng = ctx.srv.ks.rng.clone();
    let verdict = registers_hold(&mut rng).and_then(|()| errors_are_small(&mut rng, max_bytes));
    ctx.srv.ks.rng = rng;
    verdict.map_err(|why| CmdError::text(format!("ERR TESTFAILED {why}")))?;
    ctx.out.ok();
    Ok(Flow::Done)
}

/// Packed registers keep what they are given, and leave their neighbours alone.
fn registers_hold(rng: &mut Rng) -> Result<(), String> {
    const ROUNDS: usize = 1000;
    for _ in 0..ROUNDS {
        let (mut packed, mut loose) = ([0; algo::PACKED_LEN], [0; REGISTERS]);
        for (i, r) in loose.iter_mut().enumerate() {
            *r = rng.below(64) as u8;
            algo::raise(&mut packed, i, *r);
        }
        if let Some(i) = (0..REGISTERS).find(|i| algo::get(&packed, *i) != loose[*i]) {
            let (is, should) = (algo::get(&packed, i), loose[i]);
            return Err(format!("Register {i} should be {should} but is {is}"));
        }
    }
    Ok(())
}

/// Estimates stay within six standard errors, whatever the encoding.
fn errors_are_small(rng: &mut Rng, max_bytes: usize) -> Result<(), String> {
    const ELEMENTS: u64 = 10_000_000;
    let relative = 1.04 / (REGISTERS as f64).sqrt();
    let failed = |_: Corrupt| "dense/sparse disagree".to_string();
    let (mut dense, mut grown) = (hll::empty(), hll::empty());
    hll::to_dense(&mut dense).map_err(failed)?;
    let (salt, mut checkpoint) = (rng.next_u64(), 1);
    for n in 1..=ELEMENTS {
        let element = (n ^ salt).to_le_bytes();
        hll::add(&mut dense, &element, max_bytes).map_err(failed)?;
        hll::add(&mut grown, &element, max_bytes).map_err(failed)?;
        if n != checkpoint {
            continue;
        }
        if n < max_bytes as u64 / 2 && hll::check(&grown) != Some(Encoding::Sparse) {
            return Err("sparse encoding not used".into());
        }
        let counted = hll::count(&dense).map_err(failed)?;
        if hll::count(&grown) != Ok(counted) {
            return Err("dense/sparse disagree".into());
        }
        // Ten elements collide often enough to be told apart from a small error.
        let allowed = if n == 10 { 1 } else { (relative * 6.0 * n as f64).ceil() as u64 };
        let error = counted.abs_diff(n);
        if error > allowed {
            return Err(format!("Too big error. card:{n} abserr:{error}"));
        }
        checkpoint *= 10;
    }
    Ok(())
}
