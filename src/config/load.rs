//! Reading the configuration at start: the file, standard input and the command line, in this order, as
//! one text; later lines win.
//!
//! ```text
//! line      = blanks | '#' comment | name { argument }         quoting as in algo::quote
//! include   = another text, read where it stands, with line numbers of its own
//! ```
//!
//! A line goes to its row, or to one of the collections of [`Startup`]. Whatever is wrong ends the start;
//! [`LoadError::text`] is what has to be printed. Those who own the tables of commands and users check the
//! collected lines later, and report with [`LoadError::at`] as if the line were being read.
//!
//! An oddity of upstream that shows in CONFIG GET save: `save` lines add up within one text, and the first
//! one clears the defaults; but once an include has ended, each further `save` line of the including text
//! replaces all before it.

use std::fs::OpenOptions;
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use super::getset::lookup;
use super::kinds::{Reason, WRONG_COUNT, Write};
use super::number::cut_nul;
use super::row::MULTI_ARG;
use super::standin::quote;
use super::{Config, REDIS_VERSION};
use crate::sys::{self, errno};
use crate::{notice, warning};

/// Includes within includes beyond this are taken for a circle.
const MAX_DEPTH: usize = 64;

/// Directives that mean nothing any more and are skipped when they have one value.
const DEPRECATED: [&[u8]; 3] =
    [b"list-max-ziplist-entries", b"list-max-ziplist-value", b"lua-replicate-commands"];

/// A line, for the report of what is wrong with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The file it was read from; `None` for the command line alone.
    pub file: Option<Vec<u8>>,
    /// Counted from 1. The command line follows the file in the same count.
    pub line: usize,
    pub text: Vec<u8>,
}

/// A line that the table has no row for, with its arguments (the directive's name is the first).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    pub args: Vec<Vec<u8>>,
    pub place: Place,
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
}

/// Why the configuration cannot be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LoadError {
    /// A file cannot be read. This one is logged as a warning.
    Open { path: Vec<u8>, reason: String },
    /// Printed to standard error as it is. Without a place it concerns the configuration as a whole.
    Refused { place: Option<Place>, reason: Vec<u8> },
}

impl LoadError {
    /// A complaint about one line.
    pub fn at(place: &Place, reason: impl Into<Vec<u8>>) -> LoadError {
        LoadError::Refused { place: Some(place.clone()), reason: reason.into() }
    }

    fn whole(reason: impl Into<Vec<u8>>) -> LoadError {
        LoadError::Refused { place: None, reason: reason.into() }
    }

    /// The full text to log or print.
    pub fn text(&self) -> Vec<u8> {
        match self {
            LoadError::Open { path, reason } => {
                [b"Fatal error, can't open config file '", path.as_slice(), b"': ", reason.as_bytes()]
                    .concat()
            }
            LoadError::Refused { place, reason } => {
                let mut out =
                    format!("\n*** FATAL CONFIG FILE ERROR (Redis {REDIS_VERSION}) ***\n").into_bytes();
                if let Some(Place { line, text, .. }) = place {
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
        // What was read before an error counts, as with a file that ends there.
        let _ = stdin.read_to_end(&mut text);
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
    let paths = if is_glob { sys::glob::paths(path) } else { vec![path.to_vec()] };
    let mut text = Vec::new();
    for path in paths {
        match std::fs::read(Path::new(std::ffi::OsStr::from_bytes(&path))) {
            Ok(mut bytes) => text.append(&mut bytes),
            // A folder opens but has no lines.
            Err(error) if error.kind() == io::ErrorKind::IsADirectory => {}
            Err(error) => return Err(LoadError::Open { path, reason: errno::text(&error) }),
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
            let line = trim(cut_nul(line));
            if line.is_empty() || line.starts_with(b"#") {
                continue;
            }
            let place = Place {
                file: file.map(<[u8]>::to_vec),
                line: index.saturating_add(1),
                text: line.to_vec(),
            };
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

    fn line(&mut self, line: &[u8], place: &Place) -> Result<(), Fault> {
        let args = quote::split_args(line).ok_or("Unbalanced quotes in configuration line")?;
        let Some((name, values)) = args.split_first() else { return Ok(()) };
        let name = name.to_ascii_lowercase();
        if lookup(&name).is_some() {
            return Ok(self.directive(&name, values)?);
        }
        if DEPRECATED.contains(&name.as_slice()) && values.len() == 1 {
            return Ok(());
        }
        self.other(&name, values, place)
    }

    /// A line that has a row.
    fn directive(&mut self, name: &[u8], values: &[Vec<u8>]) -> Result<(), Reason> {
        let named = lookup(name).expect("the caller has found it");
        let is_list = named.row.has(MULTI_ARG);
        if !is_list && values.len() != 1 {
            return Err(WRONG_COUNT);
        }
        // A list may come as one quoted value. One whose own quotes do not match is an empty list.
        let split = match values {
            [value] if is_list && !value.is_empty() => {
                Some(quote::split_args(value).unwrap_or_default())
            }
            _ => None,
        };
        let values = split.as_deref().unwrap_or(values);
        let args: Vec<&[u8]> = values.iter().map(Vec::as_slice).collect();
        let adds = self.in_text && self.save_seen;
        named.row.set(self.config, &args, if adds { Write::Add } else { Write::Replace })?;
        self.save_seen |= self.in_text && named.row.name == "save";
        Ok(())
    }

    /// A line that has no row.
    fn other(&mut self, name: &[u8], values: &[Vec<u8>], place: &Place) -> Result<(), Fault> {
        let mut args = vec![name.to_vec()];
        args.extend_from_slice(values);
        let line = Line { args, place: place.clone() };
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
            // Later nobody could say that the log cannot be written.
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
