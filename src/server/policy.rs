//! What the keyspace keeps a copy of: which effects have listeners, and how keys age. Pushed down once per
//! pass and after commands that change it, so that the keyspace never calls up.

use super::Server;
use super::switches::Switches;
use crate::clients::pause::action;
use crate::config::{Config, MaxmemoryPolicy as P};
use crate::keyspace::Expiry;
use crate::object::{ValueLimits, hash, list, set, zset};

pub fn refresh(srv: &mut Server) {
    let c = &srv.config;
    let p = &mut srv.ks.policy;
    // What is read from the disk is no news.
    let loading = srv.states.has(super::ServerStates::LOADING);
    p.notify = if srv.pubsub.has_listeners() && !loading { c.notify_keyspace_events } else { 0 };
    p.tracked = srv.tracking.listens();
    p.modified = (p.tracked || !srv.watches.is_empty()) && !loading;
    p.ready = if loading { 0 } else { srv.blocked.types() };
    p.ops = srv.ops.wanted() && !loading;
    p.lfu = matches!(c.maxmemory_policy, P::AllkeysLfu | P::VolatileLfu);
    p.lfu_decay_minutes = c.lfu_decay_time as i64;
    p.lfu_log_factor = c.lfu_log_factor as i64;
    p.lazy_expire = c.lazyfree_lazy_expire;
    p.lazy_server_del = c.lazyfree_lazy_server_del;
    p.memory_limit = usize::try_from(c.maxmemory).unwrap_or(usize::MAX);
    p.limits = limits(c, &srv.switches);
    refresh_expiry(srv);
}

/// How expired keys are met. Nothing of a dataset goes before all of it is loaded; a replica waits for its
/// master to say that a key has gone, and until then runs what the master says as if it were there.
pub fn refresh_expiry(srv: &mut Server) {
    let loading = srv.states.has(super::ServerStates::LOADING);
    let replica = srv.states.has(super::ServerStates::REPLICA);
    srv.ks.policy.expiry = match srv.pause.has(action::EXPIRE) {
        _ if loading || srv.repl.applying => Expiry::Ignore,
        _ if replica && srv.config.replica_read_only => Expiry::Report,
        _ if replica => Expiry::DeleteOnWrite,
        true => Expiry::Paused,
        false => Expiry::Delete,
    };
}

/// When values change their encoding.
fn limits(c: &Config, switches: &Switches) -> ValueLimits {
    let size = |n: u64| usize::try_from(n).unwrap_or(usize::MAX);
    ValueLimits {
        list: list::ListLimits {
            fill: c.list_max_listpack_size as i32,
            depth: c.list_compress_depth as i32,
            packed_threshold: switches.packed_threshold,
        },
        set: set::SetLimits {
            ints: size(c.set_max_intset_entries),
            entries: size(c.set_max_listpack_entries),
            value: size(c.set_max_listpack_value),
        },
        hash: hash::HashLimits {
            entries: size(c.hash_max_listpack_entries),
            value: size(c.hash_max_listpack_value),
        },
        zset: zset::ZsetLimits {
            entries: size(c.zset_max_listpack_entries),
            value: size(c.zset_max_listpack_value),
        },
        hll_sparse_max_bytes: size(c.hll_sparse_max_bytes),
        stream_node_max_bytes: size(c.stream_node_max_bytes),
        stream_node_max_entries: size(c.stream_node_max_entries),
    }
}
