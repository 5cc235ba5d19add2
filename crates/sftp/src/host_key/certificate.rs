//! Whether a host's certificate holds.

use russh::keys::ssh_key::certificate::CertType;
use russh::keys::ssh_key::public::KeyData;
use russh::keys::{Algorithm, Certificate, HashAlg};

use crate::config::AlgorithmList;
use crate::pattern::fits;

/// What is wrong with a certificate, as the end of a sentence. Whether its authority may be trusted is
/// for the caller to know.
pub(super) fn problem(
    certificate: &Certificate,
    principal: &str,
    now: u64,
    signatures: Option<&AlgorithmList>,
) -> Option<String> {
    let authority = certificate.signature_key();
    let signature = certificate.signature().algorithm();
    let is_weak =
        matches!(signature, Algorithm::Rsa { hash: None } | Algorithm::Dsa | Algorithm::Other(_));
    let is_allowed = signatures.is_none_or(|list| !list.apply(&[signature.as_str()]).is_empty());
    let principals = certificate.valid_principals();
    if certificate.cert_type() != CertType::Host {
        Some("it is not made for a host".to_owned())
    } else if matches!(authority, KeyData::Certificate(_)) {
        Some("its authority is itself a certificate".to_owned())
    } else if is_weak || !is_allowed {
        Some(format!("its signature by {} is not accepted", signature.as_str()))
    } else if !certificate.critical_options().is_empty() {
        Some("it has critical options, and none is known for hosts".to_owned())
    } else if now < certificate.valid_after() {
        Some("it is not valid yet".to_owned())
    } else if now >= certificate.valid_before() {
        Some("it has expired".to_owned())
    } else if !principals.is_empty() && !principals.iter().any(|pattern| fits(principal, pattern)) {
        Some(format!("it is made out to {}, not to {principal}", principals.join(", ")))
    } else if certificate.validate_at(now, [&authority.fingerprint(HashAlg::Sha256)]).is_err() {
        Some("its signature is wrong".to_owned())
    } else {
        None
    }
}
