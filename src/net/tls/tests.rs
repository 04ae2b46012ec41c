use super::pipe::Pipe;
use super::session::Session;
use super::testing::{Authority, EVENT, Issued, Pair, Wish};
use super::{CertRole, ClientAuth, Contexts, Identity, Settings};
use crate::algo::rng::Rng;
use crate::net::reactor::Ready;
use crate::net::stream::{Allowed, Read, Written};
use crate::sys::clock::unix_ms;
use crate::sys::testing::TempDir;
use std::io::IoSlice;
use std::path::PathBuf;

const DAY: i64 = 86_400;

fn now() -> i64 {
    unix_ms() / 1000
}

/// Files of an authority, and settings that use them.
struct Files {
    dir: TempDir,
    ca: Authority,
}

impl Files {
    fn new(name: &str) -> Files {
        let dir = TempDir::new(name);
        let ca = Authority::new(name, now()).expect("keys can be made");
        std::fs::write(dir.join("ca.crt"), ca.cert().expect("PEM")).expect("our folder");
        Files { dir, ca }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    fn named(&self, name: &str) -> Option<Vec<u8>> {
        Some(self.path(name).to_str().expect("a plain name").into())
    }

    fn write(&self, name: &str, bytes: &[u8]) {
        std::fs::write(self.path(name), bytes).expect("our folder");
    }

    fn issue(&self, wish: Wish<'_>) -> Issued {
        let issued = self.ca.issue(&wish, now()).expect("keys can be made");
        self.write(&format!("{}.crt", wish.name), &issued.cert);
        self.write(&format!("{}.key", wish.name), &issued.key);
        issued
    }

    fn identity(&self, name: &str) -> Identity {
        Identity {
            cert_file: self.named(&format!("{name}.crt")),
            key_file: self.named(&format!("{name}.key")),
            key_file_pass: None,
        }
    }

    /// With a certificate of its own for `server`.
    fn settings(&self) -> Settings {
        self.issue(Wish::named("server"));
        Settings {
            server: self.identity("server"),
            ca_cert_file: self.named("ca.crt"),
            verifies: true,
            sessions: Some((20480, 300)),
            ..Settings::default()
        }
    }
}

fn fault(settings: &Settings) -> String {
    match Contexts::build(settings, now()) {
        Ok(_) => panic!("it must fail"),
        Err(why) => why,
    }
}

fn build(settings: &Settings) -> Contexts {
    Contexts::build(settings, now()).unwrap_or_else(|why| panic!("{why}"))
}

// ---- contexts ----------------------------------------------------------------------------------

#[test]
fn what_is_missing_is_told() {
    let f = Files::new("tls-missing");
    let good = f.settings();
    let mut s = good.clone();
    s.server.key_file = None;
    assert_eq!(fault(&s), "No tls-key-file configured!");
    s.server.cert_file = None;
    assert_eq!(fault(&s), "No tls-cert-file configured!");
    let s = Settings { ca_cert_file: None, ..good.clone() };
    assert!(fault(&s).starts_with("Either tls-ca-cert-file or tls-ca-cert-dir must be specified when"));
    build(&Settings { verifies: false, ..s.clone() });
    let dir = f.dir.join(".").to_str().expect("a plain name").into();
    build(&Settings { ca_cert_dir: Some(dir), ..s });
}

#[test]
fn files_that_cannot_be_used_are_told_with_the_reason() {
    let f = Files::new("tls-files");
    let good = f.settings();
    f.issue(Wish::named("other"));
    f.write("bad.pem", b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n");
    let with = |change: &dyn Fn(&mut Settings)| {
        let mut s = good.clone();
        change(&mut s);
        fault(&s)
    };
    let missing = f.named("nothing.pem");
    let shown = f.path("nothing.pem").display().to_string();
    let text = with(&|s| s.server.cert_file = missing.clone());
    assert!(
        text.starts_with(&format!("Failed to load certificate: {shown}: error:80000002:")),
        "{text}"
    );
    assert!(text.ends_with("No such file or directory"), "{text}");
    let text = with(&|s| s.server.key_file = missing.clone());
    let expected = "error:80000002:system library::No such file or directory";
    assert_eq!(text, format!("Failed to load private key: {shown}: {expected}"));
    let text = with(&|s| s.ca_cert_file = missing.clone());
    assert!(text.starts_with("Failed to configure CA certificate(s) file/directory: error:"), "{text}");
    let text = with(&|s| s.dh_params_file = missing.clone());
    assert_eq!(text, format!("Failed to load {shown}: No such file or directory"));
    let text = with(&|s| s.dh_params_file = f.named("server.crt"));
    assert_eq!(text, format!("{}: failed to read DH params.", f.path("server.crt").display()));
    let text = with(&|s| s.server.cert_file = f.named("bad.pem"));
    assert!(text.starts_with("Failed to load certificate: "), "{text}");
    let text = with(&|s| s.server.cert_file = Some(b"\xff\xfe".to_vec()));
    assert!(text.ends_with("not UTF-8"), "{text}");
    let text = with(&|s| s.server.key_file = f.named("other.key"));
    assert!(text.ends_with("key values mismatch"), "{text}");
    let text = with(&|s| s.client = Identity { key_file: missing.clone(), ..f.identity("other") });
    assert!(text.starts_with("Failed to load private key: "), "{text}");
    // One of the two alone is no client's certificate.
    build(&Settings { client: Identity { cert_file: missing, ..Identity::default() }, ..good });
}

#[test]
fn lists_are_those_of_openssl() {
    let f = Files::new("tls-lists");
    let good = f.settings();
    let list = |text: &str| Some(text.as_bytes().to_vec());
    for text in ["TLSv1.2", "TLSv1.3", "tlsv1 TLSv1.1 TLSv1.2", "TLSv1.2 TLSv1.3"] {
        build(&Settings { protocols: list(text), ..good.clone() });
    }
    for text in ["SSLv3", "TLSv1.2  TLSv1.3", " ", "TLSv1.2,TLSv1.3"] {
        let text = fault(&Settings { protocols: list(text), ..good.clone() });
        assert!(text.starts_with("Invalid tls-protocols specified. Use a combination of 'TLSv1', "));
    }
    for text in ["DEFAULT", "DEFAULT:-AES128-SHA256", "AES128-SHA256:AES256-SHA256", "ALL:@SECLEVEL=0"] {
        build(&Settings { ciphers: list(text), ..good.clone() });
    }
    let text = fault(&Settings { ciphers: list("NOTHING"), ..good.clone() });
    assert_eq!(text, "Failed to configure ciphers: NOTHING");
    build(&Settings { ciphersuites: list("TLS_CHACHA20_POLY1305_SHA256"), ..good.clone() });
    let text = fault(&Settings { ciphersuites: list("TLS_NOTHING"), ..good.clone() });
    assert_eq!(text, "Failed to configure ciphersuites: TLS_NOTHING");
    build(&Settings { prefer_server_ciphers: true, sessions: None, ..good });
}

#[test]
fn encrypted_keys_need_their_password() {
    use openssl::pkey::PKey;
    use openssl::symm::Cipher;
    let f = Files::new("tls-keys");
    let mut s = f.settings();
    let issued = f.issue(Wish { rsa: true, ..Wish::named("server") });
    let key = PKey::private_key_from_pem(&issued.key).expect("PEM");
    let rsa = key.rsa().expect("an RSA key");
    let cipher = Cipher::aes_256_cbc;
    let forms = [
        key.private_key_to_pem_pkcs8_passphrase(cipher(), b"1234").expect("PEM"),
        rsa.private_key_to_pem_passphrase(cipher(), b"1234").expect("PEM"),
    ];
    assert!(String::from_utf8_lossy(&forms[1]).contains("Proc-Type: 4,ENCRYPTED"));
    for form in forms {
        f.write("server.key", &form);
        for wrong in [None, Some(b"12345".to_vec()), Some(b"".to_vec())] {
            s.server.key_file_pass = wrong;
            assert!(fault(&s).starts_with("Failed to load private key: "));
        }
        s.server.key_file_pass = Some(b"1234".to_vec());
        build(&s);
    }
}

#[test]
fn certificates_tell_their_serial_and_their_end() {
    let f = Files::new("tls-facts");
    let mut s = f.settings();
    f.issue(Wish { lasts: 5 * DAY, serial: 0xabc, ..Wish::named("client") });
    s.client = f.identity("client");
    let all = build(&s);
    let [server, client, ca] = all.certificates() else { panic!("{all:?}") };
    assert_eq!((server.role, client.role, ca.role), (CertRole::Server, CertRole::Client, CertRole::Ca));
    assert_eq!(client.serial, "0ABC");
    let left = client.expires - now();
    assert!((5 * DAY - 60..=5 * DAY).contains(&left), "{left}");
    assert!(server.expires - now() > 300 * DAY);
}

// ---- sessions ----------------------------------------------------------------------------------

fn sessions(from: &Contexts, to: &Contexts, asks: ClientAuth, room: usize) -> Pair {
    Pair::new(from, to, asks, room).expect("sessions")
}

/// Writes what is left of `text` as the loop would, in one record or several pieces.
fn write_some<P: Pipe>(s: &mut Session<P>, text: &[u8], at: &mut usize, rng: &mut Rng) {
    let rest = &text[*at..];
    if rest.is_empty() {
        return;
    }
    let written = if rng.index(2) == 0 {
        s.write(rest)
    } else {
        let (a, b) = rest.split_at(rng.index(rest.len().min(40) + 1));
        s.write_vectored(&[IoSlice::new(a), IoSlice::new(b)])
    };
    match written.expect("the session is whole") {
        Written::Taken(n) => *at += n,
        Written::Full => {}
    }
}

/// Reads up to `max` bytes. What is drained stays so until the next event.
fn read_some<P: Pipe>(s: &mut Session<P>, to: &mut Vec<u8>, max: usize) {
    let before = to.len();
    match s.read_into(to, max).expect("the session is whole") {
        Read::More(n) => assert_eq!(to.len() - before, n),
        Read::Drained(n) => {
            assert_eq!(to.len() - before, n);
            assert_eq!(s.read_into(to, max).expect("whole"), Read::Drained(0));
        }
        Read::End => panic!("the peer has not left"),
    }
}

/// Texts in both directions, with bytes that arrive `cut()` at a time; what arrives is what was sent.
fn converse(pair: &mut Pair, rng: &mut Rng, sizes: [usize; 2], mut cut: impl FnMut(&mut Rng) -> usize) {
    let mut text = |n: usize| (0..n).map(|_| rng.index(256) as u8).collect::<Vec<u8>>();
    let texts = [text(sizes[0]), text(sizes[1])];
    let (mut at, mut got) = ([0, 0], [Vec::new(), Vec::new()]);
    for turn in 0.. {
        assert!(turn < 10_000_000, "no end");
        if rng.index(50) == 0 {
            let side = if rng.index(2) == 0 { &mut pair.client } else { &mut pair.server };
            // It refuses while a record waits to be sent, and with TLS 1.2.
            side.update_keys(false);
        }
        write_some(&mut pair.client, &texts[0], &mut at[0], rng);
        write_some(&mut pair.server, &texts[1], &mut at[1], rng);
        let n = cut(rng);
        pair.move_on(n);
        read_some(&mut pair.server, &mut got[0], 1 + rng.index(20_000));
        read_some(&mut pair.client, &mut got[1], 1 + rng.index(20_000));
        if got[0].len() == sizes[0] && got[1].len() == sizes[1] {
            break;
        }
    }
    assert!(got == texts);
}

#[test]
fn bytes_arrive_as_they_were_sent_however_they_are_cut() {
    let f = Files::new("tls-cut");
    let both = build(&f.settings());
    let old = build(&Settings { protocols: Some(b"TLSv1.2".to_vec()), ..f.settings() });
    for (seed, contexts) in (0..40).flat_map(|seed| [(seed, &both), (seed, &old)]) {
        let mut rng = Rng::seeded(seed);
        let room = [300, 20_000, 1 << 20][rng.index(3)];
        let mut pair = sessions(contexts, contexts, ClientAuth::Required, room);
        pair.open(1 + rng.index(2000)).expect("both have certificates");
        let sizes = [rng.index(100_000), rng.index(100_000)];
        let most = [40, 3000, 60_000][rng.index(3)];
        converse(&mut pair, &mut rng, sizes, |rng| rng.index(most));
    }
    let mut pair = sessions(&both, &both, ClientAuth::Required, 1 << 20);
    pair.open(1).expect("byte by byte");
    converse(&mut pair, &mut Rng::seeded(7), [5_000, 40_000], |_| 1);
}

#[test]
fn clients_are_asked_for_certificates_as_configured() {
    let f = Files::new("tls-auth");
    let server = build(&f.settings());
    // No client has this authority's certificate.
    let stranger = Files::new("tls-auth-other");
    let foreign = build(&Settings { ca_cert_file: f.named("ca.crt"), ..stranger.settings() });
    for (asks, lets_in) in
        [(ClientAuth::No, true), (ClientAuth::Optional, false), (ClientAuth::Required, false)]
    {
        let mut pair = sessions(&foreign, &server, asks, 1 << 20);
        let opened = pair.open(1 << 20);
        assert_eq!(opened.is_ok(), lets_in, "{asks:?}: {opened:?}");
        if let Err(why) = opened {
            assert!(why.starts_with("error:"), "{why}");
        }
    }
    // Of version 1, as the test certificates of Redis are.
    f.issue(Wish { first_version: true, rsa: true, ..Wish::named("old") });
    let old = build(&Settings { server: f.identity("old"), ..f.settings() });
    sessions(&old, &old, ClientAuth::Required, 1 << 20).open(999).expect("version 1 is good enough");
    f.issue(Wish { lasts: -DAY, ..Wish::named("late") });
    let late = build(&Settings { server: f.identity("late"), ..f.settings() });
    let why = sessions(&server, &late, ClientAuth::No, 1 << 20).open(1 << 20).expect_err("it is over");
    assert!(why.contains("certificate"), "{why}");
}

#[test]
fn ciphers_are_chosen_as_configured() {
    let f = Files::new("tls-ciphers");
    f.issue(Wish { rsa: true, ..Wish::named("rsa") });
    let with = |ciphers: &str, prefers| {
        build(&Settings {
            server: f.identity("rsa"),
            protocols: Some(b"TLSv1.2".to_vec()),
            ciphers: Some(ciphers.into()),
            prefer_server_ciphers: prefers,
            ..f.settings()
        })
    };
    let client = with("AES256-SHA256:AES128-SHA256", false);
    for (prefers, cipher) in [(false, "AES256-SHA256"), (true, "AES128-SHA256")] {
        let server = with("AES128-SHA256:AES256-SHA256", prefers);
        let mut pair = sessions(&client, &server, ClientAuth::No, 1 << 20);
        pair.open(1 << 20).expect("they have both in common");
        assert_eq!(pair.server.cipher(), cipher);
    }
    let server = with("DEFAULT:-AES128-SHA256", false);
    let client = with("AES128-SHA256", false);
    let mut pair = sessions(&client, &server, ClientAuth::No, 1 << 20);
    assert!(pair.open(1 << 20).is_err());
    assert_eq!(pair.server.handshake(), Err("error:0A0000C1:SSL routines::no shared cipher".into()));
}

#[test]
fn the_end_is_an_end_with_and_without_farewell() {
    let f = Files::new("tls-end");
    let contexts = build(&f.settings());
    for farewell in [true, false] {
        let mut pair = sessions(&contexts, &contexts, ClientAuth::Required, 1 << 20);
        pair.open(1 << 20).expect("both have certificates");
        assert_eq!(pair.client.write(b"last words").expect("room"), Written::Taken(10));
        if farewell {
            pair.client.farewell();
            assert!(pair.client.write(b"more").is_err(), "nothing follows it");
        }
        pair.move_on(1 << 20);
        pair.arrived[0].lock().expect("one thread").closed = true;
        pair.server.signalled(&Ready { closed: true, ..EVENT });
        let mut got = Vec::new();
        assert_eq!(pair.server.read_into(&mut got, 100).expect("whole"), Read::More(10));
        assert_eq!(pair.server.read_into(&mut got, 100).expect("an end"), Read::End);
        assert_eq!(pair.server.read_into(&mut got, 100).expect("an end"), Read::End);
        assert_eq!(got, b"last words");
    }
    // In the middle of the handshake it is none.
    let mut pair = sessions(&contexts, &contexts, ClientAuth::Required, 1 << 20);
    assert_eq!(pair.client.handshake(), Ok(false));
    pair.move_on(20);
    assert_eq!(pair.server.handshake(), Ok(false));
    pair.arrived[0].lock().expect("one thread").closed = true;
    pair.server.signalled(&Ready { closed: true, ..EVENT });
    let why = pair.server.handshake().expect_err("half a hello");
    assert_eq!(why, "error:0A000126:SSL routines::unexpected eof while reading");
    assert!(pair.server.read_into(&mut Vec::new(), 1).is_err() && pair.server.write(b"x").is_err());
}

#[test]
fn plain_bytes_are_no_handshake_and_damage_ends_a_session() {
    let f = Files::new("tls-damage");
    let contexts = build(&f.settings());
    let mut pair = sessions(&contexts, &contexts, ClientAuth::No, 1 << 20);
    pair.arrived[0].lock().expect("one thread").bytes.extend(b"*1\r\n$4\r\nPING\r\n");
    let why = pair.server.handshake().expect_err("it is none");
    assert!(why.starts_with("error:0A00"), "{why}");
    let mut pair = sessions(&contexts, &contexts, ClientAuth::No, 1 << 20);
    pair.open(1 << 20).expect("both have certificates");
    pair.client.write(b"good").expect("room");
    pair.client.write(b"damaged").expect("room");
    if let Some(last) = pair.sent[0].lock().expect("one thread").bytes.back_mut() {
        *last ^= 1;
    }
    pair.move_on(1 << 20);
    let mut got = Vec::new();
    assert_eq!(pair.server.read_into(&mut got, 100).expect("what came before"), Read::More(4));
    let e = pair.server.read_into(&mut got, 100).expect_err("it is not what was sent");
    assert!(e.to_string().contains("decryption failed or bad record mac"), "{e}");
    assert!(pair.server.write(b"x").is_err(), "nothing is said to such a peer");
}

#[test]
fn what_was_refused_must_be_offered_again() {
    let f = Files::new("tls-refused");
    let contexts = build(&f.settings());
    let fill = || {
        let mut pair = sessions(&contexts, &contexts, ClientAuth::Required, 20_000);
        pair.open(1 << 20).expect("both have certificates");
        let text = vec![b'x'; 10_000];
        while pair.client.write(&text).expect("whole") != Written::Full {}
        pair
    };
    let longer = vec![b'x'; 30_000];
    let mut pair = fill();
    pair.move_on(1 << 20);
    assert_eq!(pair.client.write(&longer).expect("the same begin"), Written::Taken(10_000));
    assert_eq!(pair.client.write(&longer).expect("whole"), Written::Taken(16_384));
    for other in [&longer[..9_999], b"something else"] {
        let mut pair = fill();
        pair.move_on(1 << 20);
        assert!(pair.client.write(other).is_err());
        assert!(pair.client.write(&longer).is_err(), "a record was made of other bytes");
    }
}

#[test]
fn a_peer_may_ask_for_keys_while_a_record_for_it_waits() {
    let f = Files::new("tls-keys-asked");
    let contexts = build(&f.settings());
    let mut pair = sessions(&contexts, &contexts, ClientAuth::No, 20_000);
    pair.open(1 << 20).expect("the certificate is good");
    pair.move_on(1 << 20);
    let text = vec![b'x'; 9_000];
    let mut taken = 0;
    while let Written::Taken(n) = pair.server.write(&text).expect("whole") {
        taken += n;
    }
    assert!(pair.client.update_keys(true));
    let records = pair.records(b"text").expect("room");
    let mut got = Vec::new();
    assert!(pair.server_takes(&records, &mut got));
    assert_eq!(got, b"text");
    let mut back = Vec::new();
    for _ in 0..4 {
        pair.move_on(1 << 20);
        if let Written::Taken(n) = pair.server.write(&text).expect("whole") {
            taken += n;
        }
        pair.client.read_into(&mut back, 1 << 20).expect("whole");
    }
    pair.move_on(1 << 20);
    pair.client.read_into(&mut back, 1 << 20).expect("whole");
    assert!(back.len() == taken && back.iter().all(|b| *b == b'x'));
}

#[test]
fn events_answer_what_a_session_waits_for() {
    let f = Files::new("tls-events");
    let contexts = build(&f.settings());
    let mut pair = sessions(&contexts, &contexts, ClientAuth::No, 1 << 20);
    let only = |readable, writable, closed| Ready { token: 0, readable, writable, closed };
    let nothing = Allowed { read: false, write: false };
    // A handshake goes on when what it waits for has come: the server's by a hello.
    assert_eq!(pair.server.signalled(&only(false, true, false)), nothing);
    assert_eq!(pair.server.signalled(&only(true, false, false)), Allowed { read: true, write: false });
    assert_eq!(pair.client.signalled(&only(true, false, false)), nothing, "it begins to write");
    assert!(pair.client.waits_to_write() && !pair.server.waits_to_write());
    pair.open(1 << 20).expect("the certificate is good");
    assert_eq!(pair.server.signalled(&only(false, true, false)), Allowed { read: false, write: true });
    assert_eq!(pair.server.signalled(&only(false, false, true)), Allowed { read: true, write: false });
}

#[test]
fn many_small_records_are_taken_in_shares() {
    let f = Files::new("tls-small");
    let contexts = build(&f.settings());
    let mut pair = sessions(&contexts, &contexts, ClientAuth::Required, 1 << 20);
    pair.open(1 << 20).expect("both have certificates");
    for _ in 0..1000 {
        assert_eq!(pair.client.write(b"1").expect("room"), Written::Taken(1));
    }
    pair.move_on(1 << 20);
    let (mut got, mut reads) = (Vec::new(), 0);
    while matches!(pair.server.read_into(&mut got, 16_384).expect("whole"), Read::More(1..=64)) {
        reads += 1;
    }
    assert_eq!(got.len(), 1000);
    assert!(reads >= 15, "{reads}");
}
