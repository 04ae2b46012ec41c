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
use crate::server::{auth, blocking, client_info, kill, limits, tracking};
use crate::tracking::Overlap;

const SUB: u64 = NOSCRIPT | LOADING | STALE | SENTINEL | KEEPS_CACHING;

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
        sub("help", 2, SUB & !NOSCRIPT, help, &docs::CLIENT_HELP),
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
        sub("tracking", -3, SUB, tracking, &docs::CLIENT_TRACKING),
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
            b"user" => match auth::named(ctx.srv, value) {
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
    // What is under way cannot be called off for one client alone.
    let own = |wait| !matches!(wait, Wait::Shutdown | Wait::Rewrite);
    let may_end = |id: &ClientId| ctx.srv.blocked.get(*id).is_some_and(|b| own(b.wait));
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

// ---- tracking -----------------------------------------------------------------------------------

/// What CLIENT TRACKING asks for behind ON or OFF.
#[derive(Default)]
struct Options<'a> {
    modes: u64,
    redirect: u64,
    prefixes: Vec<&'a [u8]>,
}

fn options<'a>(ctx: &Ctx<'a>) -> Result<Options<'a>, CmdError> {
    let mut o = Options::default();
    let mut rest = ctx.args.from(3);
    while let [word, more @ ..] = rest {
        let is = |name: &str| word.eq_ignore_ascii_case(name.as_bytes());
        rest = match *more {
            [number, ref after @ ..] if is("redirect") => {
                o.redirect = target(ctx, o.redirect, number)?;
                after
            }
            [prefix, ref after @ ..] if is("prefix") => {
                o.prefixes.push(prefix);
                after
            }
            _ => {
                o.modes |= match () {
                    () if is("bcast") => flag::BROADCAST,
                    () if is("optin") => flag::OPT_IN,
                    () if is("optout") => flag::OPT_OUT,
                    () if is("noloop") => flag::NO_LOOP,
                    () => return Err(CmdError::Syntax),
                };
                more
            }
        };
    }
    Ok(o)
}

/// The client behind REDIRECT, which must be there now, though it may go any time.
fn target(ctx: &Ctx<'_>, before: u64, number: &[u8]) -> Result<u64, CmdError> {
    if before != 0 {
        return Err(CmdError::Msg(&"ERR A client can only redirect to a single other client"));
    }
    let n = parse_i64(number).ok_or(CmdError::NotInteger)?.cast_unsigned();
    let found = ctx.srv.clients.by_number(n).and_then(|id| ctx.srv.clients.live(id));
    match found {
        Some(c) if c.conn.stream.is_some() => Ok(n),
        _ => Err(CmdError::Msg(&"ERR The client ID you want redirect to does not exist")),
    }
}

/// Modes that cannot be had together, or not without OFF in between.
fn clash(old: u64, o: &Options<'_>) -> Option<&'static &'static str> {
    let new = o.modes;
    let both = |modes: u64, a: u64, b: u64| modes & a != 0 && modes & b != 0;
    if new & flag::BROADCAST == 0 && !o.prefixes.is_empty() {
        return Some(&"ERR PREFIX option requires BCAST mode to be enabled");
    }
    if old & flag::TRACKING != 0 && (old ^ new) & flag::BROADCAST != 0 {
        return Some(
            &"ERR You can't switch BCAST mode on/off before disabling tracking for this client, and then \
              re-enabling it with a different mode.",
        );
    }
    if both(new, flag::BROADCAST, flag::OPT_IN | flag::OPT_OUT) {
        return Some(&"ERR OPTIN and OPTOUT are not compatible with BCAST");
    }
    if both(new, flag::OPT_IN, flag::OPT_OUT) {
        return Some(&"ERR You can't specify both OPTIN mode and OPTOUT mode");
    }
    if new & flag::OPT_IN != 0 && old & flag::OPT_OUT != 0
        || new & flag::OPT_OUT != 0 && old & flag::OPT_IN != 0
    {
        return Some(
            &"ERR You can't switch OPTIN/OPTOUT mode before disabling tracking for this client, and then \
              re-enabling it with a different mode.",
        );
    }
    None
}

/// A client is not to hear of one key twice.
fn refuse_overlap(ctx: &mut Ctx<'_>, prefixes: &[&[u8]]) -> Result<(), CmdError> {
    let (new, how, other) = match ctx.srv.tracking.overlap(ctx.client, prefixes) {
        None => return Ok(()),
        Some(Overlap::Existing(new, old)) => (new, "an existing", old),
        Some(Overlap::Given(new, other)) => (new, "another provided", other.into()),
    };
    let how = format!("' overlaps with {how} prefix '");
    let end = b"'. Prefixes for a single client must not overlap.";
    let why = [b"ERR Prefix '", c_text(new), how.as_bytes(), c_text(&other), end].concat();
    ctx.out.error_bytes(&why);
    Err(CmdError::Replied)
}

fn tracking(ctx: &mut Ctx<'_>) -> Result<Flow, CmdError> {
    let o = options(ctx)?;
    if switch(ctx.args[2])? {
        if let Some(why) = clash(ctx.srv.clients[ctx.client].flags, &o) {
            return Err(CmdError::Msg(why));
        }
        refuse_overlap(ctx, &o.prefixes)?;
        tracking::enable(ctx.srv, ctx.client, o.modes, o.redirect, &o.prefixes);
    } else {
        tracking::disable(ctx.srv, ctx.client);
    }
    ctx.out.ok();
    Ok(Flow::Done)
}

fn caching(ctx: &mut Ctx<'_>) -> Result<Flow, CmdError> {
    let how = ctx.args[2];
    let c = &mut ctx.srv.clients[ctx.client];
    if !c.has(flag::TRACKING) {
        return Err(CmdError::Msg(
            &"ERR CLIENT CACHING can be called only when the client is in tracking mode with OPTIN or \
              OPTOUT mode enabled",
        ));
    }
    let (mode, why) = match () {
        () if how.eq_ignore_ascii_case(b"yes") => (
            flag::OPT_IN,
            &"ERR CLIENT CACHING YES is only valid when tracking is enabled in OPTIN mode.",
        ),
        () if how.eq_ignore_ascii_case(b"no") => (
            flag::OPT_OUT,
            &"ERR CLIENT CACHING NO is only valid when tracking is enabled in OPTOUT mode.",
        ),
        () => return Err(CmdError::Syntax),
    };
    if !c.has(mode) {
        return Err(CmdError::Msg(why));
    }
    c.set(flag::CACHING);
    ctx.out.ok();
    Ok(Flow::Done)
}

fn getredir(ctx: &mut Ctx<'_>) -> Result<Flow, CmdError> {
    ctx.out.int(client_info::redirect(ctx.srv, ctx.client));
    Ok(Flow::Done)
}

fn trackinginfo(ctx: &mut Ctx<'_>) -> Result<Flow, CmdError> {
    let c = &ctx.srv.clients[ctx.client];
    let words = [
        (c.has(flag::TRACKING), "on"),
        (!c.has(flag::TRACKING), "off"),
        (c.has(flag::BROADCAST), "bcast"),
        (c.has(flag::OPT_IN), "optin"),
        (c.has(flag::OPT_IN) && c.has(flag::CACHING), "caching-yes"),
        (c.has(flag::OPT_OUT), "optout"),
        (c.has(flag::OPT_OUT) && c.has(flag::CACHING), "caching-no"),
        (c.has(flag::NO_LOOP), "noloop"),
        (c.has(flag::BROKEN_REDIRECT), "broken_redirect"),
    ];
    let out = &mut *ctx.out;
    out.map(3);
    out.bulk(b"flags");
    out.set(words.iter().filter(|(on, _)| *on).count());
    words.iter().filter(|(on, _)| *on).for_each(|(_, word)| out.bulk(word.as_bytes()));
    out.bulk(b"redirect");
    out.int(client_info::redirect(ctx.srv, ctx.client));
    out.bulk(b"prefixes");
    match ctx.srv.tracking.of(ctx.client) {
        Some(s) => {
            out.array(s.prefixes().len());
            s.prefixes().for_each(|p| out.bulk(p));
        }
        None => out.array(0),
    }
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
        "TRACKING (ON|OFF) [REDIRECT <id>] [BCAST] [PREFIX <prefix> [...]]",
        "         [OPTIN] [OPTOUT] [NOLOOP]",
        "    Whether this connection, or the client <id>, is told when keys change that it has cached.",
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
