//! Server-side request forgery stops here: names are resolved by us, and only public addresses are connected to.

use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;

/// Why an address must not be called, if it must not.
pub fn refusal(address: IpAddr) -> Option<&'static str> {
    match address {
        IpAddr::V4(v4) => refusal_v4(v4),
        IpAddr::V6(v6) => refusal_v6(v6),
    }
}

/// Why the address written in a url must not be called. The url parser has read `0x7f.1` and the like as addresses.
pub(super) fn literal(url: &reqwest::Url) -> Option<&'static str> {
    let host = url.host_str()?;
    let bare = host.strip_prefix('[').and_then(|h| h.strip_suffix(']')).unwrap_or(host);
    refusal(bare.parse().ok()?)
}

/// Resolves names and drops every address that `refusal` names. The check is on the addresses that are then connected
/// to, so that a name cannot resolve differently a moment later.
pub(super) struct PublicOnly(pub Lookup);

/// Who is asked for the addresses of a name.
pub(super) type Lookup = Arc<dyn Fn(String) -> Found + Send + Sync>;
pub(super) type Found = Pin<Box<dyn Future<Output = std::io::Result<Vec<SocketAddr>>> + Send>>;

impl PublicOnly {
    /// Asks the system.
    pub fn system() -> Self {
        PublicOnly(Arc::new(|name| {
            Box::pin(async move { Ok(tokio::net::lookup_host((name, 0)).await?.collect()) })
        }))
    }
}

impl Resolve for PublicOnly {
    fn resolve(&self, name: Name) -> Resolving {
        let found = (self.0)(name.as_str().to_owned());
        Box::pin(async move {
            let found = found.await?;
            let why = found.iter().find_map(|a| refusal(a.ip()));
            let public: Vec<SocketAddr> = found.into_iter().filter(|a| refusal(a.ip()).is_none()).collect();
            match why {
                Some(why) if public.is_empty() => {
                    Err(format!("`{}` resolves to an address that is {why}", name.as_str()).into())
                }
                _ => Ok(Box::new(public.into_iter()) as Addrs),
            }
        })
    }
}

/// IANA special-purpose ranges, and the addresses where clouds keep credentials.
const REFUSED_V4: [(Ipv4Addr, u8, &str); 16] = [
    (Ipv4Addr::new(0, 0, 0, 0), 8, "unspecified"),
    (Ipv4Addr::new(10, 0, 0, 0), 8, "private"),
    (Ipv4Addr::new(100, 64, 0, 0), 10, "shared by a carrier (CGNAT)"),
    (Ipv4Addr::new(127, 0, 0, 0), 8, "loopback"),
    (Ipv4Addr::new(168, 63, 129, 16), 32, "a cloud's metadata service"),
    (Ipv4Addr::new(169, 254, 0, 0), 16, "link-local or a cloud's metadata service"),
    (Ipv4Addr::new(172, 16, 0, 0), 12, "private"),
    (Ipv4Addr::new(192, 0, 0, 0), 24, "reserved for protocols"),
    (Ipv4Addr::new(192, 0, 2, 0), 24, "for documentation"),
    (Ipv4Addr::new(192, 88, 99, 0), 24, "a 6to4 relay"),
    (Ipv4Addr::new(192, 168, 0, 0), 16, "private"),
    (Ipv4Addr::new(198, 18, 0, 0), 15, "for benchmarks"),
    (Ipv4Addr::new(198, 51, 100, 0), 24, "for documentation"),
    (Ipv4Addr::new(203, 0, 113, 0), 24, "for documentation"),
    (Ipv4Addr::new(224, 0, 0, 0), 4, "multicast"),
    (Ipv4Addr::new(240, 0, 0, 0), 4, "reserved or broadcast"),
];

const REFUSED_V6: [(Ipv6Addr, u8, &str); 14] = [
    (Ipv6Addr::LOCALHOST, 128, "loopback"),
    (Ipv6Addr::UNSPECIFIED, 128, "unspecified"),
    (Ipv6Addr::UNSPECIFIED, 96, "an embedded IPv4 address"),
    (Ipv6Addr::new(0x64, 0xff9b, 0, 0, 0, 0, 0, 0), 96, "translated to IPv4 (NAT64)"),
    (Ipv6Addr::new(0x64, 0xff9b, 1, 0, 0, 0, 0, 0), 48, "translated to IPv4 (NAT64)"),
    (Ipv6Addr::new(0x100, 0, 0, 0, 0, 0, 0, 0), 64, "discarded"),
    (Ipv6Addr::new(0x2001, 0, 0, 0, 0, 0, 0, 0), 23, "a tunnel or reserved for protocols"),
    (Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0), 32, "for documentation"),
    (Ipv6Addr::new(0x2002, 0, 0, 0, 0, 0, 0, 0), 16, "a 6to4 tunnel"),
    (Ipv6Addr::new(0x3fff, 0, 0, 0, 0, 0, 0, 0), 20, "for documentation"),
    (Ipv6Addr::new(0xfc00, 0, 0, 0, 0, 0, 0, 0), 7, "private or a cloud's metadata service"),
    (Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 0), 10, "link-local"),
    (Ipv6Addr::new(0xfec0, 0, 0, 0, 0, 0, 0, 0), 10, "site-local"),
    (Ipv6Addr::new(0xff00, 0, 0, 0, 0, 0, 0, 0), 8, "multicast"),
];

fn refusal_v4(address: Ipv4Addr) -> Option<&'static str> {
    let within = |net: Ipv4Addr, bits: u8| u32::from(address) >> (32 - bits) == u32::from(net) >> (32 - bits);
    REFUSED_V4.iter().find(|(net, bits, _)| within(*net, *bits)).map(|(.., why)| *why)
}

fn refusal_v6(address: Ipv6Addr) -> Option<&'static str> {
    if let Some(v4) = address.to_ipv4_mapped() {
        return refusal_v4(v4);
    }
    let within =
        |net: Ipv6Addr, bits: u8| u128::from(address) >> (128 - bits) == u128::from(net) >> (128 - bits);
    REFUSED_V6.iter().find(|(net, bits, _)| within(*net, *bits)).map(|(.., why)| *why)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_public_addresses_pass() {
        let check = |text: &str, public: bool| {
            let url = reqwest::Url::parse(&format!("http://{text}/")).expect("a url");
            assert_eq!(literal(&url).is_none(), public, "{text}: {:?}", literal(&url));
        };
        for private in [
            "127.0.0.1",
            "0x7f.1",
            "2130706433",
            "0177.0.0.1",
            "0.0.0.0",
            "10.1.2.3",
            "172.31.255.255",
            "192.168.0.1",
            "169.254.169.254",
            "168.63.129.16",
            "100.64.0.1",
            "100.100.100.200",
            "192.0.0.192",
            "192.88.99.1",
            "198.19.0.1",
            "224.0.0.1",
            "255.255.255.255",
            "[::1]",
            "[::]",
            "[::ffff:127.0.0.1]",
            "[::ffff:a9fe:a9fe]",
            "[::7f00:1]",
            "[64:ff9b::a9fe:a9fe]",
            "[64:ff9b:1::1]",
            "[2002:7f00:1::]",
            "[2001:0:1::1]",
            "[fd00:ec2::254]",
            "[fe80::1]",
            "[fec0::1]",
            "[ff02::1]",
            "[2001:db8::1]",
        ] {
            check(private, false);
        }
        for public in
            ["1.1.1.1", "172.32.0.1", "100.128.0.1", "192.0.1.1", "[2606:4700::1111]", "[2a00:1450::1]"]
        {
            check(public, true);
        }
        assert_eq!(literal(&reqwest::Url::parse("https://example.com/").expect("a url")), None);
    }

    /// Addresses that must not be called, of every range, its first and last and one between.
    fn forbidden() -> Vec<IpAddr> {
        let mut all = Vec::new();
        for (net, bits, _) in REFUSED_V4 {
            let (first, size) = (u32::from(net) >> (32 - bits) << (32 - bits), 1u64 << (32 - bits));
            let last = first + u32::try_from(size - 1).expect("within 32 bits");
            all.extend([first, first / 2 + last / 2, last].map(|v4| IpAddr::V4(v4.into())));
        }
        for (net, bits, _) in REFUSED_V6 {
            let first = u128::from(net) >> (128 - bits) << (128 - bits);
            let last = first | u128::MAX.checked_shr(u32::from(bits)).unwrap_or(0);
            all.extend([first, first / 2 + last / 2, last].map(|v6| IpAddr::V6(v6.into())));
        }
        all.dedup();
        all
    }

    /// The ways in which attackers write an address.
    fn forms(address: IpAddr) -> Vec<String> {
        match address {
            IpAddr::V6(v6) => {
                vec![format!("[{v6}]"), format!("[{}]", v6.segments().map(|s| format!("{s:x}")).join(":"))]
            }
            IpAddr::V4(v4) => {
                let [a, b, c, d] = v4.octets();
                let number = u32::from(v4);
                vec![
                    v4.to_string(),
                    number.to_string(),
                    format!("{number:#x}"),
                    format!("0{number:o}"),
                    format!("{a:#x}.{b:#x}.{c:#x}.{d:#x}"),
                    format!("0{a:o}.{b}.{}", u32::from(c) << 8 | u32::from(d)),
                    format!("[::ffff:{v4}]"),
                    format!("[::ffff:{:x}:{:x}]", number >> 16, number & 0xffff),
                    format!("[64:ff9b::{v4}]"),
                    format!("[2002:{:x}:{:x}::1]", number >> 16, number & 0xffff),
                    format!("{v4}."),
                ]
            }
        }
    }

    #[tokio::test]
    async fn no_form_of_a_forbidden_address_is_ever_connected_to() {
        use std::sync::atomic::{AtomicUsize, Ordering};
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let port = listener.local_addr().expect("bound").port();
        let connections = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&connections);
        tokio::spawn(async move {
            while listener.accept().await.is_ok() {
                counted.fetch_add(1, Ordering::SeqCst);
            }
        });
        let (mut written, mut named) = (0, 0);
        for address in forbidden() {
            for form in forms(address) {
                let url = reqwest::Url::parse(&format!("http://{form}:{port}/")).expect("a url");
                assert!(literal(&url).is_some(), "{form} is let through as {url}");
                written += 1;
            }
            // A name that stands for it, and one that changes its answer between two questions.
            let asked = Arc::new(AtomicUsize::new(0));
            let lookup: Lookup = Arc::new(move |_| {
                let rebound = asked.fetch_add(1, Ordering::SeqCst) % 2 == 1;
                let loopback = SocketAddr::from(([127, 0, 0, 1], 0));
                let found =
                    if rebound { vec![loopback] } else { vec![SocketAddr::new(address, 0), loopback] };
                Box::pin(async move { Ok(found) })
            });
            let client = reqwest::Client::builder().no_proxy().dns_resolver(PublicOnly(lookup)).build();
            let client = client.expect("a client");
            for _ in 0..2 {
                let sent = client.get(format!("http://rebind.example:{port}/")).send().await;
                assert!(sent.is_err(), "{address}");
                named += 1;
            }
        }
        assert!(written >= 200 && named >= 80, "{written} written forms, {named} names");
        assert_eq!(connections.load(Ordering::SeqCst), 0);
    }

    #[tokio::test]
    async fn of_several_addresses_only_the_public_ones_are_left() {
        let found: Vec<SocketAddr> =
            ["10.0.0.1:0", "1.1.1.1:0", "[::1]:0"].iter().map(|a| a.parse().expect("an address")).collect();
        let lookup: Lookup = Arc::new(move |_| {
            let found = found.clone();
            Box::pin(async move { Ok(found) })
        });
        let name: Name = "example.com".parse().expect("a name");
        let left: Vec<String> = match PublicOnly(lookup).resolve(name).await {
            Ok(left) => left.map(|a| a.to_string()).collect(),
            Err(e) => vec![e.to_string()],
        };
        assert_eq!(left, ["1.1.1.1:0"]);
    }
}
