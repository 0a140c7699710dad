//! The new process as the old one sees it: started, spoken to, and given up if it does not get ready.

use std::ffi::OsString;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use tokio::process::{Child, Command};

use crate::server::upgrade::handover::channel::{BATCH, Broken, Channel};
use crate::server::upgrade::handover::message::{Handed, Hello, Message, PROTOCOL};
use crate::server::upgrade::handover::{UPGRADE, estate::Estate};

/// How long a process may take to end whose line has ended.
const LAST_BREATH: Duration = Duration::from_secs(2);
/// Entries of a list that one message carries at most.
const PART: usize = 500;

/// Why the new process did not take over.
#[derive(Debug, thiserror::Error)]
pub(in crate::server) enum Failed {
    /// There is no such program, or it cannot be run.
    #[error("cannot start {}: {why}", program.display())]
    Start {
        /// What was to be run.
        program: PathBuf,
        /// Why not.
        why: io::Error,
    },
    /// This process cannot open what it has a second time.
    #[error("cannot hand on the sockets: {0}; is the open-file limit large enough?")]
    Short(io::Error),
    /// It has ended.
    #[error("the new process {0}; its own words stand in the log")]
    Ended(String),
    /// It says that it cannot serve.
    #[error("the new process cannot serve: {0}")]
    Refused(String),
    /// It does not speak as this one does.
    #[error("the new process does not answer as an evenkeel of this kind: {0}")]
    Foreign(String),
    /// It takes too long.
    #[error("the new process was not ready within {} s", .0.as_secs())]
    Late(Duration),
}

/// A process that is to take over. Dropped before it serves, it is killed.
#[derive(Debug)]
pub(in crate::server) struct Successor {
    child: Child,
    channel: Channel,
    serves: bool,
}

impl Successor {
    /// Starts the program that this process was started as: what is there now under its name, with the
    /// same arguments and environment. Must be called inside a runtime.
    ///
    /// # Errors
    /// It cannot be run.
    pub(in crate::server) fn start() -> Result<Self, Failed> {
        let mut arguments = std::env::args_os();
        let program = PathBuf::from(arguments.next().unwrap_or_default());
        let arguments: Vec<OsString> = arguments.collect();
        let failed = |why| Failed::Start { program: program.clone(), why };
        let (ours, theirs) = UnixStream::pair().map_err(failed)?;
        let channel = Channel::new(ours).map_err(failed)?;
        let theirs = OwnedFd::from(theirs);
        let start = |program: PathBuf| -> io::Result<Child> {
            let stdin = Stdio::from(theirs.try_clone()?);
            Command::new(program).args(&arguments).env(UPGRADE, "1").stdin(stdin).spawn()
        };
        let started = start(program.clone()).or_else(|error| match error.kind() {
            // Whoever started this one gave it another name. A path is believed: what lay there and
            // was moved away is not what an upgrade is to start.
            io::ErrorKind::NotFound if is_bare(&program) => start(own_path().ok_or(error)?),
            _ => Err(error),
        });
        Ok(Self { child: started.map_err(failed)?, channel, serves: false })
    }

    /// Its process number.
    pub(in crate::server) fn pid(&self) -> u32 {
        self.child.id().unwrap_or_default()
    }

    /// Gives it what it begins with, and waits until it could serve: its version.
    ///
    /// # Errors
    /// It does not get ready within `limit`.
    pub(in crate::server) async fn prepare(
        &mut self,
        estate: &Estate,
        limit: Duration,
    ) -> Result<String, Failed> {
        let ready = async {
            self.bequeath(estate).await?;
            match self.answer().await? {
                Message::Prepared(hello) if hello.protocol == PROTOCOL => Ok(hello.version),
                Message::Prepared(hello) => Err(Failed::Foreign(format!(
                    "it speaks version {} of the handover, this one {PROTOCOL}; restart instead",
                    hello.protocol
                ))),
                other => Err(Failed::unexpected(&other)),
            }
        };
        tokio::time::timeout(limit, ready).await.unwrap_or(Err(Failed::Late(limit)))
    }

    async fn bequeath(&mut self, estate: &Estate) -> Result<(), Failed> {
        self.say(&Message::Hello(Hello::mine()), &[]).await?;
        for (of, fds) in &estate.sockets {
            for batch in fds.chunks(BATCH) {
                let fds: Vec<BorrowedFd<'_>> = batch.iter().map(AsFd::as_fd).collect();
                let sockets = vec![Handed { of: of.clone(), count: fds.len() }];
                self.say(&Message::Sockets { sockets }, &fds).await?;
            }
        }
        for (pool, known) in &estate.known {
            for part in known.chunks(PART) {
                let (pool, known) = (pool.clone(), part.to_vec());
                self.say(&Message::Known { pool, known }, &[]).await?;
            }
        }
        self.say(&Message::Prepare, &[]).await
    }

    /// Says something. Whoever does not listen has ended, or will be found to be too late.
    pub(in crate::server) async fn say(
        &mut self,
        message: &Message,
        fds: &[BorrowedFd<'_>],
    ) -> Result<(), Failed> {
        match self.channel.send(message, fds).await {
            Ok(()) => Ok(()),
            // It may have said why.
            Err(Broken::Gone) => match self.answer().await {
                Ok(other) => Err(Failed::unexpected(&other)),
                Err(why) => Err(why),
            },
            Err(why) => Err(Failed::Foreign(why.to_string())),
        }
    }

    /// What it says next.
    pub(in crate::server) async fn answer(&mut self) -> Result<Message, Failed> {
        loop {
            let heard = tokio::select! {
                biased;
                heard = self.channel.receive() => heard,
                ended = self.child.wait() => {
                    // Its last words may have come in between.
                    let words = tokio::time::timeout(LAST_BREATH, self.channel.receive()).await;
                    match words {
                        Ok(Ok(words)) => Ok(words),
                        _ => return Err(Failed::Ended(how(ended))),
                    }
                }
            };
            match heard {
                Ok((Message::Refused { why }, _)) => return Err(Failed::Refused(why)),
                Ok((Message::Unknown, _)) => {}
                Ok((message, _)) => return Ok(message),
                Err(Broken::Gone | Broken::Torn) => {
                    let ended = tokio::time::timeout(LAST_BREATH, self.child.wait()).await;
                    let how = ended.map_or_else(|_| "has closed the line".to_owned(), how);
                    return Err(Failed::Ended(how));
                }
                Err(why) => return Err(Failed::Foreign(why.to_string())),
            }
        }
    }

    /// It has taken over: from now on it lives on without this one.
    pub(in crate::server) fn release(&mut self) {
        self.serves = true;
    }

    /// Ends it, and waits for its end.
    pub(in crate::server) async fn give_up(mut self) {
        self.child.kill().await.ok();
    }
}

impl Drop for Successor {
    fn drop(&mut self) {
        if !self.serves {
            self.child.start_kill().ok();
        }
    }
}

impl Failed {
    /// It says something else than it should.
    pub(in crate::server) fn unexpected(message: &Message) -> Self {
        let text = format!("{message:?}");
        Self::Foreign(format!("it says {}", text.chars().take(80).collect::<String>()))
    }
}

fn how(ended: io::Result<ExitStatus>) -> String {
    match ended.map(|status| (status.code(), status.signal())) {
        Ok((Some(2), _)) => "exited with code 2: it cannot use the file".to_owned(),
        Ok((Some(code), _)) => format!("exited with code {code}"),
        Ok((None, Some(signal))) => format!("was killed by signal {signal}"),
        Ok((None, None)) => "ended".to_owned(),
        Err(error) => format!("was lost sight of: {error}"),
    }
}

/// True for a name that says nothing of where it lies.
fn is_bare(program: &Path) -> bool {
    program.file_name() == Some(program.as_os_str())
}

/// Where the binary lay that this process runs.
fn own_path() -> Option<PathBuf> {
    let path = std::env::current_exe().ok()?.into_os_string().into_string().ok()?;
    Some(PathBuf::from(path.strip_suffix(" (deleted)").unwrap_or(&path)))
}
