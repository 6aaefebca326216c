//! That a device was seen, when, where and how far away: noted once per connection, for whoever asks later.

use super::gather::Connected;
use crate::evidence::Evidence;
use crate::state::memory::Memory;
use crate::store::Sighting;
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// Notes the device of this connection's first request, if the store has it: those of the registry file are nobody's
/// to look after.
pub fn note(memory: &Memory, connected: &Connected, evidence: &Evidence) {
    let Some(device) = evidence.device.known() else { return };
    if connected.sighted.load(Ordering::Relaxed) || connected.sighted.swap(true, Ordering::Relaxed) {
        return;
    }
    if memory.device(&device.id).is_some() {
        memory.sightings().note(&device.id, sighting(evidence));
    }
}

fn sighting(evidence: &Evidence) -> Sighting {
    let (network, timing) = (&evidence.network, &evidence.timing);
    let place = &network.place;
    let named = [&place.city, &place.region, &place.country].map(|part| part.known().map(|part| &**part));
    let place = named.into_iter().flatten().collect::<Vec<_>>().join(", ");
    let tls = timing.tls.known().map(|tls| tls.minimum);
    let tcp = timing.tcp.known().map(|tcp| tcp.minimum);
    Sighting {
        at: evidence.at,
        address: network.address.known().copied(),
        place: (!place.is_empty()).then(|| place.into()),
        network: network.asn.known().map(|asn| Arc::from(format!("AS{} {}", asn.number, asn.organisation).trim_end())),
        round_trip: tls.or(tcp).map(|rtt| rtt.as_micros()),
    }
}
