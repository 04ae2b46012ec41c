//! One listpack made of two, and two of one.

use super::codec::HEADER;
use super::{Change, EMPTY_LEN, Listpack, count_field};

impl Listpack {
    /// Cuts off the entries from `index` on and gives them as a listpack of their own.
    pub fn split_off(&mut self, index: usize) -> Listpack {
        let mut tail = Listpack::new();
        let Some(pos) = i64::try_from(index).ok().and_then(|i| self.seek(i)) else { return tail };
        let (at, moved) = (pos.offset(), self.len() - index);
        let bytes = self.total() - 1 - at;
        let to = tail.make_room(Change { at: HEADER, removed: 0, added: bytes }, count_field(moved));
        // SAFETY: `bytes` bytes from the entry at `at` to the end byte; the room is in another block.
        unsafe { to.copy_from_nonoverlapping(self.start().add(at), bytes) };
        self.make_room(Change { at, removed: bytes, added: 0 }, count_field(index));
        tail
    }

    /// `first` followed by `second`, in the block of the longer one.
    pub fn merge(mut first: Listpack, mut second: Listpack) -> Listpack {
        let count = count_field(first.len() + second.len());
        let append = first.total() >= second.total();
        let (keep, give) = if append { (&mut first, &second) } else { (&mut second, &first) };
        let at = if append { keep.total() - 1 } else { HEADER };
        let added = give.total() - EMPTY_LEN;
        let to = keep.make_room(Change { at, removed: 0, added }, count);
        // SAFETY: `added` bytes of entries follow the header; the room is in another block.
        unsafe { to.copy_from_nonoverlapping(give.start().add(HEADER), added) };
        if append { first } else { second }
    }
}
