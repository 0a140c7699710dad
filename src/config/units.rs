//! Durations, sizes, rates and shares as the file writes them: whole numbers, each with its unit.

use std::time::Duration;

use super::words::quoted;

/// Largest first, in microseconds.
const TIMES: [(&str, u64); 6] = [
    ("d", 86_400_000_000),
    ("h", 3_600_000_000),
    ("m", 60_000_000),
    ("s", 1_000_000),
    ("ms", 1_000),
    ("us", 1),
];

/// Binary units first, so that what is written is exact and short.
const SIZES: [(&str, u64); 7] = [
    ("GiB", 1 << 30),
    ("MiB", 1 << 20),
    ("KiB", 1 << 10),
    ("GB", 1_000_000_000),
    ("MB", 1_000_000),
    ("kB", 1_000),
    ("B", 1),
];

/// In seconds.
const PERIODS: [(&str, u64); 3] = [("s", 1), ("m", 60), ("h", 3600)];

/// Beyond this a duration is a mistake, and adding it to a clock could overflow.
const LONGEST: Duration = Duration::from_secs(36_500 * 86_400);

/// Why a text is no such value, with the way out.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}; {suggestion}")]
pub struct BadUnit {
    /// Starts with the value in quotes.
    pub message: String,
    /// What to write instead.
    pub suggestion: String,
}

/// Reads `"250ms"`, `"1m30s"`, `"0s"`.
pub fn duration(text: &str) -> Result<Duration, BadUnit> {
    let mut micros: u64 = 0;
    let mut smallest = u64::MAX;
    let mut rest = text;
    while !rest.is_empty() || text.is_empty() {
        let (number, unit, after) = part(text, rest, "s")?;
        let Some((_, factor)) = TIMES.iter().find(|(name, _)| *name == unit) else {
            return Err(unknown(text, unit, "us, ms, s, m, h, d"));
        };
        if *factor >= smallest {
            return Err(bad(
                text,
                "has its units out of order",
                "write the larger unit first, as in \"1m30s\"",
            ));
        }
        smallest = *factor;
        let added = number.checked_mul(*factor).and_then(|part| micros.checked_add(part));
        micros = added.ok_or_else(|| too_long(text))?;
        rest = after;
    }
    let duration = Duration::from_micros(micros);
    if duration > LONGEST { Err(too_long(text)) } else { Ok(duration) }
}

/// Writes a duration so that [`duration`] gives it back (nanoseconds are dropped).
pub fn write_duration(duration: Duration) -> String {
    let mut left = u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
    let mut out = String::new();
    // People say 60s and 90s, and 5m rather than 300s.
    if left < 120_000_000 && left.is_multiple_of(1_000_000) {
        return format!("{}s", left / 1_000_000);
    }
    for (unit, factor) in TIMES {
        if left >= factor {
            out.push_str(&format!("{}{unit}", left / factor));
            left %= factor;
        }
    }
    out
}

/// Reads `"64KiB"`.
pub fn size(text: &str) -> Result<u64, BadUnit> {
    let (number, unit, after) = part(text, text, "B")?;
    let Some((_, factor)) = SIZES.iter().find(|(name, _)| *name == unit) else {
        return Err(unknown(text, unit, "B, KiB, MiB, GiB, kB, MB, GB"));
    };
    if !after.is_empty() {
        return Err(bad(text, "is more than one size", "write one number and one unit"));
    }
    number.checked_mul(*factor).ok_or_else(|| bad(text, "is too large", "write a smaller size"))
}

/// Writes a size so that [`size`] gives it back.
pub fn write_size(bytes: u64) -> String {
    let whole = SIZES.iter().find(|(_, factor)| bytes >= *factor && bytes.is_multiple_of(*factor));
    let (unit, factor) = whole.unwrap_or(&("B", 1));
    format!("{}{unit}", bytes / factor)
}

/// Reads `"50/s"`: how many, at least 1, and in which time.
pub fn rate(text: &str) -> Result<(u32, Duration), BadUnit> {
    let example = "write it as in \"50/s\" or \"10/m\"";
    let Some((number, unit)) = text.split_once('/') else {
        let whole = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
        let way_out = if whole { format!("write \"{text}/s\"") } else { example.to_owned() };
        return Err(bad(text, "has no time", &way_out));
    };
    let Some((_, per)) = PERIODS.iter().find(|(name, _)| *name == unit) else {
        return Err(unknown(text, unit, "s, m, h"));
    };
    if number.is_empty() || !number.bytes().all(|b| b.is_ascii_digit()) {
        return Err(bad(text, "is not a whole number in a time", example));
    }
    match number.parse() {
        Ok(0) => Err(bad(text, "lets nothing through", "write at least 1, or remove the limit")),
        Ok(count) => Ok((count, Duration::from_secs(*per))),
        Err(_) => Err(bad(text, "is too large", "write a smaller number")),
    }
}

/// Writes a rate so that [`rate`] gives it back.
pub fn write_rate(count: u32, per: Duration) -> String {
    let unit = PERIODS.iter().find(|(_, seconds)| *seconds == per.as_secs());
    format!("{count}/{}", unit.map_or("s", |(name, _)| name))
}

/// Reads `"50%"`: a whole number from 0 to 100.
pub fn percent(text: &str) -> Result<u8, BadUnit> {
    let example = "write it as in \"50%\"";
    let whole = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    let Some(number) = text.strip_suffix('%') else {
        let way_out = if whole(text) { format!("write \"{text}%\"") } else { example.to_owned() };
        return Err(bad(text, "is not in percent", &way_out));
    };
    if !whole(number) {
        return Err(bad(text, "is not a whole number of percent", example));
    }
    let percent = number.parse().ok().filter(|percent| *percent <= 100);
    percent.ok_or_else(|| bad(text, "is more than all", "write at most \"100%\""))
}

/// Writes a number of percent so that [`percent`] gives it back.
pub fn write_percent(percent: u8) -> String {
    format!("{percent}%")
}

/// One number with its unit from the front of `rest`, and what is behind it.
fn part<'a>(text: &str, rest: &'a str, usual: &str) -> Result<(u64, &'a str, &'a str), BadUnit> {
    let digits = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
    let (number, behind) = rest.split_at(digits);
    if number.is_empty() {
        return Err(not_whole(text, usual));
    }
    let letters = behind.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(behind.len());
    let (unit, after) = behind.split_at(letters);
    if unit.is_empty() && after.is_empty() {
        return Err(bad(text, "has no unit", &format!("write \"{number}{usual}\"")));
    }
    if unit.is_empty() {
        return Err(not_whole(text, usual));
    }
    match number.parse() {
        Ok(number) => Ok((number, unit, after)),
        Err(_) => Err(bad(text, "is too large", "write a smaller number")),
    }
}

fn not_whole(text: &str, usual: &str) -> BadUnit {
    let finer = if usual == "s" { "\"1500ms\"" } else { "\"512KiB\"" };
    bad(
        text,
        "is not a whole number with its unit",
        &format!("write it as in \"5{usual}\" or {finer}"),
    )
}

fn unknown(text: &str, unit: &str, units: &str) -> BadUnit {
    bad(text, &format!("has the unknown unit {}", quoted(unit)), &format!("the units are {units}"))
}

fn too_long(text: &str) -> BadUnit {
    bad(text, "is too long", "write at most \"36500d\"")
}

fn bad(text: &str, message: &str, suggestion: &str) -> BadUnit {
    BadUnit { message: format!("{} {message}", quoted(text)), suggestion: suggestion.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn durations_need_whole_numbers_and_units() {
        assert_eq!(duration("1m30s").unwrap(), Duration::from_secs(90));
        assert_eq!(duration("250ms").unwrap(), Duration::from_millis(250));
        assert_eq!(duration("1d2h3m4s5ms6us").unwrap().as_micros(), 93_784_005_006);
        assert_eq!(duration("0s").unwrap(), Duration::ZERO);
        for text in ["", "5", "s", "1.5s", "5 s", "-1s", "5S", "5sec", "1s1m", "1s1s", "١s", "5s "]
        {
            assert!(duration(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn a_bare_number_is_told_which_unit_to_add() {
        assert_eq!(duration("5").unwrap_err().suggestion, "write \"5s\"");
        assert_eq!(size("64").unwrap_err().suggestion, "write \"64B\"");
    }

    #[test]
    fn nothing_overflows() {
        for text in
            ["18446744073709551615d", "99999999999999999999s", "36501d", "213503982d999999999h"]
        {
            assert!(duration(text).is_err(), "{text}");
        }
        assert!(size("18446744073709551615GiB").is_err());
    }

    #[test]
    fn sizes_know_binary_and_decimal_units() {
        assert_eq!(size("64KiB").unwrap(), 65_536);
        assert_eq!(size("2MB").unwrap(), 2_000_000);
        assert!(size("1KiB1B").is_err());
        assert!(size("64kb").is_err());
    }

    #[test]
    fn rates_are_whole_numbers_in_a_time() {
        assert_eq!(rate("50/s").unwrap(), (50, Duration::from_secs(1)));
        assert_eq!(rate("10/m").unwrap(), (10, Duration::from_secs(60)));
        assert_eq!(rate("1/h").unwrap(), (1, Duration::from_secs(3600)));
        for text in
            ["", "/", "/s", "5/", "5/d", "5/ s", "1.5/s", "-1/s", "0/s", "5/s/s", "9999999999/s"]
        {
            assert!(rate(text).is_err(), "{text:?}");
        }
        assert_eq!(rate("50").unwrap_err().suggestion, "write \"50/s\"");
    }

    #[test]
    fn percents_are_whole_numbers_up_to_all() {
        assert_eq!((percent("0%").unwrap(), percent("100%").unwrap()), (0, 100));
        for text in ["", "%", "5", "-1%", "1.5%", "101%", "999%", "50 %", "50%%", "0.5"] {
            assert!(percent(text).is_err(), "{text:?}");
        }
        assert_eq!(percent("50").unwrap_err().suggestion, "write \"50%\"");
    }

    proptest! {
        #[test]
        fn written_percents_read_back(value in 0u8..=100) {
            prop_assert_eq!(percent(&write_percent(value)).unwrap(), value);
        }

        #[test]
        fn written_rates_read_back(count in 1u32.., unit in 0usize..3) {
            let per = Duration::from_secs(PERIODS[unit].1);
            prop_assert_eq!(rate(&write_rate(count, per)).unwrap(), (count, per));
        }

        #[test]
        fn written_durations_read_back(micros in 0..=3_153_600_000_000_000u64) {
            let value = Duration::from_micros(micros);
            prop_assert_eq!(duration(&write_duration(value)).unwrap(), value);
        }

        #[test]
        fn written_sizes_read_back(bytes: u64) {
            prop_assert_eq!(size(&write_size(bytes)).unwrap(), bytes);
        }

        #[test]
        fn any_text_is_read_or_refused(text in "\\PC{0,20}") {
            let _ = (duration(&text).is_ok(), size(&text).is_ok(), rate(&text).is_ok(), percent(&text).is_ok());
        }
    }
}
