//! Compresses the pixel data of a DICOM file without loss, and proves it: `compress_pixels FILE [LEVEL]`
//!
//! This is all that a radiology system needs of the library to use its codecs alone: no network, no store.

#![expect(clippy::print_stdout, reason = "an example talks to its user")]

use imgxfer_core::chunk::ChunkClass;
use imgxfer_core::chunk::{cut, pixel_shape};
use imgxfer_core::codec::{CodecId, Level, Registry};
use imgxfer_core::dicom::scan;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut args = std::env::args().skip(1);
    let path = args.next().ok_or("usage: compress_pixels FILE [LEVEL]")?;
    let level = args.next().map_or(Ok(Level::STRONG), |level| level.parse().map(Level::new))?;

    let file = std::fs::read(&path)?;
    let found = scan(&file)?;
    let shape = pixel_shape(&found);
    let codecs = Registry::default();
    let (mut original, mut compressed) = (0, 0);
    // Pieces of at most 1 MiB, on frames or rows.
    for piece in cut(&file, Some(&found))?.iter().filter(|piece| piece.class == ChunkClass::Pixels) {
        let start = usize::try_from(piece.offset)?;
        let raw = &file[start..start + usize::try_from(piece.len)?];
        // Keep the codec's number and the original length with the payload: both are needed to decode it.
        let mut payload = Vec::new();
        let codec = [CodecId::PIXEL, CodecId::ZSTD]
            .into_iter()
            .find(|id| codecs.get(*id).is_ok_and(|codec| codec.encode(raw, shape.as_ref(), level, &mut payload)));
        let Some(codec) = codec else {
            // Nothing made it smaller.
            (original, compressed) = (original + raw.len(), compressed + raw.len());
            continue;
        };
        let mut decoded = Vec::new();
        codecs.get(codec)?.decode(&payload, piece.len, &mut decoded)?;
        assert_eq!(decoded, raw, "what comes back is what went in");
        (original, compressed) = (original + raw.len(), compressed + payload.len());
    }
    println!("{original} bytes of pixel data became {compressed} at level {}, and came back exactly", level.get());
    Ok(())
}
