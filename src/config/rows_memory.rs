//! Memory: its limit and eviction, expiry, lazy freeing, defragmentation, and the thresholds at which
//! values change their encoding.

use super::choices::MaxmemoryPolicy;
use super::row::{Apply, DEBUG, DirectiveRow, INT, LONG, at, flag, int, memory, uint, word, word_at};

pub static MEMORY: &[DirectiveRow] = &[
    memory("maxmemory", at!(maxmemory), 0..=u64::MAX, 0).apply(Apply::MaxMemory),
    word("maxmemory-policy", word_at!(maxmemory_policy: MaxmemoryPolicy), "noeviction")
        .apply(Apply::KeyspacePolicy),
    uint("maxmemory-samples", at!(maxmemory_samples), 1..=INT, 5).apply(Apply::KeyspacePolicy),
    uint("maxmemory-eviction-tenacity", at!(maxmemory_eviction_tenacity), 0..=100, 10),
    uint("lfu-log-factor", at!(lfu_log_factor), 0..=INT, 10).apply(Apply::KeyspacePolicy),
    uint("lfu-decay-time", at!(lfu_decay_time), 0..=INT, 1).apply(Apply::KeyspacePolicy),
    uint("active-expire-effort", at!(active_expire_effort), 1..=10, 1).apply(Apply::KeyspacePolicy),
    flag("activerehashing", at!(activerehashing), true),
    flag("lazyfree-lazy-eviction", at!(lazyfree_lazy_eviction), false)
        .with(DEBUG)
        .apply(Apply::KeyspacePolicy),
    flag("lazyfree-lazy-expire", at!(lazyfree_lazy_expire), false)
        .with(DEBUG)
        .apply(Apply::KeyspacePolicy),
    flag("lazyfree-lazy-server-del", at!(lazyfree_lazy_server_del), false)
        .with(DEBUG)
        .apply(Apply::KeyspacePolicy),
    flag("lazyfree-lazy-user-del", at!(lazyfree_lazy_user_del), false)
        .with(DEBUG)
        .apply(Apply::KeyspacePolicy),
    flag("lazyfree-lazy-user-flush", at!(lazyfree_lazy_user_flush), false)
        .with(DEBUG)
        .apply(Apply::KeyspacePolicy),
    flag("jemalloc-bg-thread", at!(jemalloc_bg_thread), true).apply(Apply::JemallocBgThread),
    flag("activedefrag", at!(activedefrag), false).with(DEBUG),
    memory("active-defrag-ignore-bytes", at!(active_defrag_ignore_bytes), 1..=LONG, 100 << 20),
    uint("active-defrag-threshold-lower", at!(active_defrag_threshold_lower), 0..=1000, 10),
    uint("active-defrag-threshold-upper", at!(active_defrag_threshold_upper), 0..=1000, 100),
    uint("active-defrag-cycle-min", at!(active_defrag_cycle_min), 1..=99, 1),
    uint("active-defrag-cycle-max", at!(active_defrag_cycle_max), 1..=99, 25),
    uint("active-defrag-max-scan-fields", at!(active_defrag_max_scan_fields), 1..=LONG, 1000),
];

pub static ENCODINGS: &[DirectiveRow] = &[
    uint("hash-max-listpack-entries", at!(hash_max_listpack_entries), 0..=LONG, 512)
        .alias("hash-max-ziplist-entries")
        .apply(Apply::KeyspacePolicy),
    memory("hash-max-listpack-value", at!(hash_max_listpack_value), 0..=LONG, 64)
        .alias("hash-max-ziplist-value")
        .apply(Apply::KeyspacePolicy),
    int("list-max-listpack-size", at!(list_max_listpack_size), I32_MIN, I32_MAX, -2)
        .alias("list-max-ziplist-size")
        .apply(Apply::KeyspacePolicy),
    uint("list-compress-depth", at!(list_compress_depth), 0..=INT, 0)
        .with(DEBUG)
        .apply(Apply::KeyspacePolicy),
    uint("set-max-intset-entries", at!(set_max_intset_entries), 0..=LONG, 512)
        .apply(Apply::KeyspacePolicy),
    uint("set-max-listpack-entries", at!(set_max_listpack_entries), 0..=LONG, 128)
        .apply(Apply::KeyspacePolicy),
    uint("set-max-listpack-value", at!(set_max_listpack_value), 0..=LONG, 64)
        .apply(Apply::KeyspacePolicy),
    uint("zset-max-listpack-entries", at!(zset_max_listpack_entries), 0..=LONG, 128)
        .alias("zset-max-ziplist-entries")
        .apply(Apply::KeyspacePolicy),
    memory("zset-max-listpack-value", at!(zset_max_listpack_value), 0..=LONG, 64)
        .alias("zset-max-ziplist-value")
        .apply(Apply::KeyspacePolicy),
    memory("hll-sparse-max-bytes", at!(hll_sparse_max_bytes), 0..=LONG, 3000)
        .apply(Apply::KeyspacePolicy),
    memory("stream-node-max-bytes", at!(stream_node_max_bytes), 0..=LONG, 4096)
        .apply(Apply::KeyspacePolicy),
    uint("stream-node-max-entries", at!(stream_node_max_entries), 0..=LONG, 100)
        .apply(Apply::KeyspacePolicy),
];

const I32_MIN: i64 = i32::MIN as i64;
const I32_MAX: i64 = i32::MAX as i64;
