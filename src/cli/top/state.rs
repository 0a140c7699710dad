//! What is shown, and what a key does to it.

use std::collections::VecDeque;
use std::time::Instant;

use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};

use super::figures::Figures;
use super::words::takes;
use crate::api::{BackendStatus, Event, PoolStatus, Status, Steer};
use crate::cli::count;
use crate::cli::place::Place;
use crate::config::HEAVIEST;

/// Events that are kept.
const EVENTS: usize = 100;

/// Backends that a page key passes over.
const PAGE: isize = 10;

/// What the loop is to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Wish {
    /// End.
    Quit,
    /// Tell the balancer.
    Steer(Place, Steer),
}

/// What the keys mean now.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) enum Mode {
    /// Looking on.
    #[default]
    Watch,
    /// The keys are explained.
    Help,
    /// Something will be done on `y`.
    Question {
        /// What will happen.
        text: String,
        /// What to do.
        wish: Wish,
    },
    /// A weight is typed.
    Weight {
        /// Whose.
        place: Place,
        /// So far.
        typed: String,
    },
}

/// A line of the list of events.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Entry {
    /// From the balancer: what kind, and what it says.
    Told(String, Event),
    /// What was noticed here.
    Noted(String),
}

/// All that is shown.
#[derive(Debug)]
pub(super) struct State {
    /// The last report.
    pub(super) status: Status,
    /// When it came.
    pub(super) heard: Instant,
    /// Why there is no newer one, since that was found.
    pub(super) gone: Option<String>,
    pub(super) figures: Figures,
    /// Newest first.
    pub(super) events: VecDeque<Entry>,
    pub(super) selected: Option<Place>,
    pub(super) mode: Mode,
    /// How the last wish went.
    pub(super) word: String,
}

impl State {
    /// With the first report.
    pub(super) fn new(status: Status, at: Instant) -> Self {
        let mut figures = Figures::default();
        figures.add(at, &status);
        let mut state = Self {
            status,
            heard: at,
            gone: None,
            figures,
            events: VecDeque::new(),
            selected: None,
            mode: Mode::default(),
            word: String::new(),
        };
        state.keep_selection();
        state
    }

    /// A report came, or did not.
    pub(super) fn report(&mut self, report: Result<Status, String>, at: Instant) {
        match report {
            Ok(status) => {
                let other = status.pid != self.status.pid;
                if self.gone.take().is_some() || other {
                    let who = if other { "another process answers" } else { "it answers again" };
                    self.note(format!("{who}, pid {}", status.pid));
                }
                self.figures.add(at, &status);
                self.status = status;
                self.heard = at;
                self.keep_selection();
            }
            Err(reason) => {
                if self.gone.is_none() {
                    self.note(format!("it does not answer: {reason}"));
                }
                self.gone = Some(reason);
            }
        }
    }

    /// An event came. After a gap the latest come again.
    pub(super) fn event(&mut self, kind: String, event: Event) {
        let entry = Entry::Told(kind, event);
        if !self.events.contains(&entry) {
            self.push(entry);
        }
    }

    /// Something was noticed.
    pub(super) fn note(&mut self, text: String) {
        self.push(Entry::Noted(text));
    }

    fn push(&mut self, entry: Entry) {
        self.events.truncate(EVENTS - 1);
        self.events.push_front(entry);
    }

    /// All backends, in the order in which they are shown.
    pub(super) fn places(&self) -> Vec<Place> {
        let of = |pool: &PoolStatus| {
            let place =
                |one: &BackendStatus| Place { pool: pool.name.clone(), backend: one.name.clone() };
            pool.backends.iter().map(place).collect::<Vec<_>>()
        };
        self.status.pools.iter().flat_map(of).collect()
    }

    /// A backend that is still there, and its pool.
    pub(super) fn find(&self, place: &Place) -> Option<(&PoolStatus, &BackendStatus)> {
        let pool = self.status.pools.iter().find(|pool| pool.name == place.pool)?;
        Some((pool, pool.backends.iter().find(|one| one.name == place.backend)?))
    }

    fn keep_selection(&mut self) {
        if self.selected.as_ref().and_then(|place| self.find(place)).is_none() {
            self.selected = self.places().into_iter().next();
        }
    }

    fn step(&mut self, by: isize) {
        let places = self.places();
        let here = places.iter().position(|place| Some(place) == self.selected.as_ref());
        let last = places.len().saturating_sub(1);
        let next = here.unwrap_or(0).saturating_add_signed(by).min(last);
        self.selected = places.into_iter().nth(next);
    }

    /// A key was pressed; what to do about it.
    pub(super) fn press(&mut self, key: KeyEvent) -> Option<Wish> {
        if key.modifiers.contains(KeyModifiers::CONTROL) {
            return (key.code == KeyCode::Char('c')).then_some(Wish::Quit);
        }
        match std::mem::take(&mut self.mode) {
            Mode::Watch => self.command(key.code),
            // Any key goes back.
            Mode::Help => None,
            Mode::Question { wish, .. } => {
                if matches!(key.code, KeyCode::Char('y' | 'Y')) {
                    return Some(wish);
                }
                "nothing was changed".clone_into(&mut self.word);
                None
            }
            Mode::Weight { place, typed } => self.typed(place, typed, key.code),
        }
    }

    fn command(&mut self, code: KeyCode) -> Option<Wish> {
        self.word.clear();
        match code {
            KeyCode::Char('q') | KeyCode::Esc => return Some(Wish::Quit),
            KeyCode::Char('?' | 'h') | KeyCode::F(1) => self.mode = Mode::Help,
            KeyCode::Down | KeyCode::Char('j') => self.step(1),
            KeyCode::Up | KeyCode::Char('k') => self.step(-1),
            KeyCode::PageDown => self.step(PAGE),
            KeyCode::PageUp => self.step(-PAGE),
            KeyCode::Home | KeyCode::Char('g') => self.step(isize::MIN),
            KeyCode::End | KeyCode::Char('G') => self.step(isize::MAX),
            KeyCode::Char('d') => self.ask("drain"),
            KeyCode::Char('r') => self.ask("ready"),
            KeyCode::Char('m') => self.ask("maintenance"),
            KeyCode::Char('w') => {
                if let Some(place) = self.selected.clone() {
                    self.mode = Mode::Weight { place, typed: String::new() };
                }
            }
            _ => {}
        }
        None
    }

    fn typed(&mut self, place: Place, mut typed: String, code: KeyCode) -> Option<Wish> {
        match code {
            KeyCode::Enter => match typed.parse() {
                Ok(weight @ 0..=HEAVIEST) => {
                    let steer = Steer { state: None, weight: Some(weight) };
                    return Some(Wish::Steer(place, steer));
                }
                _ => "a weight is a number from 0 to 256".clone_into(&mut self.word),
            },
            KeyCode::Esc => "nothing was changed".clone_into(&mut self.word),
            KeyCode::Char(digit) if digit.is_ascii_digit() && typed.len() < 3 => {
                typed.push(digit);
                self.mode = Mode::Weight { place, typed };
            }
            KeyCode::Backspace => {
                typed.pop();
                self.mode = Mode::Weight { place, typed };
            }
            _ => self.mode = Mode::Weight { place, typed },
        }
        None
    }

    fn ask(&mut self, state: &str) {
        let Some(place) = self.selected.clone() else { return };
        let Some((pool, backend)) = self.find(&place) else { return };
        let text = question(&place, pool, backend, state);
        let steer = Steer { state: Some(state.to_owned()), weight: None };
        self.mode = Mode::Question { text, wish: Wish::Steer(place, steer) };
    }

    /// How a wish went.
    pub(super) fn done(&mut self, went: Result<String, String>) {
        self.word = went.unwrap_or_else(|reason| reason);
    }
}

/// What will happen, and whether to do it.
fn question(place: &Place, pool: &PoolStatus, backend: &BackendStatus, state: &str) -> String {
    let running = count(backend.sessions, "session");
    let others = pool.backends.iter().filter(|one| one.name != backend.name && takes(one)).count();
    let rest = match others {
        0 => "NO OTHER backend of the pool takes sessions".to_owned(),
        1 => "1 other takes new sessions".to_owned(),
        _ => format!("{others} others take new sessions"),
    };
    match state {
        "ready" => format!("{place}: ready? It takes new sessions again"),
        "drain" => {
            format!("{place}: drain? It takes nothing new, its {running} may end; {rest}")
        }
        _ => format!("{place}: maintenance? It is out at once, its {running} are closed; {rest}"),
    }
}
