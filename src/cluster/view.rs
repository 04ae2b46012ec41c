//! What the subcommands of CLUSTER answer, as data. `tls` is the kind of the asking client's connection: it
//! sees the ports of that kind.

use super::nodes::{Node, NodeId, text};
use super::{Cluster, Env, LinkId};
use crate::config::choices::EndpointType;
use crate::proto::bus::Kind;
use std::fmt::Write;

/// Where clients are sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Endpoint {
    /// As `cluster-preferred-endpoint-type` says; `?` for a hostname that is not known.
    Known(String),
    /// The client is to use the one that it has: null in CLUSTER SLOTS, nothing in redirections.
    Unknown,
}

/// A run of slots of one owner, both ends included.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct SlotRun {
    pub start: u16,
    pub end: u16,
    /// The master first.
    pub nodes: Vec<SlotNode>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SlotNode {
    pub endpoint: Endpoint,
    pub port: u16,
    pub id: String,
    /// What the endpoint does not say: `ip`, `hostname`.
    pub metadata: Vec<(&'static str, String)>,
}

#[derive(Debug, PartialEq, Eq)]
pub(crate) struct ShardView {
    /// Both ends included.
    pub slots: Vec<(u16, u16)>,
    pub nodes: Vec<ShardNode>,
}

#[derive(Debug, PartialEq, Eq)]
pub(crate) struct ShardNode {
    pub id: String,
    /// 0: the field is left out.
    pub port: u16,
    pub tls_port: u16,
    pub ip: String,
    /// Empty where clients are to use the one that they have.
    pub endpoint: String,
    /// Empty: the field is left out.
    pub hostname: String,
    /// `master` or `replica`.
    pub role: &'static str,
    pub offset: u64,
    /// `fail`, `loading` or `online`.
    pub health: &'static str,
}

/// A link between this node and another one. Buffers are the performer's.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct LinkView {
    pub link: LinkId,
    /// `to` or `from`.
    pub direction: &'static str,
    pub node: String,
    /// Unix milliseconds.
    pub create_time: u64,
}

impl Cluster {
    /// CLUSTER NODES.
    pub(crate) fn nodes_text(&self, tls: bool, env: &Env<'_>) -> String {
        let mut out = String::new();
        for (_, node) in self.nodes.iter() {
            self.put_node(&mut out, node, tls, false, env.now);
            out.push('\n');
        }
        out
    }

    // ---- addresses -------------------------------------------------------------------------------

    fn endpoint(&self, node: &Node) -> Endpoint {
        match self.settings.endpoint {
            EndpointType::Ip => Endpoint::Known(ip(node)),
            EndpointType::Hostname if node.hostname.is_empty() => Endpoint::Known("?".into()),
            EndpointType::Hostname => Endpoint::Known(node.hostname.clone()),
            EndpointType::Unknown => Endpoint::Unknown,
        }
    }

    fn endpoint_text(&self, node: &Node) -> String {
        match self.endpoint(node) {
            Endpoint::Known(text) => text,
            Endpoint::Unknown => String::new(),
        }
    }

    /// Where MOVED and ASK send a client.
    pub(crate) fn address(&self, id: NodeId, tls: bool) -> (String, u16) {
        let node = self.nodes.get(id).unwrap_or_else(|| self.nodes.myself());
        (self.endpoint_text(node), client_port(node, tls))
    }

    // ---- SLOTS -----------------------------------------------------------------------------------

    /// CLUSTER SLOTS.
    pub(crate) fn slots_view(&self, tls: bool, env: &Env<'_>) -> Vec<SlotRun> {
        let mut runs = Vec::new();
        let mut slot = 0;
        for run in self.slots.owners().chunk_by(|a, b| a == b) {
            let start = slot;
            slot += run.len() as u16;
            let Some(owner) = run.first().copied().flatten().and_then(|id| self.nodes.get(id)) else {
                continue;
            };
            let mut nodes = vec![self.slot_node(owner, tls)];
            let replicas = owner.replicas.iter().filter_map(|r| self.nodes.get(*r));
            let shown = replicas.filter(|n| !n.is_failed() && self.offset_of(n, env) != 0);
            nodes.extend(shown.map(|n| self.slot_node(n, tls)));
            runs.push(SlotRun { start, end: slot - 1, nodes });
        }
        runs
    }

    fn slot_node(&self, node: &Node, tls: bool) -> SlotNode {
        let mut metadata = Vec::new();
        if self.settings.endpoint != EndpointType::Ip {
            metadata.push(("ip", ip(node)));
        }
        if self.settings.endpoint != EndpointType::Hostname && !node.hostname.is_empty() {
            metadata.push(("hostname", node.hostname.clone()));
        }
        let endpoint = self.endpoint(node);
        SlotNode { endpoint, port: client_port(node, tls), id: text(&node.name).into(), metadata }
    }

    /// Other nodes tell theirs, this one is asked.
    fn offset_of(&self, node: &Node, env: &Env<'_>) -> u64 {
        if node.flags.has(crate::proto::bus::Flags::MYSELF) { env.offset } else { node.offset }
    }

    // ---- SHARDS ----------------------------------------------------------------------------------

    /// CLUSTER SHARDS.
    pub(crate) fn shards_view(&self, env: &Env<'_>) -> Vec<ShardView> {
        let mut nodes: Vec<&Node> = self.nodes.iter().map(|(_, n)| n).collect();
        // The master of each shard stands first.
        nodes.sort_by_key(|n| (n.shard, n.is_replica(), n.name));
        let shards = nodes.chunk_by(|a, b| a.shard == b.shard);
        let view = |shard: &[&Node]| {
            let slots = shard.iter().find(|n| n.slots.count() > 0).map(|n| n.slots.ranges());
            let nodes = shard.iter().map(|n| self.shard_node(n, env)).collect();
            ShardView { slots: slots.unwrap_or_default(), nodes }
        };
        shards.map(view).collect()
    }

    fn shard_node(&self, node: &Node, env: &Env<'_>) -> ShardNode {
        let offset = self.offset_of(node, env);
        ShardNode {
            id: text(&node.name).into(),
            port: node.port,
            tls_port: node.tls_port,
            ip: ip(node),
            endpoint: self.endpoint_text(node),
            hostname: node.hostname.clone(),
            role: if node.is_replica() { "replica" } else { "master" },
            offset,
            health: match () {
                () if node.is_failed() => "fail",
                () if node.is_replica() && offset == 0 => "loading",
                () => "online",
            },
        }
    }

    // ---- LINKS, INFO -----------------------------------------------------------------------------

    /// CLUSTER LINKS: those of which the node is known.
    pub(crate) fn links_view(&self) -> Vec<LinkView> {
        let mut views = Vec::new();
        for (_, node) in self.nodes.iter() {
            let both = [("to", node.link), ("from", node.inbound)];
            for (direction, id) in both.into_iter().filter_map(|(d, id)| Some((d, id?))) {
                let Some(link) = self.links.get(id) else { continue };
                let create_time = link.created.wall;
                let node = text(&node.name).into();
                views.push(LinkView { link: id, direction, node, create_time });
            }
        }
        views
    }

    /// CLUSTER INFO.
    pub(crate) fn info_text(&self) -> String {
        let (mut assigned, mut fine, mut pfail, mut fail) = (0, 0, 0, 0);
        for (_, node) in self.nodes.iter() {
            let count = u32::from(node.slots.count());
            assigned += count;
            match node.is_doubtful() {
                false => fine += count,
                true if node.is_failed() => fail += count,
                true => pfail += count,
            }
        }
        let me = self.nodes.myself();
        let epoch = self.nodes.master_of(self.nodes.me()).unwrap_or(me).config_epoch;
        let mut out = format!(
            "cluster_state:{}\r\ncluster_slots_assigned:{assigned}\r\ncluster_slots_ok:{fine}\r\n\
             cluster_slots_pfail:{pfail}\r\ncluster_slots_fail:{fail}\r\ncluster_known_nodes:{}\r\n\
             cluster_size:{}\r\ncluster_current_epoch:{}\r\ncluster_my_epoch:{epoch}\r\n",
            if self.state.is_ok { "ok" } else { "fail" },
            self.nodes.len(),
            self.state.size,
            self.current_epoch,
        );
        put_counts(&mut out, &self.stats.sent, "sent");
        put_counts(&mut out, &self.stats.received, "received");
        let over = self.stats.over_limit;
        out.push_str(&format!("total_cluster_links_buffer_limit_exceeded:{over}\r\n"));
        out
    }
}

fn put_counts(out: &mut String, counts: &[u64; 11], way: &str) {
    for kind in Kind::ALL {
        let count = counts[kind.index()];
        if count > 0 {
            let line = writeln!(out, "cluster_stats_messages_{}_{way}:{count}\r", kind.name());
            line.expect("a string takes all");
        }
    }
    let sum: u64 = counts.iter().sum();
    out.push_str(&format!("cluster_stats_messages_{way}:{sum}\r\n"));
}

fn ip(node: &Node) -> String {
    node.ip.map(|ip| ip.to_string()).unwrap_or_default()
}

fn client_port(node: &Node, tls: bool) -> u16 {
    node.ports(tls).0
}
