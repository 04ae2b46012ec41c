//! Client-side caching: which client may have cached which key, and which prefixes are broadcast.
//!
//! ```text
//! read    key ─► remember ─► table: key ─► [client][client]...      one entry a key, 8 bytes a listener
//! write   key ─► forget   ─► its listeners, each to be sent the key once
//!             └► changed  ─► prefixes: rax of prefixes ─► keys since the last pass, each with its author
//! pass           broadcasts ─► for each prefix its clients and its keys, in order
//! ```
//!
//! The table is one hash table of byte strings (`ds::pairs`): it grows step by step, so a million tracked
//! keys hold no command up, and it gives any key at random when there are too many. A write costs one
//! lookup and its own listeners, however many keys and clients there are.
//!
//! A listener stays in the table when its client has gone or tracks no more, as in upstream; what is sent is
//! decided when the key changes. Only a long list is searched for the dead, each time it has doubled, or a
//! key that never changes would keep an id for each client that ever read it.
//!
//! Modes are flags of the client (`clients::flag`), since each command looks at them; what is left of a
//! client's setting, its prefixes and where its invalidations go, is its `Subscription`.

use crate::algo::rng::Rng;
use crate::clients::ClientId;
use crate::ds::pairs::Pairs;
use crate::ds::rax::{Rax, Seek};
use std::collections::{BTreeSet, HashMap};

/// Bytes of a listener in the table.
const ID: usize = 8;
/// From so many listeners on a list that has doubled is searched for clients that are gone.
const LONG_LIST: usize = 64;
/// Keys that are dropped at a time when the table is too large; more when that was not enough.
const EFFORT: usize = 100;
/// No client is it: the author of a change that no client has made.
const NO_CLIENT: ClientId = ClientId { index: 0, generation: 0 };

/// How a client tracks, beside its flags.
#[derive(Debug, Default)]
pub struct Subscription {
    /// The number of the client that gets the invalidations; 0: this one.
    pub redirect: u64,
    prefixes: BTreeSet<Box<[u8]>>,
    /// Bytes that the prefixes take.
    bytes: usize,
}

impl Subscription {
    pub fn prefixes(&self) -> impl ExactSizeIterator<Item = &[u8]> {
        self.prefixes.iter().map(|p| &**p)
    }

    pub fn footprint(&self) -> usize {
        size_of::<Self>() + self.bytes
    }
}

/// A prefix that is broadcast.
#[derive(Default)]
struct Prefix {
    clients: BTreeSet<ClientId>,
    /// Keys that changed since the last broadcast, with the client that changed each last.
    keys: Rax<ClientId>,
}

/// What the clients of one prefix are to be sent.
pub struct Broadcast {
    pub clients: Vec<ClientId>,
    keys: Rax<ClientId>,
}

/// Two prefixes of one client that overlap.
#[derive(Debug, PartialEq, Eq)]
pub enum Overlap<'a> {
    Existing(&'a [u8], Box<[u8]>),
    Given(&'a [u8], &'a [u8]),
}

#[derive(Default)]
pub struct Tracking {
    keys: Pairs,
    /// Listeners of all keys.
    items: usize,
    prefixes: Rax<Box<Prefix>>,
    clients: HashMap<ClientId, Subscription>,
    /// How often in a row dropping keys was not enough.
    insufficient: usize,
    /// Keys that the client being served has changed while it tracked them: their invalidations follow its
    /// reply. None: all keys.
    pub pending: Vec<Option<Box<[u8]>>>,
    /// Room for the listeners of a key.
    room: Vec<u8>,
}

fn bytes_of(id: ClientId) -> [u8; ID] {
    (id.token() as u64).to_le_bytes()
}

fn id_of(bytes: &[u8; ID]) -> ClientId {
    let token = u64::from_le_bytes(*bytes);
    ClientId { index: token as u32, generation: (token >> 32) as u32 }
}

impl Tracking {
    // ---- clients --------------------------------------------------------------------------------

    /// Clients that track.
    pub fn clients(&self) -> usize {
        self.clients.len()
    }

    /// Must changes of keys be reported?
    pub fn listens(&self) -> bool {
        !self.clients.is_empty() || !self.keys.is_empty()
    }

    pub fn of(&self, id: ClientId) -> Option<&Subscription> {
        self.clients.get(&id)
    }

    pub fn all(&self) -> Vec<ClientId> {
        self.clients.keys().copied().collect()
    }

    /// The client tracks from now on, or sends its invalidations elsewhere.
    pub fn enable(&mut self, id: ClientId, redirect: u64) {
        self.clients.entry(id).or_default().redirect = redirect;
    }

    /// Which of the prefixes overlaps with one that the client has, or with another one of them?
    pub fn overlap<'a>(&self, id: ClientId, prefixes: &[&'a [u8]]) -> Option<Overlap<'a>> {
        let overlaps = |a: &[u8], b: &[u8]| a.starts_with(b) || b.starts_with(a);
        let mine = self.of(id);
        for (i, new) in prefixes.iter().enumerate() {
            if let Some(old) = mine.and_then(|s| s.prefixes().find(|old| overlaps(old, new))) {
                return Some(Overlap::Existing(new, old.into()));
            }
            if let Some(other) = prefixes[i + 1..].iter().find(|other| overlaps(new, other)) {
                return Some(Overlap::Given(new, other));
            }
        }
        None
    }

    /// A client that tracks hears of all keys with this prefix.
    pub fn add_prefix(&mut self, id: ClientId, prefix: &[u8]) {
        let mine = self.clients.get_mut(&id).expect("it tracks");
        if mine.prefixes.insert(prefix.into()) {
            // The client's copy and the node it stands in, and its place among the prefix's clients.
            mine.bytes += prefix.len() + size_of::<Box<[u8]>>() + size_of::<ClientId>();
        }
        match self.prefixes.find_mut(prefix) {
            Some(p) => {
                p.clients.insert(id);
            }
            None => {
                let p = Prefix { clients: [id].into(), keys: Rax::new() };
                self.prefixes.insert(prefix, Box::new(p));
            }
        }
    }

    /// The client tracks nothing any more. What was to be broadcast to it alone is dropped.
    pub fn disable(&mut self, id: ClientId) {
        let Some(mine) = self.clients.remove(&id) else { return };
        for prefix in mine.prefixes() {
            let Some(p) = self.prefixes.find_mut(prefix) else { continue };
            p.clients.remove(&id);
            if p.clients.is_empty() {
                self.prefixes.remove(prefix);
            }
        }
    }

    // ---- the table ------------------------------------------------------------------------------

    pub fn keys(&self) -> usize {
        self.keys.len()
    }

    pub fn items(&self) -> usize {
        self.items
    }

    pub fn prefixes(&self) -> usize {
        self.prefixes.len()
    }

    /// The client has read the key. `tracks` says of a client whether it still does.
    pub fn remember(&mut self, id: ClientId, key: &[u8], tracks: impl Fn(ClientId) -> bool) {
        let (new, old) = (bytes_of(id), self.keys.get(key).unwrap_or(b""));
        debug_assert!(old.len().is_multiple_of(ID));
        if old.as_chunks::<ID>().0.contains(&new) {
            return;
        }
        self.room.clear();
        self.room.extend_from_slice(old);
        let listeners = old.len() / ID;
        if listeners >= LONG_LIST && listeners.is_power_of_two() {
            self.room.clear();
            for listener in old.as_chunks::<ID>().0.iter().filter(|l| tracks(id_of(l))) {
                self.room.extend_from_slice(listener);
            }
        }
        self.room.extend_from_slice(&new);
        self.items = self.items - listeners + self.room.len() / ID;
        self.keys.set(key, &self.room);
        self.room.shrink_to(LONG_LIST * ID);
    }

    /// The key has changed: its listeners, which are to hear of it and are forgotten.
    pub fn forget(&mut self, key: &[u8]) -> Vec<ClientId> {
        let Some(listeners) = self.keys.get(key) else { return Vec::new() };
        let all: Vec<ClientId> = listeners.as_chunks::<ID>().0.iter().map(id_of).collect();
        self.keys.remove(key);
        debug_assert!(all.len() <= self.items);
        self.items -= all.len();
        all
    }

    /// All keys have changed: the table as it was, and how many keys it held.
    pub fn forget_all(&mut self) -> Pairs {
        self.items = 0;
        std::mem::take(&mut self.keys)
    }

    /// How many keys are to be dropped now, so that in the end `most` are left (0: any number). The more
    /// often this was not enough in a row, the more.
    pub fn surplus(&mut self, most: u64) -> usize {
        let most = usize::try_from(most).unwrap_or(usize::MAX);
        let over = if most == 0 { 0 } else { self.keys.len().saturating_sub(most) };
        let effort = EFFORT * (self.insufficient + 1);
        self.insufficient = if over > effort { self.insufficient + 1 } else { 0 };
        over.min(effort)
    }

    /// Any key of the table.
    pub fn any_key(&self, rng: &mut Rng) -> Option<Box<[u8]>> {
        self.keys.random(|| rng.next_u64()).map(|(key, _)| key.into())
    }

    // ---- broadcasts -----------------------------------------------------------------------------

    /// A key has changed, by a client or by itself: clients with a prefix of it hear of it after the pass.
    pub fn changed(&mut self, key: &[u8], author: Option<ClientId>) {
        let author = author.unwrap_or(NO_CLIENT);
        self.prefixes.each_beginning_of(key, |p| {
            p.keys.insert(key, author);
        });
    }

    /// What is to be sent now, prefix by prefix.
    pub fn broadcasts(&mut self) -> Vec<Broadcast> {
        let mut all = Vec::new();
        let mut at = self.prefixes.seek_key_mut(Seek::First);
        while let Some((prefix, p)) = at {
            if !p.keys.is_empty() {
                let clients = p.clients.iter().copied().collect();
                all.push(Broadcast { clients, keys: std::mem::take(&mut p.keys) });
            }
            at = self.prefixes.seek_key_mut(Seek::Gt(&prefix));
        }
        all
    }
}

impl Broadcast {
    /// The keys as an array of the protocol; without those that `but` has changed, and None when there are
    /// no others.
    pub fn message(&self, but: Option<ClientId>) -> Option<Vec<u8>> {
        let (mut n, mut body) = (0usize, Vec::new());
        let mut number = itoa::Buffer::new();
        let mut iter = self.keys.iter();
        while let Some((key, author)) = iter.next() {
            if but == Some(*author) {
                continue;
            }
            n += 1;
            let len = number.format(key.len()).as_bytes();
            [b"$", len, b"\r\n", key, b"\r\n"].iter().for_each(|part| body.extend_from_slice(part));
        }
        if n == 0 {
            return None;
        }
        let head = [b"*", number.format(n).as_bytes(), b"\r\n"].concat();
        Some([head, body].concat())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    fn id(index: u32) -> ClientId {
        ClientId { index, generation: 1 }
    }

    fn yes(_: ClientId) -> bool {
        true
    }

    #[test]
    fn the_table_agrees_with_its_naive_twin() {
        let (mut t, mut twin) = (Tracking::default(), BTreeMap::<Vec<u8>, BTreeSet<ClientId>>::new());
        let mut x = 5u64;
        for _ in 0..50_000 {
            x = x.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let key = format!("key:{}", (x >> 33) % 50).into_bytes();
            let client = id((x >> 45) as u32 % 200);
            if (x >> 60).is_multiple_of(16) {
                let mut gone = t.forget(&key);
                gone.sort_unstable();
                assert!(gone.into_iter().eq(twin.remove(&key).unwrap_or_default()));
            } else {
                t.remember(client, &key, yes);
                twin.entry(key).or_default().insert(client);
            }
            assert_eq!(t.keys(), twin.len());
            assert_eq!(t.items(), twin.values().map(BTreeSet::len).sum::<usize>());
        }
        assert_eq!(t.forget_all().len(), twin.len());
        assert_eq!((t.keys(), t.items(), t.listens()), (0, 0, false));
    }

    #[test]
    fn clients_that_are_gone_do_not_pile_up_under_a_key_that_never_changes() {
        let mut t = Tracking::default();
        for i in 0..100_000 {
            t.remember(id(i), b"k", |c| c.index + 10 > i);
        }
        assert!(t.items() <= 2 * LONG_LIST, "{}", t.items());
        let left = t.forget(b"k");
        assert!((99_990..100_000).all(|i| left.contains(&id(i))));
        assert_eq!(t.items(), 0);
    }

    #[test]
    fn the_effort_grows_until_it_is_enough() {
        let mut t = Tracking::default();
        (0..1000).for_each(|i| t.remember(id(1), format!("{i}").as_bytes(), yes));
        let mut rng = Rng::from_os();
        let mut dropped = Vec::new();
        while t.keys() > 250 {
            let n = t.surplus(250);
            dropped.push(n);
            for _ in 0..n {
                let key = t.any_key(&mut rng).expect("there are enough");
                assert_eq!(t.forget(&key), [id(1)]);
            }
        }
        assert_eq!(dropped, [100, 200, 300, 150]);
        assert_eq!((t.surplus(250), t.surplus(200), t.surplus(0)), (0, 50, 0));
    }

    #[test]
    fn prefixes_gather_their_keys_in_order_and_remember_the_last_author() {
        let mut t = Tracking::default();
        for (client, prefix) in [(1, &b"b:"[..]), (2, b"b:"), (2, b"a"), (3, b"")] {
            t.enable(id(client), 0);
            t.add_prefix(id(client), prefix);
            t.add_prefix(id(client), prefix);
        }
        assert_eq!((t.prefixes(), t.clients()), (3, 3));
        for (key, author) in
            [("b:2", Some(1)), ("b:1", Some(2)), ("c", None), ("b:2", None), ("a", Some(2))]
        {
            t.changed(key.as_bytes(), author.map(id));
        }
        let sent = t.broadcasts();
        let text = |b: &Broadcast, but| b.message(but).map(|m| String::from_utf8_lossy(&m).into_owned());
        let clients: Vec<_> = sent.iter().map(|b| b.clients.clone()).collect();
        assert_eq!(clients, [vec![id(3)], vec![id(2)], vec![id(1), id(2)]]);
        let all = "*4\r\n$1\r\na\r\n$3\r\nb:1\r\n$3\r\nb:2\r\n$1\r\nc\r\n";
        assert_eq!(text(&sent[0], None).as_deref(), Some(all));
        assert_eq!(text(&sent[1], Some(id(2))), None, "all of it is its own");
        assert_eq!(text(&sent[2], Some(id(2))).as_deref(), Some("*1\r\n$3\r\nb:2\r\n"));
        assert!(t.broadcasts().is_empty());
        t.disable(id(2));
        assert_eq!((t.prefixes(), t.clients()), (2, 2));
        t.disable(id(1));
        t.disable(id(3));
        assert_eq!((t.prefixes(), t.listens()), (0, false));
    }

    #[test]
    fn overlaps_are_found_in_both_directions() {
        let mut t = Tracking::default();
        t.enable(id(1), 0);
        t.add_prefix(id(1), b"FOO");
        let of = |t: &Tracking, all: &[&'static [u8]]| {
            t.overlap(id(1), all).map(|o| match o {
                Overlap::Existing(new, old) => (new.to_vec(), old.to_vec()),
                Overlap::Given(a, b) => (a.to_vec(), b.to_vec()),
            })
        };
        let pair = |a: &str, b: &str| Some((a.as_bytes().to_vec(), b.as_bytes().to_vec()));
        assert_eq!(of(&t, &[b"BAR", b"FO"]), pair("FO", "FOO"));
        assert_eq!(of(&t, &[b"FOOBAR"]), pair("FOOBAR", "FOO"));
        assert_eq!(of(&t, &[b"BARB", b"X", b"BAR"]), pair("BARB", "BAR"));
        assert_eq!(of(&t, &[b"BAR", b"BAZ"]), None);
        assert_eq!(of(&t, &[b""]), pair("", "FOO"));
        assert_eq!(t.overlap(id(2), &[b"FOO"]), None);
    }
}
