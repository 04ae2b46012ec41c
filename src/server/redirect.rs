//! Is a request for this node of the cluster, and if not, for which?
//!
//! ```text
//! is_local   one bit test of the slot that travels in the key's hash: nearly every request
//!    └ miss ─► look: keys, slot, what is open, which client ─► judge ─► Here, or an error: where to go
//! ```
//!
//! `judge` is pure, and its order is upstream's: keys of one slot that has an owner, the state of the
//! cluster, a slot that leaves, a slot that comes, a replica that may be read, the owner. `admit` asks for
//! requests of clients, EXEC (for all that is queued) and scripts; `unblock` for clients that wait.

use super::ctx::CommandRow;
use super::{Server, blocking};
use crate::algo::crc16::key_slot;
use crate::blocked::Wait;
use crate::clients::{Client, ClientId, flag};
use crate::cluster::{Cluster, NodeId};
use crate::cmd::keys;
use crate::cmd::row::{flag as cf, key};
use crate::cmd::table::SlotRule;
use crate::ds::hash::slot_of;
use crate::keyspace::slots::DB;
use crate::net::stream::Stream;
use crate::proto::args::{Args, Key};
use crate::proto::error::CmdError;

const UNBOUND: CmdError = CmdError::Msg(&"CLUSTERDOWN Hash slot not served");
const CROSS_SLOT: CmdError = CmdError::Msg(&"CROSSSLOT Keys in request don't hash to the same slot");
const DOWN: CmdError = CmdError::Msg(&"CLUSTERDOWN The cluster is down");
const DOWN_READ_ONLY: CmdError =
    CmdError::Msg(&"CLUSTERDOWN The cluster is down and only accepts read commands");
const TRY_AGAIN: CmdError = CmdError::Msg(&"TRYAGAIN Multiple keys request during rehashing of slot");

const SCRIPT_ELSEWHERE: CmdError =
    CmdError::Msg(&"ERR Script attempted to access a non local key in a cluster node");
const SCRIPT_DOWN: CmdError =
    CmdError::Msg(&"ERR Script attempted to execute a command while the cluster is down");
const SCRIPT_DOWN_READ_ONLY: CmdError = CmdError::Msg(
    &"ERR Script attempted to execute a write command while the cluster is down and readonly",
);
const SCRIPT_CROSS_SLOT: CmdError =
    CmdError::Msg(&"ERR Script attempted to access keys that do not hash to the same slot");

/// The owner of a slot, as far as it makes a difference.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Owner {
    Unbound,
    Me,
    MyMaster,
    Other,
}

/// The state of the cluster, and of the slot that is asked for.
#[derive(Clone, Copy, Debug)]
struct Situation {
    owner: Owner,
    migrating: bool,
    importing: bool,
    ok: bool,
    /// `cluster-allow-reads-when-down`
    reads_when_down: bool,
    /// `cluster-allow-pubsubshard-when-down`
    shards_when_down: bool,
}

/// What is asked.
#[derive(Clone, Copy, Debug, Default)]
struct Asked {
    /// There are keys of several slots.
    crosses: bool,
    /// Several different keys.
    several: bool,
    /// Keys that are here, and that are not; looked at in a slot that is open.
    present: bool,
    missing: bool,
    /// Shard channels instead of keys.
    shard: bool,
    writes: bool,
    /// Hands its keys over to another node.
    hands_over: bool,
    /// After ASKING, or as a command that always does.
    asking: bool,
    /// The client has said READONLY.
    reads_here: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Answer {
    Here,
    Unbound,
    CrossSlot,
    Down,
    DownReadOnly,
    TryAgain,
    Ask,
    Moved,
}

fn judge(a: Asked, s: Situation) -> Answer {
    if s.owner == Owner::Unbound {
        return Answer::Unbound;
    }
    if a.crosses {
        return Answer::CrossSlot;
    }
    if !s.ok {
        match a.shard {
            true if s.shards_when_down => {}
            false if s.reads_when_down && !a.writes => {}
            false if s.reads_when_down => return Answer::DownReadOnly,
            _ => return Answer::Down,
        }
    }
    let leaves = s.owner == Owner::Me && s.migrating;
    let comes = !leaves && s.importing;
    if a.hands_over && (leaves || comes) {
        return Answer::Here;
    }
    if leaves && a.missing {
        return if a.present { Answer::TryAgain } else { Answer::Ask };
    }
    if comes && a.asking {
        return if a.several && a.missing { Answer::TryAgain } else { Answer::Here };
    }
    match s.owner {
        Owner::Me => Answer::Here,
        Owner::MyMaster if (a.reads_here || a.shard) && !a.writes => Answer::Here,
        _ => Answer::Moved,
    }
}

/// What a miss comes to: the slot, if there are keys, and the answer.
struct Finding {
    slot: Option<u16>,
    answer: Answer,
}

/// The bit test: true when nothing about slots can refuse the request.
#[inline]
pub fn is_local(srv: &Server, c: &Client, e: &CommandRow, args: Args) -> bool {
    let Some(cluster) = srv.cluster() else { return true };
    let reads = c.has(flag::READS_REPLICA) && e.flags & (cf::WRITE | cf::RUNS_SCRIPT) == 0;
    let serves = |slot: u16| cluster.serves(slot) || reads && cluster.serves_reads(slot);
    match e.slot_rule {
        SlotRule::None => true,
        SlotRule::First(at) => {
            let at = usize::from(at);
            at < args.len() && serves(slot_of(args.key(at).hash) as u16)
        }
        SlotRule::Many { first, last, step } => {
            let n = args.len() as i64;
            let last = if last < 0 { n + i64::from(last) } else { i64::from(first) + i64::from(last) };
            let first = usize::from(first);
            let Ok(last) = usize::try_from(last) else { return false };
            if last < first || last >= args.len() {
                return false;
            }
            let slot = slot_of(args.key(first).hash) as u16;
            serves(slot)
                && (first..=last).step_by(usize::from(step)).skip(1).all(|i| key_slot(args[i]) == slot)
        }
        SlotRule::Find | SlotRule::Exec => false,
    }
}

/// Judges a request of a client; `writes` says whether it, or what EXEC would run, does.
#[cold]
pub fn of_client(
    srv: &Server,
    c: &Client,
    e: &CommandRow,
    args: Args,
    writes: bool,
) -> Option<CmdError> {
    let finding = find(srv, c, e, args, writes)?;
    error(srv, c, &finding)
}

/// Judges a command of a script that `caller` runs. The slot, if the command has keys.
#[cold]
pub fn of_script(
    srv: &Server,
    caller: &Client,
    e: &CommandRow,
    args: Args,
) -> Result<Option<u16>, CmdError> {
    let writes = e.flags & cf::WRITE != 0;
    let Some(finding) = find(srv, caller, e, args, writes) else { return Ok(None) };
    match finding.answer {
        Answer::Here => Ok(finding.slot),
        Answer::Down => Err(SCRIPT_DOWN),
        Answer::DownReadOnly => Err(SCRIPT_DOWN_READ_ONLY),
        Answer::CrossSlot => Err(SCRIPT_CROSS_SLOT),
        _ => Err(SCRIPT_ELSEWHERE),
    }
}

/// A script that has said so keeps to one slot from its first key on.
pub fn other_slot() -> CmdError {
    SCRIPT_CROSS_SLOT
}

/// The keys of a request, and what follows from them; None where it has none.
fn find(srv: &Server, c: &Client, e: &CommandRow, args: Args, writes: bool) -> Option<Finding> {
    let cluster = srv.cluster()?;
    let mut seen = Seen { srv, cluster, first: None, asked: Asked::default(), open: false };
    let mut places = keys::Keys::new();
    match (&c.multi, e.slot_rule) {
        (_, SlotRule::None) => return None,
        (Some(m), SlotRule::Exec) if c.has(flag::MULTI) => {
            for q in &m.queue {
                let argv: Vec<&[u8]> = q.args.iter().map(|a| &a[..]).collect();
                seen.command(srv.table.get(q.cmd), &argv, &mut places);
            }
        }
        (_, SlotRule::Exec) => return None,
        _ => {
            seen.asked.shard = e.cmd.keys.iter().any(|k| k.flags & key::NOT_KEY != 0);
            seen.command(e, &args, &mut places);
        }
    }
    let (slot, _) = seen.first?;
    let asked = Asked {
        writes,
        asking: c.has(flag::ASKING) || e.flags & cf::ASKING != 0,
        reads_here: c.has(flag::READS_REPLICA),
        ..seen.asked
    };
    let answer = judge(asked, situation(srv, cluster, slot));
    Some(Finding { slot: Some(slot), answer })
}

fn situation(srv: &Server, cluster: &Cluster, slot: u16) -> Situation {
    let owner = match cluster.owner(slot) {
        None => Owner::Unbound,
        Some(n) if n == cluster.me() => Owner::Me,
        Some(n) if cluster.my_master() == Some(n) => Owner::MyMaster,
        Some(_) => Owner::Other,
    };
    Situation {
        owner,
        migrating: cluster.migrating(slot).is_some(),
        importing: cluster.importing(slot).is_some(),
        ok: cluster.is_ok(),
        reads_when_down: srv.config.cluster_allow_reads_when_down,
        shards_when_down: srv.config.cluster_allow_pubsubshard_when_down,
    }
}

/// The keys that have been looked at.
struct Seen<'s> {
    srv: &'s Server,
    cluster: &'s Cluster,
    /// The first key, and its slot.
    first: Option<(u16, Vec<u8>)>,
    asked: Asked,
    /// The slot comes or leaves, so it matters which keys are here.
    open: bool,
}

impl Seen<'_> {
    fn command(&mut self, e: &CommandRow, args: &[&[u8]], places: &mut keys::Keys) {
        self.asked.hands_over |= e.flags & cf::HANDS_OVER != 0;
        keys::find_for_slots(e.cmd, args, places);
        for (at, _) in places.iter() {
            self.key(args[*at]);
        }
    }

    fn key(&mut self, key: &[u8]) {
        let slot = key_slot(key);
        match &self.first {
            None => {
                let c = self.cluster;
                self.open = c.migrating(slot).is_some() || c.importing(slot).is_some();
                self.first = Some((slot, key.to_vec()));
            }
            Some((first, _)) if *first != slot => self.asked.crosses = true,
            Some((_, first)) => self.asked.several |= *first != key,
        }
        if self.open && !self.asked.shard && !self.asked.crosses {
            let ks = &self.srv.ks;
            let here = ks.peek(DB, Key::new(key)).is_some_and(|e| !ks.is_expired(e));
            self.asked.present |= here;
            self.asked.missing |= !here;
        }
    }
}

fn error(srv: &Server, c: &Client, f: &Finding) -> Option<CmdError> {
    let slot = f.slot?;
    let (cluster, tls) = (srv.cluster()?, over_tls(srv, c));
    Some(match f.answer {
        Answer::Here => return None,
        Answer::Unbound => UNBOUND,
        Answer::CrossSlot => CROSS_SLOT,
        Answer::Down => DOWN,
        Answer::DownReadOnly => DOWN_READ_ONLY,
        Answer::TryAgain => TRY_AGAIN,
        Answer::Ask => to_node(cluster, tls, "ASK", slot, cluster.migrating(slot)),
        Answer::Moved => to_node(cluster, tls, "MOVED", slot, cluster.owner(slot)),
    })
}

/// Is this a client with TLS? It is sent to ports of that kind. Without a connection it is as nodes are to
/// each other.
pub fn over_tls(srv: &Server, c: &Client) -> bool {
    c.conn.stream.as_ref().map_or(srv.config.tls_cluster, Stream::is_tls)
}

fn to_node(cluster: &Cluster, tls: bool, word: &str, slot: u16, to: Option<NodeId>) -> CmdError {
    let Some(to) = to else { return UNBOUND };
    let (host, port) = cluster.address(to, tls);
    CmdError::text(format!("{word} {slot} {host}:{port}"))
}

/// Slots have been lost, or the cluster is down: clients that are blocked on keys there have to ask
/// elsewhere.
pub fn unblock(srv: &mut Server, lost: &[u64; 256]) {
    for id in srv.clients.ids() {
        if let Some(why) = no_longer_here(srv, id, lost) {
            blocking::release(srv, id, Some(why.as_str()));
        }
    }
}

/// Why a blocked client waits in vain, if it does.
fn no_longer_here(srv: &Server, id: ClientId, lost: &[u64; 256]) -> Option<CmdError> {
    let b = srv.blocked.get(id).filter(|b| matches!(b.wait, Wait::Key { .. } | Wait::Module))?;
    // All of them are of one slot.
    let slot = key_slot(b.keys.first()?);
    let (cluster, c) = (srv.cluster()?, srv.clients.live(id)?);
    if !cluster.is_ok() {
        // Also where reads are allowed: a write would have to come, and will not.
        return Some(DOWN);
    }
    if lost[usize::from(slot) / 64] >> (slot % 64) & 1 == 0 {
        return None;
    }
    let s = situation(srv, cluster, slot);
    let reads = c.has(flag::READS_REPLICA) && srv.table.get(b.cmd).flags & cf::WRITE == 0;
    match s.owner {
        Owner::Me => None,
        Owner::MyMaster if reads => None,
        _ if s.importing => None,
        Owner::Unbound => Some(UNBOUND),
        _ => Some(to_node(cluster, over_tls(srv, c), "MOVED", slot, cluster.owner(slot))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINE: Situation = Situation {
        owner: Owner::Me,
        migrating: false,
        importing: false,
        ok: true,
        reads_when_down: false,
        shards_when_down: true,
    };

    /// Whatever stands earlier in the order wins over all that stands behind it.
    #[test]
    fn verdicts_come_in_their_order() {
        let all = Asked {
            crosses: true,
            several: true,
            present: true,
            missing: true,
            writes: true,
            asking: true,
            ..Asked::default()
        };
        let down = Situation { ok: false, migrating: true, importing: true, ..MINE };
        let unbound = Situation { owner: Owner::Unbound, ..down };
        let whole = Asked { crosses: false, ..all };
        let gone = Asked { present: false, several: false, ..whole };
        let here = Asked { missing: false, ..whole };
        let reads = Asked { writes: false, ..whole };
        let up = Situation { ok: true, ..down };
        let reads_down = Situation { reads_when_down: true, ..down };
        let comes = Situation { owner: Owner::Other, ..up };
        for (n, (asked, situation, answer)) in [
            (all, unbound, Answer::Unbound),
            (all, down, Answer::CrossSlot),
            (whole, down, Answer::Down),
            (reads, down, Answer::Down),
            (whole, reads_down, Answer::DownReadOnly),
            (reads, reads_down, Answer::TryAgain),
            (whole, up, Answer::TryAgain),
            (gone, up, Answer::Ask),
            (here, up, Answer::Here),
            (Asked { hands_over: true, ..gone }, up, Answer::Here),
            (whole, comes, Answer::TryAgain),
            (gone, comes, Answer::Here),
            (Asked { asking: false, ..gone }, comes, Answer::Moved),
            (Asked { asking: false, hands_over: true, ..gone }, comes, Answer::Here),
            (here, comes, Answer::Here),
            (whole, MINE, Answer::Here),
            (whole, Situation { owner: Owner::Other, ..MINE }, Answer::Moved),
        ]
        .into_iter()
        .enumerate()
        {
            assert_eq!(judge(asked, situation), answer, "line {n}: {asked:?} {situation:?}");
        }
    }

    #[test]
    fn a_replica_serves_reads_to_those_that_asked_for_them() {
        let replica = Situation { owner: Owner::MyMaster, ..MINE };
        let read = Asked { reads_here: true, ..Asked::default() };
        assert_eq!(judge(read, replica), Answer::Here);
        assert_eq!(judge(Asked::default(), replica), Answer::Moved);
        assert_eq!(judge(Asked { writes: true, ..read }, replica), Answer::Moved);
        assert_eq!(judge(read, Situation { owner: Owner::Other, ..MINE }), Answer::Moved);
        assert_eq!(judge(Asked { shard: true, ..Asked::default() }, replica), Answer::Here);
    }

    #[test]
    fn shard_channels_pass_while_the_cluster_is_down_and_are_never_asked_for_elsewhere() {
        let shard = Asked { shard: true, ..Asked::default() };
        let down = Situation { ok: false, migrating: true, ..MINE };
        assert_eq!(judge(shard, down), Answer::Here);
        assert_eq!(judge(shard, Situation { shards_when_down: false, ..down }), Answer::Down);
        let reads = Situation { shards_when_down: false, reads_when_down: true, ..down };
        assert_eq!(judge(shard, reads), Answer::Down);
    }
}
