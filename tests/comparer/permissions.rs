//! Random rules for a few users, and what each of them may then do, on two servers.
//!
//! ```text
//!   rules ─► ACL SETUSER ──► reply; ACL LIST, GETUSER ─────────────────────────────┐
//!   words ─► ACL DRYRUN ───► reply ────────────────────────────────────────────────┤ same?
//!        └─► called as the user, also in MULTI and in a script ─► NOPERM or not ───┤
//!   INFO: refusals by kind; ACL LOG: count, reason, context, object, user ─────────┘
//! ```
//!
//! What a call does when it is allowed is for the driver to compare; here it need only be as allowed on both
//! sides.

use super::rules;
use super::tree::{self, Call, Command};
use super::values::{self, pick};
use crate::common::{Conn, Server, Value};
use oxidis::algo::rng::Rng;

const USERS: &[&str] = &["ann", "bob", "eve"];

/// Rules without an argument.
const PLAIN: &[&str] = &[
    "on",
    "off",
    "nopass",
    "resetpass",
    "reset",
    "allkeys",
    "resetkeys",
    "allchannels",
    "resetchannels",
    "allcommands",
    "nocommands",
    "clearselectors",
    "sanitize-payload",
    "skip-sanitize-payload",
    ">secret",
    ">other",
    "<secret",
    "#2bb80d537b1da3e38bd30361aa855686bde0eacd7162fef6a25fe97bf527a25b",
    "!2bb80d537b1da3e38bd30361aa855686bde0eacd7162fef6a25fe97bf527a25b",
    "#abc",
    "nosuchrule",
    "%X~a",
    "+nosuch",
    "-@nosuch",
    "+config|nosuch",
    "+config|get|x",
    "+select|",
    "-select|0",
    "+select|0",
    "+SELECT|1",
    "+debug|sleep",
    "",
];

/// Categories that hold the same commands in both, as far as they are driven here.
const CATEGORIES: &[&str] = &[
    "@all",
    "@read",
    "@WRITE",
    "@set",
    "@sortedset",
    "@list",
    "@hash",
    "@string",
    "@bitmap",
    "@hyperloglog",
    "@geo",
    "@stream",
    "@pubsub",
    "@admin",
    "@fast",
    "@slow",
    "@blocking",
    "@dangerous",
    "@connection",
    "@transaction",
    "@keyspace",
];

const PATTERNS: &[&str] = &["*", "?*", "[a-m]*", "*[0-9]", "k*", "*:*", "{*", "\\*", "s*t*", "news", ""];

pub struct Permissions {
    rng: Rng,
    boss: [Conn; 2],
    users: Vec<[Conn; 2]>,
    commands: Vec<Command>,
    pub asked: usize,
    pub allowed: usize,
    pub differences: Vec<(String, String)>,
}

impl Permissions {
    pub fn new(ours: &Server, theirs: &Server, seed: u64) -> Permissions {
        let all = tree::commands(&mut ours.connect());
        // What ends a connection, waits for good, or shows in others is asked for, and not called.
        let commands = all.into_iter().filter(|c| c.name != "acl" && !c.name.starts_with("sentinel"));
        let mut boss = [ours.connect(), theirs.connect()];
        for c in &mut boss {
            c.run("AUTH default x");
            c.run("FLUSHALL");
            c.run("CONFIG RESETSTAT");
            c.run("ACL LOG RESET");
        }
        let users = USERS.iter().map(|_| [ours.connect(), theirs.connect()]).collect();
        let commands = commands.collect();
        let rng = Rng::seeded(seed);
        Permissions { rng, boss, users, commands, asked: 0, allowed: 0, differences: Vec::new() }
    }

    pub fn run(&mut self, steps: usize) {
        for step in 0..steps {
            if step % 20 == 0 || self.rng.below(6) == 0 {
                self.change();
            }
            let user = self.rng.index(USERS.len());
            let call = self.draw();
            self.dry(user, &call);
            self.wet(user, &call);
            if step % 50 == 49 {
                self.compare_boss(&["ACL", "LIST"]);
                self.compare_logs();
            }
        }
    }

    fn both<A: AsRef<[u8]>>(&mut self, words: &[A]) -> [Value; 2] {
        self.boss.each_mut().map(|c| c.cmd(words))
    }

    fn differ(&mut self, what: &str, told: String) {
        self.differences.push((what.into(), format!("{told}\n")));
    }

    fn compare_boss(&mut self, words: &[&str]) -> Value {
        let [ours, theirs] = self.both(words);
        if ours != theirs {
            self.differ(words[1], format!("{words:?}\n  ours   {ours:?}\n  theirs {theirs:?}"));
        }
        ours
    }

    // ---- rules ------------------------------------------------------------------------------------

    fn change(&mut self) {
        let user = self.rng.index(USERS.len());
        let mut words = vec!["ACL".to_string(), "SETUSER".into(), USERS[user].into()];
        if self.rng.below(4) == 0 {
            words.extend(["reset", "on", "nopass"].map(String::from));
        }
        for _ in 0..1 + self.rng.index(5) {
            words.push(self.rule());
        }
        if self.rng.below(4) == 0 {
            // A selector in one word or in several.
            let inside: Vec<String> = (0..self.rng.index(4)).map(|_| self.permission()).collect();
            let text = format!("({})", inside.join(" "));
            match self.rng.below(2) {
                0 => words.push(text),
                _ => words.extend(text.split(' ').map(String::from)),
            }
        }
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        self.compare_boss(&words);
        self.compare_boss(&["ACL", "GETUSER", USERS[user]]);
        let login = ["AUTH", USERS[user], pick(&mut self.rng, &["secret", "other", "x"])];
        let said = self.users[user].each_mut().map(|c| c.cmd(&login));
        if said[0] != said[1] {
            self.differ("auth", format!("{login:?}: {said:?}"));
        }
    }

    fn rule(&mut self) -> String {
        match self.rng.below(4) {
            0 => pick(&mut self.rng, PLAIN).into(),
            _ => self.permission(),
        }
    }

    fn permission(&mut self) -> String {
        let sign = if self.rng.below(3) == 0 { "-" } else { "+" };
        match self.rng.below(8) {
            0..3 => {
                let key = String::from_utf8_lossy(values::any_key(&mut self.rng)).into_owned();
                let plain = key.bytes().all(|b| b.is_ascii_graphic() && !b"\"'()".contains(&b));
                let pattern = match plain && self.rng.below(2) == 0 {
                    true => key,
                    false => pick(&mut self.rng, PATTERNS).into(),
                };
                format!("{}{pattern}", pick(&mut self.rng, &["~", "~", "%R~", "%w~", "%RW~"]))
            }
            3 => format!("&{}", pick(&mut self.rng, PATTERNS)),
            4..6 => format!("{sign}{}", pick(&mut self.rng, CATEGORIES)),
            _ => format!("{sign}{}", self.commands[self.rng.index(self.commands.len())].name),
        }
    }

    // ---- calls ------------------------------------------------------------------------------------

    fn draw(&mut self) -> Call {
        let at = self.rng.index(self.commands.len());
        self.commands[at].call(&mut self.rng)
    }

    fn dry(&mut self, user: usize, call: &Call) {
        let mut words: Vec<&[u8]> = vec![b"ACL", b"DRYRUN", USERS[user].as_bytes()];
        words.extend(call.words.iter().map(|w| &w[..]));
        let [ours, theirs] = self.both(&words);
        self.asked += 1;
        self.allowed += usize::from(ours == Value::ok());
        if ours != theirs {
            let rules = self.boss[0].cmd(&["ACL", "LIST"]);
            let told = format!(
                "{}: {}\n  ours   {ours:?}\n  theirs {theirs:?}\n  {rules:?}",
                USERS[user],
                call.shown()
            );
            self.differ(&call.name, told);
        }
    }

    /// Calls it, alone, queued or from a script, where no harm comes of it.
    fn wet(&mut self, user: usize, call: &Call) {
        let harmless = !rules::is_left_out(&call.name)
            && !rules::BLOCKING.contains(&&call.name[..])
            && !call.name.starts_with("client|")
            && !call.name.starts_with("script|")
            && !["exec", "discard", "watch", "auth", "eval", "evalsha"].contains(&&call.name[..])
            && call.words.iter().all(|w| w.len() < 4096);
        if !harmless {
            return;
        }
        let words: Vec<&[u8]> = call.words.iter().map(|w| &w[..]).collect();
        let how = self.rng.below(6);
        let said = self.users[user].each_mut().map(|c| match how {
            0 => {
                let replies = [c.cmd(&["MULTI"]), c.cmd(&words), c.cmd(&["EXEC"]), c.cmd(&["DISCARD"])];
                replies.iter().map(refusal).collect::<Vec<_>>()
            }
            1 => {
                let text: &[u8] = b"return redis.pcall(unpack(ARGV))";
                let all: Vec<&[u8]> = [&[b"EVAL", text, b"0"], &words[..]].concat();
                vec![refusal(&c.cmd(&all))]
            }
            _ => vec![refusal(&c.cmd(&words))],
        });
        // SELECT and HELLO may have been among them.
        for c in &mut self.users[user] {
            c.cmd(&["SELECT", "0"]);
        }
        if said[0] != said[1] {
            let told = format!("{} ({how}): {}\n  {said:?}", USERS[user], call.shown());
            self.differ(&call.name, told);
        }
    }

    fn compare_logs(&mut self) {
        for what in ["auth", "cmd", "key", "channel"] {
            let field = format!("acl_access_denied_{what}");
            let [ours, theirs] = self.boss.each_mut().map(|c| c.figure(&field));
            if ours != theirs {
                self.differ(&field, format!("{ours} and {theirs}"));
            }
        }
        let logs = self.both(&["ACL", "LOG", "20"]).map(|log| {
            // Count, reason, context, object and user.
            let facts = |e: &Value| e.items().iter().take(10).cloned().collect::<Vec<_>>();
            log.items().iter().map(facts).collect::<Vec<_>>()
        });
        if logs[0] != logs[1] {
            self.differ("log", format!("{logs:?}"));
        }
        self.both(&["ACL", "LOG", "RESET"]);
        self.both(&["CONFIG", "RESETSTAT"]);
    }
}

/// A refusal for want of permission; nothing for any other reply.
fn refusal(reply: &Value) -> Option<String> {
    match reply {
        Value::Error(text) if text.starts_with("NOPERM") || text.contains("ACL") => Some(text.clone()),
        _ => None,
    }
}
