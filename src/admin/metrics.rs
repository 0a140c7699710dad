//! The server's counters as metrics: walks the snapshot at each scrape.

use std::sync::Arc;

use metrics_process::collector;

use crate::admin::book::{Book, Pair, named, word};
use crate::admin::names;
use crate::admin::routes::Site;
use crate::admin::tls;
use crate::config::Protocol;
use crate::metric::Histogram;
use crate::pool::{Backend, Health, Pool, STATES};
use crate::server::{Handle, Reloads, Snapshot};
use crate::session::Tally;

/// All metrics as Prometheus text.
pub(super) fn render(site: &Site) -> String {
    let snapshot = site.handle.snapshot();
    let lines = lines(&snapshot.pools);
    let mut book = Book::new();
    process(&mut book, site);
    workers(&book, &site.handle);
    listeners(&book, &snapshot);
    datagrams(&book, &snapshot);
    requests(&mut book, &snapshot);
    http(&book, &snapshot);
    pools(&book, &snapshot.pools);
    discoveries(&book, &site.handle);
    standings(&book, &snapshot.pools);
    sessions(&book, &lines);
    durations(&mut book, &snapshot.pools, &lines);
    tls::metrics(&mut book, &snapshot);
    book.render()
}

/// One listener's sessions with one backend.
struct Line {
    listener: Arc<str>,
    pool: Arc<str>,
    backend: Arc<str>,
    tally: Arc<Tally>,
}

impl Line {
    fn pairs(&self) -> [Pair<'_>; 3] {
        [("listener", &self.listener), ("pool", &self.pool), ("backend", &self.backend)]
    }

    fn labels(&self) -> Vec<metrics::Label> {
        self.pairs().map(|(key, value)| named(key, value)).to_vec()
    }
}

fn lines(pools: &[Arc<Pool>]) -> Vec<Line> {
    let mut lines = Vec::new();
    for (pool, backend) in backends(pools) {
        lines.extend(backend.tallies().into_iter().map(|(listener, tally)| Line {
            listener,
            pool: Arc::clone(pool.name()),
            backend: Arc::clone(backend.name()),
            tally,
        }));
    }
    lines
}

fn backends(pools: &[Arc<Pool>]) -> impl Iterator<Item = (&Pool, Arc<Backend>)> {
    pools.iter().flat_map(|pool| {
        let ready = pool.ready();
        let backends: Vec<_> = ready.backends().map(Arc::clone).collect();
        backends.into_iter().map(|backend| (pool.as_ref(), backend))
    })
}

fn of(pool: &Pool, backend: &Backend) -> Vec<metrics::Label> {
    vec![named("pool", pool.name()), named("backend", backend.name())]
}

fn process(book: &mut Book, site: &Site) {
    book.family(&names::BUILD_INFO).set(vec![word("version", env!("CARGO_PKG_VERSION"))], 1);
    book.family(&names::ACCESS_LOG_DROPPED).set(Vec::new(), site.access_dropped.get());
    book.family(&names::EVENTS_DROPPED).set(Vec::new(), site.streams.dropped.get());
    let reloads = book.family(&names::RELOADS);
    let Reloads { ok, refused } = &site.handle.reloads;
    reloads.set(vec![word("outcome", "ok")], ok.get());
    reloads.set(vec![word("outcome", "refused")], refused.get());
    let seen = collector::collect();
    let gauges = [
        (&names::OPEN_FDS, seen.open_fds),
        (&names::MAX_FDS, seen.max_fds),
        (&names::VIRTUAL_MEMORY, seen.virtual_memory_bytes),
        (&names::VIRTUAL_MEMORY_MAX, seen.virtual_memory_max_bytes),
        (&names::RESIDENT_MEMORY, seen.resident_memory_bytes),
        (&names::START_TIME, seen.start_time_seconds),
        (&names::THREADS, seen.threads),
    ];
    for (metric, value) in gauges {
        if let Some(value) = value {
            book.family(metric).set(Vec::new(), value);
        }
    }
    if let Some(seconds) = seen.cpu_seconds_total {
        book.seconds(&names::CPU_SECONDS, seconds);
    }
}

fn workers(book: &Book, handle: &Handle) {
    let sessions = book.family(&names::WORKER_SESSIONS);
    for (worker, live) in handle.workers.iter().enumerate() {
        sessions.set(vec![metrics::Label::new("worker", worker.to_string())], live.get());
    }
}

fn listeners(book: &Book, snapshot: &Snapshot) {
    let rejected = book.family(&names::REJECTED);
    let paused = book.family(&names::ACCEPT_PAUSED);
    let led = book.family(&names::ROUTE_SESSIONS);
    let limited = book.family(&names::HTTP_RATE_LIMITED);
    let specs = &snapshot.config.listeners;
    for listener in &snapshot.listeners {
        let name = || named("listener", &listener.name);
        for (reason, count) in listener.figures.rejected() {
            rejected.set(vec![name(), word("reason", reason.as_str())], count);
        }
        paused.set(vec![name()], listener.figures.accept_paused.get());
        let spec = specs.iter().find(|spec| spec.name == listener.name);
        let is_http = spec.is_some_and(|spec| spec.protocol == Protocol::Http);
        for route in &listener.routes {
            led.set(vec![name(), named("route", &route.name)], route.sessions.get());
            if is_http {
                limited.set(vec![name(), named("route", &route.name)], route.limited.get());
            }
        }
    }
}

fn datagrams(book: &Book, snapshot: &Snapshot) {
    let datagrams = book.family(&names::UDP_DATAGRAMS);
    let active = book.family(&names::UDP_SESSIONS);
    let dropped = book.family(&names::UDP_DROPPED);
    let kernel = snapshot.kernel_drops();
    for listener in snapshot.listeners.iter().filter(|listener| listener.is_udp()) {
        let (name, figures) = (named("listener", &listener.name), &listener.figures);
        let with = |label| vec![name.clone(), label];
        datagrams.set(with(word("direction", "in")), figures.datagrams_in.get());
        datagrams.set(with(word("direction", "out")), figures.datagrams_out.get());
        active.set(vec![name.clone()], figures.admitted.get());
        dropped.set(with(word("reason", "kernel")), kernel.of(&listener.datagram_sockets));
        for (why, count) in figures.dropped() {
            dropped.set(with(word("reason", why.as_str())), count);
        }
    }
}

fn requests(book: &mut Book, snapshot: &Snapshot) {
    let nothing: Arc<str> = Arc::default();
    let name = |name: &Option<Arc<str>>| Arc::clone(name.as_ref().unwrap_or(&nothing));
    let mut routes = Vec::new();
    let codes = book.family(&names::HTTP_REQUESTS);
    for listener in &snapshot.listeners {
        for requests in &listener.requests {
            let (route, pool) = (name(&requests.route), name(&requests.pool));
            let set = |code: String, count| {
                let (listener, route) = (named("listener", &listener.name), named("route", &route));
                let code = metrics::Label::new("code", code);
                codes.set(vec![listener, route, named("pool", &pool), code], count);
            };
            set(requests.usual.to_string(), 0);
            for (status, count) in requests.codes.seen() {
                set(status.map_or_else(|| "none".to_owned(), |status| status.to_string()), count);
            }
            // The lanes of one route share it, and stand together.
            let last = routes.last().map(|(_, _, duration)| duration);
            if !last.is_some_and(|last| Arc::ptr_eq(last, &requests.duration)) {
                routes.push((&listener.name, route, Arc::clone(&requests.duration)));
            }
        }
    }
    let series = routes.iter().map(|(listener, route, duration)| {
        (vec![("listener", *listener), ("route", route)], &**duration)
    });
    book.histograms(&names::HTTP_DURATION, series);
}

fn http(book: &Book, snapshot: &Snapshot) {
    let connections = book.family(&names::HTTP_CONNECTIONS);
    let abuse = book.family(&names::HTTP_ABUSE);
    for listener in snapshot.listeners.iter().filter(|listener| snapshot.is_http(&listener.name)) {
        let (name, figures) = (named("listener", &listener.name), &listener.figures);
        connections.set(vec![name.clone()], figures.http_connections.get());
        for (kind, count) in figures.abused() {
            abuse.set(vec![name.clone(), word("kind", kind.as_str())], count);
        }
    }
}

fn discoveries(book: &Book, handle: &Handle) {
    let age = book.family(&names::DISCOVERY_AGE);
    let failures = book.family(&names::DISCOVERY_FAILURES);
    for view in handle.discoveries().iter() {
        let labels = || vec![named("pool", &view.pool)];
        failures.set(labels(), view.failures().get());
        if let Some(found) = view.age() {
            age.set(labels(), found.as_secs());
        }
    }
}

fn pools(book: &Book, pools: &[Arc<Pool>]) {
    let retries = book.family(&names::RETRIES);
    let exhausted = book.family(&names::BUDGET_EXHAUSTED);
    let length = book.family(&names::QUEUE_LENGTH);
    let abandoned = book.family(&names::QUEUE_ABANDONED);
    let entries = book.family(&names::STICKY_ENTRIES);
    let evicted = book.family(&names::STICKY_EVICTED);
    for pool in pools {
        let labels = || vec![named("pool", pool.name())];
        retries.set(labels(), pool.retries.get());
        exhausted.set(labels(), pool.budget.exhausted.get());
        length.set(labels(), pool.queue().len() as u64);
        abandoned.set(labels(), pool.queue().abandoned.get());
        entries.set(labels(), pool.sticky().map_or(0, |sticky| sticky.len() as u64));
        evicted.set(labels(), pool.sticky().map_or(0, |sticky| sticky.evicted.get()));
    }
    let failures = book.family(&names::CONNECT_FAILURES);
    let early = book.family(&names::EARLY_RESETS);
    let requests = book.family(&names::REQUEST_FAILURES);
    let ejections = book.family(&names::EJECTIONS);
    let probes = book.family(&names::PROBES);
    let links = book.family(&names::HTTP_LINKS);
    for (pool, backend) in backends(pools) {
        let with = |label| [of(pool, &backend), vec![label]].concat();
        links.set(with(word("state", "active")), backend.links.active());
        links.set(with(word("state", "idle")), backend.links.idle());
        for (reason, count) in backend.stats.connect_failures() {
            failures.set(with(word("reason", reason.as_str())), count);
        }
        for (reason, count) in backend.request_failures() {
            requests.set(with(word("reason", reason.as_str())), count);
        }
        early.set(of(pool, &backend), backend.early_resets());
        ejections.set(of(pool, &backend), backend.stats.ejections.get());
        probes.set(with(word("result", "ok")), backend.stats.probes_ok.get());
        probes.set(with(word("result", "failed")), backend.stats.probes_failed.get());
    }
}

fn standings(book: &Book, pools: &[Arc<Pool>]) {
    let up = book.family(&names::BACKEND_UP);
    let states = book.family(&names::BACKEND_STATE);
    let weights = book.family(&names::BACKEND_WEIGHT);
    for pool in pools {
        let ready = pool.ready();
        for (place, member) in ready.members().iter().enumerate() {
            let labels = of(pool, &member.backend);
            let standing = member.backend.standing();
            for state in STATES {
                let labels = [labels.clone(), vec![word("state", state)]].concat();
                states.set(labels, u64::from(state == standing.state()));
            }
            up.set(labels.clone(), u64::from(standing.health == Health::Up));
            weights.set(labels, u64::from(ready.weight(place)));
        }
    }
}

fn sessions(book: &Book, lines: &[Line]) {
    let ended = book.family(&names::SESSIONS_TOTAL);
    let active = book.family(&names::SESSIONS_ACTIVE);
    let bytes = book.family(&names::BYTES);
    for line in lines {
        let with = |label| [line.labels(), vec![label]].concat();
        for (outcome, count) in line.tally.ended() {
            ended.set(with(word("outcome", outcome.as_str())), count);
        }
        active.set(line.labels(), line.tally.active.get());
        bytes.set(with(word("direction", "in")), line.tally.bytes_in.get());
        bytes.set(with(word("direction", "out")), line.tally.bytes_out.get());
    }
}

fn durations(book: &mut Book, pools: &[Arc<Pool>], lines: &[Line]) {
    let sessions = lines.iter().map(|line| (line.pairs().to_vec(), &line.tally.duration));
    book.histograms(&names::SESSION_DURATION, sessions);
    let waits = pools.iter().map(|pool| (vec![("pool", pool.name())], &*pool.queue().wait));
    book.histograms(&names::QUEUE_WAIT, waits);
    let all: Vec<_> = backends(pools).collect();
    let of_backends = |which: fn(&Backend) -> &Histogram| {
        all.iter().map(move |(pool, backend)| {
            (vec![("pool", pool.name()), ("backend", backend.name())], which(backend))
        })
    };
    let connects = of_backends(|backend| &backend.stats.connect_duration);
    book.histograms(&names::CONNECT_DURATION, connects);
    let probes = of_backends(|backend| &backend.stats.probe_duration);
    book.histograms(&names::PROBE_DURATION, probes);
}
