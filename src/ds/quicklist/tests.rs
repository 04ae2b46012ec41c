//! A list as commands use it, on a single listpack while that is allowed and on a quicklist after,
//! driven by seeds beside a vector of texts. The nodes it is laid out in are hashed along the way; the
//! hashes in `LAYOUTS` are those of the server this one stands in for, fed with the same commands.

use super::*;
use crate::algo::lzf;
use crate::ds::listpack::Needle;
use crate::ds::prop::Source;

#[derive(Clone, Copy, Debug)]
struct Shape {
    fill: i32,
    depth: i32,
    threshold: u32,
}

enum List {
    Single(Listpack),
    Many(Quicklist),
}

#[derive(Clone, Debug)]
enum Op {
    Push(ListEnd, Vec<Vec<u8>>),
    Pop(ListEnd),
    PopRange(ListEnd, usize),
    Set(i64, Vec<u8>),
    Insert { after: bool, pivot: Vec<u8>, value: Vec<u8> },
    Remove(i64, Vec<u8>),
    Trim(i64, i64),
}

impl List {
    fn grow_for(&mut self, shape: Shape, values: &[&[u8]]) {
        let List::Single(lp) = self else { return };
        let bytes = lp.bytes().len() + values.iter().map(|v| v.len()).sum::<usize>();
        if exceeds_limit(shape.fill, bytes, lp.len() + values.len()) {
            let mut list = Quicklist::from_listpack(std::mem::take(lp), shape.fill, shape.depth);
            list.set_packed_threshold(shape.threshold);
            *self = List::Many(list);
        }
    }

    fn shrink(&mut self, shape: Shape) {
        let List::Many(list) = self else { return };
        let (bytes, count) = node_limit(shape.fill);
        let fits = |lp: &Lp| lp.bytes().len() <= bytes / 2 && lp.len() <= count / 2;
        if list.as_listpack().is_some_and(fits) {
            let list = std::mem::replace(list, Quicklist::new(0, 0));
            *self = List::Single(list.into_listpack().expect("it is one listpack"));
        }
    }

    fn len(&self) -> usize {
        match self {
            List::Single(lp) => lp.len(),
            List::Many(list) => list.len(),
        }
    }

    fn push(&mut self, end: ListEnd, value: &[u8]) {
        match (self, end) {
            (List::Single(lp), ListEnd::Head) => lp.push_front(value),
            (List::Single(lp), ListEnd::Tail) => lp.push_back(value),
            (List::Many(list), ListEnd::Head) => list.push_front(value),
            (List::Many(list), ListEnd::Tail) => list.push_back(value),
        }
    }

    fn pop(&mut self, end: ListEnd) -> Option<Vec<u8>> {
        match (self, end) {
            (List::Single(lp), ListEnd::Head) => lp.pop_front(|e| e.to_vec()),
            (List::Single(lp), ListEnd::Tail) => lp.pop_back(|e| e.to_vec()),
            (List::Many(list), ListEnd::Head) => list.pop_front(|e| e.to_vec()),
            (List::Many(list), ListEnd::Tail) => list.pop_back(|e| e.to_vec()),
        }
    }

    fn delete_range(&mut self, start: i64, n: usize) {
        match self {
            List::Single(lp) => lp.delete_range(start, n),
            List::Many(list) => _ = list.delete_range(start, n),
        }
    }

    fn set(&mut self, index: i64, value: &[u8]) -> bool {
        match self {
            List::Single(lp) => lp.seek(index).map(|pos| lp.replace(pos, value)).is_some(),
            List::Many(list) => list.replace(index, value),
        }
    }

    fn insert(&mut self, after: bool, pivot: &[u8], value: &[u8]) {
        match self {
            List::Single(lp) => {
                let Some(pos) = lp.first().and_then(|first| lp.find(first, pivot, 0)) else { return };
                _ = if after { lp.insert_after(pos, value) } else { lp.insert_before(pos, value) };
            }
            List::Many(list) => {
                let needle = Needle::new(pivot);
                let Some(mut cursor) = list.cursor_at(0, ListEnd::Head) else { return };
                while let Some(element) = cursor.next() {
                    if needle.is(element) {
                        return if after {
                            cursor.insert_after(value)
                        } else {
                            cursor.insert_before(value)
                        };
                    }
                }
            }
        }
    }

    fn remove(&mut self, count: i64, value: &[u8]) {
        let mut left = if count == 0 { u64::MAX } else { count.unsigned_abs() };
        let needle = Needle::new(value);
        match self {
            List::Single(lp) => {
                let mut places: Vec<Pos> = Vec::new();
                let mut next = if count < 0 { lp.last() } else { lp.first() };
                while let Some(pos) = next.filter(|_| left > 0) {
                    if needle.is(lp.get(pos)) {
                        places.push(pos);
                        left -= 1;
                    }
                    next = if count < 0 { lp.prev(pos) } else { lp.next(pos) };
                }
                places.sort();
                lp.delete_all(&places);
            }
            List::Many(list) => {
                let (index, from) = if count < 0 { (-1, ListEnd::Tail) } else { (0, ListEnd::Head) };
                let Some(mut cursor) = list.cursor_at(index, from) else { return };
                while left > 0 {
                    let Some(element) = cursor.next() else { break };
                    if needle.is(element) {
                        cursor.delete();
                        left -= 1;
                    }
                }
            }
        }
    }

    fn play(&mut self, shape: Shape, op: &Op) {
        let before = self.len();
        match op {
            op if before == 0 && !matches!(op, Op::Push(..)) => return,
            Op::Push(end, values) => {
                self.grow_for(shape, &values.iter().map(|v| &v[..]).collect::<Vec<_>>());
                values.iter().for_each(|v| self.push(*end, v));
                return;
            }
            Op::Insert { after, pivot, value } => {
                self.grow_for(shape, &[value]);
                return self.insert(*after, pivot, value);
            }
            Op::Set(index, value) => {
                self.grow_for(shape, &[value]);
                if !self.set(*index, value) {
                    return;
                }
            }
            Op::Pop(end) => _ = self.pop(*end),
            Op::PopRange(ListEnd::Head, n) => self.delete_range(0, *n),
            Op::PopRange(ListEnd::Tail, n) => {
                let n = (*n).min(self.len());
                self.delete_range(-(n as i64), n);
            }
            Op::Remove(count, value) => {
                self.remove(*count, value);
                if self.len() == before {
                    return;
                }
            }
            Op::Trim(start, stop) => {
                let (ahead, behind) = trimmed(self.len(), *start, *stop);
                self.delete_range(0, ahead);
                self.delete_range(-(behind as i64), behind);
            }
        }
        self.shrink(shape);
        if self.len() == 0 {
            *self = List::Single(Listpack::new());
        }
    }

    /// The nodes as they would be saved: plain or not, compressed or not, bytes when not compressed.
    fn layout(&self) -> Vec<(bool, bool, Vec<u8>)> {
        match self {
            List::Single(lp) if lp.is_empty() => Vec::new(),
            List::Single(lp) => vec![(false, false, lp.bytes().to_vec())],
            List::Many(list) => list
                .nodes()
                .map(|node| match node.bytes {
                    NodeBytes::Raw(bytes) => (node.plain, false, bytes.to_vec()),
                    NodeBytes::Lzf(lzf) => {
                        (node.plain, true, lzf::decompress(lzf, node.size).expect("it can be undone"))
                    }
                })
                .collect(),
        }
    }
}

/// How many elements LTRIM takes from the head, and then from the tail.
fn trimmed(len: usize, start: i64, stop: i64) -> (usize, usize) {
    let len = len as i64;
    let index = |i: i64| if i < 0 { i + len } else { i };
    let (start, stop) = (index(start).max(0), index(stop).min(len - 1));
    if start > stop { (len as usize, 0) } else { (start as usize, (len - stop - 1) as usize) }
}

fn twin_plays(twin: &mut Vec<Vec<u8>>, op: &Op) {
    let place = |twin: &Vec<Vec<u8>>, index: i64| {
        let index = if index < 0 { index + twin.len() as i64 } else { index };
        usize::try_from(index).ok().filter(|i| *i < twin.len())
    };
    match op {
        Op::Push(ListEnd::Head, values) => values.iter().for_each(|v| twin.insert(0, v.clone())),
        Op::Push(ListEnd::Tail, values) => twin.extend(values.iter().cloned()),
        Op::Pop(end) => twin_plays(twin, &Op::PopRange(*end, 1)),
        Op::PopRange(ListEnd::Head, n) => _ = twin.drain(..twin.len().min(*n)),
        Op::PopRange(ListEnd::Tail, n) => twin.truncate(twin.len().saturating_sub(*n)),
        Op::Set(index, value) => {
            if let Some(i) = place(twin, *index) {
                twin[i] = value.clone();
            }
        }
        Op::Insert { after, pivot, value } => {
            if let Some(i) = twin.iter().position(|v| v == pivot) {
                twin.insert(i + usize::from(*after), value.clone());
            }
        }
        Op::Remove(count, value) => {
            let mut left = if *count == 0 { u64::MAX } else { count.unsigned_abs() };
            let mut keep = |v: &Vec<u8>| {
                let goes = left > 0 && v == value;
                left -= u64::from(goes);
                !goes
            };
            if *count < 0 {
                twin.reverse();
                twin.retain(&mut keep);
                twin.reverse();
            } else {
                twin.retain(&mut keep);
            }
        }
        Op::Trim(start, stop) => {
            let (ahead, behind) = trimmed(twin.len(), *start, *stop);
            twin.truncate(twin.len() - behind);
            twin.drain(..ahead);
        }
    }
}

/// Values that come up again, of sizes that fill nodes at different speeds.
fn value_of_chance(s: &mut Source<'_>) -> Vec<u8> {
    let which = s.below(8);
    match s.below(10) {
        0..=2 => which.to_string().into_bytes(),
        3..=6 => vec![b'a' + which as u8; 10 + which],
        7 => vec![b'k' + which as u8; 200 + 30 * which],
        8 => (0..500 + 100 * which).map(|i| b'!' + (i * i % 89) as u8).collect(),
        _ => vec![b'A' + which as u8; s.pick(&[1000, 3000, 5000, 9000])],
    }
}

fn op_of_chance(s: &mut Source<'_>, len: usize) -> Op {
    let end = s.pick(&[ListEnd::Head, ListEnd::Tail]);
    let index = |s: &mut Source<'_>| s.below(2 * len + 3) as i64 - len as i64 - 1;
    match s.below(24) {
        0..=7 => Op::Push(end, (0..1 + s.below(6)).map(|_| value_of_chance(s)).collect()),
        8..=9 => Op::Pop(end),
        10 => Op::PopRange(end, 1 + s.below(8)),
        11..=15 => Op::Set(index(s), value_of_chance(s)),
        16..=20 => {
            Op::Insert { after: s.one_in(2), pivot: value_of_chance(s), value: value_of_chance(s) }
        }
        21..=22 => Op::Remove(s.below(7) as i64 - 3, value_of_chance(s)),
        _ if s.one_in(3) => Op::Trim(index(s), index(s)),
        _ => Op::Trim(s.below(8) as i64, -1 - s.below(8) as i64),
    }
}

/// The rules that hold after every change.
fn check(list: &Quicklist, shape: Shape) {
    let depth = shape.depth as usize;
    let n = list.node_count();
    for (k, node) in list.nodes().enumerate() {
        assert!(node.count > 0);
        let at_end = k < depth || k + depth >= n;
        let bytes = match &node.bytes {
            NodeBytes::Raw(bytes) => bytes,
            NodeBytes::Lzf(bytes) => bytes,
        };
        match node.bytes {
            NodeBytes::Lzf(_) => {
                assert!(depth > 0 && !at_end && bytes.len() + MIN_SAVING < node.size, "{k} of {n}");
            }
            NodeBytes::Raw(_) if depth > 0 && !at_end => {
                let mut packed = Vec::new();
                let shorter = lzf::compress(bytes, &mut packed, bytes.len());
                let saves = shorter && packed.len() + MIN_SAVING < node.size;
                assert!(node.size < MIN_COMPRESS || !saves, "node {k} of {n} should be compressed");
            }
            NodeBytes::Raw(_) if !node.plain => {
                let lp = Listpack::from_bytes(bytes).expect("a sound listpack");
                assert_eq!(lp.len(), node.count);
            }
            NodeBytes::Raw(_) => assert_eq!((node.count, node.size), (1, bytes.len())),
        }
        // Bytes may exceed the limit: a replacement does not ask. The number of elements never does.
        assert!(node.count <= node_limit(shape.fill).1);
    }
    assert_eq!(list.nodes().map(|node| node.count).sum::<usize>(), list.len());
    assert_eq!(list.nodes().map(|node| node.size).sum::<usize>(), list.uncompressed_size());
}

fn collect(list: &Quicklist, from: ListEnd) -> Vec<Vec<u8>> {
    let mut texts = Vec::new();
    let mut elements = list.iter(from);
    while let Some(element) = elements.next() {
        texts.push(element.to_vec());
    }
    texts
}

fn check_reads(list: &mut Quicklist, twin: &[Vec<u8>], s: &mut Source<'_>) {
    assert_eq!(collect(list, ListEnd::Head), twin);
    let mut back = collect(list, ListEnd::Tail);
    back.reverse();
    assert_eq!(back, twin);
    for _ in 0..8 {
        let index = s.below(2 * twin.len() + 2) as i64 - twin.len() as i64 - 1;
        let at = usize::try_from(if index < 0 { index + twin.len() as i64 } else { index }).ok();
        let want = at.and_then(|at| twin.get(at));
        assert_eq!(list.get(index, |e| e.to_vec()).as_ref(), want);
        let Some(at) = at.filter(|at| *at < twin.len()) else {
            assert!(
                list.iter_at(index, ListEnd::Tail).is_none()
                    && list.cursor_at(index, ListEnd::Head).is_none()
            );
            continue;
        };
        let mut ahead = list.iter_at(index, ListEnd::Head).expect("inside");
        assert!(twin[at..].iter().all(|t| ahead.next().is_some_and(|e| e.is_text(t))));
        assert!(ahead.next().is_none() && ahead.next().is_none());
        let mut back = list.iter_at(index, ListEnd::Tail).expect("inside");
        assert!(twin[..=at].iter().rev().all(|t| back.next().is_some_and(|e| e.is_text(t))));
        assert!(back.next().is_none());
        let mut cursor = list.cursor_at(index, ListEnd::Tail).expect("inside");
        for t in twin[..=at].iter().rev().take(s.below(40)) {
            assert!(cursor.next().is_some_and(|e| e.is_text(t)));
        }
    }
}

fn run(shape: Shape, seed: u64, steps: usize) -> u64 {
    let s = &mut Source::seeded(seed);
    let (mut list, mut twin) = (List::Single(Listpack::new()), Vec::new());
    let mut hash = 0xCBF2_9CE4_8422_2325u64;
    for _ in 0..steps {
        let op = op_of_chance(s, twin.len());
        list.play(shape, &op);
        twin_plays(&mut twin, &op);
        assert_eq!(list.len(), twin.len(), "{op:?}");
        for (plain, _, bytes) in list.layout() {
            let head = [u8::from(plain), bytes.len() as u8, (bytes.len() >> 8) as u8];
            for byte in head.iter().chain(&bytes) {
                hash = (hash ^ u64::from(*byte)).wrapping_mul(0x100_0000_01B3);
            }
        }
        if let List::Many(list) = &mut list {
            check(list, shape);
            check_reads(list, &twin, s);
            check(list, shape);
        }
    }
    hash
}

/// Fill, depth, packed threshold, and the hash after 300 commands of that seed.
const LAYOUTS: &[(i32, i32, u32, u64)] = &[
    (-2, 0, PACKED_THRESHOLD, 0x59a2_6ff6_f9a1_4b1e),
    (-1, 0, PACKED_THRESHOLD, 0xa69f_1816_688a_0e25),
    (-3, 0, PACKED_THRESHOLD, 0x9be8_4beb_6987_3eaf),
    (0, 0, PACKED_THRESHOLD, 0x3e2d_f23c_68c5_098b),
    (1, 0, PACKED_THRESHOLD, 0x7828_3002_b854_9e97),
    (4, 0, PACKED_THRESHOLD, 0x8aa7_be53_bb97_673e),
    (32, 0, PACKED_THRESHOLD, 0x56b4_0ce1_2cd6_f9d7),
    (4, 0, 300, 0x0e1e_9b58_c6aa_66d3),
    (-1, 0, 900, 0xda71_58bf_469e_3133),
    (4, 0, 12, 0xc512_8b24_5981_9ff9),
    (3, 0, 1, 0x1cc6_bdc7_63cf_3bb6),
    (-1, 1, PACKED_THRESHOLD, 0x8795_9df7_ddbe_a2b4),
    (4, 1, PACKED_THRESHOLD, 0x5e59_ee11_d1f1_e9a1),
    (2, 2, PACKED_THRESHOLD, 0xd3e9_2a70_9c28_5d9b),
    (4, 1, 300, 0x9969_690e_bf33_a13f),
    (3, 3, 15, 0xde04_d4e0_2a3d_9573),
    (128, 1, 900, 0xd4c6_49ca_f4fa_13bb),
];

#[test]
fn nodes_are_laid_out_as_known() {
    for (seed, &(fill, depth, threshold, known)) in (0..).zip(LAYOUTS) {
        let shape = Shape { fill, depth, threshold };
        let hash = run(shape, seed, 300);
        assert_eq!(hash, known, "{shape:?}: {hash:#018x}");
    }
}

#[test]
fn inner_nodes_stay_compressed() {
    for (fill, depth, threshold) in [(3, 3, 15), (2, 1, 100), (-1, 2, 900), (5, 2, PACKED_THRESHOLD)] {
        for seed in 100..106 {
            run(Shape { fill, depth, threshold }, seed, 300);
        }
    }
}

#[test]
fn limits_follow_the_fill() {
    let max = usize::MAX;
    let limits = [(-6, (65536, max)), (-5, (65536, max)), (-2, (8192, max)), (-1, (4096, max))];
    for (fill, limit) in limits.into_iter().chain([(0, (max, 1)), (1, (max, 1)), (128, (max, 128))]) {
        assert_eq!(node_limit(fill), limit);
    }
    assert!(!exceeds_limit(-1, 4096, 9999) && exceeds_limit(-1, 4097, 1));
    assert!(!exceeds_limit(3, 8192, 3) && exceeds_limit(3, 8193, 1) && exceeds_limit(3, 100, 4));
    assert!(!exceeds_limit(0, 100, 1) && exceeds_limit(0, 100, 2));
    let list = Quicklist::new(70_000, 70_000);
    assert_eq!((list.fill(), list.compress_depth()), (32767, 65535));
    let list = Quicklist::new(-9, -9);
    assert_eq!((list.fill(), list.compress_depth()), (-5, 0));
}

#[test]
fn a_single_packed_node_becomes_a_listpack_again() {
    let lp = Listpack::of([Element::Str(b"a"), Element::Int(5)].into_iter());
    let bytes = lp.bytes().to_vec();
    let list = Quicklist::from_listpack(lp, -2, 0);
    assert_eq!((list.len(), list.node_count()), (2, 1));
    assert_eq!(list.as_listpack().map(Lp::bytes), Some(&bytes[..]));
    assert_eq!(list.into_listpack().expect("one packed node").bytes(), bytes);
    let mut plain = Quicklist::new(-2, 0);
    plain.append_plain(b"5");
    let mut plain = plain.into_listpack().expect_err("a plain node is no listpack");
    assert_eq!(plain.get(0, |e| e.to_vec()), Some(b"5".to_vec()));
    plain.append_listpack(Listpack::new());
    assert_eq!(plain.node_count(), 1);
    assert!(Quicklist::new(-2, 0).into_listpack().is_err());
    assert!(Quicklist::from_listpack(Listpack::new(), -2, 0).is_empty());
}

#[test]
fn a_copy_has_the_same_nodes() {
    let mut list = Quicklist::new(4, 1);
    (0..40u32).for_each(|i| list.push_back(&vec![b'a'; 30 + i as usize % 7]));
    list.append_plain(b"plain");
    let copy = list.clone();
    let nodes = |list: &Quicklist| list.nodes().map(|n| format!("{n:?}")).collect::<Vec<_>>();
    assert_eq!(nodes(&copy), nodes(&list));
    assert_eq!(collect(&copy, ListEnd::Head), collect(&list, ListEnd::Head));
    assert_eq!((copy.fill(), copy.compress_depth()), (4, 1));
    assert!(list.nodes().any(|n| matches!(n.bytes, NodeBytes::Lzf(_))));
    assert!(list.alloc_size() > 88);
    // It can be given to another thread to be freed.
    std::thread::spawn(move || drop(list)).join().expect("dropping does not panic");
    assert_eq!(copy.len(), 41);
}

#[test]
fn an_empty_list_has_nothing() {
    let mut list = Quicklist::new(-2, 1);
    assert!(
        list.is_empty()
            && list.iter(ListEnd::Head).next().is_none()
            && list.iter(ListEnd::Tail).next().is_none()
    );
    assert!(list.pop_front(|_| ()).is_none() && list.pop_back(|_| ()).is_none());
    assert!(list.iter_at(0, ListEnd::Head).is_none() && list.cursor_at(-1, ListEnd::Tail).is_none());
    assert!(!list.replace(0, b"x") && list.delete_range(0, 5) == 0);
    list.push_back(b"x");
    assert_eq!(list.delete_range(-1, 5), 1);
    assert!(list.is_empty() && list.node_count() == 0);
    assert_eq!(format!("{list:?}"), "[]");
}

/// Deletes from long lists where the chunks of nodes come into play.
#[test]
fn long_lists_lose_ranges() {
    for seed in 0..6 {
        let s = &mut Source::seeded(seed);
        let shape = Shape { fill: 3, depth: s.pick(&[0, 0, 2]), threshold: PACKED_THRESHOLD };
        let mut list = Quicklist::new(shape.fill, shape.depth);
        let mut twin: Vec<Vec<u8>> = (0..4000u32).map(|i| i.to_string().into_bytes()).collect();
        twin.iter().for_each(|t| list.push_back(t));
        while !twin.is_empty() {
            let start = s.below(twin.len());
            let most = s.pick(&[5, 100, 1500]);
            let n = 1 + s.below(most);
            let index = if s.one_in(2) { start as i64 } else { start as i64 - twin.len() as i64 };
            let gone = n.min(twin.len() - start);
            assert_eq!(list.delete_range(index, n), gone);
            twin.drain(start..start + gone);
            assert_eq!(list.len(), twin.len());
            check(&list, shape);
            if s.one_in(4) && !twin.is_empty() {
                check_reads(&mut list, &twin, s);
            }
        }
    }
}
