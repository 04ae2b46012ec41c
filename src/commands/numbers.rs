//! Integers among the arguments, with the errors that tell why one does not fit.

use crate::algo::num::parse_i64;
use crate::proto::error::CmdError;

/// Any integer of 64 bits.
pub fn integer(arg: &[u8]) -> Result<i64, CmdError> {
    parse_i64(arg).ok_or(CmdError::NotInteger)
}

/// An integer of 32 bits.
pub fn int32(arg: &[u8]) -> Result<i32, CmdError> {
    i32::try_from(integer(arg)?).map_err(|_| {
        CmdError::text(format!(
            "ERR value is out of range, value must between {} and {}",
            i32::MIN,
            i32::MAX
        ))
    })
}

/// An integer from 0 up; anything else is out of range.
pub fn positive(arg: &[u8]) -> Result<i64, CmdError> {
    const WHY: CmdError = CmdError::Msg(&"ERR value is out of range, must be positive");
    parse_i64(arg).filter(|n| *n >= 0).ok_or(WHY)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_have_texts_of_their_own() {
        let text = |r: Result<i32, CmdError>| r.map_err(|e| e.as_str().to_string());
        assert_eq!(text(int32(b"-2147483648")), Ok(i32::MIN));
        assert_eq!(
            text(int32(b"2147483648")),
            Err("ERR value is out of range, value must between -2147483648 and 2147483647".into())
        );
        assert_eq!(text(int32(b"1x")), Err("ERR value is not an integer or out of range".into()));
        assert!(positive(b"-1").is_err_and(|e| e.as_str().ends_with("must be positive")));
        assert_eq!(positive(b"0").ok(), Some(0));
    }
}
