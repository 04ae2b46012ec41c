//! The one door for code we do not control (Lua callbacks, modules). At most one `&mut Server` exists at any time;
//! entering again without a fresh `lend` panics instead of aliasing.
//!
//! ```text
//! command ─ lend(srv) ─► foreign code ─ with_lent(|srv| ..) ─► command ─ lend ─► ...
//! ```

use super::Server;
use std::ptr;
use std::sync::atomic::{AtomicPtr, Ordering};

static LENT: AtomicPtr<Server> = AtomicPtr::new(ptr::null_mut());

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
    // SAFETY: `lend` published this pointer from a live `&mut Server` that it does not touch until the foreign code
    // returns, and the swap to null makes us its only holder. A panic aborts the process, so no unwind leaves it null.
    let result = body(unsafe { &mut *p });
    LENT.store(p, Ordering::Release);
    result
}
