//! Which pools carry connections, and which carry datagrams: what a probe is by default, and how
//! it asks, follows from the listeners that a pool works for.

use super::listener;
use super::read::Section;
use super::tree::Kind;
use super::{Config, Listener, Protocol};

/// What the listeners bring to one pool, themselves or by way of fallbacks.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Carried {
    pub(super) tcp: bool,
    pub(super) udp: bool,
    pub(super) http: bool,
}

impl Carried {
    pub(super) fn nothing(self) -> bool {
        !self.tcp && !self.udp && !self.http
    }

    pub(super) fn only_datagrams(self) -> bool {
        self.udp && !self.tcp && !self.http
    }

    /// How a probe that can go either way goes.
    pub(super) fn over(self) -> Protocol {
        if self.udp { Protocol::Udp } else { Protocol::Tcp }
    }

    fn has(self, protocol: Protocol) -> bool {
        match protocol {
            Protocol::Tcp => self.tcp,
            Protocol::Udp => self.udp,
            Protocol::Http => self.http,
        }
    }

    fn take(&mut self, protocol: Protocol) {
        match protocol {
            Protocol::Tcp => self.tcp = true,
            Protocol::Udp => self.udp = true,
            Protocol::Http => self.http = true,
        }
    }
}

/// One for each pool, in their order.
pub(super) fn of_all(
    pools: &[(&str, Section<'_>)],
    names: &[&str],
    listeners: &[listener::Read],
) -> Vec<Carried> {
    let mut all = vec![Carried::default(); pools.len()];
    let starts = listeners.iter().flat_map(|read| {
        let protocol = read.listener.protocol;
        read.listener.pools().map(move |pool| (protocol, pool))
    });
    for (protocol, start) in starts {
        let mut at = Some(start);
        while let Some(index) = at {
            match all.get_mut(index) {
                Some(carried) if !carried.has(protocol) => carried.take(protocol),
                _ => break,
            }
            at = pools.get(index).and_then(|(_, section)| fallback(section, names));
        }
    }
    all
}

/// One for each pool, in their order: whether http listeners use it.
pub(super) fn by_http(config: &Config) -> Vec<bool> {
    let mut all = vec![false; config.pools.len()];
    let http = config.listeners.iter().filter(|listener| listener.protocol == Protocol::Http);
    for start in http.flat_map(Listener::pools) {
        let mut at = Some(start);
        while let Some(index) = at {
            match all.get_mut(index) {
                Some(by_http) if !*by_http => *by_http = true,
                _ => break,
            }
            at = config.pools.get(index).and_then(|pool| pool.fallback);
        }
    }
    all
}

/// Whatever is wrong with it is said where the pool is read.
fn fallback(section: &Section<'_>, names: &[&str]) -> Option<usize> {
    let value = section.value("fallback")?;
    let Kind::Text(name) = &value.node.kind else { return None };
    names.iter().position(|other| other == name)
}
