//! Whether certificate, device record and subject belong together (RFC 8705 section 3).

use crate::evidence::{Binding, Certificate, Device, Fact, Fault, Subject};
use std::sync::Arc;

/// The binding fact. What is missing or bad in any of the three is missing or bad here:
/// an `Invalid` part before an `Unavailable` one before an `Absent` one.
///
/// Takes the subject as the token says it is, before `confirmed`, so that a stolen token shows as
/// `AnotherCertificate`.
pub fn binding(
    certificate: &Fact<Arc<Certificate>>,
    device: &Fact<Arc<Device>>,
    subject: &Fact<Arc<Subject>>,
) -> Fact<Binding> {
    let (Fact::Known(certificate), Fact::Known(device), Fact::Known(subject)) = (certificate, device, subject) else {
        return missing([lack(certificate), lack(device), lack(subject)]);
    };
    Fact::Known(match (&subject.bound_to, &device.owner) {
        (Some(bound), _) if *bound != certificate.sha256 => Binding::AnotherCertificate,
        (_, None) => Binding::NoOwner,
        (_, Some(owner)) if *owner != subject.user => Binding::AnotherOwner,
        (Some(_), Some(_)) => Binding::TokenAndDevice,
        (None, Some(_)) => Binding::DeviceOnly,
    })
}

/// The subject, if its token may be used on this connection: a token bound to a certificate is worth
/// nothing without that certificate, whatever the policy asks of devices.
pub fn confirmed(subject: Fact<Arc<Subject>>, certificate: &Fact<Arc<Certificate>>) -> Fact<Arc<Subject>> {
    let Fact::Known(Some(bound)) = subject.as_ref().map(|subject| subject.bound_to.as_deref()) else {
        return subject;
    };
    match certificate {
        Fact::Known(certificate) if *certificate.sha256 == *bound => subject,
        Fact::Known(_) | Fact::Absent => Fact::Invalid(Fault::TokenAnotherCertificate),
        Fact::Invalid(fault) => Fact::Invalid(*fault),
        Fact::Unavailable(fault) => Fact::Unavailable(*fault),
    }
}

/// What a part lacks, its value taken off.
fn lack<T>(fact: &Fact<T>) -> Fact<()> {
    fact.as_ref().map(|_| ())
}

fn missing(parts: [Fact<()>; 3]) -> Fact<Binding> {
    let weight = |fact: &Fact<()>| match fact {
        Fact::Invalid(_) => 3,
        Fact::Unavailable(_) => 2,
        Fact::Absent => 1,
        Fact::Known(()) => 0,
    };
    // The first of the heaviest, so that certificate faults come before those that follow from them.
    let [first, second, third] = parts;
    let heavier = |a: Fact<()>, b: Fact<()>| if weight(&b) > weight(&a) { b } else { a };
    heavier(heavier(first, second), third).and_then(|()| Fact::Absent)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::evidence::{DeviceStatus, Moment};

    fn certificate(sha256: &str) -> Fact<Arc<Certificate>> {
        Fact::Known(Arc::new(Certificate {
            sha256: sha256.into(),
            spki_sha256: "key".into(),
            serial: "1".into(),
            subject: "".into(),
            issuer: "".into(),
            sans: Vec::new(),
            not_before: Moment(0),
            not_after: Moment(1),
            class: None,
        }))
    }

    fn device(owner: Option<&str>) -> Fact<Arc<Device>> {
        Fact::Known(Arc::new(Device {
            id: "laptop".into(),
            owner: owner.map(Into::into),
            class: "corporate".into(),
            status: DeviceStatus::Active,
        }))
    }

    fn subject(user: &str, bound_to: Option<&str>) -> Fact<Arc<Subject>> {
        Fact::Known(Arc::new(Subject {
            issuer: "https://id.example".into(),
            id: "1".into(),
            user: user.into(),
            groups: Vec::new(),
            assurance: Vec::new(),
            acr: None,
            amr: Vec::new(),
            authenticated: None,
            expires: Moment(1),
            bound_to: bound_to.map(Into::into),
        }))
    }

    #[test]
    fn three_known_parts_agree_or_say_who_does_not() {
        let cases = [
            (Some("ann"), "ann", Some("aa"), Binding::TokenAndDevice),
            (Some("ann"), "ann", None, Binding::DeviceOnly),
            (Some("ann"), "bob", None, Binding::AnotherOwner),
            (Some("ann"), "bob", Some("aa"), Binding::AnotherOwner),
            (None, "ann", None, Binding::NoOwner),
            (None, "ann", Some("aa"), Binding::NoOwner),
            (Some("ann"), "ann", Some("bb"), Binding::AnotherCertificate),
            (None, "ann", Some("bb"), Binding::AnotherCertificate),
            // Names are compared byte by byte.
            (Some("ann"), "Ann", None, Binding::AnotherOwner),
        ];
        for (owner, user, bound, expected) in cases {
            let fact = binding(&certificate("aa"), &device(owner), &subject(user, bound));
            assert_eq!(fact, Fact::Known(expected), "{owner:?} {user} {bound:?}");
        }
    }

    #[test]
    fn one_part_that_is_not_known_makes_the_binding_not_known() {
        let lacks = |fault| [Fact::Absent, Fact::Invalid(fault), Fact::Unavailable(fault)];
        let (c, d, s) = (certificate("aa"), device(Some("ann")), subject("ann", None));
        for lack in lacks(Fault::CertificateRevoked) {
            let expected = lack.clone().and_then(|()| Fact::Absent);
            assert_eq!(binding(&lack.clone().and_then(|()| Fact::Absent), &d, &s), expected);
            assert_eq!(binding(&c, &lack.clone().and_then(|()| Fact::Absent), &s), expected);
            assert_eq!(binding(&c, &d, &lack.and_then(|()| Fact::Absent)), expected);
        }
        let expired = Fact::Invalid(Fault::TokenExpired);
        assert_eq!(binding(&Fact::Absent, &Fact::Absent, &expired), Fact::Invalid(Fault::TokenExpired));
        let unknown = Fact::Unavailable(Fault::CrlMissing);
        assert_eq!(binding(&unknown, &Fact::Absent, &Fact::Absent), Fact::Unavailable(Fault::CrlMissing));
    }

    #[test]
    fn a_bound_token_is_worth_nothing_without_its_certificate() {
        let bound = || subject("ann", Some("aa"));
        assert_eq!(confirmed(bound(), &certificate("aa")), bound());
        let refused = Fact::Invalid(Fault::TokenAnotherCertificate);
        assert_eq!(confirmed(bound(), &certificate("bb")), refused);
        assert_eq!(confirmed(bound(), &Fact::Absent), refused);
        assert_eq!(confirmed(bound(), &Fact::Unavailable(Fault::CrlExpired)), Fact::Unavailable(Fault::CrlExpired));
        let free = || subject("ann", None);
        assert_eq!(confirmed(free(), &Fact::Absent), free());
        assert_eq!(confirmed(Fact::Absent, &certificate("aa")), Fact::Absent);
    }
}
