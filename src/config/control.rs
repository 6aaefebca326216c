//! `[control]`: the Unix socket, and who its users are.

use super::distinct;
use super::files::{Files, Kind};
use crate::gateway::settings::LocalSettings;
use crate::policy::diagnostic::Diagnostic;
use crate::policy::source::Table;
use std::path::PathBuf;
use std::sync::Arc;

const MODES: &[(&str, u32)] = &[("0600", 0o600), ("0660", 0o660)];

/// None: there is no such section, and no socket.
pub fn control(root: &mut Table<'_>, files: &mut Files) -> Option<LocalSettings> {
    let mut table = root.table("control")?;
    let path = socket(&mut table, files);
    let mode = table.or("mode", 0o600, |v| v.one_of(MODES));
    let people = table.tables("person").into_iter().filter_map(person).collect();
    let people = distinct(&table, "people", people);
    table.finish();
    Some(LocalSettings { path, mode, people })
}

/// Where the socket is, for commands that need nothing else of the configuration.
pub fn socket(control: &mut Table<'_>, files: &mut Files) -> PathBuf {
    if !control.has("socket") {
        files.written(files.resolve("rangegate.sock"), control.place(), "socket");
    }
    control.or("socket", files.resolve("rangegate.sock"), |v| {
        let path = files.path(v, Kind::Writable("socket"))?;
        // `sun_path` has 108 bytes, the last of them zero (unix(7)); the name it is made under has a few more.
        match path.as_os_str().len() {
            0..=90 => Some(path),
            _ => v.fault("the socket's path is too long", "at most 90 bytes, whole"),
        }
    })
}

type Person = ((u32, Arc<str>), String, crate::policy::diagnostic::Place);

fn person(mut table: Table<'_>) -> Option<Person> {
    let place = table.place();
    let uid = table.required("uid", |v| {
        let uid = v.integer_in::<u32>(0..=i64::from(u32::MAX))?;
        if uid == 0 {
            let fault = Diagnostic::warning(v.place(), "everything root does will count as one person's");
            v.report(fault.label("several people may be root").help("map the users people sign in as"));
        }
        Some(uid)
    });
    let user = table.required("user", |v| v.name().map(Arc::from));
    table.finish();
    let (uid, user) = (uid?, user?);
    Some(((uid, user), format!("uid {uid}"), place))
}

#[cfg(test)]
mod tests {
    use crate::config::Config;
    use std::path::Path;

    const REST: &str = "[[listener]]\naddress = '127.0.0.1:0'\nclient-certificates = 'off'\n\
        certificate = [{ chain = 'a.pem', key = 'a.key' }]\n[audit]\npath = 'audit.jsonl'\n";

    fn read(section: &str) -> Result<Config, String> {
        Config::parse(&format!("{REST}{section}"), Path::new("/etc/rangegate/rangegate.toml"))
            .map_err(|report| report.render(false))
    }

    #[test]
    fn the_socket_stands_beside_the_configuration_if_there_is_a_section_for_it() {
        assert_eq!(read("").unwrap().settings.local, None);
        let local = read("[control]\n").unwrap().settings.local.unwrap();
        assert_eq!((&*local.path, local.mode), (Path::new("/etc/rangegate/rangegate.sock"), 0o600));
        let text = "[control]\nsocket = '/run/rangegate.sock'\nmode = '0660'\nperson = [{ uid = 1000, user = 'ann@corp.example' }]\n";
        let local = read(text).unwrap().settings.local.unwrap();
        assert_eq!((&*local.path, local.mode), (Path::new("/run/rangegate.sock"), 0o660));
        assert_eq!(local.people, [(1000, "ann@corp.example".into())]);
    }

    #[test]
    fn mistakes_are_told() {
        let long = format!("[control]\nsocket = '/{}'\n", "x".repeat(120));
        for (text, told) in [
            ("[control]\nmode = '0666'\n", "`mode` cannot be `0666`"),
            ("[control]\nperson = [{ uid = -1, user = 'a' }]\n", "`uid` is out of range"),
            (
                "[control]\nperson = [{ uid = 1, user = 'a' }, { uid = 1, user = 'b' }]\n",
                "two people are called `uid 1`",
            ),
            (&long, "the socket's path is too long"),
        ] {
            let report = read(text).unwrap_err();
            assert!(report.contains(told), "{told}\nis missing in\n{report}");
        }
    }
}
