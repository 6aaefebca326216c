//! The pages people meet, and the words in them.

pub mod cause;
pub mod pages;
pub mod words;

pub use cause::Cause;

/// Whose gate it is and who helps, as the pages say it.
#[derive(Clone, Debug, Default)]
pub struct PortalSettings {
    /// The organisation's name. Empty: not mentioned.
    pub organisation: String,
    /// Where people turn to: a mail address, a telephone number, an `https://` address or plain words.
    pub support: Option<String>,
}
