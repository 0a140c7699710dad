//! The screen as it follows from the state.

use std::time::{Duration, Instant};

use ratatui::Frame;
use ratatui::layout::{Alignment, Constraint, Layout, Margin, Rect};
use ratatui::style::{Color, Modifier, Style, Stylize};
use ratatui::text::{Line, Span};
use ratatui::widgets::{
    Block, Cell, Clear, List, ListItem, Padding, Paragraph, Row, Sparkline, Table, TableState, Wrap,
};

use super::state::{Entry, Mode, State};
use super::words::{self, Level, level, taking};
use crate::api::{BackendStatus, Event, ListenerStatus, Phase, PoolStatus};
use crate::cli::count;
use crate::cli::place::Place;
use crate::cli::status::{size, span};

/// Where the list of backends is scrolled to; the drawing keeps it.
pub(super) type Scroll = TableState;

/// A report that is older than this is said to be old.
const OLD: Duration = Duration::from_secs(4);

/// Columns that a narrow terminal has no room for.
const WIDE: u16 = 100;

const HELP: &str = "\
 arrows, j k     to the next backend, to the one before
 PgUp PgDn       ten of them at once; Home End, g G to the ends
 d               drain: nothing new, what runs may end
 r               ready: takes new sessions again
 m               maintenance: out at once, not probed
 w               weight, 0 to 256
 ?               this
 q, Esc, Ctrl-C  quit

 Each change asks first: y does it, any other key does not.";

/// Draws all of it, as it is at `now`.
pub(super) fn draw(frame: &mut Frame<'_>, state: &State, scroll: &mut Scroll, now: Instant) {
    let area = frame.area();
    let listeners = u16::try_from(state.status.listeners.len()).unwrap_or(u16::MAX);
    let events = if area.height >= 30 { 8 } else { 5 };
    let [top, charts, front, back, detail, below, foot] = Layout::vertical([
        Constraint::Length(1),
        Constraint::Length(3),
        Constraint::Length(listeners.saturating_add(1).min(area.height / 4)),
        Constraint::Min(4),
        Constraint::Length(1),
        Constraint::Length(events),
        Constraint::Length(1),
    ])
    .areas(area);
    title(frame, top, state, now);
    summary(frame, charts, state);
    frame.render_widget(listener_table(state, front.width), front);
    pools(frame, back, state, scroll);
    frame.render_widget(chosen(state), detail);
    frame.render_widget(event_list(state), below);
    frame.render_widget(footer(state), foot);
    match &state.mode {
        Mode::Help => popup(frame, area, " keys ", HELP),
        Mode::Question { text, .. } => {
            popup(frame, area, " sure? ", &format!("{text}.\n\ny does it, any other key does not"));
        }
        Mode::Weight { place, typed } => {
            let text =
                format!("weight of {place}, 0 to 256: {typed}_\n\nEnter sets it, Esc does not");
            popup(frame, area, " weight ", &text);
        }
        Mode::Watch => {}
    }
}

fn title(frame: &mut Frame<'_>, area: Rect, state: &State, now: Instant) {
    let status = &state.status;
    let up = span(Duration::try_from_secs_f64(status.uptime_seconds).unwrap_or_default());
    let file = status.config.file.as_deref().unwrap_or("no file");
    let mut left = Line::from(vec![
        Span::from("evenkeel").bold(),
        Span::from(format!(" {}, pid {}, up {up}, {file}", status.version, status.pid)).dim(),
    ]);
    for one in &status.draining_processes {
        let (pid, sessions) = (one.pid, count(one.sessions, "session"));
        left.push_span(Span::from(format!(", pid {pid} of before: {sessions}")).yellow());
    }
    let age = now.saturating_duration_since(state.heard);
    let phase = match status.state {
        Phase::Starting => "starting",
        Phase::Serving => "serving",
        Phase::Stopping => "stopping",
    };
    let right = if state.gone.is_some() {
        Span::from(format!(" NO ANSWER for {}, what is shown is old ", span(age))).reversed().red()
    } else if age > OLD {
        Span::from(format!(" no answer for {} ", span(age))).reversed().yellow()
    } else if status.state == Phase::Serving {
        Span::from(phase).green()
    } else {
        Span::from(phase).yellow().bold()
    };
    let width = u16::try_from(right.width()).unwrap_or(u16::MAX);
    let [a, b] = Layout::horizontal([Constraint::Min(0), Constraint::Length(width)]).areas(area);
    frame.render_widget(left, a);
    frame.render_widget(right, b);
}

fn summary(frame: &mut Frame<'_>, area: Rect, state: &State) {
    let (rates, charts) = (state.figures.all(), &state.figures.charts);
    let sessions = state.status.listeners.iter().map(|one| one.sessions).sum::<u64>();
    let quarters = Layout::horizontal([Constraint::Fill(1); 4]).spacing(2).split(area);
    let each = [
        (count(sessions, "session"), &charts.sessions),
        (format!("{} new/s", fresh(rates.fresh)), &charts.fresh),
        (format!("{}/s in", size(rates.bytes_in as u64)), &charts.bytes_in),
        (format!("{}/s out", size(rates.bytes_out as u64)), &charts.bytes_out),
    ];
    for ((text, chart), area) in each.into_iter().zip(quarters.iter()) {
        let [words, bars] =
            Layout::vertical([Constraint::Length(1), Constraint::Length(1)]).areas(*area);
        frame.render_widget(Line::from(text).bold(), words);
        let room = usize::from(bars.width);
        let points = chart.iter().skip(chart.len().saturating_sub(room)).copied();
        let bars_of = Sparkline::default().data(points.collect::<Vec<_>>());
        frame.render_widget(bars_of.style(Style::new().fg(Color::Cyan)), bars);
    }
}

fn fresh(rate: f64) -> String {
    if rate < 10.0 { format!("{rate:.1}") } else { format!("{rate:.0}") }
}

fn number(text: String) -> Cell<'static> {
    Cell::from(Line::from(text).alignment(Alignment::Right))
}

fn heads(names: &[&'static str]) -> Row<'static> {
    let cell = |name: &&'static str| match name.strip_prefix('>') {
        Some(name) => number(name.to_owned()),
        None => Cell::from(*name),
    };
    Row::new(names.iter().map(cell)).style(Style::new().dim().add_modifier(Modifier::UNDERLINED))
}

fn longest<'a>(names: impl Iterator<Item = &'a str>, head: usize) -> Constraint {
    let most = names.map(|name| name.chars().count()).max().unwrap_or(0).max(head);
    Constraint::Length(u16::try_from(most.min(28)).unwrap_or(28))
}

fn listener_table(state: &State, width: u16) -> Table<'static> {
    let listeners = &state.status.listeners;
    let names = listeners.iter().map(|one| one.name.as_str());
    let widths = [
        longest(names, 8),
        Constraint::Length(4),
        Constraint::Length(if width >= WIDE { 24 } else { 15 }),
        Constraint::Length(8),
        Constraint::Length(6),
        Constraint::Length(10),
        Constraint::Length(10),
        Constraint::Fill(1),
    ];
    let names =
        ["LISTENER", "", "ADDRESS", ">SESSIONS", ">NEW/s", ">IN/s", ">OUT/s", "TURNED AWAY"];
    let rows = listeners.iter().map(|listener| {
        let rates = state.figures.listener(&listener.name);
        Row::new([
            Cell::from(listener.name.clone()),
            Cell::from(listener.protocol.clone()).dim(),
            Cell::from(listener.addresses.join(" ")),
            number(listener.sessions.to_string()),
            number(fresh(rates.fresh)),
            number(size(rates.bytes_in as u64)),
            number(size(rates.bytes_out as u64)),
            Cell::from(turned_away(listener)),
        ])
    });
    Table::new(rows, widths).header(heads(&names))
}

fn turned_away(listener: &ListenerStatus) -> String {
    let some = listener.rejected.iter().filter(|(_, count)| **count > 0);
    let words: Vec<_> = some.map(|(why, count)| format!("{count} {why}")).collect();
    if words.is_empty() { "-".to_owned() } else { words.join(", ") }
}

fn pools(frame: &mut Frame<'_>, area: Rect, state: &State, scroll: &mut Scroll) {
    let backends = state.status.pools.iter().flat_map(|pool| &pool.backends);
    let names = state.status.pools.iter().map(|pool| pool.name.as_str());
    let names = names.chain(backends.clone().map(|one| one.name.as_str()));
    let states = backends.map(words::state).collect::<Vec<_>>();
    let wide = area.width >= WIDE;
    let mut widths = vec![
        longest(names, 10),
        longest(states.iter().map(String::as_str), 7),
        Constraint::Length(8),
        Constraint::Length(6),
    ];
    let mut titles = vec!["POOL", "STATE", ">SESSIONS", ">NEW/s"];
    if wide {
        widths.extend([Constraint::Length(10), Constraint::Length(10)]);
        titles.extend([">IN/s", ">OUT/s"]);
    }
    widths.extend([Constraint::Length(7), Constraint::Fill(1)]);
    titles.extend([">WEIGHT", "WHY"]);
    let mut rows = Vec::new();
    let mut selected = None;
    for pool in &state.status.pools {
        rows.push(pool_row(pool, wide));
        for backend in &pool.backends {
            let place = Place { pool: pool.name.clone(), backend: backend.name.clone() };
            if state.selected.as_ref() == Some(&place) {
                selected = Some(rows.len());
            }
            rows.push(backend_row(state, pool, backend, wide));
        }
    }
    scroll.select(selected);
    // The pool's own line is above its first backend and is shown with it.
    if selected == Some(1) {
        *scroll.offset_mut() = 0;
    }
    let table = Table::new(rows, widths)
        .header(heads(&titles))
        .row_highlight_style(Style::new().add_modifier(Modifier::REVERSED))
        .highlight_symbol("> ");
    frame.render_stateful_widget(table, area, scroll);
}

fn pool_row(pool: &PoolStatus, wide: bool) -> Row<'static> {
    let (able, all) = (taking(pool), pool.backends.len());
    let sessions = pool.backends.iter().map(|one| one.sessions).sum::<u64>();
    let style = if able == 0 { Style::new().red() } else { Style::new() };
    let mut cells = vec![
        Cell::from(pool.name.clone()),
        Cell::from(format!("{able} of {all}")).style(style),
        number(sessions.to_string()),
        Cell::from(""),
    ];
    cells.resize(if wide { 7 } else { 5 }, Cell::from(""));
    let none = if able == 0 { "NO BACKEND TAKES SESSIONS; " } else { "" };
    let waiting = match pool.queue_length {
        0 => String::new(),
        some => format!(", {some} waiting"),
    };
    let facts = format!("{none}{}, {} retries{waiting}", pool.balance, pool.retries);
    cells.push(Cell::from(facts).style(style));
    Row::new(cells).bold()
}

fn backend_row(
    state: &State,
    pool: &PoolStatus,
    backend: &BackendStatus,
    wide: bool,
) -> Row<'static> {
    let rates = state.figures.backend(&pool.name, &backend.name);
    let mut cells = vec![
        Cell::from(backend.name.clone()),
        Cell::from(words::state(backend)).style(colour(level(backend))),
        number(backend.sessions.to_string()),
        number(fresh(rates.fresh)),
    ];
    if wide {
        cells.push(number(size(rates.bytes_in as u64)));
        cells.push(number(size(rates.bytes_out as u64)));
    }
    let backup = if backend.backup { "backup; " } else { "" };
    let why = words::why(backend);
    cells.push(number(backend.weight.to_string()));
    cells.push(Cell::from(format!("{backup}{why}")));
    Row::new(cells)
}

fn colour(level: Level) -> Style {
    match level {
        Level::Good => Style::new().green(),
        Level::Aside => Style::new().blue(),
        Level::Warning => Style::new().yellow(),
        Level::Bad => Style::new().red().bold(),
    }
}

/// The selected backend in full: the table may have no room for it.
fn chosen(state: &State) -> Line<'static> {
    let found = state.selected.as_ref().and_then(|place| Some((place, state.find(place)?)));
    let Some((place, (_, backend))) = found else { return Line::default() };
    let why = words::why(backend);
    let what = format!(" {}, {}: {why}", backend.address, words::state(backend));
    Line::from(vec![Span::from(place.to_string()).bold(), Span::from(what)])
}

fn event_list(state: &State) -> List<'static> {
    let block = Block::new().title(" last events ").borders(ratatui::widgets::Borders::TOP);
    let items: Vec<_> = if state.events.is_empty() {
        vec![ListItem::new(Line::from("nothing has changed yet").dim())]
    } else {
        state.events.iter().map(|entry| ListItem::new(event(entry))).collect()
    };
    List::new(items).block(block.dim())
}

fn event(entry: &Entry) -> Line<'static> {
    match entry {
        Entry::Noted(text) => Line::from(format!("here      {text}")).yellow(),
        Entry::Told(kind, event) => told(kind, event),
    }
}

fn told(kind: &str, event: &Event) -> Line<'static> {
    let clock = event.time.split_once('T').and_then(|(_, time)| time.get(..8));
    let names = [&event.listener, &event.pool, &event.backend, &event.certificate];
    let names: Vec<_> = names.into_iter().flatten().map(String::as_str).collect();
    let kind = if kind == "backend" { String::new() } else { format!("{kind} ") };
    Line::from(vec![
        Span::from(format!("{}  ", clock.unwrap_or(&event.time))).dim(),
        Span::from(format!("{kind}{} ", names.join("/"))).bold(),
        Span::from(format!("{} -> ", event.from)),
        Span::from(event.to.clone()).style(colour(match event.to.as_str() {
            "up" | "ready" | "listening" => Level::Good,
            "down" | "unresolved" | "refused" | "expired" => Level::Bad,
            "ejected" | "lagging" | "expiring" => Level::Warning,
            _ => Level::Aside,
        })),
        Span::from(format!("  {}", event.reason)),
    ])
}

fn footer(state: &State) -> Line<'static> {
    if !state.word.is_empty() {
        return Line::from(state.word.clone()).yellow();
    }
    let keys = "j k move   d drain   r ready   m maintenance   w weight   ? help   q quit";
    Line::from(keys).dim()
}

fn popup(frame: &mut Frame<'_>, area: Rect, title: &'static str, text: &str) {
    let room = area.inner(Margin { horizontal: 2, vertical: 1 });
    let block = Block::bordered().title(title).padding(Padding::horizontal(1));
    let words = Paragraph::new(text.to_owned()).wrap(Wrap { trim: false }).block(block);
    let width = room.width.min(74);
    // Borders and padding take four columns and two rows; a word that is moved on may take one more.
    let inner = usize::from(width.saturating_sub(4).max(1));
    let rows: usize = text.lines().map(|line| line.chars().count() / inner + 1).sum();
    let height = u16::try_from(rows + 2).unwrap_or(u16::MAX).min(room.height);
    let [across] = Layout::horizontal([Constraint::Length(width)])
        .flex(ratatui::layout::Flex::Center)
        .areas(room);
    let [place] = Layout::vertical([Constraint::Length(height)])
        .flex(ratatui::layout::Flex::Center)
        .areas(across);
    frame.render_widget(Clear, place);
    frame.render_widget(words, place);
}
