//! What is asked, and who answers it.

use std::sync::Arc;

use hyper::body::Body;
use hyper::{Method, Request, StatusCode};
use tokio::sync::Mutex;
use tokio::task::spawn_blocking;

use crate::admin::answer::{Answer, Refusal, json, text, whole};
use crate::admin::command::{Command, Waiters};
use crate::admin::events::Streams;
use crate::admin::path::matched;
use crate::admin::stay::Stay;
use crate::admin::token::{self, Token};
use crate::admin::{
    book, command, dashboard, events, host, metrics, readiness, route, status, steer,
};
use crate::metric::Counter;
use crate::server::Handle;

/// What the answers are made from.
#[derive(Debug)]
pub(super) struct Site {
    pub(super) handle: Arc<Handle>,
    pub(super) access_dropped: Arc<Counter>,
    /// True if the interface is bound to a loopback address.
    pub(super) loopback: bool,
    /// What whoever changes something must know; `None` = nothing.
    pub(super) token: Option<Arc<Token>>,
    pub(super) streams: Streams,
    pub(super) waiters: Waiters,
    /// Held while metrics are written: see [`exposition`].
    pub(super) writing: Arc<Mutex<()>>,
}

/// What can be asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Call {
    Dashboard,
    Health,
    Readiness,
    Metrics,
    Status,
    Steer,
    Events,
    Route,
    Command(Command),
}

/// Each call with its path; `{…}` stands for a name.
const CALLS: [(&str, Call); 12] = [
    ("/", Call::Dashboard),
    ("/healthz", Call::Health),
    ("/readyz", Call::Readiness),
    ("/metrics", Call::Metrics),
    ("/api/v1/status", Call::Status),
    ("/api/v1/pools/{pool}/backends/{backend}", Call::Steer),
    ("/api/v1/events", Call::Events),
    ("/api/v1/route", Call::Route),
    ("/api/v1/plan", Call::Command(Command::Plan)),
    ("/api/v1/reload", Call::Command(Command::Reload)),
    ("/api/v1/confirm", Call::Command(Command::Confirm)),
    ("/api/v1/upgrade", Call::Command(Command::Upgrade)),
];

impl Call {
    /// As `Allow` lists them.
    fn methods(self) -> &'static str {
        match self {
            Self::Steer => "PATCH",
            Self::Events => "GET",
            Self::Command(_) => "POST",
            _ => "GET, HEAD",
        }
    }

    fn takes(self, method: &Method) -> bool {
        self.methods().split(", ").any(|known| known == method.as_str())
    }

    /// True if it changes something.
    fn changes(self) -> bool {
        match self {
            Self::Steer => true,
            Self::Command(command) => command != Command::Plan,
            _ => false,
        }
    }
}

/// Answers one request; `stay` says meanwhile why it takes long.
pub(super) async fn answer<B: Body>(
    site: &Arc<Site>,
    request: Request<B>,
    stay: &Arc<Stay>,
) -> Answer {
    given(site, request, stay).await.unwrap_or_else(Answer::from)
}

async fn given<B: Body>(
    site: &Arc<Site>,
    request: Request<B>,
    stay: &Arc<Stay>,
) -> Result<Answer, Refusal> {
    if site.loopback && !host::is_loopback(&request) {
        let error = "this address serves loopback only: call it as localhost or by its address";
        return Err(Refusal::new(StatusCode::FORBIDDEN, error));
    }
    let (call, names) = find(request.uri().path())?;
    if !call.takes(request.method()) {
        let (path, method, methods) = (request.uri().path(), request.method(), call.methods());
        let error = format!("{path} answers {methods}, not {method}");
        return Err(Refusal::new(StatusCode::METHOD_NOT_ALLOWED, error).allowing(methods));
    }
    if call == Call::Command(Command::Plan) {
        // It changes nothing, and a page from elsewhere has no business with it all the same.
        token::check_page(&request)?;
    }
    if call.changes() {
        token::check(site.token.as_deref(), &request)?;
    }
    match (call, &*names) {
        (Call::Dashboard, _) => Ok(dashboard::page(&request)),
        (Call::Health, _) => Ok(text("ok\n")),
        (Call::Readiness, _) => ready(site),
        (Call::Metrics, _) => exposition(site).await,
        (Call::Status, _) => Ok(json(StatusCode::OK, &status::report(&site.handle))),
        (Call::Route, _) => route::answer(&site.handle, request.uri().query()),
        (Call::Events, _) => {
            events::watch((&site.handle, &site.streams), request.uri().query(), stay)
        }
        (Call::Command(command), _) => {
            command::obey(&site.handle, (command, &site.waiters), request, stay).await
        }
        (Call::Steer, [pool, backend]) => {
            steer::steer(&site.handle, (pool, backend), request).await
        }
        (Call::Steer, _) => Err(nothing_at(request.uri().path())),
    }
}

/// The call at a path, and the names in it.
fn find(path: &str) -> Result<(Call, Vec<String>), Refusal> {
    let found = CALLS.iter().find_map(|(pattern, call)| Some((*call, matched(pattern, path)?)));
    found.ok_or_else(|| nothing_at(path))
}

fn nothing_at(path: &str) -> Refusal {
    let known: Vec<_> = CALLS.iter().map(|(pattern, _)| *pattern).collect();
    Refusal::missing(format!("nothing at {path}; there are {}", known.join(", ")))
}

fn ready(site: &Site) -> Result<Answer, Refusal> {
    let reasons = readiness::reasons(&site.handle);
    if reasons.is_empty() {
        return Ok(text("ready\n"));
    }
    let error = format!("not ready: {}", reasons.join("; "));
    Err(Refusal::unavailable(error).because(reasons))
}

/// Thousands of backends take a while, in which the control plane's threads must go on probing: this
/// has a thread of its own, and whoever asks meanwhile waits.
async fn exposition(site: &Arc<Site>) -> Result<Answer, Refusal> {
    // Kept by the thread, which goes on when whoever asked has gone.
    let turn = Arc::clone(&site.writing).lock_owned().await;
    let site = Arc::clone(site);
    let written = spawn_blocking(move || {
        let text = metrics::render(&site);
        drop(turn);
        text
    });
    let text = written.await.map_err(|_| Refusal::unavailable("the process is stopping"))?;
    Ok(whole(StatusCode::OK, book::CONTENT_TYPE, text.into_bytes()))
}
