//! The pictures: what a study takes over copper and over fibre, what is left of a line, what a processor moves.

use imgxfer_core::units::to_f64;

use super::svg::{Anchor, BLUE, Font, GREY, ORANGE, Svg};
use crate::figure::Figure;
use crate::lines::StudyRow;
use crate::loopback::{LoopbackRow, Way};

const WIDTH: f64 = 1_200.0;
const PALE: &str = "#dddddd";

/// A line's name for people, with what it is.
fn line_label(name: &str) -> (&'static str, &'static str) {
    match name {
        "adsl" => ("ADSL", "copper, 0.8 Mbit/s up"),
        "fttc" => ("FTTC / VDSL", "copper, 10 Mbit/s up"),
        "bad-copper" => ("Bad copper", "0.5 Mbit/s up, noisy"),
        "lte" => ("LTE", "mobile, 8 Mbit/s up"),
        "fibre100" => ("Fibre 100", "100 Mbit/s"),
        "fibre1g" => ("Fibre 1G", "1 Gbit/s, near"),
        "fibre1g-far" => ("Fibre 1G, far", "1 Gbit/s, 80 ms away"),
        _ => ("Fibre 10G", "no limit but this machine"),
    }
}

/// A time for people.
pub(super) fn spoken(seconds: f64) -> String {
    match seconds {
        s if s < 1.0 => format!("{s:.1} s"),
        s if s < 10.0 => format!("{s:.1} s"),
        s if s < 90.0 => format!("{s:.0} s"),
        s if s < 600.0 => format!("{:.1} min", s / 60.0),
        s if s < 5_400.0 => format!("{:.0} min", s / 60.0),
        s => format!("{:.1} h", s / 3_600.0),
    }
}

/// Times on an axis where each step is ten or six times the last.
const TICKS: [(f64, &str); 9] = [
    (0.1, "0.1 s"),
    (1.0, "1 s"),
    (10.0, "10 s"),
    (60.0, "1 min"),
    (600.0, "10 min"),
    (3_600.0, "1 h"),
    (36_000.0, "10 h"),
    (86_400.0, "1 day"),
    (864_000.0, "10 days"),
];

/// From the tick below the least to the tick above the most.
struct TimeAxis {
    least: f64,
    most: f64,
    left: f64,
    right: f64,
}

impl TimeAxis {
    fn new(times: impl Iterator<Item = f64> + Clone, left: f64, right: f64) -> Self {
        let (low, high) = (times.clone().fold(f64::INFINITY, f64::min), times.fold(0.0, f64::max));
        let least = TICKS.iter().rev().find(|(at, _)| *at <= low).map_or(0.1, |(at, _)| *at);
        let most = TICKS.iter().find(|(at, _)| *at >= high).map_or(864_000.0, |(at, _)| *at);
        Self { least, most, left, right }
    }

    fn x(&self, seconds: f64) -> f64 {
        let share = (seconds.max(self.least) / self.least).ln() / (self.most / self.least).ln();
        self.left + share * (self.right - self.left)
    }
}

/// Minutes over each line, ours beside plain sending. Lines without a rate are left out.
pub(super) fn study(rows: &[&StudyRow]) -> String {
    let rows: Vec<&&StudyRow> = rows.iter().filter(|row| row.line_bps.is_some()).collect();
    let Some(first) = rows.first() else { return Svg::new(WIDTH, 10.0).finish("nothing was measured") };
    let (top, step) = (150.0, 66.0);
    let bottom = top + step * to_f64(rows.len() as u64);
    let mut svg = Svg::new(WIDTH, bottom + 130.0);
    let title = format!("How long until a study has arrived: {}", first.study);
    svg.text((30.0, 44.0), Anchor::Start, Font::TITLE, &title);
    let size = format!("{} images, {:.0} MB, from the hospital outwards", first.files, to_f64(first.bytes) / 1e6);
    svg.text((30.0, 74.0), Anchor::Start, Font::TEXT, &size);
    legend(&mut svg);
    let times = rows.iter().flat_map(|row| [row.plain.seconds, row.ours_seconds()]);
    let axis = TimeAxis::new(times, 270.0, 1_010.0);
    for (at, name) in TICKS.iter().filter(|(at, _)| (axis.least..=axis.most).contains(at)) {
        let x = axis.x(*at);
        svg.line((x, top - 14.0), (x, bottom), PALE, 1.5);
        svg.text((x, bottom + 26.0), Anchor::Middle, Font::TEXT, name);
    }
    let says = "time from starting to the signed receipt; each step of the scale is 6 or 10 times the one before";
    svg.text((axis.left, bottom + 56.0), Anchor::Start, Font::SMALL, says);
    svg.text((1_170.0, top - 22.0), Anchor::End, Font::TEXT, "sooner");
    for (row, n) in rows.iter().zip(0_u32..) {
        study_row(&mut svg, &axis, row, top + step * (f64::from(n) + 0.5));
    }
    let note =
        "Plain sending: the same files as they are over one TCP connection, as copying a folder does at its best.";
    svg.text((30.0, bottom + 96.0), Anchor::Start, Font::SMALL, note);
    svg.finish(&title)
}

fn legend(svg: &mut Svg) {
    svg.diamond((45.0, 102.0), BLUE);
    svg.text((64.0, 108.0), Anchor::Start, Font::TEXT.bold().coloured(BLUE), "imgxfer");
    svg.dot((185.0, 102.0), ORANGE);
    svg.text((202.0, 108.0), Anchor::Start, Font::TEXT.bold().coloured(ORANGE), "plain sending");
}

fn study_row(svg: &mut Svg, axis: &TimeAxis, row: &StudyRow, y: f64) {
    let (name, what) = line_label(&row.line);
    svg.text((30.0, y - 2.0), Anchor::Start, Font::LABEL, name);
    svg.text((30.0, y + 19.0), Anchor::Start, Font::SMALL, what);
    let (ours, plain) = (axis.x(row.ours_seconds()), axis.x(row.plain.seconds));
    svg.line((ours, y), (plain, y), GREY, 3.0);
    svg.dot((plain, y), ORANGE);
    svg.diamond((ours, y), BLUE);
    // Each label on its own side, so that they meet only where the points do.
    let ours_first = ours <= plain;
    let (left, right) = if ours_first { (ours, plain) } else { (plain, ours) };
    let label = |ours: bool| {
        let (seconds, colour) = if ours { (row.ours_seconds(), BLUE) } else { (row.plain.seconds, ORANGE) };
        (spoken(seconds), Font::TEXT.bold().coloured(colour))
    };
    let ((left_text, left_font), (right_text, right_font)) = (label(ours_first), label(!ours_first));
    svg.text((left - 17.0, y + 6.0), Anchor::End, left_font, &left_text);
    svg.text((right + 17.0, y + 6.0), Anchor::Start, right_font, &right_text);
    let times = row.times_plain();
    let text = match times {
        sooner if sooner >= 10.0 => format!("{sooner:.0} times"),
        sooner if sooner >= 1.0 => format!("{sooner:.1} times"),
        later => format!("{:.1} times later", 1.0 / later),
    };
    svg.text((1_170.0, y + 6.0), Anchor::End, Font::LABEL, &text);
}

/// Its value, what is written beside it, and its colour.
type OneBar = (f64, String, &'static str);

/// Bars on an axis from 0.
struct Bars<'a> {
    title: &'a str,
    axis: &'a str,
    most: f64,
    ticks: &'a [(f64, String)],
}

impl Bars<'_> {
    /// Each row has a label and its bars.
    fn draw(&self, rows: &[(String, Vec<OneBar>)]) -> String {
        let (left, right, top) = (360.0, 1_020.0, 90.0);
        let heights: Vec<f64> = rows.iter().map(|(_, bars)| 26.0 * to_f64(bars.len() as u64) + 20.0).collect();
        let bottom = top + heights.iter().sum::<f64>();
        let mut svg = Svg::new(WIDTH, bottom + 80.0);
        svg.text((30.0, 44.0), Anchor::Start, Font::TITLE, self.title);
        let x = |value: f64| left + value / self.most * (right - left);
        for (at, name) in self.ticks {
            svg.line((x(*at), top - 8.0), (x(*at), bottom), PALE, 1.5);
            svg.text((x(*at), bottom + 24.0), Anchor::Middle, Font::TEXT, name);
        }
        svg.text((left, bottom + 54.0), Anchor::Start, Font::SMALL, self.axis);
        let mut y = top;
        for ((label, bars), height) in rows.iter().zip(&heights) {
            svg.text((left - 16.0, y + height / 2.0 + 5.0), Anchor::End, Font::LABEL, label);
            for ((value, text, colour), n) in bars.iter().zip(0_u32..) {
                let top = y + 10.0 + 26.0 * f64::from(n);
                let end = x(value.min(self.most));
                svg.bar((left, top), (end - left, 22.0), colour);
                svg.text((end + 8.0, top + 17.0), Anchor::Start, Font::TEXT.bold().coloured(colour), text);
            }
            y += height;
        }
        svg.finish(self.title)
    }
}

/// The share of lines that raw bytes get, ours beside Cubic: the named ones, then some with more and more loss.
pub(super) fn lines(profiles: &[Figure], controller: &[Figure]) -> String {
    let median = |figures: &[Figure], on: &str, what: &str| {
        figures.iter().find(|f| f.on == on && f.what == what).map(|f| 100.0 * f.median)
    };
    const SHARE: &str = "payload, share of the line";
    let named = imgxfer_core::sim::line::LineProfile::NAMES.iter().map(|name| {
        let value = |who: &str| median(profiles, &format!("{name}, {who}"), SHARE);
        (line_label(name).0.to_owned(), value("ours"), value("Cubic"))
    });
    let lossy = controller.iter().filter(|f| f.what == SHARE && f.on.ends_with("% loss")).map(|ours| {
        let cubic = median(controller, &ours.on, "quinn's Cubic, share of the line");
        (ours.on.clone(), Some(100.0 * ours.median), cubic)
    });
    let mut rows = Vec::new();
    for (label, ours, cubic) in named.chain(lossy) {
        let (Some(ours), Some(cubic)) = (ours, cubic) else { continue };
        let bars = vec![(ours, format!("imgxfer {ours:.0} %"), BLUE), (cubic, format!("Cubic {cubic:.0} %"), ORANGE)];
        rows.push((label, bars));
    }
    let ticks: Vec<_> = (0..=5_u32).map(|n| (f64::from(n) * 20.0, format!("{} %", n * 20))).collect();
    let title = "How much of a line comes to use: imgxfer, and Cubic, which most of the internet uses";
    let axis = "payload, share of the line's rate; headers alone cost 4 to 5 %; compression is not in it";
    Bars { title, axis, most: 100.0, ticks: &ticks }.draw(&rows)
}

/// Gigabits a second over loopback. Copying in memory would dwarf the rest, and is left to the table.
pub(super) fn loopback(rows: &[LoopbackRow]) -> String {
    let shown = rows.iter().filter(|row| !matches!(row.way, Way::Memcpy | Way::OursWithCubic(_)));
    let bars: Vec<_> = shown
        .map(|row| {
            let speed = row.median(crate::cost::Sample::gbit_a_second);
            let cpu = row.median(crate::cost::Sample::cpu_seconds_a_gb);
            let ours = matches!(row.way, Way::Ours(_) | Way::Push(_));
            let text = format!("{speed:.1} ({cpu:.2} s)");
            (row.name.clone(), vec![(speed, text, if ours { BLUE } else { GREY })])
        })
        .collect();
    let most = bars.iter().map(|(_, bars)| bars[0].0).fold(1.0, f64::max);
    let step = [1.0, 2.0, 5.0, 10.0, 20.0].into_iter().find(|step| most / step <= 8.0).unwrap_or(50.0);
    let ticks: Vec<_> = (0..=8_u32)
        .map(|n| f64::from(n) * step)
        .take_while(|at| *at < most + step)
        .map(|at| (at, format!("{at:.0}")))
        .collect();
    let most = ticks.last().map_or(1.0, |(at, _)| *at);
    let title = "What this machine moves without a line: both ends on it";
    let axis = "Gbit/s (in brackets: processor seconds for a gigabyte, both ends together)";
    Bars { title, axis, most, ticks: &ticks }.draw(&bars)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lines::Taken;

    #[test]
    fn times_as_people_say_them() {
        for (seconds, text) in
            [(0.25, "0.2 s"), (42.0, "42 s"), (150.0, "2.5 min"), (1_800.0, "30 min"), (9_000.0, "2.5 h")]
        {
            assert_eq!(spoken(seconds), text);
        }
    }

    #[test]
    fn a_picture_names_its_lines_and_times() {
        let taken = |seconds| Taken { seconds, line_bytes: 1 };
        let row = StudyRow {
            study: "CT <1>".to_owned(),
            files: 100,
            bytes: 52_000_000,
            line: "adsl".to_owned(),
            line_bps: Some(800_000),
            ours: taken(120.0),
            cubic: taken(130.0),
            plain: taken(600.0),
            real_seconds: None,
        };
        let svg = study(&[&row]);
        for text in ["ADSL", "2.0 min", "10 min", "5.0 times", "CT &lt;1&gt;"] {
            assert!(svg.contains(text), "{text}: {svg}");
        }
    }
}
