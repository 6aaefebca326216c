//! What every decision asks, whatever the policy says: is the person or the device suspended, is the person watched?
//! Where nobody is signed in it is the device's owner who is looked at: a device is worth no more than whose it is.
//!
//! It is one more finding, so that no other finding can outweigh it. It says something only when something is
//! wrong: a person without a record and a connection without a device are the policy's business. A record that
//! should be there and cannot be read is no reason to pass: the person might be suspended in it.

use super::decision::{Finding, Remedy, Scope, Verdict};
use super::outcome::Outcome;
use super::reason::Reason;
use super::resource::Sensitivity;
use super::seen::Seen;
use crate::evidence::{DeviceStatus, Evidence, Fact, Identity, IdentityStatus};
use std::sync::Arc;

/// The finding's name where requirements have theirs.
pub const ID: &str = "good-standing";

/// What stands against whoever asks. None: nothing.
pub(super) fn find(evidence: &Evidence, sensitivity: Sensitivity) -> Option<Finding> {
    let user = |identity: &Identity| Seen::Text(Arc::clone(&identity.user));
    let owner = || evidence.device.known().and_then(|device| device.owner.clone()).map_or(Seen::Nothing, Seen::Text);
    let (verdict, reason, demand, seen) = match (&evidence.identity, &evidence.owner, &evidence.device) {
        (Fact::Known(identity), ..) if identity.status == IdentityStatus::Suspended => {
            (Verdict::Unmet, Reason::IdentitySuspended, Outcome::Deny, user(identity))
        }
        (_, Fact::Known(IdentityStatus::Suspended), _) => {
            (Verdict::Unmet, Reason::OwnerSuspended, Outcome::Deny, owner())
        }
        (.., Fact::Known(device)) if device.status == DeviceStatus::Suspended => {
            (Verdict::Unmet, Reason::DeviceSuspended, Outcome::Deny, Seen::Text(Arc::clone(&device.id)))
        }
        (.., Fact::Known(device)) if device.status == DeviceStatus::Revoked => {
            (Verdict::Unmet, Reason::DeviceRevoked, Outcome::Deny, Seen::Text(Arc::clone(&device.id)))
        }
        (Fact::Known(identity), ..)
            if identity.status == IdentityStatus::Watched && sensitivity == Sensitivity::High =>
        {
            (Verdict::Unmet, Reason::Watched, Outcome::Deny, user(identity))
        }
        (_, Fact::Known(IdentityStatus::Watched), _) if sensitivity == Sensitivity::High => {
            (Verdict::Unmet, Reason::Watched, Outcome::Deny, owner())
        }
        (Fact::Invalid(fault) | Fact::Unavailable(fault), ..)
        | (_, Fact::Invalid(fault) | Fact::Unavailable(fault), _)
        | (.., Fact::Unavailable(fault)) => (Verdict::Unknown, Reason::Fault(*fault), Outcome::Deny, Seen::Nothing),
        (Fact::Known(identity), ..) if identity.status == IdentityStatus::Watched => {
            (Verdict::Unmet, Reason::Watched, Outcome::Observe, user(identity))
        }
        (_, Fact::Known(IdentityStatus::Watched), _) => (Verdict::Unmet, Reason::Watched, Outcome::Observe, owner()),
        _ => return None,
    };
    Some(Finding { scope: Scope::BuiltIn, requirement: ID.into(), verdict, reason, demand, seen, remedy: Remedy::None })
}

#[cfg(test)]
mod tests {
    use crate::evidence::Emergency;
    use crate::policy::given::{self, Given};
    use crate::policy::source::Source;
    use crate::policy::{Context, Outcome, Policy};

    const TEXT: &str = "
        [[resource]]
        id = 'high'
        hosts = ['high.example']
        upstream = 'http://127.0.0.1:1'
        require = [{ id = 'q', that = { path = '/**' } }]
        [[resource]]
        id = 'low'
        hosts = ['low.example']
        upstream = 'http://127.0.0.1:1'
        sensitivity = 'low'
        require = [{ id = 'q', that = { path = '/**' } }]
        [[resource]]
        id = 'shadow'
        hosts = ['shadow.example']
        upstream = 'http://127.0.0.1:1'
        mode = 'observe'
        require = [{ id = 'q', that = { path = '/**' } }]
    ";

    fn decided(host: &str, given: &str, emergency: Emergency) -> (Outcome, &'static str) {
        let policy = Policy::compile(&[Source::new("t", TEXT)], &Context::default()).expect("compiles");
        let given = Given::read(&[given.to_owned()], &policy).expect("reads");
        let request = given::request(&format!("GET https://{host}.example/")).expect("a request");
        let mut evidence = given.evidence(request, &policy);
        evidence.emergency = emergency;
        let decision = policy.decide(&evidence);
        (decision.outcome, decision.reason.code())
    }

    #[test]
    fn a_suspended_person_or_device_is_refused_even_where_others_are_only_watched() {
        for (given, reason) in [
            ("identity = { status = 'suspended' }", "identity-suspended"),
            ("device = 'd', device-status = 'suspended'", "device-suspended"),
            ("device = 'd', device-status = 'revoked'", "device-revoked"),
            ("device = 'd', device-owner = 'ann', owner-status = 'suspended'", "owner-suspended"),
            ("device = 'd', unavailable = ['owner-status']", "registry-unavailable"),
            ("unavailable = ['identity']", "registry-unavailable"),
            ("unavailable = ['device']", "registry-unavailable"),
        ] {
            for host in ["high", "low", "shadow"] {
                assert_eq!(decided(host, given, Emergency::Off), (Outcome::Deny, reason), "{host}: {given}");
            }
            assert_eq!(
                decided("high", given, Emergency::Observe).0,
                Outcome::Observe,
                "the switch is for all but the api"
            );
        }
    }

    #[test]
    fn a_watched_person_keeps_what_is_not_sensitive() {
        for given in
            ["identity = { status = 'watched' }", "device = 'd', device-owner = 'ann', owner-status = 'watched'"]
        {
            assert_eq!(decided("high", given, Emergency::Off), (Outcome::Deny, "watched"));
            assert_eq!(decided("low", given, Emergency::Off), (Outcome::Observe, "watched"));
        }
        let both = "identity = { status = 'watched' }, unavailable = ['device']";
        assert_eq!(decided("low", both, Emergency::Off), (Outcome::Deny, "registry-unavailable"));
    }

    #[test]
    fn who_is_not_on_record_is_the_policys_business() {
        for given in [
            "",
            "user = 'ann'",
            "identity = {}",
            "device = 'd', device-status = 'watched'",
            "device = 'd', device-owner = 'ann', owner-status = 'active'",
            "invalid = ['certificate-expired']",
        ] {
            for host in ["high", "low", "shadow"] {
                assert_eq!(decided(host, given, Emergency::Off), (Outcome::Forward, "all-met"), "{host}: {given}");
            }
        }
    }
}
