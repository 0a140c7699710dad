//! The operator's way in: HTTP on a loopback address or a unix socket.
//!
//! It reads the server's [`Handle`] and never touches the data path. What it changes it asks of the
//! pools' monitors.

mod answer;
mod asked;
mod bind;
mod body;
mod book;
mod command;
mod connection;
mod dashboard;
mod events;
mod host;
mod metrics;
mod names;
mod path;
mod readiness;
mod route;
mod routes;
mod status;
mod stay;
mod steer;
#[cfg(test)]
mod tests;
mod tls;
mod token;
mod ways;

use std::collections::VecDeque;
use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, UnixListener};
use tokio::task::{AbortHandle, JoinSet};

pub use crate::admin::bind::{BindError, Bound, bind};
use crate::admin::bind::{Listening, SocketFile};
use crate::admin::command::Waiters;
use crate::admin::connection::converse;
use crate::admin::events::Streams;
use crate::admin::routes::Site;
pub use crate::admin::status::report;
use crate::admin::stay::Stay;
pub use crate::admin::token::Token;
use crate::config::AdminBind;
use crate::metric::Counter;
use crate::server::Handle;

/// Connections with questions served at once: scrapers and people, not traffic.
const CONNECTIONS: usize = 64;

/// How long a client's machine may leave what it is sent unacknowledged.
const VANISHED: Duration = Duration::from_secs(30);

/// Pause after an accept that failed for want of descriptors or memory.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

impl Bound {
    /// Answers requests until the future is dropped, which cuts what is being answered, or until
    /// another process serves: what has been asked by then is still answered.
    ///
    /// Fails only if the sockets cannot be given to the runtime.
    pub async fn serve(self, handle: Arc<Handle>, access_dropped: Arc<Counter>) -> io::Result<()> {
        let (loopback, token) = (self.is_loopback(), self.token().cloned());
        let streams = Streams::default();
        let writing = Arc::default();
        handle.also_counts("access-log-dropped", &access_dropped);
        handle.also_counts("events-dropped", &streams.dropped);
        let waiters = Waiters::default();
        let site = Site { handle, access_dropped, loopback, token, streams, waiters, writing };
        let site = Arc::new(site);
        let address = match self.address() {
            AdminBind::Tcp(address) => address.to_string(),
            AdminBind::Unix(path) => format!("unix:{}", path.display()),
            AdminBind::Off => "off".to_owned(),
        };
        let retreat = Arc::clone(&site);
        let mut retreat = pin!(retreat.handle.retreat.asked());
        let mut door = Door::open(self.socket)?;
        tracing::info!(listener = %"admin", %address, "listening");
        let mut visitors = Visitors::default();
        loop {
            visitors.make_room().await;
            let accepted = tokio::select! {
                accepted = door.accept() => accepted,
                () = &mut retreat => break,
            };
            match accepted {
                Ok(Stream::Tcp(stream)) => visitors.enter(stream, &site),
                Ok(Stream::Unix(stream)) => visitors.enter(stream, &site),
                Err(error) => {
                    tracing::warn!(listener = %"admin", %error, "accept failed");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
        door.leave();
        site.handle.retreat.begin();
        visitors.leave().await;
        Ok(())
    }
}

/// How long answers may take that are under way when another process serves, and questions of those who
/// have come but not asked: longer than a machine stands still.
const LAST_ANSWERS: Duration = Duration::from_secs(3);

/// The connections that are there.
#[derive(Default)]
struct Visitors {
    tasks: JoinSet<()>,
    /// Oldest first.
    list: VecDeque<Visitor>,
}

struct Visitor {
    task: AbortHandle,
    /// Why it may stay.
    stay: Arc<Stay>,
}

impl Visitors {
    fn enter(
        &mut self,
        stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
        site: &Arc<Site>,
    ) {
        let stay = Arc::new(Stay::default());
        let task = self.tasks.spawn(converse(stream, Arc::clone(site), Arc::clone(&stay)));
        self.list.push_back(Visitor { task, stay });
    }

    /// Waits until those who are there have their answers. Streams of events are cut: who reads them
    /// comes again, and finds the other process.
    async fn leave(mut self) {
        let all = async { while self.tasks.join_next().await.is_some() {} };
        tokio::time::timeout(LAST_ANSWERS, all).await.ok();
    }

    /// Waits until one more can be served.
    async fn make_room(&mut self) {
        loop {
            while self.tasks.try_join_next().is_some() {}
            self.list.retain(|visitor| !visitor.task.is_finished());
            let asks = |visitor: &Visitor| !visitor.stay.has_reason();
            if self.list.iter().filter(|visitor| asks(visitor)).count() < CONNECTIONS {
                return;
            }
            // Questions take milliseconds: who has been here longest asks or reads too slowly, and
            // must not keep the next health check out.
            if let Some(longest) = self.list.iter().find(|visitor| asks(visitor)) {
                longest.task.abort();
            }
            self.tasks.join_next().await;
        }
    }
}

/// The listening socket as the runtime knows it.
enum Door {
    Tcp(TcpListener),
    /// The second removes the socket on drop.
    Unix(UnixListener, SocketFile),
}

enum Stream {
    Tcp(tokio::net::TcpStream),
    Unix(tokio::net::UnixStream),
}

impl Door {
    /// Leaves the socket to another process.
    fn leave(mut self) {
        if let Self::Unix(_, file) = &mut self {
            file.leave();
        }
    }

    fn open(socket: Listening) -> io::Result<Self> {
        Ok(match socket {
            Listening::Tcp(socket) => Self::Tcp(TcpListener::from_std(socket)?),
            Listening::Unix(socket, mut file) => {
                let socket = UnixListener::from_std(socket)?;
                file.take();
                Self::Unix(socket, file)
            }
        })
    }

    async fn accept(&mut self) -> io::Result<Stream> {
        Ok(match self {
            Self::Tcp(socket) => {
                let stream = socket.accept().await?.0;
                // A watcher whose machine has vanished is found by the next thing it is told. If
                // the kernel refuses, it takes longer.
                SockRef::from(&stream).set_tcp_user_timeout(Some(VANISHED)).ok();
                Stream::Tcp(stream)
            }
            Self::Unix(socket, _) => Stream::Unix(socket.accept().await?.0),
        })
    }
}
