//! What a worker is busy with: connections on their way through it, each counted until it has ended.

use std::rc::Rc;
use std::sync::Arc;

use crate::listener::Worker;
use crate::listener::behind::{Behind, Relaying};
use crate::listener::frontend::Permit;
use crate::listener::handshake::{Greeting, greet, lead};
use crate::outcome::Unserved;
use crate::upstream::Client;
use crate::{http, tcp};

/// A connection that is relayed.
pub(super) async fn relay(
    running: Running,
    mut client: Client,
    proxy: Arc<tcp::Proxy>,
    greeting: Option<Greeting>,
) {
    let behind = Relaying { proxy: &proxy, post: running.permit.post() };
    if let Some(way) = running.hear(&mut client, &behind, greeting).await {
        way.route.sessions.increment();
        let served = tcp::serve(&mut client, way, proxy, &running.busy.worker.tools).await;
        if let Err(Unserved::Rejected(why)) = served {
            running.permit.listener().admission.figures.reject(why);
        }
    }
    // Only now does the client see how it ended.
    drop(client);
}

/// A connection that carries requests.
pub(super) async fn converse(
    running: Running,
    mut client: Client,
    proxy: Arc<http::Proxy>,
    greeting: Option<Greeting>,
) {
    if running.hear(&mut client, &*proxy, greeting).await.is_some() {
        let tools = Rc::clone(&running.busy.worker.http);
        let desk = Arc::clone(running.permit.post());
        // Boxed, so that those who are only relayed do not make room for it.
        Box::pin(http::serve(client, desk, proxy, tools)).await;
    }
}

/// Something that must end before the worker does.
pub(super) struct Busy {
    pub(super) worker: Rc<Worker>,
}

impl Busy {
    pub(super) fn new(worker: &Rc<Worker>) -> Self {
        worker.busy.set(worker.busy.get() + 1);
        Self { worker: Rc::clone(worker) }
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        let left = self.worker.busy.get() - 1;
        self.worker.busy.set(left);
        if left == 0 {
            self.worker.quiet.notify_one();
        }
    }
}

/// A session that is being served, counted on its worker.
pub(super) struct Running {
    permit: Permit,
    busy: Busy,
}

impl Running {
    pub(super) fn new(worker: &Rc<Worker>, permit: Permit) -> Self {
        if let Some(load) = worker.load() {
            load.increment();
        }
        Self { permit, busy: Busy::new(worker) }
    }
}

impl Running {
    /// The way that the client goes, once it has said what it must say first.
    async fn hear<B: Behind>(
        &self,
        client: &mut Client,
        behind: &B,
        greeting: Option<Greeting>,
    ) -> Option<B::Way> {
        let (worker, admission) = (&self.busy.worker, &self.permit.listener().admission);
        let Some(greeting) = greeting else { return lead(client, behind, admission) };
        let (clock, turnstile) = (worker.clock(), &worker.turnstile);
        // Boxed, since most sessions have no use for it.
        Box::pin(greet(client, &greeting, behind, admission, clock, turnstile)).await
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Some(load) = self.busy.worker.load() {
            load.decrement();
        }
    }
}
