//! LATENCY: spikes as the monitor kept them, and the histograms of commands.

use super::help;
use crate::cmd::docs;
use crate::cmd::row::Flow;
use crate::cmd::row::flag::*;
use crate::cmd::table::CmdId;
use crate::config::AppendFsync;
use crate::latency::Surroundings;
use crate::proto::error::CmdError;
use crate::server::ctx::{Command, Ctx, ROW};
use crate::sys::process;

const SUB: Command = Command { flags: ADMIN | NOSCRIPT | LOADING | STALE, ..ROW };

pub static ROWS: &[Command] = &[Command {
    name: "latency",
    arity: -2,
    docs: &docs::LATENCY,
    subs: &[
        Command { name: "doctor", arity: 2, run: doctor, docs: &docs::LATENCY_DOCTOR, ..SUB },
        Command { name: "graph", arity: 3, run: graph, docs: &docs::LATENCY_GRAPH, ..SUB },
        Command {
            name: "help",
            arity: 2,
            flags: LOADING | STALE,
            run: help_,
            docs: &docs::LATENCY_HELP,
            ..ROW
        },
        Command { name: "histogram", arity: -2, run: histogram, docs: &docs::LATENCY_HISTOGRAM, ..SUB },
        Command { name: "history", arity: 3, run: history, docs: &docs::LATENCY_HISTORY, ..SUB },
        Command { name: "latest", arity: 2, run: latest, docs: &docs::LATENCY_LATEST, ..SUB },
        Command { name: "reset", arity: -2, run: reset, docs: &docs::LATENCY_RESET, ..SUB },
    ],
    ..ROW
}];

fn history(ctx: &mut Ctx<'_>) -> Result<Flow, CmdError> {
    let Some(series) = ctx.srv.latency.get(ctx.args[2]) else {
        ctx.out.array(0);
        return Ok(Flow::Done);
    };
    ctx.out.array(series.samples.len());
    for s in &series.samples {
        ctx.out.array(2);
        ctx.out.int(s.time);
        ctx.out.int(s.latency as i64);
    }
    Ok(Flow::Done)
}

fn latest(ctx: &mut Ctx<'_>) -> Result<Flow, CmdError> {
    let events = ctx.srv.latency.iter();
    ctx.out.array(events.len());
    for (name, series) in events {
        let last = series.samples.back().expect("an event begins with a sample");
        ctx.out.array(4);
        ctx.out.bulk(name.as_bytes());
        ctx.out.int(last.time);
        ctx.out.int(last.latency as i64);
        ctx.out.int(series.max as i64);
    }
    Ok(Flow::Done)
}

fn graph(ctx: &mut Ctx<'_>) -> Result<Flow, CmdError> {
    match ctx.srv.latency.graph(ctx.args[2], ctx.srv.clock.unix_secs()) {
        Some(text) => ctx.out.verbatim(b"txt", text.as_bytes()),
        None => {
            let text =
                [b"ERR No samples available for event '", help::c_text(ctx.args[2]), b"'"].concat();
            ctx.out.error_bytes(&text);
            return Err(CmdError::Replied);
        }
    }
    Ok(Flow::Done)
}

fn doctor(ctx: &mut Ctx<'_>) -> Result<Flow, CmdError> {
    let (srv, c) = (&ctx.srv, &ctx.srv.config);
    let text = srv.latency.report(&Surroundings {
        now: srv.clock.unix_secs(),
        threshold: c.latency_monitor_threshold,
        slowlog: c.slowlog_log_slower_than,
        hz: srv.cron.hz,
        appendfsync_always: c.appendfsync == AppendFsync::Always,
        huge_pages: process::smaps_bytes("AnonHugePages:", None) > 0,
        fork_rate: 0.0,
    });
    ctx.out.verbatim(b"txt", text.as_bytes());
    Ok(Flow::Done)
}

fn reset(ctx: &mut Ctx<'_>) -> Result<Flow, CmdError> {
    let monitor = &mut ctx.srv.latency;
    let forgotten = match ctx.args.from(2) {
        [] => monitor.reset(None),
        events => events.iter().map(|e| monitor.reset(Some(e))).sum(),
    };
    ctx.out.int(forgotten as i64);
    Ok(Flow::Done)
}

/// Each command's calls by how long they took: microseconds, and how many took no longer.
fn histogram(ctx: &mut Ctx<'_>) -> Result<Flow, CmdError> {
    let table = &ctx.srv.table;
    let with_subs =
        |id: CmdId| std::iter::once(id).chain(table.get(id).subs.iter().map(|(_, sub)| *sub));
    let asked: Vec<CmdId> = match ctx.args.from(2) {
        [] => table.served().collect(),
        names => names.iter().filter_map(|n| table.find_full(n)).collect(),
    };
    let measured = |id: CmdId| Some((id, ctx.srv.cmdstats[id as usize].latency.as_deref()?));
    let found: Vec<_> = asked.into_iter().flat_map(with_subs).filter_map(measured).collect();
    ctx.out.map(found.len());
    for (id, h) in found {
        ctx.out.bulk(table.get(id).name.as_bytes());
        ctx.out.map(2);
        ctx.out.bulk(b"calls");
        ctx.out.int(h.total() as i64);
        ctx.out.bulk(b"histogram_usec");
        let cuts = h.cumulative();
        ctx.out.map(cuts.len());
        for (us, count) in cuts {
            ctx.out.int(us as i64);
            ctx.out.int(count as i64);
        }
    }
    Ok(Flow::Done)
}

fn help_(ctx: &mut Ctx<'_>) -> Result<Flow, CmdError> {
    let lines = [
        "DOCTOR",
        "    Return a report about the spikes, with advice.",
        "GRAPH <event>",
        "    Return the spikes of <event>, drawn.",
        "HISTORY <event>",
        "    Return the spikes of <event>: unix time and milliseconds of each.",
        "LATEST",
        "    Return the latest spike of every event, and the worst.",
        "RESET [<event> ...]",
        "    Forget the spikes of these events, or of all.",
        "HISTOGRAM [COMMAND ...]",
        "    Return how long the calls of these commands took, or of all: cumulative counts by microseconds.",
    ];
    help::reply(ctx, &lines)
}
