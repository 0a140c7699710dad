//! Certificate files that change while the balancer runs: what clients are shown, what is counted
//! and said.

mod broken;
mod layouts;
mod swaps;

use std::fs;
use std::io::{self, Read, Write};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use rcgen::{CertificateParams, KeyPair};
use rustls::pki_types::ServerName;
use rustls::{ClientConnection, StreamOwned};

use crate::harness::anybody::trusting;
use crate::harness::client::try_connect;
use crate::harness::evenkeel::Evenkeel;
use crate::harness::servers::Server;
use crate::harness::wait::{PATIENCE, eventually};

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// A certificate with its key.
struct Pair {
    cert: String,
    key: String,
    /// What a client is shown.
    der: Vec<u8>,
}

impl Pair {
    /// For a year.
    fn new() -> Self {
        Self::until(SystemTime::now() + DAY * 365)
    }

    fn until(end: SystemTime) -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(vec!["db.example".into()]).unwrap();
        params.not_after = end.into();
        let cert = params.self_signed(&key).unwrap();
        Self { cert: cert.pem(), key: key.serialize_pem(), der: cert.der().to_vec() }
    }

    /// Writes both files into a folder.
    fn write(&self, folder: &Path) {
        fs::write(folder.join("cert.pem"), &self.cert).unwrap();
        fs::write(folder.join("key.pem"), &self.key).unwrap();
    }
}

/// Listeners that end TLS, each with the pair in a folder, before one echoing backend.
struct Scene {
    proxy: Evenkeel,
    _backend: Server,
}

impl Scene {
    #[track_caller]
    fn new(listeners: &[(&str, &Path)]) -> Self {
        let backend = Server::echo("b");
        let mut toml = format!(
            "[pool.p]\nbackends = [{}]\n[pool.p.health]\nprobe = \"none\"\n",
            backend.entry("")
        );
        for (name, folder) in listeners {
            let path = |file: &str| folder.join(file).display().to_string();
            toml += &format!(
                "[listener.{name}]\nbind = \"127.0.0.1:0\"\npool = \"p\"\n\
                 [listener.{name}.tls]\n\
                 certificates = [{{ cert = \"{}\", key = \"{}\" }}]\n",
                path("cert.pem"),
                path("key.pem")
            );
        }
        Self { proxy: Evenkeel::start(&toml), _backend: backend }
    }

    #[track_caller]
    fn shows(&self, listener: &str, pair: &Pair) -> bool {
        shown(self.proxy.address(listener)).unwrap() == pair.der
    }

    /// Waits until the listener shows this pair.
    #[track_caller]
    fn wait_shown(&self, listener: &str, pair: &Pair) {
        eventually("the new pair is shown", PATIENCE, || self.shows(listener, pair));
    }

    /// Replaced and refused, as counted for a listener.
    #[track_caller]
    fn reloads(&self, listener: &str) -> (u64, u64) {
        let metrics = self.proxy.metrics();
        let count = |outcome| {
            let labels = [("listener", listener), ("outcome", outcome)];
            metrics.count("certificate_reloads_total", &labels)
        };
        (count("ok"), count("refused"))
    }

    #[track_caller]
    fn wait_reloads(&self, listener: &str, expected: (u64, u64)) {
        eventually("the reloads are counted", PATIENCE, || self.reloads(listener) == expected);
    }

    /// The events of certificates so far: listener, what became of it, why.
    #[track_caller]
    fn events(&self) -> Vec<[String; 3]> {
        let mut stream = try_connect(self.proxy.admin()).unwrap();
        let path = "/api/v1/events?recent=100";
        write!(stream, "GET {path} HTTP/1.1\r\nhost: localhost\r\n\r\n").unwrap();
        stream.set_read_timeout(Some(Duration::from_millis(300))).unwrap();
        let mut text = Vec::new();
        // What is kept comes at once; then nothing does, and reading gives up.
        stream.read_to_end(&mut text).unwrap_err();
        let text = String::from_utf8(text).unwrap();
        let data = text.split("event: certificate").skip(1).filter_map(|event| {
            let data = event.lines().find_map(|line| line.strip_prefix("data: "))?;
            serde_json::from_str::<serde_json::Value>(data).ok()
        });
        data.map(|data| {
            assert_eq!(data["certificate"], "db.example", "{data}");
            ["listener", "to", "reason"].map(|key| data[key].as_str().unwrap().to_owned())
        })
        .collect()
    }

    /// Waits for an event of this listener that became `to`, with `why` in its reason.
    #[track_caller]
    fn wait_event(&self, listener: &str, to: &str, why: &str) {
        eventually(&format!("an event: {listener} {to}"), PATIENCE, || {
            self.events().iter().any(|[of, became, reason]| {
                of == listener && became.starts_with(to) && reason.contains(why)
            })
        });
    }
}

/// A handshake, some bytes there and back, and the certificate that was shown.
fn shown(at: SocketAddr) -> io::Result<Vec<u8>> {
    let name = ServerName::try_from("db.example").unwrap();
    let connection = ClientConnection::new(Arc::new(trusting()), name).map_err(io::Error::other)?;
    let mut stream = StreamOwned::new(connection, try_connect(at)?);
    stream.write_all(b"ping")?;
    let mut answer = [0; 4];
    stream.read_exact(&mut answer)?;
    assert_eq!(&answer, b"ping");
    let shown = stream.conn.peer_certificates().and_then(<[_]>::first);
    let shown = shown.ok_or_else(|| io::Error::other("no certificate"))?.to_vec();
    stream.conn.send_close_notify();
    stream.flush()?;
    Ok(shown)
}

/// Puts a link to `target` at `link` in one step, as Kubernetes and certbot do.
fn point(link: &Path, target: impl AsRef<Path>) {
    let new = PathBuf::from(format!("{}.new", link.display()));
    std::os::unix::fs::symlink(target, &new).unwrap();
    fs::rename(new, link).unwrap();
}

/// A secret as Kubernetes mounts it: `cert.pem` and `key.pem` lead over `..data` into a folder of
/// their own for each version.
struct Secret {
    folder: PathBuf,
    versions: u32,
}

impl Secret {
    fn new(folder: &Path, pair: &Pair) -> Self {
        let mut secret = Self { folder: folder.to_owned(), versions: 0 };
        secret.update(pair);
        for file in ["cert.pem", "key.pem"] {
            point(&folder.join(file), Path::new("..data").join(file));
        }
        secret
    }

    /// The new version is complete before the link leads to it; then the old one goes.
    fn update(&mut self, pair: &Pair) {
        let version = |number| self.folder.join(format!("..version_{number}"));
        let (old, new) = (version(self.versions), version(self.versions + 1));
        fs::create_dir(&new).unwrap();
        pair.write(&new);
        point(&self.folder.join("..data"), new.file_name().unwrap());
        if old.exists() {
            fs::remove_dir_all(old).unwrap();
        }
        self.versions += 1;
    }
}
