//! Looks names up: in the system's hosts file, and then in DNS, over sockets of our own.
//!
//! The system's resolver would block a thread for as long as it likes, and does not say how long an
//! answer holds. Why it is not used stands in `docs/decisions/0035`.

mod server;
mod system;

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use hickory_resolver::Hosts;
use hickory_resolver::proto::rr::{Name, RData, Record, RecordType};
use tokio::time::timeout;

use crate::net::resolver::server::{LONGEST, Server, ask};
use crate::net::resolver::system::{Advice, Stamps, hosts, listed};

/// An answer holds at least so long, whatever it says.
const SHORTEST_HOLD: Duration = Duration::from_secs(1);

/// And at most so long: a slip in a zone must not last for ever.
const LONGEST_HOLD: Duration = Duration::from_secs(24 * 60 * 60);

/// What nobody says a time for (the hosts file, half an answer) holds so long.
const DEFAULT_HOLD: Duration = Duration::from_secs(5);

/// Looks names up. Clones share what they know.
#[derive(Debug, Clone)]
pub struct Resolver {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    /// Asked instead of the system's; empty = the system's.
    own: Vec<SocketAddr>,
    sources: ArcSwap<Sources>,
}

/// Whom to ask, as the system's files say.
#[derive(Debug)]
struct Sources {
    stamps: Stamps,
    hosts: Hosts,
    servers: Vec<Server>,
    search: Vec<Name>,
    dots: usize,
}

/// What is known of a name's addresses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Addresses {
    /// `None`: nobody could say, and there may be some.
    pub(super) v4: Option<Vec<IpAddr>>,
    /// As above.
    pub(super) v6: Option<Vec<IpAddr>>,
    pub(super) holds: Duration,
}

/// An answer to a question for SRV records.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Services {
    /// At least one, in the order of the answer.
    pub services: Vec<Service>,
    /// So long is the answer good.
    pub holds: Duration,
}

/// One SRV record (RFC 2782).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Service {
    /// A host name without a dot at its end.
    pub target: Arc<str>,
    /// Where it listens.
    pub port: u16,
    /// The lowest is tried first.
    pub priority: u16,
    /// Share among those of the same priority.
    pub weight: u16,
}

/// Asks the name servers of the system.
impl Default for Resolver {
    fn default() -> Self {
        Self::new(Vec::new())
    }
}

impl Resolver {
    /// Asks these name servers, or those of the system if there are none. Nothing is asked yet; a
    /// system without name servers is noticed with the first question.
    pub fn new(nameservers: Vec<SocketAddr>) -> Self {
        let sources = ArcSwap::from_pointee(Sources::read(&nameservers, Stamps::now()));
        Self { shared: Arc::new(Shared { own: nameservers, sources }) }
    }

    /// True if it was made for these.
    pub fn asks(&self, nameservers: &[SocketAddr]) -> bool {
        self.shared.own == nameservers
    }

    /// True if both ask the same.
    pub fn is_like(&self, other: &Self) -> bool {
        self.asks(&other.shared.own)
    }

    /// The addresses of a host name. An error is a name that does not exist, or for which nobody
    /// could say anything.
    pub(super) async fn addresses(&self, host: &str) -> io::Result<Addresses> {
        if let Ok(ip) = host.parse::<IpAddr>() {
            return Ok(Addresses::of(vec![ip.to_canonical()], LONGEST_HOLD));
        }
        let (sources, name) = (self.sources(), parse(host)?);
        let known = listed(&sources.hosts, &name);
        if !known.is_empty() {
            return Ok(Addresses::of(known, DEFAULT_HOLD));
        }
        let mut trouble = None;
        let search = async {
            for name in sources.candidates(&name) {
                let (v4, v6) = tokio::join!(
                    ask(&sources.servers, &name, RecordType::A),
                    ask(&sources.servers, &name, RecordType::AAAA),
                );
                let is_found = [&v4, &v6].iter().any(|it| it.as_ref().is_ok_and(|it| has_ip(it)));
                if is_found {
                    return Some(Addresses::answered(v4.ok(), v6.ok()));
                }
                trouble = v4.err().or_else(|| v6.err()).or_else(|| trouble.take());
            }
            None
        };
        let found = timeout(LONGEST, search).await.map_err(|_| late())?;
        found.ok_or_else(|| missing(trouble, "it has no address"))
    }

    /// The SRV records of a name. Must be called inside a tokio runtime.
    ///
    /// # Errors
    /// The name has none, offers nothing (RFC 2782: the target is the root), or nobody could say.
    pub async fn services(&self, name: &str) -> io::Result<Services> {
        let (sources, name) = (self.sources(), parse(name)?);
        let mut trouble = None;
        let search = async {
            for name in sources.candidates(&name) {
                match ask(&sources.servers, &name, RecordType::SRV).await {
                    Ok(records) => {
                        let services: Vec<_> = records.iter().filter_map(service).collect();
                        if !services.is_empty() {
                            return Some(Services { services, holds: hold(&records) });
                        }
                    }
                    Err(why) => trouble = Some(why),
                }
            }
            None
        };
        let found = timeout(LONGEST, search).await.map_err(|_| late())?;
        found.ok_or_else(|| missing(trouble, "it has no SRV record"))
    }

    /// As the system's files say now.
    fn sources(&self) -> Arc<Sources> {
        let (known, now) = (self.shared.sources.load_full(), Stamps::now());
        if known.stamps == now {
            return known;
        }
        let read = Arc::new(Sources::read(&self.shared.own, now));
        self.shared.sources.store(Arc::clone(&read));
        read
    }
}

impl Sources {
    fn read(own: &[SocketAddr], stamps: Stamps) -> Self {
        let advice = if own.is_empty() { Advice::of_system() } else { Advice::own(own) };
        Self {
            stamps,
            hosts: hosts(),
            servers: advice.servers.into_iter().filter_map(Server::new).collect(),
            search: advice.search,
            dots: advice.dots,
        }
    }

    /// The whole names that a name may stand for, likeliest first.
    fn candidates(&self, name: &Name) -> Vec<Name> {
        let mut as_written = name.clone();
        as_written.set_fqdn(true);
        if name.is_fqdn() || name.is_localhost() {
            return vec![as_written];
        }
        let longer = |domain: &Name| {
            let mut whole = name.clone().append_domain(domain).ok()?;
            whole.set_fqdn(true);
            Some(whole)
        };
        let mut all: Vec<Name> = self.search.iter().filter_map(longer).collect();
        let is_long = name.iter().len() > self.dots;
        all.insert(if is_long { 0 } else { all.len() }, as_written);
        all
    }
}

impl Addresses {
    fn of(found: Vec<IpAddr>, holds: Duration) -> Self {
        let (v4, v6) = found.into_iter().partition(IpAddr::is_ipv4);
        Self { v4: Some(v4), v6: Some(v6), holds }
    }

    fn answered(v4: Option<Vec<Record>>, v6: Option<Vec<Record>>) -> Self {
        let whole = [&v4, &v6].iter().all(|half| half.is_some());
        let halves = [&v4, &v6].into_iter().flatten().filter(|half| has_ip(half));
        let holds = halves.map(|half| hold(half)).min().unwrap_or(DEFAULT_HOLD);
        let addresses = |half: Vec<Record>| {
            let all = half.iter().filter_map(|record| record.data.ip_addr());
            all.map(|ip| ip.to_canonical()).collect()
        };
        Self {
            v4: v4.map(addresses),
            v6: v6.map(addresses),
            holds: if whole { holds } else { holds.min(DEFAULT_HOLD) },
        }
    }
}

/// A name as the file writes it; one with a dot at its end is whole.
fn parse(host: &str) -> io::Result<Name> {
    Name::from_ascii(host).map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error))
}

fn has_ip(records: &[Record]) -> bool {
    records.iter().any(|record| record.data.ip_addr().is_some())
}

/// How long an answer holds: aliases on the way count too.
fn hold(records: &[Record]) -> Duration {
    let shortest = records.iter().map(|record| record.ttl).min().unwrap_or_default();
    Duration::from_secs(shortest.into()).clamp(SHORTEST_HOLD, LONGEST_HOLD)
}

fn service(record: &Record) -> Option<Service> {
    let RData::SRV(srv) = &record.data else { return None };
    let target = srv.target.to_ascii();
    let target = target.strip_suffix('.').unwrap_or(&target);
    // The root means that the service is not to be had here.
    (!target.is_empty() && srv.port != 0).then(|| Service {
        target: Arc::from(target.to_ascii_lowercase()),
        port: srv.port,
        priority: srv.priority,
        weight: srv.weight,
    })
}

fn late() -> io::Error {
    io::Error::new(io::ErrorKind::TimedOut, format!("no answer within {LONGEST:?}"))
}

fn missing(trouble: Option<String>, nothing: &'static str) -> io::Error {
    match trouble {
        Some(why) => io::Error::other(why),
        None => io::Error::new(io::ErrorKind::NotFound, nothing),
    }
}

#[cfg(test)]
mod tests;
