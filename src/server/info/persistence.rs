//! INFO persistence.

use super::fields;
use crate::jobs::aof::AofState;
use crate::jobs::child::{ChildKind, Progress};
use crate::server::{Server, ServerStates};
use crate::sys::clock::mono_ns;

pub fn write(srv: &mut Server, out: &mut String) {
    let (j, a) = (&srv.jobs, &srv.aof);
    let (r, child) = (&a.rewrite, j.child.as_ref());
    let status = |ok: bool| if ok { "ok" } else { "err" };
    let now = srv.clock.unix_ms;
    let of = |kind: ChildKind| child.filter(|c| c.kind == kind);
    let since = |kind: ChildKind| of(kind).map_or(-1, |c| (now - c.started_ms).max(0) / 1000);
    let p = child.map_or_else(Progress::default, |c| c.progress.clone());
    let age = (mono_ns() / 1000).saturating_sub(p.cow_at_us) / 1_000_000;
    fields!(out,
        "loading" => srv.states.has(ServerStates::LOADING) as u8,
        "async_loading" => srv.states.has(ServerStates::ASYNC_LOADING) as u8,
        "current_cow_peak" => p.cow_peak,
        "current_cow_size" => p.cow,
        "current_cow_size_age" => if p.cow_at_us > 0 { age } else { 0 },
        "current_fork_perc" => format_args!("{:.2}", p.share * 100.0),
        "current_save_keys_processed" => p.keys,
        "current_save_keys_total" => p.keys_total,
        "rdb_changes_since_last_save" => srv.ks.dirty.saturating_sub(j.dirty_saved),
        "rdb_bgsave_in_progress" => of(ChildKind::Snapshot).is_some() as u8,
        "rdb_last_save_time" => j.last_save,
        "rdb_last_bgsave_status" => status(j.last_ok),
        "rdb_last_bgsave_time_sec" => j.last_seconds,
        "rdb_current_bgsave_time_sec" => since(ChildKind::Snapshot),
        "rdb_saves" => j.saves,
        "rdb_last_cow_size" => j.last_cow,
        "rdb_last_load_keys_expired" => j.keys_expired,
        "rdb_last_load_keys_loaded" => j.keys_loaded,
        "aof_enabled" => (a.state != AofState::Off) as u8,
        "aof_rewrite_in_progress" => crate::server::rewrite::is_under_way(srv) as u8,
        "aof_rewrite_scheduled" => r.scheduled as u8,
        "aof_last_rewrite_time_sec" => r.last_seconds,
        "aof_current_rewrite_time_sec" => since(ChildKind::Rewrite),
        "aof_last_bgrewrite_status" => status(r.last_ok),
        "aof_rewrites" => r.count,
        "aof_rewrites_consecutive_failures" => r.failures,
        "aof_last_write_status" => status(a.write_error.is_none() && srv.bio.failed().is_none()),
        "aof_last_cow_size" => a.last_cow,
        "module_fork_in_progress" => 0,
        "module_fork_last_cow_size" => 0,
    );
    if a.state != AofState::Off {
        fields!(out,
            "aof_current_size" => a.size,
            "aof_base_size" => a.base_size,
            "aof_pending_rewrite" => 0,
            "aof_buffer_length" => srv.ops.aof.as_ref().map_or(0, |s| s.buf.len()),
            "aof_pending_bio_fsync" => srv.bio.syncing(),
            "aof_delayed_fsync" => a.delayed,
        );
    }
    if srv.states.has(ServerStates::LOADING | ServerStates::ASYNC_LOADING) {
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
