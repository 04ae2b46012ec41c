//! Texts that are put together from bytes: names, hosts and paths may hold any of them.

/// What a text can be made of.
pub(super) trait Piece {
    fn put(&self, out: &mut Vec<u8>);
}

impl Piece for [u8] {
    fn put(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(self);
    }
}

impl<const N: usize> Piece for [u8; N] {
    fn put(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(self);
    }
}

impl Piece for Vec<u8> {
    fn put(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(self);
    }
}

impl Piece for str {
    fn put(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(self.as_bytes());
    }
}

impl Piece for String {
    fn put(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(self.as_bytes());
    }
}

impl<T: Piece + ?Sized> Piece for &T {
    fn put(&self, out: &mut Vec<u8>) {
        (**self).put(out);
    }
}

macro_rules! numbers {
    ($($number:ty),*) => {$(
        impl Piece for $number {
            fn put(&self, out: &mut Vec<u8>) {
                out.extend_from_slice(self.to_string().as_bytes());
            }
        }
    )*};
}
numbers!(i32, i64, u16, u32, u64, usize);

/// The pieces, one behind the other.
macro_rules! cat {
    ($($piece:expr),* $(,)?) => {{
        let mut text: Vec<u8> = Vec::new();
        $( $crate::sentinel::text::Piece::put(&$piece, &mut text); )*
        text
    }};
}
pub(super) use cat;
