//! The style of the source, as a test and a ratchet: what a reader was promised, proven on every run.
//!
//! ```text
//!   bytes of a file ──code()──> the same text with comments and literals blanked out, byte for byte
//!        │                        │
//!        │                        ├─ bands         crate:: paths point to the own band or a lower one
//!        │                        ├─ functions     at most 70 lines
//!        │                        ├─ unsafe_code   only in the files that may, each block with SAFETY
//!        │                        └─ banned        words that have a better replacement
//!        ├─ sizes                 files of at most 1,000 lines, lines of at most 110 columns
//!        ├─ circles               no folder of src/ reaches, over others, back to itself
//!        ├─ unused                public items whose name occurs nowhere else
//!        ├─ comments()            no thing of src/ without its name, no broken rulers
//!        └─ paths                 no folder of a developer's machine
//!   mod declarations ──> reach()  files nobody uses; which files are only compiled for tests
//! ```
//!
//! A rule is a function from text to a list of complaints, so that each has a test of its own, with a
//! few lines that must and must not offend it. `the_house_is_tidy` runs them all over the repository.
//!
//! An exception is a line in one of the tables below, with its reason. An exception that is no longer
//! needed is a complaint too: the tables only shrink. Plain text is enough for all of this: no macro in
//! this house produces modules, functions with bodies of their own or unsafe blocks.

mod comments;
mod text;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::{fs, ops::Range};
use text::{bracketed, code, ident_at, is_word, item_head_end, line_of, words};

const FILE_LINES: usize = 1000;
const FN_LINES: usize = 70;
const COLUMNS: usize = 110;

const BANDS: [&[&str]; 3] = [
    &["algo", "ds", "sys", "net", "proto", "object", "keyspace", "persist"],
    &[
        "config",
        "cmd",
        "clients",
        "acl",
        "pubsub",
        "tracking",
        "blocked",
        "multi",
        "slowlog",
        "latency",
        "stats",
        "monitor",
        "lazyfree",
        "bio",
        "jobs",
        "replication",
        "cluster",
        "sentinel",
    ],
    &["server", "commands", "scripting", "modules"],
];

/// Where `unsafe` may stand: files, or folders with their slash.
const UNSAFE_FILES: &[&str] = &[
    "src/ds/",
    "src/sys/",
    "src/object/value.rs",
    "src/proto/args.rs",
    "src/scripting/ffi/",
    "src/server/lend.rs",
    "src/modules/",
];

/// (file, what it may reach, reason): paths up the bands.
const BAND_EXCEPTIONS: &[(&str, &str, &str)] = &[];
/// (file, lines it may have, reason).
const FILE_EXCEPTIONS: &[(&str, usize, &str)] = &[];
/// (folder, folder it reaches, reason): an arrow that may close a circle.
const CIRCLE_EXCEPTIONS: &[(&str, &str, &str)] = &[];
/// (file or folder, reason): public names that nothing uses yet.
const UNUSED_EXCEPTIONS: &[(&str, &str)] =
    &[("src/cmd/docs/", "facts of 7.2 about commands whose rows are still to come")];
/// (file, function, lines it may have, reason).
const FN_EXCEPTIONS: &[(&str, &str, usize, &str)] = &[];
/// (file, reason): lines may be longer than the cap.
const COLUMN_EXCEPTIONS: &[(&str, &str)] = &[];
/// (file, word, reason): a banned word that is right there.
const BANNED_EXCEPTIONS: &[(&str, &str, &str)] = &[
    ("src/sys/proctitle.rs", "static mut", "libc's environ, declared as libc declares it"),
    ("src/server/boot.rs", "eprint!", "a bad command line or file, before there is a log"),
    ("src/server/boot.rs", "println!", "--version and --help answer on standard output"),
    ("src/server/boot.rs", "eprintln!", "the log file itself cannot be opened"),
];

/// A word that must not stand in code, and what to write instead.
struct Ban {
    word: &'static str,
    instead: &'static str,
    /// Also in code that is compiled for tests only, and in `tests/`.
    in_tests: bool,
    /// Files or folders where the word is right, as everybody must know.
    except: &'static [&'static str],
}

const BANNED: &[Ban] = &[
    ban("dbg!", "log::debug!, or nothing", true, &[]),
    ban("todo!", "the code; what is not built yet has no row", true, &[]),
    ban("unimplemented!", "the code; what is not built yet has no row", true, &[]),
    ban(".unwrap()", "expect(\"why it holds\"), or ?", false, &[]),
    ban("static mut", "a field of the struct that owns it", true, &[]),
    ban("#[path", "the folder where `mod` looks by itself", true, &[]),
    ban("RefCell", "one owner and &mut", false, &[]),
    ban("Rc", "one owner, an index, or Arc across threads", false, &[]),
    ban("Instant::now", "sys::clock", false, &["src/sys/"]),
    ban("SystemTime::now", "sys::clock", false, &["src/sys/"]),
    ban("println!", "log, or the reply", false, &["src/main.rs", "src/sys/"]),
    ban("eprintln!", "log, or the reply", false, &["src/main.rs", "src/sys/"]),
    ban("print!", "log, or the reply", false, &["src/main.rs", "src/sys/"]),
    ban("eprint!", "log, or the reply", false, &["src/main.rs", "src/sys/"]),
];

/// What stands on paths that delete, truncate, overwrite or open a door: a read or a parse that failed is
/// an answer of its own there, and never an ordinary value.
const DOUBT_FILES: &[&str] = &[
    "src/persist/",
    "src/server/aof.rs",
    "src/server/aof_load.rs",
    "src/server/child.rs",
    "src/server/disk.rs",
    "src/server/jobs.rs",
    "src/server/loading.rs",
    "src/server/rewrite.rs",
    "src/server/boot.rs",
    "src/server/shutdown.rs",
    "src/config/load.rs",
    "src/config/rewrite.rs",
    "src/bio/",
    "src/sys/fsx.rs",
    "src/sys/glob.rs",
];
const DOUBT_WORDS: &[&str] = &["let _ =", ".ok()", ".unwrap_or_default()", ".exists()"];
/// (file, what stands in the line, reason).
const DOUBT_EXCEPTIONS: &[(&str, &str, &str)] = &[
    ("src/persist/check/mod.rs", "writeln!(out", "a check that is not heard is a check all the same"),
    ("src/persist/check/aof.rs", "Continue? [y/N]", "without an answer nothing is cut"),
    ("src/server/child.rs", "cpu::bind(", "the child works on any processor"),
    ("src/server/child.rs", "process::kill(", "one that has ended is waited for all the same"),
    ("src/server/boot.rs", "cpu::bind(", "the server works on any processor"),
    ("src/server/boot.rs", "args.get(1..)", "no arguments are none"),
    ("src/server/boot.rs", "open_log(&config)", "the start ends there; the line is printed, too"),
    ("src/server/aof_load.rs", "table.resolve(", "a command that is not found ends the load"),
    ("src/server/boot.rs", "env::current_dir()", "the name of the folder, for the log"),
    ("src/server/jobs.rs", "env::current_dir()", "the name of the folder, for the log"),
    ("src/server/jobs.rs", "remove_file(temp_of(", "a temp file that stays is read by nothing"),
    ("src/server/jobs.rs", "= match value", "not a result: the place of the new key"),
    ("src/server/jobs.rs", "save_in_background(", "it has logged the failure, and is called again"),
    ("src/server/rewrite.rs", "remove_file(", "a temp file that stays is read by nothing"),
    ("src/server/rewrite.rs", "from.file_name()", "a name, for the log"),
    ("src/server/shutdown.rs", "remove_pidfile(", "the process ends in either case"),
    ("src/config/rewrite.rs", "remove_file(", "the failure before it is the one to tell"),
    ("src/sys/fsx.rs", "fs::remove_file(temp)", "the failure before it is the one to tell"),
];

const fn ban(
    word: &'static str,
    instead: &'static str,
    in_tests: bool,
    except: &'static [&'static str],
) -> Ban {
    Ban { word, instead, in_tests, except }
}

/// Words that must not stand anywhere, comments included. In halves, or this file would offend.
const LEFTOVERS: &[(&str, &str)] = &[
    (concat!("FIX", "ME"), "the fix"),
    (concat!("XX", "X "), "the fix"),
    (concat!("HA", "CK"), "the reason"),
];
const MACHINE_PATHS: &[&str] = &[concat!("/wo", "rk/"), concat!("/tmp", "/up/"), concat!("/ro", "ot/")];

// ---- modules -------------------------------------------------------------------------------------

/// The parts of a file that are compiled for tests only.
fn test_regions(code: &str) -> Vec<Range<usize>> {
    let mut regions = Vec::new();
    for at in words(code, "#[cfg") {
        let attr = bracketed(code, at + 1);
        let inside = &code[attr.clone()];
        if words(inside, "test").is_empty() || !words(inside, "not").is_empty() {
            continue;
        }
        if let Some(head) = item_head_end(code, attr.end) {
            let end = if code.as_bytes()[head] == b'{' { bracketed(code, head).end } else { head + 1 };
            regions.push(at..end);
        }
    }
    regions
}

/// Names that a file declares with `mod name;`, and whether for tests only.
fn mod_declarations(code: &str) -> Vec<(String, bool)> {
    let tests = test_regions(code);
    words(code, "mod ")
        .into_iter()
        .filter_map(|at| {
            let name = ident_at(code, at + 4);
            let declares = code[at + 4 + name.len()..].trim_start().starts_with(';');
            (declares && !name.is_empty())
                .then(|| (name.to_string(), tests.iter().any(|r| r.contains(&at))))
        })
        .collect()
}

/// What the crate roots reach by `mod`: file -> compiled for tests only.
fn reach(files: &BTreeMap<String, String>, roots: &[&str]) -> BTreeMap<String, bool> {
    let mut seen: BTreeMap<String, bool> = BTreeMap::new();
    let mut todo: Vec<(String, bool)> = roots.iter().map(|r| (r.to_string(), false)).collect();
    while let Some((file, test)) = todo.pop() {
        let Some(text) = files.get(&file) else { continue };
        let text = code(text);
        let test = test || text.contains("#![cfg(test)]");
        if seen.get(&file).is_some_and(|&known| !known || test) {
            continue;
        }
        let path = Path::new(&file);
        let stem = path.file_stem().and_then(|s| s.to_str()).expect("source names are plain");
        let mut folder = path.parent().expect("below src").to_path_buf();
        if !matches!(stem, "mod" | "lib" | "main") {
            folder.push(stem);
        }
        for (name, for_tests) in mod_declarations(&text) {
            for candidate in [folder.join(format!("{name}.rs")), folder.join(&name).join("mod.rs")] {
                todo.push((candidate.display().to_string(), test || for_tests));
            }
        }
        seen.insert(file, test);
    }
    seen
}

// ---- rules ---------------------------------------------------------------------------------------

fn band(module: &str) -> Option<usize> {
    BANDS.iter().position(|names| names.contains(&module))
}

/// `src/ds/table.rs` and `src/ds.rs` both belong to `ds`.
fn top_module(file: &str) -> &str {
    let below = file.strip_prefix("src/").unwrap_or(file);
    below.split('/').next().unwrap_or(below).trim_end_matches(".rs")
}

/// Top-level modules that a file names, with the offset: `crate::a::b`, `use crate::{a, b::c}`, and
/// `super::` as often as it takes to reach the root.
fn reached_modules(file: &str, code: &str) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    let mut collect = |at: usize| {
        if code.as_bytes().get(at) != Some(&b'{') {
            found.push((at, ident_at(code, at).to_string()));
            return;
        }
        let group = bracketed(code, at);
        let (mut n, end) = (at + 1, group.end - 1);
        while n < end {
            match code.as_bytes()[n] {
                b'{' => n = bracketed(code, n).end,
                b':' | b',' | b' ' | b'\n' => n += 1,
                _ => {
                    let name = ident_at(code, n);
                    if code[at + 1..n].trim_end().ends_with(',') || code[at + 1..n].trim().is_empty() {
                        found.push((n, name.to_string()));
                    }
                    n += name.len().max(1);
                }
            }
        }
    };
    for at in words(code, "crate::") {
        collect(at + "crate::".len());
    }
    let depth = file
        .trim_start_matches("src/")
        .trim_end_matches(".rs")
        .trim_end_matches("/mod")
        .split('/')
        .count();
    let up = "super::".repeat(depth);
    for at in words(code, &up) {
        let before = &code[..at];
        if !before.ends_with("super::") && !code[at + up.len()..].starts_with("super::") {
            collect(at + up.len());
        }
    }
    found.retain(|(_, name)| !name.is_empty());
    found
}

fn bands(file: &str, code: &str) -> Vec<String> {
    let own = top_module(file);
    if matches!(own, "lib" | "main") || !file.starts_with("src/") {
        return Vec::new();
    }
    let Some(own_band) = band(own) else {
        return vec![format!("{file}: `{own}` is in no band; add it to BANDS")];
    };
    let mut wrong = Vec::new();
    for (at, name) in reached_modules(file, code) {
        let excused = BAND_EXCEPTIONS.iter().any(|(f, n, _)| *f == file && *n == name);
        if let Some(reached) = band(&name).filter(|&b| b > own_band && !excused) {
            let line = line_of(code, at);
            wrong.push(format!(
                "{file}:{line}: band {} reaches up to `{name}` of band {}",
                own_band + 1,
                reached + 1
            ));
        }
    }
    wrong
}

/// Folder -> folders that it names, each with a file that does.
type Arrows = BTreeMap<String, BTreeMap<String, String>>;

fn arrows(sources: &BTreeMap<String, String>) -> Arrows {
    let mut all = Arrows::new();
    for (file, text) in sources.iter().filter(|(f, _)| f.starts_with("src/")) {
        let own = top_module(file);
        if matches!(own, "lib" | "main") {
            continue;
        }
        for (_, name) in reached_modules(file, &code(text)) {
            let excused = CIRCLE_EXCEPTIONS.iter().any(|e| e.0 == own && e.1 == name);
            if name != own && band(&name).is_some() && !excused {
                all.entry(own.into()).or_default().entry(name).or_insert_with(|| file.clone());
            }
        }
    }
    all
}

/// Everything that `from` reaches, over whatever is between.
fn reachable<'a>(all: &'a Arrows, from: &'a str) -> BTreeSet<&'a str> {
    let mut seen = BTreeSet::new();
    let mut todo = vec![from];
    while let Some(at) = todo.pop() {
        let next = all.get(at).into_iter().flat_map(|n| n.keys());
        todo.extend(next.map(String::as_str).filter(|n| seen.insert(*n)));
    }
    seen
}

/// Arrows between folders that lie on a circle.
fn circles(sources: &BTreeMap<String, String>) -> Vec<String> {
    let all = arrows(sources);
    let mut wrong = Vec::new();
    for (from, reached) in &all {
        for (to, file) in reached {
            if reachable(&all, to).contains(from.as_str()) {
                wrong.push(format!("{file}: `{from}` reaches `{to}`, which reaches back to it"));
            }
        }
    }
    wrong
}

/// Public items, by the code of their file: offset and name.
fn public_items(code: &str) -> Vec<(usize, &str)> {
    let kinds = ["fn", "struct", "enum", "const", "static", "type", "trait", "union"];
    let mut found = Vec::new();
    for at in words(code, "pub") {
        let mut rest = at + 3;
        if code[rest..].starts_with('(') {
            rest = bracketed(code, rest).end;
        }
        // `pub const fn`, `pub unsafe extern "C" fn`: the last keyword of a kind counts.
        let head = item_head_end(code, rest).unwrap_or(code.len());
        let mut item = None;
        let mut n = rest;
        while n < head {
            let blank = code.as_bytes()[n].is_ascii_whitespace();
            let word = ident_at(code, n);
            match (blank, kinds.contains(&word) || matches!(word, "unsafe" | "extern" | "async")) {
                (true, _) => n += 1,
                (false, true) => {
                    item = kinds.contains(&word).then_some(n + word.len());
                    n += word.len();
                }
                (false, false) => break,
            }
        }
        let Some(end) = item else { continue };
        let name_at = end + code[end..].len() - code[end..].trim_start().len();
        found.push((at, ident_at(code, name_at)));
    }
    found
}

/// Public items whose name stands in no other place of the sources.
fn unused(sources: &BTreeMap<String, String>) -> Vec<String> {
    let codes: Vec<(&String, String)> = sources.iter().map(|(f, t)| (f, code(t))).collect();
    let mut count: BTreeMap<&str, usize> = BTreeMap::new();
    for (_, code) in &codes {
        for word in code.split(|c: char| c != '_' && !c.is_ascii_alphanumeric()) {
            *count.entry(word).or_default() += 1;
        }
    }
    let mut wrong = Vec::new();
    for (file, code) in codes.iter().filter(|(f, _)| f.starts_with("src/")) {
        if UNUSED_EXCEPTIONS.iter().any(|e| within(file, &[e.0])) {
            continue;
        }
        for (at, name) in public_items(code) {
            if count.get(name) == Some(&1) {
                wrong.push(format!("{file}:{}: nothing uses `{name}`", line_of(code, at)));
            }
        }
    }
    wrong
}

fn sizes(file: &str, text: &str) -> Vec<String> {
    let mut wrong = Vec::new();
    let cap = FILE_EXCEPTIONS.iter().find(|e| e.0 == file).map_or(FILE_LINES, |e| e.1);
    let lines = text.lines().count();
    if lines > cap {
        wrong.push(format!("{file}: {lines} lines, at most {cap}: what second thing does it hold?"));
    }
    if !COLUMN_EXCEPTIONS.iter().any(|e| e.0 == file) {
        let long = text.lines().enumerate().filter(|(_, l)| l.chars().count() > COLUMNS);
        wrong.extend(long.map(|(n, _)| format!("{file}:{}: longer than {COLUMNS} columns", n + 1)));
    }
    wrong
}

/// Every function with a body: name, line, number of lines.
fn function_sizes(code: &str) -> Vec<(&str, usize, usize)> {
    let mut found = Vec::new();
    for at in words(code, "fn ") {
        let name = ident_at(code, at + 3);
        let Some(head) = item_head_end(code, at).filter(|&h| code.as_bytes()[h] == b'{') else {
            continue;
        };
        if !name.is_empty() {
            let first = line_of(code, at);
            found.push((name, first, line_of(code, bracketed(code, head).end - 1) - first + 1));
        }
    }
    found
}

fn functions(file: &str, code: &str) -> Vec<String> {
    let cap =
        |name: &str| FN_EXCEPTIONS.iter().find(|e| e.0 == file && e.1 == name).map_or(FN_LINES, |e| e.2);
    function_sizes(code)
        .into_iter()
        .filter(|&(name, _, lines)| lines > cap(name))
        .map(|(name, line, lines)| {
            format!("{file}:{line}: fn {name} has {lines} lines, at most {}", cap(name))
        })
        .collect()
}

fn within(file: &str, places: &[&str]) -> bool {
    places.iter().any(|p| file == *p || (p.ends_with('/') && file.starts_with(p)))
}

fn unsafe_code(file: &str, text: &str, code: &str) -> Vec<String> {
    let lines: Vec<&str> = text.lines().collect();
    let code_lines: Vec<&str> = code.lines().collect();
    let mut wrong = Vec::new();
    for at in words(code, "unsafe") {
        let n = line_of(code, at) - 1;
        if file.starts_with("src/") && !within(file, UNSAFE_FILES) {
            wrong.push(format!("{file}:{}: unsafe outside of {UNSAFE_FILES:?}", n + 1));
        }
        let rest = code[at + "unsafe".len()..].trim_start();
        let answers = rest.starts_with('{') || rest.starts_with("impl");
        if answers && !has_safety(&lines, &code_lines, n) {
            wrong.push(format!("{file}:{}: no // SAFETY: above it", n + 1));
        }
        let declares = rest.strip_prefix("fn ").is_some_and(|name| !name.starts_with('('));
        if declares && !says_what_it_asks(&lines, &code_lines, n) {
            wrong.push(format!("{file}:{}: no # Safety in its comment", n + 1));
        }
    }
    wrong
}

/// Is there a `# Safety` above line `n`, or the head of a trait's implementation around it?
fn says_what_it_asks(lines: &[&str], code: &[&str], n: usize) -> bool {
    let depth = |l: &str| l.len() - l.trim_start().len();
    let mut above = lines[..n].iter().rev().map(|l| l.trim_start());
    let outer = code[..n].iter().rev().find(|l| !l.trim().is_empty() && depth(l) < depth(code[n]));
    outer.is_some_and(|l| l.contains("impl") && l.contains(" for "))
        || above.by_ref().take_while(|l| l.starts_with(['/', '#'])).any(|l| l.contains("# Safety"))
}

/// A SAFETY comment in the line itself, or directly above the statement that line `n` belongs to.
fn has_safety(lines: &[&str], code: &[&str], n: usize) -> bool {
    let mut at = n;
    loop {
        if lines[at].contains("// SAFETY:") {
            return true;
        }
        if at == 0 {
            return false;
        }
        let above = code[at - 1].trim_end();
        let comment = above.is_empty() && lines[at - 1].trim_start().starts_with("//");
        let attribute = above.trim_start().starts_with("#[");
        let same_statement = !above.is_empty() && !above.ends_with([';', '{', '}', ',']);
        if !(comment || attribute || same_statement) {
            return false;
        }
        at -= 1;
    }
}

fn banned(file: &str, code: &str, only_tests: bool) -> Vec<String> {
    let regions = test_regions(code);
    let mut wrong = Vec::new();
    for b in BANNED {
        let excused = BANNED_EXCEPTIONS.iter().any(|e| e.0 == file && e.1 == b.word);
        if excused || within(file, b.except) || (only_tests && !b.in_tests) {
            continue;
        }
        for at in words(code, b.word) {
            if b.in_tests || !regions.iter().any(|r| r.contains(&at)) {
                wrong.push(format!("{file}:{}: `{}`; write {}", line_of(code, at), b.word, b.instead));
            }
        }
    }
    wrong
}

fn doubts(file: &str, text: &str, code: &str) -> Vec<String> {
    if !within(file, DOUBT_FILES) {
        return Vec::new();
    }
    let regions = test_regions(code);
    let mut wrong = Vec::new();
    for word in DOUBT_WORDS {
        for (at, _) in code.match_indices(word) {
            let n = line_of(code, at);
            let line = text.lines().nth(n - 1).expect("a line of the text");
            let excused = DOUBT_EXCEPTIONS.iter().any(|e| e.0 == file && line.contains(e.1));
            if !excused && !regions.iter().any(|r| r.contains(&at)) {
                wrong.push(format!("{file}:{n}: `{word}`; write what follows when it is not known"));
            }
        }
    }
    wrong
}

fn leftovers(file: &str, text: &str) -> Vec<String> {
    let mut wrong = Vec::new();
    for (word, instead) in LEFTOVERS {
        for at in words(text, word) {
            wrong.push(format!("{file}:{}: {word}; write {instead}", line_of(text, at)));
        }
    }
    wrong
}

fn machine_paths(file: &str, text: &str) -> Vec<String> {
    let mut wrong = Vec::new();
    for path in MACHINE_PATHS {
        for (at, _) in text.match_indices(path) {
            if at == 0 || !is_word(text.as_bytes()[at - 1]) {
                wrong.push(format!("{file}:{}: {path} is a folder of one machine", line_of(text, at)));
            }
        }
    }
    wrong
}

fn unused_files(files: &BTreeMap<String, String>, reached: &BTreeMap<String, bool>) -> Vec<String> {
    let lost = files.keys().filter(|f| f.starts_with("src/") && !reached.contains_key(*f));
    lost.map(|f| format!("{f}: no `mod` declaration leads here")).collect()
}

/// Exceptions that excuse nothing (any more).
fn stale_exceptions(files: &BTreeMap<String, String>, reached: &BTreeMap<String, bool>) -> Vec<String> {
    let none = String::new();
    let text = |file: &str| files.get(file).unwrap_or(&none).as_str();
    let mut stale = Vec::new();
    for (file, name, _) in BAND_EXCEPTIONS {
        if !reached_modules(file, &code(text(file))).iter().any(|(_, n)| n == name) {
            stale.push(format!("BAND_EXCEPTIONS: {file} does not reach {name}"));
        }
    }
    for (from, to, _) in CIRCLE_EXCEPTIONS {
        let names = |(file, text): (&String, &String)| {
            top_module(file) == *from && reached_modules(file, &code(text)).iter().any(|(_, n)| n == to)
        };
        if !files.iter().any(names) {
            stale.push(format!("CIRCLE_EXCEPTIONS: {from} does not reach {to}"));
        }
    }
    for (file, _, _) in FILE_EXCEPTIONS {
        if text(file).lines().count() <= FILE_LINES {
            stale.push(format!("FILE_EXCEPTIONS: {file} is within the cap"));
        }
    }
    for (file, name, _, _) in FN_EXCEPTIONS {
        let code = code(text(file));
        if !function_sizes(&code).iter().any(|(n, _, lines)| n == name && *lines > FN_LINES) {
            stale.push(format!("FN_EXCEPTIONS: {file}, fn {name} is within the cap"));
        }
    }
    for (file, _) in COLUMN_EXCEPTIONS {
        if !text(file).lines().any(|l| l.chars().count() > COLUMNS) {
            stale.push(format!("COLUMN_EXCEPTIONS: {file} has no long line"));
        }
    }
    for (file, part, _) in DOUBT_EXCEPTIONS {
        let mut lines = text(file).lines();
        if !lines.any(|l| l.contains(part) && DOUBT_WORDS.iter().any(|w| l.contains(w))) {
            stale.push(format!("DOUBT_EXCEPTIONS: {file} has no doubt at {part}"));
        }
    }
    for (file, word, _) in BANNED_EXCEPTIONS {
        if words(&code(text(file)), word).is_empty() || !reached.contains_key(*file) {
            stale.push(format!("BANNED_EXCEPTIONS: {file} does not say {word}"));
        }
    }
    stale
}

// ---- the repository ------------------------------------------------------------------------------

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// Every text file of the repository by its path from the root; build products and dot-git left out.
fn repository() -> BTreeMap<String, String> {
    let mut files = BTreeMap::new();
    let mut folders = vec![root()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).expect("a folder of the repository can be read") {
            let entry = entry.expect("its entries too");
            let (path, name) = (entry.path(), entry.file_name());
            if matches!(name.to_str(), Some("target" | ".git" | "Cargo.lock")) {
                continue;
            }
            let kind = entry.file_type().expect("an entry has a type");
            if kind.is_dir() {
                folders.push(path);
            } else if kind.is_file() {
                let name = path.strip_prefix(root()).expect("below the root").display().to_string();
                if let Ok(text) = fs::read_to_string(&path) {
                    files.insert(name, text);
                }
            }
        }
    }
    files
}

#[test]
fn the_house_is_tidy() {
    let everything = repository();
    let is_source =
        |f: &String| f.ends_with(".rs") && (f.starts_with("src/") || f.starts_with("tests/"));
    let sources: BTreeMap<String, String> =
        everything.iter().filter(|(f, _)| is_source(f)).map(|(f, t)| (f.clone(), t.clone())).collect();
    assert!(sources.contains_key("src/lib.rs") && sources.contains_key("tests/tidy/main.rs"));
    let reached = reach(&sources, &["src/lib.rs", "src/main.rs"]);

    let mut wrong = unused_files(&sources, &reached);
    wrong.extend(circles(&sources));
    wrong.extend(unused(&sources));
    for (file, text) in &sources {
        let code = code(text);
        let only_tests = file.starts_with("tests/") || reached.get(file) == Some(&true);
        wrong.extend(bands(file, &code));
        wrong.extend(sizes(file, text));
        wrong.extend(functions(file, &code));
        wrong.extend(unsafe_code(file, text, &code));
        wrong.extend(banned(file, &code, only_tests));
        wrong.extend(leftovers(file, text));
        wrong.extend(comments::broken_rulers(file, text));
        if file.starts_with("src/") {
            wrong.extend(comments::unnamed(file, text));
        }
        if !only_tests {
            wrong.extend(doubts(file, text, &code));
        }
    }
    for (file, text) in &everything {
        wrong.extend(machine_paths(file, text));
    }
    wrong.extend(stale_exceptions(&sources, &reached));
    assert!(wrong.is_empty(), "{} complaints:\n{}", wrong.len(), wrong.join("\n"));
}

// ---- each rule can fail --------------------------------------------------------------------------

#[test]
fn blanking_keeps_code_and_line_ends() {
    let text =
        "a /* x /* y */ z */ b // c\nd \"e\\\"f\" 'g' '\\'' &'h r#\"i\"j\"# k b\"l\" 'é' '\\u{1F}' m\n";
    let blanked = code(text);
    assert_eq!(blanked.len(), text.len());
    assert_eq!(blanked.split_whitespace().collect::<Vec<_>>(), ["a", "b", "d", "&'h", "k", "m"]);
    assert_eq!(blanked.matches('\n').count(), 2);
    assert_eq!(code("for r in b {}"), "for r in b {}", "r and b as names");
}

#[test]
fn bands_can_fail() {
    let bad = [
        "use crate::server::Server;",
        "use crate::{ds::rax, config::{self, row}};",
        "fn f() { crate::acl::x() }",
    ];
    for text in bad {
        assert_eq!(bands("src/ds/table.rs", text).len(), 1, "{text}");
    }
    assert_eq!(bands("src/ds/table.rs", "use super::super::commands::x;").len(), 1);
    assert_eq!(bands("src/ds/mod.rs", "use super::commands::x;").len(), 1);
    assert_eq!(bands("src/config/mod.rs", "use crate::commands::list;").len(), 1);
    assert_eq!(bands("src/elsewhere/mod.rs", "").len(), 1);
    assert!(bands("src/ds/table.rs", "use crate::{algo::{crc64, config}, ds::rax::server};").is_empty());
    assert!(bands("src/ds/table.rs", "use super::commands;").is_empty(), "ds::commands");
    assert!(bands("src/commands/list.rs", "use crate::{ds, config, server};").is_empty());
}

#[test]
fn circles_can_fail() {
    let check = |texts: &[(&str, &str)]| {
        let files = texts.iter().map(|(f, t)| (format!("src/{f}"), t.to_string())).collect();
        circles(&files).len()
    };
    let pair = ("blocked/mod.rs", "use crate::clients::id::ClientId;");
    assert_eq!(check(&[pair, ("clients/client.rs", "use crate::ds;")]), 0);
    assert_eq!(check(&[pair, ("clients/client.rs", "use crate::blocked::Wait;")]), 2);
    let over = [
        pair,
        ("clients/client.rs", "use crate::{net, pubsub};"),
        ("pubsub/a.rs", "crate::blocked::x()"),
    ];
    assert_eq!(check(&over), 3, "net is not on the circle");
    assert_eq!(check(&[("ds/a.rs", "use crate::ds::b;"), ("ds/b.rs", "use super::a;")]), 0, "one room");
}

#[test]
fn unused_items_can_fail() {
    let of = |text: &str| unused(&BTreeMap::from([("src/a.rs".to_string(), text.to_string())]));
    assert_eq!(of("pub fn one() {}\npub const TWO: u8 = 1;\npub const fn three() {}").len(), 3);
    assert_eq!(of("pub(crate) unsafe extern \"C\" fn four() {}"), ["src/a.rs:1: nothing uses `four`"]);
    assert!(of("pub fn one() { one() }\nfn private() {}\npub mod x;\npub use y::Z;").is_empty());
    assert_eq!(of("pub struct S { pub field: u8 } // S").len(), 1, "comments do not count");
}

#[test]
fn sizes_can_fail() {
    assert!(sizes("src/a.rs", &"x\n".repeat(FILE_LINES)).is_empty());
    assert_eq!(sizes("src/a.rs", &"x\n".repeat(FILE_LINES + 1)).len(), 1);
    assert!(sizes("src/a.rs", &"é".repeat(COLUMNS)).is_empty());
    assert_eq!(sizes("src/a.rs", &"x".repeat(COLUMNS + 1)).len(), 1);
}

#[test]
fn functions_can_fail() {
    let of = |lines: usize| format!("fn f(x: [u8; 2]) -> u8 {{\n{}}}\n", "\n".repeat(lines - 2));
    assert!(functions("src/a.rs", &of(FN_LINES)).is_empty());
    assert_eq!(functions("src/a.rs", &of(FN_LINES + 1)).len(), 1);
    let declared = format!("trait T {{ fn f(&self); }}\n type F = fn (u8);\n{}", of(3));
    assert_eq!(function_sizes(&declared), [("f", 3, 3)]);
}

#[test]
fn unsafe_code_can_fail() {
    let check = |file: &str, text: &str| unsafe_code(file, text, &code(text)).len();
    assert_eq!(check("src/object/list.rs", "// SAFETY: told.\nunsafe { f() }"), 1, "in the wrong file");
    assert_eq!(check("src/ds/rax.rs", "// SAFETY: told.\nunsafe { f() }"), 0);
    assert_eq!(
        check(
            "src/ds/rax.rs",
            "// SAFETY: told\n// at length.\n#[inline]\nlet x =\n    unsafe { f() };"
        ),
        0
    );
    assert_eq!(check("src/ds/rax.rs", "unsafe { f() }"), 1);
    assert_eq!(check("src/ds/rax.rs", "// SAFETY: told.\ng();\nunsafe { f() }"), 1);
    assert_eq!(check("src/ds/rax.rs", "unsafe impl Send for X {}"), 1);
    let told = "/// # Safety\n/// Told.\nunsafe fn f() {} // an `unsafe` word";
    assert_eq!(check("src/ds/rax.rs", told), 0);
    assert_eq!(check("src/ds/rax.rs", "/// Told.\nunsafe fn f() {}"), 1);
    let of = |head: &str| format!("{head} {{\n    #[inline]\n    unsafe fn f() {{}}\n}}");
    assert_eq!(check("src/ds/rax.rs", &of("impl T for X")), 0);
    assert_eq!(check("src/ds/rax.rs", &of("impl X")), 1);
}

#[test]
fn banned_words_can_fail() {
    let check = |file: &str, text: &str| banned(file, &code(text), false).len();
    for b in BANNED {
        assert_eq!(
            check("src/object/list.rs", &format!("x{} ", b.word).replace('x', " ")),
            1,
            "{}",
            b.word
        );
        assert_eq!(check("src/object/list.rs", &format!("// {}", b.word)), 0, "{}", b.word);
    }
    assert_eq!(check("src/object/list.rs", "#[cfg(test)]\nmod tests { fn f() { x.unwrap() } }"), 0);
    assert_eq!(check("src/object/list.rs", "#[cfg(not(test))]\nmod a { fn f() { x.unwrap() } }"), 1);
    assert_eq!(check("src/object/list.rs", "#[cfg(test)]\nmod tests { fn f() { dbg!(x) } }"), 1);
    assert_eq!(check("src/sys/clock.rs", "Instant::now()"), 0);
    assert_eq!(check("src/object/list.rs", "Arc::new(my_todo!())"), 0, "parts of longer words");
    assert_eq!(leftovers("src/a.rs", concat!("// FIX", "ME later")).len(), 1);
    assert!(leftovers("src/a.rs", "// a fix").is_empty());
}

#[test]
fn doubts_can_fail() {
    let check = |file: &str, text: &str| doubts(file, text, &code(text)).len();
    for line in
        ["let _ = f.read(b);", "f.read(b).ok();", "fs::read(p).unwrap_or_default()", "p.exists()"]
    {
        assert_eq!(check("src/persist/rdb/load.rs", line), 1, "{line}");
        assert_eq!(check("src/persist/rdb/load.rs", &format!("// {line}")), 0, "{line}");
        assert_eq!(check("src/persist/a.rs", &format!("#[cfg(test)]\nmod t {{ {line} }}")), 0, "{line}");
        assert_eq!(check("src/object/list.rs", line), 0, "{line}");
    }
    assert_eq!(check("src/server/jobs.rs", "let _ = remove_file(temp_of(pid));"), 0);
    assert_eq!(check("src/server/jobs.rs", "let _ = remove_file(path);"), 1);
}

#[test]
fn machine_paths_can_fail() {
    assert_eq!(machine_paths("README.md", concat!("cd /wo", "rk/main")).len(), 1);
    assert!(machine_paths("README.md", concat!("net", "/wo", "rk/x")).is_empty());
}

#[test]
fn unused_files_can_fail() {
    let file = |name: &str, text: &str| (name.to_string(), text.to_string());
    let files = BTreeMap::from([
        file("src/lib.rs", "pub mod a;\n#[cfg(test)]\nmod tests;"),
        file("src/a/mod.rs", "mod b; // mod c;"),
        file("src/a/b.rs", "mod d;"),
        file("src/a/b/d.rs", ""),
        file("src/a/c.rs", ""),
        file("src/tests.rs", "mod twin;"),
        file("src/tests/twin.rs", ""),
    ]);
    let reached = reach(&files, &["src/lib.rs"]);
    assert_eq!(unused_files(&files, &reached), ["src/a/c.rs: no `mod` declaration leads here"]);
    let tests: BTreeSet<&str> = reached.iter().filter(|(_, t)| **t).map(|(f, _)| f.as_str()).collect();
    assert_eq!(tests, BTreeSet::from(["src/tests.rs", "src/tests/twin.rs"]));
}
