//! The device registry as a TOML file.
//!
//! ```toml
//! [[device]]
//! id = "ann-laptop"
//! owner = "ann@corp.example"          # as the token's user claim says it; without it the device is nobody's
//! class = "corporate"                 # a word of the organisation's own
//! status = "active"                   # active (default), watched, suspended, revoked
//! keys = ["5e884898…"]                # SHA-256 of the public key (SubjectPublicKeyInfo), 64 hex digits
//! certificates = ["9f86d081…"]        # SHA-256 of the certificate; colons between pairs are allowed
//! san = "uri:spiffe://corp/ann"       # or a list: dns:, uri:, email:, ip:
//! ```
//!
//! Each key, certificate and name alone identifies the device. What two devices share would identify neither, so it
//! is a fault here.

use super::{Digest, Recognition, policy_files};
use crate::evidence::{Device, DeviceStatus};
use crate::policy::criteria::device::san;
use crate::policy::diagnostic::{Diagnostic, Place};
use crate::policy::source::{Source, Table, Value};
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::path::Path;
use std::sync::Arc;

const STATUSES: &[(&str, DeviceStatus)] = &[
    ("active", DeviceStatus::Active),
    ("watched", DeviceStatus::Watched),
    ("suspended", DeviceStatus::Suspended),
    ("revoked", DeviceStatus::Revoked),
];

/// Reads and checks the file.
///
/// # Errors
/// Every fault found, with the source to show them in.
pub fn load(path: &Path) -> Result<Vec<Recognition>, (Vec<Diagnostic>, Vec<Source>)> {
    let source = policy_files::read_source(path).map_err(|fault| (vec![fault], Vec::new()))?;
    parse(&source).map_err(|faults| (faults, vec![source]))
}

/// Checks a text. Pure.
///
/// # Errors
/// Every fault found.
pub fn parse(source: &Source) -> Result<Vec<Recognition>, Vec<Diagnostic>> {
    let document = source.parse();
    let mut root = document.root();
    let mut taken = Taken::default();
    let devices: Vec<_> = root.tables("device").into_iter().map(|table| device(table, &mut taken)).collect();
    root.finish();
    let faults = document.into_faults();
    match devices.into_iter().collect::<Option<Vec<_>>>() {
        Some(devices) if faults.is_empty() => Ok(devices),
        _ => Err(faults),
    }
}

fn device<'a>(mut table: Table<'a>, taken: &mut Taken) -> Option<Recognition> {
    let id = table.required("id", |v| v.placed(Value::name));
    let owner = table.optional("owner", Value::name);
    let class = table.required("class", Value::name);
    let status = table.or("status", DeviceStatus::Active, |v| v.one_of(STATUSES));
    let keys = table.list("keys", |v| v.placed(digest));
    let certificates = table.list("certificates", |v| v.placed(digest));
    let sans = table.optional("san", |v| v.one_or_more(|v| v.placed(san)));
    if !["keys", "certificates", "san"].iter().any(|handle| table.has(handle)) {
        let fault = Diagnostic::error(table.place(), "nothing identifies this device");
        table.report(fault.label("expected `keys`, `certificates` or `san`"));
    }
    let sans = sans.unwrap_or_default();
    let names = id.iter().map(|(id, place)| (format!("device `{id}`"), place));
    let names = names.chain(keys.iter().map(|(key, place)| (format!("key `{}`", key.hex()), place)));
    let names =
        names.chain(certificates.iter().map(|(digest, place)| (format!("certificate `{}`", digest.hex()), place)));
    for (name, place) in names.chain(sans.iter().map(|(san, place)| (format!("`{san}`"), place))) {
        taken.claim(&table, name, place);
    }
    table.finish();
    Some(Recognition {
        device: Arc::new(Device { id: id?.0.into(), owner: owner.map(Into::into), class: class?.into(), status }),
        keys: keys.into_iter().map(|(key, _)| key).collect(),
        certificates: certificates.into_iter().map(|(certificate, _)| certificate).collect(),
        sans: sans.into_iter().map(|(san, _)| san).collect(),
    })
}

/// What is registered so far, and where. Only looked up, never walked.
#[derive(Default)]
struct Taken(HashMap<String, Place>);

impl Taken {
    fn claim(&mut self, table: &Table<'_>, name: String, place: &Place) {
        match self.0.entry(name) {
            Entry::Vacant(free) => {
                free.insert(place.clone());
            }
            Entry::Occupied(first) => {
                let fault = Diagnostic::error(place.clone(), format!("{} is registered twice", first.key()));
                table.report(fault.label("again here").related(first.get().clone(), "first here"));
            }
        }
    }
}

fn digest(value: Value<'_>) -> Option<Digest> {
    value.parsed("a SHA-256", "9f86d081884c…", |text| {
        let digits: String = text.strip_prefix("sha256:").unwrap_or(text).split(':').collect();
        Digest::from_hex(&digits).ok_or_else(|| match digits.chars().find(|c| !c.is_ascii_hexdigit()) {
            Some(other) => format!("`{}` is no hex digit", other.escape_default()),
            None => format!("expected 64 hex digits, found {}", digits.len()),
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::diagnostic;

    const A: &str = "aa11223344556677889900aabbccddeeff00112233445566778899aabbccddee";
    const B: &str = "bb11223344556677889900aabbccddeeff00112233445566778899aabbccddee";

    fn faults(text: &str) -> String {
        let source = Source::new("devices.toml", text);
        match parse(&source) {
            Ok(devices) => format!("{} devices", devices.len()),
            Err(faults) => diagnostic::lines(&faults, &[source]),
        }
    }

    #[test]
    fn a_registry_reads_back() {
        let colons: Vec<_> = B.as_bytes().chunks(2).map(|pair| std::str::from_utf8(pair).expect("ascii")).collect();
        let colons = colons.join(":").to_uppercase();
        let text = format!(
            "[[device]]\nid = 'laptop'\nowner = 'ann'\nclass = 'corporate'\nkeys = ['{A}', 'sha256:{B}']\n\
             [[device]]\nid = 'kiosk'\nclass = 'shared'\nstatus = 'suspended'\ncertificates = ['{colons}']\n\
             san = ['dns:kiosk.example', 'ip:2001:DB8::0:7']\n\
             [[device]]\nid = 'phone'\nclass = 'byod'\nsan = 'uri:spiffe://corp/phone'\n"
        );
        let devices = parse(&Source::new("d", text)).expect("good");
        let [laptop, kiosk, phone] = devices.as_slice() else { panic!("{devices:?}") };
        assert_eq!(laptop.device.owner.as_deref(), Some("ann"));
        assert_eq!(laptop.device.status, DeviceStatus::Active);
        assert_eq!(laptop.keys, [Digest::from_hex(A).expect("hex"), Digest::from_hex(B).expect("hex")]);
        assert_eq!(kiosk.device.status, DeviceStatus::Suspended);
        assert_eq!(kiosk.certificates, [Digest::from_hex(B).expect("hex")]);
        assert_eq!(kiosk.sans, ["dns:kiosk.example".into(), "ip:2001:db8::7".into()]);
        assert_eq!(phone.sans, ["uri:spiffe://corp/phone".into()]);
        assert_eq!(faults(""), "0 devices", "an empty registry knows nobody, and that is no fault");
    }

    #[test]
    fn every_fault_is_found_at_once() {
        let text = format!(
            "[[device]]\nid = 'a'\nclass = 'c'\nkeys = ['{A}']\nsan = 'uri:x'\n\
             [[device]]\nid = 'a'\nclass = 'c'\nstatus = 'activ'\nkeys = ['zz', '12']\nsan = ['x', 'ip:x']\n\
             [[device]]\nid = ''\nowner = 7\nkey = 'x'\n\
             [[device]]\nid = 'b'\nclass = 'c'\nkeys = ['{A}']\nsan = 'uri:x'\n"
        );
        let found = faults(&text);
        for expected in [
            "devices.toml:7:6: device `a` is registered twice (again here)",
            "devices.toml:9:10: `status` cannot be `activ`",
            &format!("devices.toml:19:9: key `{A}` is registered twice (again here)"),
            "devices.toml:20:7: `uri:x` is registered twice (again here)",
            "devices.toml:10:9: `zz` is not a SHA-256 (`z` is no hex digit)",
            "devices.toml:10:15: `12` is not a SHA-256 (expected 64 hex digits, found 2)",
            "devices.toml:11:8: `x` is not a subject alternative name",
            "devices.toml:11:13: `ip:x` is not a subject alternative name (`x` is not an IP address)",
            "devices.toml:12:1: nothing identifies this device",
            "devices.toml:12:1: `class` is missing",
            "devices.toml:13:6: `id` is empty",
            "devices.toml:14:9: `owner` takes",
            "devices.toml:15:1: unknown key `key`",
        ] {
            assert!(found.contains(expected), "{expected}\nis missing in\n{found}");
        }
    }
}
