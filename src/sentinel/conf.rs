//! The lines of the configuration: what the operator wrote, and the state of this sentinel.
//!
//! ```text
//! sentinel myid <id>                                        ┐ phase 0: what the rest depends on
//! sentinel deny-scripts-reconfig no  ... announce, names    ┘
//! sentinel monitor <name> <host> <port> <quorum>              phase 1
//! sentinel down-after-milliseconds <name> <ms>  ...         ┐
//! sentinel config-epoch, leader-epoch <name> <epoch>        │ phase 2, in any place of the file
//! sentinel known-replica <name> <host> <port>               │
//! sentinel known-sentinel <name> <host> <port> <id>         ┘
//! sentinel current-epoch <epoch>                              phase 0
//! ```
//!
//! Written in the order of `lines`; defaults are left out. A value that would not be read back as one word is
//! quoted.

use super::instance::{Addr, Group};
use super::names::LookUp;
use super::text::cat;
use super::{Core, ID_LEN, Sentinel};
use crate::algo::num::{loose32, parse_u64};
use crate::algo::quote;

/// One step of the rewrite of the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum ConfLine {
    /// The line of an option, which stands in the place of an old line of it, or at the end.
    Line(&'static str, Vec<u8>),
    /// The same when an old line of it is there, else the next step.
    Instead(&'static str, Vec<u8>),
    /// Only where an old line of it is there.
    IfThere(&'static str, Vec<u8>),
    /// What is left of the option goes.
    Done(&'static str),
}

/// Which lines are to be read first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Phase {
    Globals,
    Monitor,
    Rest,
}

const GLOBALS: [&str; 9] = [
    "announce-ip",
    "announce-port",
    "deny-scripts-reconfig",
    "sentinel-user",
    "sentinel-pass",
    "current-epoch",
    "myid",
    "resolve-hostnames",
    "announce-hostnames",
];

/// When the line of an option is to be read; `option` is the word behind `sentinel`.
pub(crate) fn phase(option: &[u8]) -> Phase {
    if option.eq_ignore_ascii_case(b"monitor") {
        Phase::Monitor
    } else if GLOBALS.iter().any(|g| g.as_bytes().eq_ignore_ascii_case(option)) {
        Phase::Globals
    } else {
        Phase::Rest
    }
}

const NO_MASTER: &str = "No such master with specified name.";
const NOT_POSITIVE: &str = "negative or zero time parameter.";
pub(super) const BAD_PORT: &str = "Invalid port number.";
pub(super) const BAD_HOST: &str = "Can't resolve instance hostname.";
pub(super) const TWICE_MASTER: &str = "Duplicate master name.";

/// `yes` or `no`.
pub(super) fn yes_no(text: &[u8]) -> Option<bool> {
    match text {
        _ if text.eq_ignore_ascii_case(b"yes") => Some(true),
        _ if text.eq_ignore_ascii_case(b"no") => Some(false),
        _ => None,
    }
}

fn positive(text: &[u8]) -> Result<i64, &'static str> {
    match loose32(text) {
        ms if ms > 0 => Ok(ms.into()),
        _ => Err(NOT_POSITIVE),
    }
}

fn epoch(text: &[u8]) -> Result<u64, &'static str> {
    parse_u64(text).filter(|n| i64::try_from(*n).is_ok()).ok_or("Invalid epoch.")
}

fn some(text: &[u8]) -> Option<Vec<u8>> {
    (!text.is_empty()).then(|| text.to_vec())
}

impl Sentinel {
    /// Takes a line in: the words behind `sentinel`. Names of hosts must have been looked up before, see
    /// `is_unknown`.
    pub(crate) fn read_line(&mut self, words: &[&[u8]]) -> Result<(), &'static str> {
        let Some((option, args)) = words.split_first() else { return Err(UNRECOGNIZED) };
        let option = option.to_ascii_lowercase();
        match phase(&option) {
            Phase::Globals => self.read_global(&option, args),
            Phase::Monitor => self.read_monitor(args),
            Phase::Rest => self.read_rest(&option, args),
        }
    }

    /// The host that a line names, if it names one.
    pub(crate) fn host_of<'a>(words: &[&'a [u8]]) -> Option<&'a [u8]> {
        let named = [&b"monitor"[..], b"known-slave", b"known-replica", b"known-sentinel"];
        let option = words.first()?;
        named.iter().any(|n| n.eq_ignore_ascii_case(option)).then(|| words.get(2).copied())?
    }

    fn read_global(&mut self, option: &[u8], args: &[&[u8]]) -> Result<(), &'static str> {
        let [value] = args else { return Err(UNRECOGNIZED) };
        let c = &mut self.core;
        let s = &mut c.settings;
        match option {
            b"current-epoch" => c.epoch = c.epoch.max(epoch(value)?),
            b"myid" if value.len() != ID_LEN => return Err("Malformed Sentinel id in myid option."),
            b"myid" => c.myid = value.to_vec(),
            b"announce-ip" => s.announce_ip = some(value),
            b"announce-port" => {
                s.announce_port = u16::try_from(loose32(value)).map_err(|_| BAD_PORT)?;
            }
            b"sentinel-user" => s.user = some(value),
            b"sentinel-pass" => s.pass = some(value),
            b"deny-scripts-reconfig" => {
                s.deny_scripts_reconfig = yes_no(value)
                    .ok_or("Please specify yes or no for the deny-scripts-reconfig options.")?;
            }
            b"resolve-hostnames" => {
                s.resolve_hostnames =
                    yes_no(value).ok_or("Please specify yes or no for the resolve-hostnames option.")?;
            }
            b"announce-hostnames" => {
                s.announce_hostnames = yes_no(value)
                    .ok_or("Please specify yes or no for the announce-hostnames option.")?;
            }
            _ => return Err(UNRECOGNIZED),
        }
        Ok(())
    }

    fn read_monitor(&mut self, args: &[&[u8]]) -> Result<(), &'static str> {
        let [name, host, port, quorum] = args else { return Err(UNRECOGNIZED) };
        match loose32(quorum) {
            quorum if quorum > 0 => {
                self.add_master(name, host, loose32(port).into(), quorum.unsigned_abs())
            }
            _ => Err("Quorum must be 1 or greater."),
        }
    }

    /// Begins to watch a master.
    pub(super) fn add_master(
        &mut self,
        name: &[u8],
        host: &[u8],
        port: i64,
        quorum: u32,
    ) -> Result<(), &'static str> {
        let addr = self.core.stated_address(host, port)?;
        if self.group_at(name).is_some() {
            return Err(TWICE_MASTER);
        }
        let group = self.core.new_group(name.to_vec(), addr, quorum);
        self.groups.push(group);
        Ok(())
    }

    fn read_rest(&mut self, option: &[u8], args: &[&[u8]]) -> Result<(), &'static str> {
        if option == b"known-sentinel" && args.len() == 3 {
            // The form of old, without an id, says too little.
            return Ok(());
        }
        let known = REST.iter().any(|(name, n)| name.as_bytes() == option && *n == args.len());
        let (true, [name, args @ ..]) = (known, args) else { return Err(UNRECOGNIZED) };
        let at = self.group_at(name).ok_or(NO_MASTER)?;
        match (option, args) {
            (b"known-slave" | b"known-replica", [host, port]) => {
                let addr = self.core.stated_address(host, loose32(port).into())?;
                let g = self.groups.get_mut(at).ok_or(NO_MASTER)?;
                let added = self.core.add_replica(g, addr);
                added.map(drop).ok_or("Duplicate hostname and port for replica.")
            }
            (b"known-sentinel", [host, port, id]) => {
                let addr = self.core.stated_address(host, loose32(port).into())?;
                let id = self.add_sentinel(at, id, addr).ok_or("Duplicate runid for sentinel.")?;
                self.share_link(at, id);
                Ok(())
            }
            _ => {
                let g = self.groups.get_mut(at).ok_or(NO_MASTER)?;
                let executable = self.core.env.executable;
                let raised = read_of_master(g, option, args, executable)?;
                self.core.epoch = self.core.epoch.max(raised);
                Ok(())
            }
        }
    }
}

pub(super) const UNRECOGNIZED: &str = "Unrecognized sentinel configuration statement.";

/// Options of a master, with the number of their words.
const REST: [(&str, usize); 14] = [
    ("down-after-milliseconds", 2),
    ("failover-timeout", 2),
    ("parallel-syncs", 2),
    ("notification-script", 2),
    ("client-reconfig-script", 2),
    ("auth-pass", 2),
    ("auth-user", 2),
    ("config-epoch", 2),
    ("leader-epoch", 2),
    ("master-reboot-down-after-period", 2),
    ("rename-command", 3),
    ("known-slave", 3),
    ("known-replica", 3),
    ("known-sentinel", 4),
];

/// A line about a master; the epoch that it proves.
fn read_of_master(
    g: &mut Group,
    option: &[u8],
    args: &[&[u8]],
    executable: fn(&[u8]) -> bool,
) -> Result<u64, &'static str> {
    let Some(value) = args.first() else { return Err(UNRECOGNIZED) };
    match (option, args.get(1)) {
        (b"down-after-milliseconds", _) => g.set_down_after(positive(value)?),
        (b"failover-timeout", _) => g.failover_timeout = positive(value)?,
        (b"parallel-syncs", _) => g.parallel_syncs = loose32(value).into(),
        (b"notification-script", _) if !executable(value) => {
            return Err("Notification script seems non existing or non executable.");
        }
        (b"notification-script", _) => g.notification_script = Some(value.to_vec()),
        (b"client-reconfig-script", _) if !executable(value) => {
            return Err("Client reconfiguration script seems non existing or non executable.");
        }
        (b"client-reconfig-script", _) => g.client_reconfig_script = Some(value.to_vec()),
        (b"auth-pass", _) => g.pass = Some(value.to_vec()),
        (b"auth-user", _) => g.user = Some(value.to_vec()),
        (b"config-epoch", _) => {
            g.config_epoch = epoch(value)?;
            return Ok(g.config_epoch);
        }
        (b"leader-epoch", _) => g.master.leader_epoch = epoch(value)?,
        (b"master-reboot-down-after-period", _) => match loose32(value) {
            ms if ms < 0 => return Err("negative time parameter."),
            ms => g.reboot_down_after = ms.into(),
        },
        (b"rename-command", Some(new)) => {
            if g.renames.iter().any(|(old, _)| old.eq_ignore_ascii_case(value)) {
                return Err("Same command renamed multiple times with rename-command.");
            }
            g.renames.push((value.to_vec(), new.to_vec()));
        }
        _ => return Err(UNRECOGNIZED),
    }
    Ok(0)
}

impl Core {
    /// The address that a line or a command states.
    pub(super) fn stated_address(&mut self, host: &[u8], port: i64) -> Result<Addr, &'static str> {
        let port = u16::try_from(port).map_err(|_| BAD_PORT)?;
        match self.look_up_aloud(host) {
            LookUp::Ip(ip) => Ok(Addr { host: host.to_vec(), ip, port }),
            // The name may get an address later.
            LookUp::Failed | LookUp::Pending if self.settings.resolve_hostnames => {
                Ok(Addr { host: host.to_vec(), ip: String::new(), port })
            }
            LookUp::Failed | LookUp::Pending => Err(BAD_HOST),
        }
    }
}

// ---- writing -------------------------------------------------------------------------------------

/// A word of a line.
fn word(text: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    match text.is_empty() || quote::split_args(text).is_none_or(|w| w != [text]) {
        true => quote::push_repr(&mut out, text),
        false => out.extend_from_slice(text),
    }
    out
}

/// The option of the file that a word names.
macro_rules! option {
    ($name:literal) => {
        concat!("sentinel ", $name)
    };
}

impl Sentinel {
    /// The whole of what this sentinel writes into its file, in order.
    pub(crate) fn lines(&self) -> Vec<ConfLine> {
        use ConfLine::{Done, IfThere, Line};
        let (c, s) = (&self.core, &self.core.settings);
        let mut out = vec![Line(option!("myid"), cat!["sentinel myid ", c.myid])];
        let mut flag = |name: &'static str, value: bool, default: bool| {
            let text = cat![name, if value { " yes" } else { " no" }];
            out.push(if value == default { IfThere(name, text) } else { Line(name, text) });
        };
        flag(option!("deny-scripts-reconfig"), s.deny_scripts_reconfig, true);
        flag(option!("resolve-hostnames"), s.resolve_hostnames, false);
        flag(option!("announce-hostnames"), s.announce_hostnames, false);
        for g in &self.groups {
            c.group_lines(g, &mut out);
        }
        out.push(Line(option!("current-epoch"), cat!["sentinel current-epoch ", c.epoch]));
        let mut or_none = |name: &'static str, value: Option<Vec<u8>>| match value {
            Some(value) => out.push(Line(name, cat![name, " ", value])),
            None => out.push(Done(name)),
        };
        let quoted = |text: &Vec<u8>| {
            let mut out = Vec::new();
            quote::push_repr(&mut out, text);
            out
        };
        or_none(option!("announce-ip"), s.announce_ip.as_ref().map(quoted));
        or_none(option!("announce-port"), (s.announce_port != 0).then(|| cat![s.announce_port]));
        or_none(option!("sentinel-user"), s.user.as_ref().map(|u| word(u)));
        or_none(option!("sentinel-pass"), s.pass.as_ref().map(|p| word(p)));
        out.extend(OF_MASTERS.map(Done));
        out
    }
}

/// Options of masters: lines of those that are not watched any more go.
const OF_MASTERS: [&str; 14] = [
    option!("monitor"),
    option!("down-after-milliseconds"),
    option!("failover-timeout"),
    option!("parallel-syncs"),
    option!("notification-script"),
    option!("client-reconfig-script"),
    option!("auth-pass"),
    option!("auth-user"),
    option!("config-epoch"),
    option!("leader-epoch"),
    option!("known-replica"),
    option!("known-sentinel"),
    option!("rename-command"),
    option!("master-reboot-down-after-period"),
];

impl Core {
    fn group_lines(&self, g: &Group, out: &mut Vec<ConfLine>) {
        use ConfLine::{Instead, Line};
        let name = word(&g.master.name);
        let mut put = |option: &'static str, rest: Vec<u8>| {
            out.push(Line(option, cat![option, " ", name, " ", rest]));
        };
        let current = g.current_addr();
        let at = |addr: &Addr| cat![word(self.shown(addr)), " ", addr.port];
        put(option!("monitor"), cat![at(current), " ", g.quorum]);
        if g.master.down_after != self.periods.default_down_after {
            put(option!("down-after-milliseconds"), cat![g.master.down_after]);
        }
        if g.failover_timeout != self.periods.default_failover_timeout {
            put(option!("failover-timeout"), cat![g.failover_timeout]);
        }
        if g.parallel_syncs != 1 {
            put(option!("parallel-syncs"), cat![g.parallel_syncs]);
        }
        let texts = [
            (option!("notification-script"), &g.notification_script),
            (option!("client-reconfig-script"), &g.client_reconfig_script),
            (option!("auth-pass"), &g.pass),
            (option!("auth-user"), &g.user),
        ];
        for (option, text) in texts {
            if let Some(text) = text {
                put(option, word(text));
            }
        }
        if g.reboot_down_after != 0 {
            put(option!("master-reboot-down-after-period"), cat![g.reboot_down_after]);
        }
        put(option!("config-epoch"), cat![g.config_epoch]);
        put(option!("leader-epoch"), cat![g.master.leader_epoch]);
        for r in &g.replicas {
            // The promoted one is the master of this file: the old master stands in its place.
            let addr = if r.addr.is(current) { &g.master.addr } else { &r.addr };
            let rest = cat![name, " ", at(addr)];
            out.push(Instead(option!("known-slave"), cat!["sentinel known-replica ", rest]));
            out.push(Line(option!("known-replica"), cat!["sentinel known-replica ", rest]));
        }
        let mut put = |option: &'static str, rest: Vec<u8>| {
            out.push(Line(option, cat![option, " ", name, " ", rest]));
        };
        for s in &g.sentinels {
            if let Some(id) = &s.runid {
                put(option!("known-sentinel"), cat![at(&s.addr), " ", word(id)]);
            }
        }
        for (old, new) in &g.renames {
            put(option!("rename-command"), cat![word(old), " ", word(new)]);
        }
    }
}
