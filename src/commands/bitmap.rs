//! Bitmaps: strings seen as bits, bit 0 the highest of the first byte. BITFIELD has a file of its own.
//!
//! SETBIT changes the byte where it lies (`Edit::raw`); the other commands work on whole words
//! (`algo::bits`). Ranges come in bytes or in bits; both are turned into the first and the last bit
//! before anything is counted.

use super::numbers::integer;
use crate::algo::bits::{self, BitOp};
use crate::algo::num::parse_i64;
use crate::cmd::docs;
use crate::cmd::row::flag::*;
use crate::cmd::row::{Flow, KeySpec, cat, key};
use crate::ds::entry::enc;
use crate::ds::sds::Sds;
use crate::keyspace::store::{New, Ttl};
use crate::keyspace::{Found, class};
use crate::object::value::Value;
use crate::proto::error::CmdError;
use crate::server::ctx::{Command, Ctx, ROW};

pub static ROWS: &[Command] = &[
    Command {
        name: "bitcount",
        arity: -2,
        flags: READONLY,
        acl: cat::BITMAP,
        keys: &[KeySpec::one(key::RO | key::ACCESS, 1)],
        run: bitcount,
        docs: &docs::BITCOUNT,
        ..ROW
    },
    Command {
        name: "bitop",
        arity: -4,
        flags: WRITE | DENYOOM,
        acl: cat::BITMAP,
        keys: &[KeySpec::one(key::OW | key::UPDATE, 2), KeySpec::range(key::RO | key::ACCESS, 3, -1, 1)],
        run: bitop,
        docs: &docs::BITOP,
        ..ROW
    },
    Command {
        name: "bitpos",
        arity: -3,
        flags: READONLY,
        acl: cat::BITMAP,
        keys: &[KeySpec::one(key::RO | key::ACCESS, 1)],
        run: bitpos,
        docs: &docs::BITPOS,
        ..ROW
    },
    Command {
        name: "getbit",
        arity: 3,
        flags: READONLY | FAST,
        acl: cat::BITMAP,
        keys: &[KeySpec::one(key::RO | key::ACCESS, 1)],
        run: getbit,
        docs: &docs::GETBIT,
        ..ROW
    },
    Command {
        name: "setbit",
        arity: 4,
        flags: WRITE | DENYOOM,
        acl: cat::BITMAP,
        keys: &[KeySpec::one(key::RW | key::ACCESS | key::UPDATE, 1)],
        run: setbit,
        docs: &docs::SETBIT,
        ..ROW
    },
];

/// The offset of a bit, which must lie in a string that a client could send. `#n` counts in units of
/// `width` bits, where that is given.
pub(super) fn bit_offset(ctx: &Ctx<'_>, arg: &[u8], width: Option<i64>) -> Result<u64, CmdError> {
    let offset = match (arg, width) {
        ([b'#', n @ ..], Some(width)) => parse_i64(n).map(|n| n.wrapping_mul(width)),
        _ => parse_i64(arg),
    };
    let limit = ctx.srv.config.proto_max_bulk_len;
    let offset = offset.and_then(|n| u64::try_from(n).ok());
    offset
        .filter(|n| n >> 3 < limit || ctx.obeys())
        .ok_or(CmdError::Msg(&"ERR bit offset is not an integer or out of range"))
}

/// Byte and mask of a bit.
fn place(bit: u64) -> (usize, u8) {
    ((bit >> 3) as usize, 0x80 >> (bit & 7))
}

fn setbit(ctx: &mut Ctx<'_>) -> Result<Flow, CmdError> {
    let (byte, mask) = place(bit_offset(ctx, ctx.args[2], None)?);
    let on = match parse_i64(ctx.args[3]) {
        Some(0) => false,
        Some(1) => true,
        _ => return Err(CmdError::Msg(&"ERR bit is not an integer or out of range")),
    };
    let key = ctx.key(1);
    let (t, old) = match ctx.srv.ks.write(ctx.db, key) {
        None => {
            let mut s = Sds::with_capacity(byte + 1);
            s.resize(byte + 1);
            s[byte] = if on { mask } else { 0 };
            let new = New::Value(Value::Str(enc::RAW, s));
            (ctx.srv.ks.set(ctx.db, key, new, Ttl::Clear, None), false)
        }
        Some(f) => {
            let mut edit = ctx.srv.ks.edit(f);
            let s = edit.raw()?;
            let grows = s.len() <= byte;
            if grows {
                s.resize(byte + 1);
            }
            let old = s[byte] & mask != 0;
            if old == on && !grows {
                edit.unchanged();
                ctx.out.int(old.into());
                return Ok(Flow::Done);
            }
            s[byte] = if on { s[byte] | mask } else { s[byte] & !mask };
            (edit.done(1), old)
        }
    };
    ctx.announce(&t, class::STRING, "setbit");
    ctx.out.int(old.into());
    Ok(Flow::Done)
}

fn getbit(ctx: &mut Ctx<'_>) -> Result<Flow, CmdError> {
    let (byte, mask) = place(bit_offset(ctx, ctx.args[2], None)?);
    let on = match ctx.read(1) {
        None => false,
        Some(f) => {
            let mut room = itoa::Buffer::new();
            let all = ctx.srv.ks.string(&f)?.bytes(&mut room);
            all.get(byte).is_some_and(|b| b & mask != 0)
        }
    };
    ctx.out.int(on.into());
    Ok(Flow::Done)
}

// ---- ranges ----------------------------------------------------------------------------------------

/// The word that says what a range counts in: true for bits.
fn counts_bits(word: &[u8]) -> Result<bool, CmdError> {
    match word {
        w if w.eq_ignore_ascii_case(b"bit") => Ok(true),
        w if w.eq_ignore_ascii_case(b"byte") => Ok(false),
        _ => Err(CmdError::Syntax),
    }
}

/// The first and the last bit of a range in a string of `len` bytes; None when it is empty.
fn range(start: i64, end: i64, len: usize, in_bits: bool) -> Option<(u64, u64)> {
    let unit = if in_bits { 1 } else { 8 };
    let total = len as i64 * 8 / unit;
    let from_end = |i: i64| if i < 0 { i + total } else { i }.max(0);
    let (start, end) = (from_end(start), from_end(end).min(total - 1));
    (start <= end).then(|| ((start * unit) as u64, (end * unit + unit - 1) as u64))
}

fn bitcount(ctx: &mut Ctx<'_>) -> Result<Flow, CmdError> {
    let Some(f) = ctx.read(1) else {
        ctx.out.int(0);
        return Ok(Flow::Done);
    };
    let mut room = itoa::Buffer::new();
    let all = ctx.srv.ks.string(&f)?.bytes(&mut room);
    let count = match ctx.args.from(2) {
        [] => bits::count_ones(all),
        [start, end, unit @ ..] if unit.len() <= 1 => {
            let (start, end) = (integer(start)?, integer(end)?);
            // Such a range is empty whatever it counts in.
            if start < 0 && end < 0 && start > end {
                0
            } else {
                let in_bits = unit.first().map_or(Ok(false), |w| counts_bits(w))?;
                let bits = range(start, end, all.len(), in_bits);
                bits.map_or(0, |(first, last)| bits::count_ones_in(all, first, last))
            }
        }
        _ => return Err(CmdError::Syntax),
    };
    ctx.out.int(count as i64);
    Ok(Flow::Done)
}

fn bitpos(ctx: &mut Ctx<'_>) -> Result<Flow, CmdError> {
    let bit = match integer(ctx.args[2])? {
        0 => false,
        1 => true,
        _ => return Err(CmdError::Msg(&"ERR The bit argument must be 1 or 0.")),
    };
    let Some(f) = ctx.read(1) else {
        // A string that is not there is zeros without end.
        ctx.out.int(if bit { -1 } else { 0 });
        return Ok(Flow::Done);
    };
    let mut room = itoa::Buffer::new();
    let all = ctx.srv.ks.string(&f)?.bytes(&mut room);
    let (start, end, in_bits) = match ctx.args.from(3) {
        [] => (0, None, false),
        [start] => (integer(start)?, None, false),
        [start, end] => (integer(start)?, Some(integer(end)?), false),
        [start, end, unit] => {
            let (start, in_bits) = (integer(start)?, counts_bits(unit)?);
            (start, Some(integer(end)?), in_bits)
        }
        _ => return Err(CmdError::Syntax),
    };
    let at = match range(start, end.unwrap_or(-1), all.len(), in_bits) {
        None => -1,
        Some((first, last)) => match bits::find_bit_in(all, bit, first, last) {
            Some(at) => at as i64,
            // Without an end the string goes on in zeros.
            None if !bit && end.is_none() => last as i64 + 1,
            None => -1,
        },
    };
    ctx.out.int(at);
    Ok(Flow::Done)
}

// ---- BITOP -----------------------------------------------------------------------------------------

fn bitop(ctx: &mut Ctx<'_>) -> Result<Flow, CmdError> {
    let is = |w: &[u8]| ctx.args[1].eq_ignore_ascii_case(w);
    let op = match () {
        () if is(b"and") => Some(BitOp::And),
        () if is(b"or") => Some(BitOp::Or),
        () if is(b"xor") => Some(BitOp::Xor),
        () if is(b"not") => None,
        () => return Err(CmdError::Syntax),
    };
    if op.is_none() && ctx.args.len() != 4 {
        return Err(CmdError::Msg(&"ERR BITOP NOT must be called with a single source key."));
    }
    let mut found: Vec<Option<Found<'_>>> = Vec::with_capacity(ctx.args.len() - 3);
    for i in 3..ctx.args.len() {
        let f = ctx.read(i);
        if let Some(f) = &f {
            ctx.srv.ks.string(f)?;
        }
        found.push(f);
    }
    let result = combine(ctx, op, &found)?;
    store_result(ctx, &result);
    ctx.out.int(result.len() as i64);
    Ok(Flow::Done)
}

/// `None` for NOT, which has one source. A key that is not there is an empty string.
fn combine(ctx: &Ctx<'_>, op: Option<BitOp>, found: &[Option<Found<'_>>]) -> Result<Vec<u8>, CmdError> {
    let ks = &ctx.srv.ks;
    let mut rooms: Vec<itoa::Buffer> = found.iter().map(|_| itoa::Buffer::new()).collect();
    let mut sources: Vec<&[u8]> = Vec::with_capacity(found.len());
    for (f, room) in found.iter().zip(&mut rooms) {
        sources.push(match f {
            Some(f) => ks.string(f)?.bytes(room),
            None => b"",
        });
    }
    Ok(match op {
        Some(op) => bits::combine(op, &sources),
        None => bits::invert(sources[0]),
    })
}

/// Puts the result of BITOP in its place; an empty one removes the key.
fn store_result(ctx: &mut Ctx<'_>, result: &[u8]) {
    let result = (!result.is_empty()).then_some((New::Named(enc::RAW, result), 1));
    let key = ctx.key(2);
    ctx.srv.ks.replace(ctx.db, key, result, class::STRING, "set");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_clipped_to_the_string() {
        for (start, end, in_bits, want) in [
            (0, -1, false, Some((0, 23))),
            (1, 1, false, Some((8, 15))),
            (-2, -2, false, Some((8, 15))),
            (-99, 99, false, Some((0, 23))),
            (3, 5, false, None),
            (2, 1, false, None),
            (5, -2, true, Some((5, 22))),
            (-1, -1, true, Some((23, 23))),
            (24, 30, true, None),
            (i64::MIN, i64::MAX, true, Some((0, 23))),
            (i64::MAX, i64::MIN, false, None),
        ] {
            assert_eq!(range(start, end, 3, in_bits), want, "{start} {end} {in_bits}");
            assert_eq!(range(start, end, 0, in_bits), None);
        }
    }

    #[test]
    fn the_first_bit_is_the_highest() {
        assert_eq!((place(0), place(7), place(8)), ((0, 0x80), (0, 1), (1, 0x80)));
    }
}
