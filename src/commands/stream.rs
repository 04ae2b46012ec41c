//! Streams: adding entries, reading ranges, taking entries away. Reading on from an ID is in
//! `stream_read`, consumer groups are in `stream_group` and `stream_claim`, XINFO in `stream_info`.
//!
//! ```text
//!   XADD key [NOMKSTREAM] [MAXLEN | MINID [= | ~] threshold [LIMIT n]] id field value ...
//!   XTRIM key              MAXLEN | MINID [= | ~] threshold [LIMIT n]
//! ```
//!
//! What leaves for the AOF and replicas says what was done, not what was asked for: the ID that was
//! made, and for a trim of whole blocks (`~`) where the stream begins now, to be trimmed to exactly that.

use super::numbers::integer;
use crate::cmd::docs;
use crate::cmd::row::flag::*;
use crate::cmd::row::{Flow, KeySpec, cat, key};
use crate::keyspace::class;
use crate::keyspace::store::{New, Ttl};
use crate::object::stream::Stream;
use crate::object::stream::entries::{AddError, Keep, Log, Trim};
use crate::object::stream::id::{Id, Wish};
use crate::object::stream::node::StreamEntry;
use crate::object::value::Variant;
use crate::proto::error::CmdError;
use crate::proto::reply::Reply;
use crate::server::ctx::{Command, Ctx, ROW};

pub static ROWS: &[Command] = &[
    Command {
        name: "xadd",
        arity: -5,
        flags: WRITE | DENYOOM | FAST,
        acl: cat::STREAM,
        keys: &[KeySpec::one(key::RW | key::UPDATE, 1)
            .note("UPDATE rather than INSERT, since the stream may be trimmed as well")],
        run: xadd,
        docs: &docs::XADD,
        ..ROW
    },
    Command {
        name: "xdel",
        arity: -3,
        flags: WRITE | FAST,
        acl: cat::STREAM,
        keys: &[KeySpec::one(key::RW | key::DELETE, 1)],
        run: xdel,
        docs: &docs::XDEL,
        ..ROW
    },
    Command {
        name: "xlen",
        arity: 2,
        flags: READONLY | FAST,
        acl: cat::STREAM,
        keys: &[KeySpec::one(key::RO, 1)],
        run: xlen,
        docs: &docs::XLEN,
        ..ROW
    },
    Command {
        name: "xrange",
        arity: -4,
        flags: READONLY,
        acl: cat::STREAM,
        keys: &[KeySpec::one(key::RO | key::ACCESS, 1)],
        run: xrange,
        docs: &docs::XRANGE,
        ..ROW
    },
    Command {
        name: "xrevrange",
        arity: -4,
        flags: READONLY,
        acl: cat::STREAM,
        keys: &[KeySpec::one(key::RO | key::ACCESS, 1)],
        run: xrevrange,
        docs: &docs::XREVRANGE,
        ..ROW
    },
    Command {
        name: "xsetid",
        arity: -3,
        flags: WRITE | DENYOOM | FAST,
        acl: cat::STREAM,
        keys: &[KeySpec::one(key::RW | key::UPDATE, 1)],
        run: xsetid,
        docs: &docs::XSETID,
        ..ROW
    },
    Command {
        name: "xtrim",
        arity: -4,
        flags: WRITE,
        acl: cat::STREAM,
        keys: &[KeySpec::one(key::RW | key::DELETE, 1)],
        run: xtrim,
        docs: &docs::XTRIM,
        ..ROW
    },
];

pub const BAD_ID: CmdError =
    CmdError::Msg(&"ERR Invalid stream ID specified as stream command argument");
const BAD_START: CmdError = CmdError::Msg(&"ERR invalid start ID for the interval");
const BAD_END: CmdError = CmdError::Msg(&"ERR invalid end ID for the interval");

// ---- what the family shares ---------------------------------------------------------------------

/// An ID in full, or a time that stands for its first.
pub fn strict_id(arg: &[u8]) -> Result<Id, CmdError> {
    Id::parse(arg, 0).ok_or(BAD_ID)
}

/// Where an interval starts; an open one starts behind what is named.
pub fn interval_start(arg: &[u8]) -> Result<Id, CmdError> {
    match arg {
        [b'(', id @ ..] if !id.is_empty() => Id::parse(id, 0).ok_or(BAD_ID)?.after().ok_or(BAD_START),
        _ => Id::parse_edge(arg, 0).ok_or(BAD_ID),
    }
}

/// Where an interval ends; a time alone stands for its last ID.
pub fn interval_end(arg: &[u8]) -> Result<Id, CmdError> {
    match arg {
        [b'(', id @ ..] if !id.is_empty() => {
            Id::parse(id, u64::MAX).ok_or(BAD_ID)?.before().ok_or(BAD_END)
        }
        _ => Id::parse_edge(arg, u64::MAX).ok_or(BAD_ID),
    }
}

/// An entry: its ID, and fields and values in one flat array.
pub fn reply_entry(out: &mut Reply, entry: &StreamEntry<'_>) {
    out.array(2);
    out.bulk(&entry.id.text());
    out.array(2 * entry.len);
    for (field, value) in entry.pairs() {
        out.element(field);
        out.element(value);
    }
}

/// Up to `count` entries (0: all) as an array; how many.
pub fn reply_entries<'s>(
    out: &mut Reply,
    entries: impl Iterator<Item = StreamEntry<'s>>,
    count: usize,
) -> usize {
    let mark = out.defer();
    let mut n = 0;
    for entry in entries {
        reply_entry(out, &entry);
        n += 1;
        if n == count || out.over {
            break;
        }
    }
    out.set_array(mark, n);
    n
}

// ---- options of XADD and XTRIM ------------------------------------------------------------------

#[derive(Clone, Copy, Debug)]
struct Trimming {
    how: Trim,
    /// The place of the argument with the threshold.
    at: usize,
}

#[derive(Debug)]
struct Options {
    /// The argument that is the ID, or the number of arguments when there is none.
    id_at: usize,
    wish: Wish,
    must_exist: bool,
    trim: Option<Trimming>,
}

/// The command that reads the options.
#[derive(Clone, Copy)]
struct Reader {
    xadd: bool,
    /// `stream-node-max-entries`
    node_entries: usize,
    /// A command from the master or the log is executed without a limit.
    obeys: bool,
}

impl Reader {
    fn new(ctx: &Ctx<'_>, xadd: bool) -> Reader {
        let node_entries = ctx.srv.ks.policy.limits.stream_node_max_entries;
        Reader { xadd, node_entries, obeys: ctx.obeys() }
    }

    fn read(self, args: &[&[u8]]) -> Result<Options, CmdError> {
        const LIMIT: CmdError = CmdError::Msg(&"ERR The LIMIT argument must be >= 0.");
        let mut o = Options { id_at: args.len(), wish: Wish::Auto, must_exist: false, trim: None };
        let mut limit = None;
        let mut i = 2;
        while i < args.len() {
            let (word, more) = (args[i], args.len() - 1 - i);
            let is = |name: &[u8]| word.eq_ignore_ascii_case(name);
            if self.xadd && word == b"*" {
                o.id_at = i;
                break;
            } else if more > 0 && (is(b"maxlen") || is(b"minid")) {
                let t = trimming(args, i, o.trim.is_some())?;
                i = t.at;
                o.trim = Some(t);
            } else if more > 0 && is(b"limit") {
                i += 1;
                let n = integer(args[i])?;
                limit = Some(u64::try_from(n).map_err(|_| LIMIT)?);
            } else if self.xadd && is(b"nomkstream") {
                o.must_exist = true;
            } else if self.xadd {
                o.wish = Wish::parse(word).ok_or(BAD_ID)?;
                o.id_at = i;
                break;
            } else {
                return Err(CmdError::Syntax);
            }
            i += 1;
        }
        self.settle_limit(&mut o, limit)?;
        Ok(o)
    }

    fn settle_limit(self, o: &mut Options, limit: Option<u64>) -> Result<(), CmdError> {
        const ALONE: CmdError = CmdError::Msg(
            &"ERR syntax error, LIMIT cannot be used without specifying a trimming strategy",
        );
        const NOTHING: CmdError =
            CmdError::Msg(&"ERR syntax error, XTRIM must be called with a trimming strategy");
        const EXACT: CmdError =
            CmdError::Msg(&"ERR syntax error, LIMIT cannot be used without the special ~ option");
        if o.trim.is_none() {
            if limit.is_some_and(|n| n > 0) {
                return Err(ALONE);
            }
            if !self.xadd {
                return Err(NOTHING);
            }
        }
        if self.obeys {
            return Ok(());
        }
        let whole_blocks = o.trim.is_some_and(|t| t.how.whole_blocks);
        if limit.is_some() && !whole_blocks {
            return Err(EXACT);
        }
        if let Some(t) = o.trim.as_mut().filter(|_| whole_blocks) {
            t.how.limit = limit.unwrap_or_else(|| self.default_limit());
        }
        Ok(())
    }

    /// As many as 100 blocks hold, within reason.
    fn default_limit(self) -> u64 {
        match (self.node_entries as u64).wrapping_mul(100).cast_signed() {
            n @ 1.. => n.min(1_000_000).cast_unsigned(),
            _ => 10_000,
        }
    }
}

/// MAXLEN or MINID at argument `i`, which something follows.
fn trimming(args: &[&[u8]], mut i: usize, second: bool) -> Result<Trimming, CmdError> {
    const BOTH: CmdError =
        CmdError::Msg(&"ERR syntax error, MAXLEN and MINID options at the same time are not compatible");
    const MAXLEN: CmdError = CmdError::Msg(&"ERR The MAXLEN argument must be >= 0.");
    if second {
        return Err(BOTH);
    }
    let by_length = args[i].eq_ignore_ascii_case(b"maxlen");
    let sign = if i + 2 < args.len() { args[i + 1] } else { b"" };
    let whole_blocks = sign == b"~";
    i += if whole_blocks || sign == b"=" { 2 } else { 1 };
    let keep = if by_length {
        Keep::Newest(u64::try_from(integer(args[i])?).map_err(|_| MAXLEN)?)
    } else {
        Keep::From(strict_id(args[i])?)
    };
    Ok(Trimming { how: Trim { keep, whole_blocks, limit: 0 }, at: i })
}

/// The threshold that a trim of whole blocks has really reached: it is propagated instead of the given one.
fn outcome(log: &Log, how: &Trim) -> Vec<u8> {
    match how.keep {
        Keep::Newest(_) => itoa::Buffer::new().format(log.length).as_bytes().to_vec(),
        Keep::From(_) => log.first_of_all().text().to_vec(),
    }
}

/// Propagates the command with some of its words replaced.
fn replaced(ctx: &mut Ctx<'_>, words: &[(usize, &[u8])]) {
    let mut all: Vec<&[u8]> = ctx.args.to_vec();
    words.iter().for_each(|(at, word)| all[*at] = word);
    ctx.instead(&all);
}

// ---- adding and trimming ------------------------------------------------------------------------

/// What XADD did.
struct Added {
    id: Id,
    trimmed: bool,
    /// The result of a trim of whole blocks, when it is to be propagated.
    outcome: Option<Vec<u8>>,
}

impl Options {
    fn add(&self, log: &mut Log, pairs: &[[&[u8]; 2]], ctx: &Now) -> Result<Added, AddError> {
        let id = log.next_id(self.wish, ctx.ms)?;
        log.append(id, pairs, ctx.limits)?;
        let Some(t) = &self.trim else { return Ok(Added { id, trimmed: false, outcome: None }) };
        let trimmed = log.trim(&t.how) > 0;
        let outcome = (t.how.whole_blocks && ctx.heard).then(|| outcome(log, &t.how));
        Ok(Added { id, trimmed, outcome })
    }
}

/// What adding depends on besides its arguments.
struct Now {
    ms: u64,
    limits: crate::object::stream::entries::StreamLimits,
    /// There is an AOF or a replica.
    heard: bool,
}

fn refused(e: AddError) -> CmdError {
    CmdError::Msg(match e {
        AddError::NotAbove => {
            &"ERR The ID specified in XADD is equal or smaller than the target stream top item"
        }
        AddError::TooLarge => &"ERR Elements are too large to be stored",
    })
}

fn xadd(ctx: &mut Ctx<'_>) -> Result<Flow, CmdError> {
    const ZERO: CmdError = CmdError::Msg(&"ERR The ID specified in XADD must be greater than 0-0");
    const FULL: CmdError =
        CmdError::Msg(&"ERR The stream has exhausted the last possible ID, unable to add more items");
    let o = Reader::new(ctx, true).read(&ctx.args)?;
    let (pairs, rest) = ctx.args.from(o.id_at + 1).as_chunks::<2>();
    if pairs.is_empty() || !rest.is_empty() {
        return Err(CmdError::arity(ctx.name()));
    }
    if o.wish == Wish::Exact(Id::MIN) {
        return Err(ZERO);
    }
    let (db, key) = (ctx.db, ctx.key(1));
    let ks = &mut ctx.srv.ks;
    let now =
        Now { ms: ks.now_ms.cast_unsigned(), limits: ks.policy.limits.stream(), heard: ks.policy.ops };
    let (t, added) = match ks.write(db, key) {
        Some(found) => {
            let mut e = ks.edit(found);
            let log = &mut e.value::<Stream>()?.log;
            let full = log.last_id == Id::MAX;
            match o.add(log, pairs, &now) {
                Ok(added) => (e.done(1), added),
                Err(why) => {
                    e.unchanged();
                    return Err(if full { FULL } else { refused(why) });
                }
            }
        }
        None if o.must_exist => {
            ctx.out.null();
            return Ok(Flow::Done);
        }
        None => {
            let mut s = Stream::default();
            let added = o.add(&mut s.log, pairs, &now);
            // The key is there even if nothing could be added to it.
            let t = ks.put(db, key, New::Value(s.wrap()), Ttl::Clear, None);
            let added = added.map_err(refused)?;
            ks.dirty += 1;
            ks.signal_modified(db, key.bytes);
            (t, added)
        }
    };
    ctx.out.bulk(&added.id.text());
    ks.announce(&t, class::STREAM, "xadd");
    if added.trimmed {
        ks.event(db, key.bytes, class::STREAM, "xtrim");
    }
    ks.signal_ready(db, key.bytes, crate::ds::entry::ty::STREAM);
    if now.heard {
        say_what_was_added(ctx, &o, &added);
    }
    Ok(Flow::Done)
}

fn say_what_was_added(ctx: &mut Ctx<'_>, o: &Options, added: &Added) {
    let id = added.id.text();
    let mut words: Vec<(usize, &[u8])> = Vec::new();
    if let (Some(t), Some(outcome)) = (&o.trim, &added.outcome) {
        words.extend([(t.at - 1, &b"="[..]), (t.at, &outcome[..])]);
    }
    if !matches!(o.wish, Wish::Exact(_)) {
        words.push((o.id_at, &id));
    }
    if !words.is_empty() {
        replaced(ctx, &words);
    }
}

fn xtrim(ctx: &mut Ctx<'_>) -> Result<Flow, CmdError> {
    let o = Reader::new(ctx, false).read(&ctx.args)?;
    let t = o.trim.expect("without one there was an error");
    let Some(found) = ctx.write(1) else {
        ctx.out.int(0);
        return Ok(Flow::Done);
    };
    let heard = ctx.srv.ks.policy.ops;
    let mut e = ctx.srv.ks.edit(found);
    let log = &mut e.value::<Stream>()?.log;
    let deleted = log.trim(&t.how);
    let outcome = (t.how.whole_blocks && heard).then(|| outcome(log, &t.how));
    ctx.out.int(deleted.cast_signed());
    if deleted == 0 {
        e.unchanged();
        return Ok(Flow::Done);
    }
    let touched = e.done(deleted);
    ctx.announce(&touched, class::STREAM, "xtrim");
    if let Some(outcome) = outcome {
        replaced(ctx, &[(t.at - 1, b"="), (t.at, &outcome)]);
    }
    Ok(Flow::Done)
}

fn xdel(ctx: &mut Ctx<'_>) -> Result<Flow, CmdError> {
    let Some(found) = ctx.write(1) else {
        ctx.out.int(0);
        return Ok(Flow::Done);
    };
    ctx.srv.ks.value::<Stream>(&found)?;
    let ids = ctx.args.from(2).iter().map(|a| strict_id(a)).collect::<Result<Vec<Id>, _>>()?;
    let mut e = ctx.srv.ks.edit(found);
    let deleted = e.value::<Stream>()?.log.delete(&ids);
    ctx.out.int(deleted.cast_signed());
    if deleted == 0 {
        e.unchanged();
        return Ok(Flow::Done);
    }
    let t = e.done(deleted);
    ctx.announce(&t, class::STREAM, "xdel");
    Ok(Flow::Done)
}

// ---- reading ------------------------------------------------------------------------------------

fn xlen(ctx: &mut Ctx<'_>) -> Result<Flow, CmdError> {
    let len = match ctx.read(1) {
        Some(found) => ctx.srv.ks.value::<Stream>(&found)?.log.length,
        None => 0,
    };
    ctx.out.int(len.cast_signed());
    Ok(Flow::Done)
}

fn xrange(ctx: &mut Ctx<'_>) -> Result<Flow, CmdError> {
    range(ctx, false)
}

fn xrevrange(ctx: &mut Ctx<'_>) -> Result<Flow, CmdError> {
    range(ctx, true)
}

fn range(ctx: &mut Ctx<'_>, back: bool) -> Result<Flow, CmdError> {
    let (start, end) = if back { (3, 2) } else { (2, 3) };
    let (from, to) = (interval_start(ctx.args[start])?, interval_end(ctx.args[end])?);
    let mut count = None;
    let mut options = ctx.args.from(4);
    while let [word, n, rest @ ..] = options {
        if !word.eq_ignore_ascii_case(b"count") {
            return Err(CmdError::Syntax);
        }
        count = Some(usize::try_from(integer(n)?).unwrap_or(0));
        options = rest;
    }
    if !options.is_empty() {
        return Err(CmdError::Syntax);
    }
    let Some(found) = ctx.read(1) else {
        ctx.out.array(0);
        return Ok(Flow::Done);
    };
    let s = ctx.srv.ks.value::<Stream>(&found)?;
    if count == Some(0) {
        ctx.out.null_array();
        return Ok(Flow::Done);
    }
    let entries = if back { s.log.range_back(from, to) } else { s.log.range(from, to) };
    reply_entries(ctx.out, entries, count.unwrap_or(0));
    Ok(Flow::Done)
}

// ---- figures ------------------------------------------------------------------------------------

fn xsetid(ctx: &mut Ctx<'_>) -> Result<Flow, CmdError> {
    let error = |text: &'static &'static str| Err(CmdError::Msg(text));
    let id = strict_id(ctx.args[2])?;
    let (mut added, mut max_deleted) = (None, Id::MIN);
    let mut options = ctx.args.from(3);
    while let [word, value, rest @ ..] = options {
        if word.eq_ignore_ascii_case(b"entriesadded") {
            let Ok(n) = u64::try_from(integer(value)?) else {
                return error(&"ERR entries_added must be positive");
            };
            added = Some(n);
        } else if word.eq_ignore_ascii_case(b"maxdeletedid") {
            max_deleted = strict_id(value)?;
            if id < max_deleted {
                return error(
                    &"ERR The ID specified in XSETID is smaller than the provided max_deleted_entry_id",
                );
            }
        } else {
            return Err(CmdError::Syntax);
        }
        options = rest;
    }
    if !options.is_empty() {
        return Err(CmdError::Syntax);
    }
    let found = ctx.write(1).ok_or(CmdError::NoSuchKey)?;
    let log = &ctx.srv.ks.value::<Stream>(&found)?.log;
    if id < log.max_deleted {
        return error(&"ERR The ID specified in XSETID is smaller than current max_deleted_entry_id");
    }
    if log.length > 0 {
        if log.last_live().is_some_and(|last| id < last) {
            return error(&"ERR The ID specified in XSETID is smaller than the target stream top item");
        }
        if added.is_some_and(|n| log.length > n) {
            return error(
                &"ERR The entries_added specified in XSETID is smaller than the target stream length",
            );
        }
    }
    let (db, key) = (ctx.db, found.key.bytes);
    let ks = &mut ctx.srv.ks;
    let mut e = ks.edit(found);
    let log = &mut e.value::<Stream>()?.log;
    log.last_id = id;
    log.entries_added = added.unwrap_or(log.entries_added);
    if !max_deleted.is_zero() {
        log.max_deleted = max_deleted;
    }
    // A change, but none that watchers hear of.
    e.unchanged();
    ks.dirty += 1;
    ks.event(db, key, class::STREAM, "xsetid");
    ctx.out.ok();
    Ok(Flow::Done)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(line: &str, obeys: bool) -> Result<Options, String> {
        let args: Vec<&[u8]> = line.split(' ').map(str::as_bytes).collect();
        let xadd = line.starts_with("xadd");
        Reader { xadd, node_entries: 5, obeys }.read(&args).map_err(|e| e.as_str().to_string())
    }

    #[test]
    fn the_id_ends_the_options() {
        for (line, at, wish) in [
            ("xadd k * maxlen 5", 2, Wish::Auto),
            ("xadd k maxlen ~ 5 nomkstream 7-* f v", 6, Wish::Within(7)),
            ("xadd k minid 3 7 f v", 4, Wish::Exact(Id::new(7, 0))),
            ("xadd k maxlen = 5", 5, Wish::Auto),
        ] {
            let o = read(line, false).expect(line);
            assert_eq!((o.id_at, o.wish), (at, wish), "{line}");
        }
    }

    #[test]
    fn limits_belong_to_whole_blocks() {
        let limit = |line, obeys| read(line, obeys).map(|o| o.trim.map(|t| (t.how.limit, t.at)));
        assert_eq!(limit("xtrim k maxlen ~ 5", false), Ok(Some((500, 4))));
        assert_eq!(limit("xtrim k minid ~ 5 limit 0", false), Ok(Some((0, 4))));
        assert_eq!(limit("xtrim k limit 7 maxlen ~ 5", false), Ok(Some((7, 6))));
        assert_eq!(limit("xtrim k maxlen 5", false), Ok(Some((0, 3))));
        assert_eq!(limit("xtrim k maxlen = 5 limit 7", true), Ok(Some((0, 4))));
        for (line, why) in [
            ("xtrim k limit 7", "LIMIT cannot be used without specifying"),
            ("xtrim k limit 0", "must be called with"),
            ("xadd k limit 0 *", "without the special ~"),
            ("xtrim k maxlen = 5 limit 7", "without the special ~"),
            ("xtrim k maxlen 5 minid 7", "at the same time"),
            ("xtrim k maxlen -1", "MAXLEN argument"),
            ("xtrim k maxlen ~ 1 limit -1", "LIMIT argument"),
            ("xtrim k maxlen", "syntax error"),
            ("xtrim k maxlen =", "not an integer"),
            ("xtrim k maxlen 1 nomkstream", "syntax error"),
            ("xadd k maxlen", "Invalid stream ID"),
            ("xadd k minid x *", "Invalid stream ID"),
        ] {
            let text = read(line, false).expect_err(line);
            assert!(text.contains(why), "{line}: {text}");
        }
    }

    #[test]
    fn default_limits_stay_within_reason() {
        let limit = |node_entries| Reader { xadd: true, node_entries, obeys: false }.default_limit();
        assert_eq!([0, 1, 100, usize::MAX, 1 << 62].map(limit), [10_000, 100, 10_000, 10_000, 10_000]);
        assert_eq!(limit(20_000), 1_000_000);
    }
}
