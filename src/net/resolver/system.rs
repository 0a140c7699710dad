//! What the system says about names: `/etc/resolv.conf` and `/etc/hosts`, as they are now.
//!
//! Both change while a process runs (a lease, a VPN, a container that joins a network), so each
//! question sees whether they have.

use std::fs;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use hickory_resolver::Hosts;
use hickory_resolver::config::ResolverConfig;
use hickory_resolver::proto::op::Query;
use hickory_resolver::proto::rr::{Name, RecordType};
use hickory_resolver::system_conf::parse_resolv_conf;

const RESOLV_CONF: &str = "/etc/resolv.conf";
const HOSTS: &str = "/etc/hosts";

/// What a name server listens on.
const PORT: u16 = 53;

/// One state of a file: another one has other contents, most likely.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stamp {
    inode: u64,
    size: u64,
    changed: (i64, i64),
}

impl Stamp {
    fn of(path: &str) -> Option<Self> {
        let found = fs::metadata(path).ok()?;
        let changed = (found.ctime(), found.ctime_nsec());
        Some(Self { inode: found.ino(), size: found.size(), changed })
    }
}

/// One state of both files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Stamps([Option<Stamp>; 2]);

impl Stamps {
    /// As they are now; two calls that do not block for long.
    pub(super) fn now() -> Self {
        Self([Stamp::of(RESOLV_CONF), Stamp::of(HOSTS)])
    }
}

/// Whom to ask, and with which domains behind the name.
#[derive(Debug)]
pub(super) struct Advice {
    /// In this order, at least one.
    pub(super) servers: Vec<SocketAddr>,
    /// In this order.
    pub(super) search: Vec<Name>,
    /// A name with so many dots is asked for as it is first.
    pub(super) dots: usize,
}

impl Advice {
    /// These servers, and names as they are written.
    pub(super) fn own(servers: &[SocketAddr]) -> Self {
        Self { servers: servers.to_vec(), search: Vec::new(), dots: 1 }
    }

    /// What the system says; a server on this machine if it says nothing, as everybody else does.
    pub(super) fn of_system() -> Self {
        Self::read(&fs::read(RESOLV_CONF).unwrap_or_default())
    }

    fn read(text: &[u8]) -> Self {
        let home = SocketAddr::new(Ipv4Addr::LOCALHOST.into(), PORT);
        let with_home = || [text, b"\nnameserver 127.0.0.1\n"].concat();
        let Ok((config, options)) =
            parse_resolv_conf(text).or_else(|_| parse_resolv_conf(with_home()))
        else {
            return Self::own(&[home]);
        };
        let servers = config.name_servers().iter().map(|server| SocketAddr::new(server.ip, PORT));
        Self { servers: servers.collect(), search: search(&config), dots: options.ndots }
    }
}

/// The domain of the machine counts where no list is given.
fn search(config: &ResolverConfig) -> Vec<Name> {
    match config.search() {
        [] => config.domain().cloned().into_iter().collect(),
        list => list.to_vec(),
    }
}

/// Names that the machine knows without asking anybody.
pub(super) fn hosts() -> Hosts {
    if !Path::new(HOSTS).exists() {
        return Hosts::default();
    }
    Hosts::from_system().unwrap_or_default()
}

/// The addresses of a name that the hosts file has.
pub(super) fn listed(hosts: &Hosts, name: &Name) -> Vec<IpAddr> {
    let of = |kind| hosts.lookup_static_host(&Query::query(name.clone(), kind));
    let found = [RecordType::A, RecordType::AAAA].into_iter().filter_map(of);
    let addresses = found.flat_map(|lookup| {
        let all = lookup.answers().iter().filter_map(|record| record.data.ip_addr());
        all.map(|ip| ip.to_canonical()).collect::<Vec<_>>()
    });
    addresses.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_systems_file_is_taken_at_its_word() {
        let text = b"search a.example b.example\nnameserver 192.0.2.1\nnameserver 2001:db8::1\n\
                     options ndots:3\n";
        let advice = Advice::read(text);
        assert_eq!(
            advice.servers,
            ["192.0.2.1:53", "[2001:db8::1]:53"].map(|it| it.parse().unwrap())
        );
        assert_eq!(
            advice.search.iter().map(ToString::to_string).collect::<Vec<_>>(),
            ["a.example", "b.example"]
        );
        assert_eq!(advice.dots, 3);
    }

    #[test]
    fn a_file_without_a_server_means_this_machine() {
        for text in ["", "search a.example", "nameserver nonsense", "\0\u{1}"] {
            assert_eq!(Advice::read(text.as_bytes()).servers, ["127.0.0.1:53".parse().unwrap()]);
        }
        assert_eq!(Advice::read(b"search a.example").search.len(), 1);
    }

    #[test]
    fn the_hosts_file_has_both_kinds_of_addresses() {
        let mut hosts = Hosts::default();
        let text = "192.0.2.7 db.example db\n2001:db8::7 db.example\n";
        hosts.read_hosts_conf(text.as_bytes()).unwrap();
        let of = |name: &str| listed(&hosts, &Name::from_ascii(name).unwrap());
        assert_eq!(of("DB.example").len(), 2);
        assert_eq!(of("db"), ["192.0.2.7".parse::<IpAddr>().unwrap()]);
        assert!(of("example").is_empty());
    }
}
