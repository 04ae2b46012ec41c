//! INFO replication: of a master without replicas, as long as there is no replication.

use super::fields;
use crate::server::Server;

pub fn write(srv: &Server, out: &mut String) {
    fields!(out, "role" => "master", "connected_slaves" => 0);
    if srv.config.min_replicas_to_write > 0 && srv.config.min_replicas_max_lag > 0 {
        fields!(out, "min_slaves_good_slaves" => 0);
    }
    fields!(out,
        "master_failover_state" => "no-failover",
        "master_replid" => srv.run.replid,
        "master_replid2" => "0000000000000000000000000000000000000000",
        "master_repl_offset" => 0,
        "second_repl_offset" => -1,
        "repl_backlog_active" => 0,
        "repl_backlog_size" => srv.config.repl_backlog_size,
        "repl_backlog_first_byte_offset" => 0,
        "repl_backlog_histlen" => 0,
    );
}
