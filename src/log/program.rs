//! The program log: what `tracing` events become, and which of them are wanted.

use std::fmt;
use std::io::{self, Write};

use jiff::Timestamp;
use tracing::Subscriber;
use tracing::level_filters::LevelFilter;
use tracing_subscriber::Layer;
use tracing_subscriber::filter::{Filtered, Targets};
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::FormatTime;
use tracing_subscriber::fmt::{self as lines, MakeWriter};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::registry::Registry;
use tracing_subscriber::reload;

use crate::config::{Level, LogFormat};
use crate::log::writer::{Queue, Source};

/// The level in force, and what to say about an override that is no level.
pub(super) fn level(file: Level, asked: Option<String>) -> (Level, Option<String>) {
    let Some(word) = asked.filter(|word| !word.is_empty()) else { return (file, None) };
    match word.to_ascii_lowercase().as_str() {
        "error" => (Level::Error, None),
        "warn" => (Level::Warn, None),
        "info" => (Level::Info, None),
        "debug" => (Level::Debug, None),
        "trace" => (Level::Trace, None),
        _ => {
            let way_out = "write error, warn, info, debug or trace";
            (file, Some(format!("EVENKEEL_LOG: {word:?} is not a level; {way_out}")))
        }
    }
}

/// What turns events into lines on `queue`, and what turns that while it runs.
pub(super) fn subscriber(queue: Queue, level: Level, format: LogFormat) -> (impl Subscriber, Dial) {
    let wanted = layer(queue.clone(), format).with_filter(wanted(level));
    let (layer, handle) = reload::Layer::new(wanted);
    (tracing_subscriber::registry().with(layer), Dial { queue, handle })
}

type Shape = Box<dyn Layer<Registry> + Send + Sync>;

fn layer(queue: Queue, format: LogFormat) -> Shape {
    let lines = lines::layer::<Registry>().with_timer(Utc).with_writer(Lines(queue));
    match format {
        LogFormat::Text => lines.with_ansi(false).with_target(false).boxed(),
        LogFormat::Json => {
            lines.json().flatten_event(true).with_current_span(false).with_span_list(false).boxed()
        }
    }
}

/// Turns the level and the format of a program log.
pub(super) struct Dial {
    queue: Queue,
    handle: reload::Handle<Filtered<Shape, Targets, Registry>, Registry>,
}

impl fmt::Debug for Dial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Dial")
    }
}

impl Dial {
    /// Takes effect with the next event.
    pub(super) fn turn(&self, level: Level, format: LogFormat) {
        // In place: a filter that took the other's place would not be known to the registry.
        let turned = self.handle.modify(|lines| {
            *lines.filter_mut() = wanted(level);
            *lines.inner_mut() = layer(self.queue.clone(), format);
        });
        // Only if the subscriber is gone, and with it all lines.
        turned.unwrap_or_default();
    }
}

/// Other crates' lines only when somebody should act on them.
fn wanted(level: Level) -> Targets {
    let level = match level {
        Level::Error => LevelFilter::ERROR,
        Level::Warn => LevelFilter::WARN,
        Level::Info => LevelFilter::INFO,
        Level::Debug => LevelFilter::DEBUG,
        Level::Trace => LevelFilter::TRACE,
    };
    let others = level.min(LevelFilter::WARN);
    Targets::new().with_default(others).with_target("evenkeel", level)
}

/// RFC 3339 in UTC with milliseconds.
struct Utc;

impl FormatTime for Utc {
    fn format_time(&self, to: &mut Writer<'_>) -> fmt::Result {
        write!(to, "{:.3}", Timestamp::now())
    }
}

struct Lines(Queue);

impl<'a> MakeWriter<'a> for Lines {
    type Writer = Line<'a>;

    fn make_writer(&'a self) -> Line<'a> {
        Line(&self.0)
    }
}

/// Takes one formatted event, which comes in one piece.
struct Line<'a>(&'a Queue);

impl Write for Line<'_> {
    fn write(&mut self, event: &[u8]) -> io::Result<usize> {
        let body = event.strip_suffix(b"\n").unwrap_or(event);
        let mut line = Vec::with_capacity(event.len() + 1);
        for byte in body {
            // One event is one line, whatever a value in it contains.
            match byte {
                b'\n' => line.extend_from_slice(b"\\n"),
                other => line.push(*other),
            }
        }
        line.push(b'\n');
        self.0.offer(Source::Program, line);
        Ok(event.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::fs::{File, read_to_string};
    use std::time::Duration;

    use super::*;
    use crate::log::writer::Lost;

    fn said(level: Level, format: LogFormat, say: impl FnOnce()) -> Vec<String> {
        let file = tempfile::NamedTempFile::new().unwrap();
        let sink = File::create(file.path()).unwrap().into();
        let queue = Queue::start("test", sink, Lost::default()).unwrap();
        let (subscriber, _) = subscriber(queue.clone(), level, format);
        tracing::subscriber::with_default(subscriber, say);
        assert!(queue.flush(Duration::from_secs(5)));
        read_to_string(file.path()).unwrap().lines().map(str::to_owned).collect()
    }

    #[test]
    fn level_and_format_turn_while_it_runs() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let sink = File::create(file.path()).unwrap().into();
        let queue = Queue::start("test", sink, Lost::default()).unwrap();
        let (subscriber, dial) = subscriber(queue.clone(), Level::Info, LogFormat::Text);
        tracing::subscriber::with_default(subscriber, || {
            let say = |what: &str| tracing::debug!(target: "evenkeel::turn", what, "said");
            say("unheard");
            dial.turn(Level::Debug, LogFormat::Json);
            say("heard");
            dial.turn(Level::Warn, LogFormat::Text);
            say("unheard");
            tracing::warn!(target: "evenkeel::turn", "last");
        });
        assert!(queue.flush(Duration::from_secs(5)));
        let text = read_to_string(file.path()).unwrap();
        let lines: Vec<_> = text.lines().collect();
        assert_eq!(lines.len(), 2, "{text}");
        let heard: serde_json::Value = serde_json::from_str(lines[0]).unwrap();
        assert_eq!((&heard["what"], &heard["level"]), (&"heard".into(), &"DEBUG".into()));
        assert!(lines[1].contains("WARN") && lines[1].contains("last"), "{text}");
    }

    #[test]
    fn a_text_line_has_a_utc_time_and_the_fields() {
        let lines = said(Level::Info, LogFormat::Text, || {
            tracing::info!(listener = "front", "first\nsecond");
        });
        assert_eq!(lines.len(), 1, "{lines:?}");
        let (time, rest) = lines[0].split_once(' ').unwrap();
        assert_eq!((time.len(), &time[19..20], &time[23..]), (24, ".", "Z"), "{time}");
        assert_eq!(rest.trim_start(), r#"INFO first\nsecond listener="front""#);
    }

    #[test]
    fn a_json_line_is_flat() {
        let lines = said(Level::Info, LogFormat::Json, || {
            tracing::warn!(listener = "front", address = %"127.0.0.1:1", "listening");
        });
        let line: serde_json::Value = serde_json::from_str(&lines[0]).unwrap();
        assert_eq!(line["level"], "WARN");
        assert_eq!(line["message"], "listening");
        assert_eq!(line["listener"], "front");
        assert_eq!(line["address"], "127.0.0.1:1");
        assert!(line["timestamp"].as_str().unwrap().ends_with('Z'));
        assert!(line["target"].as_str().unwrap().starts_with("evenkeel"));
    }

    #[test]
    fn other_crates_are_heard_from_warnings_on() {
        let lines = said(Level::Debug, LogFormat::Text, || {
            tracing::debug!("ours");
            tracing::trace!("too much");
            tracing::info!(target: "hyper::proto", "theirs");
            tracing::warn!(target: "hyper::proto", "their trouble");
        });
        assert_eq!(lines.len(), 2, "{lines:?}");
        assert!(lines[0].ends_with("ours") && lines[1].ends_with("their trouble"));
    }

    #[test]
    fn the_environment_overrides_the_file() {
        assert_eq!(level(Level::Info, Some("TRACE".into())), (Level::Trace, None));
        assert_eq!(level(Level::Info, Some(String::new())), (Level::Info, None));
        let (kept, complaint) = level(Level::Warn, Some("loud".into()));
        assert_eq!(kept, Level::Warn);
        assert!(complaint.unwrap().contains("\"loud\""));
    }
}
