//! What a run has reached: commands, options, kinds of reply; and where the servers agreed.

use super::tree::{Call, Command};
use crate::common::{Value, Value::*};
use std::collections::BTreeMap;

/// How often every command and every option is to run.
pub const AT_LEAST: usize = 10;

#[derive(Default)]
pub struct Coverage {
    /// Command and kind of reply.
    pairs: BTreeMap<(String, String), usize>,
    commands: BTreeMap<String, usize>,
    options: BTreeMap<String, usize>,
    /// Group: commands, and those among them with a difference.
    groups: BTreeMap<String, (usize, usize)>,
    /// Keys of the pool that were looked for, and those that existed.
    pub keys: (usize, usize),
}

impl Coverage {
    /// Everything that there is to reach.
    pub fn of(commands: &[Command]) -> Coverage {
        let mut all = Coverage::default();
        for c in commands {
            all.commands.insert(c.name.clone(), 0);
            all.options.extend(c.options().into_iter().map(|o| (o, 0)));
        }
        all
    }

    pub fn note(&mut self, call: &Call, reply: &Value) {
        *self.pairs.entry((call.name.clone(), kind(reply))).or_insert(0) += 1;
        *self.commands.entry(call.name.clone()).or_insert(0) += 1;
        self.groups.entry(call.group.clone()).or_default().0 += 1;
        for o in &call.options {
            *self.options.entry(o.clone()).or_insert(0) += 1;
        }
    }

    pub fn differs(&mut self, call: &Call) {
        self.groups.entry(call.group.clone()).or_default().1 += 1;
    }

    pub fn runs(&self, name: &str) -> usize {
        self.commands.get(name).copied().unwrap_or(0)
    }

    /// The option that ran least, if that is too seldom.
    pub fn rarest_option(&self) -> Option<&str> {
        let rarest = self.options.iter().min_by_key(|(_, n)| **n)?;
        (*rarest.1 < AT_LEAST).then_some(rarest.0)
    }

    pub fn sent(&self) -> usize {
        self.pairs.values().sum()
    }

    /// Adds what another run has reached.
    pub fn add(&mut self, other: Coverage) {
        other.pairs.into_iter().for_each(|(k, n)| *self.pairs.entry(k).or_insert(0) += n);
        other.commands.into_iter().for_each(|(k, n)| *self.commands.entry(k).or_insert(0) += n);
        other.options.into_iter().for_each(|(k, n)| *self.options.entry(k).or_insert(0) += n);
        for (k, (n, bad)) in other.groups {
            let mine = self.groups.entry(k).or_default();
            *mine = (mine.0 + n, mine.1 + bad);
        }
        self.keys = (self.keys.0 + other.keys.0, self.keys.1 + other.keys.1);
    }

    /// Commands and options that ran too seldom.
    pub fn missed(&self) -> Vec<String> {
        let all = self.commands.iter().chain(&self.options);
        all.filter(|(_, n)| **n < AT_LEAST).map(|(name, n)| format!("{name} ({n})")).collect()
    }

    pub fn report(&self, all_pairs: bool) -> String {
        let mut text = format!(
            "{} commands of {} kinds with {} options, {} pairs of command and kind of reply; \
             of the keys in the pool {}% existed\n",
            self.sent(),
            self.commands.len(),
            self.options.len(),
            self.pairs.len(),
            self.keys.1 * 100 / self.keys.0.max(1),
        );
        for (group, (n, bad)) in &self.groups {
            text += &format!("  {group:14} {:8} agree, {bad} differ\n", n - bad.min(n));
        }
        if all_pairs {
            for ((name, kind), n) in &self.pairs {
                text += &format!("  {n:6} {name} {kind}\n");
            }
        }
        text
    }
}

/// The type of a reply; of an error its text, without what it quotes and counts.
fn kind(reply: &Value) -> String {
    let Error(text) = reply else { return reply.kind() };
    let mut class = String::from("-");
    let mut quoted = false;
    for c in text.chars() {
        match c {
            '\'' | '"' => quoted = !quoted,
            _ if quoted => {}
            '0'..='9' => {
                if !class.ends_with('#') {
                    class.push('#');
                }
            }
            _ => class.push(c),
        }
    }
    class.chars().take(70).collect()
}
