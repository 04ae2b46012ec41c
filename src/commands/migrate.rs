//! MIGRATE: keys go to another server, and leave this one when that one has said that it has them.
//!
//! ```text
//! keys that are here ─► [AUTH] [SELECT] RESTORE ... RESTORE ─► target
//!                          each + ◄─ its key is deleted: one DEL of all of them is propagated
//!                          each - ◄─ its key stays; the first text is the reply
//! ```
//!
//! The server waits meanwhile: an update of a key between its dump and its deletion would be lost. A kept
//! connection may have been closed by the target, so all is tried a second time when nothing was answered,
//! unless the time was over: then the target may still do what it was sent.

use super::numbers::integer;
use crate::cmd::docs;
use crate::cmd::keys;
use crate::cmd::row::flag::*;
use crate::cmd::row::{Flow, KeySpec, cat, key};
use crate::keyspace::class;
use crate::net::dialogue::Broken;
use crate::persist::aof::push_command;
use crate::persist::rdb::save::payload;
use crate::proto::args::Key;
use crate::proto::error::CmdError;
use crate::server::ctx::{Command, Ctx, ROW};
use crate::server::targets::{self, Target};
use std::time::Duration;

/// Where a key that is handed over is named.
const HANDED: u32 = key::RW | key::ACCESS | key::DELETE;
/// What is written within one timeout.
const PIECE: usize = 64 * 1024;

pub static ROWS: &[Command] = &[Command {
    name: "migrate",
    arity: -6,
    flags: WRITE | MOVABLE_KEYS | HANDS_OVER,
    acl: cat::KEYSPACE | cat::DANGEROUS,
    keys: &[KeySpec::one(HANDED, 3), KeySpec::keyword(HANDED | key::INCOMPLETE, "KEYS", -2, -1, 1)],
    getkeys: Some(keys::migrate),
    secrets: Some(secrets),
    run: migrate,
    docs: &docs::MIGRATE,
    ..ROW
}];

/// Name and password for the target.
fn secrets(args: &[&[u8]]) -> Vec<usize> {
    let mut found = Vec::new();
    let mut i = 6;
    while let Some(word) = args.get(i) {
        let secret = match word.to_ascii_lowercase().as_slice() {
            b"copy" | b"replace" => 0,
            b"auth" => 1,
            b"auth2" => 2,
            _ => break,
        };
        found.extend(i + 1..=i + secret);
        i += 1 + secret;
    }
    found.retain(|i| *i < args.len());
    found
}

struct Options<'a> {
    copy: bool,
    replace: bool,
    /// The words of AUTH.
    login: Vec<&'a [u8]>,
    keys: Vec<&'a [u8]>,
    db: i64,
    timeout: Duration,
}

impl<'a> Options<'a> {
    fn parse(args: &[&'a [u8]]) -> Result<Options<'a>, CmdError> {
        let (mut copy, mut replace, mut login) = (false, false, Vec::new());
        let mut keys = vec![args[3]];
        let mut i = 6;
        while let Some(word) = args.get(i) {
            let rest = &args[i + 1..];
            i += 1 + match (word.to_ascii_lowercase().as_slice(), rest) {
                (b"copy", _) => {
                    copy = true;
                    0
                }
                (b"replace", _) => {
                    replace = true;
                    0
                }
                (b"auth", [password, ..]) => {
                    // A name that AUTH2 has given before stays.
                    login = match login[..] {
                        [auth, user, _] => vec![auth, user, *password],
                        _ => vec![&b"AUTH"[..], *password],
                    };
                    1
                }
                (b"auth2", [user, password, ..]) => {
                    login = vec![b"AUTH", *user, *password];
                    2
                }
                (b"keys", _) if !args[3].is_empty() => {
                    return Err(CmdError::Msg(
                        &"ERR When using MIGRATE KEYS option, the key argument must be set to the empty \
                          string",
                    ));
                }
                (b"keys", rest) => {
                    keys = rest.to_vec();
                    break;
                }
                _ => return Err(CmdError::Syntax),
            };
        }
        let timeout = match integer(args[5])? {
            ms @ 1.. => ms.unsigned_abs(),
            _ => 1000,
        };
        let db = integer(args[4])?;
        Ok(Options { copy, replace, login, keys, db, timeout: Duration::from_millis(timeout) })
    }
}

/// How an attempt has ended.
#[derive(Default)]
struct Attempt {
    /// How many of the keys the target has answered, and which of them it has.
    acked: Vec<usize>,
    /// The first error of the target.
    refused: Option<Vec<u8>>,
    /// The connection is gone: while it was written to (`true`), or read.
    broken: Option<(bool, Broken)>,
}

impl Attempt {
    fn is_worth_another(&self) -> bool {
        let lost = matches!(self.broken, Some((_, Broken::Lost)));
        lost && self.acked.is_empty() && self.refused.is_none()
    }
}

fn migrate(ctx: &mut Ctx<'_>) -> Result<Flow, CmdError> {
    let mut o = Options::parse(ctx.args.slice())?;
    let db = ctx.db;
    o.keys.retain(|k| ctx.srv.ks.read(db, Key::new(k)).is_some());
    if o.keys.is_empty() {
        ctx.out.status("NOKEY");
        return Ok(Flow::Done);
    }
    let mut done = attempt(ctx, &o)?;
    if done.is_worth_another() {
        done = attempt(ctx, &o)?;
    }
    if !o.copy {
        delete(ctx, &o, &done.acked);
    }
    match (done.refused, done.broken) {
        (Some(text), _) => {
            let text = String::from_utf8_lossy(text.get(1..).unwrap_or_default()).into_owned();
            Err(CmdError::text(format!("ERR Target instance replied with error: {text}")))
        }
        (None, Some((true, _))) => {
            Err(CmdError::Msg(&"IOERR error or timeout writing to target instance"))
        }
        (None, Some((false, _))) => {
            Err(CmdError::Msg(&"IOERR error or timeout reading to target instance"))
        }
        (None, None) => {
            ctx.out.ok();
            Ok(Flow::Done)
        }
    }
}

/// Sends all keys once.
fn attempt(ctx: &mut Ctx<'_>, o: &Options<'_>) -> Result<Attempt, CmdError> {
    let (host, port) = (ctx.args[1], ctx.args[2]);
    let mut target = targets::take(ctx.srv, host, port, o.timeout)
        .map_err(|_| CmdError::Msg(&"IOERR error or timeout connecting to the client"))?;
    let selects = target.db != Some(o.db);
    let request = request(ctx, o, selects)?;
    let mut done = Attempt::default();
    for piece in request.chunks(PIECE) {
        if let Err(why) = target.dialogue.write_all(piece, o.timeout) {
            done.broken = Some((true, why));
            return Ok(done);
        }
    }
    drop(request);
    if let Err(why) = read_answers(&mut target, o, selects, &mut done) {
        done.broken = Some((false, why));
        return Ok(done);
    }
    target.db = if done.refused.is_none() { Some(o.db) } else { None };
    targets::put_back(ctx.srv, host, port, target);
    Ok(done)
}

/// One answer for each key. Without login or database none of them has arrived.
fn read_answers(
    target: &mut Target,
    o: &Options<'_>,
    selects: bool,
    done: &mut Attempt,
) -> Result<(), Broken> {
    let mut refused = None;
    for _ in 0..usize::from(!o.login.is_empty()) + usize::from(selects) {
        let line = target.dialogue.line(o.timeout)?;
        if line.starts_with(b"-") {
            refused.get_or_insert(line);
        }
    }
    for i in 0..o.keys.len() {
        let line = target.dialogue.line(o.timeout)?;
        if refused.is_some() {
            done.refused = refused.clone();
        } else if line.starts_with(b"-") {
            done.refused.get_or_insert(line);
        } else {
            done.acked.push(i);
        }
    }
    Ok(())
}

/// The bytes of one attempt.
fn request(ctx: &Ctx<'_>, o: &Options<'_>, selects: bool) -> Result<Vec<u8>, CmdError> {
    let mut bytes = Vec::new();
    if !o.login.is_empty() {
        push_command(&mut bytes, &o.login);
    }
    let mut digits = itoa::Buffer::new();
    if selects {
        push_command(&mut bytes, &[b"SELECT", digits.format(o.db).as_bytes()]);
    }
    let name: &[u8] = if ctx.srv.config.cluster_enabled { b"RESTORE-ASKING" } else { b"RESTORE" };
    let compress = ctx.srv.config.rdbcompression;
    for key in &o.keys {
        let found = ctx.srv.ks.find_as_is(ctx.db, Key::new(key));
        let entry = ctx.srv.ks.at(&found.expect("it was here before, and no command has run since"));
        let ttl = entry.when().map_or(0, |when| when.saturating_sub(ctx.now_ms()).max(1));
        let dump = payload(entry, compress).map_err(|e| CmdError::text(format!("ERR {e}")))?;
        let words: [&[u8]; 5] = [name, key, digits.format(ttl).as_bytes(), &dump, b"REPLACE"];
        push_command(&mut bytes, &words[..4 + usize::from(o.replace)]);
    }
    Ok(bytes)
}

/// The target has these keys: they leave, as one DEL.
fn delete(ctx: &mut Ctx<'_>, o: &Options<'_>, acked: &[usize]) {
    let mut words: Vec<&[u8]> = vec![b"DEL"];
    for i in acked {
        let key = o.keys[*i];
        // A key that was named twice has left already.
        if let Some(t) = ctx.srv.ks.delete(ctx.db, Key::new(key), false) {
            ctx.announce(&t, class::GENERIC, "del");
            ctx.srv.ks.dirty += 1;
            words.push(key);
        }
    }
    if words.len() > 1 {
        ctx.instead(&words);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(line: &str) -> Vec<&[u8]> {
        line.split(' ').map(str::as_bytes).collect()
    }

    #[test]
    fn secrets_are_found_where_they_stand() {
        let of = |line: &str| secrets(&words(line));
        assert_eq!(of("migrate h p k 0 10 copy auth pw replace"), [8]);
        assert_eq!(of("migrate h p k 0 10 AUTH2 user pw"), [7, 8]);
        assert_eq!(of("migrate h p k 0 10 auth2 user"), [7]);
        assert!(of("migrate h p  0 10 keys auth pw").is_empty());
        assert!(of("migrate h p k 0 10 auth").is_empty());
    }

    #[test]
    fn options_are_read_in_any_order() {
        let line = words("migrate h p  3 0 replace auth2 u old auth pw copy keys keys b");
        let o = Options::parse(&line).unwrap_or_else(|e| panic!("{}", e.as_str()));
        assert!(o.copy && o.replace);
        assert_eq!((o.login, o.keys), (words("AUTH u pw"), words("keys b")));
        assert_eq!((o.db, o.timeout.as_millis()), (3, 1000));
        for wrong in ["migrate h p k 0 10 keys a", "migrate h p k 0 10 auth", "migrate h p k x 10"] {
            assert!(Options::parse(&words(wrong)).is_err(), "{wrong}");
        }
    }

    #[test]
    fn only_a_connection_that_was_lost_in_silence_is_tried_again() {
        let lost = |broken| Attempt { broken, ..Attempt::default() };
        assert!(lost(Some((true, Broken::Lost))).is_worth_another());
        assert!(!lost(Some((false, Broken::TimedOut))).is_worth_another());
        assert!(!lost(None).is_worth_another());
        let half = Attempt { acked: vec![0], ..lost(Some((false, Broken::Lost))) };
        assert!(!half.is_worth_another());
    }
}
