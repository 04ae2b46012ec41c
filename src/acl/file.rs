//! The file of users: a line `user name rules` for each, nothing else but blank lines.
//!
//! Words are separated by single blanks and have no quotes (but inside of brackets). Everything that is
//! wrong is told at once, each fault with its place; a file with a fault changes nothing.

use super::rules::{RuleError, Rules, has_blanks, merged};
use super::user::User;
use std::collections::BTreeSet;

const NOTHING_CHANGED: &str =
    "WARNING: ACL errors detected, no change to the previously active ACL rules was performed";

/// The users of a text that was read from `path`; or all faults, in one line.
pub fn parse<H>(text: &[u8], path: &str, how: &Rules<'_, H>) -> Result<Vec<User>, String> {
    let (mut users, mut faults, mut names) = (Vec::new(), String::new(), BTreeSet::new());
    for (at, line) in text.split(|b| *b == b'\n').enumerate() {
        let line = trim(line);
        if line.is_empty() {
            continue;
        }
        let place = format!("{path}:{}", at + 1);
        if line.iter().any(|b| b.is_ascii_control() && *b != b'\t') {
            faults += &format!("{place}: control characters are not allowed. ");
            continue;
        }
        let words: Vec<&[u8]> = line.split(|b| *b == b' ').collect();
        let [b"user", name, rules @ ..] = &words[..] else {
            faults += &format!("{place} should start with user keyword followed by the username. ");
            continue;
        };
        let shown = String::from_utf8_lossy(name);
        if has_blanks(name) {
            faults += &format!("'{place}: username '{shown}' contains invalid characters. ");
            continue;
        }
        if !names.insert(*name) {
            faults += &format!("WARNING: Duplicate user '{shown}' found on line {}. ", at + 1);
            continue;
        }
        users.push(user(name, rules, &place, how, &mut faults));
    }
    if faults.is_empty() { Ok(users) } else { Err(faults + NOTHING_CHANGED) }
}

/// The user of one line; what is wrong with it is added to `faults`.
fn user<H>(name: &[u8], rules: &[&[u8]], place: &str, how: &Rules<'_, H>, faults: &mut String) -> User {
    let mut user = User::new(name, how.all_channels);
    let Ok(rules) = merged(rules) else {
        *faults += &format!("{place}: Unmatched parenthesis in selector definition.");
        return user;
    };
    // After a first fault of another kind the rest may be wrong only because of it.
    let mut broken = false;
    for rule in rules {
        let rule = trim_inner(&rule);
        match user.apply(rule, how) {
            Ok(()) => {}
            Err(why @ RuleError::Unknown) => {
                let (rule, why) = (String::from_utf8_lossy(rule), why.text());
                *faults += &format!("{place}: Error in applying operation '{rule}': {why}. ");
            }
            Err(why) => {
                if !std::mem::replace(&mut broken, true) {
                    *faults += &format!("{place}: {}. ", why.text());
                }
            }
        }
    }
    user
}

fn trim(line: &[u8]) -> &[u8] {
    trim_of(line, b" \t\r\n")
}

fn trim_inner(word: &[u8]) -> &[u8] {
    trim_of(word, b"\t\r\n")
}

fn trim_of<'a>(mut text: &'a [u8], blanks: &[u8]) -> &'a [u8] {
    while let [first, rest @ ..] = text
        && blanks.contains(first)
    {
        text = rest;
    }
    while let [rest @ .., last] = text
        && blanks.contains(last)
    {
        text = rest;
    }
    text
}
