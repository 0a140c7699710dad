//! Where the admin interface listens: bound early, while privileges are still there.

use std::fs;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::{Mode, fchmod};
use socket2::{Domain, SockAddr, Socket, Type};
use thiserror::Error;

use crate::admin::token::Token;
use crate::config::{self, AdminBind};
use crate::server::AdminSocket;

/// Connections that may wait to be accepted.
const BACKLOG: i32 = 128;

/// Why the admin interface cannot listen.
#[derive(Debug, Error)]
pub enum BindError {
    /// The address is somebody else's, or cannot be had.
    #[error(
        "admin: cannot listen on {address}: {why}; choose another address with `bind` in [admin]"
    )]
    Tcp {
        /// What was asked for.
        address: SocketAddr,
        /// What the kernel said.
        why: io::Error,
    },
    /// Another process answers on the socket.
    #[error("admin: another process serves {}; stop it, or choose another path", path.display())]
    Live {
        /// The socket's path.
        path: PathBuf,
    },
    /// A file that is no socket is in the way.
    #[error("admin: {} is not a socket; remove it, or choose another path", path.display())]
    NotASocket {
        /// What was asked for.
        path: PathBuf,
    },
    /// The token is not to be had.
    #[error(
        "admin.token_file: cannot use {}: {why}; write the token there as the first line",
        path.display()
    )]
    Token {
        /// What was asked for.
        path: PathBuf,
        /// Why not.
        why: io::Error,
    },
    /// The socket cannot be made.
    #[error("admin: cannot listen on unix:{}: {why}", path.display())]
    Unix {
        /// What was asked for.
        path: PathBuf,
        /// What the kernel said.
        why: io::Error,
    },
}

/// A bound admin interface that does not answer yet. A unix socket is removed on drop.
#[derive(Debug)]
pub struct Bound {
    pub(super) socket: Listening,
    token: Option<Arc<Token>>,
    address: AdminBind,
    /// As the file says it.
    configured: String,
}

#[derive(Debug)]
pub(super) enum Listening {
    Tcp(TcpListener),
    Unix(UnixListener, SocketFile),
}

impl Bound {
    /// Where it listens; port 0 has become the real one.
    pub fn address(&self) -> &AdminBind {
        &self.address
    }

    /// What whoever changes something must know; `None` = nothing.
    pub fn token(&self) -> Option<&Arc<Token>> {
        self.token.as_ref()
    }

    /// The socket for a process that is to serve in place of this one.
    ///
    /// # Errors
    /// The process is out of descriptors.
    pub fn share(&self) -> io::Result<AdminSocket> {
        let fd = match &self.socket {
            Listening::Tcp(socket) => socket.as_fd().try_clone_to_owned()?,
            Listening::Unix(socket, _) => socket.as_fd().try_clone_to_owned()?,
        };
        Ok(AdminSocket { address: self.configured.clone(), fd })
    }

    pub(super) fn is_loopback(&self) -> bool {
        match &self.address {
            AdminBind::Tcp(address) => address.ip().to_canonical().is_loopback(),
            AdminBind::Unix(_) | AdminBind::Off => false,
        }
    }
}

/// Binds the address of `[admin]` and reads its token; `None` if it is off. A socket that `inherited`
/// from the process before is for that address is used as it is.
pub fn bind(
    spec: &config::Admin,
    inherited: Option<AdminSocket>,
) -> Result<Option<Bound>, BindError> {
    let configured = written(&spec.bind);
    let token = match &spec.token_file {
        Some(path) if spec.bind != AdminBind::Off => Some(Arc::new(read_token(path)?)),
        _ => None,
    };
    let inherited = inherited.filter(|socket| socket.address == configured);
    let inherited = inherited.map(|socket| socket.fd);
    match &spec.bind {
        AdminBind::Off => Ok(None),
        AdminBind::Tcp(address) => {
            let tcp = inherited.map_or_else(|| listen_tcp(*address), go_on_at_tcp);
            let (socket, bound) = tcp.map_err(|why| BindError::Tcp { address: *address, why })?;
            let socket = Listening::Tcp(socket);
            Ok(Some(Bound { socket, token, address: AdminBind::Tcp(bound), configured }))
        }
        AdminBind::Unix(path) => {
            let go_on = |fd| go_on_at_unix(path, fd);
            let unix = match inherited.map(go_on) {
                Some(unix) => unix,
                None => {
                    clear(path)?;
                    listen_unix(path)
                }
            };
            let (socket, file) = unix.map_err(|why| BindError::Unix { path: path.clone(), why })?;
            let socket = Listening::Unix(socket, file);
            Ok(Some(Bound { socket, token, address: AdminBind::Unix(path.clone()), configured }))
        }
    }
}

fn read_token(path: &Path) -> Result<Token, BindError> {
    Token::read(path).map_err(|why| BindError::Token { path: path.to_owned(), why })
}

fn listen_tcp(address: SocketAddr) -> io::Result<(TcpListener, SocketAddr)> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    // A connection that lingers from before a restart does not keep the address taken.
    socket.set_reuse_address(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    socket.set_nonblocking(true)?;
    let listener = TcpListener::from(socket);
    let bound = listener.local_addr()?;
    Ok((listener, bound))
}

/// As the file writes it.
fn written(bind: &AdminBind) -> String {
    match bind {
        AdminBind::Off => "off".to_owned(),
        AdminBind::Tcp(address) => address.to_string(),
        AdminBind::Unix(path) => format!("unix:{}", path.display()),
    }
}

fn go_on_at_tcp(fd: OwnedFd) -> io::Result<(TcpListener, SocketAddr)> {
    let listener = TcpListener::from(fd);
    let bound = listener.local_addr()?;
    Ok((listener, bound))
}

fn go_on_at_unix(path: &Path, fd: OwnedFd) -> io::Result<(UnixListener, SocketFile)> {
    let mut file = SocketFile::of(path)?;
    // The process before serves it until this one does, and goes on if this one does not get there.
    file.leave();
    Ok((UnixListener::from(fd), file))
}

/// Removes a socket that nobody serves any more.
fn clear(path: &Path) -> Result<(), BindError> {
    let unix = |why| BindError::Unix { path: path.to_owned(), why };
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(unix(error)),
        Ok(found) if !found.file_type().is_socket() => {
            return Err(BindError::NotASocket { path: path.to_owned() });
        }
        Ok(_) => {}
    }
    match UnixStream::connect(path) {
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
            fs::remove_file(path).map_err(unix)
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(unix(error)),
        Ok(_) => Err(BindError::Live { path: path.to_owned() }),
    }
}

fn listen_unix(path: &Path) -> io::Result<(UnixListener, SocketFile)> {
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    // On Linux the file inherits this, so that nobody else can connect even for a moment.
    fchmod(&socket, Mode::RUSR | Mode::WUSR)?;
    socket.bind(&SockAddr::unix(path)?)?;
    let file = SocketFile::of(path)?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o600))?;
    socket.listen(BACKLOG)?;
    socket.set_nonblocking(true)?;
    Ok((UnixListener::from(socket), file))
}

/// Removes a socket's file on drop, if it is still the same file.
#[derive(Debug)]
pub(super) struct SocketFile {
    path: PathBuf,
    identity: (u64, u64),
    is_left: bool,
}

impl SocketFile {
    fn of(path: &Path) -> io::Result<Self> {
        Ok(Self { path: path.to_owned(), identity: identity(path)?, is_left: false })
    }
}

/// Device and number of a file, the same for no two files that exist at once.
fn identity(path: &Path) -> io::Result<(u64, u64)> {
    let found = fs::symlink_metadata(path)?;
    Ok((found.dev(), found.ino()))
}

impl SocketFile {
    /// Leaves the file to another process, which serves the same socket.
    pub(super) fn leave(&mut self) {
        self.is_left = true;
    }

    /// This process serves it from now on, and removes it at its end.
    pub(super) fn take(&mut self) {
        self.is_left = false;
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        if self.is_left {
            return;
        }
        // A process that took over may have put its own socket there.
        if identity(&self.path).is_ok_and(|now| now == self.identity)
            && let Err(error) = fs::remove_file(&self.path)
        {
            tracing::warn!(path = %self.path.display(), %error, "the admin socket stays behind");
        }
    }
}
