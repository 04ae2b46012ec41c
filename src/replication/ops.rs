//! The ops of one execution unit, and the sinks they leave to.
//!
//! ```text
//! call ── push ──► queue (in order) ── at nesting 0 ──► one unit ──► each sink adds its own SELECT
//! ```
//!
//! More than one op in a unit is wrapped in MULTI and EXEC, so that whoever replays the stream sees all
//! of it or nothing. Commands that touch arbitrary keys (SCAN, RANDOMKEY) only ever cause expired keys
//! to leave: those are independent of each other and go bare. `#TS:` lines stand in the AOF only.

use crate::persist::aof::{push_command as encode, push_timestamp};

/// Where an op goes.
pub mod to {
    pub const AOF: u8 = 1;
    pub const REPLICAS: u8 = 2;
    pub const ALL: u8 = AOF | REPLICAS;
}

pub struct Op {
    pub db: usize,
    pub mask: u8,
    /// As it is written: `*n $len arg ...`.
    pub bytes: Vec<u8>,
}

/// One stream that ops leave to: a file or the replication backlog. Knows which database was selected
/// last.
#[derive(Default)]
pub struct Sink {
    pub buf: Vec<u8>,
    selected: Option<usize>,
    /// The second of the last `#TS:` line.
    stamped: i64,
}

impl Sink {
    /// The next op will be preceded by SELECT whatever its database is (a new file, a new replica).
    pub fn forget_db(&mut self) {
        self.selected = None;
    }

    /// The database that whoever reads the stream has selected.
    pub fn selected(&self) -> Option<usize> {
        self.selected
    }

    /// Appends a command that concerns no database.
    pub fn bare(&mut self, args: &[&[u8]]) {
        encode(&mut self.buf, args);
    }

    /// All of it has gone its way; the room is kept, unless it is much.
    pub fn written(&mut self) {
        const KEEP: usize = 64 * 1024;
        self.buf.clear();
        self.buf.shrink_to(KEEP);
    }

    fn select(&mut self, db: usize) {
        if self.selected != Some(db) {
            encode(&mut self.buf, &[b"SELECT", db.to_string().as_bytes()]);
            self.selected = Some(db);
        }
    }

    /// Says when what follows happened, once a second (`aof-timestamp-enabled`).
    fn stamp(&mut self, now: i64) {
        if self.stamped < now {
            push_timestamp(&mut self.buf, now);
            self.stamped = now;
        }
    }

    /// Appends the ops of one unit.
    pub fn append(&mut self, unit: &[Op], mask: u8, wrap: bool) {
        let mine = || unit.iter().filter(|o| o.mask & mask != 0);
        let wrap = wrap && mine().count() > 1;
        if wrap {
            encode(&mut self.buf, &[b"MULTI"]);
        }
        for op in mine() {
            self.select(op.db);
            self.buf.extend_from_slice(&op.bytes);
        }
        if wrap {
            encode(&mut self.buf, &[b"EXEC"]);
        }
    }
}

#[derive(Default)]
pub struct Ops {
    queue: Vec<Op>,
    /// The running unit came from a command that touches arbitrary keys.
    pub bare: bool,
    /// Where a script does not want its commands to go.
    pub denied: u8,
    pub aof: Option<Sink>,
    /// The time for `#TS:` lines of the AOF; None without them.
    pub now: Option<i64>,
    pub replicas: Option<Sink>,
}

impl Ops {
    /// Does anybody take ops?
    pub fn wanted(&self) -> bool {
        self.aof.is_some() || self.replicas.is_some()
    }

    pub fn push(&mut self, db: usize, mask: u8, args: &[&[u8]]) {
        let mut bytes = Vec::with_capacity(args.iter().map(|a| a.len() + 16).sum());
        encode(&mut bytes, args);
        self.queue.push(Op { db, mask, bytes });
    }

    pub fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    /// The unit is over: its ops leave.
    pub fn flush(&mut self) {
        let wrap = !std::mem::take(&mut self.bare);
        if let Some(s) = &mut self.aof {
            if let Some(now) = self.now.filter(|_| self.queue.iter().any(|o| o.mask & to::AOF != 0)) {
                s.stamp(now);
            }
            s.append(&self.queue, to::AOF, wrap);
        }
        if let Some(s) = &mut self.replicas {
            s.append(&self.queue, to::REPLICAS, wrap);
        }
        self.queue.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(s: &Sink) -> String {
        let words = s.buf.split(|b| *b == b'\n').map(|l| String::from_utf8_lossy(l).trim().to_string());
        words.filter(|w| !w.is_empty() && !w.starts_with(['*', '$'])).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn units_of_several_ops_are_wrapped_and_each_sink_selects_for_itself() {
        let mut ops =
            Ops { aof: Some(Sink::default()), replicas: Some(Sink::default()), ..Ops::default() };
        ops.push(0, to::ALL, &[b"SET", b"a", b"1"]);
        ops.flush();
        ops.push(0, to::ALL, &[b"INCR", b"a"]);
        ops.push(3, to::AOF, &[b"DEL", b"b"]);
        ops.flush();
        ops.bare = true;
        ops.push(3, to::ALL, &[b"DEL", b"x"]);
        ops.push(3, to::ALL, &[b"DEL", b"y"]);
        ops.flush();
        let aof = text(ops.aof.as_ref().expect("set above"));
        assert_eq!(aof, "SELECT 0 SET a 1 MULTI INCR a SELECT 3 DEL b EXEC DEL x DEL y");
        let replicas = text(ops.replicas.as_ref().expect("set above"));
        assert_eq!(replicas, "SELECT 0 SET a 1 INCR a SELECT 3 DEL x DEL y");
    }

    #[test]
    fn each_second_is_stamped_once_and_for_the_aof_only() {
        let mut ops =
            Ops { aof: Some(Sink::default()), replicas: Some(Sink::default()), ..Ops::default() };
        for (now, mask) in [(5, to::ALL), (5, to::ALL), (6, to::REPLICAS), (7, to::ALL)] {
            ops.now = Some(now);
            ops.push(0, mask, &[b"PING"]);
            ops.flush();
        }
        let aof = text(ops.aof.as_ref().expect("set above"));
        assert_eq!(aof, "#TS:5 SELECT 0 PING PING #TS:7 PING");
        assert_eq!(text(ops.replicas.as_ref().expect("set above")), "SELECT 0 PING PING PING PING");
    }
}
