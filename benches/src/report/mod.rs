//! Makes a page of what was measured: for people who decide about lines, and tables for those who build on them.

mod machine;
mod page;
mod picture;
mod svg;

use std::path::Path;

use anyhow::Context as _;
use serde::Serialize;

use crate::figure::Figure;
use crate::lines::StudyRow;
use crate::loopback::LoopbackRow;

pub use machine::Machine;

/// Everything that was measured in one run.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    /// On what, when, and of which commit.
    pub machine: Machine,
    /// Shorter runs and fewer of them: for a look, not to be quoted.
    pub quick: bool,
    /// Seeds of each experiment in virtual time.
    pub seeds: u64,
    /// Studies over lines.
    pub studies: Vec<StudyRow>,
    /// The congestion controller's table.
    pub controller: Vec<Figure>,
    /// Raw bytes over the named lines.
    pub profiles: Vec<Figure>,
    /// Races over loopback.
    pub loopback: Vec<LoopbackRow>,
    /// What is asked of them.
    pub ratios: Vec<Figure>,
}

impl Report {
    /// Writes `index.html`, its pictures, and `report.json`.
    ///
    /// # Errors
    /// When the folder cannot be written.
    pub fn write(&self, folder: &Path) -> anyhow::Result<()> {
        std::fs::create_dir_all(folder).with_context(|| format!("make {}", folder.display()))?;
        let put = |name: &str, text: &str| {
            let path = folder.join(name);
            std::fs::write(&path, text).with_context(|| format!("write {}", path.display()))
        };
        let mut names = Vec::new();
        for study in self.study_names() {
            let name = format!("study-{}.svg", names.len() + 1);
            let rows: Vec<&StudyRow> = self.studies.iter().filter(|row| row.study == study).collect();
            put(&name, &picture::study(&rows))?;
            names.push(name);
        }
        if !self.profiles.is_empty() {
            put("lines.svg", &picture::lines(&self.profiles, &self.controller))?;
        }
        if !self.loopback.is_empty() {
            put("loopback.svg", &picture::loopback(&self.loopback))?;
        }
        put("report.json", &serde_json::to_string_pretty(self)?)?;
        let criterion = folder.join("criterion/report/index.html").is_file();
        put("index.html", &page::page(self, &names, criterion))
    }

    /// Each study once, in order.
    fn study_names(&self) -> Vec<String> {
        let mut names: Vec<String> = self.studies.iter().map(|row| row.study.clone()).collect();
        names.dedup();
        names
    }
}
