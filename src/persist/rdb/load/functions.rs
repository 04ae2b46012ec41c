//! The payload of FUNCTION DUMP: libraries as they stand in a snapshot, version and checksum behind them.
//!
//! ```text
//! ( FUNCTION2 code )* | version u16 | crc64
//! ```

use super::{Checks, Decoder, FOOTER, Source, is_sound, op};
use crate::object::ValueLimits;
use crate::persist::rdb::source::Memory;

/// Why libraries are not restored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FunctionsRefusal {
    /// The payload is of a later version, or its checksum is wrong.
    Footer,
    NoType,
    PreRelease,
    OtherType,
    /// The code ends too early.
    Code,
}

/// The code of each library; nothing follows an error.
pub struct Functions<'a> {
    decoder: Decoder<Memory<'a>>,
    failed: bool,
}

/// Reads a payload, with its checksum when `checksum` says so.
pub fn functions_of(payload: &[u8], checksum: bool) -> Result<Functions<'_>, FunctionsRefusal> {
    if !is_sound(payload, checksum) {
        return Err(FunctionsRefusal::Footer);
    }
    let checks = Checks { checksum, deep: false };
    let source = Memory::new(payload);
    let decoder = Decoder { source, limits: ValueLimits::default(), checks, sanitized: 0 };
    Ok(Functions { decoder, failed: false })
}

impl Iterator for Functions<'_> {
    type Item = Result<Vec<u8>, FunctionsRefusal>;

    fn next(&mut self) -> Option<Self::Item> {
        let d = &mut self.decoder;
        if self.failed || d.source.left() <= FOOTER as u64 {
            return None;
        }
        let item = match d.byte() {
            Ok(op::FUNCTION2) => match d.text() {
                Ok(code) => Ok(code.into_owned()),
                Err(_) => Err(FunctionsRefusal::Code),
            },
            Ok(op::FUNCTION_PRE_GA) => Err(FunctionsRefusal::PreRelease),
            Ok(_) => Err(FunctionsRefusal::OtherType),
            Err(_) => Err(FunctionsRefusal::NoType),
        };
        self.failed = item.is_err();
        Some(item)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::algo::crc64;
    use crate::persist::rdb::save::functions_payload;

    fn read(payload: &[u8]) -> Result<Vec<Vec<u8>>, FunctionsRefusal> {
        functions_of(payload, true)?.collect()
    }

    /// With a footer that is right.
    fn sealed(body: &[u8]) -> Vec<u8> {
        let mut all = [body, &11u16.to_le_bytes()].concat();
        all.extend_from_slice(&crc64::update(0, &all).to_le_bytes());
        all
    }

    #[test]
    fn what_is_dumped_is_read() {
        let long = b"x".repeat(1000);
        for codes in [&[][..], &[&b"one"[..]], &[&long, b"12", b""]] {
            for compress in [false, true] {
                let payload = functions_payload(codes, compress).expect("memory takes all");
                assert_eq!(read(&payload).expect("sound"), codes);
            }
        }
    }

    #[test]
    fn broken_payloads_are_refused() {
        let payload = functions_payload(&[b"code"], true).expect("memory takes all");
        for i in 0..payload.len() {
            let mut wrong = payload.clone();
            wrong[i] ^= 0x10;
            assert_eq!(read(&wrong), Err(FunctionsRefusal::Footer), "byte {i}");
            assert_eq!(read(&payload[..i]), Err(FunctionsRefusal::Footer), "cut at {i}");
        }
        for (body, why) in [
            (&b"\xf6\x01a"[..], FunctionsRefusal::PreRelease),
            (b"\x00\x01a", FunctionsRefusal::OtherType),
            (b"\xf5\x0fa", FunctionsRefusal::Code),
            (b"\xf5\x01a\xfa", FunctionsRefusal::OtherType),
        ] {
            assert_eq!(read(&sealed(body)), Err(why));
        }
    }
}
