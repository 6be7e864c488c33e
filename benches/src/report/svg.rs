//! As much of SVG as the pictures need.

use std::fmt::Write as _;

/// Colours that people tell apart whatever colours they see (Okabe and Ito).
pub(super) const BLUE: &str = "#0072B2";
/// See [`BLUE`].
pub(super) const ORANGE: &str = "#D55E00";
/// See [`BLUE`].
pub(super) const GREY: &str = "#767676";
const INK: &str = "#222222";

/// Where a text is held.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Anchor {
    Start,
    Middle,
    End,
}

/// How a text looks.
#[derive(Debug, Clone, Copy)]
pub(super) struct Font {
    pub(super) size: u32,
    pub(super) bold: bool,
    pub(super) colour: &'static str,
}

impl Font {
    pub(super) const TITLE: Self = Self { size: 26, bold: true, colour: INK };
    pub(super) const LABEL: Self = Self { size: 18, bold: true, colour: INK };
    pub(super) const TEXT: Self = Self { size: 16, bold: false, colour: INK };
    pub(super) const SMALL: Self = Self { size: 15, bold: false, colour: "#555555" };

    pub(super) fn coloured(self, colour: &'static str) -> Self {
        Self { colour, ..self }
    }

    pub(super) fn bold(self) -> Self {
        Self { bold: true, ..self }
    }
}

/// A picture as it grows.
#[derive(Debug)]
pub(super) struct Svg {
    width: f64,
    height: f64,
    body: String,
}

impl Svg {
    pub(super) fn new(width: f64, height: f64) -> Self {
        Self { width, height, body: String::new() }
    }

    fn add(&mut self, element: std::fmt::Arguments<'_>) {
        // A String takes everything.
        let _ = writeln!(self.body, "{element}");
    }

    pub(super) fn text(&mut self, (x, y): (f64, f64), anchor: Anchor, font: Font, text: &str) {
        let anchor = match anchor {
            Anchor::Start => "start",
            Anchor::Middle => "middle",
            Anchor::End => "end",
        };
        let weight = if font.bold { "bold" } else { "normal" };
        let (size, colour, text) = (font.size, font.colour, escape(text));
        self.add(format_args!(
            r#"<text x="{x:.1}" y="{y:.1}" text-anchor="{anchor}" font-size="{size}" font-weight="{weight}" fill="{colour}">{text}</text>"#
        ));
    }

    pub(super) fn line(&mut self, (x1, y1): (f64, f64), (x2, y2): (f64, f64), colour: &str, width: f64) {
        self.add(format_args!(
            r#"<line x1="{x1:.1}" y1="{y1:.1}" x2="{x2:.1}" y2="{y2:.1}" stroke="{colour}" stroke-width="{width}"/>"#
        ));
    }

    pub(super) fn bar(&mut self, (x, y): (f64, f64), (width, height): (f64, f64), colour: &str) {
        self.add(format_args!(
            r#"<rect x="{x:.1}" y="{y:.1}" width="{width:.1}" height="{height:.1}" fill="{colour}"/>"#
        ));
    }

    pub(super) fn dot(&mut self, (x, y): (f64, f64), colour: &str) {
        self.add(format_args!(r#"<circle cx="{x:.1}" cy="{y:.1}" r="9" fill="{colour}"/>"#));
    }

    /// A square on its corner: another shape than the dot, for those to whom colours say nothing.
    pub(super) fn diamond(&mut self, (x, y): (f64, f64), colour: &str) {
        let (left, right, top, bottom) = (x - 11.0, x + 11.0, y - 11.0, y + 11.0);
        self.add(format_args!(
            r#"<polygon points="{left:.1},{y:.1} {x:.1},{top:.1} {right:.1},{y:.1} {x:.1},{bottom:.1}" fill="{colour}"/>"#
        ));
    }

    pub(super) fn finish(self, says: &str) -> String {
        let Self { width, height, body } = self;
        let says = escape(says);
        format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" width=\"{width}\" \
             height=\"{height}\" role=\"img\" font-family=\"DejaVu Sans, Verdana, Arial, sans-serif\">\n\
             <title>{says}</title>\n<rect width=\"{width}\" height=\"{height}\" fill=\"#ffffff\"/>\n{body}</svg>\n"
        )
    }
}

/// As text in XML or HTML.
pub(super) fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}
