//! INFO clients.

use super::fields;
use crate::server::Server;

pub fn write(srv: &mut Server, out: &mut String) {
    let (keys, on_nokey) = srv.blocked.key_counts();
    fields!(out,
        "connected_clients" => srv.clients.connected() - srv.repl.replicas.len(),
        "cluster_connections" => srv.cluster().map_or(0, |c| c.link_count()),
        "maxclients" => srv.config.maxclients,
        "client_recent_max_input_buffer" => srv.cron.recent_input.iter().max().unwrap_or(&0),
        "client_recent_max_output_buffer" => srv.cron.recent_output.iter().max().unwrap_or(&0),
        "blocked_clients" => srv.blocked.len() + crate::server::pause::waiting(srv),
        "tracking_clients" => srv.tracking.clients(),
        "clients_in_timeout_table" => srv.blocked.with_timeout(),
        "total_blocking_keys" => keys,
        "total_blocking_keys_on_nokey" => on_nokey,
    );
}
