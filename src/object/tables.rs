//! Figures of hash tables, as DEBUG HTSTATS and DEBUG HTSTATS-KEY show them: sizes, and with `full` how
//! long the chains are. Chains are counted in slots of the logical size, not in the buckets of eight
//! that hold them.

use crate::ds::table::{ArrayFigures, Figures};
use std::fmt::Write;

/// Longer chains are not listed (DICT_STATS_VECTLEN).
const LISTED: usize = 50;

/// Whether chains are counted, which takes a walk through all of the table.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Full(pub bool);

const TITLES: [&str; 2] = ["main hash table", "rehashing target"];

pub fn figures(of: &Figures) -> String {
    let mut text = String::new();
    for (i, a) in std::iter::once(&of.main).chain(&of.target).enumerate() {
        let _ = writeln!(text, "Hash table {i} stats ({}):", TITLES[i]);
        if a.used == 0 {
            text += "No stats available for empty dictionaries\n";
            continue;
        }
        let _ = write!(text, " table size: {}\n number of elements: {}\n", a.size, a.used);
        if !a.chains.is_empty() {
            chains(&mut text, a);
        }
    }
    text
}

fn chains(text: &mut String, s: &ArrayFigures) {
    let different = s.size - s.chains[0];
    let average = s.used as f32 / different as f32;
    let _ = write!(
        text,
        " different slots: {different}\n max chain length: {}\n avg chain length (counted): {average:.2}\n \
         avg chain length (computed): {average:.2}\n Chain length distribution:\n",
        s.chains.len() - 1,
    );
    for (len, slots) in s.chains.iter().enumerate().take(LISTED - 1).filter(|(_, n)| **n > 0) {
        let share = *slots as f32 / s.size as f32 * 100.0;
        let _ = writeln!(text, "   {len}: {slots} ({share:.2}%)");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ds::pairs::Pairs;

    #[test]
    fn every_element_is_in_some_chain() {
        let mut t = Pairs::new();
        assert_eq!(
            figures(&t.figures(true)),
            "Hash table 0 stats (main hash table):\nNo stats available for empty dictionaries\n"
        );
        for i in 0..100u32 {
            t.add(&i.to_le_bytes());
        }
        while t.rehash(100) {}
        let text = figures(&t.figures(true));
        assert!(text.starts_with(
            "Hash table 0 stats (main hash table):\n table size: 128\n number of elements: 100\n"
        ));
        let listed: usize = text
            .lines()
            .filter_map(|l| l.strip_prefix("   ")?.split_once(": "))
            .map(|(len, rest)| {
                let n = rest.split(' ').next().expect("a number before the share");
                len.parse::<usize>().expect("a length") * n.parse::<usize>().expect("a count")
            })
            .sum();
        assert_eq!(listed, 100);
        assert!(!figures(&t.figures(false)).contains("different slots"));
    }
}
