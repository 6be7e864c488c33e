//! Makes a site's own key and self-signed certificate.

use super::IdentityError;
use crate::transport::tls;
use rcgen::{
    CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, KeyPair, KeyUsagePurpose, PKCS_ED25519,
    SerialNumber, date_time_ymd,
};
use zeroize::Zeroizing;

/// A new Ed25519 key, PEM PKCS #8.
pub(super) fn key() -> Result<Zeroizing<String>, IdentityError> {
    let key = KeyPair::generate_for(&PKCS_ED25519).map_err(|_| IdentityError::Key)?;
    Ok(Zeroizing::new(key.serialize_pem()))
}

/// A self-signed certificate for a PEM key.
///
/// It names no host and no hospital: peers know the key, and the certificate is sent before the
/// other side has proven who it is. "Has no well-defined expiration" is how RFC 5280, 4.1.2.5 puts
/// the last day; a key is retired by removing it from the peers' lists.
pub(super) fn certificate(key_pem: &str) -> Result<String, IdentityError> {
    let key = KeyPair::from_pem(key_pem).map_err(|_| IdentityError::Key)?;
    let mut params = CertificateParams::new(Vec::new()).map_err(|_| IdentityError::Certificate)?;
    let mut name = DistinguishedName::new();
    name.push(DnType::CommonName, "imgxfer");
    params.distinguished_name = name;
    params.not_before = date_time_ymd(2020, 1, 1);
    params.not_after = date_time_ymd(9999, 12, 31);
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
    // Positive and of full length in DER: the top bit clear, the next one set.
    let mut serial: [u8; 16] = tls::random().map_err(|_| IdentityError::Key)?;
    serial[0] = serial[0] & 0x7f | 0x40;
    params.serial_number = Some(SerialNumber::from_slice(&serial));
    Ok(params.self_signed(&key).map_err(|_| IdentityError::Certificate)?.pem())
}
