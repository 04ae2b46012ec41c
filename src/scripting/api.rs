//! The `redis` table of scripts, without `call` and `pcall`, which need no detour (see `ffi`).

use super::ffi::{Kind, Native, Raise, Stack};
use super::{cjson, cmsgpack, name_of, run};
use crate::config::REDIS_VERSION;
use crate::replication::ops::to;
use crate::server::lend::with_lent;
use crate::sys::log::{self, Level};

pub const FUNCTIONS: &[(&str, Native)] = &[
    ("acl_check_cmd", acl_check_cmd),
    ("breakpoint", breakpoint),
    ("debug", debug),
    ("error_reply", error_reply),
    ("log", log_),
    ("replicate_commands", replicate_commands),
    ("set_repl", set_repl),
    ("setresp", setresp),
    ("sha1hex", sha1hex),
    ("status_reply", status_reply),
];

const LEVELS: [(&str, Level); 4] = [
    ("LOG_DEBUG", Level::Debug),
    ("LOG_VERBOSE", Level::Verbose),
    ("LOG_NOTICE", Level::Notice),
    ("LOG_WARNING", Level::Warning),
];

/// Fills in what is no function; the globals are on top.
pub fn constants(s: &mut Stack) {
    let globals = s.top();
    s.raw_get_name(globals, "redis");
    for (i, (name, _)) in LEVELS.iter().enumerate() {
        s.push_number(i as f64);
        s.raw_set_name(-2, name);
    }
    let masks = [
        ("REPL_NONE", 0),
        ("REPL_AOF", to::AOF),
        ("REPL_SLAVE", to::REPLICAS),
        ("REPL_REPLICA", to::REPLICAS),
        ("REPL_ALL", to::ALL),
    ];
    for (name, mask) in masks {
        s.push_number(f64::from(mask));
        s.raw_set_name(-2, name);
    }
    s.push_bytes(REDIS_VERSION.as_bytes());
    s.raw_set_name(-2, "REDIS_VERSION");
    s.push_number(version_number());
    s.raw_set_name(-2, "REDIS_VERSION_NUM");
    s.set_top(globals);
    for (library, constants) in [("cjson", cjson::CONSTANTS), ("cmsgpack", cmsgpack::CONSTANTS)] {
        s.raw_get_name(globals, library);
        for (name, text) in constants {
            s.push_bytes(text.as_bytes());
            s.raw_set_name(-2, name);
        }
        if library == "cjson" {
            s.push_null();
            s.raw_set_name(-2, "null");
        }
        s.set_top(globals);
    }
}

/// 0x00MMmmpp.
fn version_number() -> f64 {
    let part = |n: u32, p: &str| n << 8 | p.parse::<u32>().unwrap_or(0);
    f64::from(REDIS_VERSION.split('.').fold(0, part))
}

fn error(text: &str) -> Raise {
    Raise::Error(text.as_bytes().to_vec())
}

fn sha1hex(s: &mut Stack) -> Result<i32, Raise> {
    if s.top() != 1 {
        return Err(error("wrong number of arguments"));
    }
    let name = name_of(&s.text(1).unwrap_or_default());
    s.push_bytes(&name);
    Ok(1)
}

/// The one string that error_reply and status_reply take; otherwise an error table is pushed.
fn one_string(s: &mut Stack) -> Option<Vec<u8>> {
    if s.top() == 1 && s.kind(1) == Kind::String {
        return s.text(1);
    }
    s.push_error(b"wrong number or type of arguments");
    None
}

fn error_reply(s: &mut Stack) -> Result<i32, Raise> {
    if let Some(mut text) = one_string(s) {
        if text.first() != Some(&b'-') {
            text.insert(0, b'-');
        }
        s.push_error(&text);
    }
    Ok(1)
}

fn status_reply(s: &mut Stack) -> Result<i32, Raise> {
    if one_string(s).is_some() {
        s.new_table();
        s.push_value(1);
        s.raw_set_name(-2, "ok");
    }
    Ok(1)
}

/// A number as C takes it for an int.
fn int(s: &Stack, at: i32) -> i32 {
    s.number(at).unwrap_or(0.0) as i32
}

fn setresp(s: &mut Stack) -> Result<i32, Raise> {
    if s.top() != 1 {
        return Err(error("redis.setresp() requires one argument."));
    }
    match int(s, 1) {
        resp @ (2 | 3) => with_lent(|srv| run::set_resp(srv, resp as u8)),
        _ => return Err(error("RESP version must be 2 or 3.")),
    }
    Ok(0)
}

fn set_repl(s: &mut Stack) -> Result<i32, Raise> {
    if s.top() != 1 {
        return Err(error("redis.set_repl() requires one argument."));
    }
    match u8::try_from(int(s, 1)) {
        Ok(mask) if mask & !to::ALL == 0 => with_lent(|srv| run::set_repl(srv, mask)),
        _ => {
            let why = "Invalid replication flags. Use REPL_AOF, REPL_REPLICA, REPL_ALL or REPL_NONE.";
            return Err(error(why));
        }
    }
    Ok(0)
}

fn acl_check_cmd(s: &mut Stack) -> Result<i32, Raise> {
    if s.top() == 0 {
        return Err(error("Please specify at least one argument for this redis lib call"));
    }
    let mut words = Vec::new();
    for at in 1..=s.top() {
        match s.text(at) {
            Some(word) => words.push(word),
            None => {
                return Err(error("Lua redis lib command arguments must be strings or integers"));
            }
        }
    }
    match with_lent(|srv| run::may_call(srv, &words)) {
        Some(yes) => s.push_bool(yes),
        None => return Err(error("Invalid command passed to redis.acl_check_cmd()")),
    }
    Ok(1)
}

fn log_(s: &mut Stack) -> Result<i32, Raise> {
    if s.top() < 2 {
        return Err(error("redis.log() requires two arguments or more."));
    }
    let Some(level) = s.number(1) else {
        return Err(error("First argument must be a number (log level)."));
    };
    let level = usize::try_from(level as i32).ok().and_then(|n| LEVELS.get(n));
    let Some((_, level)) = level else { return Err(error("Invalid debug level.")) };
    if !log::enabled(*level) {
        return Ok(0);
    }
    let mut line = Vec::new();
    for at in 2..=s.top() {
        if let Some(text) = s.text(at) {
            if at > 2 {
                line.push(b' ');
            }
            line.extend_from_slice(&text);
        }
    }
    log::raw_line(*level, &String::from_utf8_lossy(&line));
    Ok(0)
}

/// Effects are always what is replicated: there is nothing to switch.
fn replicate_commands(s: &mut Stack) -> Result<i32, Raise> {
    s.push_bool(true);
    Ok(1)
}

/// Says whether a debugger will stop: there is none.
fn breakpoint(s: &mut Stack) -> Result<i32, Raise> {
    s.push_bool(false);
    Ok(1)
}

/// Writes to the console of the debugger.
fn debug(_: &mut Stack) -> Result<i32, Raise> {
    Ok(0)
}
