//! BITFIELD: a string as an array of integers of any width, at any bit.
//!
//! ```text
//!   type   i1..i64, u1..u63       offset   bits, or #n: the nth of a row of that width
//!   a field of up to 64 bits lies in at most 9 bytes, read and written as one big-endian number:
//!
//!   byte 0      byte 1            byte 8
//!   ........ ...FFFFF FF...... .. ........        shift = 72 - (offset % 8) - width
//! ```
//!
//! All operations are parsed before the first one runs. A call that only reads leaves the key alone;
//! one that writes first makes room up to its last bit, which stays even where OVERFLOW FAIL lets
//! nothing be written.

use super::bitmap::bit_offset;
use super::numbers::integer;
use crate::algo::num::parse_i64;
use crate::cmd::docs;
use crate::cmd::keys;
use crate::cmd::row::flag::*;
use crate::cmd::row::{Flow, KeySpec, cat, key};
use crate::ds::entry::enc;
use crate::ds::sds::Sds;
use crate::keyspace::store::{New, Ttl};
use crate::keyspace::{Touched, class};
use crate::object::value::Value;
use crate::proto::error::CmdError;
use crate::proto::reply::Reply;
use crate::server::ctx::{Command, Ctx, ROW};

pub static ROWS: &[Command] = &[
    Command {
        name: "bitfield",
        arity: -2,
        flags: WRITE | DENYOOM,
        acl: cat::BITMAP,
        keys: &[KeySpec::one(key::RW | key::UPDATE | key::ACCESS | key::VARIABLE_FLAGS, 1)
            .note("Whether the key is read or written depends on the operations given")],
        run: bitfield,
        getkeys: Some(keys::bitfield),
        docs: &docs::BITFIELD,
        ..ROW
    },
    Command {
        name: "bitfield_ro",
        arity: -2,
        flags: READONLY | FAST,
        acl: cat::BITMAP,
        keys: &[KeySpec::one(key::RO | key::ACCESS, 1)],
        run: bitfield_ro,
        docs: &docs::BITFIELD_RO,
        ..ROW
    },
];

/// Sign and width of a field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct FieldType {
    signed: bool,
    bits: u32,
}

impl FieldType {
    fn parse(word: &[u8]) -> Result<FieldType, CmdError> {
        let (signed, width) = match word {
            [b'i', n @ ..] => (true, parse_i64(n)),
            [b'u', n @ ..] => (false, parse_i64(n)),
            _ => (false, None),
        };
        let max = if signed { 64 } else { 63 };
        match width {
            Some(n) if (1..=max).contains(&n) => Ok(FieldType { signed, bits: n as u32 }),
            _ => Err(CmdError::Msg(
                &"ERR Invalid bitfield type. Use something like i16 u8. \
                  Note that u64 is not supported but i64 is.",
            )),
        }
    }

    fn min(self) -> i128 {
        if self.signed { -(1 << (self.bits - 1)) } else { 0 }
    }

    fn max(self) -> i128 {
        (1 << (self.bits - u32::from(self.signed))) - 1
    }

    /// The lowest bits of `n`, read as such a field.
    fn wrap(self, n: i128) -> i64 {
        let unused = 128 - self.bits;
        let high = (n as u128) << unused;
        if self.signed { ((high as i128) >> unused) as i64 } else { (high >> unused) as i64 }
    }
}

/// What becomes of a number that does not fit its field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Overflow {
    Wrap,
    Saturate,
    Fail,
}

impl Overflow {
    fn parse(word: &[u8]) -> Result<Overflow, CmdError> {
        match word {
            w if w.eq_ignore_ascii_case(b"wrap") => Ok(Overflow::Wrap),
            w if w.eq_ignore_ascii_case(b"sat") => Ok(Overflow::Saturate),
            w if w.eq_ignore_ascii_case(b"fail") => Ok(Overflow::Fail),
            _ => Err(CmdError::Msg(&"ERR Invalid OVERFLOW type specified")),
        }
    }

    /// `n` as it is written to a field of this kind; None for not at all. `high` tells on which side of
    /// the range a number lies that is outside of it.
    fn fit(self, kind: FieldType, n: i128, high: bool) -> Option<i64> {
        if (kind.min()..=kind.max()).contains(&n) {
            return Some(n as i64);
        }
        match self {
            Overflow::Wrap => Some(kind.wrap(n)),
            Overflow::Saturate => Some(if high { kind.max() } else { kind.min() } as i64),
            Overflow::Fail => None,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Action {
    Get,
    Set(i64, Overflow),
    Add(i64, Overflow),
}

#[derive(Clone, Copy, Debug)]
struct Op {
    kind: FieldType,
    offset: u64,
    action: Action,
}

impl Op {
    /// What the field becomes, given what it is; None for neither written nor answered.
    fn result(&self, old: i64) -> Option<i64> {
        match self.action {
            Action::Get => Some(old),
            Action::Add(by, overflow) => {
                let sum = i128::from(old) + i128::from(by);
                overflow.fit(self.kind, sum, sum > 0)
            }
            Action::Set(n, overflow) if self.kind.signed => {
                // The lowest numbers count as too high: upstream measures from the top in 64 bits.
                let far = self.kind.max() - i128::from(n) > i128::from(i64::MAX);
                overflow.fit(self.kind, n.into(), n > 0 || far)
            }
            // A negative number is a huge one when the field has no sign.
            Action::Set(n, overflow) => overflow.fit(self.kind, (n as u64).into(), true),
        }
    }
}

/// The operations of a call, and how many bytes the string needs for those that write; 0 when none does.
fn parse(ctx: &Ctx<'_>) -> Result<(Vec<Op>, usize), CmdError> {
    let (mut ops, mut bytes) = (Vec::new(), 0);
    let mut overflow = Overflow::Wrap;
    let mut rest = ctx.args.from(2);
    while let [word, args @ ..] = rest {
        let is = |w: &[u8]| word.eq_ignore_ascii_case(w);
        let (kind, offset, value) = match args {
            [how, after @ ..] if is(b"overflow") => {
                overflow = Overflow::parse(how)?;
                rest = after;
                continue;
            }
            [kind, offset, after @ ..] if is(b"get") => {
                rest = after;
                (kind, offset, None)
            }
            [kind, offset, value, after @ ..] if is(b"set") || is(b"incrby") => {
                rest = after;
                (kind, offset, Some(value))
            }
            _ => return Err(CmdError::Syntax),
        };
        let kind = FieldType::parse(kind)?;
        let offset = bit_offset(ctx, offset, Some(kind.bits.into()))?;
        let action = match value {
            None => Action::Get,
            Some(v) => {
                bytes = bytes.max(((offset + u64::from(kind.bits) - 1) >> 3) as usize + 1);
                let n = integer(v)?;
                if is(b"set") { Action::Set(n, overflow) } else { Action::Add(n, overflow) }
            }
        };
        ops.push(Op { kind, offset, action });
    }
    Ok((ops, bytes))
}

/// The bytes of a field as one number, zeros where the string has ended, and how far from its lower end
/// the field lies.
fn window(all: &[u8], op: &Op) -> (u128, u32) {
    let mut bytes = [0; 16];
    let from = usize::try_from(op.offset >> 3).unwrap_or(usize::MAX);
    let there = all.get(from..).unwrap_or(&[]);
    let there = &there[..there.len().min(9)];
    bytes[7..7 + there.len()].copy_from_slice(there);
    (u128::from_be_bytes(bytes), 72 - (op.offset & 7) as u32 - op.kind.bits)
}

fn read(all: &[u8], op: &Op) -> i64 {
    let (number, shift) = window(all, op);
    op.kind.wrap((number >> shift) as i128)
}

/// The string has room for the field.
fn write(all: &mut [u8], op: &Op, n: i64) {
    let (number, shift) = window(all, op);
    let mask = (1u128 << op.kind.bits) - 1;
    let number = number & !(mask << shift) | (n as u128 & mask) << shift;
    let from = (op.offset >> 3) as usize;
    let len = ((op.offset & 7) as u32 + op.kind.bits).div_ceil(8) as usize;
    all[from..from + len].copy_from_slice(&number.to_be_bytes()[7..7 + len]);
}

/// Runs the operations and replies; returns the number of changes, as which every write counts when the
/// string has `grown`.
fn run(ops: &[Op], all: &mut [u8], grown: bool, out: &mut Reply) -> u64 {
    let mut changes = 0;
    out.array(ops.len());
    for op in ops {
        let old = read(all, op);
        let Some(new) = op.result(old) else {
            out.null();
            continue;
        };
        out.int(if matches!(op.action, Action::Set(..)) { old } else { new });
        if op.action != Action::Get {
            write(all, op, new);
            changes += u64::from(grown || old != new);
        }
    }
    changes
}

fn bitfield(ctx: &mut Ctx<'_>) -> Result<Flow, CmdError> {
    let (ops, bytes) = parse(ctx)?;
    if bytes == 0 { only_read(ctx, &ops) } else { read_and_write(ctx, &ops, bytes) }
}

fn bitfield_ro(ctx: &mut Ctx<'_>) -> Result<Flow, CmdError> {
    let (ops, bytes) = parse(ctx)?;
    if bytes > 0 {
        return Err(CmdError::Msg(&"ERR BITFIELD_RO only supports the GET subcommand"));
    }
    only_read(ctx, &ops)
}

fn only_read(ctx: &mut Ctx<'_>, ops: &[Op]) -> Result<Flow, CmdError> {
    let found = ctx.read(1);
    let mut room = itoa::Buffer::new();
    let all: &[u8] = match &found {
        None => b"",
        Some(f) => ctx.srv.ks.string(f)?.bytes(&mut room),
    };
    ctx.out.array(ops.len());
    for op in ops {
        ctx.out.int(read(all, op));
    }
    Ok(Flow::Done)
}

fn read_and_write(ctx: &mut Ctx<'_>, ops: &[Op], bytes: usize) -> Result<Flow, CmdError> {
    let key = ctx.key(1);
    let changes = match ctx.srv.ks.write(ctx.db, key) {
        None => {
            let mut s = Sds::with_capacity(bytes);
            s.resize(bytes);
            let changes = run(ops, &mut s, true, ctx.out);
            // Without a change the new key is created all the same, but no event announces it.
            let new = New::Value(Value::Str(enc::RAW, s));
            let _ = ctx.srv.ks.put(ctx.db, key, new, Ttl::Clear, None);
            if changes > 0 {
                ctx.srv.ks.dirty += changes;
                ctx.srv.ks.signal_modified(ctx.db, key.bytes);
            }
            changes
        }
        Some(f) => {
            let mut edit = ctx.srv.ks.edit(f);
            let s = edit.raw()?;
            let grown = s.len() < bytes;
            if grown {
                s.resize(bytes);
            }
            let changes = run(ops, s, grown, ctx.out);
            if changes == 0 {
                edit.unchanged();
            } else {
                let _ = edit.done(changes);
            }
            changes
        }
    };
    if changes > 0 {
        ctx.announce(&Touched { db: ctx.db, key, gone: false }, class::STRING, "setbit");
    }
    Ok(Flow::Done)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::algo::rng::Rng;

    fn kind(signed: bool, bits: u32) -> FieldType {
        FieldType { signed, bits }
    }

    /// Bit by bit, from the highest.
    fn naive_read(all: &[u8], op: &Op) -> i64 {
        let bit = |at: u64| all.get((at / 8) as usize).is_some_and(|b| b >> (7 - at % 8) & 1 == 1);
        let bits = (0..u64::from(op.kind.bits)).map(|i| bit(op.offset + i));
        let n = bits.fold(0i128, |n, b| n * 2 + i128::from(b));
        let sign = op.kind.signed && n > op.kind.max();
        (if sign { n - (1 << op.kind.bits) } else { n }) as i64
    }

    #[test]
    fn fields_are_read_and_written_where_they_lie() {
        let mut rng = Rng::seeded(3);
        for _ in 0..20_000 {
            let mut all = vec![0; 24];
            rng.fill(&mut all);
            let signed = rng.below(2) == 0;
            let bits = 1 + rng.below(if signed { 64 } else { 63 }) as u32;
            let op = Op { kind: kind(signed, bits), offset: rng.below(200), action: Action::Get };
            let old = read(&all, &op);
            assert_eq!(old, naive_read(&all, &op), "{op:?}");
            if op.offset + u64::from(bits) > 24 * 8 {
                continue;
            }
            let before = all.clone();
            let n = op.kind.wrap(i128::from(rng.next_u64() as i64));
            write(&mut all, &op, n);
            assert_eq!(read(&all, &op), n, "{op:?}");
            write(&mut all, &op, old);
            assert_eq!(all, before, "nothing beside the field was touched");
        }
    }

    #[test]
    fn what_does_not_fit_wraps_saturates_or_fails() {
        use Overflow::*;
        let (i8_, u8_, i64_) = (kind(true, 8), kind(false, 8), kind(true, 64));
        let set = |kind, n, how| Op { kind, offset: 0, action: Action::Set(n, how) }.result(0);
        let add = |kind, old, n, how| Op { kind, offset: 0, action: Action::Add(n, how) }.result(old);
        assert_eq!(set(i8_, 128, Wrap), Some(-128));
        assert_eq!(set(i8_, 128, Saturate), Some(127));
        assert_eq!(set(i8_, -129, Saturate), Some(-128));
        assert_eq!(set(i8_, i64::MIN, Saturate), Some(127), "as upstream has it");
        assert_eq!(set(i8_, i64::MIN + 128, Saturate), Some(-128));
        assert_eq!(set(u8_, -1, Saturate), Some(255));
        assert_eq!((set(u8_, 256, Fail), set(u8_, 255, Fail)), (None, Some(255)));
        assert_eq!(add(i64_, i64::MAX, 1, Wrap), Some(i64::MIN));
        assert_eq!(add(i64_, i64::MIN, -1, Saturate), Some(i64::MIN));
        assert_eq!(add(u8_, 200, 100, Wrap), Some(44));
        assert_eq!((add(u8_, 200, -201, Saturate), add(u8_, 200, 100, Fail)), (Some(0), None));
    }

    #[test]
    fn types_have_a_width() {
        for (word, want) in [
            ("i64", Some(kind(true, 64))),
            ("u63", Some(kind(false, 63))),
            ("u1", Some(kind(false, 1))),
            ("u64", None),
            ("i65", None),
            ("i0", None),
            ("I8", None),
            ("i08", None),
            ("", None),
        ] {
            assert_eq!(FieldType::parse(word.as_bytes()).ok(), want, "{word}");
        }
    }

    #[test]
    fn only_reading_is_known_before_the_call() {
        let flags = |line: &str| {
            let words: Vec<&[u8]> = line.split(' ').map(str::as_bytes).collect();
            let mut found = Vec::new();
            crate::cmd::keys::bitfield(&words, &mut found).expect("always one key");
            found[0].1
        };
        assert_eq!(flags("bitfield k get u8 0 overflow sat get u8 1"), key::RO | key::ACCESS);
        assert_eq!(flags("bitfield k get u8 0 set u8 1 1"), key::RW | key::UPDATE | key::ACCESS);
        assert_eq!(flags("bitfield k get u8"), key::RW | key::UPDATE | key::ACCESS);
    }
}
