//! Commands: the shape of a row, the families, and the table that joins them.

pub mod command;
pub mod config;
pub mod connection;
pub mod databases;
pub mod debug;
pub mod docs;
pub mod expire;
pub mod generic;
pub mod help;
pub mod numbers;
pub mod object;
pub mod keys;
pub mod pubsub;
pub mod row;
pub mod scan;
pub mod server;
pub mod string;
pub mod table;
pub mod tables;
pub mod transactions;

use row::Command;

/// Every family's rows.
pub fn families() -> &'static [&'static [Command]] {
    static ALL: &[&[Command]] = &[
        string::ROWS,
        generic::ROWS,
        command::ROWS,
        config::ROWS,
        expire::ROWS,
        scan::ROWS,
        object::ROWS,
        databases::ROWS,
        debug::ROWS,
        connection::ROWS,
        server::ROWS,
        transactions::ROWS,
        pubsub::ROWS,
    ];
    ALL
}
