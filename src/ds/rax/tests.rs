//! The naive twin is a `BTreeMap`; one runner drives both and compares them, for every kind of value.

use super::*;
use crate::ds::prop::Source;
use crate::sys::defrag::Mover;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Debug;
use std::ops::Bound::{Included, Unbounded};

type Twin = BTreeMap<Vec<u8>, u64>;

/// A value made of a number, and what is left of the number in it.
trait Value: Debug {
    fn make(n: u64) -> Self;
    fn seen(&self) -> u64;
    fn kept(n: u64) -> u64;
}

impl Value for usize {
    fn make(n: u64) -> Self {
        n as usize
    }
    fn seen(&self) -> u64 {
        *self as u64
    }
    fn kept(n: u64) -> u64 {
        n
    }
}

impl Value for Box<u64> {
    fn make(n: u64) -> Self {
        Box::new(n)
    }
    fn seen(&self) -> u64 {
        **self
    }
    fn kept(n: u64) -> u64 {
        n
    }
}

impl Value for u8 {
    fn make(n: u64) -> Self {
        n as u8
    }
    fn seen(&self) -> u64 {
        u64::from(*self)
    }
    fn kept(n: u64) -> u64 {
        n & 0xff
    }
}

impl Value for () {
    fn make(_: u64) -> Self {}
    fn seen(&self) -> u64 {
        0
    }
    fn kept(_: u64) -> u64 {
        0
    }
}

/// Everything the essay promises about the nodes, and the bytes they take; the shape is not bound to the
/// keys where `long` ones were.
fn check<T: Value>(tree: &Rax<T>, twin: &Twin, long: bool) {
    let (mut nodes, mut bytes, mut leaves, mut keyed) = (0, 0, 0, 0);
    let mut waiting = vec![(tree.anchor().slot(0).link(), None)];
    while let Some((link, run_above)) = waiting.pop() {
        let node: Node<T> = match link {
            Link::Empty => {
                assert!(twin.is_empty());
                continue;
            }
            Link::Leaf(_) => {
                leaves += 1;
                continue;
            }
            Link::Node(node) => node,
        };
        nodes += 1;
        bytes += node.mem_size();
        keyed += usize::from(node.is_key());
        if node.is_run() {
            assert!((1..=MAX_RUN).contains(&node.size()));
            let joins = |above: usize| above + node.size() <= MAX_RUN && !node.is_key();
            assert!(!run_above.is_some_and(joins) || long, "two runs that are one");
        } else {
            assert!(node.size() >= 2 && node.chars().is_sorted_by(|a, b| a < b));
        }
        let run = node.is_run().then(|| node.size());
        waiting.extend((0..node.children()).map(|at| (node.slot(at).link(), run)));
    }
    assert_eq!((tree.tally.nodes, tree.tally.bytes), (nodes + leaves, bytes));
    assert_eq!((tree.len, leaves + keyed), (twin.len(), twin.len()));
    if !long {
        assert_eq!(tree.node_count(), canonical_nodes(twin));
    }
}

/// The nodes that a set of keys calls for: the root, where keys end, where the tree forks, and the
/// vertices right below a fork.
fn canonical_nodes(twin: &Twin) -> usize {
    let mut vertices: BTreeSet<&[u8]> = twin.keys().map(|key| &key[..]).collect();
    vertices.insert(b"");
    let keys: Vec<&[u8]> = twin.keys().map(|key| &key[..]).collect();
    for pair in keys.windows(2) {
        let at = common_prefix(pair[0], pair[1]);
        if at < pair[0].len() {
            vertices.insert(&pair[0][..at]);
            vertices.insert(&pair[0][..=at]);
            vertices.insert(&pair[1][..=at]);
        }
    }
    vertices.len()
}

/// How a run makes up its keys.
#[derive(Clone, Copy, PartialEq)]
enum Keys {
    /// Stream IDs: milliseconds and a sequence number.
    Ids,
    /// Every key a prefix of many.
    Nested,
    /// Short, of every byte: wide branches.
    Bytes,
    /// Names with common beginnings.
    Names,
    /// Longer than a run.
    Long,
}

impl Keys {
    fn make(self, source: &mut Source<'_>) -> Vec<u8> {
        match self {
            Keys::Ids => {
                let ms = 1_700_000_000_000 + source.below(2000) as u64;
                let seq = if source.one_in(4) { source.below(300) as u64 } else { 0 };
                [ms.to_be_bytes(), seq.to_be_bytes()].concat()
            }
            Keys::Nested => {
                let mut key = vec![b'a'; source.below(12)];
                if let Some(last) = key.last_mut() {
                    *last += source.below(2) as u8;
                }
                key
            }
            Keys::Bytes => (0..source.below(3)).map(|_| source.next() as u8).collect(),
            Keys::Names => {
                let stem = source.pick(&["consumer-", "con", "group:", "", "consumer-1"]);
                format!("{stem}{:x}", source.below(400)).into_bytes()
            }
            Keys::Long => {
                let mut key = vec![b'x'; source.below(4 * MAX_RUN)];
                if source.one_in(2) && !key.is_empty() {
                    let at = source.below(key.len());
                    key[at] = source.pick(b"ayz");
                }
                key
            }
        }
    }
}

struct Run<T> {
    tree: Rax<T>,
    twin: Twin,
    keys: Keys,
}

impl<T: Value> Run<T> {
    /// A key that may be there: made up, or one of the twin's, or one beside it.
    fn key(&self, source: &mut Source<'_>) -> Vec<u8> {
        let mut key = self.keys.make(source);
        if source.one_in(2) {
            if let Some((near, _)) = self.twin.range(key.clone()..).next() {
                key.clone_from(near);
            }
            match source.below(8) {
                0 => drop(key.pop()),
                1 => key.push(source.pick(&[0, b'm', 255])),
                2 => {
                    if let Some(last) = key.last_mut() {
                        *last = last.wrapping_add(source.pick(&[1, 255]));
                    }
                }
                _ => {}
            }
        }
        key
    }

    fn insert(&mut self, source: &mut Source<'_>) {
        let (key, n) = (self.key(source), source.next());
        if source.one_in(3) {
            let had = self.twin.contains_key(&key);
            assert_eq!(self.tree.try_insert(&key, T::make(n)).is_err(), had);
            self.twin.entry(key).or_insert(T::kept(n));
        } else {
            let old = self.tree.insert(&key, T::make(n)).map(|v| v.seen());
            assert_eq!(old, self.twin.insert(key, T::kept(n)));
        }
    }

    fn remove(&mut self, source: &mut Source<'_>) {
        let key = self.key(source);
        assert_eq!(self.tree.remove(&key).map(|v| v.seen()), self.twin.remove(&key));
    }

    fn find(&mut self, source: &mut Source<'_>) {
        let (key, n) = (self.key(source), source.next());
        assert_eq!(self.tree.find(&key).map(Value::seen), self.twin.get(&key).copied());
        assert_eq!(self.tree.contains(&key), self.twin.contains_key(&key));
        if let Some(value) = self.tree.find_mut(&key) {
            *value = T::make(n);
            self.twin.insert(key, T::kept(n));
        }
    }

    /// A seek, and then steps to and fro.
    fn walk(&mut self, source: &mut Source<'_>) {
        let key = self.key(source);
        let mut entries = self.twin.iter().map(|(k, v)| (k.clone(), *v));
        let all: Vec<(Vec<u8>, u64)> = entries.by_ref().collect();
        let below = all.partition_point(|(k, _)| *k < key);
        let upto = all.partition_point(|(k, _)| *k <= key);
        let there = below < upto;
        let seeks: [(Seek<'_>, Option<usize>); 7] = [
            (Seek::First, Some(0)),
            (Seek::Last, all.len().checked_sub(1)),
            (Seek::Eq(&key), there.then_some(below)),
            (Seek::Ge(&key), Some(below)),
            (Seek::Gt(&key), Some(upto)),
            (Seek::Le(&key), upto.checked_sub(1)),
            (Seek::Lt(&key), below.checked_sub(1)),
        ];
        let (seek, at) = source.pick(&seeks);
        let mut at = at.filter(|&at| at < all.len());
        let mut iter = self.tree.iter();
        assert_eq!(iter.seek(seek), at.is_some(), "{seek:?}");
        let want = |at: Option<usize>| at.map(|at| (&all[at].0[..], all[at].1));
        let got = |e: Option<(&[u8], &T)>| e.map(|(k, v)| (k.to_vec(), v.seen()));
        let one = self.tree.seek_key(seek).map(|(k, v)| (k.to_vec(), v.seen()));
        assert_eq!(one, want(at).map(|(k, v)| (k.to_vec(), v)));
        assert_eq!(got(iter.current()), one);
        let mut fresh = true;
        for _ in 0..source.below(60) {
            let forth = source.below(10) < if self.twin.len().is_multiple_of(2) { 8 } else { 2 };
            let step = if forth { at.map(|at| at + 1) } else { at.and_then(|at| at.checked_sub(1)) };
            at = if fresh { at } else { step.filter(|&at| at < all.len()) };
            fresh = false;
            let entry = if forth { iter.next() } else { iter.prev() };
            assert_eq!(got(entry), want(at).map(|(k, v)| (k.to_vec(), v)), "after {seek:?}");
        }
    }

    /// Takes out part of a range while walking it by seeking again.
    fn sweep(&mut self, source: &mut Source<'_>) {
        let (start, forth) = (self.key(source), source.one_in(2));
        let mut at = self.tree.seek_key_mut(if forth { Seek::Ge(&start) } else { Seek::Le(&start) });
        let mut left = source.below(30);
        let range =
            if forth { (Included(start.clone()), Unbounded) } else { (Unbounded, Included(start)) };
        let mut twin: Vec<Vec<u8>> = self.twin.range(range).map(|e| e.0.clone()).collect();
        if !forth {
            twin.reverse();
        }
        let mut twin = twin.into_iter();
        while let Some((key, value)) = at.take_if(|_| left > 0) {
            assert_eq!(Some(key.to_vec()), twin.next());
            left -= 1;
            let n = source.next();
            *value = T::make(n);
            self.twin.insert(key.to_vec(), T::kept(n));
            if n.is_multiple_of(2) {
                self.tree.remove(&key);
                self.twin.remove(&key[..]);
            }
            at = self.tree.seek_key_mut(if forth { Seek::Gt(&key) } else { Seek::Lt(&key) });
        }
    }

    /// Moves all nodes from a key on; each value is shown once.
    fn defrag(&mut self, source: &mut Source<'_>) {
        let (mut from, n) = (self.key(source), 1 + source.below(40));
        let want: Vec<u64> = self.twin.range(from.clone()..).map(|(_, v)| *v).collect();
        let (mut seen, mut mover) = (Vec::new(), Mover::always());
        while let Some(next) = self.tree.defrag(&from, n, &mut mover, |v, _| seen.push(v.seen())) {
            from = next.to_vec();
        }
        assert_eq!(seen, want);
        assert!(want.is_empty() || mover.hits > 0 || self.twin.len() < 2);
    }

    fn step(&mut self, source: &mut Source<'_>, growing: bool) {
        match source.below(100) {
            0..40 if growing => self.insert(source),
            0..40 => self.remove(source),
            40..55 => self.insert(source),
            55..70 => self.remove(source),
            70..85 => self.find(source),
            85..95 => self.walk(source),
            95..97 => self.sweep(source),
            97 => self.defrag(source),
            _ => check(&self.tree, &self.twin, self.keys == Keys::Long),
        }
    }
}

/// Drives tree and twin for `steps`, or until the source has no more choices to give.
fn run<T: Value>(source: &mut Source<'_>, steps: usize) {
    let keys = source.pick(&[Keys::Ids, Keys::Nested, Keys::Bytes, Keys::Names, Keys::Long]);
    let mut run = Run::<T> { tree: Rax::new(), twin: Twin::new(), keys };
    let mut growing = true;
    for _ in 0..steps {
        if source.is_empty() {
            break;
        }
        if source.one_in(200) {
            growing = source.one_in(2);
        }
        run.step(source, growing);
    }
    check(&run.tree, &run.twin, keys == Keys::Long);
    let mut iter = run.tree.iter();
    for (key, value) in &run.twin {
        let got = iter.next().map(|(k, v)| (k.to_vec(), v.seen()));
        assert_eq!(got, Some((key.clone(), *value)));
    }
    assert!(iter.next().is_none() && iter.prev().is_none());
    if source.one_in(2) {
        for key in run.twin.into_keys() {
            assert!(run.tree.remove(&key).is_some());
        }
        check(&run.tree, &Twin::new(), true);
        assert_eq!((run.tree.mem_size(), run.tree.node_count()), (size_of::<Rax<T>>(), 1));
    }
}

#[test]
fn behaves_like_a_map_of_boxes() {
    (0..60).for_each(|seed| run::<Box<u64>>(&mut Source::seeded(seed), 2000));
}

#[test]
fn behaves_like_a_map_of_numbers() {
    (100..160).for_each(|seed| run::<usize>(&mut Source::seeded(seed), 2000));
    (200..230).for_each(|seed| run::<u8>(&mut Source::seeded(seed), 2000));
}

#[test]
fn behaves_like_a_set() {
    (300..360).for_each(|seed| run::<()>(&mut Source::seeded(seed), 2000));
}

#[test]
fn behaves_like_a_map_on_made_up_bytes() {
    let mut noise = Source::seeded(2);
    for _ in 0..60 {
        let bytes: Vec<u8> = (0..3000).map(|_| noise.next() as u8).collect();
        run::<Box<u64>>(&mut Source::bytes(&bytes), usize::MAX);
    }
}

/// The shapes of the essay and of upstream's, node by node.
#[test]
fn counts_the_nodes_that_upstream_counts() {
    let count = |keys: &[&str]| {
        let tree: Rax<()> = keys.iter().map(|k| (k.as_bytes(), ())).collect();
        tree.node_count()
    };
    assert_eq!(count(&[]), 1);
    assert_eq!(count(&[""]), 1);
    assert_eq!(count(&["a"]), 2);
    assert_eq!(count(&["", "a"]), 2);
    assert_eq!(count(&["foo", "foobar", "footer"]), 6);
    assert_eq!(count(&["annibale", "annientare"]), 6);
    assert_eq!(count(&["annibale", "annibali"]), 4);
    assert_eq!(count(&["annibale", "ago"]), 6);
    assert_eq!(count(&["annibale", "ciao"]), 5);
    assert_eq!(count(&["annibale", "anni"]), 3);
}

/// An entry whose milliseconds differ from its neighbour's: a char, a link, and a run of eight chars.
#[test]
fn dense_ids_cost_a_third_less_than_upstream() {
    let n = 256 * 200_u64;
    let mut tree = Rax::new();
    for i in 0..n {
        let id = [(1_700_000_000_000 + i).to_be_bytes(), [0; 8]].concat();
        tree.insert(&id, i as usize);
    }
    let each = tree.mem_size() as f64 / n as f64;
    assert!(each < 34.5, "{each} bytes an entry, where upstream takes 50");
}

/// A chain of twenty thousand nodes is dropped, walked and searched without recursion.
#[test]
fn depth_costs_no_stack() {
    let worker = std::thread::Builder::new().stack_size(128 << 10).spawn(|| {
        let long = vec![b'x'; 20_000];
        let mut tree = Rax::new();
        for len in 0..=long.len() {
            tree.insert(&long[..len], Box::new(len));
        }
        let (key, value) = tree.last().expect("not empty");
        assert_eq!((key.len(), **value), (20_000, 20_000));
        let mut iter = tree.iter();
        iter.seek(Seek::Last);
        for len in (0..=long.len()).rev() {
            assert_eq!(iter.prev().map(|(k, v)| (k.len(), **v)), Some((len, len)));
        }
    });
    worker.expect("a thread").join().expect("no overflow of its stack");
}

#[test]
fn values_are_dropped_once() {
    use std::sync::Arc;
    let value = Arc::new(());
    let mut tree = Rax::new();
    for key in [&b"a"[..], b"ab", b"abc", b"b", b""] {
        tree.insert(key, Arc::clone(&value));
        tree.insert(key, Arc::clone(&value));
        assert!(tree.try_insert(key, Arc::clone(&value)).is_err());
    }
    assert_eq!(Arc::strong_count(&value), 6);
    drop(tree.remove(b"ab"));
    assert_eq!(Arc::strong_count(&value), 5);
    drop(tree);
    assert_eq!(Arc::strong_count(&value), 1);
}

#[test]
fn a_moved_tree_keeps_the_value_of_the_empty_key() {
    let mut tree = Rax::new();
    tree.insert(b"", Box::new(1));
    let moved = Box::new(std::mem::take(&mut tree));
    assert_eq!(moved.find(b"").map(|v| **v), Some(1));
    assert!(tree.is_empty() && tree.find(b"").is_none());
}

#[test]
fn the_beginnings_of_a_key_are_found_on_the_way_to_it() {
    let (mut tree, mut twin) = (Rax::new(), std::collections::BTreeMap::new());
    let mut x = 3u64;
    for round in 0..2000u64 {
        x = x.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let len = (x >> 33) as usize % 6;
        let key: Vec<u8> = (0..len).map(|i| b'a' + (x >> (40 + i)) as u8 % 2).collect();
        match (x >> 60) % 3 {
            0 => assert_eq!(tree.remove(&key), twin.remove(&key)),
            _ => assert_eq!(tree.insert(&key, round), twin.insert(key.clone(), round)),
        }
        let asked = [&key[..], b"abba"].concat();
        let mut seen = Vec::new();
        tree.each_beginning_of(&asked, |v| seen.push(*v));
        let wanted = (0..=asked.len()).filter_map(|n| twin.get(&asked[..n]).copied());
        assert!(wanted.eq(seen.iter().copied()), "{}", asked.escape_ascii());
    }
}
