//! Commands that replicas send: SYNC, PSYNC, REPLCONF; and those about the role: ROLE, REPLICAOF.

use super::numbers::integer;
use crate::algo::num::parse_i64;
use crate::algo::quote::split_args;
use crate::clients::flag as client;
use crate::cmd::docs;
use crate::cmd::row::flag::*;
use crate::cmd::row::{Flow, cat};
use crate::proto::error::CmdError;
use crate::replication::Refusal;
use crate::replication::link::Target;
use crate::replication::replicas::Stage;
use crate::server::ctx::{Command, Ctx, ROW};
use crate::server::{Server, client_info, link_client, master, role, sentinel};
use crate::{notice, warning};

pub static ROWS: &[Command] = &[
    Command {
        name: "psync",
        arity: -3,
        flags: ADMIN | NOSCRIPT | NO_ASYNC_LOADING | NO_MULTI,
        run: psync,
        docs: &docs::PSYNC,
        ..ROW
    },
    Command {
        name: "replconf",
        arity: -1,
        flags: ADMIN | NOSCRIPT | LOADING | STALE | ALLOW_BUSY,
        run: replconf,
        docs: &docs::REPLCONF,
        ..ROW
    },
    Command {
        name: "replicaof",
        arity: 3,
        flags: ADMIN | NOSCRIPT | STALE | NO_ASYNC_LOADING,
        run: replicaof,
        docs: &docs::REPLICAOF,
        ..ROW
    },
    Command {
        name: "role",
        arity: 1,
        flags: NOSCRIPT | LOADING | STALE | FAST | SENTINEL,
        acl: cat::ADMIN | cat::DANGEROUS,
        run: role,
        docs: &docs::ROLE,
        ..ROW
    },
    Command {
        name: "slaveof",
        arity: 3,
        flags: ADMIN | NOSCRIPT | STALE | NO_ASYNC_LOADING,
        run: replicaof,
        docs: &docs::SLAVEOF,
        ..ROW
    },
    Command {
        name: "sync",
        arity: 1,
        flags: ADMIN | NOSCRIPT | NO_ASYNC_LOADING | NO_MULTI,
        run: sync,
        docs: &docs::SYNC,
        ..ROW
    },
];

/// False, without a reply, for a client that gets the stream already.
fn may_attach(ctx: &mut Ctx<'_>) -> Result<bool, CmdError> {
    let (srv, id) = (&mut *ctx.srv, ctx.client);
    let c = &srv.clients[id];
    // A client without a connection is not fed: a SYNC that stands in a log makes no replica.
    // A master does not get its own stream back.
    if c.has(client::REPLICA | client::MONITOR | client::PSEUDO | client::MASTER) {
        return Ok(false);
    }
    if ctx.args.len() > 3 && ctx.args[3].eq_ignore_ascii_case(b"failover") {
        take_over(ctx)?;
    }
    let (srv, id) = (&mut *ctx.srv, ctx.client);
    if srv.repl.failover.is_on() {
        return Err(CmdError::Msg(&"NOMASTERLINK Can't SYNC while failing over"));
    }
    if srv.repl.link.is_on() && !srv.repl.link.is_online() {
        return Err(CmdError::Msg(&"NOMASTERLINK Can't SYNC while not connected with my master"));
    }
    if !ctx.out.is_empty() {
        return Err(CmdError::Msg(&"ERR SYNC and PSYNC are invalid with pending output"));
    }
    let facts = srv.repl.replicas.facts_mut(id);
    if facts.filtered && !facts.eof {
        return Err(CmdError::Msg(&"ERR Filtered replica requires EOF capability"));
    }
    let name = master::name(srv, id);
    notice!("Replica {name} asks for synchronization");
    Ok(true)
}

/// The master asks this replica to take its place.
fn take_over(ctx: &mut Ctx<'_>) -> Result<(), CmdError> {
    let replid = ctx.args[1];
    notice!("Failover request received for replid {}.", String::from_utf8_lossy(replid));
    if !ctx.srv.repl.link.is_on() {
        return Err(CmdError::Msg(&"ERR PSYNC FAILOVER can't be sent to a master."));
    }
    if !replid.eq_ignore_ascii_case(ctx.srv.repl.replid.as_bytes()) {
        return Err(CmdError::Msg(&"ERR PSYNC FAILOVER replid must match my replid."));
    }
    role::promote(ctx.srv);
    let line = client_info::line(ctx.srv, ctx.client, &[]);
    notice!("MASTER MODE enabled (failover request from '{line}')");
    Ok(())
}

fn sync(ctx: &mut Ctx<'_>) -> Result<Flow, CmdError> {
    if may_attach(ctx)? {
        master::full_resync(ctx.srv, ctx.client, true);
    }
    Ok(Flow::Done)
}

fn psync(ctx: &mut Ctx<'_>) -> Result<Flow, CmdError> {
    if !may_attach(ctx)? {
        return Ok(Flow::Done);
    }
    let (id, replid) = (ctx.client, ctx.args[1]);
    let offset = integer(ctx.args[2]).inspect_err(|_| {
        let name = master::name(ctx.srv, id);
        warning!("Replica {name} asks for synchronization but with a wrong offset");
    })?;
    let srv = &mut *ctx.srv;
    match srv.repl.can_continue(replid, offset) {
        Ok(at) => {
            master::go_on(srv, id, at, offset);
            return Ok(Flow::Done);
        }
        Err(why) => refused(ctx, replid, offset, why),
    }
    if !replid.starts_with(b"?") {
        ctx.srv.stats.sync_partial_err += 1;
    }
    if has_two_channels(ctx.srv) && ctx.srv.repl.replicas.facts(id).is_some_and(|f| f.dual) {
        notice!(
            "Replica {} is capable of dual channel synchronization, and partial sync isn't possible. Full \
             sync will continue with dedicated RDB channel.",
            master::name(ctx.srv, id)
        );
        ctx.out.status("DUALCHANNELSYNC");
        return Ok(Flow::Done);
    }
    master::full_resync(ctx.srv, id, false);
    Ok(Flow::Done)
}

/// Are snapshots sent by a second connection, if the replica can have that? Without a file only: the child of
/// one that is written to the disk serves a plain replica as well.
fn has_two_channels(srv: &Server) -> bool {
    srv.config.dual_channel_replication_enabled && srv.config.repl_diskless_sync
}

/// The log says why a replica cannot go on where it was, and by how many bytes it missed that.
fn refused(ctx: &mut Ctx<'_>, replid: &[u8], offset: i64, why: Refusal) {
    let name = master::name(ctx.srv, ctx.client);
    let r = &ctx.srv.repl;
    if replid.starts_with(b"?") {
        return notice!("Full resync requested by replica {name}");
    }
    let lack = |why: String| {
        notice!(
            "Unable to partial resync with replica {name} for lack of backlog (Replica request was: \
             {offset}): {why}."
        );
    };
    match why {
        Refusal::OtherHistory => notice!(
            "Partial resynchronization not accepted: Replication ID mismatch (Replica asked for '{}', my \
             replication IDs are '{}' and '{}')",
            String::from_utf8_lossy(replid),
            r.replid,
            r.replid2
        ),
        Refusal::BehindTheTurn { by } => notice!(
            "Partial resynchronization not accepted: Requested offset for second ID was {offset}, but I \
             can reply up to {}, which is {by} bytes less",
            r.second_offset
        ),
        Refusal::NoBacklog => lack("no backlog is kept".into()),
        Refusal::TooOld { missing } => {
            lack(format!("{missing} bytes of the stream are not kept any more, see repl-backlog-size"));
        }
        Refusal::Ahead { by } => {
            lack(format!("that is {by} bytes behind the end of the stream"));
            warning!(
                "Warning: replica {name} tried to PSYNC with an offset that is greater than the master \
                 replication offset."
            );
        }
    }
}

/// A longer host name is none (NET_HOST_STR_LEN).
const HOST: usize = 256;

fn replconf(ctx: &mut Ctx<'_>) -> Result<Flow, CmdError> {
    let rest = ctx.args.from(1);
    if !rest.len().is_multiple_of(2) {
        return Err(CmdError::Syntax);
    }
    for (i, pair) in rest.chunks_exact(2).enumerate() {
        let (option, value) = (pair[0].to_ascii_lowercase(), pair[1]);
        match &option[..] {
            b"ack" => {
                acknowledge(ctx, value, &rest[2 * i + 2..]);
                return Ok(Flow::Done);
            }
            b"getack" => {
                link_client::acknowledge(ctx.srv);
                return Ok(Flow::Done);
            }
            _ => set(ctx, &option, value)?,
        }
    }
    ctx.out.ok();
    Ok(Flow::Done)
}

fn set(ctx: &mut Ctx<'_>, option: &[u8], value: &[u8]) -> Result<(), CmdError> {
    let attached = ctx.srv.repl.replicas.get(ctx.client).is_some();
    let two = has_two_channels(ctx.srv);
    if two && option == b"set-rdb-client-id" {
        return is_main_of(ctx, integer(value)?);
    }
    let facts = ctx.srv.repl.replicas.facts_mut(ctx.client);
    match option {
        b"listening-port" => facts.port = integer(value)?,
        b"ip-address" if value.len() < HOST => facts.ip = Some(value.into()),
        b"ip-address" => {
            return Err(CmdError::text(format!(
                "ERR REPLCONF ip-address provided by replica instance is too long: {} bytes",
                value.len()
            )));
        }
        // What we do not know we need not do.
        b"capa" => {
            facts.eof |= value.eq_ignore_ascii_case(b"eof");
            facts.psync2 |= value.eq_ignore_ascii_case(b"psync2");
            facts.dual |= two && value.eq_ignore_ascii_case(b"dual-channel");
        }
        // Ignored once the replica is attached: it was decided then whether the backlog is kept for it.
        b"rdb-only" => match zero_or_one(value)? {
            _ if attached => {}
            on => facts.rdb_only = on,
        },
        b"rdb-channel" if two => match zero_or_one(value)? {
            _ if attached => {}
            on => (facts.rdb_channel, facts.rdb_only) = (on, facts.rdb_only || on),
        },
        b"rdb-filter-only" => {
            let Some(words) = split_args(value) else {
                return Err(CmdError::Msg(&"ERR Missing rdb-filter-only values"));
            };
            (facts.filtered, facts.functions) = (true, false);
            for w in words {
                if !w.eq_ignore_ascii_case(b"functions") {
                    let w = String::from_utf8_lossy(&w);
                    return Err(CmdError::text(format!("ERR Unsupported rdb-filter-only option: {w}")));
                }
                facts.functions = true;
            }
        }
        _ => {
            let option = String::from_utf8_lossy(option);
            return Err(CmdError::text(format!("ERR Unrecognized REPLCONF option: {option}")));
        }
    }
    Ok(())
}

fn zero_or_one(value: &[u8]) -> Result<bool, CmdError> {
    match integer(value)? {
        n @ 0..=1 => Ok(n == 1),
        _ => Err(CmdError::Msg(&"ERR value is out of range, value must between 0 and 1")),
    }
}

/// The client will read the stream behind the snapshot that the client of this number gets.
fn is_main_of(ctx: &mut Ctx<'_>, number: i64) -> Result<(), CmdError> {
    let all = &mut ctx.srv.repl.replicas;
    let Some(number) = u64::try_from(number).ok().filter(|n| all.holds.has(*n)) else {
        return Err(CmdError::text(format!("ERR Unrecognized RDB client id {number}")));
    };
    all.facts_mut(ctx.client).main_of = Some(number);
    Ok(())
}

/// Never answered.
fn acknowledge(ctx: &mut Ctx<'_>, offset: &[u8], rest: &[&[u8]]) {
    let Some(offset) = parse_i64(offset) else { return };
    let mut aof = None;
    if let [word, on_disk, ..] = rest
        && word.eq_ignore_ascii_case(b"fack")
    {
        aof = parse_i64(on_disk);
    }
    let now = ctx.srv.clock.unix_secs();
    let all = &mut ctx.srv.repl.replicas;
    let loaded = all.get(ctx.client).is_some_and(|r| r.stage == Stage::Load);
    if all.acknowledge(ctx.client, offset, aof, now) {
        ctx.srv.clients.wants_write(ctx.client);
    }
    if loaded {
        master::online(ctx.srv, ctx.client);
    }
}

fn replicaof(ctx: &mut Ctx<'_>) -> Result<Flow, CmdError> {
    if ctx.srv.config.cluster_enabled {
        return Err(CmdError::Msg(&"ERR REPLICAOF not allowed in cluster mode."));
    }
    if ctx.srv.repl.failover.is_on() {
        return Err(CmdError::Msg(&"ERR REPLICAOF not allowed while failing over."));
    }
    let line = client_info::line(ctx.srv, ctx.client, &[]);
    let is = |i: usize, word: &[u8]| ctx.args[i].eq_ignore_ascii_case(word);
    if is(1, b"no") && is(2, b"one") {
        if role::promote(ctx.srv) {
            notice!("MASTER MODE enabled (user request from '{line}')");
        }
        ctx.out.ok();
        return Ok(Flow::Done);
    }
    if ctx.srv.clients[ctx.client].has(client::REPLICA) {
        return Err(CmdError::Msg(&"ERR Command is not valid when client is a replica."));
    }
    let wrong = CmdError::Msg(&"ERR Invalid master port");
    let port = parse_i64(ctx.args[2]).and_then(|n| u16::try_from(n).ok()).ok_or(wrong)?;
    let host = String::from_utf8_lossy(ctx.args[1]).into_owned();
    let same = |t: &Target| t.host.eq_ignore_ascii_case(&host) && t.port == port;
    if ctx.srv.repl.link.target().is_some_and(same) {
        notice!(
            "REPLICAOF would result into synchronization with the master we are already connected with. No \
             operation performed."
        );
        ctx.out.status("OK Already connected to specified master");
        return Ok(Flow::Done);
    }
    role::follow(ctx.srv, Target { host: host.clone(), port });
    notice!("REPLICAOF {host}:{port} enabled (user request from '{line}')");
    ctx.out.ok();
    Ok(Flow::Done)
}

/// Of a master: its offset in the stream, and its replicas. Of a replica: its master, and how far it is.
fn role(ctx: &mut Ctx<'_>) -> Result<Flow, CmdError> {
    if let Some(reply) = sentinel::role(ctx.srv) {
        return sentinel::write(ctx.out, &reply);
    }
    let srv = &*ctx.srv;
    if let Some(Target { host, port }) = srv.repl.link.target() {
        ctx.out.array(5);
        ctx.out.bulk(b"slave");
        ctx.out.bulk(host.as_bytes());
        ctx.out.int(i64::from(*port));
        ctx.out.bulk(srv.repl.link.state_name().as_bytes());
        let online = srv.repl.link.is_online();
        ctx.out.int(if online { srv.repl.offset().cast_signed() } else { -1 });
        return Ok(Flow::Done);
    }
    ctx.out.array(3);
    ctx.out.bulk(b"master");
    ctx.out.int(srv.repl.offset().cast_signed());
    let online: Vec<_> = master::known(srv).filter(|(r, _)| r.is_online()).collect();
    ctx.out.array(online.len());
    for (r, ip) in online {
        ctx.out.array(3);
        ctx.out.bulk(ip.as_bytes());
        ctx.out.bulk_int(r.facts.port);
        ctx.out.bulk_int(r.acked);
    }
    Ok(Flow::Done)
}
