//! Lists of networks, as sorted ranges: long ones are searched as fast as short ones.

use std::net::IpAddr;

use ipnet::IpNet;

/// A set of addresses, given as networks.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Networks {
    v4: Box<[(u32, u32)]>,
    v6: Box<[(u128, u128)]>,
}

impl Networks {
    /// All that these networks hold. One of IPv4 that is mapped into IPv6 is IPv4.
    pub fn new(networks: &[IpNet]) -> Self {
        let (mut v4, mut v6) = (Vec::new(), Vec::new());
        for network in networks {
            let (first, last) = (network.network(), network.broadcast());
            match (first.to_canonical(), last.to_canonical(), first, last) {
                (IpAddr::V4(first), IpAddr::V4(last), ..) => {
                    v4.push((first.to_bits(), last.to_bits()));
                }
                // It may end with a mapped address, and is still more than these.
                (.., IpAddr::V6(first), IpAddr::V6(last)) => {
                    v6.push((first.to_bits(), last.to_bits()));
                }
                _ => {}
            }
        }
        Self { v4: merged(v4), v6: merged(v6) }
    }

    /// True if there are none.
    pub fn is_empty(&self) -> bool {
        self.v4.is_empty() && self.v6.is_empty()
    }

    /// True if one of them holds this address, never an IPv4 one mapped into IPv6.
    pub fn contain(&self, ip: IpAddr) -> bool {
        match ip {
            IpAddr::V4(ip) => holds(&self.v4, ip.to_bits()),
            IpAddr::V6(ip) => holds(&self.v6, ip.to_bits()),
        }
    }
}

/// In order, and no two with an address in common.
fn merged<T: Ord + Copy>(mut ranges: Vec<(T, T)>) -> Box<[(T, T)]> {
    ranges.sort_unstable();
    ranges.dedup_by(|(first, last), (_, before)| {
        let overlaps = *first <= *before;
        if overlaps {
            *before = (*before).max(*last);
        }
        overlaps
    });
    ranges.into()
}

fn holds<T: Ord + Copy>(ranges: &[(T, T)], ip: T) -> bool {
    let up_to = ranges.partition_point(|(first, _)| *first <= ip);
    let nearest = up_to.checked_sub(1).and_then(|at| ranges.get(at));
    nearest.is_some_and(|(_, last)| ip <= *last)
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, Ipv6Addr};

    use proptest::prelude::*;

    use super::*;

    fn networks(texts: &[&str]) -> Networks {
        Networks::new(&texts.iter().map(|text| text.parse().unwrap()).collect::<Vec<_>>())
    }

    #[test]
    fn a_network_holds_its_first_address_and_its_last() {
        let some = networks(&["10.0.0.7/8", "192.0.2.1/32", "2001:db8::/32", "::ffff:1.2.3.0/120"]);
        for (ip, is_in) in [
            ("10.0.0.0", true),
            ("10.255.255.255", true),
            ("9.255.255.255", false),
            ("11.0.0.0", false),
            ("192.0.2.1", true),
            ("192.0.2.2", false),
            ("2001:db8:ffff:ffff:ffff:ffff:ffff:ffff", true),
            ("2001:db9::", false),
            ("1.2.3.255", true),
            ("1.2.4.0", false),
            ("::10.0.0.1", false),
        ] {
            assert_eq!(some.contain(ip.parse().unwrap()), is_in, "{ip}");
        }
        assert!(networks(&["0.0.0.0/0"]).contain("255.255.255.255".parse().unwrap()));
        assert!(networks(&["::/0"]).contain("::1".parse().unwrap()));
        assert!(!networks(&["::/0"]).contain("127.0.0.1".parse().unwrap()));
        let wide = networks(&["::/80"]);
        assert!(wide.contain("::1".parse().unwrap()) && !wide.contain("1.2.3.4".parse().unwrap()));
        assert!(networks(&[]).is_empty() && !networks(&["::1/128"]).is_empty());
    }

    proptest! {
        #[test]
        fn many_networks_hold_what_one_of_them_does(
            nets in prop::collection::vec((0..64_u8, 22..=32_u8, any::<bool>()), 0..40),
            ips in prop::collection::vec(any::<u16>(), 40),
        ) {
            let ip = |low: u16, is_v4| if is_v4 {
                IpAddr::from(Ipv4Addr::from(0x0a00_0000 + u32::from(low)))
            } else {
                IpAddr::from(Ipv6Addr::from(u128::from(low)))
            };
            let net = |&(third, length, is_v4)| {
                let length = if is_v4 { length } else { length + 96 };
                IpNet::new(ip(u16::from(third) << 8, is_v4), length).unwrap()
            };
            let nets: Vec<_> = nets.iter().map(net).collect();
            let built = Networks::new(&nets);
            for low in ips {
                for ip in [ip(low, true), ip(low, false)] {
                    prop_assert_eq!(built.contain(ip), nets.iter().any(|net| net.contains(&ip)));
                }
            }
        }
    }
}
