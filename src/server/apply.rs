//! What has to be done after a directive has changed (`config::Apply`), by the owner of the server.
//!
//! CONFIG SET puts the former values back when one of these fails and performs all of them once more,
//! so each must cope with being asked for a state that already holds.

use super::{Server, ServerStates, aof, listen, policy, sentinel, slow, tls, users};
use crate::config::kinds::Reason;
use crate::config::{Apply, OomScoreAdj, rewrite};
use crate::jobs::aof::AofState;
use crate::stats::{CmdStats, Stats};
use crate::sys::{alloc, crash, limits, log, oom, startup};
use crate::warning;
use std::path::Path;

/// Performs one; an error rolls the whole CONFIG SET back.
pub fn perform(srv: &mut Server, what: Apply) -> Result<(), Reason> {
    let refuse_unless = |ok: bool, why: &'static str| if ok { Ok(()) } else { Err(Reason::from(why)) };
    match what {
        Apply::Port => return refuse_unless(listen_again(srv, listen::tcp), Apply::CANNOT_LISTEN),
        Apply::TlsPort => {
            tls::prepare(srv)?;
            return refuse_unless(listen_again(srv, listen::tls), Apply::CANNOT_LISTEN);
        }
        Apply::Bind => return refuse_unless(listen_again(srv, listen::both), Apply::CANNOT_BIND),
        Apply::Tls => {
            tls::changed(srv)?;
            return refuse_unless(super::bus::listen_again(srv).is_ok(), Apply::CANNOT_LISTEN);
        }
        Apply::MaxClients => return max_clients(srv),
        Apply::MaxMemory => max_memory(srv),
        Apply::AppendOnly => {
            return refuse_unless(append_only(srv), "Unable to turn on AOF. Check server logs.");
        }
        Apply::AofAutoGc => {
            super::rewrite::finish_handover(srv);
            aof::delete_history(srv);
        }
        Apply::AppendFsync => aof::policy_changed(srv),
        Apply::ClientLimits | Apply::MaxMemoryClients => super::limits::refresh(srv),
        Apply::KeyspacePolicy => policy::refresh(srv),
        Apply::ReplicaServes => super::role::refresh(srv),
        Apply::LogLevel => log::set_level(srv.config.loglevel),
        Apply::Hz => srv.cron.hz = srv.config.hz,
        Apply::OomScore => return refuse_unless(oom_score(srv), Apply::CANNOT_SET_OOM_SCORE),
        Apply::Slowlog | Apply::LatencyTracking => slow::refresh(srv),
        Apply::ProcTitle => return refuse_unless(listen::show_title(srv), Apply::CANNOT_SET_TITLE),
        Apply::Locale => {
            let known = startup::set_collation(&srv.config.locale_collate);
            return refuse_unless(known, Apply::INVALID_LOCALE);
        }
        Apply::JemallocBgThread => {
            alloc::background_thread(srv.config.jemalloc_bg_thread);
        }
        Apply::Watchdog => watchdog(srv),
        Apply::GoodReplicas => super::master::refresh_good(srv),
        Apply::CrashLog => crash_log(srv),
        Apply::Cluster => super::bus::directives(srv),
        Apply::RequirePass => super::auth::set_requirepass(srv),
        // Read where they matter, or of parts that do not exist yet.
        Apply::Nothing
        | Apply::AclPubsubDefault
        | Apply::AclLog
        | Apply::TrackingTable
        | Apply::ReplBacklogSize => {}
    }
    Ok(())
}

fn append_only(srv: &mut Server) -> bool {
    match (srv.config.appendonly, srv.aof.state) {
        (true, AofState::Off) => aof::start(srv),
        (false, AofState::On | AofState::WaitRewrite) => {
            aof::stop(srv);
            true
        }
        _ => true,
    }
}

fn listen_again(srv: &mut Server, listen: fn(&mut Server) -> Result<(), ()>) -> bool {
    let ok = listen(srv).is_ok();
    if ok {
        listen::show_title(srv);
        super::bus::directives(srv);
    }
    ok
}

fn max_clients(srv: &mut Server) -> Result<(), Reason> {
    let wanted = u32::try_from(srv.config.maxclients).unwrap_or(u32::MAX);
    let possible = limits::adjust_open_files(wanted).unwrap_or(0);
    if possible == wanted {
        return Ok(());
    }
    Err(format!(
        "The operating system is not able to handle the specified number of clients, try with {possible}"
    )
    .into())
}

fn max_memory(srv: &mut Server) {
    let (max, used) = (srv.config.maxmemory, alloc::used() as u64);
    srv.states.put(ServerStates::MAXMEMORY, max > 0);
    if max > 0 && max < used {
        warning!(
            "WARNING: the new maxmemory value set via CONFIG SET ({max}) is smaller than the current \
             memory usage ({used}). This will result in key eviction and/or the inability to accept new \
             write commands depending on the maxmemory-policy."
        );
    }
    policy::refresh(srv);
    // Between events: the client that lowers the limit waits for the reply, not for the eviction.
    srv.eviction.running = max > 0;
}

fn oom_settings(srv: &Server) -> (oom::OomMode, [i32; 3]) {
    let mode = match srv.config.oom_score_adj {
        OomScoreAdj::No => oom::OomMode::No,
        OomScoreAdj::Relative => oom::OomMode::Relative,
        OomScoreAdj::Absolute => oom::OomMode::Absolute,
    };
    (mode, srv.config.oom_score_adj_values.map(|v| i32::try_from(v).unwrap_or(0)))
}

/// Writes the score of this process, by its role.
pub fn oom_score(srv: &mut Server) -> bool {
    let (mode, values) = oom_settings(srv);
    let class = if srv.repl.link.is_on() { oom::Class::Replica } else { oom::Class::Master };
    srv.process.oom.apply(mode, values, class).is_ok()
}

/// Writes the score of a forked child.
pub fn oom_score_of_child(srv: &mut Server) {
    let (mode, values) = oom_settings(srv);
    // The child does its work all the same.
    let _with_that_of_the_parent = srv.process.oom.set(mode, values, oom::Class::Child);
}

/// A period shorter than two ticks of the cron, which winds the watchdog up, would bark at an idle
/// server.
pub fn watchdog(srv: &mut Server) {
    let shortest = 1000 / srv.cron.hz.max(1) * 2;
    if srv.config.watchdog_period > 0 {
        srv.config.watchdog_period = srv.config.watchdog_period.max(shortest);
    }
    crash::set_watchdog(u32::try_from(srv.config.watchdog_period).unwrap_or(u32::MAX));
}

pub fn crash_log(srv: &Server) {
    crash::set_crash_log(srv.config.crash_log_enabled);
    crash::set_memcheck(srv.config.crash_memcheck_enabled);
    crash::set_exit_on_panic(srv.config.use_exit_on_panic);
}

/// CONFIG REWRITE: writes the configuration back; `all` writes defaults, too.
pub fn rewrite_file(srv: &Server, path: &Path, all: bool) -> std::io::Result<()> {
    let options = rewrite::RewriteOptions { force_all: all, sentinel_mode: srv.sentinel.is_some() };
    let users = users::config_lines(srv);
    let others = |out: &mut rewrite::Rewriter| {
        out.owned("user", users);
        sentinel::config_lines(srv, out);
    };
    rewrite::rewrite_file(path, &srv.config, options, |_| false, others)
}

/// CONFIG RESETSTAT. Refusals of the access rules are counted from the start of the server, as upstream.
pub fn reset_stats(srv: &mut Server) {
    let acl_denied = srv.stats.acl_denied;
    srv.stats = Stats { peak_memory: alloc::used(), acl_denied, ..Stats::default() };
    srv.cmdstats.iter_mut().for_each(|s| *s = CmdStats::default());
    srv.ks.stats = Default::default();
    srv.lazyfree.reset_stats();
    srv.eviction.reset_stats();
    srv.defrag.reset_stats();
    srv.aof.delayed = 0;
}
