//! nginx behind the balancer, asked by curl: connections that are kept, files, ranges.

use std::fs;

use super::Front;
use crate::real::installed;
use crate::real::nginx::Nginx;

#[test]
fn requests_share_a_connection_to_the_server() {
    let words = "location / { return 200 \"$connection $connection_requests\\n\"; }";
    let Some(nginx) = Nginx::serving("n", words, "") else { return };
    if installed("curl", &[]).is_none() {
        return;
    }
    let front = Front::start(nginx.address(), "", "");
    // The curl of Debian 12 cannot use a connection twice that it began with prior knowledge.
    for (version, url) in
        front.ways().into_iter().filter(|(way, _)| *way != "--http2-prior-knowledge")
    {
        // One connection of the client, ten requests one after the other.
        let mut args = vec![version];
        args.extend([url.as_str(); 10]);
        let said = front.ask(&args).stdout;
        let seen: Vec<(&str, usize)> = said
            .lines()
            .map(|line| line.split_once(' ').unwrap())
            .map(|(on, nth)| (on, nth.parse().unwrap()))
            .collect();
        assert_eq!(seen.len(), 10, "{version} {url}: {said}");
        let (on, first) = seen[0];
        let expected: Vec<_> = (first..first + 10).map(|nth| (on, nth)).collect();
        assert_eq!(seen, expected, "{version} {url}");
    }
}

#[test]
fn files_come_whole_in_part_or_not_at_all() {
    let page: String = (0..300_000).map(|line| format!("{line:015}\n")).collect();
    let Some(nginx) = Nginx::start(&page) else { return };
    if installed("curl", &[]).is_none() {
        return;
    }
    let front = Front::start(nginx.address(), "", "");
    for (version, url) in front.ways() {
        let what = format!("{version} {url}");
        let whole = front.ask(&[version, &url]).stdout;
        assert!(whole == page, "{what}: {} of {} bytes", whole.len(), page.len());
        let part = front.ask(&[version, "--include", "--range", "32-47", &url]).stdout;
        let (head, body) = part.split_once("\r\n\r\n").unwrap();
        assert!(head.contains(" 206"), "{what}: {part}");
        let range = format!("content-range: bytes 32-47/{}", page.len());
        assert!(head.to_lowercase().contains(&range), "{what}: {part}");
        assert_eq!(body, "000000000000002\n", "{what}");
        // A head says how long the body would be, and then nothing comes.
        let head = front.ask(&[version, "--head", &url]).stdout.to_lowercase();
        assert!(head.contains(&format!("content-length: {}", page.len())), "{what}: {head}");
        let etag = head.lines().find_map(|line| line.strip_prefix("etag: ")).unwrap().to_owned();
        let known = format!("if-none-match: {etag}");
        let same = front.ask(&[version, "--include", "--header", &known, &url]).stdout;
        assert!(same.lines().next().unwrap().contains(" 304"), "{what}: {same}");
        assert!(same.ends_with("\r\n\r\n"), "{what}: {same}");
    }
    front.proxy.wait_outcome("ok", 16);
    front.proxy.wait_idle();
}

#[test]
fn a_client_that_leaves_in_the_middle_leaves_nothing_behind() {
    let Some(nginx) = Nginx::start(&"x".repeat(20_000_000)) else { return };
    if installed("curl", &[]).is_none() {
        return;
    }
    let front = Front::start(nginx.address(), "", "");
    let sink = front.proxy.dir().join("sink");
    for (version, url) in front.ways() {
        // It stops after the first piece: 23 is a write that failed.
        let mut curl = front.curl();
        curl.args([version, "--max-filesize", "1000", "--output"]).arg(&sink).arg(&url);
        crate::harness::process::finish(&mut curl, crate::harness::wait::PATIENCE).expect_code(63);
    }
    front.proxy.wait_idle();
    // Whoever comes next is served as if nothing had been.
    for (version, url) in front.ways() {
        front.ask(&[version, "--output", sink.to_str().unwrap(), &url]);
        assert_eq!(fs::metadata(&sink).unwrap().len(), 20_000_000, "{version} {url}");
    }
}
