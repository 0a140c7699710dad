//! What keys do, and what a frame says: lines of text, not colours.

use std::time::{Duration, Instant};

use ratatui::Terminal;
use ratatui::backend::TestBackend;
use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};

use super::state::{Mode, State, Wish};
use super::view;
use crate::api::{Event, Status, Steer};

const STATUS: &str = r#"{
    "version": "0.1.0", "pid": 7, "uptime_seconds": 3725.5,
    "config": {"file": "lb.toml", "hash": "0123456789abcdef"}, "state": "serving",
    "listeners": [{
        "name": "front", "protocol": "tcp", "addresses": ["127.0.0.1:5432"], "pool": "db",
        "sessions": 12, "sessions_total": 200, "bytes_in": 100, "bytes_out": 1536,
        "rejected": {"no-backend": 3, "refused": 0}, "accept_paused": 0
    }],
    "pools": [{"name": "db", "balance": "least-connections", "retries": 4, "queue_length": 2, "backends": [
        {"name": "b1", "address": "10.0.0.1:5432", "health": "up", "state": "ready",
         "ejected_until": null, "weight": 5, "effective_weight": 2, "backup": false,
         "max_sessions": 0, "sessions": 12, "sessions_total": 200, "bytes_in": 100,
         "bytes_out": 1536, "failures": 0, "last_probe":
             {"result": "ok", "reason": "ok", "duration_ms": 0.25, "age_ms": 100.0}},
        {"name": "b2", "address": "10.0.0.2:5432", "health": "down", "state": "ready",
         "ejected_until": null, "closing": {"cause": "down", "until": "2026-01-01T10:01:00.000Z"},
         "weight": 1, "effective_weight": 0, "backup": true,
         "max_sessions": 0, "sessions": 0, "sessions_total": 0, "bytes_in": 0, "bytes_out": 0,
         "failures": 9, "last_probe":
             {"result": "failed", "reason": "connection refused", "duration_ms": 0.25,
              "age_ms": 100.0}},
        {"name": "b3", "address": "10.0.0.3:5432", "health": "up", "state": "ready",
         "ejected_until": "2026-01-01T10:00:30.000Z",
         "ejected_reason": "3 failures in 10s", "weight": 1, "effective_weight": 0,
         "backup": false, "max_sessions": 0, "sessions": 0, "sessions_total": 0, "bytes_in": 0,
         "bytes_out": 0, "failures": 0, "last_probe": null}
    ]}]
}"#;

fn status() -> Status {
    serde_json::from_str(STATUS).unwrap()
}

fn ejected() -> Event {
    Event {
        time: "2026-01-01T10:00:00.000Z".into(),
        listener: None,
        pool: Some("db".into()),
        backend: Some("b3".into()),
        certificate: None,
        from: "up".into(),
        to: "ejected".into(),
        reason: "3 failures in 10s".into(),
    }
}

/// With two reports a second apart: ten sessions and 2 KiB in more.
fn state() -> State {
    let start = Instant::now();
    let mut state = State::new(status(), start);
    let mut later = status();
    later.listeners[0].sessions_total += 10;
    later.pools[0].backends[0].sessions_total += 10;
    later.listeners[0].bytes_in += 2048;
    state.report(Ok(later), start + Duration::from_secs(1));
    state.event("backend".into(), ejected());
    state
}

fn frame(state: &State, width: u16, height: u16, after: Duration) -> String {
    let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
    let mut scroll = view::Scroll::default();
    let now = state.heard + after;
    terminal.draw(|frame| view::draw(frame, state, &mut scroll, now)).unwrap();
    let buffer = terminal.backend().buffer();
    let line = |y| (0..width).map(|x| buffer[(x, y)].symbol()).collect::<String>();
    (0..height).map(line).map(|line| line.trim_end().to_owned() + "\n").collect()
}

fn press(state: &mut State, keys: &str) -> Option<Wish> {
    let mut wish = None;
    for key in keys.chars() {
        let code = match key {
            '\n' => KeyCode::Enter,
            '\u{1b}' => KeyCode::Esc,
            other => KeyCode::Char(other),
        };
        wish = state.press(KeyEvent::new(code, KeyModifiers::NONE));
    }
    wish
}

#[track_caller]
fn shows(frame: &str, parts: &[&str]) {
    let missing: Vec<_> = parts.iter().filter(|part| !frame.contains(**part)).collect();
    assert!(missing.is_empty(), "{missing:?} not in\n{frame}");
}

#[test]
fn a_frame_says_what_is_so_and_why() {
    let wide = frame(&state(), 140, 30, Duration::ZERO);
    shows(
        &wide,
        &[
            "evenkeel 0.1.0, pid 7, up 1h2m, lb.toml",
            "serving",
            "12 sessions",
            "10 new/s",
            "2.0 KiB/s in",
            "front    tcp  127.0.0.1:5432",
            "3 no-backend",
            "1 of 3",
            "least-connections, 4 retries, 2 waiting",
            "> b1 ",
            "probe ok in 0.2 ms; slow start: 2 of 5",
            "backup; connection refused; its sessions are being ended (down)",
            "3 failures in 10s; until 10:00:30",
            "db/b1 10.0.0.1:5432, up: probe ok",
            "10:00:00  db/b3 up -> ejected  3 failures in 10s",
            "d drain",
        ],
    );
    let small = frame(&state(), 80, 24, Duration::ZERO);
    shows(&small, &["b1", "down", "ejected", "12 sessions", "db/b1 10.0.0.1:5432, up", "q quit"]);
    // However small it is, it is drawn.
    for (width, height) in [(1, 1), (20, 5), (40, 10)] {
        frame(&state(), width, height, Duration::ZERO);
    }
}

#[test]
fn what_is_old_is_said_to_be_old_until_there_is_something_new() {
    let mut state = state();
    shows(&frame(&state, 120, 30, Duration::from_secs(9)), &["no answer for 9s"]);
    state.report(Err("nothing answers at 127.0.0.1:9900".into()), state.heard);
    state.report(Err("nothing answers at 127.0.0.1:9900".into()), state.heard);
    let gone = frame(&state, 120, 30, Duration::from_secs(65));
    shows(&gone, &["NO ANSWER for 1m5s, what is shown is old", "it does not answer: nothing"]);
    assert_eq!(gone.matches("it does not answer").count(), 1, "{gone}");
    let mut other = status();
    other.pid = 8;
    state.report(Ok(other), state.heard + Duration::from_secs(70));
    let back = frame(&state, 120, 30, Duration::ZERO);
    shows(&back, &["another process answers, pid 8", "serving"]);
    assert!(!back.contains("NO ANSWER"), "{back}");
}

#[test]
fn a_change_is_asked_about_and_done_on_y_alone() {
    let drain = Steer { state: Some("drain".into()), weight: None };
    let mut state = state();
    assert_eq!(press(&mut state, "d"), None);
    let asked = frame(&state, 100, 30, Duration::ZERO);
    shows(&asked, &["db/b1: drain?", "its 12 sessions", "NO OTHER", "y does it"]);
    assert_eq!(press(&mut state, "n"), None);
    assert_eq!(press(&mut state, "y"), None);
    assert_eq!(press(&mut state, "jdy"), Some(Wish::Steer("db/b2".parse().unwrap(), drain)));
    assert_eq!(state.mode, Mode::Watch);
    let wish = press(&mut state, "kmy");
    assert!(matches!(wish, Some(Wish::Steer(place, _)) if place.to_string() == "db/b1"));
    state.done(Err("refused: a token is needed".into()));
    shows(&frame(&state, 100, 30, Duration::ZERO), &["refused: a token is needed"]);
}

#[test]
fn a_weight_is_typed_and_must_be_one() {
    let mut state = state();
    let weight = Steer { state: None, weight: Some(12) };
    assert_eq!(press(&mut state, "w12x\n"), Some(Wish::Steer("db/b1".parse().unwrap(), weight)));
    assert_eq!(press(&mut state, "w999\n"), None);
    shows(&frame(&state, 100, 30, Duration::ZERO), &["from 0 to 256"]);
    assert_eq!(press(&mut state, "w1\u{1b}"), None);
    assert_eq!(state.mode, Mode::Watch);
}

#[test]
fn keys_move_help_and_quit() {
    let mut state = state();
    for (keys, at) in [("k", "b1"), ("jj", "b3"), ("j", "b3"), ("g", "b1"), ("G", "b3")] {
        press(&mut state, keys);
        assert_eq!(state.selected.as_ref().unwrap().backend, at, "{keys}");
    }
    press(&mut state, "?");
    shows(&frame(&state, 100, 30, Duration::ZERO), &["drain: nothing new"]);
    assert_eq!(press(&mut state, "q"), None);
    assert_eq!(press(&mut state, "q"), Some(Wish::Quit));
    assert_eq!(press(&mut state, "\u{1b}"), Some(Wish::Quit));
    let interrupt = KeyEvent::new(KeyCode::Char('c'), KeyModifiers::CONTROL);
    press(&mut state, "d");
    assert_eq!(state.press(interrupt), Some(Wish::Quit));
}

#[test]
fn a_backend_that_goes_away_is_no_longer_selected() {
    let mut state = state();
    press(&mut state, "jj");
    let mut fewer = status();
    fewer.pools[0].backends.truncate(1);
    state.report(Ok(fewer), state.heard);
    assert_eq!(state.selected.as_ref().unwrap().backend, "b1");
    let mut none = status();
    none.pools.clear();
    state.report(Ok(none), state.heard);
    assert_eq!(press(&mut state, "djy"), None);
    frame(&state, 80, 24, Duration::ZERO);
}

#[test]
fn an_event_that_comes_again_is_shown_once() {
    let mut state = state();
    state.event("backend".into(), ejected());
    assert_eq!(state.events.len(), 1);
}
