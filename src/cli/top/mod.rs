//! `evenkeel top`: what a running balancer sees, live in the terminal.
//!
//! Threads ask, listen and wait for keys; what they bring goes through one bounded queue to the
//! [`state`], which alone decides what is shown and what is wished for. The [`view`] only draws.

mod feed;
mod figures;
mod state;
#[cfg(test)]
mod tests;
mod view;
mod words;

use std::io::{self, IsTerminal};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use ratatui::DefaultTerminal;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;
use tokio::time::{MissedTickBehavior, interval};

use self::feed::{Feed, News};
use self::state::{State, Wish};
use super::status;
use super::target::Keys;
use super::{FAILED, INVALID, complain};
use crate::config::units;

const EXAMPLES: &str = "\
Examples:
  evenkeel top
  evenkeel top --admin unix:/run/evenkeel/admin.sock --interval 500ms

Keys: arrows or j k move, d drain, r ready, m maintenance, w weight, ? help, q quit.";

/// How often the screen is drawn when nothing happens: ages and countdowns go on.
const REDRAW: Duration = Duration::from_millis(500);

/// News that may wait to be shown; whoever brings more waits.
const WAITING: usize = 256;

/// Show what a running balancer sees, live in the terminal
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// How often to ask
    #[arg(long, value_name = "D", default_value = "1s", value_parser = pause)]
    interval: Duration,
    #[command(flatten)]
    keys: Keys,
}

fn pause(text: &str) -> Result<Duration, String> {
    let pause = units::duration(text).map_err(|error| error.to_string())?;
    let least = Duration::from_millis(100);
    if pause < least { Err("at least \"100ms\"".to_owned()) } else { Ok(pause) }
}

pub(crate) fn execute(args: Args) -> ExitCode {
    if !io::stdin().is_terminal() || !io::stdout().is_terminal() {
        complain("top needs a terminal; `evenkeel status` prints the same once");
        return ExitCode::from(INVALID);
    }
    let (admin, token) = match args.keys.find() {
        Ok(found) => found,
        Err(code) => return code,
    };
    // Whoever names the wrong address is told before the screen is taken.
    let shown = status::fetch(&admin).and_then(|(first, _)| {
        let state = State::new(first, Instant::now());
        show(state, |news| Feed::start(&admin, token, args.interval, news))
            .map_err(|error| format!("the terminal failed: {error}"))
    });
    match shown {
        Ok(()) => ExitCode::SUCCESS,
        Err(reason) => {
            complain(&reason);
            ExitCode::from(FAILED)
        }
    }
}

/// The whole screen, given back on drop. A panic gives it back too: the first line of its message
/// must not be lost with it.
struct Screen(DefaultTerminal);

impl Screen {
    fn take() -> io::Result<Self> {
        ratatui::try_init().map(Self)
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        // Nobody is left to tell.
        ratatui::try_restore().ok();
    }
}

fn show(
    state: State,
    start: impl FnOnce(&mpsc::Sender<News>) -> io::Result<Feed>,
) -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let ended = runtime.block_on(async {
        let ends = Ends::install()?;
        let (news, waiting) = mpsc::channel(WAITING);
        let mut screen = Screen::take()?;
        let feed = start(&news)?;
        run(state, &mut screen, &feed, waiting, ends).await
    });
    runtime.shutdown_background();
    ended
}

/// Signals that end a command: from now on they do it in order, with the screen given back.
struct Ends([tokio::signal::unix::Signal; 3]);

impl Ends {
    fn install() -> io::Result<Self> {
        let [term, int, hup] =
            [SignalKind::terminate(), SignalKind::interrupt(), SignalKind::hangup()].map(signal);
        Ok(Self([term?, int?, hup?]))
    }

    async fn come(&mut self) {
        let [term, int, hup] = &mut self.0;
        tokio::select! {
            _ = term.recv() => {}
            _ = int.recv() => {}
            _ = hup.recv() => {}
        }
    }
}

async fn run(
    mut state: State,
    screen: &mut Screen,
    feed: &Feed,
    mut news: mpsc::Receiver<News>,
    mut ends: Ends,
) -> io::Result<()> {
    let mut redraw = interval(REDRAW);
    redraw.set_missed_tick_behavior(MissedTickBehavior::Skip);
    let mut place = view::Scroll::default();
    loop {
        screen.0.draw(|frame| view::draw(frame, &state, &mut place, Instant::now()))?;
        let found = tokio::select! {
            found = news.recv() => found,
            _ = redraw.tick() => continue,
            () = ends.come() => return Ok(()),
        };
        let mut next = found;
        // What has come together is shown together.
        while let Some(found) = next {
            if take(&mut state, feed, found) == Some(Wish::Quit) {
                return Ok(());
            }
            next = news.try_recv().ok();
        }
    }
}

/// Takes in what came, and does what is wished.
fn take(state: &mut State, feed: &Feed, found: News) -> Option<Wish> {
    match found {
        News::Status(report) => state.report(*report, Instant::now()),
        News::Event(kind, event) => state.event(kind, event),
        News::Lost(lost) => state.note(format!("{lost} events were missed")),
        News::Done(went) => state.done(went),
        News::Resized => {}
        News::Closed => return Some(Wish::Quit),
        News::Key(key) => match state.press(key) {
            Some(Wish::Steer(place, steer)) => {
                if let Err(reason) = feed.tell(place, steer) {
                    state.done(Err(reason));
                }
            }
            other => return other,
        },
    }
    None
}
