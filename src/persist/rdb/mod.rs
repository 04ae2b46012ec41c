//! RDB, version 11: the format of snapshots, and of the payloads of DUMP.
//!
//! ```text
//! REDIS0011 | aux | ( FUNCTION2 code )* | per database: SELECTDB n, RESIZEDB,
//!           ( [EXPIRE_MS t] type key value )* | EOF | crc64
//! payload: type value, or ( FUNCTION2 code )* | version u16le | crc64
//! length    00xxxxxx | 01xxxxxx xxxxxxxx | 80 u32be | 81 u64be   11xxxxxx: encoded string (int8/16/32, LZF)
//! ```

pub mod error;
pub mod load;
pub mod save;
pub mod source;
mod ziplist;
mod zipmap;

/// Why the bytes of a collection are not what they should be.
type Broken = &'static str;

pub const VERSION: u32 = 11;

/// Opcodes.
pub mod op {
    /// A library of functions, in the form of a release candidate of 7.0.
    pub const FUNCTION_PRE_GA: u8 = 0xf6;
    /// A library of functions: its code.
    pub const FUNCTION2: u8 = 0xf5;
    pub const MODULE_AUX: u8 = 0xf7;
    pub const IDLE: u8 = 0xf8;
    pub const FREQ: u8 = 0xf9;
    pub const AUX: u8 = 0xfa;
    pub const RESIZE_DB: u8 = 0xfb;
    pub const EXPIRE_MS: u8 = 0xfc;
    pub const EXPIRE: u8 = 0xfd;
    pub const SELECT_DB: u8 = 0xfe;
    pub const EOF: u8 = 0xff;
}

/// Value types. Those that Redis 7.2 writes no more are marked with the last version that did.
pub mod kind {
    pub const STRING: u8 = 0;
    /// 3.0
    pub const LIST: u8 = 1;
    pub const SET: u8 = 2;
    /// 3.2; scores are texts.
    pub const ZSET: u8 = 3;
    pub const HASH: u8 = 4;
    pub const ZSET_2: u8 = 5;
    pub const MODULE_PRE_GA: u8 = 6;
    pub const MODULE_2: u8 = 7;
    /// 2.4
    pub const HASH_ZIPMAP: u8 = 9;
    /// 3.0
    pub const LIST_ZIPLIST: u8 = 10;
    pub const SET_INTSET: u8 = 11;
    /// 6.2
    pub const ZSET_ZIPLIST: u8 = 12;
    /// 6.2
    pub const HASH_ZIPLIST: u8 = 13;
    /// 6.2; nodes are ziplists.
    pub const LIST_QUICKLIST: u8 = 14;
    /// 6.2
    pub const STREAM_LISTPACKS: u8 = 15;
    pub const HASH_LISTPACK: u8 = 16;
    pub const ZSET_LISTPACK: u8 = 17;
    pub const LIST_QUICKLIST_2: u8 = 18;
    /// 7.0
    pub const STREAM_LISTPACKS_2: u8 = 19;
    pub const SET_LISTPACK: u8 = 20;
    pub const STREAM_LISTPACKS_3: u8 = 21;

    /// As redis-check-rdb calls them; a gap has no name.
    pub const NAMES: [&str; 22] = [
        "string",
        "list-linked",
        "set-hashtable",
        "zset-v1",
        "hash-hashtable",
        "zset-v2",
        "module-pre-release",
        "module-value",
        "",
        "hash-zipmap",
        "list-ziplist",
        "set-intset",
        "zset-ziplist",
        "hash-ziplist",
        "quicklist",
        "stream",
        "hash-listpack",
        "zset-listpack",
        "quicklist-v2",
        "stream-v2",
        "set-listpack",
        "stream-v3",
    ];
}

/// Containers of a quicklist node.
pub const NODE_PLAIN: u64 = 1;
pub const NODE_PACKED: u64 = 2;
