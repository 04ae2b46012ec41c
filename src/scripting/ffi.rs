//! The raw layer of LuaJIT: everything that touches the Lua state.
//!
//! ```text
//! Vm       owns the state: compile, run, close            compile ─► without tail calls ─► registry
//! Stack    what a native function sees: checked, safe     EVAL ─► run ─► redis.call ─► with_lent ─► call()
//! native   the one C function behind all of them: its upvalue says which
//! ```
//!
//! LuaJIT bounds its own stacks, but not the C stack under functions that call back (gsub, coroutines,
//! natives): those look how deep they are (`stop_if_too_deep`) before they go on.
//!
//! A Lua error unwinds through the frames between `lua_error` and `lua_pcall`. No frame of ours that it
//! crosses may own anything: natives return what shall be raised, and `native` raises at the edge.
//!
//! The globals of scripts are a table without contents of its own, whose metatable leads to the real
//! one; so are the libraries in it. That makes them read-only (see `sandbox`).

use super::{api, bytecode, cjson, cmsgpack, coroutine, packing, random, run, sandbox};
use crate::algo::num;
use crate::proto::reply::Reply;
use mlua_sys as lua;
use mlua_sys::lua_State;
use std::ffi::{CStr, c_int, c_void};
use std::slice;

/// Instructions between two looks at the clock.
const HOOK_EVERY: c_int = 100_000;
/// Replies nested deeper than this do not come from our commands.
const MAX_DEPTH: usize = 64;
/// Scripts between two steps of the collector, and the size of a step.
const GC_PERIOD: u32 = 50;

/// Bytes of the C stack that scripts may take, when there is as much: some 400 calls of gsub inside each
/// other, where upstream ends at 200 (LUAI_MAXCCALLS).
const C_STACK: usize = 4 << 20;
const TOO_DEEP: &[u8] = b"C stack overflow";
/// Functions of Lua that call back, with much of the C stack.
const CALL_BACK: [(&CStr, &CStr); 2] = [(c"string", c"gsub"), (c"table", c"sort")];

/// 2^63.
const TOO_BIG: f64 = 9_223_372_036_854_775_808.0;

/// Names of values in the registry.
const GLOBALS: &CStr = c"oxidis globals";
const REAL_GLOBALS: &CStr = c"oxidis real globals";
const HANDLER: &CStr = c"oxidis error handler";
const NEXT: &CStr = c"oxidis next";

const PRELUDE: &CStr = cr#"
local getinfo = debug.getinfo
debug = nil
function __redis__err__handler(err)
  local at = getinfo(2, 'nSl')
  if at and at.what == 'C' then at = getinfo(3, 'nSl') end
  if type(err) ~= 'table' then err = { err = 'ERR ' .. tostring(err) } end
  if at then err.source = at.source; err.line = at.currentline end
  return err
end
"#;

/// What natives keep from call to call, for the life of a state.
#[derive(Default)]
pub struct Kept {
    pub json: cjson::Config,
    pub random: random::Rand48,
    scripts_run: u32,
    /// Bytes of the C stack that a script may take.
    stack_room: usize,
    /// The script may use the C stack down to this address.
    stack_end: usize,
}

/// About where the C stack ends now.
#[inline]
fn stack_here() -> usize {
    let mark = 0u8;
    std::hint::black_box(&raw const mark).addr()
}

/// Raises when the script has used up its share of the C stack.
///
/// # Safety
/// A live state with room for a value, and what natives keep, alive. The frame that calls owns nothing.
#[inline]
unsafe fn stop_if_too_deep(l: *mut lua_State, kept: *const Kept) {
    // SAFETY: by contract; a plain read of what only `Vm::run` writes, while no native runs.
    unsafe {
        if stack_here() < (*kept).stack_end {
            push_bytes(l, TOO_DEEP);
            lua::lua_error(l);
        }
    }
}

/// A function written in Rust: takes its arguments from the stack, says how many results it has pushed.
pub type Native = fn(&mut Stack) -> Result<i32, Raise>;

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
    /// The value on top.
    Top,
}

impl Raise {
    pub fn text(text: impl Into<Vec<u8>>) -> Raise {
        Raise::Text(text.into())
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    None,
    Nil,
    Bool,
    Light,
    Number,
    String,
    Table,
    Function,
    Userdata,
    Thread,
}

/// The stack of the function that runs.
pub struct Stack {
    l: *mut lua_State,
    kept: *mut Kept,
}

/// Every method checks what Lua itself only asserts in debug builds, so none can be misused from safe
/// code. Pushing grows the stack as needed; a stack past its limits is a Lua error.
impl Stack {
    pub fn top(&self) -> i32 {
        // SAFETY: a live state.
        unsafe { lua::lua_gettop(self.l) }
    }

    /// `at` as an index from the bottom.
    fn place(&self, at: i32) -> i32 {
        if at >= 0 {
            return at;
        }
        let place = self.top() + 1 + at;
        assert!(place > 0, "an index below the stack");
        place
    }

    pub fn set_top(&mut self, n: i32) {
        assert!(n >= 0);
        // SAFETY: not below the bottom; Lua fills up with nil.
        unsafe { lua::lua_settop(self.l, n) };
    }

    pub fn pop(&mut self, n: i32) {
        let left = self.top() - n;
        self.set_top(left);
    }

    /// Is there room for `n` more values?
    pub fn room(&mut self, n: i32) -> bool {
        // SAFETY: a live state.
        unsafe { lua::lua_checkstack(self.l, n) != 0 }
    }

    pub fn kind(&self, at: i32) -> Kind {
        // SAFETY: a place past the top is "none".
        match unsafe { lua::lua_type(self.l, self.place(at)) } {
            lua::LUA_TNIL => Kind::Nil,
            lua::LUA_TBOOLEAN => Kind::Bool,
            lua::LUA_TLIGHTUSERDATA => Kind::Light,
            lua::LUA_TNUMBER => Kind::Number,
            lua::LUA_TSTRING => Kind::String,
            lua::LUA_TTABLE => Kind::Table,
            lua::LUA_TFUNCTION => Kind::Function,
            lua::LUA_TUSERDATA => Kind::Userdata,
            lua::LUA_TTHREAD => Kind::Thread,
            _ => Kind::None,
        }
    }

    pub fn kind_name(&self, at: i32) -> &'static str {
        match self.kind(at) {
            Kind::None => "no value",
            Kind::Nil => "nil",
            Kind::Bool => "boolean",
            Kind::Light | Kind::Userdata => "userdata",
            Kind::Number => "number",
            Kind::String => "string",
            Kind::Table => "table",
            Kind::Function => "function",
            Kind::Thread => "thread",
        }
    }

    pub fn boolean(&self, at: i32) -> bool {
        // SAFETY: any place may be asked.
        unsafe { lua::lua_toboolean(self.l, self.place(at)) != 0 }
    }

    /// A number, or a string that reads as one.
    pub fn number(&self, at: i32) -> Option<f64> {
        let at = self.place(at);
        // SAFETY: any place may be asked; the value is not changed.
        unsafe { (lua::lua_isnumber(self.l, at) != 0).then(|| lua::lua_tonumber(self.l, at)) }
    }

    /// The bytes of a string; nothing for other values.
    pub fn bytes(&self, at: i32) -> &[u8] {
        if self.kind(at) != Kind::String {
            return &[];
        }
        let mut len = 0;
        // SAFETY: a string, so nothing is converted. Its bytes stay while it is on the stack, which
        // cannot change while `self` is borrowed.
        unsafe {
            let p = lua::lua_tolstring(self.l, self.place(at), &mut len);
            slice::from_raw_parts(p.cast::<u8>(), len)
        }
    }

    /// The text of a string or a number.
    pub fn text(&mut self, at: i32) -> Option<Vec<u8>> {
        match self.kind(at) {
            Kind::String => Some(self.bytes(at).to_vec()),
            Kind::Number => {
                // Converted as a copy: a key must not change under `next`.
                self.push_value(at);
                // SAFETY: balanced; the bytes are copied while the value is on the stack.
                unsafe {
                    let text = text_at(self.l, -1);
                    lua::lua_pop(self.l, 1);
                    text
                }
            }
            _ => None,
        }
    }

    /// Is it the null that `push_null` pushes?
    pub fn is_null(&self, at: i32) -> bool {
        // SAFETY: any place may be asked.
        unsafe { self.kind(at) == Kind::Light && lua::lua_touserdata(self.l, self.place(at)).is_null() }
    }

    pub fn push_nil(&mut self) {
        // SAFETY: a live state; the stack grows.
        unsafe { lua::lua_pushnil(self.l) };
    }

    pub fn push_bool(&mut self, yes: bool) {
        // SAFETY: a live state; the stack grows.
        unsafe { lua::lua_pushboolean(self.l, c_int::from(yes)) };
    }

    pub fn push_number(&mut self, n: f64) {
        // SAFETY: a live state; the stack grows.
        unsafe { lua::lua_pushnumber(self.l, n) };
    }

    pub fn push_bytes(&mut self, b: &[u8]) {
        // SAFETY: a live state; the stack grows.
        unsafe { push_bytes(self.l, b) };
    }

    pub fn push_null(&mut self) {
        // SAFETY: a live state; the stack grows.
        unsafe { lua::lua_pushlightuserdata(self.l, std::ptr::null_mut()) };
    }

    pub fn push_value(&mut self, at: i32) {
        // SAFETY: a place past the top is pushed as nil.
        unsafe { lua::lua_pushvalue(self.l, self.place(at)) };
    }

    pub fn push_native(&mut self, f: Native) {
        // SAFETY: as the others.
        unsafe { push_native(self.l, self.kept, f) };
    }

    /// Moves the top to `at`, and what stands there up.
    pub fn insert(&mut self, at: i32) {
        let at = self.place(at);
        assert!(at > 0 && at <= self.top());
        // SAFETY: a place on the stack.
        unsafe { lua::lua_insert(self.l, at) };
    }

    /// Pops the top into `at`.
    pub fn replace(&mut self, at: i32) {
        let at = self.place(at);
        assert!(at > 0 && at <= self.top());
        // SAFETY: a place on the stack.
        unsafe { lua::lua_replace(self.l, at) };
    }

    pub fn new_table(&mut self) {
        // SAFETY: a live state; the stack grows.
        unsafe { lua::lua_createtable(self.l, 0, 0) };
    }

    fn table(&self, at: i32) -> i32 {
        assert_eq!(self.kind(at), Kind::Table, "a raw access to something else");
        self.place(at)
    }

    /// Pops a key, pushes its value.
    pub fn raw_get(&mut self, at: i32) {
        let at = self.table(at);
        // SAFETY: a table.
        unsafe { lua::lua_rawget_(self.l, at) };
    }

    pub fn raw_get_i(&mut self, at: i32, i: i32) {
        let at = self.table(at);
        // SAFETY: a table.
        unsafe { lua::lua_rawgeti_(self.l, at, i) };
    }

    pub fn raw_get_name(&mut self, at: i32, name: &str) {
        let at = self.table(at);
        self.push_bytes(name.as_bytes());
        self.raw_get(at);
    }

    /// Pops a value and, under it, a key. The key must be neither nil nor NaN.
    pub fn raw_set(&mut self, at: i32) {
        let at = self.table(at);
        let good = match self.kind(-2) {
            Kind::Nil | Kind::None => false,
            Kind::Number => self.number(-2).is_some_and(|n| !n.is_nan()),
            _ => true,
        };
        assert!(good, "a key that no table takes");
        // SAFETY: a table and a key that it takes.
        unsafe { lua::lua_rawset(self.l, at) };
    }

    /// Pops a value.
    pub fn raw_set_i(&mut self, at: i32, i: i32) {
        let at = self.table(at);
        // SAFETY: a table.
        unsafe { lua::lua_rawseti_(self.l, at, i) };
    }

    /// Pops a value.
    pub fn raw_set_name(&mut self, at: i32, name: &str) {
        let at = self.table(at);
        self.push_bytes(name.as_bytes());
        self.insert(-2);
        self.raw_set(at);
    }

    /// Pops a key and pushes the next one with its value, unless it was the last.
    pub fn next(&mut self, at: i32) -> bool {
        let at = self.table(at);
        // SAFETY: a table; a key that is none of its own raises an error.
        unsafe { lua::lua_next(self.l, at) != 0 }
    }

    /// Length without metamethods.
    pub fn len(&self, at: i32) -> usize {
        // SAFETY: any place may be asked.
        unsafe { lua::lua_objlen(self.l, self.place(at)) }
    }

    /// Pushes the metatable, if there is one.
    pub fn metatable(&mut self, at: i32) -> bool {
        // SAFETY: any place may be asked.
        unsafe { lua::lua_getmetatable(self.l, self.place(at)) != 0 }
    }

    /// Pops a table (or nil) and makes it the metatable.
    pub fn set_metatable(&mut self, at: i32) {
        let at = self.place(at);
        assert!(matches!(self.kind(-1), Kind::Table | Kind::Nil));
        // SAFETY: checked above.
        unsafe { lua::lua_setmetatable(self.l, at) };
    }

    /// Calls the function under `n` arguments; false leaves the error on top.
    pub fn protected_call(&mut self, n: i32, results: Option<i32>) -> bool {
        assert!(n >= 0 && self.top() > n);
        let results = results.unwrap_or(lua::LUA_MULTRET);
        // SAFETY: function and arguments are there. Whatever is raised stops here.
        unsafe { lua::lua_pcall(self.l, n, results, 0) == 0 }
    }

    /// Pushes the compiled chunk, with the globals of scripts, or else the message.
    pub fn load(&mut self, code: &[u8], name: &CStr) -> bool {
        // SAFETY: one value is pushed in either case.
        unsafe { load(self.l, code, name) }
    }

    /// `next` of the interpreter, which its loops know.
    pub fn push_builtin_next(&mut self) {
        // SAFETY: pushes one value.
        unsafe { push_registered(self.l, NEXT) };
    }

    /// Bytes that Lua holds.
    pub fn memory(&self) -> usize {
        // SAFETY: a live state.
        unsafe { lua::lua_gc(self.l, lua::LUA_GCCOUNT, 0) as usize * 1024 }
    }

    /// What natives keep. Not to be called again inside.
    pub fn kept(&mut self) -> &mut Kept {
        // SAFETY: lives as long as the state; only the running native gets at it, by the one borrow of
        // its stack.
        unsafe { &mut *self.kept }
    }

    // ---- coroutines --------------------------------------------------------------------------

    /// A function that is written in Lua.
    pub fn is_lua_function(&self, at: i32) -> bool {
        // SAFETY: any place may be asked.
        self.kind(at) == Kind::Function && unsafe { lua::lua_iscfunction(self.l, self.place(at)) == 0 }
    }

    /// Pops a function and pushes a coroutine that will run it.
    pub fn new_coroutine(&mut self) {
        assert_eq!(self.kind(-1), Kind::Function);
        // SAFETY: a fresh state has room for the function that is copied there.
        unsafe {
            let co = lua::lua_newthread(self.l);
            lua::lua_pushvalue(self.l, -2);
            lua::lua_xmove(self.l, co, 1);
            lua::lua_replace(self.l, -2);
        }
    }

    /// Pops a value and pushes a native that finds it as its `push_bound`.
    pub fn push_native_with(&mut self, f: Native) {
        assert!(self.top() > 0);
        // SAFETY: as `push_native`, with the value as a third upvalue.
        unsafe {
            lua::lua_pushlightuserdata(self.l, f as *mut c_void);
            lua::lua_insert(self.l, -2);
            lua::lua_pushlightuserdata(self.l, self.kept.cast());
            lua::lua_insert(self.l, -2);
            lua::lua_pushcclosure(self.l, native, 3);
        }
    }

    /// The value that this native was made with; nil for others.
    pub fn push_bound(&mut self) {
        // SAFETY: an upvalue that is not there is none, which is pushed as nil.
        unsafe { lua::lua_pushvalue(self.l, lua::lua_upvalueindex(3)) };
    }

    /// Why the coroutine at `at` cannot be resumed.
    fn not_suspended(&self, co: *mut lua_State) -> Option<&'static str> {
        // SAFETY: a live state, since it is on the stack.
        unsafe {
            let mut frame: lua::lua_Debug = std::mem::zeroed();
            match lua::lua_status(co) {
                _ if co == self.l => Some("running"),
                lua::LUA_YIELD => None,
                lua::LUA_OK if lua::lua_getstack(co, 0, &mut frame) > 0 => Some("normal"),
                lua::LUA_OK if lua::lua_gettop(co) > 0 => None,
                _ => Some("dead"),
            }
        }
    }

    /// Resumes the coroutine at 1 with everything above it. What it returns or yields takes that place;
    /// or, for false, the error.
    pub fn resume(&mut self) -> bool {
        assert_eq!(self.kind(1), Kind::Thread);
        let n = self.top() - 1;
        // SAFETY: the coroutine stays at 1 all the time. Both stacks are asked for room before values
        // move; `resume` catches whatever is raised.
        unsafe {
            let co = lua::lua_tothread(self.l, 1);
            if let Some(why) = self.not_suspended(co) {
                self.set_top(1);
                self.push_bytes(format!("cannot resume {why} coroutine").as_bytes());
                return false;
            }
            if lua::lua_checkstack(co, n) == 0 {
                self.set_top(1);
                self.push_bytes(b"too many arguments to resume");
                return false;
            }
            lua::lua_xmove(self.l, co, n);
            let status = lua::lua_resume_(co, n);
            if status != lua::LUA_OK && status != lua::LUA_YIELD {
                lua::lua_xmove(co, self.l, 1);
                return false;
            }
            let n = lua::lua_gettop(co);
            if lua::lua_checkstack(self.l, n + 1) == 0 {
                lua::lua_settop(co, 0);
                self.push_bytes(b"too many results to resume");
                return false;
            }
            lua::lua_xmove(co, self.l, n);
            true
        }
    }

    // ---- arguments, refused as the auxiliary library does ------------------------------------

    pub fn wrong_kind(&self, at: i32, wanted: &str) -> Raise {
        Raise::Argument(at, format!("{wanted} expected, got {}", self.kind_name(at)).into_bytes())
    }

    pub fn check_number(&self, at: i32) -> Result<f64, Raise> {
        self.number(at).ok_or_else(|| self.wrong_kind(at, "number"))
    }

    /// As C casts it; what does not fit is the least integer.
    pub fn check_integer(&self, at: i32) -> Result<i64, Raise> {
        let n = self.check_number(at)?;
        Ok(if (-9.3e18..9.3e18).contains(&n) { n as i64 } else { i64::MIN })
    }

    pub fn check_bytes(&mut self, at: i32) -> Result<Vec<u8>, Raise> {
        match self.text(at) {
            Some(text) => Ok(text),
            None => Err(self.wrong_kind(at, "string")),
        }
    }

    pub fn check_table(&self, at: i32) -> Result<(), Raise> {
        if self.kind(at) == Kind::Table { Ok(()) } else { Err(self.wrong_kind(at, "table")) }
    }

    pub fn check_any(&self, at: i32) -> Result<(), Raise> {
        match self.kind(at) {
            Kind::None => Err(Raise::Argument(at, b"value expected".to_vec())),
            _ => Ok(()),
        }
    }
}

/// The C function behind every native: its upvalues are the function and what natives keep.
unsafe extern "C-unwind" fn native(l: *mut lua_State) -> c_int {
    // SAFETY: both upvalues were put there by `push_native`. When something is raised, its bytes have
    // become a Lua string and nothing is owned here any more.
    unsafe {
        let f = lua::lua_touserdata(l, lua::lua_upvalueindex(1));
        let f = std::mem::transmute::<*mut c_void, Native>(f);
        let kept = lua::lua_touserdata(l, lua::lua_upvalueindex(2)).cast::<Kept>();
        stop_if_too_deep(l, kept);
        match f(&mut Stack { l, kept }) {
            Ok(n) => n,
            Err(r) => {
                let argument = push_raised(l, r);
                if argument != NO_ARGUMENT {
                    let text = lua::lua_tostring(l, -1);
                    return lua::luaL_argerror(l, argument, text);
                }
                lua::lua_error(l)
            }
        }
    }
}

/// In the place of a C function of Lua's own, which is its first upvalue.
unsafe extern "C-unwind" fn watched(l: *mut lua_State) -> c_int {
    // SAFETY: both upvalues were put there by `watch`; the function finds its arguments where they are,
    // and nothing is owned here.
    unsafe {
        let f = lua::lua_touserdata(l, lua::lua_upvalueindex(1));
        let f = std::mem::transmute::<*mut c_void, lua::lua_CFunction>(f);
        stop_if_too_deep(l, lua::lua_touserdata(l, lua::lua_upvalueindex(2)).cast::<Kept>());
        f(l)
    }
}

/// Puts `watched` before functions that call back.
///
/// # Safety
/// A live state whose globals are an ordinary table, and what natives keep, which outlives it.
unsafe fn watch(l: *mut lua_State, kept: *mut Kept) {
    for (library, name) in CALL_BACK {
        // SAFETY: by contract; balanced.
        unsafe {
            lua::lua_getglobal_(l, library.as_ptr());
            lua::lua_getfield_(l, -1, name.as_ptr());
            let f = lua::lua_tocfunction(l, -1);
            debug_assert!(f.is_some(), "a plain C function");
            if let Some(f) = f {
                lua::lua_pushlightuserdata(l, f as *mut c_void);
                lua::lua_pushlightuserdata(l, kept.cast());
                lua::lua_pushcclosure(l, watched, 2);
                lua::lua_setfield(l, -3, name.as_ptr());
            }
            lua::lua_pop(l, 2);
        }
    }
}

const NO_ARGUMENT: c_int = c_int::MIN;

/// Pushes what is to be raised; for a bad argument the message alone, and its number is returned.
///
/// # Safety
/// A live state inside a callback.
unsafe fn push_raised(l: *mut lua_State, r: Raise) -> c_int {
    // SAFETY: by contract; one value is pushed.
    unsafe {
        match r {
            Raise::Top => {}
            Raise::Bare(text) => push_bytes(l, &text),
            Raise::Error(text) => push_error(l, &text, false),
            Raise::Argument(at, mut text) => {
                text.push(0);
                push_bytes(l, &text);
                return at;
            }
            Raise::Text(text) => {
                lua::luaL_where(l, 1);
                push_bytes(l, &text);
                lua::lua_concat(l, 2);
            }
        }
    }
    NO_ARGUMENT
}

/// # Safety
/// A live state, and what natives keep, which outlives it.
unsafe fn push_native(l: *mut lua_State, kept: *mut Kept, f: Native) {
    // SAFETY: by contract.
    unsafe {
        lua::lua_pushlightuserdata(l, f as *mut c_void);
        lua::lua_pushlightuserdata(l, kept.cast());
        lua::lua_pushcclosure(l, native, 2);
    }
}

/// # Safety
/// A live state.
unsafe fn push_registered(l: *mut lua_State, name: &CStr) {
    // SAFETY: the registry is a table without metatable.
    unsafe { lua::lua_getfield_(l, lua::LUA_REGISTRYINDEX, name.as_ptr()) };
}

/// Compiles text and takes the tail calls out; pushes the function or the message. Bytecode is refused.
///
/// # Safety
/// A live state.
unsafe fn load(l: *mut lua_State, code: &[u8], name: &CStr) -> bool {
    // SAFETY: one value is left on the stack in either case.
    unsafe {
        if code.first() == Some(&0x1b) {
            let name = name.to_bytes();
            let shown = name.strip_prefix(b"@").or(name.strip_prefix(b"=")).unwrap_or(name);
            push_bytes(l, &[shown, b":1: unexpected symbol near 'char(27)'"].concat());
            return false;
        }
        let first = lua::luaL_loadbuffer(l, code.as_ptr().cast(), code.len(), name.as_ptr());
        if first != 0 {
            return false;
        }
        let mut dump: Vec<u8> = Vec::new();
        let dumped = lua::lua_dump_(l, collect, (&raw mut dump).cast()) == 0;
        if let Some(code) = dumped.then(|| bytecode::without_tail_calls(&dump)).flatten() {
            let again = lua::luaL_loadbuffer(l, code.as_ptr().cast(), code.len(), name.as_ptr());
            debug_assert_eq!(again, 0, "what was dumped loads");
            // The new function takes the place of the first; a message goes.
            if again == 0 { lua::lua_replace(l, -2) } else { lua::lua_pop(l, 1) }
        }
        push_registered(l, GLOBALS);
        if lua::lua_type(l, -1) == lua::LUA_TTABLE {
            lua::lua_setfenv(l, -2);
        } else {
            lua::lua_pop(l, 1);
        }
        true
    }
}

unsafe extern "C-unwind" fn collect(
    _: *mut lua_State,
    p: *const c_void,
    n: usize,
    out: *mut c_void,
) -> c_int {
    // SAFETY: `load` passes its vector and no other pointer to it is used meanwhile.
    unsafe { (*out.cast::<Vec<u8>>()).extend_from_slice(slice::from_raw_parts(p.cast::<u8>(), n)) };
    0
}

// ---- the state ---------------------------------------------------------------------------------

pub struct Vm {
    l: *mut lua_State,
    kept: *mut Kept,
}

// SAFETY: the state belongs to its owner alone; the server, and with it the state, lives on one thread.
unsafe impl Send for Vm {}

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

type Library = &'static [(&'static str, Native)];

/// Tables of natives by name; what exists is added to.
const LIBRARIES: &[(&str, Library)] = &[
    ("redis", api::FUNCTIONS),
    ("cjson", cjson::FUNCTIONS),
    ("cmsgpack", cmsgpack::FUNCTIONS),
    ("struct", packing::FUNCTIONS),
    ("coroutine", coroutine::FUNCTIONS),
    ("math", random::FUNCTIONS),
    ("bit", sandbox::BIT),
    ("table", sandbox::TABLE),
    ("_G", sandbox::GLOBALS),
];

impl Vm {
    pub fn new() -> Vm {
        let stack_room = C_STACK.min(crate::sys::limits::stack() / 2);
        let kept = Box::into_raw(Box::new(Kept { stack_room, ..Kept::default() }));
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
            for text in [c"jit.off()", sandbox::REMOVED, PRELUDE] {
                let bytes = text.to_bytes();
                let r =
                    lua::luaL_loadbuffer(l, bytes.as_ptr().cast(), bytes.len(), c"@prelude".as_ptr());
                assert!(r == 0 && lua::lua_pcall(l, 0, 0, 0) == 0, "the prelude is sound");
            }
            lua::lua_getglobal_(l, c"next".as_ptr());
            lua::lua_setfield(l, lua::LUA_REGISTRYINDEX, NEXT.as_ptr());
            let vm = Vm { l, kept };
            vm.add_natives();
            watch(l, kept);
            let mut stack = Stack { l, kept };
            lua::lua_pushvalue(l, lua::LUA_GLOBALSINDEX);
            api::constants(&mut stack);
            sandbox::protect(&mut stack);
            lua::lua_setfield(l, lua::LUA_REGISTRYINDEX, REAL_GLOBALS.as_ptr());
            lua::lua_pushvalue(l, lua::LUA_GLOBALSINDEX);
            lua::lua_setfield(l, lua::LUA_REGISTRYINDEX, GLOBALS.as_ptr());
            lua::lua_getglobal_(l, c"__redis__err__handler".as_ptr());
            lua::lua_setfield(l, lua::LUA_REGISTRYINDEX, HANDLER.as_ptr());
            lua::lua_settop(l, 0);
            lua::lua_gc(l, lua::LUA_GCCOLLECT, 0);
            vm
        }
    }

    fn add_natives(&self) {
        let l = self.l;
        // SAFETY: a live state; balanced. The globals are still an ordinary table.
        unsafe {
            for (library, functions) in LIBRARIES {
                push_bytes(l, library.as_bytes());
                lua::lua_rawget_(l, lua::LUA_GLOBALSINDEX);
                if lua::lua_type(l, -1) != lua::LUA_TTABLE {
                    lua::lua_pop(l, 1);
                    lua::lua_createtable(l, 0, 0);
                    push_bytes(l, library.as_bytes());
                    lua::lua_pushvalue(l, -2);
                    lua::lua_rawset(l, lua::LUA_GLOBALSINDEX);
                }
                for (name, f) in *functions {
                    push_bytes(l, name.as_bytes());
                    push_native(l, self.kept, *f);
                    lua::lua_rawset(l, -3);
                }
                if *library == "redis" {
                    for (name, f) in
                        [(c"call", redis_call as lua::lua_CFunction), (c"pcall", redis_pcall)]
                    {
                        lua::lua_pushcfunction(l, f);
                        lua::lua_setfield(l, -2, name.as_ptr());
                    }
                }
                lua::lua_pop(l, 1);
            }
        }
    }

    /// A handle to the same state, for the time the server is lent.
    pub fn alias(&self) -> Vm {
        Vm { l: self.l, kept: self.kept }
    }

    /// Bytes that Lua holds.
    pub fn memory(&self) -> usize {
        // SAFETY: a live state.
        unsafe { (lua::lua_gc(self.l, lua::LUA_GCCOUNT, 0) as usize) * 1024 }
    }

    /// Compiles a script and keeps it under its name.
    pub fn compile(&self, name: &super::Sha, body: &[u8]) -> Result<(), Vec<u8>> {
        let l = self.l;
        // SAFETY: a live state; the stack is as it was afterwards.
        unsafe {
            if !load(l, body, c"@user_script") {
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
            push_bytes(self.l, name);
            lua::lua_pushnil(self.l);
            lua::lua_rawset(self.l, lua::LUA_REGISTRYINDEX);
        }
    }

    /// Runs a compiled script; its value is written to `out` by `how`. The server must be lent.
    pub fn run(
        &self,
        name: &super::Sha,
        keys: &[&[u8]],
        argv: &[&[u8]],
        out: &mut Reply,
        script_resp: impl FnOnce() -> u8,
    ) -> Result<(), Failure> {
        let l = self.l;
        // SAFETY: a live state; `settop` at the end restores the stack whatever happened. The error
        // value is read before it is popped. `pcall` catches every Lua error, so none crosses this
        // frame.
        unsafe {
            let top = lua::lua_gettop(l);
            (*self.kept).stack_end = stack_here().saturating_sub((*self.kept).stack_room);
            // A script before may have given its thread other globals.
            push_registered(l, GLOBALS);
            lua::lua_replace(l, lua::LUA_GLOBALSINDEX);
            push_registered(l, HANDLER);
            push_bytes(l, name);
            lua::lua_rawget_(l, lua::LUA_REGISTRYINDEX);
            debug_assert_eq!(lua::lua_type(l, -1), lua::LUA_TFUNCTION, "compiled before it runs");
            push_registered(l, REAL_GLOBALS);
            for (global, values) in [(&b"KEYS"[..], keys), (b"ARGV", argv)] {
                push_bytes(l, global);
                lua::lua_createtable(l, values.len() as c_int, 0);
                for (i, v) in values.iter().enumerate() {
                    push_bytes(l, v);
                    lua::lua_rawseti_(l, -2, (i + 1) as _);
                }
                lua::lua_rawset(l, -3);
            }
            lua::lua_pop(l, 1);
            lua::lua_sethook(l, Some(hook), lua::LUA_MASKCOUNT, HOOK_EVERY);
            let status = lua::lua_pcall(l, 0, 1, top + 1);
            lua::lua_sethook(l, None, 0, 0);
            let result = if status == 0 {
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
    fn collect_some(&self) {
        // SAFETY: no script runs, so nobody else is at what natives keep.
        unsafe {
            let n = &mut (*self.kept).scripts_run;
            *n = n.wrapping_add(1);
            if n.is_multiple_of(GC_PERIOD) {
                lua::lua_gc(self.l, lua::LUA_GCSTEP, GC_PERIOD as c_int);
            }
        }
    }

    /// Gives the state back. Every alias is dead afterwards.
    pub fn close(self) {
        // SAFETY: the owner closes, once; natives are gone with the state.
        unsafe {
            lua::lua_close(self.l);
            drop(Box::from_raw(self.kept));
        }
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

/// A field of the table at the top, as text when it is a string or a number.
///
/// # Safety
/// A live state with a table at the top.
unsafe fn field(l: *mut lua_State, name: &CStr) -> Option<Vec<u8>> {
    // SAFETY: balanced; a raw access cannot fail.
    unsafe {
        lua::lua_pushstring(l, name.as_ptr());
        lua::lua_rawget_(l, -2);
        let text = text_at(l, -1);
        lua::lua_pop(l, 1);
        text
    }
}

/// # Safety
/// A live state with a table at the top.
unsafe fn flagged(l: *mut lua_State, name: &CStr) -> bool {
    // SAFETY: balanced; a raw access cannot fail.
    unsafe {
        lua::lua_pushstring(l, name.as_ptr());
        lua::lua_rawget_(l, -2);
        let yes = lua::lua_type(l, -1) == lua::LUA_TBOOLEAN && lua::lua_toboolean(l, -1) != 0;
        lua::lua_pop(l, 1);
        yes
    }
}

/// # Safety
/// A live state with the error value at the top.
unsafe fn failure(l: *mut lua_State) -> Failure {
    // SAFETY: by contract.
    unsafe {
        if lua::lua_type(l, -1) != lua::LUA_TTABLE {
            let message = text_at(l, -1).unwrap_or_else(|| b"execution failure".to_vec());
            return Failure { message, place: None, counted: false, raw: true };
        }
        Failure {
            message: field(l, c"err").unwrap_or_else(|| b"ERR unknown error".to_vec()),
            place: field(l, c"source").zip(field(l, c"line")),
            counted: flagged(l, c"ignore_error_stats_update"),
            raw: false,
        }
    }
}

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
/// A live state.
unsafe fn push_error(l: *mut lua_State, text: &[u8], counted: bool) {
    // SAFETY: balanced but for the table.
    unsafe {
        lua::lua_createtable(l, 0, 2);
        push_bytes(l, &error_text(text));
        lua::lua_setfield(l, -2, c"err".as_ptr());
        if counted {
            lua::lua_pushboolean(l, 1);
            lua::lua_setfield(l, -2, c"ignore_error_stats_update".as_ptr());
        }
    }
}

impl Stack {
    /// A table with the field `err`.
    pub fn push_error(&mut self, text: &[u8]) {
        // SAFETY: a live state.
        unsafe { push_error(self.l, text, false) };
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
            push_error(l, b"Please specify at least one argument for this redis lib call", false);
            return false;
        }
        let mut args: Vec<&[u8]> = Vec::with_capacity(n as usize);
        for i in 1..=n {
            let kind = lua::lua_type(l, i);
            if kind != lua::LUA_TSTRING && kind != lua::LUA_TNUMBER {
                drop(args);
                let why = b"Lua redis lib command arguments must be strings or integers";
                push_error(l, why, false);
                return false;
            }
            if kind == lua::LUA_TNUMBER {
                push_argument(l, lua::lua_tonumber(l, i));
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
            Err(text) => {
                push_error(l, &text, true);
                false
            }
        }
    }
}

unsafe extern "C-unwind" fn hook(l: *mut lua_State, _: *mut lua::lua_Debug) {
    let killed = crate::server::lend::with_lent(run::slow);
    if killed {
        // SAFETY: Lua calls with a live state; nothing is owned here.
        unsafe {
            // A script must not go on by catching the error: every further line raises it again.
            lua::lua_sethook(l, Some(hook), lua::LUA_MASKLINE, 0);
            push_error(l, b"Script killed by user with SCRIPT KILL...", false);
            lua::lua_error(l);
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
                lua::lua_createtable(l, 0, 1);
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
        lua::lua_createtable(l, c_int::try_from(n.min(b.len())).unwrap_or(0), 0);
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
        lua::lua_createtable(l, 0, 1);
        lua::lua_createtable(l, 0, c_int::try_from(n.min(b.len())).unwrap_or(0));
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
        lua::lua_createtable(l, 0, 1);
        lua::lua_createtable(l, 0, 2);
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
        lua::lua_createtable(l, 0, 1);
        push_bytes(l, text);
        lua::lua_setfield(l, -2, name.as_ptr());
    }
}

// ---- values to replies -------------------------------------------------------------------------

/// Writes the value at the top as a reply, and pops it. `resp` is what the script has chosen.
///
/// # Safety
/// A live state with a value at the top.
unsafe fn reply_value(l: *mut lua_State, out: &mut Reply, resp: u8) {
    // SAFETY: by contract; every branch pops what it pushed.
    unsafe {
        if lua::lua_checkstack(l, 8) == 0 {
            out.error("ERR reached lua stack limit");
            lua::lua_pop(l, 1);
            return;
        }
        match lua::lua_type(l, -1) {
            lua::LUA_TSTRING => {
                let mut len = 0;
                let p = lua::lua_tolstring(l, -1, &mut len);
                out.bulk(slice::from_raw_parts(p.cast::<u8>(), len));
            }
            lua::LUA_TBOOLEAN => match (resp, lua::lua_toboolean(l, -1) != 0) {
                (2, true) => out.int(1),
                (2, false) => out.null(),
                (_, yes) => out.bool(yes),
            },
            lua::LUA_TNUMBER => {
                // What does not fit comes out as the processor converts it.
                let n = lua::lua_tonumber(l, -1);
                out.int(if n < TOO_BIG { n as i64 } else { i64::MIN });
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

/// A string field of the table at the top.
///
/// # Safety
/// A live state with a table at the top.
unsafe fn string_field(l: *mut lua_State, name: &CStr) -> Option<Vec<u8>> {
    // SAFETY: balanced; a raw access cannot fail.
    unsafe {
        lua::lua_pushstring(l, name.as_ptr());
        lua::lua_rawget_(l, -2);
        let text = if lua::lua_type(l, -1) == lua::LUA_TSTRING { text_at(l, -1) } else { None };
        lua::lua_pop(l, 1);
        text
    }
}

/// Up to the first NUL, line ends as spaces: as C strings go into replies.
fn one_line(text: &[u8]) -> Vec<u8> {
    let end = memchr::memchr(0, text).unwrap_or(text.len());
    text[..end].iter().map(|b| if matches!(b, b'\r' | b'\n') { b' ' } else { *b }).collect()
}

/// Replies with a table that says what it is; false when it does not.
///
/// # Safety
/// A live state with a table at the top and room for values.
unsafe fn reply_typed(l: *mut lua_State, out: &mut Reply, resp: u8) -> bool {
    // SAFETY: by contract; balanced.
    unsafe {
        if let Some(text) = string_field(l, c"err") {
            let text = one_line(&text);
            if flagged(l, c"ignore_error_stats_update") {
                out.counted_error(&text);
            } else {
                out.error_bytes(&text);
            }
            return true;
        }
        if let Some(text) = string_field(l, c"ok") {
            out.raw(b"+");
            out.raw(&one_line(&text));
            out.raw(b"\r\n");
            return true;
        }
        lua::lua_pushstring(l, c"double".as_ptr());
        lua::lua_rawget_(l, -2);
        let double = (lua::lua_type(l, -1) == lua::LUA_TNUMBER).then(|| lua::lua_tonumber(l, -1));
        lua::lua_pop(l, 1);
        if let Some(n) = double {
            out.double_text(&num::F64Text::new(n));
            return true;
        }
        if let Some(digits) = string_field(l, c"big_number") {
            let clean: Vec<u8> =
                digits.iter().map(|b| if matches!(b, b'\r' | b'\n') { b' ' } else { *b }).collect();
            out.big_number(&clean);
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
        lua::lua_pushstring(l, c"verbatim_string".as_ptr());
        lua::lua_rawget_(l, -2);
        let mut found = None;
        if lua::lua_type(l, -1) == lua::LUA_TTABLE {
            found = string_field(l, c"format").zip(string_field(l, c"string"));
        }
        lua::lua_pop(l, 1);
        let Some((format, text)) = found else { return false };
        // Three letters, whatever the script gave.
        let mut ext: Vec<u8> = one_line(&format);
        ext.resize(3, b' ');
        out.verbatim(&String::from_utf8_lossy(&ext), &text);
        true
    }
}

/// # Safety
/// As `reply_typed`.
unsafe fn reply_pairs(l: *mut lua_State, out: &mut Reply, resp: u8, name: &CStr) -> bool {
    // SAFETY: by contract; balanced. The iteration changes nothing in the table.
    unsafe {
        lua::lua_pushstring(l, name.as_ptr());
        lua::lua_rawget_(l, -2);
        if lua::lua_type(l, -1) != lua::LUA_TTABLE {
            lua::lua_pop(l, 1);
            return false;
        }
        let (mark, mut n, map) = (out.defer(), 0, name == c"map");
        lua::lua_pushnil(l);
        while lua::lua_next(l, -2) != 0 {
            if !map {
                lua::lua_pop(l, 1);
            }
            // The key is copied: what replies pops it. For a map the value stands above it.
            lua::lua_pushvalue(l, if map { -2 } else { -1 });
            reply_value(l, out, resp);
            if map {
                reply_value(l, out, resp);
            }
            n += 1;
        }
        if map {
            out.set_map(mark, n)
        } else {
            out.set_set(mark, n)
        }
        lua::lua_pop(l, 1);
        true
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
