//! COMMAND: what the rows say about themselves.
//!
//! Everything here is read from `Table` and the rows; shapes and the order of fields are those clients
//! parse.

use super::help;
use crate::algo::glob::glob_match;
use crate::cmd::docs;
use crate::cmd::keys::{self, Search};
use crate::cmd::row::flag::*;
use crate::cmd::row::{
    ArgDoc, ArgKind, Begin, Docs, Find, Flow, KeySpec, argflag, cat, docflag, flag, key,
};
use crate::cmd::table::{CmdId, legacy_range};
use crate::proto::error::CmdError;
use crate::proto::reply::Reply;
use crate::server::ctx::{Command, Ctx, ROW, Table};

const COMMON: Command = Command { flags: LOADING | STALE | SENTINEL, acl: cat::CONNECTION, ..ROW };

pub static ROWS: &[Command] = &[Command {
    name: "command",
    arity: -1,
    run: command,
    docs: &docs::COMMAND,
    subs: &[
        Command { name: "count", arity: 2, run: count, docs: &docs::COMMAND_COUNT, ..COMMON },
        Command { name: "docs", arity: -2, run: docs_, docs: &docs::COMMAND_DOCS, ..COMMON },
        Command { name: "getkeys", arity: -3, run: getkeys, docs: &docs::COMMAND_GETKEYS, ..COMMON },
        Command {
            name: "getkeysandflags",
            arity: -3,
            run: getkeysandflags,
            docs: &docs::COMMAND_GETKEYSANDFLAGS,
            ..COMMON
        },
        Command { name: "help", arity: 2, run: help_, docs: &docs::COMMAND_HELP, ..COMMON },
        Command { name: "info", arity: -2, run: info, docs: &docs::COMMAND_INFO, ..COMMON },
        Command { name: "list", arity: -2, run: list, docs: &docs::COMMAND_LIST, ..COMMON },
    ],
    ..COMMON
}];

fn command(ctx: &mut Ctx<'_>) -> Result<Flow, CmdError> {
    all_infos(&ctx.srv.table, ctx.out);
    Ok(Flow::Done)
}

fn all_infos(table: &Table, out: &mut Reply) {
    out.array(table.served().count());
    table.served().for_each(|id| put_info(table, id, out));
}

fn count(ctx: &mut Ctx<'_>) -> Result<Flow, CmdError> {
    ctx.out.int(ctx.srv.table.served().count() as i64);
    Ok(Flow::Done)
}

fn info(ctx: &mut Ctx<'_>) -> Result<Flow, CmdError> {
    let (table, names) = (&ctx.srv.table, ctx.args.from(2));
    if names.is_empty() {
        all_infos(table, ctx.out);
        return Ok(Flow::Done);
    }
    ctx.out.array(names.len());
    for name in names {
        match table.find_full(name) {
            Some(id) => put_info(table, id, ctx.out),
            None => ctx.out.null(),
        }
    }
    Ok(Flow::Done)
}

fn docs_(ctx: &mut Ctx<'_>) -> Result<Flow, CmdError> {
    let (table, names) = (&ctx.srv.table, ctx.args.from(2));
    let ids: Vec<CmdId> = match names {
        [] => table.served().collect(),
        _ => names.iter().filter_map(|n| table.find_full(n)).collect(),
    };
    put_docs_of(table, &ids, ctx.out);
    Ok(Flow::Done)
}

fn list(ctx: &mut Ctx<'_>) -> Result<Flow, CmdError> {
    let table = &ctx.srv.table;
    let wanted: Box<dyn Fn(CmdId) -> bool + '_> = match ctx.args.from(2) {
        [] => Box::new(|_| true),
        [by, kind, what] if by.eq_ignore_ascii_case(b"filterby") => filter(table, kind, what)?,
        _ => return Err(CmdError::Syntax),
    };
    let with_subs =
        |id: CmdId| std::iter::once(id).chain(table.get(id).subs.iter().map(|(_, sub)| *sub));
    let names: Vec<&str> = table
        .served()
        .flat_map(with_subs)
        .filter(|id| wanted(*id))
        .map(|id| &*table.get(id).name)
        .collect();
    ctx.out.array(names.len());
    names.iter().for_each(|n| ctx.out.bulk(n.as_bytes()));
    Ok(Flow::Done)
}

fn filter<'a>(
    table: &'a Table,
    kind: &[u8],
    what: &'a [u8],
) -> Result<Box<dyn Fn(CmdId) -> bool + 'a>, CmdError> {
    match kind.to_ascii_lowercase().as_slice() {
        // No module is loaded, so no command is of one.
        b"module" => Ok(Box::new(|_| false)),
        b"aclcat" => {
            let named = cat::NAMES.iter().find(|(_, name)| what.eq_ignore_ascii_case(name.as_bytes()));
            let bit = named.map_or(0, |(bit, _)| *bit);
            Ok(Box::new(move |id| table.get(id).acl & bit != 0))
        }
        b"pattern" => Ok(Box::new(move |id| glob_match(what, table.get(id).name.as_bytes(), true))),
        _ => Err(CmdError::Syntax),
    }
}

fn getkeys(ctx: &mut Ctx<'_>) -> Result<Flow, CmdError> {
    keys_of(ctx, false)
}

fn getkeysandflags(ctx: &mut Ctx<'_>) -> Result<Flow, CmdError> {
    keys_of(ctx, true)
}

fn keys_of(ctx: &mut Ctx<'_>, with_flags: bool) -> Result<Flow, CmdError> {
    let (table, args) = (&ctx.srv.table, ctx.args.from(2));
    let id = table.find(args[0]).and_then(|id| match args.get(1) {
        Some(sub) if table.get(id).has_subs() => table.find_sub(id, sub),
        _ => Some(id),
    });
    let Some(entry) = id.map(|id| table.get(id)) else {
        return Err(CmdError::Msg(&"ERR Invalid command specified"));
    };
    if !keys::may_have(entry.cmd) {
        return Err(CmdError::Msg(&"ERR The command has no key arguments"));
    }
    if !entry.accepts(args.len()) {
        return Err(CmdError::Msg(&"ERR Invalid number of arguments specified for command"));
    }
    let found = keys::find(entry.cmd, args, Search::default());
    if found.is_empty() && entry.flags & NO_MANDATORY_KEYS == 0 {
        return Err(CmdError::Msg(&"ERR Invalid arguments specified for command"));
    }
    ctx.out.array(found.len());
    for (at, flags) in found {
        if with_flags {
            ctx.out.array(2);
        }
        ctx.out.bulk(args[at]);
        if with_flags {
            put_key_flags(flags, ctx.out);
        }
    }
    Ok(Flow::Done)
}

fn help_(ctx: &mut Ctx<'_>) -> Result<Flow, CmdError> {
    let lines = [
        "(no subcommand)",
        "    Return details about every command.",
        "COUNT",
        "    Return how many commands this server has.",
        "LIST [FILTERBY (MODULE <module-name> | ACLCAT <category> | PATTERN <pattern>)]",
        "    Return the names of the commands, subcommands included.",
        "INFO [<command-name> ...]",
        "    Return details about the named commands, or about every command.",
        "DOCS [<command-name> ...]",
        "    Return documentation of the named commands, or of every command.",
        "GETKEYS <full-command>",
        "    Return the keys in a call of a command.",
        "GETKEYSANDFLAGS <full-command>",
        "    Return the keys in a call of a command, and what it would do with each.",
    ];
    help::reply(ctx, &lines)
}

// ── COMMAND INFO ─────────────────────────────────────────────────────────────────────────────────────

fn put_info(table: &Table, id: CmdId, out: &mut Reply) {
    let e = table.get(id);
    let ((first, last, step), _) = legacy_range(e.cmd);
    out.array(10);
    out.bulk(e.name.as_bytes());
    out.int(e.cmd.arity as i64);
    put_words(flag::NAMES.iter().filter(|(bit, _)| e.flags & bit != 0).map(|n| n.1), out);
    out.int(first);
    out.int(last);
    out.int(step);
    let cats: Vec<String> =
        cat::NAMES.iter().filter(|(bit, _)| e.acl & bit != 0).map(|n| format!("@{}", n.1)).collect();
    put_words(cats.iter().map(|c| &**c), out);
    out.set(e.cmd.docs.tips.len());
    e.cmd.docs.tips.iter().for_each(|t| out.bulk(t.as_bytes()));
    out.set(e.cmd.keys.len());
    e.cmd.keys.iter().for_each(|k| put_spec(k, out));
    if e.subs.is_empty() {
        out.set(0);
    } else {
        out.array(e.subs.len());
        e.subs.iter().for_each(|(_, sub)| put_info(table, *sub, out));
    }
}

/// A set of words, each a simple string.
fn put_words<'a>(words: impl Iterator<Item = &'a str> + Clone, out: &mut Reply) {
    out.set(words.clone().count());
    words.for_each(|w| out.status(w));
}

fn put_key_flags(flags: u32, out: &mut Reply) {
    put_words(key::NAMES.iter().filter(|(bit, _)| flags & bit != 0).map(|n| n.1), out);
}

fn put_spec(spec: &KeySpec, out: &mut Reply) {
    out.map(3 + !spec.notes.is_empty() as usize);
    if !spec.notes.is_empty() {
        put_field("notes", spec.notes, out);
    }
    out.bulk(b"flags");
    put_key_flags(spec.flags, out);
    out.bulk(b"begin_search");
    match spec.begin {
        Begin::Unknown => put_step("unknown", &[], out),
        Begin::Index(at) => put_step("index", &[("index", at)], out),
        Begin::Keyword(word, from) => {
            out.map(2);
            put_field("type", "keyword", out);
            out.bulk(b"spec");
            out.map(2);
            put_field("keyword", word, out);
            out.bulk(b"startfrom");
            out.int(from as i64);
        }
    }
    out.bulk(b"find_keys");
    match spec.find {
        Find::Unknown => put_step("unknown", &[], out),
        Find::Range { last, step, limit } => {
            put_step("range", &[("lastkey", last), ("keystep", step), ("limit", limit)], out);
        }
        Find::KeyNum { num, first, step } => {
            put_step("keynum", &[("keynumidx", num), ("firstkey", first), ("keystep", step)], out);
        }
    }
}

fn put_step(kind: &str, fields: &[(&str, i32)], out: &mut Reply) {
    out.map(2);
    put_field("type", kind, out);
    out.bulk(b"spec");
    out.map(fields.len());
    for (name, value) in fields {
        out.bulk(name.as_bytes());
        out.int(*value as i64);
    }
}

// ── COMMAND DOCS ─────────────────────────────────────────────────────────────────────────────────────

fn put_field(name: &str, value: &str, out: &mut Reply) {
    out.bulk(name.as_bytes());
    out.bulk(value.as_bytes());
}

fn put_docs_of(table: &Table, ids: &[CmdId], out: &mut Reply) {
    out.map(ids.len());
    for id in ids {
        out.bulk(table.get(*id).name.as_bytes());
        put_docs(table, *id, out);
    }
}

fn put_docs(table: &Table, id: CmdId, out: &mut Reply) {
    let e = table.get(id);
    let d: &Docs = e.cmd.docs;
    let texts = [
        ("summary", d.summary),
        ("since", d.since),
        ("group", d.group),
        ("complexity", d.complexity),
        ("deprecated_since", d.deprecated_since),
        ("replaced_by", d.replaced_by),
    ];
    let there = |(_, text): &&(&str, &str)| !text.is_empty();
    let lists = [d.flags != 0, !d.history.is_empty(), !d.args.is_empty(), !e.subs.is_empty()];
    out.map(texts.iter().filter(there).count() + lists.iter().filter(|l| **l).count());
    texts[..4].iter().filter(there).for_each(|(name, text)| put_field(name, text, out));
    if d.flags != 0 {
        let names = [(docflag::DEPRECATED, "deprecated"), (docflag::SYSCMD, "syscmd")];
        out.bulk(b"doc_flags");
        put_words(names.iter().filter(|(bit, _)| d.flags & bit != 0).map(|n| n.1), out);
    }
    texts[4..].iter().filter(there).for_each(|(name, text)| put_field(name, text, out));
    if !d.history.is_empty() {
        out.bulk(b"history");
        out.set(d.history.len());
        for (since, change) in d.history {
            out.array(2);
            out.bulk(since.as_bytes());
            out.bulk(change.as_bytes());
        }
    }
    if !d.args.is_empty() {
        out.bulk(b"arguments");
        put_args(d.args, out);
    }
    if !e.subs.is_empty() {
        out.bulk(b"subcommands");
        let subs: Vec<CmdId> = e.subs.iter().map(|(_, sub)| *sub).collect();
        put_docs_of(table, &subs, out);
    }
}

fn put_args(args: &[ArgDoc], out: &mut Reply) {
    out.array(args.len());
    args.iter().for_each(|a| put_arg(a, out));
}

fn put_arg(a: &ArgDoc, out: &mut Reply) {
    let group = matches!(a.kind, ArgKind::OneOf | ArgKind::Block);
    let shown = if a.display.is_empty() { a.name } else { a.display };
    let word = a.kind == ArgKind::PureToken && !a.tokenless;
    let texts = [
        ("token", a.token, word || !a.token.is_empty()),
        ("summary", a.summary, !a.summary.is_empty()),
        ("since", a.since, !a.since.is_empty()),
        ("deprecated_since", a.deprecated_since, !a.deprecated_since.is_empty()),
    ];
    // Groups have their arguments where the others have a text to show.
    let n =
        3 + texts.iter().filter(|t| t.2).count() + (a.key_spec >= 0) as usize + (a.flags != 0) as usize;
    out.map(n);
    put_field("name", a.name, out);
    put_field("type", kind_name(a.kind), out);
    if !group {
        put_field("display_text", shown, out);
    }
    if a.key_spec >= 0 {
        out.bulk(b"key_spec_index");
        out.int(a.key_spec as i64);
    }
    texts.iter().filter(|t| t.2).for_each(|(name, text, _)| put_field(name, text, out));
    if a.flags != 0 {
        let names = [
            (argflag::OPTIONAL, "optional"),
            (argflag::MULTIPLE, "multiple"),
            (argflag::MULTIPLE_TOKEN, "multiple_token"),
        ];
        out.bulk(b"flags");
        put_words(names.iter().filter(|(bit, _)| a.flags & bit != 0).map(|n| n.1), out);
    }
    if group {
        out.bulk(b"arguments");
        put_args(a.args, out);
    }
}

fn kind_name(kind: ArgKind) -> &'static str {
    match kind {
        ArgKind::String => "string",
        ArgKind::Integer => "integer",
        ArgKind::Double => "double",
        ArgKind::Key => "key",
        ArgKind::Pattern => "pattern",
        ArgKind::UnixTime => "unix-time",
        ArgKind::PureToken => "pure-token",
        ArgKind::OneOf => "oneof",
        ArgKind::Block => "block",
    }
}
