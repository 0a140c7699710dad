//! Which rules a name can come to at all: listeners with hundreds of names do not try them all.
//!
//! It only leaves out rules that ask for other names; those that are left are tried in their order,
//! so the first that matches is the same as without it.

use std::collections::HashMap;
use std::sync::Arc;

use crate::config::NamePattern;

/// Rules below which trying them all is quicker than looking up a name.
pub(super) const WORTHWHILE: usize = 16;

/// Numbers of rules, in their order.
type Numbers = Vec<u32>;

/// The rules of a listener by the names that they ask for.
#[derive(Debug, Default)]
pub(super) struct Index {
    exact: HashMap<Arc<str>, Numbers>,
    below: HashMap<Arc<str>, Numbers>,
    /// Of those that take any name; in `nameless` too if they take none as well.
    any: Numbers,
    nameless: Numbers,
}

impl Index {
    /// Of rules that ask for these names each; an empty list asks for none.
    pub(super) fn new<'a>(rules: impl Iterator<Item = &'a [NamePattern]>) -> Self {
        let mut index = Self::default();
        for (number, patterns) in (0..).zip(rules) {
            if patterns.is_empty() {
                index.nameless.push(number);
            }
            if patterns.is_empty() || patterns.contains(&NamePattern::Any) {
                index.any.push(number);
                continue;
            }
            for pattern in patterns {
                let numbers = match pattern {
                    NamePattern::Exact(name) => index.exact.entry(Arc::clone(name)).or_default(),
                    NamePattern::Below(name) => index.below.entry(Arc::clone(name)).or_default(),
                    NamePattern::Any => continue,
                };
                if numbers.last() != Some(&number) {
                    numbers.push(number);
                }
            }
        }
        index
    }

    /// The rules that may take a session of this name, in their order; one may come twice.
    pub(super) fn of(&self, name: Option<&str>) -> impl Iterator<Item = u32> + '_ {
        let exact = name.and_then(|name| self.exact.get(name)).map_or(&[][..], Vec::as_slice);
        let parent = name.and_then(|name| name.split_once('.'));
        let below = parent.and_then(|(_, parent)| self.below.get(parent));
        let below = below.map_or(&[][..], Vec::as_slice);
        let any = if name.is_some() { &self.any } else { &self.nameless };
        let mut lists = [exact, below, any.as_slice()];
        std::iter::from_fn(move || {
            let next = lists.iter_mut().filter(|list| !list.is_empty());
            let next = next.min_by_key(|list| list.first().copied())?;
            let (first, rest) = next.split_first()?;
            *next = rest;
            Some(*first)
        })
    }
}
