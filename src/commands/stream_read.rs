//! XREAD and XREADGROUP: what came to streams after an ID, at once or when it comes.
//!
//! ```text
//!   XREAD                                [COUNT n] [BLOCK ms]         STREAMS key ... id ...
//!   XREADGROUP GROUP group consumer      [COUNT n] [BLOCK ms] [NOACK] STREAMS key ... id ...
//!
//!   id     from there on           $ (XREAD)       what comes from now on
//!          what is pending         > (XREADGROUP)  what the group has not delivered yet
//! ```
//!
//! The command of a blocked client runs again with the same words, where `$` has become the ID that it
//! meant; so a stream that was emptied, a group that is gone, or a key of another type answers by itself.
//!
//! XREADGROUP never leaves as it came. What it did leaves as XCLAIM for each entry that is pending now,
//! as XGROUP SETID where nothing becomes pending (NOACK), and as XGROUP CREATECONSUMER.

use super::numbers::integer;
use super::stream::{reply_entries, reply_entry, strict_id};
use super::timeout;
use crate::blocked::Wait;
use crate::clients::flag;
use crate::cmd::docs;
use crate::cmd::keys;
use crate::cmd::row::flag::*;
use crate::cmd::row::{Flow, KeySpec, cat, key};
use crate::ds::entry::ty;
use crate::keyspace::{Effect, Keyspace, class};
use crate::object::stream::entries::Log;
use crate::object::stream::group::{ConsumerIndex, Group, Pending};
use crate::object::stream::id::Id;
use crate::object::stream::{Parts, Stream};
use crate::proto::args::Key;
use crate::proto::error::CmdError;
use crate::proto::reply::Reply;
use crate::server::ctx::{Command, Ctx, Propagation, ROW};

pub static ROWS: &[Command] = &[
    Command {
        name: "xread",
        arity: -4,
        flags: READONLY | BLOCKING,
        acl: cat::STREAM,
        keys: &[KeySpec::keyword(key::RO | key::ACCESS, "STREAMS", 1, -1, 1).limit(2)],
        run: xread,
        getkeys: Some(keys::xread),
        used_keys: Some(keys::xread_used),
        docs: &docs::XREAD,
        ..ROW
    },
    Command {
        name: "xreadgroup",
        arity: -7,
        flags: WRITE | BLOCKING,
        acl: cat::STREAM,
        keys: &[KeySpec::keyword(key::RO | key::ACCESS, "STREAMS", 4, -1, 1).limit(2)],
        run: xreadgroup,
        getkeys: Some(keys::xread),
        used_keys: Some(keys::xread_used),
        docs: &docs::XREADGROUP,
        ..ROW
    },
];

// ---- what leaves in place of the command --------------------------------------------------------

/// Ops that leave in place of a command on a group; none are collected while there is no AOF and no replica.
pub struct GroupOps<'a> {
    pub db: usize,
    pub key: &'a [u8],
    pub group: &'a [u8],
    wanted: bool,
    ops: Vec<Vec<Box<[u8]>>>,
}

impl<'a> GroupOps<'a> {
    pub fn new(ks: &Keyspace, db: usize, key: &'a [u8], group: &'a [u8]) -> Self {
        GroupOps { db, key, group, wanted: ks.policy.ops, ops: Vec::new() }
    }

    fn push(&mut self, words: &[&[u8]]) {
        self.ops.push(words.iter().map(|w| Box::from(*w)).collect());
    }

    /// The state of an entry that is, or was, pending.
    pub fn claim(&mut self, group: &Group, id: &[u8], p: &Pending) {
        if !self.wanted {
            return;
        }
        let (mut time, mut times) = (itoa::Buffer::new(), itoa::Buffer::new());
        self.push(&[
            b"XCLAIM",
            self.key,
            self.group,
            &group.consumer(p.owner).name,
            b"0",
            id,
            b"TIME",
            time.format(p.delivered_at).as_bytes(),
            b"RETRYCOUNT",
            times.format(p.deliveries.cast_signed()).as_bytes(),
            b"FORCE",
            b"JUSTID",
            b"LASTID",
            &group.last_id.text(),
        ]);
    }

    /// How far the group has come.
    pub fn progress(&mut self, group: &Group) {
        if !self.wanted {
            return;
        }
        let mut read = itoa::Buffer::new();
        self.push(&[
            b"XGROUP",
            b"SETID",
            self.key,
            self.group,
            &group.last_id.text(),
            b"ENTRIESREAD",
            read.format(group.entries_read).as_bytes(),
        ]);
    }

    pub fn new_consumer(&mut self, name: &[u8]) {
        if self.wanted {
            self.push(&[b"XGROUP", b"CREATECONSUMER", self.key, self.group, name]);
        }
    }

    pub fn send(self, ks: &mut Keyspace) {
        for args in self.ops {
            ks.fx.push(Effect::Op { db: self.db, args });
        }
    }
}

/// Replies that there is no such key or group; `tail` names the command.
pub fn no_group(out: &mut Reply, key: &[u8], group: &[u8], tail: &[u8]) -> CmdError {
    use super::help::c_text;
    out.error_bytes(
        &[b"NOGROUP No such key '", c_text(key), b"' or consumer group '", c_text(group), b"'", tail]
            .concat(),
    );
    CmdError::Replied
}

/// A consumer that acts: found, or made now (true).
pub fn acting_consumer(group: &mut Group, name: &[u8], now_ms: i64) -> (ConsumerIndex, bool) {
    let (owner, is_new) = match group.find_consumer(name) {
        Some(owner) => (owner, false),
        None => (group.add_consumer(name, now_ms).expect("there is none of this name"), true),
    };
    group.consumer_mut(owner).seen_at = now_ms;
    (owner, is_new)
}

// ---- arguments ----------------------------------------------------------------------------------

/// What is asked for.
struct Ask<'a> {
    /// Group and consumer.
    group: Option<(&'a [u8], &'a [u8])>,
    /// 0 for all.
    count: usize,
    /// Until when to wait.
    until: Option<i64>,
    noack: bool,
    keys: &'a [&'a [u8]],
    ids: &'a [&'a [u8]],
}

impl<'a> Ask<'a> {
    fn read(ctx: &Ctx<'a>, grouped: bool) -> Result<Ask<'a>, CmdError> {
        const GROUP: CmdError = CmdError::Msg(
            &"ERR The GROUP option is only supported by XREADGROUP. You called XREAD instead.",
        );
        const NOACK: CmdError = CmdError::Msg(
            &"ERR The NOACK option is only supported by XREADGROUP. You called XREAD instead.",
        );
        const NO_GROUP: CmdError = CmdError::Msg(&"ERR Missing GROUP option for XREADGROUP");
        let mut ask = Ask { group: None, count: 0, until: None, noack: false, keys: &[], ids: &[] };
        let mut rest = ctx.args.from(1);
        loop {
            let Some((word, more)) = rest.split_first() else { return Err(CmdError::Syntax) };
            let is = |name: &[u8]| word.eq_ignore_ascii_case(name);
            rest = match more {
                [ms, more @ ..] if is(b"block") => {
                    ask.until = Some(until(ctx, ms)?);
                    more
                }
                [n, more @ ..] if is(b"count") => {
                    ask.count = usize::try_from(integer(n)?).unwrap_or(0);
                    more
                }
                [_, ..] if is(b"streams") => {
                    if !more.len().is_multiple_of(2) {
                        return Err(unbalanced(ctx, grouped));
                    }
                    (ask.keys, ask.ids) = more.split_at(more.len() / 2);
                    break;
                }
                [_, _, ..] if is(b"group") && !grouped => return Err(GROUP),
                [group, consumer, more @ ..] if is(b"group") => {
                    ask.group = Some((group, consumer));
                    more
                }
                _ if is(b"noack") && !grouped => return Err(NOACK),
                _ if is(b"noack") => {
                    ask.noack = true;
                    more
                }
                _ => return Err(CmdError::Syntax),
            };
        }
        if grouped && ask.group.is_none() {
            return Err(NO_GROUP);
        }
        Ok(ask)
    }
}

fn until(ctx: &Ctx<'_>, ms: &[u8]) -> Result<i64, CmdError> {
    if ctx.srv.clients[ctx.client].has(flag::SCRIPT) {
        let name = String::from_utf8_lossy(ctx.args[0]);
        return Err(CmdError::text(format!(
            "ERR {name} command is not allowed with BLOCK option from scripts"
        )));
    }
    timeout::milliseconds(ms, ctx.now_ms())
}

fn unbalanced(ctx: &Ctx<'_>, grouped: bool) -> CmdError {
    let symbol = if grouped { '>' } else { '$' };
    CmdError::text(format!(
        "ERR Unbalanced '{}' list of streams: for each stream key an ID or '{symbol}' must be \
         specified.",
        ctx.name()
    ))
}

/// IDs, a few of them without an allocation.
struct Ids {
    near: [Id; 8],
    far: Vec<Id>,
}

impl Ids {
    fn new(n: usize) -> Ids {
        let far = if n > 8 { vec![Id::MIN; n] } else { Vec::new() };
        Ids { near: [Id::MIN; 8], far }
    }

    fn slice(&mut self) -> &mut [Id] {
        if self.far.is_empty() { &mut self.near } else { &mut self.far }
    }
}

/// In the place of an ID: what the group has not delivered yet. (`>`; no entry comes after this one.)
const NEW: Id = Id::MAX;

/// What the ID of one stream means, once the stream has been looked at.
fn start(ctx: &mut Ctx<'_>, key: &[u8], id: &[u8], group: Option<&[u8]>) -> Result<Id, CmdError> {
    const DOLLAR: CmdError = CmdError::Msg(
        &"ERR The $ ID is meaningless in the context of XREADGROUP: you want to read the history of \
          this consumer by specifying a proper ID, or use the > ID to get new messages. The $ ID \
          would just return an empty result set.",
    );
    const GREATER: CmdError = CmdError::Msg(
        &"ERR The > ID can be specified only when calling XREADGROUP using the GROUP <group> \
          <consumer> option.",
    );
    let found = ctx.srv.ks.read(ctx.db, Key::new(key));
    let stream = match &found {
        Some(f) => Some(ctx.srv.ks.value::<Stream>(f)?),
        None => None,
    };
    if let Some(name) = group
        && stream.as_ref().is_none_or(|s| s.groups.get(name).is_none())
    {
        return Err(no_group(ctx.out, key, name, b" in XREADGROUP with GROUP option"));
    }
    match id {
        b"$" if group.is_some() => Err(DOLLAR),
        b"$" => Ok(stream.map_or(Id::MIN, |s| s.log.last_id)),
        b">" if group.is_none() => Err(GREATER),
        b">" => Ok(NEW),
        id => strict_id(id),
    }
}

// ---- reading ------------------------------------------------------------------------------------

fn xread(ctx: &mut Ctx<'_>) -> Result<Flow, CmdError> {
    read(ctx, false)
}

fn xreadgroup(ctx: &mut Ctx<'_>) -> Result<Flow, CmdError> {
    read(ctx, true)
}

fn read(ctx: &mut Ctx<'_>, grouped: bool) -> Result<Flow, CmdError> {
    let ask = Ask::read(ctx, grouped)?;
    ctx.prop = Propagation::Never;
    let mut ids = Ids::new(ask.keys.len());
    let ids = ids.slice();
    for (i, key) in ask.keys.iter().enumerate() {
        ids[i] = start(ctx, key, ask.ids[i], ask.group.map(|(group, _)| group))?;
    }
    let mark = ctx.out.defer();
    let mut served = 0;
    for (key, id) in ask.keys.iter().zip(ids.iter()) {
        served += usize::from(match ask.group {
            Some(names) => serve_group(ctx, &ask, names, key, *id)?,
            None => serve(ctx, &ask, key, *id)?,
        });
    }
    if served > 0 {
        if ctx.out.resp3 {
            ctx.out.set_map(mark, served)
        } else {
            ctx.out.set_array(mark, served)
        }
        return Ok(Flow::Done);
    }
    match ask.until {
        Some(until) if ctx.may_block() => Ok(wait(ctx, &ask, ids, until)),
        _ => {
            ctx.out.null_array();
            Ok(Flow::Done)
        }
    }
}

/// Parks the request; `$` now is the ID that it meant.
fn wait(ctx: &mut Ctx<'_>, ask: &Ask<'_>, ids: &[Id], until: i64) -> Flow {
    let first = ctx.args.len() - ask.ids.len();
    let mut others = None;
    for (at, id) in (first..).zip(ids).take(ask.ids.len()) {
        if ctx.args[at] == b"$" {
            others.get_or_insert_with(|| ctx.args.to_owned())[at] = Box::from(&id.text()[..]);
        }
    }
    let wait = Wait::Key { ty: ty::STREAM, any_change: ask.group.is_some() };
    ctx.block_as(wait, ask.keys, until, others)
}

/// The name of a stream, which its entries follow.
fn head(out: &mut Reply, key: &[u8]) {
    if !out.resp3 {
        out.array(2);
    }
    out.bulk(key);
}

/// Replies what came after `id`; false when there is nothing.
fn serve(ctx: &mut Ctx<'_>, ask: &Ask<'_>, key: &[u8], id: Id) -> Result<bool, CmdError> {
    let Some(found) = ctx.srv.ks.read(ctx.db, Key::new(key)) else { return Ok(false) };
    let log = &ctx.srv.ks.value::<Stream>(&found)?.log;
    let Some(from) = id.after().filter(|_| log.last_live().is_some_and(|last| last > id)) else {
        return Ok(false);
    };
    head(ctx.out, key);
    reply_entries(ctx.out, log.range(from, Id::MAX), ask.count);
    Ok(true)
}

/// Replies what a consumer gets; false when it has to wait for more.
fn serve_group(
    ctx: &mut Ctx<'_>,
    ask: &Ask<'_>,
    (name, consumer): (&[u8], &[u8]),
    key: &[u8],
    id: Id,
) -> Result<bool, CmdError> {
    let (db, now) = (ctx.db, ctx.now_ms());
    let (ks, out) = (&mut ctx.srv.ks, &mut *ctx.out);
    let Some(found) = ks.read(db, Key::new(key)) else { return Ok(false) };
    let mut ops = GroupOps::new(ks, db, key, name);
    let mut e = ks.edit(found);
    let Parts { log, groups } = &mut **e.value::<Stream>()?;
    let mut group = groups.get_mut(name).expect("it was looked up before");
    let more = id == NEW && log.last_live().is_some_and(|last| last > group.last_id);
    let (owner, is_new) = acting_consumer(&mut group, consumer, now);
    if is_new && ask.noack {
        ops.new_consumer(consumer);
    }
    if more || id != NEW {
        head(out, key);
    }
    if more {
        deliver(out, log, &mut group, &Delivery { owner, now, ask }, &mut ops);
    } else if id != NEW {
        repeat(out, log, &mut group, &Delivery { owner, now, ask }, id);
    }
    drop(group);
    // Changes, but none that watchers hear of.
    e.unchanged();
    if is_new {
        ks.dirty += 1;
        ks.event(db, key, class::STREAM, "xgroup-createconsumer");
    }
    ops.send(ks);
    let served = more || id != NEW;
    ks.dirty += u64::from(served);
    Ok(served)
}

struct Delivery<'a> {
    owner: ConsumerIndex,
    now: i64,
    ask: &'a Ask<'a>,
}

/// Gives a consumer what its group has not delivered yet.
fn deliver(out: &mut Reply, log: &Log, group: &mut Group, d: &Delivery<'_>, ops: &mut GroupOps<'_>) {
    let from = group.last_id.after().expect("there is more to come");
    let mark = out.defer();
    let mut n = 0;
    for entry in log.range(from, Id::MAX) {
        if entry.id > group.last_id {
            log.advance(group, entry.id);
        }
        reply_entry(out, &entry);
        if !d.ask.noack {
            group.assign(entry.id, d.owner, d.now, 1);
            group.consumer_mut(d.owner).active_at = d.now;
            let p = group.pending(entry.id).expect("it has just been assigned");
            ops.claim(group, &entry.id.text(), p);
        }
        n += 1;
        if n == d.ask.count {
            break;
        }
    }
    if d.ask.noack && n > 0 {
        ops.progress(group);
    }
    out.set_array(mark, n);
}

/// Gives a consumer again what is pending with it after `id`; of what has been deleted only the ID.
fn repeat(out: &mut Reply, log: &Log, group: &mut Group, d: &Delivery<'_>, id: Id) {
    let mark = out.defer();
    let mut n = 0;
    let mut from = id.after();
    while let Some(id) = from.and_then(|from| group.consumer(d.owner).next_pending(from)) {
        match log.range(id, id).next() {
            Some(entry) => {
                reply_entry(out, &entry);
                let p = group.pending_mut(id).expect("the consumer has it");
                p.delivered_at = d.now;
                p.deliveries = p.deliveries.wrapping_add(1);
            }
            None => {
                out.array(2);
                out.bulk(&id.text());
                out.null_array();
            }
        }
        n += 1;
        from = id.after().filter(|_| n != d.ask.count);
    }
    out.set_array(mark, n);
}
