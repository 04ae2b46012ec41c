//! Appending a short bulk string to a reply buffer, in a few stores instead of three growing copies.
//! Replies of many elements are made of nothing else.

use super::listpack::copy_short;

/// Bulks below this length have heads of one or two digits.
const SHORT: usize = 100;
/// The longest head with the line end behind the data, and what the stores may touch beyond.
const AROUND: usize = 8;

/// Appends `$<length>\r\n<b>\r\n`; false, and nothing happens, when `b` is long or there is no room.
#[inline(always)]
pub fn short_bulk(to: &mut Vec<u8>, b: &[u8]) -> bool {
    let n = b.len();
    if n >= SHORT || to.capacity() - to.len() < n + AROUND {
        return false;
    }
    let (tens, ones) = ((n / 10) as u8, (n % 10) as u8);
    // SAFETY: head (4 or 5 bytes), data and line end (2) are at most n + 7 bytes; the store of the long
    // head touches eight, which are there. `b` is borrowed from elsewhere.
    unsafe {
        let begin = to.as_mut_ptr().add(to.len());
        let head = if n < 10 {
            begin.cast::<[u8; 4]>().write([b'$', b'0' + ones, b'\r', b'\n']);
            4
        } else {
            begin.cast::<[u8; 8]>().write([b'$', b'0' + tens, b'0' + ones, b'\r', b'\n', 0, 0, 0]);
            5
        };
        copy_short(b.as_ptr(), begin.add(head), n);
        begin.add(head + n).cast::<[u8; 2]>().write(*b"\r\n");
        to.set_len(to.len() + head + n + 2);
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_length_in_every_room() {
        let data: Vec<u8> = (0..120).collect();
        for n in 0..data.len() {
            for room in 0..140 {
                let mut v = Vec::with_capacity(room + 1);
                v.push(b'x');
                let (free, b) = (v.capacity() - 1, &data[..n]);
                let whole = [b"x$", n.to_string().as_bytes(), b"\r\n", b, b"\r\n"].concat();
                if short_bulk(&mut v, b) {
                    assert_eq!(v, whole);
                } else {
                    assert_eq!(v, b"x");
                    assert!(n >= SHORT || free < n + AROUND);
                }
            }
        }
    }
}
