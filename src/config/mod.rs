//! The configuration: one table of directives, and everything that is done with it.
//!
//! ```text
//!                      rows_*.rs: one row a directive
//!               name, alias, flags, kind (type, range, default), apply
//!                                    │
//!     ┌──────────────┬───────────────┼────────────────┬────────────────┐
//!   load.rs        getset.rs       getset.rs       rewrite.rs     Config::default
//!   file, stdin,   CONFIG GET      CONFIG SET      CONFIG REWRITE
//!   command line                     │ Apply values, for the owner of the server
//! ```
//!
//! A row does not hold a value, it knows where the value is: every directive has one typed public field
//! in [`Config`], named like the directive with `_` for `-` (only `dir` has none: it is the process's
//! working directory). Other subsystems read the fields and never the table.
//!
//! Nothing here touches the server. A change that asks for more than a new value in the field says so by
//! an [`Apply`] value; `getset::change` hands these to its caller one by one and puts the former
//! configuration back when one of them fails.
//!
//! Invariants, each held by a test: names and aliases are unique; a field has the name of its row; every
//! default is valid in its own row; `redis.conf` shows every directive with its default.
//!
//! What the table does not know are the lines that are no values: `include`, `rename-command`, `user`,
//! `loadmodule`, `sentinel` and the directives of modules (`name.option`). Loading collects them in
//! [`load::Startup`].
//!
//! What a directive asks for and this build does not have stands in [`absent`].

pub mod absent;
pub mod argv;
pub mod choices;
pub mod getset;
pub mod kinds;
pub mod load;
pub mod notify;
pub mod number;
pub mod rewrite;
pub mod row;
mod rows_general;
mod rows_memory;
mod rows_network;
mod rows_persistence;
mod rows_replication;
pub mod special;
pub mod valid;

pub use choices::{
    AclPubsubDefault, AppendFsync, Choice, DisklessLoad, EndpointType, LogLevel, MaxmemoryPolicy,
    OomScoreAdj, PropagationError, ProtectedAction, SanitizeDump, Supervised, SyslogFacility,
    TlsAuthClients, shutdown,
};
pub use row::{Apply, DirectiveRow};
pub use special::{MasterAddr, OutputLimit, SavePoint, class};

/// The version that the texts of errors name.
pub const REDIS_VERSION: &str = "7.2.6";

/// Every row, in the order of `redis.conf`.
pub fn rows() -> impl Iterator<Item = &'static DirectiveRow> {
    const TABLES: [&[DirectiveRow]; 10] = [
        rows_network::NETWORK,
        rows_network::TLS,
        rows_general::GENERAL,
        rows_persistence::SNAPSHOTS,
        rows_replication::REPLICATION,
        rows_network::SECURITY,
        rows_memory::MEMORY,
        rows_persistence::APPEND_ONLY,
        rows_replication::CLUSTER,
        rows_general::RECORDS,
    ];
    TABLES.into_iter().flatten().chain(rows_memory::ENCODINGS)
}

macro_rules! config {
    ($($(#[$doc:meta])* $field:ident: $type:ty,)*) => {
        /// Every directive's value.
        #[derive(Clone, Debug, PartialEq)]
        pub struct Config { $($(#[$doc])* pub $field: $type,)* }

        impl Config {
            /// Fields without their defaults, which the rows know.
            fn blank() -> Config {
                Config { $($field: Blank::blank(),)* }
            }

            /// The names of the fields.
            #[cfg(test)]
            const FIELDS: &'static [&'static str] = &[$(stringify!($field),)*];
        }
    };
}

/// A value to begin with, before the rows give their defaults.
trait Blank {
    fn blank() -> Self;
}

macro_rules! blank {
    ($($type:ty),*) => {$(
        impl Blank for $type {
            fn blank() -> Self {
                Default::default()
            }
        }
    )*};
}
blank!(bool, u32, u64, i64, [i64; 3], [OutputLimit; class::COUNT]);

macro_rules! blank_choice {
    ($($type:ty),*) => {$(
        impl Blank for $type {
            fn blank() -> Self {
                Self::LIST[0].1
            }
        }
    )*};
}
blank_choice!(
    AclPubsubDefault,
    AppendFsync,
    DisklessLoad,
    EndpointType,
    LogLevel,
    MaxmemoryPolicy,
    OomScoreAdj,
    PropagationError,
    ProtectedAction,
    SanitizeDump,
    Supervised,
    SyslogFacility,
    TlsAuthClients
);

impl<T> Blank for Vec<T> {
    fn blank() -> Self {
        Vec::new()
    }
}

impl<T> Blank for Option<T> {
    fn blank() -> Self {
        None
    }
}

type Text = Vec<u8>;
type Maybe = Option<Vec<u8>>;

config! {
    // Connections.
    bind: Vec<Text>,
    bind_source_addr: Maybe,
    protected_mode: bool,
    port: u64,
    tcp_backlog: u64,
    unixsocket: Maybe,
    /// 0 leaves the permissions to the umask.
    unixsocketperm: u64,
    /// Seconds; 0 is for ever.
    timeout: u64,
    /// Seconds; 0 is off.
    tcp_keepalive: u64,
    socket_mark_id: u64,
    maxclients: u64,
    /// Bytes, or a percentage of `maxmemory` as a negative number; 0 is off.
    maxmemory_clients: i64,
    client_query_buffer_limit: u64,
    /// By `class`.
    client_output_buffer_limit: [OutputLimit; class::COUNT],
    proto_max_bulk_len: u64,
    tracking_table_max_keys: u64,
    /// Microseconds; 0 is off.
    busy_poll_us: u64,
    io_threads: u64,
    io_threads_do_reads: bool,

    // Security.
    requirepass: Maybe,
    aclfile: Text,
    acllog_max_len: u64,
    acl_pubsub_default: AclPubsubDefault,
    enable_protected_configs: ProtectedAction,
    enable_debug_command: ProtectedAction,
    enable_module_command: ProtectedAction,

    // TLS.
    tls_port: u64,
    tls_cert_file: Maybe,
    tls_key_file: Maybe,
    tls_key_file_pass: Maybe,
    tls_client_cert_file: Maybe,
    tls_client_key_file: Maybe,
    tls_client_key_file_pass: Maybe,
    tls_dh_params_file: Maybe,
    tls_ca_cert_file: Maybe,
    tls_ca_cert_dir: Maybe,
    tls_auth_clients: TlsAuthClients,
    tls_replication: bool,
    tls_cluster: bool,
    tls_protocols: Maybe,
    tls_ciphers: Maybe,
    tls_ciphersuites: Maybe,
    tls_prefer_server_ciphers: bool,
    tls_session_caching: bool,
    tls_session_cache_size: u64,
    tls_session_cache_timeout: u64,

    // The process.
    daemonize: bool,
    supervised: Supervised,
    pidfile: Maybe,
    loglevel: LogLevel,
    /// Empty is standard output.
    logfile: Text,
    syslog_enabled: bool,
    syslog_ident: Text,
    syslog_facility: SyslogFacility,
    crash_log_enabled: bool,
    crash_memcheck_enabled: bool,
    use_exit_on_panic: bool,
    databases: u64,
    /// A table for each slot without a cluster, for tests.
    debug_slot_tables: bool,
    always_show_logo: bool,
    set_proc_title: bool,
    proc_title_template: Text,
    /// Empty is what the environment says.
    locale_collate: Text,
    ignore_warnings: Text,
    /// What was asked for, within 1 and 500; `dynamic-hz` raises the real frequency above it.
    hz: u64,
    dynamic_hz: bool,
    /// Milliseconds; 0 is off.
    watchdog_period: u64,
    /// Seconds.
    shutdown_timeout: u64,
    /// Bits of `shutdown`.
    shutdown_on_sigint: u32,
    /// Bits of `shutdown`.
    shutdown_on_sigterm: u32,
    /// Milliseconds.
    busy_reply_threshold: u64,
    server_cpulist: Maybe,
    bio_cpulist: Maybe,
    aof_rewrite_cpulist: Maybe,
    bgsave_cpulist: Maybe,
    disable_thp: bool,
    oom_score_adj: OomScoreAdj,
    /// Of a master, a replica, a background child.
    oom_score_adj_values: [i64; 3],

    // What it records about itself.
    /// Microseconds; 0 records everything, below 0 nothing.
    slowlog_log_slower_than: i64,
    slowlog_max_len: u64,
    /// Milliseconds; 0 is off.
    latency_monitor_threshold: u64,
    latency_tracking: bool,
    latency_tracking_info_percentiles: Vec<f64>,
    /// Bits of `keyspace::class`.
    notify_keyspace_events: u32,

    // Memory.
    /// Bytes; 0 is no limit.
    maxmemory: u64,
    maxmemory_policy: MaxmemoryPolicy,
    maxmemory_samples: u64,
    maxmemory_eviction_tenacity: u64,
    lfu_log_factor: u64,
    /// Minutes.
    lfu_decay_time: u64,
    active_expire_effort: u64,
    activerehashing: bool,
    lazyfree_lazy_eviction: bool,
    lazyfree_lazy_expire: bool,
    lazyfree_lazy_server_del: bool,
    lazyfree_lazy_user_del: bool,
    lazyfree_lazy_user_flush: bool,
    jemalloc_bg_thread: bool,
    activedefrag: bool,
    active_defrag_ignore_bytes: u64,
    active_defrag_threshold_lower: u64,
    active_defrag_threshold_upper: u64,
    active_defrag_cycle_min: u64,
    active_defrag_cycle_max: u64,
    active_defrag_max_scan_fields: u64,

    // Encodings.
    hash_max_listpack_entries: u64,
    hash_max_listpack_value: u64,
    /// Entries of a node, or its size class as a negative number (-2 is 8 kB).
    list_max_listpack_size: i64,
    list_compress_depth: u64,
    set_max_intset_entries: u64,
    set_max_listpack_entries: u64,
    set_max_listpack_value: u64,
    zset_max_listpack_entries: u64,
    zset_max_listpack_value: u64,
    hll_sparse_max_bytes: u64,
    stream_node_max_bytes: u64,
    stream_node_max_entries: u64,

    // Persistence.
    save: Vec<SavePoint>,
    dbfilename: Text,
    stop_writes_on_bgsave_error: bool,
    rdbcompression: bool,
    rdbchecksum: bool,
    sanitize_dump_payload: SanitizeDump,
    rdb_del_sync_files: bool,
    rdb_save_incremental_fsync: bool,
    /// Microseconds a key; a negative number is so many keys a microsecond.
    rdb_key_save_delay: i64,
    key_load_delay: i64,
    loading_process_events_interval_bytes: u64,
    appendonly: bool,
    appendfilename: Text,
    appenddirname: Text,
    appendfsync: AppendFsync,
    no_appendfsync_on_rewrite: bool,
    auto_aof_rewrite_percentage: u64,
    auto_aof_rewrite_min_size: u64,
    aof_load_truncated: bool,
    aof_use_rdb_preamble: bool,
    aof_timestamp_enabled: bool,
    aof_rewrite_incremental_fsync: bool,
    aof_disable_auto_gc: bool,

    // Replication.
    replicaof: Option<MasterAddr>,
    masteruser: Maybe,
    masterauth: Maybe,
    replica_serve_stale_data: bool,
    replica_read_only: bool,
    repl_diskless_sync: bool,
    /// Seconds.
    repl_diskless_sync_delay: u64,
    repl_diskless_sync_max_replicas: u64,
    repl_diskless_load: DisklessLoad,
    /// Seconds.
    repl_ping_replica_period: u64,
    /// Seconds.
    repl_timeout: u64,
    repl_disable_tcp_nodelay: bool,
    repl_backlog_size: u64,
    /// Seconds; 0 is for ever.
    repl_backlog_ttl: u64,
    /// 0 is never promoted.
    replica_priority: u64,
    propagation_error_behavior: PropagationError,
    replica_ignore_disk_write_errors: bool,
    replica_announced: bool,
    replica_announce_ip: Maybe,
    replica_announce_port: u64,
    min_replicas_to_write: u64,
    /// Seconds.
    min_replicas_max_lag: u64,
    replica_lazy_flush: bool,
    replica_ignore_maxmemory: bool,

    // Cluster.
    cluster_enabled: bool,
    cluster_config_file: Text,
    /// Milliseconds.
    cluster_node_timeout: u64,
    cluster_ping_interval: u64,
    /// 0 is 10000 above the port.
    cluster_port: u64,
    cluster_replica_validity_factor: u64,
    cluster_migration_barrier: u64,
    cluster_allow_replica_migration: bool,
    cluster_require_full_coverage: bool,
    cluster_replica_no_failover: bool,
    cluster_allow_reads_when_down: bool,
    cluster_allow_pubsubshard_when_down: bool,
    cluster_link_sendbuf_limit: u64,
    cluster_announce_ip: Maybe,
    cluster_announce_port: u64,
    cluster_announce_tls_port: u64,
    cluster_announce_bus_port: u64,
    cluster_announce_hostname: Maybe,
    cluster_announce_human_nodename: Maybe,
    cluster_preferred_endpoint_type: EndpointType,
}

impl Default for Config {
    fn default() -> Config {
        let mut config = Config::blank();
        for row in rows() {
            row.kind.init(&mut config);
        }
        config
    }
}

impl Config {
    /// The frequencies that the server can keep.
    fn clamp_hz(&mut self) {
        self.hz = self.hz.clamp(1, 500);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::kinds::Write;
    use super::row::MULTI_ARG;
    use super::*;

    #[test]
    fn names_are_unique() {
        let names: Vec<&str> = getset::names().map(|named| named.name).collect();
        let unique: BTreeSet<&str> = names.iter().copied().collect();
        assert_eq!(names.len(), unique.len());
        for name in names {
            assert_eq!(name, name.to_ascii_lowercase());
        }
    }

    #[test]
    fn each_field_has_one_row_of_its_name() {
        let mut fields = BTreeSet::new();
        for row in rows() {
            if row.name == "dir" {
                continue;
            }
            assert_eq!(row.kind.field(), row.name.replace('-', "_"));
            assert!(fields.insert(row.kind.field()));
        }
        assert_eq!(fields, Config::FIELDS.iter().copied().collect());
    }

    /// What GET prints can be set again and changes nothing; so the defaults are in range, too.
    #[test]
    fn defaults_are_valid() {
        let mut config = Config::default();
        for row in rows() {
            let value = row.kind.get(&config);
            let args: Vec<&[u8]> = match row.has(MULTI_ARG) {
                true if value.is_empty() => vec![],
                true => value.split(|b| *b == b' ').collect(),
                false => vec![&value],
            };
            if row.name != "replicaof" {
                let set = row.kind.set(&mut config, &args, Write::Replace);
                assert!(set.is_ok(), "{}: {set:?}", row.name);
            }
        }
        assert_eq!(config, Config::default());
    }

    #[test]
    fn blank_is_not_default() {
        let default = Config::default();
        assert_ne!(Config::blank(), default);
        assert_eq!(default.port, 6379);
        assert_eq!(default.maxmemory_policy, MaxmemoryPolicy::NoEviction);
        assert_eq!(default.save.len(), 3);
    }
}
