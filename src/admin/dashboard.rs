//! What a browser is shown at `/`.

use crate::admin::answer::{Answer, text};

/// The page.
pub(super) fn page() -> Answer {
    text("evenkeel: /healthz, /readyz, /metrics, /api/v1/status\n")
}
