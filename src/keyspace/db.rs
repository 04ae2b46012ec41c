//! One database: its entries, and what expiry and memory need to know about them.

use crate::ds::dict::Dict;
use crate::sys::alloc;

#[derive(Default)]
pub struct Db {
    pub dict: Dict,
    /// Average TTL in milliseconds, as the expire cycle samples it.
    pub avg_ttl: i64,
    /// Where the expire cycle goes on scanning.
    pub expire_cursor: u64,
    /// Bytes that keys and tables of this database hold: the differences of the allocator's count
    /// around each change.
    pub bytes: isize,
}

impl Db {
    /// One step of whatever rehash is under way.
    #[inline]
    pub fn step(&mut self) {
        if self.dict.is_rehashing() {
            self.measured(|d| d.step());
        }
    }

    /// Runs a change and books what it allocated.
    #[inline]
    pub fn measured<R>(&mut self, change: impl FnOnce(&mut Dict) -> R) -> R {
        let before = alloc::mine();
        let r = change(&mut self.dict);
        self.bytes += alloc::mine() - before;
        r
    }
}

impl Drop for Db {
    fn drop(&mut self) {
        self.dict.drain(|t, e, w| drop(crate::object::value::Value::from_remains(Some((t, e, w)))));
    }
}
