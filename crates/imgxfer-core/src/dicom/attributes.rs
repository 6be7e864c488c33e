//! What an index keeps of an instance's data set.

use std::fmt;

use super::{Attribute, Level, Tag, tags};

/// Values of attributes of the [`CATALOGUE`](super::CATALOGUE), decoded: text without padding; several values are
/// joined by `\` as in the file. What is absent or empty in the file is not there.
///
/// This is patient data: `Debug` prints which are there, never what they hold.
#[derive(Clone, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Attributes {
    /// Ascending by tag; none is empty.
    values: Vec<(Tag, String)>,
}

impl Attributes {
    /// The value of an attribute; empty where it has none.
    #[must_use]
    pub fn get(&self, tag: Tag) -> &str {
        self.place(tag).map_or("", |at| self.values[at].1.as_str())
    }

    /// Each of an attribute's values; none where it has none.
    pub fn each(&self, tag: Tag) -> impl Iterator<Item = &str> {
        self.get(tag).split('\\').map(str::trim).filter(|value| !value.is_empty())
    }

    /// Sets a value; an empty one takes the attribute away.
    pub fn set(&mut self, tag: Tag, value: impl Into<String>) {
        let value = value.into();
        match (self.place(tag), value.is_empty()) {
            (Ok(at), true) => drop(self.values.remove(at)),
            (Ok(at), false) => self.values[at].1 = value,
            (Err(_), true) => {}
            (Err(at), false) => self.values.insert(at, (tag, value)),
        }
    }

    /// The same with a value set.
    #[must_use]
    pub fn with(mut self, tag: Tag, value: impl Into<String>) -> Self {
        self.set(tag, value);
        self
    }

    /// What is there, ascending by tag.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (Tag, &str)> {
        self.values.iter().map(|(tag, value)| (*tag, value.as_str()))
    }

    /// Those that are properties of something of this level.
    #[must_use]
    pub fn of_level(&self, level: Level) -> Self {
        let is_of = |tag: &Tag| Attribute::of(*tag).is_some_and(|attribute| attribute.level == level);
        Self { values: self.values.iter().filter(|(tag, _)| is_of(tag)).cloned().collect() }
    }

    /// Takes over the attributes of `other`, in place of its own where both have one.
    pub fn extend(&mut self, other: &Self) {
        for (tag, value) in other.iter() {
            self.set(tag, value);
        }
    }

    /// Whether none is there.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.values.is_empty()
    }

    /// Patient's Name (0010,0010), in the form `Family^Given`, its groups of letters, ideographs and sounds joined by
    /// `=` (PS3.5 section 6.2.1.2).
    #[must_use]
    pub fn patient_name(&self) -> &str {
        self.get(tags::PATIENT_NAME)
    }

    /// Patient ID (0010,0020).
    #[must_use]
    pub fn patient_id(&self) -> &str {
        self.get(tags::PATIENT_ID)
    }

    fn place(&self, tag: Tag) -> Result<usize, usize> {
        self.values.binary_search_by_key(&tag, |(tag, _)| *tag)
    }
}

impl FromIterator<(Tag, String)> for Attributes {
    fn from_iter<I: IntoIterator<Item = (Tag, String)>>(values: I) -> Self {
        let mut all = Self::default();
        values.into_iter().for_each(|(tag, value)| all.set(tag, value));
        all
    }
}

impl fmt::Debug for Attributes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let keyword = |tag| Attribute::of(tag).map_or("?", |attribute| attribute.keyword);
        f.write_str("Attributes")?;
        f.debug_set().entries(self.iter().map(|(tag, _)| keyword(tag))).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_set_and_taken_away() {
        let mut all = Attributes::default().with(tags::MODALITY, "CT").with(tags::PATIENT_ID, "P1");
        assert_eq!((all.get(tags::MODALITY), all.patient_id(), all.patient_name()), ("CT", "P1", ""));
        all.set(tags::MODALITY, "");
        assert_eq!(all.iter().collect::<Vec<_>>(), [(tags::PATIENT_ID, "P1")]);
        assert_eq!(all.of_level(Level::Patient), all);
        assert!(all.of_level(Level::Study).is_empty());
        assert_eq!(format!("{all:?}"), "Attributes{\"PatientID\"}", "and no value is printed");
        all.extend(&Attributes::default().with(tags::PATIENT_ID, "P2").with(tags::IMAGE_TYPE, "ORIGINAL\\ PRIMARY"));
        assert_eq!(all.patient_id(), "P2");
        assert_eq!(all.each(tags::IMAGE_TYPE).collect::<Vec<_>>(), ["ORIGINAL", "PRIMARY"]);
        assert_eq!(all.each(tags::MODALITY).count(), 0);
    }
}
