//! The administration as a whole: the Unix socket, the API over TLS, the commands; what it does, and what it refuses.

#[path = "support/client.rs"]
mod client;
#[path = "support/gateway.rs"]
mod gateway;
#[path = "support/issuer.rs"]
mod issuer;
#[path = "support/mmdb.rs"]
#[allow(dead_code, reason = "a part of it is used here")]
mod mmdb;
#[path = "support/pki.rs"]
mod pki;
#[path = "support/postgres.rs"]
mod postgres;
#[path = "support/upstream.rs"]
mod upstream;

#[path = "control/acting.rs"]
mod acting;
#[path = "control/alerts.rs"]
mod alerts;
#[path = "control/break_glass.rs"]
mod break_glass;
#[path = "control/clocks.rs"]
mod clocks;
#[path = "control/commands.rs"]
mod commands;
#[path = "control/devices.rs"]
mod devices;
#[path = "control/enrolment.rs"]
mod enrolment;
#[path = "control/grants.rs"]
mod grants;
#[path = "control/identities.rs"]
mod identities;
#[path = "control/killed.rs"]
mod killed;
#[path = "control/live.rs"]
mod live;
#[path = "control/oneself.rs"]
mod oneself;
#[path = "control/openapi.rs"]
mod openapi;
#[path = "control/remote.rs"]
mod remote;
#[path = "control/socket.rs"]
mod socket;
#[path = "control/standstill.rs"]
mod standstill;
#[path = "control/told.rs"]
mod told;
#[path = "control/two_gateways.rs"]
mod two_gateways;
#[path = "control/unusable.rs"]
mod unusable;
#[path = "control/webhooks.rs"]
mod webhooks;
#[path = "control/world.rs"]
mod world;
