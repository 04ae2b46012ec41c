use super::*;
use crate::algo::rng::Rng;
use std::cmp::Ordering;

fn ld(text: &str) -> LongDouble {
    LongDouble::parse(text.as_bytes()).unwrap_or_else(|| panic!("{text} must be a number"))
}

fn shown(push: impl Fn(&mut Vec<u8>)) -> String {
    let mut out = Vec::new();
    push(&mut out);
    String::from_utf8(out).expect("ascii")
}

fn human(value: LongDouble) -> String {
    shown(|out| value.push_human(out))
}

fn general(value: LongDouble) -> String {
    shown(|out| value.push_general(out))
}

fn hex(value: LongDouble) -> String {
    shown(|out| value.push_hex(out))
}

#[test]
fn sums_as_incrbyfloat_replies_them() {
    // From a running upstream server: SET k <first>, INCRBYFLOAT k <second>.
    let table: &[(&str, &str, &str)] = &[
        ("10.5", "0.1", "10.6"),
        ("3.0e3", "200", "3200"),
        ("5.0e3", "2.0e2", "5200"),
        ("1", "0.000000000000000005", "1"),
        ("0.1", "0.2", "0.3"),
        ("1.1", "-1.1", "0"),
        ("17179869184", "1.5", "17179869185.5"),
        ("17179869184", "-0.000001", "17179869183.99999899975955486"),
        ("1e17", "0.1", "100000000000000000.1015625"),
        ("9223372036854775807", "1", "9223372036854775808"),
        ("9223372036854775807", "0.5", "9223372036854775807.5"),
        ("18446744073709551615", "1", "18446744073709551616"),
        ("0.3", "-0.1", "0.2"),
        ("100", "-99.99", "0.01"),
        ("1e-17", "1e-17", "0.00000000000000002"),
        ("-1", "0.99999999999999999", "-0.00000000000000001"),
        ("1e20", "1e-5", "100000000000000000000"),
        ("123456789.123456789", "987654321.987654321", "1111111111.11111110995989293"),
        ("0.7", "0.1", "0.8"),
        ("0x10", "0x.8", "16.5"),
        ("2.5", "-2.5", "0"),
    ];
    for (first, second, want) in table {
        assert_eq!(human(ld(first) + ld(second)), *want, "{first} + {second}");
    }
}

/// text, %.17Lf trimmed, %.17Lg, %La: as the C library has them.
const AWKWARD: &[(&str, &str, &str, &str)] = &[
    ("0.1", "0.1", "0.1", "0xc.ccccccccccccccdp-7"),
    ("-0.1", "-0.1", "-0.1", "-0xc.ccccccccccccccdp-7"),
    ("3.0e3", "3000", "3000", "0xb.b8p+8"),
    ("10.5", "10.5", "10.5", "0xa.8p+0"),
    ("5e-1", "0.5", "0.5", "0x8p-4"),
    ("1e17", "100000000000000000", "1e+17", "0xb.1a2bc2ec5p+53"),
    ("123456789012345678", "123456789012345678", "1.2345678901234568e+17", "0xd.b4da5d31879a7p+53"),
    (
        "18446744073709551615",
        "18446744073709551615",
        "1.8446744073709552e+19",
        "0xf.fffffffffffffffp+60",
    ),
    ("18446744073709551616", "18446744073709551616", "1.8446744073709552e+19", "0x8p+61"),
    ("18446744073709551617", "18446744073709551616", "1.8446744073709552e+19", "0x8p+61"),
    ("9223372036854775807", "9223372036854775807", "9.2233720368547758e+18", "0xf.ffffffffffffffep+59"),
    ("-9223372036854775808", "-9223372036854775808", "-9.2233720368547758e+18", "-0x8p+60"),
    ("1e20", "100000000000000000000", "1e+20", "0xa.d78ebc5ac62p+63"),
    ("1e27", "1000000000000000000000000000", "1e+27", "0xc.ecb8f27f4200f3ap+86"),
    ("1e28", "9999999999999999999731564544", "1e+28", "0x8.13f3978f8940984p+90"),
    ("1.000000000000000005", "1", "1", "0x8.00000000000002ep-3"),
    ("0.000000000000000005", "0", "5e-18", "0xb.877aa3236a4b449p-61"),
    ("0.000000000000000015", "0.00000000000000002", "1.5e-17", "0x8.a59bfa5a8fb8737p-59"),
    ("0.000000000000000025", "0.00000000000000002", "2.5e-17", "0xe.69594bec44de15bp-59"),
    ("0x1p-18", "0.00000381469726562", "3.814697265625e-06", "0x8p-21"),
    ("0x0.8p-17", "0.00000381469726562", "3.814697265625e-06", "0x8p-21"),
    ("0.5", "0.5", "0.5", "0x8p-4"),
    ("2.5e-17", "0.00000000000000002", "2.5e-17", "0xe.69594bec44de15bp-59"),
    ("0.99999999999999999999", "1", "1", "0x8p-3"),
    ("99999.999999999999999999", "100000", "100000", "0xc.35p+13"),
    ("0.999999999999999995", "1", "1", "0xf.fffffffffffffa4p-4"),
    ("1e-4940", "0", "9.9999999999605325e-4941", "0x0.000000663278e62p-16385"),
    ("0x1p-16445", "0", "3.6451995318824746e-4951", "0x0.000000000000001p-16385"),
    ("0x1.8p-16445", "0", "7.2903990637649492e-4951", "0x0.000000000000002p-16385"),
    ("0x7.fffffffffffffff8p-16385", "0", "3.3621031431120935e-4932", "0x8p-16385"),
    ("0x1p-16382", "0", "3.3621031431120935e-4932", "0x8p-16385"),
    ("0x1.00000000000000008p0", "1", "1", "0x8p-3"),
    ("0x1.0000000000000001p0", "1", "1", "0x8p-3"),
    ("0x1.00000000000000018p0", "1", "1", "0x8.000000000000001p-3"),
    ("0x1.000000000000000080001p0", "1", "1", "0x8p-3"),
    ("0x1.ffffffffffffffffp0", "2", "2", "0x8p-2"),
    (
        "3.14159265358979323846264338327950288",
        "3.14159265358979324",
        "3.1415926535897932",
        "0xc.90fdaa22168c235p-2",
    ),
    ("17179869184.123", "17179869184.12299999967217445", "17179869184.123", "0x8.000000003ef9db2p+31"),
    ("0.30000000000000000001", "0.3", "0.3", "0x9.99999999999999ap-5"),
    ("0x123456789abcdef.0p-4", "5124095576030430.9375", "5124095576030430.9", "0x9.1a2b3c4d5e6f78p+49"),
    ("1e-5", "0.00001", "1e-05", "0xa.7c5ac471b478423p-20"),
    ("0.0001", "0.0001", "0.0001", "0xd.1b71758e219652cp-17"),
    (
        "12345.678901234567891234",
        "12345.67890123456789109",
        "12345.678901234568",
        "0xc.0e6b731e29ebb83p+10",
    ),
    ("-00012.50000e-1", "-1.25", "-1.25", "-0xap-3"),
    ("1e+0000000000000000000005", "100000", "100000", "0xc.35p+13"),
    (
        "0.1000000000000000055511151231257827021181583404541015625",
        "0.10000000000000001",
        "0.10000000000000001",
        "0xc.cccccccccccdp-7",
    ),
];

#[test]
fn the_awkward_cases() {
    for (text, fixed, short, exact) in AWKWARD {
        let value = ld(text);
        assert_eq!(hex(value), *exact, "{text}");
        assert_eq!(human(value), *fixed, "{text}");
        assert_eq!(general(value), *short, "{text}");
    }
}

#[test]
fn extremes() {
    let max = ld("0xf.fffffffffffffffp+16380");
    let text = human(max);
    assert_eq!((text.len(), &text[..20]), (4933, "11897314953572317650"));
    assert!(ld("1.18973149535723176505e4932").is_finite());
    assert_eq!(general(max), "1.1897314953572318e+4932");
    assert!(LongDouble::parse(b"1.18973149535723176506e4932").is_none());
    assert!((max + max).is_infinite());
    // Half a unit above the maximum rounds to infinity, less does not.
    assert!((max + ld("0x1p+16319")).is_infinite());
    assert_eq!(hex(max + ld("0x1p+16318")), hex(max));
    assert_eq!(human(ld("3.6e-4951")), "0");
    assert_eq!(human(ld("-3.6e-4951")), "0");
    assert_eq!(general(ld("3.6e-4951")), "3.6451995318824746e-4951");
    assert_eq!(human(ld("1e-17")), "0.00000000000000001");
    assert_eq!(human(ld("-4.9e-18")), "0");
}

#[test]
fn refused() {
    for text in [
        "",
        " 1",
        "1 ",
        "nan",
        "-NaN",
        "1e",
        "0x",
        "abc",
        "1e4933",
        "-1e4933",
        "1.19e4932",
        "1e-4952",
        "1.8e-4951",
        "0x1p+16384",
        "0x1p-16446",
        "1\0",
        "1e999999999999999999999",
        "1e-999999999999999999999",
    ] {
        assert!(LongDouble::parse(text.as_bytes()).is_none(), "{text:?}");
    }
    assert!(LongDouble::parse(&[b'1'; 5120]).is_none());
    let long = format!("0.{}", "1".repeat(5117));
    assert_eq!(human(ld(&long)), "0.11111111111111111");
}

#[test]
fn zeros_infinities_and_nan() {
    assert_eq!(human(ld("0e99999999999999999999")), "0");
    assert_eq!(general(ld("-0")), "-0");
    assert_eq!(human(ld("-0")), "0");
    assert_eq!(general(ld("-0") + ld("-0")), "-0");
    assert_eq!(general(ld("-0") + ld("0")), "0");
    assert_eq!(general(ld("-5") + ld("5")), "0");
    let (inf, minus) = (ld("inf"), ld("-INFINITY"));
    assert!(inf.is_infinite() && !inf.is_finite() && !inf.is_nan());
    assert_eq!((human(inf), human(minus)), ("inf".into(), "-inf".into()));
    assert!((inf + minus).is_nan() && (inf + ld("1")).is_infinite() && (ld("1") + minus).is_infinite());
    let nan = inf + minus;
    assert!((nan + ld("1")).is_nan() && (ld("1") + nan).is_nan());
    assert_eq!((human(nan), general(nan), hex(nan)), ("nan".into(), "nan".into(), "nan".into()));
    assert!(nan.to_f64().is_nan());
    assert_eq!(minus.to_f64(), f64::NEG_INFINITY);
}

#[test]
fn integers_are_exact() {
    let mut rng = Rng::seeded(1);
    for _ in 0..50_000 {
        let draw = |rng: &mut Rng| (rng.next_u64() as i64) >> rng.below(64);
        let (a, b) = (draw(&mut rng), draw(&mut rng));
        assert_eq!(human(LongDouble::from_i64(a)), a.to_string());
        assert_eq!(human(ld(&a.to_string())), a.to_string());
        if let Some(sum) = a.checked_add(b) {
            assert_eq!(human(LongDouble::from_i64(a) + LongDouble::from_i64(b)), sum.to_string());
        }
    }
    assert_eq!(human(LongDouble::from_i64(i64::MIN)), i64::MIN.to_string());
}

#[test]
fn doubles_pass_through_unchanged() {
    let mut rng = Rng::seeded(2);
    for _ in 0..10_000 {
        let value = f64::from_bits(rng.next_u64());
        let back = LongDouble::from_f64(value);
        assert_eq!(back.is_nan(), value.is_nan());
        if !value.is_nan() {
            assert_eq!(back.to_f64().to_bits(), value.to_bits());
            let text = shown(|out| crate::algo::num::push_f64_17g(out, value));
            assert_eq!(general(back), text);
        }
    }
    for (text, want) in [
        ("0x1.00000000000008p0", 1.0),
        ("0x1.00000000000018p0", 1.0 + 2.0 * f64::EPSILON),
        ("0x1.fffffffffffff8p1023", f64::INFINITY),
        ("0x1.fffffffffffff7p1023", f64::MAX),
        ("0x1p-1075", 0.0),
        ("0x1.8p-1075", 5e-324),
        ("0x1p-1076", 0.0),
        ("-1e-4000", -0.0),
        ("1e4000", f64::INFINITY),
    ] {
        assert_eq!(ld(text).to_f64().to_bits(), f64::to_bits(want), "{text}");
    }
}

/// Compare two non-negative decimal numbers given as digits and the count of them before the point.
fn compare(a: (&[u8], i64), b: (&[u8], i64)) -> Ordering {
    fn normal((digits, point): (&[u8], i64)) -> (i64, Vec<u8>) {
        let zeros = digits.iter().take_while(|&&d| d == b'0').count();
        let mut rest = digits[zeros..].to_vec();
        while rest.last() == Some(&b'0') {
            rest.pop();
        }
        (if rest.is_empty() { i64::MIN } else { point - zeros as i64 }, rest)
    }
    normal(a).cmp(&normal(b))
}

/// The value read must be the nearest of all: the text lies between the two midpoints around it.
#[test]
fn every_text_is_read_as_the_nearest_number() {
    let mut rng = Rng::seeded(3);
    let mut big = 0;
    for round in 0..10_000 {
        let digits = 1 + rng.index(if round % 8 == 0 { 60 } else { 22 });
        let mut text: Vec<u8> = (0..digits).map(|_| b'0' + rng.below(10) as u8).collect();
        text[0] = b'1' + rng.below(9) as u8;
        let range = if round % 32 == 0 { 9800 } else { 60 };
        let power = rng.below(range) as i64 - range as i64 / 2;
        big += u32::from(digits > 19 || power.abs() > 27);
        let whole = format!("{}e{power}", std::str::from_utf8(&text).expect("ascii"));
        let Some(value) = LongDouble::parse(whole.as_bytes()) else {
            let size = power + digits as i64;
            assert!(!(-4949..=4932).contains(&size), "{whole} is in range");
            continue;
        };
        let Size::Finite { mantissa, exponent } = value.size else { panic!("{whole}") };
        assert!(mantissa >> 63 == 1 || exponent == MIN_EXPONENT);
        let exact = (&text[..], power + digits as i64);
        let twice = u128::from(mantissa) * 2;
        let above = exact_digits(twice + 1, exponent - 1);
        let over = compare((&above.0, above.1), exact);
        // Under a power of two the neighbour is half as far.
        let below = match mantissa == 1 << 63 && exponent > MIN_EXPONENT {
            true => exact_digits(twice * 2 - 1, exponent - 2),
            false => exact_digits(twice - 1, exponent - 1),
        };
        let under = compare((&below.0, below.1), exact);
        let even = mantissa & 1 == 0;
        assert!(over.is_gt() || (over.is_eq() && even), "{whole} is nearer to the next number");
        assert!(under.is_lt() || (under.is_eq() && even), "{whole} is nearer to the one before");
    }
    assert!(big > 2_000, "both ways of reading must be met");
}

/// The sum must be the nearest number to the exact sum, which big integers give.
#[test]
fn sums_agree_with_big_integers() {
    let mut rng = Rng::seeded(4);
    for _ in 0..20_000 {
        let draw = |rng: &mut Rng| {
            let mantissa = match rng.below(4) {
                0 => 1 << 63,
                1 => u64::MAX << rng.below(64),
                2 => (1 << 63) + rng.below(3),
                _ => rng.next_u64() | 1 << 63,
            };
            (mantissa | 1 << 63, rng.below(140) as i64, rng.below(2) == 0)
        };
        let ((ma, ea, na), (mb, eb, nb)) = (draw(&mut rng), draw(&mut rng));
        let sum = LongDouble::finite(na, ma, ea) + LongDouble::finite(nb, mb, eb);
        let exact = |mantissa: u64, exponent: i64| {
            let mut big = Big::from_u128(u128::from(mantissa));
            big.shl(exponent as usize);
            big
        };
        let (a, b) = (exact(ma, ea), exact(mb, eb));
        let (larger, smaller) = if a >= b { (&a, &b) } else { (&b, &a) };
        let mut total = larger.clone();
        if na == nb {
            // a + b = 2a - (a - b), for which subtraction is enough.
            total.shl(1);
            let mut gap = larger.clone();
            gap.sub_assign(smaller);
            total.sub_assign(&gap);
        } else {
            total.sub_assign(smaller);
        }
        let negative = if total.is_zero() {
            na && nb
        } else if a >= b {
            na
        } else {
            nb
        };
        let (top, shift, inexact) = total.top();
        let want = LongDouble::rounded(negative, top, shift as i64, inexact);
        assert_eq!(hex(sum), hex(want), "{ma:x}p{ea} {mb:x}p{eb}");
        // Addition has no order.
        assert_eq!(hex(LongDouble::finite(nb, mb, eb) + LongDouble::finite(na, ma, ea)), hex(sum));
    }
}

#[test]
fn human_text_reads_back_within_half_a_place() {
    let mut rng = Rng::seeded(5);
    for _ in 0..20_000 {
        let value =
            LongDouble::finite(rng.below(2) == 0, rng.next_u64() | 1 << 63, -(rng.below(130) as i64));
        let text = human(value);
        let (whole, part) = text.split_once('.').unwrap_or((&text, ""));
        assert!(part.len() <= 17 && !part.ends_with('0') && text != "-0", "{text}");
        assert!(whole == "0" || whole == "-0" || !whole.trim_start_matches('-').starts_with('0'));
        let mut minus = ld(&text);
        minus.negative ^= true;
        let difference = value + minus;
        assert!(difference.to_f64().abs() <= 0.5e-17 + value.to_f64().abs() * 1e-19, "{text}");
    }
}
