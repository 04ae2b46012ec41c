//! Commands of scripts, and their replies as values.

use super::{LuaHost, bytes_at, kept, natively, push_bytes};
use crate::algo::num;
use mlua_sys as lua;
use mlua_sys::lua_State;
use std::ffi::{CStr, c_int};

/// Replies nested deeper than this do not come from our commands.
const MAX_DEPTH: usize = 64;
/// Arguments up to here need no allocation.
const FEW: usize = 16;

/// An error as the table holds it: `-CODE text` without the dash; a text without one gets `ERR`.
pub fn error_text(text: &[u8]) -> Vec<u8> {
    let end = memchr::memchr(0, text).unwrap_or(text.len());
    let (code, message) = match text[..end].strip_prefix(b"-") {
        None => (&b"ERR"[..], &text[..end]),
        Some(rest) => match memchr::memchr(b' ', rest) {
            None => (&b"ERR"[..], rest),
            Some(i) => (&rest[..i], &rest[i + 1..]),
        },
    };
    let edge = |b: &u8| *b == b'\r' || *b == b'\n';
    let begin = message.iter().position(|b| !edge(b)).unwrap_or(message.len());
    let end = message.iter().rposition(|b| !edge(b)).map_or(begin, |i| i + 1);
    [code, b" ", &message[begin..end]].concat()
}

/// Pushes an error as scripts see it: a table with the field `err`.
///
/// # Safety
/// A live state, natively, with room for three values.
pub(super) unsafe fn push_error(l: *mut lua_State, text: &[u8], counted: bool) {
    // SAFETY: balanced but for the table; the session is borrowed for a line.
    unsafe {
        if let Some(d) = (*kept(l)).debugger.as_mut().filter(|d| d.shows()) {
            d.log([b"<error> ", text].concat());
        }
        lua::lua_createtable(l, 0, 0);
        push_bytes(l, &error_text(text));
        lua::lua_setfield(l, -2, c"err".as_ptr());
        if counted {
            lua::lua_pushboolean(l, 1);
            lua::lua_setfield(l, -2, c"ignore_error_stats_update".as_ptr());
        }
    }
}

/// Pushes a number as commands get it: all of its digits, and no exponent for a whole one.
///
/// # Safety
/// A live state.
unsafe fn push_argument(l: *mut lua_State, n: f64) {
    // SAFETY: the bytes are copied.
    unsafe {
        match num::f64_as_i64(n) {
            Some(n) => push_bytes(l, itoa::Buffer::new().format(n).as_bytes()),
            None => push_bytes(l, &num::F64Text::plain(n)),
        }
    }
}

/// Runs the command that the stack holds; leaves its reply or an error table there. False for an error.
///
/// # Safety
/// A live state inside a C function.
pub(super) unsafe fn command(l: *mut lua_State) -> bool {
    // SAFETY: by contract. The arguments stay on the Lua stack until the handler has returned, so their
    // bytes stay where they are; afterwards there is room for 20 values.
    unsafe {
        natively(l, |kept| {
            let outcome = match argument_count(l) {
                Err(why) => {
                    lua::lua_settop(l, 0);
                    push_error(l, why, false);
                    return false;
                }
                Ok(n @ 0..=FEW) => {
                    let mut few: [&[u8]; FEW] = [&[]; FEW];
                    let args = &mut few[..n];
                    arguments(l, args);
                    run(kept, args)
                }
                Ok(n) => {
                    let mut many: Vec<&[u8]> = vec![&[]; n];
                    arguments(l, &mut many);
                    run(kept, &many)
                }
            };
            lua::lua_settop(l, 0);
            match outcome {
                Ok(reply) => {
                    push_reply(l, &reply, 0);
                    if let Some(d) = (*kept).debugger.as_mut().filter(|d| d.shows()) {
                        d.reply(&reply);
                    }
                    reply.first() != Some(&b'-')
                }
                Err(text) => {
                    // The general code is none of the text that a debugger shows.
                    push_error(l, text.strip_prefix(b"-ERR ").unwrap_or(&text), true);
                    false
                }
            }
        })
    }
}

/// Runs a command, which a debugger shows.
///
/// # Safety
/// What is kept by a live state.
unsafe fn run(kept: *mut LuaHost, args: &[&[u8]]) -> Result<Vec<u8>, Vec<u8>> {
    // SAFETY: by contract; the session is borrowed for a line.
    unsafe {
        if let Some(d) = (*kept).debugger.as_mut().filter(|d| d.shows()) {
            d.command(args);
        }
        ((*kept).calls.command)(args)
    }
}

/// How many arguments a command gets, when all are of a kind that it takes.
///
/// # Safety
/// A live state inside a C function.
unsafe fn argument_count(l: *mut lua_State) -> Result<usize, &'static [u8]> {
    // SAFETY: only places up to the top are asked.
    let (n, good) = unsafe {
        let n = lua::lua_gettop(l);
        (n, (1..=n).all(|i| matches!(lua::lua_type(l, i), lua::LUA_TSTRING | lua::LUA_TNUMBER)))
    };
    match usize::try_from(n) {
        Ok(0) | Err(_) => Err(b"Please specify at least one argument for this redis lib call"),
        Ok(_) if !good => Err(b"Lua redis lib command arguments must be strings or integers"),
        Ok(n) => Ok(n),
    }
}

/// The arguments as commands get them.
///
/// # Safety
/// A live state, natively, inside a C function whose arguments are strings and numbers. They stay where
/// they are as long as `args` is used.
unsafe fn arguments(l: *mut lua_State, args: &mut [&[u8]]) {
    for (i, arg) in (1..).zip(args) {
        // SAFETY: by contract; a C function has room for a value more.
        unsafe {
            if lua::lua_type(l, i) == lua::LUA_TNUMBER {
                push_argument(l, lua::lua_tonumber(l, i));
                lua::lua_replace(l, i);
            }
            *arg = bytes_at(l, i).unwrap_or_default();
        }
    }
}

// ---- replies to values -------------------------------------------------------------------------

/// Pushes a reply of one of our commands as a Lua value; returns how many bytes it took.
///
/// # Safety
/// A live state.
unsafe fn push_reply(l: *mut lua_State, b: &[u8], depth: usize) -> usize {
    let end = memchr::memchr(b'\r', b).unwrap_or(b.len());
    let (line, used) = (b.get(1..end).unwrap_or(&[]), end + 2);
    let number = || num::parse_i64(line).unwrap_or(0);
    let count = || usize::try_from(number()).unwrap_or(0);
    // SAFETY: every branch pushes exactly one value; tables are filled by raw access.
    unsafe {
        if depth > MAX_DEPTH || lua::lua_checkstack(l, 8) == 0 {
            lua::lua_pushnil(l);
            return b.len();
        }
        match b.first() {
            Some(b':') => lua::lua_pushnumber(l, number() as f64),
            Some(b'+') => push_field(l, c"ok", line),
            Some(b'-') => push_error(l, b.get(..end).unwrap_or(b), true),
            Some(b'$') if number() >= 0 => {
                push_bytes(l, b.get(used..used + count()).unwrap_or(&[]));
                return used + count() + 2;
            }
            Some(b'=') => {
                push_verbatim(l, b.get(used..used + count()).unwrap_or(&[]));
                return used + count() + 2;
            }
            Some(b'*') if number() >= 0 => return used + push_array(l, b, used, count(), depth),
            Some(b'%') => return used + push_pairs(l, b, used, count(), depth, c"map"),
            Some(b'~') => return used + push_pairs(l, b, used, count(), depth, c"set"),
            Some(b'|') => {
                // Attributes are not shown to scripts: read over, the value behind them counts.
                let mut at = used;
                for _ in 0..2 * count() {
                    at += push_reply(l, b.get(at..).unwrap_or(&[]), depth + 1);
                    lua::lua_pop(l, 1);
                }
                return at + push_reply(l, b.get(at..).unwrap_or(&[]), depth + 1);
            }
            Some(b'_') => lua::lua_pushnil(l),
            Some(b'#') => lua::lua_pushboolean(l, c_int::from(line == b"t")),
            Some(b',') => {
                lua::lua_createtable(l, 0, 0);
                lua::lua_pushnumber(l, num::parse_f64(line).unwrap_or(f64::NAN));
                lua::lua_setfield(l, -2, c"double".as_ptr());
            }
            Some(b'(') => push_field(l, c"big_number", line),
            _ => lua::lua_pushboolean(l, 0),
        }
    }
    used
}

/// # Safety
/// A live state with room.
unsafe fn push_array(l: *mut lua_State, b: &[u8], from: usize, n: usize, depth: usize) -> usize {
    let mut at = from;
    // SAFETY: by contract; balanced but for the table.
    unsafe {
        lua::lua_createtable(l, 0, 0);
        for i in 0..n {
            at += push_reply(l, b.get(at..).unwrap_or(&[]), depth + 1);
            lua::lua_rawseti_(l, -2, (i + 1) as _);
        }
    }
    at - from
}

/// A map, or a set as a map to true, inside a table that says which.
///
/// # Safety
/// A live state with room.
unsafe fn push_pairs(
    l: *mut lua_State,
    b: &[u8],
    from: usize,
    n: usize,
    depth: usize,
    name: &CStr,
) -> usize {
    let mut at = from;
    // SAFETY: by contract; balanced but for the table. Keys that no table takes are left out.
    unsafe {
        lua::lua_createtable(l, 0, 0);
        lua::lua_createtable(l, 0, 0);
        for _ in 0..n {
            at += push_reply(l, b.get(at..).unwrap_or(&[]), depth + 1);
            if name == c"map" {
                at += push_reply(l, b.get(at..).unwrap_or(&[]), depth + 1);
            } else {
                lua::lua_pushboolean(l, 1);
            }
            if lua::lua_type(l, -2) == lua::LUA_TNIL {
                lua::lua_pop(l, 2);
            } else {
                lua::lua_rawset(l, -3);
            }
        }
        lua::lua_setfield(l, -2, name.as_ptr());
    }
    at - from
}

/// # Safety
/// A live state with room.
unsafe fn push_verbatim(l: *mut lua_State, b: &[u8]) {
    // SAFETY: by contract; balanced but for the table.
    unsafe {
        lua::lua_createtable(l, 0, 0);
        lua::lua_createtable(l, 0, 0);
        push_bytes(l, b.get(4..).unwrap_or(&[]));
        lua::lua_setfield(l, -2, c"string".as_ptr());
        push_bytes(l, b.get(..3).unwrap_or(&[]));
        lua::lua_setfield(l, -2, c"format".as_ptr());
        lua::lua_setfield(l, -2, c"verbatim_string".as_ptr());
    }
}

/// # Safety
/// A live state.
unsafe fn push_field(l: *mut lua_State, name: &CStr, text: &[u8]) {
    // SAFETY: balanced but for the table.
    unsafe {
        lua::lua_createtable(l, 0, 0);
        push_bytes(l, text);
        lua::lua_setfield(l, -2, name.as_ptr());
    }
}
