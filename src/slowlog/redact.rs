//! Which arguments hold secrets and are shown as `(redacted)`, by the slow log and by MONITOR.

use crate::config::getset::is_sensitive;

pub const REDACTED: &[u8] = b"(redacted)";

/// The arguments of a call of the command with this full name, secrets replaced. None where there are none.
pub fn redacted<'a>(name: &str, args: &[&'a [u8]]) -> Option<Vec<&'a [u8]>> {
    let secret = secrets(name, args);
    if secret.is_empty() {
        return None;
    }
    let shown = |(i, arg): (usize, &&'a [u8])| if secret.contains(&i) { REDACTED } else { *arg };
    Some(args.iter().enumerate().map(shown).collect())
}

/// Places of secrets.
fn secrets(name: &str, args: &[&[u8]]) -> Vec<usize> {
    let n = args.len();
    match name {
        "auth" => (1..n.min(3)).collect(),
        "acl|setuser" => (2..n).collect(),
        "config|set" => (2..n).step_by(2).filter(|i| is_sensitive(args[*i])).map(|i| i + 1).collect(),
        "hello" => behind(args, 2, b"auth", 2),
        "migrate" => [behind(args, 6, b"auth", 1), behind(args, 6, b"auth2", 2)].concat(),
        _ => Vec::new(),
    }
}

/// The `count` arguments behind `word`, which is looked for from argument `from` on.
fn behind(args: &[&[u8]], from: usize, word: &[u8], count: usize) -> Vec<usize> {
    let found = args.iter().skip(from).position(|a| a.eq_ignore_ascii_case(word));
    found.map_or_else(Vec::new, |i| (from + i + 1..args.len().min(from + i + 1 + count)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_covered() {
        let shown = |name: &str, line: &str| -> String {
            let args: Vec<&[u8]> = line.split(' ').map(str::as_bytes).collect();
            let args = redacted(name, &args).unwrap_or(args);
            String::from_utf8(args.join(&b' ')).expect("was text")
        };
        assert_eq!(shown("auth", "auth a b"), "auth (redacted) (redacted)");
        assert_eq!(shown("acl|setuser", "acl setuser u >p"), "acl setuser (redacted) (redacted)");
        let line = "config set port 1 masterauth x";
        assert_eq!(shown("config|set", line), "config set port 1 masterauth (redacted)");
        assert_eq!(
            shown("hello", "hello 3 AUTH u p setname n"),
            "hello 3 AUTH (redacted) (redacted) setname n"
        );
        let line = "migrate h p k 0 1 auth x keys a";
        assert_eq!(shown("migrate", line), "migrate h p k 0 1 auth (redacted) keys a");
        assert_eq!(
            shown("migrate", "migrate h p k 0 1 auth2 u x"),
            "migrate h p k 0 1 auth2 (redacted) (redacted)"
        );
        assert_eq!(shown("get", "get auth"), "get auth");
        assert_eq!(shown("config|set", "config set masterauth"), "config set masterauth");
    }
}
