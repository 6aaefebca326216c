//! A token issuer on loopback: keys, a key set server that can misbehave, and tokens of every kind.
//!
//! Tokens are put together and signed here by hand, so that what verifies them is not what made them.

#![allow(dead_code, reason = "each test crate uses a part")]

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair, RSA_PKCS1_SHA256, RsaKeyPair,
};
use aws_lc_rs::{hmac, rsa};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use serde_json::{Value, json};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;
use x509_parser::prelude::FromDer;
use x509_parser::public_key::RSAPublicKey;

/// A signing key with an id.
pub struct SigningKey {
    pub id: String,
    kind: Kind,
}

enum Kind {
    Ec(EcdsaKeyPair),
    Ed(Ed25519KeyPair),
    Rsa(Box<RsaKeyPair>),
}

impl SigningKey {
    pub fn es256(id: &str) -> Self {
        let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).expect("a key");
        Self { id: id.to_owned(), kind: Kind::Ec(pair) }
    }

    pub fn eddsa(id: &str) -> Self {
        Self { id: id.to_owned(), kind: Kind::Ed(Ed25519KeyPair::generate().expect("a key")) }
    }

    /// Takes a moment: finding primes.
    pub fn rs256(id: &str) -> Self {
        let pair = RsaKeyPair::generate(rsa::KeySize::Rsa2048).expect("a key");
        Self { id: id.to_owned(), kind: Kind::Rsa(Box::new(pair)) }
    }

    pub fn algorithm(&self) -> &'static str {
        match self.kind {
            Kind::Ec(_) => "ES256",
            Kind::Ed(_) => "EdDSA",
            Kind::Rsa(_) => "RS256",
        }
    }

    /// The public half as a JWK.
    pub fn jwk(&self) -> Value {
        let mut jwk = match &self.kind {
            Kind::Ec(pair) => {
                let (x, y) = pair.public_key().as_ref()[1..].split_at(32);
                json!({ "kty": "EC", "crv": "P-256", "x": encode(x), "y": encode(y) })
            }
            Kind::Ed(pair) => json!({ "kty": "OKP", "crv": "Ed25519", "x": encode(pair.public_key()) }),
            Kind::Rsa(pair) => {
                let (_, public) = RSAPublicKey::from_der(pair.public_key().as_ref()).expect("RFC 8017 A.1.1");
                let number = |bytes: &[u8]| encode(&bytes[bytes.iter().take_while(|byte| **byte == 0).count()..]);
                json!({ "kty": "RSA", "n": number(public.modulus), "e": number(public.exponent) })
            }
        };
        jwk["kid"] = json!(self.id);
        jwk["use"] = json!("sig");
        jwk["alg"] = json!(self.algorithm());
        jwk
    }

    /// The public half as the bytes that an attacker would use as an HMAC secret.
    pub fn public_bytes(&self) -> Vec<u8> {
        match &self.kind {
            Kind::Ec(pair) => pair.public_key().as_ref().to_vec(),
            Kind::Ed(pair) => pair.public_key().as_ref().to_vec(),
            Kind::Rsa(pair) => pair.public_key().as_ref().to_vec(),
        }
    }

    /// A token with this key's own header.
    pub fn token(&self, claims: &Value) -> String {
        self.token_with(&self.header(), claims)
    }

    pub fn header(&self) -> Value {
        json!({ "alg": self.algorithm(), "typ": "at+jwt", "kid": self.id })
    }

    /// A token whose header says whatever it likes; the signature is this key's own.
    pub fn token_with(&self, header: &Value, claims: &Value) -> String {
        let message = message(&header.to_string(), &claims.to_string());
        let signature = self.sign(message.as_bytes());
        format!("{message}.{}", encode(signature))
    }

    /// A token whose claims are written out, for JSON that a value cannot hold.
    pub fn token_raw(&self, claims: &str) -> String {
        let message = message(&self.header().to_string(), claims);
        let signature = self.sign(message.as_bytes());
        format!("{message}.{}", encode(signature))
    }

    fn sign(&self, message: &[u8]) -> Vec<u8> {
        let random = SystemRandom::new();
        match &self.kind {
            Kind::Ec(pair) => pair.sign(&random, message).expect("a signature").as_ref().to_vec(),
            Kind::Ed(pair) => pair.sign(message).as_ref().to_vec(),
            Kind::Rsa(pair) => {
                let mut signature = vec![0; pair.public_modulus_len()];
                pair.sign(&RSA_PKCS1_SHA256, &random, message, &mut signature).expect("a signature");
                signature
            }
        }
    }
}

/// A token signed with a secret.
pub fn hs256(secret: &[u8], header: &Value, claims: &Value) -> String {
    let message = message(&header.to_string(), &claims.to_string());
    let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, secret), message.as_bytes());
    format!("{message}.{}", encode(tag))
}

/// A token with this signature, whatever it is.
pub fn unsigned(header: &Value, claims: &Value, signature: &str) -> String {
    format!("{}.{signature}", message(&header.to_string(), &claims.to_string()))
}

pub fn key_set<'a>(keys: impl IntoIterator<Item = &'a SigningKey>) -> String {
    let keys: Vec<_> = keys.into_iter().map(SigningKey::jwk).collect();
    json!({ "keys": keys }).to_string()
}

/// How the key set server behaves.
#[derive(Clone, Debug)]
pub enum Behaviour {
    /// Answers 200 with this document.
    Serve(String),
    /// Writes these bytes and closes.
    Raw(Vec<u8>),
    /// Accepts, reads, and never answers.
    Hang,
    /// Closes at once.
    Refuse,
}

/// A key set server. Stops when dropped.
pub struct JwksServer {
    pub address: SocketAddr,
    behaviour: Arc<Mutex<Behaviour>>,
    requests: Arc<AtomicUsize>,
    task: JoinHandle<()>,
}

impl JwksServer {
    pub async fn start(behaviour: Behaviour) -> Self {
        Self::accept(behaviour, None).await
    }

    /// Over TLS, with this certificate.
    pub async fn start_tls(
        behaviour: Behaviour,
        chain: Vec<CertificateDer<'static>>,
        key: PrivateKeyDer<'static>,
    ) -> Self {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_no_client_auth()
            .with_single_cert(chain, key)
            .expect("a certificate");
        Self::accept(behaviour, Some(TlsAcceptor::from(Arc::new(config)))).await
    }

    async fn accept(behaviour: Behaviour, tls: Option<TlsAcceptor>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let behaviour = Arc::new(Mutex::new(behaviour));
        let requests = Arc::new(AtomicUsize::new(0));
        let task = tokio::spawn({
            let (behaviour, requests) = (Arc::clone(&behaviour), Arc::clone(&requests));
            async move {
                while let Ok((stream, _)) = listener.accept().await {
                    let behaviour = behaviour.lock().expect("not poisoned").clone();
                    let requests = Arc::clone(&requests);
                    match tls.clone() {
                        None => drop(tokio::spawn(answer(stream, behaviour, requests))),
                        Some(tls) => drop(tokio::spawn(async move {
                            if let Ok(stream) = tls.accept(stream).await {
                                answer(stream, behaviour, requests).await;
                            }
                        })),
                    }
                }
            }
        });
        Self { address, behaviour, requests, task }
    }

    pub async fn serving<'a>(keys: impl IntoIterator<Item = &'a SigningKey>) -> Self {
        Self::start(Behaviour::Serve(key_set(keys))).await
    }

    pub fn url(&self) -> String {
        format!("http://{}/jwks", self.address)
    }

    /// From the next connection on.
    pub fn behave(&self, behaviour: Behaviour) {
        *self.behaviour.lock().expect("not poisoned") = behaviour;
    }

    pub fn serve<'a>(&self, keys: impl IntoIterator<Item = &'a SigningKey>) {
        self.behave(Behaviour::Serve(key_set(keys)));
    }

    /// Requests read so far.
    pub fn requests(&self) -> usize {
        self.requests.load(Ordering::SeqCst)
    }
}

impl Drop for JwksServer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn answer(mut stream: impl AsyncRead + AsyncWrite + Unpin, behaviour: Behaviour, requests: Arc<AtomicUsize>) {
    if matches!(behaviour, Behaviour::Refuse) {
        return;
    }
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut buffer = [0; 4096];
        match stream.read(&mut buffer).await {
            Ok(read) if read > 0 => head.extend_from_slice(&buffer[..read]),
            _ => return,
        }
    }
    requests.fetch_add(1, Ordering::SeqCst);
    let bytes = match behaviour {
        Behaviour::Serve(body) => {
            let head = "HTTP/1.1 200 OK\r\nContent-Type: application/jwk-set+json";
            format!("{head}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}", body.len()).into_bytes()
        }
        Behaviour::Raw(bytes) => bytes,
        Behaviour::Hang => {
            // Until the other side gives up.
            let _ = stream.read(&mut [0; 1]).await;
            return;
        }
        Behaviour::Refuse => return,
    };
    let _ = stream.write_all(&bytes).await;
    let _ = stream.shutdown().await;
}

fn message(header: &str, claims: &str) -> String {
    format!("{}.{}", encode(header), encode(claims))
}

pub fn encode(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}
