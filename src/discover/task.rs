//! The one task that looks up the backends of a pool.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Notify, watch};
use tokio::time::{Instant, sleep_until};

use crate::config::{DiscoverSource, Member};
use crate::discover::file::{Listing, POLL};
use crate::discover::pace::Pace;
use crate::discover::{Figures, Spec, records, source};
use crate::lookout::Debounce;
use crate::net::{Lookup, Resolver};

/// Where is looked, with what that needs.
#[derive(Debug)]
enum Place {
    Addresses(Lookup, u16),
    Services(Resolver, Arc<str>),
    File(Listing),
}

/// Looks up the backends of one pool.
#[derive(Debug)]
pub(super) struct Task {
    spec: Spec,
    place: Place,
    pace: Pace,
    found: watch::Sender<Option<Arc<[Member]>>>,
    answered: watch::Sender<bool>,
    hurry: Arc<Notify>,
    /// The file has changed.
    changed: Arc<Notify>,
    debounce: Debounce,
    figures: Arc<Figures>,
}

impl Task {
    pub(super) fn new(
        spec: Spec,
        found: watch::Sender<Option<Arc<[Member]>>>,
        answered: watch::Sender<bool>,
        hurry: Arc<Notify>,
        figures: Arc<Figures>,
    ) -> Self {
        let changed = Arc::<Notify>::default();
        let place = match &spec.discover.source {
            DiscoverSource::Dns(host, port) => {
                Place::Addresses(Lookup::new(&spec.resolver, Arc::clone(host)), *port)
            }
            DiscoverSource::Srv(name) => Place::Services(spec.resolver.clone(), Arc::clone(name)),
            DiscoverSource::File(path) => {
                let changed = Arc::clone(&changed);
                Place::File(Listing::new(path.clone(), spec.max_sessions, changed))
            }
        };
        let pace = Pace::new(spec.discover.refresh, Instant::now());
        let debounce = Debounce::default();
        Self { spec, place, pace, found, answered, hurry, changed, debounce, figures }
    }

    /// Looks at once, and then whenever there is a reason.
    pub(super) async fn run(mut self) {
        loop {
            let due = self.debounce.due().into_iter().fold(self.pace.due(), Instant::min);
            tokio::select! {
                () = sleep_until(due) => {
                    self.debounce.looked();
                    self.pace.begin(Instant::now());
                    let found = self.look().await;
                    self.take(found);
                    self.answered.send_replace(true);
                }
                () = self.hurry.notified() => self.pace.hurry(),
                () = self.changed.notified() => self.debounce.hear(Instant::now()),
            }
        }
    }

    async fn look(&mut self) -> Result<(Vec<Member>, Duration), String> {
        let cap = self.spec.max_sessions;
        let (members, holds) = match &mut self.place {
            Place::Addresses(lookup, port) => {
                let found = lookup.addresses().await.map_err(|error| error.to_string())?;
                (records::of_addresses(&found.addresses, *port, cap), found.holds)
            }
            Place::Services(resolver, name) => {
                let found = resolver.services(name).await.map_err(|error| error.to_string())?;
                (records::of_services(&found.services, cap), found.holds)
            }
            Place::File(listing) => (listing.look().await?, POLL),
        };
        if members.is_empty() {
            return Err("it names no backend".to_owned());
        }
        Ok((members, holds))
    }

    fn take(&mut self, found: Result<(Vec<Member>, Duration), String>) {
        let had_trouble = self.figures.trouble();
        match found {
            Ok((members, holds)) => {
                self.pace.succeeded(holds, Instant::now());
                self.figures.succeeded();
                if had_trouble.is_some() {
                    self.say_recovered(members.len());
                }
                self.hand_on(members);
            }
            Err(why) => {
                self.pace.failed(Instant::now());
                self.figures.failed(&why);
                let is_file = matches!(self.place, Place::File(_));
                // Name servers have ever new reasons; whoever corrects a file wants to see what is
                // wrong now.
                let is_known = had_trouble.is_some_and(|before| !is_file || *before == *why);
                if !is_known {
                    self.say_failed(&why);
                }
            }
        }
    }

    /// Whoever waits for news hears of changes only.
    fn hand_on(&mut self, members: Vec<Member>) {
        let is_new = self.found.send_if_modified(|known| {
            let is_new = known.as_deref() != Some(&*members);
            if is_new {
                *known = Some(members.into());
            }
            is_new
        });
        if is_new {
            self.pace.changed();
        }
    }

    fn say_failed(&self, why: &str) {
        let (pool, source) = (&self.spec.pool, source(&self.spec.discover.source));
        let known = self.found.borrow().as_ref().map_or(0, |known| known.len());
        tracing::warn!(
            %pool, %source, reason = why, known,
            "backends cannot be looked up: those known before are used on, and it is tried again"
        );
    }

    fn say_recovered(&self, found: usize) {
        let (pool, source) = (&self.spec.pool, source(&self.spec.discover.source));
        tracing::info!(%pool, %source, found, "backends can be looked up again");
    }
}
