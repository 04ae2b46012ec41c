//! From a listpack to a reply without a stop in between: strings of up to 63 bytes, which is what most
//! entries are, are put between a head for their length and a tail by three or four unconditional copies
//! of 16 bytes each.

use super::Iter;
use crate::ds::append::Head;

/// Strings below this length have one byte of head (and one of backlen) in a listpack.
pub const SHORT_STRING: usize = 64;
/// What the copies may read behind the head of an entry, and write behind that of the reply.
const STRIDE: usize = 64;
/// The room that one string may touch: head, string or stride, tail.
const ROOM: usize = size_of::<Head>() + STRIDE + 2;

impl Iter<'_> {
    /// Appends up to `n` values, each between the head of its length and `tail`, as far as they are short
    /// strings, `to` has room without growing, and the listpack goes on long enough behind them. Returns
    /// how many it appended.
    pub fn append_framed(
        &mut self,
        to: &mut Vec<u8>,
        n: usize,
        heads: &[Head; SHORT_STRING],
        tail: [u8; 2],
    ) -> usize {
        let mut appended = 0;
        let mut len = to.len();
        let begin = to.as_mut_ptr();
        while appended < n
            && to.capacity() - len >= ROOM
            && (self.back as usize) - (self.front as usize) > STRIDE
        {
            // SAFETY: front < back, in one listpack, with more than STRIDE bytes between them: the first
            // byte and the STRIDE behind it may be read. From `len` on there is ROOM in the vector for
            // the head (8), what the copies touch (STRIDE behind the head) and the tail (2).
            unsafe {
                let first = *self.front;
                if first & 0xC0 != 0x80 {
                    break;
                }
                let size = usize::from(first & 0x3F);
                let (from, at) = (self.front.add(1), begin.add(len));
                let head = heads[size];
                at.cast::<[u8; 8]>().write(head.store());
                let at = at.add(head.len());
                for i in 0..STRIDE / 16 {
                    if i > 0 && size <= 16 * i {
                        break;
                    }
                    let word = from.add(16 * i).cast::<u128>().read_unaligned();
                    at.add(16 * i).cast::<u128>().write_unaligned(word);
                }
                at.add(size).cast::<[u8; 2]>().write(tail);
                len += head.len() + size + 2;
                // The entry: head, string, backlen. At most 65 bytes, so it may end at `back`.
                self.front = from.add(size + 1);
            }
            appended += 1;
        }
        // SAFETY: all up to `len`, which is within the capacity, has been written.
        unsafe { to.set_len(len) };
        appended
    }
}

#[cfg(test)]
mod tests {
    use super::SHORT_STRING;
    use crate::ds::append::Head;
    use crate::ds::listpack::{Element, Listpack};
    use crate::ds::prop::Source;

    /// One to six bytes, different for each length.
    fn head(n: usize) -> Vec<u8> {
        vec![b'A' + n as u8; 1 + n % 6]
    }

    fn heads() -> [Head; SHORT_STRING] {
        std::array::from_fn(|n| Head::new(&head(n)))
    }

    /// The same, value by value.
    fn framed(to: &mut Vec<u8>, e: Element<'_>) {
        let text = e.to_vec();
        to.extend_from_slice(&head(text.len()));
        to.extend_from_slice(&text);
        to.extend_from_slice(b"\r\n");
    }

    #[test]
    fn strings_of_every_length_in_every_room() {
        for seed in 0..300 {
            let mut rng = Source::seeded(seed);
            let mut lp = Listpack::new();
            for _ in 0..rng.below(40) {
                let size = [rng.below(70), rng.below(20), 16][rng.below(3)];
                let text: Vec<u8> = (0..size).map(|_| b'a' + rng.below(26) as u8).collect();
                if rng.below(20) == 0 {
                    lp.push_back(rng.below(1 << 20) as i64);
                } else {
                    lp.push_back(text.as_slice());
                }
            }
            let (mut got, mut want) = (Vec::with_capacity(rng.below(3000)), Vec::new());
            let (mut walk, mut naive, mut quick) = (lp.iter(), lp.iter(), 0);
            while !walk.is_done() {
                let n = rng.below(8);
                let appended = walk.append_framed(&mut got, n, &heads(), *b"\r\n");
                assert!(appended <= n);
                quick += appended;
                naive.by_ref().take(appended).for_each(|e| framed(&mut want, e));
                assert_eq!(got, want);
                if let Some(e) = walk.next() {
                    framed(&mut got, e);
                    framed(&mut want, naive.next().expect("as many entries"));
                }
            }
            assert!(naive.next().is_none() && got == want);
            assert!(quick <= lp.len());
        }
    }

    #[test]
    fn most_of_a_plain_list_goes_the_short_way() {
        let mut lp = Listpack::new();
        (0..100).for_each(|i| lp.push_back(format!("element:{i:08}").as_bytes()));
        let mut to = Vec::with_capacity(4096);
        assert!(lp.iter().append_framed(&mut to, 100, &heads(), *b"\r\n") > 90);
        assert_eq!(lp.iter().append_framed(&mut to, 5, &heads(), *b"\r\n"), 5);
        assert_eq!(lp.iter().append_framed(&mut Vec::new(), 5, &heads(), *b"\r\n"), 0);
    }
}
