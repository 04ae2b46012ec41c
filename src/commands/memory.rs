//! MEMORY: what keys and the whole server occupy.
//!
//! MEMORY USAGE adds up what the allocator really gave: the entry (header, TTL, key and a short value
//! in one block), its places in the tables, and what the value holds on its own. Elements of big values
//! are sampled.

use super::help;
use super::numbers::integer;
use crate::algo::num::F64Text;
use crate::cmd::docs;
use crate::cmd::row::flag::*;
use crate::cmd::row::{Flow, KeySpec, key};
use crate::ds::entry::EntryRef;
use crate::object::value::Value;
use crate::proto::error::CmdError;
use crate::proto::reply::Reply;
use crate::server::ctx::{Command, Ctx, ROW, container};
use crate::server::info::memory::{Overhead, Pages};
use crate::sys::alloc;

pub static ROWS: &[Command] = &[Command {
    name: "memory",
    arity: -2,
    run: container,
    docs: &docs::MEMORY,
    subs: &[
        Command { name: "doctor", arity: 2, run: memory_doctor, docs: &docs::MEMORY_DOCTOR, ..ROW },
        Command {
            name: "help",
            arity: 2,
            flags: LOADING | STALE,
            run: memory_help,
            docs: &docs::MEMORY_HELP,
            ..ROW
        },
        Command {
            name: "malloc-stats",
            arity: 2,
            run: memory_malloc_stats,
            docs: &docs::MEMORY_MALLOC_STATS,
            ..ROW
        },
        Command { name: "purge", arity: 2, run: memory_purge, docs: &docs::MEMORY_PURGE, ..ROW },
        Command { name: "stats", arity: 2, run: memory_stats, docs: &docs::MEMORY_STATS, ..ROW },
        Command {
            name: "usage",
            arity: -3,
            flags: READONLY,
            keys: &[KeySpec::one(key::RO, 2)],
            run: memory_usage,
            docs: &docs::MEMORY_USAGE,
            ..ROW
        },
    ],
    ..ROW
}];

fn memory_help(ctx: &mut Ctx<'_>) -> Result<Flow, CmdError> {
    help::reply(
        ctx,
        &[
            "DOCTOR",
            "    Tell what is wrong with the memory, if anything is.",
            "MALLOC-STATS",
            "    Show the allocator's own report.",
            "PURGE",
            "    Ask the allocator to give unused pages back.",
            "STATS",
            "    Show what the memory is used for.",
            "USAGE <key> [SAMPLES <count>]",
            "    Tell how many bytes <key> and its value occupy. All elements are counted, whatever",
            "    <count> says.",
        ],
    )
}

/// A place in a bucket of 64 bytes, which holds eight on average when the table is full.
const PLACE: usize = 8;

/// Bytes that a key occupies.
pub fn usage(e: EntryRef<'_>) -> usize {
    let places = if e.when().is_some() { 2 * PLACE } else { PLACE };
    let value = if e.is_inline() { 0 } else { Value::held_by(e) };
    e.footprint() + places + value
}

fn memory_usage(ctx: &mut Ctx<'_>) -> Result<Flow, CmdError> {
    // Values count their bytes themselves: any number of samples gives the same answer.
    let mut options = ctx.args.from(3).iter();
    while let Some(option) = options.next() {
        let n = options.next().filter(|_| option.eq_ignore_ascii_case(b"samples"));
        usize::try_from(integer(n.ok_or(CmdError::Syntax)?)?).map_err(|_| CmdError::Syntax)?;
    }
    match ctx.srv.ks.peek(ctx.db, ctx.key(2)) {
        Some(e) => ctx.out.int(usage(e) as i64),
        None => ctx.out.null(),
    }
    Ok(Flow::Done)
}

fn memory_malloc_stats(ctx: &mut Ctx<'_>) -> Result<Flow, CmdError> {
    ctx.out.verbatim(b"txt", &alloc::malloc_stats());
    Ok(Flow::Done)
}

fn memory_purge(ctx: &mut Ctx<'_>) -> Result<Flow, CmdError> {
    if !alloc::purge() {
        return Err(CmdError::Msg(&"ERR Error purging dirty pages"));
    }
    ctx.out.ok();
    Ok(Flow::Done)
}

fn number(out: &mut Reply, name: &str, n: usize) {
    out.bulk(name.as_bytes());
    out.int(n as i64);
}

/// In single precision, as upstream computes it.
fn ratio(a: usize, b: usize) -> f32 {
    a as f32 / b as f32
}

fn fraction(out: &mut Reply, name: &str, n: f32) {
    out.bulk(name.as_bytes());
    out.double_text(&F64Text::new(f64::from(n)));
}

/// A ratio of two figures, and by how much the first is more.
fn compared(out: &mut Reply, names: [&str; 2], a: usize, b: usize) {
    fraction(out, names[0], ratio(a, b));
    out.bulk(names[1].as_bytes());
    out.int((a as i64).wrapping_sub(b as i64));
}

fn memory_stats(ctx: &mut Ctx<'_>) -> Result<Flow, CmdError> {
    /// Fields beside one for each database.
    const FIELDS: usize = 27;
    let p = Pages::recent(ctx.srv);
    let o = Overhead::of(ctx.srv, 0);
    let out = &mut *ctx.out;
    out.map(FIELDS + o.dbs.len());
    number(out, "peak.allocated", o.peak);
    number(out, "total.allocated", o.used);
    number(out, "startup.allocated", o.startup);
    number(out, "replication.backlog", o.backlog);
    number(out, "clients.slaves", o.clients_replicas);
    number(out, "clients.normal", o.clients_normal);
    number(out, "cluster.links", ctx.srv.bus.as_ref().map_or(0, |bus| bus.footprint()));
    number(out, "aof.buffer", o.aof_buffer);
    number(out, "lua.caches", o.scripts);
    number(out, "functions.caches", o.functions);
    for db in &o.dbs {
        out.bulk(format!("db.{}", db.db).as_bytes());
        out.map(3);
        number(out, "overhead.hashtable.main", db.main);
        number(out, "overhead.hashtable.expires", db.expires);
        // Slots have tables of their own: there is no second map of keys.
        number(out, "overhead.hashtable.slot-to-keys", 0);
    }
    number(out, "overhead.total", o.total);
    number(out, "keys.count", o.keys);
    number(out, "keys.bytes-per-key", o.net().checked_div(o.keys).unwrap_or(0));
    number(out, "dataset.bytes", o.dataset);
    fraction(out, "dataset.percentage", o.dataset_percent() as f32);
    fraction(out, "peak.percentage", o.peak_percent() as f32);
    number(out, "allocator.allocated", p.allocated);
    number(out, "allocator.active", p.active);
    number(out, "allocator.resident", p.resident);
    let frag = ["allocator-fragmentation.ratio", "allocator-fragmentation.bytes"];
    compared(out, frag, p.active, p.allocated);
    compared(out, ["allocator-rss.ratio", "allocator-rss.bytes"], p.resident, p.active);
    compared(out, ["rss-overhead.ratio", "rss-overhead.bytes"], p.rss, p.resident);
    compared(out, ["fragmentation", "fragmentation.bytes"], p.rss, o.used);
    Ok(Flow::Done)
}

/// What MEMORY DOCTOR looks at.
struct Symptoms {
    used: usize,
    peak: usize,
    rss: usize,
    allocated: usize,
    active: usize,
    resident: usize,
    per_client: usize,
    /// What the buffers of replicas hold, when there are any.
    replicas: usize,
    scripts: usize,
}

/// Less than this is normal whatever the ratio says.
const WORTH_A_WORD: usize = 10 << 20;

impl Symptoms {
    fn report(&self) -> String {
        if self.used < 5 << 20 {
            return "There is hardly any data here: nothing that a diagnosis could be based on. Come back \
                    when the instance has been used for a while.\n"
                .into();
        }
        let over =
            |a: usize, b: usize, limit: f32| ratio(a, b) > limit && a.saturating_sub(b) > WORTH_A_WORD;
        let found = [
            (ratio(self.peak, self.used) > 1.5, PEAK),
            (over(self.rss, self.used, 1.4), RSS),
            (over(self.active, self.allocated, 1.1), FRAGMENTED),
            (over(self.resident, self.active, 1.1), KEPT),
            (over(self.rss, self.resident, 1.1), OUTSIDE),
            (self.replicas > WORTH_A_WORD, REPLICAS),
            (self.per_client > 200 << 10, CLIENTS),
            (self.scripts > 1000, SCRIPTS),
        ];
        let all: String =
            found.iter().filter(|(is, _)| *is).map(|(_, text)| format!(" * {text}\n\n")).collect();
        if all.is_empty() {
            return "No trouble with the memory in sight, as far as this instance can tell.\n".into();
        }
        format!("Something about the memory of this instance deserves a look:\n\n{all}")
    }
}

const PEAK: &str = "Peak: the instance once used more than one and a half times of what it uses now. \
    Pages that the allocator could not give back since then make the resident size look too big; they \
    serve again when the data grows. MEMORY PURGE may free some of them, a restart all.";
const RSS: &str = "Resident size: the process occupies more than 1.4 times of what was allocated. A \
    former peak (see above, if it is listed) explains it, or else an allocator that loses space between \
    its blocks.";
const FRAGMENTED: &str = "Fragmentation: more than a tenth of the allocator's pages in use is holes \
    between blocks. Blocks of many sizes that come and go leave them behind.";
const KEPT: &str = "Kept pages: the allocator holds more than a tenth of pages that are unused, in case \
    they are wanted again. MEMORY PURGE gives them back.";
const OUTSIDE: &str = "Beyond the allocator: more than a tenth of the resident size was not allocated by \
    the server itself. Scripts and modules are the usual suspects.";
const REPLICAS: &str = "Replica buffers: replicas have not been sent more than 10 MB of what they are \
    owed. One of them reads too slowly, or the network between is too narrow: INFO replication shows how \
    far behind each is, CLIENT LIST what waits for it.";
const CLIENTS: &str = "Client buffers: clients hold more than 200 kB each on average. Look at CLIENT \
    LIST for those that do not read their replies, receive more messages than they take, or pipeline \
    without end.";
const SCRIPTS: &str = "Scripts: more than a thousand of them are cached. Programs that build the text of \
    a script anew for each call do this; pass what changes as keys and arguments, or call SCRIPT FLUSH \
    now and then.";

fn memory_doctor(ctx: &mut Ctx<'_>) -> Result<Flow, CmdError> {
    let p = Pages::recent(ctx.srv);
    let o = Overhead::of(ctx.srv, 0);
    let symptoms = Symptoms {
        used: o.used,
        peak: o.peak,
        rss: p.rss,
        allocated: p.allocated,
        active: p.active,
        resident: p.resident,
        per_client: o.clients_normal / ctx.srv.clients.connected().max(1),
        replicas: if ctx.srv.repl.replicas.is_empty() { 0 } else { o.clients_replicas },
        scripts: ctx.srv.scripting.scripts.len(),
    };
    ctx.out.verbatim(b"txt", symptoms.report().as_bytes());
    Ok(Flow::Done)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_doctor_names_what_is_wrong_and_nothing_else() {
        let healthy = || Symptoms {
            used: 100 << 20,
            peak: 110 << 20,
            rss: 115 << 20,
            allocated: 101 << 20,
            active: 105 << 20,
            resident: 112 << 20,
            per_client: 20_000,
            replicas: 0,
            scripts: 3,
        };
        assert!(healthy().report().starts_with("No trouble"));
        assert!(Symptoms { used: 1 << 20, ..healthy() }.report().starts_with("There is hardly"));
        let text = Symptoms { peak: 200 << 20, scripts: 2000, ..healthy() }.report();
        assert!(text.contains(PEAK) && text.contains(SCRIPTS) && text.matches(" * ").count() == 2);
        let text = Symptoms { rss: 200 << 20, ..healthy() }.report();
        assert!(text.contains(RSS) && text.contains(OUTSIDE) && !text.contains(KEPT));
        let text = Symptoms { replicas: 11 << 20, ..healthy() }.report();
        assert!(text.contains(REPLICAS) && text.matches(" * ").count() == 1);
        // A bad ratio of little memory is no trouble.
        let text = Symptoms {
            active: 12 << 20,
            allocated: 5 << 20,
            resident: 12 << 20,
            rss: 12 << 20,
            used: 6 << 20,
            peak: 6 << 20,
            ..healthy()
        };
        assert!(text.report().starts_with("No trouble"));
    }
}
