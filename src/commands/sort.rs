//! SORT and SORT_RO.
//!
//! ```text
//! list, set, zset ─► words ─► keys (u64, place) ─► sorted ─► window of LIMIT ─► GET ─► reply, or a list
//!                     copied   a weight, made to compare as an integer; or the first bytes of a text
//! ```
//!
//! Elements are copied out first, into one block: BY and GET look keys up, which may expire any key, the
//! sorted one too. Weights are parsed once, and what is sorted are pairs of an integer and a place. Keys
//! that BY and GET name are hashed and fetched from memory in groups.
//!
//! What decides among equals is part of the protocol:
//! - numbers: the bytes of the elements, in reverse for DESC;
//! - ALPHA: nothing, they stay in their order, for DESC too;
//! - ALPHA with BY and a LIMIT that leaves some out: whatever `partial_sort` makes of them.
//!
//! BY with a pattern that names no element sorts nothing: lists and sorted sets come in their own order
//! (DESC reverses it), sets in any. A set that is stored, or is sorted for a script, comes in the order
//! of its bytes then, so that replicas agree.
//!
//! Texts compare by the locale (`locale-collate`), up to a zero byte; by their bytes where the result is
//! stored.

use super::numbers::integer;
use crate::algo::num::parse_f64_weight;
use crate::algo::partial_sort::sort_part;
use crate::clients::flag;
use crate::cmd::docs;
use crate::cmd::keys;
use crate::cmd::row::flag::*;
use crate::cmd::row::{Flow, KeySpec, cat, key};
use crate::ds::entry::{EntryRef, ty};
use crate::ds::listpack::Element;
use crate::ds::quicklist::Quicklist;
use crate::keyspace::store::New;
use crate::keyspace::{GROUP, Keyspace, class};
use crate::object::value::{StrRef, Variant, View};
use crate::object::{hash::Hash, list::List, set::Set, zset::Zset};
use crate::proto::args::Key;
use crate::proto::error::CmdError;
use crate::server::auth;
use crate::server::ctx::{Command, Ctx, ROW};
use crate::sys::collate;
use std::cmp::Ordering;
use std::ops::Range;

const KEY: KeySpec = KeySpec::one(key::RO | key::ACCESS, 1);
const OUTSIDE: KeySpec = KeySpec::unknown(key::RO | key::ACCESS)
    .note("Keys looked up by BY and GET, unknown beforehand: elements name them");

pub static ROWS: &[Command] = &[
    Command {
        name: "sort",
        arity: -2,
        flags: WRITE | DENYOOM,
        acl: cat::SET | cat::SORTEDSET | cat::LIST | cat::DANGEROUS,
        keys: &[
            KEY,
            OUTSIDE,
            KeySpec::unknown(key::OW | key::UPDATE)
                .note("The destination of STORE, unknown beforehand: it may stand anywhere"),
        ],
        run: sort,
        getkeys: Some(keys::sort),
        used_keys: Some(keys::sort_used),
        docs: &docs::SORT,
        ..ROW
    },
    Command {
        name: "sort_ro",
        arity: -2,
        flags: READONLY,
        acl: cat::SET | cat::SORTEDSET | cat::LIST | cat::DANGEROUS,
        keys: &[KEY, OUTSIDE],
        run: sort_ro,
        getkeys: Some(keys::sort_ro),
        docs: &docs::SORT_RO,
        ..ROW
    },
];

const NO_WEIGHT: CmdError = CmdError::Msg(&"ERR One or more scores can't be converted into double");

// ── what is asked ────────────────────────────────────────────────────────────────────────────────────

/// What a pattern leads to, given an element.
#[derive(Debug, PartialEq, Eq)]
enum Source<'a> {
    /// `#`: the element itself.
    Element,
    /// No star: no element can be named.
    Nothing,
    /// The key `head element tail`: a string, or a field of a hash.
    Key { head: &'a [u8], tail: &'a [u8], field: Option<&'a [u8]> },
}

impl<'a> Source<'a> {
    /// Star and arrow are looked for up to a zero byte.
    fn of(pattern: &'a [u8]) -> Source<'a> {
        let shown = pattern.split(|b| *b == 0).next().unwrap_or(b"");
        if shown == b"#" {
            return Source::Element;
        }
        let Some(star) = shown.iter().position(|b| *b == b'*') else { return Source::Nothing };
        let (head, rest) = (&pattern[..star], &pattern[star + 1..]);
        let arrow = shown[star + 1..].windows(2).position(|w| w == b"->");
        match arrow.filter(|at| star + 1 + at + 2 < shown.len()) {
            Some(at) => Source::Key { head, tail: &rest[..at], field: Some(&rest[at + 2..]) },
            None => Source::Key { head, tail: rest, field: None },
        }
    }

    fn is_key(&self) -> bool {
        matches!(self, Source::Key { .. })
    }

    fn push_name(&self, element: Element<'_>, names: &mut Vec<u8>) {
        if let Source::Key { head, tail, .. } = self {
            names.extend_from_slice(head);
            element.with_text(|text| names.extend_from_slice(text));
            names.extend_from_slice(tail);
        }
    }
}

#[derive(Default)]
struct Plan<'a> {
    desc: bool,
    alpha: bool,
    /// LIMIT, as given.
    start: i64,
    count: Option<i64>,
    by: Option<Source<'a>>,
    /// Some BY named no element: nothing is sorted.
    fixed: bool,
    gets: Vec<Source<'a>>,
    /// The argument that names the destination.
    store: Option<usize>,
}

impl<'a> Plan<'a> {
    fn parse(ctx: &Ctx<'a>, readonly: bool) -> Result<Plan<'a>, CmdError> {
        let mut plan = Plan::default();
        let cluster = ctx.srv.config.cluster_enabled;
        // The keys of BY and GET are none that the arguments name.
        let reads_all =
            || auth::may_use_all_keys(ctx.srv, ctx.origin, ctx.cmd, ctx.args.slice(), key::ACCESS);
        let mut i = 2;
        while i < ctx.args.len() {
            let is = |word: &[u8], more: usize| {
                ctx.args[i].eq_ignore_ascii_case(word) && ctx.args.len() - i > more
            };
            if is(b"asc", 0) {
                plan.desc = false;
            } else if is(b"desc", 0) {
                plan.desc = true;
            } else if is(b"alpha", 0) {
                plan.alpha = true;
            } else if is(b"limit", 2) {
                plan.start = integer(ctx.args[i + 1])?;
                plan.count = Some(integer(ctx.args[i + 2])?);
                i += 2;
            } else if !readonly && is(b"store", 1) {
                plan.store = Some(i + 1);
                i += 1;
            } else if is(b"by", 1) {
                let by = Source::of(ctx.args[i + 1]);
                plan.fixed |= !by.is_key();
                if by.is_key() && cluster {
                    return Err(CmdError::Msg(&"ERR BY option of SORT denied in Cluster mode."));
                }
                if by.is_key() && !reads_all() {
                    return Err(CmdError::Msg(
                        &"ERR BY option of SORT denied due to insufficient ACL permissions.",
                    ));
                }
                plan.by = Some(by);
                i += 1;
            } else if is(b"get", 1) {
                if cluster {
                    return Err(CmdError::Msg(&"ERR GET option of SORT denied in Cluster mode."));
                }
                if !reads_all() {
                    return Err(CmdError::Msg(
                        &"ERR GET option of SORT denied due to insufficient ACL permissions.",
                    ));
                }
                plan.gets.push(Source::of(ctx.args[i + 1]));
                i += 1;
            } else {
                return Err(CmdError::Syntax);
            }
            i += 1;
        }
        Ok(plan)
    }

    /// The places that are shown, of `len` sorted ones.
    fn window(&self, len: usize) -> Range<usize> {
        let within = |n: i64| usize::try_from(n.max(0)).map_or(len, |n| n.min(len));
        let start = within(self.start);
        let end = match self.count {
            Some(count) if count >= 0 => (start + within(count)).min(len),
            _ => len,
        };
        start..end
    }

    /// How texts compare.
    fn collation(&self) -> Collation {
        if self.store.is_some() {
            Collation::Bytes
        } else if collate::is_bytewise() {
            Collation::ToZero
        } else {
            Collation::Locale
        }
    }
}

// ── elements, copied out ─────────────────────────────────────────────────────────────────────────────

/// Integers, texts in one block, and places for texts that there are none of.
#[derive(Default)]
struct Words {
    /// Texts, each with a zero byte behind it.
    bytes: Vec<u8>,
    /// Begin and length of a text; an integer and `INT`; `NONE`.
    at: Vec<(u64, u64)>,
    /// Integers are kept as texts.
    spelled: bool,
    /// Some of the texts that are compared have a zero byte inside.
    has_zero: bool,
}

const INT: u64 = u64::MAX;
const NONE: u64 = u64::MAX - 1;

impl Words {
    fn len(&self) -> usize {
        self.at.len()
    }

    fn push(&mut self, e: Element<'_>) {
        match e {
            Element::Int(n) if !self.spelled => self.at.push((n as u64, INT)),
            Element::Int(n) => self.push_text(itoa::Buffer::new().format(n).as_bytes()),
            Element::Str(text) => self.push_text(text),
        }
    }

    fn push_text(&mut self, text: &[u8]) {
        self.has_zero |= self.spelled && memchr::memchr(0, text).is_some();
        self.at.push((self.bytes.len() as u64, text.len() as u64));
        self.bytes.extend_from_slice(text);
        self.bytes.push(0);
    }

    fn push_none(&mut self) {
        self.at.push((0, NONE));
    }

    fn is_none(&self, i: usize) -> bool {
        self.at[i].1 == NONE
    }

    #[inline]
    fn get(&self, i: usize) -> Element<'_> {
        match self.at[i] {
            (n, INT) => Element::Int(n as i64),
            (_, NONE) => Element::Str(b""),
            (from, len) => Element::Str(&self.bytes[from as usize..(from + len) as usize]),
        }
    }

    /// The text with the zero byte behind it.
    fn ended(&self, i: usize) -> &[u8] {
        let (from, len) = self.at[i];
        debug_assert!(len < NONE, "a text");
        &self.bytes[from as usize..=(from + len) as usize]
    }

    /// Bytes that all texts begin with.
    fn common(&self) -> usize {
        let mut texts = (0..self.len()).filter(|i| !self.is_none(*i)).map(|i| self.get(i));
        let Some(Element::Str(first)) = texts.next() else { return 0 };
        let mut common = first.len();
        for e in texts {
            let Element::Str(text) = e else { return 0 };
            let n = common.min(text.len());
            if first[..n] != text[..n] {
                common = first.iter().zip(text).take_while(|(a, b)| a == b).count();
            } else {
                common = n;
            }
        }
        common
    }

    fn compare_texts(&self, a: usize, b: usize) -> Ordering {
        self.get(a).with_text(|a| self.get(b).with_text(|b| a.cmp(b)))
    }
}

/// Copies the elements that are to be sorted. Those of a list or a sorted set that is not sorted come in
/// their order, and only those of the window, which begins with the first of them then.
fn elements(e: EntryRef<'_>, plan: &Plan, spelled: bool) -> (Words, Range<usize>) {
    let mut words = Words { spelled, ..Words::default() };
    let window;
    if let Some(list) = View::<List>::of(e) {
        let n = list.len();
        window = plan.window(n);
        if plan.fixed {
            let from = if plan.desc { n.saturating_sub(window.start + 1) } else { window.start };
            words.at.reserve(window.len());
            list.for_range(from, window.len(), plan.desc, &mut |e: Element<'_>| words.push(e));
            return (words, 0..window.len());
        }
        words.at.reserve(n);
        list.for_each(|e| words.push(e));
    } else if let Some(set) = View::<Set>::of(e) {
        window = plan.window(set.len());
        words.at.reserve(set.len());
        set.for_each(|e| words.push(e));
    } else if let Some(zset) = View::<Zset>::of(e) {
        let n = zset.len();
        window = plan.window(n);
        if plan.fixed {
            let (from, to) = (window.start, window.end);
            let ranks = if plan.desc { n - to..n - from } else { from..to };
            zset.walk(ranks, plan.desc, |m, _| words.push(m));
            return (words, 0..window.len());
        }
        zset.walk(0..n, false, |m, _| words.push(m));
    } else {
        unreachable!("the type was looked at");
    }
    (words, window)
}

/// Upstream gives a small sorted set its big form for good when it is sorted, and OBJECT ENCODING shows
/// it.
fn widen_zset(ctx: &mut Ctx<'_>) {
    let key = ctx.key(1);
    let ks = &mut ctx.srv.ks;
    let Some(found) = ks.find_as_is(ctx.db, key) else { return };
    let small = ks.value::<Zset>(&found).is_ok_and(|z| matches!(*z, Zset::Packed(_)));
    if small {
        let mut edit = ks.edit(found);
        edit.value::<Zset>().expect("looked at above").to_skip(0);
        edit.unchanged();
    }
}

// ── keys that elements name ──────────────────────────────────────────────────────────────────────────

/// Answers `n` questions in their order: which element, and what of it.
fn resolve<'s>(
    ks: &mut Keyspace,
    db: usize,
    words: &Words,
    n: usize,
    ask: impl Fn(usize) -> (usize, &'s Source<'s>),
    mut answer: impl FnMut(Option<Element<'_>>),
) {
    let mut names = Vec::new();
    for from in (0..n).step_by(GROUP) {
        let group = from..n.min(from + GROUP);
        names.clear();
        let mut ends = [0; GROUP];
        for (i, end) in group.clone().zip(&mut ends) {
            let (word, source) = ask(i);
            source.push_name(words.get(word), &mut names);
            *end = names.len();
        }
        let mut keys = [Key { bytes: b"", hash: 0 }; GROUP];
        for (j, i) in group.clone().enumerate().filter(|(_, i)| ask(*i).1.is_key()) {
            debug_assert!(i >= from);
            let begin = if j == 0 { 0 } else { ends[j - 1] };
            keys[j] = Key::new(&names[begin..ends[j]]);
        }
        ks.fetch_ahead(db, &keys[..group.len()]);
        for (i, key) in group.zip(keys) {
            let (word, source) = ask(i);
            match source {
                Source::Element => answer(Some(words.get(word))),
                Source::Nothing => answer(None),
                Source::Key { field, .. } => look_up(ks, db, key, *field, &mut answer),
            }
        }
    }
}

fn look_up(
    ks: &mut Keyspace,
    db: usize,
    key: Key<'_>,
    field: Option<&[u8]>,
    answer: &mut impl FnMut(Option<Element<'_>>),
) {
    let Some(found) = ks.read(db, key) else { return answer(None) };
    match field {
        None => answer(ks.string(&found).ok().map(|s| match s {
            StrRef::Int(n) => Element::Int(n),
            StrRef::Bytes(b) => Element::Str(b),
        })),
        Some(field) => match ks.value::<Hash>(&found) {
            Ok(hash) => answer(hash.get(field)),
            Err(_) => answer(None),
        },
    }
}

// ── order ────────────────────────────────────────────────────────────────────────────────────────────

/// What is sorted: an integer that decides, and the place of the element among the words.
type Item = (u64, usize);

/// Orders as the number does, and for DESC the other way; both zeros are one.
#[inline]
fn number_key(weight: f64, desc: bool) -> u64 {
    debug_assert!(!weight.is_nan());
    let bits = (weight + 0.0).to_bits();
    let ascending = if bits >> 63 == 0 { bits | 1 << 63 } else { !bits };
    if desc { !ascending } else { ascending }
}

#[inline]
fn weight_of(e: Element<'_>) -> Option<f64> {
    match e {
        Element::Int(n) => Some(n as f64),
        Element::Str(text) => parse_f64_weight(text),
    }
}

/// Sorts as far as the window shows it. `cmp` orders any two items whose difference is visible.
fn sort_window(items: &mut [Item], window: Range<usize>, cmp: impl Fn(&Item, &Item) -> Ordering) {
    let mut items = items;
    if window.is_empty() {
        return;
    }
    if window.end < items.len() {
        items.select_nth_unstable_by(window.end - 1, &cmp);
        items = &mut items[..window.end];
    }
    if window.start > 0 {
        items.select_nth_unstable_by(window.start, &cmp);
        items = &mut items[window.start..];
    }
    items.sort_unstable_by(cmp);
}

/// Sorts as far as the window shows it; `tie` decides where the integers are equal.
fn sort_items(items: &mut [Item], window: Range<usize>, tie: impl Fn(&Item, &Item) -> Ordering) {
    if window.len() < items.len() {
        return sort_window(items, window, |a, b| a.0.cmp(&b.0).then_with(|| tie(a, b)));
    }
    items.sort_unstable_by_key(|i| i.0);
    for equal in items.chunk_by_mut(|a, b| a.0 == b.0).filter(|run| run.len() > 1) {
        equal.sort_unstable_by(&tie);
    }
}

fn sort_numbers(items: &mut [Item], words: &Words, window: Range<usize>, desc: bool) {
    sort_items(items, window, |a, b| {
        let order = words.compare_texts(a.1, b.1);
        if desc { order.reverse() } else { order }
    });
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Collation {
    /// All bytes.
    Bytes,
    /// Bytes up to a zero byte.
    ToZero,
    Locale,
}

fn to_zero(text: &[u8]) -> &[u8] {
    &text[..memchr::memchr(0, text).unwrap_or(text.len())]
}

/// Texts, and how they compare.
struct Texts<'w> {
    words: &'w Words,
    how: Collation,
    /// Bytes at the begin that all have in common.
    common: usize,
    desc: bool,
}

impl<'w> Texts<'w> {
    fn new(words: &'w Words, how: Collation, desc: bool) -> Self {
        let how = if how == Collation::ToZero && !words.has_zero { Collation::Bytes } else { how };
        let common = if how == Collation::Bytes { words.common() } else { 0 };
        Texts { words, how, common, desc }
    }

    /// The first bytes that differ as an integer that never orders two texts wrongly.
    fn key(&self, i: usize) -> u64 {
        let text = match (self.words.get(i), self.how) {
            (Element::Int(_), _) => unreachable!("integers are spelled"),
            (_, Collation::Locale) => b"",
            (Element::Str(text), _) => text.get(self.common..).unwrap_or(b""),
        };
        let mut first = [0; 8];
        let n = text.len().min(8);
        first[..n].copy_from_slice(&text[..n]);
        if self.how == Collation::ToZero
            && let Some(end) = first.iter().position(|b| *b == 0)
        {
            first[end..].fill(0);
        }
        let key = u64::from_be_bytes(first);
        if self.desc { !key } else { key }
    }

    fn ascending(&self, a: usize, b: usize) -> Ordering {
        let words = self.words;
        match (words.is_none(a), words.is_none(b)) {
            (false, false) => {}
            // An element for which there is no text comes first.
            (a, b) => return b.cmp(&a),
        }
        match self.how {
            Collation::Bytes => words.compare_texts(a, b),
            Collation::ToZero => to_zero(words.ended(a)).cmp(to_zero(words.ended(b))),
            Collation::Locale => collate::compare(words.ended(a), words.ended(b)),
        }
    }

    fn compare(&self, a: usize, b: usize) -> Ordering {
        let order = self.ascending(a, b);
        if self.desc { order.reverse() } else { order }
    }

    /// Sorts elements by their own texts, or by those that BY led to.
    fn sort(&self, items: &mut [Item], window: Range<usize>, by: bool) {
        if by && window.len() < items.len() {
            if !window.is_empty() {
                sort_part(items, window, |a, b| a.0.cmp(&b.0).then_with(|| self.compare(a.1, b.1)));
            }
        } else {
            // The place last: equal ones stay in their order.
            sort_items(items, window, |a, b| self.compare(a.1, b.1).then(a.1.cmp(&b.1)));
        }
    }
}

/// The elements in the order that is asked for, as far as the window shows it.
fn order(
    ctx: &mut Ctx<'_>,
    plan: &Plan,
    words: &Words,
    window: Range<usize>,
) -> Result<Vec<Item>, CmdError> {
    let (ks, db, n) = (&mut ctx.srv.ks, ctx.db, words.len());
    let mut items: Vec<Item> = Vec::with_capacity(n);
    if plan.fixed {
        items.extend((0..n).map(|i| (0, i)));
        return Ok(items);
    }
    let by = plan.by.as_ref();
    if plan.alpha {
        let mut weights = Words { spelled: true, ..Words::default() };
        if let Some(by) = by {
            resolve(
                ks,
                db,
                words,
                n,
                |i| (i, by),
                |w| match w {
                    Some(w) => weights.push(w),
                    None => weights.push_none(),
                },
            );
        }
        let texts = if by.is_some() { &weights } else { words };
        let texts = Texts::new(texts, plan.collation(), plan.desc);
        items.extend((0..n).map(|i| (texts.key(i), i)));
        texts.sort(&mut items, window, by.is_some());
        return Ok(items);
    }
    let mut all_numbers = true;
    let mut add = |w: Option<Element<'_>>| {
        let weight = w.map_or(Some(0.0), weight_of);
        all_numbers &= weight.is_some();
        items.push((number_key(weight.unwrap_or(0.0), plan.desc), items.len()));
    };
    match by {
        Some(by) => resolve(ks, db, words, n, |i| (i, by), add),
        None => (0..n).for_each(|i| add(Some(words.get(i)))),
    }
    if !all_numbers {
        return Err(NO_WEIGHT);
    }
    sort_numbers(&mut items, words, window, plan.desc);
    Ok(items)
}

// ── the commands ─────────────────────────────────────────────────────────────────────────────────────

fn sort(ctx: &mut Ctx<'_>) -> Result<Flow, CmdError> {
    run(ctx, false)
}

fn sort_ro(ctx: &mut Ctx<'_>) -> Result<Flow, CmdError> {
    run(ctx, true)
}

fn run(ctx: &mut Ctx<'_>, readonly: bool) -> Result<Flow, CmdError> {
    let mut plan = Plan::parse(ctx, readonly)?;
    let found = ctx.read(1);
    let kind = found.map_or(ty::LIST, |f| ctx.srv.ks.at(&f).ty());
    if !matches!(kind, ty::LIST | ty::SET | ty::ZSET) {
        return Err(CmdError::WrongType);
    }
    let scripted = ctx.srv.clients[ctx.client].has(flag::SCRIPT);
    if plan.fixed && kind == ty::SET && (plan.store.is_some() || scripted) {
        (plan.fixed, plan.alpha, plan.by) = (false, true, None);
    }
    let (words, window) = match found {
        Some(f) => elements(ctx.srv.ks.at(&f), &plan, plan.alpha && !plan.fixed),
        None => (Words::default(), 0..0),
    };
    if kind == ty::ZSET {
        widen_zset(ctx);
    }
    let items = order(ctx, &plan, &words, window.clone())?;
    let shown = &items[window];
    match plan.store {
        Some(at) => store(ctx, at, &plan, &words, shown),
        None => reply(ctx, &plan, &words, shown),
    }
    Ok(Flow::Done)
}

/// Shows the result, element by element; None is what GET did not find.
fn results(
    ks: &mut Keyspace,
    db: usize,
    plan: &Plan,
    words: &Words,
    shown: &[Item],
    mut f: impl FnMut(Option<Element<'_>>),
) {
    match plan.gets.len() {
        0 => shown.iter().for_each(|i| f(Some(words.get(i.1)))),
        g => resolve(ks, db, words, shown.len() * g, |i| (shown[i / g].1, &plan.gets[i % g]), f),
    }
}

fn reply(ctx: &mut Ctx<'_>, plan: &Plan, words: &Words, shown: &[Item]) {
    let out = &mut *ctx.out;
    out.array(shown.len() * plan.gets.len().max(1));
    results(&mut ctx.srv.ks, ctx.db, plan, words, shown, |e| match e {
        Some(Element::Int(n)) => out.bulk_int(n),
        Some(Element::Str(text)) => out.bulk(text),
        None => out.null(),
    });
}

fn store(ctx: &mut Ctx<'_>, at: usize, plan: &Plan, words: &Words, shown: &[Item]) {
    let key = ctx.key(at);
    let ks = &mut ctx.srv.ks;
    let limits = ks.policy.limits.list;
    // `list-max-listpack-size` and `list-compress-depth` do not apply to a stored result: DUMP shows it.
    let mut q = Quicklist::new(-2, 0);
    q.set_packed_threshold(limits.packed_threshold);
    results(ks, ctx.db, plan, words, shown, |e| match e {
        Some(e) => e.with_text(|text| q.push_back(text)),
        None => q.push_back(b""),
    });
    let n = q.len();
    let result = (n > 0).then(|| {
        let mut list = List::Quick(Box::new(q));
        list.settle(&limits);
        (New::Value(list.wrap()), n as u64)
    });
    ks.replace(ctx.db, key, result, class::LIST, "sortstore");
    ctx.out.int(n as i64);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_are_read_up_to_a_zero_byte() {
        let key = |head, tail, field| Source::Key { head, tail, field };
        for (pattern, source) in [
            (&b"#"[..], Source::Element),
            (b"#\0*", Source::Element),
            (b"", Source::Nothing),
            (b"nosort", Source::Nothing),
            (b"a\0*", Source::Nothing),
            (b"*", key(b"", b"", None)),
            (b"w_*_x*", key(b"w_", b"_x*", None)),
            (b"w_*->f", key(b"w_", b"", Some(b"f"))),
            (b"*x->f->g", key(b"", b"x", Some(b"f->g"))),
            (b"*->", key(b"", b"->", None)),
            (b"h->*", key(b"h->", b"", None)),
            (b"*->a\0b", key(b"", b"", Some(b"a\0b"))),
            (b"*\0->a", key(b"", b"\0->a", None)),
            (b"*->\0a", key(b"", b"->\0a", None)),
        ] {
            assert_eq!(Source::of(pattern), source, "{:?}", pattern.escape_ascii().to_string());
        }
    }

    #[test]
    fn windows_stay_inside() {
        let window = |start, count, len| Plan { start, count, ..Plan::default() }.window(len);
        assert_eq!(window(0, None, 5), 0..5);
        assert_eq!(window(0, Some(-7), 5), 0..5);
        assert_eq!(window(-3, Some(2), 5), 0..2);
        assert_eq!(window(3, Some(i64::MAX), 5), 3..5);
        assert!(window(1, Some(0), 5).is_empty() && window(9, Some(2), 5).is_empty());
        assert!(window(i64::MIN, Some(i64::MIN), 0).is_empty());
    }

    #[test]
    fn number_keys_order_as_numbers_do() {
        let all = [f64::NEG_INFINITY, -1e300, -1.0, -1e-320, 0.0, 1e-320, 0.5, 3.0, f64::INFINITY];
        for (i, a) in all.iter().enumerate() {
            for (j, b) in all.iter().enumerate() {
                assert_eq!(number_key(*a, false).cmp(&number_key(*b, false)), i.cmp(&j));
                assert_eq!(number_key(*a, true).cmp(&number_key(*b, true)), j.cmp(&i));
            }
        }
        assert_eq!(number_key(0.0, false), number_key(-0.0, false));
    }

    #[test]
    fn first_bytes_never_order_wrongly() {
        let texts: [&[u8]; 8] =
            [b"", b"\0", b"\0a", b"a", b"a\0", b"a\0b", b"abcdefgh\0x", b"abcdefgh\xff"];
        for (how, begin) in [
            (Collation::Bytes, ""),
            (Collation::Bytes, "all begin so"),
            (Collation::ToZero, ""),
            (Collation::Locale, ""),
        ] {
            for desc in [false, true] {
                let mut words = Words { spelled: true, ..Words::default() };
                words.push_none();
                texts.iter().for_each(|t| words.push_text(&[begin.as_bytes(), t].concat()));
                let t = Texts::new(&words, how, desc);
                assert_eq!((t.how, t.common), (how, begin.len()));
                for (i, j) in (0..9).flat_map(|i| (0..9).map(move |j| (i, j))) {
                    let (key, all) = (t.key(i).cmp(&t.key(j)), t.compare(i, j));
                    assert!(key.is_eq() || key == all, "{how:?} {i} {j}");
                }
                assert_eq!(t.compare(4, 6).is_eq(), how != Collation::Bytes, "a and a with a zero byte");
            }
        }
    }

    #[test]
    fn texts_without_zero_bytes_compare_by_all_bytes() {
        let mut words = Words { spelled: true, ..Words::default() };
        words.push(Element::Int(12));
        words.push(Element::Int(13));
        let t = Texts::new(&words, Collation::ToZero, false);
        assert_eq!((t.how, t.common), (Collation::Bytes, 1));
        assert_eq!(t.compare(0, 1), Ordering::Less);
    }
}
