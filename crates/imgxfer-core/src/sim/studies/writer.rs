//! Writes Part 10 files: just enough for what studies here hold.

use super::pixels::Picture;
use super::random::Random;
use super::{StudySpec, Syntax};
use crate::units::{to_u32, to_u64};

/// Writes elements in one encoding.
#[derive(Debug, Default)]
pub(super) struct Writer {
    pub(super) out: Vec<u8>,
    pub(super) implicit: bool,
    pub(super) big_endian: bool,
}

impl Writer {
    pub(super) fn u16(&mut self, n: u16) {
        self.out.extend_from_slice(&if self.big_endian { n.to_be_bytes() } else { n.to_le_bytes() });
    }

    pub(super) fn u32(&mut self, n: u32) {
        self.out.extend_from_slice(&if self.big_endian { n.to_be_bytes() } else { n.to_le_bytes() });
    }

    pub(super) fn tag(&mut self, tag: (u16, u16)) {
        self.u16(tag.0);
        self.u16(tag.1);
    }

    /// Everything before a value.
    pub(super) fn header(&mut self, tag: (u16, u16), vr: &str, len: u32) {
        self.tag(tag);
        if self.implicit {
            return self.u32(len);
        }
        self.out.extend_from_slice(vr.as_bytes());
        if matches!(vr, "OB" | "OW" | "OV" | "SQ" | "UN" | "UT") {
            self.u16(0);
            self.u32(len);
        } else {
            self.u16(u16::try_from(len).unwrap_or(u16::MAX));
        }
    }

    pub(super) fn bytes(&mut self, tag: (u16, u16), vr: &str, value: &[u8]) {
        self.header(tag, vr, to_u32(value.len().next_multiple_of(2)));
        self.out.extend_from_slice(value);
        if !value.len().is_multiple_of(2) {
            self.out.push(if matches!(vr, "UI" | "OB" | "UN") { 0 } else { b' ' });
        }
    }

    pub(super) fn text(&mut self, tag: (u16, u16), vr: &str, value: &str) {
        self.bytes(tag, vr, value.as_bytes());
    }

    pub(super) fn number(&mut self, tag: (u16, u16), value: u16) {
        self.header(tag, "US", 2);
        self.u16(value);
    }

    /// A sequence of undefined length with one item of undefined length.
    pub(super) fn sequence(&mut self, tag: (u16, u16), content: impl FnOnce(&mut Self)) {
        self.header(tag, "SQ", u32::MAX);
        self.item(u32::MAX);
        content(self);
        self.tag((0xfffe, 0xe00d));
        self.u32(0);
        self.tag((0xfffe, 0xe0dd));
        self.u32(0);
    }

    pub(super) fn item(&mut self, len: u32) {
        self.tag((0xfffe, 0xe000));
        self.u32(len);
    }
}

/// A whole file.
pub(super) fn part10(spec: &StudySpec, series: u32, instance: u32) -> Vec<u8> {
    let mut file = file_meta(spec, series, instance);
    let mut writer = Writer {
        out: Vec::new(),
        implicit: spec.syntax == Syntax::Implicit,
        big_endian: spec.syntax == Syntax::BigEndian,
    };
    header(spec, series, instance, &mut writer);
    pixel_data(spec, spec.pixel_seed(series, instance), &mut writer);
    if spec.syntax == Syntax::Deflated {
        deflate(&writer.out, &mut file)
    } else {
        file.append(&mut writer.out)
    }
    file
}

/// Raw deflate, in memory; the compressor takes everything it is given.
fn deflate(data: &[u8], out: &mut Vec<u8>) {
    let mut compressor = flate2::Compress::new(flate2::Compression::fast(), false);
    loop {
        out.reserve(64 << 10);
        let rest = usize::try_from(compressor.total_in()).ok().and_then(|done| data.get(done..)).unwrap_or(&[]);
        match compressor.compress_vec(rest, out, flate2::FlushCompress::Finish) {
            Ok(flate2::Status::Ok | flate2::Status::BufError) => {}
            Ok(flate2::Status::StreamEnd) | Err(_) => return,
        }
    }
}

fn sop_class(spec: &StudySpec) -> &'static str {
    match (spec.modality.as_str(), spec.frames) {
        ("CT", 1) => "1.2.840.10008.5.1.4.1.1.2",
        ("CT", _) => "1.2.840.10008.5.1.4.1.1.2.1",
        ("MR", 1) => "1.2.840.10008.5.1.4.1.1.4",
        ("MR", _) => "1.2.840.10008.5.1.4.1.1.4.1",
        ("MG", _) => "1.2.840.10008.5.1.4.1.1.1.2",
        ("US", 1) => "1.2.840.10008.5.1.4.1.1.6.1",
        ("US", _) => "1.2.840.10008.5.1.4.1.1.3.1",
        _ => "1.2.840.10008.5.1.4.1.1.7",
    }
}

/// Preamble and group 0002.
pub(super) fn file_meta(spec: &StudySpec, series: u32, instance: u32) -> Vec<u8> {
    let mut group = Writer::default();
    group.bytes((0x0002, 0x0001), "OB", &[0, 1]);
    group.text((0x0002, 0x0002), "UI", sop_class(spec));
    group.text((0x0002, 0x0003), "UI", spec.identity(series, instance).sop_instance.as_str());
    group.text((0x0002, 0x0010), "UI", spec.syntax.uid());
    group.text((0x0002, 0x0012), "UI", "2.25.333");
    group.text((0x0002, 0x0013), "SH", "IMGXFER_SIM");
    let mut file = Writer { out: vec![0; 128], ..Writer::default() };
    file.out.extend_from_slice(b"DICM");
    file.bytes((0x0002, 0x0000), "UL", &to_u32(group.out.len()).to_le_bytes());
    file.out.append(&mut group.out);
    file.out
}

/// The data set up to the pixel data.
pub(super) fn header(spec: &StudySpec, series: u32, instance: u32, w: &mut Writer) {
    let identity = spec.identity(series, instance);
    w.text((0x0008, 0x0005), "CS", "ISO_IR 192");
    w.text((0x0008, 0x0008), "CS", "ORIGINAL\\PRIMARY\\AXIAL");
    w.text((0x0008, 0x0016), "UI", sop_class(spec));
    w.text((0x0008, 0x0018), "UI", identity.sop_instance.as_str());
    w.text((0x0008, 0x0020), "DA", &spec.study_date);
    w.text((0x0008, 0x0030), "TM", &format!("{:02}1530.{:06}", 8 + series % 10, instance));
    w.text((0x0008, 0x0050), "SH", &spec.accession_number);
    w.text((0x0008, 0x0060), "CS", &spec.modality);
    w.text((0x0008, 0x0070), "LO", "imgxfer");
    w.text((0x0008, 0x0090), "PN", "Referrer^Synthetic");
    w.text((0x0008, 0x1030), "LO", "Synthetic study");
    w.text((0x0008, 0x103e), "LO", &format!("Series {series}"));
    // A referenced image: its UIDs stand inside a sequence and are not those of this instance.
    w.sequence((0x0008, 0x1140), |w| {
        w.text((0x0008, 0x1150), "UI", "1.2.840.10008.5.1.4.1.1.4");
        w.text((0x0008, 0x1155), "UI", "2.25.77");
        w.sequence((0x0040, 0xa170), |w| {
            w.text((0x0008, 0x0100), "SH", "121311");
            w.text((0x0008, 0x0018), "UI", "2.25.78");
            w.text((0x0020, 0x000d), "UI", "2.25.79");
        });
    });
    w.text((0x0010, 0x0010), "PN", &spec.patient_name);
    w.text((0x0010, 0x0020), "LO", &spec.patient_id);
    w.text((0x0010, 0x0030), "DA", "19700101");
    w.text((0x0010, 0x0040), "CS", "O");
    acquisition(w, spec, series, instance);
    w.text((0x0020, 0x000d), "UI", identity.study.as_str());
    w.text((0x0020, 0x000e), "UI", identity.series.as_str());
    w.text((0x0020, 0x0010), "SH", "1");
    w.text((0x0020, 0x0011), "IS", &series.to_string());
    w.text((0x0020, 0x0013), "IS", &instance.to_string());
    w.text((0x0020, 0x0032), "DS", &format!("-120.5\\-120.5\\{}.25", instance * 2));
    w.text((0x0020, 0x0037), "DS", "1\\0\\0\\0\\1\\0");
    image(spec, w);
}

/// Group 0018, and a private block of a few kilobytes that differs a little from instance to instance.
fn acquisition(w: &mut Writer, spec: &StudySpec, series: u32, instance: u32) {
    w.text((0x0018, 0x0015), "CS", "CHEST");
    w.text((0x0018, 0x0050), "DS", "1.25");
    w.text((0x0018, 0x0060), "DS", "120");
    w.text((0x0018, 0x1030), "LO", "Synthetic protocol");
    w.text((0x0018, 0x5100), "CS", "HFS");
    w.text((0x0019, 0x0010), "LO", "IMGXFER PRIVATE");
    for element in 0..40u16 {
        w.text((0x0019, 0x1000 + element), "LO", &format!("parameter {element} of {}", 1000 + u32::from(element) * 7));
    }
    let mut block = Vec::new();
    Random(spec.seed ^ u64::from(series)).fill(&mut block, 1536);
    block.extend_from_slice(&instance.to_le_bytes());
    w.bytes((0x0019, 0x10f0), "UN", &block);
}

fn image(spec: &StudySpec, w: &mut Writer) {
    w.number((0x0028, 0x0002), spec.samples);
    w.text((0x0028, 0x0004), "CS", if spec.samples == 3 { "RGB" } else { "MONOCHROME2" });
    if spec.samples == 3 {
        w.number((0x0028, 0x0006), 0);
    }
    if spec.frames > 1 {
        w.text((0x0028, 0x0008), "IS", &spec.frames.to_string());
    }
    w.number((0x0028, 0x0010), spec.rows);
    w.number((0x0028, 0x0011), spec.columns);
    w.text((0x0028, 0x0030), "DS", "0.7\\0.7");
    w.number((0x0028, 0x0100), spec.bits_allocated);
    w.number((0x0028, 0x0101), spec.bits_stored);
    w.number((0x0028, 0x0102), spec.bits_stored - 1);
    w.number((0x0028, 0x0103), 0);
    w.text((0x0028, 0x1050), "DS", "40");
    w.text((0x0028, 0x1051), "DS", "400");
}

pub(super) fn picture(spec: &StudySpec) -> Picture {
    Picture {
        rows: spec.rows,
        columns: spec.columns,
        samples: spec.samples,
        bits_allocated: spec.bits_allocated,
        bits_stored: spec.bits_stored,
        big_endian: spec.syntax == Syntax::BigEndian,
    }
}

fn pixel_data(spec: &StudySpec, seed: u64, w: &mut Writer) {
    let picture = picture(spec);
    if spec.syntax.is_encapsulated() {
        return fragments(spec, &picture, seed, w);
    }
    let mut pixels = Vec::new();
    for frame in 0..u64::from(spec.frames) {
        picture.draw(seed.wrapping_add(frame), &mut pixels);
    }
    w.bytes((0x7fe0, 0x0010), if spec.bits_allocated == 8 { "OB" } else { "OW" }, &pixels);
}

/// Fragments: pictures as they are, or noise of about a third of their length, begun and ended as JPEG is.
fn fragments(spec: &StudySpec, picture: &Picture, seed: u64, w: &mut Writer) {
    let mut random = Random(seed);
    let per_frame = if spec.syntax == Syntax::EncapsulatedBasicTable { 2 } else { 1 };
    let mut items = Vec::new();
    let mut offsets = Vec::new();
    let mut at = 0u64;
    for _ in 0..spec.frames {
        offsets.push(at);
        for _ in 0..per_frame {
            let mut item = Vec::new();
            if spec.syntax == Syntax::EncapsulatedUncompressed {
                picture.draw(seed.wrapping_add(at), &mut item);
                item.resize(item.len().next_multiple_of(2), 0);
            } else {
                let len = (picture.frame_bytes() / (3 * per_frame) + random.below(64)).next_multiple_of(2);
                item.extend_from_slice(&[0xff, 0xd8]);
                random.fill(&mut item, usize::try_from(len).unwrap_or(0));
                item.extend_from_slice(&[0xff, 0xd9]);
            }
            at += to_u64(item.len()) + 8;
            items.push(item);
        }
    }
    if spec.syntax == Syntax::EncapsulatedExtendedTable {
        let table: Vec<u8> = offsets.iter().flat_map(|offset| offset.to_le_bytes()).collect();
        let lengths: Vec<u8> = items.iter().flat_map(|item| to_u64(item.len()).to_le_bytes()).collect();
        w.bytes((0x7fe0, 0x0001), "OV", &table);
        w.bytes((0x7fe0, 0x0002), "OV", &lengths);
    }
    w.header((0x7fe0, 0x0010), "OB", u32::MAX);
    if spec.syntax == Syntax::EncapsulatedBasicTable {
        w.item(to_u32(offsets.len() * 4));
        for offset in offsets {
            w.u32(u32::try_from(offset).unwrap_or(u32::MAX));
        }
    } else {
        w.item(0);
    }
    for item in items {
        w.item(to_u32(item.len()));
        w.out.extend_from_slice(&item);
    }
    w.tag((0xfffe, 0xe0dd));
    w.u32(0);
}
