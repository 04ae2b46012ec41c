//! Commands: the shape of a row, the families, and the table that joins them.

pub mod bitfield;
pub mod bitmap;
pub mod command;
pub mod config;
pub mod connection;
pub mod databases;
pub mod debug;
pub mod docs;
pub mod expire;
pub mod generic;
pub mod hash;
pub mod help;
pub mod numbers;
pub mod object;
pub mod lcs;
pub mod keys;
pub mod pubsub;
pub mod row;
pub mod scan;
pub mod scripting;
pub mod server;
pub mod set;
pub mod string;
pub mod string_incr;
pub mod table;
pub mod transactions;

use row::Command;

/// Every family's rows.
pub fn families() -> &'static [&'static [Command]] {
    static ALL: &[&[Command]] = &[
        string::ROWS,
        string_incr::ROWS,
        lcs::ROWS,
        bitmap::ROWS,
        bitfield::ROWS,
        generic::ROWS,
        hash::ROWS,
        set::ROWS,
        command::ROWS,
        config::ROWS,
        expire::ROWS,
        scan::ROWS,
        object::ROWS,
        databases::ROWS,
        debug::ROWS,
        connection::ROWS,
        server::ROWS,
        scripting::ROWS,
        transactions::ROWS,
        pubsub::ROWS,
    ];
    ALL
}
