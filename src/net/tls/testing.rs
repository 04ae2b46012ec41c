//! For tests, here and under `tests/`: certificates that are made on the spot, and a wire in memory.

use super::pipe::Pipe;
use super::session::Session;
use super::{ClientAuth, Contexts};
use crate::net::reactor::Ready;
use crate::net::stream::{Read as StreamRead, Written};
use openssl::asn1::{Asn1Integer, Asn1Time};
use openssl::bn::BigNum;
use openssl::ec::{EcGroup, EcKey};
use openssl::error::ErrorStack;
use openssl::hash::MessageDigest;
use openssl::nid::Nid;
use openssl::pkey::{PKey, Private};
use openssl::rsa::Rsa;
use openssl::x509::extension::BasicConstraints;
use openssl::x509::{X509, X509NameBuilder};
use std::collections::VecDeque;
use std::io::{self, ErrorKind, Read, Write};
use std::path::Path;
use std::sync::{Arc, Mutex};

const YEAR: i64 = 365 * 86_400;

/// A certificate and its key, in PEM.
#[derive(Debug, Clone)]
pub struct Issued {
    pub cert: Vec<u8>,
    pub key: Vec<u8>,
}

/// How a certificate is to be.
#[derive(Debug, Clone, Copy)]
pub struct Wish<'a> {
    pub name: &'a str,
    /// Seconds from now until it runs out; below 0 it has.
    pub lasts: i64,
    /// RSA with 2048 bits, and not P-256.
    pub rsa: bool,
    /// X.509 version 1, without extensions.
    pub first_version: bool,
    pub serial: u32,
}

impl<'a> Wish<'a> {
    pub fn named(name: &'a str) -> Wish<'a> {
        Wish { name, lasts: YEAR, rsa: false, first_version: false, serial: 1 }
    }
}

/// Signs certificates.
pub struct Authority {
    cert: X509,
    key: PKey<Private>,
}

fn new_key(rsa: bool) -> Result<PKey<Private>, ErrorStack> {
    match rsa {
        true => PKey::from_rsa(Rsa::generate(2048)?),
        false => {
            let group = EcGroup::from_curve_name(Nid::X9_62_PRIME256V1)?;
            PKey::from_ec_key(EcKey::generate(&group)?)
        }
    }
}

/// Signed by `by`, or by its own key as an authority.
fn certificate(
    wish: &Wish<'_>,
    key: &PKey<Private>,
    by: Option<&Authority>,
    now: i64,
) -> Result<X509, ErrorStack> {
    let mut name = X509NameBuilder::new()?;
    name.append_entry_by_text("CN", wish.name)?;
    let name = name.build();
    let mut b = X509::builder()?;
    b.set_version(if wish.first_version { 0 } else { 2 })?;
    let serial = Asn1Integer::from_bn(&*BigNum::from_u32(wish.serial)?)?;
    b.set_serial_number(&serial)?;
    b.set_subject_name(&name)?;
    b.set_issuer_name(by.map_or(&*name, |a| a.cert.subject_name()))?;
    b.set_not_before(&*Asn1Time::from_unix(now - YEAR)?)?;
    b.set_not_after(&*Asn1Time::from_unix(now + wish.lasts)?)?;
    b.set_pubkey(key)?;
    if by.is_none() {
        b.append_extension(BasicConstraints::new().critical().ca().build()?)?;
    }
    b.sign(by.map_or(key, |a| &a.key), MessageDigest::sha256())?;
    Ok(b.build())
}

impl Authority {
    /// `now`: Unix seconds.
    pub fn new(name: &str, now: i64) -> Result<Authority, ErrorStack> {
        let key = new_key(false)?;
        let cert = certificate(&Wish::named(name), &key, None, now)?;
        Ok(Authority { cert, key })
    }

    pub fn cert(&self) -> Result<Vec<u8>, ErrorStack> {
        self.cert.to_pem()
    }

    pub fn issue(&self, wish: &Wish<'_>, now: i64) -> Result<Issued, ErrorStack> {
        let key = new_key(wish.rsa)?;
        let cert = certificate(wish, &key, Some(self), now)?;
        Ok(Issued { cert: cert.to_pem()?, key: key.private_key_to_pem_pkcs8()? })
    }

    /// Writes `NAME.crt` and `NAME.key` of a new certificate into a folder.
    pub fn issue_into(&self, dir: &Path, wish: &Wish<'_>, now: i64) -> io::Result<()> {
        let issued = self.issue(wish, now)?;
        std::fs::write(dir.join(format!("{}.crt", wish.name)), issued.cert)?;
        std::fs::write(dir.join(format!("{}.key", wish.name)), issued.key)
    }
}

/// One direction of a wire.
#[derive(Debug, Default)]
pub struct Lane {
    pub bytes: VecDeque<u8>,
    /// The sender has closed it.
    pub closed: bool,
}

/// Bytes on their way; the test moves them on.
pub type SharedLane = Arc<Mutex<Lane>>;

/// One end of a wire: what has arrived, and what is sent.
#[derive(Debug)]
pub struct MemoryPipe {
    arrived: SharedLane,
    sent: SharedLane,
    /// So many bytes may be sent and not moved on.
    room: usize,
    dry: bool,
    ended: bool,
}

impl MemoryPipe {
    pub fn new(arrived: &SharedLane, sent: &SharedLane, room: usize) -> MemoryPipe {
        MemoryPipe { arrived: arrived.clone(), sent: sent.clone(), room, dry: false, ended: false }
    }
}

fn lane(lane: &SharedLane) -> io::Result<std::sync::MutexGuard<'_, Lane>> {
    lane.lock().map_err(|_| io::Error::other("a test has failed"))
}

impl Pipe for MemoryPipe {
    fn is_dry(&self) -> bool {
        self.dry
    }

    fn has_ended(&self) -> bool {
        self.ended
    }

    fn refill(&mut self, _closed: bool) {
        self.dry = false;
    }
}

impl Read for MemoryPipe {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let mut arrived = lane(&self.arrived)?;
        if self.dry || arrived.bytes.is_empty() && !arrived.closed {
            self.dry = true;
            return Err(ErrorKind::WouldBlock.into());
        }
        let n = arrived.bytes.read(buf)?;
        self.ended = n == 0;
        self.dry = n < buf.len() && !arrived.closed;
        Ok(n)
    }
}

impl Write for MemoryPipe {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        let mut sent = lane(&self.sent)?;
        let n = self.room.saturating_sub(sent.bytes.len()).min(buf.len());
        if n == 0 {
            return Err(ErrorKind::WouldBlock.into());
        }
        sent.bytes.extend(&buf[..n]);
        Ok(n)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// An event for both directions.
pub(super) const EVENT: Ready = Ready { token: 0, readable: true, writable: true, closed: false };

/// Two sessions, and the bytes between them.
pub struct Pair {
    pub client: Session<MemoryPipe>,
    pub server: Session<MemoryPipe>,
    /// Sent by the client, by the server; and arrived there.
    pub sent: [SharedLane; 2],
    pub arrived: [SharedLane; 2],
}

impl Pair {
    pub fn new(from: &Contexts, to: &Contexts, asks: ClientAuth, room: usize) -> io::Result<Pair> {
        let lanes: [SharedLane; 4] = Default::default();
        let [up_sent, up, down_sent, down] = &lanes;
        let client = MemoryPipe::new(down, up_sent, room);
        let server = MemoryPipe::new(up, down_sent, room);
        Ok(Pair {
            client: Session::client(from.outgoing(), client, "localhost")?,
            server: Session::server(to.incoming(), server, asks)?,
            sent: [up_sent.clone(), down_sent.clone()],
            arrived: [up.clone(), down.clone()],
        })
    }

    /// Moves up to `n` bytes on in each direction, and signals. How many were there?
    pub fn move_on(&mut self, n: usize) -> usize {
        let mut moved = 0;
        for (sent, arrived) in self.sent.iter().zip(&self.arrived) {
            let (Ok(mut sent), Ok(mut arrived)) = (lane(sent), lane(arrived)) else { return 0 };
            let k = n.min(sent.bytes.len());
            arrived.bytes.extend(sent.bytes.drain(..k));
            moved += k;
        }
        self.client.signalled(&EVENT);
        self.server.signalled(&EVENT);
        moved
    }

    /// Until both are open or one has failed.
    pub fn open(&mut self, n: usize) -> Result<(), String> {
        for _ in 0..100_000 {
            let (a, b) = (self.client.handshake(), self.server.handshake());
            let moved = self.move_on(n);
            match (a, b) {
                (Ok(true), Ok(true)) => return Ok(()),
                // What the one says of it reaches the other first.
                (Err(why), _) | (_, Err(why)) if moved == 0 => return Err(why),
                _ => {}
            }
        }
        Err("a handshake without end".into())
    }

    /// The records that the client makes of a text.
    pub fn records(&mut self, text: &[u8]) -> io::Result<Vec<u8>> {
        match self.client.write(text)? {
            Written::Taken(n) if n == text.len() => Ok(lane(&self.sent[0])?.bytes.drain(..).collect()),
            _ => Err(ErrorKind::WriteZero.into()),
        }
    }

    /// What the server's session makes of these bytes, handshake or not; false when it breaks.
    pub fn server_takes(&mut self, bytes: &[u8], text: &mut Vec<u8>) -> bool {
        let Ok(mut arrived) = lane(&self.arrived[0]) else { return false };
        arrived.bytes.extend(bytes);
        drop(arrived);
        self.server.signalled(&EVENT);
        match self.server.handshake() {
            Ok(true) => {}
            pending => return pending.is_ok(),
        }
        loop {
            match self.server.read_into(text, 1000) {
                Ok(StreamRead::More(_)) => {}
                Ok(StreamRead::Drained(_)) => return true,
                Ok(StreamRead::End) | Err(_) => return false,
            }
        }
    }
}
