//! Reading the configuration at start: the file, standard input and the command line, in this order, as
//! one text; later lines win.
//!
//! ```text
//! line      = blanks | '#' comment | name { argument }         quoting as in algo::quote; a control
//!             character only as an escape: a zero byte would hide the rest of the line
//! include   = another text, read where it stands, with line numbers of its own
//! ```
//!
//! A line goes to its row, or to one of the collections of [`Startup`]. Whatever is wrong ends the
//! start; [`LoadError::text`] is what has to be printed. The owners of the tables of commands and users
//! check the collected lines later, and report with [`LoadError::at`] as if the line were being read.
//!
//! An oddity of upstream that shows in CONFIG GET save: `save` lines add up within one text, and the
//! first one clears the defaults; but once an include has ended, each further `save` line of the
//! including text replaces all before it.

use std::fs::OpenOptions;
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use super::getset::lookup;
use super::kinds::{Reason, WRONG_COUNT, Write};
use super::row::MULTI_ARG;
use super::{Config, REDIS_VERSION, absent};
use crate::algo::num::is_space;
use crate::algo::quote;
use crate::sys::{self, errno};
use crate::{notice, warning};

/// Includes within includes beyond this are taken for a circle.
const MAX_DEPTH: usize = 64;

/// Directives that mean nothing any more and are skipped when they have one value.
const DEPRECATED: [&[u8]; 3] =
    [b"list-max-ziplist-entries", b"list-max-ziplist-value", b"lua-replicate-commands"];

/// A line, for the report of what is wrong with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SourceLine {
    /// The file it was read from; `None` for the command line alone.
    pub file: Option<Vec<u8>>,
    /// Counted from 1. The command line follows the file in the same count.
    pub line: usize,
    pub text: Vec<u8>,
}

/// A line that the table has no row for: the arguments behind the directive's name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    pub args: Vec<Vec<u8>>,
    pub place: SourceLine,
}

/// What a configuration asks for beyond values, in the order of its lines.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Startup {
    /// `rename-command old new`; an empty new name removes the command.
    pub rename_commands: Vec<Line>,
    /// `user name rule...`.
    pub users: Vec<Line>,
    /// `loadmodule path argument...`.
    pub modules: Vec<Line>,
    /// `module.option value`, the last value of each; several arguments are joined by blanks.
    pub module_configs: Vec<(Vec<u8>, Vec<u8>)>,
    /// `sentinel ...` lines with at least one argument, in sentinel mode.
    pub sentinel: Vec<Line>,
    /// Directives whose value asks for what this build does not have, with the line that does.
    pub asked: Vec<(&'static str, SourceLine)>,
}

/// Why the configuration cannot be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LoadError {
    /// A file or standard input cannot be read. The text is for the log.
    Unreadable(Vec<u8>),
    /// Printed to standard error as it is. Without a place it concerns the configuration as a whole.
    Refused { place: Option<SourceLine>, reason: Vec<u8> },
}

impl LoadError {
    /// A complaint about one line.
    pub fn at(place: &SourceLine, reason: impl Into<Vec<u8>>) -> LoadError {
        LoadError::Refused { place: Some(place.clone()), reason: reason.into() }
    }

    fn whole(reason: impl Into<Vec<u8>>) -> LoadError {
        LoadError::Refused { place: None, reason: reason.into() }
    }

    /// The full text to log or print.
    pub fn text(&self) -> Vec<u8> {
        match self {
            LoadError::Unreadable(text) => text.clone(),
            LoadError::Refused { place, reason } => {
                let mut out =
                    format!("\n*** FATAL CONFIG FILE ERROR (Redis {REDIS_VERSION}) ***\n").into_bytes();
                if let Some(SourceLine { line, text, .. }) = place {
                    let head = format!("Reading the configuration file, at line {line}\n>>> '");
                    out.extend_from_slice(head.as_bytes());
                    out.extend_from_slice(text);
                    out.extend_from_slice(b"'\n");
                }
                out.extend_from_slice(reason);
                out.push(b'\n');
                out
            }
        }
    }
}

/// Where the configuration comes from.
pub struct Sources<'a> {
    pub file: Option<&'a [u8]>,
    pub stdin: Option<&'a mut dyn Read>,
    /// The text made of the command line.
    pub options: &'a [u8],
    pub sentinel_mode: bool,
}

/// Reads everything into `config`.
pub fn load(config: &mut Config, sources: Sources<'_>) -> Result<Startup, LoadError> {
    let mut text = match sources.file {
        Some(path) => read_files(path)?,
        None => Vec::new(),
    };
    if let Some(stdin) = sources.stdin {
        notice!("Reading config from stdin");
        // What was read before an error is half a configuration, which may lack the password.
        stdin.read_to_end(&mut text).map_err(|error| {
            let head = "Fatal error, can't read the configuration from standard input: ";
            LoadError::Unreadable([head, &errno::text(&error)].concat().into_bytes())
        })?;
    }
    text.push(b'\n');
    text.extend_from_slice(sources.options);
    let mut loader = Loader {
        config,
        startup: Startup::default(),
        sentinel_mode: sources.sentinel_mode,
        in_text: false,
        save_seen: false,
        depth: 0,
    };
    loader.text(&text, sources.file)?;
    Ok(loader.startup)
}

/// The contents of a file, or of all files that a pattern matches, none included.
fn read_files(path: &[u8]) -> Result<Vec<u8>, LoadError> {
    let is_glob = path.iter().any(|b| matches!(b, b'*' | b'?' | b'['));
    let unread = |path: &[u8], error: &io::Error| {
        let (head, reason) = ("Fatal error, can't open config file '", errno::text(error));
        LoadError::Unreadable([head.as_bytes(), path, b"': ", reason.as_bytes()].concat())
    };
    let paths = match is_glob {
        true => sys::glob::paths(path).map_err(|error| unread(path, &error))?,
        false => vec![path.to_vec()],
    };
    let mut text = Vec::new();
    for path in paths {
        match std::fs::read(Path::new(std::ffi::OsStr::from_bytes(&path))) {
            Ok(mut bytes) => text.append(&mut bytes),
            // A pattern finds folders, too, which have no lines.
            Err(error) if error.kind() == io::ErrorKind::IsADirectory && is_glob => {}
            Err(error) => return Err(unread(&path, &error)),
        }
    }
    Ok(text)
}

/// What is wrong with a line: the line itself, or a text that it includes.
enum Fault {
    Line(Vec<u8>),
    Nested(LoadError),
}

impl From<Reason> for Fault {
    fn from(reason: Reason) -> Fault {
        Fault::Line(reason.into_owned().into_bytes())
    }
}

impl From<&'static str> for Fault {
    fn from(reason: &'static str) -> Fault {
        Fault::Line(reason.into())
    }
}

struct Loader<'a> {
    config: &'a mut Config,
    startup: Startup,
    sentinel_mode: bool,
    /// False behind an include; see the essay.
    in_text: bool,
    save_seen: bool,
    depth: usize,
}

impl Loader<'_> {
    fn text(&mut self, text: &[u8], file: Option<&[u8]>) -> Result<(), LoadError> {
        self.in_text = true;
        for (index, line) in text.split(|b| *b == b'\n').enumerate() {
            let line = trim(line);
            if line.is_empty() || line.starts_with(b"#") {
                continue;
            }
            let place = SourceLine {
                file: file.map(<[u8]>::to_vec),
                line: index.saturating_add(1),
                text: line.to_vec(),
            };
            if line.iter().any(|b| b.is_ascii_control() && !is_space(*b)) {
                return Err(LoadError::at(&place, "Control characters are not allowed"));
            }
            match self.line(line, &place) {
                Ok(()) => {}
                Err(Fault::Line(reason)) => return Err(LoadError::at(&place, reason)),
                Err(Fault::Nested(error)) => return Err(error),
            }
        }
        self.check_whole()?;
        self.in_text = false;
        Ok(())
    }

    fn line(&mut self, line: &[u8], place: &SourceLine) -> Result<(), Fault> {
        let args = quote::split_args(line).ok_or("Unbalanced quotes in configuration line")?;
        let Some((name, values)) = args.split_first() else { return Ok(()) };
        let name = name.to_ascii_lowercase();
        if lookup(&name).is_some() {
            return Ok(self.directive(&name, values, place)?);
        }
        if DEPRECATED.contains(&name.as_slice()) && values.len() == 1 {
            return Ok(());
        }
        self.other(&name, values, place)
    }

    /// A line that has a row.
    fn directive(&mut self, name: &[u8], values: &[Vec<u8>], place: &SourceLine) -> Result<(), Reason> {
        let named = lookup(name).expect("the caller has found it");
        let is_list = named.row.has(MULTI_ARG);
        if !is_list && values.len() != 1 {
            return Err(WRONG_COUNT);
        }
        // A list may come as one quoted value. One whose own quotes do not match could mean any list.
        let split = match values {
            [value] if is_list && !value.is_empty() => {
                Some(quote::split_args(value).ok_or("Unbalanced quotes in configuration line")?)
            }
            _ => None,
        };
        let values = split.as_deref().unwrap_or(values);
        let args: Vec<&[u8]> = values.iter().map(Vec::as_slice).collect();
        let adds = self.in_text && self.save_seen;
        named.row.set(self.config, &args, if adds { Write::Add } else { Write::Replace })?;
        self.save_seen |= self.in_text && named.row.name == "save";
        absent::note(self.config, named.row.name, place, &mut self.startup.asked);
        Ok(())
    }

    /// A line that has no row.
    fn other(&mut self, name: &[u8], values: &[Vec<u8>], place: &SourceLine) -> Result<(), Fault> {
        let line = Line { args: values.to_vec(), place: place.clone() };
        match (name, values) {
            (b"include", [path]) => return self.include(path),
            (b"rename-command", [_, _]) => self.startup.rename_commands.push(line),
            (b"user", [_, ..]) => self.startup.users.push(line),
            (b"loadmodule", [_, ..]) => self.startup.modules.push(line),
            (name, []) if name.contains(&b'.') => {
                return Err("Module config specified without value".into());
            }
            (name, values) if name.contains(&b'.') => {
                let configs = &mut self.startup.module_configs;
                configs.retain(|(known, _)| known != name);
                configs.push((name.to_vec(), values.join(&b' ')));
            }
            // The word alone switches the mode on, which happens before anything is read.
            (b"sentinel", []) => {}
            (b"sentinel", _) if !self.sentinel_mode => {
                return Err("sentinel directive while not in sentinel mode".into());
            }
            (b"sentinel", _) => self.startup.sentinel.push(line),
            _ => return Err("Bad directive or wrong number of arguments".into()),
        }
        Ok(())
    }

    fn include(&mut self, path: &[u8]) -> Result<(), Fault> {
        if self.depth >= MAX_DEPTH {
            return Err("Too many nested includes".into());
        }
        let text = read_files(path).map_err(Fault::Nested)?;
        self.depth = self.depth.saturating_add(1);
        self.text(&text, Some(path)).map_err(Fault::Nested)?;
        self.depth = self.depth.saturating_sub(1);
        Ok(())
    }

    /// What can only be judged at the end of a text.
    fn check_whole(&mut self) -> Result<(), LoadError> {
        let config = &mut *self.config;
        if !config.logfile.is_empty() {
            // Later there is no log to say that it cannot be written.
            let path = Path::new(std::ffi::OsStr::from_bytes(&config.logfile));
            let opened = OpenOptions::new().append(true).create(true).open(path);
            opened.map_err(|error| {
                LoadError::whole(format!("Can't open the log file: {}", errno::text(&error)))
            })?;
        }
        if config.cluster_enabled && config.replicaof.is_some() {
            return Err(LoadError::whole("replicaof directive not allowed in cluster mode"));
        }
        if config.cluster_enabled && config.databases > 1 {
            warning!(
                "WARNING: Changing databases number from {} to 1 since we are in cluster mode",
                config.databases
            );
            config.databases = 1;
        }
        config.clamp_hz();
        Ok(())
    }
}

/// Without the blanks that C's `sdstrim(" \t\r\n")` would take.
pub(super) fn trim(line: &[u8]) -> &[u8] {
    let blank = |b: &u8| matches!(b, b' ' | b'\t' | b'\r' | b'\n');
    let start = line.iter().take_while(|b| blank(b)).count();
    let (_, line) = line.split_at(start);
    let end = line.iter().rev().take_while(|b| blank(b)).count();
    line.split_at(line.len().saturating_sub(end)).0
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::getset::get;
    use crate::sys::testing::TempDir;

    struct Read {
        config: Config,
        startup: Startup,
    }

    fn read_from(file: Option<&[u8]>, options: &str, sentinel_mode: bool) -> Result<Read, String> {
        let mut config = Config::default();
        let sources = Sources { file, stdin: None, options: options.as_bytes(), sentinel_mode };
        match load(&mut config, sources) {
            Ok(startup) => Ok(Read { config, startup }),
            Err(error) => Err(String::from_utf8(error.text()).expect("UTF-8")),
        }
    }

    fn read(options: &str) -> Result<Read, String> {
        read_from(None, options, false)
    }

    fn value(config: &Config, name: &str) -> String {
        let found = get(config, &[name.as_bytes()]);
        String::from_utf8(found.first().expect("a directive").1.clone()).expect("UTF-8")
    }

    fn fatal(line: usize, text: &str, reason: &str) -> String {
        format!(
            "\n*** FATAL CONFIG FILE ERROR (Redis 7.2.6) ***\n\
             Reading the configuration file, at line {line}\n>>> '{text}'\n{reason}\n"
        )
    }

    /// A file of the test's folder, with its path.
    fn put(dir: &TempDir, name: &str, text: &str) -> Vec<u8> {
        let path = dir.join(name);
        std::fs::write(&path, text).expect("a writable folder");
        path.into_os_string().into_encoded_bytes()
    }

    #[test]
    fn values_of_every_spelling() {
        let text = "# comment\n\n  PORT 7000 \r\nmaxmemory '1gb'\nloglevel \"verb\\x6fse\"\n\
                    lua-time-limit 7\nbind 127.0.0.1 -::1\nport 7001\nrequirepass \"a\\x00 b\"\n\
                    oom-score-adj-values '1 2 3'\nunixsocketperm 755\nlua-replicate-commands yes\n";
        let Read { config, .. } = read(text).expect("valid");
        assert_eq!(config.port, 7001, "the last one counts");
        assert_eq!(config.maxmemory, 1 << 30);
        assert_eq!(value(&config, "loglevel"), "verbose");
        assert_eq!(config.busy_reply_threshold, 7);
        assert_eq!(config.bind, [b"127.0.0.1".to_vec(), b"-::1".to_vec()]);
        assert_eq!(config.requirepass.as_deref(), Some(b"a\0 b".as_slice()));
        assert_eq!(config.oom_score_adj_values, [1, 2, 3]);
        assert_eq!(value(&config, "unixsocketperm"), "755");
    }

    #[test]
    fn faults_name_line_and_reason() {
        // The options stand below the (empty) file, so they begin in line 2.
        for (text, reason) in [
            ("port 1 2", "wrong number of arguments"),
            ("port", "wrong number of arguments"),
            ("port \"--bla\"", "argument couldn't be parsed into an integer"),
            ("foo bar", "Bad directive or wrong number of arguments"),
            ("include", "Bad directive or wrong number of arguments"),
            ("lua-replicate-commands a b", "Bad directive or wrong number of arguments"),
            ("save \"a", "Unbalanced quotes in configuration line"),
            ("save 1", "Invalid save parameters"),
            ("a.b", "Module config specified without value"),
            ("dir /nonexistent/dir", "No such file or directory"),
            ("sentinel monitor x", "sentinel directive while not in sentinel mode"),
            ("replicaof 127.0.0.1 abc", "Invalid master port"),
            ("replicaof 127.0.0.1", "wrong number of arguments"),
            ("appendfilename \"\"", "appendfilename can't be empty"),
            ("appenddirname a/b", "appenddirname can't be a path, just a dirname"),
            ("unixsocketperm 9", "argument couldn't be parsed as an octal number"),
            ("unixsocketperm 7777", "argument must be between 0 and 777 inclusive"),
        ] {
            assert_eq!(read(text).err(), Some(fatal(2, text, reason)));
        }
        let text = read("port 1\n\n  shutdown-on-sigint \n").err().expect("no value");
        let list = "argument(s) must be one of the following: default, save, nosave, now, force";
        assert_eq!(text, fatal(4, "shutdown-on-sigint", list));
    }

    #[test]
    fn faults_of_the_whole() {
        let head = "\n*** FATAL CONFIG FILE ERROR (Redis 7.2.6) ***\n";
        let text = read("cluster-enabled yes\nreplicaof 1.2.3.4 5").err();
        assert_eq!(text, Some(format!("{head}replicaof directive not allowed in cluster mode\n")));
        let text = read("logfile /nonexistent/dir/log").err();
        assert_eq!(text, Some(format!("{head}Can't open the log file: No such file or directory\n")));
        let Read { config, .. } = read("cluster-enabled yes\nhz 5000").expect("valid");
        assert_eq!((config.databases, config.hz), (1, 500));
    }

    #[test]
    fn save_lines_add_up() {
        let save = |text: &str| value(&read(text).expect("valid").config, "save");
        assert_eq!(save("port 1"), "3600 1 300 100 60 10000");
        assert_eq!(save("save 900 1\nsave 300 10"), "900 1 300 10");
        assert_eq!(save("save \"900 1 300 10\"\nsave 1 1"), "900 1 300 10 1 1");
        assert_eq!(save("save 900 1\nsave \"\""), "");
        assert_eq!(save("save \"\"\nsave 900 1"), "900 1");
        assert!(read("save '\"a'").is_err(), "a list with broken quotes may be any: not an empty one");
    }

    #[test]
    fn save_lines_behind_an_include_replace() {
        let dir = TempDir::new("config-save");
        let inner = put(&dir, "inner.conf", "save 1 1");
        let inner = String::from_utf8(inner).expect("UTF-8");
        let text = format!("include {inner}\nsave 900 1\nsave 800 2");
        assert_eq!(value(&read(&text).expect("valid").config, "save"), "800 2");
    }

    #[test]
    fn includes_stand_where_they_are() {
        let dir = TempDir::new("config-include");
        put(&dir, "a.conf", "port 1\ntimeout 1\n");
        put(&dir, "b.conf", "timeout 2\n");
        let text = format!("port 5\ninclude {}/*.conf\nhz 20\n", dir.path().display());
        let main = put(&dir, "main.cfg", &text);
        let Read { config, .. } = read_from(Some(&main), "hz 30", false).expect("valid");
        assert_eq!((config.port, config.timeout, config.hz), (1, 2, 30));
        let none = put(&dir, "none.cfg", &format!("include {}/*.none\n", dir.path().display()));
        assert!(read_from(Some(&none), "", false).is_ok(), "a pattern may match nothing");
        let bad = put(&dir, "bad.cfg", "\nport x\n");
        let bad_text = String::from_utf8(bad).expect("UTF-8");
        let outer = read(&format!("include {bad_text}")).err();
        assert_eq!(outer, Some(fatal(2, "port x", "argument couldn't be parsed into an integer")));
    }

    #[test]
    fn missing_files_and_circles() {
        let missing =
            "Fatal error, can't open config file '/nonexistent/x.conf': No such file or directory";
        assert_eq!(read("include /nonexistent/x.conf").err().as_deref(), Some(missing));
        assert_eq!(read_from(Some(b"/nonexistent/x.conf"), "", false).err().as_deref(), Some(missing));
        let dir = TempDir::new("config-circle");
        let path = String::from_utf8(put(&dir, "a.conf", "")).expect("UTF-8");
        put(&dir, "a.conf", &format!("include {path}\n"));
        let text = read(&format!("include {path}")).err().expect("no end");
        assert!(text.ends_with("Too many nested includes\n"));
    }

    #[test]
    fn lines_for_others_are_collected() {
        let text = "user alice on\nrename-command FLUSHALL \"\"\nloadmodule /m.so a b\nM.x 1\nm.X 2 3\n\
                    replicaof h 1\nslaveof no ONE\nreplicaof host 6380\nsentinel\n";
        let Read { config, startup } = read(text).expect("valid");
        let words = |line: &Line| line.args.join(&b' ');
        assert_eq!(startup.users.iter().map(words).collect::<Vec<_>>(), [b"alice on"]);
        let rename = startup.rename_commands.first().expect("one");
        assert_eq!(words(rename), b"FLUSHALL ");
        assert_eq!(rename.place.line, 3);
        let text = LoadError::at(&rename.place, "No such command in rename-command").text();
        let text = String::from_utf8(text).expect("UTF-8");
        assert_eq!(text, fatal(3, "rename-command FLUSHALL \"\"", "No such command in rename-command"));
        assert_eq!(startup.modules.iter().map(words).collect::<Vec<_>>(), [b"/m.so a b"]);
        assert_eq!(startup.module_configs, [(b"m.x".to_vec(), b"2 3".to_vec())]);
        assert_eq!(value(&config, "slaveof"), "host 6380");
        assert!(startup.sentinel.is_empty());
        let Read { startup, .. } = read_from(None, "sentinel monitor x", true).expect("valid");
        assert_eq!(startup.sentinel.iter().map(words).collect::<Vec<_>>(), [b"monitor x"]);
    }

    #[test]
    fn what_cannot_be_read_is_no_end_of_the_configuration() {
        let dir = TempDir::new("config-folder");
        let folder = dir.path().as_os_str().as_encoded_bytes();
        let why = read_from(Some(folder), "", false).err().expect("a folder is no file");
        assert!(why.ends_with(": Is a directory"), "{why}");
        let why = read("save \"\\\"900 1\"\n").err().expect("a list without an end");
        assert!(why.contains("Unbalanced quotes in configuration line"), "{why}");
    }

    #[test]
    fn standard_input_stands_between_file_and_options() {
        let dir = TempDir::new("config-stdin");
        let file = put(&dir, "a.conf", "port 1\ntimeout 1\nhz 1");
        let mut input: &[u8] = b"\ntimeout 2\nhz 2";
        let mut config = Config::default();
        let sources = Sources {
            file: Some(&file),
            stdin: Some(&mut input),
            options: b"hz 3",
            sentinel_mode: false,
        };
        load(&mut config, sources).expect("valid");
        assert_eq!((config.port, config.timeout, config.hz), (1, 2, 3));
    }

    #[test]
    fn a_broken_standard_input_ends_the_start() {
        struct Broken;
        impl io::Read for Broken {
            fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
                Err(io::Error::from_raw_os_error(libc::EIO))
            }
        }
        let mut input = io::Read::chain(&b"port 7000\n"[..], Broken);
        let sources =
            Sources { file: None, stdin: Some(&mut input), options: b"", sentinel_mode: false };
        let text = load(&mut Config::default(), sources).map_err(|error| error.text());
        let expected =
            "Fatal error, can't read the configuration from standard input: Input/output error";
        assert_eq!(text, Err(expected.into()));
    }

    #[test]
    fn any_bytes_are_read_without_panic() {
        let mut rng = crate::algo::rng::Rng::seeded(7);
        let words: [&[u8]; 14] = [
            b"save",
            b"bind",
            b"port",
            b"user",
            b"\"",
            b"'",
            b" ",
            b"\n",
            b"\\x0",
            b"\0",
            b"%",
            b"-9",
            b"client-output-buffer-limit",
            b"99999999999999999999gb",
        ];
        for _ in 0..3000 {
            let mut text = Vec::new();
            for _ in 0..rng.below(12) {
                text.extend_from_slice(words[rng.index(words.len())]);
                if rng.below(3) == 0 {
                    text.extend_from_slice(&rng.next_u32().to_le_bytes());
                }
                if rng.below(2) == 0 {
                    text.push(b' ');
                }
            }
            // A pattern could reach any file there is.
            if text.windows(7).any(|word| word.eq_ignore_ascii_case(b"include")) {
                continue;
            }
            let sources = Sources { file: None, stdin: None, options: &text, sentinel_mode: false };
            let mut config = Config::default();
            if load(&mut config, sources).is_ok() {
                assert!(!get(&config, &[b"*"]).is_empty());
            }
        }
    }
}
