//! Every limit that a peer or a file can run into, with the reason for its value.
//!
//! Together they bound the memory of a transfer; the sum is in `ARCHITECTURE.md`.

use std::time::Duration;

/// Longest chunk, original bytes. A lost line wastes at most this per stream; a frame of a CT
/// (512 x 512 x 2 bytes) fits whole.
pub const CHUNK_BYTES_MAX: u32 = 1 << 20;

/// Smallest chunk that pixel data is cut into when frames are tiny: several frames share a chunk.
pub const CHUNK_BYTES_TARGET_MIN: u32 = 64 << 10;

/// Most chunks of one instance: with chunks of 1 MiB, about 100 GB.
pub const CHUNKS_PER_INSTANCE_MAX: u32 = 100_000;

/// Most instances on one manifest page.
pub const INSTANCES_PER_PAGE_MAX: usize = 256;

/// Longest encoded manifest page: one instance of [`CHUNKS_PER_INSTANCE_MAX`] chunks fits.
pub const PAGE_BYTES_MAX: usize = 4 << 20;

/// Longest DICOMDIR that is followed, in bytes: some hundred thousand images. It is held as a whole.
pub const DICOMDIR_BYTES_MAX: u64 = 64 << 20;

/// Longest name of a file that is not DICOM, in bytes.
pub const NAME_BYTES_MAX: usize = 255;

/// Most original bytes in one record, and so what decoding one may allocate.
pub const RECORD_RAW_BYTES_MAX: u32 = 1 << 20;
/// Pixel chunks share a record up to this length where they are stored to be read: whoever wants one frame decodes no more.
pub(crate) const PIXELS_SHARED_BYTES: u32 = 256 << 10;

/// Most chunks in one record: small header parts share one, and stay retrievable by decoding 1 MiB.
pub const CHUNKS_PER_RECORD_MAX: usize = 256;

/// Chunks below this share a record with others of their class.
pub const SMALL_CHUNK_BYTES: u32 = 64 << 10;

/// Small chunks other than headers share a record up to this many original bytes: enough for a codec to
/// learn from, and little to lose with a line.
pub const SHARED_BYTES_MAX: u32 = 256 << 10;

/// Frames of native pixels share a record up to 1 MiB if they are no longer than this, so that at least two
/// do: they share a codec's tables, and a time series is half said by the frame before.
pub const SHARED_FRAME_BYTES_MAX: u32 = 512 << 10;

/// Longer frames stand alone in their records at levels of compression that do not look at the frame before: whoever
/// reads one frame decodes no other.
pub const FRAMES_TOGETHER_BYTES_MAX: u32 = 256 << 10;

/// Pages that a sender may have offered and the receiver not yet committed.
/// Bounds what both ends remember of a transfer, however long it is.
pub const PAGES_IN_FLIGHT_MAX: usize = 64;

/// Manifest pages, as encoded, that the transfers of one peer may hold in this process at once: two of the longest, or
/// some hundreds of usual ones. Who needs more waits.
pub const PAGE_BYTES_SHARED_MAX: usize = 2 * PAGE_BYTES_MAX;

/// How long a transfer that holds no page waits for room for its first, before it is refused as busy.
pub const ROOM_DEADLINE: Duration = Duration::from_secs(20);

/// Chunk entries over all pages in flight, above which the sender offers no further page (one page
/// always may be). About 150 bytes each at the receiver.
pub const CHUNKS_IN_FLIGHT_MAX: usize = 200_000;

/// Longest control message on the wire: a page and its envelope.
pub const MESSAGE_BYTES_MAX: usize = PAGE_BYTES_MAX + 4096;

/// Longest first message of a control stream: a request, which brings no page.
pub const REQUEST_BYTES_MAX: usize = 64 << 10;

/// Instances that may be withdrawn from one transfer; beyond it the sender gives up.
pub const WITHDRAWN_MAX: usize = 100_000;

/// Times a receiver asks again for a chunk that arrived damaged before it gives up on the instance.
pub const CHUNK_TRIES_MAX: u32 = 3;

/// Without any sign of life for this long a connection is dead. Not a limit on a transfer's length.
pub const IDLE_TIMEOUT: Duration = Duration::from_secs(30);

/// A quiet connection is kept alive at this interval.
pub const KEEP_ALIVE: Duration = Duration::from_secs(8);

/// A transfer is given up and tried again when the other end said nothing for this long, though its turn it is.
/// Every message and every record that arrives starts it anew.
pub const PROGRESS_DEADLINE: Duration = Duration::from_secs(120);

/// An end that works on what it owes (reads, hashes, reads back, commits) says so at this interval.
pub const WORKING_INTERVAL: Duration = Duration::from_secs(5);

/// A transfer is given up when an end says that it works, but no count of it moved for this long: longer than
/// the slowest commit of a group, shorter than a person's patience with a disk that hangs.
pub const STANDSTILL_DEADLINE: Duration = Duration::from_secs(600);

/// Most original bytes of the instances on a manifest page (one instance always may be): what a sender reads
/// before it sends any of it.
pub const PAGE_ORIGINAL_BYTES_MAX: u64 = 64 << 20;

/// The same for the first page, so that sending starts at once.
pub const FIRST_PAGE_ORIGINAL_BYTES_MAX: u64 = 4 << 20;

/// A TLS handshake must be done by then.
pub const HANDSHAKE_DEADLINE: Duration = Duration::from_secs(10);

/// Studies of one transfer: both ends remember which they were, and the receiver's index lists them.
pub const STUDIES_PER_TRANSFER_MAX: usize = 50_000;

/// Longest row of an answer to a query: its texts are cut at 256 characters each.
pub const ROW_BYTES_MAX: usize = 64 << 10;

/// Bytes of rows that an asker takes in, over the whole answer.
pub const ANSWER_BYTES_MAX: usize = 64 << 20;

/// Rows in one answer to a query, when the asker names no limit.
pub const QUERY_ROWS_MAX: u32 = 100_000;

/// Frames in one request for frames: a cardiac series of many heart beats; who wants more asks again.
pub const FRAMES_PER_REQUEST_MAX: usize = 4096;

/// Bytes that one request for frames may bring: of the frames as they stand in the file, and of the chunks that hold
/// them, each. The asker holds both, so twice this at most. The longest frame of a mammogram or of a slide fits.
pub const FRAMES_BYTES_MAX: u64 = 64 << 20;

/// Chunks in the answer to one request for frames: [`FRAMES_BYTES_MAX`] in the smallest that pixel data is cut into, and
/// the first and last of each frame besides.
pub const FRAMES_CHUNKS_MAX: usize = 3 * FRAMES_PER_REQUEST_MAX;
