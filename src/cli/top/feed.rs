//! Where the news comes from: a thread that asks and tells, one that listens to events, one that
//! waits for keys.
//!
//! They end with the process, since two of them sit in a read that nobody can wake.

use std::io::{self, BufRead, BufReader};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

use ratatui::crossterm::event::{self, KeyEvent, KeyEventKind};
use tokio::sync::mpsc;

use crate::api;
use crate::cli::place::Place;
use crate::cli::{ask, status};
use crate::config::AdminBind;

/// Events of before that are asked for.
const RECENT: usize = 50;

/// After a stream of events has ended.
const PAUSE: Duration = Duration::from_secs(2);

/// Wishes that may wait.
const WISHES: usize = 8;

/// What the threads bring.
#[derive(Debug)]
pub(super) enum News {
    /// A report, or why there is none.
    Status(Box<Result<api::Status, String>>),
    /// An event and its kind.
    Event(String, api::Event),
    /// So many events were missed.
    Lost(u64),
    /// How a wish went.
    Done(Result<String, String>),
    /// A key was pressed.
    Key(KeyEvent),
    /// The terminal has another size.
    Resized,
    /// The terminal can no longer be read.
    Closed,
}

/// The way to the thread that tells the balancer.
pub(super) struct Feed {
    wishes: SyncSender<(Place, api::Steer)>,
}

impl Feed {
    /// Starts the threads.
    pub(super) fn start(
        admin: &AdminBind,
        token: Option<String>,
        interval: Duration,
        news: &mpsc::Sender<News>,
    ) -> io::Result<Self> {
        let (wishes, waiting) = sync_channel(WISHES);
        let (place, out) = (admin.clone(), news.clone());
        thread::Builder::new()
            .name("status".to_owned())
            .spawn(move || ask_on(&place, token.as_deref(), interval, &waiting, &out))?;
        let (place, out) = (admin.clone(), news.clone());
        thread::Builder::new().name("events".to_owned()).spawn(move || listen(&place, &out))?;
        let out = news.clone();
        thread::Builder::new().name("keys".to_owned()).spawn(move || watch_keys(&out))?;
        Ok(Self { wishes })
    }

    /// Has the balancer told; the error says why not.
    pub(super) fn tell(&self, place: Place, steer: api::Steer) -> Result<(), String> {
        self.wishes.try_send((place, steer)).map_err(|error| match error {
            TrySendError::Full(_) => "too much is under way already".to_owned(),
            TrySendError::Disconnected(_) => "nobody is there to tell the balancer".to_owned(),
        })
    }
}

/// Asks for a report each `interval`, and at once after a wish.
fn ask_on(
    admin: &AdminBind,
    token: Option<&str>,
    interval: Duration,
    wishes: &Receiver<(Place, api::Steer)>,
    news: &mpsc::Sender<News>,
) {
    loop {
        let asked = Instant::now();
        let report = Box::new(status::fetch(admin).map(|(status, _)| status));
        if news.blocking_send(News::Status(report)).is_err() {
            return;
        }
        match wishes.recv_timeout(interval.saturating_sub(asked.elapsed())) {
            Ok((place, wish)) => {
                let went = steer(admin, token, &place, &wish);
                if news.blocking_send(News::Done(went)).is_err() {
                    return;
                }
            }
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return,
        }
    }
}

/// Tells the balancer, and says how that went.
fn steer(
    admin: &AdminBind,
    token: Option<&str>,
    place: &Place,
    wish: &api::Steer,
) -> Result<String, String> {
    let now: api::BackendStatus = ask::patch(admin, &place.path(), token, wish)?;
    let (state, health, weight) = (now.state, now.health, now.weight);
    Ok(format!("{place} is {state}, health {health}, weight {weight}"))
}

/// Listens to events for as long as somebody takes them.
fn listen(admin: &AdminBind, news: &mpsc::Sender<News>) {
    while !news.is_closed() {
        // A balancer that is gone is said by whoever asks for reports.
        if let Ok(stream) = ask::stream(admin, &format!("/api/v1/events?recent={RECENT}")) {
            read_events(BufReader::new(stream), |found| news.blocking_send(found).is_ok()).ok();
        }
        thread::park_timeout(PAUSE);
    }
}

/// Reads a stream of events to its end, or until `take` says that nobody wants more.
fn read_events(stream: impl BufRead, mut take: impl FnMut(News) -> bool) -> io::Result<()> {
    let mut kind = String::new();
    for line in stream.lines() {
        let line = line?;
        if let Some(name) = line.strip_prefix("event: ") {
            name.clone_into(&mut kind);
        } else if let Some(data) = line.strip_prefix("data: ") {
            let news = if kind == "lost" {
                serde_json::from_str(data).map(|lost: api::Lost| News::Lost(lost.lost))
            } else {
                serde_json::from_str(data).map(|event| News::Event(kind.clone(), event))
            };
            // A kind of a later version may look different.
            if let Ok(news) = news
                && !take(news)
            {
                return Ok(());
            }
        }
    }
    Ok(())
}

fn watch_keys(news: &mpsc::Sender<News>) {
    loop {
        let found = match event::read() {
            Ok(event::Event::Key(key)) if key.kind != KeyEventKind::Release => News::Key(key),
            Ok(event::Event::Resize(..)) => News::Resized,
            Ok(_) => continue,
            Err(_) => News::Closed,
        };
        let last = matches!(found, News::Closed);
        if news.blocking_send(found).is_err() || last {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_read_as_they_were_sent() {
        let data =
            "{\"time\":\"t\",\"pool\":\"p\",\"from\":\"up\",\"to\":\"down\",\"reason\":\"r\"}";
        let text = format!(
            "retry: 2000\n\nevent: pool\ndata: {data}\n\n: still here\n\nevent: new\ndata: 7\n\n\
             event: lost\ndata: {{\"lost\":3}}\n\nevent: pool\ndata: {data}\n\n"
        );
        let mut found = Vec::new();
        read_events(text.as_bytes(), |news| {
            found.push(format!("{news:?}"));
            found.len() < 2
        })
        .unwrap();
        assert!(found[0].starts_with("Event(\"pool\", Event { time: \"t\""), "{}", found[0]);
        assert_eq!((found[1].as_str(), found.len()), ("Lost(3)", 2));
    }
}
