//! The globals of scripts: what they find there, and that none of it can be changed.
//!
//! Tables that scripts share are read-only in the interpreter itself (build.rs); a global that does not
//! exist is an error.

use super::ffi::{Cursor, Library, LuaType, Native, Raise, Stack};
use super::{bit, cjson, cmsgpack, packing, random};

/// What the base library has and scripts do not.
const REMOVED: [&[u8]; 3] = [b"dofile", b"loadfile", b"print"];

/// What stands in a table of a library. The order is that of upstream: `pairs` shows it.
pub enum LibraryItem {
    Native(Native),
    Number(f64),
    Text(&'static str),
    Null,
    /// `redis.call` and `redis.pcall`
    Call,
    PCall,
}

/// Tables by name. Some are made with room for their functions, some grow: that, too, shows in `pairs`.
const LIBRARIES: [(&str, bool, Library); 4] = [
    ("cjson", false, cjson::LIBRARY),
    ("struct", true, packing::LIBRARY),
    ("cmsgpack", false, cmsgpack::LIBRARY),
    ("bit", true, bit::LIBRARY),
];

/// Keeps what scripts shall not have out of the globals, which are on top, until they are protected.
pub fn admit_some(s: &mut Stack) {
    s.new_table();
    s.push_native(admit);
    s.raw_set_name(-2, "__newindex");
    s.set_metatable(-2);
}

/// `__newindex` of the globals while the libraries enter.
fn admit(s: &mut Stack) -> Result<i32, Raise> {
    if !REMOVED.contains(&s.bytes(2)) {
        s.raw_set(1);
    }
    Ok(0)
}

/// Adds the libraries to the globals, which are on top; `redis` is the table of that name, in parts.
pub fn fill(s: &mut Stack, redis: &[Library]) {
    for (name, sized, library) in LIBRARIES {
        s.new_table_for(if sized { library.len() } else { 0 });
        put(s, library);
        s.raw_set_name(-2, name);
    }
    s.new_table();
    redis.iter().for_each(|part| put(s, part));
    s.raw_set_name(-2, "redis");
    s.raw_get_name(-1, "math");
    put(s, random::LIBRARY);
    s.pop(1);
}

/// Adds a library to the table on top.
pub fn put(s: &mut Stack, library: Library) {
    for (name, item) in library {
        match item {
            LibraryItem::Native(f) => s.push_native(*f),
            LibraryItem::Number(n) => s.push_number(*n),
            LibraryItem::Text(text) => s.push_bytes(text.as_bytes()),
            LibraryItem::Null => s.push_null(),
            LibraryItem::Call => s.push_redis_call(true),
            LibraryItem::PCall => s.push_redis_call(false),
        }
        s.raw_set_name(-2, name);
    }
}

/// Makes the globals, which are on top, and all that is reached from them read-only; a name that they
/// do not have becomes an error. So does the metatable of strings, which no global leads to.
pub fn protect(s: &mut Stack) {
    refuse_missing(s);
    lock(s);
    s.push_bytes(b"");
    let there = s.push_metatable(-1);
    debug_assert!(there, "strings have a metatable");
    lock(s);
    s.pop(2);
}

/// Pushes the globals of a library that is being loaded: the table `redis` alone.
pub fn push_loading(s: &mut Stack, redis: Library) {
    s.new_table();
    s.new_table();
    put(s, redis);
    refuse_missing(s);
    s.raw_set_name(-2, "redis");
    refuse_missing(s);
    lock(s);
}

/// Lets a name that the table on top does not have be an error.
fn refuse_missing(s: &mut Stack) {
    s.new_table();
    s.push_native(missing);
    s.raw_set_name(-2, "__index");
    s.set_metatable(-2);
}

/// The table on top, the tables in it, and their metatables.
fn lock(s: &mut Stack) {
    if s.is_read_only(-1) {
        return;
    }
    s.set_read_only(-1);
    assert!(s.room(4), "libraries are not deep");
    let mut cursor = Cursor::default();
    while s.each(-1, &mut cursor) {
        if s.kind(-1) == LuaType::Table {
            lock(s);
        }
        s.pop(2);
    }
    if s.push_metatable(-1) {
        lock(s);
        s.pop(1);
    }
}

/// `__index` of the globals.
fn missing(s: &mut Stack) -> Result<i32, Raise> {
    if s.top() != 2 {
        return Err(Raise::text("Wrong number of arguments to luaProtectedTableError"));
    }
    match s.text(-1) {
        None => {
            let why = "Second argument to luaProtectedTableError must be a string or number";
            Err(Raise::text(why))
        }
        Some(name) => {
            let end = name.iter().position(|b| *b == 0).unwrap_or(name.len());
            let why = b"Script attempted to access nonexistent global variable '";
            Err(Raise::Text([&why[..], &name[..end], b"'"].concat()))
        }
    }
}
