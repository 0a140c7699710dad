//! `evenkeel route`: whom a session or a request would get, and why not the others.

use std::process::ExitCode;

use super::ask::{self, encoded};
use super::table::Table;
use super::target::Target;
use super::{FAILED, complain, print};
use crate::addr::{ClientAddr, NoClient};
use crate::api;
use crate::config::AdminBind;

const NOTES: &str = "\
Nothing is changed by asking: no turn is taken, nothing counted, no connection made.

Exit codes: 0 answered, also when the client would be turned away. 1 there is no such listener, or
no balancer answers. 2 bad usage.

Examples:
  evenkeel route --listener postgres --client 192.0.2.7
  evenkeel route --listener front --client 192.0.2.7 --sni db.example.com
  evenkeel route --listener web --client 192.0.2.7 --host www.example.com --path /api/users?page=2
  evenkeel route --listener web --client 192.0.2.7 --method POST --header x-canary:1
  evenkeel route --listener postgres --client [2001:db8::7]:51000 --json";

/// Ask where a session or a request would go, and why
#[derive(Debug, clap::Args)]
#[command(after_help = NOTES)]
pub(crate) struct Args {
    /// The listener's name
    #[arg(long, value_name = "NAME")]
    listener: String,
    /// The client's address, with a port or without
    #[arg(long, value_name = "IP[:PORT]", value_parser = client)]
    client: String,
    /// The server name of its TLS hello
    #[arg(long, value_name = "NAME")]
    sni: Option<String>,
    /// The application protocols that it offers, with commas between them
    #[arg(long, value_name = "NAME,…")]
    alpn: Option<String>,
    /// http: the host of its request
    #[arg(long, value_name = "NAME")]
    host: Option<String>,
    /// http: the path of its request, and the query [default: /]
    #[arg(long, value_name = "PATH[?QUERY]")]
    path: Option<String>,
    /// http: the method of its request [default: GET]
    #[arg(long, value_name = "METHOD")]
    method: Option<String>,
    /// http: a header of its request; may be given several times
    #[arg(long, value_name = "NAME: VALUE")]
    header: Vec<String>,
    /// Print the answer as JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    target: Target,
}

fn client(text: &str) -> Result<String, NoClient> {
    text.parse::<ClientAddr>().map(|_| text.to_owned())
}

pub(crate) fn execute(args: Args) -> ExitCode {
    let admin = match args.target.address() {
        Ok(admin) => admin,
        Err(code) => return code,
    };
    match args.ask(&admin) {
        Ok(route) => print(if args.json { json(&route) } else { text(&route) }.as_bytes(), 0),
        Err(reason) => {
            complain(&reason);
            ExitCode::from(FAILED)
        }
    }
}

impl Args {
    fn ask(&self, admin: &AdminBind) -> Result<api::Route, String> {
        let pairs = [
            ("listener", Some(&self.listener)),
            ("client", Some(&self.client)),
            ("sni", self.sni.as_ref()),
            ("alpn", self.alpn.as_ref()),
            ("host", self.host.as_ref()),
            ("path", self.path.as_ref()),
            ("method", self.method.as_ref()),
        ];
        let headers = self.header.iter().map(|line| ("header", Some(line)));
        let given = pairs.into_iter().chain(headers);
        let given = given.filter_map(|(key, value)| Some((key, value?)));
        let query: Vec<_> = given.map(|(key, value)| format!("{key}={}", encoded(value))).collect();
        let answer = ask::get(admin, &format!("/api/v1/route?{}", query.join("&")))?;
        ask::understood(admin, &answer)
    }
}

fn json(route: &api::Route) -> String {
    serde_json::to_string_pretty(route).unwrap_or_default() + "\n"
}

fn text(route: &api::Route) -> String {
    let none = || "-".to_owned();
    let mut lines = vec![
        format!("listener  {}", route.listener),
        format!("route     {}", route.route.clone().unwrap_or_else(none)),
        format!("pool      {}", route.pool.clone().unwrap_or_else(none)),
        match (&route.backend, &route.address) {
            (Some(backend), Some(address)) => format!("backend   {backend} ({address})"),
            _ => "backend   none".to_owned(),
        },
        format!("because   {}", route.reason),
    ];
    lines.extend(route.target.as_ref().map(|target| format!("target    {target}")));
    if let Some(answer) = &route.answer {
        let to = answer.location.as_ref().map(|to| format!(" {to}")).unwrap_or_default();
        lines.push(format!("answer    {}{to}", answer.status));
    }
    lines.extend(route.rejected.as_ref().map(|why| format!("rejected  {why}")));
    lines.extend(route.passed.iter().map(|one| format!("passed    {}: {}", one.route, one.reason)));
    if !route.candidates.is_empty() {
        let mut table = Table::new(&["BACKEND", "VERDICT", "REASON"]);
        for one in &route.candidates {
            let name = format!("{}/{}", one.pool, one.backend);
            table.row(&[name, one.verdict.clone(), one.reason.clone()]);
        }
        lines.push(String::new());
        lines.extend(table.lines());
    }
    lines.join("\n") + "\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_route_is_shown_with_everybody_who_was_passed_over() {
        let route: api::Route = serde_json::from_str(
            r#"{"listener": "front", "route": "default", "pool": "db", "backend": "b1",
                "address": "10.0.0.1:5432", "reason": "its turn", "rejected": null,
                "passed": [{"route": "a", "reason": "wants sni a.example"}],
                "candidates": [
                    {"pool": "db", "backend": "b1", "verdict": "picked", "reason": "its turn"},
                    {"pool": "db", "backend": "b2", "verdict": "passed-over", "reason": "drain"}]}"#,
        )
        .unwrap();
        let shown = text(&route);
        assert!(shown.contains("\nbackend   b1 (10.0.0.1:5432)\n"), "{shown}");
        assert!(shown.contains("\npassed    a: wants sni a.example\n"), "{shown}");
        assert!(shown.ends_with("\ndb/b2    passed-over  drain\n"), "{shown}");
    }
}
