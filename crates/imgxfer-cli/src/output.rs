//! Where words go: data to standard output, talk to standard error.

use imgxfer_core::sync::lock;
use std::borrow::Cow;
use std::io::{self, IsTerminal as _, Write};
use std::sync::{Arc, Mutex};

use serde::Serialize;

use crate::exit::OutputClosed;

/// How much is said, and in which form.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Manner {
    /// One JSON object a line on standard output, and nothing for people there.
    pub(crate) json: bool,
    /// Nothing on standard error but errors.
    pub(crate) quiet: bool,
}

/// Standard output and standard error of the program. Clones write to the same.
#[derive(Debug, Clone)]
pub(crate) struct Output {
    manner: Manner,
    terminal: bool,
    colour: bool,
    // Lines of several threads stay whole.
    lines: Arc<Mutex<()>>,
}

impl Output {
    /// The process's own streams.
    pub(crate) fn new(manner: Manner) -> Self {
        let terminal = io::stderr().is_terminal();
        // https://no-color.org: set and not empty means none.
        let colour = terminal && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
        Self { manner, terminal, colour, lines: Arc::default() }
    }

    /// For a step on the way, whose result is no result of the command's: words for people alone.
    pub(crate) fn aside(&self) -> Self {
        let manner = Manner { json: false, quiet: self.manner.quiet || self.manner.json };
        Self { manner, ..self.clone() }
    }

    /// Whether machines read standard output.
    pub(crate) const fn is_json(&self) -> bool {
        self.manner.json
    }

    /// Whether somebody looks at a terminal and wants to be told how far things are.
    pub(crate) const fn shows_progress(&self) -> bool {
        self.terminal && !self.manner.quiet && !self.manner.json
    }

    /// Whether talk goes to a log, where a line now and then tells how far things are.
    pub(crate) const fn logs_progress(&self) -> bool {
        !self.terminal && !self.manner.quiet && !self.manner.json
    }

    /// A line of data for people; nothing with `--json`.
    pub(crate) fn line(&self, text: &str) -> anyhow::Result<()> {
        if self.manner.json { Ok(()) } else { self.write_out(text) }
    }

    /// Many lines of data for people at once; nothing with `--json`.
    pub(crate) fn lines(&self, lines: &[String]) -> anyhow::Result<()> {
        if lines.is_empty() { Ok(()) } else { self.line(&lines.join("\n")) }
    }

    /// Many objects for machines at once; nothing without `--json`.
    pub(crate) fn objects<T: Serialize>(&self, values: impl Iterator<Item = T>) -> anyhow::Result<()> {
        if !self.manner.json {
            return Ok(());
        }
        let lines = values.map(|value| serde_json::to_string(&value)).collect::<Result<Vec<_>, _>>()?;
        if lines.is_empty() { Ok(()) } else { self.write_out(&lines.join("\n")) }
    }

    /// An object for machines; nothing without `--json`.
    pub(crate) fn object(&self, value: &impl Serialize) -> anyhow::Result<()> {
        if self.manner.json { self.write_out(&serde_json::to_string(value)?) } else { Ok(()) }
    }

    fn write_out(&self, text: &str) -> anyhow::Result<()> {
        let _whole = lock(&self.lines);
        let mut out = io::stdout().lock();
        match writeln!(out, "{text}").and_then(|()| out.flush()) {
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Err(OutputClosed.into()),
            other => Ok(other?),
        }
    }

    /// A line of talk, for whoever looks on; nothing with `--quiet`.
    pub(crate) fn say(&self, text: &str) {
        if !self.manner.quiet {
            self.write_err(text);
        }
    }

    /// Something that must be seen, also with `--quiet`.
    pub(crate) fn warn(&self, text: &str) {
        self.write_err(text);
    }

    /// An error that ends the program.
    pub(crate) fn error(&self, text: &str) {
        let name = if self.colour { "\u{1b}[1;31mimgxfer:\u{1b}[0m" } else { "imgxfer:" };
        self.write_err(&format!("{name} {text}"));
    }

    fn write_err(&self, text: &str) {
        let _whole = lock(&self.lines);
        // Nobody is left to be told when this fails.
        let _told: io::Result<()> = writeln!(io::stderr().lock(), "{text}");
    }
}

/// Text from elsewhere, safe on a terminal: control characters are escaped, and so are those that turn
/// the direction of writing.
pub(crate) fn safe(text: &str) -> String {
    escaped(text).into_owned()
}

/// The same, without a copy where nothing is escaped.
pub(crate) fn escaped(text: &str) -> Cow<'_, str> {
    let turns = |c: char| matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    let steers = |c: char| c.is_control() || turns(c);
    if !text.contains(steers) {
        return text.into();
    }
    let mut out = String::with_capacity(text.len() + 8);
    for c in text.chars() {
        if steers(c) { out.extend(c.escape_default()) } else { out.push(c) }
    }
    out.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_steers_the_terminal() {
        assert_eq!(safe("a\u{1b}[31mb\n\u{202e}c\u{9b}"), "a\\u{1b}[31mb\\n\\u{202e}c\\u{9b}");
        assert_eq!(safe("Müller^Jörg 王"), "Müller^Jörg 王");
    }
}
