//! Routes that answer by themselves in a way that is valid and seldom meant: redirects that lead back
//! to where they start, and keys that there is no backend for.

use super::read::Section;
use super::treatment;
use super::value::Value;
use super::{Leads, Listener, ListenerTls, PathPattern, Redirect, Route};

/// Whatever is doubtful about one route; `earlier` are those that are asked before it.
pub(super) fn of_route(value: &Value<'_>, route: &Route, earlier: &[Route], listener: &Listener) {
    let section = value.as_section("");
    let (key, answer) = match &route.leads {
        Leads::Redirect(_) => ("redirect", section.value("redirect")),
        Leads::Respond(_) => ("respond", section.value("respond")),
        Leads::Pool(_) | Leads::Split(_) => return,
    };
    in_vain(&section, key);
    let (Leads::Redirect(redirect), Some(answer)) = (&route.leads, answer) else { return };
    let is_tls = listener.tls.as_ref().is_some_and(ListenerTls::terminates);
    if let Some(why) = leads_back(redirect, route, earlier, listener, is_tls) {
        answer.warn(&format!("leads back to itself: {why}"), "write where else it leads");
    }
}

/// Keys about what a backend gets.
fn in_vain(section: &Section<'_>, outcome: &str) {
    for key in treatment::TOWARDS_BACKENDS {
        if let Some(value) = section.value(key) {
            let message = format!("has no effect beside {outcome}: no backend is asked");
            value.warn(&message, "remove it, or lead the route to a pool");
        }
    }
}

/// Why a client that follows is sure to come to the same route again; `None` = it is not sure.
fn leads_back(
    redirect: &Redirect,
    route: &Route,
    earlier: &[Route],
    listener: &Listener,
    is_tls: bool,
) -> Option<&'static str> {
    let to = match redirect {
        Redirect::Https => return is_tls.then_some("this listener is https already"),
        Redirect::To { to, .. } => to,
    };
    // What becomes of the query and of the method is not followed.
    if !route.when.query.is_empty() || !route.when.method.is_empty() {
        return None;
    }
    let target = Target::of(to, listener, is_tls)?;
    let is_same = target.host.is_none() && target.path.is_none();
    let is_ours = is_same || !earlier.iter().any(|route| target.may_come_to(route));
    (is_ours && target.may_come_to(route)).then_some("who is sent there comes to this route again")
}

/// What a redirect to the listener itself asks for; `None` = as before.
struct Target<'a> {
    host: Option<&'a str>,
    path: Option<&'a str>,
}

impl<'a> Target<'a> {
    /// `None` if it leads elsewhere, or nobody knows.
    fn of(to: &'a str, listener: &Listener, is_tls: bool) -> Option<Self> {
        let (scheme, port) = if is_tls { ("https://", 443) } else { ("http://", 80) };
        let (host, path) = if to.starts_with('/') {
            (None, to)
        } else {
            let rest = to.strip_prefix(scheme)?;
            // Without a port it means this listener only if that is where it listens.
            listener.bind.iter().find(|address| address.port() == port)?;
            let (host, path) = match rest.strip_prefix("{host}") {
                Some(path) => (None, path),
                None => {
                    let (host, path) = rest.split_at(rest.find(['/', '{', '?'])?);
                    (Some(host), path)
                }
            };
            (host, path)
        };
        let path = path.split(['?', '#']).next().unwrap_or_default();
        let path = match path.strip_suffix("{query}").unwrap_or(path) {
            "{path}" => None,
            path if path.contains('{') || !path.starts_with('/') => return None,
            path => Some(path),
        };
        Some(Self { host, path })
    }

    /// False if the route does not take what is asked for, by host or by path.
    fn may_come_to(&self, route: &Route) -> bool {
        let (hosts, paths) = (&route.when.host, &route.when.path);
        let by_host = self
            .host
            .is_none_or(|host| hosts.is_empty() || hosts.iter().any(|it| it.matches(host)));
        let by_path =
            self.path.is_none_or(|path| paths.is_empty() || paths.iter().any(|it| takes(it, path)));
        by_host && by_path
    }
}

fn takes(pattern: &PathPattern, path: &str) -> bool {
    match pattern {
        PathPattern::Exact(exact) => **exact == *path,
        PathPattern::Under(front) => {
            path.strip_prefix(&**front).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        }
    }
}
