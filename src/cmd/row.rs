//! The shape of a command's row: data only, and one function. Everything that is said about a command
//! (dispatch, COMMAND INFO, COMMAND DOCS, ACL categories, key extraction) is read from here.
//!
//! Names, flag names and the order in which they print are those of `COMMAND INFO` in Redis 7.2.

use crate::proto::error::CmdError;

/// Command flags, one bit each; `NAMES` gives the texts of COMMAND INFO in print order.
pub mod flag {
    pub const WRITE: u64 = 1 << 0;
    pub const READONLY: u64 = 1 << 1;
    pub const DENYOOM: u64 = 1 << 2;
    pub const MODULE: u64 = 1 << 3;
    pub const ADMIN: u64 = 1 << 4;
    pub const PUBSUB: u64 = 1 << 5;
    pub const NOSCRIPT: u64 = 1 << 6;
    pub const BLOCKING: u64 = 1 << 7;
    pub const LOADING: u64 = 1 << 8;
    pub const STALE: u64 = 1 << 9;
    pub const SKIP_MONITOR: u64 = 1 << 10;
    pub const SKIP_SLOWLOG: u64 = 1 << 11;
    pub const ASKING: u64 = 1 << 12;
    pub const FAST: u64 = 1 << 13;
    pub const NO_AUTH: u64 = 1 << 14;
    pub const MAY_REPLICATE: u64 = 1 << 15;
    pub const SENTINEL: u64 = 1 << 16;
    pub const NO_MANDATORY_KEYS: u64 = 1 << 18;
    /// Runs only where the configuration says so.
    pub const PROTECTED: u64 = PROTECTED_DEBUG | PROTECTED_MODULE;
    /// Under `enable-debug-command`.
    pub const PROTECTED_DEBUG: u64 = 1 << 19;
    /// Under `enable-module-command`.
    pub const PROTECTED_MODULE: u64 = 1 << 17;
    pub const NO_ASYNC_LOADING: u64 = 1 << 20;
    pub const NO_MULTI: u64 = 1 << 21;
    pub const ALLOW_BUSY: u64 = 1 << 22;
    pub const TOUCHES_ARBITRARY_KEYS: u64 = 1 << 23;
    /// Keys depend on the arguments in a way that the key specs do not fully express.
    pub const MOVABLE_KEYS: u64 = 1 << 24;
    /// Begins a transaction.
    pub const MULTI: u64 = 1 << 25;
    /// Runs what a transaction has queued: does what that does.
    pub const EXEC: u64 = 1 << 26;
    /// Ends a transaction, one way or another.
    pub const ENDS_MULTI: u64 = 1 << 27;
    /// Inside MULTI it runs at once instead of being queued.
    pub const INSIDE_MULTI: u64 = 1 << 28;
    /// Runs a script, which may say more about itself than the row does.
    pub const RUNS_SCRIPT: u64 = 1 << 29;
    /// The script is given by the digest of its body.
    pub const SCRIPT_BY_NAME: u64 = 1 << 30;
    /// A RESP2 client that is subscribed may call it.
    pub const WHILE_SUBSCRIBED: u64 = 1 << 31;
    /// Refused as a write is when the disk fails, so that health checks see it.
    pub const REPORTS_DISK: u64 = 1 << 32;
    /// Counts as a use of its keys also after CLIENT NO-TOUCH.
    pub const TOUCHES: u64 = 1 << 33;
    /// The script is a function of a library, given by its name.
    pub const FUNCTION_BY_NAME: u64 = 1 << 34;
    /// Is about the connection: CLIENT CACHING is still about the next request after it.
    pub const KEEPS_CACHING: u64 = 1 << 35;
    /// Hands its keys over to another node of the cluster.
    pub const HANDS_OVER: u64 = 1 << 36;
    /// The first argument is a channel that it sends to.
    pub const TO_CHANNEL: u64 = 1 << 40;
    /// The arguments are channels that it listens to.
    pub const FROM_CHANNELS: u64 = 1 << 41;
    /// The arguments are patterns of channels that it listens to.
    pub const FROM_PATTERNS: u64 = 1 << 42;

    /// What COMMAND INFO prints, in its order. Flags that are not listed are internal.
    pub const NAMES: &[(u64, &str)] = &[
        (WRITE, "write"),
        (READONLY, "readonly"),
        (DENYOOM, "denyoom"),
        (MODULE, "module"),
        (ADMIN, "admin"),
        (PUBSUB, "pubsub"),
        (NOSCRIPT, "noscript"),
        (BLOCKING, "blocking"),
        (LOADING, "loading"),
        (STALE, "stale"),
        (SKIP_MONITOR, "skip_monitor"),
        (SKIP_SLOWLOG, "skip_slowlog"),
        (ASKING, "asking"),
        (FAST, "fast"),
        (NO_AUTH, "no_auth"),
        (NO_MANDATORY_KEYS, "no_mandatory_keys"),
        (NO_ASYNC_LOADING, "no_async_loading"),
        (NO_MULTI, "no_multi"),
        (MOVABLE_KEYS, "movablekeys"),
        (ALLOW_BUSY, "allow_busy"),
    ];
}

/// ACL categories, one bit each. The categories that follow from flags (`@write`, `@read`, `@admin`,
/// `@dangerous`, `@fast`, `@slow`, `@pubsub`, `@blocking`) are added when the table is built.
pub mod cat {
    pub const KEYSPACE: u32 = 1 << 0;
    pub const READ: u32 = 1 << 1;
    pub const WRITE: u32 = 1 << 2;
    pub const SET: u32 = 1 << 3;
    pub const SORTEDSET: u32 = 1 << 4;
    pub const LIST: u32 = 1 << 5;
    pub const HASH: u32 = 1 << 6;
    pub const STRING: u32 = 1 << 7;
    pub const BITMAP: u32 = 1 << 8;
    pub const HYPERLOGLOG: u32 = 1 << 9;
    pub const GEO: u32 = 1 << 10;
    pub const STREAM: u32 = 1 << 11;
    pub const PUBSUB: u32 = 1 << 12;
    pub const ADMIN: u32 = 1 << 13;
    pub const FAST: u32 = 1 << 14;
    pub const SLOW: u32 = 1 << 15;
    pub const BLOCKING: u32 = 1 << 16;
    pub const DANGEROUS: u32 = 1 << 17;
    pub const CONNECTION: u32 = 1 << 18;
    pub const TRANSACTION: u32 = 1 << 19;
    pub const SCRIPTING: u32 = 1 << 20;

    pub const NAMES: &[(u32, &str)] = &[
        (KEYSPACE, "keyspace"),
        (READ, "read"),
        (WRITE, "write"),
        (SET, "set"),
        (SORTEDSET, "sortedset"),
        (LIST, "list"),
        (HASH, "hash"),
        (STRING, "string"),
        (BITMAP, "bitmap"),
        (HYPERLOGLOG, "hyperloglog"),
        (GEO, "geo"),
        (STREAM, "stream"),
        (PUBSUB, "pubsub"),
        (ADMIN, "admin"),
        (FAST, "fast"),
        (SLOW, "slow"),
        (BLOCKING, "blocking"),
        (DANGEROUS, "dangerous"),
        (CONNECTION, "connection"),
        (TRANSACTION, "transaction"),
        (SCRIPTING, "scripting"),
    ];
}

/// What a command does with the keys of one spec.
pub mod key {
    pub const RO: u32 = 1 << 0;
    pub const RW: u32 = 1 << 1;
    pub const OW: u32 = 1 << 2;
    pub const RM: u32 = 1 << 3;
    pub const ACCESS: u32 = 1 << 4;
    pub const UPDATE: u32 = 1 << 5;
    pub const INSERT: u32 = 1 << 6;
    pub const DELETE: u32 = 1 << 7;
    pub const NOT_KEY: u32 = 1 << 8;
    pub const INCOMPLETE: u32 = 1 << 9;
    pub const VARIABLE_FLAGS: u32 = 1 << 10;

    pub const NAMES: &[(u32, &str)] = &[
        (RO, "RO"),
        (RW, "RW"),
        (OW, "OW"),
        (RM, "RM"),
        (ACCESS, "access"),
        (UPDATE, "update"),
        (INSERT, "insert"),
        (DELETE, "delete"),
        (NOT_KEY, "not_key"),
        (INCOMPLETE, "incomplete"),
        (VARIABLE_FLAGS, "variable_flags"),
    ];
}

/// Where the search for keys begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Begin {
    Index(i32),
    Keyword(&'static str, i32),
    Unknown,
}

/// How keys follow from the begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Find {
    /// `last` is relative to the begin; -1 is the last argument, -2 the one before; `limit` as in
    /// COMMAND INFO.
    Range {
        last: i32,
        step: i32,
        limit: i32,
    },
    KeyNum {
        num: i32,
        first: i32,
        step: i32,
    },
    Unknown,
}

#[derive(Clone, Copy, Debug)]
pub struct KeySpec {
    pub notes: &'static str,
    pub flags: u32,
    pub begin: Begin,
    pub find: Find,
}

impl KeySpec {
    /// One key at argument `at`.
    pub const fn one(flags: u32, at: i32) -> Self {
        Self::range(flags, at, 0, 1)
    }
    pub const fn range(flags: u32, at: i32, last: i32, step: i32) -> Self {
        KeySpec { notes: "", flags, begin: Begin::Index(at), find: Find::Range { last, step, limit: 0 } }
    }
    /// A count of keys at argument `at`, followed by that many keys.
    pub const fn keynum(flags: u32, at: i32) -> Self {
        let find = Find::KeyNum { num: 0, first: 1, step: 1 };
        KeySpec { notes: "", flags, begin: Begin::Index(at), find }
    }
    /// Keys that begin after `word`, which is searched from argument `from` (negative: backwards from
    /// the end).
    pub const fn keyword(flags: u32, word: &'static str, from: i32, last: i32, step: i32) -> Self {
        let find = Find::Range { last, step, limit: 0 };
        KeySpec { notes: "", flags, begin: Begin::Keyword(word, from), find }
    }
    /// Keys that no spec can describe.
    pub const fn unknown(flags: u32) -> Self {
        KeySpec { notes: "", flags, begin: Begin::Unknown, find: Find::Unknown }
    }
    /// Only the first 1/`limit` of the arguments of a range are keys.
    pub const fn limit(mut self, limit: i32) -> Self {
        match self.find {
            Find::Range { last, step, .. } => self.find = Find::Range { last, step, limit },
            Find::KeyNum { .. } | Find::Unknown => panic!("only a range has a limit"),
        }
        self
    }
    pub const fn note(mut self, notes: &'static str) -> Self {
        self.notes = notes;
        self
    }
}

/// Flags of a node of the argument tree.
pub mod argflag {
    pub const OPTIONAL: u8 = 1;
    pub const MULTIPLE: u8 = 2;
    pub const MULTIPLE_TOKEN: u8 = 4;
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ArgKind {
    String,
    Integer,
    Double,
    Key,
    Pattern,
    UnixTime,
    PureToken,
    OneOf,
    Block,
}

/// A node of the argument tree that COMMAND DOCS prints. Empty texts are absent fields.
#[derive(Clone, Copy, Debug)]
pub struct ArgDoc {
    pub name: &'static str,
    pub kind: ArgKind,
    /// Empty when it equals `name`.
    pub display: &'static str,
    /// -1 where no key spec belongs to it.
    pub key_spec: i8,
    /// Printed for every word, even the empty one (MIGRATE has it), elsewhere absent when empty.
    pub token: &'static str,
    pub summary: &'static str,
    pub since: &'static str,
    pub deprecated_since: &'static str,
    pub flags: u8,
    pub args: &'static [ArgDoc],
}

impl ArgDoc {
    pub const fn new(name: &'static str, kind: ArgKind) -> Self {
        ArgDoc {
            name,
            kind,
            display: "",
            key_spec: -1,
            token: "",
            summary: "",
            since: "",
            deprecated_since: "",
            flags: 0,
            args: &[],
        }
    }
    pub const fn string(name: &'static str) -> Self {
        Self::new(name, ArgKind::String)
    }
    pub const fn integer(name: &'static str) -> Self {
        Self::new(name, ArgKind::Integer)
    }
    pub const fn double(name: &'static str) -> Self {
        Self::new(name, ArgKind::Double)
    }
    pub const fn pattern(name: &'static str) -> Self {
        Self::new(name, ArgKind::Pattern)
    }
    pub const fn unix_time(name: &'static str) -> Self {
        Self::new(name, ArgKind::UnixTime)
    }
    /// A key that the key spec of that index finds.
    pub const fn key(name: &'static str, spec: i8) -> Self {
        let mut arg = Self::new(name, ArgKind::Key);
        arg.key_spec = spec;
        arg
    }
    /// A word that stands for itself.
    pub const fn word(name: &'static str, token: &'static str) -> Self {
        Self::new(name, ArgKind::PureToken).token(token)
    }
    /// One of `args`.
    pub const fn oneof(name: &'static str, args: &'static [ArgDoc]) -> Self {
        assert!(args.len() >= 2, "a choice needs alternatives");
        let mut arg = Self::new(name, ArgKind::OneOf);
        arg.args = args;
        arg
    }
    /// All of `args`, in their order.
    pub const fn block(name: &'static str, args: &'static [ArgDoc]) -> Self {
        assert!(args.len() >= 2, "a block groups several arguments");
        let mut arg = Self::new(name, ArgKind::Block);
        arg.args = args;
        arg
    }
    /// For what is no key itself but leads the key spec of that index to some (patterns of SORT).
    pub const fn spec(mut self, spec: i8) -> Self {
        self.key_spec = spec;
        self
    }
    pub const fn token(mut self, token: &'static str) -> Self {
        self.token = token;
        self
    }
    /// The text shown for it, where that is not its name.
    pub const fn shown(mut self, display: &'static str) -> Self {
        self.display = display;
        self
    }
    pub const fn optional(mut self) -> Self {
        self.flags |= argflag::OPTIONAL;
        self
    }
    pub const fn multiple(mut self) -> Self {
        self.flags |= argflag::MULTIPLE;
        self
    }
    /// Repeated together with its token.
    pub const fn multiple_token(mut self) -> Self {
        self.flags |= argflag::MULTIPLE | argflag::MULTIPLE_TOKEN;
        self
    }
    pub const fn since(mut self, version: &'static str) -> Self {
        self.since = version;
        self
    }
    pub const fn deprecated_since(mut self, version: &'static str) -> Self {
        self.deprecated_since = version;
        self
    }
}

/// Flags of COMMAND DOCS: `deprecated`, `syscmd`.
pub mod docflag {
    pub const DEPRECATED: u8 = 1;
    pub const SYSCMD: u8 = 2;
}

/// What COMMAND DOCS says. Facts as upstream's, sentences our own.
#[derive(Clone, Copy, Debug)]
pub struct Docs {
    pub summary: &'static str,
    pub since: &'static str,
    /// As printed: `string`, `generic`, `sorted-set`, `server`, `connection` ...
    pub group: &'static str,
    pub complexity: &'static str,
    pub flags: u8,
    pub deprecated_since: &'static str,
    pub replaced_by: &'static str,
    pub history: &'static [(&'static str, &'static str)],
    /// Command tips (`nondeterministic_output`, `request_policy:all_shards` ...), printed by COMMAND
    /// INFO.
    pub tips: &'static [&'static str],
    pub args: &'static [ArgDoc],
}

impl Docs {
    pub const NONE: Docs = Docs {
        summary: "",
        since: "",
        group: "",
        complexity: "",
        flags: 0,
        deprecated_since: "",
        replaced_by: "",
        history: &[],
        tips: &[],
        args: &[],
    };

    pub const fn new(
        group: &'static str,
        since: &'static str,
        summary: &'static str,
        complexity: &'static str,
    ) -> Self {
        Docs { summary, since, group, complexity, ..Docs::NONE }
    }
    pub const fn args(mut self, args: &'static [ArgDoc]) -> Self {
        self.args = args;
        self
    }
    pub const fn tips(mut self, tips: &'static [&'static str]) -> Self {
        self.tips = tips;
        self
    }
    pub const fn history(mut self, history: &'static [(&'static str, &'static str)]) -> Self {
        self.history = history;
        self
    }
    pub const fn deprecated(mut self, since: &'static str, replaced_by: &'static str) -> Self {
        self.flags |= docflag::DEPRECATED;
        self.deprecated_since = since;
        self.replaced_by = replaced_by;
        self
    }
    /// Not meant for users.
    pub const fn syscmd(mut self) -> Self {
        self.flags |= docflag::SYSCMD;
        self
    }
}

/// How a handler ended, when it did not fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flow {
    Done,
    /// The client waits; the reply comes later.
    Block,
    /// Close when the reply has left.
    Close,
    /// Nothing ran: the request stays in the buffer and is tried again later.
    Postponed,
}

/// Finds the keys of a command whose specs do not tell all, and adds their positions and `key` flags; None
/// for bad arguments.
pub type KeyFinder = fn(&[&[u8]], &mut Vec<(usize, u32)>) -> Option<()>;

/// Places of the arguments that nothing may show: passwords, and the names that go with them. Asked by the
/// slow log, MONITOR, and whatever else keeps or prints arguments.
pub type SecretFinder = fn(&[&[u8]]) -> Vec<usize>;

/// One command, as data, and the function that runs it. What a handler `H` takes is named where the
/// server is: this room knows neither.
#[derive(Clone, Copy)]
pub struct Row<H: 'static> {
    pub name: &'static str,
    /// Number of arguments with the name; below zero: at least so many.
    pub arity: i32,
    pub flags: u64,
    pub acl: u32,
    pub keys: &'static [KeySpec],
    pub getkeys: Option<KeyFinder>,
    /// Finds the keys that the handler uses and that `keys` and `getkeys`, whose answers clients know, can be
    /// led past: permission is asked for both.
    pub used_keys: Option<KeyFinder>,
    /// None for a command whose arguments may be shown.
    pub secrets: Option<SecretFinder>,
    /// Where the first argument stands that is looked up in the value of the key, and fetched ahead; 0 for
    /// nowhere.
    pub member_at: u8,
    pub run: H,
    pub subs: &'static [Row<H>],
    pub docs: &'static Docs,
}

impl<H> Row<H> {
    /// What a row leaves out; `run` is the handler of rows that only hold subcommands.
    pub const fn blank(run: H) -> Self {
        Row {
            name: "",
            arity: 0,
            flags: 0,
            acl: 0,
            keys: &[],
            getkeys: None,
            used_keys: None,
            secrets: None,
            member_at: 0,
            run,
            subs: &[],
            docs: &Docs::NONE,
        }
    }
}

const _: () = assert!(size_of::<Result<Flow, CmdError>>() <= 16);
