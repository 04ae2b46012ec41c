//! Directives that are like no other: lists of numbers, addresses, the working directory.
//!
//! Their oddities are upstream's and visible from outside: a lone empty value clears a list;
//! `client-output-buffer-limit` changes only the classes it names; a list of percentiles is gone after a
//! bad one (so the callers put the former value back); `dir` moves the process at once, because
//! the relative paths on later lines of the file already mean the new place.

use std::os::unix::ffi::{OsStrExt, OsStringExt};

use super::kinds::{Reason, Special, WRONG_COUNT, Write};
use super::number::{cut_nul, format_memory, parse_lenient, parse_memory};
use super::{Config, notify};
use crate::algo::num::{self, trimmed_f64};
use crate::sys::errno;
use crate::warning;

/// A point of `save`: so many changes within so many seconds ask for a snapshot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SavePoint {
    pub seconds: i64,
    pub changes: i64,
}

/// The limits of one class in `client-output-buffer-limit`; 0 is no limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OutputLimit {
    pub hard: u64,
    pub soft: u64,
    pub soft_seconds: u64,
}

/// The classes of `client-output-buffer-limit`, indexes into its limits.
pub mod class {
    pub const NORMAL: usize = 0;
    pub const REPLICA: usize = 1;
    pub const PUBSUB: usize = 2;
    pub const COUNT: usize = 3;
}

/// `replicaof`: where the master is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MasterAddr {
    pub host: Vec<u8>,
    pub port: u16,
}

fn lone_empty(args: &[&[u8]]) -> bool {
    matches!(args, [value] if value.is_empty())
}

fn join(parts: impl Iterator<Item = Vec<u8>>) -> Vec<u8> {
    parts.collect::<Vec<_>>().join(&b' ')
}

/// Lenient integers that were cut at the end of the range count as that end.
fn lenient(text: &[u8]) -> Option<i64> {
    parse_lenient(text, 10).map(|(number, _)| number)
}

// ── save ─────────────────────────────────────────────────────────────────────────────────────────────

pub const SAVE: Special = Special {
    field: "save",
    init: |config| {
        let point = |(seconds, changes)| SavePoint { seconds, changes };
        config.save = [(3600, 1), (300, 100), (60, 10000)].map(point).to_vec();
    },
    set: set_save,
    get: |config| {
        let text = |point: &SavePoint| format!("{} {}", point.seconds, point.changes).into_bytes();
        join(config.save.iter().map(text))
    },
    rewrite: |config, name, out| {
        out.processed(name);
        if out.sentinel_mode() {
            return;
        }
        // A file without a line would mean the defaults.
        if config.save.is_empty() {
            out.line(name, b"save \"\"".to_vec(), true);
        }
        for point in &config.save {
            let line = format!("{name} {} {}", point.seconds, point.changes);
            out.line(name, line.into_bytes(), true);
        }
    },
};

fn set_save(config: &mut Config, args: &[&[u8]], write: Write) -> Result<bool, Reason> {
    const INVALID: Reason = Reason::Borrowed("Invalid save parameters");
    if lone_empty(args) {
        config.save.clear();
        return Ok(true);
    }
    let (pairs, odd) = args.as_chunks::<2>();
    if !odd.is_empty() {
        return Err(INVALID);
    }
    let mut points = Vec::with_capacity(pairs.len());
    for [seconds, changes] in pairs {
        let seconds = lenient(seconds).filter(|n| *n >= 1).ok_or(INVALID)?;
        let changes = lenient(changes).filter(|n| *n >= 0).ok_or(INVALID)?;
        points.push(SavePoint { seconds, changes });
    }
    if write == Write::Replace {
        config.save.clear();
    }
    config.save.append(&mut points);
    Ok(true)
}

// ── client-output-buffer-limit ───────────────────────────────────────────────────────────────────────

const OUTPUT_LIMITS: [OutputLimit; class::COUNT] = [
    OutputLimit { hard: 0, soft: 0, soft_seconds: 0 },
    OutputLimit { hard: 256 << 20, soft: 64 << 20, soft_seconds: 60 },
    OutputLimit { hard: 32 << 20, soft: 8 << 20, soft_seconds: 60 },
];

pub const CLIENT_OUTPUT_BUFFER_LIMIT: Special = Special {
    field: "client_output_buffer_limit",
    init: |config| config.client_output_buffer_limit = OUTPUT_LIMITS,
    set: set_output_limits,
    get: |config| {
        let classes = ["normal", "slave", "pubsub"].iter().zip(&config.client_output_buffer_limit);
        join(classes.map(|(class, limit)| {
            format!("{class} {} {} {}", limit.hard, limit.soft, limit.soft_seconds).into_bytes()
        }))
    },
    rewrite: |config, name, out| {
        let classes = ["normal", "replica", "pubsub"].iter().zip(&config.client_output_buffer_limit);
        for ((class, limit), default) in classes.zip(&OUTPUT_LIMITS) {
            let (hard, soft) = (format_memory(limit.hard), format_memory(limit.soft));
            let line = format!("{name} {class} {hard} {soft} {}", limit.soft_seconds);
            out.line(name, line.into_bytes(), limit != default);
        }
    },
};

fn set_output_limits(config: &mut Config, args: &[&[u8]], _: Write) -> Result<bool, Reason> {
    const COUNT: &str = "Wrong number of arguments in buffer limit configuration.";
    const CLASS: &str = "Invalid client class specified in buffer limit configuration.";
    const LIMIT: &str = "Error in hard, soft or soft_seconds setting in buffer limit configuration.";
    let (groups, rest) = args.as_chunks::<4>();
    if !rest.is_empty() {
        return Err(COUNT.into());
    }
    // All or nothing: later groups may be wrong.
    let mut limits = config.client_output_buffer_limit;
    for [name, hard, soft, seconds] in groups {
        let slot = match name.to_ascii_lowercase().as_slice() {
            b"normal" => &mut limits[class::NORMAL],
            b"slave" | b"replica" => &mut limits[class::REPLICA],
            b"pubsub" => &mut limits[class::PUBSUB],
            _ => return Err(CLASS.into()),
        };
        let seconds = lenient(seconds).and_then(|n| u64::try_from(n).ok());
        let (Some(hard), Some(soft), Some(soft_seconds)) =
            (parse_memory(hard), parse_memory(soft), seconds)
        else {
            return Err(LIMIT.into());
        };
        *slot = OutputLimit { hard, soft, soft_seconds };
    }
    config.client_output_buffer_limit = limits;
    Ok(true)
}

// ── oom-score-adj-values ─────────────────────────────────────────────────────────────────────────────

const OOM_VALUES: [i64; 3] = [0, 200, 800];

pub const OOM_SCORE_ADJ_VALUES: Special = Special {
    field: "oom_score_adj_values",
    init: |config| config.oom_score_adj_values = OOM_VALUES,
    set: set_oom_values,
    get: |config| join(config.oom_score_adj_values.iter().map(|n| n.to_string().into_bytes())),
    rewrite: |config, name, out| {
        let [master, replica, child] = config.oom_score_adj_values;
        let line = format!("{name} {master} {replica} {child}");
        out.line(name, line.into_bytes(), config.oom_score_adj_values != OOM_VALUES);
    },
};

fn set_oom_values(config: &mut Config, args: &[&[u8]], _: Write) -> Result<bool, Reason> {
    const RANGE: &str = "Invalid oom-score-adj-values, elements must be between -2000 and 2000.";
    const WARNING: &str = "The oom-score-adj-values configuration may not work for non-privileged \
                           processes! Please consult the documentation.";
    let [master, replica, child] = args else { return Err(WRONG_COUNT) };
    let mut values = [0; 3];
    for (slot, text) in values.iter_mut().zip([master, replica, child]) {
        *slot = lenient(text).filter(|n| (-2000..=2000).contains(n)).ok_or(RANGE)?;
    }
    if !values.is_sorted() {
        warning!("{WARNING}");
    }
    let changed = config.oom_score_adj_values != values;
    config.oom_score_adj_values = values;
    Ok(changed)
}

// ── notify-keyspace-events ───────────────────────────────────────────────────────────────────────────

pub const NOTIFY_KEYSPACE_EVENTS: Special = Special {
    field: "notify_keyspace_events",
    init: |config| config.notify_keyspace_events = 0,
    set: |config, args, _| {
        let [letters] = args else { return Err(WRONG_COUNT) };
        let bits = notify::parse(cut_nul(letters));
        config.notify_keyspace_events =
            bits.ok_or("Invalid event class character. Use 'Ag$lshzxeKEtmdn'.")?;
        Ok(true)
    },
    get: |config| notify::letters(config.notify_keyspace_events),
    rewrite: |config, name, out| {
        let bits = config.notify_keyspace_events;
        out.text(name, &notify::letters(bits), bits != 0);
    },
};

// ── bind ─────────────────────────────────────────────────────────────────────────────────────────────

const MAX_ADDRESSES: usize = 16;

fn default_addresses() -> Vec<Vec<u8>> {
    vec![b"*".to_vec(), b"-::*".to_vec()]
}

pub const BIND: Special = Special {
    field: "bind",
    init: |config| config.bind = default_addresses(),
    set: |config, args, _| {
        if args.len() > MAX_ADDRESSES {
            return Err("Too many bind addresses specified.".into());
        }
        let args = if lone_empty(args) { &[] } else { args };
        config.bind = args.iter().map(|address| cut_nul(address).to_vec()).collect();
        Ok(true)
    },
    get: |config| config.bind.join(&b' '),
    rewrite: |config, name, out| {
        if config.bind == default_addresses() {
            return out.processed(name);
        }
        let addresses = if config.bind.is_empty() { b"\"\"".to_vec() } else { config.bind.join(&b' ') };
        out.line(name, [name.as_bytes(), &addresses].join(&b' '), true);
    },
};

// ── replicaof ────────────────────────────────────────────────────────────────────────────────────────

pub const REPLICAOF: Special = Special {
    field: "replicaof",
    init: |config| config.replicaof = None,
    set: |config, args, _| {
        let [host, port] = args else { return Err(WRONG_COUNT) };
        config.replicaof = None;
        if !(host.eq_ignore_ascii_case(b"no") && port.eq_ignore_ascii_case(b"one")) {
            let port = lenient(port).and_then(|port| u16::try_from(port).ok());
            let port = port.ok_or("Invalid master port")?;
            config.replicaof = Some(MasterAddr { host: host.to_vec(), port });
        }
        Ok(true)
    },
    get: |config| match &config.replicaof {
        Some(MasterAddr { host, port }) => [host.as_slice(), port.to_string().as_bytes()].join(&b' '),
        None => Vec::new(),
    },
    rewrite: |config, name, out| match &config.replicaof {
        // In a cluster the nodes file holds the master of each replica.
        Some(MasterAddr { host, port }) if !config.cluster_enabled => {
            let port = port.to_string();
            let line = [name.as_bytes(), host, port.as_bytes()].join(&b' ');
            out.line(name, line, true);
        }
        _ => out.processed(name),
    },
};

// ── latency-tracking-info-percentiles ────────────────────────────────────────────────────────────────

pub const PERCENTILES: Special = Special {
    field: "latency_tracking_info_percentiles",
    init: |config| config.latency_tracking_info_percentiles = vec![50.0, 99.0, 99.9],
    set: set_percentiles,
    get: |config| {
        let values = config.latency_tracking_info_percentiles.iter();
        join(values.map(|value| trimmed_f64(*value).into_bytes()))
    },
    rewrite: |config, name, out| {
        let values = config.latency_tracking_info_percentiles.iter();
        let mut text = values.map(|value| trimmed_f64(*value)).collect::<Vec<_>>().join(" ");
        if text.is_empty() {
            text.push_str("\"\"");
        }
        out.line(name, format!("{name} {text}").into_bytes(), true);
    },
};

fn set_percentiles(config: &mut Config, args: &[&[u8]], _: Write) -> Result<bool, Reason> {
    const INVALID: &str = "Invalid latency-tracking-info-percentiles parameters";
    const RANGE: &str = "latency-tracking-info-percentiles parameters should sit between [0.0,100.0]";
    config.latency_tracking_info_percentiles.clear();
    let args = if lone_empty(args) { &[] } else { args };
    let mut values = Vec::with_capacity(args.len());
    for text in args {
        let value = num::parse_f64(text).ok_or(INVALID)?;
        if !(0.0..=100.0).contains(&value) {
            return Err(RANGE.into());
        }
        values.push(value);
    }
    config.latency_tracking_info_percentiles = values;
    Ok(true)
}

// ── dir ──────────────────────────────────────────────────────────────────────────────────────────────

/// Has no field: the value is the working directory of the process.
pub const DIR: Special = Special {
    field: "",
    init: |_| {},
    set: |_, args, _| {
        let [path] = args else { return Err(WRONG_COUNT) };
        let path = std::ffi::OsStr::from_bytes(cut_nul(path));
        std::env::set_current_dir(path).map_err(|error| errno::text(&error))?;
        Ok(true)
    },
    get: |_| working_dir().unwrap_or_default(),
    rewrite: |_, name, out| match working_dir() {
        Some(path) => out.text(name, &path, true),
        None => out.processed(name),
    },
};

fn working_dir() -> Option<Vec<u8>> {
    std::env::current_dir().ok().map(|path| path.into_os_string().into_vec())
}
