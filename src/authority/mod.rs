//! The built-in device authority: keys that devices made themselves become short-lived client certificates.
//!
//! Nothing here stores or serves anything. A request for a certificate goes in as bytes and comes out as an
//! [`Issued`]; whoever calls writes down what must be remembered.
//!
//! ```text
//! invitation code ─▶ redeem ─┐
//! request (PKCS#10) ─▶ DeviceKey ─┴─▶ Authority::issue ─▶ Issued ─▶ device
//! ```

mod admit;
mod der;
mod device_key;
pub mod guesses;
pub mod invitation;
mod issue;
mod key_file;
mod load;
mod make;
mod pbes2;
pub mod pem;
pub mod pkcs12;
pub mod request;
pub mod revocation;
mod roca;
mod signing;

pub use admit::{AdmitFault, admit, renew};
pub use device_key::{DeviceKey, KeyKind};
pub use invitation::{Code, Invitation};
pub use issue::{Authority, IssueFault, Issued, new_device_id};
pub use key_file::{KeyFileFault, Passphrase, create as create_key_file};
pub use load::{AuthoritySettings, LoadFault, PASSPHRASE_VARIABLE};
pub use make::{Curve, Made, make};
pub use request::RequestFault;
pub use revocation::{RevocationList, Revoked};
pub use signing::Signing;
