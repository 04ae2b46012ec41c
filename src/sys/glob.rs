//! Expansion of path patterns by the C library, so that `include conf.d/*.conf` finds the same files in
//! the same order as everywhere else.

use std::ffi::{CStr, CString};
use std::io;

/// Asked about a folder that cannot be read: one that is not there holds nothing.
extern "C" fn unread(_: *const libc::c_char, error: libc::c_int) -> libc::c_int {
    libc::c_int::from(error != libc::ENOENT)
}

/// The paths that match a pattern, sorted; none match when the pattern holds a NUL. A folder that cannot be
/// read is an error: it may hold what matches.
pub fn paths(pattern: &[u8]) -> io::Result<Vec<Vec<u8>>> {
    let Ok(pattern) = CString::new(pattern) else { return Ok(Vec::new()) };
    // SAFETY: a glob_t of zeros is a valid argument of glob, which fills it in.
    let mut found: libc::glob_t = unsafe { std::mem::zeroed() };
    // SAFETY: the pattern is a C string, the callback touches nothing, and `found` lives through the call.
    let status = unsafe { libc::glob(pattern.as_ptr(), 0, Some(unread), &mut found) };
    let error = io::Error::last_os_error();
    let mut paths = Vec::new();
    if status == 0 {
        debug_assert!(!found.gl_pathv.is_null());
        for index in 0..found.gl_pathc {
            // SAFETY: on success gl_pathv holds gl_pathc pointers to C strings, until globfree.
            let path = unsafe { CStr::from_ptr(*found.gl_pathv.add(index)) };
            paths.push(path.to_bytes().to_vec());
        }
    }
    // SAFETY: glob has been called on `found`, and its strings have been copied.
    unsafe { libc::globfree(&mut found) };
    match status {
        libc::GLOB_ABORTED | libc::GLOB_NOSPACE => Err(error),
        _ => Ok(paths),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_in_order() {
        let dir = std::env::temp_dir().join(format!("oxidis-glob-{}", std::process::id()));
        std::fs::create_dir_all(&dir).expect("a folder for the test");
        for name in ["b.conf", "a.conf", "c.txt", ".d.conf"] {
            std::fs::write(dir.join(name), "").expect("a file for the test");
        }
        let pattern = |tail: &str| format!("{}/{tail}", dir.display()).into_bytes();
        assert_eq!(paths(&pattern("*.conf")).expect("readable"), [pattern("a.conf"), pattern("b.conf")]);
        assert_eq!(paths(&pattern("[c].t?t")).expect("readable"), [pattern("c.txt")]);
        assert!(paths(&pattern("*.none")).expect("readable").is_empty());
        assert!(paths(b"a\0b*").expect("no path").is_empty());
        assert!(paths(&pattern("none.d/*")).expect("a folder that is not there").is_empty());
        std::fs::remove_dir_all(&dir).expect("the test's folder");
    }
}
