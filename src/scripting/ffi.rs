//! The raw layer of LuaJIT: everything that touches the Lua stack.
//!
//! A Lua error unwinds through the frames between `lua_error` and `lua_pcall`. No frame of ours that it
//! crosses may own anything: callbacks do their work in a function that returns a status, and raise at
//! the edge.

use crate::proto::reply::Reply;
use crate::scripting::run;
use mlua_sys as lua;
use mlua_sys::lua_State;
use std::ffi::{CStr, c_int};
use std::slice;

pub struct Vm(*mut lua_State);

// SAFETY: the state belongs to its owner alone; the server, and with it the state, lives on one thread.
unsafe impl Send for Vm {}

/// Instructions between two looks at the clock.
const HOOK_EVERY: c_int = 100_000;
/// Replies nested deeper than this do not come from our commands.
const MAX_DEPTH: usize = 64;

const PRELUDE: &CStr = cr#"
local getinfo = debug.getinfo
debug = nil
loadfile, dofile, print, newproxy, gcinfo, collectgarbage_ = nil, nil, nil, nil, nil, nil
function __redis__err__handler(err)
  local at = getinfo(2, 'nSl')
  if at and at.what == 'C' then at = getinfo(3, 'nSl') end
  if type(err) ~= 'table' then err = { err = 'ERR ' .. tostring(err) } end
  if at then err.source = at.source; err.line = at.currentline end
  return err
end
"#;

/// 2^63.
const TOO_BIG: f64 = 9_223_372_036_854_775_808.0;

/// What a failed script left.
pub struct Failure {
    pub message: Vec<u8>,
    /// `source` and line, when the handler could tell.
    pub place: Option<(Vec<u8>, i64)>,
    /// The command inside has counted it already.
    pub counted: bool,
}

impl Vm {
    pub fn new() -> Vm {
        // SAFETY: a fresh state; every push is balanced, and nothing here can fail but for want of
        // memory.
        unsafe {
            let l = lua::luaL_newstate();
            assert!(!l.is_null(), "no memory for Lua");
            for (name, open) in [
                (c"", lua::luaopen_base as lua::lua_CFunction),
                (c"table", lua::luaopen_table),
                (c"string", lua::luaopen_string),
                (c"math", lua::luaopen_math),
                (c"debug", lua::luaopen_debug),
                (c"bit", lua::luaopen_bit),
                (c"jit", lua::luaopen_jit),
            ] {
                lua::lua_pushcfunction(l, open);
                lua::lua_pushstring(l, name.as_ptr());
                lua::lua_call(l, 1, 0);
            }
            // The compiler goes off before its table goes away.
            let off = c"jit.off() jit = nil package = nil require = nil module = nil";
            for text in [off, PRELUDE] {
                let bytes = text.to_bytes();
                let r =
                    lua::luaL_loadbuffer(l, bytes.as_ptr().cast(), bytes.len(), c"@prelude".as_ptr());
                assert!(r == 0 && lua::lua_pcall(l, 0, 0, 0) == 0, "the prelude is sound");
            }
            lua::lua_newtable(l);
            for (name, f) in [
                (c"call", redis_call as lua::lua_CFunction),
                (c"pcall", redis_pcall),
                (c"error_reply", redis_error_reply),
                (c"status_reply", redis_status_reply),
                (c"sha1hex", redis_sha1hex),
            ] {
                lua::lua_pushcfunction(l, f);
                lua::lua_setfield(l, -2, name.as_ptr());
            }
            lua::lua_pushvalue(l, -1);
            lua::lua_setglobal(l, c"redis".as_ptr());
            lua::lua_setglobal(l, c"server".as_ptr());
            Vm(l)
        }
    }

    /// A handle to the same state, for the time the server is lent.
    pub fn alias(&self) -> Vm {
        Vm(self.0)
    }

    /// Bytes that Lua holds.
    pub fn memory(&self) -> usize {
        // SAFETY: a live state.
        unsafe { (lua::lua_gc(self.0, lua::LUA_GCCOUNT, 0) as usize) * 1024 }
    }

    /// Compiles a script and keeps it under its name. Bytecode is refused.
    pub fn compile(&self, name: &super::Sha, body: &[u8]) -> Result<(), Vec<u8>> {
        if body.first() == Some(&0x1b) {
            return Err(b"bytecode is not accepted".to_vec());
        }
        let l = self.0;
        // SAFETY: a live state; the stack is as it was afterwards.
        unsafe {
            let chunk = c"@user_script".as_ptr();
            if lua::luaL_loadbuffer(l, body.as_ptr().cast(), body.len(), chunk) != 0 {
                let why = text_at(l, -1).unwrap_or_default();
                lua::lua_pop(l, 1);
                return Err(why);
            }
            push_bytes(l, name);
            lua::lua_insert(l, -2);
            lua::lua_rawset(l, lua::LUA_REGISTRYINDEX);
        }
        Ok(())
    }

    pub fn forget(&self, name: &super::Sha) {
        // SAFETY: a live state; balanced.
        unsafe {
            push_bytes(self.0, name);
            lua::lua_pushnil(self.0);
            lua::lua_rawset(self.0, lua::LUA_REGISTRYINDEX);
        }
    }

    /// Runs a compiled script; its value is written to `out`. The server must be lent.
    pub fn run(
        &self,
        name: &super::Sha,
        keys: &[&[u8]],
        argv: &[&[u8]],
        out: &mut Reply,
    ) -> Result<(), Failure> {
        let l = self.0;
        // SAFETY: a live state; `settop` at the end restores the stack whatever happened. The error
        // value is read before it is popped. `pcall` catches every Lua error, so none crosses this
        // frame.
        unsafe {
            let top = lua::lua_gettop(l);
            lua::lua_getglobal(l, c"__redis__err__handler".as_ptr());
            push_bytes(l, name);
            lua::lua_rawget(l, lua::LUA_REGISTRYINDEX);
            debug_assert_eq!(lua::lua_type(l, -1), lua::LUA_TFUNCTION, "compiled before it runs");
            for (global, values) in [(c"KEYS", keys), (c"ARGV", argv)] {
                lua::lua_createtable(l, values.len() as c_int, 0);
                for (i, v) in values.iter().enumerate() {
                    push_bytes(l, v);
                    lua::lua_rawseti(l, -2, (i + 1) as _);
                }
                lua::lua_setglobal(l, global.as_ptr());
            }
            lua::lua_sethook(l, Some(hook), lua::LUA_MASKCOUNT, HOOK_EVERY);
            let status = lua::lua_pcall(l, 0, 1, top + 1);
            lua::lua_sethook(l, None, 0, 0);
            let result = if status == 0 {
                reply_value(l, out, 0);
                Ok(())
            } else {
                Err(failure(l))
            };
            lua::lua_settop(l, top);
            lua::lua_gc(l, lua::LUA_GCSTEP, 1);
            result
        }
    }

    /// Gives the state back. Every alias is dead afterwards.
    pub fn close(self) {
        // SAFETY: the owner closes, once.
        unsafe { lua::lua_close(self.0) };
    }
}

impl Default for Vm {
    fn default() -> Self {
        Self::new()
    }
}

/// # Safety
/// A live state with room for one value.
unsafe fn push_bytes(l: *mut lua_State, b: &[u8]) {
    // SAFETY: the slice is valid for its length.
    unsafe { lua::lua_pushlstring_(l, b.as_ptr().cast(), b.len()) };
}

/// The string (or number) at `at`.
///
/// # Safety
/// A live state and a valid index.
unsafe fn text_at(l: *mut lua_State, at: c_int) -> Option<Vec<u8>> {
    let mut len = 0;
    // SAFETY: by contract; the bytes are copied while the value is on the stack.
    unsafe {
        let p = lua::lua_tolstring(l, at, &mut len);
        (!p.is_null()).then(|| slice::from_raw_parts(p.cast::<u8>(), len).to_vec())
    }
}

/// A field of the table at the top, as text.
///
/// # Safety
/// A live state with a table at the top.
unsafe fn field(l: *mut lua_State, name: &CStr) -> Option<Vec<u8>> {
    // SAFETY: balanced; a raw access cannot fail.
    unsafe {
        lua::lua_pushstring(l, name.as_ptr());
        lua::lua_rawget(l, -2);
        let text = if lua::lua_type(l, -1) == lua::LUA_TNIL { None } else { text_at(l, -1) };
        lua::lua_pop(l, 1);
        text
    }
}

/// Has the error been counted where it arose?
///
/// # Safety
/// A live state with a table at the top.
unsafe fn is_counted(l: *mut lua_State) -> bool {
    // SAFETY: balanced; a raw access cannot fail.
    unsafe {
        lua::lua_pushstring(l, c"ignore_error_stats_update".as_ptr());
        lua::lua_rawget(l, -2);
        let counted = lua::lua_toboolean(l, -1) != 0;
        lua::lua_pop(l, 1);
        counted
    }
}

/// # Safety
/// A live state with the error value at the top.
unsafe fn failure(l: *mut lua_State) -> Failure {
    // SAFETY: by contract.
    unsafe {
        if lua::lua_type(l, -1) != lua::LUA_TTABLE {
            let message = text_at(l, -1).unwrap_or_else(|| b"execution failure".to_vec());
            return Failure { message, place: None, counted: false };
        }
        let source = field(l, c"source");
        let line = field(l, c"line").and_then(|t| String::from_utf8(t).ok()?.parse().ok());
        let counted = is_counted(l);
        Failure {
            message: field(l, c"err").unwrap_or_else(|| b"ERR unknown error".to_vec()),
            place: source.zip(line),
            counted,
        }
    }
}

/// Pushes an error as scripts see it: a table with the field `err`.
///
/// # Safety
/// A live state.
unsafe fn push_error(l: *mut lua_State, text: &[u8], counted: bool) {
    // SAFETY: balanced but for the table.
    unsafe {
        lua::lua_createtable(l, 0, 2);
        push_bytes(l, text);
        lua::lua_setfield(l, -2, c"err".as_ptr());
        if counted {
            lua::lua_pushboolean(l, 1);
            lua::lua_setfield(l, -2, c"ignore_error_stats_update".as_ptr());
        }
    }
}

unsafe extern "C-unwind" fn redis_call(l: *mut lua_State) -> c_int {
    // SAFETY: Lua calls with a live state; `command` has returned, so nothing is owned here when the
    // error is raised.
    unsafe { if command(l) { 1 } else { lua::lua_error(l) } }
}

unsafe extern "C-unwind" fn redis_pcall(l: *mut lua_State) -> c_int {
    // SAFETY: as above; the error stays a value.
    unsafe { command(l) };
    1
}

/// Runs a command; leaves its reply or an error table at the top. False for an error.
///
/// # Safety
/// A live state inside a callback, the server lent.
unsafe fn command(l: *mut lua_State) -> bool {
    // SAFETY: the arguments stay on the Lua stack until the handler has returned, so their bytes stay
    // where they are.
    unsafe {
        let n = lua::lua_gettop(l);
        if n == 0 {
            push_error(l, b"ERR Please specify at least one argument for this redis.call() call", false);
            return false;
        }
        let mut args: Vec<&[u8]> = Vec::with_capacity(n as usize);
        for i in 1..=n {
            let kind = lua::lua_type(l, i);
            if kind != lua::LUA_TSTRING && kind != lua::LUA_TNUMBER {
                drop(args);
                push_error(l, b"ERR Lua redis lib command arguments must be strings or integers", false);
                return false;
            }
            if kind == lua::LUA_TNUMBER {
                let text = crate::algo::num::F64Text::plain(lua::lua_tonumber(l, i));
                push_bytes(l, &text);
                lua::lua_replace(l, i);
            }
            let mut len = 0;
            let p = lua::lua_tolstring(l, i, &mut len);
            args.push(slice::from_raw_parts(p.cast::<u8>(), len));
        }
        let outcome = crate::server::lend::with_lent(|srv| run::command(srv, &args));
        drop(args);
        lua::lua_settop(l, 0);
        match outcome {
            Ok(reply) => {
                let failed = reply.first() == Some(&b'-');
                push_reply(l, &reply, 0);
                !failed
            }
            Err((text, counted)) => {
                push_error(l, &text, counted);
                false
            }
        }
    }
}

unsafe extern "C-unwind" fn redis_error_reply(l: *mut lua_State) -> c_int {
    // SAFETY: Lua calls with a live state.
    unsafe {
        if lua::lua_gettop(l) != 1 || lua::lua_type(l, -1) != lua::LUA_TSTRING {
            push_error(l, b"ERR wrong number or type of arguments", false);
            return 1;
        }
        let mut text = text_at(l, -1).unwrap_or_default();
        if text.first() == Some(&b'-') {
            text.remove(0);
        }
        push_error(l, &text, false);
    }
    1
}

unsafe extern "C-unwind" fn redis_status_reply(l: *mut lua_State) -> c_int {
    // SAFETY: Lua calls with a live state; balanced but for the table.
    unsafe {
        if lua::lua_gettop(l) != 1 || lua::lua_type(l, -1) != lua::LUA_TSTRING {
            push_error(l, b"ERR wrong number or type of arguments", false);
            return 1;
        }
        lua::lua_createtable(l, 0, 1);
        lua::lua_pushvalue(l, 1);
        lua::lua_setfield(l, -2, c"ok".as_ptr());
    }
    1
}

unsafe extern "C-unwind" fn redis_sha1hex(l: *mut lua_State) -> c_int {
    // SAFETY: Lua calls with a live state.
    unsafe {
        if lua::lua_gettop(l) != 1 {
            push_error(l, b"ERR wrong number of arguments", false);
            lua::lua_error(l);
        }
        let name = super::name_of(&text_at(l, 1).unwrap_or_default());
        push_bytes(l, &name);
    }
    1
}

unsafe extern "C-unwind" fn hook(l: *mut lua_State, _: *mut lua::lua_Debug) {
    let killed = crate::server::lend::with_lent(run::slow);
    if killed {
        // SAFETY: Lua calls with a live state; nothing is owned here.
        unsafe {
            push_bytes(l, b"Script killed by user with SCRIPT KILL...");
            // A script must not go on by catching the error: every further instruction raises it again.
            lua::lua_sethook(l, Some(hook), lua::LUA_MASKCOUNT | lua::LUA_MASKLINE, 1);
            lua::lua_error(l);
        }
    }
}

/// Pushes a reply of one of our commands as a Lua value; returns how many bytes it took.
///
/// # Safety
/// A live state.
unsafe fn push_reply(l: *mut lua_State, b: &[u8], depth: usize) -> usize {
    let end = memchr::memchr(b'\r', b).unwrap_or(b.len());
    let (line, mut used) = (b.get(1..end).unwrap_or(&[]), end + 2);
    let number = || crate::algo::num::parse_i64(line).unwrap_or(0);
    // SAFETY: every branch pushes exactly one value; tables are filled by raw access.
    unsafe {
        if depth > MAX_DEPTH || lua::lua_checkstack(l, 8) == 0 {
            lua::lua_pushnil(l);
            return b.len();
        }
        match b.first() {
            Some(b':') => lua::lua_pushnumber(l, number() as f64),
            Some(b'+') => push_field(l, c"ok", line),
            Some(b'-') => push_error(l, line, true),
            Some(b'$') if number() >= 0 => {
                let len = number() as usize;
                push_bytes(l, b.get(used..used + len).unwrap_or(&[]));
                used += len + 2;
            }
            Some(b'*') if number() >= 0 => {
                let n = number() as usize;
                lua::lua_createtable(l, n as c_int, 0);
                for i in 0..n {
                    used += push_reply(l, b.get(used..).unwrap_or(&[]), depth + 1);
                    lua::lua_rawseti(l, -2, (i + 1) as _);
                }
            }
            _ => lua::lua_pushboolean(l, 0),
        }
    }
    used
}

/// # Safety
/// A live state.
unsafe fn push_field(l: *mut lua_State, name: &CStr, text: &[u8]) {
    // SAFETY: balanced but for the table.
    unsafe {
        lua::lua_createtable(l, 0, 1);
        push_bytes(l, text);
        lua::lua_setfield(l, -2, name.as_ptr());
    }
}

/// Writes the value at the top as a reply, and pops it.
///
/// # Safety
/// A live state with a value at the top.
unsafe fn reply_value(l: *mut lua_State, out: &mut Reply, depth: usize) {
    // SAFETY: by contract; every branch pops what it pushed.
    unsafe {
        if depth > MAX_DEPTH || lua::lua_checkstack(l, 8) == 0 {
            out.error("ERR reached lua stack limit");
            lua::lua_pop(l, 1);
            return;
        }
        match lua::lua_type(l, -1) {
            lua::LUA_TSTRING => out.bulk(&text_at(l, -1).unwrap_or_default()),
            lua::LUA_TBOOLEAN => {
                let yes = lua::lua_toboolean(l, -1) != 0;
                if yes { out.int(1) } else { out.null() }
            }
            lua::LUA_TNUMBER => {
                // What does not fit comes out as the processor converts it.
                let n = lua::lua_tonumber(l, -1);
                out.int(if n < TOO_BIG { n as i64 } else { i64::MIN });
            }
            lua::LUA_TTABLE => reply_table(l, out, depth),
            _ => out.null(),
        }
        lua::lua_pop(l, 1);
    }
}

/// # Safety
/// A live state with a table at the top.
unsafe fn reply_table(l: *mut lua_State, out: &mut Reply, depth: usize) {
    // SAFETY: by contract; balanced.
    unsafe {
        if let Some(text) = field(l, c"err") {
            let text = text.strip_prefix(b"-").unwrap_or(&text);
            if is_counted(l) {
                out.counted_error(text);
            } else {
                out.error_bytes(text);
            }
            return;
        }
        if let Some(text) = field(l, c"ok") {
            return out.status(&String::from_utf8_lossy(&text).replace(['\r', '\n'], " "));
        }
        let (mark, mut n) = (out.defer(), 0);
        loop {
            lua::lua_rawgeti(l, -1, (n + 1) as _);
            if lua::lua_type(l, -1) == lua::LUA_TNIL {
                lua::lua_pop(l, 1);
                break;
            }
            reply_value(l, out, depth + 1);
            n += 1;
        }
        out.set_array(mark, n);
    }
}
