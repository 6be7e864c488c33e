//! Lines of what the daemon says of itself.

use crate::table::wide;

/// A line of `parts` with commas between them, gone on with on the next, further in, where `width` is reached.
pub(crate) fn flow(indent: &str, parts: &[String], width: Option<usize>) -> Vec<String> {
    let width = width.unwrap_or(usize::MAX);
    let mut lines = Vec::new();
    let mut line = indent.to_owned();
    let mut is_new = true;
    for (at, part) in parts.iter().enumerate() {
        let comma = usize::from(at + 1 < parts.len());
        if !is_new && wide(&line) + 1 + wide(part) + comma > width {
            lines.push(std::mem::replace(&mut line, format!("{indent}  ")));
            is_new = true;
        }
        if !is_new {
            line.push(' ');
        }
        line.push_str(part);
        line.push_str(&","[..comma]);
        is_new = false;
    }
    lines.push(line);
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_line_goes_on_further_in() {
        let parts = ["one", "two", "three"].map(str::to_owned);
        assert_eq!(flow("  ", &parts, None), ["  one, two, three"]);
        assert_eq!(flow("  ", &parts, Some(17)), ["  one, two, three"]);
        assert_eq!(flow("  ", &parts, Some(16)), ["  one, two,", "    three"]);
        assert_eq!(flow("  ", &parts, Some(1)), ["  one,", "    two,", "    three"]);
    }
}
