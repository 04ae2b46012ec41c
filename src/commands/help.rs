//! What commands with subcommands have in common: the reply of HELP, and the error for what HELP does
//! not list.

use crate::proto::error::CmdError;
use crate::server::ctx::Ctx;

use crate::cmd::row::Flow;

/// Replies `lines` between the heading and the line about HELP itself. A line that describes another
/// one is indented by four spaces.
pub fn reply(ctx: &mut Ctx<'_>, lines: &[&str]) -> Result<Flow, CmdError> {
    let name = String::from_utf8_lossy(ctx.args[0]).to_ascii_uppercase();
    ctx.out.array(lines.len() + 3);
    ctx.out.status(&format!("{name} <subcommand> [<arg> [value] [opt] ...]. Subcommands are:"));
    for line in lines {
        ctx.out.status(line);
    }
    ctx.out.status("HELP");
    ctx.out.status("    Print this help.");
    Ok(Flow::Done)
}

/// For handlers that look at their subcommand themselves.
pub fn unknown_subcommand(ctx: &mut Ctx<'_>) -> CmdError {
    let name = ctx.args[0].to_ascii_uppercase();
    let sub = c_text(ctx.args[1]);
    let sub = &sub[..sub.len().min(128)];
    let text = [
        b"ERR unknown subcommand or wrong number of arguments for '",
        sub,
        b"'. Try ",
        &name[..],
        b" HELP.",
    ];
    ctx.out.error_bytes(&text.concat());
    CmdError::Replied
}

/// As much of an argument as a C string holds.
pub fn c_text(arg: &[u8]) -> &[u8] {
    arg.split(|b| *b == 0).next().unwrap_or(b"")
}
