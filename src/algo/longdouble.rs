//! Long doubles: the 80-bit extended format of x87, in software.
//!
//! INCRBYFLOAT and HINCRBYFLOAT add in `long double` upstream, and on x86-64 that is this format. Its
//! 64 bits of mantissa show in the results (`10.5 + 0.1` prints as `10.6`, which doubles would also
//! give, but sums of 17 and more digits differ), so doubles will not do. Rust has no such type; this
//! file has just enough of it: read, add, print.
//!
//! ```text
//!   value = (-1)^negative * mantissa * 2^exponent
//!
//!   normal      mantissa in 2^63..2^64          exponent in -16445..=16320
//!   subnormal   mantissa in 1..2^63             exponent = -16445
//!   zero        mantissa 0, with its sign       exponent = -16445
//!   and infinities and NaN
//! ```
//!
//! Every result is the exact one rounded once, to nearest, ties to even: `rounded` takes up to 128 bits
//! and one more bit, `inexact`, that says whether anything nonzero lies below them.
//!
//! Reading: up to 19 digits with a small power of ten fit 128-bit arithmetic; all else takes big
//! integers (`Big`), dividing bit by bit where the power is negative. Printing with 17 places
//! (`push_human`) is 128-bit arithmetic too unless the number has more than 38 digits before its point.
//!
//! Texts are those of `num::FloatText`, at most 5,119 bytes of them, without NaN; a number too large, or
//! too small but not zero, is refused as strtold(3) reports it.

mod big;

use super::dtoa;
use super::num::{FloatText, NumberText, push_u64};
use big::Big;
use std::ops::Add;

/// The exponent of subnormals, and the lowest of all.
const MIN_EXPONENT: i64 = -16445;
/// The highest exponent: 2^16383 is the weight of the top bit then.
const MAX_EXPONENT: i64 = 16320;
/// Longer texts are refused, whatever they say.
const MAX_TEXT: usize = 5 * 1024 - 1;
/// Places after the point in `push_human`.
const PLACES: u32 = 17;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Size {
    Finite { mantissa: u64, exponent: i64 },
    Infinite,
    Nan,
}

/// An 80-bit extended floating-point number; see the top of the file.
#[derive(Clone, Copy, Debug)]
pub struct LongDouble {
    negative: bool,
    size: Size,
}

impl LongDouble {
    pub const ZERO: LongDouble = LongDouble::finite(false, 0, MIN_EXPONENT);

    const fn finite(negative: bool, mantissa: u64, exponent: i64) -> LongDouble {
        LongDouble { negative, size: Size::Finite { mantissa, exponent } }
    }

    const fn infinite(negative: bool) -> LongDouble {
        LongDouble { negative, size: Size::Infinite }
    }

    /// The number nearest to `wide * 2^exponent`, or to a bit more than that if `inexact`.
    fn rounded(negative: bool, wide: u128, exponent: i64, inexact: bool) -> LongDouble {
        if wide == 0 {
            debug_assert!(!inexact, "the bits that count must be within `wide`");
            return LongDouble::finite(negative, 0, MIN_EXPONENT);
        }
        let spare = wide.leading_zeros();
        let wide = wide << spare;
        // The upper 64 bits are the mantissa, but for subnormals even fewer.
        let exponent = exponent - i64::from(spare) + 64;
        let missing = (MIN_EXPONENT - exponent).max(0);
        if missing > 64 {
            return LongDouble::finite(negative, 0, MIN_EXPONENT);
        }
        let drop = 64 + missing as u32;
        let kept = wide.checked_shr(drop).unwrap_or(0);
        let rest = wide.checked_shl(128 - drop).unwrap_or(wide);
        let half = 1u128 << 127;
        let up = rest > half || (rest == half && (inexact || kept & 1 == 1));
        let exponent = exponent + missing;
        match u64::try_from(kept + u128::from(up)) {
            Ok(_) if exponent > MAX_EXPONENT => LongDouble::infinite(negative),
            Ok(mantissa) => LongDouble::finite(negative, mantissa, exponent),
            Err(_) if exponent >= MAX_EXPONENT => LongDouble::infinite(negative),
            Err(_) => LongDouble::finite(negative, 1 << 63, exponent + 1),
        }
    }

    pub fn from_i64(value: i64) -> LongDouble {
        LongDouble::rounded(value < 0, u128::from(value.unsigned_abs()), 0, false)
    }

    /// Exact.
    pub fn from_f64(value: f64) -> LongDouble {
        let negative = value.is_sign_negative();
        if value.is_nan() {
            return LongDouble { negative, size: Size::Nan };
        }
        if value.is_infinite() {
            return LongDouble::infinite(negative);
        }
        let bits = value.to_bits();
        let (fraction, biased) = (bits & ((1 << 52) - 1), (bits >> 52 & 0x7ff) as i64);
        let hidden = u64::from(biased != 0) << 52;
        LongDouble::rounded(negative, u128::from(fraction | hidden), biased.max(1) - 1075, false)
    }

    pub fn is_nan(self) -> bool {
        self.size == Size::Nan
    }

    pub fn is_infinite(self) -> bool {
        self.size == Size::Infinite
    }

    /// Neither infinite nor NaN: what an increment must produce.
    pub fn is_finite(self) -> bool {
        matches!(self.size, Size::Finite { .. })
    }

    /// The number a client wrote, or `None` where upstream answers "not a valid float".
    pub fn parse(text: &[u8]) -> Option<LongDouble> {
        if text.len() > MAX_TEXT {
            return None;
        }
        let number = match FloatText::scan(text)? {
            FloatText::Infinity { negative } => return Some(LongDouble::infinite(negative)),
            FloatText::Number(number) => number,
        };
        if number.is_zero() {
            return Some(LongDouble::finite(number.negative, 0, MIN_EXPONENT));
        }
        let value = if number.hex {
            let (wide, exponent, inexact) = number.hex_value();
            LongDouble::rounded(number.negative, wide, exponent, inexact)
        } else {
            decimal(&number)
        };
        let in_range = matches!(value.size, Size::Finite { mantissa: 1.., .. });
        in_range.then_some(value)
    }

    /// Append the number as INCRBYFLOAT replies it: 17 places after the point at most, no exponent, no
    /// trailing zeros, no minus zero.
    pub fn push_human(self, out: &mut Vec<u8>) {
        let Size::Finite { mantissa, exponent } = self.size else { return self.push_special(out) };
        let (whole, places) = fixed(mantissa, exponent);
        let is_zero = places == 0 && matches!(whole, Whole::Small(0));
        if self.negative && !is_zero {
            out.push(b'-');
        }
        match whole {
            Whole::Small(value) => push_u64(out, value),
            Whole::Digits(digits) => out.extend_from_slice(&digits),
        }
        if places != 0 {
            out.push(b'.');
            push_places(out, places);
        }
    }

    /// Append C's `%.17Lg`.
    pub fn push_general(self, out: &mut Vec<u8>) {
        let Size::Finite { mantissa, exponent } = self.size else { return self.push_special(out) };
        if self.negative {
            out.push(b'-');
        }
        if mantissa == 0 {
            return out.push(b'0');
        }
        let (mut digits, point) = exact_digits(u128::from(mantissa), exponent);
        let carried = round_digits(&mut digits, PLACES as usize);
        dtoa::layout_general(out, &digits, (point - 1 + i64::from(carried)) as i32);
    }

    /// Append C's `%La`: no digit is lost. The digit before the point holds the top four bits.
    pub fn push_hex(self, out: &mut Vec<u8>) {
        let Size::Finite { mantissa, exponent } = self.size else { return self.push_special(out) };
        let sign = if self.negative { "-" } else { "" };
        let digits = format!("{mantissa:016x}");
        let (lead, part) = digits.split_at(1);
        let part = part.trim_end_matches('0');
        let point = if part.is_empty() { "" } else { "." };
        let exponent = if mantissa == 0 { 0 } else { exponent + 60 };
        out.extend_from_slice(format!("{sign}0x{lead}{point}{part}p{exponent:+}").as_bytes());
    }

    fn push_special(self, out: &mut Vec<u8>) {
        out.extend_from_slice(match self.size {
            Size::Nan => b"nan",
            _ if self.negative => b"-inf",
            _ => b"inf",
        });
    }

    /// The nearest double.
    pub fn to_f64(self) -> f64 {
        let sign = if self.negative { -1.0 } else { 1.0 };
        let Size::Finite { mantissa, exponent } = self.size else {
            return sign * if self.is_nan() { f64::NAN } else { f64::INFINITY };
        };
        let top = exponent + 63;
        if mantissa == 0 || top < -1075 {
            return 0.0 * sign;
        }
        if top > 1023 {
            return f64::INFINITY * sign;
        }
        // 11 bits go, and more where the result is subnormal.
        let drop = (11 + (-1022 - top).max(0)) as u32;
        let wide = u128::from(mantissa);
        let (kept, rest, half) = (wide >> drop, wide & ((1 << drop) - 1), 1u128 << (drop - 1));
        let up = rest > half || (rest == half && kept & 1 == 1);
        // The top bit of `kept` lands in the exponent field and adds one; so may the carry.
        let biased = (top.max(-1022) + 1022) as u64;
        sign * f64::from_bits((biased << 52) + kept as u64 + u64::from(up))
    }
}

impl Add for LongDouble {
    type Output = LongDouble;

    fn add(self, other: LongDouble) -> LongDouble {
        match (self.size, other.size) {
            (Size::Nan, _) => self,
            (_, Size::Nan) => other,
            (Size::Infinite, Size::Infinite) if self.negative != other.negative => {
                LongDouble { negative: true, size: Size::Nan }
            }
            (Size::Infinite, _) => self,
            (_, Size::Infinite) => other,
            (Size::Finite { exponent: a, .. }, Size::Finite { exponent: b, .. }) if a < b => {
                add_finite(other, self)
            }
            _ => add_finite(self, other),
        }
    }
}

/// The sum of finite numbers, of which `a` has the larger exponent or an equal one.
fn add_finite(a: LongDouble, b: LongDouble) -> LongDouble {
    let (Size::Finite { mantissa: ma, exponent: ea }, Size::Finite { mantissa: mb, exponent: eb }) =
        (a.size, b.size)
    else {
        unreachable!("the caller has looked");
    };
    debug_assert!(ea >= eb, "the caller has put them in order");
    // 62 bits below the mantissas leave two above for the carry. What of `b` is shifted out even of
    // those can only matter as "a bit more": then the numbers are so far apart that hardly a bit of `a`
    // cancels.
    const ROOM: u32 = 62;
    let wide_a = u128::from(ma) << ROOM;
    let whole_b = u128::from(mb) << ROOM;
    let shift = u32::try_from(ea - eb).unwrap_or(u32::MAX);
    let wide_b = whole_b.checked_shr(shift).unwrap_or(0);
    let inexact = wide_b.checked_shl(shift) != Some(whole_b) && mb != 0;
    let exponent = ea - i64::from(ROOM);
    if a.negative == b.negative {
        return LongDouble::rounded(a.negative, wide_a + wide_b, exponent, inexact);
    }
    if inexact {
        return LongDouble::rounded(a.negative, wide_a - wide_b - 1, exponent, true);
    }
    // Equal numbers of opposite signs give plain zero.
    let negative = if wide_a == wide_b { false } else { (wide_a < wide_b) != a.negative };
    LongDouble::rounded(negative, wide_a.abs_diff(wide_b), exponent, false)
}

/// The number nearest to a decimal text, which is not zero.
fn decimal(number: &NumberText<'_>) -> LongDouble {
    // Zeros at the end only move the point.
    let trimmed = |t: &[u8]| t.iter().rposition(|&b| b != b'0').map_or(0, |last| last + 1);
    let part = &number.part[..trimmed(number.part)];
    let whole = match part {
        [] => &number.whole[..trimmed(number.whole)],
        _ => number.whole,
    };
    let dropped = number.whole.len() - whole.len();
    let digits = || whole.iter().chain(part).copied().skip_while(|&b| b == b'0');
    let count = digits().count();
    let power = number.exponent + dropped as i64 - part.len() as i64;

    if count <= 19 && power.abs() <= 27 {
        let value = digits().fold(0, |sum: u64, b| sum * 10 + u64::from(b - b'0'));
        return decimal_small(number.negative, value, power);
    }
    // The value lies in 10^(size-1)..10^size. Beyond these bounds the answer is certain, and within
    // them the big integers stay small.
    let size = power.saturating_add(count as i64);
    if size > 4933 {
        return LongDouble::infinite(number.negative);
    }
    if size < -4950 {
        return LongDouble::finite(number.negative, 0, MIN_EXPONENT);
    }
    decimal_big(number.negative, Big::from_digits(digits()), power)
}

/// `value * 10^power` where 5^power fits 64 bits.
fn decimal_small(negative: bool, value: u64, power: i64) -> LongDouble {
    let fives = 5u64.pow(power.unsigned_abs() as u32);
    if power >= 0 {
        return LongDouble::rounded(negative, u128::from(value) * u128::from(fives), power, false);
    }
    // Shifted all the way up, so that the quotient has 65 bits or more.
    let spare = value.leading_zeros() + 64;
    let wide = u128::from(value) << spare;
    let (quotient, rest) = (wide / u128::from(fives), wide % u128::from(fives));
    LongDouble::rounded(negative, quotient, power - i64::from(spare), rest != 0)
}

fn decimal_big(negative: bool, mut value: Big, power: i64) -> LongDouble {
    if power >= 0 {
        value.mul_power_of_five(power as usize);
        let (top, shift, inexact) = value.top();
        return LongDouble::rounded(negative, top, power + shift as i64, inexact);
    }
    let mut divisor = Big::from_u128(1);
    divisor.mul_power_of_five(power.unsigned_abs() as usize);
    // With both brought to the same length the quotient lies in 1/2..2, so its first or second bit is
    // set, and 67 bits hold the 64 of a mantissa with some to round by.
    let (have, want) = (value.bits(), divisor.bits());
    value.shl(want.saturating_sub(have));
    divisor.shl(have.saturating_sub(want));
    let mut quotient = 0u128;
    for _ in 0..67 {
        quotient <<= 1;
        if value >= divisor {
            value.sub_assign(&divisor);
            quotient |= 1;
        }
        value.shl(1);
    }
    let exponent = power + have as i64 - want as i64 - 66;
    LongDouble::rounded(negative, quotient, exponent, !value.is_zero())
}

/// What stands before the point.
enum Whole {
    Small(u64),
    Digits(Vec<u8>),
}

/// `mantissa * 2^exponent` rounded to 17 places, ties to even: what stands before the point, and the
/// places as an integer.
fn fixed(mantissa: u64, exponent: i64) -> (Whole, u64) {
    const SCALE: u64 = 10u64.pow(PLACES);
    if exponent >= 0 {
        let mut big = Big::from_u128(u128::from(mantissa));
        big.shl(exponent as usize);
        return (Whole::Digits(big.into_digits()), 0);
    }
    // From 2^-128 on the mantissa cannot reach half of the last place.
    if exponent < -127 {
        return (Whole::Small(0), 0);
    }
    let shift = exponent.unsigned_abs() as u32;
    let wide = u128::from(mantissa);
    let mask = (1u128 << shift) - 1;
    let scaled = (wide & mask) * u128::from(SCALE);
    let (places, rest, half) = (scaled >> shift, scaled & mask, 1u128 << (shift - 1));
    let up = rest > half || (rest == half && places & 1 == 1);
    let (whole, places) = ((wide >> shift) as u64, places as u64 + u64::from(up));
    if places == SCALE { (Whole::Small(whole + 1), 0) } else { (Whole::Small(whole), places) }
}

/// `places` as 17 digits without the zeros at the end.
fn push_places(out: &mut Vec<u8>, mut places: u64) {
    let mut text = [0u8; PLACES as usize];
    for digit in text.iter_mut().rev() {
        *digit = b'0' + (places % 10) as u8;
        places /= 10;
    }
    let kept = text.iter().rposition(|&d| d != b'0').map_or(0, |last| last + 1);
    out.extend_from_slice(&text[..kept]);
}

/// All digits of `mantissa * 2^exponent`, and how many of them stand before the point (a negative number
/// where zeros follow it first).
fn exact_digits(mantissa: u128, exponent: i64) -> (Vec<u8>, i64) {
    debug_assert!(mantissa != 0, "zero has no first digit");
    let zeros = mantissa.trailing_zeros();
    let (mantissa, exponent) = (mantissa >> zeros, exponent + i64::from(zeros));
    let mut big = Big::from_u128(mantissa);
    if exponent >= 0 {
        big.shl(exponent as usize);
        let digits = big.into_digits();
        let point = digits.len() as i64;
        return (digits, point);
    }
    big.mul_power_of_five(exponent.unsigned_abs() as usize);
    let digits = big.into_digits();
    let point = digits.len() as i64 + exponent;
    (digits, point)
}

/// Round to `count` digits, ties to even, and fill up with zeros. True if the number grew by a digit,
/// which is a one followed by zeros then.
fn round_digits(digits: &mut Vec<u8>, count: usize) -> bool {
    let up = match digits.get(count) {
        None => false,
        Some(b'5') => digits[count + 1..].iter().any(|&d| d != b'0') || digits[count - 1] & 1 == 1,
        Some(&next) => next > b'5',
    };
    digits.resize(count, b'0');
    if !up {
        return false;
    }
    for digit in digits.iter_mut().rev() {
        if *digit != b'9' {
            *digit += 1;
            return false;
        }
        *digit = b'0';
    }
    digits[0] = b'1';
    true
}

#[cfg(test)]
mod tests;
