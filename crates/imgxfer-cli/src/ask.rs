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

/// Asks a question; anything but a clear yes is no. Waits on a thread of its own.
pub(crate) async fn yes(question: String) -> bool {
    let answer = tokio::task::spawn_blocking(move || {
        let mut talk = io::stderr().lock();
        write!(talk, "{question} [y/N] ")?;
        talk.flush()?;
        let mut answer = String::new();
        io::stdin().lock().read_line(&mut answer)?;
        io::Result::Ok(answer)
    });
    matches!(answer.await, Ok(Ok(answer)) if is_yes(&answer))
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
