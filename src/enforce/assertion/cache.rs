//! What a worker has signed and may say again.

use super::Told;
use crate::evidence::{Binding, Certificate, Device, Evidence, Moment, Subject};
use crate::policy::Decision;
use std::collections::HashMap;
use std::hash::{BuildHasher as _, BuildHasherDefault, Hasher, RandomState};
use std::sync::Arc;

/// Everything an assertion says or rests on, except the time. Two requests share an assertion only when all of
/// it is equal.
pub(super) struct Premises<'a> {
    pub generation: u64,
    pub subject: Option<&'a Arc<Subject>>,
    pub certificate: Option<&'a Arc<Certificate>>,
    pub device: Option<&'a Arc<Device>>,
    pub binding: Option<Binding>,
    pub resource: &'a Arc<str>,
    pub policy: &'a Arc<str>,
}

impl<'a> Premises<'a> {
    pub fn of(generation: u64, evidence: &'a Evidence, decision: &'a Decision) -> Self {
        static NOWHERE: std::sync::LazyLock<Arc<str>> = std::sync::LazyLock::new(|| Arc::from(""));
        Self {
            generation,
            subject: evidence.subject.known(),
            certificate: evidence.certificate.known(),
            device: evidence.device.known(),
            binding: evidence.binding.known().copied(),
            resource: decision.resource.as_ref().map_or(&*NOWHERE, |resource| &resource.id),
            policy: &decision.policy,
        }
    }
}

/// Assertions of one worker: never shared between threads, never more than its bound.
#[derive(Debug)]
pub struct AssertionCache {
    entries: HashMap<u64, Entry, BuildHasherDefault<AlreadyHashed>>,
    capacity: usize,
    /// Keyed anew in every process, so that nobody can choose identities that collide.
    hash: RandomState,
}

#[derive(Debug)]
struct Entry {
    generation: u64,
    subject: Option<Arc<Subject>>,
    certificate: Option<Arc<Certificate>>,
    device: Option<Arc<Device>>,
    binding: Option<Binding>,
    resource: Arc<str>,
    policy: Arc<str>,
    told: Told,
    signed: Moment,
    reusable_until: Moment,
}

impl AssertionCache {
    /// A cache of at most `capacity` assertions, about a kilobyte each.
    pub fn new(capacity: usize) -> Self {
        Self { entries: HashMap::default(), capacity, hash: RandomState::new() }
    }

    pub fn len(&self) -> usize {
        self.entries.len()
    }

    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Where assertions for these premises are kept. Others may share the place: `find` compares.
    pub(super) fn slot(&self, premises: &Premises<'_>) -> u64 {
        let mut hasher = self.hash.build_hasher();
        if let Some(subject) = premises.subject {
            hasher.write(subject.issuer.as_bytes());
            hasher.write(subject.id.as_bytes());
            hasher.write_i64(subject.expires.millis());
        }
        if let Some(certificate) = premises.certificate {
            hasher.write(certificate.sha256.as_bytes());
        }
        hasher.write(premises.resource.as_bytes());
        hasher.finish()
    }

    pub(super) fn find(&self, slot: u64, premises: &Premises<'_>, now: Moment) -> Option<Told> {
        let entry = self.entries.get(&slot)?;
        // A clock that stepped back would find assertions from the future: signed anew.
        let fresh = entry.signed <= now && now < entry.reusable_until;
        (fresh && entry.rests_on(premises)).then(|| entry.told.clone())
    }

    pub(super) fn keep(
        &mut self,
        slot: u64,
        premises: &Premises<'_>,
        told: Told,
        signed: Moment,
        reusable_until: Moment,
    ) {
        if self.entries.len() >= self.capacity && !self.entries.contains_key(&slot) {
            self.entries.retain(|_, entry| signed < entry.reusable_until);
            // Still full: starting over costs each identity one signature, choosing a victim costs every request.
            if self.entries.len() >= self.capacity {
                self.entries.clear();
            }
        }
        if self.capacity == 0 {
            return;
        }
        self.entries.insert(
            slot,
            Entry {
                generation: premises.generation,
                subject: premises.subject.cloned(),
                certificate: premises.certificate.cloned(),
                device: premises.device.cloned(),
                binding: premises.binding,
                resource: Arc::clone(premises.resource),
                policy: Arc::clone(premises.policy),
                told,
                signed,
                reusable_until,
            },
        );
    }
}

impl Entry {
    /// Compares pointers first (`Arc` does), so a kept-alive connection compares next to nothing.
    fn rests_on(&self, premises: &Premises<'_>) -> bool {
        self.generation == premises.generation
            && self.binding == premises.binding
            && same(&self.resource, premises.resource)
            && same(&self.policy, premises.policy)
            && self.subject.as_ref() == premises.subject
            && self.certificate.as_ref() == premises.certificate
            && self.device.as_ref() == premises.device
    }
}

fn same(a: &Arc<str>, b: &Arc<str>) -> bool {
    Arc::ptr_eq(a, b) || a == b
}

/// The slots are hashes already.
#[derive(Debug, Default)]
struct AlreadyHashed(u64);

impl Hasher for AlreadyHashed {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(*byte);
        }
    }

    fn write_u64(&mut self, hash: u64) {
        self.0 = hash;
    }
}
