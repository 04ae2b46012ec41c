//! INFO stats, commandstats, errorstats, latencystats and debug: what has been counted.

use super::{fields, line, safe};
use crate::pubsub::SubscriptionKind;
use crate::server::Server;
use crate::stats::Rate;

/// A rate of bytes, in kilobytes.
fn kbps(rate: &Rate) -> String {
    format!("{:.2}", rate.get() as f64 / 1024.0)
}

pub fn write(srv: &mut Server, out: &mut String) {
    let (s, defrag) = (&srv.stats, srv.defrag.stats());
    let defrag_ms = srv.defrag.times(srv.clock.mono_ms);
    fields!(out,
        "total_connections_received" => s.connections,
        "total_commands_processed" => s.commands,
        "instantaneous_ops_per_sec" => s.instant_ops.get(),
        "total_net_input_bytes" => s.traffic.input + s.net_repl_input,
        "total_net_output_bytes" => s.traffic.output + s.net_repl_output,
        "total_net_repl_input_bytes" => s.net_repl_input,
        "total_net_repl_output_bytes" => s.net_repl_output,
        "instantaneous_input_kbps" => kbps(&s.instant_in),
        "instantaneous_output_kbps" => kbps(&s.instant_out),
        "instantaneous_input_repl_kbps" => kbps(&s.instant_repl_in),
        "instantaneous_output_repl_kbps" => kbps(&s.instant_repl_out),
        "rejected_connections" => s.rejected_connections,
        "sync_full" => s.sync_full,
        "sync_partial_ok" => s.sync_partial_ok,
        "sync_partial_err" => s.sync_partial_err,
        "expired_keys" => srv.ks.stats.expired,
        "expired_stale_perc" => format_args!("{:.2}", s.expired_stale_perc * 100.0),
        "expired_time_cap_reached_count" => s.expired_time_cap,
        "expire_cycle_cpu_milliseconds" => s.expire_cycle_cpu_us / 1000,
        "evicted_keys" => srv.ks.stats.evicted,
        "evicted_clients" => s.evicted_clients,
        "total_eviction_exceeded_time" => srv.eviction.exceeded_ms().0,
        "current_eviction_exceeded_time" => srv.eviction.exceeded_ms().1,
        "keyspace_hits" => srv.ks.stats.hits,
        "keyspace_misses" => srv.ks.stats.misses,
        "pubsub_channels" => srv.pubsub.distinct(SubscriptionKind::Channel),
        "pubsub_patterns" => srv.pubsub.distinct(SubscriptionKind::Pattern),
        "pubsubshard_channels" => srv.pubsub.distinct(SubscriptionKind::Shard),
        "latest_fork_usec" => srv.jobs.fork_us,
        "total_forks" => s.total_forks,
        "migrate_cached_sockets" => srv.targets.len(),
        "slave_expires_tracked_keys" => srv.ks.own_ttls.len(),
        "active_defrag_hits" => defrag.hits,
        "active_defrag_misses" => defrag.misses,
        "active_defrag_key_hits" => defrag.key_hits,
        "active_defrag_key_misses" => defrag.key_misses,
        "total_active_defrag_time" => defrag_ms.0,
        "current_active_defrag_time" => defrag_ms.1,
    );
    counters_of_work(srv, out);
}

fn counters_of_work(srv: &Server, out: &mut String) {
    let s = &srv.stats;
    let [auth, cmd, key, channel] = s.acl_denied;
    fields!(out,
        "tracking_total_keys" => srv.tracking.keys(),
        "tracking_total_items" => srv.tracking.items(),
        "tracking_total_prefixes" => srv.tracking.prefixes(),
        "unexpected_error_replies" => s.unexpected_errors,
        "total_error_replies" => s.total_error_replies,
        "dump_payload_sanitizations" => s.dump_sanitizations,
        "total_reads_processed" => s.traffic.reads,
        "total_writes_processed" => s.traffic.writes,
        "io_threaded_reads_processed" => 0,
        "io_threaded_writes_processed" => 0,
        "reply_buffer_shrinks" => s.reply_buffer_shrinks,
        "reply_buffer_expands" => s.reply_buffer_expands,
        "eventloop_cycles" => s.eventloop_cycles,
        "eventloop_duration_sum" => s.eventloop_us,
        "eventloop_duration_cmd_sum" => srv.clock.ns(s.command_ticks) / 1000,
        "instantaneous_eventloop_cycles_per_sec" => s.instant_cycles.get(),
        "instantaneous_eventloop_duration_usec" => s.instant_cycle_us.get(),
        "busy_polls" => s.busy_polls,
        "busy_poll_hits" => s.busy_poll_hits,
        "busy_poll_usec" => srv.clock.ns(s.busy_poll_ticks) / 1000,
        "acl_access_denied_auth" => auth,
        "acl_access_denied_cmd" => cmd,
        "acl_access_denied_key" => key,
        "acl_access_denied_channel" => channel,
    );
}

pub fn commands(srv: &mut Server, out: &mut String) {
    for (e, s) in srv.table.entries.iter().zip(&srv.cmdstats) {
        if s.calls + s.rejected + s.failed == 0 {
            continue;
        }
        let usec = srv.clock.ns(s.ticks) / 1000;
        let per_call = if s.calls == 0 { 0.0 } else { usec as f64 / s.calls as f64 };
        line(
            out,
            format_args!(
                "cmdstat_{}:calls={},usec={usec},usec_per_call={per_call:.2},\
                 rejected_calls={},failed_calls={}",
                safe(&e.name),
                s.calls,
                s.rejected,
                s.failed
            ),
        );
    }
}

pub fn errors(srv: &mut Server, out: &mut String) {
    let mut errors: Vec<_> = srv.stats.errors.iter().collect();
    errors.sort();
    for (name, count) in errors {
        line(out, format_args!("errorstat_{}:count={count}", safe(name)));
    }
}

pub fn latencies(srv: &mut Server, out: &mut String) {
    if !srv.config.latency_tracking {
        return;
    }
    for (e, s) in srv.table.entries.iter().zip(&srv.cmdstats) {
        let Some(h) = &s.latency else { continue };
        out.push_str("latency_percentiles_usec_");
        out.push_str(&safe(&e.name));
        out.push(':');
        h.push_percentiles(out, &srv.config.latency_tracking_info_percentiles);
        out.push_str("\r\n");
    }
}

pub fn debug(srv: &mut Server, out: &mut String) {
    let s = &srv.stats;
    fields!(out,
        "eventloop_duration_aof_sum" => s.eventloop_aof_us,
        "eventloop_duration_cron_sum" => s.eventloop_cron_us,
        "eventloop_duration_max" => s.eventloop_max_us,
        "eventloop_cmd_per_cycle_max" => s.commands_per_cycle_max,
    );
}
