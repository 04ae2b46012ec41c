//! End to end: pairs of servers under a load of all kinds of writes, with cuts at random moments, promotions
//! of either side, FAILOVER and MIGRATE. With REDIS_SERVER one of the two is a real redis-server 7.2, in both
//! directions; without it, both are ours.

mod common;

use common::Value::Int;
use common::load::{Load, random_command};
use common::{Conn, Server, Value, same, up, wait_until};
use oxidis::algo::rng::Rng;

const OPEN: [&str; 4] = ["--enable-debug-command", "yes", "--repl-ping-replica-period", "3600"];

fn follow(c: &mut Conn, srv: &Server) {
    c.run(&format!("REPLICAOF 127.0.0.1 {}", srv.port));
}

/// Equal data at an equal offset of one history, and no reply that was an error went either way.
#[track_caller]
fn agree(a: &mut Conn, b: &mut Conn) {
    same(a, b);
    assert_eq!([a.figure("unexpected_error_replies"), b.figure("unexpected_error_replies")], [0, 0]);
}

/// Nothing is left that expires soon: a master that is left alone would go on by itself.
fn expire(c: &mut Conn) {
    c.run("SET soon v PX 150");
    wait_until("the time to pass", || c.run("EXISTS soon") == Int(0));
    for db in 0..4 {
        c.run(&format!("SELECT {db}"));
        for k in 0..40 {
            c.run(&format!("EXISTS t{k} s{k}"));
        }
    }
}

/// Master and replica through all of it; at the end they have the roles of the beginning.
fn pair(master: &Server, replica: &Server, seed: u64) {
    let (mut m, mut r) = (master.connect(), replica.connect());
    let mut rng = Rng::seeded(seed);
    let load = Load::on(master, seed);
    load.wait_for(30);
    m.run("DEBUG POPULATE 300 key 200");
    // Slow, so that cuts fall into the sync.
    m.run("CONFIG SET rdb-key-save-delay 500");
    follow(&mut r, master);
    for round in 0..6 {
        load.wait_for(rng.below(60) as usize);
        match round % 2 {
            0 => m.run("CLIENT KILL TYPE replica"),
            _ => r.run("CLIENT KILL TYPE master"),
        };
    }
    m.run("CONFIG SET rdb-key-save-delay 0");
    up(&mut r);
    for _ in 0..4 {
        load.wait_for(rng.below(30) as usize);
        r.run("CLIENT KILL TYPE master");
    }
    load.end();
    up(&mut r);
    expire(&mut m);
    agree(&mut m, &mut r);
    let full = m.figure("sync_full") + r.figure("sync_full");
    // The replica is promoted, and the master follows it.
    r.run("REPLICAOF NO ONE");
    let load = Load::on(replica, seed + 10);
    load.wait_for(10);
    follow(&mut m, replica);
    load.wait_for(10);
    up(&mut m);
    // The place goes back under load.
    load.wait_for(10);
    let order = format!("FAILOVER TO 127.0.0.1 {} TIMEOUT 30000", master.port);
    assert_eq!(r.run(&order), Value::ok());
    wait_until("the handover", || r.fact("master_failover_state") == "no-failover");
    assert_eq!((r.fact("role"), m.fact("role")), ("slave".into(), "master".into()));
    load.end();
    let load = Load::on(master, seed + 20);
    load.wait_for(10);
    up(&mut r);
    load.wait_for(10);
    load.end();
    agree(&mut m, &mut r);
    assert_eq!(m.figure("sync_full") + r.figure("sync_full"), full, "a change of roles costs none");
    assert!(m.run("DBSIZE").int() > 300);
    r.run("REPLICAOF NO ONE");
}

/// How the master sends, and how the replica loads.
const WAYS: [(&str, &str); 4] =
    [("no", "disabled"), ("yes", "disabled"), ("yes", "on-empty-db"), ("yes", "swapdb")];

fn options<'a>(sends: &'a str, loads: &'a str) -> Vec<&'a str> {
    [&OPEN[..], &["--repl-diskless-sync", sends, "--repl-diskless-load", loads]].concat()
}

#[test]
fn ours_with_ours() {
    for (n, (sends, loads)) in [WAYS[0], WAYS[3]].into_iter().enumerate() {
        let o = options(sends, loads);
        pair(&Server::with(&o), &Server::with(&o), 100 + n as u64);
    }
    let two = [&OPEN[..], &["--dual-channel-replication-enabled", "yes"]].concat();
    pair(&Server::with(&two), &Server::with(&two), 110);
}

#[test]
fn ours_is_the_master_of_a_real_one() {
    for (n, (sends, loads)) in WAYS.into_iter().enumerate() {
        let o = options(sends, loads);
        let Some(real) = Server::real(&o) else { return };
        pair(&Server::with(&o), &real, 200 + n as u64);
    }
}

#[test]
fn ours_is_the_replica_of_a_real_one() {
    for (n, (sends, loads)) in WAYS.into_iter().enumerate() {
        let o = options(sends, loads);
        let Some(real) = Server::real(&o) else { return };
        pair(&real, &Server::with(&o), 300 + n as u64);
    }
}

/// All keys go from one server to the other, some at a time, and the data are the same there.
fn migrate(from: &Server, to: &Server, rng: &mut Rng) {
    let (mut a, mut b) = (from.connect(), to.connect());
    let before = a.run("DEBUG DIGEST");
    let keys: Vec<String> = a.run("KEYS *").items().iter().map(Value::text).collect();
    let mut rest = &keys[..];
    let port = to.port.to_string();
    while !rest.is_empty() {
        let n = (1 + rng.below(20) as usize).min(rest.len());
        let head = ["MIGRATE", "127.0.0.1", &port, "", "0", "10000", "REPLACE", "KEYS"];
        let words: Vec<&str> = head.into_iter().chain(rest[..n].iter().map(String::as_str)).collect();
        assert_eq!(a.cmd(&words), Value::ok());
        rest = &rest[n..];
    }
    assert_eq!((a.run("DBSIZE"), b.run("DBSIZE")), (Int(0), Int(keys.len() as i64)));
    assert_eq!(b.run("DEBUG DIGEST"), before);
}

/// Keys of all kinds that do not expire meanwhile.
fn fill(c: &mut Conn, rng: &mut Rng) {
    for _ in 0..3000 {
        let words = random_command(rng);
        if !words.iter().any(|w| w == "PX" || w == "PEXPIRE") {
            c.cmd(&words);
        }
    }
    c.cmd(&["SET", "big", &"x".repeat(300_000)]);
}

#[test]
fn keys_of_all_kinds_migrate_there_and_back() {
    let mut rng = Rng::seeded(7);
    let ours = Server::with(&OPEN);
    let other = Server::real(&OPEN).unwrap_or_else(|| Server::with(&OPEN));
    fill(&mut ours.connect(), &mut rng);
    migrate(&ours, &other, &mut rng);
    fill(&mut other.connect(), &mut rng);
    migrate(&other, &ours, &mut rng);
}
