//! Connections: addresses, limits, threads, permissions, TLS.

use super::choices::{AclPubsubDefault, ProtectedAction, TlsAuthClients};
use super::row::{
    Apply, DEBUG, DirectiveRow, IMMUTABLE, INT, LONG, MULTI_ARG, UINT, VOLATILE, at, flag, maybe,
    memory, memory_or_percent, octal, secret, special, text, uint, word, word_at,
};
use super::special::{BIND, CLIENT_OUTPUT_BUFFER_LIMIT};

pub static NETWORK: &[DirectiveRow] = &[
    special("bind", &BIND).with(MULTI_ARG).apply(Apply::Bind),
    maybe("bind-source-addr", at!(bind_source_addr)),
    flag("protected-mode", at!(protected_mode), true),
    uint("port", at!(port), 0..=65535, 6379).apply(Apply::Port),
    uint("tcp-backlog", at!(tcp_backlog), 0..=INT, 511).with(IMMUTABLE),
    maybe("unixsocket", at!(unixsocket)).with(IMMUTABLE),
    octal("unixsocketperm", at!(unixsocketperm), 0..=0o777, 0).with(IMMUTABLE),
    uint("timeout", at!(timeout), 0..=INT, 0).apply(Apply::ClientLimits),
    uint("tcp-keepalive", at!(tcp_keepalive), 0..=INT, 300),
    uint("socket-mark-id", at!(socket_mark_id), 0..=UINT, 0).with(IMMUTABLE),
    uint("maxclients", at!(maxclients), 1..=UINT, 10000).apply(Apply::MaxClients),
    memory_or_percent("maxmemory-clients", at!(maxmemory_clients)).apply(Apply::MaxMemoryClients),
    memory("client-query-buffer-limit", at!(client_query_buffer_limit), 1 << 20..=LONG, 1 << 30)
        .with(DEBUG)
        .apply(Apply::ClientLimits),
    special("client-output-buffer-limit", &CLIENT_OUTPUT_BUFFER_LIMIT)
        .with(MULTI_ARG)
        .apply(Apply::ClientLimits),
    memory("proto-max-bulk-len", at!(proto_max_bulk_len), 1 << 20..=LONG, 512 << 20)
        .with(DEBUG)
        .apply(Apply::ClientLimits),
    uint("tracking-table-max-keys", at!(tracking_table_max_keys), 0..=LONG, 1_000_000)
        .apply(Apply::TrackingTable),
    uint("busy-poll-us", at!(busy_poll_us), 0..=1000, 50),
    uint("io-threads", at!(io_threads), 1..=128, 1).with(DEBUG | IMMUTABLE),
    flag("io-threads-do-reads", at!(io_threads_do_reads), false).with(DEBUG | IMMUTABLE),
];

pub static SECURITY: &[DirectiveRow] = &[
    secret("requirepass", at!(requirepass)).apply(Apply::RequirePass),
    text("aclfile", at!(aclfile), "").with(IMMUTABLE),
    uint("acllog-max-len", at!(acllog_max_len), 0..=LONG, 128).apply(Apply::AclLog),
    word("acl-pubsub-default", word_at!(acl_pubsub_default: AclPubsubDefault), "resetchannels")
        .apply(Apply::AclPubsubDefault),
    word("enable-protected-configs", word_at!(enable_protected_configs: ProtectedAction), "no")
        .with(IMMUTABLE),
    word("enable-debug-command", word_at!(enable_debug_command: ProtectedAction), "no").with(IMMUTABLE),
    word("enable-module-command", word_at!(enable_module_command: ProtectedAction), "no")
        .with(IMMUTABLE),
];

pub static TLS: &[DirectiveRow] = &[
    uint("tls-port", at!(tls_port), 0..=65535, 0).apply(Apply::TlsPort),
    maybe("tls-cert-file", at!(tls_cert_file)).with(VOLATILE).apply(Apply::Tls),
    maybe("tls-key-file", at!(tls_key_file)).with(VOLATILE).apply(Apply::Tls),
    maybe("tls-key-file-pass", at!(tls_key_file_pass)).apply(Apply::Tls),
    maybe("tls-client-cert-file", at!(tls_client_cert_file)).with(VOLATILE).apply(Apply::Tls),
    maybe("tls-client-key-file", at!(tls_client_key_file)).with(VOLATILE).apply(Apply::Tls),
    maybe("tls-client-key-file-pass", at!(tls_client_key_file_pass)).apply(Apply::Tls),
    maybe("tls-dh-params-file", at!(tls_dh_params_file)).with(VOLATILE).apply(Apply::Tls),
    maybe("tls-ca-cert-file", at!(tls_ca_cert_file)).with(VOLATILE).apply(Apply::Tls),
    maybe("tls-ca-cert-dir", at!(tls_ca_cert_dir)).with(VOLATILE).apply(Apply::Tls),
    word("tls-auth-clients", word_at!(tls_auth_clients: TlsAuthClients), "yes"),
    flag("tls-replication", at!(tls_replication), false).apply(Apply::Tls),
    flag("tls-cluster", at!(tls_cluster), false).apply(Apply::Tls),
    maybe("tls-protocols", at!(tls_protocols)).apply(Apply::Tls),
    maybe("tls-ciphers", at!(tls_ciphers)).apply(Apply::Tls),
    maybe("tls-ciphersuites", at!(tls_ciphersuites)).apply(Apply::Tls),
    flag("tls-prefer-server-ciphers", at!(tls_prefer_server_ciphers), false).apply(Apply::Tls),
    flag("tls-session-caching", at!(tls_session_caching), true).apply(Apply::Tls),
    uint("tls-session-cache-size", at!(tls_session_cache_size), 0..=INT, 20480).apply(Apply::Tls),
    uint("tls-session-cache-timeout", at!(tls_session_cache_timeout), 0..=INT, 300).apply(Apply::Tls),
    uint("tls-auto-reload-interval", at!(tls_auto_reload_interval), 0..=INT, 0),
];
