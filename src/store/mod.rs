//! Durable state behind one small interface: `Store` keeps documents in a database, the rest of the room reads files.
//!
//! What the store hands on is plain data. `state/` indexes it, wherever it came from.

pub mod backup;
pub mod call;
pub mod check;
mod commit;
mod connect;
pub mod delivery;
pub mod device;
pub mod digest;
pub mod directory;
pub mod document;
mod dump;
pub mod durable;
pub mod emergency;
pub mod fault;
pub mod invitation;
mod listen;
pub mod policy_files;
pub mod private_file;
mod probe;
mod read;
pub mod registry;
pub mod revocation;
pub mod settings;
pub mod sighting;

pub use backup::BackupFault;
pub use call::Call;
pub use check::Checked;
pub use delivery::Delivery;
pub use device::{DeviceRecord, IssuedCertificate, Recognition};
pub use digest::Digest;
pub use document::{Change, CommitFault, Document, Expect, Handle, Kind, Revision, Since, Write};
pub use dump::Counts;
pub use durable::{News, Store};
pub use fault::{OpenFault, StoreFault};
pub use invitation::{Invitation, InvitationState};
pub use revocation::Revoked;
pub use settings::{Database, PostgresSettings, StoreSettings};
pub use sighting::{Seen, Sighting};
