//! From the arguments to a listening server.

use super::{Gate, Net, Run, Server, batch, pass};
use crate::algo::rng::random_hex;
use crate::clients::Clients;
use crate::commands::table::Table;
use crate::config::{Config, argv, load};
use crate::keyspace::Keyspace;
use crate::lazyfree::LazyFree;
use crate::net::listener::Listener;
use crate::net::reactor::Reactor;
use crate::stats::{CmdStats, Stats};
use crate::sys::clock::Clock;
use crate::{notice, warning};

/// Runs the server that `args` (without the program's name) describe; returns the exit code.
pub fn main(args: Vec<Vec<u8>>) -> i32 {
    crate::sys::alloc::register_thread(0);
    crate::sys::log::init();
    crate::sys::log::refresh_timezone();
    let options = match argv::parse(&args) {
        argv::Invocation::Serve(o) => o,
        _ => return 1,
    };
    let mut config = Config::default();
    let mut stdin = std::io::stdin();
    let sources = load::Sources {
        file: options.file.as_deref(),
        stdin: if options.stdin { Some(&mut stdin) } else { None },
        options: &options.text,
        sentinel_mode: false,
    };
    let startup = match load::load(&mut config, sources) {
        Ok(s) => s,
        Err(e) => {
            eprint!("{}", String::from_utf8_lossy(&e.text()));
            return 1;
        }
    };
    let renames: Vec<_> = startup
        .rename_commands
        .iter()
        .filter_map(|l| Some((l.args.first()?.clone(), l.args.get(1)?.clone())))
        .collect();
    match Table::new(&renames) {
        Ok(table) => start(config, table, args, options.file),
        Err(e) => {
            warning!("{e}");
            1
        }
    }
}

fn start(config: Config, table: Table, args: Vec<Vec<u8>>, file: Option<Vec<u8>>) -> i32 {
    if !config.logfile.is_empty() {
        use std::os::unix::ffi::OsStrExt;
        let path = std::path::Path::new(std::ffi::OsStr::from_bytes(&config.logfile));
        if let Err(e) = crate::sys::log::set_file(Some(path)) {
            eprintln!("Can't open the log file: {e}");
            return 1;
        }
    }
    crate::sys::log::set_level(config.loglevel);
    crate::sys::log::adopt_pid();
    let reactor = match Reactor::new() {
        Ok(r) => r,
        Err(e) => {
            warning!("Failed creating the event loop. Error message: '{e}'");
            return 1;
        }
    };
    let mut srv = build(config, table, reactor, args, file);
    if srv.config.appendonly
        && let Err(why) = super::aof::open(&mut srv)
    {
        warning!("{why}");
        return 1;
    }
    if let Err(code) = listen(&mut srv) {
        return code;
    }
    super::policy::refresh(&mut srv);
    super::limits::refresh(&mut srv);
    crate::sys::signals::install(None);
    notice!("oO0OoO0OoO0Oo Redis is starting oO0OoO0OoO0Oo");
    notice!("PID: {}", std::process::id());
    notice!("Server initialized");
    notice!("Ready to accept connections tcp");
    pass::serve(&mut srv);
    0
}

fn build(
    config: Config,
    table: Table,
    reactor: Reactor,
    argv: Vec<Vec<u8>>,
    file: Option<Vec<u8>>,
) -> Server {
    let clock = Clock::new();
    let mut ks = Keyspace::new(config.databases as usize);
    ks.now_ms = clock.unix_ms;
    let lazyfree = LazyFree::start(config.bio_cpulist.as_deref());
    let run = Run {
        replid: String::from_utf8_lossy(&random_hex::<40>()).into_owned(),
        run_id: String::from_utf8_lossy(&random_hex::<40>()).into_owned(),
        started_ms: clock.unix_ms,
        argv,
        config_file: file,
        hz: config.hz,
        slow_ticks: u64::MAX,
        ..Run::default()
    };
    Server {
        ks,
        clients: Clients::default(),
        cmdstats: vec![CmdStats::default(); table.entries.len()],
        table,
        config,
        stats: Stats::default(),
        clock,
        reactor,
        net: Net::default(),
        run,
        gate: Gate::default(),
        scratch: batch::Scratch::default(),
        monitors: Vec::new(),
        watches: Default::default(),
        pubsub: Default::default(),
        blocked: Default::default(),
        ops: Default::default(),
        scripting: Default::default(),
        jobs: Default::default(),
        aof: None,
        lazyfree,
        switches: Default::default(),
        expire_cycle: Default::default(),
        pause: Default::default(),
    }
}

fn listen(srv: &mut Server) -> Result<(), i32> {
    let port = srv.config.port as u16;
    let backlog = srv.config.tcp_backlog as i32;
    for addr in srv.config.bind.clone() {
        if port == 0 {
            break;
        }
        let text = String::from_utf8_lossy(&addr).into_owned();
        let (name, optional) = match text.strip_prefix('-') {
            Some(n) => (n, true),
            None => (&text[..], false),
        };
        match Listener::tcp(name, port, backlog, srv.config.socket_mark_id as u32) {
            Ok(mut l) => {
                let token = mio::Token(srv.net.listeners.len());
                l.register(srv.reactor.registry(), token).map_err(|_| 1)?;
                srv.net.listeners.push(l);
            }
            Err(e) => {
                warning!("Warning: Could not create server TCP listening socket {name}:{port}: {e}");
                if !optional && e.kind() == std::io::ErrorKind::AddrInUse {
                    warning!("Failed listening on port {port} (tcp), aborting.");
                    return Err(1);
                }
            }
        }
    }
    Ok(())
}
