//! The way from one listener to a pool and what is behind it, and how its backends are spoken to.

use std::sync::Arc;

use crate::pool::{Entrance, Pool};
use crate::tls::Outbound;

/// An entrance to a pool with what its backends want to hear first.
#[derive(Debug)]
pub struct Gateway {
    /// The pool, and the pools that it falls back on.
    pub entrance: Entrance,
    /// By the name of the pool: of those whose backends speak TLS.
    outbound: Box<[(Arc<str>, Arc<Outbound>)]>,
}

impl Gateway {
    /// `outbound` holds the pools behind the entrance to which TLS is spoken.
    pub fn new(entrance: Entrance, outbound: Vec<(Arc<str>, Arc<Outbound>)>) -> Self {
        Self { entrance, outbound: outbound.into() }
    }

    /// How TLS is spoken to the backends of `pool`; `None` = it is not.
    pub fn outbound(&self, pool: &Pool) -> Option<&Outbound> {
        // A chain of pools is short, and mostly none of them is here.
        self.outbound.iter().find(|(name, _)| name == pool.name()).map(|(_, outbound)| &**outbound)
    }
}
