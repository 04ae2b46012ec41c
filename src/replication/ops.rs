//! The ops of one execution unit, and the streams they leave to.
//!
//! ```text
//! call ─┬─ the one op of its unit ───────────────────────► each stream, a SELECT before it where it is due
//!       └─ push ──► unit: [op][op][op] ── at nesting 0 ──► each stream, in MULTI and EXEC
//! ```
//!
//! An op is encoded once and copied once into each stream; a request that came in the form in which it is
//! propagated is not encoded at all (`Args::canonical`). Nothing is allocated for an op: `unit` and
//! `instead` keep their room.
//!
//! More than one op in a unit is wrapped in MULTI and EXEC, so that a reader of the stream sees all of it
//! or nothing. The op of a command that nothing surrounds is the last of its unit, so it is known then
//! whether others came before. Commands that touch arbitrary keys (SCAN, RANDOMKEY) only ever cause
//! expired keys to leave: those are independent of each other and go bare. `#TS:` lines stand in the AOF
//! only.
//!
//! A server that is a replica hands the bytes of its master on as they are (`Backlog::push`), beside all
//! this.

use super::backlog::Backlog;
use crate::persist::aof::{push_command as encode, push_timestamp};

/// Where an op goes.
pub mod to {
    pub const AOF: u8 = 1;
    pub const REPLICAS: u8 = 2;
    pub const ALL: u8 = AOF | REPLICAS;
}

/// Room of the unit that is kept for the next one.
const KEEP: usize = 64 * 1024;

struct Op {
    db: usize,
    mask: u8,
    /// Where its bytes end in those of the unit; they begin where the op before ends.
    end: usize,
}

/// What ops are appended to.
trait Tail {
    fn put(&mut self, bytes: &[u8]);
}

impl Tail for Vec<u8> {
    #[inline]
    fn put(&mut self, bytes: &[u8]) {
        self.extend_from_slice(bytes);
    }
}

impl Tail for Backlog {
    #[inline]
    fn put(&mut self, bytes: &[u8]) {
        self.push(bytes);
    }
}

/// The database that a reader of a stream has selected; None when that is not known.
#[derive(Default)]
pub struct Selected(Option<usize>);

impl Selected {
    /// The next op will be preceded by SELECT whatever its database is (a new file, a new replica).
    pub fn forget(&mut self) {
        self.0 = None;
    }

    pub fn db(&self) -> Option<usize> {
        self.0
    }

    #[inline]
    fn select(&mut self, db: usize, out: &mut impl Tail) {
        if self.0 != Some(db) {
            self.0 = Some(db);
            put_select(db, out);
        }
    }
}

#[cold]
fn put_select(db: usize, out: &mut impl Tail) {
    let (mut number, mut len) = (itoa::Buffer::new(), itoa::Buffer::new());
    let number = number.format(db);
    out.put(b"*2\r\n$6\r\nSELECT\r\n$");
    out.put(len.format(number.len()).as_bytes());
    out.put(b"\r\n");
    out.put(number.as_bytes());
    out.put(b"\r\n");
}

/// What waits to be written to the append only file.
#[derive(Default)]
pub struct Log {
    pub buf: Vec<u8>,
    pub selected: Selected,
    /// The second of the last `#TS:` line.
    stamped: i64,
}

impl Log {
    /// Says when what follows happened, once a second (`aof-timestamp-enabled`).
    fn stamp(&mut self, now: i64) {
        if self.stamped < now {
            push_timestamp(&mut self.buf, now);
            self.stamped = now;
        }
    }
}

/// The ops of the running unit, encoded one behind the other.
#[derive(Default)]
struct Unit {
    bytes: Vec<u8>,
    ops: Vec<Op>,
}

impl Unit {
    fn close(&mut self, db: usize, mask: u8) {
        self.ops.push(Op { db, mask, end: self.bytes.len() });
    }

    /// Copies the ops for one of the streams.
    fn copy(&self, mask: u8, wrap: bool, selected: &mut Selected, out: &mut impl Tail) {
        let wrap = wrap && self.ops.iter().filter(|o| o.mask & mask != 0).count() > 1;
        if wrap {
            out.put(b"*1\r\n$5\r\nMULTI\r\n");
        }
        let mut begin = 0;
        for op in &self.ops {
            if op.mask & mask != 0 {
                selected.select(op.db, out);
                out.put(&self.bytes[begin..op.end]);
            }
            begin = op.end;
        }
        if wrap {
            out.put(b"*1\r\n$4\r\nEXEC\r\n");
        }
    }

    fn clear(&mut self) {
        self.ops.clear();
        self.bytes.clear();
        self.bytes.shrink_to(KEEP);
    }
}

#[derive(Default)]
pub struct Ops {
    unit: Unit,
    /// What is propagated instead of the running command.
    instead: Vec<u8>,
    /// The running unit came from a command that touches arbitrary keys.
    pub bare: bool,
    /// Where a script does not want its commands to go.
    pub denied: u8,
    pub aof: Option<Log>,
    /// The state of the stream to replicas, whose bytes are the backlog.
    pub replicas: Option<Selected>,
    /// Ops that the stream would have taken if it were kept.
    unkept: u64,
}

impl Ops {
    /// Is there a stream that takes ops?
    pub fn wanted(&self) -> bool {
        self.aof.is_some() || self.replicas.is_some()
    }

    pub fn push(&mut self, db: usize, mask: u8, args: &[&[u8]]) {
        encode(&mut self.unit.bytes, args);
        self.unit.close(db, mask);
    }

    /// What the running command is propagated as; `push_instead` or `leave_instead` follows.
    pub fn set_instead(&mut self, args: &[&[u8]]) {
        self.instead.clear();
        self.instead.shrink_to(KEEP);
        encode(&mut self.instead, args);
    }

    pub fn push_instead(&mut self, db: usize, mask: u8) {
        self.unit.bytes.extend_from_slice(&self.instead);
        self.unit.close(db, mask);
    }

    /// Has the running unit no op yet?
    pub fn is_empty(&self) -> bool {
        self.unit.ops.is_empty()
    }

    /// The only op of a unit, in its encoded form, leaves at once. `now`: for `#TS:` lines.
    #[inline]
    pub fn leave(
        &mut self,
        db: usize,
        mask: u8,
        bytes: &[u8],
        now: Option<i64>,
        backlog: Option<&mut Backlog>,
    ) {
        debug_assert!(self.is_empty(), "other ops of the unit leave with it");
        if let Some(log) = self.aof.as_mut().filter(|_| mask & to::AOF != 0) {
            if let Some(now) = now {
                log.stamp(now);
            }
            log.selected.select(db, &mut log.buf);
            log.buf.put(bytes);
        }
        if let (Some(selected), Some(backlog)) = (&mut self.replicas, backlog)
            && mask & to::REPLICAS != 0
        {
            selected.select(db, backlog);
            backlog.put(bytes);
        } else {
            self.unkept += u64::from(mask & to::REPLICAS != 0);
        }
    }

    /// As `leave`, for the ops given to `set_instead`.
    pub fn leave_instead(
        &mut self,
        db: usize,
        mask: u8,
        now: Option<i64>,
        backlog: Option<&mut Backlog>,
    ) {
        let bytes = std::mem::take(&mut self.instead);
        self.leave(db, mask, &bytes, now, backlog);
        self.instead = bytes;
    }

    /// The number of ops that no stream has taken since the last call.
    pub fn take_unkept(&mut self) -> u64 {
        std::mem::take(&mut self.unkept)
    }

    /// The unit is over: its ops leave.
    pub fn flush(&mut self, now: Option<i64>, backlog: Option<&mut Backlog>) {
        let wrap = !std::mem::take(&mut self.bare);
        let unit = &mut self.unit;
        if let Some(log) = &mut self.aof {
            if let Some(now) = now.filter(|_| unit.ops.iter().any(|o| o.mask & to::AOF != 0)) {
                log.stamp(now);
            }
            unit.copy(to::AOF, wrap, &mut log.selected, &mut log.buf);
        }
        if let (Some(selected), Some(backlog)) = (&mut self.replicas, backlog) {
            unit.copy(to::REPLICAS, wrap, selected, backlog);
        } else {
            let ops = unit.ops.iter().filter(|o| o.mask & to::REPLICAS != 0).count() as u64;
            self.unkept += if wrap && ops > 1 { ops + 2 } else { ops };
        }
        unit.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(bytes: &[u8]) -> String {
        let words = bytes.split(|b| *b == b'\n').map(|l| String::from_utf8_lossy(l).trim().to_string());
        words.filter(|w| !w.is_empty() && !w.starts_with(['*', '$'])).collect::<Vec<_>>().join(" ")
    }

    fn aof(ops: &Ops) -> String {
        words(&ops.aof.as_ref().expect("it was opened").buf)
    }

    fn stream(backlog: &Backlog) -> String {
        let all = backlog.slices(0, usize::MAX);
        words(&all.iter().flat_map(|s| s.to_vec()).collect::<Vec<_>>())
    }

    fn open() -> (Ops, Backlog) {
        let (aof, replicas) = (Some(Log::default()), Some(Selected::default()));
        (Ops { aof, replicas, ..Ops::default() }, Backlog::new(0))
    }

    #[test]
    fn units_of_several_ops_are_wrapped_and_each_stream_selects_for_itself() {
        let (mut ops, mut backlog) = open();
        ops.push(0, to::ALL, &[b"SET", b"a", b"1"]);
        ops.flush(None, Some(&mut backlog));
        ops.push(0, to::ALL, &[b"INCR", b"a"]);
        ops.push(3, to::AOF, &[b"DEL", b"b"]);
        ops.flush(None, Some(&mut backlog));
        ops.bare = true;
        ops.push(3, to::ALL, &[b"DEL", b"x"]);
        ops.push(3, to::ALL, &[b"DEL", b"y"]);
        ops.flush(None, Some(&mut backlog));
        assert_eq!(aof(&ops), "SELECT 0 SET a 1 MULTI INCR a SELECT 3 DEL b EXEC DEL x DEL y");
        assert_eq!(stream(&backlog), "SELECT 0 SET a 1 INCR a SELECT 3 DEL x DEL y");
    }

    #[test]
    fn what_leaves_at_once_stands_between_units_as_any_other() {
        let (mut ops, mut backlog) = open();
        ops.leave(10, to::ALL, b"*1\r\n$1\r\nx\r\n", None, Some(&mut backlog));
        ops.set_instead(&[b"DEL", b"k"]);
        ops.leave_instead(10, to::REPLICAS, None, Some(&mut backlog));
        ops.push(10, to::ALL, &[b"y"]);
        ops.set_instead(&[b"SET", b"k", b"v"]);
        ops.push_instead(2, to::ALL);
        ops.flush(None, Some(&mut backlog));
        ops.leave(2, to::AOF, b"*1\r\n$1\r\nz\r\n", None, Some(&mut backlog));
        assert_eq!(aof(&ops), "SELECT 10 x MULTI y SELECT 2 SET k v EXEC z");
        assert_eq!(stream(&backlog), "SELECT 10 x DEL k MULTI y SELECT 2 SET k v EXEC");
        let mut select = Vec::new();
        encode(&mut select, &[b"SELECT", b"10"]);
        assert!(ops.aof.expect("it was opened").buf.starts_with(&select));
    }

    #[test]
    fn each_second_is_stamped_once_and_for_the_aof_only() {
        let (mut ops, mut backlog) = open();
        for (now, mask) in [(5, to::ALL), (5, to::ALL), (6, to::REPLICAS), (7, to::ALL)] {
            ops.push(0, mask, &[b"PING"]);
            ops.flush(Some(now), Some(&mut backlog));
        }
        ops.leave(0, to::ALL, b"x\r\n", Some(8), Some(&mut backlog));
        assert_eq!(aof(&ops), "#TS:5 SELECT 0 PING PING #TS:7 PING #TS:8 x");
        assert_eq!(stream(&backlog), "SELECT 0 PING PING PING PING x");
    }
}
