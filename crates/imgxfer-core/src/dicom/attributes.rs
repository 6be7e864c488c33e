//! What people search for: the few attributes of an instance that an index keeps.

use std::fmt;

/// Attributes of an instance for queries, as text without padding; empty where absent.
///
/// This is patient data: `Debug` prints which fields are set, never what they hold.
#[derive(Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Attributes {
    /// Patient ID (0010,0020).
    pub patient_id: String,
    /// Patient's Name (0010,0010), in the form `Family^Given`.
    pub patient_name: String,
    /// Accession Number (0008,0050).
    pub accession_number: String,
    /// Study Date (0008,0020), `YYYYMMDD`.
    pub study_date: String,
    /// Study Time (0008,0030), `HHMMSS.FFFFFF`, any suffix absent.
    pub study_time: String,
    /// Study Description (0008,1030).
    pub study_description: String,
    /// Modality (0008,0060), such as `CT`.
    pub modality: String,
    /// Series Description (0008,103E).
    pub series_description: String,
    /// Series Number (0020,0011).
    pub series_number: String,
    /// Instance Number (0020,0013).
    pub instance_number: String,
}

impl fmt::Debug for Attributes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let set = [
            ("patient_id", &self.patient_id),
            ("patient_name", &self.patient_name),
            ("accession_number", &self.accession_number),
            ("study_date", &self.study_date),
            ("study_time", &self.study_time),
            ("study_description", &self.study_description),
            ("modality", &self.modality),
            ("series_description", &self.series_description),
            ("series_number", &self.series_number),
            ("instance_number", &self.instance_number),
        ];
        let names = set.iter().filter(|(_, value)| !value.is_empty()).map(|(name, _)| name);
        f.write_str("Attributes")?;
        f.debug_set().entries(names).finish()
    }
}
