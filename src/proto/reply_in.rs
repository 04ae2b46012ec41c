//! Replies that this server reads, line by line: those of a master, and of the target of MIGRATE.
//!
//! ```text
//! line = text [CR] LF          "+OK", "-ERR ...", "$<length>", or nothing: a sign of life
//! ```

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

#[cfg(test)]
mod tests {
    use super::*;

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
