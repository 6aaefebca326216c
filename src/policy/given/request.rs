//! A request in an author's words.

use crate::evidence::{Protocol, Request};
use crate::policy::hosts;
use crate::policy::segments::Pattern;
use std::borrow::Cow;

/// Reads `POST https://payroll.corp.example/runs/7/approve`; port and query have no part in policy.
///
/// # Errors
/// Says what a request looks like.
pub fn request(text: &str) -> Result<Request, String> {
    let usage = || "expected a method and an https address, such as `GET https://payroll.corp.example/runs`".to_owned();
    let (method, address) = text.trim().split_once(' ').ok_or_else(usage)?;
    let method = method_as_sent(method)?;
    let rest = address.trim().strip_prefix("https://").ok_or_else(usage)?;
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (authority, path) = rest.split_at(end);
    let host = match authority.rsplit_once(':') {
        Some((host, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => host,
        _ => authority,
    };
    hosts::one(host)?;
    let path = path.split(['?', '#']).next().filter(|path| !path.is_empty()).unwrap_or("/");
    if path.contains('*') {
        return Err("a request has one path; `*` stands only in patterns".to_owned());
    }
    Pattern::parse(path)?;
    Ok(Request {
        id: "given".to_owned(),
        protocol: Protocol::Http11,
        method: Cow::Owned(method.into()),
        host: host.to_owned(),
        path: path.to_owned(),
        upgrade: None,
        malformed: None,
    })
}

/// Any method in upper case, registered or not: what becomes of one that nobody knows can be asked, too.
fn method_as_sent(text: &str) -> Result<&str, String> {
    if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_uppercase() || byte == b'-') {
        Ok(text)
    } else {
        Err("expected a method in upper case, such as `GET` or `POST`".to_owned())
    }
}
