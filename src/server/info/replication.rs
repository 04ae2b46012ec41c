//! INFO replication: the master of this server, and its replicas.

use super::{fields, line};
use crate::replication::backlog::Backlog;
use crate::replication::link::{Progress, Target};
use crate::replication::replicas::Stage;
use crate::server::{Server, link_client, master};

pub fn write(srv: &mut Server, out: &mut String) {
    let r = &srv.repl;
    fields!(out, "role" => if r.link.is_on() { "slave" } else { "master" });
    link(srv, out);
    fields!(out, "connected_slaves" => r.replicas.len());
    if let Some(good) = master::good(srv) {
        fields!(out, "min_slaves_good_slaves" => good);
    }
    replicas(srv, out);
    if srv.config.dual_channel_replication_enabled {
        fields!(out, "replicas_waiting_psync" => r.replicas.holds.len());
    }
    fields!(out,
        "master_failover_state" => r.failover.name(),
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

/// The way to the master.
fn link(srv: &Server, out: &mut String) {
    let link = &srv.repl.link;
    let Some(Target { host, port }) = link.target() else { return };
    let now = srv.clock.unix_secs();
    let client = srv.master_link.client().and_then(|id| srv.clients.get(id));
    let last_io = client.map_or(-1, |c| now - i64::from(c.conn.last_seen));
    let has_position = client.is_some() || link.cached().is_some();
    let offsets = match has_position {
        true => (link_client::read_offset(srv), srv.repl.offset()),
        false => (1, 1),
    };
    let progress = link.progress();
    fields!(out,
        "master_host" => host,
        "master_port" => port,
        "master_link_status" => if link.is_online() { "up" } else { "down" },
        "master_last_io_seconds_ago" => last_io,
        "master_sync_in_progress" => u8::from(progress.is_some()),
        "slave_read_repl_offset" => offsets.0,
        "slave_repl_offset" => offsets.1,
    );
    if srv.config.dual_channel_replication_enabled {
        let held = srv.master_link.held();
        fields!(out,
            "replicas_repl_buffer_size" => held.len(),
            "replicas_repl_buffer_peak" => held.peak(),
        );
    }
    if let Some(Progress { total, read, last_io }) = progress {
        let perc = if total == 0 { 0.0 } else { read as f64 / total as f64 * 100.0 };
        fields!(out,
            "master_sync_total_bytes" => total,
            "master_sync_read_bytes" => read,
            "master_sync_left_bytes" => total - read,
            "master_sync_perc" => format_args!("{perc:.2}"),
            "master_sync_last_io_seconds_ago" => now - last_io,
        );
    }
    if !link.is_online() {
        let down = if link.down_since() == 0 { -1 } else { now - link.down_since() };
        fields!(out, "master_link_down_since_seconds" => down);
    }
    fields!(out,
        "slave_priority" => srv.config.replica_priority,
        "slave_read_only" => u8::from(srv.config.replica_read_only),
        "replica_announced" => u8::from(srv.config.replica_announced),
        "replica_lag_bytes" => offsets.0 - offsets.1,
        "replica_lag_seconds" => link.silence(now).map_or(-1, u64::cast_signed),
    );
}

fn replicas(srv: &Server, out: &mut String) {
    let (now, end) = (srv.clock.unix_secs(), srv.repl.offset());
    for (n, (r, ip)) in master::known(srv).enumerate() {
        let lag = if r.is_online() { now - r.ack_at } else { 0 };
        let (port, state, acked) = (r.facts.port, r.stage.name(), r.acked);
        // Behind the fields of upstream: what it lacks, and what of the stream is kept for it.
        let counts = r.is_fed() || r.is_online();
        let (has, at) = if counts { (r.has(), r.at) } else { (end, end) };
        let (lacks, unsent) = (end.saturating_sub(has), end.saturating_sub(at));
        let age = srv.repl.marks.age(has, end, now);
        let channel = match (srv.config.dual_channel_replication_enabled, r.stage) {
            (false, _) => "",
            (true, _) if r.facts.rdb_channel => ",type=rdb-channel",
            (true, Stage::Load) => ",type=main-channel",
            (true, _) => ",type=replica",
        };
        line(
            out,
            format_args!(
                "slave{n}:ip={ip},port={port},state={state},offset={acked},lag={lag}{channel},\
                 lag_bytes={lacks},lag_seconds={age},unsent_bytes={unsent}"
            ),
        );
    }
}
