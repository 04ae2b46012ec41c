//! The state of the interpreter: made, filled with what scripts may use, run, closed.

use super::values::{failure, reply_value};
use super::{
    Calls, Dialect, Loading, LuaHost, Stack, bytes_at, debug, hook, kept, loading_hook, lua_setreadonly,
    natively, pcall, push_bytes, unprotected,
};
use crate::proto::reply::Reply;
use crate::scripting::debugger::Debugger;
use crate::scripting::library::Function;
use crate::scripting::{random, sandbox};
use crate::sys::clock::mono_ns;
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
/// Longer tokens are refused: the lexer counts the `=` of a long bracket with an int. (`load` takes a source
/// of any length, piece by piece.)
const LONGEST_TOKEN: usize = 1 << 30;
const _: () = assert!(LONGEST_TOKEN < c_int::MAX as usize);
const _: () = assert!(LONGEST_SOURCE < c_int::MAX as usize);

/// The globals of scripts, in the registry.
const GLOBALS: &CStr = c"oxidis globals";

/// Gives what turns an error into a table that says where it was raised: in the caller when that is C. It
/// asks no global: a script can give it another environment, and the errors of all later scripts come here.
const PRELUDE: &CStr = cr#"
local getinfo, type, tostring = debug.getinfo, type, tostring
debug = nil
return function(err)
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
pub(super) unsafe fn load(l: *mut lua_State, code: &[u8], name: &CStr) -> bool {
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

/// A function that the state keeps: its place in the registry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(test, derive(Default))]
pub struct Compiled(c_int);

impl Compiled {
    pub(super) fn at(place: c_int) -> Compiled {
        Compiled(place)
    }
}

/// A call from outside.
pub struct Invocation<'a> {
    pub callee: Compiled,
    pub keys: &'a [&'a [u8]],
    pub argv: &'a [&'a [u8]],
    /// All words of the request.
    pub request: &'a [&'a [u8]],
    /// It may turn out to be slow.
    pub watched: bool,
}

pub struct Vm {
    l: *mut lua_State,
    dialect: Dialect,
}

// SAFETY: the state and what it keeps belong to the `Vm` alone, and are used by the thread that has it.
unsafe impl Send for Vm {}

impl Vm {
    /// A state whose scripts call the server by `calls`, and which counts its bytes in `bytes`.
    pub fn new(dialect: Dialect, calls: Calls, bytes: Arc<AtomicUsize>) -> Vm {
        bytes.store(0, Ordering::Relaxed);
        let kept = Box::into_raw(Box::new(LuaHost {
            native: 1,
            stack_end: ptr::null(),
            longest_token: LONGEST_TOKEN,
            bytes,
            calls,
            json: Default::default(),
            random: Default::default(),
            loading: None,
            debugger: None,
            request: &[],
            scripts_run: 0,
            stack_room: C_STACK.min(crate::sys::limits::stack() / 2),
            globals: ptr::null(),
            handler: lua::LUA_NOREF,
            running_globals: lua::LUA_NOREF,
            loading_globals: lua::LUA_NOREF,
        }));
        // SAFETY: a fresh state; every push is balanced and within the room of a fresh stack.
        unsafe {
            let l = lua::lua_newstate(allocate, kept.cast());
            assert!(!l.is_null(), "no memory for Lua");
            lua::lua_atpanic(l, unprotected);
            let vm = Vm { l, dialect };
            vm.open();
            vm
        }
    }

    /// The state of `math.random`.
    pub fn random(&mut self) -> &mut random::Rand48 {
        // SAFETY: the state is alive and belongs to this `Vm`, which is borrowed for as long.
        unsafe { &mut (*kept(self.l)).random }
    }

    /// The session about the next script that runs, or of the last one.
    pub fn debugger(&mut self) -> &mut Option<Box<Debugger>> {
        // SAFETY: as `random`.
        unsafe { &mut (*kept(self.l)).debugger }
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
                let calls = (*kept).calls;
                let more = if self.dialect == Dialect::Scripts { calls.scripts_only } else { &[] };
                sandbox::fill(&mut stack, &[calls.redis, more]);
            });
            let code = PRELUDE.to_bytes();
            let sound = load(l, code, c"@err_handler_def") && lua::lua_pcall(l, 0, 1, 0) == lua::LUA_OK;
            assert!(sound, "the prelude is sound");
            if self.dialect == Dialect::Scripts {
                lua::lua_pushvalue(l, -1);
                lua::lua_setglobal(l, c"__redis__err__handler".as_ptr());
            }
            (*kept(l)).handler = lua::luaL_ref(l, lua::LUA_REGISTRYINDEX);
            natively(l, |kept| sandbox::protect(&mut Stack::new(l, kept)));
            if self.dialect == Dialect::Functions {
                self.hide_globals();
            }
            (*kept(l)).globals = lua::lua_topointer(l, -1);
            lua::lua_setfield(l, lua::LUA_REGISTRYINDEX, GLOBALS.as_ptr());
            lua::lua_gc(l, lua::LUA_GCCOLLECT, 0);
        }
    }

    /// Puts an empty table in the place of the globals, which are on top. What it leads to changes with
    /// what runs: all globals in a function, a few names while a library is loaded.
    ///
    /// # Safety
    /// As `open`, at its end.
    unsafe fn hide_globals(&self) {
        let l = self.l;
        // SAFETY: by contract; the table takes the place of the one on top.
        unsafe {
            let kept = kept(l);
            (*kept).running_globals = lua::luaL_ref(l, lua::LUA_REGISTRYINDEX);
            natively(l, |kept| sandbox::push_loading(&mut Stack::new(l, kept), (*kept).calls.loading));
            (*kept).loading_globals = lua::luaL_ref(l, lua::LUA_REGISTRYINDEX);
            lua::lua_createtable(l, 0, 0);
            lua::lua_createtable(l, 0, 0);
            lua::lua_setmetatable(l, -2);
            lua::lua_pushvalue(l, -1);
            lua::lua_replace(l, lua::LUA_GLOBALSINDEX);
            self.lead_globals((*kept).running_globals);
            lua_setreadonly(l, -1, 1);
        }
    }

    /// Lets globals lead to the table at that place of the registry.
    ///
    /// # Safety
    /// A state of functions outside of any, with its own globals, and room for two values.
    unsafe fn lead_globals(&self, place: c_int) {
        let l = self.l;
        // SAFETY: by contract; balanced. The metatable takes changes for as long.
        unsafe {
            let there = lua::lua_getmetatable(l, lua::LUA_GLOBALSINDEX);
            assert_ne!(there, 0, "the globals of functions have a metatable");
            lua_setreadonly(l, -1, 0);
            lua::lua_rawgeti_(l, lua::LUA_REGISTRYINDEX, place as _);
            lua::lua_setfield(l, -2, c"__index".as_ptr());
            lua_setreadonly(l, -1, 1);
            lua::lua_pop(l, 1);
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

    /// Runs the code of a library, which must end within `limit_ns`: the functions that it registers, or
    /// why there are none.
    pub fn load_library(
        &mut self,
        code: &[u8],
        limit_ns: Option<u64>,
    ) -> Result<Vec<Function>, Vec<u8>> {
        assert_eq!(self.dialect, Dialect::Functions, "scripts load no libraries");
        let l = self.l;
        self.restore_globals();
        // SAFETY: as `run`.
        unsafe {
            let top = lua::lua_gettop(l);
            let kept = kept(l);
            (*kept).stack_end = stack_here().wrapping_sub((*kept).stack_room);
            self.lead_globals((*kept).loading_globals);
            let result = if load(l, code, c"@user_function") {
                let until_ns = limit_ns.map(|limit| mono_ns().saturating_add(limit));
                (*kept).loading = Some(Loading { functions: Vec::new(), until_ns });
                lua::lua_sethook(l, Some(loading_hook), lua::LUA_MASKCOUNT, HOOK_EVERY);
                (*kept).native = 0;
                let status = lua::lua_pcall(l, 0, 0, 0);
                (*kept).native = 1;
                lua::lua_sethook(l, None, 0, 0);
                let made = (*kept).loading.take().map_or_else(Vec::new, |loading| loading.functions);
                if status == lua::LUA_OK {
                    Ok(made)
                } else {
                    made.iter().for_each(|f| self.forget(f.callback));
                    let why = failure(l);
                    let code: &[u8] = if why.raw { b"ERR " } else { b"" };
                    Err([b"Error registering functions: ", code, &why.message].concat())
                }
            } else {
                let why = bytes_at(l, -1).unwrap_or_default();
                Err([b"Error compiling function: ", why].concat())
            };
            lua::lua_settop(l, top);
            self.restore_globals();
            self.lead_globals((*kept).running_globals);
            self.collect_some();
            result
        }
    }

    /// Forgets a function.
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

    /// Runs what the state keeps; its value is written to `out`. The server must be lent.
    pub fn run(
        &mut self,
        call: &Invocation<'_>,
        out: &mut Reply,
        script_resp: impl FnOnce() -> u8,
    ) -> Result<(), Failure> {
        let l = self.l;
        self.restore_globals();
        // SAFETY: a live state outside of scripts: `native` is set but while the script runs, whose
        // errors `pcall` catches. The top is restored whatever happened. The request outlives the call,
        // and is not kept beyond it.
        unsafe {
            let top = lua::lua_gettop(l);
            let kept = kept(l);
            (*kept).stack_end = stack_here().wrapping_sub((*kept).stack_room);
            (*kept).request =
                ptr::slice_from_raw_parts(call.request.as_ptr().cast(), call.request.len());
            lua::lua_rawgeti_(l, lua::LUA_REGISTRYINDEX, (*kept).handler as _);
            lua::lua_rawgeti_(l, lua::LUA_REGISTRYINDEX, call.callee.0 as _);
            assert_eq!(lua::lua_type(l, -1), lua::LUA_TFUNCTION, "compiled by this state");
            let arguments = self.give(call);
            if (*kept).debugger.is_some() {
                let when = lua::LUA_MASKLINE | lua::LUA_MASKCOUNT;
                lua::lua_sethook(l, Some(debug::hook), when, HOOK_EVERY);
            } else if call.watched {
                lua::lua_sethook(l, Some(hook), lua::LUA_MASKCOUNT, HOOK_EVERY);
            }
            (*kept).native = 0;
            let status = lua::lua_pcall(l, arguments, 1, top + 1);
            (*kept).native = 1;
            lua::lua_sethook(l, None, 0, 0);
            (*kept).request = &[];
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

    /// Gives a call its keys and arguments; returns how many values were pushed for it.
    ///
    /// # Safety
    /// A live state outside of scripts, with room for four values.
    unsafe fn give(&self, call: &Invocation<'_>) -> c_int {
        let l = self.l;
        // SAFETY: by contract.
        unsafe {
            match self.dialect {
                Dialect::Scripts => {
                    lua_setreadonly(l, lua::LUA_GLOBALSINDEX, 0);
                    for (name, values) in [(c"KEYS", call.keys), (c"ARGV", call.argv)] {
                        push_list(l, values);
                        lua::lua_setglobal(l, name.as_ptr());
                    }
                    lua_setreadonly(l, lua::LUA_GLOBALSINDEX, 1);
                    0
                }
                Dialect::Functions => {
                    push_list(l, call.keys);
                    push_list(l, call.argv);
                    2
                }
            }
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

/// Pushes a list of strings, made as upstream makes it: what `#` and `pairs` say of it after a script has
/// changed it depends on how it grew.
///
/// # Safety
/// A live state, natively, with room for two values.
unsafe fn push_list(l: *mut lua_State, values: &[&[u8]]) {
    // SAFETY: by contract; balanced but for the table.
    unsafe {
        lua::lua_createtable(l, 0, 0);
        for (i, v) in (1..).zip(values) {
            push_bytes(l, v);
            lua::lua_rawseti_(l, -2, i);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scripting::register;
    use crate::scripting::sandbox::LibraryItem;

    const CALLS: Calls = Calls {
        redis: &[("setresp", LibraryItem::Null)],
        scripts_only: &[],
        loading: &[("register_function", LibraryItem::Native(register::register_function))],
        command: |_| Ok(b"+OK\r\n".to_vec()),
        slow: |_| false,
    };

    fn scripts(bytes: &Arc<AtomicUsize>) -> Vm {
        Vm::new(Dialect::Scripts, CALLS, Arc::clone(bytes))
    }

    fn call(vm: &mut Vm, callee: Compiled, keys: &[&[u8]], argv: &[&[u8]]) -> Vec<u8> {
        let mut out = Reply::new(false);
        let call = Invocation { callee, keys, argv, request: &[], watched: false };
        let done = vm.run(&call, &mut out, || 2);
        done.map(|()| out.take_bytes()).unwrap_or_else(|f| f.message)
    }

    fn run(vm: &mut Vm, script: &str) -> Vec<u8> {
        let script = vm.compile(script.as_bytes()).expect("sound");
        call(vm, script, &[], &[])
    }

    #[test]
    fn functions_run_with_other_globals_than_the_code_that_registers_them() {
        let mut vm = Vm::new(Dialect::Functions, CALLS, Default::default());
        let text = |b: Vec<u8>| String::from_utf8(b).expect("text");
        let code = b"local n = 5
            redis.register_function('f', function(KEYS, ARGV) return {KEYS[1], ARGV[2], n, type(math)} end)
            redis.register_function{function_name = 'g', description = 'd', flags = {'NO-writes'},
                callback = function() x = 1 end}
            redis.register_function('h', function() return redis.register_function end)
            redis.register_function('i', function() setfenv(0, {}) end)";
        let made = vm.load_library(code, None).expect("sound");
        assert_eq!(made.len(), 4);
        let found = call(&mut vm, made[0].callback, &[b"k"], &[b"a", b"b"]);
        assert_eq!(text(found), "*4\r\n$1\r\nk\r\n$1\r\nb\r\n:5\r\n$5\r\ntable\r\n");
        assert_eq!(made[1].flags.names().collect::<Vec<_>>(), ["no-writes"]);
        assert_eq!(made[1].description.as_deref(), Some(&b"d"[..]));
        let why = text(call(&mut vm, made[1].callback, &[], &[]));
        assert!(why.contains("Attempt to modify a readonly table"), "{why}");
        assert_eq!(call(&mut vm, made[2].callback, &[], &[]), b"$-1\r\n", "nothing to register with");
        // Other globals end with the call that set them.
        call(&mut vm, made[3].callback, &[], &[]);
        let refused =
            |vm: &mut Vm, code: &str| text(vm.load_library(code.as_bytes(), None).expect_err("bad"));
        for (code, why) in [
            (
                "x = 1",
                "Error registering functions: ERR user_function:1: Attempt to modify a readonly table",
            ),
            ("math.random()", "nonexistent global variable 'math'"),
            ("redis.call()", "nonexistent global variable 'call'"),
            ("bad script", "Error compiling function: user_function:1: '=' expected near 'script'"),
            (
                "redis.register_function()",
                "functions: ERR wrong number of arguments to redis.register_fun",
            ),
            ("redis.register_function('f', redis.register_function, 1)", "wrong number of arguments"),
            (
                "redis.register_function('f', 1)",
                "second argument to redis.register_function must be a fun",
            ),
        ] {
            let found = refused(&mut vm, code);
            assert!(found.contains(why), "{code}: {found}");
        }
        let endless = vm.load_library(b"while true do end", Some(0)).expect_err("endless");
        assert_eq!(text(endless), "Error registering functions: ERR FUNCTION LOAD timeout");
    }

    #[test]
    fn what_a_failed_library_has_registered_is_forgotten() {
        let bytes = Arc::new(AtomicUsize::new(0));
        let mut vm = Vm::new(Dialect::Functions, CALLS, Arc::clone(&bytes));
        let fails = b"for i = 1, 100 do
                local big = ('x'):rep(1000) .. i
                redis.register_function('f' .. i, function() return big end)
            end
            redis.nosuch()";
        for _ in 0..200 {
            assert!(vm.load_library(fails, None).is_err());
        }
        let held = bytes.load(Ordering::Relaxed);
        assert!(held < 3_000_000, "{held} of 20 million bytes");
    }

    #[test]
    fn a_source_too_long_for_the_parser_is_refused_unread() {
        let mut vm = scripts(&Default::default());
        // Zeros that nothing has touched take no memory.
        let why = vm.compile(&vec![0; LONGEST_SOURCE + 1]).expect_err("too long");
        assert_eq!(why, b"chunk has too many bytes");
    }

    /// CVE-2025-46819: 2^31 `=` in a long bracket were none.
    #[test]
    fn a_token_too_long_to_be_counted_is_refused() {
        let mut vm = scripts(&Default::default());
        // SAFETY: a live state; no script runs.
        unsafe { (*kept(vm.l)).longest_token = 4096 };
        let level = |n: usize| "=".repeat(n);
        let token = |n: usize| format!("return [{0}[x]{0}]", level(n));
        assert_eq!(run(&mut vm, &token(2000)), b"$1\r\nx\r\n");
        let why = vm.compile(token(2100).as_bytes()).expect_err("too long");
        assert_eq!(why, b"user_script:1: lexical element too long");
        for (unit, n) in [("=", 5000), ("x", 5000), ("1", 5000)] {
            let open = if unit == "=" { "[" } else { "" };
            let piece = format!(
                "local n = 0 return (select(2, load(function() n = n + 1 \
                 if n == 1 then return 'return {open}' end if n < {n} then return '{unit}' end end)))"
            );
            let found = String::from_utf8_lossy(&run(&mut vm, &piece)).into_owned();
            assert!(found.contains("lexical element too long"), "{unit}: {found}");
        }
    }

    /// A source in pieces, and for each of them whether the name of the chunk was on the stack then.
    struct Pieces {
        rest: &'static [&'static [u8]],
        named: Vec<bool>,
    }

    const NAME: &CStr = c"=a chunk";

    unsafe extern "C-unwind" fn piece(
        l: *mut lua_State,
        pieces: *mut c_void,
        len: *mut usize,
    ) -> *const std::ffi::c_char {
        // SAFETY: the test passes its pieces, Lua the place of a length; places up to the top are asked.
        unsafe {
            let pieces = &mut *pieces.cast::<Pieces>();
            let named = |at| {
                lua::lua_type(l, at) == lua::LUA_TSTRING && bytes_at(l, at) == Some(NAME.to_bytes())
            };
            pieces.named.push((1..=lua::lua_gettop(l)).any(named));
            let piece = pieces.rest.first().copied().unwrap_or_default();
            pieces.rest = pieces.rest.get(1..).unwrap_or_default();
            *len = piece.len();
            piece.as_ptr().cast()
        }
    }

    /// CVE-2025-49844: the parser uses the name to its end, and a reader may collect garbage.
    #[test]
    fn the_name_of_a_chunk_is_held_while_it_is_parsed() {
        let vm = scripts(&Default::default());
        let mut pieces =
            Pieces { rest: &[b"local x = ", b"1 ", b"function f() ", b"end"], named: Vec::new() };
        // SAFETY: a live state outside of scripts, with room for a value; balanced.
        unsafe {
            let top = lua::lua_gettop(vm.l);
            let status = lua::lua_load(vm.l, piece, (&raw mut pieces).cast(), NAME.as_ptr());
            assert_eq!((status, lua::lua_gettop(vm.l)), (lua::LUA_OK, top + 1));
            lua::lua_settop(vm.l, top);
        }
        // The first piece is asked for before there is a parser.
        assert_eq!(pieces.named[..5], [false, true, true, true, true]);
    }

    #[test]
    fn the_bytes_of_a_state_are_counted_and_all_given_back() {
        let bytes = Arc::new(AtomicUsize::new(0));
        let mut vm = scripts(&bytes);
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
        let mut vm = scripts(&bytes);
        let script =
            vm.compile(b"return {KEYS[1], ARGV[1], cjson.encode({a = {KEYS[1]}})}").expect("sound");
        for i in 0..10_000 {
            let key = format!("key:{i}");
            assert!(call(&mut vm, script, &[key.as_bytes()], &[b"value"]).starts_with(b"*3"));
        }
        let held = bytes.load(Ordering::Relaxed);
        assert!(held < 100_000, "{held}");
    }
}
