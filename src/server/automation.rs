//! Automatic certificates of the listeners: who keeps them, and who shows them.

use std::net::SocketAddr;
use std::sync::Arc;

use crate::acme::{self, Holder, Keepers, Orders};
use crate::config::{Acme, Config, Listener};
use crate::event::Events;
use crate::server::StartError;
use crate::server::world::World;

/// Counters of the listeners that have an `acme` table, by name.
pub(super) type Counted = Vec<(Arc<str>, Arc<Orders>)>;

/// The listeners that show such certificates, with the tables that ask for them.
#[derive(Debug, Default)]
pub(super) struct Wanted {
    holders: Vec<(Acme, Holder)>,
}

/// Those who keep them.
#[derive(Debug)]
pub(super) struct Automation {
    wanted: Wanted,
    running: Option<acme::Running>,
}

impl Wanted {
    /// What the configuration asks for; who was counted `before` goes on being counted.
    pub(super) fn of(config: &Config, world: &World, before: Option<&Self>) -> Self {
        let holder = |spec: &Listener| {
            let tls = spec.tls.as_ref()?;
            let table = tls.acme.clone()?;
            let (name, inbound) = world.inbound.iter().find(|(name, _)| *name == spec.name)?;
            let known = before.and_then(|before| before.orders(name));
            let holder = Holder {
                listener: Arc::clone(name),
                certificates: Arc::clone(&inbound.certificates),
                // Behind those of the file.
                slot: tls.certificates.len(),
                orders: known.unwrap_or_default(),
            };
            Some((table, holder))
        };
        Self { holders: config.listeners.iter().filter_map(holder).collect() }
    }

    fn orders(&self, listener: &str) -> Option<Arc<Orders>> {
        let known = self.holders.iter().find(|(_, holder)| *holder.listener == *listener);
        known.map(|(_, holder)| Arc::clone(&holder.orders))
    }

    pub(super) fn counted(&self) -> Counted {
        let of =
            |(_, holder): &(_, Holder)| (Arc::clone(&holder.listener), Arc::clone(&holder.orders));
        self.holders.iter().map(of).collect()
    }

    /// True if the same listeners show certificates that the same tables ask for.
    fn is_same(&self, other: &Self) -> bool {
        let is_same = |((table, one), (as_table, as_one)): (&(Acme, Holder), &(Acme, Holder))| {
            let is_shown_alike = Arc::ptr_eq(&one.certificates, &as_one.certificates);
            table == as_table && one.listener == as_one.listener && is_shown_alike
        };
        self.holders.len() == other.holders.len()
            && self.holders.iter().zip(&other.holders).all(is_same)
    }

    /// Binds the addresses that proofs need, but for those where a listener of ours answers.
    pub(super) fn keepers(&self, config: &Config, world: &World) -> Result<Keepers, acme::Error> {
        let answers = |at: SocketAddr| {
            let answers = |spec: &Listener| spec.answers_challenges() && spec.bind.contains(&at);
            // Port 0 is another port each time.
            at.port() != 0 && config.listeners.iter().any(answers)
        };
        let (holders, challenges) = (self.holders.clone(), Arc::clone(&world.challenges));
        Keepers::bind(holders, challenges, &world.resolver, answers)
    }

    /// Says what is wrong with it, as far as that can be said while nothing is bound.
    pub(super) fn check(&self, world: &World) -> Result<(), StartError> {
        let (holders, challenges) = (self.holders.clone(), Arc::clone(&world.challenges));
        Keepers::bind(holders, challenges, &world.resolver, |_| true)?;
        Ok(())
    }
}

impl Automation {
    /// Begins to keep them.
    pub(super) fn start(
        wanted: Wanted,
        keepers: Keepers,
        events: &Events,
    ) -> Result<Self, StartError> {
        let running = keepers.start(events).map_err(acme::Error::from)?;
        Ok(Self { wanted, running: Some(running) })
    }

    /// What is kept.
    pub(super) fn wanted(&self) -> &Wanted {
        &self.wanted
    }

    /// Nothing new is ordered from now on.
    pub(super) fn stop(&self) {
        if let Some(running) = &self.running {
            running.stop();
        }
    }

    /// Keeps what is wanted now. Where nothing differs, an order that is under way goes on.
    pub(super) async fn follow(
        &mut self,
        wanted: Wanted,
        (config, world): (&Config, &World),
        events: &Events,
    ) {
        if self.wanted.is_same(&wanted) && self.running.is_some() {
            return;
        }
        if let Some(running) = self.running.take() {
            running.end().await;
        }
        let started = wanted.keepers(config, world).and_then(|mut keepers| {
            keepers.load();
            Ok(keepers.start(events)?)
        });
        self.wanted = wanted;
        match started {
            Ok(running) => self.running = Some(running),
            Err(error) => tracing::error!(
                %error,
                "certificates are not renewed; mend that and reload: what is shown stays until then"
            ),
        }
    }
}
