//! End to end: nodes of a cluster, as clients see them.

mod common;

use common::{Conn, Server, Value, free_port, wait_until};

/// A node; its bus has a port of its own, since that of the client plus 10,000 may not exist.
fn node() -> Server {
    node_with(&[])
}

fn node_with(more: &[&str]) -> Server {
    let bus = free_port().to_string();
    let usual = ["--cluster-enabled", "yes", "--cluster-node-timeout", "2000", "--cluster-port", &bus];
    Server::with(&[&usual[..], more].concat())
}

fn bus_port(srv: &Server) -> String {
    let value = srv.connect().run("CONFIG GET cluster-port");
    value.items()[1].text()
}

fn meet(a: &Server, b: &Server) {
    let line = format!("CLUSTER MEET 127.0.0.1 {} {}", b.port, bus_port(b));
    assert_eq!(a.connect().run(&line), Value::ok());
}

fn id(srv: &Server) -> String {
    srv.connect().run("CLUSTER MYID").text()
}

fn info(c: &mut Conn, field: &str) -> String {
    let text = c.run("CLUSTER INFO").text();
    let line = text.lines().find_map(|l| l.strip_prefix(field)?.strip_prefix(':').map(str::to_string));
    line.unwrap_or_default()
}

fn wait_ok(nodes: &[&Server]) {
    for srv in nodes {
        let mut c = srv.connect();
        wait_until("the cluster to be ok", || info(&mut c, "cluster_state") == "ok");
    }
}

/// Two masters with half of the slots each, who know each other.
fn pair() -> (Server, Server) {
    let (a, b) = (node(), node());
    assert_eq!(a.connect().run("CLUSTER ADDSLOTSRANGE 0 8191"), Value::ok());
    assert_eq!(b.connect().run("CLUSTER ADDSLOTSRANGE 8192 16383"), Value::ok());
    assert_eq!(a.connect().run("CLUSTER SET-CONFIG-EPOCH 1"), Value::ok());
    assert_eq!(b.connect().run("CLUSTER SET-CONFIG-EPOCH 2"), Value::ok());
    meet(&a, &b);
    wait_ok(&[&a, &b]);
    (a, b)
}

#[test]
fn keys_of_other_nodes_are_sent_there() {
    let (a, b) = pair();
    let (mut ca, mut cb) = (a.connect(), b.connect());
    // Slots 12182, 5061 and 866.
    assert_eq!(ca.run("SET foo 1").error(), format!("MOVED 12182 127.0.0.1:{}", b.port));
    assert_eq!(cb.run("GET bar").error(), format!("MOVED 5061 127.0.0.1:{}", a.port));
    assert_eq!(cb.run("SET foo 1"), Value::ok());
    assert_eq!(
        ca.run("MSET bar 1 hello 2").error(),
        "CROSSSLOT Keys in request don't hash to the same slot"
    );
    assert_eq!(ca.run("MSET {bar}x 1 {bar}y 2"), Value::ok());
    assert_eq!(ca.run("CLUSTER COUNTKEYSINSLOT 5061"), Value::Int(2));
    assert_eq!(ca.run("CLUSTER GETKEYSINSLOT 5061 1").items().len(), 1);
    // In a transaction, and of a script.
    assert_eq!(ca.run("MULTI"), Value::ok());
    assert!(ca.run("GET foo").error().starts_with("MOVED "));
    assert!(ca.run("EXEC").error().starts_with("EXECABORT "));
    let answer = ca.cmd(&["EVAL", "return redis.call('get', 'foo')", "0"]);
    assert!(answer.error().contains("Script attempted to access a non local key in a cluster node"));
    assert!(ca.run("SELECT 1").error().starts_with("ERR SELECT is not allowed in cluster mode"));
    assert_eq!(ca.fact("errorstat_MOVED"), "count=2");
}

#[test]
fn a_slot_moves_with_its_keys() {
    let (a, b) = pair();
    let (mut ca, mut cb) = (a.connect(), b.connect());
    assert_eq!(ca.run("MSET {bar}x 1 {bar}y 2"), Value::ok());
    let (ida, idb) = (id(&a), id(&b));
    assert_eq!(cb.run(&format!("CLUSTER SETSLOT 5061 IMPORTING {ida}")), Value::ok());
    assert_eq!(ca.run(&format!("CLUSTER SETSLOT 5061 MIGRATING {idb}")), Value::ok());
    assert_eq!(ca.run("GET bar").error(), format!("ASK 5061 127.0.0.1:{}", b.port));
    assert_eq!(ca.run("GET {bar}x").text(), "1");
    assert!(ca.run("MGET {bar}x bar").error().starts_with("TRYAGAIN "));
    assert!(cb.run("GET bar").error().starts_with("MOVED 5061 "));
    assert_eq!(cb.run("ASKING"), Value::ok());
    assert_eq!(cb.run("SET bar new"), Value::ok());
    assert!(cb.run("GET bar").error().starts_with("MOVED "), "ASKING is about one command");
    for (line, answer) in [("ASKING", "OK"), ("MULTI", "OK"), ("SET bar newer", "QUEUED")] {
        assert_eq!(cb.run(line).text(), answer);
    }
    assert_eq!(cb.run("GET bar").text(), "QUEUED", "or about one transaction");
    assert_eq!(cb.run("EXEC").items()[1].text(), "newer");
    assert!(cb.run("GET bar").error().starts_with("MOVED "), "which has ended");
    let line = format!("MIGRATE 127.0.0.1 {} \"\" 0 5000 KEYS {{bar}}x {{bar}}y", b.port);
    let words: Vec<&str> = line.split(' ').map(|w| if w == "\"\"" { "" } else { w }).collect();
    assert_eq!(ca.cmd(&words), Value::ok());
    assert_eq!(cb.run(&format!("CLUSTER SETSLOT 5061 NODE {idb}")), Value::ok());
    assert_eq!(ca.run(&format!("CLUSTER SETSLOT 5061 NODE {idb}")), Value::ok());
    assert_eq!(cb.run("CLUSTER COUNTKEYSINSLOT 5061"), Value::Int(3));
    assert_eq!(ca.run("CLUSTER COUNTKEYSINSLOT 5061"), Value::Int(0));
    assert!(ca.run("GET bar").error().starts_with("MOVED 5061 "));
    assert_eq!(cb.run("MGET bar {bar}x {bar}y"), Value::bulks(&["newer", "1", "2"]));
}

#[test]
fn clients_are_told_when_their_slot_goes() {
    let (a, b) = pair();
    let (mut blocked, mut listens, mut c) = (a.connect(), a.connect(), a.connect());
    blocked.put(&["BLPOP", "bar", "0"]);
    common::wait_blocked(&mut c, 1);
    assert_eq!(listens.run("SSUBSCRIBE bar").items()[1].text(), "bar");
    let moved = format!("CLUSTER SETSLOT 5061 NODE {}", id(&b));
    assert_eq!(c.run(&moved), Value::ok());
    assert_eq!(blocked.read().error(), format!("MOVED 5061 127.0.0.1:{}", b.port));
    assert_eq!(listens.read().items()[0].text(), "sunsubscribe");
    assert!(listens.run("SSUBSCRIBE bar").error().starts_with("MOVED 5061 "));
}

#[test]
fn a_replica_serves_reads_and_takes_the_place_of_its_master() {
    let (mut a, b) = pair();
    let replica = node();
    meet(&b, &replica);
    let (ida, mut r) = (id(&a), replica.connect());
    wait_until("the master to be known", || r.run("CLUSTER NODES").text().contains(&ida));
    wait_until("the replica to follow", || r.run(&format!("CLUSTER REPLICATE {ida}")) == Value::ok());
    assert_eq!(a.connect().run("SET bar 1"), Value::ok());
    wait_until("the link", || r.fact("master_link_status") == "up");
    wait_ok(&[&replica]);
    assert!(r.run("GET bar").error().starts_with("MOVED 5061 "));
    assert_eq!(r.run("READONLY"), Value::ok());
    wait_until("the key", || r.run("GET bar") == Value::bulk("1"));
    assert!(r.run("SET bar 2").error().starts_with("MOVED 5061 "));
    // Two votes are all there are: a master of two can only be replaced by hand. Both must know the replica.
    for master in [&a, &b] {
        let (mut c, replicas) = (master.connect(), format!("CLUSTER REPLICAS {ida}"));
        let idr = id(&replica);
        wait_until("the replica to be known", || {
            c.run(&replicas).items().iter().any(|line| line.text().contains(&idr))
        });
    }
    assert_eq!(r.run("CLUSTER FAILOVER"), Value::ok());
    wait_until("the promotion", || r.run("SET bar 2") == Value::ok());
    let mut ca = a.connect();
    wait_until("the old master to follow", || ca.fact("role") == "slave");
    // The node keeps its name over a restart, and its file.
    a.stop();
    a.restart();
    assert_eq!(id(&a), ida);
    let mut ca = a.connect();
    wait_until("the old master to follow again", || ca.fact("master_link_status") == "up");
}

#[test]
fn a_nodes_file_belongs_to_one_server() {
    let a = node();
    let path = a.dir.join("nodes.conf");
    assert_eq!(a.connect().run("CLUSTER SAVECONFIG"), Value::ok());
    let (port, bus) = (free_port().to_string(), free_port().to_string());
    let path = path.to_str().expect("a path in UTF-8");
    let args = ["--port", &port, "--cluster-enabled", "yes", "--cluster-port", &bus];
    let args = [&args[..], &["--cluster-config-file", path]].concat();
    let out = common::run_to_end(&common::binary(), &a.dir, &args, std::process::Stdio::null());
    assert!(!out.status.success());
    let said = String::from_utf8_lossy(&out.stdout).into_owned();
    assert!(said.contains("is already used by a different Redis Cluster node"), "{said}");
}

#[test]
fn without_a_cluster_its_commands_are_refused() {
    let srv = Server::start();
    let mut c = srv.connect();
    for line in ["CLUSTER INFO", "CLUSTER SLOTS", "CLUSTER MYID", "READONLY", "READWRITE", "ASKING"] {
        assert_eq!(c.run(line).error(), "ERR This instance has cluster support disabled", "{line}");
    }
}
