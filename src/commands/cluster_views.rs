//! The subcommands of CLUSTER that only show something, in the shapes that clients read.

use super::cluster::ask;
use crate::cluster::{Endpoint, ShardNode, SlotNode};
use crate::cmd::row::Flow;
use crate::proto::error::CmdError;
use crate::proto::reply::Reply;
use crate::server::ctx::Ctx;
use crate::server::redirect;

type Done = Result<Flow, CmdError>;

/// Does the client want to see ports of TLS?
fn tls(ctx: &Ctx<'_>) -> bool {
    redirect::over_tls(ctx.srv, &ctx.srv.clients[ctx.origin])
}

pub fn info(ctx: &mut Ctx<'_>) -> Done {
    let text = ask(ctx, |c, _, _| c.info_text())?;
    ctx.out.verbatim(b"txt", text.as_bytes());
    Ok(Flow::Done)
}

pub fn nodes(ctx: &mut Ctx<'_>) -> Done {
    let tls = tls(ctx);
    let text = ask(ctx, |c, env, _| c.nodes_text(tls, env))?;
    ctx.out.verbatim(b"txt", text.as_bytes());
    Ok(Flow::Done)
}

pub fn replicas(ctx: &mut Ctx<'_>) -> Done {
    let (tls, args) = (tls(ctx), ctx.args);
    let lines = ask(ctx, |c, env, _| c.replica_lines(args[2], tls, env))??;
    ctx.out.array(lines.len());
    lines.iter().for_each(|line| ctx.out.bulk(line.as_bytes()));
    Ok(Flow::Done)
}

pub fn my_id(ctx: &mut Ctx<'_>) -> Done {
    let id = ask(ctx, |c, _, _| c.my_name().to_string())?;
    ctx.out.bulk(id.as_bytes());
    Ok(Flow::Done)
}

pub fn my_shard_id(ctx: &mut Ctx<'_>) -> Done {
    let id = ask(ctx, |c, _, _| c.my_shard().to_string())?;
    ctx.out.bulk(id.as_bytes());
    Ok(Flow::Done)
}

fn text(out: &mut Reply, name: &str, value: &str) {
    out.bulk(name.as_bytes());
    out.bulk(value.as_bytes());
}

fn number(out: &mut Reply, name: &str, value: u64) {
    out.bulk(name.as_bytes());
    out.int(value.cast_signed());
}

pub fn slots(ctx: &mut Ctx<'_>) -> Done {
    let tls = tls(ctx);
    let runs = ask(ctx, |c, env, _| c.slots_view(tls, env))?;
    ctx.out.array(runs.len());
    for run in &runs {
        ctx.out.array(2 + run.nodes.len());
        ctx.out.int(run.start.into());
        ctx.out.int(run.end.into());
        run.nodes.iter().for_each(|node| slot_node(ctx.out, node));
    }
    Ok(Flow::Done)
}

fn slot_node(out: &mut Reply, node: &SlotNode) {
    out.array(4);
    match &node.endpoint {
        Endpoint::Known(endpoint) => out.bulk(endpoint.as_bytes()),
        Endpoint::Unknown => out.null(),
    }
    out.int(node.port.into());
    out.bulk(node.id.as_bytes());
    out.map(node.metadata.len());
    node.metadata.iter().for_each(|(name, value)| text(out, name, value));
}

pub fn shards(ctx: &mut Ctx<'_>) -> Done {
    let shards = ask(ctx, |c, env, _| c.shards_view(env))?;
    ctx.out.array(shards.len());
    for shard in &shards {
        ctx.out.map(2);
        ctx.out.bulk(b"slots");
        ctx.out.array(shard.slots.len() * 2);
        for (start, end) in &shard.slots {
            ctx.out.int((*start).into());
            ctx.out.int((*end).into());
        }
        ctx.out.bulk(b"nodes");
        ctx.out.array(shard.nodes.len());
        shard.nodes.iter().for_each(|node| shard_node(ctx.out, node));
    }
    Ok(Flow::Done)
}

fn shard_node(out: &mut Reply, node: &ShardNode) {
    let optional = [node.port > 0, node.tls_port > 0, !node.hostname.is_empty()];
    out.map(6 + optional.iter().filter(|there| **there).count());
    text(out, "id", &node.id);
    if node.port > 0 {
        number(out, "port", node.port.into());
    }
    if node.tls_port > 0 {
        number(out, "tls-port", node.tls_port.into());
    }
    text(out, "ip", &node.ip);
    text(out, "endpoint", &node.endpoint);
    if !node.hostname.is_empty() {
        text(out, "hostname", &node.hostname);
    }
    text(out, "role", node.role);
    number(out, "replication-offset", node.offset);
    text(out, "health", node.health);
}

pub fn links(ctx: &mut Ctx<'_>) -> Done {
    let links = ask(ctx, |c, _, _| c.links_view())?;
    ctx.out.array(links.len());
    for link in &links {
        let (waiting, room) = ctx.srv.bus.as_ref().map_or((0, 0), |bus| bus.waiting(link.link));
        let out = &mut *ctx.out;
        out.map(6);
        text(out, "direction", link.direction);
        text(out, "node", &link.node);
        number(out, "create-time", link.create_time);
        text(out, "events", if waiting > 0 { "rw" } else { "r" });
        number(out, "send-buffer-allocated", room as u64);
        number(out, "send-buffer-used", waiting as u64);
    }
    Ok(Flow::Done)
}
