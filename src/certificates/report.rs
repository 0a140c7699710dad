//! What is said of certificates: one log line and one event for each change.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::SystemTime;

use crate::certificates::expiry::{Left, day};
use crate::event::{Event, Events, Subject};
use crate::tls::Certified;

/// Speaks of the certificates of one listener.
#[derive(Debug)]
pub(super) struct Reporter {
    pub(super) listener: Arc<str>,
    pub(super) events: Events,
}

impl Reporter {
    /// `new` serves in place of `old`.
    pub(super) fn replaced(&self, old: &Certified, new: &Certified) {
        let (listener, name, source) = (&self.listener, &new.name, &new.source);
        let (from, to) = (until(old), until(new));
        tracing::info!(%listener, certificate = %name, file = %source, from, to, "certificate replaced");
        let reason = format!("{source} has changed");
        self.publish(name, (from.into(), to.into()), reason);
    }

    /// What is in the files was refused; `old` serves on.
    pub(super) fn refused(&self, old: &Certified, why: &str) {
        let (listener, name) = (&self.listener, &old.name);
        let from = until(old);
        tracing::warn!(
            %listener, certificate = %name, reason = why,
            "certificate refused, the one {from} serves on"
        );
        self.publish(name, (from.into(), "refused".into()), why.to_owned());
    }

    /// What was refused is gone, and the files hold what is served.
    pub(super) fn restored(&self, old: &Certified) {
        let (listener, name, source) = (&self.listener, &old.name, &old.source);
        tracing::info!(%listener, certificate = %name, file = %source, "the files hold again what is served");
        // Whoever heard of the refusal hears that it is over.
        let reason = format!("{source} holds again what is served");
        self.publish(name, ("refused".into(), until(old).into()), reason);
    }

    /// A certificate that serves is near its end or past it.
    pub(super) fn ends(&self, certified: &Certified, left: Left) {
        let (listener, name, source) = (&self.listener, &certified.name, &certified.source);
        let (day, way_out) = (day(certified.not_after), "put a renewed one in its place");
        let (to, reason) = match left {
            Left::Plenty => return,
            Left::Days(days) => {
                let when = match days {
                    0 => "within a day".to_owned(),
                    1 => "in 1 day".to_owned(),
                    days => format!("in {days} days"),
                };
                ("expiring", format!("{source} expires {when}, on {day}; {way_out}"))
            }
            Left::Nothing => {
                ("expired", format!("{source} expired on {day}, clients refuse it; {way_out}"))
            }
        };
        if left == Left::Nothing {
            tracing::error!(%listener, certificate = %name, reason, "certificate expired");
        } else {
            tracing::warn!(%listener, certificate = %name, reason, "certificate expires soon");
        }
        self.publish(name, (until(certified).into(), to.into()), reason);
    }

    fn publish(
        &self,
        name: &Arc<str>,
        (from, to): (Cow<'static, str>, Cow<'static, str>),
        reason: String,
    ) {
        let (listener, name) = (Arc::clone(&self.listener), Arc::clone(name));
        let subject = Subject::Certificate { listener, name };
        self.events.publish(Event { time: SystemTime::now(), subject, from, to, reason });
    }
}

/// `valid until 2026-11-21`.
fn until(certified: &Certified) -> String {
    format!("valid until {}", day(certified.not_after))
}
