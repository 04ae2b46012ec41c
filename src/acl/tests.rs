//! Users as a whole, with a small table of commands.

use super::*;
use crate::acl::rules::merged;
use crate::cmd::keys;
use crate::cmd::row::{KeySpec, Row, cat, flag, key};

const ROW: Row<()> = Row { arity: -1, ..Row::blank(()) };
const READ: u32 = key::RO | key::ACCESS;
const WRITE: u32 = key::OW | key::UPDATE;

static ROWS: &[Row<()>] = &[
    Row {
        name: "get",
        flags: flag::READONLY | flag::FAST,
        acl: cat::STRING,
        keys: &[KeySpec::one(READ, 1)],
        ..ROW
    },
    Row {
        name: "set",
        flags: flag::WRITE,
        acl: cat::STRING,
        keys: &[KeySpec::one(WRITE | key::VARIABLE_FLAGS, 1)],
        getkeys: Some(keys::set),
        ..ROW
    },
    Row {
        name: "copy",
        flags: flag::WRITE,
        acl: cat::KEYSPACE,
        keys: &[KeySpec::one(READ, 1), KeySpec::one(key::OW | key::INSERT, 2)],
        ..ROW
    },
    Row { name: "select", ..ROW },
    Row { name: "auth", flags: flag::NO_AUTH, ..ROW },
    Row {
        name: "config",
        subs: &[
            Row { name: "get", flags: flag::ADMIN, ..ROW },
            Row { name: "set", flags: flag::ADMIN, ..ROW },
            Row { name: "help", ..ROW },
        ],
        ..ROW
    },
    Row { name: "publish", flags: flag::PUBSUB | flag::TO_CHANNEL, ..ROW },
    Row { name: "subscribe", flags: flag::PUBSUB | flag::FROM_CHANNELS, ..ROW },
    Row { name: "psubscribe", flags: flag::PUBSUB | flag::FROM_PATTERNS, ..ROW },
];

struct House {
    table: Table<()>,
    acl: Acl,
    all_channels: bool,
}

impl House {
    fn new() -> House {
        let table = Table::new(&[ROWS], &[]).expect("no renames");
        House { table, acl: Acl::default(), all_channels: false }
    }

    fn set(&mut self, name: &str, line: &str) -> Result<(), (String, RuleError)> {
        let words: Vec<&str> = line.split(' ').collect();
        let rules = merged(&words).expect("brackets match");
        let how = Rules { table: &self.table, all_channels: self.all_channels };
        let staged = self.acl.staged(name.as_bytes(), &rules, &how);
        let user = staged.map_err(|(rule, why)| (String::from_utf8_lossy(&rule).into(), why))?;
        self.acl.put(user);
        Ok(())
    }

    fn with(line: &str) -> House {
        let mut house = House::new();
        house.set("u", line).expect("right rules");
        house
    }

    fn user(&self) -> &User {
        self.acl.get(self.acl.named(b"u").expect("set before"))
    }

    fn shown(&self) -> String {
        String::from_utf8_lossy(&self.user().describe()).into()
    }

    fn may(&mut self, line: &str) -> Result<(), Denied> {
        let args: Vec<&[u8]> = line.split(' ').map(str::as_bytes).collect();
        let cmd = self.table.resolve(&args).expect("a command");
        let id = self.acl.named(b"u").expect("set before");
        self.acl.check(id, &self.table, cmd, &args)
    }
}

#[test]
fn a_new_user_may_do_nothing_but_log_in() {
    let mut h = House::with("");
    assert_eq!(h.shown(), "off sanitize-payload resetchannels -@all");
    assert_eq!(h.may("get a"), Err(Denied::Command));
    assert_eq!(h.may("auth a b"), Ok(()));
    assert!(!h.user().accepts(b"") && !h.user().is_unlimited());
    h.all_channels = true;
    h.set("v", "on nopass").expect("right rules");
    let v = h.acl.get(h.acl.named(b"v").expect("set"));
    assert_eq!(v.describe(), b"on nopass sanitize-payload &* -@all");
    assert!(v.accepts(b"anything"));
}

#[test]
fn the_default_user_may_do_everything() {
    let acl = Acl::default();
    assert!(acl.default_user().is_unlimited() && acl.default_user().accepts(b"x"));
    assert_eq!(acl.default_user().line(), b"user default on nopass sanitize-payload ~* &* +@all");
}

#[test]
fn rules_in_their_order() {
    for (line, shown) in [
        ("+get -get", "-@all -get"),
        ("+@all -GET", "+@all -get"),
        ("+@string -set +set", "-@all +@string +set"),
        ("+config|get +config|set -config", "-@all -config"),
        ("-config +config|GET", "-@all -config +config|get"),
        ("+select|0 +select|1", "-@all +select|0 +select|1"),
        ("+select|0 +select", "-@all +select"),
        ("+@admin -@admin", "-@all -@admin"),
        ("+get +@string nocommands", "-@all"),
        ("+get allcommands", "+@all"),
        ("+config -@all +get", "-@all +get"),
    ] {
        let want = format!("off sanitize-payload resetchannels {shown}");
        assert_eq!(House::with(line).shown(), want, "{line}");
    }
}

#[test]
fn patterns_are_kept_once_and_shown_in_order() {
    let h = House::with("~a %R~b %W~b %rw~c %W~d ~a resetchannels &x &y &x");
    assert_eq!(h.shown(), "off sanitize-payload ~a ~b ~c %W~d resetchannels &x &y -@all");
    let h = House::with("~a allkeys resetkeys ~b allchannels");
    assert_eq!(h.shown(), "off sanitize-payload ~b &* -@all");
}

#[test]
fn every_wrong_rule_says_why() {
    let mut h = House::new();
    for (line, why) in [
        ("+nosuch", RuleError::Unknown),
        ("-nosuch", RuleError::Unknown),
        ("+@nosuch", RuleError::Unknown),
        ("+config|nosuch", RuleError::Unknown),
        ("-get|x", RuleError::Unknown),
        ("-config|get|x", RuleError::Unknown),
        ("+config|get|x", RuleError::ArgumentOfSubcommand),
        ("+select|", RuleError::Syntax),
        ("+select|a\nb", RuleError::Syntax),
        ("nosuch", RuleError::Syntax),
        ("(nosuch)", RuleError::Syntax),
        ("(+nosuch)", RuleError::Unknown),
        ("%", RuleError::Syntax),
        ("%~a", RuleError::Syntax),
        ("%RR~a", RuleError::Syntax),
        ("%X~a", RuleError::Syntax),
        ("~a\u{1}", RuleError::Syntax),
        ("&a\tb", RuleError::Syntax),
        ("~* ~a", RuleError::KeysAfterAll),
        ("~* %R~a", RuleError::KeysAfterAll),
        ("&* &a", RuleError::ChannelsAfterAll),
        ("<nosuch", RuleError::NoSuchPassword),
        ("#0123", RuleError::BadHash),
        ("!0123", RuleError::BadHash),
    ] {
        let told = h.set("u", line).expect_err(line);
        assert_eq!(told.1, why, "{line}");
        assert_eq!(h.acl.named(b"u"), None, "nothing of a wrong change stays");
    }
}

#[test]
fn passwords_come_and_go() {
    let mut h = House::with("on >one >two");
    assert!(h.user().accepts(b"one") && h.user().accepts(b"two") && !h.user().accepts(b"three"));
    h.set("u", "<one").expect("known");
    assert!(!h.user().accepts(b"one"));
    let two = String::from_utf8_lossy(&password::hash(b"two")).into_owned();
    assert!(h.shown().contains(&format!("#{two} ")));
    h.set("u", &format!("!{two}")).expect("known");
    assert!(!h.user().accepts(b"two"));
    h.set("u", &format!("#{two} nopass")).expect("a digest");
    assert!(h.user().accepts(b"any") && h.user().passwords().is_empty());
    h.set("u", ">x off").expect("right");
    assert!(!h.user().accepts(b"x"), "a user that is off");
    h.set("u", "on resetpass").expect("right");
    assert!(!h.user().accepts(b"x") && !h.user().accepts(b""));
}

#[test]
fn keys_are_judged_by_what_becomes_of_them() {
    let mut h = House::with("+@all %R~r:* %W~w:* ~b:*");
    assert_eq!(h.may("get r:1"), Ok(()));
    assert_eq!(h.may("get w:1"), Err(Denied::Key(1)));
    assert_eq!(h.may("set w:1 v"), Ok(()));
    assert_eq!(h.may("set w:1 v get"), Err(Denied::Key(1)), "GET reads");
    assert_eq!(h.may("set b:1 v get"), Ok(()));
    assert_eq!(h.may("copy r:1 w:1"), Ok(()));
    assert_eq!(h.may("copy w:1 w:2"), Err(Denied::Key(1)));
    assert_eq!(h.may("copy r:1 r:2"), Err(Denied::Key(2)));
    let mut h = House::with("+get ~a\\*b ~[x]y");
    assert_eq!((h.may("get a*b"), h.may("get xy")), (Ok(()), Ok(())));
    for key in ["axb", "a\\*b", "[x]y", "a"] {
        assert_eq!(h.may(&format!("get {key}")), Err(Denied::Key(1)), "{key}");
    }
}

#[test]
fn short_ways_have_the_same_answers() {
    let h = House::new();
    let only = |name: &str| h.table.get(h.table.find(name.as_bytes()).expect("a row")).only_key;
    assert_eq!(only("get"), Some((1, READ)));
    assert_eq!((only("set"), only("copy"), only("select")), (None, None, None));
    for pattern in ["*", "a*", "a\\*", "a**", "?*", "a:*"] {
        let mut h = House::with(&format!("+get ~{pattern}"));
        for name in ["a", "ab", "a:", "a:b", "b", "a*", "*"] {
            let fits = crate::algo::glob::glob_match(pattern.as_bytes(), name.as_bytes(), false);
            assert_eq!(
                h.may(&format!("get {name}")).is_ok(),
                pattern == "*" || fits,
                "{pattern} {name}"
            );
        }
    }
    let mut h = House::with("+get %R~* ~a*");
    assert_eq!((h.may("get "), h.may("get")), (Err(Denied::Key(1)), Ok(())), "an empty name; no name");
}

#[test]
fn one_selector_has_to_allow_all_of_a_call() {
    let mut h = House::with("+get ~a (+set ~b) (+copy %R~a %W~b)");
    assert_eq!((h.may("get a"), h.may("set b 1"), h.may("copy a b")), (Ok(()), Ok(()), Ok(())));
    assert_eq!(h.may("get b"), Err(Denied::Key(1)));
    assert_eq!(h.may("set a 1"), Err(Denied::Key(1)));
    assert_eq!(h.may("copy b a"), Err(Denied::Key(1)));
    assert_eq!(h.may("select 1"), Err(Denied::Command));
    h.set("u", "clearselectors").expect("right");
    assert_eq!(h.may("set b 1"), Err(Denied::Command));
}

#[test]
fn subcommands_and_first_arguments() {
    let mut h = House::with("+config -config|set +select|0");
    assert_eq!((h.may("config get x"), h.may("config help")), (Ok(()), Ok(())));
    assert_eq!(h.may("config set a b"), Err(Denied::Command));
    assert_eq!((h.may("select 0"), h.may("select 1")), (Ok(()), Err(Denied::Command)));
    assert_eq!(h.may("select"), Err(Denied::Command));
    let mut h = House::with("+@all -@admin");
    assert_eq!(h.may("config get x"), Err(Denied::Command));
    assert_eq!(h.may("config help"), Ok(()));
    assert!(!House::with("+@all ~* &* -get +get").user().is_unlimited());
    assert!(House::with("off +@all ~* &*").user().is_unlimited());
    assert!(House::with("(+@all ~* &*)").user().is_unlimited());
}

#[test]
fn channels_by_name_and_patterns_to_the_letter() {
    let mut h = House::with("+@pubsub &a &b:*");
    assert_eq!((h.may("publish b:1 m"), h.may("publish c m")), (Ok(()), Err(Denied::Channel(1))));
    assert_eq!(h.may("subscribe a b:2 c"), Err(Denied::Channel(3)));
    assert_eq!((h.may("psubscribe b:*"), h.may("psubscribe b:1")), (Ok(()), Err(Denied::Channel(1))));
    assert_eq!((h.may("publish"), h.may("subscribe")), (Ok(()), Ok(())), "arity is not judged here");
    let before = h.user().clone();
    let narrows = |line| House::with(line).user().narrows_channels(&before);
    assert!(!narrows("&a &b:* &c") && !narrows("&*") && !narrows("(&a &b:*)"));
    assert!(narrows("&a") && narrows("&b:1 &a"));
    assert!(before.narrows_channels(House::with("&*").user()));
}

#[test]
fn what_is_shown_makes_the_same_user() {
    let lines = [
        "on >a ~x %R~y &c +@all -config|set -@string",
        "nopass skip-sanitize-payload (~a -@all +get) (~* &* +@all -get)",
        "+select|3 +config|get",
        "(\"%W~a\\\"b\" \"~c'\" +get) (\"~d)\" +set)",
    ];
    for line in lines {
        let h = House::with(line);
        let text = h.acl.text();
        let how = Rules { table: &h.table, all_channels: false };
        let users = file::parse(&text, "f", &how).expect("what was written");
        let again = users.iter().find(|u| &*u.name == b"u");
        // The default user comes first.
        assert_eq!(again, Some(h.user()), "{}", String::from_utf8_lossy(&text));
        assert_eq!(users.len(), 2);
    }
}

#[test]
fn a_file_with_faults_tells_all_of_them() {
    let h = House::new();
    let how = Rules { table: &h.table, all_channels: false };
    let told = |text: &str| file::parse(text.as_bytes(), "f.acl", &how).map(|u| u.len());
    let none =
        "WARNING: ACL errors detected, no change to the previously active ACL rules was performed";
    let fault = |text: &str| told(text).expect_err(text).replace(none, "|");
    assert_eq!(told("\n  user a on\r\n\n\tuser b off  \n"), Ok(2));
    assert_eq!(told(""), Ok(0));
    assert_eq!(
        fault("user a\n\nusre b"),
        "f.acl:3 should start with user keyword followed by the username. |"
    );
    assert_eq!(fault("user a\nuser a"), "WARNING: Duplicate user 'a' found on line 2. |");
    assert_eq!(
        fault("user a +nosuch foo ~* ~a +other"),
        "f.acl:1: Error in applying operation '+nosuch': Unknown command or category name in ACL. f.acl:1: \
         Syntax error. f.acl:1: Error in applying operation '+other': Unknown command or category name in \
         ACL. |"
    );
    assert_eq!(fault("user a (+get"), "f.acl:1: Unmatched parenthesis in selector definition.|");
    assert_eq!(fault("user a\u{0}b on"), "f.acl:1: control characters are not allowed. |");
    assert_eq!(fault("user b\tc on"), "'f.acl:1: username 'b\tc' contains invalid characters. |");
}

#[test]
fn a_file_replaces_all_users() {
    let mut h = House::with("on");
    h.set("default", "off").expect("right");
    let (u, mut fresh) = (h.acl.named(b"u").expect("set"), User::new(b"v", false));
    let how = Rules { table: &h.table, all_channels: false };
    fresh.apply(b"on", &how).expect("right");
    let gone = h.acl.replace_all(vec![fresh, User::new(b"u", false)]);
    assert_eq!(gone, [u]);
    assert_eq!(h.acl.get(u).flags()[0], "on", "until its clients are gone");
    h.acl.forget(&gone);
    assert!(h.acl.default_user().is_unlimited(), "a file without a default user");
    let names: Vec<_> = h.acl.iter().map(|u| u.name.to_vec()).collect();
    assert_eq!(names, [&b"default"[..], b"u", b"v"]);
    assert_ne!(h.acl.named(b"u"), Some(u));
    let id = h.acl.named(b"v").expect("of the file");
    assert_eq!(h.acl.remove(id).map(|u| u.name.to_vec()), Some(b"v".to_vec()));
    assert_eq!((h.acl.named(b"v"), h.acl.iter().len()), (None, 2));
}
