//! The debugger's eyes and hands in the state: where the script is, its variables, code that is run on
//! demand.
//!
//! What looks borrows the session for as long as it takes and no longer: code and commands that are run
//! here come back to it (`replies::command`).

use super::values::failure;
use super::{LuaHost, bytes_at, lua_each, natively, push_bytes, replies};
use crate::algo::num::push_f64_6g;
use crate::algo::quote::push_repr;
use crate::scripting::debugger::{Debugger, NoOrder, Order};
use crate::sys::clock::mono_ns;
use mlua_sys as lua;
use mlua_sys::lua_State;
use std::ffi::{CStr, c_int};

/// Tables inside tables are shown to this depth (half of LUA_MINSTACK).
const MAX_DEPTH: usize = 10;
/// Levels of calls: no more than Lua has.
const MAX_LEVELS: c_int = 1 << 20;
/// A part of the name of the chunks that are debugged.
const CHUNK: &[u8] = b"user_script";

/// Called for every line, and every so many instructions.
pub(super) unsafe extern "C-unwind" fn hook(l: *mut lua_State, ar: *mut lua::lua_Debug) {
    // SAFETY: Lua calls with a live state and room for 20 values; nothing is owned when the value on top
    // is raised.
    unsafe {
        if natively(l, |kept| stopped(l, kept, ar)) {
            lua::lua_error(l);
        }
    }
}

/// The session, for as long as nothing else is done with the state.
///
/// # Safety
/// What is kept by a live state; the borrow ends before Lua code runs.
unsafe fn session<'a>(kept: *mut LuaHost) -> Option<&'a mut Debugger> {
    // SAFETY: by contract.
    unsafe { (*kept).debugger.as_deref_mut() }
}

/// Stops if the line says so, and does what is ordered. True when the error on top is to be raised.
///
/// # Safety
/// A live state in a hook.
unsafe fn stopped(l: *mut lua_State, kept: *mut LuaHost, ar: *mut lua::lua_Debug) -> bool {
    // SAFETY: by contract; each borrow of the session ends with its statement.
    unsafe {
        let counted = (*ar).event == lua::LUA_HOOKCOUNT;
        lua::lua_getstack(l, 0, ar);
        lua::lua_getinfo(l, c"Sl".as_ptr(), ar);
        let Some(d) = session(kept) else { return false };
        d.set_line(i64::from((*ar).currentline));
        if !is_script(&*ar) {
            return false;
        }
        let Some(late) = d.stops(counted, mono_ns()) else { return false };
        let mut raised = None;
        loop {
            let Some(d) = session(kept) else { return false };
            match d.next_order() {
                Ok(Order::Go) => break,
                Ok(Order::Abort) => raised = Some("script aborted for user request"),
                Ok(order) => obey(l, kept, order),
                Err(NoOrder::Broken(why)) => raised = Some(why),
                Err(NoOrder::Gone) if late => {
                    raised = Some("timeout during Lua debugging with client closing connection");
                }
                Err(NoOrder::Gone) => break,
            }
            if let Some(why) = raised {
                replies::push_error(l, why.as_bytes(), false);
                return true;
            }
        }
        if let Some(d) = session(kept) {
            d.resumed(mono_ns());
        }
        false
    }
}

fn is_script(ar: &lua::lua_Debug) -> bool {
    let name: Vec<u8> = ar.short_src.iter().take_while(|c| **c != 0).map(|c| *c as u8).collect();
    memchr::memmem::find(&name, CHUNK).is_some()
}

/// # Safety
/// As `stopped`.
unsafe fn obey(l: *mut lua_State, kept: *mut LuaHost, order: Order) {
    // SAFETY: by contract.
    unsafe {
        match order {
            Order::Trace => trace(l, kept),
            Order::PrintAll => print_all(l, kept),
            Order::Print(name) => print(l, kept, &name),
            Order::Eval(code) => eval(l, kept, &code),
            Order::Redis(words) => redis(l, kept, &words),
            Order::Go | Order::Abort | Order::Done => return,
        }
        if let Some(d) = session(kept) {
            d.send();
        }
    }
}

/// # Safety
/// As `stopped`.
unsafe fn trace(l: *mut lua_State, kept: *mut LuaHost) {
    // SAFETY: by contract; a zeroed record is filled by Lua, and its name lives as long as the call.
    unsafe {
        let Some(d) = session(kept) else { return };
        let mut ar: lua::lua_Debug = std::mem::zeroed();
        for level in 0..MAX_LEVELS {
            if lua::lua_getstack(l, level, &mut ar) == 0 {
                break;
            }
            lua::lua_getinfo(l, c"Snl".as_ptr(), &mut ar);
            if !is_script(&ar) {
                continue;
            }
            let name = if ar.name.is_null() { c"top level" } else { CStr::from_ptr(ar.name) };
            let from: &[u8] = if level == 0 { b"In " } else { b"From " };
            d.log([from, name.to_bytes(), b":"].concat());
            d.log_source_line(i64::from(ar.currentline));
        }
    }
}

/// Calls `f` with the name of each local variable of a level, its value on top; stops when that is true.
/// False when there is no such level.
///
/// # Safety
/// As `stopped`. `f` leaves the stack as it was.
unsafe fn locals(l: *mut lua_State, level: c_int, mut f: impl FnMut(&[u8]) -> bool) -> bool {
    // SAFETY: by contract; the name lives as long as the function.
    unsafe {
        let mut ar: lua::lua_Debug = std::mem::zeroed();
        if lua::lua_getstack(l, level, &mut ar) == 0 {
            return false;
        }
        for i in 1.. {
            let name = lua::lua_getlocal(l, &ar, i);
            if name.is_null() {
                break;
            }
            let done = f(CStr::from_ptr(name).to_bytes());
            lua::lua_pop(l, 1);
            if done {
                break;
            }
        }
        true
    }
}

/// Logs the value on top behind `prefix`.
///
/// # Safety
/// As `stopped`, with a value on top.
unsafe fn log_value(l: *mut lua_State, kept: *mut LuaHost, prefix: &[u8]) {
    // SAFETY: by contract.
    unsafe {
        let mut line = prefix.to_vec();
        push_value(&mut line, l, -1, 0);
        if let Some(d) = session(kept) {
            d.log_value(line);
        }
    }
}

/// # Safety
/// As `stopped`.
unsafe fn print_all(l: *mut lua_State, kept: *mut LuaHost) {
    // SAFETY: by contract.
    unsafe {
        let mut shown = 0;
        locals(l, 0, |name| {
            if memchr::memmem::find(name, b"(*temporary)").is_none() {
                log_value(l, kept, &[b"<value> ", name, b" = "].concat());
                shown += 1;
            }
            false
        });
        if let Some(d) = session(kept).filter(|_| shown == 0) {
            d.log("No local variables in the current context.");
        }
    }
}

/// The variable of that name that is nearest in the calls.
///
/// # Safety
/// As `stopped`.
unsafe fn print(l: *mut lua_State, kept: *mut LuaHost, name: &[u8]) {
    // SAFETY: by contract; KEYS and ARGV are fields of a plain table. Balanced.
    unsafe {
        let mut found = false;
        for level in 0..MAX_LEVELS {
            let there = locals(l, level, |local| {
                if local == name {
                    log_value(l, kept, b"<value> ");
                    found = true;
                }
                found
            });
            if found {
                return;
            }
            if !there {
                break;
            }
        }
        if name == b"ARGV" || name == b"KEYS" {
            push_bytes(l, name);
            lua::lua_rawget_(l, lua::LUA_GLOBALSINDEX);
            log_value(l, kept, b"<value> ");
            lua::lua_pop(l, 1);
        } else if let Some(d) = session(kept) {
            d.log("No such variable.");
        }
    }
}

/// Runs what stands on the stack as a script would run it: its errors are caught. True when it went well;
/// one value is left.
///
/// # Safety
/// As `stopped`, with a function and so many arguments on top.
unsafe fn call(l: *mut lua_State, kept: *mut LuaHost, arguments: c_int) -> bool {
    // SAFETY: by contract; no session is borrowed.
    unsafe {
        (*kept).native = 0;
        let status = lua::lua_pcall(l, arguments, 1, 0);
        (*kept).native = 1;
        status == lua::LUA_OK
    }
}

/// Runs code as an expression, or else as statements.
///
/// # Safety
/// As `stopped`.
unsafe fn eval(l: *mut lua_State, kept: *mut LuaHost, code: &[u8]) {
    // SAFETY: by contract; the top is restored.
    unsafe {
        let top = lua::lua_gettop(l);
        let expression = [b"return ", code].concat();
        let compiled = super::vm::load(l, &expression, c"@ldb_eval") || {
            lua::lua_pop(l, 1);
            super::vm::load(l, code, c"@ldb_eval")
        };
        if compiled && call(l, kept, 0) {
            log_value(l, kept, b"<retval> ");
        } else {
            let why = failure(l).message;
            if let Some(d) = session(kept) {
                d.log([b"<error> ", &why[..]].concat());
            }
        }
        lua::lua_settop(l, top);
    }
}

/// Runs a command, which shows itself and its reply.
///
/// # Safety
/// As `stopped`.
unsafe fn redis(l: *mut lua_State, kept: *mut LuaHost, words: &[Vec<u8>]) {
    // SAFETY: by contract; there is room for what is pushed, and the top is restored.
    unsafe {
        let top = lua::lua_gettop(l);
        if lua::lua_checkstack(l, words.len() as c_int + 1) == 0 {
            if let Some(d) = session(kept) {
                d.reply(b"");
            }
            return;
        }
        lua::lua_pushcclosure(l, super::redis_call, 0);
        words.iter().for_each(|w| push_bytes(l, w));
        if let Some(d) = session(kept) {
            d.show_commands(true);
        }
        call(l, kept, words.len() as c_int);
        if let Some(d) = session(kept) {
            d.show_commands(false);
        }
        lua::lua_settop(l, top);
    }
}

/// Adds the value at `at` as people read it.
///
/// # Safety
/// A live state, natively, and a valid index.
pub(super) unsafe fn push_value(out: &mut Vec<u8>, l: *mut lua_State, at: c_int, depth: usize) {
    if depth == MAX_DEPTH {
        return out.extend_from_slice(b"<max recursion level reached! Nested table?>");
    }
    // SAFETY: by contract; strings are read without being converted.
    unsafe {
        let word = match lua::lua_type(l, at) {
            lua::LUA_TSTRING => return push_repr(out, bytes_at(l, at).unwrap_or_default()),
            lua::LUA_TNUMBER => return push_f64_6g(out, lua::lua_tonumber(l, at)),
            lua::LUA_TBOOLEAN if lua::lua_toboolean(l, at) != 0 => {
                return out.extend_from_slice(b"true");
            }
            lua::LUA_TBOOLEAN => return out.extend_from_slice(b"false"),
            lua::LUA_TNIL => return out.extend_from_slice(b"nil"),
            lua::LUA_TTABLE => return push_table(out, l, at, depth),
            lua::LUA_TFUNCTION => "function",
            lua::LUA_TUSERDATA => "userdata",
            lua::LUA_TTHREAD => "thread",
            lua::LUA_TLIGHTUSERDATA => "light-userdata",
            _ => return out.extend_from_slice(b"\"<unknown-lua-type>\""),
        };
        out.extend_from_slice(format!("\"{word}@{:p}\"", lua::lua_topointer(l, at)).as_bytes());
    }
}

/// A table whose keys count from 1 without its keys.
///
/// # Safety
/// As `push_value`, for a table.
unsafe fn push_table(out: &mut Vec<u8>, l: *mut lua_State, at: c_int, depth: usize) {
    // SAFETY: by contract; balanced.
    unsafe {
        if lua::lua_checkstack(l, 4) == 0 {
            return out.extend_from_slice(b"{}");
        }
        lua::lua_pushvalue(l, at);
        let (mut list, mut full) = (Some(Vec::new()), Vec::new());
        let (mut place, mut expected): (c_int, f64) = (0, 1.0);
        while lua_each(l, -1, &mut place) != 0 {
            let counts =
                lua::lua_type(l, -2) == lua::LUA_TNUMBER && lua::lua_tonumber(l, -2) == expected;
            expected += 1.0;
            let mut value = Vec::new();
            push_value(&mut value, l, -1, depth + 1);
            if !full.is_empty() {
                full.extend_from_slice(b"; ");
            }
            full.push(b'[');
            push_value(&mut full, l, -2, depth + 1);
            full.extend_from_slice(b"]=");
            full.extend_from_slice(&value);
            list = list.filter(|_| counts);
            if let Some(list) = &mut list {
                if expected > 2.0 {
                    list.extend_from_slice(b"; ");
                }
                list.extend_from_slice(&value);
            }
            lua::lua_pop(l, 2);
        }
        lua::lua_pop(l, 1);
        out.push(b'{');
        out.extend_from_slice(&list.unwrap_or(full));
        out.push(b'}');
    }
}
