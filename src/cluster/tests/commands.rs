//! The subcommands of CLUSTER: their refusals, word by word, and their answers.

use super::super::commands::slot_of;
use super::super::view::{Endpoint, ShardNode, SlotNode};
use super::*;

fn refusal<T>(
    b: &mut Bench,
    f: impl FnOnce(&mut Cluster, &Env<'_>, &mut Vec<Action>) -> Result<T, CmdError>,
) -> String {
    let text = text_of(b.run(f));
    text.strip_prefix("ERR ").map(str::to_string).unwrap_or(text)
}

fn slots(b: &mut Bench, args: &[&str], ranges: bool, del: bool) -> String {
    let args: Vec<&[u8]> = args.iter().map(|a| a.as_bytes()).collect();
    refusal(b, |n, env, out| match del {
        true => n.del_slots(&args, ranges, env, out),
        false => n.add_slots(&args, ranges, env, out),
    })
}

#[test]
fn slots_are_checked_before_any_is_taken() {
    let mut b = Bench::new();
    assert_eq!(slots(&mut b, &["1", "2", "x"], false, false), "Invalid or out of range slot");
    assert_eq!(slots(&mut b, &["1", "16384"], false, false), "Invalid or out of range slot");
    assert_eq!(slots(&mut b, &["1", "-1"], false, false), "Invalid or out of range slot");
    assert_eq!(slots(&mut b, &["1", "2", "1"], false, false), "Slot 1 specified multiple times");
    assert_eq!(slots(&mut b, &["1", "5", "5", "9"], true, false), "Slot 5 specified multiple times");
    let greater = "start slot number 9 is greater than end slot number 8";
    assert_eq!(slots(&mut b, &["1", "5", "9", "8"], true, false), greater);
    let arity = "wrong number of arguments for 'cluster|addslotsrange' command";
    assert_eq!(slots(&mut b, &["1", "5", "9"], true, false), arity);
    let arity = "wrong number of arguments for 'cluster|delslotsrange' command";
    assert_eq!(slots(&mut b, &["1", "5", "9"], true, true), arity);
    assert_eq!(b.node.nodes.myself().slots.count(), 0);
    assert_eq!(slots(&mut b, &["10", "20", "30", "30"], true, false), "");
    assert_eq!(slots(&mut b, &["9", "15"], false, false), "Slot 15 is already busy");
    assert_eq!(slots(&mut b, &["15", "29"], false, true), "Slot 29 is already unassigned");
    assert_eq!(slots(&mut b, &["15", "20"], true, true), "");
    assert_eq!(b.node.nodes.myself().slots.ranges(), [(10, 14), (30, 30)]);
    b.filled[0] = 1;
    let flush = |b: &mut Bench| refusal(b, |n, env, out| n.flush_slots(env, out));
    assert_eq!(flush(&mut b), "DB must be empty to perform CLUSTER FLUSHSLOTS.");
    b.filled[0] = 0;
    assert_eq!(flush(&mut b), "");
    assert_eq!(b.node.nodes.myself().slots.count(), 0);
    assert_eq!(slot_of(b"16383").ok(), Some(16383));
}

fn set_slot(b: &mut Bench, slot: &str, action: &str, node: Option<&str>) -> String {
    let node = node.map(str::as_bytes);
    refusal(b, |n, env, out| n.set_slot(slot.as_bytes(), action.as_bytes(), node, env, out))
}

#[test]
fn setslot_opens_closes_and_gives() {
    let (mut b, x, _) = three();
    let xs = "x".repeat(40);
    let other = "q".repeat(40);
    let mut r = Peer { flags: Flags::REPLICA, master: Some(x.name), ..Peer::new('r') };
    b.meets(&mut r);
    b.pinged(&mut r);
    let rs = "r".repeat(40);
    for (slot, action, node, text) in [
        ("x", "node", Some(&xs), "Invalid or out of range slot"),
        ("6000", "migrating", Some(&xs), "I'm not the owner of hash slot 6000"),
        ("60", "importing", Some(&xs), "I'm already the owner of hash slot 60"),
        ("60", "migrating", Some(&other), &format!("I don't know about node {other}")),
        ("6000", "importing", Some(&other), &format!("I don't know about node {other}")),
        ("60", "NODE", Some(&other), &format!("Unknown node {other}")),
        ("60", "migrating", Some(&rs), "Target node is not a master"),
        ("6000", "importing", Some(&rs), "Target node is not a master"),
        ("60", "node", Some(&rs), "Target node is not a master"),
        ("60", "stable", Some(&xs), WRONG),
        ("60", "migrating", None, WRONG),
        ("60", "open", None, WRONG),
    ] {
        assert_eq!(set_slot(&mut b, slot, action, node.map(|n| n.as_str())), text);
    }
    assert_eq!(set_slot(&mut b, "60", "Migrating", Some(&xs)), "");
    assert!(!b.node.serves(60) && b.node.migrating(60).is_some());
    assert!(!b.out.iter().any(|a| matches!(a, Action::Lost(_))), "its clients go on waiting");
    assert_eq!(set_slot(&mut b, "60", "stable", None), "");
    assert!(b.node.serves(60) && b.node.migrating(60).is_none());
    set_slot(&mut b, "60", "migrating", Some(&xs));
    b.filled[0] = 1 << 60;
    let held =
        "Can't assign hashslot 60 to a different node while I still hold keys for this hash slot.";
    assert_eq!(set_slot(&mut b, "60", "node", Some(&xs)), held);
    b.filled[0] = 0;
    assert_eq!(set_slot(&mut b, "60", "node", Some(&xs)), "");
    assert!(b.node.migrating(60).is_none() && b.node.owner(60) == b.node.nodes.find(&x.name));
    // Imported: with a new epoch, and told to all when it is on disk.
    set_slot(&mut b, "6000", "importing", Some(&xs));
    b.out.clear();
    let me = b.node.my_name().to_string();
    assert_eq!(set_slot(&mut b, "6000", "node", Some(&me)), "");
    assert!(b.logged("New configEpoch set to 4"));
    assert!(b.logged("configEpoch updated after importing slot 6000"));
    assert!(b.node.importing(6000).is_none() && b.kinds().is_empty());
    b.settle();
    assert_eq!(b.kinds(), [Kind::Pong; 3]);
    assert!(b.node.serves(6000));
}

const WRONG: &str = "Invalid CLUSTER SETSLOT action or number of arguments. Try CLUSTER HELP";

#[test]
fn the_last_slot_given_away_makes_a_replica() {
    let mut b = Bench::new();
    b.add_slots(7, 7);
    let mut x = Peer::owner('x', 2, 5001, 10_000);
    b.meets(&mut x);
    b.pinged(&mut x);
    assert_eq!(set_slot(&mut b, "7", "node", Some(&"x".repeat(40))), "");
    assert!(b.logged("Configuration change detected. Reconfiguring myself as a replica of xxxx"));
    assert!(!b.node.is_master());
    assert_eq!(set_slot(&mut b, "7", "stable", None), "Please use SETSLOT only with masters.");
    assert_eq!(set_slot(&mut b, "x", "stable", None), "Please use SETSLOT only with masters.");
}

#[test]
fn meet_and_forget() {
    let (mut b, mut x, _) = three();
    let meet = |b: &mut Bench, ip: &str, port: &str, bus: Option<&str>| {
        let bus = bus.map(str::as_bytes);
        refusal(b, |n, env, _| n.meet(ip.as_bytes(), port.as_bytes(), bus, env))
    };
    assert_eq!(meet(&mut b, "1.2.3.4", "x", None), "Invalid base port specified: x");
    assert_eq!(meet(&mut b, "1.2.3.4", "1", Some("y")), "Invalid bus port specified: y");
    for (ip, port, bus) in [
        ("host", "1", None),
        ("1.2.3.4", "0", None),
        ("1.2.3.4", "60000", None),
        ("::1", "1", Some("0")),
    ] {
        let text = format!("Invalid node address specified: {ip}:{port}");
        assert_eq!(meet(&mut b, ip, port, bus), text);
    }
    assert_eq!(meet(&mut b, "0:0:0:0:0:0:0:1", "60000", Some("1")), "");
    assert!(b.run(|n, env, _| n.nodes_text(false, env)).contains(" ::1:60000@1 handshake - 0 0 0 "));
    let forget = |b: &mut Bench, id: &str| refusal(b, |n, env, out| n.forget(id.as_bytes(), env, out));
    assert_eq!(forget(&mut b, "x"), "Unknown node x");
    let me = b.node.my_name().to_string();
    assert_eq!(forget(&mut b, &me), "I tried hard but I can't forget myself...");
    assert_eq!(forget(&mut b, &"x".repeat(40)), "");
    assert_eq!(forget(&mut b, &"x".repeat(40)), "", "again");
    assert_eq!(b.node.owner(6000), None);
    b.pinged(&mut x);
    assert!(b.node.nodes.find(&x.name).is_none());
    let (mut b, ..) = replica();
    assert_eq!(forget(&mut b, &"m".repeat(40)), "Can't forget my master!");
}

#[test]
fn epochs_by_command() {
    let mut b = Bench::new();
    let set =
        |b: &mut Bench, n: &str| refusal(b, |c, env, out| c.set_config_epoch(n.as_bytes(), env, out));
    assert_eq!(set(&mut b, "x"), "value is not an integer or out of range");
    assert_eq!(set(&mut b, "-5"), "Invalid config epoch specified: -5");
    assert_eq!(set(&mut b, "7"), "");
    assert!(b.logged("configEpoch set to 7 via CLUSTER SET-CONFIG-EPOCH"));
    assert_eq!(set(&mut b, "8"), "Node config epoch is already non-zero");
    let bump = |b: &mut Bench| b.run(|c, env, out| c.bump_epoch(env, out)).expect("the disk works");
    assert_eq!(bump(&mut b), Bumped::Still(7));
    let mut x = Peer { epoch: 9, current: 9, ..Peer::new('x') };
    b.meets(&mut x);
    b.pinged(&mut x);
    let known = "The user can assign a config epoch only when the node does not know any other node.";
    assert_eq!(set(&mut b, "8"), known);
    assert_eq!(bump(&mut b), Bumped::Bumped(10));
    assert!(b.logged("New configEpoch set to 10"));
    // Until it is on disk, headers say what was.
    b.out.clear();
    let said = |b: &mut Bench, x: &mut Peer| {
        b.pinged(x);
        let Some(Action::Send { block, .. }) = b.out.last() else { panic!("a PONG") };
        decode(block).header.config_epoch
    };
    assert_eq!(said(&mut b, &mut x), 7);
    b.settle();
    assert_eq!(said(&mut b, &mut x), 10);
    assert_eq!(bump(&mut b), Bumped::Still(10));
}

#[test]
fn a_disk_that_is_full_refuses_claims_and_is_tried_again() {
    let (mut b, mut x, _) = three();
    let generation_of = |b: &Bench| b.out.iter().rev().find_map(generation);
    b.run(|c, env, out| c.bump_epoch(env, out)).expect("nothing has failed yet");
    b.on(Event::Settle);
    let first = generation_of(&b).expect("a save");
    b.on(Event::Saved { generation: first, result: Err("No space left on device".into()) });
    assert!(b.logged("Can't update the cluster config file: No space left on device."));
    let text = refusal(&mut b, |c, env, out| c.bump_epoch(env, out));
    assert_eq!(text, "the cluster config file cannot be saved, so no epoch can be claimed");
    b.on(Event::Settle);
    assert_eq!(generation_of(&b), Some(first), "not at once");
    b.pinged(&mut x);
    let Some(Action::Send { block, .. }) = b.out.last() else { panic!("a PONG") };
    assert_eq!(decode(block).header.config_epoch, 1, "it goes on, and tells of nothing new");
    b.now.mono += 1000;
    b.on(Event::Tick);
    let second = generation_of(&b).expect("again");
    assert!(second > first);
    b.out.clear();
    b.on(Event::Saved { generation: second, result: Ok(()) });
    assert!(b.logged("The cluster config file can be saved again."));
    b.pinged(&mut x);
    let Some(Action::Send { block, .. }) = b.out.last() else { panic!("a PONG") };
    assert_eq!(decode(block).header.config_epoch, 4);
}

#[test]
fn a_save_that_fails_may_end_the_process() {
    let mut b = Bench::with(Settings { exit_on_failed_save: true, ..settings() });
    b.run(|c, env, out| c.bump_epoch(env, out)).expect("nothing has failed yet");
    b.on(Event::Settle);
    let generation = b.out.iter().find_map(generation).expect("a save");
    b.on(Event::Saved { generation, result: Err("no".into()) });
    let text = "Fatal: can't update cluster config file.";
    assert!(b.out.iter().any(|a| matches!(a, Action::Fatal(t) if t == text)));
    let me = b.node.my_name().to_string();
    assert!(b.node.knows(me.as_bytes()) && !b.node.knows(b"x"));
}

#[test]
fn replicate_and_failover_refuse() {
    let (mut b, x, _) = three();
    let replicate =
        |b: &mut Bench, id: &str| refusal(b, |c, env, out| c.replicate(id.as_bytes(), env, out));
    let failover = |b: &mut Bench, kind| refusal(b, |c, env, out| c.failover(kind, env, out));
    assert_eq!(replicate(&mut b, "q"), "Unknown node q");
    let me = b.node.my_name().to_string();
    assert_eq!(replicate(&mut b, &me), "Can't replicate myself");
    let full = "To set a master the node must be empty and without assigned slots.";
    assert_eq!(replicate(&mut b, &"x".repeat(40)), full);
    let mut r = Peer { flags: Flags::REPLICA, master: Some(x.name), ..Peer::new('r') };
    b.meets(&mut r);
    b.pinged(&mut r);
    let text = "I can only replicate a master, not a replica.";
    assert_eq!(replicate(&mut b, &"r".repeat(40)), text);
    let text = "You should send CLUSTER FAILOVER to a replica";
    assert_eq!(failover(&mut b, FailoverKind::Default), text);
    let lines = |b: &mut Bench, id: &str| b.run(|c, env, _| c.replica_lines(id.as_bytes(), false, env));
    assert_eq!(lines(&mut b, &"x".repeat(40)).expect("a master").len(), 1);
    assert_eq!(text_of(lines(&mut b, &"r".repeat(40))), "ERR The specified node is not a master");
    assert_eq!(text_of(lines(&mut b, "q")), "ERR Unknown node q");
    let count = b.run(|c, env, _| c.count_failure_reports(b"q", env));
    assert_eq!(text_of(count), "ERR Unknown node q");

    let (mut b, mut m, mut v, _) = replica();
    b.run(|c, env, out| c.del_slots(&[b"0"], false, env, out)).expect("it is its master's");
    let text = "Please use ADDSLOTS and ADDSLOTSRANGE only with masters.";
    assert_eq!(slots(&mut b, &["0"], false, false), text);
    b.pinged(&mut m);
    b.hears(&mut v, &Body::Fail(&m.name));
    let text = "Master is down or failed, please use CLUSTER FAILOVER FORCE";
    assert_eq!(failover(&mut b, FailoverKind::Default), text);
    assert_eq!(failover(&mut b, FailoverKind::Force), "");
    assert!(b.logged("Forced failover user request accepted."));
    b.out.clear();
    assert_eq!(failover(&mut b, FailoverKind::Takeover), "");
    assert!(b.logged("Taking over the master (user request)."));
    assert!(b.node.is_master() && b.node.nodes.myself().slots.ranges() == [(0, 8000)]);
    assert!(!b.kinds().contains(&Kind::Pong), "not on disk yet");
    b.settle();
    assert_eq!(b.kinds(), [Kind::Pong; 3]);
}

#[test]
fn reset_leaves_an_empty_node() {
    let (mut b, ..) = three();
    let reset = |b: &mut Bench, hard| refusal(b, |c, env, out| c.reset(hard, env, out));
    b.filled[3] = 1;
    assert_eq!(reset(&mut b, true), "CLUSTER RESET can't be called with master nodes containing keys");
    b.filled[3] = 0;
    let (id, epoch) = (b.node.my_name().to_string(), b.node.nodes.myself().config_epoch);
    assert_eq!(reset(&mut b, false), "");
    assert_eq!((b.node.my_name(), b.node.nodes.myself().config_epoch), (&id[..], epoch));
    assert_eq!((b.node.nodes.len(), b.node.link_count()), (1, 0));
    let closed = b.out.iter().filter(|a| matches!(a, Action::Close { .. })).count();
    assert_eq!(closed, 4);
    assert_eq!(reset(&mut b, true), "");
    assert_ne!(b.node.my_name(), id);
    assert!(b.logged("configEpoch set to 0 via CLUSTER RESET HARD"));
    assert!(b.logged(&format!("Node hard reset, now I'm {}", b.node.my_name())));
    let set = refusal(&mut b, |c, env, out| c.set_config_epoch(b"3", env, out));
    assert_eq!(set, "", "as the first act of each check of upstream's");
    b.settle();
    assert!(!b.node.is_ok());
    let (mut b, ..) = replica();
    b.filled[3] = 1;
    assert_eq!(reset(&mut b, false), "");
    assert!(b.node.is_master());
    let last: Vec<&Action> = b.out.iter().collect();
    assert!(last.iter().any(|a| matches!(a, Action::FlushAll)));
    assert!(last.iter().any(|a| matches!(a, Action::BecomeMaster)));
}

// ---- answers -------------------------------------------------------------------------------------

#[test]
fn slots_and_shards_show_what_clients_need() {
    let (mut b, m, _, mut s) = replica();
    b.told(&mut s, &[Ext::Hostname("s.host"), Ext::Shard(&name('m'))]);
    s.offset = 0;
    let view = |b: &mut Bench| b.run(|c, env, _| c.slots_view(false, env));
    let runs = view(&mut b);
    let ends: Vec<_> = runs.iter().map(|r| (r.start, r.end, r.nodes.len())).collect();
    assert_eq!(ends, [(0, 8000, 3), (8001, SLOTS - 1, 1)]);
    let ids: Vec<&str> = runs[0].nodes.iter().map(|n| &n.id[..1]).collect();
    assert_eq!(ids, ["m", &b.node.my_name()[..1], "s"]);
    let wanted = SlotNode {
        endpoint: Endpoint::Known("10.0.0.9".into()),
        port: s.port,
        id: "s".repeat(40),
        metadata: vec![("hostname", "s.host".into())],
    };
    assert_eq!(runs[0].nodes[2], wanted);
    // One that has not loaded yet is hidden.
    b.told(&mut s, &[Ext::Hostname("s.host"), Ext::Shard(&name('m'))]);
    b.offset = 0;
    assert_eq!(view(&mut b)[0].nodes.len(), 1);
    let shards = b.run(|c, env, _| c.shards_view(env));
    let shard = shards.iter().find(|s| s.nodes.len() == 3).expect("the own shard");
    assert_eq!(shard.slots, [(0, 8000)]);
    let wanted = ShardNode {
        id: "m".repeat(40),
        port: m.port,
        tls_port: 0,
        ip: "10.0.0.9".into(),
        endpoint: "10.0.0.9".into(),
        hostname: String::new(),
        role: "master",
        offset: 1,
        health: "online",
    };
    assert_eq!(shard.nodes[0], wanted);
    let health: Vec<_> = shard.nodes.iter().map(|n| (n.role, n.health)).collect();
    assert_eq!(health, [("master", "online"), ("replica", "loading"), ("replica", "loading")]);

    for (endpoint, want, redirect) in [
        (EndpointType::Hostname, Endpoint::Known("?".into()), "?"),
        (EndpointType::Unknown, Endpoint::Unknown, ""),
    ] {
        b.on(Event::Directives(Box::new(Settings { endpoint, ..settings() })));
        let node = view(&mut b)[0].nodes[0].clone();
        assert_eq!((node.endpoint, node.metadata), (want, vec![("ip", "10.0.0.9".into())]));
        let owner = b.node.owner(1).expect("it has one");
        assert_eq!(b.node.address(owner, false), (redirect.to_string(), m.port));
        assert_eq!(b.node.address(owner, true).1, 0);
    }
}

#[test]
fn what_is_announced_shows_at_once() {
    let mut b = Bench::new();
    let set = Settings {
        announce_ip: Some("9.9.9.9".into()),
        announce_port: 1,
        announce_tls_port: 2,
        announce_bus_port: 3,
        announce_hostname: Some("h".into()),
        replica_no_failover: true,
        ..settings()
    };
    b.on(Event::Directives(Box::new(set.clone())));
    let me = b.node.my_name().to_string();
    let line = |tls, b: &mut Bench| b.run(|c, env, _| c.nodes_text(tls, env));
    let rest = "myself,master,nofailover - 0 0 0 connected\n";
    assert_eq!(line(false, &mut b), format!("{me} 9.9.9.9:1@3,h {rest}"));
    assert_eq!(line(true, &mut b), format!("{me} 9.9.9.9:2@3,h {rest}"));
    let tls = Settings { tls_cluster: true, port: 5, tls_port: 6, ..settings() };
    b.on(Event::Directives(Box::new(tls)));
    assert!(line(false, &mut b).starts_with(&format!("{me} :5@10006 myself,master - ")));
    b.out.clear();
    let name = Settings { announce_ip: Some("a.name".into()), ..set };
    b.on(Event::Directives(Box::new(name)));
    assert!(b.logged("cluster-announce-ip a.name is not an address"));
}

#[test]
fn the_greatest_directives_and_epochs_are_reckoned_with() {
    let (mut b, m, mut v, _) = replica();
    b.on(Event::Directives(Box::new(Settings {
        node_timeout: u64::MAX,
        ping_interval: u64::MAX,
        validity_factor: u64::MAX,
        repl_ping_period: u64::MAX,
        migration_barrier: u64::MAX,
        max_bulk: u64::MAX,
        ..settings()
    })));
    b.node.current_epoch = u64::MAX - 1;
    b.age = Some(u64::MAX);
    b.hears(&mut v, &Body::Fail(&m.name));
    b.pass(2000);
    assert!(b.logged("Starting a failover election for epoch 18446744073709551615."));
    b.run(|c, env, out| c.bump_epoch(env, out)).expect("there is none left, but no panic");
    b.pinged(&mut v);
}

#[test]
fn info_and_links_count() {
    let (mut b, x, y) = three();
    let text = b.node.info_text();
    let start = "cluster_state:ok\r\ncluster_slots_assigned:16384\r\ncluster_slots_ok:16384\r\n\
                 cluster_slots_pfail:0\r\ncluster_slots_fail:0\r\ncluster_known_nodes:3\r\n\
                 cluster_size:3\r\ncluster_current_epoch:3\r\ncluster_my_epoch:1\r\n\
                 cluster_stats_messages_ping_sent:";
    assert!(text.starts_with(start), "{text}");
    assert!(text.contains("\r\ncluster_stats_messages_meet_received:2\r\n"));
    assert!(!text.contains("fail_sent") && text.contains("\r\ncluster_stats_messages_sent:"));
    let links = b.run(|c, _, _| c.links_view());
    let mut shown: Vec<_> = links.iter().map(|l| (&l.node[..1], l.direction)).collect();
    shown.sort();
    assert_eq!(shown, [("x", "from"), ("x", "to"), ("y", "from"), ("y", "to")]);
    let to_x = links.iter().find(|l| Some(l.link) == x.link).expect("it is shown");
    assert!(to_x.create_time <= b.now.wall && to_x.create_time > b.now.wall - 10_000);
    assert_eq!(b.node.link_count(), 4);
    assert!(y.link.is_some());
}

#[test]
fn keys_without_a_slot_are_taken_and_those_of_others_imported() {
    let (mut b, x, _) = three();
    slots(&mut b, &["9"], false, true);
    b.filled[0] = 1 << 9 | 1 << 1;
    b.filled[usize::from(6000u16 >> 6)] = 1 << (6000 & 63);
    b.on(Event::Loaded);
    assert!(b.logged("I have keys for unassigned slot 9. Taking responsibility for it."));
    let text = "I have keys for slot 6000, but the slot is assigned to another node. Setting it to importing \
                state.";
    assert!(b.logged(text));
    assert_eq!(b.node.importing(6000), b.node.nodes.find(&x.name));
    assert_eq!(b.node.owner(9), Some(b.node.me()));
}
