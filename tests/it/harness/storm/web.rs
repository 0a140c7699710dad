//! Clients of HTTP that keep their connections: version 1.1 and 2.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Empty};
use hyper::Request;
use hyper::client::conn::http2::{Builder, SendRequest};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval, timeout};

use super::{Beat, Sky, Storm};
use crate::harness::servers::Server;
use crate::harness::wait::PATIENCE;
use crate::harness::whoami::{Browser, answering, get};

/// Each client asks so often.
const GAP: Duration = Duration::from_millis(40);

/// Answers each request with its name and the path that was asked for.
pub(crate) fn pages(name: &str) -> Server {
    let own = name.to_owned();
    answering(name, move |head| format!("{own} {}", head.split(' ').nth(1).unwrap_or_default()))
}

/// Whether a page is the one that was asked for.
fn check(status: u16, body: &str, path: &str) -> Result<(), String> {
    let is_well = status == 200 && body.split(' ').nth(1) == Some(path);
    if is_well { Ok(()) } else { Err(format!("{status} {body:?} for {path}")) }
}

/// So many clients of HTTP/1.1, each on one connection. Only a server that has said so with its last
/// answer may end it.
#[track_caller]
pub(crate) fn browsers(at: SocketAddr, count: u32) -> Storm {
    let lane = |turn: u32| {
        let mut browser = Browser::open(at);
        move |sky: &Arc<Sky>| {
            let mut beat = Beat::new(GAP, turn, count);
            let mut number = 0_u64;
            while !sky.is_over() {
                beat.wait();
                number += 1;
                let path = format!("/{turn}/{number}");
                let (is_kept, outcome) = match browser.ask(&get(&path, "")) {
                    Ok(told) => (!told.is_last, check(told.status, &told.body, &path)),
                    Err(error) => (false, Err(format!("{error} ({:?}) for {path}", error.kind()))),
                };
                match outcome {
                    Ok(()) => sky.well(),
                    Err(what) => sky.fail(format!("HTTP/1.1: {what}")),
                }
                if !is_kept {
                    sky.moved();
                    match Browser::try_open(at) {
                        Ok(next) => browser = next,
                        Err(error) => sky.fail(format!("HTTP/1.1: a new connection: {error}")),
                    }
                }
            }
        }
    };
    Storm::of((0..count).map(lane).collect())
}

/// So many connections of HTTP/2, each with clients that ask over it at once. A connection may end when
/// it has said which requests it still takes, and those are answered.
pub(crate) fn streams(at: SocketAddr, connections: u32, clients: u32) -> Storm {
    let lane = |turn: u32| {
        move |sky: &Arc<Sky>| {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.unwrap().block_on(one_after_the_other(sky, at, turn, clients));
        }
    };
    Storm::of((0..connections).map(lane).collect())
}

async fn one_after_the_other(sky: &Arc<Sky>, at: SocketAddr, turn: u32, clients: u32) {
    for round in 0.. {
        if sky.is_over() {
            return;
        }
        if round > 0 {
            sky.moved();
        }
        let mut tasks = JoinSet::new();
        let sender = match timeout(PATIENCE, dial(at, &mut tasks)).await {
            Ok(Ok(sender)) => sender,
            Ok(Err(error)) => return sky.fail(format!("HTTP/2: a new connection: {error}")),
            Err(_) => return sky.fail("HTTP/2: no handshake in time".into()),
        };
        for client in 0..clients {
            let name = format!("{turn}/{client}/{round}");
            tasks.spawn(ask_until_it_ends(Arc::clone(sky), sender.clone(), name));
        }
        drop(sender);
        while tasks.join_next().await.is_some() {}
    }
}

async fn dial(at: SocketAddr, tasks: &mut JoinSet<()>) -> io::Result<SendRequest<Empty<Bytes>>> {
    let stream = TcpStream::connect(at).await?;
    stream.set_nodelay(true)?;
    let handshake = Builder::new(TokioExecutor::new()).handshake(TokioIo::new(stream)).await;
    let (sender, connection) = handshake.map_err(io::Error::other)?;
    // What goes wrong there is heard of by those who ask.
    tasks.spawn(async { drop(connection.await) });
    Ok(sender)
}

/// One client, until the storm is over or the connection takes nothing more.
async fn ask_until_it_ends(sky: Arc<Sky>, mut sender: SendRequest<Empty<Bytes>>, name: String) {
    let mut ticks = interval(GAP * 2);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    for number in 0.. {
        ticks.tick().await;
        if sky.is_over() || sender.ready().await.is_err() {
            return;
        }
        let path = format!("/{name}/{number}");
        match timeout(PATIENCE, ask(&mut sender, &path)).await {
            Ok(Ok(())) => sky.well(),
            // It never left: the connection was about to end, and has said so.
            Ok(Err(Missed::Unsent)) => return,
            Ok(Err(Missed::Failed(what))) => sky.fail(format!("HTTP/2: {what}")),
            Err(_) => sky.fail(format!("HTTP/2: no answer for {path}")),
        }
    }
}

enum Missed {
    Unsent,
    Failed(String),
}

async fn ask(sender: &mut SendRequest<Empty<Bytes>>, path: &str) -> Result<(), Missed> {
    let request = Request::get(format!("http://shop.example{path}")).body(Empty::new()).unwrap();
    let failed = |error: hyper::Error| match error.is_canceled() {
        true => Missed::Unsent,
        false => Missed::Failed(format!("{error:?} for {path}")),
    };
    let answer = sender.send_request(request).await.map_err(failed)?;
    let status = answer.status().as_u16();
    let cut = |error| Missed::Failed(format!("{error:?} in the body of {path}"));
    let body = answer.into_body().collect().await.map_err(cut)?.to_bytes();
    check(status, &String::from_utf8_lossy(&body), path).map_err(Missed::Failed)
}
