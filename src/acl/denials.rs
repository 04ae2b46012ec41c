//! ACL LOG: the latest refusals, newest first. The same refusal again within a minute is counted with the
//! one before, when that is among the ten newest.

use std::collections::VecDeque;

/// Entries that are compared with a new one.
const COMPARED: usize = 10;
/// Milliseconds within which the same refusal is one entry.
const TOGETHER_MS: i64 = 60_000;

/// What was refused. The number is its place in the statistics.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeniedWhat {
    Auth = 0,
    Command = 1,
    Key = 2,
    Channel = 3,
}

impl DeniedWhat {
    pub fn name(self) -> &'static str {
        match self {
            DeniedWhat::Auth => "auth",
            DeniedWhat::Command => "command",
            DeniedWhat::Key => "key",
            DeniedWhat::Channel => "channel",
        }
    }
}

/// Where the call came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeniedIn {
    TopLevel,
    Transaction,
    Script,
}

impl DeniedIn {
    pub fn name(self) -> &'static str {
        match self {
            DeniedIn::TopLevel => "toplevel",
            DeniedIn::Transaction => "multi",
            DeniedIn::Script => "lua",
        }
    }
}

/// One refusal, without its time and number.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    pub what: DeniedWhat,
    pub place: DeniedIn,
    /// The command, key or channel; for a login the command's name as it was given.
    pub object: Vec<u8>,
    pub user: Vec<u8>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Denial {
    pub id: u64,
    pub refusal: Refusal,
    pub count: u64,
    pub created_ms: i64,
    pub updated_ms: i64,
    /// The client that was refused last, as CLIENT INFO shows it.
    pub client: String,
}

#[derive(Debug, Default)]
pub struct Denials {
    entries: VecDeque<Denial>,
    next_id: u64,
}

impl Denials {
    pub fn push(&mut self, max: usize, now_ms: i64, refusal: Refusal, client: String) {
        let same = |e: &Denial| {
            e.refusal == refusal && now_ms.abs_diff(e.updated_ms) <= TOGETHER_MS.unsigned_abs()
        };
        let known = self.entries.iter().take(COMPARED).position(same);
        let entry = match known.and_then(|at| self.entries.remove(at)) {
            Some(known) => Denial { count: known.count + 1, updated_ms: now_ms, client, ..known },
            None => {
                let id = self.next_id;
                self.next_id += 1;
                Denial { id, refusal, count: 1, created_ms: now_ms, updated_ms: now_ms, client }
            }
        };
        self.entries.push_front(entry);
        if known.is_none() {
            self.entries.truncate(max);
        }
    }

    pub fn clear(&mut self) {
        self.entries.clear();
    }

    pub fn iter(&self) -> impl ExactSizeIterator<Item = &Denial> {
        self.entries.iter()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(object: &str) -> Refusal {
        let (object, user) = (object.into(), b"u".to_vec());
        Refusal { what: DeniedWhat::Key, place: DeniedIn::TopLevel, object, user }
    }

    fn shown(log: &Denials) -> Vec<(u64, u64, &str)> {
        let object = |e: &'_ Denial| std::str::from_utf8(&e.refusal.object).expect("text").to_owned();
        log.iter().map(|e| (e.id, e.count, &*object(e).leak())).collect()
    }

    #[test]
    fn the_same_refusal_is_one_entry_for_a_minute() {
        let mut log = Denials::default();
        log.push(8, 1000, refusal("a"), String::new());
        log.push(8, 2000, refusal("b"), String::new());
        log.push(8, 61_000, refusal("a"), "last".into());
        assert_eq!(shown(&log), [(0, 2, "a"), (1, 1, "b")]);
        let first = log.iter().next().expect("one");
        assert_eq!((first.created_ms, first.updated_ms, &*first.client), (1000, 61_000, "last"));
        log.push(8, 62_001, refusal("b"), String::new());
        assert_eq!(shown(&log), [(2, 1, "b"), (0, 2, "a"), (1, 1, "b")]);
    }

    #[test]
    fn old_entries_go_and_numbers_go_on() {
        let mut log = Denials::default();
        for i in 0..20 {
            log.push(15, 0, refusal(&format!("k{i}")), String::new());
        }
        assert_eq!(log.iter().len(), 15);
        // Beyond the ten newest nothing is looked for.
        log.push(15, 0, refusal("k8"), String::new());
        assert_eq!(shown(&log)[0], (20, 1, "k8"));
        log.push(2, 0, refusal("new"), String::new());
        assert_eq!(log.iter().len(), 2);
        log.clear();
        log.push(0, 0, refusal("x"), String::new());
        assert_eq!(log.iter().len(), 0);
    }
}
