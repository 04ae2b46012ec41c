//! ACL: users and their permissions. What the words mean is in `acl`, what follows for clients in
//! `server/auth`.

use super::help::{self, c_text};
use crate::acl::rules::{has_blanks, merged};
use crate::acl::selector::{Call, Selector, category};
use crate::algo::num::{F64Text, parse_i64};
use crate::algo::rng::fill_random_hex;
use crate::cmd::docs;
use crate::cmd::keys::Keys;
use crate::cmd::row::flag::*;
use crate::cmd::row::{Flow, cat};
use crate::proto::error::CmdError;
use crate::proto::reply::Reply;
use crate::server::ctx::{Command, Ctx, ROW};
use crate::server::{auth, users};

const OPEN: Command = Command { flags: NOSCRIPT | LOADING | STALE | SENTINEL, ..ROW };
const ADMINS: Command = Command { flags: ADMIN | NOSCRIPT | LOADING | STALE | SENTINEL, ..ROW };

pub static ROWS: &[Command] = &[Command {
    name: "acl",
    arity: -2,
    flags: SENTINEL,
    docs: &docs::ACL,
    subs: &[
        Command { name: "cat", arity: -2, run: cat_, docs: &docs::ACL_CAT, ..OPEN },
        Command { name: "deluser", arity: -3, run: deluser, docs: &docs::ACL_DELUSER, ..ADMINS },
        Command { name: "dryrun", arity: -4, run: dryrun, docs: &docs::ACL_DRYRUN, ..ADMINS },
        Command { name: "genpass", arity: -2, run: genpass, docs: &docs::ACL_GENPASS, ..OPEN },
        Command { name: "getuser", arity: 3, run: getuser, docs: &docs::ACL_GETUSER, ..ADMINS },
        Command {
            name: "help",
            arity: 2,
            flags: LOADING | STALE | SENTINEL,
            run: help_,
            docs: &docs::ACL_HELP,
            ..ROW
        },
        Command { name: "list", arity: 2, run: list, docs: &docs::ACL_LIST, ..ADMINS },
        Command { name: "load", arity: 2, run: load, docs: &docs::ACL_LOAD, ..ADMINS },
        Command { name: "log", arity: -2, run: log, docs: &docs::ACL_LOG, ..ADMINS },
        Command { name: "save", arity: 2, run: save, docs: &docs::ACL_SAVE, ..ADMINS },
        Command {
            name: "setuser",
            arity: -3,
            secrets: Some(|args| (2..args.len()).collect()),
            run: setuser,
            docs: &docs::ACL_SETUSER,
            ..ADMINS
        },
        Command { name: "users", arity: 2, run: users_, docs: &docs::ACL_USERS, ..ADMINS },
        Command { name: "whoami", arity: 2, run: whoami, docs: &docs::ACL_WHOAMI, ..OPEN },
    ],
    ..ROW
}];

/// Bits of a password that is made up, at most.
const MAX_BITS: i64 = 4096;
/// Entries of a LOG that does not say how many.
const DEFAULT_COUNT: usize = 10;

fn error(ctx: &mut Ctx<'_>, text: &[&[u8]]) -> CmdError {
    ctx.out.error_bytes(&[b"ERR ", &text.concat()[..]].concat());
    CmdError::Replied
}

// ---- changing ---------------------------------------------------------------------------------------

fn setuser(ctx: &mut Ctx<'_>) -> Result<Flow, CmdError> {
    let name = ctx.args[2];
    if has_blanks(name) {
        return Err(CmdError::Msg(&"ERR Usernames can't contain spaces or null characters"));
    }
    let words = ctx.args.from(3);
    let rules = match merged(words) {
        Ok(rules) => rules,
        Err(at) => {
            let text = [&b"Unmatched parenthesis in acl selector starting at '"[..], words[at], b"'."];
            return Err(error(ctx, &text));
        }
    };
    let srv = &mut *ctx.srv;
    let staged = srv.acl.staged(name, &rules, &users::rules_of(&srv.table, &srv.config));
    match staged {
        Ok(user) => auth::put(srv, user),
        Err((rule, why)) => {
            let why = why.text().as_bytes();
            return Err(error(ctx, &[b"Error in ACL SETUSER modifier '", c_text(&rule), b"': ", why]));
        }
    }
    ctx.out.ok();
    Ok(Flow::Done)
}

fn deluser(ctx: &mut Ctx<'_>) -> Result<Flow, CmdError> {
    let names = ctx.args.from(2);
    if names.contains(&crate::acl::DEFAULT) {
        return Err(CmdError::Msg(&"ERR The 'default' user cannot be removed"));
    }
    let mut deleted = 0;
    for name in names {
        if let Some(user) = auth::named(ctx.srv, name) {
            auth::delete(ctx.srv, user);
            deleted += 1;
        }
    }
    ctx.out.int(deleted);
    Ok(Flow::Done)
}

// ---- showing ----------------------------------------------------------------------------------------

fn getuser(ctx: &mut Ctx<'_>) -> Result<Flow, CmdError> {
    let Some(id) = auth::named(ctx.srv, ctx.args[2]) else {
        ctx.out.null();
        return Ok(Flow::Done);
    };
    let (user, out) = (ctx.srv.acl.get(id), &mut *ctx.out);
    out.map(6);
    out.bulk(b"flags");
    let flags = user.flags();
    out.set(flags.len());
    flags.iter().for_each(|f| out.bulk(f.as_bytes()));
    out.bulk(b"passwords");
    out.array(user.passwords().len());
    user.passwords().iter().for_each(|p| out.bulk(p));
    put_selector(user.root(), out);
    out.bulk(b"selectors");
    out.array(user.others().len());
    for selector in user.others() {
        out.map(3);
        put_selector(selector, out);
    }
    Ok(Flow::Done)
}

fn put_selector(selector: &Selector, out: &mut Reply) {
    out.bulk(b"commands");
    out.bulk(&selector.command_text());
    out.bulk(b"keys");
    out.bulk(&selector.key_text());
    out.bulk(b"channels");
    out.bulk(&selector.channel_text());
}

fn list(ctx: &mut Ctx<'_>) -> Result<Flow, CmdError> {
    let users = ctx.srv.acl.iter();
    ctx.out.array(users.len());
    users.for_each(|u| ctx.out.bulk(&u.line()));
    Ok(Flow::Done)
}

fn users_(ctx: &mut Ctx<'_>) -> Result<Flow, CmdError> {
    let users = ctx.srv.acl.iter();
    ctx.out.array(users.len());
    users.for_each(|u| ctx.out.bulk(&u.name));
    Ok(Flow::Done)
}

fn whoami(ctx: &mut Ctx<'_>) -> Result<Flow, CmdError> {
    match auth::user(ctx.srv, &ctx.srv.clients[ctx.client]) {
        Some(user) => ctx.out.bulk(&user.name),
        None => ctx.out.null(),
    }
    Ok(Flow::Done)
}

fn cat_(ctx: &mut Ctx<'_>) -> Result<Flow, CmdError> {
    let bit = match *ctx.args.from(2) {
        [] => {
            ctx.out.array(cat::NAMES.len());
            cat::NAMES.iter().for_each(|(_, name)| ctx.out.bulk(name.as_bytes()));
            return Ok(Flow::Done);
        }
        [name] => match category(name) {
            Some(bit) => bit,
            None => {
                let name = c_text(name);
                return Err(error(ctx, &[b"Unknown category '", &name[..name.len().min(128)], b"'"]));
            }
        },
        _ => return Err(help::unknown_subcommand(ctx)),
    };
    let rows = ctx.srv.table.entries.iter().filter(|e| e.acl & bit != 0);
    ctx.out.array(rows.clone().count());
    rows.for_each(|e| ctx.out.bulk(e.name.as_bytes()));
    Ok(Flow::Done)
}

// ---- asking -----------------------------------------------------------------------------------------

fn dryrun(ctx: &mut Ctx<'_>) -> Result<Flow, CmdError> {
    let (name, args) = (ctx.args[2], ctx.args.from(3));
    let Some(user) = auth::named(ctx.srv, name) else {
        return Err(error(ctx, &[b"User '", c_text(name), b"' not found"]));
    };
    let Ok(cmd) = ctx.srv.table.resolve(args) else {
        return Err(error(ctx, &[b"Command '", c_text(args[0]), b"' not found"]));
    };
    let (row, user) = (ctx.srv.table.get(cmd), ctx.srv.acl.get(user));
    if !row.accepts(args.len()) {
        return Err(CmdError::arity(&row.name));
    }
    let mut room = Keys::new();
    match user.check(&mut Call::new(&ctx.srv.table, cmd, args, &mut room)) {
        Ok(()) => ctx.out.ok(),
        Err(denied) => ctx.out.bulk(&auth::text(user, denied, &row.name, Some(args))),
    }
    Ok(Flow::Done)
}

fn log(ctx: &mut Ctx<'_>) -> Result<Flow, CmdError> {
    let count = match *ctx.args.from(2) {
        [] => DEFAULT_COUNT,
        [word] if word.eq_ignore_ascii_case(b"reset") => {
            ctx.srv.acl.denials.clear();
            ctx.out.ok();
            return Ok(Flow::Done);
        }
        [n] => usize::try_from(parse_i64(n).ok_or(CmdError::NotInteger)?.max(0)).unwrap_or(usize::MAX),
        _ => return Err(help::unknown_subcommand(ctx)),
    };
    let (now, denials, out) = (ctx.srv.clock.unix_ms, ctx.srv.acl.denials.iter(), &mut *ctx.out);
    let count = count.min(denials.len());
    out.array(count);
    for d in denials.take(count) {
        out.map(10);
        out.bulk(b"count");
        out.int(d.count as i64);
        out.bulk(b"reason");
        out.bulk(d.refusal.what.name().as_bytes());
        out.bulk(b"context");
        out.bulk(d.refusal.place.name().as_bytes());
        out.bulk(b"object");
        out.bulk(&d.refusal.object);
        out.bulk(b"username");
        out.bulk(&d.refusal.user);
        out.bulk(b"age-seconds");
        out.double_text(&F64Text::new((now - d.updated_ms) as f64 / 1000.0));
        out.bulk(b"client-info");
        out.bulk(d.client.as_bytes());
        out.bulk(b"entry-id");
        out.int(d.id as i64);
        out.bulk(b"timestamp-created");
        out.int(d.created_ms);
        out.bulk(b"timestamp-last-updated");
        out.int(d.updated_ms);
    }
    Ok(Flow::Done)
}

fn genpass(ctx: &mut Ctx<'_>) -> Result<Flow, CmdError> {
    let bits = match *ctx.args.from(2) {
        [] => 256,
        [n] => parse_i64(n).ok_or(CmdError::NotInteger)?,
        _ => return Err(help::unknown_subcommand(ctx)),
    };
    if !(1..=MAX_BITS).contains(&bits) {
        return Err(CmdError::Msg(
            &"ERR ACL GENPASS argument must be the number of bits for the output password, a positive \
              number up to 4096",
        ));
    }
    let mut password = vec![0; usize::try_from(bits).expect("checked above").div_ceil(4)];
    fill_random_hex(&mut password);
    ctx.out.bulk(&password);
    Ok(Flow::Done)
}

// ---- the file ---------------------------------------------------------------------------------------

fn needs_file(ctx: &Ctx<'_>) -> Result<(), CmdError> {
    if ctx.srv.config.aclfile.is_empty() {
        return Err(CmdError::Msg(
            &"ERR This Redis instance is not configured to use an ACL file. You may want to specify users \
              via the ACL SETUSER command and then issue a CONFIG REWRITE (assuming you have a Redis \
              configuration file set) in order to store users in the Redis configuration.",
        ));
    }
    Ok(())
}

fn load(ctx: &mut Ctx<'_>) -> Result<Flow, CmdError> {
    needs_file(ctx)?;
    users::load_file(ctx.srv).map_err(|why| CmdError::text(format!("ERR {why}")))?;
    ctx.out.ok();
    Ok(Flow::Done)
}

fn save(ctx: &mut Ctx<'_>) -> Result<Flow, CmdError> {
    needs_file(ctx)?;
    if !users::save_file(ctx.srv) {
        return Err(CmdError::Msg(
            &"ERR There was an error trying to save the ACLs. Please check the server logs for more \
              information",
        ));
    }
    ctx.out.ok();
    Ok(Flow::Done)
}

fn help_(ctx: &mut Ctx<'_>) -> Result<Flow, CmdError> {
    let lines = [
        "CAT [<category>]",
        "    Return the categories, or the commands of one.",
        "DELUSER <username> [<username> ...]",
        "    Delete users and close their connections.",
        "DRYRUN <username> <command> [<arg> ...]",
        "    Return whether a user may run a command, without running it.",
        "GETUSER <username>",
        "    Return what is set for a user.",
        "GENPASS [<bits>]",
        "    Return a random password of so many bits (256 by default).",
        "LIST",
        "    Return all users, as lines of an ACL file.",
        "LOAD",
        "    Read the users from the ACL file again.",
        "LOG [<count> | RESET]",
        "    Return the newest refusals (10 by default), or forget them all.",
        "SAVE",
        "    Write the users to the ACL file.",
        "SETUSER <username> <attribute> [<attribute> ...]",
        "    Create a user, or change one.",
        "USERS",
        "    Return the names of all users.",
        "WHOAMI",
        "    Return the user of this connection.",
    ];
    help::reply(ctx, &lines)
}
