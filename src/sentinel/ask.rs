//! The subcommands of SENTINEL: what they refuse, and what they answer.

use super::failover::{self, best_replica};
use super::instance::{Group, flag};
use super::text::cat;
use super::vote::voters;
use super::{Action, Env, Reply, Sentinel, simulate};
use crate::algo::glob::glob_match;
use crate::algo::num::parse_i64;
use crate::sys::log::Level;

/// A subcommand; how many arguments it takes is the row's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ask {
    CkQuorum,
    Config,
    Debug,
    Failover,
    FlushConfig,
    GetMasterAddrByName,
    InfoCache,
    IsMasterDownByAddr,
    Master,
    Masters,
    Monitor,
    MyId,
    PendingScripts,
    Remove,
    Replicas,
    Reset,
    Sentinels,
    Set,
    SimulateFailure,
}

const NO_MASTER: &str = "No such master with that name";
const NOT_SAVED: &str = "Failed to save config file. Check server logs.";

/// OK when the configuration is on the disk.
pub(super) fn if_saved() -> Reply {
    Reply::IfSaved(Box::new((Reply::Ok, Reply::error(NOT_SAVED))))
}

/// The pure part of a subcommand fails with its answer.
pub(super) type Answer = Result<Reply, Reply>;

fn integer(arg: &[u8], text: &str) -> Result<i64, Reply> {
    parse_i64(arg).ok_or_else(|| Reply::error(text))
}

impl Sentinel {
    /// Carries out a subcommand; `args` are those behind its name.
    pub(crate) fn ask(&mut self, ask: Ask, args: &[&[u8]], env: Env, out: &mut Vec<Action>) -> Reply {
        self.core.env = env;
        let answer = self.answer(ask, args);
        out.append(&mut self.core.out);
        answer.unwrap_or_else(|refusal| refusal)
    }

    fn answer(&mut self, ask: Ask, args: &[&[u8]]) -> Answer {
        let name = args.first().copied().unwrap_or_default();
        match ask {
            Ask::CkQuorum => Ok(check_quorum(self.named(name)?)),
            Ask::Config => self.config(args),
            Ask::Debug if args.is_empty() => Ok(self.periods()),
            Ask::Debug => self.set_periods(args),
            Ask::Failover => self.force_failover(name),
            Ask::FlushConfig => {
                self.core.save();
                Ok(if_saved())
            }
            Ask::GetMasterAddrByName => Ok(self.address_of(name)),
            Ask::InfoCache => Ok(self.info_cache(args)),
            Ask::IsMasterDownByAddr => self.is_master_down(args),
            Ask::Master => self.named(name).map(|g| self.core.instance(g, &g.master)),
            Ask::Masters => Ok(self.masters()),
            Ask::Monitor => self.monitor(args),
            Ask::MyId => Ok(Reply::Bulk(self.core.myid.clone())),
            Ask::PendingScripts => Ok(self.core.scripts.view(self.core.now())),
            Ask::Remove => self.remove(name),
            Ask::Replicas => self.named(name).map(|g| self.replicas(g)),
            Ask::Reset => Ok(self.reset_matching(name)),
            Ask::Sentinels => self.named(name).map(|g| self.sentinels(g)),
            Ask::Set => self.set(args),
            Ask::SimulateFailure => self.simulate(args),
        }
    }

    fn named(&self, name: &[u8]) -> Result<&Group, Reply> {
        self.index_of(name).and_then(|at| self.groups.get(at).ok_or_else(|| Reply::error(NO_MASTER)))
    }

    pub(super) fn index_of(&self, name: &[u8]) -> Result<usize, Reply> {
        self.group_at(name).ok_or_else(|| Reply::error(NO_MASTER))
    }

    fn address_of(&self, name: &[u8]) -> Reply {
        let Some(g) = self.group_at(name).and_then(|at| self.groups.get(at)) else {
            return Reply::NullArray;
        };
        let addr = g.current_addr();
        let host = Reply::Bulk(self.core.shown(addr).to_vec());
        Reply::Array(vec![host, Reply::Bulk(cat![addr.port])])
    }

    /// Another sentinel asks, by the address of the master: names may differ.
    fn is_master_down(&mut self, args: &[&[u8]]) -> Answer {
        let [host, port, epoch, candidate] = args else { return Err(Reply::error("syntax error")) };
        let bad = "value is not an integer or out of range";
        let (port, epoch) = (integer(port, bad)?, integer(epoch, bad)?);
        let addr = u16::try_from(port).ok().and_then(|port| self.core.address_or_name(host, port));
        let at = addr.and_then(|addr| self.groups.iter().position(|g| g.master.addr.is(&addr)));
        let group = at.and_then(|at| self.groups.get_mut(at));
        let down =
            group.as_ref().is_some_and(|g| g.master.has(flag::S_DOWN)) && self.core.tilt.is_none();
        let vote = match (group, u64::try_from(epoch)) {
            (Some(g), Ok(epoch))
                if *candidate != b"*" && !candidate.is_empty() && self.core.may_be(epoch) =>
            {
                self.core.vote(g, epoch, candidate)
            }
            _ => None,
        };
        let reply = |leader: &[u8], epoch: u64| {
            let epoch = Reply::Int(epoch.cast_signed());
            Reply::Array(vec![Reply::Int(down.into()), Reply::Bulk(leader.to_vec()), epoch])
        };
        // A vote that a restart would forget is none.
        Ok(match vote {
            Some((leader, epoch)) => Reply::IfSaved(Box::new((reply(&leader, epoch), reply(b"*", 0)))),
            None => reply(b"*", 0),
        })
    }

    fn force_failover(&mut self, name: &[u8]) -> Answer {
        let at = self.index_of(name)?;
        let Some(g) = self.groups.get_mut(at) else { return Err(Reply::error(NO_MASTER)) };
        if g.master.has(flag::FAILOVER) {
            return Err(Reply::Error(b"INPROG Failover already in progress".to_vec()));
        }
        if best_replica(g, &self.core).is_none() {
            return Err(Reply::Error(b"NOGOODSLAVE No suitable replica to promote".to_vec()));
        }
        let text = cat!["Executing user requested FAILOVER of '", name, "'"];
        self.core.log(Level::Notice, text);
        failover::start(g, &mut self.core);
        g.master.set(flag::FORCED);
        Ok(Reply::Ok)
    }

    fn monitor(&mut self, args: &[&[u8]]) -> Answer {
        let [name, host, port, quorum] = args else { return Err(Reply::error("syntax error")) };
        let quorum = integer(quorum, "Invalid quorum")?;
        let port = integer(port, "Invalid port")?;
        if quorum <= 0 {
            return Err(Reply::error("Quorum must be 1 or greater."));
        }
        let quorum = u32::try_from(quorum).map_err(|_| Reply::error("Invalid quorum"))?;
        if !matches!(self.core.look_up(host), super::names::LookUp::Ip(_)) {
            return Err(Reply::error("Invalid IP address or hostname specified"));
        }
        self.add_master(name, host, port, quorum).map_err(Reply::error)?;
        self.core.save();
        if let Some(g) = self.groups.last() {
            self.core.event(Level::Warning, "+monitor", g, g.master.id, &cat![" quorum ", quorum]);
        }
        Ok(if_saved())
    }

    fn remove(&mut self, name: &[u8]) -> Answer {
        let at = self.index_of(name)?;
        let mut g = self.groups.remove(at);
        self.core.event(Level::Warning, "-monitor", &g, g.master.id, b"");
        self.core.reset(&mut g, true);
        self.core.release(&g.master);
        self.core.save();
        Ok(if_saved())
    }

    fn reset_matching(&mut self, pattern: &[u8]) -> Reply {
        let mut n = 0;
        for g in self.groups.iter_mut().filter(|g| glob_match(pattern, &g.master.name, false)) {
            self.core.reset(g, true);
            self.core.event(Level::Warning, "+reset-master", g, g.master.id, b"");
            n += 1;
        }
        Reply::Int(n)
    }

    fn simulate(&mut self, args: &[&[u8]]) -> Answer {
        self.core.simulate = 0;
        for arg in args {
            let (bit, when) = match arg.to_ascii_lowercase().as_slice() {
                b"crash-after-election" => {
                    (simulate::CRASH_AFTER_ELECTION, "being successfully elected as failover leader")
                }
                b"crash-after-promotion" => {
                    (simulate::CRASH_AFTER_PROMOTION, "promoting the selected replica to master")
                }
                b"help" => {
                    let names = ["crash-after-election", "crash-after-promotion"];
                    return Ok(Reply::Array(names.map(Reply::text).to_vec()));
                }
                _ => return Err(Reply::error("Unknown failure simulation specified")),
            };
            self.core.simulate |= bit;
            let text = cat!["Failure simulation: this Sentinel will crash after ", when];
            self.core.log(Level::Warning, text);
        }
        Ok(Reply::Ok)
    }
}

/// SENTINEL CKQUORUM: could a failover be agreed on, and authorized?
fn check_quorum(g: &Group) -> Reply {
    let down = flag::S_DOWN | flag::O_DOWN;
    let usable = 1 + g.sentinels.iter().filter(|s| !s.has(down)).count();
    let no_quorum = usable < g.quorum as usize;
    let no_majority = usable < voters(g) / 2 + 1;
    if !no_quorum && !no_majority {
        let text = " usable Sentinels. Quorum and failover authorization can be reached";
        return Reply::Status(cat!["OK ", usable, text]);
    }
    let mut reasons = Vec::new();
    if no_quorum {
        reasons.push("Not enough available Sentinels to reach the specified quorum for this master");
    }
    if no_majority {
        reasons.push("Not enough available Sentinels to reach the majority and authorize a failover");
    }
    Reply::Error(cat!["NOQUORUM ", usable, " usable Sentinels. ", reasons.join(". ")])
}
