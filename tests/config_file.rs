//! Holds `redis.conf`, the table of directives and the answers of CONFIG GET against each other.
//!
//! In the file a directive stands either as a line with its default, or, when it is unset by default, as
//! an example: `#name value`, without a blank behind the `#`, which tells it from prose.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use oxidis::config::absent::{ABSENT, UNREAD};
use oxidis::config::getset::{get, lookup, names};
use oxidis::config::kinds::DirectiveKind;
use oxidis::config::load::{LoadError, Sources, Startup, load};
use oxidis::config::rewrite::{RewriteOptions, render};
use oxidis::config::row::{DirectiveRow, HIDDEN};
use oxidis::config::{Config, rows};

/// Directives that are no values, so the table has no row for them.
const NO_VALUES: [&str; 4] = ["include", "loadmodule", "user", "rename-command"];

fn path() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/redis.conf"))
}

fn file() -> String {
    std::fs::read_to_string(path()).expect("redis.conf stands beside Cargo.toml")
}

/// The lines of the file that set something, and those that only show how.
fn lines(file: &str) -> (Vec<&str>, Vec<&str>) {
    let set = file.lines().filter(|line| !line.is_empty() && !line.starts_with('#')).collect();
    let example = |line: &&str| line.starts_with(|first: char| first.is_ascii_lowercase());
    let shown = file.lines().filter_map(|line| line.strip_prefix('#')).filter(example).collect();
    (set, shown)
}

fn name_of(line: &str) -> &str {
    line.split(' ').next().expect("split gives at least one part")
}

fn parse(text: &str) -> Result<(Config, Startup), String> {
    let mut config = Config::default();
    let sources = Sources { file: None, stdin: None, options: text.as_bytes(), sentinel_mode: false };
    let fault = |error: LoadError| String::from_utf8_lossy(&error.text()).into_owned();
    load(&mut config, sources).map(|startup| (config, startup)).map_err(fault)
}

/// A directive that is unset by default has nothing to write into the file.
fn is_unset(row: &DirectiveRow) -> bool {
    matches!(row.kind, DirectiveKind::Maybe { .. }) || row.name == "replicaof"
}

#[test]
fn every_directive_is_in_the_file() {
    let file = file();
    let (set, shown) = lines(&file);
    let set: BTreeSet<&str> = set.into_iter().map(name_of).collect();
    let shown: BTreeSet<&str> = shown.into_iter().map(name_of).collect();
    for row in rows() {
        let here = if is_unset(row) { &shown } else { &set };
        assert!(here.contains(row.name), "redis.conf does not have {}", row.name);
    }
    for name in NO_VALUES {
        assert!(shown.contains(name), "redis.conf does not show {name}");
    }
    for name in set.union(&shown) {
        let known = rows().any(|row| row.name == *name) || NO_VALUES.contains(name);
        assert!(known, "redis.conf has {name}, which is no directive's first name");
    }
}

#[test]
fn every_alias_is_mentioned() {
    let file = file();
    for named in names().filter(|named| named.name != named.row.name) {
        let told = file.contains(named.name) || named.name.contains("-ziplist-");
        assert!(told, "redis.conf does not mention {}", named.name);
    }
}

/// What the file says: the defaults, but that it keeps to this machine.
fn expected() -> Config {
    Config { bind: vec![b"127.0.0.1".to_vec(), b"-::1".to_vec()], ..Config::default() }
}

#[test]
fn the_file_holds_the_defaults() {
    let (config, startup) = parse(&file()).unwrap_or_else(|text| panic!("{text}"));
    assert_eq!(config, expected());
    assert_eq!(startup, Startup::default());
    // Line by line too: a wrong value must not hide behind a right one further down.
    let file = file();
    for line in lines(&file).0 {
        let row = lookup(name_of(line).as_bytes()).expect("checked above").row;
        let (config, _) = parse(line).unwrap_or_else(|text| panic!("{text}"));
        match row.name {
            "save" => assert_eq!(row.kind.get(&config), row.kind.get(&Config::default())),
            "bind" => assert_eq!(config, expected()),
            _ => assert_eq!(config, Config::default(), "{line}"),
        }
    }
}

#[test]
fn every_example_can_be_used() {
    let file = file();
    let (_, shown) = lines(&file);
    assert!(shown.len() > 20);
    for line in shown.iter().filter(|line| name_of(line) != "include") {
        let (config, startup) = parse(line).unwrap_or_else(|text| panic!("{text}"));
        let is_used = config != Config::default() || startup != Startup::default();
        assert!(is_used, "the example changes nothing: {line}");
    }
}

#[test]
fn get_shows_what_the_file_says() {
    let (config, _) = parse(&file()).unwrap_or_else(|text| panic!("{text}"));
    let shown: BTreeMap<Vec<u8>, Vec<u8>> = get(&config, &[b"*"]).into_iter().collect();
    let visible: Vec<_> = names().filter(|named| !named.row.has(HIDDEN)).collect();
    assert_eq!(shown.len(), visible.len());
    let default = expected();
    for named in visible {
        let value = shown.get(named.name.as_bytes());
        assert_eq!(value, Some(&named.row.kind.get(&default)), "{}", named.name);
    }
}

#[test]
fn a_rewrite_keeps_the_prose() {
    let old = file();
    let config = Config { port: 7000, ..expected() };
    let text = render(&config, old.as_bytes(), RewriteOptions::default(), |_| false, |_| {});
    let text = String::from_utf8(text).expect("UTF-8");
    let comments = |text: &str| {
        let comment = |line: &&str| line.starts_with('#');
        text.lines().filter(comment).map(str::to_owned).collect::<Vec<_>>()
    };
    let mut expected = comments(&old);
    // The save points come on one line in the file, and are written one a line.
    expected.push("# Generated by CONFIG REWRITE".into());
    assert_eq!(comments(&text), expected);
    assert!(text.contains("\nport 7000\n"));
    assert_eq!(parse(&text).map(|(config, _)| config), Ok(config));
}

/// The source outside of the table of directives, without tests and comments: what reads a field there
/// follows the directive.
fn readers() -> String {
    fn add(folder: &Path, text: &mut String) {
        for entry in std::fs::read_dir(folder).expect("a folder of the source") {
            let path = entry.expect("an entry").path();
            let in_table = folder.ends_with("src/config")
                && !path.ends_with("getset.rs")
                && !path.ends_with("load.rs");
            if path.is_dir() {
                add(&path, text);
            } else if path.extension().is_some_and(|end| end == "rs") && !in_table {
                let file = std::fs::read_to_string(&path).expect("UTF-8");
                let code = file.split("#[cfg(test)]").next().expect("at least one part");
                for line in code.lines().map(|line| line.split("//").next().expect("one part").trim()) {
                    // A long chain of fields stands on several lines.
                    if !line.starts_with('.') {
                        text.push('\n');
                    }
                    text.push_str(line);
                }
            }
        }
    }
    let mut text = String::new();
    add(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"), &mut text);
    text
}

/// The code names a configuration `config` or `c`.
fn reads(source: &str, field: &str) -> bool {
    let in_word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    [format!("config.{field}"), format!("c.{field}")].iter().any(|path| {
        source.match_indices(path.as_str()).any(|(at, _)| {
            let (before, after) = (&source[..at], &source[at + path.len()..]);
            !before.ends_with(in_word) && !after.starts_with(in_word)
        })
    })
}

#[test]
fn every_directive_is_followed_or_accounted_for() {
    let source = readers();
    let mut unread: BTreeSet<&str> = UNREAD.iter().flat_map(|(names, _)| *names).copied().collect();
    for row in rows().filter(|row| row.name != "dir") {
        let is_read = reads(&source, row.kind.field());
        if unread.remove(row.name) {
            assert!(!is_read, "{} is read: its entry in UNREAD goes", row.name);
        } else {
            let is_absent = ABSENT.iter().any(|absent| absent.name == row.name);
            assert!(is_read || is_absent, "{} is accepted, and nothing follows it", row.name);
        }
    }
    assert!(unread.is_empty(), "no directives: {unread:?}");
    assert!(reads("a c.port;", "port") && !reads("c.ports xc.port", "port"));
}
