//! Automatic certificates (RFC 8555): asked for, proven, stored, shown, renewed.
//!
//! One task for each `acme` table; listeners with equal tables share it. It never stands in the way
//! of a handshake: those load what is in the listener's slot.

mod account;
mod client;
mod failure;
mod http01;
mod keeper;
mod order;
mod place;
mod proof;
mod report;
mod schedule;

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::Arc;

use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;

use crate::config::{Acme, Challenge};
use crate::event::Events;
use crate::metric::Counter;
use crate::net::{BindError, Lookup, Resolver};
use crate::tls::{Certificates, Challenges};
use http01::Booth;
use keeper::Keeper;
use proof::Proofs;

/// Orders of one listener's certificate, by what came of them.
#[derive(Debug, Default)]
pub struct Orders {
    /// A certificate came.
    pub ok: Counter,
    /// None came.
    pub failed: Counter,
}

/// A listener that shows the certificate.
#[derive(Debug, Clone)]
pub struct Holder {
    /// Its name.
    pub listener: Arc<str>,
    /// Its certificates.
    pub certificates: Arc<Certificates>,
    /// The one that is kept fresh.
    pub slot: usize,
    /// Its counters.
    pub orders: Arc<Orders>,
}

/// Why nothing can be kept.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// An address for http-01 cannot be had.
    #[error("acme.http_bind: {0}")]
    Bind(#[from] BindError),
    /// A directory that cannot be asked.
    #[error("listener.{listener}.tls.acme.directory = \"{directory}\" is no https address")]
    Directory {
        /// Whose.
        listener: Arc<str>,
        /// What the file says.
        directory: String,
    },
    /// Two tables would write one file.
    #[error(
        "listener.{one}.tls.acme and listener.{other}.tls.acme keep the certificate for {domain} \
         in the same place and differ otherwise; make them equal, or give each its own `storage`"
    )]
    Clash {
        /// One listener.
        one: Arc<str>,
        /// The other.
        other: Arc<str>,
        /// The first name of both.
        domain: String,
    },
}

/// Keepers that have not begun.
#[derive(Debug, Default)]
pub struct Keepers {
    keepers: Vec<(Keeper, Arc<Lookup>)>,
    booths: Vec<Booth>,
    challenges: Arc<Challenges>,
}

impl Keepers {
    /// One for each table among those of the listeners; their proofs go to `challenges`. Binds the
    /// addresses for http-01, which do not listen yet, but for those where a listener `answers`.
    ///
    /// # Errors
    /// See [`Error`].
    pub fn bind(
        holders: Vec<(Acme, Holder)>,
        challenges: Arc<Challenges>,
        resolver: &Resolver,
        answers: impl Fn(SocketAddr) -> bool,
    ) -> Result<Self, Error> {
        let tables = gather(holders)?;
        let mut addresses = BTreeSet::new();
        for (table, _) in &tables {
            if let Challenge::Http01(wanted) = &table.challenge {
                addresses.extend(wanted.iter().copied().filter(|at| !answers(*at)));
            }
        }
        let booths = booths(&addresses)?;
        let proofs = Proofs(Arc::clone(&challenges));
        let turn = Arc::new(Semaphore::new(1));
        let keeper = |(table, holders): (Acme, Vec<Holder>)| {
            let listener = holders.first().map(|holder| Arc::clone(&holder.listener));
            let authority = order::authority(&table.directory).map_err(|_| Error::Directory {
                listener: listener.unwrap_or_else(|| "".into()),
                directory: table.directory.clone(),
            })?;
            let keeper = Keeper::new(table, holders, proofs.clone(), Arc::clone(&turn));
            Ok((keeper, Arc::new(Lookup::new(resolver, authority.into()))))
        };
        let keepers = tables.into_iter().map(keeper).collect::<Result<_, Error>>()?;
        Ok(Self { keepers, booths, challenges })
    }

    /// Shows what is stored. Reads files.
    pub fn load(&mut self) {
        self.keepers.iter_mut().for_each(|(keeper, _)| keeper.load());
    }

    /// Begins to ask. The listeners must accept by now: an authority may come to them at once.
    /// Must be called inside a runtime, on which all of it stays.
    ///
    /// # Errors
    /// An address for http-01 has become somebody else's.
    pub fn start(self, events: &Events) -> Result<Running, BindError> {
        let mut tasks = JoinSet::new();
        for booth in self.booths {
            tasks.spawn(booth.open()?.serve(Arc::clone(&self.challenges)));
        }
        let (stop, stopping) = watch::channel(false);
        for (keeper, lookup) in self.keepers {
            tasks.spawn(keeper.run(lookup, events.clone(), stopping.clone()));
        }
        Ok(Running { tasks, stop })
    }
}

fn booths(addresses: &BTreeSet<SocketAddr>) -> Result<Vec<Booth>, BindError> {
    let mut booths = Vec::new();
    for address in addresses {
        match Booth::bind(*address) {
            Ok(booth) => booths.push(booth),
            // By default both kinds of address are bound, and this kernel knows but one.
            Err(error) if error.is_foreign_family() && address.ip().is_unspecified() => {
                tracing::info!(%address, "no IPv6 here: nobody is answered at this address");
            }
            Err(error) => return Err(error),
        }
    }
    Ok(booths)
}

/// Keepers at work. Dropping it ends them, and an order with them.
#[derive(Debug)]
pub struct Running {
    tasks: JoinSet<()>,
    stop: watch::Sender<bool>,
}

impl Running {
    /// Nothing new is ordered from now on; an order that has begun may come to its end.
    pub fn stop(&self) {
        self.stop.send_replace(true);
    }

    /// Ends them, and an order with them; returns when their addresses are free.
    pub async fn end(mut self) {
        self.tasks.shutdown().await;
    }
}

/// The tables that differ, each with those who hold its certificate.
fn gather(holders: Vec<(Acme, Holder)>) -> Result<Vec<(Acme, Vec<Holder>)>, Error> {
    let mut tables: Vec<(Acme, Vec<Holder>)> = Vec::new();
    for (table, holder) in holders {
        if let Some((_, same)) = tables.iter_mut().find(|(known, _)| *known == table) {
            same.push(holder);
            continue;
        }
        let at = |table: &Acme| {
            (table.storage.clone(), table.directory.clone(), table.domains.first().cloned())
        };
        if let Some((_, others)) = tables.iter().find(|(known, _)| at(known) == at(&table)) {
            let one = others.first().map_or_else(|| "".into(), |other| Arc::clone(&other.listener));
            let domain = table.domains.first().cloned().unwrap_or_default();
            return Err(Error::Clash { one, other: holder.listener, domain });
        }
        tables.push((table, vec![holder]));
    }
    Ok(tables)
}

/// Runs what waits for the disk where it holds up nobody.
async fn on_disk<T: Send + 'static>(
    act: impl FnOnce() -> Result<T, place::Error> + Send + 'static,
) -> Result<T, failure::Failure> {
    match tokio::task::spawn_blocking(act).await {
        Ok(done) => Ok(done?),
        Err(error) => Err(failure::Failure::Answer(error.to_string())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tls::self_signed;

    fn table(domain: &str, storage: &str) -> Acme {
        Acme {
            domains: vec![domain.to_owned()],
            contact: Vec::new(),
            directory: "https://acme.test/dir".to_owned(),
            directory_ca: None,
            challenge: Challenge::TlsAlpn01,
            storage: storage.into(),
        }
    }

    fn holder(listener: &str) -> Holder {
        let shown = self_signed(&["a.test".to_owned()]).unwrap();
        let certificates = Arc::new(Certificates::new(vec![shown]));
        Holder { listener: listener.into(), certificates, slot: 0, orders: Arc::default() }
    }

    #[test]
    fn equal_tables_share_a_keeper_and_those_that_clash_are_named() {
        let all = |tables: [Acme; 3]| {
            let names = ["one", "two", "three"].map(holder);
            gather(tables.into_iter().zip(names).collect())
        };
        let (a, b) = (table("a.test", "/acme"), table("b.test", "/acme"));
        let found = all([a.clone(), b.clone(), a.clone()]).unwrap();
        let held: Vec<_> = found.iter().map(|(_, holders)| holders.len()).collect();
        assert_eq!(held, [2, 1]);

        let more = Acme { domains: vec!["a.test".to_owned(), "b.test".to_owned()], ..a.clone() };
        let said = all([a.clone(), b.clone(), more.clone()]).unwrap_err().to_string();
        assert!(
            said.starts_with("listener.one.tls.acme and listener.three.tls.acme keep"),
            "{said}"
        );
        let elsewhere = Acme { storage: "/other".into(), ..more };
        assert_eq!(all([a, b, elsewhere]).unwrap().len(), 3);
    }

    #[test]
    fn an_address_for_http_01_is_bound_once_and_refused_by_name() {
        let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let at = |address| Acme {
            challenge: Challenge::Http01(vec![address]),
            ..table("a.test", "/acme")
        };
        let address = taken.local_addr().unwrap();
        let taken_by_us = |it: SocketAddr| it == address;
        let bound = |answers: &dyn Fn(SocketAddr) -> bool| {
            Keepers::bind(
                vec![(at(address), holder("l"))],
                Arc::default(),
                &Resolver::default(),
                answers,
            )
        };
        assert_eq!(bound(&taken_by_us).unwrap().booths.len(), 0);
        let refused = bound(&|_| false);
        let said = refused.unwrap_err().to_string();
        assert!(said.contains(&format!("http_bind: cannot listen on {address}: ")), "{said}");
        let free = SocketAddr::from(([127, 0, 0, 1], 0));
        let other = Acme { storage: "/other".into(), ..at(free) };
        let both = vec![(at(free), holder("l")), (other, holder("m"))];
        let keepers = Keepers::bind(both, Arc::default(), &Resolver::default(), |_| false).unwrap();
        assert_eq!((keepers.keepers.len(), keepers.booths.len()), (2, 1));
    }
}
