//! From the arguments to a serving process.
//!
//! ```text
//! name of the program, options ─► configuration ─► warnings about the machine ─► supervisor, background
//!   ─► "starting" ─► Server ─► pid file, title, banner ─► listeners ─► "initialized" ─► "ready" ─► the loop
//! ```
//!
//! A sentinel goes the same way, with other commands, and watches from "initialized" on instead of loading.
//!
//! Whatever wants to be alone in the process (daemonize, the place of the title, the supervisor's
//! variable) comes before anything that could start a thread. The lines of the log, their levels and
//! their order are those that tools wait for.

use super::cron::Cron;
use super::ctx::{Command, Table};
use super::process::Process;
use super::sentinel::{self, SentinelMode};
use super::users::{self, DeclaredUser};
use super::{
    Server, ServerStates, aof, aof_load, apply, crash_report, lend, listen, pass, policy, shutdown, slow,
};
use crate::bio::Bio;
use crate::clients::Clients;
use crate::cmd::table::Mode;
use crate::config::load::LoadError;
use crate::config::{Config, REDIS_VERSION, Supervised, absent, argv, load};
use crate::jobs::aof::AofState;
use crate::keyspace::Keyspace;
use crate::lazyfree::LazyFree;
use crate::net::reactor::{EXTRA, Reactor, SIGNALS};
use crate::persist::check;
use crate::server::info::server::{build_id, clock_name};
use crate::stats::{CmdStats, Stats};
use crate::sys::clock::Clock;
use crate::sys::{
    alloc, cpu, crash, errno, hostcheck, limits, log, memtest, process, signals, startup, supervise,
};
use crate::{notice, warning};
use std::ffi::OsStr;
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// Passes of `--test-memory`.
const MEMTEST_PASSES: u32 = 50;

/// What the arguments and the file ask for.
struct Plan {
    argv: Vec<Vec<u8>>,
    /// There were no arguments.
    bare: bool,
    file: Option<Vec<u8>>,
    config: Config,
    table: Table,
    users: Vec<DeclaredUser>,
    /// Directives that are not followed.
    warnings: Vec<String>,
    sentinel: Option<Box<SentinelMode>>,
}

/// Rows of all commands, by family.
type Families = &'static [&'static [Command]];

/// Runs what `args` (the program's name first) describe, with the commands of `families`; returns the
/// exit code.
pub fn main(args: Vec<Vec<u8>>, families: Families) -> i32 {
    alloc::register_thread(0);
    log::init();
    crash::install(REDIS_VERSION);
    startup::set_collation(b"");
    // Read before the title overwrites the arguments.
    let titles = startup::prepare_title();
    debug_assert!(titles || cfg!(not(target_os = "linux")), "one thread so early");
    let name = args.first().map_or(&b""[..], |a| a.rsplit(|b| *b == b'/').next().unwrap_or(a));
    let mode = match program(name, &args) {
        Program::CheckRdb => return check::rdb::main(&args, REDIS_VERSION, &mut std::io::stdout()),
        Program::CheckAof => {
            return check::aof::main(&args, &mut std::io::stdin(), &mut std::io::stdout());
        }
        Program::Sentinel => Mode::Sentinel,
        Program::Server => Mode::Server,
    };
    match argv::parse(args.get(1..).unwrap_or_default()) {
        argv::Invocation::Version => version(),
        argv::Invocation::Help => help(),
        argv::Invocation::CheckSystem => hostcheck::check_system(),
        argv::Invocation::TestMemory(megabytes) => test_memory(megabytes),
        argv::Invocation::Serve(options) => match plan(args, options, families, mode) {
            Ok(plan) => start(plan),
            Err(fault) => {
                let text = fault.text();
                let text = String::from_utf8_lossy(&text);
                match fault {
                    LoadError::Unreadable(_) => warning!("{text}"),
                    LoadError::Refused { .. } => eprint!("{text}"),
                }
                1
            }
        },
    }
}

/// Programs that this one is, by its name.
enum Program {
    Server,
    CheckRdb,
    CheckAof,
    Sentinel,
}

/// The program that was asked for.
fn program(name: &[u8], args: &[Vec<u8>]) -> Program {
    // The part behind redis- or valkey-, wherever it stands: redis-check-rdb-7.2 is one, too.
    let called = |what: &str| {
        ["redis-", "valkey-"]
            .iter()
            .any(|family| memchr::memmem::find(name, [family, what].concat().as_bytes()).is_some())
    };
    if called("check-rdb") {
        return Program::CheckRdb;
    }
    if called("check-aof") {
        return Program::CheckAof;
    }
    let sentinel = called("sentinel") || args.iter().skip(1).any(|a| a == b"--sentinel");
    if sentinel { Program::Sentinel } else { Program::Server }
}

fn version() -> i32 {
    println!(
        "Redis server v={REDIS_VERSION} sha=00000000:0 malloc={} bits={} build={}",
        alloc::NAME,
        usize::BITS,
        build_id()
    );
    0
}

fn help() -> i32 {
    eprintln!(
        "Usage: ./redis-server [/path/to/redis.conf] [options] [-]\n\
         \x20      ./redis-server -v | --version\n\
         \x20      ./redis-server -h | --help\n\
         \x20      ./redis-server --check-system\n\
         \x20      ./redis-server --test-memory <megabytes>\n\
         \x20      ./redis-sentinel /path/to/sentinel.conf [options]\n\
         \n\
         A lone - reads further configuration from standard input. Each option is a line of a\n\
         configuration file, written --name value.\n\
         \n\
         Examples:\n\
         \x20      ./redis-server --port 7000 --maxmemory 100mb\n\
         \x20      ./redis-server /etc/redis.conf --loglevel verbose\n\
         \x20      ./redis-server /etc/sentinel.conf --sentinel\n\
         \x20      echo 'save \"\"' | ./redis-server - --port 7000"
    );
    1
}

fn test_memory(megabytes: Option<Vec<u8>>) -> i32 {
    let Some(text) = megabytes else {
        eprintln!("Please specify the amount of memory to test in megabytes.");
        eprintln!("Example: ./redis-server --test-memory 4096\n");
        return 1;
    };
    let digits: String =
        text.iter().take_while(|b| b.is_ascii_digit()).map(|b| char::from(*b)).collect();
    memtest::interactive(digits.parse().unwrap_or(0), MEMTEST_PASSES)
}

/// Reads the configuration.
fn plan(
    argv: Vec<Vec<u8>>,
    options: argv::CommandLine,
    families: Families,
    mode: Mode,
) -> Result<Plan, LoadError> {
    let mut config = Config::default();
    if mode == Mode::Sentinel {
        // Other sentinels must reach it.
        (config.port, config.protected_mode) = (sentinel::PORT, false);
    }
    let mut stdin = std::io::stdin();
    let sources = load::Sources {
        file: options.file.as_deref(),
        stdin: if options.stdin { Some(&mut stdin) } else { None },
        options: &options.text,
        sentinel_mode: mode == Mode::Sentinel,
    };
    let startup = load::load(&mut config, sources).inspect_err(|_| {
        // The lines before the fault may say where the log is. If it cannot be opened, the fault is
        // told on standard output.
        let _ = open_log(&config);
    })?;
    let table = renamed(families, mode, &startup.rename_commands)?;
    let users = users::declared(&table, &config, &startup.users)?;
    let warnings = absent::check(&mut config, &startup)?;
    if !startup.module_configs.is_empty() {
        let text = "Module Configuration detected without loadmodule directive or no ApplyConfig call: \
                    aborting";
        return Err(LoadError::Unreadable(text.into()));
    }
    let sentinel = match mode {
        Mode::Sentinel => Some(sentinel::of_config(&config, &startup.sentinel)?),
        Mode::Server => None,
    };
    Ok(Plan { argv, bare: options.bare, file: options.file, config, table, users, warnings, sentinel })
}

fn renamed(families: Families, mode: Mode, lines: &[load::Line]) -> Result<Table, LoadError> {
    let renames: Vec<(Vec<u8>, Vec<u8>)> =
        lines.iter().filter_map(|l| Some((l.args.first()?.clone(), l.args.get(1)?.clone()))).collect();
    Table::of_mode(mode, families, &renames).map_err(|reason| {
        // The first line that cannot be carried out is the one to blame.
        let bad = (1..=renames.len()).find(|n| Table::of_mode(mode, families, &renames[..*n]).is_err());
        let bad = bad.unwrap_or(1);
        let place = lines.get(bad - 1).map(|line| line.place.clone());
        LoadError::Refused { place, reason: reason.into_bytes() }
    })
}

fn path_of(bytes: &[u8]) -> &Path {
    Path::new(OsStr::from_bytes(bytes))
}

/// The server of a plan, until it ends.
fn start(plan: Plan) -> i32 {
    let Plan { argv, bare, file, config, table, users, warnings, sentinel } = plan;
    if let Err(e) = open_log(&config) {
        eprintln!("Can't open the log file: {}", errno::text(&e));
        return 1;
    }
    if sentinel.is_some() {
        log::set_role(log::Role::Sentinel);
        if !sentinel::may_write(file.as_deref()) {
            return 1;
        }
    }
    hostcheck::warn_at_start(config.disable_thp);
    let supervised = startup::find_supervisor(config.supervised);
    let background = config.daemonize && supervised == Supervised::No;
    if background && let Err(e) = process::daemonize() {
        warning!("Can't go to the background: {}", errno::text(&e));
        return 1;
    }
    notice!("oO0OoO0OoO0Oo Redis is starting oO0OoO0OoO0Oo");
    notice!(
        "Redis version={REDIS_VERSION}, bits={}, commit=00000000, modified=0, pid={}, just started",
        usize::BITS,
        std::process::id()
    );
    if bare {
        warning!(
            "Warning: no config file specified, using the default config. In order to specify a config \
             file use {} /path/to/redis.conf",
            String::from_utf8_lossy(argv.first().map_or(b"", |a| a))
        );
    } else {
        notice!("Configuration loaded");
    }
    for text in &warnings {
        warning!("{text}");
    }
    match init(config, table, argv, file, supervised) {
        Ok(mut srv) => {
            srv.sentinel = sentinel;
            match users::load_at_start(&mut srv, &users) {
                true => run(&mut srv, background),
                false => 1,
            }
        }
        Err(code) => code,
    }
}

fn open_log(config: &Config) -> std::io::Result<()> {
    log::set_level(config.loglevel);
    if !config.logfile.is_empty() {
        log::set_file(Some(path_of(&config.logfile)))?;
    }
    if config.syslog_enabled {
        let ident = String::from_utf8_lossy(&config.syslog_ident);
        // Without a system logger there is still the log.
        if let Err(e) = log::open_syslog(&ident, config.syslog_facility.0) {
            warning!("Can't reach the system log: {}", errno::text(&e));
        }
    }
    Ok(())
}

/// The server itself, not listening yet.
fn init(
    mut config: Config,
    table: Table,
    argv: Vec<Vec<u8>>,
    file: Option<Vec<u8>>,
    supervised: Supervised,
) -> Result<Server, i32> {
    log::adopt_pid();
    let wanted = u32::try_from(config.maxclients).unwrap_or(u32::MAX);
    config.maxclients = limits::adjust_open_files(wanted).ok_or(1)?.into();
    let reactor = Reactor::new().map_err(|e| {
        warning!("Failed creating the event loop. Error message: '{}'", errno::text(&e));
        1
    })?;
    let mut srv = build(config, table, reactor, argv, file);
    srv.process.supervised = supervised;
    notice!("monotonic clock: {}", clock_name(&srv));
    catch_signals(&mut srv).map_err(|e| {
        warning!("Can't catch signals: {}", errno::text(&e));
        1
    })?;
    srv.states.put(ServerStates::MAXMEMORY, srv.config.maxmemory > 0);
    alloc::background_thread(srv.config.jemalloc_bg_thread);
    slow::refresh(&mut srv);
    policy::refresh(&mut srv);
    super::limits::refresh(&mut srv);
    apply::crash_log(&srv);
    super::master::refresh_good(&mut srv);
    super::role::at_start(&mut srv);
    super::bus::open(&mut srv).map_err(|()| 1)?;
    Ok(srv)
}

/// Handlers write into a pipe that the reactor listens on.
fn catch_signals(srv: &mut Server) -> std::io::Result<()> {
    let (sender, mut receiver) = mio::unix::pipe::new()?;
    let token = mio::Token(EXTRA + SIGNALS);
    srv.reactor.registry().register(&mut receiver, token, mio::Interest::READABLE)?;
    signals::install(Some(sender.as_raw_fd()));
    srv.net.signals = Some((sender, receiver));
    Ok(())
}

/// Listens, says so, and serves to the end.
fn run(srv: &mut Server, background: bool) -> i32 {
    if let Some(path) = shutdown::pidfile(srv).filter(|_| background || srv.config.pidfile.is_some()) {
        process::create_pidfile(path_of(&path));
        crash::set_pidfile(Some(path_of(&path)));
    }
    listen::show_title(srv);
    banner(srv);
    hostcheck::warn_of_backlog(i32::try_from(srv.config.tcp_backlog).unwrap_or(i32::MAX));
    if !startup::set_collation(&srv.config.locale_collate) {
        warning!("Failed to configure LOCALE for invalid locale name.");
        return 1;
    }
    if listen::all(srv).is_err() || super::bus::listen(srv).is_err() {
        return 1;
    }
    srv.process.startup_memory = alloc::used();
    if srv.sentinel.is_some() {
        sentinel::start(srv);
    } else {
        notice!("Server initialized");
        if !load_data(srv) || !super::bus::loaded(srv) {
            return 1;
        }
        listen::log_ready(srv);
    }
    if srv.process.supervised == Supervised::Systemd {
        supervise::notify(match srv.repl.link.is_on() {
            false => "STATUS=Ready to accept connections\n",
            true => {
                "STATUS=Ready to accept connections in read-only mode. Waiting for MASTER <-> REPLICA sync\n"
            }
        });
        supervise::notify("READY=1\n");
    }
    let max = srv.config.maxmemory;
    if max > 0 && max < 1024 * 1024 {
        warning!(
            "WARNING: You specified a maxmemory value that is less than 1MB (current value is {max} \
             bytes). Are you sure this is what you really want?"
        );
    }
    if let Some(list) = &srv.config.server_cpulist {
        // A list that this machine cannot follow leaves the scheduler free.
        let _ = cpu::bind(list);
    }
    apply::oom_score(srv);
    apply::watchdog(srv);
    crash_report::register();
    super::link::tick(srv);
    lend::shown(srv, pass::serve);
    0
}

/// The dataset from the disk, and the log opened. False ends the start; nothing is lost by it.
fn load_data(srv: &mut Server) -> bool {
    let Some(manifest) = aof_load::read_manifest(srv) else { return false };
    srv.aof.manifest = manifest;
    if srv.config.appendonly {
        srv.aof.state = AofState::On;
        if !aof_load::at_start(srv) {
            return false;
        }
    } else if !super::jobs::load_at_start(srv) {
        return false;
    }
    let opened = aof::open_at_start(srv);
    if opened {
        aof::delete_history(srv);
    }
    opened
}

/// A drawing for people, one line for files.
fn banner(srv: &Server) {
    use std::io::IsTerminal;
    let c = &srv.config;
    let mode = super::info::mode(srv);
    let port = super::info::server_port(srv);
    let terminal = !c.syslog_enabled && c.logfile.is_empty() && std::io::stdout().is_terminal();
    if !terminal && !c.always_show_logo {
        return notice!("Running mode={mode}, port={port}.");
    }
    let version = env!("CARGO_PKG_VERSION");
    let (bits, pid) = (usize::BITS, std::process::id());
    let text = format!(
        "
        .--------------.
       /  .---------.  \\      Oxidis {version}, compatible with Redis {REDIS_VERSION}
      |  /   O   x   \\  |     {bits} bit
      | |   i  d  i   | |
      |  \\     s     /  |     Running in {mode} mode
       \\  '---------'  /      Port: {port}
        '--------------'      PID: {pid}

"
    );
    log::raw(log::Level::Notice, text.as_bytes());
}

fn absolute(path: &[u8]) -> Vec<u8> {
    if path.starts_with(b"/") {
        return path.to_vec();
    }
    let dir = std::env::current_dir().unwrap_or_default();
    dir.join(path_of(path)).as_os_str().as_bytes().to_vec()
}

fn process(started_ms: i64, argv: Vec<Vec<u8>>, config_file: Option<Vec<u8>>) -> Process {
    Process {
        run_id: crate::replication::random_id(),
        started_ms,
        executable: argv.first().map_or_else(Vec::new, |a| absolute(a)),
        argv,
        config_file,
        ..Process::default()
    }
}

fn build(
    config: Config,
    table: Table,
    reactor: Reactor,
    argv: Vec<Vec<u8>>,
    file: Option<Vec<u8>>,
) -> Server {
    let clock = Clock::new();
    let databases = config.databases as usize;
    let slotted = config.cluster_enabled || config.debug_slot_tables;
    let mut ks = if slotted { Keyspace::slotted(databases) } else { Keyspace::new(databases) };
    ks.now_ms = clock.unix_ms;
    let lazyfree = LazyFree::start(config.bio_cpulist.as_deref());
    let bio = Bio::start(config.bio_cpulist.as_deref());
    let process = process(clock.unix_ms, argv, file);
    let cron = Cron { hz: config.hz, ..Cron::default() };
    Server {
        ks,
        clients: Clients::default(),
        cmdstats: vec![CmdStats::default(); table.entries.len()],
        table,
        config,
        acl: Default::default(),
        stats: Stats::default(),
        clock,
        reactor,
        net: Default::default(),
        tls: Default::default(),
        process,
        adoption: Default::default(),
        execution: Default::default(),
        cycle: Default::default(),
        cron,
        shutdown: Default::default(),
        pages: None,
        states: ServerStates::default(),
        scratches: Vec::new(),
        arrivals: std::collections::VecDeque::new(),
        monitors: Default::default(),
        event_channel: Vec::new(),
        slowlog: Default::default(),
        latency: Default::default(),
        watches: Default::default(),
        pubsub: Default::default(),
        tracking: Default::default(),
        blocked: Default::default(),
        ops: Default::default(),
        repl: Default::default(),
        master_link: Default::default(),
        bus: None,
        transfer: None,
        targets: Default::default(),
        scripting: Default::default(),
        jobs: Default::default(),
        aof: Default::default(),
        bio,
        lazyfree,
        switches: Default::default(),
        expire_cycle: Default::default(),
        defrag: Default::default(),
        eviction: Default::default(),
        pause: Default::default(),
        loading: Default::default(),
        sentinel: None,
    }
}
