//! The floors of the house.
