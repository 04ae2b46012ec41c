//! Commands as facts: the shape of a row, the table that joins the rows, which arguments are keys, and
//! what COMMAND DOCS says. Generic over the handler: what runs a command is known to `server/` and
//! `commands/` only.

pub mod docs;
pub mod keys;
pub mod row;
pub mod table;
