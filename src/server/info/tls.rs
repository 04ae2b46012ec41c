//! INFO tls: certificates in use, and handshakes. Empty while TLS is not configured.

use super::{fields, line};
use crate::net::tls::CertRole;
use crate::server::Server;

pub fn write(srv: &mut Server, out: &mut String) {
    let Some(contexts) = srv.tls.contexts() else { return };
    let now = srv.clock.unix_secs();
    for cert in contexts.certificates() {
        let role = match cert.role {
            CertRole::Server => "server",
            CertRole::Client => "client",
            CertRole::Ca => "ca",
        };
        line(out, format_args!("tls_{role}_cert_serial:{}", cert.serial));
        line(out, format_args!("tls_{role}_cert_expires_in_seconds:{}", (cert.expires - now).max(0)));
    }
    let secured = |c: &crate::clients::Client| c.conn.stream.as_ref().is_some_and(|s| s.is_tls());
    fields!(out,
        "tls_connected_clients" => srv.clients.iter().filter(|(_, c)| secured(c)).count(),
        "tls_handshakes" => srv.tls.handshakes.len(),
    );
}
