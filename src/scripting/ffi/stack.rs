//! The stack of a native as safe code sees it. Every method checks what Lua itself only asserts in debug
//! builds: places, kinds, room. What a native asks wrongly is a bug and panics.

use super::{
    Compiled, LuaHost, Native, Raise, bytes_at, lua_each, lua_getreadonly, lua_setreadonly, push_bytes,
    push_native, redis_call, redis_pcall,
};
use mlua_sys as lua;
use mlua_sys::lua_State;
use std::ffi::c_int;
use std::ptr;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum LuaType {
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
    kept: *mut LuaHost,
    /// There is room up to this top.
    limit: c_int,
}

/// A number as C casts it to an int; what does not fit, and NaN, is the least one.
pub fn cast_int(n: f64) -> i32 {
    if n < 2_147_483_648.0 { n as i32 } else { i32::MIN }
}

/// A number as C casts it to a long; what does not fit, and NaN, is the least one.
pub fn cast_long(n: f64) -> i64 {
    if n < 9_223_372_036_854_775_808.0 { n as i64 } else { i64::MIN }
}

/// Where a walk over a table stands.
#[derive(Default)]
pub struct Cursor(c_int);

impl Stack {
    /// # Safety
    /// A live state, and what it keeps, inside `natively`, with room for LUA_MINSTACK values. The stack
    /// is not used when that has returned.
    pub(super) unsafe fn new(l: *mut lua_State, kept: *mut LuaHost) -> Stack {
        // SAFETY: by contract.
        let top = unsafe { lua::lua_gettop(l) };
        Stack { l, kept, limit: top + lua::LUA_MINSTACK }
    }

    pub fn top(&self) -> i32 {
        // SAFETY: a live state.
        unsafe { lua::lua_gettop(self.l) }
    }

    /// `at` as an index from the bottom. 0, which is no index, becomes one past the top.
    fn place(&self, at: i32) -> i32 {
        let top = self.top();
        match at {
            0 => top + 1,
            1.. => at.min(top + 1),
            _ => {
                assert!(top + 1 + at > 0, "an index below the stack");
                top + 1 + at
            }
        }
    }

    /// The place of a value that is there.
    fn taken(&self, at: i32) -> i32 {
        let place = self.place(at);
        assert!(place <= self.top(), "an index above the stack");
        place
    }

    pub fn set_top(&mut self, n: i32) {
        assert!(n >= 0);
        let more = n - self.top();
        assert!(more <= 0 || self.room(more), "a native asks for room before it pushes many values");
        // SAFETY: not below the bottom, and not above what there is room for; Lua fills up with nil.
        unsafe { lua::lua_settop(self.l, n) };
    }

    pub fn pop(&mut self, n: i32) {
        assert!(n >= 0);
        let left = self.top() - n;
        self.set_top(left);
    }

    /// Is there room for `n` more values?
    pub fn room(&mut self, n: i32) -> bool {
        let top = self.top();
        if top + n <= self.limit {
            return true;
        }
        // SAFETY: a live state; a stack past its limits is not grown.
        let room = unsafe { lua::lua_checkstack(self.l, n) != 0 };
        if room {
            self.limit = top + n;
        }
        room
    }

    /// A few values can always be pushed; natives that push many ask before.
    fn push(&mut self) {
        assert!(self.room(1), "a native asks for room before it pushes many values");
    }

    pub fn kind(&self, at: i32) -> LuaType {
        // SAFETY: a place up to one past the top, which is "none".
        match unsafe { lua::lua_type(self.l, self.place(at)) } {
            lua::LUA_TNIL => LuaType::Nil,
            lua::LUA_TBOOLEAN => LuaType::Bool,
            lua::LUA_TLIGHTUSERDATA => LuaType::Light,
            lua::LUA_TNUMBER => LuaType::Number,
            lua::LUA_TSTRING => LuaType::String,
            lua::LUA_TTABLE => LuaType::Table,
            lua::LUA_TFUNCTION => LuaType::Function,
            lua::LUA_TUSERDATA => LuaType::Userdata,
            lua::LUA_TTHREAD => LuaType::Thread,
            _ => LuaType::None,
        }
    }

    pub fn kind_name(&self, at: i32) -> &'static str {
        match self.kind(at) {
            LuaType::None => "no value",
            LuaType::Nil => "nil",
            LuaType::Bool => "boolean",
            LuaType::Light | LuaType::Userdata => "userdata",
            LuaType::Number => "number",
            LuaType::String => "string",
            LuaType::Table => "table",
            LuaType::Function => "function",
            LuaType::Thread => "thread",
        }
    }

    pub fn boolean(&self, at: i32) -> bool {
        // SAFETY: as `kind`.
        unsafe { lua::lua_toboolean(self.l, self.place(at)) != 0 }
    }

    /// A number, or a string that reads as one.
    pub fn number(&self, at: i32) -> Option<f64> {
        let at = self.place(at);
        // SAFETY: as `kind`; the value is not changed.
        unsafe { (lua::lua_isnumber(self.l, at) != 0).then(|| lua::lua_tonumber(self.l, at)) }
    }

    /// The bytes of a string; nothing for other values.
    pub fn bytes(&self, at: i32) -> &[u8] {
        if self.kind(at) != LuaType::String {
            return &[];
        }
        // SAFETY: a string, so nothing is converted. Its bytes stay while it is on the stack, which
        // cannot change while `self` is borrowed.
        unsafe { bytes_at(self.l, self.place(at)).unwrap_or_default() }
    }

    /// The text of a string or a number.
    pub fn text(&mut self, at: i32) -> Option<Vec<u8>> {
        match self.kind(at) {
            LuaType::String => Some(self.bytes(at).to_vec()),
            LuaType::Number => {
                // Converted as a copy: a key must not change under `next`.
                self.push_value(at);
                // SAFETY: the copy is on top.
                let text = unsafe { bytes_at(self.l, -1) }.map(<[u8]>::to_vec);
                self.pop(1);
                text
            }
            _ => None,
        }
    }

    /// Is it the null that `push_null` pushes?
    pub fn is_null(&self, at: i32) -> bool {
        // SAFETY: as `kind`.
        self.kind(at) == LuaType::Light
            && unsafe { lua::lua_touserdata(self.l, self.place(at)).is_null() }
    }

    pub fn push_nil(&mut self) {
        self.push();
        // SAFETY: there is room.
        unsafe { lua::lua_pushnil(self.l) };
    }

    pub fn push_bool(&mut self, yes: bool) {
        self.push();
        // SAFETY: there is room.
        unsafe { lua::lua_pushboolean(self.l, c_int::from(yes)) };
    }

    pub fn push_number(&mut self, n: f64) {
        self.push();
        // SAFETY: there is room.
        unsafe { lua::lua_pushnumber(self.l, n) };
    }

    pub fn push_bytes(&mut self, b: &[u8]) {
        self.push();
        // SAFETY: there is room.
        unsafe { push_bytes(self.l, b) };
    }

    pub fn push_null(&mut self) {
        self.push();
        // SAFETY: there is room.
        unsafe { lua::lua_pushlightuserdata(self.l, ptr::null_mut()) };
    }

    pub fn push_value(&mut self, at: i32) {
        let at = self.taken(at);
        self.push();
        // SAFETY: there is a value and room.
        unsafe { lua::lua_pushvalue(self.l, at) };
    }

    pub fn push_native(&mut self, f: Native) {
        self.push();
        // SAFETY: there is room.
        unsafe { push_native(self.l, f) };
    }

    /// Pushes `redis.call`, or else `redis.pcall`.
    pub fn push_redis_call(&mut self, raises: bool) {
        self.push();
        // SAFETY: there is room.
        unsafe { lua::lua_pushcclosure(self.l, if raises { redis_call } else { redis_pcall }, 0) };
    }

    /// Pushes an error as scripts see it: a table with the field `err`.
    pub fn push_error(&mut self, text: &[u8]) {
        assert!(self.room(3), "an error is pushed with room to spare");
        // SAFETY: there is room.
        unsafe { super::replies::push_error(self.l, text, false) };
    }

    /// Moves the top to `at`, and what stands there up.
    pub fn insert(&mut self, at: i32) {
        let at = self.taken(at);
        // SAFETY: a place on the stack.
        unsafe { lua::lua_insert(self.l, at) };
    }

    /// Pops the top, and puts it to `at`.
    pub fn replace(&mut self, at: i32) {
        let at = self.taken(at);
        // SAFETY: a place on the stack.
        unsafe { lua::lua_replace(self.l, at) };
    }

    pub fn new_table(&mut self) {
        self.new_table_for(0);
    }

    /// A table with room for `n` names.
    pub fn new_table_for(&mut self, n: usize) {
        self.push();
        // SAFETY: there is room.
        unsafe { lua::lua_createtable(self.l, 0, c_int::try_from(n).unwrap_or(0)) };
    }

    fn table(&self, at: i32) -> i32 {
        assert_eq!(self.kind(at), LuaType::Table, "a raw access to something else");
        self.place(at)
    }

    /// A table that takes changes: one of the native's own.
    fn own_table(&self, at: i32) -> i32 {
        assert!(!self.is_read_only(at), "a change of a table that is read-only");
        self.place(at)
    }

    /// Pops a key, pushes its value.
    pub fn raw_get(&mut self, at: i32) {
        let at = self.table(at);
        // SAFETY: a table; the key is on top.
        unsafe { lua::lua_rawget_(self.l, at) };
    }

    pub fn raw_get_i(&mut self, at: i32, i: i32) {
        let at = self.table(at);
        self.push();
        // SAFETY: a table, and room.
        unsafe { lua::lua_rawgeti_(self.l, at, i) };
    }

    pub fn raw_get_name(&mut self, at: i32, name: &str) {
        let at = self.table(at);
        self.push_bytes(name.as_bytes());
        self.raw_get(at);
    }

    /// Pops a value and, under it, a key. The key must be neither nil nor NaN.
    pub fn raw_set(&mut self, at: i32) {
        let at = self.own_table(at);
        let good = match self.kind(-2) {
            LuaType::Nil | LuaType::None => false,
            LuaType::Number => self.number(-2).is_some_and(|n| !n.is_nan()),
            _ => true,
        };
        assert!(good, "a key that no table takes");
        // SAFETY: a table and a key that it takes.
        unsafe { lua::lua_rawset(self.l, at) };
    }

    /// Pops a value.
    pub fn raw_set_i(&mut self, at: i32, i: i32) {
        let at = self.own_table(at);
        assert!(at < self.top(), "a value above the table");
        // SAFETY: a table and a value.
        unsafe { lua::lua_rawseti_(self.l, at, i) };
    }

    /// Pops a value.
    pub fn raw_set_name(&mut self, at: i32, name: &str) {
        let at = self.own_table(at);
        self.push_bytes(name.as_bytes());
        self.insert(-2);
        self.raw_set(at);
    }

    /// Pushes the next key of a table and its value, in the order of `next` in Lua; false when there are
    /// no more.
    pub fn each(&mut self, at: i32, cursor: &mut Cursor) -> bool {
        let at = self.table(at);
        assert!(self.room(2), "a native asks for room before it pushes many values");
        // SAFETY: a table, and room for two values; any cursor will do.
        unsafe { lua_each(self.l, at, &mut cursor.0) != 0 }
    }

    /// Pushes the metatable, if there is one.
    pub fn push_metatable(&mut self, at: i32) -> bool {
        let at = self.taken(at);
        self.push();
        // SAFETY: there is a value and room.
        unsafe { lua::lua_getmetatable(self.l, at) != 0 }
    }

    /// Pops a table and makes it the metatable of another one.
    pub fn set_metatable(&mut self, at: i32) {
        let at = self.own_table(at);
        assert_eq!(self.kind(-1), LuaType::Table, "a metatable is a table");
        // SAFETY: a table that takes changes, and another one on top.
        unsafe { lua::lua_setmetatable(self.l, at) };
    }

    pub fn is_read_only(&self, at: i32) -> bool {
        let at = self.table(at);
        // SAFETY: a table.
        unsafe { lua_getreadonly(self.l, at) != 0 }
    }

    /// No script can change the table any more.
    pub fn set_read_only(&mut self, at: i32) {
        let at = self.table(at);
        // SAFETY: a table.
        unsafe { lua_setreadonly(self.l, at, 1) };
    }

    /// Pops a value and keeps it, until the owner of the state forgets it.
    pub fn keep(&mut self) -> Compiled {
        assert!(self.top() > 0, "a value to be kept");
        // SAFETY: a value is on top; the registry takes changes.
        Compiled::at(unsafe { lua::luaL_ref(self.l, lua::LUA_REGISTRYINDEX) })
    }

    /// A value as the debugger shows it.
    pub fn described(&mut self, at: i32) -> Vec<u8> {
        let at = self.taken(at);
        let mut out = Vec::new();
        // SAFETY: there is a value; room for more is asked for.
        unsafe { super::debug::push_value(&mut out, self.l, at, 0) };
        out
    }

    /// What natives keep.
    pub fn kept(&mut self) -> &mut LuaHost {
        // SAFETY: lives as long as the state; only the running native gets at it, by the one borrow of
        // its stack.
        unsafe { &mut *self.kept }
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
        self.check_number(at).map(cast_long)
    }

    pub fn check_bytes(&mut self, at: i32) -> Result<Vec<u8>, Raise> {
        match self.text(at) {
            Some(text) => Ok(text),
            None => Err(self.wrong_kind(at, "string")),
        }
    }
}
