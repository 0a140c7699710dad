//! `GET /api/v1/events`: changes of state as they happen, as server-sent events.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll};
use std::time::Duration;

use hyper::body::{Bytes, Frame};
use serde::Serialize;
use tokio::time::timeout;

use crate::admin::answer::{Answer, Body, Refusal, stream};
use crate::admin::path;
use crate::admin::status::rfc3339;
use crate::admin::stay::Stay;
use crate::api;
use crate::event::{Event, Heard, KEPT, Subject, Watcher};
use crate::metric::{Counter, Gauge};
use crate::server::Handle;

/// Who may watch at once: people and their tools, not traffic.
const WATCHERS: u64 = 32;

/// A quiet stream says so often that it is still there, so that both ends notice when it is not.
const HEARTBEAT: Duration = Duration::from_secs(15);

/// What a browser is told to wait before it comes again, and that the stream has begun.
const OPENING: &str = "retry: 2000\n\n";

/// Who watches, and what they missed.
#[derive(Debug, Default)]
pub(super) struct Streams {
    open: Arc<Gauge>,
    /// Events that watchers lost because they were too slow.
    pub(super) dropped: Arc<Counter>,
}

/// A watcher's place, given back on drop.
struct Place {
    open: Arc<Gauge>,
    stay: Arc<Stay>,
}

impl Drop for Place {
    fn drop(&mut self) {
        self.open.decrement();
        self.stay.streams.store(false, Ordering::Relaxed);
    }
}

/// Begins a stream. `stay` says so while it lasts.
pub(super) fn watch(
    (handle, streams): (&Handle, &Streams),
    query: Option<&str>,
    stay: &Arc<Stay>,
) -> Result<Answer, Refusal> {
    let recent = recent(query)?;
    if !streams.open.increment_below(WATCHERS) {
        let error = format!("{WATCHERS} streams of events are open already: close one of them");
        return Err(Refusal::unavailable(error));
    }
    stay.streams.store(true, Ordering::Relaxed);
    let place = Place { open: Arc::clone(&streams.open), stay: Arc::clone(stay) };
    let dropped = Arc::clone(&streams.dropped);
    let feed = Feed { watcher: handle.events.watch(recent), dropped, _place: place };
    let opening = async move { Some((Bytes::from_static(OPENING.as_bytes()), feed)) };
    Ok(stream("text/event-stream", Body::Stream(Stream(Box::pin(opening)))))
}

fn recent(query: Option<&str>) -> Result<usize, Refusal> {
    let Some(given) = path::value(query, "recent") else { return Ok(0) };
    let number = given.parse().ok().filter(|number| *number <= KEPT);
    let error = || format!("`recent` is {given:?}; it is a number from 0 to {KEPT}");
    number.ok_or_else(|| Refusal::bad(error()))
}

type Next = Pin<Box<dyn Future<Output = Option<(Bytes, Feed)>> + Send>>;

/// The body of a stream: what comes next, once it is there.
pub(super) struct Stream(Next);

impl Stream {
    pub(super) fn poll_frame(
        &mut self,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let Poll::Ready(next) = self.0.as_mut().poll(context) else { return Poll::Pending };
        let Some((bytes, feed)) = next else {
            self.0 = Box::pin(async { None });
            return Poll::Ready(None);
        };
        self.0 = Box::pin(feed.next());
        Poll::Ready(Some(Ok(Frame::data(bytes))))
    }
}

/// Where a stream's events come from.
struct Feed {
    watcher: Watcher,
    dropped: Arc<Counter>,
    _place: Place,
}

impl Feed {
    async fn next(mut self) -> Option<(Bytes, Self)> {
        let text = match timeout(HEARTBEAT, self.watcher.next()).await {
            Err(_) => ": still here\n\n".to_owned(),
            Ok(None) => return None,
            Ok(Some(Heard::Event(event))) => written(&event),
            Ok(Some(Heard::Lost(lost))) => {
                self.dropped.add(lost);
                message("lost", &api::Lost { lost })
            }
        };
        Some((text.into(), self))
    }
}

fn written(event: &Event) -> String {
    let name = |name: &Arc<str>| Some(name.to_string());
    let certificate = match &event.subject {
        Subject::Certificate { name: certificate, .. } => name(certificate),
        _ => None,
    };
    let (kind, listener, pool, backend) = match &event.subject {
        Subject::Backend { pool, backend } => ("backend", None, name(pool), name(backend)),
        Subject::Listener { listener } => ("listener", name(listener), None, None),
        Subject::Pool { pool } => ("pool", None, name(pool), None),
        Subject::Certificate { listener, .. } => ("certificate", name(listener), None, None),
        Subject::Reload => ("reload", None, None, None),
        Subject::Upgrade => ("upgrade", None, None, None),
    };
    let data = api::Event {
        time: rfc3339(event.time),
        listener,
        pool,
        backend,
        certificate,
        from: event.from.clone().into_owned(),
        to: event.to.clone().into_owned(),
        reason: event.reason.clone(),
    };
    message(kind, &data)
}

/// One message; JSON has no line feeds, so one line of data holds it.
fn message(kind: &str, data: &impl Serialize) -> String {
    let data = serde_json::to_string(data).unwrap_or_default();
    format!("event: {kind}\ndata: {data}\n\n")
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use super::*;

    #[test]
    fn an_event_is_two_lines_and_an_empty_one() {
        let event = Event {
            time: SystemTime::UNIX_EPOCH + Duration::from_millis(1_500),
            subject: Subject::Backend { pool: "db".into(), backend: "b1".into() },
            from: "up".into(),
            to: "down".into(),
            reason: "two\nlines".to_owned(),
        };
        let data = "{\"time\":\"1970-01-01T00:00:01.500Z\",\"pool\":\"db\",\"backend\":\"b1\",\
                    \"from\":\"up\",\"to\":\"down\",\"reason\":\"two\\nlines\"}";
        assert_eq!(written(&event), format!("event: backend\ndata: {data}\n\n"));
    }

    #[test]
    fn how_much_of_the_past_is_asked_for_in_numbers() {
        assert_eq!(recent(None).unwrap(), 0);
        assert_eq!(recent(Some("x=1&recent=100")).unwrap(), 100);
        for wrong in ["recent=101", "recent=-1", "recent=", "recent=many"] {
            assert!(recent(Some(wrong)).is_err(), "{wrong}");
        }
    }
}
