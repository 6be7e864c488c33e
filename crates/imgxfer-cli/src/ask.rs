//! Questions to the person at the terminal.

use std::io::{self, BufRead as _, IsTerminal as _, Write as _};

use crate::exit::{Exit, problem};

/// Whether there is somebody to ask; who sees to it otherwise is told to say `--yes` when he has done what `first` says.
pub(crate) fn somebody_is_there(first: &str) -> anyhow::Result<()> {
    if io::stdin().is_terminal() {
        return Ok(());
    }
    Err(problem(Exit::Usage, format!("nobody is at the terminal to agree: {first} and say --yes")))
}

/// Whether somebody can be asked.
pub(crate) fn can_ask() -> bool {
    io::stdin().is_terminal()
}

/// Asks a question; anything but a clear yes is no. Waits on a thread of its own.
pub(crate) async fn yes(question: String) -> bool {
    matches!(line(format!("{question} [y/N] ")).await, Some(answer) if is_yes(&answer))
}

/// Asks for a word; an empty answer, or none, is `default`. Waits on a thread of its own.
pub(crate) async fn word(question: &str, default: &str) -> String {
    let answer = line(format!("{question} [{default}] ")).await.unwrap_or_default();
    let answer = answer.trim();
    if answer.is_empty() { default.to_owned() } else { answer.to_owned() }
}

async fn line(prompt: String) -> Option<String> {
    let answer = tokio::task::spawn_blocking(move || {
        let mut talk = io::stderr().lock();
        write!(talk, "{prompt}")?;
        talk.flush()?;
        let mut answer = String::new();
        io::stdin().lock().read_line(&mut answer)?;
        io::Result::Ok(answer)
    });
    answer.await.ok()?.ok()
}

fn is_yes(answer: &str) -> bool {
    matches!(answer.trim().to_ascii_lowercase().as_str(), "y" | "yes")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_yes_is_yes() {
        for (answer, expected) in [("y\n", true), ("YES", true), ("", false), ("n", false), ("yep", false)] {
            assert_eq!(is_yes(answer), expected, "{answer:?}");
        }
    }
}
