//! Our side: a level on one path of the processor.

use std::sync::Arc;
use std::time::Duration;

use cpu_time::ThreadTime;
use imgxfer_core::codec::{Level, Pixel, Registry};

use crate::corpus::Record;
use crate::table::Sample;

pub(crate) struct Ours {
    pub(crate) path: &'static str,
    pub(crate) level: Level,
    registry: Registry,
}

impl Ours {
    pub(crate) fn new((path, pixel): (&'static str, Pixel), level: Level) -> Self {
        Self { path, level, registry: Registry::default().with(Arc::new(pixel)) }
    }

    /// Codes a record as a push does, and back.
    pub(crate) fn run(&self, record: &Record) -> anyhow::Result<Sample> {
        let raw = &record.raw;
        let mut payload = Vec::with_capacity(raw.len());
        let (id, encode) =
            timed(|| self.registry.encode(raw, Some(&record.shape), self.level, &self.registry.ids(), &mut payload));
        let mut decoded = Vec::with_capacity(raw.len());
        let len = u32::try_from(raw.len())?;
        let (done, decode) = timed(|| self.registry.get(id)?.decode(&payload, len, &mut decoded));
        done?;
        anyhow::ensure!(decoded == *raw, "level {} on {} is not exact", self.level.get(), self.path);
        Ok(Sample { original: raw.len(), encoded: payload.len(), encode, decode })
    }
}

/// The result of some work, and the processor time of this thread that it took.
pub(crate) fn timed<T>(work: impl FnOnce() -> T) -> (T, Duration) {
    let start = ThreadTime::now();
    let result = work();
    (result, start.elapsed())
}
