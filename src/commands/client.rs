//! CLIENT: the list of connections, kills and pauses, and the settings of this connection.

use crate::algo::num::parse_i64;
use crate::blocked::Wait;
use crate::clients::client::Client;
use crate::clients::pause::{Purpose, action};
use crate::clients::{ClientId, ClientKind, UserId, flag};
use crate::cmd::docs;
use crate::cmd::row::flag::*;
use crate::cmd::row::{Docs, Flow, cat};
use crate::proto::error::CmdError;
use crate::server::ctx::{Command, Ctx, Handler, ROW};
use crate::server::pause;
use crate::server::{auth, blocking, client_info, kill, limits};

const SUB: u64 = NOSCRIPT | LOADING | STALE | SENTINEL;

const fn sub(name: &'static str, arity: i32, flags: u64, run: Handler, docs: &'static Docs) -> Command {
    Command { name, arity, flags, acl: cat::CONNECTION, run, docs, ..ROW }
}

pub static ROWS: &[Command] = &[Command {
    name: "client",
    arity: -2,
    flags: SENTINEL,
    docs: &docs::CLIENT,
    subs: &[
        sub("caching", 3, SUB, caching, &docs::CLIENT_CACHING),
        sub("getname", 2, SUB, getname, &docs::CLIENT_GETNAME),
        sub("getredir", 2, SUB, getredir, &docs::CLIENT_GETREDIR),
        sub("help", 2, LOADING | STALE | SENTINEL, help, &docs::CLIENT_HELP),
        sub("id", 2, SUB, id, &docs::CLIENT_ID),
        sub("info", 2, SUB, info, &docs::CLIENT_INFO),
        sub("kill", -3, SUB | ADMIN, kill, &docs::CLIENT_KILL),
        sub("list", -2, SUB | ADMIN, list, &docs::CLIENT_LIST),
        sub("no-evict", 3, SUB | ADMIN, no_evict, &docs::CLIENT_NO_EVICT),
        sub("no-touch", 3, SUB & !SENTINEL, no_touch, &docs::CLIENT_NO_TOUCH),
        sub("pause", -3, SUB | ADMIN, pause, &docs::CLIENT_PAUSE),
        sub("reply", 3, SUB, reply, &docs::CLIENT_REPLY),
        sub("setinfo", 4, SUB, setinfo, &docs::CLIENT_SETINFO),
        sub("setname", 3, SUB, setname, &docs::CLIENT_SETNAME),
        sub("trackinginfo", 2, SUB, trackinginfo, &docs::CLIENT_TRACKINGINFO),
        sub("unblock", -3, SUB | ADMIN, unblock, &docs::CLIENT_UNBLOCK),
        sub("unpause", 2, SUB | ADMIN, unpause, &docs::CLIENT_UNPAUSE),
    ],
    ..ROW
}];

/// As much of an argument as a C string holds: what errors quote.
fn c_text(arg: &[u8]) -> &[u8] {
    arg.split(|b| *b == 0).next().unwrap_or(b"")
}

/// An error that quotes an argument, whatever its bytes.
fn quoting(ctx: &mut Ctx<'_>, before: &str, arg: &[u8], after: &str) -> CmdError {
    ctx.out.error_bytes(&[before.as_bytes(), c_text(arg), after.as_bytes()].concat());
    CmdError::Replied
}

/// ON or OFF.
fn switch(arg: &[u8]) -> Result<bool, CmdError> {
    match () {
        _ if arg.eq_ignore_ascii_case(b"on") => Ok(true),
        _ if arg.eq_ignore_ascii_case(b"off") => Ok(false),
        _ => Err(CmdError::Syntax),
    }
}

// ---- names --------------------------------------------------------------------------------------

/// Printable, and without spaces, so that the fields of CLIENT LIST can be told apart. Read as a C
/// string.
fn printable(text: &[u8]) -> bool {
    c_text(text).iter().all(|b| (b'!'..=b'~').contains(b))
}

pub fn check_name(name: &[u8]) -> Result<(), CmdError> {
    if printable(name) {
        return Ok(());
    }
    Err(CmdError::Msg(&"ERR Client names cannot contain spaces, newlines or special characters."))
}

/// An empty name is none.
pub fn set_name(c: &mut Client, name: &[u8]) {
    let name = (!name.is_empty()).then(|| name.into());
    if name.is_some() || c.extra.is_some() {
        c.extra().name = name;
    }
}

fn setname(ctx: &mut Ctx<'_>) -> Result<Flow, CmdError> {
    let name = ctx.args[2];
    check_name(name)?;
    set_name(&mut ctx.srv.clients[ctx.client], name);
    ctx.out.ok();
    Ok(Flow::Done)
}

fn getname(ctx: &mut Ctx<'_>) -> Result<Flow, CmdError> {
    match ctx.srv.clients[ctx.client].name() {
        b"" => ctx.out.null(),
        name => ctx.out.bulk(name),
    }
    Ok(Flow::Done)
}

fn setinfo(ctx: &mut Ctx<'_>) -> Result<Flow, CmdError> {
    let (what, value) = (ctx.args[2], ctx.args[3]);
    let is_name = what.eq_ignore_ascii_case(b"lib-name");
    if !is_name && !what.eq_ignore_ascii_case(b"lib-ver") {
        return Err(quoting(ctx, "ERR Unrecognized option '", what, "'"));
    }
    if !printable(value) {
        let why = " cannot contain spaces, newlines or special characters.";
        return Err(quoting(ctx, "ERR ", what, why));
    }
    let value = (!value.is_empty()).then(|| value.into());
    let extra = ctx.srv.clients[ctx.client].extra();
    if is_name {
        extra.lib_name = value;
    } else {
        extra.lib_ver = value;
    }
    ctx.out.ok();
    Ok(Flow::Done)
}

fn id(ctx: &mut Ctx<'_>) -> Result<Flow, CmdError> {
    let n = ctx.srv.clients[ctx.client].id;
    ctx.out.int(n as i64);
    Ok(Flow::Done)
}

// ---- lists --------------------------------------------------------------------------------------

fn line_of(ctx: &Ctx<'_>, id: ClientId, text: &mut String) {
    let argv = if id == ctx.client { ctx.args.slice() } else { &[] };
    text.push_str(&client_info::line(ctx.srv, id, argv));
    text.push('\n');
}

fn info(ctx: &mut Ctx<'_>) -> Result<Flow, CmdError> {
    let mut text = String::new();
    line_of(ctx, ctx.client, &mut text);
    ctx.out.verbatim(b"txt", text.as_bytes());
    Ok(Flow::Done)
}

fn kind(ctx: &mut Ctx<'_>, name: &[u8]) -> Result<ClientKind, CmdError> {
    ClientKind::named(name).ok_or_else(|| quoting(ctx, "ERR Unknown client type '", name, "'"))
}

fn list(ctx: &mut Ctx<'_>) -> Result<Flow, CmdError> {
    let mut text = String::new();
    match *ctx.args.from(2) {
        [] => {
            for id in client_info::listed(ctx.srv) {
                line_of(ctx, id, &mut text);
            }
        }
        [word, name] if word.eq_ignore_ascii_case(b"type") => {
            let wanted = kind(ctx, name)?;
            for id in client_info::listed(ctx.srv) {
                if ctx.srv.clients[id].kind() == wanted {
                    line_of(ctx, id, &mut text);
                }
            }
        }
        [word, ref ids @ ..] if !ids.is_empty() && word.eq_ignore_ascii_case(b"id") => {
            for n in ids {
                let n = parse_i64(n).ok_or(CmdError::Msg(&"ERR Invalid client ID"))?;
                if let Some(id) = by_number(ctx, n) {
                    line_of(ctx, id, &mut text);
                }
            }
        }
        _ => return Err(CmdError::Syntax),
    }
    ctx.out.verbatim(b"txt", text.as_bytes());
    Ok(Flow::Done)
}

fn by_number(ctx: &Ctx<'_>, n: i64) -> Option<ClientId> {
    let id = ctx.srv.clients.by_number(u64::try_from(n).ok()?)?;
    ctx.srv.clients.live(id).filter(|c| c.conn.stream.is_some()).map(|_| id)
}

// ---- KILL ---------------------------------------------------------------------------------------

/// The clients that CLIENT KILL means: all conditions that are given must hold.
#[derive(Default)]
struct Filter<'a> {
    addr: Option<&'a [u8]>,
    laddr: Option<&'a [u8]>,
    kind: Option<ClientKind>,
    id: Option<u64>,
    user: Option<UserId>,
    keep_me: bool,
}

fn filter<'a>(ctx: &mut Ctx<'a>) -> Result<Filter<'a>, CmdError> {
    let mut f = Filter { keep_me: true, ..Filter::default() };
    for pair in ctx.args.from(2).chunks(2) {
        let [option, value] = *pair else { return Err(CmdError::Syntax) };
        match &option.to_ascii_lowercase()[..] {
            b"id" => {
                let n = parse_i64(value).and_then(|n| u64::try_from(n).ok()).filter(|n| *n > 0);
                f.id = Some(n.ok_or(CmdError::Msg(&"ERR client-id should be greater than 0"))?);
            }
            b"type" => f.kind = Some(kind(ctx, value)?),
            b"addr" => f.addr = Some(value),
            b"laddr" => f.laddr = Some(value),
            b"user" => match auth::named(value) {
                Some(user) => f.user = Some(user),
                None => return Err(quoting(ctx, "ERR No such user '", value, "'")),
            },
            b"skipme" if value.eq_ignore_ascii_case(b"yes") => f.keep_me = true,
            b"skipme" if value.eq_ignore_ascii_case(b"no") => f.keep_me = false,
            _ => return Err(CmdError::Syntax),
        }
    }
    Ok(f)
}

impl Filter<'_> {
    fn fits(&self, ctx: &Ctx<'_>, id: ClientId) -> bool {
        let c = &ctx.srv.clients[id];
        if self.addr.is_some() || self.laddr.is_some() {
            let ends = client_info::addresses(ctx.srv, c);
            let differs =
                |want: Option<&[u8]>, is: &str| want.is_some_and(|w| c_text(w) != is.as_bytes());
            if differs(self.addr, &ends.peer) || differs(self.laddr, &ends.local) {
                return false;
            }
        }
        self.kind.is_none_or(|k| c.kind() == k)
            && self.id.is_none_or(|n| c.id == n)
            && self.user.is_none_or(|u| c.user == u)
            && !(self.keep_me && id == ctx.client)
    }
}

fn kill(ctx: &mut Ctx<'_>) -> Result<Flow, CmdError> {
    // The old form names an address and may mean the caller.
    let old_form = ctx.args.len() == 3;
    let wanted = match old_form {
        true => Filter { addr: Some(ctx.args[2]), ..Filter::default() },
        false => filter(ctx)?,
    };
    let mut killed = 0;
    let candidates = match wanted.id {
        Some(n) => ctx.srv.clients.by_number(n).into_iter().collect(),
        None => client_info::listed(ctx.srv),
    };
    for id in candidates {
        let live = ctx.srv.clients.live(id).is_some_and(|c| c.conn.stream.is_some());
        if !live || !wanted.fits(ctx, id) {
            continue;
        }
        killed += 1;
        if id == ctx.client {
            ctx.srv.clients[id].set(flag::CLOSE_AFTER_REPLY);
        } else {
            kill::kill(ctx.srv, id);
        }
    }
    match (old_form, killed) {
        (true, 0) => return Err(CmdError::Msg(&"ERR No such client")),
        (true, _) => ctx.out.ok(),
        (false, n) => ctx.out.int(n),
    }
    Ok(Flow::Done)
}

// ---- how this connection is treated -------------------------------------------------------------

fn no_evict(ctx: &mut Ctx<'_>) -> Result<Flow, CmdError> {
    let on = switch(ctx.args[2])?;
    put(ctx, flag::NO_EVICT, on);
    limits::account(ctx.srv, ctx.client);
    ctx.out.ok();
    Ok(Flow::Done)
}

fn no_touch(ctx: &mut Ctx<'_>) -> Result<Flow, CmdError> {
    let on = switch(ctx.args[2])?;
    put(ctx, flag::NO_TOUCH, on);
    ctx.out.ok();
    Ok(Flow::Done)
}

fn put(ctx: &mut Ctx<'_>, f: u64, on: bool) {
    let c = &mut ctx.srv.clients[ctx.client];
    if on { c.set(f) } else { c.clear(f) }
}

fn reply(ctx: &mut Ctx<'_>) -> Result<Flow, CmdError> {
    let how = ctx.args[2];
    let c = &mut ctx.srv.clients[ctx.client];
    if how.eq_ignore_ascii_case(b"on") {
        c.clear(flag::SKIP | flag::REPLY_OFF);
        ctx.out.mute(false);
        ctx.out.ok();
    } else if how.eq_ignore_ascii_case(b"off") {
        c.set(flag::REPLY_OFF);
        ctx.out.mute(true);
    } else if how.eq_ignore_ascii_case(b"skip") {
        if !c.has(flag::REPLY_OFF) {
            c.set(flag::SKIP_NEXT);
        }
    } else {
        return Err(CmdError::Syntax);
    }
    Ok(Flow::Done)
}

// ---- the others ---------------------------------------------------------------------------------

fn unblock(ctx: &mut Ctx<'_>) -> Result<Flow, CmdError> {
    let error = match *ctx.args.from(3) {
        [] => None,
        [how] if how.eq_ignore_ascii_case(b"timeout") => None,
        [how] if how.eq_ignore_ascii_case(b"error") => {
            Some("UNBLOCKED client unblocked via CLIENT UNBLOCK")
        }
        [_] => return Err(CmdError::Msg(&"ERR CLIENT UNBLOCK reason should be TIMEOUT or ERROR")),
        _ => return Err(unknown(ctx)),
    };
    let n = parse_i64(ctx.args[2]).ok_or(CmdError::NotInteger)?;
    // The end that SHUTDOWN waits for cannot be called off for one client alone.
    let may_end = |id: &ClientId| ctx.srv.blocked.get(*id).is_some_and(|b| b.wait != Wait::Shutdown);
    let found = by_number(ctx, n).filter(may_end);
    let released = found.is_some_and(|id| blocking::release(ctx.srv, id, error));
    ctx.out.int(i64::from(released));
    Ok(Flow::Done)
}

/// More arguments than any form has.
fn unknown(ctx: &mut Ctx<'_>) -> CmdError {
    let before = "ERR unknown subcommand or wrong number of arguments for '";
    let arg = ctx.args[1];
    let arg = &arg[..arg.len().min(128)];
    quoting(ctx, before, arg, "'. Try CLIENT HELP.")
}

fn pause(ctx: &mut Ctx<'_>) -> Result<Flow, CmdError> {
    let mut actions = match *ctx.args.from(3) {
        [] => action::ALL_SET,
        [how] if how.eq_ignore_ascii_case(b"all") => action::ALL_SET,
        [how] if how.eq_ignore_ascii_case(b"write") => action::WRITE_SET,
        [_] => return Err(CmdError::Msg(&"ERR CLIENT PAUSE mode must be WRITE or ALL")),
        _ => return Err(unknown(ctx)),
    };
    let ms =
        parse_i64(ctx.args[2]).ok_or(CmdError::Msg(&"ERR timeout is not an integer or out of range"))?;
    if ms < 0 {
        return Err(CmdError::Msg(&"ERR timeout is negative"));
    }
    let until = match ms {
        0 => 0,
        ms => ctx.now_ms().checked_add(ms).ok_or(CmdError::Msg(&"ERR timeout is out of range"))?,
    };
    if ctx.srv.pause.by_command().0 & action::ALL != 0 {
        actions = action::ALL_SET;
    }
    pause::pause(ctx.srv, Purpose::Command, until, actions);
    ctx.out.ok();
    Ok(Flow::Done)
}

fn unpause(ctx: &mut Ctx<'_>) -> Result<Flow, CmdError> {
    pause::unpause(ctx.srv, Purpose::Command);
    ctx.out.ok();
    Ok(Flow::Done)
}

// ---- tracking, which no client can turn on yet --------------------------------------------------

fn caching(_: &mut Ctx<'_>) -> Result<Flow, CmdError> {
    Err(CmdError::Msg(
        &"ERR CLIENT CACHING can be called only when the client is in tracking mode with OPTIN or OPTOUT \
          mode enabled",
    ))
}

fn getredir(ctx: &mut Ctx<'_>) -> Result<Flow, CmdError> {
    ctx.out.int(-1);
    Ok(Flow::Done)
}

fn trackinginfo(ctx: &mut Ctx<'_>) -> Result<Flow, CmdError> {
    ctx.out.map(3);
    ctx.out.bulk(b"flags");
    ctx.out.set(1);
    ctx.out.bulk(b"off");
    ctx.out.bulk(b"redirect");
    ctx.out.int(-1);
    ctx.out.bulk(b"prefixes");
    ctx.out.array(0);
    Ok(Flow::Done)
}

fn help(ctx: &mut Ctx<'_>) -> Result<Flow, CmdError> {
    let lines = [
        "CLIENT <subcommand> [<arg> [value] [opt] ...]. Subcommands are:",
        "CACHING (YES|NO)",
        "    Whether the keys of the next command are tracked, in OPTIN or OPTOUT mode.",
        "GETNAME",
        "    The name of this connection.",
        "GETREDIR",
        "    The ID of the client that hears of invalid keys in our place.",
        "ID",
        "    The ID of this connection.",
        "INFO",
        "    What LIST says of this connection.",
        "KILL <ip:port>",
        "    Close the connection that comes from <ip:port>.",
        "KILL <option> <value> [<option> <value> [...]]",
        "    Close the connections that fit all options:",
        "    * ADDR (<ip:port>|<unixsocket>:0): the peer's address",
        "    * ID <id>: one connection",
        "    * LADDR (<ip:port>|<unixsocket>:0): our address",
        "    * SKIPME (YES|NO): spare this connection (yes by default)",
        "    * TYPE (NORMAL|MASTER|REPLICA|PUBSUB): what it is used for",
        "    * USER <username>: the user it has logged in as",
        "LIST [options ...]",
        "    One line for each connection. Options:",
        "    * ID <id> [<id> ...]: only these",
        "    * TYPE (NORMAL|MASTER|REPLICA|PUBSUB): only those of a type",
        "NO-EVICT (ON|OFF)",
        "    Whether this connection stays when clients take too much memory.",
        "NO-TOUCH (ON|OFF)",
        "    Whether commands of this connection leave the age of keys alone.",
        "PAUSE <timeout> [WRITE|ALL]",
        "    Let the commands of clients, or only those that write, wait for so many milliseconds.",
        "REPLY (ON|OFF|SKIP)",
        "    Whether commands of this connection are answered.",
        "SETINFO <option> <value>",
        "    Tell about the client: LIB-NAME or LIB-VER of its library.",
        "SETNAME <name>",
        "    Name this connection.",
        "TRACKINGINFO",
        "    How this connection tracks keys.",
        "UNBLOCK <clientid> [TIMEOUT|ERROR]",
        "    End the wait of a blocked client.",
        "UNPAUSE",
        "    End a pause.",
        "HELP",
        "    Print this help.",
    ];
    ctx.out.array(lines.len());
    lines.iter().for_each(|l| ctx.out.status(l));
    Ok(Flow::Done)
}
