//! The first line of a script: `#!lua flags=no-writes,allow-stale`. A script without one runs as scripts
//! did before there were flags. A library must have one, with its name: `#!lua name=mylib`; its functions
//! declare their flags each for itself.

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

    /// What is declared by name, in the order in which FUNCTION LIST shows it.
    pub const NAMES: [(u32, &str); 5] = [
        (Flags::NO_WRITES, "no-writes"),
        (Flags::ALLOW_OOM, "allow-oom"),
        (Flags::ALLOW_STALE, "allow-stale"),
        (Flags::NO_CLUSTER, "no-cluster"),
        (Flags::ALLOW_CROSS_SLOT, "allow-cross-slot-keys"),
    ];

    /// Of a name in a header.
    pub fn named(name: &[u8]) -> Option<u32> {
        Flags::NAMES.iter().find(|(_, n)| n.as_bytes() == name).map(|(bit, _)| *bit)
    }

    /// The declared ones by name.
    pub fn names(self) -> impl Iterator<Item = &'static str> + Clone {
        Flags::NAMES.iter().filter(move |(bit, _)| self.has(*bit)).map(|(_, name)| *name)
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
    let Some(line) = first_line(body) else {
        return Err(b"ERR Invalid script shebang".to_vec());
    };
    let words = split_args(line).unwrap_or_default();
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
    Ok((Flags(flags), line.len()))
}

/// The first line, when a line end follows before a NUL.
fn first_line(text: &[u8]) -> Option<&[u8]> {
    let at = memchr::memchr2(0, b'\n', text)?;
    text.get(..at).filter(|_| text.get(at) == Some(&b'\n'))
}

/// The header of a library.
#[derive(Debug, PartialEq, Eq)]
pub struct LibraryHeader {
    pub engine: Vec<u8>,
    pub name: Vec<u8>,
    /// Bytes of the first line without its end: the engine gets what follows.
    pub len: usize,
}

/// Reads the header of a library; an error is the text without its code.
pub fn parse_library(code: &[u8]) -> Result<LibraryHeader, Vec<u8>> {
    if !code.starts_with(b"#!") {
        return Err(b"Missing library metadata".to_vec());
    }
    let words = first_line(code).and_then(|line| Some((line.len(), split_args(line)?)));
    let Some((len, words)) = words else { return Err(b"Invalid library metadata".to_vec()) };
    let Some((engine, options)) = words.split_first() else {
        return Err(b"Invalid library metadata".to_vec());
    };
    let mut name = None;
    for option in options {
        match option.split_at_checked(5) {
            Some((word, value)) if word.eq_ignore_ascii_case(b"name=") => {
                if name.replace(value.to_vec()).is_some() {
                    let why = b"Invalid metadata value, name argument was given multiple times";
                    return Err(why.to_vec());
                }
            }
            _ => {
                let shown = option.split(|b| *b == 0).next().unwrap_or(b"");
                return Err([b"Invalid metadata value given: ", shown].concat());
            }
        }
    }
    let name = name.ok_or_else(|| b"Library name was not given".to_vec())?;
    Ok(LibraryHeader { engine: engine.get(2..).unwrap_or_default().to_vec(), name, len })
}

/// Is it a name that libraries and functions may have? An error is the text without its code.
pub fn check_name(name: &[u8]) -> Result<(), &'static str> {
    let good = |b: &u8| b.is_ascii_alphanumeric() || *b == b'_';
    if !name.is_empty() && name.iter().all(good) {
        return Ok(());
    }
    Err("Library names can only contain letters, numbers, or underscores(_) and must be at least one \
         character long")
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

    #[test]
    fn headers_of_libraries_are_read_or_refused() {
        let read = |text: &str| {
            parse_library(text.as_bytes()).map_err(|e| String::from_utf8_lossy(&e).into_owned())
        };
        let found = read("#!lua name=lib\ncode").expect("sound");
        assert_eq!((&found.engine[..], &found.name[..], found.len), (&b"lua"[..], &b"lib"[..], 14));
        assert_eq!(read("#! NAME=\"x y\"\n").expect("sound").name, b"x y");
        for (text, why) in [
            ("lua name=lib\n", "Missing library metadata"),
            ("#!lua name=lib", "Invalid library metadata"),
            ("#!lua name=lib\0\n", "Invalid library metadata"),
            ("#!lua name=\"lib\n", "Invalid library metadata"),
            ("#!lua\n", "Library name was not given"),
            ("#!lua nam\n", "Invalid metadata value given: nam"),
            ("#!lua name=a name=a\n", "Invalid metadata value, name argument was given multiple times"),
        ] {
            assert_eq!(read(text).expect_err("broken"), why);
        }
        assert!(check_name(b"a_Z9").is_ok());
        assert!([&b""[..], b"a-b", b"a\0", "\u{e9}".as_bytes()].iter().all(|n| check_name(n).is_err()));
    }
}
