//! The name server here answers what a test says; see `tests/it/names/` for the whole way.

use std::collections::HashMap;
use std::net::Ipv4Addr;
use std::sync::Mutex;

use hickory_resolver::proto::op::{Message, ResponseCode};
use hickory_resolver::proto::rr::rdata::{A, AAAA, CNAME, SRV};
use tokio::net::UdpSocket;
use tokio::task::JoinSet;

use super::*;
use crate::net::Lookup;

type Answer = Result<Vec<Record>, ResponseCode>;

/// A name server on loopback; a question that it does not know is not answered at all.
struct Zone {
    at: SocketAddr,
    answers: Arc<Mutex<HashMap<(String, RecordType), Answer>>>,
    _task: JoinSet<()>,
}

impl Zone {
    async fn start() -> Self {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let at = socket.local_addr().unwrap();
        let answers: Arc<Mutex<HashMap<(String, RecordType), Answer>>> = Arc::default();
        let mut task = JoinSet::new();
        task.spawn(serve(socket, Arc::clone(&answers)));
        Self { at, answers, _task: task }
    }

    fn say(&self, name: &str, kind: RecordType, answer: Answer) {
        self.answers.lock().unwrap().insert((name.to_owned(), kind), answer);
    }

    fn both(&self, name: &str, v4: Answer, v6: Answer) {
        self.say(name, RecordType::A, v4);
        self.say(name, RecordType::AAAA, v6);
    }
}

async fn serve(socket: UdpSocket, answers: Arc<Mutex<HashMap<(String, RecordType), Answer>>>) {
    let mut buffer = [0; 1500];
    loop {
        let (length, from) = socket.recv_from(&mut buffer).await.unwrap();
        let asked = Message::from_vec(&buffer[..length]).unwrap();
        let query = asked.queries[0].clone();
        let key = (query.name().to_ascii(), query.query_type());
        let Some(answer) = answers.lock().unwrap().get(&key).cloned() else { continue };
        let mut said = Message::response(asked.id, asked.op_code);
        said.add_query(query);
        match answer {
            Ok(records) => {
                said.add_answers(records);
            }
            Err(code) => said.metadata.response_code = code,
        }
        socket.send_to(&said.to_vec().unwrap(), from).await.unwrap();
    }
}

fn name(text: &str) -> Name {
    Name::from_ascii(text).unwrap()
}

fn a(owner: &str, ttl: u32, last: u8) -> Record {
    Record::from_rdata(name(owner), ttl, RData::A(A(Ipv4Addr::new(192, 0, 2, last))))
}

fn aaaa(owner: &str, ttl: u32, last: u16) -> Record {
    let ip = std::net::Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, last);
    Record::from_rdata(name(owner), ttl, RData::AAAA(AAAA(ip)))
}

fn ips(texts: &[&str]) -> Vec<IpAddr> {
    texts.iter().map(|text| text.parse().unwrap()).collect()
}

#[tokio::test]
async fn an_answer_has_both_kinds_and_holds_as_long_as_its_shortest_record() {
    let zone = Zone::start().await;
    let alias = Record::from_rdata(name("db.example."), 7, RData::CNAME(CNAME(name("x.example."))));
    zone.say("db.example.", RecordType::A, Ok(vec![alias.clone(), a("x.example.", 60, 1)]));
    zone.say("db.example.", RecordType::AAAA, Ok(vec![alias, aaaa("x.example.", 60, 1)]));
    let lookup = Lookup::new(&Resolver::new(vec![zone.at]), "db.example".into());
    let found = lookup.addresses().await.unwrap();
    assert_eq!(found.addresses, ips(&["192.0.2.1", "2001:db8::1"]));
    assert_eq!(found.holds, Duration::from_secs(7));
}

#[tokio::test]
async fn each_question_is_really_asked() {
    let zone = Zone::start().await;
    let lookup = Lookup::new(&Resolver::new(vec![zone.at]), "db.example".into());
    for last in 1..4 {
        zone.both("db.example.", Ok(vec![a("db.example.", 3600, last)]), Ok(vec![]));
        let found = lookup.addresses().await.unwrap();
        assert_eq!(found.addresses, ips(&[&format!("192.0.2.{last}")]));
    }
}

#[tokio::test]
async fn a_ttl_of_zero_holds_for_a_second_and_an_endless_one_for_a_day() {
    assert_eq!(hold(&[a("a.", 0, 1), a("a.", 9, 2)]), Duration::from_secs(1));
    assert_eq!(hold(&[a("a.", u32::MAX, 1)]), Duration::from_secs(86_400));
}

#[tokio::test]
async fn no_such_name_is_told_from_no_answer() {
    let zone = Zone::start().await;
    let resolver = Resolver::new(vec![zone.at]);
    let lookup = Lookup::new(&resolver, "db.example".into());
    for none in [Err(ResponseCode::NXDomain), Ok(vec![])] {
        zone.both("db.example.", none.clone(), none);
        assert_eq!(lookup.addresses().await.unwrap_err().kind(), io::ErrorKind::NotFound);
    }
    for code in [ResponseCode::ServFail, ResponseCode::Refused] {
        zone.both("db.example.", Err(code), Err(code));
        let error = lookup.addresses().await.unwrap_err();
        assert_ne!(error.kind(), io::ErrorKind::NotFound);
        assert!(error.to_string().contains(&zone.at.to_string()), "{error}");
    }
}

#[tokio::test]
async fn half_an_answer_takes_nothing_away() {
    let zone = Zone::start().await;
    let lookup = Lookup::new(&Resolver::new(vec![zone.at]), "db.example".into());
    let v4 = |last| Ok(vec![a("db.example.", 3600, last)]);
    zone.both("db.example.", v4(1), Ok(vec![aaaa("db.example.", 3600, 1)]));
    assert_eq!(lookup.addresses().await.unwrap().addresses.len(), 2);
    zone.both("db.example.", v4(2), Err(ResponseCode::ServFail));
    let found = lookup.addresses().await.unwrap();
    assert_eq!(found.addresses, ips(&["192.0.2.2", "2001:db8::1"]));
    assert_eq!(found.holds, DEFAULT_HOLD);
    zone.both("db.example.", v4(2), Ok(vec![]));
    assert_eq!(lookup.addresses().await.unwrap().addresses, ips(&["192.0.2.2"]));
}

#[tokio::test]
async fn a_server_that_cannot_answer_is_passed_over() {
    let (broken, silent, good) = (Zone::start().await, Zone::start().await, Zone::start().await);
    let fails = Err(ResponseCode::ServFail);
    broken.both("db.example.", fails.clone(), fails);
    good.both("db.example.", Ok(vec![a("db.example.", 60, 1)]), Ok(vec![]));
    let resolver = Resolver::new(vec![broken.at, silent.at, good.at]);
    let found = Lookup::new(&resolver, "db.example".into()).addresses().await.unwrap();
    assert_eq!(found.addresses, ips(&["192.0.2.1"]));
}

#[tokio::test]
async fn services_come_with_their_order_and_share() {
    let zone = Zone::start().await;
    let owner = "_db._tcp.example.";
    let srv = |priority, weight, port, target| {
        let data = RData::SRV(SRV::new(priority, weight, port, name(target)));
        Record::from_rdata(name(owner), 30, data)
    };
    let all = vec![srv(10, 5, 5432, "A.example."), srv(20, 0, 5433, "b.example.")];
    zone.say(owner, RecordType::SRV, Ok(all));
    let resolver = Resolver::new(vec![zone.at]);
    let found = resolver.services("_db._tcp.example").await.unwrap();
    let of = |target: &str, port, priority, weight| Service {
        target: target.into(),
        port,
        priority,
        weight,
    };
    assert_eq!(found.services, [of("a.example", 5432, 10, 5), of("b.example", 5433, 20, 0)]);
    assert_eq!(found.holds, Duration::from_secs(30));
    zone.say(owner, RecordType::SRV, Ok(vec![srv(0, 0, 0, ".")]));
    assert_eq!(resolver.services(owner).await.unwrap_err().kind(), io::ErrorKind::NotFound);
}

#[test]
fn a_short_name_is_tried_with_the_domains_first() {
    let sources = Sources {
        search: vec![name("a.example"), name("b.example")],
        ..Sources::read(&["127.0.0.1:9".parse().unwrap()], Stamps::now())
    };
    let of = |text: &str| {
        let all = sources.candidates(&name(text));
        all.iter().map(Name::to_ascii).collect::<Vec<_>>()
    };
    assert_eq!(of("db"), ["db.a.example.", "db.b.example.", "db."]);
    assert_eq!(of("db.x"), ["db.x.", "db.x.a.example.", "db.x.b.example."]);
    assert_eq!(of("db."), ["db."]);
    assert_eq!(of("localhost"), ["localhost."]);
}
