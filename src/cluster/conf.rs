//! nodes.conf: what this node knows, so that it is the same node after a restart.
//!
//! ```text
//! id ip:port@bus,hostname[,tls-port=n][,tcp-port=n][,nodename=text],shard-id=id flags master|- ping pong
//!    epoch connected|disconnected [slots] [[slot->-id]] [[slot-<-id]]
//! vars currentEpoch n lastVoteEpoch n
//! ```
//!
//! A node is a line; the second half of it stands behind the first. Of the two ports the one of the bus's
//! kind stands in front, the other among the fields behind the hostname. Files of older versions have no
//! `@bus` and no fields. Nodes in a handshake are left out.
//!
//! A file that cannot be read as a whole ends the start: a node that forgets its votes votes twice.

use super::nodes::{Node, NodeId, text};
use super::slots::{SLOTS, each};
use super::{BUS_PORT, Cluster, Now, Settings};
use crate::algo::quote::split_args;
use crate::algo::rng::Rng;
use crate::proto::bus::{Flags, Name, is_aux_text, is_id};
use crate::sys::log::Level;
use std::fmt::Write;

/// The line that cannot be read.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Corrupt(pub String);

const FLAGS: [(Flags, &str); 8] = [
    (Flags::MYSELF, "myself"),
    (Flags::MASTER, "master"),
    (Flags::REPLICA, "slave"),
    (Flags::PFAIL, "fail?"),
    (Flags::FAIL, "fail"),
    (Flags::HANDSHAKE, "handshake"),
    (Flags::NOADDR, "noaddr"),
    (Flags::NOFAILOVER, "nofailover"),
];

/// Can this stand in a field, and be read again?
fn is_writable(value: &str) -> bool {
    let parts = |b: u8| matches!(b, b',' | b'=' | b'"' | b'\'' | b'\\') || b.is_ascii_whitespace();
    is_aux_text(value.as_bytes()) && !value.bytes().any(parts)
}

impl Cluster {
    /// The whole file.
    pub(crate) fn conf_text(&self, now: Now) -> String {
        let mut out = String::new();
        let tls = self.settings.tls_cluster;
        for (_, node) in self.nodes.iter().filter(|(_, n)| !n.is_handshake()) {
            self.put_node(&mut out, node, tls, true, now);
            out.push('\n');
        }
        put(
            &mut out,
            format_args!(
                "vars currentEpoch {} lastVoteEpoch {}\n",
                self.current_epoch, self.last_vote_epoch
            ),
        );
        out
    }

    /// One line, without its end: of the file (`fields`), or of CLUSTER NODES.
    pub(super) fn put_node(&self, out: &mut String, node: &Node, tls: bool, fields: bool, now: Now) {
        let ip = node.ip.map(|ip| ip.to_string()).unwrap_or_default();
        let (port, other) = node.ports(tls);
        put(out, format_args!("{} {ip}:{port}@{}", text(&node.name), node.bus_port));
        if fields || !node.hostname.is_empty() {
            put(out, format_args!(",{}", node.hostname));
        }
        if fields {
            let kind = if tls { "tcp" } else { "tls" };
            put(out, format_args!(",{kind}-port={other}"));
            if !node.nodename.is_empty() && is_writable(&node.nodename) {
                put(out, format_args!(",nodename={}", node.nodename));
            }
            put(out, format_args!(",shard-id={}", text(&node.shard)));
        }
        let named = FLAGS.iter().filter(|(flag, _)| node.flags.has(*flag));
        let flags: Vec<&str> = named.map(|(_, name)| *name).collect();
        let flags = if flags.is_empty() { "noflags".into() } else { flags.join(",") };
        let master = node.master.and_then(|m| self.nodes.get(m));
        let epoch = master.map_or(node.config_epoch, |m| m.config_epoch);
        let wall = |at: Option<u64>| at.map_or(0, |at| now.wall_of(at));
        put(
            out,
            format_args!(
                " {flags} {} {} {} {epoch} {}",
                master.map_or("-", |m| text(&m.name)),
                wall(node.ping_sent),
                wall(node.pong_received),
                if node.link.is_some() || node.flags.has(Flags::MYSELF) {
                    "connected"
                } else {
                    "disconnected"
                }
            ),
        );
        for (start, end) in node.slots.ranges() {
            match start == end {
                true => put(out, format_args!(" {start}")),
                false => put(out, format_args!(" {start}-{end}")),
            }
        }
        if node.flags.has(Flags::MYSELF) {
            self.put_open_slots(out);
        }
    }

    fn put_open_slots(&self, out: &mut String) {
        let name = |id: &NodeId| self.nodes.get(*id).map_or("", |n| text(&n.name));
        let mut open = super::SlotSet::default();
        for slot in self.slots.migrating.keys().chain(self.slots.importing.keys()) {
            open.insert(*slot);
        }
        for slot in each(open.words()) {
            if let Some(to) = self.slots.migrating.get(&slot) {
                put(out, format_args!(" [{slot}->-{}]", name(to)));
            } else if let Some(from) = self.slots.importing.get(&slot) {
                put(out, format_args!(" [{slot}-<-{}]", name(from)));
            }
        }
    }

    /// The node that a file describes, and what the log is to say of it.
    pub(crate) fn read(
        settings: Settings,
        rng: Rng,
        file: &str,
        now: Now,
    ) -> Result<(Cluster, Vec<(Level, String)>), Corrupt> {
        let mut lines = Vec::new();
        for line in file.lines().filter(|l| !l.trim().is_empty()) {
            let corrupt = || Corrupt(line.into());
            let words = split_args(line.as_bytes()).ok_or_else(corrupt)?;
            let words: Result<Vec<String>, _> = words.into_iter().map(String::from_utf8).collect();
            lines.push((line, words.map_err(|_| corrupt())?));
        }
        let is_own =
            |words: &[String]| words.get(2).is_some_and(|f| f.split(',').any(|f| f == "myself"));
        let own: Vec<_> = lines.iter().filter(|(_, words)| is_own(words)).collect();
        let [(own_line, own)] = own.as_slice() else {
            let line = lines.last().map_or("", |(line, _)| line);
            return Err(Corrupt(line.into()));
        };
        // The older forms had no such line, or may have had none. Without it a vote would be forgotten.
        let is_new = lines.iter().any(|(_, words)| words.get(1).is_some_and(|w| w.contains('@')));
        let has_vote = |words: &[String]| {
            words.first().is_some_and(|w| w.eq_ignore_ascii_case("vars"))
                && words.iter().any(|w| w.eq_ignore_ascii_case("lastVoteEpoch"))
        };
        if is_new && !lines.iter().any(|(_, words)| has_vote(words)) {
            let line = lines.last().map_or("", |(line, _)| line);
            return Err(Corrupt(line.into()));
        }
        let name = own.first().and_then(|w| name(w)).ok_or_else(|| Corrupt((*own_line).into()))?;
        let me = Node::new(name, Flags::MYSELF, now.mono);
        let mut cluster = Cluster::of(settings, rng, me);
        let mut log = Vec::new();
        for (line, words) in &lines {
            cluster.read_line(words, now, &mut log).ok_or_else(|| Corrupt((*line).into()))?;
        }
        cluster.agree_on_shards(&mut log);
        cluster.announce();
        cluster.current_epoch = cluster.current_epoch.max(cluster.nodes.max_epoch());
        let text = format!("Node configuration loaded, I'm {}", cluster.my_name());
        log.push((Level::Notice, text));
        Ok((cluster, log))
    }

    fn read_line(&mut self, words: &[String], now: Now, log: &mut Vec<(Level, String)>) -> Option<()> {
        if words.first()?.eq_ignore_ascii_case("vars") {
            return self.read_vars(words.get(1..)?, log);
        }
        let [id, address, flags, master, ping, pong, epoch, _, slots @ ..] = words else { return None };
        let id = self.named(name(id)?, now)?;
        self.read_address(id, address)?;
        let mut set = Flags::default();
        for flag in flags.split(',').filter(|f| *f != "noflags") {
            let (flag, _) = FLAGS.iter().find(|(_, name)| name.eq_ignore_ascii_case(flag))?;
            set = set.with(*flag);
        }
        let master = match master.as_str() {
            "-" => None,
            other => Some(self.named(name(other)?, now)?),
        };
        let (ping, pong): (u64, u64) = (ping.parse().ok()?, pong.parse().ok()?);
        let epoch: u64 = epoch.parse().ok()?;
        let node = self.nodes.get_mut(id)?;
        let migrate_to = node.flags.only(Flags::MIGRATE_TO);
        node.flags = set.with(migrate_to);
        if node.ip.is_none() && !set.has(Flags::MYSELF) {
            node.flags.set(Flags::NOADDR, true);
        }
        node.failed_at = set.has(Flags::FAIL).then_some(now.mono);
        node.ping_sent = (ping > 0).then_some(now.mono);
        node.pong_received = (pong > 0).then_some(now.mono);
        let follows = master.is_some() && set.has(Flags::REPLICA);
        node.config_epoch = if follows { 0 } else { epoch };
        self.nodes.set_master(id, master);
        slots.iter().try_for_each(|word| self.read_slots(id, word, now))
    }

    /// A node of this name, new if it has not been seen yet.
    fn named(&mut self, name: Name, now: Now) -> Option<NodeId> {
        match self.nodes.find(&name) {
            Some(id) => Some(id),
            None => self.nodes.add(Node::new(name, Flags::NOADDR, now.mono)),
        }
    }

    fn read_vars(&mut self, words: &[String], log: &mut Vec<(Level, String)>) -> Option<()> {
        let (pairs, []) = words.as_chunks::<2>() else { return None };
        for [key, value] in pairs {
            if key.eq_ignore_ascii_case("currentEpoch") {
                self.current_epoch = value.parse().ok()?;
            } else if key.eq_ignore_ascii_case("lastVoteEpoch") {
                self.last_vote_epoch = value.parse().ok()?;
            } else {
                let text = format!("Skipping unknown cluster config variable '{key}'");
                log.push((Level::Notice, text));
            }
        }
        Some(())
    }

    fn read_address(&mut self, id: NodeId, word: &str) -> Option<()> {
        let tls = self.settings.tls_cluster;
        let mut parts = word.split(',');
        let (ip, ports) = parts.next()?.rsplit_once(':')?;
        let (port, bus) = match ports.split_once('@') {
            Some((port, bus)) => (port.parse().ok()?, Some(bus.parse().ok()?)),
            None => (ports.parse::<u16>().ok()?, None),
        };
        let hostname = parts.next().unwrap_or_default();
        let node = self.nodes.get_mut(id)?;
        node.ip = if ip.is_empty() { None } else { Some(ip.parse().ok()?) };
        node.hostname = hostname.into();
        let (mut other, mut first) = (None, None);
        for field in parts {
            let (key, value) = field.split_once('=')?;
            if !is_aux_text(field.as_bytes()) || value.contains('=') {
                return None;
            }
            let number = || value.parse::<u16>().ok();
            match key {
                "shard-id" => node.shard = name(value)?,
                "nodename" => node.nodename = value.into(),
                "tcp-port" if tls => other = Some(number()?),
                "tls-port" if !tls => other = Some(number()?),
                "tcp-port" | "tls-port" => first = Some(number()?),
                _ => return None,
            }
        }
        // A file of the time before, or after, TLS was switched has the other of the two in front.
        let ports = match (first, other) {
            (Some(first), other) => (first, other.unwrap_or(port)),
            (None, other) => (port, other.unwrap_or(0)),
        };
        node.set_ports(ports, tls);
        node.bus_port = bus.unwrap_or(ports.0.saturating_add(BUS_PORT));
        Some(())
    }

    fn read_slots(&mut self, id: NodeId, word: &str, now: Now) -> Option<()> {
        let slot = |text: &str| text.parse::<u16>().ok().filter(|s| *s < SLOTS);
        if let Some(open) = word.strip_prefix('[') {
            let (number, rest) = open.strip_suffix(']')?.split_once('-')?;
            let number = slot(number)?;
            let (way, other) = rest.split_at_checked(2)?;
            let other = self.named(name(other)?, now)?;
            match way {
                ">-" => _ = self.slots.migrating.insert(number, other),
                "<-" => _ = self.slots.importing.insert(number, other),
                _ => return None,
            }
            return Some(());
        }
        let (start, end) = word.split_once('-').unwrap_or((word, word));
        for slot in slot(start)?..=slot(end)? {
            if self.slots.owner(slot).is_none() {
                self.bind(slot, id);
            }
        }
        Some(())
    }

    /// Files have been seen in which a replica has not its master's shard: the master's is right.
    fn agree_on_shards(&mut self, log: &mut Vec<(Level, String)>) {
        for id in self.nodes.ids() {
            let Some(shard) = self.nodes.master_of(id).map(|m| m.shard) else { continue };
            let Some(node) = self.nodes.get_mut(id).filter(|n| n.shard != shard) else { continue };
            if node.shard != node.name {
                let text = format!(
                    "Node {} has another shard id than its master in the cluster config file; taking the \
                     master's",
                    text(&node.name)
                );
                log.push((Level::Warning, text));
            }
            node.shard = shard;
        }
    }
}

fn name(word: &str) -> Option<Name> {
    word.as_bytes().try_into().ok().filter(|name: &Name| is_id(name))
}

/// Writing to a string does not fail.
fn put(out: &mut String, text: std::fmt::Arguments<'_>) {
    out.write_fmt(text).expect("a string takes all");
}
