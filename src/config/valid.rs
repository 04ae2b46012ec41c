//! Checks that single directives ask for beyond their type, and the template of the process title, whose
//! check is to fill it in.

use std::collections::HashMap;

use super::Config;
use super::choices::shutdown;
use super::number::cut_nul;

type Checked = Result<(), &'static str>;

pub const NO_ACTIVE_DEFRAG: &str = "Active defragmentation cannot be enabled: it requires a Redis server \
    compiled with a modified Jemalloc like the one shipped by default with the Redis source distribution";

fn is_base_name(value: &[u8]) -> bool {
    !cut_nul(value).iter().any(|b| matches!(b, b'/' | b'\\'))
}

fn require(holds: bool, otherwise: &'static str) -> Checked {
    if holds { Ok(()) } else { Err(otherwise) }
}

pub fn db_filename(_: &Config, value: &[u8]) -> Checked {
    require(is_base_name(value), "dbfilename can't be a path, just a filename")
}

pub fn append_filename(_: &Config, value: &[u8]) -> Checked {
    require(!value.is_empty(), "appendfilename can't be empty")?;
    require(is_base_name(value), "appendfilename can't be a path, just a filename")
}

pub fn append_dirname(_: &Config, value: &[u8]) -> Checked {
    require(!value.is_empty(), "appenddirname can't be empty")?;
    require(is_base_name(value), "appenddirname can't be a path, just a dirname")
}

pub fn shutdown_flags(bits: u32) -> Checked {
    let both = bits & shutdown::SAVE != 0 && bits & shutdown::NOSAVE != 0;
    require(!both, "shutdown options SAVE and NOSAVE can't be used simultaneously")
}

pub fn human_nodename(_: &Config, value: &[u8]) -> Checked {
    let reserved = |b: &u8| b"!#$%&()*+:;<>?@[]^{|}~\0".contains(b);
    require(!value.iter().any(reserved), "Announced human node name contained invalid character")
}

pub fn hostname(_: &Config, value: &[u8]) -> Checked {
    let value = cut_nul(value);
    require(value.len() < 256, "Hostnames must be less than 256 characters")?;
    let fine = |b: &u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.');
    require(
        value.iter().all(fine),
        "Hostnames may only contain alphanumeric characters, hyphens or dots",
    )
}

pub fn proc_title(config: &Config, value: &[u8]) -> Checked {
    let filled = fill_proc_title(value, &title_variables(config, b"", b"-", false));
    require(
        filled.is_some_and(|title| !title.is_empty()),
        "template format is invalid or contains unknown variables",
    )
}

/// What the variables of `proc-title-template` stand for. `title` is the name the process was started
/// by.
pub fn title_variables(
    config: &Config,
    title: &[u8],
    config_file: &[u8],
    sentinel_mode: bool,
) -> HashMap<&'static [u8], Vec<u8>> {
    let port = if config.port != 0 { config.port } else { config.tls_port };
    let address = if port != 0 {
        let host = config.bind.first().map_or(b"*".as_slice(), |host| host);
        [host, port.to_string().as_bytes()].join(&b':')
    } else {
        let path = config.unixsocket.as_deref().unwrap_or(b"(null)");
        [b"unixsocket", path].join(&b':')
    };
    let mode: &[u8] = match (config.cluster_enabled, sentinel_mode) {
        (true, _) => b"[cluster]",
        (false, true) => b"[sentinel]",
        (false, false) => b"",
    };
    HashMap::from([
        (b"title".as_slice(), title.to_vec()),
        (b"listen-addr", address),
        (b"server-mode", mode.to_vec()),
        (b"config-file", config_file.to_vec()),
        (b"port", config.port.to_string().into_bytes()),
        (b"tls-port", config.tls_port.to_string().into_bytes()),
        (b"unixsocket", config.unixsocket.clone().unwrap_or_default()),
    ])
}

/// Fills in a template: `{name}` is a variable, `{{` an opening brace. `None` when a brace stays open
/// or a variable is unknown; blanks at both ends are cut.
pub fn fill_proc_title(template: &[u8], variables: &HashMap<&'static [u8], Vec<u8>>) -> Option<Vec<u8>> {
    let mut out = Vec::new();
    let mut rest = cut_nul(template);
    while let Some(brace) = rest.iter().position(|b| *b == b'{') {
        let (before, from_brace) = rest.split_at(brace);
        out.extend_from_slice(before);
        let inner = from_brace.strip_prefix(b"{")?;
        if let Some(behind) = inner.strip_prefix(b"{") {
            out.push(b'{');
            rest = behind;
            continue;
        }
        let end = inner.iter().position(|b| *b == b'}')?;
        let (name, behind) = inner.split_at(end);
        out.extend_from_slice(variables.get(name)?);
        rest = behind.strip_prefix(b"}")?;
    }
    out.extend_from_slice(rest);
    let blank = |b: &u8| *b == b' ';
    let start = out.iter().take_while(|b| blank(b)).count();
    let end = out.iter().rev().take_while(|b| blank(b)).count();
    out.truncate(out.len().saturating_sub(end).max(start));
    out.drain(..start);
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fill(template: &str) -> Option<String> {
        let variables = title_variables(&Config::default(), b"redis-server", b"-", false);
        fill_proc_title(template.as_bytes(), &variables)
            .map(|title| String::from_utf8(title).expect("ASCII"))
    }

    #[test]
    fn titles() {
        let filled = |text: &str| Some(text.to_owned());
        assert_eq!(fill("{title} {listen-addr} {server-mode}"), filled("redis-server *:6379"));
        assert_eq!(fill("  {{x} "), filled("{x}"));
        assert_eq!(fill("a{port}b"), filled("a6379b"));
        assert_eq!(fill("   "), filled(""));
        for broken in ["{", "a{title", "{unknown}", "{}"] {
            assert_eq!(fill(broken), None, "{broken}");
        }
        let config = Config::default();
        assert!(proc_title(&config, b"{title}").is_err(), "nothing but the title is no title");
        assert!(proc_title(&config, b"x").is_ok());
    }

    #[test]
    fn addresses_of_titles() {
        let mut config = Config { port: 0, ..Config::default() };
        let address =
            |config: &Config| title_variables(config, b"", b"-", false)[&b"listen-addr"[..]].clone();
        assert_eq!(address(&config), b"unixsocket:(null)");
        config.unixsocket = Some(b"/s".to_vec());
        assert_eq!(address(&config), b"unixsocket:/s");
        config.tls_port = 7;
        config.bind.clear();
        assert_eq!(address(&config), b"*:7");
    }

    #[test]
    fn names() {
        let config = Config::default();
        assert!(hostname(&config, &[b'a'; 255]).is_ok());
        assert!(hostname(&config, &[b'a'; 256]).is_err());
        assert!(hostname(&config, b"a_b").is_err());
        assert!(human_nodename(&config, b"node one_\"x\"").is_ok());
        assert!(human_nodename(&config, b"a|b").is_err());
        assert!(append_filename(&config, b"").is_err());
        assert!(append_dirname(&config, b"a/b").is_err());
        assert!(db_filename(&config, b"").is_ok());
        assert!(db_filename(&config, b"a\\b").is_err());
        assert!(shutdown_flags(shutdown::SAVE | shutdown::NOW).is_ok());
        assert!(shutdown_flags(shutdown::SAVE | shutdown::NOSAVE).is_err());
    }
}
