//! Hosts by name. A name is looked up by the caller, out of the way of the loop; until the answer is there,
//! what depends on it waits for the next message or tick.
//!
//! ```text
//! look_up ─┬─ an address ─────────────────────────► Ip
//!          ├─ names are not resolved ─────────────► Failed
//!          ├─ known ──► Ip | Failed, and asked again when the answer is older than a ping period
//!          └─ unknown ► Pending, and asked
//! ```

use super::instance::{Addr, Group, Ms};
use super::text::cat;
use super::{Action, Core, Sentinel};
use crate::sys::log::Level;
use std::collections::BTreeMap;
use std::net::IpAddr;

/// Names that are remembered at most; a peer can make some up.
const MOST: usize = 4096;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum LookUp {
    Ip(String),
    Failed,
    Pending,
}

#[derive(Debug)]
struct Known {
    /// None when the name has no address.
    ip: Option<String>,
    at: Ms,
    answered: bool,
    asked: bool,
}

#[derive(Debug, Default)]
pub(super) struct Names {
    known: BTreeMap<Vec<u8>, Known>,
}

/// An address in its usual form; None for a name.
pub(crate) fn literal(host: &[u8]) -> Option<String> {
    std::str::from_utf8(host).ok()?.parse::<IpAddr>().ok().map(|ip| ip.to_string())
}

impl Core {
    pub(super) fn look_up(&mut self, host: &[u8]) -> LookUp {
        if let Some(ip) = literal(host) {
            return LookUp::Ip(ip);
        }
        if !self.settings.resolve_hostnames || host.is_empty() || host.contains(&0) {
            return LookUp::Failed;
        }
        let (now, period) = (self.now(), self.periods.ping);
        if self.names.known.len() >= MOST {
            self.names.known.retain(|_, k| k.asked);
        }
        let known = self.names.known.entry(host.to_vec()).or_insert(Known {
            ip: None,
            at: now,
            answered: false,
            asked: false,
        });
        if !known.asked && (!known.answered || now - known.at >= period) {
            known.asked = true;
            self.out.push(Action::Resolve(host.to_vec()));
        }
        match &known.ip {
            _ if !known.answered => LookUp::Pending,
            Some(ip) => LookUp::Ip(ip.clone()),
            None => LookUp::Failed,
        }
    }

    /// The same, where a name without an address is a fault to tell.
    pub(super) fn look_up_aloud(&mut self, host: &[u8]) -> LookUp {
        let found = self.look_up(host);
        if found == LookUp::Failed {
            let text = cat!["Failed to resolve hostname '", host, "'"];
            self.log(Level::Warning, text);
        }
        found
    }

    /// The address of a server; None when the name has none, or not yet.
    pub(super) fn address(&mut self, host: &[u8], port: u16) -> Option<Addr> {
        match self.look_up_aloud(host) {
            LookUp::Ip(ip) => Some(Addr { host: host.to_vec(), ip, port }),
            LookUp::Failed | LookUp::Pending => None,
        }
    }

    /// The same, with a name that has no address as long as names are resolved: it may get one. None too
    /// while the answer is on its way.
    pub(super) fn address_or_name(&mut self, host: &[u8], port: u16) -> Option<Addr> {
        match self.look_up_aloud(host) {
            LookUp::Ip(ip) => Some(Addr { host: host.to_vec(), ip, port }),
            LookUp::Failed if self.settings.resolve_hostnames => {
                Some(Addr { host: host.to_vec(), ip: String::new(), port })
            }
            LookUp::Failed | LookUp::Pending => None,
        }
    }

    /// Does the host mean this address? None while that is not known.
    pub(super) fn means(&mut self, addr: &Addr, host: &[u8]) -> Option<bool> {
        match self.look_up(host) {
            LookUp::Ip(ip) => Some(addr.ip == ip),
            LookUp::Failed => {
                let own = match self.settings.resolve_hostnames {
                    true => &addr.host[..],
                    false => addr.ip.as_bytes(),
                };
                Some(own.eq_ignore_ascii_case(host))
            }
            LookUp::Pending => None,
        }
    }
}

impl Sentinel {
    pub(super) fn resolved(&mut self, host: &[u8], ip: Option<String>) {
        let now = self.core.now();
        let first = self.core.names.known.get(host).is_none_or(|k| !k.answered);
        self.core.names.known.insert(host.to_vec(), Known { ip, at: now, answered: true, asked: false });
        if first {
            // What was passed over for want of the answer is looked at again.
            let members = |g: &mut Group| {
                std::iter::once(&mut g.master).chain(&mut g.replicas).for_each(|i| i.info_due = true);
            };
            self.groups.iter_mut().for_each(members);
        }
    }

    /// The caller has waited for the address of a name, before a command or at the start.
    pub(crate) fn learn(&mut self, host: &[u8], ip: Option<String>, now: Ms) {
        let known = Known { ip, at: now, answered: true, asked: false };
        self.core.names.known.insert(host.to_vec(), known);
    }

    /// Has the host a name that is to be looked up before it is used?
    pub(crate) fn is_unknown(&self, host: &[u8]) -> bool {
        let known = self.core.names.known.get(host);
        self.core.settings.resolve_hostnames
            && literal(host).is_none()
            && known.is_none_or(|k| !k.answered)
    }
}
