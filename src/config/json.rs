//! The effective file as JSON: how a file travels to a running balancer, which reads none for others.
//!
//! What arrives is written as TOML and read like any file, so that there is one reader and one set of
//! messages. Their lines are those of that TOML, which is what `check --effective` prints.

use serde_json::Value;

use super::effective::effective_json;
use super::load::{LARGEST, Loaded, parse};
use super::problem::{Problem, Refused};
use super::{Config, env};

/// The file that says all that `config` says, as JSON text. [`parse_json`] reads it back.
pub fn json_text(config: &Config) -> String {
    effective_json(config).to_string()
}

/// Checks a whole file that came as JSON, called `name` in messages. No environment variable is looked
/// up, no file is read: `include` is refused, and files that the text names are taken on trust.
///
/// # Errors
/// What arrived is no JSON object, is larger than a file may be, or is not valid.
pub fn parse_json(name: &str, text: &str) -> Result<Loaded, Refused> {
    let refuse = |message: String| refused(name, message);
    if text.len() as u64 > LARGEST {
        return Err(refuse("it is larger than 8 MiB".to_owned()));
    }
    let value: Value =
        serde_json::from_str(text).map_err(|error| refuse(format!("it is no JSON: {error}")))?;
    if !value.is_object() {
        return Err(refuse("it is no JSON object".to_owned()));
    }
    let written = toml::to_string(&literal(value));
    let toml = written.map_err(|error| refuse(format!("it cannot be a file: {error}")))?;
    parse(name, &toml, &|_| None)
}

fn refused(name: &str, message: String) -> Refused {
    let problem = Problem {
        file: name.to_owned(),
        line: 1,
        column: 1,
        source_line: String::new(),
        mark: 0..0,
        message,
        suggestion: Some(
            "send the effective file as JSON, as `evenkeel plan -c FILE` does".to_owned(),
        ),
    };
    Refused { problems: vec![problem], warnings: Vec::new() }
}

/// As a file says it: no text is expanded again, and what is null is not there.
fn literal(value: Value) -> Value {
    match value {
        Value::String(text) => Value::String(env::escape(&text)),
        Value::Array(items) => {
            Value::Array(items.into_iter().filter(|item| !item.is_null()).map(literal).collect())
        }
        Value::Object(entries) => {
            let there = entries.into_iter().filter(|(_, value)| !value.is_null());
            Value::Object(there.map(|(key, value)| (key, literal(value))).collect())
        }
        plain => plain,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::config::effective;

    fn config(text: &str) -> Config {
        parse("a.toml", text, &|_| None).unwrap().config
    }

    fn returns(config: &Config) -> Config {
        parse_json("a.json", &json_text(config)).unwrap().config
    }

    fn problem(text: &str) -> String {
        let refused = parse_json("sent", text).unwrap_err();
        refused.problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
    }

    const SMALL: &str = "[listener.a]\nbind = \"127.0.0.1:1\"\npool = \"p\"\n[pool.p]\n";

    #[test]
    fn what_is_no_file_is_refused_with_its_place() {
        assert!(problem("{").starts_with("sent:1:1: it is no JSON: "), "{}", problem("{"));
        assert!(problem("[]").contains("no JSON object"));
        assert!(problem("{}").contains("no listener"));
        assert!(problem("{\"pol\": {}}").contains("unknown key \"pol\""));
        let wrong = "{\"pool\": {\"p\": {\"backends\": [\"a:1\"], \"connect_timeout\": 5}}}";
        let problem = problem(wrong);
        assert!(problem.starts_with("sent:") && problem.contains("connect_timeout"), "{problem}");
        assert!(parse_json("sent", &"[".repeat(100_000)).is_err());
        assert!(parse_json("sent", "{\"process\": {\"threads\": 18446744073709551615}}").is_err());
    }

    #[test]
    fn nothing_is_read_and_nothing_is_looked_up() {
        assert!(problem("{\"include\": \"/etc/*.toml\"}").contains("works only in a file"));
        let text = SMALL.to_owned()
            + "backends = [\"a:1\"]\nhealth = { probe = \"exec\", command = [\"/x\", \"$${HOME}\"] }";
        let command = |config: &Config| format!("{:?}", config.pools[0].health.probe);
        let config = config(&text);
        assert!(command(&config).contains("\"${HOME}\""));
        assert_eq!(command(&returns(&config)), command(&config));
    }

    #[test]
    fn every_example_comes_back_as_it_went() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/config");
        for entry in std::fs::read_dir(folder).unwrap() {
            let text = std::fs::read_to_string(entry.unwrap().path()).unwrap();
            let env = |_: &str| Some("value".to_owned());
            let config = parse("a.toml", &text, &env).unwrap().config;
            assert_eq!(effective_json(&returns(&config)), effective_json(&config));
            let again = returns(&config);
            assert_eq!(effective(&returns(&again)).unwrap(), effective(&again).unwrap());
        }
    }

    proptest! {
        #[test]
        fn it_comes_back_as_it_went(
            names in prop::collection::vec("[a-z][a-z0-9.-]{0,6}", 1..5),
            weight in 0_u16..=256,
            seconds in 1_u64..10_000,
            sent in "[ -~\u{e9}\n$\\{\\}]{0,12}",
        ) {
            let mut config = config(&(SMALL.to_owned() + "backends = [\"a:1\"]\n"));
            let pool = config.pools.first_mut().unwrap();
            let one = pool.members.first().unwrap().clone();
            let unique: std::collections::BTreeSet<_> = names.into_iter().collect();
            pool.members = unique.iter().map(|name| {
                crate::config::Member { name: name.as_str().into(), weight, ..one.clone() }
            }).collect();
            pool.connect_timeout = std::time::Duration::from_secs(seconds);
            pool.health.probe = crate::config::Probe::Exec(vec!["/bin/x".to_owned(), sent]);
            let again = returns(&config);
            prop_assert_eq!(&again.pools, &config.pools);
            prop_assert_eq!(&again.listeners, &config.listeners);
        }
    }
}
