//! The old process as the new one sees it: what it gives, and what it goes on counting while it drains.

use std::fs::File;
use std::io;
use std::os::unix::net::UnixStream;

use crate::api::DrainingProcess;
use crate::server::inheritance::Inheritance;
use crate::server::ledger::Ledger;
use crate::server::upgrade::handover::UPGRADE;
use crate::server::upgrade::handover::channel::{Broken, Channel};
use crate::server::upgrade::handover::estate::{AdminSocket, Estate, Known};
use crate::server::upgrade::handover::message::{Hello, Home, Message, PROTOCOL};
use crate::udp::Import;

/// Why nothing could be taken over.
#[derive(Debug, thiserror::Error)]
pub enum Unheard {
    /// Standard input is not the line that it should be.
    #[error("{UPGRADE} is set, and standard input leads to no evenkeel: {0}; unset it")]
    NoLine(io::Error),
    /// It speaks in another way.
    #[error(
        "the process before speaks version {0} of the handover, this one {PROTOCOL}; restart instead"
    )]
    Foreign(u32),
    /// The conversation has ended.
    #[error("the process before: {0}")]
    Broken(#[from] Broken),
}

/// The line to the process before, which nobody has spoken on yet.
#[derive(Debug)]
pub struct Line(UnixStream);

impl Line {
    /// The line, if another process has started this one to take over. Standard input leads nowhere
    /// from then on. To be called once, before anything else reads from there.
    ///
    /// # Errors
    /// Standard input is no such line.
    pub fn found() -> Result<Option<Self>, Unheard> {
        if std::env::var_os(UPGRADE).is_none() {
            return Ok(None);
        }
        let take = || -> io::Result<UnixStream> {
            let fd = rustix::stdio::stdin().try_clone_to_owned()?;
            // Whatever it is, it must be a socket.
            rustix::net::sockopt::socket_type(&fd)?;
            rustix::stdio::dup2_stdin(File::open("/dev/null")?)?;
            Ok(UnixStream::from(fd))
        };
        take().map(|stream| Some(Self(stream))).map_err(Unheard::NoLine)
    }
}

/// What there is to begin with.
#[derive(Debug, Default)]
pub struct Legacy {
    /// Sockets of listeners.
    pub sockets: Inheritance,
    /// That of the admin interface.
    pub admin: Option<AdminSocket>,
    /// What is known of the backends of each pool.
    pub known: Known,
}

/// What comes once the old process has stopped.
#[derive(Debug, Default)]
pub(in crate::server) struct Rest {
    /// What it has counted.
    pub(in crate::server) figures: Vec<Ledger>,
    /// Flows of each datagram socket.
    pub(in crate::server) flows: Vec<(u64, Import)>,
    /// Where clients have been before, by pool.
    pub(in crate::server) homes: Vec<(String, Vec<Home>)>,
}

/// The old process.
#[derive(Debug)]
pub struct Predecessor {
    channel: Channel,
    hello: Hello,
}

impl Predecessor {
    /// Takes what there is to begin with. Must be called inside a runtime.
    ///
    /// # Errors
    /// It ends, or speaks in another way.
    pub async fn hear(line: Line) -> Result<(Self, Legacy), Unheard> {
        let mut channel = Channel::new(line.0).map_err(Broken::from)?;
        let hello = loop {
            match channel.receive().await?.0 {
                Message::Hello(hello) if hello.protocol == PROTOCOL => break hello,
                Message::Hello(hello) => {
                    let why = Unheard::Foreign(hello.protocol);
                    let words = Message::Refused { why: why.to_string() };
                    channel.send(&words, &[]).await?;
                    return Err(why);
                }
                _ => {}
            }
        };
        let mut estate = Estate::default();
        loop {
            let (message, fds) = channel.receive().await?;
            match message {
                Message::Sockets { sockets } => {
                    let mut fds = fds.into_iter();
                    for handed in sockets {
                        estate.add(handed.of, fds.by_ref().take(handed.count));
                    }
                }
                Message::Known { pool, known } => {
                    estate.known.entry(pool).or_default().extend(known)
                }
                Message::Prepare => break,
                _ => {}
            }
        }
        let (sockets, admin, known) = estate.into_parts();
        Ok((Self { channel, hello }, Legacy { sockets, admin, known }))
    }

    /// Leaves the runtime that it is in for another one: see [`Predecessor::resume`].
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn suspend(self) -> io::Result<Suspended> {
        Ok(Suspended { line: Line(self.channel.into_std()?), hello: self.hello })
    }

    /// Goes on in the runtime that it is called in.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn resume(suspended: Suspended) -> io::Result<Self> {
        let Suspended { line, hello } = suspended;
        Ok(Self { channel: Channel::new(line.0)?, hello })
    }

    /// Its process number.
    pub fn pid(&self) -> u32 {
        self.hello.pid
    }

    /// Its version.
    pub fn version(&self) -> &str {
        &self.hello.version
    }

    /// Says that this process cannot serve.
    pub async fn refuse(&self, why: String) {
        // It hears of the end in any case.
        self.channel.send(&Message::Refused { why }, &[]).await.ok();
    }

    /// Has it stop, with the processes before it.
    pub(in crate::server) async fn stop(&self) {
        // Or it has ended already.
        self.channel.send(&Message::Stop, &[]).await.ok();
    }

    /// Says that this process could serve, and takes the rest.
    ///
    /// # Errors
    /// The old process goes on by itself.
    pub(in crate::server) async fn prepared(&mut self) -> Result<Rest, Broken> {
        self.channel.send(&Message::Prepared(Hello::mine()), &[]).await?;
        let mut rest = Rest::default();
        loop {
            let (message, fds) = self.channel.receive().await?;
            match message {
                Message::Counted { figures } => rest.figures.push(figures),
                Message::Flows { socket, flows } => {
                    let flows = flows.into_iter().zip(fds);
                    let flows = flows.map(|((place, carried), fd)| (place, carried, fd));
                    rest.flows.push((socket, flows.collect()));
                }
                Message::Sticky { pool, homes } => rest.homes.push((pool, homes)),
                Message::Serve => return Ok(rest),
                _ => {}
            }
        }
    }

    /// Says that this process serves, and which flows it could not take.
    ///
    /// # Errors
    /// The old process is gone.
    pub(in crate::server) async fn serving(
        &self,
        left: Vec<(u64, Vec<usize>)>,
    ) -> Result<(), Broken> {
        self.channel.send(&Message::Serving { left }, &[]).await
    }

    /// What it says next while it drains: what it has counted since, and who drains. `None` at its end.
    pub(in crate::server) async fn report(&mut self) -> Option<(Ledger, Vec<DrainingProcess>)> {
        loop {
            match self.channel.receive().await {
                Ok((Message::Report { figures, draining }, _)) => return Some((figures, draining)),
                Ok(_) => {}
                Err(Broken::Gone) => return None,
                Err(why) => {
                    tracing::warn!(pid = self.hello.pid, %why, "the old process is not heard any more");
                    return None;
                }
            }
        }
    }
}

/// An old process that nobody listens to for the moment.
#[derive(Debug)]
pub struct Suspended {
    line: Line,
    hello: Hello,
}
