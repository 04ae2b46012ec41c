//! End to end: clients, replicas and MIGRATE over TLS, with certificates that are made here.
#![cfg(feature = "tls")]

mod common;

use common::certs::Certs;
use common::{Conn, PATIENCE, Server, Value, request, wait_until};
use openssl::ssl::{SslConnector, SslFiletype, SslMethod, SslStream, SslVersion};
use oxidis::tls::testing::Wish;
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};

/// Clients with such certificates.
trait Connects {
    fn connector(&self, certificate: bool) -> SslConnector;
    fn connect(&self, port: u16) -> Client;
}

impl Connects for Certs {
    fn connector(&self, certificate: bool) -> SslConnector {
        let mut b = SslConnector::builder(SslMethod::tls()).expect("a context");
        b.set_ca_file(self.dir.join("ca.crt")).expect("our file");
        if certificate {
            b.set_certificate_chain_file(self.dir.join("client.crt")).expect("our file");
            b.set_private_key_file(self.dir.join("client.key"), SslFiletype::PEM).expect("our file");
        }
        b.build()
    }

    fn connect(&self, port: u16) -> Client {
        Client::over(&self.connector(true), port).expect("the certificate is good")
    }
}

fn tcp(port: u16) -> TcpStream {
    let stream = TcpStream::connect(("127.0.0.1", port)).expect("the server listens");
    stream.set_read_timeout(Some(PATIENCE)).expect("a TCP socket");
    stream.set_write_timeout(Some(PATIENCE)).expect("a TCP socket");
    stream.set_nodelay(true).expect("a TCP socket");
    stream
}

/// A client that speaks RESP over TLS; replies are compared as bytes.
struct Client {
    stream: SslStream<TcpStream>,
}

impl Client {
    fn over(connector: &SslConnector, port: u16) -> Result<Client, String> {
        let mut config = connector.configure().expect("a session");
        config.set_verify_hostname(false);
        let stream = config.connect("localhost", tcp(port)).map_err(|e| e.to_string())?;
        Ok(Client { stream })
    }

    fn put(&mut self, words: &[&str]) {
        self.stream.write_all(&request(words)).expect("the server reads");
    }

    fn take(&mut self, n: usize) -> Vec<u8> {
        let mut got = vec![0; n];
        self.stream.read_exact(&mut got).expect("a reply");
        got
    }

    #[track_caller]
    fn expect(&mut self, words: &[&str], reply: &str) {
        self.put(words);
        assert_eq!(String::from_utf8_lossy(&self.take(reply.len())), reply);
    }

    /// One line without its end.
    fn line(&mut self) -> String {
        let mut line = Vec::new();
        while !line.ends_with(b"\r\n") {
            line.extend(self.take(1));
        }
        line.truncate(line.len() - 2);
        String::from_utf8(line).expect("text")
    }

    fn ask(&mut self, words: &[&str]) -> Result<String, ()> {
        self.stream.write_all(&request(words)).map_err(drop)?;
        let mut first = [0; 64];
        let n = self.stream.read(&mut first).map_err(drop)?;
        if n == 0 { Err(()) } else { Ok(String::from_utf8_lossy(&first[..n]).into_owned()) }
    }
}

fn at_end(mut stream: impl Read) -> bool {
    let mut rest = [0; 4096];
    loop {
        match stream.read(&mut rest) {
            Ok(0) => return true,
            Ok(_) => {}
            Err(e) => return e.kind() != ErrorKind::WouldBlock && e.kind() != ErrorKind::TimedOut,
        }
    }
}

// ---- connections -------------------------------------------------------------------------------

#[test]
fn a_client_with_a_certificate_is_served_and_one_without_is_not_smoke() {
    let certs = Certs::new();
    let (srv, port) = certs.server(&[]);
    let mut c = certs.connect(port);
    c.expect(&["SET", "k", "v"], "+OK\r\n");
    c.expect(&["GET", "k"], "$1\r\nv\r\n");
    let (with, without) = (certs.connector(true), certs.connector(false));
    let answers =
        |connector| Client::over(connector, port).map_err(drop).and_then(|mut c| c.ask(&["PING"]));
    assert_eq!(answers(&without), Err(()), "tls-auth-clients is on");
    wait_until("a line about it", || {
        let log = srv.log();
        log.lines().any(|l| {
            l.contains("Error accepting a client connection: error:")
                && l.contains("peer did not return a certificate (addr=127.0.0.1:")
        })
    });
    let mut plain = srv.connect();
    for (value, both) in [("no", true), ("optional", true), ("yes", false)] {
        assert_eq!(plain.cmd(&["CONFIG", "SET", "tls-auth-clients", value]), Value::ok());
        assert_eq!(answers(&with).as_deref(), Ok("+PONG\r\n"));
        assert_eq!(answers(&without).is_ok(), both, "{value}");
    }
    let line = plain.cmd(&["INFO", "server"]).text();
    assert!(line.contains(&format!("listener2:name=tls,bind=127.0.0.1,port={port}\r\n")), "{line}");
    assert!(srv.log().contains("Ready to accept connections tls"));
    assert_eq!(plain.figure("tls_connected_clients"), 1);
}

#[test]
fn strange_peers_leave_one_line_and_nothing_else() {
    let certs = Certs::new();
    let (srv, port) = certs.server(&[]);
    let mut plain = tcp(port);
    plain.write_all(b"*1\r\n$4\r\nPING\r\n").expect("room");
    assert!(at_end(plain), "it does not speak TLS");
    // A hello that ends in the middle; none at all.
    for begin in [&b""[..], b"\x16\x03\x01\x00\xf4\x01\x00\x00"] {
        let mut half = tcp(port);
        half.write_all(begin).expect("room");
        half.shutdown(Shutdown::Write).expect("open");
        assert!(at_end(half));
    }
    wait_until("three lines", || {
        srv.log().lines().filter(|l| l.contains("Error accepting a client connection: error:")).count()
            == 3
    });
    let mut c = srv.connect();
    wait_until("the clients to go", || c.figure("connected_clients") == 1);
    assert_eq!(c.figure("tls_handshakes"), 0);
    certs.connect(port).expect(&["PING"], "+PONG\r\n");
}

#[test]
fn a_silent_peer_is_waited_for_and_can_be_killed() {
    let certs = Certs::new();
    let (srv, port) = certs.server(&[]);
    let mut c = srv.connect();
    let silent: Vec<TcpStream> = (0..3).map(|_| tcp(port)).collect();
    wait_until("handshakes", || c.figure("tls_handshakes") == 3);
    let me = c.cmd(&["CLIENT", "ID"]).int().to_string();
    certs.connect(port).expect(&["PING"], "+PONG\r\n");
    let list = c.cmd(&["CLIENT", "LIST"]).text();
    for line in list.lines().filter(|l| !l.starts_with(&format!("id={me} "))) {
        let id = line.split(' ').next().and_then(|f| f.strip_prefix("id=")).expect("a number");
        c.cmd(&["CLIENT", "KILL", "ID", id]);
    }
    for stream in silent {
        assert!(at_end(stream));
    }
    wait_until("no handshakes", || c.figure("tls_handshakes") == 0);
    // One that stays silent is closed by the clock.
    assert!(at_end(tcp(port)));
    assert!(srv.log().contains("the handshake takes too long (addr="));
}

#[test]
fn refusals_come_before_the_handshake_or_in_it() {
    let certs = Certs::new();
    let (srv, port) = certs.server(&["--maxclients", "2"]);
    let mut first = certs.connect(port);
    first.expect(&["PING"], "+PONG\r\n");
    let mut plain = srv.connect();
    assert!(Client::over(&certs.connector(true), port).is_err(), "there are two clients");
    assert_eq!(plain.figure("rejected_connections"), 1);
    wait_until("a line about it", || srv.log().contains("connections to the port for TLS were refused"));
}

// ---- data --------------------------------------------------------------------------------------

#[test]
fn records_of_any_size_arrive() {
    let certs = Certs::new();
    let (_srv, port) = certs.server(&[]);
    let mut c = certs.connect(port);
    // A record for each byte, some requests in one segment.
    c.stream.get_ref().set_nodelay(false).expect("a TCP socket");
    for _ in 0..20 {
        for b in request(&["INCR", "n"]) {
            c.stream.write_all(&[b]).expect("the server reads");
        }
    }
    let replies: String = (1..=20).map(|n| format!(":{n}\r\n")).collect();
    assert_eq!(String::from_utf8_lossy(&c.take(replies.len())), replies);
    // Many requests, each a record, sent at once: what stays inside of the session is found.
    for _ in 0..2000 {
        c.put(&["INCR", "m"]);
    }
    let replies: String = (1..=2000).map(|n| format!(":{n}\r\n")).collect();
    assert_eq!(c.take(replies.len()), replies.as_bytes());
}

#[test]
fn a_long_pipeline_is_answered_in_order() {
    let certs = Certs::new();
    let (_srv, port) = certs.server(&[]);
    let mut c = certs.connect(port);
    let all: Vec<u8> = (0..20_000).flat_map(|i| request(&["ECHO", &i.to_string()])).collect();
    c.stream.write_all(&all).expect("the server reads");
    let replies: String =
        (0..20_000).map(|i: i32| i.to_string()).map(|s| format!("${}\r\n{s}\r\n", s.len())).collect();
    assert!(c.take(replies.len()) == replies.as_bytes());
}

#[test]
fn a_value_of_a_hundred_megabytes_goes_in_and_out() {
    let certs = Certs::new();
    let (_srv, port) = certs.server(&[]);
    let mut c = certs.connect(port);
    let value: Vec<u8> =
        (0..100_000_000u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    let head = format!("*3\r\n$3\r\nSET\r\n$3\r\nbig\r\n${}\r\n", value.len());
    c.stream.write_all(head.as_bytes()).expect("the server reads");
    c.stream.write_all(&value).expect("the server reads");
    c.stream.write_all(b"\r\n").expect("the server reads");
    assert_eq!(c.take(5), b"+OK\r\n");
    c.put(&["GET", "big"]);
    assert_eq!(c.line(), format!("${}", value.len()));
    assert!(c.take(value.len()) == value, "it is the same");
    assert_eq!(c.take(2), b"\r\n");
    c.expect(&["PING"], "+PONG\r\n");
}

#[test]
fn a_client_that_reads_late_gets_all_of_it() {
    let certs = Certs::new();
    let (srv, port) = certs.server(&[]);
    srv.connect().cmd(&["SETRANGE", "k", "999999", "x"]);
    let mut c = certs.connect(port);
    for _ in 0..40 {
        c.put(&["GETRANGE", "k", "0", "-1"]);
    }
    c.put(&["PING"]);
    let mut watch = srv.connect();
    wait_until("a full socket", || watch.cmd(&["CLIENT", "LIST"]).text().contains(" events=rw "));
    for _ in 0..40 {
        assert_eq!(c.line(), "$1000000");
        let body = c.take(1_000_002);
        assert!(body[..999_999].iter().all(|b| *b == 0) && body.ends_with(b"x\r\n"));
    }
    assert_eq!(c.take(7), b"+PONG\r\n");
}

#[test]
fn what_is_said_before_the_end_is_done() {
    let certs = Certs::new();
    let (srv, port) = certs.server(&[]);
    for (n, farewell) in [(1, true), (2, false)] {
        let mut c = certs.connect(port);
        c.put(&["INCR", "ends"]);
        if farewell {
            c.stream.shutdown().expect("open");
        }
        c.stream.get_ref().shutdown(Shutdown::Write).expect("open");
        assert!(at_end(c.stream));
        assert_eq!(srv.connect().cmd(&["GET", "ends"]), Value::bulk(n.to_string()));
    }
    let mut c = certs.connect(port);
    c.expect(&["QUIT"], "+OK\r\n");
    let mut rest = [0; 1];
    assert_eq!(c.stream.read(&mut rest).expect("an end in order"), 0, "with a farewell");
}

#[test]
fn a_fork_leaves_open_sessions_alone() {
    let certs = Certs::new();
    let (srv, port) = certs.server(&["--rdb-key-save-delay", "2000"]);
    let mut plain = srv.connect();
    for i in 0..500 {
        plain.cmd(&["SET", &format!("key:{i}"), "x"]);
    }
    let mut clients: Vec<Client> = (0..4).map(|_| certs.connect(port)).collect();
    assert!(matches!(plain.cmd(&["BGSAVE"]), Value::Status(_)));
    for n in 1..=200 {
        for (i, c) in clients.iter_mut().enumerate() {
            c.expect(&["INCR", &format!("n{i}")], &format!(":{n}\r\n"));
        }
    }
    wait_until("the save to end", || plain.figure("rdb_bgsave_in_progress") == 0);
    assert_eq!(plain.fact("rdb_last_bgsave_status"), "ok");
    for c in &mut clients {
        c.expect(&["PING"], "+PONG\r\n");
    }
}

// ---- settings ----------------------------------------------------------------------------------

#[test]
fn ports_change_places() {
    let certs = Certs::new();
    let (srv, tls_port) = certs.server(&[]);
    let mut secure = certs.connect(tls_port);
    secure.expect(&["CONFIG", "SET", "tls-port", "0"], "+OK\r\n");
    secure.expect(&["CONFIG", "SET", "port", &tls_port.to_string()], "+OK\r\n");
    let mut plain = common::Conn::new(tls_port);
    assert_eq!(plain.cmd(&["CONFIG", "SET", "port", "0"]), Value::ok());
    assert_eq!(plain.cmd(&["CONFIG", "SET", "tls-port", &srv.port.to_string()]), Value::ok());
    certs.connect(srv.port).expect(&["PING"], "+PONG\r\n");
    assert!(TcpStream::connect(("127.0.0.1", tls_port)).is_err(), "it is closed");
    assert_eq!(plain.figure("tcp_port"), i64::from(srv.port));
    // A port that is taken changes nothing.
    let other = Server::start();
    let refused = plain.cmd(&["CONFIG", "SET", "tls-port", &other.port.to_string()]);
    assert!(
        refused.error().ends_with("Unable to listen on this port. Check server logs."),
        "{refused:?}"
    );
    certs.connect(srv.port).expect(&["PING"], "+PONG\r\n");
}

#[test]
fn settings_that_fail_leave_the_former_in_use() {
    let certs = Certs::new();
    let (srv, port) = certs.server(&[]);
    let mut c = srv.connect();
    let key = certs.file("server.key");
    for (name, value) in [
        ("tls-key-file", certs.file("client.key")),
        ("tls-cert-file", certs.file("nothing")),
        ("tls-cert-file", String::new()),
        ("tls-protocols", "TLSv9".into()),
        ("tls-ciphers", "NOTHING".into()),
        ("tls-dh-params-file", key.clone()),
        ("tls-ca-cert-file", key.clone()),
    ] {
        let before = c.cmd(&["CONFIG", "GET", name]);
        let refused = c.cmd(&["CONFIG", "SET", name, &value]);
        let expected = format!(
            "ERR CONFIG SET failed (possibly related to argument '{name}') - Unable to update TLS \
             configuration. Check server logs."
        );
        assert_eq!(refused.error(), expected, "{value}");
        assert_eq!(c.cmd(&["CONFIG", "GET", name]), before);
        certs.connect(port).expect(&["PING"], "+PONG\r\n");
    }
    let log = srv.log();
    for text in [
        "# Failed to load private key: ",
        "# Failed to load certificate: ",
        "# No tls-cert-file configured!",
        "# Invalid tls-protocols specified. Use a combination of 'TLSv1', 'TLSv1.1', ",
        "# Failed to configure ciphers: NOTHING",
        ": failed to read DH params.",
        "# Failed to configure CA certificate(s) file/directory: ",
    ] {
        assert!(log.contains(text), "{text}");
    }
}

#[test]
fn a_start_that_cannot_have_tls_ends() {
    let certs = Certs::new();
    let binary = common::binary();
    for (options, text) in [
        (vec!["--tls-port", "1"], "# No tls-cert-file configured!"),
        (vec!["--tls-replication", "yes"], "# No tls-cert-file configured!"),
        (vec!["--cluster-enabled", "yes", "--tls-cluster", "yes"], "# No tls-cert-file configured!"),
        (
            vec!["--tls-port", "1", "--tls-cert-file", "ca.crt", "--tls-key-file", "server.key"],
            "# Either tls-ca-cert-file or tls-ca-cert-dir must be specified",
        ),
    ] {
        let out = common::run_to_end(&binary, &certs.dir, &options, std::process::Stdio::null());
        let said = String::from_utf8_lossy(&out.stdout);
        assert_eq!(out.status.code(), Some(1), "{said}");
        assert!(
            said.contains(text) && said.contains("# Failed to configure TLS. Check logs for more info.")
        );
    }
}

/// The serial number of the certificate that the server shows.
fn shown_serial(certs: &Certs, port: u16) -> String {
    let c = certs.connect(port);
    let cert = c.stream.ssl().peer_certificate().expect("servers show one");
    let n = cert.serial_number().to_bn().expect("a number");
    n.to_hex_str().expect("digits").to_string()
}

#[test]
fn certificates_are_exchanged_under_load() {
    let certs = Certs::new();
    let (srv, port) = certs.server(&[]);
    let mut plain = srv.connect();
    let mut old = certs.connect(port);
    for serial in 2..12 {
        certs.issue(&Wish { serial, ..Wish::named("server") });
        let (cert, key) = (certs.file("server.crt"), certs.file("server.key"));
        let set = ["CONFIG", "SET", "tls-cert-file", &cert, "tls-key-file", &key];
        assert_eq!(plain.cmd(&set), Value::ok());
        assert_eq!(shown_serial(&certs, port), format!("{serial:02X}"));
        assert_eq!(plain.fact("tls_server_cert_serial"), format!("{serial:02X}"));
        old.expect(&["PING"], "+PONG\r\n");
    }
}

#[test]
fn changed_files_are_read_again_by_themselves() {
    let certs = Certs::new();
    let (srv, port) = certs.server(&["--tls-auto-reload-interval", "1"]);
    let mut c = srv.connect();
    certs.issue(&Wish { serial: 7, ..Wish::named("server") });
    wait_until("the new certificate", || c.fact("tls_server_cert_serial") == "07");
    assert_eq!(shown_serial(&certs, port), "07");
    // A key that does not fit: the former pair stays.
    std::fs::write(certs.file("server.key"), std::fs::read(certs.file("client.key")).expect("our file"))
        .expect("our folder");
    wait_until("the refusal", || srv.log().contains("can't be used; the former stay in use"));
    assert_eq!(shown_serial(&certs, port), "07");
    certs.issue(&Wish { serial: 8, ..Wish::named("server") });
    wait_until("the next certificate", || c.fact("tls_server_cert_serial") == "08");
}

#[test]
fn certificates_that_run_out_are_warned_of() {
    let certs = Certs::new();
    certs.issue(&Wish { lasts: 6 * 86_400, serial: 0x1f, ..Wish::named("server") });
    let (srv, _) = certs.server(&[]);
    let log = srv.log();
    assert!(
        log.contains("# Server TLS certificate expires in ") && log.contains(" hours (serial 1F)."),
        "{log}"
    );
    let mut c = srv.connect();
    let left = c.figure("tls_server_cert_expires_in_seconds");
    assert!((5 * 86_400..=6 * 86_400).contains(&left), "{left}");
    assert!(c.figure("tls_ca_cert_expires_in_seconds") > 300 * 86_400);
    assert_eq!(Server::start().connect().info("tls_server_cert_serial"), None);
}

#[test]
fn versions_of_the_protocol_are_as_configured() {
    let certs = Certs::new();
    let (srv, port) = certs.server(&["--tls-protocols", "TLSv1.2"]);
    let with = |version| {
        let mut b = SslConnector::builder(SslMethod::tls()).expect("a context");
        b.set_ca_file(certs.dir.join("ca.crt")).expect("our file");
        b.set_certificate_chain_file(certs.dir.join("client.crt")).expect("our file");
        b.set_private_key_file(certs.dir.join("client.key"), SslFiletype::PEM).expect("our file");
        b.set_min_proto_version(Some(version)).expect("a version");
        b.set_max_proto_version(Some(version)).expect("a version");
        Client::over(&b.build(), port).map(|mut c| c.expect(&["PING"], "+PONG\r\n"))
    };
    assert!(with(SslVersion::TLS1_2).is_ok());
    assert!(with(SslVersion::TLS1_3).is_err());
    assert_eq!(srv.connect().cmd(&["CONFIG", "SET", "tls-protocols", ""]), Value::ok());
    assert!(with(SslVersion::TLS1_3).is_ok());
}

// ---- outgoing ----------------------------------------------------------------------------------

fn replica_options(port: u16) -> [String; 4] {
    ["--tls-replication".into(), "yes".into(), "--replicaof".into(), format!("127.0.0.1 {port}")]
}

fn wait_up(srv: &Server) {
    let mut c = srv.connect();
    wait_until("the link", || c.info("master_link_status").as_deref() == Some("up"));
}

#[test]
fn a_replica_follows_over_tls_with_and_without_a_file() {
    let certs = Certs::new();
    for diskless in ["yes", "no"] {
        let (master, port) = certs.server(&["--repl-diskless-sync", diskless]);
        let mut m = master.connect();
        m.cmd(&["SETRANGE", "big", "3000000", "x"]);
        for i in 0..1000 {
            m.cmd(&["SET", &format!("key:{i}"), "x"]);
        }
        let options = replica_options(port);
        let mut options: Vec<&str> = options.iter().map(String::as_str).collect();
        let load = if diskless == "yes" { "swapdb" } else { "disabled" };
        options.extend(["--repl-diskless-load", load]);
        let (replica, _) = certs.server(&options);
        wait_up(&replica);
        let mut secure = certs.connect(port);
        for n in 1..=500 {
            secure.expect(&["INCR", "n"], &format!(":{n}\r\n"));
        }
        m.cmd(&["SETRANGE", "later", "5000000", "y"]);
        assert_eq!(m.cmd(&["WAIT", "1", "30000"]), Value::Int(1));
        let mut r = replica.connect();
        for key in ["big", "later", "key:999", "n"] {
            assert!(m.cmd(&["GET", key]) == r.cmd(&["GET", key]), "{key}");
        }
        // A cut link goes on where it was.
        m.cmd(&["CLIENT", "KILL", "TYPE", "replica"]);
        m.cmd(&["INCR", "n"]);
        wait_until("the replica", || r.cmd(&["GET", "n"]) == Value::bulk("501"));
        assert_eq!(m.figure("sync_full"), 1);
    }
}

#[test]
fn a_master_that_cannot_be_trusted_is_not_followed() {
    let (certs, others) = (Certs::new(), Certs::new());
    let (_master, port) = others.server(&[]);
    let options = replica_options(port);
    let options: Vec<&str> = options.iter().map(String::as_str).collect();
    let (replica, _) = certs.server(&options);
    wait_until("the reason", || {
        let log = replica.log();
        log.contains(
            "Error condition on socket for SYNC: error:0A000086:SSL routines::certificate verify failed",
        )
    });
    // A master that does not speak TLS.
    let plain = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let port = plain.local_addr().expect("bound").port().to_string();
    let mut c = replica.connect();
    assert_eq!(c.cmd(&["REPLICAOF", "127.0.0.1", &port]), Value::ok());
    let (mut stream, _) = plain.accept().expect("the replica connects");
    stream.write_all(b"-ERR unknown command\r\n").expect("room");
    wait_until("the next reason", || {
        replica
            .log()
            .contains("Error condition on socket for SYNC: error:0A00010B:SSL routines::wrong version")
    });
}

#[test]
fn keys_migrate_over_tls() {
    let certs = Certs::new();
    let (from, _) = certs.server(&["--tls-cluster", "yes"]);
    let (to, port) = certs.server(&[]);
    let mut c = from.connect();
    c.cmd(&["SET", "small", "v"]);
    c.cmd(&["SETRANGE", "big", "2000000", "x"]);
    let port = port.to_string();
    let big = c.cmd(&["GET", "big"]);
    let migrate = ["MIGRATE", "127.0.0.1", &port, "", "0", "20000", "KEYS", "small", "big"];
    assert_eq!(c.cmd(&migrate), Value::ok());
    let mut t = to.connect();
    assert_eq!(t.cmd(&["GET", "small"]), Value::bulk("v"));
    assert!(t.cmd(&["GET", "big"]) == big);
    assert_eq!(c.cmd(&["DBSIZE"]), Value::Int(0));
    // To a port that does not speak TLS.
    c.cmd(&["SET", "small", "v"]);
    let plain = Server::start();
    let refused = c.cmd(&["MIGRATE", "127.0.0.1", &plain.port.to_string(), "small", "0", "2000"]);
    assert!(refused.error().starts_with("IOERR error or timeout"), "{refused:?}");
    assert_eq!(c.cmd(&["GET", "small"]), Value::bulk("v"));
}

#[test]
fn scripts_are_debugged_over_tls() {
    let certs = Certs::new();
    let (_srv, port) = certs.server(&[]);
    for mode in ["yes", "sync"] {
        let mut c = certs.connect(port);
        c.expect(&["SCRIPT", "DEBUG", mode], "+OK\r\n");
        c.put(&["EVAL", "return 'done'", "0"]);
        assert_eq!(c.line(), "*2");
        assert_eq!(
            (c.line(), c.line()),
            ("+* Stopped at 1, stop reason = step over".into(), "+-> 1   return 'done'".into())
        );
        c.put(&["c"]);
        assert_eq!((c.line(), c.line(), c.line()), ("*1".into(), "+<endsession>".into(), "$4".into()));
        assert_eq!(c.take(6), b"done\r\n");
        assert!(at_end(c.stream));
    }
    certs.connect(port).expect(&["PING"], "+PONG\r\n");
}

#[test]
fn a_storm_of_handshakes_leaves_clients_their_time() {
    let certs = Certs::new();
    let (srv, port) = certs.server(&[]);
    let connector = certs.connector(true);
    let mut old = certs.connect(port);
    std::thread::scope(|scope| {
        let storms: Vec<_> = (0..8)
            .map(|_| {
                scope.spawn(|| {
                    for _ in 0..20 {
                        let mut c = Client::over(&connector, port).expect("there is room");
                        c.expect(&["PING"], "+PONG\r\n");
                    }
                })
            })
            .collect();
        let mut asked = 0;
        while storms.iter().any(|s| !s.is_finished()) {
            old.expect(&["PING"], "+PONG\r\n");
            asked += 1;
        }
        assert!(asked > 0);
    });
    let mut c = srv.connect();
    assert_eq!(c.figure("tls_handshakes"), 0);
    wait_until("the clients to go", || c.figure("connected_clients") == 2);
}

// ---- the cluster bus ---------------------------------------------------------------------------

/// A node whose bus speaks TLS: 10,000 above the port for TLS.
fn node(certs: &Certs) -> (Server, u16) {
    let usual = ["--cluster-enabled", "yes", "--cluster-node-timeout", "2000", "--loglevel", "verbose"];
    let secure = ["--tls-cluster", "yes", "--tls-replication", "yes", "--tls-auth-clients", "no"];
    certs.server(&[&usual[..], &secure].concat())
}

fn wait_ok(c: &mut Conn) {
    wait_until("the cluster to be ok", || c.run("CLUSTER INFO").text().contains("cluster_state:ok"));
}

#[test]
fn nodes_of_a_cluster_speak_tls() {
    let certs = Certs::new();
    let ((a, a_tls), (b, b_tls), (r, r_tls)) = (node(&certs), node(&certs), node(&certs));
    let (mut ca, mut cb, mut cr) = (a.connect(), b.connect(), r.connect());
    assert_eq!(ca.run("CLUSTER ADDSLOTSRANGE 0 8191"), Value::ok());
    assert_eq!(cb.run("CLUSTER ADDSLOTSRANGE 8192 16383"), Value::ok());
    for (srv, epoch) in [(&mut ca, 1), (&mut cb, 2)] {
        assert_eq!(srv.run(&format!("CLUSTER SET-CONFIG-EPOCH {epoch}")), Value::ok());
    }
    for to in [b_tls, r_tls] {
        assert_eq!(ca.run(&format!("CLUSTER MEET 127.0.0.1 {to}")), Value::ok());
    }
    [&mut ca, &mut cb, &mut cr].into_iter().for_each(wait_ok);
    // The replica's link is one to the port for TLS.
    let id = ca.run("CLUSTER MYID").text();
    wait_until("the replica to follow", || cr.run(&format!("CLUSTER REPLICATE {id}")) == Value::ok());
    wait_until("the link", || cr.fact("master_link_status") == "up");
    assert_eq!(cr.fact("master_port"), a_tls.to_string());
    // Each client is sent to the kind of port that it has come over: slot 12182.
    let mut secure = certs.connect(a_tls);
    assert_eq!(ca.run("GET foo").error(), format!("MOVED 12182 127.0.0.1:{}", b.port));
    secure.expect(&["GET", "foo"], &format!("-MOVED 12182 127.0.0.1:{b_tls}\r\n"));
    let shown = |c: &mut Conn| c.run("CLUSTER SLOTS").items()[0].items()[2].items()[1].clone();
    assert_eq!(shown(&mut cb), Value::Int(a.port.into()));
    let first = secure.ask(&["CLUSTER", "SLOTS"]).expect("an answer");
    assert!(first.contains(&format!(":{a_tls}\r\n")), "{first}");
    let nodes = cb.run("CLUSTER NODES").text();
    assert!(nodes.contains(&format!("127.0.0.1:{}@{}", a.port, a_tls + 10_000)), "{nodes}");
    // What fits into no record and no buffer of a socket.
    assert_eq!(cb.run("SUBSCRIBE ch").items().len(), 3);
    let message = "m".repeat(5 << 20);
    ca.cmd(&["PUBLISH", "ch", &message]);
    assert!(cb.read().items()[2].text() == message);
}

#[test]
fn a_bus_with_tls_takes_no_strangers() {
    let certs = Certs::new();
    let (srv, port) = node(&certs);
    let bus = port + 10_000;
    let mut plain = tcp(bus);
    plain.write_all(b"RCmb\0\0\x08\xcc\0\x01").expect("room");
    assert!(at_end(plain), "it does not speak TLS");
    assert!(at_end(tcp(bus)), "silence is not waited for");
    let nameless = Client::over(&certs.connector(false), bus).map_err(drop);
    assert_eq!(nameless.and_then(|mut c| c.ask(&["PING"])), Err(()), "it shows no certificate");
    for why in ["wrong version number", "peer did not return a certificate"] {
        wait_until(why, || {
            let log = srv.log();
            let mut lines = log.lines();
            lines.any(|l| l.contains("Error accepting cluster node connection: ") && l.contains(why))
        });
    }
    assert_eq!(srv.connect().run("PING"), Value::Status("PONG".into()));
}

#[test]
fn a_bus_changes_to_tls_and_back() {
    let certs = Certs::new();
    let (srv, port) = certs.server(&["--cluster-enabled", "yes"]);
    let mut c = srv.connect();
    for (value, here, not_here) in [("yes", port, srv.port), ("no", srv.port, port)] {
        assert_eq!(c.cmd(&["CONFIG", "SET", "tls-cluster", value]), Value::ok());
        assert!(TcpStream::connect(("127.0.0.1", here + 10_000)).is_ok());
        assert!(TcpStream::connect(("127.0.0.1", not_here + 10_000)).is_err());
        let nodes = c.run("CLUSTER NODES").text();
        assert!(nodes.contains(&format!("@{} ", here + 10_000)), "{nodes}");
    }
}
