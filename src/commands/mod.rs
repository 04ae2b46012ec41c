//! Commands: the shape of a row, the families, and the table that joins them.

pub mod bitfield;
pub mod bitmap;
pub mod config;
pub mod connection;
pub mod docs;
pub mod generic;
pub mod lcs;
pub mod numbers;
pub mod pubsub;
pub mod row;
pub mod server;
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
        config::ROWS,
        connection::ROWS,
        server::ROWS,
        transactions::ROWS,
        pubsub::ROWS,
    ];
    ALL
}
