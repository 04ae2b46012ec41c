//! Several commands that belong together.
//!
//! ```text
//!   transaction   [WATCH, another writes] MULTI ... EXEC | DISCARD
//!   script        a command inside EVAL, by call and pcall, in RESP2 and RESP3
//!   expiring      keys whose time is over, and the command that finds it so
//!   elsewhere     SELECT, some commands, back
//!   waiter        a blocking command with no data; others write until it is served, or it is unblocked
//!   listener      a connection of its own that (un)subscribes, hears messages, changes its protocol
//!   spectator     MONITOR
//!   pipeline      several commands in one write
//!   nonsense      what is no command, and bytes that are no request
//!   transplant    what one server dumps the other restores
//! ```

use super::driver::Driver;
use super::rules::{self, Freedom, Rule};
use super::side::Side;
use super::tree::Call;
use super::values::{self, pick};
use crate::common::{Conn, PATIENCE, Value, Value::*, request};
use std::io::Read;
use std::time::{Duration, Instant};

/// Commands that change what their connection means: not on the watch.
const OF_THE_CONNECTION: &[&str] = &["select", "multi", "exec", "discard", "watch", "unwatch", "auth"];

impl Driver {
    /// One command, or one scene.
    pub fn step(&mut self) {
        match self.rng.below(200) {
            0..4 => self.transaction(),
            4..8 => self.transplant(),
            8..12 => self.ask_for_keys(),
            12..20 => self.script(),
            20..22 => self.elsewhere(),
            22..26 => self.waiter(),
            26 => self.listener(),
            27 if self.rng.below(4) == 0 => self.spectator(),
            28 => self.unknown(),
            29 if self.rng.below(2) == 0 => self.raw(),
            30..33 => self.pipeline(),
            33..35 => self.expiring(),
            _ => {
                let call = self.draw();
                self.compare(call);
            }
        }
        if self.db != 0 && !self.queueing {
            self.compare(Call::of(&[b"SELECT", b"0"]));
        }
    }

    /// A call whose reply has one form and whose outcome is no matter of chance.
    pub fn draw_certain(&mut self) -> Option<Call> {
        let call = self.draw();
        let certain = rules::rule(&call) == Rule::Exact
            && !rules::leaves_chance(&call)
            && rules::freedom(&call) == Freedom::None
            && !rules::is_lexical(&call);
        certain.then_some(call)
    }

    // ---- transactions ----------------------------------------------------------------------------

    fn transaction(&mut self) {
        let watched = values::any_key(&mut self.rng);
        if self.rng.below(2) == 0 {
            let other = values::any_key(&mut self.rng);
            self.compare(Call::of(&[b"WATCH", watched, other]));
            if self.rng.below(2) == 0 {
                self.somebody_writes(watched);
            }
            if self.rng.below(2) == 0
                && let Some(call) = self.draw_certain()
            {
                self.compare(call);
            }
        }
        let expires = self.rng.below(10) == 0;
        if expires {
            self.let_expire(watched);
        }
        self.compare(Call::of(&[b"MULTI"]));
        let (mut keys, mut selects) = (vec![b"EXISTS".to_vec()], false);
        for _ in 0..self.rng.below(6) {
            if let Some(call) = self.draw_certain()
                // What is over in another database would stay there.
                && !(selects && rules::is_dated(&call))
                // A real server gives no reply to an AUTH that fails in EXEC.
                && !matches!(&call.name[..], "exec" | "discard" | "auth")
            {
                keys.extend_from_slice(&call.keys);
                selects |= call.name == "select";
                self.compare(call);
            }
        }
        let end: &[u8] = if self.rng.below(8) == 0 { b"DISCARD" } else { b"EXEC" };
        self.compare(Call::of(&[end]));
        // SELECT may have been among them.
        self.compare(Call::of(&[b"SELECT", b"0"]));
        if expires {
            keys.push(watched.to_vec());
        }
        if keys.len() > 1 {
            self.compare(Call::new(keys));
        }
    }

    /// The key expires in a moment; no command has noticed yet.
    fn let_expire(&mut self, key: &[u8]) {
        let both = self.both(&[b"PEXPIRE", key, b"1"]);
        if both.0 == Int(1) {
            // The one thing here that can only be waited for; twice as long does no harm.
            std::thread::sleep(Duration::from_millis(4));
        }
    }

    fn expiring(&mut self) {
        let key = values::any_key(&mut self.rng);
        let Some(mut call) = self.draw_certain() else { return };
        if self.rng.below(2) == 0 {
            self.let_expire(values::any_key(&mut self.rng.clone()));
        }
        self.let_expire(key);
        // In place of one of its keys.
        let places: Vec<usize> =
            (1..call.words.len()).filter(|i| call.keys.contains(&call.words[*i])).collect();
        if !places.is_empty() {
            call.words[places[self.rng.index(places.len())]] = key.to_vec();
            call.keys.push(key.to_vec());
        }
        self.compare(call);
        // What is over goes now, before tables are walked.
        let mut all = vec![b"EXISTS".to_vec()];
        all.extend(values::POOL.iter().flat_map(|(_, keys)| keys.iter().map(|k| k.to_vec())));
        let mut call = Call::new(all);
        call.keys.clear();
        self.compare(call);
    }

    /// Another connection does something that has to do with the key. False after a difference.
    fn somebody_writes(&mut self, key: &[u8]) -> bool {
        let mut call = self.draw_certain().unwrap_or_default();
        if self.rng.below(3) > 0 || call.words.is_empty() {
            call = Call::new(values::write(key, &mut self.rng));
        }
        let name = &call.name[..];
        let harmless = !OF_THE_CONNECTION.contains(&name)
            && !rules::BLOCKING.contains(&name)
            && !name.starts_with("client|");
        if !harmless || !self.has(name) {
            return true;
        }
        let words: Vec<&[u8]> = call.words.iter().map(|w| &w[..]).collect();
        let (ours, theirs) = self.asked(&words);
        self.compare_replies(call, ours, theirs)
    }

    // ---- scripts ---------------------------------------------------------------------------------

    fn script(&mut self) {
        if !self.has("eval") {
            return;
        }
        let Some(mut call) = self.draw_certain() else { return };
        let code = pick(&mut self.rng, values::CALLERS);
        if code.starts_with(b"redis.setresp") && self.no_setresp() {
            return;
        }
        call.options.clear();
        if self.rng.below(2) == 0 && self.has("fcall") {
            return self.function(call, code);
        }
        call.name = "eval".into();
        call.words.splice(0..0, [b"EVAL".to_vec(), code.to_vec(), b"0".to_vec()]);
        self.compare(call);
    }

    /// The same by a function with flags by chance.
    fn function(&mut self, mut call: Call, code: &[u8]) {
        let resp3 = code.starts_with(b"redis.setresp");
        let name = if resp3 { values::CALLER_IN_RESP3 } else { values::CALLER };
        let text = String::from_utf8_lossy(name);
        let body = values::function(&text, code, &mut self.rng);
        let library = [b"#!lua name=", name, b"\n", &body].concat();
        self.compare(Call::of(&[b"FUNCTION", b"LOAD", b"REPLACE", &library]));
        let command = if self.rng.below(3) == 0 { "FCALL_RO" } else { "FCALL" };
        call.name = command.to_lowercase();
        call.words.splice(0..0, [command.as_bytes().to_vec(), name.to_vec(), b"0".to_vec()]);
        self.compare(call);
    }

    fn no_setresp(&mut self) -> bool {
        self.asked(&[b"EVAL", b"return redis.setresp and 1 or 0", b"0"]).0 == Int(0)
    }

    // ---- databases -------------------------------------------------------------------------------

    fn elsewhere(&mut self) {
        let db = pick(&mut self.rng, values::DATABASES);
        self.compare(Call::of(&[b"SELECT", db]));
        for _ in 0..2 + self.rng.below(8) {
            let call = self.draw();
            self.compare(call);
        }
    }

    // ---- clients that wait -----------------------------------------------------------------------

    fn waiter(&mut self) {
        let blocking = |name: &str| rules::BLOCKING.contains(&name) && !name.starts_with("wait");
        let all: Vec<usize> =
            (0..self.commands.len()).filter(|i| blocking(&self.commands[*i].name)).collect();
        if all.is_empty() {
            return;
        }
        let at = all[self.rng.index(all.len())];
        let mut call = self.commands[at].fit(&mut self.rng);
        if !wait_without_end(&mut call) {
            return;
        }
        for key in call.keys.clone() {
            if self.rng.below(4) > 0 {
                self.compare(Call::of(&[b"DEL", &key]));
            }
        }
        self.waits = true;
        self.ours.main.put(&call.words);
        if let Some(t) = &mut self.theirs {
            t.main.put(&call.words);
        }
        for _ in 0..4 {
            let (ours, theirs) = (waits(&mut self.ours), self.theirs.as_mut().map(waits));
            if theirs.is_some_and(|t| t != ours) {
                let what = format!("waits: ours {ours}, theirs {theirs:?}: {}", call.shown());
                self.difference(&call.keys, &what);
                return;
            }
            if !ours {
                break;
            }
            let i = self.rng.index(call.keys.len().max(1));
            let key = call.keys.get(i).cloned().unwrap_or_default();
            if !self.somebody_writes(&key) {
                return;
            }
        }
        if waits(&mut self.ours) {
            let how: &[u8] = if self.rng.below(2) == 0 { b"TIMEOUT" } else { b"ERROR" };
            let ours = self.ours.unblock(how);
            let theirs = self.theirs.as_mut().map(|t| t.unblock(how));
            assert!(theirs.is_none_or(|t| t == ours), "CLIENT UNBLOCK");
        }
        let (ours, theirs) = (self.ours.reply(), self.theirs.as_mut().map(Side::reply));
        self.waits = false;
        self.compare_replies(call, ours, theirs);
    }

    // ---- messages --------------------------------------------------------------------------------

    fn listener(&mut self) {
        let ours = self.ours.another();
        let mut pair = (ours, self.theirs.as_ref().map(Side::another));
        for round in 0..3 + self.rng.below(6) {
            let words = values::listener(&mut self.rng);
            let mark = format!("mark-{round}");
            put_marked(&mut pair.0, &words, &mark);
            pair.1.iter_mut().for_each(|c| put_marked(c, &words, &mark));
            if self.rng.below(2) == 0 {
                // The subscriber has been answered by now: the message must reach it.
                let ours = until(&mut pair.0, &mark);
                let theirs = pair.1.as_mut().map(|c| until(c, &mark));
                if !self.same_heard(&words, &ours, theirs.as_deref()) {
                    return;
                }
                let message = Call::new(values::message(&mut self.rng));
                if self.has(&message.name) && !self.compare(message) {
                    return;
                }
                pair.0.put(&["PING", &mark]);
                pair.1.iter_mut().for_each(|c| c.put(&["PING", &mark]));
            }
            let ours = until(&mut pair.0, &mark);
            let theirs = pair.1.as_mut().map(|c| until(c, &mark));
            if !self.same_heard(&words, &ours, theirs.as_deref()) {
                return;
            }
        }
        drop(pair);
        // A count of subscribers must find them gone.
        let begun = Instant::now();
        while self.asked(&[b"PUBSUB", b"NUMPAT"]) != (Int(1), self.theirs.as_ref().map(|_| Int(1)))
            || self.asked(&[b"PUBSUB", b"CHANNELS"]).0 != Array(vec![])
            || self.theirs.is_some() && self.asked(&[b"PUBSUB", b"CHANNELS"]).1 != Some(Array(vec![]))
        {
            assert!(begun.elapsed() < PATIENCE, "a subscriber that left is still counted");
        }
    }

    fn same_heard(&mut self, words: &[Vec<u8>], ours: &[Value], theirs: Option<&[Value]>) -> bool {
        let mut call = Call::new(words.to_vec());
        call.keys.clear();
        let (mut ours, mut theirs) = (ours.to_vec(), theirs.map(<[Value]>::to_vec));
        // All that were subscribed to, in the order of a table; the numbers go down the same.
        if words.len() == 1 && words[0].to_ascii_lowercase().ends_with(b"unsubscribe") {
            let name = |v: &Value| match v {
                Array(items) | Push(items) if items.len() == 3 => format!("{:?}", items[2]),
                other => format!("{other:?}"),
            };
            for list in [Some(&mut ours), theirs.as_mut()].into_iter().flatten() {
                list.iter_mut().for_each(|v| *v = Status(name(v)));
            }
        }
        // Patterns that match are met in the order of a table.
        for list in [Some(&mut ours), theirs.as_mut()].into_iter().flatten() {
            let by_pattern = |v: &Value| format!("{v:?}").contains("[\"pmessage");
            let mut met: Vec<Value> = list.extract_if(.., |v| by_pattern(v)).collect();
            met.sort_by_key(|v| format!("{v:?}"));
            list.append(&mut met);
        }
        let theirs = theirs.map(Array);
        self.compare_replies(call, Array(ours), theirs)
    }

    // ---- MONITOR ---------------------------------------------------------------------------------

    fn spectator(&mut self) {
        if !self.has("monitor") {
            return;
        }
        let mut pair = (self.ours.another(), self.theirs.as_ref().map(Side::another));
        assert_eq!(pair.0.run("MONITOR"), Value::ok());
        pair.1.iter_mut().for_each(|c| drop(c.run("MONITOR")));
        for _ in 0..5 {
            let call = self.draw();
            if !self.compare(call) {
                return;
            }
        }
        let mark = format!("mark-{}", self.sent);
        self.both(&[b"ECHO", mark.as_bytes()]);
        let ours = monitored(&mut pair.0, &mark);
        let theirs = pair.1.as_mut().map(|c| monitored(c, &mark));
        if theirs.as_ref().is_some_and(|t| *t != ours) {
            self.compare_replies(Call::of(&[b"MONITOR"]), Array(ours), theirs.map(Array));
        }
    }

    // ---- more at once, and less than a request ---------------------------------------------------

    fn pipeline(&mut self) {
        let blocks = |name: &str| rules::BLOCKING.contains(&name);
        let mut calls = Vec::new();
        for _ in 0..2 + self.rng.below(12) {
            calls.extend(self.draw_certain().filter(|c| !blocks(&c.name) && c.name != "auth"));
        }
        let all: Vec<u8> = calls.iter().flat_map(|c| request(&c.words)).collect();
        self.ours.main.send(&all);
        self.theirs.iter_mut().for_each(|t| t.main.send(&all));
        let mut looked_at = vec![b"EXISTS".to_vec()];
        calls.iter().filter(|c| rules::is_dated(c)).for_each(|c| looked_at.extend_from_slice(&c.keys));
        let mut replies = Vec::new();
        for _ in &calls {
            replies.push((self.ours.reply(), self.theirs.as_mut().map(Side::reply)));
        }
        let stale = |(call, (_, theirs)): (&Call, &(Value, Option<Value>))| {
            theirs.as_ref().is_some_and(|t| rules::is_stale_errno(call, t))
        };
        if calls.iter().zip(&replies).any(stale) {
            return self.start_over();
        }
        for (mut call, (ours, theirs)) in calls.into_iter().zip(replies) {
            // A value is what the last of them made it.
            call.keys.clear();
            if !self.compare_replies(call, ours, theirs) {
                return;
            }
        }
        if looked_at.len() > 1 {
            self.compare(Call::new(looked_at));
        }
    }

    fn unknown(&mut self) {
        let words = pick(&mut self.rng, values::UNKNOWN);
        let mut call = Call::of(words);
        call.keys.clear();
        self.compare(call);
    }

    fn raw(&mut self) {
        let mut sent = Vec::new();
        for _ in 0..1 + self.rng.below(3) {
            sent.extend_from_slice(pick(&mut self.rng, values::RAW));
        }
        let ours = said(self.ours.another(), &sent);
        let theirs = self.theirs.as_ref().map(|t| said(t.another(), &sent));
        let mut call = Call::of(&[b"raw", &sent]);
        call.keys.clear();
        self.compare_replies(call, ours, theirs);
    }

    // ---- others ----------------------------------------------------------------------------------

    /// What one server dumps the other restores.
    fn transplant(&mut self) {
        if !self.has("dump") || !self.has("restore") {
            return;
        }
        let key = values::any_key(&mut self.rng);
        let from_ours = self.rng.below(2) == 0;
        // Both are asked: a dump counts as a lookup.
        let (ours, theirs) = self.asked(&[b"DUMP", key]);
        if let Bulk(payload) = theirs.filter(|_| !from_ours).unwrap_or(ours) {
            self.compare(Call::of(&[b"RESTORE", b"new:1", b"0", &payload, b"REPLACE"]));
        }
    }

    fn ask_for_keys(&mut self) {
        let mut call = self.draw();
        let ask: &[u8] = if self.rng.below(2) == 0 { b"GETKEYS" } else { b"GETKEYSANDFLAGS" };
        call.name = format!("command|{}", String::from_utf8_lossy(ask).to_lowercase());
        call.options.clear();
        call.words.splice(0..0, [b"COMMAND".to_vec(), ask.to_vec()]);
        self.compare(call);
    }
}

/// All that comes back for some bytes and a PING behind them, to its answer or to the end.
fn said(mut c: Conn, bytes: &[u8]) -> Value {
    const MARK: &[u8] = b"the-mark";
    let all = [bytes, &request(&[b"PING", MARK])].concat();
    c.send(&all);
    let mut back = Vec::new();
    let mut room = [0; 4096];
    while !back.windows(MARK.len()).any(|w| w == MARK) {
        // Nothing for so long: the mark has become part of a request that is not whole.
        if !c.ready(Duration::from_millis(300)) {
            back.extend_from_slice(b"...");
            break;
        }
        match c.stream().read(&mut room) {
            Ok(n) if n > 0 => back.extend_from_slice(&room[..n]),
            _ => {
                back.extend_from_slice(b"<end>");
                break;
            }
        }
    }
    Bulk(back)
}

/// Gives the call a timeout that never comes; false where it has none.
fn wait_without_end(call: &mut Call) -> bool {
    let block = call.words.iter().position(|w| w.eq_ignore_ascii_case(b"BLOCK"));
    let at = match &call.name[..] {
        "blmpop" | "bzmpop" => Some(1),
        "xread" | "xreadgroup" => block.map(|at| at + 1),
        _ => Some(call.words.len() - 1),
    };
    if let Some(at) = at {
        call.words[at] = b"0".to_vec();
    }
    at.is_some()
}

/// Does main wait? False when its reply is there.
fn waits(side: &mut Side) -> bool {
    let begun = Instant::now();
    loop {
        if side.waiting() > 0 {
            return true;
        }
        if side.main.ready(Duration::from_millis(1)) {
            return false;
        }
        assert!(begun.elapsed() < PATIENCE, "neither waits nor has a reply");
    }
}

fn put_marked(c: &mut Conn, words: &[Vec<u8>], mark: &str) {
    c.put(words);
    c.put(&["PING", mark]);
}

/// Everything up to the answer that bears the mark.
fn until(c: &mut Conn, mark: &str) -> Vec<Value> {
    let mut all = Vec::new();
    loop {
        let v = c.read();
        let ends = mentions(&v, mark);
        let hello = |v: &Value| *v == Value::bulk("server");
        all.push(match v {
            // HELLO, which tells an id.
            Map(_) => Status("a map".into()),
            Array(items) if items.first().is_some_and(hello) => Status("a flat map".into()),
            other => other,
        });
        if ends {
            return all;
        }
    }
}

fn mentions(v: &Value, mark: &str) -> bool {
    match v {
        Bulk(b) => b == mark.as_bytes(),
        Array(items) => items.last().is_some_and(|last| mentions(last, mark)),
        _ => false,
    }
}

/// The lines of MONITOR, without time and address, in which main's part is all that is wanted.
fn monitored(c: &mut Conn, mark: &str) -> Vec<Value> {
    let mut all = Vec::new();
    loop {
        let line = c.read().text();
        let (head, rest) =
            line.split_once("] ").unwrap_or_else(|| panic!("a line of MONITOR: {line:?}"));
        let from = if head.ends_with(" lua") { "lua " } else { "" };
        let db = head.split_once('[').and_then(|(_, h)| h.split(' ').next()).unwrap_or("?");
        all.push(Status(format!("{from}{db} {rest}")));
        if rest.contains(mark) {
            return all;
        }
    }
}
