//! What scripts may change: their own tables, and nothing that other scripts see.
//!
//! LuaJIT has no read-only tables, so a protected one is an empty table whose metatable leads to the
//! real one:
//!
//! ```text
//! redis ─► {} ─ metatable: __index ─► real table { call = .. }
//!                          __newindex ─► "Attempt to modify a readonly table"
//!                          "real" ─► the real table, for the builtins below
//! ```
//!
//! Assignments reach `__newindex`, since the table is empty. What would go around it (rawset,
//! setmetatable, table.insert ...) is replaced by functions that look for the mark, and what would show
//! the emptiness (next, pairs, rawget) by such that look through. `getmetatable` gives out a protected
//! copy where upstream gives out the metatable itself.
//!
//! The real globals have a metatable, too: a name that does not exist is an error.

use super::ffi::{Kind, Native, Raise, Stack};
use std::ffi::{CStr, CString};

pub const BIT: &[(&str, Native)] = &[("tohex", tohex)];

/// Leads from the metatable of a protected table to the real one.
const REAL: &str = "real";
/// Leads from a metatable to what `getmetatable` shows of it.
const SHOWN: &str = "shown";

/// Run before anything is protected: what 5.1 does not have goes, what it has comes.
pub const REMOVED: &CStr = cr#"
loadfile, dofile, print, jit, package, require, module = nil, nil, nil, nil, nil, nil, nil
coroutine.isyieldable, table.move = nil, nil
math.mod, string.gfind = math.fmod, string.gmatch
"#;

pub const GLOBALS: &[(&str, Native)] = &[
    ("gcinfo", gcinfo),
    ("getmetatable", getmetatable),
    ("load", load),
    ("loadstring", loadstring),
    ("next", next),
    ("pairs", pairs),
    ("pcall", pcall),
    ("rawget", rawget),
    ("rawset", rawset),
    ("setmetatable", setmetatable),
];

pub const TABLE: &[(&str, Native)] = &[("insert", insert), ("remove", remove), ("setn", setn)];

const READ_ONLY: &[u8] = b"Attempt to modify a readonly table";
/// Libraries that scripts see.
const LIBRARIES: [&str; 9] =
    ["bit", "cjson", "cmsgpack", "coroutine", "math", "redis", "string", "struct", "table"];

// ---- protecting --------------------------------------------------------------------------------

/// Protects the libraries and the globals, which are on top; leaves the real globals there.
pub fn protect(s: &mut Stack) {
    let globals = s.top();
    for name in LIBRARIES {
        s.raw_get_name(globals, name);
        hide(s);
        s.pop(2);
    }
    // Methods of strings go to the real library at once.
    s.push_bytes(b"");
    let there = s.metatable(-1);
    debug_assert!(there, "strings have a metatable");
    s.raw_get_name(globals, "string");
    show_copy(s, "__index");
    s.raw_get_name(globals, "string");
    push_real(s, -1);
    s.raw_set_name(-3, "__index");
    s.set_top(globals);

    hide(s);
    // globals, real
    s.push_value(-2);
    let there = s.metatable(-1);
    debug_assert!(there, "hidden above");
    s.push_native(missing);
    show_copy(s, "__index");
    s.pop(2);
    s.new_table();
    s.push_native(missing);
    s.raw_set_name(-2, "__index");
    s.set_metatable(-2);
    // The real one takes the place of the other.
    s.replace(globals);
}

/// Makes the table on top an empty, read-only door to a new one with its contents, and pushes that.
fn hide(s: &mut Stack) {
    let door = s.top();
    s.new_table();
    let real = s.top();
    s.push_nil();
    while s.next(door) {
        s.push_value(-2);
        s.insert(-2);
        s.raw_set(real);
    }
    s.push_nil();
    while s.next(real) {
        s.pop(1);
        s.push_value(-1);
        s.push_nil();
        s.raw_set(door);
    }
    s.new_table();
    for name in ["__index", REAL] {
        s.push_value(real);
        s.raw_set_name(-2, name);
    }
    s.push_native(read_only);
    s.raw_set_name(-2, "__newindex");
    s.set_metatable(door);
}

/// Pops a value; the metatable under it will show itself as a protected table with that value as field
/// `name`.
fn show_copy(s: &mut Stack, name: &str) {
    let meta = s.top() - 1;
    s.new_table();
    s.insert(-2);
    s.raw_set_name(-2, name);
    hide(s);
    s.pop(1);
    s.raw_set_name(meta, SHOWN);
}

/// Pushes the real table behind `at`; false, and nothing pushed, when that is not protected.
fn push_real(s: &mut Stack, at: i32) -> bool {
    if !s.metatable(at) {
        return false;
    }
    s.raw_get_name(-1, REAL);
    let protected = s.kind(-1) == Kind::Table;
    if protected {
        s.replace(-2)
    } else {
        s.pop(2)
    }
    protected
}

fn is_protected(s: &mut Stack, at: i32) -> bool {
    let yes = push_real(s, at);
    if yes {
        s.pop(1);
    }
    yes
}

fn refuse_protected(s: &mut Stack, at: i32) -> Result<(), Raise> {
    if is_protected(s, at) { Err(Raise::Bare(READ_ONLY.to_vec())) } else { Ok(()) }
}

fn read_only(_: &mut Stack) -> Result<i32, Raise> {
    Err(Raise::text(READ_ONLY))
}

/// `__index` of the real globals.
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

// ---- builtins ----------------------------------------------------------------------------------

fn setmetatable(s: &mut Stack) -> Result<i32, Raise> {
    s.check_table(1)?;
    if !matches!(s.kind(2), Kind::Nil | Kind::Table) {
        return Err(Raise::Argument(2, b"nil or table expected".to_vec()));
    }
    s.set_top(2);
    refuse_protected(s, 1)?;
    if s.metatable(1) {
        s.raw_get_name(-1, "__metatable");
        if s.kind(-1) != Kind::Nil {
            return Err(Raise::text("cannot change a protected metatable"));
        }
        s.set_top(2);
    }
    s.set_metatable(1);
    Ok(1)
}

fn getmetatable(s: &mut Stack) -> Result<i32, Raise> {
    s.check_any(1)?;
    s.set_top(1);
    if !s.metatable(1) {
        s.push_nil();
        return Ok(1);
    }
    for name in [SHOWN, REAL, "__metatable"] {
        s.raw_get_name(2, name);
        if s.kind(-1) != Kind::Nil {
            if name == REAL {
                s.push_nil();
            }
            return Ok(1);
        }
        s.pop(1);
    }
    Ok(1)
}

fn rawget(s: &mut Stack) -> Result<i32, Raise> {
    s.check_table(1)?;
    s.check_any(2)?;
    s.set_top(2);
    if push_real(s, 1) {
        s.replace(1);
    }
    s.raw_get(1);
    Ok(1)
}

fn rawset(s: &mut Stack) -> Result<i32, Raise> {
    s.check_table(1)?;
    s.check_any(2)?;
    s.check_any(3)?;
    s.set_top(3);
    refuse_protected(s, 1)?;
    match s.kind(2) {
        Kind::Nil => return Err(Raise::Bare(b"table index is nil".to_vec())),
        Kind::Number if s.number(2).is_some_and(f64::is_nan) => {
            return Err(Raise::Bare(b"table index is NaN".to_vec()));
        }
        _ => s.raw_set(1),
    }
    Ok(1)
}

fn next(s: &mut Stack) -> Result<i32, Raise> {
    s.check_table(1)?;
    s.set_top(2);
    if push_real(s, 1) {
        s.replace(1);
    }
    if s.next(1) {
        return Ok(2);
    }
    s.push_nil();
    Ok(1)
}

fn pairs(s: &mut Stack) -> Result<i32, Raise> {
    s.check_table(1)?;
    if is_protected(s, 1) {
        s.push_native(next)
    } else {
        s.push_builtin_next()
    }
    s.push_value(1);
    s.push_nil();
    Ok(3)
}

/// Errors that are tables are given out as their text, as scripts from before there were such expect.
fn pcall(s: &mut Stack) -> Result<i32, Raise> {
    if s.top() == 0 {
        // Upstream calls its place holder.
        s.push_bool(true);
    }
    let arguments = s.top() - 1;
    if s.protected_call(arguments, None) {
        s.push_bool(true);
        s.insert(1);
        return Ok(s.top());
    }
    if s.kind(-1) == Kind::Table {
        s.raw_get_name(-1, "err");
        if matches!(s.kind(-1), Kind::String | Kind::Number) {
            s.replace(-2);
        } else {
            // Upstream leaves the field where it is: one value more.
            s.push_bool(false);
            s.insert(1);
            return Ok(s.top());
        }
    }
    s.push_bool(false);
    s.insert(1);
    Ok(s.top())
}

fn gcinfo(s: &mut Stack) -> Result<i32, Raise> {
    let kib = s.memory() / 1024;
    s.push_number(kib as f64);
    Ok(1)
}

/// A chunk name for Lua, which ends at a NUL.
fn chunk_name(name: &[u8]) -> CString {
    let end = name.iter().position(|b| *b == 0).unwrap_or(name.len());
    CString::new(&name[..end]).expect("cut at the first NUL")
}

/// Leaves the function, or nil and the message.
fn compiled(s: &mut Stack, code: &[u8], name: &[u8]) -> i32 {
    if s.load(code, &chunk_name(name)) {
        return 1;
    }
    s.push_nil();
    s.insert(-2);
    2
}

fn loadstring(s: &mut Stack) -> Result<i32, Raise> {
    let code = s.check_bytes(1)?;
    let name = match s.kind(2) {
        Kind::None | Kind::Nil => code.clone(),
        _ => s.check_bytes(2)?,
    };
    Ok(compiled(s, &code, &name))
}

fn load(s: &mut Stack) -> Result<i32, Raise> {
    if s.kind(1) != Kind::Function {
        return Err(s.wrong_kind(1, "function"));
    }
    let name = match s.kind(2) {
        Kind::None | Kind::Nil => b"=(load)".to_vec(),
        _ => s.check_bytes(2)?,
    };
    s.set_top(1);
    let mut code = Vec::new();
    loop {
        s.push_value(1);
        if !s.protected_call(0, Some(1)) {
            s.push_nil();
            s.insert(-2);
            return Ok(2);
        }
        match s.text(-1) {
            Some(piece) if !piece.is_empty() => code.extend_from_slice(&piece),
            Some(_) => break,
            None if s.kind(-1) == Kind::Nil => break,
            None => {
                s.push_nil();
                s.push_bytes(b"reader function must return a string");
                return Ok(2);
            }
        }
        s.pop(1);
    }
    Ok(compiled(s, &code, &name))
}

// ---- table -------------------------------------------------------------------------------------

/// The last index of an array, as far as C's int goes.
fn last(s: &Stack, at: i32) -> i32 {
    i32::try_from(s.len(at)).unwrap_or(i32::MAX)
}

fn insert(s: &mut Stack) -> Result<i32, Raise> {
    s.check_table(1)?;
    let end = last(s, 1).wrapping_add(1);
    let at = match s.top() {
        2 => end,
        3 => {
            let at = s.check_integer(2)? as i32;
            refuse_protected(s, 1)?;
            for i in (at.saturating_add(1)..=end.max(at)).rev() {
                s.raw_get_i(1, i.wrapping_sub(1));
                s.raw_set_i(1, i);
            }
            at
        }
        _ => return Err(Raise::text("wrong number of arguments to 'insert'")),
    };
    refuse_protected(s, 1)?;
    s.raw_set_i(1, at);
    Ok(0)
}

fn remove(s: &mut Stack) -> Result<i32, Raise> {
    s.check_table(1)?;
    let end = last(s, 1);
    let at = match s.kind(2) {
        Kind::None | Kind::Nil => end,
        _ => s.check_integer(2)? as i32,
    };
    if !(1..=end).contains(&at) {
        return Ok(0);
    }
    s.raw_get_i(1, at);
    for i in at..end {
        s.raw_get_i(1, i + 1);
        s.raw_set_i(1, i);
    }
    s.push_nil();
    s.raw_set_i(1, end);
    Ok(1)
}

fn setn(s: &mut Stack) -> Result<i32, Raise> {
    s.check_table(1)?;
    Err(Raise::text("'setn' is obsolete"))
}

// ---- bit ---------------------------------------------------------------------------------------

/// As the bit library converts a number: modulo 2^32, halves to even.
fn bits(s: &Stack, at: i32) -> Result<u32, Raise> {
    // 2^52 + 2^51: the low bits of the sum are those of the whole number.
    Ok((s.check_number(at)? + 6_755_399_441_055_744.0).to_bits() as u32)
}

/// LuaJIT's own makes a string of 254 digits of the least integer.
fn tohex(s: &mut Stack) -> Result<i32, Raise> {
    let n = bits(s, 1)?;
    let digits = if s.kind(2) == Kind::None { 8 } else { bits(s, 2)? as i32 };
    let shown = digits.unsigned_abs().min(8) as usize;
    let text = if digits < 0 { format!("{n:08X}") } else { format!("{n:08x}") };
    s.push_bytes(&text.as_bytes()[8 - shown..]);
    Ok(1)
}
