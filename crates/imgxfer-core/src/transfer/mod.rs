//! What a transfer does alike at both ends: shows signs of life, watches its line, gives way, and says why it ends.

mod farewell;
mod line_watch;
mod notice;
mod pulse;
mod spans;

pub(crate) use farewell::{FAREWELL, refuse};
pub(crate) use line_watch::LineWatch;
pub(crate) use notice::{GAVE_WAY, Notice};
pub(crate) use pulse::Pulse;
pub(crate) use spans::{instance_span, log_failure, name_transfer, session_span, transfer_span};
