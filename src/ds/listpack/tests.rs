//! Three kinds: bytes that the format's inventor wrote for the same values, a naive twin (a vector of
//! texts with an encoder that spells the format out) driven by seeds, and bytes of chance that must not
//! do worse than be refused.

use super::*;
use crate::algo::num::parse_i64;
use crate::ds::prop::Source;

/// What `DUMP` of a list of one value carries.
const SINGLES: &[(&str, &str)] = &[
    ("", "0900000001008001ff"),
    ("a", "0a0000000100816102ff"),
    ("0", "0900000001000001ff"),
    ("127", "0900000001007f01ff"),
    ("128", "0a0000000100c08002ff"),
    ("-1", "0a0000000100dfff02ff"),
    ("4095", "0a0000000100cfff02ff"),
    ("4096", "0b0000000100f1001003ff"),
    ("-4096", "0a0000000100d00002ff"),
    ("-4097", "0b0000000100f1ffef03ff"),
    ("32767", "0b0000000100f1ff7f03ff"),
    ("32768", "0c0000000100f200800004ff"),
    ("-32768", "0b0000000100f1008003ff"),
    ("-32769", "0c0000000100f2ff7fff04ff"),
    ("8388607", "0c0000000100f2ffff7f04ff"),
    ("8388608", "0d0000000100f30000800005ff"),
    ("-8388608", "0c0000000100f200008004ff"),
    ("-8388609", "0d0000000100f3ffff7fff05ff"),
    ("2147483647", "0d0000000100f3ffffff7f05ff"),
    ("2147483648", "110000000100f4000000800000000009ff"),
    ("-2147483648", "0d0000000100f30000008005ff"),
    ("-2147483649", "110000000100f4ffffff7fffffffff09ff"),
    ("9223372036854775807", "110000000100f4ffffffffffffff7f09ff"),
    ("-9223372036854775808", "110000000100f4000000000000008009ff"),
    ("9223372036854775808", "1c0000000100933932323333373230333638353437373538303814ff"),
    ("-9223372036854775809", "1d0000000100942d3932323333373230333638353437373538303915ff"),
    ("-0", "0b0000000100822d3003ff"),
    ("007", "0c00000001008330303704ff"),
    ("+1", "0b0000000100822b3103ff"),
    (" 1", "0b000000010082203103ff"),
    ("1.0", "0c000000010083312e3004ff"),
];

/// The bytes before and after the text, for texts of so many `x`.
const LONG: &[(usize, &str, &str)] = &[
    (63, "480000000100bf", "40ff"),
    (64, "4a0000000100e040", "42ff"),
    (125, "870000000100e07d", "7fff"),
    (126, "890000000100e07e", "0180ff"),
    (127, "8a0000000100e07f", "0181ff"),
    (4095, "0a1000000100efff", "2081ff"),
    (4096, "0e1000000100f000100000", "2085ff"),
    (16376, "064000000100f0f83f0000", "7ffdff"),
    (16377, "074000000100f0f93f0000", "7ffeff"),
    (16378, "094000000100f0fa3f0000", "00ffffff"),
    (16379, "0a4000000100f0fb3f0000", "018080ff"),
    (2097145, "080020000100f0f9ff1f00", "7ffffeff"),
    (2097146, "0a0020000100f0faff1f00", "00ffffffff"),
    (2097147, "0b0020000100f0fbff1f00", "01808080ff"),
];

const HASH: &str = "360000000800846e616d65058572656469730683616765040f0185726174696f06\
                    83302e35048362696704f4141a99be1c00000009ff";

fn unhex(hex: &str) -> Vec<u8> {
    let digit = |i| u8::from_str_radix(&hex[i..i + 2], 16).expect("a pair of hex digits");
    (0..hex.len()).step_by(2).map(digit).collect()
}

fn of(values: &[&[u8]]) -> Listpack {
    Listpack::of(values.iter().map(|v| Element::Str(v)))
}

fn texts(lp: &Lp) -> Vec<Vec<u8>> {
    lp.iter().map(|e| e.to_vec()).collect()
}

#[test]
fn single_values_have_the_known_bytes() {
    for (text, hex) in SINGLES {
        let bytes = unhex(hex);
        let mut lp = Listpack::new();
        lp.push_back(text.as_bytes());
        assert_eq!(lp.bytes(), bytes, "{text}");
        let read = Listpack::from_bytes(&bytes).expect("known bytes are good");
        assert_eq!(read.get(read.first().expect("one entry")).to_vec(), text.as_bytes());
        assert_eq!(read.last(), read.first());
        if let Some(v) = parse_i64(text.as_bytes()) {
            assert_eq!(Listpack::of([Element::Int(v)].into_iter()).bytes(), bytes);
        }
    }
}

#[test]
fn long_values_have_the_known_bytes() {
    for &(len, before, after) in LONG {
        let text = vec![b'x'; len];
        let bytes = [unhex(before), text.clone(), unhex(after)].concat();
        let mut lp = Listpack::new();
        lp.push_front(&text);
        assert_eq!(lp.bytes(), bytes, "{len}");
        assert_eq!(validate(&bytes, |_| true), Ok(()));
        let last = lp.last().expect("one entry");
        assert_eq!(lp.get(last), Element::Str(&text));
        assert_eq!(lp.prev(last), None);
    }
}

#[test]
fn a_hash_has_the_known_bytes() {
    let texts: [&[u8]; 8] =
        [b"name", b"redis", b"age", b"15", b"ratio", b"0.5", b"big", b"123456789012"];
    let lp = of(&texts);
    assert_eq!(lp.bytes(), unhex(HASH));
    let pairs: Vec<_> = lp.pairs().collect();
    assert_eq!(pairs[1], (Element::Str(b"age"), Element::Int(15)));
    assert_eq!(pairs.len(), 4);
    let first = lp.first().expect("not empty");
    let age = lp.find(first, b"age", 1).expect("a field");
    assert_eq!(lp.get(lp.next(age).expect("its value")), Element::Int(15));
    assert_eq!(lp.find(first, b"redis", 1), None);
    assert!(lp.find(first, b"redis", 0).is_some());
}

/// The format, spelled out once more without any cleverness.
fn naive_bytes(values: &[Vec<u8>]) -> Vec<u8> {
    let mut entries = Vec::new();
    for text in values {
        let int: Option<i64> = std::str::from_utf8(text).ok().and_then(|s| s.parse().ok());
        let mut entry = match int.filter(|v| v.to_string().as_bytes() == text) {
            Some(v @ 0..=127) => vec![v as u8],
            Some(v @ -4096..=4095) => vec![0xC0 | ((v >> 8) & 0x1F) as u8, v as u8],
            Some(v) => {
                let widths = [(2, 0xF1), (3, 0xF2), (4, 0xF3), (8, 0xF4)];
                let fits = |(n, _): &(usize, u8)| *n == 8 || v == v << (64 - 8 * n) >> (64 - 8 * n);
                let (n, tag) = widths.into_iter().find(fits).expect("eight bytes fit");
                [&[tag], &v.to_le_bytes()[..n]].concat()
            }
            None => {
                let n = text.len();
                let head = match n {
                    0..64 => vec![0x80 | n as u8],
                    64..4096 => vec![0xE0 | (n >> 8) as u8, n as u8],
                    _ => [&[0xF0], &(n as u32).to_le_bytes()[..]].concat(),
                };
                [head, text.clone()].concat()
            }
        };
        let len = entry.len();
        let groups = [127, 16382, 2097150, 268435454].iter().filter(|limit| len > **limit).count();
        for group in (0..=groups).rev() {
            entry.push((len >> (7 * group)) as u8 & 127 | if group == groups { 0 } else { 128 });
        }
        entries.extend(entry);
    }
    let count = u16::try_from(values.len()).unwrap_or(u16::MAX);
    let total = entries.len() as u32 + 7;
    [&total.to_le_bytes()[..], &count.to_le_bytes(), &entries, &[0xFF]].concat()
}

fn text_of_chance(s: &mut Source<'_>) -> Vec<u8> {
    let odd = [
        &b""[..],
        b"0",
        b"-0",
        b"-",
        b"007",
        b"+5",
        b" 5",
        b"5 ",
        b"127",
        b"128",
        b"1e3",
        b"12345678",
        b"123456789",
        b"1234567x",
        b"9223372036854775807",
        b"-9223372036854775808",
        b"9223372036854775808",
        b"-9223372036854775809",
        b"99999999999999999999",
        b"184467440737095516150",
        b"4294967296",
    ];
    match s.below(8) {
        0 => s.pick(&odd).to_vec(),
        1..=3 => {
            let bits = 1 + s.below(64);
            let v = (s.next() << (64 - bits)) as i64 >> (64 - bits);
            v.to_string().into_bytes()
        }
        n => {
            let len =
                if n == 7 { s.pick(&[62, 63, 64, 65, 125, 126, 127, 128, 300]) } else { s.below(24) };
            let letter = b'a' + s.below(3) as u8;
            vec![letter; len]
        }
    }
}

fn check(lp: &Listpack, twin: &[Vec<u8>]) {
    assert_eq!(lp.bytes(), naive_bytes(twin));
    assert_eq!(validate(lp.bytes(), |_| true), Ok(()));
    assert_eq!(lp.alloc_size(), size_class(lp.bytes().len()));
    assert_eq!(lp.len(), twin.len());
    assert_eq!(lp.is_empty(), twin.is_empty());
}

/// Everything that reads, against the twin.
fn check_reads(lp: &Listpack, twin: &[Vec<u8>], s: &mut Source<'_>) {
    assert_eq!(texts(lp), twin);
    let mut back: Vec<_> = lp.iter().rev().map(|e| e.to_vec()).collect();
    back.reverse();
    assert_eq!(back, twin);
    let n = twin.len() as i64;
    for index in -n - 2..n + 2 {
        let want = if index < 0 { n + index } else { index };
        let want = usize::try_from(want).ok().and_then(|i| twin.get(i));
        let got = lp.seek(index).map(|p| lp.get(p).to_vec());
        assert_eq!(got.as_ref(), want, "index {index}");
    }
    assert_eq!(lp.seek(i64::MAX).or(lp.seek(i64::MIN)), None);
    let Some(first) = lp.first() else { return };
    let start = s.below(twin.len());
    let skip = s.below(3);
    let text =
        if s.one_in(3) { text_of_chance(s) } else { s.pick(&twin.iter().collect::<Vec<_>>()).clone() };
    let from = lp.seek(start as i64).expect("below the count");
    let want = (start..twin.len()).step_by(skip + 1).find(|i| twin[*i] == text);
    assert_eq!(lp.find(from, &text, skip), want.and_then(|i| lp.seek(i as i64)));
    assert_eq!(lp.iter_from(from).count(), twin.len() - start);
    assert_eq!(lp.iter_to(from).rev().count(), start + 1);
    let needle = Needle::new(&text);
    for (value, twin) in lp.iter().zip(twin) {
        assert_eq!(needle.is(value), *twin == text);
        assert_eq!(value.is_text(&text), *twin == text);
    }
    assert_eq!(lp.prev(first), None);
}

/// One entry more, less or other.
fn change_one(lp: &mut Listpack, twin: &mut Vec<Vec<u8>>, s: &mut Source<'_>) {
    let text = text_of_chance(s);
    if twin.is_empty() {
        lp.push_back(&text);
        return twin.push(text);
    }
    let i = s.below(twin.len());
    let pos = lp.seek(i as i64).expect("below the count");
    match s.below(8) {
        0 => {
            lp.push_back(&text);
            twin.push(text);
        }
        1 => {
            lp.push_front(&text);
            twin.insert(0, text);
        }
        2 => {
            let new = lp.insert_before(pos, &text);
            assert_eq!(lp.get(new).to_vec(), text);
            twin.insert(i, text);
        }
        3 => {
            let new = lp.insert_after(pos, &text);
            assert_eq!(lp.get(new).to_vec(), text);
            twin.insert(i + 1, text);
        }
        4 => {
            assert_eq!(lp.replace(pos, &text), pos);
            twin[i] = text;
        }
        5 => {
            let next = lp.delete(pos);
            twin.remove(i);
            assert_eq!(next.map(|p| lp.get(p).to_vec()).as_ref(), twin.get(i));
        }
        6 => assert_eq!(lp.pop_front(|e| e.to_vec()), Some(twin.remove(0))),
        _ => assert_eq!(lp.pop_back(|e| e.to_vec()), twin.pop()),
    }
}

/// Many entries at once, of a listpack that has some.
fn change_many(lp: &mut Listpack, twin: &mut Vec<Vec<u8>>, s: &mut Source<'_>) {
    let i = s.below(twin.len());
    let pos = lp.seek(i as i64).expect("below the count");
    let more: Vec<Vec<u8>> = (0..s.below(4)).map(|_| text_of_chance(s)).collect();
    let values: Vec<Element<'_>> = more.iter().map(|t| Element::Str(t)).collect();
    match s.below(7) {
        0 => {
            let n = s.below(4);
            let index = if s.one_in(2) { i as i64 } else { i as i64 - twin.len() as i64 };
            lp.delete_range(index, n);
            twin.drain(i..twin.len().min(i + n));
        }
        1 => {
            let places: Vec<usize> = (0..twin.len()).filter(|_| s.one_in(4)).collect();
            let positions: Vec<Pos> = places.iter().filter_map(|i| lp.seek(*i as i64)).collect();
            lp.delete_all(&positions);
            for i in places.into_iter().rev() {
                twin.remove(i);
            }
        }
        2 => {
            lp.extend(values.iter().copied());
            twin.extend(more);
        }
        3 => {
            let remove = s.below(3).min(twin.len() - i);
            lp.splice(Some(pos), remove, &values);
            twin.splice(i..i + remove, more);
        }
        4 => {
            let tail = lp.split_off(i);
            check(lp, &twin[..i]);
            check(&tail, &twin[i..]);
            let left = std::mem::take(lp);
            *lp = if s.one_in(2) {
                Listpack::merge(left, tail)
            } else {
                twin.rotate_left(i);
                Listpack::merge(tail, left)
            };
        }
        5 => {
            let word = lp.clone().into_raw();
            // SAFETY: the word is used once.
            *lp = unsafe { Listpack::from_raw(word) };
        }
        _ => *lp = Listpack::from_bytes(lp.bytes()).expect("its own bytes are good"),
    }
}

fn run(s: &mut Source<'_>, steps: usize, limit: usize) {
    let (mut lp, mut twin) = (Listpack::new(), Vec::new());
    for _ in 0..steps {
        if twin.is_empty() || s.one_in(2) {
            change_one(&mut lp, &mut twin, s);
        } else {
            change_many(&mut lp, &mut twin, s);
        }
        check(&lp, &twin);
        if s.one_in(8) {
            check_reads(&lp, &twin, s);
        }
        if twin.len() > limit {
            lp.delete_range(0, limit / 2);
            twin.drain(..limit / 2);
            check(&lp, &twin);
        }
    }
}

#[test]
fn values_that_are_made_alike_are_told_apart() {
    for (front, back) in
        [("member-", ""), ("", "-filled up........................."), ("m-", "xxxxxxxxxx")]
    {
        for widths in [[2, 2], [2, 5]] {
            let name = |i: usize| format!("{front}{i:0width$}{back}", width = widths[i % 2]);
            let mut lp = Listpack::new();
            for i in 0..60 {
                lp.push_back(name(i).as_bytes());
                lp.push_back(i as i64);
            }
            for i in 0..60 {
                let at = lp.first().and_then(|first| lp.find(first, name(i).as_bytes(), 1));
                assert_eq!(at, lp.seek(2 * i as i64), "{}", name(i));
            }
            for missing in [name(99), name(60), format!("{front}0{back}")] {
                let first = lp.first().expect("not empty");
                assert_eq!(lp.find(first, missing.as_bytes(), 1), None, "{missing}");
            }
        }
    }
}

#[test]
fn it_does_what_the_twin_does() {
    for seed in 0..40 {
        run(&mut Source::seeded(seed), 400, 40);
    }
    run(&mut Source::seeded(1000), 2000, 400);
}

/// Pushes and pops at both ends in long runs, so that the slack wanders through the block.
#[test]
fn ends_stay_right_while_the_slack_wanders() {
    for seed in 0..20 {
        let s = &mut Source::seeded(seed);
        let (mut lp, mut twin) = (Listpack::new(), std::collections::VecDeque::new());
        for _ in 0..60 {
            let (way, text) = (s.below(5), text_of_chance(s));
            for _ in 0..s.below(60) {
                match way {
                    0 => {
                        lp.push_back(&text);
                        twin.push_back(text.clone());
                    }
                    1 => {
                        lp.push_front(&text);
                        twin.push_front(text.clone());
                    }
                    2 => assert_eq!(lp.pop_front(|e| e.to_vec()), twin.pop_front()),
                    3 => assert_eq!(lp.pop_back(|e| e.to_vec()), twin.pop_back()),
                    _ => {
                        lp.push_front(&text);
                        lp.push_back(&text);
                        twin.push_front(text.clone());
                        twin.push_back(text.clone());
                    }
                }
            }
            check(&lp, twin.make_contiguous());
        }
    }
}

#[test]
fn big_blocks_grow_and_shrink() {
    let (mut lp, mut twin) = (Listpack::new(), Vec::new());
    let big = |n: usize| vec![b'b'; n];
    for n in [20_000, 100, 70_000, 3, 100_000] {
        lp.push_back(&big(n));
        twin.push(big(n));
        lp.push_front(&big(n / 2));
        twin.insert(0, big(n / 2));
        check(&lp, &twin);
    }
    while !twin.is_empty() {
        lp.delete_range(-1, 1);
        twin.pop();
        check(&lp, &twin);
        if !twin.is_empty() {
            lp.delete_range(0, 1);
            twin.remove(0);
            check(&lp, &twin);
        }
    }
}

#[test]
fn the_count_gives_up_at_65535() {
    let mut lp = Listpack::of((0..65_534).map(|_| Element::Int(7)));
    assert_eq!(lp.bytes()[4..6], [0xFE, 0xFF]);
    lp.push_back(8i64);
    assert_eq!(lp.bytes()[4..6], [0xFF, 0xFF]);
    assert_eq!(lp.len(), 65_535);
    lp.push_front(6i64);
    assert_eq!(lp.len(), 65_536);
    assert_eq!(lp.seek(-1).map(|p| lp.get(p)), Some(Element::Int(8)));
    assert_eq!(lp.seek(65_535).map(|p| lp.get(p)), Some(Element::Int(8)));
    assert_eq!(lp.seek(65_536), None);
    assert_eq!(lp.seek(-65_537), None);
    lp.delete_range(-3, 2);
    assert_eq!(lp.bytes()[4..6], [0xFF, 0xFF], "only counting again could tell");
    assert_eq!(lp.len(), 65_534);
    let tail = lp.split_off(3);
    assert_eq!((lp.bytes()[4], tail.bytes()[4..6].to_vec()), (3, vec![0xFB, 0xFF]));
    assert_eq!(validate(tail.bytes(), |_| true), Ok(()));
    let whole = Listpack::merge(lp, tail);
    assert_eq!((whole.len(), &whole.bytes()[4..6]), (65_534, &[0xFE, 0xFF][..]));
}

#[test]
fn longer_forms_than_needed_are_shortened() {
    // "5" as a string, 5 as a 16-bit integer, "ab" with the 12-bit form.
    let entries = [&[0x81, b'5', 2][..], &[0xF1, 5, 0, 3], &[0xE0, 2, b'a', b'b', 4]].concat();
    let bytes = [&[19, 0, 0, 0, 3, 0][..], &entries, &[0xFF]].concat();
    assert_eq!(validate(&bytes, |_| true), Ok(()));
    let lp = Listpack::from_bytes(&bytes).expect("well formed");
    assert_eq!(lp.bytes(), of(&[b"5", b"5", b"ab"]).bytes());
    // A backlen whose second group, a zero, is a byte of the string.
    let bytes = [11, 0, 0, 0, 1, 0, 0x82, b'a', 0, 0x83, 0xFF];
    assert_eq!(validate(&bytes, |_| true), Ok(()));
    let lp = Listpack::from_bytes(&bytes).expect("well formed");
    assert_eq!(lp.bytes(), of(&[b"a\0"]).bytes());
}

#[test]
fn broken_bytes_are_refused() {
    let good = of(&[b"abc", b"1000", &[b'x'; 200]]);
    let good = good.bytes();
    let why = |bytes: &[u8]| validate(bytes, |_| true).expect_err("broken").why;
    assert_eq!(why(&[]), "listpack header is cut off");
    assert_eq!(why(&good[..good.len() - 1]), "listpack length is not the number of bytes");
    assert_eq!(why(&[6, 0, 0, 0, 0, 0]), "listpack end byte is missing");
    assert_eq!(why(&[7, 0, 0, 0, 0, 0, 0]), "listpack end byte is missing");
    let with = |at: usize, byte: u8| {
        let mut bytes = good.to_vec();
        bytes[at] = byte;
        bytes
    };
    assert_eq!(why(&with(4, 4)), "listpack count is not the number of entries");
    assert_eq!(why(&with(6, 0xF5)), "listpack entry has no known form");
    assert_eq!(why(&with(6, 0xFF)), "listpack entry has no known form");
    assert_eq!(why(&with(6, 0xEF)), "listpack entry reaches past the end");
    assert_eq!(why(&with(6, 0xF0)), "listpack entry reaches past the end");
    assert_eq!(why(&with(10, 5)), "listpack entry's lengths differ");
    assert_eq!(validate_shallow(&with(6, 0xF5)), Ok(()), "the shallow check looks at the frame");
    assert_eq!(validate(good, |e| e != Element::Int(1000)).expect_err("refused").at, 11);
    let said = Listpack::from_bytes(&with(4, 4)).expect_err("count").to_string();
    assert_eq!(said, "listpack count is not the number of entries at byte 4");
}

/// Bytes of chance, and good bytes with a few changed: refused, or readable to the end both ways.
#[test]
fn bytes_of_chance_do_no_harm() {
    let mut accepted = 0;
    for seed in 0..3000 {
        let s = &mut Source::seeded(seed);
        let values: Vec<Vec<u8>> = (0..s.below(8)).map(|_| text_of_chance(s)).collect();
        let mut bytes = naive_bytes(&values);
        for _ in 0..s.below(4) {
            let at = s.below(bytes.len());
            let byte = s.next() as u8;
            bytes[at] = s.pick(&[byte, 0xFF, 0xF0, 0x80, 0]);
        }
        if s.one_in(3) {
            bytes.truncate(s.below(bytes.len() + 1));
        }
        if s.one_in(2) && bytes.len() > 4 {
            let total = bytes.len() as u32;
            bytes[..4].copy_from_slice(&total.to_le_bytes());
        }
        let mut seen = Vec::new();
        let verdict = validate(&bytes, |e| {
            seen.push(e.to_vec());
            true
        });
        let own = Listpack::from_bytes(&bytes);
        assert_eq!(own.as_ref().err(), verdict.as_ref().err());
        if let Ok(own) = own {
            accepted += 1;
            check(&own, &seen);
            check_reads(&own, &seen, s);
        }
    }
    assert!((500..2900).contains(&accepted), "both outcomes are tried: {accepted}");
}

/// Values made of the bytes of other entries, so that the scan is led astray.
#[test]
fn entries_inside_strings_are_not_found() {
    let code = |text: &[u8]| {
        let lp = of(&[text]);
        lp.bytes()[HEADER..lp.bytes().len() - 1].to_vec()
    };
    let needles: [&[u8]; 7] = [b"field:0001", b"ab", b"", b"5", b"300", b"70000", b"12345678901"];
    for needle in needles {
        let trap = [b"__", &code(needle)[..], &code(needle), b"__"].concat();
        for (count, skip) in [(40, 0), (40, 1), (41, 2), (9, 1)] {
            for place in 0..count {
                let mut values = vec![&trap[..]; count];
                let miss = of(&values);
                let first = miss.first().expect("not empty");
                assert_eq!(miss.find(first, needle, skip), None);
                values[place] = needle;
                let lp = of(&values);
                let want = place.is_multiple_of(skip + 1).then(|| lp.seek(place as i64)).flatten();
                assert_eq!(lp.find(first, needle, skip), want);
                let second = lp.seek(1).expect("more than one");
                let want = place.checked_sub(1).filter(|p| p.is_multiple_of(skip + 1));
                assert_eq!(lp.find(second, needle, skip), want.and_then(|p| lp.seek(p as i64 + 1)));
            }
        }
    }
}

#[test]
#[should_panic(expected = "position does not belong")]
fn a_position_past_the_end_is_caught() {
    let mut lp = of(&[b"a", b"b"]);
    let last = lp.last().expect("two entries");
    lp.delete(last);
    lp.get(last);
}

/// Wherever a stale position points, nothing outside the block is read; the sanitizer run watches.
#[test]
fn stale_positions_read_nothing_outside() {
    let lp = of(&[&[0xF0; 50], b"x", &[0xE7; 30], b"1234567890123", &[0xF4; 3]]);
    for offset in 1..lp.bytes().len() + 3 {
        let pos = Pos::new(offset);
        let quiet = |f: &dyn Fn()| _ = std::panic::catch_unwind(std::panic::AssertUnwindSafe(f));
        quiet(&|| _ = lp.get(pos).to_vec());
        quiet(&|| _ = lp.next(pos));
        quiet(&|| _ = lp.prev(pos));
        quiet(&|| _ = lp.find(pos, b"zz", 0));
        quiet(&|| {
            _ = texts(&{
                let mut other = lp.clone();
                other.replace(pos, b"some other text that is longer");
                other.delete(pos);
                other
            })
        });
    }
}

#[test]
fn chance_is_fair_and_keeps_to_the_stride() {
    let lp = of(&[b"a", b"1", b"b", b"2", b"c", b"3"]);
    let s = &mut Source::seeded(7);
    let mut seen = [0; 6];
    let index = |pos: Pos| lp.iter_to(pos).count() - 1;
    for _ in 0..600 {
        seen[index(lp.pick_one(2, |n| s.below(n)).expect("three pairs"))] += 1;
        for pos in lp.pick(2, 2, |n| s.below(n)) {
            seen[index(pos)] += 1;
        }
        let sample = lp.sample(2, 2, |n| s.below(n));
        assert!(sample.len() == 2 && sample[0] < sample[1]);
        sample.into_iter().for_each(|pos| seen[index(pos)] += 1);
    }
    assert!([0, 2, 4].iter().all(|i| (850..1150).contains(&seen[*i])), "{seen:?}");
    assert!([1, 3, 5].iter().all(|i| seen[*i] == 0));
    assert_eq!(lp.sample(99, 1, |n| s.below(n)).len(), 6);
    assert_eq!(lp.sample(99, 2, |n| s.below(n)).len(), 3);
    let order: Vec<usize> = lp.pick(50, 1, |n| s.below(n)).into_iter().map(index).collect();
    assert!(order.windows(2).any(|w| w[0] > w[1]), "picks come in the order of choice: {order:?}");
    let empty = Listpack::new();
    assert_eq!(empty.pick_one(1, |_| 0), None);
    assert!(empty.pick(3, 1, |_| 0).is_empty() && empty.sample(3, 1, |_| 0).is_empty());
}

#[test]
fn the_safe_size_is_a_gigabyte() {
    let lp = of(&[b"abc"]);
    assert!(safe_to_add(None, 1 << 30) && !safe_to_add(None, (1 << 30) + 1));
    assert!(safe_to_add(Some(&lp), (1 << 30) - 12) && !safe_to_add(Some(&lp), (1 << 30) - 11));
    assert!(!safe_to_add(Some(&lp), usize::MAX));
}

#[test]
fn integers_are_set_where_they_stand() {
    let mut lp = Listpack::of([1i64, 127, 5, -7].into_iter().map(Element::from));
    let second = lp.seek(1).expect("four entries");
    for n in [0, 127, 128, -1, 4095, 70_000, i64::MIN, 3] {
        lp.set_int(second, n);
        assert_eq!(lp.iter().collect::<Vec<_>>(), [1, n, 5, -7].map(Element::from));
        assert_eq!(Listpack::from_bytes(lp.bytes()).map(|l| l.len()), Ok(4));
    }
}

#[test]
fn a_few_values_are_appended_at_once() {
    let (mut one_by_one, mut at_once) = (Listpack::new(), Listpack::new());
    for i in 0..200i64 {
        let text = vec![b'x'; i as usize];
        let values = [Element::Int(i * 97), Element::Str(&text), Element::Str(b"12")];
        values.iter().for_each(|v| one_by_one.push_back(*v));
        at_once.push_back_all(values);
        assert_eq!(at_once.bytes(), one_by_one.bytes());
    }
}

#[test]
fn a_walk_passes_over_entries_and_knows_its_place() {
    let lp = Listpack::of([1i64, 70_000, 5].into_iter().map(Element::from));
    let mut walk = lp.iter();
    assert_eq!(lp.place(&walk), lp.first());
    walk.pass(2);
    assert_eq!(lp.place(&walk), lp.seek(2));
    assert_eq!(walk.clone().next(), Some(Element::Int(5)));
    walk.pass(9);
    assert_eq!((lp.place(&walk), walk.next()), (None, None));
}
