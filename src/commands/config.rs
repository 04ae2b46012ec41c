//! CONFIG: reading, changing and writing back the configuration.

use super::help;
use crate::cmd::docs;
use crate::cmd::row::Flow;
use crate::cmd::row::flag::*;
use crate::config::getset::{self, Asker};
use crate::proto::error::CmdError;
use crate::server::ctx::{Command, Ctx, ROW};
use crate::server::{ServerStates, apply};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

const SUB: u64 = ADMIN | NOSCRIPT | LOADING | STALE;

pub static ROWS: &[Command] = &[Command {
    name: "config",
    arity: -2,
    docs: &docs::CONFIG,
    subs: &[
        Command { name: "get", arity: -3, flags: SUB, run: get, docs: &docs::CONFIG_GET, ..ROW },
        Command {
            name: "help",
            arity: 2,
            flags: LOADING | STALE,
            run: help_,
            docs: &docs::CONFIG_HELP,
            ..ROW
        },
        Command {
            name: "resetstat",
            arity: 2,
            flags: SUB,
            run: resetstat,
            docs: &docs::CONFIG_RESETSTAT,
            ..ROW
        },
        Command {
            name: "rewrite",
            arity: 2,
            flags: SUB,
            run: rewrite_,
            docs: &docs::CONFIG_REWRITE,
            ..ROW
        },
        Command {
            name: "set",
            arity: -4,
            flags: SUB,
            secrets: Some(set_secrets),
            run: set,
            docs: &docs::CONFIG_SET,
            ..ROW
        },
    ],
    ..ROW
}];

fn get(ctx: &mut Ctx<'_>) -> Result<Flow, CmdError> {
    let found = getset::get(&ctx.srv.config, ctx.args.from(2));
    ctx.out.map(found.len());
    for (name, value) in &found {
        ctx.out.bulk(name);
        ctx.out.bulk(value);
    }
    Ok(Flow::Done)
}

fn set(ctx: &mut Ctx<'_>) -> Result<Flow, CmdError> {
    let words = ctx.args.from(2);
    if !words.len().is_multiple_of(2) {
        return Err(CmdError::Syntax);
    }
    let pairs: Vec<(&[u8], &[u8])> = words.chunks(2).map(|p| (p[0], p[1])).collect();
    let local = ctx.srv.clients[ctx.origin].conn.stream.as_ref().is_none_or(|s| s.is_local());
    let asker = Asker {
        local,
        loading: ctx.srv.states.has(ServerStates::LOADING | ServerStates::ASYNC_LOADING),
    };
    match getset::change(ctx.srv, |s| &mut s.config, &pairs, asker, apply::perform) {
        Ok(_) => {
            crate::server::policy::refresh(ctx.srv);
            ctx.out.ok();
            Ok(Flow::Done)
        }
        Err(e) => {
            ctx.out.error_bytes(&e.text());
            Err(CmdError::Replied)
        }
    }
}

/// The values of directives that hold a password.
fn set_secrets(args: &[&[u8]]) -> Vec<usize> {
    let values = (3..args.len()).step_by(2);
    values.filter(|i| getset::is_sensitive(args[i - 1])).collect()
}

fn rewrite_(ctx: &mut Ctx<'_>) -> Result<Flow, CmdError> {
    let Some(file) = ctx.srv.process.config_file.clone() else {
        return Err(CmdError::Msg(&"ERR The server is running without a config file"));
    };
    let path = Path::new(std::ffi::OsStr::from_bytes(&file));
    let written = apply::rewrite_file(ctx.srv, path, false);
    match written {
        Ok(()) => {
            crate::notice!("CONFIG REWRITE executed with success.");
            ctx.out.ok();
            Ok(Flow::Done)
        }
        Err(e) => {
            let why = crate::sys::errno::text(&e);
            crate::warning!("CONFIG REWRITE failed: {why}");
            Err(CmdError::text(format!("ERR Rewriting config file: {why}")))
        }
    }
}

fn resetstat(ctx: &mut Ctx<'_>) -> Result<Flow, CmdError> {
    apply::reset_stats(ctx.srv);
    ctx.out.ok();
    Ok(Flow::Done)
}

fn help_(ctx: &mut Ctx<'_>) -> Result<Flow, CmdError> {
    let lines = [
        "GET <pattern>",
        "    The directives that match the glob-like <pattern>, with their values.",
        "SET <directive> <value>",
        "    Give <directive> the value <value>.",
        "RESETSTAT",
        "    Begin to count anew what INFO reports.",
        "REWRITE",
        "    Write the configuration back into its file.",
    ];
    help::reply(ctx, &lines)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_of_secret_directives_are_found() {
        let of = |line: &str| set_secrets(&line.split(' ').map(str::as_bytes).collect::<Vec<_>>());
        assert_eq!(of("setup set port 1 requirepass pw"), [5]);
        assert_eq!(of("config set MASTERAUTH a requirepass b requirepass"), [3, 5]);
        assert!(of("config set port requirepass").is_empty());
    }
}
