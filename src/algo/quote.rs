//! Quoted text: splitting a line into arguments, and writing bytes so that they can be read.
//!
//! `split_args` reads inline requests, lines of the configuration file, and manifest lines:
//!
//! ```text
//!   word           runs to the next blank (space, tab, CR, LF)
//!   "..."          \n \r \t \b \a, \xHH with two hexadecimal digits, \ before any other byte: that byte
//!   'it\'s'        only \' is special
//!   ab"c d"        a quote may open within a word (abc d); the closing one must end it
//! ```
//!
//! A quote that is not closed, or that is closed with something other than white space behind it, makes
//! the whole line an error. The line ends at its first zero byte, as it does for every reader that keeps
//! lines as C strings: what follows such a byte in an inline request is ignored by all of them.
//! Two kinds of white space differ on purpose: vertical tab and form feed are skipped before an argument
//! and may follow a closing quote, but do not end a word.
//!
//! `push_repr` is the other way round, for MONITOR, SLOWLOG, logs, CONFIG REWRITE and CLIENT LIST-like
//! lines: always in double quotes, what is not printable ASCII as an escape, so `split_args` restores
//! it.

use super::num::is_space;

/// The arguments of one line, or `None` where its quotes are unbalanced.
pub fn split_args(line: &[u8]) -> Option<Vec<Vec<u8>>> {
    let end = memchr::memchr(0, line).unwrap_or(line.len());
    let mut rest = line.get(..end)?;
    let mut args = Vec::new();
    loop {
        let start = rest.iter().position(|&b| !is_space(b));
        let Some(start) = start else { return Some(args) };
        let (arg, after) = argument(rest.get(start..)?)?;
        args.push(arg);
        rest = after;
    }
}

/// One argument from the start of `text`, and what follows it.
fn argument(text: &[u8]) -> Option<(Vec<u8>, &[u8])> {
    let ends_word = |b: &u8| matches!(b, b' ' | b'\n' | b'\r' | b'\t' | b'"' | b'\'');
    let len = text.iter().position(ends_word).unwrap_or(text.len());
    let (word, rest) = text.split_at_checked(len)?;
    let mut arg = word.to_vec();
    let rest = match rest {
        [b'"', quoted @ ..] => double_quoted(quoted, &mut arg)?,
        [b'\'', quoted @ ..] => single_quoted(quoted, &mut arg)?,
        rest => return Some((arg, rest)),
    };
    // Nothing may be glued to the closing quote.
    rest.first().is_none_or(|&b| is_space(b)).then_some((arg, rest))
}

/// Appends up to the closing quote; returns what follows it.
fn double_quoted<'a>(mut text: &'a [u8], arg: &mut Vec<u8>) -> Option<&'a [u8]> {
    loop {
        text = match text {
            [b'"', rest @ ..] => return Some(rest),
            [b'\\', b'x', high, low, rest @ ..]
                if high.is_ascii_hexdigit() && low.is_ascii_hexdigit() =>
            {
                let digit = |b: u8| char::from(b).to_digit(16);
                arg.push(u8::try_from(digit(*high)? * 16 + digit(*low)?).ok()?);
                rest
            }
            [b'\\', escaped, rest @ ..] => {
                arg.push(match escaped {
                    b'n' => b'\n',
                    b'r' => b'\r',
                    b't' => b'\t',
                    b'b' => 0x08,
                    b'a' => 0x07,
                    other => *other,
                });
                rest
            }
            [plain, rest @ ..] => {
                arg.push(*plain);
                rest
            }
            [] => return None,
        };
    }
}

fn single_quoted<'a>(mut text: &'a [u8], arg: &mut Vec<u8>) -> Option<&'a [u8]> {
    loop {
        text = match text {
            [b'\'', rest @ ..] => return Some(rest),
            [b'\\', b'\'', rest @ ..] => {
                arg.push(b'\'');
                rest
            }
            [plain, rest @ ..] => {
                arg.push(*plain);
                rest
            }
            [] => return None,
        };
    }
}

/// Append `bytes` in double quotes, escaped so that the result is printable ASCII.
pub fn push_repr(out: &mut Vec<u8>, bytes: &[u8]) {
    out.reserve(bytes.len() + 2);
    out.push(b'"');
    let mut rest = bytes;
    while let Some(at) = rest.iter().position(|&b| !stands_for_itself(b)) {
        let (plain, tail) = rest.split_at(at);
        out.extend_from_slice(plain);
        push_escape(out, tail[0]);
        rest = &tail[1..];
    }
    out.extend_from_slice(rest);
    out.push(b'"');
}

/// `push_repr` into a text of its own.
pub fn repr(bytes: &[u8]) -> String {
    let mut out = Vec::new();
    push_repr(&mut out, bytes);
    String::from_utf8(out).expect("escaping leaves printable ASCII only")
}

/// Must `bytes` be quoted to be one argument of a line? File names in the AOF manifest are quoted only
/// then. (No for the empty text, as upstream has it; no file has that name.)
pub fn needs_repr(bytes: &[u8]) -> bool {
    bytes.iter().any(|&b| !stands_for_itself(b) || b == b' ')
}

#[inline]
fn stands_for_itself(byte: u8) -> bool {
    matches!(byte, b' '..=b'~') && byte != b'"' && byte != b'\\'
}

fn push_escape(out: &mut Vec<u8>, byte: u8) {
    let short = match byte {
        b'"' | b'\\' => byte,
        b'\n' => b'n',
        b'\r' => b'r',
        b'\t' => b't',
        0x07 => b'a',
        0x08 => b'b',
        _ => {
            const HEX: &[u8; 16] = b"0123456789abcdef";
            let (high, low) = (HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]);
            return out.extend_from_slice(&[b'\\', b'x', high, low]);
        }
    };
    out.extend_from_slice(&[b'\\', short]);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::algo::rng::Rng;

    fn split(line: &str) -> Option<Vec<String>> {
        let text = |arg: Vec<u8>| arg.escape_ascii().to_string();
        split_args(line.as_bytes()).map(|args| args.into_iter().map(text).collect())
    }

    #[test]
    fn words_and_quotes() {
        let table: &[(&str, &[&str])] = &[
            ("", &[]),
            (" \t\r\n", &[]),
            ("set key value", &["set", "key", "value"]),
            ("  set\tkey \r\n", &["set", "key"]),
            (r#""a b" 'c d'"#, &["a b", "c d"]),
            (r#""" '' x"#, &["", "", "x"]),
            (r#""\n\r\t\b\a\q\"\\""#, &["\\n\\r\\t\\x08\\x07q\\\"\\\\"]),
            (r#""\x41\xfF\xg1\x4""#, &["A\\xffxg1x4"]),
            (r"'it\'s \n'", &["it\\'s \\\\n"]),
            (r#"foo"bar baz" x"#, &["foobar baz", "x"]),
            (r"foo'bar'", &["foobar"]),
            (r#"a\"b c" d"#, &["a\\\\b c", "d"]),
            ("\u{b}\u{c}x", &["x"]),
            ("a\u{b}b", &["a\\x0bb"]),
            ("\"a\"\u{c}b", &["a", "b"]),
            ("a b\0c \"", &["a", "b"]),
        ];
        for (line, want) in table {
            let got = split(line).expect(line);
            assert_eq!(got, *want, "{line:?}");
        }
    }

    #[test]
    fn unbalanced_lines() {
        for line in [
            "\"",
            "'",
            "\"abc",
            "'abc",
            "\"a\"b",
            "'a'b",
            "\"a\"\"b\"",
            "'a'\"b\"",
            "x \"a",
            "\"a\\\"",
            "'a\\'",
            "\"a\\",
            "\"a\0\"",
            "foo\"bar\"baz",
        ] {
            assert_eq!(split(line), None, "{line:?}");
        }
    }

    #[test]
    fn what_repr_writes() {
        assert_eq!(repr(b""), r#""""#);
        assert_eq!(
            repr(b"\"\\\n\r\t\x07\x08\x00\x1f ~\x7f\xff'"),
            r#""\"\\\n\r\t\a\b\x00\x1f ~\x7f\xff'""#
        );
        assert!(!needs_repr(b"appendonly.aof.1.base.rdb"));
        for text in [&b"a b"[..], b"a\"", b"\\", b"\xc3", b"a\x0b"] {
            assert!(needs_repr(text));
        }
    }

    #[test]
    fn any_bytes_survive_repr_and_split() {
        let mut rng = Rng::seeded(4);
        for _ in 0..20_000 {
            let mut args = vec![vec![]; 1 + rng.index(3)];
            let mut line = Vec::new();
            for arg in &mut args {
                let mut bytes = vec![0; rng.index(12)];
                rng.fill(&mut bytes);
                push_repr(&mut line, &bytes);
                line.extend_from_slice([&b" "[..], b"\t ", b"\r\n"][rng.index(3)]);
                *arg = bytes;
            }
            assert!(line.iter().all(|b| b.is_ascii_graphic() || b.is_ascii_whitespace()));
            assert_eq!(split_args(&line), Some(args));
        }
    }

    #[test]
    fn any_line_is_split_or_refused() {
        let mut rng = Rng::seeded(6);
        let alphabet = b"\"\"''\\\\xn4f ab\t\x00\x0b\xff";
        let (mut split, mut refused) = (0, 0);
        for _ in 0..100_000 {
            let len = rng.index(12);
            let line: Vec<u8> = (0..len).map(|_| alphabet[rng.index(alphabet.len())]).collect();
            match split_args(&line) {
                Some(args) => {
                    split += 1;
                    assert!(args.iter().map(Vec::len).sum::<usize>() <= line.len());
                }
                None => refused += 1,
            }
        }
        assert!(split > 10_000 && refused > 10_000, "{split} {refused}");
    }
}
