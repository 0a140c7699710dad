//! Listeners that speak HTTP.

mod smuggling;
