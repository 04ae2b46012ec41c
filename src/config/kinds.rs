//! The kinds of directives: how each reads its value, prints it, and goes back into the file.
//!
//! ```text
//!             set (arguments)          get                       rewrite
//! Flag        yes | no                 yes | no                  name yes
//! Uint, Int   number, memory, octal    a number, 10%, 700        name 64mb, name 10%
//! Text        any bytes                the bytes                 name "quoted"
//! Maybe       any bytes, "" = nothing  the bytes or ""           absent, or name "quoted"
//! Word        one of a list            the first word of a value name word
//! Words       several of a list        in the list's order       name word word
//! Special     see special.rs
//! ```
//!
//! `set` never leaves a value behind that it has refused, except in those specials where upstream does
//! so too; the callers restore the former configuration on failure anyway.

use std::borrow::Cow;

use super::Config;
use super::number::{cut_nul, format_memory, parse_lenient, parse_memory};
use super::rewrite::Rewriter;
use crate::algo::num;

/// Why a value was refused, in upstream's words.
pub type Reason = Cow<'static, str>;

/// Where a field of the configuration is; the name is for the tests that hold rows against fields.
#[derive(Debug)]
pub struct At<T: 'static> {
    pub field: &'static str,
    pub get: fn(&Config) -> &T,
    pub get_mut: fn(&mut Config) -> &mut T,
}

/// The same for an enum, whose type is hidden behind its words.
#[derive(Debug)]
pub struct WordAt {
    pub field: &'static str,
    pub names: fn() -> Vec<&'static str>,
    pub get: fn(&Config) -> &'static str,
    pub set: fn(&mut Config, &[u8]) -> Option<bool>,
}

/// How a number is spelled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    Plain,
    Memory,
    MemoryOrPercent,
    Octal,
}

/// Whether values replace what was there or are added to it. Only `save` ever adds: its lines in a file
/// make one list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Write {
    Replace,
    Add,
}

/// The code of a directive that is like no other.
#[derive(Debug)]
pub struct Special {
    /// The field, for the tests.
    pub field: &'static str,
    pub init: fn(&mut Config),
    /// Sets the value; true when there is something to apply.
    pub set: SetArgs,
    pub get: fn(&Config) -> Vec<u8>,
    pub rewrite: fn(&Config, &'static str, &mut Rewriter),
}

type SetArgs = fn(&mut Config, &[&[u8]], Write) -> Result<bool, Reason>;
type Check = fn(&Config, &[u8]) -> Result<(), &'static str>;

#[derive(Debug)]
pub enum DirectiveKind {
    Flag {
        at: At<bool>,
        default: bool,
    },
    Uint {
        at: At<u64>,
        min: u64,
        max: u64,
        default: u64,
        unit: Unit,
    },
    Int {
        at: At<i64>,
        min: i64,
        max: i64,
        default: i64,
        unit: Unit,
    },
    Text {
        at: At<Vec<u8>>,
        default: &'static str,
        valid: Option<Check>,
    },
    Maybe {
        at: At<Option<Vec<u8>>>,
        binary: bool,
        valid: Option<Check>,
    },
    Word {
        at: WordAt,
        default: &'static str,
    },
    Words {
        at: At<u32>,
        list: &'static [(&'static str, u32)],
        valid: fn(u32) -> Result<(), &'static str>,
    },
    Special(&'static Special),
}

pub const WRONG_COUNT: Reason = Cow::Borrowed("wrong number of arguments");

/// Stores a value and tells whether it differs from the former one.
fn replace<T: PartialEq>(slot: &mut T, value: T) -> bool {
    let changed = *slot != value;
    *slot = value;
    changed
}

impl DirectiveKind {
    /// Gives the field its default.
    pub fn init(&self, config: &mut Config) {
        match self {
            DirectiveKind::Flag { at, default, .. } => *(at.get_mut)(config) = *default,
            DirectiveKind::Uint { at, default, .. } => *(at.get_mut)(config) = *default,
            DirectiveKind::Int { at, default, .. } => *(at.get_mut)(config) = *default,
            DirectiveKind::Text { at, default, .. } => {
                *(at.get_mut)(config) = default.as_bytes().to_vec()
            }
            DirectiveKind::Maybe { at, .. } => *(at.get_mut)(config) = None,
            DirectiveKind::Word { at, default } => {
                let stored = (at.set)(config, default.as_bytes());
                debug_assert!(stored.is_some(), "{default} is no value of {}", at.field);
            }
            DirectiveKind::Words { at, .. } => *(at.get_mut)(config) = 0,
            DirectiveKind::Special(special) => (special.init)(config),
        }
    }

    /// Sets the value; true when it is another one than before.
    pub fn set(&self, config: &mut Config, args: &[&[u8]], write: Write) -> Result<bool, Reason> {
        match self {
            DirectiveKind::Words { at, list, valid } => {
                let bits = parse_words(list, args)?;
                valid(bits)?;
                return Ok(replace((at.get_mut)(config), bits));
            }
            DirectiveKind::Special(special) => return (special.set)(config, args, write),
            _ => {}
        }
        let [value] = args else { return Err(WRONG_COUNT) };
        self.set_one(config, value)
    }

    fn set_one(&self, config: &mut Config, value: &[u8]) -> Result<bool, Reason> {
        match self {
            DirectiveKind::Flag { at, .. } => Ok(replace((at.get_mut)(config), parse_flag(value)?)),
            DirectiveKind::Uint { at, min, max, unit, .. } => {
                let number = parse_number(value, *unit)?.cast_unsigned();
                check_unsigned(number, *min, *max, *unit)?;
                Ok(replace((at.get_mut)(config), number))
            }
            DirectiveKind::Int { at, min, max, unit, .. } => {
                let number = parse_number(value, *unit)?;
                check_signed(number, *min, *max, *unit)?;
                Ok(replace((at.get_mut)(config), number))
            }
            DirectiveKind::Text { at, valid, .. } => {
                if let Some(valid) = valid {
                    valid(config, value)?;
                }
                Ok(replace((at.get_mut)(config), cut_nul(value).to_vec()))
            }
            DirectiveKind::Maybe { at, binary, valid } => {
                if let Some(valid) = valid {
                    valid(config, value)?;
                }
                let value = if *binary { value } else { cut_nul(value) };
                let value = (!value.is_empty()).then(|| value.to_vec());
                Ok(replace((at.get_mut)(config), value))
            }
            DirectiveKind::Word { at, .. } => {
                (at.set)(config, value).ok_or_else(|| one_of(&(at.names)()))
            }
            DirectiveKind::Words { .. } | DirectiveKind::Special(_) => {
                unreachable!("take several arguments")
            }
        }
    }

    /// The value as CONFIG GET prints it.
    pub fn get(&self, config: &Config) -> Vec<u8> {
        match self {
            DirectiveKind::Flag { at, .. } => yes_no(*(at.get)(config)).into(),
            DirectiveKind::Uint { at, unit, .. } => {
                print_unsigned(*(at.get)(config), *unit).into_bytes()
            }
            DirectiveKind::Int { at, unit, .. } => print_signed(*(at.get)(config), *unit).into_bytes(),
            DirectiveKind::Text { at, .. } => (at.get)(config).clone(),
            DirectiveKind::Maybe { at, .. } => (at.get)(config).clone().unwrap_or_default(),
            DirectiveKind::Word { at, .. } => (at.get)(config).into(),
            DirectiveKind::Words { at, list, .. } => print_words(list, *(at.get)(config)).into_bytes(),
            DirectiveKind::Special(special) => (special.get)(config),
        }
    }

    /// Offers the directive's lines to CONFIG REWRITE.
    pub fn rewrite(&self, config: &Config, name: &'static str, out: &mut Rewriter) {
        let (value, force) = match self {
            DirectiveKind::Flag { at, default, .. } => {
                let value = *(at.get)(config);
                (yes_no(value).to_owned(), value != *default)
            }
            DirectiveKind::Uint { at, default, unit, .. } => {
                let value = *(at.get)(config);
                let text = match unit {
                    Unit::Memory => format_memory(value),
                    _ => print_unsigned(value, *unit),
                };
                (text, value != *default)
            }
            DirectiveKind::Int { at, default, unit, .. } => {
                let value = *(at.get)(config);
                let text = match (unit, u64::try_from(value)) {
                    (Unit::MemoryOrPercent, Ok(bytes)) => format_memory(bytes),
                    _ => print_signed(value, *unit),
                };
                (text, value != *default)
            }
            DirectiveKind::Text { at, default, .. } => {
                let value = (at.get)(config);
                return out.text(name, value, value.as_slice() != default.as_bytes());
            }
            DirectiveKind::Maybe { at, .. } => {
                // A directive without a value has no line.
                return match (at.get)(config) {
                    Some(value) => out.text(name, value, true),
                    None => out.processed(name),
                };
            }
            DirectiveKind::Word { at, default } => {
                let value = (at.get)(config);
                (value.to_owned(), value != *default)
            }
            DirectiveKind::Words { at, list, .. } => {
                let bits = *(at.get)(config);
                (print_words(list, bits), bits != 0)
            }
            DirectiveKind::Special(special) => return (special.rewrite)(config, name, out),
        };
        out.line(name, format!("{name} {value}").into_bytes(), force);
    }

    /// The name of the field behind the directive.
    pub fn field(&self) -> &'static str {
        match self {
            DirectiveKind::Flag { at, .. } => at.field,
            DirectiveKind::Uint { at, .. } => at.field,
            DirectiveKind::Int { at, .. } => at.field,
            DirectiveKind::Text { at, .. } => at.field,
            DirectiveKind::Maybe { at, .. } => at.field,
            DirectiveKind::Word { at, .. } => at.field,
            DirectiveKind::Words { at, .. } => at.field,
            DirectiveKind::Special(special) => special.field,
        }
    }
}

fn parse_flag(value: &[u8]) -> Result<bool, Reason> {
    match cut_nul(value) {
        word if word.eq_ignore_ascii_case(b"yes") => Ok(true),
        word if word.eq_ignore_ascii_case(b"no") => Ok(false),
        _ => Err("argument must be 'yes' or 'no'".into()),
    }
}

/// Reads a number. Memory beyond the signed range comes out negative; the range check knows the bits.
fn parse_number(value: &[u8], unit: Unit) -> Result<i64, Reason> {
    let (number, text) = match unit {
        Unit::Plain => (num::parse_i64(value), "argument couldn't be parsed into an integer"),
        Unit::Memory => (parse_memory(value).map(u64::cast_signed), "argument must be a memory value"),
        Unit::MemoryOrPercent => {
            let bytes = parse_memory(value).map(u64::cast_signed);
            (bytes.or_else(|| parse_percent(value)), "argument must be a memory or percent value")
        }
        Unit::Octal => {
            let number = parse_lenient(value, 8).filter(|(_, cut)| !cut).map(|(number, _)| number);
            (number, "argument couldn't be parsed as an octal number")
        }
    };
    number.ok_or(text.into())
}

/// `n%` as `-n`.
fn parse_percent(value: &[u8]) -> Option<i64> {
    let number = num::parse_i64(value.strip_suffix(b"%")?)?;
    if number < 0 { None } else { number.checked_neg() }
}

fn check_unsigned(number: u64, min: u64, max: u64, unit: Unit) -> Result<(), Reason> {
    match (number >= min && number <= max, unit) {
        (true, _) => Ok(()),
        (false, Unit::Octal) => {
            Err(format!("argument must be between {min:o} and {max:o} inclusive").into())
        }
        (false, _) => Err(format!("argument must be between {min} and {max} inclusive").into()),
    }
}

fn check_signed(number: i64, min: i64, max: i64, unit: Unit) -> Result<(), Reason> {
    if unit == Unit::MemoryOrPercent && number < 0 {
        if number < min {
            let most = min.unsigned_abs();
            return Err(format!("percentage argument must be less or equal to {most}").into());
        }
    } else if number < min || number > max {
        return Err(format!("argument must be between {min} and {max} inclusive").into());
    }
    Ok(())
}

fn yes_no(value: bool) -> &'static str {
    if value { "yes" } else { "no" }
}

fn print_unsigned(value: u64, unit: Unit) -> String {
    if unit == Unit::Octal { format!("{value:o}") } else { value.to_string() }
}

fn print_signed(value: i64, unit: Unit) -> String {
    if unit == Unit::MemoryOrPercent && value < 0 {
        format!("{}%", value.unsigned_abs())
    } else {
        value.to_string()
    }
}

fn one_of(names: &[&str]) -> Reason {
    format!("argument(s) must be one of the following: {}", names.join(", ")).into()
}

fn parse_words(list: &[(&str, u32)], args: &[&[u8]]) -> Result<u32, Reason> {
    let refused = || one_of(&list.iter().map(|(name, _)| *name).collect::<Vec<_>>());
    if args.is_empty() {
        return Err(refused());
    }
    let mut bits = 0;
    for word in args {
        let known = list.iter().find(|(name, _)| name.as_bytes().eq_ignore_ascii_case(word));
        bits |= known.ok_or_else(refused)?.1;
    }
    Ok(bits)
}

/// The words of a set of bits; the one word that is exactly this set goes first, such as the word of 0.
fn print_words(list: &[(&str, u32)], bits: u32) -> String {
    if let Some((name, _)) = list.iter().find(|(_, bit)| *bit == bits) {
        return (*name).to_owned();
    }
    let names = list.iter().filter(|(_, bit)| *bit != 0 && bits & bit == *bit);
    names.map(|(name, _)| *name).collect::<Vec<_>>().join(" ")
}
