//! INFO replication: of a master and its replicas.

use super::{fields, line};
use crate::replication::backlog::Backlog;
use crate::replication::replicas::Stage;
use crate::server::Server;
use crate::server::master;

pub fn write(srv: &mut Server, out: &mut String) {
    let r = &srv.repl;
    fields!(out, "role" => "master", "connected_slaves" => r.replicas.len());
    if let Some(good) = master::good(srv) {
        fields!(out, "min_slaves_good_slaves" => good);
    }
    replicas(srv, out);
    fields!(out,
        "master_failover_state" => "no-failover",
        "master_replid" => r.replid,
        "master_replid2" => r.replid2,
        "master_repl_offset" => r.offset(),
        "second_repl_offset" => r.second_offset,
        "repl_backlog_active" => u8::from(r.backlog.is_some()),
        "repl_backlog_size" => srv.config.repl_backlog_size,
        "repl_backlog_first_byte_offset" => r.backlog.as_ref().map_or(0, |b| b.start() + 1),
        "repl_backlog_histlen" => r.backlog.as_ref().map_or(0, Backlog::len),
    );
}

fn replicas(srv: &Server, out: &mut String) {
    let now = srv.clock.unix_secs();
    for (n, (r, ip)) in master::known(srv).enumerate() {
        let lag = if r.stage == Stage::Online { now - r.ack_at } else { 0 };
        let (port, state, acked) = (r.facts.port, r.stage.name(), r.acked);
        line(out, format_args!("slave{n}:ip={ip},port={port},state={state},offset={acked},lag={lag}"));
    }
}
