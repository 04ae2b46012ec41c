//! Appending a short value between a head and a tail, in a few stores instead of three growing copies:
//! replies of many elements are made of nothing else. What head and tail say is the caller's matter.

use super::listpack::copy_short;

/// What stands before a value, in the form of one store: up to six bytes, a zero, and their number.
#[derive(Clone, Copy, Debug)]
pub struct Head([u8; 8]);

/// The longest head and tail, which is also what the one store of the head may touch of an empty value.
const AROUND: usize = Head::MAX + 2;

const _: () = assert!(AROUND == size_of::<Head>());

impl Head {
    const MAX: usize = 6;

    #[inline(always)]
    pub const fn new(bytes: &[u8]) -> Head {
        assert!(bytes.len() <= Head::MAX);
        let mut all = [0; 8];
        let mut i = 0;
        while i < bytes.len() {
            all[i] = bytes[i];
            i += 1;
        }
        all[7] = bytes.len() as u8;
        Head(all)
    }

    /// At most `MAX`.
    #[inline(always)]
    pub(super) fn len(self) -> usize {
        usize::from(self.0[7])
    }

    /// The bytes, and some behind them that count for nothing.
    #[inline(always)]
    pub(super) fn store(self) -> [u8; 8] {
        self.0
    }
}

/// Appends `head`, `b` and `tail`; false, and nothing happens, when there is no room.
#[inline(always)]
pub fn framed(to: &mut Vec<u8>, head: Head, b: &[u8], tail: [u8; 2]) -> bool {
    let n = b.len();
    if to.capacity() - to.len() < n + AROUND {
        return false;
    }
    // SAFETY: head (6 bytes at most), data and tail (2) are at most n + AROUND bytes; the store of the head
    // touches eight, which are there. `b` is borrowed from elsewhere.
    unsafe {
        let begin = to.as_mut_ptr().add(to.len());
        begin.cast::<[u8; 8]>().write(head.store());
        copy_short(b.as_ptr(), begin.add(head.len()), n);
        begin.add(head.len() + n).cast::<[u8; 2]>().write(tail);
        to.set_len(to.len() + head.len() + n + 2);
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_length_in_every_room() {
        let data: Vec<u8> = (0..120).collect();
        for head in [&b""[..], b"<", b"<head>"] {
            for n in 0..data.len() {
                for room in 0..140 {
                    let mut v = Vec::with_capacity(room + 1);
                    v.push(b'x');
                    let (free, b) = (v.capacity() - 1, &data[..n]);
                    if framed(&mut v, Head::new(head), b, *b"/>") {
                        assert_eq!(v, [b"x", head, b, b"/>"].concat());
                    } else {
                        assert_eq!(v, b"x");
                        assert!(free < n + AROUND);
                    }
                }
            }
        }
    }
}
