//! Who hears which channel.
//!
//! Three kinds of subscription (channels, patterns, shard channels), each a map from the name to its
//! subscribers in the order they came, and for each client the names it chose, in order too.

use crate::algo::glob::glob_match;
use crate::clients::{ClientId, Clients};
use std::collections::HashMap;
use std::sync::Arc;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Channel,
    Pattern,
    Shard,
}

impl Kind {
    /// The words of the replies: subscribe, unsubscribe, message.
    pub fn words(self) -> (&'static str, &'static str, &'static str) {
        match self {
            Kind::Channel => ("subscribe", "unsubscribe", "message"),
            Kind::Pattern => ("psubscribe", "punsubscribe", "pmessage"),
            Kind::Shard => ("ssubscribe", "sunsubscribe", "smessage"),
        }
    }
}

#[derive(Debug, Default)]
struct Names {
    subscribers: HashMap<Arc<[u8]>, Vec<ClientId>>,
    by_client: HashMap<ClientId, Chosen>,
}

/// What one client chose, and when: some have a hundred thousand.
#[derive(Debug, Default)]
struct Chosen {
    names: HashMap<Arc<[u8]>, u64>,
    next: u64,
}

impl Names {
    fn add(&mut self, id: ClientId, name: &[u8]) -> bool {
        let mine = self.by_client.entry(id).or_default();
        if mine.names.contains_key(name) {
            return false;
        }
        let name: Arc<[u8]> = match self.subscribers.get_key_value(name) {
            Some((n, _)) => n.clone(),
            None => name.into(),
        };
        mine.names.insert(name.clone(), mine.next);
        mine.next += 1;
        self.subscribers.entry(name).or_default().push(id);
        true
    }

    fn remove(&mut self, id: ClientId, name: &[u8]) -> bool {
        let Some(mine) = self.by_client.get_mut(&id) else { return false };
        if mine.names.remove(name).is_none() {
            return false;
        }
        if mine.names.is_empty() {
            self.by_client.remove(&id);
        }
        if let Some(list) = self.subscribers.get_mut(name) {
            list.retain(|c| *c != id);
            if list.is_empty() {
                self.subscribers.remove(name);
            }
        }
        true
    }

    fn count(&self, id: ClientId) -> usize {
        self.by_client.get(&id).map_or(0, |mine| mine.names.len())
    }

    fn of(&self, id: ClientId) -> Vec<Arc<[u8]>> {
        let Some(mine) = self.by_client.get(&id) else { return Vec::new() };
        let mut all: Vec<_> = mine.names.iter().map(|(name, at)| (*at, name.clone())).collect();
        all.sort_unstable_by_key(|(at, _)| *at);
        all.into_iter().map(|(_, name)| name).collect()
    }
}

#[derive(Debug, Default)]
pub struct Pubsub {
    channels: Names,
    patterns: Names,
    shards: Names,
}

impl Pubsub {
    fn names(&self, kind: Kind) -> &Names {
        match kind {
            Kind::Channel => &self.channels,
            Kind::Pattern => &self.patterns,
            Kind::Shard => &self.shards,
        }
    }

    fn names_mut(&mut self, kind: Kind) -> &mut Names {
        match kind {
            Kind::Channel => &mut self.channels,
            Kind::Pattern => &mut self.patterns,
            Kind::Shard => &mut self.shards,
        }
    }

    /// True when it is new to the client.
    pub fn subscribe(&mut self, kind: Kind, id: ClientId, name: &[u8]) -> bool {
        self.names_mut(kind).add(id, name)
    }

    pub fn unsubscribe(&mut self, kind: Kind, id: ClientId, name: &[u8]) -> bool {
        self.names_mut(kind).remove(id, name)
    }

    /// What a client chose, in order.
    pub fn of(&self, kind: Kind, id: ClientId) -> Vec<Arc<[u8]>> {
        self.names(kind).of(id)
    }

    pub fn count(&self, kind: Kind, id: ClientId) -> usize {
        self.names(kind).count(id)
    }

    /// The client is gone.
    pub fn forget(&mut self, id: ClientId) {
        for kind in [Kind::Channel, Kind::Pattern, Kind::Shard] {
            for name in self.of(kind, id) {
                self.unsubscribe(kind, id, &name);
            }
        }
    }

    /// Can a keyspace event be heard by anybody?
    pub fn has_listeners(&self) -> bool {
        !self.channels.subscribers.is_empty() || !self.patterns.subscribers.is_empty()
    }

    /// Names with subscribers that match a pattern (all for None).
    pub fn active(&self, kind: Kind, pattern: Option<&[u8]>) -> Vec<Arc<[u8]>> {
        let all = self.names(kind).subscribers.keys();
        all.filter(|n| pattern.is_none_or(|p| glob_match(p, n, false))).cloned().collect()
    }

    pub fn subscribers(&self, kind: Kind, name: &[u8]) -> usize {
        self.names(kind).subscribers.get(name).map_or(0, Vec::len)
    }

    /// Distinct names of one kind.
    pub fn distinct(&self, kind: Kind) -> usize {
        self.names(kind).subscribers.len()
    }
}

/// Sends a message to all who listen; returns how many.
pub fn publish(p: &Pubsub, clients: &mut Clients, kind: Kind, channel: &[u8], message: &[u8]) -> usize {
    let mut heard = 0;
    if let Some(list) = p.names(kind).subscribers.get(channel) {
        for &id in list {
            clients.push(id, |out| {
                out.push(3);
                out.bulk(kind.words().2.as_bytes());
                out.bulk(channel);
                out.bulk(message);
            });
            heard += 1;
        }
    }
    if kind == Kind::Channel {
        for (pattern, list) in p.patterns.subscribers.iter() {
            if !glob_match(pattern, channel, false) {
                continue;
            }
            for &id in list {
                clients.push(id, |out| {
                    out.push(4);
                    out.bulk(b"pmessage");
                    out.bulk(pattern);
                    out.bulk(channel);
                    out.bulk(message);
                });
                heard += 1;
            }
        }
    }
    heard
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
            assert!(p.subscribe(Kind::Channel, me, &name(i)));
        }
        assert!(!p.subscribe(Kind::Channel, me, b"ch:5"));
        assert!(p.subscribe(Kind::Channel, you, b"ch:5"));
        assert!(p.unsubscribe(Kind::Channel, me, b"ch:0") && !p.unsubscribe(Kind::Channel, me, b"ch:0"));
        let mine = p.of(Kind::Channel, me);
        assert!(mine.iter().enumerate().all(|(i, n)| **n == *name(i + 1)));
        assert_eq!((p.count(Kind::Channel, me), p.distinct(Kind::Channel)), (N - 1, N - 1));
        p.forget(me);
        assert_eq!((p.count(Kind::Channel, me), p.distinct(Kind::Channel)), (0, 1));
        assert_eq!(p.subscribers(Kind::Channel, b"ch:5"), 1);
    }
}
