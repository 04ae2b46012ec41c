//! The order of texts that `locale-collate` asks for.

use std::cmp::Ordering;
use std::ffi::CStr;
use std::ptr;

/// Whether the order of the locale is the order of the bytes. (That of C.UTF-8 is the order of code
/// points, which is the same.)
pub fn is_bytewise() -> bool {
    // SAFETY: a null name only asks. Nothing changes the locale before the answer is read: only the
    // thread that serves commands does that, or asks.
    let name = unsafe { libc::setlocale(libc::LC_COLLATE, ptr::null()) };
    if name.is_null() {
        return false;
    }
    // SAFETY: the answer is a C string that stays until the locale changes.
    let name = unsafe { CStr::from_ptr(name) };
    [c"C", c"POSIX", c"C.UTF-8", c"C.utf8"].contains(&name)
}

/// strcoll(3) of two texts that end with a zero byte; what follows an earlier one does not count.
pub fn compare(a: &[u8], b: &[u8]) -> Ordering {
    assert!(a.last() == Some(&0) && b.last() == Some(&0), "a zero byte ends a text");
    // SAFETY: both are readable up to a zero byte.
    unsafe { libc::strcoll(a.as_ptr().cast(), b.as_ptr().cast()) }.cmp(&0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_a_locale_bytes_decide() {
        // A process starts in the C locale; the one test that sets a locale sets the same.
        assert!(is_bytewise());
        assert_eq!(compare(b"a\0", b"B\0"), Ordering::Greater);
        assert_eq!(compare(b"a\0", b"a\0b\0"), Ordering::Equal);
        assert_eq!(compare(b"\0", b"a\0"), Ordering::Less);
    }
}
