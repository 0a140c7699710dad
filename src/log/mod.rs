//! Stand-in until the writer lands.

use crate::record::Record;

/// Where sessions leave their line.
#[derive(Debug, Clone)]
pub struct AccessLog;

impl AccessLog {
    /// Writes one line.
    pub fn write(&self, _record: &Record) {}
}
