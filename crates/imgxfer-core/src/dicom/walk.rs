//! The walk over the elements of a data set: iterative, with a bounded stack, lenient where files are.
//!
//! Sequences are entered to know that they nest no deeper than [`DEPTH_MAX`] and that their lengths
//! agree, so that parsers which trust a file can be given it. Of what is inside them only a few values of
//! the items of top-level ones are kept. Where a container of defined length does not hold what it should, the walk goes
//! on behind it; where one of undefined length has no end, at what must belong to its outside.

use super::element::{Element, Encoding, HEADER_BYTES_MAX, ITEM, ITEM_END, SEQUENCE_END, is_known_vr};
use super::fragments::{self, Fragments};
use super::tags;
use super::values::{ELEMENT_BYTES_MAX, ITEM_VALUE_BYTES_MAX, Values};
use super::window::Input;
use super::{NotDicom, Tag};
use crate::units::{to_u64, to_usize};

/// Deepest nesting of sequences. Real files stay below ten.
pub(super) const DEPTH_MAX: usize = 64;

/// Pixel data as the walk meets it.
#[derive(Debug)]
pub(super) enum RawPixels {
    /// Of defined length.
    Native { offset: u64, len: u64, declared_len: u64, element: Tag },
    /// Of undefined length.
    Encapsulated(Fragments),
}

/// What the walk found.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) values: Values,
    pub(super) pixels: Option<RawPixels>,
    /// Offset and length of the value of (7FE0,0001).
    pub(super) extended_offset_table: Option<(u64, u64)>,
    /// A value, item or sequence runs past the end of the file.
    pub(super) truncated: bool,
    /// Something did not agree and was passed over.
    pub(super) irregular: bool,
    /// The walk stopped before the end of the file: zeros, or nothing that could be read, stand there.
    pub(super) gave_up: bool,
    /// The highest tag of a top-level element.
    pub(super) highest: Tag,
}

/// A sequence or item that the walk is inside of.
#[derive(Debug, Clone, Copy)]
struct Container {
    is_sequence: bool,
    /// Of a sequence its own, of an item that of the sequence that it is in.
    sequence: Tag,
    /// Its length is given: it ends at `limit`.
    is_defined: bool,
    /// Nothing in it reaches past here.
    limit: u64,
    encoding: Encoding,
    /// Of an item: the tag of its newest element, and where what would stand behind its sequence may begin: at the first
    /// of the elements, ascending from there on, whose tag is higher than the sequence's.
    newest: Tag,
    outside: Option<u64>,
}

enum Step {
    Next,
    Stop,
}

pub(super) struct Walk<'i, I> {
    input: &'i mut I,
    position: u64,
    root: Encoding,
    stack: Vec<Container>,
    depth: usize,
    /// The top-level sequence that was entered last and the number of its items so far, where values of them are kept.
    kept_items: Option<(Tag, usize)>,
    /// Nothing behind this tag is wanted.
    last: Tag,
    /// How often the walk may still go back, and how many zeros it may still pass over.
    returns_left: u32,
    zeros_left: u64,
    found: Found,
}

/// Sequences without an end that are found out only at the end of the file, for each of which it is read again.
const RETURNS_MAX: u32 = 8;
/// Zeros that are passed over between elements before the UIDs.
const ZEROS_MAX: u64 = 64 << 10;

/// Walks a data set that begins at `offset`.
pub(super) fn walk<I: Input>(input: &mut I, offset: u64, encoding: Encoding) -> Result<Found, NotDicom> {
    walk_to(input, offset, encoding, Tag(u32::MAX))
}

/// The same up to the first top-level element behind the tag `last`; elements ascend (PS3.5 section 7.1).
pub(super) fn walk_to<I: Input>(input: &mut I, offset: u64, encoding: Encoding, last: Tag) -> Result<Found, NotDicom> {
    let found = Found {
        values: Values::new(encoding),
        pixels: None,
        extended_offset_table: None,
        truncated: false,
        irregular: false,
        gave_up: false,
        highest: Tag(0),
    };
    let mut walk = Walk {
        input,
        position: offset,
        root: encoding,
        stack: Vec::new(),
        depth: 0,
        kept_items: None,
        last,
        returns_left: RETURNS_MAX,
        zeros_left: ZEROS_MAX,
        found,
    };
    while let Step::Next = walk.step()? {}
    Ok(walk.found)
}

impl<I: Input> Walk<'_, I> {
    /// One element, item or delimiter. Every step moves on by 8 bytes or leaves a container.
    fn step(&mut self) -> Result<Step, NotDicom> {
        while self.stack.last().is_some_and(|top| top.is_defined && self.position >= top.limit) {
            self.pop();
        }
        let encoding = self.stack.last().map_or(self.root, |top| top.encoding);
        let in_sequence = self.stack.last().is_some_and(|top| top.is_sequence);
        let inside = self.limit().saturating_sub(self.position);
        let bytes = self.input.peek(self.position, HEADER_BYTES_MAX)?;
        let available = to_u64(bytes.len());
        let all_zero = bytes.iter().all(|&b| b == 0);
        let element = match in_sequence {
            true => Element::parse(bytes, encoding),
            false => likely(bytes, encoding, self.root, inside),
        };
        if all_zero && available >= 8 && self.stack.is_empty() {
            return Ok(self.zeros());
        }
        let Some(element) = element.filter(|e| e.header_len <= inside) else {
            return Ok(self.short_of_header(available, all_zero));
        };
        match element.tag {
            tag if tag > self.last && self.stack.is_empty() => Ok(Step::Stop),
            _ if in_sequence => self.in_sequence(element),
            ITEM_END | SEQUENCE_END => Ok(self.delimiter_in_data_set(element.tag)),
            ITEM => Ok(self.item_in_data_set()),
            _ => self.element(element, encoding),
        }
    }

    /// Padding to the block of some medium, or room for what is not written yet: no element has the tag (0000,0000).
    fn zeros(&mut self) -> Step {
        (self.found.irregular, self.found.gave_up) = (true, true);
        if self.found.values.has_uids() || self.zeros_left == 0 {
            return Step::Stop;
        }
        self.zeros_left = self.zeros_left.saturating_sub(8);
        self.position += 8;
        Step::Next
    }

    fn limit(&self) -> u64 {
        self.stack.last().map_or_else(|| self.input.end(), |top| top.limit.min(self.input.end()))
    }

    /// Fewer bytes left than the header of an element has.
    fn short_of_header(&mut self, available: u64, all_zero: bool) -> Step {
        if self.limit() < self.input.end() {
            return self.abandon();
        }
        if self.go_back() {
            return Step::Next;
        }
        if available == 0 && self.stack.is_empty() {
            self.found.truncated |= self.position > self.input.end();
        } else if !self.stack.is_empty() || !all_zero {
            self.found.truncated = true;
        }
        Step::Stop
    }

    fn in_sequence(&mut self, element: Element) -> Result<Step, NotDicom> {
        match element.tag {
            ITEM => {
                self.position += element.header_len;
                if let (1, Some((_, items))) = (self.stack.len(), &mut self.kept_items) {
                    *items += 1;
                }
                self.push(None, element.len, self.stack.last().map_or(self.root, |top| top.encoding))
            }
            SEQUENCE_END => {
                self.position += element.header_len;
                // Some writers put one behind a sequence of defined length too.
                match self.stack.last() {
                    Some(top) if top.is_defined => self.found.irregular = true,
                    _ => self.pop(),
                }
                Ok(Step::Next)
            }
            _ if self.stack.last().is_some_and(|top| top.is_defined) => Ok(self.abandon()),
            // Zeros where the delimiter should be, and an end of an item that has ended.
            Tag(0) if element.len == Some(0) => {
                (self.position, self.found.irregular) = (self.position + 8, true);
                self.pop();
                Ok(Step::Next)
            }
            ITEM_END => {
                (self.position, self.found.irregular) = (self.position + 8, true);
                Ok(Step::Next)
            }
            _ => self.end_unsaid(),
        }
    }

    /// Something other than an item in a sequence of undefined length: if it is an element of what the sequence stands
    /// in, the sequence ends here.
    fn end_unsaid(&mut self) -> Result<Step, NotDicom> {
        let below = self.stack.len().checked_sub(2).and_then(|at| self.stack.get(at));
        let encoding = below.map_or(self.root, |below| below.encoding);
        let inside = self.limit().saturating_sub(self.position);
        let element = likely(self.input.peek(self.position, HEADER_BYTES_MAX)?, encoding, self.root, inside);
        let sequence = self.stack.last().map_or(Tag(0), |top| top.sequence);
        let is_outside = |element: Element| {
            let known = encoding.implicit || element.vr.is_some_and(is_known_vr);
            // The delimiter of an item ends the sequence in it as well.
            element.tag > sequence && (element.tag.group() == 0xfffe || known && fits(element, inside))
        };
        if !element.is_some_and(is_outside) {
            return Ok(self.abandon());
        }
        self.found.irregular = true;
        self.pop();
        Ok(Step::Next)
    }

    /// An item right in a data set: the one before it has no end, or it belongs to nothing.
    fn item_in_data_set(&mut self) -> Step {
        match self.stack.last() {
            Some(item) if !item.is_defined => {
                self.found.irregular = true;
                self.pop();
                Step::Next
            }
            _ => self.abandon(),
        }
    }

    fn delimiter_in_data_set(&mut self, tag: Tag) -> Step {
        self.position += 8;
        let expected = tag == ITEM_END && self.stack.last().is_some_and(|top| !top.is_defined);
        if expected {
            self.pop();
            return Step::Next;
        }
        self.found.irregular = true;
        // The end of the sequence ends an item that was left open.
        let is_open = |c: &Container| !c.is_defined;
        if tag == SEQUENCE_END && self.stack.iter().rev().take(2).filter(|c| is_open(c)).count() == 2 {
            self.pop();
            self.pop();
        }
        Step::Next
    }

    fn element(&mut self, element: Element, encoding: Encoding) -> Result<Step, NotDicom> {
        self.found.irregular |= element.guessed;
        if let Some(item) = self.stack.last_mut() {
            if element.tag <= item.newest {
                item.outside = None;
            }
            if element.tag > item.sequence && item.outside.is_none() {
                item.outside = Some(self.position);
            }
            item.newest = element.tag;
        }
        self.position += element.header_len;
        if self.stack.is_empty() {
            // What looked like the end was none.
            self.found.gave_up = false;
            self.found.highest = self.found.highest.max(element.tag);
            self.kept_items = Values::keeps_items(element.tag).then_some((element.tag, 0));
        }
        let Some(len) = element.len else { return self.undefined_length(element, encoding) };
        let room = self.limit().saturating_sub(self.position);
        match (self.stack.len(), self.kept_items) {
            (0, _) => self.keep(element, len.min(room), len)?,
            (2, Some((sequence, items))) if len <= room && Values::keeps_in_item(sequence, element.tag) => {
                let value = self.input.peek(self.position, to_usize(len).min(ITEM_VALUE_BYTES_MAX))?;
                self.found.values.keep_in_item(sequence, items, element.tag, value);
            }
            _ => {}
        }
        let inner = self.inner(element, encoding)?;
        if element.may_be_sequence() && len >= 8 && self.begins_with_item(element, inner)? {
            return self.push(Some(element.tag), Some(len), inner);
        }
        if len > room {
            return Ok(self.overrun(element));
        }
        self.position += len;
        Ok(Step::Next)
    }

    fn undefined_length(&mut self, element: Element, encoding: Encoding) -> Result<Step, NotDicom> {
        if !element.holds_fragments() {
            let inner = self.inner(element, encoding)?;
            self.found.irregular |= !element.may_be_sequence();
            return self.push(Some(element.tag), None, inner);
        }
        let is_image = self.stack.is_empty() && element.tag == tags::PIXEL_DATA && self.found.pixels.is_none();
        let limit = self.limit();
        let fragments = fragments::walk(self.input, self.position, limit, encoding, is_image)?;
        self.position = fragments.end;
        let delimited = fragments.delimited;
        let at_end = self.input.end().saturating_sub(fragments.end) < 8;
        if is_image {
            self.found.pixels = Some(RawPixels::Encapsulated(fragments));
        }
        if delimited {
            return Ok(Step::Next);
        }
        if at_end {
            self.found.truncated = true;
            return Ok(Step::Stop);
        }
        Ok(self.abandon())
    }

    /// How the items of a value are written. What is unknown is implicit little endian inside (PS3.5 section 6.2.2);
    /// some writers of big endian keep that.
    fn inner(&mut self, element: Element, outer: Encoding) -> Result<Encoding, NotDicom> {
        if element.vr != Some(*b"UN") {
            return Ok(outer);
        }
        let first = self.input.peek(self.position, 4)?.first_chunk::<4>().copied();
        let big = first.map(|first| Encoding::IMPLICIT_BIG.tag(first));
        let is_big = outer.big_endian && matches!(big, Some(ITEM | SEQUENCE_END));
        Ok(if is_big { Encoding::IMPLICIT_BIG } else { Encoding::IMPLICIT })
    }

    /// Whether a value begins with an item. One of VR `SQ` must, whatever its length says.
    fn begins_with_item(&mut self, element: Element, inner: Encoding) -> Result<bool, NotDicom> {
        if element.vr == Some(*b"SQ") {
            return Ok(true);
        }
        let bytes = self.input.peek(self.position, 4)?;
        Ok(bytes.first_chunk::<4>().is_some_and(|first| inner.tag(*first) == ITEM))
    }

    /// Keeps what is wanted of a top-level element.
    fn keep(&mut self, element: Element, len: u64, declared_len: u64) -> Result<(), NotDicom> {
        match element.tag {
            tags::PIXEL_DATA | tags::FLOAT_PIXEL_DATA | tags::DOUBLE_FLOAT_PIXEL_DATA
                if self.found.pixels.is_none() && declared_len > 0 =>
            {
                let offset = self.position;
                self.found.pixels = Some(RawPixels::Native { offset, len, declared_len, element: element.tag });
            }
            tags::EXTENDED_OFFSET_TABLE if len == declared_len => {
                self.found.extended_offset_table = Some((self.position, len));
            }
            tag if Values::keeps(tag) && self.kept_items.is_none() && len == declared_len => {
                let value = self.input.peek(self.position, to_usize(len).min(ELEMENT_BYTES_MAX))?;
                let first = self.found.values.keep(tag, value);
                self.found.irregular |= !first;
            }
            _ => {}
        }
        Ok(())
    }

    /// Enters a sequence with this tag, or an item.
    fn push(&mut self, sequence: Option<Tag>, len: Option<u64>, encoding: Encoding) -> Result<Step, NotDicom> {
        if sequence.is_some() {
            if self.depth == DEPTH_MAX {
                return Err(NotDicom::TooDeep { offset: self.position });
            }
            self.depth += 1;
        }
        let outer = self.limit();
        let end = len.map_or(outer, |len| self.position.saturating_add(len));
        if end > outer {
            if outer == self.input.end() {
                self.found.truncated = true;
            } else {
                self.found.irregular = true;
            }
        }
        self.stack.push(Container {
            is_sequence: sequence.is_some(),
            sequence: sequence.or_else(|| self.stack.last().map(|top| top.sequence)).unwrap_or(Tag(0)),
            is_defined: len.is_some(),
            limit: end.min(outer),
            encoding,
            newest: Tag(0),
            outside: None,
        });
        Ok(Step::Next)
    }

    fn pop(&mut self) {
        if self.stack.pop().is_some_and(|c| c.is_sequence) {
            self.depth -= 1;
        }
    }

    /// The value of this element is longer than what holds it.
    fn overrun(&mut self, element: Element) -> Step {
        // Not the beginning of an element: something else stands there.
        let is_none = element.guessed || self.stack.is_empty() && element.tag < self.found.highest;
        if self.limit() < self.input.end() || is_none {
            return self.abandon();
        }
        if self.go_back() {
            return Step::Next;
        }
        self.found.truncated = true;
        Step::Stop
    }

    /// Gives up the innermost container whose end is known; without one, the rest of the file.
    fn abandon(&mut self) -> Step {
        self.found.irregular = true;
        if self.stack.iter().all(|container| !container.is_defined) && self.go_back() {
            return Step::Next;
        }
        while let Some(top) = self.stack.last().copied() {
            self.pop();
            if top.is_defined {
                self.position = top.limit;
                return Step::Next;
            }
        }
        self.found.gave_up = true;
        Step::Stop
    }

    /// At the end: if the UIDs were not found, and the walk is inside of a sequence that never ended, goes back to where
    /// that sequence's outside may go on.
    fn go_back(&mut self) -> bool {
        if !I::REWINDS || self.found.values.has_uids() || self.returns_left == 0 {
            return false;
        }
        let open = |at: usize| self.stack.get(at).is_some_and(|container| !container.is_defined);
        let unended = |at: &usize| at.checked_sub(1).is_some_and(open) && self.stack[*at].outside.is_some();
        let innermost = (0..self.stack.len()).rev().take_while(|at| open(*at)).find(unended);
        let Some((item, outside)) = innermost.and_then(|at| Some((at, self.stack.get(at)?.outside?))) else {
            return false;
        };
        while self.stack.len() >= item {
            self.pop();
        }
        self.returns_left -= 1;
        (self.position, self.found.irregular) = (outside, true);
        true
    }
}

/// The header that most likely stands here: what `encoding` makes of it, unless its value would not fit in `inside`
/// bytes and another way of writing headers makes one that does. In a data set that is explicit, items of unknown
/// elements should be implicit and often are not.
fn likely(bytes: &[u8], encoding: Encoding, root: Encoding, inside: u64) -> Option<Element> {
    let element = Element::parse(bytes, encoding)?;
    let is_in_unknown = encoding.implicit && !root.implicit;
    if element.tag.group() == 0xfffe || !is_in_unknown && fits(element, inside) {
        return Some(element);
    }
    let other = Element::parse_other(bytes, encoding).filter(|other| fits(*other, inside));
    Some(other.unwrap_or(element))
}

/// Whether an element ends within so many bytes from its beginning, or says that it has no length and may have none.
fn fits(element: Element, inside: u64) -> bool {
    match element.len {
        Some(len) => len <= inside.saturating_sub(element.header_len),
        None => element.may_be_sequence() || element.holds_fragments(),
    }
}
