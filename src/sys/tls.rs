//! What libssl offers and the crate `openssl` has no safe name for.

use foreign_types::ForeignTypeRef;
use libc::{c_int, c_long};
use openssl::ssl::{Error, SslContextBuilder, SslRef, SslStream};
use std::io::{Read, Write};

unsafe extern "C" {
    fn SSL_has_pending(ssl: *const openssl_sys::SSL) -> c_int;
    fn SSL_CTX_set_timeout(ctx: *mut openssl_sys::SSL_CTX, seconds: c_long) -> c_long;
}

/// Does the session hold bytes of the peer, decrypted or not? A part of a record counts.
pub fn has_pending(session: &SslRef) -> bool {
    // SAFETY: a reference to a session is a pointer to a live one, which is only looked at.
    unsafe { SSL_has_pending(session.as_ptr()) == 1 }
}

/// How long a session may be resumed, in seconds.
pub fn set_session_timeout(context: &mut SslContextBuilder, seconds: i32) {
    // SAFETY: a builder holds a live context, and nothing else uses it.
    unsafe { SSL_CTX_set_timeout(context.as_ptr(), c_long::from(seconds)) };
}

/// Diffie-Hellman parameters that fit the key of the certificate.
pub fn set_automatic_dh(context: &mut SslContextBuilder) {
    // SAFETY: a builder holds a live context, and nothing else uses it.
    unsafe { openssl_sys::SSL_CTX_set_dh_auto(context.as_ptr(), 1) };
}

/// Empties this thread's queue of errors: what stands there would be told of the next session that fails.
pub fn forget_errors() {
    // SAFETY: it asks nothing of its caller.
    unsafe { openssl_sys::ERR_clear_error() };
}

/// Changes the keys of a session of TLS 1.3; `asks` the peer to do the same.
#[cfg(test)]
pub fn update_keys(session: &SslRef, asks: bool) -> bool {
    unsafe extern "C" {
        fn SSL_key_update(ssl: *mut openssl_sys::SSL, kind: c_int) -> c_int;
    }
    // SAFETY: a reference to a session is a pointer to a live one; tests have one thread each.
    unsafe { SSL_key_update(session.as_ptr(), c_int::from(asks)) == 1 }
}

/// Reads up to `max` bytes of one record to the end of `buf`.
pub fn read<S: Read + Write>(
    session: &mut SslStream<S>,
    buf: &mut Vec<u8>,
    max: usize,
) -> Result<usize, Error> {
    buf.reserve(max);
    let room = &mut buf.spare_capacity_mut()[..max];
    let n = session.ssl_read_uninit(room)?;
    assert!(n <= max);
    // SAFETY: libssl has written the first `n` bytes of the spare capacity.
    unsafe { buf.set_len(buf.len() + n) };
    Ok(n)
}
