//! The accept loop of one worker on one socket.

use std::future::poll_fn;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;
use std::time::{Duration, Instant};

use crate::addr::ClientAddr;
use crate::listener::crew::Accepted;
use crate::listener::{Gate, Listener, Post, Worker};
use crate::net::{AcceptError, Socket, reset_on_close};

/// Connections taken in a row before sessions get their turn.
const BATCH: usize = 16;

/// How long accepting rests when descriptors or memory are short.
const PAUSE: Duration = Duration::from_millis(100);

/// How long the queue may take to empty at a stop: who keeps filling it came after the stop.
const LAST_CALL: Duration = Duration::from_secs(1);

/// How often a shortage is worth a line.
const COMPLAINT: Duration = Duration::from_secs(10);

/// Accepts while the post's gate is open. Once it is closed, takes what still waits in the queue.
pub(super) async fn run(worker: Rc<Worker>, post: Arc<Post>, socket: Socket) {
    let _attendance = post.attend();
    let (mut complained, mut closing) = (None, None);
    // Past the cut nobody waits any more, so whoever is still queued is left to the kernel's reset:
    // with descriptors short, this loop would otherwise never let the sessions end that hold them.
    while !worker.is_cut() {
        let gate = poll_fn(|cx| match worker.gate(&post, cx) {
            Gate::Open => socket.poll_readable(cx).map(|()| Gate::Open),
            Gate::Paused => Poll::Pending,
            gate @ (Gate::Closed | Gate::Left) => Poll::Ready(gate),
        })
        .await;
        if gate == Gate::Left {
            return;
        }
        let is_closing = gate == Gate::Closed;
        let listener = post.listener();
        let last_call = is_closing.then(|| *closing.get_or_insert_with(Instant::now));
        let pause = match accept_batch(&worker, &post, &listener, &socket) {
            AcceptError::Empty if is_closing => return,
            _ if last_call.is_some_and(|since| since.elapsed() > LAST_CALL) => return,
            AcceptError::Empty => continue,
            AcceptError::Skip => false,
            AcceptError::Pause => true,
            AcceptError::Fatal => {
                tracing::error!(listener = &*listener.name, "the listening socket is broken");
                return;
            }
        };
        if pause {
            rest(&worker, &listener, &mut complained).await;
        } else {
            tokio::task::yield_now().await;
        }
    }
}

/// Takes connections until there is none, an error, or the batch is full (`Skip`).
fn accept_batch(
    worker: &Rc<Worker>,
    post: &Arc<Post>,
    listener: &Arc<Listener>,
    socket: &Socket,
) -> AcceptError {
    for _ in 0..BATCH {
        match socket.accept() {
            Ok((fd, from)) => admit(worker, (post, listener), fd, from),
            Err(errno) => match AcceptError::from(errno) {
                AcceptError::Skip => {}
                error => return error,
            },
        }
    }
    AcceptError::Skip
}

fn admit(
    worker: &Rc<Worker>,
    (post, listener): (&Arc<Post>, &Arc<Listener>),
    fd: OwnedFd,
    from: SocketAddr,
) {
    match listener.admit(post, ClientAddr::new(from)) {
        Ok(admitted) => worker.take(Accepted { fd, from, since: Instant::now(), admitted }),
        Err(why) => {
            listener.admission.figures.reject(why);
            reset_on_close(fd);
        }
    }
}

/// Clients wait in the listen queue meanwhile; nothing is lost.
async fn rest(worker: &Worker, listener: &Listener, complained: &mut Option<Instant>) {
    worker.release();
    listener.admission.figures.accept_paused.increment();
    if complained.is_none_or(|at| at.elapsed() > COMPLAINT) {
        *complained = Some(Instant::now());
        tracing::warn!(
            listener = &*listener.name,
            "accepting pauses: out of descriptors or memory; raise the open-file limit \
             (`ulimit -n`, LimitNOFILE=) or lower process.max_sessions"
        );
    }
    worker.clock().sleep(PAUSE).await;
}
