//! Where a request comes from. `X-Forwarded-For` is a claim: what a trusted hop wrote is believed, and what stands before
//! that is not.

use axum::http::{HeaderMap, HeaderName};
use std::{
    fmt,
    net::{IpAddr, Ipv6Addr, SocketAddr},
    str::FromStr,
};

const FORWARDED: HeaderName = HeaderName::from_static("x-forwarded-for");

/// Who holds the other end of the connection. The accept loop puts it into each request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Peer(pub SocketAddr);

/// Networks whose hops tell the truth about whom they speak for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Trusted(Vec<Network>);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Network {
    address: IpAddr,
    bits: u32,
}

impl Network {
    fn holds(self, address: IpAddr) -> bool {
        match (self.address, address) {
            (IpAddr::V4(own), IpAddr::V4(other)) => {
                shares(u128::from(u32::from(own)) << 96, u128::from(u32::from(other)) << 96, self.bits)
            }
            (IpAddr::V6(own), IpAddr::V6(other)) => shares(own.into(), other.into(), self.bits),
            _ => false,
        }
    }
}

fn shares(one: u128, other: u128, bits: u32) -> bool {
    bits == 0 || (one ^ other) >> (128 - bits.min(128)) == 0
}

impl FromStr for Trusted {
    type Err = ();

    /// Addresses and networks (`10.0.0.0/8`), with commas between.
    fn from_str(text: &str) -> Result<Self, ()> {
        let one = |text: &str| {
            let (address, bits) =
                text.split_once('/').map_or((text, None), |(address, bits)| (address, Some(bits)));
            let address: IpAddr = address.parse().map_err(|_| ())?;
            let most = if address.is_ipv4() { 32 } else { 128 };
            let bits = bits.map_or(Ok(most), str::parse).map_err(|_| ())?;
            if bits <= most { Ok(Network { address, bits }) } else { Err(()) }
        };
        let parts = text.split(',').map(str::trim).filter(|part| !part.is_empty());
        Ok(Self(parts.map(one).collect::<Result<_, ()>>()?))
    }
}

/// The address that is counted: of IPv6 the network that one customer gets, whose addresses are free to choose.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Origin(Option<IpAddr>);

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            None => f.write_str("unknown"),
            Some(IpAddr::V4(address)) => address.fmt(f),
            Some(IpAddr::V6(address)) => {
                let network = u128::from(address) & !u128::from(u64::MAX);
                write!(f, "{}/64", Ipv6Addr::from(network))
            }
        }
    }
}

impl Trusted {
    fn holds(&self, address: IpAddr) -> bool {
        self.0.iter().any(|network| network.holds(address))
    }

    /// Where a request comes from that `peer` handed us: the nearest hop that is not trusted.
    pub(super) fn origin(&self, peer: Option<Peer>, headers: &HeaderMap) -> Origin {
        let Some(Peer(peer)) = peer else { return Origin(None) };
        let mut origin = peer.ip().to_canonical();
        // from the hop next to us outwards: each wrote the one before it at the end
        let mut claims = headers.get_all(FORWARDED).iter().rev().flat_map(|value| {
            let text = value.to_str().unwrap_or_default();
            text.rsplit(',').map(str::trim).collect::<Vec<_>>()
        });
        while self.holds(origin) {
            let Some(before) = claims.next().and_then(address) else { break };
            origin = before;
        }
        Origin(Some(origin))
    }
}

/// An address as proxies write it: alone, with a port, in brackets.
fn address(text: &str) -> Option<IpAddr> {
    let alone = text.parse::<IpAddr>().ok();
    let with_port = || text.parse::<SocketAddr>().ok().map(|address| address.ip());
    let bracketed = || text.strip_prefix('[')?.strip_suffix(']')?.parse().ok();
    alone.or_else(with_port).or_else(bracketed).map(|address| address.to_canonical())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn origin(trusted: &str, peer: &str, forwarded: &[&str]) -> String {
        let trusted: Trusted = trusted.parse().unwrap();
        let mut headers = HeaderMap::new();
        for value in forwarded {
            headers.append(FORWARDED, value.parse().unwrap());
        }
        trusted.origin(Some(Peer(SocketAddr::new(peer.parse().unwrap(), 9))), &headers).to_string()
    }

    #[test]
    fn a_claim_is_believed_of_trusted_hops_alone() {
        let proxies = "10.0.0.0/8, 192.168.1.1, fd00::/8";
        for (peer, forwarded, expected) in [
            ("203.0.113.7", &["1.2.3.4"][..], "203.0.113.7"),
            ("10.1.2.3", &[], "10.1.2.3"),
            ("10.1.2.3", &["203.0.113.7"], "203.0.113.7"),
            // what the client itself wrote stands before what the proxy added
            ("10.1.2.3", &["1.2.3.4, 203.0.113.7"], "203.0.113.7"),
            ("10.1.2.3", &["1.2.3.4", "203.0.113.7"], "203.0.113.7"),
            ("10.1.2.3", &["1.2.3.4, 203.0.113.7, 192.168.1.1"], "203.0.113.7"),
            ("10.1.2.3", &["203.0.113.7:4711"], "203.0.113.7"),
            ("::ffff:10.1.2.3", &["203.0.113.7"], "203.0.113.7"),
            // rubbish is nobody: the hop that passed it on is counted
            ("10.1.2.3", &["unknown"], "10.1.2.3"),
            ("10.1.2.3", &["1.2.3.4, unknown"], "10.1.2.3"),
            ("fd00::1", &["[2001:db8:1:2:3:4:5:6]:80"], "2001:db8:1:2::/64"),
            // one customer's network is one caller
            ("2001:db8:1:2:ffff::1", &[], "2001:db8:1:2::/64"),
        ] {
            assert_eq!(origin(proxies, peer, forwarded), expected, "{peer} {forwarded:?}");
        }
        assert_eq!(origin("", "10.1.2.3", &["1.2.3.4"]), "10.1.2.3", "nobody is trusted unless it is said");
    }

    #[test]
    fn networks_read_or_are_refused() {
        for bad in ["10.0.0.0/33", "fd00::/129", "ten", "10.0.0.1/x", "10.0.0.1;10.0.0.2"] {
            assert_eq!(bad.parse::<Trusted>(), Err(()), "{bad}");
        }
        let all: Trusted = "0.0.0.0/0".parse().unwrap();
        assert!(all.holds("9.9.9.9".parse().unwrap()) && !all.holds("::1".parse().unwrap()));
    }
}
