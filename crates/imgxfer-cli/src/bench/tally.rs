//! One way to code, tried on records: what comes of it.

use std::time::Duration;

use imgxfer_core::codec::{Codec, CodecId, Level, PixelShape, Registry};
use imgxfer_core::units::{to_f64, to_u32, to_u64};

use super::clock::time;

/// A record that is coded in less time is coded so many times, and the fastest counts.
const SHORT: Duration = Duration::from_millis(20);
const RUNS_OF_SHORT: u32 = 3;

/// A way to code.
#[derive(Debug)]
pub(crate) enum Way {
    /// As a push does at this level.
    Level(Level),
    /// zstd alone.
    Zstd(i32),
}

impl Way {
    /// What it is called in the result.
    pub(crate) fn name(&self) -> String {
        match self {
            Self::Level(level) => level.get().to_string(),
            Self::Zstd(level) => format!("zstd-{level}"),
        }
    }

    fn encode(&self, registry: &Registry, raw: &[u8], shape: Option<&PixelShape>, out: &mut Vec<u8>) -> CodecId {
        out.clear();
        match self {
            Self::Level(level) => registry.encode(raw, shape, *level, &registry.ids(), out),
            Self::Zstd(level) => match zstd::bulk::compress(raw, *level) {
                Ok(packed) if packed.len() < raw.len() => {
                    *out = packed;
                    CodecId::ZSTD
                }
                _ => {
                    out.extend_from_slice(raw);
                    CodecId::STORE
                }
            },
        }
    }
}

/// Sums over records.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Tally {
    /// Bytes before.
    pub(crate) original: u64,
    /// Bytes after.
    pub(crate) encoded: u64,
    /// Processor time of encoding.
    pub(crate) encode: Duration,
    /// Processor time of decoding.
    pub(crate) decode: Duration,
    /// Records that did not come back as they were.
    pub(crate) wrong: u64,
}

/// Buffers that are used again for every record.
#[derive(Debug, Default)]
pub(crate) struct Buffers {
    payload: Vec<u8>,
    decoded: Vec<u8>,
}

impl Tally {
    /// Tries a way on a record. Returns whether it came back as it was.
    pub(crate) fn add(
        &mut self,
        way: &Way,
        registry: &Registry,
        (raw, shape): (&[u8], Option<&PixelShape>),
        Buffers { payload, decoded }: &mut Buffers,
    ) -> bool {
        let (id, encode) = fastest(|| way.encode(registry, raw, shape, payload));
        let (exact, decode) = fastest(|| {
            decoded.clear();
            registry.get(id).is_ok_and(|codec: &dyn Codec| codec.decode(payload, to_u32(raw.len()), decoded).is_ok())
        });
        let exact = exact && decoded == raw;
        self.original += to_u64(raw.len());
        self.encoded += to_u64(payload.len());
        self.encode += encode;
        self.decode += decode;
        self.wrong += u64::from(!exact);
        exact
    }

    /// Adds the sums of another.
    pub(crate) fn merge(&mut self, other: &Self) {
        self.original += other.original;
        self.encoded += other.encoded;
        self.encode += other.encode;
        self.decode += other.decode;
        self.wrong += other.wrong;
    }

    /// Original bytes for each encoded one.
    pub(crate) fn ratio(&self) -> f64 {
        to_f64(self.original) / to_f64(self.encoded.max(1))
    }

    /// Original megabytes encoded a second.
    pub(crate) fn encode_mb_s(&self) -> f64 {
        speed(self.original, self.encode)
    }

    /// Original megabytes decoded a second.
    pub(crate) fn decode_mb_s(&self) -> f64 {
        speed(self.original, self.decode)
    }
}

fn speed(bytes: u64, time: Duration) -> f64 {
    to_f64(bytes) / 1e6 / time.as_secs_f64().max(1e-9)
}

/// The result of the work, and the least time that it took.
fn fastest<T>(mut work: impl FnMut() -> T) -> (T, Duration) {
    let (mut result, mut least) = time(&mut work);
    if least < SHORT {
        for _ in 1..RUNS_OF_SHORT {
            let again = time(&mut work);
            (result, least) = (again.0, least.min(again.1));
        }
    }
    (result, least)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use imgxfer_core::codec::CodecError;

    use super::*;

    /// Drops the last byte of everything, and in decoding makes one up.
    #[derive(Debug)]
    struct Careless;

    impl Codec for Careless {
        fn id(&self) -> CodecId {
            CodecId(200)
        }

        fn encode(&self, raw: &[u8], _: Option<&PixelShape>, _: Level, out: &mut Vec<u8>) -> bool {
            out.extend_from_slice(&raw[1..]);
            true
        }

        fn decode(&self, payload: &[u8], _: u32, out: &mut Vec<u8>) -> Result<(), CodecError> {
            out.extend_from_slice(payload);
            out.push(0);
            Ok(())
        }
    }

    fn tally(way: &Way, registry: &Registry, raw: &[u8]) -> Tally {
        let mut tally = Tally::default();
        tally.add(way, registry, (raw, None), &mut Buffers::default());
        tally
    }

    #[test]
    fn a_codec_that_loses_something_is_caught() {
        let registry = Registry::default().with(Arc::new(Careless));
        let found = tally(&Way::Level(Level::FAST), &registry, &[1, 2, 3]);
        assert_eq!((found.wrong, found.original, found.encoded), (1, 3, 2));
        assert_eq!(tally(&Way::Level(Level::STORE), &registry, &[1, 2, 3]).wrong, 0, "level 0 uses no codec");
        assert_eq!(tally(&Way::Zstd(1), &registry, &[1, 2, 3]).wrong, 0);
    }

    #[test]
    fn what_does_not_shrink_counts_as_it_is() {
        let noise = imgxfer_core::testing::noise(1, 5000);
        for way in [Way::Level(Level::STORE), Way::Level(Level::STRONG), Way::Zstd(3)] {
            let found = tally(&way, &Registry::default(), &noise);
            assert_eq!((found.encoded, found.wrong), (5000, 0), "{}", way.name());
        }
        let zeros = tally(&Way::Level(Level::FAST), &Registry::default(), &[0; 5000]);
        assert!(zeros.ratio() > 100.0 && zeros.wrong == 0);
    }
}
