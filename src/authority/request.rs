//! Requests for certificates (PKCS#10, RFC 2986), as strangers send them.
//!
//! A request is asked two things: which key, and is its private half there. Whatever else it says is not taken. The
//! subject, which every tool puts in, is passed over; everything that *asks for* something (names, powers, uses) is
//! refused in so many words, for whoever sent it believes that it was granted.

use super::DeviceKey;
use super::der::{BOOLEAN, OCTET_STRING, OID, Reader, SEQUENCE, SET, context};
use super::pem::{self, PemFault};
use rustls::crypto::aws_lc_rs::default_provider;
use rustls::pki_types::SignatureVerificationAlgorithm;

/// The longest request that is looked at, bytes: four times what an RSA key of 4096 bits needs in PEM.
pub const LONGEST: usize = 8 * 1024;

/// Both names of RFC 7468 section 7.
const LABELS: &[&str] = &["CERTIFICATE REQUEST", "NEW CERTIFICATE REQUEST"];

/// `extensionRequest` (RFC 2985 section 5.4.2) and two of the extensions (RFC 5280).
const EXTENSION_REQUEST: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x09, 0x0e];
const BASIC_CONSTRAINTS: &[u8] = &[0x55, 0x1d, 0x13];
const ALTERNATIVE_NAME: &[u8] = &[0x55, 0x1d, 0x11];

macro_rules! request_faults {
    ($($name:ident = $code:literal, $words:literal, $help:literal;)+) => {
        /// Why a request for a certificate is refused. A closed vocabulary: answers, audit and tests use these codes.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
        pub enum RequestFault {
            $(#[error($words)] $name,)+
        }

        impl RequestFault {
            pub const ALL: &'static [Self] = &[$(Self::$name,)+];

            /// The code as it stands in answers and audit records.
            pub const fn code(self) -> &'static str {
                match self { $(Self::$name => $code,)+ }
            }

            /// What whoever sent it can do.
            pub const fn help(self) -> &'static str {
                match self { $(Self::$name => $help,)+ }
            }
        }
    };
}

request_faults! {
    TooLarge = "request-too-large", "the certificate request is longer than 8 KiB",
        "send one request and nothing else";
    Label = "request-label", "this is another kind of PEM than a certificate request",
        "send what `openssl req -new` writes, beginning with `-----BEGIN CERTIFICATE REQUEST-----`";
    Malformed = "request-malformed", "this is no well-formed certificate request (RFC 2986)",
        "send what `openssl req -new` writes, in PEM or DER";
    Trailing = "request-trailing", "something follows the certificate request",
        "send one request and nothing else";
    KeyKind = "request-key-kind", "a key of this kind is not accepted",
        "make a P-256 key: `openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256`";
    Curve = "request-key-curve", "a key on this curve is not accepted",
        "make a P-256 key: `openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256`";
    Point = "request-key-point", "the key's point is compressed or has a wrong length",
        "send the point uncompressed";
    RsaShort = "request-rsa-short", "the RSA key is shorter than 3072 bits",
        "make a P-256 key, or an RSA key of 3072 bits";
    RsaLong = "request-rsa-long", "the RSA key is longer than 4096 bits",
        "make a P-256 key, or an RSA key of 3072 bits";
    RsaExponent = "request-rsa-exponent", "the RSA key's public exponent is not 65537",
        "make a new key with an ordinary tool";
    RsaKnownWeak = "request-rsa-weak", "the RSA key is of a kind that can be broken",
        "make a new key with another tool or on another chip (CVE-2017-15361)";
    SignatureAlgorithm = "request-signature-algorithm", "the request's signature is of a kind that is not accepted",
        "sign it with SHA-256: `openssl req -new -sha256`";
    Forged = "request-forged", "the request is not signed by the key in it",
        "sign the request with the private half of the key it names";
    WantsAuthority = "request-wants-authority", "the request asks to be a certificate authority",
        "send a request without extensions";
    WantsNames = "request-wants-names", "the request asks for names of its own choosing",
        "send a request without extensions: the gateway names the device";
    WantsExtension = "request-wants-extension", "the request asks for an extension",
        "send a request without extensions: what the certificate is good for is not for the device to say";
    Attribute = "request-attribute", "the request has an attribute that nobody here reads",
        "send a request without attributes, also without a challenge password";
}

/// The key of a request, once everything about it is good and the signature shows that the sender holds it.
///
/// # Errors
/// The first thing that is wrong.
pub fn read(request: &[u8]) -> Result<DeviceKey, RequestFault> {
    if request.len() > LONGEST {
        return Err(RequestFault::TooLarge);
    }
    let decoded;
    let der = if request.first() == Some(&SEQUENCE) {
        request
    } else {
        decoded = pem::decode(request, LABELS).map_err(|fault| match fault {
            PemFault::Label(_) => RequestFault::Label,
            PemFault::Trailing => RequestFault::Trailing,
            PemFault::NotPem | PemFault::Broken => RequestFault::Malformed,
        })?;
        decoded.as_slice()
    };
    let outline = Outline::read(der)?;
    let key = DeviceKey::judge(outline.spki)?;
    refuse_wishes(outline.attributes)?;
    outline.prove()?;
    Ok(key)
}

/// `CertificationRequest`, its parts as they stand in the bytes.
struct Outline<'a> {
    /// What is signed.
    info: &'a [u8],
    spki: &'a [u8],
    /// Inside `[0]`.
    attributes: &'a [u8],
    algorithm: &'a [u8],
    signature: &'a [u8],
}

impl<'a> Outline<'a> {
    fn read(der: &'a [u8]) -> Result<Self, RequestFault> {
        let mut outer = Reader::new(der);
        let request = outer.inside(SEQUENCE).ok_or(RequestFault::Malformed)?;
        if !outer.is_done() {
            return Err(RequestFault::Trailing);
        }
        Self::parts(request).ok_or(RequestFault::Malformed)
    }

    fn parts(mut request: Reader<'a>) -> Option<Self> {
        let info = request.any().filter(|element| element.tag == SEQUENCE)?;
        let algorithm = request.content(SEQUENCE)?;
        let signature = request.bits()?;
        let mut inner = Reader::new(info.content);
        (inner.number()? == 0).then_some(())?;
        inner.content(SEQUENCE)?;
        let spki = inner.any()?.whole;
        // Some tools leave out the empty set of attributes.
        let attributes = if inner.is_done() { &[][..] } else { inner.content(context(0))? };
        let whole = inner.is_done() && request.is_done();
        whole.then_some(Self { info: info.whole, spki, attributes, algorithm, signature })
    }

    /// Proof of possession: the signature holds under the key of the request.
    fn prove(&self) -> Result<(), RequestFault> {
        let malformed = RequestFault::Malformed;
        let mut spki = Reader::new(self.spki).inside(SEQUENCE).ok_or(malformed)?;
        let key_algorithm = spki.content(SEQUENCE).ok_or(malformed)?;
        let key = spki.bits().ok_or(malformed)?;
        let fits = |known: &&&dyn SignatureVerificationAlgorithm| {
            known.public_key_alg_id().as_ref() == key_algorithm && known.signature_alg_id().as_ref() == self.algorithm
        };
        // The list of the TLS library: SHA-1 and MD5 are not in it.
        let provider = default_provider();
        let known = provider.signature_verification_algorithms.all;
        let verifier = known.iter().find(fits).ok_or(RequestFault::SignatureAlgorithm)?;
        verifier.verify_signature(key, self.info, self.signature).map_err(|_| RequestFault::Forged)
    }
}

/// Whatever the request asks for beyond a certificate for its key.
fn refuse_wishes(attributes: &[u8]) -> Result<(), RequestFault> {
    let mut attributes = Reader::new(attributes);
    let mut found = None;
    while !attributes.is_done() {
        let wish = wish(&mut attributes).ok_or(RequestFault::Malformed)?;
        // The worst is what is told.
        found = found.max(Some(wish));
    }
    match found {
        None => Ok(()),
        Some(Wish::Attribute) => Err(RequestFault::Attribute),
        Some(Wish::Extension) => Err(RequestFault::WantsExtension),
        Some(Wish::Names) => Err(RequestFault::WantsNames),
        Some(Wish::Authority) => Err(RequestFault::WantsAuthority),
    }
}

/// From harmless to bold.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Wish {
    Attribute,
    Extension,
    Names,
    Authority,
}

/// One `Attribute`. None: malformed.
fn wish(attributes: &mut Reader<'_>) -> Option<Wish> {
    let mut attribute = attributes.inside(SEQUENCE)?;
    if attribute.content(OID)? != EXTENSION_REQUEST {
        return Some(Wish::Attribute);
    }
    let mut values = attribute.inside(SET)?;
    let mut boldest = Wish::Extension;
    while !values.is_done() {
        let mut extensions = values.inside(SEQUENCE)?;
        while !extensions.is_done() {
            boldest = boldest.max(extension(extensions.inside(SEQUENCE)?)?);
        }
    }
    Some(boldest)
}

fn extension(mut extension: Reader<'_>) -> Option<Wish> {
    let name = extension.content(OID)?;
    let mut value = extension.any()?;
    if value.tag == BOOLEAN {
        value = extension.any()?;
    }
    let value = (value.tag == OCTET_STRING).then_some(value.content)?;
    Some(match name {
        // `CA:FALSE` is an empty sequence, or one whose boolean is false.
        BASIC_CONSTRAINTS => match Reader::new(value).inside(SEQUENCE).and_then(|mut inner| inner.any()) {
            Some(ca) if ca.content != [0] => Wish::Authority,
            _ => Wish::Extension,
        },
        ALTERNATIVE_NAME => Wish::Names,
        _ => Wish::Extension,
    })
}
