use super::*;
use crate::algo::rng::Rng;

/// Upstream's rule said plainly: the text is a number if printing the number gives the text.
fn naive_i64(text: &[u8]) -> Option<i64> {
    let value: i64 = std::str::from_utf8(text).ok()?.parse().ok()?;
    (value.to_string().as_bytes() == text).then_some(value)
}

#[test]
fn strict_integers() {
    for refused in [
        "",
        "-",
        "+1",
        " 1",
        "1 ",
        "01",
        "00",
        "-0",
        "-01",
        "1a",
        "a",
        "0x10",
        "1.0",
        "--1",
        "1-",
        "9223372036854775808",
        "-9223372036854775809",
        "18446744073709551616",
        "99999999999999999999",
        "100000000000000000000",
        "12345678/",
        "12345678:",
        "1234567\u{b1}",
    ] {
        assert_eq!(parse_i64(refused.as_bytes()), None, "{refused:?}");
    }
    for value in [0, 1, -1, 9, 10, 99, 123456789, 12345678901234567, i64::MAX, i64::MIN, -10] {
        assert_eq!(parse_i64(value.to_string().as_bytes()), Some(value));
    }
}

#[test]
fn strict_integers_agree_with_the_naive_twin() {
    let mut rng = Rng::seeded(1);
    for _ in 0..300_000 {
        let value = (rng.next_u64() as i64) >> rng.below(64);
        let mut text = value.to_string().into_bytes();
        assert_eq!(parse_i64(&text), Some(value));
        let at = rng.index(text.len());
        match rng.below(4) {
            0 => text[at] = rng.next_u64() as u8,
            1 => text.insert(at, b'0' + rng.below(10) as u8),
            2 => text.push(b"/:0 9-"[rng.index(6)]),
            _ => text[at] ^= 1 << rng.below(8),
        }
        assert_eq!(parse_i64(&text), naive_i64(&text), "{:?}", text.escape_ascii().to_string());
    }
}

#[test]
fn eight_digits_takes_digits_only() {
    for at in 0..8 {
        for byte in 0..=255u8 {
            let mut text = *b"90817263";
            text[at] = byte;
            let want = std::str::from_utf8(&text).ok().and_then(|t| t.parse::<u64>().ok());
            let want = want.filter(|_| byte.is_ascii_digit());
            assert_eq!(eight_digits(text), want, "byte {byte} at {at}");
        }
    }
}

#[test]
fn loose_unsigned_integers() {
    let table: &[(&str, Option<u64>)] = &[
        ("0", Some(0)),
        ("18446744073709551615", Some(u64::MAX)),
        ("18446744073709551616", None),
        ("9223372036854775808", Some(1 << 63)),
        ("-1", None),
        ("-01", Some(u64::MAX)),
        ("-0", Some(0)),
        ("-18446744073709551615", Some(1)),
        ("+7", Some(7)),
        ("007", Some(7)),
        (" \t\n\u{b}\u{c}\r12", Some(12)),
        ("12 ", None),
        ("", None),
        (" ", None),
        ("-", None),
        ("+", None),
        ("+-1", None),
        ("1a", None),
        ("0x1", None),
    ];
    for &(text, want) in table {
        assert_eq!(parse_u64(text.as_bytes()), want, "{text:?}");
    }
}

#[test]
fn amounts_of_memory() {
    let table: &[(&str, Option<u64>)] = &[
        ("0", Some(0)),
        ("100", Some(100)),
        ("100b", Some(100)),
        ("1k", Some(1000)),
        ("1KB", Some(1024)),
        ("3M", Some(3_000_000)),
        ("3mb", Some(3 << 20)),
        ("2G", Some(2_000_000_000)),
        ("2Gb", Some(2 << 30)),
        ("", Some(0)),
        ("kb", Some(0)),
        ("99999999999999999999", Some(u64::MAX)),
        ("-1", None),
        ("1t", None),
        ("1 kb", None),
        ("1.5gb", None),
    ];
    for &(text, want) in table {
        assert_eq!(parse_memory(text.as_bytes()), want, "{text:?}");
    }
    assert_eq!(parse_memory(&[b'1'; 128]), None);
}

#[test]
fn floats_accepted() {
    let table: &[(&str, f64)] = &[
        ("0", 0.0),
        ("-0", -0.0),
        ("+0", 0.0),
        ("1", 1.0),
        ("+1.5", 1.5),
        ("1.", 1.0),
        (".5", 0.5),
        ("-.5e1", -5.0),
        ("007", 7.0),
        ("1e5", 1e5),
        ("1E+5", 1e5),
        ("1e-5", 1e-5),
        ("0e999999999999999999999", 0.0),
        ("0x10", 16.0),
        ("0X1.8p1", 3.0),
        ("0x.8", 0.5),
        ("0x8.", 8.0),
        ("-0x1P-1074", -5e-324),
        ("0x0p99999999999", 0.0),
        ("0x1.fffffffffffff7ffffffp0", 2.0 - f64::EPSILON),
        ("0x1.fffffffffffff8p0", 2.0),
        ("0x1.00000000000008p0", 1.0),
        ("0x1.000000000000080000000000000001p0", 1.0 + f64::EPSILON),
        ("0x000000000000000000000001", 1.0),
        ("0x1.8p-1074", 1e-323),
        ("0x0.fffffffffffff8p-1022", f64::MIN_POSITIVE),
        ("1.7976931348623157e308", f64::MAX),
        ("4.9e-324", 5e-324),
        ("2.4703282292062328e-324", 5e-324),
        ("9007199254740993", 9007199254740992.0),
        ("inf", f64::INFINITY),
        ("+INF", f64::INFINITY),
        ("-Infinity", f64::NEG_INFINITY),
    ];
    for &(text, want) in table {
        let got = parse_f64(text.as_bytes()).expect(text);
        assert_eq!(got.to_bits(), want.to_bits(), "{text}");
    }
}

#[test]
fn floats_refused() {
    for text in [
        "",
        " ",
        " 1",
        "1 ",
        "\t1",
        "+",
        "-",
        ".",
        "-.",
        "e5",
        ".e5",
        "1e",
        "1e+",
        "1e-",
        "1e5x",
        "1e5.",
        "1..2",
        "1.2.3",
        "--1",
        "+-1",
        "0x",
        "0x.",
        "0xp1",
        "0x1p",
        "0x1p+",
        "0x1e+1g",
        "0x1.8p1.0",
        "nan",
        "-nan",
        "NAN",
        "nan(1)",
        "infin",
        "infinityx",
        "in",
        "i",
        "1,5",
        "1_000",
        "1e400",
        "-1e400",
        "1e-400",
        "2.47e-324",
        "0x1p1024",
        "0x1p-1075",
        "1\0",
        "\u{661}",
        "1f",
        "1d",
        "0x1p99999999999999999999",
        "1e99999999999999999999",
        "1e-99999999999999999999",
    ] {
        assert_eq!(parse_f64(text.as_bytes()), None, "{text:?}");
    }
    assert_eq!(parse_f64(b"\xff"), None);
}

#[test]
fn hexadecimal_floats_agree_with_exact_arithmetic() {
    let mut rng = Rng::seeded(5);
    for _ in 0..100_000 {
        // Doubles have an exact hexadecimal text: any bits, then exact halves that must go to even.
        let bits = rng.next_u64() & !(1 << 63);
        let value = f64::from_bits(bits);
        if !value.is_finite() || value == 0.0 {
            continue;
        }
        let (fraction, biased) = (bits & ((1 << 52) - 1), (bits >> 52) as i64);
        let lead = u64::from(biased != 0);
        let exponent = biased.max(1) - 1023;
        let shift = rng.below(40) as i64;
        let exact = format!("0x{lead}.{fraction:013x}p{exponent}");
        assert_eq!(parse_f64(exact.as_bytes()), Some(value), "{exact}");
        let moved = format!(
            "0x{}{fraction:013x}{}p{}",
            lead,
            "0".repeat(shift as usize),
            exponent - 52 - 4 * shift
        );
        assert_eq!(parse_f64(moved.as_bytes()), Some(value), "{moved}");
        let half = format!("0x{lead}.{fraction:013x}8p{exponent}");
        let even = f64::from_bits(bits + (bits & 1));
        assert_eq!(parse_f64(half.as_bytes()), Some(even).filter(|v| v.is_finite()), "{half}");
        let more = format!("0x{lead}.{fraction:013x}80000000000000000000001p{exponent}");
        let up = f64::from_bits(bits + 1);
        assert_eq!(parse_f64(more.as_bytes()), Some(up).filter(|v| v.is_finite()), "{more}");
    }
}

#[test]
fn short_texts_never_panic_and_agree_with_the_standard_parser() {
    let mut rng = Rng::seeded(9);
    let alphabet = b"0123456789.eE+-xXpPinfa";
    for _ in 0..300_000 {
        let len = rng.index(9);
        let text: Vec<u8> = (0..len).map(|_| alphabet[rng.index(alphabet.len())]).collect();
        let got = parse_f64(&text);
        let plain = !text.iter().any(|b| b"xXnN".contains(b));
        if plain {
            let text = std::str::from_utf8(&text).expect("ascii");
            let want = text.parse::<f64>().ok().filter(|v| v.is_finite());
            let underflow = want == Some(0.0)
                && text
                    .split(['e', 'E'])
                    .next()
                    .is_some_and(|m| m.bytes().any(|b| (b'1'..=b'9').contains(&b)));
            assert_eq!(got, want.filter(|_| !underflow), "{text}");
        }
    }
}

#[test]
fn doubles_as_replies_show_them() {
    let table: &[(f64, &str, &str)] = &[
        (0.0, "0", "0"),
        (-0.0, "-0", "-0"),
        (3.0, "3", "3"),
        (1e15, "1000000000000000", "1e+15"),
        (-1e18, "-1000000000000000000", "-1e+18"),
        (4611686018427387904.0, "4611686018427387904", "4611686018427388000"),
        (-4611686018427387904.0, "-4611686018427387904", "-4611686018427388000"),
        (4611686018427388928.0, "4611686018427389000", "4611686018427389000"),
        (1e20, "1e+20", "1e+20"),
        (0.1, "0.1", "0.1"),
        (-2.5, "-2.5", "-2.5"),
        (17179869184.5, "17179869184.5", "17179869184.5"),
        (f64::INFINITY, "inf", "inf"),
        (f64::NEG_INFINITY, "-inf", "-inf"),
    ];
    for &(value, reply, plain) in table {
        assert_eq!(F64Text::new(value).escape_ascii().to_string(), reply);
        assert_eq!(F64Text::plain(value).escape_ascii().to_string(), plain);
    }
    assert_eq!(&*F64Text::new(-f64::NAN.abs()), b"nan");
    assert_eq!(&*F64Text::plain(-f64::NAN.abs()), b"-nan");
}

#[test]
fn fixed_places() {
    let table: &[(f64, u32, &str)] = &[
        (0.0, 4, "0.0000"),
        (190442.4351, 4, "190442.4351"),
        (0.07125, 4, "0.0712"),
        (0.00025, 4, "0.0002"),
        (-0.5, 4, "-0.5000"),
        (-0.00001, 4, "0.0000"),
        (12.0, 1, "12.0"),
        (0.1, 17, "0.10000000000000000"),
        (99.999, 2, "100.00"),
    ];
    for &(value, places, want) in table {
        let mut out = Vec::new();
        push_fixed(&mut out, value, places);
        assert_eq!(String::from_utf8(out).expect("ascii"), want, "{value}");
    }
}

#[test]
fn human_sizes_and_percentile_names() {
    let table: &[(u64, &str)] = &[
        (0, "0B"),
        (1023, "1023B"),
        (1024, "1.00K"),
        (1 << 20, "1.00M"),
        ((1 << 20) - 1, "1024.00K"),
        (1_234_567, "1.18M"),
        (3 << 29, "1.50G"),
        (5 << 40, "5.00T"),
        (7 << 50, "7.00P"),
        (1 << 60, "1152921504606846976B"),
        (u64::MAX, "18446744073709551615B"),
    ];
    for &(bytes, want) in table {
        assert_eq!(human_bytes(bytes), want);
    }
    assert_eq!(trimmed_f64(50.0), "50");
    assert_eq!(trimmed_f64(99.9), "99.9");
    assert_eq!(trimmed_f64(0.0), "0");
    assert_eq!(trimmed_f64(100.0), "100");
    assert_eq!((digits10(0), digits10(9), digits10(10), digits10(u64::MAX)), (1, 1, 2, 20));
}

#[test]
fn integers_out() {
    let mut out = Vec::new();
    push_i64(&mut out, i64::MIN);
    push_u64(&mut out, u64::MAX);
    push_f64(&mut out, 1.25);
    push_f64_17g(&mut out, 0.1);
    assert_eq!(out, b"-9223372036854775808184467440737095516151.250.10000000000000001");
}

#[test]
fn ends_of_score_ranges_are_read_as_strtod_reads_them() {
    for (text, value) in [
        ("", 0.0),
        (" 1.5", 1.5),
        ("\t-2", -2.0),
        ("3\0junk", 3.0),
        ("1e400", f64::INFINITY),
        ("-1e400", f64::NEG_INFINITY),
        ("1e-400", 0.0),
        ("0x10", 16.0),
        ("+inf", f64::INFINITY),
    ] {
        assert_eq!(parse_f64_bound(text.as_bytes()), Some(value), "{text:?}");
    }
    for text in [" ", "1 ", "nan", "x", "1e", "--1"] {
        assert_eq!(parse_f64_bound(text.as_bytes()), None, "{text:?}");
    }
}

#[test]
fn a_switch_is_read_as_far_as_it_is_a_number() {
    for (text, n) in [("1", 1), (" 12ab", 12), ("-3", -3), ("+4", 4), ("x", 0), ("", 0)] {
        assert_eq!(loose(text.as_bytes()), n, "{text}");
    }
    assert_eq!(loose(b"-9223372036854775809"), i64::MIN);
    assert_eq!(loose32(b"4294967298x"), 2);
    assert_eq!(loose32(b"9223372036854775807"), -1);
}
