//! The workers' threads as the supervisor sees them.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};

use crate::config::{self, AcceptProxy, Config};
use crate::listener::{self, Order, Pace, Plan, Post};
use crate::server::StartError;
use crate::udp;

/// Orders a worker may have waiting: all come from one task that waits for room.
const ORDERS: usize = 64;

/// A worker's thread as the supervisor sees it.
#[derive(Debug)]
pub(super) struct Thread {
    orders: mpsc::Sender<Order>,
    ended: Option<oneshot::Receiver<()>>,
}

impl Thread {
    /// Starts a worker as planned.
    pub(super) fn start(plan: Plan) -> Result<Self, StartError> {
        let index = plan.index;
        let (orders, received) = mpsc::channel(ORDERS);
        let (end, ended) = oneshot::channel();
        let body = move || {
            if let Err(error) = listener::run(plan, received) {
                tracing::error!(worker = index, %error, "a worker could not start");
            }
            end.send(()).ok();
        };
        let spawned = thread::Builder::new().name(format!("worker-{index}")).spawn(body);
        let refused = |why| StartError::Kernel { what: format!("start worker {index}"), why };
        spawned.map_err(refused)?;
        Ok(Self { orders, ended: Some(ended) })
    }

    /// Gives an order. A worker that is gone has nothing left to be told.
    pub(super) async fn tell(&self, order: Order) {
        self.orders.send(order).await.ok();
    }

    /// Has the worker serve a listening socket, and waits until it does.
    pub(super) async fn listen(&self, post: Arc<Post>, socket: OwnedFd) -> io::Result<()> {
        let (served, is_served) = oneshot::channel();
        self.tell(Order::Listen { post, socket, served }).await;
        is_served.await.unwrap_or_else(|_| Err(io::Error::other("its worker has ended")))
    }

    /// Has the worker look at the gates of all posts; returns when it goes by them.
    pub(super) async fn heed(&self) {
        let (heeded, is_heeded) = oneshot::channel();
        self.tell(Order::Heed(heeded)).await;
        // An error means that it has ended, and so lets nobody in.
        is_heeded.await.ok();
    }

    /// The kernel's numbers of the datagram sockets that the worker serves.
    pub(super) async fn datagram_sockets(&self) -> Vec<u64> {
        let (tell, told) = oneshot::channel();
        self.tell(Order::Sockets(tell)).await;
        told.await.unwrap_or_default()
    }

    /// Asks whoever serves a datagram socket there. Without anybody the answer never comes.
    pub(super) async fn ask<T>(
        &self,
        socket: u64,
        request: impl FnOnce(oneshot::Sender<T>) -> udp::Request,
    ) -> oneshot::Receiver<T> {
        let (reply, replied) = oneshot::channel();
        self.tell(Order::Ask(socket, request(reply))).await;
        replied
    }

    /// Waits for the end of the thread; at once if it has been seen.
    pub(super) async fn ended(&mut self) {
        if let Some(ended) = &mut self.ended {
            ended.await.ok();
            self.ended = None;
        }
    }
}

/// Worker threads that a configuration asks for.
pub fn count(config: &Config) -> usize {
    match config.process.threads {
        0 => thread::available_parallelism().map_or(1, usize::from),
        threads => threads,
    }
}

/// How coarse the workers' clock is: limits of waiting are seen up to two steps late.
pub fn clock_step(config: &Config) -> Duration {
    pace(config).tick
}

/// How often workers look around: often enough for the shortest limits of the configuration.
pub(super) fn pace(config: &Config) -> Pace {
    let shortest =
        |limits: &mut dyn Iterator<Item = Duration>, default| limits.min().unwrap_or(default);
    let second = Duration::from_secs(1);
    let silences = |listener: &config::Listener| {
        let tunnel = listener.http.as_ref().and_then(|http| http.tunnel_timeout);
        [listener.idle_timeout, listener.max_lifetime, tunnel]
    };
    let limits = config.listeners.iter().flat_map(silences).flatten();
    let waits = config.listeners.iter().flat_map(waits_for_clients);
    let waits = waits.chain(config.pools.iter().flat_map(waits_for_backends));
    let waits = waits.filter(|wait| !wait.is_zero());
    let tick = shortest(&mut limits.clone().chain(waits), second) / 10;
    let tick = tick.clamp(Duration::from_millis(10), Duration::from_millis(100));
    let sweep = shortest(&mut limits.clone(), second * 4) / 4;
    Pace { tick, sweep: sweep.clamp(tick, second) }
}

/// What clients of a listener have for what they must send, or to be answered.
fn waits_for_clients(listener: &config::Listener) -> impl Iterator<Item = Duration> + '_ {
    let is_heard = listener.accept_proxy_protocol != AcceptProxy::Off || listener.needs_hello();
    let heard = is_heard.then_some(listener.handshake_timeout);
    let head = listener.http.as_ref().map(|http| http.header_timeout);
    let whole = listener.routes.iter().filter_map(|route| route.treatment.request_timeout);
    heard.into_iter().chain(head).chain(whole)
}

/// What is waited for of the backends of a pool, or for their sake.
fn waits_for_backends(pool: &config::Pool) -> impl Iterator<Item = Duration> {
    let waits = [pool.connect_timeout, pool.retry.backoff, pool.queue.timeout];
    waits.into_iter().chain(pool.response_timeout).chain([pool.http.keepalive_timeout])
}
