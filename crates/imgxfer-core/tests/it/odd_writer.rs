//! Writes DICOM byte by byte, so that it can be wrong on purpose. All patients are made up.

pub(crate) const CT: &str = "1.2.840.10008.5.1.4.1.1.2";
pub(crate) const EXPLICIT: &str = "1.2.840.10008.1.2.1";
pub(crate) const IMPLICIT: &str = "1.2.840.10008.1.2";
pub(crate) const JPEG: &str = "1.2.840.10008.1.2.4.50";
pub(crate) const ROOT: &str = "1.2.826.0.1.3680043.10.99999";

pub(crate) const ITEM: u32 = 0xfffe_e000;
pub(crate) const ITEM_END: u32 = 0xfffe_e00d;
pub(crate) const SEQUENCE_END: u32 = 0xfffe_e0dd;

/// How elements are written.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Writer {
    pub(crate) implicit: bool,
}

/// One element; `len` lies about the length of the value.
impl Writer {
    pub(crate) fn lying(self, tag: u32, vr: &str, value: &[u8], len: u32) -> Vec<u8> {
        let [a, b, c, d] = tag.to_le_bytes();
        let head = [c, d, a, b];
        let is_long = ["OB", "OW", "SQ", "UN", "UT"].contains(&vr);
        let rest = match () {
            () if self.implicit || tag >> 16 == 0xfffe => len.to_le_bytes().to_vec(),
            () if is_long => [vr.as_bytes(), &[0, 0], &len.to_le_bytes()].concat(),
            () => [vr.as_bytes(), &u16::try_from(len).unwrap().to_le_bytes()].concat(),
        };
        [&head[..], &rest, value].concat()
    }

    /// An element as it should be.
    pub(crate) fn element(self, tag: u32, vr: &str, value: impl AsRef<[u8]>) -> Vec<u8> {
        let mut value = value.as_ref().to_vec();
        if value.len() % 2 == 1 {
            value.push(if ["UI", "OB", "UN"].contains(&vr) { 0 } else { b' ' });
        }
        let len = u32::try_from(value.len()).unwrap();
        self.lying(tag, vr, &value, len)
    }

    /// One of undefined length, with whatever stands behind it.
    pub(crate) fn open(self, tag: u32, vr: &str, value: &[u8]) -> Vec<u8> {
        self.lying(tag, vr, value, u32::MAX)
    }

    pub(crate) fn end(self, tag: u32) -> Vec<u8> {
        self.lying(tag, "", &[], 0)
    }

    pub(crate) fn code(self) -> Vec<u8> {
        let parts = [(0x0008_0100, "SH", "CTABD"), (0x0008_0102, "SH", "99TEST"), (0x0008_0104, "LO", "CT abdomen")];
        parts.iter().flat_map(|(tag, vr, value)| self.element(*tag, vr, value)).collect()
    }
}

/// A data set of a small image, and what is odd of it.
#[derive(Debug, Clone)]
pub(crate) struct Image {
    pub(crate) writer: Writer,
    /// SOP Instance, Study and Series Instance UID.
    pub(crate) sop: String,
    pub(crate) study: String,
    pub(crate) series: String,
    pub(crate) patient: String,
    pub(crate) syntax: &'static str,
    pub(crate) before_patient: Vec<u8>,
    pub(crate) before_pixels: Vec<u8>,
    /// In place of pixel data.
    pub(crate) tail: Option<Vec<u8>>,
    /// Pixel values.
    pub(crate) grey: u8,
}

impl Image {
    /// The image with number `n` of the study with number `study`.
    pub(crate) fn new(study: u32, n: u32) -> Self {
        Self {
            writer: Writer { implicit: false },
            sop: format!("{ROOT}.{study}.1.{n}"),
            study: format!("{ROOT}.{study}"),
            series: format!("{ROOT}.{study}.1"),
            patient: "PAT1".to_owned(),
            syntax: EXPLICIT,
            before_patient: Vec::new(),
            before_pixels: Vec::new(),
            tail: None,
            grey: u8::try_from(n % 200).unwrap(),
        }
    }

    pub(crate) fn implicit(self) -> Self {
        Self { writer: Writer { implicit: true }, syntax: IMPLICIT, ..self }
    }

    pub(crate) fn data_set(&self) -> Vec<u8> {
        let w = self.writer;
        let us = |tag, number: u16| w.element(tag, "US", number.to_le_bytes());
        let mut out = w.element(0x0008_0016, "UI", CT);
        out.extend(w.element(0x0008_0018, "UI", &self.sop));
        out.extend(w.element(0x0008_0020, "DA", "20260102"));
        out.extend(w.element(0x0008_0060, "CS", "CT"));
        out.extend(&self.before_patient);
        out.extend(w.element(0x0010_0010, "PN", "Report^Test"));
        out.extend(w.element(0x0010_0020, "LO", &self.patient));
        out.extend(w.element(0x0020_000d, "UI", &self.study));
        out.extend(w.element(0x0020_000e, "UI", &self.series));
        out.extend([us(0x0028_0002, 1), w.element(0x0028_0004, "CS", "MONOCHROME2"), us(0x0028_0010, 64)].concat());
        out.extend([us(0x0028_0011, 64), us(0x0028_0100, 16), us(0x0028_0101, 12), us(0x0028_0102, 11)].concat());
        out.extend(us(0x0028_0103, 0));
        out.extend(&self.before_pixels);
        let pixels = || w.element(0x7fe0_0010, "OW", vec![self.grey; 64 * 64 * 2]);
        out.extend(self.tail.clone().unwrap_or_else(pixels));
        out
    }

    /// The whole file.
    pub(crate) fn file(&self) -> Vec<u8> {
        let w = Writer { implicit: false };
        let meta = [
            w.element(0x0002_0001, "OB", [0, 1]),
            w.element(0x0002_0002, "UI", CT),
            w.element(0x0002_0003, "UI", format!("{ROOT}.1.1.1")),
            w.element(0x0002_0010, "UI", self.syntax),
        ]
        .concat();
        let len = w.element(0x0002_0000, "UL", u32::try_from(meta.len()).unwrap().to_le_bytes());
        [&[0; 128], &b"DICM"[..], &len, &meta, &self.data_set()].concat()
    }
}

/// Encapsulated pixel data of these fragments behind this offset table.
pub(crate) fn fragments(table: &[u32], fragments: &[Vec<u8>]) -> Vec<u8> {
    let w = Writer { implicit: false };
    let table: Vec<u8> = table.iter().flat_map(|offset| offset.to_le_bytes()).collect();
    let items = fragments.iter().flat_map(|fragment| w.element(ITEM, "", fragment));
    let inside: Vec<u8> = w.element(ITEM, "", table).into_iter().chain(items).chain(w.end(SEQUENCE_END)).collect();
    w.open(0x7fe0_0010, "OB", &inside)
}
