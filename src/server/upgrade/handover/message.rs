//! What two processes of an upgrade say to each other.
//!
//! Both may be of different versions. A field that one of them does not know is passed over, and so is
//! a whole message; what cannot be passed over has another [`PROTOCOL`], and is refused.

use std::net::{IpAddr, SocketAddr};

use serde::{Deserialize, Serialize};

use crate::api::DrainingProcess;
use crate::health::Known;
use crate::server::ledger::Ledger;
use crate::udp::Carried;

/// The way in which processes talk: two of different numbers do not understand each other.
pub(in crate::server) const PROTOCOL: u32 = 1;

/// What a message is about. The old process speaks first.
#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "say", rename_all = "kebab-case")]
pub(in crate::server) enum Message {
    /// Old: who I am.
    Hello(Hello),
    /// Old: these are my sockets; they come in this order, those of one address together.
    Sockets { sockets: Vec<Handed> },
    /// Old: what I know of the backends of this pool.
    Known { pool: String, known: Vec<Known> },
    /// Old: that is what you begin with; build, and tell me.
    Prepare,
    /// New: I could serve at once.
    Prepared(Hello),
    /// New: I cannot.
    Refused { why: String },
    /// Old: so much I have counted until now.
    Counted { figures: Ledger },
    /// Old: flows of the datagram socket of this number, with their places here; their sockets come
    /// in this order.
    Flows { socket: u64, flows: Vec<(usize, Carried)> },
    /// Old: where clients have been before.
    Sticky { pool: String, homes: Vec<Home> },
    /// Old: I have stopped; serve.
    Serve,
    /// New: I do. The flows in these places I could not take, by their sockets' numbers.
    Serving { left: Vec<(u64, Vec<usize>)> },
    /// Old, once a second: so much I have counted since; these processes drain, I among them.
    Report { figures: Ledger, draining: Vec<DrainingProcess> },
    /// New, while the old one drains: I stop, so should you.
    Stop,
    /// What this version does not know.
    #[serde(other)]
    Unknown,
}

/// Who somebody is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::server) struct Hello {
    pub(in crate::server) protocol: u32,
    pub(in crate::server) version: String,
    pub(in crate::server) pid: u32,
}

impl Hello {
    /// This process.
    pub(in crate::server) fn mine() -> Self {
        let version = env!("CARGO_PKG_VERSION").to_owned();
        Self { protocol: PROTOCOL, version, pid: std::process::id() }
    }
}

/// Sockets of one address.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::server) struct Handed {
    pub(in crate::server) of: Whose,
    /// So many, one after the other.
    pub(in crate::server) count: usize,
}

/// What sockets are for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(in crate::server) enum Whose {
    /// Of a listener, where somebody has said so.
    Listener { name: Option<String>, is_datagram: bool, address: SocketAddr },
    /// The admin interface, at this address as the file writes it.
    Admin(String),
}

/// Where a client has been before.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::server) struct Home {
    pub(in crate::server) client: IpAddr,
    pub(in crate::server) backend: String,
    /// Milliseconds since its latest pick.
    pub(in crate::server) age: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Message {
        serde_json::from_str(text).unwrap()
    }

    #[test]
    fn what_a_newer_version_adds_is_passed_over() {
        let text = r#"{"say": "hello", "protocol": 1, "version": "9", "pid": 7, "mood": "good"}"#;
        let Message::Hello(hello) = read(text) else { panic!("{text}") };
        assert_eq!(hello, Hello { protocol: 1, version: "9".to_owned(), pid: 7 });
        assert!(matches!(read(r#"{"say": "weather", "rain": true}"#), Message::Unknown));
    }

    #[test]
    fn messages_survive_being_written_and_read() {
        let of = Whose::Listener {
            name: Some("web".to_owned()),
            is_datagram: true,
            address: "[::1]:53".parse().unwrap(),
        };
        let admin = Whose::Admin("unix:/run/x.sock".to_owned());
        let sockets = vec![Handed { of, count: 4 }, Handed { of: admin, count: 1 }];
        let text = serde_json::to_string(&Message::Sockets { sockets: sockets.clone() }).unwrap();
        let Message::Sockets { sockets: again } = read(&text) else { panic!("{text}") };
        assert_eq!(again, sockets);
        let text =
            serde_json::to_string(&Message::Serving { left: vec![(9, vec![1, 2])] }).unwrap();
        let Message::Serving { left } = read(&text) else { panic!("{text}") };
        assert_eq!(left, [(9, vec![1, 2])]);
    }
}
