//! Spreads turns evenly by weight: the sequence behind smooth weighted round robin.

/// The longest sequence; finer ratios of weights than this are rounded.
const LONGEST: u32 = 4096;

/// Positions `0..weights.len()`, each as often as its weight says and as evenly as can be.
///
/// The smooth weighted round robin that nginx made known: each step raises everybody by their
/// weight, takes the highest and lowers it by the total.
pub(super) fn interleave(weights: &[u32]) -> Box<[u16]> {
    let weights = reduced(weights);
    let total: i64 = weights.iter().sum();
    let mut credit = vec![0; weights.len()];
    let mut sequence = Vec::with_capacity(usize::try_from(total).unwrap_or(0));
    for _ in 0..total {
        let mut best = 0;
        for (position, weight) in weights.iter().enumerate() {
            credit[position] += weight;
            if credit[position] > credit[best] {
                best = position;
            }
        }
        credit[best] -= total;
        sequence.push(u16::try_from(best).unwrap_or(u16::MAX));
    }
    sequence.into()
}

/// The same ratios in the smallest whole numbers, rounded if the sequence would be too long.
fn reduced(weights: &[u32]) -> Vec<i64> {
    let divisor = weights.iter().fold(0, |divisor, weight| gcd(divisor, *weight)).max(1);
    let total: u32 = weights.iter().map(|weight| weight / divisor).sum();
    let longest = LONGEST.max(u32::try_from(weights.len()).unwrap_or(u32::MAX));
    let shrink = |weight: u32| {
        if total <= longest {
            return i64::from(weight);
        }
        (i64::from(weight) * i64::from(longest) / i64::from(total)).max(1)
    };
    weights.iter().map(|weight| shrink(weight / divisor)).collect()
}

fn gcd(a: u32, b: u32) -> u32 {
    if b == 0 { a } else { gcd(b, a % b) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn weights_are_interleaved_smoothly() {
        assert_eq!(*interleave(&[5, 1, 1]), [0, 0, 1, 0, 2, 0, 0]);
        assert_eq!(*interleave(&[10, 10, 10]), [0, 1, 2]);
        assert!(interleave(&[]).is_empty());
    }

    proptest! {
        #[test]
        fn everybody_gets_what_the_weights_say(weights in prop::collection::vec(1u32..=256, 1..12)) {
            let sequence = interleave(&weights);
            let total: u32 = weights.iter().sum();
            let rounds = total as usize / sequence.len();
            for (position, weight) in weights.iter().enumerate() {
                let turns = sequence.iter().filter(|p| usize::from(**p) == position).count();
                prop_assert_eq!(turns * rounds, *weight as usize);
            }
        }
    }
}
