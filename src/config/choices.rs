//! The directives whose value is one word of a list, one enum each, and the word list beside it.
//!
//! A list may name one value twice (`oom-score-adj yes` is `relative`): reading accepts both words, and
//! printing takes the first one of the list. The order of a list is visible in the error text
//! `argument(s) must be one of the following: ...`, so it is upstream's.

use crate::sys::log;
pub use crate::sys::log::Level as LogLevel;
pub use crate::sys::supervise::SuperviseMode as Supervised;

/// What the table needs to know about such an enum.
pub trait Choice: Copy + PartialEq + 'static {
    /// Every accepted word with its value, in the order of the error text.
    const LIST: &'static [(&'static str, Self)];

    /// The word that CONFIG GET prints.
    fn word(self) -> &'static str {
        Self::LIST.iter().find(|(_, value)| *value == self).map_or("unknown", |(name, _)| name)
    }

    /// The value of a word, in any case of letters.
    fn from_word(word: &[u8]) -> Option<Self> {
        let found = Self::LIST.iter().find(|(name, _)| name.as_bytes().eq_ignore_ascii_case(word));
        found.map(|(_, value)| *value)
    }
}

macro_rules! choices {
    ($($(#[$doc:meta])* $name:ident { $($(#[$vdoc:meta])* $variant:ident),* $(,)? }
        words { $first:literal => $first_value:ident $(, $word:literal => $value:ident)* $(,)? })*) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum $name { $($(#[$vdoc])* $variant),* }

        impl Choice for $name {
            const LIST: &'static [(&'static str, Self)] =
                &[($first, Self::$first_value) $(, ($word, Self::$value))*];
        }
    )*};
}

choices! {
    /// `maxmemory-policy`: which keys make room when memory is short.
    MaxmemoryPolicy {
        VolatileLru, VolatileLfu, VolatileRandom, VolatileTtl,
        AllkeysLru, AllkeysLfu, AllkeysRandom, NoEviction,
    } words {
        "volatile-lru" => VolatileLru, "volatile-lfu" => VolatileLfu, "volatile-random" => VolatileRandom,
        "volatile-ttl" => VolatileTtl, "allkeys-lru" => AllkeysLru, "allkeys-lfu" => AllkeysLfu,
        "allkeys-random" => AllkeysRandom, "noeviction" => NoEviction,
    }

    /// `appendfsync`.
    AppendFsync { EverySec, Always, No }
    words { "everysec" => EverySec, "always" => Always, "no" => No }

    /// `repl-diskless-load`.
    DisklessLoad { Disabled, OnEmptyDb, SwapDb }
    words { "disabled" => Disabled, "on-empty-db" => OnEmptyDb, "swapdb" => SwapDb }

    /// `tls-auth-clients`.
    TlsAuthClients { No, Yes, Optional }
    words { "no" => No, "yes" => Yes, "optional" => Optional }

    /// `oom-score-adj`.
    OomScoreAdj { No, Relative, Absolute }
    words { "no" => No, "yes" => Relative, "relative" => Relative, "absolute" => Absolute }

    /// `acl-pubsub-default`: the channels of a user that was created without naming any.
    AclPubsubDefault { AllChannels, ResetChannels }
    words { "allchannels" => AllChannels, "resetchannels" => ResetChannels }

    /// `sanitize-dump-payload`: the clients whose payloads are checked in depth.
    SanitizeDump { No, Yes, Clients }
    words { "no" => No, "yes" => Yes, "clients" => Clients }

    /// The connections that may use a guarded feature: none, all, or those from this machine.
    ProtectedAction { No, Yes, Local }
    words { "no" => No, "yes" => Yes, "local" => Local }

    /// `cluster-preferred-endpoint-type`.
    EndpointType { Ip, Hostname, Unknown }
    words { "ip" => Ip, "hostname" => Hostname, "unknown-endpoint" => Unknown }

    /// `propagation-error-behavior`: what an error in the stream from a master or in the AOF leads to.
    PropagationError { Ignore, Panic, PanicOnReplicas }
    words { "ignore" => Ignore, "panic" => Panic, "panic-on-replicas" => PanicOnReplicas }
}

impl Choice for LogLevel {
    const LIST: &'static [(&'static str, Self)] = &log::LEVELS;
}

impl Choice for Supervised {
    const LIST: &'static [(&'static str, Self)] = &[
        ("upstart", Supervised::Upstart),
        ("systemd", Supervised::Systemd),
        ("auto", Supervised::Auto),
        ("no", Supervised::No),
    ];
}

/// `syslog-facility`, by the number that the system has for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SyslogFacility(pub i32);

impl Choice for SyslogFacility {
    const LIST: &'static [(&'static str, Self)] = &{
        let mut list = [("", SyslogFacility(0)); log::FACILITIES.len()];
        let mut index = 0;
        while index < list.len() {
            list[index] = (log::FACILITIES[index].0, SyslogFacility(log::FACILITIES[index].1));
            index += 1;
        }
        list
    };
}

impl MaxmemoryPolicy {
    /// Ranks keys by the time of their last use.
    pub fn is_lru(self) -> bool {
        matches!(self, Self::VolatileLru | Self::AllkeysLru)
    }

    /// Ranks keys by how often they are used.
    pub fn is_lfu(self) -> bool {
        matches!(self, Self::VolatileLfu | Self::AllkeysLfu)
    }

    /// Each key must age by itself, so that no two may share a value
    /// (MAXMEMORY_FLAG_NO_SHARED_INTEGERS).
    pub fn needs_own_lru(self) -> bool {
        self.is_lru() || self.is_lfu()
    }
}

impl ProtectedAction {
    /// Whether a connection may go on; `local` says that it comes from this machine.
    pub fn allows(self, local: bool) -> bool {
        match self {
            Self::No => false,
            Self::Yes => true,
            Self::Local => local,
        }
    }
}

/// The bits of `shutdown-on-sigint` and `shutdown-on-sigterm`, equal to those of SHUTDOWN itself.
pub mod shutdown {
    pub const SAVE: u32 = 1;
    pub const NOSAVE: u32 = 2;
    pub const NOW: u32 = 4;
    pub const FORCE: u32 = 8;

    pub const NAMES: &[(&str, u32)] =
        &[("default", 0), ("save", SAVE), ("nosave", NOSAVE), ("now", NOW), ("force", FORCE)];
}
