//! What is measured: how much work, over how many connections or flows, in which unit.

use clap::ValueEnum;

/// Bytes of a request and of its answer on a connection.
pub(crate) const MESSAGE: usize = 64;

const NO_UDP: &str = "HAProxy: left out, it has no UDP";

const NO_SPLICE: &str = "HAProxy, splice-auto: left out, what it decrypts it cannot splice";

const SAME_LOAD: &str =
    "the load is h2load; answers have 64 bytes of body, and what the head needs";

const NO_RESPONSES: &str =
    "Envoy: a flow ends by its idle timeout only, here 0.1 s; the others give it back at once";

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub(crate) enum Scenario {
    Conn,
    Rtt,
    Bulk1,
    Bulk8,
    Upload1,
    Upload8,
    Idle,
    UdpRtt,
    UdpBurst,
    UdpFlows,
    TlsFull,
    TlsResumed,
    TlsBulk1,
    TlsBulk8,
    TlsUpload1,
    TlsUpload8,
    TlsIdle,
    Http1,
    Http2,
}

/// How the client's TLS begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Handshake {
    /// With the certificate, its signature and a key exchange
    Full,
    /// With a ticket of an earlier session and a key exchange
    Resumed,
}

/// What the client does, and with which kind of backend.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Work {
    /// Connect, send, receive, close first
    Connect,
    /// Send and receive on standing connections
    Exchange,
    /// Receive a stream
    Download,
    /// Send a stream, and wait for the byte that says it arrived
    Upload,
    /// Exchange once, then hold the connections
    Hold,
    /// Send and receive datagrams on standing flows
    Datagrams,
    /// One datagram and its answer on a flow of its own
    Flows,
    /// HTTP/1.1 requests, one after the other on standing connections
    Requests,
    /// HTTP/2 requests, several at a time on standing connections
    Streams,
}

/// The part of the work that is counted under callgrind.
const COUNTED: u64 = 20;

/// How much of it fits this run and this machine.
#[derive(Clone, Copy)]
pub(crate) struct Scale {
    /// This part of the whole work, as a divisor.
    pub(crate) part: u64,
    /// Open files a process may have.
    pub(crate) files: u64,
}

impl Scale {
    /// Idle sessions: 10,000, or what the descriptors of a proxy allow at two each, some kept back.
    fn idle(self) -> u64 {
        (self.files.saturating_sub(1_200) / 2).clamp(100, 10_000)
    }

    /// Sessions a proxy has to admit.
    pub(crate) fn sessions(self) -> u64 {
        self.idle() + 100
    }

    fn share(self, whole: u64) -> u64 {
        whole / self.part
    }

    /// So little that it can be counted instruction by instruction.
    pub(crate) fn counted(self) -> Self {
        Self { part: COUNTED, ..self }
    }

    pub(crate) fn is_counted(self) -> bool {
        self.part == COUNTED
    }

    /// Connections at a time, of which fewer are counted: each takes long then.
    fn at_a_time(self) -> u64 {
        if self.is_counted() { 8 } else { 64 }
    }
}

impl Scenario {
    pub(crate) fn key(self) -> &'static str {
        match self {
            Self::Conn => "conn",
            Self::Rtt => "rtt",
            Self::Bulk1 => "bulk1",
            Self::Bulk8 => "bulk8",
            Self::Upload1 => "upload1",
            Self::Upload8 => "upload8",
            Self::Idle => "idle",
            Self::UdpRtt => "udp-rtt",
            Self::UdpBurst => "udp-burst",
            Self::UdpFlows => "udp-flows",
            Self::TlsFull => "tls-full",
            Self::TlsResumed => "tls-resumed",
            Self::TlsBulk1 => "tls-bulk1",
            Self::TlsBulk8 => "tls-bulk8",
            Self::TlsUpload1 => "tls-upload1",
            Self::TlsUpload8 => "tls-upload8",
            Self::TlsIdle => "tls-idle",
            Self::Http1 => "http1",
            Self::Http2 => "http2",
        }
    }

    pub(crate) fn work(self) -> Work {
        match self {
            Self::Conn | Self::TlsFull | Self::TlsResumed => Work::Connect,
            Self::Rtt => Work::Exchange,
            Self::Bulk1 | Self::Bulk8 | Self::TlsBulk1 | Self::TlsBulk8 => Work::Download,
            Self::Upload1 | Self::Upload8 | Self::TlsUpload1 | Self::TlsUpload8 => Work::Upload,
            Self::Idle | Self::TlsIdle => Work::Hold,
            Self::UdpRtt | Self::UdpBurst => Work::Datagrams,
            Self::UdpFlows => Work::Flows,
            Self::Http1 => Work::Requests,
            Self::Http2 => Work::Streams,
        }
    }

    pub(crate) fn is_udp(self) -> bool {
        matches!(self.work(), Work::Datagrams | Work::Flows)
    }

    /// The proxy takes requests, not connections.
    pub(crate) fn is_http(self) -> bool {
        matches!(self.work(), Work::Requests | Work::Streams)
    }

    /// What the client speaks with the proxy; none is cleartext.
    pub(crate) fn tls(self) -> Option<Handshake> {
        match self {
            Self::TlsResumed => Some(Handshake::Resumed),
            Self::TlsFull
            | Self::TlsBulk1
            | Self::TlsBulk8
            | Self::TlsUpload1
            | Self::TlsUpload8
            | Self::TlsIdle => Some(Handshake::Full),
            _ => None,
        }
    }

    /// Connections or flows at a time.
    pub(crate) fn width(self, scale: Scale) -> u64 {
        match self {
            Self::Conn | Self::Rtt | Self::UdpRtt | Self::UdpFlows | Self::Http1 => 64,
            Self::Http2 => 16,
            Self::TlsFull | Self::TlsResumed => scale.at_a_time(),
            Self::Bulk1 | Self::Upload1 | Self::TlsBulk1 | Self::TlsUpload1 => 1,
            Self::Bulk8 | Self::Upload8 | Self::UdpBurst => 8,
            Self::TlsBulk8 | Self::TlsUpload8 => 8,
            Self::Idle | Self::TlsIdle => scale.share(scale.idle()),
        }
    }

    /// Requests in flight on each flow or connection.
    pub(crate) fn depth(self) -> u64 {
        match self {
            Self::UdpBurst => 64,
            Self::Http2 => 8,
            _ => 1,
        }
    }

    /// Bytes of a request and of its answer.
    pub(crate) fn message(self) -> usize {
        if self == Self::UdpBurst { 1_200 } else { MESSAGE }
    }

    /// Connections, round trips, or bytes in all. Each connection leaves two sockets in TIME_WAIT
    /// for a minute, and beyond 131,072 of them the kernel changes its ways: hence 10,000.
    pub(crate) fn amount(self, scale: Scale) -> u64 {
        match self {
            Self::Conn | Self::TlsFull | Self::TlsResumed => scale.share(10_000),
            Self::UdpFlows => scale.share(20_000),
            Self::Rtt | Self::UdpRtt | Self::UdpBurst => scale.share(192_000),
            Self::Http1 | Self::Http2 => scale.share(192_000),
            Self::Bulk1 | Self::Bulk8 | Self::Upload1 | Self::Upload8 => scale.share(2_000_000_000),
            Self::TlsBulk1 | Self::TlsBulk8 | Self::TlsUpload1 | Self::TlsUpload8 => {
                scale.share(2_000_000_000)
            }
            Self::Idle | Self::TlsIdle => self.width(scale),
        }
    }

    /// The amount in the unit of the report.
    pub(crate) fn units(self, scale: Scale) -> f64 {
        let amount = self.amount(scale) as f64;
        if self.is_bulk() { amount / 1e9 } else { amount }
    }

    pub(crate) fn is_bulk(self) -> bool {
        matches!(self.work(), Work::Download | Work::Upload)
    }

    pub(crate) fn title(self) -> &'static str {
        match self {
            Self::Conn => "Short connections",
            Self::Rtt => "64-byte round trips on 64 connections",
            Self::Bulk1 => "Bulk download on 1 connection",
            Self::Bulk8 => "Bulk download on 8 connections",
            Self::Upload1 => "Bulk upload on 1 connection",
            Self::Upload8 => "Bulk upload on 8 connections",
            Self::Idle => "Memory of idle sessions",
            Self::UdpRtt => "UDP: 64-byte round trips on 64 flows",
            Self::UdpBurst => "UDP: 1200 bytes, 64 in flight on each of 8 flows",
            Self::UdpFlows => "UDP: a new flow for each 64-byte round trip",
            Self::TlsFull => "TLS: short connections, a full handshake each",
            Self::TlsResumed => "TLS: short connections, a resumed session each",
            Self::TlsBulk1 => "TLS: bulk download on 1 connection",
            Self::TlsBulk8 => "TLS: bulk download on 8 connections",
            Self::TlsUpload1 => "TLS: bulk upload on 1 connection",
            Self::TlsUpload8 => "TLS: bulk upload on 8 connections",
            Self::TlsIdle => "TLS: memory of idle sessions",
            Self::Http1 => "HTTP/1.1: requests on 64 standing connections",
            Self::Http2 => {
                "HTTP/2 in front, HTTP/1.1 behind: 8 requests at a time on 16 connections"
            }
        }
    }

    /// What its table cannot say.
    pub(crate) fn notes(self) -> &'static [&'static str] {
        match self {
            Self::UdpRtt | Self::UdpBurst => &[NO_UDP],
            Self::UdpFlows => &[NO_UDP, NO_RESPONSES],
            _ if self.is_http() => &[SAME_LOAD],
            _ if self.tls().is_some() => &[NO_SPLICE],
            _ => &[],
        }
    }
}
