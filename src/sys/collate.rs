//! The order of texts that `locale-collate` asks for.

use std::cmp::Ordering;
use std::ffi::CStr;
use std::ptr;

/// Whether the order of the locale is the order of the bytes.
pub fn is_bytewise() -> bool {
    // SAFETY: a null name only asks. Nobody changes the locale before the answer is read: only the
    // thread that serves commands does that, or asks.
    let name = unsafe { libc::setlocale(libc::LC_COLLATE, ptr::null()) };
    if name.is_null() {
        return false;
    }
    // SAFETY: the answer is a C string that stays until the locale changes.
    let name = unsafe { CStr::from_ptr(name) };
    name == c"C" || name == c"POSIX"
}

/// strcoll(3).
pub fn compare(a: &CStr, b: &CStr) -> Ordering {
    // SAFETY: both are live C strings.
    unsafe { libc::strcoll(a.as_ptr(), b.as_ptr()) }.cmp(&0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_a_locale_bytes_decide() {
        // A process starts in the C locale; the one test that sets a locale sets the same.
        assert!(is_bytewise());
        assert_eq!(compare(c"a", c"B"), Ordering::Greater);
        assert_eq!(compare(c"a", c"a"), Ordering::Equal);
        assert_eq!(compare(c"", c"a"), Ordering::Less);
    }
}
