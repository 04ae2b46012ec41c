//! Users from end to end: logging in, what is refused and to whom, users in files, and each known way around
//! the rules.

mod common;

use common::{Conn, Server, Value, free_port, own_folder, run_to_end, wait_blocked, wait_until};
use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::Stdio;

/// A connection of a user that is made by these rules.
fn login(s: &Server, name: &str, rules: &str) -> Conn {
    let made = s.connect().run(&format!("ACL SETUSER {name} reset on nopass {rules}"));
    assert_eq!(made, Value::ok(), "{rules}");
    let mut c = s.connect();
    assert_eq!(c.run(&format!("AUTH {name} x")), Value::ok());
    c
}

fn denied_key(reply: &Value) -> bool {
    *reply == Value::Error("NOPERM No permissions to access a key".into())
}

/// What a start says that ends by itself.
fn failed_start(dir: &Path, args: &[&str]) -> String {
    let out = run_to_end(&common::binary(), dir, args, Stdio::null());
    assert_eq!(out.status.code(), Some(1), "{out:?}");
    String::from_utf8_lossy(&[out.stdout, out.stderr].concat()).into_owned()
}

// ---- logging in -----------------------------------------------------------------------------------

#[test]
fn users_log_in_with_any_of_their_passwords() {
    let s = Server::start();
    let (mut boss, mut c) = (s.connect(), s.connect());
    assert_eq!(boss.run("ACL SETUSER bob >one >two +@all ~*"), Value::ok());
    assert!(c.run("AUTH bob one").error().starts_with("WRONGPASS"), "he is off");
    boss.run("ACL SETUSER bob on");
    for line in ["AUTH bob one", "AUTH bob two"] {
        assert_eq!(c.run(line), Value::ok());
    }
    assert_eq!(c.run("ACL WHOAMI").text(), "bob");
    for line in ["AUTH bob three", "AUTH bob on", "AUTH nobody one", "HELLO 3 AUTH bob three"] {
        assert!(c.run(line).error().starts_with("WRONGPASS"), "{line}");
    }
    assert_eq!(c.run("ACL WHOAMI").text(), "bob", "a refused login changes nothing");
    let hash = "3fc9b689459d738f8c88a3a48aa9e33542016b7a4052e001aaa536fca74813cb";
    assert_eq!(boss.run(&format!("ACL SETUSER bob resetpass #{hash}")), Value::ok());
    assert!(c.run("AUTH bob one").error().starts_with("WRONGPASS"));
    assert_eq!(c.run("AUTH bob something"), Value::ok());
    assert_eq!(c.run("RESET").text(), "RESET");
    assert_eq!(c.run("ACL WHOAMI").text(), "default");
}

#[test]
fn requirepass_is_the_password_of_the_default_user() {
    let s = Server::with(&["--requirepass", "right"]);
    let mut c = s.connect();
    assert!(c.run("GET k").error().starts_with("NOAUTH"));
    assert_eq!(c.run("AUTH default right"), Value::ok());
    assert_eq!(c.run("CONFIG SET requirepass other"), Value::ok());
    assert!(s.connect().run("AUTH right").error().starts_with("WRONGPASS"));
    assert_eq!(s.connect().run("AUTH other"), Value::ok());
    assert_eq!(c.cmd(&["CONFIG", "SET", "requirepass", ""]), Value::ok());
    assert_eq!(s.connect().run("GET k"), Value::Null);
    // A default user that is off lets no connection in without a login.
    c.run("ACL SETUSER bob on >b allkeys +@all");
    c.run("ACL SETUSER default off");
    let mut fresh = s.connect();
    assert!(fresh.run("GET k").error().starts_with("NOAUTH"));
    assert_eq!(fresh.run("AUTH bob b"), Value::ok());
    assert_eq!(fresh.run("GET k"), Value::Null);
    assert_eq!(c.run("GET k"), Value::Null, "who is in stays in");
}

#[test]
fn secrets_are_shown_nowhere_whatever_the_command_is_called() {
    let options = "--slowlog-log-slower-than 0 --rename-command ACL USERS --rename-command AUTH LOGIN";
    let s = Server::with(&options.split_whitespace().collect::<Vec<_>>());
    let (mut c, mut watch) = (s.connect(), s.connect());
    watch.run("MONITOR");
    for line in [
        "USERS SETUSER bob on >topsecret +@all ~*",
        "USERS SETUSER bob >topsecret nosuchrule",
        "LOGIN bob topsecret",
        "LOGIN bob topsecretx",
        "HELLO 3 AUTH bob topsecret",
        "SET k v",
    ] {
        c.run(line);
    }
    let kept = format!("{:?}", c.run("SLOWLOG GET -1"));
    assert!(kept.contains("SETUSER") && kept.contains("LOGIN") && !kept.contains("topsecret"), "{kept}");
    loop {
        let said = watch.read().text();
        assert!(!said.contains("topsecret"), "{said}");
        if said.contains("\"SET\"") {
            break;
        }
    }
    for what in ["USERS LOG", "USERS LIST", "USERS GETUSER bob", "INFO everything", "CLIENT LIST"] {
        let told = format!("{:?}", c.run(what));
        assert!(!told.contains("topsecret"), "{what}: {told}");
    }
    assert!(!s.log().contains("topsecret"));
}

#[test]
fn before_a_login_nothing_grows() {
    let s = Server::with(&["--requirepass", "right"]);
    // Requests whose refusals are never read fill no memory.
    let c = s.connect();
    let flood = "PING\r\n".repeat(100_000);
    let mut other = s.connect();
    other.run("AUTH right");
    std::thread::scope(|threads| {
        // The connection may be gone before all of it is written.
        threads.spawn(|| c.stream().write_all(flood.as_bytes()).is_ok());
        wait_until("the flood is cut off", || {
            other.run("CLIENT LIST").text().lines().count() == 1
                && s.log().contains("output buffer limits")
        });
    });
    let mut stranger = s.connect();
    stranger.send(b"*1\r\n$20000\r\n");
    assert!(stranger.read().error().contains("unauthenticated bulk length"));
}

// ---- what is refused ------------------------------------------------------------------------------

#[test]
fn refusals_are_counted_and_logged() {
    let s = Server::start();
    let mut c = login(&s, "bob", "+get +exec +multi +publish +eval +acl|whoami ~a &x");
    assert_eq!(c.run("SET a 1").error(), "NOPERM User bob has no permissions to run the 'set' command");
    assert_eq!(
        c.run("ACL LIST").error(),
        "NOPERM User bob has no permissions to run the 'acl|list' command"
    );
    assert!(denied_key(&c.run("GET b")) && denied_key(&c.run("GET b")));
    assert_eq!(c.run("PUBLISH y m").error(), "NOPERM No permissions to access a channel");
    let inside = c.run("EVAL redis.call('GET','b') 0");
    assert!(
        inside.error().starts_with("ERR ACL failure in script: No permissions to access a key script:")
    );
    assert_eq!(c.run("ACL WHOAMI").text(), "bob");
    let mut boss = s.connect();
    let log = boss.run("ACL LOG");
    let told: Vec<(i64, String, String, String)> = log
        .items()
        .iter()
        .map(|e| {
            let f = e.items();
            (f[1].int(), f[3].text(), f[5].text(), f[7].text())
        })
        .collect();
    let entry = |n, what: &str, place: &str, object: &str| {
        (n, what.to_string(), place.to_string(), object.to_string())
    };
    assert_eq!(
        told,
        [
            entry(1, "key", "lua", "b"),
            entry(1, "channel", "toplevel", "y"),
            entry(2, "key", "toplevel", "b"),
            entry(1, "command", "toplevel", "acl|list"),
            entry(1, "command", "toplevel", "set"),
        ]
    );
    let denied =
        ["auth", "cmd", "key", "channel"].map(|what| boss.figure(&format!("acl_access_denied_{what}")));
    assert_eq!(denied, [0, 2, 3, 1]);
    assert!(boss.info("errorstat_NOPERM").is_some_and(|n| n.contains("count=5")));
    assert!(boss.info("cmdstat_set").is_some_and(|set| set.contains("rejected_calls=1")));
}

#[test]
fn queued_commands_are_judged_again() {
    let s = Server::start();
    let (mut c, mut boss) = (login(&s, "bob", "+@all ~*"), s.connect());
    c.pipeline(&["MULTI", "SET a 1", "INCR a", "GET a"]);
    assert_eq!(boss.run("ACL SETUSER bob -incr"), Value::ok());
    let reply = c.run("EXEC");
    let [set, incr, get] = reply.items() else { panic!("{reply:?}") };
    assert_eq!((set, get), (&Value::ok(), &Value::bulk("1")));
    assert!(incr.error().starts_with("NOPERM ACLs rules changed between"), "{incr:?}");
    // A command that is refused while queueing spoils the transaction.
    c.run("MULTI");
    assert!(c.run("INCR a").error().starts_with("NOPERM"));
    assert!(c.run("EXEC").error().starts_with("EXECABORT"));
    // And one that waits is judged when its turn comes.
    let mut waits = login(&s, "eve", "+@all ~*");
    waits.put(&["BLPOP", "list", "0"]);
    wait_blocked(&mut boss, 1);
    boss.run("ACL SETUSER eve resetkeys");
    boss.run("RPUSH list x");
    assert!(denied_key(&waits.read()));
    assert_eq!(boss.run("LLEN list"), Value::Int(1));
}

#[test]
fn clients_of_deleted_and_narrowed_users_are_closed() {
    let s = Server::start();
    let (mut boss, mut c) = (s.connect(), login(&s, "bob", "+@all ~* &*"));
    let mut multi = login(&s, "bob", "+@all ~* &*");
    multi.pipeline(&["MULTI", "SET k v"]);
    assert_eq!(boss.run("ACL DELUSER bob nobody"), Value::Int(1));
    assert!(c.at_end() && multi.at_end());
    assert!(boss.run("ACL DELUSER default").error().contains("cannot be removed"));
    // Who deletes himself is told so.
    let mut own = login(&s, "ann", "+@all");
    assert_eq!(own.run("ACL DELUSER ann"), Value::Int(1));
    assert!(own.at_end());
    let mut hears = login(&s, "eve", "+@all &a &b:*");
    let mut keeps = login(&s, "eve", "+@all &a &b:*");
    hears.run("PSUBSCRIBE b:*");
    keeps.run("SUBSCRIBE a");
    assert_eq!(boss.run("ACL SETUSER eve resetchannels &a"), Value::ok());
    assert!(hears.at_end());
    assert_eq!(boss.run("PUBLISH a m"), Value::Int(1));
    assert_eq!(keeps.read().items()[2], Value::bulk("m"));
    assert_eq!(boss.run("CLIENT KILL USER eve"), Value::Int(1));
    assert!(boss.run("CLIENT KILL USER nobody").error().starts_with("ERR No such user"));
}

/// The permission to do everything is one bit of a client: it follows every change.
#[test]
fn a_user_that_was_unlimited_is_narrowed_at_once() {
    let s = Server::start();
    let (mut boss, mut c) = (login(&s, "root", "+@all ~* &*"), s.connect());
    assert_eq!(c.run("SET k 1"), Value::ok());
    assert_eq!(boss.run("ACL SETUSER default -set"), Value::ok());
    assert!(c.run("SET k 2").error().starts_with("NOPERM"));
    assert!(s.connect().run("SET k 2").error().starts_with("NOPERM"));
    assert_eq!(boss.run("ACL SETUSER default +@all"), Value::ok());
    assert_eq!(c.run("SET k 3"), Value::ok());
    c.run("AUTH root x");
    boss.run("ACL SETUSER root -get");
    assert!(c.run("GET k").error().starts_with("NOPERM"));
    assert_eq!(c.run("RESET").text(), "RESET");
    assert_eq!(c.run("GET k").text(), "3");
}

// ---- ways around the rules ------------------------------------------------------------------------

#[test]
fn sort_reads_and_writes_only_what_is_allowed() {
    let s = Server::start();
    s.connect().pipeline(&["RPUSH mine 1 2", "SET secret_1 x", "SET secret_2 y"]);
    let mut c = login(&s, "bob", "+@all ~mine ~limit ~to");
    for line in ["SORT mine GET secret_*", "SORT mine BY secret_*", "SORT_RO mine GET #"] {
        assert!(c.run(line).error().contains("denied due to insufficient ACL permissions"), "{line}");
    }
    assert_eq!(c.run("SORT mine BY nosort"), Value::bulks(&["1", "2"]));
    assert_eq!(c.run("SORT mine STORE to"), Value::Int(2));
    for line in [
        "SORT mine STORE theirs",
        "SORT mine STORE to STORE theirs",
        "SORT mine STORE limit STORE theirs",
    ] {
        assert!(denied_key(&c.run(line)), "{line}");
    }
    let text = "return redis.call('SORT', 'mine', 'GET', 'secret_*')";
    let inside = c.cmd(&["EVAL", text, "0"]);
    assert!(inside.error().contains("insufficient ACL permissions"), "{inside:?}");
    let mut reads = login(&s, "eve", "+@all %R~* ~to");
    assert_eq!(reads.run("SORT mine GET secret_*"), Value::bulks(&["x", "y"]));
    assert!(denied_key(&reads.run("SORT mine STORE mine")));
}

#[test]
fn geo_results_go_only_where_they_may() {
    let s = Server::start();
    s.connect().run("GEOADD mine 1 2 a");
    let mut c = login(&s, "bob", "+@all ~mine ~to");
    for line in [
        "GEORADIUS mine 1 2 3 km STORE theirs",
        "GEORADIUS mine 1 2 3 km STORE to STORE theirs",
        "GEORADIUS mine 1 2 3 km STOREDIST to STOREDIST theirs",
        "GEORADIUSBYMEMBER mine a 3 km STORE to STOREDIST theirs",
        "GEOSEARCHSTORE theirs mine FROMMEMBER a BYRADIUS 3 km",
        "GEOSEARCHSTORE to theirs FROMMEMBER a BYRADIUS 3 km",
    ] {
        assert!(denied_key(&c.run(line)), "{line}");
    }
    assert_eq!(c.run("GEORADIUS mine 1 2 3 km STORE to"), Value::Int(1));
}

#[test]
fn streams_are_found_behind_any_words() {
    let s = Server::start();
    s.connect().pipeline(&["XGROUP CREATE secret g 0 MKSTREAM", "XADD secret 1-1 f v"]);
    let mut c = login(&s, "bob", "+@all ~STREAMS ~mine");
    for line in [
        "XREAD STREAMS secret 0",
        "XREAD COUNT 1 STREAMS mine secret 0 0",
        "XREADGROUP GROUP g c STREAMS secret >",
        "XREADGROUP NOACK GROUP g streams STREAMS secret >",
        "XREADGROUP COUNT 1 GROUP g streams STREAMS secret >",
        "XREADGROUP GROUP g streams NOACK STREAMS secret >",
    ] {
        let reply = c.run(line);
        assert!(denied_key(&reply), "{line}: {reply:?}");
    }
}

#[test]
fn a_pattern_says_whether_a_key_is_read_or_written() {
    let s = Server::start();
    let mut c = login(&s, "bob", "+@all %R~r %W~w");
    for line in [
        "SET r v",
        "SET w v GET",
        "GET w",
        "GETSET w v",
        "BITFIELD r SET u8 0 1",
        "BITFIELD r GET u8 0 INCRBY u8 0 1",
        "BITFIELD w GET u8 0",
        "COPY r r2",
        "COPY w w",
        "RENAME r w",
        "LMOVE r w LEFT LEFT",
        "BITOP AND r r",
        "EXISTS r w x",
    ] {
        let reply = c.run(line);
        assert!(denied_key(&reply), "{line}: {reply:?}");
    }
    for line in ["GET r", "SET w v", "BITFIELD r GET u8 0", "BITFIELD_RO r GET u8 0", "COPY r w"] {
        assert!(!matches!(c.run(line), Value::Error(_)), "{line}");
    }
}

#[test]
fn selectors_do_not_add_up() {
    let s = Server::start();
    let mut c = login(&s, "bob", "+get ~a (+set ~b) (%R~c %W~d +copy)");
    for line in ["SET a 1", "GET b", "COPY d c", "COPY c a"] {
        assert!(denied_key(&c.run(line)), "{line}");
    }
    assert_eq!((c.run("GET a"), c.run("SET b 1")), (Value::Null, Value::ok()));
    // A broken selector is refused whole, and never asked later.
    let mut boss = s.connect();
    for rule in ["%", "%~a", "(%)", "(%R", "%RX~a", "(~a", "(+@all nosuch)", "(\"~a b\")"] {
        assert!(matches!(boss.cmd(&["ACL", "SETUSER", "bob", rule]), Value::Error(_)), "{rule}");
    }
    assert!(denied_key(&c.run("GET b")));
    assert_eq!(boss.run("ACL LIST").items().len(), 2);
}

#[test]
fn escapes_in_patterns_mean_what_they_say() {
    let s = Server::start();
    let mut c = s.connect();
    for pattern in ["~a\\*b", "~c[\\]]", "~d\\"] {
        assert_eq!(c.cmd(&["ACL", "SETUSER", "bob", "on", "nopass", "+get", pattern]), Value::ok());
    }
    c.run("AUTH bob x");
    for key in ["a*b", "c]", "d\\"] {
        assert_eq!(c.cmd(&["GET", key]), Value::Null, "{key}");
    }
    for key in ["axb", "a\\*b", "a\\b", "c", "c\\", "c[\\]]", "d", "d\\x"] {
        assert!(denied_key(&c.cmd(&["GET", key])), "{key}");
    }
}

#[test]
fn patterns_match_without_exponential_time() {
    let s = Server::start();
    let mut boss = s.connect();
    let pattern = format!("~{}b", "a*".repeat(500));
    assert_eq!(boss.cmd(&["ACL", "SETUSER", "bob", "on", "nopass", "+get", &pattern]), Value::ok());
    let mut c = s.connect();
    c.run("AUTH bob x");
    // With a retry for every star this would take longer than any patience.
    assert!(denied_key(&c.cmd(&["GET", &"a".repeat(20_000)])));
}

// ---- files ----------------------------------------------------------------------------------------

#[test]
fn users_are_kept_in_a_file() {
    let dir = own_folder();
    let file = dir.join("users.acl");
    fs::write(&file, "user bob on nopass ~b* &* -@all +get (~c -@all +set)\n").expect("our folder");
    let s = Server::with_folder(&["--aclfile", "users.acl"], dir);
    let mut c = s.connect();
    c.run("AUTH bob x");
    assert_eq!(c.run("GET b"), Value::Null);
    let mut boss = s.connect();
    assert_eq!(boss.run("ACL SETUSER ann on >pw +@read"), Value::ok());
    let before = format!("{:?}", boss.run("ACL LIST"));
    assert_eq!(boss.run("ACL SAVE"), Value::ok());
    let saved = fs::read_to_string(&file).expect("it was written");
    assert_eq!(saved.lines().count(), 3, "{saved}");
    assert_eq!(fs::read_dir(&s.dir).expect("our folder").filter(is_temp).count(), 0);
    // A fault anywhere changes nothing, and each is told with its place.
    fs::write(&file, "user ann on nopass +@all\nuser eve +nosuch\nfoo\nuser bob ~* ~a\n").expect("ours");
    let told = boss.run("ACL LOAD").error().to_string();
    for part in [
        "users.acl:2: Error in applying operation '+nosuch'",
        "users.acl:3 should start",
        "users.acl:4: Adding",
    ] {
        assert!(told.contains(part), "{told}");
    }
    assert_eq!(format!("{:?}", boss.run("ACL LIST")), before);
    assert_eq!(c.run("GET b"), Value::Null);
    fs::write(&file, &saved).expect("ours");
    assert_eq!(boss.run("ACL LOAD"), Value::ok());
    assert_eq!(format!("{:?}", boss.run("ACL LIST")), before);
    assert!(c.at_end(), "its user was replaced");
    fs::remove_file(&file).expect("ours");
    assert!(boss.run("ACL LOAD").error().contains("No such file or directory"));
    assert_eq!(format!("{:?}", boss.run("ACL LIST")), before);
}

fn is_temp(entry: &std::io::Result<fs::DirEntry>) -> bool {
    entry.as_ref().is_ok_and(|e| e.file_name().to_string_lossy().contains(".tmp-"))
}

#[test]
fn users_are_kept_in_the_configuration() {
    let dir = own_folder();
    let path = dir.join("a.conf").to_string_lossy().into_owned();
    fs::write(
        &path,
        "user bob on nopass \"~b*\" +get ( ~c +set )\nuser default on nopass ~* &* +@all\n",
    )
    .expect("our folder");
    let mut s = Server::with_folder(&[&path], dir);
    let mut boss = s.connect();
    assert_eq!(
        boss.cmd(&["ACL", "SETUSER", "ann", "on", ">pw", "~q\"'x\\", "(\"~a\\\"b\" +get)"]),
        Value::ok()
    );
    boss.run("CONFIG SET requirepass secret");
    boss.run("AUTH secret");
    let before = format!("{:?}", boss.run("ACL LIST"));
    assert!(boss.run("ACL SAVE").error().contains("not configured to use an ACL file"));
    assert_eq!(boss.run("CONFIG REWRITE"), Value::ok());
    s.kill();
    s.restart();
    let mut boss = s.connect();
    boss.run("AUTH secret");
    assert_eq!(format!("{:?}", boss.run("ACL LIST")), before);
    let mut c = s.connect();
    assert_eq!(c.run("AUTH bob x"), Value::ok());
    assert_eq!((c.run("GET b"), c.run("SET c 1")), (Value::Null, Value::ok()));
}

#[test]
fn files_that_cannot_be_followed_end_the_start() {
    let dir = own_folder();
    let port = free_port().to_string();
    let start = |users: Option<&str>, conf: &str| {
        let acl = dir.join("users.acl");
        match users {
            Some(text) => fs::write(&acl, text).expect("our folder"),
            None if acl.exists() => fs::remove_file(&acl).expect("ours"),
            None => {}
        }
        fs::write(dir.join("a.conf"), format!("port {port}\n{conf}\n")).expect("our folder");
        failed_start(&dir, &["a.conf"])
    };
    for (users, conf, told) in [
        (None, "aclfile users.acl", "opening file 'users.acl': No such file or directory"),
        (None, "aclfile .", "Is a directory"),
        (
            Some("user bob\0 on\n"),
            "aclfile users.acl",
            "users.acl:1: control characters are not allowed",
        ),
        (Some("\nuser bob +x\u{1}\n"), "aclfile users.acl", "users.acl:2: control characters"),
        (Some("user bob +nosuch\n"), "aclfile users.acl", "users.acl:1: Error in applying operation"),
        (Some("user bob on\n"), "aclfile users.acl\nuser eve on", "but not both"),
        (None, "user bob on\u{1}", "Control characters are not allowed"),
        (None, "requirepass a\0b", "Control characters are not allowed"),
        (None, "user bob \"~a\\nuser eve\"", "Error in user declaration"),
        (None, "user bob on\nuser bob off", "Duplicate user found"),
        (None, "user bob foo", "Error in user declaration 'foo': Syntax error"),
        (None, "user bob (+get", "Unmatched parenthesis"),
        (None, "user bob +nosuch", "Error loading ACL rule '+nosuch' for the user named 'bob'"),
        (None, "user \"a b\" on", "Spaces not allowed in ACL usernames"),
    ] {
        let said = start(users, conf);
        assert!(said.contains(told), "{conf}: {said}");
    }
    fs::remove_dir_all(&dir).expect("our folder");
}

#[test]
fn no_name_or_rule_can_add_a_line_to_a_file() {
    let s = Server::start();
    let mut boss = s.connect();
    for words in [
        &["a\nuser eve on", "on"][..],
        &["a\0", "on"],
        &["bob", "~a\nuser eve on nopass +@all"],
        &["bob", "&a\r"],
        &["bob", "+select|0\nuser eve on nopass +@all ~*"],
        &["bob", "(+select|0\nuser)"],
        &["bob", "(\"~a\\nb\")"],
    ] {
        let line: Vec<&str> = ["ACL", "SETUSER"].iter().chain(words).copied().collect();
        assert!(matches!(boss.cmd(&line), Value::Error(_)), "{words:?}");
    }
    assert_eq!(boss.run("ACL USERS"), Value::bulks(&["default"]));
}
