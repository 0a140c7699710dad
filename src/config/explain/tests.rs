//! The arithmetic against numbers that were reckoned by hand.
