//! QUIC through a udp listener: quinn on both sides, which sends and takes datagrams in batches.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use quinn::rustls::RootCertStore;
use quinn::rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer};
use quinn::{ClientConfig, Endpoint, EndpointConfig, Incoming, ServerConfig, TokioRuntime};
use tokio::task::JoinSet;

use crate::harness::evenkeel::Evenkeel;
use crate::harness::files::unprobed;
use crate::harness::pattern::Pattern;
use crate::harness::udp::Seat;

const SIZE: usize = 50 << 20;

/// A certificate for `localhost`, and its key.
fn identity() -> (CertificateDer<'static>, PrivatePkcs8KeyDer<'static>) {
    let made = rcgen::generate_simple_self_signed(vec!["localhost".into()]).unwrap();
    (made.cert.der().clone(), PrivatePkcs8KeyDer::from(made.signing_key.serialize_der()))
}

/// Gives back what comes on the first stream of a connection.
async fn echo(incoming: Incoming) {
    let Ok(connection) = incoming.await else { return };
    let Ok((mut send, mut receive)) = connection.accept_bi().await else { return };
    while let Ok(Some(chunk)) = receive.read_chunk(256 * 1024, true).await {
        if send.write_chunk(chunk.bytes).await.is_err() {
            return;
        }
    }
    drop(send.finish());
    connection.closed().await;
}

/// A server on a seat, for as long as `tasks` lives.
fn serve(seat: &Seat, config: ServerConfig, tasks: &mut JoinSet<()>) {
    let runtime = Arc::new(TokioRuntime);
    let keys = EndpointConfig::default();
    let endpoint = Endpoint::new(keys, Some(config), seat.open(), runtime).unwrap();
    tasks.spawn(async move {
        let mut connections = JoinSet::new();
        while let Some(incoming) = endpoint.accept().await {
            connections.spawn(echo(incoming));
        }
    });
}

/// Sends the whole pattern and checks, while sending, that it comes back.
async fn exchange(at: SocketAddr, trusted: &CertificateDer<'static>) {
    let mut roots = RootCertStore::empty();
    roots.add(trusted.clone()).unwrap();
    let mut endpoint = Endpoint::client((Ipv4Addr::LOCALHOST, 0).into()).unwrap();
    let config = ClientConfig::with_root_certificates(Arc::new(roots)).unwrap();
    endpoint.set_default_client_config(config);
    let connection = endpoint.connect(at, "localhost").unwrap().await.unwrap();
    let (mut send, mut receive) = connection.open_bi().await.unwrap();
    let sending = async move {
        let mut whole = Vec::with_capacity(SIZE);
        Pattern::new(3).send(&mut whole, SIZE, SIZE).unwrap();
        send.write_all(&whole).await.unwrap();
        send.finish().unwrap();
    };
    let taking = async move {
        let (pattern, mut done) = (Pattern::new(3), 0);
        while let Some(chunk) = receive.read_chunk(256 * 1024, true).await.unwrap() {
            pattern.check(done, &chunk.bytes);
            done += chunk.bytes.len();
        }
        assert_eq!(done, SIZE);
    };
    tokio::join!(sending, taking);
    connection.close(0_u32.into(), b"done");
    endpoint.wait_idle().await;
}

#[test]
fn fifty_megabytes_go_through_quic_and_come_back() {
    let (certificate, key) = identity();
    let chain = vec![certificate.clone()];
    let config = ServerConfig::with_single_cert(chain, key.into()).unwrap();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let seats = [Seat::take(), Seat::take()];
    let list = format!("[\"{}\", \"{}\"]", seats[0].address(), seats[1].address());
    let toml = unprobed(&list, "protocol = \"udp\"", "balance = \"consistent-hash\"");
    let proxy = Evenkeel::start(&toml);
    let at = proxy.at();
    runtime.block_on(async {
        let mut tasks = JoinSet::new();
        seats.iter().for_each(|seat| serve(seat, config.clone(), &mut tasks));
        exchange(at, &certificate).await;
    });
    assert_eq!(proxy.flows(), 1, "a connection is one flow");
}
