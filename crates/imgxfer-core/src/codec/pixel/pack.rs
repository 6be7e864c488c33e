//! Packing: a sample's rank among the values in use instead of the value.
//!
//! Scanners often use few of the values they could: after a rescale every second or fifth, or a value
//! for "outside" far from all others. Without the gaps the model's residuals are smaller.

use super::bits::{LOG_BITS, Reader, log2, put};
use super::plane::Malformed;
use crate::units::to_usize;

/// Samples that are looked at to see whether packing may pay.
const LOOKED_AT: usize = 1 << 14;
/// Least expected gain for packing, in units of 2^-12 bits a sample.
const GAIN_MIN: u32 = (1 << LOG_BITS) / 16;
/// What packing each frame by itself must gain over packing all together: more tables are to be written.
const FRAME_GAIN_MIN: u32 = (1 << LOG_BITS) / 2;
/// Fewest samples of a frame that is packed by itself: finding its list takes as long as coding so many, and
/// a payload cannot make the decoder keep a list for every few bytes.
const FRAME_SAMPLES_MIN: usize = 1 << 12;
/// Most bytes of lists for each sample of the plane: a value takes at most four, for the gap before it and
/// its run; and each list, which is of one sample or more, one for its end.
const TABLE_BYTES_A_SAMPLE: usize = 5;

/// How the samples of a plane were packed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Packing {
    /// The least value was taken off.
    Offset(u16),
    /// Values in use, ascending: one list for the plane, or one for each frame.
    Ranks(Vec<Vec<u16>>),
}

/// Packs the samples of a plane of frames of `frame` samples. Returns how, and the largest sample now.
///
/// Whether it pays is measured: the steps from sample to sample before and after, and the table's length.
pub(super) fn pack(samples: &mut [u16], frame: usize) -> (Packing, u16) {
    let (least, most) = range(samples);
    let lists = ranks(samples, frame.max(1));
    if !lists.is_empty() {
        let parts = if lists.len() == 1 { samples.len() } else { frame };
        for (values, part) in lists.iter().zip(samples.chunks_mut(parts)) {
            let places = Places::of(values);
            for sample in part {
                *sample = places.at(*sample);
            }
        }
        let longest = lists.iter().map(Vec::len).max().unwrap_or(1);
        return (Packing::Ranks(lists), u16::try_from(longest - 1).unwrap_or(u16::MAX));
    }
    if least > 0 {
        for sample in samples.iter_mut() {
            *sample -= least;
        }
    }
    (Packing::Offset(least), most - least)
}

/// Values in use: a list for each frame, one for all, or none when packing does not pay.
fn ranks(samples: &[u16], frame: usize) -> Vec<Vec<u16>> {
    let frames = samples.len() / frame;
    if frames > 1 && frame >= FRAME_SAMPLES_MIN {
        let middle = &samples[frames / 2 * frame..][..frame];
        let step = (frame / LOOKED_AT).max(1) | 1;
        // With fewer samples the gaps are wider, so what promises nothing here need not be looked at in full.
        if gain_of_some(middle, step) >= FRAME_GAIN_MIN {
            let own = values(middle);
            let looked_at = crate::units::to_u64(step);
            let apart = cost(middle, step, Some(&Places::of(&own))) * looked_at + table_bits(&own);
            let together = cost(middle, step, Some(&Places::of(&values(samples)))).min(cost(middle, step, None));
            if gain(&own, middle, step) >= FRAME_GAIN_MIN && apart < together * looked_at {
                return samples.chunks(frame).map(values).collect();
            }
        }
    }
    let step = (samples.len() / LOOKED_AT).max(1) | 1;
    if gain_of_some(samples, step) < GAIN_MIN {
        return Vec::new();
    }
    let all = values(samples);
    let looked_at = crate::units::to_u64(step);
    let packed = cost(samples, step, Some(&Places::of(&all))) * looked_at + table_bits(&all);
    if packed < cost(samples, step, None) * looked_at { vec![all] } else { Vec::new() }
}

/// The gain, were every `step`th sample all there is.
fn gain_of_some(samples: &[u16], step: usize) -> u32 {
    let some: Vec<u16> = samples.iter().step_by(step).copied().collect();
    gain(&values(&some), &some, 1)
}

/// The least and the largest sample; twice 0 where there is none.
fn range(samples: &[u16]) -> (u16, u16) {
    let least = samples.iter().fold(u16::MAX, |least, sample| least.min(*sample));
    let most = samples.iter().fold(0, |most, sample| most.max(*sample));
    (least.min(most), most)
}

/// Values that occur, ascending.
fn values(samples: &[u16]) -> Vec<u16> {
    // Most planes use a small part of all values: only that is laid out and gone through.
    let (least, most) = range(samples);
    let mut used = vec![false; usize::from(most - least) + 1];
    for sample in samples {
        used[usize::from(*sample - least)] = true;
    }
    (least..=most).zip(used).filter(|(_, used)| *used).map(|(value, _)| value).collect()
}

/// What there is to say of each of some values.
struct Places<T> {
    first: u16,
    of: Vec<T>,
}

impl<T: Copy + Default> Places<T> {
    /// By value in use, of which there is at least one, from the pairs that are given.
    fn from(values: &[u16], pairs: impl Iterator<Item = (u16, T)>) -> Self {
        let (first, last) = (values.first().copied().unwrap_or(0), values.last().copied().unwrap_or(0));
        let mut places = Self { first, of: vec![T::default(); usize::from(last - first) + 1] };
        for (value, what) in pairs {
            places.of[usize::from(value - first)] = what;
        }
        places
    }

    /// Of a value in use.
    fn at(&self, value: u16) -> T {
        self.of.get(usize::from(value.wrapping_sub(self.first))).copied().unwrap_or_default()
    }
}

impl Places<u16> {
    /// The place of each value in the list.
    fn of(values: &[u16]) -> Self {
        Self::from(values, values.iter().copied().zip(0..))
    }
}

/// The mean logarithm of the distance from a sample's value to the next in use: quick to find, and small
/// when packing is of no use.
fn gain(values: &[u16], samples: &[u16], step: usize) -> u32 {
    let far = values.array_windows().filter(|[one, next]| next - one > 1);
    if far.clone().next().is_none() {
        return 0;
    }
    let logs = Places::from(values, far.map(|[one, next]| (*one, log2(u32::from(next - one)))));
    let (mut sum, mut count) = (0u64, 0u64);
    for sample in samples.iter().step_by(step) {
        sum += u64::from(logs.at(*sample));
        count += 1;
    }
    u32::try_from(sum / count.max(1)).unwrap_or(u32::MAX)
}

/// Estimated bits of every `step`th sample, by its distance from the one before.
fn cost(samples: &[u16], step: usize, places: Option<&Places<u16>>) -> u64 {
    let place = |value: u16| places.map_or(value, |places| places.at(value));
    let bits: u64 = (1..samples.len())
        .step_by(step)
        .map(|at| u64::from(log2(1 + 2 * u32::from(place(samples[at]).abs_diff(place(samples[at - 1]))))))
        .sum();
    bits >> LOG_BITS
}

/// Estimated bits of a list of values: about four for each run's end.
fn table_bits(values: &[u16]) -> u64 {
    let runs = 1 + values.windows(2).filter(|pair| pair[1] - pair[0] > 1).count();
    8 * crate::units::to_u64(runs)
}

impl Packing {
    /// Undoes the packing of a plane of frames of `frame` samples.
    pub(super) fn undo(&self, samples: &mut [u16], frame: usize) -> Result<(), Malformed> {
        match self {
            Self::Offset(0) => {}
            Self::Offset(least) => {
                for sample in samples {
                    *sample = sample.wrapping_add(*least);
                }
            }
            Self::Ranks(lists) => {
                let part = if lists.len() == 1 { samples.len() } else { frame };
                for (values, part) in lists.iter().zip(samples.chunks_mut(part.max(1))) {
                    for sample in part {
                        *sample = *values.get(usize::from(*sample)).ok_or(Malformed)?;
                    }
                }
            }
        }
        Ok(())
    }

    /// Writes 0 and the offset; or the number of lists, and for each the lengths of runs of values,
    /// not in use and in use in turn, compressed with zstd together.
    pub(super) fn write(&self, out: &mut Vec<u8>) {
        match self {
            Self::Offset(least) => {
                out.push(0);
                put(u32::from(*least), out);
            }
            Self::Ranks(lists) => {
                put(lists.len() as u32, out);
                let mut runs = Vec::new();
                for values in lists {
                    write_runs(values, &mut runs);
                }
                put_block(&runs, out);
            }
        }
    }

    /// Reads what [`Packing::write`] wrote, for a plane of that many frames of `frame` samples.
    pub(super) fn read(reader: &mut Reader<'_>, frames: usize, frame: usize) -> Result<Self, Malformed> {
        let lists = usize::try_from(reader.number()?).map_err(|_| Malformed)?;
        if lists == 0 {
            let least = u16::try_from(reader.number()?).map_err(|_| Malformed)?;
            return Ok(Self::Offset(least));
        }
        if lists != 1 && (lists != frames || frame < FRAME_SAMPLES_MIN) {
            return Err(Malformed);
        }
        // No more values are in use than there are samples: so lists take no more memory than the plane.
        let samples = frames * frame;
        let most = if lists == 1 { samples } else { frame };
        let runs = read_block(reader, TABLE_BYTES_A_SAMPLE * samples)?;
        let mut runs = Reader::new(&runs);
        let ranks = (0..lists).map(|_| read_runs(&mut runs, most)).collect::<Result<_, _>>()?;
        if !runs.rest().is_empty() {
            return Err(Malformed);
        }
        Ok(Self::Ranks(ranks))
    }
}

/// The lengths of runs: not in use, in use, not in use, ... up to the last value in use; then 0.
fn write_runs(values: &[u16], out: &mut Vec<u8>) {
    let mut end = 0u32;
    let mut from = 0;
    while from < values.len() {
        let first = u32::from(values[from]);
        let mut to = from + 1;
        while to < values.len() && values[to] == values[to - 1] + 1 {
            to += 1;
        }
        put(first - end + u32::from(from == 0), out);
        put((to - from) as u32, out);
        end = first + (to - from) as u32;
        from = to;
    }
    put(0, out);
}

/// Reads what [`write_runs`] wrote, at most so many values.
fn read_runs(runs: &mut Reader<'_>, most: usize) -> Result<Vec<u16>, Malformed> {
    let mut values = Vec::new();
    let mut end: u32 = 0;
    loop {
        let gap = runs.number()?;
        if gap == 0 {
            return Ok(values);
        }
        // The first gap is one more than it is, as it may be none.
        let gap = gap - u32::from(values.is_empty());
        let count = runs.number()?;
        let first = end.checked_add(gap).ok_or(Malformed)?;
        end = first.checked_add(count).filter(|end| *end <= 1 << 16 && count > 0).ok_or(Malformed)?;
        if to_usize(u64::from(count)) > most - values.len() {
            return Err(Malformed);
        }
        values.extend((first..end).map(|value| (value & 0xFFFF) as u16));
    }
}

/// Writes bytes compressed with zstd: their number and the compressed ones.
pub(super) fn put_block(bytes: &[u8], out: &mut Vec<u8>) {
    let packed = zstd::bulk::compress(bytes, 9).expect("zstd into memory fails for want of memory only");
    put(packed.len() as u32, out);
    out.extend_from_slice(&packed);
}

/// Reads bytes that [`put_block`] wrote, at most `most`.
pub(super) fn read_block(reader: &mut Reader<'_>, most: usize) -> Result<Vec<u8>, Malformed> {
    crate::codec::zstd::decompress(reader.block()?, most).map_err(|_| Malformed)
}
