//! What the tables of a pool and a listener say about failing, waiting, ending and being let in.

use std::time::Duration;

use ipnet::IpNet;

use super::RetryHttp;

/// `[pool.NAME.retry]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retry {
    /// Connects in all, at least 1.
    pub attempts: u32,
    /// Bounds all attempts together, from the start of the first.
    pub window: Duration,
    /// Pause between attempts.
    pub backoff: Duration,
    /// What holds for requests.
    pub http: RetryHttp,
}

/// `[pool.NAME.passive]`: ejecting backends that fail under real traffic.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Passive {
    /// Failures within `window` that eject; 0 = never.
    pub failures: u32,
    /// How far back failures count.
    pub window: Duration,
    /// How long the first ejection lasts; each repeat lasts twice as long.
    pub eject_for: Duration,
    /// The longest an ejection can last, and how long without one until doubling starts anew.
    pub eject_max: Duration,
    /// Never more of the pool's backends than this, in percent, rounded down; 0 to 100.
    pub max_ejected: u8,
}

/// `[pool.NAME.queue]`: sessions that wait while every backend is at its cap.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Queue {
    /// How many may wait; 0 = none.
    pub size: u32,
    /// How long each may wait.
    pub timeout: Duration,
}

/// `[pool.NAME.close]`: what happens to the sessions that a backend already has, by cause.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Close {
    /// Probes found it down.
    pub down: Closing,
    /// It lost the role it is probed for.
    pub role: Closing,
    /// An operator drains it.
    pub drain: Closing,
    /// It is gone from the file or from discovery.
    pub removed: Closing,
    /// An operator took it out.
    pub maintenance: Closing,
}

/// What happens to the sessions of a backend.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Closing {
    /// They end by themselves.
    Keep,
    /// They are ended at once.
    Now,
    /// They are ended evenly over this time, above zero, idle ones first.
    Over(Duration),
}

/// `[pool.NAME.sticky]` with `client_ip`: a client address goes to the backend it had last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sticky {
    /// How long after the start of its latest session an address is remembered.
    pub ttl: Duration,
    /// Addresses that are remembered at most, at least 1.
    pub max_entries: u32,
}

/// `send_proxy_protocol`: the PROXY header that backends are sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProxyVersion {
    /// A line of text.
    V1,
    /// Binary.
    V2,
}

impl ProxyVersion {
    /// The word in the file.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::V1 => "v1",
            Self::V2 => "v2",
        }
    }
}

/// `accept_proxy_protocol`: which clients must send a PROXY header.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AcceptProxy {
    /// None.
    Off,
    /// All.
    All,
    /// Those from these networks; others are taken as they come. Never empty.
    From(Vec<IpNet>),
}

/// `allow` and `deny`: the clients that a listener takes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Clients {
    /// If not empty, only clients from these networks are let in.
    pub allow: Vec<IpNet>,
    /// Clients from these networks are not let in, whatever `allow` says.
    pub deny: Vec<IpNet>,
}

/// So many in a time, and so many at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    /// At least 1.
    pub count: u32,
    /// The time in which `count` may come, on the average.
    pub per: Duration,
    /// How many may come at once after a pause, at least 1.
    pub burst: u32,
}
