//! Several clients at once, in an order that is the same on both servers.
//!
//! ```text
//!   5 people, each with a connection to ours and one to theirs; the same bytes go to both
//!   step: one of them says something ─► all is quiet ─► what each has heard, and CLIENT LIST ─► same?
//!                                                   └─► changes, events, ops, values (`Driver`) ─► same?
//! ```
//!
//! Quiet is told, not waited for: two questions on the watch, one after the other. The first is read in the
//! same turn of the server's loop as what was said before it, or later; the second after all that this turn
//! had to tell was written. When the servers differ after that they are asked again for a while, because a
//! turn may leave work for the next one.
//!
//! The clients wait in blocking commands, listen to channels, watch keys, switch replies off and protocols
//! over, pause and kill each other; what they send may come in pieces. A client whose connection was closed
//! connects anew. What they send is in `crowd_words`.

use super::crowd_words;
use super::driver::Driver;
use super::rules;
use super::side::Side;
use super::tree::Call;
use crate::common::{Conn, Value, Value::*};
use std::io::{ErrorKind, Read};
use std::time::{Duration, Instant};

const PEOPLE: usize = 5;
/// How long two servers may differ before they do.
const SETTLES: Duration = Duration::from_millis(600);
const UPKEEP_EVERY: usize = 60;
const DATA_EVERY: usize = 300;
const OTHERS_EVERY: usize = 900;
/// Fields of CLIENT LIST that are a function of what was said.
const FIELDS: &[&str] = &[
    "name",
    "flags",
    "db",
    "sub",
    "psub",
    "ssub",
    "multi",
    "qbuf",
    "argv-mem",
    "multi-mem",
    "obl",
    "oll",
    "cmd",
    "user",
    "redir",
    "resp",
    "lib-name",
    "lib-ver",
];

/// One end of a connection.
struct Talk {
    conn: Conn,
    id: i64,
    address: String,
    heard: Vec<u8>,
    closed: bool,
}

impl Talk {
    fn new(side: &Side) -> Talk {
        let mut conn = side.another();
        let id = conn.run("CLIENT ID").int();
        let address = conn.stream().local_addr().expect("a TCP socket").to_string();
        conn.stream().set_nonblocking(true).expect("a TCP socket");
        Talk { conn, id, address, heard: Vec::new(), closed: false }
    }

    /// All that has come by now.
    fn listen(&mut self) {
        let mut room = [0; 16_384];
        while !self.closed {
            match self.conn.stream().read(&mut room) {
                Ok(0) => self.closed = true,
                Ok(n) => self.heard.extend_from_slice(&room[..n]),
                Err(e) if e.kind() == ErrorKind::WouldBlock => return,
                Err(_) => self.closed = true,
            }
        }
    }
}

struct Person {
    ours: Talk,
    theirs: Option<Talk>,
    /// Said, but not all of it sent.
    unsent: Vec<u8>,
    habits: crowd_words::Habits,
}

impl Person {
    /// The same id on both servers.
    fn new(d: &Driver) -> Person {
        let mut ours = Talk::new(&d.ours);
        let mut theirs = d.theirs.as_ref().map(Talk::new);
        while let (Some(t), Some(side)) = (&mut theirs, &d.theirs)
            && t.id != ours.id
        {
            match t.id < ours.id {
                true => *t = Talk::new(side),
                false => ours = Talk::new(&d.ours),
            }
        }
        Person { ours, theirs, unsent: Vec::new(), habits: Default::default() }
    }

    fn send(&mut self, bytes: &[u8]) {
        self.ours.conn.send(bytes);
        self.theirs.iter_mut().for_each(|t| t.conn.send(bytes));
    }

    fn is_gone(&self) -> bool {
        self.ours.closed
    }
}

pub struct Crowd {
    pub d: Driver,
    people: Vec<Person>,
    steps: usize,
    /// What the last question told of ours.
    waiting: Vec<bool>,
}

impl Crowd {
    pub fn new(mut d: Driver) -> Crowd {
        d.crowded = true;
        Crowd { d, people: Vec::new(), steps: 0, waiting: Vec::new() }
    }

    pub fn run(&mut self, steps: usize) {
        self.d.start_over();
        self.gather();
        while self.steps < steps {
            self.steps += 1;
            let same = self.step() && (!self.steps.is_multiple_of(UPKEEP_EVERY) || self.upkeep());
            if !same || self.steps.is_multiple_of(OTHERS_EVERY) {
                self.gather();
            }
        }
        self.upkeep();
    }

    /// Everybody anew.
    fn gather(&mut self) {
        self.people.clear();
        let told = self.d.differences.len();
        self.people = (0..PEOPLE).map(|_| Person::new(&self.d)).collect();
        self.waiting = vec![false; PEOPLE];
        // What came of clients that left is no difference.
        let _ = self.quiet();
        self.d.same_effects(&[], rules::Freedom::None);
        self.d.differences.truncate(told);
    }

    /// False when the servers were emptied.
    fn upkeep(&mut self) -> bool {
        let told = self.d.differences.len();
        if self.mood() == 1 {
            // What waits behind their writes may be another pause.
            self.people.clear();
            let _ = self.quiet();
        }
        let reply = self.d.asked(&[b"CLIENT", b"UNPAUSE"]);
        assert_eq!(reply.0, Value::ok());
        if self.people.is_empty() {
            self.gather();
        }
        if let Err(what) = self.quiet() {
            return self.d.difference(&[], &what);
        }
        self.forget();
        self.d.refill();
        if !self.same_counts() {
            return false;
        }
        if self.steps.is_multiple_of(DATA_EVERY) {
            self.d.compare_data();
            self.d.compare_figures();
        }
        self.d.differences.len() == told && self.quiet().is_ok()
    }

    /// What INFO counts of clients.
    fn same_counts(&mut self) -> bool {
        // A real server forgets the timeout of a client that was paused before it could wait.
        const NOT: [&str; 4] =
            ["connected_clients", "client_recent_max_", "maxclients", "clients_in_timeout_table"];
        let (ours, theirs) = self.d.asked(&[b"INFO", b"clients"]);
        let counts = |text: String| -> String {
            let wanted = |l: &&str| !NOT.iter().any(|n| l.starts_with(n));
            text.lines().filter(wanted).collect::<Vec<_>>().join(" ")
        };
        let (ours, theirs) = (counts(ours.text()), theirs.map(|t| counts(t.text())));
        match theirs.filter(|t| *t != ours) {
            Some(theirs) => self.d.difference(&[], &format!("ours {ours}\ntheirs {theirs}")),
            None => true,
        }
    }

    /// One of them does something. False after a difference.
    fn step(&mut self) -> bool {
        let stuck = self.waiting.iter().all(|w| *w);
        if stuck {
            self.d.asked(&[b"CLIENT", b"UNPAUSE"]);
        }
        let mut who = self.d.rng.index(PEOPLE);
        if self.waiting[who] && self.d.rng.below(10) > 0 {
            // Rather a client that can speak.
            who = (0..PEOPLE).map(|i| (who + i) % PEOPLE).find(|i| !self.waiting[*i]).unwrap_or(who);
        }
        let words = if self.d.rng.below(100) == 0 || (stuck && self.d.rng.below(2) == 0) {
            self.people[who] = Person::new(&self.d);
            vec![b"(leaves)".to_vec()]
        } else if !self.people[who].unsent.is_empty() {
            vec![b"(goes on)".to_vec()]
        } else {
            self.say(who)
        };
        self.send_some(who);
        let quiet = self.quiet();
        let mut words = words;
        words.insert(0, format!("#{who}").into_bytes());
        let mut call = Call::new(words);
        call.name = format!("crowd|{}", String::from_utf8_lossy(&call.words[1]).to_lowercase());
        call.name.truncate(call.name.char_indices().nth(30).map_or(call.name.len(), |(at, _)| at));
        call.keys = crowd_words::KEYS.iter().map(|k| k.to_vec()).collect();
        let (ours, theirs) = self.heard(quiet);
        let same = self.d.compare_replies(call, ours, theirs);
        self.forget();
        same
    }

    fn mood(&self) -> usize {
        // Of the stretch that ends with this step.
        self.steps.saturating_sub(1) / OTHERS_EVERY % 3
    }

    /// Makes up what a client sends.
    fn say(&mut self, who: usize) -> Vec<Vec<u8>> {
        let ids: Vec<i64> = self.people.iter().map(|p| p.ours.id).collect();
        let others = crowd_words::Others { ids, step: self.steps, mood: self.mood() };
        let mut said = crowd_words::Said::default();
        let times = if self.d.rng.below(6) == 0 { 2 + self.d.rng.below(4) } else { 1 };
        for _ in 0..times {
            let drawn = if self.d.rng.below(8) == 0 { self.drawn() } else { None };
            let habits = &mut self.people[who].habits;
            match drawn {
                Some(words) => said.words(&mut self.d.rng, &words),
                None => crowd_words::say(&mut self.d.rng, habits, &others, &mut said),
            }
        }
        self.people[who].unsent = said.bytes;
        said.shown
    }

    /// Any command that does nothing of its own to connections.
    fn drawn(&mut self) -> Option<Vec<Vec<u8>>> {
        const NO: &[&str] =
            &["save", "config|resetstat", "auth", "exec", "discard", "select", "lolwut", "swapdb"];
        let call = self.d.draw_certain()?;
        let name = &call.name[..];
        let no = NO.contains(&name)
            || rules::BLOCKING.contains(&name)
            || name.starts_with("client|")
            || name.starts_with("command")
            || name.starts_with("pubsub|");
        (!no && !rules::is_dated(&call)).then_some(call.words)
    }

    /// Mostly all that is to be sent; else a piece of it.
    fn send_some(&mut self, who: usize) {
        let person = &mut self.people[who];
        let all = person.unsent.len();
        let n = if all > 1 && self.d.rng.below(8) == 0 { 1 + self.d.rng.index(all - 1) } else { all };
        let rest = person.unsent.split_off(n);
        let bytes = std::mem::replace(&mut person.unsent, rest);
        if !bytes.is_empty() {
            person.send(&bytes);
        }
    }

    /// Until nothing moves; what CLIENT LIST says about them must be the same then.
    fn quiet(&mut self) -> Result<(), String> {
        let begun = Instant::now();
        loop {
            self.d.asked(&[b"CLIENT", b"LIST"]);
            let (ours, theirs) = self.d.asked(&[b"CLIENT", b"LIST"]);
            for p in &mut self.people {
                p.ours.listen();
                p.theirs.iter_mut().for_each(Talk::listen);
            }
            let ours = ours.text();
            self.waiting = self.people.iter().map(|p| waits(&ours, p.ours.id)).collect();
            let Some(theirs) = theirs else { return Ok(()) };
            let theirs = theirs.text();
            let differs = |p: &&Person| {
                let other = p.theirs.as_ref().expect("there are two");
                let (mine, its) = (line(&ours, p.ours.id), line(&theirs, other.id));
                // A real server hangs up when it has written the last reply: never, when replies are off.
                let hangs_on = p.ours.closed && its.as_ref().is_some_and(|l| has_flag(l, 'c'));
                !hangs_on && (mine != its || p.ours.closed != other.closed)
            };
            let all_heard = self.people.iter().all(|p| self.text(p, true) == self.text(p, false));
            let first = self.people.iter().find(differs);
            if all_heard && first.is_none() {
                return Ok(());
            }
            if begun.elapsed() > SETTLES {
                return match first {
                    Some(p) => {
                        let id = p.ours.id;
                        Err(format!("ours {:?}\ntheirs {:?}", line(&ours, id), line(&theirs, id)))
                    }
                    None => Ok(()),
                };
            }
        }
    }

    /// What one has heard, without what is each server's own.
    fn text(&self, p: &Person, ours: bool) -> Vec<u8> {
        let end = |p: &Person| match ours {
            true => p.ours.address.clone(),
            false => p.theirs.as_ref().map_or(String::new(), |t| t.address.clone()),
        };
        let addresses: Vec<String> = self.people.iter().map(end).collect();
        let talk = if ours { Some(&p.ours) } else { p.theirs.as_ref() };
        let mut text = talk.map_or(vec![], |t| one_null(&without_addresses(&t.heard, &addresses)));
        if p.ours.closed {
            text.truncate(without_last_heads(&text));
        }
        text
    }

    /// All that was heard, or of whom it differs.
    fn heard(&mut self, quiet: Result<(), String>) -> (Value, Option<Value>) {
        let mut both = (Vec::new(), Vec::new());
        for (i, p) in self.people.iter().enumerate() {
            let (ours, theirs) = (self.text(p, true), self.text(p, false));
            if self.d.theirs.is_none() || ours != theirs {
                let same = ours.iter().zip(&theirs).take_while(|(a, b)| a == b).count();
                let from = same.saturating_sub(60);
                both.0.extend([format!("[{i}] ").as_bytes(), &ours[from..]].concat());
                both.1.extend([format!("[{i}] ").as_bytes(), &theirs[from..]].concat());
            }
        }
        if let Err(what) = quiet {
            both.0.extend_from_slice(what.as_bytes());
        }
        let theirs = self.d.theirs.as_ref().map(|_| Bulk(both.1));
        if theirs.is_some() && both.0.is_empty() {
            // For the story, when something comes of it later.
            let last = self.people.iter().map(|p| &p.ours.heard).find(|h| !h.is_empty());
            let last = last.cloned().unwrap_or_default();
            return (Bulk(last.clone()), Some(Bulk(last)));
        }
        (Bulk(both.0), theirs)
    }

    /// What was heard has been compared; clients that are gone are replaced.
    fn forget(&mut self) {
        for p in &mut self.people {
            p.ours.heard.clear();
            p.theirs.iter_mut().for_each(|t| t.heard.clear());
        }
        for i in 0..self.people.len() {
            if self.people[i].is_gone() {
                self.people[i] = Person::new(&self.d);
            }
        }
    }
}

/// The fields of one client's line; None when it is not there.
fn line(list: &str, id: i64) -> Option<Vec<&str>> {
    let head = format!("id={id} ");
    let line = list.lines().find(|l| l.starts_with(&head))?;
    let wanted = |f: &&str| f.split_once('=').is_some_and(|(name, _)| FIELDS.contains(&name));
    Some(line.split(' ').filter(wanted).collect())
}

fn waits(list: &str, id: i64) -> bool {
    line(list, id).is_some_and(|l| has_flag(&l, 'b'))
}

fn has_flag(line: &[&str], flag: char) -> bool {
    line.iter().any(|f| f.strip_prefix("flags=").is_some_and(|f| f.contains(flag)))
}

/// Where heads of aggregates begin that have no elements: a client that killed itself in EXEC gets no more
/// of its replies, but a real server lets heads through whose length was known late.
fn without_last_heads(text: &[u8]) -> usize {
    let mut end = text.len();
    while let Some(line) = text[..end].strip_suffix(b"\r\n") {
        let at = line.iter().rposition(|b| *b == b'\n').map_or(0, |n| n + 1);
        match &line[at..] {
            [b'*' | b'%' | b'~', n @ ..] if n.iter().all(u8::is_ascii_digit) => end = at,
            _ => break,
        }
    }
    end
}

/// After a flush the invalidation of all keys is the same whoever's it is, but for its null, which is that of
/// the tracking client's protocol. Several may come to one listener, and a real server, which turns its list
/// of clients round as time goes by, sends them in any order.
fn one_null(heard: &[u8]) -> Vec<u8> {
    const RESP3: &[u8] = b"invalidate\r\n_\r\n";
    let mut text = heard.to_vec();
    while let Some(at) = text.windows(RESP3.len()).position(|w| w == RESP3) {
        text.splice(at..at + RESP3.len(), *b"invalidate\r\n$-1\r\n");
    }
    text
}

/// MONITOR's lines tell a time and an address: people have numbers there; what others said is left out.
/// They come last, since a real server writes them right into the reply to a monitor's own EXEC.
fn without_addresses(heard: &[u8], addresses: &[String]) -> Vec<u8> {
    let (mut all, mut lines) = (Vec::new(), Vec::new());
    for line in heard.split_inclusive(|b| *b == b'\n') {
        let Some((head, rest)) = monitored(line) else {
            all.extend_from_slice(line);
            continue;
        };
        let (db, from) = head.split_once(' ').unwrap_or((head, ""));
        let who = addresses.iter().position(|a| a == from);
        if who.is_some() || from == "lua" {
            lines.extend_from_slice(format!("+[{db} {who:?}]").as_bytes());
            lines.extend_from_slice(rest);
        }
    }
    [all, lines].concat()
}

/// Of `+1700000000.123456 [0 127.0.0.1:1234] "PING"` what is in brackets and what follows.
fn monitored(line: &[u8]) -> Option<(&str, &[u8])> {
    let open = line.iter().position(|b| *b == b'[')?;
    let time = std::str::from_utf8(line[..open].strip_prefix(b"+")?).ok()?.trim_end();
    time.parse::<f64>().ok().filter(|t| *t > 1e9)?;
    let close = line.iter().position(|b| *b == b']')?;
    Some((std::str::from_utf8(line.get(open + 1..close)?).ok()?, &line[close + 1..]))
}
