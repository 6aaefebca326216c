//! Every operation there is, and the path and method it is reached by.

use super::problem::Problem;
use http::Method;

macro_rules! operations {
    ($($name:ident = $method:literal $path:literal,)+) => {
        /// What can be asked for. `docs/openapi.json` describes each; a test holds the two together.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Operation {
            $($name,)+
        }

        /// Operation, method and path; `{…}` stands for one segment.
        pub const ROUTES: &[(Operation, &str, &str)] = &[$((Operation::$name, $method, $path),)+];
    };
}

operations! {
    Me = "GET" "/v1/me",
    MyGrants = "GET" "/v1/me/grants",
    Waiting = "GET" "/v1/me/waiting",
    Roles = "GET" "/v1/roles",
    Grants = "GET" "/v1/grants",
    AskGrant = "POST" "/v1/grants",
    BreakGlass = "POST" "/v1/break-glass",
    Grant = "GET" "/v1/grants/{id}",
    ApproveGrant = "POST" "/v1/grants/{id}/approve",
    RefuseGrant = "POST" "/v1/grants/{id}/refuse",
    WithdrawGrant = "POST" "/v1/grants/{id}/withdraw",
    EndGrant = "POST" "/v1/grants/{id}/end",
    ReviewGrant = "POST" "/v1/grants/{id}/review",
    RevokeGrant = "POST" "/v1/revocations/grants/{id}",
    Identities = "GET" "/v1/identities",
    ImportIdentities = "POST" "/v1/identities",
    Identity = "GET" "/v1/identities/{user}",
    PutIdentity = "PUT" "/v1/identities/{user}",
    PatchIdentity = "PATCH" "/v1/identities/{user}",
    Devices = "GET" "/v1/devices",
    RegisterDevice = "POST" "/v1/devices",
    Device = "GET" "/v1/devices/{id}",
    PatchDevice = "PATCH" "/v1/devices/{id}",
    SuspendDevice = "POST" "/v1/devices/{id}/suspend",
    WatchDevice = "POST" "/v1/devices/{id}/watch",
    ResumeDevice = "POST" "/v1/devices/{id}/resume",
    RevokeDevice = "POST" "/v1/devices/{id}/revoke",
    TransferDevice = "POST" "/v1/devices/{id}/transfer",
    Invitations = "GET" "/v1/invitations",
    Invite = "POST" "/v1/invitations",
    WithdrawInvitation = "POST" "/v1/invitations/{id}/withdraw",
    Enrol = "POST" "/v1/enrolments",
    Renew = "POST" "/v1/renewals",
    Authority = "GET" "/v1/authority",
    RevocationList = "GET" "/v1/authority/revocation-list",
    Call = "POST" "/v1/calls/{name}",
    Live = "GET" "/v1/live",
    Cut = "POST" "/v1/live/{id}/cut",
    Sessions = "GET" "/v1/sessions",
    Store = "GET" "/v1/store",
}

/// The operation and what stands in the place of each `{…}`, still percent-encoded.
///
/// # Errors
/// No such path, or another method.
pub fn find<'p>(method: &Method, path: &'p str) -> Result<(Operation, Vec<&'p str>), Problem> {
    // A HEAD is a GET without its body (RFC 9110 section 9.3.2).
    let method = if method == Method::HEAD { "GET" } else { method.as_str() };
    let mut others = Vec::new();
    for (operation, wanted, template) in ROUTES {
        if let Some(parameters) = matching(template, path) {
            if *wanted == method {
                return Ok((*operation, parameters));
            }
            others.push(*wanted);
        }
    }
    Err(if others.is_empty() { Problem::not_found("such path") } else { Problem::method(&others) })
}

fn matching<'p>(template: &str, path: &'p str) -> Option<Vec<&'p str>> {
    let mut parameters = Vec::new();
    let mut segments = path.split('/');
    for wanted in template.split('/') {
        let segment = segments.next()?;
        match wanted.starts_with('{') {
            true if segment.is_empty() => return None,
            true => parameters.push(segment),
            false if wanted == segment => {}
            false => return None,
        }
    }
    segments.next().is_none().then_some(parameters)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_methods_and_parameters() {
        let find =
            |method: Method, path| find(&method, path).map_err(|problem| (problem.status.as_u16(), problem.allow));
        assert_eq!(find(Method::GET, "/v1/me"), Ok((Operation::Me, vec![])));
        assert_eq!(find(Method::HEAD, "/v1/me"), Ok((Operation::Me, vec![])));
        assert_eq!(find(Method::POST, "/v1/grants/g_1/approve"), Ok((Operation::ApproveGrant, vec!["g_1"])));
        assert_eq!(find(Method::GET, "/v1/identities/ann@x"), Ok((Operation::Identity, vec!["ann@x"])));
        assert_eq!(find(Method::DELETE, "/v1/grants"), Err((405, Some("GET, POST".to_owned()))));
        for path in ["/", "/v1", "/v1/", "/v1/grants/", "/v1/grants/a/b", "/v1/grants//approve", "/v2/me"] {
            assert_eq!(find(Method::GET, path), Err((404, None)), "{path}");
        }
    }

    #[test]
    fn no_two_operations_share_a_way() {
        for (index, (_, method, template)) in ROUTES.iter().enumerate() {
            let same =
                |(_, other, path): &&(Operation, &str, &str)| other == method && matching(path, template).is_some();
            assert_eq!(ROUTES.iter().skip(index + 1).filter(same).count(), 0, "{method} {template}");
        }
    }
}
