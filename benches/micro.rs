//! What the data path and a reload pay for by themselves: picking, building and asking a Maglev
//! table, reading a file. `cargo bench --bench micro`.

#![allow(clippy::unwrap_used, missing_docs, reason = "a benchmark fails by panicking")]

use std::hint::black_box;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};

use evenkeel::addr::ClientAddr;
use evenkeel::config::{self, Config};
use evenkeel::pool::{Ask, Entrance, Health, Judged, Pool, Standing, Warmth};

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
    let pool = Arc::new(Pool::new(spec, |_| None));
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
    Ask { client: ClientAddr::new(client), chance, now: 0, tried: &[] }
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

fn maglev(c: &mut Criterion) {
    let mut group = c.benchmark_group("maglev build");
    for backends in [3, 100, 1000] {
        let config = parsed(&file("consistent-hash", backends));
        group.bench_function(BenchmarkId::from_parameter(backends), |b| {
            b.iter(|| black_box(Pool::new(&config.pools[0], |_| None)));
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

criterion_group!(benches, pick, maglev, parse);
criterion_main!(benches);
