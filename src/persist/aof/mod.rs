//! The append only file: a log of commands in several files.
//!
//! ```text
//! manifest ─► base        a snapshot (RDB), or the commands that make it
//!          ─► increments  commands as the protocol writes them, with #TS: lines between them
//! ```

pub mod encode;
pub mod manifest;
pub mod read;

/// A command as the protocol writes it.
pub fn push_command(out: &mut Vec<u8>, args: &[&[u8]]) {
    let mut text = itoa::Buffer::new();
    out.push(b'*');
    out.extend_from_slice(text.format(args.len()).as_bytes());
    for a in args {
        out.extend_from_slice(b"\r\n$");
        out.extend_from_slice(text.format(a.len()).as_bytes());
        out.extend_from_slice(b"\r\n");
        out.extend_from_slice(a);
    }
    out.extend_from_slice(b"\r\n");
}

/// The line that says when what follows was written, in Unix seconds.
pub fn push_timestamp(out: &mut Vec<u8>, seconds: i64) {
    out.extend_from_slice(format!("#TS:{seconds}\r\n").as_bytes());
}
