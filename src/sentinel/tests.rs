//! The machine alone: texts, lines, replies.

use super::instance::{Ms, flag};
use super::*;
use crate::proto::reply_in;

fn env(now: Ms) -> Env {
    Env {
        now,
        wall: 1_000_000,
        port: 26379,
        password: None,
        loglevel: Level::Notice,
        executable: |path| path.starts_with(b"/bin/"),
    }
}

fn sentinel(lines: &[&str]) -> Sentinel {
    let mut s = Sentinel::new(Rng::seeded(1), env(0));
    for line in lines {
        let words: Vec<&[u8]> = line.split(' ').map(str::as_bytes).collect();
        s.read_line(&words).expect(line);
    }
    let mut out = Vec::new();
    s.start(&[b'a'; 40], env(0), &mut out);
    s.on(Event::Saved(true), env(0), &mut out);
    s
}

const MONITOR: &str = "monitor m 10.0.0.1 6379 2";

fn ask(s: &mut Sentinel, ask: Ask, args: &[&str]) -> (Reply, Vec<String>) {
    let args: Vec<&[u8]> = args.iter().map(|a| a.as_bytes()).collect();
    let mut out = Vec::new();
    let reply = s.ask(ask, &args, env(1000), &mut out);
    if out.contains(&Action::Save) {
        s.on(Event::Saved(true), env(1000), &mut out);
    }
    (s.settled(reply), logged(&out))
}

fn logged(out: &[Action]) -> Vec<String> {
    let text = |a: &Action| match a {
        Action::Log(_, text) => Some(String::from_utf8_lossy(text).into_owned()),
        _ => None,
    };
    out.iter().filter_map(text).collect()
}

fn on(s: &mut Sentinel, event: Event<'_>, now: Ms) -> Vec<Action> {
    let mut out = Vec::new();
    s.on(event, env(now), &mut out);
    if out.contains(&Action::Save) {
        s.on(Event::Saved(true), env(now), &mut out);
    }
    out
}

fn refused(s: &mut Sentinel, what: Ask, args: &[&str]) -> String {
    match ask(s, what, args).0 {
        Reply::Error(text) => String::from_utf8(text).expect("ASCII"),
        other => panic!("{other:?}"),
    }
}

fn written(s: &Sentinel) -> Vec<String> {
    let text = |line| match line {
        ConfLine::Line(_, text) => Some(String::from_utf8(text).expect("ASCII")),
        _ => None,
    };
    s.lines().into_iter().filter_map(text).collect()
}

#[test]
fn lines_are_read_and_written_back() {
    let lines = [
        "resolve-hostnames no",
        "deny-scripts-reconfig no",
        "sentinel-user u",
        "sentinel-pass p",
        "announce-ip 1.2.3.4",
        "announce-port 5",
        "current-epoch 7",
        MONITOR,
        "monitor n ::1 7000 1",
        "down-after-milliseconds m 5",
        "failover-timeout m 6",
        "parallel-syncs m 3",
        "notification-script m /bin/true",
        "client-reconfig-script m /bin/false",
        "auth-pass m x",
        "auth-user m y",
        "master-reboot-down-after-period m 9",
        "config-epoch m 8",
        "leader-epoch m 6",
        "known-slave m 10.0.0.2 6379",
        "known-replica m 10.0.0.3 6379",
        "known-sentinel m 10.0.0.4 26379 bbbb",
        "known-sentinel n 10.0.0.4 26379 bbbb",
        "known-sentinel m 10.0.0.9 26379",
        "rename-command m CONFIG other",
    ];
    let expected = [
        "myid aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
        "deny-scripts-reconfig no",
        MONITOR,
        "down-after-milliseconds m 5",
        "failover-timeout m 6",
        "parallel-syncs m 3",
        "notification-script m /bin/true",
        "client-reconfig-script m /bin/false",
        "auth-pass m x",
        "auth-user m y",
        "master-reboot-down-after-period m 9",
        "config-epoch m 8",
        "leader-epoch m 6",
        "known-replica m 10.0.0.2 6379",
        "known-replica m 10.0.0.3 6379",
        "known-sentinel m 10.0.0.4 26379 bbbb",
        "rename-command m CONFIG other",
        "monitor n ::1 7000 1",
        "config-epoch n 0",
        "leader-epoch n 0",
        "known-sentinel n 10.0.0.4 26379 bbbb",
        "current-epoch 8",
        "announce-ip \"1.2.3.4\"",
        "announce-port 5",
        "sentinel-user u",
        "sentinel-pass p",
    ];
    let s = sentinel(&lines);
    let text: Vec<String> = expected.iter().map(|l| format!("sentinel {l}")).collect();
    assert_eq!(written(&s), text);
    assert_eq!(s.core.links.values().filter(|l| l.users == 2).count(), 1, "one link, two masters");
}

#[test]
fn wrong_lines_say_why() {
    let mut s = sentinel(&[MONITOR, "known-replica m 10.0.0.2 1", "known-sentinel m 10.0.0.4 1 b"]);
    for (line, why) in [
        ("monitor x 10.0.0.1 1 0", "Quorum must be 1 or greater."),
        ("monitor x 10.0.0.1 70000 1", "Invalid port number."),
        ("monitor x no.such.host 1 1", "Can't resolve instance hostname."),
        (MONITOR, "Duplicate master name."),
        ("monitor x 10.0.0.1 1", "Unrecognized sentinel configuration statement."),
        ("known-replica m 10.0.0.2 1", "Duplicate hostname and port for replica."),
        ("known-sentinel m 10.0.0.5 1 b", "Duplicate runid for sentinel."),
        ("down-after-milliseconds x 5", "No such master with specified name."),
        ("down-after-milliseconds m 0", "negative or zero time parameter."),
        ("master-reboot-down-after-period m -1", "negative time parameter."),
        ("notification-script m /etc/x", "Notification script seems non existing or non executable."),
        ("myid abc", "Malformed Sentinel id in myid option."),
        ("resolve-hostnames maybe", "Please specify yes or no for the resolve-hostnames option."),
        ("current-epoch x", "Invalid epoch."),
        ("nonsense m 1", "Unrecognized sentinel configuration statement."),
    ] {
        let words: Vec<&[u8]> = line.split(' ').map(str::as_bytes).collect();
        assert_eq!(s.read_line(&words), Err(why), "{line}");
    }
}

#[test]
fn a_name_that_is_no_word_is_quoted() {
    let mut s = sentinel(&[]);
    let (reply, _) = ask(&mut s, Ask::Monitor, &["a b\nc", "10.0.0.1", "1", "1"]);
    assert_eq!(reply, Reply::Ok);
    let text = written(&s);
    assert!(text.contains(&"sentinel monitor \"a b\\nc\" 10.0.0.1 1 1".to_string()), "{text:?}");
}

#[test]
fn masters_are_added_changed_and_removed() {
    let mut s = sentinel(&[]);
    let (reply, log) = ask(&mut s, Ask::Monitor, &["m", "10.0.0.1", "6379", "2"]);
    assert_eq!((reply, log), (Reply::Ok, vec!["+monitor master m 10.0.0.1 6379 quorum 2".into()]));
    for (args, why) in [
        (["m", "10.0.0.1", "6379", "2"], "ERR Duplicate master name."),
        (["x", "10.0.0.1", "x", "2"], "ERR Invalid port"),
        (["x", "10.0.0.1", "70000", "2"], "ERR Invalid port number."),
        (["x", "10.0.0.1", "1", "x"], "ERR Invalid quorum"),
        (["x", "10.0.0.1", "1", "0"], "ERR Quorum must be 1 or greater."),
        (["x", "no.such.host", "1", "1"], "ERR Invalid IP address or hostname specified"),
    ] {
        assert_eq!(refused(&mut s, Ask::Monitor, &args), why);
    }
    let args = ["m", "quorum", "3", "auth-pass", "secret", "rename-command", "A", "B"];
    let (reply, log) = ask(&mut s, Ask::Set, &args);
    let at = "+set master m 10.0.0.1 6379";
    let expected = ["quorum 3", "auth-pass ******", "rename-command A B"];
    assert_eq!(reply, Reply::Ok);
    assert_eq!(log, expected.map(|e| format!("{at} {e}")));
    for (args, why) in [
        (&["x", "quorum", "1"][..], "ERR No such master with that name"),
        (&["m", "quorum", "0"], "ERR Invalid argument '0' for SENTINEL SET 'quorum'"),
        (&["m", "Quorum", "x"], "ERR Invalid argument 'x' for SENTINEL SET 'Quorum'"),
        (&["m", "rename-command", "a", ""], "ERR Invalid argument '' for SENTINEL SET 'rename-command'"),
        (
            &["m", "rename-command", "a"],
            "ERR Unknown option or number of arguments for SENTINEL SET 'rename-command'",
        ),
        (&["m", "x", "y"], "ERR Unknown option or number of arguments for SENTINEL SET 'x'"),
        (
            &["m", "notification-script", "/bin/x"],
            "ERR Reconfiguration of scripts path is denied for security reasons. Check the \
             deny-scripts-reconfig configuration directive in your Sentinel configuration",
        ),
    ] {
        assert_eq!(refused(&mut s, Ask::Set, args), why);
    }
    assert_eq!(ask(&mut s, Ask::Reset, &["[mn]"]).0, Reply::Int(1));
    assert_eq!(ask(&mut s, Ask::Remove, &["m"]).1, ["-monitor master m 10.0.0.1 6379"]);
    assert_eq!(refused(&mut s, Ask::Master, &["m"]), "ERR No such master with that name");
    assert_eq!(ask(&mut s, Ask::GetMasterAddrByName, &["m"]).0, Reply::NullArray);
    assert!(s.core.links.is_empty(), "the links go with their users");
}

#[test]
fn settings_are_all_looked_at_first() {
    let mut s = sentinel(&[]);
    for (args, why) in [
        (&["set", "x", "1"][..], "ERR Invalid argument 'x' to SENTINEL CONFIG SET"),
        (
            &["set", "announce-port", "1", "Announce-Port", "2"],
            "ERR Duplicate argument 'Announce-Port' to SENTINEL CONFIG SET",
        ),
        (&["set", "announce-port", "1", "announce-ip"], "ERR Missing argument 'announce-ip' value"),
        (
            &["set", "announce-port", "7", "loglevel", "loud"],
            "ERR Invalid value 'loud' to SENTINEL CONFIG SET 'loglevel'",
        ),
        (
            &["set", "x"],
            "ERR Only SENTINEL CONFIG GET <param> [<param> <param> ...]/ SET <param> <value> [<param> \
             <value> ...] are supported.",
        ),
    ] {
        assert_eq!(refused(&mut s, Ask::Config, args), why);
    }
    let (reply, _) = ask(&mut s, Ask::Config, &["get", "announce-port", "ANNOUNCE-p*", "log*"]);
    let texts = |all: &[&str]| Reply::Map(all.iter().map(|t| Reply::text(t)).collect());
    assert_eq!(reply, texts(&["announce-port", "0", "loglevel", "notice"]));
    let (reply, _) = ask(&mut s, Ask::Config, &["set", "announce-port", "7", "sentinel-pass", "x"]);
    assert_eq!(reply, Reply::Ok);
    let (reply, _) = ask(&mut s, Ask::Config, &["get", "announce-port"]);
    assert_eq!(reply, texts(&["announce-port", "7"]));
    let why = refused(&mut s, Ask::Debug, &["info-period", "0"]);
    assert_eq!(why, "ERR Invalid argument '0' for SENTINEL DEBUG 'info-period'");
    let why = refused(&mut s, Ask::Debug, &["info-period"]);
    assert_eq!(why, "ERR Unknown option or number of arguments for SENTINEL DEBUG 'info-period'");
    assert_eq!(ask(&mut s, Ask::Debug, &["INFO-PERIOD", "5"]).0, Reply::Ok);
    let Reply::Map(periods) = ask(&mut s, Ask::Debug, &[]).0 else { panic!("a map") };
    assert_eq!(periods[..2], [Reply::text("INFO-PERIOD"), Reply::text("5")]);
}

#[test]
fn a_disk_that_fails_is_told_and_takes_the_vote() {
    let mut s = sentinel(&[MONITOR]);
    let mut out = Vec::new();
    let reply = s.ask(Ask::FlushConfig, &[], env(1), &mut out);
    s.on(Event::Saved(false), env(1), &mut out);
    let text = "ERR Failed to save config file. Check server logs.";
    assert_eq!(s.settled(reply), Reply::Error(text.into()));
    let args: [&[u8]; 4] = [b"10.0.0.1", b"6379", b"3", b"other"];
    let reply = s.ask(Ask::IsMasterDownByAddr, &args, env(2), &mut out);
    s.on(Event::Saved(false), env(2), &mut out);
    let none = Reply::Array(vec![Reply::Int(0), Reply::text("*"), Reply::Int(0)]);
    assert_eq!(s.settled(reply), none, "a vote that is nowhere is not told");
    let saves = |out: &[Action]| out.iter().filter(|a| **a == Action::Save).count();
    assert_eq!(saves(&on(&mut s, Event::Tick, 500)), 0);
    assert_eq!(saves(&on(&mut s, Event::Tick, 1100)), 1, "tried again");
    let reply = s.ask(Ask::IsMasterDownByAddr, &args, env(1200), &mut out);
    let vote = Reply::Array(vec![Reply::Int(0), Reply::text("other"), Reply::Int(3)]);
    assert_eq!(s.settled(reply), vote);
}

#[test]
fn a_vote_is_given_once_an_epoch() {
    let mut s = sentinel(&[MONITOR]);
    let mut vote = |epoch: &str, id: &str| match ask(
        &mut s,
        Ask::IsMasterDownByAddr,
        &["10.0.0.1", "6379", epoch, id],
    ) {
        (Reply::Array(parts), log) => (parts[1].clone(), parts[2].clone(), log),
        (other, _) => panic!("{other:?}"),
    };
    assert_eq!(vote("5", "*"), (Reply::text("*"), Reply::Int(0), vec![]));
    let log = vec!["+new-epoch 5".to_string(), "+vote-for-leader b 5".into()];
    assert_eq!(vote("5", "b"), (Reply::text("b"), Reply::Int(5), log));
    assert_eq!(vote("5", "c"), (Reply::text("b"), Reply::Int(5), vec![]));
    assert_eq!(vote("4", "c"), (Reply::text("b"), Reply::Int(5), vec![]), "an epoch that is over");
    let why = refused(&mut s, Ask::IsMasterDownByAddr, &["h", "x", "1", "*"]);
    assert_eq!(why, "ERR value is not an integer or out of range");
}

#[test]
fn hellos_bring_sentinels_and_masters() {
    let mut s = sentinel(&[MONITOR, "known-replica m 10.0.0.2 6379"]);
    let mut hello = |text: &str| logged(&on(&mut s, Event::Hello(text.as_bytes()), 1000));
    for text in [
        "",
        "a,b",
        "10.0.0.5,26379,b,1,x,10.0.0.1,6379,0",
        "10.0.0.5,99999,b,1,m,h,1,0",
        "10.0.0.5,26379,b,1,m,10.0.0.2,6379,2",
        "10.0.0.5,26379,b,9223372036854775807,m,10.0.0.1,6379,0",
    ] {
        assert!(hello(text).is_empty(), "{text}");
    }
    assert_eq!(
        hello("10.0.0.5,26379,b,3,m,10.0.0.1,6379,0"),
        ["+sentinel sentinel b 10.0.0.5 26379 @ m 10.0.0.1 6379", "+new-epoch 3"]
    );
    assert!(hello("10.0.0.5,26379,b,3,m,10.0.0.1,6379,0").is_empty(), "nothing new");
    assert_eq!(
        hello("10.0.0.6,26379,b,3,m,10.0.0.1,6379,0"),
        ["+sentinel-address-switch master m 10.0.0.1 6379 ip 10.0.0.6 port 26379 for b"]
    );
    assert_eq!(
        hello("10.0.0.6,26379,c,3,m,10.0.0.1,6379,0"),
        [
            "+sentinel-invalid-addr sentinel b 10.0.0.6 26379 @ m 10.0.0.1 6379",
            "+sentinel sentinel c 10.0.0.6 26379 @ m 10.0.0.1 6379",
        ]
    );
    assert_eq!(
        hello("10.0.0.6,26379,c,3,m,10.0.0.2,6379,3"),
        [
            "+config-update-from sentinel c 10.0.0.6 26379 @ m 10.0.0.1 6379",
            "+switch-master m 10.0.0.1 6379 10.0.0.2 6379",
            "+slave slave 10.0.0.1:6379 10.0.0.1 6379 @ m 10.0.0.2 6379",
        ]
    );
    let g = &s.groups[0];
    assert_eq!((g.config_epoch, g.sentinels.len(), g.replicas.len()), (3, 1, 1));
}

/// The first tick: the connections to the master stand, for commands and for messages.
fn connected(s: &mut Sentinel) -> (ConnId, ConnId) {
    let out = on(s, Event::Tick, 0);
    let dialled = out.iter().filter_map(|a| match a {
        Action::Dial(conn, ..) => Some(*conn),
        _ => None,
    });
    let [commands, messages] = dialled.collect::<Vec<_>>()[..] else { panic!("{out:?}") };
    for conn in [commands, messages] {
        on(s, Event::Opened(conn, "10.0.0.9".into()), 10);
    }
    (commands, messages)
}

/// What was sent, as words.
fn sent(out: &[Action]) -> Vec<String> {
    let mut all = Vec::new();
    for action in out {
        let Action::Send(_, bytes) = action else { continue };
        let mut rest = &bytes[..];
        while let reply_in::ReplyValue::Whole(Value::Array(words), used) = reply_in::value(rest) {
            rest = &rest[used..];
            let word = |w: Value| match w {
                Value::Bulk(word) => String::from_utf8(word).expect("ASCII"),
                other => panic!("{other:?}"),
            };
            all.push(words.into_iter().map(word).collect::<Vec<_>>().join(" "));
        }
    }
    all
}

#[test]
fn a_busy_master_has_its_script_killed_once() {
    let mut s = sentinel(&[MONITOR, "down-after-milliseconds m 1000", "rename-command m SCRIPT scr"]);
    let (commands, _) = connected(&mut s);
    let ok = Value::Status(b"OK".to_vec());
    let busy = Value::Error(b"BUSY Redis is busy running a script.".to_vec());
    // The name of the connection, PING, and what the ticks have asked meanwhile.
    on(&mut s, Event::Received(commands, &ok), 20);
    let out = on(&mut s, Event::Received(commands, &busy), 20);
    assert!(sent(&out).is_empty(), "it is not down yet");
    let log = logged(&on(&mut s, Event::Tick, 1100));
    assert_eq!(log, ["+sdown master m 10.0.0.1 6379"]);
    let mut killed = Vec::new();
    for now in [1200, 1900, 2500] {
        let out = on(&mut s, Event::Tick, now);
        for _ in 0..sent(&out).len() + 2 {
            let out = on(&mut s, Event::Received(commands, &busy), now);
            killed.extend(sent(&out));
        }
    }
    assert_eq!(killed, ["scr KILL"]);
}

#[test]
fn a_master_that_comes_back_empty_handed_is_waited_for_so_long() {
    let mut s = sentinel(&[MONITOR, "master-reboot-down-after-period m 3000"]);
    let (commands, _) = connected(&mut s);
    let info = |n: u32| Value::Bulk(format!("run_id:{n:040}\r\nrole:master\r\n").into_bytes());
    let loading = Value::Error(b"LOADING Redis is loading the dataset in memory".to_vec());
    let ok = Value::Status(b"OK".to_vec());
    // The name, PING of the dial, INFO of the tick.
    for value in [&ok, &Value::Status(b"PONG".to_vec()), &info(1)] {
        on(&mut s, Event::Received(commands, value), 50);
    }
    let mut log = Vec::new();
    for now in (100..16_000).step_by(100) {
        let out = on(&mut s, Event::Tick, now);
        log.extend(logged(&out));
        for words in sent(&out) {
            let value = match words.split(' ').next() {
                Some("INFO") => info(2),
                Some("PING") => loading.clone(),
                _ => ok.clone(),
            };
            log.extend(logged(&on(&mut s, Event::Received(commands, &value), now)));
        }
    }
    assert_eq!(log[0], "+reboot master m 10.0.0.1 6379");
    assert!(log.contains(&"+sdown master m 10.0.0.1 6379".to_string()), "{log:?}");
}

#[test]
fn a_refused_subscription_ends_its_connection() {
    let mut s = sentinel(&[MONITOR]);
    let (_, messages) = connected(&mut s);
    let no = Value::Error(b"NOAUTH Authentication required.".to_vec());
    let flags = |s: &mut Sentinel| match ask(s, Ask::Master, &["m"]).0 {
        Reply::Map(fields) => fields[9].clone(),
        other => panic!("{other:?}"),
    };
    on(&mut s, Event::Received(messages, &no), 20);
    assert_eq!(flags(&mut s), Reply::text("master"), "the name of the connection was refused");
    let out = on(&mut s, Event::Received(messages, &no), 20);
    assert_eq!(out, [Action::Close(messages)]);
    assert_eq!(flags(&mut s), Reply::text("master,disconnected"));
    let out = on(&mut s, Event::Tick, 500);
    assert!(!out.iter().any(|a| matches!(a, Action::Dial(..))), "not before a ping period");
    let out = on(&mut s, Event::Tick, 1000);
    assert!(out.iter().any(|a| matches!(a, Action::Dial(..))));
}

#[test]
fn a_late_tick_is_tilt() {
    let mut s = sentinel(&[MONITOR, "down-after-milliseconds m 100"]);
    on(&mut s, Event::Tick, 0);
    let log = logged(&on(&mut s, Event::Tick, 5000));
    assert_eq!(log, ["+tilt #tilt mode entered"], "nothing is down in tilt");
    for now in (6000..35_000).step_by(1000) {
        assert!(logged(&on(&mut s, Event::Tick, now)).is_empty());
    }
    let log = logged(&on(&mut s, Event::Tick, 35_000));
    assert_eq!(log, ["-tilt #tilt mode exited", "+sdown master m 10.0.0.1 6379"]);
    let info = String::from_utf8(s.info_section()).expect("ASCII");
    assert!(info.contains("sentinel_tilt:0\r\nsentinel_tilt_since_seconds:-1\r\n"), "{info}");
    let line = "master0:name=m,status=sdown,address=10.0.0.1:6379,slaves=0,sentinels=1\r\n";
    assert!(info.ends_with(line), "{info}");
}

#[test]
fn quorum_and_majority_are_checked() {
    let known = ["b", "c"].map(|id| format!("known-sentinel m 10.0.0.9 {} {id}", id.len()));
    let mut lines = vec![MONITOR];
    lines.push(&known[0]);
    let mut s = sentinel(&lines);
    let (reply, _) = ask(&mut s, Ask::CkQuorum, &["m"]);
    let text = "OK 2 usable Sentinels. Quorum and failover authorization can be reached";
    assert_eq!(reply, Reply::Status(text.into()));
    s.groups[0].sentinels[0].set(flag::S_DOWN);
    assert_eq!(
        refused(&mut s, Ask::CkQuorum, &["m"]),
        "NOQUORUM 1 usable Sentinels. Not enough available Sentinels to reach the specified quorum for \
         this master. Not enough available Sentinels to reach the majority and authorize a failover"
    );
    assert_eq!(refused(&mut s, Ask::Failover, &["m"]), "NOGOODSLAVE No suitable replica to promote");
}

#[test]
fn scripts_are_tried_again() {
    let mut s = sentinel(&[MONITOR, "notification-script m /bin/true"]);
    ask(&mut s, Ask::Set, &["m", "quorum", "1"]);
    let spawned = |out: &[Action]| {
        out.iter().find_map(|a| match a {
            Action::Spawn(job, argv) => Some((*job, argv.clone())),
            _ => None,
        })
    };
    let mut now = 1000;
    // The first is that of the start.
    let (job, argv) = spawned(&on(&mut s, Event::Tick, now)).expect("+monitor");
    assert_eq!(argv[1], b"+monitor");
    for round in 1..=10 {
        on(&mut s, Event::Spawned(job, 7), now);
        assert_eq!(s.core.scripts.running(), 2 - usize::from(round > 1));
        on(&mut s, Event::Spawned(job + 1, 8), now);
        on(&mut s, Event::Ended(8, Ended::Code(0)), now);
        let log = logged(&on(&mut s, Event::Ended(7, Ended::Code(1)), now));
        if round == 10 {
            assert_eq!(log, ["-script-child 7 1 0", "-script-error /bin/true 0 1"]);
            break;
        }
        assert_eq!(log, ["-script-child 7 1 0"]);
        now += (30_000 << (round - 1)) - 1;
        assert_eq!(spawned(&on(&mut s, Event::Tick, now)), None);
        now += 1;
        assert_eq!(spawned(&on(&mut s, Event::Tick, now)).map(|(id, _)| id), Some(job));
    }
    assert_eq!(s.core.scripts.queued(), 0);
}

#[test]
fn a_script_that_hangs_is_killed() {
    let mut s = sentinel(&[MONITOR, "notification-script m /bin/true"]);
    on(&mut s, Event::Tick, 0);
    on(&mut s, Event::Spawned(1, 7), 0);
    let Reply::Array(jobs) = ask(&mut s, Ask::PendingScripts, &[]).0 else { panic!("an array") };
    assert_eq!(jobs.len(), 1);
    let out = on(&mut s, Event::Tick, 60_001);
    assert!(out.contains(&Action::Kill(7)));
    assert!(logged(&out).contains(&"-script-timeout /bin/true 7".to_string()));
    on(&mut s, Event::Ended(7, Ended::Signal(9)), 60_002);
    assert_eq!((s.core.scripts.running(), s.core.scripts.queued()), (0, 1), "again later");
    on(&mut s, Event::Ended(12345, Ended::Code(0)), 60_003);
}

#[test]
fn a_name_is_waited_for() {
    let mut s = sentinel(&["resolve-hostnames yes"]);
    let why = refused(&mut s, Ask::Monitor, &["m", "db.example", "1", "1"]);
    assert_eq!(why, "ERR Invalid IP address or hostname specified");
    assert!(s.is_unknown(b"db.example") && !s.is_unknown(b"10.0.0.1"));
    s.learn(b"db.example", Some("10.0.0.7".into()), 1000);
    assert_eq!(ask(&mut s, Ask::Monitor, &["m", "db.example", "1", "1"]).0, Reply::Ok);
    let address = |s: &mut Sentinel| match ask(s, Ask::GetMasterAddrByName, &["m"]).0 {
        Reply::Array(parts) => parts[0].clone(),
        other => panic!("{other:?}"),
    };
    assert_eq!(address(&mut s), Reply::text("10.0.0.7"));
    ask(&mut s, Ask::Config, &["set", "announce-hostnames", "yes"]);
    assert_eq!(address(&mut s), Reply::text("db.example"));
    // A new address of the name is dialled.
    let out = on(&mut s, Event::Tick, 2500);
    assert!(out.contains(&Action::Resolve(b"db.example".to_vec())), "{out:?}");
    let Some(Action::Dial(conn, ip, 1)) = out.iter().find(|a| matches!(a, Action::Dial(..))) else {
        panic!("{out:?}")
    };
    assert_eq!(ip, "10.0.0.7");
    on(&mut s, Event::Resolved(b"db.example", Some("10.0.0.8".into())), 2600);
    on(&mut s, Event::Closed(*conn), 2600);
    let out = on(&mut s, Event::Tick, 3600);
    assert!(out.iter().any(|a| matches!(a, Action::Dial(_, ip, _) if ip == "10.0.0.8")), "{out:?}");
    // A hello from an unknown name waits for its address.
    let message = b"other.example,26379,b,3,m,db.example,1,0";
    let out = on(&mut s, Event::Hello(message), 3700);
    assert_eq!(out, [Action::Resolve(b"other.example".to_vec())]);
    on(&mut s, Event::Resolved(b"other.example", None), 3800);
    let log = logged(&on(&mut s, Event::Hello(message), 3900));
    assert_eq!(log[0], "Failed to resolve hostname 'other.example'");
    assert!(log.contains(&"+sentinel sentinel b other.example 26379 @ m db.example 1".to_string()));
}

/// Bytes from outside, made of what is expected and what is not.
struct Noise(Rng);

impl Noise {
    fn word(&mut self) -> Vec<u8> {
        let id = [b'b'; 40];
        let words: [&[u8]; 40] = [
            b"",
            b"m",
            b"n",
            b"*",
            b"0",
            b"1",
            b"-1",
            b"6379",
            b"65535",
            b"65536",
            b"4294967296",
            b"9223372036854775807",
            b"18446744073709551615",
            b"99999999999999999999",
            b"10.0.0.1",
            b"10.0.0.2",
            b"::1",
            b"host",
            b"\xff\x00\r\n",
            &id,
            b"quorum",
            b"auth-pass",
            b"down-after-milliseconds",
            b"failover-timeout",
            b"parallel-syncs",
            b"rename-command",
            b"master-reboot-down-after-period",
            b"info-period",
            b"ping-period",
            b"publish-period",
            b"tilt-period",
            b"ask-period",
            b"election-timeout",
            b"script-retry-delay",
            b"set",
            b"get",
            b"resolve-hostnames",
            b"announce-hostnames",
            b"yes",
            b"no",
        ];
        words[self.0.index(words.len())].to_vec()
    }

    fn words(&mut self, most: usize) -> Vec<Vec<u8>> {
        (0..self.0.index(most + 1)).map(|_| self.word()).collect()
    }

    fn hello(&mut self) -> Vec<u8> {
        let parts: Vec<Vec<u8>> = match self.0.below(3) {
            0 => self.words(10),
            _ => {
                let master = [&b"m"[..], b"n"][self.0.index(2)].to_vec();
                let mut parts: Vec<Vec<u8>> = (0..8).map(|_| self.word()).collect();
                parts[4] = master;
                parts
            }
        };
        parts.join(&b',')
    }

    fn info(&mut self) -> Vec<u8> {
        let names = [
            "run_id",
            "role",
            "slave0",
            "slave1",
            "master_host",
            "master_port",
            "master_link_status",
            "master_link_down_since_seconds",
            "slave_priority",
            "slave_repl_offset",
            "replica_announced",
        ];
        let mut text = Vec::new();
        for _ in 0..self.0.index(12) {
            let name = names[self.0.index(names.len())];
            let value = match (name, self.0.below(3)) {
                ("role", 0) => b"master".to_vec(),
                ("role", 1) => b"slave".to_vec(),
                ("slave0" | "slave1", 0 | 1) => cat!["ip=", self.word(), ",port=", self.word(), ",x"],
                _ => self.word(),
            };
            text.extend(cat![name, ":", value, "\r\n"]);
        }
        text
    }

    fn value(&mut self) -> Value {
        match self.0.below(9) {
            0 => Value::Status(b"PONG".to_vec()),
            1 => Value::Error(b"BUSY x".to_vec()),
            2 => Value::Int(self.0.next_u64().cast_signed()),
            3 => Value::Bulk(self.word()),
            4 => Value::Null,
            5 => Value::Bulk(self.info()),
            6 => Value::Array(vec![
                Value::Int(1),
                Value::Bulk(self.word()),
                Value::Int(self.0.next_u64().cast_signed() >> self.0.below(63)),
            ]),
            7 => Value::Array(vec![
                Value::Bulk(b"message".to_vec()),
                Value::Bulk(HELLO.to_vec()),
                Value::Bulk(self.hello()),
            ]),
            _ => Value::Array(vec![]),
        }
    }
}

const ASKS: [Ask; 19] = [
    Ask::CkQuorum,
    Ask::Config,
    Ask::Debug,
    Ask::Failover,
    Ask::FlushConfig,
    Ask::GetMasterAddrByName,
    Ask::InfoCache,
    Ask::IsMasterDownByAddr,
    Ask::Master,
    Ask::Masters,
    Ask::Monitor,
    Ask::MyId,
    Ask::PendingScripts,
    Ask::Remove,
    Ask::Replicas,
    Ask::Reset,
    Ask::Sentinels,
    Ask::Set,
    Ask::SimulateFailure,
];

/// One sentinel among liars; what it has written is read again.
fn survives(seed: u64) {
    let mut noise = Noise(Rng::seeded(seed));
    let mut s = sentinel(&[MONITOR, "known-replica m 10.0.0.2 6379"]);
    let (mut now, mut conns) = (1000, Vec::new());
    for _ in 0..600 {
        now += noise.0.below(3000).cast_signed();
        let mut out = Vec::new();
        match noise.0.below(8) {
            0..3 => s.on(Event::Tick, env(now), &mut out),
            3 | 4 if !conns.is_empty() => {
                let (conn, value) = (conns[noise.0.index(conns.len())], noise.value());
                s.on(Event::Opened(conn, "10.0.0.9".into()), env(now), &mut out);
                s.on(Event::Received(conn, &value), env(now), &mut out);
            }
            5 => {
                let message = noise.hello();
                s.on(Event::Hello(&message), env(now), &mut out);
            }
            6 => {
                let words = noise.words(7);
                let args: Vec<&[u8]> = words.iter().map(|w| &w[..]).collect();
                let what = ASKS[noise.0.index(ASKS.len())];
                let reply = s.ask(what, &args, env(now), &mut out);
                s.settled(reply);
            }
            _ => {
                let (host, known) = (noise.word(), noise.0.below(2) == 0);
                let ip = known.then(|| "10.0.0.7".to_string());
                s.on(Event::Resolved(&host, ip), env(now), &mut out);
            }
        }
        for action in &out {
            if let Action::Dial(conn, ..) = action {
                conns.push(*conn);
            }
        }
        if out.contains(&Action::Save) {
            let kept = noise.0.below(10) > 0;
            s.on(Event::Saved(kept), env(now), &mut Vec::new());
        }
    }
    s.role();
    s.info_section();
    let mut lines: Vec<Vec<Vec<u8>>> = s
        .lines()
        .into_iter()
        .filter_map(|line| match line {
            ConfLine::Line(_, text) => Some(text),
            _ => None,
        })
        .map(|text| crate::algo::quote::split_args(&text).expect("what is written can be read"))
        .collect();
    lines.sort_by_key(|words| phase(&words[1]));
    let mut again = Sentinel::new(Rng::seeded(1), env(now));
    for words in &lines {
        let words: Vec<&[u8]> = words[1..].iter().map(|w| &w[..]).collect();
        again.read_line(&words).unwrap_or_else(|why| panic!("{words:?}: {why}"));
    }
}

#[test]
fn whatever_is_said_is_survived() {
    for seed in 0..300 {
        if let Err(why) = std::panic::catch_unwind(|| survives(seed)) {
            eprintln!("seed {seed} failed");
            std::panic::resume_unwind(why);
        }
    }
}
