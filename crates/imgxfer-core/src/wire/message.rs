//! Control messages: protobuf, by derive. `docs/imgxfer.proto` is the published contract.
//!
//! A control stream carries [`Envelope`]s, each behind its length. Fields that this program does not
//! know are ignored, so that sites a version apart can talk; an envelope without a known body is
//! refused, since it asks for something that would not happen.
//!
//! What a message says is a claim. [`crate::proto`] checks it.

use std::fmt;

use prost::Message as _;

pub use super::code::{FailCode, Feature, RefuseCode};

/// A control message.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Envelope {
    /// What it says.
    #[prost(
        oneof = "Body",
        tags = "3, 4, 5, 6, 10, 11, 12, 13, 14, 20, 21, 22, 23, 24, 25, 26, 27, 31, 32, 33, 34, 35, 40, 41"
    )]
    pub body: Option<Body>,
}

/// The kinds of control message.
#[derive(Clone, PartialEq, prost::Oneof)]
#[non_exhaustive]
pub enum Body {
    /// Receiver, opening: send me this.
    #[prost(message, tag = "3")]
    Fetch(Fetch),
    /// Either, opening: what is there?
    #[prost(message, tag = "4")]
    Find(Find),
    /// Either, opening: give me these frames.
    #[prost(message, tag = "5")]
    FetchFrames(FetchFrames),
    /// Either, opening: remove what you hold of mine.
    #[prost(message, tag = "6")]
    Remove(Remove),
    /// Sender: a transfer begins. Opens a push; answers a pull.
    #[prost(message, tag = "10")]
    Start(Start),
    /// Sender: do you have this page?
    #[prost(message, tag = "11")]
    PageRef(PageRef),
    /// Sender: a page of the manifest.
    #[prost(message, tag = "12")]
    Page(PageBody),
    /// Sender: an instance is taken back.
    #[prost(message, tag = "13")]
    Withdraw(Withdraw),
    /// Sender: that was all.
    #[prost(message, tag = "14")]
    End(End),
    /// Receiver: go ahead.
    #[prost(message, tag = "20")]
    Accept(Accept),
    /// Receiver: whether it has the page that was asked about.
    #[prost(message, tag = "21")]
    PageKnown(PageKnown),
    /// Receiver: the chunks of a page that it lacks.
    #[prost(message, tag = "22")]
    Need(Need),
    /// Receiver: chunks to be sent again without compression, because they arrived damaged, or because the
    /// instance that they had been asked for was withdrawn and another needs them.
    #[prost(message, tag = "23")]
    Again(Need),
    /// Receiver: what has arrived and been verified so far.
    #[prost(message, tag = "24")]
    Received(Received),
    /// Receiver: instances that are durable.
    #[prost(message, tag = "25")]
    Committed(Committed),
    /// Receiver: an instance that it cannot take.
    #[prost(message, tag = "26")]
    Failed(Failed),
    /// Receiver: the signed end of a transfer.
    #[prost(message, tag = "27")]
    Receipt(ReceiptBody),
    /// Answer to a question: that was all.
    #[prost(message, tag = "31")]
    FindEnd(FindEnd),
    /// Answer to a question: a row.
    #[prost(message, tag = "32")]
    Row(Row),
    /// Answer to a wish for frames: what comes.
    #[prost(message, tag = "33")]
    FramesStart(FramesStart),
    /// Answer to a wish for frames: a record that holds some of it.
    #[prost(message, tag = "34")]
    FramesRecord(FramesRecord),
    /// Answer to a wish to remove: it is done, and durable.
    #[prost(message, tag = "35")]
    Removed(RemovedPart),
    /// Either: no. Nothing more follows on this stream.
    #[prost(message, tag = "40")]
    Refused(Refused),
    /// Either, in a transfer: still at work on what it owes. Only to a peer with [`Feature::Working`].
    #[prost(message, tag = "41")]
    Working(Working),
}

/// An attribute and a value: what one must be, in a question, or is, in an answer.
#[derive(Clone, PartialEq, prost::Message)]
#[prost(skip_debug)]
pub struct Value {
    /// The attribute's tag: group in the upper half, element in the lower.
    #[prost(uint32, tag = "1")]
    pub tag: u32,
    /// Its value; in a question, by the rules of DICOM PS3.4 section C.2.2.2.
    #[prost(string, tag = "2")]
    pub value: String,
    /// In a question: whether it is the value itself, whatever characters are in it.
    #[prost(bool, tag = "3")]
    pub exact: bool,
}

/// Asks the other side to send instances: those of the studies that have something for which all that is asked holds.
/// One who does not know an attribute that is asked by must refuse.
#[derive(Clone, PartialEq, prost::Message)]
#[prost(skip_debug)]
pub struct Fetch {
    /// What must hold. UIDs of studies, series and instances stand for themselves, by their tags.
    #[prost(message, repeated, tag = "1")]
    pub by: Vec<Value>,
    /// Whether every content of an instance is asked for, and not the current one alone.
    #[prost(bool, tag = "2")]
    pub all_versions: bool,
    /// The order in which instances are wished for: 0 as they are kept, 1 one of the middle of each series first.
    #[prost(uint32, tag = "3")]
    pub order: u32,
    /// 0 routine, 1 STAT, 2 background.
    #[prost(uint32, tag = "4")]
    pub priority: u32,
    /// Narrows what [`Accept`] will say; empty for not narrowing it.
    #[prost(uint32, repeated, tag = "5")]
    pub codecs: Vec<u32>,
    /// Level of compression that the puller asks for: 0 for the sender's choice, else one more than the level.
    #[prost(uint32, tag = "6")]
    pub level: u32,
    /// Whether only what is there now is wanted. Else the sender goes on while studies of which no version was stated
    /// are still arriving.
    #[prost(bool, tag = "7")]
    pub now: bool,
}

/// Asks for frames of one instance, without a transfer.
#[derive(Clone, PartialEq, prost::Message)]
pub struct FetchFrames {
    /// Study Instance UID.
    #[prost(string, tag = "1")]
    pub study: String,
    /// Series Instance UID, or empty for whichever it is in.
    #[prost(string, tag = "2")]
    pub series: String,
    /// SOP Instance UID.
    #[prost(string, tag = "3")]
    pub sop_instance: String,
    /// Which of its contents: BLAKE3 of the whole file. Empty for the current one.
    #[prost(bytes = "bytes", tag = "4")]
    pub hash: bytes::Bytes,
    /// Twos: the first frame of a run, counted from 1, and the last; ascending, at least a frame between two runs.
    #[prost(uint32, repeated, tag = "5")]
    pub runs: Vec<u32>,
    /// 0 routine, 1 STAT, 2 background.
    #[prost(uint32, tag = "6")]
    pub priority: u32,
    /// Codecs that the asker decodes besides 0.
    #[prost(uint32, repeated, tag = "7")]
    pub codecs: Vec<u32>,
}

/// What comes of the frames that were asked for. Records follow until each chunk in it has come.
#[derive(Clone, PartialEq, prost::Message)]
pub struct FramesStart {
    /// Study Instance UID.
    #[prost(string, tag = "1")]
    pub study: String,
    /// Series Instance UID.
    #[prost(string, tag = "2")]
    pub series: String,
    /// SOP Instance UID.
    #[prost(string, tag = "3")]
    pub sop_instance: String,
    /// SOP Class UID, or empty.
    #[prost(string, tag = "4")]
    pub sop_class: String,
    /// Transfer Syntax UID, or empty.
    #[prost(string, tag = "5")]
    pub transfer_syntax: String,
    /// BLAKE3 of the whole file.
    #[prost(bytes = "bytes", tag = "6")]
    pub hash: bytes::Bytes,
    /// Length of the whole file in bytes.
    #[prost(uint64, tag = "7")]
    pub len: u64,
    /// How many frames the instance has.
    #[prost(uint32, tag = "8")]
    pub count: u32,
    /// Whether its frames stand in fragments.
    #[prost(bool, tag = "9")]
    pub encapsulated: bool,
    /// What is needed to show them, where the header says it.
    #[prost(message, optional, tag = "10")]
    pub shape: Option<Shape>,
    /// The frames that were asked for, ascending; those at the end may be left out, but not all.
    #[prost(message, repeated, tag = "11")]
    pub frames: Vec<FrameAt>,
    /// The chunks that hold them, by their place in the file.
    #[prost(message, repeated, tag = "12")]
    pub chunks: Vec<ChunkPlace>,
}

/// The shape of an image's frames.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct Shape {
    /// Rows (0028,0010).
    #[prost(uint32, tag = "1")]
    pub rows: u32,
    /// Columns (0028,0011).
    #[prost(uint32, tag = "2")]
    pub columns: u32,
    /// Samples per pixel (0028,0002).
    #[prost(uint32, tag = "3")]
    pub samples: u32,
    /// Photometric interpretation (0028,0004).
    #[prost(string, tag = "4")]
    pub photometric: String,
    /// Planar configuration (0028,0006).
    #[prost(bool, tag = "5")]
    pub planar: bool,
    /// Bits allocated (0028,0100).
    #[prost(uint32, tag = "6")]
    pub bits_allocated: u32,
    /// Bits stored (0028,0101).
    #[prost(uint32, tag = "7")]
    pub bits_stored: u32,
    /// High bit (0028,0102).
    #[prost(uint32, tag = "8")]
    pub high_bit: u32,
    /// Pixel representation (0028,0103): two's complement.
    #[prost(bool, tag = "9")]
    pub signed: bool,
}

/// Where a frame stands.
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub struct FrameAt {
    /// Offset of its first byte in the file.
    #[prost(uint64, tag = "1")]
    pub offset: u64,
    /// How many bytes of the file hold it, items of fragments included.
    #[prost(uint64, tag = "2")]
    pub len: u64,
    /// In its first byte, how many of the lowest bits belong to the frame before.
    #[prost(uint32, tag = "3")]
    pub bit_offset: u32,
}

/// A chunk and where it stands.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct ChunkPlace {
    /// Offset of its first byte in the file.
    #[prost(uint64, tag = "1")]
    pub offset: u64,
    /// Original length.
    #[prost(uint32, tag = "2")]
    pub len: u32,
    /// BLAKE3 of its original bytes.
    #[prost(bytes = "bytes", tag = "3")]
    pub id: bytes::Bytes,
}

/// A record, as it stands in a pack.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct FramesRecord {
    /// The record.
    #[prost(bytes = "bytes", tag = "1")]
    pub record: bytes::Bytes,
}

/// Asks what matches. One who does not know an attribute that is asked by must refuse.
#[derive(Clone, PartialEq, prost::Message)]
#[prost(skip_debug)]
pub struct Find {
    /// What is asked for: 0 studies, 1 series, 2 instances.
    #[prost(uint32, tag = "1")]
    pub level: u32,
    /// What must hold.
    #[prost(message, repeated, tag = "2")]
    pub by: Vec<Value>,
    /// The row that the answer begins behind.
    #[prost(message, optional, tag = "3")]
    pub after: Option<Place>,
    /// Rows to pass over.
    #[prost(uint32, tag = "4")]
    pub skip: u32,
    /// Most rows wanted; 0 for the answerer's limit.
    #[prost(uint32, tag = "5")]
    pub limit: u32,
    /// Whether all rows are to be counted.
    #[prost(bool, tag = "6")]
    pub count: bool,
}

/// Asks the other side to remove what the asker has sent of a study, with every content that an instance has.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Remove {
    /// Study Instance UID.
    #[prost(string, tag = "1")]
    pub study: String,
    /// Of these series alone, by Series Instance UID; of all where none is named.
    #[prost(string, repeated, tag = "2")]
    pub series: Vec<String>,
    /// These instances alone, by SOP Instance UID; all where none is named.
    #[prost(string, repeated, tag = "3")]
    pub instances: Vec<String>,
}

/// What was removed.
#[derive(Clone, PartialEq, prost::Message)]
pub struct RemovedPart {
    /// Number of contents.
    #[prost(uint64, tag = "1")]
    pub contents: u64,
    /// Their original bytes.
    #[prost(uint64, tag = "2")]
    pub bytes: u64,
    /// Contents of what was named that the asker may see and that stay: others have sent them as well.
    #[prost(uint64, tag = "3")]
    pub left: u64,
}

/// The place of a row in the order of answers: newest study date first, then by study, series and instance.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Place {
    /// Study date, `YYYYMMDD`, or empty.
    #[prost(string, tag = "1")]
    pub date: String,
    /// Study Instance UID.
    #[prost(string, tag = "2")]
    pub study: String,
    /// Series Instance UID, or empty.
    #[prost(string, tag = "3")]
    pub series: String,
    /// SOP Instance UID, or empty.
    #[prost(string, tag = "4")]
    pub sop_instance: String,
}

/// Begins a transfer.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Start {
    /// 16 random bytes; head every data stream of this transfer.
    #[prost(bytes = "bytes", tag = "1")]
    pub transfer: bytes::Bytes,
    /// 0 routine, 1 STAT, 2 background.
    #[prost(uint32, tag = "2")]
    pub priority: u32,
    /// How many instances are expected; for progress.
    #[prost(uint64, tag = "3")]
    pub instances: u64,
    /// How many original bytes are expected; for progress.
    #[prost(uint64, tag = "4")]
    pub bytes: u64,
    /// What the sender understands beyond the basics: see [`Feature`].
    #[prost(uint32, repeated, tag = "5")]
    pub features: Vec<u32>,
    /// Whether the receiver is to read back what it has already before it counts on it. A sender that asks for it
    /// ends the transfer when the receiver does not list [`Feature::Prove`].
    #[prost(bool, tag = "6")]
    pub prove: bool,
    /// In the answer to a [`Fetch`]: instances of the same studies that are not sent, since they are of other patients
    /// than those asked for.
    #[prost(uint64, tag = "7")]
    pub others: u64,
    /// In the answer to a [`Fetch`]: studies are still arriving here, and it goes on until they have.
    #[prost(bool, tag = "8")]
    pub follows: bool,
}

/// Names a page by its hash.
#[derive(Clone, PartialEq, prost::Message)]
pub struct PageRef {
    /// Number of the page in the transfer, from 0.
    #[prost(uint32, tag = "1")]
    pub index: u32,
    /// BLAKE3 of the encoded page.
    #[prost(bytes = "bytes", tag = "2")]
    pub hash: bytes::Bytes,
}

/// A page.
#[derive(Clone, PartialEq, prost::Message)]
pub struct PageBody {
    /// Number of the page in the transfer, from 0.
    #[prost(uint32, tag = "1")]
    pub index: u32,
    /// Length of the encoded page.
    #[prost(uint32, tag = "2")]
    pub raw_len: u32,
    /// The encoded page as one zstd frame.
    #[prost(bytes = "bytes", tag = "3")]
    pub zstd: bytes::Bytes,
}

/// Takes an instance back.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Withdraw {
    /// Number of its page.
    #[prost(uint32, tag = "1")]
    pub page: u32,
    /// Its place on the page, from 0.
    #[prost(uint32, tag = "2")]
    pub place: u32,
}

/// Ends a transfer. Said again when an instance is withdrawn after it.
#[derive(Clone, PartialEq, prost::Message)]
pub struct End {
    /// Number of pages.
    #[prost(uint32, tag = "1")]
    pub pages: u32,
    /// Root of the manifest.
    #[prost(bytes = "bytes", tag = "2")]
    pub root: bytes::Bytes,
    /// Whether the sender holds this to be whole studies: it left nothing out for an error of its own.
    #[prost(bool, tag = "3")]
    pub complete: bool,
    /// In the answer to a [`Fetch`]: what was asked for was removed, or stated anew, while it was sent. Not complete.
    #[prost(bool, tag = "4")]
    pub changed: bool,
    /// In the answer to a [`Fetch`]: a transfer runs here that has added to it what no version states. Not complete.
    #[prost(bool, tag = "5")]
    pub arriving: bool,
    /// In the answer to a [`Fetch`]: instances of studies whose transfer to here has never ended whole. Not complete
    /// unless 0.
    #[prost(uint64, tag = "6")]
    pub unstated: u64,
}

/// Accepts a transfer.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Accept {
    /// How many records the receiver decodes at once, which is its number of cores; 0 for not saying.
    #[prost(uint32, tag = "2")]
    pub workers: u32,
    /// Codecs that the receiver decodes.
    #[prost(uint32, repeated, tag = "1")]
    pub codecs: Vec<u32>,
    /// What the receiver understands beyond the basics: see [`Feature`].
    #[prost(uint32, repeated, tag = "3")]
    pub features: Vec<u32>,
}

/// Answers [`PageRef`].
#[derive(Clone, PartialEq, prost::Message)]
pub struct PageKnown {
    /// Number of the page.
    #[prost(uint32, tag = "1")]
    pub index: u32,
    /// Whether the receiver has it, so that it need not be sent.
    #[prost(bool, tag = "2")]
    pub known: bool,
}

/// Chunks of one page.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Need {
    /// Number of the page.
    #[prost(uint32, tag = "1")]
    pub index: u32,
    /// One bit per chunk entry of the page, lowest bit first; missing bytes are zero.
    #[prost(bytes = "bytes", tag = "2")]
    pub bitmap: bytes::Bytes,
}

/// How far a receiver is.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Received {
    /// Chunks verified since the start.
    #[prost(uint64, tag = "1")]
    pub chunks: u64,
    /// Their original bytes.
    #[prost(uint64, tag = "2")]
    pub bytes: u64,
    /// Bytes of records a second that the receiver wishes for at most; 0 for no limit.
    #[prost(uint64, tag = "3")]
    pub rate_max: u64,
}

/// Instances that would survive loss of power.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Committed {
    /// Threes: page, place of the first instance on it, number of instances.
    #[prost(uint32, repeated, tag = "1")]
    pub runs: Vec<u32>,
}

/// An instance that is not taken.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Failed {
    /// Number of its page.
    #[prost(uint32, tag = "1")]
    pub page: u32,
    /// Its place on the page, from 0.
    #[prost(uint32, tag = "2")]
    pub place: u32,
    /// Why: see [`FailCode`].
    #[prost(uint32, tag = "3")]
    pub code: u32,
}

/// A receipt as it travels; [`crate::receipt::Receipt`] is what it says.
#[derive(Clone, PartialEq, prost::Message)]
pub struct ReceiptBody {
    /// The signed text.
    #[prost(bytes = "bytes", tag = "1")]
    pub text: bytes::Bytes,
    /// TLS signature scheme (RFC 8446 section 4.2.3).
    #[prost(uint32, tag = "2")]
    pub scheme: u32,
    /// The signer's certificate, DER.
    #[prost(bytes = "bytes", tag = "3")]
    pub certificate: bytes::Bytes,
    /// The signature.
    #[prost(bytes = "bytes", tag = "4")]
    pub signature: bytes::Bytes,
}

/// A row of an answer. Of a series or instance, the parts above it that are missing are those of the row before.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Row {
    /// The study.
    #[prost(message, optional, boxed, tag = "1")]
    pub study: Option<Box<StudyPart>>,
    /// The series.
    #[prost(message, optional, boxed, tag = "2")]
    pub series: Option<Box<SeriesPart>>,
    /// The instance.
    #[prost(message, optional, boxed, tag = "3")]
    pub instance: Option<Box<InstancePart>>,
}

/// A study in an answer.
#[derive(Clone, PartialEq, prost::Message)]
#[prost(skip_debug)]
pub struct StudyPart {
    /// Study Instance UID.
    #[prost(string, tag = "1")]
    pub study: String,
    /// Whose it is; who had it first comes first.
    #[prost(message, repeated, tag = "2")]
    pub owners: Vec<Owner>,
    /// Attributes of the study.
    #[prost(message, repeated, tag = "3")]
    pub attributes: Vec<Value>,
    /// All patients that instances of it are of.
    #[prost(message, repeated, tag = "4")]
    pub patients: Vec<Patient>,
    /// Modalities of its series.
    #[prost(string, repeated, tag = "5")]
    pub modalities: Vec<String>,
    /// SOP classes of its instances.
    #[prost(string, repeated, tag = "6")]
    pub sop_classes: Vec<String>,
    /// Number of series.
    #[prost(uint64, tag = "7")]
    pub series: u64,
    /// Number of instances.
    #[prost(uint64, tag = "8")]
    pub instances: u64,
    /// Number of contents: an instance may have several.
    #[prost(uint64, tag = "9")]
    pub contents: u64,
    /// SOP Instance UIDs with contents that are at odds.
    #[prost(uint64, tag = "10")]
    pub conflicts: u64,
    /// Original bytes.
    #[prost(uint64, tag = "11")]
    pub bytes: u64,
    /// Whether more is arriving.
    #[prost(bool, tag = "12")]
    pub arriving: bool,
    /// When it last changed: seconds since 1970.
    #[prost(int64, tag = "13")]
    pub updated: i64,
}

/// What an owner of a study has published of it.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Owner {
    /// The peer that sent it.
    #[prost(bytes = "bytes", tag = "1")]
    pub owner: bytes::Bytes,
    /// Version.
    #[prost(uint64, tag = "2")]
    pub version: u64,
    /// Root of the newest version's manifest, or empty.
    #[prost(bytes = "bytes", tag = "3")]
    pub root: bytes::Bytes,
}

/// A patient of a study.
#[derive(Clone, PartialEq, prost::Message)]
#[prost(skip_debug)]
pub struct Patient {
    /// Attributes of the patient.
    #[prost(message, repeated, tag = "1")]
    pub attributes: Vec<Value>,
    /// Instances of the study that are of this patient.
    #[prost(uint64, tag = "2")]
    pub instances: u64,
}

/// A series in an answer.
#[derive(Clone, PartialEq, prost::Message)]
#[prost(skip_debug)]
pub struct SeriesPart {
    /// Series Instance UID.
    #[prost(string, tag = "1")]
    pub series: String,
    /// Attributes of the series.
    #[prost(message, repeated, tag = "2")]
    pub attributes: Vec<Value>,
    /// Number of instances.
    #[prost(uint64, tag = "3")]
    pub instances: u64,
}

/// An instance in an answer.
#[derive(Clone, PartialEq, prost::Message)]
#[prost(skip_debug)]
pub struct InstancePart {
    /// SOP Instance UID.
    #[prost(string, tag = "1")]
    pub sop_instance: String,
    /// SOP Class UID, or empty.
    #[prost(string, tag = "2")]
    pub sop_class: String,
    /// Transfer Syntax UID, or empty.
    #[prost(string, tag = "3")]
    pub transfer_syntax: String,
    /// Attributes of the instance.
    #[prost(message, repeated, tag = "4")]
    pub attributes: Vec<Value>,
    /// BLAKE3 of the whole file.
    #[prost(bytes = "bytes", tag = "5")]
    pub hash: bytes::Bytes,
    /// Id of what it holds, whatever its file meta group says.
    #[prost(bytes = "bytes", tag = "6")]
    pub content: bytes::Bytes,
    /// Length of the file in bytes.
    #[prost(uint64, tag = "7")]
    pub len: u64,
}

/// Ends the answer to a question.
#[derive(Clone, PartialEq, prost::Message)]
pub struct FindEnd {
    /// Whether more rows come behind the last.
    #[prost(bool, tag = "1")]
    pub more: bool,
    /// How many rows there are in all, and one: 0 where they were not counted.
    #[prost(uint64, tag = "2")]
    pub total_and_one: u64,
    /// Whether attributes are still being filled in, so that something may be missing.
    #[prost(bool, tag = "3")]
    pub incomplete: bool,
}

/// A refusal.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Refused {
    /// Why: see [`RefuseCode`].
    #[prost(uint32, tag = "1")]
    pub code: u32,
    /// What to do about it, in words; holds no patient data.
    #[prost(string, tag = "2")]
    pub remedy: String,
}

/// A sign that an end works: reads, hashes, encodes, looks up, reads back or commits.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Working {
    /// How much it has done in this transfer, in a unit of its own; grows as long as the work moves.
    #[prost(uint64, tag = "1")]
    pub done: u64,
}

macro_rules! opaque_debug {
    ($($name:ident),*) => {$(
        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(concat!(stringify!($name), "(..)"))
            }
        }
    )*};
}
// These hold patient data.
opaque_debug!(Value, Fetch, Find, StudyPart, Patient, SeriesPart, InstancePart);

/// Why bytes are not a control message.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum MessageError {
    /// Not protobuf of this schema.
    #[error("a control message could not be read")]
    Malformed,
    /// Well-formed, but of no kind that this program knows.
    #[error("a control message of unknown kind arrived; the other site may be newer")]
    Unknown,
}

impl Body {
    /// The message as it travels.
    #[must_use]
    pub fn into_bytes(self) -> Vec<u8> {
        Envelope { body: Some(self) }.encode_to_vec()
    }

    /// Reads a message. Memory is bounded by a small multiple of `bytes.len()`.
    ///
    /// # Errors
    /// [`MessageError`].
    pub fn from_bytes(bytes: bytes::Bytes) -> Result<Self, MessageError> {
        let envelope = Envelope::decode(bytes).map_err(|_| MessageError::Malformed)?;
        envelope.body.ok_or(MessageError::Unknown)
    }
}
