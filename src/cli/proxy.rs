//! `evenkeel proxy`: the balancer without a file.
//!
//! The arguments become the file that somebody would have written for them, which is then read as
//! any other: one place knows the defaults and says no.

use std::process::ExitCode;

use super::{INVALID, admin_address, complain, serve};
use crate::config::{self, Config, Problem, Protocol};

const EXAMPLES: &str = "\
Examples:
  evenkeel proxy --listen tcp://127.0.0.1:5432 --to 10.0.0.11:5432 --to 10.0.0.12:5432
  evenkeel proxy --listen tcp://[::]:6379 --to cache1:6379 --to cache2:6379 --balance first
  evenkeel proxy --listen udp://127.0.0.1:5353 --to 10.0.0.53:53 --to 10.0.0.54:53
  evenkeel proxy --listen http://127.0.0.1:8080 --to 10.0.0.21:8080 --to 10.0.0.22:8080";

/// Run without a file
///
/// One listener, one pool; everything else is as in a file that says nothing more.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// Where to listen, for connections (tcp), datagrams (udp) or requests (http)
    #[arg(long, value_name = "tcp://ADDR|udp://ADDR|http://ADDR")]
    pub(crate) listen: String,
    /// A backend; repeat it for more
    #[arg(long, value_name = "ADDR", required = true)]
    pub(crate) to: Vec<String>,
    /// How a backend is picked [default: least-connections]
    #[arg(long, value_name = "POLICY")]
    pub(crate) balance: Option<String>,
    /// Where the admin interface listens [default: nowhere]
    #[arg(long, value_name = "ADDR")]
    pub(crate) admin: Option<String>,
}

pub(crate) fn execute(args: Args) -> ExitCode {
    match configuration(&args) {
        Ok(config) => serve::serve(config),
        Err(reason) => {
            complain(&reason);
            ExitCode::from(INVALID)
        }
    }
}

/// What the arguments mean. The error says what is wrong with which of them, a line each.
pub(crate) fn configuration(args: &Args) -> Result<Config, String> {
    let file = File::of(args)?;
    let loaded = config::parse("command line", &file.text(), &|_| None)
        .map_err(|refused| file.complaints(&refused.problems))?;
    Ok(loaded.config)
}

/// The file that says what the arguments say: each line, and the argument it stands for.
struct File(Vec<(&'static str, String)>);

impl File {
    fn of(args: &Args) -> Result<Self, String> {
        let (protocol, bind) = split("--listen", &args.listen)?;
        let protocol = protocol.unwrap_or_default();
        let admin = match &args.admin {
            Some(text) => admin_address::written(&admin_address::parse(text)?),
            None => "off".to_owned(),
        };
        let mut lines = vec![
            ("--admin", "[admin]".to_owned()),
            ("--admin", format!("bind = {}", quoted(&admin))),
            ("--listen", "[listener.proxy]".to_owned()),
            ("--listen", format!("bind = {}", quoted(bind))),
            ("--listen", format!("protocol = \"{}\"", protocol.as_str())),
            ("--listen", "pool = \"proxy\"".to_owned()),
            ("--to", "[pool.proxy]".to_owned()),
        ];
        if let Some(balance) = &args.balance {
            lines.push(("--balance", format!("balance = {}", quoted(balance))));
        }
        lines.push(("--to", "backends = [".to_owned()));
        for to in &args.to {
            lines.push(("--to", format!("{},", quoted(backend(to, protocol)?))));
        }
        lines.push(("--to", "]".to_owned()));
        Ok(Self(lines))
    }

    fn text(&self) -> String {
        self.0.iter().map(|(_, line)| format!("{line}\n")).collect()
    }

    fn complaints(&self, problems: &[Problem]) -> String {
        let complaint = |problem: &Problem| {
            let line = problem.line.checked_sub(1).and_then(|line| self.0.get(line));
            let argument = line.map_or("command line", |(argument, _)| argument);
            match &problem.suggestion {
                Some(way_out) => format!("{argument}: {}; {way_out}", problem.message),
                None => format!("{argument}: {}", problem.message),
            }
        };
        problems.iter().map(complaint).collect::<Vec<_>>().join("\n")
    }
}

/// The address, without the protocol that it may name.
fn backend(text: &str, listener: Protocol) -> Result<&str, String> {
    let (protocol, address) = split("--to", text)?;
    match protocol {
        Some(other) if other != listener => {
            let (other, listener) = (other.as_str(), listener.as_str());
            Err(format!(
                "--to: {text:?} is {other}, and --listen takes {listener}; \
                 write \"{listener}://{address}\", or {other}:// in --listen"
            ))
        }
        _ => Ok(address),
    }
}

/// The protocol, where one is named, and the address.
fn split<'a>(argument: &str, text: &'a str) -> Result<(Option<Protocol>, &'a str), String> {
    let Some((scheme, address)) = text.split_once("://") else { return Ok((None, text)) };
    let bare = address.strip_suffix('/').unwrap_or(address);
    match scheme {
        "tcp" => Ok((Some(Protocol::Tcp), bare)),
        "udp" => Ok((Some(Protocol::Udp), bare)),
        "http" => Ok((Some(Protocol::Http), bare)),
        "https" => Err(format!(
            "{argument}: https needs a certificate, and so a file; write \"http://{bare}\" for \
             cleartext"
        )),
        _ => Err(format!("{argument}: {scheme:?} is no protocol; write \"tcp://{address}\"")),
    }
}

/// As a string of the file, in which `${` would read the environment.
fn quoted(text: &str) -> String {
    toml::Value::String(text.replace("${", "$${")).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{AdminBind, Policy};

    fn args(listen: &str, to: &[&str]) -> Args {
        let to = to.iter().map(|to| (*to).to_owned()).collect();
        Args { listen: listen.to_owned(), to, balance: None, admin: None }
    }

    #[test]
    fn arguments_become_a_listener_and_a_pool() {
        let config = configuration(&args("tcp://127.0.0.1:0", &["10.0.0.1:1", "db:2"])).unwrap();
        assert_eq!(config.listeners[0].bind, ["127.0.0.1:0".parse().unwrap()]);
        assert_eq!(config.pools[0].policy, Policy::LeastConnections);
        assert_eq!(config.admin.bind, AdminBind::Off);
        assert_eq!((config.origin.file, config.origin.hash.len()), (None, 16));
        let names: Vec<_> = config.pools[0].members.iter().map(|member| &*member.name).collect();
        assert_eq!(names, ["10.0.0.1:1", "db:2"]);

        let mut more = args("127.0.0.1:1", &["tcp://[::1]:1"]);
        more.balance = Some("first".to_owned());
        more.admin = Some("127.0.0.1:9900".to_owned());
        let config = configuration(&more).unwrap();
        assert_eq!(config.pools[0].policy, Policy::First);
        assert_eq!(config.admin.bind, AdminBind::Tcp("127.0.0.1:9900".parse().unwrap()));
        more.admin = Some("unix:/tmp/a b.sock".to_owned());
        let config = configuration(&more).unwrap();
        assert_eq!(config.admin.bind, AdminBind::Unix("/tmp/a b.sock".into()));
    }

    #[test]
    fn the_scheme_says_what_the_listener_takes() {
        let config =
            configuration(&args("udp://[::1]:53/", &["10.0.0.1:53", "udp://b:53"])).unwrap();
        let listener = &config.listeners[0];
        assert_eq!((listener.protocol, listener.bind[0].port()), (Protocol::Udp, 53));
        assert_eq!(&*config.pools[0].members[1].name, "b:53");
        let config =
            configuration(&args("http://127.0.0.1:80/", &["a:1", "http://b:80/"])).unwrap();
        let listener = &config.listeners[0];
        assert_eq!((listener.protocol, listener.bind[0].port()), (Protocol::Http, 80));
        assert_eq!(&*config.pools[0].members[1].name, "b:80");
        for listen in ["tcp://127.0.0.1:1", "127.0.0.1:1"] {
            let config = configuration(&args(listen, &["tcp://a:1", "b:1"])).unwrap();
            assert_eq!(config.listeners[0].protocol, Protocol::Tcp);
        }
    }

    #[test]
    fn a_complaint_names_the_argument_and_the_way_out() {
        let said = |args: &Args| configuration(args).unwrap_err();
        let both = said(&args("tcp://127.0.0.1", &["10.0.0.1:1", "10.0.0.2"]));
        let lines: Vec<_> = both.lines().collect();
        assert_eq!(lines.len(), 2, "{both}");
        assert!(lines[0].starts_with("--listen: ") && lines[0].contains("127.0.0.1"), "{both}");
        assert!(lines[1].starts_with("--to: ") && lines[1].contains("10.0.0.2:8080"), "{both}");
        let tls = said(&args("https://127.0.0.1:443/", &["a:1"]));
        assert!(tls.contains("needs a certificate") && tls.contains("http://127.0.0.1:443\""));
        assert!(said(&args("http://127.0.0.1:80", &["https://a:1"])).starts_with("--to: "));
        let mixed = said(&args("127.0.0.1:53", &["udp://a:53"]));
        assert!(mixed.starts_with("--to: ") && mixed.contains("or udp:// in --listen"), "{mixed}");
        let mixed = said(&args("udp://127.0.0.1:53", &["a:53", "tcp://b:53"]));
        assert!(mixed.contains("write \"udp://b:53\""), "{mixed}");
        assert!(said(&args("udp://127.0.0.1", &["a:1"])).starts_with("--listen: "));
        assert!(said(&args("tcpp://127.0.0.1:53", &["a:1"])).contains("tcp://127.0.0.1:53"));
        assert!(said(&args("127.0.0.1:1", &["a:1", "a:1"])).starts_with("--to: "));
        let mut odd = args("127.0.0.1:1", &["a:1\"]\n[x]"]);
        assert!(said(&odd).starts_with("--to: "));
        odd = args("127.0.0.1:1", &["a:1"]);
        odd.balance = Some("frist".to_owned());
        assert!(said(&odd).starts_with("--balance: ") && said(&odd).contains("first"));
    }
}
