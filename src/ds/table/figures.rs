//! Figures of a table in upstream's logical slots, for DEBUG HTSTATS.

use super::{Array, Elem, Table, slots};
use crate::ds::hash::hash;
use std::collections::HashMap;

/// Figures of a table: of its main array, and of the one being filled while it is rehashed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Figures {
    pub main: ArrayFigures,
    pub target: Option<ArrayFigures>,
}

/// Figures of one array.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ArrayFigures {
    /// Logical slots.
    pub size: usize,
    pub used: usize,
    /// `chains[n]` logical slots hold n elements; empty when they were not counted.
    pub chains: Vec<usize>,
}

impl ArrayFigures {
    /// The figures of another array on top.
    pub(in crate::ds) fn add(&mut self, other: &ArrayFigures) {
        self.size += other.size;
        self.used += other.used;
        self.chains.resize(self.chains.len().max(other.chains.len()), 0);
        self.chains.iter_mut().zip(&other.chains).for_each(|(sum, n)| *sum += n);
    }
}

impl<E: Elem> Table<E> {
    /// Sizes, and with `full` the lengths of chains, which takes a walk over everything.
    pub fn figures(&self, full: bool) -> Figures {
        let of = |a: &Array| ArrayFigures {
            size: a.size(),
            used: a.used,
            chains: if full && a.exists() { chains::<E>(a) } else { Vec::new() },
        };
        Figures { main: of(&self.main), target: self.to().map(of) }
    }
}

fn chains<E: Elem>(a: &Array) -> Vec<usize> {
    let mut per_slot = HashMap::new();
    for i in 0..a.count() {
        for b in a.chain(i) {
            for j in slots(b.taken()) {
                let e: E = b.get(j);
                // SAFETY: what is in the table lives (`insert`).
                let h = hash(unsafe { e.key() });
                *per_slot.entry(a.slot_of(h)).or_insert(0usize) += 1;
            }
        }
    }
    let mut chains = vec![0; per_slot.values().max().copied().unwrap_or(0) + 1];
    per_slot.values().for_each(|&n| chains[n] += 1);
    chains[0] = a.size() - per_slot.len();
    chains
}
