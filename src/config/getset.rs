//! CONFIG GET and CONFIG SET.
//!
//! A change goes through three steps, and either all of it happens or nothing:
//!
//! ```text
//! set      every name is checked before anything is set    ──▶ unknown, immutable, protected, twice
//!          then the values, in order                       ──▶ a refused value: former state back
//! apply    what the rows ask for, each once, in order      ──▶ a failure: former state back, applied again
//! done     the names that were set, for modules that listen
//! ```
//!
//! [`set`] is the first step. [`change`] is all of them: it takes the owner of the configuration as an
//! opaque value and a function for the second step, so that this file need not know either.
//!
//! An alias counts as a name of its own: setting both names of one directive in one command is allowed,
//! and CONFIG GET shows both.

use std::borrow::Cow;
use std::path::PathBuf;

use super::kinds::{Reason, Write};
use super::row::{
    Apply, DENY_LOADING, DirectiveRow, HIDDEN, IMMUTABLE, MULTI_ARG, PROTECTED, SENSITIVE, VOLATILE,
};
use super::{Config, absent, rows};
use crate::algo::glob::glob_match;
use crate::sys::errno;
use crate::warning;

/// A directive under one of its names.
#[derive(Clone, Copy, Debug)]
pub struct Named {
    pub row: &'static DirectiveRow,
    pub name: &'static str,
}

/// Every name of every directive.
pub fn names() -> impl Iterator<Item = Named> {
    rows().flat_map(|row| {
        [Some(row.name), row.alias].into_iter().flatten().map(move |name| Named { row, name })
    })
}

/// The directive of a name, in any case of letters.
pub fn lookup(name: &[u8]) -> Option<Named> {
    names().find(|named| named.name.as_bytes().eq_ignore_ascii_case(name))
}

/// Whether the value of this directive must not be logged.
pub fn is_sensitive(name: &[u8]) -> bool {
    lookup(name).is_some_and(|named| named.row.has(SENSITIVE))
}

/// The answer of CONFIG GET: names and values, no name twice. A name asked for exactly is answered as it
/// was spelled.
pub fn get(config: &Config, patterns: &[&[u8]]) -> Vec<(Vec<u8>, Vec<u8>)> {
    let mut found: Vec<(Vec<u8>, Vec<u8>)> = Vec::new();
    for &pattern in patterns {
        let is_glob = pattern.iter().any(|b| matches!(b, b'*' | b'?' | b'['));
        for named in names() {
            let name = named.name.as_bytes();
            let wanted = if is_glob {
                !named.row.has(HIDDEN) && glob_match(pattern, name, true)
            } else {
                name.eq_ignore_ascii_case(pattern)
            };
            if wanted && !found.iter().any(|(known, _)| known.eq_ignore_ascii_case(name)) {
                let shown = if is_glob { name } else { pattern };
                found.push((shown.to_vec(), named.row.kind.get(config)));
            }
        }
    }
    found
}

/// The circumstances of a change.
#[derive(Clone, Copy, Debug)]
pub struct Asker {
    /// The connection comes from this machine.
    pub local: bool,
    /// The dataset is loading.
    pub loading: bool,
}

/// Why CONFIG SET failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SetError {
    /// Not allowed while the dataset is loading.
    Loading,
    Unknown(Vec<u8>),
    Refused {
        name: Vec<u8>,
        reason: Reason,
    },
}

impl SetError {
    fn refused(name: &[u8], reason: impl Into<Reason>) -> SetError {
        SetError::Refused { name: name.to_vec(), reason: reason.into() }
    }

    /// The whole text of the error reply, its code first.
    pub fn text(&self) -> Cow<'static, [u8]> {
        match self {
            SetError::Loading => b"LOADING Redis is loading the dataset in memory".into(),
            SetError::Unknown(name) => {
                let head = b"ERR Unknown option or number of arguments for CONFIG SET - '";
                [head, name.as_slice(), b"'"].concat().into()
            }
            SetError::Refused { name, reason } => {
                let head = b"ERR CONFIG SET failed (possibly related to argument '";
                [head, name.as_slice(), b"') - ", reason.as_bytes()].concat().into()
            }
        }
    }
}

/// Values that are set but not applied yet, and what it takes to go back.
#[must_use = "what was set has to be applied"]
#[derive(Debug)]
pub struct Pending {
    former: Former,
    /// What to apply, each once, with the name that asked for it first.
    pub applies: Vec<(Apply, &'static str)>,
    /// The names that were set, changed or not.
    pub names: Vec<&'static str>,
}

/// The configuration before a change.
#[derive(Debug)]
struct Former {
    config: Box<Config>,
    /// `dir` lives in the process.
    dir: Option<PathBuf>,
}

impl Former {
    fn of(config: &Config, named: &[Named]) -> Former {
        let moves = named.iter().any(|named| named.row.name == "dir");
        let dir = if moves { std::env::current_dir().ok() } else { None };
        Former { config: Box::new(config.clone()), dir }
    }

    fn restore(self, config: &mut Config) {
        *config = *self.config;
        if let Some(dir) = self.dir
            && let Err(error) = std::env::set_current_dir(&dir)
        {
            warning!(
                "Failed restoring failed CONFIG SET command. Error setting dir to '{}': {}",
                dir.display(),
                errno::text(&error)
            );
        }
    }
}

impl Config {
    /// Some directives take any number and keep what is reasonable.
    fn clamp(&mut self, applies: &[(Apply, &'static str)]) {
        for (apply, _) in applies {
            match apply {
                Apply::Hz => self.clamp_hz(),
                Apply::ReplBacklogSize => self.repl_backlog_size = self.repl_backlog_size.max(16384),
                _ => {}
            }
        }
    }
}

impl Pending {
    /// Puts the former values back; what was applied has to be applied again.
    pub fn restore(self, config: &mut Config) {
        self.former.restore(config);
    }
}

impl DirectiveRow {
    /// Sets the value from arguments; true when there is something to apply.
    pub(super) fn set(&self, config: &mut Config, args: &[&[u8]], write: Write) -> Result<bool, Reason> {
        let changed = self.kind.set(config, args, write)?;
        Ok(changed || self.has(VOLATILE))
    }

    /// Sets the value as CONFIG SET has it: a list comes as one value, split at every blank.
    fn set_value(&self, config: &mut Config, value: &[u8]) -> Result<bool, Reason> {
        if !self.has(MULTI_ARG) {
            return self.set(config, &[value], Write::Replace);
        }
        let args: Vec<&[u8]> =
            if value.is_empty() { vec![] } else { value.split(|b| *b == b' ').collect() };
        self.set(config, &args, Write::Replace)
    }
}

/// The directives of a change, or why it is refused as a whole. The first thing wrong is the one told.
fn check_names(config: &Config, pairs: &[(&[u8], &[u8])], asker: Asker) -> Result<Vec<Named>, SetError> {
    let mut found: Vec<Named> = Vec::with_capacity(pairs.len());
    for &(name, _) in pairs {
        let named = lookup(name).ok_or_else(|| SetError::Unknown(name.to_vec()))?;
        if named.row.has(IMMUTABLE) {
            return Err(SetError::refused(name, "can't set immutable config"));
        }
        if named.row.has(PROTECTED) && !config.enable_protected_configs.allows(asker.local) {
            return Err(SetError::refused(name, "can't set protected config"));
        }
        if named.row.has(DENY_LOADING) && asker.loading {
            return Err(SetError::Loading);
        }
        if found.iter().any(|other| other.name == named.name) {
            return Err(SetError::refused(name, "duplicate parameter"));
        }
        found.push(named);
    }
    Ok(found)
}

/// Sets all values or none.
pub fn set(config: &mut Config, pairs: &[(&[u8], &[u8])], asker: Asker) -> Result<Pending, SetError> {
    let found = check_names(config, pairs, asker)?;
    let former = Former::of(config, &found);
    let mut applies: Vec<(Apply, &'static str)> = Vec::new();
    for (named, (_, value)) in found.iter().zip(pairs) {
        let apply = named.row.apply;
        let set = named.row.set_value(config, value);
        // A value may be fine in itself and ask for what this build does not have.
        let set = set.and_then(|changed| match absent::refusal(config, named.row.name) {
            Some(sentence) => Err(sentence.into()),
            None => Ok(changed),
        });
        match set {
            Ok(true) if apply != Apply::Nothing => {
                if !applies.iter().any(|(known, _)| *known == apply) {
                    applies.push((apply, named.name));
                }
            }
            Ok(_) => {}
            Err(reason) => {
                former.restore(config);
                return Err(SetError::refused(named.name.as_bytes(), reason));
            }
        }
    }
    config.clamp(&applies);
    Ok(Pending { former, applies, names: found.iter().map(|named| named.name).collect() })
}

/// The whole of CONFIG SET. `config` finds the configuration in its owner; `apply` performs one demand
/// and tells why it cannot. Returns the names that were set.
pub fn change<S>(
    owner: &mut S,
    config: fn(&mut S) -> &mut Config,
    pairs: &[(&[u8], &[u8])],
    asker: Asker,
    mut apply: impl FnMut(&mut S, Apply) -> Result<(), Reason>,
) -> Result<Vec<&'static str>, SetError> {
    let pending = set(config(owner), pairs, asker)?;
    let failed = pending
        .applies
        .iter()
        .find_map(|(what, name)| apply(owner, *what).err().map(|reason| (*name, reason)));
    let Some((name, reason)) = failed else { return Ok(pending.names) };
    warning!(
        "Failed applying new configuration. Possibly related to new {name} setting. \
         Restoring previous settings."
    );
    let applies = pending.applies.clone();
    pending.restore(config(owner));
    for (what, _) in applies {
        if let Err(reason) = apply(owner, what) {
            warning!("Failed applying restored failed CONFIG SET command: {reason}");
        }
    }
    Err(SetError::refused(name.as_bytes(), reason))
}

#[cfg(test)]
mod tests {
    use super::*;

    const HERE: Asker = Asker { local: true, loading: false };

    type Calls = Vec<Apply>;

    /// A server of two parts, whose `apply` fails for one demand.
    struct Owner {
        config: Config,
        calls: Calls,
        broken: Option<Apply>,
    }

    fn owner(broken: Option<Apply>) -> Owner {
        Owner { config: Config::default(), calls: Vec::new(), broken }
    }

    fn pairs<'a>(words: &'a [&'a str]) -> Vec<(&'a [u8], &'a [u8])> {
        let (pairs, rest) = words.as_chunks::<2>();
        assert!(rest.is_empty());
        pairs.iter().map(|[name, value]| (name.as_bytes(), value.as_bytes())).collect()
    }

    fn change_as(owner: &mut Owner, asker: Asker, words: &[&str]) -> Result<(), String> {
        let apply = |owner: &mut Owner, what| {
            owner.calls.push(what);
            if owner.broken == Some(what) { Err("broken".into()) } else { Ok(()) }
        };
        change(owner, |owner| &mut owner.config, &pairs(words), asker, apply)
            .map(|_| ())
            .map_err(|error| String::from_utf8(error.text().into_owned()).expect("UTF-8"))
    }

    fn try_set(words: &[&str]) -> Result<Owner, String> {
        let mut owner = owner(None);
        change_as(&mut owner, HERE, words).map(|()| owner)
    }

    fn get_one(config: &Config, name: &str) -> String {
        let found = get(config, &[name.as_bytes()]);
        let [(_, value)] = found.as_slice() else { panic!("{name}: {found:?}") };
        String::from_utf8(value.clone()).expect("UTF-8")
    }

    fn get_names(patterns: &[&str]) -> Vec<String> {
        let patterns: Vec<&[u8]> = patterns.iter().map(|pattern| pattern.as_bytes()).collect();
        let found = get(&Config::default(), &patterns);
        found.into_iter().map(|(name, _)| String::from_utf8(name).expect("UTF-8")).collect()
    }

    #[test]
    fn get_finds_names_and_patterns_once() {
        assert_eq!(get_names(&["PORT", "port", "p?rt"]), ["PORT"]);
        assert_eq!(get_names(&["*-priority"]), ["replica-priority", "slave-priority"]);
        assert_eq!(get_names(&["*of", "bind"]), ["replicaof", "slaveof", "bind"]);
        assert_eq!(get_names(&["MaxMemory", "maxmemory*"]).len(), 5);
        assert!(get_names(&["nothing", "a["]).is_empty());
    }

    #[test]
    fn get_hides_hidden_directives_from_patterns() {
        assert!(get_names(&["*"]).iter().all(|name| name != "key-load-delay"));
        assert_eq!(get_names(&["key-load-delay"]), ["key-load-delay"]);
        assert!(get_names(&["key-load-dela?"]).is_empty());
    }

    #[test]
    fn values_print_in_upstream_form() {
        for (name, value, printed) in [
            ("maxmemory", "1gb", "1073741824"),
            ("maxmemory", "1g", "1000000000"),
            ("maxmemory-clients", "5%", "5%"),
            ("maxmemory-clients", "5mb", "5242880"),
            ("save", "", ""),
            ("save", "900 1 300 10", "900 1 300 10"),
            ("save", "900 ", "900 0"),
            ("loglevel", "VERBOSE", "verbose"),
            ("oom-score-adj", "relative", "yes"),
            ("shutdown-on-sigterm", "force nosave now", "nosave now force"),
            ("shutdown-on-sigterm", "default", "default"),
            ("notify-keyspace-events", "KEAn", "AKE"),
            ("bind", "127.0.0.1 -::1", "127.0.0.1 -::1"),
            ("bind", "", ""),
            ("latency-tracking-info-percentiles", "50 99.90", "50 99.9"),
            ("latency-tracking-info-percentiles", "", ""),
            ("oom-score-adj-values", "-5 0 2000", "-5 0 2000"),
            ("hz", "1000", "500"),
            ("hz", "0", "1"),
            ("slave-priority", "7", "7"),
            ("repl-backlog-size", "1", "16384"),
            ("requirepass", "", ""),
            ("rdb-key-save-delay", "-7", "-7"),
            (
                "client-output-buffer-limit",
                "Replica 1k 1kb 5",
                "normal 0 0 0 slave 1000 1024 5 pubsub 33554432 8388608 60",
            ),
        ] {
            let owner = try_set(&[name, value]).expect(name);
            assert_eq!(get_one(&owner.config, name), printed, "{name} {value}");
        }
        let config = Config { unixsocketperm: 0o700, ..Config::default() };
        assert_eq!(get_one(&config, "unixsocketperm"), "700");
    }

    fn assert_refused(cases: &[(&str, &str, &str)]) {
        for (name, value, reason) in cases {
            let expected =
                format!("ERR CONFIG SET failed (possibly related to argument '{name}') - {reason}");
            assert_eq!(try_set(&[name, value]).map(|_| ()), Err(expected), "{name} {value}");
        }
    }

    #[test]
    fn refused_numbers() {
        const INTEGER: &str = "argument couldn't be parsed into an integer";
        const MEMORY_OR_PERCENT: &str = "argument must be a memory or percent value";
        const FROM_ZERO: &str = "argument must be between 0 and 9223372036854775807 inclusive";
        const FROM_MB: &str = "argument must be between 1048576 and 9223372036854775807 inclusive";
        assert_refused(&[
            ("port", "abc", INTEGER),
            ("port", "65536", "argument must be between 0 and 65535 inclusive"),
            ("tcp-keepalive", "007", INTEGER),
            ("lua-time-limit", "x", INTEGER),
            ("maxclients", "-1", "argument must be between 1 and 4294967295 inclusive"),
            ("slowlog-max-len", "-1", FROM_ZERO),
            ("slowlog-log-slower-than", "-2", &FROM_ZERO.replace("0 and", "-1 and")),
            ("proto-max-bulk-len", "9223372036854775808", FROM_MB),
            ("maxmemory", "1x", "argument must be a memory value"),
            ("maxmemory-clients", "-5", MEMORY_OR_PERCENT),
            ("maxmemory-clients", "5%%", MEMORY_OR_PERCENT),
            ("maxmemory-clients", "200%", "percentage argument must be less or equal to 100"),
        ]);
    }

    #[test]
    fn refused_words() {
        const LEVELS: &str = "argument(s) must be one of the following: \
                              debug, verbose, notice, warning, nothing";
        const SIGNALS: &str = "argument(s) must be one of the following: \
                               default, save, nosave, now, force";
        const BOTH: &str = "shutdown options SAVE and NOSAVE can't be used simultaneously";
        assert_refused(&[
            ("appendonly", "maybe", "argument must be 'yes' or 'no'"),
            ("loglevel", "", LEVELS),
            ("shutdown-on-sigint", "", SIGNALS),
            ("shutdown-on-sigint", "save nosave", BOTH),
            ("notify-keyspace-events", "Q", "Invalid event class character. Use 'Ag$lshzxeKEtmdn'."),
            ("daemonize", "yes", "can't set immutable config"),
            ("dbfilename", "x", "can't set protected config"),
        ]);
    }

    #[test]
    fn refused_lists() {
        const SAVE: &str = "Invalid save parameters";
        const COUNT: &str = "Wrong number of arguments in buffer limit configuration.";
        const CLASS: &str = "Invalid client class specified in buffer limit configuration.";
        const LIMIT: &str = "Error in hard, soft or soft_seconds setting in buffer limit configuration.";
        const SCORE: &str = "Invalid oom-score-adj-values, elements must be between -2000 and 2000.";
        const NO_PERCENTILE: &str = "Invalid latency-tracking-info-percentiles parameters";
        const PERCENTILE: &str =
            "latency-tracking-info-percentiles parameters should sit between [0.0,100.0]";
        const SEVENTEEN: &str = "1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17";
        assert_refused(&[
            ("save", "900", SAVE),
            ("save", "900  1", SAVE),
            ("save", "0 1", SAVE),
            ("client-output-buffer-limit", "normal 1", COUNT),
            ("client-output-buffer-limit", "master 0 0 0", CLASS),
            ("client-output-buffer-limit", "normal 0 0 -1", LIMIT),
            ("oom-score-adj-values", "1 2", "wrong number of arguments"),
            ("oom-score-adj-values", "1 2 2001", SCORE),
            ("latency-tracking-info-percentiles", "101", PERCENTILE),
            ("latency-tracking-info-percentiles", "x", NO_PERCENTILE),
            ("bind", SEVENTEEN, "Too many bind addresses specified."),
        ]);
    }

    #[test]
    fn names_are_checked_before_values() {
        let unknown =
            |name| format!("ERR Unknown option or number of arguments for CONFIG SET - '{name}'");
        assert_eq!(try_set(&["port", "x", "Foo", "1"]).map(|_| ()), Err(unknown("Foo")));
        let text = try_set(&["daemonize", "yes", "foo", "1"]).map(|_| ());
        assert!(text.is_err_and(|text| text.contains("immutable")), "the first thing wrong is told");
        let text = try_set(&["maxmemory", "1", "MAXMEMORY", "x"]).map(|_| ());
        let twice =
            "ERR CONFIG SET failed (possibly related to argument 'MAXMEMORY') - duplicate parameter";
        assert_eq!(text, Err(twice.into()));
        assert!(try_set(&["slave-priority", "1", "replica-priority", "2"]).is_ok());
    }

    #[test]
    fn protection_looks_at_the_asker() {
        let mut owner = owner(None);
        let far = Asker { local: false, loading: false };
        for (action, near, remote) in [
            (super::super::ProtectedAction::No, false, false),
            (super::super::ProtectedAction::Local, true, false),
            (super::super::ProtectedAction::Yes, true, true),
        ] {
            owner.config.enable_protected_configs = action;
            assert_eq!(change_as(&mut owner, HERE, &["dbfilename", "a"]).is_ok(), near);
            assert_eq!(change_as(&mut owner, far, &["dbfilename", "a"]).is_ok(), remote);
        }
        let loading = Asker { local: true, loading: true };
        let refused = "LOADING Redis is loading the dataset in memory";
        assert_eq!(change_as(&mut owner, loading, &["dir", "x"]), Err(refused.into()));
        assert!(change_as(&mut owner, loading, &["loglevel", "debug"]).is_ok());
    }

    #[test]
    fn a_refused_value_restores_all() {
        let mut owner = owner(None);
        let words = ["maxmemory", "5", "save", "7 7", "latency-tracking-info-percentiles", "1 x"];
        assert!(change_as(&mut owner, HERE, &words).is_err());
        assert_eq!(owner.config, Config::default());
        assert!(owner.calls.is_empty());
    }

    #[test]
    fn a_failed_apply_restores_all_and_applies_again() {
        let mut owner = owner(Some(Apply::Port));
        let words = ["oom-score-adj", "yes", "oom-score-adj-values", "1 1 1", "port", "1", "hz", "50"];
        let text = change_as(&mut owner, HERE, &words);
        let expected = "ERR CONFIG SET failed (possibly related to argument 'port') - broken";
        assert_eq!(text, Err(expected.into()));
        assert_eq!(owner.config, Config::default());
        use Apply::{Hz, OomScore, Port};
        assert_eq!(owner.calls, [OomScore, Port, OomScore, Port, Hz]);
    }

    #[test]
    fn only_changes_are_applied() {
        let owner = try_set(&["port", "6379", "hz", "10", "tls-port", "0"]).expect("valid");
        assert!(owner.calls.is_empty());
        let owner = try_set(&["tls-cert-file", ""]).expect("valid");
        assert_eq!(owner.calls, [Apply::Tls], "a file may have changed behind its name");
    }

    #[test]
    fn dir_moves_the_process() {
        let mut owner = owner(Some(Apply::Port));
        owner.config.enable_protected_configs = super::super::ProtectedAction::Yes;
        let before = get_one(&owner.config, "dir");
        let text = change_as(&mut owner, HERE, &["dir", "/nonexistent/dir"]);
        assert!(text.is_err_and(|text| text.ends_with("- No such file or directory")));
        // The same place by another name, so that tests beside this one see no other.
        let same = format!("{before}/.");
        assert!(change_as(&mut owner, HERE, &["dir", &same, "port", "1"]).is_err());
        assert_eq!(get_one(&owner.config, "dir"), before);
    }

    #[test]
    fn secrets_are_known() {
        for name in ["requirepass", "MASTERAUTH", "masteruser"] {
            assert!(is_sensitive(name.as_bytes()), "{name}");
        }
        assert!(!is_sensitive(b"port") && !is_sensitive(b"foo"));
    }
}
