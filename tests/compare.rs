//! Random commands of every kind, to our server alone or to ours and a real one.
//!
//! ```text
//! COMMAND DOCS of ours ─► tree of arguments ─► generator ─► words ─┬─► ours ───► reply ─┐
//!                             values, keys ──┘                     └─► theirs ─► reply ─┴─► rule ─► same?
//!                                                    changes, events, DIGEST-VALUE, encodings ────► same?
//! ```
//!
//! Alone, in a bounded form: the server lives, every reply is well formed and one is given to each request,
//! encodings are legal for what is in a value (`comparer::legal`), a value is the same after DEBUG RELOAD,
//! and its copy is its like. With REDIS_SERVER, the binary of a real redis-server 7.2, the same commands go
//! to both, and everything that a client can see must be the same: the reply, the text of an error too; the
//! number of changes that INFO counts; the keyspace events and their order; the data and its encodings.
//!
//! ```text
//!   REDIS_SERVER=~/redis-7.2.6/src/redis-server cargo test --profile fast --test compare -- --nocapture
//!   COMPARE_COMMANDS   how many commands, over all seeds
//!   COMPARE_STEPS      how many steps of a crowd, over all seeds
//!   COMPARE_SCRIPTS    how many scripts, over all seeds
//!   COMPARE_CHECKS     how many calls are judged for users with random rules, over all seeds
//!   COMPARE_BATCH      how many scripts are sent at once (50)
//!   COMPARE_SEEDS      list of seeds (1,2,3,4); an even one speaks RESP3
//!   COMPARE_ONLY       commands and groups to drive, instead of all: zset,sort
//!   COMPARE_REPORT     how many differences are told in full (10), two of a command at most
//!   COMPARE_PAIRS      when set, every pair of command and kind of reply is listed
//! ```
//!
//! - `comparer::tree`: the commands that our server documents, and words made from their arguments. A new
//!   command takes part as soon as it has a row.
//! - `comparer::values`: every value that is put into a command, by type and name of the argument.
//! - `comparer::rules`: what may differ, and why: commands left out, unordered replies, random picks, times.
//! - `comparer::driver`: one command, and what is compared after it; `comparer::scenes`: several that belong
//!   together, as transactions, scripts and clients who wait.
//! - `comparer::crowd`: several clients at once, who wait, listen and get into each other's way;
//!   `comparer::crowd_words`: what they say.
//! - `comparer::scripts`: random scripts in Lua and their replies; `comparer::lua` writes them from a
//!   grammar, `scripts.grammar`, and `comparer::literals`.
//! - `comparer::permissions`: random rules of users, and what they may do then.
//! - `comparer::directives`: CONFIG SET, by itself.
//! - `comparer::shapes`: INFO, COMMAND and the like: names and kinds of what a server tells of itself.
//! - `comparer::coverage`: what was reached. Every command and option runs ten times at least.
//!
//! Keys come from a fixed pool of all types and sizes; when fewer than two thirds of them exist, the missing
//! ones are made. After a difference both servers are emptied and start over, so that one bug is told once
//! and not by everything that follows from it. A run is a function of its seed, but for the time of day.

mod common;
mod comparer;

use common::{Server, number, setting};
use comparer::coverage::Coverage;
use comparer::crowd::Crowd;
use comparer::driver::Driver;
use comparer::legal;
use comparer::permissions::Permissions;
use comparer::scripts::Scripts;
use std::collections::BTreeMap;

/// From here on a run that misses a command or an option has failed.
const ENOUGH: usize = 200_000;

#[test]
fn alone_it_lives_and_its_data_is_sound() {
    drive(None, number("COMPARE_COMMANDS", 12_000));
}

#[test]
fn ours_and_a_real_server_agree() {
    let Some(theirs) = Server::real(legal::OPTIONS) else { return };
    drive(Some(&theirs), number("COMPARE_COMMANDS", 20_000));
}

#[test]
fn a_crowd_alone_is_served() {
    crowd(None, number("COMPARE_STEPS", 4_000));
}

#[test]
fn a_crowd_is_served_as_by_a_real_server() {
    let Some(theirs) = Server::real(legal::OPTIONS) else { return };
    crowd(Some(&theirs), number("COMPARE_STEPS", 10_000));
}

#[test]
fn scripts_alone_have_replies() {
    scripts(None, number("COMPARE_SCRIPTS", 2_000));
}

#[test]
fn scripts_have_the_replies_of_a_real_server() {
    let Some(theirs) = Server::real(&script_options()) else { return };
    scripts(Some(&theirs), number("COMPARE_SCRIPTS", 10_000));
}

#[test]
fn users_may_do_the_same() {
    let Some(theirs) = Server::real(legal::OPTIONS) else { return };
    let ours = Server::with(legal::OPTIONS);
    let (seeds, mut differences) = (seeds(), Vec::new());
    let each = number("COMPARE_CHECKS", 8_000).div_ceil(seeds.len());
    for seed in seeds {
        let mut all = Permissions::new(&ours, &theirs, seed);
        all.run(each);
        println!("seed {seed}: {} asked, {} allowed", all.asked, all.allowed);
        assert!(all.allowed * 20 > all.asked, "some are allowed");
        differences.append(&mut all.differences);
    }
    differences.truncate(number("COMPARE_REPORT", 10));
    agree(&differences);
}

#[test]
fn directives_agree() {
    let Some(theirs) = Server::real(legal::OPTIONS) else { return };
    let ours = Server::with(legal::OPTIONS);
    let told = comparer::directives::compare(&ours, &theirs);
    assert!(told.is_empty(), "{} directives differ\n{}", told.len(), told.join("\n"));
}

#[test]
fn what_they_tell_of_themselves_agrees() {
    let options = ["--enable-debug-command", "yes"];
    let Some(theirs) = Server::real(&options) else { return };
    let ours = Server::with(&options);
    let told = comparer::shapes::compare(&ours, &theirs);
    assert!(told.is_empty(), "{} facts differ\n{}", told.len(), told.join("\n"));
}

fn seeds() -> Vec<u64> {
    let seeds = setting("COMPARE_SEEDS", "1,2,3,4");
    seeds.split(',').map(|s| s.trim().parse().expect("a list of seeds")).collect()
}

fn crowd(theirs: Option<&Server>, steps: usize) {
    let seeds = seeds();
    let each = steps.div_ceil(seeds.len());
    let ours = Server::with(legal::OPTIONS);
    let mut differences = Vec::new();
    let mut all = Coverage::default();
    for seed in seeds {
        let mut crowd = Crowd::new(Driver::new(&ours, theirs, seed, "", number("COMPARE_REPORT", 10)));
        crowd.run(each);
        all.add(std::mem::take(&mut crowd.d.coverage));
        differences.append(&mut crowd.d.differences);
    }
    println!("{}", all.report(!setting("COMPARE_PAIRS", "").is_empty()));
    agree(&differences);
}

/// Scripts of many lines are longer than the strings of the other tests may be. Hashes stay listpacks,
/// whose order is promised: what a script makes of the order of a table, no rule could sort.
fn script_options() -> Vec<&'static str> {
    let own = [
        ["--proto-max-bulk-len", "8388608"],
        ["--hash-max-listpack-entries", "100000"],
        ["--hash-max-listpack-value", "8388608"],
    ];
    [legal::OPTIONS, own.as_flattened()].concat()
}

fn scripts(theirs: Option<&Server>, count: usize) {
    let seeds = seeds();
    let each = count.div_ceil(seeds.len());
    let ours = Server::with(&script_options());
    let mut differences = Vec::new();
    for seed in seeds {
        let mut all = Scripts::new(&ours, theirs, seed, number("COMPARE_REPORT", 10));
        all.run(each);
        println!("seed {seed}: {} scripts, {} without an error, {} named", all.run, all.fine, all.named);
        if !setting("COMPARE_PAIRS", "").is_empty() {
            all.errors.iter().for_each(|(text, count)| println!("{count:6} {text}"));
        }
        assert!(all.fine * 2 > all.run, "most scripts come to an end: {:?}", all.errors);
        differences.append(&mut all.differences);
    }
    agree(&differences);
}

/// No differences, or what is to be told of them.
fn agree(differences: &[(String, String)]) {
    let mut by_command: BTreeMap<&str, usize> = BTreeMap::new();
    differences.iter().for_each(|(name, _)| *by_command.entry(name).or_insert(0) += 1);
    let told: String = differences.iter().map(|(_, text)| text.as_str()).collect();
    assert!(differences.is_empty(), "{} differences: {by_command:?}\n{told}", differences.len());
}

fn drive(theirs: Option<&Server>, commands: usize) {
    let seeds = seeds();
    let each = commands.div_ceil(seeds.len());
    let only = setting("COMPARE_ONLY", "");
    let told = number("COMPARE_REPORT", 10);
    let ours = Server::with(legal::OPTIONS);
    let mut all = Coverage::default();
    let mut differences = Vec::new();
    for seed in seeds {
        let mut d = Driver::new(&ours, theirs, seed, &only, told);
        d.run(each);
        all.add(std::mem::take(&mut d.coverage));
        differences.append(&mut d.differences);
    }
    println!("{}", all.report(!setting("COMPARE_PAIRS", "").is_empty()));
    agree(&differences);
    assert!(all.keys.1 * 3 >= all.keys.0, "fewer than a third of the keys existed: {:?}", all.keys);
    let missed = all.missed();
    println!("ran too seldom: {}", missed.join(", "));
    let enough = theirs.is_some() && commands >= ENOUGH && only.is_empty();
    assert!(missed.is_empty() || !enough, "commands and options that ran too seldom: {missed:?}");
}
