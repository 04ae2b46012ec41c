//! Replies that this server reads: line by line those of a master, and of the target of MIGRATE; as whole
//! values those of the servers that a sentinel watches.
//!
//! ```text
//! line  = text [CR] LF         "+OK", "-ERR ...", "$<length>", or nothing: a sign of life
//! value = + text | - text | : number | $ length bytes | * count values           each with CR LF
//!         length and count -1: null. Broken: another first byte, a number that is none, a length or a
//!         count above its bound, a bulk without its end, arrays nested too deeply, a line without end
//! ```

use crate::algo::num::parse_i64;

/// What stands at the beginning of a buffer.
#[derive(Debug, PartialEq, Eq)]
pub enum ReplyLine<'a> {
    Partial,
    /// The text, and the bytes that it takes with its end.
    Whole(&'a [u8], usize),
    /// No line is so long: the peer speaks something else.
    TooLong,
}

/// The longest line that is waited for.
pub const MAX_LINE: usize = 16 * 1024;

/// The first line of `buf`.
pub fn line(buf: &[u8]) -> ReplyLine<'_> {
    let Some(at) = memchr::memchr(b'\n', buf) else {
        return if buf.len() > MAX_LINE { ReplyLine::TooLong } else { ReplyLine::Partial };
    };
    let text = buf.get(..at).unwrap_or_default();
    ReplyLine::Whole(text.strip_suffix(b"\r").unwrap_or(text), at.saturating_add(1))
}

/// A reply of RESP2.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    Status(Vec<u8>),
    Error(Vec<u8>),
    Int(i64),
    Bulk(Vec<u8>),
    Null,
    Array(Vec<Value>),
}

/// What stands at the beginning of a buffer.
#[derive(Debug, PartialEq, Eq)]
pub enum ReplyValue {
    Partial,
    /// The value, and the bytes that it takes.
    Whole(Value, usize),
    /// The peer speaks something else.
    Broken,
}

/// The longest bulk that is waited for, in bytes; the longest array; how deep arrays nest.
const MAX_BULK: usize = 1024 * 1024;
const MAX_ARRAY: usize = 64;
const MAX_DEPTH: usize = 4;

/// The first value of `buf`.
pub fn value(buf: &[u8]) -> ReplyValue {
    value_within(buf, MAX_DEPTH)
}

fn value_within(buf: &[u8], depth: usize) -> ReplyValue {
    let (text, used) = match line(buf) {
        ReplyLine::Partial => return ReplyValue::Partial,
        ReplyLine::TooLong => return ReplyValue::Broken,
        ReplyLine::Whole(text, used) => (text, used),
    };
    let Some((kind, text)) = text.split_first() else { return ReplyValue::Broken };
    let number = parse_i64(text);
    let bounded = |most: usize| usize::try_from(number?).ok().filter(|n| *n <= most);
    match kind {
        b'+' => ReplyValue::Whole(Value::Status(text.to_vec()), used),
        b'-' => ReplyValue::Whole(Value::Error(text.to_vec()), used),
        b':' => number.map_or(ReplyValue::Broken, |n| ReplyValue::Whole(Value::Int(n), used)),
        b'$' | b'*' if number == Some(-1) => ReplyValue::Whole(Value::Null, used),
        b'$' => bounded(MAX_BULK).map_or(ReplyValue::Broken, |len| bulk(buf, used, len)),
        b'*' if depth > 0 => {
            bounded(MAX_ARRAY).map_or(ReplyValue::Broken, |n| array(buf, used, n, depth - 1))
        }
        _ => ReplyValue::Broken,
    }
}

fn bulk(buf: &[u8], at: usize, len: usize) -> ReplyValue {
    let end = at.saturating_add(len);
    match (buf.get(at..end), buf.get(end..end.saturating_add(2))) {
        (Some(bytes), Some(b"\r\n")) => {
            ReplyValue::Whole(Value::Bulk(bytes.to_vec()), end.saturating_add(2))
        }
        (Some(_), Some(_)) => ReplyValue::Broken,
        _ => ReplyValue::Partial,
    }
}

fn array(buf: &[u8], mut at: usize, n: usize, depth: usize) -> ReplyValue {
    let mut values = Vec::new();
    for _ in 0..n {
        match value_within(buf.get(at..).unwrap_or_default(), depth) {
            ReplyValue::Whole(value, used) => {
                values.push(value);
                at = at.saturating_add(used);
            }
            other => return other,
        }
    }
    ReplyValue::Whole(Value::Array(values), at)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_whole_or_waited_for() {
        let text = b"*4\r\n+a\r\n:-7\r\n$3\r\nb\r\n\r\n*1\r\n$-1\r\n";
        let expected = Value::Array(vec![
            Value::Status(b"a".to_vec()),
            Value::Int(-7),
            Value::Bulk(b"b\r\n".to_vec()),
            Value::Array(vec![Value::Null]),
        ]);
        for end in 0..text.len() {
            assert_eq!(value(&text[..end]), ReplyValue::Partial, "{end}");
        }
        let more = [&text[..], b"-ERR x\r\n"].concat();
        assert_eq!(value(&more), ReplyValue::Whole(expected, text.len()));
        let error = ReplyValue::Whole(Value::Error(b"ERR x".to_vec()), 8);
        assert_eq!(value(&more[text.len()..]), error);
    }

    #[test]
    fn what_is_no_value_breaks_the_connection() {
        let deep = b"*1\r\n".repeat(MAX_DEPTH + 1);
        let most = format!("${}\r\n", MAX_BULK + 1);
        for text in [
            &b"\r\n"[..],
            b"hello\r\n",
            b":x\r\n",
            b"$-2\r\n",
            b"$1\r\nabc",
            b"*2000\r\n",
            b"*1\r\n?\r\n",
            most.as_bytes(),
            &deep,
            &[b'+'; MAX_LINE + 1],
        ] {
            assert_eq!(value(text), ReplyValue::Broken, "{}", String::from_utf8_lossy(text));
        }
    }

    #[test]
    fn lines_end_with_a_line_feed() {
        assert_eq!(line(b""), ReplyLine::Partial);
        assert_eq!(line(b"+OK\r"), ReplyLine::Partial);
        assert_eq!(line(b"+OK\r\n$5\r\n"), ReplyLine::Whole(b"+OK", 5));
        assert_eq!(line(b"\n+OK\r\n"), ReplyLine::Whole(b"", 1));
        assert_eq!(line(b"a\rb\n"), ReplyLine::Whole(b"a\rb", 4));
        assert_eq!(line(&[b'x'; MAX_LINE + 1]), ReplyLine::TooLong);
    }
}
