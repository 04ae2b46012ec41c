//! nodes.conf: what nodes of 7.2.6 have written, what older ones have, and what is no such file.

use super::super::conf::Corrupt;
use super::*;

/// As written by a replica with a hostname and a nodename, sorted as this node keeps them.
const REPLICA: &str = "\
8c55f1adb3bbe5a8b12962b6f79157cda491987c 127.0.0.1:35003@35503,host-3.example.com,tls-port=0,\
nodename=node3,shard-id=e3133a9f4d2b656697a196eba6e06edd0e882912 myself,slave \
bfcfc499367484d5c3f4043813f3b67f600fd4d2 0 1796063333000 4 connected
8f063ffbc58010baf5c77a1c4a1875aa3150dd99 127.0.0.1:35002@35502,,tls-port=0,\
shard-id=05366827cc96774ded47f444562e5556528ae8f5 master - 0 1796063333058 1 connected 10001-16383
3d14364b7ae4e4637dace341f8bf3a4533c04159 127.0.0.1:35001@35501,,tls-port=0,\
shard-id=e4ed334b39bb3f0d7a703701e4ccf30d1ba52270 master - 0 1796063333058 3 connected 5001-10000
bfcfc499367484d5c3f4043813f3b67f600fd4d2 127.0.0.1:35000@35500,,tls-port=0,\
shard-id=e3133a9f4d2b656697a196eba6e06edd0e882912 master - 0 1796063333463 4 connected 0-5000
vars currentEpoch 5 lastVoteEpoch 2
";

/// As written by a master with an open slot.
const OPEN: &str = "\
3d14364b7ae4e4637dace341f8bf3a4533c04159 127.0.0.1:35001@35501,,tls-port=0,\
shard-id=e4ed334b39bb3f0d7a703701e4ccf30d1ba52270 myself,master - 0 1796063352000 3 connected 5001-10000 \
[5001->-8f063ffbc58010baf5c77a1c4a1875aa3150dd99] [7-<-8f063ffbc58010baf5c77a1c4a1875aa3150dd99]
8f063ffbc58010baf5c77a1c4a1875aa3150dd99 127.0.0.1:35002@35502,,tls-port=0,\
shard-id=05366827cc96774ded47f444562e5556528ae8f5 master,fail? - 0 1796063353068 1 connected 7 16383
vars currentEpoch 5 lastVoteEpoch 5
";

fn set(port: u16) -> Settings {
    Settings { port, cluster_port: port + 500, ..settings() }
}

fn read(file: &str) -> Result<Cluster, Corrupt> {
    read_with(set(35001), file).map(|(cluster, _)| cluster)
}

fn read_with(settings: Settings, file: &str) -> Result<(Cluster, Vec<(Level, String)>), Corrupt> {
    Cluster::read(settings, Rng::seeded(1), file, NOW)
}

const NOW: Now = Now { mono: 500_000, wall: 1_800_000_000_000 };

/// The times and the state of links are not those of the file.
fn timeless(file: &str) -> Vec<String> {
    let line = |line: &str| {
        let mut words: Vec<&str> = line.split(' ').collect();
        if words.len() > 7 {
            (words[4], words[5], words[7]) = ("0", "0", "connected");
        }
        words.join(" ")
    };
    let mut lines: Vec<String> = file.lines().map(line).collect();
    lines.sort();
    lines
}

#[test]
fn real_files_are_read_and_written_again_as_they_were() {
    let replica = Settings {
        announce_hostname: Some("host-3.example.com".into()),
        announce_nodename: Some("node3".into()),
        ..set(35003)
    };
    let (cluster, log) = read_with(replica, REPLICA).expect("a real file");
    assert_eq!(timeless(&cluster.conf_text(NOW)), timeless(REPLICA));
    let text = "Node configuration loaded, I'm 8c55f1adb3bbe5a8b12962b6f79157cda491987c";
    assert_eq!(log, [(Level::Notice, text.to_string())]);
    let cluster = read(OPEN).expect("a real file");
    let again = cluster.conf_text(NOW);
    let wanted = OPEN.replace(" [5001->-", " [7-<-8f063ffbc58010baf5c77a1c4a1875aa3150dd99] [5001->-");
    let wanted = wanted.replacen(" [7-<-8f063ffbc58010baf5c77a1c4a1875aa3150dd99]\n", "\n", 1);
    assert_eq!(timeless(&again), timeless(&wanted));
    let now = NOW.wall;
    assert!(again.contains(&format!(" 0 {now} 3 connected 5001-10000")), "its own line: {again}");
    assert!(again.contains(&format!("master,fail? - 0 {now} 1 disconnected 7 16383\n")));
}

#[test]
fn a_file_that_was_written_comes_back() {
    let (mut b, mut x, _) = three();
    b.told(&mut x, &[Ext::Hostname("x.host"), Ext::Nodename(b"node x"), Ext::Shard(&name('9'))]);
    b.run(|n, env, _| n.meet(b"127.0.0.1", b"9000", None, env)).expect("a handshake");
    let text = b.node.conf_text(b.now);
    assert_eq!(text.lines().count(), 4, "handshakes are left out");
    let line = text.lines().find(|l| l.starts_with("xxxx")).expect("a line");
    let shard = "9".repeat(40);
    // A blank in a name would end the field.
    assert!(line.contains(&format!(",x.host,tls-port=0,shard-id={shard} master - 0 ")), "{line}");
    let (back, _) = read_with(settings(), &text).expect("it is its own");
    assert_eq!(timeless(&back.conf_text(b.now)), timeless(&text));
}

#[test]
fn both_ports_are_kept_whichever_is_in_front() {
    let line = |fields: &str| {
        format!("{} 1.2.3.4:1000@3000{fields} myself,master - 0 0 0 connected\n", "a".repeat(40))
            + &format!("{} 1.2.3.4:1000@3000{fields} master - 0 0 0 connected\n", "b".repeat(40))
            + "vars currentEpoch 0 lastVoteEpoch 0\n"
    };
    for (fields, tls, ports) in [
        ("", false, (1000, 0)),
        ("", true, (0, 1000)),
        (",", false, (1000, 0)),
        (",,tls-port=2000", false, (1000, 2000)),
        (",,tcp-port=2000", true, (2000, 1000)),
        (",,tcp-port=2000", false, (2000, 1000)),
        (",,tls-port=2000", true, (1000, 2000)),
        (",h.x,tls-port=0", false, (1000, 0)),
    ] {
        let settings = Settings { tls_cluster: tls, ..settings() };
        let (cluster, _) = read_with(settings, &line(fields)).expect("fine");
        let id = cluster.nodes.find(&name('b')).expect("it is there");
        let node = cluster.nodes.get(id).expect("it is there");
        assert_eq!((node.port, node.tls_port), ports, "{fields} {tls}");
    }
}

#[test]
fn older_files_are_read() {
    // No port of the bus, no fields; the master's line stands behind that of its replica.
    let old = "\
c8baeee04a44abc2ea5d1b2bdbbbbe3bcd0d0c81 127.0.0.1:6380 slave 9aa5d06f0b2cd4f5ffbbbbbc49f6ef2c3ef3c3d5 0 1 2 \
connected
9aa5d06f0b2cd4f5ffbbbbbc49f6ef2c3ef3c3d5 127.0.0.1:6379 myself,master - 0 0 2 connected 0-9 11

a000000000000000000000000000000000000000 :0 master,noaddr,fail - 1 1 0 disconnected 20
vars currentEpoch 2 lastVoteEpoch 0 somethingNew 5
";
    let (cluster, log) = read_with(settings(), old).expect("of 3.0");
    let replica = cluster.nodes.find(b"c8baeee04a44abc2ea5d1b2bdbbbbe3bcd0d0c81").expect("there");
    let replica = cluster.nodes.get(replica).expect("there");
    assert_eq!((replica.port, replica.bus_port), (6380, 16_380));
    assert_eq!(replica.shard, cluster.nodes.myself().shard, "its master's");
    assert_eq!(replica.master, Some(cluster.me()));
    assert_eq!(cluster.nodes.myself().slots.ranges(), [(0, 9), (11, 11)]);
    assert!(log.iter().any(|(_, t)| t == "Skipping unknown cluster config variable 'somethingNew'"));
    assert!(!log.iter().any(|(level, _)| *level == Level::Warning));
    let lost = cluster.nodes.find(b"a000000000000000000000000000000000000000").expect("there");
    assert!(cluster.nodes.get(lost).is_some_and(|n| n.is_failed() && n.ping_sent.is_some()));
    let hostname = old.replace("127.0.0.1:6380 ", "127.0.0.1:6380@5000,a-host ");
    let (cluster, _) = read_with(settings(), &hostname).expect("of 7.0");
    assert!(cluster.conf_text(NOW).contains(" 127.0.0.1:6380@5000,a-host,tls-port=0,shard-id="));
    // An epoch that was edited away comes back from the nodes.
    let (cluster, _) =
        read_with(settings(), &old.replace("currentEpoch 2", "currentEpoch 1")).expect("fine");
    assert_eq!(cluster.current_epoch, 2);
}

#[test]
fn a_replica_with_a_shard_of_its_own_takes_its_masters() {
    let differs = REPLICA.replacen("e3133a9f4d2b656697a196eba6e06edd0e882912", &"d".repeat(40), 1);
    let (cluster, log) = read_with(set(35003), &differs).expect("upstream refuses it");
    assert_eq!(cluster.my_shard(), "e3133a9f4d2b656697a196eba6e06edd0e882912");
    assert_eq!(log.iter().filter(|(level, _)| *level == Level::Warning).count(), 1);
}

#[test]
fn a_file_that_is_torn_or_strange_is_refused_with_its_line() {
    let own = |text: &str| OPEN.replacen("myself,master - 0 1796063352000 3 connected", text, 1);
    let cut = &OPEN[..OPEN.find(" myself").expect("it is there")];
    let bad = [
        (cut.to_string(), "cut in the first line"),
        (OPEN.replace("myself,", ""), "no node is this one"),
        (OPEN.replace("master,fail?", "myself,master"), "two are"),
        (OPEN.replace(" master,fail?", " master,sleepy"), "a flag"),
        (OPEN.replace("5001-10000", "5001-16384"), "a slot"),
        (OPEN.replace("5001-10000", "x"), "no slot"),
        (OPEN.replace("[5001->-", "[5001-=-"), "a way"),
        (OPEN.replace("[5001->-8", "[5001->-*"), "an id of an open slot"),
        (OPEN.replace("[5001->-", "[5001"), "no way"),
        (OPEN.replace("\n3d14", "\n3D14").replacen("3d14", "3D14", 1), "an id"),
        (OPEN.replace("127.0.0.1:35002@35502", "127.0.0.1"), "an address"),
        (OPEN.replace("127.0.0.1:35002@35502", "nowhere:1@2"), "an address"),
        (OPEN.replace("35002@35502", "35002@99999"), "a port"),
        (OPEN.replacen(",tls-port=0", ",tls-port", 1), "a field"),
        (OPEN.replacen(",tls-port=0", ",speed=9", 1), "an unknown field"),
        (OPEN.replacen(",tls-port=0", ",nodename=a;b", 1), "a value"),
        (OPEN.replace("lastVoteEpoch 5", "lastVoteEpoch"), "half a pair"),
        (OPEN.replace("lastVoteEpoch 5", "lastVoteEpoch five"), "a number"),
        (OPEN.replace("vars currentEpoch 5 lastVoteEpoch 5\n", ""), "no epochs, by which to vote"),
        (OPEN.replace(" lastVoteEpoch 5", ""), "no vote"),
        (own("myself,master - x 0 3 connected"), "a time"),
        (own("myself,master - 0 0 -3 connected"), "an epoch"),
        (own("myself,master"), "too few words"),
        (OPEN.replace("master,fail?", "\"master"), "a quote"),
        (String::new(), "nothing: the caller makes a new node"),
    ];
    for (file, what) in bad {
        let Err(Corrupt(line)) = read(&file) else { panic!("{what} is read") };
        assert!(file.is_empty() || file.contains(&line), "{what}: {line}");
    }
}

#[test]
fn what_is_torn_anywhere_never_panics_and_never_forgets_a_vote_unseen() {
    let mut rng = Rng::seeded(3);
    for _ in 0..5000 {
        let mut bytes = [REPLICA, OPEN][rng.index(2)].as_bytes().to_vec();
        for _ in 0..1 + rng.index(3) {
            let at = rng.index(bytes.len());
            match rng.index(3) {
                0 => bytes[at] = b" \n,:@-[]0aZ"[rng.index(11)],
                1 => bytes.truncate(at + 1),
                _ => _ = bytes.remove(at),
            }
            if bytes.is_empty() {
                break;
            }
        }
        let Ok(text) = String::from_utf8(bytes) else { continue };
        if let Ok(cluster) = read(&text) {
            let again = cluster.conf_text(NOW);
            let back = read(&again).expect("what was written is read");
            assert_eq!(timeless(&back.conf_text(NOW)), timeless(&again));
        }
    }
}
