//! The first line of a script: `#!lua flags=no-writes,allow-stale`. A script without one runs as scripts
//! did before there were flags.

use crate::algo::quote::split_args;
use crate::cmd::row::flag as cf;

#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Flags(pub u32);

impl Flags {
    pub const NO_WRITES: u32 = 1 << 0;
    pub const ALLOW_OOM: u32 = 1 << 1;
    pub const ALLOW_STALE: u32 = 1 << 2;
    pub const NO_CLUSTER: u32 = 1 << 3;
    /// There is no header.
    pub const COMPAT: u32 = 1 << 4;
    pub const ALLOW_CROSS_SLOT: u32 = 1 << 5;

    pub fn has(self, bits: u32) -> bool {
        self.0 & bits != 0
    }

    /// Of a name in a header.
    pub fn named(name: &[u8]) -> Option<u32> {
        Some(match name {
            b"no-writes" => Flags::NO_WRITES,
            b"allow-oom" => Flags::ALLOW_OOM,
            b"allow-stale" => Flags::ALLOW_STALE,
            b"no-cluster" => Flags::NO_CLUSTER,
            b"allow-cross-slot-keys" => Flags::ALLOW_CROSS_SLOT,
            _ => return None,
        })
    }

    /// What the command that runs such a script does, beside what its row says.
    pub fn of_command(self, row: u64) -> u64 {
        if self.has(Flags::COMPAT) {
            return row;
        }
        let mut flags = row & !(cf::STALE | cf::DENYOOM | cf::WRITE | cf::MAY_REPLICATE);
        if !self.has(Flags::ALLOW_OOM | Flags::NO_WRITES) {
            flags |= cf::DENYOOM;
        }
        if !self.has(Flags::NO_WRITES) {
            flags |= cf::WRITE;
        }
        if self.has(Flags::ALLOW_STALE) {
            flags |= cf::STALE;
        }
        flags
    }
}

/// The flags of a script, and the length of its first line without the line end. An error is the text
/// for the client.
pub fn parse(body: &[u8]) -> Result<(Flags, usize), Vec<u8>> {
    if !body.starts_with(b"#!") {
        return Ok((Flags(Flags::COMPAT), 0));
    }
    let text = &body[..memchr::memchr(0, body).unwrap_or(body.len())];
    let Some(len) = memchr::memchr(b'\n', text) else {
        return Err(b"ERR Invalid script shebang".to_vec());
    };
    let words = split_args(&text[..len]).unwrap_or_default();
    let Some((engine, options)) = words.split_first() else {
        return Err(b"ERR Invalid engine in script shebang".to_vec());
    };
    if engine != b"#!lua" {
        return Err([b"ERR Unexpected engine in script shebang: ", &engine[..]].concat());
    }
    let mut flags = 0;
    for option in options {
        let Some(names) = option.strip_prefix(b"flags=") else {
            return Err([b"ERR Unknown lua shebang option: ", &option[..]].concat());
        };
        if names.is_empty() {
            continue;
        }
        for name in names.split(|b| *b == b',') {
            match Flags::named(name) {
                Some(bit) => flags |= bit,
                None => {
                    return Err([b"ERR Unexpected flag in script shebang: ", name].concat());
                }
            }
        }
    }
    Ok((Flags(flags), len))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_are_read_or_refused() {
        let plain = parse(b"return 1").expect("no header");
        assert_eq!(plain, (Flags(Flags::COMPAT), 0));
        let (flags, len) = parse(b"#!lua flags=no-writes,allow-oom\nreturn 1").expect("sound");
        assert_eq!((flags.0, len), (Flags::NO_WRITES | Flags::ALLOW_OOM, 31));
        for (text, why) in [
            ("#!lua", "Invalid script shebang"),
            ("#!not-lua\nreturn 1", "Unexpected engine in script shebang: #!not-lua"),
            ("#!lua badger=data\n", "Unknown lua shebang option: badger=data"),
            ("#!lua flags=x\n", "Unexpected flag in script shebang: x"),
        ] {
            let found = parse(text.as_bytes()).expect_err("broken");
            assert_eq!(String::from_utf8_lossy(&found), format!("ERR {why}"));
        }
    }
}
