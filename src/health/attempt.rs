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
    pub(super) ending: Ending,
}

impl Course {
    pub(super) fn new(
        spec: &config::Pool,
        member: &config::Member,
        prober: Option<Arc<Prober>>,
        resolver: &Resolver,
    ) -> Self {
        let name = match &member.address {
            BackendAddr::Ip(_) => None,
            BackendAddr::Host(host, _) => Some(Lookup::new(resolver, Arc::clone(host))),
        };
        let elsewhere = spec.health.address.as_deref().map(|host| Elsewhere::of(resolver, host));
        Self {
            port: member.address.port(),
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
        let address = match (known, &self.name) {
            (Some(address), _) => address,
            (None, Some(name)) => match self.find(name, None).await {
                Ok(ip) => SocketAddr::new(ip, self.port),
                Err(why) => return Turn { address: None, ending: Ending::Unresolved(why) },
            },
            (None, None) => return Turn { address: None, ending: Ending::Unprobed },
        };
        let Some(prober) = &self.prober else {
            return Turn { address: Some(address), ending: Ending::Unprobed };
        };
        let started = Instant::now();
        let said = self.probe(prober, address).await;
        Turn { address: Some(address), ending: Ending::Probed { said, took: started.elapsed() } }
    }

    async fn probe(&self, prober: &Prober, address: SocketAddr) -> Result<Answer, Miss> {
        let ip = match &self.elsewhere {
            None => address.ip(),
            Some(Elsewhere::Ip(ip)) => *ip,
            Some(Elsewhere::Name(name)) => self
                .find(name, None)
                .await
                .map_err(|why| Miss::Failed(format!("health.address {why}")))?,
        };
        let address = SocketAddr::new(ip, self.probe_port.unwrap_or(self.port));
        let fitting = |source: &&IpAddr| source.is_ipv4() == address.is_ipv4();
        let source = self.sources.iter().find(fitting).copied();
        prober.ask(Peer { address, source, header: self.header }, self.limit).await
    }

    /// Where a backend that fails has moved to; where it was if that still holds or nobody knows.
    pub(super) async fn follow(&self, known: SocketAddr) -> Turn {
        let found = match &self.name {
            Some(name) => self.find(name, Some(known.ip())).await.ok(),
            None => None,
        };
        let address = found.map_or(known, |ip| SocketAddr::new(ip, self.port));
        Turn { address: Some(address), ending: Ending::Followed }
    }

    async fn find(&self, name: &Lookup, present: Option<IpAddr>) -> Result<IpAddr, String> {
        let late = |_| Err(io::Error::from(io::ErrorKind::TimedOut));
        let found = timeout(self.limit, name.addresses()).await.unwrap_or_else(late);
        let found = found.map(|found| prefer(&found.addresses, present));
        let unknown = |why: String| format!("{:?} has no address: {why}", name.host());
        match found {
            Ok(Some(ip)) => Ok(ip),
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
