//! Our server beside a real one: the same random commands to both, the same replies and the same data
//! demanded.
//!
//! ```text
//! COMMAND DOCS of ours ─► tree of arguments ─► generator ─► words ─┬─► ours ───► reply ─┐
//!                             values, keys ──┘                     └─► theirs ─► reply ─┴─► rule ─► same?
//!                                                              now and then: DEBUG DIGEST ────────► same?
//! ```
//!
//! It runs when REDIS_SERVER names the binary of a real redis-server 7.2:
//!
//! ```text
//!   REDIS_SERVER=~/redis-7.2.6/src/redis-server cargo test --profile fast --test compare -- --nocapture
//!   COMPARE_COMMANDS   how many commands (6000), over all seeds
//!   COMPARE_SEEDS      list of seeds (1,2,3,4); an even one speaks RESP3
//!   COMPARE_ONLY       commands and groups to drive, instead of all: zset,sort
//!   COMPARE_REPORT     how many differences are told in full (10)
//! ```
//!
//! - `comparer::tree`: the commands that our server documents, and words made from their arguments. A new
//!   command takes part as soon as it has a row.
//! - `comparer::values`: every value that is put into a command, by type and name of the argument.
//! - `comparer::rules`: what may differ, and why: commands left out, unordered replies, random picks, times.
//!
//! Keys come from a fixed pool of all types and sizes; when fewer than two thirds of them exist, the missing
//! ones are made. After a difference both servers are emptied and start over, so that one bug is told once
//! and not by everything that follows from it. A run is a function of its seed, but for the time of day.

mod common;
mod comparer;

use common::{Conn, Server, Value, Value::*};
use comparer::rules::{self, Rule};
use comparer::tree::{self, Call, Command};
use comparer::values;
use oxidis::algo::rng::Rng;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::path::Path;

fn setting(name: &str, default: &str) -> String {
    std::env::var(name).unwrap_or_else(|_| default.into())
}

fn number(name: &str, default: usize) -> usize {
    let text = setting(name, &default.to_string());
    text.parse().unwrap_or_else(|_| panic!("{name} wants a number, not {text:?}"))
}

/// Small thresholds, so that encodings change often; the same on both sides.
const OPTIONS: &[&str] = &[
    "--enable-debug-command",
    "yes",
    "--hash-max-listpack-entries",
    "12",
    "--hash-max-listpack-value",
    "60",
    "--list-max-listpack-size",
    "5",
    "--set-max-intset-entries",
    "12",
    "--set-max-listpack-entries",
    "10",
    "--zset-max-listpack-entries",
    "10",
    "--zset-max-listpack-value",
    "60",
    "--stream-node-max-entries",
    "4",
    "--hll-sparse-max-bytes",
    "40",
    "--lua-time-limit",
    "0",
];

/// Commands between two looks at whether enough keys exist, and at the data.
const REFILL_EVERY: usize = 20;
const DIGEST_EVERY: usize = 100;
/// Commands that are remembered for reports.
const REMEMBERED: usize = 600;

struct Comparer {
    ours: Conn,
    theirs: Conn,
    rng: Rng,
    /// Those that are driven, and the names of all that ours has.
    commands: Vec<Command>,
    known: BTreeSet<String>,
    /// What was sent and how ours replied, the last one at the end.
    history: VecDeque<(Call, String)>,
    seen: BTreeMap<(String, String), usize>,
    sent: usize,
    /// Command and, of the first ones, all there is to tell.
    differences: Vec<(String, String)>,
    told: usize,
    seed: u64,
}

#[test]
fn ours_and_a_real_server_agree() {
    let Some(binary) = std::env::var_os("REDIS_SERVER") else {
        eprintln!("skipped: REDIS_SERVER names no real server to compare with");
        return;
    };
    let seeds = setting("COMPARE_SEEDS", "1,2,3,4");
    let seeds: Vec<u64> = seeds.split(',').map(|s| s.trim().parse().expect("a list of seeds")).collect();
    let each = number("COMPARE_COMMANDS", 6_000).div_ceil(seeds.len());
    let (ours, theirs) = (Server::with(OPTIONS), Server::of(Path::new(&binary), OPTIONS));
    let mut seen = BTreeMap::new();
    let mut differences = Vec::new();
    let (mut sent, mut names) = (0, 0);
    for seed in seeds {
        let mut c = Comparer::new(&ours, &theirs, seed);
        names = c.commands.len();
        c.run(each);
        sent += c.sent;
        c.seen.into_iter().for_each(|(pair, n)| *seen.entry(pair).or_insert(0) += n);
        differences.append(&mut c.differences);
    }
    println!("{sent} commands of {names} kinds, {} pairs of command and kind of reply", seen.len());
    if !setting("COMPARE_PAIRS", "").is_empty() {
        seen.iter().for_each(|((name, kind), n)| println!("  {n:6} {name} {kind}"));
    }
    let mut by_command: BTreeMap<&str, usize> = BTreeMap::new();
    differences.iter().for_each(|(name, _)| *by_command.entry(name).or_insert(0) += 1);
    let told: String = differences.iter().map(|(_, text)| text.as_str()).collect();
    assert!(differences.is_empty(), "{} differences: {by_command:?}\n{told}", differences.len());
}

impl Comparer {
    fn new(ours: &Server, theirs: &Server, seed: u64) -> Comparer {
        let (mut ours, mut theirs) = (ours.connect(), theirs.connect());
        let only = setting("COMPARE_ONLY", "");
        let only: Vec<&str> = only.split(',').filter(|w| !w.is_empty()).collect();
        let wanted = |c: &Command| {
            !rules::is_left_out(&c.name)
                && (only.is_empty() || only.contains(&&c.name[..]) || only.contains(&&c.group[..]))
        };
        let all = tree::commands(&mut ours);
        let known = all.iter().map(|c| c.name.clone()).collect();
        let commands: Vec<Command> = all.into_iter().filter(wanted).collect();
        assert!(!commands.is_empty(), "nothing to drive");
        if seed.is_multiple_of(2) {
            for c in [&mut ours, &mut theirs] {
                let hello = c.run("HELLO 3");
                assert!(matches!(hello, Map(_)), "HELLO 3: {hello:?}");
            }
        }
        Comparer {
            ours,
            theirs,
            rng: Rng::seeded(seed),
            commands,
            known,
            history: VecDeque::new(),
            seen: BTreeMap::new(),
            sent: 0,
            differences: Vec::new(),
            told: number("COMPARE_REPORT", 10),
            seed,
        }
    }

    fn run(&mut self, commands: usize) {
        self.start_over();
        while self.sent < commands {
            self.step();
            if self.sent.is_multiple_of(REFILL_EVERY) {
                self.refill();
            }
            if self.sent.is_multiple_of(DIGEST_EVERY) {
                self.compare_data();
            }
        }
        self.compare_data();
    }

    fn has(&self, name: &str) -> bool {
        self.known.contains(name)
    }

    /// Both servers, without looking at the replies.
    fn both(&mut self, words: &[&[u8]]) -> (Value, Value) {
        self.ours.put(words);
        self.theirs.put(words);
        (self.ours.read(), self.theirs.read())
    }

    fn start_over(&mut self) {
        for words in [&[&b"DISCARD"[..]][..], &[b"UNWATCH"], &[b"SELECT", b"0"], &[b"FLUSHALL"]] {
            self.both(words);
        }
        self.both(&[b"FUNCTION", b"FLUSH"]);
        self.both(&[b"SCRIPT", b"FLUSH"]);
        self.history.clear();
        self.refill();
    }

    /// Makes the keys of the pool that are missing, when too many are.
    fn refill(&mut self) {
        let pool: Vec<(&str, &[u8])> = values::POOL
            .iter()
            .flat_map(|(group, keys)| keys.iter().map(move |k| (*group, *k)))
            .collect();
        let mut ask: Vec<&[u8]> = vec![b"EXISTS"];
        ask.extend(pool.iter().map(|(_, key)| *key));
        if self.theirs.cmd(&ask).int() as usize * 3 > pool.len() * 2 {
            return;
        }
        for (group, key) in pool {
            if self.theirs.cmd(&[b"EXISTS", key]) == Int(1) {
                continue;
            }
            for words in values::make(group, key, &mut self.rng) {
                let call = Call::new(words);
                // Types whose commands have no row yet stay away.
                if self.has(&call.name) {
                    self.compare(call);
                }
            }
        }
    }

    /// One command, or one scene.
    fn step(&mut self) {
        match self.rng.below(100) {
            0..2 => self.transaction(),
            2..4 => self.transplant(),
            4..6 => self.ask_for_keys(),
            _ => {
                let call = self.draw();
                self.compare(call);
            }
        }
    }

    fn draw(&mut self) -> Call {
        loop {
            let at = self.rng.index(self.commands.len());
            let name = &self.commands[at].name;
            if rules::RARE.contains(&&name[..]) && self.rng.below(20) > 0 {
                continue;
            }
            return self.commands[at].call(&mut self.rng);
        }
    }

    /// MULTI, a few commands whose replies have one form, EXEC.
    fn transaction(&mut self) {
        if self.rng.below(2) == 0 {
            let call = Call::of(&[b"WATCH", b"s:1"]);
            self.compare(call);
        }
        self.compare(Call::of(&[b"MULTI"]));
        for _ in 0..self.rng.below(6) {
            let call = self.draw();
            let plain = rules::rule(&call) == Rule::Exact && !rules::leaves_chance(&call);
            if plain && !matches!(&call.name[..], "exec" | "discard" | "select") {
                self.compare(call);
            }
        }
        self.compare(Call::of(&[b"EXEC"]));
    }

    /// What one server dumps the other restores.
    fn transplant(&mut self) {
        if !self.has("dump") || !self.has("restore") {
            return;
        }
        let (_, keys) = values::POOL[self.rng.index(values::POOL.len())];
        let key = values::pick(&mut self.rng, keys);
        let from_ours = self.rng.below(2) == 0;
        let source = if from_ours { &mut self.ours } else { &mut self.theirs };
        if let Bulk(payload) = source.cmd(&[b"DUMP", key]) {
            self.compare(Call::of(&[b"RESTORE", b"new:1", b"0", &payload, b"REPLACE"]));
        }
    }

    fn ask_for_keys(&mut self) {
        let mut call = self.draw();
        let ask: &[u8] = if self.rng.below(2) == 0 { b"GETKEYS" } else { b"GETKEYSANDFLAGS" };
        call.name = format!("command|{}", String::from_utf8_lossy(ask).to_lowercase());
        call.words.splice(0..0, [b"COMMAND".to_vec(), ask.to_vec()]);
        self.compare(call);
    }

    /// Sends a call to both and compares what comes back.
    fn compare(&mut self, call: Call) {
        let words: Vec<&[u8]> = call.words.iter().map(|w| &w[..]).collect();
        if call.name == "select" {
            self.both(&[b"SELECT", b"0"]);
        }
        let (ours, theirs) = self.both(&words);
        self.sent += 1;
        *self.seen.entry((call.name.clone(), ours.kind())).or_insert(0) += 1;
        if self.history.len() == REMEMBERED {
            self.history.pop_front();
        }
        self.history.push_back((call.clone(), short(&ours)));
        let mut rule = rules::rule(&call);
        if ours == Status("QUEUED".into()) {
            rule = Rule::Exact;
        }
        let same = rules::same(rule, &ours, &theirs) || (rule == Rule::Dump && self.has_no_order(&call));
        if !same {
            let what = format!("ours   {}\ntheirs {}", long(&ours), long(&theirs));
            return self.difference(&call.keys, &what);
        }
        if rules::leaves_chance(&call) {
            for key in &call.keys {
                self.both(&[b"DEL", key]);
            }
        }
        if call.name == "select" {
            self.both(&[b"SELECT", b"0"]);
        }
    }

    /// A hash table is dumped in the order of its buckets.
    fn has_no_order(&mut self, call: &Call) -> bool {
        let key = call.words.get(1).cloned().unwrap_or_default();
        let (ours, theirs) = self.both(&[b"OBJECT", b"ENCODING", &key]);
        ours == theirs && ours == Value::bulk("hashtable")
    }

    /// The data of both servers, in all databases; where it differs, the key is looked for.
    fn compare_data(&mut self) {
        let (ours, theirs) = self.both(&[b"DEBUG", b"DIGEST"]);
        if ours == theirs {
            return;
        }
        let (a, b) = self.both(&[b"KEYS", b"*"]);
        let mut keys: Vec<Vec<u8>> = Vec::new();
        for v in a.items().iter().chain(b.items()) {
            if let Bulk(key) = v
                && !keys.contains(key)
            {
                keys.push(key.clone());
            }
        }
        let mut unequal = Vec::new();
        let mut what = String::new();
        for key in keys {
            let (a, b) = self.both(&[b"DEBUG", b"DIGEST-VALUE", &key]);
            let (e, f) = self.both(&[b"OBJECT", b"ENCODING", &key]);
            let (t, u) = self.both(&[b"PEXPIRETIME", &key]);
            if a != b || e != f || (t == Int(-1)) != (u == Int(-1)) {
                what += &format!(
                    "the value of {} differs: ours {a:?} {e:?} {t:?}, theirs {b:?} {f:?} {u:?}\n",
                    key.escape_ascii()
                );
                unequal.push(key);
            }
        }
        if unequal.is_empty() {
            what =
                format!("the data differs, but no key of database 0: ours {ours:?}, theirs {theirs:?}");
        }
        self.difference(&unequal, what.trim_end());
    }

    /// Remembers a difference with the commands that led there, and starts over.
    fn difference(&mut self, keys: &[Vec<u8>], what: &str) {
        let mut text = String::new();
        if self.differences.len() < self.told {
            let last = self.history.len().saturating_sub(3);
            let about = |call: &Call| call.keys.iter().any(|k| keys.contains(k));
            let led: Vec<usize> =
                (0..last).filter(|i| about(&self.history[*i].0)).rev().take(12).collect();
            text = format!("\n== seed {}, after {} commands\n", self.seed, self.sent);
            for i in led.into_iter().rev().chain(last..self.history.len()) {
                let (call, reply) = &self.history[i];
                text += &format!("  {}   {reply}\n", call.shown());
            }
            text += what;
            text.push('\n');
        }
        let name = self.history.back().map_or("", |(call, _)| &call.name[..]);
        self.differences.push((name.to_string(), text));
        self.start_over();
    }
}

fn short(v: &Value) -> String {
    cut(format!("{v:?}"), 60)
}

fn long(v: &Value) -> String {
    cut(format!("{v:?}"), 600)
}

fn cut(text: String, most: usize) -> String {
    match text.char_indices().nth(most) {
        Some((at, _)) => format!("{}... ({} bytes)", &text[..at], text.len()),
        None => text,
    }
}
