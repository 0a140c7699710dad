//! New clients all the time, each with how long it waited until its backend was there.

use std::io::{self, Read, Write};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use crate::harness::client::{is_timeout, read_line, reset, try_connect};
use crate::harness::wait::{PATIENCE, eventually, pace};

/// From one client to the next.
const GAP: Duration = Duration::from_millis(100);

/// What one client saw.
pub(super) struct Visit {
    pub(super) began: Instant,
    /// Until the backend's greeting, or until it was turned away.
    pub(super) waited: Duration,
    /// False if it gave up.
    pub(super) is_over: bool,
}

/// Clients that come until they are told to stop.
pub(super) struct Clients {
    stop: Arc<AtomicBool>,
    visits: Arc<Mutex<Vec<Visit>>>,
    lanes: Vec<thread::JoinHandle<()>>,
}

/// How clients behave.
#[derive(Clone, Copy)]
pub(super) struct Manners {
    /// How many are there at once.
    pub(super) lanes: u32,
    /// How long each waits for its greeting.
    pub(super) patience: Duration,
    /// And how long it stays then.
    pub(super) stay: Duration,
}

impl Clients {
    pub(super) fn start(at: SocketAddr, manners: Manners) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let visits = Arc::new(Mutex::new(Vec::new()));
        let lane = |number| {
            let (stop, visits) = (stop.clone(), visits.clone());
            thread::spawn(move || {
                // Not all at the same moment.
                let mut next = Instant::now() + GAP * number / manners.lanes;
                while !stop.load(Ordering::Relaxed) {
                    pace(next);
                    let visit = visit(at, manners);
                    visits.lock().unwrap().push(visit);
                    next = (next + GAP).max(Instant::now());
                }
            })
        };
        let lanes = (0..manners.lanes).map(lane).collect();
        Self { stop, visits, lanes }
    }

    /// Waits for so many more in each lane.
    #[track_caller]
    pub(super) fn run_for(&self, visits: usize) {
        let count = || self.visits.lock().unwrap().len();
        let goal = count() + visits * self.lanes.len();
        eventually("clients come and go", PATIENCE * 2, || count() >= goal);
    }

    /// What each one saw, when the last is done.
    pub(super) fn finish(self) -> Vec<Visit> {
        self.stop.store(true, Ordering::Relaxed);
        self.lanes.into_iter().for_each(|lane| lane.join().unwrap());
        std::mem::take(&mut *self.visits.lock().unwrap())
    }
}

fn visit(at: SocketAddr, manners: Manners) -> Visit {
    let began = Instant::now();
    let stream = try_connect(at);
    let greeted = stream.and_then(|mut stream| {
        stream.set_read_timeout(Some(manners.patience))?;
        let greeting = read_line(&mut stream);
        if greeting.is_err() {
            reset(stream);
            return greeting.map(|_| None);
        }
        Ok(Some(stream))
    });
    let waited = began.elapsed();
    let is_over = !greeted.as_ref().is_err_and(is_timeout);
    if let Ok(Some(stream)) = greeted {
        // Its backend may die meanwhile: how it ends is not the question here.
        converse(stream, manners.stay).ok();
    }
    Visit { began, waited, is_over }
}

fn converse(mut stream: std::net::TcpStream, stay: Duration) -> io::Result<()> {
    stream.set_read_timeout(Some(Duration::from_secs(1)))?;
    stream.write_all(b"word")?;
    let came = stream.read_exact(&mut [0; 4]);
    pace(Instant::now() + stay);
    reset(stream);
    came
}
