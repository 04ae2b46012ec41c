//! LOLWUT: computer art, and the version.
//!
//! The drawing is a Truchet tiling: every cell holds one of the two diagonals, drawn at random, and the
//! eye finds paths and islands. `LOLWUT VERSION 5` and `6` take a number of columns and rows; any other
//! version is told only.

use crate::algo::num::parse_i64;
use crate::algo::rng::Rng;
use crate::cmd::docs;
use crate::cmd::row::Flow;
use crate::cmd::row::flag::*;
use crate::config::REDIS_VERSION;
use crate::proto::error::CmdError;
use crate::server::ctx::{Command, Ctx, ROW};

pub static ROWS: &[Command] = &[Command {
    name: "lolwut",
    arity: -1,
    flags: READONLY | FAST,
    run: lolwut,
    docs: &docs::LOLWUT,
    ..ROW
}];

/// The first version that had the drawing, and the last.
const DRAWN: std::ops::RangeInclusive<i64> = 5..=6;

fn lolwut(ctx: &mut Ctx<'_>) -> Result<Flow, CmdError> {
    let (version, sizes) = match ctx.args.from(1) {
        [word, v, sizes @ ..] if word.eq_ignore_ascii_case(b"version") => {
            (Some(parse_i64(v).ok_or(CmdError::NotInteger)?), sizes)
        }
        sizes => (None, sizes),
    };
    let mut text = String::new();
    if version.is_some_and(|v| DRAWN.contains(&v)) {
        let size = |i: usize, default: i64| match sizes.get(i) {
            None => Ok(default),
            Some(n) => parse_i64(n).map(|n| n.clamp(1, 1000)).ok_or(CmdError::NotInteger),
        };
        let (columns, rows) = (size(0, 66)?, size(1, 16)?);
        text = tiles(&mut ctx.srv.ks.rng, columns as usize, rows as usize);
        text.push_str("\nDiagonals, thrown by a coin. ");
    }
    text.push_str("Redis ver. ");
    text.push_str(REDIS_VERSION);
    text.push('\n');
    ctx.out.verbatim(b"txt", text.as_bytes());
    Ok(Flow::Done)
}

fn tiles(rng: &mut Rng, columns: usize, rows: usize) -> String {
    let mut text = String::with_capacity((columns * 3 + 1) * rows);
    for _ in 0..rows {
        text.extend((0..columns).map(|_| if rng.below(2) == 0 { '╱' } else { '╲' }));
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_drawing_has_its_size() {
        let text = tiles(&mut Rng::seeded(1), 20, 5);
        assert_eq!(text.lines().map(|l| l.chars().count()).collect::<Vec<_>>(), [20; 5]);
        assert!(text.contains('╱') && text.contains('╲'));
    }
}
