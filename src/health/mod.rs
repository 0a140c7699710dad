//! Stand-in.
use crate::pool::{Health, Judged, Pool, Standing};
use std::sync::Arc;
/// x
#[derive(Debug, thiserror::Error)]
#[error("x")]
pub struct StartError;
/// x
#[derive(Debug)]
pub struct Monitor;
impl Monitor {
    /// x
    pub fn start(
        pool: Arc<Pool>,
        spec: &crate::config::Pool,
        _o: usize,
    ) -> Result<Self, StartError> {
        let judged: Vec<_> = spec
            .members
            .iter()
            .map(|m| Judged {
                standing: Standing { health: Health::Up, admin: m.state },
                address: match m.address {
                    crate::addr::BackendAddr::Ip(a) => Some(a),
                    _ => None,
                },
            })
            .collect();
        pool.publish(&judged);
        Ok(Self)
    }
    /// x
    pub async fn first_round(&self) {}
}
