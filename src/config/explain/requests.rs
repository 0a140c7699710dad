//! How long a client of http waits: as for a connection, and then for as long as a backend may take
//! to answer.

use std::time::Duration;

use super::arithmetic::{self, Chain};
use super::facts::{after_refused, fact, full, late, worst};
use super::sum::{Sum, Term};
use super::{Fact, Part};
use crate::config::units::{write_percent, write_size};
use crate::config::{AcceptProxy, Leads, Listener, ListenerTls, RetryOn};

/// From a listener to the pool at `start`, with which `chain` begins.
pub(super) fn waiting(
    chain: &Chain<'_>,
    listener: &Listener,
    start: usize,
    step: Duration,
) -> Part {
    let wait = Wait { chain, on: chain.first.retry.http.on, whole: whole(listener, start) };
    let unanswered = "on a new connection; on one that was kept as if the program hung";
    let mut facts = vec![
        first_read(listener),
        fact(
            "wait_killed",
            "process killed",
            wait.bound(Some(chain.after_refused())),
            wait.refused(),
        ),
        fact("wait_host_gone", "host gone", wait.bound(Some(chain.after_unanswered())), unanswered),
        fact("wait_hung", "program hangs", wait.bound(wait.hung()), wait.unheard()),
        fact(
            "wait_reset",
            "resets its sessions",
            wait.bound(Some(chain.after_refused())),
            wait.reset(),
        ),
        fact("wait_full", "all are at their caps", wait.bound(Some(chain.full())), full(chain)),
        fact("wait_worst", "the worst of all", wait.bound(wait.worst()), worst(chain)),
    ];
    if let Some(whole) = &wait.whole {
        let note = "the longest of the routes that lead here: then 504, or a reset after the head";
        facts.push(fact("wait_request", "a whole request", whole.clone(), note));
    }
    let more = chain.late(step) + chain.late_answers(step);
    let title = "a request waits, beside what a good backend takes to answer, at most";
    Part { title, facts, remarks: vec![repeated(chain), late(step, more)] }
}

/// What bounds every request that comes to the pool; `None` = there are some that nothing bounds.
fn whole(listener: &Listener, start: usize) -> Option<Sum> {
    let leads_here = |leads: &Leads| leads.pools().any(|pool| pool == start);
    let here = listener.routes.iter().filter(|route| leads_here(&route.leads));
    let bounds: Option<Vec<Duration>> = here.map(|it| it.treatment.request_timeout).collect();
    let longest = bounds?.into_iter().max().filter(|_| listener.pool != Some(start))?;
    Some(Sum::of(Term::of("request_timeout", longest)))
}

/// What is read before there is a request.
fn first_read(listener: &Listener) -> Fact {
    let http = listener.http.clone().unwrap_or_default();
    let is_shaken = listener.tls.as_ref().is_some_and(ListenerTls::terminates)
        || listener.accept_proxy_protocol != AcceptProxy::Off;
    let sum = if is_shaken { arithmetic::handshake(listener) } else { Sum::default() };
    let note = "before all that, of its own making, for the first request of a connection";
    let sum = sum.plus(Term::of("header_timeout", http.header_timeout));
    fact("wait_handshake", "sends too little", sum, note)
}

/// What another attempt needs besides time.
fn repeated(chain: &Chain<'_>) -> String {
    let rules = chain.first.retry.http;
    let methods = if rules.non_idempotent { "any method" } else { "an idempotent method" };
    format!(
        "What may have reached a backend is tried again only with {methods}, a body of at most {}, \
         and within a budget of {}; else the client has its 502, 503 or 504 at once.",
        write_size(rules.body),
        write_percent(rules.budget)
    )
}

/// A request to the first pool of a chain.
struct Wait<'a> {
    chain: &'a Chain<'a>,
    on: RetryOn,
    whole: Option<Sum>,
}

impl Wait<'_> {
    /// The smaller of two bounds, of which each may be none.
    fn bound(&self, sum: Option<Sum>) -> Option<Sum> {
        let is_longer = |whole: &&Sum| sum.as_ref().is_none_or(|sum| sum.total() > whole.total());
        self.whole.as_ref().filter(is_longer).cloned().or(sum)
    }

    fn response(&self) -> Option<Term> {
        self.chain.first.response_timeout.map(|time| Term::of("response_timeout", time))
    }

    /// Answers that do not come, from one backend. Each attempt but the last is within the window.
    fn hung(&self) -> Option<Sum> {
        let response = self.response()?;
        let again = if self.on.timeout { self.chain.spent() } else { 1 };
        let pauses = self.chain.pauses(again.min(self.chain.first.retry.attempts - 1));
        let before = vec![response.clone().times(again - 1), pauses];
        Some(self.chain.queues(self.chain.capped(before).plus(response)))
    }

    /// Each attempt connects late and is not answered. Each but the last is within the window, and so
    /// is the last connect.
    fn worst(&self) -> Option<Sum> {
        let response = self.response()?;
        let attempts = self.chain.first.retry.attempts;
        let unanswered = if self.on.timeout { attempts - 1 } else { 0 };
        let before = vec![
            self.chain.connect().by("attempts", attempts),
            response.clone().times(unanswered),
            self.chain.pauses(attempts - 1),
        ];
        Some(self.chain.queues(self.chain.capped(before).plus(response)))
    }

    fn refused(&self) -> &'static str {
        if self.on.connect {
            after_refused(self.chain)
        } else {
            "its kernel refuses at once: 502, as retry.on has no connect"
        }
    }

    fn reset(&self) -> &'static str {
        if self.on.reset {
            "before the head of an answer, and at once; then another is tried"
        } else {
            "before the head of an answer, and at once: 502, as retry.on has no reset"
        }
    }

    fn unheard(&self) -> &'static str {
        match (self.chain.first.response_timeout, &self.whole) {
            (None, None) => "no response_timeout: until it answers, or the client leaves",
            (None, Some(_)) => "no response_timeout: 504 by request_timeout",
            (Some(_), _) if self.on.timeout && self.chain.first.retry.attempts > 1 => {
                "then another is tried while the window lasts, else 504"
            }
            (Some(_), _) => "then 504",
        }
    }
}
