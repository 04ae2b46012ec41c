//! Subscriptions, and the messages that they bring.
//!
//! Three kinds of subscription (channels, patterns, shard channels), each a map from the name to its
//! subscribers in the order they came, and for each client the names it chose, in order too.
//!
//! ```text
//! name ─► [(7, client)][(9, gone)][(12, client)]     client ─► name: 12       the number tells the place
//! ```
//!
//! A subscriber that leaves is found by its number and only marked; its place goes when half of the places
//! are marked. So many clients that leave one channel together cost each the same.
//!
//! A message to several subscribers is encoded once for each version of the protocol; a long one is one
//! piece of memory that all of them send from (`Reply::shared`).

use crate::algo::glob::glob_match;
use crate::clients::{ClientId, Clients};
use crate::proto::reply::Reply;
use std::collections::HashMap;
use std::sync::Arc;

/// A message of so many bytes is not copied for each subscriber.
const LONG: usize = 8 * 1024;
/// Room that is kept for encoding short messages.
const KEEP: usize = 16 * 1024;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SubscriptionKind {
    Channel,
    Pattern,
    Shard,
}

impl SubscriptionKind {
    /// The words of the replies: subscribe, unsubscribe, message.
    pub fn words(self) -> (&'static str, &'static str, &'static str) {
        match self {
            SubscriptionKind::Channel => ("subscribe", "unsubscribe", "message"),
            SubscriptionKind::Pattern => ("psubscribe", "punsubscribe", "pmessage"),
            SubscriptionKind::Shard => ("ssubscribe", "sunsubscribe", "smessage"),
        }
    }
}

/// The subscribers of one name.
#[derive(Debug, Default)]
struct Line {
    /// By ascending number; None for one that has left.
    places: Vec<(u64, Option<ClientId>)>,
    gone: usize,
}

impl Line {
    fn len(&self) -> usize {
        self.places.len() - self.gone
    }

    fn add(&mut self, number: u64, id: ClientId) {
        debug_assert!(self.places.last().is_none_or(|(last, _)| *last < number));
        self.places.push((number, Some(id)));
    }

    fn remove(&mut self, number: u64) {
        let Ok(at) = self.places.binary_search_by_key(&number, |(n, _)| *n) else { return };
        self.gone += usize::from(self.places[at].1.take().is_some());
        if self.gone * 2 > self.places.len() {
            self.places.retain(|(_, id)| id.is_some());
            self.gone = 0;
        }
    }

    fn iter(&self) -> impl Iterator<Item = ClientId> {
        self.places.iter().filter_map(|(_, id)| *id)
    }
}

#[derive(Debug, Default)]
struct Names {
    subscribers: HashMap<Arc<[u8]>, Line>,
    /// The names that each client chose, with the number of the subscription: some have a hundred
    /// thousand.
    by_client: HashMap<ClientId, HashMap<Arc<[u8]>, u64>>,
    next: u64,
}

impl Names {
    fn add(&mut self, id: ClientId, name: &[u8]) -> bool {
        let mine = self.by_client.entry(id).or_default();
        if mine.contains_key(name) {
            return false;
        }
        let name: Arc<[u8]> = match self.subscribers.get_key_value(name) {
            Some((n, _)) => n.clone(),
            None => name.into(),
        };
        self.next += 1;
        mine.insert(name.clone(), self.next);
        self.subscribers.entry(name).or_default().add(self.next, id);
        true
    }

    fn remove(&mut self, id: ClientId, name: &[u8]) -> bool {
        let Some(mine) = self.by_client.get_mut(&id) else { return false };
        let Some(number) = mine.remove(name) else { return false };
        if mine.is_empty() {
            self.by_client.remove(&id);
        }
        if let Some(line) = self.subscribers.get_mut(name) {
            line.remove(number);
            if line.len() == 0 {
                self.subscribers.remove(name);
            }
        }
        true
    }

    fn count(&self, id: ClientId) -> usize {
        self.by_client.get(&id).map_or(0, HashMap::len)
    }

    fn of(&self, id: ClientId) -> Vec<Arc<[u8]>> {
        let Some(mine) = self.by_client.get(&id) else { return Vec::new() };
        let mut all: Vec<_> = mine.iter().map(|(name, number)| (*number, name.clone())).collect();
        all.sort_unstable_by_key(|(number, _)| *number);
        all.into_iter().map(|(_, name)| name).collect()
    }
}

/// Can a keyspace event reach the subscribers of this name?
fn hears_events(kind: SubscriptionKind, name: &[u8]) -> bool {
    match kind {
        SubscriptionKind::Channel => name.starts_with(b"__key"),
        SubscriptionKind::Pattern => name.first().is_some_and(|b| b"_*?[\\".contains(b)),
        SubscriptionKind::Shard => false,
    }
}

#[derive(Debug, Default)]
pub struct Pubsub {
    channels: Names,
    patterns: Names,
    shards: Names,
    /// Channels and patterns that keyspace events can reach.
    hear_events: usize,
    /// Encoded messages, for RESP2 and RESP3.
    room: [Vec<u8>; 2],
}

impl Pubsub {
    fn names(&self, kind: SubscriptionKind) -> &Names {
        match kind {
            SubscriptionKind::Channel => &self.channels,
            SubscriptionKind::Pattern => &self.patterns,
            SubscriptionKind::Shard => &self.shards,
        }
    }

    fn names_mut(&mut self, kind: SubscriptionKind) -> &mut Names {
        match kind {
            SubscriptionKind::Channel => &mut self.channels,
            SubscriptionKind::Pattern => &mut self.patterns,
            SubscriptionKind::Shard => &mut self.shards,
        }
    }

    /// True when it is new to the client.
    pub fn subscribe(&mut self, kind: SubscriptionKind, id: ClientId, name: &[u8]) -> bool {
        let names = self.names_mut(kind);
        let before = names.subscribers.len();
        let new = names.add(id, name);
        if names.subscribers.len() > before && hears_events(kind, name) {
            self.hear_events += 1;
        }
        new
    }

    pub fn unsubscribe(&mut self, kind: SubscriptionKind, id: ClientId, name: &[u8]) -> bool {
        let names = self.names_mut(kind);
        let before = names.subscribers.len();
        let was = names.remove(id, name);
        if names.subscribers.len() < before && hears_events(kind, name) {
            self.hear_events -= 1;
        }
        was
    }

    /// What a client chose, in order.
    pub fn of(&self, kind: SubscriptionKind, id: ClientId) -> Vec<Arc<[u8]>> {
        self.names(kind).of(id)
    }

    pub fn count(&self, kind: SubscriptionKind, id: ClientId) -> usize {
        self.names(kind).count(id)
    }

    /// The client is gone.
    pub fn forget(&mut self, id: ClientId) {
        for kind in [SubscriptionKind::Channel, SubscriptionKind::Pattern, SubscriptionKind::Shard] {
            for name in self.of(kind, id) {
                self.unsubscribe(kind, id, &name);
            }
        }
    }

    /// Is there a subscription that a keyspace event can reach?
    pub fn has_listeners(&self) -> bool {
        self.hear_events > 0
    }

    /// Names with subscribers that match a pattern (all for None).
    pub fn active(&self, kind: SubscriptionKind, pattern: Option<&[u8]>) -> Vec<Arc<[u8]>> {
        let all = self.names(kind).subscribers.keys();
        all.filter(|n| pattern.is_none_or(|p| glob_match(p, n, false))).cloned().collect()
    }

    /// The subscribers of a name, in the order they came.
    pub fn listeners(&self, kind: SubscriptionKind, name: &[u8]) -> Vec<ClientId> {
        self.names(kind).subscribers.get(name).map_or_else(Vec::new, |line| line.iter().collect())
    }

    pub fn subscribers(&self, kind: SubscriptionKind, name: &[u8]) -> usize {
        self.names(kind).subscribers.get(name).map_or(0, Line::len)
    }

    /// Distinct names of one kind.
    pub fn distinct(&self, kind: SubscriptionKind) -> usize {
        self.names(kind).subscribers.len()
    }
}

/// Sends a message to all its subscribers; returns how many there are.
pub fn publish(
    p: &mut Pubsub,
    clients: &mut Clients,
    kind: SubscriptionKind,
    channel: &[u8],
    message: &[u8],
) -> usize {
    let mut room = std::mem::take(&mut p.room);
    let mut heard = 0;
    if let Some(line) = p.names(kind).subscribers.get(channel) {
        heard += deliver(line, clients, &[kind.words().2.as_bytes(), channel, message], &mut room);
    }
    if kind == SubscriptionKind::Channel {
        for (pattern, line) in &p.patterns.subscribers {
            if glob_match(pattern, channel, false) {
                heard += deliver(line, clients, &[b"pmessage", pattern, channel, message], &mut room);
            }
        }
    }
    p.room = room;
    heard
}

fn encode(out: &mut Reply, parts: &[&[u8]]) {
    out.push(parts.len());
    parts.iter().for_each(|part| out.bulk(part));
}

fn encoded(resp3: bool, parts: &[&[u8]], len: usize, room: Vec<u8>) -> Vec<u8> {
    let mut out = Reply::new(resp3);
    out.buf = room;
    // Enough for the heads of all parts: it stays one buffer.
    out.buf.reserve(len + 32 * (parts.len() + 1));
    encode(&mut out, parts);
    debug_assert!(!out.spilled(), "room was made for all of it");
    out.buf
}

fn deliver(line: &Line, clients: &mut Clients, parts: &[&[u8]], room: &mut [Vec<u8>; 2]) -> usize {
    let len = parts.iter().map(|part| part.len()).sum();
    let mut long: [Option<Arc<[u8]>>; 2] = [None, None];
    for id in line.iter() {
        clients.push(id, |out| {
            let (resp3, version) = (out.resp3, usize::from(out.resp3));
            if line.len() == 1 {
                encode(out, parts);
            } else if len >= LONG {
                let build = || encoded(resp3, parts, len, Vec::new()).into();
                out.shared(long[version].get_or_insert_with(build));
            } else {
                let built = &mut room[version];
                if built.is_empty() {
                    *built = encoded(resp3, parts, len, std::mem::take(built));
                }
                out.raw(built);
            }
        });
    }
    for built in room {
        built.clear();
        built.shrink_to(KEEP);
    }
    line.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_come_in_the_order_they_were_chosen_however_many() {
        let (mut p, me) = (Pubsub::default(), ClientId { index: 1, generation: 1 });
        let you = ClientId { index: 2, generation: 1 };
        let name = |i: usize| format!("ch:{i}").into_bytes();
        // Quadratic work would take minutes.
        const N: usize = 100_000;
        for i in 0..N {
            assert!(p.subscribe(SubscriptionKind::Channel, me, &name(i)));
        }
        assert!(!p.subscribe(SubscriptionKind::Channel, me, b"ch:5"));
        assert!(p.subscribe(SubscriptionKind::Channel, you, b"ch:5"));
        assert!(
            p.unsubscribe(SubscriptionKind::Channel, me, b"ch:0")
                && !p.unsubscribe(SubscriptionKind::Channel, me, b"ch:0")
        );
        let mine = p.of(SubscriptionKind::Channel, me);
        assert!(mine.iter().enumerate().all(|(i, n)| **n == *name(i + 1)));
        assert_eq!(
            (p.count(SubscriptionKind::Channel, me), p.distinct(SubscriptionKind::Channel)),
            (N - 1, N - 1)
        );
        p.forget(me);
        assert_eq!(
            (p.count(SubscriptionKind::Channel, me), p.distinct(SubscriptionKind::Channel)),
            (0, 1)
        );
        assert_eq!(p.subscribers(SubscriptionKind::Channel, b"ch:5"), 1);
    }
    #[test]
    fn many_subscribers_of_one_channel_leave_in_any_order_at_no_more_cost_each() {
        let mut p = Pubsub::default();
        let id = |index| ClientId { index, generation: 1 };
        // Quadratic work would take minutes.
        const N: u32 = 200_000;
        (0..N).for_each(|i| assert!(p.subscribe(SubscriptionKind::Channel, id(i), b"all")));
        let left = |p: &Pubsub| p.channels.subscribers.get(&b"all"[..]).map_or(0, |l| l.iter().count());
        (0..N).filter(|i| i % 3 == 0).for_each(|i| p.forget(id(i)));
        assert_eq!(p.subscribers(SubscriptionKind::Channel, b"all"), left(&p));
        let first: Vec<u32> =
            p.channels.subscribers[&b"all"[..]].iter().take(4).map(|c| c.index).collect();
        assert_eq!(first, [1, 2, 4, 5], "the others stay in their order");
        assert!(
            p.subscribe(SubscriptionKind::Channel, id(0), b"all"),
            "it comes back, behind all others"
        );
        assert_eq!(p.channels.subscribers[&b"all"[..]].iter().last(), Some(id(0)));
        (0..N).rev().for_each(|i| p.forget(id(i)));
        assert_eq!((left(&p), p.distinct(SubscriptionKind::Channel)), (0, 0));
    }

    #[test]
    fn only_names_that_events_can_reach_make_them_news() {
        let (mut p, me) = (Pubsub::default(), ClientId { index: 1, generation: 1 });
        let you = ClientId { index: 2, generation: 1 };
        for (kind, name, reached) in [
            (SubscriptionKind::Channel, &b"news"[..], false),
            (SubscriptionKind::Channel, b"__keyspace@0__:k", true),
            (SubscriptionKind::Pattern, b"news.*", false),
            (SubscriptionKind::Pattern, b"__key*", true),
            (SubscriptionKind::Pattern, b"*", true),
            (SubscriptionKind::Pattern, b"\\__keyevent@0__:del", true),
            (SubscriptionKind::Pattern, b"?_key*", true),
            (SubscriptionKind::Pattern, b"[_]_key*", true),
            (SubscriptionKind::Pattern, b"", false),
            (SubscriptionKind::Shard, b"__keyspace@0__:k", false),
        ] {
            p.subscribe(kind, me, name);
            p.subscribe(kind, you, name);
            p.subscribe(kind, you, name);
            assert_eq!(p.has_listeners(), reached, "{}", name.escape_ascii());
            p.unsubscribe(kind, me, name);
            assert_eq!(p.has_listeners(), reached, "{}", name.escape_ascii());
            p.forget(you);
            assert!(!p.has_listeners(), "{}", name.escape_ascii());
        }
    }
}
