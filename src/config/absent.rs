//! What this build cannot do, and which directives therefore say nothing to it.
//!
//! ```text
//!  ABSENT    a directive that asks for a part that is missing
//!              at the start      ─► exit 1 with the place of its line and the sentence, or a warning
//!              by CONFIG SET     ─► an error with the sentence
//!  UNREAD    a directive that no code outside of `config` reads, and why that changes nothing
//! ```
//!
//! A server that starts without what it was asked for is worse than one that does not start: a password
//! that is not asked for, a port that is not there. So a directive is honoured, or it
//! stands here. `tests/config_file.rs` walks all directives and fails for one that is neither read nor
//! in one of the two tables, and for an entry of `UNREAD` that is read after all.
//!
//! To add a missing part: delete its rows, and nothing else changes.

use super::Config;
use super::load::{Line, LoadError, SourceLine, Startup};
use super::valid::NO_ACTIVE_DEFRAG;
use crate::sys::defrag;

/// One directive that asks for what is missing.
pub struct Absent {
    /// The directive's first name.
    pub name: &'static str,
    asks: Asks,
    at_start: AtStart,
    pub sentence: &'static str,
}

/// When a directive asks for the missing part.
enum Asks {
    /// By its value.
    Value(fn(&Config) -> bool),
    /// By a line that is no value.
    Line(fn(&Config, &Startup) -> Option<Line>),
}

/// What a server does that is started with it.
enum AtStart {
    Refuse,
    /// The directive is a wish about resources: the server warns, and this puts the value back that holds.
    Warn(fn(&mut Config)),
}

const fn value(name: &'static str, asks: fn(&Config) -> bool, sentence: &'static str) -> Absent {
    Absent { name, asks: Asks::Value(asks), at_start: AtStart::Refuse, sentence }
}

const fn line(
    name: &'static str,
    asks: fn(&Config, &Startup) -> Option<Line>,
    sentence: &'static str,
) -> Absent {
    Absent { name, asks: Asks::Line(asks), at_start: AtStart::Refuse, sentence }
}

pub static ABSENT: &[Absent] = &[
    line("loadmodule", |_, startup| startup.modules.first().cloned(), "This build cannot load modules."),
    Absent {
        at_start: AtStart::Warn(|config| config.activedefrag = false),
        ..value("activedefrag", |c| c.activedefrag && !defrag::is_possible(), NO_ACTIVE_DEFRAG)
    },
    Absent {
        at_start: AtStart::Warn(|_| {}),
        ..value("io-threads", |c| c.io_threads > 1, "One thread serves all clients in this build.")
    },
];

impl Absent {
    fn is_asked(&self, config: &Config) -> bool {
        matches!(self.asks, Asks::Value(asks) if asks(config))
    }
}

/// Why CONFIG SET may not leave the directive of this name as it is now.
pub fn refusal(config: &Config, name: &str) -> Option<&'static str> {
    ABSENT.iter().find(|row| row.name == name && row.is_asked(config)).map(|row| row.sentence)
}

/// Remembers the line that asks for a missing part, or forgets it when a later line asks for it no more.
pub(super) fn note(
    config: &Config,
    name: &'static str,
    place: &SourceLine,
    asked: &mut Vec<(&str, SourceLine)>,
) {
    asked.retain(|(known, _)| *known != name);
    if refusal(config, name).is_some() {
        asked.push((name, place.clone()));
    }
}

/// Asks all rows once everything is loaded. The answers are the warnings to log.
pub fn check(config: &mut Config, startup: &Startup) -> Result<Vec<String>, LoadError> {
    let mut warnings = Vec::new();
    for row in ABSENT {
        let place = match row.asks {
            Asks::Value(asks) if asks(config) => {
                startup.asked.iter().find(|(name, _)| *name == row.name).map(|(_, place)| place.clone())
            }
            Asks::Value(_) => continue,
            Asks::Line(asks) => match asks(config, startup) {
                Some(line) => Some(line.place),
                None => continue,
            },
        };
        match row.at_start {
            AtStart::Refuse => {
                return Err(LoadError::Refused { place, reason: row.sentence.into() });
            }
            AtStart::Warn(mend) => {
                mend(config);
                warnings.push(format!("WARNING: {} is not followed. {}", row.name, row.sentence));
            }
        }
    }
    Ok(warnings)
}

/// Directives that nothing reads, and why the server does what they say all the same.
pub static UNREAD: &[(&[&str], &str)] = &[
    (&["io-threads-do-reads"], "says what further threads do, and there is one"),
    (&["ignore-warnings"], "names a check of arm64 kernels that is not made"),
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::load::{Sources, load};
    use crate::config::{getset, rows};
    use std::collections::BTreeSet;

    fn start(text: &str) -> Result<(Config, Vec<String>), String> {
        let mut config = Config::default();
        let sources =
            Sources { file: None, stdin: None, options: text.as_bytes(), sentinel_mode: false };
        let startup = load(&mut config, sources).expect("a text that loads");
        match check(&mut config, &startup) {
            Ok(warnings) => Ok((config, warnings)),
            Err(error) => Err(String::from_utf8(error.text()).expect("UTF-8")),
        }
    }

    fn ends_with(text: &str, line: usize, place: &str, sentence: &str) {
        let expected = format!(
            "\n*** FATAL CONFIG FILE ERROR (Redis 7.2.6) ***\n\
             Reading the configuration file, at line {line}\n>>> '{place}'\n{sentence}\n"
        );
        assert_eq!(start(text).err(), Some(expected), "{text}");
    }

    #[test]
    fn what_is_missing_ends_the_start_with_its_place() {
        let row = ABSENT.iter().find(|row| row.name == "loadmodule").expect("a row");
        let line = "loadmodule /m.so a";
        // The text begins in line 2.
        ends_with(&format!("port 7000\n\n  {line} \nhz 20"), 4, line, row.sentence);
        for text in ["replicaof a 1", "cluster-enabled yes", "aclfile ''", "tls-port 1"] {
            assert!(start(text).is_ok_and(|(_, warnings)| warnings.is_empty()), "{text}");
        }
    }

    #[test]
    fn wishes_are_warned_of() {
        let (config, mut warnings) = start("activedefrag yes\nio-threads 4").expect("starts");
        assert_eq!(config.activedefrag, defrag::is_possible());
        if !config.activedefrag {
            let defrag = format!("WARNING: activedefrag is not followed. {NO_ACTIVE_DEFRAG}");
            assert_eq!(warnings.remove(0), defrag);
        }
        assert_eq!(config.io_threads, 4);
        let [threads] = warnings.as_slice() else { panic!("{warnings:?}") };
        assert!(threads.starts_with("WARNING: io-threads is not followed. One thread"));
    }

    #[test]
    fn names_are_directives_and_stand_once() {
        let lines = ["loadmodule"];
        for row in ABSENT {
            let known = rows().any(|directive| directive.name == row.name) || lines.contains(&row.name);
            assert!(known, "{} is no directive's first name", row.name);
        }
        let mut seen = BTreeSet::new();
        for name in UNREAD.iter().flat_map(|(names, _)| *names) {
            let named = getset::lookup(name.as_bytes()).expect(name);
            assert_eq!(named.row.name, *name);
            assert!(seen.insert(name), "{name} stands there twice");
        }
    }
}
