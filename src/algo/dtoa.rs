//! From `f64` to decimal text: the shortest digits as the server prints them, and C's `%.17g`.
//!
//! Scores, ZADD INCR replies, RESP3 doubles, numbers passed from scripts, DEBUG DIGEST: all of them
//! print a double through one routine upstream, and it is Grisu2 (Florian Loitsch, "Printing
//! Floating-Point Numbers Quickly and Accurately with Integers", 2010). Grisu2 always gives digits that
//! read back as the same double, and gives the shortest such digits in 99.9% of cases. In the last 0.1%
//! it prints one digit more, or a neighbour. Rust's own formatting (always shortest) would therefore
//! differ from upstream once in a thousand fractional scores, so the algorithm is here, bit for bit:
//! same table, same choice of table row, same rounding.
//!
//! ```text
//!   value v = f * 2^e              lower ------ v ------ upper     halfway to the neighbours
//!                                    |  times a power of ten  |    of 64 bits, rounded
//!   exponent now in -60..=-32:     [ 32 bits or less | fraction ]  so that digits are divisions
//!                                  both bounds inwards by one      the product was rounded too
//!   digits of upper, until what is left < upper - lower
//!   last digit down while that comes closer to v
//! ```
//!
//! The digits `d1 d2 .. dn` and the exponent `k` (value = digits * 10^k) are then laid out:
//!
//! ```text
//!   k >= 0 and at most 7 zeros to add          12300
//!   k <  0 and k > -7, or |exponent| < 4       123.456   0.00123
//!   everything else                            1.23456e-7   1e+21     sign always, no padding zeros
//! ```
//!
//! `push_general17` is C's `%.17g`: 17 significant digits of the exact value, trailing zeros dropped, at
//! least two exponent digits. It is what ZSCAN prints for scores and modules for INFO fields.

use std::io::Write;

/// Powers of ten from 10^-348 in steps of 10^8: the upper 64 bits, rounded to nearest, top bit set.
/// The binary exponent follows from the decimal one (`exponent_of_power`), so it is not stored.
#[rustfmt::skip]
const POWERS: [u64; 87] = [
    0xfa8f_d5a0_081c_0288, 0xbaae_e17f_a23e_bf76, 0x8b16_fb20_3055_ac76, 0xcf42_894a_5dce_35ea,
    0x9a6b_b0aa_5565_3b2d, 0xe61a_cf03_3d1a_45df, 0xab70_fe17_c79a_c6ca, 0xff77_b1fc_bebc_dc4f,
    0xbe56_91ef_416b_d60c, 0x8dd0_1fad_907f_fc3c, 0xd351_5c28_3155_9a83, 0x9d71_ac8f_ada6_c9b5,
    0xea9c_2277_23ee_8bcb, 0xaecc_4991_4078_536d, 0x823c_1279_5db6_ce57, 0xc210_9436_4dfb_5637,
    0x9096_ea6f_3848_984f, 0xd774_85cb_2582_3ac7, 0xa086_cfcd_97bf_97f4, 0xef34_0a98_172a_ace5,
    0xb238_67fb_2a35_b28e, 0x84c8_d4df_d2c6_3f3b, 0xc5dd_4427_1ad3_cdba, 0x936b_9fce_bb25_c996,
    0xdbac_6c24_7d62_a584, 0xa3ab_6658_0d5f_daf6, 0xf3e2_f893_dec3_f126, 0xb5b5_ada8_aaff_80b8,
    0x8762_5f05_6c7c_4a8b, 0xc9bc_ff60_34c1_3053, 0x964e_858c_91ba_2655, 0xdff9_7724_7029_7ebd,
    0xa6df_bd9f_b8e5_b88f, 0xf8a9_5fcf_8874_7d94, 0xb944_7093_8fa8_9bcf, 0x8a08_f0f8_bf0f_156b,
    0xcdb0_2555_6531_31b6, 0x993f_e2c6_d07b_7fac, 0xe45c_10c4_2a2b_3b06, 0xaa24_2499_6973_92d3,
    0xfd87_b5f2_8300_ca0e, 0xbce5_0864_9211_1aeb, 0x8cbc_cc09_6f50_88cc, 0xd1b7_1758_e219_652c,
    0x9c40_0000_0000_0000, 0xe8d4_a510_0000_0000, 0xad78_ebc5_ac62_0000, 0x813f_3978_f894_0984,
    0xc097_ce7b_c907_15b3, 0x8f7e_32ce_7bea_5c70, 0xd5d2_38a4_abe9_8068, 0x9f4f_2726_179a_2245,
    0xed63_a231_d4c4_fb27, 0xb0de_6538_8cc8_ada8, 0x83c7_088e_1aab_65db, 0xc45d_1df9_4271_1d9a,
    0x924d_692c_a61b_e758, 0xda01_ee64_1a70_8dea, 0xa26d_a399_9aef_774a, 0xf209_787b_b47d_6b85,
    0xb454_e4a1_79dd_1877, 0x865b_8692_5b9b_c5c2, 0xc835_53c5_c896_5d3d, 0x952a_b45c_fa97_a0b3,
    0xde46_9fbd_99a0_5fe3, 0xa59b_c234_db39_8c25, 0xf6c6_9a72_a398_9f5c, 0xb7dc_bf53_54e9_bece,
    0x88fc_f317_f222_41e2, 0xcc20_ce9b_d35c_78a5, 0x9816_5af3_7b21_53df, 0xe2a0_b5dc_971f_303a,
    0xa8d9_d153_5ce3_b396, 0xfb9b_7cd9_a4a7_443c, 0xbb76_4c4c_a7a4_4410, 0x8bab_8eef_b640_9c1a,
    0xd01f_ef10_a657_842c, 0x9b10_a4e5_e991_3129, 0xe710_9bfb_a19c_0c9d, 0xac28_20d9_623b_f429,
    0x8044_4b5e_7aa7_cf85, 0xbf21_e440_03ac_dd2d, 0x8e67_9c2f_5e44_ff8f, 0xd433_179d_9c8c_b841,
    0x9e19_db92_b4e3_1ba9, 0xeb96_bf6e_badf_77d9, 0xaf87_023b_9bf0_ee6b,
];

const FIRST_POWER: i32 = -348;
const POWER_STEP: i32 = 8;

/// Enough for every layout here: sign, 17 digits, point, exponent of five characters, leading zeros.
pub const MAX_LEN: usize = 40;

/// Significant decimal digits and the power of ten they are multiplied with.
struct Digits {
    text: [u8; 18],
    len: usize,
    power: i32,
}

impl Digits {
    fn push(&mut self, digit: u64) {
        debug_assert!(digit < 10, "one decimal digit");
        if digit != 0 || self.len != 0 {
            self.text[self.len] = b'0' + digit as u8;
            self.len += 1;
        }
    }

    fn as_slice(&self) -> &[u8] {
        &self.text[..self.len]
    }
}

/// `mantissa * 2^exponent`, 64 bits wide while it is being worked on.
#[derive(Clone, Copy)]
struct Wide {
    mantissa: u64,
    exponent: i32,
}

impl Wide {
    fn normalized(self) -> Wide {
        let shift = self.mantissa.leading_zeros();
        Wide { mantissa: self.mantissa << shift, exponent: self.exponent - shift as i32 }
    }

    /// The upper half of the product, rounded to nearest.
    fn times(self, other: Wide) -> Wide {
        let product = u128::from(self.mantissa) * u128::from(other.mantissa) + (1 << 63);
        Wide { mantissa: (product >> 64) as u64, exponent: self.exponent + other.exponent + 64 }
    }
}

/// The binary exponent of a row: floor(log2(10^power)) - 63.
fn exponent_of_power(power: i32) -> i32 {
    // 1741647 / 2^19 is log2(10), close enough for |power| below 1,600.
    ((power * 1_741_647) >> 19) - 63
}

/// The row that brings a number of this binary exponent into `-60..=-32`, and its decimal exponent.
/// Two rows may qualify; which one is taken shows in the last digit, so the search starts and walks
/// exactly where upstream's does.
fn power_for(exponent: i32) -> (Wide, i32) {
    let estimate = (f64::from(-(exponent + 87)) * 0.30102999566398114) as i32;
    let mut row = (estimate - FIRST_POWER) / POWER_STEP;
    loop {
        let decimal = FIRST_POWER + row * POWER_STEP;
        let power = Wide { mantissa: POWERS[row as usize], exponent: exponent_of_power(decimal) };
        let scaled = exponent + power.exponent + 64;
        if scaled < -60 {
            row += 1;
        } else if scaled > -32 {
            row -= 1;
        } else {
            return (power, decimal);
        }
    }
}

/// Grisu2 for a finite value above zero.
fn shortest(value: f64) -> Digits {
    const HIDDEN: u64 = 1 << 52;
    debug_assert!(value.is_finite() && value > 0.0, "zero and the specials are handled before");
    let bits = value.to_bits();
    let (fraction, biased) = (bits & (HIDDEN - 1), (bits >> 52) as i32);
    let (f, e) = if biased == 0 { (fraction, -1074) } else { (fraction | HIDDEN, biased - 1075) };

    let upper = Wide { mantissa: 2 * f + 1, exponent: e - 1 }.normalized();
    // Below a power of two the neighbour is twice as near.
    let lower = if f == HIDDEN {
        Wide { mantissa: 4 * f - 1, exponent: e - 2 }
    } else {
        Wide { mantissa: 2 * f - 1, exponent: e - 1 }
    };
    let lower =
        Wide { mantissa: lower.mantissa << (lower.exponent - upper.exponent), exponent: upper.exponent };
    let (power, decimal) = power_for(upper.exponent);
    let middle = Wide { mantissa: f, exponent: e }.normalized().times(power);
    let (upper, lower) = (upper.times(power), lower.times(power));
    generate(middle.mantissa, upper.mantissa - 1, lower.mantissa + 1, -upper.exponent, -decimal)
}

/// The digits of a number between `lower` and `upper` near `middle`, all three with `point` bits of
/// fraction.
fn generate(middle: u64, upper: u64, lower: u64, point: i32, power: i32) -> Digits {
    debug_assert!((32..=60).contains(&point), "the table row brought it there");
    let mut digits = Digits { text: [0; 18], len: 0, power };
    let mut gap = upper - middle;
    let mut delta = upper - lower;
    let one = 1u64 << point;
    let (mut whole, mut part) = (upper >> point, upper & (one - 1));

    let mut unit = 1_000_000_000u64;
    for place in (0..10).rev() {
        digits.push(whole / unit);
        whole %= unit;
        let rest = (whole << point) + part;
        if rest <= delta {
            digits.power += place;
            approach(&mut digits, gap, delta, rest, unit << point);
            return digits;
        }
        unit /= 10;
    }
    loop {
        part *= 10;
        delta *= 10;
        gap *= 10;
        digits.power -= 1;
        digits.push(part >> point);
        part &= one - 1;
        if part < delta {
            approach(&mut digits, gap, delta, part, one);
            return digits;
        }
    }
}

/// Lower the last digit while that brings the number closer to the value and keeps it in the interval.
/// All amounts are distances from `upper`: of the value (`gap`), of the lower bound (`delta`), of the
/// digits so far (`rest`); `unit` is one of the last digit.
fn approach(digits: &mut Digits, gap: u64, delta: u64, mut rest: u64, unit: u64) {
    while rest < gap && delta - rest >= unit {
        let next = rest.wrapping_add(unit);
        if next >= gap && gap - rest <= next - gap {
            break;
        }
        digits.text[digits.len - 1] -= 1;
        rest = next;
    }
}

/// Upstream's shortest form of any double: `nan`, `inf` and `0` take a sign like all others.
pub fn push_shortest(out: &mut Vec<u8>, value: f64) {
    let mut text = [0u8; MAX_LEN];
    let len = write_shortest(&mut text, value);
    out.extend_from_slice(&text[..len]);
}

/// `push_shortest` into a fixed buffer; returns the length.
pub fn write_shortest(buf: &mut [u8; MAX_LEN], value: f64) -> usize {
    let mut at = Cursor { buf, len: 0 };
    if value.is_sign_negative() {
        at.push(b"-");
    }
    if value.is_nan() {
        at.push(b"nan");
    } else if value.is_infinite() {
        at.push(b"inf");
    } else if value == 0.0 {
        at.push(b"0");
    } else {
        layout(&mut at, &shortest(value.abs()));
    }
    at.len
}

/// Places digits, point, zeros and exponent; see the table at the top.
fn layout(at: &mut Cursor<'_>, digits: &Digits) {
    let (text, power) = (digits.as_slice(), digits.power);
    let count = text.len() as i32;
    let exponent = power + count - 1;
    if power >= 0 && exponent.abs() < count + 7 {
        at.push(text);
        at.zeros(power as usize);
    } else if power < 0 && (power > -7 || exponent.abs() < 4) {
        if exponent < 0 {
            at.push(b"0.");
            at.zeros((-exponent - 1) as usize);
            at.push(text);
        } else {
            let (whole, part) = text.split_at((exponent + 1) as usize);
            at.push(whole);
            at.push(b".");
            at.push(part);
        }
    } else {
        at.push(&text[..1]);
        if text.len() > 1 {
            at.push(b".");
            at.push(&text[1..]);
        }
        at.push(if exponent < 0 { b"e-" } else { b"e+" });
        at.push(itoa::Buffer::new().format(exponent.unsigned_abs()).as_bytes());
    }
}

/// C's `%.17g`; infinities and NaN as `inf`, `-inf`, `nan`.
pub fn push_general17(out: &mut Vec<u8>, value: f64) {
    push_general::<17>(out, value);
}

/// C's `%g` with so many digits.
pub fn push_general<const DIGITS: usize>(out: &mut Vec<u8>, value: f64) {
    if value.is_nan() {
        return out.extend_from_slice(b"nan");
    }
    if value.is_sign_negative() {
        out.push(b'-');
    }
    if value.is_infinite() {
        return out.extend_from_slice(b"inf");
    }
    // "d.dddde-nnn": exact digits, correctly rounded, as C prints them.
    let mut text = [0u8; MAX_LEN];
    let mut rest = &mut text[..];
    write!(rest, "{:.*e}", DIGITS - 1, value.abs()).expect("at most 24 characters");
    let len = MAX_LEN - rest.len();
    let mark = memchr::memchr(b'e', &text[..len]).expect("the format always has an exponent");
    let exponent = super::num::parse_i64(&text[mark + 1..len]).expect("a plain number");
    let mut digits = [0u8; DIGITS];
    digits[0] = text[0];
    digits[1..].copy_from_slice(&text[2..mark]);
    layout_general(out, &digits, exponent as i32);
}

/// Lays out significant digits (value = d.ddd * 10^exponent) by the rules of `%g`, whose precision is
/// the number of digits given.
pub(super) fn layout_general(out: &mut Vec<u8>, digits: &[u8], exponent: i32) {
    let precision = digits.len() as i32;
    let kept = digits.iter().rposition(|&d| d != b'0').map_or(1, |last| last + 1);
    let digits = &digits[..kept];
    if exponent < -4 || exponent >= precision {
        out.push(digits[0]);
        if kept > 1 {
            out.push(b'.');
            out.extend_from_slice(&digits[1..]);
        }
        let sign = if exponent < 0 { '-' } else { '+' };
        write!(out, "e{sign}{:02}", exponent.unsigned_abs()).expect("a vector takes all");
    } else if exponent < 0 {
        out.extend_from_slice(b"0.");
        out.resize(out.len() + (-exponent - 1) as usize, b'0');
        out.extend_from_slice(digits);
    } else {
        let whole = (exponent + 1) as usize;
        out.extend_from_slice(&digits[..kept.min(whole)]);
        out.resize(out.len() + whole.saturating_sub(kept), b'0');
        if kept > whole {
            out.push(b'.');
            out.extend_from_slice(&digits[whole..]);
        }
    }
}

struct Cursor<'a> {
    buf: &'a mut [u8; MAX_LEN],
    len: usize,
}

impl Cursor<'_> {
    fn push(&mut self, bytes: &[u8]) {
        self.buf[self.len..self.len + bytes.len()].copy_from_slice(bytes);
        self.len += bytes.len();
    }

    fn zeros(&mut self, count: usize) {
        self.buf[self.len..self.len + count].fill(b'0');
        self.len += count;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::algo::rng::Rng;

    fn short(value: f64) -> String {
        let mut out = Vec::new();
        push_shortest(&mut out, value);
        String::from_utf8(out).expect("ascii")
    }

    fn general(value: f64) -> String {
        let mut out = Vec::new();
        push_general17(&mut out, value);
        String::from_utf8(out).expect("ascii")
    }

    #[test]
    fn layouts_are_upstreams() {
        let table: &[(f64, &str)] = &[
            (0.0, "0"),
            (-0.0, "-0"),
            (1.0, "1"),
            (-1.5, "-1.5"),
            (0.1, "0.1"),
            (1e7, "10000000"),
            (1e8, "1e+8"),
            (12e7, "120000000"),
            (12e8, "1.2e+9"),
            (1e21, "1e+21"),
            (123456.789, "123456.789"),
            (0.001, "0.001"),
            (0.000001, "0.000001"),
            (0.0000001, "1e-7"),
            (0.00000123, "1.23e-6"),
            (0.00123456789, "0.00123456789"),
            (0.000123456789, "1.23456789e-4"),
            (1e-100, "1e-100"),
            (1.5e105, "1.5e+105"),
            (f64::MAX, "1.7976931348623157e+308"),
            (f64::MIN_POSITIVE, "2.2250738585072014e-308"),
            (5e-324, "5e-324"),
            (3.0000000000000004, "3.0000000000000004"),
            (f64::INFINITY, "inf"),
            (f64::NEG_INFINITY, "-inf"),
        ];
        for &(value, want) in table {
            assert_eq!(short(value), want);
        }
        assert_eq!(short(f64::NAN.copysign(1.0)), "nan");
        assert_eq!(short(f64::NAN.copysign(-1.0)), "-nan");
    }

    /// Doubles for which Grisu2 is not the shortest text, or not the nearest of equal length.
    #[test]
    fn the_cases_where_grisu2_is_not_shortest() {
        let table: &[(u64, &str, &str)] = &[
            (0x3faf_6552_60b1_d240, "0.061319898894826697", "6.13198988948267e-2"),
            (0x32e6_5678_e19f_eca8, "1.6968793783935644e-63", "1.6968793783935645e-63"),
            (0x4300_18b8_fc29_2106, "566347801371680.7", "5.663478013716808e14"),
            (0x4383_b18f_a1cc_b3ae, "177384160335656380", "1.773841603356564e17"),
            (0xc35f_5951_6aed_fb62, "-35295721996938632", "-3.529572199693863e16"),
            (0x0ac3_a117_ba41_a93a, "8.170672786817414e-257", "8.170672786817415e-257"),
            (0x3e7a_d8c4_fab5_7cb9, "1.0001195842800001e-7", "1.00011958428e-7"),
        ];
        for &(bits, want, shortest) in table {
            let value = f64::from_bits(bits);
            assert_eq!(short(value), want);
            assert_eq!(format!("{value:e}"), shortest);
        }
    }

    #[test]
    fn every_text_reads_back_as_the_same_double() {
        let mut rng = Rng::seeded(11);
        for _ in 0..200_000 {
            let value = f64::from_bits(rng.next_u64());
            if !value.is_nan() {
                assert_eq!(short(value).parse(), Ok(value));
                assert_eq!(general(value).parse(), Ok(value));
            }
        }
    }

    #[test]
    fn powers_are_the_nearest_of_64_bits() {
        // Neighbouring rows differ by 10^8, so each product must match the next row within rounding,
        // and the one exact stretch pins the scale.
        assert_eq!(POWERS[44], 10_000 << 50, "10^4");
        assert_eq!(exponent_of_power(4), -50);
        for row in 0..86 {
            let decimal = FIRST_POWER + POWER_STEP * row as i32;
            let product = u128::from(POWERS[row]) * 100_000_000;
            let shift = exponent_of_power(decimal + POWER_STEP) - exponent_of_power(decimal);
            let next = u128::from(POWERS[row + 1]) << shift;
            assert!(product.abs_diff(next) <= (1 << shift) / 2 + 100_000_000 / 2, "row {row}");
            assert!(POWERS[row] >> 63 == 1);
        }
    }

    #[test]
    fn general_form_is_that_of_printf() {
        let table: &[(f64, &str)] = &[
            (0.0, "0"),
            (-0.0, "-0"),
            (0.1, "0.10000000000000001"),
            (1.0, "1"),
            (1e16, "10000000000000000"),
            (1e17, "1e+17"),
            (123456789012345678.0, "1.2345678901234568e+17"),
            (0.0001, "0.0001"),
            (0.00001, "1.0000000000000001e-05"),
            (1e100, "1e+100"),
            (-2.5, "-2.5"),
            (5e-324, "4.9406564584124654e-324"),
            (f64::MAX, "1.7976931348623157e+308"),
            (f64::INFINITY, "inf"),
            (f64::NEG_INFINITY, "-inf"),
            (f64::NAN, "nan"),
        ];
        for &(value, want) in table {
            assert_eq!(general(value), want);
        }
    }
}
