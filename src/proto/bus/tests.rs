//! Packets recorded from nodes of 7.2.6, and each way to hurt one.

use super::*;
use crate::algo::{lzf, rng::Rng};

/// Of four nodes, one of them with a hostname and a nodename: what they said while they met, published,
/// failed over by hand and by vote, and forgot one of them. One of each kind but MODULE.
static RECORDED: &[u8] = include_bytes!("recorded.lzf");

const NODE: Peer = Peer::Node { max_bulk: 1 << 20 };
const STRANGER: Peer = Peer::Stranger { nodes: 3 };
const A: &Name = &[b'a'; 40];
const B: &Name = &[b'b'; 40];
const NO_SLOTS: &SlotBytes = &[0; 2048];

fn recorded() -> Vec<Vec<u8>> {
    let (size, stream) = RECORDED.split_first_chunk::<4>().expect("a length");
    let all = lzf::decompress(stream, u32::from_be_bytes(*size) as usize).expect("it is whole");
    let (mut packets, mut rest) = (Vec::new(), &all[..]);
    while !rest.is_empty() {
        let length = frame(rest, NODE).expect("a packet").expect("the whole of it");
        packets.push(rest[..length].to_vec());
        rest = &rest[length..];
    }
    packets
}

fn header() -> Header<'static> {
    Header {
        port: 7000,
        current_epoch: 5,
        config_epoch: 3,
        offset: 1234,
        sender: A,
        slots: NO_SLOTS,
        master: Some(B),
        ip: Some("10.0.0.1".parse().expect("an address")),
        other_port: 0,
        bus_port: 17000,
        flags: Flags::REPLICA.with(Flags::MYSELF),
        failed: true,
        mflags: EXT_DATA,
    }
}

fn gossip(name: &Name) -> Gossip<'_> {
    Gossip {
        name,
        ping_sent: 1,
        pong_received: 2,
        ip: Some("::1".parse().expect("an address")),
        port: 1,
        bus_port: 2,
        other_port: 3,
        flags: Flags::MASTER.with(Flags::PFAIL),
    }
}

/// A PING with these entries and extensions.
fn ping(entries: &[Gossip<'_>], exts: &[Ext<'_>]) -> Vec<u8> {
    let (mut e, mut x) = (Vec::new(), Vec::new());
    entries.iter().for_each(|g| put_entry(&mut e, g));
    exts.iter().for_each(|ext| put_ext(&mut x, ext));
    let exts = Exts { bytes: &x, count: exts.len() as u16 };
    encode(&header(), &Body::Ping(Entries(&e), exts)).to_vec()
}

fn set<const N: usize>(packet: &mut [u8], at: usize, bytes: [u8; N]) {
    packet[at..at + N].copy_from_slice(&bytes);
}

/// Gives a packet the length that it has.
fn fit(packet: &mut [u8]) {
    let length = packet.len() as u32;
    set(packet, 4, length.to_be_bytes());
}

fn bad(packet: &[u8]) -> Bad {
    decode(packet).expect_err("it is broken")
}

// ---- real packets --------------------------------------------------------------------------------

#[test]
fn recorded_packets_are_read_and_written_byte_for_byte() {
    let mut kinds = Vec::new();
    for packet in recorded() {
        let msg = decode(&packet).expect("a real packet");
        kinds.push(msg.body.kind());
        // Flags of gossip are cut down; the others of these have none to lose.
        assert_eq!(encode(&msg.header, &msg.body)[..], packet[..], "{:?}", msg.body.kind());
    }
    kinds.sort_by_key(|k| k.index());
    kinds.dedup();
    let all: Vec<Kind> = Kind::ALL.into_iter().filter(|k| *k != Kind::Module).collect();
    assert_eq!(kinds, all);
}

#[test]
fn recorded_packets_say_what_was_done() {
    let packets = recorded();
    let msgs: Vec<Msg<'_>> = packets.iter().map(|p| decode(p).expect("real")).collect();
    let (Body::Meet(entries, exts), h) = (msgs[0].body, msgs[0].header) else { panic!("MEET first") };
    assert_eq!((entries.iter().count(), h.port, h.bus_port, h.ip), (0, 35000, 35500, None));
    assert!(h.failed && h.master.is_none() && h.flags == Flags::MASTER.with(Flags::MYSELF));
    assert!(matches!(exts.iter().collect::<Vec<_>>()[..], [Ext::Shard(_)]));
    let Body::Ping(entries, exts) = msgs[2].body else { panic!("a PING") };
    assert_eq!(entries.iter().count(), 2);
    assert!(entries.iter().all(|g| g.ip.is_some_and(|ip| ip.is_loopback()) && g.pong_received > 0));
    let exts: Vec<Ext<'_>> = exts.iter().collect();
    assert_eq!(exts[..2], [Ext::Hostname("host-3.example.com"), Ext::Nodename(b"node3")]);
    let Body::Publish { shard: false, channel: b"ch", message: b"hello" } = msgs[5].body else {
        panic!("PUBLISH ch hello")
    };
    let forced: Vec<u8> = msgs.iter().map(|m| m.header.mflags).collect();
    assert_eq!(forced, [4, 4, 4, 4, 0, 0, 0, 0, 5, 2, 0, 0, 0, 4, 4]);
    let Body::Update { config_epoch, slots, .. } = msgs[12].body else { panic!("UPDATE") };
    assert!(config_epoch > 0 && slots[0] == 0xff);
    let (Body::Pong(_, exts) | Body::Ping(_, exts)) = msgs[13].body else { panic!("with extensions") };
    let forgotten = |e: Ext<'_>| matches!(e, Ext::Forgotten { seconds: 1..=60, .. });
    assert!(exts.iter().any(forgotten));
    let (Body::Pong(entries, _) | Body::Ping(entries, _)) = msgs[14].body else { panic!("with gossip") };
    assert!(entries.iter().any(|g| g.flags.has(Flags::PFAIL)));
}

#[test]
fn every_kind_comes_back() {
    let (mut e, mut x) = (Vec::new(), Vec::new());
    put_entry(&mut e, &gossip(B));
    put_ext(&mut x, &Ext::Forgotten { node: B, seconds: 7 });
    put_ext(&mut x, &Ext::Hostname("seven-x"));
    let (entries, exts) = (Entries(&e), Exts { bytes: &x, count: 2 });
    let bodies = [
        Body::Ping(entries, exts),
        Body::Pong(entries, Exts::default()),
        Body::Meet(Entries::default(), Exts::default()),
        Body::Fail(B),
        Body::Publish { shard: false, channel: b"c", message: b"" },
        Body::Publish { shard: true, channel: b"", message: b"m" },
        Body::AuthRequest,
        Body::AuthAck,
        Body::Update { config_epoch: u64::MAX, node: B, slots: &[7; 2048] },
        Body::MfStart,
        Body::Module { module: 99, kind: 3, payload: b"load" },
    ];
    for body in bodies {
        let packet = encode(&header(), &body);
        assert_eq!(frame(&packet, NODE), Ok(Some(packet.len())));
        let msg = decode(&packet).expect("what was written");
        assert_eq!((msg.header, msg.body), (header(), body));
    }
    assert_eq!(entries.iter().collect::<Vec<_>>(), [gossip(B)]);
    let all: Vec<_> = exts.iter().collect();
    assert_eq!(all, [Ext::Forgotten { node: B, seconds: 7 }, Ext::Hostname("seven-x")]);
}

// ---- the rules of the receiver, one by one --------------------------------------------------------

#[test]
fn rule_1_a_signature_and_a_length_come_first_and_an_unknown_version_or_type_is_skipped() {
    let packet = ping(&[], &[]);
    for (n, _) in SIGNATURE.iter().enumerate() {
        let mut p = packet.clone();
        p[n] ^= 0x20;
        assert_eq!(frame(&p[..n + 1], NODE), Err(Bad::Signature), "seen with the byte itself");
        assert!(bad(&p).ends_link());
    }
    for n in 0..PREFIX {
        assert_eq!(frame(&packet[..n], NODE), Ok(None));
    }
    for length in [0, 1, 2255] {
        let mut p = packet.clone();
        set(&mut p, 4, u32::to_be_bytes(length));
        assert_eq!(frame(&p, NODE), Err(Bad::Signature));
    }
    for (at, what) in [(8, Bad::Version(9)), (12, Bad::Type(9 + 256))] {
        let mut p = packet.clone();
        p[at + 1] = 9;
        p[at] = u8::from(at == 12);
        assert_eq!(frame(&p, NODE), Ok(Some(p.len())));
        assert_eq!((bad(&p), bad(&p).ends_link()), (what, false));
    }
}

#[test]
fn rule_2_a_ceiling_by_type_before_anything_is_buffered() {
    let announce = |kind: Kind, count: u16, length: u32, peer| {
        let mut p = ping(&[], &[]);
        set(&mut p, 4, length.to_be_bytes());
        set(&mut p, 12, (kind as u16).to_be_bytes());
        set(&mut p, 14, count.to_be_bytes());
        frame(&p[..PREFIX], peer)
    };
    let fits = |kind, count, length: u32, peer| {
        assert_eq!(announce(kind, count, length, peer), Ok(Some(length as usize)), "{kind:?}");
        let more = announce(kind, count, length + 1, peer);
        assert_eq!(more, Err(Bad::TooLong(u64::from(length) + 1)), "{kind:?}");
    };
    fits(Kind::Ping, 0, 2256 + 65_536, NODE);
    fits(Kind::Meet, 65_535, 2256 + 104 * 65_535 + 65_536, NODE);
    fits(Kind::Fail, 0, 2296, NODE);
    fits(Kind::AuthAck, 0, 2256, NODE);
    fits(Kind::MfStart, 9, 2256, NODE);
    fits(Kind::Update, 0, 4352, NODE);
    fits(Kind::Publish, 0, 2 * (1 << 20) + 2272, NODE);
    fits(Kind::Module, 0, 2 * (1 << 20) + 2272, NODE);
    // A stranger gets one size, with some room for gossip of the nodes that there are.
    for kind in Kind::ALL {
        fits(kind, 65_535, 65_536 + 312, STRANGER);
    }
    let endless = Peer::Node { max_bulk: u64::MAX };
    assert_eq!(announce(Kind::Publish, 0, u32::MAX, endless), Ok(Some(u32::MAX as usize)));
}

#[test]
fn rule_3_lengths_add_up_exactly() {
    let whole = ping(&[gossip(B)], &[Ext::Shard(B)]);
    for count in [0u16, 2, 3, 65_535] {
        let mut p = whole.clone();
        set(&mut p, 14, count.to_be_bytes());
        assert!(decode(&p).is_err(), "{count} entries");
    }
    for more in [1, 8, 104] {
        let mut p = [whole.clone(), vec![0; more]].concat();
        fit(&mut p);
        assert_eq!(bad(&p), Bad::Length(Kind::Ping, p.len() as u64));
    }
    assert_eq!(bad(&[whole, vec![0]].concat()), Bad::Signature, "longer than it says");
    let publish = |channel: u32, message: u32| {
        let body = Body::Publish { shard: false, channel: b"chan", message: b"message" };
        let mut p = encode(&header(), &body).to_vec();
        set(&mut p, HEADER, channel.to_be_bytes());
        set(&mut p, HEADER + 4, message.to_be_bytes());
        decode(&p).map(|_| ())
    };
    assert_eq!(publish(4, 7), Ok(()));
    // Together they are eleven, if 32 bits are all there is.
    for (channel, message) in [(4, 6), (4, 8), (u32::MAX, 12), (12, u32::MAX), (0xffff_fff0, 27)] {
        assert_eq!(publish(channel, message), Err(Bad::Length(Kind::Publish, 2275)));
    }
    let body = Body::Module { module: 1, kind: 1, payload: b"abc" };
    for length in [2, 4, u32::MAX] {
        let mut p = encode(&header(), &body).to_vec();
        set(&mut p, HEADER + 8, u32::to_be_bytes(length));
        assert_eq!(bad(&p), Bad::Length(Kind::Module, 2256 + 16));
    }
    for body in
        [Body::AuthRequest, Body::Fail(B), Body::Update { config_epoch: 1, node: B, slots: NO_SLOTS }]
    {
        let packet = encode(&header(), &body).to_vec();
        let mut longer = [&packet[..], &[0]].concat();
        fit(&mut longer);
        assert!(matches!(bad(&longer), Bad::Length(..)));
        if packet.len() > HEADER {
            let mut shorter = packet[..packet.len() - 1].to_vec();
            fit(&mut shorter);
            assert!(matches!(bad(&shorter), Bad::Length(..)));
        }
    }
}

#[test]
fn rule_4_extensions_are_announced_padded_and_within_the_packet() {
    let at = HEADER;
    let whole = ping(&[], &[Ext::Hostname("host"), Ext::Shard(B)]);
    let mut p = whole.clone();
    p[2253] = 0;
    assert_eq!(bad(&p), Bad::Extensions(Kind::Ping), "not announced");
    // The second is what a comparison in 16 bits would pass.
    for (length, why) in [
        (0u32, Bad::Padding(Kind::Ping)),
        (7, Bad::Padding(Kind::Ping)),
        (12, Bad::Padding(Kind::Ping)),
        (0x4000_0008, Bad::Extensions(Kind::Ping)),
        (0xffff_fff8, Bad::Extensions(Kind::Ping)),
        (72, Bad::Extensions(Kind::Ping)),
    ] {
        let mut p = whole.clone();
        set(&mut p, at, length.to_be_bytes());
        assert_eq!(bad(&p), why, "{length}");
    }
    let mut p = whole.clone();
    set(&mut p, 2214, 3u16.to_be_bytes());
    assert_eq!(bad(&p), Bad::Extensions(Kind::Ping), "one more than there are");
    for (kind, least) in [(0u16, 16usize), (1, 16), (2, 56), (3, 48)] {
        for length in (8..=least).step_by(8) {
            let mut p = ping(&[], &[]);
            p.extend_from_slice(&(length as u32).to_be_bytes());
            p.extend_from_slice(&kind.to_be_bytes());
            p.resize(p.len() + 2, 0);
            p.resize(HEADER + length, if kind < 2 { 0 } else { b'c' });
            set(&mut p, 2214, 1u16.to_be_bytes());
            fit(&mut p);
            assert_eq!(decode(&p).is_ok(), length == least, "type {kind}, {length} bytes");
        }
    }
    let texts: [(u16, &[u8; 8], bool); 7] = [
        (0, b"a.b-C9\0\0", true),
        (0, b"noend123", false),
        (0, b"un_der\0\0", false),
        (0, b"a b\0\0\0\0\0", false),
        (1, b"n_o de\0\0", true),
        (1, b"n:ode\0\0\0", false),
        (1, b"no\nde\0\0\0", false),
    ];
    for (kind, text, fine) in texts {
        let mut p = ping(&[], &[Ext::Hostname("1234567")]);
        set(&mut p, at + 4, kind.to_be_bytes());
        set(&mut p, at + 8, *text);
        assert_eq!(decode(&p).is_ok(), fine, "{}", String::from_utf8_lossy(text));
    }
    let long = "h".repeat(256);
    assert_eq!(bad(&ping(&[], &[Ext::Hostname(&long)])), Bad::Text(Kind::Ping));
    assert!(decode(&ping(&[], &[Ext::Hostname(&long[..255])])).is_ok());
    let mut p = whole;
    set(&mut p, at + 4, 77u16.to_be_bytes());
    let Body::Ping(_, exts) = decode(&p).expect("unknown ones are skipped").body else { panic!("PING") };
    assert_eq!(exts.iter().collect::<Vec<_>>(), [Ext::Shard(B)]);
}

#[test]
fn rule_5_ids_are_digits_and_small_letters() {
    let whole = ping(&[gossip(B)], &[Ext::Shard(B), Ext::Forgotten { node: B, seconds: 1 }]);
    let exts = HEADER + ENTRY;
    for at in [40, 79, 2128, 2167, HEADER, HEADER + 39, exts + 8, exts + 47, exts + 56, exts + 95] {
        for byte in [0, b'A', b'Z', b' ', b'\n', b'%', 0xff, b'/'] {
            let mut p = whole.clone();
            p[at] = byte;
            assert_eq!(bad(&p), Bad::Id(Kind::Ping), "byte {byte} at {at}");
        }
        let mut p = whole.clone();
        p[at] = b'z';
        assert!(decode(&p).is_ok());
    }
    for body in [Body::Fail(B), Body::Update { config_epoch: 1, node: B, slots: NO_SLOTS }] {
        let mut p = encode(&header(), &body).to_vec();
        let at = if body.kind() == Kind::Fail { HEADER } else { HEADER + 8 };
        p[at] = b'*';
        assert_eq!(bad(&p), Bad::Id(body.kind()));
    }
}

#[test]
fn rule_6_addresses_parse_or_are_none() {
    let texts: [(&[u8], bool); 8] = [
        (b"", false),
        (b"1.2.3.4", true),
        (b"fe80::1", true),
        (b"::ffff:1.2.3.4", true),
        (b"localhost", false),
        (b"1.2.3", false),
        (b"\xff\xfe", false),
        (b"1111111111111111111111111111111111111111111111", false),
    ];
    for (text, fine) in texts {
        let mut p = ping(&[gossip(B)], &[]);
        for at in [2168, HEADER + 48] {
            p[at..at + 46].fill(0);
            p[at..at + text.len()].copy_from_slice(text);
        }
        let msg = decode(&p).expect("no reason to stop");
        let Body::Ping(entries, _) = msg.body else { panic!("PING") };
        let told = entries.iter().next().expect("one");
        assert_eq!((msg.header.ip.is_some(), told.ip.is_some()), (fine, fine), "{text:?}");
    }
}

#[test]
fn rule_7_gossip_brings_no_flags_of_its_own() {
    let mut p = ping(&[gossip(B)], &[]);
    set(&mut p, HEADER + 98, 0xffffu16.to_be_bytes());
    let Body::Ping(entries, _) = decode(&p).expect("whole").body else { panic!("PING") };
    let flags = entries.iter().next().expect("one").flags;
    assert_eq!(flags, Flags::GOSSIP);
    assert!(!flags.has(Flags::MYSELF.with(Flags::HANDSHAKE).with(Flags::MEET).with(Flags::MIGRATE_TO)));
}

// ---- everything else -----------------------------------------------------------------------------

#[test]
fn no_bytes_make_it_panic_and_what_is_taken_can_be_said_again() {
    let (packets, mut rng) = (recorded(), Rng::seeded(11));
    let mut taken = 0;
    for _ in 0..20_000 {
        let mut p = packets[rng.index(packets.len())].clone();
        for _ in 0..rng.index(4) {
            // The fields that decide something stand at the edges of the header and behind it.
            let at = match rng.index(3) {
                0 => rng.index(80),
                1 => 2128 + rng.index(128),
                _ => rng.index(p.len()),
            };
            p[at] = [rng.next_u32() as u8, 0, 0xff, p[at].wrapping_add(1)][rng.index(4)];
        }
        if rng.index(4) == 0 {
            p.truncate(rng.index(p.len() + 1));
        }
        if rng.index(2) == 0 && p.len() > 8 {
            fit(&mut p);
        }
        for n in [0, 3, 4, 15, 16, p.len()] {
            let start = &p[..n.min(p.len())];
            for peer in [NODE, STRANGER] {
                if let Ok(Some(length)) = frame(start, peer) {
                    assert!((HEADER..8 << 20).contains(&length));
                }
            }
        }
        if let Ok(msg) = decode(&p) {
            taken += 1;
            let again = encode(&msg.header, &msg.body);
            let back = decode(&again).expect("what was written");
            assert_eq!((back.header, back.body), (msg.header, msg.body));
        }
    }
    assert!(taken > 2000, "{taken}");
}
