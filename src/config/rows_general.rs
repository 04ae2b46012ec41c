//! The process: how it starts, logs, ticks, stops, and what it records about itself.

use super::choices::{LogLevel, OomScoreAdj, Supervised, SyslogFacility, shutdown};
use super::row::{
    Apply, DirectiveRow, HIDDEN, IMMUTABLE, INT, LONG, MULTI_ARG, at, checked_text, flag, int, maybe,
    special, text, uint, word, word_at, words,
};
use super::special::{NOTIFY_KEYSPACE_EVENTS, OOM_SCORE_ADJ_VALUES, PERCENTILES};
use super::valid;

pub static GENERAL: &[DirectiveRow] = &[
    flag("daemonize", at!(daemonize), false).with(IMMUTABLE),
    word("supervised", word_at!(supervised: Supervised), "no").with(IMMUTABLE),
    maybe("pidfile", at!(pidfile)).with(IMMUTABLE),
    word("loglevel", word_at!(loglevel: LogLevel), "notice").apply(Apply::LogLevel),
    text("logfile", at!(logfile), "").with(IMMUTABLE),
    flag("syslog-enabled", at!(syslog_enabled), false).with(IMMUTABLE),
    text("syslog-ident", at!(syslog_ident), "redis").with(IMMUTABLE),
    word("syslog-facility", word_at!(syslog_facility: SyslogFacility), "local0").with(IMMUTABLE),
    flag("crash-log-enabled", at!(crash_log_enabled), true).apply(Apply::CrashLog),
    flag("crash-memcheck-enabled", at!(crash_memcheck_enabled), true),
    flag("use-exit-on-panic", at!(use_exit_on_panic), false).with(HIDDEN),
    uint("databases", at!(databases), 1..=INT, 16).with(IMMUTABLE),
    flag("debug-slot-tables", at!(debug_slot_tables), false).with(IMMUTABLE | HIDDEN),
    flag("always-show-logo", at!(always_show_logo), false).with(IMMUTABLE),
    flag("set-proc-title", at!(set_proc_title), true).with(IMMUTABLE),
    checked_text(
        "proc-title-template",
        at!(proc_title_template),
        "{title} {listen-addr} {server-mode}",
        valid::proc_title,
    )
    .apply(Apply::ProcTitle),
    text("locale-collate", at!(locale_collate), "").apply(Apply::Locale),
    text("ignore-warnings", at!(ignore_warnings), ""),
    uint("hz", at!(hz), 0..=INT, 10).apply(Apply::Hz),
    flag("dynamic-hz", at!(dynamic_hz), true),
    uint("watchdog-period", at!(watchdog_period), 0..=INT, 0).with(HIDDEN).apply(Apply::Watchdog),
    uint("shutdown-timeout", at!(shutdown_timeout), 0..=INT, 10),
    words("shutdown-on-sigint", at!(shutdown_on_sigint), shutdown::NAMES, valid::shutdown_flags),
    words("shutdown-on-sigterm", at!(shutdown_on_sigterm), shutdown::NAMES, valid::shutdown_flags),
    uint("busy-reply-threshold", at!(busy_reply_threshold), 0..=LONG, 5000).alias("lua-time-limit"),
    maybe("server_cpulist", at!(server_cpulist)).with(IMMUTABLE),
    maybe("bio_cpulist", at!(bio_cpulist)).with(IMMUTABLE),
    maybe("aof_rewrite_cpulist", at!(aof_rewrite_cpulist)).with(IMMUTABLE),
    maybe("bgsave_cpulist", at!(bgsave_cpulist)).with(IMMUTABLE),
    flag("disable-thp", at!(disable_thp), true).with(IMMUTABLE),
    word("oom-score-adj", word_at!(oom_score_adj: OomScoreAdj), "no").apply(Apply::OomScore),
    special("oom-score-adj-values", &OOM_SCORE_ADJ_VALUES).with(MULTI_ARG).apply(Apply::OomScore),
];

pub static RECORDS: &[DirectiveRow] = &[
    int("slowlog-log-slower-than", at!(slowlog_log_slower_than), -1, i64::MAX, 10000)
        .apply(Apply::Slowlog),
    uint("slowlog-max-len", at!(slowlog_max_len), 0..=LONG, 128).apply(Apply::Slowlog),
    uint("latency-monitor-threshold", at!(latency_monitor_threshold), 0..=LONG, 0)
        .apply(Apply::LatencyTracking),
    flag("latency-tracking", at!(latency_tracking), true).apply(Apply::LatencyTracking),
    special("latency-tracking-info-percentiles", &PERCENTILES)
        .with(MULTI_ARG)
        .apply(Apply::LatencyTracking),
    special("notify-keyspace-events", &NOTIFY_KEYSPACE_EVENTS).apply(Apply::KeyspacePolicy),
];
