//! The sections of a crash report that only the server can write.
//!
//! They run in a process that is already broken; `sys::crash` catches what they run into. So they look
//! at as little as they can, and each stands for itself.

use super::{Server, bus, info, lend};
use crate::clients::Client;
use crate::config::rewrite;
use crate::sys::crash::{Sections, register as register_sections};
use std::fmt::Write;
use std::io;

pub fn register() {
    register_sections(Sections {
        info: |crashed, out| {
            put(out, lend::look(crashed, |srv| info::text(srv, &[b"everything", b"debug"])));
            put(out, lend::look(crashed, cluster).flatten());
        },
        client_list: |crashed, out| {
            put(out, lend::look(crashed, |srv| srv.clients.iter().map(|(_, c)| describe(c)).collect()));
        },
        current_client: |crashed, out| put(out, lend::look(crashed, current).flatten()),
        executing_client: |_, _| {},
        modules: |_, _| {},
        config: |crashed, out| {
            let text = lend::look(crashed, |srv| rewrite::debug_info(&srv.config));
            put(out, text.map(|t| String::from_utf8_lossy(&t).into_owned()));
        },
    });
}

/// A log that cannot be written is no reason to end the report.
fn put(out: &mut dyn io::Write, text: Option<String>) {
    if let Some(text) = text {
        let _ = out.write_all(text.replace("\r\n", "\n").as_bytes());
    }
}

fn cluster(srv: &mut Server) -> Option<String> {
    let (cluster, env) = (srv.cluster()?, bus::env(srv));
    let (info, nodes) = (cluster.info_text(), cluster.nodes_text(false, &env));
    Some(format!(
        "\n------ CLUSTER INFO OUTPUT ------\n{info}\n------ CLUSTER NODES OUTPUT ------\n{nodes}"
    ))
}

fn current(srv: &mut Server) -> Option<String> {
    let id = srv.execution.current()?;
    let c = srv.clients.get(id)?;
    let mut text = describe(c);
    if let Some(cmd) = srv.table.entries.get(c.last_cmd as usize) {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "last command finished: {}", cmd.name);
    }
    Some(text)
}

fn describe(c: &Client) -> String {
    let peer = c.conn.stream.as_ref().map_or_else(String::new, |s| s.peer(""));
    let name = String::from_utf8_lossy(c.name());
    format!("id={} addr={peer} name={name} db={} resp={} flags={:#x}\n", c.id, c.db, c.resp, c.flags)
}
