//! The tables that SENTINEL and INFO show.

use super::instance::{Group, Instance, Kind, flag};
use super::monitor::age;
use super::text::cat;
use super::{Core, Reply, Sentinel};

/// States by name, in the order in which they are listed; those of the kind and the link stand between.
const DOWN: [(u16, &str); 2] = [(flag::S_DOWN, "s_down"), (flag::O_DOWN, "o_down")];
const STATES: [(u16, &str); 9] = [
    (flag::MASTER_DOWN, "master_down"),
    (flag::FAILOVER, "failover_in_progress"),
    (flag::PROMOTED, "promoted"),
    (flag::RECONF_SENT, "reconf_sent"),
    (flag::RECONF_INPROG, "reconf_inprog"),
    (flag::RECONF_DONE, "reconf_done"),
    (flag::FORCED, "force_failover"),
    (flag::SCRIPT_KILLED, "script_kill_sent"),
    (flag::REBOOT, "master_reboot"),
];

/// A map under construction.
#[derive(Default)]
struct Fields(Vec<Reply>);

impl Fields {
    fn text(&mut self, name: &str, value: impl Into<Vec<u8>>) {
        self.0.push(Reply::text(name));
        self.0.push(Reply::Bulk(value.into()));
    }

    fn number(&mut self, name: &str, value: impl ToString) {
        self.text(name, value.to_string());
    }
}

fn number(n: i64) -> Reply {
    Reply::Bulk(cat![n])
}

/// `s_down,master,disconnected`
fn flags(i: &Instance, cut: bool) -> String {
    let named = |all: &[(u16, &'static str)]| -> Vec<&'static str> {
        all.iter().filter(|(bit, _)| i.has(*bit)).map(|(_, name)| *name).collect()
    };
    let mut names = named(&DOWN);
    names.push(i.kind.name());
    names.extend(cut.then_some("disconnected"));
    names.extend(named(&STATES));
    names.join(",")
}

impl Core {
    pub(super) fn instance(&self, g: &Group, i: &Instance) -> Reply {
        let now = self.now();
        let mut f = Fields::default();
        f.text("name", i.name.clone());
        f.text("ip", self.shown(&i.addr));
        f.number("port", i.addr.port);
        f.text("runid", i.runid.clone().unwrap_or_default());
        f.text("flags", flags(i, self.is_cut(i)));
        let link = self.link(i);
        f.number("link-pending-commands", link.map_or(0, super::instance::Link::pending));
        f.number("link-refcount", link.map_or(0, |l| l.users));
        if i.has(flag::FAILOVER) {
            f.text("failover-state", g.failover.state.name());
        }
        f.number("last-ping-sent", link.map_or(0, |l| age(l.ping_waits, now)));
        f.number("last-ok-ping-reply", link.map_or(0, |l| now - l.last_ok));
        f.number("last-ping-reply", link.map_or(0, |l| now - l.last_pong));
        if i.has(flag::S_DOWN) {
            f.number("s-down-time", age(i.s_down_since, now));
        }
        if i.has(flag::O_DOWN) {
            f.number("o-down-time", age(i.o_down_since, now));
        }
        f.number("down-after-milliseconds", i.down_after);
        if i.kind != Kind::Sentinel {
            f.number("info-refresh", age(i.info_at, now));
            let role = if i.role == Some(Kind::Master) { "master" } else { "slave" };
            f.text("role-reported", role);
            f.number("role-reported-time", now - i.role_since);
        }
        match i.kind {
            Kind::Master => master_fields(g, &mut f),
            Kind::Replica => replica_fields(i, &mut f),
            Kind::Sentinel => {
                f.number("last-hello-message", now - i.last_hello);
                f.text("voted-leader", i.leader.clone().unwrap_or_else(|| b"?".to_vec()));
                f.number("voted-leader-epoch", i.leader_epoch);
            }
        }
        Reply::Map(f.0)
    }
}

fn master_fields(g: &Group, f: &mut Fields) {
    f.number("config-epoch", g.config_epoch);
    f.number("num-slaves", g.replicas.len());
    f.number("num-other-sentinels", g.sentinels.len());
    f.number("quorum", g.quorum);
    f.number("failover-timeout", g.failover_timeout);
    f.number("parallel-syncs", g.parallel_syncs);
    if let Some(path) = &g.notification_script {
        f.text("notification-script", path.clone());
    }
    if let Some(path) = &g.client_reconfig_script {
        f.text("client-reconfig-script", path.clone());
    }
}

fn replica_fields(i: &Instance, f: &mut Fields) {
    f.number("master-link-down-time", i.link_down_for);
    f.text("master-link-status", if i.link_up { "ok" } else { "err" });
    f.text("master-host", i.master_host.clone().unwrap_or_else(|| b"?".to_vec()));
    f.number("master-port", i.master_port);
    f.number("slave-priority", i.priority);
    f.number("slave-repl-offset", i.offset);
    f.number("replica-announced", i32::from(i.announced));
}

impl Sentinel {
    /// SENTINEL MASTERS.
    pub(super) fn masters(&self) -> Reply {
        Reply::Array(self.groups.iter().map(|g| self.core.instance(g, &g.master)).collect())
    }

    /// SENTINEL REPLICAS: those that want to be known.
    pub(super) fn replicas(&self, g: &Group) -> Reply {
        let shown = g.replicas.iter().filter(|r| r.announced);
        Reply::Array(shown.map(|r| self.core.instance(g, r)).collect())
    }

    pub(super) fn sentinels(&self, g: &Group) -> Reply {
        Reply::Array(g.sentinels.iter().map(|s| self.core.instance(g, s)).collect())
    }

    /// SENTINEL INFO-CACHE, of the named masters that exist, or of all: name, then `[age, INFO]` of each.
    pub(super) fn info_cache(&self, names: &[&[u8]]) -> Reply {
        let wanted = |g: &&Group| names.is_empty() || names.contains(&&g.master.name[..]);
        let one = |i: &Instance| {
            let info = i.info.clone().map_or(Reply::Null, Reply::Bulk);
            Reply::Array(vec![Reply::Int(age(i.info_at, self.core.now())), info])
        };
        let each = self.groups.iter().filter(wanted).flat_map(|g| {
            let all = std::iter::once(&g.master).chain(&g.replicas).map(one).collect();
            [Reply::Bulk(g.master.name.clone()), Reply::Array(all)]
        });
        Reply::Array(each.collect())
    }

    /// ROLE.
    pub(crate) fn role(&self) -> Reply {
        let names = self.groups.iter().map(|g| Reply::Bulk(g.master.name.clone())).collect();
        Reply::Array(vec![Reply::text("sentinel"), Reply::Array(names)])
    }

    /// The section of INFO, without its head.
    pub(crate) fn info_section(&self) -> Vec<u8> {
        let c = &self.core;
        let tilt = c.tilt.map_or(-1, |since| (c.now() - since) / 1000);
        let mut out = cat![
            "sentinel_masters:",
            self.groups.len(),
            "\r\nsentinel_tilt:",
            u32::from(c.tilt.is_some()),
            "\r\nsentinel_tilt_since_seconds:",
            tilt,
            "\r\nsentinel_running_scripts:",
            c.scripts.running(),
            "\r\nsentinel_scripts_queue_length:",
            c.scripts.queued(),
            "\r\nsentinel_simulate_failure_flags:",
            u32::from(c.simulate),
            "\r\n"
        ];
        for (n, g) in self.groups.iter().enumerate() {
            let status = match (g.master.has(flag::O_DOWN), g.master.has(flag::S_DOWN)) {
                (true, _) => "odown",
                (_, true) => "sdown",
                _ => "ok",
            };
            let (host, port) = (c.shown(&g.master.addr), g.master.addr.port);
            out.extend(cat!["master", n, ":name=", g.master.name, ",status=", status]);
            out.extend(cat![",address=", host, ":", port, ",slaves=", g.replicas.len()]);
            out.extend(cat![",sentinels=", g.sentinels.len() + 1, "\r\n"]);
        }
        out
    }

    /// SENTINEL DEBUG without arguments.
    pub(super) fn periods(&self) -> Reply {
        let p = &self.core.periods;
        let all = [
            ("INFO-PERIOD", p.info),
            ("PING-PERIOD", p.ping),
            ("ASK-PERIOD", p.ask),
            ("PUBLISH-PERIOD", p.publish),
            ("DEFAULT-DOWN-AFTER", p.default_down_after),
            ("DEFAULT-FAILOVER-TIMEOUT", p.default_failover_timeout),
            ("TILT-TRIGGER", p.tilt_trigger),
            ("TILT-PERIOD", p.tilt),
            ("SLAVE-RECONF-TIMEOUT", p.reconf_timeout),
            ("MIN-LINK-RECONNECT-PERIOD", p.min_reconnect),
            ("ELECTION-TIMEOUT", p.election),
            ("SCRIPT-MAX-RUNTIME", p.script_runtime),
            ("SCRIPT-RETRY-DELAY", p.script_retry),
        ];
        Reply::Map(all.iter().flat_map(|(name, ms)| [Reply::text(name), number(*ms)]).collect())
    }
}
