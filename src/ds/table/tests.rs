//! The table against a naive twin, and the promises of its scan.

use super::*;
use std::collections::{HashMap, HashSet};
use std::sync::{LazyLock, Mutex};

/// Elements of the tests: leaked boxes of byte strings.
#[derive(Clone, Copy, PartialEq, Debug)]
struct Item(&'static Vec<u8>);

// SAFETY: items are leaked, so they live; the address is that of a box.
unsafe impl Elem for Item {
    fn to_ptr(self) -> NonNull<u8> {
        NonNull::from(self.0).cast()
    }
    unsafe fn from_ptr(p: NonNull<u8>) -> Self {
        // SAFETY: came from `to_ptr`, and items are leaked.
        Item(unsafe { p.cast::<Vec<u8>>().as_ref() })
    }
    unsafe fn key<'a>(self) -> &'a [u8] {
        self.0
    }
}

impl Item {
    fn name(self) -> &'static [u8] {
        self.0
    }
}

fn put(t: &mut Table<Item>, h: u64, it: Item) {
    // SAFETY: items live for ever.
    unsafe { t.insert(h, it) }
}

fn item(n: u64) -> Item {
    // Every item stays reachable from here, so that no leak checker reports it.
    static ALL: LazyLock<Mutex<HashMap<u64, &'static Vec<u8>>>> = LazyLock::new(Mutex::default);
    let mut all = ALL.lock().expect("no test panics while it makes an element");
    Item(all.entry(n).or_insert_with(|| Box::leak(Box::new(format!("key:{n}").into_bytes()))))
}

struct Seeded(u64);
impl Seeded {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        let x = self.0 ^ (self.0 >> 33);
        x.wrapping_mul(0xff51_afd7_ed55_8ccd) ^ (x >> 29)
    }
}

fn check(t: &Table<Item>, twin: &HashSet<u64>) {
    assert_eq!(t.len(), twin.len());
    let all: HashSet<Vec<u8>> = t.iter().map(|e| e.name().to_vec()).collect();
    assert_eq!(all.len(), twin.len(), "the iterator gives each element once");
    for &n in twin {
        assert!(all.contains(item(n).name()));
        assert_eq!(t.find(hash(item(n).name()), item(n).name()), Some(item(n)));
    }
}

#[test]
fn it_agrees_with_its_naive_twin() {
    for seed in 0..12 {
        let (mut t, mut twin, mut r) = (Table::new(), HashSet::new(), Seeded(seed));
        let range = [20, 300, 5000][seed as usize % 3];
        for step in 0..8000u64 {
            let n = r.next() % range;
            let (h, it) = (hash(item(n).name()), item(n));
            match r.next() % 10 {
                0..=4 if !twin.contains(&n) => {
                    put(&mut t, h, it);
                    twin.insert(n);
                }
                5 | 6 => assert_eq!(t.remove(h, it), twin.remove(&n)),
                7 => assert_eq!(t.remove_key(h, it.name()).is_some(), twin.remove(&n)),
                8 if t.wants_shrink() => {
                    t.shrink();
                }
                _ => {
                    t.rehash(1);
                }
            }
            if step % 1000 == 0 {
                check(&t, &twin);
            }
            if step % 4000 == 3999 {
                for n in twin.drain() {
                    assert!(t.remove(hash(item(n).name()), item(n)));
                }
                assert!(t.is_empty());
                t.shrink();
            }
        }
        check(&t, &twin);
    }
}

#[test]
fn a_scan_returns_all_that_stays_across_growth_and_shrinking() {
    for seed in 0..20 {
        let (mut t, mut r) = (Table::new(), Seeded(seed));
        let stay = 50 + r.next() % 400;
        let mut extra: Vec<u64> = Vec::new();
        (0..stay).for_each(|n| put(&mut t, hash(item(n).name()), item(n)));
        let (mut seen, mut cursor, mut next) = (HashSet::new(), 0, 100_000);
        loop {
            cursor = t.scan(cursor, |e| {
                seen.insert(e.name().to_vec());
            });
            if cursor == 0 {
                break;
            }
            for _ in 0..r.next() % 200 {
                if seed % 2 == 0 && extra.len() < 5000 {
                    put(&mut t, hash(item(next).name()), item(next));
                    extra.push(next);
                    next += 1;
                } else if let Some(n) = extra.pop() {
                    t.remove(hash(item(n).name()), item(n));
                }
            }
            if t.wants_shrink() {
                t.shrink();
            }
            t.rehash(r.next() as usize % 5);
        }
        for n in 0..stay {
            assert!(seen.contains(item(n).name()), "seed {seed}: {n} of {stay} was not returned");
        }
    }
}

/// What stands last in a scan collides when the table has shrunk: whole slots are left, and one of them
/// in the end. The rehash to the next size is then still under way.
#[test]
fn what_a_scan_has_given_leaves_whole_slots_behind() {
    let mut t = Table::new();
    (0..100_000u64).for_each(|n| put(&mut t, hash(item(n).name()), item(n)));
    while t.rehash(100) {}
    let remove_all_but = |t: &mut Table<Item>, stay: usize| {
        let (mut given, mut cursor) = (Vec::new(), 0);
        loop {
            cursor = t.scan(cursor, |e| given.push(e));
            if cursor == 0 {
                break;
            }
        }
        for e in &given[..given.len() - stay] {
            t.remove(hash(e.name()), *e);
            if t.wants_shrink() && t.slots() < 1000 {
                t.shrink();
            }
            t.rehash(1);
        }
    };
    remove_all_but(&mut t, 499);
    assert!(t.shrink());
    while t.rehash(1) {}
    remove_all_but(&mut t, 30);
    assert!(t.is_rehashing());
    let stats = &t.figures(true).main;
    assert_eq!((stats.size, stats.chains.len() - 1, stats.chains[30]), (512, 30, 1));
}

#[test]
fn growth_falls_where_upstream_grows() {
    let mut t = Table::new();
    for n in 0..2000u64 {
        put(&mut t, hash(item(n).name()), item(n));
        while t.rehash(100) {}
        assert_eq!(t.slots(), ((n + 1) as usize).next_power_of_two().max(4), "with {} elements", n + 1);
    }
    for n in 0..1900u64 {
        t.remove(hash(item(n).name()), item(n));
    }
    assert!(t.wants_shrink() && t.shrink());
    while t.rehash(100) {}
    assert_eq!(t.slots(), 128);
}

#[test]
fn samples_are_fair() {
    let (mut t, mut r) = (Table::new(), Seeded(5));
    (0..100u64).for_each(|n| put(&mut t, hash(item(n).name()), item(n)));
    let mut counts: HashMap<Vec<u8>, u32> = HashMap::new();
    for _ in 0..100_000 {
        let e = t.random(|| r.next()).expect("not empty");
        *counts.entry(e.name().to_vec()).or_default() += 1;
    }
    assert_eq!(counts.len(), 100);
    assert!(counts.values().all(|&n| (750..1250).contains(&n)), "{counts:?}");
}

#[test]
fn samples_of_a_table_that_was_full_are_fair_and_found_soon() {
    let (mut t, mut r) = (Table::new(), Seeded(5));
    (0..8_000u64).for_each(|n| put(&mut t, hash(item(n).name()), item(n)));
    while t.rehash(100) {}
    for n in 900..8_000u64 {
        assert!(t.remove(hash(item(n).name()), item(n)));
    }
    let (mut counts, mut drawn) = (HashMap::<Vec<u8>, u32>::new(), 0u64);
    for _ in 0..90_000 {
        let e = t.random(|| {
            drawn += 1;
            r.next()
        });
        *counts.entry(e.expect("not empty").name().to_vec()).or_default() += 1;
    }
    assert_eq!(counts.len(), 900);
    assert!(counts.values().all(|&n| (50..160).contains(&n)), "{counts:?}");
    // 900 of 8,192 places are taken: three single tries and a group of sixteen at a time.
    assert!(drawn < 90_000 * 30, "{drawn} numbers for 90,000 samples");
}

#[test]
fn samples_in_the_midst_of_a_rehash_are_fair() {
    let (mut t, mut r) = (Table::new(), Seeded(5));
    (0..8_000u64).for_each(|n| put(&mut t, hash(item(n).name()), item(n)));
    while t.rehash(100) {}
    for n in 100..8_000u64 {
        assert!(t.remove(hash(item(n).name()), item(n)));
    }
    assert!(t.shrink());
    t.rehash(400);
    assert!(t.is_rehashing());
    let mut counts = HashMap::<Vec<u8>, u32>::new();
    for _ in 0..100_000 {
        *counts.entry(t.random(|| r.next()).expect("not empty").name().to_vec()).or_default() += 1;
    }
    assert_eq!(counts.len(), 100);
    assert!(counts.values().all(|&n| (500..1800).contains(&n)), "{counts:?}");
}

#[test]
fn some_gives_as_many_as_there_are() {
    let mut t = Table::new();
    (0..37u64).for_each(|n| put(&mut t, hash(item(n).name()), item(n)));
    let mut seen = HashSet::new();
    t.some(100, 12345, |e| {
        seen.insert(e.name().to_vec());
    });
    assert_eq!(seen.len(), 37);
}

#[test]
fn memory_comes_back() {
    // A slot of its own, that no other test counts in.
    crate::sys::alloc::register_thread(crate::sys::alloc::slot::TESTS + 3);
    (0..70_000u64).for_each(|n| {
        item(n);
    });
    let before = crate::sys::alloc::mine();
    let mut t: Table<Item> = Table::new();
    (0..70_000u64).for_each(|n| put(&mut t, hash(item(n).name()), item(n)));
    let full = crate::sys::alloc::mine() - before;
    assert!(full > 70_000 * 6 && full < 70_000 * 24, "{full} bytes for 70,000 elements");
    t.clear();
    assert_eq!(crate::sys::alloc::mine(), before);
}

#[test]
fn a_sample_may_begin_anywhere_and_holds_no_element_twice() {
    const N: u64 = 3000;
    let mut t = Table::default();
    (0..N).for_each(|n| put(&mut t, hash(item(n).name()), item(n)));
    let mut seen: HashMap<&[u8], u32> = (0..N).map(|n| (item(n).name(), 0)).collect();
    let mut rng = Seeded(9);
    for _ in 0..60_000 {
        let mut sample = HashSet::new();
        t.some(5, rng.next(), |e| assert!(sample.insert(e.name()), "twice"));
        assert_eq!(sample.len(), 5);
        sample.iter().for_each(|name| *seen.get_mut(name).expect("one of them") += 1);
    }
    // A hundred times each on average.
    let (least, most) = (seen.values().min().expect("many"), seen.values().max().expect("many"));
    assert!(*least > 10 && *most < 1000, "{least} to {most}");
    let mut all = HashSet::new();
    t.some(usize::MAX, rng.next(), |e| assert!(all.insert(e.name()), "twice"));
    assert_eq!(all.len() as u64, N);
}
