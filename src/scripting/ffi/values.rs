//! Values of scripts as replies. Only raw accesses: no metamethod may run outside of a script.

use super::stack::cast_long;
use super::vm::Failure;
use super::{bytes_at, lua_each};
use crate::algo::num;
use crate::proto::reply::Reply;
use mlua_sys as lua;
use mlua_sys::lua_State;
use std::ffi::{CStr, c_int};

/// Runs `f` with a field of the table at the top pushed, and pops it.
///
/// # Safety
/// A live state, natively, with a table at the top and room for a value. `f` leaves the stack as it was.
unsafe fn with_field<R>(l: *mut lua_State, name: &CStr, f: impl FnOnce() -> R) -> R {
    // SAFETY: by contract; a raw access cannot fail.
    unsafe {
        lua::lua_pushstring(l, name.as_ptr());
        lua::lua_rawget_(l, -2);
        let result = f();
        lua::lua_pop(l, 1);
        result
    }
}

/// A field that is a string, or with `numbers` a number.
///
/// # Safety
/// As `with_field`.
unsafe fn text_field(l: *mut lua_State, name: &CStr, numbers: bool) -> Option<Vec<u8>> {
    // SAFETY: by contract; the bytes are copied while the value is on the stack.
    unsafe {
        with_field(l, name, || {
            let good = match lua::lua_type(l, -1) {
                lua::LUA_TSTRING => true,
                lua::LUA_TNUMBER => numbers,
                _ => false,
            };
            if good { bytes_at(l, -1).map(<[u8]>::to_vec) } else { None }
        })
    }
}

/// A field that is true.
///
/// # Safety
/// As `with_field`.
unsafe fn flagged(l: *mut lua_State, name: &CStr) -> bool {
    // SAFETY: by contract.
    unsafe {
        with_field(l, name, || {
            lua::lua_type(l, -1) == lua::LUA_TBOOLEAN && lua::lua_toboolean(l, -1) != 0
        })
    }
}

/// What the error value at the top says, each text as C has it: up to its first NUL.
///
/// # Safety
/// A live state, natively, with a value at the top and room for another.
pub(super) unsafe fn failure(l: *mut lua_State) -> Failure {
    // SAFETY: by contract.
    unsafe {
        if lua::lua_type(l, -1) != lua::LUA_TTABLE {
            let message = c_text(bytes_at(l, -1).unwrap_or(b"execution failure")).to_vec();
            return Failure { message, place: None, counted: false, raw: true };
        }
        let told = |name| text_field(l, name, true).map(|text| c_text(&text).to_vec());
        Failure {
            message: told(c"err").unwrap_or_else(|| b"ERR unknown error".to_vec()),
            place: told(c"source").zip(told(c"line")),
            counted: flagged(l, c"ignore_error_stats_update"),
            raw: false,
        }
    }
}

/// Writes the value at the top as a reply, and pops it. `resp` is what the script has chosen.
///
/// # Safety
/// A live state, natively, with a value at the top.
pub(super) unsafe fn reply_value(l: *mut lua_State, out: &mut Reply, resp: u8) {
    // SAFETY: by contract; every branch pops what it pushed, and pushes four values at most.
    unsafe {
        if lua::lua_checkstack(l, 4) == 0 {
            out.error("ERR reached lua stack limit");
            lua::lua_pop(l, 1);
            return;
        }
        match lua::lua_type(l, -1) {
            lua::LUA_TSTRING => out.bulk(bytes_at(l, -1).unwrap_or_default()),
            lua::LUA_TBOOLEAN => match (resp, lua::lua_toboolean(l, -1) != 0) {
                (2, true) => out.int(1),
                (2, false) => out.null(),
                (_, yes) => out.bool(yes),
            },
            lua::LUA_TNUMBER => {
                out.int(cast_long(lua::lua_tonumber(l, -1)));
            }
            lua::LUA_TTABLE => {
                if !reply_typed(l, out, resp) {
                    reply_array(l, out, resp);
                }
            }
            _ => out.null(),
        }
        lua::lua_pop(l, 1);
    }
}

/// Line ends as spaces.
fn flat(text: &[u8]) -> Vec<u8> {
    text.iter().map(|b| if matches!(b, b'\r' | b'\n') { b' ' } else { *b }).collect()
}

/// A text up to its first NUL, without the ends of lines that follow it.
fn trimmed(text: &[u8]) -> &[u8] {
    let text = c_text(text);
    let end = text.iter().rposition(|b| !matches!(b, b'\r' | b'\n')).map_or(0, |last| last + 1);
    &text[..end]
}

/// A text as C reads it: up to its first NUL.
fn c_text(text: &[u8]) -> &[u8] {
    &text[..memchr::memchr(0, text).unwrap_or(text.len())]
}

/// As C strings go into replies: in one line.
fn one_line(text: &[u8]) -> Vec<u8> {
    flat(c_text(text))
}

/// Replies with a table that says what it is; false when it does not.
///
/// # Safety
/// A live state, natively, with a table at the top and room for four values.
unsafe fn reply_typed(l: *mut lua_State, out: &mut Reply, resp: u8) -> bool {
    // SAFETY: by contract; balanced.
    unsafe {
        if let Some(text) = text_field(l, c"err", false) {
            let text = one_line(trimmed(&text));
            if flagged(l, c"ignore_error_stats_update") {
                out.counted_error(&text);
            } else {
                out.error_bytes(&text);
            }
            return true;
        }
        if let Some(text) = text_field(l, c"ok", false) {
            out.raw(b"+");
            out.raw(&one_line(&text));
            out.raw(b"\r\n");
            return true;
        }
        let double = with_field(l, c"double", || {
            (lua::lua_type(l, -1) == lua::LUA_TNUMBER).then(|| lua::lua_tonumber(l, -1))
        });
        if let Some(n) = double {
            out.double_text(&num::F64Text::new(n));
            return true;
        }
        if let Some(digits) = text_field(l, c"big_number", false) {
            out.big_number(&flat(&digits));
            return true;
        }
        reply_verbatim(l, out) || reply_pairs(l, out, resp, c"map") || reply_pairs(l, out, resp, c"set")
    }
}

/// # Safety
/// As `reply_typed`.
unsafe fn reply_verbatim(l: *mut lua_State, out: &mut Reply) -> bool {
    // SAFETY: by contract; balanced.
    unsafe {
        let found = with_field(l, c"verbatim_string", || {
            let table = lua::lua_type(l, -1) == lua::LUA_TTABLE;
            if !table {
                return None;
            }
            text_field(l, c"format", false).zip(text_field(l, c"string", false))
        });
        let Some((format, text)) = found else { return false };
        // Three bytes, whatever the script gave; a NUL ends them.
        let mut ext = [b' '; 3];
        let given = one_line(&format);
        ext.iter_mut().zip(given.iter().take_while(|b| **b != 0)).for_each(|(to, b)| *to = *b);
        out.verbatim(&ext, &text);
        true
    }
}

/// # Safety
/// As `reply_typed`.
unsafe fn reply_pairs(l: *mut lua_State, out: &mut Reply, resp: u8, name: &CStr) -> bool {
    // SAFETY: by contract; balanced. What is pushed is popped by what replies.
    unsafe {
        with_field(l, name, || {
            if lua::lua_type(l, -1) != lua::LUA_TTABLE {
                return false;
            }
            let (mark, mut n, map) = (out.defer(), 0, name == c"map");
            let mut place: c_int = 0;
            while lua_each(l, -1, &mut place) != 0 {
                if map {
                    // The key first.
                    lua::lua_pushvalue(l, -2);
                    reply_value(l, out, resp);
                    reply_value(l, out, resp);
                    lua::lua_pop(l, 1);
                } else {
                    lua::lua_pop(l, 1);
                    reply_value(l, out, resp);
                }
                n += 1;
            }
            if map {
                out.set_map(mark, n)
            } else {
                out.set_set(mark, n)
            }
            true
        })
    }
}

/// # Safety
/// As `reply_typed`.
unsafe fn reply_array(l: *mut lua_State, out: &mut Reply, resp: u8) {
    // SAFETY: by contract; balanced.
    unsafe {
        let (mark, mut n) = (out.defer(), 0);
        loop {
            lua::lua_rawgeti_(l, -1, (n + 1) as _);
            if lua::lua_type(l, -1) == lua::LUA_TNIL {
                lua::lua_pop(l, 1);
                break;
            }
            reply_value(l, out, resp);
            n += 1;
        }
        out.set_array(mark, n);
    }
}
