//! Pure functions over bytes and numbers: hashes, checksums, patterns, number texts.

pub mod bits;
pub mod crc16;
pub mod crc64;
pub mod dtoa;
pub mod geohash;
pub mod glob;
pub mod hdr;
pub mod hyperloglog;
pub mod lcs;
pub mod longdouble;
pub mod lzf;
pub mod num;
pub mod partial_sort;
pub mod quote;
pub mod rng;
