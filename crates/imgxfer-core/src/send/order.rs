//! The order in which instances go: images of one place in the patient stand together.
//!
//! A time series (functional, perfusion, cine) shows each place again and again, and a codec that predicts a
//! frame from one before it needs them in one record. Files often come volume by volume, so that the same
//! place comes round only after dozens of others. Within a window of neighbours the places are taken in the
//! order of their first image, and the images of each in the order in which they came. Where no place comes
//! twice, as in most studies, nothing changes.
//!
//! The order depends on the instances alone, and a window ends where an instance's hash says so: the same
//! study has the same pages each time, and one instance more disturbs one window.

use std::collections::{HashMap, VecDeque};
use std::io;

use super::source::{Shortfall, Source, SourceInstance, SourceItem, Totals};
use crate::chunk::ChunkClass;

/// Frames no longer than this are put together: eight or more share a record.
const FRAME_BYTES_MAX: u32 = 128 << 10;
/// Instances in a window: at least, and at most. They are read before the first of them goes.
const WINDOW_MIN: usize = 256;
const WINDOW_MAX: usize = 512;
/// Original bytes in a window.
const WINDOW_BYTES_MAX: u64 = 16 << 20;

/// A source whose images are put in order.
pub(super) struct Ordered {
    source: Box<dyn Source>,
    window: Vec<SourceInstance>,
    window_bytes: u64,
    out: VecDeque<SourceItem>,
    end: bool,
}

impl Ordered {
    pub(super) fn new(source: Box<dyn Source>) -> Self {
        Self { source, window: Vec::new(), window_bytes: 0, out: VecDeque::new(), end: false }
    }

    fn take_in(&mut self, instance: Box<SourceInstance>) {
        if !is_small_frame(&instance) {
            self.flush();
            self.out.push_back(SourceItem::Instance(instance));
            return;
        }
        let alike = |first: &SourceInstance| {
            first.entry.study == instance.entry.study
                && first.entry.series == instance.entry.series
                && first.shape == instance.shape
        };
        if !self.window.first().is_none_or(alike) || self.window_bytes + instance.entry.len > WINDOW_BYTES_MAX {
            self.flush();
        }
        let ends = instance.entry.hash.as_bytes()[30] & 0x7f == 0;
        self.window_bytes += instance.entry.len;
        self.window.push(*instance);
        let count = self.window.len();
        if count >= WINDOW_MAX || (ends && count >= WINDOW_MIN) {
            self.flush();
        }
    }

    fn flush(&mut self) {
        let mut ranks = HashMap::new();
        for instance in &self.window {
            let next = ranks.len();
            ranks.entry(instance.position).or_insert(next);
        }
        self.window_bytes = 0;
        let mut window = std::mem::take(&mut self.window);
        window.sort_by_key(|instance| ranks.get(&instance.position).copied());
        self.out.extend(window.into_iter().map(|instance| SourceItem::Instance(Box::new(instance))));
    }
}

/// Whether it is one frame that shares its record, with a known place.
fn is_small_frame(instance: &SourceInstance) -> bool {
    let mut pixels = instance.entry.chunks.iter().filter(|chunk| chunk.class == ChunkClass::Pixels);
    let small = pixels.next().is_some_and(|chunk| chunk.len <= FRAME_BYTES_MAX) && pixels.next().is_none();
    small && instance.position.is_some() && instance.shape.is_some()
}

impl Source for Ordered {
    fn totals(&self) -> Totals {
        self.source.totals()
    }

    fn shortfall(&self) -> Shortfall {
        self.source.shortfall()
    }

    fn next_item(&mut self) -> io::Result<Option<SourceItem>> {
        while self.out.is_empty() && !self.end {
            match self.source.next_item()? {
                Some(SourceItem::Instance(instance)) => self.take_in(instance),
                Some(SourceItem::Nothing) => {
                    // What has come goes; what comes later may stand beside it no more.
                    self.flush();
                    self.out.push_back(SourceItem::Nothing);
                }
                Some(other) => self.out.push_back(other),
                None => {
                    self.flush();
                    self.end = true;
                }
            }
        }
        Ok(self.out.pop_front())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::PixelShape;
    use crate::ids::{ChunkId, InstanceHash};
    use crate::manifest::ChunkEntry;
    use crate::send::source::NoContent;
    use crate::testing::{Sample, peer};

    struct List(VecDeque<SourceItem>);

    impl Source for List {
        fn totals(&self) -> Totals {
            Totals::default()
        }

        fn next_item(&mut self) -> io::Result<Option<SourceItem>> {
            Ok(self.0.pop_front())
        }
    }

    fn shape(rows: u32) -> PixelShape {
        PixelShape {
            rows,
            columns: 80,
            samples: 1,
            bits_allocated: 16,
            bits_stored: 12,
            high_bit: 11,
            signed: false,
            planar: false,
            big_endian: false,
        }
    }

    fn image(number: u64, series: u64, position: Option<u64>, rows: u32) -> SourceItem {
        let mut entry = Sample::new(peer(1), 1, series, number, 0).entry();
        let chunk = |n: u64, len, class| ChunkEntry {
            id: ChunkId::of(&[number, n].map(u64::to_le_bytes).concat()),
            len,
            class,
        };
        entry.chunks = vec![chunk(0, 2000, ChunkClass::Header), chunk(1, rows * 160, ChunkClass::Pixels)];
        entry.len = 2000 + u64::from(rows) * 160;
        entry.hash = InstanceHash::from_bytes(*entry.chunks[0].id.as_bytes());
        let label = number.to_string();
        let shape = Some(shape(rows));
        SourceItem::Instance(Box::new(SourceInstance {
            entry,
            label,
            shape,
            position,
            truncated: false,
            content: std::sync::Arc::new(NoContent),
        }))
    }

    fn order(items: impl IntoIterator<Item = SourceItem>) -> Vec<String> {
        let mut ordered = Ordered::new(Box::new(List(items.into_iter().collect())));
        let mut labels = Vec::new();
        while let Some(item) = ordered.next_item().unwrap() {
            match item {
                SourceItem::Nothing => labels.push("nothing".to_owned()),
                SourceItem::Instance(instance) => labels.push(instance.label),
                SourceItem::Skipped { label, .. }
                | SourceItem::Copy { label, .. }
                | SourceItem::Failed { label, .. } => labels.push(label),
            }
        }
        labels
    }

    #[test]
    fn what_has_come_does_not_wait_for_more() {
        let items = [image(0, 1, Some(0), 80), image(1, 1, Some(1), 80), SourceItem::Nothing, image(2, 1, Some(0), 80)];
        assert_eq!(order(items), ["0", "1", "nothing", "2"]);
    }

    #[test]
    fn volumes_become_series_of_one_place_each() {
        let volumes = (0..12).map(|n| image(n, 1, Some(n % 4), 80));
        assert_eq!(order(volumes), ["0", "4", "8", "1", "5", "9", "2", "6", "10", "3", "7", "11"]);
    }

    #[test]
    fn what_shows_each_place_once_stays_as_it_is() {
        let names = |n: u64| (0..n).map(|n| n.to_string()).collect::<Vec<_>>();
        assert_eq!(order((0..600).map(|n| image(n, 1, Some(n), 80))), names(600));
        assert_eq!(order((0..40).map(|n| image(n, 1, None, 80))), names(40), "no position");
        assert_eq!(order((0..40).map(|n| image(n, 1, Some(n % 2), 2000))), names(40), "long frames");
        assert_eq!(order((0..40).map(|n| image(n, n % 2, Some(n % 4), 80))), names(40), "series in turns");
        assert_eq!(order((0..40).map(|n| image(n, 1, Some(n % 4), 80 + u32::try_from(n % 2).unwrap()))), names(40));
        assert_eq!(order([]), names(0));
    }

    #[test]
    fn windows_are_bounded_and_every_item_comes_once() {
        let mut items: Vec<SourceItem> = (0..3000).map(|n| image(n, 1, Some(n % 36), 80)).collect();
        items.insert(700, SourceItem::Skipped { label: "x".to_owned(), reason: String::new() });
        let labels = order(items);
        assert_eq!(labels.len(), 3001);
        let mut numbers: Vec<u64> = labels.iter().filter_map(|label| label.parse().ok()).collect();
        let moved = (0..).zip(&numbers).map(|(at, n): (u64, &u64)| at.abs_diff(*n)).max().unwrap();
        assert!(moved > 36 && moved <= 512, "{moved}");
        let neighbours = numbers.windows(2).filter(|pair| pair[0] % 36 == pair[1] % 36).count();
        assert!(neighbours > 2400, "{neighbours} of 3000 follow an image of the same place");
        numbers.sort_unstable();
        assert!(numbers.into_iter().eq(0..3000));
    }
}
