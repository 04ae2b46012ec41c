//! What a handler returns instead of a reply. Small, so that `Result<Flow, CmdError>` travels in
//! registers; the common errors are variants, any other fixed text is a reference to a constant.

/// The text includes its code: `ERR ...`, `WRONGTYPE ...`.
#[derive(Debug)]
pub enum CmdError {
    WrongType,
    Syntax,
    NotInteger,
    NotFloat,
    OutOfRange,
    NoSuchKey,
    /// `CmdError::Msg(&"ERR some text")`
    Msg(&'static &'static str),
    Text(Box<String>),
    /// The reply has been written already; only the failure counts.
    Replied,
}

const _: () = assert!(size_of::<CmdError>() <= 16);

impl CmdError {
    pub fn text(text: impl Into<String>) -> Self {
        CmdError::Text(Box::new(text.into()))
    }

    /// Wrong number of arguments for the command of this (full) name.
    pub fn arity(name: &str) -> Self {
        Self::text(format!("ERR wrong number of arguments for '{name}' command"))
    }

    pub fn as_str(&self) -> &str {
        match self {
            CmdError::WrongType => "WRONGTYPE Operation against a key holding the wrong kind of value",
            CmdError::Syntax => "ERR syntax error",
            CmdError::NotInteger => "ERR value is not an integer or out of range",
            CmdError::NotFloat => "ERR value is not a valid float",
            CmdError::OutOfRange => "ERR index out of range",
            CmdError::NoSuchKey => "ERR no such key",
            CmdError::Msg(s) => s,
            CmdError::Text(s) => s,
            CmdError::Replied => "",
        }
    }
}
