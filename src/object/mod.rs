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
pub struct ValueLimits {
    pub list: list::ListLimits,
    pub set: set::SetLimits,
    pub hash: hash::HashLimits,
    pub zset: zset::ZsetLimits,
    /// `hll-sparse-max-bytes`
    pub hll_sparse_max_bytes: usize,
    /// `stream-node-max-bytes`
    pub stream_node_max_bytes: usize,
    /// `stream-node-max-entries`
    pub stream_node_max_entries: usize,
}

impl ValueLimits {
    /// When a stream's block is full.
    pub fn stream(&self) -> stream::entries::StreamLimits {
        stream::entries::StreamLimits {
            bytes: self.stream_node_max_bytes,
            entries: self.stream_node_max_entries,
        }
    }
}

impl Default for ValueLimits {
    fn default() -> Self {
        ValueLimits {
            list: list::ListLimits::default(),
            set: set::SetLimits::default(),
            hash: hash::HashLimits::default(),
            zset: zset::ZsetLimits::default(),
            hll_sparse_max_bytes: 3000,
            stream_node_max_bytes: 4096,
            stream_node_max_entries: 100,
        }
    }
}
