//! Glob patterns: KEYS, SCAN MATCH, PSUBSCRIBE, ACL key and channel patterns, CONFIG GET.
//!
//! ```text
//!   *          any run of bytes          see below for the empty run
//!   ?          one byte
//!   [abc]      one of these              [^abc] none of these
//!   [a-z]      a range, ends in any order, both included
//!   \x         x itself, also within a class
//! ```
//!
//! What a pattern means at its edges is visible to clients, so it is kept exactly as upstream has it:
//!
//! - The empty string matches the empty pattern only; not even `*` matches it.
//! - A class that is never closed ends with the pattern: `[ab` is `[ab]`, `[` matches nothing, `[^`
//!   anything. A `]` always closes, also as the first of its class, so `[]` matches nothing.
//! - A range takes its end as it stands, even if that is `]` or `\`: `[a-]` is an unclosed class from
//!   `]` to `a`. Bytes of ranges are ordered as signed chars: 0x80 to 0xff come before 0x00.
//! - Ignoring case folds ASCII letters, but not escaped letters in a class. The ends of a range are put
//!   in order as signed chars first, then folded and compared as unsigned ones (0xff alone stays -1), so
//!   `[Z-a]` is empty.
//! - A last lone `\` stands for itself.
//! - The 1001st `*` that has something after it never matches.
//!
//! No recursion, and no blow-up: only the latest `*` is ever retried. If the rest of the pattern after
//! it fits nowhere, moving an earlier `*` further cannot help, since that leaves even less of the
//! string (upstream reaches the same by a flag that ends all retries). So the work is at most the
//! product of the two lengths. After a `*` that is followed by a plain byte, memchr finds the next
//! place to try.

/// How many `*` a match may pass through, trailing one excluded.
const MAX_STARS: usize = 1000;

/// Does all of `string` match `pattern`?
pub fn glob_match(pattern: &[u8], string: &[u8], nocase: bool) -> bool {
    if nocase { Matcher::<true>::run(pattern, string) } else { Matcher::<false>::run(pattern, string) }
}

/// Whether `pattern` has any special byte; if not it matches one string only (compare it, or look it
/// up).
pub fn is_pattern(pattern: &[u8]) -> bool {
    pattern.iter().copied().any(is_special)
}

#[inline]
const fn is_special(byte: u8) -> bool {
    matches!(byte, b'*' | b'?' | b'[' | b'\\')
}

struct Matcher<const NOCASE: bool>;

/// Where to go on when the text after the latest `*` does not fit: one byte further along.
#[derive(Clone, Copy)]
struct Retry<'a> {
    pattern: &'a [u8],
    string: &'a [u8],
}

impl<const NOCASE: bool> Matcher<NOCASE> {
    fn run<'a>(mut pattern: &'a [u8], mut string: &'a [u8]) -> bool {
        let mut retry: Option<Retry<'a>> = None;
        let mut stars = 0usize;
        if string.is_empty() {
            return pattern.is_empty();
        }
        // Most patterns begin with a plain prefix, and most strings differ in it.
        let equal = |(p, s): &(&u8, &u8)| Self::fold(**p) == Self::fold(**s) && !is_special(**p);
        let prefix = pattern.iter().zip(string).take_while(equal).count();
        (pattern, string) = (&pattern[prefix..], &string[prefix..]);
        if string.is_empty() {
            return skip_stars(pattern).is_empty();
        }
        loop {
            if let [b'*', rest @ ..] = pattern {
                pattern = skip_stars(rest);
                if pattern.is_empty() {
                    return true;
                }
                // Whatever follows needs a byte, and an earlier `*` cannot make one appear.
                stars += 1;
                if stars > MAX_STARS || string.is_empty() {
                    return false;
                }
                retry = Some(Retry { pattern, string });
                match Self::seek(pattern, string) {
                    Some(from) => string = from,
                    None => return false,
                }
            }
            let stepped = match string.split_first() {
                Some((&byte, after)) => Self::step(pattern, byte).map(|rest| (rest, after)),
                None => None,
            };
            match stepped {
                Some((rest, [])) if skip_stars(rest).is_empty() => return true,
                // The string is used up but the pattern is not. A retry would start with less.
                Some((_, [])) => return false,
                Some((rest, after)) => (pattern, string) = (rest, after),
                None => {
                    let Some(again) = retry.as_mut() else { return false };
                    let Some(from) = again.string.get(1..) else { return false };
                    let Some(from) = Self::seek(again.pattern, from) else { return false };
                    again.string = from;
                    (pattern, string) = (again.pattern, from);
                }
            }
        }
    }

    /// The first place where `pattern`, which comes after a `*`, could begin to match.
    fn seek<'s>(pattern: &[u8], string: &'s [u8]) -> Option<&'s [u8]> {
        let &first = pattern.first()?;
        if NOCASE || matches!(first, b'?' | b'[' | b'\\') {
            return (!string.is_empty()).then_some(string);
        }
        string.get(memchr::memchr(first, string)?..)
    }

    /// Match the first element of `pattern`, which is no `*`, against one byte: the rest of the pattern.
    #[inline]
    fn step(pattern: &[u8], byte: u8) -> Option<&[u8]> {
        match pattern {
            [b'?', rest @ ..] => Some(rest),
            [b'[', rest @ ..] => Self::class(rest, byte),
            [b'\\', literal, rest @ ..] | [literal, rest @ ..] => {
                (Self::fold(*literal) == Self::fold(byte)).then_some(rest)
            }
            [] => None,
        }
    }

    /// `pattern` begins after the `[`.
    fn class(pattern: &[u8], byte: u8) -> Option<&[u8]> {
        let (negated, mut pattern) = match pattern {
            [b'^', rest @ ..] => (true, rest),
            rest => (false, rest),
        };
        let mut found = false;
        loop {
            pattern = match pattern {
                [b'\\', literal, rest @ ..] => {
                    found |= *literal == byte;
                    rest
                }
                [b']', rest @ ..] => return (found != negated).then_some(rest),
                [] => return (found != negated).then_some(&[]),
                [from, b'-', to, rest @ ..] => {
                    found |= Self::in_range(*from, *to, byte);
                    rest
                }
                [literal, rest @ ..] => {
                    found |= Self::fold(*literal) == Self::fold(byte);
                    rest
                }
            };
        }
    }

    fn in_range(from: u8, to: u8, byte: u8) -> bool {
        let signed = |b: u8| i8::from_ne_bytes([b]);
        let (low, high) = if signed(from) <= signed(to) { (from, to) } else { (to, from) };
        // tolower(3) hands back the unsigned value of a char, but for 0xff, which it takes for EOF.
        let order = |b: u8| match b {
            _ if !NOCASE => i32::from(signed(b)),
            0xff => -1,
            b => i32::from(Self::fold(b)),
        };
        (order(low)..=order(high)).contains(&order(byte))
    }

    #[inline]
    fn fold(byte: u8) -> u8 {
        if NOCASE { byte.to_ascii_lowercase() } else { byte }
    }
}

fn skip_stars(pattern: &[u8]) -> &[u8] {
    let stars = pattern.iter().take_while(|&&b| b == b'*').count();
    pattern.get(stars..).unwrap_or(&[])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::algo::rng::Rng;

    fn matches(pattern: &str, string: &str) -> bool {
        glob_match(pattern.as_bytes(), string.as_bytes(), false)
    }

    /// The meaning said plainly: every `*` tries every length, every element is looked up in a set of
    /// bytes built beforehand. Exponential, so for short patterns only.
    fn naive(pattern: &[u8], string: &[u8], nocase: bool) -> bool {
        let lower = |b: u8| if nocase { b.to_ascii_lowercase() } else { b };
        let Some(&first) = pattern.first() else { return string.is_empty() };
        if first == b'*' {
            let all_stars = pattern.iter().all(|&b| b == b'*');
            return all_stars || (0..string.len()).any(|n| naive(&pattern[1..], &string[n..], nocase));
        }
        let Some((&byte, after)) = string.split_first() else { return false };
        if first == b'?' {
            return naive(&pattern[1..], after, nocase);
        }
        if first != b'[' {
            let escaped = first == b'\\' && pattern.len() > 1;
            let literal = pattern[usize::from(escaped)];
            let rest = &pattern[1 + usize::from(escaped)..];
            return lower(literal) == lower(byte) && naive(rest, after, nocase);
        }
        let negated = pattern.get(1) == Some(&b'^');
        let mut at = 1 + usize::from(negated);
        let mut set = [false; 256];
        while at < pattern.len() && pattern[at] != b']' {
            if pattern[at] == b'\\' && at + 1 < pattern.len() {
                set[usize::from(pattern[at + 1])] = true;
                at += 2;
            } else if at + 2 < pattern.len() && pattern[at + 1] == b'-' {
                let mut ends = [pattern[at] as i8, pattern[at + 2] as i8];
                ends.sort_unstable();
                let value = |b: u8| match (nocase, lower(b)) {
                    (true, lower) if lower != 0xff => i64::from(lower),
                    (_, b) => i64::from(b as i8),
                };
                let [low, high] = ends.map(|b| value(b as u8));
                for b in 0..=255u8 {
                    set[usize::from(b)] |= low <= value(b) && value(b) <= high;
                }
                at += 3;
            } else {
                for b in 0..=255u8 {
                    set[usize::from(b)] |= lower(pattern[at]) == lower(b);
                }
                at += 1;
            }
        }
        let rest = pattern.get(at + 1..).unwrap_or(&[]);
        set[usize::from(byte)] != negated && naive(rest, after, nocase)
    }

    /// `naive` for whole matches: an empty string matches nothing but the empty pattern.
    fn naive_match(pattern: &[u8], string: &[u8], nocase: bool) -> bool {
        (pattern.is_empty() || !string.is_empty()) && naive(pattern, string, nocase)
    }

    #[test]
    fn everyday_patterns() {
        for (pattern, string) in [
            ("*", "x"),
            ("**", "anything"),
            ("user:*", "user:1000"),
            ("user:*", "user:"),
            ("*:1000", "user:1000"),
            ("u*r:*0", "user:1000"),
            ("h?llo", "hallo"),
            ("h[ae]llo", "hello"),
            ("h[^e]llo", "hallo"),
            ("h[a-c]llo", "hbllo"),
            ("h[c-a]llo", "hbllo"),
            ("a\\*b", "a*b"),
            ("[\\]]", "]"),
            ("*ab*ab", "abxabab"),
            ("", ""),
        ] {
            assert!(matches(pattern, string), "{pattern} {string}");
        }
        for (pattern, string) in [
            ("user:*", "use"),
            ("user:?", "user:"),
            ("h[^e]llo", "hello"),
            ("a\\*b", "axb"),
            ("*ab", "abx"),
            ("a*b*c", "abab"),
            ("abc", "ab"),
            ("ab", "abc"),
            ("", "a"),
            ("Key", "key"),
        ] {
            assert!(!matches(pattern, string), "{pattern} {string}");
        }
    }

    #[test]
    fn an_empty_string_matches_the_empty_pattern_only() {
        for pattern in ["*", "**", "[^a]", "?", "\\", "["] {
            assert!(!matches(pattern, ""), "{pattern}");
        }
    }

    #[test]
    fn broken_classes_and_escapes() {
        assert!(matches("[ab", "b") && !matches("[ab", "c"));
        assert!(!matches("[", "[") && !matches("[", "x"));
        assert!(matches("[^", "x") && matches("[^", "^"));
        assert!(!matches("[]", "]") && !matches("[]a]", "a"));
        assert!(matches("[a-]", "a") && matches("[a-]", "]") && !matches("[a-]", "b"));
        assert!(matches("[a-", "a") && matches("[a-", "-") && !matches("[a-", "b"));
        assert!(matches("[\\", "\\") && matches("\\", "\\") && matches("a\\", "a\\"));
        assert!(matches("[^]", "x") && !matches("[^]", "xy"));
    }

    #[test]
    fn ranges_compare_signed_chars() {
        assert!(glob_match(b"[\x80-\x01]", b"\x00", false));
        assert!(glob_match(b"[a-\xff]", b"b", false) == glob_match(b"[\xff-a]", b"b", false));
        assert!(!glob_match(b"[a-\xff]", b"b", false));
        assert!(glob_match(b"[a-\xff]", b"A", false));
    }

    #[test]
    fn ignoring_case() {
        for (pattern, string, want) in [
            ("KeY*", "key:1", true),
            ("[A-C]x", "bX", true),
            ("[a-c]", "B", true),
            ("[Z-a]", "z", false),
            ("[Z-a]", "a", false),
            ("[\\A]", "a", false),
            ("[A]", "a", true),
            ("\\A", "a", true),
            ("*LONG*", "a very long text", true),
        ] {
            assert_eq!(glob_match(pattern.as_bytes(), string.as_bytes(), true), want, "{pattern}");
        }
    }

    #[test]
    fn no_more_than_a_thousand_stars() {
        let pattern = |n: usize, tail: &str| format!("{}{tail}", "*a".repeat(n));
        let string = "a".repeat(1100);
        assert!(matches(&pattern(1000, ""), &string));
        assert!(matches(&pattern(1000, "*"), &string));
        assert!(!matches(&pattern(1001, ""), &string));
        // Stars side by side count once.
        assert!(matches(&format!("{}a", "*".repeat(5000)), &string));
    }

    #[test]
    fn hostile_patterns_stay_polynomial() {
        let pattern = format!("{}b", "a*".repeat(900));
        assert!(!matches(&pattern, &"a".repeat(5000)));
        let pattern = format!("{}b", "*?".repeat(900));
        assert!(!matches(&pattern, &"a".repeat(5000)));
        assert!(!glob_match(format!("{}B", "*A".repeat(900)).as_bytes(), &[b'a'; 5000], true));
    }

    #[test]
    fn agrees_with_the_naive_twin() {
        let mut rng = Rng::seeded(2);
        let alphabet = b"**??[[]]^-\\\\abABz\x80\xff\x00";
        let mut found = 0;
        for _ in 0..400_000 {
            let draw = |rng: &mut Rng, alphabet: &[u8], max| -> Vec<u8> {
                let len = rng.index(max);
                (0..len).map(|_| alphabet[rng.index(alphabet.len())]).collect()
            };
            let pattern = draw(&mut rng, alphabet, 8);
            let string = draw(&mut rng, &alphabet[10..], 7);
            let nocase = rng.below(2) == 0;
            let want = naive_match(&pattern, &string, nocase);
            found += u32::from(want);
            assert_eq!(
                glob_match(&pattern, &string, nocase),
                want,
                "{} {}",
                pattern.escape_ascii(),
                string.escape_ascii()
            );
        }
        assert!(found > 10_000, "the runner must meet matches too: {found}");
    }

    #[test]
    fn plain_names_are_no_patterns() {
        assert!(!is_pattern(b"") && !is_pattern(b"user:1]-^"));
        assert!([&b"*"[..], b"a?", b"[", b"\\"].iter().all(|p| is_pattern(p)));
    }
}
