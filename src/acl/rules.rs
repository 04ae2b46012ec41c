//! The words of rules: what is wrong with one, and how a selector that is spread over several becomes one.

use crate::cmd::table::Table;

/// What rules are read with.
pub struct Rules<'a, H: 'static> {
    pub table: &'a Table<H>,
    /// Whether a new selector may use every channel (`acl-pubsub-default`).
    pub all_channels: bool,
}

/// Why a rule cannot be applied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RuleError {
    /// A command or category.
    Unknown,
    Syntax,
    KeysAfterAll,
    ChannelsAfterAll,
    NoSuchPassword,
    BadHash,
    DuplicateUser,
    ArgumentOfSubcommand,
}

impl RuleError {
    pub fn text(self) -> &'static str {
        match self {
            RuleError::Unknown => "Unknown command or category name in ACL",
            RuleError::Syntax => "Syntax error",
            RuleError::KeysAfterAll => {
                "Adding a pattern after the * pattern (or the 'allkeys' flag) is not valid and does not \
                 have any effect. Try 'resetkeys' to start with an empty list of patterns"
            }
            RuleError::ChannelsAfterAll => {
                "Adding a pattern after the * pattern (or the 'allchannels' flag) is not valid and does \
                 not have any effect. Try 'resetchannels' to start with an empty list of channels"
            }
            RuleError::NoSuchPassword => {
                "The password you are trying to remove from the user does not exist"
            }
            RuleError::BadHash => {
                "The password hash must be exactly 64 characters and contain only lowercase \
                 hexadecimal characters"
            }
            RuleError::DuplicateUser => {
                "Duplicate user found. A user can only be defined once in config files"
            }
            RuleError::ArgumentOfSubcommand => "Allowing first-arg of a subcommand is not supported",
        }
    }
}

/// Could these bytes end a word of a rule, or a line? Then they are no part of a name or a pattern.
pub fn has_blanks(text: &[u8]) -> bool {
    text.iter().any(|b| *b == b' ' || b.is_ascii_control())
}

/// Joins the words of each selector. An error is the place of the word that opens one without an end.
pub fn merged<T: AsRef<[u8]>>(words: &[T]) -> Result<Vec<Vec<u8>>, usize> {
    let mut all: Vec<Vec<u8>> = Vec::new();
    let mut open = None;
    for (at, word) in words.iter().enumerate() {
        let word = word.as_ref();
        let closes = word.last() == Some(&b')');
        match (open, all.last_mut()) {
            (Some(_), Some(selector)) => {
                selector.push(b' ');
                selector.extend_from_slice(word);
                if closes {
                    open = None;
                }
            }
            _ => {
                open = (word.first() == Some(&b'(') && !closes).then_some(at);
                all.push(word.to_vec());
            }
        }
    }
    open.map_or(Ok(all), Err)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn selectors_may_be_spread_over_words() {
        let of = |line: &str| {
            let words: Vec<&str> = line.split(' ').collect();
            merged(&words).map(|all| all.iter().map(|w| String::from_utf8_lossy(w).into()).collect())
        };
        let expect = |words: &[&str]| Ok(words.iter().map(|w| (*w).to_string()).collect::<Vec<_>>());
        assert_eq!(of("on (+get ~a) off"), expect(&["on", "(+get ~a)", "off"]));
        assert_eq!(of("(+get) ( ~a )"), expect(&["(+get)", "( ~a )"]));
        assert_eq!(of("on (+get (~a off"), Err(1));
        assert_eq!(of("+get)"), expect(&["+get)"]));
        assert_eq!(of("()"), expect(&["()"]));
    }

    #[test]
    fn control_characters_are_blanks() {
        assert!(has_blanks(b"a b") && has_blanks(b"a\n") && has_blanks(b"\x01") && has_blanks(b"\0"));
        assert!(has_blanks(b"\x7f") && !has_blanks("é:*\\[x]".as_bytes()) && !has_blanks(b""));
    }
}
