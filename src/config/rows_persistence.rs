//! Persistence: snapshots and the append only file.

use super::choices::{AppendFsync, SanitizeDump};
use super::row::{
    Apply, DEBUG, DENY_LOADING, DirectiveRow, HIDDEN, IMMUTABLE, INT, LONG, MULTI_ARG, PROTECTED, at,
    checked_text, flag, int, memory, special, uint, word, word_at,
};
use super::special::{DIR, SAVE};
use super::valid;

pub static SNAPSHOTS: &[DirectiveRow] = &[
    special("dir", &DIR).with(PROTECTED | DENY_LOADING),
    special("save", &SAVE).with(MULTI_ARG),
    checked_text("dbfilename", at!(dbfilename), "dump.rdb", valid::db_filename).with(PROTECTED),
    flag("stop-writes-on-bgsave-error", at!(stop_writes_on_bgsave_error), true),
    flag("rdbcompression", at!(rdbcompression), true),
    flag("rdbchecksum", at!(rdbchecksum), true).with(IMMUTABLE),
    word("sanitize-dump-payload", word_at!(sanitize_dump_payload: SanitizeDump), "no").with(DEBUG),
    flag("rdb-del-sync-files", at!(rdb_del_sync_files), false),
    flag("rdb-save-incremental-fsync", at!(rdb_save_incremental_fsync), true),
    int("rdb-key-save-delay", at!(rdb_key_save_delay), I32_MIN, I32_MAX, 0).with(HIDDEN),
    int("key-load-delay", at!(key_load_delay), I32_MIN, I32_MAX, 0).with(HIDDEN),
    uint(
        "loading-process-events-interval-bytes",
        at!(loading_process_events_interval_bytes),
        1024..=INT,
        2 << 20,
    )
    .with(HIDDEN),
];

pub static APPEND_ONLY: &[DirectiveRow] = &[
    flag("appendonly", at!(appendonly), false).with(DENY_LOADING).apply(Apply::AppendOnly),
    checked_text("appendfilename", at!(appendfilename), "appendonly.aof", valid::append_filename)
        .with(IMMUTABLE),
    checked_text("appenddirname", at!(appenddirname), "appendonlydir", valid::append_dirname)
        .with(IMMUTABLE),
    word("appendfsync", word_at!(appendfsync: AppendFsync), "everysec").apply(Apply::AppendFsync),
    flag("no-appendfsync-on-rewrite", at!(no_appendfsync_on_rewrite), false),
    uint("auto-aof-rewrite-percentage", at!(auto_aof_rewrite_percentage), 0..=INT, 100),
    memory("auto-aof-rewrite-min-size", at!(auto_aof_rewrite_min_size), 0..=LONG, 64 << 20),
    flag("aof-load-truncated", at!(aof_load_truncated), true),
    flag("aof-use-rdb-preamble", at!(aof_use_rdb_preamble), true),
    flag("aof-timestamp-enabled", at!(aof_timestamp_enabled), false),
    flag("aof-rewrite-incremental-fsync", at!(aof_rewrite_incremental_fsync), true),
    flag("aof-disable-auto-gc", at!(aof_disable_auto_gc), false).with(HIDDEN).apply(Apply::AofAutoGc),
];

const I32_MIN: i64 = i32::MIN as i64;
const I32_MAX: i64 = i32::MAX as i64;
