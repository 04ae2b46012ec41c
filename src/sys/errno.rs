//! The system's own words for an error, as log lines and replies quote them ("Permission denied",
//! without the error number that `io::Error` appends).

use std::ffi::CStr;
use std::io;

/// What strerror(3) says about `e`; an error without a number speaks for itself.
pub fn text(e: &io::Error) -> String {
    match e.raw_os_error() {
        Some(code) => strerror(code),
        None => e.to_string(),
    }
}

pub fn strerror(code: i32) -> String {
    let mut buf = [0 as libc::c_char; 128];
    // SAFETY: the buffer is writable for the length given; the XSI form ends it with a NUL.
    let rc = unsafe { libc::strerror_r(code, buf.as_mut_ptr(), buf.len()) };
    if rc != 0 {
        return format!("Unknown error {code}");
    }
    // SAFETY: strerror_r succeeded, so a NUL stands within the buffer.
    unsafe { CStr::from_ptr(buf.as_ptr()) }.to_string_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_without_numbers() {
        assert_eq!(strerror(libc::EACCES), "Permission denied");
        assert_eq!(text(&io::Error::from_raw_os_error(libc::ENOENT)), "No such file or directory");
        assert_eq!(text(&io::Error::other("odd")), "odd");
    }
}
