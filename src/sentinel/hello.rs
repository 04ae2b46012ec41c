//! Hellos: each sentinel says every two seconds, through all servers of a master and to the other sentinels,
//! where it is and which configuration of the master it knows.
//!
//! ```text
//! ip,port,id,current epoch,name of the master,its ip,its port,config epoch
//!    └─ a sentinel: new, known, moved (same id), or in the place of an older one (same address)
//!                   └─ raises the epoch     └─ the greater config epoch has the master's address
//! ```

use super::instance::{Addr, Awaits, Group, Id, Instance, Kind, MOST_MEMBERS, Ms};
use super::names::LookUp;
use super::text::cat;
use super::{Core, HELLO, Sentinel};
use crate::algo::num::{decimal, loose32};
use crate::proto::reply_in::Value;
use crate::sys::log::Level;

/// An epoch that is further ahead was made up.
const MOST_AHEAD: u64 = 1 << 40;
/// Ids and hosts that are longer are none.
const LONGEST: usize = 512;

/// A hello as it was said.
struct Hello<'a> {
    host: &'a [u8],
    port: u16,
    id: &'a [u8],
    epoch: u64,
    master: &'a [u8],
    master_host: &'a [u8],
    master_port: u16,
    config_epoch: u64,
}

fn parse(message: &[u8]) -> Option<Hello<'_>> {
    let parts: Vec<&[u8]> = message.split(|b| *b == b',').collect();
    let [host, port, id, epoch, master, master_host, master_port, config_epoch] = parts[..] else {
        return None;
    };
    let number = |text: &[u8]| u16::try_from(loose32(text)).ok();
    if id.is_empty() || id.len() > LONGEST || host.len() > LONGEST || master_host.len() > LONGEST {
        return None;
    }
    Some(Hello {
        host,
        port: number(port)?,
        id,
        epoch: decimal(epoch)?,
        master,
        master_host,
        master_port: number(master_port)?,
        config_epoch: decimal(config_epoch)?,
    })
}

/// Did the sentinel of that id say it?
pub(super) fn is_from(message: &[u8], id: &[u8]) -> bool {
    memchr::memmem::find(message, id).is_some()
}

impl Sentinel {
    pub(super) fn hello(&mut self, message: &[u8]) {
        let Some(hello) = parse(message) else { return };
        let Some(at) = self.group_at(hello.master) else { return };
        // Without the address of a name the hello cannot be judged; the next one comes soon.
        if self.core.look_up(hello.host) == LookUp::Pending {
            return;
        }
        // A configuration comes from an election, whose epoch its sentinels have seen.
        if !self.core.may_be(hello.epoch) || hello.config_epoch > hello.epoch {
            return;
        }
        let known = self.find_sentinel(at, &hello);
        let sender = match known {
            Some(id) => Some(id),
            None => self.meet(at, &hello),
        };
        if hello.epoch > self.core.epoch {
            self.core.raise_epoch(self.groups.get(at), hello.epoch);
        }
        let Some(sender) = sender else { return };
        self.adopt(at, sender, &hello);
        let now = self.core.now();
        let sender = self.groups.get_mut(at).and_then(|g| g.get_mut(sender));
        if let Some(s) = sender {
            s.last_hello = now;
        }
    }

    /// The sentinel of that id at that address.
    fn find_sentinel(&mut self, at: usize, hello: &Hello<'_>) -> Option<Id> {
        let addr = self.core.address_or_name(hello.host, hello.port)?;
        let sentinels = &self.groups.get(at)?.sentinels;
        let same = |s: &&Instance| s.runid.as_deref() == Some(hello.id) && s.addr.is(&addr);
        sentinels.iter().find(same).map(|s| s.id)
    }

    /// A sentinel that was not there before: at least not at this address.
    fn meet(&mut self, at: usize, hello: &Hello<'_>) -> Option<Id> {
        let addr = self.core.address_or_name(hello.host, hello.port);
        let moved = self.remove_sentinel(at, hello.id);
        if moved {
            let rest = cat![" ip ", hello.host, " port ", hello.port, " for ", hello.id];
            let g = self.groups.get(at)?;
            self.core.event(Level::Notice, "+sentinel-address-switch", g, g.master.id, &rest);
        } else if let Some(addr) = &addr {
            self.drop_predecessor(at, addr);
        }
        let id = self.add_sentinel(at, hello.id, addr?)?;
        if !moved {
            let g = self.groups.get(at)?;
            self.core.event(Level::Notice, "+sentinel", g, id, b"");
        }
        self.share_link(at, id);
        if moved {
            self.move_everywhere(at, id);
        }
        self.core.save();
        Some(id)
    }

    pub(super) fn add_sentinel(&mut self, at: usize, runid: &[u8], addr: Addr) -> Option<Id> {
        let g = self.groups.get_mut(at)?;
        if g.sentinels.len() >= MOST_MEMBERS || g.sentinels.iter().any(|s| s.name == runid) {
            return None;
        }
        let mut s = self.core.new_instance(Kind::Sentinel, runid.to_vec(), addr, g.master.down_after);
        s.runid = Some(runid.to_vec());
        let id = s.id;
        g.sentinels.push(s);
        Some(id)
    }

    /// Another sentinel was at this address: it has been started anew with another id.
    fn drop_predecessor(&mut self, at: usize, addr: &Addr) {
        let Some(g) = self.groups.get(at) else { return };
        let Some(other) = g.sentinels.iter().find(|s| s.addr.is(addr)) else { return };
        let Some(runid) = other.runid.clone() else { return };
        self.core.event(Level::Notice, "+sentinel-invalid-addr", g, other.id, b"");
        for n in 0..self.groups.len() {
            self.remove_sentinel(n, &runid);
        }
    }

    /// What is true of a sentinel's address for one master is true for all.
    fn move_everywhere(&mut self, at: usize, id: Id) {
        let Some(me) = self.groups.get(at).and_then(|g| g.get(id)) else { return };
        let (runid, addr) = (me.runid.clone(), me.addr.clone());
        let (mut links, mut moved) = (Vec::new(), 0usize);
        for s in self.groups.iter_mut().flat_map(|g| &mut g.sentinels).filter(|s| s.runid == runid) {
            links.push(s.link);
            if s.id != id {
                s.addr = addr.clone();
                moved += 1;
            }
        }
        links.into_iter().for_each(|link| self.core.close_link(link));
        if let Some(g) = self.groups.get(at).filter(|_| moved > 0) {
            let rest = cat![" ", moved, " additional matching instances"];
            self.core.event(Level::Notice, "+sentinel-address-update", g, id, &rest);
        }
    }

    /// Takes the configuration of a sentinel over that knows a newer one.
    fn adopt(&mut self, at: usize, sender: Id, hello: &Hello<'_>) {
        let Some(g) = self.groups.get_mut(at).filter(|g| g.config_epoch < hello.config_epoch) else {
            return;
        };
        let c = &mut self.core;
        let own = g.master.addr.clone();
        let same_host = match c.means(&own, hello.master_host) {
            Some(same) => same,
            None => return,
        };
        if same_host && hello.master_port == own.port {
            g.config_epoch = hello.config_epoch;
            return;
        }
        // An address that nothing can be made of is no configuration to take over.
        let Some(new) = c.address(hello.master_host, hello.master_port) else { return };
        g.config_epoch = hello.config_epoch;
        c.event(Level::Warning, "+config-update-from", g, sender, b"");
        let message = cat![
            g.master.name,
            " ",
            c.shown(&own),
            " ",
            own.port,
            " ",
            hello.master_host,
            " ",
            hello.master_port
        ];
        c.announce(Level::Warning, "+switch-master", Some(g), message);
        c.change_master(g, new.clone());
        c.call_reconfig_script(g, "observer", &own, &new);
    }

    pub(super) fn published(&mut self, at: usize, id: Id, value: &Value) {
        let now = self.core.now();
        if matches!(value, Value::Error(_)) {
            return;
        }
        if let Some(i) = self.groups.get_mut(at).and_then(|g| g.get_mut(id)) {
            i.last_hello_sent = now;
        }
    }
}

impl Core {
    /// Can an epoch be one of this group? A single message must not use the epochs up.
    pub(super) fn may_be(&self, epoch: u64) -> bool {
        epoch <= self.epoch.saturating_add(MOST_AHEAD).min(i64::MAX.cast_unsigned())
    }

    /// The epoch moves forward only; what it is now is on the disk before it is used.
    pub(super) fn raise_epoch(&mut self, group: Option<&Group>, epoch: u64) {
        self.epoch = epoch;
        self.save();
        self.announce(Level::Warning, "+new-epoch", group, cat![epoch]);
    }
}

/// Says hello through a server. Before its connection stands our address on it is not known; the next tick
/// tries again.
pub(super) fn send_hello(g: &Group, id: Id, c: &mut Core) {
    let Some(i) = g.get(id) else { return };
    let local = c.link(i).and_then(|l| l.commands.as_ref()).and_then(|x| x.local.clone());
    let ip = match (&c.settings.announce_ip, local) {
        (Some(ip), _) => ip.clone(),
        (None, Some(ip)) => ip.into_bytes(),
        (None, None) => return,
    };
    let port = match c.settings.announce_port {
        0 => c.env.port,
        port => port,
    };
    let addr = g.current_addr();
    let message = cat![
        ip,
        ",",
        port,
        ",",
        c.myid,
        ",",
        c.epoch,
        ",",
        g.master.name,
        ",",
        c.shown(addr),
        ",",
        addr.port,
        ",",
        g.config_epoch
    ];
    c.ask(i, Awaits::Publish, &[g.command("PUBLISH"), HELLO, &message]);
}

/// The next tick says hello to all of a group.
pub(super) fn hurry_hellos(g: &mut Group, period: Ms) {
    for id in g.ids() {
        if let Some(i) = g.get_mut(id) {
            i.last_hello_sent = i.last_hello_sent.saturating_sub(period + 1);
        }
    }
}
