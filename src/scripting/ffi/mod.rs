//! The raw layer of Lua 5.1: everything that touches the Lua state.
//!
//! ```text
//! vm       Vm: the state, with its allocator: compile, run            EVAL ─► run ─► redis.call ─► Calls
//! stack    Stack: what a native function sees, checked and safe
//! here     what stands behind natives, redis.call, pcall and the hook     debug    the debugger's hook
//! replies  replies of commands as values      values  values of scripts as replies
//! ```
//!
//! A Lua error leaves C code by `longjmp`, to the nearest `lua_pcall`. Destructors of the frames that it
//! crosses never run, so it must cross no frame of Rust that owns something:
//!
//! - Natives return what shall be raised; `native` raises it when nothing is owned any more.
//! - While a native runs (`LuaHost::native`) nothing can raise: memory that is not there ends the process,
//!   finalizers wait (build.rs), keys and tables are checked before a raw access. `Native` says when.
//! - `pcall` and the hook are called and left by Lua itself, and own nothing.
//!
//! Lua bounds calls inside each other to 200 (LUAI_MAXCCALLS); patterns are bounded by
//! `LuaHost::stack_end`.

mod debug;
mod replies;
mod stack;
mod values;
mod vm;

pub use stack::{Cursor, LuaType, Stack, cast_int};
pub use vm::{Compiled, Failure, Invocation, Vm};

use super::debugger::Debugger;
use super::library::Function;
use super::sandbox::LibraryItem;
use super::{cjson, random};
use crate::sys::clock::mono_ns;
use mlua_sys as lua;
use mlua_sys::lua_State;
use std::ffi::{c_int, c_void};
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::{ptr, slice};

unsafe extern "C-unwind" {
    // Additions of build.rs.
    fn lua_setreadonly(l: *mut lua_State, at: c_int, on: c_int);
    fn lua_getreadonly(l: *mut lua_State, at: c_int) -> c_int;
    fn lua_each(l: *mut lua_State, at: c_int, place: *mut c_int) -> c_int;
}

/// A function written in Rust: takes its arguments from the stack, says how many results it has pushed.
pub type Native = fn(&mut Stack) -> Result<i32, Raise>;

/// What a table of a library holds, by name.
pub type Library = &'static [(&'static str, LibraryItem)];

/// What a state runs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Dialect {
    /// EVAL: keys and arguments are globals.
    Scripts,
    /// Functions of libraries: keys and arguments are theirs. The code of a library is run once, when it
    /// is loaded, and finds other globals then.
    Functions,
}

/// What scripts call in the server.
#[derive(Clone, Copy)]
pub struct Calls {
    /// The table `redis`.
    pub redis: Library,
    /// What it has beside that in scripts.
    pub scripts_only: Library,
    /// All that the code of a library finds while it is loaded: the table `redis`, and no other global.
    pub loading: Library,
    /// Runs a command: its reply, or the text of an error that has been counted.
    pub command: fn(&[&[u8]]) -> Result<Vec<u8>, Vec<u8>>,
    /// Asked every so many instructions, with the words of the request: true ends the script.
    pub slow: fn(&[&[u8]]) -> bool,
}

/// A library that is being loaded.
#[derive(Default)]
pub struct Loading {
    /// What it has registered so far.
    pub functions: Vec<Function>,
    /// Its code must have ended by then (monotonic clock).
    until_ns: Option<u64>,
}

/// What a state carries for natives and for the edits of build.rs (which know the first three fields as
/// `lua_Host`).
#[repr(C)]
pub struct LuaHost {
    /// A native runs, or no script does.
    native: c_int,
    /// The script may use the C stack down to this address.
    stack_end: *const u8,
    /// Bytes that a token of a source may have.
    longest_token: usize,
    /// Bytes that Lua holds.
    bytes: Arc<AtomicUsize>,
    calls: Calls,
    pub json: cjson::Config,
    pub random: random::Rand48,
    /// The library whose code runs.
    pub loading: Option<Loading>,
    /// The session about the script that runs.
    pub debugger: Option<Box<Debugger>>,
    /// The words of the request whose script runs; empty when none does.
    request: *const [&'static [u8]],
    scripts_run: u32,
    /// Bytes of the C stack that a script may take.
    stack_room: usize,
    /// The table of globals that scripts get, to tell it from another one.
    globals: *const c_void,
    /// Places in the registry: the error handler, and what globals lead to in a state of functions while
    /// a function runs and while a library is loaded.
    handler: c_int,
    running_globals: c_int,
    loading_globals: c_int,
}

/// What a native raises.
pub enum Raise {
    /// A message behind the place of the caller (`luaL_error`).
    Text(Vec<u8>),
    /// Argument of that number is bad (`luaL_argerror`).
    Argument(i32, Vec<u8>),
    /// A message without a place.
    Bare(Vec<u8>),
    /// A table as `redis.call` raises it.
    Error(Vec<u8>),
}

impl Raise {
    pub fn text(text: impl Into<Vec<u8>>) -> Raise {
        Raise::Text(text.into())
    }
}

/// What the state keeps for natives: the user data of its allocator.
///
/// # Safety
/// A live state of a `Vm`.
#[inline]
unsafe fn kept(l: *mut lua_State) -> *mut LuaHost {
    let mut ud = ptr::null_mut();
    // SAFETY: by contract; the place of the result is a live local.
    unsafe { lua::lua_getallocf(l, &mut ud) };
    ud.cast()
}

/// Runs `f` as a native: nothing that it does with the state can raise.
///
/// # Safety
/// A live state of a `Vm`.
#[inline]
unsafe fn natively<R>(l: *mut lua_State, f: impl FnOnce(*mut LuaHost) -> R) -> R {
    // SAFETY: what is kept outlives every function of the state.
    unsafe {
        let kept = kept(l);
        let before = (*kept).native;
        (*kept).native = 1;
        let result = f(kept);
        (*kept).native = before;
        result
    }
}

/// The C function behind every native, which is its upvalue.
unsafe extern "C-unwind" fn native(l: *mut lua_State) -> c_int {
    // SAFETY: the upvalue was put there by `push_native`. Nothing is owned any more when the value that
    // `push_raised` has left is raised.
    unsafe {
        let f = lua::lua_touserdata(l, lua::lua_upvalueindex(1));
        let f = std::mem::transmute::<*mut c_void, Native>(f);
        let outcome = natively(l, |kept| match f(&mut Stack::new(l, kept)) {
            Ok(n) => NativeOutcome::Results(n),
            Err(r) => push_raised(l, r),
        });
        match outcome {
            NativeOutcome::Results(n) => n,
            NativeOutcome::Top => lua::lua_error(l),
            NativeOutcome::Argument(at) => {
                let text = lua::lua_tolstring(l, -1, ptr::null_mut());
                lua::luaL_argerror(l, at, text)
            }
        }
    }
}

enum NativeOutcome {
    Results(c_int),
    /// The value on top is raised.
    Top,
    /// The message on top is that of a bad argument.
    Argument(c_int),
}

/// Pushes what is to be raised.
///
/// # Safety
/// A live state inside a native.
unsafe fn push_raised(l: *mut lua_State, r: Raise) -> NativeOutcome {
    // SAFETY: by contract; a C function has room for some values behind its arguments, and what it has
    // pushed is of no use any more.
    unsafe {
        lua::lua_settop(l, 0);
        match r {
            Raise::Bare(text) => push_bytes(l, &text),
            Raise::Error(text) => replies::push_error(l, &text, false),
            Raise::Argument(at, text) => {
                push_bytes(l, &text);
                return NativeOutcome::Argument(at);
            }
            Raise::Text(text) => {
                lua::luaL_where(l, 1);
                push_bytes(l, &text);
                lua::lua_concat(l, 2);
            }
        }
    }
    NativeOutcome::Top
}

/// # Safety
/// A live state with room for two values.
unsafe fn push_native(l: *mut lua_State, f: Native) {
    // SAFETY: by contract.
    unsafe {
        lua::lua_pushlightuserdata(l, f as *mut c_void);
        lua::lua_pushcclosure(l, native, 1);
    }
}

/// # Safety
/// A live state with room for one value.
unsafe fn push_bytes(l: *mut lua_State, b: &[u8]) {
    // SAFETY: the slice is valid for its length.
    unsafe { lua::lua_pushlstring_(l, b.as_ptr().cast(), b.len()) };
}

/// The bytes of the string (or number, which becomes a string) at `at`.
///
/// # Safety
/// A live state and a valid index. The value stays where it is as long as the bytes are used.
unsafe fn bytes_at<'a>(l: *mut lua_State, at: c_int) -> Option<&'a [u8]> {
    let mut len = 0;
    // SAFETY: by contract.
    unsafe {
        let p = lua::lua_tolstring(l, at, &mut len);
        (!p.is_null()).then(|| slice::from_raw_parts(p.cast::<u8>(), len))
    }
}

// ---- functions that Lua calls -------------------------------------------------------------------

unsafe extern "C-unwind" fn redis_call(l: *mut lua_State) -> c_int {
    // SAFETY: Lua calls with a live state; nothing is owned here when the error is raised.
    unsafe { if replies::command(l) { 1 } else { lua::lua_error(l) } }
}

unsafe extern "C-unwind" fn redis_pcall(l: *mut lua_State) -> c_int {
    // SAFETY: as above; the error stays a value.
    unsafe { replies::command(l) };
    1
}

/// `pcall` of scripts: an error that is a table is given out as its text, as scripts from before there
/// were such expect. `getfield` may run a metamethod and raise.
unsafe extern "C-unwind" fn pcall(l: *mut lua_State) -> c_int {
    // SAFETY: Lua calls with a live state and room for 20 values; nothing is owned here.
    unsafe {
        if lua::lua_gettop(l) == 0 {
            // Upstream calls its place holder.
            lua::lua_pushboolean(l, 1);
        }
        // The place of the result, so that there is room for it afterwards.
        lua::lua_pushboolean(l, 1);
        lua::lua_insert(l, 1);
        if lua::lua_pcall(l, lua::lua_gettop(l) - 2, lua::LUA_MULTRET, 0) != lua::LUA_OK {
            lua::lua_remove(l, 1);
            if lua::lua_type(l, -1) == lua::LUA_TTABLE {
                lua::lua_getfield_(l, -1, c"err".as_ptr());
                if lua::lua_isstring(l, -1) != 0 {
                    lua::lua_replace(l, -2);
                }
            }
            lua::lua_pushboolean(l, 0);
            lua::lua_insert(l, 1);
        }
        lua::lua_gettop(l)
    }
}

/// Called every so many instructions.
unsafe extern "C-unwind" fn hook(l: *mut lua_State, _: *mut lua::lua_Debug) {
    // SAFETY: Lua calls with a live state and room for 20 values; nothing is owned when it is raised.
    unsafe {
        // The words are those of the request that `run` was given, and it has not returned.
        let killed = natively(l, |kept| ((*kept).calls.slow)(&*(*kept).request));
        if killed {
            // A script must not go on by catching the error: every further line raises it again.
            lua::lua_sethook(l, Some(hook), lua::LUA_MASKLINE, 0);
            natively(l, |_| {
                replies::push_error(l, b"Script killed by user with SCRIPT KILL...", false);
            });
            lua::lua_error(l);
        }
    }
}

/// Called every so many instructions while a library is loaded.
unsafe extern "C-unwind" fn loading_hook(l: *mut lua_State, _: *mut lua::lua_Debug) {
    // SAFETY: as `hook`.
    unsafe {
        let until = (*kept(l)).loading.as_ref().and_then(|loading| loading.until_ns);
        if until.is_some_and(|until| mono_ns() > until) {
            // As in `hook`: the code must not go on by catching the error.
            lua::lua_sethook(l, Some(loading_hook), lua::LUA_MASKLINE, 0);
            natively(l, |_| replies::push_error(l, b"FUNCTION LOAD timeout", false));
            lua::lua_error(l);
        }
    }
}

/// An error where nothing can catch it: outside of a script.
unsafe extern "C-unwind" fn unprotected(l: *mut lua_State) -> c_int {
    // SAFETY: Lua calls with a live state and the error on top.
    let text = unsafe { bytes_at(l, -1) }.map(String::from_utf8_lossy).unwrap_or_default();
    panic!("an error of Lua outside of a protected call: {text}");
}
