//! Whether a verified certificate may stand for the device that its key belongs to.

use crate::evidence::{Certificate, Device, Fault};

/// What the built-in authority calls a device by, as a URI in the certificate: this and the device's id.
pub const DEVICE_URN: &str = "urn:rangegate:device:";

/// The id of the one device that the certificate names as [`DEVICE_URN`] does. None: it names none, or several.
pub fn named_device(certificate: &Certificate) -> Option<&str> {
    let mut named = names(certificate);
    named.next().filter(|_| named.next().is_none())
}

/// # Errors
/// The certificate names another device, or comes from an authority that may vouch for another class only.
pub fn belongs(certificate: &Certificate, device: &Device) -> Result<(), Fault> {
    if certificate.class.as_ref().is_some_and(|class| *class != device.class) {
        return Err(Fault::AuthorityOtherClass);
    }
    if names(certificate).any(|id| id != &*device.id) {
        return Err(Fault::CertificateOtherDevice);
    }
    Ok(())
}

fn names(certificate: &Certificate) -> impl Iterator<Item = &str> {
    certificate.sans.iter().filter_map(|san| san.strip_prefix("uri:")?.strip_prefix(DEVICE_URN))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::evidence::{DeviceStatus, Moment};

    #[test]
    fn another_name_and_another_class_have_their_own_faults() {
        let device = Device { id: "a".into(), owner: None, class: "vendor".into(), status: DeviceStatus::Active };
        let with = |sans: &[&str], class: Option<&str>| Certificate {
            sha256: "".into(),
            spki_sha256: "".into(),
            serial: "1".into(),
            subject: "".into(),
            issuer: "".into(),
            sans: sans.iter().map(|&san| san.into()).collect(),
            not_before: Moment(0),
            not_after: Moment(0),
            class: class.map(Into::into),
        };
        let (a, b) = ("uri:urn:rangegate:device:a", "uri:urn:rangegate:device:b");
        for (sans, class, expected) in [
            (&[][..], None, Ok(())),
            (&["dns:x", a], None, Ok(())),
            (&[a], Some("vendor"), Ok(())),
            (&[b], None, Err(Fault::CertificateOtherDevice)),
            (&[a, b], None, Err(Fault::CertificateOtherDevice)),
            (&[], Some("corporate"), Err(Fault::AuthorityOtherClass)),
            (&[b], Some("corporate"), Err(Fault::AuthorityOtherClass)),
        ] {
            assert_eq!(belongs(&with(sans, class), &device), expected, "{sans:?} {class:?}");
        }
        assert_eq!(named_device(&with(&["dns:x", a], None)), Some("a"));
        assert_eq!(named_device(&with(&[a, b], None)), None);
    }
}
