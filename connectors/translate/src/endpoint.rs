//! Where a call came from, as Azure and Google Cloud write it.

use crate::bounded::Copier;
use prunella_schemas::ocsf::Endpoint;
use std::net::{IpAddr, SocketAddr};

/// Reads `203.0.113.9`, `203.0.113.9:443`, `[2001:db8::1]:443`, or the name of a service.
pub fn source(address: Option<&str>, copy: &Copier) -> Endpoint {
    let Some(address) = address else { return Endpoint::default() };
    if address.parse::<IpAddr>().is_ok() {
        return Endpoint { ip: Some(address.to_owned()), ..Endpoint::default() };
    }
    if let Ok(socket) = address.parse::<SocketAddr>() {
        let ip = Some(socket.ip().to_string());
        return Endpoint { ip, port: Some(socket.port()), ..Endpoint::default() };
    }
    Endpoint { svc_name: Some(copy.string(address)), ..Endpoint::default() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_read_with_or_without_a_port() {
        let copy = Copier::default();
        let check = |address: Option<&str>, ip: Option<&str>, port: Option<u16>, name: Option<&str>| {
            let got = source(address, &copy);
            assert_eq!(
                (got.ip.as_deref(), got.port, got.svc_name.as_deref()),
                (ip, port, name),
                "{address:?}"
            );
        };
        check(Some("203.0.113.9"), Some("203.0.113.9"), None, None);
        check(Some("203.0.113.9:57485"), Some("203.0.113.9"), Some(57_485), None);
        check(Some("2001:db8::1"), Some("2001:db8::1"), None, None);
        check(Some("[2001:db8::1]:443"), Some("2001:db8::1"), Some(443), None);
        check(Some("gce-internal-ip"), None, None, Some("gce-internal-ip"));
        check(None, None, None, None);
    }
}
