//! What people in a crowd say: to wait, to wake others, to listen, and to get into each other's way.
//!
//! Times are 0 or so long that they never come; ids of stream entries grow with the steps. One pattern and
//! one channel to leave without a name at most: several are told in the order of a table.

use super::values::{self, pick};
use crate::common::request;
use oxidis::algo::crc64;
use oxidis::algo::rng::Rng;

/// Where they meet: most often missing, or of any type.
pub const KEYS: &[&[u8]] = &[b"k1", b"k2", b"k3", b"k4", b"l:1", b"z:1", b"x:1", b"s:1"];

/// What one has said that says what one may say.
#[derive(Default)]
pub struct Habits {
    pattern: bool,
    channels: usize,
}

/// What one knows of all.
pub struct Others {
    pub ids: Vec<i64>,
    pub step: usize,
    /// 0: they unblock each other; 1: they pause writes; 2: they pause everything, for moments. One at a
    /// time: a real server dies when a paused client is unblocked, and the longest pause stops us as well.
    pub mood: usize,
}

/// What is to be sent, and how it is shown.
#[derive(Default)]
pub struct Said {
    pub bytes: Vec<u8>,
    pub shown: Vec<Vec<u8>>,
}

impl Said {
    pub fn words(&mut self, rng: &mut Rng, words: &[Vec<u8>]) {
        let plain = |w: &Vec<u8>| {
            let odd = |b: &u8| !b.is_ascii_graphic() || matches!(b, b'"' | b'\'');
            !w.is_empty() && w[0] != b'*' && !w.iter().any(odd)
        };
        if rng.below(8) == 0 && words.iter().all(plain) {
            self.bytes.extend_from_slice(&words.join(&b' '));
            self.bytes.extend_from_slice(if rng.below(2) == 0 { b"\r\n" } else { b"\n" });
        } else {
            self.bytes.extend(request(words));
        }
        if !self.shown.is_empty() {
            self.shown.push(b";".to_vec());
        }
        self.shown.extend_from_slice(words);
    }

    fn raw(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
        self.shown.extend([b"(raw)".to_vec(), bytes.to_vec()]);
    }

    fn line(&mut self, rng: &mut Rng, line: &str) {
        let words: Vec<Vec<u8>> = line.split(' ').map(|w| w.as_bytes().to_vec()).collect();
        self.words(rng, &words);
    }
}

fn text(rng: &mut Rng, list: &[&str]) -> String {
    pick(rng, list).to_string()
}

/// A key where people meet; one that is made now and then.
fn key(rng: &mut Rng) -> String {
    let at = if rng.below(6) == 0 { rng.index(KEYS.len()) } else { rng.index(4) };
    String::from_utf8_lossy(KEYS[at]).into_owned()
}

fn keys(rng: &mut Rng) -> (u64, String) {
    let n = 1 + rng.below(3);
    (n, (0..n).map(|_| key(rng)).collect::<Vec<_>>().join(" "))
}

/// One command, or some that belong together.
pub fn say(rng: &mut Rng, habits: &mut Habits, others: &Others, said: &mut Said) {
    let step = others.step;
    match rng.below(100) {
        0..26 => {
            let line = wait(rng);
            said.line(rng, &line);
        }
        26..52 => wake(rng, step, said),
        52..58 => {
            let key = key(rng);
            let words = values::write(key.as_bytes(), rng);
            let swaps = words.iter().any(|w| w.windows(6).any(|w| w == b"SWAPDB"));
            let words = if swaps { swap(&key) } else { words };
            said.words(rng, &words);
        }
        58..68 => {
            let line = to_others(rng, others);
            said.line(rng, &line);
        }
        68..82 => listen(rng, habits, said),
        82..90 => transaction(rng, step, said),
        90..94 => {
            let line = track(rng, others);
            said.line(rng, &line);
        }
        94..98 => {
            let line = of_oneself(rng);
            if line == "RESET" {
                *habits = Habits::default();
            }
            said.line(rng, &line);
        }
        _ => said.raw(pick(rng, values::RAW)),
    }
}

fn wait(rng: &mut Rng) -> String {
    let (n, keys) = keys(rng);
    let (one, two) = (key(rng), key(rng));
    let time = text(rng, &["0", "0", "1000", "0.0", "9999.5", "-1", "x"]);
    let ms = text(rng, &["0", "0", "1000000", "-1"]);
    let (from, to) = (text(rng, &["LEFT", "RIGHT"]), text(rng, &["LEFT", "RIGHT"]));
    let count = text(rng, &["", "", " COUNT 2", " COUNT 10"]);
    let ids = |id: &str| vec![id; n as usize].join(" ");
    let id = text(rng, &["$", "$", "0", "50000-1", "+"]);
    let consumer = text(rng, &["c1", "c2"]);
    let group = text(rng, &["g1", "g1", "g2"]);
    let new = text(rng, &[">", ">", ">", "0"]);
    let noack = text(rng, &["", "", "NOACK "]);
    match rng.below(14) {
        0..3 => format!("BLPOP {keys} {time}"),
        3 => format!("BRPOP {keys} {time}"),
        4..6 => format!("BLMOVE {one} {two} {from} {to} {time}"),
        6 => format!("BRPOPLPUSH {one} {two} {time}"),
        7 => format!("BLMPOP {time} {n} {keys} {from}{count}"),
        8 => format!("BZPOPMIN {keys} {time}"),
        9 => format!("BZPOPMAX {keys} {time}"),
        10 => format!("BZMPOP {time} {n} {keys} {}{count}", text(rng, &["MIN", "MAX"])),
        11 => format!("XREAD{count} BLOCK {ms} STREAMS {keys} {}", ids(&id)),
        _ => format!(
            "XREADGROUP GROUP {group} {consumer}{count} BLOCK {ms} {noack}STREAMS {keys} {}",
            ids(&new)
        ),
    }
}

/// A command that may wake clients that wait.
fn wake(rng: &mut Rng, step: usize, said: &mut Said) {
    let (k, o) = (key(rng), key(rng));
    let group = text(rng, &["g1", "g1", "g2"]);
    let line = match rng.below(40) {
        0..4 => format!("RPUSH {k} a{step} b c"),
        4 => format!("LPUSH {k} {step}"),
        5 => format!("RPUSHX {k} x"),
        6..9 => format!("ZADD {k} {} m{step} 1 b", step % 7),
        9 => format!("ZINCRBY {k} 1 b"),
        10..14 => format!("XADD {k} {step}-1 f v{step}"),
        14..17 => format!("XGROUP CREATE {k} {group} {} MKSTREAM", text(rng, &["$", "0"])),
        17 => format!("XGROUP DESTROY {k} {group}"),
        18..20 => format!("DEL {k} {o}"),
        20 => format!("UNLINK {k}"),
        21 => format!("SET {k} text"),
        22 => format!("RENAME {o} {k}"),
        23 => format!("RENAMENX l:1 {k}"),
        24 => return said.words(rng, &swap(&k)),
        25 => format!("MOVE {k} 1"),
        26 => format!("COPY {o} {k} REPLACE"),
        27 => format!("COPY {o} {k} DB 1"),
        28 => format!("SORT {o} ALPHA STORE {k}"),
        29 => format!("LMOVE {o} {k} LEFT RIGHT"),
        30 => format!("RPOPLPUSH {o} {k}"),
        31 => format!("ZRANGESTORE {k} {o} 0 -1"),
        32 => format!("EXPIRE {k} -1"),
        33 => format!("XDEL {k} {}-1", step.saturating_sub(3)),
        34 => format!("HSET {k} f v"),
        35 => text(rng, &["FLUSHDB", "FLUSHALL", "FLUSHALL ASYNC"]),
        36 => return said.words(rng, &restore(&k)),
        37 => format!("GEOADD {k} 1 1 a"),
        _ => {
            let words = script(&k, &o, rng);
            return said.words(rng, &words);
        }
    };
    said.line(rng, &line);
}

/// A list of one element.
fn restore(key: &str) -> Vec<Vec<u8>> {
    let mut payload = b"\x01\x01\x05hello\x0b\x00".to_vec();
    payload.extend(crc64::update(0, &payload).to_le_bytes());
    let words: [&[u8]; 5] = [b"RESTORE", key.as_bytes(), b"0", &payload, b"REPLACE"];
    words.iter().map(|w| w.to_vec()).collect()
}

/// Databases change places; one key may wake a client then, since several are found in the order of a table.
fn swap(key: &str) -> Vec<Vec<u8>> {
    const CODE: &str = "redis.call('SELECT', 1) redis.call('FLUSHDB') \
        redis.call('RPUSH', KEYS[1], 'x', 'y') return redis.call('SWAPDB', 1, 0)";
    ["EVAL", CODE, "1", key].map(|w| w.as_bytes().to_vec()).to_vec()
}

fn script(key: &str, other: &str, rng: &mut Rng) -> Vec<Vec<u8>> {
    const SCRIPTS: &[&str] = &[
        "redis.call('RPUSH', KEYS[1], 'x') return redis.call('RPUSH', KEYS[2], 'y')",
        "redis.call('DEL', KEYS[1]) redis.call('ZADD', KEYS[1], 1, 'a') return 1",
        "redis.call('RPUSH', KEYS[1], 'x') redis.call('DEL', KEYS[1]) return 'gone'",
        "redis.call('SET', KEYS[1], 'x') redis.call('DEL', KEYS[1]) \
         redis.call('RPUSH', KEYS[1], 'x') return redis.call('PUBLISH', 'news', 'script')",
        "return redis.call('BLPOP', KEYS[1], 0)",
        "redis.call('RPUSH', KEYS[2], 'half') error('oh')",
        "return redis.call('RENAME', KEYS[2], KEYS[1])",
        "redis.call('SELECT', 1) return redis.call('RPUSH', KEYS[1], 'there')",
    ];
    let code = pick(rng, SCRIPTS);
    ["EVAL", code, "2", key, other].map(|w| w.as_bytes().to_vec()).to_vec()
}

/// Caching: who is told of which keys. Two prefixes at most: of three a real server answers twice when the
/// last two overlap.
fn track(rng: &mut Rng, others: &Others) -> String {
    let id = pick(rng, &others.ids);
    let redirect = match rng.below(6) {
        0..2 => format!(" REDIRECT {id}"),
        2 => text(rng, &[" REDIRECT 0", " REDIRECT 99999999", " REDIRECT x", " REDIRECT", ""]),
        _ => String::new(),
    };
    let loops = text(rng, &["", "", " NOLOOP"]);
    let keys = text(
        rng,
        &[
            "",
            " PREFIX k",
            " PREFIX k1",
            " PREFIX l: PREFIX z:",
            " PREFIX k PREFIX k2",
            " PREFIX s: PREFIX s:",
        ],
    );
    match rng.below(16) {
        0..4 => format!("CLIENT TRACKING ON{redirect}{loops}"),
        4..7 => format!("CLIENT TRACKING ON BCAST{keys}{redirect}{loops}"),
        7 => format!("CLIENT TRACKING ON OPTIN{redirect}"),
        8 => format!("CLIENT TRACKING ON{loops} OPTOUT"),
        9 => text(
            rng,
            &["CLIENT TRACKING ON OPTIN OPTOUT", "CLIENT TRACKING ON PREFIX x", "CLIENT TRACKING x"],
        ),
        10..12 => "CLIENT TRACKING OFF".into(),
        12 => text(rng, &["CLIENT CACHING YES", "CLIENT CACHING NO", "CLIENT CACHING x"]),
        13 => text(rng, &["CLIENT TRACKINGINFO", "CLIENT GETREDIR"]),
        _ => format!("GET {}", key(rng)),
    }
}

/// What concerns other people.
fn to_others(rng: &mut Rng, others: &Others) -> String {
    let id = pick(rng, &others.ids);
    match rng.below(20) {
        0..4 if others.mood == 1 => "CLIENT PAUSE 100000 WRITE".into(),
        0..6 if others.mood == 0 => {
            format!("CLIENT UNBLOCK {id}{}", text(rng, &["", " TIMEOUT", " ERROR", " x"]))
        }
        6 => format!("CLIENT UNBLOCK {}", text(rng, &["0", "-1", "x", "99999999"])),
        7 => format!("CLIENT KILL ID {id}"),
        8 => format!("CLIENT KILL ID {id} SKIPME no"),
        9 => format!("CLIENT KILL ID {id} TYPE {}", text(rng, &["normal", "pubsub", "slave", "x"])),
        10 => format!("CLIENT KILL USER {} ID {id}", text(rng, &["default", "nobody"])),
        11 => "CLIENT KILL 1.2.3.4:5".into(),
        12 if others.mood == 2 => "CLIENT PAUSE 3 ALL".into(),
        13 => text(rng, &["CLIENT PAUSE x", "CLIENT PAUSE 1 y", "CLIENT PAUSE -1"]),
        _ => "CLIENT UNPAUSE".into(),
    }
}

fn listen(rng: &mut Rng, habits: &mut Habits, said: &mut Said) {
    let channel = text(rng, &["news", "n2", "__keyevent@0__:lpush", "__keyspace@0__:k1", "x"]);
    let line = match rng.below(20) {
        0..3 => {
            habits.channels += 1;
            format!("SUBSCRIBE {channel}")
        }
        3 => {
            habits.channels += 2;
            format!("SUBSCRIBE {channel} news")
        }
        4..6 if !habits.pattern => {
            habits.pattern = true;
            format!("PSUBSCRIBE {}", text(rng, &["n*", "__key*__:*", "*", "__keyspace@?__:k[12]"]))
        }
        6 => {
            habits.channels += 1;
            format!("SSUBSCRIBE {channel}")
        }
        7 => format!("UNSUBSCRIBE {channel} nosuch"),
        8 => format!("SUNSUBSCRIBE {channel}"),
        9 if habits.channels < 2 => text(rng, &["UNSUBSCRIBE", "SUNSUBSCRIBE"]),
        10 => {
            habits.pattern = false;
            "PUNSUBSCRIBE".into()
        }
        11 => format!("SPUBLISH {channel} to-shard"),
        12 => text(rng, &["PUBSUB NUMPAT", "PUBSUB NUMSUB news n2 x", "PUBSUB SHARDNUMSUB news x"]),
        13 => {
            format!("CONFIG SET notify-keyspace-events {}", text(rng, &["KEAnm", "KEA", "Kl$z", "Exg"]))
        }
        14 if rng.below(3) == 0 => "MONITOR".into(),
        _ => format!("PUBLISH {channel} message"),
    };
    said.line(rng, &line);
}

fn transaction(rng: &mut Rng, step: usize, said: &mut Said) {
    let (k, o) = (key(rng), key(rng));
    match rng.below(8) {
        0..3 => said.line(rng, &format!("WATCH {k} {o}")),
        3 => {
            let line = text(rng, &["UNWATCH", "DISCARD", "MULTI", "EXEC"]);
            said.line(rng, &line);
        }
        // In a row, or with something that others do between.
        4..6 => {
            said.line(rng, "MULTI");
            for _ in 0..rng.below(4) {
                match rng.below(4) {
                    0 => {
                        let line = wait(rng);
                        said.line(rng, &line);
                    }
                    1 => {
                        let line = text(rng, &["GET", "LRANGE", "ZCARD", "TYPE", "EXISTS"]);
                        let more = if line == "LRANGE" { " 0 -1" } else { "" };
                        said.line(rng, &format!("{line} {k}{more}"));
                    }
                    _ => wake(rng, step, said),
                }
            }
            said.line(rng, "EXEC");
        }
        6 => said.line(rng, "MULTI"),
        _ => {
            let line = text(rng, &["EXEC", "EXEC", "EXEC", "DISCARD"]);
            said.line(rng, &line);
        }
    }
}

fn of_oneself(rng: &mut Rng) -> String {
    const LINES: &[&str] = &[
        "CLIENT REPLY OFF",
        "CLIENT REPLY ON",
        "CLIENT REPLY ON",
        "CLIENT REPLY SKIP",
        "CLIENT NO-EVICT ON",
        "CLIENT NO-EVICT OFF",
        "CLIENT NO-TOUCH ON",
        "CLIENT NO-TOUCH OFF",
        "CLIENT SETNAME me",
        "CLIENT SETINFO lib-name lib",
        "CLIENT GETNAME",
        "CLIENT ID",
        "HELLO",
        "HELLO 2",
        "HELLO 3",
        "HELLO 3 SETNAME you",
        "HELLO 4",
        "RESET",
        "QUIT",
        "SELECT 0",
        "PING",
        "PING hi",
        "ECHO hi",
        "GET s:1",
        "LRANGE k1 0 -1",
        "NOSUCH",
        "GET",
    ];
    text(rng, LINES)
}
