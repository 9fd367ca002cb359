//! Trusted proxies: which neighbours are believed when they say for whom they ask.

use crate::Error;
use axum::extract::{ConnectInfo, Request};
use axum::middleware::Next;
use axum::response::Response;
use std::net::{IpAddr, SocketAddr};

const FORWARDED_FOR: &str = "x-forwarded-for";
/// Most proxies between a client and the vault that are looked through.
const HOPS_MAX: usize = 16;

/// Networks whose `X-Forwarded-For` counts. Empty: nobody's, and a client is where its connection comes from.
#[derive(Clone, Debug, Default)]
pub struct Proxies(Vec<(IpAddr, u8)>);

impl Proxies {
    /// Addresses, or networks such as `10.0.0.0/8`.
    pub fn parse<S: AsRef<str>>(networks: &[S]) -> Result<Self, Error> {
        networks.iter().map(|text| network(text.as_ref())).collect::<Result<_, _>>().map(Proxies)
    }

    fn trusts(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        self.0.iter().any(|(network, bits)| match (network, address) {
            (IpAddr::V4(n), IpAddr::V4(a)) => same(n.to_bits().into(), a.to_bits().into(), 32 - bits),
            (IpAddr::V6(n), IpAddr::V6(a)) => same(n.to_bits(), a.to_bits(), 128 - bits),
            _ => false,
        })
    }

    /// Who asks: read from the right, the first address that is no proxy of ours. What stands left of it the client itself
    /// may have written. Where it does not read, the last that was believed.
    fn client(&self, peer: IpAddr, forwarded: &str) -> IpAddr {
        let mut client = peer;
        for hop in forwarded.rsplit(',').take(HOPS_MAX) {
            if !self.trusts(client) {
                break;
            }
            let Ok(address) = hop.trim().parse::<IpAddr>() else { break };
            client = address.to_canonical();
        }
        client
    }

    /// The middleware: puts the client's address in the place of the proxy's.
    pub(crate) async fn look_through(self, mut request: Request, next: Next) -> Response {
        if let Some(ConnectInfo(peer)) = request.extensions().get::<ConnectInfo<SocketAddr>>().copied() {
            // Several headers are one list.
            let lines = request.headers().get_all(FORWARDED_FOR).iter();
            let forwarded: Vec<&str> = lines.filter_map(|line| line.to_str().ok()).collect();
            if !forwarded.is_empty() {
                let client = self.client(peer.ip(), &forwarded.join(","));
                request.extensions_mut().insert(ConnectInfo(SocketAddr::new(client, peer.port())));
            }
        }
        next.run(request).await
    }
}

fn same(network: u128, address: u128, free_bits: u8) -> bool {
    network.checked_shr(free_bits.into()).unwrap_or(0) == address.checked_shr(free_bits.into()).unwrap_or(0)
}

fn network(text: &str) -> Result<(IpAddr, u8), Error> {
    let wrong =
        || Error::Invalid(format!("`{text}` is no address and no network: write 10.0.0.1 or 10.0.0.0/8"));
    let (address, bits) = text.split_once('/').map_or((text, None), |(address, bits)| (address, Some(bits)));
    let address: IpAddr = address.parse().map_err(|_| wrong())?;
    let most = if address.is_ipv4() { 32 } else { 128 };
    let bits = bits.map_or(Ok(most), str::parse::<u8>).map_err(|_| wrong())?;
    if bits <= most { Ok((address, bits)) } else { Err(wrong()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_a_trusted_proxy_wrote_is_believed() {
        let proxies = Proxies::parse(&["127.0.0.1", "10.0.0.0/8", "fd00::/8"]).unwrap();
        let check = |peer: &str, forwarded: &str, want: &str| {
            let got = proxies.client(peer.parse().unwrap(), forwarded);
            assert_eq!(got, want.parse::<IpAddr>().unwrap(), "{peer} {forwarded}");
        };
        check("127.0.0.1", "203.0.113.9", "203.0.113.9");
        check("::ffff:127.0.0.1", "203.0.113.9", "203.0.113.9");
        check("127.0.0.1", "198.51.100.1, 203.0.113.9, 10.1.2.3", "203.0.113.9");
        check("127.0.0.1", "203.0.113.9, nonsense", "127.0.0.1");
        check("127.0.0.1", "nonsense, 10.1.2.3", "10.1.2.3");
        check("127.0.0.1", "", "127.0.0.1");
        check("fd12::1", "2001:db8::7", "2001:db8::7");
        check("203.0.113.50", "198.51.100.1", "203.0.113.50");
        let nobody = Proxies::default();
        assert_eq!(nobody.client("127.0.0.1".parse().unwrap(), "203.0.113.9").to_string(), "127.0.0.1");
    }

    #[test]
    fn what_is_no_network_is_refused() {
        for text in ["", "localhost", "10.0.0.0/33", "::/129", "10.0.0.0/-1", "10.0.0.0/8/8"] {
            assert!(Proxies::parse(&[text]).is_err(), "{text}");
        }
        assert!(Proxies::parse(&["0.0.0.0/0"]).unwrap().trusts("203.0.113.1".parse().unwrap()));
    }
}
