//! What a pool may not say because a udp listener uses it, itself or by way of fallbacks: datagrams
//! do not wait, and nothing is sent ahead of them.

use super::read::Section;
use super::value::Value;
use super::{Pool, Protocol, listener};

/// `pools` are those of `sections`, in the same order.
pub(super) fn check(
    sections: &[(&str, Section<'_>)],
    pools: &[Pool],
    listeners: &[listener::Read],
) {
    let mut seen = vec![false; pools.len()];
    let of_datagrams = listeners.iter().filter(|read| read.listener.protocol == Protocol::Udp);
    let starts = of_datagrams.flat_map(|read| read.listener.pools().map(move |pool| (read, pool)));
    for (read, start) in starts {
        let mut at = Some(start);
        while let Some(index) = at {
            let (Some(pool), Some((_, section))) = (pools.get(index), sections.get(index)) else {
                break;
            };
            // What is behind it has been seen too.
            if std::mem::replace(&mut seen[index], true) {
                break;
            }
            for_pool(section, pool, &read.listener.name);
            at = pool.fallback;
        }
    }
}

fn for_pool(section: &Section<'_>, pool: &Pool, listener: &str) {
    if let Some(value) = section.section("queue").value("size").filter(|_| pool.queue.size > 0) {
        refuse(&value, "datagrams do not wait", listener);
    }
    if let Some(value) = section.value("send_proxy_protocol") {
        refuse(&value, "a PROXY header goes ahead of a connection only", listener);
    }
    if let Some(value) = section.value("tls") {
        refuse(&value, "datagrams are sent on as they come, without TLS", listener);
    }
}

fn refuse(value: &Value<'_>, why: &str, listener: &str) {
    let message = format!("cannot hold for listener \"{listener}\", which is udp: {why}");
    value.refuse(&message, "remove the key, or give that listener a pool without it");
}
