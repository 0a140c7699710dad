//! Any text is read or refused, never a panic; what is shown of it stays small; what is accepted
//! can be explained, and survives being written in full and read again.
//!
//! Run with: cargo fuzz run -s none config

#![no_main]

use std::time::Duration;

use evenkeel::config;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let env = |name: &str| (name.len() == 1).then(|| name.repeat(3));
    match config::parse("fuzz", text, &env) {
        Ok(loaded) => {
            assert!(!config::explain(&loaded.config, Duration::from_millis(100)).text().is_empty());
            let written = config::effective(&loaded.config).expect("an effective file");
            let again = config::parse("effective", &written, &|_| None).expect("a valid file");
            assert_eq!(config::effective(&again.config).expect("an effective file"), written);
        }
        Err(refused) => {
            assert!(!refused.problems.is_empty());
            assert!(config::text(&refused.problems, &refused.warnings, true).len() < 20_000);
            assert!(config::json(false, &refused.problems, &refused.warnings).len() < 20_000);
        }
    }
});
