//! Every command that this server and Redis 7.2 both know says the same about itself, in COMMAND INFO
//! and in COMMAND DOCS, in everything but the prose.
//!
//! ```text
//! $REDIS_SRC/src/commands/*.json --- expected_info, expected_docs --+
//!                                                                   +-- the same JSON shape, compared
//! our server, raw RESP2 ------------ seen_info, seen_docs ----------+
//! ```
//!
//! The files are not ours to ship, so the test runs only where `REDIS_SRC` names a source tree of 7.2.6.
//! What the files leave to be derived (categories that follow from flags, the one range of old clients,
//! `movablekeys`) is derived here a second time, from the files alone. Of sentences the test wants that
//! they are there, or absent, where theirs are, and that they are not theirs.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Map, Value, json};

/// Full name in lower case (`config|get`) to what is said about it.
type Table = BTreeMap<String, Value>;

#[test]
fn commands_describe_themselves_as_in_redis() {
    let Some(source) = std::env::var_os("REDIS_SRC") else {
        println!("skipped: set REDIS_SRC to a source tree of Redis 7.2.6");
        return;
    };
    let facts = read_facts(&Path::new(&source).join("src/commands"));
    compare(&facts, &Server::start(), "get");
    // The same binary, with other commands.
    let of_sentinels =
        facts.into_iter().filter(|(_, fact)| has(fact, "command_flags", "SENTINEL")).collect();
    compare(&of_sentinels, &Server::sentinel(), "sentinel|masters");
}

/// What a server says of the commands that it shares with `facts`; `one` is among them.
fn compare(facts: &Table, server: &Server, one: &str) {
    let mut conn = server.connect();
    let (mut infos, mut docs) = (Table::new(), Table::new());
    collect_infos(&conn.ask(&["COMMAND"]), &mut infos);
    collect_docs(&conn.ask(&["COMMAND", "DOCS"]), &mut docs);
    assert!(infos.contains_key(one), "COMMAND does not know {one}");
    assert!(infos.keys().eq(docs.keys()), "COMMAND and COMMAND DOCS do not know the same commands");

    let mut wrong = Vec::new();
    let mut compared = 0;
    for (name, fact) in facts {
        let (Some(info), Some(doc)) = (infos.get(name), docs.get(name)) else { continue };
        compared += 1;
        differ(name, &expected_info(fact), &seen_info(info), &mut wrong);
        differ(name, &expected_docs(fact), &seen_docs(doc), &mut wrong);
        copied(name, fact, &fields(doc), &mut wrong);
    }
    let missing: Vec<_> = facts.keys().filter(|name| !infos.contains_key(*name)).collect();
    println!("{compared} commands compared; not there yet: {missing:?}");
    assert!(wrong.is_empty(), "{} differences:\n{}", wrong.len(), wrong.join("\n"));
}

// ---- what the files say ----

fn read_facts(dir: &Path) -> Table {
    let mut facts = Table::new();
    for file in std::fs::read_dir(dir).expect("REDIS_SRC has src/commands") {
        let path = file.expect("a directory entry").path();
        if path.extension().is_none_or(|extension| extension != "json") {
            continue;
        }
        let text = std::fs::read(&path).expect("a readable file");
        let commands: Table = serde_json::from_slice(&text).expect("a file of commands is JSON");
        for (name, fact) in commands {
            let full = match fact["container"].as_str() {
                Some(container) => format!("{container}|{name}"),
                None => name,
            };
            facts.insert(full.to_lowercase(), fact);
        }
    }
    facts
}

fn list<'a>(of: &'a Value, field: &str) -> &'a [Value] {
    of[field].as_array().map_or(&[], Vec::as_slice)
}

fn has(of: &Value, field: &str, word: &str) -> bool {
    list(of, field).iter().any(|item| item == word)
}

fn lower(of: &Value) -> String {
    of.as_str().expect("a string").to_lowercase()
}

/// The flags that are printed, in print order; `movablekeys` is not in the files.
const FLAGS: &str = "write readonly denyoom admin pubsub noscript blocking loading stale skip_monitor \
                     skip_slowlog asking fast no_auth no_mandatory_keys no_async_loading no_multi \
                     movablekeys allow_busy";

const CATEGORIES: &str = "keyspace read write set sortedset list hash string bitmap hyperloglog geo \
                          stream pubsub admin fast slow blocking dangerous connection transaction \
                          scripting";

const KEY_FLAGS: &str = "RO RW OW RM access update insert delete not_key incomplete variable_flags";

/// The words of `order` that are among `given`, whatever their case, in that order.
fn in_print_order(order: &str, given: &[String]) -> Vec<String> {
    let printed = order.split(' ').filter(|word| given.iter().any(|one| one.eq_ignore_ascii_case(word)));
    printed.map(str::to_owned).collect()
}

fn expected_info(fact: &Value) -> Value {
    let (range, movable) = legacy_range(list(fact, "key_specs"));
    let mut flags: Vec<_> = list(fact, "command_flags").iter().map(lower).collect();
    if movable {
        flags.push("movablekeys".into());
    }
    let specs: Vec<_> = list(fact, "key_specs").iter().map(expected_spec).collect();
    let tips: Vec<_> = list(fact, "command_tips").iter().map(lower).collect();
    json!({
        "arity": fact["arity"], "flags": in_print_order(FLAGS, &flags), "range": range,
        "categories": expected_categories(fact), "tips": tips, "key specs": specs,
    })
}

/// Those of the file, and those that follow from the flags.
fn expected_categories(fact: &Value) -> Vec<String> {
    let flag = |name| has(fact, "command_flags", name);
    let mut given: Vec<_> = list(fact, "acl_categories").iter().map(lower).collect();
    let scripting = has(fact, "acl_categories", "SCRIPTING");
    let implied = [
        ("write", flag("WRITE")),
        ("read", flag("READONLY") && !scripting),
        ("admin", flag("ADMIN")),
        ("dangerous", flag("ADMIN")),
        ("pubsub", flag("PUBSUB")),
        ("fast", flag("FAST")),
        ("blocking", flag("BLOCKING")),
    ];
    given.extend(implied.iter().filter(|(_, holds)| *holds).map(|(name, _)| name.to_string()));
    if !given.iter().any(|name| name == "fast") {
        given.push("slow".into());
    }
    in_print_order(CATEGORIES, &given).iter().map(|category| format!("@{category}")).collect()
}

fn expected_spec(spec: &Value) -> Value {
    let flags: Vec<_> = list(spec, "flags").iter().map(lower).collect();
    let part = |field: &str| {
        let part = spec[field].as_object().expect("begin_search and find_keys are objects");
        let (kind, values) = part.iter().next().expect("of one member");
        let mut printed = Map::new();
        for (name, value) in values.as_object().into_iter().flatten() {
            let name = match (kind.as_str(), name.as_str()) {
                ("index", "pos") => "index",
                ("range" | "keynum", "step") => "keystep",
                (_, name) => name,
            };
            printed.insert(name.into(), value.clone());
        }
        json!({ "type": kind, "spec": printed })
    };
    json!({
        "notes": !spec["notes"].is_null(), "flags": in_print_order(KEY_FLAGS, &flags),
        "begin_search": part("begin_search"), "find_keys": part("find_keys"),
    })
}

/// First, last and step as COMMAND INFO prints them, and whether keys lie beyond that range.
fn legacy_range(specs: &[Value]) -> ([i64; 3], bool) {
    let ranges: Vec<_> = specs.iter().map(index_and_range).collect();
    let mut movable = specs.iter().any(|spec| has(spec, "flags", "INCOMPLETE"));
    let absolute = |first: i64, last: i64| if last >= 0 { first + last } else { last };
    if let [Some((first, last, step))] = ranges[..] {
        return ([first, absolute(first, last), step], movable);
    }
    let mut glued: Option<(i64, i64)> = None;
    for range in ranges {
        match (range, glued) {
            (Some((first, last, 1)), None) => glued = Some((first, absolute(first, last))),
            (Some((first, last, 1)), Some((begin, end))) if end == first - 1 => {
                glued = Some((begin, absolute(first, last)));
            }
            _ => movable = true,
        }
    }
    glued.map_or(([0, 0, 0], movable), |(first, last)| ([first, last, 1], movable))
}

fn index_and_range(spec: &Value) -> Option<(i64, i64, i64)> {
    let range = spec["find_keys"].get("range")?;
    let first = spec["begin_search"].get("index")?["pos"].as_i64()?;
    Some((first, range["lastkey"].as_i64()?, range["step"].as_i64()?))
}

fn expected_docs(fact: &Value) -> Value {
    let group = lower(&fact["group"]).replace('_', "-");
    let history: Vec<_> = list(fact, "history").iter().map(|change| change[0].clone()).collect();
    let flags: Vec<_> = list(fact, "doc_flags").iter().map(lower).collect();
    let args: Vec<_> = list(fact, "arguments").iter().map(expected_arg).collect();
    json!({
        "summary": !fact["summary"].is_null(), "complexity": !fact["complexity"].is_null(),
        "since": fact["since"], "group": group, "doc_flags": flags, "history": history,
        "deprecated_since": fact["deprecated_since"], "replaced_by": fact["replaced_by"],
        "arguments": args,
    })
}

fn expected_arg(fact: &Value) -> Value {
    let mut arg = Map::new();
    let name = lower(&fact["name"]);
    arg.insert("type".into(), fact["type"].clone());
    if fact["type"] == "oneof" || fact["type"] == "block" {
        arg.insert("arguments".into(), list(fact, "arguments").iter().map(expected_arg).collect());
    } else {
        let shown = fact["display"].as_str().map_or(name.clone(), str::to_lowercase);
        arg.insert("display_text".into(), shown.into());
    }
    arg.insert("name".into(), name.into());
    for field in ["key_spec_index", "summary", "since", "deprecated_since"] {
        if let Some(value) = fact.get(field) {
            arg.insert(field.into(), value.clone());
        }
    }
    match fact["token"].as_str() {
        None | Some("") => {}
        // The empty key of MIGRATE: two quotes in the file, printed as nothing at all.
        Some("\"\"") => drop(arg.insert("token".into(), "".into())),
        Some(token) => drop(arg.insert("token".into(), token.to_uppercase().into())),
    }
    let flags = ["optional", "multiple", "multiple_token"];
    let flags: Vec<_> = flags.into_iter().filter(|flag| fact[flag] == true).collect();
    if !flags.is_empty() {
        arg.insert("flags".into(), flags.into());
    }
    Value::Object(arg)
}

// ---- what our server says ----

/// A flattened map, as RESP2 has it.
fn fields(of: &Value) -> Map<String, Value> {
    let items = of.as_array().expect("a map is an array in RESP2");
    assert!(items.len().is_multiple_of(2), "a map without its last value");
    items.chunks(2).map(|pair| (text(&pair[0]), pair[1].clone())).collect()
}

fn text(of: &Value) -> String {
    of.as_str().expect("a string").to_owned()
}

fn collect_infos(infos: &Value, into: &mut Table) {
    for info in infos.as_array().expect("COMMAND returns an array") {
        assert_eq!(info.as_array().map(Vec::len), Some(10), "ten elements describe a command");
        collect_infos(&info[9], into);
        assert!(into.insert(text(&info[0]), info.clone()).is_none(), "{} is there twice", info[0]);
    }
}

fn collect_docs(docs: &Value, into: &mut Table) {
    for (name, doc) in fields(docs) {
        if let Some(subcommands) = fields(&doc).get("subcommands") {
            collect_docs(subcommands, into);
        }
        assert!(into.insert(name.clone(), doc).is_none(), "{name} is there twice");
    }
}

fn seen_info(info: &Value) -> Value {
    let specs: Vec<_> = info[8].as_array().into_iter().flatten().map(seen_spec).collect();
    json!({
        "arity": info[1], "flags": info[2], "range": [info[3], info[4], info[5]], "categories": info[6],
        "tips": info[7], "key specs": specs,
    })
}

fn seen_spec(spec: &Value) -> Value {
    let spec = fields(spec);
    let part = |field: &str| {
        let part = fields(&spec[field]);
        json!({ "type": part["type"], "spec": fields(&part["spec"]) })
    };
    json!({
        "notes": spec.contains_key("notes"), "flags": spec["flags"],
        "begin_search": part("begin_search"), "find_keys": part("find_keys"),
    })
}

fn seen_docs(doc: &Value) -> Value {
    let doc = fields(doc);
    let get = |field: &str| doc.get(field).cloned().unwrap_or_default();
    let items = |field: &str| get(field).as_array().cloned().unwrap_or_default();
    let history: Vec<_> = items("history").iter().map(|change| change[0].clone()).collect();
    let args: Vec<_> = items("arguments").iter().map(seen_arg).collect();
    json!({
        "summary": doc.contains_key("summary"), "complexity": doc.contains_key("complexity"),
        "since": get("since"), "group": get("group"), "doc_flags": items("doc_flags"),
        "history": history, "deprecated_since": get("deprecated_since"),
        "replaced_by": get("replaced_by"), "arguments": args,
    })
}

fn seen_arg(arg: &Value) -> Value {
    let mut arg = fields(arg);
    if let Some(args) = arg.get_mut("arguments") {
        *args = args.as_array().expect("arguments are an array").iter().map(seen_arg).collect();
    }
    Value::Object(arg)
}

// ---- the comparison ----

/// Reports the innermost differences, each with the way to it.
fn differ(at: &str, expected: &Value, seen: &Value, wrong: &mut Vec<String>) {
    match (expected, seen) {
        (Value::Object(left), Value::Object(right)) if left.keys().eq(right.keys()) => {
            for (name, value) in left {
                differ(&format!("{at}: {name}"), value, &right[name], wrong);
            }
        }
        (Value::Array(left), Value::Array(right)) if left.len() == right.len() => {
            for (i, (left, right)) in left.iter().zip(right).enumerate() {
                differ(&format!("{at}[{i}]"), left, right, wrong);
            }
        }
        _ if expected != seen => wrong.push(format!("{at}\n  expected {expected}\n  seen     {seen}")),
        _ => {}
    }
}

/// A sentence, unlike a formula, has to be our own.
fn copied(name: &str, fact: &Value, doc: &Map<String, Value>, wrong: &mut Vec<String>) {
    let mut check = |theirs: &Value, ours: &Value| {
        let sentence = theirs.as_str().is_some_and(|text| text.split(' ').count() > 2);
        if sentence && theirs == ours {
            wrong.push(format!("{name}: not our own words: {theirs}"));
        }
    };
    for field in ["summary", "complexity"] {
        check(&fact[field], doc.get(field).unwrap_or(&Value::Null));
    }
    let history = doc.get("history").unwrap_or(&Value::Null);
    for (i, change) in list(fact, "history").iter().enumerate() {
        check(&change[1], &history[i][1]);
    }
}

// ---- the server and its wire ----

struct Server {
    child: Child,
    port: u16,
    dir: PathBuf,
}

impl Server {
    fn start() -> Self {
        Server::launch("server", &[])
    }

    fn sentinel() -> Self {
        Server::launch("sentinel", &["s.conf", "--sentinel"])
    }

    fn launch(mode: &str, first: &[&str]) -> Self {
        let dir = std::env::temp_dir().join(format!("command-facts-{mode}-{}", std::process::id()));
        std::fs::create_dir_all(&dir).expect("a directory for the server");
        let free = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let port = free.local_addr().expect("a bound socket has an address").port();
        drop(free);
        std::fs::write(dir.join("s.conf"), "").expect("our own directory");
        let child = Command::new(env!("CARGO_BIN_EXE_redis-server"))
            .args(first)
            .current_dir(&dir)
            .args(["--port", &port.to_string(), "--bind", "127.0.0.1", "--save", "", "--dir"])
            .arg(&dir)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .expect("the server can be started");
        Server { child, port, dir }
    }

    /// As soon as it accepts connections.
    fn connect(&self) -> Conn {
        let deadline = Instant::now() + Duration::from_secs(20);
        loop {
            match TcpStream::connect(("127.0.0.1", self.port)) {
                Ok(stream) => {
                    let patience = Some(Duration::from_secs(20));
                    stream.set_read_timeout(patience).expect("a timeout can be set");
                    return Conn(BufReader::new(stream));
                }
                Err(error) => assert!(Instant::now() < deadline, "the server does not listen: {error}"),
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may be gone already, and its directory with it: nothing to do about either.
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = std::fs::remove_dir_all(&self.dir);
    }
}

struct Conn(BufReader<TcpStream>);

impl Conn {
    fn ask(&mut self, words: &[&str]) -> Value {
        let mut request = format!("*{}\r\n", words.len());
        for word in words {
            request.push_str(&format!("${}\r\n{word}\r\n", word.len()));
        }
        self.0.get_mut().write_all(request.as_bytes()).expect("the request is sent");
        self.reply()
    }

    fn reply(&mut self) -> Value {
        let mut line = String::new();
        self.0.read_line(&mut line).expect("a line of a reply");
        let line = line.strip_suffix("\r\n").expect("a line ends with CRLF");
        let (kind, rest) = line.split_at_checked(1).expect("a line begins with its type");
        let number = || rest.parse::<i64>().expect("a number");
        match kind {
            "+" => rest.into(),
            ":" => number().into(),
            "$" => usize::try_from(number()).map_or(Value::Null, |len| {
                let mut bytes = vec![0; len + 2];
                self.0.read_exact(&mut bytes).expect("the bytes of a bulk string");
                bytes.truncate(len);
                String::from_utf8(bytes).expect("COMMAND speaks ASCII").into()
            }),
            "*" => usize::try_from(number())
                .map_or(Value::Null, |len| (0..len).map(|_| self.reply()).collect()),
            _ => panic!("unexpected reply: {line}"),
        }
    }
}
