//! Blocks of the standard containers, moved out of sparse slabs; and where a walk through a big value
//! stands that moves the value's blocks part by part.
//!
//! ```text
//! owner ──► block     sparse slab?  ──►  owner ──► the same bytes elsewhere
//! ```
//!
//! Each structure has a `defrag` of its own that moves its blocks and mends what leads to them. Size and
//! content stay what they are, and so does all that is counted.

use crate::sys::defrag::Mover;
use std::alloc::Layout;
use std::collections::VecDeque;
use std::mem::{self, ManuallyDrop};
use std::ptr::{self, NonNull};

/// Where a walk through a value goes on. The value may have become another one since: whatever stands here,
/// the walk goes on somewhere, or ends.
#[derive(Debug, Default)]
pub struct DefragCursor {
    /// Parts of the value that are done.
    pub stage: u32,
    /// A place in the part.
    pub at: u64,
    /// Keys from this one on are to come, inside of `name`.
    pub key: Vec<u8>,
    pub name: Vec<u8>,
    begun: bool,
}

impl DefragCursor {
    /// True for the first step of the walk.
    pub fn begins(&mut self) -> bool {
        !mem::replace(&mut self.begun, true)
    }

    /// On to the next part.
    pub fn next_stage(&mut self) {
        self.stage += 1;
        self.at = 0;
        self.key.clear();
    }
}

/// Moves what a box holds.
pub fn boxed<T>(b: &mut Box<T>, mover: &mut Mover) {
    let layout = Layout::new::<T>();
    if layout.size() == 0 {
        return;
    }
    let block = NonNull::from(&mut **b).cast();
    // SAFETY: a box holds a block of the global allocator with the layout of its type. What is overwritten
    // leads to a block that is gone, and is not dropped.
    unsafe {
        if let Some(new) = mover.try_relocate(block, layout) {
            ptr::write(b, Box::from_raw(new.cast().as_ptr()));
        }
    }
}

/// Moves the items of a boxed slice.
pub fn slice<T>(b: &mut Box<[T]>, mover: &mut Mover) {
    let (layout, len) = (Layout::for_value(&**b), b.len());
    if layout.size() == 0 {
        return;
    }
    let block = NonNull::from(&mut **b).cast();
    // SAFETY: as in `boxed`.
    unsafe {
        if let Some(new) = mover.try_relocate(block, layout) {
            let items = ptr::slice_from_raw_parts_mut(new.cast::<T>().as_ptr(), len);
            ptr::write(b, Box::from_raw(items));
        }
    }
}

/// Moves the items of a vector, and its room.
pub fn vector<T>(v: &mut Vec<T>, mover: &mut Mover) {
    let Some((block, layout)) = block_of(v.as_mut_ptr(), v.capacity()) else { return };
    if mover.wants(block, layout) {
        *v = moved(mem::take(v), mover);
    }
}

/// Moves the items of a ring, and its room.
pub fn ring<T>(r: &mut VecDeque<T>, mover: &mut Mover) {
    // Where in the block the first item lies does not matter: it lies in the same slab.
    let Some((inside, layout)) = block_of(r.as_mut_slices().0.as_mut_ptr(), r.capacity()) else {
        return;
    };
    if !r.is_empty() && mover.wants(inside, layout) {
        *r = VecDeque::from(moved(Vec::from(mem::take(r)), mover));
    }
}

/// The block behind a container of so many places.
fn block_of<T>(at: *mut T, capacity: usize) -> Option<(NonNull<u8>, Layout)> {
    let layout = Layout::array::<T>(capacity).ok().filter(|l| l.size() > 0)?;
    Some((NonNull::new(at.cast())?, layout))
}

fn moved<T>(v: Vec<T>, mover: &mut Mover) -> Vec<T> {
    let mut v = ManuallyDrop::new(v);
    let (len, capacity) = (v.len(), v.capacity());
    let Some((block, layout)) = block_of(v.as_mut_ptr(), capacity) else {
        return ManuallyDrop::into_inner(v);
    };
    // SAFETY: a vector's block has the layout of an array of its capacity; the vector that led to it is
    // forgotten.
    unsafe { Vec::from_raw_parts(mover.relocate(block, layout).cast().as_ptr(), len, capacity) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn containers_keep_their_items_elsewhere() {
        let mover = &mut Mover::always();
        let mut b = Box::new([7u64; 5]);
        let before = b.as_ptr().addr();
        boxed(&mut b, mover);
        assert_ne!(b.as_ptr().addr(), before);
        assert_eq!(*b, [7; 5]);
        let mut s: Box<[u8]> = b"bytes"[..].into();
        slice(&mut s, mover);
        assert_eq!(&*s, b"bytes");
        slice(&mut Box::<[u8]>::default(), mover);
        let mut v = Vec::with_capacity(10);
        v.extend(["a".to_string(), "b".to_string()]);
        vector(&mut v, mover);
        assert_eq!((v.capacity(), &v[..]), (10, &["a".to_string(), "b".to_string()][..]));
        let mut r: VecDeque<String> = (0..6).map(|i| i.to_string()).collect();
        r.rotate_left(3);
        let capacity = r.capacity();
        r.pop_front();
        r.push_back("x".into());
        r.push_back("y".into());
        ring(&mut r, mover);
        assert_eq!(r.iter().map(String::as_str).collect::<String>(), "45012xy");
        assert!(r.capacity() >= capacity);
        vector(&mut Vec::<u8>::new(), mover);
        ring(&mut VecDeque::<u8>::new(), mover);
        boxed(&mut Box::new(()), mover);
        assert_eq!((mover.hits, mover.misses), (4, 0));
    }
}
