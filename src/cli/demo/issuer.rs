//! The demo's identity provider: says who somebody is and how they signed in, and publishes the key to check it with.

use super::pki::Identity;
use crate::evidence::Moment;
use crate::sources::token::{Assurance, IssuerSettings};
use bytes::Bytes;
use http::Response;
use http::header::CONTENT_TYPE;
use http_body_util::Full;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use jsonwebtoken::jwk::{Jwk, JwkSet};
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use rcgen::{KeyPair, PKCS_ECDSA_P256_SHA256};
use serde_json::json;
use std::collections::BTreeMap;
use std::convert::Infallible;
use std::error::Error;
use std::time::Duration;
use tokio::net::TcpListener;

const NAME: &str = "https://login.corp.example";
const AUDIENCE: &str = "rangegate";
const KEY_ID: &str = "demo";
const LIFETIME: i64 = 8 * 3_600;

pub struct Issuer {
    key: EncodingKey,
    jwks: String,
}

/// A person as the identity provider knows them.
#[derive(Debug)]
pub struct Person {
    pub user: &'static str,
    pub groups: &'static [&'static str],
}

impl Issuer {
    /// Publishes a new key on a free port, for as long as the runtime lives.
    ///
    /// # Errors
    /// No port is free, or the system has no randomness to give.
    pub async fn start() -> Result<Self, Box<dyn Error>> {
        // A second call finds it installed already.
        let _ = jsonwebtoken::crypto::aws_lc::DEFAULT_PROVIDER.install_default();
        let pair = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
        let key = EncodingKey::from_ec_der(&pair.serialize_der());
        let mut published = Jwk::from_encoding_key(&key, Algorithm::ES256)?;
        published.common.key_id = Some(KEY_ID.to_owned());
        let keys = Bytes::from(serde_json::to_vec(&JwkSet { keys: vec![published] })?);
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let jwks = format!("http://{}/jwks", listener.local_addr()?);
        tokio::spawn(publish(listener, keys));
        Ok(Self { key, jwks })
    }

    /// How the gateway reads this issuer's tokens.
    pub fn settings(&self) -> IssuerSettings {
        let passkey = Assurance { acr: vec!["phr".to_owned()], amr: vec!["hwk".to_owned()] };
        IssuerSettings {
            issuer: NAME.to_owned(),
            audiences: vec![AUDIENCE.to_owned()],
            jwks: self.jwks.clone(),
            jwks_ca: None,
            jwks_private: false,
            algorithms: vec!["ES256".to_owned()],
            types: Vec::new(),
            skew: Duration::from_secs(5),
            user_claim: "email".to_owned(),
            groups_claim: "groups".to_owned(),
            assurance: BTreeMap::from([("passkey".to_owned(), passkey)]),
            stale_for: Duration::from_secs(3_600),
            refresh: Duration::from_secs(300),
            cooldown: Duration::from_secs(1),
        }
    }

    /// A token of somebody who signed in with a passkey some minutes ago, good on one laptop only.
    ///
    /// # Errors
    /// None that is known: the key is good.
    pub fn token(
        &self,
        person: &Person,
        minutes_ago: i64,
        laptop: &Identity,
        now: Moment,
    ) -> Result<String, jsonwebtoken::errors::Error> {
        let now = now.millis() / 1000;
        let header =
            Header { kid: Some(KEY_ID.to_owned()), typ: Some("at+jwt".to_owned()), ..Header::new(Algorithm::ES256) };
        let claims = json!({
            "iss": NAME,
            "aud": AUDIENCE,
            "sub": person.user,
            "email": person.user,
            "groups": person.groups,
            "acr": "phr",
            "amr": ["hwk"],
            "auth_time": now - minutes_ago * 60,
            "iat": now,
            "exp": now + LIFETIME,
            "cnf": { "x5t#S256": laptop.thumbprint() },
        });
        jsonwebtoken::encode(&header, &claims, &self.key)
    }
}

/// Answers everything with the key set.
async fn publish(listener: TcpListener, keys: Bytes) {
    while let Ok((stream, _)) = listener.accept().await {
        let keys = keys.clone();
        tokio::spawn(async move {
            let service = service_fn(move |_| {
                let mut response = Response::new(Full::new(keys.clone()));
                let kind = http::HeaderValue::from_static("application/jwk-set+json");
                response.headers_mut().insert(CONTENT_TYPE, kind);
                async { Ok::<_, Infallible>(response) }
            });
            // The gateway closes when it has read what it came for.
            let _ = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
        });
    }
}
