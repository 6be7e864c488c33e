//! Tables that line up, and fit the terminal where there is one.

use std::borrow::Cow;

use unicode_width::{UnicodeWidthChar as _, UnicodeWidthStr as _};

use crate::output::safe;

/// Which side of its column a text keeps to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Align {
    /// Words.
    Left,
    /// Numbers.
    Right,
}

/// A column of a table.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Column {
    name: &'static str,
    align: Align,
    /// Narrowest width that it may be cut to; `None` when it is never cut.
    cut_to: Option<usize>,
}

impl Column {
    /// Words that are never cut.
    pub(crate) const fn left(name: &'static str) -> Self {
        Self { name, align: Align::Left, cut_to: None }
    }

    /// Numbers, which are never cut.
    pub(crate) const fn right(name: &'static str) -> Self {
        Self { name, align: Align::Right, cut_to: None }
    }

    /// Words that may be cut to `width` where space is short.
    pub(crate) const fn cut(name: &'static str, width: usize) -> Self {
        Self { name, align: Align::Left, cut_to: Some(width) }
    }
}

/// Space between columns.
const GAP: usize = 2;

/// The lines of a table: a heading and the rows, control characters escaped.
///
/// `width` is that of the terminal; `None`, as for a pipe, cuts nothing.
pub(crate) fn lines(columns: &[Column], rows: &[Vec<String>], width: Option<usize>) -> Vec<String> {
    let rows: Vec<Vec<String>> = rows.iter().map(|row| row.iter().map(|cell| safe(cell)).collect()).collect();
    let widest = |index: usize| {
        let cells = rows.iter().filter_map(|row| row.get(index)).map(|cell| wide(cell));
        cells.max().unwrap_or(0).max(columns[index].name.width())
    };
    let mut widths: Vec<usize> = (0..columns.len()).map(widest).collect();
    if let Some(width) = width {
        shrink(columns, &mut widths, width);
    }
    let heading: Vec<String> = columns.iter().map(|column| column.name.to_owned()).collect();
    std::iter::once(&heading).chain(&rows).map(|row| line(columns, &widths, row)).collect()
}

/// Takes space from the columns that may be cut, the widest first.
fn shrink(columns: &[Column], widths: &mut [usize], width: usize) {
    loop {
        let total = widths.iter().sum::<usize>() + GAP * widths.len().saturating_sub(1);
        if total <= width {
            return;
        }
        let spare = |(index, column): (usize, &Column)| {
            let least = column.cut_to?.max(column.name.width());
            (widths[index] > least).then_some(index)
        };
        let Some(index) = columns.iter().enumerate().filter_map(spare).max_by_key(|index| widths[*index]) else {
            return;
        };
        widths[index] -= 1;
    }
}

fn line(columns: &[Column], widths: &[usize], row: &[String]) -> String {
    let mut out = String::new();
    for (index, (column, cell)) in columns.iter().zip(row).enumerate() {
        let cell = cut(cell, widths[index]);
        let space = std::iter::repeat_n(' ', widths[index].saturating_sub(wide(&cell)));
        if index > 0 {
            out.extend(std::iter::repeat_n(' ', GAP));
        }
        match column.align {
            Align::Left => {
                out.push_str(&cell);
                out.extend(space);
            }
            Align::Right => {
                out.extend(space);
                out.push_str(&cell);
            }
        }
    }
    out.truncate(out.trim_end().len());
    out
}

/// Places on the terminal that a text takes.
pub(crate) fn wide(text: &str) -> usize {
    if text.is_ascii() { text.len() } else { text.width() }
}

/// The beginning of a text, with an ellipsis where something is missing.
fn cut(text: &str, width: usize) -> Cow<'_, str> {
    if wide(text) <= width {
        return text.into();
    }
    let mut out = String::new();
    let mut used = 1;
    for c in text.chars() {
        used += c.width().unwrap_or(0);
        if used > width {
            break;
        }
        out.push(c);
    }
    out.push('…');
    out.into()
}

/// Columns of the terminal that standard output goes to; `None` when it goes elsewhere.
pub(crate) fn terminal_width() -> Option<usize> {
    let size = rustix::termios::tcgetwinsize(rustix::stdio::stdout()).ok()?;
    (size.ws_col > 0).then(|| usize::from(size.ws_col))
}

#[cfg(test)]
mod tests {
    use super::*;

    const COLUMNS: [Column; 3] = [Column::left("DATE"), Column::cut("NAME", 6), Column::right("SIZE")];

    fn rows(cells: &[[&str; 3]]) -> Vec<Vec<String>> {
        cells.iter().map(|row| row.iter().map(|cell| (*cell).to_owned()).collect()).collect()
    }

    #[test]
    fn columns_line_up() {
        let rows = rows(&[["2026-01-02", "王小明", "1 B"], ["", "A\tB", "12 MB"]]);
        assert_eq!(
            lines(&COLUMNS, &rows, None),
            ["DATE        NAME     SIZE", "2026-01-02  王小明    1 B", "            A\\tB    12 MB"]
        );
    }

    #[test]
    fn a_narrow_terminal_cuts_names_alone() {
        let rows = rows(&[["2026-01-02", "A very long name indeed", "12 MB"]]);
        let lines = lines(&COLUMNS, &rows, Some(29));
        assert_eq!(lines[1], "2026-01-02  A very lo…  12 MB");
        let lines = super::lines(&COLUMNS, &rows, Some(5));
        assert_eq!(lines[1], "2026-01-02  A ver…  12 MB", "never below what the column allows");
    }
}
