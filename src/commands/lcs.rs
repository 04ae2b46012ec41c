//! LCS: the longest common subsequence of two strings, its length, or where its pieces lie.
//!
//! The work is `algo::lcs`'s, which needs a thirtieth of the memory of a table of lengths. The limit
//! that clients see is still that of the table: (len1 + 1) * (len2 + 1) * 4 bytes may not exceed
//! proto-max-bulk-len.

use super::numbers::integer;
use crate::algo::lcs::{self, Run};
use crate::cmd::docs;
use crate::cmd::row::flag::*;
use crate::cmd::row::{Flow, KeySpec, cat, key};
use crate::object::value::StrRef;
use crate::proto::error::CmdError;
use crate::proto::reply::Reply;
use crate::server::ctx::{Command, Ctx, ROW};

pub static ROWS: &[Command] = &[Command {
    name: "lcs",
    arity: -3,
    flags: READONLY,
    acl: cat::STRING,
    keys: &[KeySpec::range(key::RO | key::ACCESS, 1, 1, 1)],
    run: lcs,
    docs: &docs::LCS,
    ..ROW
}];

#[derive(Default)]
struct Options {
    len: bool,
    idx: bool,
    with_match_len: bool,
    min_match_len: usize,
}

impl Options {
    fn parse(words: &[&[u8]]) -> Result<Options, CmdError> {
        let mut o = Options::default();
        let mut rest = words.iter();
        while let Some(word) = rest.next() {
            let is = |w: &[u8]| word.eq_ignore_ascii_case(w);
            if is(b"idx") {
                o.idx = true;
            } else if is(b"len") {
                o.len = true;
            } else if is(b"withmatchlen") {
                o.with_match_len = true;
            } else if is(b"minmatchlen") {
                let n = integer(rest.next().ok_or(CmdError::Syntax)?)?;
                o.min_match_len = n.max(0) as usize;
            } else {
                return Err(CmdError::Syntax);
            }
        }
        if o.len && o.idx {
            let why = &"ERR If you want both the length and indexes, please just use IDX.";
            return Err(CmdError::Msg(why));
        }
        Ok(o)
    }
}

fn lcs(ctx: &mut Ctx<'_>) -> Result<Flow, CmdError> {
    let found = [ctx.read(1), ctx.read(2)];
    let mut rooms = [itoa::Buffer::new(), itoa::Buffer::new()];
    let mut strings: [&[u8]; 2] = [b"", b""];
    for ((string, f), room) in strings.iter_mut().zip(&found).zip(&mut rooms) {
        let Some(f) = f else { continue };
        let s = StrRef::of(ctx.srv.ks.at(f));
        let why = CmdError::Msg(&"ERR The specified keys must contain string values");
        *string = s.ok_or(why)?.bytes(room);
    }
    let [a, b] = strings;
    let o = Options::parse(ctx.args.from(3))?;
    check_size(a.len() as u64, b.len() as u64, ctx.srv.config.proto_max_bulk_len)?;
    if o.len {
        ctx.out.int(lcs::length(a, b) as i64);
        return Ok(Flow::Done);
    }
    let no_memory = &"ERR Insufficient memory, failed allocating transient memory for LCS";
    let runs = lcs::runs(a, b).ok_or(CmdError::Msg(no_memory))?;
    if o.idx {
        reply_runs(ctx.out, &runs, &o);
    } else {
        let pieces: Vec<&[u8]> = runs.iter().rev().map(|r| &a[r.a..r.a + r.len]).collect();
        ctx.out.bulk(&pieces.concat());
    }
    Ok(Flow::Done)
}

fn check_size(a: u64, b: u64, limit: u64) -> Result<(), CmdError> {
    const TOO_LONG: u64 = u32::MAX as u64 - 1;
    if a >= TOO_LONG || b >= TOO_LONG {
        return Err(CmdError::Msg(&"ERR String too long for LCS"));
    }
    // Both factors fit 32 bits; the four bytes of a cell are taken off the limit instead.
    if (a + 1) * (b + 1) > limit / 4 {
        let why = &"ERR Insufficient memory, transient memory for LCS exceeds proto-max-bulk-len";
        return Err(CmdError::Msg(why));
    }
    Ok(())
}

fn reply_runs(out: &mut Reply, runs: &[Run], o: &Options) {
    let wanted = || runs.iter().filter(|r| r.len >= o.min_match_len);
    out.map(2);
    out.bulk(b"matches");
    out.array(wanted().count());
    for run in wanted() {
        out.array(2 + usize::from(o.with_match_len));
        for first in [run.a, run.b] {
            out.array(2);
            out.int(first as i64);
            out.int((first + run.len - 1) as i64);
        }
        if o.with_match_len {
            out.int(run.len as i64);
        }
    }
    out.bulk(b"len");
    out.int(runs.iter().map(|r| r.len).sum::<usize>() as i64);
}
