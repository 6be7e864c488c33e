//! How rows keep what a study's headers say of it, and put an instance together again.

use crate::dicom::{Attributes, tags};
use crate::store::recipe::{RecipeError, put_attributes, take_attributes};
use crate::store::summary::Summary;
use crate::store::{StoredInstance, StudyPatient};
use crate::units::{to_u32, to_usize};
use crate::wire::bytes::Reader;

/// Puts together what [`divide`](crate::store::summary::divide) divided.
pub(super) fn join(instance: &mut StoredInstance, header: &Attributes) {
    let mut whole = header.clone();
    whole.set(tags::SOP_CLASS_UID, "");
    whole.extend(&instance.attributes);
    instance.attributes = whole;
}

/// What headers say beside a summary, as a row keeps it.
pub(super) fn encode_aside(aside: &[Attributes]) -> Vec<u8> {
    let mut out = Vec::new();
    aside.iter().for_each(|said| put_attributes(&mut out, said));
    out
}

/// Reads what [`encode_aside`] wrote.
pub(super) fn decode_aside(bytes: &[u8]) -> Result<Vec<Attributes>, RecipeError> {
    let mut reader = Reader::new(bytes);
    let mut aside = Vec::new();
    while !reader.is_empty() {
        aside.push(take_attributes(&mut reader)?);
    }
    Ok(aside)
}

impl Summary {
    pub(in crate::store) fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        put_attributes(&mut out, &self.attributes);
        out.extend_from_slice(&to_u32(self.patients.len()).to_le_bytes());
        for patient in &self.patients {
            put_attributes(&mut out, &patient.attributes);
            out.extend_from_slice(&patient.instances.to_le_bytes());
        }
        for list in [&self.modalities, &self.sop_classes] {
            let list = list.join("\\");
            out.extend_from_slice(&to_u32(list.len()).to_le_bytes());
            out.extend_from_slice(list.as_bytes());
        }
        out
    }

    pub(in crate::store) fn decode(bytes: &[u8]) -> Result<Self, RecipeError> {
        if bytes.is_empty() {
            return Ok(Self::default());
        }
        let mut reader = Reader::new(bytes);
        let attributes = take_attributes(&mut reader)?;
        let mut patients = Vec::new();
        for _ in 0..reader.u32()? {
            let attributes = take_attributes(&mut reader)?;
            patients.push(StudyPatient { attributes, instances: reader.u64()? });
        }
        let mut list = || -> Result<Vec<String>, RecipeError> {
            let len = to_usize(u64::from(reader.u32()?));
            let text = std::str::from_utf8(reader.take(len)?).map_err(|_| RecipeError::Malformed)?;
            Ok(text.split('\\').filter(|part| !part.is_empty()).map(str::to_owned).collect())
        };
        let (modalities, sop_classes) = (list()?, list()?);
        if !reader.is_empty() {
            return Err(RecipeError::Malformed);
        }
        Ok(Self { attributes, patients, modalities, sop_classes })
    }
}
