//! The page around the pictures.

use imgxfer_core::units::to_f64;

use super::Report;
use super::picture::spoken;
use super::svg::escape;
use crate::cost::Sample;
use crate::figure::{Figure, short};
use crate::lines::StudyRow;
use crate::loopback::LoopbackRow;

const STYLE: &str = "body{font:18px/1.5 Verdana,Arial,sans-serif;color:#222;max-width:1200px;margin:2em auto;padding:0 1em}\
img{width:100%;border:1px solid #ddd;margin:1em 0}table{border-collapse:collapse;font-size:15px;width:100%}\
td,th{border:1px solid #ccc;padding:.25em .5em;text-align:left}td.n{text-align:right;font-variant-numeric:tabular-nums}\
.pass{color:#0072B2;font-weight:bold}.miss{color:#fff;background:#B04A00;font-weight:bold}.note{color:#555;font-size:16px}";

const LINES: &str = "<h2>How much of a line comes to use</h2>\n<p>A telephone line loses packets to noise. Cubic, which \
most of the internet uses, takes each loss for a jam and slows down: on clean lines that costs nothing, on noisy ones most \
of the line. imgxfer looks at how much arrives, and at how long packets wait. It also keeps the queue in the modem short, \
so that a video call beside it stays usable; where that costs it some of a clean line, the picture shows it.</p>\n\
<img src=\"lines.svg\" alt=\"share of each line that comes to use\">\n";

const LOOPBACK: &str = "<h2>What this machine moves</h2>\n<p>On fast fibre the processor is what counts. Both ends ran on \
this one machine; where each has its own, each has about half the work.</p>\n\
<img src=\"loopback.svg\" alt=\"speed over loopback\">\n";

/// The whole page.
pub(super) fn page(report: &Report, studies: &[String], criterion: bool) -> String {
    let mut body = "<h1>Copper and fibre: what imgxfer makes of a line</h1>\n".to_owned();
    if report.quick {
        body += "<p><strong>A quick run: for a look, not to be quoted.</strong></p>\n";
    }
    body += &in_plain_words(report);
    for name in studies {
        body += &format!("<img src=\"{name}\" alt=\"time that a study takes over each line\">\n");
    }
    if !report.profiles.is_empty() {
        body += LINES;
    }
    if !report.loopback.is_empty() {
        body += LOOPBACK;
    }
    body += "<h2>Tables</h2>\n";
    body += &study_table(&report.studies);
    body += &loopback_table(&report.loopback);
    body += &figures("Our transport beside others, round by round", &report.ratios);
    body += &figures("The congestion controller, in virtual time", &report.controller);
    body += &figures("Raw bytes over the named lines, in virtual time", &report.profiles);
    body += &about(report, criterion);
    format!(
        "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\"><title>imgxfer: copper and fibre</title>\
         <style>{STYLE}</style></head><body>\n{body}</body></html>\n"
    )
}

fn in_plain_words(report: &Report) -> String {
    let mut text = "<p>".to_owned();
    for row in report.studies.iter().filter(|row| ["adsl", "fttc", "fibre100"].contains(&row.line.as_str())) {
        text += &format!(
            "<strong>{}</strong> ({} images, {:.0} MB) over {}: {} instead of {}. ",
            escape(&row.study),
            row.files,
            to_f64(row.bytes) / 1e6,
            escape(&row.line),
            spoken(row.ours_seconds()),
            spoken(row.plain.seconds),
        );
    }
    text += "</p>\n<p class=\"note\">imgxfer is ahead for two reasons: it makes images smaller without losing a bit, and \
             it keeps a line full. On copper the first counts most; what arrives is checked to be the same bytes. \
             How much smaller images become depends on them: the studies here are named above, and synthetic ones \
             compress otherwise than real ones. Copper lines are simulated; over fibre the time shown is the longer \
             of the simulated one and the one measured on this machine.</p>\n";
    text
}

fn cell(text: &str) -> String {
    format!("<td>{}</td>", escape(text))
}

fn number(text: &str) -> String {
    format!("<td class=\"n\">{}</td>", escape(text))
}

fn table(title: &str, heads: &[&str], rows: &[String]) -> String {
    let heads: String = heads.iter().map(|head| format!("<th>{}</th>", escape(head))).collect();
    let rows: String = rows.iter().map(|row| format!("<tr>{row}</tr>\n")).collect();
    format!("<h3>{}</h3>\n<table><tr>{heads}</tr>\n{rows}</table>\n", escape(title))
}

fn study_table(rows: &[StudyRow]) -> String {
    let heads = [
        "study",
        "line",
        "ours",
        "of which line",
        "ours with Cubic",
        "plain",
        "sooner by",
        "line multiple",
        "sent / original",
    ];
    let row = |row: &StudyRow| {
        let sent = to_f64(row.ours.line_bytes) / to_f64(row.bytes);
        let multiple = row.line_multiple().map_or_else(|| "-".to_owned(), short);
        let times = [row.ours_seconds(), row.ours.seconds, row.cubic.seconds, row.plain.seconds].map(spoken);
        let times: String = times.iter().map(|time| number(time)).collect();
        [
            cell(&row.study),
            cell(&row.line),
            times,
            number(&short(row.times_plain())),
            number(&multiple),
            number(&short(sent)),
        ]
        .concat()
    };
    table("Studies over lines", &heads, &rows.iter().map(row).collect::<Vec<_>>())
}

fn loopback_table(rows: &[LoopbackRow]) -> String {
    let heads = ["way", "Gbit/s", "least to most", "CPU s a GB, both ends", "peak memory of the process, MB"];
    let row = |row: &LoopbackRow| {
        let speeds: Vec<f64> = row.samples.iter().map(Sample::gbit_a_second).collect();
        let range = Figure::new("", "", speeds, crate::figure::Bar::None).range();
        [
            cell(&row.name),
            number(&short(row.median(Sample::gbit_a_second))),
            number(&format!("{} to {}", short(range.0), short(range.1))),
            number(&short(row.median(Sample::cpu_seconds_a_gb))),
            number(&short(row.median(|sample| to_f64(sample.peak_bytes) / 1e6))),
        ]
        .concat()
    };
    let note = "<p class=\"note\">Memory is of the whole process: both ends, the bytes to send, and this bench.</p>\n";
    table("Over loopback", &heads, &rows.iter().map(row).collect::<Vec<_>>()) + note
}

fn figures(title: &str, figures: &[Figure]) -> String {
    let heads = ["on", "what", "median", "least to most", "bar", ""];
    let row = |figure: &Figure| {
        let (least, most) = figure.range();
        let class = match figure.met {
            Some(true) => "pass",
            Some(false) => "miss",
            None => "",
        };
        [
            cell(&figure.on),
            cell(&figure.what),
            number(&short(figure.median)),
            number(&format!("{} to {}", short(least), short(most))),
            number(&figure.bar.to_string()),
            format!("<td class=\"{class}\">{}</td>", figure.mark()),
        ]
        .concat()
    };
    table(title, &heads, &figures.iter().map(row).collect::<Vec<_>>())
}

fn about(report: &Report, criterion: bool) -> String {
    let machine = &report.machine;
    let link = if criterion {
        "<p><a href=\"criterion/report/index.html\">The parts one by one</a> (criterion).</p>\n"
    } else {
        ""
    };
    format!(
        "{link}<h2>On what</h2>\n<p>{}; {} cores, {} GiB; {}; load at the start {}; {}; commit {}; {} seeds. Lines are those \
         of <code>LineProfile</code>; what each figure means and how to repeat it is in <code>BENCHMARKING.md</code>.</p>\n",
        escape(&machine.processor),
        machine.cores,
        machine.memory_gib,
        escape(&machine.system),
        escape(&machine.load),
        escape(&machine.date),
        escape(&machine.commit),
        report.seeds,
    )
}
