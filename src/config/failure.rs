//! Reads the tables of a pool about failing, waiting and leaving: `passive`, `queue` and `close`.

use super::read::Section;
use super::tree::Kind;
use super::units::write_duration;
use super::value::Value;
use super::words::{nearest, quoted};
use super::{Close, Closing, Passive, ProxyVersion, Queue};

pub(super) const PASSIVE_KEYS: &[&str] =
    &["failures", "window", "eject_for", "eject_max", "max_ejected"];
pub(super) const QUEUE_KEYS: &[&str] = &["size", "timeout"];
pub(super) const CLOSE_KEYS: &[&str] = &["down", "role", "drain", "removed", "maintenance"];

pub(super) const PROXY_VERSIONS: &[(&str, ProxyVersion)] =
    &[("v1", ProxyVersion::V1), ("v2", ProxyVersion::V2)];

const CLOSINGS: &[(&str, Closing)] = &[("keep", Closing::Keep), ("now", Closing::Now)];

/// More than this in a window is no longer a failing backend but a way of counting sessions.
pub(super) const MOST_FAILURES: u32 = 1000;

pub(super) fn passive(section: &Section<'_>) -> Passive {
    let section = section.clone().only(PASSIVE_KEYS, &[]);
    let default = Passive::default();
    let written = section.value("eject_for");
    let taken = section.some_duration("eject_for");
    let eject_for = taken.unwrap_or(default.eject_for);
    // Who asks for a longer ejection alone means it.
    let eject_max = section.duration("eject_max", default.eject_max.max(eject_for));
    if let Some(value) = section.value("eject_max")
        && eject_max < eject_for
        // One that was refused has no length to compare with.
        && written.is_some() == taken.is_some()
    {
        let eject_for = write_duration(eject_for);
        let by_default = if written.is_some() { "" } else { ", which is the default" };
        let message = format!(
            "is {}, shorter than eject_for, {eject_for}{by_default}",
            write_duration(eject_max)
        );
        let way_out =
            format!("write eject_max = \"{eject_for}\" or longer, or a shorter eject_for");
        value.refuse(&message, &way_out);
    }
    Passive {
        failures: section.integer("failures", 0..=MOST_FAILURES, default.failures),
        window: section.duration("window", default.window),
        eject_for,
        eject_max,
        max_ejected: section
            .value("max_ejected")
            .and_then(|value| value.percent())
            .unwrap_or(default.max_ejected),
    }
}

pub(super) fn queue(section: &Section<'_>) -> Queue {
    let section = section.clone().only(QUEUE_KEYS, &[]);
    let default = Queue::default();
    Queue {
        size: section.integer("size", 0..=u32::MAX, default.size),
        timeout: section.duration("timeout", default.timeout),
    }
}

pub(super) fn close(section: &Section<'_>) -> Close {
    let section = section.clone().only(CLOSE_KEYS, &[]);
    let default = Close::default();
    let closing =
        |key, default| section.value(key).and_then(|value| closing(&value)).unwrap_or(default);
    Close {
        down: closing("down", default.down),
        role: closing("role", default.role),
        drain: closing("drain", default.drain),
        removed: closing("removed", default.removed),
        maintenance: closing("maintenance", default.maintenance),
    }
}

fn closing(value: &Value<'_>) -> Option<Closing> {
    let example = "\"keep\", \"now\", or a time as in \"30s\"";
    let text = match &value.node.kind {
        Kind::Text(text) => text,
        Kind::Integer(number) => {
            value.wrong_type("a string", &format!("\"{number}s\""));
            return None;
        }
        _ => {
            value.wrong_type("a string", example);
            return None;
        }
    };
    if let Some((_, closing)) = CLOSINGS.iter().find(|(word, _)| *word == text) {
        return Some(*closing);
    }
    if !text.starts_with(|c: char| c.is_ascii_digit()) {
        let way_out = match nearest(text, CLOSINGS.iter().map(|(word, _)| *word)) {
            Some(near) => format!("did you mean \"{near}\"?"),
            None => format!("write {example}"),
        };
        value.refuse(&format!("{} is not a valid value", quoted(text)), &way_out);
        return None;
    }
    let time = value.duration()?;
    if time.is_zero() {
        let way_out = "write \"now\" to end sessions at once, or \"keep\" to let them be";
        value.refuse("is no time at all", way_out);
        return None;
    }
    Some(Closing::Over(time))
}

/// As the file writes it.
pub(super) fn write_closing(closing: Closing) -> String {
    match closing {
        Closing::Over(time) => write_duration(time),
        word => CLOSINGS.iter().find(|(_, other)| *other == word).map_or("", |it| it.0).to_owned(),
    }
}
