//! A name server that says what a test wants, at once and with the TTL that it wants.
//!
//! Over UDP alone, and small enough answers. What servers that people run do is tested with those
//! (`real/names.rs`); this one is for moments.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use hickory_resolver::proto::op::{Message, ResponseCode};
use hickory_resolver::proto::rr::rdata::{A, AAAA, SRV};
use hickory_resolver::proto::rr::{Name, RData, Record};

/// How soon the thread sees that it is to end.
const STEP: Duration = Duration::from_millis(50);

#[derive(Clone)]
enum Said {
    Records(Vec<Record>),
    Code(ResponseCode),
    Silence,
}

#[derive(Default)]
struct Zone {
    names: HashMap<String, Said>,
    asked: HashMap<String, usize>,
}

/// A name server; a name that it was told nothing of does not exist.
pub(crate) struct Dns {
    address: SocketAddr,
    zone: Arc<Mutex<Zone>>,
    stop: Arc<AtomicBool>,
}

impl Dns {
    pub(crate) fn start() -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        let address = socket.local_addr().unwrap();
        let (zone, stop) = (Arc::<Mutex<Zone>>::default(), Arc::<AtomicBool>::default());
        socket.set_read_timeout(Some(STEP)).unwrap();
        let (shared, stopped) = (Arc::clone(&zone), Arc::clone(&stop));
        thread::spawn(move || {
            while !stopped.load(Ordering::SeqCst) {
                let mut buffer = [0; 1500];
                if let Ok((length, from)) = socket.recv_from(&mut buffer)
                    && let Some(answer) = answer(&buffer[..length], &shared)
                {
                    drop(socket.send_to(&answer, from));
                }
            }
        });
        Self { address, zone, stop }
    }

    /// A line for `[process]`.
    pub(crate) fn key(&self) -> String {
        format!("nameservers = [\"{}\"]", self.address)
    }

    /// From now on a name has these addresses.
    pub(crate) fn addresses(&self, name: &str, ttl: u32, ips: &[&str]) {
        let record = |ip: &&str| {
            let data = match ip.parse().unwrap() {
                IpAddr::V4(ip) => RData::A(A(ip)),
                IpAddr::V6(ip) => RData::AAAA(AAAA(ip)),
            };
            Record::from_rdata(whole(name), ttl, data)
        };
        self.say(name, Said::Records(ips.iter().map(record).collect()));
    }

    /// From now on a name has these SRV records: priority, weight, port, target.
    pub(crate) fn services(&self, name: &str, ttl: u32, all: &[(u16, u16, u16, &str)]) {
        let record = |&(priority, weight, port, target): &(u16, u16, u16, &str)| {
            let data = SRV::new(priority, weight, port, whole(target));
            Record::from_rdata(whole(name), ttl, RData::SRV(data))
        };
        self.say(name, Said::Records(all.iter().map(record).collect()));
    }

    /// From now on a name does not exist.
    pub(crate) fn deny(&self, name: &str) {
        self.say(name, Said::Code(ResponseCode::NXDomain));
    }

    /// From now on this server cannot say anything of a name.
    pub(crate) fn fail(&self, name: &str) {
        self.say(name, Said::Code(ResponseCode::ServFail));
    }

    /// From now on questions for a name are not answered.
    pub(crate) fn ignore(&self, name: &str) {
        self.say(name, Said::Silence);
    }

    /// How often a name was asked for.
    pub(crate) fn asked(&self, name: &str) -> usize {
        self.zone.lock().unwrap().asked.get(&key(name)).copied().unwrap_or_default()
    }

    fn say(&self, name: &str, said: Said) {
        self.zone.lock().unwrap().names.insert(key(name), said);
    }
}

impl Drop for Dns {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
    }
}

fn whole(name: &str) -> Name {
    let mut name = Name::from_ascii(name).unwrap();
    name.set_fqdn(true);
    name
}

fn key(name: &str) -> String {
    whole(name).to_ascii().to_ascii_lowercase()
}

fn answer(question: &[u8], zone: &Mutex<Zone>) -> Option<Vec<u8>> {
    let asked = Message::from_vec(question).ok()?;
    let query = asked.queries.first()?.clone();
    let key = query.name().to_ascii().to_ascii_lowercase();
    let said = {
        let mut zone = zone.lock().unwrap();
        *zone.asked.entry(key.clone()).or_default() += 1;
        zone.names.get(&key).cloned().unwrap_or(Said::Code(ResponseCode::NXDomain))
    };
    let mut message = Message::response(asked.id, asked.op_code);
    let kind = query.query_type();
    message.add_query(query);
    match said {
        Said::Records(records) => {
            message.add_answers(records.into_iter().filter(|record| record.record_type() == kind));
        }
        Said::Code(code) => message.metadata.response_code = code,
        Said::Silence => return None,
    }
    message.to_vec().ok()
}
