//! SENTINEL, which only a sentinel has.

use super::help;
use crate::cmd::docs;
use crate::cmd::row::flag::*;
use crate::cmd::row::{Docs, Flow};
use crate::proto::error::CmdError;
use crate::sentinel::Ask;
use crate::server::ctx::{Command, Ctx, Handler, ROW};
use crate::server::sentinel;

const fn sub(name: &'static str, arity: i32, run: Handler, docs: &'static Docs) -> Command {
    Command { name, arity, flags: ADMIN | SENTINEL | ONLY_SENTINEL, run, docs, ..ROW }
}

pub static ROWS: &[Command] = &[Command {
    name: "sentinel",
    arity: -2,
    flags: ADMIN | SENTINEL | ONLY_SENTINEL,
    docs: &docs::SENTINEL,
    subs: &[
        sub("ckquorum", 3, |c| answer(c, Ask::CkQuorum), &docs::SENTINEL_CKQUORUM),
        Command {
            secrets: Some(|args| secrets(args, b"sentinel-pass")),
            ..sub("config", -4, |c| answer(c, Ask::Config), &docs::SENTINEL_CONFIG)
        },
        sub("debug", -2, |c| answer(c, Ask::Debug), &docs::SENTINEL_DEBUG),
        sub("failover", 3, |c| answer(c, Ask::Failover), &docs::SENTINEL_FAILOVER),
        sub("flushconfig", 2, |c| answer(c, Ask::FlushConfig), &docs::SENTINEL_FLUSHCONFIG),
        sub(
            "get-master-addr-by-name",
            3,
            |c| answer(c, Ask::GetMasterAddrByName),
            &docs::SENTINEL_GET_MASTER_ADDR_BY_NAME,
        ),
        Command {
            name: "help",
            arity: 2,
            flags: LOADING | STALE | SENTINEL | ONLY_SENTINEL,
            run: help_,
            docs: &docs::SENTINEL_HELP,
            ..ROW
        },
        sub("info-cache", -3, |c| answer(c, Ask::InfoCache), &docs::SENTINEL_INFO_CACHE),
        sub(
            "is-master-down-by-addr",
            6,
            |c| answer(c, Ask::IsMasterDownByAddr),
            &docs::SENTINEL_IS_MASTER_DOWN_BY_ADDR,
        ),
        sub("master", 3, |c| answer(c, Ask::Master), &docs::SENTINEL_MASTER),
        sub("masters", 2, |c| answer(c, Ask::Masters), &docs::SENTINEL_MASTERS),
        sub("monitor", 6, |c| answer(c, Ask::Monitor), &docs::SENTINEL_MONITOR),
        sub("myid", 2, |c| answer(c, Ask::MyId), &docs::SENTINEL_MYID),
        sub("pending-scripts", 2, |c| answer(c, Ask::PendingScripts), &docs::SENTINEL_PENDING_SCRIPTS),
        sub("remove", 3, |c| answer(c, Ask::Remove), &docs::SENTINEL_REMOVE),
        sub("replicas", 3, |c| answer(c, Ask::Replicas), &docs::SENTINEL_REPLICAS),
        sub("reset", 3, |c| answer(c, Ask::Reset), &docs::SENTINEL_RESET),
        sub("sentinels", 3, |c| answer(c, Ask::Sentinels), &docs::SENTINEL_SENTINELS),
        Command {
            secrets: Some(|args| secrets(args, b"auth-pass")),
            ..sub("set", -5, |c| answer(c, Ask::Set), &docs::SENTINEL_SET)
        },
        sub(
            "simulate-failure",
            -3,
            |c| answer(c, Ask::SimulateFailure),
            &docs::SENTINEL_SIMULATE_FAILURE,
        ),
        sub("slaves", 3, |c| answer(c, Ask::Replicas), &docs::SENTINEL_SLAVES),
    ],
    ..ROW
}];

/// The words behind a password's option.
fn secrets(args: &[&[u8]], option: &[u8]) -> Vec<usize> {
    (4..args.len()).filter(|i| args[i - 1].eq_ignore_ascii_case(option)).collect()
}

fn answer(ctx: &mut Ctx<'_>, ask: Ask) -> Result<Flow, CmdError> {
    let reply = sentinel::ask(ctx.srv, ask, ctx.args.from(2));
    sentinel::write(ctx.out, &reply)
}

fn help_(ctx: &mut Ctx<'_>) -> Result<Flow, CmdError> {
    let lines = [
        "CKQUORUM <master-name>",
        "    Whether enough sentinels are there to agree on a failover and to authorize it.",
        "CONFIG SET param value [param value ...]",
        "    Change settings of this sentinel.",
        "CONFIG GET <param> [param param param ...]",
        "    The settings that match, with their values.",
        "DEBUG [<param> <value> ...]",
        "    The periods of this sentinel in milliseconds, or new values for some.",
        "FAILOVER <master-name>",
        "    Begin a failover without asking the other sentinels.",
        "FLUSHCONFIG",
        "    Write settings and state into the configuration file.",
        "GET-MASTER-ADDR-BY-NAME <master-name>",
        "    Host and port of the master.",
        "INFO-CACHE <master-name>",
        "    The last INFO of the master and of its replicas.",
        "IS-MASTER-DOWN-BY-ADDR <ip> <port> <current-epoch> <runid>",
        "    Whether the master at that address is down for this sentinel, and its vote.",
        "MASTER <master-name>",
        "    What is known of the master.",
        "MASTERS",
        "    What is known of all masters.",
        "MONITOR <name> <ip> <port> <quorum>",
        "    Begin to watch a master.",
        "MYID",
        "    The id of this sentinel.",
        "PENDING-SCRIPTS",
        "    The scripts that run or wait to run.",
        "REMOVE <master-name>",
        "    End the watch over the master.",
        "REPLICAS <master-name>",
        "    What is known of the replicas of the master.",
        "RESET <pattern>",
        "    Forget replicas, sentinels and states of the masters that match.",
        "SENTINELS <master-name>",
        "    What is known of the other sentinels of the master.",
        "SET <master-name> <option> <value> [<option> <value> ...]",
        "    Change how the master is watched.",
        "SIMULATE-FAILURE [CRASH-AFTER-ELECTION] [CRASH-AFTER-PROMOTION] [HELP]",
        "    Let this sentinel fail in the middle of a failover.",
    ];
    help::reply(ctx, &lines)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passwords_are_found() {
        let words: Vec<&[u8]> = vec![b"sentinel", b"set", b"m", b"Auth-Pass", b"x", b"quorum", b"1"];
        assert_eq!(secrets(&words, b"auth-pass"), [4]);
        assert!(secrets(&words, b"sentinel-pass").is_empty());
    }
}
