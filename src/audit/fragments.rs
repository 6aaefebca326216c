//! What the closing records of one connection begin with, kept ready: the connection, and the evidence that seldom
//! changes on it.
//!
//! Certificate, device, person and network are behind `Arc`s that live as long as a connection or a token does. While
//! they are the same, so is their text, and so is the state of the hash behind it.

use super::chain::Prefix;
use super::line::begin;
use super::pen::Pen;
use super::record::Connection;
use super::slots::Slots;
use crate::evidence::{Binding, Certificate, Device, Evidence, Fact, Grant, Identity, Network, Posture, Subject};
use serde::Serialize;
use std::sync::Arc;

#[derive(Default)]
pub struct Fragments(Slots<Connection, (Known, Prefix)>);

impl Fragments {
    /// The line up to the last field of `Known`.
    pub fn prefix(&mut self, connection: &Arc<Connection>, evidence: &Evidence) -> &Prefix {
        let kept = self.0.of(connection, || Known::of(evidence).begin(connection));
        if !kept.0.is_of(evidence) {
            *kept = Known::of(evidence).begin(connection);
        }
        &kept.1
    }
}

/// The part of the evidence that stays.
#[derive(Serialize)]
struct Known {
    certificate: Fact<Arc<Certificate>>,
    device: Fact<Arc<Device>>,
    subject: Fact<Arc<Subject>>,
    binding: Fact<Binding>,
    identity: Fact<Arc<Identity>>,
    network: Arc<Network>,
    grants: Fact<Arc<[Grant]>>,
    posture: Fact<Posture>,
}

impl Known {
    fn of(evidence: &Evidence) -> Self {
        Self {
            certificate: evidence.certificate.clone(),
            device: evidence.device.clone(),
            subject: evidence.subject.clone(),
            binding: evidence.binding.clone(),
            identity: evidence.identity.clone(),
            network: Arc::clone(&evidence.network),
            grants: evidence.grants.clone(),
            posture: evidence.posture.clone(),
        }
    }

    fn begin(self, connection: &Connection) -> (Self, Prefix) {
        let mut text = Vec::with_capacity(1024);
        let mut pen = Pen(&mut text);
        begin(&mut pen, "request");
        pen.raw(r#","connection":"#).value(connection).raw(r#","evidence":"#).value(&self);
        // The rest of the evidence follows.
        text.pop();
        (self, Prefix::new(text))
    }

    fn is_of(&self, evidence: &Evidence) -> bool {
        same(&self.certificate, &evidence.certificate)
            && same(&self.device, &evidence.device)
            && same(&self.subject, &evidence.subject)
            && self.binding == evidence.binding
            && same(&self.identity, &evidence.identity)
            && Arc::ptr_eq(&self.network, &evidence.network)
            && self.grants == evidence.grants
            && self.posture == evidence.posture
    }
}

/// Whether two facts are the same by address.
fn same<T: ?Sized>(a: &Fact<Arc<T>>, b: &Fact<Arc<T>>) -> bool {
    match (a, b) {
        (Fact::Known(a), Fact::Known(b)) => Arc::ptr_eq(a, b),
        (Fact::Absent, Fact::Absent) => true,
        (Fact::Invalid(a), Fact::Invalid(b)) | (Fact::Unavailable(a), Fact::Unavailable(b)) => a == b,
        _ => false,
    }
}
