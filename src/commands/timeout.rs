//! Timeouts of commands that block, as moments of Unix time in milliseconds; 0 is never.

use crate::algo::longdouble::LongDouble;
use crate::algo::num::parse_i64;
use crate::proto::error::CmdError;

const RANGE: CmdError = CmdError::Msg(&"ERR timeout is out of range");
const NEGATIVE: CmdError = CmdError::Msg(&"ERR timeout is negative");

/// Seconds from now, with a fraction (the list and sorted set commands).
pub fn seconds(arg: &[u8], now_ms: i64) -> Result<i64, CmdError> {
    const WHY: CmdError = CmdError::Msg(&"ERR timeout is not a float or out of range");
    let ms = (LongDouble::parse(arg).ok_or(WHY)?.to_f64() * 1000.0).ceil();
    // `i64::MAX as f64` is 2^63, the first number that is out of range.
    if ms >= i64::MAX as f64 {
        return Err(RANGE);
    }
    // The cast saturates: a number below `i64::MIN` becomes that, and is refused as negative.
    moment(ms as i64, now_ms)
}

/// Milliseconds from now (streams, WAIT).
pub fn milliseconds(arg: &[u8], now_ms: i64) -> Result<i64, CmdError> {
    const WHY: CmdError = CmdError::Msg(&"ERR timeout is not an integer or out of range");
    moment(parse_i64(arg).ok_or(WHY)?, now_ms)
}

fn moment(ms: i64, now_ms: i64) -> Result<i64, CmdError> {
    match ms {
        0 => Ok(0),
        1.. => ms.checked_add(now_ms).ok_or(RANGE),
        _ => Err(NEGATIVE),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(r: Result<i64, CmdError>) -> Result<i64, String> {
        r.map_err(|e| e.as_str().to_string())
    }

    #[test]
    fn seconds_are_rounded_up_to_milliseconds() {
        for (arg, at) in
            [("0", 0), ("0.0001", 1001), ("1", 2000), ("1.5", 2500), ("-0.0001", 0), ("1e-9", 1001)]
        {
            assert_eq!(text(seconds(arg.as_bytes(), 1000)), Ok(at), "{arg}");
        }
    }

    #[test]
    fn each_wrong_timeout_has_its_text() {
        let why = |arg: &str| text(seconds(arg.as_bytes(), 1000)).expect_err(arg);
        for arg in ["", "x", "1 ", " 1", "nan", "1x"] {
            assert_eq!(why(arg), "ERR timeout is not a float or out of range", "{arg:?}");
        }
        for arg in ["-1", "-0.01", "-1e300", "-inf"] {
            assert_eq!(why(arg), "ERR timeout is negative", "{arg}");
        }
        for arg in ["9223372036854775.807", "1e300", "inf"] {
            assert_eq!(why(arg), "ERR timeout is out of range", "{arg}");
        }
        let why = |arg: &str| text(milliseconds(arg.as_bytes(), 1000)).expect_err(arg);
        assert_eq!(why("1.5"), "ERR timeout is not an integer or out of range");
        assert_eq!(why("9223372036854775807"), "ERR timeout is out of range");
        assert_eq!(why("-1"), "ERR timeout is negative");
        assert_eq!(text(milliseconds(b"5", 1000)), Ok(1005));
    }
}
