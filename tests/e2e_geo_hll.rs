//! Places and HyperLogLogs end to end: reply shapes, orders, events, bytes, what reaches the log.

mod common;

use common::{Array, Bulk, Conn, Double, Error, Int, Null, NullArray, Server, Value};

const SICILY: &str = "GEOADD sicily 13.361389 38.115556 Palermo 15.087269 37.502669 Catania";

fn sicily() -> (Server, Conn) {
    let srv = Server::start();
    let mut c = srv.connect();
    assert_eq!(c.run(SICILY), Int(2));
    c.run("GEOADD sicily 12.758489 38.788135 edge1 17.241510 38.788135 edge2");
    (srv, c)
}

#[test]
fn places_come_back_with_all_their_digits() {
    let (_srv, mut c) = sicily();
    let palermo = ["13.36138933897018433", "38.11555639549629859"];
    assert_eq!(c.run("GEOPOS sicily Palermo nobody"), Array(vec![Value::bulks(&palermo), NullArray]));
    assert_eq!(c.run("GEOHASH sicily Palermo nobody"), Array(vec![Value::bulk("sqc8b49rny0"), Null]));
    assert_eq!(c.run("GEOPOS none Palermo"), Array(vec![NullArray]));
    assert_eq!(c.run("ZSCORE sicily Palermo"), Value::bulk("3479099956230698"));
    assert_eq!(c.run("GEODIST sicily Palermo Catania"), Value::bulk("166274.1516"));
    assert_eq!(c.run("GEODIST sicily Palermo Catania MI"), Value::bulk("103.3182"));
    assert_eq!(c.run("GEODIST sicily Palermo nobody"), Null);
    c.run("HELLO 3");
    let [lon, lat] = palermo.map(|t| Double(t.into()));
    assert_eq!(c.run("GEOPOS sicily Palermo nobody"), Array(vec![Array(vec![lon, lat]), Null]));
    // Distances are texts in both protocols.
    assert_eq!(c.run("GEODIST sicily Palermo Catania km"), Value::bulk("166.2742"));
}

#[test]
fn searches_answer_in_the_form_that_was_asked_for() {
    let (_srv, mut c) = sicily();
    let near = "GEOSEARCH sicily FROMLONLAT 15 37";
    assert_eq!(
        c.run(&format!("{near} BYBOX 400 400 km ASC")),
        Value::bulks(&["Catania", "Palermo", "edge2", "edge1"])
    );
    assert_eq!(c.run(&format!("{near} BYRADIUS 200 km DESC")), Value::bulks(&["Palermo", "Catania"]));
    assert_eq!(c.run(&format!("{near} BYBOX 400 400 km COUNT 1")), Value::bulks(&["Catania"]));
    // With ANY cell by cell, wherever enough is found first.
    let any = c.run(&format!("{near} BYBOX 400 400 km COUNT 3 ANY"));
    assert_eq!(any, Value::bulks(&["Palermo", "edge1", "Catania"]));
    assert_eq!(c.run("GEORADIUS sicily 15 37 1 m"), Array(vec![]));
    assert_eq!(c.run("GEORADIUS none 15 37 1 m"), Array(vec![]));
    let full = c.run("GEORADIUSBYMEMBER sicily Catania 1 km WITHHASH WITHCOORD WITHDIST");
    let place = Value::bulks(&["15.08726745843887329", "37.50266842333162032"]);
    let one = vec![Value::bulk("Catania"), Value::bulk("0.0000"), Int(3479447370796909), place];
    assert_eq!(full, Array(vec![Array(one)]));
}

#[test]
fn results_are_stored_as_scores_or_distances() {
    let srv = Server::with(&["--notify-keyspace-events", "EA"]);
    let (mut c, mut sub) = (srv.connect(), srv.connect());
    sub.run("PSUBSCRIBE __keyevent@0__:*");
    c.run(SICILY);
    let near = "FROMLONLAT 15 37 BYRADIUS 200 km";
    assert_eq!(c.run(&format!("GEOSEARCHSTORE d sicily {near}")), Int(2));
    assert_eq!(c.run("ZSCORE d Palermo"), Value::bulk("3479099956230698"));
    assert_eq!(c.run("GEORADIUS sicily 15 37 200 km COUNT 1 STOREDIST d"), Int(1));
    assert_eq!(c.run("ZRANGE d 0 -1 WITHSCORES"), Value::bulks(&["Catania", "56.4412578701582"]));
    // Nothing found takes the destination away; so does a source that is not there.
    assert_eq!(c.run("GEOSEARCHSTORE d sicily FROMLONLAT 0 0 BYRADIUS 1 m"), Int(0));
    assert_eq!(c.run("EXISTS d"), Int(0));
    c.run("SET d x");
    assert_eq!(c.run("GEORADIUSBYMEMBER none m 1 km STORE d"), Int(0));
    for (event, key) in [
        ("zadd", "sicily"),
        ("geosearchstore", "d"),
        ("georadiusstore", "d"),
        ("del", "d"),
        ("set", "d"),
        ("del", "d"),
    ] {
        let heard = sub.read();
        assert_eq!(heard.items()[2].text(), format!("__keyevent@0__:{event}"));
        assert_eq!(heard.items()[3].text(), key);
    }
}

#[test]
fn wrong_words_have_their_texts() {
    let (_srv, mut c) = sicily();
    c.run("SET s x");
    for (line, text) in [
        ("GEOADD k 181 2 m", "ERR invalid longitude,latitude pair 181.000000,2.000000"),
        ("GEOADD k x 2 m", "ERR value is not a valid float"),
        ("GEOADD k nx xx 1 2 m", "ERR syntax error"),
        ("GEOADD s 1 2 m", "WRONGTYPE Operation against a key holding the wrong kind of value"),
        ("GEODIST sicily a b inch", "ERR unsupported unit provided. please use M, KM, FT, MI"),
        ("GEORADIUS sicily 1 2 x km", "ERR need numeric radius"),
        ("GEORADIUS sicily 1 2 -1 km", "ERR radius cannot be negative"),
        ("GEORADIUS_RO sicily 1 2 1 km STORE d", "ERR syntax error"),
        ("GEORADIUSBYMEMBER sicily nobody 1 km", "ERR could not decode requested zset member"),
        (
            "GEORADIUS sicily 1 2 1 km WITHDIST STORE d",
            "ERR STORE option in GEORADIUS is not compatible with WITHDIST, WITHHASH and WITHCOORD options",
        ),
        (
            "geosearch sicily BYRADIUS 1 km ASC DESC",
            "ERR exactly one of FROMMEMBER or FROMLONLAT can be specified for geosearch",
        ),
        (
            "GEOSEARCH sicily FROMLONLAT 1 2 ASC ASC",
            "ERR exactly one of BYRADIUS and BYBOX can be specified for GEOSEARCH",
        ),
        ("GEOSEARCH sicily FROMLONLAT 1 2 BYBOX x 1 km", "ERR need numeric width"),
        ("GEOSEARCH sicily FROMLONLAT 1 2 BYBOX 1 x km", "ERR need numeric height"),
        ("GEOSEARCH sicily FROMLONLAT 1 2 BYBOX 1 -1 km", "ERR height or width cannot be negative"),
        ("GEOSEARCH sicily FROMLONLAT 1 2 BYRADIUS 1 km COUNT 0", "ERR COUNT must be > 0"),
        (
            "GEOSEARCH sicily FROMLONLAT 1 2 BYRADIUS 1 km ANY",
            "ERR the ANY argument requires COUNT argument",
        ),
    ] {
        assert_eq!(c.run(line), Error(text.into()), "{line}");
    }
}

/// Every place that a search must find, it finds: against the distances of all members.
#[test]
fn searches_agree_with_distances() {
    let srv = Server::start();
    let mut c = srv.connect();
    let mut rng = oxidis::algo::rng::Rng::seeded(77);
    for (key, entries) in [("small", 100), ("big", 600)] {
        for i in 0..entries {
            let (lon, lat) = (rng.next_f64() * 40.0 - 20.0, rng.next_f64() * 40.0 + 20.0);
            c.cmd(&["GEOADD", key, &lon.to_string(), &lat.to_string(), &format!("m{i}")]);
        }
        for radius in [30, 300, 1500] {
            let line = format!("GEORADIUSBYMEMBER {key} m7 {radius} km ASC WITHDIST");
            let found = c.run(&line);
            let found: Vec<String> = found.items().iter().map(|i| i.items()[0].text()).collect();
            let mut all = Vec::new();
            for i in 0..entries {
                let m = format!("m{i}");
                let km: f64 = c.cmd(&["GEODIST", key, "m7", &m, "km"]).text().parse().expect("a number");
                if km <= f64::from(radius) {
                    all.push((km, m));
                }
            }
            all.sort_by(|a, b| a.0.total_cmp(&b.0));
            assert_eq!(found, all.into_iter().map(|(_, m)| m).collect::<Vec<_>>(), "{line}");
        }
    }
}

// ---- HyperLogLogs --------------------------------------------------------------------------------

#[test]
fn sketches_are_strings_of_known_bytes() {
    let srv = Server::start();
    let mut c = srv.connect();
    assert_eq!((c.run("PFADD p"), c.run("PFADD p")), (Int(1), Int(0)));
    assert_eq!(c.run("GET p"), Bulk(b"HYLL\x01\0\0\0\0\0\0\0\0\0\0\x80\x7f\xff".to_vec()));
    assert_eq!(c.run("OBJECT ENCODING p"), Value::bulk("raw"));
    assert_eq!((c.run("PFADD p a b c a"), c.run("PFADD p b")), (Int(1), Int(0)));
    assert_eq!((c.run("PFCOUNT p"), c.run("PFCOUNT p none")), (Int(3), Int(3)));
    let Bulk(bytes) = c.run("GET p") else { panic!("a string") };
    assert_eq!(bytes[8..16], 3u64.to_le_bytes(), "the count is cached");
    // It moves as any string does, and what touches it makes it raw.
    c.cmd(&[b"SET", &b"copy"[..], &bytes]);
    assert_eq!(c.run("OBJECT ENCODING copy"), Value::bulk("embstr"));
    assert_eq!((c.run("PFCOUNT copy"), c.run("OBJECT ENCODING copy")), (Int(3), Value::bulk("raw")));
    assert_eq!(c.run("PFDEBUG ENCODING p"), Value::Status("sparse".into()));
    assert!(c.run("PFDEBUG DECODE p").text().starts_with("Z:"));
    let sum: i64 = c.run("PFDEBUG GETREG p").items().iter().map(Value::int).sum();
    assert!(sum >= 3);
    assert_eq!(c.run("PFDEBUG ENCODING p"), Value::Status("dense".into()));
    assert_eq!((c.run("PFDEBUG TODENSE p"), c.run("PFDEBUG TODENSE copy")), (Int(0), Int(1)));
    assert_eq!((c.run("GET p"), c.run("PFCOUNT p")), (c.run("GET copy"), Int(3)));
}

#[test]
fn sketches_grow_dense_and_merge() {
    let srv = Server::with(&["--hll-sparse-max-bytes", "100"]);
    let mut c = srv.connect();
    let mut n = 0;
    while c.run("STRLEN p").int() < 12_304 {
        assert!(c.run("STRLEN p").int() <= 100 && n < 200);
        n += 1;
        c.run(&format!("PFADD p e{n}"));
    }
    assert!(n > 20, "sparse for a while");
    c.run("PFADD q e1 other");
    assert_eq!(c.run("PFMERGE d q p none"), Value::ok());
    assert_eq!(c.run("PFDEBUG ENCODING d"), Value::Status("dense".into()));
    let both = c.run("PFCOUNT p q").int();
    assert_eq!((c.run("PFCOUNT d").int(), both), (both, both));
    assert!(both.abs_diff(n + 1) <= 2, "{both} of {}", n + 1);
}

#[test]
fn what_is_no_sketch_is_refused() {
    let srv = Server::start();
    let mut c = srv.connect();
    let other = Error("WRONGTYPE Key is not a valid HyperLogLog string value.".into());
    let broken = Error("INVALIDOBJ Corrupted HLL object detected".into());
    for bytes in [
        &b"12345"[..],
        b"",
        b"HYLL",
        &[b"HYLL\x02", &[0; 30][..]].concat(),
        b"hyll\x01\0\0\0\0\0\0\0\0\0\0\0\x7f\xff",
    ] {
        c.cmd(&[b"SET", &b"k"[..], bytes]);
        for line in ["PFADD k a", "PFCOUNT k", "PFCOUNT none k", "PFMERGE d k", "PFDEBUG GETREG k"] {
            assert_eq!(c.run(line), other, "{line}");
        }
    }
    // A good header, and opcodes for one register too few.
    let sketch = |ops: &[u8]| [&b"HYLL\x01\0\0\0\0\0\0\0\0\0\0\x80"[..], ops].concat();
    c.cmd(&[b"SET", &b"k"[..], &sketch(&[0x7f, 0xfe])]);
    for line in ["PFCOUNT k", "PFCOUNT none k", "PFMERGE d k", "PFDEBUG TODENSE k"] {
        assert_eq!(c.run(line), broken, "{line}");
    }
    assert_eq!(c.run("EXISTS d"), Int(0));
    let mut rng = oxidis::algo::rng::Rng::seeded(5);
    for _ in 0..300 {
        let mut ops = vec![0; rng.index(40)];
        rng.fill(&mut ops);
        c.cmd(&[b"SET", &b"k"[..], &sketch(&ops)]);
        for line in ["PFCOUNT k", "PFDEBUG DECODE k", "PFMERGE d k", "PFADD k a b c d", "PFCOUNT k d"] {
            c.run(line);
        }
    }
    assert_eq!(c.run("PING"), Value::Status("PONG".into()));
    c.run("DEL k");
    c.run("LPUSH k x");
    let wrong = Error("WRONGTYPE Operation against a key holding the wrong kind of value".into());
    assert_eq!(c.run("PFADD k a"), wrong);
    assert_eq!(c.run("PFDEBUG NOPE none"), Error("ERR The specified key does not exist".into()));
}

#[test]
fn the_log_holds_what_happened_and_no_more() {
    let mut srv = Server::with(&["--appendonly", "yes", "--appendfsync", "always"]);
    let mut c = srv.connect();
    c.run("GEOADD g CH 13.361389 38.115556 Palermo");
    c.run("GEOADD g CH 13.361389 38.115556 Palermo");
    c.run("GEORADIUS g 13 38 100 km STORE d");
    c.run("PFADD p a");
    c.run("PFADD p a");
    // The first count is written into the value, the second one only read.
    c.run("PFCOUNT p");
    c.run("PFCOUNT p");
    c.run("PFCOUNT p none");
    c.run("PFMERGE q p");
    let (score, q) = (c.run("ZSCORE d Palermo"), c.run("GET q"));
    let text = srv.aof();
    let words: Vec<&str> = text.split("\r\n").filter(|w| !w.starts_with(['*', '$'])).collect();
    assert_eq!(
        words.join(" ").trim(),
        "SELECT 0 zadd g CH 3479099956230698 Palermo GEORADIUS g 13 38 100 km STORE d PFADD p a \
         PFCOUNT p PFMERGE q p"
    );
    srv.kill();
    srv.restart();
    let mut c = srv.connect();
    assert_eq!((c.run("ZSCORE d Palermo"), c.run("GET q")), (score, q));
    assert_eq!(c.run("PFCOUNT q"), Int(1));
}

#[test]
fn the_self_test_passes() {
    let srv = Server::start();
    assert_eq!(srv.connect().run("PFSELFTEST"), Value::ok());
}
