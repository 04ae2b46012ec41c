//! redis-check-rdb: reads a snapshot as a server would, in depth, and tells what it met.

use super::say;
use crate::object::Limits;
use crate::persist::rdb::kind;
use crate::persist::rdb::load::{Checks, Item, Loader, Place, UNKNOWN_TYPE};
use crate::sys::clock::unix_ms;
use crate::sys::errno;
use std::borrow::Cow;
use std::ffi::OsStr;
use std::io::Write;
use std::os::unix::ffi::OsStrExt;

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
    match std::fs::read(OsStr::from_bytes(file)) {
        Ok(bytes) => i32::from(check(&String::from_utf8_lossy(file), &bytes, out).is_none()),
        Err(e) => {
            say!(out, "Cannot open file {}: {}", String::from_utf8_lossy(file), errno::text(&e));
            1
        }
    }
}

/// Checks a snapshot at the beginning of `bytes`; how long it is, when it is sound.
pub fn check(name: &str, bytes: &[u8], out: &mut dyn Write) -> Option<usize> {
    say!(out, "[offset 0] Checking RDB file {name}");
    let mut seen = Seen::default();
    let mut at = 0;
    let checks = Checks { checksum: true, deep: true };
    let loader = Loader::new(bytes, Limits::default(), checks).map_err(|why| (why, Place::start()));
    let end = loader.and_then(|mut loader| {
        let end = walk(bytes, &mut loader, &mut seen, &mut at, out);
        end.map_err(|why| (why, loader.into_place()))
    });
    match &end {
        Ok(at) => say!(out, "[offset {at}] \\o/ RDB looks OK! \\o/"),
        Err((why, place)) => {
            say!(out, "--- RDB ERROR DETECTED ---");
            say!(out, "[offset {at}] {}", as_upstream(why));
            tell(place, why.starts_with(UNKNOWN_TYPE), out);
            seen.keys += u64::from(place.key.is_some());
        }
    }
    say!(out, "[info] {} keys read", seen.keys);
    say!(out, "[info] {} expires", seen.expires);
    say!(out, "[info] {} already expired", seen.expired);
    end.ok()
}

/// Where it went wrong. A key of no known type is not looked at.
fn tell(place: &Place<'_>, unknown: bool, out: &mut dyn Write) {
    say!(out, "[additional info] While doing: {}", place.doing);
    if let Some(key) = &place.key {
        say!(out, "[additional info] Reading key '{}'", String::from_utf8_lossy(key));
    }
    if let Some(t) = place.kind.filter(|_| !unknown) {
        let name = kind::NAMES.get(usize::from(t)).unwrap_or(&"unknown");
        say!(out, "[additional info] Reading type {t} ({name})");
    }
}

fn walk(
    bytes: &[u8],
    loader: &mut Loader<'_>,
    seen: &mut Seen,
    at: &mut usize,
    out: &mut dyn Write,
) -> Result<usize, String> {
    let now = unix_ms();
    loop {
        let item = loader.next_item();
        *at = loader.at();
        match item? {
            None => break,
            Some(Item::SelectDb(n)) => say!(out, "[offset {at}] Selecting DB ID {n}"),
            Some(Item::Aux { name, value }) => say!(
                out,
                "[offset {at}] AUX FIELD {} = '{}'",
                String::from_utf8_lossy(&name),
                String::from_utf8_lossy(&value)
            ),
            Some(Item::Key { when, .. }) => {
                seen.keys += 1;
                seen.expires += u64::from(when.is_some());
                seen.expired += u64::from(when.is_some_and(|w| w < now));
            }
            Some(Item::Empty { name }) => {
                return Err(format!("The value of key '{}' is empty", String::from_utf8_lossy(&name)));
            }
            Some(_) => {}
        }
    }
    // The checksum is the last thing that was read.
    let sum = at.checked_sub(8).and_then(|from| bytes.get(from..*at));
    if sum.is_some_and(|s| s.iter().all(|b| *b == 0)) {
        say!(out, "[offset {at}] RDB file was saved with checksum disabled: no check performed.");
    } else {
        say!(out, "[offset {at}] Checksum OK");
    }
    Ok(*at)
}

/// Some failures have other words here than in a server's log.
fn as_upstream(why: &str) -> Cow<'_, str> {
    if why.starts_with("Wrong RDB checksum") {
        "RDB CRC error".into()
    } else if let Some(t) = why.strip_prefix(UNKNOWN_TYPE) {
        format!("Invalid object type:{t}").into()
    } else {
        why.into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keyspace::Keyspace;
    use crate::keyspace::store::{New, Ttl};
    use crate::persist::rdb::save::{SaveOptions, UsageSaved, save};
    use crate::proto::args::Key;

    fn snapshot(checksum: bool) -> Vec<u8> {
        let mut ks = Keyspace::new(2);
        let _ = ks.put(1, Key::new(b"a"), New::Bytes(b"text"), Ttl::At(5), None);
        let _ = ks.put(1, Key::new(b"b"), New::Int(7), Ttl::Clear, None);
        let aux = vec![("redis-ver", "7.2.6".to_string())];
        let o = SaveOptions { compress: true, checksum, told: UsageSaved::Nothing, aux };
        let mut bytes = Vec::new();
        save(&ks, &o, &mut bytes, |_| Ok(())).expect("memory takes it");
        bytes
    }

    fn checked(bytes: &[u8]) -> (Option<usize>, String) {
        let mut out = Vec::new();
        let end = check("x.rdb", bytes, &mut out);
        (end, String::from_utf8(out).expect("text"))
    }

    #[test]
    fn a_sound_file_is_told_with_its_figures() {
        let bytes = snapshot(true);
        let (end, text) = checked(&[&bytes[..], b"*1\r\n"].concat());
        assert_eq!(end, Some(bytes.len()), "what follows is none of it");
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
