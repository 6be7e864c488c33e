//! The last listing, so that `imgxfer pull 3` knows what the third line was.
//!
//! Kept in the state folder for the user alone. It holds UIDs and by which attributes was asked, and no value of a
//! patient.

use std::ops::RangeInclusive;
use std::str::FromStr;

use imgxfer_core::clock::UnixSeconds;
use imgxfer_core::dicom::Level;
use imgxfer_core::ids::{SeriesUid, SopInstanceUid, StudyUid};
use imgxfer_core::store::search::{Found, Search};
use serde::{Deserialize, Serialize};

use crate::exit::{Exit, problem};
use crate::output::safe;
use crate::places::{Places, write_private};
use crate::site::Target;

/// After so long nobody remembers what the numbers were, seconds.
const HOLDS_SECONDS: i64 = 86_400;
/// Rows that are taken at once: their UIDs must fit one request.
const TAKEN_MAX: usize = 500;

/// What was listed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Listing {
    /// When, seconds since 1970.
    at: i64,
    /// How the user called the peer.
    peer: String,
    /// The fingerprint of its key.
    key: String,
    /// Keywords of the attributes that were asked by.
    by: Vec<String>,
    rows: Vec<Row>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Row {
    study: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    series: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    instance: Option<String>,
}

impl Row {
    fn of(found: &Found) -> Self {
        Self {
            study: found.study.study.as_str().to_owned(),
            series: found.series.as_ref().map(|series| series.series.as_str().to_owned()),
            instance: found.instance.as_ref().map(|instance| instance.sop_instance.as_str().to_owned()),
        }
    }
}

fn file(places: &Places) -> std::path::PathBuf {
    places.state.join("last-listing.json")
}

impl Listing {
    /// Joins a question and its answer.
    pub(crate) fn new(target: &Target, by: Vec<String>, rows: &[Found]) -> Self {
        let rows = rows.iter().map(Row::of).collect();
        Self { at: UnixSeconds::now().0, peer: target.name.clone(), key: target.key.fingerprint(), by, rows }
    }

    /// Keeps it in place of an earlier one.
    pub(crate) fn keep(&self, places: &Places) -> anyhow::Result<()> {
        write_private(&file(places), &serde_json::to_string(self)?)
    }

    /// The last one, unless it is too old.
    pub(crate) fn last(places: &Places) -> anyhow::Result<Self> {
        Self::at(places, UnixSeconds::now().0)
    }

    fn at(places: &Places, now: i64) -> anyhow::Result<Self> {
        let list_first = "numbers are those of the last `imgxfer ls`: list first, or name a UID";
        let text = match std::fs::read_to_string(file(places)) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                return Err(problem(Exit::NotFound, format!("nothing was listed yet; {list_first}")));
            }
            Err(error) => {
                return Err(problem(Exit::Failed, format!("cannot read {}: {error}", file(places).display())));
            }
        };
        let listing: Self = serde_json::from_str(&text)
            .map_err(|_| problem(Exit::NotFound, format!("the last listing cannot be read; {list_first}")))?;
        if now.saturating_sub(listing.at) > HOLDS_SECONDS {
            return Err(problem(Exit::NotFound, format!("the last listing is older than a day; {list_first}")));
        }
        Ok(listing)
    }

    /// How the user called the peer.
    pub(crate) fn peer(&self) -> &str {
        &self.peer
    }

    /// What the lines with these numbers are, at this peer.
    pub(crate) fn pick(&self, numbers: &Numbers, target: &Target) -> anyhow::Result<Search> {
        if target.key.fingerprint() != self.key {
            let message = format!(
                "the last listing was of {}, and not of {}: list that one first, or name a UID",
                safe(&self.peer),
                safe(&target.name)
            );
            return Err(problem(Exit::Usage, message));
        }
        let mut search = Search { level: Level::Instance, ..Search::default() };
        let mut taken = 0;
        for number in numbers.each() {
            let Some(row) = number.checked_sub(1).and_then(|at| self.rows.get(at)) else {
                let message = format!("there is no line {number}: the last listing has {}", self.rows.len());
                return Err(problem(Exit::Usage, message));
            };
            taken += 1;
            if taken > TAKEN_MAX {
                return Err(problem(Exit::Usage, format!("more than {TAKEN_MAX} lines at once: take them in parts")));
            }
            row.add_to(&mut search)
                .map_err(|_| problem(Exit::NotFound, "the last listing cannot be read: list again"))?;
        }
        Ok(search)
    }
}

impl Row {
    fn add_to(&self, search: &mut Search) -> Result<(), imgxfer_core::ids::UidError> {
        fn add<T: PartialEq>(list: &mut Vec<T>, new: T) {
            if list.last() != Some(&new) && !list.contains(&new) {
                list.push(new);
            }
        }
        add(&mut search.studies, StudyUid::new(&self.study)?);
        if let Some(series) = &self.series {
            add(&mut search.series, SeriesUid::new(series)?);
        }
        if let Some(instance) = &self.instance {
            add(&mut search.instances, SopInstanceUid::new(instance)?);
        }
        Ok(())
    }
}

/// Numbers of lines: `3`, `2-5`, `1,4-6`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Numbers(Vec<RangeInclusive<usize>>);

impl Numbers {
    fn each(&self) -> impl Iterator<Item = usize> {
        self.0.iter().cloned().flatten()
    }
}

impl FromStr for Numbers {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || "expected numbers of lines such as 3, 2-5 or 1,4-6".to_owned();
        let number = |text: &str| {
            let digits = text.len() <= 6 && text.bytes().all(|b| b.is_ascii_digit());
            text.parse().ok().filter(|n| digits && *n > 0).ok_or_else(wrong)
        };
        let range = |part: &str| match part.trim().split_once('-') {
            None => number(part.trim()).map(|n| n..=n),
            Some((first, last)) => {
                let (first, last): (usize, usize) = (number(first)?, number(last)?);
                if first <= last { Ok(first..=last) } else { Err(wrong()) }
            }
        };
        text.split(',').map(range).collect::<Result<_, _>>().map(Self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use imgxfer_core::ids::PeerId;
    use imgxfer_core::transport::Dial;
    use std::os::unix::fs::PermissionsExt as _;

    fn target(key: &[u8]) -> Target {
        Target { name: "cloud".to_owned(), dial: Dial::new("cloud.example:1"), key: PeerId::of_key(key) }
    }

    fn listing(rows: usize) -> Listing {
        let row = |at| Row { study: format!("1.2.{at}"), series: None, instance: None };
        let mut listing = Listing::new(&target(b"cloud"), vec!["PatientName".to_owned()], &[]);
        (listing.at, listing.rows) = (100_000, (1..=rows).map(row).collect());
        listing
    }

    #[test]
    fn numbers_are_read() {
        let each = |text: &str| text.parse::<Numbers>().map(|numbers| numbers.each().collect::<Vec<_>>());
        assert_eq!(each("3"), Ok(vec![3]));
        assert_eq!(each("1,4-6"), Ok(vec![1, 4, 5, 6]));
        for wrong in ["", "0", "a", "1.2", "5-2", "1-", "-1", "1,,2", "1234567", "1-2-3"] {
            assert!(each(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn lines_lead_to_studies_for_a_day_and_at_one_peer() {
        let dir = tempfile::tempdir().unwrap();
        let places = Places { config: dir.path().join("c"), state: dir.path().join("s") };
        let text = |error: anyhow::Error| error.to_string();
        assert!(text(Listing::last(&places).unwrap_err()).contains("nothing was listed yet"));
        listing(600).keep(&places).unwrap();
        let mode = file(&places).metadata().unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        let kept = Listing::at(&places, 100_000 + HOLDS_SECONDS).unwrap();
        assert!(text(Listing::at(&places, 100_001 + HOLDS_SECONDS).unwrap_err()).contains("older than a day"));
        let pick = |numbers: &str, key: &[u8]| kept.pick(&numbers.parse().unwrap(), &target(key)).map_err(text);
        let studies: Vec<_> = pick("2-3,2,600", b"cloud").unwrap().studies.iter().map(ToString::to_string).collect();
        assert_eq!(studies, ["1.2.2", "1.2.3", "1.2.600"]);
        assert!(pick("601", b"cloud").unwrap_err().contains("no line 601"));
        assert!(pick("1-501", b"cloud").unwrap_err().contains("more than 500"));
        assert!(pick("1", b"other").unwrap_err().contains("was of cloud"));
        std::fs::write(file(&places), "{}").unwrap();
        assert!(text(Listing::last(&places).unwrap_err()).contains("cannot be read"));
    }
}
