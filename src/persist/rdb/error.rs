//! Why a snapshot or a payload is not read.

use crate::sys::errno;
use std::borrow::Cow;
use std::{fmt, io};

#[derive(Debug)]
pub enum Error {
    /// The bytes end too early, or a length says so.
    Short,
    /// The source has no more at hand: the item is read again when it has. Nothing is wrong.
    NeedMore,
    /// A read failed: what follows is not known.
    Io(io::Error),
    /// No snapshot, or one of a later version.
    Signature,
    Version(u32),
    Checksum {
        expected: u64,
        got: u64,
    },
    /// A type that does not exist.
    Type(u8),
    /// A library in the form of a release candidate of 7.0, in a file of that version.
    PreRelease(u32),
    /// Data of a module, beside the keys.
    ModuleAux(String),
    /// Sound, but not for a server of this configuration.
    Unfit(String),
    /// A value that is not sound.
    Corrupt(Cow<'static, str>),
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::Short => f.write_str("Unexpected EOF reading RDB file"),
            Error::NeedMore => f.write_str("More bytes are needed"),
            Error::Io(e) => f.write_str(&errno::text(e)),
            Error::Signature => f.write_str("Wrong signature trying to load DB from file"),
            Error::Version(n) => write!(f, "Can't handle RDB format version {n}"),
            Error::Checksum { expected, got } => {
                write!(f, "Wrong RDB checksum expected: ({expected:x}) but got ({got:x})")
            }
            Error::Type(t) => write!(f, "Unknown RDB encoding type {t}"),
            Error::PreRelease(_) => f.write_str("Pre-release function format not supported."),
            Error::ModuleAux(name) => write!(
                f,
                "The RDB file contains AUX module data I can't load: no matching module '{name}'"
            ),
            Error::Unfit(why) => f.write_str(why),
            Error::Corrupt(why) => f.write_str(why),
        }
    }
}

impl From<&'static str> for Error {
    fn from(why: &'static str) -> Error {
        Error::Corrupt(why.into())
    }
}

impl From<String> for Error {
    fn from(why: String) -> Error {
        Error::Corrupt(why.into())
    }
}
