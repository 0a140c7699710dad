//! What is told to those who watch events: one for each listener that shows the certificate.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::SystemTime;

use jiff::Timestamp;

use crate::acme::Holder;
use crate::acme::schedule::Validity;
use crate::event::{Event, Events, Subject};

/// Tells each holder's watchers that the certificate called `name`, which was in the state `from`,
/// is in the state `to`.
pub(super) fn tell(
    events: &Events,
    holders: &[Holder],
    name: &str,
    (from, to): (&str, &str),
    reason: &str,
) {
    let owned = |text: &str| Cow::<'static, str>::Owned(text.to_owned());
    for holder in holders {
        let listener = Arc::clone(&holder.listener);
        let subject = Subject::Certificate { listener, name: name.into() };
        let (from, to, reason) = (owned(from), owned(to), reason.to_owned());
        events.publish(Event { time: SystemTime::now(), subject, from, to, reason });
    }
}

/// The state of what is shown.
pub(super) fn state(held: Option<Validity>) -> String {
    held.map_or_else(
        || "self-signed".to_owned(),
        |held| format!("valid until {}", time(held.until)),
    )
}

/// A time to the second.
pub(super) fn time(time: SystemTime) -> String {
    // Beyond what a calendar holds is no time that anybody waits for.
    let known = Timestamp::try_from(time).unwrap_or(Timestamp::MAX);
    known.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}
