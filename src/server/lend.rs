//! The one door for code we do not control (Lua callbacks, modules). At most one `&mut Server` exists
//! at any time; entering again without a fresh `lend` panics instead of aliasing.
//!
//! ```text
//! command ─ lend(srv) ─► foreign code ─ with_lent(|srv| ..) ─► command ─ lend ─► ...
//! ```
//!
//! Beside it stands a window for crash reports: a handler gets no arguments of ours, and the thread
//! that owned the server is the very one that crashed, in the middle of whatever it was doing. What is
//! seen through `look` may be half changed; `sys::crash` expects a section of the report to fail and
//! goes on with the next.

use super::Server;
use crate::sys::crash::Crashed;
use std::ptr;
use std::sync::atomic::{AtomicPtr, Ordering};

static LENT: AtomicPtr<Server> = AtomicPtr::new(ptr::null_mut());
static SHOWN: AtomicPtr<Server> = AtomicPtr::new(ptr::null_mut());

/// Publishes `srv` while foreign code runs; it cannot be used otherwise until that returns.
pub fn lend<R>(srv: &mut Server, foreign: impl FnOnce() -> R) -> R {
    let this: *mut Server = srv;
    let outer = LENT.swap(this, Ordering::AcqRel);
    let result = foreign();
    let back = LENT.swap(outer, Ordering::AcqRel);
    assert!(ptr::eq(back, this), "a borrow of the server outlived the foreign call");
    result
}

/// Called from the shims of foreign functions only.
pub fn with_lent<R>(body: impl FnOnce(&mut Server) -> R) -> R {
    let p = LENT.swap(ptr::null_mut(), Ordering::AcqRel);
    assert!(!p.is_null(), "the server is not lent: called outside of a callback, or entered twice");
    // SAFETY: `lend` published this pointer from a live `&mut Server` that it does not touch until the
    // foreign code returns, and the swap to null makes us its only holder. A panic aborts the process,
    // so no unwind leaves it null.
    let result = body(unsafe { &mut *p });
    LENT.store(p, Ordering::Release);
    result
}

/// Leaves the address for crash reports while `f` runs.
pub fn shown<R>(srv: &mut Server, f: impl FnOnce(&mut Server) -> R) -> R {
    let before = SHOWN.swap(&raw mut *srv, Ordering::SeqCst);
    debug_assert!(before.is_null(), "one server a process");
    let r = f(srv);
    SHOWN.store(before, Ordering::SeqCst);
    r
}

/// Looks at the server, if there is one. A second look inside the first would need a second `Crashed`.
pub fn look<R>(_: &mut Crashed, f: impl FnOnce(&mut Server) -> R) -> Option<R> {
    // SAFETY: the address is that of a live server as long as it stands there. Its owner does not run
    // on meanwhile: it is this very thread, or it waits for good behind the thread that reports.
    unsafe { SHOWN.load(Ordering::SeqCst).as_mut() }.map(f)
}
