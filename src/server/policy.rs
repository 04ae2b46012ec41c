//! What the keyspace keeps a copy of: who listens, and how keys age. Pushed down once per pass and after commands that
//! change it, so that the keyspace never looks up.

use super::Server;
use crate::config::MaxmemoryPolicy as P;
use crate::keyspace::Expiry;

pub fn refresh(srv: &mut Server) {
    let c = &srv.config;
    let p = &mut srv.ks.policy;
    let still = srv.pause.has(super::pause::action::EXPIRE);
    p.expiry = if still { Expiry::Report } else { Expiry::Delete };
    p.notify = if srv.pubsub.has_listeners() { c.notify_keyspace_events } else { 0 };
    p.modified = !srv.watches.is_empty();
    p.ready = !srv.blocked.is_empty();
    p.ops = srv.ops.wanted();
    p.lfu = matches!(c.maxmemory_policy, P::AllkeysLfu | P::VolatileLfu);
    p.lfu_decay_minutes = c.lfu_decay_time as i64;
    p.lfu_log_factor = c.lfu_log_factor as i64;
    p.lazy_expire = c.lazyfree_lazy_expire;
    p.lazy_server_del = c.lazyfree_lazy_server_del;
}
