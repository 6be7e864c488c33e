//! Names that sites give themselves, made safe to show.

/// Longest name, in characters.
const NAME_CHARS_MAX: usize = 64;

/// Characters that change how their neighbours look, or that cannot be seen (Unicode TR 36, 2.1 and 3.5).
fn deceives(c: char) -> bool {
    matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{61c}' | '\u{ad}')
}

/// The name without anything that could deceive a reader or upset a terminal; at most 64 characters.
pub(super) fn sanitised(name: &str) -> String {
    let visible: String = name.chars().filter(|c| !c.is_control() && !deceives(*c)).collect();
    let name: String = visible.trim().chars().take(NAME_CHARS_MAX).collect();
    if name.is_empty() { "unnamed".to_owned() } else { name }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_bounded_and_harmless() {
        assert_eq!(sanitised(" St Mary's Radiology "), "St Mary's Radiology");
        assert_eq!(sanitised("Praxis Dr. Müller"), "Praxis Dr. Müller");
        assert_eq!(sanitised("a\u{1b}[31m\u{202e}b\n\0c"), "a[31mbc");
        assert_eq!(sanitised("\u{200b}\t"), "unnamed");
        assert_eq!(sanitised(&"é".repeat(1000)).chars().count(), 64);
    }
}
