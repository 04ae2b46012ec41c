//! What the subcommands of CLUSTER change, with their checks and the texts of their refusals.

use super::nodes::{Node, NodeId, random_name};
use super::slots::{SLOTS, SlotSet, has};
use super::{Action, BUS_PORT, Cluster, Cx, Env};
use crate::algo::num::parse_i64;
use crate::proto::bus::{Flags, Name};
use crate::proto::error::CmdError;
use crate::sys::log::Level;
use std::net::IpAddr;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FailoverKind {
    Default,
    Force,
    Takeover,
}

/// The answer of BUMPEPOCH: the epoch, which is a new one or not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Bumped {
    Bumped(u64),
    Still(u64),
}

type Done<T = ()> = Result<T, CmdError>;

fn refuse<T>(text: impl Into<String>) -> Done<T> {
    Err(CmdError::text(format!("ERR {}", text.into())))
}

fn shown(arg: &[u8]) -> String {
    String::from_utf8_lossy(arg).into_owned()
}

/// A slot, as an argument.
pub(crate) fn slot_of(arg: &[u8]) -> Done<u16> {
    let number = parse_i64(arg).and_then(|n| u16::try_from(n).ok()).filter(|n| *n < SLOTS);
    number.ok_or(CmdError::Msg(&"ERR Invalid or out of range slot"))
}

impl Cluster {
    /// A node that has been met.
    fn known(&self, arg: &[u8]) -> Option<NodeId> {
        let name: Name = arg.try_into().ok()?;
        let id = self.nodes.find(&name)?;
        self.nodes.get(id).filter(|n| !n.is_handshake()).map(|_| id)
    }

    fn can_claim(&self) -> Done {
        if self.saves.is_failing() {
            return refuse("the cluster config file cannot be saved, so no epoch can be claimed");
        }
        Ok(())
    }

    // ---- MEET, FORGET ----------------------------------------------------------------------------

    /// MEET ip port [bus-port]
    pub(crate) fn meet(&mut self, ip: &[u8], port: &[u8], bus: Option<&[u8]>, env: &Env<'_>) -> Done {
        let Some(number) = parse_i64(port) else {
            return refuse(format!("Invalid base port specified: {}", shown(port)));
        };
        let bus_number = match bus {
            None => number.saturating_add(i64::from(BUS_PORT)),
            Some(text) => match parse_i64(text) {
                Some(number) => number,
                None => return refuse(format!("Invalid bus port specified: {}", shown(text))),
            },
        };
        let fits = |n: i64| u16::try_from(n).ok().filter(|n| *n > 0);
        let address = std::str::from_utf8(ip).ok().and_then(|ip| ip.parse::<IpAddr>().ok());
        let (Some(ip_), Some(port_), Some(bus)) = (address, fits(number), fits(bus_number)) else {
            let text = format!("Invalid node address specified: {}:{}", shown(ip), shown(port));
            return refuse(text);
        };
        self.start_handshake(ip_, (port_, 0), bus, Flags::MEET, env.now.mono);
        Ok(())
    }

    pub(crate) fn forget(&mut self, arg: &[u8], env: &Env<'_>, out: &mut Vec<Action>) -> Done {
        let name: Option<Name> = arg.try_into().ok();
        let Some(id) = name.and_then(|n| self.nodes.find(&n)) else {
            if name.is_some_and(|n| self.is_blacklisted(&n, env.now.mono)) {
                return Ok(());
            }
            return refuse(format!("Unknown node {}", shown(arg)));
        };
        if id == self.nodes.me() {
            return refuse("I tried hard but I can't forget myself...");
        }
        if self.nodes.myself().master == Some(id) {
            return refuse("Can't forget my master!");
        }
        let cx = &mut Cx { env, out };
        if let Some(name) = name {
            self.blacklist(name, super::handshake::BLACKLIST_MS, cx.now());
        }
        self.remove_node(id, cx);
        self.due.state = true;
        self.saves.due = true;
        self.finish(cx);
        Ok(())
    }

    // ---- slots -----------------------------------------------------------------------------------

    /// ADDSLOTS, ADDSLOTSRANGE (`ranges`): the arguments behind the subcommand's name.
    pub(crate) fn add_slots(
        &mut self,
        args: &[&[u8]],
        ranges: bool,
        env: &Env<'_>,
        out: &mut Vec<Action>,
    ) -> Done {
        if self.nodes.myself().is_replica() {
            // Upstream takes them, and ends when it is to follow another master.
            return refuse("Please use ADDSLOTS and ADDSLOTSRANGE only with masters.");
        }
        let slots = self.slot_args(args, ranges, false)?;
        let me = self.nodes.me();
        for slot in slots.iter() {
            self.slots.importing.remove(&slot);
            self.bind(slot, me);
        }
        self.slots_changed(env, out);
        Ok(())
    }

    pub(crate) fn del_slots(
        &mut self,
        args: &[&[u8]],
        ranges: bool,
        env: &Env<'_>,
        out: &mut Vec<Action>,
    ) -> Done {
        let slots = self.slot_args(args, ranges, true)?;
        for slot in slots.iter() {
            self.slots.importing.remove(&slot);
            self.unbind(slot);
        }
        self.slots_changed(env, out);
        Ok(())
    }

    fn slots_changed(&mut self, env: &Env<'_>, out: &mut Vec<Action>) {
        self.due.state = true;
        self.due.masks = true;
        self.saves.due = true;
        self.finish(&mut Cx { env, out });
    }

    fn slot_args(&self, args: &[&[u8]], ranges: bool, del: bool) -> Done<SlotSet> {
        let mut slots = SlotSet::default();
        if !ranges {
            // All are read before any is looked at.
            let read: Vec<u16> = args.iter().map(|arg| slot_of(arg)).collect::<Result<_, _>>()?;
            read.iter().try_for_each(|slot| self.check_slot(*slot, del, &mut slots))?;
            return Ok(slots);
        }
        let (pairs, rest) = args.as_chunks::<2>();
        if !rest.is_empty() {
            let name = if del { "cluster|delslotsrange" } else { "cluster|addslotsrange" };
            return Err(CmdError::arity(name));
        }
        for [start, end] in pairs {
            let (start, end) = (slot_of(start)?, slot_of(end)?);
            if start > end {
                return refuse(format!(
                    "start slot number {start} is greater than end slot number {end}"
                ));
            }
            (start..=end).try_for_each(|slot| self.check_slot(slot, del, &mut slots))?;
        }
        Ok(slots)
    }

    fn check_slot(&self, slot: u16, del: bool, slots: &mut SlotSet) -> Done {
        match (del, self.slots.owner(slot)) {
            (true, None) => refuse(format!("Slot {slot} is already unassigned")),
            (false, Some(_)) => refuse(format!("Slot {slot} is already busy")),
            _ if !slots.insert(slot) => refuse(format!("Slot {slot} specified multiple times")),
            _ => Ok(()),
        }
    }

    pub(crate) fn flush_slots(&mut self, env: &Env<'_>, out: &mut Vec<Action>) -> Done {
        if env.filled.iter().any(|w| *w != 0) {
            return refuse("DB must be empty to perform CLUSTER FLUSHSLOTS.");
        }
        let me = self.nodes.me();
        self.unbind_all(me, &mut Cx { env, out });
        self.slots_changed(env, out);
        Ok(())
    }

    /// SETSLOT slot MIGRATING|IMPORTING|NODE id, SETSLOT slot STABLE
    pub(crate) fn set_slot(
        &mut self,
        slot: &[u8],
        action: &[u8],
        node: Option<&[u8]>,
        env: &Env<'_>,
        out: &mut Vec<Action>,
    ) -> Done {
        if self.nodes.myself().is_replica() {
            return refuse("Please use SETSLOT only with masters.");
        }
        let slot = slot_of(slot)?;
        let is = |name: &str| action.eq_ignore_ascii_case(name.as_bytes());
        let mine = self.slots.owner(slot) == Some(self.nodes.me());
        match node {
            Some(id) if is("migrating") => {
                if !mine {
                    return refuse(format!("I'm not the owner of hash slot {slot}"));
                }
                let to = self.open_with(id)?;
                self.slots.migrating.insert(slot, to);
            }
            Some(id) if is("importing") => {
                if mine {
                    return refuse(format!("I'm already the owner of hash slot {slot}"));
                }
                let from = self.open_with(id)?;
                self.slots.importing.insert(slot, from);
            }
            None if is("stable") => {
                self.slots.migrating.remove(&slot);
                self.slots.importing.remove(&slot);
            }
            Some(id) if is("node") => self.give_slot(slot, id, &mut Cx { env, out })?,
            _ => {
                return refuse(
                    "Invalid CLUSTER SETSLOT action or number of arguments. Try CLUSTER HELP",
                );
            }
        }
        self.slots_changed(env, out);
        Ok(())
    }

    /// The other end of an open slot.
    fn open_with(&self, arg: &[u8]) -> Done<NodeId> {
        let Some(id) = self.known(arg) else {
            return refuse(format!("I don't know about node {}", shown(arg)));
        };
        self.be_master(id)
    }

    fn be_master(&self, id: NodeId) -> Done<NodeId> {
        if self.nodes.get(id).is_some_and(Node::is_replica) {
            return refuse("Target node is not a master");
        }
        Ok(id)
    }

    fn give_slot(&mut self, slot: u16, arg: &[u8], cx: &mut Cx<'_>) -> Done {
        let Some(id) = self.known(arg) else { return refuse(format!("Unknown node {}", shown(arg))) };
        self.be_master(id)?;
        let me = self.nodes.me();
        let mine = self.slots.owner(slot) == Some(me);
        let filled = has(cx.env.filled, slot);
        if mine && id != me && filled {
            return refuse(format!(
                "Can't assign hashslot {slot} to a different node while I still hold keys for this hash slot."
            ));
        }
        let imported = id == me && self.slots.importing.contains_key(&slot);
        if imported {
            self.can_claim()?;
            // Before the slot is this node's.
            self.begin_claim();
            if self.bump_without_consensus(cx).is_some() {
                let text = format!("configEpoch updated after importing slot {slot}");
                cx.log(Level::Notice, text);
            }
        }
        if !filled {
            self.slots.migrating.remove(&slot);
        }
        if self.slots.owner(slot) != Some(id) {
            self.unbind(slot);
            self.bind(slot, id);
        } else {
            self.slots.unclaimed.remove(slot);
        }
        let nothing_left = self.nodes.myself().slots.count() == 0;
        if mine && id != me && nothing_left && self.settings.allow_replica_migration {
            let shown = self.nodes.get(id).map(Node::shown).unwrap_or_default();
            let text =
                format!("Configuration change detected. Reconfiguring myself as a replica of {shown}");
            cx.log(Level::Notice, text);
            self.set_my_master(id, cx);
        }
        if imported {
            self.slots.importing.remove(&slot);
            self.tell_all_when_saved(cx);
        }
        Ok(())
    }

    // ---- epochs ----------------------------------------------------------------------------------

    pub(crate) fn bump_epoch(&mut self, env: &Env<'_>, out: &mut Vec<Action>) -> Done<Bumped> {
        self.can_claim()?;
        let still = self.nodes.myself().config_epoch;
        let bumped = self.bump_without_consensus(&mut Cx { env, out });
        Ok(bumped.map_or(Bumped::Still(still), Bumped::Bumped))
    }

    pub(crate) fn set_config_epoch(
        &mut self,
        epoch: &[u8],
        env: &Env<'_>,
        out: &mut Vec<Action>,
    ) -> Done {
        let epoch = parse_i64(epoch).ok_or(CmdError::NotInteger)?;
        let Ok(number) = u64::try_from(epoch) else {
            return refuse(format!("Invalid config epoch specified: {epoch}"));
        };
        if self.nodes.len() > 1 {
            return refuse(
                "The user can assign a config epoch only when the node does not know any other node.",
            );
        }
        if self.nodes.myself().config_epoch != 0 {
            return refuse("Node config epoch is already non-zero");
        }
        self.nodes.myself_mut().config_epoch = number;
        let text = format!("configEpoch set to {number} via CLUSTER SET-CONFIG-EPOCH");
        Cx { env, out }.log(Level::Notice, text);
        self.current_epoch = self.current_epoch.max(number);
        self.due.state = true;
        self.saves.due = true;
        Ok(())
    }

    // ---- roles -----------------------------------------------------------------------------------

    pub(crate) fn replicate(&mut self, arg: &[u8], env: &Env<'_>, out: &mut Vec<Action>) -> Done {
        let Some(id) = self.known(arg) else { return refuse(format!("Unknown node {}", shown(arg))) };
        if id == self.nodes.me() {
            return refuse("Can't replicate myself");
        }
        if self.nodes.get(id).is_some_and(Node::is_replica) {
            return refuse("I can only replicate a master, not a replica.");
        }
        let me = self.nodes.myself();
        let has_data = me.slots.count() > 0 || env.filled.iter().any(|w| *w != 0);
        if me.is_master() && has_data {
            return refuse("To set a master the node must be empty and without assigned slots.");
        }
        let cx = &mut Cx { env, out };
        self.set_my_master(id, cx);
        self.finish(cx);
        Ok(())
    }

    pub(crate) fn failover(&mut self, kind: FailoverKind, env: &Env<'_>, out: &mut Vec<Action>) -> Done {
        if self.nodes.myself().is_master() {
            return refuse("You should send CLUSTER FAILOVER to a replica");
        }
        let Some(master) = self.nodes.master_of(self.nodes.me()) else {
            return refuse("I'm a replica but my master is unknown to me");
        };
        if kind == FailoverKind::Default && (master.is_failed() || master.link.is_none()) {
            return refuse("Master is down or failed, please use CLUSTER FAILOVER FORCE");
        }
        if kind == FailoverKind::Takeover {
            self.can_claim()?;
        }
        let cx = &mut Cx { env, out };
        self.begin_manual(cx);
        match kind {
            FailoverKind::Default => {
                cx.log(Level::Notice, "Manual failover user request accepted.");
                self.ask_master(cx);
            }
            FailoverKind::Force => {
                cx.log(Level::Notice, "Forced failover user request accepted.");
                self.start_manual();
            }
            FailoverKind::Takeover => {
                cx.log(Level::Notice, "Taking over the master (user request).");
                self.begin_claim();
                self.bump_without_consensus(cx);
                self.replace_master(cx);
            }
        }
        self.finish(cx);
        Ok(())
    }

    pub(crate) fn reset(&mut self, hard: bool, env: &Env<'_>, out: &mut Vec<Action>) -> Done {
        if self.nodes.myself().is_master() && env.filled.iter().any(|w| *w != 0) {
            return refuse("CLUSTER RESET can't be called with master nodes containing keys");
        }
        let cx = &mut Cx { env, out };
        let me = self.nodes.me();
        if self.nodes.myself().is_replica() {
            self.becomes_master(me);
            self.following = false;
            cx.out.push(Action::BecomeMaster);
            cx.out.push(Action::FlushAll);
        }
        self.slots.migrating.clear();
        self.slots.importing.clear();
        self.end_manual(cx);
        self.election = Default::default();
        (0..SLOTS).for_each(|slot| self.unbind(slot));
        for id in self.nodes.ids().into_iter().filter(|id| *id != me) {
            self.remove_node(id, cx);
        }
        self.blacklist.clear();
        // What was claimed is no longer so.
        self.saves.barrier = None;
        if hard {
            self.reset_hard(cx);
        }
        self.saves.due_with_fsync();
        self.slots_changed(env, out);
        Ok(())
    }

    fn reset_hard(&mut self, cx: &mut Cx<'_>) {
        (self.current_epoch, self.last_vote_epoch) = (0, 0);
        let (name, shard) = (random_name(&mut self.rng), random_name(&mut self.rng));
        let me = self.nodes.me();
        self.nodes.rename(me, name);
        let node = self.nodes.myself_mut();
        node.config_epoch = 0;
        node.shard = shard;
        cx.log(Level::Notice, "configEpoch set to 0 via CLUSTER RESET HARD");
        let text = format!("Node hard reset, now I'm {}", self.my_name());
        cx.log(Level::Notice, text);
    }

    // ---- questions -------------------------------------------------------------------------------

    pub(crate) fn count_failure_reports(&mut self, arg: &[u8], env: &Env<'_>) -> Done<usize> {
        match self.known(arg) {
            Some(id) => Ok(self.count_reports(id, env.now.mono)),
            None => refuse(format!("Unknown node {}", shown(arg))),
        }
    }

    /// The lines of CLUSTER NODES of the replicas of a master.
    pub(crate) fn replica_lines(&self, arg: &[u8], tls: bool, env: &Env<'_>) -> Done<Vec<String>> {
        let Some(master) = self.known(arg).and_then(|id| self.nodes.get(id)) else {
            return refuse(format!("Unknown node {}", shown(arg)));
        };
        if master.is_replica() {
            return refuse("The specified node is not a master");
        }
        let replicas = master.replicas.iter().filter_map(|r| self.nodes.get(*r));
        let line = |node: &Node| {
            let mut out = String::new();
            self.put_node(&mut out, node, tls, false, env.now);
            out
        };
        Ok(replicas.map(line).collect())
    }
}
