//! The packets of the cluster bus: bytes to `Msg` and back.
//!
//! ```text
//! offset size                             offset size
//!      0    4  "RCmb"                      2128   40  id of the sender's master, zeros if it is one
//!      4    4  length of the whole         2168   46  ip as text, zeros: as seen
//!      8    2  version 1                   2214    2  number of extensions
//!     10    2  port (of the bus's kind)    2216   30  unused
//!     12    2  type                        2246    2  the other port (TLS | TCP), 0: none
//!     14    2  number of gossip entries    2248    2  bus port
//!     16    8  currentEpoch                2250    2  flags of the sender
//!     24    8  configEpoch                 2252    1  state, 0 ok, 1 fail
//!     32    8  replication offset          2253    3  mflags
//!     40   40  id of the sender            2256       body
//!     80 2048  slots, bit s%8 of byte s/8
//!
//! body of PING, PONG, MEET   entries of 104 bytes, then extensions
//!         FAIL               id 40
//!         PUBLISH, ...SHARD  length of channel 4, length of message 4, both
//!         UPDATE             configEpoch 8, id 40, slots 2048
//!         MODULE             module 8 (as its machine has it), length 4, kind 1, payload
//!         AUTH_REQUEST, AUTH_ACK, MFSTART: nothing
//!
//! entry      id 40, ping sent 4, pong received 4 (seconds), ip 46, port 2, bus port 2, flags 2,
//!            other port 2, unused 2
//! extension  length 4 (with this head, a multiple of 8), type 2, unused 2, data
//!            0 hostname, 1 human nodename: text, zero, padding     2 forgotten node: id 40, seconds 8
//!            3 shard id: id 40
//! ```
//!
//! Numbers are big-endian. The bus authenticates nothing, so the bytes may be of anything that reaches the
//! port. The decoder is total, and a packet is taken whole or not at all:
//!
//! - `frame` refuses a signature and a length that cannot be before anything is buffered, and more than the
//!   type (and what is known of the peer) allows before the buffer grows. Such a link is closed.
//! - `decode` demands that all lengths add up exactly, in u64. A packet that fails is skipped.
//! - Ids are 40 digits or small letters, texts hold what the directives allow, an address parses or is none.
//! - Flags of gossip are cut down to those that another node may know (`Flags::GOSSIP`).
//!
//! `Entries` and `Exts` stay bytes until they are asked; `decode` has checked each of them before.

mod encode;
#[cfg(test)]
mod tests;

pub use encode::{encode, put_entry, put_ext};

use std::fmt;
use std::net::IpAddr;

/// Length of the fixed part.
pub const HEADER: usize = 2256;
/// Bytes of the fixed part that `frame` has to see.
pub const PREFIX: usize = 16;
pub const ENTRY: usize = 104;
pub const SIGNATURE: &[u8; 4] = b"RCmb";
/// What extensions may take, all together.
const EXTENSIONS_MAX: u64 = 64 << 10;
const VERSION: u16 = 1;

/// Id of a node or a shard.
pub type Name = [u8; 40];
pub type SlotBytes = [u8; 2048];

/// Bits of `mflags`, its first byte.
pub const PAUSED: u8 = 1;
pub const FORCE_ACK: u8 = 2;
pub const EXT_DATA: u8 = 4;

/// Types of packets, by number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u16)]
pub enum Kind {
    Ping,
    Pong,
    Meet,
    Fail,
    Publish,
    AuthRequest,
    AuthAck,
    Update,
    MfStart,
    Module,
    PublishShard,
}

impl Kind {
    pub const ALL: [Kind; 11] = [
        Kind::Ping,
        Kind::Pong,
        Kind::Meet,
        Kind::Fail,
        Kind::Publish,
        Kind::AuthRequest,
        Kind::AuthAck,
        Kind::Update,
        Kind::MfStart,
        Kind::Module,
        Kind::PublishShard,
    ];

    fn of(number: u16) -> Option<Kind> {
        Kind::ALL.get(usize::from(number)).copied()
    }

    /// As the statistics name it.
    pub fn name(self) -> &'static str {
        const NAMES: [&str; 11] = [
            "ping",
            "pong",
            "meet",
            "fail",
            "publish",
            "auth-req",
            "auth-ack",
            "update",
            "mfstart",
            "module",
            "publishshard",
        ];
        NAMES.get(self.index()).copied().unwrap_or("unknown")
    }

    pub fn index(self) -> usize {
        usize::from(self as u16)
    }
}

/// Flags of a node, as they travel and as nodes.conf names them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Flags(pub u16);

impl Flags {
    pub const MASTER: Flags = Flags(1);
    pub const REPLICA: Flags = Flags(2);
    pub const PFAIL: Flags = Flags(4);
    pub const FAIL: Flags = Flags(8);
    pub const MYSELF: Flags = Flags(16);
    pub const HANDSHAKE: Flags = Flags(32);
    pub const NOADDR: Flags = Flags(64);
    pub const MEET: Flags = Flags(128);
    pub const MIGRATE_TO: Flags = Flags(256);
    pub const NOFAILOVER: Flags = Flags(512);
    /// What gossip may say of a node.
    pub const GOSSIP: Flags = Flags(1 | 2 | 4 | 8 | 64 | 512);

    /// Is one of these set?
    pub fn has(self, flags: Flags) -> bool {
        self.0 & flags.0 != 0
    }

    pub fn set(&mut self, flags: Flags, on: bool) {
        if on { self.0 |= flags.0 } else { self.0 &= !flags.0 }
    }

    pub fn with(self, flags: Flags) -> Flags {
        Flags(self.0 | flags.0)
    }

    /// What of them is among these.
    pub fn only(self, flags: Flags) -> Flags {
        Flags(self.0 & flags.0)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header<'a> {
    pub port: u16,
    pub current_epoch: u64,
    pub config_epoch: u64,
    pub offset: u64,
    pub sender: &'a Name,
    pub slots: &'a SlotBytes,
    pub master: Option<&'a Name>,
    /// None: the address that the packet came from.
    pub ip: Option<IpAddr>,
    pub other_port: u16,
    pub bus_port: u16,
    pub flags: Flags,
    pub failed: bool,
    pub mflags: u8,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Msg<'a> {
    pub header: Header<'a>,
    pub body: Body<'a>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Body<'a> {
    Ping(Entries<'a>, Exts<'a>),
    Pong(Entries<'a>, Exts<'a>),
    Meet(Entries<'a>, Exts<'a>),
    Fail(&'a Name),
    Publish { shard: bool, channel: &'a [u8], message: &'a [u8] },
    AuthRequest,
    AuthAck,
    Update { config_epoch: u64, node: &'a Name, slots: &'a SlotBytes },
    MfStart,
    Module { module: u64, kind: u8, payload: &'a [u8] },
}

impl Body<'_> {
    pub fn kind(&self) -> Kind {
        match self {
            Body::Ping(..) => Kind::Ping,
            Body::Pong(..) => Kind::Pong,
            Body::Meet(..) => Kind::Meet,
            Body::Fail(_) => Kind::Fail,
            Body::Publish { shard: false, .. } => Kind::Publish,
            Body::Publish { shard: true, .. } => Kind::PublishShard,
            Body::AuthRequest => Kind::AuthRequest,
            Body::AuthAck => Kind::AuthAck,
            Body::Update { .. } => Kind::Update,
            Body::MfStart => Kind::MfStart,
            Body::Module { .. } => Kind::Module,
        }
    }
}

/// What a node says of another one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gossip<'a> {
    pub name: &'a Name,
    /// Seconds of wall time, 0 for never.
    pub ping_sent: u32,
    pub pong_received: u32,
    pub ip: Option<IpAddr>,
    pub port: u16,
    pub bus_port: u16,
    pub other_port: u16,
    /// Within `Flags::GOSSIP`.
    pub flags: Flags,
}

/// Gossip entries that were checked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Entries<'a>(pub &'a [u8]);

impl<'a> Entries<'a> {
    pub fn iter(self) -> impl Iterator<Item = Gossip<'a>> {
        self.0.chunks_exact(ENTRY).filter_map(|bytes| entry(bytes).ok())
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ext<'a> {
    Hostname(&'a str),
    /// Bytes of no particular encoding, without those that nodes.conf needs for itself.
    Nodename(&'a [u8]),
    Forgotten {
        node: &'a Name,
        seconds: u64,
    },
    Shard(&'a Name),
}

/// Extensions that were checked, those of unknown types among them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Exts<'a> {
    pub bytes: &'a [u8],
    pub count: u16,
}

impl<'a> Exts<'a> {
    /// Those whose type is known.
    pub fn iter(self) -> impl Iterator<Item = Ext<'a>> {
        let mut input = Input(self.bytes);
        std::iter::from_fn(move || (!input.0.is_empty()).then(|| ext(&mut input).ok()).flatten())
            .flatten()
    }
}

/// Why a packet is not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bad {
    /// Not a packet of the bus at all, or shorter than any.
    Signature,
    /// Longer than one of its type may be, or than one of a peer that is not known.
    TooLong(u64),
    Version(u16),
    Type(u16),
    /// It has this length; another follows from what it says of its parts.
    Length(Kind, u64),
    /// The length of an extension is no multiple of eight, or less than its head or its data.
    Padding(Kind),
    /// Extensions that reach beyond the end, or that were not announced.
    Extensions(Kind),
    /// An id or a text with bytes that it cannot have.
    Id(Kind),
    Text(Kind),
}

impl Bad {
    /// Is nothing that follows on this link to be believed?
    pub fn ends_link(self) -> bool {
        matches!(self, Bad::Signature | Bad::TooLong(_))
    }
}

impl fmt::Display for Bad {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Bad::Signature | Bad::TooLong(_) => {
                write!(f, "Bad message length or signature received on the Cluster bus.")
            }
            Bad::Version(n) => write!(f, "Received a packet of unknown protocol version: {n}"),
            Bad::Type(n) => write!(f, "Received unknown packet type: {n}"),
            Bad::Length(kind, n) => {
                write!(
                    f,
                    "Received invalid {} packet of length {n}, which its parts do not have",
                    kind.name()
                )
            }
            Bad::Padding(kind) => write!(f, "Received a {} packet without proper padding", kind.name()),
            Bad::Extensions(kind) => write!(
                f,
                "Received invalid {} packet with extension data that exceeds total packet length",
                kind.name()
            ),
            Bad::Id(kind) => {
                write!(f, "Received invalid {} packet with a malformed node id", kind.name())
            }
            Bad::Text(kind) => {
                write!(
                    f,
                    "Received invalid {} packet with a malformed hostname or nodename",
                    kind.name()
                )
            }
        }
    }
}

/// What is known of the peer of a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Peer {
    /// No packet of a known node has come from there. `nodes`: how many are known altogether.
    Stranger { nodes: usize },
    /// `max_bulk` is `proto-max-bulk-len`.
    Node { max_bulk: u64 },
}

/// The length of the packet that begins with these bytes; None while less than `PREFIX` of them is there.
/// The packet may be taken to be that long: more than its type allows is refused.
pub fn frame(start: &[u8], peer: Peer) -> Result<Option<usize>, Bad> {
    let known = start.get(..4).unwrap_or(start);
    if !SIGNATURE.starts_with(known) {
        return Err(Bad::Signature);
    }
    let Some(prefix) = start.get(..PREFIX) else { return Ok(None) };
    let mut input = Input(prefix);
    input.take::<4>().map_err(|Short| Bad::Signature)?;
    let length = u64::from(input.u32().map_err(|Short| Bad::Signature)?);
    let [_, _, kind, count] = input.u16s().map_err(|Short| Bad::Signature)?;
    if length < HEADER as u64 {
        return Err(Bad::Signature);
    }
    let gossip = HEADER as u64 + ENTRY as u64 * u64::from(count) + EXTENSIONS_MAX;
    let by_type = match (Kind::of(kind), peer) {
        (_, Peer::Stranger { nodes }) => (ENTRY * nodes) as u64 + EXTENSIONS_MAX,
        (Some(Kind::Ping | Kind::Pong | Kind::Meet), _) => gossip,
        (Some(Kind::Fail), _) => (HEADER + 40) as u64,
        (Some(Kind::AuthRequest | Kind::AuthAck | Kind::MfStart), _) => HEADER as u64,
        (Some(Kind::Update), _) => (HEADER + 2096) as u64,
        (Some(Kind::Publish | Kind::PublishShard | Kind::Module), Peer::Node { max_bulk }) => {
            max_bulk.saturating_mul(2).saturating_add((HEADER + 16) as u64)
        }
        // Skipped, whatever it is.
        (None, _) => gossip,
    };
    if length > by_type {
        return Err(Bad::TooLong(length));
    }
    usize::try_from(length).map(Some).map_err(|_| Bad::TooLong(length))
}

/// The sender of the packet that begins with these bytes, as far as they reach. Nothing else is checked.
pub fn sender_of(start: &[u8]) -> Option<&Name> {
    start.get(40..80)?.try_into().ok()
}

/// Decodes one packet, of exactly the length that `frame` has found.
pub fn decode(bytes: &[u8]) -> Result<Msg<'_>, Bad> {
    if !bytes.starts_with(SIGNATURE) || bytes.len() < HEADER {
        return Err(Bad::Signature);
    }
    let total = bytes.len() as u64;
    let mut input = Input(bytes);
    let head = head(&mut input).map_err(|Short| Bad::Signature)?;
    if u64::from(head.length) != total {
        return Err(Bad::Signature);
    }
    if head.version != VERSION {
        return Err(Bad::Version(head.version));
    }
    let kind = Kind::of(head.kind).ok_or(Bad::Type(head.kind))?;
    let header = head.checked(kind)?;
    let short = |Short| Bad::Length(kind, total);
    let body = match kind {
        Kind::Ping | Kind::Pong | Kind::Meet => {
            let (entries, exts) = gossip_body(&mut input, kind, &head, total)?;
            match kind {
                Kind::Ping => Body::Ping(entries, exts),
                Kind::Pong => Body::Pong(entries, exts),
                _ => Body::Meet(entries, exts),
            }
        }
        Kind::Fail => Body::Fail(id(input.take().map_err(short)?, kind)?),
        Kind::Publish | Kind::PublishShard => {
            let lengths = [input.u32().map_err(short)?, input.u32().map_err(short)?];
            let channel = input.bytes(lengths[0]).map_err(short)?;
            let message = input.bytes(lengths[1]).map_err(short)?;
            Body::Publish { shard: kind == Kind::PublishShard, channel, message }
        }
        Kind::AuthRequest => Body::AuthRequest,
        Kind::AuthAck => Body::AuthAck,
        Kind::MfStart => Body::MfStart,
        Kind::Update => Body::Update {
            config_epoch: input.u64().map_err(short)?,
            node: id(input.take().map_err(short)?, kind)?,
            slots: input.take().map_err(short)?,
        },
        Kind::Module => {
            let module = u64::from_ne_bytes(*input.take().map_err(short)?);
            let length = input.u32().map_err(short)?;
            let [kind] = *input.take().map_err(short)?;
            Body::Module { module, kind, payload: input.bytes(length).map_err(short)? }
        }
    };
    if !input.0.is_empty() {
        return Err(Bad::Length(kind, total));
    }
    Ok(Msg { header, body })
}

// ---- the parts -----------------------------------------------------------------------------------

/// The bytes end here.
struct Short;

struct Input<'a>(&'a [u8]);

impl<'a> Input<'a> {
    fn take<const N: usize>(&mut self) -> Result<&'a [u8; N], Short> {
        let (first, rest) = self.0.split_first_chunk::<N>().ok_or(Short)?;
        self.0 = rest;
        Ok(first)
    }

    fn bytes(&mut self, length: u32) -> Result<&'a [u8], Short> {
        let length = usize::try_from(length).map_err(|_| Short)?;
        let (first, rest) = self.0.split_at_checked(length).ok_or(Short)?;
        self.0 = rest;
        Ok(first)
    }

    fn u16(&mut self) -> Result<u16, Short> {
        self.take().map(|b| u16::from_be_bytes(*b))
    }

    fn u16s<const N: usize>(&mut self) -> Result<[u16; N], Short> {
        let mut all = [0; N];
        for one in &mut all {
            *one = self.u16()?;
        }
        Ok(all)
    }

    fn u32(&mut self) -> Result<u32, Short> {
        self.take().map(|b| u32::from_be_bytes(*b))
    }

    fn u64(&mut self) -> Result<u64, Short> {
        self.take().map(|b| u64::from_be_bytes(*b))
    }
}

/// The fixed part as it stands there.
struct Head<'a> {
    length: u32,
    version: u16,
    port: u16,
    kind: u16,
    count: u16,
    current_epoch: u64,
    config_epoch: u64,
    offset: u64,
    sender: &'a Name,
    slots: &'a SlotBytes,
    master: &'a Name,
    ip: &'a [u8; 46],
    extensions: u16,
    other_port: u16,
    bus_port: u16,
    flags: u16,
    state: u8,
    mflags: u8,
}

fn head<'a>(input: &mut Input<'a>) -> Result<Head<'a>, Short> {
    input.take::<4>()?;
    let length = input.u32()?;
    let [version, port, kind, count] = input.u16s()?;
    let [current_epoch, config_epoch, offset] = [input.u64()?, input.u64()?, input.u64()?];
    let (sender, slots, master, ip) = (input.take()?, input.take()?, input.take()?, input.take()?);
    let extensions = input.u16()?;
    input.take::<30>()?;
    let [other_port, bus_port, flags] = input.u16s()?;
    let [state, mflags, _, _] = *input.take()?;
    Ok(Head {
        length,
        version,
        port,
        kind,
        count,
        current_epoch,
        config_epoch,
        offset,
        sender,
        slots,
        master,
        ip,
        extensions,
        other_port,
        bus_port,
        flags,
        state,
        mflags,
    })
}

impl<'a> Head<'a> {
    fn checked(&self, kind: Kind) -> Result<Header<'a>, Bad> {
        let master = (self.master != &[0; 40]).then(|| id(self.master, kind)).transpose()?;
        Ok(Header {
            port: self.port,
            current_epoch: self.current_epoch,
            config_epoch: self.config_epoch,
            offset: self.offset,
            sender: id(self.sender, kind)?,
            slots: self.slots,
            master,
            ip: address(self.ip),
            other_port: self.other_port,
            bus_port: self.bus_port,
            flags: Flags(self.flags),
            failed: self.state != 0,
            mflags: self.mflags,
        })
    }
}

/// Is this an id as nodes make them? Small letters beyond `f` are let through: some tools use them.
pub fn is_id(name: &[u8]) -> bool {
    name.len() == 40 && name.iter().all(|b| b.is_ascii_digit() || b.is_ascii_lowercase())
}

fn id(name: &Name, kind: Kind) -> Result<&Name, Bad> {
    if is_id(name) { Ok(name) } else { Err(Bad::Id(kind)) }
}

/// What stands before the first zero byte.
fn cut_nul(text: &[u8]) -> &[u8] {
    text.split(|&b| b == 0).next().unwrap_or(text)
}

/// A text that is no address is none: `cluster-announce-ip` takes any on other nodes.
fn address(text: &[u8; 46]) -> Option<IpAddr> {
    std::str::from_utf8(cut_nul(text)).ok()?.parse().ok()
}

/// An entry of 104 bytes.
fn entry(bytes: &[u8]) -> Result<Gossip<'_>, Bad> {
    let mut input = Input(bytes);
    let mut parts = || -> Result<Gossip<'_>, Short> {
        let name = input.take()?;
        let (ping_sent, pong_received) = (input.u32()?, input.u32()?);
        let ip = address(input.take()?);
        let [port, bus_port, flags, other_port, _] = input.u16s()?;
        let flags = Flags(flags).only(Flags::GOSSIP);
        Ok(Gossip { name, ping_sent, pong_received, ip, port, bus_port, other_port, flags })
    };
    let gossip = parts().map_err(|Short| Bad::Length(Kind::Ping, bytes.len() as u64))?;
    if is_id(gossip.name) { Ok(gossip) } else { Err(Bad::Id(Kind::Ping)) }
}

fn gossip_body<'a>(
    input: &mut Input<'a>,
    kind: Kind,
    head: &Head<'a>,
    total: u64,
) -> Result<(Entries<'a>, Exts<'a>), Bad> {
    let length = ENTRY as u64 * u64::from(head.count);
    let length = u32::try_from(length).map_err(|_| Bad::Length(kind, total))?;
    let entries = input.bytes(length).map_err(|Short| Bad::Length(kind, total))?;
    if !entries.chunks_exact(ENTRY).all(|e| entry(e).is_ok()) {
        return Err(Bad::Id(kind));
    }
    if head.extensions > 0 && head.mflags & EXT_DATA == 0 {
        return Err(Bad::Extensions(kind));
    }
    let bytes = input.0;
    for _ in 0..head.extensions {
        ext(input).map_err(|bad| bad.of(kind))?;
    }
    // What is left over makes the lengths differ, which the caller refuses.
    let bytes = bytes.get(..bytes.len() - input.0.len()).unwrap_or_default();
    Ok((Entries(entries), Exts { bytes, count: head.extensions }))
}

impl Bad {
    fn of(self, kind: Kind) -> Bad {
        match self {
            Bad::Padding(_) => Bad::Padding(kind),
            Bad::Extensions(_) => Bad::Extensions(kind),
            Bad::Id(_) => Bad::Id(kind),
            Bad::Text(_) => Bad::Text(kind),
            other => other,
        }
    }
}

/// The next extension; None for one of an unknown type.
fn ext<'a>(input: &mut Input<'a>) -> Result<Option<Ext<'a>>, Bad> {
    let kind = Kind::Ping;
    let length = input.u32().map_err(|Short| Bad::Extensions(kind))?;
    let [number, _] = input.u16s().map_err(|Short| Bad::Extensions(kind))?;
    if length < 8 || length % 8 != 0 {
        return Err(Bad::Padding(kind));
    }
    let data = input.bytes(length - 8).map_err(|Short| Bad::Extensions(kind))?;
    let mut parts = Input(data);
    let padding = |Short| Bad::Padding(kind);
    Ok(match number {
        0 => Some(Ext::Hostname(hostname(text(data)?)?)),
        1 => Some(Ext::Nodename(nodename(text(data)?)?)),
        2 => {
            let node = id(parts.take().map_err(padding)?, kind)?;
            let seconds = parts.u64().map_err(padding)?;
            Some(Ext::Forgotten { node, seconds })
        }
        3 => Some(Ext::Shard(id(parts.take().map_err(padding)?, kind)?)),
        _ => None,
    })
}

/// The text before the zero byte, which has to be there.
fn text(data: &[u8]) -> Result<&[u8], Bad> {
    if data.contains(&0) { Ok(cut_nul(data)) } else { Err(Bad::Text(Kind::Ping)) }
}

/// As `cluster-announce-hostname` is checked.
fn hostname(text: &[u8]) -> Result<&str, Bad> {
    let fine = |b: &u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.');
    if text.len() >= 256 || !text.iter().all(fine) {
        return Err(Bad::Text(Kind::Ping));
    }
    std::str::from_utf8(text).map_err(|_| Bad::Text(Kind::Ping))
}

/// May this stand in an auxiliary field of nodes.conf, and so in `cluster-announce-human-nodename`?
pub fn is_aux_text(text: &[u8]) -> bool {
    !text.iter().any(|b| b"!#$%&()*+:;<>?@[]^{|}~\0".contains(b))
}

/// As `cluster-announce-human-nodename` is checked, and nothing that breaks a line of the log.
fn nodename(text: &[u8]) -> Result<&[u8], Bad> {
    let fine = is_aux_text(text) && !text.iter().any(u8::is_ascii_control);
    if fine { Ok(text) } else { Err(Bad::Text(Kind::Ping)) }
}
