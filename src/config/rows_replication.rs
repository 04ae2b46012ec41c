//! Other servers: replication and cluster.

use super::choices::{DisklessLoad, EndpointType, PropagationError};
use super::row::{
    Apply, DEBUG, DENY_LOADING, DirectiveRow, HIDDEN, IMMUTABLE, INT, LONG, MULTI_ARG, SENSITIVE, at,
    checked_maybe, flag, maybe, memory, secret, special, text, uint, word, word_at,
};
use super::special::REPLICAOF;
use super::valid;

pub static REPLICATION: &[DirectiveRow] = &[
    special("replicaof", &REPLICAOF).alias("slaveof").with(IMMUTABLE | MULTI_ARG),
    maybe("masteruser", at!(masteruser)).with(SENSITIVE),
    secret("masterauth", at!(masterauth)),
    flag("replica-serve-stale-data", at!(replica_serve_stale_data), true)
        .alias("slave-serve-stale-data")
        .apply(Apply::ReplicaServes),
    flag("replica-read-only", at!(replica_read_only), true)
        .alias("slave-read-only")
        .with(DEBUG)
        .apply(Apply::ReplicaServes),
    flag("repl-diskless-sync", at!(repl_diskless_sync), true).with(DEBUG),
    uint("repl-diskless-sync-delay", at!(repl_diskless_sync_delay), 0..=INT, 5),
    uint("repl-diskless-sync-max-replicas", at!(repl_diskless_sync_max_replicas), 0..=INT, 0),
    word("repl-diskless-load", word_at!(repl_diskless_load: DisklessLoad), "disabled")
        .with(DEBUG | DENY_LOADING),
    uint("repl-ping-replica-period", at!(repl_ping_replica_period), 1..=INT, 10)
        .alias("repl-ping-slave-period")
        .apply(Apply::Cluster),
    uint("repl-timeout", at!(repl_timeout), 1..=INT, 60),
    flag("repl-disable-tcp-nodelay", at!(repl_disable_tcp_nodelay), false),
    memory("repl-backlog-size", at!(repl_backlog_size), 1..=LONG, 1 << 20).apply(Apply::ReplBacklogSize),
    uint("repl-backlog-ttl", at!(repl_backlog_ttl), 0..=LONG, 3600),
    uint("replica-priority", at!(replica_priority), 0..=INT, 100).alias("slave-priority"),
    word("propagation-error-behavior", word_at!(propagation_error_behavior: PropagationError), "ignore"),
    flag("replica-ignore-disk-write-errors", at!(replica_ignore_disk_write_errors), false),
    flag("replica-announced", at!(replica_announced), true),
    maybe("replica-announce-ip", at!(replica_announce_ip)).alias("slave-announce-ip"),
    uint("replica-announce-port", at!(replica_announce_port), 0..=65535, 0).alias("slave-announce-port"),
    uint("min-replicas-to-write", at!(min_replicas_to_write), 0..=INT, 0)
        .alias("min-slaves-to-write")
        .apply(Apply::GoodReplicas),
    uint("min-replicas-max-lag", at!(min_replicas_max_lag), 0..=INT, 10)
        .alias("min-slaves-max-lag")
        .apply(Apply::GoodReplicas),
    flag("replica-lazy-flush", at!(replica_lazy_flush), false).alias("slave-lazy-flush"),
    flag("replica-ignore-maxmemory", at!(replica_ignore_maxmemory), true)
        .alias("slave-ignore-maxmemory"),
];

pub static CLUSTER: &[DirectiveRow] = &[
    flag("cluster-enabled", at!(cluster_enabled), false).with(IMMUTABLE),
    text("cluster-config-file", at!(cluster_config_file), "nodes.conf").with(IMMUTABLE),
    uint("cluster-node-timeout", at!(cluster_node_timeout), 0..=LONG, 15000).apply(Apply::Cluster),
    uint("cluster-ping-interval", at!(cluster_ping_interval), 0..=LONG, 0)
        .with(HIDDEN)
        .apply(Apply::Cluster),
    uint("cluster-port", at!(cluster_port), 0..=65535, 0).with(IMMUTABLE),
    uint("cluster-replica-validity-factor", at!(cluster_replica_validity_factor), 0..=INT, 10)
        .alias("cluster-slave-validity-factor")
        .apply(Apply::Cluster),
    uint("cluster-migration-barrier", at!(cluster_migration_barrier), 0..=INT, 1).apply(Apply::Cluster),
    flag("cluster-allow-replica-migration", at!(cluster_allow_replica_migration), true)
        .apply(Apply::Cluster),
    flag("cluster-require-full-coverage", at!(cluster_require_full_coverage), true)
        .apply(Apply::Cluster),
    flag("cluster-replica-no-failover", at!(cluster_replica_no_failover), false)
        .alias("cluster-slave-no-failover")
        .apply(Apply::Cluster),
    flag("cluster-allow-reads-when-down", at!(cluster_allow_reads_when_down), false)
        .apply(Apply::Cluster),
    flag("cluster-allow-pubsubshard-when-down", at!(cluster_allow_pubsubshard_when_down), true)
        .apply(Apply::Cluster),
    memory("cluster-link-sendbuf-limit", at!(cluster_link_sendbuf_limit), 0..=u64::MAX, 0)
        .apply(Apply::Cluster),
    maybe("cluster-announce-ip", at!(cluster_announce_ip)).apply(Apply::Cluster),
    uint("cluster-announce-port", at!(cluster_announce_port), 0..=65535, 0).apply(Apply::Cluster),
    uint("cluster-announce-tls-port", at!(cluster_announce_tls_port), 0..=65535, 0)
        .apply(Apply::Cluster),
    uint("cluster-announce-bus-port", at!(cluster_announce_bus_port), 0..=65535, 0)
        .apply(Apply::Cluster),
    checked_maybe("cluster-announce-hostname", at!(cluster_announce_hostname), valid::hostname)
        .apply(Apply::Cluster),
    checked_maybe(
        "cluster-announce-human-nodename",
        at!(cluster_announce_human_nodename),
        valid::human_nodename,
    )
    .apply(Apply::Cluster),
    word(
        "cluster-preferred-endpoint-type",
        word_at!(cluster_preferred_endpoint_type: EndpointType),
        "ip",
    )
    .apply(Apply::Cluster),
];
