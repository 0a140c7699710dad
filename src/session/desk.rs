//! Where a session came in, as those ask there who serve it and sit a floor below.

use std::fmt::Debug;
use std::sync::Arc;

/// What is in force at the address where a session came in.
pub trait Desk<P>: Debug {
    /// What is in force now, unless that is `known`, or something of another kind.
    fn newer(&self, known: &Arc<P>) -> Option<Arc<P>>;

    /// True once nothing new is taken there; it may become false again.
    fn is_closed(&self) -> bool;

    /// True while nothing is to be moved there, because another process may be about to do it.
    fn is_paused(&self) -> bool {
        false
    }

    /// True once nothing at all is done there any more.
    fn is_left(&self) -> bool;
}
