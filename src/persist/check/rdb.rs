//! redis-check-rdb: reads a snapshot as a server would, in depth, and tells what it met.

use super::say;
use crate::object::ValueLimits;
use crate::persist::rdb::error::Error;
use crate::persist::rdb::kind;
use crate::persist::rdb::load::{Checks, LoadPosition, Loader, RdbItem};
use crate::persist::rdb::source::{Source, Window};
use crate::sys::clock::unix_ms;
use crate::sys::errno;
use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

#[derive(Default)]
struct Seen {
    keys: u64,
    expires: u64,
    expired: u64,
}

/// The program; returns its exit code.
pub fn main(args: &[Vec<u8>], version: &str, out: &mut dyn Write) -> i32 {
    let [program, file] = args else {
        let program = args.first().map_or(b"redis-check-rdb".as_slice(), |a| a);
        say!(out, "Usage: {} <rdb-file-name>", String::from_utf8_lossy(program));
        return 1;
    };
    debug_assert!(!program.is_empty());
    if file == b"-v" || file == b"--version" {
        say!(out, "redis-check-rdb {version}");
        return 0;
    }
    match open(Path::new(OsStr::from_bytes(file))) {
        Ok(source) => i32::from(check(&String::from_utf8_lossy(file), source, out).is_none()),
        Err(e) => {
            say!(out, "Cannot open file {}: {}", String::from_utf8_lossy(file), errno::text(&e));
            1
        }
    }
}

/// A snapshot, or a log that begins with one.
pub fn open(path: &Path) -> io::Result<Window<File>> {
    let file = File::open(path)?;
    let total = file.metadata()?.len();
    Ok(Window::new(file, total, true))
}

/// Checks a snapshot at the beginning of a source; how long it is, when it is sound.
pub fn check(name: &str, source: impl Source, out: &mut dyn Write) -> Option<u64> {
    say!(out, "[offset 0] Checking RDB file {name}");
    let mut seen = Seen::default();
    let mut at = 0;
    let checks = Checks { checksum: true, deep: true };
    let loader =
        Loader::new(source, ValueLimits::default(), checks).map_err(|why| (why, LoadPosition::start()));
    let end = loader.and_then(|mut loader| {
        let end = walk(&mut loader, &mut seen, &mut at, out);
        end.map_err(|why| (why, loader.place().clone()))
    });
    match &end {
        Ok(()) => say!(out, "[offset {at}] \\o/ RDB looks OK! \\o/"),
        Err((why, place)) => {
            say!(out, "--- RDB ERROR DETECTED ---");
            say!(out, "[offset {at}] {}", as_upstream(why));
            tell(place, matches!(why, Error::Type(_)), out);
            seen.keys += u64::from(place.key.is_some());
        }
    }
    say!(out, "[info] {} keys read", seen.keys);
    say!(out, "[info] {} expires", seen.expires);
    say!(out, "[info] {} already expired", seen.expired);
    end.is_ok().then_some(at)
}

/// Where it went wrong. A key of no known type is not looked at.
fn tell(place: &LoadPosition, unknown: bool, out: &mut dyn Write) {
    say!(out, "[additional info] While doing: {}", place.doing);
    if let Some(key) = &place.key {
        say!(out, "[additional info] Reading key '{}'", String::from_utf8_lossy(key));
    }
    if let Some(t) = place.kind.filter(|_| !unknown) {
        let name = kind::NAMES.get(usize::from(t)).unwrap_or(&"unknown");
        say!(out, "[additional info] Reading type {t} ({name})");
    }
}

fn walk<S: Source>(
    loader: &mut Loader<S>,
    seen: &mut Seen,
    at: &mut u64,
    out: &mut dyn Write,
) -> Result<(), Error> {
    let now = unix_ms();
    loop {
        let line = match loader.next_item() {
            Ok(None) => break,
            Ok(Some(RdbItem::SelectDb(n))) => Ok(format!("Selecting DB ID {n}")),
            Ok(Some(RdbItem::Aux { name, value })) => Ok(format!(
                "AUX FIELD {} = '{}'",
                String::from_utf8_lossy(&name),
                String::from_utf8_lossy(&value)
            )),
            Ok(Some(RdbItem::Key { when, .. })) => {
                seen.keys += 1;
                seen.expires += u64::from(when.is_some());
                seen.expired += u64::from(when.is_some_and(|w| w < now));
                Ok(String::new())
            }
            Ok(Some(RdbItem::Empty { name })) => {
                Err(format!("The value of key '{}' is empty", String::from_utf8_lossy(name)).into())
            }
            Ok(Some(_)) => Ok(String::new()),
            Err(why) => Err(why),
        };
        *at = loader.at();
        let line = line?;
        if !line.is_empty() {
            say!(out, "[offset {at}] {line}");
        }
    }
    *at = loader.at();
    if loader.unsummed {
        say!(out, "[offset {at}] RDB file was saved with checksum disabled: no check performed.");
    } else {
        say!(out, "[offset {at}] Checksum OK");
    }
    Ok(())
}

/// Some failures have other words here than in a server's log.
fn as_upstream(why: &Error) -> String {
    match why {
        Error::Checksum { .. } => "RDB CRC error".into(),
        Error::Type(t) => format!("Invalid object type: {t}"),
        Error::PreRelease(version) => format!("Pre-release function format not supported {version}"),
        why => why.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keyspace::Keyspace;
    use crate::keyspace::store::{New, Ttl};
    use crate::persist::rdb::save::{SaveOptions, UsageSaved, save};
    use crate::persist::rdb::source::Memory;
    use crate::proto::args::Key;

    fn snapshot(checksum: bool) -> Vec<u8> {
        let mut ks = Keyspace::new(2);
        let _ = ks.put(1, Key::new(b"a"), New::Bytes(b"text"), Ttl::At(5), None);
        let _ = ks.put(1, Key::new(b"b"), New::Int(7), Ttl::Clear, None);
        let aux = vec![("redis-ver", "7.2.6".to_string())];
        let o = SaveOptions { compress: true, checksum, usage: UsageSaved::Nothing, aux };
        let mut bytes = Vec::new();
        save(&ks, &[b"code"], &o, &mut bytes, |_| Ok(())).expect("memory takes it");
        bytes
    }

    fn checked(bytes: &[u8]) -> (Option<u64>, String) {
        let mut out = Vec::new();
        let end = check("x.rdb", Memory::new(bytes), &mut out);
        (end, String::from_utf8(out).expect("text"))
    }

    #[test]
    fn a_sound_file_is_told_with_its_figures() {
        let bytes = snapshot(true);
        let (end, text) = checked(&[&bytes[..], b"*1\r\n"].concat());
        assert_eq!(end, Some(bytes.len() as u64), "what follows is none of it");
        for mark in [
            "Checking RDB file x.rdb",
            "AUX FIELD redis-ver = '7.2.6'",
            "Selecting DB ID 1",
            "Checksum OK",
            "RDB looks OK!",
            "[info] 2 keys read",
            "[info] 1 expires",
            "[info] 1 already expired",
        ] {
            assert!(text.contains(mark), "{mark} in {text}");
        }
        assert!(checked(&snapshot(false)).1.contains("saved with checksum disabled"));
    }

    #[test]
    fn every_broken_one_is_refused() {
        let bytes = snapshot(true);
        for cut in 0..bytes.len() {
            let (end, text) = checked(&bytes[..cut]);
            assert!(end.is_none() && text.contains("--- RDB ERROR DETECTED ---"), "cut at {cut}");
            assert!(text.contains("] Unexpected EOF reading RDB file\n"), "cut at {cut}: {text}");
        }
        let mut wrong = bytes.clone();
        let last = wrong.len() - 1;
        wrong[last] ^= 1;
        let text = checked(&wrong).1;
        assert!(text.contains("RDB CRC error\n[additional info] While doing: check-sum\n"), "{text}");
    }

    #[test]
    fn a_failure_is_told_with_what_was_being_read() {
        let after = |bytes: &[u8]| {
            let (end, text) = checked(&[b"REDIS0011", bytes].concat());
            assert_eq!(end, None);
            text.split_once("DETECTED ---\n").expect("an error").1.to_owned()
        };
        let figures =
            |keys: u8| format!("[info] {keys} keys read\n[info] 0 expires\n[info] 0 already expired\n");
        // A string, then a set of which a member comes twice.
        let twice = after(b"\x00\x01a\x01b\x02\x02k1\x02\x01m\x01m");
        let told = "[offset 23] Duplicate set members detected\n\
                    [additional info] While doing: read-object-value\n\
                    [additional info] Reading key 'k1'\n\
                    [additional info] Reading type 2 (set-hashtable)\n";
        assert_eq!(twice, format!("{told}{}", figures(2)));
        let unknown = after(b"\x00\x01a\x01b\x63\x02k1\x02\x01m");
        let told = "[offset 15] Invalid object type: 99\n[additional info] While doing: read-type\n";
        assert_eq!(unknown, format!("{told}{}", figures(1)));
        let cut = after(b"\xfe");
        let told = "[offset 10] Unexpected EOF reading RDB file\n\
                    [additional info] While doing: read-len\n\
                    [additional info] Reading type 0 (string)\n";
        assert_eq!(cut, format!("{told}{}", figures(0)));
    }
}
