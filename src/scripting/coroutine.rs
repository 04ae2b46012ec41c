//! The coroutine library, as far as it runs coroutines: inside each other they take the C stack, which
//! only natives watch (see `ffi`). Texts are those of Lua 5.1.

use super::ffi::{Kind, Native, Raise, Stack};

pub const FUNCTIONS: &[(&str, Native)] = &[("resume", resume), ("wrap", wrap)];

fn resume(s: &mut Stack) -> Result<i32, Raise> {
    if s.kind(1) != Kind::Thread {
        return Err(Raise::Argument(1, b"coroutine expected".to_vec()));
    }
    let done = s.resume();
    s.push_bool(done);
    s.replace(1);
    Ok(s.top())
}

fn wrap(s: &mut Stack) -> Result<i32, Raise> {
    if !s.is_lua_function(1) {
        return Err(Raise::Argument(1, b"Lua function expected".to_vec()));
    }
    s.set_top(1);
    s.new_coroutine();
    s.push_native_with(wrapped);
    Ok(1)
}

/// What `wrap` gives out.
fn wrapped(s: &mut Stack) -> Result<i32, Raise> {
    s.push_bound();
    s.insert(1);
    if s.resume() {
        return Ok(s.top() - 1);
    }
    match s.text(-1) {
        Some(why) => Err(Raise::Text(why)),
        None => Err(Raise::Top),
    }
}
