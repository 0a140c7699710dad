//! Backends from DNS records: pure.
//!
//! Answers come in any order, so a backend is called by what it is, and the list is put in order.

use std::collections::HashSet;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use crate::addr::BackendAddr;
use crate::config::{HEAVIEST, Member};
use crate::net::Service;

/// Each address at this port.
pub(super) fn of_addresses(found: &[IpAddr], port: u16, max_sessions: u32) -> Vec<Member> {
    let mut addresses = found.to_vec();
    addresses.sort_unstable();
    addresses.dedup();
    let member = |ip| {
        let address = BackendAddr::Ip(SocketAddr::new(ip, port));
        Member { max_sessions, ..Member::unset(address) }
    };
    addresses.into_iter().map(member).collect()
}

/// Each service: those of the lowest priority, and all others as backups.
pub(super) fn of_services(found: &[Service], max_sessions: u32) -> Vec<Member> {
    let first = found.iter().map(|service| service.priority).min().unwrap_or_default();
    let heaviest = found.iter().map(|service| service.weight).max().unwrap_or_default();
    let mut services: Vec<_> = found.iter().collect();
    services.sort_by_key(|it| (it.priority, std::cmp::Reverse(it.weight), &it.target, it.port));
    let mut seen = HashSet::new();
    services.retain(|it| seen.insert((Arc::clone(&it.target), it.port)));
    let member = |service: &Service| {
        let address = BackendAddr::Host(Arc::clone(&service.target), service.port);
        Member {
            max_sessions,
            weight: weight(service.weight, heaviest),
            backup: service.priority > first,
            ..Member::unset(address)
        }
    };
    services.into_iter().map(member).collect()
}

/// A weight as it is if all of them are small enough, else in proportion to the heaviest. Zero means
/// a small chance there, and none here.
fn weight(weight: u16, heaviest: u16) -> u16 {
    if heaviest <= HEAVIEST {
        return weight.max(1);
    }
    let scaled = u32::from(weight) * u32::from(HEAVIEST) / u32::from(heaviest);
    u16::try_from(scaled).unwrap_or(HEAVIEST).max(1)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn service(target: &str, priority: u16, weight: u16) -> Service {
        Service { target: target.into(), port: 80, priority, weight }
    }

    fn shown(services: &[Service]) -> Vec<(String, u16, bool)> {
        let members = of_services(services, 0);
        members.iter().map(|it| (it.name.to_string(), it.weight, it.backup)).collect()
    }

    #[test]
    fn an_address_is_called_by_itself() {
        let found: Vec<IpAddr> =
            ["10.0.0.2", "::1", "10.0.0.1", "10.0.0.2"].map(|it| it.parse().unwrap()).into();
        let members = of_addresses(&found, 80, 7);
        let names: Vec<_> = members.iter().map(|it| &*it.name).collect();
        assert_eq!(names, ["10.0.0.1:80", "10.0.0.2:80", "[::1]:80"]);
        assert!(members.iter().all(|it| it.max_sessions == 7 && it.weight == 1 && !it.backup));
    }

    #[test]
    fn the_lowest_priority_is_ordinary_and_all_others_are_backups() {
        let found = [service("c", 30, 1), service("b", 20, 1), service("a", 10, 1)];
        let of = |name: &str, backup| (format!("{name}:80"), 1, backup);
        assert_eq!(shown(&found), [of("a", false), of("b", true), of("c", true)]);
    }

    #[test]
    fn weights_are_kept_while_they_fit_and_zero_is_a_small_chance() {
        let weights = |all: &[u16]| {
            let all: Vec<_> = all
                .iter()
                .zip('a'..)
                .map(|(weight, name)| service(&name.to_string(), 0, *weight))
                .collect();
            let mut shown = shown(&all);
            shown.sort();
            shown.iter().map(|(_, weight, _)| *weight).collect::<Vec<_>>()
        };
        assert_eq!(weights(&[0, 0]), [1, 1]);
        assert_eq!(weights(&[0, 10, 256]), [1, 10, 256]);
        assert_eq!(weights(&[65_535, 32_768, 1]), [256, 128, 1]);
    }

    #[test]
    fn one_target_is_one_backend() {
        assert_eq!(
            shown(&[service("a", 20, 5), service("a", 10, 3)]),
            [("a:80".to_owned(), 3, false)]
        );
    }

    proptest! {
        #[test]
        fn the_order_of_an_answer_means_nothing(
            found in prop::collection::vec((0_u16..4, 0_u16..400, 0_u16..6), 0..8),
            turn in 0_usize..8,
        ) {
            let of = |(priority, weight, target): &(u16, u16, u16)| {
                service(&format!("t{target}"), *priority, *weight)
            };
            let services: Vec<_> = found.iter().map(of).collect();
            let mut turned = services.clone();
            turned.rotate_left(turn.min(services.len()));
            let members = of_services(&services, 0);
            prop_assert_eq!(&members, &of_services(&turned, 0));
            prop_assert!(members.iter().all(|it| (1..=HEAVIEST).contains(&it.weight)));
            prop_assert!(members.is_empty() || members.iter().any(|it| !it.backup));
        }
    }
}
