//! Another file for a balancer that runs, and the ways to make it take that.

use std::fs;

use rustix::process::Signal;
use serde_json::Value;

use super::evenkeel::{Evenkeel, complete};
use super::http::{self, Answer};
use super::wait::{PATIENCE, eventually};

/// How a reload is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    /// `SIGHUP`.
    Signal,
    /// `POST /api/v1/reload`.
    Call,
    /// `evenkeel reload`.
    Command,
}

impl Way {
    /// One after the other.
    pub(crate) fn turn(number: usize) -> Self {
        [Self::Call, Self::Signal, Self::Command][number % 3]
    }
}

impl Evenkeel {
    /// Puts another file in the place of its own, with what is added at the start. It is not told.
    pub(crate) fn rewrite(&self, toml: &str) {
        let new = self.dir().join("evenkeel.toml.new");
        fs::write(&new, complete(toml, self.dir())).unwrap();
        fs::rename(new, self.file()).unwrap();
    }

    /// `POST` of an admin path, without a body.
    #[track_caller]
    pub(crate) fn post(&self, path: &str) -> Answer {
        http::send(self.admin(), "POST", path, &[], "")
    }

    /// Takes another file; returns what it says when that has taken effect.
    #[track_caller]
    pub(crate) fn reload(&self, toml: &str) -> Value {
        self.rewrite(toml);
        let answer = self.post("/api/v1/reload");
        assert_eq!(answer.status, 200, "{}", answer.body);
        answer.json()
    }

    /// As [`reload`](Self::reload), asked for in one of several ways.
    #[track_caller]
    pub(crate) fn reload_by(&self, way: Way, toml: &str) {
        match way {
            Way::Call => drop(self.reload(toml)),
            Way::Command => {
                self.rewrite(toml);
                self.order(&["reload"]).expect_code(0);
            }
            Way::Signal => {
                let before = self.reloads("ok");
                self.rewrite(toml);
                self.signal(Signal::HUP);
                eventually("the reload is counted", PATIENCE, || self.reloads("ok") > before);
            }
        }
    }

    /// Reloads that have ended so.
    #[track_caller]
    pub(crate) fn reloads(&self, outcome: &str) -> u64 {
        self.metrics().count("reloads_total", &[("outcome", outcome)])
    }

    /// Threads that it has.
    pub(crate) fn threads(&self) -> usize {
        fs::read_dir(format!("/proc/{}/task", self.pid())).unwrap().count()
    }
}
