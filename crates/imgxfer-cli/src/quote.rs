//! Commands as text that a shell reads back.

use std::ffi::{OsStr, OsString};

/// A command line that gives exactly these arguments when pasted into a POSIX shell.
///
/// Arguments with control characters or bytes that are not UTF-8 use `$'...'` (POSIX.1-2024), which older
/// shells other than bash, zsh and ksh do not know.
pub(crate) fn command<I, S>(arguments: I) -> String
where
    I: IntoIterator<Item = S>,
    S: AsRef<OsStr>,
{
    arguments.into_iter().map(|argument| word(argument.as_ref())).collect::<Vec<_>>().join(" ")
}

/// The command that this process was started with.
pub(crate) fn own_command() -> String {
    command(std::env::args_os().collect::<Vec<OsString>>())
}

fn word(argument: &OsStr) -> String {
    let harmless = |c: char| c.is_ascii_alphanumeric() || "_-./:=@%+,".contains(c);
    match argument.to_str() {
        Some(text) if !text.is_empty() && text.chars().all(harmless) => text.to_owned(),
        Some(text) if !text.chars().any(char::is_control) => format!("'{}'", text.replace('\'', r"'\''")),
        _ => {
            let escape = |byte: &u8| match byte {
                b'\'' | b'\\' => format!("\\{}", char::from(*byte)),
                b' '..=b'~' => char::from(*byte).to_string(),
                // Octal has a fixed width: a digit behind it is not taken for part of it.
                _ => format!("\\{byte:03o}"),
            };
            let bytes = argument.as_encoded_bytes();
            format!("$'{}'", bytes.iter().map(escape).collect::<String>())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_quoted_where_they_must() {
        for (argument, expected) in [
            ("push", "push"),
            ("/data/a-b_c.dcm", "/data/a-b_c.dcm"),
            ("", "''"),
            ("two words", "'two words'"),
            ("it's", r"'it'\''s'"),
            ("$HOME;`x`", "'$HOME;`x`'"),
            ("Müller", "'Müller'"),
            ("a\nb'c", r"$'a\012b\'c'"),
        ] {
            assert_eq!(word(OsStr::new(argument)), expected);
        }
        assert_eq!(command(["imgxfer", "push", "a b"]), "imgxfer push 'a b'");
    }

    #[test]
    fn a_shell_reads_them_back() {
        use std::os::unix::ffi::OsStrExt as _;
        let hard = OsStr::from_bytes(b"a \xff\n'\\\"$x*1");
        let script = format!("printf %s {}", word(hard));
        let said = std::process::Command::new("bash").arg("-c").arg(script).output().unwrap();
        assert_eq!(said.stdout, hard.as_bytes());
    }
}
