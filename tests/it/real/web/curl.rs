//! curl in front of servers that say exactly what a test wants.

use std::io::Write;

use super::Front;
use crate::harness::http::read_head;
use crate::harness::servers::Server;
use crate::real::installed;

/// Answers each request of a connection with what `answer` says to its head.
fn lasting(answer: impl Fn(&str) -> String + Send + Sync + 'static) -> Server {
    Server::new("b", move |mut stream| {
        loop {
            let head = read_head(&mut stream);
            if head.is_empty() || stream.write_all(answer(&head).as_bytes()).is_err() {
                return;
            }
        }
    })
}

#[test]
fn trailers_reach_a_client_that_takes_them() {
    if installed("curl", &[]).is_none() {
        return;
    }
    let server = lasting(|_| {
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\ntrailer: x-sum\r\n\r\n\
         5\r\nhello\r\n0\r\nx-sum: 42\r\n\r\n"
            .to_owned()
    });
    let front = Front::start(server.address(), "", "");
    for (version, url) in front.ways() {
        let told = front.ask(&[version, "--include", "--header", "TE: trailers", &url]).stdout;
        let told = told.to_lowercase();
        assert!(told.contains("hello"), "{version} {url}: {told}");
        assert!(told.contains("x-sum: 42"), "{version} {url}: {told}");
    }
}

#[test]
fn what_has_no_body_has_none_in_either_version() {
    if installed("curl", &[]).is_none() {
        return;
    }
    let server = lasting(|head| match head.split(' ').nth(1) {
        Some("/204") => "HTTP/1.1 204 No Content\r\nx-is: 204\r\n\r\n".to_owned(),
        Some("/304") => {
            "HTTP/1.1 304 Not Modified\r\ncontent-length: 5\r\nx-is: 304\r\n\r\n".to_owned()
        }
        Some("/head") => "HTTP/1.1 200 OK\r\ncontent-length: 5\r\nx-is: head\r\n\r\n".to_owned(),
        _ => "HTTP/1.1 200 OK\r\ncontent-length: 0\r\nx-is: empty\r\n\r\n".to_owned(),
    });
    let front = Front::start(server.address(), "", "");
    for (version, url) in front.ways() {
        // Were one of them thought to have a body, the next answer would be taken for it.
        for word in ["204", "304", "empty", "204"] {
            let told = front.ask(&[version, "--include", &format!("{url}/{word}")]).stdout;
            assert!(told.contains(&format!("x-is: {word}")), "{version} {url}: {told}");
            assert!(told.ends_with("\r\n\r\n"), "{version} {url}: {told}");
        }
        let told = front.ask(&[version, "--head", &format!("{url}/head")]).stdout;
        assert!(told.contains("x-is: head") && told.contains("content-length: 5"), "{told}");
    }
}

#[test]
fn an_answer_that_is_cut_is_an_error_to_the_client() {
    if installed("curl", &[]).is_none() {
        return;
    }
    for cut in [
        "HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nhello",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n",
    ] {
        let server = Server::http("b", move |_| cut.to_owned());
        let front = Front::start(server.address(), "", "");
        for (version, url) in front.ways() {
            let run = crate::harness::process::finish(
                front.curl().args([version, &url]),
                crate::harness::wait::PATIENCE,
            );
            // 18: a part was missing; 52, 55, 56: the connection broke; 92: the stream did.
            let known = [18, 52, 55, 56, 92].map(Some);
            assert!(known.contains(&run.code), "{version} {url}: {:?} {}", run.code, run.text());
        }
        front.proxy.wait_idle();
        assert_eq!(front.proxy.outcomes("ok"), 0);
    }
}
