//! Figures of hash tables, as DEBUG HTSTATS and DEBUG HTSTATS-KEY show them: sizes, and with `full` how
//! long the chains are. Chains are counted in slots of the logical size, not in the buckets of eight
//! that hold them.

use crate::ds::table::{ArrayStats, Elem, Table};
use std::fmt::Write;

/// Longer chains are not listed (DICT_STATS_VECTLEN).
const LISTED: usize = 50;

/// Whether chains are counted, which takes a walk through all of the table.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Full(pub bool);

const TITLES: [&str; 2] = ["main hash table", "rehashing target"];

pub fn figures<E: Elem>(t: &Table<E>, full: Full) -> String {
    let stats = if full == Full(true) { t.stats() } else { Vec::new() };
    let arrays = if t.is_rehashing() { 2 } else { 1 };
    let mut text = String::new();
    for (i, (size, used)) in t.sizes().into_iter().take(arrays).enumerate() {
        let _ = writeln!(text, "Hash table {i} stats ({}):", TITLES[i]);
        if used == 0 {
            text += "No stats available for empty dictionaries\n";
            continue;
        }
        let _ = write!(text, " table size: {size}\n number of elements: {used}\n");
        if let Some(s) = stats.get(i) {
            chains(&mut text, s);
        }
    }
    text
}

fn chains(text: &mut String, s: &ArrayStats) {
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
    use crate::ds::entry::{Entry, Payload, enc, ty};
    use crate::ds::hash::hash;

    #[test]
    fn every_element_is_in_some_chain() {
        let mut t: Table<Entry> = Table::new();
        assert_eq!(
            figures(&t, Full(true)),
            "Hash table 0 stats (main hash table):\nNo stats available for empty dictionaries\n"
        );
        for i in 0..100u32 {
            let key = i.to_le_bytes();
            t.insert(hash(&key), Entry::new(&key, ty::STRING, enc::INT, Payload::Word(0), None));
        }
        while t.rehash(100) {}
        let text = figures(&t, Full(true));
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
        assert!(!figures(&t, Full(false)).contains("different slots"));
    }
}
