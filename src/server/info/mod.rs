//! INFO: sections of `field:value` lines, in one table.
//!
//! ```text
//! SECTIONS (in print order) ── chosen by name, `default`, `all`, `everything` ──► a function each
//! ```
//!
//! Every value is measured; a subsystem that does not exist yet has nothing to show and shows zero. To
//! add a field: one line in the file of its group, at the place where tools look for it. To add a
//! section: a row in `SECTIONS`.

mod clients;
mod cpu;
mod keyspace;
pub mod memory;
mod persistence;
mod replication;
pub mod server;
mod stats;
mod tls;

use super::{Server, sentinel};
use std::fmt::Write;

/// When a section is printed without being named as an argument.
#[derive(Clone, Copy, PartialEq, Eq)]
enum In {
    /// INFO without arguments.
    Default,
    /// The same, on a server with TLS.
    WithTls,
    /// INFO all.
    All,
    /// Only by its name.
    Name,
}

struct Section {
    /// As arguments name it; a second name prints it too.
    names: &'static [&'static str],
    title: &'static str,
    place: In,
    write: Lines,
}

const fn section(
    name: &'static [&'static str],
    title: &'static str,
    place: In,
    write: Lines,
) -> Section {
    Section { names: name, title, place, write }
}

type Lines = fn(&mut Server, &mut String);

const SECTIONS: &[Section] = &[
    section(&["server"], "Server", In::Default, server::write),
    section(&["clients"], "Clients", In::Default, clients::write),
    section(&["memory"], "Memory", In::Default, memory::write),
    section(&["persistence"], "Persistence", In::Default, persistence::write),
    section(&["stats"], "Stats", In::Default, stats::write),
    section(&["replication"], "Replication", In::Default, replication::write),
    section(&["cpu"], "CPU", In::Default, cpu::write),
    section(&["module_list", "modules"], "Modules", In::Default, |_, _| {}),
    section(&["commandstats"], "Commandstats", In::All, stats::commands),
    section(&["tls"], "TLS", In::WithTls, tls::write),
    section(&["errorstats"], "Errorstats", In::Default, stats::errors),
    section(&["latencystats"], "Latencystats", In::All, stats::latencies),
    section(&["cluster"], "Cluster", In::Default, keyspace::cluster),
    section(&["keyspace"], "Keyspace", In::Default, keyspace::write),
    section(&["debug"], "Debug", In::Name, stats::debug),
    section(&["sentinel"], "Sentinel", In::Default, |srv, out| out.push_str(&sentinel::info_text(srv))),
];

/// What a sentinel has to say; only it has the last.
const OF_SENTINEL: [&str; 5] = ["server", "clients", "cpu", "stats", "sentinel"];

/// How this server works: alone, in a cluster, as a sentinel.
pub fn mode(srv: &Server) -> &'static str {
    match (srv.config.cluster_enabled, srv.sentinel.is_some()) {
        (true, _) => "cluster",
        (_, true) => "sentinel",
        _ => "standalone",
    }
}

/// The text of the sections that the arguments of INFO ask for.
pub fn text(srv: &mut Server, args: &[&[u8]]) -> String {
    srv.stats.peak_memory = srv.stats.peak_memory.max(crate::sys::alloc::used());
    let asked = |word: &str| args.iter().any(|a| a.eq_ignore_ascii_case(word.as_bytes()));
    let default = args.is_empty() || asked("default");
    let all = asked("all") || asked("everything");
    let mut out = String::with_capacity(4096);
    let sentinel = srv.sentinel.is_some();
    let exists = |s: &&Section| match sentinel {
        true => OF_SENTINEL.iter().any(|name| s.names.contains(name)),
        false => !s.names.contains(&"sentinel"),
    };
    for s in SECTIONS.iter().filter(exists) {
        let by_place = match s.place {
            In::Default => default || all,
            In::WithTls => (default || all) && srv.tls.contexts().is_some(),
            In::All => all,
            In::Name => false,
        };
        if by_place || s.names.iter().any(|n| asked(n)) {
            if !out.is_empty() {
                out.push_str("\r\n");
            }
            line(&mut out, format_args!("# {}", s.title));
            (s.write)(srv, &mut out);
        }
    }
    out
}

/// The port that stands for this server.
pub fn server_port(srv: &Server) -> u64 {
    if srv.config.port != 0 { srv.config.port } else { srv.config.tls_port }
}

/// Adds one line. A String takes everything, so there is no failure to hand on.
fn line(out: &mut String, text: std::fmt::Arguments<'_>) {
    let _ = write!(out, "{text}\r\n");
}

/// `fields!(out, "name" => value, ...)`: a line each.
macro_rules! fields {
    ($out:ident, $($name:literal => $value:expr),* $(,)?) => {
        $($crate::server::info::line($out, format_args!(concat!($name, ":{}"), $value));)*
    };
}
use fields;

/// What would break the format becomes an underscore.
fn safe(text: &str) -> std::borrow::Cow<'_, str> {
    let unsafe_chars = ['#', ':', '\n', '\r'];
    if text.contains(unsafe_chars) { text.replace(unsafe_chars, "_").into() } else { text.into() }
}

/// With two digits after the point; what cannot be divided prints as C prints it.
fn ratio(a: f64, b: f64) -> String {
    let r = a / b;
    if r.is_nan() { "-nan".into() } else { format!("{r:.2}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_made_safe() {
        assert_eq!(safe("get"), "get");
        assert_eq!(safe("a:b#c\r\n"), "a_b_c__");
    }

    #[test]
    fn no_section_is_named_twice() {
        let mut names: Vec<_> = SECTIONS.iter().flat_map(|s| s.names).collect();
        names.sort();
        names.dedup();
        assert_eq!(names.len(), SECTIONS.iter().map(|s| s.names.len()).sum::<usize>());
    }
}
