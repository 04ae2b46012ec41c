//! The state of the interpreter: made, filled with what scripts may use, run, closed.

use super::values::{failure, reply_value};
use super::{
    Calls, LuaHost, Stack, bytes_at, hook, kept, lua_setreadonly, natively, pcall, push_bytes,
    unprotected,
};
use crate::proto::reply::Reply;
use crate::scripting::{random, sandbox};
use mlua_sys as lua;
use mlua_sys::lua_State;
use std::alloc::{Layout, handle_alloc_error};
use std::ffi::{CStr, c_int, c_void};
use std::ptr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Instructions between two looks at the clock.
const HOOK_EVERY: c_int = 100_000;
/// Scripts between two steps of the collector, and the size of a step.
const GC_PERIOD: u32 = 50;
/// Bytes of the C stack that scripts may take, when there is as much.
const C_STACK: usize = 4 << 20;
/// Longer sources are refused: the parser counts with ints.
const LONGEST_SOURCE: usize = 1 << 30;

/// The globals of scripts, in the registry.
const GLOBALS: &CStr = c"oxidis globals";

/// What turns an error into a table that says where it was raised: in the caller when that is C.
const PRELUDE: &CStr = cr#"
local getinfo = debug.getinfo
debug = nil
function __redis__err__handler(err)
  local at = getinfo(2, 'nSl')
  if at and at.what == 'C' then at = getinfo(3, 'nSl') end
  if type(err) ~= 'table' then err = { err = 'ERR ' .. tostring(err) } end
  -- A table that cannot be changed is an error of line 10, as upstream.
  if at then
    err.source = at.source
    err.line = at.currentline
  end
  return err
end
"#;

/// About where the C stack ends now.
#[inline]
fn stack_here() -> *const u8 {
    let mark = 0u8;
    std::hint::black_box(&raw const mark)
}

/// Lua's memory. It is not part of `used_memory`, as upstream.
///
/// # Safety
/// Lua calls with what `Vm::new` has given it, and with a block of its own or null.
unsafe extern "C" fn allocate(
    ud: *mut c_void,
    block: *mut c_void,
    old: usize,
    new: usize,
) -> *mut c_void {
    let kept = ud.cast::<LuaHost>();
    // SAFETY: by contract. Blocks come from realloc alone.
    unsafe {
        let bytes = &(*kept).bytes;
        if new == 0 {
            libc::free(block);
            bytes.store(bytes.load(Ordering::Relaxed).wrapping_sub(old), Ordering::Relaxed);
            return ptr::null_mut();
        }
        let moved = libc::realloc(block, new);
        if moved.is_null() {
            // A script gets an error. A native could not be left by one.
            if (*kept).native != 0 {
                handle_alloc_error(Layout::from_size_align(new, 8).unwrap_or(Layout::new::<u64>()));
            }
            return moved;
        }
        let now = bytes.load(Ordering::Relaxed).wrapping_add(new).wrapping_sub(old);
        bytes.store(now, Ordering::Relaxed);
        moved
    }
}

/// Compiles text, and pushes the function or the message. Compiled code is refused (build.rs).
///
/// # Safety
/// A live state, natively, with room for a value.
unsafe fn load(l: *mut lua_State, code: &[u8], name: &CStr) -> bool {
    // SAFETY: one value is left on the stack in either case.
    unsafe {
        if code.len() > LONGEST_SOURCE {
            push_bytes(l, b"chunk has too many bytes");
            return false;
        }
        let mut rest = code;
        let reader = (&raw mut rest).cast();
        lua::lua_load(l, read, reader, name.as_ptr()) == lua::LUA_OK
    }
}

/// Gives a source to the parser, at once.
unsafe extern "C-unwind" fn read(
    _: *mut lua_State,
    rest: *mut c_void,
    len: *mut usize,
) -> *const std::ffi::c_char {
    // SAFETY: `load` passes its slice, and Lua the place of a length.
    unsafe {
        let rest = std::mem::take(&mut *rest.cast::<&[u8]>());
        *len = rest.len();
        rest.as_ptr().cast()
    }
}

/// What a failed script left.
pub struct Failure {
    pub message: Vec<u8>,
    /// `source` and line, when the handler could tell.
    pub place: Option<(Vec<u8>, Vec<u8>)>,
    /// The command inside has counted it already.
    pub counted: bool,
    /// The handler has not seen it.
    pub raw: bool,
}

/// A script that the state has compiled: its place in the registry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Compiled(c_int);

pub struct Vm {
    l: *mut lua_State,
}

// SAFETY: the state and what it keeps belong to the `Vm` alone, and are used by the thread that has it.
unsafe impl Send for Vm {}

impl Vm {
    /// A state whose scripts call the server by `calls`, and which counts its bytes in `bytes`.
    pub fn new(calls: Calls, bytes: Arc<AtomicUsize>) -> Vm {
        bytes.store(0, Ordering::Relaxed);
        let kept = Box::into_raw(Box::new(LuaHost {
            native: 1,
            stack_end: ptr::null(),
            bytes,
            calls,
            json: Default::default(),
            random: Default::default(),
            scripts_run: 0,
            stack_room: C_STACK.min(crate::sys::limits::stack() / 2),
            globals: ptr::null(),
            handler: lua::LUA_NOREF,
        }));
        // SAFETY: a fresh state; every push is balanced and within the room of a fresh stack.
        unsafe {
            let l = lua::lua_newstate(allocate, kept.cast());
            assert!(!l.is_null(), "no memory for Lua");
            lua::lua_atpanic(l, unprotected);
            let vm = Vm { l };
            vm.open();
            vm
        }
    }

    /// The state of `math.random`.
    pub fn random(&mut self) -> &mut random::Rand48 {
        // SAFETY: the state is alive and belongs to this `Vm`, which is borrowed for as long.
        unsafe { &mut (*kept(self.l)).random }
    }

    /// Fills the globals, and makes them read-only.
    ///
    /// # Safety
    /// A fresh state.
    unsafe fn open(&self) {
        let l = self.l;
        // SAFETY: a fresh state; balanced.
        unsafe {
            lua::lua_pushvalue(l, lua::LUA_GLOBALSINDEX);
            natively(l, |kept| sandbox::admit_some(&mut Stack::new(l, kept)));
            for (name, open) in [
                (c"", lua::luaopen_base as lua::lua_CFunction),
                (c"table", lua::luaopen_table),
                (c"string", lua::luaopen_string),
                (c"math", lua::luaopen_math),
                (c"debug", lua::luaopen_debug),
            ] {
                lua::lua_pushcfunction(l, open);
                lua::lua_pushstring(l, name.as_ptr());
                lua::lua_call(l, 1, 0);
            }
            lua::lua_pushcfunction(l, pcall);
            lua::lua_setglobal(l, c"pcall".as_ptr());
            natively(l, |kept| {
                let mut stack = Stack::new(l, kept);
                sandbox::fill(&mut stack, (*kept).calls.redis);
            });
            let code = PRELUDE.to_bytes();
            let sound = load(l, code, c"@err_handler_def") && lua::lua_pcall(l, 0, 0, 0) == lua::LUA_OK;
            assert!(sound, "the prelude is sound");
            natively(l, |kept| sandbox::protect(&mut Stack::new(l, kept)));
            (*kept(l)).globals = lua::lua_topointer(l, -1);
            lua::lua_getfield_(l, -1, c"__redis__err__handler".as_ptr());
            (*kept(l)).handler = lua::luaL_ref(l, lua::LUA_REGISTRYINDEX);
            lua::lua_setfield(l, lua::LUA_REGISTRYINDEX, GLOBALS.as_ptr());
            lua::lua_gc(l, lua::LUA_GCCOLLECT, 0);
        }
    }

    /// Compiles a script and keeps it.
    pub fn compile(&mut self, body: &[u8]) -> Result<Compiled, Vec<u8>> {
        let l = self.l;
        self.restore_globals();
        // SAFETY: no script runs, so `native` is set and nothing here can raise; balanced.
        unsafe {
            if load(l, body, c"@user_script") {
                return Ok(Compiled(lua::luaL_ref(l, lua::LUA_REGISTRYINDEX)));
            }
            let why = bytes_at(l, -1).unwrap_or_default().to_vec();
            lua::lua_pop(l, 1);
            Err(why)
        }
    }

    /// Forgets a script.
    #[allow(dead_code, reason = "scripts go with their whole state")]
    pub fn forget(&mut self, script: Compiled) {
        // SAFETY: a live state; the registry is a table.
        unsafe { lua::luaL_unref(self.l, lua::LUA_REGISTRYINDEX, script.0) };
    }

    /// A script before may have given its thread other globals.
    fn restore_globals(&mut self) {
        // SAFETY: a live state outside of scripts; balanced.
        unsafe {
            if lua::lua_topointer(self.l, lua::LUA_GLOBALSINDEX) != (*kept(self.l)).globals {
                lua::lua_getfield_(self.l, lua::LUA_REGISTRYINDEX, GLOBALS.as_ptr());
                lua::lua_replace(self.l, lua::LUA_GLOBALSINDEX);
            }
        }
    }

    /// Runs a compiled script; its value is written to `out`. The server must be lent. `watched`: it may
    /// turn out to be slow.
    pub fn run(
        &mut self,
        script: Compiled,
        keys: &[&[u8]],
        argv: &[&[u8]],
        watched: bool,
        out: &mut Reply,
        script_resp: impl FnOnce() -> u8,
    ) -> Result<(), Failure> {
        let l = self.l;
        self.restore_globals();
        // SAFETY: a live state outside of scripts: `native` is set but while the script runs, whose
        // errors `pcall` catches. The top is restored whatever happened.
        unsafe {
            let top = lua::lua_gettop(l);
            let kept = kept(l);
            (*kept).stack_end = stack_here().wrapping_sub((*kept).stack_room);
            lua::lua_rawgeti_(l, lua::LUA_REGISTRYINDEX, (*kept).handler as _);
            lua::lua_rawgeti_(l, lua::LUA_REGISTRYINDEX, script.0 as _);
            assert_eq!(lua::lua_type(l, -1), lua::LUA_TFUNCTION, "compiled by this state");
            lua_setreadonly(l, lua::LUA_GLOBALSINDEX, 0);
            set_list(l, b"KEYS", keys);
            set_list(l, b"ARGV", argv);
            lua_setreadonly(l, lua::LUA_GLOBALSINDEX, 1);
            if watched {
                lua::lua_sethook(l, Some(hook), lua::LUA_MASKCOUNT, HOOK_EVERY);
            }
            (*kept).native = 0;
            let status = lua::lua_pcall(l, 0, 1, top + 1);
            (*kept).native = 1;
            lua::lua_sethook(l, None, 0, 0);
            let result = if status == lua::LUA_OK {
                reply_value(l, out, script_resp());
                Ok(())
            } else {
                Err(failure(l))
            };
            lua::lua_settop(l, top);
            self.collect_some();
            result
        }
    }

    /// A step of the collector now and then, so that it need never do all at once.
    fn collect_some(&mut self) {
        // SAFETY: no script runs, so nothing else is at what natives keep.
        unsafe {
            let n = &mut (*kept(self.l)).scripts_run;
            *n = n.wrapping_add(1);
            if n.is_multiple_of(GC_PERIOD) {
                lua::lua_gc(self.l, lua::LUA_GCSTEP, GC_PERIOD as c_int);
            }
        }
    }
}

impl Drop for Vm {
    fn drop(&mut self) {
        // SAFETY: the owner closes, once; what is kept is of no use to a closed state. No finalizer runs,
        // since `native` is set.
        unsafe {
            let kept = kept(self.l);
            lua::lua_gc(self.l, lua::LUA_GCCOLLECT, 0);
            lua::lua_close(self.l);
            drop(Box::from_raw(kept));
        }
    }
}

/// Sets a global to a list of strings, made as upstream makes it: what `#` and `pairs` say of it after a
/// script has changed it depends on how it grew.
///
/// # Safety
/// A live state, natively, with room for four values and with globals that are an ordinary table.
unsafe fn set_list(l: *mut lua_State, name: &[u8], values: &[&[u8]]) {
    // SAFETY: by contract; balanced.
    unsafe {
        push_bytes(l, name);
        lua::lua_createtable(l, 0, 0);
        for (i, v) in (1..).zip(values) {
            push_bytes(l, v);
            lua::lua_rawseti_(l, -2, i);
        }
        lua::lua_rawset(l, lua::LUA_GLOBALSINDEX);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CALLS: Calls = Calls { redis: &[], command: |_| Ok(b"+OK\r\n".to_vec()), slow: || false };

    fn run(vm: &mut Vm, script: &str) -> Vec<u8> {
        let script = vm.compile(script.as_bytes()).expect("sound");
        let mut out = Reply::new(false);
        let done = vm.run(script, &[], &[], false, &mut out, || 2);
        done.map(|()| out.take_bytes()).unwrap_or_else(|f| f.message)
    }

    #[test]
    fn a_source_too_long_for_the_parser_is_refused_unread() {
        let mut vm = Vm::new(CALLS, Default::default());
        // Zeros that nothing has touched take no memory.
        let why = vm.compile(&vec![0; LONGEST_SOURCE + 1]).expect_err("too long");
        assert_eq!(why, b"chunk has too many bytes");
    }

    #[test]
    fn the_bytes_of_a_state_are_counted_and_all_given_back() {
        let bytes = Arc::new(AtomicUsize::new(0));
        let mut vm = Vm::new(CALLS, Arc::clone(&bytes));
        let fresh = bytes.load(Ordering::Relaxed);
        assert!(fresh > 10_000, "{fresh}");
        assert_eq!(run(&mut vm, "return #('x'):rep(1000000)"), b":1000000\r\n");
        assert!(bytes.load(Ordering::Relaxed) > fresh + 1_000_000);
        drop(vm);
        assert_eq!(bytes.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn scripts_of_one_kind_do_not_fill_the_state() {
        let bytes = Arc::new(AtomicUsize::new(0));
        let mut vm = Vm::new(CALLS, Arc::clone(&bytes));
        let script =
            vm.compile(b"return {KEYS[1], ARGV[1], cjson.encode({a = {KEYS[1]}})}").expect("sound");
        let mut out = Reply::new(false);
        for i in 0..10_000 {
            let key = format!("key:{i}");
            let done = vm.run(script, &[key.as_bytes()], &[b"value"], false, &mut out, || 2);
            assert!(done.is_ok());
            out.take_bytes();
        }
        let held = bytes.load(Ordering::Relaxed);
        assert!(held < 100_000, "{held}");
    }
}
