//! `probe = "tcp"`: the kernel at the other end accepts. Whether the program answers stays open.

use crate::health::probe::{Answer, Miss, Peer, connect, hang_up};

pub(super) async fn ask(peer: Peer) -> Result<Answer, Miss> {
    hang_up(connect(peer).await?).await;
    Ok(Answer::up("connected"))
}
