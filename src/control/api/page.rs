//! Lists, a page at a time: `?limit=100&cursor=…`, and `next` when there is more.

use super::asking::Asking;
use super::problem::Problem;
use crate::control::administrator::{Administrator, Held};
use crate::store::Kind;
use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD as BASE64URL;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

/// Where a page begins, and how long it may be.
pub struct Page {
    /// The last thing of the page before; empty at the beginning.
    pub after: String,
    pub limit: usize,
}

#[derive(Serialize)]
pub struct Items {
    pub items: Vec<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

/// Documents looked at for one page: a filter that fits few does not search everything at once.
const LOOKED_AT: usize = 20_000;

impl Page {
    pub fn read(asking: &Asking) -> Result<Self, Problem> {
        let limit = asking.asked("limit", |text| text.parse().ok().filter(|limit| (1..=500).contains(limit)))?;
        let after = asking.asked("cursor", |text| String::from_utf8(BASE64URL.decode(text).ok()?).ok())?;
        Ok(Self { after: after.unwrap_or_default(), limit: limit.unwrap_or(100) })
    }

    /// Of what is at hand, in the order of `id`.
    pub fn of<T>(&self, mut all: Vec<T>, id: impl Fn(&T) -> String, show: impl Fn(&T) -> Value) -> Items {
        all.sort_by_key(|one| id(one));
        let mut rest = all.iter().filter(|one| id(one) > self.after);
        let items: Vec<&T> = rest.by_ref().take(self.limit).collect();
        let next = rest.next().and_then(|_| items.last()).map(|last| cursor(&id(last)));
        Items { items: items.into_iter().map(show).collect(), next }
    }

    /// Of the store's documents of a kind. What does not fit the filter is passed over; the page may be short then, and has a `next`.
    pub async fn documents<T: DeserializeOwned>(
        &self,
        administrator: &Administrator,
        kind: Kind,
        id: impl Fn(&T) -> &str,
        wanted: impl Fn(&T) -> bool,
    ) -> Result<(Vec<Held<T>>, Option<String>), Problem> {
        let (mut found, mut after, mut looked) = (Vec::new(), self.after.clone(), 0);
        loop {
            let room = self.limit - found.len();
            let ask = u32::try_from(room.max(500)).unwrap_or(u32::MAX);
            let page = administrator.page::<T>(kind, &after, ask).await?;
            let last = page.len() < ask as usize;
            looked += page.len();
            for held in page {
                if found.len() == self.limit {
                    return Ok((found, Some(cursor(&after))));
                }
                id(&held.value).clone_into(&mut after);
                if wanted(&held.value) {
                    found.push(held);
                }
            }
            if last {
                return Ok((found, None));
            }
            if looked >= LOOKED_AT {
                return Ok((found, Some(cursor(&after))));
            }
        }
    }
}

/// Where the page after this place begins.
pub fn cursor(id: &str) -> String {
    BASE64URL.encode(id)
}
