//! How costs grow with the size of a value, and how long the big operations take. A measuring program,
//! not a check: it runs when it is asked for, and prints tables as README shows them. Beside a real
//! server when `REDIS_SERVER` names one.
//!
//! ```text
//!   cargo test --release --test growth -- --ignored --nocapture
//!   MEASURE_GROWTH=10000,100000   sizes of the values
//! ```
//!
//! A cost is what `INFO commandstats` says of 20,000 calls with random arguments: time inside the
//! server, per call. The big operations are timed from outside, best of three.

mod common;

use common::{Conn, Server};
use oxidis::algo::rng::Rng;
use std::time::Instant;

const CALLS: usize = 20_000;
const AT_ONCE: usize = 200;

/// A command that is measured: how the value is made, element by element, and one call.
struct Row {
    name: &'static str,
    fill: (&'static str, fn(usize) -> Vec<String>),
    call: fn(usize) -> Vec<String>,
}

fn texts(words: &[&dyn ToString]) -> Vec<String> {
    words.iter().map(|w| w.to_string()).collect()
}

fn member(i: usize) -> String {
    format!("member:{i:09}")
}

fn score(i: usize) -> usize {
    i.wrapping_mul(0x9e37_79b9) & 0xff_ffff
}

const ROWS: &[Row] = &[
    Row {
        name: "zadd",
        fill: ("ZADD z", |i| texts(&[&score(i), &member(i)])),
        call: |i| texts(&[&"ZADD", &"z", &score(i + 1), &member(i)]),
    },
    Row {
        name: "zrank",
        fill: ("ZADD z", |i| texts(&[&score(i), &member(i)])),
        call: |i| texts(&[&"ZRANK", &"z", &member(i)]),
    },
    Row {
        name: "lindex",
        fill: ("RPUSH l", |i| vec![member(i)]),
        call: |i| texts(&[&"LINDEX", &"l", &i]),
    },
    Row {
        name: "hget",
        fill: ("HSET h", |i| texts(&[&member(i), &"value of 16 byte"])),
        call: |i| texts(&[&"HGET", &"h", &member(i)]),
    },
    Row {
        name: "sismember",
        fill: ("SADD s", |i| vec![member(i)]),
        call: |i| texts(&[&"SISMEMBER", &"s", &member(i)]),
    },
    Row {
        name: "xrange",
        fill: ("", |i| texts(&[&"XADD", &"x", &format!("{}-1", i + 1), &"f", &"value"])),
        call: |i| texts(&[&"XRANGE", &"x", &(i + 1), &"+", &"COUNT", &"1"]),
    },
];

/// Sends commands, `AT_ONCE` on their way at a time.
fn all(c: &mut Conn, commands: impl Iterator<Item = Vec<String>>) {
    let mut commands = commands.peekable();
    while commands.peek().is_some() {
        let part: Vec<String> =
            commands.by_ref().take(AT_ONCE).map(|words| words.join("\u{1}")).collect();
        let bytes: Vec<u8> =
            part.iter().flat_map(|p| common::request(&p.split('\u{1}').collect::<Vec<_>>())).collect();
        c.send(&bytes);
        for _ in &part {
            c.read();
        }
    }
}

/// Makes a value of `n` elements, a hundred with each command where the type lets it.
fn fill(c: &mut Conn, (head, element): (&str, fn(usize) -> Vec<String>), n: usize) {
    if head.is_empty() {
        return all(c, (0..n).map(element));
    }
    let chunks = (0..n).step_by(100).map(|from| {
        let mut words: Vec<String> = head.split(' ').map(String::from).collect();
        (from..(from + 100).min(n)).for_each(|i| words.extend(element(i)));
        words
    });
    all(c, chunks);
}

/// Microseconds per call, as the server counts them.
fn cost(c: &mut Conn, row: &Row, n: usize) -> f64 {
    let mut rng = Rng::seeded(n as u64);
    c.run("CONFIG RESETSTAT");
    all(c, (0..CALLS).map(|_| (row.call)(rng.below(n as u64) as usize)));
    let stats = c.run("INFO commandstats").text();
    let head = format!("cmdstat_{}:calls={CALLS},usec=", row.name);
    let usec = stats.lines().find_map(|l| l.strip_prefix(&head)?.split(',').next()?.parse::<f64>().ok());
    usec.expect("the calls were counted") / CALLS as f64
}

fn costs(srv: &Server, sizes: &[usize]) -> Vec<Vec<f64>> {
    let mut c = srv.connect();
    let one = |c: &mut Conn, row: &Row, n: usize| {
        c.run("FLUSHALL");
        fill(c, row.fill, n);
        cost(c, row, n)
    };
    ROWS.iter().map(|row| sizes.iter().map(|n| one(&mut c, row, *n)).collect()).collect()
}

/// Milliseconds of the big operations, each with what it works on.
fn big_operations(srv: &Server) -> Vec<(&'static str, f64)> {
    let mut c = srv.connect();
    c.run("FLUSHALL");
    fill(&mut c, ("SADD huge", |i| vec![member(i)]), 1_000_000);
    fill(&mut c, ("SADD small", |i| vec![member(i * 997)]), 1000);
    fill(&mut c, ("SADD ints", |i| vec![(i * 3).to_string()]), 1_000_000);
    fill(&mut c, ("SADD fewints", |i| vec![(i * 7).to_string()]), 500);
    fill(&mut c, ("ZADD za", |i| texts(&[&score(i), &member(i)])), 100_000);
    fill(&mut c, ("ZADD zb", |i| texts(&[&score(i + 7), &member(i + 50_000)])), 100_000);
    fill(&mut c, ("RPUSH numbers", |i| vec![score(i).to_string()]), 1_000_000);
    let operations = [
        ("SINTER of 1,000 with 1,000,000", "SINTERSTORE out small huge"),
        ("SINTER of 500 integers with 1,000,000", "SINTERSTORE out fewints ints"),
        ("ZUNIONSTORE of 100,000 and 100,000", "ZUNIONSTORE out 2 za zb"),
        ("SORT of 1,000,000 numbers", "SORT numbers LIMIT 0 10"),
        ("SORT of 1,000,000 numbers, stored", "SORT numbers STORE out"),
    ];
    let time = |c: &mut Conn, line: &str| {
        c.run("DEL out");
        let begun = Instant::now();
        c.run(line);
        begun.elapsed().as_secs_f64() * 1000.0
    };
    operations
        .map(|(name, line)| (name, (0..3).map(|_| time(&mut c, line)).fold(f64::MAX, f64::min)))
        .to_vec()
}

#[test]
#[ignore = "a measuring program: prints tables, takes minutes, and wants a quiet machine"]
fn costs_by_size() {
    let sizes = std::env::var("MEASURE_GROWTH").unwrap_or_else(|_| "10000,100000,1000000".into());
    let sizes: Vec<usize> =
        sizes.split(',').map(|s| s.trim().parse().expect("a list of sizes")).collect();
    let mut servers = vec![("Oxidis", Server::start())];
    servers.extend(Server::real(&[]).map(|real| ("Redis", real)));
    let head: Vec<String> = sizes.iter().map(usize::to_string).collect();
    println!("| us per call | server | {} |\n|---|---|{}", head.join(" | "), "---|".repeat(sizes.len()));
    let tables: Vec<_> = servers.iter().map(|(name, srv)| (name, costs(srv, &sizes))).collect();
    for (i, row) in ROWS.iter().enumerate() {
        for (name, table) in &tables {
            let cells: Vec<String> = table[i].iter().map(|us| format!("{us:.2}")).collect();
            println!("| {} | {name} | {} |", row.name.to_uppercase(), cells.join(" | "));
        }
    }
    let big: Vec<_> = servers.iter().map(|(name, srv)| (name, big_operations(srv))).collect();
    for i in 0..big[0].1.len() {
        let cells: Vec<String> =
            big.iter().map(|(name, b)| format!("{name} {:.2} ms", b[i].1)).collect();
        println!("| {} | {} |", big[0].1[i].0, cells.join(" | "));
    }
}
