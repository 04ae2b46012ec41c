//! The naive twin is a sorted vector of `(score, member)`; one runner drives both and compares them.

use super::*;
use crate::ds::prop::Source;
use crate::sys::defrag::Mover;
use std::cmp::Ordering;

/// Everything the essay promises about the pages, and the bytes they take.
fn check(list: &Skiplist) {
    let mut page_bytes = 0;
    let mut nodes = Vec::new();
    /// # Safety
    /// The page is one of the list, and the level says whether it is a leaf.
    unsafe fn walk(
        list: &Skiplist,
        page: RawPage,
        level: usize,
        nodes: &mut Vec<NodePtr>,
        bytes: &mut usize,
    ) {
        // SAFETY: the depth says which pages are leaves.
        unsafe {
            if level == list.depth {
                let leaf = page.leaf();
                assert!(leaf.len() > 0 || level == 0, "an empty leaf");
                *bytes += leaf.mem_size();
                for (row, score) in leaf.scores().iter().enumerate() {
                    assert_eq!(list.borrow(leaf.node(row)).score().to_bits(), score.to_bits());
                    nodes.push(leaf.node(row));
                }
                return;
            }
            let inner = page.inner();
            assert!(inner.len() >= if level == 0 { 2 } else { 1 }, "a page above nothing");
            *bytes += inner.mem_size();
            for row in 0..inner.len() {
                let before = nodes.len();
                walk(list, inner.child(row), level + 1, nodes, bytes);
                assert_eq!(inner.counts()[row], nodes.len() - before, "a count is wrong");
                assert!(inner.first(row) == nodes[before], "a first node is wrong");
                let score = list.borrow(nodes[before]).score();
                assert_eq!(inner.scores()[row].to_bits(), score.to_bits());
            }
        }
    }
    // SAFETY: the root is at level 0.
    unsafe { walk(list, list.root, 0, &mut nodes, &mut page_bytes) };
    assert_eq!((nodes.len(), page_bytes), (list.len, list.page_bytes));
    let nodes: Vec<NodeRef<'_>> = nodes.into_iter().map(|n| list.borrow(n)).collect();
    assert_eq!(nodes.iter().map(|n| n.alloc_size()).sum::<usize>(), list.node_bytes);
    for pair in nodes.windows(2) {
        assert_eq!(order(key(pair[0]), key(pair[1])), Ordering::Less);
    }
}

fn key(node: NodeRef<'_>) -> (f64, &[u8]) {
    (node.score(), node.member())
}

type Row = (f64, Vec<u8>, NodePtr);

/// The list and its twin, and how the run makes up scores and members.
struct Run {
    list: Skiplist,
    twin: Vec<Row>,
    /// How many different scores there are: 1 leaves the order to the members.
    scores: usize,
    /// How many different members there are.
    members: usize,
    /// Scores that only rise or fall.
    drift: f64,
}

impl Run {
    fn score(&mut self, source: &mut Source<'_>) -> f64 {
        if self.drift != 0.0 {
            return self.twin.len() as f64 * self.drift;
        }
        match source.below(self.scores) {
            0 => 0.0,
            1 => -0.0,
            2 => f64::INFINITY,
            3 => f64::NEG_INFINITY,
            n => (n as f64 - self.scores as f64 / 2.0) / 8.0,
        }
    }

    fn member(&mut self, source: &mut Source<'_>) -> Vec<u8> {
        let n = source.below(self.members);
        let mut member = format!("{n:b}").into_bytes();
        match n % 97 {
            0 => member.resize(254 + n % 3, b'x'),
            1 => member.insert(0, 0xff),
            2 => member.truncate(n % 2),
            _ => {}
        }
        member
    }

    fn place(&self, score: f64, member: &[u8]) -> usize {
        self.twin.partition_point(|row| order((row.0, &row.1), (score, member)) == Ordering::Less)
    }

    fn add(&mut self, source: &mut Source<'_>) {
        let (score, member) = (self.score(source), self.member(source));
        if let Some(at) = self.twin.iter().position(|row| row.1 == member) {
            self.update(at, score);
            return;
        }
        let node = self.list.insert(score, &member);
        let at = self.place(score, &member);
        self.twin.insert(at, (score, member, node));
    }

    fn update(&mut self, at: usize, score: f64) {
        let (_, member, node) = self.twin.remove(at);
        // SAFETY: in the list, since it was in the twin.
        unsafe { self.list.update_score(node, score) };
        let at = self.place(score, &member);
        self.twin.insert(at, (score, member, node));
    }

    fn nudge(&mut self, source: &mut Source<'_>) {
        if self.twin.is_empty() {
            return;
        }
        let at = source.below(self.twin.len());
        let old = self.twin[at].0;
        let one_score = self.scores == 1 && self.drift == 0.0;
        let new = match source.below(4) {
            _ if one_score => -old,
            0 => old + 0.125,
            1 => old - 0.125,
            2 => -old,
            _ => self.score(source),
        };
        self.update(at, if new.is_nan() { 0.0 } else { new });
    }

    fn remove(&mut self, source: &mut Source<'_>) {
        if self.twin.is_empty() {
            return;
        }
        let at = source.below(self.twin.len());
        let (popped, row) = match source.below(4) {
            0 => (self.list.pop_first(), self.twin.remove(0)),
            1 => (self.list.pop_last(), self.twin.pop().expect("not empty")),
            _ => {
                let row = self.twin.remove(at);
                // SAFETY: in the list, since it was in the twin.
                (Some(unsafe { self.list.remove(row.2) }), row)
            }
        };
        let popped = popped.expect("the twin had one");
        assert_eq!(popped.score().to_bits(), row.0.to_bits());
        assert_eq!((popped.member(), popped.ptr()), (&row.1[..], row.2));
    }

    fn delete_range(&mut self, source: &mut Source<'_>) {
        let ranks = match source.below(3) {
            0 => self.score_ranks(source),
            1 => self.lex_ranks(source),
            _ => {
                let start = source.below(self.twin.len() + 1);
                start..start + source.below(self.twin.len() - start + 1)
            }
        };
        let mut forgotten = Vec::new();
        let n = self
            .list
            .delete_ranks(ranks.clone(), |node| forgotten.push((node.ptr(), node.member().to_vec())));
        assert_eq!(n, ranks.len());
        let gone: Vec<_> = self.twin.drain(ranks).map(|row| (row.2, row.1)).collect();
        assert_eq!(forgotten, gone);
    }

    fn score_ranks(&mut self, source: &mut Source<'_>) -> Range<usize> {
        let (min, max) = (self.score(source), self.score(source));
        let range = ScoreRange { min, max, min_open: source.one_in(2), max_open: source.one_in(2) };
        let ranks = self.list.score_ranks(&range);
        for (rank, row) in self.twin.iter().enumerate() {
            assert_eq!(
                ranks.contains(&rank),
                range.contains(row.0),
                "{range:?} gave {ranks:?}, at {rank}"
            );
        }
        assert!(ranks.start <= ranks.end && ranks.end <= self.twin.len());
        ranks
    }

    fn lex_ranks(&mut self, source: &mut Source<'_>) -> Range<usize> {
        let (a, b) = (self.member(source), self.member(source));
        let mut bound =
            |m| source.pick(&[LexBound::Min, LexBound::Max, LexBound::Closed(m), LexBound::Open(m)]);
        let (min, max) = (bound(&a), bound(&b));
        let ranks = self.list.lex_ranks(min, max);
        assert!(ranks.start <= ranks.end && ranks.end <= self.twin.len());
        if self.scores == 1 && self.drift == 0.0 {
            for (rank, row) in self.twin.iter().enumerate() {
                let inside = min.starts_at_or_before(&row.1) && max.ends_at_or_after(&row.1);
                assert_eq!(ranks.contains(&rank), inside, "{min:?} {max:?} gave {ranks:?}, at {rank}");
            }
        }
        ranks
    }

    /// One rank, seen from every side.
    fn look(&mut self, source: &mut Source<'_>) {
        assert!(self.list.get_by_rank(self.twin.len()).is_none());
        assert_eq!(self.list.first().map(NodeRef::ptr), self.twin.first().map(|row| row.2));
        assert_eq!(self.list.last().map(NodeRef::ptr), self.twin.last().map(|row| row.2));
        if self.twin.is_empty() {
            return;
        }
        let rank = source.below(self.twin.len());
        let row = &self.twin[rank];
        let node = self.list.get_by_rank(rank).expect("the twin has it");
        assert_eq!((node.score().to_bits(), node.member()), (row.0.to_bits(), &row.1[..]));
        let beside =
            |d: isize| rank.checked_add_signed(d).and_then(|r| self.twin.get(r)).map(|row| row.2);
        let node = self.list.borrow(row.2);
        assert_eq!(self.list.rank_of(node), rank);
        assert_eq!(self.list.next(node).map(NodeRef::ptr), beside(1));
        assert_eq!(self.list.prev(node).map(NodeRef::ptr), beside(-1));
    }

    /// A walk that takes from both ends at random.
    fn walk(&mut self, source: &mut Source<'_>) {
        let start = source.below(self.twin.len() + 1);
        let end = start + source.below(self.twin.len() - start + 1);
        let mut list = self.list.iter(start..end);
        let mut twin = self.twin[start..end].iter();
        let both = source.below(3);
        while list.len() > 0 {
            let front = if both == 2 { source.one_in(2) } else { both == 0 };
            let (got, want) =
                if front { (list.next(), twin.next()) } else { (list.next_back(), twin.next_back()) };
            assert_eq!(got.map(NodeRef::ptr), want.map(|row| row.2));
        }
        assert!(list.next().is_none() && list.next_back().is_none() && twin.next().is_none());
    }

    /// Moves all nodes and pages from a rank on.
    fn defrag(&mut self, source: &mut Source<'_>) {
        let from = source.below(self.twin.len() + 1);
        let (mut rank, mut moved, mut mover) = (Some(from), from, Mover::always());
        while let Some(at) = rank {
            rank = self.list.defrag(at, &mut mover, |member, old, new| {
                let (_, expected, node) = &mut self.twin[moved];
                assert_eq!((member, old), (&expected[..], *node));
                *node = new;
                moved += 1;
            });
        }
        assert_eq!(moved, self.twin.len());
    }

    fn step(&mut self, source: &mut Source<'_>, growing: bool) {
        match source.below(100) {
            0..50 if growing => self.add(source),
            0..50 => self.remove(source),
            50..60 => self.add(source),
            60..70 => self.remove(source),
            70..90 => self.nudge(source),
            90..93 => self.look(source),
            93..95 => drop(self.score_ranks(source)),
            95..97 => drop(self.lex_ranks(source)),
            97 => self.walk(source),
            98 => check(&self.list),
            _ if source.one_in(4) => self.defrag(source),
            _ if source.one_in(4) => self.delete_range(source),
            _ => {}
        }
        debug_assert_eq!(self.list.len(), self.twin.len());
    }
}

/// Drives list and twin for `steps`, or until the source has no more choices to give.
fn run(source: &mut Source<'_>, steps: usize) {
    let (scores, drift) =
        source.pick(&[(1, 0.0), (3, 0.0), (40, 0.0), (1 << 16, 0.0), (1, 1.0), (1, -1.0)]);
    let members = source.pick(&[20, 300, 3000, 60_000]);
    let mut run = Run { list: Skiplist::new(), twin: Vec::new(), scores, members, drift };
    let mut growing = true;
    for _ in 0..steps {
        if source.is_empty() {
            break;
        }
        if source.one_in(500) {
            growing = source.one_in(2);
        }
        run.step(source, growing || run.twin.len() < 4);
    }
    check(&run.list);
    run.walk(source);
}

#[test]
fn behaves_like_a_sorted_vector() {
    for seed in 0..60 {
        run(&mut Source::seeded(seed), 3000);
    }
}

#[test]
fn behaves_like_a_sorted_vector_on_made_up_bytes() {
    let mut noise = Source::seeded(1);
    for _ in 0..60 {
        let bytes: Vec<u8> = (0..4000).map(|_| noise.next() as u8).collect();
        run(&mut Source::bytes(&bytes), usize::MAX);
    }
}

/// Enough nodes for three levels of inner pages, put in and taken out by every order there is.
#[test]
fn deep_trees_keep_their_invariants() {
    let n = 40_000_usize;
    let orders: [fn(usize, usize) -> usize; 4] = [
        |i, _| i,
        |i, n| n - 1 - i,
        |i, n| i * 7919 % n,
        |i, n| if i % 2 == 0 { i / 2 } else { n - 1 - i / 2 },
    ];
    for put in orders {
        let mut list = Skiplist::new();
        let mut nodes = vec![None; n];
        for i in 0..n {
            let v = put(i, n);
            nodes[v] = Some(list.insert(v as f64, &v.to_be_bytes()));
        }
        check(&list);
        assert!(list.depth >= 2, "the test wants inner pages above inner pages");
        for (rank, node) in nodes.iter().enumerate().step_by(61) {
            assert_eq!(list.rank_of(list.borrow(node.expect("all filled"))), rank);
        }
        for take in orders {
            for i in 0..n / 4 {
                let at = take(i, n);
                if let Some(node) = nodes[at].take() {
                    // SAFETY: inserted, and taken out of `nodes` now.
                    drop(unsafe { list.remove(node) });
                }
            }
            check(&list);
        }
        let left: Vec<_> = nodes.into_iter().flatten().collect();
        assert_eq!(list.iter(0..list.len()).map(NodeRef::ptr).collect::<Vec<_>>(), left);
        let tail = list.len() / 2;
        list.delete_ranks(10..tail, |_| {});
        check(&list);
        list.delete_ranks(0..list.len(), |_| {});
        check(&list);
        assert!(list.is_empty() && list.depth == 0);
    }
}

#[test]
fn the_zeros_are_equal_and_keep_their_sign() {
    let mut list = Skiplist::new();
    let b = list.insert(-0.0, b"b");
    list.insert(0.0, b"a");
    list.insert(0.0, b"c");
    let members =
        |list: &Skiplist| list.iter(0..3).flat_map(|n| n.member()).copied().collect::<Vec<u8>>();
    assert_eq!(members(&list), b"abc");
    assert!(list.get_by_rank(1).expect("three").score().is_sign_negative());
    // SAFETY: inserted above.
    unsafe { list.update_score(b, 0.0) };
    assert!(list.get_by_rank(1).expect("three").score().is_sign_positive());
    let range = ScoreRange { min: -0.0, max: 0.0, min_open: false, max_open: false };
    assert_eq!(list.score_ranks(&range), 0..3);
    assert_eq!(list.score_ranks(&ScoreRange { min_open: true, ..range }).len(), 0);
}

#[test]
fn members_compare_as_bytes_then_by_length() {
    let mut list = Skiplist::new();
    let sorted: [&[u8]; 6] = [b"", b"\0", b"a", b"a\0", b"aa", b"\xff"];
    for at in [3, 5, 0, 2, 4, 1] {
        list.insert(1.0, sorted[at]);
    }
    let got: Vec<&[u8]> = list.iter(0..6).map(NodeRef::member).collect();
    assert_eq!(got, sorted);
    assert_eq!(list.lex_ranks(LexBound::Open(b"a"), LexBound::Closed(b"aa")), 3..5);
    assert_eq!(list.lex_ranks(LexBound::Min, LexBound::Max), 0..6);
    assert_eq!(list.lex_ranks(LexBound::Max, LexBound::Min).len(), 0);
}

/// The bound that the design sets: 66 bytes with the table's 10.4, however the scores came.
#[test]
fn a_million_would_cost_less_than_56_bytes_each() {
    let n = 50_000_u64;
    let mut source = Source::seeded(7);
    let mut costs = Vec::new();
    for pattern in 0..3 {
        let mut list = Skiplist::new();
        for i in 0..n {
            let score = [source.next() as f64, i as f64, -(i as f64)][pattern];
            list.insert(score, format!("member:{i:09}").as_bytes());
        }
        costs.push(list.mem_size() as f64 / n as f64);
    }
    assert!(costs.iter().all(|&c| c < 50.0), "{costs:?}");
}

#[test]
#[should_panic(expected = "NaN")]
fn nan_is_turned_away() {
    Skiplist::new().insert(f64::NAN, b"x");
}

/// Updates that leave the order as it is must not touch the pages' shape, at the edges of leaves too.
#[test]
fn an_update_in_place_keeps_the_pages() {
    let mut list = Skiplist::new();
    let nodes: Vec<NodePtr> = (0..1000).map(|i| list.insert(f64::from(i), b"m")).collect();
    let before = list.page_bytes;
    for (i, &node) in nodes.iter().enumerate() {
        // SAFETY: inserted above.
        unsafe { list.update_score(node, i as f64 + 0.5) };
    }
    check(&list);
    assert_eq!(list.page_bytes, before);
    assert_eq!(list.iter(0..1000).map(NodeRef::ptr).collect::<Vec<_>>(), nodes);
}
