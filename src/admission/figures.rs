//! What a listener counts before a session has a backend, and what it counts of datagrams.

use crossbeam_utils::CachePadded;

use crate::metric::{Counter, Figure, Gauge};
use crate::outcome::{Abuse, Rejection};

/// Why a datagram went no further, when it was not its flow that was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dropped {
    /// The socket towards the backend takes no more for now, or refuses it.
    BackendFull,
    /// The socket towards clients takes no more for now, or refuses it.
    ClientFull,
    /// Larger than what the other side's protocol carries.
    TooBig,
    /// It would have begun a flow after the stop.
    Stopping,
}

impl Dropped {
    /// All of them, in the order of their index.
    pub const ALL: [Self; 4] = [Self::BackendFull, Self::ClientFull, Self::TooBig, Self::Stopping];

    /// The word in labels.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::BackendFull => "backend-full",
            Self::ClientFull => "client-full",
            Self::TooBig => "too-big",
            Self::Stopping => "stopping",
        }
    }
}

/// The counters of one listener; they survive reloads.
#[derive(Debug, Default)]
pub struct Figures {
    /// Sessions admitted and not ended, for the listener's cap.
    pub admitted: CachePadded<Gauge>,
    /// Times that accepting stopped for want of descriptors or memory.
    pub accept_paused: Counter,
    /// Datagrams that came from clients, whatever became of them.
    pub datagrams_in: CachePadded<Counter>,
    /// Datagrams that were sent to clients.
    pub datagrams_out: CachePadded<Counter>,
    /// Connections that carry requests, however many.
    pub http_connections: CachePadded<Gauge>,
    abused: [Counter; Abuse::ALL.len()],
    dropped: [Counter; Dropped::ALL.len()],
    rejected: [Counter; Rejection::ALL.len()],
}

impl Figures {
    /// Counts `n` datagrams that were dropped.
    pub fn drop_datagrams(&self, why: Dropped, n: u64) {
        if let Some(counter) = self.dropped.get(why as usize) {
            counter.add(n);
        }
    }

    /// Datagrams dropped so far, by reason.
    pub fn dropped(&self) -> impl Iterator<Item = (Dropped, u64)> + '_ {
        Dropped::ALL.into_iter().zip(self.dropped.iter().map(Counter::get))
    }

    /// Counts a client that abuses http.
    pub fn abuse(&self, kind: Abuse) {
        if let Some(counter) = self.abused.get(kind as usize) {
            counter.increment();
        }
    }

    /// Such clients so far, by what they did.
    pub fn abused(&self) -> impl Iterator<Item = (Abuse, u64)> + '_ {
        Abuse::ALL.into_iter().zip(self.abused.iter().map(Counter::get))
    }

    /// Counts a client, or a datagram, that was turned away.
    pub fn reject(&self, why: Rejection) {
        self.reject_all(why, 1);
    }

    /// Counts `n` of them.
    pub fn reject_all(&self, why: Rejection, n: u64) {
        if let Some(counter) = self.rejected.get(why as usize) {
            counter.add(n);
        }
    }

    /// Clients and datagrams turned away so far, by reason.
    pub fn rejected(&self) -> impl Iterator<Item = (Rejection, u64)> + '_ {
        Rejection::ALL.into_iter().zip(self.rejected.iter().map(Counter::get))
    }

    /// Shows all that only rises, each by a name that stays.
    pub fn figures(&self, see: &mut dyn FnMut(&str, Figure<'_>)) {
        see("accept-paused", Figure::Count(&self.accept_paused));
        see("datagrams-in", Figure::Count(&self.datagrams_in));
        see("datagrams-out", Figure::Count(&self.datagrams_out));
        for (why, counter) in Abuse::ALL.into_iter().zip(&self.abused) {
            see(&format!("abuse {}", why.as_str()), Figure::Count(counter));
        }
        for (why, counter) in Dropped::ALL.into_iter().zip(&self.dropped) {
            see(&format!("dropped {}", why.as_str()), Figure::Count(counter));
        }
        for (why, counter) in Rejection::ALL.into_iter().zip(&self.rejected) {
            see(&format!("rejected {}", why.as_str()), Figure::Count(counter));
        }
    }
}
