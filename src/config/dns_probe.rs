//! Reads what the dns probe asks and which answers it takes.

use super::DnsProbe;
use super::carried::Carried;
use super::read::Section;
use super::tree::Kind;
use super::value::Value;
use super::words::{did_you_mean, quoted};

/// Types by name (RFC 1035 and those that came after it); others go by number.
pub(super) const TYPES: &[(&str, u16)] = &[
    ("A", 1),
    ("NS", 2),
    ("CNAME", 5),
    ("SOA", 6),
    ("PTR", 12),
    ("MX", 15),
    ("TXT", 16),
    ("AAAA", 28),
    ("SRV", 33),
    ("DS", 43),
    ("DNSKEY", 48),
    ("SVCB", 64),
    ("HTTPS", 65),
    ("ANY", 255),
    ("CAA", 257),
];

/// The codes of RFC 1035.
pub(super) const RCODES: &[(&str, u8)] = &[
    ("NOERROR", 0),
    ("FORMERR", 1),
    ("SERVFAIL", 2),
    ("NXDOMAIN", 3),
    ("NOTIMP", 4),
    ("REFUSED", 5),
];

const LONGEST_NAME: usize = 253;
const LONGEST_LABEL: usize = 63;

impl DnsProbe {
    /// The name of an answer's code.
    pub fn rcode_name(code: u8) -> String {
        let known = RCODES.iter().find(|(_, number)| *number == code);
        known.map_or_else(|| format!("RCODE{code}"), |(name, _)| (*name).to_owned())
    }
}

pub(super) fn read(section: &Section<'_>, carried: Carried) -> DnsProbe {
    let default = DnsProbe::default();
    let expect_rcode = section.value("expect_rcode").map(|value| rcodes(&value));
    DnsProbe {
        query: section.value("query").and_then(|value| query(&value)).unwrap_or(default.query),
        query_type: section
            .value("query_type")
            .and_then(|value| query_type(&value))
            .unwrap_or(default.query_type),
        expect_rcode: expect_rcode.unwrap_or(default.expect_rcode),
        over: carried.over(),
    }
}

fn query(value: &Value<'_>) -> Option<String> {
    let text = value.text()?;
    if let Some((why, way_out)) = wrong(text) {
        value.refuse(&format!("{} {why}", quoted(text)), way_out);
        return None;
    }
    Some(text.to_owned())
}

/// Why a name cannot be asked for, with the way out.
fn wrong(text: &str) -> Option<(&'static str, &'static str)> {
    if text == "." {
        return None;
    }
    let name = text.strip_suffix('.').unwrap_or(text);
    let valid = |c: char| c.is_ascii_graphic() && c != '\\' && c != '"';
    if !name.chars().all(|c| c == '.' || valid(c)) {
        let way_out =
            "write letters, digits, - and _; other letters as in \"xn--bcher-kva.example\"";
        Some(("holds what a name may not", way_out))
    } else if name.len() > LONGEST_NAME {
        Some(("is longer than 253 characters", "write a shorter name"))
    } else if name.split('.').any(str::is_empty) {
        Some(("has an empty label", "write it as in \"health.example.com\", or \".\" for the root"))
    } else if name.split('.').any(|label| label.len() > LONGEST_LABEL) {
        Some(("has a label of more than 63 characters", "write a shorter one"))
    } else {
        None
    }
}

fn query_type(value: &Value<'_>) -> Option<u16> {
    if let Kind::Integer(_) = value.node.kind {
        return value.integer(1..=65_535).and_then(|number| u16::try_from(number).ok());
    }
    let text = value.text()?;
    let found = TYPES.iter().find(|(name, _)| name.eq_ignore_ascii_case(text));
    if found.is_none() {
        let near = did_you_mean(text, "valid values", TYPES.iter().map(|(name, _)| *name));
        let way_out = format!("{near}, or a number from 1 to 65535");
        value.refuse(&format!("{} is not a type", quoted(text)), &way_out);
    }
    found.map(|(_, number)| *number)
}

fn rcodes(value: &Value<'_>) -> Vec<u8> {
    let items = value.one_or_more();
    if items.is_empty() {
        value.refuse("is an empty list", "write \"NOERROR\" to take any answer without an error");
    }
    items.iter().filter_map(|item| item.choice(RCODES)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_as_the_wire_can_carry_them() {
        let long = |count: usize| vec!["a".repeat(49); count].join(".");
        for text in
            [".", "a", "a.", "_dns.example.com", "1.2.3.4", "*.a", &"a".repeat(63), &long(5)]
        {
            assert_eq!(wrong(text), None, "{text}");
        }
        for text in ["", "..", ".a", "a..b", "a..", "a b", "é", "a\\.b", &"a".repeat(64), &long(6)]
        {
            assert!(wrong(text).is_some(), "{text}");
        }
    }

    #[test]
    fn what_has_no_name_goes_by_number() {
        assert_eq!(DnsProbe::rcode_name(9), "RCODE9");
        assert_eq!(DnsProbe::rcode_name(3), "NXDOMAIN");
    }
}
