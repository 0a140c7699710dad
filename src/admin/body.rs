//! What a request carries: read whole, within bounds of size and time.

use std::time::Duration;

use http_body_util::BodyExt;
use hyper::body::{Body, Buf};
use hyper::header::CONTENT_LENGTH;
use hyper::{HeaderMap, StatusCode};
use tokio::time::timeout;

use crate::admin::answer::Refusal;

/// For a whole body.
const BODY_TIMEOUT: Duration = Duration::from_secs(10);

/// The whole body, unless it has more than `largest` bytes or is too slow. `way_out` is said with a
/// refusal of one that is too large.
pub(super) async fn read<B: Body>(
    head: &HeaderMap,
    body: B,
    largest: usize,
    way_out: &str,
) -> Result<Vec<u8>, Refusal> {
    let too_large = || {
        let error = format!("the body is larger than {largest} bytes; {way_out}");
        Refusal::new(StatusCode::PAYLOAD_TOO_LARGE, error)
    };
    let declared = head.get(CONTENT_LENGTH).and_then(|length| length.to_str().ok());
    if declared.is_some_and(|text| text.parse().map_or(true, |length: usize| length > largest)) {
        return Err(too_large());
    }
    let whole = async {
        let mut body = std::pin::pin!(body);
        let mut read = Vec::new();
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|_| Refusal::bad("the body broke off"))?;
            let Ok(mut data) = frame.into_data() else { continue };
            if read.len() + data.remaining() > largest {
                return Err(too_large());
            }
            read.extend_from_slice(&data.copy_to_bytes(data.remaining()));
        }
        Ok(read)
    };
    let late = |_| Refusal::bad(format!("the body did not come within {BODY_TIMEOUT:?}"));
    timeout(BODY_TIMEOUT, whole).await.map_err(late)?
}
