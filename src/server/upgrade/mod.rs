//! An upgrade from the side of the process that serves: all that it takes to stop without ending
//! anything, and to go on if nobody takes over.

pub(in crate::server) mod farewell;
mod handover;
mod retreat;
mod takeover;

use std::collections::BTreeMap;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::sync::oneshot;

use crate::api;
use crate::event::{Event, Subject};
use crate::listener::{Gate, Order, Post};
use crate::server::{Ledger, Server};
use crate::udp;
pub use handover::{AdminSocket, Known, Legacy, Line, Predecessor, Suspended};
use handover::{BATCH, Estate, Failed, Home, Message, Successor, Whose};
pub use retreat::Retreat;
pub use takeover::Taken;

/// How long a new process may take to get ready, besides what its first probes may take.
const READY: Duration = Duration::from_secs(60);
/// How long it may take to open what it was handed, while clients wait.
const OPENING: Duration = Duration::from_secs(10);
/// Figures or entries that one message carries at most.
const PART: usize = 1000;

/// A new process that serves, and what this one had counted by then.
#[derive(Debug)]
pub(in crate::server) struct Succeeded {
    pub(in crate::server) successor: Successor,
    pub(in crate::server) upgraded: api::Upgraded,
    /// What it was told.
    pub(in crate::server) told: Ledger,
}

impl Server {
    /// Has a new process take over. When this fails, or is dropped, this process serves on; what is
    /// paused then has to be opened: see [`Server::resume`].
    ///
    /// # Errors
    /// It does not get ready, in words.
    pub(in crate::server) async fn hand_over(
        &self,
        admin: Option<AdminSocket>,
    ) -> Result<Succeeded, Failed> {
        let estate = self.estate(admin).await.map_err(Failed::Short)?;
        let mut successor = Successor::start()?;
        tracing::info!(pid = successor.pid(), "upgrade: a new process gets ready");
        match self.pass_on(&mut successor, &estate).await {
            Ok((version, told)) => {
                successor.release();
                let (pid, sessions) = (successor.pid(), self.handle.sessions());
                let upgraded = api::Upgraded { pid, version, sessions };
                Ok(Succeeded { successor, upgraded, told })
            }
            Err(why) => {
                successor.give_up().await;
                Err(why)
            }
        }
    }

    async fn pass_on(
        &self,
        successor: &mut Successor,
        estate: &Estate,
    ) -> Result<(String, Ledger), Failed> {
        let version = successor.prepare(estate, self.limit()).await?;
        // From here on clients wait in the queues of the sockets, which both processes have: not for
        // long, also if the new one stands still.
        self.turn(Gate::Open, Gate::Paused).await;
        let change = tokio::time::timeout(OPENING, self.change_over(successor)).await;
        Ok((version, change.unwrap_or(Err(Failed::Late(OPENING)))?))
    }

    async fn change_over(&self, successor: &mut Successor) -> Result<Ledger, Failed> {
        let told = self.pass_on_the_rest(successor).await?;
        match successor.answer().await? {
            Message::Serving { left } => self.end_flows(left).await,
            other => return Err(Failed::unexpected(&other)),
        }
        Ok(told)
    }

    /// How long it may take to get ready.
    fn limit(&self) -> Duration {
        let config = &self.handle.snapshot().config;
        let probes = config.pools.iter().map(|pool| pool.health.timeout).max();
        READY + probes.unwrap_or_default()
    }

    /// Tells those who watch how an upgrade went.
    pub(in crate::server) fn tell_of_upgrade(&self, from: String, to: String, reason: String) {
        let (time, subject) = (SystemTime::now(), Subject::Upgrade);
        let event = Event { time, subject, from: from.into(), to: to.into(), reason };
        self.handle.events.publish(event);
    }

    /// Opens again what was paused for an upgrade that did not come about.
    pub(in crate::server) async fn resume(&self) {
        self.turn(Gate::Paused, Gate::Open).await;
    }

    /// Turns the gates that stand at `from`.
    pub(in crate::server) async fn turn(&self, from: Gate, to: Gate) {
        let turned = self.held.iter().filter(|held| held.post.gate() == from);
        if turned.map(|held| held.post.turn(to)).count() > 0 {
            self.heed().await;
        }
    }

    /// What the new process begins with.
    async fn estate(&self, admin: Option<AdminSocket>) -> io::Result<Estate> {
        let mut estate = Estate::default();
        for held in self.held.iter().filter(|held| held.post.gate() == Gate::Open) {
            let (name, address) = (Some(held.listener.to_string()), held.post.address());
            let of = Whose::Listener { name, is_datagram: held.is_datagram, address };
            let fds = held.fds.iter().map(OwnedFd::try_clone).collect::<io::Result<Vec<_>>>()?;
            estate.sockets.push((of, fds));
        }
        if let Some(AdminSocket { address, fd }) = admin {
            estate.sockets.push((Whose::Admin(address), vec![fd]));
        }
        estate.known = self.monitors.known().await;
        Ok(estate)
    }

    /// All that may not change any more while the new process reads it.
    async fn pass_on_the_rest(&self, successor: &mut Successor) -> Result<Ledger, Failed> {
        self.pass_on_flows(successor).await?;
        self.pass_on_homes(successor).await?;
        // After the flows: what they have moved is in it.
        let told = self.handle.ledger();
        for figures in told.clone().into_parts(PART) {
            successor.say(&Message::Counted { figures }, &[]).await?;
        }
        successor.say(&Message::Serve, &[]).await?;
        Ok(told)
    }

    async fn pass_on_flows(&self, successor: &mut Successor) -> Result<(), Failed> {
        let sockets: Vec<u64> =
            self.paused_datagrams().flat_map(|held| held.datagram_inodes()).collect();
        for worker in &self.workers {
            for socket in worker.datagram_sockets().await {
                if !sockets.contains(&socket) {
                    continue;
                }
                let mut from = Some(0);
                while let Some(place) = from {
                    let ask = |reply| udp::Request::Export(place, BATCH, reply);
                    let Some(exported) = asked(worker.ask(socket, ask)).await else { break };
                    from = exported.next;
                    if exported.short > 0 {
                        let short = exported.short;
                        tracing::warn!(flows = short, "upgrade: no descriptors for some flows");
                    }
                    let fds: Vec<_> = exported.flows.iter().map(|(_, _, fd)| fd.as_fd()).collect();
                    let flows =
                        exported.flows.iter().map(|(place, flow, _)| (*place, flow.clone()));
                    let flows = flows.collect();
                    successor.say(&Message::Flows { socket, flows }, &fds).await?;
                }
            }
        }
        Ok(())
    }

    async fn pass_on_homes(&self, successor: &mut Successor) -> Result<(), Failed> {
        for pool in &self.handle.snapshot().pools {
            let Some(sticky) = pool.sticky() else { continue };
            let homes = sticky.remembered(self.handle.clock());
            let homes = homes.into_iter().map(|(client, backend, age)| {
                let backend = backend.to_string();
                Home { client, backend, age }
            });
            let homes: Vec<Home> = homes.collect();
            for part in homes.chunks(PART) {
                let (pool, homes) = (pool.name().to_string(), part.to_vec());
                successor.say(&Message::Sticky { pool, homes }, &[]).await?;
            }
        }
        Ok(())
    }

    fn paused_datagrams(&self) -> impl Iterator<Item = &crate::server::sockets::Held> {
        self.held.iter().filter(|held| held.is_datagram && held.post.gate() == Gate::Paused)
    }

    /// Ends the flows that the new process could not take: their backends are gone from its file.
    async fn end_flows(&self, left: Vec<(u64, Vec<usize>)>) {
        for (socket, places) in left {
            for worker in &self.workers {
                let ask = |reply| udp::Request::End(places.clone(), reply);
                asked(worker.ask(socket, ask)).await;
            }
        }
    }

    /// Takes flows from the process before; the addresses are paused. Gives the places of those that
    /// it cannot take, by their sockets.
    pub(in crate::server) async fn take_flows(
        &self,
        flows: Vec<(u64, udp::Import)>,
    ) -> Vec<(u64, Vec<usize>)> {
        let mut served = BTreeMap::new();
        for worker in &self.workers {
            let sockets = worker.datagram_sockets().await;
            served.extend(sockets.into_iter().map(|socket| (socket, worker)));
        }
        let mut left = Vec::new();
        for (socket, flows) in flows {
            let places: Vec<usize> = flows.iter().map(|(place, _, _)| *place).collect();
            let refused = match served.get(&socket) {
                Some(worker) => {
                    asked(worker.ask(socket, |reply| udp::Request::Import(flows, reply))).await
                }
                None => None,
            };
            // Without an answer nobody has them.
            let refused = refused.unwrap_or(places);
            if !refused.is_empty() {
                left.push((socket, refused));
            }
        }
        left
    }

    /// Goes by what the process before remembered.
    pub(in crate::server) fn recall(&self, homes: Vec<(String, Vec<Home>)>) {
        let snapshot = self.handle.snapshot();
        for (pool, homes) in homes {
            let pool = snapshot.pools.iter().find(|known| **known.name() == *pool);
            let Some(sticky) = pool.and_then(|pool| pool.sticky()) else { continue };
            for Home { client, backend, age } in homes {
                sticky.recall(client, Arc::from(backend), self.handle.clock(), age);
            }
        }
    }

    /// The addresses belong to another process: closes them here, and has clients that are kept told
    /// with their next answer to come again. Gives those addresses.
    pub(in crate::server) async fn leave(&mut self) -> Vec<Arc<Post>> {
        let mut left: Vec<Arc<Post>> = self.held.drain(..).map(|held| held.post).collect();
        // Those that a reload has closed go on until their last flow has ended.
        left.retain(|post| post.gate() == Gate::Paused);
        left.iter().for_each(|post| post.turn(Gate::Left));
        self.heed().await;
        self.automation.stop();
        self.tell_all(|| Order::Close).await;
        left
    }

    /// At a stop: nobody is waited for who does not say anything.
    pub(in crate::server) async fn hush(&self, left: &[Arc<Post>]) {
        left.iter().for_each(|post| post.turn(Gate::Closed));
        self.tell_all(|| Order::Close).await;
    }
}

/// What a forwarder says; `None` if it is gone.
async fn asked<T>(reply: impl Future<Output = oneshot::Receiver<T>>) -> Option<T> {
    let reply = reply.await;
    tokio::time::timeout(OPENING, reply).await.ok()?.ok()
}
