//! Parsers of outside bytes against random input. Each target is a function of a generator; a run is a
//! number of seeds. `make test` runs the same few seeds every time, `make fuzz` fresh ones for a while:
//!
//! ```text
//!   FUZZ_SECONDS=600   each target, from a seed out of the kernel; without it: seeds 0..RUNS
//!   FUZZ_SEED=123      begin there; a failing run prints the line that repeats it
//! ```
//!
//! A target asserts more than "no panic": the parser agrees with a naive twin, and gives the same
//! however the bytes are cut into reads. To add one: a function of `&mut Rng`, and a test that hands it
//! to `fuzz`.

use oxidis::algo::quote::split_args;
use oxidis::algo::rng::Rng;
use oxidis::proto::parse::{Limits, Parsed, Span, State};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::time::{Duration, Instant};

const RUNS: u64 = 3_000;

fn number(variable: &str) -> Option<u64> {
    let text = std::env::var(variable).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{variable} wants a number, not {text:?}")))
}

fn fuzz(name: &str, target: fn(&mut Rng)) {
    let seconds = number("FUZZ_SECONDS");
    let first =
        number("FUZZ_SEED").unwrap_or_else(|| seconds.map_or(0, |_| Rng::from_os().next_u64() >> 1));
    let end = seconds.map(|s| Instant::now() + Duration::from_secs(s));
    let mut seed = first;
    while end.map_or(seed - first < RUNS, |end| Instant::now() < end) {
        if let Err(panic) = catch_unwind(AssertUnwindSafe(|| target(&mut Rng::seeded(seed)))) {
            eprintln!("to repeat: FUZZ_SEED={seed} cargo test --profile fast --test fuzz {name}");
            resume_unwind(panic);
        }
        seed += 1;
    }
    assert!(seed > first, "at least one run");
    println!("{name}: {} runs from seed {first}", seed - first);
}

// ---- the request parser --------------------------------------------------------------------------

/// Requests in order, and the text of the error that ended them.
type Requests = (Vec<Vec<Vec<u8>>>, Option<String>);

/// Reads the whole stream at once, as plainly as the protocol can be said.
fn naive_requests(mut rest: &[u8], limits: &Limits) -> Requests {
    let mut requests = Vec::new();
    while !rest.is_empty() {
        match naive_request(rest, limits) {
            Err(text) => return (requests, Some(text)),
            Ok(None) => break,
            Ok(Some((words, used))) => {
                requests.extend(words);
                rest = &rest[used..];
            }
        }
    }
    (requests, None)
}

/// One request and its length; no request inside for an empty multibulk. None: not complete.
type Request = Option<(Option<Vec<Vec<u8>>>, usize)>;

fn naive_request(bytes: &[u8], limits: &Limits) -> Result<Request, String> {
    if bytes[0] != b'*' {
        let Some(lf) = bytes.iter().position(|&b| b == b'\n') else { return Ok(None) };
        let line = bytes[..lf].strip_suffix(b"\r").unwrap_or(&bytes[..lf]);
        let words = split_args(line).ok_or("unbalanced quotes in request")?;
        return Ok(Some((Some(words), lf + 1)));
    }
    let Some((count, mut at)) = naive_line(bytes) else { return Ok(None) };
    let count = count.filter(|n| *n <= i64::from(i32::MAX)).ok_or("invalid multibulk length")?;
    if count > 10 && !limits.authenticated {
        return Err("unauthenticated multibulk length".into());
    }
    if count <= 0 {
        return Ok(Some((None, at)));
    }
    let mut words = Vec::new();
    for _ in 0..count {
        let Some((len, used)) = naive_line(&bytes[at..]) else { return Ok(None) };
        if bytes[at] != b'$' {
            return Err(format!("expected '$', got '{}'", bytes[at] as char));
        }
        let len = len.filter(|n| (0..=limits.max_bulk).contains(n)).ok_or("invalid bulk length")?;
        if len > 16384 && !limits.authenticated {
            return Err("unauthenticated bulk length".into());
        }
        at += used;
        let end = at + len as usize;
        if bytes.len() < end + 2 {
            return Ok(None);
        }
        words.push(bytes[at..end].to_vec());
        at = end + 2;
    }
    Ok(Some((Some(words), at)))
}

/// The number after the first byte of a line, and the length of the line with CR and the byte behind it.
fn naive_line(bytes: &[u8]) -> Option<(Option<i64>, usize)> {
    let cr = bytes.iter().position(|&b| b == b'\r')?;
    if bytes.len() < cr + 2 {
        return None;
    }
    let digits = std::str::from_utf8(bytes.get(1..cr).unwrap_or(&[])).unwrap_or("");
    let number = digits.parse::<i64>().ok().filter(|n| n.to_string() == digits);
    Some((number, cr + 2))
}

/// Feeds the stream in reads of random size, as the reactor would, and takes complete requests off.
fn requests_in_reads(rng: &mut Rng, stream: &[u8], limits: &Limits) -> Requests {
    let (mut state, mut buf, mut requests) = (State::default(), Vec::new(), Vec::new());
    let mut spans: Vec<Span> = Vec::new();
    let mut rest = stream;
    while !rest.is_empty() {
        let most = if rng.index(2) == 0 { 4 } else { rest.len() };
        let (read, later) = rest.split_at(1 + rng.index(most.min(rest.len())));
        rest = later;
        buf.extend_from_slice(read);
        loop {
            spans.clear();
            let used = match state.next(&buf, limits, &mut spans) {
                Parsed::Multibulk { len } => {
                    requests.push(spans.iter().map(|s| buf[s.off..s.off + s.len].to_vec()).collect());
                    len
                }
                Parsed::Inline { len, words } => {
                    requests.push(words);
                    len
                }
                Parsed::Empty { len } => len,
                Parsed::Partial => break,
                Parsed::Broken(text) => return (requests, Some(text)),
            };
            assert!((1..=buf.len()).contains(&used), "a request has bytes, and only such that came");
            buf.drain(..used);
            assert!(!state.is_partial(), "nothing is begun right behind a request");
        }
    }
    (requests, None)
}

fn random_stream(rng: &mut Rng) -> Vec<u8> {
    const PIECES: &[&[u8]] =
        &[b"*", b"$", b"\r\n", b"\r", b"\n", b"0", b"-1", b"16385", b" ", b"\"", b"'", b"\\x4", b"\0"];
    let mut stream = Vec::new();
    for _ in 0..rng.index(5) {
        match rng.index(8) {
            0 => stream.extend_from_slice(b"set k 'a b' \"\\x41\\n\"\r\n"),
            1 => stream.extend_from_slice(format!("*{}\r\n", rng.index(3)).as_bytes()),
            _ => push_multibulk(rng, &mut stream),
        }
    }
    // Most streams are hurt in a few places: the interesting bytes are those close to valid ones.
    for _ in 0..rng.index(4) {
        let at = rng.index(stream.len() + 1);
        match rng.index(3) {
            0 => stream.truncate(at),
            1 if at < stream.len() => stream[at] = rng.next_u32() as u8,
            _ => drop(stream.splice(at..at, PIECES[rng.index(PIECES.len())].iter().copied())),
        }
    }
    stream
}

fn push_multibulk(rng: &mut Rng, stream: &mut Vec<u8>) {
    // Small ones mostly; 10 arguments and 16,384 bytes are what is open before authentication.
    let count = if rng.index(20) == 0 { 10 + rng.index(2) } else { 1 + rng.index(4) };
    stream.extend_from_slice(format!("*{count}\r\n").as_bytes());
    for _ in 0..count {
        let len = match rng.index(100) {
            0 => 16_384 + rng.index(2),
            1..5 => rng.index(1000),
            _ => rng.index(12),
        };
        let mut word = vec![0; len];
        rng.fill(&mut word);
        stream.extend_from_slice(format!("${}\r\n", word.len()).as_bytes());
        stream.extend_from_slice(&word);
        stream.extend_from_slice(b"\r\n");
    }
}

fn request_parser(rng: &mut Rng) {
    let limits = Limits { max_bulk: 512 << 20, authenticated: rng.index(4) > 0 };
    let stream = random_stream(rng);
    let want = naive_requests(&stream, &limits);
    for _ in 0..3 {
        let got = requests_in_reads(rng, &stream, &limits);
        assert_eq!(got, want, "stream {:?}", stream.escape_ascii().to_string());
    }
}

#[test]
fn fuzz_request_parser() {
    fuzz("fuzz_request_parser", request_parser);
}

#[test]
fn the_twin_sees_requests_and_errors() {
    let limits = Limits { max_bulk: 512 << 20, authenticated: false };
    let (requests, error) = naive_requests(b"*1\r\n$4\r\nPING\r\nget k\n*0\r\n*1\r\n$1\r\nab", &limits);
    assert_eq!(requests, [vec![b"PING".to_vec()], vec![b"get".to_vec(), b"k".to_vec()]]);
    assert_eq!(error, None);
    assert_eq!(
        naive_requests(b"*11\r\n", &limits).1.as_deref(),
        Some("unauthenticated multibulk length")
    );
    assert_eq!(naive_requests(b"*1\r\n$01\r\n", &limits).1.as_deref(), Some("invalid bulk length"));
}
