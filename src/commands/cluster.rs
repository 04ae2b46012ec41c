//! CLUSTER, READONLY, READWRITE and ASKING: the cluster as one of its nodes sees it, and what is changed
//! there.
//!
//! Handlers read the arguments and hand them on: the machine (`cluster::commands`) checks and decides, and
//! the performer (`server::bus`) does what follows before the reply is made.

use super::cluster_views;
use super::help;
use super::numbers::integer;
use crate::algo::crc16::key_slot;
use crate::clients::flag;
use crate::cluster::{Action, Bumped, Cluster, Env, FailoverKind};
use crate::cmd::docs;
use crate::cmd::row::flag::*;
use crate::cmd::row::{Docs, Flow, cat};
use crate::ds::hash::SLOTS;
use crate::proto::error::CmdError;
use crate::server::bus;
use crate::server::ctx::{Command, Ctx, Handler, ROW};

const NO_CLUSTER: CmdError = CmdError::Msg(&"ERR This instance has cluster support disabled");

/// Changes what this node or the cluster is.
const CHANGES: u64 = NO_ASYNC_LOADING | ADMIN | STALE;

const fn sub(name: &'static str, arity: i32, flags: u64, run: Handler, docs: &'static Docs) -> Command {
    Command { name, arity, flags, run, docs, ..ROW }
}

const CONNECTION: Command = Command { arity: 1, acl: cat::CONNECTION, ..ROW };

pub static ROWS: &[Command] = &[
    Command { name: "asking", flags: FAST, run: asking, docs: &docs::ASKING, ..CONNECTION },
    Command {
        name: "readonly",
        flags: LOADING | STALE | FAST,
        run: |c| reads(c, true),
        docs: &docs::READONLY,
        ..CONNECTION
    },
    Command {
        name: "readwrite",
        flags: LOADING | STALE | FAST,
        run: |c| reads(c, false),
        docs: &docs::READWRITE,
        ..CONNECTION
    },
    Command { name: "cluster", arity: -2, subs: SUBS, docs: &docs::CLUSTER, ..ROW },
];

static SUBS: &[Command] = &[
    sub("addslots", -3, CHANGES, |c| add_slots(c, false), &docs::CLUSTER_ADDSLOTS),
    sub("addslotsrange", -4, CHANGES, |c| add_slots(c, true), &docs::CLUSTER_ADDSLOTSRANGE),
    sub("bumpepoch", 2, CHANGES, bump_epoch, &docs::CLUSTER_BUMPEPOCH),
    sub(
        "count-failure-reports",
        3,
        ADMIN | STALE,
        count_failure_reports,
        &docs::CLUSTER_COUNT_FAILURE_REPORTS,
    ),
    sub("countkeysinslot", 3, STALE, count_keys, &docs::CLUSTER_COUNTKEYSINSLOT),
    sub("delslots", -3, CHANGES, |c| del_slots(c, false), &docs::CLUSTER_DELSLOTS),
    sub("delslotsrange", -4, CHANGES, |c| del_slots(c, true), &docs::CLUSTER_DELSLOTSRANGE),
    sub("failover", -2, CHANGES, failover, &docs::CLUSTER_FAILOVER),
    sub("flushslots", 2, CHANGES, flush_slots, &docs::CLUSTER_FLUSHSLOTS),
    sub("forget", 3, CHANGES, forget, &docs::CLUSTER_FORGET),
    sub("getkeysinslot", 4, STALE, get_keys, &docs::CLUSTER_GETKEYSINSLOT),
    sub("help", 2, LOADING | STALE, cluster_help, &docs::CLUSTER_HELP),
    sub("info", 2, STALE, cluster_views::info, &docs::CLUSTER_INFO),
    sub("keyslot", 3, STALE, key_slot_, &docs::CLUSTER_KEYSLOT),
    sub("links", 2, STALE, cluster_views::links, &docs::CLUSTER_LINKS),
    sub("meet", -4, CHANGES, meet, &docs::CLUSTER_MEET),
    sub("myid", 2, STALE, cluster_views::my_id, &docs::CLUSTER_MYID),
    sub("myshardid", 2, STALE, cluster_views::my_shard_id, &docs::CLUSTER_MYSHARDID),
    sub("nodes", 2, STALE, cluster_views::nodes, &docs::CLUSTER_NODES),
    sub("replicas", 3, ADMIN | STALE, cluster_views::replicas, &docs::CLUSTER_REPLICAS),
    sub("replicate", 3, CHANGES, replicate, &docs::CLUSTER_REPLICATE),
    sub("reset", -2, ADMIN | STALE | NOSCRIPT, reset, &docs::CLUSTER_RESET),
    sub("saveconfig", 2, CHANGES, save_config, &docs::CLUSTER_SAVECONFIG),
    sub("set-config-epoch", 3, CHANGES, set_config_epoch, &docs::CLUSTER_SET_CONFIG_EPOCH),
    sub("setslot", -4, CHANGES, set_slot, &docs::CLUSTER_SETSLOT),
    sub("shards", 2, LOADING | STALE, cluster_views::shards, &docs::CLUSTER_SHARDS),
    sub("slaves", 3, ADMIN | STALE, cluster_views::replicas, &docs::CLUSTER_SLAVES),
    sub("slots", 2, LOADING | STALE, cluster_views::slots, &docs::CLUSTER_SLOTS),
];

/// Asks the machine; an error where this server is no node of a cluster.
pub fn ask<R>(
    ctx: &mut Ctx<'_>,
    f: impl FnOnce(&mut Cluster, &Env<'_>, &mut Vec<Action>) -> R,
) -> Result<R, CmdError> {
    bus::ask(ctx.srv, f).ok_or(NO_CLUSTER)
}

/// Asks the machine for a change, which is on the disk before the client hears of it.
fn change<R>(
    ctx: &mut Ctx<'_>,
    f: impl FnOnce(&mut Cluster, &Env<'_>, &mut Vec<Action>) -> Result<R, CmdError>,
) -> Result<R, CmdError> {
    let changed = ask(ctx, f)??;
    save(ctx)?;
    Ok(changed)
}

fn save(ctx: &mut Ctx<'_>) -> Result<(), CmdError> {
    bus::save_now(ctx.srv)
        .map_err(|why| CmdError::text(format!("ERR error saving the cluster node config: {why}")))
}

fn done(ctx: &mut Ctx<'_>) -> Result<Flow, CmdError> {
    ctx.out.ok();
    Ok(Flow::Done)
}

// ---- the connection ----------------------------------------------------------------------------------

fn asking(ctx: &mut Ctx<'_>) -> Result<Flow, CmdError> {
    if ctx.srv.cluster().is_none() {
        return Err(NO_CLUSTER);
    }
    ctx.srv.clients[ctx.client].set(flag::ASKING_NEXT);
    done(ctx)
}

/// Are reads of this client served by a replica?
fn reads(ctx: &mut Ctx<'_>, on: bool) -> Result<Flow, CmdError> {
    if ctx.srv.cluster().is_none() {
        return Err(NO_CLUSTER);
    }
    let c = &mut ctx.srv.clients[ctx.client];
    match on {
        true => c.set(flag::READS_REPLICA),
        false => c.clear(flag::READS_REPLICA),
    }
    done(ctx)
}

// ---- nodes -------------------------------------------------------------------------------------------

fn meet(ctx: &mut Ctx<'_>) -> Result<Flow, CmdError> {
    let args = ctx.args;
    if args.len() > 5 {
        return Err(wrong_number(ctx));
    }
    ask(ctx, |c, env, _| c.meet(args[2], args[3], args.get(4).copied(), env))??;
    done(ctx)
}

/// Upstream's answer to too many arguments of a subcommand that takes optional ones.
fn wrong_number(ctx: &mut Ctx<'_>) -> CmdError {
    match ctx.srv.cluster() {
        Some(_) => help::unknown_subcommand(ctx),
        None => NO_CLUSTER,
    }
}

fn forget(ctx: &mut Ctx<'_>) -> Result<Flow, CmdError> {
    let args = ctx.args;
    change(ctx, |c, env, out| c.forget(args[2], env, out))?;
    done(ctx)
}

fn replicate(ctx: &mut Ctx<'_>) -> Result<Flow, CmdError> {
    let args = ctx.args;
    change(ctx, |c, env, out| c.replicate(args[2], env, out))?;
    done(ctx)
}

fn failover(ctx: &mut Ctx<'_>) -> Result<Flow, CmdError> {
    let is = |word: &str| ctx.args.get(2).is_some_and(|a| a.eq_ignore_ascii_case(word.as_bytes()));
    let kind = match ctx.args.len() {
        2 => FailoverKind::Default,
        3 if is("force") => FailoverKind::Force,
        3 if is("takeover") => FailoverKind::Takeover,
        3 if ctx.srv.cluster().is_some() => return Err(CmdError::Syntax),
        _ => return Err(wrong_number(ctx)),
    };
    change(ctx, |c, env, out| c.failover(kind, env, out))?;
    done(ctx)
}

fn reset(ctx: &mut Ctx<'_>) -> Result<Flow, CmdError> {
    let is = |word: &str| ctx.args.get(2).is_some_and(|a| a.eq_ignore_ascii_case(word.as_bytes()));
    let hard = match ctx.args.len() {
        2 => false,
        3 if is("soft") => false,
        3 if is("hard") => true,
        3 if ctx.srv.cluster().is_some() => return Err(CmdError::Syntax),
        _ => return Err(wrong_number(ctx)),
    };
    change(ctx, |c, env, out| c.reset(hard, env, out))?;
    done(ctx)
}

fn count_failure_reports(ctx: &mut Ctx<'_>) -> Result<Flow, CmdError> {
    let args = ctx.args;
    let n = ask(ctx, |c, env, _| c.count_failure_reports(args[2], env))??;
    ctx.out.int(n as i64);
    Ok(Flow::Done)
}

fn save_config(ctx: &mut Ctx<'_>) -> Result<Flow, CmdError> {
    if ctx.srv.cluster().is_none() {
        return Err(NO_CLUSTER);
    }
    save(ctx)?;
    done(ctx)
}

// ---- epochs ------------------------------------------------------------------------------------------

fn bump_epoch(ctx: &mut Ctx<'_>) -> Result<Flow, CmdError> {
    let text = match change(ctx, |c, env, out| c.bump_epoch(env, out))? {
        Bumped::Bumped(epoch) => format!("BUMPED {epoch}"),
        Bumped::Still(epoch) => format!("STILL {epoch}"),
    };
    ctx.out.status(&text);
    Ok(Flow::Done)
}

fn set_config_epoch(ctx: &mut Ctx<'_>) -> Result<Flow, CmdError> {
    let args = ctx.args;
    change(ctx, |c, env, out| c.set_config_epoch(args[2], env, out))?;
    done(ctx)
}

// ---- slots -------------------------------------------------------------------------------------------

fn add_slots(ctx: &mut Ctx<'_>, ranges: bool) -> Result<Flow, CmdError> {
    let args = ctx.args;
    change(ctx, |c, env, out| c.add_slots(args.from(2), ranges, env, out))?;
    done(ctx)
}

fn del_slots(ctx: &mut Ctx<'_>, ranges: bool) -> Result<Flow, CmdError> {
    let args = ctx.args;
    change(ctx, |c, env, out| c.del_slots(args.from(2), ranges, env, out))?;
    done(ctx)
}

fn flush_slots(ctx: &mut Ctx<'_>) -> Result<Flow, CmdError> {
    change(ctx, |c, env, out| c.flush_slots(env, out))?;
    done(ctx)
}

fn set_slot(ctx: &mut Ctx<'_>) -> Result<Flow, CmdError> {
    let args = ctx.args;
    if args.len() > 5 {
        return Err(wrong_number(ctx));
    }
    change(ctx, |c, env, out| c.set_slot(args[2], args[3], args.get(4).copied(), env, out))?;
    done(ctx)
}

fn key_slot_(ctx: &mut Ctx<'_>) -> Result<Flow, CmdError> {
    if ctx.srv.cluster().is_none() {
        return Err(NO_CLUSTER);
    }
    ctx.out.int(key_slot(ctx.args[2]).into());
    Ok(Flow::Done)
}

fn slot(n: i64) -> Option<usize> {
    usize::try_from(n).ok().filter(|n| *n < SLOTS)
}

fn count_keys(ctx: &mut Ctx<'_>) -> Result<Flow, CmdError> {
    if ctx.srv.cluster().is_none() {
        return Err(NO_CLUSTER);
    }
    let slot = slot(integer(ctx.args[2])?).ok_or(CmdError::Msg(&"ERR Invalid slot"))?;
    ctx.out.int(ctx.srv.ks.slot_len(slot) as i64);
    Ok(Flow::Done)
}

fn get_keys(ctx: &mut Ctx<'_>) -> Result<Flow, CmdError> {
    const WRONG: CmdError = CmdError::Msg(&"ERR Invalid slot or number of keys");
    if ctx.srv.cluster().is_none() {
        return Err(NO_CLUSTER);
    }
    let (n, most) = (integer(ctx.args[2])?, integer(ctx.args[3])?);
    let (slot, most) = (slot(n).ok_or(WRONG)?, usize::try_from(most).map_err(|_| WRONG)?);
    let ks = &ctx.srv.ks;
    ctx.out.array(ks.slot_len(slot).min(most));
    ks.slot_iter(slot).take(most).for_each(|e| ctx.out.bulk(e.key()));
    Ok(Flow::Done)
}

fn cluster_help(ctx: &mut Ctx<'_>) -> Result<Flow, CmdError> {
    if ctx.srv.cluster().is_none() {
        return Err(NO_CLUSTER);
    }
    help::reply(
        ctx,
        &[
            "ADDSLOTS <slot> [<slot> ...]",
            "    Serve these slots here.",
            "ADDSLOTSRANGE <start slot> <end slot> [<start slot> <end slot> ...]",
            "    Serve all slots of these ranges, both ends included.",
            "BUMPEPOCH",
            "    Take a configuration epoch greater than all others.",
            "COUNT-FAILURE-REPORTS <node-id>",
            "    Count the nodes that report this one as failing.",
            "COUNTKEYSINSLOT <slot>",
            "    Count the keys of a slot on this node.",
            "DELSLOTS <slot> [<slot> ...]",
            "    Forget the owners of these slots.",
            "DELSLOTSRANGE <start slot> <end slot> [<start slot> <end slot> ...]",
            "    Forget the owners of all slots of these ranges, both ends included.",
            "FAILOVER [FORCE|TAKEOVER]",
            "    Take the place of the master of this replica.",
            "FLUSHSLOTS",
            "    Forget the slots of this node, which holds no keys.",
            "FORGET <node-id>",
            "    Forget a node.",
            "GETKEYSINSLOT <slot> <count>",
            "    Name up to <count> keys of a slot on this node.",
            "INFO",
            "    Show the state of the cluster.",
            "KEYSLOT <key>",
            "    Compute the slot of a key.",
            "LINKS",
            "    Show the connections with other nodes.",
            "MEET <ip> <port> [<bus-port>]",
            "    Introduce another node.",
            "MYID",
            "    Show the id of this node.",
            "MYSHARDID",
            "    Show the id of the shard of this node.",
            "NODES",
            "    Show the nodes, one a line.",
            "REPLICAS <node-id>",
            "    Show the replicas of a master, one a line.",
            "REPLICATE <node-id>",
            "    Become a replica of a master.",
            "RESET [HARD|SOFT]",
            "    Leave the cluster; HARD also takes a new id and sets the epochs to 0.",
            "SAVECONFIG",
            "    Write the file of this node's view.",
            "SET-CONFIG-EPOCH <epoch>",
            "    Set the configuration epoch of a node that knows no other.",
            "SETSLOT <slot> (IMPORTING <node-id>|MIGRATING <node-id>|STABLE|NODE <node-id>)",
            "    Begin to move a slot in or out, call that off, or say which node owns it.",
            "SHARDS",
            "    Show the shards with their slots and nodes.",
            "SLOTS",
            "    Show which nodes serve which slots.",
        ],
    )
}
