//! Numbers to text and back, by the rules clients can see.
//!
//! ```text
//!   parse_i64     INCR, EXPIRE, counts, "may this value be kept as an integer?"   the strictest
//!   parse_u64     parts of stream ids                                             as lax as strtoull(3)
//!   parse_f64     scores, GEO coordinates, timeouts                               strtod(3), less NaN
//!   .._bound, .._weight   ends of ranges; what SORT compares                      strtod(3) as it is
//!   parse_memory  100mb, 2gb                                                      configuration
//!   FloatText     the grammar behind parse_f64 and LongDouble::parse
//! ```
//!
//! The rule of `parse_i64` is that the text must be the one and only text of that number: then a value
//! may be stored as an integer and given back unchanged. So no plus, no spaces, no leading zeros and no
//! `-0`. It runs on every INCR and on every SET of a short value: most texts that are not numbers fail
//! on their first byte, and digits beyond the eighth are taken eight at a time (the three
//! multiplications below each join neighbours: 8 digits to 4 pairs to 2 quads to 1 number).
//!
//! Floats are the decimal and hexadecimal forms of C, `inf` and `infinity` in any case, an optional
//! sign, and nothing before or after. `nan` parses in C and is refused here, as is a text whose value
//! is too big for a double, or too small yet not zero. Subnormal results are fine. (They are always
//! rounded correctly, which glibc does not manage for some hexadecimal texts of subnormals.)
//!
//! Doubles are printed by `F64Text`: integers up to 2^62 as integers (`1e15` prints as
//! 1000000000000000), everything else as `dtoa` has it.

use super::dtoa;
use std::ops::Deref;

#[inline]
fn digit(byte: u8) -> Option<u64> {
    let value = byte.wrapping_sub(b'0');
    (value < 10).then_some(u64::from(value))
}

/// Eight digits at once, the first one the most significant.
#[inline]
fn eight_digits(text: [u8; 8]) -> Option<u64> {
    let word = u64::from_le_bytes(text);
    // A digit has 3 in its upper half, and still has it when 6 is added.
    const UPPER: u64 = 0xf0f0_f0f0_f0f0_f0f0;
    let plus_six = word.wrapping_add(0x0606_0606_0606_0606);
    if (word & UPPER) | ((plus_six & UPPER) >> 4) != 0x3333_3333_3333_3333 {
        return None;
    }
    let ones = word & 0x0f0f_0f0f_0f0f_0f0f;
    let pairs = (ones.wrapping_mul(2561) >> 8) & 0x00ff_00ff_00ff_00ff;
    let quads = (pairs.wrapping_mul(6_553_601) >> 16) & 0x0000_ffff_0000_ffff;
    Some(quads.wrapping_mul(42_949_672_960_001) >> 32)
}

/// The number that `text` is, by the rules of its type; None for any other text.
pub fn decimal<T: std::str::FromStr>(text: &[u8]) -> Option<T> {
    std::str::from_utf8(text).ok()?.parse().ok()
}

/// The number, if `text` is exactly how that number is written.
#[inline]
pub fn parse_i64(text: &[u8]) -> Option<i64> {
    let (&first, rest) = text.split_first()?;
    let (negative, lead, mut rest) = match first {
        b'1'..=b'9' => (false, first, rest),
        b'0' => return rest.is_empty().then_some(0),
        b'-' => {
            let (&lead @ b'1'..=b'9', rest) = rest.split_first()? else { return None };
            (true, lead, rest)
        }
        _ => return None,
    };
    // 19 digits cannot overflow the sum below; a number of 20 digits is out of range anyhow.
    if rest.len() > 18 {
        return None;
    }
    let mut value = u64::from(lead - b'0');
    while let Some((chunk, tail)) = rest.split_first_chunk::<8>() {
        value = value.wrapping_mul(100_000_000).wrapping_add(eight_digits(*chunk)?);
        rest = tail;
    }
    for &byte in rest {
        value = value.wrapping_mul(10).wrapping_add(digit(byte)?);
    }
    if negative { 0i64.checked_sub_unsigned(value) } else { i64::try_from(value).ok() }
}

/// An unsigned number as loosely as upstream takes the parts of a stream id: what `parse_i64` accepts
/// must not be negative, and what it refuses gets the reading of strtoull(3), which skips leading white
/// space, takes a sign and leading zeros, and wraps a negative number around (`-01` is 2^64-1).
pub fn parse_u64(text: &[u8]) -> Option<u64> {
    if let Some(strict) = parse_i64(text) {
        return u64::try_from(strict).ok();
    }
    let start = text.iter().position(|&b| !is_space(b))?;
    let (negative, digits) = match text.get(start..)? {
        [b'-', digits @ ..] => (true, digits),
        [b'+', digits @ ..] => (false, digits),
        digits => (false, digits),
    };
    if digits.is_empty() {
        return None;
    }
    let mut value = 0u64;
    for &byte in digits {
        value = value.checked_mul(10)?.checked_add(digit(byte)?)?;
    }
    Some(if negative { value.wrapping_neg() } else { value })
}

/// C's `isspace` in the C locale.
#[inline]
pub const fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t'..=b'\r')
}

/// An amount of memory: digits and one of `b k kb m mb g gb` in any case (`k` is 1000, `kb` is 1024).
/// Like upstream it takes no digits for 0, caps the digits at 2^64-1 and wraps the product.
pub fn parse_memory(text: &[u8]) -> Option<u64> {
    let split = text.iter().position(|b| !b.is_ascii_digit()).unwrap_or(text.len());
    let (digits, unit) = text.split_at_checked(split)?;
    let factor: u64 = match unit.to_ascii_lowercase().as_slice() {
        b"" | b"b" => 1,
        b"k" => 1000,
        b"kb" => 1 << 10,
        b"m" => 1_000_000,
        b"mb" => 1 << 20,
        b"g" => 1_000_000_000,
        b"gb" => 1 << 30,
        _ => return None,
    };
    if digits.len() >= 128 {
        return None;
    }
    let add = |sum: u64, &byte: &u8| sum.saturating_mul(10).saturating_add(u64::from(byte - b'0'));
    Some(digits.iter().fold(0, add).wrapping_mul(factor))
}

/// A floating-point text taken apart; C's grammar in the C locale.
///
/// ```text
///   text     = ["+"|"-"] ( "inf" | "infinity" | decimal | "0x" hex )      letters in any case
///   decimal  = digits ["." [digits]] [e] | "." digits [e]                 e = "e" ["+"|"-"] digits
///   hex      = the same over hexadecimal digits, with "p" for "e"
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum FloatText<'a> {
    Infinity { negative: bool },
    Number(NumberText<'a>),
}

/// `whole.part * 10^exponent`, or `* 2^exponent` for hexadecimal digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct NumberText<'a> {
    pub negative: bool,
    pub hex: bool,
    pub whole: &'a [u8],
    pub part: &'a [u8],
    /// Saturated far beyond any exponent that a number of this length could make up for.
    pub exponent: i64,
}

impl<'a> FloatText<'a> {
    /// `None` for everything that is not wholly a number, and for NaN.
    pub(super) fn scan(text: &'a [u8]) -> Option<FloatText<'a>> {
        let (negative, body) = match text {
            [b'-', body @ ..] => (true, body),
            [b'+', body @ ..] => (false, body),
            body => (false, body),
        };
        match body {
            [b'0', b'x' | b'X', body @ ..] => scan_number(negative, true, body),
            [b'i' | b'I', ..] => {
                let known = body.eq_ignore_ascii_case(b"inf") || body.eq_ignore_ascii_case(b"infinity");
                known.then_some(FloatText::Infinity { negative })
            }
            _ => scan_number(negative, false, body),
        }
    }
}

impl FloatText<'_> {
    /// The value of `text`, from which this was scanned; infinite when too big, zero when too small.
    fn value(&self, text: &[u8]) -> Option<f64> {
        match self {
            FloatText::Infinity { negative: true } => Some(f64::NEG_INFINITY),
            FloatText::Infinity { negative: false } => Some(f64::INFINITY),
            FloatText::Number(number) if number.hex => Some(hex_f64(number)),
            FloatText::Number(_) => std::str::from_utf8(text).ok()?.parse::<f64>().ok(),
        }
    }
}

fn scan_number(negative: bool, hex: bool, text: &[u8]) -> Option<FloatText<'_>> {
    let is_digit = |b: &u8| if hex { b.is_ascii_hexdigit() } else { b.is_ascii_digit() };
    let run = |t: &[u8]| t.iter().position(|b| !is_digit(b)).unwrap_or(t.len());
    let (whole, rest) = text.split_at_checked(run(text))?;
    let (part, rest) = match rest {
        [b'.', rest @ ..] => rest.split_at_checked(run(rest))?,
        _ => (&[][..], rest),
    };
    if whole.is_empty() && part.is_empty() {
        return None;
    }
    let exponent = match rest {
        [] => 0,
        [b'e' | b'E', rest @ ..] if !hex => scan_exponent(rest)?,
        [b'p' | b'P', rest @ ..] if hex => scan_exponent(rest)?,
        _ => return None,
    };
    Some(FloatText::Number(NumberText { negative, hex, whole, part, exponent }))
}

fn scan_exponent(text: &[u8]) -> Option<i64> {
    const FAR: i64 = 1 << 48;
    let (negative, digits) = match text {
        [b'-', digits @ ..] => (true, digits),
        [b'+', digits @ ..] => (false, digits),
        digits => (false, digits),
    };
    if digits.is_empty() {
        return None;
    }
    let mut value = 0i64;
    for &byte in digits {
        value = (value * 10 + digit(byte)? as i64).min(FAR);
    }
    Some(if negative { -value } else { value })
}

impl NumberText<'_> {
    /// All digits of both parts, without the point.
    pub(super) fn digits(&self) -> impl Iterator<Item = u8> + '_ {
        self.whole.iter().chain(self.part).copied()
    }

    pub(super) fn is_zero(&self) -> bool {
        self.digits().all(|b| b == b'0')
    }

    /// Hexadecimal digits too small for a normal double, none of which is lost. Decimal digits that small
    /// always lose some, but for those of hundreds of digits, which do not occur in practice.
    fn is_kept_whole(&self) -> bool {
        if !self.hex {
            return false;
        }
        let (wide, exponent, inexact) = self.hex_value();
        let lowest = exponent + i64::from(wide.trailing_zeros());
        !inexact && (-1074..0).contains(&lowest)
    }

    /// Hexadecimal digits as `(wide, exponent, inexact)`: value = wide * 2^exponent, and a bit more when
    /// `inexact`, in which case at least the top 5 bits of the 128 are in use.
    pub(super) fn hex_value(&self) -> (u128, i64, bool) {
        let (mut wide, mut dropped, mut inexact) = (0u128, 0i64, false);
        for byte in self.digits() {
            let value = char::from(byte).to_digit(16).map_or(0, u128::from);
            if wide >> 124 == 0 {
                wide = wide << 4 | value;
            } else {
                dropped += 4;
                inexact |= value != 0;
            }
        }
        let exponent = self.exponent - 4 * self.part.len() as i64 + dropped;
        (wide, exponent, inexact)
    }
}

/// A double, or `None` where upstream answers "not a valid float".
pub fn parse_f64(text: &[u8]) -> Option<f64> {
    // Most scores are short integers, and those are exact.
    if text.len() <= 15
        && let Some(integer) = parse_i64(text)
    {
        return Some(integer as f64);
    }
    let scanned = FloatText::scan(text)?;
    let value = scanned.value(text)?;
    let out_of_range = match scanned {
        FloatText::Infinity { .. } => false,
        FloatText::Number(number) => value.is_infinite() || (value == 0.0 && !number.is_zero()),
    };
    (!out_of_range).then_some(value)
}

/// A double as the ends of score ranges are read, which is strtod(3) alone: nothing at all is 0,
/// leading white space is skipped, the text ends at a zero byte, and what is too big is infinite. NaN
/// is still refused.
pub fn parse_f64_bound(text: &[u8]) -> Option<f64> {
    let text = text.split(|&b| b == 0).next().unwrap_or(b"");
    if text.is_empty() {
        return Some(0.0);
    }
    let start = text.iter().position(|&b| !is_space(b))?;
    let text = text.get(start..)?;
    FloatText::scan(text)?.value(text)
}

/// A double as SORT reads weights: as `parse_f64_bound`, but `None` for what strtod(3) calls out of range,
/// which is also what is so small that digits of it are lost.
pub fn parse_f64_weight(text: &[u8]) -> Option<f64> {
    if text.len() <= 15
        && let Some(integer) = parse_i64(text)
    {
        return Some(integer as f64);
    }
    let text = text.split(|&b| b == 0).next().unwrap_or(b"");
    if text.is_empty() {
        return Some(0.0);
    }
    let start = text.iter().position(|&b| !is_space(b))?;
    let text = text.get(start..)?;
    let scanned = FloatText::scan(text)?;
    let value = scanned.value(text)?;
    let in_range = match scanned {
        FloatText::Infinity { .. } => true,
        FloatText::Number(number) => value.is_normal() || number.is_zero() || number.is_kept_whole(),
    };
    in_range.then_some(value)
}

/// Rounded to nearest, ties to even; infinite when too big.
fn hex_f64(number: &NumberText<'_>) -> f64 {
    let (wide, exponent, inexact) = number.hex_value();
    let sign = if number.negative { -1.0 } else { 1.0 };
    if wide == 0 {
        return 0.0 * sign;
    }
    let spare = wide.leading_zeros();
    let wide = wide << spare;
    // The weight of the top bit; below 2^-1022 precision is lost bit by bit.
    let top = exponent + 127 - i64::from(spare);
    if top > 1023 {
        return f64::INFINITY * sign;
    }
    let drop = 75 + (-1022 - top).max(0);
    if drop > 128 {
        return 0.0 * sign;
    }
    let drop = drop as u32;
    let (kept, rest) = (wide.checked_shr(drop).unwrap_or(0), wide << (128 - drop));
    let half = 1u128 << 127;
    let up = rest > half || (rest == half && (inexact || kept & 1 == 1));
    let rounded = kept + u128::from(up);
    // The fraction may carry into the exponent field, which is then right by itself: up to infinity.
    let biased = (top.max(-1022) + 1022) as u64;
    f64::from_bits((biased << 52) + rounded as u64) * sign
}

/// The integer equal to `value`, if there is one within 2^62 of zero.
#[inline]
pub fn f64_as_i64(value: f64) -> Option<i64> {
    const LIMIT: f64 = (1u64 << 62) as f64;
    if !(-LIMIT..=LIMIT).contains(&value) {
        return None;
    }
    let integer = value as i64;
    (integer as f64 == value).then_some(integer)
}

/// A number's text without an allocation; use it as a byte slice.
#[derive(Clone, Copy)]
pub struct F64Text {
    buf: [u8; dtoa::MAX_LEN],
    len: u8,
}

impl F64Text {
    /// As replies, scores in listpacks and arguments from scripts show a double.
    pub fn new(value: f64) -> F64Text {
        let mut text = F64Text { buf: [0; dtoa::MAX_LEN], len: 0 };
        match f64_as_i64(value) {
            // Minus zero is no integer: it keeps its sign.
            Some(integer) if integer != 0 || value.is_sign_positive() => {
                let mut digits = itoa::Buffer::new();
                let digits = digits.format(integer).as_bytes();
                text.buf[..digits.len()].copy_from_slice(digits);
                text.len = digits.len() as u8;
            }
            // A NaN shows no sign here, whatever its bits say.
            _ if value.is_nan() => text.len = dtoa::write_shortest(&mut text.buf, f64::NAN.abs()) as u8,
            _ => text.len = dtoa::write_shortest(&mut text.buf, value) as u8,
        }
        text
    }

    /// Without the integer shortcut and with the sign of NaN: `1e+15`, `-nan`. AOF rewrites and
    /// DEBUG DIGEST use this form.
    pub fn plain(value: f64) -> F64Text {
        let mut text = F64Text { buf: [0; dtoa::MAX_LEN], len: 0 };
        text.len = dtoa::write_shortest(&mut text.buf, value) as u8;
        text
    }
}

impl Deref for F64Text {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        &self.buf[..usize::from(self.len)]
    }
}

/// Append `value` as replies show it; see `F64Text::new`.
pub fn push_f64(out: &mut Vec<u8>, value: f64) {
    out.extend_from_slice(&F64Text::new(value));
}

/// Append C's `%.17g` of `value`: scores in ZSCAN, INFO fields of modules.
pub fn push_f64_17g(out: &mut Vec<u8>, value: f64) {
    dtoa::push_general17(out, value);
}

/// Append C's `%g` of `value`: numbers in the script debugger.
pub fn push_f64_6g(out: &mut Vec<u8>, value: f64) {
    dtoa::push_general::<6>(out, value);
}

#[inline]
pub fn push_i64(out: &mut Vec<u8>, value: i64) {
    out.extend_from_slice(itoa::Buffer::new().format(value).as_bytes());
}

#[inline]
pub fn push_u64(out: &mut Vec<u8>, value: u64) {
    out.extend_from_slice(itoa::Buffer::new().format(value).as_bytes());
}

/// Append `value` with `places` digits after the point (1 to 17), as GEO commands show distances: the
/// value is scaled, then rounded to an integer, ties to even. Meant for values whose scaled form fits an
/// `i64`; beyond that it saturates.
pub fn push_fixed(out: &mut Vec<u8>, value: f64, places: u32) {
    debug_assert!((1..=17).contains(&places), "the scale must fit a double exactly");
    let scaled = (value * 10f64.powi(places as i32)).round_ties_even() as i64;
    let scale = 10u64.pow(places);
    if scaled < 0 {
        out.push(b'-');
    }
    push_u64(out, scaled.unsigned_abs() / scale);
    out.push(b'.');
    let mut part = itoa::Buffer::new();
    let part = part.format(scaled.unsigned_abs() % scale).as_bytes();
    out.resize(out.len() + places as usize - part.len(), b'0');
    out.extend_from_slice(part);
}

/// How many decimal digits `value` has; 1 for 0.
#[inline]
pub const fn digits10(value: u64) -> usize {
    match value.checked_ilog10() {
        Some(log) => log as usize + 1,
        None => 1,
    }
}

/// An amount of memory as INFO shows it: `904B`, `1.00M`. Beyond petabytes it is plain bytes again.
pub fn human_bytes(bytes: u64) -> String {
    let units = [('K', 10), ('M', 20), ('G', 30), ('T', 40), ('P', 50)];
    let unit = units.iter().find(|&&(_, shift)| bytes >> shift != 0 && bytes >> shift < 1024);
    match unit {
        Some(&(name, shift)) => format!("{:.2}{name}", bytes as f64 / (1u64 << shift) as f64),
        None => format!("{bytes}B"),
    }
}

/// C's `%f` without its trailing zeros: `p99.9`, as percentiles are named.
pub fn trimmed_f64(value: f64) -> String {
    let text = format!("{value:.6}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// As C's strtol, for switches: leading digits count, anything else is 0.
pub fn loose(arg: &[u8]) -> i64 {
    let arg = arg.trim_ascii_start();
    let (negative, digits) = match arg {
        [b'-', rest @ ..] => (true, rest),
        [b'+', rest @ ..] => (false, rest),
        _ => (false, arg),
    };
    let sign = if negative { -1 } else { 1 };
    let digits = digits.iter().take_while(|b| b.is_ascii_digit());
    digits.fold(0i64, |n, b| n.saturating_mul(10).saturating_add(sign * i64::from(b - b'0')))
}

/// As C's atoi, which keeps the low 32 bits.
pub fn loose32(arg: &[u8]) -> i32 {
    loose(arg) as i32
}

#[cfg(test)]
mod tests;
