//! Unsigned integers of any size: just what reading and printing long doubles needs.
//!
//! Limbs of 32 bits, the least significant first, no zero limb at the top (so zero has no limbs). All
//! sizes are bounded by the callers: a text of 5 KB and a binary exponent of 16,445 give some 40,000
//! bits, for which schoolbook methods are fine. Everyday numbers never come here.

use std::cmp::Ordering;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Big {
    limbs: Vec<u32>,
}

impl Big {
    pub(super) fn from_u128(value: u128) -> Big {
        let limbs = (0..4).map(|n| (value >> (32 * n)) as u32).collect();
        Big { limbs }.trimmed()
    }

    /// From decimal digits; anything else among them is the caller's mistake and counts as 0.
    pub(super) fn from_digits(digits: impl Iterator<Item = u8>) -> Big {
        let mut big = Big { limbs: Vec::new() };
        let (mut chunk, mut scale) = (0u32, 1u32);
        for byte in digits {
            debug_assert!(byte.is_ascii_digit(), "the scanner lets digits through only");
            chunk = chunk * 10 + char::from(byte).to_digit(10).unwrap_or(0);
            scale *= 10;
            if scale == 1_000_000_000 {
                big.mul_add(scale, chunk);
                (chunk, scale) = (0, 1);
            }
        }
        big.mul_add(scale, chunk);
        big
    }

    fn trimmed(mut self) -> Big {
        while self.limbs.last() == Some(&0) {
            self.limbs.pop();
        }
        self
    }

    pub(super) fn is_zero(&self) -> bool {
        self.limbs.is_empty()
    }

    /// How many bits the number takes; 0 for zero.
    pub(super) fn bits(&self) -> usize {
        self.limbs.last().map_or(0, |top| 32 * self.limbs.len() - top.leading_zeros() as usize)
    }

    fn mul_add(&mut self, factor: u32, addend: u32) {
        let mut carry = u64::from(addend);
        for limb in &mut self.limbs {
            let wide = u64::from(*limb) * u64::from(factor) + carry;
            *limb = wide as u32;
            carry = wide >> 32;
        }
        if carry != 0 {
            self.limbs.push(carry as u32);
        }
    }

    pub(super) fn mul_power_of_five(&mut self, power: usize) {
        // 5^13 is the largest that fits a limb.
        for _ in 0..power / 13 {
            self.mul_add(1_220_703_125, 0);
        }
        self.mul_add(5u32.pow((power % 13) as u32), 0);
    }

    pub(super) fn shl(&mut self, count: usize) {
        if self.is_zero() {
            return;
        }
        let bits = count % 32;
        if bits != 0 {
            self.mul_add(1 << bits, 0);
        }
        self.limbs.splice(0..0, std::iter::repeat_n(0, count / 32));
    }

    /// `self -= other`, where `other` must not be the larger one.
    pub(super) fn sub_assign(&mut self, other: &Big) {
        debug_assert!(*self >= *other, "the difference must not be negative");
        let mut borrow = 0i64;
        for (n, limb) in self.limbs.iter_mut().enumerate() {
            let theirs = other.limbs.get(n).copied().unwrap_or(0);
            let difference = i64::from(*limb) - i64::from(theirs) + borrow;
            *limb = difference as u32;
            borrow = difference >> 32;
        }
        while self.limbs.last() == Some(&0) {
            self.limbs.pop();
        }
    }

    /// The top 128 bits, how far up they stand, and whether any bit below them is set:
    /// self = top * 2^shift + something smaller than 2^shift.
    pub(super) fn top(&self) -> (u128, usize, bool) {
        let shift = self.bits().saturating_sub(128);
        let (skip, bits) = (shift / 32, shift % 32);
        let (below, above) = self.limbs.split_at(skip);
        let mut top = 0u128;
        for (n, &limb) in above.iter().enumerate() {
            let wide = u128::from(limb);
            top |= if n == 0 { wide >> bits } else { wide << (32 * n - bits) };
        }
        let inexact = below.iter().any(|&limb| limb != 0)
            || above.first().is_some_and(|limb| limb & ((1 << bits) - 1) != 0);
        (top, shift, inexact)
    }

    /// Decimal digits as ASCII, none for zero.
    pub(super) fn into_digits(mut self) -> Vec<u8> {
        let mut digits = Vec::with_capacity(self.bits() * 3 / 10 + 10);
        while !self.is_zero() {
            let mut rest = 0u64;
            for limb in self.limbs.iter_mut().rev() {
                let wide = rest << 32 | u64::from(*limb);
                *limb = (wide / 1_000_000_000) as u32;
                rest = wide % 1_000_000_000;
            }
            self = self.trimmed();
            for _ in 0..9 {
                digits.push(b'0' + (rest % 10) as u8);
                rest /= 10;
            }
        }
        while digits.last() == Some(&b'0') {
            digits.pop();
        }
        digits.reverse();
        digits
    }
}

impl PartialOrd for Big {
    fn partial_cmp(&self, other: &Big) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Big {
    fn cmp(&self, other: &Big) -> Ordering {
        let by_length = self.limbs.len().cmp(&other.limbs.len());
        by_length.then_with(|| self.limbs.iter().rev().cmp(other.limbs.iter().rev()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::algo::rng::Rng;

    fn text(big: &Big) -> String {
        String::from_utf8(big.clone().into_digits()).expect("ascii")
    }

    #[test]
    fn agrees_with_128_bit_arithmetic() {
        let mut rng = Rng::seeded(1);
        for _ in 0..20_000 {
            let draw = |rng: &mut Rng| {
                let wide = u128::from(rng.next_u64()) << 64 | u128::from(rng.next_u64());
                wide >> (8 + rng.below(120))
            };
            let (a, b) = (draw(&mut rng), draw(&mut rng));
            let (big_a, big_b) = (Big::from_u128(a), Big::from_u128(b));
            assert_eq!(big_a.cmp(&big_b), a.cmp(&b));
            assert_eq!(big_a.bits(), 128 - a.leading_zeros() as usize);
            assert_eq!(Big::from_digits(a.to_string().bytes()), big_a);
            assert_eq!(text(&big_a), if a == 0 { String::new() } else { a.to_string() });
            let mut difference = big_a.clone().max(big_b.clone());
            difference.sub_assign(&big_a.clone().min(big_b));
            assert_eq!(difference, Big::from_u128(a.abs_diff(b)));
            let shift = rng.index(8);
            let mut moved = big_a.clone();
            moved.shl(shift);
            assert_eq!(moved, Big::from_u128(a << shift));
            let mut fives = Big::from_u128(a >> 72);
            let power = rng.index(30);
            fives.mul_power_of_five(power);
            assert_eq!(fives, Big::from_u128((a >> 72) * 5u128.pow(power as u32)));
        }
    }

    #[test]
    fn wide_shifts_and_the_top_bits() {
        for shift in [0, 1, 31, 32, 33, 64, 127, 128, 129, 160, 1000] {
            let mut big = Big::from_u128(0x8000_0000_0000_0001);
            big.shl(shift);
            assert_eq!(big.bits(), 64 + shift);
            let (top, up, inexact) = big.top();
            if shift <= 64 {
                assert_eq!((top, up, inexact), (0x8000_0000_0000_0001 << shift, 0, false));
            } else {
                assert_eq!((top, up), (0x8000_0000_0000_0001 << 64, shift - 64));
                assert!(!inexact);
            }
        }
        let mut big = Big::from_u128(1);
        big.shl(300);
        big.mul_add(1, 1);
        assert_eq!(big.top(), (1 << 127, 173, true));
        assert_eq!(
            text(&big),
            (Big::from_digits(text(&big).bytes()) == big).then(|| text(&big)).expect("reads back")
        );
    }
}
