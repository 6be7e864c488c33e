//! What was measured, and how it is printed.

use std::time::Duration;

use crate::corpus::Modality;
use crate::ours::Ours;

/// One unit (a frame or a record) coded once.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sample {
    pub(crate) original: usize,
    pub(crate) encoded: usize,
    pub(crate) encode: Duration,
    pub(crate) decode: Duration,
}

/// One coder on all units, each at its fastest.
#[derive(Debug, Default)]
pub(crate) struct Measure {
    units: Vec<Sample>,
}

impl Measure {
    /// Codes all units once more.
    pub(crate) fn add_run<U>(
        &mut self,
        units: &[U],
        code: impl Fn(&U) -> anyhow::Result<Sample>,
    ) -> anyhow::Result<()> {
        for (number, unit) in units.iter().enumerate() {
            let sample = code(unit)?;
            match self.units.get_mut(number) {
                Some(known) => {
                    known.encode = known.encode.min(sample.encode);
                    known.decode = known.decode.min(sample.decode);
                }
                None => self.units.push(sample),
            }
        }
        Ok(())
    }

    fn original(&self) -> usize {
        self.units.iter().map(|unit| unit.original).sum()
    }

    fn encoded(&self) -> usize {
        self.units.iter().map(|unit| unit.encoded).sum()
    }

    fn encode_mb_s(&self) -> f64 {
        self.original() as f64 / 1e6 / self.units.iter().map(|unit| unit.encode).sum::<Duration>().as_secs_f64()
    }

    fn decode_mb_s(&self) -> f64 {
        self.original() as f64 / 1e6 / self.units.iter().map(|unit| unit.decode).sum::<Duration>().as_secs_f64()
    }
}

/// One modality.
pub(crate) struct Row {
    name: String,
    frames: usize,
    original: usize,
    pub(crate) ours: Vec<Measure>,
    pub(crate) jpeg_ls: Measure,
    pub(crate) packed: usize,
    pub(crate) zstd: Option<usize>,
    pub(crate) jpeg_xl: Option<usize>,
}

impl Row {
    pub(crate) fn new(name: String, modality: &Modality, coders: usize) -> Self {
        Self {
            name,
            frames: modality.frames.len(),
            original: modality.records.iter().map(|record| record.raw.len()).sum(),
            ours: (0..coders).map(|_| Measure::default()).collect(),
            jpeg_ls: Measure::default(),
            packed: 0,
            zstd: None,
            jpeg_xl: None,
        }
    }

    fn ratio(&self, encoded: usize) -> f64 {
        self.original as f64 / encoded.max(1) as f64
    }
}

/// A column: its heading, and the number in each row, where there is one.
struct Column<'a> {
    name: String,
    decimals: usize,
    value: Box<dyn Fn(&Row) -> Option<f64> + 'a>,
}

fn column<'a>(name: impl Into<String>, value: impl Fn(&Row) -> Option<f64> + 'a) -> Column<'a> {
    Column { name: name.into(), decimals: 2, value: Box::new(value) }
}

/// Prints all tables, each with the geometric mean over modalities below.
pub(crate) fn print(rows: &[Row], coders: &[Ours]) {
    let paths: Vec<&str> = coders.iter().map(|coder| coder.path).fold(Vec::new(), |mut paths, path| {
        if !paths.contains(&path) {
            paths.push(path);
        }
        paths
    });
    let on = |path: &'static str| coders.iter().enumerate().filter(move |(_, coder)| coder.path == path);
    let Some(first) = coders.first() else { return };
    let levels: Vec<(usize, u8)> = on(first.path).map(|(index, coder)| (index, coder.level.get())).collect();

    let rivals: [(&str, fn(&Row) -> Option<usize>); 4] = [
        ("JPEG-LS", |row| Some(row.jpeg_ls.encoded())),
        ("JPEG-LS+pack", |row| Some(row.packed)),
        ("zstd-19", |row| row.zstd),
        ("JXL e7", |row| row.jpeg_xl),
    ];
    let mut ratios: Vec<Column<'_>> = vec![column("MB", |row| Some(row.original as f64 / 1e6))];
    ratios[0].decimals = 1;
    ratios.push(Column { decimals: 0, ..column("frames", |row| Some(row.frames as f64)) });
    for (index, level) in &levels {
        ratios.push(column(format!("L{level}"), move |row| Some(row.ratio(row.ours[*index].encoded()))));
    }
    for (name, encoded) in &rivals {
        ratios.push(column(*name, |row| Some(row.ratio(encoded(row)?))));
    }
    show("Ratio: original bytes for each encoded one", ratios, rows, 2);

    for (name, encoded) in &rivals {
        let of = |(index, level): &(usize, u8)| {
            let index = *index;
            let value = move |row: &Row| Some(encoded(row)? as f64 / row.ours[index].encoded() as f64);
            Column { decimals: 3, ..column(format!("L{level}"), value) }
        };
        show(&format!("Ratio of ours : ratio of {name}"), levels.iter().map(of).collect(), rows, 0);
    }

    for path in paths {
        let mut speeds = vec![
            Column { decimals: 0, ..column("JPEG-LS enc", |row| Some(row.jpeg_ls.encode_mb_s())) },
            Column { decimals: 0, ..column("dec MB/s", |row| Some(row.jpeg_ls.decode_mb_s())) },
        ];
        for (index, coder) in on(path) {
            let value = move |row: &Row| Some(row.ours[index].encode_mb_s() / row.jpeg_ls.encode_mb_s());
            speeds.push(column(format!("L{} enc", coder.level.get()), value));
        }
        for (index, coder) in on(path) {
            let value = move |row: &Row| Some(row.ours[index].decode_mb_s() / row.jpeg_ls.decode_mb_s());
            speeds.push(column(format!("L{} dec", coder.level.get()), value));
        }
        show(&format!("Speed of ours : speed of JPEG-LS, one thread, {path}"), speeds, rows, 0);
    }
}

/// Prints a table, columns without a number left out; the geometric mean leaves out the first `sums` columns.
fn show(title: &str, columns: Vec<Column<'_>>, rows: &[Row], sums: usize) {
    let columns: Vec<_> =
        columns.into_iter().filter(|column| rows.iter().any(|row| (column.value)(row).is_some())).collect();
    if columns.is_empty() {
        return;
    }
    println!("\n{title}");
    let widths: Vec<usize> = columns.iter().map(|column| column.name.len().max(7)).collect();
    let cells = |cells: Vec<String>| -> String {
        cells.iter().zip(&widths).map(|(cell, width)| format!("  {cell:>width$}")).collect()
    };
    println!("{:<14}{}", "", cells(columns.iter().map(|column| column.name.clone()).collect()));
    let text =
        |value: Option<f64>, decimals: usize| value.map_or("-".to_owned(), |value| format!("{value:.decimals$}"));
    for row in rows {
        let values = columns.iter().map(|column| text((column.value)(row), column.decimals)).collect();
        println!("{:<14}{}", row.name, cells(values));
    }
    let mean = |(number, column): (usize, &Column<'_>)| {
        let values: Option<Vec<f64>> = rows.iter().map(|row| (column.value)(row)).collect();
        text(values.filter(|_| number >= sums).map(|values| geometric_mean(&values)), column.decimals)
    };
    println!("{:<14}{}", "geometric mean", cells(columns.iter().enumerate().map(mean).collect()));
}

fn geometric_mean(values: &[f64]) -> f64 {
    (values.iter().map(|value| value.ln()).sum::<f64>() / values.len().max(1) as f64).exp()
}
