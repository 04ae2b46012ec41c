//! Commands about the connection itself: greeting, authentication, its state, its end, and MONITOR.

use crate::algo::num::parse_i64;
use crate::clients::flag;
use crate::cmd::docs;
use crate::cmd::row::flag::*;
use crate::cmd::row::{Flow, cat};
use crate::proto::error::CmdError;
use crate::pubsub::SubscriptionKind;
use crate::server::ctx::{Command, Ctx, ROW};
use crate::server::{ServerStates, auth, policy, tracking, transaction};

/// The flags of QUIT and RESET, which a client may call in whatever state it is, to leave it.
const LEAVES_ANY_STATE: u64 = NOSCRIPT
    | LOADING
    | STALE
    | FAST
    | NO_AUTH
    | ALLOW_BUSY
    | ENDS_MULTI
    | INSIDE_MULTI
    | WHILE_SUBSCRIBED;

pub static ROWS: &[Command] = &[
    Command {
        name: "auth",
        arity: -2,
        flags: NOSCRIPT | LOADING | STALE | FAST | NO_AUTH | SENTINEL | ALLOW_BUSY,
        acl: cat::CONNECTION,
        secrets: Some(login_secrets),
        run: auth,
        docs: &docs::AUTH,
        ..ROW
    },
    Command {
        name: "echo",
        arity: 2,
        flags: LOADING | STALE | FAST,
        acl: cat::CONNECTION,
        run: echo,
        docs: &docs::ECHO,
        ..ROW
    },
    Command {
        name: "hello",
        arity: -1,
        flags: NOSCRIPT | LOADING | STALE | FAST | NO_AUTH | SENTINEL | ALLOW_BUSY,
        acl: cat::CONNECTION,
        secrets: Some(greeting_secrets),
        run: hello,
        docs: &docs::HELLO,
        ..ROW
    },
    Command {
        name: "monitor",
        arity: 1,
        flags: ADMIN | NOSCRIPT | LOADING | STALE,
        run: monitor,
        docs: &docs::MONITOR,
        ..ROW
    },
    Command {
        name: "ping",
        arity: -1,
        flags: FAST | SENTINEL | WHILE_SUBSCRIBED | REPORTS_DISK,
        acl: cat::CONNECTION,
        run: ping,
        docs: &docs::PING,
        ..ROW
    },
    Command {
        name: "quit",
        arity: -1,
        flags: LEAVES_ANY_STATE,
        acl: cat::CONNECTION,
        run: quit,
        docs: &docs::QUIT,
        ..ROW
    },
    Command {
        name: "reset",
        arity: 1,
        flags: LEAVES_ANY_STATE,
        acl: cat::CONNECTION,
        run: reset,
        docs: &docs::RESET,
        ..ROW
    },
];

fn ping(ctx: &mut Ctx<'_>) -> Result<Flow, CmdError> {
    if ctx.args.len() > 2 {
        return Err(CmdError::arity("ping"));
    }
    let word = ctx.args.get(1).copied();
    let c = &ctx.srv.clients[ctx.client];
    if c.has(flag::PUBSUB) && c.resp == 2 {
        ctx.out.array(2);
        ctx.out.bulk(b"pong");
        ctx.out.bulk(word.unwrap_or(b""));
    } else {
        match word {
            None => ctx.out.status("PONG"),
            Some(w) => ctx.out.bulk(w),
        }
    }
    Ok(Flow::Done)
}

fn echo(ctx: &mut Ctx<'_>) -> Result<Flow, CmdError> {
    ctx.out.bulk(ctx.args[1]);
    Ok(Flow::Done)
}

fn quit(ctx: &mut Ctx<'_>) -> Result<Flow, CmdError> {
    ctx.out.ok();
    // Before the command is shown to monitors: a monitor does not see its own QUIT.
    ctx.srv.clients[ctx.client].set(flag::CLOSE_AFTER_REPLY);
    Ok(Flow::Close)
}

fn reset(ctx: &mut Ctx<'_>) -> Result<Flow, CmdError> {
    let (srv, id) = (&mut *ctx.srv, ctx.client);
    if srv.clients[id].has(flag::REPLICA | flag::MASTER) {
        return Err(CmdError::Msg(&"ERR can only reset normal client connections"));
    }
    srv.monitors.remove(&id);
    srv.states.put(ServerStates::MONITORS, !srv.monitors.is_empty());
    tracking::disable(srv, id);
    transaction::discard(srv, id);
    for kind in [SubscriptionKind::Channel, SubscriptionKind::Shard, SubscriptionKind::Pattern] {
        for name in srv.pubsub.of(kind, id) {
            srv.pubsub.unsubscribe(kind, id, &name);
        }
    }
    let c = &mut srv.clients[id];
    c.clear(
        flag::MONITOR
            | flag::PUBSUB
            | flag::REPLY_OFF
            | flag::SKIP_NEXT
            | flag::NO_TOUCH
            | flag::NO_EVICT
            | flag::ASKING
            | flag::ASKING_NEXT
            | flag::READS_REPLICA,
    );
    c.db = 0;
    c.resp = 2;
    if let Some(e) = &mut c.extra {
        e.name = None;
    }
    ctx.db = 0;
    ctx.out.resp3 = false;
    // RESET itself may be the command whose reply is skipped.
    ctx.out.mute(srv.clients[id].has(flag::SKIP));
    auth::default_user(srv, id);
    policy::refresh(srv);
    crate::server::limits::account(srv, id);
    ctx.out.status("RESET");
    Ok(Flow::Done)
}

fn monitor(ctx: &mut Ctx<'_>) -> Result<Flow, CmdError> {
    let c = &mut ctx.srv.clients[ctx.client];
    if c.has(flag::DENY_BLOCKING) {
        return Err(CmdError::Msg(&"ERR MONITOR isn't allowed for DENY BLOCKING client"));
    }
    if c.has(flag::MONITOR | flag::REPLICA) {
        return Ok(Flow::Done);
    }
    c.set(flag::MONITOR);
    ctx.srv.monitors.insert(ctx.client);
    ctx.srv.states.put(ServerStates::MONITORS, true);
    ctx.out.ok();
    Ok(Flow::Done)
}

const WRONG_PASSWORD: CmdError =
    CmdError::Msg(&"WRONGPASS invalid username-password pair or user is disabled.");

/// Logs a client in.
fn authenticate(ctx: &mut Ctx<'_>, user: &[u8], password: &[u8]) -> Result<(), CmdError> {
    if !auth::log_in(ctx.srv, ctx.client, ctx.args[0], user, password) {
        return Err(WRONG_PASSWORD);
    }
    Ok(())
}

fn auth(ctx: &mut Ctx<'_>) -> Result<Flow, CmdError> {
    let (user, password) = match *ctx.args.slice() {
        [_, password] if auth::passwords(ctx.srv) => (&b"default"[..], password),
        [_, _] => {
            return Err(CmdError::Msg(
                &"ERR AUTH <password> called without any password configured for the default user. \
                  Are you sure your configuration is correct?",
            ));
        }
        [_, user, password] => (user, password),
        _ => return Err(CmdError::Syntax),
    };
    authenticate(ctx, user, password)?;
    ctx.out.ok();
    Ok(Flow::Done)
}

/// All arguments of AUTH, when it has no more than it can have.
fn login_secrets(args: &[&[u8]]) -> Vec<usize> {
    (1..args.len()).filter(|_| args.len() <= 3).collect()
}

/// User and password of HELLO, up to the first option that it does not know; nothing when the version is
/// refused.
fn greeting_secrets(args: &[&[u8]]) -> Vec<usize> {
    let mut found = Vec::new();
    let version = args.get(1).and_then(|v| parse_i64(v));
    let mut i = if version.is_some_and(|v| (2..=3).contains(&v)) { 2 } else { args.len() };
    while i < args.len() {
        let more = args.len() - 1 - i;
        if args[i].eq_ignore_ascii_case(b"auth") && more >= 2 {
            found.extend([i + 1, i + 2]);
            i += 3;
        } else if args[i].eq_ignore_ascii_case(b"setname") && more >= 1 {
            i += 2;
        } else {
            break;
        }
    }
    found
}

/// What HELLO asks for.
#[derive(Default)]
struct Greeting<'a> {
    version: Option<u8>,
    login: Option<(&'a [u8], &'a [u8])>,
    name: Option<&'a [u8]>,
}

fn greeting<'a>(args: &[&'a [u8]]) -> Result<Greeting<'a>, CmdError> {
    let mut g = Greeting::default();
    let Some(version) = args.get(1) else { return Ok(g) };
    let n = parse_i64(version)
        .ok_or(CmdError::Msg(&"ERR Protocol version is not an integer or out of range"))?;
    if !(2..=3).contains(&n) {
        return Err(CmdError::Msg(&"NOPROTO unsupported protocol version"));
    }
    g.version = Some(n as u8);
    let mut rest = args.get(2..).unwrap_or(&[]);
    while let [option, more @ ..] = rest {
        rest = match *more {
            [user, password, ref after @ ..] if option.eq_ignore_ascii_case(b"auth") => {
                g.login = Some((user, password));
                after
            }
            [name, ref after @ ..] if option.eq_ignore_ascii_case(b"setname") => {
                super::client::check_name(name)?;
                g.name = Some(name);
                after
            }
            _ => {
                let option = String::from_utf8_lossy(option);
                return Err(CmdError::text(format!("ERR Syntax error in HELLO option '{option}'")));
            }
        };
    }
    Ok(g)
}

fn hello(ctx: &mut Ctx<'_>) -> Result<Flow, CmdError> {
    let g = greeting(ctx.args.slice())?;
    if let Some((user, password)) = g.login {
        authenticate(ctx, user, password)?;
    }
    let c = &mut ctx.srv.clients[ctx.client];
    if c.has(flag::UNAUTHENTICATED) {
        return Err(CmdError::Msg(
            &"NOAUTH HELLO must be called with the client already authenticated, otherwise the HELLO \
              <proto> AUTH <user> <pass> option can be used to authenticate the client and select the \
              RESP protocol version at the same time",
        ));
    }
    if let Some(name) = g.name {
        super::client::set_name(c, name);
    }
    if let Some(v) = g.version {
        c.resp = v;
        ctx.out.resp3 = v == 3;
    }
    let (proto, number) = (c.resp, c.id);
    let out = &mut *ctx.out;
    out.map(7);
    out.bulk(b"server");
    out.bulk(b"redis");
    out.bulk(b"version");
    out.bulk(b"7.2.6");
    out.bulk(b"proto");
    out.int(i64::from(proto));
    out.bulk(b"id");
    out.int(number as i64);
    out.bulk(b"mode");
    out.bulk(if ctx.srv.config.cluster_enabled { b"cluster" } else { b"standalone" });
    out.bulk(b"role");
    out.bulk(if ctx.srv.states.has(ServerStates::REPLICA) { b"replica" } else { b"master" });
    out.bulk(b"modules");
    out.array(0);
    Ok(Flow::Done)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_found_where_they_stand() {
        let of = |find: fn(&[&[u8]]) -> Vec<usize>, line: &str| {
            find(&line.split(' ').map(str::as_bytes).collect::<Vec<_>>())
        };
        assert_eq!(of(login_secrets, "auth pw"), [1]);
        assert_eq!(of(login_secrets, "login user pw"), [1, 2]);
        assert!(of(login_secrets, "auth a b c").is_empty());
        assert_eq!(of(greeting_secrets, "hello 3 SETNAME auth AUTH user pw"), [5, 6]);
        assert!(of(greeting_secrets, "hello 3 auth user").is_empty());
        assert!(of(greeting_secrets, "hello 4 auth user pw").is_empty());
    }

    #[test]
    fn greetings_are_read_in_order() {
        let read = |line: &str| {
            let words: Vec<&[u8]> = line.split(' ').map(str::as_bytes).collect();
            greeting(&words).map(|g| (g.version, g.login.is_some(), g.name.is_some()))
        };
        assert_eq!(read("hello").ok(), Some((None, false, false)));
        assert_eq!(read("hello 3 AUTH u p setname n").ok(), Some((Some(3), true, true)));
        let text = |line| read(line).map_err(|e| e.as_str().to_string()).expect_err("refused");
        assert_eq!(text("hello 4 auth"), "NOPROTO unsupported protocol version");
        assert_eq!(text("hello 2 auth u"), "ERR Syntax error in HELLO option 'auth'");
        assert!(text("hello x").starts_with("ERR Protocol version is not"));
    }
}
