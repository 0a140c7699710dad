//! Reads `[pool.NAME.http]`: how http is spoken to the backends.

use super::read::Section;
use super::{HttpVersion, PoolHttp};

pub(super) const KEYS: &[&str] = &["version", "keepalive", "keepalive_timeout"];
pub(super) const VERSIONS: &[(&str, HttpVersion)] =
    &[("1.1", HttpVersion::V1), ("2", HttpVersion::V2)];

pub(super) fn read(section: &Section<'_>) -> PoolHttp {
    let section = section.clone().only(KEYS, &[]);
    let default = PoolHttp::default();
    PoolHttp {
        version: section.choice("version", VERSIONS, default.version),
        keepalive: section.integer("keepalive", 0..=u32::MAX, default.keepalive),
        keepalive_timeout: section.duration("keepalive_timeout", default.keepalive_timeout),
    }
}
