//! `math.random` as scripts know it: the same numbers on every machine, from the 48-bit generator of
//! POSIX, beginning where that begins.

use super::ffi::{Library, Raise, Stack};
use super::sandbox::LibraryItem::Native;

pub const LIBRARY: Library = &[("random", Native(random)), ("randomseed", Native(randomseed))];

const LEAST: f64 = 2_147_483_647.0;

/// x' = a x + c mod 2^48; 31 high bits are the result.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rand48(u64);

impl Default for Rand48 {
    fn default() -> Self {
        Rand48(0x1234_abcd_330e)
    }
}

impl Rand48 {
    pub fn seed(&mut self, seed: i32) {
        self.0 = u64::from(seed as u32) << 16 | 0x330e;
    }

    pub fn next(&mut self) -> i32 {
        self.0 = self.0.wrapping_mul(0x5_deec_e66d).wrapping_add(0xb) & 0xffff_ffff_ffff;
        (self.0 >> 17) as i32
    }
}

fn int(s: &Stack, at: i32) -> Result<i32, Raise> {
    Ok(s.check_integer(at)? as i32)
}

fn random(s: &mut Stack) -> Result<i32, Raise> {
    let bits = s.kept().random.next();
    let r = f64::from(bits % i32::MAX) / LEAST;
    let empty = |at: i32| Raise::Argument(at, b"interval is empty".to_vec());
    let n = match s.top() {
        0 => r,
        1 => {
            let most = int(s, 1)?;
            if most < 1 {
                return Err(empty(1));
            }
            (r * f64::from(most)).floor() + 1.0
        }
        2 => {
            let (least, most) = (int(s, 1)?, int(s, 2)?);
            if least > most {
                return Err(empty(2));
            }
            // The width wraps as C's int does.
            let width = most.wrapping_sub(least).wrapping_add(1);
            (r * f64::from(width)).floor() + f64::from(least)
        }
        _ => return Err(Raise::text("wrong number of arguments")),
    };
    s.push_number(n);
    Ok(1)
}

fn randomseed(s: &mut Stack) -> Result<i32, Raise> {
    let seed = int(s, 1)?;
    s.kept().random.seed(seed);
    Ok(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_numbers_are_those_of_lrand48() {
        let mut r = Rand48::default();
        // What glibc's lrand48 gives after srand48(0), and its start without a seed.
        r.seed(0);
        assert_eq!([r.next(), r.next(), r.next()], [366_850_414, 1_610_402_240, 206_956_554]);
    }
}
