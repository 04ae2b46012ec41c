//! Random scripts: a grammar (`scripts.grammar`) and what it cannot say.
//!
//! ```text
//!   Grammar ── rules of pieces ──► Writer ──► Script = preamble | blocks of topics | what it returns
//!                                    │                 text of tokens by chance, compiled only
//!                                    └─ literals        thousands of lines, constants, locals
//! ```
//!
//! A block keeps what it finds in `out`, by `rec`; most blocks are called by `try`, so that a block that
//! fails is one entry of `out` and the script goes on.

use super::literals;
use super::values::pick;
use oxidis::algo::rng::Rng;

/// Read when a run begins: another rule needs no other build.
const FILE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/comparer/scripts.grammar");

/// Rules are followed so deep at most.
const DEEPEST: usize = 7;

/// The rules that a block may be made of, and how often.
const TOPICS: &[(&str, usize)] = &[
    ("flow", 20),
    ("holes", 12),
    ("varargs", 8),
    ("coroutines", 8),
    ("meta", 10),
    ("strings", 16),
    ("numbers", 12),
    ("errors", 12),
    ("libs", 16),
    ("order", 12),
    ("redis", 14),
    ("globals", 5),
    ("deep", 1),
];

/// What takes the place of a token, or comes between two.
const TOKENS: &[&str] = &[
    "and", "break", "do", "else", "elseif", "end", "false", "for", "function", "if", "in", "local",
    "nil", "not", "or", "repeat", "return", "then", "true", "until", "while", "+", "-", "*", "/", "%",
    "^", "#", "==", "~=", "<=", ">=", "<", ">", "=", "(", ")", "{", "}", "[", "]", ";", ":", ",", ".",
    "..", "...", "'", "\"", "[[", "]]", "--", "--[[", "1", "0x", "1e", "3.", "'x'", "\\", "@", "!", "~",
    "$", "goto", "continue", "\0", "\u{e9}", "x", "0x1g", "1..2",
];

#[derive(Clone)]
enum Piece {
    Text(String),
    Rule(usize),
    Literal(&'static str),
    /// The end of a line, or a space.
    End,
}

pub struct Grammar {
    names: Vec<String>,
    alternatives: Vec<Vec<Vec<Piece>>>,
    /// The alternatives without rules and literals, for each rule.
    plain: Vec<Vec<usize>>,
}

impl Grammar {
    pub fn new() -> Grammar {
        let mut texts: Vec<(String, Vec<String>)> = Vec::new();
        let text = std::fs::read_to_string(FILE).expect("the grammar beside this file");
        for line in text.lines().filter(|l| !l.is_empty() && !l.starts_with('#')) {
            let depth = line.len() - line.trim_start().len();
            match texts.last_mut() {
                Some((_, all)) if depth == 2 => all.push(line.trim().to_string()),
                Some((_, all)) if depth > 2 => {
                    let last = all.last_mut().expect("an alternative to go on with");
                    *last += " ";
                    *last += line.trim();
                }
                _ => texts.push((line.to_string(), Vec::new())),
            }
        }
        let names: Vec<String> = texts.iter().map(|(name, _)| name.clone()).collect();
        let alternatives: Vec<Vec<Vec<Piece>>> =
            texts.iter().map(|(_, all)| all.iter().map(|text| pieces(text, &names)).collect()).collect();
        let is_plain = |a: &Vec<Piece>| !a.iter().any(|p| matches!(p, Piece::Rule(_)));
        let plain: Vec<Vec<usize>> = alternatives
            .iter()
            .map(|all| (0..all.len()).filter(|i| is_plain(&all[*i])).collect())
            .collect();
        for (name, plain) in names.iter().zip(&plain) {
            assert!(!plain.is_empty(), "{name} has no alternative without a rule");
        }
        Grammar { names, alternatives, plain }
    }

    fn rule(&self, name: &str) -> usize {
        self.names.iter().position(|n| n == name).unwrap_or_else(|| panic!("no rule {name}"))
    }
}

fn pieces(text: &str, names: &[String]) -> Vec<Piece> {
    let mut all = Vec::new();
    let mut plain = String::new();
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        let tail = &rest[c.len_utf8()..];
        if c == '\\' {
            match tail.as_bytes().first() {
                Some(b'n') => {
                    all.push(Piece::Text(std::mem::take(&mut plain)));
                    all.push(Piece::End);
                }
                Some(b'\\') => plain.push('\\'),
                other => panic!("a backslash before {other:?} in {text}"),
            }
            rest = &tail[1..];
            continue;
        }
        let word: String =
            tail.chars().take_while(|c| c.is_ascii_lowercase() || c.is_ascii_digit()).collect();
        if c == '$' && !word.is_empty() {
            let rule = names.iter().position(|n| *n == word);
            all.push(Piece::Text(std::mem::take(&mut plain)));
            all.push(Piece::Rule(rule.unwrap_or_else(|| panic!("no rule {word} for {text}"))));
            rest = &tail[word.len()..];
            continue;
        }
        if c == '$'
            && let Some(name) = literals::NAMES.iter().find(|n| tail.starts_with(**n))
        {
            all.push(Piece::Text(std::mem::take(&mut plain)));
            all.push(Piece::Literal(name));
            rest = &tail[name.len()..];
            continue;
        }
        plain.push(c);
        rest = tail;
    }
    all.push(Piece::Text(plain));
    all
}

/// A script in parts, so that a part can be left out.
#[derive(Clone)]
pub struct Script {
    /// Topic and text.
    pub blocks: Vec<(&'static str, Vec<u8>)>,
    pub head: Vec<u8>,
    pub tail: Vec<u8>,
}

impl Script {
    pub fn text(&self) -> Vec<u8> {
        let blocks = self.blocks.iter().flat_map(|(_, text)| text.iter().chain(b"\n"));
        self.head.iter().chain(blocks).chain(&self.tail).copied().collect()
    }

    pub fn topic(&self) -> &'static str {
        self.blocks.last().map_or("reply", |(topic, _)| topic)
    }
}

pub struct Writer {
    grammar: Grammar,
    rng: Rng,
}

impl Writer {
    pub fn new(seed: u64) -> Writer {
        Writer { grammar: Grammar::new(), rng: Rng::seeded(seed) }
    }

    pub fn script(&mut self) -> Script {
        match self.rng.below(400) {
            0..24 => self.garbled(),
            24..34 => self.compiled(),
            34..36 => self.long(),
            _ => self.ordinary(),
        }
    }

    fn ordinary(&mut self) -> Script {
        let head = self.rule("preamble");
        let count = 1 + self.rng.index(4);
        let blocks = (0..count).map(|_| self.block()).collect();
        let tail = [self.rule("locals"), b"return ".to_vec(), self.rule("reply")].concat();
        Script { blocks, head: [head, b"\n".to_vec()].concat(), tail }
    }

    fn block(&mut self) -> (&'static str, Vec<u8>) {
        let all: usize = TOPICS.iter().map(|(_, often)| often).sum();
        let mut at = self.rng.index(all);
        let found = TOPICS.iter().find(|(_, often)| {
            let here = at < *often;
            at = at.wrapping_sub(*often);
            here
        });
        let topic = found.expect("a place below the sum").0;
        let mut text = self.rule("locals");
        text.extend(self.rule(topic));
        let (before, after): (&[u8], &[u8]) = match self.rng.below(8) {
            0 => (b"do local function try(f, ...) f(...) end try(function(...) ", b"end, nil, 1) end"),
            1 => (b"do ", b"end"),
            _ => (b"try(function(...) ", b"end, 1, nil, 'v')"),
        };
        // Outside of a function that takes them there are no `...`, but in the script itself.
        (topic, [before, &text, after].concat())
    }

    /// A script of which some tokens are others. It is not run: it might not end.
    fn garbled(&mut self) -> Script {
        let text = self.block().1;
        let mut tokens = tokens(&text);
        for _ in 0..1 + self.rng.below(3) {
            let at = self.rng.index(tokens.len());
            let other = TOKENS[self.rng.index(TOKENS.len())].as_bytes().to_vec();
            match self.rng.below(5) {
                0 => drop(tokens.remove(at)),
                1 => tokens[at] = other,
                2 => tokens.insert(at, other),
                3 => tokens.insert(at, tokens[at].clone()),
                _ => tokens.truncate(at + 1),
            }
            if tokens.is_empty() {
                tokens.push(b"end".to_vec());
            }
        }
        let blocks = vec![("syntax", tokens.concat())];
        Script { blocks, head: b"do return 1 end ".to_vec(), tail: Vec::new() }
    }

    fn compiled(&mut self) -> Script {
        let blocks = vec![("syntax", self.rule("compiled"))];
        Script { blocks, head: b"do return 1 end\n".to_vec(), tail: Vec::new() }
    }

    /// What machines write: many lines, constants, locals, branches.
    fn long(&mut self) -> Script {
        let many = pick(&mut self.rng, &[100, 190, 199, 200, 201, 250, 256, 300, 3_000, 20_000, 70_000]);
        let few =
            pick(&mut self.rng, &[50, 59, 60, 61, 100, 190, 200, 201, 230, 249, 250, 251, 255, 260]);
        let lines = |n: usize, one: &dyn Fn(usize) -> String| (0..n).map(one).collect::<String>();
        let list =
            |n: usize, one: &dyn Fn(usize) -> String| (0..n).map(one).collect::<Vec<_>>().join(", ");
        let text = match self.rng.below(16) {
            0 => {
                format!("local t = {{}}\n{}return #t", lines(many, &|i| format!("t[#t + 1] = 'v{i}'\n")))
            }
            1 => format!("local t = {{{}}} return #t", list(many, &|i| format!("'c{i}'"))),
            2 => format!(
                "local t = {{{}}} return t.f{}",
                list(many, &|i| format!("f{i} = {i}.5")),
                many / 2
            ),
            3 => format!("{}return v0", lines(few, &|i| format!("local v{i} = {i}\n"))),
            4 => format!(
                "local x = ARGV[1]\nif x == 'no' then\n{}end return x",
                lines(many, &|i| format!("x = x .. {i}\n"))
            ),
            5 => format!(
                "local n = 0\nfor i = 1, 2 do\n{}end return n",
                lines(many, &|i| format!("n = n + {i} % 3\n"))
            ),
            6 => format!("return {}", list(few, &|i| i.to_string()).replace(", ", " .. ")),
            7 => format!("local function f(...) return select('#', ...) end return f({})", {
                list(few, &|i| i.to_string())
            }),
            8 => format!(
                "local function f({}) return a0 end return f(1)",
                list(few, &|i| format!("a{i}"))
            ),
            9 => {
                let outer = few.min(199);
                let locals = list(outer, &|i| format!("u{i}"));
                let uses = list(outer, &|i| format!("u{i}")).replace(", ", " or ");
                format!("local {locals}\nlocal function f() return {uses} end return f()")
            }
            10 => format!(
                "local x = 5\n{}else return -1 end",
                lines(few, &|i| format!(
                    "{}if x == {i} then return {i}\n",
                    if i > 0 { "else" } else { "" }
                ))
            ),
            11 => format!("return {}1{}", "(".repeat(few), ")".repeat(few)),
            12 => format!("return {}{}", "{".repeat(few), "}".repeat(few)),
            13 => format!("{}return 1 {}", "do ".repeat(few), "end ".repeat(few)),
            14 => format!("return {}", list(few, &|i| format!("{i} + 1"))),
            _ => format!("{}\nerror('here')", "\n".repeat(many)),
        };
        Script { blocks: vec![("long", text.into_bytes())], head: Vec::new(), tail: Vec::new() }
    }

    fn rule(&mut self, name: &str) -> Vec<u8> {
        let mut out = Vec::new();
        self.expand(self.grammar.rule(name), 0, &mut out);
        out
    }

    fn expand(&mut self, rule: usize, depth: usize, out: &mut Vec<u8>) {
        let all = &self.grammar.alternatives[rule];
        let chosen = if depth < DEEPEST {
            self.rng.index(all.len())
        } else {
            let plain = &self.grammar.plain[rule];
            plain[self.rng.index(plain.len())]
        };
        for piece in all[chosen].clone() {
            match piece {
                Piece::Text(text) => out.extend_from_slice(text.as_bytes()),
                Piece::Rule(rule) => self.expand(rule, depth + 1, out),
                Piece::Literal(name) => literals::write(name, &mut self.rng, out),
                Piece::End => out.push(if self.rng.below(2) == 0 { b'\n' } else { b' ' }),
            }
        }
    }
}

/// Words, and every other byte by itself, with the blanks behind them.
fn tokens(text: &[u8]) -> Vec<Vec<u8>> {
    let mut all: Vec<Vec<u8>> = Vec::new();
    let is_word = |c: u8| c.is_ascii_alphanumeric() || c == b'_';
    for (i, c) in text.iter().enumerate() {
        let joins = i > 0 && (is_word(*c) && is_word(text[i - 1]) || c.is_ascii_whitespace());
        match all.last_mut() {
            Some(last) if joins => last.push(*c),
            _ => all.push(vec![*c]),
        }
    }
    all
}
