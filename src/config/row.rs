//! A directive's row: its names, its flags, its kind (type, range, default) and what a change asks for.
//!
//! Everything that is said about a directive is read from here. Rows are built by small `const`
//! functions, so that a table reads as a list:
//!
//! ```text
//! uint("timeout", at!(timeout), 0..=INT, 0)                      name, field, range, default
//! uint("port", at!(port), 0..=65535, 6379).apply(Apply::Port)    what a change asks for
//! flag("daemonize", at!(daemonize), false).with(IMMUTABLE)       further properties
//! uint("replica-priority", ...).alias("slave-priority")          a second name
//! ```
//!
//! To add a directive: a field in `Config`, a row in the table of its theme, a paragraph in
//! `redis.conf`. The tests name whatever is missing.

use super::Config;
use super::choices::Choice;
use super::kinds::{At, DirectiveKind, Special, Unit, WordAt};

/// Cannot be changed by CONFIG SET.
pub const IMMUTABLE: u32 = 1 << 0;
/// The value is hidden from logs, MONITOR and SLOWLOG.
pub const SENSITIVE: u32 = 1 << 1;
/// Printed in crash reports.
pub const DEBUG: u32 = 1 << 2;
/// Takes a list of values, separated by blanks.
pub const MULTI_ARG: u32 = 1 << 3;
/// CONFIG GET shows it by its exact name only.
pub const HIDDEN: u32 = 1 << 4;
/// CONFIG SET needs the consent of `enable-protected-configs`.
pub const PROTECTED: u32 = 1 << 5;
/// CONFIG SET is refused while the dataset is loading.
pub const DENY_LOADING: u32 = 1 << 6;
/// Names a file whose contents may have changed: setting the same value again is a change.
pub const VOLATILE: u32 = 1 << 7;

/// What has to be done after a directive has changed. `server::apply` performs it; a change of
/// several directives asks for each of these once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Apply {
    /// The value is read wherever it matters.
    Nothing,
    /// Listen on the new TCP port; may fail.
    Port,
    /// Listen on the new addresses, plain and TLS; may fail.
    Bind,
    /// Listen on the new TLS port; may fail.
    TlsPort,
    /// Read keys and certificates again; may fail.
    Tls,
    /// Raise the limit of open files; may fail, and then names the number that would work.
    MaxClients,
    /// What connections keep a copy of: query buffer, output buffers, timeouts, the longest bulk.
    ClientLimits,
    /// Client eviction was switched on or off.
    MaxMemoryClients,
    /// The limit of memory: warn when it is exceeded already, start eviction.
    MaxMemory,
    /// What the keyspace keeps a copy of: encoding thresholds, eviction policy, notifications, expiry.
    KeyspacePolicy,
    LogLevel,
    Hz,
    /// Write `oom_score_adj`; may fail.
    OomScore,
    /// The default user's password.
    RequirePass,
    AclPubsubDefault,
    AclLog,
    Slowlog,
    LatencyTracking,
    TrackingTable,
    /// Set the process title again; may fail.
    ProcTitle,
    /// The collation order of SORT ALPHA; fails with `INVALID_LOCALE`.
    Locale,
    JemallocBgThread,
    ReplBacklogSize,
    /// What a replica serves, and which writes it takes.
    ReplicaServes,
    /// Count again how many replicas are good enough for writes.
    GoodReplicas,
    Watchdog,
    /// Start or stop the append only file; may fail.
    AppendOnly,
    /// Delete the history files of the AOF.
    AofAutoGc,
    /// Wait for pending fsyncs.
    AppendFsync,
    /// Install or remove the handlers of fatal signals.
    CrashLog,
    /// What the node of a cluster goes by, and what it tells others of itself.
    Cluster,
}

impl Apply {
    pub const INVALID_LOCALE: &'static str = "Invalid locale name";
    pub const CANNOT_LISTEN: &'static str = "Unable to listen on this port. Check server logs.";
    pub const CANNOT_BIND: &'static str = "Failed to bind to specified addresses.";
    pub const CANNOT_SET_OOM_SCORE: &'static str =
        "Failed to set current oom_score_adj. Check server logs.";
    pub const CANNOT_SET_TITLE: &'static str = "failed to set process title";
}

/// One directive.
#[derive(Debug)]
pub struct DirectiveRow {
    pub name: &'static str,
    /// A second name, older than the first; CONFIG REWRITE knows only the first.
    pub alias: Option<&'static str>,
    pub flags: u32,
    pub apply: Apply,
    pub kind: DirectiveKind,
}

impl DirectiveRow {
    const fn new(name: &'static str, kind: DirectiveKind) -> DirectiveRow {
        DirectiveRow { name, alias: None, flags: 0, apply: Apply::Nothing, kind }
    }

    pub const fn alias(mut self, alias: &'static str) -> DirectiveRow {
        self.alias = Some(alias);
        self
    }

    pub const fn with(mut self, flags: u32) -> DirectiveRow {
        self.flags |= flags;
        self
    }

    pub const fn apply(mut self, apply: Apply) -> DirectiveRow {
        self.apply = apply;
        self
    }

    pub const fn has(&self, flag: u32) -> bool {
        self.flags & flag != 0
    }
}

/// The largest value of upstream's C types.
pub const INT: u64 = i32::MAX as u64;
pub const UINT: u64 = u32::MAX as u64;
pub const LONG: u64 = i64::MAX as u64;

type Range = std::ops::RangeInclusive<u64>;

/// yes or no.
pub const fn flag(name: &'static str, at: At<bool>, default: bool) -> DirectiveRow {
    DirectiveRow::new(name, DirectiveKind::Flag { at, default })
}

/// A number that is never negative.
pub const fn uint(name: &'static str, at: At<u64>, range: Range, default: u64) -> DirectiveRow {
    let (min, max) = (*range.start(), *range.end());
    DirectiveRow::new(name, DirectiveKind::Uint { at, min, max, default, unit: Unit::Plain })
}

/// A number of bytes.
pub const fn memory(name: &'static str, at: At<u64>, range: Range, default: u64) -> DirectiveRow {
    let (min, max) = (*range.start(), *range.end());
    DirectiveRow::new(name, DirectiveKind::Uint { at, min, max, default, unit: Unit::Memory })
}

/// The permissions of a file.
pub const fn octal(name: &'static str, at: At<u64>, range: Range, default: u64) -> DirectiveRow {
    let (min, max) = (*range.start(), *range.end());
    DirectiveRow::new(name, DirectiveKind::Uint { at, min, max, default, unit: Unit::Octal })
}

/// A number of either sign.
pub const fn int(name: &'static str, at: At<i64>, min: i64, max: i64, default: i64) -> DirectiveRow {
    DirectiveRow::new(name, DirectiveKind::Int { at, min, max, default, unit: Unit::Plain })
}

/// Bytes, or a percentage of another limit, kept as a negative number.
pub const fn memory_or_percent(name: &'static str, at: At<i64>) -> DirectiveRow {
    let unit = Unit::MemoryOrPercent;
    DirectiveRow::new(name, DirectiveKind::Int { at, min: -100, max: i64::MAX, default: 0, unit })
}

/// A text, possibly empty.
pub const fn text(name: &'static str, at: At<Vec<u8>>, default: &'static str) -> DirectiveRow {
    DirectiveRow::new(name, DirectiveKind::Text { at, default, valid: None })
}

/// A text, possibly empty, with a check of its own.
pub const fn checked_text(
    name: &'static str,
    at: At<Vec<u8>>,
    default: &'static str,
    valid: fn(&Config, &[u8]) -> Result<(), &'static str>,
) -> DirectiveRow {
    DirectiveRow::new(name, DirectiveKind::Text { at, default, valid: Some(valid) })
}

/// A text or nothing: the empty text is nothing, and so is the default.
pub const fn maybe(name: &'static str, at: At<Option<Vec<u8>>>) -> DirectiveRow {
    DirectiveRow::new(name, DirectiveKind::Maybe { at, binary: false, valid: None })
}

/// The same for bytes that may hold a NUL: passwords.
pub const fn secret(name: &'static str, at: At<Option<Vec<u8>>>) -> DirectiveRow {
    DirectiveRow::new(name, DirectiveKind::Maybe { at, binary: true, valid: None }).with(SENSITIVE)
}

/// A text or nothing, with a check of its own.
pub const fn checked_maybe(
    name: &'static str,
    at: At<Option<Vec<u8>>>,
    valid: fn(&Config, &[u8]) -> Result<(), &'static str>,
) -> DirectiveRow {
    DirectiveRow::new(name, DirectiveKind::Maybe { at, binary: false, valid: Some(valid) })
}

/// One word of a list; see `word_at!`.
pub const fn word(name: &'static str, at: WordAt, default: &'static str) -> DirectiveRow {
    DirectiveRow::new(name, DirectiveKind::Word { at, default })
}

/// Several words of a list, one bit each.
pub const fn words(
    name: &'static str,
    at: At<u32>,
    list: &'static [(&'static str, u32)],
    valid: fn(u32) -> Result<(), &'static str>,
) -> DirectiveRow {
    DirectiveRow::new(name, DirectiveKind::Words { at, list, valid }).with(MULTI_ARG)
}

/// A directive with code of its own.
pub const fn special(name: &'static str, special: &'static Special) -> DirectiveRow {
    DirectiveRow::new(name, DirectiveKind::Special(special))
}

/// Where a field is.
macro_rules! at {
    ($field:ident) => {
        $crate::config::kinds::At {
            field: stringify!($field),
            get: |config| &config.$field,
            get_mut: |config| &mut config.$field,
        }
    };
}

/// Where a field of a `Choice` type is, and its words.
macro_rules! word_at {
    ($field:ident: $choice:ty) => {
        $crate::config::kinds::WordAt {
            field: stringify!($field),
            names: || $crate::config::row::names_of::<$choice>(),
            get: |config| $crate::config::choices::Choice::word(config.$field),
            set: |config, word| $crate::config::row::store(&mut config.$field, word),
        }
    };
}
pub(crate) use {at, word_at};

/// The words of a list, for the text of an error.
pub(crate) fn names_of<T: Choice>() -> Vec<&'static str> {
    T::LIST.iter().map(|(name, _)| *name).collect()
}

/// Stores a word; tells whether that changed the value, or `None` when the word means nothing.
pub(crate) fn store<T: Choice>(slot: &mut T, word: &[u8]) -> Option<bool> {
    let value = T::from_word(word)?;
    let changed = *slot != value;
    *slot = value;
    Some(changed)
}
