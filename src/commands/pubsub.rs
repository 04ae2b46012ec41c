//! SUBSCRIBE and its kin, PUBLISH, PUBSUB.

use super::help;
use crate::clients::{ClientId, flag};
use crate::cluster::Event;
use crate::cmd::docs;
use crate::cmd::row::flag::*;
use crate::cmd::row::{Flow, KeySpec, cat, key};
use crate::proto::error::CmdError;
use crate::proto::reply::Reply;
use crate::pubsub::{SubscriptionKind, publish};
use crate::replication::ops::to;
use crate::server::ctx::{Command, Ctx, Handler, Propagation, ROW};
use crate::server::{Server, bus, policy};

const SUBSCRIBER: u64 = PUBSUB | NOSCRIPT | LOADING | STALE | WHILE_SUBSCRIBED;
const PUBLISHER: u64 = PUBSUB | LOADING | STALE | FAST | MAY_REPLICATE | TO_CHANNEL;

const fn row(
    name: &'static str,
    arity: i32,
    flags: u64,
    run: Handler,
    docs: &'static crate::cmd::row::Docs,
) -> Command {
    Command { name, arity, flags, run, docs, ..ROW }
}

pub static ROWS: &[Command] = &[
    row(
        "psubscribe",
        -2,
        SUBSCRIBER | FROM_PATTERNS,
        |c| subscribe(c, SubscriptionKind::Pattern),
        &docs::PSUBSCRIBE,
    ),
    row("publish", 3, PUBLISHER, publish_, &docs::PUBLISH),
    Command {
        name: "pubsub",
        arity: -2,
        subs: &[
            row(
                "channels",
                -2,
                PUBSUB | LOADING | STALE,
                |c| active(c, SubscriptionKind::Channel),
                &docs::PUBSUB_CHANNELS,
            ),
            row("help", 2, LOADING | STALE, help, &docs::PUBSUB_HELP),
            row("numpat", 2, PUBSUB | LOADING | STALE, numpat, &docs::PUBSUB_NUMPAT),
            row(
                "numsub",
                -2,
                PUBSUB | LOADING | STALE,
                |c| numsub(c, SubscriptionKind::Channel),
                &docs::PUBSUB_NUMSUB,
            ),
            row(
                "shardchannels",
                -2,
                PUBSUB | LOADING | STALE,
                |c| active(c, SubscriptionKind::Shard),
                &docs::PUBSUB_SHARDCHANNELS,
            ),
            row(
                "shardnumsub",
                -2,
                PUBSUB | LOADING | STALE,
                |c| numsub(c, SubscriptionKind::Shard),
                &docs::PUBSUB_SHARDNUMSUB,
            ),
        ],
        docs: &docs::PUBSUB,
        ..ROW
    },
    row(
        "punsubscribe",
        -1,
        SUBSCRIBER,
        |c| unsubscribe(c, SubscriptionKind::Pattern),
        &docs::PUNSUBSCRIBE,
    ),
    Command {
        name: "spublish",
        arity: 3,
        flags: PUBLISHER,
        acl: cat::PUBSUB,
        keys: &[KeySpec::one(key::NOT_KEY, 1)],
        run: spublish,
        docs: &docs::SPUBLISH,
        ..ROW
    },
    Command {
        name: "ssubscribe",
        arity: -2,
        flags: SUBSCRIBER | FROM_CHANNELS,
        keys: &[KeySpec::range(key::NOT_KEY, 1, -1, 1)],
        run: |c| subscribe(c, SubscriptionKind::Shard),
        docs: &docs::SSUBSCRIBE,
        ..ROW
    },
    row(
        "subscribe",
        -2,
        SUBSCRIBER | FROM_CHANNELS,
        |c| subscribe(c, SubscriptionKind::Channel),
        &docs::SUBSCRIBE,
    ),
    Command {
        name: "sunsubscribe",
        arity: -1,
        flags: SUBSCRIBER,
        keys: &[KeySpec::range(key::NOT_KEY, 1, -1, 1)],
        run: |c| unsubscribe(c, SubscriptionKind::Shard),
        docs: &docs::SUNSUBSCRIBE,
        ..ROW
    },
    row(
        "unsubscribe",
        -1,
        SUBSCRIBER,
        |c| unsubscribe(c, SubscriptionKind::Channel),
        &docs::UNSUBSCRIBE,
    ),
];

/// Channels and patterns are counted together, shard channels by themselves.
fn count(srv: &Server, kind: SubscriptionKind, id: ClientId) -> usize {
    match kind {
        SubscriptionKind::Shard => srv.pubsub.count(SubscriptionKind::Shard, id),
        _ => {
            srv.pubsub.count(SubscriptionKind::Channel, id)
                + srv.pubsub.count(SubscriptionKind::Pattern, id)
        }
    }
}

fn confirm(out: &mut Reply, word: &str, name: Option<&[u8]>, count: usize) {
    // A push: CLIENT REPLY OFF does not silence it.
    out.aloud(|out| {
        out.push(3);
        out.bulk(word.as_bytes());
        match name {
            Some(n) => out.bulk(n),
            None => out.null(),
        }
        out.int(count as i64);
    });
}

fn subscribe(ctx: &mut Ctx<'_>, kind: SubscriptionKind) -> Result<Flow, CmdError> {
    let c = &ctx.srv.clients[ctx.client];
    // Inside EXEC old clients may subscribe, but not to shard channels.
    let lenient = kind != SubscriptionKind::Shard && (c.has(flag::MULTI) || ctx.srv.execution.in_exec());
    if c.has(flag::DENY_BLOCKING) && !lenient {
        let name = kind.words().0.to_uppercase();
        return Err(CmdError::text(format!("ERR {name} isn't allowed for a DENY BLOCKING client")));
    }
    for name in ctx.args.from(1) {
        ctx.srv.pubsub.subscribe(kind, ctx.client, name);
        let n = count(ctx.srv, kind, ctx.client);
        confirm(ctx.out, kind.words().0, Some(name), n);
    }
    ctx.srv.clients[ctx.client].set(flag::PUBSUB);
    policy::refresh(ctx.srv);
    Ok(Flow::Done)
}

fn unsubscribe(ctx: &mut Ctx<'_>, kind: SubscriptionKind) -> Result<Flow, CmdError> {
    let word = kind.words().1;
    if ctx.args.len() > 1 {
        for name in ctx.args.from(1) {
            ctx.srv.pubsub.unsubscribe(kind, ctx.client, name);
            let n = count(ctx.srv, kind, ctx.client);
            confirm(ctx.out, word, Some(name), n);
        }
    } else {
        let all = ctx.srv.pubsub.of(kind, ctx.client);
        for name in &all {
            ctx.srv.pubsub.unsubscribe(kind, ctx.client, name);
            let n = count(ctx.srv, kind, ctx.client);
            confirm(ctx.out, word, Some(name), n);
        }
        if all.is_empty() {
            let n = count(ctx.srv, kind, ctx.client);
            confirm(ctx.out, word, None, n);
        }
    }
    let srv = &mut *ctx.srv;
    if count(srv, SubscriptionKind::Channel, ctx.client)
        + count(srv, SubscriptionKind::Shard, ctx.client)
        == 0
    {
        srv.clients[ctx.client].clear(flag::PUBSUB);
    }
    policy::refresh(srv);
    Ok(Flow::Done)
}

fn publish_(ctx: &mut Ctx<'_>) -> Result<Flow, CmdError> {
    send(ctx, SubscriptionKind::Channel)
}

fn spublish(ctx: &mut Ctx<'_>) -> Result<Flow, CmdError> {
    send(ctx, SubscriptionKind::Shard)
}

fn send(ctx: &mut Ctx<'_>, kind: SubscriptionKind) -> Result<Flow, CmdError> {
    let n = publish(&mut ctx.srv.pubsub, &mut ctx.srv.clients, kind, ctx.args[1], ctx.args[2]);
    if ctx.srv.bus.is_some() {
        // The nodes of the cluster hear of it, replicas among them.
        let (channel, message) = (ctx.args[1], ctx.args[2]);
        let shard = kind == SubscriptionKind::Shard;
        bus::event(ctx.srv, Event::Publish { shard, channel, message });
        ctx.prop = Propagation::Never;
    } else {
        ctx.prop = Propagation::Force(to::REPLICAS);
    }
    ctx.out.int(n as i64);
    Ok(Flow::Done)
}

fn active(ctx: &mut Ctx<'_>, kind: SubscriptionKind) -> Result<Flow, CmdError> {
    if ctx.args.len() > 3 {
        return Err(help::unknown_subcommand(ctx));
    }
    let names = ctx.srv.pubsub.active(kind, ctx.args.get(2).copied());
    ctx.out.array(names.len());
    names.iter().for_each(|n| ctx.out.bulk(n));
    Ok(Flow::Done)
}

fn numsub(ctx: &mut Ctx<'_>, kind: SubscriptionKind) -> Result<Flow, CmdError> {
    let names = ctx.args.from(2);
    ctx.out.array(names.len() * 2);
    for n in names {
        ctx.out.bulk(n);
        ctx.out.int(ctx.srv.pubsub.subscribers(kind, n) as i64);
    }
    Ok(Flow::Done)
}

fn numpat(ctx: &mut Ctx<'_>) -> Result<Flow, CmdError> {
    ctx.out.int(ctx.srv.pubsub.distinct(SubscriptionKind::Pattern) as i64);
    Ok(Flow::Done)
}

fn help(ctx: &mut Ctx<'_>) -> Result<Flow, CmdError> {
    let lines = [
        "PUBSUB <subcommand> [<arg> [value] [opt] ...]. Subcommands are:",
        "CHANNELS [<pattern>]",
        "    Names of the channels with subscribers, those matching <pattern> or all.",
        "NUMPAT",
        "    How many distinct patterns are subscribed to.",
        "NUMSUB [<channel> ...]",
        "    Each named channel with the number of its subscribers, patterns not counted.",
        "SHARDCHANNELS [<pattern>]",
        "    Names of the shard channels with subscribers, those matching <pattern> or all.",
        "SHARDNUMSUB [<shardchannel> ...]",
        "    Each named shard channel with the number of its subscribers.",
        "HELP",
        "    Print this help.",
    ];
    ctx.out.array(lines.len());
    lines.iter().for_each(|l| ctx.out.status(l));
    Ok(Flow::Done)
}
