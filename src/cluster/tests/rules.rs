//! The rules of a hardened receiver that need to know the nodes; those of the bytes alone, with the numbers
//! before and between these, stand with the codec.

use super::*;

#[test]
fn rule_5_a_packet_of_the_own_name_is_dropped_and_a_handshake_does_not_take_a_name_that_is_known() {
    let mut b = Bench::new();
    let mut me = Peer::new('m');
    me.name = b.node.nodes.myself().name;
    b.pinged(&mut me);
    assert!(b.kinds().is_empty() && b.node.nodes.len() == 1);
    let mut known = Peer::new('k');
    b.meets(&mut known);
    // Another handshake turns out to be with the same node: its address is what is left of it.
    b.node.start_handshake(ip("10.0.0.77"), (1, 0), 2, Flags::MEET, b.now.mono);
    b.on(Event::Tick);
    let (link, _) = *b.dials().last().expect("it is dialed");
    b.on(Event::Dialed { link, local: None });
    let again = Peer { ip: None, link: Some(link), ..known.clone() };
    b.pong(&again);
    assert_eq!(b.node.nodes.len(), 2);
    assert_eq!(b.get(&known).ip, Some(ip("10.0.0.77")));
    assert!(b.logged("Handshake: we already know node kkkk"));
}

#[test]
fn rule_7_a_node_from_gossip_has_a_role_and_nothing_else() {
    let mut b = Bench::new();
    let (mut a, x) = (Peer::new('a'), Peer::new('x'));
    b.gossip(&mut a, &[x.of(Flags::MASTER)]);
    assert!(b.node.nodes.find(&x.name).is_none(), "strangers bring no nodes");
    b.meets(&mut a);
    b.gossip(&mut a, &[x.of(Flags(!Flags::NOADDR.0))]);
    let wanted = Flags::MASTER.with(Flags::REPLICA).with(Flags::NOFAILOVER);
    assert_eq!(b.get(&x).flags, wanted);
    let lost = Peer::new('y');
    b.gossip(&mut a, &[lost.of(Flags::MASTER.with(Flags::NOADDR))]);
    let nowhere = Peer { ip: None, ..Peer::new('z') };
    b.gossip(&mut a, &[nowhere.of(Flags::MASTER)]);
    assert_eq!(b.node.nodes.len(), 3, "neither has an address");
}

#[test]
fn rule_8_the_teller_the_master_and_this_node_are_not_forgotten() {
    let mut b = Bench::new();
    let (mut a, mut m, mut x) = (Peer::new('a'), Peer::owner('d', 1, 0, 9), Peer::new('x'));
    [&mut a, &mut m, &mut x].into_iter().for_each(|p| b.meets(p));
    b.replicate(&m);
    let me = b.node.nodes.myself().name;
    for node in [a.name, m.name, me] {
        b.told(&mut a, &[Ext::Forgotten { node: &node, seconds: 60 }]);
    }
    assert_eq!(b.node.nodes.len(), 4);
    b.pinged(&mut x);
    b.told(&mut a, &[Ext::Forgotten { node: &x.name, seconds: u64::MAX }]);
    assert!(b.node.nodes.find(&x.name).is_none());
    let closed = b.out.iter().filter(|a| matches!(a, Action::Close { .. })).count();
    assert_eq!(closed, 2, "both its links");
    b.gossip(&mut a, &[x.of(Flags::MASTER)]);
    assert!(b.node.nodes.find(&x.name).is_none(), "it is not brought back");
    b.pass(60_000);
    b.gossip(&mut a, &[x.of(Flags::MASTER)]);
    assert!(b.node.nodes.find(&x.name).is_some(), "but for a minute at most");
}

#[test]
fn rule_9_no_header_makes_a_circle() {
    let mut b = Bench::new();
    let (mut a, mut c) = (Peer::new('a'), Peer::new('c'));
    b.meets(&mut a);
    b.meets(&mut c);
    a.master = Some(c.name);
    b.pinged(&mut a);
    c.master = Some(a.name);
    b.pinged(&mut c);
    assert_eq!(b.get(&c).master, None);
    a.master = Some(a.name);
    b.pinged(&mut a);
    for p in [&a, &c] {
        let node = b.get(p);
        assert!(node.master.is_none() || node.replicas.is_empty());
    }
    // A replica of a replica stands below the same master.
    let (mut d, mut e) = (Peer::new('d'), Peer::new('e'));
    b.meets(&mut d);
    b.meets(&mut e);
    d.master = Some(c.name);
    c.master = None;
    b.pinged(&mut c);
    b.pinged(&mut d);
    e.master = Some(d.name);
    b.pinged(&mut e);
    let top = b.node.nodes.find(&c.name);
    assert_eq!((b.get(&e).master, b.get(&d).master), (top, top));
}

#[test]
fn rule_10_an_older_header_of_the_other_link_changes_nothing() {
    let mut b = Bench::new();
    let (mut old, mut heir) = (Peer::owner('a', 3, 0, 99), Peer::new('h'));
    b.meets(&mut old);
    b.meets(&mut heir);
    heir.master = Some(old.name);
    heir.epoch = 3;
    heir.flags = Flags::REPLICA;
    b.pinged(&mut heir);
    let before = (old.clone(), heir.clone());
    // The heir has won, and the old master follows it.
    heir = Peer { inbound: heir.inbound, link: heir.link, ..Peer::owner('h', 7, 0, 99) };
    b.pinged(&mut heir);
    old.master = Some(heir.name);
    (old.epoch, old.slots, old.flags) = (7, heir.slots, Flags::REPLICA);
    b.pinged(&mut old);
    let check = |b: &Bench| {
        let owner = b.node.owner(50).and_then(|id| b.node.nodes.get(id)).expect("owned");
        assert_eq!(owner.name, name('h'));
        assert!(b.get(&Peer::new('h')).is_master() && b.get(&Peer::new('a')).is_replica());
    };
    check(&b);
    // What each said before arrives now.
    let (mut late_old, mut late_heir) = before;
    b.pinged(&mut late_old);
    check(&b);
    assert!(b.kinds().contains(&Kind::Update), "and is told so");
    b.pinged(&mut late_heir);
    check(&b);
    // Epochs far beyond all known ones are of a forger.
    let mut far = heir.clone();
    far.current = 1 << 41;
    b.pinged(&mut far);
    assert!(b.logged("far beyond all known ones"));
    assert_eq!(b.node.current_epoch, 7);
    far = heir.clone();
    far.epoch = u64::MAX;
    b.pinged(&mut far);
    let slots = slot_bytes(0, 5);
    let update = Body::Update { config_epoch: u64::MAX, node: &old.name, slots: &slots };
    b.hears(&mut heir, &update);
    assert_eq!(b.get(&heir).config_epoch, 7);
    check(&b);
}

#[test]
fn rule_11_strangers_are_few_small_and_soon_gone() {
    let mut b = Bench::new();
    let mut accept = || b.run(|node, env, _| node.accept(ip("10.0.0.3"), None, env));
    let links: Vec<LinkId> = std::iter::from_fn(&mut accept).take(1000).collect();
    assert_eq!(links.len(), 64 + 2);
    let big = Peer::new('a').says(&Body::Publish { shard: false, channel: b"c", message: &[0; 70_000] });
    let limit = |b: &Bench, n: usize| b.node.frame_limit(links[0], &big[..n]);
    assert_eq!(limit(&b, 79), Ok(None), "it has not said its name");
    assert!(matches!(limit(&b, 80), Err(bus::Bad::TooLong(_))));
    b.pass(1200);
    assert_eq!(b.node.link_count(), 0);
    let mut a = Peer::new('a');
    b.meets(&mut a);
    let link = b.run(|node, env, _| node.accept(ip("10.0.0.3"), None, env)).expect("there is room");
    assert_eq!(b.node.frame_limit(link, &big[..80]), Ok(Some(big.len())), "a known name");
}

#[test]
fn rule_12_a_pong_of_the_future_is_not_believed() {
    let mut b = Bench::new();
    let (mut a, mut x) = (Peer::new('a'), Peer::new('x'));
    b.meets(&mut a);
    b.meets(&mut x);
    b.pong(&x);
    let known = b.get(&x).pong_received;
    let wall = (b.now.wall / 1000) as u32;
    for (seconds, taken) in [(wall + 2, false), (wall - 100, false), (wall, false)] {
        let told = Gossip { pong_received: seconds, ..x.of(Flags::MASTER) };
        b.gossip(&mut a, &[told]);
        assert_eq!(b.get(&x).pong_received != known, taken);
    }
    b.now.mono += 3000;
    b.now.wall += 3000;
    let told = Gossip { pong_received: wall + 2, ..x.of(Flags::MASTER) };
    b.gossip(&mut a, &[told]);
    assert_eq!(b.get(&x).pong_received, known.map(|at| at + 2000));
}

#[test]
fn a_master_that_was_replaced_names_its_heir_and_no_slot_is_left_alone() {
    let (mut b, mut x, mut h) = (three().0, Peer::owner('x', 2, 5001, 10_000), Peer::new('h'));
    b.pinged(&mut x);
    h = Peer { flags: Flags::REPLICA, master: Some(x.name), epoch: 2, slots: x.slots, ..h };
    b.meets(&mut h);
    b.pinged(&mut h);
    let late = x.clone();
    // Nothing has come from the heir itself.
    x = Peer { flags: Flags::REPLICA, master: Some(h.name), epoch: 9, current: 9, ..x };
    b.out.clear();
    b.pinged(&mut x);
    b.settle();
    assert_eq!(b.node.owner(6000), b.node.nodes.find(&h.name));
    assert!(b.node.is_ok() && !b.logged("Cluster state changed"));
    assert!(b.get(&h).is_master() && b.get(&h).config_epoch == 9);
    assert_eq!(b.get(&x).master, b.node.nodes.find(&h.name));
    let mut late = Peer { inbound: x.inbound, ..late };
    b.pinged(&mut late);
    assert!(b.get(&x).is_replica());
}
