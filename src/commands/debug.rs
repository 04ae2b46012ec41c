//! DEBUG: switches and looks inside, for tests. Refused unless `enable-debug-command` allows it (see
//! `dispatch`).
//!
//! Each subcommand is a row of `SUBS`: its name, how many arguments it takes (with `DEBUG` itself), its
//! lines of HELP and its function. A name with a wrong number of arguments is as unknown as a wrong
//! name.

use super::help;
use super::numbers::{integer, positive};
use super::object::{lookup, refcount};
use crate::algo::num::loose;
use crate::algo::num::{parse_f64, parse_memory};
use crate::cluster::Event;
use crate::cmd::docs;
use crate::cmd::row::Flow;
use crate::cmd::row::flag::*;
use crate::ds::dict::Index;
use crate::ds::entry::{EntryRef, enc, ty};
use crate::ds::listpack::Element;
use crate::ds::quicklist::{NodeBytes, PACKED_THRESHOLD, PACKED_THRESHOLD_MAX};
use crate::keyspace::store::{New, Ttl};
use crate::object::digest::Digest;
use crate::object::hash::Hash;
use crate::object::list::List;
use crate::object::set::Set;
use crate::object::tables::{self, Full};
use crate::object::value::{EMBSTR_MAX, Value, View, encoding_name};
use crate::object::zset::Zset;
use crate::persist::aof::push_command;
use crate::persist::rdb::save::value_len;
use crate::proto::args::Key;
use crate::proto::error::CmdError;
use crate::server::ctx::{Command, Ctx, ROW};
use crate::server::switches::REPLY_PEAK_RESET_MS;
use crate::server::{
    Server, ServerStates, aof, aof_load, apply, bus, function, jobs, master, policy, rewrite, script,
    settle, shutdown,
};
use crate::sys::{alloc, crash, fault};
use std::ffi::OsStr;
use std::io::Write;
use std::ops::RangeInclusive;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process;
use std::time::Duration;

pub static ROWS: &[Command] = &[Command {
    name: "debug",
    arity: -2,
    flags: ADMIN | NOSCRIPT | LOADING | STALE | PROTECTED_DEBUG,
    run: debugCommand,
    docs: &docs::DEBUG,
    ..ROW
}];

type Run = fn(&mut Ctx<'_>) -> Result<(), CmdError>;

struct Sub {
    name: &'static str,
    args: RangeInclusive<usize>,
    help: &'static [&'static str],
    run: Run,
}

const fn sub(
    name: &'static str,
    args: RangeInclusive<usize>,
    help: &'static [&'static str],
    run: Run,
) -> Sub {
    Sub { name, args, help, run }
}

const ANY: usize = usize::MAX;

static SUBS: &[Sub] = &[
    sub("ASSERT", 2..=ANY, &["ASSERT", "    Fail an assertion, and crash with it."], assert),
    sub(
        "CHANGE-REPL-ID",
        2..=2,
        &["CHANGE-REPL-ID", "    Take another replication ID, so that no replica can go on."],
        change_repl_id,
    ),
    sub(
        "CLIENT-EVICTION",
        2..=2,
        &["CLIENT-EVICTION", "    Show clients by the memory they use, as maxmemory-clients sees them."],
        client_eviction,
    ),
    sub(
        "CLUSTERLINK",
        5..=5,
        &[
            "CLUSTERLINK KILL <to|from|all> <node-id>",
            "    Cut the connections to a node of the cluster, from it, or both.",
        ],
        kill_links,
    ),
    sub(
        "CONFIG-REWRITE-FORCE-ALL",
        2..=2,
        &["CONFIG-REWRITE-FORCE-ALL", "    Write the configuration back into its file, defaults too."],
        config_rewrite_force_all,
    ),
    sub(
        "CRASH-AND-RECOVER",
        2..=ANY,
        &[
            "CRASH-AND-RECOVER [<milliseconds>]",
            "    End without order, and start again after this time (default 0).",
        ],
        |ctx| restart(ctx, false),
    ),
    sub("DIGEST", 2..=2, &["DIGEST", "    Show a fingerprint of all data."], digest),
    sub(
        "DIGEST-VALUE",
        2..=ANY,
        &["DIGEST-VALUE <key> [<key> ...]", "    Show a fingerprint of each of these values."],
        digest_value,
    ),
    sub(
        "DROP-CLUSTER-PACKET-FILTER",
        3..=3,
        &["DROP-CLUSTER-PACKET-FILTER <type>", "    Drop packets of this type (-1: none)."],
        |ctx| {
            let kind = u16::try_from(loose(ctx.args[2])).ok();
            bus::event(ctx.srv, Event::DropFilter(kind));
            ok(ctx)
        },
    ),
    sub("ERROR", 3..=3, &["ERROR <string>", "    Reply with this error, for tests of clients."], error),
    sub(
        "LISTPACK",
        3..=3,
        &["LISTPACK <key>", "    Print the listpack that is a key's value, to the standard output."],
        listpack,
    ),
    sub("LEAK", 3..=3, &["LEAK <string>", "    Leak the memory of a copy of the string."], leak),
    sub("LOG", 3..=3, &["LOG <message>", "    Write the message to the log."], log),
    sub(
        "HTSTATS",
        3..=ANY,
        &["HTSTATS <dbid> [full]", "    Show figures of the hash tables of a database."],
        htstats,
    ),
    sub(
        "HTSTATS-KEY",
        3..=ANY,
        &["HTSTATS-KEY <key> [full]", "    Show figures of the hash table that is a key's value."],
        htstats_key,
    ),
    sub(
        "MALLCTL",
        3..=ANY,
        &["MALLCTL <key> [<val>]", "    Read or change a number of the allocator."],
        mallctl,
    ),
    sub(
        "MALLCTL-STR",
        3..=ANY,
        &["MALLCTL-STR <key> [<val>]", "    Read or change a text of the allocator."],
        mallctl_str,
    ),
    sub("OBJECT", 3..=3, &["OBJECT <key>", "    Show what is known about the value of a key."], object),
    sub("OOM", 2..=ANY, &["OOM", "    Run out of memory, and crash with it."], oom),
    sub("PANIC", 2..=ANY, &["PANIC", "    Give up, and crash with it."], panic),
    sub(
        "POPULATE",
        3..=5,
        &[
            "POPULATE <count> [<prefix>] [<size>]",
            "    Create <count> strings named <prefix>:<num>, key:<num> without a prefix.",
            "    They do not reach replicas, and slots of a cluster are not looked at.",
        ],
        populate,
    ),
    sub(
        "PROTOCOL",
        3..=3,
        &[
            "PROTOCOL <type>",
            "    Reply something of this type: string, integer, double, bignum, null, array,",
            "    set, map, attrib, push, verbatim, true, false.",
        ],
        protocol,
    ),
    sub(
        "QUICKLIST-PACKED-THRESHOLD",
        3..=3,
        &[
            "QUICKLIST-PACKED-THRESHOLD <size>",
            "    From which length on elements get a node of their own in a quicklist: up to 4gb,",
            "    0 for the usual 1gb.",
        ],
        packed_threshold,
    ),
    sub(
        "SDSLEN",
        3..=3,
        &["SDSLEN <key>", "    Show the lengths of a key and its string, and what they occupy."],
        sdslen,
    ),
    sub("SEGFAULT", 2..=ANY, &["SEGFAULT", "    Write where nothing may be written."], segfault),
    sub(
        "SET-ACTIVE-EXPIRE",
        3..=3,
        &["SET-ACTIVE-EXPIRE <0|1>", "    Whether keys expire without being looked at."],
        |ctx| {
            ctx.srv.switches.active_expire = loose(ctx.args[2]) != 0;
            ok(ctx)
        },
    ),
    sub(
        "SET-DISABLE-DENY-SCRIPTS",
        3..=3,
        &["SET-DISABLE-DENY-SCRIPTS <0|1>", "    Whether scripts may call what is denied to them."],
        |ctx| {
            ctx.srv.switches.allow_denied_in_scripts = loose(ctx.args[2]) != 0;
            ok(ctx)
        },
    ),
    sub(
        "SET-SKIP-CHECKSUM-VALIDATION",
        3..=3,
        &[
            "SET-SKIP-CHECKSUM-VALIDATION <0|1>",
            "    Whether checksums of RDB files and of RESTORE go unchecked.",
        ],
        |ctx| {
            ctx.srv.switches.skip_checksums = loose(ctx.args[2]) != 0;
            ok(ctx)
        },
    ),
    sub(
        "AOF-FLUSH-SLEEP",
        3..=3,
        &["AOF-FLUSH-SLEEP <microsec>", "    Sleep before each flush of the AOF."],
        |ctx| {
            ctx.srv.switches.aof_flush_sleep_us = loose(ctx.args[2]);
            ok(ctx)
        },
    ),
    sub(
        "QUICKLIST",
        3..=4,
        &[
            "QUICKLIST <key> [<0|1>]",
            "    Print the quicklist that is a key's value, to the standard output; with 1 also",
            "    the bytes of its nodes.",
        ],
        quicklist,
    ),
    sub(
        "RESTART",
        2..=ANY,
        &[
            "RESTART [<milliseconds>]",
            "    Save configuration and data, and start again after this time (default 0).",
        ],
        |ctx| restart(ctx, true),
    ),
    sub("LOADAOF", 2..=ANY, &["LOADAOF", "    Forget the data and read the append only file."], loadaof),
    sub(
        "RELOAD",
        2..=5,
        &["RELOAD [MERGE] [NOFLUSH] [NOSAVE]", "    Save the data, forget it, and load it again."],
        reload,
    ),
    sub(
        "REPLICATE",
        3..=ANY,
        &[
            "REPLICATE <command>",
            "    Send replicas a command that is not run here: the data then differ.",
        ],
        replicate,
    ),
    sub("SLEEP", 3..=3, &["SLEEP <seconds>", "    Do nothing for this time, fractions allowed."], sleep),
    sub(
        "STRINGMATCH-TEST",
        2..=2,
        &["STRINGMATCH-TEST", "    Match random strings against random patterns."],
        stringmatch_test,
    ),
    sub("STRUCTSIZE", 2..=2, &["STRUCTSIZE", "    Show the sizes of some structures."], structsize),
    sub("PAUSE-CRON", 3..=3, &["PAUSE-CRON <0|1>", "    Whether periodic work rests."], |ctx| {
        ctx.srv.switches.pause_cron = loose(ctx.args[2]) != 0;
        ok(ctx)
    }),
    sub(
        "REPLYBUFFER",
        4..=4,
        &[
            "REPLYBUFFER PEAK-RESET-TIME <NEVER||RESET|time>",
            "    After how many milliseconds the peak of a reply buffer is forgotten: never, by",
            "    default, or at this time.",
            "REPLYBUFFER RESIZING <0|1>",
            "    Whether reply buffers follow their peaks.",
        ],
        replybuffer,
    ),
];

#[expect(non_snake_case, reason = "the name that is looked for in the trace of a watchdog")]
fn debugCommand(ctx: &mut Ctx<'_>) -> Result<Flow, CmdError> {
    let name = ctx.args[1];
    if name.eq_ignore_ascii_case(b"help") && ctx.args.len() == 2 {
        let lines: Vec<&str> = SUBS.iter().flat_map(|s| s.help).copied().collect();
        return help::reply(ctx, &lines);
    }
    let n = ctx.args.len();
    match SUBS.iter().find(|s| name.eq_ignore_ascii_case(s.name.as_bytes()) && s.args.contains(&n)) {
        Some(sub) => (sub.run)(ctx)?,
        None => return Err(help::unknown_subcommand(ctx)),
    }
    Ok(Flow::Done)
}

fn ok(ctx: &mut Ctx<'_>) -> Result<(), CmdError> {
    ctx.out.ok();
    Ok(())
}

// ---- crashes ---------------------------------------------------------------------------------

fn segfault(_: &mut Ctx<'_>) -> Result<(), CmdError> {
    fault::segfault();
    Ok(())
}

fn panic(ctx: &mut Ctx<'_>) -> Result<(), CmdError> {
    let text = format!("DEBUG PANIC called at Unix time {}", ctx.srv.clock.unix_secs());
    crash::software_failure(&text, file!(), line!())
}

fn assert(_: &mut Ctx<'_>) -> Result<(), CmdError> {
    crash::assertion_failed("1 == 2", file!(), line!())
}

fn oom(ctx: &mut Ctx<'_>) -> Result<(), CmdError> {
    std::hint::black_box(Vec::<u8>::with_capacity(isize::MAX as usize));
    ok(ctx)
}

fn replicate(ctx: &mut Ctx<'_>) -> Result<(), CmdError> {
    let mut command = Vec::new();
    push_command(&mut command, ctx.args.from(2));
    master::originate(ctx.srv, &command);
    ok(ctx)
}

fn change_repl_id(ctx: &mut Ctx<'_>) -> Result<(), CmdError> {
    crate::notice!("Changing replication IDs after receiving DEBUG change-repl-id");
    ctx.srv.repl.change_id();
    ok(ctx)
}

/// Replaces this process by a new one of the same program with the same arguments.
fn restart(ctx: &mut Ctx<'_>, orderly: bool) -> Result<(), CmdError> {
    const FAILED: CmdError = CmdError::Msg(&"ERR failed to restart the server. Check server logs.");
    let delay = ctx.args.get(2).map(|a| integer(a)).transpose()?.unwrap_or(0);
    let srv = &mut *ctx.srv;
    if orderly {
        if let Some(file) = &srv.process.config_file
            && let Err(e) = apply::rewrite_file(srv, Path::new(OsStr::from_bytes(file)), false)
        {
            crate::warning!("Can't restart: configuration rewrite process failed: {e}");
            return Err(FAILED);
        }
        if !shutdown::begin(srv, crate::config::shutdown::NOW) {
            crate::warning!("Can't restart: error preparing for shutdown");
            return Err(FAILED);
        }
    }
    std::thread::sleep(Duration::from_millis(u64::try_from(delay).unwrap_or(0)));
    let arguments = srv.process.argv.iter().skip(1).map(|a| OsStr::from_bytes(a));
    // Descriptors are closed by it: all are opened that way.
    let e = process::Command::new(OsStr::from_bytes(&srv.process.executable)).args(arguments).exec();
    crate::warning!("Can't restart: {}: {e}", String::from_utf8_lossy(&srv.process.executable));
    if orderly {
        process::exit(1);
    }
    Err(FAILED)
}

/// A line for each element, or node.
fn print(mut lines: impl Iterator<Item = String>) -> std::io::Result<()> {
    let mut out = std::io::stdout().lock();
    lines.try_for_each(|l| writeln!(out, "{l}"))?;
    out.flush()
}

fn not_printed(e: std::io::Error) -> CmdError {
    CmdError::text(format!("ERR standard output: {e}"))
}

fn show(n: usize, e: Element<'_>) -> String {
    e.with_text(|text| format!("{n}: {}", text.escape_ascii()))
}

fn listpack(ctx: &mut Ctx<'_>) -> Result<(), CmdError> {
    let found = lookup(ctx, 2).ok_or(CmdError::NoSuchKey)?;
    let e = ctx.srv.ks.at(&found);
    if e.enc() != enc::LISTPACK {
        return Err(CmdError::Msg(&"ERR Not a listpack encoded object."));
    }
    match &*Value::lent(e) {
        Value::List(List::Packed(l))
        | Value::Set(Set::Packed(l))
        | Value::Hash(Hash::Packed(l))
        | Value::Zset(Zset::Packed(l)) => {
            let head = format!("listpack of {} in {} bytes", l.len(), l.bytes().len());
            let elements = l.iter().enumerate().map(|(i, e)| show(i, e));
            print(std::iter::once(head).chain(elements)).map_err(not_printed)?;
        }
        _ => return Err(CmdError::Msg(&"ERR Not a listpack encoded object.")),
    }
    ctx.out.status("Listpack structure printed on stdout");
    Ok(())
}

fn quicklist(ctx: &mut Ctx<'_>) -> Result<(), CmdError> {
    let found = lookup(ctx, 2).ok_or(CmdError::NoSuchKey)?;
    let full = ctx.args.get(3).is_some_and(|a| loose(a) != 0);
    let list = View::<List>::of(ctx.srv.ks.at(&found));
    let Some(List::Quick(q)) = list.as_deref() else {
        return Err(CmdError::Msg(&"ERR Not a quicklist encoded object."));
    };
    let nodes = q.nodes().enumerate().map(|(i, n)| match n.bytes {
        NodeBytes::Raw(b) if full => format!("node {i}: {n:?}: {}", b.escape_ascii()),
        _ => format!("node {i}: {n:?}"),
    });
    let head = format!("quicklist of {} in {} nodes", q.len(), q.node_count());
    print(std::iter::once(head).chain(nodes)).map_err(not_printed)?;
    ctx.out.status("Quicklist structure printed on stdout");
    Ok(())
}

fn config_rewrite_force_all(ctx: &mut Ctx<'_>) -> Result<(), CmdError> {
    let file = ctx.srv.process.config_file.clone().unwrap_or_default();
    if apply::rewrite_file(ctx.srv, Path::new(OsStr::from_bytes(&file)), true).is_err() {
        return Err(CmdError::Msg(&"ERR CONFIG-REWRITE-FORCE-ALL failed"));
    }
    ok(ctx)
}

fn leak(ctx: &mut Ctx<'_>) -> Result<(), CmdError> {
    Box::leak(Box::<[u8]>::from(ctx.args[2]));
    ok(ctx)
}

// ---- replies ---------------------------------------------------------------------------------

fn error(ctx: &mut Ctx<'_>) -> Result<(), CmdError> {
    let text = ctx.args[2];
    ctx.out.error_bytes(text);
    Err(CmdError::Replied)
}

fn log(ctx: &mut Ctx<'_>) -> Result<(), CmdError> {
    crate::warning!("DEBUG LOG: {}", String::from_utf8_lossy(ctx.args[2]));
    ok(ctx)
}

fn protocol(ctx: &mut Ctx<'_>) -> Result<(), CmdError> {
    let out = &mut *ctx.out;
    match &ctx.args[2].to_ascii_lowercase()[..] {
        b"string" => out.bulk(b"Hello World"),
        b"integer" => out.int(12345),
        b"double" => out.double_text(b"3.141"),
        b"bignum" => out.big_number(b"1234567999999999999999999999999999999"),
        b"null" => out.null(),
        b"array" => {
            out.array(3);
            (0..3).for_each(|n| out.int(n));
        }
        b"set" => {
            out.set(3);
            (0..3).for_each(|n| out.int(n));
        }
        b"map" => {
            out.map(3);
            for n in 0..3 {
                out.int(n);
                out.bool(n == 1);
            }
        }
        b"attrib" => {
            if out.resp3 {
                out.attribute(1);
                out.bulk(b"key-popularity");
                out.array(2);
                out.bulk(b"key:123");
                out.int(90);
            }
            // An attribute is no reply of its own: a reply must follow it.
            out.bulk(b"Some real reply following the attribute");
        }
        b"push" if !out.resp3 => {
            return Err(CmdError::Msg(&"ERR RESP2 is not supported by this command"));
        }
        b"push" => {
            out.push(2);
            out.bulk(b"server-cpu-usage");
            out.int(42);
            // Nor is a push.
            out.bulk(b"Some real reply following the push reply");
        }
        b"verbatim" => out.verbatim(b"txt", b"This is a verbatim\nstring"),
        b"true" => out.bool(true),
        b"false" => out.bool(false),
        _ => {
            return Err(CmdError::Msg(
                &"ERR Wrong protocol type name. Please use one of the following: \
                  string|integer|double|bignum|null|array|set|map|attrib|push|verbatim|true|false",
            ));
        }
    }
    Ok(())
}

fn replybuffer(ctx: &mut Ctx<'_>) -> Result<(), CmdError> {
    let (what, value) = (ctx.args[2], ctx.args[3]);
    let switches = &mut ctx.srv.switches;
    if what.eq_ignore_ascii_case(b"peak-reset-time") {
        switches.reply_peak_reset_ms = if value.eq_ignore_ascii_case(b"never") {
            -1
        } else if value.eq_ignore_ascii_case(b"reset") {
            REPLY_PEAK_RESET_MS
        } else {
            integer(value)?
        };
    } else if what.eq_ignore_ascii_case(b"resizing") {
        switches.reply_resizing = loose(value) != 0;
    } else {
        return Err(help::unknown_subcommand(ctx));
    }
    ok(ctx)
}

/// Refuses to load while a load is under way: a nested pass of that load runs this command.
fn not_loading(ctx: &Ctx<'_>) -> Result<(), CmdError> {
    match ctx.srv.states.has(ServerStates::LOADING) {
        true => Err(CmdError::Msg(&"LOADING Redis is loading the dataset in memory")),
        false => Ok(()),
    }
}

fn reload(ctx: &mut Ctx<'_>) -> Result<(), CmdError> {
    not_loading(ctx)?;
    script::none_runs(ctx.srv)?;
    let (mut merge, mut flush, mut save) = (false, true, true);
    for word in ctx.args.from(2) {
        match &word.to_ascii_lowercase()[..] {
            b"merge" => merge = true,
            b"noflush" => flush = false,
            b"nosave" => save = false,
            _ => {
                return Err(CmdError::Msg(
                    &"ERR DEBUG RELOAD only supports the MERGE, NOFLUSH and NOSAVE options.",
                ));
            }
        }
    }
    if save {
        jobs::save_now(ctx.srv).map_err(|_| CmdError::Msg(&"ERR"))?;
    }
    if flush {
        forget_all(ctx.srv);
    }
    let loaded = jobs::load_file(ctx.srv, jobs::LoadFor::Again { merge });
    policy::refresh(ctx.srv);
    // The log has been told why.
    loaded.map_err(|_| CmdError::Msg(&"ERR Error trying to load the RDB dump, check server logs."))?;
    crate::notice!("DB reloaded by DEBUG RELOAD");
    ok(ctx)
}

/// Forgets all data, libraries of functions too.
fn forget_all(srv: &mut Server) {
    settle::before_flush(srv, None, false);
    srv.ks.flush(None, false);
    function::flush(srv);
}

fn loadaof(ctx: &mut Ctx<'_>) -> Result<(), CmdError> {
    not_loading(ctx)?;
    script::none_runs(ctx.srv)?;
    let srv = &mut *ctx.srv;
    rewrite::finish_handover(srv);
    aof::flush(srv, true);
    forget_all(srv);
    if !aof_load::again(srv) {
        return Err(CmdError::Msg(&"ERR Error trying to load the AOF files, check server logs."));
    }
    crate::notice!("Append Only File loaded by DEBUG LOADAOF");
    ok(ctx)
}

fn sleep(ctx: &mut Ctx<'_>) -> Result<(), CmdError> {
    let seconds = parse_f64(ctx.args[2]).filter(|s| *s > 0.0).unwrap_or(0.0);
    let micros = (seconds * 1e6).min(i64::MAX as f64) as u64;
    std::thread::sleep(Duration::from_micros(micros));
    ok(ctx)
}

// ---- data ------------------------------------------------------------------------------------

/// The entry of the key at argument `at`, expired or not, without a trace.
fn bare<'k>(ctx: &'k Ctx<'_>, at: usize) -> Result<EntryRef<'k>, CmdError> {
    ctx.srv.ks.peek(ctx.db, ctx.key(at)).ok_or(CmdError::NoSuchKey)
}

fn digest(ctx: &mut Ctx<'_>) -> Result<(), CmdError> {
    let mut all = Digest::default();
    for (n, db) in ctx.srv.ks.iter().filter(|(_, db)| !db.is_empty()) {
        all.mix(&(n as u32).to_be_bytes());
        db.iter().for_each(|e| all.entry(e));
    }
    ctx.out.status(&all.hex());
    Ok(())
}

fn digest_value(ctx: &mut Ctx<'_>) -> Result<(), CmdError> {
    ctx.out.array(ctx.args.len() - 2);
    for i in 2..ctx.args.len() {
        let mut d = Digest::default();
        if let Ok(e) = bare(ctx, i) {
            d.value(e);
        }
        ctx.out.status(&d.hex());
    }
    Ok(())
}

fn object(ctx: &mut Ctx<'_>) -> Result<(), CmdError> {
    let e = bare(ctx, 2)?;
    let text = format!(
        "Value at:{:#x} refcount:{} encoding:{} serializedlength:{} lru:{} lru_seconds_idle:{}{}",
        e.address(),
        refcount(ctx.srv, e),
        encoding_name(e.ty(), e.enc()),
        value_len(e, ctx.srv.config.rdbcompression).unwrap_or(0),
        e.lru(),
        ctx.srv.ks.idle_ms(e) / 1000,
        quicklist_figures(e),
    );
    ctx.out.status(&text);
    Ok(())
}

/// How a quicklist is laid out; nothing for other encodings.
fn quicklist_figures(e: EntryRef<'_>) -> String {
    let Some(list) = View::<List>::of(e) else { return String::new() };
    let List::Quick(q) = &*list else { return String::new() };
    format!(
        " ql_nodes:{} ql_avg_node:{:.2} ql_listpack_max:{} ql_compressed:{} ql_uncompressed_size:{}",
        q.node_count(),
        q.len() as f64 / q.node_count() as f64,
        q.fill(),
        i32::from(q.compress_depth() != 0),
        q.uncompressed_size(),
    )
}

fn sdslen(ctx: &mut Ctx<'_>) -> Result<(), CmdError> {
    let e = bare(ctx, 2)?;
    if e.ty() != ty::STRING || e.enc() == enc::INT {
        return Err(CmdError::Msg(&"ERR Not an sds encoded string."));
    }
    // A short value lies in the key's own block, whose rest is there to grow.
    let (len, avail, held) = if e.is_inline() {
        (e.inline_bytes().len(), e.spare(), 0)
    } else {
        let (len, capacity, held) = e.sds_room();
        (len, capacity - len, held)
    };
    let text = format!(
        "key_sds_len:{}, key_sds_avail:0, key_zmalloc: {}, val_sds_len:{len}, val_sds_avail:{avail}, \
         val_zmalloc: {held}",
        e.key().len(),
        e.footprint(),
    );
    ctx.out.status(&text);
    Ok(())
}

fn packed_threshold(ctx: &mut Ctx<'_>) -> Result<(), CmdError> {
    const WHY: CmdError =
        CmdError::Msg(&"ERR argument must be a memory value bigger than 1 and smaller than 4gb");
    let bytes = parse_memory(ctx.args[2]).ok_or(WHY)?;
    let bytes = u32::try_from(bytes).ok().filter(|b| *b <= PACKED_THRESHOLD_MAX).ok_or(WHY)?;
    ctx.srv.switches.packed_threshold = if bytes == 0 { PACKED_THRESHOLD } else { bytes };
    policy::refresh(ctx.srv);
    ok(ctx)
}

fn populate(ctx: &mut Ctx<'_>) -> Result<(), CmdError> {
    /// Names and values are cut to what upstream's buffer holds.
    const NAME: usize = 127;
    let count = positive(ctx.args[2])? as u64;
    let size = if ctx.args.len() == 5 { positive(ctx.args[4])? as usize } else { 0 };
    let prefix = if ctx.args.len() > 3 { help::c_text(ctx.args[3]) } else { b"key" };
    let ks = &mut ctx.srv.ks;
    ks.reserve(ctx.db, count as usize);
    let mut value = vec![0u8; size];
    for n in 0..count {
        let mut name = [prefix, b":", n.to_string().as_bytes()].concat();
        name.truncate(NAME);
        let key = Key::new(&name);
        if ks.write(ctx.db, key).is_some() {
            continue;
        }
        let text = format!("value:{n}");
        let value = if size == 0 {
            text.as_bytes()
        } else {
            let n = size.min(text.len());
            value[..n].copy_from_slice(&text.as_bytes()[..n]);
            &value[..]
        };
        let encoding = if value.len() <= EMBSTR_MAX { enc::EMBSTR } else { enc::RAW };
        let _ = ks.put(ctx.db, key, New::Named(encoding, value), Ttl::Clear, None);
        ks.signal_modified(ctx.db, &name);
    }
    ok(ctx)
}

fn kill_links(ctx: &mut Ctx<'_>) -> Result<(), CmdError> {
    let Some(cluster) = ctx.srv.cluster() else {
        return Err(CmdError::Msg(&"ERR Debug option only available for cluster mode enabled setup!"));
    };
    let known = cluster.knows(ctx.args[4]);
    if !ctx.args[2].eq_ignore_ascii_case(b"kill") {
        return Err(CmdError::Syntax);
    }
    let (to, from) = match &ctx.args[3].to_ascii_lowercase()[..] {
        b"to" => (true, false),
        b"from" => (false, true),
        b"all" => (true, true),
        _ => return Err(CmdError::Syntax),
    };
    let node = <[u8; 40]>::try_from(ctx.args[4]).ok().filter(|_| known).ok_or_else(|| {
        CmdError::text(format!("ERR Unknown node {}", String::from_utf8_lossy(ctx.args[4])))
    })?;
    bus::event(ctx.srv, Event::KillLinks { node, to, from });
    ok(ctx)
}

// ---- tables, memory --------------------------------------------------------------------------

fn wants_full(ctx: &Ctx<'_>) -> Full {
    Full(ctx.args.get(3).is_some_and(|a| a.eq_ignore_ascii_case(b"full")))
}

fn htstats(ctx: &mut Ctx<'_>) -> Result<(), CmdError> {
    let n = integer(ctx.args[2])?;
    let db = usize::try_from(n)
        .ok()
        .filter(|n| *n < ctx.srv.ks.databases())
        .ok_or(CmdError::Msg(&"ERR Out of range database"))?;
    let full = wants_full(ctx);
    let mut text = String::new();
    for (title, index) in [("[Dictionary HT]\n", Index::Keys), ("[Expires HT]\n", Index::Expires)] {
        text += title;
        text += &tables::figures(&ctx.srv.ks.db(db).dict().figures(index, full.0));
    }
    ctx.out.verbatim(b"txt", text.as_bytes());
    Ok(())
}

fn htstats_key(ctx: &mut Ctx<'_>) -> Result<(), CmdError> {
    let full = wants_full(ctx);
    let found = lookup(ctx, 2).ok_or(CmdError::NoSuchKey)?;
    let e = ctx.srv.ks.at(&found);
    let text = if e.ty() == ty::STRING { None } else { Value::lent(e).table_figures(full) };
    let text = text.ok_or(CmdError::Msg(
        &"ERR The value stored at the specified key is not represented using an hash table",
    ))?;
    ctx.out.verbatim(b"txt", text.as_bytes());
    Ok(())
}

fn structsize(ctx: &mut Ctx<'_>) -> Result<(), CmdError> {
    let text = format!(
        "bits:{} entry:{} value:{} client:{} reply:{} ",
        usize::BITS,
        size_of::<EntryRef<'_>>(),
        size_of::<Value>(),
        size_of::<crate::clients::Client>(),
        size_of::<crate::proto::reply::Reply>(),
    );
    ctx.out.bulk(text.as_bytes());
    Ok(())
}

fn strerror(errno: i32) -> CmdError {
    let text = std::io::Error::from_raw_os_error(errno).to_string();
    let text = text.split(" (os error").next().unwrap_or_default();
    CmdError::text(format!("ERR {text}"))
}

fn mallctl(ctx: &mut Ctx<'_>) -> Result<(), CmdError> {
    let new = ctx.args.get(3).map(|a| integer(a)).transpose()?;
    match alloc::tune(ctx.args[2], new).map_err(strerror)? {
        Some(old) => ctx.out.int(old),
        None => ctx.out.ok(),
    }
    Ok(())
}

fn mallctl_str(ctx: &mut Ctx<'_>) -> Result<(), CmdError> {
    match alloc::tune_text(ctx.args[2], ctx.args.get(3).copied()).map_err(strerror)? {
        Some(old) => ctx.out.bulk(&old),
        None => ctx.out.ok(),
    }
    Ok(())
}

/// Clients by the power of two of the bytes they hold (CLIENT_MEM_USAGE_BUCKET_MIN_LOG, _MAX_LOG).
fn client_eviction(ctx: &mut Ctx<'_>) -> Result<(), CmdError> {
    const MIN: usize = 15;
    const BUCKETS: usize = 1 + 33 - MIN;
    if ctx.srv.config.maxmemory_clients == 0 {
        return Err(CmdError::Msg(&"ERR maxmemory-clients is disabled."));
    }
    let mut sums = [(0usize, 0usize); BUCKETS];
    for (_, c) in ctx.srv.clients.iter().filter(|(_, c)| c.counted.bucket > 0) {
        let log = usize::from(c.counted.bucket - 1);
        let sum = &mut sums[log.saturating_sub(MIN).min(BUCKETS - 1)];
        *sum = (sum.0 + c.counted.bytes, sum.1 + 1);
    }
    let mut text = String::new();
    for (i, (bytes, clients)) in sums.into_iter().enumerate() {
        let from = if i == 0 { 0 } else { 1usize << (i - 1 + MIN) };
        text += &format!("bucket {from:>10}");
        text += &if i == BUCKETS - 1 {
            "+            : ".to_string()
        } else {
            format!(" - {:>10}: ", (1usize << (i + MIN)) - 1)
        };
        text += &format!("tot-mem: {bytes:>10}, clients: {clients}\n");
    }
    ctx.out.verbatim(b"txt", text.as_bytes());
    Ok(())
}

/// Random patterns over a few bytes and all of the special ones: nothing may crash or hang.
fn stringmatch_test(ctx: &mut Ctx<'_>) -> Result<(), CmdError> {
    let rng = &mut ctx.srv.ks.rng;
    for _ in 0..100_000 {
        let mut text = |of: &[u8]| -> Vec<u8> {
            let len = rng.below(32);
            (0..len).map(|_| of[rng.index(of.len())]).collect()
        };
        let (pattern, string) = (text(b"ab*?[]^-\\\xff"), text(b"ab-\xff"));
        let nocase = rng.below(2) == 0;
        std::hint::black_box(crate::algo::glob::glob_match(&pattern, &string, nocase));
    }
    ctx.out.status("Apparently Redis did not crash: test passed");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_and_stand_in_their_help() {
        let mut seen = std::collections::HashSet::new();
        for s in SUBS {
            assert!(seen.insert(s.name), "{} twice", s.name);
            assert!(s.help[0].starts_with(s.name), "{}", s.name);
            assert!(s.help.len() > 1, "{} says what it does", s.name);
        }
    }
}
