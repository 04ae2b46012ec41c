//! The subcommands that change settings: SET of a master, CONFIG of this sentinel, DEBUG of the periods.

use super::ask::{Answer, if_saved};
use super::conf::yes_no;
use super::instance::{Group, Id, LONGEST, Ms};
use super::text::cat;
use super::{Action, Core, Env, Periods, Reply, Sentinel};
use crate::algo::glob::glob_match;
use crate::algo::num::parse_i64;
use crate::sys::log::{LEVELS, Level};

/// A number above 0.
fn above_zero(text: &[u8]) -> Option<i64> {
    parse_i64(text).filter(|n| *n > 0)
}

fn some(text: &[u8]) -> Option<Vec<u8>> {
    (!text.is_empty()).then(|| text.to_vec())
}

/// How one option of SENTINEL SET went.
enum Change {
    /// It took so many words.
    Done(usize),
    /// The argument at that place behind the option is wrong.
    Bad(usize),
    Refused(&'static str),
    Unknown,
}

const DENIED: &str = "Reconfiguration of scripts path is denied for security reasons. Check the \
                      deny-scripts-reconfig configuration directive in your Sentinel configuration";

impl Sentinel {
    /// SENTINEL SET: the options are carried out one by one, up to the first that is wrong.
    pub(super) fn set(&mut self, args: &[&[u8]]) -> Answer {
        let at = self.index_of(args.first().copied().unwrap_or_default())?;
        let mut rest = args.get(1..).unwrap_or_default();
        let mut changed = false;
        let refusal = loop {
            let Some((option, values)) = rest.split_first() else { break None };
            let Some(g) = self.groups.get_mut(at) else { break None };
            let shown = option.to_vec();
            let n = match self.core.set_option(g, option, values) {
                Change::Done(n) => n,
                Change::Bad(n) => {
                    let value = values.get(n).copied().unwrap_or_default();
                    let text = cat!["ERR Invalid argument '", value, "' for SENTINEL SET '", shown, "'"];
                    break Some(Reply::Error(text));
                }
                Change::Refused(why) => break Some(Reply::error(why)),
                Change::Unknown => {
                    let head = "ERR Unknown option or number of arguments for SENTINEL SET '";
                    break Some(Reply::Error(cat![head, shown, "'"]));
                }
            };
            changed = true;
            self.core.tell_change(g, option, values.get(..n).unwrap_or_default());
            rest = values.get(n..).unwrap_or_default();
        };
        if changed {
            self.core.save();
        }
        refusal.map_or_else(|| Ok(if_saved()), Err)
    }
}

impl Core {
    /// The event of a change; a password is not shown.
    fn tell_change(&mut self, g: &Group, option: &[u8], values: &[&[u8]]) {
        let mut rest = cat![" ", option];
        for value in values {
            let secret = option.eq_ignore_ascii_case(b"auth-pass");
            rest.extend(cat![" ", if secret { b"******" } else { *value }]);
        }
        self.event(Level::Warning, "+set", g, g.master.id, &rest);
    }

    fn set_option(&mut self, g: &mut Group, option: &[u8], values: &[&[u8]]) -> Change {
        let Some(value) = values.first().copied() else { return Change::Unknown };
        match option.to_ascii_lowercase().as_slice() {
            b"down-after-milliseconds" => number(value, 1, |ms| g.set_down_after(ms)),
            b"failover-timeout" => number(value, 1, |ms| g.failover_timeout = ms),
            b"parallel-syncs" => number(value, 1, |n| g.parallel_syncs = n),
            b"quorum" => match above_zero(value).and_then(|n| u32::try_from(n).ok()) {
                Some(n) => {
                    g.quorum = n;
                    Change::Done(1)
                }
                None => Change::Bad(0),
            },
            b"master-reboot-down-after-period" => number(value, 0, |ms| g.reboot_down_after = ms),
            b"notification-script" => {
                let bad = "Notification script seems non existing or non executable";
                script(&self.env, self.settings.deny_scripts_reconfig, value, bad, |path| {
                    g.notification_script = path;
                })
            }
            b"client-reconfig-script" => {
                let bad = "Client reconfiguration script seems non existing or non executable";
                script(&self.env, self.settings.deny_scripts_reconfig, value, bad, |path| {
                    g.client_reconfig_script = path;
                })
            }
            b"auth-pass" => {
                g.pass = some(value);
                self.drop_servers(g);
                Change::Done(1)
            }
            b"auth-user" => {
                g.user = some(value);
                self.drop_servers(g);
                Change::Done(1)
            }
            b"rename-command" => rename(g, values),
            _ => Change::Unknown,
        }
    }

    /// The connections to a master and its replicas are made anew, with the new password.
    fn drop_servers(&mut self, g: &Group) {
        let links: Vec<Id> = std::iter::once(&g.master).chain(&g.replicas).map(|i| i.link).collect();
        links.into_iter().for_each(|link| self.close_link(link));
    }
}

fn number(value: &[u8], least: i64, take: impl FnOnce(i64)) -> Change {
    match parse_i64(value).filter(|n| *n >= least) {
        Some(n) => {
            take(n.min(LONGEST));
            Change::Done(1)
        }
        None => Change::Bad(0),
    }
}

fn script(
    env: &Env,
    denied: bool,
    path: &[u8],
    bad: &'static str,
    take: impl FnOnce(Option<Vec<u8>>),
) -> Change {
    if denied {
        return Change::Refused(DENIED);
    }
    if !path.is_empty() && !(env.executable)(path) {
        return Change::Refused(bad);
    }
    take(some(path));
    Change::Done(1)
}

fn rename(g: &mut Group, values: &[&[u8]]) -> Change {
    let [old, new, ..] = values else { return Change::Unknown };
    if new.is_empty() || old.is_empty() {
        return Change::Bad(usize::from(new.is_empty()));
    }
    g.renames.retain(|(name, _)| !name.eq_ignore_ascii_case(old));
    if !old.eq_ignore_ascii_case(new) {
        g.renames.push((old.to_vec(), new.to_vec()));
    }
    Change::Done(2)
}

// ---- SENTINEL CONFIG -----------------------------------------------------------------------------

const OPTIONS: [&str; 7] = [
    "resolve-hostnames",
    "announce-hostnames",
    "announce-ip",
    "announce-port",
    "sentinel-user",
    "sentinel-pass",
    "loglevel",
];

fn option_of(name: &[u8]) -> Option<&'static str> {
    OPTIONS.into_iter().find(|o| o.as_bytes().eq_ignore_ascii_case(name))
}

fn level_of(name: &[u8]) -> Option<Level> {
    LEVELS.iter().find(|(n, _)| n.as_bytes().eq_ignore_ascii_case(name)).map(|(_, level)| *level)
}

fn port_of(text: &[u8]) -> Option<u16> {
    parse_i64(text).and_then(|n| u16::try_from(n).ok())
}

impl Sentinel {
    /// SENTINEL CONFIG GET pattern ..., SET option value ...
    pub(super) fn config(&mut self, args: &[&[u8]]) -> Answer {
        match args {
            [verb, rest @ ..] if verb.eq_ignore_ascii_case(b"set") && rest.len() >= 2 => {
                self.config_set(rest)
            }
            [verb, rest @ ..] if verb.eq_ignore_ascii_case(b"get") && !rest.is_empty() => {
                Ok(self.config_get(rest))
            }
            _ => Err(Reply::error(
                "Only SENTINEL CONFIG GET <param> [<param> <param> ...]/ SET <param> <value> [<param> \
                 <value> ...] are supported.",
            )),
        }
    }

    fn config_get(&self, patterns: &[&[u8]]) -> Reply {
        let s = &self.core.settings;
        let yes = |on: bool| if on { b"yes".to_vec() } else { b"no".to_vec() };
        let value = |name: &str| match name {
            "resolve-hostnames" => yes(s.resolve_hostnames),
            "announce-hostnames" => yes(s.announce_hostnames),
            "announce-ip" => s.announce_ip.clone().unwrap_or_default(),
            "announce-port" => cat![s.announce_port],
            "sentinel-user" => s.user.clone().unwrap_or_default(),
            "sentinel-pass" => s.pass.clone().unwrap_or_default(),
            _ => {
                let level = LEVELS.iter().find(|(_, level)| *level == self.core.env.loglevel);
                level.map_or("unknown", |(name, _)| name).into()
            }
        };
        let mut found: Vec<&str> = Vec::new();
        for pattern in patterns {
            for name in OPTIONS {
                if !found.contains(&name) && glob_match(pattern, name.as_bytes(), true) {
                    found.push(name);
                }
            }
        }
        let pairs = found.iter().flat_map(|name| [Reply::text(name), Reply::Bulk(value(name))]);
        Reply::Map(pairs.collect())
    }

    /// All options are looked at before the first is changed.
    fn config_set(&mut self, args: &[&[u8]]) -> Answer {
        let mut wanted: Vec<(&str, &[u8])> = Vec::new();
        for pair in args.chunks(2) {
            let shown = pair.first().copied().unwrap_or_default();
            let bad = |what: &str, rest: &str| Reply::Error(cat!["ERR ", what, " '", shown, "'", rest]);
            let Some(option) = option_of(shown) else {
                return Err(bad("Invalid argument", " to SENTINEL CONFIG SET"));
            };
            if wanted.iter().any(|(o, _)| *o == option) {
                return Err(bad("Duplicate argument", " to SENTINEL CONFIG SET"));
            }
            let [_, value] = pair else { return Err(bad("Missing argument", " value")) };
            let fits = match option {
                "resolve-hostnames" | "announce-hostnames" => yes_no(value).is_some(),
                "announce-port" => port_of(value).is_some(),
                "loglevel" => level_of(value).is_some(),
                _ => true,
            };
            if !fits {
                let text = cat!["ERR Invalid value '", value, "' to SENTINEL CONFIG SET '", shown, "'"];
                return Err(Reply::Error(text));
            }
            wanted.push((option, value));
        }
        for (option, value) in &wanted {
            self.core.set_global(option, value);
        }
        self.core.save();
        if wanted.iter().any(|(option, _)| matches!(*option, "sentinel-user" | "sentinel-pass")) {
            let links: Vec<Id> = self.groups.iter().flat_map(|g| &g.sentinels).map(|s| s.link).collect();
            links.into_iter().for_each(|link| self.core.close_link(link));
        }
        Ok(if_saved())
    }

    /// SENTINEL DEBUG period ms ...
    pub(super) fn set_periods(&mut self, args: &[&[u8]]) -> Answer {
        for pair in args.chunks(2) {
            let shown = pair.first().copied().unwrap_or_default();
            let period = self.core.periods.named(shown);
            let (Some(period), [_, value]) = (period, pair) else {
                let head = "ERR Unknown option or number of arguments for SENTINEL DEBUG '";
                return Err(Reply::Error(cat![head, shown, "'"]));
            };
            let Some(ms) = above_zero(value) else {
                let text = cat!["ERR Invalid argument '", value, "' for SENTINEL DEBUG '", shown, "'"];
                return Err(Reply::Error(text));
            };
            *period = ms.min(LONGEST);
        }
        Ok(Reply::Ok)
    }
}

impl Core {
    /// A value that was looked at before.
    fn set_global(&mut self, option: &str, value: &[u8]) {
        let s = &mut self.settings;
        match option {
            "resolve-hostnames" => s.resolve_hostnames = yes_no(value).unwrap_or(s.resolve_hostnames),
            "announce-hostnames" => {
                s.announce_hostnames = yes_no(value).unwrap_or(s.announce_hostnames);
            }
            "announce-port" => s.announce_port = port_of(value).unwrap_or(s.announce_port),
            "announce-ip" => s.announce_ip = some(value),
            "sentinel-user" => s.user = some(value),
            "sentinel-pass" => s.pass = some(value),
            _ => {
                if let Some(level) = level_of(value) {
                    self.env.loglevel = level;
                    self.out.push(Action::SetLogLevel(level));
                }
            }
        }
    }
}

impl Periods {
    fn named(&mut self, name: &[u8]) -> Option<&mut Ms> {
        Some(match name.to_ascii_lowercase().as_slice() {
            b"info-period" => &mut self.info,
            b"ping-period" => &mut self.ping,
            b"ask-period" => &mut self.ask,
            b"publish-period" => &mut self.publish,
            b"default-down-after" => &mut self.default_down_after,
            b"default-failover-timeout" => &mut self.default_failover_timeout,
            b"tilt-trigger" => &mut self.tilt_trigger,
            b"tilt-period" => &mut self.tilt,
            b"slave-reconf-timeout" => &mut self.reconf_timeout,
            b"min-link-reconnect-period" => &mut self.min_reconnect,
            b"election-timeout" => &mut self.election,
            b"script-max-runtime" => &mut self.script_runtime,
            b"script-retry-delay" => &mut self.script_retry,
            _ => return None,
        })
    }
}
