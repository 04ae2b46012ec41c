//! Taking tail calls out of compiled scripts.
//!
//! In Lua 5.1 `return redis.call(..)` leaves the frame of the script on the stack, since a C function is
//! called in place; so error messages can name the line. LuaJIT drops the frame of every tail call, and
//! with it the line. What follows from that is all over the error texts of scripts, so calls whose
//! callee is not known to be a Lua function are turned into plain calls:
//!
//! ```text
//! CALLT  A D           CALL   A 0 D     all results
//!                 ─►   RETM   A 0       handed on
//! ```
//!
//! Everything behind moves, so jumps, line numbers and the ranges of local variables are moved along.
//! What stays a tail call: a call of an upvalue that holds a local function, or of a field of a local
//! table, for these recurse without growing the stack in Lua 5.1, too.
//!
//! ```text
//! dump:   1b 4c 4a  version  flags  [length name]  prototype*  00
//! proto:  length  flags params frame upvalues  #gc #num #code  [#debug [line lines]]
//!         code  upvalues  gc constants  numbers  [debug: lines, names of upvalues, local variables]
//! ```
//!
//! Children come before their parent, which takes them off in reverse. A dump that does not look like
//! this is left alone (None).

const HEAD: [u8; 4] = [0x1b, b'L', b'J', 2];
const STRIPPED: u32 = 2;

/// Opcodes, in the order of `lj_bc.h`.
mod op {
    pub const UGET: u8 = 45;
    pub const UCLO: u8 = 50;
    pub const FNEW: u8 = 51;
    pub const TNEW: u8 = 52;
    pub const TDUP: u8 = 53;
    pub const TGETV: u8 = 56;
    pub const TGETS: u8 = 57;
    pub const CALLM: u8 = 65;
    pub const CALL: u8 = 66;
    pub const CALLMT: u8 = 67;
    pub const CALLT: u8 = 68;
    pub const ISNEXT: u8 = 72;
    pub const RETM: u8 = 73;
    pub const FORI: u8 = 77;
    pub const JMP: u8 = 88;
}

/// Upvalue is a local variable of the parent; the low byte is its slot.
const LOCAL: u16 = 0x8000;
const BIAS: i64 = 0x8000;

type Ins = [u8; 4];

#[derive(Debug, Default)]
struct Proto<'a> {
    /// Flags, parameters, frame, upvalues.
    head: [u8; 4],
    constants: [u32; 2],
    debug: Option<Debug<'a>>,
    code: Vec<Ins>,
    upvalues: Vec<u16>,
    /// Constants as they stand.
    rest: &'a [u8],
    parent: Option<usize>,
}

#[derive(Debug, Default)]
struct Debug<'a> {
    first: u32,
    lines: u32,
    bytes: &'a [u8],
}

struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, n: usize) -> Option<&'a [u8]> {
        let (a, b) = self.0.split_at_checked(n)?;
        self.0 = b;
        Some(a)
    }

    fn byte(&mut self) -> Option<u8> {
        self.take(1)?.first().copied()
    }

    fn uleb(&mut self) -> Option<u32> {
        let (mut n, mut shift) = (0u32, 0);
        loop {
            let b = self.byte()?;
            n |= u32::from(b & 0x7f).checked_shl(shift)?;
            if b < 0x80 {
                return Some(n);
            }
            shift += 7;
        }
    }

    fn size(&mut self) -> Option<usize> {
        usize::try_from(self.uleb()?).ok()
    }

    fn text(&mut self) -> Option<&'a [u8]> {
        let n = memchr::memchr(0, self.0)?;
        self.take(n + 1)
    }
}

fn push_uleb(out: &mut Vec<u8>, mut n: u32) {
    while n >= 0x80 {
        out.push(n as u8 | 0x80);
        n >>= 7;
    }
    out.push(n as u8);
}

fn d(i: &Ins) -> u16 {
    u16::from_le_bytes([i[2], i[3]])
}

fn jumps(op: u8) -> bool {
    matches!(op, op::UCLO | op::ISNEXT) || (op::FORI..=op::JMP).contains(&op)
}

/// The dump without the tail calls that may hide a frame; None when there are none.
pub fn without_tail_calls(dump: &[u8]) -> Option<Vec<u8>> {
    let mut r = Reader(dump);
    if r.take(4)? != HEAD {
        return None;
    }
    let stripped = r.uleb()? & STRIPPED != 0;
    if !stripped {
        let n = r.size()?;
        r.take(n)?;
    }
    let prefix = dump.len() - r.0.len();
    let mut protos: Vec<Proto> = Vec::new();
    let mut orphans: Vec<usize> = Vec::new();
    loop {
        let n = r.size()?;
        if n == 0 {
            break;
        }
        let (proto, children) = read(r.take(n)?, stripped)?;
        let me = protos.len();
        protos.push(proto);
        for _ in 0..children {
            protos[orphans.pop()?].parent = Some(me);
        }
        orphans.push(me);
    }
    let plain: Vec<Vec<usize>> = (0..protos.len()).map(|i| to_change(&protos, i)).collect();
    if plain.iter().all(|p| p.is_empty()) {
        return None;
    }
    let mut out = dump[..prefix].to_vec();
    for (proto, changes) in protos.iter().zip(&plain) {
        let body = write(proto, changes, stripped)?;
        push_uleb(&mut out, u32::try_from(body.len()).ok()?);
        out.extend_from_slice(&body);
    }
    out.push(0);
    Some(out)
}

/// A prototype, and how many of those before it are its children.
fn read(bytes: &[u8], stripped: bool) -> Option<(Proto<'_>, usize)> {
    let mut r = Reader(bytes);
    let head: [u8; 4] = r.take(4)?.try_into().ok()?;
    let (gc, numbers, code) = (r.uleb()?, r.uleb()?, r.size()?);
    let mut debug = None;
    if !stripped {
        let size = r.size()?;
        if size > 0 {
            let (first, lines) = (r.uleb()?, r.uleb()?);
            let bytes = bytes.get(bytes.len().checked_sub(size)?..)?;
            debug = Some(Debug { first, lines, bytes });
        }
    }
    let code = r.take(code.checked_mul(4)?)?;
    let code = code.chunks_exact(4).map(|c| [c[0], c[1], c[2], c[3]]).collect();
    let upvalues = r.take(usize::from(head[3]) * 2)?;
    let upvalues = upvalues.chunks_exact(2).map(|c| u16::from_le_bytes([c[0], c[1]])).collect();
    let end = r.0.len().checked_sub(debug.as_ref().map_or(0, |d| d.bytes.len()))?;
    let rest = r.0.get(..end)?;
    let children = children(rest, gc)?;
    let constants = [gc, numbers];
    Some((Proto { head, constants, debug, code, upvalues, rest, parent: None }, children))
}

/// How many of the constants are prototypes.
fn children(constants: &[u8], n: u32) -> Option<usize> {
    let mut r = Reader(constants);
    let mut found = 0;
    for _ in 0..n {
        match r.uleb()? {
            0 => found += 1,
            1 => {
                let (array, hash) = (r.size()?, r.size()?);
                (0..array.checked_add(hash.checked_mul(2)?)?).try_for_each(|_| table_item(&mut r))?;
            }
            2 | 3 => (0..2).try_for_each(|_| r.uleb().map(drop))?,
            4 => (0..4).try_for_each(|_| r.uleb().map(drop))?,
            string => drop(r.take(usize::try_from(string - 5).ok()?)?),
        }
    }
    Some(found)
}

fn table_item(r: &mut Reader<'_>) -> Option<()> {
    match r.uleb()? {
        0..=2 => Some(()),
        3 => r.uleb().map(drop),
        4 => (0..2).try_for_each(|_| r.uleb().map(drop)),
        string => r.take(usize::try_from(string - 5).ok()?).map(drop),
    }
}

/// Places of the tail calls to change.
fn to_change(protos: &[Proto], i: usize) -> Vec<usize> {
    let code = &protos[i].code;
    let tail = |pc: &usize| matches!(code[*pc][0], op::CALLT | op::CALLMT);
    (0..code.len()).filter(tail).filter(|pc| !calls_lua(protos, i, *pc)).collect()
}

/// Does the call at `pc` certainly mean a Lua function that may recurse?
fn calls_lua(protos: &[Proto], i: usize, pc: usize) -> bool {
    let code = &protos[i].code;
    let Some(by) = writer(code, pc, code[pc][1]) else { return false };
    match code[by][0] {
        op::UGET => upvalue_from(protos, i, d(&code[by]), &[op::FNEW]),
        op::TGETS | op::TGETV => {
            // `C` is a constant or another slot: the table stands in `B`.
            let table = code[by][3];
            let Some(by) = writer(code, by, table) else { return false };
            code[by][0] == op::UGET && upvalue_from(protos, i, d(&code[by]), &[op::TNEW, op::TDUP])
        }
        _ => false,
    }
}

/// The nearest instruction before `pc` that sets a slot.
fn writer(code: &[Ins], pc: usize, slot: u8) -> Option<usize> {
    // Constants, loads and arithmetic, new things, table reads, calls, bit operations.
    let sets = |op: u8| matches!(op, 12 | 13 | 18..=45 | 51..=54 | 56..=59 | 65 | 66 | 71 | 89..=95);
    (0..pc).rev().find(|at| sets(code[*at][0]) && code[*at][1] == slot)
}

/// Is upvalue `n` of `protos[i]` a local variable that one of `ops` fills?
fn upvalue_from(protos: &[Proto], mut i: usize, mut n: u16, ops: &[u8]) -> bool {
    loop {
        let Some(uv) = protos[i].upvalues.get(usize::from(n)).copied() else { return false };
        let Some(parent) = protos[i].parent else { return false };
        if uv & LOCAL != 0 {
            let slot = uv as u8;
            return protos[parent].code.iter().any(|c| ops.contains(&c[0]) && c[1] == slot);
        }
        (i, n) = (parent, uv);
    }
}

/// The prototype with the calls at `changes` made plain.
fn write(p: &Proto, changes: &[usize], stripped: bool) -> Option<Vec<u8>> {
    // Where the instruction at `pc` stands afterwards.
    let moved = |pc: usize| pc + changes.partition_point(|c| *c < pc);
    let mut code: Vec<u8> = Vec::with_capacity((p.code.len() + changes.len()) * 4);
    for (pc, ins) in p.code.iter().enumerate() {
        let mut ins = *ins;
        if jumps(ins[0]) {
            let target = i64::try_from(pc).ok()? + 1 + i64::from(d(&ins)) - BIAS;
            let target = moved(usize::try_from(target).ok()?);
            let way = i64::try_from(target).ok()? - i64::try_from(moved(pc)).ok()? - 1 + BIAS;
            let way = u16::try_from(way).ok()?.to_le_bytes();
            (ins[2], ins[3]) = (way[0], way[1]);
        }
        if changes.binary_search(&pc).is_err() {
            code.extend_from_slice(&ins);
            continue;
        }
        let arguments = u8::try_from(d(&ins)).ok()?;
        let plain = if ins[0] == op::CALLT { op::CALL } else { op::CALLM };
        code.extend_from_slice(&[plain, ins[1], arguments, 0]);
        code.extend_from_slice(&[op::RETM, ins[1], 0, 0]);
    }
    let mut out = p.head.to_vec();
    p.constants.iter().for_each(|n| push_uleb(&mut out, *n));
    push_uleb(&mut out, u32::try_from(code.len() / 4).ok()?);
    let mut debug = Vec::new();
    if !stripped {
        match &p.debug {
            None => out.push(0),
            Some(d) => {
                debug = write_debug(p, d, changes, moved)?;
                push_uleb(&mut out, u32::try_from(debug.len()).ok()?);
                push_uleb(&mut out, d.first);
                push_uleb(&mut out, d.lines);
            }
        }
    }
    out.extend_from_slice(&code);
    p.upvalues.iter().for_each(|u| out.extend_from_slice(&u.to_le_bytes()));
    out.extend_from_slice(p.rest);
    out.extend_from_slice(&debug);
    Some(out)
}

fn write_debug(
    p: &Proto,
    debug: &Debug,
    changes: &[usize],
    moved: impl Fn(usize) -> usize,
) -> Option<Vec<u8>> {
    let width = match debug.lines {
        0..=0xff => 1,
        0x100..=0xffff => 2,
        _ => 4,
    };
    let mut r = Reader(debug.bytes);
    let lines = r.take(p.code.len() * width)?;
    let mut out = Vec::with_capacity(debug.bytes.len() + changes.len() * width);
    for (pc, line) in lines.chunks_exact(width).enumerate() {
        if changes.binary_search(&pc).is_ok() {
            // A tail call has the line of its end; a plain one that of its callee.
            let callee = writer(&p.code, pc, p.code[pc][1]).unwrap_or(pc);
            out.extend_from_slice(lines.chunks_exact(width).nth(callee)?);
        }
        out.extend_from_slice(line);
    }
    for _ in &p.upvalues {
        out.extend_from_slice(r.text()?);
    }
    // Names (or one byte for a hidden variable), then begin and length of their ranges, where the
    // function's header is instruction 0.
    const NAMES: u8 = 7;
    let at = |pc: u32| -> Option<u32> {
        let pc = usize::try_from(pc).ok()?;
        u32::try_from(if pc == 0 { 0 } else { moved(pc - 1) + 1 }).ok()
    };
    let (mut before, mut before_moved) = (0u32, 0u32);
    loop {
        match *r.0.first()? {
            0 => break,
            kind if kind < NAMES => out.extend_from_slice(r.take(1)?),
            _ => out.extend_from_slice(r.text()?),
        }
        let begin = before.checked_add(r.uleb()?)?;
        let end = begin.checked_add(r.uleb()?)?;
        push_uleb(&mut out, at(begin)?.checked_sub(before_moved)?);
        push_uleb(&mut out, at(end)? - at(begin)?);
        (before, before_moved) = (begin, at(begin)?);
    }
    out.extend_from_slice(r.0);
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::algo::rng::Rng;

    /// `return f()` with a line and a name: GGET, CALLT.
    const RETURN_F: &[u8] = &[
        0x1b, b'L', b'J', 2, 8, 1, b'@', // header
        23, 2, 0, 3, 0, 1, 0, 2, 3, 0, 1, // vararg, frame of 3, one constant, two instructions
        54, 0, 0, 0, 68, 0, 1, 0, // GGET 0 "f"; CALLT 0 1
        6, b'f', // the constant
        1, 1, 0, // both on line 1, no variables
        0,
    ];

    #[test]
    fn a_tail_call_becomes_a_call_and_a_return() {
        let plain = without_tail_calls(RETURN_F).expect("one to change");
        let code = &[54, 0, 0, 0, 66, 0, 1, 0, 73, 0, 0, 0];
        assert!(memchr::memmem::find(&plain, code).is_some(), "{plain:?}");
        assert_eq!(plain.len(), RETURN_F.len() + 5, "an instruction and its line");
        assert!(without_tail_calls(&plain).is_none(), "nothing left to change");
    }

    #[test]
    fn what_is_no_dump_is_left_alone() {
        let mut r = Rng::seeded(7);
        for _ in 0..20_000 {
            let mut bytes = RETURN_F.to_vec();
            for _ in 0..1 + r.index(4) {
                let at = 4 + r.index(bytes.len() - 4);
                bytes[at] = r.next_u32() as u8;
            }
            bytes.truncate(4 + r.index(bytes.len() - 3));
            // Whatever comes of it, it comes without a panic.
            let _ = without_tail_calls(&bytes);
        }
    }
}
