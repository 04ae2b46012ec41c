//! The `struct` library of scripts: values to and from the layouts of C structures.
//!
//! ```text
//! format:  > < !n  byte order, greatest alignment     b B h H l L T i[n] I[n]  integers
//!          x       a byte of padding                  f d                      numbers of C
//!          cn      n bytes (c0: what a length says)   s                        up to a zero byte
//! ```

use super::ffi::{Library, LuaType, Raise, Stack};
use super::sandbox::LibraryItem::Native;

pub const LIBRARY: Library =
    &[("pack", Native(pack)), ("unpack", Native(unpack)), ("size", Native(size))];

/// Longest integer.
const MOST_BYTES: usize = 32;
/// What `!` without a number stands for: the alignment of a double.
const MOST_ALIGN: usize = 8;

/// Reads a format.
struct Format {
    text: Vec<u8>,
    at: usize,
    big: bool,
    align: usize,
}

impl Format {
    fn of(s: &mut Stack) -> Result<Format, Raise> {
        let mut text = s.check_bytes(1)?;
        // As C reads it, up to a zero byte.
        if let Some(end) = memchr::memchr(0, &text) {
            text.truncate(end);
        }
        Ok(Format { text, at: 0, big: false, align: 1 })
    }

    /// The next option with its size, and the padding before it at `position`.
    fn next(&mut self, position: usize) -> Result<Option<(u8, usize, usize)>, Raise> {
        let Some(option) = self.text.get(self.at).copied() else { return Ok(None) };
        self.at += 1;
        let size = match option {
            b'b' | b'B' | b'x' => 1,
            b'h' | b'H' => 2,
            b'l' | b'L' | b'T' | b'd' => 8,
            b'f' => 4,
            b'c' => self.number(1)?,
            b'i' | b'I' => {
                let n = self.number(4)?;
                if n > MOST_BYTES {
                    return Err(Raise::text(format!(
                        "integral size {n} is larger than limit of {MOST_BYTES}"
                    )));
                }
                n
            }
            _ => 0,
        };
        Ok(Some((option, size, self.padding(position, option, size))))
    }

    fn padding(&self, position: usize, option: u8, size: usize) -> usize {
        if size == 0 || option == b'c' {
            return 0;
        }
        let unit = size.min(self.align);
        unit.wrapping_sub(position & unit.wrapping_sub(1)) & unit.wrapping_sub(1)
    }

    fn number(&mut self, default: usize) -> Result<usize, Raise> {
        let digits = self.text[self.at..].iter().take_while(|b| b.is_ascii_digit()).count();
        if digits == 0 {
            return Ok(default);
        }
        let text = &self.text[self.at..self.at + digits];
        let overflow = || Raise::text("integral size overflow");
        let n = text.iter().try_fold(0i32, |n, b| n.checked_mul(10)?.checked_add(i32::from(b - b'0')));
        self.at += digits;
        usize::try_from(n.ok_or_else(overflow)?).map_err(|_| overflow())
    }

    /// Options that stand for no value.
    fn control(&mut self, option: u8) -> Result<(), Raise> {
        match option {
            b' ' => {}
            b'>' => self.big = true,
            b'<' => self.big = false,
            b'!' => {
                let n = self.number(MOST_ALIGN)?;
                if !n.is_power_of_two() {
                    return Err(Raise::text(format!("alignment {n} is not a power of 2")));
                }
                self.align = n;
            }
            _ => {
                let text = [b"invalid format option '", &[option][..], b"'"].concat();
                return Err(Raise::Argument(1, text));
            }
        }
        Ok(())
    }

    /// `bytes` stand in order from the least: as the format wants them.
    fn ordered<const N: usize>(&self, mut bytes: [u8; N]) -> [u8; N] {
        if self.big {
            bytes.reverse();
        }
        bytes
    }
}

fn is_integer(option: u8) -> bool {
    matches!(option, b'b' | b'B' | b'h' | b'H' | b'l' | b'L' | b'T' | b'i' | b'I')
}

/// The low 64 bits as C casts a double: by the signed type below zero. What does not fit comes out as
/// the processor converts it.
fn to_bits(n: f64) -> u64 {
    if n < 0.0 {
        if n >= -9_223_372_036_854_775_808.0 { n as i64 as u64 } else { 1 << 63 }
    } else if n.is_nan() {
        1 << 63
    } else if n >= 18_446_744_073_709_551_616.0 {
        0
    } else {
        n as u64
    }
}

fn put_integer(out: &mut Vec<u8>, f: &Format, bits: u64, size: usize) {
    let at = out.len();
    // Above the eight bytes of a long there is nothing.
    out.extend((0..size).map(|i| if i < 8 { (bits >> (8 * i)) as u8 } else { 0 }));
    if f.big {
        out[at..].reverse();
    }
}

fn get_integer(data: &[u8], f: &Format, signed: bool) -> f64 {
    let size = data.len();
    let byte = |i: usize| u64::from(if f.big { data[size - 1 - i] } else { data[i] });
    let bits = (0..size.min(8)).fold(0u64, |n, i| n | byte(i) << (8 * i));
    if !signed {
        return bits as f64;
    }
    // C shifts by the width less one, modulo 64.
    let mask = u64::MAX << ((size * 8).wrapping_sub(1) & 63);
    (if bits & mask != 0 { bits | mask } else { bits }) as i64 as f64
}

fn pack(s: &mut Stack) -> Result<i32, Raise> {
    let mut f = Format::of(s)?;
    // The first argument that is missing is told of as a nil.
    s.push_nil();
    let (mut out, mut arg, mut total) = (Vec::new(), 2, 0usize);
    while let Some((option, mut size, padding)) = f.next(total)? {
        total = total.wrapping_add(padding);
        out.resize(out.len() + padding, 0);
        match option {
            o if is_integer(o) => {
                let n = s.check_number(arg)?;
                put_integer(&mut out, &f, to_bits(n), size);
                arg += 1;
            }
            b'x' => out.push(0),
            b'f' => {
                let n = s.check_number(arg)? as f32;
                out.extend(f.ordered(n.to_le_bytes()));
                arg += 1;
            }
            b'd' => {
                let n = s.check_number(arg)?;
                out.extend(f.ordered(n.to_le_bytes()));
                arg += 1;
            }
            b'c' | b's' => {
                let text = s.check_bytes(arg)?;
                arg += 1;
                if size == 0 {
                    size = text.len();
                }
                let Some(taken) = text.get(..size) else {
                    return Err(Raise::Argument(arg, b"string too short".to_vec()));
                };
                out.extend_from_slice(taken);
                if option == b's' {
                    out.push(0);
                    size += 1;
                }
            }
            _ => f.control(option)?,
        }
        total = total.wrapping_add(size);
    }
    s.push_bytes(&out);
    Ok(1)
}

fn too_short() -> Raise {
    Raise::Argument(2, b"data string too short".to_vec())
}

fn unpack(s: &mut Stack) -> Result<i32, Raise> {
    let mut f = Format::of(s)?;
    let data = s.check_bytes(2)?;
    let from = match s.kind(3) {
        LuaType::None | LuaType::Nil => 1,
        _ => s.check_integer(3)?,
    };
    // As C has it in a size_t: only zero is refused here, and below zero is past the end.
    if from == 0 {
        return Err(Raise::Argument(3, b"offset must be 1 or greater".to_vec()));
    }
    let mut at = (from as usize).wrapping_sub(1);
    let mut n = 0;
    while let Some((option, mut size, padding)) = f.next(at)? {
        at = at.wrapping_add(padding);
        let end = at.checked_add(size).filter(|e| *e <= data.len()).ok_or_else(too_short)?;
        if !s.room(2) {
            return Err(Raise::text("stack overflow (too many results)"));
        }
        let piece = &data[at..end];
        match option {
            o if is_integer(o) => s.push_number(get_integer(piece, &f, o.is_ascii_lowercase())),
            b'x' => n -= 1,
            b'f' => {
                let b: [u8; 4] = piece.try_into().expect("four bytes");
                s.push_number(f64::from(f32::from_le_bytes(f.ordered(b))));
            }
            b'd' => {
                let b: [u8; 8] = piece.try_into().expect("eight bytes");
                s.push_number(f64::from_le_bytes(f.ordered(b)));
            }
            b'c' if size > 0 => s.push_bytes(piece),
            b'c' => {
                let before = if n == 0 { None } else { s.number(-1) };
                let Some(length) = before else {
                    return Err(Raise::text("format 'c0' needs a previous size"));
                };
                s.pop(1);
                n -= 1;
                size = if length >= 0.0 { length as usize } else { usize::MAX };
                let end = at.checked_add(size).filter(|e| *e <= data.len()).ok_or_else(too_short)?;
                s.push_bytes(&data[at..end]);
            }
            b's' => {
                let Some(len) = memchr::memchr(0, &data[at..]) else {
                    return Err(Raise::text("unfinished string in data"));
                };
                s.push_bytes(&data[at..at + len]);
                size = len + 1;
            }
            _ => {
                f.control(option)?;
                n -= 1;
            }
        }
        n += 1;
        at = at.wrapping_add(size);
    }
    s.push_number(at as f64 + 1.0);
    Ok(n + 1)
}

fn size(s: &mut Stack) -> Result<i32, Raise> {
    let mut f = Format::of(s)?;
    let mut at = 0usize;
    while let Some((option, size, padding)) = f.next(at)? {
        at = at.wrapping_add(padding);
        if option == b's' {
            return Err(Raise::Argument(1, b"option 's' has no fixed size".to_vec()));
        }
        if option == b'c' && size == 0 {
            return Err(Raise::Argument(1, b"option 'c0' has no fixed size".to_vec()));
        }
        if !option.is_ascii_alphanumeric() {
            f.control(option)?;
        }
        at = at.wrapping_add(size);
    }
    s.push_number(at as f64);
    Ok(1)
}
