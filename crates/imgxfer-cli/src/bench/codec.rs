//! Compression of pixel data, by modality and level, beside zstd.

use std::collections::BTreeMap;
use std::path::PathBuf;

use imgxfer_core::codec::{Level, Registry};
use imgxfer_core::send::{FileSource, OtherFiles, printable};
use imgxfer_core::survey::{PixelKind, Survey, Surveyed, Unreadable};
use imgxfer_core::units::{human_bytes, to_u64};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde::Serialize;

use super::tally::{Buffers, Tally, Way};
use crate::exit::{Exit, problem};
use crate::output::{Output, safe};
use crate::table::{Column, lines};

/// zstd's levels that ours are shown beside.
const ZSTD_LEVELS: [i32; 3] = [1, 3, 19];

/// One line of the result for machines. The first eight names are a contract.
#[derive(Debug, Serialize)]
struct Line<'a> {
    level: String,
    modality: &'a str,
    frames: u64,
    original_bytes: u64,
    encoded_bytes: u64,
    encode_mb_s: f64,
    decode_mb_s: f64,
    exact: bool,
    ratio: f64,
}

/// What was found in the paths.
#[derive(Debug, Default)]
struct Found {
    survey: Survey,
    with_pixels: u64,
    no_pixels: u64,
    not_dicom: u64,
    failed: u64,
}

/// The sums of every way on every kind of pixel data.
#[derive(Debug)]
struct Results {
    ways: Vec<Way>,
    // By kind, then way.
    tallies: Vec<Vec<Tally>>,
    failed: u64,
}

/// Measures, on one core. Memory is that of a record, whatever the files hold.
pub(crate) fn run(
    paths: &[PathBuf],
    level: Option<Level>,
    limit: Option<u64>,
    output: &Output,
) -> anyhow::Result<Exit> {
    let found = survey(paths, limit, output);
    tell(&found, output);
    if found.survey.kinds().is_empty() {
        let what = if found.failed > 0 { "nothing with pixel data could be read" } else { "there is no pixel data" };
        return Err(problem(Exit::NotFound, what));
    }
    let results = measure(&found.survey, ways(level), output);
    print(found.survey.kinds(), &results, output)?;
    let wrong: u64 = results.tallies.iter().flatten().map(|tally| tally.wrong).sum();
    Ok(match (wrong, found.failed + results.failed) {
        (0, 0) => Exit::Done,
        (0, _) => Exit::Partial,
        _ => Exit::Integrity,
    })
}

fn survey(paths: &[PathBuf], limit: Option<u64>, output: &Output) -> Found {
    let source = FileSource::new(paths, OtherFiles::Skip);
    let mut found = Found::default();
    for (label, reason) in source.failures() {
        output.warn(&format!("{label}: {reason}"));
        found.failed += 1;
    }
    let bar = bar(output, to_u64(source.files().count()), "files looked at");
    let mut left = limit.unwrap_or(u64::MAX);
    for path in source.files() {
        bar.inc(1);
        let len = std::fs::metadata(path).map_or(0, |metadata| metadata.len());
        if len > left {
            continue;
        }
        left -= len;
        match found.survey.add(path) {
            Ok(Surveyed::NoPixels) => found.no_pixels += 1,
            Ok(Surveyed::NotDicom) => found.not_dicom += 1,
            Ok(_) => found.with_pixels += 1,
            Err(error) => {
                found.failed += 1;
                bar.suspend(|| unreadable(&error, output));
            }
        }
    }
    bar.finish_and_clear();
    found
}

fn tell(found: &Found, output: &Output) {
    let Found { survey, with_pixels, no_pixels, not_dicom, failed } = found;
    let bytes = human_bytes(survey.kinds().iter().map(|kind| kind.bytes).sum());
    output.say(&format!(
        "{bytes} of pixel data in {with_pixels} files, one core; \
         skipped: {no_pixels} without pixel data, {not_dicom} not DICOM; {failed} failed"
    ));
}

fn unreadable(error: &Unreadable, output: &Output) {
    output.warn(&format!("{}: {}", printable(&error.path), error.source));
}

fn ways(level: Option<Level>) -> Vec<Way> {
    match level {
        Some(level) => vec![Way::Level(level)],
        None => Level::all().map(Way::Level).chain(ZSTD_LEVELS.map(Way::Zstd)).collect(),
    }
}

fn measure(survey: &Survey, ways: Vec<Way>, output: &Output) -> Results {
    let registry = Registry::default();
    let records = survey.records();
    let mut tallies = vec![vec![Tally::default(); ways.len()]; survey.kinds().len()];
    let mut failed = 0;
    let (mut raw, mut buffers) = (Vec::new(), Buffers::default());
    let bar = bar(output, to_u64(records.len()), "records coded");
    for record in &records {
        raw.clear();
        if let Err(error) = survey.read(record, &mut raw) {
            bar.suspend(|| unreadable(&error, output));
            failed += 1;
            continue;
        }
        for (way, tally) in ways.iter().zip(&mut tallies[record.kind()]) {
            if !tally.add(way, &registry, (&raw, record.shape()), &mut buffers) {
                let names: Vec<_> = survey.paths(record).map(printable).collect();
                let names = names.join(", ");
                bar.suspend(|| output.warn(&format!("level {} is not exact for {names}", way.name())));
            }
        }
        bar.inc(1);
    }
    bar.finish_and_clear();
    Results { ways, tallies, failed }
}

fn bar(output: &Output, len: u64, what: &'static str) -> ProgressBar {
    if !output.shows_progress() {
        return ProgressBar::hidden();
    }
    let bar = ProgressBar::with_draw_target(Some(len), ProgressDrawTarget::stderr_with_hz(8)).with_message(what);
    // The template is a constant that a test has tried.
    let style = ProgressStyle::with_template(BAR).unwrap_or_else(|_| ProgressStyle::default_bar());
    bar.with_style(style.progress_chars("=> "))
}

const BAR: &str = "{bar:24} {percent:>3} %  {pos} of {len} {msg}, {eta} left";

fn print(kinds: &[PixelKind], results: &Results, output: &Output) -> anyhow::Result<()> {
    let by_name: BTreeMap<&str, usize> = kinds.iter().enumerate().map(|(at, kind)| (kind.name.as_str(), at)).collect();
    let mut rows = Vec::new();
    for (name, index) in &by_name {
        let name = safe(name);
        for (way, tally) in results.ways.iter().zip(&results.tallies[*index]) {
            let frames = kinds[*index].frames;
            output.object(&line(way, &name, frames, tally))?;
            rows.push(row(way, &name, frames, tally));
        }
    }
    let native: Vec<usize> = (0..kinds.len()).filter(|at| kinds[*at].native).collect();
    let all: Vec<usize> = (0..kinds.len()).collect();
    for (name, of) in [("all native", &native), ("all", &all)] {
        // A sum of one says nothing new.
        if of.len() > 1 && (name == "all native" || of.len() > native.len()) {
            sum(name, of, kinds, results, &mut rows);
        }
    }
    output.lines(&table(&rows, results.ways.len()))
}

/// The rows of some kinds together.
fn sum(name: &str, of: &[usize], kinds: &[PixelKind], results: &Results, rows: &mut Vec<Vec<String>>) {
    let frames = of.iter().map(|at| kinds[*at].frames).sum();
    for (index, way) in results.ways.iter().enumerate() {
        let mut all = Tally::default();
        of.iter().for_each(|at| all.merge(&results.tallies[*at][index]));
        rows.push(row(way, name, frames, &all));
    }
}

/// The table, with a line between modalities.
fn table(rows: &[Vec<String>], rows_each: usize) -> Vec<String> {
    let columns = [
        Column::left("MODALITY"),
        Column::left("LEVEL"),
        Column::right("FRAMES"),
        Column::right("ORIGINAL"),
        Column::right("ENCODED"),
        Column::right("RATIO"),
        Column::right("ENCODE MB/s"),
        Column::right("DECODE MB/s"),
        Column::left("EXACT"),
    ];
    let lines = lines(&columns, rows, None);
    let mut parted = vec![lines[0].clone()];
    for (index, line) in lines[1..].iter().enumerate() {
        if index > 0 && rows_each > 1 && index.is_multiple_of(rows_each) {
            parted.push(String::new());
        }
        parted.push(line.clone());
    }
    parted
}

fn line<'a>(way: &Way, modality: &'a str, frames: u64, tally: &Tally) -> Line<'a> {
    Line {
        level: way.name(),
        modality,
        frames,
        original_bytes: tally.original,
        encoded_bytes: tally.encoded,
        encode_mb_s: tally.encode_mb_s(),
        decode_mb_s: tally.decode_mb_s(),
        exact: tally.wrong == 0,
        ratio: tally.ratio(),
    }
}

fn row(way: &Way, modality: &str, frames: u64, tally: &Tally) -> Vec<String> {
    let copied = matches!(way, Way::Level(Level::STORE));
    let speed = |mb_s: f64| if copied { "-".to_owned() } else { format!("{mb_s:.0}") };
    vec![
        modality.to_owned(),
        way.name(),
        frames.to_string(),
        human_bytes(tally.original),
        human_bytes(tally.encoded),
        format!("{:.3}", tally.ratio()),
        speed(tally.encode_mb_s()),
        speed(tally.decode_mb_s()),
        if tally.wrong == 0 { "yes".to_owned() } else { "NO".to_owned() },
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bar_can_be_drawn() {
        assert!(ProgressStyle::with_template(BAR).is_ok());
    }

    #[test]
    fn modalities_stand_apart() {
        let tally = Tally { original: 3_000_000, encoded: 1_000_000, wrong: 1, ..Tally::default() };
        let ways = ways(None);
        let rows: Vec<_> =
            ["CT", "MR"].iter().flat_map(|name| ways.iter().map(|way| row(way, name, 6, &tally))).collect();
        let lines = table(&rows, ways.len());
        assert_eq!(lines.iter().filter(|line| line.is_empty()).count(), 1);
        assert!(lines[8].starts_with("CT        zstd-19       6   3.00 MB  1.00 MB  3.000"), "{}", lines[8]);
        assert!(lines[8].ends_with("NO"));
        assert_eq!(super::ways(Some(Level::SERIES)).iter().map(Way::name).collect::<Vec<_>>(), ["3"]);
    }
}
