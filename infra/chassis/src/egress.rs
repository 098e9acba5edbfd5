//! Which addresses may be called where a stranger names them (server-side request forgery): public ones, on ports that are
//! allowed, over https. Who calls resolves the name once, checks every address here, and connects to what was checked.

use crate::settings::{Environment, SettingError};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Longest URL that is taken, in bytes.
pub const MAX_URL: usize = 2_000;

/// What may be called.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Egress {
    /// Ports that may be named.
    pub ports: Vec<u16>,
    /// Whether loopback may be called, on any port and without TLS: for local use alone.
    pub loopback: bool,
}

/// Why a URL is not called.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Refused(pub &'static str);

impl Egress {
    /// Reads `WEBHOOK_PORTS` (443) and `WEBHOOK_ALLOW_LOOPBACK` (off).
    ///
    /// # Errors
    /// [`SettingError`].
    pub fn from_environment(environment: &Environment) -> Result<Self, SettingError> {
        let text = environment.text_or("WEBHOOK_PORTS", "443");
        let ports: Result<Vec<u16>, _> = text.split(',').map(|port| port.trim().parse()).collect();
        let loopback = environment.text_or("WEBHOOK_ALLOW_LOOPBACK", "off");
        let bad =
            |key, value: &str, expected| SettingError::Invalid { key, value: value.to_owned(), expected };
        Ok(Self {
            ports: ports.map_err(|_| bad("WEBHOOK_PORTS", &text, "ports, separated by commas"))?,
            loopback: match loopback.as_str() {
                "on" => true,
                "off" => false,
                other => return Err(bad("WEBHOOK_ALLOW_LOOPBACK", other, "on or off")),
            },
        })
    }

    /// Whether `url` may be called, as far as its text tells: what its name resolves to is checked at each call.
    ///
    /// # Errors
    /// [`Refused`] says what is expected.
    pub fn check(&self, url: &str) -> Result<(), Refused> {
        if url.len() > MAX_URL || !url.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(Refused("must be at most 2000 visible ASCII characters"));
        }
        let url =
            url::Url::parse(url).map_err(|_| Refused("must be a URL such as https://example.com/orders"))?;
        if !url.username().is_empty() || url.password().is_some() || url.fragment().is_some() {
            return Err(Refused("must have neither user nor password nor fragment"));
        }
        let address = match url.host() {
            Some(url::Host::Ipv4(address)) => Some(IpAddr::V4(address)),
            Some(url::Host::Ipv6(address)) => Some(IpAddr::V6(address)),
            Some(url::Host::Domain("localhost")) => Some(IpAddr::V4(Ipv4Addr::LOCALHOST)),
            Some(url::Host::Domain(_)) => None,
            None => return Err(Refused("must name a host")),
        };
        let is_local = self.loopback && address.is_some_and(|address| address.is_loopback());
        if !is_local && url.scheme() != "https" {
            return Err(Refused("must begin with https://"));
        }
        let port = url.port_or_known_default();
        if !is_local && !port.is_some_and(|port| self.ports.contains(&port)) {
            return Err(Refused("names a port that is not called from here"));
        }
        if address.is_some_and(|address| !self.may_call(address)) {
            return Err(Refused("names an address that is not public"));
        }
        Ok(())
    }

    /// Whether a connection to `address` may be made.
    #[must_use]
    pub fn may_call(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        if address.is_loopback() {
            return self.loopback;
        }
        match address {
            IpAddr::V4(address) => is_public_v4(address),
            IpAddr::V6(address) => is_public_v6(address),
        }
    }
}

/// Not one of the special blocks of RFC 6890 and its registry.
fn is_public_v4(address: Ipv4Addr) -> bool {
    let [a, b, c, _] = address.octets();
    let is_special = address.is_private()
        || address.is_link_local()
        || address.is_multicast()
        || address.is_documentation()
        || a == 0
        || a >= 240
        || (a == 100 && (64..128).contains(&b))
        || (a == 192 && b == 0 && c == 0)
        || (a == 192 && b == 88 && c == 99)
        || (a == 198 && (18..20).contains(&b));
    !is_special
}

/// Global unicast (2000::/3) that carries no IPv4 address within and is not set aside.
fn is_public_v6(address: Ipv6Addr) -> bool {
    let [a, b, ..] = address.segments();
    let is_global = (0x2000..0x4000).contains(&a);
    // Teredo and other protocol assignments, documentation (two blocks), 6to4
    let is_special = (a == 0x2001 && (b < 0x0200 || b == 0x0db8)) || a == 0x2002 || a == 0x3fff;
    is_global && !is_special
}

#[cfg(test)]
mod tests {
    use super::*;

    fn egress(loopback: bool) -> Egress {
        Egress { ports: vec![443, 8443], loopback }
    }

    #[test]
    fn addresses_of_the_inside_are_refused_in_every_spelling() {
        let inside = [
            "127.0.0.1",
            "127.9.9.9",
            "0.0.0.0",
            "10.0.0.1",
            "172.16.0.1",
            "172.31.255.255",
            "192.168.1.1",
            "169.254.169.254",
            "100.64.0.1",
            "100.127.255.255",
            "192.0.0.8",
            "192.0.2.1",
            "198.18.0.1",
            "198.51.100.7",
            "203.0.113.9",
            "224.0.0.1",
            "240.0.0.1",
            "255.255.255.255",
            "::",
            "::1",
            "::ffff:127.0.0.1",
            "::ffff:10.0.0.1",
            "::ffff:169.254.169.254",
            "::7f00:1",
            "64:ff9b::a9fe:a9fe",
            "fc00::1",
            "fd00:ec2::254",
            "fe80::1",
            "fec0::1",
            "ff02::1",
            "2001::1",
            "2001:db8::1",
            "2002:7f00:1::",
            "3fff::1",
            "100::1",
        ];
        for address in inside {
            assert!(!egress(false).may_call(address.parse().unwrap()), "{address}");
        }
        for address in
            ["1.1.1.1", "100.63.0.1", "100.128.0.1", "172.32.0.1", "2606:4700::1", "::ffff:8.8.8.8"]
        {
            assert!(egress(false).may_call(address.parse().unwrap()), "{address}");
        }
        for address in ["127.0.0.1", "::1", "::ffff:127.0.0.1"] {
            assert!(egress(true).may_call(address.parse().unwrap()), "{address}");
        }
        for address in ["10.0.0.1", "169.254.169.254", "0.0.0.0"] {
            assert!(
                !egress(true).may_call(address.parse().unwrap()),
                "local use opens loopback alone: {address}"
            );
        }
    }

    #[test]
    fn a_url_is_https_on_an_allowed_port_and_names_nothing_of_the_inside() {
        for good in [
            "https://example.com/hook?a=1",
            "https://example.com:8443",
            "https://[2606:4700::1]/",
            "https://1.1.1.1",
        ] {
            assert_eq!(egress(false).check(good), Ok(()), "{good}");
        }
        let bad = [
            "",
            "example.com",
            "http://example.com",
            "ftp://example.com",
            "https://example.com:22",
            "https://u:p@example.com",
            "https://example.com/#a",
            "https://127.0.0.1",
            "https://localhost",
            "https://2130706433",
            "https://0x7f.1",
            "https://[::ffff:169.254.169.254]",
            "https://[::1]:443",
            "https://169.254.169.254/latest/meta-data",
            "https://exa mple.com",
            "https://",
            "file:///etc/passwd",
        ];
        for bad in bad {
            assert!(egress(false).check(bad).is_err(), "{bad}");
        }
        assert!(egress(false).check(&format!("https://example.com/{}", "x".repeat(2_000))).is_err());
        assert_eq!(egress(true).check("http://127.0.0.1:9/hook"), Ok(()));
        assert_eq!(egress(true).check("http://localhost:9/hook"), Ok(()));
        assert!(
            egress(true).check("http://10.0.0.1:9/").is_err()
                && egress(true).check("http://example.com").is_err()
        );
    }
}
