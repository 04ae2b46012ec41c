//! Commands: one file a family, its rows first and their handlers under them. `main` hands the rows to
//! the start of the server.

pub mod acl;
pub mod bitfield;
pub mod bitmap;
pub mod client;
pub mod cluster;
pub mod cluster_views;
pub mod command;
pub mod config;
pub mod connection;
pub mod databases;
pub mod debug;
pub mod dump;
pub mod expire;
pub mod failover;
pub mod function;
pub mod generic;
pub mod geo;
pub mod hash;
pub mod help;
pub mod hyperloglog;
pub mod latency;
pub mod lcs;
pub mod list;
pub mod list_block;
pub mod lolwut;
pub mod memory;
pub mod migrate;
pub mod numbers;
pub mod object;
pub mod persistence;
pub mod pubsub;
pub mod replication;
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
pub mod timeout;
pub mod transactions;
pub mod wait;
pub mod zset;
pub mod zset_combine;
pub mod zset_pop;
pub mod zset_range;

use crate::server::ctx::Command;

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
        wait::ROWS,
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
        migrate::ROWS,
        command::ROWS,
        config::ROWS,
        expire::ROWS,
        scan::ROWS,
        object::ROWS,
        databases::ROWS,
        debug::ROWS,
        memory::ROWS,
        connection::ROWS,
        acl::ROWS,
        cluster::ROWS,
        client::ROWS,
        server::ROWS,
        replication::ROWS,
        failover::ROWS,
        persistence::ROWS,
        slowlog::ROWS,
        latency::ROWS,
        lolwut::ROWS,
        scripting::ROWS,
        function::ROWS,
        transactions::ROWS,
        pubsub::ROWS,
    ];
    ALL
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cmd::row::flag;
    use crate::server::ctx::Table;

    #[test]
    fn every_command_is_found_by_its_name_in_any_case() {
        let t = Table::new(families(), &[]).expect("no renames");
        for (i, e) in t.entries.iter().enumerate() {
            assert_eq!(t.find_full(e.name.as_bytes()), Some(i as u16), "{}", e.name);
            assert_eq!(t.find_full(e.name.to_uppercase().as_bytes()), Some(i as u16), "{}", e.name);
        }
        assert_eq!(t.find(b"nosuchcommand"), None);
        assert_eq!(t.find(b"ge"), None);
        assert_eq!(t.find("gé".as_bytes()), None);
    }

    #[test]
    fn renamed_commands_answer_to_the_new_name_only() {
        let to = |a: &str, b: &str| (a.as_bytes().to_vec(), b.as_bytes().to_vec());
        let t = Table::new(families(), &[to("GET", "fetch"), to("set", "")]).expect("both exist");
        assert!(t.find(b"get").is_none() && t.find(b"set").is_none());
        assert_eq!(&*t.get(t.find(b"FETCH").expect("renamed")).name, "get");
        assert!(Table::new(families(), &[to("nosuch", "x")]).is_err());
        assert!(Table::new(families(), &[to("get", "del")]).is_err());
    }

    #[test]
    fn names_are_unique_and_arity_is_given() {
        let t = Table::new(families(), &[]).expect("no renames");
        let mut seen = std::collections::HashSet::new();
        for e in &t.entries {
            assert!(seen.insert(&e.name), "{} twice", e.name);
            assert_ne!(e.cmd.arity, 0, "{}", e.name);
            assert!(!e.cmd.docs.summary.is_empty(), "{} has docs", e.name);
        }
    }

    /// The commands with each flag that the judge reads, by name: a lost flag changes which are refused.
    #[test]
    fn rows_say_what_the_judge_asks() {
        let t = Table::new(families(), &[]).expect("no renames");
        let having = |flag: u64| {
            let mut names: Vec<_> =
                t.entries.iter().filter(|e| e.flags & flag != 0).map(|e| &*e.name).collect();
            names.sort_unstable();
            names.join(" ")
        };
        let subscribers =
            "psubscribe punsubscribe quit reset ssubscribe subscribe sunsubscribe unsubscribe";
        let expected = [
            (flag::MULTI, "multi"),
            (flag::EXEC, "exec"),
            (flag::ENDS_MULTI, "discard exec quit reset"),
            (flag::INSIDE_MULTI, "discard exec multi quit reset watch"),
            (flag::RUNS_SCRIPT, "eval eval_ro evalsha evalsha_ro fcall fcall_ro"),
            (flag::FUNCTION_BY_NAME, "fcall fcall_ro"),
            (flag::SCRIPT_BY_NAME, "evalsha evalsha_ro"),
            (flag::WHILE_SUBSCRIBED, &*format!("ping {subscribers}")),
            (flag::REPORTS_DISK, "ping"),
            (flag::TOUCHES, "touch"),
            (flag::PROTECTED, "debug"),
            (flag::HANDS_OVER, "migrate"),
        ];
        for (flag, names) in expected {
            assert_eq!(having(flag), names);
        }
    }
}
