//! An upgrade: a new process takes over what this one serves.

mod channel;
