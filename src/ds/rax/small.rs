//! A growing array that stays inside its owner while it is short: the key and the stack of an iterator,
//! so that a look at one element of a stream allocates nothing.

use std::mem::MaybeUninit;
use std::ops::{Deref, DerefMut};

pub(super) struct Small<T, const N: usize> {
    /// Entries in `near`, the first `len` of which are written; unused once they moved to `far`.
    len: usize,
    near: [MaybeUninit<T>; N],
    far: Vec<T>,
}

impl<T: Copy, const N: usize> Small<T, N> {
    #[inline]
    pub fn new() -> Self {
        Small { len: 0, near: [const { MaybeUninit::uninit() }; N], far: Vec::new() }
    }

    #[inline]
    fn is_far(&self) -> bool {
        self.far.capacity() != 0
    }

    #[inline]
    pub fn extend(&mut self, more: &[T]) {
        if let [one] = more {
            return self.push(*one);
        }
        if !self.is_far() && more.len() <= N - self.len {
            for (room, item) in self.near[self.len..].iter_mut().zip(more) {
                room.write(*item);
            }
            self.len += more.len();
        } else {
            self.extend_far(more);
        }
    }

    #[inline]
    pub fn push(&mut self, item: T) {
        if !self.is_far() && self.len < N {
            self.near[self.len].write(item);
            self.len += 1;
        } else {
            self.extend_far(&[item]);
        }
    }

    #[cold]
    fn extend_far(&mut self, more: &[T]) {
        if !self.is_far() {
            let mut far = Vec::with_capacity(2 * N + more.len());
            far.extend_from_slice(self);
            self.far = far;
        }
        self.far.extend_from_slice(more);
    }

    #[inline]
    pub fn truncate(&mut self, len: usize) {
        if self.is_far() {
            self.far.truncate(len);
        } else {
            self.len = self.len.min(len);
        }
    }

    #[inline]
    pub fn pop(&mut self) -> Option<T> {
        let last = self.last().copied()?;
        self.truncate(self.len() - 1);
        Some(last)
    }
}

impl<T, const N: usize> Deref for Small<T, N> {
    type Target = [T];

    #[inline]
    fn deref(&self) -> &[T] {
        if self.far.capacity() != 0 {
            return &self.far;
        }
        debug_assert!(self.len <= N);
        // SAFETY: the first `len` entries are written, and `len` never exceeds N.
        unsafe { std::slice::from_raw_parts(self.near.as_ptr().cast(), self.len) }
    }
}

impl<T, const N: usize> DerefMut for Small<T, N> {
    #[inline]
    fn deref_mut(&mut self) -> &mut [T] {
        if self.far.capacity() != 0 {
            return &mut self.far;
        }
        debug_assert!(self.len <= N);
        // SAFETY: as in `deref`, and borrowed alone.
        unsafe { std::slice::from_raw_parts_mut(self.near.as_mut_ptr().cast(), self.len) }
    }
}

impl<T: Copy, const N: usize> Clone for Small<T, N> {
    fn clone(&self) -> Self {
        let mut copy = Small::new();
        copy.extend(self);
        copy
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moves_out_when_it_grows_and_keeps_its_order() {
        let mut small = Small::<u8, 4>::new();
        let mut twin = Vec::new();
        for round in 0..12_u8 {
            let more: Vec<u8> = (0..round % 4).collect();
            small.extend(&more);
            twin.extend(more);
            small.push(round);
            twin.push(round);
            if round % 3 == 0 {
                assert_eq!(small.pop(), twin.pop());
            }
            assert_eq!(small[..], twin[..]);
            assert_eq!(small.last_mut(), twin.last_mut());
            assert_eq!(small.clone()[..], twin[..]);
        }
        small.truncate(2);
        assert_eq!(small[..], twin[..2]);
        small.truncate(0);
        assert_eq!((small.pop(), small.last_mut()), (None, None));
    }
}
