//! Checks that single directives ask for beyond their type.

use super::Config;
use super::choices::shutdown;
use super::number::cut_nul;
use crate::sys::proctitle;

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
    require(
        proctitle::valid(cut_nul(value), &title_variables(config)),
        "template format is invalid or contains unknown variables",
    )
}

/// What the configuration says of the variables of `proc-title-template`.
pub fn title_variables(config: &Config) -> proctitle::Vars<'_> {
    proctitle::Vars {
        bind: config.bind.first().map(|b| &b[..]),
        port: config.port as u16,
        tls_port: config.tls_port as u16,
        unixsocket: config.unixsocket.as_deref().unwrap_or_default(),
        cluster: config.cluster_enabled,
        ..proctitle::Vars::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn titles() {
        let mut config = Config::default();
        assert!(proc_title(&config, b"{title}").is_err(), "nothing but the title is no title");
        assert!(proc_title(&config, b"{title").is_err() && proc_title(&config, b"{unknown}").is_err());
        assert!(proc_title(&config, b"x").is_ok() && proc_title(&config, b"{listen-addr}").is_ok());
        let shown = |config: &Config| proctitle::expand(b"{listen-addr}", &title_variables(config));
        assert_eq!(shown(&config).as_deref(), Some(&b"*:6379"[..]));
        (config.port, config.unixsocket) = (0, Some(b"/s".to_vec()));
        assert_eq!(shown(&config).as_deref(), Some(&b"unixsocket:/s"[..]));
        config.tls_port = 7;
        config.bind.clear();
        assert_eq!(shown(&config).as_deref(), Some(&b"*:7"[..]));
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
