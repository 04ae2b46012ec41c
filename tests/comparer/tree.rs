//! The commands that a server documents, as trees of arguments, and random words made from them.
//!
//! ```text
//!   ZADD key [NX | XX] [GT | LT] [CH] [INCR] score member [score member ...]
//!     block, oneof, pure-token, optional, multiple: as COMMAND DOCS has them
//! ```
//!
//! Words follow the tree, with values that are mostly fit; then, now and then, something is done to them that
//! the tree does not allow: a word too few or too many, an odd one, options in another order.

use super::values::{self, pick};
use crate::common::{Conn, Value};
use oxidis::algo::rng::Rng;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Type {
    Text,
    Integer,
    Double,
    Key,
    Pattern,
    UnixTime,
    Token,
    OneOf,
    Block,
}

#[derive(Debug)]
pub struct Arg {
    pub name: String,
    pub kind: Type,
    pub token: Option<String>,
    optional: bool,
    multiple: bool,
    multiple_token: bool,
    args: Vec<Arg>,
}

/// A command or subcommand that can be called.
#[derive(Debug)]
pub struct Command {
    /// `zadd`, `config|get`.
    pub name: String,
    pub group: String,
    args: Vec<Arg>,
}

/// One call: its words, and which of them are keys.
#[derive(Clone, Debug, Default)]
pub struct Call {
    /// Full name of the command.
    pub name: String,
    pub group: String,
    pub words: Vec<Vec<u8>>,
    pub keys: Vec<Vec<u8>>,
    /// What there was to choose and was chosen, as `Command::options` names it.
    pub options: Vec<String>,
    /// What SORT is to sort has an order of its own.
    pub ordered: bool,
}

impl Call {
    pub fn new(words: Vec<Vec<u8>>) -> Call {
        let name = String::from_utf8_lossy(&words[0]).to_lowercase();
        let keys = words.get(1).cloned().into_iter().collect();
        Call { name, group: "scenes".into(), words, keys, ..Call::default() }
    }

    pub fn of(words: &[&[u8]]) -> Call {
        Call::new(words.iter().map(|w| w.to_vec()).collect())
    }

    /// For people.
    pub fn shown(&self) -> String {
        let word = |w: &Vec<u8>| match w.len() {
            0 => "''".to_string(),
            1..=90 if !w.contains(&b' ') => w.escape_ascii().to_string(),
            1..=90 => format!("'{}'", w.escape_ascii()),
            n => format!("'{}...'({n})", w[..8].escape_ascii()),
        };
        self.words.iter().map(word).collect::<Vec<_>>().join(" ")
    }
}

// ---- COMMAND DOCS --------------------------------------------------------------------------------

/// The fields of a flat array of names and values.
fn fields(v: &Value) -> impl Iterator<Item = (String, &Value)> {
    v.items().chunks(2).map(|pair| (pair[0].text(), &pair[1]))
}

fn field<'v>(v: &'v Value, name: &str) -> Option<&'v Value> {
    fields(v).find(|(n, _)| n == name).map(|(_, v)| v)
}

/// Everything that the server documents, by name.
pub fn commands(c: &mut Conn) -> Vec<Command> {
    let mut all = Vec::new();
    collect(&c.run("COMMAND DOCS"), &mut all);
    all.sort_by(|a, b| a.name.cmp(&b.name));
    all
}

fn collect(docs: &Value, all: &mut Vec<Command>) {
    for (name, doc) in fields(docs) {
        match field(doc, "subcommands") {
            Some(subs) => collect(subs, all),
            None => {
                let args =
                    field(doc, "arguments").map_or(vec![], |a| a.items().iter().map(arg).collect());
                let group = field(doc, "group").expect("every command has one").text();
                all.push(Command { name, group, args });
            }
        }
    }
}

fn arg(v: &Value) -> Arg {
    let text = |name| field(v, name).map(Value::text);
    let kind = match text("type").expect("every argument has one").as_str() {
        "integer" => Type::Integer,
        "double" => Type::Double,
        "key" => Type::Key,
        "pattern" => Type::Pattern,
        "unix-time" => Type::UnixTime,
        "pure-token" => Type::Token,
        "oneof" => Type::OneOf,
        "block" => Type::Block,
        _ => Type::Text,
    };
    let flags: Vec<String> =
        field(v, "flags").map_or(vec![], |f| f.items().iter().map(Value::text).collect());
    let has = |flag: &str| flags.iter().any(|f| f == flag);
    Arg {
        name: text("name").expect("every argument has one"),
        kind,
        token: text("token"),
        optional: has("optional"),
        multiple: has("multiple"),
        multiple_token: has("multiple_token"),
        args: field(v, "arguments").map_or(vec![], |a| a.items().iter().map(arg).collect()),
    }
}

// ---- words ---------------------------------------------------------------------------------------

struct Maker<'r> {
    rng: &'r mut Rng,
    command: &'r str,
    group: &'r str,
    words: Vec<Vec<u8>>,
    keys: Vec<Vec<u8>>,
    options: Vec<String>,
    /// Where a number of keys is to be written when it is known.
    numkeys: Option<usize>,
    /// How often the last repeated argument stood: streams and their ids go together.
    repeated: usize,
}

impl Command {
    /// A random call, now and then one that the tree does not allow.
    pub fn call(&self, rng: &mut Rng) -> Call {
        let mut call = self.fit(rng);
        if rng.below(8) == 0 {
            let first = self.name.split('|').count();
            let options = self.options();
            distort(rng, &mut call.words, first, &options);
        }
        call
    }

    /// Every token of the tree: `set XX`.
    pub fn options(&self) -> Vec<String> {
        fn collect(name: &str, args: &[Arg], all: &mut Vec<String>) {
            for a in args {
                all.extend(a.token.as_ref().map(|t| option(name, t)));
                collect(name, &a.args, all);
            }
        }
        let mut all = Vec::new();
        collect(&self.name, &self.args, &mut all);
        all
    }

    /// A random call that follows the tree.
    pub fn fit(&self, rng: &mut Rng) -> Call {
        let words: Vec<Vec<u8>> = self.name.split('|').map(|w| in_some_case(rng, w)).collect();
        let mut m = Maker {
            rng,
            command: &self.name,
            group: &self.group,
            words,
            keys: Vec::new(),
            options: Vec::new(),
            numkeys: None,
            repeated: 1,
        };
        m.list(&self.args);
        m.end_of_keys(0);
        let Maker { words, keys, options, .. } = m;
        let (name, group) = (self.name.clone(), self.group.clone());
        Call { name, group, words, keys, options, ordered: false }
    }
}

fn option(command: &str, token: &str) -> String {
    match token {
        "" => format!("{command} ''"),
        _ => format!("{command} {}", token.to_uppercase()),
    }
}

fn in_some_case(rng: &mut Rng, word: &str) -> Vec<u8> {
    match rng.below(4) {
        0 => word.to_lowercase().into_bytes(),
        1 => word.bytes().enumerate().map(|(i, b)| if i % 2 == 0 { b } else { b ^ 32 }).collect(),
        _ => word.to_uppercase().into_bytes(),
    }
}

impl Maker<'_> {
    fn chance(&mut self, percent: u64) -> bool {
        self.rng.below(100) < percent
    }

    fn list(&mut self, args: &[Arg]) {
        // What is optional may mostly come in any order, but only after what is not.
        let tail = args.iter().rposition(|a| !a.optional).map_or(0, |last| last + 1);
        let mut order: Vec<usize> = (0..args.len()).collect();
        if self.chance(15) {
            for i in tail..args.len() {
                order.swap(i, tail + self.rng.index(args.len() - tail));
            }
        }
        for i in order {
            if !args[i].optional || self.chance(35) {
                self.argument(&args[i]);
            }
        }
    }

    fn argument(&mut self, arg: &Arg) {
        let times = match arg.multiple {
            false => 1,
            true if self.goes_with_keys(arg) => self.repeated,
            true => match self.rng.below(10) {
                0..5 => 1,
                5..9 => 2 + self.rng.index(3),
                _ => 15 + self.rng.index(10),
            },
        };
        for i in 0..times {
            if i == 0 || arg.multiple_token {
                self.token(arg);
            }
            self.value(arg);
        }
        if arg.kind == Type::Key {
            if arg.multiple {
                self.repeated = times;
            }
            self.end_of_keys(times);
        }
    }

    /// The ids of XREAD, the weights of ZUNION: as many as there are keys, mostly.
    fn goes_with_keys(&mut self, arg: &Arg) -> bool {
        let pairs = arg.name == "id" && self.command.starts_with("xread");
        (pairs || arg.name == "weight") && self.chance(90)
    }

    fn token(&mut self, arg: &Arg) {
        if let Some(token) = &arg.token
            && arg.kind != Type::Token
        {
            self.chosen(token);
        }
    }

    fn chosen(&mut self, token: &str) {
        self.options.push(option(self.command, token));
        let word = in_some_case(self.rng, token);
        self.words.push(word);
    }

    fn value(&mut self, arg: &Arg) {
        match arg.kind {
            Type::Block => self.list(&arg.args),
            Type::OneOf => {
                let one = &arg.args[self.rng.index(arg.args.len())];
                self.argument(one);
            }
            Type::Token => self.chosen(arg.token.as_deref().unwrap_or("")),
            Type::Key => {
                let key = self.key();
                self.words.push(key.clone());
                self.keys.push(key);
            }
            _ if arg.name == "numkeys" => {
                self.numkeys = Some(self.words.len());
                self.words.push(Vec::new());
            }
            _ => {
                let list = values::of(self.group, self.command, arg);
                let word = match list {
                    l if std::ptr::eq(l, values::INTEGERS) => values::any_integer(self.rng),
                    l if std::ptr::eq(l, values::TEXTS) && self.rng.below(60) == 0 => {
                        pick(self.rng, values::BIG_TEXTS).to_vec()
                    }
                    l if std::ptr::eq(l, values::LIBRARIES) && self.rng.below(4) > 0 => {
                        values::library(self.rng)
                    }
                    l if std::ptr::eq(l, values::PAYLOADS)
                        && self.command == "function|restore"
                        && self.rng.below(4) > 0 =>
                    {
                        values::libraries(self.rng)
                    }
                    l => pick(self.rng, l).to_vec(),
                };
                self.words.push(word);
            }
        }
    }

    /// Mostly of the type that the command works on.
    fn key(&mut self) -> Vec<u8> {
        let own = values::POOL.iter().find(|(group, _)| *group == self.group && *group != "geo");
        let also = match self.group {
            "bitmap" => Some("string"),
            "geo" => Some("geo"),
            _ => None,
        };
        let own = own.or_else(|| values::POOL.iter().find(|(group, _)| Some(*group) == also));
        match (self.rng.below(10), own) {
            (0..7, Some((_, keys))) => pick(self.rng, keys).to_vec(),
            (7, _) => pick(self.rng, values::OTHER_KEYS).to_vec(),
            _ => {
                let (_, keys) = values::POOL[self.rng.index(values::POOL.len())];
                pick(self.rng, keys).to_vec()
            }
        }
    }

    /// Writes the number of keys where it was asked for.
    fn end_of_keys(&mut self, count: usize) {
        let Some(at) = self.numkeys.take() else { return };
        self.words[at] = match self.chance(88) {
            true => count.to_string().into_bytes(),
            false => values::any_integer(self.rng),
        };
    }
}

/// Does something to the words from `first` on that the tree does not allow.
fn distort(rng: &mut Rng, words: &mut Vec<Vec<u8>>, first: usize, options: &[String]) {
    let args = words.len() - first;
    let at = first + rng.index(args.max(1));
    match rng.below(6) {
        0 if args > 0 => drop(words.remove(at)),
        1 if args > 0 => words[at] = pick(rng, values::ODD).to_vec(),
        2 if args > 0 => {
            let word = words[at].clone();
            words.insert(at, word);
        }
        // Options that exclude each other, or stand where none may.
        3..5 if args > 0 && !options.is_empty() => {
            let option = &options[rng.index(options.len())];
            let word = option.split(' ').next_back().unwrap_or("").as_bytes().to_vec();
            words.insert(at + rng.index(words.len() - at + 1), word);
        }
        _ => words.push(pick(rng, values::ODD).to_vec()),
    }
}
