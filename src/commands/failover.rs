//! FAILOVER [TO host port [FORCE]] [ABORT] [TIMEOUT ms]; what becomes of it is in `server::failover`.

use super::numbers::integer;
use crate::cmd::docs;
use crate::cmd::row::Flow;
use crate::cmd::row::flag::*;
use crate::proto::error::CmdError;
use crate::replication::failover::Wish;
use crate::replication::link::Target;
use crate::server::ctx::{Command, Ctx, ROW};
use crate::server::{failover, master};

pub static ROWS: &[Command] = &[Command {
    name: "failover",
    arity: -1,
    flags: ADMIN | NOSCRIPT | STALE,
    run: failover_,
    docs: &docs::FAILOVER,
    ..ROW
}];

/// The words behind the name.
#[derive(Default)]
struct Options<'a> {
    to: Option<(&'a [u8], i64)>,
    timeout: Option<i64>,
    force: bool,
}

impl<'a> Options<'a> {
    fn parse(words: &[&'a [u8]]) -> Result<Options<'a>, CmdError> {
        let mut o = Options::default();
        let mut i = 0;
        while let Some(word) = words.get(i) {
            let (word, rest) = (word.to_ascii_lowercase(), &words[i + 1..]);
            i += 1 + match (&word[..], rest) {
                (b"timeout", [ms, ..]) if o.timeout.is_none() => {
                    o.timeout = match integer(ms)? {
                        1.. => Some(integer(ms)?),
                        _ => return Err(CmdError::Msg(&"ERR FAILOVER timeout must be greater than 0")),
                    };
                    1
                }
                (b"to", [host, port, ..]) if o.to.is_none() => {
                    o.to = Some((host, integer(port)?));
                    2
                }
                (b"force", _) if !o.force => {
                    o.force = true;
                    0
                }
                _ => return Err(CmdError::Syntax),
            };
        }
        Ok(o)
    }
}

fn failover_(ctx: &mut Ctx<'_>) -> Result<Flow, CmdError> {
    if ctx.srv.config.cluster_enabled {
        return Err(CmdError::Msg(
            &"ERR FAILOVER not allowed in cluster mode. Use CLUSTER FAILOVER command instead.",
        ));
    }
    if ctx.args.len() == 2 && ctx.args[1].eq_ignore_ascii_case(b"abort") {
        if !ctx.srv.repl.failover.is_on() {
            return Err(CmdError::Msg(&"ERR No failover in progress."));
        }
        failover::abort(ctx.srv, "Failover manually aborted");
        ctx.out.ok();
        return Ok(Flow::Done);
    }
    let o = Options::parse(ctx.args.from(1))?;
    let srv = &*ctx.srv;
    if srv.repl.failover.is_on() {
        return Err(CmdError::Msg(&"ERR FAILOVER already in progress."));
    }
    if srv.repl.link.is_on() {
        return Err(CmdError::Msg(&"ERR FAILOVER is not valid when server is a replica."));
    }
    if srv.repl.replicas.is_empty() {
        return Err(CmdError::Msg(&"ERR FAILOVER requires connected replicas."));
    }
    if o.force && (o.timeout.is_none() || o.to.is_none()) {
        return Err(CmdError::Msg(
            &"ERR FAILOVER with force option requires both a timeout and target HOST and IP.",
        ));
    }
    let target = o.to.map(|(host, port)| replica(ctx, host, port)).transpose()?;
    let until_ms = o.timeout.map(|ms| ctx.now_ms().saturating_add(ms));
    failover::begin(ctx.srv, Wish { target, until_ms, force: o.force });
    ctx.out.ok();
    Ok(Flow::Done)
}

/// The replica that is named, when it can take over.
fn replica(ctx: &Ctx<'_>, host: &[u8], port: i64) -> Result<Target, CmdError> {
    let named = master::known(ctx.srv)
        .find(|(r, ip)| ip.as_bytes().eq_ignore_ascii_case(host) && r.facts.port == port);
    let unknown = CmdError::Msg(&"ERR FAILOVER target HOST and PORT is not a replica.");
    let Some((r, ip)) = named else { return Err(unknown) };
    if !r.is_online() {
        return Err(CmdError::Msg(&"ERR FAILOVER target replica is not online."));
    }
    let port = u16::try_from(port).map_err(|_| unknown)?;
    Ok(Target { host: ip, port })
}
