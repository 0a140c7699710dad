//! The stream of events over a real connection: who gets what, and whom it does not disturb.

use tokio::io::{AsyncBufReadExt, BufReader, Lines};
use tokio::net::TcpStream;

use super::*;
use crate::event::{Event, Subject};

/// An interface that serves while its tasks live.
fn served(handle: &Arc<Handle>) -> (SocketAddr, JoinSet<io::Result<()>>) {
    let spec =
        config::Admin { bind: AdminBind::Tcp("127.0.0.1:0".parse().unwrap()), token_file: None };
    let bound = bind(&spec, None).unwrap().unwrap();
    let AdminBind::Tcp(address) = *bound.address() else { panic!("not tcp") };
    let mut tasks = JoinSet::new();
    tasks.spawn(bound.serve(Arc::clone(handle), Arc::default()));
    (address, tasks)
}

async fn ask(address: SocketAddr, path: &str) -> Lines<BufReader<TcpStream>> {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    BufReader::new(stream).lines()
}

/// The next line that starts so.
async fn next(lines: &mut Lines<BufReader<TcpStream>>, start: &str) -> String {
    let found = async {
        loop {
            let line = lines.next_line().await.unwrap().expect("the stream goes on");
            if line.starts_with(start) {
                return line;
            }
        }
    };
    timeout(Duration::from_secs(20), found).await.unwrap_or_else(|_| panic!("no {start:?}"))
}

fn publish_numbered(handle: &Handle, number: usize) {
    let subject = Subject::Pool { pool: "db".into() };
    let time = std::time::SystemTime::now();
    let reason = format!("number {number}");
    handle.events.publish(Event { time, subject, from: "up".into(), to: "down".into(), reason });
}

#[tokio::test]
async fn a_watcher_gets_what_it_asked_for_of_the_past_and_what_comes() {
    let handle = handle();
    let (address, _tasks) = served(&handle);
    (1..=3).for_each(|number| publish_numbered(&handle, number));
    let mut lines = ask(address, "/api/v1/events?recent=2").await;
    assert_eq!(next(&mut lines, "HTTP").await, "HTTP/1.1 200 OK");
    assert_eq!(next(&mut lines, "content-type").await, "content-type: text/event-stream");
    for number in 2..=3 {
        assert_eq!(next(&mut lines, "event").await, "event: pool");
        assert!(next(&mut lines, "data").await.contains(&format!("number {number}")));
    }
    let mut live = ask(address, "/api/v1/events").await;
    next(&mut live, "retry").await;
    publish_numbered(&handle, 4);
    for lines in [&mut lines, &mut live] {
        assert!(next(lines, "data").await.contains("number 4"));
    }
    handle.set_stopping();
    assert_eq!(next(&mut live, "event").await, "event: listener");
    let data = next(&mut live, "data").await;
    assert!(data.contains("\"listener\":\"front\",\"from\":\"listening\",\"to\":\"closing\""));
}

#[tokio::test]
async fn streams_have_a_bound_of_their_own_and_keep_no_question_out() {
    let handle = handle();
    let (address, _tasks) = served(&handle);
    let mut watching = Vec::new();
    for _ in 0..32 {
        let mut lines = ask(address, "/api/v1/events").await;
        next(&mut lines, "retry").await;
        watching.push(lines);
    }
    let mut refused = ask(address, "/api/v1/events").await;
    assert!(next(&mut refused, "HTTP").await.starts_with("HTTP/1.1 503"));
    // As many as may ask at once, and more: the streams are not what makes room.
    let mut idle = Vec::new();
    for _ in 0..2 * CONNECTIONS {
        idle.push(TcpStream::connect(address).await.unwrap());
    }
    let mut health = ask(address, "/healthz").await;
    assert!(next(&mut health, "HTTP").await.starts_with("HTTP/1.1 200"));
    publish_numbered(&handle, 7);
    for lines in &mut watching {
        assert!(next(lines, "data").await.contains("number 7"));
    }
    drop(watching.pop());
    let comes_free = async {
        loop {
            let mut lines = ask(address, "/api/v1/events").await;
            if next(&mut lines, "HTTP").await.starts_with("HTTP/1.1 200") {
                return;
            }
        }
    };
    timeout(Duration::from_secs(20), comes_free).await.unwrap();
}

#[tokio::test]
async fn a_watcher_that_is_too_slow_is_told_and_counted() {
    let handle = handle();
    let (address, _tasks) = served(&handle);
    let mut lines = ask(address, "/api/v1/events").await;
    next(&mut lines, "retry").await;
    // The interface does not run meanwhile: this test has one thread.
    (0..3000).for_each(|number| publish_numbered(&handle, number));
    assert_eq!(next(&mut lines, "event: lost").await, "event: lost");
    assert_eq!(next(&mut lines, "data").await, "data: {\"lost\":1976}");
    let mut metrics = ask(address, "/metrics").await;
    let dropped = next(&mut metrics, "evenkeel_events_dropped_total ").await;
    assert_eq!(dropped, "evenkeel_events_dropped_total 1976");
}
