//! A bound address: accepting, admission, and the way to the proxy behind it.

mod figures;

pub use figures::Figures;
