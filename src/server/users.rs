//! Users in files: the `user` lines of the configuration, or the file of `aclfile`, never both.
//!
//! ```text
//! user lines ─► declared: is each line right, but for commands that may come with a module?
//!            ─► load_at_start: applied; or the aclfile read                a fault ends the start
//! ACL LOAD   ─► load_file: all of it or nothing                           ACL SAVE ─► save_file
//! CONFIG REWRITE ─► config_lines
//! ```

use super::{Server, auth};
use crate::acl::rules::{RuleError, Rules, has_blanks, merged};
use crate::acl::user::User;
use crate::acl::{DEFAULT, file};
use crate::config::load::{Line, LoadError};
use crate::config::{AclPubsubDefault, Config};
use crate::server::ctx::{Handler, Table};
use crate::sys::errno;
use crate::sys::fsx::{self, ReplaceStep};
use crate::{notice, warning};
use std::ffi::OsStr;
use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// A user of the configuration.
pub struct DeclaredUser {
    name: Vec<u8>,
    rules: Vec<Vec<u8>>,
}

/// What rules are read with.
pub fn rules_of<'a>(table: &'a Table, config: &Config) -> Rules<'a, Handler> {
    Rules { table, all_channels: config.acl_pubsub_default == AclPubsubDefault::AllChannels }
}

/// The users of `lines`. Commands and categories that do not exist are looked at later.
pub fn declared(table: &Table, config: &Config, lines: &[Line]) -> Result<Vec<DeclaredUser>, LoadError> {
    let how = rules_of(table, config);
    let mut users: Vec<DeclaredUser> = Vec::new();
    for line in lines {
        let fault = |word: &[u8], why: &str| {
            let reason = [b"Error in user declaration '", word, b"': ", why.as_bytes()].concat();
            LoadError::at(&line.place, reason)
        };
        let Some((name, words)) = line.args.split_first() else { continue };
        if users.iter().any(|u| u.name == *name) {
            return Err(fault(name, RuleError::DuplicateUser.text()));
        }
        let rules =
            merged(words).map_err(|at| fault(&words[at], "Unmatched parenthesis in acl selector"))?;
        let mut tried = User::new(name, how.all_channels);
        for rule in &rules {
            match tried.apply(rule, &how) {
                Ok(()) | Err(RuleError::Unknown) => {}
                Err(why) => return Err(fault(rule, why.text())),
            }
        }
        users.push(DeclaredUser { name: name.clone(), rules });
    }
    Ok(users)
}

/// Sets the users up. False ends the start; the log says why.
pub fn load_at_start(srv: &mut Server, declared: &[DeclaredUser]) -> bool {
    auth::set_requirepass(srv);
    if !srv.config.aclfile.is_empty() && !declared.is_empty() {
        warning!(
            "Configuring Redis with users defined in redis.conf and at the same setting an ACL file path \
             is invalid. This setup is very likely to lead to configuration errors and security holes, \
             please define either an ACL file or declare users directly in your redis.conf, but not both."
        );
        return false;
    }
    if let Err(why) = declared.iter().try_for_each(|user| load_declared(srv, user)) {
        warning!("{why}");
        warning!("Critical error while loading ACLs. Exiting.");
        return false;
    }
    if srv.config.aclfile.is_empty() {
        return true;
    }
    load_file(srv)
        .inspect_err(|why| warning!("Aborting Redis startup because of ACL errors: {why}"))
        .is_ok()
}

fn load_declared(srv: &mut Server, declared: &DeclaredUser) -> Result<(), String> {
    if has_blanks(&declared.name) {
        return Err("Spaces not allowed in ACL usernames".into());
    }
    let how = rules_of(&srv.table, &srv.config);
    let mut user = User::new(&declared.name, how.all_channels);
    let name = String::from_utf8_lossy(&declared.name);
    for rule in &declared.rules {
        user.apply(rule, &how).map_err(|why| {
            let (rule, why) = (String::from_utf8_lossy(rule), why.text());
            format!("Error loading ACL rule '{rule}' for the user named '{name}': {why}")
        })?;
    }
    if !user.is_on() {
        notice!(
            "The user '{name}' is disabled (there is no 'on' modifier in the user description). Make sure \
             this is not a configuration error."
        );
    }
    auth::put(srv, user);
    Ok(())
}

fn path_of(srv: &Server) -> &Path {
    Path::new(OsStr::from_bytes(&srv.config.aclfile))
}

/// Reads the file again. An error has every fault in it, and nothing has changed.
pub fn load_file(srv: &mut Server) -> Result<(), String> {
    let path = path_of(srv);
    let shown = path.to_string_lossy();
    let text = std::fs::read(path)
        .map_err(|e| format!("Error loading ACLs, opening file '{shown}': {}", errno::text(&e)))?;
    let users = file::parse(&text, &shown, &rules_of(&srv.table, &srv.config))?;
    auth::replace_all(srv, users);
    Ok(())
}

/// Writes all users to the file; false when that failed, and the log says how.
pub fn save_file(srv: &Server) -> bool {
    let path = path_of(srv);
    let mut temp = path.as_os_str().to_owned();
    temp.push(format!(".tmp-{}-{}", std::process::id(), srv.clock.unix_ms));
    let text = srv.acl.text();
    let Err(failed) = fsx::replace(Path::new(&temp), path, 0o644, |file| file.write_all(&text)) else {
        return true;
    };
    let doing = match failed.step {
        ReplaceStep::Create => "Opening temp ACL file",
        ReplaceStep::Write => "Writing ACL file",
        ReplaceStep::Sync => "Syncing ACL file",
        ReplaceStep::Rename => "Renaming ACL file",
        ReplaceStep::SyncFolder => "Syncing ACL directory",
    };
    warning!("{doing} for ACL SAVE: {}", errno::text(&failed.error));
    false
}

/// The users as lines of the configuration; none when they have a file of their own.
pub fn config_lines(srv: &Server) -> Vec<Vec<u8>> {
    if !srv.config.aclfile.is_empty() {
        return Vec::new();
    }
    debug_assert!(srv.acl.named(DEFAULT).is_some());
    srv.acl.iter().map(User::config_line).collect()
}
