//! Numbers as the configuration spells them: memory units, octal permissions, and the lenient integers
//! of C's `strtoll`, which a few directives inherited.
//!
//! ```text
//! memory   digits [b | k | kb | m | mb | g | gb]     k = 1000, kb = 1024; too many digits saturate,
//!                                                    the product wraps, no digits at all are 0
//! octal    strtoll, base 8
//! lenient  strtoll, base 10, up to the end of the text: blanks and a sign may lead, "" is 0
//! ```

use crate::algo::num;

/// The part of a value that C sees: up to its first NUL.
pub fn cut_nul(text: &[u8]) -> &[u8] {
    text.split(|&b| b == 0).next().unwrap_or_default()
}

/// Reads an amount of memory.
pub fn parse_memory(text: &[u8]) -> Option<u64> {
    num::parse_memory(cut_nul(text))
}

/// An amount of memory in the largest unit that divides it, for the configuration file.
pub fn format_memory(bytes: u64) -> String {
    for (shift, unit) in [(30, "gb"), (20, "mb"), (10, "kb")] {
        if bytes != 0 && bytes.trailing_zeros() >= shift {
            return format!("{}{unit}", bytes >> shift);
        }
    }
    bytes.to_string()
}

/// An integer in the given base that fills the whole text, as C's `strtoll` reads it. The flag says that
/// it was too large and has been cut to the nearest number there is.
pub fn parse_lenient(text: &[u8], base: u8) -> Option<(i64, bool)> {
    let text = cut_nul(text);
    if text.is_empty() {
        return Some((0, false));
    }
    let blanks = text.iter().take_while(|b| num::is_space(**b)).count();
    let (_, rest) = text.split_at(blanks);
    let (negative, digits) = match rest.split_first() {
        Some((b'-', digits)) => (true, digits),
        Some((b'+', digits)) => (false, digits),
        _ => (false, rest),
    };
    if digits.is_empty() {
        return None;
    }
    let mut value: i128 = 0;
    for b in digits {
        let digit = b.wrapping_sub(b'0');
        if !b.is_ascii_digit() || digit >= base {
            return None;
        }
        // Saturation keeps the value out of range, so the cut below still shows.
        value = value.saturating_mul(i128::from(base)).saturating_add(i128::from(digit));
    }
    let value = if negative { value.saturating_neg() } else { value };
    match i64::try_from(value) {
        Ok(value) => Some((value, false)),
        Err(_) => Some((if negative { i64::MIN } else { i64::MAX }, true)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_units() {
        for (text, bytes) in [
            ("0", 0),
            ("100", 100),
            ("100B", 100),
            ("1k", 1000),
            ("1Kb", 1024),
            ("2m", 2_000_000),
            ("2MB", 2 << 20),
            ("3g", 3_000_000_000),
            ("3gB", 3 << 30),
            ("", 0),
            ("kb", 0),
            ("18446744073709551615", u64::MAX),
            ("99999999999999999999999", u64::MAX),
            ("17179869184gb", 0),
        ] {
            assert_eq!(parse_memory(text.as_bytes()), Some(bytes), "{text}");
        }
        for text in ["-1", "1x", "1 k", "1kbb", " 1", "1.5g", "+1", "%"] {
            assert_eq!(parse_memory(text.as_bytes()), None, "{text}");
        }
        assert_eq!(parse_memory(&[b'1'; 128]), None);
        assert_eq!(parse_memory(b"12\x00kb"), Some(12));
    }

    #[test]
    fn memory_survives_printing() {
        for bytes in [0, 1, 1000, 1024, 1 << 20, 3 << 20, 5 << 30, 1 << 40, (1 << 30) + 1, u64::MAX] {
            assert_eq!(parse_memory(format_memory(bytes).as_bytes()), Some(bytes));
        }
        assert_eq!(format_memory(1 << 20), "1mb");
        assert_eq!(format_memory(1536), "1536");
        assert_eq!(format_memory(2048), "2kb");
    }

    #[test]
    fn lenient_integers() {
        assert_eq!(parse_lenient(b"", 10), Some((0, false)));
        assert_eq!(parse_lenient(b" \t-12", 10), Some((-12, false)));
        assert_eq!(parse_lenient(b"+7", 10), Some((7, false)));
        assert_eq!(parse_lenient(b"0755", 8), Some((0o755, false)));
        assert_eq!(parse_lenient(b"99999999999999999999", 10), Some((i64::MAX, true)));
        assert_eq!(parse_lenient(b"-99999999999999999999", 10), Some((i64::MIN, true)));
        assert_eq!(parse_lenient(&[b'9'; 400], 10), Some((i64::MAX, true)));
        for text in ["8", "12a", "12 ", "-", " ", "0x1"] {
            assert_eq!(parse_lenient(text.as_bytes(), 8), None, "{text}");
        }
    }
}
