//! One command after the other, and what is compared after each.
//!
//! ```text
//!   send to both mains ─► replies, by the rule of the command
//!     ─► asked on both watches: INFO (changes; the events came before it), DIGEST-VALUE and ENCODING of
//!        the keys of the call
//!   every 20 commands    an ECHO comes back; missing keys are made
//!   every 200            DEBUG DIGEST, all encodings
//!   every 4,000          encodings are legal, copies are equal, DEBUG RELOAD changes nothing
//! ```
//!
//! Without a second server the questions are the same and the answers are not compared; what must hold of one
//! server alone is checked all the same.

use super::coverage::Coverage;
use super::legal;
use super::rules::{self, Freedom, Rule};
use super::side::{Effects, Side};
use super::tree::{self, Call, Command};
use super::values;
use crate::common::{Server, Value, Value::*};
use oxidis::algo::rng::Rng;
use std::collections::{BTreeSet, VecDeque};

const REFILL_EVERY: usize = 20;
const DIGEST_EVERY: usize = 200;
const RELOAD_EVERY: usize = 4_000;
/// Commands that are remembered for reports.
const REMEMBERED: usize = 600;
/// Differences of one command that are told in full.
const TOLD_OF_EACH: usize = 2;

pub struct Driver {
    pub ours: Side,
    pub theirs: Option<Side>,
    pub rng: Rng,
    /// Those that are driven, and the names of all that ours has.
    pub commands: Vec<Command>,
    known: BTreeSet<String>,
    /// What was sent and how ours replied, the last one at the end.
    history: VecDeque<(Call, String)>,
    pub coverage: Coverage,
    /// Command and, of the first ones, all there is to tell.
    pub differences: Vec<(String, String)>,
    told: usize,
    seed: u64,
    pub sent: usize,
    /// The database of the mains, and whether they are inside MULTI.
    pub db: usize,
    pub queueing: bool,
    /// The mains may wait for something.
    pub waits: bool,
    /// There are more clients, which connect anew when we start over.
    pub crowded: bool,
}

impl Driver {
    pub fn new(ours: &Server, theirs: Option<&Server>, seed: u64, only: &str, told: usize) -> Driver {
        let resp3 = seed.is_multiple_of(2);
        let all = tree::commands(&mut ours.connect());
        let known = all.iter().map(|c| c.name.clone()).collect();
        let only: Vec<&str> = only.split(',').filter(|w| !w.is_empty()).collect();
        let wanted = |c: &Command| {
            !rules::is_left_out(&c.name)
                && (only.is_empty() || only.contains(&&c.name[..]) || only.contains(&&c.group[..]))
        };
        let commands: Vec<Command> = all.into_iter().filter(wanted).collect();
        assert!(!commands.is_empty(), "nothing to drive");
        for option in values::profile(seed) {
            for server in [Some(ours), theirs].into_iter().flatten() {
                let set = server.connect().cmd(&["CONFIG", "SET", option[0], option[1]]);
                assert_eq!(set, Value::ok(), "CONFIG SET {option:?}");
            }
        }
        Driver {
            ours: Side::new(ours, resp3),
            theirs: theirs.map(|t| Side::new(t, resp3)),
            rng: Rng::seeded(seed),
            coverage: Coverage::of(&commands),
            commands,
            known,
            history: VecDeque::new(),
            differences: Vec::new(),
            told,
            seed,
            sent: 0,
            db: 0,
            queueing: false,
            waits: false,
            crowded: false,
        }
    }

    pub fn run(&mut self, commands: usize) {
        self.start_over();
        let (mut refilled, mut digested, mut reloaded) = (0, 0, 0);
        while self.sent < commands {
            self.step();
            if self.sent - refilled >= REFILL_EVERY {
                refilled = self.sent;
                self.refill();
            }
            if self.sent - digested >= DIGEST_EVERY {
                digested = self.sent;
                self.compare_data();
                self.compare_figures();
            }
            if self.sent - reloaded >= RELOAD_EVERY {
                reloaded = self.sent;
                self.check_values();
                self.reload();
            }
        }
        self.compare_data();
        self.check_values();
        self.reload();
    }

    pub fn has(&self, name: &str) -> bool {
        self.known.contains(name)
    }

    /// Both mains, without a look at the replies.
    pub fn both(&mut self, words: &[&[u8]]) -> (Value, Option<Value>) {
        self.ours.main.put(words);
        if let Some(t) = &mut self.theirs {
            t.main.put(words);
        }
        (self.ours.reply(), self.theirs.as_mut().map(Side::reply))
    }

    /// Both watches.
    pub fn asked(&mut self, words: &[&[u8]]) -> (Value, Option<Value>) {
        (self.ours.ask(words), self.theirs.as_mut().map(|t| t.ask(words)))
    }

    /// Both, empty, in database 0, with the keys of the pool.
    pub fn start_over(&mut self) {
        if std::mem::take(&mut self.waits) {
            self.ours.reconnect();
            self.theirs.iter_mut().for_each(Side::reconnect);
        }
        if self.crowded {
            // What a client has still to send may be a pause.
            [Some(&mut self.ours), self.theirs.as_mut()].into_iter().flatten().for_each(Side::dismiss);
        }
        // Nothing that others said rests.
        self.asked(&[b"CLIENT", b"UNPAUSE"]);
        for words in [&[&b"DISCARD"[..]][..], &[b"UNWATCH"], &[b"SELECT", b"0"], &[b"FLUSHALL"]] {
            self.both(words);
        }
        if self.has("function|flush") {
            self.both(&[b"FUNCTION", b"FLUSH"]);
        }
        // The count of changes starts from 0.
        for words in [&[&b"SCRIPT"[..], b"FLUSH"][..], &[b"SAVE"], &[b"CONFIG", b"RESETSTAT"]] {
            self.both(words);
        }
        (self.db, self.queueing) = (0, false);
        self.history.clear();
        // What happened until now is no difference.
        for side in [Some(&mut self.ours), self.theirs.as_mut()].into_iter().flatten() {
            side.put_question();
            side.effects(0);
        }
        self.refill();
    }

    /// Makes the keys of the pool that are missing, when too many are.
    pub fn refill(&mut self) {
        let mark = self.sent.to_string();
        let echo = self.both(&[b"ECHO", mark.as_bytes()]).0;
        assert_eq!(echo, Value::bulk(&mark), "one reply to one request");
        let pool: Vec<(&str, &[u8])> = values::POOL
            .iter()
            .flat_map(|(group, keys)| keys.iter().map(move |k| (*group, *k)))
            // Types whose commands have no row yet stay away.
            .filter(|(group, _)| self.has(values::maker(group)))
            .collect();
        let mut ask: Vec<&[u8]> = vec![b"EXISTS"];
        ask.extend(pool.iter().map(|(_, key)| *key));
        let there = self.asked(&ask).0.int() as usize;
        self.coverage.keys.0 += pool.len();
        self.coverage.keys.1 += there;
        if there * 3 > pool.len() * 2 {
            return;
        }
        for (group, key) in pool {
            if self.asked(&[b"EXISTS", key]).0 == Int(1) {
                continue;
            }
            for words in values::make(group, key, &mut self.rng) {
                self.compare(Call::new(words));
            }
        }
    }

    /// A command by chance; one that ran less often than others comes first now and then.
    pub fn draw(&mut self) -> Call {
        if self.rng.below(16) == 0
            && let Some(call) = self.draw_for_option()
        {
            return call;
        }
        loop {
            let mut at = self.rng.index(self.commands.len());
            if self.rng.below(8) == 0 {
                let other = self.rng.index(self.commands.len());
                let runs = |i: usize| self.coverage.runs(&self.commands[i].name);
                at = if runs(other) < runs(at) { other } else { at };
            }
            let command = &self.commands[at];
            if rules::RARE.contains(&&command.name[..]) && self.rng.below(8) > 0 {
                continue;
            }
            return match rules::FIT_ONLY.contains(&&command.name[..]) {
                true => command.fit(&mut self.rng),
                false => command.call(&mut self.rng),
            };
        }
    }

    /// Asks and does what makes the outcome of a call certain.
    ///
    /// Where members have different scores, what is between two members depends on the levels that a skip
    /// list drew: such sorted sets are made even. SORT walks the tables of sets and of sorted sets.
    fn prepare(&mut self, call: &mut Call) {
        let lexical = rules::is_lexical(call);
        if lexical {
            for key in call.words.iter().skip(1).take(4) {
                if self.both(&[b"OBJECT", b"ENCODING", key]).0 == Value::bulk("skiplist") {
                    self.both(&[b"ZUNIONSTORE", key, b"1", key, b"WEIGHTS", b"0"]);
                }
            }
        }
        let sorted = call.words.get(1).filter(|_| call.name.starts_with("sort")).cloned();
        if let Some(key) = &sorted {
            let kind = self.both(&[b"TYPE", key]).0;
            let encoding = self.both(&[b"OBJECT", b"ENCODING", key]).0;
            call.ordered = match &kind.text()[..] {
                "set" => encoding == Value::bulk("intset"),
                "zset" => rules::sorts_nothing(call),
                _ => true,
            };
        }
        if lexical || sorted.is_some() {
            self.same_effects(&[], Freedom::None);
        }
    }

    /// A call with the option that ran least, while one ran too seldom.
    fn draw_for_option(&mut self) -> Option<Call> {
        const TRIES: usize = 40;
        let option = self.coverage.rarest_option()?.to_string();
        let (name, _) = option.rsplit_once(' ').expect("a command and its option");
        let command = self.commands.iter().find(|c| c.name == name)?;
        let calls = std::iter::repeat_with(|| command.fit(&mut self.rng)).take(TRIES);
        calls.into_iter().find(|c| c.options.contains(&option))
    }

    /// Sends a call to both and compares all that comes of it. False after a difference.
    pub fn compare(&mut self, mut call: Call) -> bool {
        if !self.queueing {
            self.prepare(&mut call);
        }
        let words: Vec<&[u8]> = call.words.iter().map(|w| &w[..]).collect();
        let (ours, theirs) = self.both(&words);
        self.compare_replies(call, ours, theirs)
    }

    /// The replies are there; what else came of it?
    pub fn compare_replies(&mut self, call: Call, ours: Value, theirs: Option<Value>) -> bool {
        self.sent += 1;
        self.coverage.note(&call, &ours);
        if self.history.len() == REMEMBERED {
            self.history.pop_front();
        }
        self.history.push_back((call.clone(), short(&ours)));
        let queued = ours == Status("QUEUED".into());
        if let Some(theirs) = theirs {
            let rule = if queued { Rule::Exact } else { rules::rule(&call) };
            let same =
                rules::same(rule, &ours, &theirs) || (rule == Rule::Dump && self.has_no_order(&call));
            if !same && rules::is_stale_errno(&call, &theirs) {
                self.start_over();
                return false;
            }
            if !same {
                let what = format!("ours   {}\ntheirs {}", long(&ours), long(&theirs));
                return self.difference(&call.keys, &what);
            }
        }
        self.connection_after(&call, &ours);
        let by_chance = rules::leaves_chance(&call);
        let look = !queued && !by_chance && self.db == 0;
        let keys: &[Vec<u8>] = if look { &call.keys } else { &[] };
        if !self.same_effects(keys, rules::freedom(&call)) {
            return false;
        }
        if by_chance && !queued {
            // The first argument, whatever it is: the call may be an odd one.
            let keys: Vec<Vec<u8>> = call.words.iter().skip(1).take(1).cloned().collect();
            keys.iter().chain(&call.keys).for_each(|key| drop(self.both(&[b"DEL", key])));
        }
        // What may be over goes now, in both at once.
        if !queued && rules::is_dated(&call) {
            let words = [&[b"EXISTS".to_vec()][..], &call.keys].concat();
            return words.len() < 2 || self.compare(Call::new(words));
        }
        true
    }

    /// What a call did to the connection itself.
    fn connection_after(&mut self, call: &Call, reply: &Value) {
        let done = *reply == Value::ok();
        match &call.name[..] {
            "multi" if done => self.queueing = true,
            "exec" | "discard" if !matches!(reply, Error(_)) => self.queueing = false,
            "exec" if reply.kind() == "-EXECABORT" => self.queueing = false,
            "select" if done && !self.queueing => {
                let text = String::from_utf8_lossy(&call.words[1]).into_owned();
                self.db = text.parse().unwrap_or(0);
            }
            _ => {}
        }
    }

    /// Changes, events, ops and the values of these keys.
    pub fn same_effects(&mut self, keys: &[Vec<u8>], freedom: Freedom) -> bool {
        let mut unique: Vec<&[u8]> = Vec::new();
        for key in keys.iter().map(|k| &k[..]) {
            if !unique.contains(&key) && unique.len() < 8 {
                unique.push(key);
            }
        }
        let (ours, values) = effects(&mut self.ours, &unique, freedom);
        let Some((theirs, others)) = self.theirs.as_mut().map(|t| effects(t, &unique, freedom)) else {
            return true;
        };
        let mut what = String::new();
        if ours.changes != theirs.changes {
            what += &format!("changes: ours {}, theirs {}\n", ours.changes, theirs.changes);
        }
        let (a, b) = ((ours.hits, ours.misses), (theirs.hits, theirs.misses));
        // How many keys a SCAN meets depends on the table.
        if a != b && !matches!(freedom, Freedom::Order | Freedom::Pick) {
            what += &format!("hits and misses: ours {a:?}, theirs {b:?}\n");
        }
        if ours.events != theirs.events {
            let same = ours.events.iter().zip(&theirs.events).take_while(|(a, b)| a == b).count();
            let shown = |all: &[String]| cut(&all[same..].join(", "), 300);
            let (a, b) = (shown(&ours.events), shown(&theirs.events));
            what += &format!("events, after {same} that agree\nours   {a}\ntheirs {b}\n");
        }
        if freedom == Freedom::None && !same_ops(&ours.ops, &theirs.ops) {
            let shown = |all: &[Vec<u8>]| cut(&all.join(&b' ').escape_ascii().to_string(), 500);
            what += &format!("ops\nours   {}\ntheirs {}\n", shown(&ours.ops), shown(&theirs.ops));
        }
        if values != others {
            what += &format!("values (digests, then encodings) of {}\n", shown(&unique));
            what += &format!("ours   {}\ntheirs {}\n", cut(&values, 600), cut(&others, 600));
        }
        if what.is_empty() {
            return true;
        }
        self.difference(&unique.iter().map(|k| k.to_vec()).collect::<Vec<_>>(), what.trim_end())
    }

    /// A hash table is dumped in the order of its buckets.
    fn has_no_order(&mut self, call: &Call) -> bool {
        let key = call.words.get(1).cloned().unwrap_or_default();
        // In the database that it was dumped from.
        let (ours, theirs) = self.both(&[b"OBJECT", b"ENCODING", &key]);
        // Streams hold times: when their consumers were seen.
        let free = [Value::bulk("hashtable"), Value::bulk("stream")];
        theirs.is_some_and(|t| t == ours) && free.contains(&ours)
    }

    /// Every key of database 0 in ours.
    fn keys(&mut self) -> Vec<Vec<u8>> {
        let bytes = |v: &Value| match v {
            Bulk(key) => key.clone(),
            other => panic!("{other:?} is no key"),
        };
        let mut keys: Vec<Vec<u8>> = self.asked(&[b"KEYS", b"*"]).0.items().iter().map(bytes).collect();
        keys.sort();
        keys
    }

    /// Calls, failures, hits and misses: what INFO counts of what was the same on both sides.
    pub fn compare_figures(&mut self) {
        let ask: &[&[u8]] = &[b"INFO", b"stats", b"commandstats", b"errorstats"];
        let (ours, theirs) = self.asked(ask);
        let Some(theirs) = theirs else { return };
        let (ours, theirs) = (rules::figures(&ours.text()), rules::figures(&theirs.text()));
        if ours == theirs {
            return;
        }
        let mut what = String::from("figures since the last RESETSTAT\n");
        for name in ours.keys().chain(theirs.keys()).collect::<BTreeSet<_>>() {
            let (a, b) = (ours.get(name), theirs.get(name));
            if a != b {
                what += &format!("{name}: ours {a:?}, theirs {b:?}\n");
            }
        }
        self.history.push_back((Call::of(&[b"INFO"]), String::new()));
        self.difference(&[], what.trim_end());
    }

    /// The data of both servers, in all databases; where it differs, the key is looked for.
    pub fn compare_data(&mut self) {
        let digests = self.asked(&[b"DEBUG", b"DIGEST"]);
        for key in self.keys() {
            let (value, other) = self.asked(&[b"DEBUG", b"DIGEST-VALUE", &key]);
            let (encoding, theirs) = self.asked(&[b"OBJECT", b"ENCODING", &key]);
            let differs = other.as_ref().is_some_and(|o| *o != value)
                || theirs.as_ref().is_some_and(|t| *t != encoding);
            if differs {
                let scores = self.asked(&[b"ZRANGE", &key, b"0", b"-1", b"WITHSCORES"]);
                let text = format!(
                    "{}: ours {value:?} {encoding:?}, theirs {other:?} {theirs:?}, scores {scores:?}",
                    key.escape_ascii(),
                );
                self.difference(&[key], &text);
                return;
            }
        }
        if digests.1.is_some_and(|d| d != digests.0) {
            self.difference(&[], "the data differs, but no value of database 0");
        }
    }

    /// What must hold of every value of ours.
    fn check_values(&mut self) {
        let limit = self.asked(&[b"CONFIG", b"GET", b"list-max-listpack-size"]).0;
        let limit = match limit {
            Map(pairs) => pairs[0].1.text().parse().expect("a number"),
            other => panic!("CONFIG GET: {other:?}"),
        };
        for key in self.keys() {
            let kind = self.asked(&[b"TYPE", &key]).0.text();
            let ask = legal::asks(&kind, &key);
            let ask: Vec<&[u8]> = ask.iter().map(|w| &w[..]).collect();
            let content = self.asked(&ask).0;
            let encoding = self.asked(&[b"OBJECT", b"ENCODING", &key]).0.text();
            let wrong = legal::complaint(&kind, &encoding, &content, limit);
            assert!(wrong.is_none(), "{}: {wrong:?}", key.escape_ascii());
            if self.has("copy") {
                assert_eq!(self.asked(&[b"COPY", &key, b"__copy__", b"REPLACE"]).0, Int(1));
                let two = self.asked(&[b"DEBUG", b"DIGEST-VALUE", &key, b"__copy__"]).0;
                assert_eq!(two.items()[0], two.items()[1], "a copy of {}", key.escape_ascii());
            }
        }
        self.asked(&[b"DEL", b"__copy__"]);
        self.same_effects(&[], Freedom::None);
    }

    /// Every key of ours in all databases, with what tells its value.
    fn all_values(&mut self) -> Vec<String> {
        let mut all = Vec::new();
        for db in values::DATABASES {
            self.asked(&[b"SELECT", db]);
            for key in self.keys() {
                let mut value = self.asked(&[b"DEBUG", b"DIGEST-VALUE", &key]).0;
                let expires = self.asked(&[b"PEXPIRETIME", &key]).0;
                // A score of -0 loses its sign when a small set is packed, on loading too.
                let scores = self.asked(&[b"ZRANGE", &key, b"0", b"-1", b"WITHSCORES"]).0;
                if !matches!(scores, Error(_)) {
                    value =
                        Status(format!("{scores:?}").replace("-0]", "0]").replace("\"-0\"", "\"0\""));
                }
                all.push(format!("{} {} {value:?} {expires:?}", db.escape_ascii(), key.escape_ascii()));
            }
        }
        self.asked(&[b"SELECT", b"0"]);
        all
    }

    /// What is saved is what is loaded.
    fn reload(&mut self) {
        // What has expired goes first: it is not saved.
        for db in values::DATABASES {
            self.both(&[b"SELECT", db]);
            self.both(&[b"SCAN", b"0", b"COUNT", b"100000"]);
        }
        self.both(&[b"SELECT", b"0"]);
        self.same_effects(&[], Freedom::Order);
        let before = self.all_values();
        let (ours, theirs) = self.both(&[b"DEBUG", b"RELOAD"]);
        assert!(
            ours == Value::ok() && theirs.is_none_or(|t| t == Value::ok()),
            "DEBUG RELOAD: {ours:?}"
        );
        let after = self.all_values();
        let other: Vec<_> = before.iter().zip(&after).filter(|(a, b)| a != b).take(3).collect();
        assert!(before.len() == after.len() && other.is_empty(), "DEBUG RELOAD changes {other:?}");
        self.same_effects(&[], Freedom::Order);
        self.compare_data();
    }

    /// Remembers a difference with the commands that led there, and starts over.
    pub fn difference(&mut self, keys: &[Vec<u8>], what: &str) -> bool {
        let name = self.history.back().map_or(String::new(), |(call, _)| call.name.clone());
        let told =
            |own: &str| self.differences.iter().filter(|(n, t)| n == own && !t.is_empty()).count();
        let all = self.differences.iter().filter(|(_, text)| !text.is_empty()).count();
        let mut text = String::new();
        if all < self.told && told(&name) < TOLD_OF_EACH {
            text = format!("\n== {name}, seed {}, after {} commands\n", self.seed, self.sent);
            text += &self.story(keys);
            text += what;
            text.push('\n');
            println!("{text}");
        }
        if let Some((call, _)) = self.history.back() {
            self.coverage.differs(call);
        }
        self.differences.push((name, text));
        self.start_over();
        false
    }

    /// The last commands, and those before them that had to do with these keys.
    fn story(&self, keys: &[Vec<u8>]) -> String {
        let last = self.history.len().saturating_sub(3);
        let about = |call: &Call| call.keys.iter().any(|k| keys.contains(k));
        let led: Vec<usize> = (0..last).filter(|i| about(&self.history[*i].0)).rev().take(12).collect();
        let mut text = String::new();
        for i in led.into_iter().rev().chain(last..self.history.len()) {
            let (call, reply) = &self.history[i];
            text += &format!("  {}   {reply}\n", call.shown());
        }
        text
    }
}

impl Drop for Driver {
    /// A server that died or said something unheard-of: what led there?
    fn drop(&mut self) {
        if std::thread::panicking() {
            let from = self.history.len().saturating_sub(12);
            eprintln!("---- seed {}, after {} commands ----", self.seed, self.sent);
            for (call, reply) in self.history.iter().skip(from) {
                eprintln!("  {}   {reply}", call.shown());
            }
        }
    }
}

/// What a command did, and the digests and encodings of some keys.
fn effects(side: &mut Side, keys: &[&[u8]], freedom: Freedom) -> (Effects, String) {
    side.put_question();
    if !keys.is_empty() {
        let mut words: Vec<&[u8]> = vec![b"DEBUG", b"DIGEST-VALUE"];
        words.extend(keys);
        side.watch.put(&words);
        keys.iter().for_each(|key| side.watch.put(&[&b"OBJECT"[..], b"ENCODING", key]));
    }
    let asked = if keys.is_empty() { 0 } else { keys.len() + 1 };
    let (mut done, values) = side.effects(asked);
    match freedom {
        Freedom::Order => done.events.sort(),
        Freedom::Pick => done.events.clear(),
        Freedom::None | Freedom::Ops => {}
    }
    (done, format!("{values:?}"))
}

/// The same words; times may differ by a little.
fn same_ops(ours: &[Vec<u8>], theirs: &[Vec<u8>]) -> bool {
    const YEAR_2001_MS: i64 = 1_000_000_000_000;
    let time = |w: &[u8]| std::str::from_utf8(w).ok()?.parse().ok().filter(|n| *n > YEAR_2001_MS);
    let near = |a: &[u8], b: &[u8]| match (time(a), time(b)) {
        (Some(a), Some(b)) => i64::abs_diff(a, b) < 5_000,
        _ => false,
    };
    ours.len() == theirs.len() && ours.iter().zip(theirs).all(|(a, b)| a == b || near(a, b))
}

fn shown(keys: &[&[u8]]) -> String {
    keys.iter().map(|k| k.escape_ascii().to_string()).collect::<Vec<_>>().join(" ")
}

fn short(v: &Value) -> String {
    cut(&format!("{v:?}"), 60)
}

fn long(v: &Value) -> String {
    cut(&format!("{v:?}"), 600)
}

fn cut(text: &str, most: usize) -> String {
    match text.char_indices().nth(most) {
        Some((at, _)) => format!("{}... ({} bytes)", &text[..at], text.len()),
        None => text.to_string(),
    }
}
