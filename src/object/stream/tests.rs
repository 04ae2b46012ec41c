//! A log beside its naive twin: a list of entries in which those that are gone are marked.

use super::*;
use crate::ds::prop::Source;
use crate::sys::defrag::Mover;
use entries::{AddError, Keep, StreamLimits, Trim};

#[derive(Clone, PartialEq, Debug)]
struct Line {
    id: Id,
    words: Vec<Vec<u8>>,
}

fn words(source: &mut Source<'_>) -> Vec<Vec<u8>> {
    const WORDS: [&[u8]; 6] = [b"a", b"bb", b"17", b"-300", b"70000", b""];
    let n = 1 + source.below(3);
    let other = source.one_in(4);
    let mut all = Vec::new();
    for i in 0..n {
        all.push(if other { source.pick(&WORDS).to_vec() } else { vec![b'f', i as u8] });
        all.push(source.pick(&WORDS).to_vec());
    }
    all
}

fn line(e: &node::StreamEntry<'_>) -> Line {
    let words = e.pairs().flat_map(|(f, v)| [f.to_vec(), v.to_vec()]).collect();
    Line { id: e.id, words }
}

fn check(log: &Log, twin: &[Line], source: &mut Source<'_>) {
    let mut live = 0;
    for (key, lp) in blocks(log) {
        assert!(node::is_sound(lp), "block {key:?}: {lp:?}");
        let node = node::StreamNode { id: key, lp };
        let (master, mut n) = (node.master(), 0);
        let mut walk = master.entries.clone();
        while let Some(e) = node.entry(&master, &mut walk) {
            n += u64::from(!e.is_deleted());
        }
        assert_eq!(n, master.live);
        live += n;
    }
    assert_eq!((log.length, live), (twin.len() as u64, twin.len() as u64));
    assert_eq!(log.first_id, twin.first().map_or(Id::MIN, |l| l.id));
    assert_eq!(log.last_live(), twin.last().map(|l| l.id));
    for _ in 0..4 {
        let mut edge = || match twin.len() {
            0 => Id::new(3, 3),
            n => {
                let id = twin[source.below(n)].id;
                if source.one_in(3) { id.after().unwrap_or(id) } else { id }
            }
        };
        let (from, to) = (edge(), if edge().seq % 2 == 0 { Id::MAX } else { edge() });
        let mut want: Vec<Line> = twin.iter().filter(|l| (from..=to).contains(&l.id)).cloned().collect();
        assert_eq!(log.range(from, to).map(|e| line(&e)).collect::<Vec<_>>(), want);
        want.reverse();
        assert_eq!(log.range_back(from, to).map(|e| line(&e)).collect::<Vec<_>>(), want);
        assert_eq!(log.contains(from), twin.iter().any(|l| l.id == from));
    }
}

fn blocks(log: &Log) -> Vec<(Id, &crate::ds::listpack::Lp)> {
    let (mut all, mut bytes) = (Vec::new(), 0);
    let mut walk = log.blocks.iter();
    while let Some((key, lp)) = walk.next() {
        let id = Id::from_key(key).expect("keys are IDs");
        let tail = log.tail.as_ref().expect("there is a block");
        match lp {
            Some(lp) => {
                assert!(id != tail.0, "the last block is kept twice");
                bytes += lp.alloc_size();
                all.push((id, &**lp));
            }
            None => {
                assert_eq!(id, tail.0);
                all.push((id, &*tail.1));
            }
        }
    }
    assert_eq!(all.last().map(|b| b.0), log.tail.as_ref().map(|t| t.0), "the tail is the last block");
    assert_eq!(log.tree_bytes, bytes);
    all
}

/// As trimming is told, by blocks that the log itself has made.
fn trim(log: &mut Log, twin: &mut Vec<Line>, source: &mut Source<'_>) {
    let keep = match source.below(2) {
        0 => Keep::Newest(source.below(twin.len() + 3) as u64),
        _ if twin.is_empty() => Keep::From(Id::MAX),
        _ => Keep::From(twin[source.below(twin.len())].id),
    };
    let whole_blocks = source.one_in(2);
    let limit = if whole_blocks { source.below(3) as u64 * 5 } else { 0 };
    let gone = log.trim(&Trim { keep, whole_blocks, limit }) as usize;
    let may_go = match keep {
        Keep::Newest(n) => twin.len().saturating_sub(n as usize),
        Keep::From(id) => twin.iter().take_while(|l| l.id < id).count(),
    };
    assert!(gone <= may_go && (limit == 0 || gone as u64 <= limit));
    assert!(whole_blocks || gone == may_go);
    twin.drain(..gone);
}

#[test]
fn a_log_agrees_with_a_list() {
    for seed in 0..60 {
        let mut source = Source::seeded(seed);
        let limits =
            StreamLimits { bytes: [0, 4096, 90][source.below(3)], entries: [3, 10, 0][source.below(3)] };
        let (mut log, mut twin) = (Log::default(), Vec::<Line>::new());
        for _ in 0..300 {
            match source.below(12) {
                0 => trim(&mut log, &mut twin, &mut source),
                1 | 2 if !twin.is_empty() => {
                    let mut ids: Vec<Id> = (0..3).map(|_| twin[source.below(twin.len())].id).collect();
                    ids.push(Id::new(1, 1));
                    let before = twin.len();
                    twin.retain(|l| !ids.contains(&l.id));
                    assert_eq!(log.delete(&ids), (before - twin.len()) as u64);
                    assert!(ids.iter().all(|id| !log.contains(*id)));
                }
                _ => {
                    let last = log.last_id;
                    let id = match source.below(3) {
                        0 => Id::new(last.ms + source.below(400) as u64, 1 + last.seq),
                        1 => Id::new(last.ms + 1, source.below(3) as u64),
                        _ => Id::new(last.ms, last.seq + 1),
                    };
                    let words = words(&mut source);
                    let slices: Vec<[&[u8]; 2]> = words
                        .as_chunks()
                        .0
                        .iter()
                        .map(|[f, v]: &[Vec<u8>; 2]| [&f[..], &v[..]])
                        .collect();
                    assert_eq!(log.append(id, &slices, limits), Ok(()));
                    assert_eq!(log.last_id, id);
                    twin.push(Line { id, words });
                }
            }
            if source.one_in(10) {
                let mut key = Vec::new();
                while !log.defrag(&mut key, &mut Mover::always()) {}
                check(&log, &twin, &mut source);
            }
        }
        check(&log, &twin, &mut source);
        check(&log.clone(), &twin, &mut source);
        while !twin.is_empty() {
            let id = twin.remove(source.below(twin.len())).id;
            assert_eq!(log.delete(&[id, id]), 1);
        }
        check(&log, &twin, &mut source);
    }
}

const LIMITS: StreamLimits = StreamLimits { bytes: 4096, entries: 3 };

fn add(log: &mut Log, ms: u64) {
    log.append(Id::new(ms, 0), &[[b"f", b"v"]], LIMITS).expect("it fits");
}

#[test]
fn ids_are_made_and_refused() {
    use id::Wish::*;
    let mut log = Log::default();
    assert_eq!(log.next_id(Auto, 5), Ok(Id::new(5, 0)));
    assert_eq!(log.next_id(Within(0), 5), Ok(Id::new(0, 1)));
    add(&mut log, 7);
    assert_eq!(log.next_id(Auto, 5), Ok(Id::new(7, 1)));
    assert_eq!(log.next_id(Within(7), 5), Ok(Id::new(7, 1)));
    assert_eq!(log.next_id(Within(8), 5), Ok(Id::new(8, 0)));
    for wish in [Within(6), Exact(Id::new(7, 0)), Exact(Id::MIN)] {
        assert_eq!(log.next_id(wish, 5), Err(AddError::NotAbove));
    }
    log.last_id = Id::new(7, u64::MAX);
    assert_eq!(log.next_id(Auto, 5), Ok(Id::new(8, 0)));
    assert_eq!(log.next_id(Within(7), 5), Err(AddError::NotAbove));
    log.last_id = Id::MAX;
    assert_eq!(log.next_id(Auto, 5), Err(AddError::NotAbove));
}

#[test]
fn the_last_block_is_found_again_when_it_goes() {
    let mut log = Log::default();
    (1..=7).for_each(|ms| add(&mut log, ms));
    assert_eq!(log.tree_figures().0, 3);
    assert_eq!(log.delete(&[Id::new(7, 0)]), 1);
    assert_eq!((log.tree_figures().0, log.max_deleted), (2, Id::new(7, 0)));
    // The block before is full: a new one begins.
    add(&mut log, 8);
    assert_eq!(log.tree_figures().0, 3);
    assert_eq!(blocks(&log).last().map(|b| b.0), Some(Id::new(8, 0)));
}

#[test]
fn ids_behind_deleted_ones_are_found_by_walking() {
    let mut log = Log::default();
    (10..=12).for_each(|ms| add(&mut log, ms));
    log.delete(&[Id::new(12, 0)]);
    let trim = Trim { keep: Keep::From(Id::new(12, 0)), whole_blocks: false, limit: 0 };
    assert_eq!(log.trim(&trim), 2);
    // What XSETID allows then.
    (log.last_id, log.max_deleted) = (Id::new(3, 0), Id::new(1, 0));
    [4, 5, 10].iter().for_each(|ms| add(&mut log, *ms));
    let ids = |entries: range::Range<'_>| entries.map(|e| e.id.ms).collect::<Vec<_>>();
    assert_eq!(ids(log.range(Id::MIN, Id::MAX)), [4, 5, 10]);
    assert_eq!(ids(log.range_back(Id::MIN, Id::new(10, 0))), [10, 5, 4]);
    assert_eq!(log.delete(&[Id::new(5, 0), Id::new(10, 0)]), 2);
    assert_eq!((log.length, log.last_live()), (1, Some(Id::new(4, 0))));
    blocks(&log);
}

#[test]
fn what_is_left_to_read_can_be_told_while_nothing_is_missing() {
    let mut log = Log::default();
    let mut group = Group::new(Id::MIN, 0);
    assert_eq!(log.lag(&group), Some(0));
    (1..=5).for_each(|ms| add(&mut log, ms));
    log.advance(&mut group, Id::new(1, 0));
    assert_eq!((group.entries_read, log.lag(&group)), (1, Some(4)));
    // A gap ahead: unknown, until the group is past it.
    log.delete(&[Id::new(3, 0)]);
    assert_eq!(log.lag(&group), None);
    log.advance(&mut group, Id::new(2, 0));
    assert_eq!(group.entries_read, group::UNKNOWN);
    log.advance(&mut group, Id::new(5, 0));
    assert_eq!((group.entries_read, log.lag(&group)), (5, Some(0)));
    let from_start = Group::new(Id::MIN, group::UNKNOWN);
    assert_eq!(log.lag(&from_start), None);
    // Trimming leaves no gaps: the deleted one is before the first now.
    log.trim(&Trim { keep: Keep::Newest(2), whole_blocks: false, limit: 0 });
    assert_eq!(log.lag(&from_start), Some(2));
    assert_eq!(log.added_until(Id::new(4, 0)), Some(4));
    assert_eq!(log.added_until(Id::new(4, 1)), None);
    assert_eq!(log.added_until(Id::new(9, 0)), None);
}
