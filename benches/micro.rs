//! What the data path and a reload pay for by themselves: picking, finding a request's route, building
//! and asking a Maglev table, sealing and opening, reading a file. `cargo bench --bench micro`.

#![allow(clippy::unwrap_used, missing_docs, reason = "a benchmark fails by panicking")]

use std::hint::black_box;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use http::header::HOST;
use http::{HeaderMap, Uri};
use rustls::ServerConfig;
use rustls::pki_types::PrivateKeyDer;

use evenkeel::addr::ClientAddr;
use evenkeel::config::{self, Config, Leads, Matchers, NamePattern, PathPattern, Route};
use evenkeel::pool::{Ask, Entrance, Health, Judged, Pool, Standing, Warmth};
use evenkeel::route::{Flight, Heading, Routes};
use evenkeel::tls::{self, Session};

/// A file with one listener and one pool of `backends`.
fn file(balance: &str, backends: usize) -> String {
    let entries: Vec<_> = (0..backends)
        .map(|i| format!("\"10.{}.{}.{}:5432\"", i / 65_536, i / 256 % 256, i % 256))
        .collect();
    format!(
        "[listener.l]\nbind = \"127.0.0.1:5432\"\npool = \"p\"\n\
         [pool.p]\nbalance = \"{balance}\"\nbackends = [{}]\n",
        entries.join(", ")
    )
}

fn parsed(text: &str) -> Config {
    config::parse("bench", text, &|_| None).unwrap().config
}

/// A pool in which everybody is up, as a listener sees it.
fn entrance(spec: &config::Pool) -> Entrance {
    let pool = Arc::new(Pool::new(spec, None));
    let standing = Standing { health: Health::Up, ..Standing::default() };
    let address = Some(SocketAddr::from(([127, 0, 0, 1], 1)));
    pool.publish(&vec![
        Judged { standing, address, weight: 1, warmth: Warmth::FULL };
        spec.members.len()
    ]);
    Entrance::new(&"l".into(), pool, None)
}

fn ask(client: u32) -> Ask<'static> {
    let client = SocketAddr::from((Ipv4Addr::from_bits(client), 40_000));
    let chance = u64::from(client.port()).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    Ask::of(ClientAddr::new(client), chance, 0)
}

fn pick(c: &mut Criterion) {
    let mut group = c.benchmark_group("pick and give back");
    for balance in ["round-robin", "least-connections", "consistent-hash", "power-of-two"] {
        for backends in [3, 100] {
            let entrance = entrance(&parsed(&file(balance, backends)).pools[0]);
            let mut client = 0u32;
            group.bench_function(BenchmarkId::new(balance, backends), |b| {
                b.iter(|| {
                    client = client.wrapping_add(0x9e37_79b9);
                    black_box(entrance.pick(&ask(client)).unwrap());
                });
            });
        }
    }
    group.finish();
}

/// A route a host, in the order of their numbers, and one for each hundredth that asks for no host.
fn routes(count: usize) -> Routes<usize> {
    let route = |number: usize| {
        let host = NamePattern::Exact(format!("host-{number}.example.com").into());
        let mut when = Matchers { host: vec![host], ..Matchers::default() };
        if number % 100 == 99 {
            when.host.clear();
            when.path.push(PathPattern::Under(format!("/p{number}").into()));
        }
        let (name, leads) = (number.to_string().into(), Leads::Pool(number));
        Route { name, when, leads, treatment: Box::default() }
    };
    let routes: Vec<_> = (0..count).map(route).collect();
    Routes::new(&routes, Some(0), |_, target| target.pool())
}

fn route(c: &mut Criterion) {
    let mut group = c.benchmark_group("find a route");
    let client = Ipv4Addr::LOCALHOST.into();
    for count in [0, 1, 15, 100, 1000] {
        let routes = routes(count);
        // The last of them: all others would be tried before it.
        let host = format!("host-{}.example.com:8080", count.saturating_sub(2));
        let headers = HeaderMap::from_iter([(HOST, host.parse().unwrap())]);
        let uri = Uri::from_static("/api/v1/users?page=2");
        group.bench_function(BenchmarkId::from_parameter(count), |b| {
            b.iter(|| {
                let heading = Heading::of("GET", &uri, &headers).unwrap();
                let request = Some(&heading);
                let flight = Flight { client, sni: None, alpn: &[], request };
                black_box(routes.find(&flight, 7, |_| false).map(|way| way.to));
            });
        });
    }
    group.finish();
}

fn maglev(c: &mut Criterion) {
    let mut group = c.benchmark_group("maglev build");
    for backends in [3, 100, 1000] {
        let config = parsed(&file("consistent-hash", backends));
        group.bench_function(BenchmarkId::from_parameter(backends), |b| {
            b.iter(|| black_box(Pool::new(&config.pools[0], None)));
        });
    }
    group.finish();
}

fn parse(c: &mut Criterion) {
    let mut group = c.benchmark_group("config parse");
    for backends in [3, 1000] {
        let text = file("first", backends);
        group.bench_function(BenchmarkId::from_parameter(backends), |b| {
            b.iter(|| black_box(parsed(&text)));
        });
    }
    group.finish();
}

/// Two ends of a TLS connection after their handshake.
fn secured() -> (Session, Session) {
    let made = rcgen::generate_simple_self_signed(["db.example".to_owned()]).unwrap();
    let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let server = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key);
    let any = config::ClientTls { verify: false, ..config::ClientTls::default() };
    let client = tls::client(&any, &[]).unwrap();
    let mut client = Session::client(client, "db.example".try_into().unwrap()).unwrap();
    let mut server = Session::server(Arc::new(server.unwrap())).unwrap();
    while client.is_handshaking() || server.is_handshaking() {
        client.open(&mut server.due.split_off(0), &mut Vec::new()).unwrap();
        server.open(&mut client.due.split_off(0), &mut Vec::new()).unwrap();
    }
    client.open(&mut server.due.split_off(0), &mut Vec::new()).unwrap();
    (client, server)
}

fn seal_and_open(c: &mut Criterion) {
    let mut group = c.benchmark_group("tls seal and open");
    for size in [100, 16 * 1024, 128 * 1024] {
        let (mut client, mut server) = secured();
        let said = vec![7; size];
        let mut sealed = vec![0; Session::room_for(size)];
        let mut heard = Vec::with_capacity(size);
        group.throughput(Throughput::Bytes(size as u64));
        group.bench_function(BenchmarkId::from_parameter(size), |b| {
            b.iter(|| {
                let n = client.seal(&said, &mut sealed).unwrap();
                heard.clear();
                server.open(&mut sealed[..n], &mut heard).unwrap();
                assert_eq!(heard.len(), size);
            });
        });
    }
    group.finish();
}

criterion_group!(benches, pick, route, maglev, seal_and_open, parse);
criterion_main!(benches);
