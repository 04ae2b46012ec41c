//! redis-check-rdb: reads a snapshot as a server would, in depth, and tells what it met.

use super::say;
use crate::object::Limits;
use crate::persist::rdb::load::{Checks, Item, Loader};
use crate::sys::clock::unix_ms;
use crate::sys::errno;
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
    let end = walk(bytes, &mut seen, &mut at, out);
    match &end {
        Ok(at) => say!(out, "[offset {at}] \\o/ RDB looks OK! \\o/"),
        Err(why) => {
            say!(out, "--- RDB ERROR DETECTED ---");
            say!(out, "[offset {at}] {why}");
        }
    }
    say!(out, "[info] {} keys read", seen.keys);
    say!(out, "[info] {} expires", seen.expires);
    say!(out, "[info] {} already expired", seen.expired);
    end.ok()
}

fn walk(bytes: &[u8], seen: &mut Seen, at: &mut usize, out: &mut dyn Write) -> Result<usize, String> {
    let checks = Checks { checksum: true, deep: true };
    let mut loader = Loader::new(bytes, Limits::default(), checks)?;
    let now = unix_ms();
    loop {
        let item = loader.next_item();
        *at = loader.at();
        match item.map_err(as_upstream)? {
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

/// Tools know these two by their words.
fn as_upstream(why: String) -> String {
    if why.starts_with("Wrong RDB checksum") {
        "RDB CRC error".into()
    } else if why.contains("the bytes end") || why.contains("past the end") {
        format!("Unexpected EOF reading RDB file ({why})")
    } else {
        why
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keyspace::Keyspace;
    use crate::keyspace::store::{New, Ttl};
    use crate::persist::rdb::save::{Options, Told, save};
    use crate::proto::args::Key;

    fn snapshot(checksum: bool) -> Vec<u8> {
        let mut ks = Keyspace::new(2);
        let _ = ks.put(1, Key::new(b"a"), New::Bytes(b"text"), Ttl::At(5), None);
        let _ = ks.put(1, Key::new(b"b"), New::Int(7), Ttl::Clear, None);
        let aux = vec![("redis-ver", "7.2.6".to_string())];
        let (mut bytes, o) =
            (Vec::new(), Options { compress: true, checksum, told: Told::Nothing, aux });
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
        }
        let mut wrong = bytes.clone();
        let last = wrong.len() - 1;
        wrong[last] ^= 1;
        assert!(checked(&wrong).1.contains("RDB CRC error"));
    }
}
