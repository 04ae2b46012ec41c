//! End to end: what was acknowledged survives `kill -9`. A master and a replica are killed in turns, or both,
//! while clients write and wait for acknowledgements.
//!
//! ```text
//! master killed    the replica is promoted: it has every write that WAIT has answered with 1
//! replica killed   it comes back and is synced
//! both killed      each comes back from its log alone, with every write that WAITAOF has answered with 1 1
//! ```
//!
//! Each writer counts in keys of its own, so a key that holds less than was acknowledged is a lost write.
//! KILL_ROUNDS asks for more rounds; the figures are printed.

mod common;

use common::{Server, Value, number, wait_until};
use oxidis::algo::rng::Rng;
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Instant;

/// Keys of one writer.
const KEYS: u64 = 20;

/// The highest number of each key that is acknowledged.
type Acked = HashMap<String, u64>;

struct Writers {
    stop: Arc<AtomicBool>,
    acks: Arc<AtomicUsize>,
    threads: Vec<JoinHandle<Acked>>,
}

impl Writers {
    /// `disks`: what counts is the disk, on both.
    fn on(srv: &Server, serial: &Arc<AtomicUsize>, disks: bool) -> Writers {
        let (stop, acks) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
        let threads = (0..3).map(|t| {
            let (until, count, serial) = (stop.clone(), acks.clone(), serial.clone());
            let url = format!("redis://127.0.0.1:{}/", srv.port);
            thread::spawn(move || {
                let mut acked = Acked::new();
                let client = redis::Client::open(url).expect("an address");
                let Ok(mut c) = client.get_connection() else { return acked };
                while !until.load(Ordering::Relaxed) {
                    match write(&mut c, t, &serial, disks) {
                        Ok(batch) if batch.is_empty() => {}
                        Ok(batch) => {
                            count.fetch_add(batch.len(), Ordering::Relaxed);
                            acked.extend(batch);
                        }
                        // The server has gone.
                        Err(_) => break,
                    }
                }
                acked
            })
        });
        Writers { threads: threads.collect(), stop, acks }
    }

    /// Waits until so many writes are acknowledged.
    #[track_caller]
    fn wait_for(&self, acks: usize) {
        wait_until("acknowledgements", || self.acks.load(Ordering::Relaxed) >= acks);
    }

    /// How many writes were acknowledged, and the last ones of each key.
    fn end(self) -> (usize, Acked) {
        self.stop.store(true, Ordering::Relaxed);
        let acked = self.threads.into_iter().flat_map(|t| t.join().expect("a writer ends")).collect();
        (self.acks.load(Ordering::Relaxed), acked)
    }
}

/// Some writes, one of them a transaction; those that are acknowledged as safe.
fn write(
    c: &mut redis::Connection,
    t: usize,
    serial: &AtomicUsize,
    disks: bool,
) -> redis::RedisResult<Vec<(String, u64)>> {
    let mut pipe = redis::pipe();
    let mut batch = Vec::new();
    let all = if disks { 40 } else { 4 };
    for i in 0..all {
        let n = serial.fetch_add(1, Ordering::Relaxed) as u64;
        let key = format!("w{t}:{}", n % KEYS);
        // The last two stand in one transaction.
        if i == all - 2 {
            pipe.cmd("MULTI").ignore();
        }
        pipe.cmd("SET").arg(&key).arg(n).ignore();
        batch.push((key, n));
    }
    pipe.cmd("EXEC").ignore();
    pipe.query::<()>(c)?;
    let safe = if disks {
        let (local, replicas): (u64, u64) = redis::cmd("WAITAOF").arg(1).arg(1).arg(5000).query(c)?;
        local == 1 && replicas >= 1
    } else {
        redis::cmd("WAIT").arg(1).arg(500).query::<u64>(c)? >= 1
    };
    Ok(if safe { batch } else { Vec::new() })
}

/// Every acknowledged write is there, or a later one of its key.
#[track_caller]
fn has_all(srv: &Server, acked: &Acked, whose: &str) {
    let mut c = srv.connect();
    for (key, n) in acked {
        let there = match c.cmd(&["GET", key]) {
            Value::Null => None,
            v => Some(v.text().parse::<u64>().expect("a number")),
        };
        assert!(there.is_some_and(|there| there >= *n), "{whose}: {key} is {there:?}, not {n}");
    }
}

#[track_caller]
fn attach(replica: &Server, master: &Server) {
    let (mut r, mut m) = (replica.connect(), master.connect());
    r.run(&format!("REPLICAOF 127.0.0.1 {}", master.port));
    wait_until("the link", || r.fact("master_link_status") == "up");
    let place = |c: &mut common::Conn| {
        (c.fact("master_replid"), c.figure("master_repl_offset"), c.run("DEBUG DIGEST"))
    };
    wait_until("the same dataset", || place(&mut m) == place(&mut r));
}

#[derive(Default, Debug)]
struct Figures {
    rounds: [usize; 3],
    acknowledged: [usize; 3],
}

/// One round; the servers may change their places.
fn round(pair: &mut [Server; 2], rng: &mut Rng, serial: &Arc<AtomicUsize>, figures: &mut Figures) {
    let kind = rng.below(3) as usize;
    let [master, replica] = pair;
    let writers = Writers::on(master, serial, kind == 2);
    // A disk may take a second, and the word of the other one's disk another.
    let most = if kind == 2 { 100 } else { 400 };
    writers.wait_for(10 + rng.below(most) as usize);
    let (writes, acked) = match kind {
        0 => {
            master.kill();
            let (writes, acked) = writers.end();
            assert_eq!(replica.connect().run("REPLICAOF NO ONE"), Value::ok());
            has_all(replica, &acked, "the promoted replica");
            master.restart();
            pair.swap(0, 1);
            (writes, acked)
        }
        1 => {
            replica.kill();
            let (writes, acked) = writers.end();
            has_all(master, &acked, "the master");
            replica.restart();
            (writes, acked)
        }
        _ => {
            match rng.below(2) {
                0 => [master.kill(), replica.kill()],
                _ => [replica.kill(), master.kill()],
            };
            let (writes, acked) = writers.end();
            master.restart();
            replica.restart();
            has_all(master, &acked, "the master, from its log");
            has_all(replica, &acked, "the replica, from its log");
            (writes, acked)
        }
    };
    figures.rounds[kind] += 1;
    figures.acknowledged[kind] += writes;
    let [master, replica] = pair;
    attach(replica, master);
    has_all(master, &acked, "the master in the end");
}

#[test]
fn what_was_acknowledged_survives_kills_in_turns() {
    let (rounds, begun) = (number("KILL_ROUNDS", 6), Instant::now());
    let mut rng = Rng::seeded(number("KILL_SEED", 1) as u64);
    let mut figures = Figures::default();
    let policies = ["always", "everysec"];
    for (n, fsync) in policies.into_iter().enumerate() {
        let options = ["--enable-debug-command", "yes", "--appendonly", "yes", "--appendfsync", fsync];
        let mut pair = [(); 2].map(|()| Server::with(&options));
        let serial = Arc::new(AtomicUsize::new(1));
        attach(&pair[1], &pair[0]);
        for _ in (n..rounds).step_by(policies.len()) {
            round(&mut pair, &mut rng, &serial, &mut figures);
        }
    }
    let seconds = begun.elapsed().as_secs();
    println!("{rounds} rounds (master, replica, both) in {seconds} s: {figures:?}, nothing lost");
}
