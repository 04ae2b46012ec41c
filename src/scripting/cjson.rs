//! The `cjson` library of scripts: JSON.
//!
//! ```text
//! table with keys 1 to n ─► array (gaps are null; too many gaps are an error)      others ─► object
//! null ─► cjson.null, since a nil would leave a hole        empty table ─► {}
//! ```
//!
//! What the setters change stays for all scripts of the state; `new` gives out a table that shares it.
//! The decoder takes more than JSON has for a number (hex, inf, leading zeros) until
//! `decode_invalid_numbers` forbids it. A zero byte ends the text.

use super::ffi::{Cursor, Library, LuaType, Raise, Stack, cast_int};
use super::sandbox::{LibraryItem, put};

pub const LIBRARY: Library = &[
    ("encode", LibraryItem::Native(encode)),
    ("decode", LibraryItem::Native(decode)),
    ("encode_sparse_array", LibraryItem::Native(encode_sparse_array)),
    ("encode_max_depth", LibraryItem::Native(encode_max_depth)),
    ("decode_max_depth", LibraryItem::Native(decode_max_depth)),
    ("encode_number_precision", LibraryItem::Native(encode_number_precision)),
    ("encode_keep_buffer", LibraryItem::Native(encode_keep_buffer)),
    ("encode_invalid_numbers", LibraryItem::Native(encode_invalid_numbers)),
    ("decode_invalid_numbers", LibraryItem::Native(decode_invalid_numbers)),
    ("new", LibraryItem::Native(new)),
    ("null", LibraryItem::Null),
    ("_NAME", LibraryItem::Text("cjson")),
    ("_VERSION", LibraryItem::Text("2.1.0")),
];

const INT_MAX: i32 = i32::MAX;

#[derive(Debug, Clone)]
pub struct Config {
    sparse_convert: i32,
    sparse_ratio: i32,
    sparse_safe: i32,
    encode_depth: i32,
    decode_depth: i32,
    precision: i32,
    keep_buffer: i32,
    /// 0 refuses inf and nan, 1 writes them, 2 writes null.
    encode_invalid: i32,
    decode_invalid: i32,
}

impl Default for Config {
    fn default() -> Self {
        Config {
            sparse_convert: 0,
            sparse_ratio: 2,
            sparse_safe: 10,
            encode_depth: 1000,
            decode_depth: 1000,
            precision: 14,
            keep_buffer: 1,
            encode_invalid: 0,
            decode_invalid: 1,
        }
    }
}

// ---- settings ----------------------------------------------------------------------------------

fn at_most(s: &mut Stack, n: i32) -> Result<(), Raise> {
    if s.top() > n {
        return Err(Raise::Argument(n + 1, b"found too many arguments".to_vec()));
    }
    s.set_top(n);
    Ok(())
}

type Place = fn(&mut Config) -> &mut i32;

fn integer(s: &mut Stack, at: i32, place: Place, least: i32, most: i32) -> Result<(), Raise> {
    if s.kind(at) != LuaType::Nil {
        let n = s.check_integer(at)? as i32;
        if !(least..=most).contains(&n) {
            let text = format!("expected integer between {least} and {most}");
            return Err(Raise::Argument(1, text.into_bytes()));
        }
        *place(&mut s.kept().json) = n;
    }
    let now = *place(&mut s.kept().json);
    s.push_number(f64::from(now));
    Ok(())
}

/// One of `options`, the first two also as booleans.
fn choice(s: &mut Stack, at: i32, place: Place, options: &[&str]) -> Result<(), Raise> {
    match s.kind(at) {
        LuaType::Nil => {}
        LuaType::Bool => {
            let yes = i32::from(s.boolean(at));
            *place(&mut s.kept().json) = yes;
        }
        _ => {
            let word = s.check_bytes(at)?;
            let found = options.iter().position(|o| o.as_bytes() == word);
            let Some(n) = found else {
                let text = [b"invalid option '", &word[..], b"'"].concat();
                return Err(Raise::Argument(at, text));
            };
            *place(&mut s.kept().json) = n as i32;
        }
    }
    match *place(&mut s.kept().json) {
        n @ (0 | 1) => s.push_bool(n == 1),
        n => s.push_bytes(options[n as usize].as_bytes()),
    }
    Ok(())
}

const SWITCH: &[&str] = &["off", "on"];

fn encode_sparse_array(s: &mut Stack) -> Result<i32, Raise> {
    at_most(s, 3)?;
    choice(s, 1, |c| &mut c.sparse_convert, SWITCH)?;
    integer(s, 2, |c| &mut c.sparse_ratio, 0, INT_MAX)?;
    integer(s, 3, |c| &mut c.sparse_safe, 0, INT_MAX)?;
    Ok(3)
}

fn encode_max_depth(s: &mut Stack) -> Result<i32, Raise> {
    at_most(s, 1)?;
    integer(s, 1, |c| &mut c.encode_depth, 1, INT_MAX)?;
    Ok(1)
}

fn decode_max_depth(s: &mut Stack) -> Result<i32, Raise> {
    at_most(s, 1)?;
    integer(s, 1, |c| &mut c.decode_depth, 1, INT_MAX)?;
    Ok(1)
}

fn encode_number_precision(s: &mut Stack) -> Result<i32, Raise> {
    at_most(s, 1)?;
    integer(s, 1, |c| &mut c.precision, 1, 14)?;
    Ok(1)
}

/// Accepted and answered as upstream; no buffer outlives a call here.
fn encode_keep_buffer(s: &mut Stack) -> Result<i32, Raise> {
    at_most(s, 1)?;
    choice(s, 1, |c| &mut c.keep_buffer, SWITCH)?;
    Ok(1)
}

fn encode_invalid_numbers(s: &mut Stack) -> Result<i32, Raise> {
    at_most(s, 1)?;
    choice(s, 1, |c| &mut c.encode_invalid, &["off", "on", "null"])?;
    Ok(1)
}

fn decode_invalid_numbers(s: &mut Stack) -> Result<i32, Raise> {
    at_most(s, 1)?;
    choice(s, 1, |c| &mut c.decode_invalid, SWITCH)?;
    Ok(1)
}

fn new(s: &mut Stack) -> Result<i32, Raise> {
    s.new_table();
    put(s, LIBRARY);
    Ok(1)
}

// ---- encoding ----------------------------------------------------------------------------------

fn one_argument(s: &Stack) -> Result<(), Raise> {
    if s.top() == 1 { Ok(()) } else { Err(Raise::Argument(1, b"expected 1 argument".to_vec())) }
}

fn encode(s: &mut Stack) -> Result<i32, Raise> {
    one_argument(s)?;
    let config = s.kept().json.clone();
    let mut e = Encoder { out: Vec::new(), config };
    e.value(s, 0)?;
    s.push_bytes(&e.out);
    Ok(1)
}

struct Encoder {
    out: Vec<u8>,
    config: Config,
}

fn cannot(kind: &str, why: &str) -> Raise {
    Raise::text(format!("Cannot serialise {kind}: {why}"))
}

impl Encoder {
    /// Writes the value on top, and leaves it there.
    fn value(&mut self, s: &mut Stack, depth: i32) -> Result<(), Raise> {
        match s.kind(-1) {
            LuaType::String => self.string(s.bytes(-1)),
            LuaType::Number => self.number(s.number(-1).unwrap_or(0.0))?,
            LuaType::Bool => {
                let word: &[u8] = if s.boolean(-1) { b"true" } else { b"false" };
                self.out.extend_from_slice(word);
            }
            LuaType::Nil => self.out.extend_from_slice(b"null"),
            LuaType::Light if s.is_null(-1) => self.out.extend_from_slice(b"null"),
            LuaType::Table => {
                let depth = depth + 1;
                if depth > self.config.encode_depth || !s.room(4) {
                    let text = format!("Cannot serialise, excessive nesting ({depth})");
                    return Err(Raise::text(text));
                }
                match self.array_length(s)? {
                    Some(n) if n > 0 => self.array(s, depth, n)?,
                    _ => self.object(s, depth)?,
                }
            }
            _ => return Err(cannot(s.kind_name(-1), "type not supported")),
        }
        Ok(())
    }

    fn string(&mut self, text: &[u8]) {
        self.out.reserve(text.len() + 2);
        self.out.push(b'"');
        for b in text {
            let short = match b {
                b'"' => b"\\\"",
                b'\\' => b"\\\\",
                b'/' => b"\\/",
                0x08 => b"\\b",
                b'\t' => b"\\t",
                b'\n' => b"\\n",
                0x0c => b"\\f",
                b'\r' => b"\\r",
                0..=0x1f | 0x7f => {
                    self.out.extend_from_slice(format!("\\u{b:04x}").as_bytes());
                    continue;
                }
                _ => {
                    self.out.push(*b);
                    continue;
                }
            };
            self.out.extend_from_slice(short);
        }
        self.out.push(b'"');
    }

    fn number(&mut self, n: f64) -> Result<(), Raise> {
        if n.is_finite() {
            push_general(&mut self.out, n, self.config.precision as usize);
            return Ok(());
        }
        let word: &[u8] = match self.config.encode_invalid {
            0 => return Err(cannot("number", "must not be NaN or Inf")),
            1 if n.is_nan() => b"nan",
            1 if n < 0.0 => b"-inf",
            1 => b"inf",
            _ => b"null",
        };
        self.out.extend_from_slice(word);
        Ok(())
    }

    /// The greatest key when all are whole numbers from 1 on. It is a C int: one that is too great for it
    /// becomes the least of all, which is no length, and the table an object.
    fn array_length(&self, s: &mut Stack) -> Result<Option<i32>, Raise> {
        let (mut max, mut items) = (0i32, 0i64);
        let mut cursor = Cursor::default();
        while s.each(-1, &mut cursor) {
            let key = if s.kind(-2) == LuaType::Number { s.number(-2) } else { None };
            match key {
                Some(k) if k.fract() == 0.0 && k >= 1.0 => {
                    if k > f64::from(max) {
                        max = cast_int(k);
                    }
                    items += 1;
                    s.pop(2);
                }
                _ => {
                    s.pop(2);
                    return Ok(None);
                }
            }
        }
        let c = &self.config;
        let sparse = i64::from(max) > items.saturating_mul(i64::from(c.sparse_ratio));
        if c.sparse_ratio > 0 && sparse && max > c.sparse_safe {
            if c.sparse_convert == 0 {
                return Err(cannot("table", "excessively sparse array"));
            }
            return Ok(None);
        }
        Ok(Some(max))
    }

    fn array(&mut self, s: &mut Stack, depth: i32, n: i32) -> Result<(), Raise> {
        self.out.push(b'[');
        for i in 1..=n {
            if i > 1 {
                self.out.push(b',');
            }
            s.raw_get_i(-1, i);
            self.value(s, depth)?;
            s.pop(1);
        }
        self.out.push(b']');
        Ok(())
    }

    fn object(&mut self, s: &mut Stack, depth: i32) -> Result<(), Raise> {
        self.out.push(b'{');
        let (mut first, mut cursor) = (true, Cursor::default());
        while s.each(-1, &mut cursor) {
            if !std::mem::take(&mut first) {
                self.out.push(b',');
            }
            match s.kind(-2) {
                LuaType::Number => {
                    self.out.push(b'"');
                    self.number(s.number(-2).unwrap_or(0.0))?;
                    self.out.extend_from_slice(b"\":");
                }
                LuaType::String => {
                    self.string(s.bytes(-2));
                    self.out.push(b':');
                }
                _ => {
                    return Err(cannot(s.kind_name(-2), "table key must be a number or string"));
                }
            }
            self.value(s, depth)?;
            s.pop(2);
        }
        self.out.push(b'}');
        Ok(())
    }
}

/// As `%.{precision}g` of C prints a finite number.
fn push_general(out: &mut Vec<u8>, n: f64, precision: usize) {
    let digits = precision.max(1);
    let scientific = format!("{:.*e}", digits - 1, n);
    let (mantissa, exponent) = scientific.split_once('e').expect("the format has an exponent");
    let exponent: i32 = exponent.parse().expect("the format has a number");
    let trimmed = |text: &str| -> String {
        if text.contains('.') {
            text.trim_end_matches('0').trim_end_matches('.').to_string()
        } else {
            text.to_string()
        }
    };
    if exponent < -4 || exponent >= digits as i32 {
        let sign = if exponent < 0 { '-' } else { '+' };
        let text = format!("{}e{sign}{:02}", trimmed(mantissa), exponent.abs());
        out.extend_from_slice(text.as_bytes());
    } else {
        let places = (digits as i32 - 1 - exponent).max(0) as usize;
        out.extend_from_slice(trimmed(&format!("{n:.places$}")).as_bytes());
    }
}

// ---- decoding ----------------------------------------------------------------------------------

fn decode(s: &mut Stack) -> Result<i32, Raise> {
    one_argument(s)?;
    let text = s.check_bytes(1)?;
    if text.len() >= 2 && (text[0] == 0 || text[1] == 0) {
        return Err(Raise::text("JSON parser does not support UTF-16 or UTF-32"));
    }
    let c = &s.kept().json;
    let mut d =
        Decoder { text: &text, at: 0, depth: 0, most: c.decode_depth, lax: c.decode_invalid != 0 };
    let (token, place) = d.next();
    d.value(s, token, place)?;
    match d.next() {
        (Token::End, _) => Ok(1),
        (token, place) => Err(expected("the end", token, place)),
    }
}

enum Token {
    ObjectBegin,
    ObjectEnd,
    ArrayBegin,
    ArrayEnd,
    String(Vec<u8>),
    Number(f64),
    Bool(bool),
    Null,
    Colon,
    Comma,
    End,
    Bad(&'static str),
}

impl Token {
    fn name(&self) -> &'static str {
        match self {
            Token::ObjectBegin => "T_OBJ_BEGIN",
            Token::ObjectEnd => "T_OBJ_END",
            Token::ArrayBegin => "T_ARR_BEGIN",
            Token::ArrayEnd => "T_ARR_END",
            Token::String(_) => "T_STRING",
            Token::Number(_) => "T_NUMBER",
            Token::Bool(_) => "T_BOOLEAN",
            Token::Null => "T_NULL",
            Token::Colon => "T_COLON",
            Token::Comma => "T_COMMA",
            Token::End => "T_END",
            Token::Bad(why) => why,
        }
    }
}

/// `place` counts from 0, the message from 1.
fn expected(what: &str, found: Token, place: usize) -> Raise {
    Raise::text(format!("Expected {what} but found {} at character {}", found.name(), place + 1))
}

struct Decoder<'a> {
    text: &'a [u8],
    at: usize,
    depth: i32,
    most: i32,
    /// Numbers that JSON does not have are taken.
    lax: bool,
}

impl Decoder<'_> {
    /// The byte `ahead`, 0 at the end.
    fn peek(&self, ahead: usize) -> u8 {
        self.text.get(self.at + ahead).copied().unwrap_or(0)
    }

    fn word(&mut self, word: &[u8]) -> bool {
        let yes = self.text[self.at..].starts_with(word);
        if yes {
            self.at += word.len();
        }
        yes
    }

    /// The next token and where it begins; of a broken one, where it breaks.
    fn next(&mut self) -> (Token, usize) {
        while matches!(self.peek(0), b' ' | b'\t' | b'\n' | b'\r') {
            self.at += 1;
        }
        let begin = self.at;
        let one = match self.peek(0) {
            0 => return (Token::End, begin),
            b'{' => Some(Token::ObjectBegin),
            b'}' => Some(Token::ObjectEnd),
            b'[' => Some(Token::ArrayBegin),
            b']' => Some(Token::ArrayEnd),
            b',' => Some(Token::Comma),
            b':' => Some(Token::Colon),
            _ => None,
        };
        if let Some(token) = one {
            self.at += 1;
            return (token, begin);
        }
        let token = match self.peek(0) {
            b'"' => self.string(),
            b'-' | b'0'..=b'9' if !self.lax && self.is_invalid_number() => Token::Bad("invalid number"),
            b'-' | b'0'..=b'9' => self.number(),
            b't' if self.word(b"true") => Token::Bool(true),
            b'f' if self.word(b"false") => Token::Bool(false),
            b'n' if self.word(b"null") => Token::Null,
            b'i' | b'I' | b'n' | b'N' | b'+' if self.lax && self.is_invalid_number() => self.number(),
            _ => Token::Bad("invalid token"),
        };
        let place = if matches!(token, Token::Bad(_)) { self.at } else { begin };
        (token, place)
    }

    /// Looks like a number that JSON does not have.
    fn is_invalid_number(&self) -> bool {
        if self.peek(0) == b'+' {
            return true;
        }
        let sign = usize::from(self.peek(0) == b'-');
        let (first, second) = (self.peek(sign), self.peek(sign + 1));
        if first == b'0' {
            return second | 0x20 == b'x' || second.is_ascii_digit();
        }
        if first <= b'9' {
            return false;
        }
        let word = [first, second, self.peek(sign + 2)];
        word.eq_ignore_ascii_case(b"inf") || word.eq_ignore_ascii_case(b"nan")
    }

    fn number(&mut self) -> Token {
        match strtod(&self.text[self.at..]) {
            Some((n, len)) => {
                self.at += len;
                Token::Number(n)
            }
            None => Token::Bad("invalid number"),
        }
    }

    fn string(&mut self) -> Token {
        self.at += 1;
        let mut out = Vec::new();
        loop {
            match self.peek(0) {
                b'"' => {
                    self.at += 1;
                    return Token::String(out);
                }
                0 => return Token::Bad("unexpected end of string"),
                b'\\' => {
                    let c = match self.peek(1) {
                        c @ (b'"' | b'\\' | b'/') => c,
                        b'b' => 0x08,
                        b't' => b'\t',
                        b'n' => b'\n',
                        b'f' => 0x0c,
                        b'r' => b'\r',
                        b'u' => {
                            match self.code_point() {
                                Some((c, len)) => {
                                    push_utf8(&mut out, c);
                                    self.at += len;
                                }
                                None => return Token::Bad("invalid unicode escape code"),
                            }
                            continue;
                        }
                        _ => return Token::Bad("invalid escape code"),
                    };
                    out.push(c);
                    self.at += 2;
                }
                c => {
                    out.push(c);
                    self.at += 1;
                }
            }
        }
    }

    fn hex4(&self, ahead: usize) -> Option<u32> {
        (0..4).try_fold(0, |n, i| Some(n << 4 | char::from(self.peek(ahead + i)).to_digit(16)?))
    }

    /// The code point of `\uXXXX`, or of two of them that are a surrogate pair; and their length.
    fn code_point(&self) -> Option<(u32, usize)> {
        let high = self.hex4(2)?;
        if high & 0xf800 != 0xd800 {
            return Some((high, 6));
        }
        if high & 0x400 != 0 || self.peek(6) != b'\\' || self.peek(7) != b'u' {
            return None;
        }
        let low = self.hex4(8)?;
        if low & 0xfc00 != 0xdc00 {
            return None;
        }
        Some((((high & 0x3ff) << 10 | low & 0x3ff) + 0x10000, 12))
    }

    fn descend(&mut self, s: &mut Stack) -> Result<(), Raise> {
        self.depth += 1;
        if self.depth <= self.most && s.room(4) {
            return Ok(());
        }
        Err(Raise::text(format!(
            "Found too many nested data structures ({}) at character {}",
            self.depth, self.at
        )))
    }

    /// Pushes the value that begins with `token`.
    fn value(&mut self, s: &mut Stack, token: Token, place: usize) -> Result<(), Raise> {
        match token {
            Token::String(text) => s.push_bytes(&text),
            Token::Number(n) => s.push_number(n),
            Token::Bool(yes) => s.push_bool(yes),
            Token::Null => s.push_null(),
            Token::ObjectBegin => self.object(s)?,
            Token::ArrayBegin => self.array(s)?,
            other => return Err(expected("value", other, place)),
        }
        Ok(())
    }

    fn object(&mut self, s: &mut Stack) -> Result<(), Raise> {
        self.descend(s)?;
        s.new_table();
        let (mut token, mut place) = self.next();
        if matches!(token, Token::ObjectEnd) {
            self.depth -= 1;
            return Ok(());
        }
        loop {
            match token {
                Token::String(key) => s.push_bytes(&key),
                other => return Err(expected("object key string", other, place)),
            }
            match self.next() {
                (Token::Colon, _) => {}
                (other, place) => return Err(expected("colon", other, place)),
            }
            (token, place) = self.next();
            self.value(s, token, place)?;
            s.raw_set(-3);
            match self.next() {
                (Token::ObjectEnd, _) => break,
                (Token::Comma, _) => {}
                (other, place) => return Err(expected("comma or object end", other, place)),
            }
            (token, place) = self.next();
        }
        self.depth -= 1;
        Ok(())
    }

    fn array(&mut self, s: &mut Stack) -> Result<(), Raise> {
        self.descend(s)?;
        s.new_table();
        let (mut token, mut place) = self.next();
        if matches!(token, Token::ArrayEnd) {
            self.depth -= 1;
            return Ok(());
        }
        for i in 1.. {
            self.value(s, token, place)?;
            s.raw_set_i(-2, i);
            match self.next() {
                (Token::ArrayEnd, _) => break,
                (Token::Comma, _) => {}
                (other, place) => return Err(expected("comma or array end", other, place)),
            }
            (token, place) = self.next();
        }
        self.depth -= 1;
        Ok(())
    }
}

/// UTF-8, also of what no character is.
fn push_utf8(out: &mut Vec<u8>, c: u32) {
    let tail = |shift: u32| (c >> shift & 0x3f) as u8 | 0x80;
    match c {
        0..=0x7f => out.push(c as u8),
        0x80..=0x7ff => out.extend_from_slice(&[(c >> 6) as u8 | 0xc0, tail(0)]),
        0x800..=0xffff => out.extend_from_slice(&[(c >> 12) as u8 | 0xe0, tail(6), tail(0)]),
        _ => out.extend_from_slice(&[(c >> 18) as u8 | 0xf0, tail(12), tail(6), tail(0)]),
    }
}

/// The longest number at the front, as strtod of C reads it, and its length.
fn strtod(text: &[u8]) -> Option<(f64, usize)> {
    let sign = usize::from(matches!(text.first(), Some(b'-' | b'+')));
    let negative = text.first() == Some(&b'-');
    let rest = text.get(sign..)?;
    let begins = |word: &[u8]| rest.get(..word.len()).is_some_and(|t| t.eq_ignore_ascii_case(word));
    let (n, len) = if begins(b"infinity") {
        (f64::INFINITY, 8)
    } else if begins(b"inf") {
        (f64::INFINITY, 3)
    } else if begins(b"nan") {
        (f64::NAN, 3)
    } else if begins(b"0x") && hex_digits(rest.get(2..)?) {
        let (n, len) = hexadecimal(rest.get(2..)?);
        (n, len + 2)
    } else {
        let len = decimal_length(rest)?;
        (std::str::from_utf8(rest.get(..len)?).ok()?.parse().ok()?, len)
    };
    Some((if negative { -n } else { n }, sign + len))
}

fn hex_digits(text: &[u8]) -> bool {
    let digit = |i: usize| text.get(i).is_some_and(u8::is_ascii_hexdigit);
    digit(0) || text.first() == Some(&b'.') && digit(1)
}

/// A hexadecimal number behind its `0x`.
fn hexadecimal(text: &[u8]) -> (f64, usize) {
    let (mut bits, mut exponent, mut at, mut point) = (0u64, 0i32, 0, false);
    while let Some(b) = text.get(at) {
        if *b == b'.' && !point {
            point = true;
        } else if let Some(d) = char::from(*b).to_digit(16) {
            if bits >> 60 == 0 {
                bits = bits << 4 | u64::from(d);
                exponent -= if point { 4 } else { 0 };
            } else {
                // Past the precision of any double: only whether there was something counts.
                bits |= u64::from(d > 0);
                exponent += if point { 0 } else { 4 };
            }
        } else {
            break;
        }
        at += 1;
    }
    let mut power = at + 1;
    if text.get(at).is_some_and(|b| b | 0x20 == b'p') {
        let sign = usize::from(matches!(text.get(power), Some(b'-' | b'+')));
        power += sign;
        let digits = text[power.min(text.len())..].iter().take_while(|b| b.is_ascii_digit()).count();
        if digits > 0 {
            let written = std::str::from_utf8(&text[power..power + digits]).unwrap_or("");
            let n: i32 = written.parse().unwrap_or(i32::MAX / 2).min(i32::MAX / 2);
            exponent = exponent.saturating_add(if text[at + 1] == b'-' { -n } else { n });
            at = power + digits;
        }
    }
    // In two steps, since a power of two may be out of range where the product is not.
    let half = exponent / 2;
    (bits as f64 * 2f64.powi(half) * 2f64.powi(exponent - half), at)
}

/// The length of the longest decimal number.
fn decimal_length(text: &[u8]) -> Option<usize> {
    let digits = |from: usize| text.iter().skip(from).take_while(|b| b.is_ascii_digit()).count();
    let whole = digits(0);
    let mut len = whole;
    let mut fraction = 0;
    if text.get(len) == Some(&b'.') {
        fraction = digits(len + 1);
        len += 1 + fraction;
    }
    if whole + fraction == 0 {
        return None;
    }
    if text.get(len).is_some_and(|b| b | 0x20 == b'e') {
        let sign = usize::from(matches!(text.get(len + 1), Some(b'-' | b'+')));
        let n = digits(len + 1 + sign);
        if n > 0 {
            len += 1 + sign + n;
        }
    }
    Some(len)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_print_as_c_prints_them() {
        let text = |n: f64, precision: usize| {
            let mut out = Vec::new();
            push_general(&mut out, n, precision);
            String::from_utf8(out).expect("digits")
        };
        let seen: Vec<String> =
            [0.0, -0.0, 1.0, 0.1, 100.5, 1e14, 123456789012345.0, 1e-5, 3.0e300, 9.99999999999999e13]
                .map(|n| text(n, 14))
                .to_vec();
        let want = ["0", "-0", "1", "0.1", "100.5", "1e+14", "1.2345678901234e+14", "1e-05", "3e+300"];
        assert_eq!(&seen[..9], &want);
        assert_eq!((text(2.0 / 3.0, 3), text(1234.5, 3)), ("0.667".into(), "1.23e+03".into()));
    }

    #[test]
    fn numbers_are_read_as_c_reads_them() {
        let read = |t: &str| strtod(t.as_bytes());
        assert_eq!(read("12.5e1x"), Some((125.0, 6)));
        assert_eq!(read("1e"), Some((1.0, 1)));
        assert_eq!(read("-.5"), Some((-0.5, 3)));
        assert_eq!(read("0x1.8p1"), Some((3.0, 7)));
        assert_eq!(read("0xg"), Some((0.0, 1)));
        assert_eq!(read("-Infinity"), Some((f64::NEG_INFINITY, 9)));
        assert!(read("nan").is_some_and(|(n, len)| n.is_nan() && len == 3));
        assert_eq!(read("."), None);
        assert_eq!(read("-"), None);
    }
}
