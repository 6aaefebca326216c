//! One key, one device, one person: what must hold between a key, a device and a certificate before another is issued.
//!
//! Pure. The store has the last word, for two may ask at once: a handle that is taken fails the transaction.

use crate::evidence::{Certificate, Device, DeviceStatus};
use crate::sources::certificate::named_device;
use std::sync::Arc;

/// Why a good key gets no certificate. Each is worth an alert but `Suspended` and `OwnerSuspended`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AdmitFault {
    /// One key at two devices is a copied key.
    #[error("this key belongs to another device, `{device}`")]
    KeyOfAnother { device: Arc<str> },
    #[error("this key belongs to a device whose time is over, `{device}`")]
    KeyOfRevoked { device: Arc<str> },
    /// The certificate shown names one device, the registry says that its key is another's.
    #[error("the certificate names the device `{named}`, its key is that of `{device}`")]
    AnotherSubject { named: Arc<str>, device: Arc<str> },
    /// Not issued here: its issuer renews it.
    #[error("the certificate was not issued by this gateway's authority")]
    Foreign,
    #[error("the device `{device}` is suspended")]
    Suspended { device: Arc<str> },
    #[error("the owner of the device `{device}` is suspended")]
    OwnerSuspended { device: Arc<str> },
    #[error("the device `{device}` is revoked")]
    Revoked { device: Arc<str> },
}

impl AdmitFault {
    /// The code as it stands in answers and audit records.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::KeyOfAnother { .. } => "key-of-another-device",
            Self::KeyOfRevoked { .. } => "key-of-revoked-device",
            Self::AnotherSubject { .. } => "certificate-of-another-device",
            Self::Foreign => "certificate-foreign",
            Self::Suspended { .. } => "device-suspended",
            Self::OwnerSuspended { .. } => "owner-suspended",
            Self::Revoked { .. } => "device-revoked",
        }
    }
}

/// Whether a key may become a key of `device`, when the registry has it at `holder`.
///
/// # Errors
/// It is the key of another device, or of one that was revoked, this one included.
pub fn admit(device: &str, holder: Option<&Device>) -> Result<(), AdmitFault> {
    match holder {
        Some(holder) if holder.status == DeviceStatus::Revoked => {
            Err(AdmitFault::KeyOfRevoked { device: Arc::clone(&holder.id) })
        }
        Some(holder) if &*holder.id != device => Err(AdmitFault::KeyOfAnother { device: Arc::clone(&holder.id) }),
        _ => Ok(()),
    }
}

/// Whether `device`, which showed `certificate`, may have a new one for a key that the registry has at `holder`.
///
/// # Errors
/// The certificate is not ours or not this device's, the device is not in good standing, or the key is another's.
pub fn renew(certificate: &Certificate, device: &Device, holder: Option<&Device>) -> Result<(), AdmitFault> {
    let id = || Arc::clone(&device.id);
    let named = named_device(certificate).ok_or(AdmitFault::Foreign)?;
    if certificate.class.is_some() {
        return Err(AdmitFault::Foreign);
    }
    if named != &*device.id {
        return Err(AdmitFault::AnotherSubject { named: named.into(), device: id() });
    }
    match device.status {
        DeviceStatus::Active | DeviceStatus::Watched => admit(&device.id, holder),
        DeviceStatus::Suspended => Err(AdmitFault::Suspended { device: id() }),
        DeviceStatus::Revoked => Err(AdmitFault::Revoked { device: id() }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::evidence::Moment;

    fn device(id: &str, status: DeviceStatus) -> Device {
        Device { id: id.into(), owner: None, class: "corporate".into(), status }
    }

    fn certificate(sans: &[&str], class: Option<&str>) -> Certificate {
        Certificate {
            sha256: "".into(),
            spki_sha256: "".into(),
            serial: "1".into(),
            subject: "".into(),
            issuer: "".into(),
            sans: sans.iter().map(|&san| san.into()).collect(),
            not_before: Moment(0),
            not_after: Moment(0),
            class: class.map(Into::into),
        }
    }

    fn code(result: Result<(), AdmitFault>) -> &'static str {
        result.map_or_else(|fault| fault.code(), |()| "ok")
    }

    #[test]
    fn a_key_has_one_device() {
        use DeviceStatus::{Active, Revoked, Suspended};
        assert_eq!(code(admit("a", None)), "ok");
        assert_eq!(code(admit("a", Some(&device("a", Active)))), "ok");
        assert_eq!(code(admit("a", Some(&device("a", Suspended)))), "ok");
        assert_eq!(code(admit("a", Some(&device("b", Active)))), "key-of-another-device");
        assert_eq!(code(admit("a", Some(&device("b", Revoked)))), "key-of-revoked-device");
        assert_eq!(code(admit("a", Some(&device("a", Revoked)))), "key-of-revoked-device");
    }

    #[test]
    fn only_the_device_itself_renews_and_only_in_good_standing() {
        use DeviceStatus::{Active, Revoked, Suspended, Watched};
        let ours = certificate(&["uri:urn:rangegate:device:a"], None);
        for (status, expected) in
            [(Active, "ok"), (Watched, "ok"), (Suspended, "device-suspended"), (Revoked, "device-revoked")]
        {
            assert_eq!(code(renew(&ours, &device("a", status), None)), expected);
        }
        let a = device("a", Active);
        assert_eq!(code(renew(&ours, &a, Some(&a))), "ok", "the key may stay");
        assert_eq!(code(renew(&ours, &a, Some(&device("b", Active)))), "key-of-another-device");
        assert_eq!(code(renew(&ours, &device("b", Active), None)), "certificate-of-another-device");
        let foreign = [
            certificate(&[], None),
            certificate(&["uri:urn:rangegate:device:a"], Some("contractor")),
            certificate(&["uri:urn:rangegate:device:a", "uri:urn:rangegate:device:b"], None),
        ];
        for other in foreign {
            assert_eq!(code(renew(&other, &a, None)), "certificate-foreign", "{:?}", other.sans);
        }
    }
}
