//! One turn of a member: its address if it has a name, then the probe.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, timeout};

use crate::addr::BackendAddr;
use crate::config::{self, ProxyVersion};
use crate::health::probe::{Answer, Miss, Peer, Prober};
use crate::net::{Lookup, Resolver};

/// What stays the same from turn to turn of one member.
#[derive(Debug)]
pub(super) struct Course {
    /// The backend's port.
    port: u16,
    /// For a backend without a name.
    fixed: Option<SocketAddr>,
    /// For a backend with a name.
    name: Option<Lookup>,
    /// For a probe that goes elsewhere.
    elsewhere: Option<Elsewhere>,
    probe_port: Option<u16>,
    /// `None`: the address is all that matters.
    prober: Option<Arc<Prober>>,
    sources: Vec<IpAddr>,
    header: Option<ProxyVersion>,
    /// Bound of the lookup, and of the probe.
    limit: Duration,
}

#[derive(Debug)]
enum Elsewhere {
    Ip(IpAddr),
    Name(Lookup),
}

impl Elsewhere {
    /// Takes an address, an IPv6 one also in brackets, or else a name.
    fn of(resolver: &Resolver, host: &str) -> Self {
        let bare = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(host);
        match bare.parse() {
            Ok(ip) => Self::Ip(ip),
            Err(_) => Self::Name(Lookup::new(resolver, host.into())),
        }
    }
}

/// How a turn ended.
#[derive(Debug)]
pub(super) enum Ending {
    /// The name has no address.
    Unresolved(String),
    /// There is an address, and nothing else is asked.
    Unprobed,
    /// Only the name was looked up again.
    Followed,
    /// The probe was sent, or should have been.
    Probed {
        /// What it said.
        said: Result<Answer, Miss>,
        /// How long it took.
        took: Duration,
    },
}

/// What a turn found out.
#[derive(Debug)]
pub(super) struct Turn {
    /// Where the backend is, unless nobody knows.
    pub(super) address: Option<SocketAddr>,
    /// How long that holds, if its name was looked up.
    pub(super) holds: Option<Duration>,
    pub(super) ending: Ending,
}

impl Course {
    pub(super) fn new(
        spec: &config::Pool,
        member: &config::Member,
        prober: Option<Arc<Prober>>,
        resolver: &Resolver,
    ) -> Self {
        let (fixed, name) = match &member.address {
            BackendAddr::Ip(address) => (Some(*address), None),
            BackendAddr::Host(host, _) => (None, Some(Lookup::new(resolver, Arc::clone(host)))),
        };
        let elsewhere = spec.health.address.as_deref().map(|host| Elsewhere::of(resolver, host));
        Self {
            port: member.address.port(),
            fixed,
            name,
            elsewhere,
            probe_port: spec.health.port,
            prober,
            sources: spec.source.clone(),
            header: spec.send_proxy_protocol,
            limit: spec.health.timeout,
        }
    }

    /// True if the backend's address must be looked up.
    pub(super) fn is_named(&self) -> bool {
        self.name.is_some()
    }

    /// True if a turn may last longer than one `timeout`, because it waits for a resolver too.
    pub(super) fn may_look_up(&self) -> bool {
        self.is_named() || matches!(self.elsewhere, Some(Elsewhere::Name(_)))
    }

    /// True if there is more to a turn than the address.
    pub(super) fn is_probed(&self) -> bool {
        self.prober.is_some()
    }

    /// Goes through one turn; `known` is where the backend was last.
    pub(super) async fn run(&self, known: Option<SocketAddr>) -> Turn {
        let (address, holds) = match (known, self.fixed, &self.name) {
            (Some(address), ..) | (None, Some(address), _) => (address, None),
            (None, None, Some(name)) => match self.find(name, None).await {
                Ok((ip, holds)) => (SocketAddr::new(ip, self.port), Some(holds)),
                Err(why) => {
                    return Turn { address: None, holds: None, ending: Ending::Unresolved(why) };
                }
            },
            (None, None, None) => {
                return Turn { address: None, holds: None, ending: Ending::Unprobed };
            }
        };
        let Some(prober) = &self.prober else {
            return Turn { address: Some(address), holds, ending: Ending::Unprobed };
        };
        let started = Instant::now();
        let said = self.probe(prober, address).await;
        let ending = Ending::Probed { said, took: started.elapsed() };
        Turn { address: Some(address), holds, ending }
    }

    async fn probe(&self, prober: &Prober, address: SocketAddr) -> Result<Answer, Miss> {
        let ip = match &self.elsewhere {
            None => address.ip(),
            Some(Elsewhere::Ip(ip)) => *ip,
            Some(Elsewhere::Name(name)) => {
                self.find(name, None)
                    .await
                    .map_err(|why| Miss::Failed(format!("health.address {why}")))?
                    .0
            }
        };
        let address = SocketAddr::new(ip, self.probe_port.unwrap_or(self.port));
        let fitting = |source: &&IpAddr| source.is_ipv4() == address.is_ipv4();
        let source = self.sources.iter().find(fitting).copied();
        prober.ask(Peer { address, source, header: self.header }, self.limit).await
    }

    /// Where the backend is now: where it was, if that still holds or nobody knows. While it `is_up`
    /// there, another address has to answer a probe first.
    pub(super) async fn follow(&self, known: SocketAddr, is_up: bool) -> Turn {
        let stay = Turn { address: Some(known), holds: None, ending: Ending::Followed };
        let Some(name) = &self.name else { return stay };
        let Ok((ip, holds)) = self.find(name, Some(known.ip())).await else { return stay };
        let address = SocketAddr::new(ip, self.port);
        if let Some(prober) = self.prober.as_ref().filter(|_| is_up && address != known)
            && self.probe(prober, address).await.is_err()
        {
            return stay;
        }
        Turn { address: Some(address), holds: Some(holds), ending: Ending::Followed }
    }

    /// The address of a name, and for how long it is.
    async fn find(
        &self,
        name: &Lookup,
        present: Option<IpAddr>,
    ) -> Result<(IpAddr, Duration), String> {
        let late = |_| Err(io::Error::from(io::ErrorKind::TimedOut));
        let found = timeout(self.limit, name.addresses()).await.unwrap_or_else(late);
        let found = found.map(|found| Some((prefer(&found.addresses, present)?, found.holds)));
        let unknown = |why: String| format!("{:?} has no address: {why}", name.host());
        match found {
            Ok(Some(found)) => Ok(found),
            Ok(None) => Err(unknown("the answer is empty".to_owned())),
            Err(error) if error.kind() == io::ErrorKind::TimedOut => {
                Err(unknown(format!("no answer within {:?}", self.limit)))
            }
            Err(error) => Err(unknown(error.to_string())),
        }
    }
}

/// The address that is in use if it still holds, else the first IPv4, else the first: a resolver
/// that shuffles its answers must not make a backend wander.
fn prefer(found: &[IpAddr], present: Option<IpAddr>) -> Option<IpAddr> {
    let kept = present.filter(|ip| found.contains(ip));
    kept.or_else(|| found.iter().find(|ip| ip.is_ipv4()).or_else(|| found.first()).copied())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_that_still_holds_is_kept_and_ipv4_comes_first() {
        let found: Vec<IpAddr> =
            ["::1", "10.0.0.2", "10.0.0.1"].map(|ip| ip.parse().unwrap()).into();
        assert_eq!(prefer(&found, None), Some(found[1]));
        assert_eq!(prefer(&found, Some(found[2])), Some(found[2]));
        assert_eq!(prefer(&found, Some("10.0.0.9".parse().unwrap())), Some(found[1]));
        assert_eq!(prefer(&found[..1], None), Some(found[0]));
        assert_eq!(prefer(&[], None), None);
    }
}
