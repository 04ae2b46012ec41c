//! Commands: the shape of a row, the families, and the table that joins them.

pub mod bitfield;
pub mod bitmap;
pub mod client;
pub mod command;
pub mod config;
pub mod connection;
pub mod databases;
pub mod debug;
pub mod docs;
pub mod dump;
pub mod expire;
pub mod generic;
pub mod geo;
pub mod hash;
pub mod help;
pub mod hyperloglog;
pub mod keys;
pub mod latency;
pub mod lcs;
pub mod list;
pub mod list_block;
pub mod lolwut;
pub mod memory;
pub mod numbers;
pub mod object;
pub mod persistence;
pub mod pubsub;
pub mod replication;
pub mod row;
pub mod scan;
pub mod scripting;
pub mod server;
pub mod set;
pub mod slowlog;
pub mod sort;
pub mod stream;
pub mod stream_claim;
pub mod stream_group;
pub mod stream_info;
pub mod stream_read;
pub mod string;
pub mod string_incr;
pub mod table;
pub mod timeout;
pub mod transactions;
pub mod zset;
pub mod zset_combine;
pub mod zset_pop;
pub mod zset_range;

use row::Command;

/// Every family's rows.
pub fn families() -> &'static [&'static [Command]] {
    static ALL: &[&[Command]] = &[
        string::ROWS,
        string_incr::ROWS,
        lcs::ROWS,
        bitmap::ROWS,
        bitfield::ROWS,
        zset::ROWS,
        zset_combine::ROWS,
        zset_pop::ROWS,
        zset_range::ROWS,
        geo::ROWS,
        hyperloglog::ROWS,
        generic::ROWS,
        list::ROWS,
        list_block::ROWS,
        stream::ROWS,
        stream_read::ROWS,
        stream_group::ROWS,
        stream_claim::ROWS,
        stream_info::ROWS,
        hash::ROWS,
        set::ROWS,
        sort::ROWS,
        dump::ROWS,
        command::ROWS,
        config::ROWS,
        expire::ROWS,
        scan::ROWS,
        object::ROWS,
        databases::ROWS,
        debug::ROWS,
        memory::ROWS,
        connection::ROWS,
        client::ROWS,
        server::ROWS,
        replication::ROWS,
        persistence::ROWS,
        slowlog::ROWS,
        latency::ROWS,
        lolwut::ROWS,
        scripting::ROWS,
        transactions::ROWS,
        pubsub::ROWS,
    ];
    ALL
}
