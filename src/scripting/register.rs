//! `redis.register_function`: what the code of a library is run for.
//!
//! ```text
//! register_function(name, callback)
//! register_function{function_name = .., callback = .., description = .., flags = {..}}
//! ```
//!
//! The functions gather in what the state keeps, and become a library when the code has ended well.

use super::ffi::{Cursor, LuaType, Raise, Stack};
use super::header::{Flags, check_name};
use super::library::Function;

fn error(text: &str) -> Raise {
    Raise::Error(text.as_bytes().to_vec())
}

/// What is known of a function so far.
#[derive(Default)]
struct Described {
    name: Option<Vec<u8>>,
    description: Option<Vec<u8>>,
    flags: u32,
    /// Where the callback stands on the stack.
    callback: Option<i32>,
}

pub fn register_function(s: &mut Stack) -> Result<i32, Raise> {
    if s.kept().loading.is_none() {
        return Err(error("redis.register_function can only be called on FUNCTION LOAD command"));
    }
    let described = match s.top() {
        1 => by_names(s)?,
        2 => by_places(s)?,
        _ => return Err(error("wrong number of arguments to redis.register_function")),
    };
    let Some(name) = described.name else {
        return Err(error("redis.register_function must get a function name argument"));
    };
    let Some(callback) = described.callback else {
        return Err(error("redis.register_function must get a callback argument"));
    };
    check_name(&name).map_err(error)?;
    let registered = |s: &mut Stack| {
        let loading = s.kept().loading.as_ref();
        loading.is_some_and(|l| l.functions.iter().any(|f| *f.name == *name))
    };
    if registered(s) {
        return Err(error("Function already exists in the library"));
    }
    s.push_value(callback);
    let function = Function {
        callback: s.keep(),
        name: name.into(),
        description: described.description.map(Into::into),
        flags: Flags(described.flags),
    };
    if let Some(loading) = &mut s.kept().loading {
        loading.functions.push(function);
    }
    Ok(0)
}

fn by_places(s: &mut Stack) -> Result<Described, Raise> {
    let Some(name) = s.text(1) else {
        return Err(error("first argument to redis.register_function must be a string"));
    };
    if s.kind(2) != LuaType::Function {
        return Err(error("second argument to redis.register_function must be a function"));
    }
    Ok(Described { name: Some(name), callback: Some(2), ..Described::default() })
}

/// The table at place 1.
fn by_names(s: &mut Stack) -> Result<Described, Raise> {
    const ONE: &str = "calling redis.register_function with a single argument is only applicable to Lua \
                       table (representing named arguments).";
    if s.kind(1) != LuaType::Table {
        return Err(error(ONE));
    }
    let mut d = Described::default();
    // Place 2 is the callback's.
    s.push_nil();
    let mut cursor = Cursor::default();
    while s.each(1, &mut cursor) {
        let Some(key) = s.text(-2) else {
            return Err(error("named argument key given to redis.register_function is not a string"));
        };
        let key = key.split(|b| *b == 0).next().unwrap_or(b"").to_ascii_lowercase();
        match &key[..] {
            b"function_name" => {
                const WHY: &str =
                    "function_name argument given to redis.register_function must be a string";
                d.name = Some(s.text(-1).ok_or_else(|| error(WHY))?);
            }
            b"description" => {
                const WHY: &str =
                    "description argument given to redis.register_function must be a string";
                d.description = Some(s.text(-1).ok_or_else(|| error(WHY))?);
            }
            b"callback" => {
                if s.kind(-1) != LuaType::Function {
                    let why = "callback argument given to redis.register_function must be a function";
                    return Err(error(why));
                }
                s.replace(2);
                d.callback = Some(2);
                s.pop(1);
                continue;
            }
            b"flags" => d.flags = flags(s)?,
            _ => return Err(error("unknown argument given to redis.register_function")),
        }
        s.pop(2);
    }
    Ok(d)
}

/// The flags that the table on top names.
fn flags(s: &mut Stack) -> Result<u32, Raise> {
    if s.kind(-1) != LuaType::Table {
        let why =
            "flags argument to redis.register_function must be a table representing function flags";
        return Err(error(why));
    }
    let mut flags = 0;
    for i in 1.. {
        s.raw_get_i(-1, i);
        if s.kind(-1) == LuaType::Nil {
            break;
        }
        let name = s.text(-1).map(|n| n.to_ascii_lowercase());
        flags |= name.and_then(|n| Flags::named(&n)).ok_or_else(|| error("unknown flag given"))?;
        s.pop(1);
    }
    s.pop(1);
    Ok(flags)
}
