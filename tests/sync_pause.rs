//! What a full sync of many keys costs: how long other clients of the master and of the replica wait at the
//! longest, how much memory the replica takes above its data while it loads, and how long it all takes.
//! A measuring program, not a check: it runs when it is asked for. With REDIS_SERVER and VALKEY_SERVER it
//! prints the same of pairs of those.
//!
//! ```text
//!   REDIS_SERVER=.. cargo test --release --test sync_pause -- --ignored --nocapture
//!   SYNC_KEYS=200000 SYNC_WAY=swapdb ..      fewer keys, only ways whose name holds this
//! ```

mod common;

use common::pinger::Pinger;
use common::{Conn, Server, number, setting, wait_until};
use oxidis::algo::rng::Rng;
use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

struct Costs {
    took: Duration,
    master: Duration,
    replica: Duration,
    /// Bytes of the replica: the most that was resident, and what its data take in the end (used_memory).
    peak: u64,
    data: u64,
}

/// The most that was resident, in bytes.
fn peak_of(srv: &Server) -> u64 {
    let text = fs::read_to_string(format!("/proc/{}/status", srv.pid())).expect("it lives");
    let line = text.lines().find_map(|l| l.strip_prefix("VmHWM")).expect("a field of the kernel");
    let kb = line.trim_matches([':', ' ', '\t', 'k', 'B']);
    kb.parse::<u64>().expect("a number") * 1024
}

/// Writes in pipelines until it is told to end, at a rate that no server finds hard.
fn write_beside(port: u16, stop: Arc<AtomicBool>) -> thread::JoinHandle<()> {
    thread::spawn(move || {
        let (mut c, mut rng) = (Conn::new(port), Rng::seeded(1));
        while !stop.load(Ordering::Relaxed) {
            let lines: Vec<String> = (0..50)
                .map(|_| format!("SET key:{} {}", rng.below(1 << 20), rng.below(1 << 30)))
                .collect();
            c.pipeline(&lines.iter().map(String::as_str).collect::<Vec<_>>());
            thread::sleep(Duration::from_millis(5));
        }
    })
}

/// One sync, which `begin` asks for: with the connections to master and replica.
fn sync(master: &Server, replica: &Server, begin: impl FnOnce(&mut Conn, &mut Conn)) -> Costs {
    let (mut m, mut r) = (master.connect(), replica.connect());
    let before = m.figure("sync_full");
    // The peak begins anew.
    fs::write(format!("/proc/{}/clear_refs", replica.pid()), "5").expect("a process of ours");
    let stop = Arc::new(AtomicBool::new(false));
    let writer = write_beside(master.port, stop.clone());
    let pingers = [Pinger::start(master.port), Pinger::start(replica.port)];
    let begun = Instant::now();
    begin(&mut m, &mut r);
    wait_until("the sync", || {
        r.info("master_link_status").as_deref() == Some("up") && m.figure("sync_full") > before
    });
    let took = begun.elapsed();
    stop.store(true, Ordering::Relaxed);
    writer.join().expect("the writer ends");
    wait_until("all of the stream", || m.figure("master_repl_offset") == r.figure("master_repl_offset"));
    let peak = peak_of(replica);
    let data = r.figure("used_memory") as u64;
    let [master, replica] = pingers.map(Pinger::end);
    Costs { took, master, replica, peak, data }
}

/// A sync to an empty replica, and one to a replica that has data.
fn both(master: &Server, replica: &Server, keys: usize) -> [Costs; 2] {
    master.connect().run(&format!("DEBUG POPULATE {keys} key 100"));
    let order = format!("REPLICAOF 127.0.0.1 {}", master.port);
    let first = sync(master, replica, |_, r| drop(r.run(&order)));
    let again = sync(master, replica, |m, r| {
        m.run("DEBUG CHANGE-REPL-ID");
        r.run("CLIENT KILL TYPE master");
    });
    [first, again]
}

type Make = fn(&[&str]) -> Option<Server>;

#[test]
#[ignore = "a measuring program: prints a table, takes minutes, and wants a quiet machine"]
fn what_a_full_sync_costs() {
    let (keys, wanted) = (number("SYNC_KEYS", 2_000_000), setting("SYNC_WAY", ""));
    let ways: [(&str, &[&str]); 4] = [
        ("disk, disk", &["--repl-diskless-sync", "no"]),
        ("socket, disk", &["--repl-diskless-sync", "yes"]),
        ("socket, swapdb", &["--repl-diskless-sync", "yes", "--repl-diskless-load", "swapdb"]),
        ("two channels", &["--dual-channel-replication-enabled", "yes"]),
    ];
    let servers: [(&str, Make); 3] =
        [("ours", |o| Some(Server::with(o))), ("7.2", Server::real), ("valkey 8", Server::valkey)];
    println!("{keys} keys of 100 bytes, with some writes beside; the longest waits of other clients");
    for (way, options) in ways {
        for (name, make) in servers {
            // A 7.2 knows no second channel.
            if !way.contains(&wanted) || name == "7.2" && way == "two channels" {
                continue;
            }
            let options = [&["--enable-debug-command", "yes"], options].concat();
            let (Some(master), Some(replica)) = (make(&options), make(&options)) else { continue };
            for (which, c) in ["first", "again"].into_iter().zip(both(&master, &replica, keys)) {
                let (ms, mb) = (|d: Duration| d.as_secs_f64() * 1e3, |b: u64| b as f64 / 1e6);
                println!(
                    "{way:15} {name:9} {which} {:6.2} s   master {:7.2} ms   replica {:7.2} ms   data {:5.0} \
                     MB, {:5.0} MB above that at the peak",
                    c.took.as_secs_f64(),
                    ms(c.master),
                    ms(c.replica),
                    mb(c.data),
                    mb(c.peak.saturating_sub(c.data)),
                );
            }
        }
    }
}
