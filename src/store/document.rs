//! What the store keeps: versioned documents, the handles that only one of them may hold, and the order of changes.

use super::Digest;
use crate::access::grant::GrantRecord;
use crate::evidence::{Identity, Moment};
use std::fmt;
use std::sync::Arc;

/// What a document is about. The word stands in the database.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    Identity,
    Device,
    /// A one-time code by which a device may enrol.
    Invitation,
    /// A just-in-time grant, from the asking to the end.
    Grant,
    /// A notification on its way to a webhook.
    Delivery,
    /// A signed call that was made through a webhook, so that it counts once.
    Call,
    /// A certificate of the built-in authority that was revoked before its time.
    Revocation,
}

impl Kind {
    pub const ALL: [Self; 7] =
        [Self::Identity, Self::Device, Self::Invitation, Self::Grant, Self::Delivery, Self::Call, Self::Revocation];

    pub const fn word(self) -> &'static str {
        match self {
            Self::Identity => "identity",
            Self::Device => "device",
            Self::Invitation => "invitation",
            Self::Grant => "grant",
            Self::Delivery => "delivery",
            Self::Call => "call",
            Self::Revocation => "revocation",
        }
    }

    pub fn of(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.word() == word)
    }
}

/// One document as it stands in the database.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Document {
    pub kind: Kind,
    pub id: Arc<str>,
    /// 1 when made; one more with every change.
    pub version: u64,
    pub changed: Moment,
    /// JSON.
    pub body: Arc<str>,
}

/// Grows by one with every transaction, in the order in which transactions became visible.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Revision(pub u64);

/// What kinds of handles there are.
pub mod space {
    /// The SHA-256 of a device's public key.
    pub const KEY: &str = "key";
    /// The SHA-256 of a device's certificate.
    pub const CERTIFICATE: &str = "certificate";
    /// A subject alternative name of a device.
    pub const SAN: &str = "san";
    /// A name that an account goes by.
    pub const USER: &str = "user";
    /// The SHA-256 of an account and what its program calls a submission.
    pub const SUBMISSION: &str = "submission";

    pub const ALL: [&str; 5] = [KEY, CERTIFICATE, SAN, USER, SUBMISSION];
}

/// A name that at most one document of the whole store holds: a key's or a certificate's digest, an alias.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Handle {
    /// One of `space`.
    pub space: &'static str,
    pub value: Arc<str>,
}

impl Handle {
    pub fn new(space: &'static str, value: impl Into<Arc<str>>) -> Self {
        Self { space, value: value.into() }
    }
}

/// The handles an identity's document has to hold: no two accounts go by one name.
pub fn handles_of(identity: &Identity) -> Vec<Handle> {
    let names = std::iter::once(&identity.user).chain(&identity.aliases);
    names.map(|name| Handle::new(space::USER, Arc::clone(name))).collect()
}

/// The handle a grant's document has to hold, when its asking had a name: one name of one account asks once, at
/// whichever gateways it is sent.
pub fn submission_of(grant: &GrantRecord) -> Option<Handle> {
    let parts = [&*grant.user, grant.key.as_deref()?];
    let lengths = parts.map(|part| (part.len() as u64).to_le_bytes());
    let pieces = lengths.iter().zip(parts).flat_map(|(length, part)| [length.as_slice(), part.as_bytes()]);
    Some(Handle::new(space::SUBMISSION, Digest::of_parts(pieces).hex()))
}

/// What a write takes for granted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expect {
    /// There is none yet.
    New,
    /// It is still this version.
    Version(u64),
}

/// One step of a transaction. Deletions and releases happen first, then puts, then claims, whatever their order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Write {
    Put {
        kind: Kind,
        id: Arc<str>,
        expect: Expect,
        body: String,
    },
    /// The handles it still holds are given back.
    Delete {
        kind: Kind,
        id: Arc<str>,
        version: u64,
    },
    /// The document holds the handle from now on.
    Claim {
        handle: Handle,
        kind: Kind,
        id: Arc<str>,
    },
    /// The document gives it back.
    Release {
        handle: Handle,
        kind: Kind,
        id: Arc<str>,
    },
}

/// Why a transaction did not happen. Nothing of it did.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CommitFault {
    /// Somebody else was first: read again and decide again.
    #[error("{} `{id}` was changed in the meantime", kind.word())]
    Conflict { kind: Kind, id: Arc<str> },
    #[error("{handle} is held by `{by}`")]
    Taken { handle: Handle, by: Arc<str> },
    /// The database cannot be reached, is full or read-only. It may have happened when the answer was lost:
    /// the versions tell when it is tried again.
    #[error("the store cannot be written: {0}")]
    Away(String),
}

/// One change, as another gateway or a restarted one learns of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    pub revision: Revision,
    pub kind: Kind,
    pub id: Arc<str>,
    /// As it stands now; none when it was deleted.
    pub document: Option<Document>,
}

/// What happened after a revision.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Since {
    /// These, in order. Empty: nothing.
    Changes(Vec<Change>),
    /// Too much, or the history no longer reaches back: load everything.
    Everything,
}

impl Since {
    /// Whether a document of this kind may be among it.
    pub fn may_touch(&self, kind: Kind) -> bool {
        match self {
            Self::Changes(changes) => changes.iter().any(|change| change.kind == kind),
            Self::Everything => true,
        }
    }
}

impl fmt::Display for Handle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} `{}`", self.space, self.value)
    }
}
