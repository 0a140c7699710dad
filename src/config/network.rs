//! Networks of clients as the file writes them, and what to write instead when they are none.

use std::net::{IpAddr, SocketAddr};

use ipnet::{IpNet, Ipv4Net};

use super::value::Value;
use super::words::quoted;

const EXAMPLE: &str = "write it as in \"10.0.0.0/8\", \"2001:db8::/32\" or \"10.0.0.7\"";
/// Where IPv4 begins in an IPv6 address that it is mapped into.
const MAPPED: u8 = 96;

/// A list of networks, or one of them.
pub(super) fn read(value: &Value<'_>) -> Vec<IpNet> {
    value.one_or_more().iter().filter_map(one).collect()
}

fn one(item: &Value<'_>) -> Option<IpNet> {
    let text = item.text()?;
    match parse(text) {
        Ok(written) => {
            let network = written.trunc();
            if network != written {
                let message = format!("{} has an address behind its prefix", quoted(text));
                let message = format!("{message} and is taken as the network \"{network}\"");
                item.warn(&message, &format!("write \"{network}\", or the address alone"));
            }
            Some(network)
        }
        Err((message, way_out)) => {
            item.refuse(&format!("{} {message}", quoted(text)), &way_out);
            None
        }
    }
}

/// As written, or what is wrong with it and the way out. An address alone is a network of one.
fn parse(text: &str) -> Result<IpNet, (String, String)> {
    let (front, prefix) = match text.split_once('/') {
        Some((front, prefix)) => (front, Some(prefix)),
        None => (text, None),
    };
    let Ok(address) = front.parse::<IpAddr>() else { return Err(no_address(front, prefix)) };
    let Some(prefix) = prefix else { return Ok(unmapped(IpNet::from(address))) };
    let most = if address.is_ipv4() { 32 } else { 128 };
    let is_number = !prefix.is_empty() && prefix.bytes().all(|b| b.is_ascii_digit());
    let length = prefix.parse().ok().filter(|_| is_number);
    if let Some(network) = length.and_then(|length| IpNet::new(address, length).ok()) {
        return Ok(unmapped(network));
    }
    let masked = prefix.parse().ok().and_then(|mask| IpNet::with_netmask(address, mask).ok());
    Err(match masked {
        Some(network) => ("has a netmask".to_owned(), format!("write \"{}\"", network.trunc())),
        None => {
            let message = format!("has no prefix length from 0 to {most}");
            (message, EXAMPLE.to_owned())
        }
    })
}

fn no_address(front: &str, prefix: Option<&str>) -> (String, String) {
    let behind = prefix.map(|prefix| format!("/{prefix}")).unwrap_or_default();
    let bare = front.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    let inner = bare.and_then(|bare| bare.parse::<IpAddr>().ok());
    if let Some(address) = inner.filter(|_| behind.len() < 5) {
        return ("has brackets".to_owned(), format!("write \"{address}{behind}\""));
    }
    match front.parse::<SocketAddr>() {
        Ok(address) if prefix.is_none() => {
            ("has a port".to_owned(), format!("write \"{}\"", address.ip()))
        }
        _ => ("is not a network".to_owned(), EXAMPLE.to_owned()),
    }
}

/// A network of IPv4 addresses mapped into IPv6 is that network of IPv4, as clients are.
fn unmapped(network: IpNet) -> IpNet {
    let IpNet::V6(mapped) = network else { return network };
    let inner = mapped.addr().to_ipv4_mapped().zip(mapped.prefix_len().checked_sub(MAPPED));
    let inner = inner.and_then(|(address, length)| Ipv4Net::new(address, length).ok());
    inner.map_or(network, IpNet::V4)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn an_address_alone_is_a_network_of_one() {
        assert_eq!(parse("10.0.0.7").unwrap().to_string(), "10.0.0.7/32");
        assert_eq!(parse("::1").unwrap().to_string(), "::1/128");
    }

    #[test]
    fn mapped_networks_are_ipv4() {
        assert_eq!(parse("::ffff:10.0.0.0/104").unwrap().to_string(), "10.0.0.0/8");
        assert_eq!(parse("::ffff:10.0.0.7").unwrap().to_string(), "10.0.0.7/32");
        assert_eq!(parse("::ffff:0:0/96").unwrap().to_string(), "0.0.0.0/0");
        assert_eq!(parse("::/0").unwrap().to_string(), "::/0");
    }

    #[test]
    fn what_is_no_network_is_told_what_to_write() {
        let offered = |text: &str| parse(text).unwrap_err().1;
        assert_eq!(offered("10.1.0.0/255.255.0.0"), "write \"10.1.0.0/16\"");
        assert_eq!(offered("10.0.0.7:80"), "write \"10.0.0.7\"");
        assert_eq!(offered("[2001:db8::]/32"), "write \"2001:db8::/32\"");
        for text in
            ["", "/", "/8", "10.0.0.0/", "10.0.0.0/33", "10.0.0.0/+8", "::/129", "10.0.0/8", "db1"]
        {
            assert_eq!(offered(text), EXAMPLE, "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused(text in "[0-9a-f:./\\[\\]]{0,24}|\\PC{0,20}") {
            if let Ok(network) = parse(&text) {
                prop_assert_eq!(parse(&network.to_string()), Ok(network));
            }
        }
    }
}
