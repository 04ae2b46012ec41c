//! INFO memory, and the figures that it shares with MEMORY STATS: what the bytes in use are for.
//!
//! ```text
//! used ─┬─ overhead: at the start + clients + buffers + tables of each database
//!       └─ dataset: the rest
//! resident = used + what the allocator wastes inside pages + pages it keeps + the program itself
//! ```

use super::{fields, ratio};
use crate::algo::num::human_bytes;
use crate::config::Choice;
use crate::ds::dict::Index;
use crate::server::Server;
use crate::sys::{alloc, usage};

/// One database's tables.
pub struct DbOverhead {
    pub db: usize,
    pub main: usize,
    pub expires: usize,
}

pub struct Overhead {
    pub used: usize,
    pub peak: usize,
    pub startup: usize,
    /// The stream as far as the backlog's size goes, and what replicas hold beyond it.
    pub backlog: usize,
    pub clients_replicas: usize,
    pub clients_normal: usize,
    /// What waits to be written to the AOF.
    pub aof_buffer: usize,
    /// Cached scripts, and libraries of functions.
    pub scripts: usize,
    pub functions: usize,
    pub dbs: Vec<DbOverhead>,
    pub total: usize,
    pub dataset: usize,
    pub keys: usize,
}

impl Overhead {
    /// `own` bytes hold the report that asks, and are none of what it reports on.
    pub fn of(srv: &Server, own: usize) -> Overhead {
        let used = alloc::used().saturating_sub(own);
        let clients_normal = srv.clients.iter().map(|(_, c)| c.memory()).sum();
        let dbs: Vec<_> = srv
            .ks
            .iter()
            .filter(|(_, d)| !d.is_empty())
            .map(|(db, d)| DbOverhead {
                db,
                // Keys and values share one allocation with an 8-byte header, which is no data.
                main: d.overhead(Index::Keys) + d.len() * 8,
                // The word of the time stands in that block too.
                expires: d.overhead(Index::Expires) + d.volatile() * 8,
            })
            .collect();
        let tables: usize = dbs.iter().map(|d| d.main + d.expires).sum();
        let startup = srv.process.startup_memory;
        let aof_buffer = srv.ops.aof.as_ref().map_or(0, |s| s.buf.capacity());
        let (scripts, functions) = (srv.scripting.cache_memory(), srv.scripting.libraries.memory());
        let (stream, beyond) = srv.repl.footprint(srv.config.repl_backlog_size);
        // Without replicas all of it is backlog, which is trimmed bit by bit.
        let clients_replicas = if srv.repl.replicas.is_empty() { 0 } else { beyond };
        let backlog = stream - clients_replicas;
        let total = startup + stream + clients_normal + aof_buffer + scripts + functions + tables;
        Overhead {
            used,
            peak: srv.stats.peak_memory.max(used),
            startup,
            backlog,
            clients_replicas,
            clients_normal,
            aof_buffer,
            scripts,
            functions,
            dbs,
            total,
            dataset: used.saturating_sub(total),
            keys: srv.ks.keys(),
        }
    }

    /// What came after the start, at least 1.
    pub fn net(&self) -> usize {
        self.used.saturating_sub(self.startup).max(1)
    }

    pub fn dataset_percent(&self) -> f64 {
        self.dataset as f64 * 100.0 / self.net() as f64
    }

    pub fn peak_percent(&self) -> f64 {
        self.used as f64 * 100.0 / self.peak as f64
    }
}

/// For so long the allocator is not asked again: adding up its arenas takes longer than all the rest of
/// INFO.
const PAGES_MS: u64 = 100;

/// Where the allocator's bytes are; without jemalloc only what the kernel knows.
#[derive(Clone, Copy)]
pub struct Pages {
    pub allocated: usize,
    pub active: usize,
    pub resident: usize,
    /// Of the whole process.
    pub rss: usize,
}

impl Pages {
    /// As of now, or of a moment ago.
    pub fn recent(srv: &mut Server) -> Pages {
        let now = srv.clock.mono_ms;
        match srv.pages {
            Some((at, pages)) if now < at + PAGES_MS => pages,
            _ => {
                let pages = Pages::now();
                srv.pages = Some((now, pages));
                pages
            }
        }
    }

    fn now() -> Pages {
        let (s, rss) = (alloc::stats(), usage::resident());
        if s.resident == 0 {
            return Pages { allocated: alloc::used(), active: rss, resident: rss, rss };
        }
        Pages { allocated: s.allocated, active: s.active, resident: s.resident, rss }
    }
}

fn difference(a: usize, b: usize) -> i64 {
    (a as i64).wrapping_sub(b as i64)
}

pub fn write(srv: &mut Server, out: &mut String) {
    let p = Pages::recent(srv);
    let o = Overhead::of(srv, alloc::size_class(out.capacity()));
    let human = |n: usize| human_bytes(n as u64);
    let system = usage::total_memory();
    fields!(out,
        "used_memory" => o.used,
        "used_memory_human" => human(o.used),
        "used_memory_rss" => p.rss,
        "used_memory_rss_human" => human(p.rss),
        "used_memory_peak" => o.peak,
        "used_memory_peak_human" => human(o.peak),
        "used_memory_peak_perc" => format_args!("{:.2}%", o.peak_percent()),
        "used_memory_overhead" => o.total,
        "used_memory_startup" => o.startup,
        "used_memory_dataset" => o.dataset,
        "used_memory_dataset_perc" => format_args!("{:.2}%", o.dataset_percent()),
        "allocator_allocated" => p.allocated,
        "allocator_active" => p.active,
        "allocator_resident" => p.resident,
        "total_system_memory" => system,
        "total_system_memory_human" => human(system),
    );
    scripts(srv, &o, out);
    fields!(out,
        "maxmemory" => srv.config.maxmemory,
        "maxmemory_human" => human_bytes(srv.config.maxmemory),
        "maxmemory_policy" => srv.config.maxmemory_policy.word(),
        "allocator_frag_ratio" => ratio(p.active as f64, p.allocated as f64),
        "allocator_frag_bytes" => p.active.saturating_sub(p.allocated),
        "allocator_rss_ratio" => ratio(p.resident as f64, p.active as f64),
        "allocator_rss_bytes" => difference(p.resident, p.active),
        "rss_overhead_ratio" => ratio(p.rss as f64, p.resident as f64),
        "rss_overhead_bytes" => difference(p.rss, p.resident),
        "mem_fragmentation_ratio" => ratio(p.rss as f64, o.used as f64),
        "mem_fragmentation_bytes" => difference(p.rss, o.used),
        "mem_not_counted_for_evict" => crate::server::evict::not_counted(srv),
        "mem_replication_backlog" => o.backlog,
        "mem_total_replication_buffers" => o.backlog + o.clients_replicas,
        "mem_clients_slaves" => o.clients_replicas,
        "mem_clients_normal" => o.clients_normal,
        "mem_cluster_links" => srv.bus.as_ref().map_or(0, |bus| bus.footprint()),
        "mem_aof_buffer" => o.aof_buffer,
        "mem_allocator" => alloc::NAME,
        "active_defrag_running" => 0,
        "lazyfree_pending_objects" => srv.lazyfree.pending(),
        "lazyfreed_objects" => srv.lazyfree.freed(),
    );
}

/// Interpreters and what they keep.
fn scripts(srv: &Server, o: &Overhead, out: &mut String) {
    let s = &srv.scripting;
    let (eval, functions) = (s.eval.memory(), s.functions.memory());
    let human = |n: usize| human_bytes(n as u64);
    fields!(out,
        "used_memory_lua" => eval,
        "used_memory_vm_eval" => eval,
        "used_memory_lua_human" => human(eval),
        "used_memory_scripts_eval" => o.scripts,
        "number_of_cached_scripts" => s.scripts.len(),
        "number_of_functions" => s.libraries.callable(),
        "number_of_libraries" => s.libraries.len(),
        "used_memory_vm_functions" => functions,
        "used_memory_vm_total" => eval + functions,
        "used_memory_vm_total_human" => human(eval + functions),
        "used_memory_functions" => o.functions,
        "used_memory_scripts" => o.scripts + o.functions,
        "used_memory_scripts_human" => human(o.scripts + o.functions),
    );
}
