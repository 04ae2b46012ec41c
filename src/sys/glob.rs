//! Expansion of path patterns by the C library, so that `include conf.d/*.conf` finds the same files in
//! the same order as everywhere else.

use std::ffi::{CStr, CString};

/// The paths that match a pattern, sorted. None match when the pattern holds a NUL or a folder cannot be
/// read.
pub fn paths(pattern: &[u8]) -> Vec<Vec<u8>> {
    let Ok(pattern) = CString::new(pattern) else { return Vec::new() };
    // SAFETY: a glob_t of zeros is a valid argument of glob, which fills it in.
    let mut found: libc::glob_t = unsafe { std::mem::zeroed() };
    // SAFETY: the pattern is a C string, there is no callback, and `found` lives through the call.
    let status = unsafe { libc::glob(pattern.as_ptr(), 0, None, &mut found) };
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
    paths
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
        assert_eq!(paths(&pattern("*.conf")), [pattern("a.conf"), pattern("b.conf")]);
        assert_eq!(paths(&pattern("[c].t?t")), [pattern("c.txt")]);
        assert!(paths(&pattern("*.none")).is_empty());
        assert!(paths(b"a\0b*").is_empty());
        std::fs::remove_dir_all(&dir).expect("the test's folder");
    }
}
