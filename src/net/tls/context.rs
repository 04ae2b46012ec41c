//! Contexts: what all sessions of a kind share.
//!
//! ```text
//! files ─► certificate, key, CA ─┐
//! protocols, ciphers ────────────┼─► server context ─► accepted connections
//! DH parameters, resumption ─────┘        └──────────► outgoing ones, unless there is a client context
//! client's certificate and key ──────► client context ─► outgoing connections
//! ```
//!
//! The texts of failures are those that tools match in the log. A path or a list ends at its first zero byte,
//! as the C strings do that libssl takes.

use super::pipe::SocketPipe;
use super::session::Session;
use super::{CertFacts, CertRole, ClientAuth, Identity, Settings, Tls};
use crate::sys::{errno, tls};
use mio::net::TcpStream;
use openssl::asn1::Asn1Time;
use openssl::dh::Dh;
use openssl::error::{Error, ErrorStack};
use openssl::pkey::{PKey, Private};
use openssl::ssl::{
    SslContext, SslContextBuilder, SslMethod, SslMode, SslOptions, SslSessionCacheMode, SslVerifyMode,
};
use openssl::x509::{X509, X509Ref};
use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

const SECONDS_A_DAY: i64 = 86_400;

/// The pair of contexts in use.
#[derive(Debug)]
pub struct Contexts {
    server: SslContext,
    client: Option<SslContext>,
    certificates: Vec<CertFacts>,
}

impl Contexts {
    /// Reads all files. An error is the line for the log. `now`: Unix seconds.
    pub fn build(settings: &Settings, now: i64) -> Result<Contexts, String> {
        if settings.server.cert_file.is_none() {
            return Err("No tls-cert-file configured!".into());
        }
        if settings.server.key_file.is_none() {
            return Err("No tls-key-file configured!".into());
        }
        if settings.verifies && settings.ca_cert_file.is_none() && settings.ca_cert_dir.is_none() {
            return Err(
                "Either tls-ca-cert-file or tls-ca-cert-dir must be specified when tls-cluster, \
                        tls-replication or tls-auth-clients are enabled!"
                    .into(),
            );
        }
        let switched_off = protocols(settings.protocols.as_deref())?;
        let server = server_context(settings, switched_off)?;
        let client = match (&settings.client.cert_file, &settings.client.key_file) {
            (Some(_), Some(_)) => Some(base(settings, &settings.client, switched_off)?.build()),
            _ => None,
        };
        let own = |role, context: &SslContext| context.certificate().map(|c| facts(role, c, now));
        let mut certificates: Vec<CertFacts> = own(CertRole::Server, &server).into_iter().collect();
        certificates.extend(client.as_ref().and_then(|c| own(CertRole::Client, c)));
        certificates.extend(ca_that_ends_first(settings, now));
        Ok(Contexts { server, client, certificates })
    }

    /// The session of a connection that was accepted.
    pub fn accept(&self, tcp: TcpStream, asks: ClientAuth) -> io::Result<Tls> {
        Session::server(self.incoming(), SocketPipe::new(tcp), asks)
    }

    /// The session of a connection that was opened to `host`.
    pub fn connect(&self, tcp: TcpStream, host: &str) -> io::Result<Tls> {
        Session::client(self.outgoing(), SocketPipe::new(tcp), host)
    }

    pub(super) fn outgoing(&self) -> &SslContext {
        self.client.as_ref().unwrap_or(&self.server)
    }

    pub(super) fn incoming(&self) -> &SslContext {
        &self.server
    }

    pub fn certificates(&self) -> &[CertFacts] {
        &self.certificates
    }
}

// ---- the parts ---------------------------------------------------------------------------------

/// As ERR_error_string spells the first error of the queue.
pub(super) fn reason(e: &Error) -> String {
    /// ERR_LIB_SYS: the reason is a number of the system.
    const SYSTEM: i32 = 2;
    let library = e.library().map_or_else(|| format!("lib({})", e.library_code()), str::to_owned);
    let text = match e.reason() {
        _ if e.library_code() == SYSTEM => errno::strerror(e.reason_code()),
        Some(text) => text.to_owned(),
        None => format!("reason({})", e.reason_code()),
    };
    format!("error:{:08X}:{library}::{text}", e.code())
}

fn first(errors: &ErrorStack) -> String {
    errors.errors().first().map_or_else(|| "unknown error".into(), reason)
}

/// The same for a failed system call.
fn system_reason(e: &io::Error) -> String {
    let code = e.raw_os_error().unwrap_or(libc::EIO);
    format!("error:{:08X}:system library::{}", 0x8000_0000_u32 | code.unsigned_abs(), errno::text(e))
}

fn to_nul(bytes: &[u8]) -> &[u8] {
    bytes.split(|b| *b == 0).next().unwrap_or_default()
}

/// What the crate hands on to libssl; None when the crate could not.
fn c_text(bytes: &[u8]) -> Option<&str> {
    std::str::from_utf8(to_nul(bytes)).ok()
}

fn shown(bytes: &[u8]) -> String {
    String::from_utf8_lossy(to_nul(bytes)).into_owned()
}

fn read_file(path: &[u8]) -> io::Result<Vec<u8>> {
    std::fs::read(Path::new(OsStr::from_bytes(to_nul(path))))
}

/// The options that switch off what `tls-protocols` does not name.
fn protocols(text: Option<&[u8]>) -> Result<SslOptions, String> {
    const ALL: [(&str, SslOptions); 4] = [
        ("tlsv1", SslOptions::NO_TLSV1),
        ("tlsv1.1", SslOptions::NO_TLSV1_1),
        ("tlsv1.2", SslOptions::NO_TLSV1_2),
        ("tlsv1.3", SslOptions::NO_TLSV1_3),
    ];
    let mut off = ALL.iter().fold(SslOptions::empty(), |all, (_, off)| all | *off);
    for word in text.unwrap_or(b"TLSv1.2 TLSv1.3").split(|b| *b == b' ') {
        match ALL.iter().find(|(name, _)| word.eq_ignore_ascii_case(name.as_bytes())) {
            Some((_, option)) => off -= *option,
            None => {
                return Err(
                    "Invalid tls-protocols specified. Use a combination of 'TLSv1', 'TLSv1.1', \
                            'TLSv1.2' and 'TLSv1.3'."
                        .into(),
                );
            }
        }
    }
    Ok(off)
}

/// What both kinds of connections need.
fn base(
    settings: &Settings,
    identity: &Identity,
    switched_off: SslOptions,
) -> Result<SslContextBuilder, String> {
    tls::forget_errors();
    let mut b = SslContextBuilder::new(SslMethod::tls())
        .map_err(|e| format!("Failed to create a TLS context: {}", first(&e)))?;
    let none_of = SslOptions::NO_SSLV2 | SslOptions::NO_SSLV3 | SslOptions::NO_COMPRESSION;
    b.set_options(none_of | SslOptions::DONT_INSERT_EMPTY_FRAGMENTS | switched_off);
    let writes = SslMode::ENABLE_PARTIAL_WRITE | SslMode::ACCEPT_MOVING_WRITE_BUFFER;
    b.set_mode(writes | SslMode::RELEASE_BUFFERS);
    b.set_read_ahead(true);
    b.set_verify(SslVerifyMode::PEER | SslVerifyMode::FAIL_IF_NO_PEER_CERT);
    set_identity(&mut b, identity)?;
    set_ca(&mut b, settings)?;
    if let Some(list) = &settings.ciphers {
        let set = c_text(list).is_some_and(|list| b.set_cipher_list(list).is_ok());
        set.then_some(()).ok_or_else(|| format!("Failed to configure ciphers: {}", shown(list)))?;
    }
    if let Some(list) = &settings.ciphersuites {
        let set = c_text(list).is_some_and(|list| b.set_ciphersuites(list).is_ok());
        set.then_some(()).ok_or_else(|| format!("Failed to configure ciphersuites: {}", shown(list)))?;
    }
    Ok(b)
}

fn set_identity(b: &mut SslContextBuilder, identity: &Identity) -> Result<(), String> {
    let cert_file = identity.cert_file.as_deref().unwrap_or_default();
    let key_file = identity.key_file.as_deref().unwrap_or_default();
    let loaded = match c_text(cert_file) {
        Some(path) => b.set_certificate_chain_file(path).map_err(|e| first(&e)),
        None => Err("the name of the file is not UTF-8".into()),
    };
    loaded.map_err(|why| format!("Failed to load certificate: {}: {why}", shown(cert_file)))?;
    let loaded = private_key(key_file, identity.key_file_pass.as_deref())
        .and_then(|key| b.set_private_key(&key).map_err(|e| first(&e)));
    loaded.map_err(|why| format!("Failed to load private key: {}: {why}", shown(key_file)))
}

/// A key in any of the forms of PEM. Without a password an encrypted one is read with an empty one: libssl
/// must not ask on the terminal.
fn private_key(file: &[u8], pass: Option<&[u8]>) -> Result<PKey<Private>, String> {
    let pem = read_file(file).map_err(|e| system_reason(&e))?;
    let pass = to_nul(pass.unwrap_or_default());
    PKey::private_key_from_pem_passphrase(&pem, pass).map_err(|e| first(&e))
}

fn set_ca(b: &mut SslContextBuilder, settings: &Settings) -> Result<(), String> {
    if settings.ca_cert_file.is_none() && settings.ca_cert_dir.is_none() {
        return Ok(());
    }
    let path = |given: &Option<Vec<u8>>| match given {
        None => Ok(None),
        Some(path) => c_text(path).map(|p| Some(Path::new(p).to_path_buf())).ok_or(()),
    };
    let loaded = match (path(&settings.ca_cert_file), path(&settings.ca_cert_dir)) {
        (Ok(file), Ok(dir)) => {
            b.load_verify_locations(file.as_deref(), dir.as_deref()).map_err(|e| first(&e))
        }
        _ => Err("the name of the file is not UTF-8".into()),
    };
    loaded.map_err(|why| format!("Failed to configure CA certificate(s) file/directory: {why}"))
}

fn server_context(settings: &Settings, switched_off: SslOptions) -> Result<SslContext, String> {
    let mut b = base(settings, &settings.server, switched_off)?;
    match settings.sessions {
        Some((size, seconds)) => {
            b.set_session_cache_mode(SslSessionCacheMode::SERVER);
            b.set_session_cache_size(i32::try_from(size).unwrap_or(i32::MAX));
            tls::set_session_timeout(&mut b, i32::try_from(seconds).unwrap_or(i32::MAX));
            b.set_session_id_context(b"redis").map_err(|e| first(&e))?;
        }
        None => {
            b.set_session_cache_mode(SslSessionCacheMode::OFF);
        }
    }
    b.set_options(SslOptions::NO_RENEGOTIATION | SslOptions::SINGLE_DH_USE);
    if settings.prefer_server_ciphers {
        b.set_options(SslOptions::CIPHER_SERVER_PREFERENCE);
    }
    match &settings.dh_params_file {
        Some(file) => set_dh(&mut b, file)?,
        None => tls::set_automatic_dh(&mut b),
    }
    Ok(b.build())
}

fn set_dh(b: &mut SslContextBuilder, file: &[u8]) -> Result<(), String> {
    let name = shown(file);
    let pem = read_file(file).map_err(|e| format!("Failed to load {name}: {}", errno::text(&e)))?;
    let params = Dh::params_from_pem(&pem).map_err(|_| format!("{name}: failed to read DH params."))?;
    b.set_tmp_dh(&params).map_err(|e| format!("Failed to load DH params file: {name}: {}", first(&e)))
}

// ---- facts -------------------------------------------------------------------------------------

/// What is shown of a certificate; what cannot be read of it is not known to be in order.
fn facts(role: CertRole, cert: &X509Ref, now: i64) -> CertFacts {
    let serial = cert.serial_number().to_bn().and_then(|n| n.to_hex_str().map(|s| s.to_string()));
    let left = Asn1Time::days_from_now(0).and_then(|today| today.diff(cert.not_after()));
    CertFacts {
        role,
        serial: serial.unwrap_or_else(|_| "unknown".into()),
        expires: left.map_or(0, |d| now + i64::from(d.days) * SECONDS_A_DAY + i64::from(d.secs)),
    }
}

/// Of the CA certificates in the file the one that runs out first.
fn ca_that_ends_first(settings: &Settings, now: i64) -> Option<CertFacts> {
    let pem = read_file(settings.ca_cert_file.as_deref()?).ok()?;
    let all = X509::stack_from_pem(&pem).ok()?;
    all.iter().map(|cert| facts(CertRole::Ca, cert, now)).min_by_key(|f| f.expires)
}
