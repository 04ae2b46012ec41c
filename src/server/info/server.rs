//! INFO server: the build, the process, where it listens.

use super::{fields, line};
use crate::net::listeners::PortListeners;
use crate::server::Server;
use crate::sys::supervise::SuperviseMode;
use crate::sys::usage;

pub fn write(srv: &mut Server, out: &mut String) {
    let mode = super::mode(srv);
    let supervised = match srv.process.supervised {
        SuperviseMode::Systemd => "systemd",
        SuperviseMode::Upstart => "upstart",
        SuperviseMode::No => "no",
        SuperviseMode::Auto => "unknown",
    };
    let uptime = (srv.clock.unix_ms - srv.process.started_ms).max(0) / 1000;
    let text = String::from_utf8_lossy;
    fields!(out,
        "redis_version" => crate::config::REDIS_VERSION,
        "server_name" => "oxidis",
        "oxidis_version" => env!("CARGO_PKG_VERSION"),
        "redis_git_sha1" => "00000000",
        "redis_git_dirty" => 0,
        "redis_build_id" => build_id(),
        "redis_mode" => mode,
        "os" => usage::system_name(),
        "arch_bits" => usize::BITS,
        "monotonic_clock" => clock_name(srv),
        "multiplexing_api" => "epoll",
        "atomicvar_api" => "rust-core",
        "gcc_version" => "0.0.0",
        "process_id" => std::process::id(),
        "process_supervised" => supervised,
        "run_id" => srv.process.run_id,
        "tcp_port" => super::server_port(srv),
        "server_time_usec" => srv.clock.unix_us,
        "uptime_in_seconds" => uptime,
        "uptime_in_days" => uptime / 86_400,
        "hz" => srv.cron.hz,
        "configured_hz" => srv.config.hz,
        "lru_clock" => srv.ks.lru_clock(),
        "executable" => text(&srv.process.executable),
        "config_file" => text(srv.process.config_file.as_deref().unwrap_or_default()),
        "io_threads_active" => 0,
    );
    if let Some(until) = srv.shutdown.until_ms {
        fields!(out, "shutdown_in_milliseconds" => until - srv.clock.unix_ms);
    }
    listeners(srv, out);
}

fn listeners(srv: &Server, out: &mut String) {
    if srv.config.port != 0 {
        let bound = bound(&srv.net.tcp);
        line(out, format_args!("listener0:name=tcp{bound},port={}", srv.config.port));
    }
    if let Some(path) = &srv.config.unixsocket {
        line(out, format_args!("listener1:name=unix,bind={}", String::from_utf8_lossy(path)));
    }
    if srv.config.tls_port != 0 {
        let bound = bound(&srv.net.tls);
        line(out, format_args!("listener2:name=tls{bound},port={}", srv.config.tls_port));
    }
}

fn bound(listeners: &PortListeners) -> String {
    listeners.bound.iter().map(|b| format!(",bind={b}")).collect()
}

/// One for each version and set of features.
pub fn build_id() -> String {
    let what = concat!(env!("CARGO_PKG_NAME"), env!("CARGO_PKG_VERSION"));
    let features = cfg!(feature = "jemalloc") as u64 | (cfg!(feature = "tls") as u64) << 1;
    let fnv = |h: u64, b: u8| (h ^ u64::from(b)).wrapping_mul(0x0100_0000_01b3);
    format!("{:016x}", what.bytes().fold(0xcbf2_9ce4_8422_2325 ^ features, fnv))
}

/// What `sys::clock` reads for durations: nanoseconds, or the counter.
pub fn clock_name(srv: &Server) -> String {
    match srv.clock.ticks_in(1_000_000) {
        1_000_000 => "POSIX clock_gettime".into(),
        ticks => format!("X86 TSC @ {} ticks/us", ticks / 1000),
    }
}
