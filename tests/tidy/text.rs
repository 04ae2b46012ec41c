//! Source as text: code alone, comments alone, words, brackets.

use std::ops::Range;

/// The text with comments and literals blanked out: same length, same line ends.
pub fn code(text: &str) -> String {
    keep(text, Part::Code)
}

/// The text with all but comments blanked out: same length, same line ends.
pub fn comments(text: &str) -> String {
    keep(text, Part::Comment)
}

#[derive(Clone, Copy, PartialEq)]
enum Part {
    Code,
    Literal,
    Comment,
}

fn keep(text: &str, kept: Part) -> String {
    let bytes = text.as_bytes();
    let mut out = bytes.to_vec();
    let mut at = 0;
    while at < bytes.len() {
        let end = skip_literal(bytes, at);
        let (part, end) = match &bytes[at..] {
            _ if end == at => (Part::Code, at + 1),
            [b'/', ..] => (Part::Comment, end),
            _ => (Part::Literal, end),
        };
        if part != kept {
            out[at..end].iter_mut().filter(|b| **b != b'\n').for_each(|b| *b = b' ');
        }
        at = end;
    }
    String::from_utf8(out).expect("whole characters were replaced by spaces")
}

/// Where the comment or literal that starts at `at` ends; `at` itself when none starts there.
pub fn skip_literal(b: &[u8], at: usize) -> usize {
    let rest = &b[at..];
    let word_before = at > 0 && is_word(b[at - 1]);
    if rest.starts_with(b"//") {
        return at + rest.iter().position(|&c| c == b'\n').unwrap_or(rest.len());
    }
    if rest.starts_with(b"/*") {
        return skip_block_comment(b, at);
    }
    if rest[0] == b'"' {
        return skip_string(b, at + 1);
    }
    if matches!(rest[0], b'r' | b'b' | b'c') && !word_before {
        let prefix = rest.iter().take_while(|c| matches!(c, b'r' | b'b' | b'c')).count();
        let hashes = rest[prefix..].iter().take_while(|&&c| c == b'#').count();
        let raw = rest[..prefix].contains(&b'r');
        if prefix <= 2 && rest.get(prefix + hashes) == Some(&b'"') && (raw || hashes == 0) {
            let body = at + prefix + hashes + 1;
            return if raw { skip_raw_string(b, body, hashes) } else { skip_string(b, body) };
        }
    }
    if rest[0] == b'\'' { skip_char(b, at) } else { at }
}

fn skip_block_comment(b: &[u8], mut at: usize) -> usize {
    let mut depth = 0;
    while at < b.len() {
        if b[at..].starts_with(b"/*") {
            depth += 1;
            at += 2;
        } else if b[at..].starts_with(b"*/") {
            depth -= 1;
            at += 2;
            if depth == 0 {
                return at;
            }
        } else {
            at += 1;
        }
    }
    b.len()
}

fn skip_string(b: &[u8], mut at: usize) -> usize {
    while at < b.len() {
        match b[at] {
            b'\\' => at += 2,
            b'"' => return at + 1,
            _ => at += 1,
        }
    }
    b.len()
}

fn skip_raw_string(b: &[u8], mut at: usize, hashes: usize) -> usize {
    while at < b.len() {
        at += 1;
        if b[at - 1] == b'"' && b[at..].iter().take_while(|&&c| c == b'#').count() >= hashes {
            return at + hashes;
        }
    }
    b.len()
}

/// A character literal ends within a few bytes; otherwise the quote belongs to a lifetime.
fn skip_char(b: &[u8], at: usize) -> usize {
    if b.get(at + 1) == Some(&b'\\') {
        let close = b[at + 3..].iter().position(|&c| c == b'\'');
        return close.map_or(at, |n| at + 3 + n + 1);
    }
    let char_len = match b.get(at + 1) {
        Some(c) if c & 0x80 == 0 => 1,
        Some(c) => c.leading_ones() as usize,
        None => return at,
    };
    if b.get(at + 1 + char_len) == Some(&b'\'') { at + 2 + char_len } else { at }
}

pub fn is_word(c: u8) -> bool {
    c == b'_' || c.is_ascii_alphanumeric()
}

/// Offsets of `needle` in `code` that are not part of a longer word.
pub fn words(code: &str, needle: &str) -> Vec<usize> {
    let b = code.as_bytes();
    let open = |at: usize, edge: u8| !is_word(edge) || b.get(at).is_none_or(|&c| !is_word(c));
    let (first, last) = (needle.as_bytes()[0], needle.as_bytes()[needle.len() - 1]);
    code.match_indices(needle)
        .map(|(at, _)| at)
        .filter(|&at| (at == 0 || open(at - 1, first)) && open(at + needle.len(), last))
        .collect()
}

pub fn line_of(text: &str, at: usize) -> usize {
    text.as_bytes()[..at].iter().filter(|&&c| c == b'\n').count() + 1
}

pub fn ident_at(code: &str, at: usize) -> &str {
    let len = code.as_bytes()[at..].iter().take_while(|&&c| is_word(c)).count();
    &code[at..at + len]
}

/// From an opening bracket to just behind the one that closes it.
pub fn bracketed(code: &str, open: usize) -> Range<usize> {
    let mut depth = 0usize;
    for (n, c) in code.bytes().enumerate().skip(open) {
        match c {
            b'(' | b'[' | b'{' => depth += 1,
            b')' | b']' | b'}' => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return open..n + 1;
        }
    }
    open..code.len()
}

/// The first `;` or `{` behind `at` that is not inside brackets.
pub fn item_head_end(code: &str, mut at: usize) -> Option<usize> {
    while let Some(&c) = code.as_bytes().get(at) {
        match c {
            b';' | b'{' => return Some(at),
            b'(' | b'[' => at = bracketed(code, at).end,
            _ => at += 1,
        }
    }
    None
}
