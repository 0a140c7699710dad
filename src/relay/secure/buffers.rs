//! What the secure relays of a worker share, so that an idle one holds no buffer.

use crate::tls::Session;

/// What one read takes at most.
const INCOMING: usize = 128 * 1024;

/// Room for a batch of records on its way: as they came, opened, and sealed anew.
#[derive(Debug)]
pub(in crate::relay) struct Buffers {
    /// As read from a socket.
    pub(super) incoming: Box<[u8]>,
    /// What came out of it; empty between two batches.
    pub(super) plain: Vec<u8>,
    /// As written to a socket.
    pub(super) outgoing: Box<[u8]>,
}

impl Default for Buffers {
    fn default() -> Self {
        let bytes = |size| vec![0; size].into_boxed_slice();
        Self {
            incoming: bytes(INCOMING),
            plain: Vec::with_capacity(INCOMING),
            outgoing: bytes(Session::room_for(INCOMING)),
        }
    }
}
