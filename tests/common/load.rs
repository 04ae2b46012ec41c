//! Writes of all kinds, by seed, and clients that make them until they are told to end.

use super::{Server, request};
use oxidis::algo::rng::Rng;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

/// Small and seeded: the same commands in every run. Words are parted by spaces.
pub fn random_line(rng: &mut Rng) -> String {
    let (k, m, v) = (rng.below(40), rng.below(100), rng.below(1 << 20));
    match rng.below(14) {
        0 => format!("SET s{k} {v}"),
        1 => format!("INCRBYFLOAT f{k} {m}.5"),
        2 => format!("RPUSH l{k} {v} {m}"),
        3 => format!("LPOP l{k} 2"),
        4 => format!("SADD m{k} {m} {v}"),
        5 => format!("SPOP m{k} 2"),
        6 => format!("ZADD z{k} {m} {v}"),
        7 => format!("ZPOPMIN z{k} 1"),
        8 => format!("HSET h{k} {m} {v}"),
        9 => format!("XADD x{k} * f {v}"),
        10 => format!("EXPIRE s{k} 1000"),
        11 => format!("GETEX s{k} PX 500000"),
        12 => format!("COPY l{k} l{m} REPLACE"),
        _ => format!("DEL h{m} x{m} s{k}"),
    }
}

const SCRIPT: &str = "redis.call('incr', KEYS[1]) redis.call('lpush', KEYS[2], ARGV[1]) \
                      redis.call('ltrim', KEYS[2], 0, 20) return redis.call('get', KEYS[1])";

/// The same with scripts, times that pass, groups of streams and what else is rewritten on its way.
pub fn random_command(rng: &mut Rng) -> Vec<String> {
    let (k, m, v) = (rng.below(40), rng.below(100), rng.below(1 << 20));
    let line = match rng.below(16) {
        0 => {
            let words = ["EVAL", SCRIPT, "2", "counter", &format!("l{k}"), &v.to_string()];
            return words.map(str::to_owned).to_vec();
        }
        1 => format!("SET t{k} {v} PX {}", 1 + m),
        2 => format!("PEXPIRE s{k} {}", 1 + m),
        3 => format!("XGROUP CREATE x{k} g 0 MKSTREAM"),
        4 => format!("XREADGROUP GROUP g c COUNT 3 STREAMS x{k} >"),
        5 => format!("XTRIM x{k} MAXLEN 30"),
        6 => format!("RPUSH queue{} {v}", k % 3),
        7 => format!("ZADD scores{} {m} {v}", k % 3),
        8 => format!("PFADD p{k} {v} {m}"),
        9 => format!("SETBIT b{k} {} 1", v % 10_000),
        10 => format!("GEOADD g{k} {m}.5 {k}.25 {v}"),
        11 => format!("HINCRBY h{k} {m} {v}"),
        12 => format!("SMOVE m{k} m{m} {v}"),
        _ => random_line(rng),
    };
    line.split(' ').map(str::to_owned).collect()
}

/// Some commands, a transaction among them, and another database behind them.
fn burst(rng: &mut Rng) -> (Vec<u8>, usize) {
    let mut all: Vec<Vec<String>> = (0..20).map(|_| random_command(rng)).collect();
    all.insert(5, vec!["MULTI".into()]);
    all.insert(10, vec!["EXEC".into()]);
    all.push(vec!["SELECT".into(), rng.below(4).to_string()]);
    (all.iter().flat_map(|words| request(words)).collect(), all.len())
}

/// What blocks, for a short time.
fn blocking_command(rng: &mut Rng) -> Vec<u8> {
    let k = rng.below(3);
    let line = match rng.below(4) {
        0 => format!("BLPOP queue{k} 0.02"),
        1 => format!("BLMOVE queue{k} done{k} LEFT RIGHT 0.02"),
        2 => format!("BZPOPMIN scores{k} 0.02"),
        _ => format!("XREADGROUP GROUP g waits BLOCK 20 STREAMS x{k} >"),
    };
    request(&line.split(' ').collect::<Vec<_>>())
}

/// Clients that write, one of them with commands that block. They come again when they are cut.
pub struct Load {
    stop: Arc<AtomicBool>,
    bursts: Arc<AtomicUsize>,
    threads: Vec<JoinHandle<()>>,
}

impl Load {
    pub fn on(srv: &Server, seed: u64) -> Load {
        let (stop, bursts) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
        let mut threads = Vec::new();
        for blocks in [false, true] {
            let (until, count, port) = (stop.clone(), bursts.clone(), srv.port);
            threads.push(thread::spawn(move || {
                let mut rng = Rng::seeded(seed + u64::from(blocks));
                let mut conn = None;
                while !until.load(Ordering::Relaxed) {
                    let (bytes, n) = match blocks {
                        true => (blocking_command(&mut rng), 1),
                        false => burst(&mut rng),
                    };
                    if !exchange(&mut conn, port, &bytes, n) {
                        thread::sleep(Duration::from_millis(2));
                    } else if !blocks {
                        count.fetch_add(1, Ordering::Relaxed);
                    }
                }
            }));
        }
        Load { stop, bursts, threads }
    }

    /// Bursts of commands that were answered so far.
    pub fn bursts(&self) -> usize {
        self.bursts.load(Ordering::Relaxed)
    }

    /// Waits for some more of them.
    #[track_caller]
    pub fn wait_for(&self, more: usize) {
        let begun = self.bursts();
        super::wait_until("more writes", || self.bursts() >= begun + more);
    }

    pub fn end(mut self) {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            thread.join().expect("a client ends");
        }
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

/// Sends, and reads the replies; false, and no connection any more, when it is cut.
fn exchange(conn: &mut Option<TcpStream>, port: u16, bytes: &[u8], replies: usize) -> bool {
    let tried = try_exchange(conn, port, bytes, replies);
    if tried.is_err() {
        *conn = None;
    }
    tried.is_ok()
}

fn try_exchange(
    conn: &mut Option<TcpStream>,
    port: u16,
    bytes: &[u8],
    replies: usize,
) -> std::io::Result<()> {
    if conn.is_none() {
        let fresh = TcpStream::connect(("127.0.0.1", port))?;
        fresh.set_read_timeout(Some(super::PATIENCE))?;
        fresh.set_nodelay(true)?;
        *conn = Some(fresh);
    }
    let Some(c) = conn else { return Ok(()) };
    c.write_all(bytes)?;
    let (mut buf, mut room, mut at) = (Vec::new(), [0; 16 * 1024], 0);
    for _ in 0..replies {
        loop {
            if let Some(n) = reply_len(&buf[at..]) {
                at += n;
                break;
            }
            let n = c.read(&mut room)?;
            if n == 0 {
                return Err(std::io::ErrorKind::UnexpectedEof.into());
            }
            buf.extend_from_slice(&room[..n]);
        }
    }
    Ok(())
}

/// The length of the first reply, if all of it is there.
fn reply_len(b: &[u8]) -> Option<usize> {
    let line = b.windows(2).position(|w| w == b"\r\n")? + 2;
    let count = || std::str::from_utf8(&b[1..line - 2]).ok()?.parse::<i64>().ok();
    match b[0] {
        b'$' => match count()? {
            n if n < 0 => Some(line),
            n => Some(line + n as usize + 2).filter(|end| *end <= b.len()),
        },
        b'*' => {
            let mut at = line;
            for _ in 0..count()?.max(0) {
                at += reply_len(&b[at..])?;
            }
            Some(at)
        }
        _ => Some(line),
    }
}
