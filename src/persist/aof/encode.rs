//! The dataset as the commands that make it: the base of a log without `aof-use-rdb-preamble`.
//!
//! ```text
//! string  SET            hash        HMSET   f v ...         64 elements a command
//! list    RPUSH e ...    sorted set  ZADD    score m ...     then PEXPIREAT for keys with a TTL
//! set     SADD  m ...    stream  XADD ... XSETID, then XGROUP and XCLAIM for groups and what is pending
//! before all that, for each library of functions: FUNCTION LOAD code
//! ```
//!
//! A new type: an arm in `value`, which writes whole commands.

use super::{push_command, push_timestamp};
use crate::algo::num::push_f64_17g;
use crate::ds::entry::{EntryRef, ty};
use crate::ds::listpack::Element;
use crate::keyspace::Keyspace;
use crate::object::stream::{Stream, group::Group, id::Id};
use crate::object::value::{StrRef, View};
use crate::object::{hash::Hash, list::List, set::Set, zset::Zset};
use std::io::{self, Write};

/// Elements of one command (AOF_REWRITE_ITEMS_PER_CMD).
const ITEMS: usize = 64;
/// Written when so many bytes have come together.
const CHUNK: usize = 64 * 1024;

/// Writes the code of all libraries and all databases as commands; `saved` hears of every key.
pub fn rewrite(
    ks: &Keyspace,
    functions: &[&[u8]],
    timestamp: Option<i64>,
    to: &mut dyn Write,
    mut saved: impl FnMut(),
) -> io::Result<()> {
    let mut out = Vec::new();
    if let Some(now) = timestamp {
        push_timestamp(&mut out, now);
    }
    for code in functions {
        push_command(&mut out, &[b"FUNCTION", b"LOAD", code]);
    }
    for (n, db) in ks.iter().filter(|(_, db)| !db.is_empty()) {
        push_command(&mut out, &[b"SELECT", n.to_string().as_bytes()]);
        for e in db.iter() {
            value(&mut out, e)?;
            if let Some(when) = e.when() {
                push_command(&mut out, &[b"PEXPIREAT", e.key(), when.to_string().as_bytes()]);
            }
            if out.len() >= CHUNK {
                to.write_all(&out)?;
                out.clear();
            }
            saved();
        }
    }
    to.write_all(&out)
}

/// Elements that are gathered into commands of a bounded size.
struct Batch<'o> {
    out: &'o mut Vec<u8>,
    command: &'static [u8],
    key: &'o [u8],
    words: Vec<Vec<u8>>,
    /// Words of a full command.
    full: usize,
}

impl<'o> Batch<'o> {
    /// `each`: words that an element has.
    fn new(out: &'o mut Vec<u8>, command: &'static [u8], key: &'o [u8], each: usize) -> Self {
        Batch { out, command, key, words: Vec::new(), full: ITEMS * each }
    }

    fn add<const N: usize>(&mut self, words: [&[u8]; N]) {
        self.words.extend(words.map(<[u8]>::to_vec));
        if self.words.len() >= self.full {
            self.finish();
        }
    }

    fn finish(&mut self) {
        if self.words.is_empty() {
            return;
        }
        let mut args: Vec<&[u8]> = vec![self.command, self.key];
        args.extend(self.words.iter().map(|w| &w[..]));
        push_command(self.out, &args);
        self.words.clear();
    }
}

const MADE: &str = "the entry has this type";

fn value(out: &mut Vec<u8>, e: EntryRef<'_>) -> io::Result<()> {
    let key = e.key();
    match e.ty() {
        ty::STRING => {
            let mut room = itoa::Buffer::new();
            push_command(out, &[b"SET", key, StrRef::of(e).expect(MADE).bytes(&mut room)]);
        }
        ty::LIST => {
            let mut b = Batch::new(out, b"RPUSH", key, 1);
            View::<List>::of(e).expect(MADE).for_each(|x: Element<'_>| x.with_text(|t| b.add([t])));
            b.finish();
        }
        ty::SET => {
            let mut b = Batch::new(out, b"SADD", key, 1);
            View::<Set>::of(e).expect(MADE).for_each(|x| x.with_text(|t| b.add([t])));
            b.finish();
        }
        ty::ZSET => {
            let mut b = Batch::new(out, b"ZADD", key, 2);
            let z = View::<Zset>::of(e).expect(MADE);
            let mut text = Vec::new();
            z.walk(0..z.len(), false, |m, score| {
                text.clear();
                push_f64_17g(&mut text, score.get());
                m.with_text(|m| b.add([&text, m]));
            });
            b.finish();
        }
        ty::HASH => {
            let mut b = Batch::new(out, b"HMSET", key, 2);
            let h = View::<Hash>::of(e).expect(MADE);
            h.for_each(|f, v| f.with_text(|f| v.with_text(|v| b.add([f, v]))));
            b.finish();
        }
        ty::STREAM => stream(out, key, &View::<Stream>::of(e).expect(MADE)),
        t => return Err(io::Error::other(format!("type {t} has no form as commands"))),
    }
    Ok(())
}

fn stream(out: &mut Vec<u8>, key: &[u8], s: &Stream) {
    let log = &s.log;
    let mut words: Vec<Vec<u8>> = Vec::new();
    for entry in log.range(Id::MIN, Id::MAX) {
        words.clear();
        for (field, value) in entry.pairs() {
            field.with_text(|t| words.push(t.to_vec()));
            value.with_text(|t| words.push(t.to_vec()));
        }
        let id = entry.id.text();
        let mut args: Vec<&[u8]> = vec![b"XADD", key, &id];
        args.extend(words.iter().map(|w| &w[..]));
        push_command(out, &args);
    }
    if log.length == 0 {
        // The stream is there, though no entry is.
        push_command(out, &[b"XADD", key, b"MAXLEN", b"0", b"0-1", b"x", b"y"]);
    }
    // The last entries may have been deleted: their IDs are not given again.
    let (last, deleted) = (log.last_id.text(), log.max_deleted.text());
    let added = log.entries_added.to_string();
    let after: [&[u8]; 7] =
        [b"XSETID", key, &last, b"ENTRIESADDED", added.as_bytes(), b"MAXDELETEDID", &deleted];
    push_command(out, &after);
    s.groups.for_each(|name, g| group(out, key, name, g));
}

fn group(out: &mut Vec<u8>, key: &[u8], name: &[u8], g: &Group) {
    let (last, read) = (g.last_id.text(), g.entries_read.to_string());
    let create: [&[u8]; 7] = [b"XGROUP", b"CREATE", key, name, &last, b"ENTRIESREAD", read.as_bytes()];
    push_command(out, &create);
    g.for_each_consumer(|c| {
        if c.pending_len() == 0 {
            push_command(out, &[b"XGROUP", b"CREATECONSUMER", key, name, &c.name]);
        }
        c.for_each_pending(|id| {
            if let Some(p) = g.pending(id) {
                let (at, count, id) = (p.delivered_at.to_string(), p.deliveries.to_string(), id.text());
                let claim: [&[u8]; 12] = [
                    b"XCLAIM",
                    key,
                    name,
                    &c.name,
                    b"0",
                    &id,
                    b"TIME",
                    at.as_bytes(),
                    b"RETRYCOUNT",
                    count.as_bytes(),
                    b"JUSTID",
                    b"FORCE",
                ];
                push_command(out, &claim);
            }
            true
        });
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ds::dict::Dict;
    use crate::ds::entry::Content;
    use crate::keyspace::Keyspace;
    use crate::keyspace::store::{New, Ttl};
    use crate::object::value::Variant;
    use crate::object::zset::Rules;
    use crate::persist::aof::read::Reader;
    use crate::proto::args::Key;

    fn commands(text: &[u8]) -> Vec<Vec<String>> {
        let (mut r, mut args, mut all) = (Reader::new(text, 0), Vec::new(), Vec::new());
        while r.next(&mut args).expect("sound") {
            all.push(args.iter().map(|a| String::from_utf8_lossy(a).into_owned()).collect());
        }
        all
    }

    #[test]
    fn strings_and_times() {
        let mut out = Vec::new();
        let mut dict = Dict::new();
        let place = dict.insert(0, b"k", Content::Int(i64::MIN), Some(5), 0);
        value(&mut out, dict.at(place).expect("just put there")).expect("has a form");
        assert_eq!(commands(&out), [["SET", "k", "-9223372036854775808"]]);
        // Its value taken out, it has a type that nothing knows.
        let _out = dict.at_mut(place).and_then(|mut e| e.take());
        let e = dict.at(place).expect("it stays where it is");
        assert!(value(&mut out, e).is_err(), "what has no form is an error, not a loss");
    }

    #[test]
    fn elements_come_in_commands_of_sixty_four() {
        let mut ks = Keyspace::new(3);
        let key = Key::new(b"s");
        let mut s = Set::for_member(b"0", 1, &ks.policy.limits.set);
        for i in 0..130 {
            s.add(i.to_string().as_bytes(), &ks.policy.limits.set);
        }
        let _ = ks.put(2, key, New::Value(s.wrap()), Ttl::At(77), None);
        let mut z = Zset::default();
        z.add(b"m", 0.1, Rules::default(), &ks.policy.limits.zset);
        let _ = ks.put(0, Key::new(b"z"), New::Value(z.wrap()), Ttl::Clear, None);
        let (mut out, mut keys) = (Vec::new(), 0);
        rewrite(&ks, &[b"code"], Some(9), &mut out, || keys += 1).expect("memory takes it");
        assert!(out.starts_with(b"#TS:9\r\n"));
        let all = commands(&out);
        let lengths: Vec<usize> = all.iter().map(Vec::len).collect();
        assert_eq!((keys, lengths), (2, vec![3, 2, 4, 2, 66, 66, 4, 3]));
        assert_eq!(all[0], ["FUNCTION", "LOAD", "code"]);
        assert_eq!(all[2], ["ZADD", "z", "0.10000000000000001", "m"]);
        assert_eq!(all[7], ["PEXPIREAT", "s", "77"]);
        let mut members: Vec<i64> =
            all[4..7].iter().flat_map(|c| &c[2..]).map(|m| m.parse().expect("a number")).collect();
        members.sort_unstable();
        assert!(members.into_iter().eq(0..130));
    }
}
