//! The request parser: incremental over a query buffer, several requests at a time.
//!
//! ```text
//! request   = "*" count CRLF bulk{count}      multibulk
//!           | word (" " word)* [CR] LF        inline, split like a shell line
//! bulk      = "$" length CRLF byte{length} CRLF
//! ```
//!
//! It never copies: an argument is a `Span` of the buffer, relative to the beginning of its request, so
//! that the buffer may be moved while a request is incomplete. Inline requests are rare and own their
//! words.
//!
//! Ways to be broken, each with upstream's text and in upstream's order: count or length that is no
//! number or out of bounds, a length line that does not begin with `$`, a line without end in 64 KiB,
//! unbalanced quotes, and tighter bounds before authentication. The parser stands still afterwards; the
//! caller closes the client.

use crate::algo::num::parse_i64;
use crate::algo::quote::split_args;
use memchr::memchr2;

/// Longest line of an inline request or of a length (PROTO_INLINE_MAX_SIZE).
pub const INLINE_MAX: usize = 64 * 1024;
/// Before authentication: arguments, and bytes of one.
const UNAUTH_ARGS: i64 = 10;
const UNAUTH_BULK: i64 = 16384;

/// Bytes `off..off + len` counted from the beginning of the request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    pub off: usize,
    pub len: usize,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ParseLimits {
    pub max_bulk: i64,
    pub authenticated: bool,
}

/// Places for spans that an unfinished request leaves behind.
const KEEP: usize = 4096;

/// What an unfinished request remembers between reads. Idle: all zero.
#[derive(Debug, Default)]
pub struct ParseState {
    /// Arguments still to come; 0 between requests.
    left: i64,
    /// Length of the argument that is being read; None when its length line comes next.
    bulk: Option<usize>,
    /// Where parsing goes on, relative to the beginning of the request.
    at: usize,
    /// Spans of the arguments that are complete.
    spans: Vec<Span>,
    /// Bytes of all arguments, as `argv_len_sum` counts.
    pub arg_bytes: usize,
}

#[derive(Debug, PartialEq, Eq)]
pub enum Parsed {
    /// A request of `len` bytes; its spans were appended.
    Multibulk { len: usize },
    /// A request of `len` bytes and its words, perhaps none.
    Inline { len: usize, words: Vec<Vec<u8>> },
    /// Nothing but an empty multibulk of `len` bytes.
    Empty { len: usize },
    /// More bytes are needed.
    Partial,
    /// The text follows `ERR Protocol error: `.
    Broken(String),
}

fn broken(text: &str) -> Parsed {
    Parsed::Broken(text.into())
}

impl ParseState {
    /// Is a request begun?
    pub fn is_partial(&self) -> bool {
        self.left > 0
    }

    /// The length of the argument that is being read, to make room for it.
    pub fn pending_bulk(&self) -> Option<usize> {
        self.bulk
    }

    /// Is the argument that is being read the last one?
    pub fn ends_with_bulk(&self) -> bool {
        self.left == 1
    }

    /// Where parsing goes on, from the beginning of the request.
    pub fn at(&self) -> usize {
        self.at
    }

    /// Room held for spans, in bytes.
    pub fn footprint(&self) -> usize {
        self.spans.capacity() * size_of::<Span>()
    }

    pub fn reset(&mut self) {
        *self = ParseState::default();
    }

    /// Parses one request from the beginning of `buf`; the spans of a multibulk go to the end of `out`.
    pub fn next(&mut self, buf: &[u8], limits: &ParseLimits, out: &mut Vec<Span>) -> Parsed {
        if self.left > 0 {
            let first = out.len();
            out.append(&mut self.spans);
            if self.spans.capacity() > KEEP {
                self.spans = Vec::new();
            }
            return self.bulks(buf, limits, out, first);
        }
        match buf.first() {
            None => Parsed::Partial,
            Some(b'*') => self.multibulk(buf, limits, out),
            Some(_) => inline(buf),
        }
    }

    fn multibulk(&mut self, buf: &[u8], limits: &ParseLimits, out: &mut Vec<Span>) -> Parsed {
        let Some((digits, at)) = line(buf, 1) else {
            if buf.len() > INLINE_MAX && find(b'\r', buf).is_none() {
                return broken("too big mbulk count string");
            }
            return Parsed::Partial;
        };
        let count = match parse_i64(digits) {
            Some(n) if n <= i32::MAX as i64 => n,
            _ => return broken("invalid multibulk length"),
        };
        if count > UNAUTH_ARGS && !limits.authenticated {
            return broken("unauthenticated multibulk length");
        }
        if count <= 0 {
            return Parsed::Empty { len: at };
        }
        (self.left, self.at, self.bulk, self.arg_bytes) = (count, at, None, 0);
        let first = out.len();
        self.bulks(buf, limits, out, first)
    }

    #[inline]
    fn bulks(&mut self, buf: &[u8], limits: &ParseLimits, out: &mut Vec<Span>, first: usize) -> Parsed {
        while self.left > 0 {
            let len = match self.bulk {
                Some(len) => len,
                None => match self.length(buf, limits) {
                    Ok(Some(len)) => len,
                    Ok(None) => return self.park(out, first),
                    Err(e) => return e,
                },
            };
            if buf.len() - self.at < len + 2 {
                self.bulk = Some(len);
                return self.park(out, first);
            }
            out.push(Span { off: self.at, len });
            self.arg_bytes += len;
            self.at += len + 2;
            self.bulk = None;
            self.left -= 1;
        }
        let len = std::mem::take(&mut self.at);
        Parsed::Multibulk { len }
    }

    /// Keeps the spans of an incomplete request until the rest has come.
    #[cold]
    fn park(&mut self, out: &mut Vec<Span>, first: usize) -> Parsed {
        self.spans.extend(out.drain(first..));
        Parsed::Partial
    }

    #[inline]
    fn length(&mut self, buf: &[u8], limits: &ParseLimits) -> Result<Option<usize>, Parsed> {
        let rest = buf.get(self.at..).unwrap_or(&[]);
        // The usual length has one or two digits.
        let quick = match *rest {
            [b'$', a @ b'0'..=b'9', b'\r', b'\n', ..] => Some((4, (a - b'0') as usize)),
            [b'$', a @ b'1'..=b'9', b @ b'0'..=b'9', b'\r', b'\n', ..] => {
                Some((5, (a - b'0') as usize * 10 + (b - b'0') as usize))
            }
            _ => None,
        };
        if let Some((used, len)) = quick {
            self.at += used;
            return Ok(Some(len));
        }
        let Some((digits, used)) = line(rest, 1) else {
            if rest.len() > INLINE_MAX && find(b'\r', rest).is_none() {
                return Err(broken("too big bulk count string"));
            }
            return Ok(None);
        };
        let first = rest.first().copied().unwrap_or(0);
        if first != b'$' {
            return Err(Parsed::Broken(format!("expected '$', got '{}'", first as char)));
        }
        let len = match parse_i64(digits) {
            Some(n) if (0..=limits.max_bulk).contains(&n) => n,
            _ => return Err(broken("invalid bulk length")),
        };
        if len > UNAUTH_BULK && !limits.authenticated {
            return Err(broken("unauthenticated bulk length"));
        }
        self.at += used;
        Ok(Some(len as usize))
    }
}

/// The end of a line. A NUL hides it, as upstream looks for it in a C string: such a line never ends.
#[inline]
fn find(end: u8, buf: &[u8]) -> Option<usize> {
    memchr2(end, 0, buf).filter(|at| buf.get(*at) == Some(&end))
}

/// The text after the first `skip` bytes up to CR, and where the next line begins; None while CR LF is
/// not there.
#[inline]
fn line(buf: &[u8], skip: usize) -> Option<(&[u8], usize)> {
    let cr = find(b'\r', buf)?;
    if cr + 1 >= buf.len() {
        return None;
    }
    Some((buf.get(skip..cr).unwrap_or(&[]), cr + 2))
}

fn inline(buf: &[u8]) -> Parsed {
    let Some(lf) = find(b'\n', buf) else {
        return if buf.len() > INLINE_MAX { broken("too big inline request") } else { Parsed::Partial };
    };
    let text = &buf[..lf];
    let text = text.strip_suffix(b"\r").unwrap_or(text);
    match split_args(text) {
        Some(words) => Parsed::Inline { len: lf + 1, words },
        None => broken("unbalanced quotes in request"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OPEN: ParseLimits = ParseLimits { max_bulk: 512 << 20, authenticated: true };

    fn all(buf: &[u8], limits: &ParseLimits) -> (Vec<Vec<Vec<u8>>>, Option<String>, usize) {
        let (mut s, mut out, mut pos) = (ParseState::default(), Vec::new(), 0);
        let mut spans = Vec::new();
        loop {
            spans.clear();
            match s.next(&buf[pos..], limits, &mut spans) {
                Parsed::Multibulk { len } => {
                    out.push(spans.iter().map(|s| buf[pos + s.off..][..s.len].to_vec()).collect());
                    pos += len;
                }
                Parsed::Inline { len, words } => {
                    out.push(words);
                    pos += len;
                }
                Parsed::Empty { len } => pos += len,
                Parsed::Partial => return (out, None, pos),
                Parsed::Broken(e) => return (out, Some(e), pos),
            }
        }
    }

    #[test]
    fn a_nul_hides_the_end_of_its_line() {
        for line in
            [&b"PING \x00\r\nPING\r\n"[..], b"*1\x00\r\n$4\r\nPING\r\n", b"*1\r\n$4\x00\r\nPING\r\n"]
        {
            let (done, broken, _) = all(line, &OPEN);
            assert!(done.is_empty() && broken.is_none(), "{}", line.escape_ascii());
            let long = [line, &[b'x'; INLINE_MAX]].concat();
            assert!(all(&long, &OPEN).1.is_some_and(|e| e.starts_with("too big")));
        }
        assert_eq!(all(b"*1\r\n$1\r\n\x00\r\n", &OPEN).0, [[b"\0"]]);
    }

    #[test]
    fn any_split_of_the_stream_gives_the_same_requests() {
        let stream = b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$5\r\nhello\r\n\
            PING\r\n*0\r\n*1\r\n$4\r\nPING\r\nset 'a b' \"c\\x41\"\r\n";
        let (whole, _, used) = all(stream, &OPEN);
        assert_eq!((whole.len(), used), (4, stream.len()));
        for cut in 0..stream.len() {
            let (mut s, mut buf, mut got, mut spans) =
                (ParseState::default(), Vec::new(), Vec::new(), Vec::new());
            for part in [&stream[..cut], &stream[cut..]] {
                buf.extend_from_slice(part);
                loop {
                    spans.clear();
                    let len = match s.next(&buf, &OPEN, &mut spans) {
                        Parsed::Multibulk { len } => {
                            got.push(
                                spans.iter().map(|s| buf[s.off..][..s.len].to_vec()).collect::<Vec<_>>(),
                            );
                            len
                        }
                        Parsed::Inline { len, words } => {
                            got.push(words);
                            len
                        }
                        Parsed::Empty { len } => len,
                        Parsed::Partial => break,
                        Parsed::Broken(e) => panic!("{e}"),
                    };
                    buf.drain(..len);
                }
            }
            assert_eq!(got, whole, "cut at {cut}");
        }
    }

    #[test]
    fn broken_requests_say_so() {
        let big = [b"*".as_slice(), &vec![b'1'; INLINE_MAX + 10]].concat();
        let cases: [(&[u8], &str); 9] = [
            (b"*x\r\n", "invalid multibulk length"),
            (b"*3000000000\r\n", "invalid multibulk length"),
            (b"*1\r\n*1\r\n", "expected '$', got '*'"),
            (b"*1\r\n$-1\r\n", "invalid bulk length"),
            (b"*1\r\n$999999999999\r\n", "invalid bulk length"),
            (b"*1\r\n$01\r\n", "invalid bulk length"),
            (b"set \"a\r\n", "unbalanced quotes in request"),
            (&big, "too big mbulk count string"),
            (&big[1..], "too big inline request"),
        ];
        for (bytes, text) in cases {
            assert_eq!(
                all(bytes, &OPEN).1.as_deref(),
                Some(text),
                "{:?}",
                &bytes[..bytes.len().min(20)]
            );
        }
        let shut = ParseLimits { authenticated: false, ..OPEN };
        assert_eq!(all(b"*11\r\n", &shut).1.as_deref(), Some("unauthenticated multibulk length"));
        assert_eq!(all(b"*1\r\n$16385\r\n", &shut).1.as_deref(), Some("unauthenticated bulk length"));
        assert_eq!(all(b"*10\r\n$16384\r\n", &shut).1, None);
    }

    #[test]
    fn random_bytes_never_panic_and_always_move_on() {
        let mut x = 88172645463325252u64;
        let alphabet = b"*$\r\n0123-19\"' ab\\x\0\xff";
        for _ in 0..30_000 {
            let mut buf = Vec::new();
            for _ in 0..40 {
                x ^= x << 13;
                x ^= x >> 7;
                x ^= x << 17;
                buf.push(alphabet[x as usize % alphabet.len()]);
            }
            let (_, _, used) = all(&buf, &OPEN);
            assert!(used <= buf.len());
        }
    }
}
