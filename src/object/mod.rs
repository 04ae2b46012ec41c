//! Values and their encodings: every choice of an encoding and every conversion lives here.

pub mod digest;
pub mod hash;
pub mod hll;
pub mod list;
pub mod set;
pub mod set_ops;
pub mod stream;
pub mod tables;
pub mod value;
pub mod zset;

/// The bounds at which values change their encoding, of all types; the keyspace's policy carries them.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    pub list: list::Limits,
    pub set: set::Limits,
    pub hash: hash::Limits,
    pub zset: zset::Limits,
    /// `hll-sparse-max-bytes`
    pub hll_sparse_max_bytes: usize,
    /// `stream-node-max-bytes`
    pub stream_node_max_bytes: usize,
    /// `stream-node-max-entries`
    pub stream_node_max_entries: usize,
}

impl Limits {
    /// When a stream's block is full.
    pub fn stream(&self) -> stream::entries::Limits {
        stream::entries::Limits {
            bytes: self.stream_node_max_bytes,
            entries: self.stream_node_max_entries,
        }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            list: list::Limits::default(),
            set: set::Limits::default(),
            hash: hash::Limits::default(),
            zset: zset::Limits::default(),
            hll_sparse_max_bytes: 3000,
            stream_node_max_bytes: 4096,
            stream_node_max_entries: 100,
        }
    }
}
