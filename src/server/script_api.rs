//! The `redis` table of scripts.

use super::lend::with_lent;
use super::script;
use crate::config::REDIS_VERSION;
use crate::replication::ops::to;
use crate::scripting::ffi::{Calls, Library, LuaType, Raise, Stack, cast_int};
use crate::scripting::name_of;
use crate::scripting::register::register_function;
use crate::scripting::sandbox::LibraryItem::{Call, Native, Number, PCall, Text};
use crate::sys::log::{self, Level};

/// What scripts call.
pub const CALLS: Calls = Calls {
    redis: LIBRARY,
    scripts_only: SCRIPTS_ONLY,
    loading: LOADING,
    command: |args| with_lent(|srv| script::command(srv, args)),
    slow: |request| with_lent(|srv| script::slow(srv, request)),
};

const LIBRARY: Library = &[
    ("call", Call),
    ("pcall", PCall),
    ("log", Native(log_)),
    ("LOG_DEBUG", Number(0.0)),
    ("LOG_VERBOSE", Number(1.0)),
    ("LOG_NOTICE", Number(2.0)),
    ("LOG_WARNING", Number(3.0)),
    ("REDIS_VERSION_NUM", Number(version_number() as f64)),
    ("REDIS_VERSION", Text(REDIS_VERSION)),
    ("setresp", Native(setresp)),
    ("sha1hex", Native(sha1hex)),
    ("error_reply", Native(error_reply)),
    ("status_reply", Native(status_reply)),
    ("set_repl", Native(set_repl)),
    ("REPL_NONE", Number(0.0)),
    ("REPL_AOF", Number(to::AOF as f64)),
    ("REPL_SLAVE", Number(to::REPLICAS as f64)),
    ("REPL_REPLICA", Number(to::REPLICAS as f64)),
    ("REPL_ALL", Number(to::ALL as f64)),
    ("acl_check_cmd", Native(acl_check_cmd)),
];

/// Beside that in EVAL.
const SCRIPTS_ONLY: Library = &[
    ("breakpoint", Native(breakpoint)),
    ("debug", Native(debug)),
    ("replicate_commands", Native(replicate_commands)),
];

/// The table `redis` while a library is loaded.
const LOADING: Library = &[
    ("register_function", Native(register_function)),
    ("log", Native(log_)),
    ("LOG_DEBUG", Number(0.0)),
    ("LOG_VERBOSE", Number(1.0)),
    ("LOG_NOTICE", Number(2.0)),
    ("LOG_WARNING", Number(3.0)),
    ("REDIS_VERSION_NUM", Number(version_number() as f64)),
    ("REDIS_VERSION", Text(REDIS_VERSION)),
];

/// The levels of the constants above.
const LEVELS: [Level; 4] = [Level::Debug, Level::Verbose, Level::Notice, Level::Warning];

/// 0x00MMmmpp.
const fn version_number() -> u32 {
    let (text, mut n, mut part, mut i) = (REDIS_VERSION.as_bytes(), 0, 0, 0);
    while i < text.len() {
        if text[i] == b'.' {
            (n, part) = (n << 8 | part, 0);
        } else {
            part = part * 10 + (text[i] - b'0') as u32;
        }
        i += 1;
    }
    n << 8 | part
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
    if s.top() == 1 && s.kind(1) == LuaType::String {
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

/// An argument as C takes it for an int; what is no number is 0.
fn int(s: &Stack, at: i32) -> i32 {
    cast_int(s.number(at).unwrap_or(0.0))
}

fn setresp(s: &mut Stack) -> Result<i32, Raise> {
    if s.top() != 1 {
        return Err(error("redis.setresp() requires one argument."));
    }
    match int(s, 1) {
        resp @ (2 | 3) => with_lent(|srv| script::set_resp(srv, resp as u8)),
        _ => return Err(error("RESP version must be 2 or 3.")),
    }
    Ok(0)
}

fn set_repl(s: &mut Stack) -> Result<i32, Raise> {
    if s.top() != 1 {
        return Err(error("redis.set_repl() requires one argument."));
    }
    match u8::try_from(int(s, 1)) {
        Ok(mask) if mask & !to::ALL == 0 => with_lent(|srv| script::set_repl(srv, mask)),
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
    match with_lent(|srv| script::may_call(srv, &words)) {
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
    let level = usize::try_from(cast_int(level)).ok().and_then(|n| LEVELS.get(n));
    let Some(level) = level else { return Err(error("Invalid debug level.")) };
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

/// Lets the debugger stop at the next line; says whether there is one.
fn breakpoint(s: &mut Stack) -> Result<i32, Raise> {
    let there = s.kept().debugger.as_mut().map(|d| d.break_here()).is_some();
    s.push_bool(there);
    Ok(1)
}

/// Shows values to the debugger.
fn debug(s: &mut Stack) -> Result<i32, Raise> {
    let Some(line) = s.kept().debugger.as_ref().map(|d| d.line()) else { return Ok(0) };
    let values: Vec<Vec<u8>> = (1..=s.top()).map(|at| s.described(at)).collect();
    let text = [format!("<debug> line {line}: ").as_bytes(), &values.join(&b", "[..])].concat();
    if let Some(d) = &mut s.kept().debugger {
        d.log(text);
    }
    Ok(0)
}
