//! What signs for the authority. Today a key in memory; a key manager or a PKCS#11 token becomes another variant.

use rcgen::{Error, KeyPair, PublicKeyData, SignatureAlgorithm, SigningKey};

/// A key that can be asked for its public half and for signatures, and for nothing else.
#[derive(Debug)]
pub enum Signing {
    /// Read from a file at start.
    File(KeyPair),
}

impl PublicKeyData for Signing {
    fn der_bytes(&self) -> &[u8] {
        match self {
            Self::File(key) => key.der_bytes(),
        }
    }

    fn algorithm(&self) -> &'static SignatureAlgorithm {
        match self {
            Self::File(key) => key.algorithm(),
        }
    }
}

impl SigningKey for Signing {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, Error> {
        match self {
            Self::File(key) => key.sign(message),
        }
    }
}
