//! INFO persistence.

use super::fields;
use crate::server::Server;

pub fn write(srv: &Server, out: &mut String) {
    let j = &srv.jobs;
    let status = |ok: bool| if ok { "ok" } else { "err" };
    let now = srv.clock.unix_ms;
    let saving = j.child.as_ref().map_or(-1, |c| (now - c.started_ms).max(0) / 1000);
    fields!(out,
        "loading" => srv.gate.has(crate::server::Gate::LOADING) as u8,
        "async_loading" => 0,
        "current_cow_peak" => 0,
        "current_cow_size" => 0,
        "current_cow_size_age" => 0,
        "current_fork_perc" => "0.00",
        "current_save_keys_processed" => 0,
        "current_save_keys_total" => 0,
        "rdb_changes_since_last_save" => srv.ks.dirty.saturating_sub(j.dirty_saved),
        "rdb_bgsave_in_progress" => j.child.is_some() as u8,
        "rdb_last_save_time" => j.last_save,
        "rdb_last_bgsave_status" => status(j.last_ok),
        "rdb_last_bgsave_time_sec" => j.last_seconds,
        "rdb_current_bgsave_time_sec" => saving,
        "rdb_saves" => j.saves,
        "rdb_last_cow_size" => j.last_cow,
        "rdb_last_load_keys_expired" => j.keys_expired,
        "rdb_last_load_keys_loaded" => j.keys_loaded,
        "aof_enabled" => srv.aof.is_some() as u8,
        "aof_rewrite_in_progress" => 0,
        "aof_rewrite_scheduled" => 0,
        "aof_last_rewrite_time_sec" => -1,
        "aof_current_rewrite_time_sec" => -1,
        "aof_last_bgrewrite_status" => "ok",
        "aof_rewrites" => 0,
        "aof_rewrites_consecutive_failures" => 0,
        "aof_last_write_status" => "ok",
        "aof_last_cow_size" => 0,
        "module_fork_in_progress" => 0,
        "module_fork_last_cow_size" => 0,
    );
    if srv.gate.has(crate::server::Gate::LOADING) {
        let l = &srv.loading;
        fields!(out,
            "loading_start_time" => l.started,
            "loading_total_bytes" => l.total,
            "loading_rdb_used_mem" => l.used_then,
            "loading_loaded_bytes" => l.loaded,
            "loading_loaded_perc" => format_args!("{:.2}", l.percent()),
            "loading_eta_seconds" => l.eta(now / 1000),
        );
    }
}
