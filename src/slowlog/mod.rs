//! The slow log: the last commands that took longer than the threshold, newest first.
//!
//! An entry is a copy that says enough to find the culprit, and no more: at most 32 arguments of at
//! most 128 bytes, secrets left out by the caller of `push`. Numbers of entries go on through a reset.

use std::collections::VecDeque;

/// Arguments kept; the last place tells how many there were beyond.
pub const MAX_ARGS: usize = 32;
/// Bytes kept of each.
pub const MAX_BYTES: usize = 128;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SlowlogEntry {
    pub id: u64,
    /// Seconds since 1970.
    pub time: i64,
    pub micros: u64,
    pub args: Vec<Box<[u8]>>,
    pub peer: String,
    pub client_name: Box<[u8]>,
}

#[derive(Debug, Default)]
pub struct Slowlog {
    entries: VecDeque<SlowlogEntry>,
    next_id: u64,
    /// Commands that took longer than so many ticks are looked at (`server/slow`).
    pub threshold_ticks: u64,
}

impl Slowlog {
    /// Adds an entry of a command, and forgets what is beyond `max`.
    pub fn push(
        &mut self,
        max: usize,
        time: i64,
        micros: u64,
        args: &[&[u8]],
        peer: String,
        name: &[u8],
    ) {
        let id = self.next_id;
        self.next_id += 1;
        let entry = SlowlogEntry { id, time, micros, args: kept(args), peer, client_name: name.into() };
        self.entries.push_front(entry);
        self.trim(max);
    }

    fn trim(&mut self, max: usize) {
        self.entries.truncate(max);
    }

    pub fn clear(&mut self) {
        self.entries.clear();
    }

    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// The newest first.
    pub fn iter(&self) -> impl Iterator<Item = &SlowlogEntry> {
        self.entries.iter()
    }
}

fn kept(args: &[&[u8]]) -> Vec<Box<[u8]>> {
    let whole = if args.len() > MAX_ARGS { MAX_ARGS - 1 } else { args.len() };
    let mut kept: Vec<Box<[u8]>> = args[..whole].iter().map(|a| shortened(a)).collect();
    if whole < args.len() {
        kept.push(format!("... ({} more arguments)", args.len() - whole).into_bytes().into());
    }
    kept
}

fn shortened(arg: &[u8]) -> Box<[u8]> {
    let Some(begin) = arg.get(..MAX_BYTES).filter(|b| b.len() < arg.len()) else { return arg.into() };
    let rest = format!("... ({} more bytes)", arg.len() - MAX_BYTES);
    [begin, rest.as_bytes()].concat().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn push(log: &mut Slowlog, max: usize, args: &[&[u8]]) {
        log.push(max, 1, 2, args, "127.0.0.1:1".into(), b"me");
    }

    #[test]
    fn the_newest_stay_and_numbers_go_on() {
        let mut log = Slowlog::default();
        for i in 0..5u8 {
            push(&mut log, 3, &[&[i]]);
        }
        let ids = |l: &Slowlog| l.iter().map(|e| e.id).collect::<Vec<_>>();
        assert_eq!(ids(&log), [4, 3, 2]);
        log.clear();
        push(&mut log, 3, &[b"x"]);
        assert_eq!(ids(&log), [5]);
        push(&mut log, 0, &[b"x"]);
        assert_eq!(log.len(), 0);
    }

    #[test]
    fn arguments_are_trimmed_at_their_limits() {
        let args = |n: usize| vec![&b"a"[..]; n];
        assert_eq!(kept(&args(32)).len(), 32);
        let many = kept(&args(33));
        assert_eq!((many.len(), &*many[31]), (32, &b"... (2 more arguments)"[..]));
        assert_eq!(shortened(&[b'x'; 128]).len(), 128);
        assert!(shortened(&[b'x'; 129]).ends_with(b"xx... (1 more bytes)"));
    }
}
