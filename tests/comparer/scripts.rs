//! Random scripts, to our server alone or to ours and a real one.
//!
//! ```text
//!   FLUSHALL, EVAL of a batch of scripts ─► ours, theirs ─► replies, to the letter ─► data (DEBUG DIGEST)
//!        a reply differs ─► that script alone, over an empty dataset ─► with fewer blocks and lines, as
//!                           long as the difference stays ─► told
//! ```
//!
//! Scripts of every third seed are the bodies of functions: each is loaded, and called.
//!
//! Alone: every script has a reply, and the server lives. Addresses (`table: 0x...`) are not compared.

use super::lua::{Script, Writer};
use crate::common::{Conn, Server, Value, Value::*, number};
use std::collections::BTreeMap;

/// So often all scripts are forgotten, and the interpreter starts anew.
const FORGET_EVERY: usize = 40;
/// Differences of one topic that are told in full.
const TOLD_OF_EACH: usize = 3;

/// Differences that are known, and why: a text in our reply and one in theirs.
const NAMED: &[(&str, &str, &str)] = &[];

pub struct Scripts {
    ours: Conn,
    theirs: Option<Conn>,
    writer: Writer,
    seed: u64,
    as_functions: bool,
    /// So many scripts are sent at once.
    at_once: usize,
    /// The scripts that have been sent, and how many have a reply.
    batch: Vec<Script>,
    answered: usize,
    /// Topic, and of the first ones all there is to tell.
    pub differences: Vec<(String, String)>,
    told: usize,
    /// How many scripts gave a reply that was no error, and how many were run.
    pub fine: usize,
    pub run: usize,
    pub named: usize,
    /// Beginnings of errors, and how often each came.
    pub errors: BTreeMap<String, usize>,
}

impl Scripts {
    pub fn new(ours: &Server, theirs: Option<&Server>, seed: u64, told: usize) -> Scripts {
        let connect = |server: &Server| {
            let mut conn = server.connect();
            if seed.is_multiple_of(2) {
                let hello = conn.run("HELLO 3");
                assert!(matches!(hello, Map(_)), "HELLO 3: {hello:?}");
            }
            conn
        };
        Scripts {
            ours: connect(ours),
            theirs: theirs.map(connect),
            writer: Writer::new(seed),
            seed,
            as_functions: seed.is_multiple_of(3),
            at_once: number("COMPARE_BATCH", 50),
            batch: Vec::new(),
            answered: 0,
            differences: Vec::new(),
            told,
            fine: 0,
            run: 0,
            named: 0,
            errors: BTreeMap::new(),
        }
    }

    pub fn run(&mut self, scripts: usize) {
        let mut batches = 0;
        while self.run < scripts {
            self.run_batch();
            batches += 1;
            if batches % FORGET_EVERY == 0 {
                self.forget();
            }
        }
        let pong = self.both(&[b"PING"]);
        assert_eq!(pong.0, Status("PONG".into()), "one reply to one request");
    }

    fn run_batch(&mut self) {
        self.both(&[b"FLUSHALL"]);
        self.batch = (0..self.at_once).map(|_| self.writer.script()).collect();
        self.answered = 0;
        for script in &self.batch {
            let text = script.text();
            put(&mut self.ours, &text, self.as_functions);
            self.theirs.iter_mut().for_each(|t| put(t, &text, self.as_functions));
        }
        let (mut differ, mut replies) = (Vec::new(), String::new());
        for at in 0..self.at_once {
            let ours = read(&mut self.ours, self.as_functions);
            let theirs = self.theirs.as_mut().map(|t| read(t, self.as_functions));
            self.answered = at + 1;
            self.run += 1;
            self.count(&ours);
            if let Some(theirs) = theirs.filter(|t| !same(&ours, t)) {
                differ.push(at);
                let (ours, theirs) = apart(&shown(&ours), &shown(&theirs));
                let text = self.batch[at].text();
                replies += &format!(
                    "{}\nours   {ours}\ntheirs {theirs}\n",
                    String::from_utf8_lossy(&text[text.len().saturating_sub(1500)..])
                );
            }
        }
        let (ours, theirs) = self.both(&[b"DEBUG", b"DIGEST"]);
        let data_differs = theirs.is_some_and(|t| t != ours);
        let batch = std::mem::take(&mut self.batch);
        let mut explained = false;
        let suspects =
            if differ.is_empty() && data_differs { (0..self.at_once).collect() } else { differ };
        for at in &suspects {
            let Some((ours, theirs)) = self.differs_alone(&batch[*at]) else { continue };
            explained = true;
            // What depends on addresses or on earlier scripts is not the same twice.
            let stable = self.differs_alone(&batch[*at]).is_some_and(|again| again.1 == theirs);
            if !stable || NAMED.iter().any(|(a, b, _)| ours.contains(a) && theirs.contains(b)) {
                self.named += 1;
                continue;
            }
            self.tell(&batch[*at]);
        }
        if !explained && (data_differs || !suspects.is_empty()) {
            let seed = self.seed;
            let text =
                format!("\n== a batch of seed {seed} differs, but no script of it alone\n{replies}");
            self.note("batch", text);
        }
    }

    /// A fresh interpreter. The real server's random numbers go on where they were.
    fn forget(&mut self) {
        self.both(&[b"SCRIPT", b"FLUSH"]);
        if self.as_functions {
            self.both(&[b"FUNCTION", b"FLUSH"]);
        }
        self.both(&[b"EVAL", b"math.randomseed(1) return 1", b"0"]);
    }

    fn count(&mut self, reply: &Value) {
        match reply {
            Error(text) => {
                let text = text.replace(|c: char| c.is_ascii_digit(), "");
                *self.errors.entry(text.chars().take(70).collect()).or_insert(0) += 1;
            }
            _ => self.fine += 1,
        }
    }

    fn both(&mut self, words: &[&[u8]]) -> (Value, Option<Value>) {
        self.ours.put(words);
        if let Some(t) = &mut self.theirs {
            t.put(words);
        }
        (self.ours.read(), self.theirs.as_mut().map(Conn::read))
    }

    /// What both reply to this script over an empty dataset, when it is not the same.
    fn differs_alone(&mut self, script: &Script) -> Option<(String, String)> {
        self.both(&[b"FLUSHALL"]);
        self.forget();
        let text = script.text();
        put(&mut self.ours, &text, self.as_functions);
        self.theirs.iter_mut().for_each(|t| put(t, &text, self.as_functions));
        let ours = read(&mut self.ours, self.as_functions);
        let theirs = self.theirs.as_mut().map(|t| read(t, self.as_functions))?;
        if !same(&ours, &theirs) {
            return Some((shown(&ours), shown(&theirs)));
        }
        let (ours, theirs) = self.both(&[b"DEBUG", b"DIGEST"]);
        let theirs = theirs?;
        (ours != theirs).then(|| (format!("data {ours:?}"), format!("data {theirs:?}")))
    }

    /// The smallest form of a script that still differs.
    fn tell(&mut self, script: &Script) {
        let all = self.differences.iter().filter(|(_, text)| !text.is_empty()).count();
        let of_topic =
            self.differences.iter().filter(|(t, text)| t == script.topic() && !text.is_empty()).count();
        if all >= self.told || of_topic >= TOLD_OF_EACH {
            return self.note(script.topic(), String::new());
        }
        let mut least = script.clone();
        let mut at = 0;
        while at < least.blocks.len() {
            let mut fewer = least.clone();
            fewer.blocks.remove(at);
            if self.differs_alone(&fewer).is_some() {
                least = fewer;
            } else {
                at += 1;
            }
        }
        for block in 0..least.blocks.len() {
            self.shorten(&mut least, block);
        }
        let Some((ours, theirs)) = self.differs_alone(&least) else {
            return self
                .note(script.topic(), format!("\n== seed {}: differs now and then\n", self.seed));
        };
        let (ours, theirs) = apart(&ours, &theirs);
        let shown_from = if least.head.len() > 100 { least.head.len() } else { 0 };
        let text = least.text();
        let text = String::from_utf8_lossy(&text[shown_from..]).into_owned();
        let text: String = text.chars().take(3_000).collect();
        let topic = least.topic();
        self.note(
            topic,
            format!("\n== {topic}, seed {}\n{text}\nours   {ours}\ntheirs {theirs}\n", self.seed),
        );
    }

    /// Leaves out lines and statements of a block, as long as the rest compiles and differs.
    fn shorten(&mut self, script: &mut Script, block: usize) {
        let mut at = 0;
        loop {
            let parts = parts(&script.blocks[block].1);
            if at >= parts.len() || parts.len() > 400 {
                return;
            }
            let mut fewer = script.clone();
            fewer.blocks[block].1 = parts
                .iter()
                .enumerate()
                .filter(|(i, _)| *i != at)
                .flat_map(|(_, p)| p.clone())
                .collect();
            let compiles = |ours: &str, theirs: &str| {
                !ours.contains("Error compiling") && !theirs.contains("Error compiling")
            };
            let syntax = script.topic() == "syntax" || script.topic() == "long";
            match self.differs_alone(&fewer) {
                Some((ours, theirs)) if syntax || compiles(&ours, &theirs) => *script = fewer,
                _ => at += 1,
            }
        }
    }

    fn note(&mut self, topic: &str, text: String) {
        if !text.is_empty() {
            println!("{text}");
        }
        self.differences.push((topic.to_string(), text));
    }
}

impl Drop for Scripts {
    /// A server that died or does not come to an end: of what? COMPARE_BATCH=1 tells which script it was.
    fn drop(&mut self) {
        if std::thread::panicking() && self.answered < self.batch.len() {
            let text = self.batch[self.answered].text();
            eprintln!("---- seed {}, no reply to this, or to one behind it ----", self.seed);
            eprintln!("{}", String::from_utf8_lossy(&text));
        }
    }
}

fn put(conn: &mut Conn, text: &[u8], as_function: bool) {
    if !as_function {
        let words: [&[u8]; 8] = [b"EVAL", text, b"3", b"str", b"list", b"hash", b"one", b"2"];
        return conn.put(&words);
    }
    const BEGIN: &[u8] = b"#!lua name=lib\nredis.register_function('f', function(KEYS, ARGV) ";
    let code = [BEGIN, text, b"\nend)"].concat();
    conn.put(&[&b"FUNCTION"[..], b"LOAD", b"REPLACE", &code]);
    conn.put(&[&b"FCALL"[..], b"f", b"3", b"str", b"list", b"hash", b"one", b"2"]);
}

/// The reply of the script; of one that could not be loaded the error.
fn read(conn: &mut Conn, as_function: bool) -> Value {
    let loaded = as_function.then(|| conn.read());
    let reply = conn.read();
    loaded.filter(|l| matches!(l, Error(_))).unwrap_or(reply)
}

/// The lines of a block, and the statements that begin with `rec` within.
fn parts(text: &[u8]) -> Vec<Vec<u8>> {
    let mut all: Vec<Vec<u8>> = vec![Vec::new()];
    for (i, c) in text.iter().enumerate() {
        let begins = text[i..].starts_with(b"rec(") || text[i..].starts_with(b"local ");
        let after_line = i > 0 && text[i - 1] == b'\n';
        if begins || after_line {
            all.push(Vec::new());
        }
        all.last_mut().expect("never empty").push(*c);
    }
    all.retain(|part| !part.is_empty());
    all
}

/// A real server sends the ends of lines inside an error that a script raises as they are, which clients may
/// take for the end of the reply; ours sends blanks.
fn same(ours: &Value, theirs: &Value) -> bool {
    let in_one_line = |v: &Value| match v {
        Error(text) => shown(&Error(text.replace(['\r', '\n'], " "))),
        _ => shown(v),
    };
    ours == theirs || shown(ours) == in_one_line(theirs)
}

/// The reply as text, without addresses and without the name of the script.
fn shown(v: &Value) -> String {
    let text = format!("{v:?}");
    let mut out = String::new();
    let mut rest = &text[..];
    while let Some(at) = rest.find(": 0x") {
        let (before, after) = rest.split_at(at + 4);
        out += before;
        rest = after.trim_start_matches(|c: char| c.is_ascii_hexdigit());
    }
    out + rest
}

/// Two texts from a little before the place where they differ.
fn apart(ours: &str, theirs: &str) -> (String, String) {
    let same = ours.bytes().zip(theirs.bytes()).take_while(|(a, b)| a == b).count();
    let from = same.saturating_sub(80);
    let cut = |text: &str| String::from_utf8_lossy(&text.as_bytes()[from..]).chars().take(400).collect();
    (cut(ours), cut(theirs))
}
