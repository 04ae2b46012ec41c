//! RDB, version 11: the format of snapshots.
//!
//! ```text
//! REDIS0011 | aux | per database: SELECTDB n, RESIZEDB, ( [EXPIRE_MS t] type key value )* | EOF | crc64
//! length    00xxxxxx | 01xxxxxx xxxxxxxx | 80 u32be | 81 u64be   11xxxxxx: encoded string (int8/16/32, LZF)
//! ```

pub mod load;
pub mod save;

pub const VERSION: u32 = 11;

/// Opcodes.
pub mod op {
    pub const IDLE: u8 = 0xf8;
    pub const FREQ: u8 = 0xf9;
    pub const AUX: u8 = 0xfa;
    pub const RESIZE_DB: u8 = 0xfb;
    pub const EXPIRE_MS: u8 = 0xfc;
    pub const EXPIRE: u8 = 0xfd;
    pub const SELECT_DB: u8 = 0xfe;
    pub const EOF: u8 = 0xff;
}

/// Value types.
pub mod kind {
    pub const STRING: u8 = 0;
    pub const SET: u8 = 2;
    pub const HASH: u8 = 4;
    pub const ZSET_2: u8 = 5;
    pub const SET_INTSET: u8 = 11;
    pub const STREAM_LISTPACKS: u8 = 15;
    pub const HASH_LISTPACK: u8 = 16;
    pub const ZSET_LISTPACK: u8 = 17;
    pub const LIST_QUICKLIST_2: u8 = 18;
    pub const STREAM_LISTPACKS_2: u8 = 19;
    pub const SET_LISTPACK: u8 = 20;
    pub const STREAM_LISTPACKS_3: u8 = 21;
}

/// Containers of a quicklist node.
pub const NODE_PLAIN: u64 = 1;
pub const NODE_PACKED: u64 = 2;
