//! The `bit` library of scripts: operations on 32 bits. Numbers are taken modulo 2^32, halves to even;
//! results are signed.

use super::ffi::{Library, LuaType, Raise, Stack};
use super::sandbox::LibraryItem::Native;

pub const LIBRARY: Library = &[
    ("tobit", Native(tobit)),
    ("bnot", Native(bnot)),
    ("band", Native(band)),
    ("bor", Native(bor)),
    ("bxor", Native(bxor)),
    ("lshift", Native(lshift)),
    ("rshift", Native(rshift)),
    ("arshift", Native(arshift)),
    ("rol", Native(rol)),
    ("ror", Native(ror)),
    ("bswap", Native(bswap)),
    ("tohex", Native(tohex)),
];

fn bits(s: &Stack, at: i32) -> Result<u32, Raise> {
    // 2^52 + 2^51: the low bits of the sum are those of the whole number.
    Ok((s.check_number(at)? + 6_755_399_441_055_744.0).to_bits() as u32)
}

fn give(s: &mut Stack, n: u32) -> Result<i32, Raise> {
    s.push_number(f64::from(n as i32));
    Ok(1)
}

fn tobit(s: &mut Stack) -> Result<i32, Raise> {
    let n = bits(s, 1)?;
    give(s, n)
}

fn bnot(s: &mut Stack) -> Result<i32, Raise> {
    let n = bits(s, 1)?;
    give(s, !n)
}

fn bswap(s: &mut Stack) -> Result<i32, Raise> {
    let n = bits(s, 1)?;
    give(s, n.swap_bytes())
}

/// Over all arguments: the first, then from the last one down, as errors show.
fn fold(s: &mut Stack, f: fn(u32, u32) -> u32) -> Result<i32, Raise> {
    let mut n = bits(s, 1)?;
    for at in (2..=s.top()).rev() {
        n = f(n, bits(s, at)?);
    }
    give(s, n)
}

fn band(s: &mut Stack) -> Result<i32, Raise> {
    fold(s, |a, b| a & b)
}

fn bor(s: &mut Stack) -> Result<i32, Raise> {
    fold(s, |a, b| a | b)
}

fn bxor(s: &mut Stack) -> Result<i32, Raise> {
    fold(s, |a, b| a ^ b)
}

/// By the low five bits of the second argument.
fn shift(s: &mut Stack, f: fn(u32, u32) -> u32) -> Result<i32, Raise> {
    let (n, by) = (bits(s, 1)?, bits(s, 2)?);
    give(s, f(n, by & 31))
}

fn lshift(s: &mut Stack) -> Result<i32, Raise> {
    shift(s, |n, by| n << by)
}

fn rshift(s: &mut Stack) -> Result<i32, Raise> {
    shift(s, |n, by| n >> by)
}

fn arshift(s: &mut Stack) -> Result<i32, Raise> {
    shift(s, |n, by| (n as i32 >> by) as u32)
}

fn rol(s: &mut Stack) -> Result<i32, Raise> {
    shift(s, u32::rotate_left)
}

fn ror(s: &mut Stack) -> Result<i32, Raise> {
    shift(s, u32::rotate_right)
}

/// The digits are those of an unsigned number: the least integer asks for eight capitals, too.
fn tohex(s: &mut Stack) -> Result<i32, Raise> {
    let n = bits(s, 1)?;
    let digits = if s.kind(2) == LuaType::None { 8 } else { bits(s, 2)? as i32 };
    let shown = digits.unsigned_abs().min(8) as usize;
    let text = if digits < 0 { format!("{n:08X}") } else { format!("{n:08x}") };
    s.push_bytes(&text.as_bytes()[8 - shown..]);
    Ok(1)
}
