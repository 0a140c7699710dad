//! Policies that draw lots. The random bits come from the asker.

use crate::pool::ready::{Candidates, Share};

/// One share by chance, as likely as its weight says.
pub(super) fn draw<'a>(
    candidates: &'a Candidates,
    chance: u64,
    may: &impl Fn(&Share) -> bool,
) -> Option<&'a Share> {
    // Nearly always the first lot wins; only if that one is full are the others weighed anew.
    let first = at(candidates.shares.iter(), below(chance, candidates.total_weight));
    if let Some(share) = first.filter(|share| may(share)) {
        return Some(share);
    }
    let open = || candidates.shares.iter().filter(|share| may(share));
    let total = open().map(|share| u64::from(share.weight)).sum();
    at(open(), below(mix(chance), total))
}

/// Draws two different shares and gives the one with the lower `cost`.
pub(super) fn better_of_two<'a>(
    candidates: &'a Candidates,
    chance: u64,
    may: &impl Fn(&Share) -> bool,
    cost: impl Fn(&Share) -> f64,
) -> Option<&'a Share> {
    let one = draw(candidates, chance, may)?;
    let other = draw(candidates, mix(!chance), &|share| share.member != one.member && may(share));
    Some(other.filter(|other| cost(other) < cost(one)).unwrap_or(one))
}

/// The part of the picks that each member gets from [`draw`].
pub(super) fn odds_of_one(candidates: &Candidates) -> Vec<(usize, f64)> {
    let open = || candidates.shares.iter().filter(|share| share.has_room());
    let total: f64 = open().map(|share| f64::from(share.weight)).sum();
    open().map(|share| (share.member, f64::from(share.weight) / total)).collect()
}

/// The part of the picks that each member gets from [`better_of_two`].
pub(super) fn odds_of_two(
    candidates: &Candidates,
    cost: impl Fn(&Share) -> f64,
) -> Vec<(usize, f64)> {
    let open: Vec<_> = candidates.shares.iter().filter(|share| share.has_room()).collect();
    let costs: Vec<_> = open.iter().map(|share| cost(share)).collect();
    let single = odds_of_one(candidates);
    let mut odds: Vec<_> = single.iter().map(|(member, _)| (*member, 0.0)).collect();
    for (one, (_, first)) in single.iter().enumerate() {
        let mut second_first = 0.0;
        for (other, (_, second)) in single.iter().enumerate().filter(|(other, _)| *other != one) {
            let part = first * second / (1.0 - first);
            if costs.get(other) < costs.get(one) {
                second_first += part;
                if let Some((_, odds)) = odds.get_mut(other) {
                    *odds += part;
                }
            }
        }
        if let Some((_, odds)) = odds.get_mut(one) {
            *odds += first - second_first;
        }
    }
    odds
}

/// The share in whose weight the lot falls.
fn at<'a>(shares: impl Iterator<Item = &'a Share>, mut lot: u64) -> Option<&'a Share> {
    for share in shares {
        let weight = u64::from(share.weight);
        if lot < weight {
            return Some(share);
        }
        lot -= weight;
    }
    None
}

/// Maps random bits to `0..bound` evenly enough (multiply and shift, Lemire 2019).
fn below(bits: u64, bound: u64) -> u64 {
    ((u128::from(bits) * u128::from(bound)) >> 64) as u64
}

/// Fresh bits out of used ones (the finaliser of SplitMix64, Steele et al. 2014).
fn mix(bits: u64) -> u64 {
    let bits = bits.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    bits ^ (bits >> 31)
}
