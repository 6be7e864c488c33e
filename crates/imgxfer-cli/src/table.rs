//! Tables that line up, and fit the terminal where there is one.

use std::borrow::Cow;

use unicode_width::{UnicodeWidthChar as _, UnicodeWidthStr as _};

use crate::output::escaped;

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
    /// Where even narrow columns find no room, those with the greatest number go first; 0 for one that stays.
    goes: u8,
}

impl Column {
    /// Words that are never cut.
    pub(crate) const fn left(name: &'static str) -> Self {
        Self { name, align: Align::Left, cut_to: None, goes: 0 }
    }

    /// Numbers, which are never cut.
    pub(crate) const fn right(name: &'static str) -> Self {
        Self { name, align: Align::Right, cut_to: None, goes: 0 }
    }

    /// Words that may be cut to `width` where space is short.
    pub(crate) const fn cut(name: &'static str, width: usize) -> Self {
        Self { name, align: Align::Left, cut_to: Some(width), goes: 0 }
    }

    /// It is left out where space is short, and before those with a smaller number.
    pub(crate) const fn goes(mut self, order: u8) -> Self {
        self.goes = order;
        self
    }
}

/// Space between columns.
const GAP: usize = 2;

/// The lines of a table: a heading and the rows, control characters escaped.
///
/// `width` is that of the terminal; `None`, as for a pipe, cuts nothing and leaves nothing out.
pub(crate) fn lines(columns: &[Column], rows: &[Vec<String>], width: Option<usize>) -> Vec<String> {
    let rows: Vec<Vec<Cell<'_>>> = rows.iter().map(|row| row.iter().map(|cell| Cell::of(cell)).collect()).collect();
    let widest = |index: usize| {
        let cells = rows.iter().filter_map(|row| row.get(index)).map(|cell| cell.width);
        cells.max().unwrap_or(0).max(columns[index].name.width())
    };
    let mut shown: Vec<(usize, usize)> = (0..columns.len()).map(|index| (index, widest(index))).collect();
    if let Some(width) = width {
        leave_out(columns, &mut shown, width);
        shrink(columns, &mut shown, width);
    }
    let heading: Vec<Cell<'_>> = columns.iter().map(|column| Cell::of(column.name)).collect();
    std::iter::once(&heading).chain(&rows).map(|row| line(columns, &shown, row)).collect()
}

/// Whether a column is shown at this width.
pub(crate) fn shows(columns: &[Column], rows: &[Vec<String>], width: Option<usize>, name: &str) -> bool {
    let heading = lines(columns, rows, width).into_iter().next().unwrap_or_default();
    heading.ends_with(name) || heading.contains(&format!("{name}  "))
}

/// A text that is safe on a terminal, and the places that it takes there.
struct Cell<'a> {
    text: Cow<'a, str>,
    width: usize,
}

impl<'a> Cell<'a> {
    fn of(text: &'a str) -> Self {
        let text = escaped(text);
        let width = wide(&text);
        Self { text, width }
    }
}

/// The narrowest that a column may be.
fn least(column: &Column, natural: usize) -> usize {
    column.cut_to.map_or(natural, |cut_to| cut_to.max(column.name.width()).min(natural))
}

fn total(widths: impl ExactSizeIterator<Item = usize>) -> usize {
    let gaps = GAP * widths.len().saturating_sub(1);
    widths.sum::<usize>() + gaps
}

/// Drops columns until the narrowest form of the others fits.
fn leave_out(columns: &[Column], shown: &mut Vec<(usize, usize)>, width: usize) {
    while total(shown.iter().map(|(index, natural)| least(&columns[*index], *natural))) > width {
        let goes = |at: &usize| columns[shown[*at].0].goes;
        let Some(at) = (0..shown.len()).filter(|at| goes(at) > 0).max_by_key(goes) else { return };
        shown.remove(at);
    }
}

/// Takes space from the columns that may be cut, the widest first.
fn shrink(columns: &[Column], shown: &mut [(usize, usize)], width: usize) {
    let natural: Vec<usize> = shown.iter().map(|(_, natural)| *natural).collect();
    while total(shown.iter().map(|(_, now)| *now)) > width {
        let spare = |at: &usize| shown[*at].1 > least(&columns[shown[*at].0], natural[*at]);
        let Some(at) = (0..shown.len()).filter(spare).max_by_key(|at| shown[*at].1) else { return };
        shown[at].1 -= 1;
    }
}

fn line(columns: &[Column], shown: &[(usize, usize)], row: &[Cell<'_>]) -> String {
    let mut out = String::with_capacity(total(shown.iter().map(|(_, width)| *width)));
    for (at, (index, width)) in shown.iter().enumerate() {
        let (column, Some(cell)) = (&columns[*index], row.get(*index)) else { continue };
        let (text, taken) = if cell.width <= *width {
            (Cow::Borrowed(&*cell.text), cell.width)
        } else {
            let text = cut(&cell.text, *width);
            let taken = wide(&text);
            (Cow::Owned(text), taken)
        };
        let space = std::iter::repeat_n(' ', width.saturating_sub(taken));
        if at > 0 {
            out.extend(std::iter::repeat_n(' ', GAP));
        }
        match column.align {
            Align::Left => {
                out.push_str(&text);
                out.extend(space);
            }
            Align::Right => {
                out.extend(space);
                out.push_str(&text);
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

/// A text in lines of at most `width` places, each behind `indent`; no word is broken.
pub(crate) fn wrap(indent: &str, text: &str, width: Option<usize>) -> Vec<String> {
    let width = width.unwrap_or(usize::MAX);
    let mut lines: Vec<String> = Vec::new();
    for word in text.split_whitespace() {
        match lines.last_mut() {
            Some(line) if wide(line) + 1 + wide(word) <= width => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(format!("{indent}{word}")),
        }
    }
    lines
}

/// The beginning of a text that is too wide, with an ellipsis for what is missing.
pub(crate) fn cut(text: &str, width: usize) -> String {
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
    out
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

    #[test]
    fn columns_go_in_their_order_where_cutting_is_not_enough() {
        let columns = [COLUMNS[0].goes(1), COLUMNS[1], COLUMNS[2].goes(2)];
        let rows = rows(&[["2026-01-02", "A very long name indeed", "12 MB"]]);
        let at = |width| lines(&columns, &rows, Some(width))[1].clone();
        assert_eq!(at(25), "2026-01-02  A ver…  12 MB");
        assert_eq!(at(24), "2026-01-02  A very long…");
        assert_eq!(at(18), "2026-01-02  A ver…");
        assert_eq!(at(17), "A very long name…");
        assert_eq!(at(3), "A ver…");
        assert!(shows(&columns, &rows, Some(25), "SIZE") && !shows(&columns, &rows, Some(24), "SIZE"));
        assert!(shows(&columns, &rows, None, "SIZE") && shows(&columns, &rows, Some(18), "DATE"));
    }

    #[test]
    fn a_text_that_nothing_changes_is_not_copied() {
        assert!(matches!(Cell::of("Müller").text, Cow::Borrowed(_)));
        assert!(matches!(Cell::of("a\u{1b}").text, Cow::Owned(_)));
    }
}
