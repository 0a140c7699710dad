//! OpenSSL, curl and GnuTLS as clients of servers that end TLS behind a listener that passes it on.

use std::net::TcpStream;
use std::process::{Command, Stdio};

use super::installed;
use crate::harness::authority::Authority;
use crate::harness::evenkeel::Evenkeel;
use crate::harness::process::{Finished, Owned, finish};
use crate::harness::seat::Seat;
use crate::harness::wait::{PATIENCE, eventually};

/// A server that says of each connection how it came, in a page.
struct WebServer {
    name: &'static str,
    seat: Seat,
    _server: Owned,
}

impl WebServer {
    fn start(authority: &Authority, name: &'static str) -> Self {
        let (cert, key) = authority.write(name, &authority.sign(&[name]));
        let seat = Seat::take();
        let mut command = Command::new("openssl");
        command.args(["s_server", "-quiet", "-www", "-accept", &seat.address().to_string()]);
        command.arg("-cert").arg(cert).arg("-key").arg(key);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let server = Owned(command.spawn().unwrap());
        eventually("openssl listens", PATIENCE, || TcpStream::connect(seat.address()).is_ok());
        Self { name, seat, _server: server }
    }
}

/// Two servers, each of which only a client that asks for its name can believe.
fn two() -> (Authority, [WebServer; 2], Evenkeel) {
    let authority = Authority::new();
    let servers = ["a.example", "www.b.example"].map(|name| WebServer::start(&authority, name));
    let routes: String = [("a.example", 0), ("*.b.example", 1)]
        .map(|(sni, server)| {
            let name = servers[server].name;
            format!("[[listener.l.route]]\nsni = \"{sni}\"\npool = \"{name}\"\n")
        })
        .concat();
    let pools: String = servers
        .each_ref()
        .map(|server| {
            let at = server.seat.address();
            format!(
                "[pool.\"{}\"]\nbackends = [\"{at}\"]\n[pool.\"{}\".health]\nprobe = \"none\"\n",
                server.name, server.name
            )
        })
        .concat();
    let proxy = Evenkeel::start(&format!("[listener.l]\nbind = \"127.0.0.1:0\"\n{routes}{pools}"));
    (authority, servers, proxy)
}

/// A client that is told to believe the authority, and whom to ask for.
type Client = fn(&Authority, u16, &str) -> Command;

fn curl(authority: &Authority, port: u16, name: &str) -> Command {
    let mut command = Command::new("curl");
    command.args(["-sS", "--cacert"]).arg(authority.ca_file());
    command.args(["--resolve", &format!("{name}:{port}:127.0.0.1")]);
    command.arg(format!("https://{name}:{port}/"));
    command
}

fn openssl(authority: &Authority, port: u16, name: &str) -> Command {
    let mut command = Command::new("openssl");
    command.args(["s_client", "-connect", &format!("127.0.0.1:{port}"), "-servername", name]);
    command.args(["-verify_return_error", "-verify_hostname", name, "-CAfile"]);
    command.arg(authority.ca_file());
    command
}

fn gnutls(authority: &Authority, port: u16, name: &str) -> Command {
    let mut command = Command::new("gnutls-cli");
    command.args(["--port", &port.to_string(), "--sni-hostname", name, "--verify-hostname", name]);
    command.arg("--x509cafile").arg(authority.ca_file()).arg("127.0.0.1");
    command
}

fn run(client: Client, authority: &Authority, proxy: &Evenkeel, name: &str) -> Finished {
    finish(&mut client(authority, proxy.at().port(), name), PATIENCE)
}

#[test]
fn each_client_comes_to_the_server_that_it_believes() {
    let clients: [(&str, Client); 3] =
        [("curl", curl), ("openssl", openssl), ("gnutls-cli", gnutls)];
    let (authority, _servers, proxy) = two();
    for (program, client) in clients {
        if installed(program, &[]).is_none() {
            continue;
        }
        for name in ["a.example", "www.b.example"] {
            run(client, &authority, &proxy, name).expect_code(0);
        }
        let before = proxy.rejected("no-route");
        assert_ne!(run(client, &authority, &proxy, "c.example").code, Some(0), "{program}");
        eventually("who asks for nobody's name is refused", PATIENCE, || {
            proxy.rejected("no-route") > before
        });
    }
    proxy.wait_idle();
    assert_eq!(proxy.metrics().count("rejected_total", &[("reason", "tls")]), 0);
}
