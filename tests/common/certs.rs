//! Certificates for tests, made on the spot, and servers that use them.

use super::{Server, free_port, own_folder};
use oxidis::tls::testing::{Authority, Wish};
use std::path::PathBuf;
use std::time::{SystemTime, UNIX_EPOCH};

pub fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970");
    i64::try_from(since.as_secs()).expect("before the end of time")
}

/// A folder with an authority's certificate, one for servers and one for clients.
pub struct Certs {
    pub dir: PathBuf,
    ca: Authority,
}

impl Certs {
    pub fn new() -> Certs {
        let dir = own_folder();
        let name = dir.file_name().and_then(|n| n.to_str()).expect("a plain name");
        let ca = Authority::new(name, now()).expect("keys can be made");
        std::fs::write(dir.join("ca.crt"), ca.cert().expect("PEM")).expect("our folder");
        let certs = Certs { dir, ca };
        certs.issue(&Wish::named("server"));
        certs.issue(&Wish::named("client"));
        certs
    }

    pub fn issue(&self, wish: &Wish<'_>) {
        self.ca.issue_into(&self.dir, wish, now()).expect("our folder");
    }

    pub fn file(&self, name: &str) -> String {
        self.dir.join(name).display().to_string()
    }

    /// The options of a server with TLS, but for its port.
    pub fn options(&self) -> Vec<String> {
        let mut all = Vec::new();
        for (option, file) in [
            ("--tls-cert-file", "server.crt"),
            ("--tls-key-file", "server.key"),
            ("--tls-ca-cert-file", "ca.crt"),
        ] {
            all.extend([option.to_string(), self.file(file)]);
        }
        all
    }

    /// Ours, with a plain port and one for TLS.
    pub fn server(&self, options: &[&str]) -> (Server, u16) {
        let port = free_port();
        let (tls_port, own) = (port.to_string(), self.options());
        let mut all: Vec<&str> = own.iter().map(String::as_str).collect();
        all.extend(["--tls-port", &tls_port]);
        all.extend(options);
        (Server::with(&all), port)
    }
}

impl Drop for Certs {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.dir);
    }
}
