//! `host:port`, for listening and for being reached.

use std::{fmt, net::IpAddr};

use serde::{Deserialize, Serialize};

/// A host, by name or address, and a port.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct HostPort {
    /// A name or an IP address, without brackets.
    pub host: String,
    /// 0 where the system is to choose one.
    pub port: u16,
}

impl HostPort {
    /// Takes both parts as they are.
    pub fn new(host: impl Into<String>, port: u16) -> Self {
        Self { host: host.into(), port }
    }

    /// Reads `host:port`, `1.2.3.4:port` or `[::1]:port`.
    pub fn parse(text: &str) -> Option<Self> {
        let (host, port) = text.trim().rsplit_once(':')?;
        let port = port.parse().ok()?;
        let host = match host.strip_prefix('[').map(|rest| rest.strip_suffix(']')) {
            Some(inside) => inside.filter(|inside| inside.parse::<std::net::Ipv6Addr>().is_ok())?,
            None => Some(host).filter(|host| is_name(host))?,
        };
        Some(Self::new(host, port))
    }

    /// Whether it stands for every address of the machine.
    pub fn is_wildcard(&self) -> bool {
        self.ip().is_some_and(|ip| ip.is_unspecified())
    }

    /// Whether only this machine can reach it. A name other than `localhost` may be anything.
    pub fn is_loopback(&self) -> bool {
        self.ip().map_or_else(|| self.host.eq_ignore_ascii_case("localhost"), |ip| ip.is_loopback())
    }

    fn ip(&self) -> Option<IpAddr> {
        self.host.parse().ok()
    }
}

fn is_name(host: &str) -> bool {
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
    !host.is_empty() && host.len() <= 253 && host.chars().all(allowed)
}

impl fmt::Display for HostPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::HostPort;

    #[test]
    fn names_and_both_kinds_of_addresses_are_read_and_written_back() {
        for text in ["localhost:9092", "127.0.0.1:0", "[::1]:65535", "broker-1.example.org:9092"] {
            assert_eq!(HostPort::parse(text).unwrap().to_string(), text);
        }
    }

    #[test]
    fn an_address_without_host_or_port_or_with_more_than_that_is_refused() {
        for text in [
            "",
            "9092",
            ":9092",
            "host",
            "host:",
            "host:70000",
            "::1:9092",
            "[host]:1",
            "a b:1",
            "kafka://h:1",
        ] {
            assert_eq!(HostPort::parse(text), None, "{text:?}");
        }
    }

    #[test]
    fn loopback_and_wildcard_are_told_apart_from_the_rest() {
        let is = |text: &str| HostPort::parse(text).map(|at| (at.is_loopback(), at.is_wildcard())).unwrap();
        assert_eq!(is("127.1.2.3:1"), (true, false));
        assert_eq!(is("LocalHost:1"), (true, false));
        assert_eq!(is("0.0.0.0:1"), (false, true));
        assert_eq!(is("[::]:1"), (false, true));
        assert_eq!(is("10.0.0.1:1"), (false, false));
    }
}
